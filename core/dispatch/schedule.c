#include "dispatch/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "job/unique.h"

/* ---- reading a definition ---- */

struct reading {
    struct schedule *out;
    struct slice name;
    struct slice cron, zone;
    struct cron_options choices;
    wall_ms start, end;
    bool within_said, most_said;
    struct mq_err *err;
};

static enum mq_code complain(struct reading *r, const char *key, const char *what)
{
    return mq_fail(r->err, MQ_BADARG, "%s %s", key, what);
}

/* Puts the key before what a parser said of its value. */
static enum mq_code blame(struct reading *r, const char *key, enum mq_code code)
{
    char text[MQ_ERR_TEXT_BYTES];
    if (code != MQ_OK && r->err) {
        memcpy(text, r->err->text, sizeof text);
        mq_fail(r->err, code, "%s: %.280s", key, text);
    }
    return code;
}

static struct slice text_of(json_t *value)
{
    return (struct slice){json_string_value(value), json_string_length(value)};
}

/* Numbers are seconds, as everywhere in Lua. */
static enum mq_code read_ms(struct reading *r, const char *key, json_t *value, int64_t least, int64_t *out)
{
    enum mq_code code = MQ_OK;
    double seconds = json_number_value(value);
    if (json_is_string(value))
        code = blame(r, key, duration_parse(out, text_of(value), r->err));
    else if (json_is_number(value) && seconds >= 0 && seconds <= (double)CENTURY_MS / 1000)
        *out = llround(seconds * 1000);
    else
        code = complain(r, key, "is not a duration (write \"90s\")");
    if (code == MQ_OK && (*out < least || *out > CENTURY_MS))
        code = complain(r, key, "is out of range");
    return code;
}

static enum mq_code read_whole(struct reading *r, const char *key, json_t *value, int64_t least, int64_t most,
                               int64_t *out)
{
    char *end;
    *out = json_is_integer(value) ? json_integer_value(value) : -1;
    if (json_is_string(value) && json_string_length(value) > 0) {
        *out = strtoll(json_string_value(value), &end, 10);
        if (*end)
            *out = -1;
    }
    if (*out >= least && *out <= most)
        return MQ_OK;
    return mq_fail(r->err, MQ_BADARG, "%s is not a whole number from %lld to %lld", key, (long long)least,
                   (long long)most);
}

static enum mq_code read_text(struct reading *r, const char *key, json_t *value, struct slice *out)
{
    if (!json_is_string(value) || json_string_length(value) == 0)
        return complain(r, key, "is not a text");
    *out = text_of(value);
    return MQ_OK;
}

static enum mq_code read_cron(struct reading *r, const char *key, json_t *value)
{
    return read_text(r, key, value, &r->cron);
}
static enum mq_code read_tz(struct reading *r, const char *key, json_t *value)
{
    return read_text(r, key, value, &r->zone);
}
static enum mq_code read_type(struct reading *r, const char *key, json_t *value)
{
    return read_text(r, key, value, &r->out->order.type);
}

static struct slice keep_json(struct schedule *s, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    size_t start = buf_len(&s->texts), len = text ? strlen(text) : 0;
    buf_add(&s->texts, text, len);
    free(text);
    return (struct slice){(const char *)start, len}; /* an offset until all is there */
}

static enum mq_code read_args(struct reading *r, const char *key, json_t *value)
{
    (void)key;
    r->out->order.payload = keep_json(r->out, value);
    return MQ_OK;
}
static enum mq_code read_args_function(struct reading *r, const char *key, json_t *value)
{
    if (!json_is_boolean(value))
        return complain(r, key, "is not true or false");
    r->out->args_function = json_is_true(value);
    return MQ_OK;
}
static enum mq_code read_word(struct reading *r, const char *key, json_t *value, const char *const *words,
                              const char *listed, int *out)
{
    for (int i = 0; json_is_string(value) && words[i]; i++)
        if (slice_is_word(text_of(value), words[i])) {
            *out = i;
            return MQ_OK;
        }
    return mq_fail(r->err, MQ_BADARG, "%s is none of %s", key, listed);
}

/* A command has texts only. */
static enum mq_code read_paused(struct reading *r, const char *key, json_t *value)
{
    static const char *const words[] = {"false", "true", "no", "yes", NULL};
    int which = json_is_true(value);
    enum mq_code code =
        json_is_boolean(value) ? MQ_OK : read_word(r, key, value, words, "true, false, yes, no", &which);
    r->out->paused = which % 2;
    return code;
}
static enum mq_code read_meta(struct reading *r, const char *key, json_t *value)
{
    if (!json_is_object(value))
        return complain(r, key, "is not an object");
    r->out->order.meta = keep_json(r->out, value);
    return MQ_OK;
}

static enum mq_code read_tags(struct reading *r, const char *key, json_t *value)
{
    size_t i;
    json_t *tag;
    if (!json_is_array(value))
        return complain(r, key, "is not a list of names");
    json_array_foreach(value, i, tag)
    {
        if (!json_is_string(tag))
            return complain(r, key, "has something that is not a name");
        enum mq_code code = order_add_tag(&r->out->order, text_of(tag), &r->out->tags, r->err);
        if (code != MQ_OK)
            return code;
    }
    return MQ_OK;
}

static enum mq_code read_time(struct reading *r, const char *key, json_t *value, wall_ms *out)
{
    double seconds = json_number_value(value);
    if (json_is_string(value))
        return blame(r, key, time_parse(out, text_of(value), r->err));
    if (!json_is_number(value))
        return complain(r, key, "is not a time (write \"2026-03-01T09:00:00Z\")");
    if (!(seconds >= 0 && seconds <= (double)WALL_MAX / 1000))
        return complain(r, key, "is no time up to the year 9999 (a number is seconds since 1970)");
    *out = llround(seconds * 1000);
    return MQ_OK;
}
static enum mq_code read_start(struct reading *r, const char *key, json_t *value)
{
    return read_time(r, key, value, &r->start);
}
static enum mq_code read_end(struct reading *r, const char *key, json_t *value)
{
    return read_time(r, key, value, &r->end);
}

static enum mq_code read_catch_up(struct reading *r, const char *key, json_t *value)
{
    static const char *const words[] = {"skip", "once", "all", NULL};
    int which = 0;
    enum mq_code code = read_word(r, key, value, words, "skip, once, all", &which);
    r->out->catch_up = (enum catch_up)which;
    return code;
}
static enum mq_code read_overlap(struct reading *r, const char *key, json_t *value)
{
    static const char *const words[] = {"allow", "skip", "queue", "replace", NULL};
    int which = 0;
    enum mq_code code = read_word(r, key, value, words, "allow, skip, queue, replace", &which);
    r->out->overlap = (enum overlap)which;
    return code;
}
static enum mq_code read_days(struct reading *r, const char *key, json_t *value)
{
    int which = 0;
    enum mq_code code = read_word(r, key, value, cron_days_words, "either, both", &which);
    r->choices.days = (enum cron_days)which;
    return code;
}
static enum mq_code read_dst_gap(struct reading *r, const char *key, json_t *value)
{
    int which = 0;
    enum mq_code code = read_word(r, key, value, cron_gap_words, "default, fire, skip", &which);
    r->choices.gap = (enum cron_gap)which;
    return code;
}
static enum mq_code read_dst_overlap(struct reading *r, const char *key, json_t *value)
{
    int which = 0;
    enum mq_code code = read_word(r, key, value, cron_overlap_words, "default, first, second, both", &which);
    r->choices.overlap = (enum cron_overlap)which;
    return code;
}
static enum mq_code read_within(struct reading *r, const char *key, json_t *value)
{
    r->within_said = true;
    return read_ms(r, key, value, 1, &r->out->within_ms);
}
static enum mq_code read_jitter(struct reading *r, const char *key, json_t *value)
{
    return read_ms(r, key, value, 0, &r->out->jitter_ms);
}
static enum mq_code read_most(struct reading *r, const char *key, json_t *value)
{
    int64_t most = 0;
    enum mq_code code = read_whole(r, key, value, 1, SCHEDULE_MOST_MAX, &most);
    r->most_said = true;
    r->out->most = (unsigned)most;
    return code;
}
static enum mq_code read_max(struct reading *r, const char *key, json_t *value)
{
    int64_t max = 0;
    enum mq_code code = read_whole(r, key, value, 1, INT32_MAX, &max);
    r->out->fired_max = (uint64_t)max;
    return code;
}
static enum mq_code read_ledger(struct reading *r, const char *key, json_t *value)
{
    int64_t rows = 0;
    enum mq_code code = read_whole(r, key, value, 1, SCHEDULE_KEEP_MAX, &rows);
    r->out->ledger = (uint32_t)rows;
    return code;
}

/* The order borrows the name from the JSON. */
static enum mq_code read_queue(struct reading *r, const char *key, json_t *value)
{
    if (!json_is_string(value))
        return complain(r, key, "is not a text");
    return order_set(&r->out->order, SLICE("QUEUE"), text_of(value), &r->out->tags, r->err);
}
/* Options of a push that are numbers in the end: as PUSH reads them, from the key in capitals. */
static enum mq_code read_option(struct reading *r, const char *key, json_t *value)
{
    char word[32], number[64];
    struct slice text;
    size_t len = strlen(key);
    for (size_t i = 0; i <= len && i < sizeof word; i++)
        word[i] = (char)(key[i] >= 'a' && key[i] <= 'z' ? key[i] - 32 : key[i]);
    bool counts = strcmp(key, "priority") == 0 || strcmp(key, "attempts") == 0;
    if (json_is_string(value))
        text = text_of(value);
    else if (json_is_integer(value))
        text =
            (struct slice){number, (size_t)snprintf(number, sizeof number, "%lld%s",
                                                    (long long)json_integer_value(value), counts ? "" : "s")};
    else if (json_is_real(value) && !counts)
        text =
            (struct slice){number, (size_t)snprintf(number, sizeof number, "%.3fs", json_real_value(value))};
    else
        return complain(r, key, "is neither a text nor a number");
    return order_set(&r->out->order, slice_of(word), text, &r->out->tags, r->err);
}

/* "a,b" of a list of names, as PUSH has it. NULL: it is no such list. */
static json_t *join_names(json_t *list)
{
    struct buf text = BUF_INIT;
    bool names = json_array_size(list) > 0;
    size_t i;
    json_t *name;
    json_array_foreach(list, i, name)
    {
        names = names && json_string_length(name) > 0;
        if (i)
            buf_u8(&text, ',');
        buf_add_slice(&text, json_is_string(name) ? text_of(name) : SLICE_EMPTY);
    }
    json_t *joined = names ? json_stringn(text.at, buf_len(&text)) : NULL;
    buf_release(&text);
    return joined;
}

/* A key and what to do if it is held are texts; arguments and states may be a list, too. */
static enum mq_code read_unique(struct reading *r, const char *key, json_t *value)
{
    bool lists = strcmp(key, "unique_by") == 0 || strcmp(key, "unique_in") == 0;
    if (lists && json_is_array(value) && (value = join_names(value)))
        json_object_set_new(r->out->json, key, value); /* the order borrows it */
    if (!json_is_string(value))
        return complain(r, key, lists ? "is neither a text nor a list of names" : "is not a text");
    return order_set(&r->out->order, slice_of(key), text_of(value), &r->out->tags, r->err);
}

/* That all arguments are there which the key is made of. Those that a function makes are looked at with each job. */
static enum mq_code check_key(struct reading *r)
{
    const struct push_order *order = &r->out->order;
    struct buf made = BUF_INIT;
    if (!order->unique_by.len || r->out->args_function)
        return MQ_OK;
    enum mq_code code = blame(r, "unique_by", unique_key_of(&made, order->unique_by, order->payload, r->err));
    buf_release(&made);
    return code;
}

static const struct key_row {
    const char *key;
    enum mq_code (*read)(struct reading *r, const char *key, json_t *value);
} rows[] = {
    {"cron", read_cron},
    {"tz", read_tz},
    {"type", read_type},
    {"args", read_args},
    {"start", read_start},
    {"end", read_end},
    {"max", read_max},
    {"jitter", read_jitter},
    {"catch_up", read_catch_up},
    {"within", read_within},
    {"most", read_most},
    {"overlap", read_overlap},
    {"days", read_days},
    {"dst_gap", read_dst_gap},
    {"dst_overlap", read_dst_overlap},
    {"ledger", read_ledger},
    {"paused", read_paused},
    {"queue", read_queue},
    {"priority", read_option},
    {"attempts", read_option},
    {"timeout", read_option},
    {"lease", read_option},
    {"expires", read_option},
    {"keep", read_option},
    {"unique", read_unique},
    {"unique_by", read_unique},
    {"unique_for", read_option},
    {"unique_in", read_unique},
    {"conflict", read_unique},
    {"tags", read_tags},
    {"meta", read_meta},
    {"args_function", read_args_function},
};

const char *const schedule_keys[] = {
    "cron",     "tz",        "type",       "args",      "start",    "end",     "max",         "jitter",
    "catch_up", "within",    "most",       "overlap",   "days",     "dst_gap", "dst_overlap", "ledger",
    "paused",   "queue",     "priority",   "attempts",  "timeout",  "lease",   "expires",     "keep",
    "unique",   "unique_by", "unique_for", "unique_in", "conflict", "tags",    "meta",        NULL};

static enum mq_code read_key(struct reading *r, const char *key, json_t *value)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].key, key) == 0)
            return rows[i].read(r, key, value);
    return mq_fail(
        r->err, MQ_BADARG,
        "unknown option '%.40s' (there are cron tz type args start end max jitter catch_up within "
        "most overlap days dst_gap dst_overlap ledger paused queue priority attempts timeout lease "
        "expires keep unique unique_by unique_for unique_in conflict tags meta)",
        key);
}

/* What was kept as an offset. */
static void fix(const struct schedule *s, struct slice *slice)
{
    slice->at = slice->len ? buf_bytes(&s->texts).at + (size_t)slice->at : "";
}

/* What follows from all keys together. */
static enum mq_code complete(struct reading *r, size_t payload_max)
{
    struct schedule *s = r->out;
    if (!r->cron.len)
        return complain(r, "cron", "is missing (write cron = \"0 9 * * 1-5\")");
    if (!s->order.type.len)
        return complain(r, "type", "is missing: the type of the job to push");
    if (r->start && r->end != WALL_NEVER && r->end < r->start)
        return complain(r, "end", "is before start");
    if (s->catch_up == CATCH_UP_SKIP && (r->within_said || r->most_said))
        return complain(r, r->within_said ? "within" : "most", "says nothing with catch_up = \"skip\"");
    if (s->catch_up == CATCH_UP_ONCE && r->most_said)
        return complain(r, "most", "says something with catch_up = \"all\" only");
    if (!r->within_said)
        s->within_ms = s->catch_up == CATCH_UP_SKIP   ? SCHEDULE_GRACE_MS
                       : s->catch_up == CATCH_UP_ONCE ? SCHEDULE_ONCE_MS
                                                      : SCHEDULE_ALL_MS;
    if (!r->most_said)
        s->most = s->catch_up == CATCH_UP_ALL ? SCHEDULE_ALL_MOST : 1;
    fix(s, &s->order.payload);
    fix(s, &s->order.meta);
    if (!s->order.payload.len)
        s->order.payload = SLICE("{}");
    enum mq_code code = order_check(&s->order, payload_max, r->err);
    if (code == MQ_OK)
        code = check_key(r);
    if (code == MQ_OK)
        code = plan_open(&s->plan, r->name, r->cron, r->zone, &r->choices, r->err);
    if (code == MQ_OK) {
        s->plan.start = r->start;
        s->plan.end = r->end;
    }
    return code;
}

enum mq_code schedule_read(struct schedule *out, struct slice name, struct slice definition,
                           size_t payload_max, struct mq_err *err)
{
    json_error_t why;
    const char *key;
    json_t *value;
    struct schedule s = {.catch_up = CATCH_UP_ONCE, .ledger = SCHEDULE_KEEP_DEFAULT};
    struct reading r = {
        .out = &s, .name = name, .cron = SLICE_EMPTY, .zone = SLICE("UTC"), .end = WALL_NEVER, .err = err};
    enum mq_code code = MQ_OK;
    order_init(&s.order);
    s.json = json_loadb(definition.at, definition.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!json_is_object(s.json))
        code = mq_fail(err, MQ_BADARG, "the definition is not a JSON object");
    if (code == MQ_OK)
        json_object_foreach(s.json, key, value)
        {
            code = read_key(&r, key, value);
            if (code != MQ_OK)
                break;
        }
    if (code == MQ_OK)
        code = complete(&r, payload_max);
    if (code == MQ_OK)
        *out = s;
    else
        schedule_release(&s);
    return code;
}

void schedule_release(struct schedule *schedule)
{
    plan_close(&schedule->plan);
    json_decref(schedule->json);
    buf_release(&schedule->texts);
    buf_release(&schedule->tags);
    *schedule = (struct schedule){.json = NULL};
}

char *schedule_text(json_t *definition)
{
    return json_dumps(definition, JSON_COMPACT | JSON_SORT_KEYS);
}

bool schedule_same_times(const struct schedule *a, const struct schedule *b)
{
    static const char *const keys[] = {"cron", "tz",      "start",       "end",
                                       "days", "dst_gap", "dst_overlap", "paused"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *x = json_object_get(a->json, keys[i]), *y = json_object_get(b->json, keys[i]);
        if ((x || y) && !json_equal(x, y))
            return false;
    }
    return true;
}

bool schedule_goes_on(const struct schedule *schedule, uint64_t fired, wall_ms now)
{
    return (!schedule->fired_max || fired < schedule->fired_max) && now <= schedule->plan.end;
}

int64_t schedule_jitter(const struct schedule *schedule, struct slice name, wall_ms planned)
{
    if (!schedule->jitter_ms)
        return 0;
    XXH64_hash_t seed = XXH3_64bits(name.at, name.len);
    return (int64_t)(XXH3_64bits_withSeed(&planned, sizeof planned, seed) %
                     (uint64_t)(schedule->jitter_ms + 1));
}

/* ---- deciding ---- */

/* The moments that have come, at most SCHEDULE_SCAN_MAX of them. */
struct due {
    wall_ms at[SCHEDULE_SCAN_MAX];
    unsigned count;
    wall_ms beyond; /* the one after them */
    bool all;       /* `beyond` has not come yet */
};

static void find_due(struct due *due, const struct schedule *s, wall_ms since, wall_ms at, wall_ms now)
{
    due->count = 0;
    while (at <= now && due->count < SCHEDULE_SCAN_MAX) {
        due->at[due->count++] = at;
        at = plan_next(&s->plan, since, at);
    }
    due->beyond = at;
    due->all = at > now;
}

/* A clock that is stepped makes what lies between come all at once. */
static bool was_stepped_over(const struct standing *standing, wall_ms at)
{
    return standing->step_until && at > standing->step_from && at <= standing->step_until;
}

static bool waits(const struct standing *standing, wall_ms at)
{
    return standing->waiting_since && at >= standing->waiting_since;
}

/* How many of the oldest are not to fire: too late, or more than may fire at once. */
static unsigned count_dropped(const struct due *due, const struct schedule *s,
                              const struct standing *standing, wall_ms now)
{
    unsigned total = due->all ? due->count : due->count + 1, dropped = 0;
    for (; dropped < due->count; dropped++) {
        wall_ms at = due->at[dropped];
        unsigned allowed = waits(standing, at) ? SCHEDULE_QUEUE_MOST : s->most;
        bool late = !waits(standing, at) && now - at > s->within_ms;
        if (!late && total - dropped <= allowed)
            break;
    }
    return dropped;
}

/*
 * The first of the newest `count` moments up to now. Between `planned` and now are more than SCHEDULE_SCAN_MAX, and `count` is
 * less than that. It looks at spans that end now, wider and wider, so it is quick where moments are dense.
 */
static wall_ms first_of_newest(const struct schedule *s, const struct standing *standing, wall_ms now,
                               unsigned count)
{
    struct due due;
    int64_t narrow = 0, wide = now - standing->planned,
            span = count * 100LL; /* of @every 100ms, the most often */
    while (wide - narrow > 1) {
        if (span <= narrow || span >= wide)
            span = narrow + (wide - narrow) / 2;
        find_due(&due, s, standing->since, plan_next(&s->plan, standing->since, now - span), now);
        if (due.all && due.count >= count)
            return due.at[due.count - count];
        if (due.all)
            narrow = span;
        else
            wide = span;
        span *= 2;
    }
    return standing->planned;
}

/*
 * More have come than one step looks at, and those it has seen do not fire. What cannot fire any more is not walked through for
 * ever: a year of seconds, each of which is too late, or has enough newer ones after it.
 */
static wall_ms pass_over(const struct schedule *s, const struct standing *standing, wall_ms now, wall_ms next)
{
    unsigned keep = s->most < SCHEDULE_QUEUE_MOST ? SCHEDULE_QUEUE_MOST : s->most;
    wall_ms first = first_of_newest(s, standing, now, keep);
    bool many = (now - standing->planned) / (now - first + 1) > SCHEDULE_WALK_MAX / keep;
    if (many && first > next)
        next = first;
    first = waits(standing, standing->planned) ? next
                                               : plan_next(&s->plan, standing->since, now - s->within_ms - 1);
    return first > next ? first : next;
}

static struct decision drop(const struct due *due, const struct schedule *s, const struct standing *standing,
                            wall_ms now, unsigned dropped)
{
    struct decision d = {.outcome = TICK_MISSED,
                         .planned = due->at[0],
                         .until = due->at[dropped - 1],
                         .count = dropped,
                         .next = dropped < due->count ? due->at[dropped] : due->beyond};
    if (!due->all) {
        wall_ms next = pass_over(s, standing, now, d.next);
        d.more = next > d.next;
        d.next = next;
    }
    if (waits(standing, d.planned))
        d.outcome = TICK_SKIPPED; /* the job before them takes too long */
    else if (d.next <= now && was_stepped_over(standing, d.planned))
        d.outcome = TICK_MERGED;
    return d;
}

struct decision schedule_decide(const struct schedule *schedule, const struct standing *standing, wall_ms now)
{
    struct due due;
    find_due(&due, schedule, standing->since, standing->planned, now);
    unsigned dropped = count_dropped(&due, schedule, standing, now);
    if (dropped)
        return drop(&due, schedule, standing, now, dropped);
    wall_ms at = standing->planned;
    return (struct decision){.outcome = waits(standing, at)            ? TICK_WAITED
                                        : now - at > SCHEDULE_GRACE_MS ? TICK_CAUGHT_UP
                                                                       : TICK_FIRED,
                             .planned = at,
                             .until = at,
                             .count = 1,
                             .next = due.count > 1 ? due.at[1] : due.beyond};
}

/* "02:30"; seconds only if there are any. */
static void clock_text(char *out, size_t size, int64_t local_s)
{
    int64_t s = (local_s % 86400 + 86400) % 86400;
    if (s % 60)
        snprintf(out, size, "%02d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    else
        snprintf(out, size, "%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60));
}

static void note_gap(char *note, const struct cron_merge *merge)
{
    char from[16], to[16], first[16], last[16];
    clock_text(from, sizeof from, merge->from_s);
    clock_text(to, sizeof to, merge->to_s);
    clock_text(first, sizeof first, merge->first_s);
    clock_text(last, sizeof last, merge->last_s);
    bool one = merge->first_s == merge->last_s;
    snprintf(note, TICK_NOTE_MAX, "%s%s%s: the clock went from %s to %s", first, one ? "" : " to ",
             one ? "" : last, from, to);
}

static struct tick_row merged_by_zone(const struct schedule *schedule, wall_ms at, char *note)
{
    struct cron_merge merge = cron_merged(&schedule->plan.cron, schedule->plan.zone, at);
    char when[TIME_TEXT_BYTES];
    if (merge.is_gap && merge.first_s <= merge.last_s)
        note_gap(note, &merge);
    else if (merge.times)
        snprintf(note, TICK_NOTE_MAX, "it comes twice: %s stands for it",
                 zone_format(when, schedule->plan.zone, at));
    return (struct tick_row){.outcome = TICK_MERGED,
                             .planned = merge.at,
                             .until = merge.at,
                             .count = merge.times,
                             .more = merge.times == CRON_MERGE_MAX,
                             .note = slice_of(note)};
}

static struct tick_row come_again(const struct schedule *schedule, wall_ms since, const struct again *again,
                                  char *note)
{
    struct tick_row row = {.outcome = TICK_MERGED, .note = SLICE_EMPTY};
    wall_ms at = again->until ? plan_next(&schedule->plan, since, again->after) : WALL_NEVER;
    for (; at <= again->until && row.count < SCHEDULE_SCAN_MAX; at = plan_next(&schedule->plan, since, at)) {
        row.planned = row.count++ ? row.planned : at;
        row.until = at;
    }
    row.more = row.count && at <= again->until;
    snprintf(note, TICK_NOTE_MAX, "%s", row.count ? "the clock was set back to before what is decided" : "");
    row.note = slice_of(note);
    return row;
}

struct tick_row schedule_merged(const struct schedule *schedule, wall_ms since, wall_ms at,
                                const struct again *again, char *note)
{
    struct tick_row row = come_again(schedule, since, again, note);
    return row.count ? row : merged_by_zone(schedule, at, note);
}

struct decision schedule_pass_over(const struct schedule *schedule, const struct standing *standing,
                                   wall_ms until)
{
    struct due due;
    find_due(&due, schedule, standing->since, standing->planned, until);
    struct decision d = {.outcome = TICK_PAUSED, .count = due.count, .next = due.beyond};
    if (!due.count)
        return d;
    d.planned = due.at[0];
    d.until = due.at[due.count - 1];
    if (!due.all) {
        d.next = plan_next(&schedule->plan, standing->since, until);
        d.more = true;
    }
    return d;
}
