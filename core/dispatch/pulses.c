/* When the loops of dispatch ran last, and which of them has work that waits. */
#include "dispatch/inside.h"

static const char *const sweep_names[SWEEPS] = {
    [SWEEP_DUE] = "sweep_due",       [SWEEP_LEASES] = "sweep_leases", [SWEEP_OLD] = "sweep_old",
    [SWEEP_PAUSES] = "sweep_pauses", [SWEEP_DEAD] = "sweep_dead",
};

/* The renewal that has waited longest. */
static mono_ms renewal_due_at(const struct dispatch *d)
{
    mono_ms first = MONO_NEVER;
    const struct pool *pool;
    const struct worker *worker;
    DL_FOREACH (d->pools, pool)
        DL_FOREACH (pool->workers, worker)
            for (unsigned i = 0; i < worker->slots && worker->held && !worker->killed; i++) {
                const struct place *place = &worker->places[i];
                if (place->state == PLACE_HELD && !place->released && place->renew_at < first)
                    first = place->renew_at;
            }
    return first;
}

void dispatch_pulses(const struct dispatch *d, mono_ms now, struct pulse *list, unsigned *count)
{
    bool rests = d->now < d->rest_until; /* the disk is full: it said so */
    for (int what = 0; what < SWEEPS;
         what++) /* one that is due begins with the next turn; then it waits for its answer */
        pulse_add(list, count, sweep_names[what], now, d->swept_at[what],
                  d->sweeping[what] ? d->sweep_began[what] : MONO_NEVER);
    pulse_add(list, count, "watch", now, d->watched_at, d->watch_at);
    pulse_add(list, count, "detector", now, d->detected_at,
              rests || d->stopping || !d->pools ? MONO_NEVER : d->probe_at);
    pulse_add(list, count, "orphans", now, d->orphans_looked_at,
              d->orphans_look ? d->orphans_asked_at : MONO_NEVER);
    pulse_add(list, count, "renewals", now, d->renewed_at, renewal_due_at(d));
}
