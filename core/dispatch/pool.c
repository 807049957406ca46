#include "dispatch/inside.h"

#include <stdlib.h>

/* Asked for although nothing is expected: so often, in case a hint got lost. */
#define PROBE_EVERY_MS 5000

struct pool *pool_find(struct dispatch *d, const char *name)
{
    struct pool *pool;
    DL_FOREACH (d->pools, pool)
        if (strcmp(pool->settings.name, name) == 0)
            return pool;
    return NULL;
}

/* The pool's row that has this very name. */
static const struct pool_queue *row_of(const struct pool *pool, struct slice name)
{
    for (unsigned i = 0; i < pool->settings.queue_count; i++)
        if (slice_equal(name, slice_of(pool->settings.queues[i].name)))
            return &pool->settings.queues[i];
    return NULL;
}

/* "*" serves what no pool names: a queue that has a pool of its own is not shared by accident. */
static const struct pool_queue *row_for(struct dispatch *d, const struct pool *pool, struct slice queue)
{
    const struct pool *other;
    const struct pool_queue *row = row_of(pool, queue);
    if (row)
        return row;
    row = row_of(pool, SLICE("*"));
    if (!row || !d->pools->next) /* the common case: one pool */
        return row;
    DL_FOREACH (d->pools, other)
        if (other->named && row_of(other, queue))
            return NULL;
    return row;
}

bool pool_serves(struct dispatch *d, const struct pool *pool, struct slice queue)
{
    return row_for(d, pool, queue) != NULL;
}

/* A queue to ask, and what decides its place. */
struct candidate {
    struct asked asked;
    int64_t rank; /* greater goes first */
};

static int by_rank(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? 1 : -1;
    /* of equal rank: by name, so that the order is the same in every run */
    struct slice left = x->asked.hint->news.name, right = y->asked.hint->news.name;
    int order = memcmp(left.at, right.at, left.len < right.len ? left.len : right.len);
    return order ? order : (left.len > right.len) - (left.len < right.len);
}

/* Smooth weighted round robin: each gains its weight, the first pays for all. Over a while each is first as often
   as its weight says, and no heavy queue goes first twice in a row more often than it must. */
static int64_t weighted_rank(struct hint *hint, unsigned weight)
{
    hint->turn += weight;
    return hint->turn;
}

unsigned pool_order_queues(struct dispatch *d, struct pool *pool, struct asked *out, uint64_t *expected)
{
    struct candidate few[16], *found = few;
    unsigned count = 0, most = hints_trim(d);
    int64_t weights = 0;
    struct hint *hint;
    bool strict = pool->settings.order == POOL_STRICT;
    *expected = 0;
    if (most > 16)
        found = mq_alloc(most * sizeof *found);
    DL_FOREACH (d->live, hint) {
        uint64_t there = hint_expected(hint);
        const struct pool_queue *row = there ? row_for(d, pool, hint->news.name) : NULL;
        if (!row)
            continue;
        *expected += there;
        weights += row->weight;
        found[count++] = strict ? (struct candidate){{hint, 0}, -(row - pool->settings.queues)}
                                : (struct candidate){{hint, row->weight}, weighted_rank(hint, row->weight)};
    }
    if (count > 1)
        qsort(found, count, sizeof *found, by_rank);
    if (count && !strict)
        found[0].asked.hint->turn -= weights;
    if (count > ASK_QUEUES_MAX)
        count = ASK_QUEUES_MAX;
    for (unsigned i = 0; i < count; i++)
        out[i] = found[i].asked;
    if (found != few)
        free(found);
    return count;
}

/* The ready worker with the most room, or NULL: work is spread, so that no worker's CPU is shared needlessly. */
static struct worker *roomiest(struct pool *pool, unsigned *able)
{
    struct worker *worker, *best = NULL;
    *able = 0;
    DL_FOREACH (pool->workers, worker) {
        unsigned room = worker_room(worker);
        if (room == 0)
            continue;
        (*able)++;
        if (!best || room > worker_room(best))
            best = worker;
    }
    return best;
}

static void pool_ask(struct dispatch *d, struct worker *worker, const struct asked *queues, unsigned count,
                     unsigned jobs)
{
    struct ask *ask = ask_start(d, queues, count, jobs);
    ask->worker = worker;
    ask->lease.by_worker = true;
    snprintf(ask->holder, sizeof ask->holder, "%s", worker->name);
    ask->lease.holder = slice_of(ask->holder);
    worker->asking += jobs;
    dispatch_submit(d, &ask->lease.op);
}

/* Queues that the pool serves, whatever the hints say. */
static unsigned all_queues(struct dispatch *d, struct pool *pool, struct asked *out)
{
    unsigned count = 0;
    struct hint *hint;
    for (hint = d->hints; hint && count < ASK_QUEUES_MAX; hint = hint->hh.next)
        if (!hint->news.paused && pool_serves(d, pool, hint->news.name))
            out[count++] = (struct asked){hint, 0};
    return count;
}

static void alarm_if_idle(struct dispatch *d, struct pool *pool, uint64_t backlog, mono_ms now)
{
    if (now - pool->took_at < d->settings.idle_alarm_ms || now - pool->alarm_at < d->settings.idle_alarm_ms)
        return;
    pool->alarm_at = now;
    d->stats.idle_with_backlog++;
    log_event(LOG_WARN, "idle_with_backlog", LOG_STR("pool", pool->settings.name), LOG_INT("ready", backlog),
              LOG_INT("idle_ms", now - pool->took_at));
    dispatch_emit(d, &(struct event){.name = "queue.idle_with_backlog",
                                     .at = d->wall,
                                     .worker = slice_of(pool->settings.name),
                                     .count = backlog,
                                     .fraction = -1});
}

/* Jobs that wait for this pool, asked for or not: an answer that never comes is what the detector is for. */
static uint64_t backlog_of(struct dispatch *d, const struct pool *pool)
{
    uint64_t backlog = 0;
    struct hint *hint;
    DL_FOREACH (d->live, hint)
        if (!hint->news.paused && hint->news.ready + hint->pushing && pool_serves(d, pool, hint->news.name))
            backlog += hint->news.ready + hint->pushing;
    return backlog;
}

/* A worker that could run more. What was asked for it does not count: it may never come. */
static bool has_idle(const struct pool *pool)
{
    const struct worker *worker;
    DL_FOREACH (pool->workers, worker)
        if (worker->state == WORKER_READY && !worker->killed &&
            worker->held + worker->revoked < worker->window)
            return true;
    return false;
}

/* Ready jobs, a free worker, and nothing taken for a while. */
static void watch_idle(struct dispatch *d, struct pool *pool, mono_ms now)
{
    if (now - pool->took_at < d->settings.idle_alarm_ms)
        return;
    uint64_t backlog = has_idle(pool) ? backlog_of(d, pool) : 0;
    if (backlog)
        alarm_if_idle(d, pool, backlog, now);
    else
        pool->took_at = now; /* there was nothing to take, or nobody to take it */
}

static void pool_tick(struct dispatch *d, struct pool *pool, struct asked *queues, bool probe, mono_ms now)
{
    unsigned able;
    watch_idle(d, pool, now);
    struct worker *worker = roomiest(pool, &able);
    if (!worker)
        return;
    uint64_t expected;
    unsigned count = pool_order_queues(d, pool, queues, &expected);
    if (count == 0 && probe && (count = all_queues(d, pool, queues)) > 0)
        expected = 1;
    while (worker && count && expected) {
        uint64_t share = (expected + able - 1) / able;
        unsigned room = worker_room(worker);
        unsigned jobs = share < room ? (unsigned)share : room;
        pool_ask(d, worker, queues, count, jobs);
        expected -= jobs < expected ? jobs : expected;
        worker = roomiest(pool, &able);
    }
}

void pools_tick(struct dispatch *d, mono_ms now)
{
    struct pool *pool;
    bool probe = now >= d->probe_at;
    if (d->stopping || now < d->rest_until || d->stats.outcomes_waiting >= AGAIN_MOST)
        return;
    if (probe) {
        d->probe_at = now + PROBE_EVERY_MS;
        d->detected_at = now;
        unserved_tick(d);
    }
    struct asked queues[ASK_QUEUES_MAX];
    DL_FOREACH (d->pools, pool)
        if (pool->named)
            pool_tick(d, pool, queues, probe, now);
}

static void settings_release(struct pool_settings *settings)
{
    for (unsigned i = 0; i < settings->queue_count; i++)
        free(settings->queues[i].name);
    free(settings->queues);
    free(settings->name);
}

static void settings_copy(struct pool_settings *to, const struct pool_settings *from)
{
    *to = *from;
    to->name = mq_strdup(from->name);
    to->queues = mq_calloc(from->queue_count, sizeof *to->queues);
    for (unsigned i = 0; i < from->queue_count; i++) {
        to->queues[i] = from->queues[i];
        to->queues[i].name = mq_strdup(from->queues[i].name);
    }
}

void dispatch_set_pools(struct dispatch *d, const struct pool_settings *pools, unsigned count)
{
    struct pool *pool;
    DL_FOREACH (d->pools, pool)
        pool->named = false;
    for (unsigned i = 0; i < count; i++) {
        pool = pool_find(d, pools[i].name);
        if (pool) {
            settings_release(&pool->settings);
        } else {
            pool = mq_calloc(1, sizeof *pool);
            pool->took_at = d->now;
            DL_APPEND(d->pools, pool);
        }
        settings_copy(&pool->settings, &pools[i]);
        pool->named = true;
    }
}

void pools_free(struct dispatch *d)
{
    struct pool *pool, *next;
    DL_FOREACH_SAFE (d->pools, pool, next) {
        DL_DELETE(d->pools, pool);
        settings_release(&pool->settings);
        free(pool);
    }
}
