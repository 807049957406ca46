/*
 * The hand-over: merges what the ready index holds of a queue, what is parked (for clients), and what LMDB has not
 * been told of (fresh.c), by (priority, id); with shares, those of all queues together. Jobs of one age then come one after
 * the other, whatever their queues, and their records are neighbours: here, and when they are acknowledged.
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

/* Answers' arrays are the machine's until they are complete: this one, with room for one more. */
static char *room_for(struct buf *array, unsigned count, size_t each)
{
    buf_clear(array);
    return buf_room(array, (count + 1) * each);
}

static void add_answer(struct machine *m, struct op_lease *op, job_id id, const struct job_status *status,
                       size_t record_at, size_t record_len)
{
    op->jobs = (struct leased_job *)(void *)room_for(&m->leased, op->count, sizeof *op->jobs);
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

static void expire(struct machine *m, struct op_lease *op, struct job *job, const struct job_spec *spec)
{
    job_names_add(m, &op->op, spec);
    job_finish(m, job, STEP_EXPIRE, spec->keep_ms, op->op.now);
    op->expired = (job_id *)(void *)room_for(&m->expired, op->expired_count, sizeof *op->expired);
    op->expired[op->expired_count++] = job->id;
    /* a million that nobody wanted in time are not one commit */
    op->more |= op->hold_max && op->expired_count >= op->hold_max;
}

/* A job whose type is paused is set aside. */
static void count_held(struct op_lease *op)
{
    op->held++;
    op->more |= op->held == op->hold_max;
}

/* One job of an index; nothing is handed out if its record turns out to be damaged. */
static void hand_indexed(struct machine *m, struct op_lease *op, enum db db, struct place *place)
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
        expire(m, op, &job, &spec);
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
    if (db == DB_READY) {
        job_leave_ready(m, &job);
        place->taken = true;
    } else {
        job_leave(m, &job);
    }
    set_running(m, op, &job.status, spec.lease_ms);
    job_enter(m, &job);
    add_answer(m, op, job.id, &job.status, at, len);
}

/* Handed to nobody. */
static bool goes_aside(struct machine *m, const struct op_lease *op, const struct fresh *fresh)
{
    struct job_spec spec;
    if (is_expired(&fresh->status, op->op.now))
        return true;
    return pause_any(m) && record_read_spec(&spec, fresh_record(m, fresh), NULL) == MQ_OK &&
           pause_of_type(m, spec.type, op->op.now);
}

static void hand_fresh(struct machine *m, struct op_lease *op, struct fresh *fresh)
{
    if (goes_aside(m, op, fresh)) {
        struct place place = {.id = fresh->id};
        fresh_tell(m, fresh); /* from now on it is like any other */
        hand_indexed(m, op, DB_READY, &place);
        return;
    }
    size_t at = buf_len(&op->op.memory);
    buf_add_slice(&op->op.memory, fresh_record(m, fresh));
    fresh_leave(m, fresh);
    set_running(m, op, &fresh->status, fresh->lease_ms);
    fresh_enter(m, fresh);
    add_answer(m, op, fresh->id, &fresh->status, at, fresh->len);
}

/* The entries of what was handed out; in their order, so that neighbours in a page go together. */
static void remove_taken(struct machine *m)
{
    for (unsigned i = 0; i < m->place_count; i++)
        if (m->places[i].taken)
            txn_remove(m, DB_READY, &m->places[i].key);
    places_clear(m);
}

/* Positions [at, until) of m->places hold one index' ready jobs of a queue, as far as they were gathered. */
struct source {
    enum db db;
    unsigned at, until;
    bool more; /* behind the last one gathered there may be others */
};

static void gather(struct machine *m, struct source *source, struct key *from, unsigned max)
{
    struct slice found;
    uint32_t queue_no = be32_get(from->at);
    source->at = m->place_count;
    for (bool more = txn_seek(m, source->db, from, &found, NULL); more && max;
         more = txn_next(m, source->db, &found, NULL), max--) {
        if (found.len != READY_KEY_BYTES || be32_get(found.at) != queue_no)
            break;
        struct place *place = places_add(m);
        place->key.len = found.len;
        memcpy(place->key.at, found.at, found.len);
        place->id = key_id(source->db, found);
        place->taken = false;
    }
    source->until = m->place_count;
    source->more = max == 0;
}

/* Some that were gathered had expired or were damaged: others take their turn. */
static void gather_more(struct machine *m, struct source *source, unsigned max)
{
    const struct place *last = &m->places[source->until - 1];
    struct key from;
    key_of_ready(&from, be32_get(last->key.at), (uint8_t)last->key.at[4], last->id + 1);
    gather(m, source, &from, max);
}

/* priority, then id, as one comparison */
static int compare(const struct place *a, uint8_t priority, job_id id)
{
    uint8_t own = (uint8_t)a->key.at[4];
    return own != priority ? (own < priority ? -1 : 1) : a->id < id ? -1 : a->id > id;
}

/* ---- queues that give ---- */

struct giver {
    struct queue *queue;
    unsigned left; /* so many at most */
    struct source sources[2];
    unsigned source_count;
    /* what it gives next */
    struct source *from; /* NULL: the fresh */
    uint8_t priority;
    job_id id;
};

static struct source *first_source(struct machine *m, struct giver *giver)
{
    struct source *best = NULL;
    for (unsigned i = 0; i < giver->source_count; i++) {
        struct source *source = &giver->sources[i];
        if (source->at == source->until && source->more)
            gather_more(m, source, giver->left);
        if (source->at == source->until)
            continue;
        const struct place *place = &m->places[source->at], *than = best ? &m->places[best->at] : NULL;
        if (!than || compare(place, (uint8_t)than->key.at[4], than->id) < 0)
            best = source;
    }
    return best;
}

/* What it gives next. False: it has nothing left. */
static bool look(struct machine *m, struct giver *giver)
{
    const struct fresh *fresh = fresh_peek(m, giver->queue);
    struct source *source = first_source(m, giver);
    if (!source && !fresh)
        return false;
    if (source && fresh && compare(&m->places[source->at], fresh->status.priority, fresh->id) > 0)
        source = NULL;
    giver->from = source;
    giver->priority = source ? (uint8_t)m->places[source->at].key.at[4] : fresh->status.priority;
    giver->id = source ? m->places[source->at].id : fresh->id;
    return true;
}

/* What the two indexes hold of a queue, without looking: all that is ready, and that LMDB has been told of. */
static uint64_t indexed_ready(const struct queue *queue)
{
    uint64_t ready = queue->body.counts.in_state[JOB_READY];
    uint64_t aside = queue->fresh_count + queue->body.counts.held;
    return ready > aside ? ready - aside : 0;
}

static void open_source(struct machine *m, struct giver *giver, enum db db)
{
    struct source *source = &giver->sources[giver->source_count++];
    uint64_t there = indexed_ready(giver->queue);
    struct key from;
    source->db = db;
    key_of_ready(&from, giver->queue->no, 0, 0);
    gather(m, source, &from, there < giver->left ? (unsigned)there : giver->left);
}

static void open_sources(struct machine *m, struct giver *giver, bool by_worker)
{
    giver->source_count = 0;
    if (!indexed_ready(giver->queue))
        return;
    open_source(m, giver, DB_READY);
    if (!by_worker)
        open_source(m, giver, DB_PARKED);
}

/* Its next job, to a worker or aside. False: who is next must be found anew. */
static bool give(struct machine *m, struct op_lease *op, struct giver *giver)
{
    size_t unblocked = buf_len(&m->unblocked);
    unsigned count = op->count;
    struct source *from = giver->from;
    if (from)
        hand_indexed(m, op, from->db, &m->places[from->at++]);
    else
        hand_fresh(m, op, fresh_peek(m, giver->queue));
    giver->left -= op->count - count;
    return buf_len(&m->unblocked) == unblocked; /* who waited behind one that expired may be next */
}

/* A few huge payloads are enough for one answer: what is asked for in jobs is held in memory in bytes. */
static bool is_full(const struct op_lease *op)
{
    return op->count >= op->max || op->more || (op->bytes_max && buf_len(&op->op.memory) >= op->bytes_max);
}

static bool gives_before(const struct giver *a, const struct giver *b)
{
    return a->priority != b->priority ? a->priority < b->priority : a->id < b->id;
}

/* The heap's first is who gives next; at `at` may be one who is too far up. */
static void sink(struct giver **heap, unsigned count, unsigned at)
{
    for (unsigned child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && gives_before(heap[child + 1], heap[child]))
            child++;
        if (!gives_before(heap[child], heap[at]))
            return;
        struct giver *up = heap[child];
        heap[child] = heap[at];
        heap[at] = up;
    }
}

/* All together, by priority, then by id. True: once more. */
static bool give_round(struct machine *m, struct op_lease *op, struct giver *givers, unsigned count)
{
    struct giver **heap = (struct giver **)(void *)(givers + count);
    unsigned giving = 0;
    bool again = false;
    places_clear(m);
    for (unsigned i = 0; i < count; i++) {
        if (!givers[i].left)
            continue;
        open_sources(m, &givers[i], op->by_worker);
        if (look(m, &givers[i]))
            heap[giving++] = &givers[i];
    }
    for (unsigned i = giving / 2; i-- > 0;)
        sink(heap, giving, i);
    while (giving && !again && !is_full(op)) {
        again = !give(m, op, heap[0]);
        if (!again && (!heap[0]->left || !look(m, heap[0])))
            heap[0] = heap[--giving];
        sink(heap, giving, 0);
    }
    remove_taken(m);
    return again && !is_full(op);
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

/* Adds the queue to those that give, if it may and has something. */
static unsigned add_giver(struct machine *m, struct op_lease *op, struct giver *giver, unsigned i,
                          bool shared)
{
    struct queue *queue = queue_find(m, op->queues[i]);
    unsigned most = op->max - op->count;
    if (!queue || queue->body.paused || !queue->body.counts.in_state[JOB_READY])
        return 0;
    *giver = (struct giver){.queue = queue, .left = shared && op->shares[i] < most ? op->shares[i] : most};
    return 1;
}

static struct giver *room_for_givers(struct machine *m, unsigned count)
{
    buf_clear(&m->givers);
    return (struct giver *)(void *)buf_room(&m->givers,
                                            count * (sizeof(struct giver) + sizeof(struct giver *)));
}

void lease_run(struct machine *m, struct store_op *head)
{
    struct op_lease *op = (struct op_lease *)head;
    struct giver *givers = room_for_givers(m, op->queue_count + 1);
    unsigned count = 0;
    op->count = op->expired_count = op->held = 0;
    op->more = false;
    buf_clear(&m->names);
    for (unsigned i = 0; op->shares && i < op->queue_count; i++)
        count += add_giver(m, op, &givers[count], i, true);
    while (count && give_round(m, op, givers, count))
        ;
    for (unsigned i = 0; i < op->queue_count && !is_full(op); i++) {
        count = add_giver(m, op, givers, i, false);
        while (count && give_round(m, op, givers, count))
            ;
    }
    finish_answer(op, buf_bytes(&m->names));
}
