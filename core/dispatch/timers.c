#include "dispatch/inside.h"

/* What time does, a chunk at a time: due jobs become ready, lost leases come back, old records go, pauses end. */

/*
 * Deletions are nobody's hurry, so a chunk is small; but there is one chunk a commit, and a slow disk makes few of these.
 * While more is left than a chunk takes, chunks grow: what is deleted must keep up with what is pushed.
 */
#define OLD_LIMIT      500
#define OLD_LIMIT_MOST 8000 /* some 10 ms of a commit */
#define EVICTED_LOG_MS                                                                                       \
    60000 /* at its limit a store drops records with every commit: a line now and then will do */

static void tell_evicted(struct dispatch *d, unsigned count)
{
    d->stats.evicted += count;
    d->evicted_untold += count;
    dispatch_emit(d, &(struct event){.name = "keep.evicted",
                                     .at = d->wall,
                                     .type = SLICE_EMPTY,
                                     .queue = SLICE_EMPTY,
                                     .worker = SLICE_EMPTY,
                                     .by = SLICE_EMPTY,
                                     .message = SLICE("more is kept than keep_max or keep_bytes allow"),
                                     .fraction = -1,
                                     .count = count});
    if (d->now < d->evicted_log_at)
        return;
    log_event(LOG_WARN, "keep.evicted", LOG_INT("count", (int64_t)d->evicted_untold),
              LOG_STR("message",
                      "finished records were deleted before their keep was over, for more were kept than "
                      "keep_max or keep_bytes allow"));
    d->evicted_untold = 0;
    d->evicted_log_at = d->now + EVICTED_LOG_MS;
}

void timers_swept(struct store_op *op)
{
    struct sweep *sweep = (struct sweep *)op;
    struct dispatch *d = sweep->d;
    int what = (int)sweep->sweep.what;
    if (what == SWEEP_DEAD && letters_swept(sweep))
        return; /* the next step of the same round */
    d->sweeping[what] = false;
    d->swept_at[what] = d->now;
    if (op->code == MQ_OK && sweep->sweep.evicted) /* a refused one still says what its try had deleted */
        tell_evicted(d, sweep->sweep.evicted);
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
    if (what == SWEEP_DEAD)
        return LETTERS_LIMIT;
    if (what != SWEEP_OLD)
        return d->settings.sweep_limit;
    return d->old_doublings < 4 ? OLD_LIMIT << d->old_doublings : OLD_LIMIT_MOST;
}

/*
 * Leases: until they are renewed after a jump of the clock, or after the disk had no room for that. Dead letters: the archive
 * could not be written.
 */
static bool must_wait(const struct dispatch *d, int what)
{
    return (what == SWEEP_LEASES && (d->jumped || !again_may_sweep_leases(d))) ||
           (what == SWEEP_DEAD && d->now < d->letters_rest_until);
}

static void sweep_if_due(struct dispatch *d, int what, wall_ms wall)
{
    if (d->sweeping[what] || wall < d->next_sweep[what] || must_wait(d, what))
        return;
    struct sweep *sweep = mq_calloc(1, sizeof *sweep);
    store_op_init(&sweep->sweep.op, STORE_SWEEP, wall);
    sweep->sweep.op.done = timers_swept;
    sweep->d = d;
    sweep->sweep.what = (unsigned)what;
    sweep->sweep.limit = limit_of(d, what);
    d->sweeping[what] = true;
    d->sweep_began[what] = d->now;
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
        if (!d->sweeping[what] && !must_wait(d, what) && d->next_sweep[what] < next)
            next = d->next_sweep[what];
    return next;
}
