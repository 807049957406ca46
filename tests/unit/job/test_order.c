#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "job/order.h"

#define NOW 1767225600000LL

/* One option: what is set, or what the refusal says. */
static const struct row {
    const char *option, *value;
    const char *says; /* NULL: fine */
} rows[] = {
    {"QUEUE", "mail", NULL},
    {"queue", "mail", NULL}, /* words have no case */
    {"QUEUE", "", "QUEUE is empty"},
    {"QUEUE", "a b", "queue"},
    {"PRIORITY", "0", NULL},
    {"PRIORITY", "9", NULL},
    {"PRIORITY", "10", "PRIORITY 10 is out of range (0 to 9)"},
    {"PRIORITY", "-1", "'-1' is not a whole number, 0 or more"},
    {"PRIORITY", "high", "'high'"},
    {"PRIORITY", "1.5", "not a whole number"},
    {"PRIORITY", "99999999999999999999", "not a whole number"},
    {"DELAY", "10m", NULL},
    {"DELAY", "10 m", "DELAY: '10 m' is not a duration"},
    {"DELAY", "99999d", "out of range"},
    {"AT", "2026-01-01T00:00:00Z", NULL},
    {"AT", "1767225600000", NULL},
    {"AT", "noon", "AT: 'noon' is not a time"},
    {"ATTEMPTS", "1", NULL},
    {"ATTEMPTS", "0", "ATTEMPTS 0 is out of range (1 to 1000)"},
    {"ATTEMPTS", "1001", "out of range"},
    {"TIMEOUT", "30s", NULL},
    {"TIMEOUT", "0", "out of range"},
    {"TIMEOUT", "8d", "TIMEOUT 8d is out of range (1ms to 7d)"},
    {"LEASE", "30s", NULL},
    {"LEASE", "25h", "LEASE 25h is out of range"},
    {"LEASE", "100ms", NULL},
    {"LEASE", "99ms", "LEASE 99ms is out of range (100ms to 1d)"}, /* no worker could renew it in time */
    {"EXPIRES", "1h", NULL},
    {"EXPIRES", "0", "out of range"},
    {"KEEP", "0", NULL},
    {"KEEP", "1d", NULL},
    {"TAGS", "a,b,c", NULL},
    {"TAGS", "a,,b", "tag"},
    {"TAGS", "a,b c", "'b c'"},
    {"TAGS", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", NULL},
    {"TAGS", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "'17' is one too many"},
    {"META", "{\"a\":1}", NULL},
    {"META", "[1]", "META is not a JSON object"},
    {"META", "{", "META is not a JSON object"},
    {"UNIQUE", "user:7", NULL},
    {"UNIQUE", "", "UNIQUE is empty"},
    {"UNIQUE_BY", "to,list", NULL},
    {"UNIQUE_BY", "to,,list", "'' is no argument"},
    {"UNIQUE_FOR", "1h", NULL},
    {"UNIQUE_FOR", "0", "UNIQUE_FOR 0s is out of range"},
    {"UNIQUE_FOR", "-1s", "is not a duration"},
    {"UNIQUE_IN", "ready,running", NULL},
    {"UNIQUE_IN", "all", NULL},
    {"UNIQUE_IN", "ready,done", "UNIQUE_IN: 'done' is not a state"},
    {"CONFLICT", "Replace", NULL},
    {"CONFLICT", "merge", "CONFLICT: 'merge' is none of skip, replace, reschedule, error"},
    {"DELAY", "-1s", "is not a duration"},
    {"AT", "0", NULL}, /* a time in the past: now */
    {"AT", "253402300799999", NULL},
    {"AT", "253402300800000", "9999"},
    {"AT", "10000-01-01T00:00:00Z", "is not a time"},
    {"COLOUR", "red", "unknown option 'COLOUR' (there are QUEUE"},
};

static void each_option_is_read_or_refused_with_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct push_order order;
        struct buf tags = BUF_INIT;
        struct mq_err err = {0};
        order_init(&order);
        order.type = SLICE("email.send");
        enum mq_code code = order_set(&order, slice_of(rows[i].option), slice_of(rows[i].value), &tags, &err);
        if (code == MQ_OK)
            code = order_check(&order, 1000, &err);
        if (!rows[i].says && code != MQ_OK)
            fail_msg("%s %s: %s", rows[i].option, rows[i].value, err.text);
        if (rows[i].says && (code == MQ_OK || !strstr(err.text, rows[i].says)))
            fail_msg("%s %s: '%s' does not say '%s'", rows[i].option, rows[i].value, err.text, rows[i].says);
        buf_release(&tags);
    }
}

static void what_was_not_said_comes_from_type_then_server_then_ours(void **state)
{
    (void)state;
    struct push_order order, type, server;
    struct job_spec spec;
    wall_ms run_at;
    order_init(&order);
    order_init(&type);
    order_init(&server);
    order.type = SLICE("t");
    order_resolve(&spec, &run_at, &order, NULL, NULL, NOW);
    assert_true(slice_equal(spec.queue, SLICE("default")));
    assert_int_equal(spec.max_attempts, ATTEMPTS_DEFAULT);
    assert_int_equal(spec.timeout_ms, TIMEOUT_DEFAULT_MS);
    assert_int_equal(spec.lease_ms, LEASE_DEFAULT_MS);
    assert_int_equal(spec.keep_ms, KEEP_DEFAULT_MS);
    assert_int_equal(spec.priority, PRIORITY_DEFAULT);
    assert_int_equal(spec.expires_at, WALL_NEVER);
    assert_int_equal(spec.pushed_at, NOW);
    assert_int_equal(run_at, NOW);
    server.attempts = 3;
    server.keep_ms = 0;
    server.queue = SLICE("of-server");
    type.attempts = 7;
    type.expires_ms = 500;
    order.priority = 0;
    order_resolve(&spec, &run_at, &order, &type, &server, NOW);
    assert_int_equal(spec.max_attempts, 7);
    assert_int_equal(spec.keep_ms, 0); /* nothing is something that was said */
    assert_int_equal(spec.priority, 0);
    assert_true(slice_equal(spec.queue, SLICE("of-server")));
    assert_int_equal(spec.expires_at, NOW + 500);
}

static void a_delay_counts_from_now_and_a_time_stands(void **state)
{
    (void)state;
    struct push_order order;
    struct job_spec spec;
    struct mq_err err;
    wall_ms run_at;
    order_init(&order);
    order.type = SLICE("t");
    order.delay_ms = 250;
    order_resolve(&spec, &run_at, &order, NULL, NULL, NOW);
    assert_int_equal(run_at, NOW + 250);
    order.delay_ms = ORDER_UNSET;
    order.at_ms = 5;
    order_resolve(&spec, &run_at, &order, NULL, NULL, NOW);
    assert_int_equal(run_at, 5);
    order.delay_ms = 250;
    assert_int_equal(order_check(&order, 1000, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "exclude each other"));
}

static void a_unique_key_is_the_orders_or_the_types(void **state)
{
    (void)state;
    struct push_order order, type;
    struct job_spec spec;
    struct buf own = BUF_INIT;
    struct mq_err err;
    enum unique_conflict conflict;
    wall_ms run_at;
    order_init(&order);
    order_init(&type);
    order.type = SLICE("t");
    order.payload = SLICE("{\"to\":1}");
    order_resolve(&spec, &run_at, &order, &type, NULL, NOW);
    assert_int_equal(order_resolve_key(&spec, &conflict, &order, &type, &own, &err), MQ_OK);
    assert_int_equal(spec.unique_key.len, 0);
    order.conflict = UNIQUE_ERROR;
    assert_int_equal(order_resolve_key(&spec, &conflict, &order, &type, &own, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "mean nothing without UNIQUE"));
    type.unique_by = SLICE("to");
    type.conflict = UNIQUE_REPLACE;
    assert_int_equal(order_resolve_key(&spec, &conflict, &order, &type, &own, &err), MQ_OK);
    assert_true(slice_equal(spec.unique_key, SLICE("{\"to\":1}")));
    assert_int_equal(conflict, UNIQUE_ERROR);
    assert_int_equal(spec.unique_until, WALL_NEVER);
    assert_int_equal(spec.unique_states, JOB_STATES_UNFINISHED);
    type.unique_by = SLICE_EMPTY;
    type.unique = SLICE("the type's");
    assert_int_equal(order_resolve_key(&spec, &conflict, &order, &type, &own, &err), MQ_OK);
    assert_true(slice_equal(spec.unique_key, type.unique));
    assert_ptr_not_equal(spec.unique_key.at,
                         type.unique.at); /* the types may go before the push is on disk */
    order.unique = SLICE("mine");
    order.unique_for_ms = 1000;
    assert_int_equal(order_resolve_key(&spec, &conflict, &order, &type, &own, &err), MQ_OK);
    assert_true(slice_equal(spec.unique_key, SLICE("mine")));
    assert_int_equal(spec.unique_until, NOW + 1000);
    assert_int_equal(spec.unique_states, UNIQUE_STATES_ENDED);
    order.unique_by = SLICE("to");
    assert_int_equal(order_check(&order, 1000, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "exclude each other"));
    buf_release(&own);
}

static void sizes_have_limits(void **state)
{
    (void)state;
    struct push_order order;
    struct mq_err err;
    static char meta[META_MAX_BYTES + 2];
    order_init(&order);
    order.type = SLICE("t");
    order.payload = SLICE("12345");
    assert_int_equal(order_check(&order, 5, &err), MQ_OK);
    assert_int_equal(order_check(&order, 4, &err), MQ_TOOBIG);
    assert_non_null(strstr(err.text, "5 bytes"));
    memset(meta, ' ', sizeof meta);
    memcpy(meta, "{}", 2);
    order.meta = (struct slice){meta, META_MAX_BYTES};
    assert_int_equal(order_check(&order, 5, &err), MQ_OK);
    order.meta.len++;
    assert_int_equal(order_check(&order, 5, &err), MQ_TOOBIG);
    order_init(&order);
    assert_int_equal(order_check(&order, 5, &err), MQ_BADARG); /* no type */
}

static void tags_are_kept_each_behind_the_other(void **state)
{
    (void)state;
    struct push_order order;
    struct buf tags = BUF_INIT;
    order_init(&order);
    assert_int_equal(order_set(&order, SLICE("TAGS"), SLICE("red,blue"), &tags, NULL), MQ_OK);
    assert_true(slice_equal(order.tags, SLICE("red\nblue\n")));
    buf_release(&tags);
}

/* Found by fuzzing: what a worker says its handler pushed has not come through order_set. */
static void an_order_that_comes_whole_is_checked_whole(void **state)
{
    (void)state;
    static const struct {
        struct slice tags;
        wall_ms at_ms;
        const char *says; /* NULL: fine */
    } whole[] = {
        {SLICE("red\nblue\n"), ORDER_UNSET, NULL},
        {SLICE("red"), ORDER_UNSET, "has no end"},
        {SLICE("red\n\n"), ORDER_UNSET, "tag name is empty"},
        {SLICE("a b\n"), ORDER_UNSET, "tag name 'a b'"},
        {SLICE("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n"), ORDER_UNSET, NULL},
        {SLICE("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n"), ORDER_UNSET,
         "more than 16 tags"},
        {SLICE(""), WALL_MAX, NULL},
        {SLICE(""), WALL_MAX + 1, "beyond the year 9999"},
        {SLICE(""), INT64_MAX, "beyond the year 9999"},
    };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        struct push_order order;
        struct mq_err err = {0};
        order_init(&order);
        order.type = SLICE("t");
        order.tags = whole[i].tags;
        order.at_ms = whole[i].at_ms;
        enum mq_code code = order_check(&order, 5, &err);
        if (code != (whole[i].says ? MQ_BADARG : MQ_OK) || (code && !strstr(err.text, whole[i].says)))
            fail_msg("row %zu: %s", i, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_option_is_read_or_refused_with_its_name),
        cmocka_unit_test(what_was_not_said_comes_from_type_then_server_then_ours),
        cmocka_unit_test(a_delay_counts_from_now_and_a_time_stands),
        cmocka_unit_test(a_unique_key_is_the_orders_or_the_types),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(tags_are_kept_each_behind_the_other),
        cmocka_unit_test(an_order_that_comes_whole_is_checked_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
