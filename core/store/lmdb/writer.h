/*
 * writer.h - group commit: everything that was queued since the last batch becomes the next one.
 *
 * While one batch waits for the disk, the next gathers; an idle writer takes a lone change at once. A batch is on disk by
 * its record in the journal, or, if it is large, somebody waits to read it, or the disk is full, by a commit of LMDB's.
 * Such a checkpoint also comes when the journal is long or its first record old. It changes no answer.
 *
 * Readers see LMDB's last commit: who must see more asks for a checkpoint (writer_wants, from any thread) and waits.
 *
 * A checkpoint that the disk has no space for is told to all who wait, and tried again a second later, whoever asks: each
 * try makes again all that the journal holds. Until then batches that are not long go to the journal while that has room.
 *
 * Threads: writer_run belongs to the store's thread, or, without threads, to the loop's.
 */
#ifndef MOONQ_STORE_LMDB_WRITER_H
#define MOONQ_STORE_LMDB_WRITER_H

#include "store/lmdb/handover.h"
#include "store/lmdb/machine.h"
#include "store/lmdb/read.h"

/* What goes to the loop in one piece: operations that are done, and what dispatch should know. One allocation. */
struct delivery {
    struct parcel parcel; /* first: see handover.h */
    struct store_op *ops; /* in the order of their submission */
    uint64_t batch;       /* its number; 0: not of a batch */
    bool has_news;
    struct store_news news;
    struct slice alarms; /* event and text, each with a NUL, one after another */
};

struct writer {
    struct env *env;
    struct machine machine;
    struct figures figures;
    struct store_op *waiting, **waiting_end; /* taken, but not in a batch yet */
    bool disk_full;                          /* pushes were refused in the last batch */
    uint64_t journal_limit;
    bool are_close; /* the changes of the last long batch: see writer.c */
    /* what is in the journal and not in LMDB's file */
    uint64_t open_bytes;    /* that it may add to the file, roughly */
    mono_ms open_since;     /* its first batch */
    mono_ms retry_at;       /* the disk had no space for a checkpoint: not before then; 0: it had */
    mono_ms unsynced_since; /* relaxed: the first batch of it that is not synced */
    uint64_t batches;       /* so many are on disk */
    /* for readers */
    _Atomic uint64_t committed; /* ... and so many in LMDB's file */
    _Atomic uint64_t wanted;    /* so many should be there now */
    _Atomic uint64_t refused;   /* checkpoints that the disk had no space for */
    struct bell checkpointed;   /* rung with each */
    /* rules may change while we run; each is read once a batch */
    _Atomic uint64_t queue_limit;
    _Atomic int64_t dead_keep_ms;
    _Atomic unsigned crash_limit;
    _Atomic uint64_t keep_max, keep_bytes, dead_max, dead_bytes;
};

enum mq_code writer_open(struct writer *writer, struct env *env, const struct store_settings *settings,
                         struct mq_err *err);
void writer_close(struct writer *writer);
void writer_configure(struct writer *writer, const struct store_settings *settings);

/* Adds a chain, in order. */
void writer_add(struct writer *writer, struct store_op *first);
/* Brings the next batch of what is waiting to the disk; NULL if nothing is. The caller's: free. */
struct delivery *writer_run(struct writer *writer);
/* The time until writer_rest has something to do; -1: nothing before the next batch. */
int64_t writer_rests_for(const struct writer *writer, mono_ms now);
/* A checkpoint, if it is time. Between batches. */
void writer_rest(struct writer *writer, mono_ms now);
/* A checkpoint, if anything is not in LMDB's file yet. False: the disk is full; nothing is lost, it is in the journal. */
bool writer_checkpoint(struct writer *writer);

/* Whether LMDB's file has this batch. Any thread; so are the next two. */
static inline bool writer_has(const struct writer *writer, uint64_t batch)
{
    return atomic_load(&writer->committed) >= batch;
}
/* Asks for a checkpoint that has it. The writer's thread must be woken. */
void writer_wants(struct writer *writer, uint64_t batch);
/* The first delivery: no operation, but all queues. */
struct delivery *writer_first_news(struct writer *writer);
/* A delivery of one operation without news: a read. */
struct delivery *delivery_of(struct store_op *op);
#endif
