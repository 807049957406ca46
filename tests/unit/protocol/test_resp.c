/* Requests: each row is read whole, and with its bytes coming one at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/reply.h"
#include "protocol/resp.h"

#define LIMIT 64 /* bytes of a request: small, so that the edge is met */

static struct resp_request request;

struct row {
    const char *bytes;
    const char *args; /* with '|' between them; NULL: refused */
    enum resp_got got;
    const char *error; /* a part of the message */
};

static const struct row rows[] = {
    {"*1\r\n$4\r\nPING\r\n", "PING", RESP_COMMAND, NULL},
    {"*3\r\n$4\r\nPUSH\r\n$1\r\na\r\n$2\r\n{}\r\n", "PUSH|a|{}", RESP_COMMAND, NULL},
    {"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "ECHO|", RESP_COMMAND, NULL}, /* an empty argument */
    {"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n*\n\r\n", "ECHO|\r\n*\n", RESP_COMMAND,
     NULL},                                                /* line ends inside are bytes */
    {"*1\r\n$04\r\nPING\r\n", "PING", RESP_COMMAND, NULL}, /* a leading zero, as Redis */
    {"*0\r\n", NULL, RESP_NOTHING, NULL},
    {"\r\n", NULL, RESP_NOTHING, NULL}, /* what people send to see whether somebody is there */
    {"\n", NULL, RESP_NOTHING, NULL},
    {"  \t \r\n", NULL, RESP_NOTHING, NULL},
    {"PING\r\n", "PING", RESP_COMMAND, NULL},
    {"PING\n", "PING", RESP_COMMAND, NULL}, /* typed into nc */
    {"  PUSH  a\t'{\"x\": 1}'  \r\n", "PUSH|a|{\"x\": 1}", RESP_COMMAND, NULL},
    {"ECHO \"a b\\n\\x41\\\"\"\r\n", "ECHO|a b\nA\"", RESP_COMMAND, NULL},
    {"ECHO 'it\\'s'\r\n", "ECHO|it's", RESP_COMMAND, NULL},
    {"ECHO ''\r\n", "ECHO|", RESP_COMMAND, NULL},
    {"ECHO \"a\r\n", NULL, RESP_REFUSED, "unbalanced quotes"},
    {"ECHO 'a'b\r\n", NULL, RESP_REFUSED, "unbalanced quotes"}, /* something sticks to the quote */
    {"ECHO \"a\\\r\n", NULL, RESP_REFUSED, "unbalanced quotes"},
    {"+OK\r\n", "+OK", RESP_COMMAND, NULL}, /* a reply is a line like any other; no command has this name */
    {"\x01\xff\xfe\n", "\x01\xff\xfe", RESP_COMMAND, NULL}, /* so is garbage with a line end */
    /* lengths that are none */
    {"*x\r\n", NULL, RESP_BROKEN, "count of arguments is not a number"},
    {"*\r\n", NULL, RESP_BROKEN, "count of arguments is not a number"},
    {"*1 \r\n", NULL, RESP_BROKEN, "count of arguments is not a number"},
    {"*1\rX", NULL, RESP_BROKEN, "count of arguments is not a number"},
    {"*-1\r\n", NULL, RESP_BROKEN, "-1 arguments"},
    {"*99999999\r\n", NULL, RESP_BROKEN, "99999999 arguments"},
    {"*99999999999999999999999\r\n", NULL, RESP_BROKEN, "not a number"},
    {"*1\r\n$-1\r\n", NULL, RESP_BROKEN, "length is -1"},
    {"*1\r\n$x\r\n", NULL, RESP_BROKEN, "length is not a number at '$x'"},
    {"*1\r\n$536870913\r\n", NULL, RESP_BROKEN, "length is 536870913"},
    {"*1\r\n$99999999999999999999\r\n", NULL, RESP_BROKEN, "not a number"},
    {"*1\r\n$2\r\nPING\r\n", NULL, RESP_BROKEN, "its length is wrong"},
    {"*2\r\n$4\r\nPINGxx", NULL, RESP_BROKEN, "its length is wrong"},
    /* nesting, and other types of RESP */
    {"*1\r\n*1\r\n$4\r\nPING\r\n", NULL, RESP_BROKEN, "do not nest"},
    {"*1\r\n:1\r\n", NULL, RESP_BROKEN, "expected '$'"},
    {"*1\r\n\r\n", NULL, RESP_BROKEN, "expected '$'"},
    {"*2\r\n$4\r\nPING\r\nPING\r\n", NULL, RESP_BROKEN, "expected '$'"},
    /* sizes */
    {"*1\r\n$65\r\n", NULL, RESP_TOOBIG, "more than 64 bytes"},
    {"*2\r\n$4\r\nECHO\r\n$61\r\n", NULL, RESP_TOOBIG, "more than 64 bytes"},
    {"*1025\r\n", NULL, RESP_TOOBIG, "1025 arguments are too many"},
};

static void join(char *out, const struct resp_request *r)
{
    for (unsigned i = 0; i < r->count; i++) {
        if (i)
            *out++ = '|';
        memcpy(out, r->args[i].at, r->args[i].len);
        out += r->args[i].len;
    }
    *out = '\0';
}

static void check(const struct row *row, enum resp_got got)
{
    char joined[512];
    if (got != row->got)
        fail_msg("'%s': answered %d instead of %d", row->bytes, got, row->got);
    if (row->args) {
        join(joined, &request);
        assert_string_equal(row->args, joined);
    }
    if (row->error && !strstr(request.err.text, row->error))
        fail_msg("'%s': '%s' does not say '%s'", row->bytes, request.err.text, row->error);
    if (got == RESP_BROKEN)
        assert_non_null(strstr(request.err.text, "the connection is closed"));
}

static void a_request_is_read_as_it_was_written(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        check(&rows[i], resp_read(&request, slice_of(rows[i].bytes), LIMIT));
        if (rows[i].got == RESP_COMMAND || rows[i].got == RESP_NOTHING || rows[i].got == RESP_REFUSED)
            assert_int_equal(strlen(rows[i].bytes), request.used);
    }
}

/* Each prefix is a piece of memory of its own, so that a sanitizer sees a look past its end. */
static enum resp_got read_prefix(const char *bytes, size_t len)
{
    static char *copy;
    free(copy);
    copy = malloc(len ? len : 1);
    memcpy(copy, bytes, len);
    enum resp_got got = resp_read(&request, (struct slice){copy, len}, LIMIT);
    if (len == strlen(bytes))
        return got; /* the arguments point into it: freed by the next call */
    return got;
}

static void a_request_may_come_byte_by_byte(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = strlen(rows[i].bytes), at = 0, need = 0;
        enum resp_got got = RESP_MORE;
        while (got == RESP_MORE && at < len) {
            got = read_prefix(rows[i].bytes, ++at);
            if (got == RESP_MORE) {
                assert_true(request.need > at); /* else the caller would spin */
                need = request.need;
            } else {
                assert_true(at >= need || got == RESP_BROKEN); /* nothing is held back that is there */
            }
        }
        check(&rows[i], got);
    }
}

static void what_follows_a_request_is_left_alone(void **unused)
{
    const char *two = "*1\r\n$4\r\nPING\r\nECHO a\r\n*1\r\n$4\r\nQU";
    struct slice rest = slice_of(two);
    char joined[64];
    (void)unused;
    assert_int_equal(RESP_COMMAND, resp_read(&request, rest, LIMIT));
    rest.at += request.used, rest.len -= request.used;
    assert_int_equal(RESP_COMMAND, resp_read(&request, rest, LIMIT));
    join(joined, &request);
    assert_string_equal("ECHO|a", joined);
    rest.at += request.used, rest.len -= request.used;
    assert_int_equal(RESP_MORE, resp_read(&request, rest, LIMIT));
    assert_int_equal(strlen("*1\r\n$4\r\nQUIT\r\n"), request.need);
}

static void a_line_without_an_end_is_garbage(void **unused)
{
    char *line = malloc(RESP_INLINE_MAX);
    (void)unused;
    memset(line, 'a', RESP_INLINE_MAX);
    assert_int_equal(RESP_MORE, resp_read(&request, (struct slice){line, RESP_INLINE_MAX - 1}, LIMIT));
    assert_int_equal(RESP_BROKEN, resp_read(&request, (struct slice){line, RESP_INLINE_MAX}, LIMIT));
    free(line);
}

static void a_line_of_too_many_words_is_refused(void **unused)
{
    char line[2 * RESP_ARGS_MAX + 4];
    (void)unused;
    for (int i = 0; i < RESP_ARGS_MAX + 1; i++)
        memcpy(line + 2 * i, "a ", 2);
    line[2 * RESP_ARGS_MAX + 2] = '\n';
    assert_int_equal(RESP_REFUSED, resp_read(&request, (struct slice){line, 2 * RESP_ARGS_MAX + 3}, LIMIT));
    assert_int_equal(2 * RESP_ARGS_MAX + 3, request.used);
}

/* ---- passing over what is too large ------------------------------------------------------------------------- */

/* After its refusal, the rest of the request comes `step` bytes at a time; what follows it is met exactly. */
static void pass_over(const char *bytes, size_t step)
{
    struct slice all = slice_of(bytes);
    assert_int_equal(RESP_TOOBIG, resp_read(&request, all, LIMIT));
    struct resp_skip skip = request.skip;
    size_t at = request.used, end = at;
    enum resp_got got = RESP_MORE;
    struct mq_err err;
    while (got == RESP_MORE && end < all.len) {
        size_t used = 0;
        end = end + step < all.len ? end + step : all.len;
        got = resp_skip(&skip, (struct slice){bytes + at, end - at}, &used, &err);
        at += used;
    }
    assert_int_equal(RESP_NOTHING, got);
    assert_string_equal("PING\r\n", bytes + at);
}

static void a_request_that_is_too_large_is_passed_over(void **unused)
{
    char large[512], many[20000];
    (void)unused;
    snprintf(large, sizeof large, "*4\r\n$4\r\nPUSH\r\n$1\r\na\r\n$100\r\n%0100d\r\n$3\r\nxyz\r\nPING\r\n",
             0);
    int len = snprintf(many, sizeof many, "*%d\r\n", RESP_ARGS_MAX + 1);
    for (int i = 0; i < RESP_ARGS_MAX + 1; i++)
        len += snprintf(many + len, sizeof many - (size_t)len, "$1\r\na\r\n");
    snprintf(many + len, sizeof many - (size_t)len, "PING\r\n");
    for (size_t step = 1; step < 8; step++) {
        pass_over(large, step);
        pass_over(many, step);
    }
    pass_over(large, 1000);
    pass_over(many, 100000);
}

static void garbage_inside_a_request_that_is_too_large_is_seen(void **unused)
{
    const char *bytes = "*2\r\n$65\r\n";
    struct mq_err err;
    size_t used;
    (void)unused;
    assert_int_equal(RESP_TOOBIG, resp_read(&request, slice_of(bytes), LIMIT));
    request.skip.bytes_left = 0;
    assert_int_equal(RESP_BROKEN, resp_skip(&request.skip, SLICE("hello"), &used, &err));
}

/* ---- random bytes ------------------------------------------------------------------------------------------- */

static uint32_t seed = 1;

static uint32_t chance(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* What is written and read again is the same, wherever the reads are cut. */
static void any_arguments_survive_the_wire(void **unused)
{
    (void)unused;
    for (int round = 0; round < 2000; round++) {
        char bytes[4096];
        struct slice args[8];
        char text[8][16];
        unsigned count = 1 + chance() % 8;
        int len = snprintf(bytes, sizeof bytes, "*%u\r\n", count);
        for (unsigned i = 0; i < count; i++) {
            args[i] = (struct slice){text[i], chance() % 8};
            for (size_t j = 0; j < args[i].len; j++)
                text[i][j] = (char)("\r\n$*:0a\0"[chance() % 8]);
            len += snprintf(bytes + len, sizeof bytes - (size_t)len, "$%zu\r\n", args[i].len);
            memcpy(bytes + len, args[i].at, args[i].len);
            memcpy(bytes + len + args[i].len, "\r\n", 2);
            len += (int)args[i].len + 2;
        }
        size_t cut = chance() % (uint32_t)len;
        assert_int_equal(RESP_MORE, resp_read(&request, (struct slice){bytes, cut}, LIMIT));
        assert_int_equal(RESP_COMMAND, resp_read(&request, (struct slice){bytes, (size_t)len}, LIMIT));
        assert_int_equal(count, request.count);
        for (unsigned i = 0; i < count; i++)
            assert_true(slice_equal(args[i], request.args[i]));
    }
}

static void no_bytes_are_read_past_their_end(void **unused)
{
    static const char alphabet[] = "*$0123456789-\r\n\r\n\"'\\x aPING";
    (void)unused;
    for (int round = 0; round < 20000; round++) {
        size_t len = chance() % 64;
        char *bytes = malloc(len ? len : 1);
        for (size_t i = 0; i < len; i++)
            bytes[i] = alphabet[chance() % (sizeof alphabet - 1)];
        if (len && chance() % 2)
            bytes[0] = '*';
        enum resp_got got = resp_read(&request, (struct slice){bytes, len}, LIMIT);
        if (got == RESP_COMMAND || got == RESP_NOTHING || got == RESP_REFUSED)
            assert_true(request.used > 0 && request.used <= len);
        if (got == RESP_MORE)
            assert_true(request.need > len);
        free(bytes);
    }
}

/* ---- replies ------------------------------------------------------------------------------------------------ */

static void add_all(struct reply *r)
{
    reply_ok(r);
    reply_error(r, "BADARG", "two\r\nlines");
    reply_null(r);
    reply_bool(r, true);
    reply_int(r, INT64_MIN);
    reply_double(r, 0.5);
    reply_bulk(r, (struct slice){"a\0b", 3});
    reply_bulk(r, SLICE("0123456789"));
    reply_map(r, 1);
    reply_text(r, "k");
    reply_tags(r, SLICE("x\nyy\n"));
    reply_push(r, 2);
    reply_maybe(r, SLICE_EMPTY);
    reply_moment(r, WALL_NEVER);
}

static void a_reply_has_the_form_of_its_version(void **unused)
{
    static const char resp2[] =
        "+OK\r\n-BADARG two  lines\r\n$-1\r\n:1\r\n:-9223372036854775808\r\n$3\r\n0.5\r\n"
        "$3\r\na\0b\r\n$10\r\n0123456789\r\n*2\r\n$1\r\nk\r\n*2\r\n$1\r\nx\r\n$2\r\nyy\r\n"
        "*2\r\n$-1\r\n$-1\r\n";
    static const char resp3[] =
        "+OK\r\n-BADARG two  lines\r\n_\r\n#t\r\n:-9223372036854775808\r\n,0.5\r\n"
        "$3\r\na\0b\r\n$10\r\n0123456789\r\n%1\r\n$1\r\nk\r\n*2\r\n$1\r\nx\r\n$2\r\nyy\r\n"
        ">2\r\n_\r\n_\r\n";
    struct buf out = BUF_INIT;
    (void)unused;
    add_all(&(struct reply){&out, false});
    assert_int_equal(sizeof resp2 - 1, buf_len(&out));
    assert_memory_equal(resp2, buf_bytes(&out).at, sizeof resp2 - 1);
    buf_clear(&out);
    add_all(&(struct reply){&out, true});
    assert_int_equal(sizeof resp3 - 1, buf_len(&out));
    assert_memory_equal(resp3, buf_bytes(&out).at, sizeof resp3 - 1);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read_as_it_was_written),
        cmocka_unit_test(a_request_may_come_byte_by_byte),
        cmocka_unit_test(what_follows_a_request_is_left_alone),
        cmocka_unit_test(a_line_without_an_end_is_garbage),
        cmocka_unit_test(a_line_of_too_many_words_is_refused),
        cmocka_unit_test(a_request_that_is_too_large_is_passed_over),
        cmocka_unit_test(garbage_inside_a_request_that_is_too_large_is_seen),
        cmocka_unit_test(any_arguments_survive_the_wire),
        cmocka_unit_test(no_bytes_are_read_past_their_end),
        cmocka_unit_test(a_reply_has_the_form_of_its_version),
    };
    resp_init(&request);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    read_prefix("", 0);
    resp_release(&request);
    return failed;
}
