#include "store/lmdb/layout.h"

#include <stdio.h>

#include "job/record.h"

const char *const db_names[DB_COUNT] = {
    "meta",     "queues",   "jobs", "states",  "ready",  "parked",    "held",  "due",    "leases",     "dead",
    "finished", "attempts", "logs", "results", "pauses", "schedules", "ticks", "unique", "quarantine",
};

job_id key_id(enum db db, struct slice key)
{
    switch (db) {
    case DB_READY:
    case DB_PARKED:
        return key.len == READY_KEY_BYTES ? be64_get(key.at + 5) : JOB_ID_NONE;
    case DB_HELD:
        return key.len == HELD_KEY_BYTES ? be64_get(key.at + 4) : JOB_ID_NONE;
    case DB_PAUSES:
    case DB_SCHEDULES:
    case DB_TICKS:
    case DB_UNIQUE:
        return JOB_ID_NONE;
    case DB_DUE:
        return key.len == DUE_KEY_BYTES ? be64_get(key.at + 8) : JOB_ID_NONE;
    case DB_LEASES:
    case DB_DEAD:
    case DB_FINISHED:
        return key.len == MOMENT_KEY_BYTES ? be64_get(key.at + 8) : JOB_ID_NONE;
    default:
        return key.len >= 8 ? be64_get(key.at) : JOB_ID_NONE;
    }
}

/* meta's keys. On disk. */
static MDB_val name_key(const char *name)
{
    return (MDB_val){strlen(name), (void *)name};
}

struct slice layout_meta(char at[META_BYTES], const struct meta *meta)
{
    be64_put(at, meta->last_id);
    be64_put(at + 8, meta->last_token);
    be32_put(at + 16, meta->next_queue_no);
    return (struct slice){at, META_BYTES};
}

void key_of_kept(struct key *key)
{
    key->len = 4;
    memcpy(key->at, "kept", 4);
}

void kept_write(char at[KEPT_BYTES], const struct meta *meta)
{
    be64_put(at, meta->finished_bytes);
    be64_put(at + 8, meta->dead_bytes);
}

bool kept_read(struct meta *meta, struct slice bytes)
{
    if (bytes.len != KEPT_BYTES)
        return false;
    meta->finished_bytes = be64_get(bytes.at);
    meta->dead_bytes = be64_get(bytes.at + 8);
    return true;
}

void key_of_meta(struct key *key)
{
    key->len = 8;
    memcpy(key->at, "counters", 8);
}

enum {
    MARK_BYTES = 8 + 8
};

int layout_save_mark(MDB_txn *txn, MDB_dbi meta, const struct journal_mark *mark)
{
    char at[MARK_BYTES];
    MDB_val key = name_key("journal"), val = {sizeof at, at};
    be64_put(at, mark->epoch);
    be64_put(at + 8, mark->sum);
    return mdb_put(txn, meta, &key, &val, 0);
}

bool layout_load_mark(MDB_txn *txn, MDB_dbi meta, struct journal_mark *mark)
{
    MDB_val key = name_key("journal"), val;
    if (mdb_get(txn, meta, &key, &val) != 0 || val.mv_size != MARK_BYTES)
        return false;
    *mark = (struct journal_mark){be64_get(val.mv_data), be64_get((char *)val.mv_data + 8)};
    return true;
}

bool layout_is_relaxed(MDB_txn *txn, MDB_dbi meta)
{
    MDB_val key = name_key("relaxed"), val;
    return mdb_get(txn, meta, &key, &val) == 0;
}

int layout_set_relaxed(MDB_txn *txn, MDB_dbi meta, bool is)
{
    MDB_val key = name_key("relaxed"), val = {0, ""};
    if (is == layout_is_relaxed(txn, meta))
        return 0;
    return is ? mdb_put(txn, meta, &key, &val, 0) : mdb_del(txn, meta, &key, NULL);
}

/* The databases that layouts 2, 4 and 5 added are made when they are opened; the journal of layout 6 is takeover.c's. */
static int nothing(MDB_txn *txn, const MDB_dbi dbi[DB_COUNT])
{
    (void)txn, (void)dbi;
    return 0;
}

static uint64_t *sum_of(MDB_txn *txn, MDB_dbi states, MDB_val key, struct meta *sums)
{
    MDB_val val;
    struct job_status status;
    if (mdb_get(txn, states, &(MDB_val){8, key.mv_data}, &val) ||
        record_read_status(&status, (struct slice){val.mv_data, val.mv_size}, NULL) != MQ_OK ||
        !state_is_final(status.state))
        return NULL;
    return status.state == JOB_DEAD ? &sums->dead_bytes : &sums->finished_bytes;
}

/* Adds up the lengths of all that finished jobs have in one database; its keys begin with the id. */
static int add_lengths(MDB_txn *txn, const MDB_dbi dbi[DB_COUNT], enum db db, struct meta *sums)
{
    MDB_cursor *cursor;
    MDB_val key, val;
    int rc = mdb_cursor_open(txn, dbi[db], &cursor);
    if (rc)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
        uint64_t *sum = key.mv_size >= 8 ? sum_of(txn, dbi[DB_STATES], key, sums) : NULL;
        if (sum)
            *sum += val.mv_size;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Layout 3 counts what is kept. */
static int count_kept(MDB_txn *txn, const MDB_dbi dbi[DB_COUNT])
{
    static const enum db parts[] = {DB_JOBS, DB_RESULTS, DB_ATTEMPTS, DB_LOGS};
    struct meta sums = {0};
    struct key name;
    char at[KEPT_BYTES];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof parts / sizeof *parts; i++)
        rc = add_lengths(txn, dbi, parts[i], &sums);
    if (rc)
        return rc;
    key_of_kept(&name);
    kept_write(at, &sums);
    MDB_val key = {name.len, name.at}, val = {sizeof at, at};
    return mdb_put(txn, dbi[DB_META], &key, &val, 0);
}

/* One row an old layout: what makes the next one of it, inside the transaction that opens the store. */
static const struct migration {
    unsigned from;
    int (*run)(MDB_txn *txn, const MDB_dbi dbi[DB_COUNT]);
} migrations[] = {
    /* 6: statuses are read as they were, and written anew when they change */
    {1, nothing}, {2, count_kept}, {3, nothing},   {4, nothing},
    {5, nothing}, {6, nothing},    {LAYOUT, NULL}, /* today's: nothing to do */
};

bool layout_is_damage(int rc)
{
    return rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID;
}

enum mq_code layout_fail(struct mq_err *err, enum mq_code otherwise, const char *what, int rc)
{
    if (layout_is_damage(rc))
        return mq_fail(err, MQ_INTERNAL, LAYOUT_DAMAGED " (%s: %s)", what, mdb_strerror(rc));
    return mq_fail(err, otherwise, "%s: %s", what, mdb_strerror(rc));
}

static enum mq_code migrate(MDB_txn *txn, const MDB_dbi dbi[DB_COUNT], unsigned from, struct mq_err *err)
{
    for (size_t i = 0; i < sizeof migrations / sizeof *migrations; i++) {
        if (migrations[i].from != from || !migrations[i].run)
            continue;
        int rc = migrations[i].run(txn, dbi);
        if (rc)
            return layout_fail(err, MQ_INTERNAL, "cannot migrate the store", rc);
        from++;
    }
    if (from != LAYOUT)
        return mq_fail(err, MQ_BADARG, "the store has layout %u, which this binary cannot migrate to %u",
                       from, LAYOUT);
    return MQ_OK;
}

static int save_layout(MDB_txn *txn, MDB_dbi dbi)
{
    char at[4];
    MDB_val key = name_key("layout"), val = {sizeof at, at};
    be32_put(at, LAYOUT);
    return mdb_put(txn, dbi, &key, &val, 0);
}

/* The number that the file says; today's for one that holds nothing yet. */
static enum mq_code find_layout(MDB_txn *txn, const MDB_dbi dbi[DB_COUNT], unsigned *layout,
                                struct mq_err *err)
{
    MDB_val key = name_key("layout"), val;
    MDB_stat jobs;
    int rc = mdb_get(txn, dbi[DB_META], &key, &val);
    if (rc == MDB_NOTFOUND && mdb_stat(txn, dbi[DB_JOBS], &jobs) == 0 && jobs.ms_entries == 0) {
        *layout = LAYOUT;
        return save_layout(txn, dbi[DB_META]) == 0
                   ? MQ_OK
                   : mq_fail(err, MQ_INTERNAL, "cannot write the store's layout");
    }
    if (layout_is_damage(rc))
        return layout_fail(err, MQ_INTERNAL, "its layout", rc);
    if (rc || val.mv_size != 4)
        return mq_fail(err, MQ_BADARG, "the file is not a moonq store: it does not say its layout");
    *layout = be32_get(val.mv_data);
    if (*layout > LAYOUT)
        return mq_fail(err, MQ_BADARG,
                       "the store has layout %u, this binary knows layouts up to %u (use the newer moonq)",
                       *layout, LAYOUT);
    return MQ_OK;
}

/* The last key's id, so that a damaged counter never repeats one. */
static job_id last_id_of(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_cursor *cursor;
    MDB_val key, val;
    job_id id = JOB_ID_NONE;
    if (mdb_cursor_open(txn, dbi, &cursor))
        return id;
    if (mdb_cursor_get(cursor, &key, &val, MDB_LAST) == 0 && key.mv_size == 8)
        id = be64_get(key.mv_data);
    mdb_cursor_close(cursor);
    return id;
}

static void read_meta(MDB_txn *txn, const MDB_dbi dbi[DB_COUNT], struct meta *meta)
{
    MDB_val key = name_key("counters"), val;
    *meta = (struct meta){.next_queue_no = 1};
    if (mdb_get(txn, dbi[DB_META], &key, &val) == 0 && val.mv_size == META_BYTES) {
        meta->last_id = be64_get(val.mv_data);
        meta->last_token = be64_get((char *)val.mv_data + 8);
        meta->next_queue_no = be32_get((char *)val.mv_data + 16);
    }
    key = name_key("kept");
    if (mdb_get(txn, dbi[DB_META], &key, &val) == 0)
        kept_read(meta, (struct slice){val.mv_data, val.mv_size});
    job_id last = last_id_of(txn, dbi[DB_JOBS]);
    if (last > meta->last_id)
        meta->last_id = last;
}

enum mq_code layout_open(MDB_txn *txn, MDB_dbi dbi[DB_COUNT], struct mq_err *err)
{
    unsigned layout = LAYOUT;
    for (int i = 0; i < DB_COUNT; i++) {
        int rc = mdb_dbi_open(txn, db_names[i], MDB_CREATE, &dbi[i]);
        if (rc) {
            char what[64];
            snprintf(what, sizeof what, "the file is not a moonq store: database '%s'", db_names[i]);
            return layout_fail(err, MQ_BADARG, what, rc);
        }
    }
    return find_layout(txn, dbi, &layout, err);
}

enum mq_code layout_ready(MDB_txn *txn, const MDB_dbi dbi[DB_COUNT], struct meta *meta, struct mq_err *err)
{
    unsigned layout = LAYOUT;
    enum mq_code code = find_layout(txn, dbi, &layout, err);
    if (code == MQ_OK && layout < LAYOUT) {
        code = migrate(txn, dbi, layout, err);
        if (code == MQ_OK && save_layout(txn, dbi[DB_META]))
            code = mq_fail(err, MQ_INTERNAL, "cannot write the store's layout");
    }
    if (code == MQ_OK)
        read_meta(txn, dbi, meta);
    return code;
}
