/*
 * What time does to cron entries: their moments come, one after another, and each is decided by one commit (STORE_TICK).
 *
 *     agenda --due--> decide --too late----------------> tick: a row, no job
 *                        '----fire--> resolve, submit --> tick: job, row, next moment
 *                                        | refused: FULL, NOSPACE    --> rest, then decide again (it may be too late by then)
 *                                        | BUSY: the job before runs --> wait for its end, then decide again
 *                                        ' CONFLICT: moved on        --> read it again
 *
 * One entry's trouble is its own: whatever happens to it, the next in the agenda has its turn.
 */
#include "dispatch/entries.h"

#define TICKS_A_TURN 100 /* a turn of the loop stays short, however many entries have the same moment */

struct ticking {
    struct op_tick tick;
    struct op_push push;
    struct dispatch *d;
    struct args_request args; /* if a function makes them */
    struct buf payload;       /* what it made */
    struct definition *definition;
    struct schedule_run *run; /* who asked for it; NULL: time did */
    char name[NAME_MAX_BYTES];
    char note[TICK_NOTE_MAX], merged[TICK_NOTE_MAX];
};

static void ticking_free(struct ticking *t)
{
    definition_drop(t->definition);
    store_op_release(&t->push.op);
    store_op_release(&t->tick.op);
    buf_release(&t->payload);
    free(t);
}

/* ---- answers ---- */

/* A queue that is draining answers BUSY, too: that is a push refused. */
static bool waits_for_job(const struct ticking *t)
{
    return t->tick.op.code == MQ_BUSY && t->tick.overlap == OVERLAP_QUEUE && t->tick.before != JOB_ID_NONE;
}

/* It may have ended between the look of the store and now: so wait first, and ask once more. */
static void wait_for_job(struct entry *entry, struct ticking *t)
{
    struct dispatch *d = entry->d;
    if (!entry->waiting_since)
        entry->waiting_since = t->tick.row.planned;
    if (entry->asked_again == t->tick.before) {
        entry->asked_again = JOB_ID_NONE;
        entry_arrange(entry);
        return;
    }
    if (entry->waiter.of)
        dispatch_wait_stop(d, &entry->waiter);
    entry->waiter.id = entry->asked_again = t->tick.before;
    dispatch_wait(d, &entry->waiter);
    ticker_step(entry);
}

static void answered(struct entry *entry, struct ticking *t)
{
    enum mq_code code = t->tick.op.code;
    entry->busy = false;
    if (code == MQ_OK) {
        entry->asked_again = JOB_ID_NONE;
        entry->rest_ms = 0;
        entry->refusal[0] = '\0';
        if (t->tick.merged.count)
            entry->again = (struct again){0, 0};
        if (entry->waiter.of)
            dispatch_wait_stop(entry->d, &entry->waiter);
        if (entry_moment(entry) > entry->d->wall)
            entry->waiting_since = 0; /* nothing waits any more */
        entry_arrange(entry);
    } else if (waits_for_job(t)) {
        wait_for_job(entry, t);
    } else if (code == MQ_CONFLICT || code == MQ_NOTFOUND) {
        entry_refresh(entry);
    } else {
        entry_rest(entry, t->tick.op.err.text);
    }
}

static void ticked(struct store_op *op)
{
    struct ticking *t = (struct ticking *)op;
    struct entry *entry = entry_find(t->d, t->tick.name);
    if (t->run) {
        t->run->id = t->push.id;
        t->run->code = op->code;
        t->run->err = op->err;
        t->run->done(t->run);
    } else if (entry) {
        answered(entry, t);
    }
    ticking_free(t);
}

/* ---- asking ---- */

static struct ticking *begin(struct entry *entry, const struct tick_row *row, wall_ms next)
{
    struct ticking *t = mq_calloc(1, sizeof *t);
    struct dispatch *d = entry->d;
    t->d = d;
    t->definition = definition_keep(entry->definition);
    store_op_init(&t->tick.op, STORE_TICK, d->wall);
    store_op_init(&t->push.op, STORE_PUSH, d->wall);
    t->tick.op.done = ticked;
    memcpy(t->name, entry->name.at, entry->name.len);
    t->tick.name = (struct slice){t->name, entry->name.len};
    t->tick.row = *row;
    t->tick.row.note = SLICE_EMPTY;
    if (row->count == 1 && row->outcome != TICK_RUN) {
        t->tick.merged =
            schedule_merged(&t->definition->schedule, entry->since, row->planned, &entry->again, t->merged);
        if (!t->tick.merged.count)
            t->tick.row.note = t->tick.merged.note;
    }
    t->tick.next = next;
    t->tick.revision = entry->revision;
    t->tick.keep = t->definition->schedule.ledger;
    t->tick.overlap = t->definition->schedule.overlap;
    t->tick.fired_max = t->definition->schedule.fired_max;
    return t;
}

static void set_note(struct ticking *t, const char *text)
{
    int len = snprintf(t->note, sizeof t->note, "%s", text);
    t->tick.row.note = (struct slice){t->note, len < TICK_NOTE_MAX ? (size_t)len : TICK_NOTE_MAX - 1};
}

static void submit(struct entry *entry, struct ticking *t)
{
    if (!t->run) {
        entry->busy = true;
        entry_arrange(entry);
    }
    dispatch_submit(entry->d, &t->tick.op);
}

/* The moment can make no job, now or later. */
static void fail(struct entry *entry, struct ticking *t, const char *why)
{
    t->tick.row.outcome = TICK_FAILED;
    t->tick.push = NULL;
    set_note(t, why);
    submit(entry, t);
}

static enum mq_code make_push(struct ticking *t, struct mq_err *err)
{
    const struct schedule *schedule = &t->definition->schedule;
    struct dispatch *d = t->d;
    wall_ms planned = t->tick.row.planned;
    struct push_order order = schedule->order;
    if (schedule->args_function)
        order.payload = buf_bytes(&t->payload);
    enum mq_code code = dispatch_resolve(d, &t->push, &order, d->wall, err);
    if (code != MQ_OK)
        return code;
    wall_ms run_at = planned + schedule_jitter(schedule, t->tick.name, planned);
    if (t->tick.row.outcome != TICK_RUN && run_at > t->push.run_at)
        t->push.run_at = run_at;
    t->push.spec.schedule = t->tick.name;
    t->push.spec.planned_at = planned;
    t->tick.push = &t->push;
    return MQ_OK;
}

static void tell_runner(struct ticking *t, enum mq_code code, const char *why)
{
    t->run->code = code;
    mq_fail(&t->run->err, code, "%s", why);
    t->run->done(t->run);
    ticking_free(t);
}

/* Refused by the server itself, and not for long: it stops (the moment is the next one's to decide), or its memory is full. */
static void put_off(struct entry *entry, struct ticking *t, enum mq_code code, const char *why)
{
    entry->busy = false;
    if (code == MQ_FULL)
        entry_rest(entry, why);
    ticking_free(t);
}

static void push(struct entry *entry, struct ticking *t)
{
    struct mq_err err;
    enum mq_code code = make_push(t, &err);
    if (code == MQ_OK)
        submit(entry, t);
    else if (t->run)
        tell_runner(t, code, err.text);
    else if (code == MQ_BUSY || code == MQ_FULL)
        put_off(entry, t, code, err.text);
    else
        fail(entry, t, err.text);
}

/* The function has answered, or will not. A moment whose server stops is decided by the next one. */
static void got_args(struct args_request *request, enum mq_code code, struct slice text)
{
    struct ticking *t = (struct ticking *)((char *)request - offsetof(struct ticking, args));
    struct entry *entry = entry_find(t->d, t->tick.name);
    char why[TICK_NOTE_MAX];
    t->tick.op.now = t->push.op.now = t->d->wall;
    snprintf(why, sizeof why, "args: %.*s", (int)(text.len < 280 ? text.len : 280), text.at);
    if (code == MQ_OK)
        buf_add_slice(&t->payload, text);
    if (t->run && (code != MQ_OK || !entry)) {
        tell_runner(t, code == MQ_OK ? MQ_NOTFOUND : code, why);
    } else if (!entry) {
        ticking_free(t);
    } else if (code == MQ_BUSY) {
        put_off(entry, t, code, why);
    } else if (code == MQ_OK) {
        push(entry, t);
    } else {
        fail(entry, t, why);
    }
}

static void fire(struct entry *entry, struct ticking *t)
{
    const struct schedules *s = &t->d->schedules;
    if (!t->definition->schedule.args_function) {
        push(entry, t);
        return;
    }
    if (!t->run) {
        entry->busy = true;
        entry_arrange(entry);
    }
    t->args =
        (struct args_request){.name = t->tick.name, .planned_at = t->tick.row.planned, .done = got_args};
    if (s->make_args)
        s->make_args(s->args_owner, &t->args);
    else
        got_args(&t->args, MQ_SCRIPT, SLICE("nobody runs functions here"));
}

/* ---- what is due ---- */

static void resume(struct entry *entry);

void ticker_step(struct entry *entry)
{
    struct dispatch *d = entry->d;
    struct standing standing = entry_standing(entry);
    if (entry->paused) {
        resume(entry);
        return;
    }
    if (entry->planned > d->wall && !entry->boot) {
        entry_arrange(entry);
        return;
    }
    wall_ms now =
        entry->boot > d->wall ? entry->boot : d->wall; /* the clock was set back before this start */
    struct decision decision = schedule_decide(&entry->definition->schedule, &standing, now);
    struct tick_row row = {.outcome = decision.outcome,
                           .planned = decision.planned,
                           .until = decision.until,
                           .count = decision.count,
                           .more = decision.more};
    struct ticking *t = begin(entry, &row, decision.next);
    t->tick.extra = entry->boot != 0;
    if (tick_made_job(row.outcome)) {
        fire(entry, t);
    } else if (entry->refusal[0] && row.outcome == TICK_MISSED) {
        fail(entry, t, entry->refusal); /* it was not late, it was refused until it was */
    } else {
        submit(entry, t);
    }
}

/* ---- pauses that end by themselves ---- */

struct resuming {
    struct op_schedule op;
    struct dispatch *d;
    char name[NAME_MAX_BYTES];
};

static void resumed(struct store_op *op)
{
    struct resuming *r = (struct resuming *)op;
    struct entry *entry = entry_find(r->d, r->op.name);
    if (entry) {
        entry->busy = false;
        if (op->code == MQ_OK || op->code == MQ_NOTFOUND)
            entry_arrange(entry);
        else if (op->code == MQ_CONFLICT)
            entry_refresh(entry);
        else
            entry_rest(entry, op->err.text);
    }
    store_op_release(op);
    free(r);
}

static void resume(struct entry *entry)
{
    struct resuming *r = mq_calloc(1, sizeof *r);
    store_op_init(&r->op.op, STORE_SCHEDULE, entry->d->wall);
    r->op.op.done = resumed;
    r->d = entry->d;
    memcpy(r->name, entry->name.at, entry->name.len);
    r->op.name = (struct slice){r->name, entry->name.len};
    r->op.change = SCHEDULE_RESUME;
    r->op.revision = entry->revision;
    schedules_fill_resume(entry, &r->op,
                          entry->pause_until < entry->d->wall ? entry->pause_until : entry->d->wall);
    entry->busy = true;
    entry_arrange(entry);
    dispatch_submit(entry->d, &r->op.op);
}

/* ---- turns ---- */

static void wake_resting(struct dispatch *d)
{
    struct entry *entry, *next;
    DL_FOREACH_SAFE2(d->schedules.resting, entry, next, next_resting)
    if (entry->rest_until <= d->now) {
        DL_DELETE2(d->schedules.resting, entry, prev_resting, next_resting);
        entry->rests = false;
        entry_arrange(entry);
    }
}

/* While it does not, nobody needs to wake for an entry: there is another wake-up for the end of the rest. */
static bool works(const struct dispatch *d)
{
    return d->schedules.on && !d->stopping && d->now >= d->rest_until;
}

void schedules_tick(struct dispatch *d)
{
    struct schedules *s = &d->schedules;
    if (!works(d))
        return;
    if (s->file_again <= d->now && !s->applying)
        schedules_apply_file(d);
    wake_resting(d);
    for (int i = 0; i < TICKS_A_TURN && s->agenda_count && s->agenda[0]->due <= d->wall; i++)
        ticker_step(s->agenda[0]);
}

wall_ms schedules_next(const struct dispatch *d)
{
    const struct schedules *s = &d->schedules;
    return works(d) && s->agenda_count ? s->agenda[0]->due : WALL_NEVER;
}

mono_ms schedules_next_rest(const struct dispatch *d)
{
    const struct entry *entry;
    if (!works(d))
        return MONO_NEVER;
    mono_ms next = d->schedules.applying ? MONO_NEVER : d->schedules.file_again;
    DL_FOREACH2(d->schedules.resting, entry, next_resting)
    {
        next = entry->rest_until < next ? entry->rest_until : next;
    }
    return next;
}

/* What is decided comes again, and is not decided again: the entry waits for its next moment. */
static unsigned set_back(struct dispatch *d, wall_ms until)
{
    struct entry *entry;
    unsigned waiting = 0;
    for (entry = d->schedules.entries; entry; entry = entry->hh.next) {
        wall_ms after = until > entry->since ? until : entry->since; /* it has decided none of before */
        if (entry->ended || entry->last <= until)
            continue;
        if (!entry->again.until || after < entry->again.after)
            entry->again.after = after;
        entry->again.until = entry->last;
        waiting++;
    }
    return waiting;
}

void schedules_stepped(struct dispatch *d, wall_ms from, wall_ms until)
{
    unsigned waiting = 0;
    if (until < from) {
        waiting = set_back(d, until);
    } else {
        d->schedules.step_from = from;
        d->schedules.step_until = until;
    }
    log_event(LOG_WARN, "clock.stepped", LOG_INT("by_ms", until - from),
              LOG_INT("schedules_waiting", (int64_t)waiting));
}

/* ---- a start of the server ---- */

void schedules_boot(struct dispatch *d)
{
    struct entry *entry, *next;
    HASH_ITER (hh, d->schedules.entries, entry, next) {
        const struct schedule *schedule = entry->definition ? &entry->definition->schedule : NULL;
        if (!schedule || entry->ended || schedule->paused || schedule->plan.cron.kind != CRON_REBOOT ||
            !schedule_goes_on(schedule, entry->fired, d->wall) || d->wall < schedule->plan.start)
            continue;
        entry->boot = d->wall > entry->last ? d->wall : entry->last + 1;
        entry_arrange(entry);
    }
}

/* ---- a person's word ---- */

enum mq_code dispatch_schedule_run(struct dispatch *d, struct schedule_run *run, struct mq_err *err)
{
    struct entry *entry = entry_find(d, run->name);
    if (!entry || entry->ended)
        return mq_fail(err, MQ_NOTFOUND, "there is no schedule '%.*s'", SLICE_ARG(run->name));
    if (entry->trouble || !entry->definition)
        return mq_fail(err, MQ_SCRIPT, "schedule '%.*s' is broken: %.200s", SLICE_ARG(run->name),
                       entry->trouble ? entry->trouble : "it was not read");
    struct tick_row row = {.outcome = TICK_RUN, .planned = d->wall, .until = d->wall, .count = 1};
    struct ticking *t = begin(entry, &row, WALL_NEVER);
    t->run = run;
    t->tick.revision = 0;
    fire(entry, t);
    return MQ_OK;
}
