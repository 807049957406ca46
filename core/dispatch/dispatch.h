/*
 * dispatch.h - which job goes to whom, now.
 *
 * Dispatch stands between those who ask (protocol), those who work (worker processes, consumers that FETCH) and
 * the store. It keeps no jobs: it keeps who is free, who waits, and hints about which queues have something
 * ready. Every change goes through the store; dispatch hears of it when it is on disk (store_listener) and only
 * then tells workers, waiters and event streams.
 *
 * It reads no clock and knows no watcher: the server calls dispatch_tick with the time after each turn of the
 * loop's events, and is told when to call again at the latest. That is what makes it run under simulation.
 *
 * Threads: the loop's only.
 */
#ifndef MOONQ_DISPATCH_DISPATCH_H
#define MOONQ_DISPATCH_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/pulse.h"
#include "job/order.h"
#include "runtime/page.h"
#include "store/store.h"

struct dispatch;
struct worker;
struct ask;

/* ---- changes and reads ------------------------------------------------------------------------------------ */

/*
 * Every operation of a client goes through here, not straight to the store: pushes wake pools, cancels reach
 * workers. op->done is called after the commit.
 */
void dispatch_submit(struct dispatch *d, struct store_op *op);

/*
 * An order, checked and filled in from its type's and the server's defaults. BADARG, TOOBIG; BUSY while the
 * server stops. Slices of `op` are those of `order`, or dispatch's own, good until the next RELOAD or CONFIG: the
 * op must be submitted in the same call of the loop.
 */
enum mq_code dispatch_resolve(struct dispatch *d, struct op_push *op, const struct push_order *order,
                              wall_ms now, struct mq_err *err);

/* Pushes get FULL, which names the limit; 0: they are accepted again. */
void dispatch_set_memory_full(struct dispatch *d, uint64_t max_bytes);

/* TOOBIG if a payload of its own (EDIT, RETRY) is over the limit. */
enum mq_code dispatch_check_payload(const struct dispatch *d, struct slice payload, struct mq_err *err);

/* ---- consumers in other languages: FETCH ------------------------------------------------------------------ */

struct fetch {
    struct fetch *next, *prev; /* dispatch's */
    const struct slice *queues;
    unsigned queue_count;
    unsigned count;      /* jobs at most */
    uint32_t lease_ms;   /* 0: each job's own */
    struct slice holder; /* the client's name, for JOB and WORKERS */
    mono_ms give_up;     /* answer with none at this moment; 0: at once */
    void (*done)(struct fetch *fetch, const struct op_lease *lease); /* lease->code, jobs, count (0: none) */
    void *owner;
    struct ask *ask; /* dispatch's: the lease under way */
};

/* The caller keeps it alive until `done`, or until dispatch_fetch_abandon. */
void dispatch_fetch(struct dispatch *d, struct fetch *fetch);
/* The client hung up. Jobs that a lease under way brings are given back, uncharged. `done` is not called. */
void dispatch_fetch_abandon(struct dispatch *d, struct fetch *fetch);

/* ---- waiting for an end: WAIT ----------------------------------------------------------------------------- */

struct waiter {
    job_id id;
    void (*done)(struct waiter *waiter, enum job_state state); /* final, or JOB_NONE: deleted */
    void *owner;
    struct waiter *next, *prev; /* dispatch's */
    struct waiting *of;         /* dispatch's; NULL: it does not wait */
};
/* Add the waiter first, then read the job: what ends in between is not missed. */
void dispatch_wait(struct dispatch *d, struct waiter *waiter);
void dispatch_wait_stop(struct dispatch *d, struct waiter *waiter);

/* ---- what happens: EVENTS --------------------------------------------------------------------------------- */

/*
 * Names: job.pushed job.started job.succeeded job.failed (retrying; run_at) job.dead job.cancelled job.cancelling
 * job.expired job.lost job.released job.ready (promoted or due) job.retried job.deleted job.snoozed job.parked job.progress
 * queue.paused queue.resumed type.paused type.resumed queue.draining queue.idle_with_backlog queue.unserved worker.started worker.ready worker.exited
 * worker.stopping worker.begins_nothing reload.done reload.failed bulk.progress bulk.done server.stopping disk.full disk.recovered
 * record.quarantined index.mended queue.mended job.edited queue.limited keep.evicted dead.filling dead.archived
 * dead.archive_failed loop.stands_still loop.goes_on job.overdue memory.full memory.recovered
 * schedule.fired schedule.skipped schedule.missed schedule.failed schedule.set schedule.ended
 * schedule.paused schedule.resumed schedule.broken
 */
struct event {
    const char *name;
    wall_ms at;
    job_id id; /* 0: not about a job */
    struct slice type, queue, worker;
    uint16_t attempt;
    wall_ms run_at;        /* job.failed, job.snoozed; queue.paused and type.paused: when it ends by itself */
    struct slice by;       /* who: queue.paused, type.paused */
    struct slice message;  /* of an error, a warning; free text */
    struct slice schedule; /* schedule.* */
    wall_ms planned_at;    /* the moment that was decided; 0: none */
    const char *outcome;   /* what became of it; NULL: nothing */
    double fraction;       /* job.progress, bulk.progress; below 0: none */
    uint64_t count;        /* bulk.*, keep.evicted, dead.archived */
};
struct event_listener {
    struct event_listener *next, *prev; /* dispatch's */
    void (*event)(struct event_listener *listener, const struct event *event);
    void *owner;
};
void dispatch_listen(struct dispatch *d, struct event_listener *listener);
void dispatch_unlisten(struct dispatch *d, struct event_listener *listener);
/* Tells all listeners. */
void dispatch_emit(struct dispatch *d, const struct event *event);

/* ---- bulk steps ------------------------------------------------------------------------------------------- */

struct bulk {
    struct bulk *next, *prev; /* dispatch's */
    uint64_t no;              /* dispatch's: its name in events and for BULK STOP */
    enum store_verb step;     /* STORE_CANCEL, STORE_RETRY, STORE_DELETE, STORE_PROMOTE, STORE_TAKE_BACK */
    struct job_filter filter; /* slices: the caller's until done */
    struct slice reason;      /* of the step; likewise */
    unsigned ids_max;         /* so many of those touched are named in `ids` */
    wall_ms since;            /* only what was there at this moment */
    void (*done)(struct bulk *bulk); /* finished, stopped or failed */
    void *owner;
    /* answers */
    uint64_t touched, looked_at;
    uint64_t
        signalled;  /* of those touched: CANCEL of what runs, whose holder was told and which ends later */
    struct buf ids; /* of job_id; the caller's: buf_release */
    bool stopped;
    enum mq_code code;
    struct mq_err err;
    struct buf cursor; /* dispatch's: where the next chunk begins */
};
/* Works in chunks, so that other commits get their turn; emits bulk.progress after each and bulk.done. */
void dispatch_bulk(struct dispatch *d, struct bulk *bulk);
/* After the chunk under way. False: there is no such bulk step. */
bool dispatch_bulk_stop(struct dispatch *d, uint64_t no);
/* The bulk steps under way, in order; NULL ends. */
const struct bulk *dispatch_bulk_next(struct dispatch *d, const struct bulk *after);

/* ---- schedules -------------------------------------------------------------------------------------------- */

/*
 * Before a STORE_SCHEDULE is submitted: reads SET's definition and plans its first moment, and what RESUME passes over.
 * op->op.now is the moment. BADARG names key, field and column.
 */
enum mq_code dispatch_schedule_fill(struct dispatch *d, struct op_schedule *op, struct mq_err *err);

/* A job of this entry, now. NOTFOUND; SCRIPT: the entry is broken; what a push is refused with. */
struct schedule_run {
    struct slice name; /* the caller's until done */
    void (*done)(struct schedule_run *run);
    void *owner;
    /* answers */
    enum mq_code code;
    struct mq_err err;
    job_id id;
};
enum mq_code dispatch_schedule_run(struct dispatch *d, struct schedule_run *run, struct mq_err *err);

/* Args that a function of schedules.lua makes. Lives until `done`, which is called once, now or later. */
struct args_request {
    struct args_request *next; /* the maker's */
    struct slice name;
    wall_ms planned_at;
    /* MQ_OK: JSON. Otherwise why there is none: SCRIPT; BUSY: the server stops */
    void (*done)(struct args_request *request, enum mq_code code, struct slice text);
};

/* Why an entry does not fire; NULL: it may. */
const char *dispatch_schedule_trouble(struct dispatch *d, struct slice name);
/* Nothing will come of it any more, as it stands: its end or its max is reached, or its expression has no moment left. */
bool dispatch_schedule_is_over(struct dispatch *d, const struct schedule_view *view);
/* Its definition says paused = true. */
bool dispatch_schedule_is_set_paused(struct dispatch *d, struct slice name);
/* Entries of the file that were never good: the store does not have them. False past the last. */
bool dispatch_schedule_broken(struct dispatch *d, unsigned index, struct slice *name, const char **why);
/* Its next moments, *count at most; answers how many there are. NOTFOUND, SCRIPT. */
#define SCHEDULE_NEXT_MAX 1000
enum mq_code dispatch_schedule_next(struct dispatch *d, struct slice name, wall_ms *out, unsigned *count,
                                    struct mq_err *err);

/* ---- looking ---------------------------------------------------------------------------------------------- */

struct worker_view {
    struct slice name, pool;
    int pid;
    const char *state; /* starting, ready, draining, stopping */
    unsigned slots, running, given;
    job_id on_cpu; /* 0: none */
    uint64_t started, done, failed;
    wall_ms started_at;
    int64_t silent_ms; /* since its last beat */
    uint64_t memory;   /* bytes that its Lua has, by its own word */
    uint32_t scripts;  /* a hash of those that it loaded; 0: not known yet */
};
/* Workers in order; false past the last. */
bool dispatch_worker_view(struct dispatch *d, unsigned index, struct worker_view *out);

/*
 * One gate that stands before a job; the answer of WHY is a list of them, in the order in which they are tried:
 * state, schedule (which made it), queue_paused, type_paused, due, parked (no handler), no_pool (no worker serves the queue), no_worker, turn (jobs
 * ahead of it). `open`: this one does not hold it.
 */
struct gate {
    const char *name;
    bool open;
    char text[400];
};
#define GATES_MAX 12
/* Evaluates without changing anything. Returns how many were filled in. */
unsigned dispatch_why(struct dispatch *d, const struct op_get *job, wall_ms now, struct gate *gates);

/* Hints about a queue, without asking the store. False: not known. */
bool dispatch_queue(struct dispatch *d, struct slice name, struct queue_news *out);

/* How late jobs were handed out that had waited for their time (a delay, a time, a backoff), since the server's start. */
#define LATE_BOUNDS 16
struct late_stats {
    uint64_t count, in[LATE_BOUNDS + 1]; /* so many up to each bound, and beyond the last */
    int64_t last_ms, max_ms;
};
/* The bound below which this part of them lies (0.99), at most max_ms; 0 if there were none. */
int64_t late_quantile(const struct late_stats *late, double part);

struct dispatch_stats {
    struct late_stats late;
    uint64_t idle_with_backlog; /* times the detector fired */
    uint64_t workers_idle;      /* times a worker was found that beats and begins nothing */
    uint64_t taken_back;        /* jobs given to a worker that did not start them in time */
    uint64_t workers_lost, workers_killed;
    uint64_t poisoned;
    uint64_t orphans_repaired;     /* jobs that ran without a holder, and were given back: at start too */
    uint64_t evicted;              /* finished records deleted before their time, for there were too many */
    uint64_t archived;             /* dead letters that moved to the archive */
    unsigned dead_percent;         /* of their limit; 0: none */
    unsigned workers, slots, busy; /* now */
    unsigned fetchers, waiters, listeners;
    uint64_t ticks[TICK_OUTCOMES];        /* moments of schedules, by what became of them */
    unsigned schedules, schedules_broken; /* now */
    /* what the newest schedules.lua changed, "+new ~changed -ended"; and how many names did not fit */
    const char *schedule_changes;
    unsigned schedule_changes_untold;
    unsigned outcomes_waiting; /* how jobs ended: told by workers, and not on disk, for it is full */
    unsigned queues_unserved;  /* they have jobs, and nobody asks for them */
};
void dispatch_stats(struct dispatch *d, struct dispatch_stats *out);
/* Its loops, behind what is in the list. */
void dispatch_pulses(const struct dispatch *d, mono_ms now, struct pulse *list, unsigned *count);

/* ---- for the server: types, pools, workers, time ---------------------------------------------------------- */

#include "dispatch/roster.h"
#endif
