/* moonq.lua's table, as JSON: what is taken, and what a refusal says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "server/config.h"

static const struct {
    const char *json;
    const char *name, *value; /* a row of CONFIG GET; or what the refusal says, where `name` is NULL */
} tables[] = {
    {"{\"keep\":\"2h\"}", "keep", "2h"},
    {"{\"keep\":1.5}", "keep", "1500ms"}, /* seconds */
    {"{\"attempts\":3}", "attempts", "3"},
    {"{\"attempts\":3.0}", "attempts", "3"},
    {"{\"attempts\":1e2}", "attempts", "100"},
    {"{\"payload_max\":\"64KiB\"}", "payload_max", "64KiB"},
    {"{\"payload_max\":4096}", "payload_max", "4KiB"},
    {"{\"log_level\":\"warn\"}", "log_level", "warn"},
    {"[]", "attempts", "25"}, /* Lua's {} */
    {"{\"attempts\":\"many\"}", NULL, "moonq.lua: attempts: 'many' is not a whole number"},
    {"{\"attempts\":[]}", NULL, "moonq.lua: attempts: has a value of the wrong type"},
    {"{\"attempst\":3}", NULL, "unknown setting 'attempst' (did you mean 'attempts'?)"},
    {"{\"queues\":{\"a b\":{}}}", NULL, "queue name 'a b'"},
    {"{\"queues\":{\"a\":{\"limit\":-1}}}", NULL, "queues.a.limit is not a whole number"},
    {"{\"pools\":{\"a\":{\"queues\":[]}}}", NULL, "names no queue"},
    {"{\"lease\":\"5ms\"}", NULL, "moonq.lua: lease: 5ms is out of range (100ms to 1d)"},
    {"3", NULL, "does not return a table"},
    /* found by fuzzing: numbers that fit no integer were undefined, fractions were cut, a queue that is no table passed */
    {"{\"keep\":1e300}", NULL, "moonq.lua: keep: "},
    {"{\"keep\":-1e300}", NULL, "moonq.lua: keep: "},
    {"{\"attempts\":1e300}", NULL, "moonq.lua: attempts: is not a whole number"},
    {"{\"attempts\":2.5}", NULL, "moonq.lua: attempts: is not a whole number"},
    {"{\"pools\":{\"a\":{\"workers\":1e300}}}", NULL, "pools.a.workers is not a whole number"},
    {"{\"pools\":{\"a\":{\"concurrency\":4.7}}}", NULL, "pools.a.concurrency is not a whole number"},
    {"{\"queues\":{\"mail\":5}}", NULL, "queues.mail is not a table"},
};

static void a_table_is_taken_or_refused_with_the_culprit(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        struct config config;
        struct config_row row = {.name = ""};
        struct mq_err err = {0};
        json_t *table = json_loads(tables[i].json, JSON_DECODE_ANY, NULL);
        config_init(&config);
        enum mq_code code = config_read(&config, table, NULL, &err);
        if (!tables[i].name && (code != MQ_BADARG || !strstr(err.text, tables[i].value)))
            fail_msg("%s: '%s' does not say '%s'", tables[i].json, err.text, tables[i].value);
        if (tables[i].name && code != MQ_OK)
            fail_msg("%s: %s", tables[i].json, err.text);
        for (unsigned r = 0; tables[i].name && strcmp(row.name, tables[i].name) != 0; r++)
            assert_true(config_row_at(&config, r, &row));
        if (tables[i].name)
            assert_string_equal(row.value, tables[i].value);
        json_decref(table);
        config_release(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_taken_or_refused_with_the_culprit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
