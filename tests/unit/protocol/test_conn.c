/* Connections: order, hang-ups, limits. Each test is a sentence about what a client sees. */
#include "desk.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANY_ID "$13\r\n~~~~~~~~~~~~~\r\n"

static bool nobody_is_connected(struct desk *desk, void *unused)
{
    (void)unused;
    return protocol_connections(desk->protocol) == 0;
}

static bool connected(struct desk *desk, void *count)
{
    return protocol_connections(desk->protocol) == *(unsigned *)count;
}

/* So many jobs were ever pushed into the default queue. */
static unsigned pushed(struct client *client)
{
    client_send(client, "QUEUES\r\n");
    if (client_await(client, 4).at[1] == '0') {
        client_expect(client, "*0\r\n");
        return 0;
    }
    client_read_to(client, "pushed_total\r\n:");
    unsigned count = (unsigned)atoi(client_read_to(client, "\r\n").at);
    client_read_to(client, "oldest_ready_age\r\n");
    client_read_to(client, "\r\n");
    return count;
}

/* What a client left behind that hung up is on its way to the disk, and nobody else is told when it is there. */
static void expect_pushed_soon(struct client *client, unsigned count)
{
    mono_ms give_up = clock_mono() + 10000;
    unsigned found = pushed(client);
    while (found < count && clock_mono() < give_up)
        found = pushed(client);
    assert_int_equal(count, found);
}

/* ---- order -------------------------------------------------------------------------------------------------- */

static void replies_come_in_the_order_of_the_commands(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client,
                "PUSH a 1\r\nPING\r\nPUSH a 2 PRIORITY 11\r\nECHO x\r\nPUHS\r\nPUSH a 3\r\nSELECT 0\r\n");
    client_expect(client, ANY_ID "+PONG\r\n");
    client_expect_line(client, "-BADARG PRIORITY 11");
    client_expect(client, "$1\r\nx\r\n");
    client_expect_line(client, "-BADARG unknown command");
    client_expect(client, ANY_ID "+OK\r\n");
    client_free(client);
    desk_free(desk);
}

static void a_read_sees_the_changes_before_it_and_not_those_behind(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    for (int i = 1; i < 20; i++) {
        char count[64];
        client_send(client, "PUSH a 1\r\nPUSH a 2\r\nQUEUES default\r\nPUSH a 3\r\n");
        client_expect(client, ANY_ID ANY_ID);
        snprintf(count, sizeof count, "$5\r\nready\r\n:%d\r\n", 3 * i - 1);
        client_read_to(client, count);
        client_read_to(client, "oldest_ready_age\r\n");
        client_read_to(client, "\r\n");
        client_expect(client, ANY_ID);
    }
    client_free(client);
    desk_free(desk);
}

static void small_pipelines(struct protocol_settings *settings)
{
    settings->pipeline_max = 7;
    settings->output_pause = 500;
}

/* The limits only slow a client down that sends more than it reads. */
static void a_pipeline_may_be_of_any_depth(void **unused)
{
    enum {
        DEPTH = 5000
    };
    struct desk *desk = desk_new(small_pipelines);
    struct client *client = client_new(desk);
    struct buf all = BUF_INIT;
    (void)unused;
    for (int i = 0; i < DEPTH; i++)
        buf_printf(&all, i % 10 == 9 ? "ECHO %d\r\n" : "PUSH a %d\r\n", i);
    client_send_bytes(client, buf_bytes(&all).at, buf_len(&all));
    buf_release(&all);
    for (int i = 0; i < DEPTH; i++) {
        char echo[32];
        int digits = snprintf(NULL, 0, "%d", i);
        snprintf(echo, sizeof echo, "$%d\r\n%d\r\n", digits, i);
        client_expect(client, i % 10 == 9 ? echo : ANY_ID);
    }
    assert_int_equal(DEPTH * 9 / 10, pushed(client));
    client_free(client);
    desk_free(desk);
}

/* Each reply is more than what makes a connection rest, and the next command waits for the one before. */
static void a_pipeline_goes_on_behind_large_replies(void **unused)
{
    struct desk *desk = desk_new(small_pipelines);
    struct client *client = client_new(desk);
    char push[1300];
    (void)unused;
    snprintf(push, sizeof push, "a \"%01200d\"", 7);
    const char *id = client_push(client, push);
    client_send(client, "JOB %s\r\nJOB %s\r\nJOB %s\r\nPING\r\n", id, id, id);
    client_read_to(client, "+PONG\r\n");
    client_free(client);
    desk_free(desk);
}

static void commands_may_come_byte_by_byte(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    const char *bytes = "*3\r\n$4\r\nPUSH\r\n$1\r\na\r\n$4\r\n\r\n\r\n\r\nPING\r\n*1\r\n$4\r\nping\r\n";
    (void)unused;
    for (const char *at = bytes; *at; at++) {
        client_send_bytes(client, at, 1);
        desk_turn(desk);
        desk_turn(desk);
    }
    client_expect(client, ANY_ID "+PONG\r\n+PONG\r\n");
    client_free(client);
    desk_free(desk);
}

static void a_large_payload_comes_in_pieces(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    struct buf bytes = BUF_INIT;
    char head[64];
    (void)unused;
    buf_printf(&bytes, "*3\r\n$4\r\nPUSH\r\n$1\r\na\r\n$100000\r\n%0100000d\r\n", 7);
    client_send_bytes(client, buf_bytes(&bytes).at, buf_len(&bytes));
    client_expect(client, ANY_ID);
    client_send(client, "FETCH default\r\n");
    snprintf(head, sizeof head, "$100000\r\n");
    client_read_to(client, head);
    assert_memory_equal(buf_bytes(&bytes).at + buf_len(&bytes) - 100002, client_await(client, 100002).at,
                        100002);
    buf_release(&bytes);
    client_free(client);
    desk_free(desk);
}

/* ---- bad input ---------------------------------------------------------------------------------------------- */

/* After each the same connection goes on. */
static const struct {
    const char *typed, *error;
} refusals[] = {
    {"NONSENSE", "-BADARG unknown command 'NONSENSE'"},
    {"\x01\x02 garbage", "-BADARG unknown command"},
    {"PUSH", "-BADARG wrong number of arguments for PUSH (write PUSH type payload"},
    {"PUSH a", "-BADARG wrong number of arguments"},
    {"PUSH a 1 QUEUE", "-BADARG PUSH: 'QUEUE' has no value"},
    {"PUSH a 1 COLOUR red", "-BADARG unknown option 'COLOUR'"},
    {"PUSH a 1 DELAY soon", "-BADARG DELAY: 'soon' is not a duration"},
    {"PUSH a 1 AT teatime", "-BADARG AT: 'teatime' is not a time"},
    {"PUSH a 1 PRIORITY 10", "-BADARG PRIORITY 10 is out of range (0 to 9)"},
    {"PUSH a 1 QUEUE 'a b'", "-BADARG queue name 'a b' has an illegal character at column 2"},
    {"PUSH 'a b' 1", "-BADARG job type name 'a b'"},
    {"PUSH a 1 META []", "-BADARG META is not a JSON object"},
    {"JOB 123", "-BADARG "},
    {"JOB 0000000000001", "-NOTFOUND "},
    {"ACK 0000000000001 x", "-BADARG token 'x' is not one"},
    {"ACK 0000000000001 1", "-NOTFOUND "},
    {"EXTEND 0000000000001 1 never", "-BADARG duration: 'never' is not a duration"},
    {"PROGRESS 0000000000001 1 2", "-BADARG fraction '2' is not a number from 0 to 1"},
    {"NACK 0000000000001 1 err DELAY", "-BADARG NACK: 'DELAY' has no value"},
    {"NACK 0000000000001 1 err LATER 5s", "-BADARG NACK: unknown option 'LATER'"},
    {"NACK 0000000000001 1 err", "-NOTFOUND "},
    {"FETCH q COUNT 0", "-BADARG COUNT 0 is out of range (1 to 1000)"},
    {"FETCH q BLOCK 1h", "-BADARG BLOCK '1h' is out of range"},
    {"FETCH q COUNT 1 BLAH 3", "-BADARG FETCH: unknown option 'BLAH'"},
    {"CANCEL 0000000000001", "-NOTFOUND "},
    {"CANCEL WHERE", "-BADARG CANCEL WHERE needs a filter"},
    {"DELETE WHERE QUEUE q", "-BADARG DELETE WHERE needs a STATE"},
    {"RETRY WHERE STATE lost", "-BADARG 'lost' is not a state"},
    {"RETRY WHERE STATE running", "-BADARG RETRY WHERE: no running job can be retried (STATE takes retrying "
                                  "succeeded dead cancelled expired)"},
    {"RETRY WHERE STATE dead,ready", "-BADARG RETRY WHERE: no ready job can be retried (STATE takes retrying "
                                     "succeeded dead cancelled expired)"},
    {"DELETE WHERE STATE running", "-BADARG DELETE WHERE: no running job can be deleted (STATE takes blocked "
                                   "scheduled ready retrying succeeded dead cancelled expired)"},
    {"CANCEL WHERE STATE dead QUEUE q",
     "-BADARG CANCEL WHERE: no dead job can be cancelled (STATE takes blocked "
     "scheduled ready running retrying)"},
    {"PROMOTE WHERE STATE ready",
     "-BADARG PROMOTE WHERE: no ready job can be promoted (STATE takes scheduled retrying)"},
    {"RELEASE WHERE STATE ready",
     "-BADARG RELEASE WHERE: no ready job can be released (STATE takes running)"},
    {"RETRY WHERE COLOUR red", "-BADARG RETRY WHERE: unknown option 'COLOUR'"},
    {"JOBS LIMIT 1001", "-BADARG LIMIT 1001 is out of range"},
    {"JOBS CURSOR xyz", "-BADARG cursor 'xyz' is not one that JOBS gave"},
    {"JOBS ORDER sideways", "-BADARG ORDER 'sideways'"},
    {"QUEUES nowhere", "-NOTFOUND there is no queue 'nowhere'"},
    {"WAIT 0000000000001", "-NOTFOUND "},
    {"WAIT 0000000000001 TIMEOUT", "-BADARG WAIT: 'TIMEOUT' has no value"},
    {"WAIT TIMEOUT 5s", "-BADARG WAIT needs at least one id"},
    {"EVENTS COLOUR red", "-BADARG EVENTS: unknown option 'COLOUR'"},
    {"EVENTS JOB 1", "-BADARG "},
    {"BULK STOP 7", "-NOTFOUND there is no bulk step 7"},
    {"CONFIG SET nothing 1", "-NOTFOUND there is no setting 'nothing'"},
    {"SHUTDOWN LATER", "-BADARG SHUTDOWN: unknown option 'LATER'"},
    {"AUTH secret", "-NOPERM "},
    {"HELLO 3 AUTH a b", "-NOPERM "},
    {"HELLO 4", "-NOPROTO "},
    {"SELECT 1", "-BADARG there is only database 0, not '1'"},
    {"CLIENT SETNAME 'a b'", "-BADARG the client's name has a blank"},
    {"EXEC", "-BADARG EXEC without MULTI"},
    {"DISCARD", "-BADARG DISCARD without MULTI"},
    {"ECHO 'a", "-BADARG unbalanced quotes"},
};

static void a_refused_command_leaves_the_connection_as_it_was(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        client_send(client, "%s\r\nPING\r\n", refusals[i].typed);
        client_expect_line(client, refusals[i].error);
        client_expect(client, "+PONG\r\n");
    }
    assert_int_equal(0, pushed(client));
    client_free(client);
    desk_free(desk);
}

static void bytes_that_are_no_request_close_the_connection_after_the_answers(void **unused)
{
    static const char *const garbage[] = {"*x\r\n", "*1\r\n$-5\r\n", "*1\r\n*1\r\n", "*1\r\n$1\r\nPING\r\n"};
    struct desk *desk = desk_new(NULL);
    (void)unused;
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        struct client *client = client_new(desk);
        client_send(client, "PUSH a 1\r\n%sPUSH a 2\r\n", garbage[i]);
        client_expect(client, ANY_ID);
        client_expect_line(client, "-BADARG protocol error");
        client_expect_end(client);
        client_free(client);
    }
    struct client *other = client_new(desk);
    assert_int_equal(sizeof garbage / sizeof *garbage, pushed(other)); /* nothing behind the garbage */
    client_free(other);
    desk_free(desk);
}

static void a_request_over_the_limit_is_refused_and_passed_over(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    struct buf bytes = BUF_INIT;
    (void)unused;
    buf_printf(&bytes, "*3\r\n$4\r\nPUSH\r\n$1\r\na\r\n$300000\r\n%0300000d\r\nPING\r\n", 7);
    client_send_bytes(client, buf_bytes(&bytes).at, buf_len(&bytes));
    client_expect_line(client, "-TOOBIG the request has more than 200000 bytes");
    client_expect(client, "+PONG\r\n");
    buf_clear(&bytes);
    buf_printf(&bytes, "*3\r\n$4\r\nPUSH\r\n$1\r\na\r\n$100001\r\n%0100001d\r\nPING\r\n", 7);
    client_send_bytes(client, buf_bytes(&bytes).at, buf_len(&bytes));
    client_expect_line(client, "-TOOBIG payload of 'a' has 100001 bytes, the limit is 100000");
    client_expect(client, "+PONG\r\n");
    buf_release(&bytes);
    client_free(client);
    desk_free(desk);
}

/* ---- MULTI -------------------------------------------------------------------------------------------------- */

static void exec_does_all_of_it(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "MULTI\r\nPUSH a 1 TAGS x,y\r\nPAUSE default\r\nPUSH a 2\r\nEXEC\r\nPING\r\n");
    client_expect(client,
                  "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n" ANY_ID "+OK\r\n" ANY_ID "+PONG\r\n");
    client_send(client, "MULTI\r\nEXEC\r\n");
    client_expect(client, "+OK\r\n*0\r\n");
    assert_int_equal(2, pushed(client));
    client_free(client);
    desk_free(desk);
}

static void exec_does_none_of_it_if_one_is_refused(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "MULTI\r\nPUSH a 1\r\nACK 0000000000001 7\r\nPUSH a 2\r\nEXEC\r\n");
    client_expect(client, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    client_expect_line(client, "-NOTFOUND command 2 (ACK): ");
    assert_int_equal(0, pushed(client));
    client_free(client);
    desk_free(desk);
}

static void exec_is_aborted_by_an_error_before_it(void **unused)
{
    static const char *const errors[] = {"PUHS", "PUSH a",      "PUSH a 1 PRIORITY 99",   "JOB 0000000000001",
                                         "PING", "RETRY WHERE", "NACK 0000000000001 1 e", "ECHO 'a"};
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        client_send(client, "MULTI\r\nPUSH a 1\r\n%s\r\nPUSH a 2\r\nEXEC\r\n", errors[i]);
        client_expect(client, "+OK\r\n+QUEUED\r\n");
        client_expect_line(client, "-BADARG ");
        client_expect(client, "+QUEUED\r\n");
        client_expect_line(client, "-EXECABORT ");
    }
    client_send(client, "MULTI\r\nMULTI\r\nEXEC\r\nMULTI\r\nPUSH a 1\r\nDISCARD\r\nPING\r\n");
    client_expect(client, "+OK\r\n");
    client_expect_line(client, "-BADARG MULTI inside MULTI");
    client_expect_line(client, "-EXECABORT ");
    client_expect(client, "+OK\r\n+QUEUED\r\n+OK\r\n+PONG\r\n");
    assert_int_equal(0, pushed(client));
    client_free(client);
    desk_free(desk);
}

static void a_multi_has_an_end(void **unused)
{
    enum {
        MOST = 10000
    };
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    struct buf bytes = BUF_INIT;
    (void)unused;
    buf_printf(&bytes, "MULTI\r\n");
    for (int i = 0; i < MOST + 1; i++)
        buf_printf(&bytes, "PUSH a %d\r\n", i);
    buf_printf(&bytes, "EXEC\r\n");
    client_send_bytes(client, buf_bytes(&bytes).at, buf_len(&bytes));
    buf_release(&bytes);
    client_expect(client, "+OK\r\n");
    for (int i = 0; i < MOST; i++)
        client_expect(client, "+QUEUED\r\n");
    client_expect_line(client, "-FULL this MULTI is full (at most 10000 commands");
    client_expect_line(client, "-EXECABORT ");
    assert_int_equal(0, pushed(client));
    client_free(client);
    desk_free(desk);
}

static void a_hang_up_before_exec_forgets_it_and_after_exec_does_not(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "MULTI\r\nPUSH a 1\r\n");
    client_expect(client, "+OK\r\n+QUEUED\r\n");
    client_free(client);
    client = client_new(desk);
    client_send(client, "MULTI\r\n");
    client_expect(client, "+OK\r\n");
    client_send(client, "PUSH a 1\r\nPUSH a 2\r\nEXEC\r\n");
    client_free(client);
    assert_true(desk_until(desk, nobody_is_connected, NULL));
    client = client_new(desk);
    expect_pushed_soon(client, 2);
    client_free(client);
    desk_free(desk);
}

/* ---- hanging up --------------------------------------------------------------------------------------------- */

static void pushes_of_a_client_that_hangs_up_are_kept(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "PING\r\n"); /* so that it is connected */
    client_expect(client, "+PONG\r\n");
    for (int i = 0; i < 100; i++)
        client_send(client, "PUSH a %d\r\n", i);
    client_free(client);
    assert_true(desk_until(desk, nobody_is_connected, NULL));
    client = client_new(desk);
    expect_pushed_soon(client, 100);
    client_free(client);
    desk_free(desk);
}

static void half_a_command_and_a_hang_up_leave_nothing_behind(void **unused)
{
    static const char *const halves[] = {"*", "*3\r\n$4\r\nPUSH\r\n$1\r\na\r\n$100\r\nxyz", "PUSH a 1",
                                         "*3\r\n$4\r\nPU"};
    struct desk *desk = desk_new(NULL);
    (void)unused;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        struct client *client = client_new(desk);
        client_send(client, "PING\r\n%s", halves[i]);
        client_expect(client, "+PONG\r\n");
        client_free(client);
        assert_true(desk_until(desk, nobody_is_connected, NULL));
    }
    struct client *client = client_new(desk);
    assert_int_equal(0, pushed(client));
    client_send(client, "STATS\r\n");
    client_read_to(client, "commands_under_way\r\n:1\r\n"); /* STATS itself */
    client_free(client);
    desk_free(desk);
}

/* As `printf 'PUSH a 1\r\nJOBS\r\n' | nc -N -U moonq.sock` does. */
static void a_client_that_only_stops_sending_is_answered(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "PUSH a 1\r\nQUEUES default\r\nPUSH a 2\r\nFETCH nothing BLOCK 20\r\nPI");
    shutdown(client->fd, SHUT_WR);
    client_expect(client, ANY_ID "*1\r\n");
    client_read_to(client, "oldest_ready_age\r\n");
    client_read_to(client, "\r\n");
    client_expect(client, ANY_ID "*0\r\n");
    client_expect_line(client, "-BADARG protocol error: the connection ended in the middle of a command");
    client_expect_end(client);
    client_free(client);
    desk_free(desk);
}

static void a_client_that_stops_sending_in_a_command_is_told_so(void **unused)
{
    static const char *const halves[] = {"PI", "*2\r\n$4\r\nECHO\r\n$2\r\nx", "*", "MULTI\r\nPUSH a 1"};
    struct desk *desk = desk_new(NULL);
    (void)unused;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        struct client *client = client_new(desk);
        client_send(client, "%s", halves[i]);
        shutdown(client->fd, SHUT_WR);
        if (halves[i][0] == 'M')
            client_expect(client, "+OK\r\n");
        client_expect_line(client, "-BADARG protocol error: the connection ended in the middle of a command");
        client_expect_end(client);
        client_free(client);
    }
    desk_free(desk);
}

/* A client that writes all before it reads must not find the connection gone while it writes. */
static void a_client_that_still_sends_can_read_why_the_connection_ends(void **unused)
{
    enum {
        BYTES = 3000000
    };
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    char *line = malloc(BYTES);
    mono_ms give_up = clock_mono() + 10000;
    (void)unused;
    memset(line, 'x', BYTES);
    for (size_t at = 0; at < BYTES;) {
        ssize_t sent = send(client->fd, line + at, BYTES - at, MSG_NOSIGNAL);
        if (sent < 0)
            assert_int_equal(EAGAIN, errno);
        else
            at += (size_t)sent;
        desk_turn(desk);
        assert_true(clock_mono() < give_up);
    }
    client_expect_line(client, "-BADARG protocol error: a line of more than 65536 bytes");
    client_expect_end(client);
    client_free(client);
    assert_true(desk_until(desk, nobody_is_connected, NULL));
    free(line);
    desk_free(desk);
}

/* ... but not for ever. */
static void a_client_that_never_hangs_up_is_closed_all_the_same(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "*x\r\n");
    client_expect_line(client, "-BADARG protocol error");
    client_expect_end(client);
    assert_true(desk_until(desk, nobody_is_connected, NULL));
    client_free(client);
    desk_free(desk);
}

static void a_quit_is_answered_after_all_before_it(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "PUSH a 1\r\nQUIT\r\nPUSH a 2\r\n");
    client_expect(client, ANY_ID "+OK\r\n");
    client_expect_end(client);
    client_free(client);
    desk_free(desk);
}

/* ---- limits ------------------------------------------------------------------------------------------------- */

static void impatient(struct protocol_settings *settings)
{
    settings->half_sent_ms = 50;
    settings->output_pause = 1000;
    settings->output_patience_ms = 50;
}

static void half_a_command_and_no_more_closes_the_connection(void **unused)
{
    struct desk *desk = desk_new(impatient);
    struct client *client = client_new(desk), *idle = client_new(desk);
    (void)unused;
    client_send(client, "PING\r\n*1\r\n$4\r\nPI");
    client_expect(client, "+PONG\r\n");
    client_expect_line(client, "-TIMEOUT half a command, and no more of it for 50ms (half_sent)");
    client_expect_end(client);
    client_send(idle, "PING\r\n"); /* saying nothing is no offence */
    client_expect(idle, "+PONG\r\n");
    client_free(client);
    client_free(idle);
    desk_free(desk);
}

/* Sends without reading until the server takes no more. */
static size_t stuff(struct client *client)
{
    static char pings[6 * 1000];
    size_t sent = 0;
    mono_ms quiet_since = clock_mono();
    for (size_t i = 0; i < sizeof pings; i += 6)
        memcpy(pings + i, "PING\r\n", 6);
    while (clock_mono() - quiet_since < 20 || protocol_connections(client->desk->protocol) == 0) {
        ssize_t len = send(client->fd, pings, sizeof pings, MSG_NOSIGNAL);
        if (len > 0) {
            sent += (size_t)len;
            quiet_since = clock_mono();
        } else if (len < 0 && errno != EAGAIN) {
            break;
        }
        desk_turn(client->desk);
    }
    return sent;
}

static void a_client_that_does_not_read_is_not_read_from_and_then_closed(void **unused)
{
    struct desk *desk = desk_new(impatient);
    struct client *client = client_new(desk);
    (void)unused;
    assert_true(stuff(client) < 8 << 20); /* both sockets' buffers, and no more */
    assert_true(desk_until(desk, nobody_is_connected, NULL));
    client_free(client);
    desk_free(desk);
}

static void patient(struct protocol_settings *settings)
{
    settings->output_pause = 1000;
    settings->output_patience_ms = 60000;
}

static void a_slow_client_that_reads_after_all_gets_everything(void **unused)
{
    struct desk *desk = desk_new(patient);
    struct client *client = client_new(desk);
    (void)unused;
    size_t sent = stuff(client);
    client_send(client, "%.*s", (int)(6 - sent % 6) % 6, "PING\r\n" + sent % 6);
    for (size_t i = 0; i < (sent + 5) / 6; i++)
        client_expect(client, "+PONG\r\n");
    client_free(client);
    desk_free(desk);
}

static void two_connections(struct protocol_settings *settings)
{
    settings->connections_max = 2;
}

static void one_connection_too_many_is_told_so(void **unused)
{
    struct desk *desk = desk_new(two_connections);
    struct client *clients[3];
    (void)unused;
    for (int i = 0; i < 3; i++)
        clients[i] = client_new(desk);
    client_expect_line(clients[2], "-FULL too many connections");
    client_expect_end(clients[2]);
    client_send(clients[0], "QUIT\r\n");
    client_expect(clients[0], "+OK\r\n");
    client_expect_end(clients[0]);
    client_free(clients[2]);
    clients[2] = client_new(desk);
    client_send(clients[2], "PING\r\n");
    client_expect(clients[2], "+PONG\r\n");
    for (int i = 0; i < 3; i++)
        client_free(clients[i]);
    desk_free(desk);
}

static void a_thousand_connections_push_at_once(void **unused)
{
    enum {
        MANY = 1000
    };
    struct desk *desk = desk_new(NULL);
    struct client **clients = calloc(MANY, sizeof *clients);
    struct rlimit files;
    unsigned many = MANY;
    (void)unused;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &files));
    for (int i = 0; i < MANY; i++)
        clients[i] = client_new(desk);
    assert_true(desk_until(desk, connected, &many));
    for (int i = 0; i < MANY; i++)
        client_send(clients[i], "PUSH a %d\r\nPING\r\n", i);
    for (int i = 0; i < MANY; i++)
        client_expect(clients[i], ANY_ID "+PONG\r\n");
    assert_int_equal(MANY, pushed(clients[0]));
    for (int i = 0; i < MANY; i++)
        client_free(clients[i]);
    assert_true(desk_until(desk, nobody_is_connected, NULL));
    free(clients);
    desk_free(desk);
}

static void when_descriptors_run_out_a_connection_waits_its_turn(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    struct rlimit before, none;
    int lowest = dup(0); /* the next free descriptor */
    unsigned one = 1;
    (void)unused;
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)lowest;
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &none));
    for (int i = 0; i < 5; i++)
        desk_turn(desk);
    assert_int_equal(0, protocol_connections(desk->protocol));
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &before));
    assert_true(desk_until(desk, connected, &one));
    client_send(client, "PING\r\n");
    client_expect(client, "+PONG\r\n");
    client_free(client);
    desk_free(desk);
}

static void a_stop_answers_what_was_asked(void **unused)
{
    struct desk *desk = desk_new(NULL);
    struct client *client = client_new(desk);
    (void)unused;
    client_send(client, "PING\r\n");
    client_expect(client, "+PONG\r\n");
    for (int i = 0; i < 50; i++)
        client_send(client, "PUSH a %d\r\n", i);
    desk_turn(desk); /* read, and on the way to the disk */
    protocol_stop_listening(desk->protocol);
    struct client watcher = *client;
    desk_free(desk);
    for (int i = 0; i < 50; i++) {
        char bytes[20];
        assert_int_equal(20, recv(watcher.fd, bytes, 20, MSG_DONTWAIT));
        assert_memory_equal("$13\r\n", bytes, 5);
    }
    client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_come_in_the_order_of_the_commands),
        cmocka_unit_test(a_read_sees_the_changes_before_it_and_not_those_behind),
        cmocka_unit_test(a_pipeline_may_be_of_any_depth),
        cmocka_unit_test(a_pipeline_goes_on_behind_large_replies),
        cmocka_unit_test(commands_may_come_byte_by_byte),
        cmocka_unit_test(a_large_payload_comes_in_pieces),
        cmocka_unit_test(a_refused_command_leaves_the_connection_as_it_was),
        cmocka_unit_test(bytes_that_are_no_request_close_the_connection_after_the_answers),
        cmocka_unit_test(a_request_over_the_limit_is_refused_and_passed_over),
        cmocka_unit_test(exec_does_all_of_it),
        cmocka_unit_test(exec_does_none_of_it_if_one_is_refused),
        cmocka_unit_test(exec_is_aborted_by_an_error_before_it),
        cmocka_unit_test(a_multi_has_an_end),
        cmocka_unit_test(a_hang_up_before_exec_forgets_it_and_after_exec_does_not),
        cmocka_unit_test(pushes_of_a_client_that_hangs_up_are_kept),
        cmocka_unit_test(half_a_command_and_a_hang_up_leave_nothing_behind),
        cmocka_unit_test(a_client_that_only_stops_sending_is_answered),
        cmocka_unit_test(a_client_that_stops_sending_in_a_command_is_told_so),
        cmocka_unit_test(a_client_that_still_sends_can_read_why_the_connection_ends),
        cmocka_unit_test(a_client_that_never_hangs_up_is_closed_all_the_same),
        cmocka_unit_test(a_quit_is_answered_after_all_before_it),
        cmocka_unit_test(half_a_command_and_no_more_closes_the_connection),
        cmocka_unit_test(a_client_that_does_not_read_is_not_read_from_and_then_closed),
        cmocka_unit_test(a_slow_client_that_reads_after_all_gets_everything),
        cmocka_unit_test(one_connection_too_many_is_told_so),
        cmocka_unit_test(a_thousand_connections_push_at_once),
        cmocka_unit_test(when_descriptors_run_out_a_connection_waits_its_turn),
        cmocka_unit_test(a_stop_answers_what_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
