/*
 * task.h - jobs as coroutines: what only the runtime's own files use of each other.
 */
#ifndef MOONQ_RUNTIME_TASK_H
#define MOONQ_RUNTIME_TASK_H

#include <lua.h>
#include "runtime/inside.h"

/* Values of a job that were decoded once, at the first look. */
enum {
    TASK_CACHE_ARGS,
    TASK_CACHE_META,
    TASK_CACHE_TAGS,
    TASK_CACHE_KINDS,
};
/* Pushes it and answers true, or pushes nothing. */
bool task_push_cached(lua_State *L, struct task *task, int which);
/* Keeps the value at the top of the stack, which stays. */
void task_cache(lua_State *L, struct task *task, int which);

/* host.c: the error that tells a task that it is being stopped. */
void host_push_stop(lua_State *L, const struct task *task);
/* host.c: pushes "file:line: " of the script that called into moonq's modules; "" where there is none. */
void host_push_place(lua_State *L);
/* host.c: what the task waits for is given up. */
void host_abandon(struct task *task);

/* host_job.c: pushes the function that makes the `job` of the current task. */
void job_push_maker(lua_State *L);
#endif
