/*
 * seam.h - where the simulation listens and interferes, without a line in the production code.
 *
 * The linker (--wrap) leads a few calls of dispatch and the store through here:
 *
 *     store_submit    every operation is known, whoever made it, and its `done` is ours first
 *     machine_apply   which batch a commit or a record is of
 *     machine_keep    a batch is in the journal, or changed nothing
 *     journal_append  a record can meet its fate: find no room, or end the process before it, in it or after it
 *     pwritev64       ... between its write and its sync
 *     mdb_txn_begin   the transaction that is open is known, and with _abort whether it still is
 *     mdb_txn_commit  a commit can meet its fate: fail, or end the process before or after it
 *     mdb_cursor_put  the map can be full in the middle of a batch
 *     env_open        the open files and the lock, so that a killed server can let go of them
 *     mq_bug_at       a broken invariant becomes this history's finding
 *     fdatasync       (the C library's, for LMDB and the journal) counted: nothing may be answered before it
 *
 * A killed server is a longjmp to seam_killed: its memory is left as it is, its files are closed without a word.
 */
#ifndef MOONQ_TESTS_SIM_SEAM_H
#define MOONQ_TESTS_SIM_SEAM_H

#include <setjmp.h>
#include "store/store.h"

/* What happens to the next batch: where it becomes a record of the journal, or a commit. */
enum fate {
    FATE_NONE,
    FATE_KILL_BEFORE,     /* the process ends; nothing of the batch is on disk */
    FATE_KILL_WRITTEN,    /* its record is written and not synced; the kernel has it */
    FATE_KILL_TORN,       /* the same, and the power goes: a part of it is on disk */
    FATE_KILL_AFTER,      /* it ends when all of it is, and nobody was told */
    FATE_KILL_ANSWERED,   /* it ends when some of it was answered */
    FATE_KILL_CHECKPOINT, /* it ends before or after the next commit of what the journal has */
    FATE_MAP_FULL,        /* LMDB wants a greater map; the batch is applied again */
    FATE_DISK_FULL,       /* no space; applied again, without what adds data */
    FATE_DISK_DEAD,       /* no space even for that: all of it is refused */
};

/* An operation on its way. */
struct ticket {
    struct store_op *op;
    void (*done)(struct store_op *op);
    bool ours;      /* a client's of the simulation, not dispatch's own */
    bool committed; /* its commit is on disk */
    bool is_read;
};

#define TICKETS_MAX 4096
struct seam {
    struct ticket tickets[TICKETS_MAX]; /* in the order of submission */
    unsigned count;
    const struct store_op *client_op; /* the next of this address is a client's */
    enum fate fate;
    unsigned answers_left; /* FATE_KILL_ANSWERED */
    unsigned puts_left;    /* FATE_MAP_FULL: so many succeed before */
    uint32_t tear_at;      /* FATE_KILL_TORN: where, of its length; FATE_KILL_CHECKPOINT: odd is after it */
    unsigned dead_for;     /* FATE_DISK_DEAD: so many batches */
    unsigned refusals;     /* commits of this batch that were refused with ENOSPC so far */
    bool flushing;
    bool applied, committed; /* this flush's batch: in the open transaction; on disk */
    struct machine *machine; /* of the last batch */
    void *root;              /* the open transaction: what is committed, and what is in the journal only */
    bool woken;              /* the store has something to collect */
    uint64_t syncs;
    jmp_buf *killed;
    const struct store_op *in_done; /* whose `done` runs */
    struct env *env;
    unsigned opened; /* times that a store was opened */
};
extern struct seam seam;

/* What the simulation does about it; both may end the history. */
struct seam_hooks {
    void (*submitted)(const struct ticket *ticket);
    /* The batch is on disk, and its answers are in it. `refused`: not on disk, and all of it was refused. */
    void (*batch)(struct store_op **ops, unsigned count, bool no_space, bool refused);
    void (*answered)(const struct ticket *ticket);
    void (*wrong)(const char *format, ...);
};
extern struct seam_hooks seam_hooks;

/* store_flush and store_collect. False: the server was killed meanwhile; seam_bury must follow. */
bool seam_flush(struct store *store);
bool seam_collect(struct store *store);
/* The killed server's files are closed and its lock free. What was on its way is forgotten. */
void seam_bury(void);
/*
 * The transaction in which all that is on disk can be read now; NULL: all of it is committed. Until seam_view_end nothing
 * else may happen to the store. False: LMDB's map is too small for it.
 */
bool seam_view(void **view);
void seam_view_end(void);
/* For store_attach. */
void seam_wake(void *owner);
/* Something is on its way, or waits to be collected. */
bool seam_busy(void);
#endif
