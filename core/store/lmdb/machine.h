/*
 * machine.h - the deterministic core: applies batches of changes in an LMDB transaction.
 *
 * The transaction stays open over batches: each is kept by what the journal says of it (machine_keep), until a commit
 * holds all of them (machine_commit). What a batch changed is in `redo` until then. If the transaction fails, the batches
 * that were kept are made again from the journal before the next is applied.
 *
 * No clock, no randomness, no thread: the same batches with the same times and the same rules give the same
 * contents and the same answers.
 *
 * A batch is applied in the order of its operations, leases last. It may have to be applied more than once (the
 * map was full, the disk was): whatever a failed try left in memory is taken back, and each operation clears its
 * answers before it starts. LMDB's failures leave the operations by one door: txn_fail jumps back to
 * machine_apply. No operation owns memory on its way, so nothing leaks.
 *
 * A refusal must come before the first write of its operation: find out, then act.
 *
 * Threads: one, the store's.
 */
#ifndef MOONQ_STORE_LMDB_MACHINE_H
#define MOONQ_STORE_LMDB_MACHINE_H

#include <setjmp.h>
#include <uthash.h>
#include "store/store.h"
#include "store/lmdb/env.h"
#include "store/lmdb/redo.h"
#include "base/buf.h"

#define PRIORITIES        (PRIORITY_LAST + 1)
#define NAME_STORED_BYTES 255 /* a byte counts them; names are checked to be shorter long before */

/* ---- what may change while it runs ---- */
struct rules {
    uint64_t queue_limit;          /* of queues without their own; QUEUE_UNLIMITED */
    int64_t dead_keep_ms;          /* 0 or less: for ever */
    unsigned crash_limit;          /* 0: crashes never make poison */
    uint64_t keep_max, keep_bytes; /* finished records; 0: any number */
    uint64_t dead_max, dead_bytes; /* dead letters */
};

/* ---- queues ---- */
/* Why, by whom, until when. `until` WALL_NEVER: until somebody resumes. */
struct pause {
    wall_ms since, until;
    uint8_t reason_len, by_len;
    char reason[PAUSE_REASON_MAX], by[PAUSE_BY_MAX];
};
struct queue_body {
    bool paused, draining, own_limit;
    uint64_t limit;
    struct queue_counts counts;
    struct pause pause; /* of a paused one */
};
struct queue {
    uint32_t no;
    struct queue_body body;
    bool touched;        /* in this batch: to be saved */
    bool created;        /* in this batch */
    unsigned undo_level; /* the innermost level that has kept a copy; 0: none */
    /* fresh jobs that are ready, by priority: indexes into machine.fresh. Some on the way may not be offered any more */
    uint32_t fresh_first[PRIORITIES], fresh_last[PRIORITIES];
    unsigned fresh_count;
    UT_hash_handle hh;
    uint8_t name_len;
    char name[NAME_STORED_BYTES];
};
struct undo {
    struct queue *queue;
    unsigned level_before;
    bool created;
    struct queue_body body;
};

/* ---- a job that LMDB has not been told of: see fresh.c ---- */
#define FRESH_NONE UINT32_MAX
struct fresh {
    job_id id;
    struct queue *queue;
    size_t at, len;           /* its record, in fresh_bytes */
    size_t holder_at;         /* of one that runs: likewise; status.holder has only the length */
    struct job_status status; /* of one that runs, its holder lies where holder_at says */
    uint32_t lease_ms;        /* as in the spec */
    uint32_t next;            /* of the same queue and priority */
    bool kept;                /* its record stays when it has ended */
    bool offered;             /* it is ready, and in that list */
    bool noted;               /* the redo has it: of this batch, or of one that is in the journal */
    bool gone;                /* ended, or LMDB has it */
};

/* ---- one level of transaction: the batch's own, or a group's inside it ---- */
struct level {
    MDB_txn *mdb;
    MDB_cursor *cursor[DB_COUNT];    /* opened at first use */
    struct key least_last[DB_COUNT]; /* so far at least went its keys: what comes before cannot be appended */
};

/* A job in hand. `holder` and `note` of the status were copied out of LMDB's page. */
struct job {
    job_id id;
    struct queue *queue;
    struct job_status status;
};

/* A position met while walking an index. */
struct place {
    struct key key;
    job_id id;
    bool taken; /* of a lease: the job was handed out */
};

struct machine {
    struct env *env;
    struct rules rules;
    bool no_space; /* the disk is full: what adds data is refused */
    /* the transaction */
    struct level root, child, *at;
    jmp_buf failed;
    int rc;                   /* of what failed */
    struct redo redo;         /* what this batch changed */
    struct meta meta, before; /* now, and before this batch */
    bool meta_changed;
    /* caches */
    struct queue *by_name;
    struct queue **by_no; /* index: no */
    uint32_t by_no_size;
    struct queue **touched;
    unsigned touched_count, touched_cap;
    struct undo *undo;
    unsigned undo_count, undo_cap, undo_level;
    /* jobs that LMDB has not been told of, in the order of their ids */
    struct fresh *fresh;
    unsigned fresh_count, fresh_cap;
    unsigned fresh_new;     /* from here on they are not noted yet */
    unsigned fresh_running; /* so many are leased, */
    wall_ms fresh_deadline; /* none of them until before this */
    unsigned fresh_kept;    /* so many will leave a record when they end */
    unsigned fresh_leased;  /* so many were, ever, */
    unsigned fresh_ended;   /* and have ended */
    unsigned fresh_ahead;   /* before here LMDB was told of those that wait far back: fresh_tell_ahead */
    unsigned tell_ahead;    /* an input: of so many LMDB is to be told before their time, each batch */
    struct buf fresh_bytes; /* their records and holders */
    size_t holder_at, holder_len; /* the holder that was kept there last */
    struct paused_type *paused;   /* a copy of the database, read anew when it is stale */
    unsigned paused_count, paused_cap;
    bool paused_stale;
    wall_ms next_pause; /* the first end of all pauses, likewise */
    bool next_pause_stale;
    /* scratch, reused */
    struct place *places;
    unsigned place_count, place_cap;
    struct slice spec_bytes;       /* of the spec that job_spec read last; good until the next write */
    struct buf text;               /* holder and note of the job in hand */
    struct buf record;             /* an attempt on its way into the store */
    struct buf swept;              /* likewise, of a sweep */
    struct buf touches;            /* answers of a bulk step that are not complete yet */
    struct buf leased, expired;    /* answers of a lease that are not complete yet */
    struct buf givers;             /* the queues of a lease */
    struct buf names;              /* of an answer about many jobs: see store_names_next */
    struct buf aside;              /* what is moved to quarantine */
    struct buf schedule;           /* the record of the cron entry in hand */
    struct buf key_type, key_text; /* of a damaged job: see unique.c */
    struct buf unblocked, unblocked_names; /* for the news */
    struct buf queue_news;
    struct store_news news;      /* of the last batch; at open, of the whole */
    struct store_news committed; /* likewise, while `news` is of a try that may fail */
    struct buf alarms;           /* of this batch: event and text, each with a NUL */
};

/* A type that is paused, or whose pause has ended and still holds jobs. */
struct paused_type {
    uint32_t no;
    bool ended;
    wall_ms until;
    uint8_t type_len;
    char type[NAME_STORED_BYTES];
};

/* How a batch went. */
enum applied {
    APPLIED,
    APPLIED_MAP_FULL, /* grow, then apply again */
    APPLIED_NO_SPACE, /* the disk is full: set no_space, then apply again */
    APPLIED_FAILED,   /* m->rc */
};

/* Reads the queues. `err` for what LMDB itself cannot read; damaged records are mended or moved aside. */
enum mq_code machine_open(struct machine *m, struct env *env, const struct rules *rules, struct mq_err *err);
void machine_close(struct machine *m);

/*
 * Applies a batch; on APPLIED, machine_keep or machine_commit must follow. Then m->news and m->alarms tell what happened;
 * they are the machine's until the next batch. On any other answer of the two, the batch has left no trace.
 */
enum applied machine_apply(struct machine *m, struct store_op *first);
/* What the last batch changed, if it was noted (m->redo.on; m->redo.size is right in any case). */
struct slice machine_redo(struct machine *m);
/* The batch is in the journal, or changed nothing: it cannot be taken back any more. */
void machine_keep(struct machine *m);
/* All since the last commit, and the last batch if it was not kept, is in LMDB's file; the journal begins anew. */
enum applied machine_commit(struct machine *m);
/* Makes again what the journal holds, if the transaction that had it is gone. */
enum applied machine_recover(struct machine *m);
/* When nothing helps: the same answer for each of the batch. */
void machine_refuse_all(struct machine *m, struct store_op *first, enum mq_code code, const char *text);

/* ---- txn.c: LMDB without error codes. Each failure but "not there" jumps back to machine_apply ---- */
_Noreturn void txn_fail(struct machine *m, int rc);
void txn_begin(struct machine *m, struct level *level, MDB_txn *parent);
void txn_abort(struct level *level);
MDB_cursor *txn_cursor(struct machine *m, enum db db);
bool txn_find(struct machine *m, enum db db, const struct key *key, struct slice *out);
void txn_put(struct machine *m, enum db db, const struct key *key, struct slice value);
/* Room for a value of `len` bytes, to be filled before the next call. */
char *txn_reserve(struct machine *m, enum db db, const struct key *key, size_t len);
/* The same for a key that is most likely the last. */
char *txn_append(struct machine *m, enum db db, const struct key *key, size_t len);
bool txn_remove(struct machine *m, enum db db, const struct key *key);
/* What was met last. */
void txn_remove_here(struct machine *m, enum db db);
/* The first key at or after `key`, the one after the last met, the first, the last. What they show is good until
   the next write. */
bool txn_seek(struct machine *m, enum db db, const struct key *key, struct slice *found, struct slice *value);
bool txn_next(struct machine *m, enum db db, struct slice *found, struct slice *value);
bool txn_first(struct machine *m, enum db db, struct slice *found);
size_t txn_count(struct machine *m, enum db db);

/* ---- queue.c ---- */
struct queue *queue_find(struct machine *m, struct slice name);
struct queue *queue_of_no(struct machine *m, uint32_t no); /* NULL if there is none */
struct queue *queue_ensure(struct machine *m, struct slice name);
/* Before any change of its body. */
void queue_touch(struct machine *m, struct queue *queue);
void queue_count(struct machine *m, struct queue *queue, enum job_state state, int by);
/* With each entry of the parked index that comes or goes. */
void queue_count_parked(struct machine *m, uint32_t queue_no, int by);
void queue_count_held(struct machine *m, uint32_t queue_no, int by);
uint64_t queue_waiting(const struct queue_counts *counts);
uint64_t queue_limit_of(const struct machine *m, const struct queue_body *body);
struct slice queue_name(const struct queue *queue);
/* Whether `count` pushes more are refused: FULL or BUSY. `queue` may be NULL: it does not exist yet. */
enum mq_code queue_refuses(const struct machine *m, const struct queue *queue, struct slice name,
                           uint64_t count, struct mq_err *err);
void queue_save_touched(struct machine *m);
/* Takes back in memory what happened since `count` entries were in the undo log. */
void queue_undo_to(struct machine *m, unsigned count);
void queue_forget_undo(struct machine *m);
enum mq_code queue_load_all(struct machine *m, struct mq_err *err);
void queue_free_all(struct machine *m);
void queue_run(struct machine *m, struct store_op *op); /* STORE_QUEUE */
/* For readers too: what a queue's record says. INTERNAL if it is damaged. */
enum mq_code queue_decode(struct queue_body *body, struct slice *name, struct slice record,
                          struct mq_err *err);
/* Appends the record. */
void queue_encode(struct buf *out, const struct queue_body *body, struct slice name);

/* ---- pause.c ---- */
/* BADARG if reason or name are too long. */
enum mq_code pause_check(struct slice reason, struct slice by, struct mq_err *err);
/* `since` stays if it was paused before. */
void pause_set(struct pause *pause, bool was, wall_ms now, wall_ms until, struct slice reason,
               struct slice by);
/* The pause that holds jobs of this type at this moment; NULL if there is none. */
const struct paused_type *pause_of_type(struct machine *m, struct slice type, wall_ms now);
/* Whether a type may be paused: asked first, where it takes work to know a job's type. */
bool pause_any(struct machine *m);
/* Ready, and now held. Of a job in hand: written. */
void pause_hold(struct machine *m, struct job *job, uint32_t pause_no);
/* After any change of a pause, and whenever changes are taken back. */
void pause_forget(struct machine *m);
wall_ms pause_next(struct machine *m);
void type_run(struct machine *m, struct store_op *op); /* STORE_TYPE */
/* SWEEP_PAUSES; gathers the names of what ended in m->names. */
void pause_sweep(struct machine *m, struct op_sweep *op);
/* For readers too: the record of a paused type. Slices point into it. INTERNAL if it is damaged. */
struct pause_record {
    bool ended;
    struct slice type, reason, by;
    wall_ms since, until;
};
enum mq_code pause_decode(struct pause_record *out, struct slice record, struct mq_err *err);
void pause_encode(struct buf *out, const struct pause_record *record);

/* ---- schedule.c: cron entries ---- */
/* Reads an entry into m->schedule; slices point there. NOTFOUND; INTERNAL if it is damaged. */
enum mq_code schedule_find(struct machine *m, struct schedule_view *out, struct slice name,
                           struct mq_err *err);
/* CONFLICT if the entry has moved on; a `revision` of 0 is any. */
enum mq_code schedule_at_revision(const struct schedule_view *view, uint64_t revision, struct mq_err *err);
void schedule_write(struct machine *m, const struct schedule_view *view);
void schedule_run(struct machine *m, struct store_op *op); /* STORE_SCHEDULE */
/* The answer of an operation; its slices then lie in op->memory. */
void schedule_answer(struct store_op *op, struct schedule_view *out, const struct schedule_view *view);
/* For readers too: the record of an entry but for its name. Slices point into it. INTERNAL if it is damaged. */
enum mq_code schedule_decode(struct schedule_view *out, struct slice record, struct mq_err *err);
void schedule_encode(struct buf *out, const struct schedule_view *view);

/* ---- tick.c: the ledger ---- */
/* Adds a row to the ledger, which keeps `keep`; counts it in *view, which the caller writes. */
void tick_note(struct machine *m, struct schedule_view *view, const struct tick_row *row, uint32_t keep);
void tick_erase_all(struct machine *m, struct schedule_view *view);
void tick_run(struct machine *m, struct store_op *op); /* STORE_TICK */
/* For readers too: a row but for its number. */
enum mq_code tick_decode(struct tick_row *out, struct slice record, struct mq_err *err);
void tick_encode(struct buf *out, const struct tick_row *row);
/* ---- unique.c: who holds a unique key ---- */
/* What stands in the way of a push, and what becomes of it. */
struct unique_met {
    enum push_outcome outcome;
    job_id holder, target; /* target: the job that gets payload or times */
    job_id waiter;         /* who gets the key after the holder; JOB_ID_NONE */
    struct key at;         /* where the key's record lies, or would */
};
/* CONFLICT if that is what the push wants. Changes nothing. */
enum mq_code unique_meet(struct machine *m, const struct op_push *push, struct unique_met *met,
                         struct mq_err *err);
/* The same once `gone`, which has not ended, is cancelled. */
enum mq_code unique_meet_without(struct machine *m, const struct op_push *push, const struct job *gone,
                                 struct unique_met *met, struct mq_err *err);
/* The key's time is over before anybody swept it: it is let go of. */
void unique_settle(struct machine *m, const struct op_push *push);
/* Skips, replaces or reschedules: fills in the answers of a push that makes no job. */
void unique_divert(struct machine *m, struct op_push *push, const struct unique_met *met);
/* The new job, whose status is not written yet, waits behind the holder. */
void unique_line_up(struct machine *m, const struct op_push *push, const struct unique_met *met);
/* The status is about to be written: it takes or frees the key. True: somebody may be next, see unique_pass_on. */
bool unique_follow(struct machine *m, struct job *job);
/* After that: the key that the job let go of, or waited for, goes to who waits for it. */
void unique_pass_on(struct machine *m, struct job *job, wall_ms now);
/* The job is about to be erased. */
void unique_drop(struct machine *m, struct job *job, wall_ms now);
/* The same for one of which perhaps only these bytes can be read. */
void unique_drop_damaged(struct machine *m, job_id id, struct slice job_bytes);
/* Its time with the key is over. */
void unique_spend(struct machine *m, struct job *job, wall_ms now);
/* CONFLICT: somebody else holds the key of this job, which is to live again. */
enum mq_code unique_refuses(struct machine *m, const struct job *job, const struct job_spec *spec,
                            wall_ms now, struct mq_err *err);
void free_key_run(struct machine *m, struct store_op *op); /* STORE_FREE_KEY */
/* For readers too: a key's record. Slices point into it. INTERNAL if it is damaged. */
struct unique_record {
    struct slice type, key;
    job_id holder, waiter;
};
enum mq_code unique_decode(struct unique_record *out, struct slice record, struct mq_err *err);
void unique_encode(struct buf *out, const struct unique_record *record);
/* The first place at which a key's record may lie; the others follow it, with the same hash. */
void unique_place(struct key *out, struct slice key);
bool unique_same_hash(const struct key *a, struct slice b);

/* ---- fresh.c ---- */
/* A job that is pushed now; its id is the greatest so far. */
void fresh_add(struct machine *m, job_id id, struct queue *queue, const struct job_spec *spec,
               const struct job_status *status);
/* The one with this id, if LMDB has not been told of it; NULL. Good until the next fresh_add. */
struct fresh *fresh_find(struct machine *m, job_id id);
struct slice fresh_record(const struct machine *m, const struct fresh *fresh);
/* The first of a queue that is ready; NULL. */
struct fresh *fresh_peek(struct machine *m, struct queue *queue);
/* Out of the state ready: it was peeked. Then change the status, and fresh_enter. */
void fresh_leave(struct machine *m, struct fresh *fresh);
void fresh_enter(struct machine *m, struct fresh *fresh);
/* It runs no more, and nothing of it stays. */
void fresh_end(struct machine *m, struct fresh *fresh);
/* Tells LMDB of this one, */
void fresh_tell(struct machine *m, struct fresh *fresh);
/* ... or of all: none is left. */
void fresh_settle(struct machine *m);
/* The same, but they are left: for who aborts that level of the transaction. */
void fresh_write(struct machine *m);
/* The batch's end: what it pushed is noted, or told if an index must have it at once. */
void fresh_note(struct machine *m);
/* Of up to `most` of those that will not be handed out soon: what is told now is not told all at once later. */
void fresh_tell_ahead(struct machine *m, unsigned most);
/* Whether most of them will end, and leave nothing, before others with so many bytes have been pushed. */
bool fresh_end_soon(const struct machine *m, uint64_t bytes);
/* The first end of a lease; WALL_NEVER. It may be that of a job that ended. */
wall_ms fresh_next_lease(const struct machine *m);
void fresh_drop(struct machine *m);
/* Of a new queue. */
void fresh_clear_queue(struct queue *queue);

/* ---- job.c ---- */
/* Reads a job's status. NOTFOUND; INTERNAL if it had to be quarantined. Fills op->err if `op`. */
enum mq_code job_find(struct machine *m, struct job *job, job_id id, struct store_op *op);
/* The spec; its slices are good until the next write. INTERNAL if the job had to be quarantined. */
enum mq_code job_spec(struct machine *m, const struct job *job, struct job_spec *spec, struct store_op *op);
/* Answers type and queue if the operation wants them. */
void job_names(struct store_op *op, const struct job_spec *spec);
/* The same for one job of many: behind those of m->names. */
void job_names_add(struct machine *m, const struct store_op *op, const struct job_spec *spec);
/* The two names, for store_names_next. */
void job_names_put(struct buf *names, const struct job_spec *spec);
/* WRONGSTATE, as an answer of `op`. */
enum mq_code job_wrong(struct store_op *op, const struct job *job, const char *verb);
/* Out of its state: index entries and counter. Then change the status, and job_enter. What ran has started. */
void job_leave(struct machine *m, struct job *job);
/* The same for what is ready, but for its entry in the ready index, which the caller removes. */
void job_leave_ready(struct machine *m, struct job *job);
/* The same for what was leased, and nobody began it. */
void job_leave_unstarted(struct machine *m, struct job *job);
void job_enter(struct machine *m, struct job *job);
/* The status changed, but none of what the indexes are made of. */
void job_write(struct machine *m, const struct job *job);
/* Ready again, from wherever it was left. */
void job_make_ready(struct job *job, enum job_step step, wall_ms now, bool parked);
/* How long the record of a job that ends so is kept: `keep`, or as long as it holds a unique key. Now: not at all. */
wall_ms job_stays_until(const struct job *job, enum job_state state, int64_t keep_ms, wall_ms now);
/* Leaves, and ends as succeeded, cancelled or expired; deleted at once if keep_ms is 0. */
void job_finish(struct machine *m, struct job *job, enum job_step step, int64_t keep_ms, wall_ms now);
/* Leaves, and becomes a dead letter. */
void job_bury(struct machine *m, struct job *job, wall_ms now);
/* Out of its state to wait for another time, or ready if that is not later than now. Blocked, scheduled, ready, retrying. */
void job_reschedule(struct job *job, wall_ms run_at, wall_ms now);
/* All records of a job that has left its state. */
void job_erase(struct machine *m, job_id id);
/* The spec is written anew. Its slices may lie in the old one: it is encoded aside first. */
void job_write_spec(struct machine *m, const struct job *job, const struct job_spec *old,
                    const struct job_spec *spec);
/* What is told of how an attempt ended: as in struct job_attempt. */
struct attempt_words {
    struct slice code, message, traceback;
    uint32_t scripts;
};
/* The attempt that ends now; the status still says running. */
void job_record_attempt(struct machine *m, const struct job *job, enum job_step outcome,
                        const struct attempt_words *words, wall_ms now);
/* It came to this end: for the queue's counters. */
void job_count_end(struct machine *m, struct queue *queue, enum job_state state);
/* Index entries that follow from the status. */
void job_index(struct machine *m, job_id id, const struct job_status *status);
void job_unindex(struct machine *m, job_id id, const struct job_status *status);
/* The payload is replaced; the rest of the spec stays. */
void job_set_payload(struct machine *m, const struct job *job, const struct job_spec *spec,
                     struct slice payload);

/* ---- kept.c: how much finished records and dead letters take ---- */
/* A job comes into this state (by +1) or leaves it (-1), with all its records; only final states count. */
void kept_count(struct machine *m, job_id id, enum job_state state, int by);
/* One of its records grows while it is in this state. */
void kept_grow(struct machine *m, enum job_state state, int64_t bytes);
/* With the batch. */
void kept_save(struct machine *m);
/* There are more than the rules allow, or they take more. */
bool kept_finished_over(struct machine *m);
bool kept_dead_over(struct machine *m);
/* Likewise without the oldest `count`, which take `bytes`. */
bool kept_dead_over_without(struct machine *m, uint64_t count, uint64_t bytes);
uint64_t kept_bytes_of(struct machine *m, job_id id);
unsigned kept_dead_percent(struct machine *m);

/* ---- quarantine.c ---- */
/* Moves all of a job aside, since `why`. */
void quarantine_job(struct machine *m, job_id id, const char *why);
/* Only the copy: the records stay where they are. `m->aside` has it until the next. */
void quarantine_keep(struct machine *m, job_id id, const char *why, struct slice job_bytes,
                     struct slice status_bytes);
/* Removes an index entry that no record stands behind. */
void quarantine_entry(struct machine *m, enum db db, const struct key *key, const char *why);
/* For the loop: store_listener.alarm. */
void machine_alarm(struct machine *m, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- the verbs, one file each ---- */
void push_run(struct machine *m, struct store_op *op);
/* The two halves, for children and groups: is it refused, and do it. `ahead`: pushes of this change so far. With unique
   keys each push depends on those before it: then they are run one by one, inside machine_try. */
enum mq_code push_check(struct machine *m, const struct op_push *push, uint64_t ahead, struct mq_err *err);
void push_apply(struct machine *m, struct op_push *push);
enum mq_code push_one(struct machine *m, struct op_push *push, struct mq_err *err); /* both */
void lease_run(struct machine *m, struct store_op *op);
void complete_run(struct machine *m, struct store_op *op);
void fail_run(struct machine *m, struct store_op *op);
void release_run(struct machine *m, struct store_op *op);
/* The work of release_run on a running job in hand, `words` but for their code; answers its state. */
enum job_state release_job(struct machine *m, struct job *job, const struct job_spec *spec,
                           enum release_kind kind, wall_ms run_at, struct attempt_words words, wall_ms now);
void extend_run(struct machine *m, struct store_op *op);
void note_run(struct machine *m, struct store_op *op);
void step_run(struct machine *m, struct store_op *op);
/* One step on a job in hand, for bulk steps too. Refuses before it writes. */
enum mq_code step_job(struct machine *m, struct job *job, struct op_step *step);
void many_run(struct machine *m, struct store_op *op);
void sweep_run(struct machine *m, struct store_op *op);
void unpark_run(struct machine *m, struct store_op *op);
void recover_run(struct machine *m, struct store_op *op);
void group_run(struct machine *m, struct store_op *op);
/*
 * Runs what may be refused in its middle: in a transaction of its own, which is dropped then. Inside another it is only
 * run, since that one will be dropped.
 */
enum mq_code machine_try(struct machine *m, enum mq_code (*what)(struct machine *m, void *with), void *with);
/* Applies one operation, whatever its verb. */
void machine_run(struct machine *m, struct store_op *op);

/* The index positions of one walk, gathered before anything is changed. */
void places_clear(struct machine *m);
struct place *places_add(struct machine *m);

void machine_add_news(struct machine *m, const struct queue *queue);
/* Before the batch commits: the first moments at which sweeps have work. */
void machine_next_times(struct machine *m, struct store_news *news);
#endif
