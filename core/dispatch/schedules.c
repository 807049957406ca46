/* What clients ask of cron entries: to set them, to look at what comes. */
#include "dispatch/entries.h"

static enum mq_code fill_set(struct dispatch *d, struct op_schedule *op, struct mq_err *err)
{
    struct schedule schedule;
    struct entry *entry = entry_find(d, op->name);
    enum mq_code code = schedule_read(&schedule, op->name, op->definition, d->settings.payload_max, err);
    if (code == MQ_OK && schedule.args_function) {
        schedule_release(&schedule);
        return mq_fail(err, MQ_BADARG, "unknown option 'args_function' (functions stand in schedules.lua)");
    }
    if (code != MQ_OK)
        return code;
    op->planned = entry_plan_anew(entry, &schedule, op->op.now);
    bool never = op->planned == WALL_NEVER && !schedule.paused && schedule.plan.cron.kind != CRON_REBOOT;
    schedule_release(&schedule);
    if (never)
        return mq_fail(err, MQ_BADARG, "cron: no moment is left before its end, or its max is reached");
    return MQ_OK;
}

void schedules_fill_resume(const struct entry *entry, struct op_schedule *op, wall_ms until)
{
    struct standing standing = entry_standing(entry);
    if (!entry->definition) {
        op->planned = entry->planned;
        return;
    }
    struct decision passed = schedule_pass_over(&entry->definition->schedule, &standing, until);
    op->planned = passed.next;
    op->passed = (struct tick_row){.outcome = TICK_PAUSED,
                                   .planned = passed.planned,
                                   .until = passed.until,
                                   .count = passed.count,
                                   .more = passed.more,
                                   .note = SLICE_EMPTY};
}

static bool is_set_paused(const struct entry *entry)
{
    return entry && !entry->ended && entry->definition && entry->definition->schedule.paused;
}

bool dispatch_schedule_is_set_paused(struct dispatch *d, struct slice name)
{
    return is_set_paused(entry_find(d, name));
}

enum mq_code dispatch_schedule_fill(struct dispatch *d, struct op_schedule *op, struct mq_err *err)
{
    const struct entry *entry = entry_find(d, op->name);
    if (!d->schedules.on)
        return mq_fail(err, MQ_BUSY, "the server is starting: its schedules are not read yet");
    if (op->change == SCHEDULE_SET)
        return fill_set(d, op, err);
    if (op->change == SCHEDULE_RESUME && is_set_paused(entry))
        return mq_fail(err, MQ_CONFLICT, "schedule '%.*s' is set with paused = true: take that away (%s)",
                       SLICE_ARG(op->name),
                       entry->source == SCHEDULE_OF_FILE ? "in schedules.lua, and RELOAD" : "CRON SET");
    if (op->change == SCHEDULE_RESUME && entry && entry->paused) {
        op->revision = entry->revision;
        schedules_fill_resume(entry, op, op->op.now);
    }
    return MQ_OK;
}

const char *dispatch_schedule_trouble(struct dispatch *d, struct slice name)
{
    const struct entry *entry = entry_find(d, name);
    return entry && !entry->ended ? entry->trouble : NULL;
}

bool dispatch_schedule_is_over(struct dispatch *d, const struct schedule_view *view)
{
    const struct entry *entry = entry_find(d, view->name);
    if (view->planned != WALL_NEVER || !entry || !entry->definition)
        return false;
    const struct schedule *schedule = &entry->definition->schedule;
    return schedule->plan.cron.kind != CRON_REBOOT ||
           (!entry->boot && !schedule_goes_on(schedule, view->fired, d->wall));
}

bool dispatch_schedule_broken(struct dispatch *d, unsigned index, struct slice *name, const char **why)
{
    struct entry *entry, *next;
    HASH_ITER (hh, d->schedules.entries, entry, next)
        if (!entry->stored && entry->trouble && index-- == 0) {
            *name = entry->name;
            *why = entry->trouble;
            return true;
        }
    return false;
}

enum mq_code dispatch_schedule_next(struct dispatch *d, struct slice name, wall_ms *out, unsigned *count,
                                    struct mq_err *err)
{
    const struct entry *entry = entry_find(d, name);
    unsigned wanted = *count;
    *count = 0;
    if (!entry || entry->ended)
        return mq_fail(err, MQ_NOTFOUND, "there is no schedule '%.*s'", SLICE_ARG(name));
    if (entry->trouble || !entry->definition)
        return mq_fail(err, MQ_SCRIPT, "schedule '%.*s' is broken: %.200s", SLICE_ARG(name),
                       entry->trouble ? entry->trouble : "it was not read");
    const struct schedule *schedule = &entry->definition->schedule;
    wall_ms at = entry->planned;
    if (schedule->fired_max && schedule->fired_max - entry->fired < wanted)
        wanted = (unsigned)(schedule->fired_max - entry->fired);
    while (*count < wanted && at != WALL_NEVER) {
        out[(*count)++] = at;
        at = plan_next(&schedule->plan, entry->since, at);
    }
    return MQ_OK;
}

void schedules_count(const struct dispatch *d, struct dispatch_stats *out)
{
    const struct entry *entry;
    out->schedules = out->schedules_broken = d->schedules.nameless;
    out->schedule_changes = d->schedules.changes;
    out->schedule_changes_untold = d->schedules.changes_untold;
    for (entry = d->schedules.entries; entry; entry = entry->hh.next) {
        out->schedules += !entry->ended;
        out->schedules_broken += !entry->ended && entry->trouble;
    }
}

/* ---- what commits say ---- */

void schedules_committed(struct dispatch *d, const struct op_schedule *op)
{
    static const char *const names[] = {"schedule.set",    "schedule.ended",   "schedule.ended",
                                        "schedule.paused", "schedule.resumed", "schedule.set"};
    struct entry *entry = entry_find(d, op->name);
    if (op->change != SCHEDULE_ERASE)
        entry_learn(d, &op->view);
    else if (entry)
        entry_free(entry);
    dispatch_emit(d, &(struct event){.name = names[op->change],
                                     .at = d->wall,
                                     .schedule = op->name,
                                     .by = op->by.at ? op->by : SLICE_EMPTY,
                                     .message = op->reason.at ? op->reason : SLICE_EMPTY,
                                     .run_at = op->change == SCHEDULE_PAUSE ? op->until : 0,
                                     .fraction = -1});
}

static const char *event_of(enum tick_outcome outcome)
{
    if (tick_made_job(outcome))
        return "schedule.fired";
    return outcome == TICK_SKIPPED  ? "schedule.skipped"
           : outcome == TICK_FAILED ? "schedule.failed"
                                    : "schedule.missed";
}

void schedules_ticked(struct dispatch *d, const struct op_tick *op)
{
    const char *name = event_of(op->outcome), *outcome = tick_outcome_name(op->outcome);
    d->stats.ticks[op->outcome] += op->row.count;
    d->stats.ticks[TICK_MERGED] += op->merged.count;
    enum log_level level = op->outcome == TICK_FAILED    ? LOG_ERROR
                           : op->outcome == TICK_SKIPPED ? LOG_INFO
                                                         : LOG_WARN;
    entry_learn(d, &op->view);
    if (!tick_made_job(op->outcome))
        log_event(level, name, LOG_SLICE("schedule", op->name), LOG_STR("outcome", outcome),
                  LOG_INT("planned", op->row.planned), LOG_INT("count", op->row.count),
                  LOG_SLICE("message", op->row.note));
    dispatch_emit(d, &(struct event){.name = name,
                                     .at = d->wall,
                                     .schedule = op->name,
                                     .id = tick_made_job(op->outcome) ? op->push->id : op->before,
                                     .planned_at = op->row.planned,
                                     .outcome = outcome,
                                     .message = op->row.note.at ? op->row.note : SLICE_EMPTY,
                                     .count = op->row.count,
                                     .fraction = -1});
}
