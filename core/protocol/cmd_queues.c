/* cmd_queues.c - queues and workers: QUEUES, WORKERS, DRAIN, LIMIT. */
#include <stdio.h>

#include "job/name.h"
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"

/* ---- QUEUES ----------------------------------------------------------------------------------------------- */

static void add_count(struct reply *reply, const char *name, uint64_t count)
{
    reply_text(reply, name);
    reply_int(reply, (int64_t)count);
}

static void add_counts(struct reply *reply, const struct queue_counts *counts)
{
    for (enum job_state state = JOB_BLOCKED; state < JOB_STATES; state++)
        add_count(reply, state_name(state), counts->in_state[state]);
    add_count(reply, "pushed_total", counts->pushed);
    add_count(reply, "succeeded_total", counts->succeeded);
    add_count(reply, "failed_total", counts->failed);
    add_count(reply, "dead_total", counts->dead);
    add_count(reply, "cancelled_total", counts->cancelled);
    add_count(reply, "expired_total", counts->expired);
    add_count(reply, "lost_total", counts->lost);
    add_count(reply, "crashed_total", counts->crashed);
    add_count(reply, "held", counts->held);
}

static void add_queue(struct reply *reply, const struct queue_view *queue, wall_ms now)
{
    reply_map(reply, 8 + (JOB_STATES - 1) + 9 + 1);
    reply_bulk(reply, SLICE("name"));
    reply_bulk(reply, queue->name);
    reply_bulk(reply, SLICE("paused"));
    reply_bool(reply, queue->pause.on);
    reply_bulk(reply, SLICE("draining"));
    reply_bool(reply, queue->draining);
    reply_bulk(reply, SLICE("reason"));
    reply_maybe(reply, queue->pause.reason);
    reply_bulk(reply, SLICE("paused_by"));
    reply_maybe(reply, queue->pause.by);
    reply_bulk(reply, SLICE("paused_at"));
    reply_moment(reply, queue->pause.since);
    reply_bulk(reply, SLICE("paused_until"));
    reply_moment(reply, queue->pause.until);
    reply_bulk(reply, SLICE("limit"));
    if (queue->limit == QUEUE_UNLIMITED)
        reply_null(reply);
    else
        reply_int(reply, (int64_t)queue->limit);
    add_counts(reply, &queue->counts);
    reply_bulk(reply, SLICE("oldest_ready_age"));
    if (queue->oldest_ready == WALL_NEVER)
        reply_null(reply);
    else
        reply_int(reply, now > queue->oldest_ready ? now - queue->oldest_ready : 0);
}

enum mq_code cmd_queues(struct call *call, struct mq_err *err)
{
    struct queues_call *queues = CALL_OP(call, struct queues_call);
    queues->name = call->count ? call->args[0] : SLICE_EMPTY;
    if (call->count && name_check("queue", queues->name, err) != MQ_OK)
        return err->code;
    store_op_init(&queues->op.op, STORE_QUEUES, call->now);
    call->op = &queues->op.op;
    return MQ_OK;
}

void answer_queues(struct call *call, struct reply *reply)
{
    const struct queues_call *queues = CALL_OP(call, struct queues_call);
    const struct op_queues *op = &queues->op;
    char text[NAME_MAX_BYTES + 64];
    if (!queues->name.len) {
        reply_array(reply, op->count);
        for (unsigned i = 0; i < op->count; i++)
            add_queue(reply, &op->queues[i], call->now);
        return;
    }
    for (unsigned i = 0; i < op->count; i++)
        if (slice_equal(op->queues[i].name, queues->name)) {
            reply_array(reply, 1);
            add_queue(reply, &op->queues[i], call->now);
            return;
        }
    snprintf(text, sizeof text, "there is no queue '%.*s' (a queue begins with its first push)",
             SLICE_ARG(queues->name));
    reply_error(reply, "NOTFOUND", text);
}

/* ---- WORKERS ---------------------------------------------------------------------------------------------- */

static void add_worker(struct reply *reply, const struct worker_view *worker)
{
    reply_map(reply, 15);
    reply_bulk(reply, SLICE("name"));
    reply_bulk(reply, worker->name);
    reply_bulk(reply, SLICE("pool"));
    reply_bulk(reply, worker->pool);
    reply_bulk(reply, SLICE("pid"));
    reply_int(reply, worker->pid);
    reply_bulk(reply, SLICE("state"));
    reply_text(reply, worker->state);
    add_count(reply, "slots", worker->slots);
    add_count(reply, "running", worker->running);
    add_count(reply, "given", worker->given);
    reply_bulk(reply, SLICE("on_cpu"));
    if (worker->on_cpu)
        reply_id(reply, worker->on_cpu);
    else
        reply_null(reply);
    add_count(reply, "started", worker->started);
    add_count(reply, "done", worker->done);
    add_count(reply, "failed", worker->failed);
    reply_bulk(reply, SLICE("started_at"));
    reply_moment(reply, worker->started_at);
    reply_bulk(reply, SLICE("silent"));
    reply_int(reply, worker->silent_ms);
    add_count(reply, "memory", worker->memory);
    reply_bulk(reply, SLICE("scripts"));
    reply_hash(reply, worker->scripts);
}

enum mq_code cmd_workers(struct call *call, struct mq_err *err)
{
    struct dispatch *d = call->protocol->dispatch;
    struct reply reply = call_reply(call);
    struct worker_view worker;
    unsigned count = 0;
    (void)err;
    while (dispatch_worker_view(d, count, &worker))
        count++;
    reply_array(&reply, count);
    for (unsigned i = 0; i < count && dispatch_worker_view(d, i, &worker); i++)
        add_worker(&reply, &worker);
    call_finish(call);
    return MQ_OK;
}

/* ---- DRAIN, LIMIT ----------------------------------------------------------------------------------------- */

enum mq_code queue_change(struct call *call, struct op_queue *op, int change, struct mq_err *err)
{
    enum mq_code code = name_check("queue", call->args[0], err);
    if (code != MQ_OK)
        return code;
    op->name = call->args[0];
    op->change = change;
    op->reason = op->by = SLICE_EMPTY;
    store_op_init(&op->op, STORE_QUEUE, call->now);
    call->op = &op->op;
    return MQ_OK;
}

enum mq_code cmd_drain(struct call *call, struct mq_err *err)
{
    return queue_change(call, CALL_OP(call, struct op_queue), QUEUE_DRAIN, err);
}

enum mq_code cmd_limit(struct call *call, struct mq_err *err)
{
    struct op_queue *op = CALL_OP(call, struct op_queue);
    int64_t limit = 0;
    enum mq_code code = queue_change(call, op, QUEUE_KEEP, err);
    if (code == MQ_OK)
        code = arg_int(&limit, "limit", call->args[1], 0, INT64_MAX, err);
    op->set_limit = true;
    op->limit = (uint64_t)limit;
    return code;
}
