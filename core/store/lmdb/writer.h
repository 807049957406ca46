/*
 * writer.h - group commit: everything that was queued since the last commit becomes the next one.
 *
 * While one commit waits for the disk, the next batch gathers; an idle writer commits a lone change at once.
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
    mono_ms unsynced_since;                  /* relaxed: the last commit; 0: it is on disk */
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
/* Commits the next batch of what is waiting; NULL if nothing is. The caller's: free. */
struct delivery *writer_run(struct writer *writer);
/* Relaxed: syncs the last commit if it has waited long enough. Answers the time until then; -1: nothing waits. */
int64_t writer_settle(struct writer *writer, mono_ms now);
/* The first delivery: no operation, but all queues. */
struct delivery *writer_first_news(struct writer *writer);
/* A delivery of one operation without news: a read. */
struct delivery *delivery_of(struct store_op *op);
#endif
