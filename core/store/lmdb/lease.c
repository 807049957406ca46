/*
 * The hand-over: merges what the ready index holds of a queue, what is parked (for clients), and what this very
 * batch pushed, by (priority, id).
 */
#include "store/lmdb/machine.h"

#include "job/record.h"
#include "base/alloc.h"

static bool is_expired(const struct job_status *status, wall_ms now)
{
    return !status->started && status->expires_at <= now;
}

static void set_running(struct machine *m, struct op_lease *op, struct job_status *status,
                        uint32_t own_lease_ms)
{
    status->state = state_after(status->state, STEP_LEASE);
    status->attempt++;
    status->token = ++m->meta.last_token;
    m->meta_changed = true;
    status->since = op->op.now;
    status->deadline = op->op.now + (op->lease_ms ? op->lease_ms : own_lease_ms);
    status->due_at = 0;
    status->late_ms = status->was_due && op->op.now > status->was_due ? op->op.now - status->was_due : 0;
    status->parked = status->cancelling = false;
    status->held_by_worker = op->by_worker;
    status->holder = op->holder;
    status->note = SLICE_EMPTY;
    status->progress = -1;
}

static void add_answer(struct op_lease *op, job_id id, const struct job_status *status, size_t record_at,
                       size_t record_len)
{
    op->jobs[op->count++] = (struct leased_job){
        .id = id,
        .token = status->token,
        .deadline = status->deadline,
        .attempt = status->attempt,
        .crashes = status->crashes,
        .was_due = status->was_due != 0,
        .late_ms = status->late_ms,
        .record = {(const char *)record_at, record_len},
    };
}

/* A job whose type is paused is set aside. */
static void count_held(struct op_lease *op)
{
    op->held++;
    op->more = op->held == op->hold_max;
}

static void hand_fresh(struct machine *m, struct op_lease *op, struct fresh *fresh)
{
    struct queue *queue = fresh->queue;
    const struct paused_type *paused = pause_of_type(m, fresh->spec->type, op->op.now);
    if (paused) {
        fresh->status.held_no = paused->no; /* that is where it goes when it is settled */
        count_held(op);
        return;
    }
    size_t len = record_spec_bytes(fresh->spec), at = buf_len(&op->op.memory);
    record_write_spec(buf_room(&op->op.memory, len), fresh->spec);
    buf_grew(&op->op.memory, len);
    queue_count(m, queue, JOB_READY, -1);
    set_running(m, op, &fresh->status, fresh->spec->lease_ms);
    queue_count(m, queue, JOB_RUNNING, +1);
    add_answer(op, fresh->id, &fresh->status, at, len);
}

static void expire_fresh(struct machine *m, struct op_lease *op, struct fresh *fresh)
{
    job_id id = fresh->id;
    struct job job;
    fresh_settle(m); /* rare: pushed and expired in one batch. From now on it is like any other */
    if (job_find(m, &job, id, NULL) != MQ_OK)
        return;
    struct job_spec spec;
    if (job_spec(m, &job, &spec, NULL) != MQ_OK)
        return;
    job_names_add(m, &op->op, &spec);
    job_finish(m, &job, STEP_EXPIRE, spec.keep_ms, op->op.now);
    op->expired[op->expired_count++] = id;
}

/* One job of an index; nothing is handed out if its record turns out to be damaged. */
static void hand_indexed(struct machine *m, struct op_lease *op, enum db db, const struct place *place)
{
    struct job job;
    struct job_spec spec;
    enum mq_code code = job_find(m, &job, place->id, NULL);
    bool fits = code == MQ_OK && job.status.state == JOB_READY && job.status.parked == (db == DB_PARKED);
    if (!fits) {
        if (code != MQ_INTERNAL)
            quarantine_entry(m, db, &place->key, "its job is not ready");
        return;
    }
    if (job_spec(m, &job, &spec, NULL) != MQ_OK)
        return;
    if (is_expired(&job.status, op->op.now)) {
        job_names_add(m, &op->op, &spec);
        job_finish(m, &job, STEP_EXPIRE, spec.keep_ms, op->op.now);
        op->expired[op->expired_count++] = job.id;
        return;
    }
    const struct paused_type *paused = pause_of_type(m, spec.type, op->op.now);
    if (paused) {
        pause_hold(m, &job, paused->no);
        count_held(op);
        return;
    }
    size_t at = buf_len(&op->op.memory), len = m->spec_bytes.len;
    buf_add_slice(&op->op.memory, m->spec_bytes);
    job_leave(m, &job);
    set_running(m, op, &job.status, spec.lease_ms);
    job_enter(m, &job);
    add_answer(op, job.id, &job.status, at, len);
}

/* Positions [from, until) of m->places hold one index' ready jobs of a queue. */
struct source {
    enum db db;
    unsigned at, until;
};

static void gather(struct machine *m, struct source *source, enum db db, uint32_t queue_no, unsigned max)
{
    struct key key;
    struct slice found;
    *source = (struct source){db, m->place_count, m->place_count};
    key_of_ready(&key, queue_no, 0, 0);
    for (bool more = txn_seek(m, db, &key, &found, NULL); more && max--;
         more = txn_next(m, db, &found, NULL)) {
        if (found.len != READY_KEY_BYTES || be32_get(found.at) != queue_no)
            break;
        struct place *place = places_add(m);
        place->key.len = found.len;
        memcpy(place->key.at, found.at, found.len);
        place->id = key_id(db, found);
    }
    source->until = m->place_count;
}

/* priority, then id, as one comparison */
static int compare(const struct place *a, uint8_t priority, job_id id)
{
    uint8_t own = (uint8_t)a->key.at[4];
    return own != priority ? (own < priority ? -1 : 1) : a->id < id ? -1 : a->id > id;
}

static struct source *first_of(struct machine *m, struct source *sources, unsigned count)
{
    struct source *best = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (sources[i].at == sources[i].until)
            continue;
        const struct place *place = &m->places[sources[i].at], *than = best ? &m->places[best->at] : NULL;
        if (!than || compare(place, (uint8_t)than->key.at[4], than->id) < 0)
            best = &sources[i];
    }
    return best;
}

/* What the two indexes hold of a queue, without looking: all that is ready and not of this batch. */
static uint64_t indexed_ready(const struct queue *queue)
{
    uint64_t ready = queue->body.counts.in_state[JOB_READY];
    uint64_t aside = queue->fresh_count + queue->body.counts.held;
    return ready > aside ? ready - aside : 0;
}

/* The answers' arrays grow with what is found, not with what was asked for. */
static unsigned room_for(const struct op_lease *op, const struct queue *queue)
{
    uint64_t ready = queue->body.counts.in_state[JOB_READY];
    unsigned want = op->max - op->count;
    return ready < want ? (unsigned)ready : want;
}

/* The arrays are the machine's until the answer is complete. */
static void make_room(struct machine *m, struct op_lease *op, unsigned more)
{
    size_t jobs = (op->count + more) * sizeof *op->jobs,
           expired = (op->expired_count + more) * sizeof *op->expired;
    buf_clear(&m->leased);
    buf_clear(&m->expired);
    op->jobs = (struct leased_job *)buf_room(&m->leased, jobs);
    op->expired = (job_id *)buf_room(&m->expired, expired);
}

/* A few huge payloads are enough for one answer: what is asked for in jobs is held in memory in bytes. */
static bool is_heavy(const struct op_lease *op)
{
    return op->bytes_max && buf_len(&op->op.memory) >= op->bytes_max;
}

static bool lease_round(struct machine *m, struct op_lease *op, struct queue *queue)
{
    struct source sources[2];
    unsigned source_count = 0, want = room_for(op, queue), looked = 0;
    if (!want)
        return false;
    places_clear(m);
    if (indexed_ready(queue)) {
        gather(m, &sources[source_count++], DB_READY, queue->no, want);
        if (!op->by_worker)
            gather(m, &sources[source_count++], DB_PARKED, queue->no, want);
    }
    make_room(m, op, want);
    for (; looked < want && !is_heavy(op) && !op->more; looked++) {
        struct source *source = first_of(m, sources, source_count);
        struct fresh *fresh = fresh_peek(m, queue);
        if (source && (!fresh || compare(&m->places[source->at], fresh->status.priority, fresh->id) < 0)) {
            size_t unblocked = buf_len(&m->unblocked);
            hand_indexed(m, op, source->db, &m->places[source->at++]);
            if (buf_len(&m->unblocked) != unblocked)
                return true; /* one expired, and who waited behind it may be next: look again */
        } else if (fresh && is_expired(&fresh->status, op->op.now)) {
            expire_fresh(m, op, fresh);
            return true; /* the fresh are in the index now: look there again */
        } else if (fresh) {
            fresh_take(m, queue);
            hand_fresh(m, op, fresh);
        } else {
            break;
        }
    }
    /* some were expired or damaged: others may wait behind them */
    return looked == want && op->count < op->max && !op->more;
}

/* Arrays become part of the answer's memory, offsets become pointers. */
static void finish_answer(struct op_lease *op, struct slice names)
{
    struct buf *memory = &op->op.memory;
    size_t jobs_bytes = op->count * sizeof *op->jobs, expired_bytes = op->expired_count * sizeof *op->expired;
    size_t pad = (16 - buf_len(memory) % 16) % 16;
    char *at = buf_room(memory, pad + jobs_bytes + expired_bytes + names.len) + pad;
    const char *base = buf_bytes(memory).at;
    for (unsigned i = 0; i < op->count; i++)
        op->jobs[i].record.at = base + (size_t)op->jobs[i].record.at;
    if (jobs_bytes)
        memcpy(at, op->jobs, jobs_bytes);
    if (expired_bytes)
        memcpy(at + jobs_bytes, op->expired, expired_bytes);
    if (names.len)
        memcpy(at + jobs_bytes + expired_bytes, names.at, names.len);
    buf_grew(memory, pad + jobs_bytes + expired_bytes + names.len);
    op->jobs = (struct leased_job *)at;
    op->expired = (job_id *)(at + jobs_bytes);
    op->expired_names = (struct slice){at + jobs_bytes + expired_bytes, names.len};
}

void lease_run(struct machine *m, struct store_op *head)
{
    struct op_lease *op = (struct op_lease *)head;
    op->count = op->expired_count = op->held = 0;
    op->more = false;
    buf_clear(&m->names);
    for (unsigned i = 0; i < op->queue_count && op->count < op->max && !is_heavy(op) && !op->more; i++) {
        struct queue *queue = queue_find(m, op->queues[i]);
        if (!queue || queue->body.paused)
            continue;
        while (lease_round(m, op, queue))
            ;
    }
    finish_answer(op, buf_bytes(&m->names));
}
