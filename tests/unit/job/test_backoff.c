#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "job/backoff.h"

static void the_first_ten_delays_are_the_documented_ones(void **state)
{
    (void)state;
    static const int64_t seconds[] = {16, 31, 96, 271, 640, 1311, 2416, 4111, 6576, 10015};
    for (unsigned n = 1; n <= 10; n++)
        assert_int_equal(backoff_default_ms(n, 0), seconds[n - 1] * 1000);
}

static void twenty_five_attempts_take_about_three_weeks(void **state)
{
    (void)state;
    int64_t sum = 0;
    for (unsigned n = 1; n < 25; n++)
        sum += backoff_default_ms(n, 0);
    assert_true(sum > 20 * 86400000LL && sum < 21 * 86400000LL);
}

static void chance_only_adds_and_never_more_than_a_tenth(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 30; n++) {
        int64_t least = backoff_default_ms(n, 0), last = least;
        for (uint64_t chance = 0; chance <= UINT32_MAX; chance += UINT32_MAX / 16) {
            int64_t delay = backoff_default_ms(n, (uint32_t)chance);
            assert_true(delay >= last && delay <= least + least / 10);
            last = delay;
        }
        assert_true(last > least); /* jobs that one outage failed do not all come back in one second */
    }
}

static void any_attempt_has_a_finite_delay(void **state)
{
    (void)state;
    assert_true(backoff_default_ms(0, UINT32_MAX) > 0);
    assert_true(backoff_default_ms(UINT32_MAX, UINT32_MAX) > 0);
    assert_true(backoff_default_ms(UINT32_MAX, UINT32_MAX) == backoff_default_ms(100, UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_ten_delays_are_the_documented_ones),
        cmocka_unit_test(twenty_five_attempts_take_about_three_weeks),
        cmocka_unit_test(chance_only_adds_and_never_more_than_a_tenth),
        cmocka_unit_test(any_attempt_has_a_finite_delay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
