/*
 * inside.h - what the files of the runtime share with each other. Nobody else includes it.
 *
 * A child process is one runtime: one Lua state, one loop, one socket. So there is one struct runtime, `rt`.
 */
#ifndef MOONQ_RUNTIME_INSIDE_H
#define MOONQ_RUNTIME_INSIDE_H

#include <ev.h>
#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "runtime/app.h"
#include "runtime/frame.h"
#include "runtime/meter.h"
#include "runtime/page.h"

/* SETUP, read. Strings are the runtime's. */
struct setup {
    char *role, *name, *app, *stdlib, *scripts;
    char *schedule;    /* of the role args: the entry whose function is to be run ... */
    double planned_at; /* ... and for which moment */
    unsigned slots;
    uint64_t jobs_max; /* 0: any number */
    size_t memory_bytes, payload_max, result_max, log_line_max;
    int64_t cancel_grace_ms;
};

/* How a task is being stopped; a later one outranks an earlier one. */
enum stop {
    STOP_NOT,
    STOP_CANCEL,      /* told once, then it may tidy up */
    STOP_TIMEOUT,     /* told once; then ended at its next yield */
    STOP_TIMEOUT_NOW, /* it did not end by itself: ended now */
    STOP_KILL,        /* cancelled, and ended now */
};

enum task_state {
    TASK_FREE,
    TASK_QUEUED,  /* its job waits for the first resume */
    TASK_RUNNING, /* on the CPU */
    TASK_WAITING, /* parked by a host call */
    TASK_WOKEN,   /* waits for its next resume */
};

/* One job's coroutine, and the slot that it lives in. Memory: one array for the process' life. */
struct task {
    uint32_t slot;
    enum task_state state;
    lua_State *L; /* anchored in the registry as `L_ref`; used again and again while its jobs end well */
    int L_ref;
    int resume_args; /* values on L for the next resume */
    uint64_t
        serial; /* one more for each job: a `job` that a handler kept belongs to none of the later ones */

    job_id id;
    uint64_t token;
    uint16_t attempt, crashes;
    struct buf record; /* what `spec` points into */
    struct job_spec spec;
    struct handler *handler;

    enum stop stop;
    bool stop_raised; /* it has been told by an error */
    bool ended;       /* it swallowed that, and yielded only to be dropped */
    mono_ms stop_at;

    bool parked;
    void *park_owner;
    void (*park_abandon)(void *owner);

    struct buf children;
    uint32_t child_count;
    bool cached; /* has decoded args or meta in the cache */
    bool has_progress;
    float fraction;
    struct buf note;
    mono_ms progress_sent_at;
    unsigned log_lines;
    int64_t booked;    /* bytes, see meter.h */
    bool refused;      /* it met a memory limit since its last resume */
    size_t wanted;     /* ... asking for so much at once */
    struct task *next; /* in the run queue */
};

struct runtime {
    struct setup setup;
    struct ev_loop *loop;
    int socket;
    struct buf in, out;
    struct run_page *page; /* the loader's and check's is private memory */

    lua_State *L;
    struct meter meter;
    struct app app;

    struct task *tasks;
    unsigned task_count, busy;
    struct task *current;
    struct task *queue_head, *queue_tail;
    unsigned woken; /* tasks, since some ran last */
    bool draining, recycling;
    unsigned memory_failures;
    uint64_t jobs_ended;
    size_t first_live;     /* `live` when the first job came */
    size_t live;           /* bytes after the last full collection of ours */
    size_t children_bytes; /* of all tasks: what waits to be pushed counts as memory too */

    struct buf scratch; /* for one encoding at a time: an error thrown through it leaks nothing */
};
extern struct runtime rt;

/* ---- worker.c: the loop ---- */

/* Reads what the server has sent, without waiting, and takes it in. False: the server is gone. */
bool worker_read(void);
/* Reads likewise, but only looks: how the server wants this task to stop. What was read is taken in later. */
enum stop worker_peek_stop(const struct task *task);
/* Looks, and takes a new stop over: for a task that is on the CPU. */
void task_look_for_stop(struct task *task);
/* Sends what has gathered. `wait`: does not return before it is sent. False: the server is gone. */
bool worker_write(bool wait);
/* Writes a warning (or another line) that belongs to no job. */
void worker_log(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* After much was added to what is to be sent: waits until the server has read it. */
void worker_ease(void);
/* Before a job comes onto the CPU: collects garbage if little room is left. */
void worker_make_room(void);
/* Collects garbage. True: what is left still comes near the limit. */
bool worker_is_full(void);
/* A job has ended: the worker is replaced if that was its last one. */
void worker_job_ended(struct handler *handler);
/* A job met the memory limit: collects garbage, and recycles the worker if that does not help. */
void worker_out_of_memory(void);
/* Compiled code is out of memory and cannot be told: ends the process, at the cost of the job on the CPU. */
void worker_exhausted(void);
/* Runs so many tasks of the queue, for a few milliseconds at most; not from inside a job. True: more is left. */
bool worker_pump(unsigned most);
int worker_run(void);

/* ---- task.c ---- */

void tasks_open(unsigned count);
void tasks_close(void);
void task_give(const struct frame_job *job);
void task_stop(uint32_t slot, job_id id, enum stop how);
/* No job has begun and not ended. */
bool tasks_all_held(void);
/* Runs the first task of the queue; false: it is empty. */
bool task_run_next(void);
void task_wake(struct task *task, int args);
/* Sends the progress that has gathered, if any. */
void task_tell_progress(struct task *task, mono_ms now);

/* ---- fail.c ---- */

/*
 * What to tell the server about the error at the top of L, which stays there. The slices are good until the next
 * call, and while L's top stays.
 */
void fail_describe(struct task *task, lua_State *L, bool with_traceback, struct frame_failed *out);

/* The error handler around every job: keeps the traceback for fail_describe, answers the error as it is. */
int fail_on_error(lua_State *L);
/* Before a resume: no traceback is left from another. */
void fail_forget(void);

/* ---- interrupt.c ---- */

/* SIGUSR1 raises a stop in the job that is on the CPU. */
void interrupt_install(void);
/* After a resume: no hook stays. */
void interrupt_clear(void);
/* Calls like lua_pcall(L, args, results, 0) with JIT off and at most `budget_ms` of interpreted Lua. */
int interrupt_bounded_call(lua_State *L, int args, int results, int64_t budget_ms);

/* ---- host_basic.c ---- */

/* A random number from 0 up to, not including, 1. */
double host_chance(void);

/* ---- values between C and Lua: value.c ---- */

/* Seconds as a number, or a duration as text, at `index`. False: err says what is wrong with it. */
bool value_duration(lua_State *L, int index, int64_t *out_ms, struct mq_err *err);
/* The string (or number) at `index` as bytes; anything else is empty. No conversion in place. */
struct slice value_text(lua_State *L, int index);
#endif
