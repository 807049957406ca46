/* cmd_step.c - one person's step on one job or many: CANCEL, RETRY, DELETE, PROMOTE, EDIT, PURGE, BULK. */
#include <stdio.h>

#include "job/name.h"
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"
#include "protocol/where.h"

#define STATE_BIT(state) (1u << (state))
#define STATES_WAITING                                                                                       \
    (STATE_BIT(JOB_BLOCKED) | STATE_BIT(JOB_SCHEDULED) | STATE_BIT(JOB_READY) | STATE_BIT(JOB_RETRYING))
#define REASON_MAX_BYTES 1024

/* ---- by id ------------------------------------------------------------------------------------------------ */

static enum mq_code run_one(struct call *call, enum store_verb step, struct mq_err *err)
{
    struct op_step *op = &CALL_OP(call, union step_call)->one;
    enum mq_code code = id_parse(&op->id, call->args[0], err);
    if (code != MQ_OK)
        return code;
    store_op_init(&op->op, step, call->now);
    op->payload = op->reason = SLICE_EMPTY;
    call->op = &op->op;
    return MQ_OK;
}

/* The one option that this command has. */
static enum mq_code only_option(struct call *call, const char *command, const char *name, struct slice *value,
                                struct mq_err *err)
{
    struct options options = options_of(command, name, call->args + 1, call->count - 1);
    while (options_next(&options)) {
        if (!options_is(&options, name))
            return options_unknown(&options, err);
        enum mq_code code = options_value(&options, err);
        if (code != MQ_OK)
            return code;
        *value = options.value;
    }
    return MQ_OK;
}

enum mq_code cmd_cancel(struct call *call, struct mq_err *err)
{
    struct op_step *op = &CALL_OP(call, union step_call)->one;
    if (where_is(call))
        return where_run(call, STORE_CANCEL, err);
    enum mq_code code = run_one(call, STORE_CANCEL, err);
    if (code == MQ_OK)
        code = only_option(call, "CANCEL", "REASON", &op->reason, err);
    if (code == MQ_OK)
        code = arg_reason(&op->reason, op->reason, REASON_MAX_BYTES, err);
    return code;
}

enum mq_code cmd_retry(struct call *call, struct mq_err *err)
{
    struct op_step *op = &CALL_OP(call, union step_call)->one;
    if (where_is(call))
        return where_run(call, STORE_RETRY, err);
    enum mq_code code = run_one(call, STORE_RETRY, err);
    if (code == MQ_OK)
        code = only_option(call, "RETRY", "PAYLOAD", &op->payload, err);
    if (code == MQ_OK)
        code = dispatch_check_payload(call->protocol->dispatch, op->payload, err);
    op->edit = call->count > 1;
    return code;
}

enum mq_code cmd_delete(struct call *call, struct mq_err *err)
{
    if (where_is(call))
        return where_run(call, STORE_DELETE, err);
    if (call->count > 1)
        return mq_fail(err, MQ_BADARG, "DELETE takes one id, or WHERE and a filter");
    return run_one(call, STORE_DELETE, err);
}

enum mq_code cmd_promote(struct call *call, struct mq_err *err)
{
    if (where_is(call))
        return where_run(call, STORE_PROMOTE, err);
    if (call->count > 1)
        return mq_fail(err, MQ_BADARG, "PROMOTE takes one id, or WHERE and a filter");
    return run_one(call, STORE_PROMOTE, err);
}

enum mq_code cmd_reschedule(struct call *call, struct mq_err *err)
{
    struct op_step *op = &CALL_OP(call, union step_call)->one;
    enum mq_code code = run_one(call, STORE_RESCHEDULE, err);
    return code == MQ_OK ? time_parse(&op->run_at, call->args[1], err) : code;
}

enum mq_code cmd_edit(struct call *call, struct mq_err *err)
{
    struct op_step *op = &CALL_OP(call, union step_call)->one;
    enum mq_code code = run_one(call, STORE_EDIT, err);
    op->payload = call->args[1];
    op->edit = true;
    return code == MQ_OK ? dispatch_check_payload(call->protocol->dispatch, op->payload, err) : code;
}

void answer_step(struct call *call, struct reply *reply)
{
    const struct op_step *op = &CALL_OP(call, union step_call)->one;
    bool cancel = op->op.verb == STORE_CANCEL;
    reply_map(reply, cancel ? 4 : 3);
    reply_bulk(reply, SLICE("id"));
    reply_id(reply, op->id);
    reply_bulk(reply, SLICE("was"));
    reply_text(reply, state_name(op->was));
    reply_bulk(reply, SLICE("state"));
    if (op->state == JOB_NONE)
        reply_null(reply);
    else
        reply_text(reply, state_name(op->state));
    if (cancel) {
        reply_bulk(reply, SLICE("signalled"));
        reply_bool(reply, op->signalled);
    }
}

/* ---- PURGE, BULK ------------------------------------------------------------------------------------------ */

enum mq_code cmd_purge(struct call *call, struct mq_err *err)
{
    struct job_filter *filter = &CALL_OP(call, union step_call)->bulk.filter;
    enum mq_code code = name_check("queue", call->args[0], err);
    if (code != MQ_OK)
        return code;
    filter->queue = call->args[0];
    filter->states = STATES_WAITING;
    where_start(call, STORE_DELETE);
    return MQ_OK;
}

static const char *step_of(enum store_verb step)
{
    switch (step) {
    case STORE_CANCEL:
        return "cancel";
    case STORE_RETRY:
        return "retry";
    case STORE_DELETE:
        return "delete";
    case STORE_TAKE_BACK:
        return "release";
    default:
        return "promote";
    }
}

enum mq_code cmd_bulk_list(struct call *call, struct mq_err *err)
{
    struct dispatch *d = call->protocol->dispatch;
    struct reply reply = call_reply(call);
    unsigned count = 0;
    (void)err;
    for (const struct bulk *bulk = dispatch_bulk_next(d, NULL); bulk; bulk = dispatch_bulk_next(d, bulk))
        count++;
    reply_array(&reply, count);
    for (const struct bulk *bulk = dispatch_bulk_next(d, NULL); bulk; bulk = dispatch_bulk_next(d, bulk)) {
        reply_map(&reply, 5);
        reply_bulk(&reply, SLICE("bulk"));
        reply_int(&reply, (int64_t)bulk->no);
        reply_bulk(&reply, SLICE("step"));
        reply_text(&reply, step_of(bulk->step));
        reply_bulk(&reply, SLICE("touched"));
        reply_int(&reply, (int64_t)bulk->touched);
        reply_bulk(&reply, SLICE("looked_at"));
        reply_int(&reply, (int64_t)bulk->looked_at);
        reply_bulk(&reply, SLICE("stopped"));
        reply_bool(&reply, bulk->stopped);
    }
    call_finish(call);
    return MQ_OK;
}

enum mq_code cmd_bulk_stop(struct call *call, struct mq_err *err)
{
    int64_t no = 0;
    enum mq_code code = arg_int(&no, "bulk number", call->args[0], 1, INT64_MAX, err);
    if (code != MQ_OK)
        return code;
    if (!dispatch_bulk_stop(call->protocol->dispatch, (uint64_t)no))
        return mq_fail(err, MQ_NOTFOUND, "there is no bulk step %lld under way (BULK LIST shows them)",
                       (long long)no);
    struct reply reply = call_reply(call);
    reply_ok(&reply);
    call_finish(call);
    return MQ_OK;
}
