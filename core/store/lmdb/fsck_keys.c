/*
 * Unique keys: a key's record names its holder and whoever waits, and both say the same in their statuses. What a job
 * says is believed: records follow from jobs. Only where two jobs say that they have one key, the record decides.
 */
#include "store/lmdb/fsck.h"

#include "job/record.h"

#define KEY_SHOWN_BYTES 100

const char *fsck_key_contradiction(const struct job_spec *spec, const struct job_status *s)
{
    if ((spec->unique_key.len != 0) != (s->key_role != KEY_NONE))
        return "its record and its status do not agree on whether it has a unique key";
    if (s->key_role != KEY_NONE && s->key_states != spec->unique_states)
        return "its status has other blocking states than its record";
    if (s->key_role == KEY_HOLDS && s->key_until != spec->unique_until)
        return "its status has another end of its unique key than its record";
    if (s->key_role == KEY_HOLDS && !(s->key_states >> s->state & 1))
        return "its status holds a unique key in a state that lets go of it";
    if (s->key_role == KEY_WAITS && s->state != JOB_BLOCKED)
        return "its status waits for a unique key, but is not blocked";
    return NULL;
}

/* The record of a key; true if there is one that can be read. *at: its place, or a free one. */
static bool find(struct fsck *f, struct slice type, struct slice text, struct key *at,
                 struct unique_record *out)
{
    struct slice found, value;
    uint32_t no = 0;
    unique_place(at, text);
    f->walking = DB_UNIQUE;
    for (bool more = txn_seek(&f->m, DB_UNIQUE, at, &found, &value); more && unique_same_hash(at, found);
         more = txn_next(&f->m, DB_UNIQUE, &found, &value)) {
        uint32_t here = be32_get(found.at + UNIQUE_KEY_BYTES - 4);
        if (unique_decode(out, value, NULL) == MQ_OK && slice_equal(out->type, type) &&
            slice_equal(out->key, text)) {
            be32_put(at->at + UNIQUE_KEY_BYTES - 4, here);
            return true;
        }
        no = here >= no ? here + 1 : no;
    }
    be32_put(at->at + UNIQUE_KEY_BYTES - 4, no);
    return false;
}

/* Without the cursors of the walk, which stand at other jobs just now. */
static bool look_up(struct fsck *f, enum db db, job_id id, struct slice *out)
{
    struct key key;
    MDB_val k, v;
    key_of_id(&key, id);
    k = (MDB_val){key.len, key.at};
    int rc = mdb_get(f->m.root.mdb, f->env.dbi[db], &k, &v);
    if (rc && rc != MDB_NOTFOUND)
        txn_fail(&f->m, rc);
    if (rc == 0)
        *out = (struct slice){v.mv_data, v.mv_size};
    return rc == 0;
}

/* Spec and status of a job, if both can be read. */
static bool read_job(struct fsck *f, job_id id, struct job_spec *spec, struct job_status *status)
{
    struct slice job_bytes, status_bytes;
    return look_up(f, DB_STATES, id, &status_bytes) && look_up(f, DB_JOBS, id, &job_bytes) &&
           record_read_status(status, status_bytes, NULL) == MQ_OK &&
           record_read_spec(spec, job_bytes, NULL) == MQ_OK;
}

/* Does this job itself say that it stands so to the key? */
static bool says(struct fsck *f, job_id id, const struct unique_record *record, enum key_role role)
{
    struct job_spec spec;
    struct job_status status;
    return read_job(f, id, &spec, &status) && status.key_role == role &&
           slice_equal(spec.type, record->type) && slice_equal(spec.unique_key, record->key);
}

static int shown(struct slice key)
{
    return key.len > KEY_SHOWN_BYTES ? KEY_SHOWN_BYTES : (int)key.len;
}

void fsck_key_of(struct fsck *f, job_id id, const struct job_spec *spec, const struct job_status *status)
{
    char text[JOB_ID_TEXT_BYTES], other[JOB_ID_TEXT_BYTES];
    struct unique_record record;
    struct key at;
    enum fsck_kind kind;
    bool holds = status->key_role == KEY_HOLDS;
    if (!holds && status->key_role != KEY_WAITS)
        return;
    id_format(text, id);
    bool there = find(f, spec->type, spec->unique_key, &at, &record);
    job_id named = !there ? JOB_ID_NONE : holds ? record.holder : record.waiter;
    if (named == id)
        return;
    bool other_says = named != JOB_ID_NONE && says(f, named, &record, status->key_role);
    if (holds && other_says) {
        kind = FSCK_KEY_TWICE;
        fsck_problem(f, kind, id, "job %s holds unique key '%.*s', and so does job %s", text,
                     shown(spec->unique_key), spec->unique_key.at, id_format(other, named));
    } else if (holds) {
        kind = FSCK_KEY_MISSING;
        fsck_problem(f, kind, id, "job %s holds unique key '%.*s', but the key's record does not name it",
                     text, shown(spec->unique_key), spec->unique_key.at);
    } else {
        kind = there && !other_says ? FSCK_KEY_MISSING : FSCK_WAITS_FOR_NONE;
        fsck_problem(f, kind, id, "job %s waits for unique key '%.*s', but the key's record does not name it",
                     text, shown(spec->unique_key), spec->unique_key.at);
    }
    fsck_fix(f, &(struct fix){.what = FIX_KEY, .id = id}, SLICE_EMPTY);
}

/* ---- records ---- */

static void remove_record(struct fsck *f, struct slice name)
{
    fsck_fix(f, &(struct fix){.what = FIX_REMOVE, .db = DB_UNIQUE}, name);
}

/* The cursor moves when a job is looked at: `name` is a copy. */
static void check_record(struct fsck *f, const struct key *name, const struct unique_record *record)
{
    char text[JOB_ID_TEXT_BYTES];
    struct key place;
    unique_place(&place, record->key);
    if (!unique_same_hash(&place, key_bytes(name))) {
        fsck_problem(f, FSCK_STRAY, record->holder,
                     "the record of unique key '%.*s' lies at another key's place", shown(record->key),
                     record->key.at);
        remove_record(f, key_bytes(name));
    } else if (!says(f, record->holder, record, KEY_HOLDS)) {
        fsck_problem(f, FSCK_STRAY, record->holder, "unique key '%.*s' names job %s, which does not hold it",
                     shown(record->key), record->key.at, id_format(text, record->holder));
        remove_record(f, key_bytes(name));
    } else if (record->waiter != JOB_ID_NONE && !says(f, record->waiter, record, KEY_WAITS)) {
        fsck_problem(f, FSCK_STRAY, record->waiter,
                     "unique key '%.*s' names job %s, which does not wait for it", shown(record->key),
                     record->key.at, id_format(text, record->waiter));
        remove_record(f, key_bytes(name)); /* its holder writes it anew in the next round */
    }
}

void fsck_keys(struct fsck *f)
{
    struct key name = {.len = 1};
    struct slice found, value;
    f->walking = DB_UNIQUE;
    for (bool more = txn_seek(&f->m, DB_UNIQUE, &name, &found, &value); more;
         more = txn_next(&f->m, DB_UNIQUE, &found, &value)) {
        struct unique_record record;
        struct mq_err why;
        f->report->entries++;
        if (found.len != UNIQUE_KEY_BYTES) {
            fsck_problem(f, FSCK_MALFORMED, JOB_ID_NONE, "database '%s' has a key of %zu bytes",
                         db_names[DB_UNIQUE], found.len);
            remove_record(f, found);
            continue;
        }
        name.len = found.len;
        memcpy(name.at, found.at, found.len);
        if (unique_decode(&record, value, &why) == MQ_OK) {
            check_record(f, &name, &record);
        } else {
            fsck_problem(f, FSCK_KEY_UNREADABLE, JOB_ID_NONE, "%s", why.text);
            remove_record(f, found);
        }
        f->walking = DB_UNIQUE;
    }
}

/* ---- mending ---- */

static void write_status(struct fsck *f, job_id id, const struct job_status *status)
{
    struct key key;
    size_t len = record_status_bytes(status);
    key_of_id(&key, id);
    buf_clear(&f->record);
    record_write_status(buf_room(&f->record, len), status);
    buf_grew(&f->record, len);
    txn_put(&f->m, DB_STATES, &key, buf_bytes(&f->record));
}

static void write_record(struct fsck *f, const struct key *at, const struct unique_record *record)
{
    buf_clear(&f->record);
    unique_encode(&f->record, record);
    txn_put(&f->m, DB_UNIQUE, at, buf_bytes(&f->record));
}

/* It goes on without the key. Whatever follows (entries, counters) the next round finds. */
static void let_go(struct fsck *f, job_id id, struct job_status *status)
{
    status->key_role = KEY_FREE;
    status->key_until = 0;
    if (status->state == JOB_BLOCKED)
        status->state = status->due_at ? JOB_SCHEDULED : JOB_READY;
    write_status(f, id, status);
}

void fsck_mend_key(struct fsck *f, job_id id)
{
    struct job_spec spec;
    struct job_status status;
    struct unique_record record = {.holder = JOB_ID_NONE, .waiter = JOB_ID_NONE};
    struct key at;
    if (!read_job(f, id, &spec, &status))
        return;
    bool holds = status.key_role == KEY_HOLDS;
    bool there = find(f, spec.type, spec.unique_key, &at, &record);
    job_id *place = holds ? &record.holder : &record.waiter;
    bool taken = there && *place != JOB_ID_NONE && *place != id && says(f, *place, &record, status.key_role);
    if (taken || (!holds && !there)) {
        let_go(f, id, &status);
        return;
    }
    record.type = spec.type;
    record.key = spec.unique_key;
    *place = id;
    if (!there)
        record.waiter = JOB_ID_NONE;
    write_record(f, &at, &record);
}
