#include "server/app.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "server/check.h"

/* Never NULL: whoever wrote this JSON may have left anything out. */
static const char *text_of(json_t *row, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : otherwise;
}

static void log_rows(enum log_level level, const char *event, json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
        log_event(level, event, LOG_STR("file", text_of(row, "file", "")),
                  LOG_INT("line", json_integer_value(json_object_get(row, "line"))),
                  LOG_STR("message", text_of(row, "message", "")));
}

enum mq_code app_check(json_t *app, struct mq_err *err)
{
    json_t *errors = json_object_get(app, "errors");
    log_rows(LOG_WARN, "application.warning", json_object_get(app, "warnings"));
    if (json_is_true(json_object_get(app, "ok")))
        return MQ_OK;
    log_rows(LOG_ERROR, "application.error", errors);
    json_t *first = json_array_get(errors, 0);
    size_t others = json_array_size(errors) ? json_array_size(errors) - 1 : 0;
    long long line = json_integer_value(json_object_get(first, "line"));
    char place[32] = "", more[64] = "";
    if (line)
        snprintf(place, sizeof place, ":%lld", line);
    if (others)
        snprintf(more, sizeof more, " (and %zu more: moonq check lists them)", others);
    return mq_fail(err, MQ_SCRIPT, "%.100s%s: %.120s%s", text_of(first, "file", "application"), place,
                   text_of(first, "message", "does not load"), more);
}

void app_warn_pools(json_t *app, const struct config *config)
{
    json_t *rows = check_pools(app, config);
    log_rows(LOG_WARN, "application.warning", rows);
    json_decref(rows);
}

/* A whole number of the table, or unset; one that fits no field becomes one that order_check refuses. */
static int64_t number_of(json_t *handler, const char *key)
{
    json_t *value = json_object_get(handler, key);
    double number = json_number_value(value);
    if (!json_is_number(value))
        return ORDER_UNSET;
    return number >= 0 && number <= (double)WALL_MAX ? (int64_t)number : INT64_MIN;
}

static int32_t small_of(json_t *handler, const char *key)
{
    int64_t number = number_of(handler, key);
    return number > INT32_MAX || number < INT32_MIN ? INT32_MIN : (int32_t)number;
}

/* The handler's: it lives as long as the table. */
static struct slice text_in(json_t *handler, const char *key)
{
    json_t *value = json_object_get(handler, key);
    return json_is_string(value) ? (struct slice){json_string_value(value), json_string_length(value)}
                                 : SLICE_EMPTY;
}

void app_set_types(struct dispatch *dispatch, json_t *app)
{
    json_t *handlers = json_object_get(app, "handlers"), *handler;
    struct push_order *types = mq_calloc(json_object_size(handlers) + 1, sizeof *types);
    unsigned count = 0;
    const char *name;
    json_object_foreach(handlers, name, handler)
    {
        struct push_order *type = &types[count];
        const char *queue = json_string_value(json_object_get(handler, "queue"));
        struct mq_err err;
        order_init(type);
        type->type = slice_of(name);
        type->queue = queue ? slice_of(queue) : SLICE_EMPTY;
        type->priority = small_of(handler, "priority");
        type->attempts = small_of(handler, "attempts");
        type->timeout_ms = number_of(handler, "timeout_ms");
        type->lease_ms = number_of(handler, "lease_ms");
        type->keep_ms = number_of(handler, "keep_ms");
        type->expires_ms = number_of(handler, "expires_ms");
        type->delay_ms = number_of(handler, "delay_ms");
        type->unique = text_in(handler, "unique");
        type->unique_by = text_in(handler, "unique_by");
        type->unique_for_ms = number_of(handler, "unique_for_ms");
        type->unique_in = small_of(handler, "unique_in");
        type->conflict = small_of(handler, "conflict");
        /* The child has checked it, but a child is not trusted: without its row the type's jobs wait. */
        if (order_check(type, 0, &err) == MQ_OK)
            count++;
        else
            log_event(LOG_ERROR, "application.error", LOG_STR("file", name), LOG_INT("line", 0),
                      LOG_STR("message", err.text));
    }
    dispatch_set_types(dispatch, types, count);
    free(types);
}

static void limit_set(struct store_op *op)
{
    if (op->code != MQ_OK)
        log_event(LOG_ERROR, "queue.limit_refused", LOG_STR("message", op->err.text));
    store_op_release(op);
    free(op);
}

void app_set_limits(struct dispatch *dispatch, const struct config *config)
{
    for (unsigned i = 0; i < config->limit_count; i++) {
        size_t len = strlen(config->limits[i].queue);
        struct op_queue *queue = mq_calloc(1, sizeof *queue + len);
        store_op_init(&queue->op, STORE_QUEUE, clock_wall());
        queue->op.done = limit_set;
        queue->name = (struct slice){memcpy(queue + 1, config->limits[i].queue, len), len};
        queue->change = QUEUE_KEEP;
        queue->set_limit = true;
        queue->limit = (uint64_t)config->limits[i].limit;
        dispatch_submit(dispatch, &queue->op);
    }
}
