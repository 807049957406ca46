/* A worker process, from outside: what it answers to the jobs it is given. */
#include "fake_server.h"

#include "base/log.h"

static struct fake_server s;

static void expect_text(struct slice got, const char *wanted)
{
    if (!slice_equal(got, slice_of(wanted)))
        fail_msg("got '%.*s', not '%s'", SLICE_ARG(got), wanted);
}

static void expect_in(struct slice got, const char *part)
{
    if (!memmem(got.at, got.len, part, strlen(part)))
        fail_msg("'%s' is not in '%.*s'", part, SLICE_ARG(got));
}

/* A worker with this one handler, called "job". */
static void begin(const char *run)
{
    char text[8192];
    server_init(&s);
    snprintf(text, sizeof text, "return { run = function(job)\n%s\nend }", run);
    server_file(&s, "handlers/job.lua", text);
    server_worker(&s);
}

static struct frame_done done_of(job_id id)
{
    struct frame frame;
    while (server_next(&s, &frame)) {
        if (frame.kind == FRAME_FAILED && frame.failed.id == id)
            fail_msg("failed: %.*s", SLICE_ARG(frame.failed.message));
        if (frame.kind == FRAME_DONE && frame.done.id == id)
            break;
    }
    assert_int_equal(frame.kind, FRAME_DONE);
    server_slot_back(&s, frame.done.slot);
    return frame.done;
}

static struct frame_failed failed_of(job_id id)
{
    struct frame frame;
    server_await(&s, FRAME_FAILED, &frame);
    assert_int_equal(frame.failed.id, id);
    server_slot_back(&s, frame.failed.slot);
    return frame.failed;
}

static void a_result_is_kept_as_json(void **state)
{
    (void)state;
    begin("return { sum = job.args.a + job.args.b, list = job.args.list, none = job.args.none }");
    struct frame_done done =
        done_of(server_give(&s, 0, "job", "{\"a\":1,\"b\":2.5,\"list\":[],\"none\":null}"));
    json_t *result = json_loadb(done.result.at, done.result.len, 0, NULL),
           *wanted = json_pack("{s:f,s:[],s:n}", "sum", 3.5, "list", "none");
    assert_true(json_equal(result, wanted));
    json_decref(result);
    json_decref(wanted);
    assert_int_equal(server_end(&s), 0);
}

static void no_result_is_empty(void **state)
{
    (void)state;
    begin("");
    assert_int_equal(done_of(server_give(&s, 0, "job", NULL)).result.len, 0);
    server_end(&s);
}

static void the_job_has_its_fields(void **state)
{
    (void)state;
    begin("return table.concat({ job.id, job.type, job.queue, job.attempt, job.max_attempts, job.crashes,\n"
          "  job.token, job.tags[1], job.tags[2], job.meta.trace, job.pushed_at, job.priority, #job.inputs "
          "}, ' ')");
    expect_text(done_of(server_give(&s, 0, "job", NULL)).result,
                "\"0000000000001 job default 1 25 0 9007199254740993 red green t1 1767225600 5 0\"");
    server_end(&s);
}

static void a_payload_that_is_not_json_fails_for_good(void **state)
{
    (void)state;
    begin("return job.args.x");
    struct frame_failed failed = failed_of(server_give(&s, 0, "job", "{\"x\":"));
    assert_int_equal(failed.verdict, FAIL_DEAD);
    expect_text(failed.code, "BADARG");
    expect_in(failed.message, "the payload is not JSON");
    server_end(&s);
}

static void an_error_has_message_and_traceback(void **state)
{
    (void)state;
    begin("local function inner() local x = nil; return x.y end\n"
          "inner()");
    struct frame_failed failed = failed_of(server_give(&s, 0, "job", NULL));
    assert_int_equal(failed.verdict, FAIL_RETRY);
    assert_int_equal(failed.delay_ms, -1);
    expect_text(failed.code, "SCRIPT");
    expect_in(failed.message, "handlers/job.lua:2: attempt to index local 'x' (a nil value)");
    expect_in(failed.traceback, "handlers/job.lua:2: in function 'inner'");
    server_end(&s);
}

/* Whoever groups errors must find the same failure of two jobs together: no addresses. */
static void an_error_reads_the_same_in_every_run(void **state)
{
    static const struct {
        const char *run, *message;
    } rows[] = {
        {"error('got ' .. tostring({}) .. ' and ' .. tostring(job.log))", "got table and function"},
        {"error({ message = 'got ' .. tostring(coroutine.create(function() end)) })", "got thread"},
        {"error({ { job.log }, 1 })", "(an error table without a message)"}, /* half a JSON is none */
        {"('abc'):gsub('.', function(c) error('in ' .. c) end)", "in a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        begin(rows[i].run);
        struct frame_failed failed = failed_of(server_give(&s, 0, "job", NULL));
        const char *end = failed.message.at + failed.message.len - strlen(rows[i].message);
        if (failed.message.len < strlen(rows[i].message) ||
            memcmp(end, rows[i].message, strlen(rows[i].message)))
            fail_msg("'%.*s' is not '%s'", SLICE_ARG(failed.message), rows[i].message);
        if (i == 2)
            expect_text(failed.message, rows[i].message);
        if (memmem(failed.traceback.at, failed.traceback.len, "0x", 2))
            fail_msg("an address in '%.*s'", SLICE_ARG(failed.traceback));
        assert_null(memmem(failed.traceback.at, failed.traceback.len, "builtin", 7));
        server_end(&s);
    }
}

static void an_error_table_keeps_code_and_message(void **state)
{
    (void)state;
    begin("error({ code = 'NOMONEY', message = 'the card is empty' })");
    struct frame_failed failed = failed_of(server_give(&s, 0, "job", NULL));
    expect_text(failed.code, "NOMONEY");
    expect_text(failed.message, "the card is empty");
    assert_int_equal(failed.verdict, FAIL_RETRY);
    server_end(&s);
}

static void the_named_errors_have_their_verdicts(void **state)
{
    static const struct {
        const char *run, *message;
        int verdict;
        int64_t delay_ms;
    } rows[] = {
        {"moonq.permanent('no such user')", "no such user", FAIL_DEAD, -1},
        {"moonq.retry_in('90s', 'busy')", "busy", FAIL_RETRY, 90000},
        {"moonq.retry_in(0.25)", "retry later", FAIL_RETRY, 250},
        {"moonq.snooze('10m')", "snoozed", FAIL_SNOOZE, 600000},
        {"moonq.discard('too old')", "too old", FAIL_DISCARD, -1},
        {"require('moonq').permanent()", "failed for good", FAIL_DEAD, -1},
        /* caught and passed on, it still says the same */
        {"local ok, err = pcall(moonq.snooze, 5); error(err)", "snoozed", FAIL_SNOOZE, 5000},
        {"moonq.retry_in('soon')", NULL, FAIL_RETRY, -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        begin(rows[i].run);
        struct frame_failed failed = failed_of(server_give(&s, 0, "job", NULL));
        assert_int_equal(failed.verdict, rows[i].verdict);
        assert_int_equal(failed.delay_ms, rows[i].delay_ms);
        if (rows[i].message)
            expect_text(failed.message, rows[i].message);
        else
            expect_in(failed.message, "'soon' is not a duration");
        server_end(&s);
    }
}

static void the_last_attempt_that_fails_is_dead(void **state)
{
    (void)state;
    begin("moonq.retry_in(5)");
    assert_true(slot_move(s.page, 0, SLOT_FREE, SLOT_GIVEN));
    job_id id = server_queue(&s, &(struct given){.slot = 0, .type = "job", .attempt = 3, .max_attempts = 3});
    server_send(&s);
    assert_int_equal(failed_of(id).verdict, FAIL_DEAD);
    server_end(&s);
}

static void children_travel_with_the_outcome(void **state)
{
    (void)state;
    begin("job:push('email.send', { to = 'a@b.c' }, { queue = 'mail', delay = '10m', priority = 2, tags = { "
          "'x', 'y' },\n"
          "  meta = { k = 1 }, attempts = 3, timeout = 1.5, at = nil })\n"
          "job:push('other')");
    struct frame_done done = done_of(server_give(&s, 0, "job", NULL));
    struct reader children = reader_of(done.children);
    struct push_order child;
    struct mq_err err;
    assert_int_equal(done.child_count, 2);
    assert_int_equal(frame_read_child(&child, &children, &err), MQ_OK);
    expect_text(child.type, "email.send");
    expect_text(child.payload, "{\"to\":\"a@b.c\"}");
    expect_text(child.queue, "mail");
    expect_text(child.tags, "x\ny\n");
    expect_text(child.meta, "{\"k\":1}");
    assert_int_equal(child.delay_ms, 600000);
    assert_int_equal(child.timeout_ms, 1500);
    assert_int_equal(child.priority, 2);
    assert_int_equal(child.attempts, 3);
    assert_int_equal(frame_read_child(&child, &children, &err), MQ_OK);
    expect_text(child.payload, "{}");
    assert_true(reader_done(&children));
    server_end(&s);
}

static void a_bad_push_raises_at_the_handlers_line(void **state)
{
    static const struct {
        const char *push, *code, *message;
    } rows[] = {
        {"job:push('a b')", "BADARG", "handlers/job.lua:2: job type name 'a b' has an illegal character"},
        {"job:push('a', {}, { wait = 5 })", "BADARG", "handlers/job.lua:2: unknown option 'wait'"},
        {"job:push('a', {}, { delay = '5 s' })", "BADARG", "'5 s' is not a duration"},
        {"job:push('a', {}, { priority = 10 })", "BADARG", "PRIORITY 10 is out of range"},
        {"job:push('a', {}, { priority = 1.5 })", "BADARG", "priority 1.5 is not a whole number"},
        {"job:push('a', { f = print })", "BADARG", "JSON cannot hold a function"},
        {"job:push('a', ('x'):rep(2^20))", "TOOBIG", "larger than the limit of 1048576 bytes"},
        {"job:push('a', {}, { tags = 'x' })", "BADARG", "tags is not a list"},
        {"job:push('a', {}, { meta = { x = ('y'):rep(5000) } })", "TOOBIG", "limit of 4096"},
    };
    char run[300];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(run, sizeof run, "%s", rows[i].push);
        begin(run);
        struct frame_failed failed = failed_of(server_give(&s, 0, "job", NULL));
        expect_text(failed.code, rows[i].code);
        expect_in(failed.message, rows[i].message);
        server_end(&s);
    }
}

static void what_a_failed_job_pushed_is_forgotten(void **state)
{
    (void)state;
    begin("if job.args.fail then job:push('x') error('no') end job:push('y')");
    failed_of(server_give(&s, 0, "job", "{\"fail\":true}"));
    assert_int_equal(done_of(server_give(&s, 0, "job", NULL)).child_count, 1);
    server_end(&s);
}

static void progress_and_lines_come_before_the_outcome(void **state)
{
    struct frame frame;
    (void)state;
    begin("job:progress(0.5, 'half')\njob:log('warn', 'slow', { ms = 5 })\nprint('a', 1)");
    job_id id = server_give(&s, 0, "job", NULL);
    server_await(&s, FRAME_PROGRESS, &frame);
    assert_int_equal(frame.progress.id, id);
    assert_true(frame.progress.fraction == 0.5f);
    expect_text(frame.progress.note, "half");
    server_await(&s, FRAME_LOG, &frame);
    assert_int_equal(frame.log.id, id);
    assert_int_equal(frame.log.level, LOG_WARN);
    expect_text(frame.log.text, "slow");
    expect_text(frame.log.fields, "{\"ms\":5}");
    server_await(&s, FRAME_LOG, &frame);
    assert_int_equal(frame.log.level, LOG_INFO);
    expect_text(frame.log.text, "a\t1");
    done_of(id);
    server_end(&s);
}

/* However soon it came behind another: what is told last is what is kept. */
static void the_last_progress_is_told_before_a_wait_and_before_the_end(void **state)
{
    static const char *const ends[] = {"time.sleep(60)", "return 1", "error('no')"};
    struct frame frame;
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char run[200];
        snprintf(
            run, sizeof run,
            "local time = require 'moonq.time'\njob:progress(0.1, 'read')\njob:progress(0.5, 'sent')\n%s",
            ends[i]);
        begin(run);
        server_give(&s, 0, "job", NULL);
        server_await(&s, FRAME_PROGRESS, &frame);
        assert_true(frame.progress.fraction == 0.1f);
        assert_true(server_next(&s, &frame));
        assert_int_equal(frame.kind, FRAME_PROGRESS);
        assert_true(frame.progress.fraction == 0.5f);
        expect_text(frame.progress.note, "sent");
        server_end(&s);
    }
}

static void giant_lines_are_cut_and_too_many_are_dropped(void **state)
{
    struct frame frame;
    unsigned lines = 0;
    (void)state;
    begin("job:log(('x'):rep(1e6))\nfor i = 1, 20000 do job:log('line') end");
    job_id id = server_give(&s, 0, "job", NULL);
    server_await(&s, FRAME_LOG, &frame);
    assert_int_equal(frame.log.text.len, 4096);
    while (server_next(&s, &frame) && frame.kind == FRAME_LOG)
        lines++;
    assert_int_equal(frame.kind, FRAME_DONE);
    assert_int_equal(frame.done.id, id);
    assert_int_equal(lines, 10000);
    server_end(&s);
}

static void a_giant_result_fails_the_job(void **state)
{
    (void)state;
    /* the second is small in memory, and a gigabyte as text */
    begin("if job.args.flat then return ('x'):rep(2^21) end\n"
          "local t = {} for i = 1, 30 do t = { t, t } end return t");
    struct frame_failed failed = failed_of(server_give(&s, 0, "job", "{\"flat\":true}"));
    expect_text(failed.code, "TOOBIG");
    assert_int_equal(failed.verdict, FAIL_DEAD);
    failed = failed_of(server_give(&s, 0, "job", NULL));
    expect_text(failed.code, "TOOBIG");
    server_end(&s);
}

static void jobs_that_wait_let_others_run(void **state)
{
    struct frame frame;
    (void)state;
    server_init(&s);
    server_file(&s, "handlers/slow.lua",
                "return { run = function() require('moonq.time').sleep('300ms') end }");
    server_file(&s, "handlers/quick.lua", "return { run = function() end }");
    server_worker(&s);
    job_id slow = server_give(&s, 0, "slow", NULL), quick = server_give(&s, 1, "quick", NULL);
    server_await(&s, FRAME_DONE, &frame);
    assert_int_equal(frame.done.id, quick);
    server_await(&s, FRAME_DONE, &frame);
    assert_int_equal(frame.done.id, slow);
    server_end(&s);
}

static void many_jobs_in_one_write_all_answer(void **state)
{
    struct frame frame;
    unsigned done = 0;
    (void)state;
    server_init(&s);
    s.slots = 1000;
    server_file(&s, "handlers/job.lua",
                "return { run = function(job) if job.args.n % 3 == 0 then error('three') end\n"
                "if job.args.n % 3 == 1 then require('moonq.time').sleep(0.01) end return job.args.n end }");
    server_worker(&s);
    for (unsigned i = 0; i < s.slots; i++) {
        char payload[32];
        snprintf(payload, sizeof payload, "{\"n\":%u}", i);
        slot_move(s.page, i, SLOT_FREE, SLOT_GIVEN);
        server_queue(&s, &(struct given){.slot = i, .type = "job", .payload = payload});
    }
    server_send(&s);
    while (done < s.slots && server_next(&s, &frame)) {
        uint32_t slot = frame.kind == FRAME_DONE ? frame.done.slot : frame.failed.slot;
        assert_int_equal(frame.kind, slot % 3 == 0 ? FRAME_FAILED : FRAME_DONE);
        done++;
    }
    assert_int_equal(done, s.slots);
    server_end(&s);
}

static void a_revoked_slot_is_dropped(void **state)
{
    struct frame frame;
    (void)state;
    begin("");
    slot_move(s.page, 3, SLOT_FREE, SLOT_REVOKED);
    job_id id = server_queue(&s, &(struct given){.slot = 3, .type = "job"});
    server_send(&s);
    server_await(&s, FRAME_DROPPED, &frame);
    assert_int_equal(frame.signal.id, id);
    assert_int_equal(frame.signal.slot, 3);
    server_slot_back(&s, 3);
    done_of(server_give(&s, 3, "job", NULL)); /* and the slot can be used again */
    server_end(&s);
}

static void a_type_without_handler_is_not_lost(void **state)
{
    (void)state;
    begin("");
    struct frame_failed failed = failed_of(server_give(&s, 0, "nobody", NULL));
    assert_int_equal(failed.verdict, FAIL_RETRY);
    expect_text(failed.code, "NOTFOUND");
    server_end(&s);
}

static void drain_finishes_what_runs_and_exits(void **state)
{
    (void)state;
    begin("require('moonq.time').sleep('200ms') return 'done'");
    job_id id = server_give(&s, 0, "job", NULL);
    frame_add_drain(&s.out);
    server_send(&s);
    expect_text(done_of(id).result, "\"done\"");
    struct frame frame;
    assert_false(server_next(&s, &frame));
    assert_int_equal(server_end(&s), 0);
}

/* The server's stop comes while it starts a worker anew: what was read together with SETUP is not announced again. */
static void drain_that_comes_with_setup_is_heard(void **state)
{
    (void)state;
    server_init(&s);
    s.stops_at_once = true;
    server_worker(&s);
    struct frame frame;
    assert_false(server_next(&s, &frame));
    assert_int_equal(server_end(&s), 0);
}

static void the_worker_ends_with_the_server(void **state)
{
    (void)state;
    begin("require('moonq.time').sleep('1h')");
    job_id id = server_give(&s, 0, "job", NULL);
    while (atomic_load(&s.page->slots[0]) != SLOT_TAKEN)
        usleep(200);
    (void)id;
    close(s.socket);
    s.socket = -1;
    assert_int_equal(server_end(&s), 0); /* waits for its end */
}

static void signals_to_the_whole_group_are_the_servers_business(void **state)
{
    (void)state;
    begin("return 'still here'");
    kill(s.pid, SIGINT);
    kill(s.pid, SIGTERM);
    kill(s.pid, SIGHUP);
    expect_text(done_of(server_give(&s, 0, "job", NULL)).result, "\"still here\"");
    server_end(&s);
}

/* A neighbour fills the memory and waits; who then finds none is not charged for it. */
static void who_starves_runs_again_uncharged(void **state)
{
    struct frame frame;
    (void)state;
    server_init(&s);
    server_file(&s, "handlers/hog.lua",
                "local sleep = require('moonq.time').sleep\nreturn { run = function(job) local t = {}\n"
                "for i = 1, job.args.n do t[i] = job.id .. ('x'):rep(1e5) .. i end print 'full' sleep('1h') "
                "return t end }");
    server_file(&s, "handlers/small.lua",
                "return { run = function() local t = {} for i = 1, 150 do t[i] = ('y'):rep(1e5) .. i end "
                "return #t end }");
    server_worker(&s);
    server_give(&s, 0, "hog", "{\"n\":380}");
    server_await(&s, FRAME_LOG, &frame);
    server_give(&s, 1, "hog", "{\"n\":180}");
    server_await(&s, FRAME_LOG, &frame);
    struct frame_failed failed = failed_of(server_give(&s, 2, "small", NULL));
    assert_int_equal(failed.verdict, FAIL_SNOOZE);
    assert_int_equal(failed.delay_ms, 1000);
    expect_text(failed.message, "not enough memory");
    server_end(&s);
}

static void it_tells_who_is_on_the_cpu_and_that_it_lives(void **state)
{
    (void)state;
    begin("local time = require 'moonq.time' local t = time.mono() while time.mono() - t < 0.3 do end");
    job_id id = server_give(&s, 0, "job", NULL);
    server_await_cpu(&s, id);
    done_of(id);
    uint64_t beats = atomic_load(&s.page->beats);
    assert_true(atomic_load(&s.page->turns) >= 1);
    mono_ms until = clock_mono() + GIVE_UP_MS;
    while (atomic_load(&s.page->beats) < beats + 2)
        assert_true(clock_mono() < until);
    assert_int_equal(atomic_load(&s.page->on_cpu), 0);
    server_end(&s);
}

static void a_job_object_that_was_kept_is_refused(void **state)
{
    (void)state;
    server_init(&s);
    server_file(&s, "handlers/job.lua",
                "local kept\nreturn { run = function(job)\n"
                "if kept then return kept:push('x') end kept = job end }");
    server_worker(&s);
    done_of(server_give(&s, 0, "job", NULL));
    expect_in(failed_of(server_give(&s, 0, "job", NULL)).message, "this job has ended");
    server_end(&s);
}

static void retry_policies_are_asked(void **state)
{
    static const struct {
        const char *retry;
        unsigned attempt;
        int verdict;
        int64_t least_ms, most_ms;
    } rows[] = {
        {"'fixed'", 1, FAIL_RETRY, 60000, 66000},
        {"'exponential'", 3, FAIL_RETRY, 60000, 66000},
        {"{ policy = 'exponential', base = '1s', factor = 10, cap = '1m', jitter = 0 }", 2, FAIL_RETRY, 10000,
         10000},
        {"{ policy = 'exponential', base = '1s', factor = 10, cap = '1m', jitter = 0 }", 24, FAIL_RETRY,
         60000, 60000},
        {"'linear'", 2, FAIL_RETRY, 60000, 66000},
        {"'polynomial'", 2, FAIL_RETRY, 31000, 34100},
        {"'default'", 2, FAIL_RETRY, 31000, 34100},
        {"{ '10s', 60 }", 1, FAIL_RETRY, 10000, 11000},
        {"{ '10s', 60 }", 9, FAIL_RETRY, 60000, 66000},
        {"'own'", 2, FAIL_RETRY, 14000, 14000},
        {"function(job, err) return err.message:match 'boom' and 'discard' end", 1, FAIL_DISCARD, -1, -1},
        {"function(job, err) return 'dead' end", 1, FAIL_DEAD, -1, -1},
        {"function(job, err) return '2m' end", 1, FAIL_RETRY, 120000, 120000},
        {"function(job) return job.pushed_at == 1767225600 and '3m' or 'dead' end", 1, FAIL_RETRY, 180000,
         180000},
        /* a policy that fails: the server's own backoff */
        {"function(job, err) error('oops') end", 1, FAIL_RETRY, -1, -1},
        {"function(job, err) while true do end end", 1, FAIL_RETRY, -1, -1},
        {"function(job, err) return {} end", 1, FAIL_RETRY, -1, -1},
        {"function(job, err) return -1 end", 1, FAIL_RETRY, -1, -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[500];
        server_init(&s);
        server_file(&s, "retries/own.lua", "return function(job, err) return job.attempt * 7 end");
        snprintf(text, sizeof text, "return { retry = %s, run = function() error('boom') end }",
                 rows[i].retry);
        server_file(&s, "handlers/job.lua", text);
        server_worker(&s);
        slot_move(s.page, 0, SLOT_FREE, SLOT_GIVEN);
        job_id id = server_queue(&s, &(struct given){.slot = 0, .type = "job", .attempt = rows[i].attempt});
        server_send(&s);
        struct frame_failed failed = failed_of(id);
        if (failed.verdict != rows[i].verdict || failed.delay_ms < rows[i].least_ms ||
            failed.delay_ms > rows[i].most_ms)
            fail_msg("%s: verdict %d, delay %lld", rows[i].retry, failed.verdict, (long long)failed.delay_ms);
        server_end(&s);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_is_kept_as_json),
        cmocka_unit_test(no_result_is_empty),
        cmocka_unit_test(the_job_has_its_fields),
        cmocka_unit_test(a_payload_that_is_not_json_fails_for_good),
        cmocka_unit_test(an_error_has_message_and_traceback),
        cmocka_unit_test(an_error_reads_the_same_in_every_run),
        cmocka_unit_test(an_error_table_keeps_code_and_message),
        cmocka_unit_test(the_named_errors_have_their_verdicts),
        cmocka_unit_test(the_last_attempt_that_fails_is_dead),
        cmocka_unit_test(children_travel_with_the_outcome),
        cmocka_unit_test(a_bad_push_raises_at_the_handlers_line),
        cmocka_unit_test(what_a_failed_job_pushed_is_forgotten),
        cmocka_unit_test(progress_and_lines_come_before_the_outcome),
        cmocka_unit_test(the_last_progress_is_told_before_a_wait_and_before_the_end),
        cmocka_unit_test(giant_lines_are_cut_and_too_many_are_dropped),
        cmocka_unit_test(a_giant_result_fails_the_job),
        cmocka_unit_test(jobs_that_wait_let_others_run),
        cmocka_unit_test(many_jobs_in_one_write_all_answer),
        cmocka_unit_test(a_revoked_slot_is_dropped),
        cmocka_unit_test(a_type_without_handler_is_not_lost),
        cmocka_unit_test(drain_finishes_what_runs_and_exits),
        cmocka_unit_test(drain_that_comes_with_setup_is_heard),
        cmocka_unit_test(the_worker_ends_with_the_server),
        cmocka_unit_test(signals_to_the_whole_group_are_the_servers_business),
        cmocka_unit_test(who_starves_runs_again_uncharged),
        cmocka_unit_test(it_tells_who_is_on_the_cpu_and_that_it_lives),
        cmocka_unit_test(a_job_object_that_was_kept_is_refused),
        cmocka_unit_test(retry_policies_are_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
