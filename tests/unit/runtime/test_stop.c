/* Jobs that are told to stop: cancelled, out of time, on the CPU or waiting. */
#include "fake_server.h"

static struct fake_server s;

static void begin(const char *run)
{
    char text[8192];
    server_init(&s);
    snprintf(text, sizeof text, "local time = require 'moonq.time'\nreturn { run = function(job)\n%s\nend }",
             run);
    server_file(&s, "handlers/job.lua", text);
    server_file(&s, "handlers/neighbour.lua", "return { run = function() return 'fine' end }");
    server_worker(&s);
}

static struct frame_failed failed_of(job_id id)
{
    struct frame frame;
    server_await(&s, FRAME_FAILED, &frame);
    assert_int_equal(frame.failed.id, id);
    server_slot_back(&s, frame.failed.slot);
    return frame.failed;
}

static void expect(struct frame_failed failed, int verdict, const char *code)
{
    if (failed.verdict != verdict || !slice_equal(failed.code, slice_of(code)))
        fail_msg("verdict %d, %.*s: %.*s", failed.verdict, SLICE_ARG(failed.code), SLICE_ARG(failed.message));
}

/* Waits until the job has yielded. */
static void await_waiting(void)
{
    struct frame frame;
    server_await(&s, FRAME_LOG, &frame); /* it says so before it waits */
}

static void tell(enum frame_kind kind, uint32_t slot, job_id id, bool hard)
{
    frame_add_signal(&s.out, kind, slot, id, hard);
    server_send(&s);
}

static void neighbours_run(void)
{
    struct frame frame;
    job_id id = server_give(&s, 9, "neighbour", NULL);
    server_await(&s, FRAME_DONE, &frame);
    assert_int_equal(frame.done.id, id);
    server_slot_back(&s, 9);
}

static void a_cancel_is_raised_in_the_call_that_waits(void **state)
{
    (void)state;
    begin("print 'waits' time.sleep('1h')");
    job_id id = server_give(&s, 0, "job", NULL);
    await_waiting();
    tell(FRAME_CANCEL, 0, id, false);
    struct frame_failed failed = failed_of(id);
    expect(failed, FAIL_CANCELLED, "CANCELLED");
    assert_non_null(memmem(failed.traceback.at, failed.traceback.len, "handlers/job.lua:3", 18));
    neighbours_run();
    server_end(&s);
}

static void a_cancelled_job_may_tidy_up(void **state)
{
    struct frame frame;
    (void)state;
    begin("print 'waits' local ok, err = pcall(time.sleep, '1h')\n"
          "time.sleep(0.01) print('tidy', ok, err.code, job:cancelled()) error(err)");
    job_id id = server_give(&s, 0, "job", NULL);
    await_waiting();
    tell(FRAME_CANCEL, 0, id, false);
    server_await(&s, FRAME_LOG, &frame);
    assert_true(slice_equal(frame.log.text, SLICE("tidy\tfalse\tCANCELLED\ttrue")));
    expect(failed_of(id), FAIL_CANCELLED, "CANCELLED");
    server_end(&s);
}

static void a_hard_cancel_ends_what_waits_at_once(void **state)
{
    (void)state;
    begin("print 'waits' while true do pcall(time.sleep, '1h') end");
    job_id id = server_give(&s, 0, "job", NULL);
    await_waiting();
    tell(FRAME_CANCEL, 0, id, true);
    expect(failed_of(id), FAIL_CANCELLED, "CANCELLED");
    neighbours_run();
    server_end(&s);
}

static void a_timeout_is_raised_in_the_call_that_waits(void **state)
{
    (void)state;
    begin("print 'waits' time.sleep('1h')");
    job_id id = server_give(&s, 0, "job", NULL);
    await_waiting();
    tell(FRAME_TIMEOUT, 0, id, false);
    expect(failed_of(id), FAIL_RETRY, "TIMEOUT");
    server_end(&s);
}

static void who_swallows_a_timeout_is_ended_at_the_next_yield(void **state)
{
    (void)state;
    begin("print 'waits' while true do pcall(time.sleep, '1h') end");
    job_id id = server_give(&s, 0, "job", NULL);
    await_waiting();
    tell(FRAME_TIMEOUT, 0, id, false);
    expect(failed_of(id), FAIL_RETRY, "TIMEOUT");
    neighbours_run();
    server_end(&s);
}

/* Tells by frame and signal, as the server does for a job that is on the CPU. */
static struct frame_failed interrupt(job_id id, enum frame_kind kind, bool hard)
{
    server_await_cpu(&s, id);
    tell(kind, 0, id, hard);
    kill(s.pid, SIGUSR1);
    return failed_of(id);
}

/* Loops that the interpreter runs: string.gsub's callback, or a pcall with a C call, are never compiled. */
static const char *const loops[] = {
    "while true do local s = ('x'):gsub('x', function() return 'y' end) end",
    "while true do pcall(function() while true do ('x'):gsub('x', function() end) end end) end",
    "local function f() while true do ('x'):gsub('x', function() end) end end\n"
    "while true do pcall(pcall, pcall, f) end",
    "local co = coroutine.wrap(function() while true do ('x'):gsub('x', function() end) end end) while true "
    "do pcall(co) end",
    "while true do local co = coroutine.create(function() while true do ('x'):gsub('x', function() end) end "
    "end)\n"
    "coroutine.resume(co) end",
    "local function f() local ok = pcall(f) while true do ('x'):gsub('x', function() end) end end f()",
    "while true do xpcall(function() while true do ('x'):gsub('x', function() end) end end, function(e) "
    "return e end) end",
};

static void a_signal_ends_an_interpreted_loop(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        begin(loops[i]);
        job_id id = server_give(&s, 0, "job", NULL);
        struct frame_failed failed = interrupt(id, i % 2 ? FRAME_CANCEL : FRAME_TIMEOUT, true);
        expect(failed, i % 2 ? FAIL_CANCELLED : FAIL_RETRY, i % 2 ? "CANCELLED" : "TIMEOUT");
        neighbours_run();
        server_end(&s);
    }
}

static void a_hard_timeout_ends_what_waits_at_once(void **state)
{
    (void)state;
    begin("print 'waits' while true do pcall(time.sleep, '1h') end");
    job_id id = server_give(&s, 0, "job", NULL);
    await_waiting();
    tell(FRAME_TIMEOUT, 0, id, true);
    expect(failed_of(id), FAIL_RETRY, "TIMEOUT");
    neighbours_run();
    server_end(&s);
}

static void a_computing_job_sees_its_cancel_without_a_signal(void **state)
{
    struct frame frame;
    (void)state;
    begin("while not job:cancelled() do end return 'saw it'");
    job_id id = server_give(&s, 0, "job", NULL);
    server_await_cpu(&s, id);
    tell(FRAME_CANCEL, 0, id, false);
    server_await(&s, FRAME_DONE, &frame);
    assert_int_equal(frame.done.id, id);
    server_end(&s);
}

static void a_late_signal_hurts_nobody(void **state)
{
    struct frame frame;
    (void)state;
    begin("local t = time.mono() while time.mono() - t < 0.2 do ('x'):gsub('x', function() end) end return "
          "'fine'");
    job_id id = server_give(&s, 0, "job", NULL);
    server_await_cpu(&s, id);
    tell(FRAME_TIMEOUT, 1, 12345, false); /* about another job, which is gone */
    kill(s.pid, SIGUSR1);
    server_await(&s, FRAME_DONE, &frame);
    assert_int_equal(frame.done.id, id);
    kill(s.pid, SIGUSR1); /* nobody is on the CPU */
    neighbours_run();
    server_end(&s);
}

static void a_soft_cancel_lets_a_computing_job_look(void **state)
{
    struct frame frame;
    (void)state;
    begin("while not job:cancelled() do ('x'):gsub('x', function() end) end return 'saw it'");
    job_id id = server_give(&s, 0, "job", NULL);
    server_await_cpu(&s, id);
    tell(FRAME_CANCEL, 0, id, false);
    kill(s.pid, SIGUSR1);
    server_await(&s, FRAME_DONE, &frame);
    assert_int_equal(frame.done.id, id);
    server_end(&s);
}

static void a_soft_cancel_is_raised_before_the_grace_is_over(void **state)
{
    (void)state;
    begin("while true do ('x'):gsub('x', function() end) end");
    server_end(&s);
    server_init(&s);
    s.cancel_grace_ms = 200;
    server_file(&s, "handlers/job.lua",
                "return { run = function() while true do ('x'):gsub('x', function() end) end end }");
    server_worker(&s);
    job_id id = server_give(&s, 0, "job", NULL);
    expect(interrupt(id, FRAME_CANCEL, false), FAIL_CANCELLED, "CANCELLED");
    server_end(&s);
}

static void a_wait_inside_a_coroutine_makes_the_job_wait(void **state)
{
    struct frame frame;
    (void)state;
    begin("local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) print 'waits' "
          "time.sleep(0.05)\n"
          "  return b + 1 end)\n"
          "return { co(1), co(10), coroutine.running() == nil }");
    job_id id = server_give(&s, 0, "job", NULL);
    neighbours_run();
    server_await(&s, FRAME_DONE, &frame);
    assert_int_equal(frame.done.id, id);
    assert_true(slice_equal(frame.done.result, SLICE("[2,11,true]")));
    server_end(&s);
}

static void a_stop_reaches_a_wait_inside_a_coroutine(void **state)
{
    (void)state;
    begin("print 'waits' coroutine.wrap(function() time.sleep('1h') end)()");
    job_id id = server_give(&s, 0, "job", NULL);
    await_waiting();
    tell(FRAME_TIMEOUT, 0, id, false);
    expect(failed_of(id), FAIL_RETRY, "TIMEOUT");
    server_end(&s);
}

static void who_waits_where_lua_cannot_is_told(void **state)
{
    static const char *const rows[] = {
        "table.sort({ 3, 2, 1 }, function(a, b) time.sleep(0.01) return a < b end)",
        "('x'):gsub('x', function() time.sleep(0.01) end)",
    };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        begin(rows[i]);
        struct frame_failed failed = failed_of(server_give(&s, 0, "job", NULL));
        assert_non_null(memmem(failed.message.at, failed.message.len, "cannot wait here", 16));
        neighbours_run();
        server_end(&s);
    }
}

static void a_compiled_loop_is_left_to_sigkill(void **state)
{
    struct frame frame;
    int status;
    (void)state;
    begin("local n = 0 while true do n = n + 1 end");
    job_id id = server_give(&s, 0, "job", NULL);
    server_await_cpu(&s, id);
    kill(s.pid, SIGKILL);
    waitpid(s.pid, &status, 0);
    s.pid = 0;
    assert_int_equal(atomic_load(&s.page->on_cpu), id); /* the page names the guilty one */
    assert_false(server_next(&s, &frame));
    server_end(&s);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancel_is_raised_in_the_call_that_waits),
        cmocka_unit_test(a_cancelled_job_may_tidy_up),
        cmocka_unit_test(a_hard_cancel_ends_what_waits_at_once),
        cmocka_unit_test(a_timeout_is_raised_in_the_call_that_waits),
        cmocka_unit_test(who_swallows_a_timeout_is_ended_at_the_next_yield),
        cmocka_unit_test(a_signal_ends_an_interpreted_loop),
        cmocka_unit_test(a_hard_timeout_ends_what_waits_at_once),
        cmocka_unit_test(a_computing_job_sees_its_cancel_without_a_signal),
        cmocka_unit_test(a_late_signal_hurts_nobody),
        cmocka_unit_test(a_soft_cancel_lets_a_computing_job_look),
        cmocka_unit_test(a_soft_cancel_is_raised_before_the_grace_is_over),
        cmocka_unit_test(a_wait_inside_a_coroutine_makes_the_job_wait),
        cmocka_unit_test(a_stop_reaches_a_wait_inside_a_coroutine),
        cmocka_unit_test(who_waits_where_lua_cannot_is_told),
        cmocka_unit_test(a_compiled_loop_is_left_to_sigkill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
