/* cmd_job.c - one job: JOB and WHY. */
#include "protocol/commands.h"
#include "protocol/jobview.h"
#include "protocol/room.h"

static enum mq_code read_job(struct call *call, bool with_history, struct mq_err *err)
{
    struct op_get *op = CALL_OP(call, struct op_get);
    enum mq_code code = id_parse(&op->id, call->args[0], err);
    if (code != MQ_OK)
        return code;
    op->with_history = with_history;
    store_op_init(&op->op, STORE_GET, call->now);
    call->op = &op->op;
    return MQ_OK;
}

enum mq_code cmd_job(struct call *call, struct mq_err *err)
{
    return read_job(call, true, err);
}

static void add_attempt(struct reply *reply, const struct job_attempt *attempt)
{
    reply_map(reply, 9);
    reply_bulk(reply, SLICE("number"));
    reply_int(reply, attempt->number);
    reply_bulk(reply, SLICE("outcome"));
    reply_text(reply, step_name(attempt->outcome));
    reply_bulk(reply, SLICE("began"));
    reply_moment(reply, attempt->began);
    reply_bulk(reply, SLICE("ended"));
    reply_moment(reply, attempt->ended);
    reply_bulk(reply, SLICE("worker"));
    reply_maybe(reply, attempt->worker);
    reply_bulk(reply, SLICE("scripts"));
    reply_hash(reply, attempt->scripts);
    reply_bulk(reply, SLICE("code"));
    reply_maybe(reply, attempt->code);
    reply_bulk(reply, SLICE("message"));
    reply_maybe(reply, attempt->message);
    reply_bulk(reply, SLICE("traceback"));
    reply_maybe(reply, attempt->traceback);
}

void answer_job(struct call *call, struct reply *reply)
{
    const struct op_get *op = CALL_OP(call, struct op_get);
    reply_map(reply, JOBVIEW_PAIRS + 3);
    jobview_add(reply, &op->view);
    reply_bulk(reply, SLICE("result"));
    reply_maybe(reply, op->result);
    reply_bulk(reply, SLICE("attempts"));
    reply_array(reply, op->attempt_count);
    for (unsigned i = 0; i < op->attempt_count; i++)
        add_attempt(reply, &op->attempts[i]);
    reply_bulk(reply, SLICE("log"));
    reply_array(reply, op->log_count);
    for (unsigned i = 0; i < op->log_count; i++) {
        reply_map(reply, 2);
        reply_bulk(reply, SLICE("at"));
        reply_moment(reply, op->log[i].at);
        reply_bulk(reply, SLICE("text"));
        reply_bulk(reply, op->log[i].text);
    }
}

enum mq_code cmd_why(struct call *call, struct mq_err *err)
{
    return read_job(call, false, err);
}

/* What to say of a job that no gate holds: what it does, or did. */
static const char *unheld(enum job_state state)
{
    switch (state) {
    case JOB_READY:
        return "nothing holds it: it is handed out next";
    case JOB_RUNNING:
        return "it is running";
    case JOB_NONE:
        return "it does not exist";
    default:
        return "nothing holds it";
    }
}

void answer_why(struct call *call, struct reply *reply)
{
    const struct op_get *op = CALL_OP(call, struct op_get);
    struct gate gates[GATES_MAX];
    unsigned count = dispatch_why(call->protocol->dispatch, op, call->protocol->now, gates);
    const char *answer = NULL;
    reply_map(reply, 4);
    reply_bulk(reply, SLICE("id"));
    reply_id(reply, op->view.id);
    reply_bulk(reply, SLICE("state"));
    reply_text(reply, state_name(op->view.status.state));
    reply_bulk(reply, SLICE("gates"));
    reply_array(reply, count);
    for (unsigned i = 0; i < count; i++) {
        reply_map(reply, 3);
        reply_bulk(reply, SLICE("gate"));
        reply_text(reply, gates[i].name);
        reply_bulk(reply, SLICE("open"));
        reply_bool(reply, gates[i].open);
        reply_bulk(reply, SLICE("text"));
        reply_text(reply, gates[i].text);
        if (!gates[i].open && !answer)
            answer = gates[i].text;
    }
    reply_bulk(reply, SLICE("answer"));
    reply_text(reply, answer ? answer : unheld(op->view.status.state));
}
