/* Jobs of which LMDB is told late, or never: when it is, and that nobody notices. */
#include "writer_bench.h"

static void a_job_that_ends_before_a_checkpoint_is_never_told(void **state)
{
    (void)state;
    struct bench *b = bench_new(&(struct store_settings){.nosync = true});
    uint64_t token;
    job_id id = bench_push(b, "q", 0);
    assert_int_equal(bench_told(b), 0);
    assert_int_equal(bench_lease(b, "q", 1, &token), 1);
    assert_int_equal(bench_ack(b, id, token + 1),
                     MQ_LOST); /* for the answer's words it is looked for: told */
    assert_int_equal(bench_told(b), 1);
    assert_int_equal(bench_ack(b, id, token), MQ_OK);
    id = bench_push(b, "q", 0);
    assert_int_equal(bench_lease(b, "q", 1, &token), 1);
    assert_int_equal(bench_told(b), 0);
    assert_int_equal(bench_ack(b, id, token), MQ_OK);
    assert_int_equal(bench_told(b), 0);
    assert_int_equal(b->env->journal.records,
                     6); /* what was refused, and that LMDB was told, changed nothing */
    assert_int_equal(bench_ack(b, id, token), MQ_NOTFOUND);
    bench_free(b);
}

static void a_checkpoint_tells_of_all(void **state)
{
    (void)state;
    struct bench *b = bench_new(&(struct store_settings){.nosync = true});
    uint64_t token;
    job_id first = bench_push(b, "q", 0), second = bench_push(b, "q", 0);
    assert_int_equal(bench_lease(b, "q", 1, &token), 1);
    assert_true(writer_checkpoint(&b->writer));
    assert_true(journal_is_empty(&b->env->journal));
    assert_int_equal(bench_ack(b, first, token), MQ_OK);
    assert_int_equal(bench_told(b), 1);
    assert_int_equal(bench_lease(b, "q", 2, &token), 1);
    assert_int_equal(bench_ack(b, second, token), MQ_OK);
    bench_free(b);
}

static void a_step_on_one_job_tells_of_that_one(void **state)
{
    (void)state;
    struct bench *b = bench_new(&(struct store_settings){.nosync = true});
    uint64_t token;
    struct op_step cancel = {.reason = SLICE_EMPTY, .payload = SLICE_EMPTY};
    bench_push(b, "q", 0);
    cancel.id = bench_push(b, "q", 0);
    bench_push(b, "q", 0);
    store_op_init(&cancel.op, STORE_CANCEL, T0);
    assert_int_equal(bench_run(b, &cancel.op), MQ_OK);
    store_op_release(&cancel.op);
    assert_int_equal(bench_told(b), 0); /* it was told, and is gone */
    assert_int_equal(bench_lease(b, "q", 9, &token), 2);
    assert_int_equal(bench_told(b), 0);
    bench_free(b);
}

static void what_leaves_a_record_is_told_at_once(void **state)
{
    (void)state;
    struct bench *b = bench_new(&(struct store_settings){.nosync = true});
    uint64_t token;
    job_id id = bench_push(b, "q", KEEP_DEFAULT_MS);
    assert_int_equal(bench_told(b), 1);
    assert_int_equal(b->env->journal.records, 1);
    assert_int_equal(bench_lease(b, "q", 1, &token), 1);
    assert_int_equal(bench_ack(b, id, token), MQ_OK);
    assert_int_equal(bench_told(b), 1);
    bench_free(b);
}

/* The order is that of the ids, wherever a job is. */
static void what_is_told_and_what_is_not_are_handed_out_in_one_order(void **state)
{
    (void)state;
    struct bench *b = bench_new(&(struct store_settings){.nosync = true});
    job_id ids[6];
    uint64_t token;
    for (unsigned i = 0; i < 6; i++) {
        ids[i] = bench_push(b, "q", 0);
        if (i == 2)
            assert_true(writer_checkpoint(&b->writer));
    }
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(bench_lease(b, "q", 1, &token), 1);
        assert_int_equal(bench_ack(b, ids[i], token), MQ_OK); /* LOST or NOTFOUND if it were another */
    }
    bench_free(b);
}

static void lease_one(struct bench *b)
{
    uint64_t token;
    bench_push(b, "q", 0);
    assert_int_equal(bench_lease(b, "q", 1, &token), 1);
}

static struct op_push *many_orders(struct bench *b, unsigned count, int64_t keep_ms)
{
    static char payload[1024];
    struct op_push *pushes = calloc(count, sizeof *pushes);
    for (unsigned i = 0; i < count; i++) {
        pushes[i] = lab_order(&b->orders, "q", "");
        pushes[i].spec.payload = (struct slice){payload, sizeof payload};
        pushes[i].spec.keep_ms = keep_ms;
        writer_add(&b->writer, &pushes[i].op);
    }
    free(writer_run(&b->writer));
    return pushes;
}

/* To write them twice pays only if they end soon and leave nothing. */
static void a_long_batch_is_a_commit_if_its_jobs_stay(void **state)
{
    (void)state;
    struct bench *b = bench_new(&(struct store_settings){.nosync = true});
    lease_one(b);
    free(many_orders(b, 1000, 0));
    assert_int_equal(b->env->journal.records, 3);
    assert_int_equal(bench_told(b), 0);
    assert_true(writer_checkpoint(&b->writer));
    free(many_orders(b, 1000, 0)); /* nobody hands them out */
    assert_int_equal(b->env->journal.records, 0);
    lease_one(b);
    free(many_orders(b, 1000, KEEP_DEFAULT_MS));
    assert_int_equal(b->env->journal.records, 0);
    bench_free(b);
    b = bench_new(&(struct store_settings){.nosync = true, .journal_bytes = 1 << 20});
    lease_one(b);
    free(many_orders(b, 1000, 0)); /* so many wait that the journal is full before they have ended */
    assert_int_equal(b->env->journal.records, 0);
    bench_free(b);
}

/* Those far back first, a few with each batch: the checkpoint has less to do. */
static void many_that_wait_are_told_ahead_of_a_checkpoint(void **state)
{
    (void)state;
    enum {
        SOON = 16384,
        MORE = 300,
        AHEAD = 128
    };
    struct bench *b = bench_new(&(struct store_settings){.nosync = true});
    uint64_t token;
    job_id first = JOB_ID_NONE;
    for (unsigned i = 0; i < SOON + MORE; i++) {
        job_id id = bench_push(b, "q", 0);
        first = i ? first : id;
        b->writer.open_since = clock_mono(); /* the checkpoint is far */
    }
    assert_int_equal(bench_told(b), 0);
    size_t told[] = {AHEAD, 2 * AHEAD, MORE + 3, MORE + 4};
    for (unsigned i = 0; i < 4; i++) {
        b->writer.open_since = clock_mono() - 500;
        bench_push(b, "q", 0);
        assert_int_equal(bench_told(b), told[i]);
    }
    b->writer.open_since = clock_mono() - 500;
    assert_int_equal(bench_lease(b, "q", 1, &token), 1);
    assert_int_equal(bench_ack(b, first, token), MQ_OK); /* it was in memory, and is gone from there alone */
    assert_int_equal(bench_told(b), MORE + 4);
    assert_int_equal(bench_lease(b, "q", UINT32_MAX, &token), SOON + MORE + 3);
    bench_free(b);
}

static void their_leases_run_out(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.keep_ms = 0; /* or LMDB is told at once */
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    job_id id = push.id;
    assert_int_equal(lab->next_lease, WALL_NEVER);
    uint64_t token = lab_lease(lab, "q", 1)->token;
    assert_int_equal(lab->next_lease, T0 + LEASE_DEFAULT_MS);
    lab->now += LEASE_DEFAULT_MS;
    assert_int_equal(lab_sweep(lab, SWEEP_LEASES, 10), MQ_OK);
    assert_int_equal(lab->sweep.count, 1);
    assert_int_equal(lab->next_lease, WALL_NEVER);
    assert_int_equal(lab_ack(lab, id, token, ""), MQ_LOST);
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_that_ends_before_a_checkpoint_is_never_told),
        cmocka_unit_test(a_checkpoint_tells_of_all),
        cmocka_unit_test(a_step_on_one_job_tells_of_that_one),
        cmocka_unit_test(what_leaves_a_record_is_told_at_once),
        cmocka_unit_test(what_is_told_and_what_is_not_are_handed_out_in_one_order),
        cmocka_unit_test(a_long_batch_is_a_commit_if_its_jobs_stay),
        cmocka_unit_test(many_that_wait_are_told_ahead_of_a_checkpoint),
        cmocka_unit_test(their_leases_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
