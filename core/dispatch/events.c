#include "dispatch/inside.h"

void dispatch_listen(struct dispatch *d, struct event_listener *listener)
{
    DL_APPEND(d->listeners, listener);
    d->stats.listeners++;
}

void dispatch_unlisten(struct dispatch *d, struct event_listener *listener)
{
    DL_DELETE(d->listeners, listener);
    d->stats.listeners--;
}

void dispatch_emit(struct dispatch *d, const struct event *event)
{
    struct event_listener *listener, *next;
    DL_FOREACH_SAFE (d->listeners, listener, next)
        listener->event(listener, event);
}

/* ---- what a commit did ----------------------------------------------------------------------------------------- */

static struct event event_of(struct dispatch *d, const char *name, job_id id, const struct store_op *op)
{
    return (struct event){.name = name,
                          .at = d->wall,
                          .id = id,
                          .type = op->type.at ? op->type : SLICE_EMPTY,
                          .queue = op->queue.at ? op->queue : SLICE_EMPTY,
                          .worker = SLICE_EMPTY,
                          .message = SLICE_EMPTY,
                          .by = SLICE_EMPTY,
                          .fraction = -1};
}

static void tell(struct dispatch *d, const char *name, job_id id, const struct store_op *op)
{
    if (d->listeners) {
        struct event event = event_of(d, name, id, op);
        dispatch_emit(d, &event);
    }
}

/* One of many jobs of an operation: its names are the next in `names`. */
static void tell_next(struct dispatch *d, const char *name, job_id id, const struct store_op *op,
                      struct slice *names)
{
    struct event event = event_of(d, name, id, op);
    store_names_next(names, &event.type, &event.queue);
    if (d->listeners)
        dispatch_emit(d, &event);
}

static void on_push(struct dispatch *d, const struct store_op *op)
{
    const struct op_push *push = (const struct op_push *)op;
    if (!d->listeners)
        return;
    static const char *const names[PUSH_OUTCOMES] = {
        [PUSH_ADDED] = "job.pushed",
        [PUSH_BEHIND] = "job.pushed",
        [PUSH_SKIPPED] = "job.skipped",
        [PUSH_REPLACED] = "job.replaced",
        [PUSH_RESCHEDULED] = "job.rescheduled",
    };
    struct event event = event_of(d, names[push->outcome], push->id, op);
    event.type = push->spec.type;
    event.queue = push->spec.queue;
    event.run_at = push->run_at;
    dispatch_emit(d, &event);
}

/* A job that waited behind another: of whichever operation this is the fruit, it is told of before them all, for one
   of them may already have taken it further. */
void events_of_unblocked(void *owner, const struct store_news *news)
{
    struct dispatch *d = owner;
    struct slice names = news->unblocked_names;
    for (unsigned i = 0; i < news->unblocked_count && d->listeners; i++) {
        struct event event = {.name = news->unblocked[i].state == JOB_READY ? "job.ready" : "job.rescheduled",
                              .at = d->wall,
                              .id = news->unblocked[i].id,
                              .worker = SLICE_EMPTY,
                              .message = SLICE_EMPTY,
                              .by = SLICE_EMPTY,
                              .fraction = -1};
        store_names_next(&names, &event.type, &event.queue);
        dispatch_emit(d, &event);
    }
}

static void on_lease(struct dispatch *d, const struct store_op *op)
{
    const struct op_lease *lease = (const struct op_lease *)op;
    late_count(&d->stats.late, lease);
    struct slice names = lease->expired_names;
    for (unsigned i = 0; i < lease->expired_count; i++) {
        tell_next(d, "job.expired", lease->expired[i], op, &names);
        waiters_tell(d, lease->expired[i], JOB_EXPIRED);
    }
    for (unsigned i = 0; i < lease->count && d->listeners; i++) {
        struct event event = event_of(d, "job.started", lease->jobs[i].id, op);
        struct job_spec spec;
        if (record_read_spec(&spec, lease->jobs[i].record, NULL) == MQ_OK) {
            event.type = spec.type;
            event.queue = spec.queue;
        }
        event.attempt = lease->jobs[i].attempt;
        event.worker = lease->holder;
        dispatch_emit(d, &event);
    }
}

static void on_complete(struct dispatch *d, const struct store_op *op)
{
    const struct op_complete *complete = (const struct op_complete *)op;
    for (unsigned i = 0; i < complete->child_count; i++)
        on_push(d, &complete->children[i]->op);
    tell(d, "job.succeeded", complete->id, op);
    waiters_tell(d, complete->id, JOB_SUCCEEDED);
}

/* The event of a running job that came into this state without success. */
static const char *ended_as(enum job_state state)
{
    switch (state) {
    case JOB_RETRYING:
        return "job.failed";
    case JOB_DEAD:
        return "job.dead";
    case JOB_CANCELLED:
        return "job.cancelled";
    case JOB_SCHEDULED:
        return "job.snoozed";
    case JOB_EXPIRED:
        return "job.expired";
    case JOB_NONE:
        return "job.deleted";
    default:
        return "job.released";
    }
}

static void ended(struct dispatch *d, struct event event, enum job_state state)
{
    event.name = ended_as(state);
    if (d->listeners)
        dispatch_emit(d, &event);
    if (state_is_final(state) || state == JOB_NONE)
        waiters_tell(d, event.id, state);
}

static void on_fail(struct dispatch *d, const struct store_op *op)
{
    const struct op_fail *fail = (const struct op_fail *)op;
    struct event event = event_of(d, "", fail->id, op);
    event.attempt = fail->attempt;
    event.message = fail->message;
    event.run_at = fail->state == JOB_RETRYING || fail->state == JOB_SCHEDULED ? fail->run_at : 0;
    ended(d, event, fail->state);
}

static void on_release(struct dispatch *d, const struct store_op *op)
{
    const struct op_release *release = (const struct op_release *)op;
    struct event event = event_of(d, "", release->id, op);
    event.attempt = release->attempt;
    event.message = release->message.at ? release->message : SLICE_EMPTY;
    event.run_at = release->state == JOB_RETRYING ? release->run_at : 0;
    ended(d, event, release->state);
}

static void on_note(struct dispatch *d, const struct store_op *op)
{
    const struct op_note *note = (const struct op_note *)op;
    if (!d->listeners || note->progress < 0)
        return;
    struct event event = event_of(d, "job.progress", note->id, op);
    event.fraction = note->progress;
    event.message = note->text;
    dispatch_emit(d, &event);
}

static void on_cancel(struct dispatch *d, const struct store_op *op)
{
    const struct op_step *step = (const struct op_step *)op;
    tell(d, step->signalled ? "job.cancelling" : "job.cancelled", step->id, op);
    if (step->signalled)
        worker_cancel(d, step->id, step->holds, d->now);
    else
        waiters_tell(d, step->id, JOB_CANCELLED);
}

static void on_take_back(struct dispatch *d, const struct store_op *op)
{
    const struct op_step *step = (const struct op_step *)op;
    struct event event = event_of(d, "", step->id, op);
    event.attempt = step->attempt;
    event.message = step->reason.at ? step->reason : SLICE_EMPTY;
    worker_release(d, step->id, step->holds, d->now);
    ended(d, event, step->state);
}

static void on_step(struct dispatch *d, const struct store_op *op)
{
    const struct op_step *step = (const struct op_step *)op;
    static const char *const names[STORE_VERBS] = {
        [STORE_PARK] = "job.parked",   [STORE_RETRY] = "job.retried", [STORE_DELETE] = "job.deleted",
        [STORE_PROMOTE] = "job.ready", [STORE_EDIT] = "job.edited",   [STORE_RESCHEDULE] = "job.rescheduled",
    };
    if (op->verb == STORE_PARK && step->state != JOB_READY) { /* it was asked to stop meanwhile */
        ended(d, event_of(d, "", step->id, op), step->state);
        return;
    }
    struct event event = event_of(d, names[op->verb], step->id, op);
    event.run_at = op->verb == STORE_RESCHEDULE ? step->run_at : 0;
    if (d->listeners)
        dispatch_emit(d, &event);
    if (op->verb == STORE_DELETE)
        waiters_tell(d, step->id, JOB_NONE);
}

static void on_many(struct dispatch *d, const struct store_op *op)
{
    const struct op_many *many = (const struct op_many *)op;
    struct slice names = many->names;
    for (unsigned i = 0; i < many->touched_count; i++) {
        job_id id = many->touched[i];
        bool signalled = many->holds[i] != 0;
        if (many->step == STORE_CANCEL && signalled) {
            tell_next(d, "job.cancelling", id, op, &names);
            worker_cancel(d, id, many->holds[i], d->now);
        } else if (many->step == STORE_TAKE_BACK) {
            struct event event = event_of(d, "", id, op);
            store_names_next(&names, &event.type, &event.queue);
            event.message = many->reason.at ? many->reason : SLICE_EMPTY;
            worker_release(d, id, many->holds[i], d->now);
            ended(d, event, (enum job_state)many->states[i]);
        } else if (many->step == STORE_CANCEL || many->step == STORE_DELETE) {
            bool deleted = many->step == STORE_DELETE;
            tell_next(d, deleted ? "job.deleted" : "job.cancelled", id, op, &names);
            waiters_tell(d, id, deleted ? JOB_NONE : JOB_CANCELLED);
        } else {
            tell_next(d, many->step == STORE_RETRY ? "job.retried" : "job.ready", id, op, &names);
        }
    }
}

static void on_queue(struct dispatch *d, const struct store_op *op)
{
    const struct op_queue *queue = (const struct op_queue *)op;
    static const char *const names[] = {"queue.limited", "queue.paused", "queue.draining", "queue.resumed"};
    struct event event = event_of(d, names[queue->change], 0, op);
    event.queue = queue->name;
    event.message = queue->reason.at ? queue->reason : SLICE_EMPTY;
    if (queue->change == QUEUE_PAUSE)
        event.run_at = queue->until;
    event.by = queue->by.at ? queue->by : SLICE_EMPTY;
    dispatch_emit(d, &event);
}

static void on_type(struct dispatch *d, const struct store_op *op)
{
    const struct op_type *type = (const struct op_type *)op;
    struct event event = event_of(d, type->resume ? "type.resumed" : "type.paused", 0, op);
    event.type = type->type;
    event.message = type->reason.at ? type->reason : SLICE_EMPTY;
    event.by = type->by.at ? type->by : SLICE_EMPTY;
    event.run_at = type->resume ? 0 : type->until;
    dispatch_emit(d, &event);
}

static void tell_pause_over(struct dispatch *d, const struct ended_pause *ended, const struct store_op *op)
{
    struct event event = event_of(d, ended->is_type ? "type.resumed" : "queue.resumed", 0, op);
    *(ended->is_type ? &event.type : &event.queue) = ended->name;
    event.message = SLICE("its time was over");
    log_event(LOG_INFO, event.name, LOG_SLICE("name", ended->name), LOG_SLICE("message", event.message));
    dispatch_emit(d, &event);
}

static void on_sweep(struct dispatch *d, const struct store_op *op)
{
    const struct op_sweep *sweep = (const struct op_sweep *)op;
    for (unsigned i = 0; i < sweep->count; i++) {
        const struct swept *one = &sweep->swept[i];
        if (one->state == one->was)
            continue; /* named, and nothing else */
        struct event event = event_of(d, "job.ready", one->id, op);
        event.attempt = one->attempt;
        if (one->type.at) {
            event.type = one->type;
            event.queue = one->queue;
        }
        if (sweep->what == SWEEP_LEASES && one->state == JOB_READY)
            event.name = "job.lost";
        if (one->state != JOB_READY)
            ended(d, event, one->state);
        else if (d->listeners)
            dispatch_emit(d, &event);
    }
    for (unsigned i = 0; i < sweep->ended_count; i++)
        tell_pause_over(d, &sweep->ended[i], op);
}

static void on_schedule(struct dispatch *d, const struct store_op *op)
{
    schedules_committed(d, (const struct op_schedule *)op);
}

/* The job before it was in the way, and was cancelled. */
static void tell_replaced(struct dispatch *d, const struct op_tick *tick)
{
    struct event event =
        event_of(d, tick->holds ? "job.cancelling" : "job.cancelled", tick->before, &tick->op);
    if (d->listeners)
        dispatch_emit(d, &event);
    if (tick->holds)
        worker_cancel(d, tick->before, tick->holds, d->now);
    else
        waiters_tell(d, tick->before, JOB_CANCELLED);
}

static void on_tick(struct dispatch *d, const struct store_op *op)
{
    const struct op_tick *tick = (const struct op_tick *)op;
    if (tick->outcome == TICK_REPLACED)
        tell_replaced(d, tick);
    if (tick_made_job(tick->outcome))
        on_push(d, &tick->push->op);
    schedules_ticked(d, tick);
}

static void on_group(struct dispatch *d, const struct store_op *op)
{
    const struct op_group *group = (const struct op_group *)op;
    for (unsigned i = 0; i < group->count; i++)
        events_of_commit(d, group->members[i]);
}

/* A consumer that hangs may go on extending: nobody here can stop it, so somebody is told. */
static void on_extend(struct dispatch *d, const struct store_op *op)
{
    const struct op_extend *extend = (const struct op_extend *)op;
    char text[JOB_ID_TEXT_BYTES];
    if (!extend->overdue)
        return;
    log_event(LOG_WARN, "job.overdue", LOG_STR("id", id_format(text, extend->id)),
              LOG_STR("next", "RELEASE gives it to somebody else; CANCEL asks its consumer to stop"));
    struct event event = event_of(d, "job.overdue", extend->id, op);
    dispatch_emit(d, &event);
}

static void (*const on_verb[STORE_VERBS])(struct dispatch *, const struct store_op *) = {
    [STORE_PUSH] = on_push,           [STORE_LEASE] = on_lease,     [STORE_COMPLETE] = on_complete,
    [STORE_FAIL] = on_fail,           [STORE_RELEASE] = on_release, [STORE_NOTE] = on_note,
    [STORE_PARK] = on_step,           [STORE_CANCEL] = on_cancel,   [STORE_RETRY] = on_step,
    [STORE_DELETE] = on_step,         [STORE_RESCHEDULE] = on_step, [STORE_PROMOTE] = on_step,
    [STORE_EDIT] = on_step,           [STORE_MANY] = on_many,       [STORE_QUEUE] = on_queue,
    [STORE_SWEEP] = on_sweep,         [STORE_GROUP] = on_group,     [STORE_TYPE] = on_type,
    [STORE_TAKE_BACK] = on_take_back, [STORE_EXTEND] = on_extend,   [STORE_SCHEDULE] = on_schedule,
    [STORE_TICK] = on_tick,
};

void events_of_commit(struct dispatch *d, const struct store_op *op)
{
    if (on_verb[op->verb])
        on_verb[op->verb](d, op);
}
