/*
 * A record that cannot be decoded must stop neither the server nor its neighbours: all bytes of the job's record and
 * status go to the quarantine database, its index entries and its place in the counters are removed, and somebody is
 * told. Its result, attempts and log lines are deleted.
 *
 * The value there: a u8 format, the reason, the job record and the status record, each as a counted string. An
 * operator can look at it with mdb_dump; nothing of ours reads it again.
 */
#include "store/lmdb/machine.h"

#include <stdarg.h>
#include <stdio.h>

#include "job/record.h"

#define QUARANTINE_FORMAT 1
#define ALARM_TEXT_BYTES  400

void machine_alarm(struct machine *m, const char *event, const char *format, ...)
{
    char text[ALARM_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_add(&m->alarms, event, strlen(event) + 1);
    buf_add(&m->alarms, text, strlen(text) + 1);
}

/* Where a job's index entries are can only be asked of its status; without one, every index is searched. */
static enum job_state remove_from(struct machine *m, enum db db, job_id id, uint32_t *queue_no, bool *held)
{
    static const enum job_state means[DB_COUNT] = {
        [DB_READY] = JOB_READY,        [DB_PARKED] = JOB_READY,   [DB_HELD] = JOB_READY,
        [DB_DUE] = JOB_SCHEDULED,      [DB_LEASES] = JOB_RUNNING, [DB_DEAD] = JOB_DEAD,
        [DB_FINISHED] = JOB_SUCCEEDED,
    };
    struct slice found;
    enum job_state state = JOB_NONE;
    for (bool more = txn_first(m, db, &found); more; more = txn_next(m, db, &found, NULL)) {
        if (key_id(db, found) != id)
            continue;
        bool is_run = db != DB_DUE || found.at[DUE_KEY_BYTES - 1] == DUE_RUN;
        if (db == DB_READY || db == DB_PARKED)
            *queue_no = be32_get(found.at);
        if (db == DB_PARKED)
            queue_count_parked(m, *queue_no, -1);
        *held |= db == DB_HELD;
        if (is_run)
            state = means[db];
        txn_remove_here(m, db);
    }
    return state;
}

static enum job_state search_indexes(struct machine *m, job_id id, uint32_t *queue_no, bool *held)
{
    static const enum db indexes[] = {DB_READY, DB_PARKED, DB_HELD, DB_LEASES, DB_DEAD, DB_FINISHED, DB_DUE};
    enum job_state state = JOB_NONE;
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
        enum job_state here = remove_from(m, indexes[i], id, queue_no, held);
        if (state == JOB_NONE)
            state = here;
    }
    return state;
}

/* An index tells some states only as one of several: the damaged byte decides if it names one of these. */
static enum job_state refine(enum job_state by_index, struct slice status)
{
    enum job_state told = status.len > 1 ? (enum job_state)(uint8_t)status.at[1] : JOB_NONE;
    bool due = by_index == JOB_SCHEDULED && (told == JOB_RETRYING);
    bool finished = by_index == JOB_SUCCEEDED && (told == JOB_CANCELLED || told == JOB_EXPIRED);
    return due || finished ? told : by_index;
}

/* Both counters and indexes, as well as they can be known. */
static void take_out(struct machine *m, job_id id, struct slice job_bytes, struct slice status_bytes)
{
    struct job_status status;
    struct job_spec spec;
    struct queue *queue = NULL;
    enum job_state state;
    if (record_read_status(&status, status_bytes, NULL) == MQ_OK && queue_of_no(m, status.queue_no)) {
        queue = queue_of_no(m, status.queue_no);
        state = status.state;
        job_unindex(m, id, &status);
    } else {
        uint32_t queue_no = 0;
        bool held = false;
        state = refine(search_indexes(m, id, &queue_no, &held), status_bytes);
        queue = queue_of_no(m, queue_no);
        if (!queue && record_read_spec(&spec, job_bytes, NULL) == MQ_OK)
            queue = queue_find(m, spec.queue);
        if (queue && held) /* its key does not name the queue */
            queue_count_held(m, queue->no, -1);
    }
    if (queue && state != JOB_NONE)
        queue_count(m, queue, state, -1);
    kept_count(m, id, state, -1);
}

void quarantine_keep(struct machine *m, job_id id, const char *why, struct slice job_bytes,
                     struct slice status_bytes)
{
    struct key key;
    struct buf *copy = &m->aside; /* the machine's, so that a transaction that fails here loses nothing */
    key_of_id(&key, id);
    buf_clear(copy);
    buf_u8(copy, QUARANTINE_FORMAT);
    buf_string(copy, slice_of(why));
    buf_string(copy, job_bytes);
    buf_string(copy, status_bytes);
    txn_put(m, DB_QUARANTINE, &key, buf_bytes(copy));
}

void quarantine_job(struct machine *m, job_id id, const char *why_lent)
{
    struct key key;
    struct slice job_bytes = SLICE_EMPTY, status_bytes = SLICE_EMPTY;
    char why[MQ_ERR_TEXT_BYTES], text[JOB_ID_TEXT_BYTES];
    snprintf(why, sizeof why, "%s", why_lent);
    key_of_id(&key, id);
    txn_find(m, DB_JOBS, &key, &job_bytes);
    txn_find(m, DB_STATES, &key, &status_bytes);
    quarantine_keep(m, id, why, job_bytes, status_bytes);
    /* the pages have moved; what was lent is in the copy */
    struct reader in = reader_of(buf_bytes(&m->aside));
    reader_u8(&in);
    reader_string(&in);
    job_bytes = reader_string(&in);
    status_bytes = reader_string(&in);
    take_out(m, id, job_bytes, status_bytes);
    job_erase(m, id);
    machine_alarm(m, "record.quarantined", "job %s: %.250s", id_format(text, id), why);
    unique_drop_damaged(m, id,
                        job_bytes); /* last: who waits for its key may be damaged too, and end here as well */
}

void quarantine_entry(struct machine *m, enum db db, const struct key *key, const char *why)
{
    char text[JOB_ID_TEXT_BYTES];
    if (!txn_remove(m, db, key))
        return;
    if (db == DB_PARKED && key->len == READY_KEY_BYTES)
        queue_count_parked(m, be32_get(key->at), -1);
    machine_alarm(m, "index.mended", "an entry of '%s' for job %s was removed: %s", db_names[db],
                  id_format(text, key_id(db, key_bytes(key))), why);
}
