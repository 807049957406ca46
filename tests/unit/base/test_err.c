#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"

static void a_failure_is_one_statement(void **state)
{
    (void)state;
    struct mq_err err;
    assert_int_equal(mq_fail(&err, MQ_FULL, "queue '%s' is full", "mail"), MQ_FULL);
    assert_int_equal(err.code, MQ_FULL);
    assert_string_equal(err.text, "queue 'mail' is full");
    assert_int_equal(mq_fail(NULL, MQ_LOST, "nobody listens"), MQ_LOST);
}

static void a_message_that_is_too_long_is_cut_not_overrun(void **state)
{
    (void)state;
    struct mq_err err;
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    mq_fail(&err, MQ_BADARG, "%s", text);
    assert_int_equal(strlen(err.text), MQ_ERR_TEXT_BYTES - 1);
}

static void each_code_has_a_name_and_back(void **state)
{
    (void)state;
    for (int code = MQ_OK; code <= MQ_INTERNAL; code++)
        assert_int_equal(mq_code_of(mq_code_name((enum mq_code)code)), code);
    assert_string_equal(mq_code_name(MQ_NOSPACE), "NOSPACE");
    assert_int_equal(mq_code_of("ELSE"), MQ_INTERNAL);
    assert_string_equal(mq_code_name((enum mq_code)999), "INTERNAL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_one_statement),
        cmocka_unit_test(a_message_that_is_too_long_is_cut_not_overrun),
        cmocka_unit_test(each_code_has_a_name_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
