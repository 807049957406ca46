#include "dispatch/inside.h"

/* What time does, a chunk at a time: due jobs become ready, lost leases come back, old records go, pauses end. */

/*
 * Deletions are nobody's hurry, so a chunk is small; but there is one chunk a commit, and a slow disk makes few of these.
 * While more is left than a chunk takes, chunks grow: what is deleted must keep up with what is pushed.
 */
#define OLD_LIMIT      500
#define OLD_LIMIT_MOST 8000 /* some 10 ms of a commit */

struct sweep {
    struct op_sweep sweep;
    struct dispatch *d;
};

static void swept(struct store_op *op)
{
    struct sweep *sweep = (struct sweep *)op;
    struct dispatch *d = sweep->d;
    int what = (int)sweep->sweep.what;
    d->sweeping[what] = false;
    if (what == SWEEP_OLD)
        d->old_doublings = op->code == MQ_OK && sweep->sweep.more ? d->old_doublings + 1 : 0;
    if (op->code != MQ_OK) {
        log_event(LOG_ERROR, "store.sweep_failed", LOG_STR("code", mq_code_name(op->code)),
                  LOG_STR("message", op->err.text));
        d->rest_until = d->now + REST_MS;
    } else if (sweep->sweep.more) {
        d->next_sweep[what] = d->wall; /* the next chunk, behind whatever came in meanwhile */
    }
    store_op_release(op);
    free(sweep);
}

static unsigned limit_of(const struct dispatch *d, int what)
{
    if (what != SWEEP_OLD)
        return d->settings.sweep_limit;
    return d->old_doublings < 4 ? OLD_LIMIT << d->old_doublings : OLD_LIMIT_MOST;
}

static void sweep_if_due(struct dispatch *d, int what, wall_ms wall)
{
    if (d->sweeping[what] || wall < d->next_sweep[what] || (what == SWEEP_LEASES && d->jumped))
        return;
    struct sweep *sweep = mq_calloc(1, sizeof *sweep);
    store_op_init(&sweep->sweep.op, STORE_SWEEP, wall);
    sweep->sweep.op.done = swept;
    sweep->d = d;
    sweep->sweep.what = (unsigned)what;
    sweep->sweep.limit = limit_of(d, what);
    d->sweeping[what] = true;
    dispatch_submit(d, &sweep->sweep.op);
}

void timers_tick(struct dispatch *d, wall_ms wall)
{
    if (d->now < d->rest_until)
        return;
    for (int what = 0; what < SWEEPS; what++)
        sweep_if_due(d, what, wall);
}

wall_ms timers_next(const struct dispatch *d)
{
    wall_ms next = WALL_NEVER;
    if (d->now < d->rest_until)
        return next;
    for (int what = 0; what < SWEEPS; what++)
        if (!d->sweeping[what] && !(what == SWEEP_LEASES && d->jumped) && d->next_sweep[what] < next)
            next = d->next_sweep[what];
    return next;
}
