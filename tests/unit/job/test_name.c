#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "job/name.h"

static const struct row {
    struct slice name;
    const char *says; /* NULL: fine */
} rows[] = {
    {{"default", 7}, NULL},     {{"email.send", 10}, NULL},    {{"a", 1}, NULL},
    {{"_x", 2}, NULL},          {{"9lives", 6}, NULL},         {{"team:mail/high-1_2.x", 20}, NULL},
    {{"", 0}, "empty"},         {{".hidden", 7}, "column 1"}, /* no names that a folder hides */
    {{"/root", 5}, "column 1"}, {{"a b", 3}, "column 2"},      {{"a\nb", 3}, "column 2"},
    {{"a\0b", 3}, "column 2"},  {{"\xc3\xbc", 2}, "column 1"}, /* ASCII only: a label everywhere */
    {{"a\x7f", 2}, "column 2"}, {{"q?", 2}, "'q?'"},
};

static void a_name_is_letters_digits_and_a_few_marks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mq_err err = {0};
        enum mq_code code = name_check("queue", rows[i].name, &err);
        assert_int_equal(code, rows[i].says ? MQ_BADARG : MQ_OK);
        if (rows[i].says && !strstr(err.text, rows[i].says))
            fail_msg("'%s' does not say '%s'", err.text, rows[i].says);
        if (rows[i].says)
            assert_non_null(strstr(err.text, "queue"));
    }
}

static void a_name_has_a_longest_length(void **state)
{
    (void)state;
    struct mq_err err;
    char name[NAME_MAX_BYTES + 1];
    memset(name, 'n', sizeof name);
    assert_int_equal(name_check("tag", (struct slice){name, NAME_MAX_BYTES}, &err), MQ_OK);
    assert_int_equal(name_check("tag", (struct slice){name, NAME_MAX_BYTES + 1}, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "129 bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_letters_digits_and_a_few_marks),
        cmocka_unit_test(a_name_has_a_longest_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
