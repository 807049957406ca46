/*
 * writer_bench.h - a writer without threads, whose batches and rests are the test's.
 */
#ifndef MOONQ_TESTS_STORE_WRITER_BENCH_H
#define MOONQ_TESTS_STORE_WRITER_BENCH_H

#include "lab.h"
#include "lmdb_factory.h"
#include "lmdb_check.h"

#include "store/lmdb/writer.h"

struct bench {
    struct store_settings settings;
    struct env *env;
    struct writer writer;
    mono_ms now;
    struct lab orders; /* only for lab_order */
};

static inline struct bench *bench_new(const struct store_settings *wishes)
{
    struct bench *b = calloc(1, sizeof *b);
    b->settings = *wishes;
    b->settings.dir = temp_folder();
    b->orders.now = T0;
    assert_int_equal(env_open(&b->env, &b->settings, NULL), MQ_OK);
    assert_int_equal(writer_open(&b->writer, b->env, &b->settings, NULL), MQ_OK);
    b->now = clock_mono();
    return b;
}

/* The number of jobs that are left, and all of it is sound. */
static inline uint64_t bench_free(struct bench *b)
{
    char *dir = (char *)b->settings.dir;
    assert_true(writer_checkpoint(&b->writer));
    writer_close(&b->writer);
    env_close(b->env);
    uint64_t jobs = lmdb_check(dir);
    remove_tree(dir);
    free(dir);
    free(b);
    return jobs;
}

/* Jobs of the store, as far as LMDB has been told of them. */
static inline size_t bench_told(struct bench *b)
{
    MDB_stat stat = {0};
    if (b->writer.machine.root.mdb)
        assert_int_equal(mdb_stat(b->writer.machine.root.mdb, b->env->dbi[DB_JOBS], &stat), 0);
    return stat.ms_entries;
}

/* A batch of this one operation. */
static inline enum mq_code bench_run(struct bench *b, struct store_op *op)
{
    writer_add(&b->writer, op);
    free(writer_run(&b->writer));
    return op->code;
}

static inline job_id bench_push(struct bench *b, const char *queue, int64_t keep_ms)
{
    struct op_push push = lab_order(&b->orders, queue, "x");
    push.spec.keep_ms = keep_ms;
    assert_int_equal(bench_run(b, &push.op), MQ_OK);
    store_op_release(&push.op);
    return push.id;
}

/* The number of those that were handed out; the token of the first. */
static inline unsigned bench_lease(struct bench *b, const char *queue, unsigned max, uint64_t *token)
{
    struct slice name = slice_of(queue);
    struct op_lease lease = {.queues = &name, .queue_count = 1, .max = max, .holder = SLICE("w1")};
    store_op_init(&lease.op, STORE_LEASE, T0);
    assert_int_equal(bench_run(b, &lease.op), MQ_OK);
    unsigned count = lease.count;
    *token = count ? lease.jobs[0].token : 0;
    store_op_release(&lease.op);
    return count;
}

static inline enum mq_code bench_ack(struct bench *b, job_id id, uint64_t token)
{
    struct op_complete complete = {.id = id, .token = token, .result = SLICE_EMPTY};
    store_op_init(&complete.op, STORE_COMPLETE, T0);
    enum mq_code code = bench_run(b, &complete.op);
    store_op_release(&complete.op);
    return code;
}
#endif
