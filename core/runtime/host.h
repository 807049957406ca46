/*
 * host.h - what the C side of a host call may ask of the runtime: which job am I in, wait, wake, fail.
 *
 * A host call is a lua_CFunction that a handler's coroutine runs. One that waits (HTTP, mail, a timer) starts
 * its work on host_loop(), keeps what host_park answered, and returns it; later, from a callback of the loop,
 * host_wake continues the coroutine. A task that is ended while it waits (cancelled, timed out) calls the
 * `abandon` given to host_park, which stops the work and frees it; host_wake must not be called after that.
 *
 * Threads: the child's only one.
 */
#ifndef MOONQ_RUNTIME_HOST_H
#define MOONQ_RUNTIME_HOST_H

#include <ev.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"

/* One job's coroutine. */
struct task;

struct ev_loop *host_loop(void);

/* The task whose coroutine is running; NULL while the application is loaded. */
struct task *host_current(lua_State *L);

/*
 * Parks the running task. Raises a Lua error if there is none ("only a running handler may wait") or if the
 * task was told to stop. Use as: return host_park(L, op, op_abandon). At most one park at a time.
 */
int host_park(lua_State *L, void *owner, void (*abandon)(void *owner));

/* The Lua state on which to push the values that the waiting call returns. */
lua_State *host_state(struct task *task);
/* The owner of what the task waits for is gone: it is not asked to abandon any more. */
void host_forget(struct task *task, const void *owner);

/* Continues the task; the call that waited returns the `count` values pushed on host_state. */
void host_wake(struct task *task, int count);
/* Continues the task with an error { code =, message =, retryable = } raised in the call that waited. */
void host_wake_error(struct task *task, const char *code, const char *message, bool retryable);

/*
 * From a callback of the loop, when tasks were woken: lets as many go on now. Otherwise all do at the end of the loop's turn,
 * and what wakes hundreds one after the other makes them march in step. No more: hundreds of new jobs would stand between
 * one socket that is ready and the next.
 */
void host_run_woken(void);

/* Raises such an error in the running call. Does not return. */
int host_raise(lua_State *L, const char *code, bool retryable, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Raises a plain error for wrong use, with the file and line of the script that called into moonq's modules. */
int host_misuse(lua_State *L, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The handler's `allow` list for this kind ("http", "smtp") has this host (and port; an entry without one allows any). */
bool host_allows(struct task *task, const char *kind, struct slice host, int port);

/*
 * The tables of host calls: one row a function. `roles` bits: HOST_HANDLER while a job runs, HOST_LOAD while
 * the application is loaded (policies included). host_api.c lists all tables; docs are printed from them.
 */
enum {
    HOST_LOAD = 1,
    HOST_HANDLER = 2,
};
struct host_call {
    const char *name; /* "http.perform": _host.http_perform is what stdlib modules see */
    lua_CFunction run;
    unsigned roles;
    bool yields;
    const char *raises; /* codes, for the docs: "BADARG NOPERM TIMEOUT" */
    const char *summary;
};
#endif
