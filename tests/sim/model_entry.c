/*
 * Cron entries: which moments they have, what becomes of each, and the ledger.
 *
 * The store's part is a compare-and-set: a tick decides the moment that is planned, in one step with its job, its row and
 * the moment after it. Dispatch's part are the reasons (has_reason): it may call a moment missed only if the entry's
 * rule says so, which is how "with catch-up `all` exactly one" is looked after.
 */
#include "model_inside.h"

#include <jansson.h>

#define GRACE_MS   5000 /* as in SCHEDULE_GRACE_MS: so late is in time, and `skip` knows no more */
#define QUEUE_MOST 100
#define KEEP_MOST  10000
#define TRIM_MOST  16 /* rows that go when one comes */
#define CENTURY_MS (36525LL * 86400000)

/* ---- what an entry says --------------------------------------------------------------------------------------- */

const struct model_clockwork model_clockworks[] = {
    {"@every 700ms", 700, 0, true},          {"@every 11s", 11000, 0, true},
    {"@every 1h", 3600000, 0, true},         {"*/5 * * * * *", 5000, 0, false},
    {"15 * * * * *", 60000, 15000, false},   {"*/10 * * * *", 600000, 0, false},
    {"30 * * * *", 3600000, 1800000, false}, {"@reboot", 0, 0, false},
};
const unsigned model_clockwork_count = sizeof model_clockworks / sizeof *model_clockworks;

static int64_t number_of(json_t *definition, const char *key, int64_t otherwise)
{
    json_t *value = json_object_get(definition, key);
    return value ? (int64_t)json_integer_value(value) : otherwise;
}

static bool says(json_t *definition, const char *key, const char *what)
{
    const char *text = json_string_value(json_object_get(definition, key));
    return text && strcmp(text, what) == 0;
}

/* In a history, durations are whole seconds, and what catches up says how far. */
static void read_definition(struct model_entry *entry, struct slice text)
{
    json_t *definition = json_loadb(text.at, text.len, 0, NULL);
    bool all = says(definition, "catch_up", "all"), skips = says(definition, "catch_up", "skip");
    entry->definition = realloc(entry->definition, text.len + 1);
    memcpy(entry->definition, text.at, text.len);
    entry->definition[text.len] = '\0';
    for (unsigned i = 0; i < model_clockwork_count; i++)
        if (says(definition, "cron", model_clockworks[i].cron))
            entry->clock = &model_clockworks[i];
    entry->start = number_of(definition, "start", 0) * 1000;
    entry->end = number_of(definition, "end", 0) * 1000;
    if (!entry->end)
        entry->end = WALL_NEVER;
    entry->within_ms = skips ? GRACE_MS : number_of(definition, "within", CENTURY_MS / 1000) * 1000;
    entry->jitter_ms = number_of(definition, "jitter", 0) * 1000;
    entry->most = all ? (uint64_t)number_of(definition, "most", 0) : 1;
    entry->fired_max = (uint64_t)number_of(definition, "max", 0);
    json_decref(definition);
}

/* ---- moments ---------------------------------------------------------------------------------------------------- */

wall_ms model_next_moment(const struct model_entry *entry, wall_ms after)
{
    int64_t period = entry->clock->period_ms;
    wall_ms first = entry->clock->from_since ? entry->since + period : entry->clock->first_ms;
    if (!period || after >= entry->end)
        return WALL_NEVER;
    if (after < entry->start - 1)
        after = entry->start - 1;
    wall_ms next = after < first ? first : first + ((after - first) / period + 1) * period;
    return next <= entry->end ? next : WALL_NEVER;
}

/* How many moments are later than `after`, and not later than `until`. */
static uint64_t count_moments(const struct model_entry *entry, wall_ms after, wall_ms until)
{
    wall_ms first = model_next_moment(entry, after), last = until < entry->end ? until : entry->end;
    return last < first ? 0 : (uint64_t)((last - first) / entry->clock->period_ms) + 1;
}

struct model_entry *model_entry(const struct model *m, struct slice name)
{
    for (unsigned i = 0; i < m->entry_count; i++)
        if (slice_equal(name, slice_of(m->entries[i].name)))
            return (struct model_entry *)&m->entries[i];
    return NULL;
}

bool model_job_goes_on(const struct model *m, const struct model_entry *entry)
{
    const struct model_job *job = model_find(m, entry->job);
    return job && !model_is_final(job);
}

void model_restarted(struct model *m)
{
    for (unsigned i = 0; i < m->entry_count; i++)
        m->entries[i].waits_since = 0;
}

/* ---- the ledger ------------------------------------------------------------------------------------------------- */

static void add_row(struct model_entry *entry, const struct tick_row *row, uint64_t keep)
{
    entry->ledger = realloc(entry->ledger, (entry->kept + 1) * sizeof *entry->ledger);
    entry->ledger[entry->kept] = *row;
    entry->ledger[entry->kept++].note = SLICE_EMPTY; /* not kept */
    entry->rows++;
    entry->counts[row->outcome] += row->count;
    unsigned old = entry->kept > keep ? entry->kept - (unsigned)keep : 0;
    old = old < TRIM_MOST ? old : TRIM_MOST;
    entry->kept -= old;
    memmove(entry->ledger, entry->ledger + old, entry->kept * sizeof *entry->ledger);
}

/* A row that stands for several moments has all from the first to the last; and then comes the next, or, with `more`, a
 * later one. */
static void check_moments(struct model *m, const struct model_entry *entry, const struct tick_row *row,
                          wall_ms next)
{
    uint64_t count = 1 + (row->until > row->planned ? count_moments(entry, row->planned, row->until) : 0);
    if (row->count != count ||
        (row->until > row->planned && model_next_moment(entry, row->until - 1) != row->until))
        model_wrong(m, "schedule %s: a row says that it stands for %u moments, it is %llu", entry->name,
                    row->count, (unsigned long long)count);
    wall_ms after = model_next_moment(entry, row->until);
    if (row->more ? next <= after : next != after)
        model_wrong(
            m,
            "schedule %s: the moment %+lld is decided, and %lld ms later comes the next; it had to be %lld",
            entry->name, (long long)(row->until - MODEL_BEGIN), (long long)(next - row->until),
            (long long)(after - row->until));
}

/* ---- STORE_SCHEDULE --------------------------------------------------------------------------------------------- */

/* The file takes what a command has set; not the other way round. */
static enum mq_code owner_code(const struct op_schedule *op, const struct model_entry *entry)
{
    return entry->ended || entry->source == op->source ? MQ_OK : MQ_CONFLICT;
}

static struct model_entry *add_entry(struct model *m, struct slice name)
{
    struct model_entry *entry = &m->entries[m->entry_count++];
    *entry = (struct model_entry){.ended = true};
    text_of(entry->name, name);
    return entry;
}

static enum mq_code set(struct model *m, const struct op_schedule *op, struct model_entry *entry)
{
    wall_ms planned = op->planned;
    if (m->no_space)
        return MQ_NOSPACE;
    if (entry && op->source == SCHEDULE_OF_COMMAND && owner_code(op, entry) != MQ_OK)
        return MQ_CONFLICT;
    if (entry && !entry->ended && planned <= entry->last && entry->planned != WALL_NEVER)
        planned = entry->planned; /* a tick was faster */
    if (entry && planned <= entry->last)
        return MQ_CONFLICT;
    if (!entry)
        entry = add_entry(m, op->name);
    if (entry->ended) {
        entry->ended = entry->paused = false;
        entry->since = op->op.now;
        entry->fired = 0;
    }
    read_definition(entry, op->definition);
    entry->source = op->source;
    entry->planned = planned;
    return MQ_OK;
}

static enum mq_code end(struct model *m, const struct op_schedule *op, struct model_entry *entry)
{
    if (owner_code(op, entry) != MQ_OK || (op->change == SCHEDULE_END && entry->ended))
        return entry->ended ? MQ_NOTFOUND : MQ_CONFLICT;
    entry->ended = true;
    entry->paused = false;
    entry->planned = WALL_NEVER;
    if (op->change == SCHEDULE_ERASE) {
        free(entry->definition);
        free(entry->ledger);
        *entry = m->entries[--m->entry_count];
    }
    return MQ_OK;
}

/* What has come in the pause has passed; at most up to now. */
static enum mq_code resume(struct model *m, const struct op_schedule *op, struct model_entry *entry)
{
    struct tick_row row = op->passed;
    if (!entry->paused)
        return MQ_NOTFOUND;
    if (row.count) {
        /* @reboot: the moment of a start, and the clock may have been set back since */
        if (entry->clock->period_ms && (row.planned != entry->planned || row.until > op->op.now))
            model_wrong(m,
                        "schedule %s: its pause passes over moments from %+lld until %+lld, at %+lld: the "
                        "next was %+lld",
                        entry->name, (long long)(row.planned - MODEL_BEGIN),
                        (long long)(row.until - MODEL_BEGIN), (long long)(op->op.now - MODEL_BEGIN),
                        (long long)(entry->planned - MODEL_BEGIN));
        check_moments(m, entry, &row, op->planned);
        entry->last = row.until;
        row.at = op->op.now;
        row.job = JOB_ID_NONE;
        add_row(entry, &row, KEEP_MOST);
    }
    if (op->planned && op->planned <= entry->last)
        model_wrong(m, "schedule %s: it goes on with a moment that is decided", entry->name);
    entry->paused = false;
    if (op->planned)
        entry->planned = op->planned;
    return MQ_OK;
}

static enum mq_code change(struct model *m, const struct op_schedule *op, struct model_entry *entry)
{
    if (op->change == SCHEDULE_END || op->change == SCHEDULE_ERASE)
        return end(m, op, entry);
    if (entry->ended)
        return MQ_NOTFOUND;
    if (op->change == SCHEDULE_RESUME)
        return resume(m, op, entry);
    if (op->change == SCHEDULE_PAUSE) {
        entry->paused = true;
        entry->pause_until = op->until ? op->until : WALL_NEVER;
        return MQ_OK;
    }
    if (op->planned <= entry->last)
        return MQ_CONFLICT;
    entry->planned = op->planned;
    return MQ_OK;
}

enum mq_code apply_schedule(struct model *m, const struct store_op *head)
{
    const struct op_schedule *op = (const struct op_schedule *)head;
    struct model_entry *entry = model_entry(m, op->name);
    enum mq_code code;
    if (entry && op->revision && op->revision != entry->revision)
        return MQ_CONFLICT;
    if (op->change == SCHEDULE_SET)
        code = set(m, op, entry);
    else
        code = entry ? change(m, op, entry) : MQ_NOTFOUND;
    if (code != MQ_OK || op->change == SCHEDULE_ERASE)
        return code;
    entry = model_entry(m, op->name);
    entry->revision++;
    entry->waits_since = 0;
    if (head->code == MQ_OK)
        model_compare_entry(m, entry, &op->view);
    return MQ_OK;
}

/* ---- STORE_TICK ------------------------------------------------------------------------------------------------- */

static bool is_planned(const struct op_tick *op)
{
    return !op->extra && op->row.outcome != TICK_RUN;
}

/* By the rule of catching up: it is not too late for it, and not too many came after it. */
static bool is_wanted(const struct model_entry *entry, wall_ms at, wall_ms now)
{
    return now - at <= entry->within_ms && count_moments(entry, at, now) < entry->most;
}

/* Dispatch has decided so: had it to? */
static void has_reason(struct model *m, const struct model_entry *entry, const struct op_tick *op)
{
    const struct tick_row *row = &op->row;
    wall_ms now = op->op.now;
    bool late = now - row->planned > GRACE_MS;
    bool waited = entry->waits_since && row->planned >= entry->waits_since;
    const char *wrong = NULL;
    if (row->until > now)
        wrong = "and it has not come yet";
    else if (row->outcome == TICK_WAITED)
        wrong = waited ? NULL : "and nothing was in its way";
    else if (row->outcome == TICK_SKIPPED)
        wrong = waited && count_moments(entry, row->until, now) >= QUEUE_MOST ? NULL : "and not so many wait";
    else if (row->outcome == TICK_FIRED || row->outcome == TICK_CAUGHT_UP)
        wrong = late != (row->outcome == TICK_CAUGHT_UP)             ? "and it was not so late, or later"
                : !op->extra && !is_wanted(entry, row->planned, now) ? "and it was too late"
                                                                     : NULL;
    else /* MISSED, MERGED, FAILED */
        wrong = is_wanted(entry, row->until, now) ? "and it was not too late" : NULL;
    if (wrong)
        model_wrong(m, "schedule %s: the moment %+lld was %s, %lld ms after it, %s", entry->name,
                    (long long)(row->planned - MODEL_BEGIN), tick_outcome_name(row->outcome),
                    (long long)(now - row->planned), wrong);
}

/* The compare. */
static enum mq_code moment_code(const struct model_entry *entry, const struct op_tick *op)
{
    if (!entry)
        return MQ_NOTFOUND;
    if (op->revision && op->revision != entry->revision)
        return MQ_CONFLICT;
    if (entry->ended)
        return MQ_NOTFOUND;
    if (op->extra && (op->row.planned <= entry->last || op->row.planned >= entry->planned))
        return MQ_CONFLICT;
    if (is_planned(op) && (entry->paused || op->row.planned != entry->planned))
        return MQ_CONFLICT;
    return is_planned(op) && op->next <= op->row.until ? MQ_BADARG : MQ_OK;
}

/* What a push must be answered, without doing it. */
static enum mq_code code_of_push(const struct model *m, const struct op_push *op)
{
    struct model copy = model_copy(m);
    enum mq_code code = do_push(&copy, op);
    model_copy_free(&copy);
    return code;
}

/* What becomes of a moment that is to make a job; or the code that it is refused with. Of another holder of its key, that
 * the moment is skipped. */
static enum mq_code settle(struct model *m, struct model_entry *entry, const struct op_tick *op,
                           enum tick_outcome *outcome)
{
    bool meets = op->overlap != OVERLAP_ALLOW && *outcome != TICK_RUN && model_job_goes_on(m, entry);
    if (meets && op->overlap == OVERLAP_SKIP) {
        *outcome = TICK_SKIPPED;
        return MQ_OK;
    }
    if (meets && op->overlap == OVERLAP_QUEUE) {
        if (!entry->waits_since)
            entry->waits_since = op->row.planned;
        return MQ_BUSY;
    }
    model_settle_key(m, op->push);
    enum mq_code code = code_of_push(m, op->push);
    bool in_the_way = code == MQ_CONFLICT && *outcome != TICK_RUN;
    if (code == MQ_OK && meets && op->push->spec.unique_key.len) {
        struct op_push bare = *op->push;
        enum push_outcome then = model_push_without(m, op->push, entry->job);
        in_the_way = then == PUSH_SKIPPED;
        bare.spec.unique_key = SLICE_EMPTY;
        if (then == PUSH_ADDED || then == PUSH_BEHIND)
            code = code_of_push(m, &bare); /* it will be one job more */
    }
    if (in_the_way)
        *outcome = TICK_SKIPPED;
    else if (code == MQ_OK && meets)
        *outcome = TICK_REPLACED;
    return in_the_way ? MQ_OK : code;
}

/* The job of the row. */
static job_id make_job(struct model *m, struct model_entry *entry, const struct op_tick *op,
                       enum tick_outcome *outcome)
{
    struct model_job *before = model_find(m, entry->job);
    if (*outcome == TICK_REPLACED) {
        job_id id = before->id;
        uint64_t token = before->token;
        enum job_state state = cancel(m, before, op->op.now);
        if (op->before != id || op->before_state != state || op->holds != (state == JOB_RUNNING ? token : 0))
            model_wrong(m, "schedule %s: the tick says that it has replaced another job", entry->name);
    }
    bool hides = *outcome == TICK_RUN && model_job_goes_on(m, entry);
    do_push(m, op->push); /* it has looked at the answer */
    if (op->push->outcome == PUSH_SKIPPED) {
        *outcome = TICK_SKIPPED;
        return op->push->holder;
    }
    if (!hides)
        entry->job = op->push->id;
    entry->fired += *outcome != TICK_RUN;
    if (op->push->run_at > op->row.planned + entry->jitter_ms && op->push->run_at > op->op.now)
        model_wrong(m, "schedule %s: a job waits longer than the entry's jitter", entry->name);
    return op->push->id;
}

/* The zone is UTC, so only one thing merges: moments come again, since the clock was set back. */
static void merge(struct model *m, struct model_entry *entry, const struct op_tick *op)
{
    struct tick_row row = op->merged;
    row.at = op->op.now;
    row.job = JOB_ID_NONE;
    if (row.until > entry->last || model_next_moment(entry, row.planned - 1) != row.planned)
        model_wrong(m, "schedule %s: the moment %+lld is told to come again, and it has not come",
                    entry->name, (long long)(row.planned - MODEL_BEGIN));
    check_moments(m, entry, &row, row.more ? WALL_NEVER : model_next_moment(entry, row.until));
    add_row(entry, &row, op->keep);
}

enum mq_code apply_tick(struct model *m, const struct store_op *head)
{
    const struct op_tick *op = (const struct op_tick *)head;
    struct model_entry *entry = model_entry(m, op->name);
    enum tick_outcome outcome = op->row.outcome;
    bool makes_job = tick_made_job(outcome);
    enum mq_code code = moment_code(entry, op);
    if (code == MQ_OK && makes_job)
        code = settle(m, entry, op, &outcome);
    if (code != MQ_OK || head->code != MQ_OK)
        return code;
    if (is_planned(op)) {
        check_moments(m, entry, &op->row, op->next);
        if (!slice_equal(op->row.note, SLICE(MODEL_RIVAL)))
            has_reason(m, entry, op);
    }
    if (op->merged.count)
        merge(m, entry, op);
    struct tick_row row = op->row;
    row.at = head->now;
    bool met = makes_job && op->overlap != OVERLAP_ALLOW && model_job_goes_on(m, entry);
    row.job = outcome == TICK_SKIPPED && met ? entry->job : JOB_ID_NONE;
    if (tick_made_job(outcome))
        row.job = make_job(m, entry, op, &outcome);
    row.outcome = outcome;
    if (op->row.outcome != TICK_RUN)
        entry->last = row.until;
    if (is_planned(op))
        entry->planned = entry->fired_max && entry->fired >= entry->fired_max ? WALL_NEVER : op->next;
    add_row(entry, &row, op->keep);
    model_compare_entry(m, entry, &op->view);
    return MQ_OK;
}

/* ---- against the store ------------------------------------------------------------------------------------------ */

void model_compare_entry(struct model *m, const struct model_entry *entry, const struct schedule_view *view)
{
    const struct {
        const char *what;
        int64_t is, must;
    } rows[] = {
        {"source", view->source, entry->source},
        {"ended", view->ended, entry->ended},
        {"paused", view->pause.on, entry->paused},
        {"end of its pause", entry->paused ? view->pause.until : 0, entry->paused ? entry->pause_until : 0},
        {"revision", (int64_t)view->revision, (int64_t)entry->revision},
        {"beginning", view->since, entry->since},
        {"next moment", view->planned, entry->planned},
        {"last moment", view->last, entry->last},
        {"newest job", (int64_t)view->job, (int64_t)entry->job},
        {"number of jobs", (int64_t)view->fired, (int64_t)entry->fired},
        {"number of rows", (int64_t)view->rows, (int64_t)entry->rows},
        {"number of rows kept", (int64_t)view->kept, entry->kept},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].is != rows[i].must)
            model_wrong(m, "schedule %s: its %s is %lld, it must be %lld", entry->name, rows[i].what,
                        (long long)rows[i].is, (long long)rows[i].must);
    for (int i = 1; i < TICK_OUTCOMES; i++)
        if (view->counts[i] != entry->counts[i])
            model_wrong(m, "schedule %s counts %llu moments %s, it must be %llu", entry->name,
                        (unsigned long long)view->counts[i], tick_outcome_name((enum tick_outcome)i),
                        (unsigned long long)entry->counts[i]);
    if (!slice_equal(view->definition, slice_of(entry->definition)))
        model_wrong(m, "schedule %s has another definition", entry->name);
}

void model_compare_ledger(struct model *m, const struct model_entry *entry, const struct tick_row *rows,
                          unsigned count)
{
    if (count > entry->kept)
        model_wrong(m, "schedule %s has %u rows, it must be %u", entry->name, count, entry->kept);
    for (unsigned i = 0; i < count && i < entry->kept; i++) {
        const struct tick_row *is = &rows[i], *must = &entry->ledger[entry->kept - 1 - i];
        if (is->no != entry->rows - 1 - i || is->outcome != must->outcome || is->planned != must->planned ||
            is->until != must->until || is->count != must->count || is->more != must->more ||
            is->at != must->at || is->job != must->job)
            model_wrong(m, "schedule %s: row %llu of its ledger says %s of %+lld, it must be %s of %+lld",
                        entry->name, (unsigned long long)is->no, tick_outcome_name(is->outcome),
                        (long long)(is->planned - MODEL_BEGIN), tick_outcome_name(must->outcome),
                        (long long)(must->planned - MODEL_BEGIN));
    }
}
