#include "dispatch/inside.h"

/* ---- submitting -------------------------------------------------------------------------------------------------- */

static void count_push(struct dispatch *d, const struct op_push *push, int by)
{
    if (push->run_at > push->op.now)
        return;
    struct hint *hint = hint_ensure(d, push->spec.queue);
    if (by > 0) {
        hint->pushing++;
        hint_touch(d, hint);
    } else if (hint->pushing) {
        hint->pushing--;
    }
}

/* Pushes under way are expected to be ready when they are on disk: so their lease can share their commit. */
static void count_pushes(struct dispatch *d, const struct store_op *op, int by)
{
    if (op->verb == STORE_PUSH) {
        count_push(d, (const struct op_push *)op, by);
    } else if (op->verb == STORE_COMPLETE) {
        const struct op_complete *complete = (const struct op_complete *)op;
        for (unsigned i = 0; i < complete->child_count; i++)
            count_push(d, complete->children[i], by);
    } else if (op->verb == STORE_TICK) {
        if (((const struct op_tick *)op)->push)
            count_push(d, ((const struct op_tick *)op)->push, by);
    } else if (op->verb == STORE_GROUP) {
        const struct op_group *group = (const struct op_group *)op;
        for (unsigned i = 0; i < group->count; i++)
            count_pushes(d, group->members[i], by);
    }
}

void dispatch_submit(struct dispatch *d, struct store_op *op)
{
    op->want_names = d->listeners != NULL;
    count_pushes(d, op, 1);
    store_submit(d->store, op);
}

/* A lease that goes back. Lines of a log are not worth it. */
static bool must_be_kept(const struct store_op *op)
{
    return op->code == MQ_NOSPACE && op->verb != STORE_NOTE;
}

static void own_done(struct store_op *op)
{
    if (must_be_kept(op)) {
        again_later(op->owner, op);
        return;
    }
    /* the job may have ended meanwhile; anything else is worth a line */
    if (op->code != MQ_OK && op->code != MQ_LOST && op->code != MQ_NOTFOUND && op->code != MQ_WRONGSTATE)
        log_event(LOG_WARN, "store.refused", LOG_STR("code", mq_code_name(op->code)),
                  LOG_STR("message", op->err.text));
    store_op_release(op);
    free(op);
}

void submit_own(struct dispatch *d, struct store_op *op)
{
    op->done = own_done;
    op->owner = d;
    dispatch_submit(d, op);
}

/* ---- what the store tells ---------------------------------------------------------------------------------------- */

static void on_committed(void *owner, const struct store_op *op)
{
    struct dispatch *d = owner;
    count_pushes(d, op, -1);
    if (op->code == MQ_OK)
        events_of_commit(d, op);
}

static void on_news(void *owner, const struct store_news *news)
{
    struct dispatch *d = owner;
    for (unsigned i = 0; i < news->queue_count; i++) {
        struct hint *hint = hint_ensure(d, news->queues[i].name);
        struct slice name = hint->news.name;
        hint->news = news->queues[i];
        hint->news.name = name;
        hint_touch(d, hint);
    }
    d->next_sweep[SWEEP_DUE] = news->next_due;
    d->next_sweep[SWEEP_LEASES] = news->next_lease;
    d->next_sweep[SWEEP_OLD] = news->next_old;
    d->next_sweep[SWEEP_PAUSES] = news->next_pause;
    d->next_sweep[SWEEP_DEAD] = news->next_dead;
    letters_level(d, news->dead_percent);
}

static void on_alarm(void *owner, const char *event, const char *text)
{
    struct dispatch *d = owner;
    log_event(LOG_ERROR, event, LOG_STR("message", text));
    dispatch_emit(d, &(struct event){.name = event,
                                     .at = d->wall,
                                     .type = SLICE_EMPTY,
                                     .queue = SLICE_EMPTY,
                                     .worker = SLICE_EMPTY,
                                     .message = slice_of(text),
                                     .fraction = -1});
}

struct store_listener dispatch_store_listener(struct dispatch *d)
{
    return (struct store_listener){.owner = d,
                                   .unblocked = events_of_unblocked,
                                   .committed = on_committed,
                                   .news = on_news,
                                   .alarm = on_alarm};
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

struct dispatch *dispatch_new(struct store *store, const struct dispatch_host *host,
                              const struct dispatch_settings *settings)
{
    struct dispatch *d = mq_calloc(1, sizeof *d);
    d->store = store;
    d->host = *host;
    d->settings = *settings;
    for (int what = 0; what < SWEEPS; what++)
        d->next_sweep[what] = WALL_NEVER;
    d->schedules.file_again = MONO_NEVER;
    return d;
}

void dispatch_configure(struct dispatch *d, const struct dispatch_settings *settings)
{
    d->settings = *settings;
    d->next_sweep[SWEEP_OLD] = d->next_sweep[SWEEP_DEAD] = 0; /* the rules may keep less than before */
}

void dispatch_free(struct dispatch *d)
{
    again_free(d);
    pools_free(d);
    schedules_free(d);
    types_free(d);
    hints_free(d);
    orphans_free(d);
    buf_release(&d->scratch);
    free(d);
}

void dispatch_stop(struct dispatch *d)
{
    d->stopping = true;
    dispatch_emit(d, &(struct event){.name = "server.stopping", .at = d->wall, .fraction = -1});
}

bool dispatch_stopping(const struct dispatch *d)
{
    return d->stopping;
}

void dispatch_stats(struct dispatch *d, struct dispatch_stats *out)
{
    struct pool *pool;
    struct worker *worker;
    *out = d->stats;
    schedules_count(d, out);
    out->workers = out->slots = out->busy = 0;
    DL_FOREACH (d->pools, pool)
        DL_FOREACH (pool->workers, worker) {
            out->workers++;
            out->slots += worker->slots;
            out->busy += worker->held;
        }
}

static mono_ms earlier(mono_ms a, mono_ms b)
{
    return a < b ? a : b;
}

struct dispatch_wake dispatch_tick(struct dispatch *d, wall_ms wall, mono_ms now)
{
    d->jumped |=
        wall - d->ticked > WATCH_JUMP_MS; /* while anything runs there are some forty ticks a second */
    mono_ms passed = now - d->schedules.ticked;
    if (d->ticked && llabs(wall - d->ticked - passed) > WATCH_JUMP_MS)
        schedules_stepped(d, d->ticked + passed, wall);
    d->wall = d->ticked = wall;
    d->now = d->schedules.ticked = now;
    if (d->jumped && !ask_is_stale(d)) {
        watch_jump(d, now);
        d->jumped = false;
    }
    again_tick(d); /* before what would charge those jobs */
    timers_tick(d, wall);
    schedules_tick(d);
    fetches_tick(d, now);
    pools_tick(d, now);
    orphans_tick(d);
    mono_ms next = watch_tick(d, wall, now);
    next = earlier(next, fetches_next(d));
    next = earlier(next, schedules_next_rest(d));
    next = earlier(next, again_next(d));
    if (now < d->letters_rest_until)
        next = earlier(next, d->letters_rest_until);
    if (now < d->rest_until)
        next = earlier(next, d->rest_until);
    else if (d->pools && !d->stopping)
        next = earlier(next, earlier(d->probe_at, d->orphans_look ? MONO_NEVER : d->orphans_at));
    wall_ms due = timers_next(d), planned = schedules_next(d);
    return (struct dispatch_wake){next, due < planned ? due : planned};
}
