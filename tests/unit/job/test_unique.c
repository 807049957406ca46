#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "job/job.h"
#include "job/unique.h"

static const struct row {
    const char *fields, *payload;
    const char *key;  /* NULL: refused */
    const char *says; /* what the refusal says */
} rows[] = {
    {"to", "{\"to\":\"ana\",\"n\":1}", "{\"to\":\"ana\"}", NULL},
    {"to,list", "{\"to\":\"ana\",\"list\":3}", "{\"list\":3,\"to\":\"ana\"}", NULL},
    {"list,to", " { \"list\" : 3 , \"to\" : \"\\u0061na\" } ", "{\"list\":3,\"to\":\"ana\"}",
     NULL}, /* one value */
    {"n", "{\"n\":1}", "{\"n\":1}", NULL},
    {"n", "{\"n\":1.0}", "{\"n\":1.0}", NULL}, /* not the same as 1 */
    {"n", "{\"n\":1e2}", "{\"n\":100.0}", NULL},
    {"n", "{\"n\":9007199254740993}", "{\"n\":9007199254740993}", NULL}, /* beyond a double: still exact */
    {"n", "{\"n\":99999999999999999999}", NULL, "too big integer"},
    {"n", "{\"n\":null}", "{\"n\":null}", NULL}, /* null is a value, */
    {"n", "{}", NULL, "has no 'n'"},             /* and nothing is none */
    {"n", "{\"n\":1,\"n\":2}", NULL, "duplicate"},
    {"n", "[1]", NULL, "has no 'n'"},
    {"n", "{\"n\":", NULL, "not JSON"},
    {"n", "", NULL, "not JSON"},
    {"o", "{\"o\":{\"b\":[1,{\"d\":2,\"c\":3}],\"a\":true}}",
     "{\"o\":{\"a\":true,\"b\":[1,{\"c\":3,\"d\":2}]}}", NULL},
    {"/user/id", "{\"user\":{\"id\":7}}", "{\"/user/id\":7}", NULL},
    {"/a/1/b", "{\"a\":[0,{\"b\":\"x\"}]}", "{\"/a/1/b\":\"x\"}", NULL},
    {"/a/01", "{\"a\":[0,1]}", NULL, "has no '/a/01'"},
    {"/a/2", "{\"a\":[0,1]}", NULL, "has no '/a/2'"},
    {"/a~1b/~0", "{\"a/b\":{\"~\":5}}", "{\"/a~1b/~0\":5}", NULL},
    {"/", "{\"\":5}", "{\"/\":5}", NULL}, /* the member without a name */
    {".", "[1, 2]", "{\".\":[1,2]}", NULL},
    {".", "7", "{\".\":7}", NULL},
    {"s", "{\"s\":\"a\\u0000b\"}", "{\"s\":\"a\\u0000b\"}", NULL},
};

static void equal_arguments_make_equal_keys_and_no_others_do(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct buf key = BUF_INIT;
        struct mq_err err = {0};
        enum mq_code code = unique_fields_check(slice_of(row->fields), &err);
        if (code == MQ_OK)
            code = unique_key_of(&key, slice_of(row->fields), slice_of(row->payload), &err);
        if (row->key && (code != MQ_OK || !slice_equal(buf_bytes(&key), slice_of(row->key))))
            fail_msg("%s of %s: %.*s %s", row->fields, row->payload, SLICE_ARG(buf_bytes(&key)), err.text);
        if (!row->key && (code != MQ_BADARG || !strstr(err.text, row->says)))
            fail_msg("%s of %s: %d '%s' does not say '%s'", row->fields, row->payload, code, err.text,
                     row->says);
        buf_release(&key);
    }
}

static void lists_of_arguments_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ",", "a,", ",a", "a,,b", "/a~2", "/a~", "a,b,c,d,e,f,g,h,i"};
    struct mq_err err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(unique_fields_check(slice_of(bad[i]), &err), MQ_BADARG);
    assert_int_equal(unique_fields_check(SLICE("a,b,c,d,e,f,g,h"), &err), MQ_OK);
}

static void what_is_too_big_says_what_to_do(void **state)
{
    (void)state;
    struct mq_err err;
    struct buf key = BUF_INIT, payload = BUF_INIT;
    buf_printf(&payload, "{\"a\":\"%0*d\"}", UNIQUE_MAX_BYTES, 0);
    assert_int_equal(unique_key_of(&key, SLICE("a"), buf_bytes(&payload), &err), MQ_TOOBIG);
    assert_non_null(strstr(err.text, "choose fewer"));
    buf_clear(&payload);
    buf_printf(&payload, "{\"a\":\"%0*d\"}", UNIQUE_PAYLOAD_MAX_BYTES, 0);
    assert_int_equal(unique_key_of(&key, SLICE("a"), buf_bytes(&payload), &err), MQ_TOOBIG);
    assert_non_null(strstr(err.text, "give the key itself"));
    assert_int_equal(buf_len(&key), 0);
    buf_clear(&payload); /* a name that is too long, and short pieces behind it: no key with a hole */
    buf_printf(&payload, "{\"a\":{\"%0*d\":1,\"b\":2}}", UNIQUE_MAX_BYTES, 0);
    assert_int_equal(unique_key_of(&key, SLICE("a"), buf_bytes(&payload), &err), MQ_TOOBIG);
    assert_int_equal(buf_len(&key), 0);
    buf_release(&key);
    buf_release(&payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_arguments_make_equal_keys_and_no_others_do),
        cmocka_unit_test(lists_of_arguments_are_checked),
        cmocka_unit_test(what_is_too_big_says_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
