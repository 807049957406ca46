#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

#define BAD INT64_MIN

static const struct row {
    const char *text;
    int64_t ms;
} durations[] = {
    {"250ms", 250},
    {"5s", 5000},
    {"10m", 600000},
    {"2h", 7200000},
    {"3d", 259200000},
    {"0", 0}, /* the only number that needs no unit */
    {"0s", 0},
    {"1.5h", 5400000},
    {"0.001s", 1},
    {"0.0015s", BAD}, /* four digits behind the point */
    {"1.s", BAD},
    {".5s", BAD},
    {"", BAD},
    {"5", BAD},
    {"5 s", BAD},
    {" 5s", BAD},
    {"5s ", BAD},
    {"5S", BAD}, /* units are lower case, as documented */
    {"-5s", BAD},
    {"+5s", BAD},
    {"5sec", BAD},
    {"s", BAD},
    {"1h30m", BAD}, /* one number, one unit */
    {"0x10s", BAD},
    {"1e3s", BAD},
    {"999999999999999ms", BAD},       /* beyond the year 9999 */
    {"9999999999999999999999d", BAD}, /* and beyond 64 bits */
    {"253402300799999ms", 253402300799999LL},
};

static void a_duration_is_one_number_and_one_unit(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        struct mq_err err = {0};
        int64_t ms = 42;
        enum mq_code code = duration_parse(&ms, slice_of(durations[i].text), &err);
        if (durations[i].ms == BAD) {
            if (code != MQ_BADARG)
                fail_msg("'%s' was taken for %lld ms", durations[i].text, (long long)ms);
            assert_int_equal(ms, 42); /* untouched */
            if (strlen(durations[i].text) < 32)
                assert_non_null(strstr(err.text, durations[i].text));
        } else {
            if (code != MQ_OK)
                fail_msg("'%s': %s", durations[i].text, err.text);
            assert_int_equal(ms, durations[i].ms);
        }
    }
}

static void a_duration_is_said_no_finer_than_people_care(void **state)
{
    static const struct row rows[] = {
        {"0s", 0},
        {"999ms", 999},
        {"10s", 9650},
        {"1h", 3599983},
        {"59s", 59499},
        {"61s", 60501},
        {"9m", 540000},
        {"62m", 3723456},
        {"36h", 129599999},
        {"11d", 950000000},
        {"20d", 20 * 86400000LL + 7},
        {"36525d", CENTURY_MS - 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[DURATION_TEXT_BYTES];
        assert_string_equal(duration_format(text, duration_round(rows[i].ms)), rows[i].text);
    }
}

static const struct row formats[] = {
    {"0s", 0},      {"1ms", 1},      {"999ms", 999},     {"1s", 1000},      {"90s", 90000},
    {"2m", 120000}, {"2h", 7200000}, {"36h", 129600000}, {"3d", 259200000}, {"1001ms", 1001},
};

static void a_duration_is_written_in_its_shortest_exact_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        char text[DURATION_TEXT_BYTES];
        int64_t back;
        assert_string_equal(duration_format(text, formats[i].ms), formats[i].text);
        assert_int_equal(duration_parse(&back, slice_of(text), NULL), MQ_OK);
        assert_int_equal(back, formats[i].ms);
    }
}

static const struct row times[] = {
    {"0", 0},
    {"1767225600000", 1767225600000LL},
    {"1970-01-01T00:00:00Z", 0},
    {"2026-01-01T00:00:00Z", 1767225600000LL},
    {"2026-01-01", 1767225600000LL}, /* midnight, UTC */
    {"2026-01-01T00:00Z", 1767225600000LL},
    {"2026-01-01 00:00:00Z", 1767225600000LL},
    {"2026-01-01T00:00:00.250Z", 1767225600250LL},
    {"2026-01-01T00:00:00.2Z", 1767225600200LL},
    {"2026-01-01T00:00:00.250999999Z", 1767225600250LL},
    {"2026-01-01T05:30:00+05:30", 1767225600000LL},
    {"2025-12-31T19:00:00-0500", 1767225600000LL},
    {"2024-02-29T12:00:00Z", 1709208000000LL}, /* a leap day */
    {"2023-02-29T12:00:00Z", BAD},
    {"1900-02-29", BAD},            /* no leap year */
    {"2000-02-29", 951782400000LL}, /* one */
    {"2026-13-01", BAD},
    {"2026-00-01", BAD},
    {"2026-01-32", BAD},
    {"2026-01-01T24:00:00Z", BAD},
    {"2026-01-01T00:60:00Z", BAD},
    {"2026-06-30T23:59:60Z", 1782864000000LL}, /* a leap second is the next second */
    {"2026-01-01T00:00:00", BAD},              /* whose midnight? */
    {"2026-01-01T00:00:00X", BAD},
    {"2026-01-01T00:00:00Zx", BAD},
    {"2026-1-1", BAD},
    {"-1", BAD},
    {"12.5", BAD},
    {"", BAD},
    {"tomorrow", BAD},
    {"9999-12-31T23:59:59.999Z", WALL_MAX},
    {"253402300800000", BAD}, /* the first millisecond of the year 10000 */
};

static void a_time_is_a_number_or_iso_8601_with_a_zone(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct mq_err err = {0};
        wall_ms at = 42;
        enum mq_code code = time_parse(&at, slice_of(times[i].text), &err);
        if (times[i].ms == BAD) {
            if (code != MQ_BADARG)
                fail_msg("'%s' was taken for %lld", times[i].text, (long long)at);
            assert_int_equal(at, 42);
        } else {
            if (code != MQ_OK)
                fail_msg("'%s': %s", times[i].text, err.text);
            if (at != times[i].ms)
                fail_msg("'%s' became %lld", times[i].text, (long long)at);
        }
    }
}

static void what_is_formatted_is_parsed_back(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252ULL;
    for (int i = 0; i < 20000; i++) {
        char text[TIME_TEXT_BYTES];
        wall_ms back;
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        wall_ms at = (wall_ms)(random % (uint64_t)(WALL_MAX + 1));
        assert_int_equal(time_parse(&back, slice_of(time_format(text, at)), NULL), MQ_OK);
        assert_int_equal(back, at);
    }
}

/* Found by fuzzing: a year of three digits cannot be read again. */
static const struct row written[] = {
    {"0987-06-05T04:03:02.100Z", -31007044617900LL},
    {"0001-01-01T00:00:00.000Z", -62135596800000LL},
    {"1969-12-31T23:59:59.999Z", -1},
    {"9999-12-31T23:59:59.999Z", WALL_MAX},
};

static void a_year_is_written_with_four_digits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        char text[TIME_TEXT_BYTES];
        wall_ms back;
        assert_string_equal(time_format(text, written[i].ms), written[i].text);
        assert_int_equal(time_parse(&back, slice_of(text), NULL), MQ_OK);
        assert_int_equal(back, written[i].ms);
    }
}

static void a_text_needs_no_nul_and_nul_is_no_digit(void **state)
{
    (void)state;
    int64_t ms;
    wall_ms at;
    assert_int_equal(duration_parse(&ms, (struct slice){"5s\0", 3}, NULL), MQ_BADARG);
    assert_int_equal(duration_parse(&ms, (struct slice){"5sx", 2}, NULL), MQ_OK);
    assert_int_equal(time_parse(&at, (struct slice){"12345", 3}, NULL), MQ_OK);
    assert_int_equal(at, 123);
    assert_int_equal(time_parse(&at, (struct slice){"2026-01-01\0", 11}, NULL), MQ_BADARG);
    assert_int_equal(time_parse(&at, (struct slice){"2026-01-01T00:00:00\0", 20}, NULL), MQ_BADARG);
    assert_int_equal(time_parse(&at, (struct slice){"2026-01-01T00:00:00\0Z", 21}, NULL), MQ_BADARG);
    assert_int_equal(time_parse(&at,
                                (struct slice){"2026-01-01T00:00:00+05\0"
                                               "30",
                                               25},
                                NULL),
                     MQ_BADARG);
    assert_int_equal(time_parse(&at,
                                (struct slice){"2026\0"
                                               "01\0"
                                               "01",
                                               10},
                                NULL),
                     MQ_BADARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_duration_is_one_number_and_one_unit),
        cmocka_unit_test(a_duration_is_written_in_its_shortest_exact_form),
        cmocka_unit_test(a_duration_is_said_no_finer_than_people_care),
        cmocka_unit_test(a_time_is_a_number_or_iso_8601_with_a_zone),
        cmocka_unit_test(what_is_formatted_is_parsed_back),
        cmocka_unit_test(a_year_is_written_with_four_digits),
        cmocka_unit_test(a_text_needs_no_nul_and_nul_is_no_digit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
