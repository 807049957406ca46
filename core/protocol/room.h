/*
 * room.h - what the files of protocol/ share: struct protocol.
 *
 * One turn of the loop:
 *
 *     events           sockets are read, commands run, operations are submitted
 *     prepare, first   held commands whose turn has come run (EV_MAXPRI)
 *     prepare          the server's own: dispatch_tick, store_flush (priority 0)
 *     prepare, last    each connection with something to say is written to, or closed (EV_MINPRI)
 *
 * What is said after that (by a prepare that came later still) makes the next turn come without waiting.
 */
#ifndef MOONQ_PROTOCOL_ROOM_H
#define MOONQ_PROTOCOL_ROOM_H

#include <ev.h>

#include "protocol/call.h"
#include "protocol/conn.h"
#include "protocol/protocol.h"
#include "protocol/resp.h"

#define READ_BYTES (64 * 1024) /* of one client in one turn: some 300 pushes, and they stay in the cache */

struct listener {
    struct listener *next;
    struct protocol *protocol;
    int fd;
    bool reads_only;
    ev_io acceptable;
};

struct protocol {
    struct ev_loop *loop;
    struct dispatch *dispatch;
    struct store *store;
    struct control control;
    struct protocol_settings settings;
    struct listener *listeners;
    struct conn *conns, *dirty, *resume;
    unsigned conn_count;
    unsigned calls; /* alive; the struct is freed when it is closed and these are gone */
    bool closed;
    bool tight; /* memory is short */
    ev_prepare before, after;
    ev_check begun;        /* a turn's events begin */
    bool written;          /* this turn's replies are written: what is said from now on needs another turn */
    ev_timer again;        /* of zero seconds: another turn, without waiting for events */
    ev_timer look;         /* runs while a connection has something to be looked after */
    ev_timer accept_again; /* after descriptors ran out */
    bool accept_paused;
    struct call_pool pool;
    struct resp_request request; /* the one being parsed */
    char *scratch; /* READ_BYTES: what comes in is mostly complete, and needs no buffer of its own */
    wall_ms now;   /* the moment of the commands that are running now */
    uint64_t last_no;
    uint64_t accepted, refused, commands, closed_slow; /* ever */
};

/* The next turn comes at once. */
void protocol_again(struct protocol *p);
/* Looks after connections from time to time until none needs it. */
void protocol_look(struct protocol *p);
/* The last call of a closed protocol is gone. */
void protocol_gone(struct protocol *p);
#endif
