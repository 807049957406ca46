/* cron_next.c - the next moment of an expression: walks its fields, span by span of the zone's offset. */
#include "job/cron.h"

#include "base/civil.h"
#include "job/cron_inside.h"

#define DAY_S       86400LL
#define NEVER_S     INT64_MAX
#define FIRST_S     (-62167219200LL) /* the year 0 */
#define YEAR_BEYOND 10000

/* ---- days ---- */

/* Days first, first + 7, ... of a month as a set. */
static uint32_t weekly(int first)
{
    return (uint32_t)(0x10204081ULL << first);
}

/* The day of Monday to Friday nearest to `day`, within the month. */
static int nearest_workday(int day, int weekday, int last)
{
    if (weekday == 6)
        return day > 1 ? day - 1 : day + 2;
    if (weekday == 0)
        return day < last ? day + 1 : day - 2;
    return day;
}

static uint32_t by_day(const struct cron *c, int last, int first_weekday)
{
    uint32_t days = c->days;
    for (uint32_t left = c->days_before_last; left; left &= left - 1) {
        int day = last - __builtin_ctz(left);
        if (day >= 1)
            days |= 1U << day;
    }
    for (uint32_t left = c->nearest; left; left &= left - 1) {
        int day = __builtin_ctz(left);
        if (day <= last)
            days |= 1U << nearest_workday(day, (first_weekday + day - 1) % 7, last);
    }
    if (c->last_workday) {
        int weekday = (first_weekday + last - 1) % 7;
        days |= 1U << (weekday == 6 ? last - 1 : weekday == 0 ? last - 2 : last);
    }
    return days;
}

static uint32_t by_weekday(const struct cron *c, int last, int first_weekday)
{
    uint32_t days = 0;
    for (int weekday = 0; weekday < 7; weekday++) {
        int first = 1 + (weekday - first_weekday + 7) % 7;
        if (c->weekdays >> weekday & 1)
            days |= weekly(first);
        for (unsigned left = c->nth_weekdays[weekday] & ~1U; left; left &= left - 1)
            days |= (uint32_t)(1ULL << (first + 7 * (__builtin_ctz(left) - 1)));
        if (c->nth_weekdays[weekday] & 1)
            days |= 1U << (first + (last - first) / 7 * 7);
    }
    return days;
}

uint32_t cron_days_of(const struct cron *cron, int last, int first_weekday)
{
    uint32_t in_month = (uint32_t)((2ULL << last) - 2);
    uint32_t a = by_day(cron, last, first_weekday), b = by_weekday(cron, last, first_weekday);
    bool either = cron->day_rule == CRON_DAYS_EITHER && !cron->days_open && !cron->weekdays_open;
    return (either ? a | b : a & b) & in_month;
}

/* ---- the fields, on a clock without changes ---- */

/* The first member of `set` that is at least `from`; -1: none. */
static int next_in(uint64_t set, int from)
{
    set = from < 64 ? set >> from << from : 0;
    return set ? __builtin_ctzll(set) : -1;
}

/* The first second of a day, at least `from_s`, that the time fields name; -1: none in this day. */
static int64_t next_in_day(const struct cron *c, int64_t from_s)
{
    int h = (int)(from_s / 3600), m = (int)(from_s / 60 % 60);
    int second = next_in(c->seconds, (int)(from_s % 60));
    int hour = next_in(c->hours, h);
    if (hour < 0)
        return -1;
    int minute = -1;
    if (hour == h) {
        minute = next_in(c->minutes, second >= 0 ? m : m + 1);
        if (minute < 0 && (hour = next_in(c->hours, h + 1)) < 0)
            return -1;
    }
    if (hour != h)
        minute = next_in(c->minutes, 0);
    if (hour != h || minute != m)
        second = next_in(c->seconds, 0);
    return hour * 3600LL + minute * 60LL + second;
}

/* The first day after `date` that the day fields name, *day; false: none. */
static bool next_date(const struct cron *c, struct civil *date)
{
    for (int from = date->day + 1;; from = 1) {
        if (c->months >> date->month & 1) {
            int64_t first = civil_days(date->year, date->month, 1);
            uint32_t days = cron_days_of(c, civil_month_days(date->year, date->month), civil_weekday(first));
            date->day = next_in(days, from);
            if (date->day > 0)
                return true;
        }
        if (++date->month > 12) {
            date->month = 1;
            if (++date->year >= YEAR_BEYOND)
                return false;
        }
    }
}

/* The first local time that the fields name, at least `from_s`; NEVER_S: none. */
static int64_t next_local(const struct cron *c, int64_t from_s)
{
    int64_t day = floor_div(from_s, DAY_S), at_s;
    struct civil date = civil_of_days(day), found = date;
    found.day--;
    if (!next_date(c, &found))
        return NEVER_S;
    if (found.day == date.day && found.month == date.month && found.year == date.year) {
        at_s = next_in_day(c, from_s - day * DAY_S);
        if (at_s >= 0)
            return day * DAY_S + at_s;
        if (!next_date(c, &found))
            return NEVER_S;
    }
    return civil_days(found.year, found.month, found.day) * DAY_S + next_in_day(c, 0);
}

/* ---- the same on a clock with changes ---- */

struct span {
    int64_t start_s, end_s, offset_s;
};

static struct span span_at(const struct zone *zone, int64_t at_s)
{
    struct zone_span span = zone_span(zone, at_s * 1000);
    return (struct span){span.start == INT64_MIN ? INT64_MIN / 2 : span.start / 1000,
                         span.end == WALL_NEVER ? NEVER_S / 2 : span.end / 1000, span.offset_s};
}

/*
 * The local times of a span that count in it. Where two spans show the same local times, the second pass does not count
 * for CRON_OVERLAP_FIRST, the first not for SECOND.
 */
struct window {
    int64_t from_s, until_s;
    int64_t
        gap_s; /* its first second stands for the local times from gap_s on, which the clock has jumped over */
};

static struct window window_of(const struct cron *c, const struct zone *zone, const struct span *span)
{
    struct window w = {span->start_s + span->offset_s, span->end_s + span->offset_s, 0};
    w.gap_s = w.from_s;
    if (span->start_s > FIRST_S) {
        int64_t reached_s = span->start_s + span_at(zone, span->start_s - 1).offset_s;
        if (reached_s < w.from_s)
            w.gap_s = reached_s;
        else if (c->overlap == CRON_OVERLAP_FIRST)
            w.from_s = w.gap_s = reached_s;
    }
    if (c->overlap == CRON_OVERLAP_SECOND && span->end_s < NEVER_S / 2) {
        int64_t again_s = span->end_s + span_at(zone, span->end_s).offset_s;
        if (again_s < w.until_s)
            w.until_s = again_s;
    }
    return w;
}

static int64_t next_in_zone(const struct cron *c, const struct zone *zone, int64_t from_s)
{
    struct span span = span_at(zone, from_s);
    for (;;) {
        struct window w = window_of(c, zone, &span);
        bool whole = from_s == span.start_s;
        if (whole && c->gap == CRON_GAP_FIRE && w.gap_s < w.from_s && next_local(c, w.gap_s) < w.from_s)
            return from_s;
        int64_t local_s = from_s + span.offset_s;
        local_s = next_local(c, local_s > w.from_s ? local_s : w.from_s);
        if (local_s < w.until_s)
            return local_s - span.offset_s;
        if (local_s == NEVER_S || span.end_s >= NEVER_S / 2)
            return NEVER_S;
        from_s = span.end_s;
        /* A whole span without one: until two days before the one that was found there is none in any. */
        if (whole && local_s - 2 * DAY_S > from_s)
            from_s = local_s - 2 * DAY_S;
        span = span_at(zone, from_s);
    }
}

/* All that the clock jumped over, and the moment after it, if that is named itself: one of them fires for all. */
static void merge_gap(struct cron_merge *out, const struct cron *c, const struct window *w)
{
    int64_t at_s = next_local(c, w->gap_s);
    *out = (struct cron_merge){.is_gap = true, .from_s = w->gap_s, .to_s = w->from_s, .first_s = at_s};
    out->last_s = at_s - 1;
    for (; at_s < w->from_s && out->times < CRON_MERGE_MAX; at_s = next_local(c, at_s + 1)) {
        out->last_s = at_s;
        out->times++;
    }
    if (out->times && next_local(c, w->from_s) != w->from_s)
        out->times--; /* it fires, late */
}

static void merge_pass(struct cron_merge *out, const struct cron *c, const struct zone *zone,
                       const struct span *span, int64_t at_s)
{
    int64_t local_s = at_s + span->offset_s;
    bool first = c->overlap == CRON_OVERLAP_FIRST;
    if (c->overlap == CRON_OVERLAP_BOTH || (first ? span->end_s >= NEVER_S / 2 : span->start_s <= FIRST_S))
        return;
    struct span other = span_at(zone, first ? span->end_s : span->start_s - 1);
    int64_t other_s = local_s - other.offset_s;
    if (other_s >= other.start_s && other_s < other.end_s)
        *out = (struct cron_merge){.times = 1, .at = other_s * 1000};
}

struct cron_merge cron_merged(const struct cron *cron, const struct zone *zone, wall_ms at)
{
    struct cron_merge merge = {.times = 0};
    if (cron->kind != CRON_FIELDS)
        return merge;
    int64_t at_s = floor_div(at, 1000);
    struct span span = span_at(zone, at_s);
    struct window w = window_of(cron, zone, &span);
    if (at_s == span.start_s && cron->gap == CRON_GAP_FIRE && w.gap_s < w.from_s)
        merge_gap(&merge, cron, &w);
    else
        merge_pass(&merge, cron, zone, &span, at_s);
    if (merge.is_gap)
        merge.at = at;
    return merge;
}

wall_ms cron_next(const struct cron *cron, const struct zone *zone, wall_ms after)
{
    if (cron->kind == CRON_EVERY)
        return after <= WALL_MAX - cron->every_ms ? after + cron->every_ms : WALL_NEVER;
    if (cron->kind == CRON_REBOOT || after >= WALL_MAX)
        return WALL_NEVER;
    int64_t from_s = floor_div(after, 1000) + 1;
    int64_t next_s = next_in_zone(cron, zone, from_s > FIRST_S ? from_s : FIRST_S);
    return next_s == NEVER_S || next_s * 1000 > WALL_MAX ? WALL_NEVER : next_s * 1000;
}
