/*
 * model.h - what must hold, in the plainest form: a list of jobs, a list of queues, and for each operation of
 * store.h what it does to them. Readable in ten minutes; slow on purpose.
 *
 * It shares no logic with the store: no index, no counter of jobs, no transition table. What the store keeps, the
 * model finds by looking at all jobs. What the store decides alone (ids, tokens) is taken from its answer, and must
 * only grow.
 *
 * model_apply is called for each operation of a commit, in the order of store.h: as submitted, leases last. It does
 * what the operation must do, and compares that with the answers in it. The first difference stays in `wrong`.
 */
#ifndef MOONQ_TESTS_SIM_MODEL_H
#define MOONQ_TESTS_SIM_MODEL_H

#include <stdarg.h>
#include "store/store.h"

#define MODEL_TEXT   32
#define MODEL_QUEUES 8             /* of one lease */
#define MODEL_BEGIN  1800000000000 /* the wall clock, when a history begins: 2027-01-15T08:00:00Z */

struct model_job {
    job_id id;
    char name[MODEL_TEXT]; /* in a history's words: the step that pushed it, "12", or "12.1" for a child */
    char type[MODEL_TEXT], queue[MODEL_TEXT], payload[MODEL_TEXT],
        holder[MODEL_TEXT]; /* payload: its start */
    size_t payload_len;
    enum job_state state;
    bool parked, cancelling, by_worker, started;
    uint32_t held; /* ready, and set aside by the pause of this number */
    uint8_t priority;
    uint16_t attempt, crashes, max_attempts;
    uint64_t token;
    uint32_t lease_ms;
    int64_t keep_ms;
    wall_ms since, pushed, expires_at;
    wall_ms due_at;       /* scheduled, retrying: ready then. Succeeded, cancelled, expired: deleted then */
    wall_ms deadline;     /* running */
    char key[MODEL_TEXT]; /* unique, of its type; empty: none */
    enum key_role role;
    uint16_t key_states;
    wall_ms key_until; /* it may hold the key until then */
    float progress;
    unsigned ended;            /* attempts in its history */
    enum job_step last_ended;  /* how the last of them ended */
    char schedule[MODEL_TEXT]; /* the cron entry that made it; empty: none */
    wall_ms planned_at;
};

struct model_queue {
    char name[MODEL_TEXT];
    bool paused, draining, own_limit;
    wall_ms paused_until;
    uint64_t limit;
    uint64_t pushed, succeeded, failed, dead, cancelled, expired, lost, crashed; /* ever */
};

/* A type that is paused, or was, and some of its jobs are held still. */
struct model_pause {
    uint32_t no;
    char type[MODEL_TEXT];
    bool ended;
    wall_ms until;
};

/*
 * The moments of a cron entry, in the plainest form: one every `period_ms`. That is all that @every says, and what some
 * expressions say in UTC, counted from the year 1970. Which moments an expression names in general, tests/unit/job knows.
 */
struct model_clockwork {
    const char *cron;
    int64_t period_ms, first_ms; /* period 0: @reboot, no moments */
    bool from_since;             /* counted from the moment at which the entry was set */
};
extern const struct model_clockwork model_clockworks[];
extern const unsigned model_clockwork_count;

struct model_entry {
    char name[MODEL_TEXT];
    char *definition;
    /* what it says */
    const struct model_clockwork *clock;
    wall_ms start, end;
    int64_t within_ms, jitter_ms; /* moments that are later become no job */
    uint64_t most,
        fired_max; /* so many of those that are due at once, the newest; jobs in all, 0 for any number */
    /* where it stands */
    enum schedule_source source;
    bool ended, paused;
    wall_ms pause_until, since, planned, last;
    uint64_t revision, fired, rows, counts[TICK_OUTCOMES];
    job_id job;
    wall_ms waits_since; /* this moment, and those after it, had to wait for the job before; 0: none had */
    struct tick_row *ledger; /* the rows that are kept; the newest is last, and has the number rows - 1 */
    unsigned kept;
};

#define MODEL_RIVAL   "another server" /* the note of ticks that dispatch did not decide: they need no reason */
#define MODEL_ENTRIES 4                /* more than a history has names for them */
#define MODEL_PAUSES  8                /* a history has fewer types */
struct model {
    struct model_job *jobs; /* by id */
    unsigned job_count, job_cap;
    struct model_queue *queues; /* in the order of their first use */
    unsigned queue_count, queue_cap;
    struct model_pause pauses[MODEL_PAUSES]; /* by number */
    unsigned pause_count;
    struct model_entry entries[MODEL_ENTRIES];
    unsigned entry_count;
    job_id last_id;
    uint64_t last_token;
    /* the rules, as in struct store_settings */
    uint64_t queue_limit;
    int64_t dead_keep_ms;
    uint64_t keep_max,
        dead_max; /* 0: any number. Bytes are not the model's: it does not know the records' lengths */
    unsigned crash_limit;
    bool no_space; /* the disk is full: what adds data is refused */
    bool guessing; /* answers are void: only the code is asked for */
    char wrong[400];
};

void model_init(struct model *m);
void model_apply(struct model *m, const struct store_op *op);

/* Keeps the first difference. */
void model_wrong(struct model *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct model_job *model_find(const struct model *m, job_id id); /* or NULL */
struct model_queue *model_queue(const struct model *m, const char *name);
unsigned model_count(const struct model *m, const char *queue, enum job_state state);
uint64_t model_waiting(const struct model *m, const char *queue);
bool model_is_final(const struct model_job *job);
/* Of the jobs that `wanted` says yes to, the one that `before` puts first; NULL if there is none. */
struct model_job *model_first(const struct model *m, const void *with,
                              bool (*wanted)(const struct model_job *, const void *with),
                              bool (*before)(const struct model_job *, const struct model_job *));

/* The first moments at which a sweep has work; WALL_NEVER. */
wall_ms model_next_due(const struct model *m);
wall_ms model_next_lease(const struct model *m);
wall_ms model_next_old(const struct model *m);
wall_ms model_next_dead(const struct model *m);
wall_ms model_next_pause(const struct model *m);
/* The number of the pause that is in force for this type at this moment; 0: none. */
uint32_t model_pause_of(const struct model *m, const char *type, wall_ms now);

/* Who stands so to this key of this type; NULL for nobody. */
struct model_job *model_key(const struct model *m, const char *type, const char *key, enum key_role role);

struct model_entry *model_entry(const struct model *m, struct slice name); /* or NULL */
/* Its first moment after this one; WALL_NEVER. */
wall_ms model_next_moment(const struct model_entry *entry, wall_ms after);
/* The job that it made last has not ended. */
bool model_job_goes_on(const struct model *m, const struct model_entry *entry);
/* The server was started anew: what its memory knew of entries is gone. */
void model_restarted(struct model *m);
/* Keeps the first difference between the store's record, or rows from the newest on, and what must be. */
void model_compare_entry(struct model *m, const struct model_entry *entry, const struct schedule_view *view);
void model_compare_ledger(struct model *m, const struct model_entry *entry, const struct tick_row *rows,
                          unsigned count);

/* A filter without a cursor fits this job. */
bool model_fits(const struct model_job *job, const struct job_filter *filter);
#endif
