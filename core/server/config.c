#include "server/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "job/name.h"
#include "server/config_pools.h"

enum kind {
    KIND_NUMBER,
    KIND_SIZE,     /* bytes; "64MiB" */
    KIND_DURATION, /* milliseconds; "30s" */
    KIND_LEVEL,    /* debug info warn error */
    KIND_MODE,     /* "0600" */
    KIND_SYNC,     /* commit relaxed */
};

#define KIB    1024LL
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)
#define SECOND 1000LL
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* When a setting may change: by CONFIG SET too; when moonq.lua is read again; only at a start. */
enum when {
    LIVE,
    RELOAD,
    RESTART,
};

static const struct setting {
    const char *name;
    enum kind kind;
    size_t offset;
    int64_t initial, least, most;
    enum when when; /* it may change */
    const char *summary;
} settings[] = {
#define S(field, kind, initial, least, most, when, summary)                                                  \
    {                                                                                                        \
#field, kind, offsetof(struct config, field), initial, least, most, when, summary                    \
    }
    /* clang-format off */
    S(payload_max,     KIND_SIZE,     MIB,          1,         64 * MIB,   LIVE,  "A push with a larger payload is refused with TOOBIG."),
    S(result_max,      KIND_SIZE,     MIB,          1,         32 * MIB,   RELOAD, "A handler that returns more fails with TOOBIG."),
    S(queue_limit,     KIND_NUMBER,   0,            0,         INT64_MAX,  LIVE,  "Waiting jobs a queue may hold before pushes get FULL; 0: no limit. Single queues: `queues`."),
    S(attempts,        KIND_NUMBER,   ATTEMPTS_DEFAULT, 1,     ATTEMPTS_MAX, LIVE, "Attempts of a job that says nothing else."),
    S(timeout,         KIND_DURATION, TIMEOUT_DEFAULT_MS, 1,   TIMEOUT_MAX_MS, LIVE, "How long one attempt may take."),
    S(lease,           KIND_DURATION, LEASE_DEFAULT_MS, LEASE_LEAST_MS, LEASE_MAX_MS, LIVE, "How soon a holder that gives no sign of life loses its job."),
    S(keep,            KIND_DURATION, KEEP_DEFAULT_MS, 0,      36500 * DAY, LIVE, "How long finished jobs stay, with result and history; 0: deleted at once."),
    S(dead_keep,       KIND_DURATION, 180 * DAY,    0,         36500 * DAY, LIVE, "How long dead letters stay; then they move to the archive, a file in the data folder."),
    S(keep_max,        KIND_NUMBER,   1000000,      0,         INT64_MAX,  LIVE,  "So many finished jobs stay at most; beyond it those whose `keep` ends first are deleted. 0: any number."),
    S(keep_bytes,      KIND_SIZE,     GIB,          0,         1024 * GIB, LIVE,  "Likewise their bytes: payloads, results, history and logs. 0: any number."),
    S(dead_max,        KIND_NUMBER,   100000,       0,         INT64_MAX,  LIVE,  "So many dead letters stay at most; beyond it the oldest move to the archive. 0: any number."),
    S(dead_bytes,      KIND_SIZE,     GIB,          0,         1024 * GIB, LIVE,  "Likewise their bytes. 0: any number."),
    S(crash_limit,     KIND_NUMBER,   3,            1,         1000,       LIVE,  "A job that takes its worker down so often is poison: a dead letter."),
    S(start_within,    KIND_DURATION, 100,          10,        HOUR,       LIVE,  "A job that its worker has not begun by then is given to another."),
    S(cancel_grace,    KIND_DURATION, 5 * SECOND,   0,         HOUR,       LIVE,  "How long a cancelled job may tidy up before it is ended."),
    S(timeout_grace,   KIND_DURATION, 2 * SECOND,   0,         HOUR,       LIVE,  "How long a job that is told to end may take before its worker is killed."),
    S(silence_max,     KIND_DURATION, 30 * SECOND,  SECOND,    HOUR,       LIVE,  "A worker whose loop stands still so long, because a handler keeps the CPU, is killed."),
    S(stop_grace,      KIND_DURATION, 25 * SECOND,  0,         HOUR,       LIVE,  "At a stop, running jobs may finish for so long; then they are given back."),
    S(idle_alarm,      KIND_DURATION, 10 * SECOND,  SECOND,    HOUR,       LIVE,  "Ready jobs, free workers and nothing taken for so long: idle_with_backlog."),
    S(connections_max, KIND_NUMBER,   10000,        1,         100000,     LIVE,  "Clients at once; one more is refused with FULL."),
    S(output_pause,    KIND_SIZE,     MIB,          4 * KIB,   GIB,        LIVE,  "A client with so many unread replies is not read from until it reads."),
    S(output_max,      KIND_SIZE,     64 * MIB,     64 * KIB,  4 * GIB,    LIVE,  "A client with so many unread replies is closed."),
    S(output_patience, KIND_DURATION, 30 * SECOND,  100,       HOUR,       LIVE,  "A paused client that reads nothing for so long is closed."),
    S(half_sent,       KIND_DURATION, 60 * SECOND,  0,         HOUR,       LIVE,  "A command begun and not finished for so long closes its connection; 0: never."),
    S(pipeline_max,    KIND_NUMBER,   16384,        16,        1000000,    LIVE,  "Commands of one client under way at once; more wait unread."),
    S(max_memory,      KIND_SIZE,     0,            0,         1024 * GIB, LIVE,  "Memory of the server itself, without workers and the store's mapped file. Beyond it pushes get FULL, and clients that do not read are closed; 0: no limit."),
    S(sync,            KIND_SYNC,     0,            0,         1,          RESTART, "`commit`: what is answered is on disk. `relaxed`: changes confirmed in the last `relaxed_for` may be lost at a power cut (not if only moonq dies); the store stays sound."),
    S(relaxed_for,     KIND_DURATION, SECOND,       10,        MINUTE,     RESTART, "With `sync = \"relaxed\"`: how long at most a confirmed change is not safe from a power cut."),
    S(map_size,        KIND_SIZE,     64 * MIB,     MIB,       1024 * GIB, RESTART, "First size of the store's map; it grows by itself."),
    S(disk_reserve,    KIND_SIZE,     8 * MIB,      0,         GIB,        RESTART, "Disk that pushes leave for acknowledgements; below it they get NOSPACE."),
    S(snapshot_max,    KIND_DURATION, 5 * SECOND,   100,       HOUR,       RESTART, "How long a listing may hold its snapshot."),
    S(readers,         KIND_NUMBER,   2,            1,         16,         RESTART, "Threads that read snapshots."),
    S(log_level,       KIND_LEVEL,    LOG_INFO,     LOG_DEBUG, LOG_ERROR,  LIVE,  "The least level that is logged: debug, info, warn or error."),
    S(log_line_max,    KIND_SIZE,     4 * KIB,      64,        64 * KIB,   RELOAD, "Longer job:log lines are cut."),
    S(socket_mode,     KIND_MODE,     0600,         0,         0777,       RESTART, "Permissions of the socket."),
    S(read_socket_mode, KIND_MODE,    0660,         0,         0777,       RESTART, "Permissions of the socket that only reads (`moonq serve --read-socket`)."),
    /* clang-format on */
};

enum {
    SETTING_COUNT = sizeof settings / sizeof *settings
};

static int64_t *field_of(struct config *config, const struct setting *setting)
{
    return (int64_t *)(void *)((char *)config + setting->offset);
}

/* ---- text to value and back ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    int64_t bytes;
} size_units[] = {{"GiB", GIB},    {"MiB", MIB}, {"KiB", KIB}, {"GB", 1000000000},
                  {"MB", 1000000}, {"kB", 1000}, {"B", 1},     {"", 1}};

static bool whole_number(struct slice *text, int64_t *out)
{
    size_t i = 0;
    int64_t value = 0;
    for (; i < text->len && text->at[i] >= '0' && text->at[i] <= '9'; i++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text->at[i] - '0', &value))
            return false;
    text->at += i;
    text->len -= i;
    *out = value;
    return i > 0;
}

enum mq_code config_parse_size(int64_t *out, struct slice text, struct mq_err *err)
{
    struct slice rest = text;
    int64_t value;
    if (whole_number(&rest, &value))
        for (size_t i = 0; i < sizeof size_units / sizeof *size_units; i++)
            if (slice_is_word(rest, size_units[i].name) &&
                !__builtin_mul_overflow(value, size_units[i].bytes, out))
                return MQ_OK;
    return mq_fail(err, MQ_BADARG, "'%.*s' is not a size (write 4096, 64KiB, 1MiB or 2GiB)", SLICE_ARG(text));
}

static enum mq_code parse(const struct setting *setting, int64_t *out, struct slice text, struct mq_err *err)
{
    struct slice rest = text;
    switch (setting->kind) {
    case KIND_SIZE:
        return config_parse_size(out, text, err);
    case KIND_DURATION:
        return duration_parse(out, text, err);
    case KIND_SYNC:
        *out = slice_is_word(text, "relaxed");
        if (!*out && !slice_is_word(text, "commit"))
            return mq_fail(err, MQ_BADARG, "'%.*s' is neither commit nor relaxed", SLICE_ARG(text));
        return MQ_OK;
    case KIND_LEVEL:
        *out = log_level_of(text);
        if (*out < 0)
            return mq_fail(err, MQ_BADARG, "'%.*s' is not a level (debug, info, warn, error)",
                           SLICE_ARG(text));
        return MQ_OK;
    case KIND_MODE: {
        char digits[8] = "", *end;
        if (text.len && text.len < sizeof digits)
            memcpy(digits, text.at, text.len);
        *out = strtol(digits, &end, 8);
        if (!digits[0] || *end)
            return mq_fail(err, MQ_BADARG, "'%.*s' is not a mode (write \"0660\")", SLICE_ARG(text));
        return MQ_OK;
    }
    case KIND_NUMBER:
        if (!whole_number(&rest, out) || rest.len)
            return mq_fail(err, MQ_BADARG, "'%.*s' is not a whole number", SLICE_ARG(text));
        return MQ_OK;
    }
    return MQ_OK;
}

static void format(const struct setting *setting, int64_t value, char *out, size_t size)
{
    char text[DURATION_TEXT_BYTES];
    switch (setting->kind) {
    case KIND_SIZE:
        for (size_t i = 0; i < 3; i++)
            if (value && value % size_units[i].bytes == 0) {
                snprintf(out, size, "%" PRId64 "%s", value / size_units[i].bytes, size_units[i].name);
                return;
            }
        snprintf(out, size, "%" PRId64, value);
        return;
    case KIND_DURATION:
        snprintf(out, size, "%s", duration_format(text, value));
        return;
    case KIND_SYNC:
        snprintf(out, size, "%s", value ? "relaxed" : "commit");
        return;
    case KIND_LEVEL:
        snprintf(out, size, "%s", log_level_name((enum log_level)value));
        return;
    case KIND_MODE:
        snprintf(out, size, "0%" PRIo64, value);
        return;
    case KIND_NUMBER:
        snprintf(out, size, "%" PRId64, value);
        return;
    }
}

static enum mq_code assign(struct config *config, const struct setting *setting, int64_t value,
                           struct mq_err *err)
{
    char given[64], low[64], high[64];
    if (value < setting->least || value > setting->most) {
        format(setting, value, given, sizeof given);
        format(setting, setting->least, low, sizeof low);
        format(setting, setting->most, high, sizeof high);
        return mq_fail(err, MQ_BADARG, "%s is out of range (%s to %s)", given, low, high);
    }
    *field_of(config, setting) = value;
    return MQ_OK;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

static const struct setting *find(struct slice name)
{
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        if (slice_is_word(name, settings[i].name))
            return &settings[i];
    return NULL;
}

/* Letters that differ when laid side by side, and in length: enough to find what a typing error meant. */
static unsigned unlike(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), same = 0, tail = 0;
    while (same < la && same < lb && a[same] == b[same])
        same++;
    while (tail < la - same && tail < lb - same && a[la - 1 - tail] == b[lb - 1 - tail])
        tail++;
    size_t longer = la > lb ? la : lb;
    return (unsigned)(longer - same - tail);
}

static const char *nearest(const char *name)
{
    const char *best = "pools";
    unsigned least = unlike(name, best);
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        if (unlike(name, settings[i].name) < least) {
            best = settings[i].name;
            least = unlike(name, best);
        }
    if (unlike(name, "queues") < least)
        best = "queues";
    return best;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

/* A bare number is seconds, as everywhere in Lua. What no clock can hold is out of every setting's range. */
static int64_t ms_of_seconds(double seconds)
{
    double ms = seconds * 1000;
    return ms < 0 ? -1 : ms <= (double)DURATION_MAX ? (int64_t)ms : INT64_MAX;
}

static enum mq_code read_setting(struct config *config, const struct setting *setting, json_t *value,
                                 struct mq_err *err)
{
    struct mq_err why;
    int64_t number = 0;
    enum mq_code code = MQ_OK;
    bool whole = setting->kind == KIND_NUMBER || setting->kind == KIND_SIZE;
    if (json_is_string(value))
        code = parse(setting, &number, slice_of(json_string_value(value)), &why);
    else if (json_is_number(value) && setting->kind == KIND_DURATION)
        number = ms_of_seconds(json_number_value(value));
    else if (!json_is_number(value) || !whole)
        code = mq_fail(&why, MQ_BADARG, "has a value of the wrong type");
    else if (!config_whole(&number, value))
        code = mq_fail(&why, MQ_BADARG, "is not a whole number");
    if (code == MQ_OK)
        code = assign(config, setting, number, &why);
    if (code != MQ_OK)
        mq_fail(err, code, "moonq.lua: %s: %.250s", setting->name, why.text);
    return code;
}

void config_fault(struct config_faults *faults, enum mq_code code, const struct mq_err *fault)
{
    if (code == MQ_OK)
        return;
    if (faults->code == MQ_OK) {
        faults->code = code;
        *faults->first = *fault;
    }
    if (faults->texts)
        json_array_append_new(faults->texts, json_string(fault->text));
}

enum mq_code config_read(struct config *config, json_t *table, json_t *texts, struct mq_err *err)
{
    struct config_faults faults = {.texts = texts, .code = MQ_OK, .first = err};
    struct mq_err fault;
    const char *name;
    json_t *value;
    if (!json_is_object(table) && !(json_is_array(table) && json_array_size(table) == 0))
        config_fault(
            &faults,
            mq_fail(&fault, MQ_BADARG, "moonq.lua: does not return a table of settings (return { ... })"),
            &fault);
    json_object_foreach(table, name, value)
    {
        const struct setting *setting = find(slice_of(name));
        enum mq_code code = MQ_OK;
        if (setting)
            code = read_setting(config, setting, value, &fault);
        else if (strcmp(name, "pools") == 0)
            config_read_pools(config, value, &faults);
        else if (strcmp(name, "queues") == 0)
            config_read_queues(config, value, &faults);
        else
            code = mq_fail(&fault, MQ_BADARG, "moonq.lua: unknown setting '%.64s' (did you mean '%s'?)", name,
                           nearest(name));
        config_fault(&faults, code, &fault);
    }
    return faults.code;
}

enum mq_code config_set(struct config *config, struct slice name, struct slice value, struct mq_err *err)
{
    const struct setting *setting = find(name);
    struct mq_err why;
    int64_t number;
    if (!setting)
        return mq_fail(err, MQ_NOTFOUND, "there is no setting '%.*s' (see CONFIG GET *)",
                       (int)(name.len > 64 ? 64 : name.len), name.at);
    if (setting->when != LIVE)
        return mq_fail(err, MQ_WRONGSTATE, "'%s' cannot be set by a command: set it in moonq.lua and %s",
                       setting->name, setting->when == RELOAD ? "RELOAD" : "restart");
    enum mq_code code = parse(setting, &number, value, &why);
    if (code == MQ_OK)
        code = assign(config, setting, number, &why);
    if (code != MQ_OK)
        mq_fail(err, code, "%s: %.250s", setting->name, why.text);
    return code;
}

bool config_row_at(const struct config *config, unsigned index, struct config_row *out)
{
    if (index >= SETTING_COUNT)
        return false;
    const struct setting *setting = &settings[index];
    out->name = setting->name;
    out->summary = setting->summary;
    out->changeable = setting->when == LIVE;
    format(setting, *field_of((struct config *)config, setting), out->value, sizeof out->value);
    return true;
}

unsigned config_keep_fixed(struct config *next, const struct config *now, char *names, size_t size)
{
    unsigned count = 0;
    size_t len = 0;
    names[0] = '\0';
    for (unsigned i = 0; i < SETTING_COUNT; i++) {
        int64_t value = *field_of((struct config *)now, &settings[i]);
        if (settings[i].when != RESTART || *field_of(next, &settings[i]) == value)
            continue;
        *field_of(next, &settings[i]) = value;
        if (len < size)
            len += (size_t)snprintf(names + len, size - len, "%s%s", count ? ", " : "", settings[i].name);
        count++;
    }
    return count;
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

void config_init(struct config *config)
{
    *config = (struct config){0};
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        *field_of(config, &settings[i]) = settings[i].initial;
    config_default_pool(config);
}

void config_release(struct config *config)
{
    config_free_pools(config);
    *config = (struct config){0};
}

struct dispatch_settings config_dispatch(const struct config *config)
{
    struct dispatch_settings out = {
        .payload_max = (size_t)config->payload_max,
        .result_max = (size_t)config->result_max,
        .log_line_max = (size_t)config->log_line_max,
        .start_within_ms = config->start_within,
        .cancel_grace_ms = config->cancel_grace,
        .timeout_grace_ms = config->timeout_grace,
        .silence_max_ms = config->silence_max,
        .idle_alarm_ms = config->idle_alarm,
        .sweep_limit =
            2000, /* some milliseconds of a commit: ten million due at once still let pushes through */
    };
    order_init(&out.defaults);
    out.defaults.attempts = (int32_t)config->attempts;
    out.defaults.timeout_ms = config->timeout;
    out.defaults.lease_ms = config->lease;
    out.defaults.keep_ms = config->keep;
    return out;
}

struct store_settings config_store(const struct config *config, const char *dir)
{
    return (struct store_settings){
        .dir = dir,
        .map_bytes = (uint64_t)config->map_size,
        .reserve_bytes = (uint64_t)config->disk_reserve,
        .queue_limit = (uint64_t)config->queue_limit,
        .dead_keep_ms = config->dead_keep,
        .keep_max = (uint64_t)config->keep_max,
        .keep_bytes = (uint64_t)config->keep_bytes,
        .dead_max = (uint64_t)config->dead_max,
        .dead_bytes = (uint64_t)config->dead_bytes,
        .crash_limit = (unsigned)config->crash_limit,
        .readers = (unsigned)config->readers,
        .relaxed_ms = config->sync ? config->relaxed_for : 0,
        .snapshot_max_ms = config->snapshot_max,
    };
}

struct protocol_settings config_protocol(const struct config *config)
{
    return (struct protocol_settings){
        .connections_max = (unsigned)config->connections_max,
        .request_max = (uint64_t)config->payload_max + 64 * KIB, /* names, tags, meta and RESP's own bytes */
        .output_pause = (uint64_t)config->output_pause,
        .output_max = (uint64_t)config->output_max,
        .output_patience_ms = config->output_patience,
        .half_sent_ms = config->half_sent,
        .pipeline_max = (unsigned)config->pipeline_max,
    };
}

void config_print_docs(void)
{
    static const char *const whens[] = {[LIVE] = "live", [RELOAD] = "reload", [RESTART] = "restart"};
    char value[64];
    puts("# Configuration\n\n<!-- Made by `make docs` from core/server/config.c. -->\n\n"
         "`moonq.lua` in the application's folder returns a table. Durations are written `\"250ms\"`, "
         "`\"30s\"`, "
         "`\"10m\"`, `\"2h\"`, `\"3d\"` (a bare number is seconds), sizes `4096`, `\"64KiB\"`, `\"1MiB\"`. "
         "An unknown name is "
         "an error. RELOAD reads it again, but what says *restart* stays as it was at the start (and RELOAD "
         "says "
         "so); what says *live* also changes with `CONFIG SET name value`, until the next "
         "RELOAD or restart. A worker keeps `payload_max` and `cancel_grace` as they were when it started."
         "\n\n| setting | default | changes | meaning |\n| --- | --- | --- | --- |");
    for (unsigned i = 0; i < SETTING_COUNT; i++) {
        format(&settings[i], settings[i].initial, value, sizeof value);
        printf("| `%s` | %s | %s | %s |\n", settings[i].name, value, whens[settings[i].when],
               settings[i].summary);
    }
    config_print_pool_docs();
}
