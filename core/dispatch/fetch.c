#include "dispatch/inside.h"

static void answer(struct dispatch *d, struct fetch *fetch, const struct op_lease *lease)
{
    DL_DELETE(d->fetches, fetch);
    d->stats.fetchers--;
    fetch->done(fetch, lease);
}

static void answer_none(struct dispatch *d, struct fetch *fetch)
{
    struct op_lease none;
    store_op_init(&none.op, STORE_LEASE, d->wall);
    none.count = none.expired_count = 0;
    none.jobs = NULL;
    answer(d, fetch, &none);
}

/* Asks for it. `only_expected`: not unless a hint promises something. A queue that nobody has pushed to is not
   asked about, and costs no memory, whatever names a client invents. */
static void ask_for(struct dispatch *d, struct fetch *fetch, bool only_expected)
{
    struct asked few[16],
        *queues = fetch->queue_count > 16 ? mq_alloc(fetch->queue_count * sizeof *queues) : few;
    uint64_t expected = 0;
    unsigned known = 0;
    for (unsigned i = 0; i < fetch->queue_count; i++) {
        struct hint *hint = hint_find(d, fetch->queues[i]);
        if (!hint)
            continue;
        unserved_fetched(d, hint);
        queues[known++] = (struct asked){hint, 0};
        expected += hint_expected_by_client(hint);
    }
    if (expected || (known && !only_expected)) {
        fetch->ask = ask_start(d, queues, known, fetch->count);
        fetch->ask->fetch = fetch;
        fetch->ask->lease.lease_ms = fetch->lease_ms;
        snprintf(fetch->ask->holder, sizeof fetch->ask->holder, "%.*s", SLICE_ARG(fetch->holder));
        fetch->ask->lease.holder = slice_of(fetch->ask->holder);
        dispatch_submit(d, &fetch->ask->lease.op);
    }
    if (queues != few)
        free(queues);
}

void dispatch_fetch(struct dispatch *d, struct fetch *fetch)
{
    fetch->ask = NULL;
    DL_APPEND(d->fetches, fetch);
    d->stats.fetchers++;
    if (!d->stopping)
        ask_for(d, fetch, false);
    if (!fetch->ask && (d->stopping || fetch->give_up <= d->now))
        answer_none(d, fetch);
}

void fetch_got(struct fetch *fetch, struct ask *ask)
{
    struct dispatch *d = ask->d;
    fetch->ask = NULL;
    if (ask->lease.op.code == MQ_OK && ask->lease.more && !ask->lease.count)
        ask_for(d, fetch,
                false); /* it met jobs of a paused type only, and maybe there are others behind them */
    else if (ask->lease.op.code != MQ_OK || ask->lease.count || fetch->give_up <= d->now)
        answer(d, fetch, &ask->lease);
}

void dispatch_fetch_abandon(struct dispatch *d, struct fetch *fetch)
{
    if (fetch->ask)
        ask_disown(fetch->ask);
    fetch->ask = NULL;
    DL_DELETE(d->fetches, fetch);
    d->stats.fetchers--;
}

void fetches_tick(struct dispatch *d, mono_ms now)
{
    struct fetch *fetch, *next;
    DL_FOREACH_SAFE (d->fetches, fetch, next) {
        if (fetch->ask)
            continue;
        if (d->stopping || now >= fetch->give_up)
            answer_none(d, fetch);
        else
            ask_for(d, fetch, true);
    }
}

mono_ms fetches_next(const struct dispatch *d)
{
    mono_ms first = MONO_NEVER;
    const struct fetch *fetch;
    DL_FOREACH (d->fetches, fetch)
        if (!fetch->ask && fetch->give_up < first)
            first = fetch->give_up;
    return first;
}
