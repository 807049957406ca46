/*
 * read.h - what only looks: each answer is of one snapshot, and the snapshot has a time limit.
 *
 * A snapshot that stays open keeps LMDB from reusing pages, so a long listing stops as partial when its time is
 * over, or when the map must grow.
 *
 * Threads: any; a struct snapshot belongs to one at a time.
 */
#ifndef MOONQ_STORE_LMDB_READ_H
#define MOONQ_STORE_LMDB_READ_H

#include "store/store.h"
#include "store/lmdb/env.h"

/* Figures of the writer, for STATS. */
struct figures {
    _Atomic uint64_t commits, checkpoints, operations, commit_us_total, sync_us_last, batch_max;
};

struct snapshot {
    struct env *env;
    MDB_txn *txn; /* kept between reads, reset */
    int64_t max_ms;
    mono_ms until;
    _Atomic mono_ms opened; /* 0: not open now */
    struct buf rows;        /* scratch */
};

/* Opens, answers, closes. `others`: all snapshots of this store, for their age. */
void read_run(struct snapshot *s, struct store_op *op, const struct figures *figures,
              struct snapshot *const *others, unsigned other_count);
void snapshot_init(struct snapshot *s, struct env *env, int64_t max_ms);
void snapshot_release(struct snapshot *s);

/* Its time is over: answer what there is. */
bool snapshot_is_over(const struct snapshot *s);
bool snapshot_find(struct snapshot *s, enum db db, const struct key *key, struct slice *out);

/* The verbs. */
enum mq_code read_get(struct snapshot *s, struct op_get *op);
enum mq_code read_list(struct snapshot *s, struct op_list *op);
enum mq_code read_queues(struct snapshot *s, struct op_queues *op);
enum mq_code read_stats(struct snapshot *s, struct op_stats *op);
enum mq_code read_doctor(struct snapshot *s, struct op_doctor *op);
enum mq_code read_schedules(struct snapshot *s, struct op_schedules *op);
enum mq_code read_ticks(struct snapshot *s, struct op_ticks *op);
enum mq_code read_unique(struct snapshot *s, struct op_unique *op);

/*
 * Answers grow in op.memory, which moves as it grows: until all is there, slices hold offsets. keep copies bytes
 * and answers such a slice; fix makes it a pointer.
 */
struct slice answer_keep(struct buf *memory, struct slice bytes);
void answer_fix(const struct buf *memory, struct slice *slice);
/* Appends an array, aligned; answers where it is for good: the memory must not grow any more. */
void *answer_array(struct buf *memory, const void *rows, size_t len);
void answer_keep_view(struct buf *memory, struct job_view *view);
void answer_keep_schedule(struct buf *memory, struct schedule_view *view);
void answer_fix_schedule(const struct buf *memory, struct schedule_view *view);
void answer_fix_view(const struct buf *memory, struct job_view *view);
#endif
