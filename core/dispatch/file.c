/*
 * The application's schedules.lua against what the store has.
 *
 * The file owns the entries that it names: what it says is set, also where a command has set another before, and what it
 * does not name any more ends (its ledger stays). An entry whose definition has not changed is left alone, so a RELOAD
 * or a restart moves no moment.
 */
#include "dispatch/entries.h"

#define AGAIN_MS 5000 /* the disk is full: the file's word waits so long */

struct applying {
    struct op_schedule op;
    struct dispatch *d;
    char *definition; /* ours */
    char sign;        /* in the list of changes: + ~ -, or 0 */
    char name[NAME_MAX_BYTES];
};

static void tell_settled(struct dispatch *d)
{
    struct schedules *s = &d->schedules;
    void (*settled)(void *owner) = s->settled;
    if (!settled || s->applying || (!s->on && !s->unread))
        return;
    s->settled = NULL;
    settled(s->settled_owner);
}

static void all_applied(struct dispatch *d)
{
    struct schedules *s = &d->schedules;
    if (s->applying || !s->loaded)
        return;
    if (!s->on) {
        s->on = true;
        schedules_boot(d);
    }
    tell_settled(d);
}

void schedules_unread(struct dispatch *d)
{
    d->schedules.unread = true;
    tell_settled(d);
}

void dispatch_await_schedules(struct dispatch *d, void (*settled)(void *owner), void *owner)
{
    d->schedules.settled = settled;
    d->schedules.settled_owner = owner;
    tell_settled(d);
}

/* Refused for a reason that passes. The entry goes on as it was meanwhile; what the file says is said again. */
static bool comes_again(const struct applying *a)
{
    struct dispatch *d = a->d;
    if (a->op.op.code != MQ_NOSPACE && a->op.op.code != MQ_CONFLICT)
        return false;
    log_event(LOG_WARN, "schedule.not_set", LOG_SLICE("schedule", a->op.name),
              LOG_STR("code", mq_code_name(a->op.op.code)), LOG_STR("message", a->op.op.err.text));
    d->schedules.file_again = d->now + (a->op.op.code == MQ_NOSPACE ? AGAIN_MS : 0);
    return true;
}

static void note_change(struct schedules *s, char sign, const char *name)
{
    size_t len = strlen(s->changes);
    if (!sign)
        return;
    if (s->changes_untold || len + strlen(name) + 3 > sizeof s->changes)
        s->changes_untold++;
    else
        snprintf(s->changes + len, sizeof s->changes - len, "%s%c%s", len ? " " : "", sign, name);
}

static void applied(struct store_op *op)
{
    struct applying *a = (struct applying *)op;
    struct dispatch *d = a->d;
    struct entry *entry = entry_find(d, a->op.name);
    d->schedules.applying--;
    if (op->code == MQ_OK)
        note_change(&d->schedules, a->sign, a->name);
    if (entry) {
        entry->busy = false;
        if (op->code != MQ_OK && !comes_again(a))
            entry_set_trouble(entry, op->err.text);
        entry_arrange(entry);
    }
    store_op_release(op);
    free(a->definition);
    free(a);
    all_applied(d);
}

static struct applying *begin(struct entry *entry, int change)
{
    struct applying *a = mq_calloc(1, sizeof *a);
    a->d = entry->d;
    store_op_init(&a->op.op, STORE_SCHEDULE, entry->d->wall);
    a->op.op.done = applied;
    memcpy(a->name, entry->name.at, entry->name.len);
    a->op.name = (struct slice){a->name, entry->name.len};
    a->op.change = (unsigned)change;
    a->op.source = SCHEDULE_OF_FILE;
    a->op.definition = a->op.reason = a->op.by = SLICE_EMPTY;
    return a;
}

static void submit(struct entry *entry, struct applying *a)
{
    entry->busy = true;
    entry_arrange(entry);
    entry->d->schedules.applying++;
    dispatch_submit(entry->d, &a->op.op);
}

#define BLAME_BYTES (MQ_ERR_TEXT_BYTES + 40)

/* `why`, with its place in the file before it; line 0: nobody knows the line. */
static const char *in_file(char text[BLAME_BYTES], int line, const char *why)
{
    if (line > 0)
        snprintf(text, BLAME_BYTES, "schedules.lua:%d: %s", line, why);
    else
        snprintf(text, BLAME_BYTES, "schedules.lua: %s", why);
    return text;
}

static void blame(struct entry *entry, int line, const char *why)
{
    char text[BLAME_BYTES];
    entry_set_trouble(entry, in_file(text, line, why));
}

static void set(struct entry *entry, json_t *definition, int line)
{
    struct dispatch *d = entry->d;
    struct schedule schedule;
    struct mq_err err;
    char *text = schedule_text(definition);
    struct slice bytes = text ? slice_of(text) : SLICE_EMPTY;
    bool live = entry->stored && !entry->ended && entry->source == SCHEDULE_OF_FILE;
    if (live && entry->definition && slice_equal(entry->definition->bytes, bytes)) {
        entry_set_trouble(entry, NULL);
        free(text);
        return;
    }
    if (schedule_read(&schedule, entry->name, bytes, d->settings.payload_max, &err) != MQ_OK) {
        blame(entry, line, err.text);
        free(text);
        return;
    }
    struct applying *a = begin(entry, SCHEDULE_SET);
    a->sign = entry->stored && !entry->ended ? '~' : '+';
    a->definition = text;
    a->op.definition = bytes;
    a->op.planned = entry_plan_anew(entry, &schedule, d->wall);
    schedule_release(&schedule);
    submit(entry, a);
}

static void apply_row(struct dispatch *d, json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *error = json_string_value(json_object_get(row, "error"));
    int line = (int)json_integer_value(json_object_get(row, "line"));
    char text[BLAME_BYTES];
    struct mq_err err;
    if (!name || name_check("schedule", slice_of(name), &err) != MQ_OK) {
        /* nothing to keep the trouble at; the others go on */
        d->schedules.nameless++;
        log_event(LOG_ERROR, "schedule.broken",
                  LOG_STR("message", in_file(text, line, error ? error : "an entry has no name")));
        return;
    }
    struct entry *entry = entry_ensure(d, slice_of(name));
    entry->named = true;
    if (error)
        blame(entry, line, error);
    else
        set(entry, json_object_get(row, "definition"), line);
}

/* Time zones may have changed while we were down: what is still to come is computed anew. */
static void replan(struct entry *entry)
{
    wall_ms now = entry->d->wall;
    if (!entry->definition || entry->ended || entry->paused || entry->busy || entry->planned <= now)
        return;
    wall_ms planned = entry_plan(entry, &entry->definition->schedule, now);
    if (planned == entry->planned)
        return;
    struct applying *a = begin(entry, SCHEDULE_REPLAN);
    a->op.planned = planned;
    submit(entry, a);
}

static void end(struct entry *entry)
{
    struct applying *a = begin(entry, SCHEDULE_END);
    a->sign = '-';
    submit(entry, a);
}

static void look_at_others(struct dispatch *d)
{
    struct entry *entry, *next;
    HASH_ITER (hh, d->schedules.entries, entry, next) {
        if (!entry->stored && !entry->named)
            entry_free(entry);
        else if (!entry->named && !entry->ended && entry->source == SCHEDULE_OF_FILE)
            end(entry);
        else if (!d->schedules.on)
            replan(entry);
    }
}

void schedules_apply_file(struct dispatch *d)
{
    struct schedules *s = &d->schedules;
    struct entry *entry, *next;
    size_t i;
    json_t *row;
    HASH_ITER (hh, s->entries, entry, next)
        entry->named = false;
    s->nameless = 0;
    s->changes[0] = '\0';
    s->changes_untold = 0;
    s->file_again = MONO_NEVER;
    json_array_foreach(s->file, i, row) apply_row(d, row);
    look_at_others(d);
    all_applied(d);
}

void schedules_loaded(struct dispatch *d)
{
    d->schedules.loaded = true;
    schedules_apply_file(d);
}

void dispatch_set_schedules(struct dispatch *d, json_t *file)
{
    json_decref(d->schedules.file);
    d->schedules.file = json_incref(file);
    if (d->schedules.loaded)
        schedules_apply_file(d);
}

void dispatch_set_args_maker(struct dispatch *d, void (*make)(void *owner, struct args_request *request),
                             void *owner)
{
    d->schedules.make_args = make;
    d->schedules.args_owner = owner;
}

void dispatch_start_schedules(struct dispatch *d, wall_ms wall)
{
    d->wall = wall;
    schedules_load(d);
}
