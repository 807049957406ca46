/* cmd_step.c - one person's step on one job or many: CANCEL, RETRY, DELETE, PROMOTE, EDIT, PURGE, BULK. */
#include <stdio.h>

#include "job/name.h"
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"

#define STATE_BIT(state) (1u << (state))
#define STATES_WAITING                                                                                       \
    (STATE_BIT(JOB_BLOCKED) | STATE_BIT(JOB_SCHEDULED) | STATE_BIT(JOB_READY) | STATE_BIT(JOB_RETRYING))
#define STATES_FINAL                                                                                         \
    (STATE_BIT(JOB_SUCCEEDED) | STATE_BIT(JOB_DEAD) | STATE_BIT(JOB_CANCELLED) | STATE_BIT(JOB_EXPIRED))
#define REASON_MAX_BYTES 1024

/* ---- by filter -------------------------------------------------------------------------------------------- */

static void on_bulk_done(struct bulk *bulk)
{
    struct call *call = bulk->owner;
    if (bulk->code != MQ_OK)
        call_fail(call, bulk->code, bulk->err.text);
    else
        call_finish(call);
}

static void answer_bulk(struct call *call, struct reply *reply)
{
    const struct bulk *bulk = &CALL_OP(call, union step_call)->bulk;
    reply_map(reply, 4);
    reply_bulk(reply, SLICE("touched"));
    reply_int(reply, (int64_t)bulk->touched);
    reply_bulk(reply, SLICE("looked_at"));
    reply_int(reply, (int64_t)bulk->looked_at);
    reply_bulk(reply, SLICE("stopped"));
    reply_bool(reply, bulk->stopped);
    reply_bulk(reply, SLICE("bulk"));
    reply_int(reply, (int64_t)bulk->no);
}

/* The client hung up: the chunk under way ends, and then on_bulk_done frees the call. */
static bool abandon_bulk(struct call *call)
{
    dispatch_bulk_stop(call->protocol->dispatch, CALL_OP(call, union step_call)->bulk.no);
    return false;
}

/* Only what was there at this moment: `since` is the first millisecond that is too late. */
static void start_bulk(struct call *call, enum store_verb step)
{
    struct bulk *bulk = &CALL_OP(call, union step_call)->bulk;
    bulk->step = step;
    bulk->since = call->now + 1;
    bulk->done = on_bulk_done;
    bulk->owner = call;
    call->answer = answer_bulk;
    call->abandon = abandon_bulk;
    call_hold(call);
    dispatch_bulk(call->protocol->dispatch, bulk);
}

static bool is_where(const struct call *call)
{
    return slice_is_word(call->args[0], "WHERE");
}

/*
 * A row a step: what WHERE means if it names no state, and whether it must say how far it goes. Forgetting the
 * filter must not cancel or delete everything.
 */
static const struct bulk_rule {
    enum store_verb step;
    uint32_t states;
    bool needs_filter;
    const char *name;
} bulk_rules[] = {
    {STORE_CANCEL, STATES_WAITING | STATE_BIT(JOB_RUNNING), true, "CANCEL WHERE"},
    {STORE_RETRY, STATE_BIT(JOB_DEAD), false, "RETRY WHERE"},
    {STORE_DELETE, STATES_WAITING | STATES_FINAL, true, "DELETE WHERE"},
    {STORE_PROMOTE, STATE_BIT(JOB_SCHEDULED) | STATE_BIT(JOB_RETRYING), false, "PROMOTE WHERE"},
};

static enum mq_code check_reach(const struct bulk_rule *rule, const struct job_filter *filter, bool all,
                                struct mq_err *err)
{
    bool any = filter->states || filter->queue.len || filter->type.len || filter->tag.len || filter->before ||
               filter->after;
    if (all || !rule->needs_filter)
        return MQ_OK;
    if (rule->step == STORE_DELETE && !filter->states)
        return mq_fail(err, MQ_BADARG,
                       "DELETE WHERE needs a STATE (DELETE WHERE STATE dead), or ALL for every state");
    if (!any)
        return mq_fail(err, MQ_BADARG, "%s needs a filter (STATE QUEUE TYPE TAG OLDER NEWER), or ALL",
                       rule->name);
    return MQ_OK;
}

static enum mq_code run_where(struct call *call, enum store_verb step, struct mq_err *err)
{
    const struct bulk_rule *rule = bulk_rules;
    struct job_filter *filter = &CALL_OP(call, union step_call)->bulk.filter;
    bool known, all = false;
    while (rule->step != step)
        rule++;
    if (call->queued)
        return mq_fail(err, MQ_BADARG, "%s cannot stand between MULTI and EXEC: it works in chunks",
                       rule->name);
    struct options options =
        options_of(rule->name, "STATE QUEUE TYPE TAG OLDER NEWER ALL", call->args + 1, call->count - 1);
    while (options_next(&options)) {
        enum mq_code code = arg_filter(filter, &options, call->now, &known, err);
        if (code != MQ_OK)
            return code;
        if (!known && !options_is(&options, "ALL"))
            return options_unknown(&options, err);
        all |= !known;
    }
    enum mq_code code = check_reach(rule, filter, all, err);
    if (code != MQ_OK)
        return code;
    if (!filter->states)
        filter->states = rule->states;
    start_bulk(call, step);
    return MQ_OK;
}

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
    if (is_where(call))
        return run_where(call, STORE_CANCEL, err);
    enum mq_code code = run_one(call, STORE_CANCEL, err);
    if (code == MQ_OK)
        code = only_option(call, "CANCEL", "REASON", &op->reason, err);
    if (code == MQ_OK && op->reason.len > REASON_MAX_BYTES)
        code = mq_fail(err, MQ_TOOBIG, "REASON has %zu bytes, the limit is %d", op->reason.len,
                       REASON_MAX_BYTES);
    return code;
}

enum mq_code cmd_retry(struct call *call, struct mq_err *err)
{
    struct op_step *op = &CALL_OP(call, union step_call)->one;
    if (is_where(call))
        return run_where(call, STORE_RETRY, err);
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
    if (is_where(call))
        return run_where(call, STORE_DELETE, err);
    if (call->count > 1)
        return mq_fail(err, MQ_BADARG, "DELETE takes one id, or WHERE and a filter");
    return run_one(call, STORE_DELETE, err);
}

enum mq_code cmd_promote(struct call *call, struct mq_err *err)
{
    if (is_where(call))
        return run_where(call, STORE_PROMOTE, err);
    if (call->count > 1)
        return mq_fail(err, MQ_BADARG, "PROMOTE takes one id, or WHERE and a filter");
    return run_one(call, STORE_PROMOTE, err);
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
    start_bulk(call, STORE_DELETE);
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
