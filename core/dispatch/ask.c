#include "dispatch/inside.h"

#define ASK_BYTES_MAX (4 << 20) /* of payloads in one answer: memory stays bounded, whatever the jobs' size */

/* So many more are asked of this queue; nobody else asks for the same ones. */
static unsigned charge(struct ask *ask, unsigned i, uint64_t most)
{
    struct charge *charge = &ask->charged[i];
    uint64_t expected = hint_expected(charge->hint);
    unsigned jobs = (unsigned)(expected < most ? expected : most);
    charge->hint->asked += jobs;
    charge->jobs += jobs;
    return jobs;
}

/*
 * Spreads the jobs asked for over the queues, by weight; what some cannot give comes from the others, in their order.
 * Without weights it is all in their order.
 */
static void spread(struct ask *ask, const struct asked *queues, unsigned max)
{
    uint64_t weights = 0;
    for (unsigned i = 0; i < ask->charged_count; i++)
        weights += queues[i].weight;
    for (unsigned i = 0; i < ask->charged_count && weights; i++) {
        max -= charge(ask, i, (max * (uint64_t)queues[i].weight + weights - 1) / weights);
        weights -= queues[i].weight;
    }
    for (unsigned i = 0; i < ask->charged_count && max; i++)
        max -= charge(ask, i, max);
}

static void discharge(struct ask *ask)
{
    for (unsigned i = 0; i < ask->charged_count; i++)
        ask->charged[i].hint->asked -= ask->charged[i].jobs;
    ask->charged_count = 0;
}

static void ask_done(struct store_op *op)
{
    struct ask *ask = (struct ask *)op;
    struct dispatch *d = ask->d;
    discharge(ask);
    if (op->code != MQ_OK) {
        ask->lease.count = ask->lease.expired_count = 0; /* void: what a try that failed left there */
        d->rest_until = d->now + REST_MS;
    }
    DL_DELETE(d->asks, ask);
    if (ask->worker)
        worker_got(ask->worker, ask);
    else if (ask->fetch)
        fetch_got(ask->fetch, ask);
    else
        for (unsigned i = 0; i < ask->lease.count; i++)
            give_back(d, ask->lease.jobs[i].id, ask->lease.jobs[i].token);
    store_op_release(op);
    free(ask);
}

struct ask *ask_start(struct dispatch *d, const struct asked *queues, unsigned queue_count, unsigned max)
{
    size_t names_at = (sizeof(struct ask) + 15) & ~(size_t)15;
    size_t charges_at = names_at + queue_count * sizeof(struct slice);
    size_t shares_at = charges_at + queue_count * sizeof(struct charge);
    char *block = mq_calloc(1, shares_at + queue_count * sizeof(unsigned));
    struct ask *ask = (struct ask *)(void *)block;
    struct slice *names = (struct slice *)(void *)(block + names_at);
    unsigned *shares = (unsigned *)(void *)(block + shares_at);
    ask->charged = (struct charge *)(void *)(block + charges_at);
    ask->d = d;
    ask->charged_count = queue_count;
    for (unsigned i = 0; i < queue_count; i++) {
        names[i] = queues[i].hint->news.name;
        ask->charged[i].hint = queues[i].hint;
    }
    spread(ask, queues, max);
    for (unsigned i = 0; i < queue_count; i++)
        shares[i] = ask->charged[i].jobs;
    store_op_init(&ask->lease.op, STORE_LEASE, d->wall);
    ask->lease.op.done = ask_done;
    ask->lease.queues = names;
    ask->lease.queue_count = queue_count;
    ask->lease.shares = queue_count && queues->weight ? shares : NULL;
    ask->lease.max = max;
    ask->lease.bytes_max = ASK_BYTES_MAX;
    ask->lease.hold_max = d->settings.sweep_limit;
    DL_APPEND(d->asks, ask);
    return ask;
}

void ask_disown(struct ask *ask)
{
    ask->worker = NULL;
    ask->fetch = NULL;
}

bool ask_is_stale(const struct dispatch *d)
{
    const struct ask *ask;
    DL_FOREACH (d->asks, ask)
        if (d->wall - ask->lease.op.now > WATCH_JUMP_MS)
            return true;
    return false;
}
