#include "store/lmdb/machine.h"

#include "job/record.h"

/* A push that finds its key held makes no job, or one that waits. */
static enum mq_code meet(struct machine *m, const struct op_push *push, bool *adds, struct mq_err *err)
{
    struct unique_met met;
    const struct job_spec *spec = &push->spec;
    if (spec->unique_key.len > UNIQUE_MAX_BYTES || !spec->unique_states ||
        spec->unique_states & ~JOB_STATES_ALL || push->conflict >= UNIQUE_CONFLICTS)
        return mq_fail(err, MQ_BADARG, "a unique key has 1 to %d bytes, and blocks in some of the states",
                       UNIQUE_MAX_BYTES);
    unique_settle(m, push);
    enum mq_code code = unique_meet(m, push, &met, err);
    *adds = met.outcome == PUSH_ADDED || met.outcome == PUSH_BEHIND;
    return code;
}

enum mq_code push_check(struct machine *m, const struct op_push *push, uint64_t ahead, struct mq_err *err)
{
    struct slice name = push->spec.queue;
    bool adds = true;
    enum mq_code code = MQ_OK;
    if (m->no_space)
        return mq_fail(err, MQ_NOSPACE, "the disk is full: pushes are refused, acknowledgements still work");
    if (name.len == 0 || name.len > NAME_STORED_BYTES || push->spec.priority > PRIORITY_LAST)
        return mq_fail(err, MQ_BADARG, "a job needs a queue of 1 to %d bytes and a priority of 0 to %d",
                       NAME_STORED_BYTES, PRIORITY_LAST);
    if (push->spec.unique_key.len)
        code = meet(m, push, &adds, err);
    return code == MQ_OK && adds ? queue_refuses(m, queue_find(m, name), name, 1 + ahead, err) : code;
}

static void write_spec(struct machine *m, const struct op_push *push)
{
    struct key key;
    key_of_id(&key, push->id);
    char *at = txn_append(m, DB_JOBS, &key, record_spec_bytes(&push->spec));
    record_write_spec(at, &push->spec);
}

static struct job_status first_status(const struct op_push *push, const struct queue *queue)
{
    return (struct job_status){
        .state = push->state,
        .priority = push->spec.priority,
        .queue_no = queue->no,
        .since = push->op.now,
        .due_at = push->run_at > push->op.now ? push->run_at : 0,
        .expires_at = push->spec.expires_at,
        .progress = -1,
        .holder = SLICE_EMPTY,
        .note = SLICE_EMPTY,
    };
}

static struct queue *begin_job(struct machine *m, struct op_push *push, enum job_step step)
{
    push->spec.pushed_at = push->op.now;
    push->id = m->meta.last_id = id_next(m->meta.last_id, push->op.now);
    m->meta_changed = true;
    push->state = state_after(JOB_NONE, step);
    struct queue *queue = queue_ensure(m, push->spec.queue);
    queue_touch(m, queue);
    queue->body.counts.pushed++;
    return queue;
}

/* Not among the fresh: who pushes next may meet it by its key. */
static void apply_keyed(struct machine *m, struct op_push *push)
{
    struct unique_met met;
    struct mq_err err;
    bool later = push->run_at > push->op.now;
    if (unique_meet(m, push, &met, &err) != MQ_OK)
        mq_bug("a push was applied that is refused: %s", err.text);
    if (met.outcome != PUSH_ADDED && met.outcome != PUSH_BEHIND) {
        unique_divert(m, push, &met);
        return;
    }
    bool behind = met.outcome == PUSH_BEHIND;
    struct job job = {.queue = begin_job(m, push, behind ? STEP_BLOCK : later ? STEP_SCHEDULE : STEP_PUSH)};
    write_spec(m, push);
    job.id = push->id;
    job.status = first_status(push, job.queue);
    job.status.key_role = behind ? KEY_WAITS : KEY_FREE;
    job.status.key_states = push->spec.unique_states;
    push->outcome = met.outcome;
    push->holder = met.holder;
    if (behind)
        unique_line_up(m, push, &met);
    job_enter(m, &job);
}

void push_apply(struct machine *m, struct op_push *push)
{
    bool later = push->run_at > push->op.now;
    job_names(&push->op, &push->spec);
    if (push->spec.unique_key.len) {
        apply_keyed(m, push);
        return;
    }
    push->outcome = PUSH_ADDED;
    push->holder = JOB_ID_NONE;
    struct queue *queue = begin_job(m, push, later ? STEP_SCHEDULE : STEP_PUSH);
    struct job_status status = first_status(push, queue);
    fresh_add(m, push->id, queue, &push->spec, &status);
    queue_count(m, queue, push->state, +1);
}

enum mq_code push_one(struct machine *m, struct op_push *push, struct mq_err *err)
{
    enum mq_code code = push_check(m, push, 0, err);
    if (code == MQ_OK)
        push_apply(m, push);
    return code;
}

void push_run(struct machine *m, struct store_op *op)
{
    struct op_push *push = (struct op_push *)op;
    op->code = push_one(m, push, &op->err);
}
