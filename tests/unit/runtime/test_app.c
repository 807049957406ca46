/* What is wrong with an application is told all at once, with file and line, and loading always ends. */
#include "fake_server.h"

static struct fake_server s;

static json_t *loaded(void)
{
    server_start(&s, "loader");
    return server_ready(&s);
}

static const char *text(json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* There is an error about this file and line, with this in its message. */
static void expect(json_t *ready, const char *list, const char *file, int line, const char *part)
{
    size_t i;
    json_t *finding;
    json_array_foreach(json_object_get(ready, list), i, finding)
    {
        if (strcmp(text(finding, "file"), file) == 0 && strstr(text(finding, "message"), part) &&
            json_integer_value(json_object_get(finding, "line")) == line)
            return;
    }
    fail_msg("no '%s' at %s:%d in %s", part, file, line, json_dumps(json_object_get(ready, list), 0));
}

struct row {
    const char *source;
    int line;
    const char *message;
};

/* Handlers, each wrong in its own way: h0.lua, h1.lua ... */
static const struct row rows[] = {
    {"return {\n  run = function(job) end,\n  queue = = 1 }", 3, "unexpected symbol near '='"},
    {"local x = 1", 1, "it returns nothing (write: return { ... })"},
    {"return 5", 1, "it returns a number, not a table"},
    {"return {}", 1, "it has no run"},
    {"return { run = 5 }", 1, "run is a number, not a function"},
    {"\nerror('at load')", 2, "at load"},
    {"error({ code = 'X', message = 'as a table' })", 1, "as a table"},
    {"local t = nil\nreturn t.x", 2, "attempt to index local 't'"},
    {"x = 1", 1, "assign to undeclared global 'x'"},
    {"require 'nothing'", 1, "module 'nothing' not found: there is no lib/nothing.lua"},
    {"require('moonq.time').sleep(1)", 1, "only a running handler may wait"},
    {"return { run = print, timeout = '5 s' }", 1, "timeout '5 s' is not a duration (write 250ms, 5s"},
    {"return { run = print, timeout = 0 }", 1, "timeout is out of range (1ms to 7d)"},
    {"return { run = print, lease = '5ms' }", 1, "lease is out of range (100ms to 1d)"},
    {"return { run = print, lease = true }", 1, "lease a boolean is not a duration"},
    {"return { run = print, queue = 'a b' }", 1, "queue name 'a b' has an illegal character at column 2"},
    {"return { run = print, queue = 5 }", 1, "queue is a number, not a name"},
    {"return {\n  run = function(job) return job.priority == 10 end,\n  priority = 10 }", 3,
     "priority is not a whole number from 0 to 9"},
    {"return { run = print, attempts = 1.5 }", 1, "attempts is not a whole number from 1 to 1000"},
    {"return { run = print, timout = 5 }", 1, "unknown key 'timout' (did you mean 'timeout'?)"},
    {"return { run = print, [1] = 5 }", 1, "a handler has keys by name"},
    {"return { run = print, limit = 'resend' }", 1, "rate limiters are not in this version"},
    {"return { run = print, retry = 'exponentia' }", 1,
     "there is no policy 'exponentia' (did you mean 'exponential'?)"},
    {"return { run = print, retry = 'whatever' }", 1, "there is no policy 'whatever' (there are"},
    {"return { run = print, retry = { policy = 'fixed', wait = 5 } }", 1, "its policy has no option 'wait'"},
    {"return { run = print, retry = { policy = 'fixed', delay = '5 s' } }", 1,
     "retry: delay '5 s' is not a duration"},
    {"return { run = print, retry = { policy = 'fixed', delay = {} } }", 1,
     "retry: delay is a table, not a number"},
    {"return { run = print, retry = {} }", 1, "retry: a table has policy"},
    {"return { run = print, retry = { '10s', 'soon' } }", 1, "retry: delay 2: 'soon' is not a duration"},
    {"return { run = print, retry = 5 }", 1, "retry is a number"},
    {"return { run = print, allow = 'x' }", 1, "allow is a string, not a table"},
    {"return { run = print, allow = { htp = 'x' } }", 1, "allow: unknown key 'htp' (did you mean 'http'?)"},
    {"return { run = print, allow = { http = { 'http://x/' } } }", 1,
     "allow.http: 'http://x/' is not a host"},
    {"return { run = print, allow = { http = { 'x:99999' } } }", 1, "allow.http: 'x:99999' is not a host"},
    {"while true do end", 1, "it took too long"},
    {"local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end", 1, "not enough memory"},
    {"\033LJ\002", 1, "bytecode is refused"},
};

static void every_error_is_told_with_its_file_and_line(void **state)
{
    char name[40];
    (void)state;
    server_init(&s);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(name, sizeof name, "handlers/h%zu.lua", i);
        server_file(&s, name, rows[i].source);
    }
    server_file(&s, "moonq.lua", "return { f = print }");
    server_file(&s, "retries/bad.lua", "return 5");
    server_file(&s, "retries/broken.lua", "return function(");
    json_t *ready = loaded();
    assert_true(json_is_false(json_object_get(ready, "ok")));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(name, sizeof name, "handlers/h%zu.lua", i);
        expect(ready, "errors", name, rows[i].line, rows[i].message);
    }
    expect(ready, "errors", "moonq.lua", 1,
           "the configuration must be plain data: JSON cannot hold a function");
    expect(ready, "errors", "retries/bad.lua", 1, "a retry policy returns function(job, err)");
    expect(ready, "errors", "retries/broken.lua", 1, "near '<eof>'");
    assert_int_equal(json_array_size(json_object_get(ready, "errors")), sizeof rows / sizeof *rows + 3);
    json_decref(ready);
    assert_int_equal(server_end(&s), 0);
}

static void what_handlers_declare_is_told(void **state)
{
    (void)state;
    server_init(&s);
    server_file(&s, "moonq.lua", "return { pools = { default = { workers = 2 } }, list = {} }");
    server_file(&s, "handlers/email/send.lua",
                "return { run = function() end, queue = 'mail', priority = 2, attempts = 5, timeout = '30s', "
                "lease = 20,\n"
                "keep = '1h', expires = '1m', delay = 0, retry = { '10s' },\n"
                "allow = { http = { 'api.resend.com', '*.example.org:8443', '[::1]:80' }, smtp = "
                "'127.0.0.1:2525' } }");
    server_file(&s, "handlers/plain.lua", "return { run = function() end }");
    server_file(&s, "handlers/.hidden.lua", "return 5");
    server_file(&s, "handlers/notes.txt", "not Lua");
    json_t *ready = loaded();
    json_t *wanted = json_pack("{s:{s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:s},s:{s:s}}", "email.send", "file",
                               "handlers/email/send.lua", "queue", "mail", "priority", 2, "attempts", 5,
                               "timeout_ms", 30000, "lease_ms", 20000, "keep_ms", 3600000, "expires_ms",
                               60000, "delay_ms", 0, "retry", "list", "plain", "file", "handlers/plain.lua");
    json_t *config = json_pack("{s:{s:{s:i}},s:{}}", "pools", "default", "workers", 2, "list");
    json_t *retries =
        json_pack("[s,s,s,s,s,s]", "default", "exponential", "fixed", "linear", "list", "polynomial");
    if (!json_equal(json_object_get(ready, "handlers"), wanted))
        fail_msg("%s", json_dumps(ready, 0));
    assert_true(json_equal(json_object_get(ready, "config"), config));
    assert_true(json_equal(json_object_get(ready, "retries"), retries));
    assert_true(json_is_true(json_object_get(ready, "ok")));
    json_decref(ready);
    json_decref(wanted);
    json_decref(config);
    json_decref(retries);
    server_end(&s);
}

static void two_handlers_of_one_type_are_an_error(void **state)
{
    (void)state;
    server_init(&s);
    server_file(&s, "handlers/a.b.lua", "return { run = print }");
    server_file(&s, "handlers/a/b.lua", "return { run = print }");
    json_t *ready = loaded();
    expect(ready, "errors", "handlers/a/b.lua", 1, "job type 'a.b' has a handler already, handlers/a.b.lua");
    json_decref(ready);
    server_end(&s);
}

static void a_folder_without_configuration_is_no_application(void **state)
{
    char path[PATH_MAX + 16];
    (void)state;
    server_init(&s);
    snprintf(path, sizeof path, "%s/moonq.lua", s.app);
    unlink(path);
    json_t *ready = loaded();
    expect(ready, "errors", "moonq.lua", 0, "not an application's folder");
    expect(ready, "warnings", "handlers", 0, "there is no handler");
    json_decref(ready);
    server_end(&s);
}

static void a_worker_does_not_run_what_has_errors(void **state)
{
    struct frame frame;
    (void)state;
    server_init(&s);
    server_file(&s, "handlers/a.lua", "return {}");
    server_start(&s, "worker");
    json_t *ready = server_ready(&s);
    assert_true(json_is_false(json_object_get(ready, "ok")));
    assert_false(server_next(&s, &frame));
    json_decref(ready);
    assert_int_equal(WEXITSTATUS(server_end(&s)), 1);
}

/* moonq check: the same, in a process of its own. */
static json_t *checked(void)
{
    char *described = child_describe(s.app);
    json_t *ready = json_loads(described, 0, NULL);
    assert_non_null(ready);
    free(described);
    return ready;
}

static void check_reports_what_the_server_would(void **state)
{
    (void)state;
    server_init(&s);
    s.socket = -1;
    server_file(&s, "handlers/a.lua", "return { run = print,\n  -- quue = 1\n  ['quue'] = 'x' }");
    server_file(&s, "handlers/b.lua", "while true do end");
    json_t *ready = checked();
    expect(ready, "errors", "handlers/a.lua", 3, "unknown key 'quue' (did you mean 'queue'?)");
    expect(ready, "errors", "handlers/b.lua", 1, "it took too long");
    json_decref(ready);
    server_end(&s);
}

static void check_ends_where_a_c_function_does_not(void **state)
{
    (void)state;
    server_init(&s);
    s.socket = -1;
    server_file(&s, "handlers/a.lua", "return { run = print }");
    server_file(&s, "handlers/b.lua", "(('a'):rep(5000)):find(('.-'):rep(20) .. 'b')");
    json_t *ready = checked();
    expect(ready, "errors", "handlers/b.lua", 0, "loading did not end");
    json_decref(ready);
    server_end(&s);
}

static void check_of_a_folder_that_is_not_there(void **state)
{
    (void)state;
    server_init(&s);
    s.socket = -1;
    char *described = child_describe("/nonexistent/application");
    assert_non_null(strstr(described, "cannot open the application's folder"));
    free(described);
    server_end(&s);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_is_told_with_its_file_and_line),
        cmocka_unit_test(what_handlers_declare_is_told),
        cmocka_unit_test(two_handlers_of_one_type_are_an_error),
        cmocka_unit_test(a_folder_without_configuration_is_no_application),
        cmocka_unit_test(a_worker_does_not_run_what_has_errors),
        cmocka_unit_test(check_reports_what_the_server_would),
        cmocka_unit_test(check_ends_where_a_c_function_does_not),
        cmocka_unit_test(check_of_a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
