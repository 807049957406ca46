#include "dispatch/inside.h"

#include <stdarg.h>

static struct gate *gate(struct gate *at, const char *name, bool open, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static struct gate *gate(struct gate *at, const char *name, bool open, const char *format, ...)
{
    va_list args;
    at->name = name;
    at->open = open;
    va_start(args, format);
    vsnprintf(at->text, sizeof at->text, format, args);
    va_end(args);
    return at + 1;
}

/* What the state alone says; open only where the other gates decide. */
static struct gate *gate_of_state(struct gate *at, const struct op_get *job, wall_ms now)
{
    const struct job_view *view = &job->view;
    const struct job_status *status = &view->status;
    char when[TIME_TEXT_BYTES], left[DURATION_TEXT_BYTES], id[JOB_ID_TEXT_BYTES];
    switch (status->state) {
    case JOB_RUNNING:
        duration_format(left, duration_round(status->deadline > now ? status->deadline - now : 0));
        return gate(at, "state", false, "it runs: attempt %u, held by '%.*s', lease ends in %s%s",
                    status->attempt, SLICE_ARG(status->holder), left,
                    status->cancelling ? "; it was asked to stop" : "");
    case JOB_BLOCKED:
        if (status->key_role == KEY_WAITS)
            return gate(at, "unique", false,
                        "it follows job %s, which holds its unique key '%.*s' (UNIQUE RELEASE takes it away)",
                        id_format(id, job->key_holder),
                        view->spec.unique_key.len > 60 ? 60 : (int)view->spec.unique_key.len,
                        view->spec.unique_key.at);
        return gate(at, "state", false, "it waits for other jobs");
    case JOB_SCHEDULED:
    case JOB_RETRYING:
        duration_format(left, duration_round(status->due_at - now));
        return gate(at, "due", status->due_at <= now, "%s at %s%s%s%s",
                    status->state == JOB_RETRYING ? "its next attempt is due" : "it is scheduled",
                    time_format(when, status->due_at), status->due_at > now ? ", in " : "",
                    status->due_at > now ? left : ", now",
                    status->state == JOB_RETRYING ? " (PROMOTE runs it now)" : "");
    case JOB_READY:
        return gate(at, "state", true, "it is ready since %s", time_format(when, status->since));
    case JOB_DEAD:
        return gate(at, "state", false, "it is a dead letter after %u attempts (RETRY brings it back)",
                    status->attempt);
    default:
        return gate(at, "state", false, "it is %s since %s", state_name(status->state),
                    time_format(when, status->since));
    }
}

/* "queue 'mail' is paused by ana since ..., until ...: the relay is down (RESUME it)" */
static struct gate *gate_of_pause(struct gate *at, const char *name, const char *what, struct slice of,
                                  const struct pause_view *pause, const char *next)
{
    char since[TIME_TEXT_BYTES], until[TIME_TEXT_BYTES];
    if (!pause->on)
        return gate(at, name, true, "%s '%.*s' is not paused", what, SLICE_ARG(of));
    bool ends = pause->until != WALL_NEVER;
    return gate(at, name, false, "%s '%.*s' is paused%s%.*s%s%s%s%s%s%.*s (%s)", what, SLICE_ARG(of),
                pause->by.len ? " by " : "", SLICE_ARG(pause->by), pause->since ? " since " : "",
                pause->since ? time_format(since, pause->since) : "", ends ? ", until " : "",
                ends ? time_format(until, pause->until) : "", pause->reason.len ? ": " : "",
                SLICE_ARG(pause->reason), next);
}

static struct gate *gate_of_workers(struct gate *at, struct dispatch *d, struct slice queue)
{
    struct pool *pool;
    struct worker *worker;
    unsigned serving = 0, live = 0, room = 0;
    const struct fetch *fetch;
    unsigned fetchers = 0;
    DL_FOREACH (d->pools, pool) {
        if (!pool->named || !pool_serves(d, pool, queue))
            continue;
        serving++;
        DL_FOREACH (pool->workers, worker) {
            live += worker->state == WORKER_READY;
            room += worker_room(worker);
        }
    }
    DL_FOREACH (d->fetches, fetch)
        for (unsigned i = 0; i < fetch->queue_count; i++)
            fetchers += slice_equal(fetch->queues[i], queue);
    if (serving == 0 && fetchers == 0)
        return gate(
            at, "no_pool", false,
            "no pool serves queue '%.*s' and no consumer fetches from it (name it in a pool's `queues` and "
            "RELOAD, or FETCH from it)",
            SLICE_ARG(queue));
    if (live == 0 && fetchers == 0)
        return gate(at, "no_worker", false, "no worker of the pools that serve queue '%.*s' is alive",
                    SLICE_ARG(queue));
    return gate(at, "no_worker", room > 0 || fetchers > 0,
                "%u live workers serve its queue, %u free places, %u fetchers", live, room, fetchers);
}

/* Not a gate, but the first thing to know of a job that nobody remembers to have pushed. */
static struct gate *gate_of_schedule(struct gate *at, const struct job_spec *spec)
{
    char when[TIME_TEXT_BYTES];
    if (!spec->schedule.len)
        return at;
    return gate(at, "schedule", true, "schedule '%.*s' made it, for %s", SLICE_ARG(spec->schedule),
                time_format(when, spec->planned_at));
}

unsigned dispatch_why(struct dispatch *d, const struct op_get *job, wall_ms now, struct gate *gates)
{
    const struct job_view *view = &job->view;
    struct gate *at = gate_of_state(gates, job, now);
    at = gate_of_schedule(at, &view->spec);
    struct slice queue = view->spec.queue;
    if (state_is_final(view->status.state) || view->status.state == JOB_RUNNING ||
        view->status.state == JOB_BLOCKED)
        return (unsigned)(at - gates);
    const struct hint *hint = hint_find(d, queue);
    at = gate_of_pause(at, "queue_paused", "queue", queue, &job->queue_pause, "RESUME it");
    at = gate_of_pause(at, "type_paused", "job type", view->spec.type, &job->type_pause, "RESUME TYPE");
    bool handled = type_find(d, view->spec.type) != NULL;
    at = gate(at, "parked", !view->status.parked, "%s",
              view->status.parked ? "no handler has its type: add one and RELOAD, or FETCH it"
              : handled           ? "its type has a handler"
                                  : "its type has no handler here; a consumer may FETCH it");
    at = gate_of_workers(at, d, queue);
    if (d->stopping)
        at = gate(at, "stopping", false, "the server is stopping");
    uint64_t ahead = hint ? hint->news.ready : 0;
    at = gate(at, "turn", ahead <= 1,
              "%llu jobs are ready in its queue; lower priority numbers and older ids go first",
              (unsigned long long)ahead);
    return (unsigned)(at - gates);
}
