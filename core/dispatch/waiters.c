#include "dispatch/inside.h"

void dispatch_wait(struct dispatch *d, struct waiter *waiter)
{
    struct waiting *waiting;
    HASH_FIND(hh, d->waiting, &waiter->id, sizeof waiter->id, waiting);
    if (!waiting) {
        waiting = mq_calloc(1, sizeof *waiting);
        waiting->id = waiter->id;
        HASH_ADD(hh, d->waiting, id, sizeof waiting->id, waiting);
    }
    waiter->of = waiting;
    DL_APPEND(waiting->waiters, waiter);
    d->stats.waiters++;
}

void dispatch_wait_stop(struct dispatch *d, struct waiter *waiter)
{
    struct waiting *waiting = waiter->of;
    mq_must(waiting && waiter->prev); /* it is in the list */
    DL_DELETE(waiting->waiters, waiter);
    waiter->of = NULL;
    d->stats.waiters--;
    if (!waiting->waiters && !waiting->telling) {
        mq_must(d->waiting && waiting->hh.tbl);
        HASH_DEL(d->waiting, waiting);
        free(waiting);
    }
}

void waiters_tell(struct dispatch *d, job_id id, enum job_state state)
{
    struct waiting *waiting;
    if (!d->waiting)
        return;
    HASH_FIND(hh, d->waiting, &id, sizeof id, waiting);
    if (!waiting)
        return;
    HASH_DEL(d->waiting,
             waiting); /* first: a callback may wait for the same job again, or stop another waiter */
    waiting->telling = true;
    while (waiting->waiters) {
        struct waiter *waiter = waiting->waiters;
        dispatch_wait_stop(d, waiter);
        waiter->done(waiter, state);
    }
    free(waiting);
}
