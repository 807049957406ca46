/*
 * store.h - the store contract: what may be asked of it, and when it answers.
 *
 * It speaks of jobs, not of keys. An operation is a struct that begins with struct store_op; the caller fills
 * it, submits it, and gets it back through its `done` when the commit that holds it is on disk (for what only
 * reads: when it was read). Until then the caller keeps the struct, and every slice it points to, alive and
 * unchanged. Answers inside it belong to it and are freed by store_op_release.
 *
 * Nothing above this header may assume that the store is local, synchronous, or that we are its only user.
 *
 * Time: each operation carries `now`; the store reads no clock. The same batches with the same times give the
 * same contents and the same answers (ids and tokens are counters in the store).
 *
 * Keep: a job that succeeds, is cancelled or expires with keep_ms 0 is deleted in that same step.
 *
 * Order: operations of one flush are applied, and answered, in the order of their submission, but leases after
 * everything else, so that a job is pushed and handed out in one commit. Each is all or nothing; a refused one changes
 * nothing. Reads see every commit whose `done` has run when they were submitted.
 *
 * Every change is a compare-and-set: of the state (WRONGSTATE names it), and for a holder's operations of the
 * lease token (LOST: also for a second ACK of one's own; NOTFOUND if the job is gone altogether).
 *
 * Damage: a job whose record cannot be decoded is moved to quarantine by the change that meets it (which answers
 * INTERNAL, or passes over it), told by an alarm, and counted in op_stats. Reads answer INTERNAL or pass over it.
 *
 * Threads: store_submit, store_flush and store_collect belong to one thread, the loop. The store's own threads
 * call nothing of ours but `wake`.
 */
#ifndef MOONQ_STORE_STORE_H
#define MOONQ_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/pulse.h"
#include "job/job.h"

struct store;

enum store_verb {
    /* changes, in one commit a batch */
    STORE_PUSH,       /* struct op_push */
    STORE_LEASE,      /* struct op_lease */
    STORE_COMPLETE,   /* struct op_complete */
    STORE_FAIL,       /* struct op_fail */
    STORE_RELEASE,    /* struct op_release */
    STORE_EXTEND,     /* struct op_extend */
    STORE_NOTE,       /* struct op_note: progress, log lines */
    STORE_PARK,       /* struct op_step: by id and token, running -> ready and parked */
    STORE_CANCEL,     /* struct op_step */
    STORE_RETRY,      /* struct op_step */
    STORE_DELETE,     /* struct op_step */
    STORE_PROMOTE,    /* struct op_step */
    STORE_RESCHEDULE, /* struct op_step: another time */
    STORE_EDIT,       /* struct op_step: a new payload */
    STORE_TAKE_BACK,  /* struct op_step: running -> ready, whoever holds it */
    STORE_MANY,       /* struct op_many: a step for all that a filter finds */
    STORE_QUEUE,      /* struct op_queue: pause, resume, drain, limit */
    STORE_TYPE,       /* struct op_type: pause and resume a job type */
    STORE_FREE_KEY,   /* struct op_unique: takes a unique key from its holder */
    STORE_SCHEDULE,   /* struct op_schedule: sets, ends, pauses a cron entry */
    STORE_TICK, /* struct op_tick: a planned moment of an entry is over: it has become a job, or it has not */
    STORE_SWEEP,   /* struct op_sweep: what time does: due, expired, lost, old */
    STORE_UNPARK,  /* struct op_unpark */
    STORE_RECOVER, /* struct op_recover: at start, leases of workers that are gone */
    STORE_GROUP,   /* struct op_group: several changes, all or none */
    /* reads, each of one snapshot */
    STORE_GET,       /* struct op_get */
    STORE_LIST,      /* struct op_list */
    STORE_QUEUES,    /* struct op_queues */
    STORE_STATS,     /* struct op_stats */
    STORE_UNIQUE,    /* struct op_unique: who holds a unique key */
    STORE_DOCTOR,    /* struct op_doctor */
    STORE_SCHEDULES, /* struct op_schedules */
    STORE_TICKS,     /* struct op_ticks */
    /* a read that also writes: not the store, but the archive beside it */
    STORE_ARCHIVE, /* struct op_archive */
    STORE_VERBS,
};

/* What every operation begins with. */
struct store_op {
    struct store_op *next; /* the store's */
    uint64_t sees;         /* the store's: a read sees this batch and all before it */
    enum store_verb verb;
    enum mq_code code;                 /* answer: MQ_OK, or why not; `err` then has the message */
    wall_ms now;                       /* the moment of the request */
    void (*done)(struct store_op *op); /* on the loop; may free the op */
    void *owner;                       /* the caller's */
    struct buf memory;                 /* the answer's; freed by store_op_release */
    struct buf own;                    /* bytes that slices of the request point to; freed likewise */
    bool want_names;                   /* also answer `type` and `queue`, where the verb is about one job */
    struct slice type, queue;          /* answers, in memory; empty if not wanted */
    struct mq_err err;                 /* only with a code */
};

/* Clears the head and sets verb and now. Does not touch what follows the head. */
void store_op_init(struct store_op *op, enum store_verb verb, wall_ms now);
/* Frees the answer, not the struct. */
void store_op_release(struct store_op *op);
/* Type and queue of the next job in the names of an operation on many jobs; both empty where there are no more. */
void store_names_next(struct slice *names, struct slice *type, struct slice *queue);

/* What a push has done. */
enum push_outcome {
    PUSH_ADDED,       /* a new job */
    PUSH_BEHIND,      /* a new job, blocked: it waits for the key, which a running job holds */
    PUSH_SKIPPED,     /* nothing */
    PUSH_REPLACED,    /* a job that waited has its payload and times */
    PUSH_RESCHEDULED, /* a job that waited has its times */
    PUSH_OUTCOMES,
};

/*
 * Adds a job. FULL: its queue has a limit and is at it. BUSY: its queue is draining. NOSPACE: the disk is full.
 * `spec.pushed_at` is set to now by the store.
 *
 * A unique key is one of its type's: of all jobs of this type, at most one holds it, from its push for as long as it is
 * in one of its unique_states, and until its unique_until. What a push does that finds it held, `conflict` says. One
 * job at most waits behind the holder. A job that has lost its key by leaving those states takes it again when it
 * comes back, if nobody has it; RETRY is refused if somebody has. A record that holds a key with an end is kept until then.
 */
struct op_push {
    struct store_op op;
    struct job_spec spec;
    wall_ms run_at; /* at or before now: ready at once */
    enum unique_conflict conflict;
    /* answers */
    enum push_outcome outcome;
    job_id id;            /* of the new job, or of the one that stands for it */
    job_id holder;        /* who held its unique key; JOB_ID_NONE: nobody did */
    enum job_state state; /* of the job `id` */
};

/*
 * A unique key. As a read (STORE_UNIQUE): who holds it, a row a job type. As a change (STORE_FREE_KEY): the holder
 * loses it, and whoever waits has it from now on. NOTFOUND: nobody holds it; BADARG: jobs of several types do, and none
 * is named.
 */
struct op_unique {
    struct store_op op;
    struct slice key;
    struct slice job_type; /* empty: of all types */
    /* answers, in op.memory */
    struct unique_row {
        struct slice type;
        job_id holder,
            waiter;           /* waiter: JOB_ID_NONE for none. After STORE_FREE_KEY: who had it, who has it */
        enum job_state state; /* of the holder */
        wall_ms until;        /* WALL_NEVER */
    } * rows;
    unsigned count;
};

/* A job handed out. */
struct leased_job {
    job_id id;
    uint64_t token;
    wall_ms deadline;
    uint16_t attempt; /* this one, from 1 */
    uint16_t crashes;
    bool was_due;        /* it had waited for a time, */
    int64_t late_ms;     /* and begins so long after it */
    struct slice record; /* the spec as record_write_spec made it */
};

/*
 * Hands out up to `max` ready jobs. Without `shares` from the queues in the order given: all of the first before the
 * second; within a queue by priority, then by id. With them, from all the queues together by priority, then by id, and
 * from the n-th no more than shares[n]; if that was not enough, from all once more, now as without. No queue may then be
 * named twice. Paused queues are passed over, and so are parked jobs if `by_worker`. Jobs of a paused type that stand
 * before others are set aside (held), `hold_max` of them at most: then the answer ends early, with `more`. Jobs past
 * their expires_at become expired instead (their ids are in `expired`). Finding none is MQ_OK with count 0.
 */
struct op_lease {
    struct store_op op;
    const struct slice *queues;
    const unsigned *shares; /* of each queue; or NULL */
    unsigned queue_count;
    unsigned max;
    size_t bytes_max;  /* stops behind the job that reaches it; 0: no limit */
    unsigned hold_max; /* 0: no limit */
    struct slice holder;
    uint32_t lease_ms; /* 0: each job's own */
    bool by_worker;    /* a worker of this server, not a client: see job_status.held_by_worker */
    /* answers, in op.memory */
    struct leased_job *jobs;
    unsigned count;
    unsigned held; /* so many were set aside */
    bool more;     /* so many were set aside, or had expired: ask again */
    job_id *expired;
    unsigned expired_count;
    struct slice expired_names; /* if op.want_names: for store_names_next, in the order of `expired` */
};

/*
 * Acknowledges: the job succeeded. Its children are pushed in the same step or, if one of them is refused, the
 * whole is refused with that push's code and nothing happens. LOST, WRONGSTATE, NOTFOUND.
 */
struct op_complete {
    struct store_op op;
    job_id id;
    uint64_t token;
    struct slice result; /* kept as long as the record; empty for none */
    uint32_t scripts;    /* as in struct job_attempt */
    struct op_push **children;
    unsigned child_count;
};

/* What follows a failed attempt. */
enum fail_verdict {
    FAIL_RETRY,     /* at run_at; if attempts are spent: dead */
    FAIL_DEAD,      /* at once */
    FAIL_DISCARD,   /* cancelled, without a dead letter */
    FAIL_SNOOZE,    /* scheduled at run_at; the attempt is not charged */
    FAIL_CANCELLED, /* it was asked to stop and did: cancelled */
};

struct op_fail {
    struct store_op op;
    job_id id;
    uint64_t token;
    enum fail_verdict verdict;
    wall_ms run_at;
    struct slice code, message, traceback;
    uint32_t scripts;
    /* answers */
    enum job_state state; /* retrying, dead, cancelled or scheduled */
    uint16_t attempt;
};

/* How a holder loses a job without having said how it went. */
enum release_kind {
    RELEASE_GIVE_BACK, /* uncharged: shutdown, a neighbour's crash */
    RELEASE_CRASHED, /* it took its worker down: charged, and counted as a crash; dead at `crash_limit` crashes
                          or when attempts are spent; otherwise retrying at run_at */
    RELEASE_TIMED_OUT, /* its worker had to be killed because it would not end: charged; as a failed attempt */
    RELEASE_UNSTARTED, /* GIVE_BACK by who knows that nobody began it: it may still expire, as if it was never leased */
};

struct op_release {
    struct store_op op;
    job_id id;
    uint64_t token;
    enum release_kind kind;
    wall_ms run_at;       /* for what is charged */
    struct slice message; /* "worker w1 died of signal 11 (SIGSEGV)" */
    uint32_t scripts;
    /* answers */
    enum job_state state; /* ready, retrying or dead; cancelled if it was asked to stop */
    uint16_t attempt;
};

/* Moves the end of a lease to now + lease_ms. LOST. */
struct op_extend {
    struct store_op op;
    job_id id;
    uint64_t token;
    uint32_t lease_ms; /* 0: the job's own */
    /* answer */
    wall_ms deadline;
    bool cancelling; /* the holder should stop: somebody cancelled the job */
    bool overdue;    /* a client's: this attempt takes longer than the job's timeout */
};

/* Progress and log lines of a running job. LOST if a token is given (not 0) and stale. */
struct op_note {
    struct store_op op;
    job_id id;
    uint64_t token;
    float progress;        /* below 0: unchanged */
    struct slice text;     /* with the progress */
    struct slice log_line; /* for the job's own log, or empty; the store keeps the last LOG_LINES_MAX */
    /* answer */
    bool cancelling;
};
#define LOG_LINES_MAX 200 /* a job; with a line's limit of 4 KiB, at most 800 KiB each */

/*
 * One person's step on one job. RETRY begins a new life (no attempts, no crashes, no expiry; the history stays);
 * of a retrying job it is only the next attempt, now. RESCHEDULE gives a scheduled, retrying or ready job the time run_at;
 * one that is not later than now makes it ready. TAKE_BACK is RELEASE_GIVE_BACK without the holder's word: the
 * attempt is not charged, and the holder's token is stale from then on.
 */
struct op_step {
    struct store_op op;
    job_id id;
    uint64_t token;       /* PARK: of the lease */
    struct slice payload; /* EDIT; RETRY: the new one if `edit` */
    bool edit;
    struct slice reason; /* CANCEL: kept as the status' note; TAKE_BACK: with the attempt. May be empty */
    bool want_holder;    /* also answer `holder` */
    wall_ms run_at; /* RETRY, PROMOTE: 0 for at once. Later than now: a scheduled (PROMOTE) or retrying (both)
                            job gets this time and keeps its state; RETRY of any other answers BADARG */
    /* answers */
    enum job_state was, state;
    bool signalled;      /* CANCEL of a running job: its holder is told, state stays running */
    uint64_t holds;      /* that holder's token; of TAKE_BACK, the one that is stale now */
    uint16_t attempt;    /* TAKE_BACK: the one that was broken off */
    struct slice holder; /* who holds or held it, if it ran and want_holder; in op.memory */
};

/* What a listing or a bulk step looks for. An empty slice, a zero mask, a zero time: anything. */
struct job_filter {
    uint32_t states; /* bit (1 << state) */
    struct slice queue, type, tag;
    struct slice holder; /* of running jobs */
    wall_ms before;      /* came into its state before this moment */
    wall_ms after;       /* ... at or after this one */
};

#define CURSOR_MAX_BYTES 80

/*
 * One chunk of a bulk step: CANCEL, RETRY, DELETE, PROMOTE or TAKE_BACK. Looks at no more than `limit` jobs, in the order
 * of the index that the filter names, and only at jobs that were pushed (CANCEL, DELETE) or came into their state (the
 * others, which may bring a job back to where the walk comes) before `since`. Call again with the cursor until `finished`.
 */
struct op_many {
    struct store_op op;
    enum store_verb step;
    struct job_filter filter;
    struct slice reason; /* of the step */
    wall_ms since;
    unsigned limit;
    struct slice cursor; /* empty at first; then next_cursor of the chunk before, copied by the caller: hex
                            digits, at most CURSOR_MAX_BYTES */
    /* answers */
    struct slice next_cursor; /* in op.memory */
    bool finished;
    unsigned looked_at;
    job_id *touched; /* in op.memory; for running jobs that were signalled too */
    uint64_t *holds; /* their tokens if signalled or taken back, else 0 */
    uint8_t *states; /* what each is now; an enum job_state */
    unsigned touched_count;
    struct slice names; /* if op.want_names: for store_names_next, in the order of `touched` */
};

/* Counters of one queue; kept in the same transaction as what they count. */
struct queue_counts {
    uint64_t in_state[JOB_STATES];                                               /* jobs there now */
    uint64_t pushed, succeeded, failed, dead, cancelled, expired, lost, crashed; /* ever */
    uint64_t parked; /* of those in_state[JOB_READY]: not handed to workers */
    uint64_t
        held; /* of those in_state[JOB_READY]: met by a lease while their type was paused, and set aside */
};

/* Nothing is handed out of a paused queue, and no job of a paused type; pushes go on, and so does what runs. */
#define PAUSE_REASON_MAX 200 /* bytes: a sentence */
#define PAUSE_BY_MAX     63
#define TYPES_PAUSED_MAX 200 /* each is looked at for each job that is handed out meanwhile */
struct pause_view {
    bool on;
    wall_ms since,
        until; /* until: it ends by itself then, in a sweep PAUSES; WALL_NEVER: when somebody resumes */
    struct slice reason, by;
};
struct type_pause {
    struct slice type;
    struct pause_view pause;
};

#define QUEUE_UNLIMITED 0
struct queue_view {
    struct slice name;
    uint32_t no;
    struct pause_view pause;
    bool draining;
    uint64_t limit; /* jobs waiting (blocked, scheduled, ready, retrying) at most; QUEUE_UNLIMITED */
    struct queue_counts counts;
    wall_ms oldest_ready; /* pushed_at of the head of the queue; WALL_NEVER if none. Only in op_queues */
};

/* Creates the queue if needed and changes what is named. NOTFOUND: RESUME of a queue that there is not. */
struct op_queue {
    struct store_op op;
    struct slice name;
    enum {
        QUEUE_KEEP,
        QUEUE_PAUSE,
        QUEUE_DRAIN,  /* refuses pushes, runs what is there */
        QUEUE_RESUME, /* ends both */
    } change;
    struct slice reason, by; /* PAUSE: at most PAUSE_REASON_MAX and PAUSE_BY_MAX bytes, or BADARG */
    wall_ms until;           /* PAUSE: 0 or WALL_NEVER for no end. One that is paused keeps its `since` */
    bool set_limit;
    uint64_t limit;
};

/*
 * Pauses a job type, or changes the pause; or ends it: NOTFOUND if it is not paused. FULL: TYPES_PAUSED_MAX are.
 * What was held becomes ready again in sweeps PAUSES, a chunk at a time.
 */
struct op_type {
    struct store_op op;
    struct slice type;
    bool resume;
    struct slice reason, by; /* as in op_queue */
    wall_ms until;
};

/*
 * What time does, a chunk: each kind looks at no more than `limit` jobs.
 * DUE: scheduled and retrying -> ready, and what should have started by now -> expired; unique keys whose time is over
 * are free (which is no answer).
 * LEASES: leases that ran out -> ready, or dead if attempts are spent, or cancelled if that was asked for.
 * OLD: finished records past their keep are deleted; and while there are more than keep_max, or they take more than
 * keep_bytes, those whose keep ends first.
 * PAUSES: pauses whose time is over end, and what a pause of a type held is ready for all again.
 * DEAD: dead letters past dead_keep, and the oldest of those beyond dead_max or dead_bytes. In two steps, so that none is
 * dropped before it is archived: without `letters` those that must go are named, and stay (their state is told as
 * JOB_DEAD); with them, those that still are dead by the same token, and still must go, are deleted.
 */
struct letter {
    job_id id;
    uint64_t token; /* of its last lease: one that was retried and died again has another */
};
struct op_sweep {
    struct store_op op;
    enum {
        SWEEP_DUE,
        SWEEP_LEASES,
        SWEEP_OLD,
        SWEEP_PAUSES,
        SWEEP_DEAD,
        SWEEPS,
    } what;
    unsigned limit;
    const struct letter *letters; /* DEAD */
    unsigned letter_count;
    /* answers, in op.memory */
    unsigned evicted; /* OLD: of those deleted, so many before their time, for there were too many */
    struct swept {
        job_id id;
        enum job_state was, state; /* JOB_NONE: deleted */
        uint16_t attempt;
        uint64_t token;           /* DEAD */
        struct slice type, queue; /* if op.want_names */
    } * swept;
    unsigned count;
    struct ended_pause {
        bool is_type; /* or a queue */
        struct slice name;
    } * ended;
    unsigned ended_count;
    bool more; /* call again */
};

/* Parked jobs of these types (all if type_count is 0) may be handed to workers again; a chunk of `limit`. */
struct op_unpark {
    struct store_op op;
    const struct slice *types;
    unsigned type_count;
    unsigned limit;
    job_id from; /* where to go on; 0 at first */
    /* answers */
    unsigned count;
    job_id next; /* 0: finished */
};

/*
 * At start: every job that a worker of this server held goes back. Uncharged, but those in `suspects`, which
 * were on the CPU when the server died: as RELEASE_CRASHED with `message`. Chunks of `limit`.
 */
struct op_recover {
    struct store_op op;
    const job_id *suspects;
    unsigned suspect_count;
    struct slice message;
    wall_ms run_at; /* for the suspects */
    unsigned limit;
    /* answers */
    unsigned given_back, charged, dead;
    bool more;
};

/*
 * Several changes as one: all or none. If one is refused, so is the group, with that one's code and `failed`
 * its index; the others' answers are void. Members' `done` is not called; the group's is. Any change may be a
 * member but LEASE and GROUP (BADARG).
 */
struct op_group {
    struct store_op op;
    struct store_op **members;
    unsigned count;
    /* answer */
    unsigned failed;
};

/* Everything about one job. NOTFOUND. */
struct op_get {
    struct store_op op;
    job_id id;
    bool with_history;
    /* answers, in op.memory */
    struct job_view view;
    struct pause_view queue_pause, type_pause;
    job_id key_holder; /* of a job that waits for a unique key: who holds it */
    struct slice result;
    struct job_attempt *attempts; /* oldest first */
    unsigned attempt_count;
    struct log_line {
        wall_ms at;
        struct slice text;
    } * log;
    unsigned log_count;
};

/* A page of jobs, ordered by the index that the filter's states name (by id if they name none). */
struct op_list {
    struct store_op op;
    struct job_filter filter;
    unsigned limit;      /* rows */
    unsigned budget;     /* jobs looked at; then the page is partial */
    struct slice cursor; /* empty: from the start. BADARG if it is not one of ours */
    bool newest_first;
    /* answers, in op.memory */
    struct job_view *jobs;
    unsigned count;
    struct slice
        next_cursor; /* empty: that was the last page. May come with count 0: partial. A page also ends
                                 when its snapshot's time is over, or at some MiB of payloads */
};

struct op_queues {
    struct store_op op;
    /* answers, in op.memory */
    struct queue_view *queues; /* by name */
    unsigned count;
    struct type_pause *types; /* those that are paused, in the order in which they were */
    unsigned type_count;
};

/* ---- schedules: cron entries, and the ledger of their ticks -------------------------------------------------- */

/*
 * The store evaluates no cron: an entry's definition is bytes to it, and the next planned moment is told to it. It
 * keeps the promise that makes a tick an identity: each planned moment of an entry is decided once, in one commit with
 * the job that it becomes, with its row in the ledger, and with the next planned moment. Moments of an entry only grow.
 */
#define SCHEDULES_MAX         10000 /* entries, those that have ended too: each costs the loop some memory */
#define SCHEDULE_BYTES_MAX    (64 << 10) /* of a definition: it is written at every tick */
#define SCHEDULE_KEEP_DEFAULT 1000       /* rows of an entry's ledger */
#define SCHEDULE_KEEP_MAX     10000
#define TICK_NOTE_MAX         300 /* bytes */

/* On disk. */
enum schedule_source {
    SCHEDULE_OF_FILE = 1,    /* the application's schedules.lua owns it */
    SCHEDULE_OF_COMMAND = 2, /* CRON SET */
};

/* What became of a planned moment. On disk: never renumbered. */
enum tick_outcome {
    TICK_FIRED = 1,     /* a job, in time */
    TICK_CAUGHT_UP = 2, /* a job, late: the server was down, or busy */
    TICK_WAITED = 3,    /* a job, after the one before it had ended */
    TICK_REPLACED = 4,  /* a job, and the one before it was cancelled */
    TICK_RUN = 5,       /* a job, because a person wanted one: no planned moment */
    TICK_SKIPPED = 6,   /* the job before it had not ended */
    TICK_MISSED = 7,    /* too late for the entry's rule of catching up */
    TICK_MERGED = 8,    /* by a change of the clock: another moment stands for it */
    TICK_PAUSED = 9,    /* the entry was paused */
    TICK_FAILED = 10,   /* no job could be made: see the note */
    TICK_OUTCOMES = 11,
};
/* A job came of it. */
static inline bool tick_made_job(enum tick_outcome outcome)
{
    return outcome >= TICK_FIRED && outcome <= TICK_RUN;
}
const char *tick_outcome_name(enum tick_outcome outcome); /* "caught_up" */

/* A row of the ledger: one moment, or several in a row of which the same became. */
struct tick_row {
    uint64_t no; /* of the entry's rows, from 0 */
    enum tick_outcome outcome;
    wall_ms planned, until; /* first and last moment */
    uint32_t count;         /* of moments */
    bool more;              /* at least so many: nobody counted on */
    wall_ms at;             /* when it was decided */
    job_id job;             /* JOB_ID_NONE: none */
    struct slice note;
};

struct schedule_view {
    struct slice name, definition;
    enum schedule_source source;
    bool ended; /* only its ledger is left */
    struct pause_view pause;
    uint64_t revision; /* grows with each change but ticks */
    wall_ms since;     /* it was set, first or again after it had ended */
    wall_ms planned;   /* the next moment; WALL_NEVER: none */
    wall_ms last;      /* the last that was decided; 0: none */
    job_id job;        /* the newest that came of it; of a RUN only if the one before it had ended */
    uint64_t fired;    /* moments that became a job, since `since` */
    uint64_t counts[TICK_OUTCOMES]; /* moments ever, by what became of them */
    uint64_t rows, kept;            /* of the ledger: ever, and still there */
};

/*
 * SET creates the entry or gives it a new definition; a pause stays. END keeps the ledger, ERASE does not. CONFLICT:
 * the entry is not at `revision` any more, or a command wants to change what the file owns; the file takes what a command
 * has set, or a later moment than `planned` is decided already. NOTFOUND, FULL, TOOBIG, NOSPACE.
 *
 * A SET whose `planned` was overtaken by a tick, and a RESUME without one (0), leave the plan as it is.
 */
struct op_schedule {
    struct store_op op;
    struct slice name;
    enum {
        SCHEDULE_SET,
        SCHEDULE_END,
        SCHEDULE_ERASE, /* of an ended one too */
        SCHEDULE_PAUSE,
        SCHEDULE_RESUME,
        SCHEDULE_REPLAN, /* another next moment: time zones have changed */
    } change;
    enum schedule_source source; /* who asks: SET, END, ERASE */
    uint64_t revision;           /* 0: whatever it is */
    struct slice definition;     /* SET */
    wall_ms planned;             /* SET, RESUME, REPLAN */
    struct slice reason, by;     /* PAUSE: as in op_queue */
    wall_ms until;
    struct tick_row passed; /* RESUME: the moments of the pause, for the ledger; count 0: none */
    /* answer, in op.memory: as it is now; of ERASE void */
    struct schedule_view view;
};

enum overlap {
    OVERLAP_ALLOW,
    OVERLAP_SKIP,
    OVERLAP_QUEUE,   /* BUSY while the job before it has not ended: ask again then */
    OVERLAP_REPLACE, /* cancels the job before it */
    OVERLAPS,
};

/*
 * Decides the entry's planned moment. CONFLICT: it is not what is planned (any more): read the entry again. If the push
 * is refused, so is the tick, with that code, and nothing happens.
 */
struct op_tick {
    struct store_op op;
    struct slice name;
    uint64_t revision;
    struct tick_row
        row;      /* outcome, planned, until, count, more, note. With RUN, or `extra`, the plan stays */
    bool extra;   /* not planned from the entry's times, but later than its last: a start of the server */
    wall_ms next; /* the next planned moment, later than row.until; WALL_NEVER */
    struct tick_row
        merged; /* MERGED; count 0: none. Its own row: moments that a clock change has left to this one */
    enum overlap overlap; /* of those that make a job, but RUN */
    uint32_t keep;        /* rows that the ledger keeps */
    uint64_t fired_max;   /* after so many jobs nothing is planned any more; 0: no limit */
    struct op_push *push; /* of those that make a job; its spec.schedule is filled in by the caller */
    /* answers; the view in op.memory */
    enum tick_outcome outcome;   /* SKIPPED or REPLACED, where the overlap says so */
    job_id before;               /* the job that had not ended; JOB_ID_NONE */
    enum job_state before_state; /* now */
    uint64_t holds;              /* REPLACED: the token of whoever runs it and must be told; 0 */
    struct schedule_view view;
};

/* Entries by name. With `name` that one: NOTFOUND. */
struct op_schedules {
    struct store_op op;
    struct slice name;
    struct slice after; /* else: those behind this name */
    unsigned limit;
    /* answers, in op.memory */
    struct schedule_view *schedules;
    unsigned count;
    bool more;
};

/* An entry's ledger, newest first. NOTFOUND: no such entry. */
struct op_ticks {
    struct store_op op;
    struct slice name;
    uint64_t before; /* rows with lower numbers only; 0: from the newest */
    unsigned limit;
    /* answers, in op.memory */
    struct tick_row *rows;
    unsigned count;
    bool more; /* there are older ones */
};

/* Figures of the store itself; the counters of jobs are in op_queues. */
struct op_stats {
    struct store_op op;
    /* answers */
    uint64_t commits, operations; /* since the store was opened: batches, and what was in them */
    uint64_t checkpoints;         /* LMDB's own commits since then: what they hold needs no journal */
    uint64_t commit_us_total, sync_us_last;
    uint64_t map_bytes, used_bytes, file_bytes, disk_free_bytes;
    uint64_t free_pages, page_bytes;
    unsigned readers, readers_max;
    int64_t oldest_reader_ms;            /* age of the oldest open snapshot; 0 if none */
    uint64_t quarantined;                /* records that could not be decoded, moved aside */
    uint64_t unique_keys;                /* held now */
    uint64_t batch_max;                  /* most operations in one commit */
    uint64_t finished_bytes, dead_bytes; /* what finished records and dead letters take, roughly */
    unsigned layout;
};

/* Do the counters of all queues and the indexes agree, in one snapshot? */
#define DOCTOR_CHECKS 9
struct op_doctor {
    struct store_op op;
    /* answers */
    struct doctor_check {
        const char *index;       /* its name */
        uint64_t counted, there; /* entries that it must have by the counters, and has */
        bool agrees;
    } checks[DOCTOR_CHECKS];
    unsigned count, wrong;
};

/*
 * Writes these dead letters, with payload, history and log, to the archive: a file beside the store, a JSON object a line,
 * one file a month (DIR/archive/dead-2026-11.jsonl). Answers when it is on disk. Those that are not dead any more by that
 * token are left out. NOSPACE, NOPERM, INTERNAL: nothing was added, or lines without their end, which the next call removes.
 */
struct op_archive {
    struct store_op op;
    const struct letter *letters;
    unsigned letter_count;
    /* answers */
    unsigned count; /* written */
};

/* What one collected commit changed that dispatch wants to know without asking. */
struct queue_news {
    struct slice name;
    uint64_t ready;   /* may be handed to anybody */
    uint64_t parked;  /* ready too, but only clients may have them. What is held is in neither */
    uint64_t waiting; /* blocked, scheduled, ready, retrying: what a limit counts */
    bool paused, draining;
};
struct store_news {
    const struct queue_news *queues; /* those touched; at open: all */
    unsigned queue_count;
    /* jobs that waited behind another and wait no more */
    const struct unblocked {
        job_id id;
        enum job_state state; /* ready, or scheduled */
    } * unblocked;
    unsigned unblocked_count;
    struct slice unblocked_names; /* for store_names_next, in their order */
    wall_ms next_due;             /* the first moment at which a sweep DUE has work; WALL_NEVER */
    wall_ms next_lease;           /* ... a sweep LEASES */
    wall_ms next_old;             /* ... a sweep OLD */
    wall_ms next_pause;           /* ... a sweep PAUSES; 0: at once */
    wall_ms next_dead;            /* ... a sweep DEAD; 0: at once. next_old is 0 too while too much is kept */
    unsigned dead_percent;        /* of dead_max or dead_bytes, of which there are more; 0: no limit */
};

/* Who hears of commits. Called on the loop inside store_collect, before the `done` of the operation. */
struct store_listener {
    void *owner;
    /* each change that was decided, made (code MQ_OK) or refused; of a group, the group: its members are in it */
    void (*committed)(void *owner, const struct store_op *op);
    void (*news)(void *owner, const struct store_news *news); /* after the operations of a commit */
    /* record.quarantined, index.mended, queue.mended, disk.full, disk.recovered; after the news */
    void (*alarm)(void *owner, const char *event, const char *text);
    /* before the operations of a commit that has unblocked jobs: see store_news. May be NULL */
    void (*unblocked)(void *owner, const struct store_news *news);
};

struct store_settings {
    const char *dir;               /* created if its parent exists */
    uint64_t map_bytes;            /* first size of the map; it grows by doubling. 0: 64 MiB */
    uint64_t reserve_bytes;        /* disk that pushes leave free for acknowledgements. 0: 8 MiB */
    uint64_t queue_limit;          /* of queues without their own; QUEUE_UNLIMITED */
    int64_t dead_keep_ms;          /* dead letters older than this are deleted; 0: never */
    uint64_t keep_max, keep_bytes; /* so many finished records at most, of so many bytes; 0: any number */
    uint64_t dead_max, dead_bytes; /* likewise dead letters */
    unsigned crash_limit;          /* crashes that make a job poison; 0: no number does */
    unsigned readers;              /* reader threads; 0: everything runs inside store_flush, for tests */
    int64_t snapshot_max_ms;       /* a read may hold its snapshot so long. 0: 5000 */
    int64_t relaxed_ms;            /* 0: what is answered is on disk. Otherwise see below */
    uint64_t journal_bytes;        /* the journal is emptied when it has so many. 0: 64 MiB */
    bool nosync;                   /* tests only: never wait for the disk */
};

/*
 * Relaxed: an answer does not wait until the disk has what it speaks of. That is so at the latest relaxed_ms later: so long at
 * most is a confirmed change in danger of a power cut, or a crash of the kernel. Not of a crash of ours; and whatever happens,
 * the store is whole, as of some batch. Leases' tokens and ids do not repeat even then.
 */

/*
 * Opens or creates. CONFLICT: another process serves this folder (its pid is in the message). BADARG: not a
 * moonq folder, or a newer layout. NOPERM: not writable. NOTFOUND: its parent does not exist. INTERNAL: the disk fails, or
 * what is there is damaged; it is left as it was found. After it, `news` of the whole comes with the first store_collect.
 */
enum mq_code store_open(struct store **out, const struct store_settings *settings, struct mq_err *err);

/* `wake` is called from any thread when store_collect has something to do. */
void store_attach(struct store *store, const struct store_listener *listener, void (*wake)(void *owner),
                  void *wake_owner);

/* Some settings may change while it runs: queue_limit, dead_keep_ms, crash_limit, keep_* and dead_*. */
void store_configure(struct store *store, const struct store_settings *settings);

void store_submit(struct store *store, struct store_op *op);
void store_flush(struct store *store);   /* hands what was submitted to the store's threads */
void store_collect(struct store *store); /* runs listener and `done` of all that is finished */

/*
 * The loops of its own threads, behind what is in the list. Asks nobody, so it answers also when they stand still; none
 * where it has no threads.
 */
void store_pulses(const struct store *store, mono_ms now, struct pulse *list, unsigned *count);

/* Waits until everything submitted is on disk and collected, then closes. */
void store_close(struct store *store);
#endif
