#include "protocol/multi.h"

#include <stdlib.h>

#include "protocol/commands.h"
#include "protocol/room.h"

void multi_spoil(struct conn *conn)
{
    if (conn->multi)
        conn->multi->spoiled = true;
}

static void free_members(struct call *call)
{
    while (call) {
        struct call *next = call->next;
        call_free(call);
        call = next;
    }
}

void multi_drop(struct conn *conn)
{
    if (!conn->multi)
        return;
    free_members(conn->multi->first);
    free(conn->multi);
    conn->multi = NULL;
}

static size_t call_bytes(const struct call *call)
{
    size_t bytes = sizeof *call + call->command->op_bytes;
    for (unsigned i = 0; i < call->count; i++)
        bytes += call->args[i].len;
    return bytes;
}

enum mq_code multi_add(struct conn *conn, struct call *call, struct mq_err *err)
{
    struct multi *multi = conn->multi;
    if (!call->op)
        return mq_fail(err, MQ_BADARG, "this form of %s cannot stand between MULTI and EXEC",
                       call->command->name);
    if (multi->count == MULTI_COMMANDS_MAX || multi->bytes + call_bytes(call) > MULTI_BYTES_MAX)
        return mq_fail(err, MQ_FULL,
                       "this MULTI is full (at most %d commands and %d MiB): EXEC in smaller pieces",
                       MULTI_COMMANDS_MAX, MULTI_BYTES_MAX / 1024 / 1024);
    multi->bytes += call_bytes(call);
    multi->count++;
    if (multi->last)
        multi->last->next = call;
    else
        multi->first = call;
    multi->last = call;
    return MQ_OK;
}

enum mq_code cmd_multi(struct call *call, struct mq_err *err)
{
    struct conn *conn = call->conn;
    if (conn->multi) {
        conn->multi->spoiled = true;
        return mq_fail(err, MQ_BADARG, "MULTI inside MULTI (EXEC or DISCARD the first one)");
    }
    conn->multi = mq_calloc(1, sizeof *conn->multi);
    struct reply reply = call_reply(call);
    reply_ok(&reply);
    call_finish(call);
    return MQ_OK;
}

enum mq_code cmd_discard(struct call *call, struct mq_err *err)
{
    if (!call->conn->multi)
        return mq_fail(err, MQ_BADARG, "DISCARD without MULTI");
    multi_drop(call->conn);
    struct reply reply = call_reply(call);
    reply_ok(&reply);
    call_finish(call);
    return MQ_OK;
}

/* ---- EXEC ------------------------------------------------------------------------------------------------- */

/* Members read the clock of EXEC, not of their own line. False: one is not possible any more; `err` names it. */
static enum mq_code fill_members(struct call *call, struct mq_err *err)
{
    unsigned number = 1;
    for (struct call *member = CALL_OP(call, struct exec)->first; member; member = member->next, number++) {
        struct mq_err why;
        member->now = member->op->now = call->now;
        enum mq_code code = member->fill ? member->fill(member, &why) : MQ_OK;
        if (code != MQ_OK)
            return mq_fail(err, code, "command %u (%s): %.280s", number, member->command->name, why.text);
    }
    return MQ_OK;
}

static void on_group_done(struct store_op *op)
{
    struct call *call = op->owner;
    struct exec *exec = CALL_OP(call, struct exec);
    if (op->code != MQ_OK) {
        const struct call *member = exec->first;
        for (unsigned i = 0; i < exec->group.failed && member->next; i++)
            member = member->next;
        struct mq_err why = op->err;
        mq_fail(&op->err, op->code, "command %u (%s): %.280s", exec->group.failed + 1, member->command->name,
                why.text);
    }
    call_finish(call);
}

static void release_members(struct call *call)
{
    free_members(CALL_OP(call, struct exec)->first);
}

enum mq_code cmd_exec(struct call *call, struct mq_err *err)
{
    struct conn *conn = call->conn;
    struct multi *multi = conn->multi;
    struct exec *exec = CALL_OP(call, struct exec);
    struct reply reply = call_reply(call);
    if (!multi)
        return mq_fail(err, MQ_BADARG, "EXEC without MULTI");
    if (multi->spoiled || multi->count == 0) {
        if (multi->spoiled)
            reply_error(&reply, "EXECABORT",
                        "nothing was done, because of the errors before (start again with MULTI)");
        else
            reply_array(&reply, 0);
        multi_drop(conn);
        call->answer = NULL;
        call_finish(call);
        return MQ_OK;
    }
    store_op_init(&exec->group.op, STORE_GROUP, call->now);
    exec->first = multi->first;
    enum mq_code code = fill_members(call, err);
    if (code != MQ_OK) {
        multi_drop(conn);
        return code;
    }
    exec->group.count = multi->count;
    exec->group.members = call_memory(call, multi->count * sizeof *exec->group.members);
    unsigned i = 0;
    for (struct call *member = multi->first; member; member = member->next)
        exec->group.members[i++] = member->op;
    exec->group.op.done = on_group_done;
    call->op = &exec->group.op;
    call->release = release_members;
    multi->first = NULL; /* the call's now */
    multi_drop(conn);
    return MQ_OK;
}

void answer_exec(struct call *call, struct reply *reply)
{
    struct exec *exec = CALL_OP(call, struct exec);
    reply_array(reply, exec->group.count);
    for (struct call *member = exec->first; member; member = member->next)
        call_write(member, reply);
}
