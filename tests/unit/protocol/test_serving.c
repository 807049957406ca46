/* What the commands do, through a socket: leases, waiting, events, steps by filter, control. */
#include "desk.h"

#include <unistd.h>

#define ANY_ID "$13\r\n~~~~~~~~~~~~~\r\n"

static bool nobody_is_connected(struct desk *desk, void *unused)
{
    (void)unused;
    return protocol_connections(desk->protocol) == 0;
}

/* ---- consumers ---------------------------------------------------------------------------------------------- */

static void a_fetched_job_is_acknowledged_with_its_token(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    long long token;
    (void)unused;
    const char *id = client_push(client, "mail.send {} META '{\"trace\":1}' TAGS x,y");
    const char *got = client_fetch(client, "default", &token);
    assert_string_equal(id, got);
    client_send(client, "ACK %s %lld\r\n", id, token + 1);
    client_expect_line(client, "-LOST ");
    client_send(client, "EXTEND %s %lld 60s\r\nPROGRESS %s %lld 0.5 half\r\n", id, token, id, token);
    client_expect_line(client, "*6");
    client_read_to(client, "cancelling\r\n:0\r\n$7\r\noverdue\r\n:0\r\n");
    client_expect(client, "*2\r\n$10\r\ncancelling\r\n:0\r\n");
    client_send(client, "JOB %s\r\n", id);
    client_read_to(client, "$8\r\nprogress\r\n$3\r\n0.5\r\n$4\r\nnote\r\n$4\r\nhalf\r\n");
    client_read_to(client, "$3\r\nlog\r\n*0\r\n");
    client_send(client, "ACK %s %lld '{\"ok\":true}'\r\nACK %s %lld\r\nJOB %s\r\n", id, token, id, token, id);
    client_expect(client, "+OK\r\n");
    client_expect_line(client, "-");
    client_read_to(client, "$5\r\nstate\r\n$9\r\nsucceeded\r\n");
    client_read_to(client, "$6\r\nresult\r\n$11\r\n{\"ok\":true}\r\n");
    client_free(client);
    desk_free(desk);
}

static void acknowledgements_and_the_next_fetch_may_be_sent_together(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    long long token;
    (void)unused;
    client_push(client, "a 1");
    client_push(client, "a 2");
    const char *id = client_fetch(client, "default", &token);
    client_send(client, "ACK %s %lld\r\nFETCH default\r\nPING\r\n", id, token);
    client_expect(client, "+OK\r\n*1\r\n*22\r\n$2\r\nid\r\n" ANY_ID);
    client_read_to(client, "$4\r\ntags\r\n*0\r\n+PONG\r\n");
    client_free(client);
    desk_free(desk);
}

static void a_failed_job_is_retried_later_or_dead(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    long long token;
    (void)unused;
    client_push(client, "a 1");
    const char *id = client_fetch(client, "default", &token);
    client_send(client, "NACK %s %lld 'it broke'\r\nPING\r\n", id, token); /* by the default policy */
    client_expect(client, "*6\r\n$5\r\nstate\r\n$8\r\nretrying\r\n$7\r\nattempt\r\n:1\r\n$6\r\nrun_at\r\n:");
    client_expect_line(client, "1");
    client_expect(client, "+PONG\r\n");
    client_send(client, "PROMOTE %s\r\n", id);
    client_expect(client, "*6\r\n$2\r\nid\r\n" ANY_ID
                          "$3\r\nwas\r\n$8\r\nretrying\r\n$5\r\nstate\r\n$5\r\nready\r\n");
    client_fetch(client, "default", &token);
    client_send(client, "NACK %s %lld 'again' DELAY 0\r\n", id, token);
    client_read_to(client, "$8\r\nretrying\r\n$7\r\nattempt\r\n:2\r\n$6\r\nrun_at\r\n");
    client_read_to(client, "\r\n");
    client_fetch(client, "default", &token);
    client_send(client, "NACK %s %lld 'hopeless' DEAD\r\n", id, token);
    client_expect(client,
                  "*6\r\n$5\r\nstate\r\n$4\r\ndead\r\n$7\r\nattempt\r\n:3\r\n$6\r\nrun_at\r\n$-1\r\n");
    client_send(client, "JOB %s\r\nRETRY %s PAYLOAD better\r\n", id, id);
    client_read_to(client, "it broke");
    client_read_to(client, "hopeless");
    client_read_to(client, "$3\r\nwas\r\n$4\r\ndead\r\n$5\r\nstate\r\n$5\r\nready\r\n");
    client_send(client, "FETCH default\r\n");
    client_read_to(client, "$7\r\npayload\r\n$6\r\nbetter\r\n");
    client_free(client);
    desk_free(desk);
}

static void of_a_long_error_the_beginning_is_kept(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    char error[5001];
    long long token;
    (void)unused;
    error[0] = 'x'; /* so that the limit, 4096, falls within a character */
    for (int i = 1; i < 5001 - 2; i += 2)
        memcpy(error + i, "\u00e4", 2);
    error[4999] = '\0';
    client_push(client, "a 1");
    const char *id = client_fetch(client, "default", &token);
    client_send(client, "NACK %s %lld %s DEAD\r\nJOB %s\r\n", id, token, error, id);
    client_read_to(client, "$4\r\ncode\r\n$4\r\nNACK\r\n$7\r\nmessage\r\n$4095\r\nx\u00e4");
    client_free(client);
    desk_free(desk);
}

static void a_blocked_fetch_gets_what_another_client_pushes(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *consumer = client_new(desk), *producer = client_new(desk);
    (void)unused;
    client_send(consumer, "CLIENT SETNAME c1\r\nFETCH one two BLOCK 5s\r\nPING\r\n");
    client_expect(consumer, "+OK\r\n");
    const char *id = client_push(producer, "a 1 QUEUE two");
    client_read_to(consumer, id);
    client_read_to(consumer, "$4\r\ntags\r\n*0\r\n+PONG\r\n");
    client_send(producer, "JOB %s\r\n", id);
    client_read_to(producer, "$6\r\nholder\r\n$2\r\nc1\r\n");
    client_free(consumer);
    client_free(producer);
    desk_free(desk);
}

static void a_blocked_fetch_ends_empty_when_its_time_is_over(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "FETCH nothing BLOCK 20\r\nFETCH nothing BLOCK 0\r\nFETCH nothing\r\n");
    client_expect(client, "*0\r\n*0\r\n*0\r\n");
    client_free(client);
    desk_free(desk);
}

static void a_consumer_that_hangs_up_while_it_waits_takes_no_job(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *gone = client_new(desk), *client = client_new(desk);
    long long token;
    (void)unused;
    client_send(gone, "PING\r\nFETCH default BLOCK 5s\r\n");
    client_expect(gone, "+PONG\r\n");
    client_free(gone);
    client_push(client, "a 1");
    client_fetch(client, "default", &token);
    client_free(client);
    desk_free(desk);
}

/* ---- WAIT --------------------------------------------------------------------------------------------------- */

static void wait_answers_when_all_have_ended(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *waiter = client_new(desk), *worker = client_new(desk);
    long long token;
    (void)unused;
    const char *one = client_push(worker, "a 1"), *two = client_push(worker, "a 2");
    client_send(waiter, "WAIT %s %s %s\r\nPING\r\n", two, one, two);
    client_fetch(worker, "default", &token);
    client_send(worker, "ACK %s %lld done\r\n", one, token);
    client_expect(worker, "+OK\r\n");
    client_fetch(worker, "default", &token);
    client_send(worker, "NACK %s %lld hopeless DEAD\r\n", two, token);
    client_expect(
        waiter,
        "*3\r\n*8\r\n$2\r\nid\r\n" ANY_ID
        "$5\r\nstate\r\n$4\r\ndead\r\n$6\r\nresult\r\n$-1\r\n$5\r\nerror\r\n$8\r\nhopeless\r\n"
        "*8\r\n$2\r\nid\r\n" ANY_ID
        "$5\r\nstate\r\n$9\r\nsucceeded\r\n$6\r\nresult\r\n$4\r\ndone\r\n$5\r\nerror\r\n$-1\r\n*8\r\n");
    client_read_to(waiter, "hopeless\r\n+PONG\r\n");
    client_send(waiter, "WAIT %s\r\n", one); /* had ended before */
    client_read_to(waiter, "$4\r\ndone\r\n$5\r\nerror\r\n$-1\r\n");
    client_free(waiter);
    client_free(worker);
    desk_free(desk);
}

static void wait_counts_each_job_once(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *waiter = client_new(desk), *client = client_new(desk);
    (void)unused;
    const char *one = client_push(client, "a 1"), *two = client_push(client, "a 2");
    client_send(client, "CANCEL %s\r\n", one);
    client_read_to(client, "cancelled\r\n");
    client_send(waiter, "PING\r\nWAIT %s %s\r\n", one, two);
    client_expect(waiter, "+PONG\r\n");
    client_send(client, "JOB %s\r\nRETRY %s\r\nCANCEL %s\r\nJOB %s\r\n", one, one, one, one);
    for (int i = 0; i < 2; i++) /* brought back, and ended once more */
        client_read_to(client, "cancelled\r\n");
    client_send(client, "PING\r\n");
    client_read_to(client, "+PONG\r\n");
    client_send(client, "CANCEL %s\r\n", two);
    client_read_to(client, "cancelled\r\n");
    client_expect(waiter, "*2\r\n*8\r\n$2\r\nid\r\n" ANY_ID "$5\r\nstate\r\n$9\r\ncancelled\r\n");
    client_read_to(waiter, "*8\r\n$2\r\nid\r\n");
    client_expect(waiter, ANY_ID "$5\r\nstate\r\n$9\r\ncancelled\r\n");
    client_free(waiter);
    client_free(client);
    desk_free(desk);
}

static void wait_names_those_still_open_when_its_time_is_over(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    char error[64];
    (void)unused;
    const char *id = client_push(client, "a 1");
    client_send(client, "WAIT %s TIMEOUT 20\r\n", id);
    client_expect_line(client, "-TIMEOUT after 20ms 1 of 1 jobs have not ended: '");
    client_send(client, "WAIT %s TIMEOUT 20\r\n", id);
    snprintf(error, sizeof error, "'%s'\r\n", id);
    client_read_to(client, error);
    client_free(client);
    desk_free(desk);
}

static void wait_says_so_when_a_job_is_deleted(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *waiter = client_new(desk), *client = client_new(desk);
    (void)unused;
    const char *id = client_push(client, "a 1"), *other = client_push(client, "a 2");
    client_send(waiter, "PING\r\nWAIT %s %s %s\r\n", other, id, id);
    client_expect(waiter, "+PONG\r\n");
    client_send(client, "DELETE %s\r\n", id);
    client_read_to(client, "$5\r\nstate\r\n$-1\r\n");
    client_expect_line(waiter, "-NOTFOUND ");
    client_free(waiter);
    client_free(client);
    desk_free(desk);
}

static void a_client_that_hangs_up_while_it_waits_is_forgotten(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    struct dispatch_stats stats;
    (void)unused;
    const char *id = client_push(client, "a 1");
    client_send(client, "PING\r\nWAIT %s\r\n", id);
    client_expect(client, "+PONG\r\n");
    client_free(client);
    assert_true(desk_until(desk, nobody_is_connected, NULL));
    client = client_new(desk);
    client_send(client, "PING\r\n");
    client_expect(client, "+PONG\r\n");
    dispatch_stats(desk->dispatch, &stats);
    assert_int_equal(0, stats.waiters);
    client_free(client);
    desk_free(desk);
}

/* ---- EVENTS ------------------------------------------------------------------------------------------------- */

static void a_stream_tells_what_happens(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *stream = client_new(desk), *mail = client_new(desk), *client = client_new(desk);
    (void)unused;
    client_send(stream, "EVENTS NAME job.pushed,queue.*\r\n");
    client_send(mail, "HELLO 3\r\nEVENTS QUEUE mail TYPE m\r\n");
    client_expect(stream, "+OK\r\n");
    client_read_to(mail, "+OK\r\n");
    client_push(client, "a 1");
    client_push(client, "b 1 QUEUE mail");
    const char *id = client_push(client, "m 1 QUEUE mail");
    client_send(client, "PAUSE mail REASON 'too \"much\"'\r\n");
    client_expect(client, "+OK\r\n");
    client_read_to(stream, "{\"event\":\"job.pushed\",\"at\":");
    client_read_to(stream, "\"type\":\"a\",\"queue\":\"default\"");
    client_read_to(stream, "\"type\":\"b\",\"queue\":\"mail\"");
    client_read_to(stream, "\"type\":\"m\",\"queue\":\"mail\"");
    client_read_to(stream, "{\"event\":\"queue.paused\",\"at\":");
    client_read_to(stream, "\"message\":\"too \\\"much\\\"\",\"by\":\"");
    client_read_to(stream, "\r\n");
    client_expect(mail, ">2\r\n$5\r\nevent\r\n$");
    client_read_to(mail, id);
    client_send(stream, "PING\r\nPUSH a 1\r\nQUIT\r\n");
    client_expect(stream, "+PONG\r\n");
    client_expect_line(stream, "-BADARG PUSH cannot follow EVENTS");
    client_expect(stream, "+OK\r\n");
    client_expect_end(stream);
    client_free(stream);
    client_free(mail);
    client_free(client);
    desk_free(desk);
}

static void small_output(struct protocol_settings *settings)
{
    settings->output_pause = 1000;
    settings->output_max = 10000;
}

static void a_stream_that_is_not_read_is_closed(void **unused)
{
    struct desk *desk = desk_new(small_output);
    struct client *stream = client_new(desk), *client = client_new(desk);
    (void)unused;
    client_send(stream, "EVENTS\r\n");
    client_expect(stream, "+OK\r\n");
    for (int i = 0; i < 10000 && protocol_connections(desk->protocol) == 2; i++)
        client_push(client, "a 1");
    assert_int_equal(1, protocol_connections(desk->protocol));
    client_free(stream);
    client_free(client);
    desk_free(desk);
}

/* ---- steps by filter ---------------------------------------------------------------------------------------- */

static void a_step_by_filter_touches_what_fits(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    for (int i = 0; i < 30; i++)
        client_send(client, "PUSH %s %d TAGS t%d\r\n", i % 3 ? "a" : "b", i, i % 2);
    for (int i = 0; i < 30; i++)
        client_expect(client, ANY_ID);
    client_send(client, "CANCEL WHERE TYPE b\r\n");
    client_expect(client, "*10\r\n$7\r\ntouched\r\n:10\r\n$9\r\nlooked_at\r\n");
    client_read_to(client, "$7\r\nstopped\r\n:0\r\n$4\r\nbulk\r\n:1\r\n$9\r\nsignalled\r\n:0\r\n");
    client_send(client, "DELETE WHERE STATE cancelled TAG t0\r\nRETRY WHERE STATE cancelled\r\nRETRY "
                        "WHERE\r\nPURGE default\r\n");
    client_expect(client, "*8\r\n$7\r\ntouched\r\n:5\r\n");
    client_read_to(client, "$7\r\ntouched\r\n:5\r\n");
    client_read_to(client, "$7\r\ntouched\r\n:0\r\n");
    client_read_to(client, "$7\r\ntouched\r\n:25\r\n");
    client_read_to(client, "$4\r\nbulk\r\n:5\r\n");
    client_send(client, "BULK LIST\r\nPUSH a 1 DELAY 1h\r\nPROMOTE WHERE\r\n");
    client_expect(client, "*0\r\n" ANY_ID "*8\r\n$7\r\ntouched\r\n:1\r\n");
    client_free(client);
    desk_free(desk);
}

static void a_cancel_says_what_it_did_and_an_event_says_when_it_ended(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk), *stream = client_new(desk);
    long long token;
    (void)unused;
    client_send(stream, "EVENTS NAME job.cancel*\r\n");
    client_expect(stream, "+OK\r\n");
    client_push(client, "a 1 KEEP 1h");
    const char *runs = client_fetch(client, "default", &token);
    const char *waits = client_push(client, "a 2");
    client_send(client, "CANCEL %s\r\n", waits);
    client_read_to(client, "$5\r\nstate\r\n$9\r\ncancelled\r\n$9\r\nsignalled\r\n:0\r\n");
    client_read_to(stream, "job.cancelled");
    client_send(client, "CANCEL WHERE QUEUE default STATE running\r\n");
    client_read_to(client, "$7\r\ntouched\r\n:1\r\n");
    client_read_to(client, "$9\r\nsignalled\r\n:1\r\n");
    client_read_to(stream, "job.cancelling");
    client_send(client, "CANCEL %s\r\n", runs);
    client_read_to(client, "$5\r\nstate\r\n$7\r\nrunning\r\n$9\r\nsignalled\r\n:1\r\n");
    client_read_to(stream, "job.cancelling");
    client_send(client, "NACK %s %lld stopped DELAY 1s\r\n", runs, token);
    client_read_to(client, "$9\r\ncancelled\r\n$7\r\nattempt\r\n:1\r\n$6\r\nrun_at\r\n$-1\r\n");
    client_read_to(stream, "job.cancelled");
    client_send(client, "CANCEL %s\r\n", runs);
    client_expect_line(client, "-WRONGSTATE job ");
    client_free(client);
    client_free(stream);
    desk_free(desk);
}

static void a_released_job_is_fetched_again_and_its_first_holder_has_lost_it(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk), *other = client_new(desk);
    long long token, again;
    (void)unused;
    client_send(client, "CLIENT SETNAME first\r\n");
    client_expect(client, "+OK\r\n");
    client_push(client, "a 1");
    const char *id = client_fetch(client, "default", &token);
    client_send(other, "RELEASE %s 0000000000001 REASON hangs BY ana\r\n", id);
    client_expect(other,
                  "*2\r\n*12\r\n$2\r\nid\r\n" ANY_ID "$8\r\nreleased\r\n:1\r\n$5\r\nstate\r\n$5\r\nready\r\n"
                  "$6\r\nholder\r\n$5\r\nfirst\r\n$7\r\nattempt\r\n:1\r\n$5\r\nerror\r\n$-1\r\n");
    client_read_to(other, "$8\r\nreleased\r\n:0\r\n$5\r\nstate\r\n$-1\r\n");
    client_read_to(other, "NOTFOUND there is no job 0000000000001");
    client_read_to(other, "\r\n");
    assert_string_equal(id, client_fetch(other, "default", &again));
    client_send(client, "ACK %s %lld\r\nEXTEND %s %lld 1s\r\n", id, token, id, token);
    client_expect_line(client, "-LOST ");
    client_expect_line(client, "-LOST ");
    client_send(other, "JOB %s\r\n", id);
    client_read_to(other, "$7\r\nattempt\r\n:1\r\n");
    client_read_to(other, "$22\r\nreleased by ana: hangs\r\n");
    client_read_to(other, "$3\r\nlog\r\n*0\r\n");
    client_send(client,
                "RELEASE %s X\r\nRELEASE REASON x\r\nRELEASE WORKER\r\nRELEASE WHERE\r\nRELEASE %s BY ''\r\n",
                id, id);
    client_expect_line(client, "-BADARG ");
    client_expect_line(client, "-BADARG RELEASE takes 1 to 1000 ids");
    client_expect_line(client, "-BADARG RELEASE WORKER needs a name");
    client_expect_line(client, "-BADARG RELEASE WHERE needs a filter");
    client_expect_line(client, "-BADARG BY has 0 bytes");
    client_send(client, "RELEASE WORKER ''\r\nCANCEL WHERE STATE running HOLDER ''\r\nJOBS HOLDER ''\r\n");
    for (int i = 0; i < 3; i++) /* a script's unset variable is not everybody */
        client_expect_line(client, "-BADARG the holder's name is empty");
    client_send(client, "RELEASE WORKER client-2\r\nJOBS HOLDER client-2\r\n");
    client_read_to(client, "$7\r\ntouched\r\n:1\r\n");
    client_read_to(client, "$4\r\njobs\r\n*1\r\n");
    client_read_to(client, id);
    client_read_to(client, "$4\r\njobs\r\n*0\r\n");
    client_free(client);
    client_free(other);
    desk_free(desk);
}

static void a_step_by_filter_ends_when_its_client_hangs_up(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk), *other = client_new(desk);
    (void)unused;
    for (int i = 0; i < 3000; i++)
        client_send(client, "PUSH a %d\r\n", i);
    for (int i = 0; i < 3000; i++)
        client_expect(client, ANY_ID);
    client_send(other, "EVENTS NAME bulk.*\r\n");
    client_expect(other, "+OK\r\n");
    client_send(client, "CANCEL WHERE ALL\r\n");
    client_free(client);
    client_read_to(other, "bulk.done"); /* stopped or not: nothing is left hanging */
    client_free(other);
    desk_free(desk);
}

static void jobs_come_in_pages(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    char cursor[1024];
    (void)unused;
    for (int i = 0; i < 5; i++)
        client_push(client, "a 1");
    client_send(client, "JOBS LIMIT 3 ORDER oldest STATE ready\r\n");
    client_expect(client, "*6\r\n$4\r\njobs\r\n*3\r\n*64\r\n$2\r\nid\r\n");
    client_read_to(client, "$6\r\ncursor\r\n$");
    client_read_to(client, "\r\n");
    struct slice line = client_read_to(client, "\r\n");
    snprintf(cursor, sizeof cursor, "%.*s", (int)line.len - 2, line.at);
    client_expect(client, "$7\r\npartial\r\n:0\r\n");
    client_send(client, "JOBS LIMIT 3 ORDER oldest STATE ready CURSOR %s\r\n", cursor);
    client_expect(client, "*6\r\n$4\r\njobs\r\n*2\r\n");
    client_read_to(client, "$6\r\ncursor\r\n$-1\r\n$7\r\npartial\r\n:0\r\n");
    client_free(client);
    desk_free(desk);
}

static void pauses_say_why_by_whom_and_until_when(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_push(client, "a 1");
    client_push(client, "b 2");
    client_send(client, "PAUSE default REASON lunch BY ana UNTIL 2100-01-01T00:00:00Z\r\n"
                        "PAUSE TYPE a FOR 1h REASON 'its service is down'\r\n"
                        "PAUSE type REASON 'a queue of this name'\r\nPAUSES\r\n");
    client_expect(client, "+OK\r\n+OK\r\n+OK\r\n*3\r\n");
    client_read_to(
        client,
        "queue\r\n$4\r\nname\r\n$7\r\ndefault\r\n$6\r\nreason\r\n$5\r\nlunch\r\n$2\r\nby\r\n$3\r\nana\r\n");
    client_read_to(client, "$5\r\nuntil\r\n:4102444800000\r\n");
    client_read_to(client, "queue\r\n$4\r\nname\r\n$4\r\ntype\r\n");
    client_read_to(client, "$5\r\nuntil\r\n$-1\r\n");
    client_read_to(client, "$4\r\ntype\r\n$4\r\nname\r\n$1\r\na\r\n");
    client_read_to(client, "$5\r\nuntil\r\n:");
    client_read_to(client, "\r\n");
    client_send(client, "MULTI\r\nRESUME default\r\nRESUME type\r\nPAUSE TYPE b FOR "
                        "10s\r\nEXEC\r\nPAUSES\r\nFETCH default\r\n");
    client_expect(client, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+OK\r\n+OK\r\n*2\r\n");
    client_read_to(client, "$1\r\nb\r\n");
    client_read_to(client, "$5\r\nuntil\r\n:");
    client_read_to(client, "\r\n");
    client_expect(client, "*0\r\n");
    client_send(client,
                "QUEUES default\r\nSTATS\r\nRESUME TYPE b\r\nRESUME TYPE b\r\nFETCH default BLOCK 5s\r\n");
    client_read_to(client, "$4\r\nheld\r\n:2\r\n");
    client_read_to(client, "$13\r\nqueues_paused\r\n:0\r\n$12\r\ntypes_paused\r\n:2\r\n$4\r\nheld\r\n:2\r\n");
    client_read_to(client, "$6\r\nlayout\r\n:");
    client_read_to(client, "\r\n+OK\r\n");
    client_expect_line(client, "-NOTFOUND job type 'b' is not paused");
    client_read_to(client, "$4\r\ntype\r\n$1\r\nb\r\n");
    client_read_to(client, "$4\r\ntags\r\n*0\r\n");
    static const char *const bad[] = {
        "PAUSE q FOR 1h UNTIL 2100-01-01",
        "PAUSE q UNTIL 2001-01-01",
        "PAUSE q FOR 0",
        "PAUSE q WHY",
        "PAUSE q WHY not",
        "PAUSE TYPE 'no name'",
        "PAUSE q BY ''",
        "RESUME q now",
        "PAUSE q FOR yesterday",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        client_send(client, "%s\r\n", bad[i]);
        client_expect_line(client, "-BADARG ");
    }
    client_send(
        client, "PAUSE q REASON %s\r\nQUEUES q\r\n",
        "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"
        "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"
        "r");
    client_expect_line(client,
                       "-TOOBIG REASON has 201 bytes, the limit is 200"); /* nothing is cut in silence */
    client_expect_line(client, "-NOTFOUND ");
    client_free(client);
    desk_free(desk);
}

static void why_names_the_gate_that_is_closed(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    const char *id = client_push(client, "a 1");
    client_send(client, "WHY %s\r\nPAUSE default\r\nWHY %s\r\nRESUME default\r\n", id, id);
    client_read_to(client, "$6\r\nanswer\r\n");
    client_read_to(client, "no pool serves queue 'default'");
    client_read_to(client, "\r\n+OK\r\n");
    client_read_to(client, "$6\r\nanswer\r\n");
    client_read_to(client, "queue 'default' is paused");
    client_read_to(client, "\r\n+OK\r\n");
    client_free(client);
    desk_free(desk);
}

static void a_full_or_draining_queue_refuses_pushes(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client,
                "LIMIT default 1\r\nPUSH a 1\r\nPUSH a 2\r\nLIMIT default 0\r\nDRAIN default\r\nPUSH a 3\r\n"
                "RESUME default\r\nPUSH a 4\r\n");
    client_expect(client, "+OK\r\n" ANY_ID);
    client_expect_line(client, "-FULL ");
    client_expect(client, "+OK\r\n+OK\r\n");
    client_expect_line(client, "-BUSY ");
    client_expect(client, "+OK\r\n" ANY_ID);
    client_free(client);
    desk_free(desk);
}

/* ---- control and habits ------------------------------------------------------------------------------------- */

static void a_reload_is_answered_when_it_has_ended(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "RELOAD\r\nPING\r\n");
    while (!desk->reload)
        desk_turn(desk);
    desk->reload->done(desk->reload, MQ_SCRIPT, "handlers/a.lua:1: unexpected symbol");
    client_expect(client, "-SCRIPT handlers/a.lua:1: unexpected symbol\r\n+PONG\r\n");
    desk->reload = NULL;
    client_send(client, "RELOAD\r\n");
    while (!desk->reload)
        desk_turn(desk);
    client_free(client);
    assert_true(desk_until(desk, nobody_is_connected, NULL));
    desk->reload->done(desk->reload, MQ_OK, "OK"); /* nobody is left to hear it */
    client = client_new(desk);
    client_send(client, "SHUTDOWN NOW\r\n");
    client_expect(client, "+OK\r\n");
    assert_int_equal(2, desk->shutdowns);
    client_free(client);
    desk_free(desk);
}

static void configuration_is_read_by_pattern(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "CONFIG GET *_max\r\nCONFIG GET pipe*\r\nCONFIG SET pipeline_max 5\r\n");
    client_expect(client, "*4\r\n$11\r\npayload_max\r\n$3\r\n100\r\n$12\r\npipeline_max\r\n$3\r\n101\r\n"
                          "*2\r\n$12\r\npipeline_max\r\n$3\r\n101\r\n+OK\r\n");
    client_free(client);
    desk_free(desk);
}

static void hello_chooses_the_version_of_resp(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client,
                "HELLO\r\nHELLO 3 SETNAME me\r\nCLIENT GETNAME\r\nQUEUES\r\nPUSH a 1\r\nQUEUES\r\nRESET\r\n"
                "CLIENT GETNAME\r\n");
    client_expect(client, "*14\r\n$6\r\nserver\r\n$5\r\nmoonq\r\n");
    client_read_to(client, "$5\r\nproto\r\n:2\r\n");
    client_read_to(client, "%7\r\n");
    client_read_to(client, "$5\r\nproto\r\n:3\r\n");
    client_read_to(client, "$7\r\nmodules\r\n*0\r\n");
    client_expect(client, "$2\r\nme\r\n*0\r\n" ANY_ID
                          "*1\r\n%27\r\n$4\r\nname\r\n$7\r\ndefault\r\n$6\r\npaused\r\n#f\r\n");
    client_read_to(client, "$6\r\nreason\r\n_\r\n");
    client_read_to(client, "+RESET\r\n");
    client_expect(client, "$-1\r\n");
    client_free(client);
    desk_free(desk);
}

/* What several clients send before they do anything. */
static void habits_are_answered(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(
        client,
        "CLIENT SETINFO LIB-NAME redis-py\r\nCLIENT SETINFO LIB-VER 5\r\nCLIENT ID\r\nSELECT 0\r\n"
        "CLIENT NO-EVICT ON\r\nTIME\r\nINFO server\r\nINFO\r\nCLIENT LIST\r\nCOMMAND COUNT\r\n"
        "COMMAND DOCS push\r\nCOMMAND INFO push nonsense\r\nCOMMAND\r\nCOMMAND LIST\r\nSTATS\r\nWORKERS\r\n");
    client_expect(client, "+OK\r\n+OK\r\n:1\r\n+OK\r\n+OK\r\n*2\r\n$10\r\n");
    client_read_to(client, "# Server\r\n");
    client_read_to(client, "loading:0\r\n");
    client_read_to(client, "# Server\r\n");
    client_read_to(client, "# Store\r\n");
    client_read_to(client, "lib-name=redis-py");
    client_read_to(client, "*2\r\n$4\r\nPUSH\r\n*8\r\n$7\r\nsummary\r\n");
    client_read_to(client, "*2\r\n*10\r\n$4\r\nPUSH\r\n:-3\r\n*1\r\n+write\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*"
                           "0\r\n*0\r\n$-1\r\n");
    client_read_to(client, "$14\r\nCLIENT SETNAME\r\n");
    client_read_to(client, "$11\r\nconnections\r\n:1\r\n");
    client_read_to(client, "$6\r\nlayout\r\n:");
    client_read_to(client, "$13\r\nloop_turn_age\r\n:3\r\n$20\r\nloops_standing_still\r\n:0\r\n");
    client_expect(client, "*0\r\n");
    client_free(client);
    desk_free(desk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fetched_job_is_acknowledged_with_its_token),
        cmocka_unit_test(acknowledgements_and_the_next_fetch_may_be_sent_together),
        cmocka_unit_test(a_failed_job_is_retried_later_or_dead),
        cmocka_unit_test(of_a_long_error_the_beginning_is_kept),
        cmocka_unit_test(a_blocked_fetch_gets_what_another_client_pushes),
        cmocka_unit_test(a_blocked_fetch_ends_empty_when_its_time_is_over),
        cmocka_unit_test(a_consumer_that_hangs_up_while_it_waits_takes_no_job),
        cmocka_unit_test(wait_answers_when_all_have_ended),
        cmocka_unit_test(wait_counts_each_job_once),
        cmocka_unit_test(wait_names_those_still_open_when_its_time_is_over),
        cmocka_unit_test(wait_says_so_when_a_job_is_deleted),
        cmocka_unit_test(a_client_that_hangs_up_while_it_waits_is_forgotten),
        cmocka_unit_test(a_stream_tells_what_happens),
        cmocka_unit_test(a_stream_that_is_not_read_is_closed),
        cmocka_unit_test(a_step_by_filter_touches_what_fits),
        cmocka_unit_test(a_cancel_says_what_it_did_and_an_event_says_when_it_ended),
        cmocka_unit_test(a_released_job_is_fetched_again_and_its_first_holder_has_lost_it),
        cmocka_unit_test(a_step_by_filter_ends_when_its_client_hangs_up),
        cmocka_unit_test(jobs_come_in_pages),
        cmocka_unit_test(pauses_say_why_by_whom_and_until_when),
        cmocka_unit_test(why_names_the_gate_that_is_closed),
        cmocka_unit_test(a_full_or_draining_queue_refuses_pushes),
        cmocka_unit_test(a_reload_is_answered_when_it_has_ended),
        cmocka_unit_test(configuration_is_read_by_pattern),
        cmocka_unit_test(hello_chooses_the_version_of_resp),
        cmocka_unit_test(habits_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
