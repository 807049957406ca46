/* What time does: due, expired, lost, old, dead for long. Chunks; each kind reads the front of its index. */
#include "store/lmdb/machine.h"

#include "base/alloc.h"

/* One swept job; answers whether it counts as an answer. */
typedef bool sweep_one(struct machine *m, struct op_sweep *op, enum db db, const struct place *place,
                       struct swept *out);

static void gather(struct machine *m, struct op_sweep *op, enum db db, wall_ms until)
{
    struct slice found;
    for (bool more = txn_first(m, db, &found); more; more = txn_next(m, db, &found, NULL)) {
        if (found.len < MOMENT_KEY_BYTES || key_moment(found) > until)
            return;
        if (m->place_count == op->limit) {
            op->more = true;
            return;
        }
        struct place *place = places_add(m);
        place->key.len = found.len > KEY_MAX_BYTES ? KEY_MAX_BYTES : found.len;
        memcpy(place->key.at, found.at, place->key.len);
        place->id = key_id(db, found);
    }
}

/* The job behind an entry; an entry without one is removed, so that no sweep meets it for ever. */
static bool find(struct machine *m, struct op_sweep *op, enum db db, const struct place *place,
                 struct job *job, struct job_spec *spec, uint32_t states)
{
    enum mq_code code = job_find(m, job, place->id, NULL);
    if (code == MQ_NOTFOUND || (code == MQ_OK && !(states & 1u << job->status.state))) {
        quarantine_entry(m, db, &place->key, "its job is not in that state");
        return false;
    }
    (void)op;
    return code == MQ_OK && job_spec(m, job, spec, NULL) == MQ_OK;
}

/* Names are kept as offsets until all answers are there. */
static struct slice keep_name(struct op_sweep *op, struct slice name)
{
    size_t at = buf_len(&op->op.memory);
    if (!op->op.want_names)
        return SLICE_EMPTY;
    buf_add_slice(&op->op.memory, name);
    return (struct slice){(const char *)at, name.len};
}

static void fill(struct op_sweep *op, const struct job *job, const struct job_spec *spec, struct swept *out)
{
    out->id = job->id;
    out->was = job->status.state;
    out->attempt = job->status.attempt;
    out->token = job->status.token;
    out->type = keep_name(op, spec->type);
    out->queue = keep_name(op, spec->queue);
}

/* A unique key whose time is over. */
static void sweep_key(struct machine *m, const struct op_sweep *op, const struct place *place)
{
    struct job job;
    enum mq_code code = job_find(m, &job, place->id, NULL);
    if (code == MQ_OK && job.status.key_until == key_moment(key_bytes(&place->key)))
        unique_spend(m, &job, op->op.now);
    else if (code != MQ_INTERNAL)
        quarantine_entry(m, DB_DUE, &place->key, "its job does not hold a unique key until then");
}

static bool sweep_due(struct machine *m, struct op_sweep *op, enum db db, const struct place *place,
                      struct swept *out)
{
    struct job job;
    struct job_spec spec;
    if (place->key.at[DUE_KEY_BYTES - 1] == DUE_KEY) {
        sweep_key(m, op, place);
        return false;
    }
    bool expiry = place->key.at[DUE_KEY_BYTES - 1] == DUE_EXPIRE;
    uint32_t states = expiry ? 1u << JOB_BLOCKED | 1u << JOB_SCHEDULED | 1u << JOB_READY
                             : 1u << JOB_SCHEDULED | 1u << JOB_RETRYING;
    /* due and expired at once: the entry met first has settled it, the other is gone, and find says no */
    if (!find(m, op, db, place, &job, &spec, states))
        return false;
    fill(op, &job, &spec, out);
    if (expiry || (!job.status.started && job.status.expires_at <= op->op.now)) {
        job_finish(m, &job, STEP_EXPIRE, spec.keep_ms, op->op.now);
    } else {
        job_leave(m, &job);
        job_make_ready(&job, STEP_DUE, op->op.now, false);
        job_enter(m, &job);
    }
    out->state = job.status.state;
    return true;
}

/* Expiry spends the attempt: it was counted when it began. */
static bool sweep_lease(struct machine *m, struct op_sweep *op, enum db db, const struct place *place,
                        struct swept *out)
{
    struct job job;
    struct job_spec spec;
    if (!find(m, op, db, place, &job, &spec, 1u << JOB_RUNNING))
        return false;
    fill(op, &job, &spec, out);
    int64_t keep_ms = spec.keep_ms;
    uint16_t max_attempts = spec.max_attempts;
    queue_touch(m, job.queue);
    job.queue->body.counts.lost++;
    struct attempt_words words = {.code = SLICE("LOST"), .message = SLICE("the lease ran out")};
    job_record_attempt(m, &job, STEP_LOST, &words, op->op.now);
    if (job.status.cancelling) {
        job_finish(m, &job, STEP_CANCEL, keep_ms, op->op.now);
    } else if (job.status.attempt >= max_attempts) {
        job_bury(m, &job, op->op.now);
    } else {
        job_leave(m, &job);
        job_make_ready(&job, STEP_LOST, op->op.now, false);
        job_enter(m, &job);
    }
    out->state = job.status.state;
    return true;
}

static void keep_answer(struct machine *m, struct op_sweep *op, const struct swept *swept)
{
    buf_add(&m->swept, swept, sizeof *swept);
    op->count++;
}

static void run_all(struct machine *m, struct op_sweep *op, enum db db, sweep_one *one)
{
    for (unsigned i = 0; i < m->place_count; i++) {
        struct swept swept = {.type = SLICE_EMPTY, .queue = SLICE_EMPTY};
        struct place place = m->places[i];
        if (one(m, op, db, &place, &swept))
            keep_answer(m, op, &swept);
    }
}

static wall_ms first_moment(struct machine *m, enum db db)
{
    struct slice found;
    return txn_first(m, db, &found) && found.len >= MOMENT_KEY_BYTES ? key_moment(found) : WALL_NEVER;
}

/* ---- too old, or too many ---- */

static bool erase_old(struct machine *m, struct op_sweep *op, enum db db, const struct place *place,
                      uint32_t states, struct swept *out)
{
    struct job job;
    struct job_spec spec;
    if (!find(m, op, db, place, &job, &spec, states))
        return false;
    fill(op, &job, &spec, out);
    job_leave(m, &job);
    unique_drop(m, &job, op->op.now);
    job_erase(m, job.id);
    out->state = JOB_NONE;
    return true;
}

/* Those past their keep; while there are too many, the next ones too. */
static void sweep_finished(struct machine *m, struct op_sweep *op)
{
    wall_ms now = op->op.now;
    gather(m, op, DB_FINISHED, kept_finished_over(m) ? WALL_NEVER : now);
    for (unsigned i = 0; i < m->place_count; i++) {
        struct swept swept = {.type = SLICE_EMPTY, .queue = SLICE_EMPTY};
        struct place place = m->places[i];
        bool early = key_moment(key_bytes(&place.key)) > now;
        if (early && !kept_finished_over(m))
            break;
        if (erase_old(m, op, DB_FINISHED, &place,
                      1u << JOB_SUCCEEDED | 1u << JOB_CANCELLED | 1u << JOB_EXPIRED, &swept)) {
            keep_answer(m, op, &swept);
            op->evicted += early;
        }
    }
    op->more = first_moment(m, DB_FINISHED) <= now || kept_finished_over(m);
}

static wall_ms dead_until(const struct machine *m, wall_ms died_at)
{
    bool ever = m->rules.dead_keep_ms <= 0 || died_at > WALL_NEVER - m->rules.dead_keep_ms;
    return ever ? WALL_NEVER : died_at + m->rules.dead_keep_ms;
}

/* The first look: which must go. Nothing is changed, but what cannot be read is moved aside. */
static void name_dead(struct machine *m, struct op_sweep *op)
{
    uint64_t bytes = 0;
    gather(m, op, DB_DEAD, WALL_NEVER);
    op->more = false;
    for (unsigned i = 0; i < m->place_count; i++) {
        struct swept swept = {.type = SLICE_EMPTY, .queue = SLICE_EMPTY};
        struct place place = m->places[i];
        struct job job;
        struct job_spec spec;
        if (dead_until(m, key_moment(key_bytes(&place.key))) > op->op.now &&
            !kept_dead_over_without(m, op->count, bytes))
            break;
        if (!find(m, op, DB_DEAD, &place, &job, &spec, 1u << JOB_DEAD))
            continue;
        fill(op, &job, &spec, &swept);
        swept.state = JOB_DEAD;
        bytes += kept_bytes_of(m, job.id);
        keep_answer(m, op, &swept);
    }
}

/* The second: each is looked at again, for much may have happened since. */
static void erase_dead(struct machine *m, struct op_sweep *op)
{
    for (unsigned i = 0; i < op->letter_count; i++) {
        struct swept swept = {.type = SLICE_EMPTY, .queue = SLICE_EMPTY};
        struct place place = {.id = op->letters[i].id};
        struct job job;
        if (job_find(m, &job, place.id, NULL) != MQ_OK || job.status.state != JOB_DEAD ||
            job.status.token != op->letters[i].token)
            continue;
        if (dead_until(m, job.status.since) > op->op.now && !kept_dead_over(m))
            continue;
        key_of_moment(&place.key, job.status.since, job.id);
        if (erase_old(m, op, DB_DEAD, &place, 1u << JOB_DEAD, &swept))
            keep_answer(m, op, &swept);
    }
    op->more = dead_until(m, first_moment(m, DB_DEAD)) <= op->op.now || kept_dead_over(m);
}

static void finish_answer(struct machine *m, struct op_sweep *op)
{
    struct buf *memory = &op->op.memory;
    size_t pad = (16 - buf_len(memory) % 16) % 16, len = op->count * sizeof(struct swept);
    char *at = buf_room(memory, pad + len) + pad;
    const char *base = buf_bytes(memory).at;
    if (len)
        memcpy(at, buf_bytes(&m->swept).at, len);
    buf_grew(memory, pad + len);
    op->swept = (struct swept *)at;
    for (unsigned i = 0; op->op.want_names && i < op->count; i++) {
        op->swept[i].type.at = base + (size_t)op->swept[i].type.at;
        op->swept[i].queue.at = base + (size_t)op->swept[i].queue.at;
    }
}

/* The rows and, behind them, the names that pause_sweep gathered: for each a kind, a length, and the bytes. */
static void finish_ended(struct machine *m, struct op_sweep *op)
{
    struct buf *memory = &op->op.memory;
    struct slice names = buf_bytes(&m->names);
    if (!op->ended_count)
        return; /* and the rows of jobs, which are in this memory too, do not move */
    size_t pad = (16 - buf_len(memory) % 16) % 16, len = op->ended_count * sizeof *op->ended;
    char *at = buf_room(memory, pad + len + names.len) + pad;
    memcpy(at + len, names.at, names.len);
    buf_grew(memory, pad + len + names.len);
    op->ended = (struct ended_pause *)(void *)at;
    const char *name = at + len;
    for (unsigned i = 0; i < op->ended_count; i++) {
        op->ended[i] = (struct ended_pause){name[0], {name + 2, (uint8_t)name[1]}};
        name += 2 + op->ended[i].name.len;
    }
}

void sweep_run(struct machine *m, struct store_op *head)
{
    struct op_sweep *op = (struct op_sweep *)head;
    wall_ms now = head->now;
    op->count = op->ended_count = op->evicted = 0;
    op->ended = NULL;
    op->more = false;
    fresh_note(m); /* what waits for a time stands in its index then */
    if (op->what == SWEEP_LEASES && fresh_next_lease(m) <= now)
        fresh_settle(m);
    places_clear(m);
    buf_clear(&m->swept);
    switch (op->what) {
    case SWEEP_DUE:
        gather(m, op, DB_DUE, now);
        run_all(m, op, DB_DUE, sweep_due);
        break;
    case SWEEP_LEASES:
        gather(m, op, DB_LEASES, now);
        run_all(m, op, DB_LEASES, sweep_lease);
        break;
    case SWEEP_PAUSES:
        pause_sweep(m, op);
        break;
    case SWEEP_OLD:
        sweep_finished(m, op);
        break;
    case SWEEP_DEAD:
        if (op->letter_count)
            erase_dead(m, op);
        else
            name_dead(m, op);
        break;
    case SWEEPS:
        break;
    }
    finish_answer(m, op);
    finish_ended(m, op);
}

void machine_next_times(struct machine *m, struct store_news *news)
{
    wall_ms told = first_moment(m, DB_LEASES), fresh = fresh_next_lease(m);
    news->next_due = first_moment(m, DB_DUE);
    news->next_lease = told < fresh ? told : fresh;
    news->next_old = kept_finished_over(m) ? 0 : first_moment(m, DB_FINISHED);
    news->next_pause = pause_next(m);
    news->next_dead = kept_dead_over(m) ? 0 : dead_until(m, first_moment(m, DB_DEAD));
    news->dead_percent = kept_dead_percent(m);
}
