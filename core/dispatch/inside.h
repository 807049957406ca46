/*
 * inside.h - what the files of dispatch share with each other; nobody else includes it.
 *
 * One struct dispatch, and in it: hints (what each queue has), pools and their workers, those who FETCH, those who
 * WAIT, listeners, bulk steps, and the moments at which something must be looked at again.
 */
#ifndef MOONQ_DISPATCH_INSIDE_H
#define MOONQ_DISPATCH_INSIDE_H

#include <uthash.h>
#include <utlist.h>

#include "dispatch/dispatch.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "job/backoff.h"
#include "job/record.h"
#include "runtime/frame.h"

#define NAME_MAX_HOLDER 160
#define REST_MS         1000 /* the disk is full to the last byte: asking again at once would be all that we do */

/* ---- hints.c: what we believe of a queue ------------------------------------------------------------------- */

struct hint {
    struct queue_news news; /* as of the last commit; its name is ours */
    unsigned pushing;       /* pushes under way that will be ready at once */
    unsigned asked;         /* jobs asked for by leases under way */
    int64_t turn;           /* weighted order: who has waited longest for its share */
    bool live;              /* in d->live: it has, or soon may have, something ready */
    bool unserved_told;
    mono_ms unserved_since; /* it has jobs, and nobody asks for them; MONO_NEVER */
    mono_ms fetched_until;  /* a consumer fetched from it, and is expected again by then */
    struct hint *next, *prev;
    UT_hash_handle hh;
};
/*
 * The queues with something ready, or about to have: what a turn of the loop looks at, however many queues there ever
 * were. hint_touch after `news` or `pushing` grew; hints_trim drops those that have run dry.
 */
void hint_touch(struct dispatch *d, struct hint *hint);
unsigned hints_trim(struct dispatch *d); /* how many are left */
struct hint *hint_ensure(struct dispatch *d, struct slice name);
struct hint *hint_find(struct dispatch *d, struct slice name);
/* Jobs that a worker's lease would find there now, less those already asked for. */
uint64_t hint_expected(const struct hint *hint);
/* ... a client's lease, which gets parked jobs too. */
uint64_t hint_expected_by_client(const struct hint *hint);
void hints_free(struct dispatch *d);

/* ---- types.c: what handlers declare ----------------------------------------------------------------------- */

struct type_row {
    struct push_order order; /* type and queue are ours, and so are the texts of its unique key */
    char *key_texts;
    UT_hash_handle hh;
};
struct type_row *type_find(struct dispatch *d, struct slice type);
void types_free(struct dispatch *d);

/* ---- ask.c: a lease under way, for a worker or a FETCH ------------------------------------------------------ */

struct ask {
    struct op_lease lease; /* first: the op is the ask */
    struct dispatch *d;
    struct worker *worker; /* or NULL */
    struct fetch *fetch;   /* or NULL; NULL for both: nobody wants it any more */
    struct ask *next, *prev;
    char holder[NAME_MAX_HOLDER];
    unsigned charged_count;
    struct charge {
        struct hint *hint;
        unsigned jobs;
    } * charged;
};
/* A queue to ask. With a weight it gives that share of the jobs, without it all that it has. */
struct asked {
    struct hint *hint;
    unsigned weight; /* 0: none, and so for all queues of this lease */
};
/* Asks for up to `max` jobs out of these queues. Answers through worker_got or fetch_got. */
struct ask *ask_start(struct dispatch *d, const struct asked *queues, unsigned queue_count, unsigned max);
/* Whoever asked is gone: what comes is given back. */
void ask_disown(struct ask *ask);
/* A lease is under way that was asked for by the clock of before a jump. */
bool ask_is_stale(const struct dispatch *d);

/* ---- pool.c ----------------------------------------------------------------------------------------------- */

struct pool {
    struct pool_settings settings; /* ours */
    bool named;                    /* false: no longer in the configuration */
    struct pool *next, *prev;
    struct worker *workers;
    mono_ms took_at;  /* one of its workers began a job, or it had nothing to give */
    mono_ms alarm_at; /* when idle_with_backlog was last told */
};
/* Leases for all workers of all pools that have free places and something to expect. */
void pools_tick(struct dispatch *d, mono_ms now);
struct pool *pool_find(struct dispatch *d, const char *name);
/* The pool serves this queue. */
bool pool_serves(struct dispatch *d, const struct pool *pool, struct slice queue);
void pools_free(struct dispatch *d);

/* One lease looks into so many queues; the others are asked in the next turns, since the order takes turns. */
#define ASK_QUEUES_MAX 256
/*
 * The queues to ask, first to last, into `out` (room for ASK_QUEUES_MAX); only those with something to expect.
 * Pure but for the turns of the weighted order.
 */
unsigned pool_order_queues(struct dispatch *d, struct pool *pool, struct asked *out, uint64_t *expected);

/* ---- worker.c, talk.c, watch.c -------------------------------------------------------------------------------------- */

enum place_state {
    PLACE_FREE,
    PLACE_HELD,    /* a job is there: given or running */
    PLACE_REVOKED, /* taken back; the worker has yet to say DROPPED */
};

/* The server's view of a slot. */
struct place {
    enum place_state state;
    unsigned next_free;
    bool running;    /* seen TAKEN */
    bool seen_start; /* ... or ended before we looked */
    bool told_cancel, told_timeout;
    bool released; /* a person gave its job back to the queue: what it says does not count any more */
    job_id id;
    uint64_t token;
    uint16_t attempt, crashes;
    uint32_t lease_ms;
    mono_ms given_at, renew_at;
    mono_ms revoked_at;       /* of a revoked one */
    mono_ms timeout_at;       /* MONO_NEVER: none */
    mono_ms hard_at, kill_at; /* end the coroutine; end its worker, if the job has its CPU; MONO_NEVER: no */
    mono_ms last_at;          /* end its worker, whatever its page says has the CPU */
    int64_t stood_ms;         /* its clocks stood still for so long, while neighbours had the CPU */
    unsigned log_lines;       /* of this attempt */
    float progress;           /* told last, with `note`; on its way to the store unless it waits */
    bool progress_waits;
    mono_ms progress_at;
    struct buf note;
    struct buf record;    /* its spec */
    struct job_spec spec; /* points into record */
};

enum worker_state {
    WORKER_STARTING,
    WORKER_READY,
    WORKER_RETIRED,
    WORKER_LOST,
};

struct worker {
    struct dispatch *d;
    struct pool *pool;
    struct worker *next, *prev; /* of its pool */
    char *name;
    int pid;
    void *process;
    struct run_page *page;
    struct buf out;
    enum worker_state state;
    unsigned slots, free_head, held, revoked; /* free_head: slots if none */
    unsigned asking;                          /* jobs asked for it */
    unsigned window; /* places we dare to fill; shrinks when it starts too few in time */
    struct place *places;
    uint32_t scripts; /* a hash of those that it loaded, by its own word; 0: it did not say */
    uint64_t started, done, failed;
    mono_ms moved_at;    /* the last of these grew, or there was nothing for it to begin */
    unsigned taken_back; /* since then: jobs that it did not begin in time */
    bool idle_told;      /* since then */
    wall_ms started_at;
    mono_ms unfinished_since; /* a frame of its has begun, and is not all there; MONO_NEVER */
    unsigned strays;          /* frames about jobs that it does not hold */
    double own_lines_left;    /* lines of the log about no job that it may write now */
    mono_ms own_lines_at;
    unsigned own_lines_dropped;
    uint64_t last_beats, last_turns;
    mono_ms beat_at;
    uint64_t seen_beats; /* at the last look, which was at looked_at; the same since loop_at */
    mono_ms looked_at, loop_at;
    bool killed;
    job_id killed_for;      /* the job whose end it would not accept */
    const char *killed_why; /* "timeout", "cancel", "silence" */
};
#define OWN_LINES_BURST 200 /* lines of the log about no job: what a worker has to say while it loads */
void worker_got(struct worker *worker, struct ask *ask);
/* It has begun this job. Once a job. */
void worker_saw_start(struct worker *worker, struct place *place);
/* talk.c: progress that waits goes to the store now, ahead of whatever is submitted next. */
void progress_flush(struct worker *worker, struct place *place);
/* The correlation id that a job's meta carries, or empty. The caller's: json_decref(*keep). */
struct slice correlation_of(struct slice meta, json_t **keep);
/*
 * What runs is looked at so often while anything runs: the page's slots are memory, so a look costs no message.
 * It bounds how exact timeouts are, and how late a job is taken back from a busy worker.
 */
#define WATCH_EVERY_MS 25
unsigned worker_room(const struct worker *worker);
/* By its lease: a worker that lost a job may run on, while another has it again. */
struct place *worker_place_of(struct dispatch *d, job_id id, uint64_t token, struct worker **owner);
void worker_cancel(struct dispatch *d, job_id id, uint64_t token, mono_ms now);
/* Its lease is gone by a person's word: never begun it is never begun, begun it is stopped as worker_cancel does. */
void worker_release(struct dispatch *d, job_id id, uint64_t token, mono_ms now);
/* It is (or was, when its process ended) on that worker's CPU. */
bool worker_has_on_cpu(const struct worker *worker, job_id id);
void place_free(struct worker *worker, struct place *place);
/*
 * The wall clock has come further since the last tick than a tick takes: leases are renewed ahead of the sweep, when
 * those that were asked for by the clock of before are here, too.
 */
#define WATCH_JUMP_MS 1000
void watch_jump(struct dispatch *d, mono_ms now);
/* If it should be replaced: by its own word, in its page. */
void worker_ask_relief(struct worker *worker);
void worker_renew(struct worker *worker, struct place *place, mono_ms now);
/* Deadlines of what runs; returns when to look again. */
mono_ms watch_tick(struct dispatch *d, wall_ms wall, mono_ms now);

/* ---- outcome.c: how an attempt ended, on its way to the store ---------------------------------------------- */

void outcome_done(struct worker *worker, struct place *place, const struct frame_done *done);
void outcome_failed(struct worker *worker, struct place *place, const struct frame_failed *failed);
/* Releases the job of a place; the place itself is not touched. */
void outcome_release(struct worker *worker, const struct place *place, enum release_kind kind, wall_ms run_at,
                     struct slice message);
/* A lease that nobody can use: back, uncharged. */
void give_back(struct dispatch *d, job_id id, uint64_t token);
void park(struct dispatch *d, job_id id, uint64_t token);
int64_t crash_backoff_ms(struct dispatch *d, unsigned crashes);

/* ---- fetch.c, waiters.c, events.c, bulk.c, timers.c ------------------------------------------------------- */

void fetches_tick(struct dispatch *d, mono_ms now);
mono_ms fetches_next(const struct dispatch *d);
void fetch_got(struct fetch *fetch, struct ask *ask);

/* unserved.c: now and then; and whenever a consumer asks for what a queue has. */
void unserved_tick(struct dispatch *d);
void unserved_fetched(struct dispatch *d, struct hint *hint);

/* orphans.c: now and then. */
struct look;
void orphans_tick(struct dispatch *d);
void orphans_free(struct dispatch *d);

struct waiting { /* all waiters of one job */
    job_id id;
    struct waiter *waiters;
    bool telling; /* out of the table already */
    UT_hash_handle hh;
};
void waiters_tell(struct dispatch *d, job_id id, enum job_state state);

/* Turns what a commit did into events, and tells waiters. */
void events_of_commit(struct dispatch *d, const struct store_op *op);
/* late.c: how late what had a time was handed out. */
void late_count(struct late_stats *late, const struct op_lease *lease);
void events_of_unblocked(void *owner, const struct store_news *news);

void bulk_chunk_done(struct store_op *op);

/* ---- again.c: what must not be forgotten although the disk is full ------------------------------------------- */

#define AGAIN_MOST                                                                                           \
    1000 /* so many wait: no more jobs are handed to workers, whose outcomes would have to wait too */
/* Takes an operation that was answered NOSPACE, for a later try; its `done` runs again then. */
void again_later(struct dispatch *d, struct store_op *op);
/* A renewal was refused: all leases of workers are renewed before the next sweep. */
void again_renew(struct dispatch *d);
void again_tick(struct dispatch *d);
/* False: the leases of outcomes that wait may have run out because they could not be renewed. */
bool again_may_sweep_leases(const struct dispatch *d);
mono_ms again_next(const struct dispatch *d);
void again_free(struct dispatch *d);

void timers_tick(struct dispatch *d, wall_ms wall);
wall_ms timers_next(const struct dispatch *d);

struct sweep {
    struct op_sweep sweep;
    struct dispatch *d;
};
void timers_swept(struct store_op *op); /* the end of every sweep */

/* ---- letters.c: dead letters that must go, over the archive ------------------------------------------------ */

#define LETTERS_LIMIT 100 /* in one piece; each may have some hundred KiB of history */
/* A sweep DEAD has answered. True: it was taken, the round goes on with its letters. */
bool letters_swept(struct sweep *sweep);
/* How full the dead letters are, in percent of their limit. */
void letters_level(struct dispatch *d, unsigned percent);

/* ---- schedules: entries.c, ticker.c, file.c, schedules.c; see entries.h ------------------------------------- */

#define SCHEDULE_CHANGES_BYTES 400

struct entry;
struct schedules {
    struct entry *entries; /* by name */
    struct entry **agenda; /* a heap: the next moment is first */
    unsigned agenda_count, agenda_cap;
    struct entry *resting;
    json_t *file;                         /* what schedules.lua says */
    unsigned nameless;                    /* entries of it that cannot even be named */
    unsigned applying;                    /* changes that the file asks for, under way */
    char changes[SCHEDULE_CHANGES_BYTES]; /* those that it made: as in struct dispatch_stats */
    unsigned changes_untold;              /* more than these */
    mono_ms file_again;                   /* some were refused: all of it is said again then; MONO_NEVER */
    void (*make_args)(void *owner, struct args_request *request);
    void *args_owner;
    void (*settled)(void *owner); /* whoever waits for what the file says to be in the store */
    void *settled_owner;
    bool unread;                   /* the store's entries could not be read: none fires */
    bool loaded, on;               /* the store's entries are known; the file's too: moments are decided */
    mono_ms ticked;                /* of the newest tick: what the wall clock is compared with */
    wall_ms step_from, step_until; /* the last step of the wall clock that was seen */
};
void schedules_load(struct dispatch *d);
void schedules_loaded(struct dispatch *d);
void schedules_apply_file(struct dispatch *d);
void schedules_unread(struct dispatch *d);
void schedules_boot(struct dispatch *d); /* @reboot */
void schedules_tick(struct dispatch *d);
wall_ms schedules_next(const struct dispatch *d);
mono_ms schedules_next_rest(const struct dispatch *d);
void schedules_stepped(struct dispatch *d, wall_ms from, wall_ms until);
void schedules_committed(struct dispatch *d, const struct op_schedule *op);
void schedules_ticked(struct dispatch *d, const struct op_tick *op);
void schedules_count(const struct dispatch *d, struct dispatch_stats *out);
void schedules_free(struct dispatch *d);

/* One store operation of dispatch's own that nobody waits for: freed when done; a refusal is logged. */
void submit_own(struct dispatch *d, struct store_op *op);

struct dispatch {
    struct store *store;
    struct dispatch_host host;
    struct dispatch_settings settings;
    bool stopping;
    uint64_t memory_max; /* memory is short, and this is its limit; 0: it is not */
    wall_ms wall;        /* of the newest tick, or of what a worker said since */
    wall_ms ticked;      /* of the newest tick */
    mono_ms now;
    struct hint *hints; /* all, by name */
    struct hint *live;
    struct type_row *types;
    struct pool *pools;
    struct ask *asks;
    struct fetch *fetches; /* waiting or asking */
    struct waiting *waiting;
    struct event_listener *listeners;
    struct bulk *bulks;
    uint64_t bulk_last;
    struct schedules schedules;
    wall_ms next_sweep[SWEEPS]; /* by op_sweep.what */
    bool sweeping[SWEEPS];
    struct store_op *again, **again_end; /* to be asked again at again_at */
    mono_ms again_at, again_log_at;
    unsigned holds_asked; /* renewals of leases of outcomes that wait, under way */
    bool holds_asked_now; /* some since this tick began */
    bool hold_refused;    /* one was, since they were asked the last time */
    bool renewal_missed;
    mono_ms letters_rest_until; /* the archive could not be written: not again before then */
    bool dead_filling;          /* it was told, and is so still */
    uint64_t evicted_untold;
    mono_ms evicted_log_at;
    mono_ms sweep_began[SWEEPS];                                   /* of the one under way */
    mono_ms swept_at[SWEEPS], watched_at, detected_at, renewed_at; /* each the last time; 0: not yet */
    unsigned old_doublings; /* chunks of deletions in a row that did not suffice */
    bool jumped;      /* the wall clock did, and leases are still to be renewed: no sweep of them before */
    mono_ms watch_at; /* the next look at what runs; MONO_NEVER: nothing runs */
    mono_ms probe_at; /* ask although hints promise nothing: a lost hint must not stop us */
    mono_ms
        rest_until; /* the store refused what we do by ourselves: no lease for workers, no sweep until then */
    uint64_t strangers;        /* jobs without a handler since the last warning */
    mono_ms stranger_at;       /* the next warning may be given */
    struct look *orphans_look; /* under way; NULL: none */
    mono_ms orphans_at, orphans_asked_at, orphans_looked_at;
    struct buf orphans_before,
        orphans_now; /* of struct suspect: of the round before, and of this one so far */
    struct buf orphans_cursor;
    struct dispatch_stats stats;
    struct buf scratch;
};
#endif
