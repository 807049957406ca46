/*
 * log.h - one event a line: a JSON object, or a person's line when stderr is a terminal.
 *
 * Each line has time, level and event, then the fields given:
 *     log_event(LOG_WARN, "worker.exited", LOG_STR("worker", name), LOG_INT("status", status));
 *     {"time":"2026-03-06T09:00:00.000Z","level":"warn","event":"worker.exited","worker":"w1","status":9}
 *
 * Threads: any; a line is one write. Fields are borrowed for the call.
 */
#ifndef MOONQ_BASE_LOG_H
#define MOONQ_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/slice.h"

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
};

struct log_field {
    const char *name; /* NULL ends the list */
    enum {
        LOG_FIELD_SLICE,
        LOG_FIELD_INT,
        LOG_FIELD_REAL,
        LOG_FIELD_RAW, /* text that is JSON already */
    } kind;
    struct slice text;
    int64_t number;
    double real;
};

#define LOG_STR(field, value)                                                                                \
    ((struct log_field){.name = (field), .kind = LOG_FIELD_SLICE, .text = slice_of(value)})
#define LOG_SLICE(field, value)                                                                              \
    ((struct log_field){.name = (field), .kind = LOG_FIELD_SLICE, .text = (value)})
#define LOG_INT(field, value)                                                                                \
    ((struct log_field){.name = (field), .kind = LOG_FIELD_INT, .number = (int64_t)(value)})
#define LOG_REAL(field, value) ((struct log_field){.name = (field), .kind = LOG_FIELD_REAL, .real = (value)})
#define LOG_RAW(field, value)  ((struct log_field){.name = (field), .kind = LOG_FIELD_RAW, .text = (value)})

#define log_event(level, event, ...)                                                                         \
    log_fields((level), (event), (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.name = NULL}})
void log_fields(enum log_level level, const char *event, const struct log_field *fields);

/* What is less than `least` is not written. `json`: objects; otherwise a person's lines. LOG_INFO and JSON at first. */
void log_setup(enum log_level least, bool json);

/* "debug", "info", "warn", "error". -1 for any other name. */
int log_level_of(struct slice name);
const char *log_level_name(enum log_level level);

/* Adds `text` as a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD. */
void json_add_string(struct buf *out, struct slice text);
#endif
