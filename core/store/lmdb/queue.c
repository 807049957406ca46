/*
 * Queues live in memory; the file has a copy of each, written once a commit. What a batch changes can be taken
 * back: before the first change of each level (the batch, a group in it) the body is kept in the undo log.
 */
#include "store/lmdb/machine.h"

#include <stdlib.h>
#include <xxhash.h>

#include "job/record.h"
#include "base/alloc.h"

enum {
    QUEUE_FORMAT_FIRST = 1, /* a pause had a reason, and nothing else */
    QUEUE_FORMAT = 2,
    FLAG_PAUSED = 1,
    FLAG_DRAINING = 2,
    FLAG_OWN_LIMIT = 4,
    COUNTERS = sizeof(struct queue_counts) / sizeof(uint64_t),
};

struct slice queue_name(const struct queue *queue)
{
    return (struct slice){queue->name, queue->name_len};
}

struct queue *queue_find(struct machine *m, struct slice name)
{
    struct queue *queue;
    HASH_FIND(hh, m->by_name, name.at, name.len, queue);
    return queue;
}

struct queue *queue_of_no(struct machine *m, uint32_t no)
{
    return no < m->by_no_size ? m->by_no[no] : NULL;
}

static struct queue *add(struct machine *m, uint32_t no, struct slice name)
{
    struct queue *queue = mq_calloc(1, sizeof *queue);
    queue->no = no;
    queue->name_len = (uint8_t)name.len;
    memcpy(queue->name, name.at, name.len);
    fresh_clear_queue(queue);
    if (no >= m->by_no_size) {
        uint32_t size = m->by_no_size ? m->by_no_size : 16;
        while (size <= no)
            size *= 2;
        m->by_no = mq_realloc(m->by_no, size * sizeof *m->by_no);
        memset(m->by_no + m->by_no_size, 0, (size - m->by_no_size) * sizeof *m->by_no);
        m->by_no_size = size;
    }
    m->by_no[no] = queue;
    HASH_ADD(hh, m->by_name, name, queue->name_len, queue);
    return queue;
}

static void drop(struct machine *m, struct queue *queue)
{
    HASH_DEL(m->by_name, queue);
    m->by_no[queue->no] = NULL;
    free(queue);
}

static void log_undo(struct machine *m, struct queue *queue, bool created)
{
    if (m->undo_count == m->undo_cap) {
        m->undo_cap = m->undo_cap ? m->undo_cap * 2 : 64;
        m->undo = mq_realloc(m->undo, m->undo_cap * sizeof *m->undo);
    }
    m->undo[m->undo_count++] = (struct undo){
        .queue = queue, .level_before = queue->undo_level, .created = created, .body = queue->body};
    queue->undo_level = m->undo_level;
    if (queue->touched)
        return;
    queue->touched = true;
    if (m->touched_count == m->touched_cap) {
        m->touched_cap = m->touched_cap ? m->touched_cap * 2 : 64;
        m->touched = mq_realloc(m->touched, m->touched_cap * sizeof *m->touched);
    }
    m->touched[m->touched_count++] = queue;
}

void queue_touch(struct machine *m, struct queue *queue)
{
    if (queue->undo_level < m->undo_level)
        log_undo(m, queue, false);
}

struct queue *queue_ensure(struct machine *m, struct slice name)
{
    struct queue *queue = queue_find(m, name);
    if (queue)
        return queue;
    m->meta_changed = true;
    queue = add(m, m->meta.next_queue_no++, name);
    queue->created = true;
    log_undo(m, queue, true);
    return queue;
}

static void untouch(struct machine *m, struct queue *queue)
{
    for (unsigned i = 0; i < m->touched_count; i++)
        if (m->touched[i] == queue) {
            m->touched[i] = m->touched[--m->touched_count];
            return;
        }
}

void queue_undo_to(struct machine *m, unsigned count)
{
    while (m->undo_count > count) {
        struct undo *last = &m->undo[--m->undo_count];
        struct queue *queue = last->queue;
        queue->body = last->body;
        queue->undo_level = last->level_before;
        if (last->created || queue->undo_level == 0) {
            untouch(m, queue);
            queue->touched = false;
        }
        if (last->created)
            drop(m, queue);
    }
}

void queue_forget_undo(struct machine *m)
{
    m->undo_count = 0;
    for (unsigned i = 0; i < m->touched_count; i++) {
        m->touched[i]->touched = m->touched[i]->created = false;
        m->touched[i]->undo_level = 0;
    }
    m->touched_count = 0;
}

void queue_count(struct machine *m, struct queue *queue, enum job_state state, int by)
{
    queue_touch(m, queue);
    uint64_t *count = &queue->body.counts.in_state[state];
    if (by < 0 && *count == 0)
        return; /* only after damage: quarantine guesses a lost status' state */
    *count += (uint64_t)(int64_t)by;
}

void queue_count_parked(struct machine *m, uint32_t queue_no, int by)
{
    struct queue *queue = queue_of_no(m, queue_no);
    if (!queue || (by < 0 && queue->body.counts.parked == 0))
        return; /* only after damage */
    queue_touch(m, queue);
    queue->body.counts.parked += (uint64_t)(int64_t)by;
}

void queue_count_held(struct machine *m, uint32_t queue_no, int by)
{
    struct queue *queue = queue_of_no(m, queue_no);
    if (!queue || (by < 0 && queue->body.counts.held == 0))
        return; /* only after damage */
    queue_touch(m, queue);
    queue->body.counts.held += (uint64_t)(int64_t)by;
}

uint64_t queue_waiting(const struct queue_counts *counts)
{
    return counts->in_state[JOB_BLOCKED] + counts->in_state[JOB_SCHEDULED] + counts->in_state[JOB_READY] +
           counts->in_state[JOB_RETRYING];
}

uint64_t queue_limit_of(const struct machine *m, const struct queue_body *body)
{
    return body->own_limit ? body->limit : m->rules.queue_limit;
}

enum mq_code queue_refuses(const struct machine *m, const struct queue *queue, struct slice name,
                           uint64_t count, struct mq_err *err)
{
    static const struct queue_body new_queue;
    const struct queue_body *body = queue ? &queue->body : &new_queue;
    if (body->draining)
        return mq_fail(err, MQ_BUSY, "queue '%.*s' is draining and takes no new jobs (RESUME it first)",
                       SLICE_ARG(name));
    uint64_t limit = queue_limit_of(m, body), waiting = queue_waiting(&body->counts);
    if (limit != QUEUE_UNLIMITED && waiting + count > limit)
        return mq_fail(
            err, MQ_FULL,
            "queue '%.*s' is full: %llu jobs wait, its limit is %llu (push again later, or raise its LIMIT)",
            SLICE_ARG(name), (unsigned long long)waiting, (unsigned long long)limit);
    return MQ_OK;
}

void queue_encode(struct buf *out, const struct queue_body *body, struct slice name)
{
    const uint64_t *counters = (const uint64_t *)&body->counts;
    buf_u8(out, QUEUE_FORMAT);
    buf_u8(out, (uint8_t)((body->paused ? FLAG_PAUSED : 0) | (body->draining ? FLAG_DRAINING : 0) |
                          (body->own_limit ? FLAG_OWN_LIMIT : 0)));
    buf_u64(out, body->limit);
    buf_u16(out, COUNTERS);
    for (int i = 0; i < COUNTERS; i++)
        buf_u64(out, counters[i]);
    buf_string(out, name);
    buf_string(out, (struct slice){body->pause.reason, body->pause.reason_len});
    buf_string(out, (struct slice){body->pause.by, body->pause.by_len});
    buf_u64(out, (uint64_t)body->pause.since);
    buf_u64(out, (uint64_t)body->pause.until);
    struct slice all = buf_bytes(out);
    buf_u32(out, (uint32_t)XXH3_64bits(all.at, all.len));
}

enum mq_code queue_decode(struct queue_body *body, struct slice *name, struct slice record,
                          struct mq_err *err)
{
    if (record.len < 5 || record.at[0] < QUEUE_FORMAT_FIRST || record.at[0] > QUEUE_FORMAT ||
        (uint32_t)XXH3_64bits(record.at, record.len - 4) != be32_get(record.at + record.len - 4))
        return mq_fail(err, MQ_INTERNAL, "queue record of %zu bytes is damaged or of an unknown format",
                       record.len);
    struct reader in = reader_of((struct slice){record.at + 1, record.len - 5});
    memset(body, 0, sizeof *body);
    uint8_t flags = reader_u8(&in);
    body->paused = flags & FLAG_PAUSED;
    body->draining = flags & FLAG_DRAINING;
    body->own_limit = flags & FLAG_OWN_LIMIT;
    body->limit = reader_u64(&in);
    uint64_t *counters = (uint64_t *)&body->counts;
    unsigned count = reader_u16(&in); /* a later binary may count more, behind those that we know */
    for (unsigned i = 0; i < count && !in.short_; i++) {
        uint64_t value = reader_u64(&in);
        if (i < COUNTERS)
            counters[i] = value;
    }
    *name = reader_string(&in);
    struct slice reason = reader_string(&in), by = SLICE_EMPTY;
    wall_ms since = 0, until = WALL_NEVER;
    if (record.at[0] == QUEUE_FORMAT) {
        by = reader_string(&in);
        since = (wall_ms)reader_u64(&in);
        until = (wall_ms)reader_u64(&in);
    }
    if (!reader_done(&in) || name->len == 0 || name->len > NAME_STORED_BYTES ||
        pause_check(reason, by, NULL) != MQ_OK)
        return mq_fail(err, MQ_INTERNAL, "queue record is cut short or too long");
    pause_set(&body->pause, false, since, until, reason, by);
    return MQ_OK;
}

void queue_save_touched(struct machine *m)
{
    for (unsigned i = 0; i < m->touched_count; i++) {
        struct key key;
        key_of_no(&key, m->touched[i]->no);
        buf_clear(&m->record);
        queue_encode(&m->record, &m->touched[i]->body, queue_name(m->touched[i]));
        txn_put(m, DB_QUEUES, &key, buf_bytes(&m->record));
    }
}

/* ---- at open ---- */

/*
 * A queue whose record is damaged: its jobs still say what it is called and how many they are. Reads every
 * status, but only when a record was damaged.
 */
static void mend(struct machine *m, uint32_t no)
{
    struct slice found, value;
    struct queue *queue = NULL;
    struct queue_counts counts = {0};
    uint64_t jobs = 0;
    struct key key;
    key_of_id(&key, 0);
    for (bool more = txn_seek(m, DB_STATES, &key, &found, &value); more;
         more = txn_next(m, DB_STATES, &found, &value)) {
        struct job_status status;
        struct job_spec spec;
        struct slice bytes;
        struct key job_key;
        if (found.len != 8 || record_read_status(&status, value, NULL) != MQ_OK || status.queue_no != no)
            continue;
        counts.in_state[status.state]++;
        counts.parked += status.state == JOB_READY && status.parked;
        counts.held += status.state == JOB_READY && status.held_no;
        jobs++;
        key_of_id(&job_key, be64_get(found.at));
        if (!queue && txn_find(m, DB_JOBS, &job_key, &bytes) &&
            record_read_spec(&spec, bytes, NULL) == MQ_OK && !queue_find(m, spec.queue))
            queue = add(m, no, spec.queue);
    }
    key_of_no(&key, no);
    txn_remove(m, DB_QUEUES, &key);
    if (queue) {
        queue_touch(m, queue);
        queue->body.counts = counts;
    }
    machine_alarm(m, "queue.mended", "the record of queue number %u was damaged; %s, %llu jobs counted anew",
                  no, queue ? queue->name : "no job names it", (unsigned long long)jobs);
}

enum mq_code queue_load_all(struct machine *m, struct mq_err *err)
{
    struct slice found, value;
    struct key key;
    uint32_t *damaged = NULL;
    unsigned damaged_count = 0;
    (void)err;
    key_of_no(&key, 0);
    for (bool more = txn_seek(m, DB_QUEUES, &key, &found, &value); more;
         more = txn_next(m, DB_QUEUES, &found, &value)) {
        struct queue_body body;
        struct slice name;
        uint32_t no = found.len == 4 ? be32_get(found.at) : 0;
        if (no == 0)
            continue;
        if (no >= m->meta.next_queue_no) {
            m->meta.next_queue_no = no + 1;
            m->meta_changed = true;
        }
        if (queue_decode(&body, &name, value, NULL) == MQ_OK) {
            add(m, no, name)->body = body;
            continue;
        }
        damaged = mq_realloc(damaged, (damaged_count + 1) * sizeof *damaged);
        damaged[damaged_count++] = no;
    }
    for (unsigned i = 0; i < damaged_count; i++)
        mend(m, damaged[i]);
    free(damaged);
    return MQ_OK;
}

void queue_free_all(struct machine *m)
{
    struct queue *queue, *next;
    HASH_ITER (hh, m->by_name, queue, next)
        drop(m, queue);
    free(m->by_no);
}

/* ---- STORE_QUEUE ---- */

void queue_run(struct machine *m, struct store_op *op)
{
    struct op_queue *change = (struct op_queue *)op;
    if (change->change == QUEUE_PAUSE) {
        op->code = pause_check(change->reason, change->by, &op->err);
        if (op->code != MQ_OK)
            return;
    }
    if (change->change == QUEUE_RESUME && !queue_find(m, change->name)) {
        op->code = mq_fail(&op->err, MQ_NOTFOUND, "there is no queue '%.*s': nothing to resume",
                           SLICE_ARG(change->name));
        return;
    }
    struct queue *queue = queue_ensure(m, change->name);
    queue_touch(m, queue);
    struct queue_body *body = &queue->body;
    switch (change->change) {
    case QUEUE_KEEP:
        break;
    case QUEUE_PAUSE:
        pause_set(&body->pause, body->paused, op->now, change->until, change->reason, change->by);
        body->paused = true;
        pause_forget(m);
        break;
    case QUEUE_DRAIN:
        body->draining = true;
        break;
    case QUEUE_RESUME:
        body->paused = body->draining = false;
        body->pause = (struct pause){.until = WALL_NEVER};
        pause_forget(m);
        break;
    }
    if (change->set_limit) {
        body->own_limit = true;
        body->limit = change->limit;
    }
}
