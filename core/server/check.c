#include "server/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/schedule.h"
#include "job/name.h"
#include "runtime/child.h"
#include "runtime/source.h"
#include "server/config.h"

#define PREFIX "moonq.lua: " /* the configuration's messages name their file themselves */

/* "unknown setting 'poools'", "pools.mail.workers: 0 is out of range": the line that has the last name of that. */
static int line_of(const char *app_dir, const char *message)
{
    const char *quote = strncmp(message, "unknown ", 8) == 0 ? strchr(message, '\'') : NULL;
    const char *at = quote ? quote + 1 : message;
    size_t len = strcspn(at, quote ? "'" : ": "), start = len;
    while (start && at[start - 1] != '.')
        start--;
    return source_line_of(app_dir, "moonq.lua", (struct slice){at + start, len - start});
}

static void add_error(json_t *app, const char *app_dir, const char *message)
{
    if (strncmp(message, PREFIX, strlen(PREFIX)) == 0)
        message += strlen(PREFIX);
    int line = line_of(app_dir, message);
    json_object_set_new(app, "ok", json_false());
    json_array_append_new(json_object_get(app, "errors"), json_pack("{s:s, s:i, s:s}", "file", "moonq.lua",
                                                                    "line", line, "message", message));
}

static void add_warning(json_t *rows, const char *file, int line, const char *text)
{
    json_array_append_new(rows, json_pack("{s:s, s:i, s:s}", "file", file, "line", line, "message", text));
}

/* A pool serves it; by name or as one of those that no pool names. */
static bool is_served(const struct config *config, const char *queue)
{
    for (unsigned i = 0; i < config->pool_count; i++)
        for (unsigned q = 0; q < config->pools[i].queue_count; q++)
            if (strcmp(config->pools[i].queues[q].name, queue) == 0 ||
                strcmp(config->pools[i].queues[q].name, "*") == 0)
                return true;
    return false;
}

static const char *queue_of(json_t *handler)
{
    const char *queue = json_string_value(json_object_get(handler, "queue"));
    return queue ? queue : "default";
}

static bool is_used(json_t *handlers, const char *queue)
{
    const char *name;
    json_t *handler;
    json_object_foreach(handlers, name, handler) if (strcmp(queue_of(handler), queue) == 0) return true;
    return strcmp(queue, "*") == 0 || strcmp(queue, "default") == 0;
}

static void find_unserved(json_t *rows, json_t *handlers, const struct config *config)
{
    const char *name;
    json_t *handler;
    char text[2 * NAME_MAX_BYTES + 200];
    json_object_foreach(handlers, name, handler)
    {
        const char *queue = queue_of(handler), *file = json_string_value(json_object_get(handler, "file"));
        if (is_served(config, queue))
            continue;
        snprintf(text, sizeof text,
                 "no pool serves queue '%.*s', so jobs of this type wait for ever (name it in a pool's "
                 "`queues` in "
                 "moonq.lua, or \"*\")",
                 NAME_MAX_BYTES, queue);
        add_warning(rows, file ? file : "handlers", 0, text);
    }
}

static void find_unused(json_t *rows, json_t *app, const struct config *config, const char *app_dir)
{
    json_t *handlers = json_object_get(app, "handlers");
    char text[2 * NAME_MAX_BYTES + 200];
    for (unsigned i = 0; i < config->pool_count; i++)
        for (unsigned q = 0; q < config->pools[i].queue_count; q++) {
            const char *queue = config->pools[i].queues[q].name;
            if (is_used(handlers, queue))
                continue;
            snprintf(
                text, sizeof text,
                "pool '%.*s' names queue '%.*s', and no handler's jobs go there: only pushes that name it do",
                NAME_MAX_BYTES, config->pools[i].name, NAME_MAX_BYTES, queue);
            add_warning(rows, "moonq.lua",
                        app_dir ? source_line_of(app_dir, "moonq.lua", slice_of(config->pools[i].name)) : 0,
                        text);
        }
}

static json_t *pool_warnings(json_t *app, const struct config *config, const char *app_dir)
{
    json_t *rows = json_array();
    find_unserved(rows, json_object_get(app, "handlers"), config);
    find_unused(rows, app, config, app_dir);
    return rows;
}

json_t *check_pools(json_t *app, const struct config *config)
{
    return pool_warnings(app, config, NULL);
}

/* "schedules.lua:12: no list": takes the place off the front, which is nearer than the entry's line. */
static const char *take_place(const char *message, int *line)
{
    static const char file[] = "schedules.lua:";
    char *end;
    if (strncmp(message, file, sizeof file - 1) != 0)
        return message;
    long number = strtol(message + sizeof file - 1, &end, 10);
    if (number <= 0 || end[0] != ':' || end[1] != ' ')
        return message;
    *line = (int)number;
    return end + 2;
}

static void add_schedule_error(json_t *app, json_t *row, int line, const char *what, const char *said)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    char text[MQ_ERR_TEXT_BYTES + 200];
    if (name)
        snprintf(text, sizeof text, "schedule '%.128s': %s%.300s", name, what, said);
    else
        snprintf(text, sizeof text, "%.400s", said);
    json_object_set_new(app, "ok", json_false());
    json_array_append_new(
        json_object_get(app, "errors"),
        json_pack("{s:s, s:i, s:s}", "file", "schedules.lua", "line", line, "message", text));
}

/* A function that fails would be found out at night: it is run once, as at the entry's next moment. */
static void try_args(json_t *app, json_t *row, const char *app_dir, const struct schedule *schedule,
                     size_t payload_max)
{
    wall_ms now = clock_wall(), planned = plan_next(&schedule->plan, now, now);
    int line = (int)json_integer_value(json_object_get(row, "line"));
    json_t *answer = child_make_args(app_dir, json_string_value(json_object_get(row, "name")),
                                     (double)(planned == WALL_NEVER ? now : planned), payload_max);
    const char *why = json_string_value(json_object_get(answer, "error"));
    if (!why && !json_object_get(answer, "args"))
        why = "it failed while schedules.lua was loaded once more";
    if (why) {
        why = take_place(why, &line);
        add_schedule_error(app, row, line, "args: ", why);
    }
    json_decref(answer);
}

static void warn_of_schedule(json_t *app, json_t *row, const char *what)
{
    char text[3 * NAME_MAX_BYTES + 300];
    snprintf(text, sizeof text, "schedule '%s': %s", json_string_value(json_object_get(row, "name")), what);
    add_warning(json_object_get(app, "warnings"), "schedules.lua",
                (int)json_integer_value(json_object_get(row, "line")), text);
}

/* What is no mistake in itself, but was hardly meant. A consumer may fetch what no pool serves, of any type. */
static void find_idle(json_t *app, json_t *row, const struct schedule *schedule, const struct config *config)
{
    json_t *definition = json_object_get(row, "definition");
    const char *type = json_string_value(json_object_get(definition, "type"));
    const char *queue = json_string_value(json_object_get(definition, "queue"));
    json_t *handler = json_object_get(json_object_get(app, "handlers"), type);
    wall_ms now = clock_wall();
    char text[2 * NAME_MAX_BYTES + 200];
    bool served = is_served(config, queue ? queue : queue_of(handler));
    if (!handler && served) {
        snprintf(text, sizeof text, "there is no handler of type '%s': its jobs would wait for one", type);
        warn_of_schedule(app, row, text);
    }
    if (handler && queue && !served) {
        snprintf(text, sizeof text, "no pool serves queue '%s', so its jobs would wait for ever", queue);
        warn_of_schedule(app, row, text);
    }
    if (!schedule->paused && schedule->plan.cron.kind != CRON_REBOOT &&
        plan_next(&schedule->plan, now, now) == WALL_NEVER)
        warn_of_schedule(app, row, "no moment is left before its end: it does nothing any more");
}

/* An entry that is broken keeps the others from nothing, but it does not fire: that is an error. */
static void check_schedule(json_t *app, json_t *row, const char *app_dir, const struct config *config)
{
    size_t payload_max = (size_t)config->payload_max;
    const char *said = json_string_value(json_object_get(row, "error"));
    const char *name = json_string_value(json_object_get(row, "name"));
    int line = (int)json_integer_value(json_object_get(row, "line"));
    struct schedule schedule;
    struct mq_err err = {0};
    if (said) {
        add_schedule_error(app, row, line, "", said);
        return;
    }
    char *definition = schedule_text(json_object_get(row, "definition"));
    if (schedule_read(&schedule, slice_of(name), slice_of(definition), payload_max, &err) != MQ_OK) {
        add_schedule_error(app, row, line, "", err.text);
    } else {
        if (json_is_true(json_object_get(app, "sound"))) /* a handler that is broken is there all the same */
            find_idle(app, row, &schedule, config);
        if (schedule.args_function)
            try_args(app, row, app_dir, &schedule, payload_max);
        schedule_release(&schedule);
    }
    free(definition);
}

static void check_schedules(json_t *app, const char *app_dir, const struct config *config)
{
    json_t *row;
    size_t i;
    json_object_set(app, "sound", json_object_get(app, "ok"));
    json_array_foreach(json_object_get(app, "schedules"), i, row) check_schedule(app, row, app_dir, config);
}

char *check_application(const char *app_dir)
{
    char *text = child_describe(app_dir);
    json_t *app = json_loads(text, READY_FLAGS, NULL), *table = json_object_get(app, "config");
    struct config config;
    struct mq_err err;
    if (!table || json_is_null(table)) { /* moonq.lua itself does not load, which is said already */
        json_decref(app);
        return text;
    }
    json_t *faults = json_array(), *fault;
    size_t i;
    config_init(&config);
    if (config_read(&config, table, faults, &err) != MQ_OK) {
        json_array_foreach(faults, i, fault) add_error(app, app_dir, json_string_value(fault));
    } else if (json_is_true(json_object_get(app, "ok"))) { /* what is broken may use a queue, too */
        json_t *warnings = pool_warnings(app, &config, app_dir);
        json_array_extend(json_object_get(app, "warnings"), warnings);
        json_decref(warnings);
    }
    check_schedules(app, app_dir, &config);
    free(text);
    text = json_dumps(app, 0);
    json_decref(faults);
    config_release(&config);
    json_decref(app);
    return text;
}
