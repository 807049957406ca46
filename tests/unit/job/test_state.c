#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "job/state.h"

static void each_row_says_why_and_no_step_has_two_ends(void **state)
{
    (void)state;
    for (unsigned i = 0; i < state_row_count; i++) {
        const struct state_row *row = &state_rows[i];
        assert_true(strlen(row->why) > 3);
        assert_true(state_allows(row->from, row->step));
        assert_int_equal(state_after(row->from, row->step), row->to);
        for (unsigned j = 0; j < i; j++)
            assert_false(state_rows[j].from == row->from && state_rows[j].step == row->step);
    }
}

static void what_has_no_row_is_not_allowed(void **state)
{
    (void)state;
    unsigned allowed = 0;
    for (int from = JOB_NONE; from < JOB_STATES; from++)
        for (int step = 0; step < JOB_STEPS; step++)
            allowed += state_allows((enum job_state)from, (enum job_step)step);
    assert_int_equal(allowed, state_row_count);
    assert_false(state_allows(JOB_RUNNING, STEP_DELETE)); /* its holder would go on without a job */
    assert_false(state_allows(JOB_SUCCEEDED, STEP_CANCEL));
    assert_false(state_allows(JOB_NONE, STEP_LEASE));
}

static void only_a_person_or_time_moves_a_final_state(void **state)
{
    (void)state;
    for (unsigned i = 0; i < state_row_count; i++)
        if (state_is_final(state_rows[i].from))
            assert_true(state_rows[i].step == STEP_RETRY || state_rows[i].step == STEP_DELETE);
    for (int s = JOB_BLOCKED; s < JOB_STATES; s++) /* and every other state can be left by itself */
        assert_int_equal(state_is_final((enum job_state)s), s >= JOB_SUCCEEDED);
}

static void every_state_can_be_reached_from_a_push(void **state)
{
    (void)state;
    bool reached[JOB_STATES] = {[JOB_NONE] = true, [JOB_BLOCKED] = true};
    for (int round = 0; round < JOB_STATES; round++)
        for (unsigned i = 0; i < state_row_count; i++)
            if (reached[state_rows[i].from])
                reached[state_rows[i].to] = true;
    for (int s = 0; s < JOB_STATES; s++)
        assert_true(reached[s]);
}

static void names_and_numbers_on_disk_stay_what_they_are(void **state)
{
    (void)state;
    static const char *const names[] = {"none",     "blocked",   "scheduled", "ready",     "running",
                                        "retrying", "succeeded", "dead",      "cancelled", "expired"};
    for (int s = 0; s < JOB_STATES; s++) {
        assert_string_equal(state_name((enum job_state)s), names[s]);
        assert_int_equal(state_of_name(slice_of(names[s])), s);
    }
    assert_int_equal(state_of_name(SLICE("READY")), JOB_READY);
    assert_int_equal(state_of_name(SLICE("gone")), JOB_NONE);
    assert_string_equal(state_name((enum job_state)77), "unknown");
    /* in attempt records */
    assert_int_equal(STEP_ACK, 5);
    assert_int_equal(STEP_LOST, 9);
    assert_int_equal(STEP_DELETE, 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_says_why_and_no_step_has_two_ends),
        cmocka_unit_test(what_has_no_row_is_not_allowed),
        cmocka_unit_test(only_a_person_or_time_moves_a_final_state),
        cmocka_unit_test(every_state_can_be_reached_from_a_push),
        cmocka_unit_test(names_and_numbers_on_disk_stay_what_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
