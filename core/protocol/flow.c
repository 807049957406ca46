#include "protocol/flow.h"

#include "protocol/multi.h"
#include "protocol/room.h"

static void append(struct conn *conn, struct call *call)
{
    if (conn->last)
        conn->last->next = call;
    else
        conn->first = call;
    conn->last = call;
    conn->under_way++;
}

static void pop(struct conn *conn)
{
    struct call *call = conn->first;
    conn->first = call->next;
    if (!conn->first)
        conn->last = NULL;
    conn->under_way--;
    if (conn->holder == call)
        conn->holder = NULL;
    call_free(call);
}

void flow_answer(struct conn *conn)
{
    struct reply reply = {&conn->out, conn->resp3};
    while (conn->first && conn->first->finished) {
        call_write(conn->first, &reply);
        pop(conn);
    }
    conn_mark_dirty(conn);
    if (conn->hold != HOLD_NONE && flow_may_go(conn))
        conn_mark_resume(conn);
}

void flow_say_error(struct conn *conn, const char *code, const char *text)
{
    struct call *call = call_new(conn, NULL, NULL, 0);
    append(conn, call);
    struct reply reply = call_reply(call);
    reply_error(&reply, code, text);
    call_finish(call);
}

static void refuse(struct conn *conn, enum mq_code code, const char *text)
{
    multi_spoil(conn);
    flow_say_error(conn, mq_code_name(code), text);
}

static void refuse_err(struct conn *conn, const struct mq_err *err)
{
    refuse(conn, err->code, err->text);
}

/* ---- starting a command ----------------------------------------------------------------------------------- */

/* Answers what run and submit made of it: an error, a reply that is there already, or nothing yet. */
static void settle(struct conn *conn, struct call *call, enum mq_code code, const struct mq_err *err)
{
    call->running = false;
    if (code != MQ_OK) {
        struct reply reply = call_reply(call);
        reply_error(&reply, mq_code_name(code), err->text);
        call->refused = true;
        call->finished = true;
        if (conn->holder == call)
            conn->holder = NULL;
    }
    if (call->finished && conn->first == call)
        flow_answer(conn);
}

static void start(struct conn *conn, const struct command *command, struct slice *args, unsigned count)
{
    struct mq_err err;
    struct call *call = call_new(conn, command, args, count);
    append(conn, call);
    if (command->flags & CMD_HOLDS)
        conn->holder = call;
    call->running = true;
    enum mq_code code = command->run(call, &err);
    if (code == MQ_OK && call->op)
        code = call_submit(call, &err);
    settle(conn, call, code, &err);
}

/* A command between MULTI and EXEC: checked now, carried out later. */
static void queue(struct conn *conn, const struct command *command, struct slice *args, unsigned count)
{
    struct mq_err err = {.code = MQ_OK};
    if (!(command->flags & CMD_MULTI)) {
        mq_fail(&err, MQ_BADARG, "%s cannot stand between MULTI and EXEC (only changes by id or queue can)",
                command->name);
        refuse_err(conn, &err);
        return;
    }
    struct call *call = call_new(conn, command, args, count);
    call->queued = true;
    enum mq_code code = command->run(call, &err);
    if (code == MQ_OK && call->fill)
        code = call->fill(call, &err);
    if (code == MQ_OK)
        code = multi_add(conn, call, &err);
    if (code != MQ_OK) {
        call_free(call);
        refuse(conn, code, err.text);
        return;
    }
    struct call *said = call_new(conn, NULL, NULL, 0);
    append(conn, said);
    struct reply reply = call_reply(said);
    reply_simple(&reply, "QUEUED");
    call_finish(said);
}

/* False: it must wait, and nothing was done. */
static bool run_request(struct conn *conn, struct resp_request *request)
{
    unsigned words;
    struct mq_err err;
    const struct command *command = command_find(request->args, request->count, &words, &err);
    if (!command || command_check_arity(command, request->count - words, &err) != MQ_OK) {
        refuse_err(conn, &err);
        return true;
    }
    if ((command->flags & CMD_WAITS) && conn->first)
        return false;
    conn->commands++;
    conn->protocol->commands++;
    conn->newest = command;
    if (conn->reads_only && command->flags & (CMD_CHANGE | CMD_STEER)) {
        mq_fail(&err, MQ_NOPERM,
                "%s changes something, and this socket only reads (use the server's other socket)",
                command->name);
        refuse_err(conn, &err);
    } else if (conn->stream && !(command->flags & CMD_STREAM)) {
        mq_fail(&err, MQ_BADARG,
                "%s cannot follow EVENTS: this connection is a stream (only PING, RESET and QUIT can)",
                command->name);
        refuse_err(conn, &err);
    } else if (conn->multi && !(command->flags & CMD_AT_ONCE)) {
        queue(conn, command, request->args + words, request->count - words);
    } else {
        start(conn, command, request->args + words, request->count - words);
    }
    return true;
}

/* ---- taking bytes ----------------------------------------------------------------------------------------- */

static enum hold hold_of(const struct conn *conn)
{
    const struct protocol_settings *settings = &conn->protocol->settings;
    if (conn->holder)
        return HOLD_CALL;
    if (conn->under_way >= (conn->protocol->tight ? 1 : settings->pipeline_max))
        return HOLD_FULL;
    if (buf_len(&conn->out) >= settings->output_pause)
        return HOLD_OUTPUT;
    return HOLD_NONE;
}

bool flow_may_go(const struct conn *conn)
{
    switch (conn->hold) {
    case HOLD_NONE:
        return true;
    case HOLD_EMPTY:
        return !conn->first;
    case HOLD_CALL:
    case HOLD_FULL:
        return hold_of(conn) == HOLD_NONE;
    case HOLD_OUTPUT: /* half is read: not one command at a time */
        return buf_len(&conn->out) < conn->protocol->settings.output_pause / 2 + 1;
    }
    return true;
}

void flow_give_up(struct conn *conn, const struct mq_err *err)
{
    refuse_err(conn, err);
    conn->closing = conn->broken = true;
}

/* Passes over a request that is too large; false: its end is not there yet. */
static bool take_skipped(struct conn *conn, struct slice rest, size_t *used)
{
    struct mq_err err;
    switch (resp_skip(&conn->skip, rest, used, &err)) {
    case RESP_NOTHING:
        conn->skipping = false;
        return true;
    case RESP_BROKEN:
        flow_give_up(conn, &err);
        return false;
    default:
        return false;
    }
}

/* One request from the start of `rest`. False: no further one can be taken now. */
static bool take_request(struct conn *conn, struct slice rest, size_t *used)
{
    struct resp_request *request = &conn->protocol->request;
    enum resp_got got = resp_read(request, rest, conn->protocol->settings.request_max);
    *used = 0;
    switch (got) {
    case RESP_MORE:
        conn->need = request->need;
        return false;
    case RESP_COMMAND:
        if (!run_request(conn, request)) {
            conn->hold = HOLD_EMPTY;
            return false;
        }
        break;
    case RESP_NOTHING:
        break;
    case RESP_REFUSED:
        refuse_err(conn, &request->err);
        break;
    case RESP_TOOBIG:
        refuse_err(conn, &request->err);
        conn->skip = request->skip;
        conn->skipping = true;
        break;
    case RESP_BROKEN:
        flow_give_up(conn, &request->err);
        return false;
    }
    *used = request->used;
    return true;
}

size_t flow_take(struct conn *conn, struct slice bytes)
{
    size_t taken = 0;
    bool more = true;
    conn->need = 0;
    conn->hold = HOLD_NONE;
    while (more && taken < bytes.len && !conn->closing && !conn->doomed) {
        struct slice rest = {bytes.at + taken, bytes.len - taken};
        size_t used = 0;
        conn->hold = conn->skipping ? HOLD_NONE : hold_of(conn);
        if (conn->hold != HOLD_NONE)
            break;
        more = conn->skipping ? take_skipped(conn, rest, &used) : take_request(conn, rest, &used);
        taken += used;
    }
    return taken;
}
