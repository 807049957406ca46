#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

static enum log_level least_level = LOG_INFO;
static bool as_json = true;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(enum log_level least, bool json)
{
    least_level = least;
    as_json = json;
}

int log_level_of(struct slice name)
{
    for (int i = 0; i < 4; i++)
        if (slice_equal(name, slice_of(level_names[i])))
            return i;
    return -1;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

/* How many bytes the UTF-8 character at `at` has; 0 if it is not one (RFC 3629: no surrogates, no overlong). */
static size_t utf8_len(const unsigned char *at, size_t len)
{
    if (at[0] < 0x80)
        return 1;
    size_t want = at[0] >= 0xC2 && at[0] <= 0xDF   ? 2
                  : (at[0] & 0xF0) == 0xE0         ? 3
                  : at[0] >= 0xF0 && at[0] <= 0xF4 ? 4
                                                   : 0;
    if (!want || len < want)
        return 0;
    for (size_t i = 1; i < want; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] > 0x9F) ||
        (at[0] == 0xF0 && at[1] < 0x90) || (at[0] == 0xF4 && at[1] > 0x8F))
        return 0;
    return want;
}

void json_add_string(struct buf *out, struct slice text)
{
    buf_u8(out, '"');
    for (size_t i = 0; i < text.len;) {
        unsigned char c = (unsigned char)text.at[i];
        size_t len = utf8_len((const unsigned char *)text.at + i, text.len - i);
        if (!len) {
            buf_add(out, "\\ufffd", 6);
            len = 1;
        } else if (c == '"' || c == '\\') {
            buf_u8(out, '\\');
            buf_u8(out, c);
        } else if (c < 0x20 || c == 0x7F) {
            buf_printf(out, "\\u%04x", c);
        } else {
            buf_add(out, text.at + i, len);
        }
        i += len;
    }
    buf_u8(out, '"');
}

static void add_value(struct buf *out, const struct log_field *field)
{
    switch (field->kind) {
    case LOG_FIELD_SLICE:
        json_add_string(out, field->text);
        break;
    case LOG_FIELD_INT:
        buf_printf(out, "%" PRId64, field->number);
        break;
    case LOG_FIELD_REAL:
        buf_printf(out, "%g", field->real);
        break;
    case LOG_FIELD_RAW:
        buf_add_slice(out, field->text);
        break;
    }
}

static void add_json_line(struct buf *out, enum log_level level, const char *event,
                          const struct log_field *fields)
{
    char now[TIME_TEXT_BYTES];
    buf_printf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", time_format(now, clock_wall()),
               level_names[level], event);
    for (; fields->name; fields++) {
        buf_printf(out, ",\"%s\":", fields->name);
        add_value(out, fields);
    }
    buf_add(out, "}\n", 2);
}

static void add_person_line(struct buf *out, enum log_level level, const char *event,
                            const struct log_field *fields)
{
    static const char *const marks[] = {"debug", "info ", "WARN ", "ERROR"};
    char now[TIME_TEXT_BYTES];
    time_format(now, clock_wall());
    buf_printf(out, "%.12s %s %-20s", now + 11, marks[level], event);
    for (; fields->name; fields++) {
        buf_printf(out, " %s=", fields->name);
        add_value(out, fields);
    }
    buf_u8(out, '\n');
}

static void write_line(struct slice line)
{
    while (line.len) {
        ssize_t wrote = write(STDERR_FILENO, line.at, line.len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return; /* nowhere left to complain */
        line.at += wrote;
        line.len -= (size_t)wrote;
    }
}

void log_fields(enum log_level level, const char *event, const struct log_field *fields)
{
    if (level < least_level)
        return;
    struct buf line = BUF_INIT;
    if (as_json)
        add_json_line(&line, level, event, fields);
    else
        add_person_line(&line, level, event, fields);
    write_line(buf_bytes(&line));
    buf_release(&line);
}
