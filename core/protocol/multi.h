/*
 * multi.h - MULTI, EXEC and DISCARD: several changes as one.
 *
 * Between MULTI and EXEC each command is checked and kept as a call with its operation; EXEC makes one group of
 * them, which the store applies as a whole or not at all.
 */
#ifndef MOONQ_PROTOCOL_MULTI_H
#define MOONQ_PROTOCOL_MULTI_H

#include <stdbool.h>
#include "protocol/call.h"

#define MULTI_COMMANDS_MAX 10000              /* a bulk import by a client library that wraps its pipelines */
#define MULTI_BYTES_MAX    (64 * 1024 * 1024) /* it is one commit, and kept in memory until EXEC */

struct multi {
    struct call *first, *last;
    unsigned count;
    size_t bytes;
    bool spoiled; /* a command was refused: EXEC will be */
};

/* Takes the call. FULL: there are too many. BADARG: this form of the command cannot be part of a MULTI. */
enum mq_code multi_add(struct conn *conn, struct call *call, struct mq_err *err);
/* An error between MULTI and EXEC. */
void multi_spoil(struct conn *conn);
/* Forgets what is queued. */
void multi_drop(struct conn *conn);
#endif
