/* cmd_push.c - PUSH. */
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"

/* Defaults may have changed between MULTI and EXEC, and delays count from EXEC: so it is filled in at the end. */
static enum mq_code fill(struct call *call, struct mq_err *err)
{
    struct push_call *push = CALL_OP(call, struct push_call);
    return dispatch_resolve(call->protocol->dispatch, &push->op, &push->order, call->now, err);
}

static void release(struct call *call)
{
    buf_release(&CALL_OP(call, struct push_call)->tags);
}

enum mq_code cmd_push(struct call *call, struct mq_err *err)
{
    struct push_call *push = CALL_OP(call, struct push_call);
    call->release = release;
    order_init(&push->order);
    push->order.type = call->args[0];
    push->order.payload = call->args[1];
    if (call->count % 2)
        return mq_fail(err, MQ_BADARG, "PUSH: '%.*s' has no value behind it",
                       QUOTE_ARG(call->args[call->count - 1]));
    for (unsigned i = 2; i < call->count; i += 2) {
        enum mq_code code = order_set(&push->order, call->args[i], call->args[i + 1], &push->tags, err);
        if (code != MQ_OK)
            return code;
    }
    store_op_init(&push->op.op, STORE_PUSH, call->now);
    call->op = &push->op.op;
    call->fill = fill;
    return MQ_OK;
}

void answer_push(struct call *call, struct reply *reply)
{
    reply_id(reply, CALL_OP(call, struct push_call)->op.id);
}
