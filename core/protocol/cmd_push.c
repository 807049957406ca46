/* cmd_push.c - PUSH, UNIQUE. */
#include "job/name.h"
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

static const char *const outcome_names[PUSH_OUTCOMES] = {
    [PUSH_ADDED] = "added",       [PUSH_BEHIND] = "behind",           [PUSH_SKIPPED] = "skipped",
    [PUSH_REPLACED] = "replaced", [PUSH_RESCHEDULED] = "rescheduled",
};

static void answer_push_map(struct call *call, struct reply *reply)
{
    const struct op_push *op = &CALL_OP(call, struct push_call)->op;
    reply_map(reply, 4);
    reply_bulk(reply, SLICE("id"));
    reply_id(reply, op->id);
    reply_bulk(reply, SLICE("outcome"));
    reply_text(reply, outcome_names[op->outcome]);
    reply_bulk(reply, SLICE("state"));
    reply_text(reply, state_name(op->state));
    reply_bulk(reply, SLICE("holder"));
    if (op->holder == JOB_ID_NONE)
        reply_null(reply);
    else
        reply_id(reply, op->holder);
}

/* What PUSH itself wants to know; anything else is the order's. */
static enum mq_code set_option(struct call *call, struct slice option, struct slice value, struct mq_err *err)
{
    struct push_call *push = CALL_OP(call, struct push_call);
    if (!slice_is_word(option, "REPLY"))
        return order_set(&push->order, option, value, &push->tags, err);
    if (slice_is_word(value, "map"))
        call->answer = answer_push_map;
    else if (!slice_is_word(value, "id"))
        return mq_fail(err, MQ_BADARG, "REPLY: '%.*s' is neither id nor map", QUOTE_ARG(value));
    return MQ_OK;
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
        enum mq_code code = set_option(call, call->args[i], call->args[i + 1], err);
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

/* ---- UNIQUE ----------------------------------------------------------------------------------------------- */

static enum mq_code read_key(struct call *call, const char *command, enum store_verb verb, struct mq_err *err)
{
    struct op_unique *op = CALL_OP(call, struct op_unique);
    struct options options = options_of(command, "TYPE", call->args + 1, call->count - 1);
    enum mq_code code = MQ_OK;
    op->key = call->args[0];
    op->job_type = SLICE_EMPTY;
    if (!op->key.len || op->key.len > UNIQUE_MAX_BYTES)
        return mq_fail(err, MQ_BADARG, "a unique key has 1 to %d bytes", UNIQUE_MAX_BYTES);
    while (code == MQ_OK && options_next(&options)) {
        code = options_is(&options, "TYPE") ? options_value(&options, err) : options_unknown(&options, err);
        if (code == MQ_OK)
            code = name_check("job type", options.value, err);
        op->job_type = options.value;
    }
    store_op_init(&op->op, verb, call->now);
    call->op = &op->op;
    return code;
}

enum mq_code cmd_unique_show(struct call *call, struct mq_err *err)
{
    return read_key(call, "UNIQUE SHOW", STORE_UNIQUE, err);
}

enum mq_code cmd_unique_release(struct call *call, struct mq_err *err)
{
    return read_key(call, "UNIQUE RELEASE", STORE_FREE_KEY, err);
}

static void add_id(struct reply *reply, const char *name, job_id id)
{
    reply_text(reply, name);
    if (id == JOB_ID_NONE)
        reply_null(reply);
    else
        reply_id(reply, id);
}

void answer_unique_show(struct call *call, struct reply *reply)
{
    const struct op_unique *op = CALL_OP(call, struct op_unique);
    reply_array(reply, op->count);
    for (unsigned i = 0; i < op->count; i++) {
        const struct unique_row *row = &op->rows[i];
        reply_map(reply, 6);
        reply_bulk(reply, SLICE("key"));
        reply_bulk(reply, op->key);
        reply_bulk(reply, SLICE("type"));
        reply_bulk(reply, row->type);
        add_id(reply, "holder", row->holder);
        reply_bulk(reply, SLICE("state"));
        reply_text(reply, state_name(row->state));
        reply_bulk(reply, SLICE("until"));
        reply_moment(reply, row->until);
        add_id(reply, "waiter", row->waiter);
    }
}

void answer_unique_release(struct call *call, struct reply *reply)
{
    const struct op_unique *op = CALL_OP(call, struct op_unique);
    reply_map(reply, 4);
    reply_bulk(reply, SLICE("key"));
    reply_bulk(reply, op->key);
    reply_bulk(reply, SLICE("type"));
    reply_bulk(reply, op->rows[0].type);
    add_id(reply, "released", op->rows[0].holder);
    add_id(reply, "holder", op->rows[0].waiter);
}
