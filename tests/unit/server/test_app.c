/* What a child tells of the application; it may tell anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/log.h"
#include "server/app.h"

#define NOW 1767225600000LL

static const struct {
    const char *json;
    const char *says; /* NULL: fine */
} checks[] = {
    {"{\"ok\":true}", NULL},
    {"{\"ok\":true,\"warnings\":[{\"file\":\"a.lua\",\"line\":3,\"message\":\"m\"}]}", NULL},
    {"{\"ok\":false,\"errors\":[{\"file\":\"a.lua\",\"line\":3,\"message\":\"m\"},{}]}",
     "a.lua:3: m (and 1 more"},
    {"{}", "application: does not load"},
    {"[]", "application: does not load"},
    {"null", "application: does not load"},
    /* found by fuzzing: each of these ended the server */
    {"{\"ok\":true,\"warnings\":[{}]}", NULL},
    {"{\"ok\":true,\"warnings\":[3,{\"file\":7,\"message\":null}]}", NULL},
    {"{\"errors\":[{\"line\":3}]}", "application:3: does not load"},
};

static void an_application_may_be_described_in_any_way(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        struct mq_err err = {0};
        json_t *app = json_loads(checks[i].json, JSON_DECODE_ANY, NULL);
        enum mq_code code = app_check(app, &err);
        if (code != (checks[i].says ? MQ_SCRIPT : MQ_OK) || (code && !strstr(err.text, checks[i].says)))
            fail_msg("%s: '%s'", checks[i].json, err.text);
        json_decref(app);
    }
}

static const struct {
    const char *handler; /* of type "t" */
    unsigned attempts, priority;
} handlers[] = {
    {"{\"attempts\":3,\"priority\":1}", 3, 1},
    {"{}", ATTEMPTS_DEFAULT, PRIORITY_DEFAULT},
    {"{\"attempts\":null,\"queue\":3}", ATTEMPTS_DEFAULT, PRIORITY_DEFAULT},
    /* found by fuzzing: out of range, they were cut to the bits of a job's field, or undefined. Now all of it is void */
    {"{\"attempts\":4294967299,\"priority\":1}", ATTEMPTS_DEFAULT, PRIORITY_DEFAULT},
    {"{\"attempts\":1e300}", ATTEMPTS_DEFAULT, PRIORITY_DEFAULT},
    {"{\"attempts\":-1}", ATTEMPTS_DEFAULT, PRIORITY_DEFAULT},
    {"{\"priority\":300}", ATTEMPTS_DEFAULT, PRIORITY_DEFAULT},
    {"{\"timeout_ms\":0,\"priority\":1}", ATTEMPTS_DEFAULT, PRIORITY_DEFAULT},
    {"{\"queue\":\"a b\",\"priority\":1}", ATTEMPTS_DEFAULT, PRIORITY_DEFAULT},
};

static void a_handlers_table_is_taken_only_within_the_limits(void **unused)
{
    struct dispatch_host host = {0};
    struct dispatch_settings settings = {.payload_max = 10};
    (void)unused;
    order_init(&settings.defaults);
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        struct dispatch *d = dispatch_new(NULL, &host, &settings);
        struct op_push push = {0};
        struct push_order order;
        json_t *app = json_pack("{s{so}}", "handlers", "t", json_loads(handlers[i].handler, 0, NULL));
        app_set_types(d, app);
        order_init(&order);
        order.type = SLICE("t");
        assert_int_equal(MQ_OK, dispatch_resolve(d, &push, &order, NOW, NULL));
        if (push.spec.max_attempts != handlers[i].attempts || push.spec.priority != handlers[i].priority)
            fail_msg("%s: %u attempts, priority %u", handlers[i].handler, push.spec.max_attempts,
                     push.spec.priority);
        json_decref(app);
        dispatch_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_application_may_be_described_in_any_way),
        cmocka_unit_test(a_handlers_table_is_taken_only_within_the_limits),
    };
    log_setup((enum log_level)(LOG_ERROR + 1), true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
