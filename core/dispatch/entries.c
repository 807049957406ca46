#include "dispatch/entries.h"

#define REST_LEAST_MS 1000
#define REST_MOST_MS  30000
#define PAGE_ROWS     500

/* ---- definitions ---- */

struct definition *definition_keep(struct definition *definition)
{
    definition->refs++;
    return definition;
}

void definition_drop(struct definition *definition)
{
    if (!definition || --definition->refs)
        return;
    schedule_release(&definition->schedule);
    free((char *)definition->bytes.at);
    free(definition);
}

/* ---- the agenda: a binary heap ---- */

static struct entry **at(struct dispatch *d, unsigned place)
{
    return &d->schedules.agenda[place - 1];
}

static void put_at(struct dispatch *d, unsigned place, struct entry *entry)
{
    *at(d, place) = entry;
    entry->place = place;
}

static void rise(struct dispatch *d, struct entry *entry)
{
    unsigned place = entry->place;
    while (place > 1 && entry->due < (*at(d, place / 2))->due) {
        put_at(d, place, *at(d, place / 2));
        place /= 2;
    }
    put_at(d, place, entry);
}

static void sink(struct dispatch *d, struct entry *entry)
{
    unsigned place = entry->place, count = d->schedules.agenda_count;
    for (unsigned child; (child = place * 2) <= count; place = child) {
        if (child < count && (*at(d, child + 1))->due < (*at(d, child))->due)
            child++;
        if (entry->due <= (*at(d, child))->due)
            break;
        put_at(d, place, *at(d, child));
    }
    put_at(d, place, entry);
}

static void agenda_remove(struct dispatch *d, struct entry *entry)
{
    if (!entry->place)
        return;
    struct entry *last = *at(d, d->schedules.agenda_count--);
    if (last != entry) {
        last->place = entry->place;
        put_at(d, last->place, last);
        rise(d, last);
        sink(d, last);
    }
    entry->place = 0;
}

static void agenda_put(struct dispatch *d, struct entry *entry, wall_ms due)
{
    struct schedules *s = &d->schedules;
    agenda_remove(d, entry);
    if (due == WALL_NEVER)
        return;
    if (s->agenda_count == s->agenda_cap) {
        s->agenda_cap = s->agenda_cap ? s->agenda_cap * 2 : 64;
        s->agenda = mq_realloc(s->agenda, s->agenda_cap * sizeof *s->agenda);
    }
    entry->due = due;
    put_at(d, ++s->agenda_count, entry);
    rise(d, entry);
}

/* ---- one entry ---- */

struct entry *entry_find(struct dispatch *d, struct slice name)
{
    struct entry *entry;
    HASH_FIND(hh, d->schedules.entries, name.at, name.len, entry);
    return entry;
}

static void job_before_ended(struct waiter *waiter, enum job_state state)
{
    struct entry *entry = waiter->owner;
    (void)state;
    entry_arrange(entry);
}

struct entry *entry_ensure(struct dispatch *d, struct slice name)
{
    struct entry *entry = entry_find(d, name);
    if (entry)
        return entry;
    entry = mq_calloc(1, sizeof *entry);
    entry->d = d;
    entry->name = (struct slice){mq_strdup_slice(name), name.len};
    entry->planned = WALL_NEVER;
    entry->waiter.done = job_before_ended;
    entry->waiter.owner = entry;
    HASH_ADD_KEYPTR(hh, d->schedules.entries, entry->name.at, entry->name.len, entry);
    return entry;
}

static void stop_resting(struct entry *entry)
{
    if (entry->rests)
        DL_DELETE2(entry->d->schedules.resting, entry, prev_resting, next_resting);
    entry->rests = false;
}

void entry_free(struct entry *entry)
{
    struct dispatch *d = entry->d;
    agenda_remove(d, entry);
    stop_resting(entry);
    if (entry->waiter.of)
        dispatch_wait_stop(d, &entry->waiter);
    HASH_DEL(d->schedules.entries, entry);
    definition_drop(entry->definition);
    free(entry->trouble);
    free((char *)entry->name.at);
    free(entry);
}

void entry_set_trouble(struct entry *entry, const char *text)
{
    struct dispatch *d = entry->d;
    bool same = text && entry->trouble && strcmp(text, entry->trouble) == 0;
    if (same || (!text && !entry->trouble))
        return;
    free(entry->trouble);
    entry->trouble = text ? mq_strdup(text) : NULL;
    entry_arrange(entry);
    if (!text)
        return;
    log_event(LOG_ERROR, "schedule.broken", LOG_SLICE("schedule", entry->name), LOG_STR("message", text));
    dispatch_emit(d, &(struct event){.name = "schedule.broken",
                                     .at = d->wall,
                                     .schedule = entry->name,
                                     .message = slice_of(text),
                                     .fraction = -1});
}

static void read_definition(struct entry *entry, struct slice bytes)
{
    struct schedule schedule;
    struct mq_err err;
    if (entry->definition && slice_equal(entry->definition->bytes, bytes))
        return;
    definition_drop(entry->definition);
    entry->definition = NULL;
    entry->again = (struct again){0, 0};
    if (schedule_read(&schedule, entry->name, bytes, entry->d->settings.payload_max, &err) != MQ_OK) {
        entry_set_trouble(entry, err.text);
        return;
    }
    entry->definition = mq_calloc(1, sizeof *entry->definition);
    *entry->definition =
        (struct definition){.refs = 1, .schedule = schedule, .bytes = {mq_strdup_slice(bytes), bytes.len}};
    entry_set_trouble(entry, NULL);
}

void entry_learn(struct dispatch *d, const struct schedule_view *view)
{
    struct entry *entry = entry_ensure(d, view->name);
    bool other = entry->revision != view->revision;
    entry->stored = true;
    entry->source = view->source;
    entry->ended = view->ended;
    entry->paused = view->pause.on;
    entry->pause_until = view->pause.until;
    entry->revision = view->revision;
    entry->fired = view->fired;
    entry->since = view->since;
    entry->planned = view->planned;
    entry->last = view->last;
    if (entry->ended || entry->planned != WALL_NEVER || entry->last >= entry->boot)
        entry->boot = 0;
    if (entry->waiter.of && (other || entry->waiter.id != view->job)) /* another job is the one before */
        dispatch_wait_stop(d, &entry->waiter);
    if (other) { /* what was true of the moments of before is not any more */
        entry->waiting_since = 0;
        stop_resting(entry);
    }
    if (!entry->ended)
        read_definition(entry, view->definition);
    if (entry->definition && entry->definition->schedule.paused)
        entry->boot = 0;
    entry_arrange(entry);
}

void entry_arrange(struct entry *entry)
{
    wall_ms due = entry->paused ? entry->pause_until
                  : entry->boot ? 0 /* has come, whatever the clock says */
                                : entry->planned;
    bool out = entry->busy || entry->trouble || entry->ended || !entry->stored || entry->waiter.of ||
               entry->rests || !entry->definition;
    agenda_put(entry->d, entry, out ? WALL_NEVER : due);
}

void entry_rest(struct entry *entry, const char *why)
{
    struct dispatch *d = entry->d;
    entry->rest_ms = entry->rest_ms ? entry->rest_ms * 2 : REST_LEAST_MS;
    if (entry->rest_ms > REST_MOST_MS)
        entry->rest_ms = REST_MOST_MS;
    entry->rest_until = d->now + entry->rest_ms;
    snprintf(entry->refusal, sizeof entry->refusal, "%s", why);
    if (!entry->rests)
        DL_APPEND2(d->schedules.resting, entry, prev_resting, next_resting);
    entry->rests = true;
    entry_arrange(entry);
}

wall_ms entry_moment(const struct entry *entry)
{
    return entry->boot ? entry->boot : entry->planned;
}

struct standing entry_standing(const struct entry *entry)
{
    const struct schedules *s = &entry->d->schedules;
    return (struct standing){.since = entry->since,
                             .planned = entry_moment(entry),
                             .fired = entry->fired,
                             .waiting_since = entry->waiting_since,
                             .step_from = s->step_from,
                             .step_until = s->step_until};
}

static bool lives(const struct entry *entry)
{
    return entry && entry->stored && !entry->ended;
}

/* It has made as many jobs as it may, or is to make none now. */
static bool is_still(const struct entry *entry, const struct schedule *schedule)
{
    return schedule->paused || (lives(entry) && schedule->fired_max && entry->fired >= schedule->fired_max);
}

wall_ms entry_plan(const struct entry *entry, const struct schedule *schedule, wall_ms now)
{
    wall_ms since = lives(entry) ? entry->since : now, after = now;
    if (entry && entry->stored && entry->last > after)
        after = entry->last;
    return is_still(entry, schedule) ? WALL_NEVER : plan_next(&schedule->plan, since, after);
}

wall_ms entry_plan_anew(const struct entry *entry, const struct schedule *schedule, wall_ms now)
{
    bool goes_on = lives(entry) && entry->definition && entry->planned != WALL_NEVER &&
                   !is_still(entry, schedule) && schedule_same_times(&entry->definition->schedule, schedule);
    return goes_on ? entry->planned : entry_plan(entry, schedule, now);
}

/* ---- reading what the store has ---- */

struct page {
    struct op_schedules op;
    struct dispatch *d;
    char after[NAME_MAX_BYTES];
};

static void refreshed(struct store_op *op)
{
    struct page *page = (struct page *)op;
    struct entry *entry = entry_find(page->d, page->op.name);
    if (entry) {
        entry->busy = false;
        if (op->code == MQ_OK)
            entry_learn(page->d, &page->op.schedules[0]);
        else if (op->code == MQ_NOTFOUND)
            entry_free(entry);
        else
            entry_set_trouble(entry, op->err.text);
    }
    store_op_release(op);
    free(page);
}

void entry_refresh(struct entry *entry)
{
    struct page *page = mq_calloc(1, sizeof *page);
    page->d = entry->d;
    store_op_init(&page->op.op, STORE_SCHEDULES, entry->d->wall);
    page->op.op.done = refreshed;
    memcpy(page->after, entry->name.at, entry->name.len);
    page->op.name = (struct slice){page->after, entry->name.len};
    entry->busy = true;
    entry_arrange(entry);
    store_submit(entry->d->store, &page->op.op);
}

static void ask_page(struct dispatch *d, struct slice after);

static void got_page(struct store_op *op)
{
    struct page *page = (struct page *)op;
    struct dispatch *d = page->d;
    unsigned count = page->op.count;
    for (unsigned i = 0; i < count; i++)
        entry_learn(d, &page->op.schedules[i]);
    if (op->code != MQ_OK) {
        log_event(LOG_ERROR, "schedule.not_read", LOG_STR("message", op->err.text));
        schedules_unread(d);
    } else if (page->op.more && count) {
        ask_page(d, page->op.schedules[count - 1].name);
    } else {
        schedules_loaded(d);
    }
    store_op_release(op);
    free(page);
}

static void ask_page(struct dispatch *d, struct slice after)
{
    struct page *page = mq_calloc(1, sizeof *page);
    page->d = d;
    store_op_init(&page->op.op, STORE_SCHEDULES, d->wall);
    page->op.op.done = got_page;
    memcpy(page->after, after.at, after.len);
    page->op.after = (struct slice){page->after, after.len};
    page->op.name = SLICE_EMPTY;
    page->op.limit = PAGE_ROWS;
    store_submit(d->store, &page->op.op);
}

void schedules_load(struct dispatch *d)
{
    ask_page(d, SLICE_EMPTY);
}

void schedules_free(struct dispatch *d)
{
    struct entry *entry, *next;
    HASH_ITER (hh, d->schedules.entries, entry, next)
        entry_free(entry);
    free(d->schedules.agenda);
    json_decref(d->schedules.file);
}
