#include "protocol/where.h"

#include <stdio.h>

#include "protocol/room.h"

#define STATE_BIT(state) (1u << (state))
#define STATES_WAITING                                                                                       \
    (STATE_BIT(JOB_BLOCKED) | STATE_BIT(JOB_SCHEDULED) | STATE_BIT(JOB_READY) | STATE_BIT(JOB_RETRYING))
#define STATES_FINAL                                                                                         \
    (STATE_BIT(JOB_SUCCEEDED) | STATE_BIT(JOB_DEAD) | STATE_BIT(JOB_CANCELLED) | STATE_BIT(JOB_EXPIRED))

static void on_bulk_done(struct bulk *bulk)
{
    struct call *call = bulk->owner;
    if (bulk->code != MQ_OK)
        call_fail(call, bulk->code, bulk->err.text);
    else
        call_finish(call);
}

static void add_ids(struct reply *reply, struct slice ids)
{
    reply_bulk(reply, SLICE("jobs"));
    reply_array(reply, ids.len / sizeof(job_id));
    for (size_t i = 0; i < ids.len / sizeof(job_id); i++) {
        job_id id;
        memcpy(&id, ids.at + i * sizeof id, sizeof id);
        reply_id(reply, id);
    }
}

static void answer_bulk(struct call *call, struct reply *reply)
{
    const struct bulk *bulk = CALL_OP(call, struct bulk);
    bool names = bulk->ids_max > 0, cancel = bulk->step == STORE_CANCEL;
    reply_map(reply, 4 + (size_t)names + (size_t)cancel);
    reply_bulk(reply, SLICE("touched"));
    reply_int(reply, (int64_t)bulk->touched);
    reply_bulk(reply, SLICE("looked_at"));
    reply_int(reply, (int64_t)bulk->looked_at);
    reply_bulk(reply, SLICE("stopped"));
    reply_bool(reply, bulk->stopped);
    reply_bulk(reply, SLICE("bulk"));
    reply_int(reply, (int64_t)bulk->no);
    if (cancel) {
        reply_bulk(reply, SLICE("signalled"));
        reply_int(reply, (int64_t)bulk->signalled);
    }
    if (names)
        add_ids(reply, buf_bytes(&bulk->ids));
}

/* The client hung up: the chunk under way ends, and then on_bulk_done frees the call. */
static bool abandon_bulk(struct call *call)
{
    dispatch_bulk_stop(call->protocol->dispatch, CALL_OP(call, struct bulk)->no);
    return false;
}

static void release_ids(struct call *call)
{
    buf_release(&CALL_OP(call, struct bulk)->ids);
}

/* Only what was there at this moment: `since` is the first millisecond that is too late. */
void where_start(struct call *call, enum store_verb step)
{
    struct bulk *bulk = CALL_OP(call, struct bulk);
    bulk->step = step;
    bulk->since = call->now + 1;
    bulk->done = on_bulk_done;
    bulk->owner = call;
    call->answer = answer_bulk;
    call->abandon = abandon_bulk;
    call->release = release_ids;
    call_hold(call);
    dispatch_bulk(call->protocol->dispatch, bulk);
}

bool where_is(const struct call *call)
{
    return slice_is_word(call->args[0], "WHERE");
}

/*
 * A row a step: what WHERE means if it names no state, and whether it must say how far it goes. Forgetting the
 * filter must not cancel or delete everything.
 */
static const struct bulk_rule {
    enum store_verb step;
    enum job_step takes; /* its rows in the table of states say from where it can act */
    uint32_t states;
    bool needs_filter;
    const char *name, *past;
} bulk_rules[] = {
    {STORE_CANCEL, STEP_CANCEL, STATES_WAITING | STATE_BIT(JOB_RUNNING), true, "CANCEL WHERE", "cancelled"},
    {STORE_RETRY, STEP_RETRY, STATE_BIT(JOB_DEAD), false, "RETRY WHERE", "retried"},
    {STORE_DELETE, STEP_DELETE, STATES_WAITING | STATES_FINAL, true, "DELETE WHERE", "deleted"},
    {STORE_PROMOTE, STEP_PROMOTE, STATE_BIT(JOB_SCHEDULED) | STATE_BIT(JOB_RETRYING), false, "PROMOTE WHERE",
     "promoted"},
    {STORE_TAKE_BACK, STEP_GIVE_BACK, STATE_BIT(JOB_RUNNING), true, "RELEASE WHERE", "released"},
};

/* A state from which the step never acts finds nothing for ever: a mistake, not a filter. */
static enum mq_code check_states(const struct bulk_rule *rule, uint32_t states, struct mq_err *err)
{
    char takes[100] = ""; /* room for the names of all states */
    enum job_state wrong = JOB_NONE;
    size_t len = 0;
    for (unsigned state = JOB_STATES - 1; state > JOB_NONE; state--)
        if ((states & STATE_BIT(state)) && !state_allows(state, rule->takes))
            wrong = state;
    if (wrong == JOB_NONE)
        return MQ_OK;
    for (unsigned state = JOB_NONE + 1; state < JOB_STATES; state++)
        if (state_allows(state, rule->takes))
            len += (size_t)snprintf(takes + len, sizeof takes - len, " %s", state_name(state));
    return mq_fail(err, MQ_BADARG, "%s: no %s job can be %s (STATE takes%s)", rule->name, state_name(wrong),
                   rule->past, takes);
}

static enum mq_code check_reach(const struct bulk_rule *rule, const struct job_filter *filter, bool all,
                                struct mq_err *err)
{
    bool any = filter->states || filter->queue.len || filter->type.len || filter->tag.len ||
               filter->holder.len || filter->before || filter->after;
    if (all || !rule->needs_filter)
        return MQ_OK;
    if (rule->step == STORE_DELETE && !filter->states)
        return mq_fail(err, MQ_BADARG,
                       "DELETE WHERE needs a STATE (DELETE WHERE STATE dead), or ALL for every state");
    if (!any)
        return mq_fail(err, MQ_BADARG, "%s needs a filter (" FILTER_OPTIONS "), or ALL", rule->name);
    return MQ_OK;
}

enum mq_code where_read(struct call *call, enum store_verb step, const char *known, where_option *other,
                        struct mq_err *err)
{
    const struct bulk_rule *rule = bulk_rules;
    struct job_filter *filter = &CALL_OP(call, struct bulk)->filter;
    bool of_filter, all = false;
    while (rule->step != step)
        rule++;
    if (call->queued)
        return mq_fail(err, MQ_BADARG, "%s cannot stand between MULTI and EXEC: it works in chunks",
                       rule->name);
    struct options options = options_of(rule->name, known, call->args + 1, call->count - 1);
    while (options_next(&options)) {
        enum mq_code code = arg_filter(filter, &options, call->now, &of_filter, err);
        if (code == MQ_OK && !of_filter && options_is(&options, "ALL"))
            all = true;
        else if (code == MQ_OK && !of_filter)
            code = other ? other(call, &options, err) : options_unknown(&options, err);
        if (code != MQ_OK)
            return code;
    }
    enum mq_code code = check_reach(rule, filter, all, err);
    if (code == MQ_OK)
        code = check_states(rule, filter->states, err);
    if (!filter->states)
        filter->states = rule->states;
    return code;
}

enum mq_code where_run(struct call *call, enum store_verb step, struct mq_err *err)
{
    enum mq_code code = where_read(call, step, FILTER_OPTIONS " ALL", NULL, err);
    if (code == MQ_OK)
        where_start(call, step);
    return code;
}
