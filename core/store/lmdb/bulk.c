/*
 * Steps on many jobs, in chunks. The places of an index are gathered before any of them is changed: a step moves
 * jobs from index to index, and a walk over what one is changing meets jobs twice or not at all.
 */
#include "store/lmdb/machine.h"

#include "store/lmdb/walk.h"
#include "job/record.h"
#include "base/alloc.h"

void places_clear(struct machine *m)
{
    m->place_count = 0;
}

struct place *places_add(struct machine *m)
{
    if (m->place_count == m->place_cap) {
        m->place_cap = m->place_cap ? m->place_cap * 2 : 256;
        m->places = mq_realloc(m->places, m->place_cap * sizeof *m->places);
    }
    return &m->places[m->place_count++];
}

/* ---- STORE_MANY ---- */

static bool gather(struct machine *m, struct walk *walk, unsigned limit)
{
    MDB_cursor *cursors[WALK_LEGS];
    for (unsigned i = 0; i < walk->leg_count; i++)
        cursors[i] = txn_cursor(m, walk->legs[i]);
    places_clear(m);
    for (unsigned i = 0; i < limit; i++) {
        job_id id;
        int rc = walk_next(walk, cursors, &id);
        if (rc == MDB_NOTFOUND)
            return true;
        if (rc)
            txn_fail(m, rc);
        if (id != JOB_ID_NONE)
            places_add(m)->id = id;
    }
    return false;
}

/* Steps that bring a job to its end: what was there must go, whatever state it came into meanwhile. */
static bool ends(enum store_verb step)
{
    return step == STORE_CANCEL || step == STORE_DELETE;
}

static bool fits(struct machine *m, const struct op_many *op, uint32_t queue_no, const struct job *job)
{
    struct job_spec spec;
    bool by_push = ends(op->step);
    if (!filter_fits_status(&op->filter, queue_no, &job->status))
        return false;
    if (!by_push && job->status.since >= op->since)
        return false; /* by this very step, it may be */
    if (!by_push && !filter_needs_spec(&op->filter))
        return true;
    return job_spec(m, job, &spec, NULL) == MQ_OK && (!by_push || spec.pushed_at < op->since) &&
           filter_fits_spec(&op->filter, &spec);
}

/* What was done to each is gathered as triples first, then told apart: no array moves into another. */
struct touch {
    uint64_t id, holds, state;
};

/*
 * Answers go behind each other in op.memory: the ids, then the tokens, then the states, then the cursor, then the names.
 */
static void answer_many(struct machine *m, struct op_many *op, const struct walk *walk, struct slice names)
{
    struct buf *memory = &op->op.memory;
    const struct touch *touches = (const struct touch *)buf_bytes(&m->touches).at;
    unsigned count = op->touched_count;
    char *at = buf_room(memory, count * (2 * sizeof(uint64_t) + 1) + 1);
    for (unsigned i = 0; i < count; i++) {
        ((uint64_t *)at)[i] = touches[i].id;
        ((uint64_t *)at)[count + i] = touches[i].holds;
        at[2 * count * sizeof(uint64_t) + i] = (char)touches[i].state;
    }
    buf_grew(memory, count * (2 * sizeof(uint64_t) + 1));
    size_t start = buf_len(memory), len = op->finished ? 0 : walk_save(walk, memory);
    buf_add_slice(memory, names);
    const char *base = buf_bytes(memory).at;
    op->touched = (job_id *)base;
    op->holds = (uint64_t *)base + count;
    op->states = (uint8_t *)((uint64_t *)base + 2 * count);
    op->next_cursor = (struct slice){base + start, len};
    op->names = (struct slice){base + start + len, names.len};
}

/* The names are read before the step: it may delete the job. */
static bool step_one(struct machine *m, const struct op_many *op, struct job *job, struct op_step *step)
{
    struct job_spec spec;
    size_t before = buf_len(&m->names);
    if (op->op.want_names && job_spec(m, job, &spec, NULL) != MQ_OK)
        return false; /* it is in quarantine now */
    if (op->op.want_names)
        job_names_add(m, &op->op, &spec);
    if (step_job(m, job, step) == MQ_OK)
        return true;
    m->names.end = m->names.start + before;
    return false;
}

static void touch_places(struct machine *m, struct op_many *op, uint32_t queue_no)
{
    buf_clear(&m->touches);
    for (unsigned i = 0; i < m->place_count; i++) {
        struct op_step step = {.id = m->places[i].id, .reason = op->reason};
        struct job job;
        op->looked_at++;
        store_op_init(&step.op, op->step, op->op.now);
        if (job_find(m, &job, step.id, NULL) != MQ_OK || !fits(m, op, queue_no, &job) ||
            !step_one(m, op, &job, &step))
            continue;
        buf_add(&m->touches, &(struct touch){step.id, step.holds, step.state}, sizeof(struct touch));
        op->touched_count++;
    }
}

void many_run(struct machine *m, struct store_op *head)
{
    struct op_many *op = (struct op_many *)head;
    struct walk walk;
    op->looked_at = op->touched_count = 0;
    op->finished = false;
    op->next_cursor = SLICE_EMPTY;
    buf_clear(&m->names);
    bool known = op->step == STORE_CANCEL || op->step == STORE_RETRY || op->step == STORE_DELETE ||
                 op->step == STORE_PROMOTE || op->step == STORE_TAKE_BACK;
    if (!known) {
        head->code =
            mq_fail(&head->err, MQ_BADARG, "a bulk step is CANCEL, RETRY, DELETE, PROMOTE or TAKE_BACK");
        return;
    }
    struct queue *queue = op->filter.queue.len ? queue_find(m, op->filter.queue) : NULL;
    uint32_t queue_no = queue ? queue->no : 0;
    walk_init(&walk, &op->filter, queue_no, false);
    head->code = walk_resume(&walk, op->cursor, &head->err);
    if (head->code != MQ_OK)
        return;
    fresh_settle(m);
    op->finished = gather(m, &walk, op->limit);
    touch_places(m, op, queue_no);
    answer_many(m, op, &walk, buf_bytes(&m->names));
}

/* ---- STORE_UNPARK ---- */

/* Where the parked index goes on. The job asked for may be gone or parked no more; its key still is a place. */
static void start_of(struct machine *m, struct op_unpark *op, struct key *key)
{
    struct job job;
    key_of_ready(key, 0, 0, 0);
    if (op->from != JOB_ID_NONE && job_find(m, &job, op->from, NULL) == MQ_OK)
        key_of_ready(key, job.status.queue_no, job.status.priority, op->from);
}

static bool wants_type(const struct op_unpark *op, struct slice type)
{
    for (unsigned i = 0; i < op->type_count; i++)
        if (slice_equal(op->types[i], type))
            return true;
    return op->type_count == 0;
}

static void unpark(struct machine *m, struct op_unpark *op, const struct place *place)
{
    struct job job;
    struct job_spec spec;
    enum mq_code code = job_find(m, &job, place->id, NULL);
    if (code == MQ_OK && (job.status.state != JOB_READY || !job.status.parked))
        code = MQ_NOTFOUND;
    if (code == MQ_NOTFOUND)
        quarantine_entry(m, DB_PARKED, &place->key, "its job is not parked");
    if (code != MQ_OK || job_spec(m, &job, &spec, NULL) != MQ_OK || !wants_type(op, spec.type))
        return;
    job_leave(m, &job);
    job.status.parked = false;
    job_enter(m, &job);
    op->count++;
}

void unpark_run(struct machine *m, struct store_op *head)
{
    struct op_unpark *op = (struct op_unpark *)head;
    struct key key;
    struct slice found;
    op->count = 0;
    op->next = JOB_ID_NONE;
    fresh_settle(m);
    start_of(m, op, &key);
    places_clear(m);
    for (bool more = txn_seek(m, DB_PARKED, &key, &found, NULL); more;
         more = txn_next(m, DB_PARKED, &found, NULL)) {
        if (m->place_count == op->limit) {
            op->next = key_id(DB_PARKED, found);
            break;
        }
        struct place *place = places_add(m);
        place->key.len = found.len > KEY_MAX_BYTES ? KEY_MAX_BYTES : found.len;
        memcpy(place->key.at, found.at, place->key.len);
        place->id = key_id(DB_PARKED, found);
    }
    for (unsigned i = 0; i < m->place_count; i++)
        unpark(m, op, &m->places[i]);
}

/* ---- STORE_RECOVER ---- */

static bool is_suspect(const struct op_recover *op, job_id id)
{
    for (unsigned i = 0; i < op->suspect_count; i++)
        if (op->suspects[i] == id)
            return true;
    return false;
}

static void recover(struct machine *m, struct op_recover *op, job_id id)
{
    struct job job;
    struct job_spec spec;
    if (job_find(m, &job, id, NULL) != MQ_OK || job.status.state != JOB_RUNNING ||
        job_spec(m, &job, &spec, NULL) != MQ_OK)
        return;
    bool charge = is_suspect(op, id);
    struct attempt_words words = {.message = charge ? op->message : SLICE("the server ended")};
    enum job_state state = release_job(m, &job, &spec, charge ? RELEASE_CRASHED : RELEASE_GIVE_BACK,
                                       op->run_at, words, op->op.now);
    op->given_back += !charge;
    op->charged += charge;
    op->dead += state == JOB_DEAD;
}

/* Gathers what workers held; answers whether more of it is left. Leases of clients stay. */
static bool gather_held(struct machine *m, unsigned limit)
{
    struct slice found;
    places_clear(m);
    for (bool more = txn_first(m, DB_LEASES, &found); more; more = txn_next(m, DB_LEASES, &found, NULL)) {
        struct key key;
        struct slice bytes;
        struct job_status status;
        job_id id = key_id(DB_LEASES, found);
        key_of_id(&key, id);
        bool held = txn_find(m, DB_STATES, &key, &bytes) &&
                    record_read_status(&status, bytes, NULL) == MQ_OK && status.held_by_worker;
        if (!held)
            continue;
        if (m->place_count == limit)
            return true;
        places_add(m)->id = id;
    }
    return false;
}

void recover_run(struct machine *m, struct store_op *head)
{
    struct op_recover *op = (struct op_recover *)head;
    op->given_back = op->charged = op->dead = 0;
    fresh_settle(m);
    op->more = gather_held(m, op->limit);
    for (unsigned i = 0; i < m->place_count; i++)
        recover(m, op, m->places[i].id);
}
