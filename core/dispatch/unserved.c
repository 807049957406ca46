/*
 * Queues with jobs that nobody asks for: no pool names them, and no consumer fetches from them. Their jobs wait as if all was
 * well, so somebody has to be told.
 */
#include "dispatch/inside.h"

#define FETCHED_LATELY_MS                                                                                    \
    (60 * 1000) /* a consumer may take so long over what it fetched before it comes again */

void unserved_fetched(struct dispatch *d, struct hint *hint)
{
    hint->fetched_until = d->now + FETCHED_LATELY_MS;
}

static bool is_served(struct dispatch *d, const struct hint *hint)
{
    const struct pool *pool;
    DL_FOREACH (d->pools, pool)
        if (pool->named && pool_serves(d, pool, hint->news.name))
            return true;
    return d->now < hint->fetched_until;
}

static void tell(struct dispatch *d, struct hint *hint)
{
    hint->unserved_told = true;
    log_event(LOG_WARN, "queue.unserved", LOG_SLICE("queue", hint->news.name),
              LOG_INT("ready", hint->news.ready),
              LOG_STR("next", "name it in the `queues` of a pool in moonq.lua and RELOAD, or FETCH from it"));
    dispatch_emit(d, &(struct event){.name = "queue.unserved",
                                     .at = d->wall,
                                     .queue = hint->news.name,
                                     .count = hint->news.ready,
                                     .fraction = -1});
}

void unserved_tick(struct dispatch *d)
{
    struct hint *hint;
    d->stats.queues_unserved = 0;
    hints_trim(d);
    DL_FOREACH (d->live, hint) {
        if (hint->news.ready == 0 || hint->news.paused || is_served(d, hint)) {
            hint->unserved_told = false;
            hint->unserved_since = MONO_NEVER;
            continue;
        }
        if (hint->unserved_since == MONO_NEVER)
            hint->unserved_since = d->now;
        d->stats.queues_unserved++;
        if (!hint->unserved_told && d->now - hint->unserved_since >= d->settings.idle_alarm_ms)
            tell(d, hint);
    }
}
