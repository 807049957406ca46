/* What store.h promises of unique keys, as sentences; for every store, like test_contract.c. */
#include "lab.h"
#include "lmdb_factory.h"

static const struct factory *factory = &lmdb_factory;
static unsigned readers;

static struct lab *open_lab(void)
{
    struct store_settings wishes = {.nosync = true, .crash_limit = 3, .readers = readers};
    return lab_open_with(factory, &wishes);
}

static struct op_push order(struct lab *lab, const char *key, const char *payload,
                            enum unique_conflict conflict)
{
    struct op_push push = lab_order(lab, "q", payload);
    push.spec.unique_key = slice_of(key);
    push.spec.unique_until = WALL_NEVER;
    push.spec.unique_states = JOB_STATES_UNFINISHED;
    push.conflict = conflict;
    return push;
}
static job_id push_key(struct lab *lab, const char *key)
{
    struct op_push push = order(lab, key, "first", UNIQUE_ERROR);
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(push.outcome, PUSH_ADDED);
    assert_int_equal(push.holder, JOB_ID_NONE);
    return push.id;
}
static struct op_push push_as(struct lab *lab, const char *key, const char *payload,
                              enum unique_conflict conflict)
{
    struct op_push push = order(lab, key, payload, conflict);
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    return push;
}
static uint64_t run_next(struct lab *lab, job_id id)
{
    struct leased_job *job = lab_lease(lab, "q", 1);
    assert_non_null(job);
    assert_int_equal(job->id, id);
    return job->token;
}

/* Who has it, by the store's word; JOB_ID_NONE for nobody. Checks what the job itself says. */
static job_id holder_of(struct lab *lab, const char *key, job_id *waiter)
{
    struct op_unique op = {.key = slice_of(key), .job_type = SLICE("email.send")};
    store_op_init(&op.op, STORE_UNIQUE, lab->now);
    enum mq_code code = lab_run(lab, &op.op);
    job_id holder = code == MQ_OK ? op.rows[0].holder : JOB_ID_NONE;
    if (waiter)
        *waiter = code == MQ_OK ? op.rows[0].waiter : JOB_ID_NONE;
    if (code == MQ_OK) {
        assert_int_equal(op.count, 1);
        assert_slice(op.rows[0].type, "email.send");
        assert_int_equal(op.rows[0].state, lab_state(lab, holder));
        assert_int_equal(lab->get.view.status.key_role, KEY_HOLDS);
        assert_slice(lab->get.view.spec.unique_key, key);
    } else {
        assert_int_equal(code, MQ_NOTFOUND);
    }
    store_op_release(&op.op);
    return holder;
}

static enum mq_code free_key(struct lab *lab, const char *key, const char *type, struct unique_row *row)
{
    struct op_unique op = {.key = slice_of(key), .job_type = slice_of(type)};
    store_op_init(&op.op, STORE_FREE_KEY, lab->now);
    enum mq_code code = lab_run(lab, &op.op);
    if (code == MQ_OK && row)
        *row = op.rows[0];
    store_op_release(&op.op);
    return code;
}

/* ---- conflicts ---- */

static void of_ten_pushes_at_once_one_makes_a_job(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push pushes[10];
    int done = 0;
    unsigned added = 0;
    for (int i = 0; i < 10; i++) {
        pushes[i] = order(lab, "k", "x", UNIQUE_SKIP);
        pushes[i].op.done = lab_done;
        pushes[i].op.owner = &done;
        store_submit(lab->store, &pushes[i].op);
        if (i % 3 == 2)
            store_flush(lab->store);
    }
    store_flush(lab->store);
    while (done < 10)
        store_collect(lab->store);
    for (int i = 0; i < 10; i++) {
        added += pushes[i].outcome == PUSH_ADDED;
        assert_int_equal(pushes[i].id, pushes[0].id);
        assert_int_equal(pushes[i].state, JOB_READY);
        store_op_release(&pushes[i].op);
    }
    assert_int_equal(added, 1);
    assert_int_equal(lab_queue(lab, "q")->counts.pushed, 1);
    lab_close(lab);
}

static void a_push_that_skips_answers_the_holder(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_key(lab, "k");
    run_next(lab, id);
    struct op_push push = push_as(lab, "k", "second", UNIQUE_SKIP);
    assert_int_equal(push.outcome, PUSH_SKIPPED);
    assert_int_equal(push.id, id);
    assert_int_equal(push.holder, id);
    assert_int_equal(push.state, JOB_RUNNING);
    assert_int_equal(lab_get(lab, id), MQ_OK);
    assert_slice(lab->get.view.spec.payload, "first");
    lab_close(lab);
}

static void a_push_that_wants_an_error_is_told_who_holds_the_key(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    char text[JOB_ID_TEXT_BYTES];
    job_id id = push_key(lab, "invoice:7");
    struct op_push push = order(lab, "invoice:7", "x", UNIQUE_ERROR);
    assert_int_equal(lab_push_op(lab, &push), MQ_CONFLICT);
    assert_non_null(strstr(push.op.err.text, id_format(text, id)));
    assert_non_null(strstr(push.op.err.text, "invoice:7"));
    assert_non_null(strstr(push.op.err.text, "ready"));
    assert_int_equal(lab_queue(lab, "q")->counts.pushed, 1);
    lab_close(lab);
}

static void a_key_is_one_of_its_type(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id mine = push_key(lab, "user:7"), theirs[3];
    static const char *const types[] = {"a.report", "b.report", "c.report"};
    for (int i = 0; i < 3; i++) {
        struct op_push push = order(lab, "user:7", "x", UNIQUE_ERROR);
        push.spec.type = slice_of(types[i]);
        assert_int_equal(lab_push_op(lab, &push), MQ_OK);
        theirs[i] = push.id;
    }
    /* one out of the middle: those behind it are still found */
    lab_step(lab, STORE_CANCEL, theirs[0]);
    assert_int_equal(holder_of(lab, "user:7", NULL), mine);
    for (int i = 2; i > 0; i--) {
        struct op_push push = order(lab, "user:7", "x", UNIQUE_SKIP);
        push.spec.type = slice_of(types[i]);
        assert_int_equal(lab_push_op(lab, &push), MQ_OK);
        assert_int_equal(push.id, theirs[i]);
    }
    struct op_unique op = {.key = SLICE("user:7"), .job_type = SLICE_EMPTY};
    store_op_init(&op.op, STORE_UNIQUE, lab->now);
    assert_int_equal(lab_run(lab, &op.op), MQ_OK);
    assert_int_equal(op.count, 3);
    store_op_release(&op.op);
    lab_close(lab);
}

static void keys_of_any_bytes_and_the_greatest_length_are_told_apart(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    char key[UNIQUE_MAX_BYTES + 1];
    memset(key, 'k', sizeof key);
    struct op_push push = order(lab, "", "x", UNIQUE_ERROR);
    push.spec.unique_key = (struct slice){key, UNIQUE_MAX_BYTES};
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    key[UNIQUE_MAX_BYTES - 1] = '\0'; /* the last byte counts */
    push = order(lab, "", "x", UNIQUE_ERROR);
    push.spec.unique_key = (struct slice){key, UNIQUE_MAX_BYTES};
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(lab_push_op(lab, &push), MQ_CONFLICT);
    push.spec.unique_key.len++;
    assert_int_equal(lab_push_op(lab, &push), MQ_BADARG);
    push.spec.unique_key.len = 1;
    push.spec.unique_states = 0;
    assert_int_equal(lab_push_op(lab, &push), MQ_BADARG);
    lab_close(lab);
}

static void replacing_gives_a_job_that_waits_the_newest_arguments_and_times(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = order(lab, "k", "first", UNIQUE_REPLACE);
    push.run_at = T0 + 1000;
    push.spec.expires_at = T0 + 2000;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    job_id id = push.id;
    lab->now += 900;
    push = order(lab, "k", "second", UNIQUE_REPLACE);
    push.run_at = lab->now + 1000;
    push.spec.expires_at = lab->now + 2000;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(push.outcome, PUSH_REPLACED);
    assert_int_equal(push.id, id);
    assert_int_equal(push.state, JOB_SCHEDULED);
    lab->now = T0 + 1000; /* when the first was due: the timer began anew */
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab->sweep.count, 0);
    lab->now = T0 + 1900;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab->sweep.count, 1);
    assert_int_equal(lab_get(lab, id), MQ_OK);
    assert_slice(lab->get.view.spec.payload, "second");
    assert_int_equal(lab->get.view.spec.expires_at, T0 + 2900);
    assert_int_equal(lab->get.view.status.expires_at, T0 + 2900);
    lab_close(lab);
}

static void replacing_without_a_delay_makes_a_scheduled_job_ready(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = order(lab, "k", "first", UNIQUE_REPLACE);
    push.run_at = T0 + 1000;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    push = push_as(lab, "k", "second", UNIQUE_REPLACE);
    assert_int_equal(push.state, JOB_READY);
    lab_close(lab);
}

static void replacing_moves_a_ready_job_to_a_later_time(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_key(lab, "k");
    struct op_push push = order(lab, "k", "second", UNIQUE_REPLACE);
    push.run_at = T0 + 500;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(push.outcome, PUSH_REPLACED);
    assert_int_equal(push.state, JOB_SCHEDULED);
    assert_null(lab_lease(lab, "q", 1));
    assert_int_equal(lab->next_due, T0 + 500);
    assert_int_equal(lab_state(lab, id), JOB_SCHEDULED);
    lab_close(lab);
}

static void replacing_leaves_a_retrying_job_its_backoff(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_key(lab, "k");
    lab_fail(lab, id, run_next(lab, id), FAIL_RETRY, T0 + 5000);
    struct op_push push = push_as(lab, "k", "second", UNIQUE_REPLACE);
    assert_int_equal(push.outcome, PUSH_REPLACED);
    assert_int_equal(push.state, JOB_RETRYING);
    assert_int_equal(lab->next_due, T0 + 5000);
    lab->now = T0 + 5000;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab_get(lab, id), MQ_OK);
    assert_slice(lab->get.view.spec.payload, "second");
    assert_int_equal(lab->get.view.status.attempt, 1);
    lab_close(lab);
}

static void rescheduling_leaves_the_arguments(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = order(lab, "k", "first", UNIQUE_RESCHEDULE);
    push.run_at = T0 + 1000;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    job_id id = push.id;
    push = order(lab, "k", "second", UNIQUE_RESCHEDULE);
    push.run_at = T0 + 9000;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(push.outcome, PUSH_RESCHEDULED);
    assert_int_equal(lab->next_due, T0 + 9000);
    assert_int_equal(lab_get(lab, id), MQ_OK);
    assert_slice(lab->get.view.spec.payload, "first");
    push = push_as(lab, "k", "third", UNIQUE_RESCHEDULE); /* now, then */
    assert_int_equal(push.state, JOB_READY);
    run_next(lab, id);
    push = push_as(lab, "k", "fourth", UNIQUE_RESCHEDULE);
    assert_int_equal(push.outcome, PUSH_SKIPPED); /* it has begun */
    lab_close(lab);
}

static void a_full_queue_still_skips(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_key(lab, "k");
    assert_int_equal(lab_change_queue(lab, "q", QUEUE_KEEP, 1), MQ_OK);
    struct op_push push = push_as(lab, "k", "second", UNIQUE_REPLACE);
    assert_int_equal(push.id, id);
    push = order(lab, "other", "x", UNIQUE_REPLACE);
    assert_int_equal(lab_push_op(lab, &push), MQ_FULL);
    assert_int_equal(holder_of(lab, "other", NULL), JOB_ID_NONE);
    lab_close(lab);
}

/* ---- one waits behind the one that runs ---- */

static void behind_a_running_job_at_most_one_waits_with_the_newest_arguments(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id waiter;
    job_id first = push_key(lab, "k");
    uint64_t token = run_next(lab, first);
    struct op_push push = push_as(lab, "k", "second", UNIQUE_REPLACE);
    assert_int_equal(push.outcome, PUSH_BEHIND);
    assert_int_equal(push.holder, first);
    assert_int_equal(push.state, JOB_BLOCKED);
    job_id second = push.id;
    assert_int_not_equal(second, first);
    push = push_as(lab, "k", "third", UNIQUE_REPLACE);
    assert_int_equal(push.outcome, PUSH_REPLACED);
    assert_int_equal(push.id, second);
    push = push_as(lab, "k", "fourth", UNIQUE_SKIP);
    assert_int_equal(push.id, first);
    assert_int_equal(holder_of(lab, "k", &waiter), first);
    assert_int_equal(waiter, second);
    assert_null(lab_lease(lab, "q", 10));
    lab_reopen(lab);
    assert_int_equal(lab_ack(lab, first, token, ""), MQ_OK);
    assert_int_equal(lab->unblocked, 1);
    assert_int_equal(lab->unblocked_id, second);
    assert_int_equal(holder_of(lab, "k", &waiter), second);
    assert_int_equal(waiter, JOB_ID_NONE);
    run_next(lab, second);
    assert_int_equal(lab_get(lab, second), MQ_OK);
    assert_slice(lab->get.view.spec.payload, "third");
    lab_close(lab);
}

static void who_waits_keeps_its_own_time(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id first = push_key(lab, "k");
    uint64_t token = run_next(lab, first);
    struct op_push push = order(lab, "k", "second", UNIQUE_REPLACE);
    push.run_at = T0 + 1000;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(lab_ack(lab, first, token, ""), MQ_OK);
    assert_int_equal(lab_state(lab, push.id), JOB_SCHEDULED);
    assert_int_equal(lab->next_due, T0 + 1000);
    assert_int_equal(holder_of(lab, "k", NULL), push.id);
    lab_close(lab);
}

static void a_job_that_fails_while_one_waits_is_retried_first(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id first = push_key(lab, "k");
    uint64_t token = run_next(lab, first);
    job_id second = push_as(lab, "k", "second", UNIQUE_REPLACE).id;
    lab_fail(lab, first, token, FAIL_RETRY, T0 + 1000);
    assert_int_equal(lab_state(lab, second), JOB_BLOCKED);
    struct op_push push = push_as(lab, "k", "third", UNIQUE_REPLACE);
    assert_int_equal(push.id, second); /* the newest arguments are for who comes last */
    lab->now = T0 + 1000;
    lab_sweep(lab, SWEEP_DUE, 10);
    token = run_next(lab, first);
    lab_fail(lab, first, token, FAIL_DEAD, 0);
    assert_int_equal(holder_of(lab, "k", NULL), second);
    run_next(lab, second);
    lab_close(lab);
}

static void who_waits_may_be_cancelled_and_expires(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id waiter;
    job_id first = push_key(lab, "k");
    run_next(lab, first);
    struct op_push push = push_as(lab, "k", "second", UNIQUE_REPLACE);
    assert_int_equal(lab_step(lab, STORE_CANCEL, push.id), MQ_OK);
    assert_int_equal(holder_of(lab, "k", &waiter), first);
    assert_int_equal(waiter, JOB_ID_NONE);
    push = order(lab, "k", "third", UNIQUE_REPLACE);
    push.spec.expires_at = T0 + 100;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(push.outcome, PUSH_BEHIND);
    lab->now = T0 + 100;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab_state(lab, push.id), JOB_EXPIRED);
    assert_int_equal(holder_of(lab, "k", &waiter), first);
    assert_int_equal(waiter, JOB_ID_NONE);
    lab_close(lab);
}

/* ---- how a key becomes free ---- */

static void end_by_ack(struct lab *lab, job_id id)
{
    lab_ack(lab, id, run_next(lab, id), "");
}
static void end_by_death(struct lab *lab, job_id id)
{
    lab_fail(lab, id, run_next(lab, id), FAIL_DEAD, 0);
}
static void end_by_discard(struct lab *lab, job_id id)
{
    lab_fail(lab, id, run_next(lab, id), FAIL_DISCARD, 0);
}
static void end_by_cancel(struct lab *lab, job_id id)
{
    lab_step(lab, STORE_CANCEL, id);
}
static void end_by_delete(struct lab *lab, job_id id)
{
    lab_step(lab, STORE_DELETE, id);
}
static void end_by_lost_leases(struct lab *lab, job_id id)
{
    for (int i = 0; i < 3; i++) { /* its attempts */
        run_next(lab, id);
        lab->now += LEASE_DEFAULT_MS;
        lab_sweep(lab, SWEEP_LEASES, 10);
    }
}
static void end_by_crashes(struct lab *lab, job_id id)
{
    for (int i = 0; i < 3; i++) {
        lab_release(lab, id, run_next(lab, id), RELEASE_CRASHED, lab->now + 1);
        lab->now += 1;
        lab_sweep(lab, SWEEP_DUE, 10);
    }
}
static void end_by_purge(struct lab *lab, job_id id)
{
    (void)id;
    LAB_OP(lab, many, STORE_MANY);
    lab->many.step = STORE_DELETE;
    lab->many.filter = (struct job_filter){
        .queue = SLICE("q"), .type = SLICE_EMPTY, .tag = SLICE_EMPTY, .holder = SLICE_EMPTY};
    lab->many.since = lab->now + 1;
    lab->many.limit = 10;
    lab->many.cursor = lab->many.reason = SLICE_EMPTY;
    assert_int_equal(lab_run(lab, &lab->many.op), MQ_OK);
}

static void every_end_of_its_holder_frees_a_key(void **state)
{
    (void)state;
    static void (*const ends[])(struct lab *, job_id) = {
        end_by_ack,    end_by_death,       end_by_discard, end_by_cancel,
        end_by_delete, end_by_lost_leases, end_by_crashes, end_by_purge,
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct lab *lab = open_lab();
        job_id id = push_key(lab, "k");
        ends[i](lab, id);
        assert_int_equal(holder_of(lab, "k", NULL), JOB_ID_NONE);
        assert_int_not_equal(push_key(lab, "k"), id);
        lab_close(lab);
    }
}

static void a_key_is_held_through_failure_and_loss(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_key(lab, "k");
    lab_fail(lab, id, run_next(lab, id), FAIL_RETRY, T0 + 100);
    assert_int_equal(holder_of(lab, "k", NULL), id);
    lab->now = T0 + 100;
    lab_sweep(lab, SWEEP_DUE, 10);
    lab_release(lab, id, run_next(lab, id), RELEASE_GIVE_BACK, 0);
    assert_int_equal(holder_of(lab, "k", NULL), id);
    run_next(lab, id);
    lab->now += LEASE_DEFAULT_MS;
    lab_sweep(lab, SWEEP_LEASES, 10);
    assert_int_equal(holder_of(lab, "k", NULL), id);
    lab_close(lab);
}

static void a_key_may_be_free_from_the_start_of_its_job(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    uint16_t waiting = 1 << JOB_SCHEDULED | 1 << JOB_READY | 1 << JOB_RETRYING;
    struct op_push push = order(lab, "k", "first", UNIQUE_ERROR);
    push.spec.unique_states = waiting;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    job_id first = push.id;
    uint64_t token = run_next(lab, first);
    assert_int_equal(holder_of(lab, "k", NULL), JOB_ID_NONE);
    /* it comes back and nobody has it: it is its own again */
    lab_fail(lab, first, token, FAIL_RETRY, T0 + 100);
    assert_int_equal(holder_of(lab, "k", NULL), first);
    lab->now = T0 + 100;
    lab_sweep(lab, SWEEP_DUE, 10);
    token = run_next(lab, first);
    push = order(lab, "k", "second", UNIQUE_ERROR);
    push.spec.unique_states = waiting;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    /* it comes back and somebody has it: it goes on without */
    lab_fail(lab, first, token, FAIL_RETRY, T0 + 200);
    assert_int_equal(holder_of(lab, "k", NULL), push.id);
    assert_int_equal(lab_state(lab, first), JOB_RETRYING);
    lab_close(lab);
}

static void a_key_is_free_when_its_time_is_over_swept_or_not(void **state)
{
    (void)state;
    for (int swept = 0; swept < 2; swept++) {
        struct lab *lab = open_lab();
        struct op_push push = order(lab, "k", "first", UNIQUE_SKIP);
        push.spec.unique_until = T0 + 1000;
        assert_int_equal(lab_push_op(lab, &push), MQ_OK);
        job_id first = push.id;
        assert_int_equal(lab->next_due, T0 + 1000);
        lab->now = T0 + 999;
        assert_int_equal(push_as(lab, "k", "second", UNIQUE_SKIP).id, first);
        lab->now = T0 + 1000;
        if (swept)
            lab_sweep(lab, SWEEP_DUE, 10);
        assert_int_equal(holder_of(lab, "k", NULL), JOB_ID_NONE);
        push = push_as(lab, "k", "third", UNIQUE_SKIP);
        assert_int_equal(push.outcome, PUSH_ADDED);
        assert_int_equal(holder_of(lab, "k", NULL), push.id);
        assert_int_equal(lab_state(lab, first), JOB_READY);
        assert_int_equal(lab->next_due, WALL_NEVER); /* nothing is left behind */
        lab_close(lab);
    }
}

static void a_finished_record_stays_as_long_as_it_holds_its_key(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = order(lab, "k", "first", UNIQUE_SKIP);
    push.spec.unique_until = T0 + 1000;
    push.spec.unique_states = JOB_STATES_ALL;
    push.spec.keep_ms = 0;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    lab_ack(lab, push.id, run_next(lab, push.id), "");
    assert_int_equal(lab_state(lab, push.id), JOB_SUCCEEDED);
    for (int i = 0; i < 3; i++) /* a finished job cannot be changed any more */
        assert_int_equal(push_as(lab, "k", "x", (enum unique_conflict)i).outcome, PUSH_SKIPPED);
    lab->now = T0 + 1000;
    lab_sweep(lab, SWEEP_DUE, 10);
    lab_sweep(lab, SWEEP_OLD, 10);
    assert_int_equal(lab_state(lab, push.id), JOB_NONE);
    push_key(lab, "k");
    lab_close(lab);
}

static void without_an_end_a_key_goes_with_its_record(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = order(lab, "k", "first", UNIQUE_SKIP);
    push.spec.unique_states = JOB_STATES_ALL;
    push.spec.keep_ms = 500;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    lab_ack(lab, push.id, run_next(lab, push.id), "");
    assert_int_equal(holder_of(lab, "k", NULL), push.id);
    lab->now = T0 + 500;
    lab_sweep(lab, SWEEP_OLD, 10);
    assert_int_equal(holder_of(lab, "k", NULL), JOB_ID_NONE);
    push_key(lab, "k");
    lab_close(lab);
}

/* ---- a person ---- */

static void a_dead_letter_lives_again_only_if_nobody_has_its_key(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    char text[JOB_ID_TEXT_BYTES];
    job_id first = push_key(lab, "k");
    end_by_death(lab, first);
    job_id second = push_key(lab, "k");
    assert_int_equal(lab_step(lab, STORE_RETRY, first), MQ_CONFLICT);
    assert_non_null(strstr(lab->step.op.err.text, id_format(text, second)));
    assert_int_equal(lab_state(lab, first), JOB_DEAD);
    LAB_OP(lab, many, STORE_MANY); /* a bulk step passes over it */
    lab->many.step = STORE_RETRY;
    lab->many.filter = (struct job_filter){.states = 1 << JOB_DEAD,
                                           .queue = SLICE_EMPTY,
                                           .type = SLICE_EMPTY,
                                           .tag = SLICE_EMPTY,
                                           .holder = SLICE_EMPTY};
    lab->many.since = lab->now + 1;
    lab->many.limit = 10;
    lab->many.cursor = lab->many.reason = SLICE_EMPTY;
    assert_int_equal(lab_run(lab, &lab->many.op), MQ_OK);
    assert_int_equal(lab->many.touched_count, 0);
    lab_step(lab, STORE_CANCEL, second);
    assert_int_equal(lab_step(lab, STORE_RETRY, first), MQ_OK);
    assert_int_equal(holder_of(lab, "k", NULL), first);
    lab_close(lab);
}

static void a_person_takes_a_key_from_its_holder(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct unique_row row;
    assert_int_equal(free_key(lab, "k", "", NULL), MQ_NOTFOUND);
    job_id first = push_key(lab, "k");
    assert_int_equal(free_key(lab, "k", "report", NULL), MQ_NOTFOUND);
    assert_int_equal(free_key(lab, "k", "", &row), MQ_OK);
    assert_int_equal(row.holder, first);
    assert_int_equal(row.waiter, JOB_ID_NONE);
    job_id second = push_key(lab, "k");
    lab_fail(lab, first, run_next(lab, first), FAIL_RETRY, T0 + 100); /* it does not come back for it */
    assert_int_equal(holder_of(lab, "k", NULL), second);
    lab_step(lab, STORE_CANCEL, second);
    lab->now = T0 + 100;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab_state(lab, first), JOB_READY);
    assert_int_equal(holder_of(lab, "k", NULL), JOB_ID_NONE);
    lab_close(lab);
}

static void a_key_that_is_taken_away_goes_to_who_waits(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct unique_row row;
    job_id first = push_key(lab, "k");
    run_next(lab, first);
    job_id second = push_as(lab, "k", "second", UNIQUE_REPLACE).id;
    assert_int_equal(free_key(lab, "k", "email.send", &row), MQ_OK);
    assert_int_equal(row.holder, first);
    assert_int_equal(row.waiter, second);
    assert_int_equal(holder_of(lab, "k", NULL), second);
    assert_int_equal(lab_state(lab, first), JOB_RUNNING);
    run_next(lab, second);
    lab_close(lab);
}

static void of_several_types_one_must_be_named(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    push_key(lab, "k");
    struct op_push push = order(lab, "k", "x", UNIQUE_ERROR);
    push.spec.type = SLICE("report");
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(free_key(lab, "k", "", NULL), MQ_BADARG);
    assert_int_equal(free_key(lab, "k", "report", NULL), MQ_OK);
    assert_int_equal(free_key(lab, "k", "", NULL), MQ_OK);
    lab_close(lab);
}

/* ---- inside other changes ---- */

static enum mq_code run_group(struct lab *lab, struct op_push *pushes, unsigned count)
{
    struct store_op *members[4];
    struct op_group group = {.members = members, .count = count};
    store_op_init(&group.op, STORE_GROUP, lab->now);
    for (unsigned i = 0; i < count; i++)
        members[i] = &pushes[i].op;
    enum mq_code code = lab_run(lab, &group.op);
    store_op_release(&group.op);
    for (unsigned i = 0; i < count; i++)
        store_op_release(&pushes[i].op);
    return code;
}

static void pushes_of_one_group_see_each_other(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push pushes[3] = {order(lab, "k", "1", UNIQUE_SKIP), lab_order(lab, "q", "2"),
                                order(lab, "k", "3", UNIQUE_REPLACE)};
    assert_int_equal(run_group(lab, pushes, 3), MQ_OK);
    assert_int_equal(pushes[2].outcome, PUSH_REPLACED);
    assert_int_equal(pushes[2].id, pushes[0].id);
    assert_int_equal(lab_get(lab, pushes[0].id), MQ_OK);
    assert_slice(lab->get.view.spec.payload, "3");
    pushes[0] = order(lab, "other", "1", UNIQUE_ERROR);
    pushes[1] = lab_order(lab, "q", "2");
    pushes[2] = order(lab, "other", "3", UNIQUE_ERROR);
    assert_int_equal(run_group(lab, pushes, 3), MQ_CONFLICT);
    assert_int_equal(holder_of(lab, "other", NULL), JOB_ID_NONE);
    assert_int_equal(lab_queue(lab, "q")->counts.pushed, 2);
    lab_close(lab);
}

static enum mq_code ack_with(struct lab *lab, job_id id, uint64_t token, struct op_push *children,
                             unsigned count)
{
    struct op_push *at[4];
    LAB_OP(lab, complete, STORE_COMPLETE);
    for (unsigned i = 0; i < count; i++)
        at[i] = &children[i];
    lab->complete.id = id;
    lab->complete.token = token;
    lab->complete.result = SLICE_EMPTY;
    lab->complete.children = at;
    lab->complete.child_count = count;
    enum mq_code code = lab_run(lab, &lab->complete.op);
    for (unsigned i = 0; i < count; i++)
        store_op_release(&children[i].op);
    return code;
}

static void a_job_may_push_its_own_successor_under_its_key(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id first = push_key(lab, "k");
    uint64_t token = run_next(lab, first);
    struct op_push children[2] = {order(lab, "k", "next", UNIQUE_ERROR), order(lab, "k", "x", UNIQUE_SKIP)};
    assert_int_equal(ack_with(lab, first, token, children, 2), MQ_OK);
    assert_int_equal(children[0].outcome, PUSH_ADDED);
    assert_int_equal(children[1].outcome, PUSH_SKIPPED);
    assert_int_equal(children[1].id, children[0].id);
    assert_int_equal(holder_of(lab, "k", NULL), children[0].id);
    lab_close(lab);
}

static void a_child_whose_key_is_held_refuses_the_whole_ack(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id first = push_key(lab, "parent");
    uint64_t token = run_next(lab, first);
    job_id other = push_key(lab, "k");
    struct op_push children[2] = {order(lab, "new", "1", UNIQUE_ERROR), order(lab, "k", "2", UNIQUE_ERROR)};
    assert_int_equal(ack_with(lab, first, token, children, 2), MQ_CONFLICT);
    assert_int_equal(lab_state(lab, first), JOB_RUNNING);
    assert_int_equal(holder_of(lab, "parent", NULL), first);
    assert_int_equal(holder_of(lab, "new", NULL), JOB_ID_NONE);
    lab_step(lab, STORE_CANCEL, other);
    children[0] = order(lab, "new", "1", UNIQUE_ERROR);
    children[1] = order(lab, "k", "2", UNIQUE_ERROR);
    assert_int_equal(ack_with(lab, first, token, children, 2), MQ_OK);
    lab_close(lab);
}

static void a_key_is_held_across_a_restart(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = push_key(lab, "k");
    lab_reopen(lab);
    assert_int_equal(holder_of(lab, "k", NULL), id);
    assert_int_equal(push_as(lab, "k", "x", UNIQUE_SKIP).id, id);
    lab_close(lab);
}

#define T(test) cmocka_unit_test(test)
static const struct CMUnitTest tests[] = {
    T(of_ten_pushes_at_once_one_makes_a_job),
    T(a_push_that_skips_answers_the_holder),
    T(a_push_that_wants_an_error_is_told_who_holds_the_key),
    T(a_key_is_one_of_its_type),
    T(keys_of_any_bytes_and_the_greatest_length_are_told_apart),
    T(replacing_gives_a_job_that_waits_the_newest_arguments_and_times),
    T(replacing_without_a_delay_makes_a_scheduled_job_ready),
    T(replacing_moves_a_ready_job_to_a_later_time),
    T(replacing_leaves_a_retrying_job_its_backoff),
    T(rescheduling_leaves_the_arguments),
    T(a_full_queue_still_skips),
    T(behind_a_running_job_at_most_one_waits_with_the_newest_arguments),
    T(who_waits_keeps_its_own_time),
    T(a_job_that_fails_while_one_waits_is_retried_first),
    T(who_waits_may_be_cancelled_and_expires),
    T(every_end_of_its_holder_frees_a_key),
    T(a_key_is_held_through_failure_and_loss),
    T(a_key_may_be_free_from_the_start_of_its_job),
    T(a_key_is_free_when_its_time_is_over_swept_or_not),
    T(a_finished_record_stays_as_long_as_it_holds_its_key),
    T(without_an_end_a_key_goes_with_its_record),
    T(a_dead_letter_lives_again_only_if_nobody_has_its_key),
    T(a_person_takes_a_key_from_its_holder),
    T(a_key_that_is_taken_away_goes_to_who_waits),
    T(of_several_types_one_must_be_named),
    T(pushes_of_one_group_see_each_other),
    T(a_job_may_push_its_own_successor_under_its_key),
    T(a_child_whose_key_is_held_refuses_the_whole_ack),
    T(a_key_is_held_across_a_restart),
};

int main(void)
{
    static const struct factory *const factories[] = {&lmdb_factory};
    int failures = 0;
    for (size_t i = 0; i < sizeof factories / sizeof *factories; i++) {
        factory = factories[i];
        readers = 0;
        failures += cmocka_run_group_tests_name("unique keys, everything in flush", tests, NULL, NULL);
        readers = 2;
        failures += cmocka_run_group_tests_name("unique keys, with threads", tests, NULL, NULL);
    }
    return failures;
}
