/* moonq's Lua modules as a handler uses them: each row is a handler's body, and the result it must have. */
#include "fake_server.h"

static const struct {
    const char *run, *result;
} rows[] = {
    /* json */
    {"local json = require 'moonq.json' return json.encode({ a = json.array(), b = json.null })", NULL},
    {"local json = require 'moonq.json' return json.decode('[1,{\"a\":null}]')[2].a == json.null", "true"},
    {"local json = require 'moonq.json' return { json.decode('[1,') }", NULL},
    {"local json = require 'moonq.json' local v, why = json.decode('{') return v == nil and type(why)",
     "\"string\""},
    {"local json = require 'moonq.json' local ok, err = pcall(json.encode, print) return err.code",
     "\"BADARG\""},
    {"local json = require 'moonq.json' local t = {} for i = 1, 60 do t = { t, t } end\n"
     "local ok, err = pcall(json.encode, t) return err.code",
     "\"TOOBIG\""},
    {"return require('moonq.json').encode(require('moonq.json').decode('{\"list\":[],\"map\":{}}')):len()",
     "20"},
    /* time */
    {"local time = require 'moonq.time' return { time.iso8601(0), time.iso8601(1767225600.25) }",
     "[\"1970-01-01T00:00:00.000Z\",\"2026-01-01T00:00:00.250Z\"]"},
    {"return require('moonq.time').parse('2026-01-01T00:00:00+01:00')", "1767222000"},
    {"local t, why = require('moonq.time').parse('yesterday') return { t == nil, why }",
     "[true,\"'yesterday' is not a time (write unix milliseconds or ISO 8601, 2026-01-01T09:00:00Z)\"]"},
    {"local time = require 'moonq.time' return math.abs(time.now() - os.time()) < 2", "true"},
    {"local time = require 'moonq.time' local t = time.mono() time.sleep('20ms') local d = time.mono() - t\n"
     "return d >= 0.019",
     "true"},
    {"local time = require 'moonq.time' return (select(2, pcall(time.sleep, 'soon'))):match('is not a "
     "duration')",
     "\"is not a duration\""},
    {"local time = require 'moonq.time' return (select(2, pcall(time.sleep, -1))):match('is not a duration')",
     "\"is not a duration\""},
    /* duration */
    {"local duration = require 'moonq.duration' return { duration.parse('1.5h'), duration.parse(5), "
     "duration.format(90) }",
     "[5400,5,\"90s\"]"},
    {"return (select(2, require('moonq.duration').parse('5 s')))",
     "\"'5 s' is not a duration (write 250ms, 5s, 10m, 2h or 3d)\""},
    /* uuid */
    {"local u = require('moonq.uuid').v4()\n"
     "return u:match('^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$') == u",
     "true"},
    {"local uuid = require 'moonq.uuid' local a, b = uuid.v7(1e9), uuid.v7(1e9 + 1)\n"
     "return { a < b, a:sub(1, 15), uuid.v4() ~= uuid.v4() }",
     "[true,\"00e8d4a5-1000-7\",true]"},
    /* retry: pure, so three weeks take no time */
    {"local retry = require 'moonq.retry' local total = 0 for n = 1, 24 do total = total + retry.default(n) "
     "end\n"
     "return { retry.default(1), retry.default(10), total / 86400 > 20 and total / 86400 < 21 }",
     "[16,10015,true]"},
    {"local retry = require 'moonq.retry' return { retry.jitter(10, 0.1, 0), retry.jitter(10, 0.1, 0.5) }",
     "[10,10.5]"},
    {"local retry = require 'moonq.retry' for n = 1, 50 do for c = 0, 9 do\n"
     "  if retry.default(n, c / 10) < retry.default(n) then return 'earlier' end end end",
     ""},
    /* errors */
    {"local ok, err = pcall(moonq.permanent, { message = 'caught before' }) return err.message",
     "\"caught before\""},
    {"local ok, err = pcall(moonq.retry_in, '5m', 'x') return { err.code, err.message, err.retryable, "
     "err.delay }",
     "[\"SCRIPT\",\"x\",true,300]"},
    {"return type(moonq.version)", "\"string\""},
    /* job */
    {"return { tostring(job), type(job), job.nothing == nil }",
     "[\"job 0000000000001 (job)\",\"userdata\",true]"},
    {"return { pcall(function() job:progress(2) end) }",
     "[false,\"handlers/job.lua:2: progress 2 is not between 0 and 1\"]"},
    {"return { pcall(function() job:progress('half') end) }",
     "[false,\"handlers/job.lua:2: job:progress takes a number from 0 to 1 first, not a string\"]"},
    {"local ok, err = pcall(function() job:push(5, {}) end) return { err.code, err.message }",
     "[\"BADARG\",\"handlers/job.lua:2: the first argument of push is the name of a job type, not a "
     "number\"]"},
    {"job:log('error', { a = 1 }) job:log({}) return pcall(job.log, job, 'warn', nil)", "true"},
};

static void each_does_what_it_says(void **state)
{
    struct fake_server s;
    struct frame frame;
    char text[2000];
    int wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        server_init(&s);
        snprintf(text, sizeof text, "return { run = function(job)\n%s\nend }", rows[i].run);
        server_file(&s, "handlers/job.lua", text);
        server_worker(&s);
        server_give(&s, 0, "job", NULL);
        do
            assert_true(server_next(&s, &frame));
        while (frame.kind != FRAME_DONE && frame.kind != FRAME_FAILED);
        struct slice got = frame.kind == FRAME_DONE ? frame.done.result : frame.failed.message;
        if (frame.kind != FRAME_DONE || (rows[i].result && !slice_equal(got, slice_of(rows[i].result)))) {
            print_error("%s\n  %.*s\n", rows[i].run, SLICE_ARG(got));
            wrong++;
        }
        server_end(&s);
    }
    assert_int_equal(wrong, 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_does_what_it_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
