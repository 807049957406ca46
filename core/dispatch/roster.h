/*
 * roster.h - the server's side of dispatch: types, pools, worker processes and time.
 *
 * Included by dispatch.h. What only the server calls stands here; protocol has no use for it.
 */
#ifndef MOONQ_DISPATCH_ROSTER_H
#define MOONQ_DISPATCH_ROSTER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/slice.h"
#include "job/order.h"
#include "runtime/page.h"
#include "store/store.h"

struct args_request;
struct dispatch;
struct worker;

/* What dispatch cannot do itself. */
struct dispatch_host {
    void *owner;
    /* frames wait in worker_out(worker) */
    void (*write)(void *owner, struct worker *worker);
    /* `signal` to its process, behind what waits in worker_out; SIGKILL is followed by dispatch_worker_lost */
    void (*kill)(void *owner, struct worker *worker, int signal);
    /* its READY: the application as it sees it, JSON. The server then calls dispatch_worker_ready or ends it */
    void (*ready)(void *owner, struct worker *worker, struct slice json);
    /* another should take its place: it has run its number of jobs, or is full. Asked for again and again until
       dispatch_worker_retire; may be NULL */
    void (*replace)(void *owner, struct worker *worker);
    /* a random number for jitter; the simulation gives a seeded one */
    uint32_t (*chance)(void *owner);
};

struct dispatch_settings {
    struct push_order defaults; /* of every push */
    size_t payload_max, result_max, log_line_max;
    int64_t start_within_ms;  /* a job not started by then is taken back from its worker */
    int64_t cancel_grace_ms;  /* a cancelled job may tidy up for so long */
    int64_t timeout_grace_ms; /* a timed out job that does not end: then its worker is killed */
    int64_t silence_max_ms;   /* a worker without a beat for so long is killed */
    int64_t idle_alarm_ms;    /* backlog, free workers, nothing taken for so long: idle_with_backlog */
    unsigned sweep_limit;     /* jobs a sweep looks at in one commit */
};

enum pool_order {
    POOL_WEIGHTED, /* queues in turn, by weight */
    POOL_STRICT,   /* all of the first before any of the second */
};
struct pool_queue {
    char *name; /* "*": every queue that no pool names */
    unsigned weight;
};
struct pool_settings {
    char *name;
    unsigned workers, slots;
    uint64_t memory_bytes;
    unsigned jobs_max; /* a worker is replaced after about so many; 0: never for their number */
    enum pool_order order;
    struct pool_queue *queues;
    unsigned queue_count;
};

struct dispatch *dispatch_new(struct store *store, const struct dispatch_host *host,
                              const struct dispatch_settings *settings);
void dispatch_free(struct dispatch *d);
void dispatch_configure(struct dispatch *d, const struct dispatch_settings *settings);
/* For store_attach. */
struct store_listener dispatch_store_listener(struct dispatch *d);

/* What handlers declare. Replaces all; strings are copied. `count` orders, each with `type` set. */
void dispatch_set_types(struct dispatch *d, const struct push_order *types, unsigned count);

/*
 * What schedules.lua says: an array of { name, line, definition } or { name, line, error }, a copy is kept. At a start before
 * dispatch_start_schedules, which reads what the store has; from then on entries fire.
 */
void dispatch_set_schedules(struct dispatch *d, json_t *file);
/* Who runs the functions of schedules.lua; never on the loop. */
void dispatch_set_args_maker(struct dispatch *d, void (*make)(void *owner, struct args_request *request),
                             void *owner);
void dispatch_start_schedules(struct dispatch *d, wall_ms wall);
/* Tells once, maybe at once, when what the file says is in the store and who looks finds it. */
void dispatch_await_schedules(struct dispatch *d, void (*settled)(void *owner), void *owner);

/* Pools by name; a pool that is not named any more gets no more jobs. Copied. */
void dispatch_set_pools(struct dispatch *d, const struct pool_settings *pools, unsigned count);

/* A new worker process, not ready yet. `page` stays the server's and is mapped until dispatch_worker_free. */
struct worker *dispatch_worker_new(struct dispatch *d, const char *pool, const char *name, int pid,
                                   unsigned slots, struct run_page *page, void *process, wall_ms wall,
                                   mono_ms now);
void *worker_process(struct worker *worker);
struct buf *worker_out(struct worker *worker);
const char *worker_name(const struct worker *worker);
const char *worker_pool(const struct worker *worker);
unsigned worker_busy(const struct worker *worker); /* jobs given, running or dropping */

/* What its READY says: a hash of its scripts, for the record of each attempt. */
void dispatch_worker_loaded(struct worker *worker, uint32_t scripts);
/* It answered READY: it may get jobs. */
void dispatch_worker_ready(struct dispatch *d, struct worker *worker, mono_ms now);
/* It gets no more jobs; when worker_busy is 0 the server ends it. */
void dispatch_worker_retire(struct dispatch *d, struct worker *worker);
/* What it sent: any number of frames, the last maybe in part. *used: how far they were read. INTERNAL: it talks garbage. */
enum mq_code dispatch_worker_frames(struct dispatch *d, struct worker *worker, struct slice bytes,
                                    size_t *used, wall_ms wall, mono_ms now, struct mq_err *err);
/*
 * Its process is gone. The job on its CPU is charged, or the one that dispatch had it killed for; the others go back
 * uncharged. None is charged where `innocent` (a shutdown). `how`: "signal 9 (SIGKILL)", "exit status 3".
 */
void dispatch_worker_lost(struct dispatch *d, struct worker *worker, const char *how, bool innocent,
                          wall_ms wall);
void dispatch_worker_free(struct dispatch *d, struct worker *worker);
/* All jobs that it holds go back uncharged: a stop whose patience is over. */
void dispatch_worker_give_back(struct dispatch *d, struct worker *worker, wall_ms wall);

/* So many jobs of an earlier server's workers were given back. */
void dispatch_orphans_repaired(struct dispatch *d, unsigned count);

/* No job is handed out and no push accepted from now on. */
void dispatch_stop(struct dispatch *d);
bool dispatch_stopping(const struct dispatch *d);

/* When dispatch_tick must be called again at the latest: waiting by either clock. */
struct dispatch_wake {
    mono_ms mono; /* MONO_NEVER: not for this clock's sake */
    wall_ms wall; /* WALL_NEVER */
};

/*
 * After the events of a turn of the loop, before store_flush: leases for whoever is free, sweeps that are due,
 * deadlines that passed.
 */
struct dispatch_wake dispatch_tick(struct dispatch *d, wall_ms wall, mono_ms now);
#endif
