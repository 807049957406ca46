#include "job/order.h"

#include <inttypes.h>
#include <stdbool.h>

#include <jansson.h>

#include "job/name.h"
#include "job/unique.h"

void order_init(struct push_order *order)
{
    *order = (struct push_order){
        .type = SLICE_EMPTY,
        .payload = SLICE_EMPTY,
        .queue = SLICE_EMPTY,
        .meta = SLICE_EMPTY,
        .tags = SLICE_EMPTY,
        .delay_ms = ORDER_UNSET,
        .at_ms = ORDER_UNSET,
        .timeout_ms = ORDER_UNSET,
        .lease_ms = ORDER_UNSET,
        .keep_ms = ORDER_UNSET,
        .expires_ms = ORDER_UNSET,
        .attempts = ORDER_UNSET,
        .priority = ORDER_UNSET,
        .unique = SLICE_EMPTY,
        .unique_by = SLICE_EMPTY,
        .unique_for_ms = ORDER_UNSET,
        .unique_in = ORDER_UNSET,
        .conflict = ORDER_UNSET,
    };
}

/* A whole number of at most nine digits; -1 for anything else. */
static int32_t small_number(struct slice text)
{
    int32_t value = 0;
    if (text.len == 0 || text.len > 9)
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return -1;
        value = value * 10 + (text.at[i] - '0');
    }
    return value;
}

static unsigned count_tags(struct slice tags)
{
    unsigned count = 0;
    for (size_t i = 0; i < tags.len; i++)
        count += tags.at[i] == '\n';
    return count;
}

enum mq_code order_add_tag(struct push_order *order, struct slice tag, struct buf *tags, struct mq_err *err)
{
    enum mq_code code = name_check("tag", tag, err);
    if (code != MQ_OK)
        return code;
    if (count_tags(buf_bytes(tags)) >= TAGS_MAX)
        return mq_fail(err, MQ_BADARG, "tag '%.*s' is one too many (at most %d)", SLICE_ARG(tag), TAGS_MAX);
    buf_add_slice(tags, tag);
    buf_u8(tags, '\n');
    order->tags = buf_bytes(tags);
    return MQ_OK;
}

static enum mq_code set_tags(struct push_order *order, struct slice value, struct buf *tags,
                             struct mq_err *err)
{
    enum mq_code code = MQ_OK;
    while (code == MQ_OK && value.len) {
        const char *comma = memchr(value.at, ',', value.len);
        size_t len = comma ? (size_t)(comma - value.at) : value.len;
        code = order_add_tag(order, (struct slice){value.at, len}, tags, err);
        len += comma ? 1 : 0;
        value.at += len;
        value.len -= len;
    }
    return code;
}

/* The options: a word, what it reads, and where it puts it. */
enum option_kind {
    OPTION_TEXT,
    OPTION_DURATION,
    OPTION_TIME,
    OPTION_NUMBER,
    OPTION_TAGS,
    OPTION_STATES,
    OPTION_CONFLICT,
};

static const struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;
} options[] = {
    {"QUEUE", OPTION_TEXT, offsetof(struct push_order, queue)},
    {"PRIORITY", OPTION_NUMBER, offsetof(struct push_order, priority)},
    {"DELAY", OPTION_DURATION, offsetof(struct push_order, delay_ms)},
    {"AT", OPTION_TIME, offsetof(struct push_order, at_ms)},
    {"ATTEMPTS", OPTION_NUMBER, offsetof(struct push_order, attempts)},
    {"TIMEOUT", OPTION_DURATION, offsetof(struct push_order, timeout_ms)},
    {"LEASE", OPTION_DURATION, offsetof(struct push_order, lease_ms)},
    {"EXPIRES", OPTION_DURATION, offsetof(struct push_order, expires_ms)},
    {"TAGS", OPTION_TAGS, 0},
    {"META", OPTION_TEXT, offsetof(struct push_order, meta)},
    {"KEEP", OPTION_DURATION, offsetof(struct push_order, keep_ms)},
    {"UNIQUE", OPTION_TEXT, offsetof(struct push_order, unique)},
    {"UNIQUE_BY", OPTION_TEXT, offsetof(struct push_order, unique_by)},
    {"UNIQUE_FOR", OPTION_DURATION, offsetof(struct push_order, unique_for_ms)},
    {"UNIQUE_IN", OPTION_STATES, offsetof(struct push_order, unique_in)},
    {"CONFLICT", OPTION_CONFLICT, offsetof(struct push_order, conflict)},
};

static const char *const conflict_names[UNIQUE_CONFLICTS] = {
    [UNIQUE_SKIP] = "skip",
    [UNIQUE_REPLACE] = "replace",
    [UNIQUE_RESCHEDULE] = "reschedule",
    [UNIQUE_ERROR] = "error",
};

const char *order_conflict_name(enum unique_conflict conflict)
{
    return (unsigned)conflict < UNIQUE_CONFLICTS ? conflict_names[conflict] : "unknown";
}

static enum mq_code set_conflict(int32_t *out, struct slice value, struct mq_err *err)
{
    for (int i = 0; i < UNIQUE_CONFLICTS; i++)
        if (slice_is_word(value, conflict_names[i])) {
            *out = i;
            return MQ_OK;
        }
    return mq_fail(err, MQ_BADARG, "'%.*s' is none of skip, replace, reschedule, error",
                   (int)(value.len > 64 ? 64 : value.len), value.at);
}

static enum mq_code set_states(int32_t *out, struct slice value, struct mq_err *err)
{
    uint32_t mask = 0;
    if (slice_is_word(value, "all")) {
        *out = JOB_STATES_ALL;
        return MQ_OK;
    }
    enum mq_code code = states_parse(&mask, value, err);
    if (code == MQ_OK)
        *out = (int32_t)mask;
    return code;
}

/* Puts the option's name before what a parser said of its value. */
static enum mq_code blame(const char *option, enum mq_code code, struct mq_err *err)
{
    if (code != MQ_OK && err) {
        char text[MQ_ERR_TEXT_BYTES];
        memcpy(text, err->text, sizeof text);
        mq_fail(err, code, "%s: %.290s", option, text);
    }
    return code;
}

static enum mq_code set_option(struct push_order *order, const struct option *option, struct slice value,
                               struct buf *tags, struct mq_err *err)
{
    void *field = (char *)order + option->offset;
    switch (option->kind) {
    case OPTION_TEXT:
        if (value.len == 0)
            return mq_fail(err, MQ_BADARG, "%s is empty", option->name);
        *(struct slice *)field = value;
        return MQ_OK;
    case OPTION_DURATION:
        return blame(option->name, duration_parse(field, value, err), err);
    case OPTION_TIME:
        return blame(option->name, time_parse(field, value, err), err);
    case OPTION_NUMBER:
        *(int32_t *)field = small_number(value);
        if (*(int32_t *)field < 0)
            return mq_fail(err, MQ_BADARG, "%s: '%.*s' is not a whole number, 0 or more", option->name,
                           (int)(value.len > 64 ? 64 : value.len), value.at);
        return MQ_OK;
    case OPTION_TAGS:
        return blame(option->name, set_tags(order, value, tags, err), err);
    case OPTION_STATES:
        return blame(option->name, set_states(field, value, err), err);
    case OPTION_CONFLICT:
        return blame(option->name, set_conflict(field, value, err), err);
    }
    return MQ_OK;
}

enum mq_code order_set(struct push_order *order, struct slice option, struct slice value, struct buf *tags,
                       struct mq_err *err)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (slice_is_word(option, options[i].name))
            return set_option(order, &options[i], value, tags, err);
    return mq_fail(
        err, MQ_BADARG,
        "unknown option '%.*s' (there are QUEUE PRIORITY DELAY AT ATTEMPTS TIMEOUT LEASE EXPIRES TAGS "
        "META KEEP UNIQUE UNIQUE_BY UNIQUE_FOR UNIQUE_IN CONFLICT)",
        (int)(option.len > 64 ? 64 : option.len), option.at);
}

static enum mq_code check_range(const char *what, int64_t value, int64_t least, int64_t most,
                                struct mq_err *err)
{
    if (value == ORDER_UNSET || (value >= least && value <= most))
        return MQ_OK;
    return mq_fail(err, MQ_BADARG, "%s %" PRId64 " is out of range (%" PRId64 " to %" PRId64 ")", what, value,
                   least, most);
}

static enum mq_code check_duration(const char *what, int64_t ms, int64_t least, int64_t most,
                                   struct mq_err *err)
{
    char given[DURATION_TEXT_BYTES], low[DURATION_TEXT_BYTES], high[DURATION_TEXT_BYTES];
    if (ms == ORDER_UNSET || (ms >= least && ms <= most))
        return MQ_OK;
    return mq_fail(err, MQ_BADARG, "%s %s is out of range (%s to %s)", what, duration_format(given, ms),
                   duration_format(low, least), duration_format(high, most));
}

/* A log line carries meta as it is, so it must be JSON. */
static enum mq_code check_meta(struct slice meta, struct mq_err *err)
{
    json_error_t why;
    if (meta.len > META_MAX_BYTES)
        return mq_fail(err, MQ_TOOBIG, "META has %zu bytes, the limit is %d", meta.len, META_MAX_BYTES);
    json_t *object = json_loadb(meta.at, meta.len, 0, &why);
    bool good = json_is_object(object);
    json_decref(object);
    if (good)
        return MQ_OK;
    return mq_fail(err, MQ_BADARG, "META is not a JSON object: '%.*s'", (int)(meta.len > 64 ? 64 : meta.len),
                   meta.at);
}

/* A client's were checked one by one; a worker's come as they will be stored. */
static enum mq_code check_tags(struct slice tags, struct mq_err *err)
{
    enum mq_code code = MQ_OK;
    for (unsigned count = 0; code == MQ_OK && tags.len; count++) {
        const char *end = memchr(tags.at, '\n', tags.len);
        if (!end || count == TAGS_MAX)
            return mq_fail(err, MQ_BADARG,
                           end ? "more than %d tags" : "the last of at most %d tags has no end", TAGS_MAX);
        size_t len = (size_t)(end - tags.at);
        code = name_check("tag", (struct slice){tags.at, len}, err);
        tags.at += len + 1;
        tags.len -= len + 1;
    }
    return code;
}

static enum mq_code check_unique(const struct push_order *order, struct mq_err *err)
{
    if (order->unique.len && order->unique_by.len)
        return mq_fail(err, MQ_BADARG,
                       "UNIQUE (the key) and UNIQUE_BY (what it is made of) exclude each other");
    if (order->unique.len > UNIQUE_MAX_BYTES)
        return mq_fail(err, MQ_TOOBIG, "UNIQUE has %zu bytes, the limit is %d", order->unique.len,
                       UNIQUE_MAX_BYTES);
    if (order->unique_in != ORDER_UNSET && (!order->unique_in || order->unique_in & ~JOB_STATES_ALL))
        return mq_fail(err, MQ_BADARG, "UNIQUE_IN names no state, or one that there is not");
    if (order->conflict != ORDER_UNSET && (unsigned)order->conflict >= UNIQUE_CONFLICTS)
        return mq_fail(err, MQ_BADARG, "CONFLICT is none of skip, replace, reschedule, error");
    return order->unique_by.len ? unique_fields_check(order->unique_by, err) : MQ_OK;
}

enum mq_code order_check(const struct push_order *order, size_t payload_max, struct mq_err *err)
{
    enum mq_code code = name_check("job type", order->type, err);
    if (code == MQ_OK && order->queue.len)
        code = name_check("queue", order->queue, err);
    if (code == MQ_OK && order->payload.len > payload_max)
        code = mq_fail(err, MQ_TOOBIG, "payload of '%.*s' has %zu bytes, the limit is %zu (payload_max)",
                       SLICE_ARG(order->type), order->payload.len, payload_max);
    if (code == MQ_OK && order->meta.len)
        code = check_meta(order->meta, err);
    if (code == MQ_OK && order->delay_ms != ORDER_UNSET && order->at_ms != ORDER_UNSET)
        code = mq_fail(err, MQ_BADARG, "DELAY and AT exclude each other");
    if (code == MQ_OK && order->at_ms > WALL_MAX)
        code = mq_fail(err, MQ_BADARG, "AT %" PRId64 " is beyond the year 9999", order->at_ms);
    if (code == MQ_OK)
        code = check_tags(order->tags, err);
    if (code == MQ_OK)
        code = check_range("PRIORITY", order->priority, PRIORITY_FIRST, PRIORITY_LAST, err);
    if (code == MQ_OK)
        code = check_range("ATTEMPTS", order->attempts, 1, ATTEMPTS_MAX, err);
    if (code == MQ_OK)
        code = check_duration("DELAY", order->delay_ms, 0, CENTURY_MS, err);
    if (code == MQ_OK)
        code = check_duration("TIMEOUT", order->timeout_ms, 1, TIMEOUT_MAX_MS, err);
    if (code == MQ_OK)
        code = check_duration("LEASE", order->lease_ms, LEASE_LEAST_MS, LEASE_MAX_MS, err);
    if (code == MQ_OK)
        code = check_duration("EXPIRES", order->expires_ms, 1, CENTURY_MS, err);
    if (code == MQ_OK)
        code = check_duration("KEEP", order->keep_ms, 0, CENTURY_MS, err);
    if (code == MQ_OK)
        code = check_duration("UNIQUE_FOR", order->unique_for_ms, 1, CENTURY_MS, err);
    if (code == MQ_OK)
        code = check_unique(order, err);
    return code;
}

static int64_t first_set(int64_t a, int64_t b, int64_t c, int64_t last)
{
    return a != ORDER_UNSET ? a : b != ORDER_UNSET ? b : c != ORDER_UNSET ? c : last;
}

static struct slice first_text(struct slice a, struct slice b, struct slice c, struct slice last)
{
    return a.len ? a : b.len ? b : c.len ? c : last;
}

void order_resolve(struct job_spec *spec, wall_ms *run_at, const struct push_order *order,
                   const struct push_order *by_type, const struct push_order *by_server, wall_ms now)
{
    struct push_order nothing;
    order_init(&nothing);
    const struct push_order *t = by_type ? by_type : &nothing, *s = by_server ? by_server : &nothing;
    int64_t expires_ms = first_set(order->expires_ms, t->expires_ms, s->expires_ms, ORDER_UNSET);
    int64_t delay_ms = first_set(order->delay_ms, t->delay_ms, s->delay_ms, 0);
    *spec = (struct job_spec){
        .type = order->type,
        .payload = order->payload,
        .queue = first_text(order->queue, t->queue, s->queue, SLICE("default")),
        .meta = order->meta,
        .tags = order->tags,
        .pushed_at = now,
        .expires_at = expires_ms == ORDER_UNSET ? WALL_NEVER : now + expires_ms,
        .keep_ms = first_set(order->keep_ms, t->keep_ms, s->keep_ms, KEEP_DEFAULT_MS),
        .timeout_ms =
            (uint32_t)first_set(order->timeout_ms, t->timeout_ms, s->timeout_ms, TIMEOUT_DEFAULT_MS),
        .lease_ms = (uint32_t)first_set(order->lease_ms, t->lease_ms, s->lease_ms, LEASE_DEFAULT_MS),
        .max_attempts = (uint16_t)first_set(order->attempts, t->attempts, s->attempts, ATTEMPTS_DEFAULT),
        .unique_key = SLICE_EMPTY,
        .unique_until = WALL_NEVER,
        .priority = (uint8_t)first_set(order->priority, t->priority, s->priority, PRIORITY_DEFAULT),
    };
    *run_at = order->at_ms != ORDER_UNSET ? order->at_ms : now + delay_ms;
}

static bool says_something(const struct push_order *order)
{
    return order->unique_for_ms != ORDER_UNSET || order->unique_in != ORDER_UNSET ||
           order->conflict != ORDER_UNSET;
}

enum mq_code order_resolve_key(struct job_spec *spec, enum unique_conflict *conflict,
                               const struct push_order *order, const struct push_order *by_type,
                               struct buf *own, struct mq_err *err)
{
    struct push_order nothing;
    order_init(&nothing);
    const struct push_order *t = by_type ? by_type : &nothing;
    const struct push_order *from = order->unique.len || order->unique_by.len ? order : t;
    enum mq_code code = MQ_OK;
    *conflict = (enum unique_conflict)first_set(order->conflict, t->conflict, ORDER_UNSET, UNIQUE_SKIP);
    spec->unique_key = from->unique.len ? from->unique : SLICE_EMPTY;
    if (from == t && from->unique.len) {
        buf_clear(own);
        buf_add_slice(own, from->unique);
        spec->unique_key = buf_bytes(own);
    }
    if (from->unique_by.len) {
        buf_clear(own);
        code = unique_key_of(own, from->unique_by, spec->payload, err);
        spec->unique_key = buf_bytes(own);
    }
    if (code != MQ_OK)
        return code;
    if (!spec->unique_key.len)
        return says_something(order)
                   ? mq_fail(err, MQ_BADARG,
                             "UNIQUE_FOR, UNIQUE_IN and CONFLICT mean nothing without UNIQUE or UNIQUE_BY")
                   : MQ_OK;
    int64_t for_ms = first_set(order->unique_for_ms, t->unique_for_ms, ORDER_UNSET, ORDER_UNSET);
    int64_t otherwise = for_ms == ORDER_UNSET ? JOB_STATES_UNFINISHED : UNIQUE_STATES_ENDED;
    spec->unique_until = for_ms == ORDER_UNSET ? WALL_NEVER : spec->pushed_at + for_ms;
    spec->unique_states = (uint16_t)first_set(order->unique_in, t->unique_in, ORDER_UNSET, otherwise);
    return MQ_OK;
}
