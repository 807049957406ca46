/* What scripts cannot do. Each row is one attempt; after each, a neighbour's job has run. */
#include "fake_server.h"

static struct fake_server s;

/* What a handler does, and what comes of it: the result as JSON, or a part of its error's message. */
struct attempt {
    const char *run, *result, *error;
};

static const struct attempt attempts[] = {
    /* -- what does not exist -- */
    {"return { io, debug, ffi, jit, dofile, loadfile, newproxy, getfenv, setfenv, module, package, gcinfo }",
     "{}", NULL},
    {"return { os.execute, os.getenv, os.exit, os.remove, os.rename, os.tmpname, os.setlocale }", "{}", NULL},
    {"return { string.dump, math.randomseed, table.clear, coroutine.isyieldable }", "{}", NULL},
    {"return _G.io == nil and _G.debug == nil and _G._G ~= nil", "true", NULL},
    {"return type(os.time()) == 'number' and type(os.date()) == 'string' and type(os.clock()) == 'number'",
     "true", NULL},
    {"collectgarbage('collect')", NULL, "count"},
    {"collectgarbage()", NULL, "count"},
    {"collectgarbage('stop')", NULL, "count"},
    {"return collectgarbage('count') > 0", "true", NULL},
    {"return _host", NULL, NULL},
    {"return _ENV", NULL, NULL},
    /* -- bytecode -- */
    {"return (load('\\27LJ\\2\\0'))", NULL, NULL},
    {"return select(2, load('\\27LJ\\2\\0'))", "\"bytecode is refused: only text can be loaded\"", NULL},
    {"return select(2, loadstring('\\27Lua'))", "\"bytecode is refused: only text can be loaded\"", NULL},
    {"return select(2, load('return 1', 'x', 'b'))", "\"bytecode is refused: only text can be loaded\"",
     NULL},
    {"local first = true return select(2, load(function() if first then first = false return '\\27LJ\\2' end "
     "end))",
     "\"bytecode is refused: only text can be loaded\"", NULL},
    {"local n = 0 return load(function() n = n + 1 return ({ 'return ', '41', '+1' })[n] end)()", "42", NULL},
    {"return load('return io, debug, require')() == nil", "true", NULL},
    {"load('x = 1')()", NULL, "assign to undeclared global 'x' (write: local x)"},
    {"local env = {} load('x = 1', 'chunk', 't', env)() return env.x", "1", NULL},
    /* -- globals -- */
    {"x = 1", NULL, "assign to undeclared global 'x' (write: local x)"},
    {"print = nil", NULL, "assign to undeclared global 'print'"},
    {"_G.print = nil", NULL, "cannot set 'print': this table is read-only"},
    {"rawset(_G, 'print', 1)", NULL, "table expected, got userdata"},
    {"setmetatable(_G, {})", NULL, "table expected, got userdata"},
    {"return getmetatable(_G)", "false", NULL},
    {"require('moonq.json').encode = nil", NULL, "cannot set 'encode': this table is read-only"},
    {"moonq.permanent = nil", NULL, "cannot set 'permanent': this table is read-only"},
    {"return require('moonq') == moonq", "true", NULL},
    /* -- libraries and the metatable of strings -- */
    {"string.rep = nil", NULL, "cannot set 'rep': this table is read-only"},
    {"rawset(string, 'rep', 1)", NULL, "table expected, got userdata"},
    {"table.insert(string, 1)", NULL, "table expected, got userdata"},
    {"table.sort(string)", NULL, "table expected, got userdata"},
    {"for k in pairs(string) do end", NULL, "table expected, got userdata"},
    {"next(os)", NULL, "table expected, got userdata"},
    {"setmetatable(string, {})", NULL, "table expected, got userdata"},
    {"return { getmetatable(string), getmetatable('') }", "[false,false]", NULL},
    {"getmetatable('').__index = nil", NULL, "attempt to index a boolean value"},
    {"setmetatable('', {})", NULL, "table expected, got string"},
    {"return ('x').dump", NULL, NULL},
    {"return ('x'):upper()", "\"X\"", NULL},
    {"local ok, err = pcall(moonq.permanent, 'x') setmetatable(err, {})", NULL,
     "cannot change a protected metatable"},
    {"local ok, err = pcall(moonq.permanent, 'x') return { getmetatable(err), tostring(err) }",
     "[false,\"x\"]", NULL},
    {"setmetatable(require('moonq.json').array(), {})", NULL, "cannot change a protected metatable"},
    {"return { getmetatable(job), pcall(function() job.id = 1 end) }",
     "[false,false,\"handlers/job44.lua:2: a job is read-only (job.id cannot be set)\"]", NULL},
    {"job.push({}, 'x')", NULL, "a method of job needs the job before it"},
    {"job.push(string, 'x')", NULL, "a method of job needs the job before it"},
    /* -- require -- */
    {"return require('own.thing').name", "\"thing\"", NULL},
    {"require('../moonq')", NULL, "module name '../moonq' is not allowed"},
    {"require('/etc/passwd')", NULL, "is not allowed"},
    {"require('..')", NULL, "is not allowed"},
    {"require('own..thing')", NULL, "is not allowed"},
    {"require('own.thing\\0x')", NULL, "is not allowed"},
    {"require('')", NULL, "is not allowed"},
    {"require('moonq._prelude')", NULL, "is not allowed"},
    {"require('moonq.nothing')", NULL, "module 'moonq.nothing': cannot open"},
    {"require('ffi')", NULL, "module 'ffi' not found"},
    {"require('jit.util')", NULL, "module 'jit.util' not found"},
    {"require('string.buffer')", NULL, "module 'string.buffer' not found"},
    {"require('own.loop')", NULL, "module 'own.loop' requires itself"},
    {"require('own.broken')", NULL, "lib/own/broken.lua:1:"},
    {"require('own.bytecode')", NULL, "lib/own/bytecode.lua"},
    {"require('own.link')", NULL, "lib/own/link.lua"},
    /* -- __gc, proxies -- */
    {"setmetatable({}, { __gc = function() error('gc') end }) for i = 1, 1e5 do local t = {} end return 'ok'",
     "\"ok\"", NULL},
    /* -- bombs -- */
    {"return #('x'):rep(2^31 - 1)", NULL, "not enough memory"},
    {"return ('x'):rep(1e9)", NULL, "not enough memory"},
    {"local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end", NULL, "not enough memory"},
    {"local t = {} for i = 1, 1e9 do t[i] = { i } end", NULL, "not enough memory"},
    {"local s = 'x' while true do s = s .. s end", NULL, "not enough memory"},
    {"local t = {} for i = 1, 1e6 do t[i] = coroutine.create(function() end) end", NULL, "not enough memory"},
    {"local function f() return 1 + f() end return f()", NULL, "stack overflow"},
    {"local function f() return pcall(f) end f() return 'ok'", "\"ok\"", NULL},
    {"local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k] end return t.x",
     NULL, "stack overflow"},
    {"local t = {} t.t = t return t", NULL, "nested more than 100 deep"},
    {"local function co() return coroutine.wrap(co)() end return co()", NULL, ""},
    {"return unpack({}, 1, 1e8)", NULL, "too many results to unpack"},
    {"return ('%99999d'):format(1)", NULL, "invalid"},
    {"return ('x'):rep(3, ('y'):rep(1e9))", NULL, "not enough memory"},
    {"table.concat(setmetatable({}, { __index = function() return 'x' end }), '', 1, 1e9)", NULL,
     "invalid value"},
    {"error(setmetatable({}, { __tostring = function() while true do end end }))", NULL, "{}"},
    {"error(setmetatable({}, { __index = function() error('again') end }))", NULL, "{}"},
    {"error(nil)", NULL, "the error is a nil value"},
    {"error(function() end)", NULL, "the error is a function value"},
    {"coroutine.yield(1)", NULL, "coroutine.yield outside of a coroutine"},
    {"return coroutine.resume(coroutine.running() or 1)", NULL, "coroutine expected"},
    {"return 0/0", NULL, "JSON cannot hold NaN"},
    {"return print", NULL, "JSON cannot hold a function"},
    {"local t = {} t[1e8] = 1 return t", NULL, "too many holes"},
    {"print(('x'):rep(1e7)) return 1", "1", NULL},
    {"os.date(('%c'):rep(1000)) return os.date('%Q', 0) ~= nil", "true", NULL},
};

static void neighbours_run(size_t row)
{
    struct frame frame;
    job_id id = server_give(&s, 9, "neighbour", NULL);
    while (server_next(&s, &frame))
        if (frame.kind == FRAME_DONE && frame.done.id == id) {
            server_slot_back(&s, 9);
            return;
        }
    fail_msg("the neighbour did not run after: %s", attempts[row].run);
}

/* Answers how many went wrong: all rows are told of, not only the first. */
static int check(size_t row, const struct frame *frame)
{
    const struct attempt *a = &attempts[row];
    struct slice got = frame->kind == FRAME_DONE ? frame->done.result : frame->failed.message;
    bool good = frame->kind == FRAME_DONE
                    ? !a->error && slice_equal(got, slice_of(a->result ? a->result : ""))
                    : a->error && (!*a->error || memmem(got.at, got.len, a->error, strlen(a->error)));
    if (!good)
        print_error("%s\n   %s: %.*s\n", a->run, frame->kind == FRAME_DONE ? "result" : "error",
                    SLICE_ARG(got));
    return !good;
}

static void write_application(void)
{
    char text[2048], link[PATH_MAX + 32];
    server_init(&s);
    server_file(&s, "lib/own/thing.lua", "return { name = 'thing' }");
    server_file(&s, "lib/own/loop.lua", "return require 'own.loop'");
    server_file(&s, "lib/own/broken.lua", "return +");
    server_file(&s, "lib/own/bytecode.lua", "\033LJ\002");
    snprintf(link, sizeof link, "%s/lib/own/link.lua", s.app);
    assert_int_equal(symlink("/etc/hostname", link), 0);
    server_file(&s, "handlers/neighbour.lua", "return { run = function() return 'fine' end }");
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        char name[40];
        snprintf(name, sizeof name, i ? "handlers/job%zu.lua" : "handlers/job%zu.lua", i);
        snprintf(text, sizeof text, "return { run = function(job)\n%s\nend }", attempts[i].run);
        server_file(&s, name, text);
    }
}

static void no_attempt_gets_out_and_neighbours_run(void **state)
{
    struct frame frame;
    char type[40];
    int wrong = 0;
    (void)state;
    write_application();
    server_worker(&s);
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        snprintf(type, sizeof type, "job%zu", i);
        job_id id = server_give(&s, 0, type, NULL);
        do {
            if (!server_next(&s, &frame))
                fail_msg("the worker died of: %s", attempts[i].run);
        } while (frame.kind != FRAME_DONE && frame.kind != FRAME_FAILED);
        assert_int_equal(frame.done.id, id);
        wrong += check(i, &frame);
        server_slot_back(&s, 0);
        neighbours_run(i);
    }
    assert_int_equal(wrong, 0);
    server_end(&s);
}

static void a_memory_bomb_leaves_room_for_its_neighbours(void **state)
{
    struct frame frame;
    (void)state;
    server_init(&s);
    server_file(&s, "handlers/hog.lua",
                "return { run = function() local t = {}\n"
                "for i = 1, 440 do t[i] = ('x'):rep(1e5) .. i end\n"
                "print('full') require('moonq.time').sleep('1h') return #t end }");
    server_file(&s, "handlers/neighbour.lua",
                "return { run = function() local t = {} for i = 1, 1e4 do t[i] = { i } end return #t end }");
    server_worker(&s);
    server_give(&s, 0, "hog", NULL);
    server_await(&s, FRAME_LOG, &frame);
    for (int i = 0; i < 20; i++) {
        server_give(&s, 1, "neighbour", NULL);
        do
            assert_true(server_next(&s, &frame));
        while (frame.kind == FRAME_LOG);
        if (frame.kind != FRAME_DONE)
            fail_msg("%.*s", SLICE_ARG(frame.failed.message));
        server_slot_back(&s, 1);
    }
    server_end(&s);
}

static void garbage_is_not_taken_for_memory(void **state)
{
    struct frame frame;
    (void)state;
    server_init(&s);
    s.memory_bytes = 32 << 20;
    server_file(&s, "handlers/job.lua",
                "return { run = function() local keep = ('k'):rep(8e6)\n"
                "for i = 1, 3000 do local t = ('x'):rep(1e5) .. i end return #keep end }");
    server_worker(&s);
    for (int i = 0; i < 10; i++) {
        server_give(&s, 0, "job", NULL);
        do
            assert_true(server_next(&s, &frame));
        while (frame.kind == FRAME_LOG);
        if (frame.kind != FRAME_DONE)
            fail_msg("run %d: %.*s", i, SLICE_ARG(frame.failed.message));
        server_slot_back(&s, 0);
    }
    server_end(&s);
}

static void types_do_not_share_the_modules_of_lib(void **state)
{
    struct frame frame;
    (void)state;
    server_init(&s);
    server_file(&s, "lib/shared.lua", "return { value = 'clean' }");
    server_file(&s, "handlers/a.lua",
                "local shared = require 'shared' return { run = function() shared.value = 'dirty' end }");
    server_file(&s, "handlers/b.lua",
                "local shared = require 'shared' return { run = function() return shared.value end }");
    server_worker(&s);
    server_give(&s, 0, "a", NULL);
    server_await(&s, FRAME_DONE, &frame);
    server_give(&s, 1, "b", NULL);
    server_await(&s, FRAME_DONE, &frame);
    assert_true(slice_equal(frame.done.result, SLICE("\"clean\"")));
    server_end(&s);
}

static void a_worker_that_stays_full_is_replaced(void **state)
{
    struct frame frame;
    (void)state;
    server_init(&s);
    server_file(&s, "handlers/leak.lua",
                "local kept = {}\nreturn { run = function()\n"
                "while true do kept[#kept + 1] = ('x'):rep(1e5) .. #kept end end }");
    server_worker(&s);
    bool ended = false;
    for (int i = 0; i < 10 && !ended; i++) {
        slot_move(s.page, 0, SLOT_FREE, SLOT_GIVEN);
        server_queue(&s, &(struct given){.slot = 0, .type = "leak"});
        while (buf_len(&s.out)) {
            ssize_t wrote = send(s.socket, buf_bytes(&s.out).at, buf_len(&s.out), MSG_NOSIGNAL);
            if (wrote <= 0)
                break;
            buf_eat(&s.out, (size_t)wrote);
        }
        do
            ended = !server_next(&s, &frame);
        while (!ended && frame.kind != FRAME_FAILED);
        server_slot_back(&s, 0);
    }
    assert_true(ended);
    assert_int_equal(server_end(&s), 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_attempt_gets_out_and_neighbours_run),
        cmocka_unit_test(a_memory_bomb_leaves_room_for_its_neighbours),
        cmocka_unit_test(garbage_is_not_taken_for_memory),
        cmocka_unit_test(types_do_not_share_the_modules_of_lib),
        cmocka_unit_test(a_worker_that_stays_full_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
