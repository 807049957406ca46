/*
 * Damaged data: a record that cannot be decoded is moved aside by whatever meets it first, its neighbours live
 * on, and neither start-up nor a sweep dies of it.
 */
#include "lab.h"
#include "lmdb_factory.h"
#include "lmdb_check.h"

static struct lab *open_lab(void)
{
    struct store_settings wishes = {.nosync = true, .crash_limit = 3, .dead_keep_ms = 1000000};
    return lab_open_with(&lmdb_factory, &wishes);
}

/* Flips a byte of a record while the store is closed; `at` counts from the end if negative. */
static void damage(struct lab *lab, enum db db, const struct key *key, int at)
{
    struct file file;
    char copy[1024];
    MDB_val k = {key->len, (void *)key->at}, v;
    store_close(lab->store);
    lab->store = NULL;
    file_open(&file, lab->settings.dir);
    assert_int_equal(mdb_get(file.txn, file.dbi[db], &k, &v), 0);
    assert_true(v.mv_size <= sizeof copy);
    memcpy(copy, v.mv_data, v.mv_size);
    v.mv_data = copy;
    copy[at < 0 ? (int)v.mv_size + at : at] ^= 0x40;
    assert_int_equal(mdb_put(file.txn, file.dbi[db], &k, &v, 0), 0);
    file_close(&file);
    lab_reopen(lab);
}

static void damage_job(struct lab *lab, enum db db, job_id id, int at)
{
    struct key key;
    key_of_id(&key, id);
    damage(lab, db, &key, at);
}

static job_id bring_into(struct lab *lab, enum job_state state)
{
    struct op_push push = lab_order(lab, "q", "payload");
    push.run_at = state == JOB_SCHEDULED ? lab->now + 10 : 0;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    if (state == JOB_READY || state == JOB_SCHEDULED)
        return push.id;
    if (state == JOB_CANCELLED) {
        lab_step(lab, STORE_CANCEL, push.id);
        return push.id;
    }
    struct leased_job *job = lab_lease(lab, "q", 1);
    if (state == JOB_RETRYING)
        lab_fail(lab, push.id, job->token, FAIL_RETRY, lab->now + 10);
    else if (state == JOB_DEAD)
        lab_fail(lab, push.id, job->token, FAIL_DEAD, 0);
    else if (state == JOB_SUCCEEDED)
        lab_ack(lab, push.id, job->token, "{}");
    return push.id;
}

static const struct damage_row {
    enum job_state state;
    enum db db;
    int at;
} rows[] = {
    /* the status: its place in the indexes must be searched for */
    {JOB_READY, DB_STATES, 20},
    {JOB_SCHEDULED, DB_STATES, -1},
    {JOB_RUNNING, DB_STATES, 30},
    {JOB_RETRYING, DB_STATES, 40},
    {JOB_DEAD, DB_STATES, 0}, /* a format that nobody knows */
    {JOB_SUCCEEDED, DB_STATES, 10},
    {JOB_CANCELLED, DB_STATES, 10},
    /* the job record: its status says where it is */
    {JOB_READY, DB_JOBS, 20},
    {JOB_SCHEDULED, DB_JOBS, 0},
    {JOB_RUNNING, DB_JOBS, -2},
    {JOB_RETRYING, DB_JOBS, 5},
    {JOB_DEAD, DB_JOBS, 60},
    {JOB_SUCCEEDED, DB_JOBS, 60},
};

/* All that time and workers do; the damaged job must be met by one of them. */
static void live_on(struct lab *lab)
{
    for (int i = 0; i < 3; i++) {
        lab->now += KEEP_DEFAULT_MS + 2000000;
        lab_sweep(lab, SWEEP_DUE, 100);
        lab_sweep(lab, SWEEP_LEASES, 100);
        lab_sweep(lab, SWEEP_OLD, 100);
        lab_sweep(lab, SWEEP_DEAD, 100);
        struct leased_job *job = lab_lease(lab, "q", 100);
        for (unsigned j = 0; job && j < lab->lease.count; j++) {
            assert_int_equal(lab_ack(lab, lab->lease.jobs[j].id, lab->lease.jobs[j].token, ""), MQ_OK);
        }
    }
}

static uint64_t quarantined(struct lab *lab)
{
    LAB_OP(lab, stats, STORE_STATS);
    assert_int_equal(lab_run(lab, &lab->stats.op), MQ_OK);
    return lab->stats.quarantined;
}

static void a_damaged_record_is_moved_aside_and_its_neighbours_live_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lab *lab = open_lab();
        job_id id = bring_into(lab, rows[i].state), neighbour = lab_push(lab, "q", "fine");
        damage_job(lab, rows[i].db, id, rows[i].at);
        assert_int_equal(lab_get(lab, id), MQ_INTERNAL); /* told, not crashed */
        live_on(lab);
        assert_int_equal(lab_get(lab, neighbour), MQ_NOTFOUND); /* ran, and was kept long enough */
        assert_int_equal(lab_queue(lab, "q")->counts.succeeded, 1 + (rows[i].state == JOB_SUCCEEDED));
        assert_int_equal(quarantined(lab), 1);
        assert_non_null(strstr(lab->alarms.at, "record.quarantined"));
        assert_int_equal(lab_get(lab, id), MQ_INTERNAL); /* "is in quarantine" */
        assert_non_null(strstr(lab->get.op.err.text, "quarantine"));
        store_close(lab->store);
        lab->store = NULL;
        assert_int_equal(lmdb_check(lab->settings.dir), 0); /* no entry and no count is left of it */
        lab_close(lab);
    }
}

static void all_its_bytes_are_kept(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "the precious payload");
    damage_job(lab, DB_STATES, id, 20);
    lab_lease(lab, "q", 1);
    store_close(lab->store);
    lab->store = NULL;
    struct file file;
    struct key key;
    MDB_val v;
    key_of_id(&key, id);
    MDB_val k = {key.len, key.at};
    file_open(&file, lab->settings.dir);
    assert_int_equal(mdb_get(file.txn, file.dbi[DB_QUARANTINE], &k, &v), 0);
    assert_non_null(memmem(v.mv_data, v.mv_size, "the precious payload", 20));
    file_close(&file);
    lab_close(lab);
}

static void a_step_by_id_answers_and_moves_it_aside(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    damage_job(lab, DB_JOBS, id, 20);
    assert_int_equal(lab_step(lab, STORE_CANCEL, id), MQ_INTERNAL);
    assert_int_equal(quarantined(lab), 1);
    assert_int_equal(lab_step(lab, STORE_CANCEL, id), MQ_NOTFOUND);
    lab_close(lab);
}

static void a_listing_passes_over_it(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id a = lab_push(lab, "q", "x");
    lab_push(lab, "q", "y");
    damage_job(lab, DB_JOBS, a, 20);
    LAB_OP(lab, list, STORE_LIST);
    lab->list.filter = (struct job_filter){.queue = SLICE_EMPTY, .type = SLICE_EMPTY, .tag = SLICE_EMPTY};
    lab->list.limit = 10;
    lab->list.cursor = SLICE_EMPTY;
    assert_int_equal(lab_run(lab, &lab->list.op), MQ_OK);
    assert_int_equal(lab->list.count, 1);
    lab_close(lab);
}

static void a_damaged_queue_record_is_counted_anew(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id ready = lab_push(lab, "q", "x");
    bring_into(lab, JOB_SCHEDULED);
    lab_push(lab, "other", "x");
    struct key key;
    key_of_no(&key, lab_queue(lab, "q")->no);
    damage(lab, DB_QUEUES, &key, 12);
    assert_non_null(strstr(lab->alarms.at, "queue.mended"));
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 1);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_SCHEDULED], 1);
    assert_int_equal(lab_lease(lab, "q", 1)->id, ready);
    assert_int_equal(lab_queue(lab, "other")->counts.in_state[JOB_READY], 1);
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(lmdb_check(lab->settings.dir), 3);
    lab_close(lab);
}

static void a_stray_index_entry_is_removed_by_whoever_meets_it(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id good = lab_push(lab, "q", "x");
    uint32_t no = lab_queue(lab, "q")->no;
    store_close(lab->store);
    lab->store = NULL;
    struct file file;
    struct key keys[5];
    static const enum db dbs[] = {DB_READY, DB_DUE, DB_LEASES, DB_FINISHED, DB_DEAD};
    key_of_ready(&keys[0], no, 0, 4711);
    key_of_due(&keys[1], 5, 4711, DUE_RUN);
    key_of_moment(&keys[2], 5, good);
    key_of_moment(&keys[3], 5, 4711);
    key_of_moment(&keys[4], 5, good);
    file_open(&file, lab->settings.dir);
    for (int i = 0; i < 5; i++) {
        MDB_val k = {keys[i].len, keys[i].at}, v = {0, ""};
        assert_int_equal(mdb_put(file.txn, file.dbi[dbs[i]], &k, &v, 0), 0);
    }
    file_close(&file);
    lab_reopen(lab);
    assert_int_equal(lab->next_due, 5);
    lab_sweep(lab, SWEEP_DUE, 10);
    lab_sweep(lab, SWEEP_LEASES, 10);
    lab_sweep(lab, SWEEP_OLD, 10);
    lab_sweep(lab, SWEEP_DEAD, 10);
    assert_int_equal(lab->next_due, WALL_NEVER);
    assert_int_equal(lab->next_lease, WALL_NEVER);
    assert_int_equal(lab->next_old, WALL_NEVER);
    assert_int_equal(lab->next_dead, WALL_NEVER);
    assert_int_equal(lab_lease(lab, "q", 10)->id, good);
    lab_push(lab, "q", "y");
    assert_non_null(lab_lease(lab, "q", 10));
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(lmdb_check(lab->settings.dir), 2);
    lab_close(lab);
}

/* A holder that cannot be read: its key is free, whichever of its records is damaged, and who waits may run. */
static void the_key_of_a_damaged_job_goes_to_who_waits_for_it(void **state)
{
    (void)state;
    static const enum db damaged[] = {DB_STATES, DB_JOBS};
    for (int i = 0; i < 2; i++) {
        struct lab *lab = open_lab();
        struct op_push push = lab_order(lab, "q", "payload");
        push.spec.unique_key = SLICE("k");
        push.spec.unique_until = WALL_NEVER;
        push.spec.unique_states = JOB_STATES_UNFINISHED;
        push.conflict = UNIQUE_REPLACE;
        assert_int_equal(lab_push_op(lab, &push), MQ_OK);
        job_id first = push.id;
        assert_int_equal(lab_lease(lab, "q", 1)->id, first);
        assert_int_equal(lab_push_op(lab, &push), MQ_OK);
        assert_int_equal(push.outcome, PUSH_BEHIND);
        job_id second = push.id;
        damage_job(lab, damaged[i], first, 20);
        assert_int_equal(lab_step(lab, STORE_CANCEL, first), MQ_INTERNAL);
        assert_int_equal(lab_lease(lab, "q", 10)->id, second);
        store_close(lab->store);
        lab->store = NULL;
        assert_int_equal(lmdb_check(lab->settings.dir), 1);
        lab_close(lab);
    }
}

static void a_doctor_sees_an_entry_too_many(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct file file;
    struct key stray;
    lab_push(lab, "q", "x");
    store_close(lab->store);
    lab->store = NULL;
    file_open(&file, lab->settings.dir);
    key_of_moment(&stray, T0, 4711);
    MDB_val k = {stray.len, stray.at}, v = {0, ""};
    assert_int_equal(mdb_put(file.txn, file.dbi[DB_LEASES], &k, &v, 0), 0);
    file_close(&file);
    lab_reopen(lab);
    struct op_doctor doctor = {.count = 0};
    store_op_init(&doctor.op, STORE_DOCTOR, lab->now);
    assert_int_equal(lab_run(lab, &doctor.op), MQ_OK);
    assert_int_equal(doctor.wrong, 1);
    for (unsigned i = 0; i < doctor.count; i++)
        if (strcmp(doctor.checks[i].index, "leases") == 0)
            assert_true(!doctor.checks[i].agrees && doctor.checks[i].counted == 0 &&
                        doctor.checks[i].there == 1);
    store_op_release(&doctor.op);
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_record_is_moved_aside_and_its_neighbours_live_on),
        cmocka_unit_test(all_its_bytes_are_kept),
        cmocka_unit_test(a_step_by_id_answers_and_moves_it_aside),
        cmocka_unit_test(a_listing_passes_over_it),
        cmocka_unit_test(a_damaged_queue_record_is_counted_anew),
        cmocka_unit_test(a_stray_index_entry_is_removed_by_whoever_meets_it),
        cmocka_unit_test(the_key_of_a_damaged_job_goes_to_who_waits_for_it),
        cmocka_unit_test(a_doctor_sees_an_entry_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
