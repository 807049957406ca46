/*
 * lmdb_check.h - opens a closed store's file and compares every index and counter with every status.
 *
 * Written against layout.h alone and not with the store's own code, so that a mistake there is seen here.
 */
#ifndef MOONQ_TESTS_STORE_LMDB_CHECK_H
#define MOONQ_TESTS_STORE_LMDB_CHECK_H

#include "lab.h"

#include "store/lmdb/layout.h"
#include "store/lmdb/machine.h"
#include "job/record.h"

struct file {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi[DB_COUNT];
};

static inline void file_open(struct file *file, const char *dir)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/moonq.mdb", dir);
    assert_int_equal(mdb_env_create(&file->env), 0);
    mdb_env_set_maxdbs(file->env, DB_COUNT);
    mdb_env_set_mapsize(file->env, 1 << 30);
    assert_int_equal(mdb_env_open(file->env, path, MDB_NOSUBDIR | MDB_NOSYNC, 0600), 0);
    assert_int_equal(mdb_txn_begin(file->env, NULL, 0, &file->txn), 0);
    for (int i = 0; i < DB_COUNT; i++)
        assert_int_equal(mdb_dbi_open(file->txn, db_names[i], 0, &file->dbi[i]), 0);
}
static inline void file_close(struct file *file)
{
    assert_int_equal(mdb_txn_commit(file->txn), 0);
    mdb_env_close(file->env);
}
/* Ends a closed store's file before its last pages, all of them free. The bytes it has now. */
static inline off_t file_shorten(const char *dir)
{
    struct file file;
    MDB_envinfo info;
    char path[4096];
    MDB_val key = {1, "x"}, val = {200000, NULL};
    file_open(&file, dir);
    assert_int_equal(mdb_put(file.txn, file.dbi[DB_META], &key, &val, MDB_RESERVE), 0);
    assert_int_equal(mdb_txn_commit(file.txn), 0);
    for (int i = 0; i < 4; i++) { /* what the commits need they take from the front of what is free */
        assert_int_equal(mdb_txn_begin(file.env, NULL, 0, &file.txn), 0);
        val.mv_size = 1;
        assert_int_equal(i == 0 || i == 3 ? mdb_del(file.txn, file.dbi[DB_META], &key, NULL)
                                          : mdb_put(file.txn, file.dbi[DB_META], &key, &val, MDB_RESERVE),
                         0);
        assert_int_equal(mdb_txn_commit(file.txn), 0);
    }
    mdb_env_info(file.env, &info);
    mdb_env_close(file.env);
    snprintf(path, sizeof path, "%s/moonq.mdb", dir);
    off_t bytes = (off_t)(info.me_last_pgno - 30) * 4096;
    assert_int_equal(truncate(path, bytes), 0);
    return bytes;
}
static inline size_t file_count(struct file *file, enum db db)
{
    MDB_stat stat;
    assert_int_equal(mdb_stat(file->txn, file->dbi[db], &stat), 0);
    return stat.ms_entries;
}
static inline bool file_has(struct file *file, enum db db, const struct key *key)
{
    MDB_val k = {key->len, (void *)key->at}, v;
    return mdb_get(file->txn, file->dbi[db], &k, &v) == 0;
}

struct expected {
    size_t entries[DB_COUNT];
    uint64_t in_state[64][JOB_STATES], parked[64], held[64];
    uint64_t finished_bytes, dead_bytes;
    size_t holders, waiters; /* of unique keys */
};

static inline void expect(struct file *file, struct expected *e, enum db db, const struct key *key)
{
    assert_true(file_has(file, db, key));
    e->entries[db]++;
}

/* The record of this job's key names it. */
static inline void expect_key(struct file *file, struct expected *e, job_id id, bool holds)
{
    struct key at;
    struct job_spec spec;
    MDB_cursor *cursor;
    unsigned met = 0;
    key_of_id(&at, id);
    MDB_val k = {at.len, at.at}, v;
    assert_int_equal(mdb_get(file->txn, file->dbi[DB_JOBS], &k, &v), 0);
    assert_int_equal(record_read_spec(&spec, (struct slice){v.mv_data, v.mv_size}, NULL), MQ_OK);
    mdb_cursor_open(file->txn, file->dbi[DB_UNIQUE], &cursor);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        struct unique_record record;
        assert_int_equal(unique_decode(&record, (struct slice){v.mv_data, v.mv_size}, NULL), MQ_OK);
        bool same = slice_equal(record.key, spec.unique_key) && slice_equal(record.type, spec.type);
        met += same && (holds ? record.holder : record.waiter) == id;
        assert_true(same || (record.holder != id && record.waiter != id));
    }
    mdb_cursor_close(cursor);
    assert_int_equal(met, 1);
    e->holders += holds;
    e->waiters += !holds;
}

/* Each record was counted from its holder, so no two jobs hold one key. */
static inline void check_keys(struct file *file, const struct expected *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    size_t waiters = 0;
    assert_int_equal(file_count(file, DB_UNIQUE), e->holders);
    mdb_cursor_open(file->txn, file->dbi[DB_UNIQUE], &cursor);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        struct unique_record record;
        assert_int_equal(unique_decode(&record, (struct slice){v.mv_data, v.mv_size}, NULL), MQ_OK);
        waiters += record.waiter != JOB_ID_NONE;
    }
    mdb_cursor_close(cursor);
    assert_int_equal(waiters, e->waiters);
}

static inline void check_job(struct file *file, struct expected *e, job_id id, const struct job_status *s)
{
    struct key key;
    key_of_id(&key, id);
    expect(file, e, DB_JOBS, &key);
    assert_true(s->queue_no < 64);
    e->in_state[s->queue_no][s->state]++;
    e->parked[s->queue_no] += s->state == JOB_READY && s->parked;
    e->held[s->queue_no] += s->held_no != 0;
    assert_true(s->held_no == 0 || (s->state == JOB_READY && !s->parked));
    bool waits = s->state == JOB_READY || s->state == JOB_SCHEDULED || s->state == JOB_BLOCKED;
    assert_int_equal(s->state == JOB_BLOCKED, s->key_role == KEY_WAITS);
    if (s->key_role == KEY_HOLDS || s->key_role == KEY_WAITS)
        expect_key(file, e, id, s->key_role == KEY_HOLDS);
    if (s->key_role == KEY_HOLDS) {
        assert_true(s->key_states >> s->state & 1);
        if (s->key_until != WALL_NEVER) {
            key_of_due(&key, s->key_until, id, DUE_KEY);
            expect(file, e, DB_DUE, &key);
        }
    }
    if (waits && !s->started && s->expires_at != WALL_NEVER) {
        key_of_due(&key, s->expires_at, id, DUE_EXPIRE);
        expect(file, e, DB_DUE, &key);
    }
    if (s->held_no) {
        key_of_no(&key, s->held_no);
        assert_true(file_has(file, DB_PAUSES, &key));
        key_of_held(&key, s->held_no, id);
        expect(file, e, DB_HELD, &key);
    } else if (s->state == JOB_READY) {
        key_of_ready(&key, s->queue_no, s->priority, id);
        expect(file, e, s->parked ? DB_PARKED : DB_READY, &key);
    } else if (s->state == JOB_SCHEDULED || s->state == JOB_RETRYING) {
        key_of_due(&key, s->due_at, id, DUE_RUN);
        expect(file, e, DB_DUE, &key);
    } else if (s->state == JOB_RUNNING) {
        key_of_moment(&key, s->deadline, id);
        expect(file, e, DB_LEASES, &key);
        assert_true(s->holder.len > 0 && s->attempt > 0 && s->token > 0);
    } else if (s->state == JOB_DEAD) {
        key_of_moment(&key, s->since, id);
        expect(file, e, DB_DEAD, &key);
    } else if (s->state != JOB_BLOCKED) {
        key_of_moment(&key, s->due_at, id);
        expect(file, e, DB_FINISHED, &key);
    }
}

/* All values of these databases under a key that begins with the id. */
static inline uint64_t bytes_of_job(struct file *file, job_id id)
{
    static const enum db parts[] = {DB_JOBS, DB_RESULTS, DB_ATTEMPTS, DB_LOGS};
    uint64_t bytes = 0;
    for (int i = 0; i < 4; i++) {
        MDB_cursor *cursor;
        MDB_val k, v;
        mdb_cursor_open(file->txn, file->dbi[parts[i]], &cursor);
        while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0)
            if (be64_get(k.mv_data) == id)
                bytes += v.mv_size;
        mdb_cursor_close(cursor);
    }
    return bytes;
}

static inline void check_sums(struct file *file, const struct expected *e)
{
    MDB_val k = {4, "kept"}, v;
    uint64_t finished = 0, dead = 0;
    if (mdb_get(file->txn, file->dbi[DB_META], &k, &v) == 0) {
        finished = be64_get(v.mv_data);
        dead = be64_get((char *)v.mv_data + 8);
    }
    assert_int_equal(finished, e->finished_bytes);
    assert_int_equal(dead, e->dead_bytes);
}

/* Parts of jobs that are gone would stay for ever. */
static inline void check_parts(struct file *file, enum db db)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    mdb_cursor_open(file->txn, file->dbi[db], &cursor);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        struct key key;
        key_of_id(&key, be64_get(k.mv_data));
        assert_true(file_has(file, DB_STATES, &key));
    }
    mdb_cursor_close(cursor);
}

static inline void check_queues(struct file *file, const struct expected *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    mdb_cursor_open(file->txn, file->dbi[DB_QUEUES], &cursor);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        struct queue_body body;
        struct slice name;
        assert_int_equal(queue_decode(&body, &name, (struct slice){v.mv_data, v.mv_size}, NULL), MQ_OK);
        assert_memory_equal(body.counts.in_state, e->in_state[be32_get(k.mv_data)],
                            sizeof body.counts.in_state);
        assert_int_equal(body.counts.parked, e->parked[be32_get(k.mv_data)]);
        assert_int_equal(body.counts.held, e->held[be32_get(k.mv_data)]);
    }
    mdb_cursor_close(cursor);
}

/* The store of this folder must be closed. Answers the number of jobs. */
static inline size_t lmdb_check(const char *dir)
{
    static const enum db exact[] = {DB_JOBS, DB_READY,  DB_PARKED, DB_HELD,
                                    DB_DUE,  DB_LEASES, DB_DEAD,   DB_FINISHED};
    struct file file;
    struct expected *e = calloc(1, sizeof *e);
    MDB_cursor *cursor;
    MDB_val k, v;
    size_t jobs = 0;
    file_open(&file, dir);
    mdb_cursor_open(file.txn, file.dbi[DB_STATES], &cursor);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        struct job_status status;
        struct mq_err err;
        if (record_read_status(&status, (struct slice){v.mv_data, v.mv_size}, &err) != MQ_OK)
            fail_msg("%s", err.text);
        check_job(&file, e, be64_get(k.mv_data), &status);
        if (jobs++ < 500 && status.state >= JOB_SUCCEEDED) {
            uint64_t *sum = status.state == JOB_DEAD ? &e->dead_bytes : &e->finished_bytes;
            *sum += bytes_of_job(&file, be64_get(k.mv_data));
        }
    }
    mdb_cursor_close(cursor);
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
        assert_int_equal(file_count(&file, exact[i]), e->entries[exact[i]]);
    check_queues(&file, e);
    if (jobs <= 500) /* the sum is made the slow way */
        check_sums(&file, e);
    check_keys(&file, e);
    check_parts(&file, DB_ATTEMPTS);
    check_parts(&file, DB_LOGS);
    check_parts(&file, DB_RESULTS);
    file_close(&file);
    free(e);
    return jobs;
}
#endif
