#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/log.h"

static const struct row {
    struct slice text;
    const char *json;
} rows[] = {
    {{"", 0}, "\"\""},
    {{"plain", 5}, "\"plain\""},
    {{"a\"b\\c", 5}, "\"a\\\"b\\\\c\""},
    {{"\n\t\x7f\0", 4}, "\"\\u000a\\u0009\\u007f\\u0000\""},
    {{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9}, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
    {{"\xff", 1}, "\"\\ufffd\""},
    {{"a\xc3", 2}, "\"a\\ufffd\""},                                /* cut in the middle of a character */
    {{"\xc0\xaf", 2}, "\"\\ufffd\\ufffd\""},                       /* overlong slash */
    {{"\xed\xa0\x80", 3}, "\"\\ufffd\\ufffd\\ufffd\""},            /* a surrogate */
    {{"\xf4\x90\x80\x80", 4}, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* beyond U+10FFFF */
    {{"\xe2\x28\xa1", 3}, "\"\\ufffd(\\ufffd\""},
};

static void a_string_becomes_json_whatever_its_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = BUF_INIT;
        json_add_string(&out, rows[i].text);
        buf_u8(&out, '\0');
        assert_string_equal(out.at, rows[i].json);
        buf_release(&out);
    }
}

static void random_bytes_become_json_that_others_read(void **state)
{
    (void)state;
    unsigned random = 7;
    for (int i = 0; i < 3000; i++) {
        char bytes[24];
        struct buf out = BUF_INIT;
        for (size_t j = 0; j < sizeof bytes; j++)
            bytes[j] = (char)((random = random * 1103515245 + 12345) >> 16);
        buf_u8(&out, '[');
        json_add_string(&out, (struct slice){bytes, sizeof bytes});
        buf_u8(&out, ']');
        json_error_t why;
        json_t *json = json_loadb(out.at, buf_len(&out), JSON_ALLOW_NUL, &why);
        if (!json)
            fail_msg("%s", why.text);
        json_decref(json);
        buf_release(&out);
    }
}

/* What log_event writes to stderr. */
static size_t capture(char *out, size_t room, void (*write_some)(void))
{
    int fds[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    write_some();
    dup2(saved, STDERR_FILENO);
    close(fds[1]);
    close(saved);
    ssize_t len = read(fds[0], out, room - 1);
    close(fds[0]);
    out[len > 0 ? len : 0] = '\0';
    return (size_t)(len > 0 ? len : 0);
}

static void write_one(void)
{
    log_event(LOG_WARN, "worker.exited", LOG_STR("worker", "w\"1"), LOG_INT("status", -9),
              LOG_REAL("load", 0.5), LOG_RAW("meta", SLICE("{\"a\":[1]}")));
    log_event(LOG_DEBUG, "not.written");
    log_event(LOG_INFO, "bare");
}

static void each_event_is_one_line_of_json(void **state)
{
    (void)state;
    char text[4096];
    capture(text, sizeof text, write_one);
    char *second = strchr(text, '\n') + 1;
    json_t *line = json_loadb(text, (size_t)(second - text), 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(line, "event")), "worker.exited");
    assert_string_equal(json_string_value(json_object_get(line, "worker")), "w\"1");
    assert_int_equal(json_integer_value(json_object_get(line, "status")), -9);
    assert_true(json_is_object(json_object_get(line, "meta")));
    assert_int_equal(strlen(json_string_value(json_object_get(line, "time"))), 24);
    json_decref(line);
    assert_non_null(strstr(second, "\"event\":\"bare\"}"));
    assert_null(strstr(text, "not.written"));
}

static void levels_have_names_and_names_levels(void **state)
{
    (void)state;
    assert_int_equal(log_level_of(SLICE("debug")), LOG_DEBUG);
    assert_int_equal(log_level_of(SLICE("error")), LOG_ERROR);
    assert_int_equal(log_level_of(SLICE("loud")), -1);
    assert_int_equal(log_level_of(SLICE_EMPTY), -1);
    assert_string_equal(log_level_name(LOG_WARN), "warn");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_string_becomes_json_whatever_its_bytes),
        cmocka_unit_test(random_bytes_become_json_that_others_read),
        cmocka_unit_test(each_event_is_one_line_of_json),
        cmocka_unit_test(levels_have_names_and_names_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
