/*
 * net_op.h - one request of a handler, as Lua and C share it; and how its options are read.
 *
 * A request is three host calls in a row: one makes the operation (a userdata, which Lua keeps), net.wait starts
 * it and parks the task, one takes the result. The result is built by the handler's own coroutine, not by the
 * callback that ends the operation: pushing a large body may meet the memory limit, and then the error must be
 * the handler's, not the worker's.
 *
 * Whatever ends the operation (its result was taken, the task was ended, Lua collects the userdata), its
 * `release` runs and may run again.
 */
#ifndef MOONQ_RUNTIME_NET_OP_H
#define MOONQ_RUNTIME_NET_OP_H

#include <ev.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/slice.h"
#include "runtime/host.h"

struct net_op;

struct net_kind {
    const char *name; /* of the metatable */
    void (*start)(struct net_op *op);
    void (*expired)(struct net_op *op); /* the time is up; must end in net_op_finish */
    void (*release)(struct net_op *op);
};

struct net_op {
    const struct net_kind *kind;
    struct task *task; /* waits for the end; NULL: nobody does */
    ev_timer deadline;
    int64_t timeout_ms;
    double began_s, took_s; /* on the monotonic clock; with the time spent in our own queues */
    bool starting;          /* inside of `start`: the task is not parked yet, so it cannot be woken */
    bool started, over;
};

/* Pushes a cleared operation of `size` bytes, a struct net_op first. The collector's. */
void *net_op_new(lua_State *L, const struct net_kind *kind, size_t size);
/* The operation at `index`, which is of this kind. Raises. */
void *net_op_at(lua_State *L, int index, const struct net_kind *kind);
/* Continues the task. From the loop, or from `start`: then the loop does it a moment later. */
void net_op_finish(struct net_op *op);

/* "net.wait": starts the operation at index 1, and waits for its end. Answers nothing. */
int net_wait(lua_State *L);

/* Pushes nil, code, message, retryable: the ways of a failed operation back into Lua. */
int net_push_failure(lua_State *L, const char *code, const char *message, bool retryable);

/* The running task. Raises if none is running. */
struct task *net_task(lua_State *L);

/*
 * Options: fields of the table at index 1. Each raises BADARG, naming the field, for a value of the wrong kind.
 * Strings point into Lua's and live as long as the table holds them.
 */
#define NET_OPTION_MAX_BYTES (64 << 10) /* of one name, password, header or URL */
#define NET_CA_MAX_BYTES     (4 << 20)

/* `out->at` is NULL if the field is nil. At most NET_OPTION_MAX_BYTES, and no byte that is 0, CR or LF. */
bool net_option_text(lua_State *L, const char *field, struct slice *out);
/* Any bytes. */
bool net_option_bytes(lua_State *L, const char *field, struct slice *out);
/*
 * Whom to trust over TLS: true for certificates as text, false for the path of a file (or neither: out->at is NULL).
 */
bool net_option_ca(lua_State *L, struct slice *out);
bool net_option_flag(lua_State *L, const char *field, bool otherwise);
/* A whole number from 1. */
int64_t net_option_count(lua_State *L, const char *field, int64_t otherwise);
/* Seconds as a number, or a duration as text; more than nothing, and at most a day. */
int64_t net_option_ms(lua_State *L, const char *field, int64_t otherwise);

/*
 * Parses `url`, which must have one of the two schemes, no user in it, and a host and port that the task's
 * `allow` names for `kind`. Raises BADARG or NOPERM. *out is the caller's, curl_url_cleanup, and is handed over
 * before anything raises: give the place in the operation. *host is curl_free's, likewise.
 */
void net_url_open(lua_State *L, const char *kind, const char *const schemes[2], struct slice url, void **out,
                  char **host, int *port);
/* Raises NOPERM if `host` and `port` are not in the task's list for `kind`. */
void net_must_allow(lua_State *L, const char *kind, struct slice host, int port);
#endif
