#include "protocol/call.h"

#include <stdlib.h>

#include "protocol/conn.h"
#include "protocol/flow.h"
#include "protocol/room.h"

/* Under AddressSanitizer a freed call is really freed, so that a late use of it is seen. */
#ifdef __SANITIZE_ADDRESS__
#define POOLED 0
#else
#define POOLED 1
#endif

static struct call *pool_take(struct call_pool *pool, size_t bytes, uint32_t *size_class)
{
    size_t class = (bytes + CALL_CLASS_BYTES - 1) / CALL_CLASS_BYTES;
    *size_class = class < CALL_CLASSES && POOLED ? (uint32_t) class : CALL_CLASSES;
    if (*size_class == CALL_CLASSES)
        return mq_alloc(bytes);
    struct call *call = pool->free[class];
    if (!call)
        return mq_alloc(class * CALL_CLASS_BYTES);
    pool->free[class] = call->next;
    pool->bytes -= class * CALL_CLASS_BYTES;
    return call;
}

static void pool_give(struct call_pool *pool, struct call *call)
{
    size_t bytes = (size_t)call->size_class * CALL_CLASS_BYTES;
    if (call->size_class == CALL_CLASSES || pool->bytes + bytes > CALL_POOL_BYTES) {
        free(call);
        return;
    }
    call->next = pool->free[call->size_class];
    pool->free[call->size_class] = call;
    pool->bytes += bytes;
}

void call_pool_release(struct call_pool *pool)
{
    for (unsigned i = 0; i < CALL_CLASSES; i++)
        while (pool->free[i]) {
            struct call *call = pool->free[i];
            pool->free[i] = call->next;
            free(call);
        }
    pool->bytes = 0;
}

/* Moves the arguments' bytes behind the command's struct. */
static void copy_args(struct call *call, char *at)
{
    for (unsigned i = 0; i < call->count; i++) {
        struct slice *arg = &call->args[i];
        if (arg->len)
            memcpy(at, arg->at, arg->len);
        arg->at = at;
        at += arg->len;
    }
}

struct call *call_new(struct conn *conn, const struct command *command, struct slice *args, unsigned count)
{
    struct protocol *p = conn->protocol;
    size_t op_bytes = command ? command->op_bytes : 0, bytes = sizeof(struct call) + op_bytes;
    uint32_t size_class;
    for (unsigned i = 0; i < count; i++)
        bytes += args[i].len;
    struct call *call = pool_take(&p->pool, bytes, &size_class);
    *call = (struct call){
        .conn = conn,
        .protocol = p,
        .command = command,
        .answer = command ? command->answer : NULL,
        .abandon = command ? command->abandon : NULL,
        .now = p->now,
        .args = args,
        .count = count,
        .size_class = size_class,
    };
    memset(call->memory, 0, op_bytes);
    copy_args(call, (char *)call->memory + op_bytes);
    p->calls++;
    return call;
}

void call_free(struct call *call)
{
    struct protocol *p = call->protocol;
    if (call->release)
        call->release(call);
    if (call->op)
        store_op_release(call->op);
    if (call->said.at)
        buf_release(&call->said);
    while (call->extras) {
        struct extra *extra = call->extras;
        call->extras = extra->next;
        free(extra);
    }
    pool_give(&p->pool, call);
    if (--p->calls == 0 && p->closed)
        protocol_gone(p);
}

void *call_memory(struct call *call, size_t bytes)
{
    struct extra *extra = mq_alloc(sizeof *extra + bytes);
    extra->next = call->extras;
    call->extras = extra;
    return extra->bytes;
}

struct reply call_reply(struct call *call)
{
    struct conn *conn = call->conn;
    bool its_turn = conn && conn->first == call && !call->queued;
    return (struct reply){its_turn ? &conn->out : &call->said, conn && conn->resp3};
}

void call_finish(struct call *call)
{
    call->finished = true;
    if (call->running)
        return; /* run's caller goes on */
    if (!call->conn)
        call_free(call);
    else if (call->conn->first == call)
        flow_answer(call->conn);
}

void call_fail(struct call *call, enum mq_code code, const char *text)
{
    struct reply reply = call_reply(call);
    reply_error(&reply, mq_code_name(code), text);
    call->answer = NULL;
    call->refused = true;
    call_finish(call);
}

void call_op_done(struct store_op *op)
{
    call_finish(op->owner);
}

void call_hold(struct call *call)
{
    if (call->conn)
        call->conn->holder = call;
}

enum mq_code call_submit(struct call *call, struct mq_err *err)
{
    if (call->fill) {
        enum mq_code code = call->fill(call, err);
        if (code != MQ_OK)
            return code;
    }
    call->op->owner = call;
    if (!call->op->done)
        call->op->done = call_op_done;
    dispatch_submit(call->protocol->dispatch, call->op);
    return MQ_OK;
}

void call_write(struct call *call, struct reply *reply)
{
    if (call->said.at)
        buf_add_slice(reply->out, buf_bytes(&call->said));
    else if (call->refused)
        return; /* written already */
    else if (call->op && call->op->code != MQ_OK)
        reply_error(reply, mq_code_name(call->op->code), call->op->err.text);
    else if (call->answer)
        call->answer(call, reply);
}

void call_orphan(struct call *call)
{
    call->conn = NULL;
    if (call->finished || (call->abandon && call->abandon(call)))
        call_free(call);
}
