/*
 * Cron entries: people who set and stop them, the application's file, another server that decides moments, too; and
 * what must hold of them at rest. What becomes of each moment, the model knows.
 */
#include "sim.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

const char *const entry_names[ENTRIES] = {"beat", "tick", "tock"};

/* ---- what an entry says ------------------------------------------------------------------------------------------ */

/* The keys of other pushes, so that they meet. */
static void say_key(json_t *definition)
{
    static const char *const conflicts[] = {"skip", "replace", "reschedule", "error"};
    static const char *const states[] = {"all", "scheduled,ready", "running,succeeded", "running,cancelled"};
    json_object_set_new(definition, "unique", json_string(chance(50) ? "k" : "l"));
    json_object_set_new(definition, "conflict", json_string(conflicts[dice(4)]));
    if (chance(60)) {
        json_object_set_new(definition, "unique_in", json_string(states[dice(4)]));
        json_object_set_new(definition, "keep", json_integer(dice(4))); /* what is erased holds nothing */
    }
}

static void say_more(json_t *definition)
{
    static const char *const overlaps[] = {"allow", "skip", "queue", "replace"};
    static const char *const catch_ups[] = {"skip", "once", "all"};
    unsigned catch_up = dice(3);
    json_object_set_new(definition, "overlap", json_string(overlaps[dice(4)]));
    json_object_set_new(definition, "catch_up", json_string(catch_ups[catch_up]));
    if (catch_up)
        json_object_set_new(definition, "within", json_integer(1 + dice(chance(50) ? 8 : 120)));
    if (catch_up == 2)
        json_object_set_new(definition, "most", json_integer(1 + dice(5)));
    if (chance(70))
        json_object_set_new(definition, "queue", json_string(queue_names[dice(QUEUES)]));
    if (chance(20))
        json_object_set_new(definition, "jitter", json_integer(1 + dice(4)));
    if (chance(10))
        json_object_set_new(definition, "max", json_integer(1 + dice(5)));
    if (chance(10))
        json_object_set_new(definition, "start", json_integer(sim.wall / 1000 + dice_between(-5, 30)));
    if (chance(10))
        json_object_set_new(definition, "end", json_integer(sim.wall / 1000 + dice_between(31, 300)));
    if (chance(30))
        say_key(definition);
    if (chance(60))
        json_object_set_new(definition, "ledger", json_integer(1 + dice(12)));
}

static json_t *some_definition(void)
{
    json_t *definition =
        json_pack("{s:s, s:s, s:i, s:i, s:i}", "cron", model_clockworks[dice(model_clockwork_count)].cron,
                  "type", type_names[dice(JOB_TYPES)], "attempts", 1 + dice(3), "keep",
                  chance(80) ? 0 : dice(4), "expires", 1 + dice(200));
    say_more(definition);
    return definition;
}

/* ---- people -------------------------------------------------------------------------------------------------------- */

/* A change of an entry, or a tick of another server, with what it points to. */
struct entry_request {
    union {
        struct store_op op;
        struct op_schedule schedule;
        struct op_tick tick;
    };
    struct op_push push;
    struct push_order order;
    char *definition;
};

static void on_answered(struct store_op *op)
{
    struct entry_request *request = (struct entry_request *)op;
    if (op->code != MQ_OK)
        say("  refused: %s: %s", mq_code_name(op->code), op->err.text);
    store_op_release(&request->push.op);
    store_op_release(op);
    free(request->definition);
    free(request);
}

static void submit(struct entry_request *request)
{
    request->op.done = on_answered;
    seam.client_op = &request->op;
    dispatch_submit(sim.d, &request->op);
    seam.client_op = NULL;
}

static struct entry_request *change_new(int change, const char *name, enum schedule_source source)
{
    struct entry_request *request = calloc(1, sizeof *request);
    struct op_schedule *op = &request->schedule;
    store_op_init(&op->op, STORE_SCHEDULE, sim.wall);
    op->name = slice_of(name);
    op->change = (unsigned)change;
    op->source = source;
    op->definition = op->reason = op->by = SLICE_EMPTY;
    return request;
}

/* As the commands do it: dispatch plans the next moment, just before. */
static void ask(struct entry_request *request)
{
    struct mq_err err;
    enum mq_code code = dispatch_schedule_fill(sim.d, &request->schedule, &err);
    if (code == MQ_OK) {
        submit(request);
        return;
    }
    say("  refused: %s: %s", mq_code_name(code), err.text);
    /* it starts; or nothing is left before the end, or of the jobs it may make */
    if (code != MQ_BUSY && !strstr(request->definition, "\"end\"") && !strstr(request->definition, "\"max\""))
        sim_wrong("a good schedule is refused: %s", err.text);
    free(request->definition);
    free(request);
}

void step_cron_set(void);
void step_cron_set(void)
{
    const char *name = entry_names[dice(ENTRIES)];
    struct entry_request *request = change_new(SCHEDULE_SET, name, SCHEDULE_OF_COMMAND);
    const struct model_entry *entry = model_entry(&sim.model, slice_of(name));
    json_t *definition = some_definition();
    if (entry && chance(40)) /* the same times */
        json_object_set_new(definition, "cron", json_string(entry->clock->cron));
    request->definition = json_dumps(definition, JSON_COMPACT | JSON_SORT_KEYS);
    request->schedule.definition = slice_of(request->definition);
    json_decref(definition);
    say("CRON SET %s %s", name, request->definition);
    ask(request);
}

static void on_run(struct schedule_run *run)
{
    say("  CRON RUN is answered %s", mq_code_name(run->code));
    free(run);
}

static void run_now(const char *name)
{
    struct schedule_run *run = calloc(1, sizeof *run);
    struct mq_err err;
    *run = (struct schedule_run){.name = slice_of(name), .done = on_run};
    say("CRON RUN %s", name);
    if (dispatch_schedule_run(sim.d, run, &err) != MQ_OK)
        free(run);
}

void step_cron_change(void);
void step_cron_change(void)
{
    static const struct {
        int change;
        const char *word;
    } changes[] = {{SCHEDULE_PAUSE, "PAUSE"},   {SCHEDULE_PAUSE, "PAUSE"}, {SCHEDULE_RESUME, "RESUME"},
                   {SCHEDULE_RESUME, "RESUME"}, {SCHEDULE_END, "DELETE"},  {SCHEDULE_ERASE, "DELETE LEDGER"}};
    const char *name = entry_names[dice(ENTRIES)];
    unsigned which = dice(8);
    if (which >= sizeof changes / sizeof *changes) {
        run_now(name);
        return;
    }
    struct entry_request *request = change_new(changes[which].change, name, SCHEDULE_OF_COMMAND);
    if (which < 2 && chance(60))
        request->schedule.until = sim.wall + 1 + dice(chance(50) ? 3000 : 60000);
    say("CRON %s %s%s", changes[which].word, name, request->schedule.until ? ", for a while" : "");
    ask(request);
}

/* ---- the application's file -------------------------------------------------------------------------------------- */

void step_cron_file(void);
void step_cron_file(void)
{
    json_decref(sim.file);
    sim.file = json_array();
    for (unsigned i = 0; i < ENTRIES; i++)
        if (chance(40))
            json_array_append_new(sim.file, json_pack("{s:s, s:i, s:o}", "name", entry_names[i], "line",
                                                      i + 1, "definition", some_definition()));
    say("RELOAD: schedules.lua has %zu entries now", json_array_size(sim.file));
    dispatch_set_schedules(sim.d, sim.file);
}

/* ---- another server ---------------------------------------------------------------------------------------------- */

/* It decides the moment that is planned, as it may; or one that it believes in, and is not. */
void step_cron_rival(void);
void step_cron_rival(void)
{
    const char *name = entry_names[dice(ENTRIES)];
    const struct model_entry *entry = model_entry(&sim.model, slice_of(name));
    struct mq_err err;
    if (!entry || entry->planned == WALL_NEVER)
        return;
    struct entry_request *request = calloc(1, sizeof *request);
    struct op_tick *tick = &request->tick;
    wall_ms planned = chance(60) ? entry->planned : chance(50) && entry->last ? entry->last : sim.wall;
    store_op_init(&tick->op, STORE_TICK, sim.wall);
    store_op_init(&request->push.op, STORE_PUSH, sim.wall);
    tick->name = slice_of(name);
    tick->revision = entry->revision - (chance(10) ? 1 : 0);
    tick->row = (struct tick_row){.outcome = chance(60) ? TICK_FIRED : TICK_MISSED,
                                  .planned = planned,
                                  .until = planned,
                                  .count = 1,
                                  .note = SLICE(MODEL_RIVAL)};
    tick->next = model_next_moment(entry, planned);
    tick->overlap = (enum overlap)dice(OVERLAPS);
    tick->keep = 1 + dice(12);
    tick->fired_max = entry->fired_max;
    order_init(&request->order);
    request->order.type = slice_of(type_names[dice(JOB_TYPES)]);
    request->order.payload = SLICE("{}");
    if (dispatch_resolve(sim.d, &request->push, &request->order, sim.wall, &err) != MQ_OK)
        sim_wrong("a good push is refused: %s", err.text);
    request->push.spec.schedule = tick->name;
    request->push.spec.planned_at = planned;
    tick->push = tick->row.outcome == TICK_FIRED ? &request->push : NULL;
    say("another server decides the moment %+lld of schedule %s", (long long)(planned - MODEL_BEGIN), name);
    submit(request);
}

/* ---- dispatch ------------------------------------------------------------------------------------------------------ */

static unsigned no_of(struct slice name)
{
    unsigned i = 0;
    while (i < ENTRIES && !slice_equal(name, slice_of(entry_names[i])))
        i++;
    return i;
}

void entries_submitted(const struct store_op *op)
{
    const struct op_tick *tick = (const struct op_tick *)op;
    const struct op_schedule *schedule = (const struct op_schedule *)op;
    const struct model_entry *entry;
    if (op->verb == STORE_TICK) {
        if (!tick->extra && tick->row.planned > sim.wall)
            sim_wrong("schedule %.*s: a moment is decided before it has come", SLICE_ARG(tick->name));
    } else if (schedule->change == SCHEDULE_RESUME) {
        entry = model_entry(&sim.model, schedule->name);
        if (entry && entry->paused && entry->pause_until > sim.wall &&
            !sim.entries[no_of(schedule->name)].met)
            sim_wrong("the pause of schedule %s ends too early", entry->name);
    } else if (schedule->source != SCHEDULE_OF_FILE) {
        sim_wrong("schedule %.*s is changed, and nobody asked for it", SLICE_ARG(schedule->name));
    }
}

/* Changes of one entry that meet: a later one may not know of the one before it. */
static void count_change(const struct store_op *op, int by)
{
    if (op->verb != STORE_SCHEDULE)
        return;
    unsigned no = no_of(((const struct op_schedule *)op)->name);
    sim.entries[no].changes += (unsigned)by;
    sim.entries[no].met = sim.entries[no].changes && (sim.entries[no].met || sim.entries[no].changes > 1);
}

void entries_begin(const struct store_op *op)
{
    count_change(op, 1);
}

/* What is planned by an entry that gets this definition; 0: its times are others, and then it begins anew. */
static wall_ms kept_moment(const struct model_entry *entry, struct slice definition)
{
    static const char *const keys[] = {"cron", "start", "end"};
    json_t *a = json_loads(entry->definition, 0, NULL),
           *b = json_loadb(definition.at, definition.len, 0, NULL);
    uint64_t max = (uint64_t)json_integer_value(json_object_get(b, "max"));
    bool same = entry->planned != WALL_NEVER;
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *x = json_object_get(a, keys[i]), *y = json_object_get(b, keys[i]);
        same &= (!x && !y) || json_equal(x, y);
    }
    json_decref(a);
    json_decref(b);
    return !same ? 0 : max && entry->fired >= max ? WALL_NEVER : entry->planned;
}

void entries_check_change(const struct op_schedule *op)
{
    const struct model_entry *entry = model_entry(&sim.model, op->name);
    if (!entry || entry->ended || sim.entries[no_of(op->name)].met || op->op.code != MQ_OK)
        return;
    wall_ms after = op->op.now > entry->last ? op->op.now : entry->last;
    bool overtaken = op->planned <= entry->last; /* by a tick */
    wall_ms kept = op->change == SCHEDULE_SET && !overtaken ? kept_moment(entry, op->definition) : 0;
    if (kept && op->planned != kept)
        sim_wrong("schedule %s: its times stay the same, and its next moment does not", entry->name);
    if (op->change == SCHEDULE_REPLAN && op->planned != model_next_moment(entry, after))
        sim_wrong("schedule %s: the server has started, and plans a moment that it does not have",
                  entry->name);
}

/* What has no room is tried again later. */
void entries_answered(const struct ticket *ticket)
{
    const struct store_op *op = ticket->op;
    const struct op_tick *tick = (const struct op_tick *)op;
    count_change(op, -1);
    if (op->verb == STORE_SCHEDULE && op->code == MQ_OK)
        sim.entries[no_of(((const struct op_schedule *)op)->name)].boots = 0; /* it is another now */
    if (op->verb == STORE_TICK && op->code == MQ_OK && tick->extra &&
        sim.entries[no_of(tick->name)].booted++ > 0)
        sim_wrong("schedule %.*s: @reboot comes a second time", SLICE_ARG(tick->name));
    if (op->code == MQ_OK || ticket->ours)
        return;
    if (op->verb == STORE_TICK && tick->row.outcome != TICK_RUN)
        sim.entries[no_of(tick->name)].rests_until = sim.now + ENTRY_REST_MS;
    if (op->verb == STORE_SCHEDULE)
        sim.entries[no_of(((const struct op_schedule *)op)->name)].rests_until = sim.now + ENTRY_REST_MS;
}

/* @reboot fires once at a start. One that the file changes there may, too. */
static bool must_boot(const struct model_entry *entry)
{
    return !entry->clock->period_ms && !entry->ended && !entry->paused && !entry->start &&
           entry->end == WALL_NEVER && (!entry->fired_max || entry->fired < entry->fired_max);
}

void entries_restarted(void)
{
    memset(sim.entries, 0, sizeof sim.entries);
    for (unsigned i = 0; i < sim.model.entry_count; i++)
        if (must_boot(&sim.model.entries[i]))
            sim.entries[no_of(slice_of(sim.model.entries[i].name))].boots = sim.model.entries[i].revision;
    model_restarted(&sim.model);
    dispatch_set_schedules(sim.d, sim.file);
    dispatch_start_schedules(sim.d, sim.wall);
}

/* ---- at rest ------------------------------------------------------------------------------------------------------- */

static void check_entry(const struct model_entry *entry)
{
    const char *trouble = dispatch_schedule_trouble(sim.d, slice_of(entry->name));
    wall_ms moment = entry->paused ? entry->pause_until : entry->planned;
    if (entry->ended)
        return;
    if (trouble)
        sim_wrong("schedule %s is good, and does not fire: %s", entry->name, trouble);
    if (sim.now <= sim.entries[no_of(slice_of(entry->name))].rests_until)
        return;
    if (!entry->paused && entry->waits_since && model_job_goes_on(&sim.model, entry))
        return;
    unsigned no = no_of(slice_of(entry->name));
    if (sim.entries[no].boots == entry->revision && !sim.entries[no].booted)
        sim_wrong("schedule %s: the server was started, and @reboot did not come", entry->name);
    if (moment <= sim.wall)
        sim_wrong("schedule %s: its moment came %lld ms ago, and nothing happens", entry->name,
                  (long long)(sim.wall - moment));
    if (sim.wake.wall > moment)
        sim_wrong("schedule %s: nobody will wake for its moment, in %lld ms", entry->name,
                  (long long)(moment - sim.wall));
}

/* What the file says is so. */
static void check_file(void)
{
    size_t i;
    json_t *row;
    json_array_foreach(sim.file, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const struct model_entry *entry = model_entry(&sim.model, slice_of(name));
        char *text = json_dumps(json_object_get(row, "definition"), JSON_COMPACT | JSON_SORT_KEYS);
        if (sim.now > sim.entries[no_of(slice_of(name))].rests_until &&
            (!entry || entry->ended || entry->source != SCHEDULE_OF_FILE ||
             strcmp(entry->definition, text) != 0))
            sim_wrong("schedule %s is not as the file says", name);
        free(text);
    }
}

void entries_check_rest(void)
{
    check_file();
    for (unsigned i = 0; i < sim.model.entry_count; i++)
        check_entry(&sim.model.entries[i]);
}

/* ---- calm ---------------------------------------------------------------------------------------------------------- */

void entries_pause(bool pause)
{
    for (unsigned i = 0; i < sim.model.entry_count; i++)
        if (!sim.model.entries[i].ended)
            ask(change_new(pause ? SCHEDULE_PAUSE : SCHEDULE_RESUME, sim.model.entries[i].name,
                           SCHEDULE_OF_COMMAND));
    server_settle();
}
