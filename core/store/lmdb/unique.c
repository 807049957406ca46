/*
 * Who holds a unique key.
 *
 *     push --key is free--> holds --leaves its states--> free --comes back, nobody has it--> holds
 *      |                      |
 *      |                      '-- its time is over, or a person takes the key away --> spent
 *      '--held, conflict replace, the holder runs--> waits (blocked) --the holder lets go--> holds
 *
 * The record of a key names its holder and whoever waits; the status of each says the same from its side, so that either
 * can be checked, and made anew, from the other. A job without a key costs one comparison a step.
 *
 * Keys are longer than LMDB's may be: the record lies under a hash of its key. Records of one hash (one key of several
 * types, mostly) stand behind each other, and the key inside decides: two keys are never taken for one.
 */
#include "store/lmdb/machine.h"

#include <xxhash.h>

#include "job/record.h"

enum {
    UNIQUE_FORMAT = 1,
    ROW_ROOM_BYTES = sizeof(struct unique_row) + 3 * NAME_STORED_BYTES,
};

/* ---- records ---- */

void unique_encode(struct buf *out, const struct unique_record *record)
{
    buf_u8(out, UNIQUE_FORMAT);
    buf_u64(out, record->holder);
    buf_u64(out, record->waiter);
    buf_string(out, record->type);
    buf_string(out, record->key);
    struct slice all = buf_bytes(out);
    buf_u32(out, (uint32_t)XXH3_64bits(all.at, all.len));
}

enum mq_code unique_decode(struct unique_record *out, struct slice record, struct mq_err *err)
{
    if (record.len < 5 || record.at[0] != UNIQUE_FORMAT ||
        (uint32_t)XXH3_64bits(record.at, record.len - 4) != be32_get(record.at + record.len - 4))
        return mq_fail(err, MQ_INTERNAL,
                       "the record of a unique key, of %zu bytes, is damaged or of an unknown format",
                       record.len);
    struct reader in = reader_of((struct slice){record.at + 1, record.len - 5});
    out->holder = reader_u64(&in);
    out->waiter = reader_u64(&in);
    out->type = reader_string(&in);
    out->key = reader_string(&in);
    if (!reader_done(&in) || !out->key.len || out->holder == JOB_ID_NONE)
        return mq_fail(err, MQ_INTERNAL,
                       "the record of a unique key is cut short, too long, or names nobody");
    return MQ_OK;
}

void unique_place(struct key *out, struct slice key)
{
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(key.at, key.len));
    memcpy(out->at, hash.digest, 16);
    be32_put(out->at + 16, 0);
    out->len = UNIQUE_KEY_BYTES;
}

bool unique_same_hash(const struct key *a, struct slice b)
{
    return b.len == UNIQUE_KEY_BYTES && memcmp(a->at, b.at, 16) == 0;
}

/* True if there is a record. *at is its place, or the first that is free. One that cannot be read is passed over. */
static bool find(struct machine *m, struct slice type, struct slice key, struct key *at,
                 struct unique_record *out)
{
    struct slice found, value;
    uint32_t no = 0;
    *out = (struct unique_record){.holder = JOB_ID_NONE};
    unique_place(at, key);
    for (bool more = txn_seek(m, DB_UNIQUE, at, &found, &value); more && unique_same_hash(at, found);
         more = txn_next(m, DB_UNIQUE, &found, &value)) {
        uint32_t here = be32_get(found.at + 16);
        if (unique_decode(out, value, NULL) == MQ_OK && slice_equal(out->type, type) &&
            slice_equal(out->key, key)) {
            be32_put(at->at + 16, here);
            return true;
        }
        no += here == no;
    }
    be32_put(at->at + 16, no);
    return false;
}

static void write_record(struct machine *m, const struct key *at, const struct unique_record *record)
{
    buf_clear(&m->record);
    unique_encode(&m->record, record); /* aside: its slices may lie in the page that is written */
    txn_put(m, DB_UNIQUE, at, buf_bytes(&m->record));
}

/* ---- looking without taking a job in hand ---- */

static bool peek_status(struct machine *m, job_id id, struct job_status *out)
{
    struct key key;
    struct slice bytes;
    key_of_id(&key, id);
    return txn_find(m, DB_STATES, &key, &bytes) && record_read_status(out, bytes, NULL) == MQ_OK;
}

static bool peek_spec(struct machine *m, job_id id, struct job_spec *out)
{
    struct key key;
    struct slice bytes;
    key_of_id(&key, id);
    return txn_find(m, DB_JOBS, &key, &bytes) && record_read_spec(out, bytes, NULL) == MQ_OK;
}

static bool is_held_by(struct machine *m, job_id id)
{
    struct job_status status;
    return peek_status(m, id, &status) && status.key_role == KEY_HOLDS;
}

/* ---- a push meets a holder ---- */

static bool waits(enum job_state state)
{
    return state == JOB_SCHEDULED || state == JOB_READY || state == JOB_RETRYING;
}

static enum push_outcome outcome_of(const struct op_push *push, const struct job *holder, job_id waiter)
{
    bool somebody_waits = waiter != JOB_ID_NONE || waits(holder->status.state);
    switch (push->conflict) {
    case UNIQUE_REPLACE:
        if (somebody_waits)
            return PUSH_REPLACED;
        return holder->status.state == JOB_RUNNING ? PUSH_BEHIND : PUSH_SKIPPED;
    case UNIQUE_RESCHEDULE:
        return somebody_waits ? PUSH_RESCHEDULED : PUSH_SKIPPED;
    default:
        return PUSH_SKIPPED;
    }
}

static enum mq_code conflict(const struct op_push *push, const struct job *holder, struct mq_err *err)
{
    char id[JOB_ID_TEXT_BYTES];
    int len = push->spec.unique_key.len > 100 ? 100 : (int)push->spec.unique_key.len;
    return mq_fail(err, MQ_CONFLICT, "unique key '%.*s' of '%.*s' is held by job %s, which is %s", len,
                   push->spec.unique_key.at, SLICE_ARG(push->spec.type), id_format(id, holder->id),
                   state_name(holder->status.state));
}

enum mq_code unique_meet(struct machine *m, const struct op_push *push, struct unique_met *met,
                         struct mq_err *err)
{
    struct unique_record record;
    struct job holder, target;
    struct job_spec spec;
    *met = (struct unique_met){.outcome = PUSH_ADDED};
    if (!find(m, push->spec.type, push->spec.unique_key, &met->at, &record))
        return MQ_OK;
    job_id waiter = record.waiter;
    if (job_find(m, &holder, record.holder, NULL) != MQ_OK || holder.status.key_role != KEY_HOLDS)
        return MQ_OK; /* only after damage */
    if (push->conflict == UNIQUE_ERROR)
        return conflict(push, &holder, err);
    met->holder = holder.id;
    met->waiter = waiter;
    met->outcome = outcome_of(push, &holder, waiter);
    met->target = waiter == JOB_ID_NONE || met->outcome == PUSH_SKIPPED ? holder.id : waiter;
    if (met->outcome == PUSH_SKIPPED || met->outcome == PUSH_BEHIND)
        return MQ_OK;
    if (job_find(m, &target, met->target, NULL) == MQ_OK && job_spec(m, &target, &spec, NULL) == MQ_OK)
        return MQ_OK;
    return unique_meet(m, push, met, err); /* it could not be read, and is in quarantine now */
}

/* ---- what it would meet once a job is cancelled ---- */

static bool is_kept_cancelled(const struct job *job, int64_t keep_ms, wall_ms now)
{
    return job->status.key_states >> JOB_CANCELLED & 1 &&
           job_stays_until(job, JOB_CANCELLED, keep_ms, now) > now;
}

/* It does not hold the key, which is free, in the state that it is in; cancelled it would. */
static bool would_take(struct machine *m, const struct op_push *push, const struct job *gone)
{
    struct job_spec spec;
    wall_ms now = push->op.now;
    return gone->status.key_role == KEY_FREE && job_spec(m, gone, &spec, NULL) == MQ_OK &&
           slice_equal(spec.type, push->spec.type) && slice_equal(spec.unique_key, push->spec.unique_key) &&
           spec.unique_until > now && is_kept_cancelled(gone, spec.keep_ms, now);
}

/* It holds the key, and cancelled would let go of it: that ends with it, or its record does. */
static bool would_free(struct machine *m, const struct job *gone, wall_ms now)
{
    struct job_spec spec;
    return job_spec(m, gone, &spec, NULL) != MQ_OK || !is_kept_cancelled(gone, spec.keep_ms, now);
}

/* Let go, it comes to a state in which it wants the key. */
static bool would_follow(struct machine *m, job_id waiter, wall_ms now)
{
    struct job_status status;
    struct job_spec spec;
    if (waiter == JOB_ID_NONE || !peek_status(m, waiter, &status) || !peek_spec(m, waiter, &spec))
        return false;
    enum job_state state = status.due_at > now ? JOB_SCHEDULED : JOB_READY;
    return status.key_states >> state & 1 && spec.unique_until > now;
}

enum mq_code unique_meet_without(struct machine *m, const struct op_push *push, const struct job *gone,
                                 struct unique_met *met, struct mq_err *err)
{
    struct job holder;
    wall_ms now = push->op.now;
    enum mq_code code = unique_meet(m, push, met, err);
    if (code != MQ_OK || gone->status.state == JOB_RUNNING) /* it runs on until its holder has heard of it */
        return code;
    if (met->outcome == PUSH_ADDED) {
        if (would_take(m, push, gone))
            met->outcome = PUSH_SKIPPED;
    } else if (met->waiter == gone->id) {
        if (job_find(m, &holder, met->holder, NULL) == MQ_OK)
            met->outcome = outcome_of(push, &holder, JOB_ID_NONE);
    } else if (met->holder == gone->id) {
        if (would_free(m, gone, now))
            met->outcome = would_follow(m, met->waiter, now) ? met->outcome : PUSH_ADDED;
        else if (met->waiter == JOB_ID_NONE)
            met->outcome = PUSH_SKIPPED; /* nothing of it can be replaced any more */
    }
    return MQ_OK;
}

void unique_settle(struct machine *m, const struct op_push *push)
{
    struct unique_record record;
    struct key at;
    struct job holder;
    if (find(m, push->spec.type, push->spec.unique_key, &at, &record) &&
        job_find(m, &holder, record.holder, NULL) == MQ_OK && holder.status.key_role == KEY_HOLDS &&
        holder.status.key_until <= push->op.now)
        unique_spend(m, &holder, push->op.now);
}

/* A retrying job keeps its backoff: who pushes often must not drive it. */
static void give_time(struct job *job, wall_ms run_at, wall_ms now)
{
    struct job_status *status = &job->status;
    if (status->state == JOB_BLOCKED)
        status->due_at = run_at > now ? run_at : 0;
    else if (status->state != JOB_RETRYING || run_at > status->due_at)
        job_reschedule(job, run_at, now);
}

void unique_divert(struct machine *m, struct op_push *push, const struct unique_met *met)
{
    struct job job;
    struct job_spec old, spec;
    wall_ms now = push->op.now;
    push->outcome = met->outcome;
    push->holder = met->holder;
    push->id = met->target;
    if (job_find(m, &job, met->target, NULL) != MQ_OK)
        mq_bug("a holder was there a moment ago");
    push->state = job.status.state;
    if (met->outcome == PUSH_SKIPPED)
        return;
    if (job_spec(m, &job, &old, NULL) != MQ_OK)
        mq_bug("a job that was read cannot be read again");
    spec = old;
    if (met->outcome == PUSH_REPLACED)
        spec.payload = push->spec.payload;
    spec.expires_at = push->spec.expires_at;
    spec.unique_until = push->spec.unique_until;
    job_write_spec(m, &job, &old, &spec);
    job_leave(m, &job);
    job.status.expires_at = push->spec.expires_at;
    if (job.status.key_role == KEY_HOLDS)
        job.status.key_until = push->spec.unique_until;
    give_time(&job, push->run_at, now);
    push->state = job.status.state;
    job_enter(m, &job);
}

void unique_line_up(struct machine *m, const struct op_push *push, const struct unique_met *met)
{
    write_record(m, &met->at,
                 &(struct unique_record){.type = push->spec.type,
                                         .key = push->spec.unique_key,
                                         .holder = met->holder,
                                         .waiter = push->id});
}

/* ---- the key follows its holder ---- */

static void take(struct machine *m, struct job *job)
{
    struct job_spec spec;
    struct unique_record record;
    struct key at;
    struct job_status *status = &job->status;
    if (!peek_spec(m, job->id, &spec) || !spec.unique_key.len)
        return; /* only after damage: whoever needs the spec will find out */
    if (spec.unique_until <= status->since) {
        status->key_role = KEY_SPENT;
        return;
    }
    bool there = find(m, spec.type, spec.unique_key, &at, &record);
    if (there && record.holder != job->id && is_held_by(m, record.holder))
        return;
    status->key_role = KEY_HOLDS;
    status->key_until = spec.unique_until;
    write_record(m, &at,
                 &(struct unique_record){.type = spec.type,
                                         .key = spec.unique_key,
                                         .holder = job->id,
                                         .waiter = there ? record.waiter : JOB_ID_NONE});
}

bool unique_follow(struct machine *m, struct job *job)
{
    struct job_status *status = &job->status;
    bool blocks = status->key_states >> status->state & 1;
    switch (status->key_role) {
    case KEY_HOLDS:
        if (blocks)
            return false;
        break;
    case KEY_WAITS:
        if (status->state == JOB_BLOCKED)
            return false;
        break;
    case KEY_FREE:
        if (blocks)
            take(m, job);
        return false;
    default:
        return false;
    }
    status->key_role = KEY_FREE;
    status->key_until = 0;
    return true;
}

static void add_unblocked(struct machine *m, const struct job *job, const struct job_spec *spec)
{
    buf_add(&m->unblocked, &(struct unblocked){job->id, job->status.state}, sizeof(struct unblocked));
    job_names_put(&m->unblocked_names, spec);
}

/* The holder has gone: the one behind it may run, at its time, and holds the key if it still wants it. */
static void unblock(struct machine *m, job_id id, wall_ms now)
{
    struct job job;
    struct job_spec spec;
    if (job_find(m, &job, id, NULL) != MQ_OK || job.status.key_role != KEY_WAITS ||
        job_spec(m, &job, &spec, NULL) != MQ_OK)
        return; /* only after damage */
    wall_ms due_at = job.status.due_at;
    if (now == WALL_NEVER) /* nobody knows: its holder went to quarantine */
        now = job.status.since;
    job_leave(m, &job);
    job.status.key_role = KEY_FREE;
    if (due_at > now)
        job_reschedule(&job, due_at, now);
    else
        job_make_ready(&job, STEP_UNBLOCK, now, false);
    add_unblocked(m, &job, &spec);
    job_enter(m, &job);
}

/* Takes this job out of the record of its key. */
static void step_aside(struct machine *m, job_id id, struct slice type, struct slice key, wall_ms now)
{
    struct unique_record record;
    struct key at;
    if (!find(m, type, key, &at, &record))
        return;
    job_id waiter = record.waiter;
    if (record.holder == id) {
        txn_remove(m, DB_UNIQUE, &at);
        if (waiter != JOB_ID_NONE)
            unblock(m, waiter, now);
    } else if (waiter == id) {
        record.waiter = JOB_ID_NONE;
        write_record(m, &at, &record);
    }
}

void unique_pass_on(struct machine *m, struct job *job, wall_ms now)
{
    struct job_spec spec;
    if (peek_spec(m, job->id, &spec))
        step_aside(m, job->id, spec.type, spec.unique_key, now);
}

void unique_drop(struct machine *m, struct job *job, wall_ms now)
{
    if (job->status.key_role == KEY_HOLDS || job->status.key_role == KEY_WAITS)
        unique_pass_on(m, job, now);
}

void unique_spend(struct machine *m, struct job *job, wall_ms now)
{
    job_unindex(m, job->id, &job->status);
    job->status.key_role = KEY_SPENT;
    job->status.key_until = 0;
    job_index(m, job->id, &job->status);
    job_write(m, job);
    unique_pass_on(m, job, now);
}

/* Nobody can say which key it had: every record is looked at. False if none names it. */
static bool search(struct machine *m, job_id id, struct buf *type, struct buf *key)
{
    static const struct key first = {.len = 1};
    struct slice found, value;
    for (bool more = txn_seek(m, DB_UNIQUE, &first, &found, &value); more;
         more = txn_next(m, DB_UNIQUE, &found, &value)) {
        struct unique_record record = {.holder = JOB_ID_NONE};
        if (unique_decode(&record, value, NULL) != MQ_OK || (record.holder != id && record.waiter != id))
            continue;
        buf_clear(type);
        buf_clear(key);
        buf_add_slice(type, record.type);
        buf_add_slice(key, record.key);
        return true;
    }
    return false;
}

void unique_drop_damaged(struct machine *m, job_id id, struct slice job_bytes)
{
    struct job_spec spec;
    bool readable = record_read_spec(&spec, job_bytes, NULL) == MQ_OK;
    if (txn_count(m, DB_UNIQUE) == 0 || (readable && !spec.unique_key.len))
        return;
    if (readable) {
        buf_clear(&m->key_type);
        buf_clear(&m->key_text);
        buf_add_slice(&m->key_type, spec.type);
        buf_add_slice(&m->key_text, spec.unique_key);
    } else if (!search(m, id, &m->key_type, &m->key_text)) {
        return;
    }
    step_aside(m, id, buf_bytes(&m->key_type), buf_bytes(&m->key_text), WALL_NEVER);
}

enum mq_code unique_refuses(struct machine *m, const struct job *job, const struct job_spec *spec,
                            wall_ms now, struct mq_err *err)
{
    struct unique_record record = {.holder = JOB_ID_NONE};
    struct key at;
    struct job_status holder = {.key_role = KEY_NONE};
    char id[JOB_ID_TEXT_BYTES], other[JOB_ID_TEXT_BYTES];
    enum key_role role = job->status.key_role;
    if ((role != KEY_FREE && role != KEY_SPENT) || !(spec->unique_states >> JOB_READY & 1) ||
        spec->unique_until <= now || !find(m, spec->type, spec->unique_key, &at, &record) ||
        record.holder == job->id || !peek_status(m, record.holder, &holder) || holder.key_role != KEY_HOLDS)
        return MQ_OK;
    return mq_fail(err, MQ_CONFLICT,
                   "job %s cannot live again: its unique key is held by job %s, which is %s (UNIQUE RELEASE "
                   "takes it away, or wait for its end)",
                   id_format(id, job->id), id_format(other, record.holder), state_name(holder.state));
}

/* ---- STORE_FREE_KEY ---- */

/* The one record that is meant. */
static enum mq_code find_meant(struct machine *m, const struct op_unique *op, struct job *holder,
                               struct mq_err *err)
{
    struct key first;
    struct slice found, value;
    unsigned count = 0;
    job_id id = JOB_ID_NONE;
    unique_place(&first, op->key);
    for (bool more = txn_seek(m, DB_UNIQUE, &first, &found, &value); more && unique_same_hash(&first, found);
         more = txn_next(m, DB_UNIQUE, &found, &value)) {
        struct unique_record record = {.holder = JOB_ID_NONE};
        if (unique_decode(&record, value, NULL) != MQ_OK || !slice_equal(record.key, op->key) ||
            (op->job_type.len && !slice_equal(record.type, op->job_type)))
            continue;
        id = record.holder;
        count++;
    }
    if (count > 1)
        return mq_fail(err, MQ_BADARG, "jobs of %u types hold this key: name one with TYPE", count);
    if (count == 0 || job_find(m, holder, id, NULL) != MQ_OK || holder->status.key_role != KEY_HOLDS ||
        holder->status.key_until <= op->op.now)
        return mq_fail(err, MQ_NOTFOUND, "nobody holds unique key '%.*s'",
                       op->key.len > 100 ? 100 : (int)op->key.len, op->key.at);
    return MQ_OK;
}

void free_key_run(struct machine *m, struct store_op *head)
{
    struct op_unique *op = (struct op_unique *)head;
    struct job holder;
    struct job_spec spec;
    struct unique_record record;
    struct key at;
    op->count = 0;
    head->code = find_meant(m, op, &holder, &head->err);
    if (head->code == MQ_OK)
        head->code = job_spec(m, &holder, &spec, head);
    if (head->code != MQ_OK)
        return;
    op->rows =
        (struct unique_row *)(void *)buf_room(&head->memory, ROW_ROOM_BYTES); /* nothing moves any more */
    buf_grew(&head->memory, sizeof *op->rows);
    job_names(head, &spec);
    struct slice type = {buf_bytes(&head->memory).at + buf_len(&head->memory), spec.type.len};
    buf_add_slice(&head->memory, spec.type);
    *op->rows = (struct unique_row){
        .type = type, .holder = holder.id, .state = holder.status.state, .until = holder.status.key_until};
    op->count = 1;
    unique_spend(m, &holder, head->now);
    if (find(m, type, op->key, &at, &record))
        op->rows->waiter = record.holder;
}
