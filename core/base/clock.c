#include "base/clock.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/civil.h"

static int64_t clock_read(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

wall_ms clock_wall(void)
{
    return clock_read(CLOCK_REALTIME);
}

mono_ms clock_mono(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

static const struct unit {
    const char *name;
    int64_t ms;
} units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

enum {
    UNIT_COUNT = sizeof units / sizeof *units
};

static enum mq_code not_a_duration(struct slice text, struct mq_err *err)
{
    return mq_fail(err, MQ_BADARG, "'%.*s' is not a duration (write 250ms, 5s, 10m, 2h or 3d)",
                   (int)(text.len > 64 ? 64 : text.len), text.at);
}

/* The digits at the front of `text` as a number in thousandths; -1 where there are none or too many. */
static int64_t thousandths(struct slice *text)
{
    int64_t value = 0;
    size_t i = 0, digits = 0;
    for (; i < text->len && digits < 16 && isdigit((unsigned char)text->at[i]); i++, digits++)
        value = value * 10 + (text->at[i] - '0');
    if (digits == 0 || digits > 15)
        return -1;
    value *= 1000;
    if (i < text->len && text->at[i] == '.') {
        int64_t scale = 100;
        size_t first = ++i;
        for (; i < text->len && isdigit((unsigned char)text->at[i]); i++, scale /= 10)
            value += (text->at[i] - '0') * scale;
        if (i == first || i > first + 3)
            return -1;
    }
    text->at += i;
    text->len -= i;
    return value;
}

enum mq_code duration_parse(int64_t *out_ms, struct slice text, struct mq_err *err)
{
    struct slice rest = text;
    int64_t value = thousandths(&rest);
    if (value < 0)
        return not_a_duration(text, err);
    if (rest.len == 0) {
        if (value != 0)
            return not_a_duration(text, err);
        *out_ms = 0;
        return MQ_OK;
    }
    for (unsigned i = 0; i < UNIT_COUNT; i++) {
        if (!slice_equal(rest, slice_of(units[i].name)))
            continue;
        int64_t ms;
        if (__builtin_mul_overflow(value, units[i].ms, &ms) || ms / 1000 > DURATION_MAX)
            return mq_fail(err, MQ_BADARG, "duration '%.*s' is too long (at most %" PRId64 "d)",
                           SLICE_ARG(text), (int64_t)DURATION_MAX / 86400000);
        *out_ms = ms / 1000;
        return MQ_OK;
    }
    return not_a_duration(text, err);
}

char *duration_format(char *out, int64_t ms)
{
    for (unsigned i = 0; i < UNIT_COUNT; i++)
        if (ms && ms % units[i].ms == 0) {
            snprintf(out, DURATION_TEXT_BYTES, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
            return out;
        }
    snprintf(out, DURATION_TEXT_BYTES, "0s");
    return out;
}

/* To seconds from one second on, to minutes from an hour, to hours from a day and a half, to days from ten days. */
int64_t duration_round(int64_t ms)
{
    static const struct {
        int64_t from, to;
    } steps[] = {{864000000, 86400000}, {129600000, 3600000}, {3600000, 60000}, {1000, 1000}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (ms >= steps[i].from)
            return (ms + steps[i].to / 2) / steps[i].to * steps[i].to;
    return ms;
}

/* Reads exactly `width` digits at *at and steps over them; -1 if they are not there. */
static int digits(const char **at, const char *end, int width)
{
    int value = 0;
    if (end - *at < width)
        return -1;
    for (int i = 0; i < width; i++) {
        if (!isdigit((unsigned char)**at))
            return -1;
        value = value * 10 + (*(*at)++ - '0');
    }
    return value;
}

static int literal(const char **at, const char *end, const char *any_of)
{
    if (*at < end && **at && strchr(any_of, **at)) /* strchr finds the NUL of any_of too */
        return *(*at)++;
    return 0;
}

static int fraction_ms(const char **at, const char *end)
{
    int ms = 0, scale = 100, seen = 0;
    for (; *at < end && isdigit((unsigned char)**at); (*at)++, scale /= 10, seen++)
        ms += (**at - '0') * scale;
    return seen >= 1 && seen <= 9 ? ms : -1;
}

/* The zone behind a time: Z, +hh:mm, +hhmm. Minutes east of Greenwich, or -9999. */
static int zone_minutes(const char **at, const char *end)
{
    int sign = literal(at, end, "Zz+-");
    if (sign == 'Z' || sign == 'z')
        return 0;
    int hours = digits(at, end, 2);
    if (!sign || hours < 0 || hours > 23)
        return -9999;
    literal(at, end, ":");
    int minutes = digits(at, end, 2);
    if (minutes < 0 || minutes > 59)
        return -9999;
    return (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
}

static int iso_parse(wall_ms *out, struct slice text)
{
    const char *at = text.at, *end = text.at + text.len;
    int year = digits(&at, end, 4), dash = literal(&at, end, "-");
    int month = digits(&at, end, 2), dash2 = literal(&at, end, "-");
    int day = digits(&at, end, 2);
    if (year < 0 || !dash || !dash2 || month < 1 || month > 12 || day < 1 ||
        day > civil_month_days(year, month))
        return 0;
    int64_t ms = civil_days(year, month, day) * 86400000LL;
    if (at == end) {
        *out = ms;
        return 1;
    }
    if (!literal(&at, end, "Tt "))
        return 0;
    int hour = digits(&at, end, 2), minute = literal(&at, end, ":") ? digits(&at, end, 2) : -1, second = 0;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59)
        return 0;
    if (literal(&at, end, ":"))
        second = digits(&at, end, 2);
    int fraction = literal(&at, end, ".,") ? fraction_ms(&at, end) : 0;
    int zone = zone_minutes(&at, end);
    if (second < 0 || second > 60 || fraction < 0 || zone == -9999 || at != end)
        return 0;
    *out = ms + hour * 3600000LL + (minute - zone) * 60000LL + second * 1000LL + fraction;
    return 1;
}

enum mq_code time_parse(wall_ms *out, struct slice text, struct mq_err *err)
{
    wall_ms at = 0;
    size_t i = 0;
    for (; i < text.len && i < 15 && isdigit((unsigned char)text.at[i]); i++)
        at = at * 10 + (text.at[i] - '0');
    int ok = (i == text.len && i > 0) || iso_parse(&at, text);
    if (!ok)
        return mq_fail(err, MQ_BADARG,
                       "'%.*s' is not a time (write unix milliseconds or ISO 8601, 2026-01-01T09:00:00Z)",
                       (int)(text.len > 64 ? 64 : text.len), text.at);
    if (at > WALL_MAX)
        return mq_fail(err, MQ_BADARG, "time '%.*s' is beyond the year 9999", SLICE_ARG(text));
    *out = at;
    return MQ_OK;
}

char *time_format(char *out, wall_ms at)
{
    time_t seconds = (time_t)(at / 1000);
    int ms = (int)(at % 1000);
    struct tm parts;
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    gmtime_r(&seconds, &parts);
    /* strftime's %Y writes the year 987 with three digits */
    size_t len = (size_t)snprintf(out, TIME_TEXT_BYTES, "%04d", parts.tm_year + 1900);
    len += strftime(out + len, TIME_TEXT_BYTES - len, "-%m-%dT%H:%M:%S", &parts);
    snprintf(out + len, TIME_TEXT_BYTES - len, ".%03dZ", ms);
    return out;
}
