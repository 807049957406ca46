/* What store.h promises of jobs that wait for a time, as sentences; for every store, like test_contract.c. */
#include "lab.h"
#include "lmdb_factory.h"

static const struct factory *factory = &lmdb_factory;
static unsigned readers;

static struct lab *open_lab(void)
{
    struct store_settings wishes = {.nosync = true, .crash_limit = 3, .readers = readers};
    return lab_open_with(factory, &wishes);
}
static job_id push_at(struct lab *lab, wall_ms run_at)
{
    struct op_push push = lab_order(lab, "q", "x");
    push.run_at = run_at;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    return push.id;
}
static enum mq_code reschedule(struct lab *lab, job_id id, wall_ms run_at)
{
    LAB_OP(lab, step, STORE_RESCHEDULE);
    lab->step.id = id;
    lab->step.payload = lab->step.reason = SLICE_EMPTY;
    lab->step.run_at = run_at;
    return lab_run(lab, &lab->step.op);
}

static void a_scheduled_job_gets_another_time_earlier_or_later(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_at(lab, T0 + 1000);
    assert_int_equal(reschedule(lab, id, T0 + 5000), MQ_OK);
    assert_int_equal(lab->step.was, JOB_SCHEDULED);
    assert_int_equal(lab->step.state, JOB_SCHEDULED);
    assert_int_equal(lab->next_due, T0 + 5000);
    assert_int_equal(reschedule(lab, id, T0 + 10), MQ_OK);
    assert_int_equal(lab->next_due, T0 + 10);
    assert_int_equal(reschedule(lab, id, WALL_MAX), MQ_OK); /* years */
    assert_int_equal(lab->next_due, WALL_MAX);
    assert_int_equal(reschedule(lab, id, T0 - 5), MQ_OK); /* the past is now */
    assert_int_equal(lab->step.state, JOB_READY);
    assert_int_equal(lab->next_due, WALL_NEVER);
    assert_int_equal(lab_lease(lab, "q", 1)->id, id);
    lab_close(lab);
}

static void a_ready_job_may_be_put_off(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_at(lab, 0);
    assert_int_equal(reschedule(lab, id, T0 + 100), MQ_OK);
    assert_int_equal(lab->step.was, JOB_READY);
    assert_int_equal(lab->step.state, JOB_SCHEDULED);
    assert_null(lab_lease(lab, "q", 1));
    lab->now = T0 + 100;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab_lease(lab, "q", 1)->id, id);
    lab_close(lab);
}

static void a_retrying_job_keeps_its_attempts(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_at(lab, 0);
    lab_fail(lab, id, lab_lease(lab, "q", 1)->token, FAIL_RETRY, T0 + 100);
    assert_int_equal(reschedule(lab, id, T0 + 9000), MQ_OK);
    assert_int_equal(lab->step.state, JOB_RETRYING);
    assert_int_equal(lab->next_due, T0 + 9000);
    assert_int_equal(reschedule(lab, id, T0), MQ_OK);
    assert_int_equal(lab_lease(lab, "q", 1)->attempt, 2);
    lab_close(lab);
}

static void what_runs_or_has_ended_has_no_other_time(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_at(lab, 0);
    uint64_t token = lab_lease(lab, "q", 1)->token;
    assert_int_equal(reschedule(lab, id, T0 + 100), MQ_WRONGSTATE);
    lab_ack(lab, id, token, "");
    assert_int_equal(reschedule(lab, id, T0 + 100), MQ_WRONGSTATE);
    assert_int_equal(reschedule(lab, 4711, T0 + 100), MQ_NOTFOUND);
    lab_close(lab);
}

static void an_attempt_says_how_late_it_began(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_at(lab, T0 + 1000);
    lab_reopen(lab); /* the server was down when it was due */
    lab->now = T0 + 61000;
    lab_sweep(lab, SWEEP_DUE, 10);
    struct leased_job *job = lab_lease(lab, "q", 1);
    assert_true(job->was_due);
    assert_int_equal(job->late_ms, 60000);
    uint64_t token = job->token;
    assert_int_equal(lab_get(lab, id), MQ_OK);
    assert_int_equal(lab->get.view.status.was_due, T0 + 1000);
    assert_int_equal(lab->get.view.status.late_ms, 60000);
    lab_release(lab, id, token, RELEASE_GIVE_BACK, 0); /* still late for the same time */
    lab->now += 1000;
    assert_int_equal(lab_lease(lab, "q", 1)->late_ms, 61000);
    lab_fail(lab, id, lab->lease.jobs[0].token, FAIL_RETRY, lab->now + 500);
    lab->now += 500;
    lab_sweep(lab, SWEEP_DUE, 10);
    job = lab_lease(lab, "q", 1); /* of its newest attempt: in time */
    assert_true(job->was_due);
    assert_int_equal(job->late_ms, 0);
    lab_ack(lab, id, job->token, "");
    assert_int_equal(lab_state(lab, id), JOB_SUCCEEDED);
    assert_int_equal(lab->get.view.status.was_due, lab->now);
    job_id plain = push_at(lab, 0);
    assert_int_equal(lab_lease(lab, "q", 1)->id, plain);
    assert_false(lab->lease.jobs[0].was_due);
    lab_close(lab);
}

static void what_is_due_at_once_is_promoted_in_chunks_and_fresh_pushes_go_between(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (int i = 0; i < 25; i++)
        push_at(lab, T0 + 1000);
    lab->now = T0 + 1000;
    for (int chunk = 0; chunk < 3; chunk++) {
        struct op_push push = lab_order(lab, "fresh", "x");
        struct slice queue = SLICE("fresh");
        int done = 0;
        LAB_OP(lab, sweep, STORE_SWEEP);
        LAB_OP(lab, lease, STORE_LEASE);
        lab->sweep.what = SWEEP_DUE;
        lab->sweep.limit = 10;
        lab->lease.queues = &queue;
        lab->lease.queue_count = lab->lease.max = 1;
        lab->lease.holder = SLICE("w1");
        push.op.now = lab->now;
        struct store_op *ops[] = {&lab->sweep.op, &push.op, &lab->lease.op};
        for (int i = 0; i < 3; i++) {
            ops[i]->done = lab_done;
            ops[i]->owner = &done;
            store_submit(lab->store, ops[i]);
        }
        store_flush(lab->store);
        while (done < 3)
            store_collect(lab->store);
        assert_int_equal(lab->sweep.count, chunk < 2 ? 10 : 5);
        assert_int_equal(lab->sweep.more, chunk < 2);
        assert_int_equal(lab->lease.count, 1); /* pushed behind a chunk, and handed out with it */
        assert_int_equal(lab->lease.jobs[0].id, push.id);
        store_op_release(&push.op);
    }
    assert_int_equal(lab->next_due, WALL_NEVER);
    lab_close(lab);
}

static void a_clock_that_steps_loses_and_repeats_nothing(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_at(lab, T0 + 1000);
    lab->now = T0 - 7200000; /* two hours back */
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab->sweep.count, 0);
    assert_int_equal(lab->next_due, T0 + 1000);
    lab->now = T0 + 7200000; /* and forwards */
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab->sweep.count, 1);
    lab->now = T0; /* before its time again: it stays ready */
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab->sweep.count, 0);
    struct leased_job *job = lab_lease(lab, "q", 10);
    assert_int_equal(lab->lease.count, 1);
    assert_int_equal(job->id, id);
    assert_int_equal(job->late_ms, 0); /* never negative */
    lab_close(lab);
}

#define T(test) cmocka_unit_test(test)
static const struct CMUnitTest tests[] = {
    T(a_scheduled_job_gets_another_time_earlier_or_later),
    T(a_ready_job_may_be_put_off),
    T(a_retrying_job_keeps_its_attempts),
    T(what_runs_or_has_ended_has_no_other_time),
    T(an_attempt_says_how_late_it_began),
    T(what_is_due_at_once_is_promoted_in_chunks_and_fresh_pushes_go_between),
    T(a_clock_that_steps_loses_and_repeats_nothing),
};

int main(void)
{
    static const struct factory *const factories[] = {&lmdb_factory};
    int failures = 0;
    for (size_t i = 0; i < sizeof factories / sizeof *factories; i++) {
        factory = factories[i];
        readers = 0;
        failures += cmocka_run_group_tests_name("times, everything in flush", tests, NULL, NULL);
        readers = 2;
        failures += cmocka_run_group_tests_name("times, with threads", tests, NULL, NULL);
    }
    return failures;
}
