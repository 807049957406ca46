/*
 * sim.h - one history: a server with a real store and the real dispatch, clients, workers that are only memory, two
 * clocks, and a list of steps.
 *
 * A history is made of its seed before it runs (plan.c), so that it can be run again with steps left out. A step
 * carries its own dice: what it does depends on them and on what is there, not on the steps before it. A job is
 * chosen by a hash of the dice and the job's name, so most steps still mean the same job when others are gone.
 *
 * One history a process: what it needs is the one `sim` below.
 */
#ifndef MOONQ_TESTS_SIM_SIM_H
#define MOONQ_TESTS_SIM_SIM_H

#include <jansson.h>

#include "dispatch/dispatch.h"
#include "model.h"
#include "runtime/frame.h"
#include "seam.h"

#define SEATS       3 /* workers at most */
#define SLOTS       3
#define FETCHES     4
#define WAITERS     8
#define HELD_MAX    64 /* leases that clients remember, stale ones too */
#define TEXT_MAX    40
#define QUEUES      4
#define JOB_TYPES   3
#define ENTRIES     3 /* cron entries */
#define HISTORY_MAX 20000

extern const char *const queue_names[QUEUES];
extern const char *const type_names[JOB_TYPES];
extern const char *const entry_names[ENTRIES];

/* ---- steps -------------------------------------------------------------------------------------------------- */

struct step {
    unsigned kind; /* a row of plan.c */
    unsigned no;   /* its place in the whole history, also when steps around it are left out */
    uint64_t dice;
};
/* Fills in the history of this seed. */
void plan_make(struct step *steps, unsigned count, uint64_t seed);
/* Runs one step of it, and what follows of it at once. */
void plan_run(const struct step *step);

/* Of the step that runs. */
uint32_t dice(uint32_t sides);              /* 0 .. sides-1 */
bool chance(uint32_t percent);              /* true so often */
int64_t dice_between(int64_t a, int64_t b); /* both included */
/* Of those that `wanted` says yes to, one that depends on the dice and its name only; NULL if there is none. */
struct model_job *pick_job(bool (*wanted)(const struct model_job *));

/* ---- workers -------------------------------------------------------------------------------------------------- */

/* A job as its worker sees it. */
struct fake_job {
    uint32_t slot;
    job_id id;
    uint64_t token;
    bool begun;
    bool told, hard; /* CANCEL or TIMEOUT came */
    bool said;       /* its last word is on its way, maybe in part: the server still holds it */
};
struct seat {
    struct worker *worker; /* NULL: no process */
    struct run_page *page;
    char name[TEXT_MAX];
    const char *pool;
    bool ready, retired;
    bool silent; /* its loop stands still: no beats, reads nothing */
    bool doomed; /* SIGKILL was sent */
    bool killed; /* ... by dispatch's will, for the job that was on its CPU then */
    job_id killed_for;
    bool
        killed_for_others; /* maybe not for that one: it holds jobs that it was told to end, or to drop, and did not */
    bool garbled;          /* for garbage that it sent: nothing it says is heard any more */
    mono_ms dies_at; /* doomed: a process in the middle of a slow disk's work takes its time to end */
    bool talking;    /* it is not closed yet, though it sent garbage: never more than one turn */
    struct fake_job jobs[64];
    unsigned job_count;
    struct buf rest; /* a frame that was sent in part */
};

/* ---- clients ---------------------------------------------------------------------------------------------------- */

struct held {
    job_id id;
    uint64_t token;
};
struct client_fetch {
    bool used;
    struct fetch fetch;
    struct slice queues[QUEUES];
    char holder[TEXT_MAX];
};
struct client_wait {
    bool used, told;
    enum job_state state;
    struct waiter waiter;
};

/* ---- the world --------------------------------------------------------------------------------------------------- */

struct sim {
    struct model model;
    struct store *store;
    struct dispatch *d;
    struct store_settings store_settings;
    struct dispatch_settings settings;
    struct event_listener events;
    wall_ms wall;
    mono_ms now;
    struct dispatch_wake wake; /* of the newest turn */
    bool handled[JOB_TYPES];   /* types that have a handler */
    bool wide;                 /* the first pool serves the queues that no pool names */
    unsigned workers;          /* seats that should be taken */
    struct seat seats[SEATS];
    struct client_fetch fetches[FETCHES];
    struct client_wait waits[WAITERS];
    struct held held[HELD_MAX];
    unsigned held_count;
    json_t *file; /* what schedules.lua says; NULL: there is none */
    struct {
        mono_ms rests_until; /* a push was refused: it may be tried again only then */
        unsigned booted;     /* times that @reboot came since the start */
        unsigned changes;    /* under way */
        bool met;            /* ... more than one at once */
        uint64_t boots;      /* at this revision, it must come; 0: it need not */
    } entries[ENTRIES];
    unsigned bulks;        /* under way */
    mono_ms rests_until;   /* all was refused: dispatch may rest so long */
    uint64_t orphans[64];  /* leases whose outcome was refused: dispatch must ask again; 0: none */
    mono_ms orphans_until; /* a second after the last refusal, and then none may be left */
    uint64_t taken[256]; /* leases that a person ended, and dispatch knows: no word of their holders counts */
    unsigned taken_count;
    uint64_t shortened[64]; /* leases of workers that somebody else extended, to less: they may run out */
    unsigned shortened_count;
    bool disturbed; /* a clock jumped, the loop stood still, the disk was full, and it is not over yet */
    uint64_t disturbed_at; /* the last lease of the last time: those before may run out for that reason */
    /* what dispatch may do just now: see workers.c */
    struct seat *feeding, *losing;
    bool losing_innocent;
    bool losing_doubtful; /* on its CPU is a job of which it has two attempts, one of them released */
    job_id fed[64];       /* jobs that a worker answered lately */
    unsigned fed_count;
    job_id to_release[64];
    unsigned to_release_count;
    /* the step that runs */
    const struct step *step;
    uint64_t rng;
    unsigned spawned; /* names of jobs of one step */
    bool trace, calm;
    uint64_t commits, checks, turns;
};
extern struct sim sim;

/* Ends the history as a find. */
_Noreturn void sim_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line of the story, where it is told. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *name_of(job_id id); /* "job 12"; of one that is gone too */
/* Where the history's data lies, and what one runs. main.c */
void sim_run(const struct step *steps, unsigned count, uint64_t seed, const char *dir, bool trace);

/* ---- server.c: its life and its loop ------------------------------------------------------------------------- */

void server_start(bool first);
void server_stop(void);  /* cleanly */
void server_crash(void); /* what is not on disk is gone; seam_bury and all */
/* A turn of the loop; the store works only in server_flush. */
void server_turn(void);
void server_flush(void);
void server_collect(void);
/* Turns until nothing is on its way. */
void server_settle(void);
/* Both clocks go on; the loop turns when dispatch asked for it, and only then. */
void server_pass(int64_t ms);
void server_set_types(void);
void server_unpark(void);
/* A client's read of a job. */
void server_look(job_id id);
/* Everything is brought in order, and then every job must come to its end. */
void server_calm(void);

/* ---- clients.c, workers.c, entries.c, check.c ------------------------------------------------------------------------------ */

void clients_forget(void);     /* the server they spoke to is dead */
void clients_finish(void);     /* acknowledge all that they hold */
void clients_check_rest(void); /* nothing is on its way: everybody who must be told was */

void workers_start(struct seat *seat);
void workers_die(struct seat *seat, const char *how, bool innocent);
void workers_vanish(struct seat *seat); /* the server is gone, so they end */
void workers_read(void);                /* at a turn's end: frames that the server wrote */
void workers_beat(void);
void workers_end_doomed(bool all); /* all of them, or those whose time it is */
void workers_finish_all(void);     /* calm: each does well all that it has */
void workers_stop_all(void);       /* a clean stop: some finish, the others give back */
unsigned workers_suspects(job_id *ids);
void workers_submitted(const struct ticket *ticket); /* may dispatch do this now? */
void workers_released(const struct store_op *op);    /* dispatch was told of this RELEASE, or of many */
void workers_check_rest(void);
struct dispatch_host workers_host(void);

#define ENTRY_REST_MS 31000 /* so long dispatch lets an entry rest whose push was refused */
void entries_restarted(void);
void entries_begin(const struct store_op *op);     /* it is submitted, by whomever */
void entries_submitted(const struct store_op *op); /* may dispatch do this now? */
void entries_answered(const struct ticket *ticket);
void entries_check_rest(void);
/* Before a change is applied: what it plans follows from what is there. */
void entries_check_change(const struct op_schedule *op);
void entries_pause(bool pause); /* all of them; and all go on */

/* The store's contents against the model. `deep`: every index, too. */
void check_contents(bool deep);
/* A read that was answered: as of now. */
void check_seen(const struct op_get *get);
/* After server_settle. */
void check_rest(void);
/* Before a sweep is applied: a worker that answers does not lose its jobs. */
void check_lost(const struct op_sweep *sweep);
/* A dead letter that goes is in the archive. */
void check_archived(const struct op_sweep *sweep);
void check_event(struct event_listener *listener, const struct event *event);
void check_forget_events(void);

/* A step's dice without its step: pure. */
uint64_t mix(uint64_t x);
uint64_t mix_text(const char *text, uint64_t seed);
#endif
