/*
 * call.h - one command under way, from its request to its reply.
 *
 * A call is one piece of memory: the struct, the command's own struct (an operation of the store, mostly), and a
 * copy of the arguments, since the read buffer moves on. It stands in its connection's queue until all before it
 * are answered and it has finished. If the client hangs up, a call whose operation is under way lives on without a
 * connection until that has finished.
 */
#ifndef MOONQ_PROTOCOL_CALL_H
#define MOONQ_PROTOCOL_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "dispatch/dispatch.h"
#include "protocol/command.h"
#include "protocol/reply.h"
#include "store/store.h"

struct conn;
struct protocol;

struct call {
    struct call *next; /* in the connection's queue, in its MULTI, or in the pool */
    struct conn *conn; /* NULL: the client hung up */
    struct protocol *protocol;
    const struct command *command;
    /* May be replaced by run: a command with two shapes. */
    void (*answer)(struct call *call, struct reply *reply);
    bool (*abandon)(struct call *call);
    /* Set by run if the operation depends on the moment: called with call->now before it is submitted. */
    enum mq_code (*fill)(struct call *call, struct mq_err *err);
    /* Set by run if `memory` owns something. */
    void (*release)(struct call *call);
    struct store_op *op; /* the operation to submit; in `memory` */
    wall_ms now;
    struct slice *args; /* behind the name; the array is good during run, the bytes as long as the call */
    unsigned count;
    uint32_t size_class;
    bool running;    /* inside run: call_finish does not answer yet */
    bool finished;   /* it may be answered */
    bool queued;     /* in a MULTI */
    bool refused;    /* `said` is an error */
    struct buf said; /* a reply written before its turn */
    struct extra {
        struct extra *next;
        max_align_t bytes[];
    } * extras; /* call_memory */
    max_align_t memory[];
};

/* The command's own struct. */
static inline void *call_op(struct call *call)
{
    return call->memory;
}
#define CALL_OP(call, type) ((type *)call_op(call))

/* Memory that is freed with the call; not cleared. */
void *call_memory(struct call *call, size_t bytes);
/* A reply written now: straight to the connection if it is this call's turn. Not behind an `answer`. */
struct reply call_reply(struct call *call);
/* Marks the end: answers it as soon as all before it are. The call may be gone afterwards. */
void call_finish(struct call *call);
/* The same, with an error as the reply. */
void call_fail(struct call *call, enum mq_code code, const char *text);
/* An operation's `done`: op->owner is the call. Errors are answered as they are. */
void call_op_done(struct store_op *op);
/* Later commands of this connection wait until this one is answered. */
void call_hold(struct call *call);

/* ---- for conn.c and multi.c ------------------------------------------------------------------------------- */

/* `args`: behind the command's name; copied. */
struct call *call_new(struct conn *conn, const struct command *command, struct slice *args, unsigned count);
void call_free(struct call *call);
/* Fills in and submits call->op. */
enum mq_code call_submit(struct call *call, struct mq_err *err);
/* Writes the reply of a finished call. */
void call_write(struct call *call, struct reply *reply);
/* The client hung up. */
void call_orphan(struct call *call);

/* Freed calls, by size, for the next. */
#define CALL_CLASS_BYTES 256
#define CALL_CLASSES     32                 /* up to 8 KiB; larger ones are malloc's */
#define CALL_POOL_BYTES  (16 * 1024 * 1024) /* what a burst leaves behind is kept up to here */
struct call_pool {
    struct call *free[CALL_CLASSES];
    size_t bytes;
};
void call_pool_release(struct call_pool *pool);
#endif
