/*
 * lab.h - a store on a bench: open, ask, wait for the answer, look.
 *
 * Each helper submits one operation and waits until it is collected, so a test reads like a story. Answers live
 * until the next call of the same helper or lab_close.
 */
#ifndef MOONQ_TESTS_STORE_LAB_H
#define MOONQ_TESTS_STORE_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "factory.h"

struct lab {
    const struct factory *factory;
    struct store *store;
    struct store_settings settings;
    void *place;
    wall_ms now;
    struct buf alarms; /* "event: text\n" */
    unsigned committed, news_count;
    wall_ms next_due, next_lease, next_old, next_pause, next_dead;
    unsigned dead_percent;
    uint64_t last_ready, last_waiting; /* of the queue last in the news */
    unsigned unblocked;                /* jobs that the news told of, and the last of them */
    job_id unblocked_id;
    struct op_lease lease;
    struct op_get get;
    struct op_list list;
    struct op_queues queues;
    struct op_many many;
    struct op_sweep sweep;
    struct op_step step;
    struct op_fail fail;
    struct op_release release;
    struct op_note note;
    struct op_extend extend;
    struct op_complete complete;
    struct op_stats stats;
    char dir[256];
};

#define T0 1767225600000LL /* 2026-01-01 */

static inline void lab_done(struct store_op *op)
{
    *(int *)op->owner += 1;
}

static inline void on_committed(void *owner, const struct store_op *op)
{
    (void)op;
    ((struct lab *)owner)->committed++;
}
static inline void on_news(void *owner, const struct store_news *news)
{
    struct lab *lab = owner;
    lab->news_count++;
    lab->next_due = news->next_due;
    lab->next_lease = news->next_lease;
    lab->next_old = news->next_old;
    lab->next_pause = news->next_pause;
    lab->next_dead = news->next_dead;
    lab->dead_percent = news->dead_percent;
    lab->unblocked += news->unblocked_count;
    if (news->unblocked_count)
        lab->unblocked_id = news->unblocked[news->unblocked_count - 1].id;
    for (unsigned i = 0; i < news->queue_count; i++) {
        lab->last_ready = news->queues[i].ready;
        lab->last_waiting = news->queues[i].waiting;
    }
}
static inline void on_alarm(void *owner, const char *event, const char *text)
{
    buf_printf(&((struct lab *)owner)->alarms, "%s: %s\n", event, text);
}

static atomic_int woken;
static inline void on_wake(void *owner)
{
    (void)owner;
    atomic_fetch_add(&woken, 1);
}

static inline void lab_attach(struct lab *lab)
{
    struct store_listener listener = {
        .owner = lab, .committed = on_committed, .news = on_news, .alarm = on_alarm};
    store_attach(lab->store, &listener, on_wake, lab);
    store_collect(lab->store);
}

static inline void lab_reopen(struct lab *lab)
{
    struct mq_err err = {0};
    if (lab->store)
        store_close(lab->store);
    lab->store = NULL;
    if (store_open(&lab->store, &lab->settings, &err) != MQ_OK)
        fail_msg("store_open: %s", err.text);
    lab_attach(lab);
}

static inline struct lab *lab_open_with(const struct factory *factory, const struct store_settings *wishes)
{
    struct lab *lab = calloc(1, sizeof *lab);
    lab->factory = factory;
    lab->settings = (struct store_settings){.nosync = true, .crash_limit = 3};
    if (wishes)
        lab->settings = *wishes;
    factory->fresh(&lab->settings, &lab->place);
    lab->now = T0;
    lab_reopen(lab);
    return lab;
}

/* Submits, and waits until it is collected. */
static inline enum mq_code lab_run(struct lab *lab, struct store_op *op)
{
    int done = 0;
    op->done = lab_done;
    op->owner = &done;
    store_submit(lab->store, op);
    store_flush(lab->store);
    while (!done)
        store_collect(lab->store);
    return op->code;
}

#define LAB_OP(lab, field, VERB)                                                                             \
    do {                                                                                                     \
        store_op_release(&(lab)->field.op);                                                                  \
        memset(&(lab)->field, 0, sizeof(lab)->field);                                                        \
        store_op_init(&(lab)->field.op, VERB, (lab)->now);                                                   \
    } while (0)

static inline void lab_close(struct lab *lab)
{
    store_close(lab->store);
    lab->factory->remove(lab->place);
    store_op_release(&lab->lease.op);
    store_op_release(&lab->get.op);
    store_op_release(&lab->list.op);
    store_op_release(&lab->queues.op);
    store_op_release(&lab->many.op);
    store_op_release(&lab->sweep.op);
    store_op_release(&lab->step.op);
    store_op_release(&lab->fail.op);
    store_op_release(&lab->release.op);
    store_op_release(&lab->note.op);
    store_op_release(&lab->extend.op);
    store_op_release(&lab->complete.op);
    store_op_release(&lab->stats.op);
    buf_release(&lab->alarms);
    free(lab);
}

/* A push with everything at its default, to be changed before lab_push_op. */
static inline struct op_push lab_order(struct lab *lab, const char *queue, const char *payload)
{
    struct op_push push = {
        .spec =
            {
                .type = SLICE("email.send"),
                .queue = slice_of(queue),
                .payload = slice_of(payload),
                .meta = SLICE_EMPTY,
                .tags = SLICE_EMPTY,
                .expires_at = WALL_NEVER,
                .keep_ms = KEEP_DEFAULT_MS,
                .timeout_ms = TIMEOUT_DEFAULT_MS,
                .lease_ms = LEASE_DEFAULT_MS,
                .max_attempts = 3,
                .priority = PRIORITY_DEFAULT,
            },
    };
    store_op_init(&push.op, STORE_PUSH, lab->now);
    return push;
}
static inline enum mq_code lab_push_op(struct lab *lab, struct op_push *push)
{
    push->op.now = lab->now;
    enum mq_code code = lab_run(lab, &push->op);
    store_op_release(&push->op);
    return code;
}
static inline job_id lab_push(struct lab *lab, const char *queue, const char *payload)
{
    struct op_push push = lab_order(lab, queue, payload);
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    return push.id;
}

/* Leases up to `max` from one queue; answers the first, or NULL. */
static inline struct leased_job *lab_lease_as(struct lab *lab, const char *queue, unsigned max,
                                              bool by_worker)
{
    struct slice name = slice_of(queue);
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = &name;
    lab->lease.queue_count = 1;
    lab->lease.max = max;
    lab->lease.holder = SLICE("w1");
    lab->lease.by_worker = by_worker;
    assert_int_equal(lab_run(lab, &lab->lease.op), MQ_OK);
    return lab->lease.count ? lab->lease.jobs : NULL;
}
static inline struct leased_job *lab_lease(struct lab *lab, const char *queue, unsigned max)
{
    return lab_lease_as(lab, queue, max, true);
}
static inline enum mq_code lab_ack(struct lab *lab, job_id id, uint64_t token, const char *result)
{
    LAB_OP(lab, complete, STORE_COMPLETE);
    lab->complete.id = id;
    lab->complete.token = token;
    lab->complete.result = slice_of(result);
    return lab_run(lab, &lab->complete.op);
}
static inline enum mq_code lab_fail(struct lab *lab, job_id id, uint64_t token, enum fail_verdict verdict,
                                    wall_ms run_at)
{
    LAB_OP(lab, fail, STORE_FAIL);
    lab->fail.id = id;
    lab->fail.token = token;
    lab->fail.verdict = verdict;
    lab->fail.run_at = run_at;
    lab->fail.code = SLICE("SCRIPT");
    lab->fail.message = SLICE("boom");
    lab->fail.traceback = SLICE("handlers/email/send.lua:7");
    return lab_run(lab, &lab->fail.op);
}
static inline enum mq_code lab_release(struct lab *lab, job_id id, uint64_t token, enum release_kind kind,
                                       wall_ms run_at)
{
    LAB_OP(lab, release, STORE_RELEASE);
    lab->release.id = id;
    lab->release.token = token;
    lab->release.kind = kind;
    lab->release.run_at = run_at;
    lab->release.message = SLICE("worker w1 died of signal 11 (SIGSEGV)");
    return lab_run(lab, &lab->release.op);
}
static inline enum mq_code lab_step(struct lab *lab, enum store_verb verb, job_id id)
{
    LAB_OP(lab, step, verb);
    lab->step.id = id;
    lab->step.payload = lab->step.reason = SLICE_EMPTY;
    return lab_run(lab, &lab->step.op);
}
static inline enum mq_code lab_sweep(struct lab *lab, int what, unsigned limit)
{
    LAB_OP(lab, sweep, STORE_SWEEP);
    lab->sweep.what = what;
    lab->sweep.limit = limit;
    return lab_run(lab, &lab->sweep.op);
}
static inline enum mq_code lab_get(struct lab *lab, job_id id)
{
    LAB_OP(lab, get, STORE_GET);
    lab->get.id = id;
    lab->get.with_history = true;
    return lab_run(lab, &lab->get.op);
}
static inline enum job_state lab_state(struct lab *lab, job_id id)
{
    return lab_get(lab, id) == MQ_OK ? lab->get.view.status.state : JOB_NONE;
}
static inline const struct queue_view *lab_queue(struct lab *lab, const char *name)
{
    LAB_OP(lab, queues, STORE_QUEUES);
    assert_int_equal(lab_run(lab, &lab->queues.op), MQ_OK);
    for (unsigned i = 0; i < lab->queues.count; i++)
        if (slice_equal(lab->queues.queues[i].name, slice_of(name)))
            return &lab->queues.queues[i];
    return NULL;
}
static inline enum mq_code lab_change_queue(struct lab *lab, const char *name, int change, int64_t limit)
{
    struct op_queue op = {.name = slice_of(name), .reason = SLICE("maintenance")};
    store_op_init(&op.op, STORE_QUEUE, lab->now);
    op.change = change;
    op.set_limit = limit >= 0;
    op.limit = limit >= 0 ? (uint64_t)limit : 0;
    enum mq_code code = lab_run(lab, &op.op);
    store_op_release(&op.op);
    return code;
}

static inline enum mq_code lab_pause_queue(struct lab *lab, const char *name, const char *by, wall_ms until)
{
    struct op_queue op = {
        .name = slice_of(name), .reason = SLICE("maintenance"), .by = slice_of(by), .until = until};
    store_op_init(&op.op, STORE_QUEUE, lab->now);
    op.change = QUEUE_PAUSE;
    enum mq_code code = lab_run(lab, &op.op);
    store_op_release(&op.op);
    return code;
}
/* `until` -1: resume. */
static inline enum mq_code lab_pause_type(struct lab *lab, const char *type, wall_ms until)
{
    struct op_type op = {.type = slice_of(type),
                         .resume = until < 0,
                         .reason = SLICE("the relay is down"),
                         .by = SLICE("ana"),
                         .until = until};
    store_op_init(&op.op, STORE_TYPE, lab->now);
    enum mq_code code = lab_run(lab, &op.op);
    store_op_release(&op.op);
    return code;
}

#define assert_slice(bytes, text)                                                                            \
    do {                                                                                                     \
        struct slice _s = (bytes);                                                                           \
        assert_int_equal(_s.len, strlen(text));                                                              \
        assert_memory_equal(_s.at, text, _s.len);                                                            \
    } while (0)

#endif
