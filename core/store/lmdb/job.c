/*
 * One job: its records, and the index entries that follow from its status.
 *
 *     blocked            expire, if it may
 *     scheduled          due at due_at; expire, if it may
 *     ready              ready, parked or held; expire, if it may
 *     running            leases at deadline
 *     retrying           due at due_at
 *     dead               dead at since
 *     other final ones   finished at due_at
 *
 * "If it may": it has an expires_at and was never started. Whoever loses a lease has had the chance to begin: only by
 * the word that nobody did (job_leave_unstarted) is it as before the lease.
 *
 * In every state: due at key_until, if it holds a unique key that has an end.
 */
#include "store/lmdb/machine.h"

#include "job/name.h"
#include "job/record.h"

static bool may_expire(const struct job_status *status)
{
    return status->expires_at != WALL_NEVER && !status->started;
}

/* The entries of a status; at most three. */
struct entries {
    unsigned count;
    enum db db[3];
    struct key key[3];
};

static void entries_of(struct entries *out, job_id id, const struct job_status *status)
{
    struct key *key = &out->key[0];
    out->count = 1;
    switch (status->state) {
    case JOB_READY:
        if (status->held_no) {
            out->db[0] = DB_HELD;
            key_of_held(key, status->held_no, id);
            break;
        }
        out->db[0] = status->parked ? DB_PARKED : DB_READY;
        key_of_ready(key, status->queue_no, status->priority, id);
        break;
    case JOB_SCHEDULED:
    case JOB_RETRYING:
        out->db[0] = DB_DUE;
        key_of_due(key, status->due_at, id, DUE_RUN);
        break;
    case JOB_RUNNING:
        out->db[0] = DB_LEASES;
        key_of_moment(key, status->deadline, id);
        break;
    case JOB_DEAD:
        out->db[0] = DB_DEAD;
        key_of_moment(key, status->since, id);
        break;
    case JOB_SUCCEEDED:
    case JOB_CANCELLED:
    case JOB_EXPIRED:
        out->db[0] = DB_FINISHED;
        key_of_moment(key, status->due_at, id);
        break;
    default:
        out->count = 0;
    }
    if (status->key_until != 0 && status->key_until != WALL_NEVER) {
        out->db[out->count] = DB_DUE;
        key_of_due(&out->key[out->count++], status->key_until, id, DUE_KEY);
    }
    bool waits = status->state == JOB_READY || status->state == JOB_SCHEDULED || status->state == JOB_BLOCKED;
    if (waits && may_expire(status)) {
        out->db[out->count] = DB_DUE;
        key_of_due(&out->key[out->count++], status->expires_at, id, DUE_EXPIRE);
    }
}

/* Ready jobs that not everybody may have are counted apart, with their entries. */
static void count_aside(struct machine *m, enum db db, uint32_t queue_no, int by)
{
    if (db == DB_PARKED)
        queue_count_parked(m, queue_no, by);
    else if (db == DB_HELD)
        queue_count_held(m, queue_no, by);
}

void job_index(struct machine *m, job_id id, const struct job_status *status)
{
    struct entries entries;
    entries_of(&entries, id, status);
    for (unsigned i = 0; i < entries.count; i++) {
        txn_append(m, entries.db[i], &entries.key[i], 0);
        count_aside(m, entries.db[i], status->queue_no, +1);
    }
}

static void remove_entries(struct machine *m, job_id id, const struct job_status *status, unsigned first)
{
    struct entries entries;
    entries_of(&entries, id, status);
    for (unsigned i = first; i < entries.count; i++)
        if (txn_remove(m, entries.db[i], &entries.key[i]))
            count_aside(m, entries.db[i], status->queue_no, -1);
}

void job_unindex(struct machine *m, job_id id, const struct job_status *status)
{
    remove_entries(m, id, status, 0);
}

/* A slice of LMDB's page moves when the page does. */
static struct slice borrow(struct machine *m, struct slice text)
{
    size_t start = buf_len(&m->text);
    buf_add_slice(&m->text, text);
    return (struct slice){(const char *)start, text.len};
}

static void keep_text(struct machine *m, struct job_status *status)
{
    buf_clear(&m->text);
    if (!status->holder.len && !status->note.len) {
        status->holder = status->note = SLICE_EMPTY;
        return;
    }
    status->holder = borrow(m, status->holder);
    status->note = borrow(m, status->note);
    const char *base = buf_bytes(&m->text).at;
    status->holder.at = base + (size_t)status->holder.at;
    status->note.at = base + (size_t)status->note.at;
}

static enum mq_code damaged(struct machine *m, job_id id, struct store_op *op, const char *why)
{
    char text[JOB_ID_TEXT_BYTES];
    quarantine_job(m, id, why);
    return mq_fail(op ? &op->err : NULL, MQ_INTERNAL,
                   "job %s cannot be read and was moved to quarantine: %.200s", id_format(text, id), why);
}

enum mq_code job_find(struct machine *m, struct job *job, job_id id, struct store_op *op)
{
    struct key key;
    struct slice bytes;
    struct mq_err why;
    struct fresh *fresh = fresh_find(m, id);
    if (fresh)
        fresh_tell(m, fresh);
    key_of_id(&key, id);
    if (!txn_find(m, DB_STATES, &key, &bytes)) {
        char text[JOB_ID_TEXT_BYTES];
        return mq_fail(op ? &op->err : NULL, MQ_NOTFOUND,
                       "there is no job %s (it may be finished and past its keep)", id_format(text, id));
    }
    job->id = id;
    if (record_read_status(&job->status, bytes, &why) != MQ_OK)
        return damaged(m, id, op, why.text);
    job->queue = queue_of_no(m, job->status.queue_no);
    if (!job->queue || job->status.priority > PRIORITY_LAST)
        return damaged(m, id, op, "its status names a queue or priority that does not exist");
    keep_text(m, &job->status);
    return MQ_OK;
}

enum mq_code job_spec(struct machine *m, const struct job *job, struct job_spec *spec, struct store_op *op)
{
    struct key key;
    struct slice bytes;
    struct mq_err why;
    key_of_id(&key, job->id);
    if (!txn_find(m, DB_JOBS, &key, &bytes))
        return damaged(m, job->id, op, "it has a status but no job record");
    if (record_read_spec(spec, bytes, &why) != MQ_OK)
        return damaged(m, job->id, op, why.text);
    m->spec_bytes = bytes;
    return MQ_OK;
}

void job_names(struct store_op *op, const struct job_spec *spec)
{
    if (!op->want_names)
        return;
    size_t len = spec->type.len + spec->queue.len;
    char *at = buf_room(&op->memory, len);
    memcpy(at, spec->type.at, spec->type.len);
    memcpy(at + spec->type.len, spec->queue.at, spec->queue.len);
    buf_grew(&op->memory, len);
    op->type = (struct slice){at, spec->type.len};
    op->queue = (struct slice){at + spec->type.len, spec->queue.len};
}

static void add_name(struct buf *names, struct slice name)
{
    mq_must(name.len <= NAME_MAX_BYTES);
    buf_u8(names, (uint8_t)name.len);
    buf_add_slice(names, name);
}

void job_names_put(struct buf *names, const struct job_spec *spec)
{
    add_name(names, spec->type);
    add_name(names, spec->queue);
}

void job_names_add(struct machine *m, const struct store_op *op, const struct job_spec *spec)
{
    if (op->want_names)
        job_names_put(&m->names, spec);
}

enum mq_code job_wrong(struct store_op *op, const struct job *job, const char *verb)
{
    char text[JOB_ID_TEXT_BYTES];
    return mq_fail(&op->err, MQ_WRONGSTATE, "job %s is %s: %s is not possible", id_format(text, job->id),
                   state_name(job->status.state), verb);
}

void job_write(struct machine *m, const struct job *job)
{
    struct key key;
    key_of_id(&key, job->id);
    char *at = txn_reserve(m, DB_STATES, &key, record_status_bytes(&job->status));
    record_write_status(at, &job->status);
}

void job_leave_unstarted(struct machine *m, struct job *job)
{
    job_unindex(m, job->id, &job->status);
    queue_count(m, job->queue, job->status.state, -1);
    kept_count(m, job->id, job->status.state, -1);
}

void job_leave_ready(struct machine *m, struct job *job)
{
    remove_entries(m, job->id, &job->status, 1);
    queue_count(m, job->queue, JOB_READY, -1);
}

void job_leave(struct machine *m, struct job *job)
{
    job_leave_unstarted(m, job);
    if (job->status.state == JOB_RUNNING)
        job->status.started = true;
}

void job_enter(struct machine *m, struct job *job)
{
    bool passes_on = unique_follow(m, job);
    queue_count(m, job->queue, job->status.state, +1);
    kept_count(m, job->id, job->status.state, +1);
    job_index(m, job->id, &job->status);
    job_write(m, job);
    if (passes_on)
        unique_pass_on(m, job, job->status.since);
}

static void clear_lease(struct job_status *status)
{
    status->holder = status->note = SLICE_EMPTY;
    status->progress = -1;
    status->cancelling = status->held_by_worker = false;
    status->deadline = 0;
}

void job_make_ready(struct job *job, enum job_step step, wall_ms now, bool parked)
{
    struct job_status *status = &job->status;
    clear_lease(status);
    if (step != STEP_GIVE_BACK) /* it did not begin, so it is still late for the same time */
        status->was_due = step == STEP_DUE ? status->due_at : 0;
    status->state = state_after(status->state, step);
    status->since = now;
    status->due_at = 0;
    status->parked = parked;
    status->held_no = 0;
}

void job_reschedule(struct job *job, wall_ms run_at, wall_ms now)
{
    struct job_status *status = &job->status;
    if (run_at > now) {
        enum job_state state = state_after(status->state, STEP_RESCHEDULE);
        if (state != status->state)
            status->since = now;
        status->state = state;
        status->due_at = run_at;
        status->was_due = 0;
        status->parked = false;
        status->held_no = 0;
    } else if (status->state != JOB_READY) {
        job_make_ready(job, STEP_PROMOTE, now, false);
    }
}

static wall_ms later(wall_ms now, int64_t by)
{
    return by >= WALL_NEVER - now ? WALL_NEVER : now + by;
}

/* What became of it, ever. */
void job_count_end(struct machine *m, struct queue *queue, enum job_state state)
{
    struct queue_counts *counts = &queue->body.counts;
    queue_touch(m, queue);
    counts->succeeded += state == JOB_SUCCEEDED;
    counts->cancelled += state == JOB_CANCELLED;
    counts->expired += state == JOB_EXPIRED;
    counts->dead += state == JOB_DEAD;
}

wall_ms job_stays_until(const struct job *job, enum job_state state, int64_t keep_ms, wall_ms now)
{
    const struct job_status *status = &job->status;
    wall_ms until = later(now, keep_ms);
    bool holds = status->key_role == KEY_HOLDS && status->key_states >> state & 1;
    if (holds && status->key_until != WALL_NEVER && status->key_until > until)
        return status->key_until; /* the record keeps others away until then */
    return until;
}

void job_finish(struct machine *m, struct job *job, enum job_step step, int64_t keep_ms, wall_ms now)
{
    struct job_status *status = &job->status;
    enum job_state state = state_after(status->state, step);
    job_leave(m, job);
    job_count_end(m, job->queue, state);
    float progress = status->progress; /* how far it came is worth keeping with the record */
    struct slice note = status->note;
    clear_lease(status);
    status->progress = progress;
    status->note = note;
    status->state = state;
    status->parked = false;
    status->held_no = 0;
    status->since = now;
    status->due_at = job_stays_until(job, state, keep_ms, now);
    if (status->due_at > now) {
        job_enter(m, job);
        return;
    }
    unique_drop(m, job, now);
    job_erase(m, job->id);
}

void job_bury(struct machine *m, struct job *job, wall_ms now)
{
    struct job_status *status = &job->status;
    enum job_state state = state_after(status->state, STEP_BURY);
    job_leave(m, job);
    job_count_end(m, job->queue, state);
    float progress = status->progress;
    struct slice note = status->note;
    clear_lease(status);
    status->progress = progress; /* the last that was heard of a poison job */
    status->note = note;
    status->state = state;
    status->since = now;
    status->due_at = m->rules.dead_keep_ms > 0 ? later(now, m->rules.dead_keep_ms) : WALL_NEVER;
    job_enter(m, job);
}

/* Removes all (id, part) of a database. */
static void erase_parts(struct machine *m, enum db db, job_id id)
{
    struct key key;
    struct slice found;
    if (txn_count(m, db) == 0)
        return; /* most jobs have none, most stores few */
    key_of_part(&key, id, 0);
    while (txn_seek(m, db, &key, &found, NULL) && key_id(db, found) == id)
        txn_remove_here(m, db);
}

void job_erase(struct machine *m, job_id id)
{
    struct key key;
    key_of_id(&key, id);
    txn_remove(m, DB_STATES, &key);
    txn_remove(m, DB_JOBS, &key);
    if (txn_count(m, DB_RESULTS))
        txn_remove(m, DB_RESULTS, &key);
    erase_parts(m, DB_ATTEMPTS, id);
    erase_parts(m, DB_LOGS, id);
}

/*
 * A job that polls (snoozes every minute for years) or that is handed back again and again must not grow without
 * end: an uncharged attempt replaces the one before it, if that was of the same kind. What is charged is
 * bounded by max_attempts.
 */
static void drop_same_uncharged(struct machine *m, const struct job *job, enum job_step outcome)
{
    struct key key;
    struct slice found, value;
    struct job_attempt last;
    if (outcome != STEP_GIVE_BACK && outcome != STEP_SNOOZE)
        return;
    key_of_part(&key, job->id, job->status.token);
    if (!txn_seek(m, DB_ATTEMPTS, &key, &found, &value)) {
        MDB_val k, v;
        if (mdb_cursor_get(txn_cursor(m, DB_ATTEMPTS), &k, &v, MDB_LAST))
            return;
        found = (struct slice){k.mv_data, k.mv_size};
        value = (struct slice){v.mv_data, v.mv_size};
    } else {
        MDB_val k, v;
        if (mdb_cursor_get(txn_cursor(m, DB_ATTEMPTS), &k, &v, MDB_PREV))
            return;
        found = (struct slice){k.mv_data, k.mv_size};
        value = (struct slice){v.mv_data, v.mv_size};
    }
    if (key_id(DB_ATTEMPTS, found) != job->id || record_read_attempt(&last, value, NULL) != MQ_OK ||
        last.outcome != outcome)
        return;
    txn_remove_here(m, DB_ATTEMPTS);
}

void job_record_attempt(struct machine *m, const struct job *job, enum job_step outcome,
                        const struct attempt_words *words, wall_ms now)
{
    struct key key;
    struct job_attempt attempt = {
        .number = job->status.attempt,
        .outcome = outcome,
        .began = job->status.since,
        .ended = now,
        .worker = job->status.holder,
        .code = words->code,
        .message = words->message,
        .traceback = words->traceback,
        .scripts = words->scripts,
    };
    drop_same_uncharged(m, job, outcome);
    buf_clear(&m->record);
    record_add_attempt(&m->record, &attempt);
    key_of_part(&key, job->id, job->status.token);
    txn_put(m, DB_ATTEMPTS, &key, buf_bytes(&m->record));
}

void job_write_spec(struct machine *m, const struct job *job, const struct job_spec *old,
                    const struct job_spec *spec)
{
    struct key key;
    size_t len = record_spec_bytes(spec), before = record_spec_bytes(old);
    buf_clear(&m->record);
    record_write_spec(buf_room(&m->record, len), spec);
    buf_grew(&m->record, len);
    key_of_id(&key, job->id);
    txn_put(m, DB_JOBS, &key, buf_bytes(&m->record));
    kept_grow(m, job->status.state, (int64_t)len - (int64_t)before);
}

void job_set_payload(struct machine *m, const struct job *job, const struct job_spec *old,
                     struct slice payload)
{
    struct job_spec spec = *old;
    spec.payload = payload;
    job_write_spec(m, job, old, &spec);
}
