/*
 * conn.h - one connection: bytes in, commands, replies out in the order of the commands.
 *
 *     socket -> in -> parse -> call -> queue of calls -> out -> socket
 *                       ^                |
 *                       '--- held back <-'   while an earlier command must be answered first
 *
 * Order. Commands of one connection take effect in the order in which they were sent. Changes go to the store
 * together, in one commit if they can. A read waits until everything before it is answered, and what follows waits
 * for the read. Replies always come in order. What waits stays as bytes in `in`, unparsed.
 *
 * Nothing is written while commands run: replies gather in `out`, and each connection with something to say is
 * written to once a turn of the loop (conn_flush). Connections are only closed there, so nobody loses a connection
 * while it works on it.
 */
#ifndef MOONQ_PROTOCOL_CONN_H
#define MOONQ_PROTOCOL_CONN_H

#include <ev.h>

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/clock.h"
#include "protocol/call.h"
#include "protocol/reply.h"
#include "protocol/resp.h"

struct protocol;
struct multi;
struct stream;

/* Why no command is taken from `in`. */
enum hold {
    HOLD_NONE,
    HOLD_EMPTY,  /* the next command waits until all before it are answered */
    HOLD_CALL,   /* ... until the call `holder` is answered */
    HOLD_FULL,   /* pipeline_max commands are under way */
    HOLD_OUTPUT, /* the client does not read its replies */
};

struct conn {
    struct conn *next, *prev; /* all of them */
    struct conn *next_dirty;  /* something to write or to close */
    struct conn *next_resume; /* held commands may go on */
    struct protocol *protocol;
    uint64_t no; /* CLIENT ID */
    int fd;
    ev_io readable, writable;
    bool reading, writing; /* the watchers are started */
    bool dirty, resume;    /* in these lists */
    bool resp3;
    bool reads_only; /* it came through a socket that changes nothing */
    bool ended;      /* it has sent its last: close when all is answered */
    bool closing;    /* no more commands; close when all is written */
    bool broken; /* ... because what it sends is no request: it may not have read why, and still be sending */
    bool doomed; /* close now, `reason` says why */
    const char *reason;
    enum hold hold;
    struct call *first, *last; /* commands under way, in order */
    unsigned under_way;
    struct call *holder;
    struct buf in; /* not parsed yet */
    size_t need;   /* bytes in `in` without which parsing is of no use */
    struct resp_skip skip;
    bool skipping; /* passing over a request that was too large; its error is said already */
    struct buf out;
    mono_ms stuck_since;   /* over output_pause and not reading; 0: not so */
    mono_ms linger_since;  /* broken, and told so; 0: not so */
    mono_ms half_since;    /* a command has begun and is not complete; 0: not so */
    struct multi *multi;   /* between MULTI and EXEC */
    struct stream *stream; /* after EVENTS */
    char *name;            /* CLIENT SETNAME; NULL */
    char *library;         /* CLIENT SETINFO, for CLIENT LIST; NULL */
    mono_ms since;
    uint64_t commands;
    const struct command *newest;
};

struct conn *conn_open(struct protocol *p, int fd);
/* Closes at the next flush, whatever is unsaid. `reason` is logged if not NULL; a literal. */
void conn_doom(struct conn *conn, const char *reason);
/* After all that was asked so far is answered and written. */
void conn_finish(struct conn *conn);
/* Writes what can be written; closes if it is time. The connection may be gone. */
void conn_flush(struct conn *conn);
/* Goes on with what was held back. */
void conn_resume(struct conn *conn);
/* A while has passed: commands sent in half, replies unread. True: look again. */
bool conn_look(struct conn *conn, mono_ms now);
/* Closes it now. */
void conn_close(struct conn *conn);

/* It has something to write, or is to be closed. */
void conn_mark_dirty(struct conn *conn);
/* Its held commands go on in this turn or the next. */
void conn_mark_resume(struct conn *conn);
/* A name for logs and leases: CLIENT SETNAME's, or "client-7". `out` holds CONN_NAME_BYTES. */
#define CONN_NAME_BYTES 160
struct slice conn_name(const struct conn *conn, char out[CONN_NAME_BYTES]);
#endif
