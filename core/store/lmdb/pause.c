/*
 * Pauses. That of a queue stands in its record, and leases pass the queue over. A type's jobs stand between others in
 * the ready index, so a lease that meets one sets it aside: out of ready, into held, under the number of the pause.
 * Each job moves at most once there and once back, and others of its queue do not wait behind it.
 *
 * A pause of a type that has ended (by its time or by RESUME) keeps its record until a sweep has emptied its part of
 * held: what is left of it after a crash is found by the next one.
 */
#include "store/lmdb/machine.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/alloc.h"

enum {
    PAUSE_FORMAT = 1,
    FLAG_ENDED = 1,
};

enum mq_code pause_check(struct slice reason, struct slice by, struct mq_err *err)
{
    if (reason.len > PAUSE_REASON_MAX || by.len > PAUSE_BY_MAX)
        return mq_fail(err, MQ_BADARG, "a pause's reason has at most %d bytes, a name at most %d",
                       PAUSE_REASON_MAX, PAUSE_BY_MAX);
    return MQ_OK;
}

void pause_set(struct pause *pause, bool was, wall_ms now, wall_ms until, struct slice reason,
               struct slice by)
{
    pause->since = was ? pause->since : now;
    pause->until = until ? until : WALL_NEVER;
    pause->reason_len = (uint8_t)reason.len;
    pause->by_len = (uint8_t)by.len;
    if (reason.len)
        memcpy(pause->reason, reason.at, reason.len);
    if (by.len)
        memcpy(pause->by, by.at, by.len);
}

/* ---- records ---- */

void pause_encode(struct buf *out, const struct pause_record *record)
{
    buf_u8(out, PAUSE_FORMAT);
    buf_u8(out, record->ended ? FLAG_ENDED : 0);
    buf_u64(out, (uint64_t)record->since);
    buf_u64(out, (uint64_t)record->until);
    buf_string(out, record->type);
    buf_string(out, record->reason);
    buf_string(out, record->by);
    struct slice all = buf_bytes(out);
    buf_u32(out, (uint32_t)XXH3_64bits(all.at, all.len));
}

enum mq_code pause_decode(struct pause_record *out, struct slice record, struct mq_err *err)
{
    if (record.len < 5 || record.at[0] != PAUSE_FORMAT ||
        (uint32_t)XXH3_64bits(record.at, record.len - 4) != be32_get(record.at + record.len - 4))
        return mq_fail(err, MQ_INTERNAL,
                       "the record of a pause, of %zu bytes, is damaged or of an unknown format", record.len);
    struct reader in = reader_of((struct slice){record.at + 1, record.len - 5});
    out->ended = reader_u8(&in) & FLAG_ENDED;
    out->since = (wall_ms)reader_u64(&in);
    out->until = (wall_ms)reader_u64(&in);
    out->type = reader_string(&in);
    out->reason = reader_string(&in);
    out->by = reader_string(&in);
    if (!reader_done(&in) || out->type.len == 0 || out->type.len > NAME_STORED_BYTES)
        return mq_fail(err, MQ_INTERNAL, "the record of a pause is cut short or too long");
    return pause_check(out->reason, out->by, err);
}

static void write_record(struct machine *m, uint32_t no, const struct pause_record *record)
{
    struct key key;
    key_of_no(&key, no);
    buf_clear(&m->record);
    pause_encode(&m->record, record);
    txn_put(m, DB_PAUSES, &key, buf_bytes(&m->record));
    pause_forget(m);
}

/* ---- the copy in memory ---- */

void pause_forget(struct machine *m)
{
    m->paused_stale = m->next_pause_stale = true;
}

static void add_type(struct machine *m, uint32_t no, const struct pause_record *record)
{
    if (m->paused_count == m->paused_cap) {
        m->paused_cap = m->paused_cap ? m->paused_cap * 2 : 8;
        m->paused = mq_realloc(m->paused, m->paused_cap * sizeof *m->paused);
    }
    struct paused_type *paused = &m->paused[m->paused_count++];
    *paused = (struct paused_type){
        .no = no, .ended = record->ended, .until = record->until, .type_len = (uint8_t)record->type.len};
    memcpy(paused->type, record->type.at, record->type.len);
}

/* A record that cannot be read pauses nothing; what it held is found by fsck, and by the check (check.c). */
static void load(struct machine *m)
{
    struct slice found, value;
    struct key key;
    if (!m->paused_stale)
        return;
    m->paused_count = 0;
    m->paused_stale = false;
    key_of_no(&key, 0);
    for (bool more = txn_seek(m, DB_PAUSES, &key, &found, &value); more;
         more = txn_next(m, DB_PAUSES, &found, &value)) {
        struct pause_record record;
        if (found.len == 4 && pause_decode(&record, value, NULL) == MQ_OK)
            add_type(m, be32_get(found.at), &record);
    }
}

static struct paused_type *find_type(struct machine *m, struct slice type)
{
    load(m);
    for (unsigned i = 0; i < m->paused_count; i++)
        if (slice_equal((struct slice){m->paused[i].type, m->paused[i].type_len}, type))
            return &m->paused[i];
    return NULL;
}

bool pause_any(struct machine *m)
{
    load(m);
    return m->paused_count > 0;
}

const struct paused_type *pause_of_type(struct machine *m, struct slice type, wall_ms now)
{
    const struct paused_type *paused = find_type(m, type);
    return paused && !paused->ended && paused->until > now ? paused : NULL;
}

wall_ms pause_next(struct machine *m)
{
    wall_ms next = WALL_NEVER;
    if (!m->next_pause_stale)
        return m->next_pause;
    for (uint32_t no = 0; no < m->by_no_size; no++)
        if (m->by_no[no] && m->by_no[no]->body.paused && m->by_no[no]->body.pause.until < next)
            next = m->by_no[no]->body.pause.until;
    load(m);
    for (unsigned i = 0; i < m->paused_count; i++) {
        wall_ms at = m->paused[i].ended ? 0 : m->paused[i].until;
        next = at < next ? at : next;
    }
    m->next_pause = next;
    m->next_pause_stale = false;
    return next;
}

/* ---- holding ---- */

void pause_hold(struct machine *m, struct job *job, uint32_t pause_no)
{
    job_leave(m, job);
    job->status.held_no = pause_no;
    job->status.parked = false; /* who gets it when it is let go finds out anew whether it has a handler */
    job_enter(m, job);
}

static void let_go(struct machine *m, const struct place *place)
{
    struct job job;
    enum mq_code code = job_find(m, &job, place->id, NULL);
    if (code == MQ_OK && (job.status.state != JOB_READY || job.status.held_no != be32_get(place->key.at)))
        code = MQ_NOTFOUND;
    if (code == MQ_NOTFOUND)
        quarantine_entry(m, DB_HELD, &place->key, "its job is not held by this pause");
    if (code != MQ_OK)
        return;
    job_leave(m, &job);
    job.status.held_no = 0;
    job_enter(m, &job);
}

/* Lets go of up to *left jobs, and counts them down; true if that were all. */
static bool let_go_some(struct machine *m, uint32_t no, unsigned *left)
{
    struct slice found;
    struct key key;
    places_clear(m);
    key_of_held(&key, no, 0);
    bool more = txn_seek(m, DB_HELD, &key, &found, NULL);
    while (more && m->place_count < *left && found.len == HELD_KEY_BYTES && be32_get(found.at) == no) {
        struct place *place = places_add(m);
        place->key.len = found.len;
        memcpy(place->key.at, found.at, found.len);
        place->id = key_id(DB_HELD, found);
        more = txn_next(m, DB_HELD, &found, NULL);
    }
    bool all = !more || found.len != HELD_KEY_BYTES || be32_get(found.at) != no;
    for (unsigned i = 0; i < m->place_count; i++)
        let_go(m, &m->places[i]);
    *left -= m->place_count;
    return all;
}

/* ---- STORE_TYPE ---- */

static uint32_t next_no(struct machine *m)
{
    load(m); /* in the order of their numbers */
    return m->paused_count ? m->paused[m->paused_count - 1].no + 1 : 1;
}

static enum mq_code resume(struct machine *m, const struct op_type *op, struct store_op *head)
{
    struct paused_type *paused = find_type(m, op->type);
    if (!paused || paused->ended)
        return mq_fail(&head->err, MQ_NOTFOUND, "job type '%.*s' is not paused", SLICE_ARG(op->type));
    write_record(m, paused->no,
                 &(struct pause_record){.ended = true,
                                        .type = op->type,
                                        .reason = SLICE_EMPTY,
                                        .by = SLICE_EMPTY,
                                        .since = head->now,
                                        .until = head->now});
    return MQ_OK;
}

/* A record of an earlier pause that still holds jobs is used again: they stay where they are. */
static enum mq_code pause_type(struct machine *m, const struct op_type *op, struct store_op *head)
{
    struct paused_type *paused = find_type(m, op->type);
    struct pause_record record, old;
    struct slice bytes;
    struct key key;
    enum mq_code code = pause_check(op->reason, op->by, &head->err);
    if (code == MQ_OK && (op->type.len == 0 || op->type.len > NAME_STORED_BYTES))
        code = mq_fail(&head->err, MQ_BADARG, "a job type has 1 to %d bytes", NAME_STORED_BYTES);
    if (code == MQ_OK && !paused && m->paused_count == TYPES_PAUSED_MAX)
        code = mq_fail(&head->err, MQ_FULL,
                       "%d job types are paused, which is the most (pause queues instead)", TYPES_PAUSED_MAX);
    if (code != MQ_OK)
        return code;
    uint32_t no = paused ? paused->no : next_no(m);
    key_of_no(&key, no);
    record = (struct pause_record){.type = op->type,
                                   .reason = op->reason,
                                   .by = op->by,
                                   .since = head->now,
                                   .until = op->until ? op->until : WALL_NEVER};
    if (paused && !paused->ended && txn_find(m, DB_PAUSES, &key, &bytes) &&
        pause_decode(&old, bytes, NULL) == MQ_OK)
        record.since = old.since;
    write_record(m, no, &record);
    return MQ_OK;
}

void type_run(struct machine *m, struct store_op *head)
{
    const struct op_type *op = (const struct op_type *)head;
    head->code = op->resume ? resume(m, op, head) : pause_type(m, op, head);
}

/* ---- SWEEP_PAUSES ---- */

static void tell_ended(struct machine *m, struct op_sweep *op, bool is_type, struct slice name)
{
    buf_u8(&m->names, is_type);
    buf_u8(&m->names, (uint8_t)name.len);
    buf_add_slice(&m->names, name);
    op->ended_count++;
}

static bool end_queues(struct machine *m, struct op_sweep *op, unsigned *left)
{
    for (uint32_t no = 0; no < m->by_no_size; no++) {
        struct queue *queue = m->by_no[no];
        if (!queue || !queue->body.paused || queue->body.pause.until > op->op.now)
            continue;
        if (*left == 0)
            return false;
        queue_touch(m, queue);
        queue->body.paused = false;
        queue->body.pause = (struct pause){.until = WALL_NEVER};
        pause_forget(m);
        tell_ended(m, op, false, queue_name(queue));
        --*left;
    }
    return true;
}

static bool end_type(struct machine *m, struct op_sweep *op, const struct paused_type *paused, unsigned *left)
{
    struct key key;
    struct slice type = {paused->type, paused->type_len};
    if (!paused->ended)
        tell_ended(m, op, true, type);
    bool all = let_go_some(m, paused->no, left);
    key_of_no(&key, paused->no);
    if (all) {
        txn_remove(m, DB_PAUSES, &key);
        pause_forget(m);
    } else if (!paused->ended) {
        write_record(m, paused->no,
                     &(struct pause_record){.ended = true,
                                            .type = type,
                                            .reason = SLICE_EMPTY,
                                            .by = SLICE_EMPTY,
                                            .since = op->op.now,
                                            .until = paused->until});
    }
    return all;
}

void pause_sweep(struct machine *m, struct op_sweep *op)
{
    unsigned left = op->limit;
    op->ended_count = 0;
    buf_clear(&m->names);
    op->more = !end_queues(m, op, &left);
    load(m);
    unsigned count =
        m->paused_count; /* the copy goes stale on the way, but is not read anew before the end */
    for (unsigned i = 0; i < count && !op->more; i++) {
        struct paused_type paused = m->paused[i];
        if (paused.ended || paused.until <= op->op.now)
            op->more = !end_type(m, op, &paused, &left);
    }
}
