/*
 * Jobs that LMDB has not been told of: pushed since its last commit, and not touched but by leases and acknowledgements.
 * The journal has them (redo.h), so they are on disk; memory has them too. Most end before the next checkpoint, and if they
 * leave no record LMDB never hears of them: a job's life is three changes in the redo in place of a dozen looks into five trees.
 *
 * They are told of (written where LMDB has them) at a checkpoint, all; or one by one when somebody does anything else with
 * them: job_find tells first, so that no other verb knows of this file. Whoever walks an index in which they might stand
 * tells of all of them before. What is kept, or stands in an index that time walks (due), is told of at its batch's end. And when a
 * checkpoint is near, those that stand far back in line are told of a few at a time, since everybody waits for a checkpoint.
 *
 * Two kinds: the new ones of this batch, of which the redo has nothing until fresh_note, since most of them are handed out in
 * the batch of their push; and those noted, of which the redo is told with each change, and LMDB never twice.
 *
 * Within a queue and priority they mostly come after all that the ready index holds, since ids only grow; the lease phase
 * merges the two by (priority, id).
 */
#include "store/lmdb/machine.h"

#include <stdlib.h>

#include "job/record.h"
#include "base/alloc.h"

#define KEEP_MOST_BYTES (16u << 20) /* memory that is kept for those to come */
#define KEEP_MOST       65536
#define SOON            16384 /* the first so many in line are not told of ahead of time */

/* ---- one of them ---- */

static struct fresh *room_for_one(struct machine *m)
{
    if (m->fresh_count == m->fresh_cap) {
        m->fresh_cap = m->fresh_cap ? m->fresh_cap * 2 : 256;
        m->fresh = mq_realloc(m->fresh, m->fresh_cap * sizeof *m->fresh);
    }
    return &m->fresh[m->fresh_count++];
}

static void offer(struct machine *m, struct fresh *fresh)
{
    struct queue *queue = fresh->queue;
    uint32_t index = (uint32_t)(fresh - m->fresh);
    uint8_t priority = fresh->status.priority;
    if (queue->fresh_first[priority] == FRESH_NONE)
        queue->fresh_first[priority] = index;
    else
        m->fresh[queue->fresh_last[priority]].next = index;
    queue->fresh_last[priority] = index;
    queue->fresh_count++;
    fresh->offered = true;
}

void fresh_add(struct machine *m, job_id id, struct queue *queue, const struct job_spec *spec,
               const struct job_status *status)
{
    struct fresh *fresh = room_for_one(m);
    *fresh = (struct fresh){.id = id,
                            .queue = queue,
                            .at = buf_len(&m->fresh_bytes),
                            .len = record_spec_bytes(spec),
                            .status = *status,
                            .lease_ms = spec->lease_ms,
                            .kept = spec->keep_ms > 0,
                            .next = FRESH_NONE};
    record_write_spec(buf_room(&m->fresh_bytes, fresh->len), spec);
    buf_grew(&m->fresh_bytes, fresh->len);
    m->fresh_kept += fresh->kept;
    if (status->state == JOB_READY)
        offer(m, fresh);
}

struct fresh *fresh_find(struct machine *m, job_id id)
{
    unsigned from = 0, until = m->fresh_count;
    if (!until || id < m->fresh[0].id)
        return NULL;
    while (until - from > 1) {
        unsigned middle = from + (until - from) / 2;
        if (m->fresh[middle].id <= id)
            from = middle;
        else
            until = middle;
    }
    struct fresh *fresh = &m->fresh[from];
    return fresh->id == id && !fresh->gone ? fresh : NULL;
}

struct slice fresh_record(const struct machine *m, const struct fresh *fresh)
{
    return (struct slice){buf_bytes(&m->fresh_bytes).at + fresh->at, fresh->len};
}

static struct job_status status_of(const struct machine *m, const struct fresh *fresh)
{
    struct job_status status = fresh->status;
    if (status.holder.len)
        status.holder.at = buf_bytes(&m->fresh_bytes).at + fresh->holder_at;
    return status;
}

/* The operation that has the holder's name ends before the job does. Most jobs in a row have the same. */
static void keep_holder(struct machine *m, struct fresh *fresh)
{
    struct slice holder = fresh->status.holder;
    const char *last = buf_bytes(&m->fresh_bytes).at + m->holder_at;
    if (holder.len != m->holder_len || memcmp(last, holder.at, holder.len) != 0) {
        m->holder_at = buf_len(&m->fresh_bytes);
        m->holder_len = holder.len;
        buf_add_slice(&m->fresh_bytes, holder);
    }
    fresh->holder_at = m->holder_at;
}

/* ---- queues ---- */

/* The first that is offered; those before it, which are not any more, leave the list. */
static uint32_t first_of(struct machine *m, struct queue *queue, int priority)
{
    uint32_t *first = &queue->fresh_first[priority];
    while (*first != FRESH_NONE && !m->fresh[*first].offered)
        *first = m->fresh[*first].next;
    return *first;
}

struct fresh *fresh_peek(struct machine *m, struct queue *queue)
{
    if (!queue->fresh_count)
        return NULL;
    for (int priority = 0; priority < PRIORITIES; priority++) {
        uint32_t first = first_of(m, queue, priority);
        if (first != FRESH_NONE)
            return &m->fresh[first];
    }
    return NULL;
}

static void withdraw(struct fresh *fresh)
{
    if (!fresh->offered)
        return;
    fresh->offered = false;
    fresh->queue->fresh_count--;
}

void fresh_clear_queue(struct queue *queue)
{
    queue->fresh_count = 0;
    for (int i = 0; i < PRIORITIES; i++)
        queue->fresh_first[i] = queue->fresh_last[i] = FRESH_NONE;
}

void fresh_drop(struct machine *m)
{
    if (!m->fresh_count)
        return;
    for (uint32_t no = 0; no < m->by_no_size; no++)
        if (m->by_no[no])
            fresh_clear_queue(m->by_no[no]);
    m->fresh_count = m->fresh_new = m->fresh_running = m->fresh_kept = 0;
    m->fresh_leased = m->fresh_ended = m->fresh_ahead = 0;
    m->holder_at = m->holder_len = 0;
    if (m->fresh_bytes.cap > KEEP_MOST_BYTES)
        buf_release(&m->fresh_bytes);
    buf_clear(&m->fresh_bytes);
    if (m->fresh_cap > KEEP_MOST) {
        free(m->fresh);
        m->fresh = NULL;
        m->fresh_cap = 0;
    }
}

/* ---- what the redo is told ---- */

static void key_of_entry(struct key *key, const struct fresh *fresh, enum db *db)
{
    const struct job_status *status = &fresh->status;
    if (status->state == JOB_RUNNING) {
        *db = DB_LEASES;
        key_of_moment(key, status->deadline, fresh->id);
    } else {
        *db = DB_READY;
        key_of_ready(key, status->queue_no, status->priority, fresh->id);
    }
}

static void note_entry(struct machine *m, const struct fresh *fresh, bool there)
{
    struct key key;
    enum db db;
    key_of_entry(&key, fresh, &db);
    if (there)
        redo_reserve(&m->redo, db, key_bytes(&key), 0);
    else
        redo_forget(&m->redo, db, key_bytes(&key));
}

static void note_status(struct machine *m, const struct fresh *fresh)
{
    struct job_status status = status_of(m, fresh);
    struct key key;
    key_of_id(&key, fresh->id);
    char *at = redo_reserve(&m->redo, DB_STATES, key_bytes(&key), record_status_bytes(&status));
    if (at)
        record_write_status(at, &status);
    note_entry(m, fresh, true);
}

static void note_all(struct machine *m, const struct fresh *fresh)
{
    struct slice record = fresh_record(m, fresh);
    struct key key;
    key_of_id(&key, fresh->id);
    char *at = redo_reserve(&m->redo, DB_JOBS, key_bytes(&key), record.len);
    if (at)
        memcpy(at, record.at, record.len);
    note_status(m, fresh);
}

/*
 * LMDB is spared one that leaves no record, unless an index that others walk must have it: it waits for a time, or may
 * expire. (What is kept is cheapest to write now, behind those before it.)
 */
static bool is_spared(const struct fresh *fresh)
{
    const struct job_status *status = &fresh->status;
    bool waits = status->state == JOB_READY && status->expires_at == WALL_NEVER;
    return !fresh->kept && (status->state == JOB_RUNNING || waits);
}

void fresh_note(struct machine *m)
{
    for (; m->fresh_new < m->fresh_count; m->fresh_new++) {
        struct fresh *fresh = &m->fresh[m->fresh_new];
        if (fresh->gone)
            continue;
        if (!is_spared(fresh)) {
            fresh_tell(m, fresh);
            continue;
        }
        note_all(m, fresh);
        fresh->noted = true;
    }
}

/* ---- steps ---- */

void fresh_leave(struct machine *m, struct fresh *fresh)
{
    withdraw(fresh);
    queue_count(m, fresh->queue, JOB_READY, -1);
    if (fresh->noted)
        note_entry(m, fresh, false);
}

void fresh_enter(struct machine *m, struct fresh *fresh)
{
    keep_holder(m, fresh);
    queue_count(m, fresh->queue, fresh->status.state, +1);
    m->fresh_leased++;
    if (m->fresh_running++ == 0 || fresh->status.deadline < m->fresh_deadline)
        m->fresh_deadline = fresh->status.deadline;
    if (fresh->noted)
        note_status(m, fresh);
}

static void leave_memory(struct machine *m, struct fresh *fresh)
{
    withdraw(fresh);
    m->fresh_running -= fresh->status.state == JOB_RUNNING;
    fresh->gone = true;
}

void fresh_end(struct machine *m, struct fresh *fresh)
{
    struct key key;
    queue_count(m, fresh->queue, fresh->status.state, -1);
    leave_memory(m, fresh);
    m->fresh_ended++;
    note_entry(m, fresh, false);
    key_of_id(&key, fresh->id);
    redo_forget(&m->redo, DB_STATES, key_bytes(&key));
    redo_forget(&m->redo, DB_JOBS, key_bytes(&key));
}

/* Who is pushed now comes when all that are ready have been handed out, roughly; if anybody hands them out. */
bool fresh_end_soon(const struct machine *m, uint64_t bytes)
{
    uint64_t ready = 0;
    if (!m->fresh_leased || m->fresh_kept > m->fresh_count / 2)
        return false;
    for (uint32_t no = 0; no < m->by_no_size; no++)
        if (m->by_no[no] && !m->by_no[no]->body.paused)
            ready += m->by_no[no]->body.counts.in_state[JOB_READY];
    return ready < bytes / (buf_len(&m->fresh_bytes) / m->fresh_count);
}

wall_ms fresh_next_lease(const struct machine *m)
{
    return m->fresh_running ? m->fresh_deadline : WALL_NEVER;
}

/* ---- what LMDB is told ---- */

/* Both records; what the redo has of them it is not told again. */
static void write_records(struct machine *m, const struct fresh *fresh)
{
    struct job_status status = status_of(m, fresh);
    struct slice record = fresh_record(m, fresh);
    struct key key;
    m->redo.muted = fresh->noted;
    key_of_id(&key, fresh->id);
    memcpy(txn_append(m, DB_JOBS, &key, record.len), record.at, record.len);
    record_write_status(txn_append(m, DB_STATES, &key, record_status_bytes(&status)), &status);
    m->redo.muted = false;
}

static void write_entries(struct machine *m, const struct fresh *fresh)
{
    m->redo.muted = fresh->noted;
    job_index(m, fresh->id, &fresh->status);
    m->redo.muted = false;
}

void fresh_tell(struct machine *m, struct fresh *fresh)
{
    write_records(m, fresh);
    write_entries(m, fresh);
    leave_memory(m, fresh);
}

void fresh_tell_ahead(struct machine *m, unsigned most)
{
    if (m->fresh_ahead < m->fresh_ended + SOON)
        m->fresh_ahead = m->fresh_ended + SOON;
    for (; most && m->fresh_ahead < m->fresh_new; m->fresh_ahead++) {
        struct fresh *fresh = &m->fresh[m->fresh_ahead];
        if (fresh->gone || !fresh->offered)
            continue;
        fresh_tell(m, fresh);
        most--;
    }
}

/* In the order of their keys: so most keys go where the one before went. */
static void write_offers(struct machine *m, const struct queue *queue)
{
    for (int priority = 0; priority < PRIORITIES; priority++)
        for (uint32_t i = queue->fresh_first[priority]; i != FRESH_NONE; i = m->fresh[i].next)
            if (m->fresh[i].offered)
                write_entries(m, &m->fresh[i]);
}

void fresh_write(struct machine *m)
{
    for (unsigned i = 0; i < m->fresh_count; i++) {
        const struct fresh *fresh = &m->fresh[i];
        if (fresh->gone)
            continue;
        write_records(m, fresh);
        if (!fresh->offered)
            write_entries(m, fresh);
    }
    for (uint32_t no = 0; no < m->by_no_size; no++)
        if (m->by_no[no] && m->by_no[no]->fresh_count)
            write_offers(m, m->by_no[no]);
}

void fresh_settle(struct machine *m)
{
    fresh_write(m);
    fresh_drop(m);
}
