#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "job/id.h"

static void ids_grow_with_time_and_within_a_millisecond(void **state)
{
    (void)state;
    job_id id = id_next(JOB_ID_NONE, 1000);
    assert_true(id == (job_id)1000 << JOB_ID_CLOCK_BITS);
    assert_true(id_next(id, 1000) == id + 1);
    assert_true(id_next(id, 1001) == (job_id)1001 << JOB_ID_CLOCK_BITS);
    assert_true(id_next(id, 5) == id + 1); /* the clock stepped back */
    job_id last = ((job_id)1001 << JOB_ID_CLOCK_BITS) - 1;
    assert_true(id_next(last, 1000) == last + 1); /* a million in one millisecond run into the next */
    assert_true(id_next(last + 1, 1001) == last + 2);
}

static void the_order_of_texts_is_the_order_of_numbers(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252ULL;
    char before[JOB_ID_TEXT_BYTES] = "0000000000000", text[JOB_ID_TEXT_BYTES];
    job_id previous = 0;
    for (int i = 0; i < 10000; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        job_id id = random, back;
        assert_string_equal(id_format(text, id), text);
        assert_int_equal(strlen(text), JOB_ID_CHARS);
        assert_int_equal(id_parse(&back, slice_of(text), NULL), MQ_OK);
        assert_true(back == id);
        assert_int_equal(id > previous, strcmp(text, before) > 0);
        memcpy(before, text, sizeof text);
        previous = id;
    }
}

static const struct row {
    const char *text;
    enum mq_code code;
    job_id id;
} rows[] = {
    {"0000000000000", MQ_OK, 0},          {"0000000000001", MQ_OK, 1},
    {"000000000000z", MQ_OK, 31},                                          /* lower case */
    {"00000000000LI", MQ_OK, 33},                                          /* L and I look like 1, */
    {"000000000000o", MQ_OK, 0},                                           /* O like 0 */
    {"FZZZZZZZZZZZZ", MQ_OK, UINT64_MAX}, {"G000000000000", MQ_BADARG, 0}, /* 65 bits */
    {"000000000000", MQ_BADARG, 0},       {"00000000000000", MQ_BADARG, 0},
    {"000000000000U", MQ_BADARG, 0}, /* no such digit */
    {"000000 000000", MQ_BADARG, 0},      {"", MQ_BADARG, 0},
};

static void a_text_is_read_as_people_write_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mq_err err;
        job_id id = 42;
        enum mq_code code = id_parse(&id, slice_of(rows[i].text), &err);
        assert_int_equal(code, rows[i].code);
        assert_true(id == (code == MQ_OK ? rows[i].id : 42));
        if (code != MQ_OK)
            assert_non_null(strstr(err.text, rows[i].text));
    }
    job_id id;
    assert_int_equal(id_parse(&id, (struct slice){"00000000000\0001", 13}, NULL), MQ_BADARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_grow_with_time_and_within_a_millisecond),
        cmocka_unit_test(the_order_of_texts_is_the_order_of_numbers),
        cmocka_unit_test(a_text_is_read_as_people_write_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
