#include "store/lmdb/machine.h"

#include "job/record.h"

enum mq_code push_check(struct machine *m, const struct op_push *push, uint64_t ahead, struct mq_err *err)
{
    struct slice name = push->spec.queue;
    if (m->no_space)
        return mq_fail(err, MQ_NOSPACE, "the disk is full: pushes are refused, acknowledgements still work");
    if (name.len == 0 || name.len > NAME_STORED_BYTES || push->spec.priority > PRIORITY_LAST)
        return mq_fail(err, MQ_BADARG, "a job needs a queue of 1 to %d bytes and a priority of 0 to %d",
                       NAME_STORED_BYTES, PRIORITY_LAST);
    return queue_refuses(m, queue_find(m, name), name, 1 + ahead, err);
}

static void write_spec(struct machine *m, const struct op_push *push)
{
    struct key key;
    key_of_id(&key, push->id);
    char *at = txn_append(m, DB_JOBS, &key, record_spec_bytes(&push->spec));
    record_write_spec(at, &push->spec);
}

void push_apply(struct machine *m, struct op_push *push)
{
    wall_ms now = push->op.now;
    bool later = push->run_at > now;
    push->spec.pushed_at = now;
    push->id = m->meta.last_id = id_next(m->meta.last_id, now);
    m->meta_changed = true;
    push->state = state_after(JOB_NONE, later ? STEP_SCHEDULE : STEP_PUSH);
    write_spec(m, push);

    struct queue *queue = queue_ensure(m, push->spec.queue);
    struct fresh *fresh = fresh_add(m);
    fresh->id = push->id;
    fresh->queue = queue;
    fresh->spec = &push->spec;
    fresh->status = (struct job_status){
        .state = push->state,
        .priority = push->spec.priority,
        .queue_no = queue->no,
        .since = now,
        .due_at = later ? push->run_at : 0,
        .expires_at = push->spec.expires_at,
        .progress = -1,
        .holder = SLICE_EMPTY,
        .note = SLICE_EMPTY,
    };
    if (!later)
        fresh_offer(m, fresh);
    queue_count(m, queue, push->state, +1);
    queue->body.counts.pushed++;
}

void push_run(struct machine *m, struct store_op *op)
{
    struct op_push *push = (struct op_push *)op;
    op->code = push_check(m, push, 0, &op->err);
    if (op->code != MQ_OK)
        return;
    push_apply(m, push);
    job_names(op, &push->spec);
}
