/* The table tests of cron expressions. What they are compared with minute by minute: test_cron_walk.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "job/cron.h"

#define COUNT(table) (sizeof(table) / sizeof *(table))

static wall_ms moment(const char *text)
{
    wall_ms at = 0;
    struct mq_err err = {0};
    if (time_parse(&at, slice_of(text), &err) != MQ_OK)
        fail_msg("%s", err.text);
    return at;
}

static struct zone *zone_of(const char *name)
{
    struct zone *zone = NULL;
    struct mq_err err = {0};
    if (zone_open(&zone, slice_of(name), &err) != MQ_OK)
        fail_msg("%s", err.text);
    return zone;
}

static struct cron expression(const char *text, const struct cron_options *options)
{
    struct cron cron = {0};
    struct mq_err err = {0};
    if (cron_parse(&cron, slice_of(text), SLICE("nightly"), options, &err) != MQ_OK)
        fail_msg("'%s': %s", text, err.text);
    return cron;
}

/* ---- the next moment ---- */

#define NEVER "never"

struct next {
    const char *text, *zone, *after, *then; /* `then`: moments, a space between them */
    struct cron_options options;
};

static void check_next(const struct next *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct next *row = &rows[i];
        struct zone *zone = zone_of(row->zone);
        struct cron cron = expression(row->text, &row->options);
        wall_ms at = moment(row->after);
        struct buf seen = BUF_INIT;
        for (const char *rest = row->then; rest; rest = strchr(rest, ' ') ? strchr(rest, ' ') + 1 : NULL) {
            char text[TIME_TEXT_BYTES] = NEVER;
            at = cron_next(&cron, zone, at);
            if (at != WALL_NEVER)
                zone_format(text, zone, at);
            buf_printf(&seen, "%s%s", buf_len(&seen) ? " " : "", text);
        }
        buf_u8(&seen, 0);
        if (strcmp(row->then, buf_bytes(&seen).at) != 0)
            fail_msg("'%s' in %s after %s:\n    %s\n  not\n    %s", row->text, row->zone, row->after,
                     buf_bytes(&seen).at, row->then);
        buf_release(&seen);
        zone_close(zone);
    }
}

static const struct next plain[] = {
    {"0 9 * * 1-5",
     "UTC",
     "2026-03-06T09:00:00Z",
     "2026-03-09T09:00:00+00:00",
     {0}}, /* strictly later is Monday */
    {"0 9 * * 1-5", "UTC", "2026-03-06T08:59:59.999Z", "2026-03-06T09:00:00+00:00", {0}},
    {"* * * * *",
     "UTC",
     "1969-12-31T23:58:30.500Z",
     "1969-12-31T23:59:00+00:00 1970-01-01T00:00:00+00:00",
     {0}},
    {"0 0 29 2 *",
     "UTC",
     "2026-01-01T00:00:00Z",
     "2028-02-29T00:00:00+00:00",
     {0}}, /* waits for the leap year */
    {"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00+00:00", {0}}, /* 2100 has none */
    {"0 0 29 2 1",
     "UTC",
     "2026-03-01T00:00:00Z",
     "2044-02-29T00:00:00+00:00 2072-02-29T00:00:00+00:00",
     {.days = CRON_DAYS_BOTH}},
    {"59 23 31 12 *", "UTC", "9999-12-31T23:58:59Z", "9999-12-31T23:59:00+00:00 never", {0}},
    {"@reboot", "UTC", "2026-01-01T00:00:00Z", NEVER, {0}},
    {"@every 90s", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30+00:00 2026-01-01T00:03:00+00:00", {0}},
    {"@every 2h",
     "Europe/Berlin",
     "2026-03-29T00:00:00Z",
     "2026-03-29T04:00:00+02:00 2026-03-29T06:00:00+02:00",
     {0}},
    {"*/20 58-59 23 31 12 *",
     "UTC",
     "2026-12-31T23:59:20Z",
     "2026-12-31T23:59:40+00:00 2027-12-31T23:58:00+00:00",
     {0}},
    {"5,10 * * * * *",
     "UTC",
     "2026-12-31T23:59:06Z",
     "2026-12-31T23:59:10+00:00 2027-01-01T00:00:05+00:00",
     {0}},
    {"59 59 23 * * *",
     "UTC",
     "2026-01-31T23:59:58Z",
     "2026-01-31T23:59:59+00:00 2026-02-01T23:59:59+00:00",
     {0}},
    {"0 0 25-5 * *",
     "UTC",
     "2026-02-25T12:00:00Z",
     "2026-02-26T00:00:00+00:00 2026-02-27T00:00:00+00:00 2026-02-28T00:00:00+00:00 "
     "2026-03-01T00:00:00+00:00",
     {0}},
    {"0 22-4/2 * * *",
     "UTC",
     "2026-02-28T20:00:00Z",
     "2026-02-28T22:00:00+00:00 2026-03-01T00:00:00+00:00 2026-03-01T02:00:00+00:00 "
     "2026-03-01T04:00:00+00:00 "
     "2026-03-01T22:00:00+00:00",
     {0}},
    {"0 0 1 NOV-FEB/2 *",
     "UTC",
     "2026-01-01T00:00:00Z",
     "2026-11-01T00:00:00+00:00 2027-01-01T00:00:00+00:00",
     {0}},
};

static void the_next_moment_is_strictly_later(void **state)
{
    (void)state;
    check_next(plain, COUNT(plain));
}

/* August 2026 begins on a Saturday, May ends on a Sunday, October on a Saturday. */
static const struct next days[] = {
    {"0 0 L * *", "UTC", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00+00:00 2026-03-31T00:00:00+00:00", {0}},
    {"0 0 L 2 *", "UTC", "2027-03-01T00:00:00Z", "2028-02-29T00:00:00+00:00 2029-02-28T00:00:00+00:00", {0}},
    {"0 0 L-1 * *",
     "UTC",
     "2026-02-01T00:00:00Z",
     "2026-02-27T00:00:00+00:00 2026-03-30T00:00:00+00:00",
     {0}},
    {"0 0 L-30 * *",
     "UTC",
     "2026-02-01T00:00:00Z",
     "2026-03-01T00:00:00+00:00 2026-05-01T00:00:00+00:00",
     {0}},
    {"0 0 L,15 * *",
     "UTC",
     "2026-02-01T00:00:00Z",
     "2026-02-15T00:00:00+00:00 2026-02-28T00:00:00+00:00",
     {0}},
    {"0 0 LW * *", "UTC", "2026-05-01T00:00:00Z", "2026-05-29T00:00:00+00:00 2026-06-30T00:00:00+00:00", {0}},
    {"0 0 lw 10 *", "UTC", "2026-05-01T00:00:00Z", "2026-10-30T00:00:00+00:00", {0}},
    {"0 0 1W 8 *", "UTC", "2026-01-01T00:00:00Z", "2026-08-03T00:00:00+00:00", {0}}, /* not back into July */
    {"0 0 1W 2 *", "UTC", "2026-01-01T00:00:00Z", "2026-02-02T00:00:00+00:00", {0}},
    {"0 0 31W 5 *", "UTC", "2026-01-01T00:00:00Z", "2026-05-29T00:00:00+00:00", {0}}, /* nor on into June */
    {"0 0 31W * *",
     "UTC",
     "2026-04-01T00:00:00Z",
     "2026-05-29T00:00:00+00:00 2026-07-31T00:00:00+00:00",
     {0}},
    {"0 0 15W 8,11 *",
     "UTC",
     "2026-01-01T00:00:00Z",
     "2026-08-14T00:00:00+00:00 2026-11-16T00:00:00+00:00",
     {0}},
    {"0 0 * * FRI#2",
     "UTC",
     "2026-05-01T00:00:00Z",
     "2026-05-08T00:00:00+00:00 2026-06-12T00:00:00+00:00",
     {0}},
    {"0 0 * * 5#5",
     "UTC",
     "2026-05-01T00:00:00Z",
     "2026-05-29T00:00:00+00:00 2026-07-31T00:00:00+00:00",
     {0}},
    {"0 0 * * 7L", "UTC", "2026-03-01T00:00:00Z", "2026-03-29T00:00:00+00:00 2026-04-26T00:00:00+00:00", {0}},
    {"0 0 ? * sunl",
     "UTC",
     "2026-03-01T00:00:00Z",
     "2026-03-29T00:00:00+00:00 2026-04-26T00:00:00+00:00",
     {0}},
    {"0 0 * * MON#1,MON#3",
     "UTC",
     "2026-03-01T00:00:00Z",
     "2026-03-02T00:00:00+00:00 2026-03-16T00:00:00+00:00",
     {0}},
    /* a day that only a February of 28 days has */
    {"0 0 L 2 SAT#4", "UTC", "2026-03-01T00:00:00Z", "2037-02-28T00:00:00+00:00", {.days = CRON_DAYS_BOTH}},
    /* both day fields: either, unless one begins with a star */
    {"0 0 13 * 5",
     "UTC",
     "2026-03-01T00:00:00Z",
     "2026-03-06T00:00:00+00:00 2026-03-13T00:00:00+00:00 2026-03-20T00:00:00+00:00 "
     "2026-03-27T00:00:00+00:00 "
     "2026-04-03T00:00:00+00:00 2026-04-10T00:00:00+00:00 2026-04-13T00:00:00+00:00",
     {0}},
    {"0 0 13 * 5",
     "UTC",
     "2026-03-01T00:00:00Z",
     "2026-03-13T00:00:00+00:00 2026-11-13T00:00:00+00:00",
     {.days = CRON_DAYS_BOTH}},
    {"0 0 */2 * 5",
     "UTC",
     "2026-03-01T00:00:00Z",
     "2026-03-13T00:00:00+00:00 2026-03-27T00:00:00+00:00",
     {0}},
    {"0 0 13 * */5",
     "UTC",
     "2026-03-01T00:00:00Z",
     "2026-03-13T00:00:00+00:00 2026-09-13T00:00:00+00:00",
     {0}},
    {"0 0 30 2 1", "UTC", "2026-01-31T00:00:00Z", "2026-02-02T00:00:00+00:00 2026-02-09T00:00:00+00:00", {0}},
};

static void days_are_those_of_the_calendar(void **state)
{
    (void)state;
    check_next(days, COUNT(days));
}

static const struct next changes[] = {
    /* a fixed time in the gap: once, at the first moment after it */
    {"30 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     "2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00",
     {0}},
    {"0 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     "2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00",
     {0}},
    {"0,30 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     "2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00",
     {0}},
    {"0 1-4 * * *",
     "Europe/Berlin",
     "2026-03-28T23:00:00Z",
     "2026-03-29T01:00:00+01:00 2026-03-29T03:00:00+02:00 2026-03-29T04:00:00+02:00",
     {0}},
    {"H 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T03:00:00+02:00", {0}},
    {"*/10 0 2 * * *",
     "Europe/Berlin",
     "2026-03-29T00:00:00Z",
     "2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00",
     {0}},
    {"59 59 2 * * *",
     "Europe/Berlin",
     "2026-03-29T00:00:00Z",
     "2026-03-29T03:00:00+02:00 2026-03-30T02:59:59+02:00",
     {0}},
    /* asked within the hour before the gap, at the gap and behind it */
    {"30 2 * * *", "Europe/Berlin", "2026-03-29T00:59:59.999Z", "2026-03-29T03:00:00+02:00", {0}},
    {"30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T02:30:00+02:00", {0}},
    /* and in the overlap: at its first pass */
    {"30 2 * * *",
     "Europe/Berlin",
     "2026-10-24T12:00:00Z",
     "2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00",
     {0}},
    {"30 2 * * *",
     "Europe/Berlin",
     "2026-10-25T01:15:00Z",
     "2026-10-26T02:30:00+01:00",
     {0}}, /* asked in the second */
    {"0 2,3 * * *",
     "Europe/Berlin",
     "2026-10-24T12:00:00Z",
     "2026-10-25T02:00:00+02:00 2026-10-25T03:00:00+01:00 2026-10-26T02:00:00+01:00",
     {0}},
    /* wildcards and steps follow real time: no hour is skipped, none is lost */
    {"*/30 * * * *",
     "Europe/Berlin",
     "2026-03-29T00:30:00Z",
     "2026-03-29T03:00:00+02:00 2026-03-29T03:30:00+02:00",
     {0}},
    {"0 * * * *",
     "Europe/Berlin",
     "2026-10-24T23:30:00Z",
     "2026-10-25T02:00:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T03:00:00+01:00",
     {0}},
    {"* * * * *",
     "Europe/Berlin",
     "2026-10-25T00:58:00Z",
     "2026-10-25T02:59:00+02:00 2026-10-25T02:00:00+01:00",
     {0}},
    {"0 */2 * * *",
     "Europe/Berlin",
     "2026-03-28T22:30:00Z",
     "2026-03-29T00:00:00+01:00 2026-03-29T04:00:00+02:00",
     {0}},
    {"30 0-23 * * *",
     "Europe/Berlin",
     "2026-10-25T00:00:00Z",
     "2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00",
     {0}},
    {"30 2-3/1 * * *",
     "Europe/Berlin",
     "2026-10-25T00:00:00Z",
     "2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00",
     {0}},
    /* the choices of an entry */
    {"30 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     "2026-03-30T02:30:00+02:00",
     {.gap = CRON_GAP_SKIP}},
    {"*/20 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     "2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00",
     {.gap = CRON_GAP_FIRE}},
    {"30 2 * * *",
     "Europe/Berlin",
     "2026-10-24T12:00:00Z",
     "2026-10-25T02:30:00+01:00 2026-10-26T02:30:00+01:00",
     {.overlap = CRON_OVERLAP_SECOND}},
    {"30 2 * * *",
     "Europe/Berlin",
     "2026-10-24T12:00:00Z",
     "2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00",
     {.overlap = CRON_OVERLAP_BOTH}},
    {"0 * * * *",
     "Europe/Berlin",
     "2026-10-24T23:30:00Z",
     "2026-10-25T02:00:00+02:00 2026-10-25T03:00:00+01:00",
     {.overlap = CRON_OVERLAP_FIRST}},
    {"30 2 * 3 7L",
     "Europe/Berlin",
     "2026-01-01T00:00:00Z",
     NEVER,
     {.gap = CRON_GAP_SKIP}}, /* always in the gap */
    /* a clock that changes by half an hour, at 02:00 */
    {"15 2 * * *",
     "Australia/Lord_Howe",
     "2026-10-03T00:00:00Z",
     "2026-10-04T02:30:00+11:00 2026-10-05T02:15:00+11:00",
     {0}},
    {"0 * * * *",
     "Australia/Lord_Howe",
     "2026-10-03T14:00:00Z",
     "2026-10-04T01:00:00+10:30 2026-10-04T03:00:00+11:00",
     {0}},
    {"45 1 * * *",
     "Australia/Lord_Howe",
     "2026-04-04T12:00:00Z",
     "2026-04-05T01:45:00+11:00 2026-04-06T01:45:00+10:30",
     {0}},
    {"*/15 * * * *",
     "Australia/Lord_Howe",
     "2026-04-04T14:29:00Z",
     "2026-04-05T01:30:00+11:00 2026-04-05T01:45:00+11:00 2026-04-05T01:30:00+10:30 "
     "2026-04-05T01:45:00+10:30 "
     "2026-04-05T02:00:00+10:30",
     {0}},
    /* at a quarter to three */
    {"0 3 * * *",
     "Pacific/Chatham",
     "2026-09-26T00:00:00Z",
     "2026-09-27T03:45:00+13:45 2026-09-28T03:00:00+13:45",
     {0}},
    {"0 3 * * *",
     "Pacific/Chatham",
     "2026-04-04T00:00:00Z",
     "2026-04-05T03:00:00+13:45 2026-04-06T03:00:00+12:45",
     {0}},
    /* by two hours */
    {"30 1,2 * * *",
     "Antarctica/Troll",
     "2026-03-28T12:00:00Z",
     "2026-03-29T03:00:00+02:00 2026-03-30T01:30:00+02:00",
     {0}},
    {"30 1,2 * * *",
     "Antarctica/Troll",
     "2026-10-24T12:00:00Z",
     "2026-10-25T01:30:00+02:00 2026-10-25T02:30:00+02:00 2026-10-26T01:30:00+00:00",
     {0}},
    /* a day that was not there: 30 December 2011, a Friday */
    {"0 9 * * *",
     "Pacific/Apia",
     "2011-12-29T12:00:00Z",
     "2011-12-29T09:00:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T09:00:00+14:00",
     {0}},
    {"0 0 * * *",
     "Pacific/Apia",
     "2011-12-29T09:00:00Z",
     "2011-12-29T00:00:00-10:00 2011-12-31T00:00:00+14:00 2012-01-01T00:00:00+14:00",
     {0}},
    {"0 12 30 12 *",
     "Pacific/Apia",
     "2011-01-01T00:00:00Z",
     "2011-12-31T00:00:00+14:00 2012-12-30T12:00:00+14:00",
     {0}},
    {"0 9 * * 5",
     "Pacific/Apia",
     "2011-12-24T00:00:00Z",
     "2011-12-31T00:00:00+14:00 2012-01-06T09:00:00+14:00",
     {0}},
    {"0 * * * *",
     "Pacific/Apia",
     "2011-12-30T08:30:00Z",
     "2011-12-29T23:00:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T01:00:00+14:00",
     {0}},
    /* the gap at midnight does not lose the day, the overlap does not double it */
    {"0 0 * * *",
     "America/Sao_Paulo",
     "2018-11-03T12:00:00Z",
     "2018-11-04T01:00:00-02:00 2018-11-05T00:00:00-02:00",
     {0}},
    {"0 0 15 * *", "America/Sao_Paulo", "2017-10-01T12:00:00Z", "2017-10-15T01:00:00-02:00", {0}},
    {"30 23 * * *",
     "America/Sao_Paulo",
     "2018-02-17T12:00:00Z",
     "2018-02-17T23:30:00-02:00 2018-02-18T23:30:00-03:00",
     {0}},
    {"0 0 * * *",
     "America/Sao_Paulo",
     "2018-02-16T12:00:00Z",
     "2018-02-17T00:00:00-02:00 2018-02-18T00:00:00-03:00 2018-02-19T00:00:00-03:00",
     {0}},
    {"0 0 4 11 *",
     "America/Sao_Paulo",
     "2025-01-01T00:00:00Z",
     "2025-11-04T00:00:00-03:00",
     {0}}, /* no more since 2019 */
    /* a month of winter time in Ramadan, by a list to 2087 */
    {"30 2 * * *",
     "Africa/Casablanca",
     "2026-02-14T12:00:00Z",
     "2026-02-15T02:30:00+01:00 2026-02-16T02:30:00+00:00",
     {0}},
    {"30 2 * * *",
     "Africa/Casablanca",
     "2026-03-21T12:00:00Z",
     "2026-03-22T03:00:00+01:00 2026-03-23T02:30:00+01:00",
     {0}},
    {"0 12 1 8 *", "Africa/Casablanca", "2089-01-01T00:00:00Z", "2089-08-01T12:00:00+01:00", {0}},
    /* three quarters of an hour from its neighbours, never a change */
    {"0 0 * * *",
     "Asia/Kathmandu",
     "2026-03-28T12:00:00Z",
     "2026-03-29T00:00:00+05:45 2026-03-30T00:00:00+05:45",
     {0}},
    /* changes at midnight, by a calendar of its own, until 2022 */
    {"0 0 * * *",
     "Asia/Tehran",
     "2022-03-21T12:00:00Z",
     "2022-03-22T01:00:00+04:30 2022-03-23T00:00:00+04:30",
     {0}},
    {"30 23 * * *",
     "Asia/Tehran",
     "2022-09-21T12:00:00Z",
     "2022-09-21T23:30:00+04:30 2022-09-22T23:30:00+03:30",
     {0}},
    {"0 0 22 3 *", "Asia/Tehran", "2022-12-31T00:00:00Z", "2023-03-22T00:00:00+03:30", {0}},
    /* at one minute past midnight */
    {"30 0 * * *",
     "America/St_Johns",
     "2011-03-12T12:00:00Z",
     "2011-03-13T01:01:00-02:30 2011-03-14T00:30:00-02:30",
     {0}},
    {"0 0 * * *",
     "America/St_Johns",
     "2011-03-12T12:00:00Z",
     "2011-03-13T00:00:00-03:30 2011-03-14T00:00:00-02:30",
     {0}},
    {"30 23 * * *",
     "America/St_Johns",
     "2010-11-06T12:00:00Z",
     "2010-11-06T23:30:00-02:30 2010-11-07T23:30:00-03:30",
     {0}},
    /* a winter that is the exception, and years that no list has */
    {"30 1 * * *",
     "Europe/Dublin",
     "2026-03-28T12:00:00Z",
     "2026-03-29T02:00:00+01:00 2026-03-30T01:30:00+01:00",
     {0}},
    {"0 12 1 1,7 *",
     "Europe/Dublin",
     "2099-12-31T00:00:00Z",
     "2100-01-01T12:00:00+00:00 2100-07-01T12:00:00+01:00",
     {0}},
    {"30 2 * 3 7L",
     "Europe/Berlin",
     "2599-01-01T00:00:00Z",
     "2599-03-31T03:00:00+02:00 2600-03-30T03:00:00+02:00",
     {0}},
    {"0 12 31 12 *", "Europe/Berlin", "9999-12-31T00:00:00Z", "9999-12-31T12:00:00+01:00 never", {0}},
};

static void a_clock_change_loses_nothing_and_repeats_nothing(void **state)
{
    (void)state;
    check_next(changes, COUNT(changes));
}

/* ---- different words, the same sets ---- */

static const struct pair {
    const char *one, *other;
} pairs[] = {
    {"0 0 * * 7", "0 0 * * 0"},
    {"0 0 * * SUN", "0 0 * * 0"},
    {"0 0 * jAn mOn", "0 0 * 1 1"},
    {"0 0 * * 5-7", "0 0 * * 0,5,6"},
    {"0 0 * * 7-2", "0 0 * * 0-2"},
    {"0 0 * * FRI-MON", "0 0 * * 0,1,5,6"},
    {"0 0 * * SAT-SUN", "0 0 * * 0,6"},
    {"0 0 * * 7/2", "0 0 * * 0/2"},
    {"0 0 * * 1-7/2", "0 0 * * 0,1,3,5"},
    {"0 0 * OCT-MAR *", "0 0 * 1-3,10-12 *"},
    {"50-10/10 0 * * *", "50-59/10,0-10/10 0 * * *"},
    {"10/20 0 * * *", "10-59/20 0 * * *"},
    {"*/60 0 * * *", "0/60 0 * * *"},
    {"\t0  0\t* * *  ", "0 0 * * *"},
    {"0,0,0 0 * * *", "0 0 * * *"},
    {"@hourly", "0 * * * *"},
    {"@DAILY", "0 0 * * *"},
    {" @midnight ", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"},
    {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
    {"0 0 ? * ?", "0 0 * * *"},
    {"0 0 lw,l-3,15w * fril,mon#2", "0 0 LW,L-3,15W * FRIL,MON#2"},
};

static bool is_equal(const struct cron *a, const struct cron *b)
{
    return a->kind == b->kind && a->seconds == b->seconds && a->minutes == b->minutes &&
           a->hours == b->hours && a->days == b->days && a->months == b->months &&
           a->weekdays == b->weekdays &&
           memcmp(a->nth_weekdays, b->nth_weekdays, sizeof a->nth_weekdays) == 0 &&
           a->days_before_last == b->days_before_last && a->nearest == b->nearest &&
           a->last_workday == b->last_workday && a->days_open == b->days_open &&
           a->weekdays_open == b->weekdays_open && a->is_fixed == b->is_fixed && a->gap == b->gap &&
           a->overlap == b->overlap;
}

static void one_set_may_be_written_in_many_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct cron one = expression(pairs[i].one, NULL), other = expression(pairs[i].other, NULL);
        if (!is_equal(&one, &other))
            fail_msg("'%s' is not '%s'", pairs[i].one, pairs[i].other);
    }
}

/* ---- H ---- */

static struct cron hashed(const char *text, const char *name)
{
    struct cron cron = {0};
    struct mq_err err = {0};
    if (cron_parse(&cron, slice_of(text), slice_of(name), NULL, &err) != MQ_OK)
        fail_msg("'%s': %s", text, err.text);
    return cron;
}

static bool is_one_of(uint64_t set, int from, int to)
{
    return __builtin_popcountll(set) == 1 && __builtin_ctzll(set) >= from && __builtin_ctzll(set) <= to;
}

static void h_chooses_by_name_within_its_range(void **state)
{
    uint64_t minutes = 0;
    uint32_t days = 0;
    (void)state;
    for (int i = 0; i < 2000; i++) {
        char name[16];
        snprintf(name, sizeof name, "entry-%d", i);
        struct cron c = hashed("H H H H H", name), again = hashed("H H H H H", name);
        assert_true(is_equal(&c, &again));
        assert_true(is_one_of(c.minutes, 0, 59) && is_one_of(c.hours, 0, 23) && is_one_of(c.days, 1, 28) &&
                    is_one_of(c.months, 1, 12) && is_one_of(c.weekdays, 0, 6));
        assert_true(c.is_fixed && !c.days_open);
        minutes |= c.minutes;
        days |= c.days;
        c = hashed("H(10-19) H(1-5) H(29-31) H(6-8) H(1-5)", name);
        assert_true(is_one_of(c.minutes, 10, 19) && is_one_of(c.hours, 1, 5) && is_one_of(c.days, 29, 31) &&
                    is_one_of(c.months, 6, 8) && is_one_of(c.weekdays, 1, 5));
        c = hashed("H/15 H(8-17)/3 * * *", name);
        int first = __builtin_ctzll(c.minutes), hour = __builtin_ctz(c.hours);
        assert_true(first < 15 && c.minutes == 0x0000200040008001ULL << first && !c.is_fixed);
        assert_true(hour >= 8 && hour <= 10 && (c.hours & ~(0x249U << hour)) == 0 && c.hours < 1U << 18);
    }
    assert_true(minutes == (1ULL << 60) - 1); /* 2000 names leave no minute out */
    assert_true(days == 0x1ffffffe);
}

static const struct place {
    const char *name;
    int minute, hour;
} places[] = {{"nightly", 36, 16}, {"report.daily", 32, 5}, {"a", 27, 20}};

/* People have these times in their calendars and in their monitoring: they are for ever. */
static void h_is_the_same_in_every_version(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(places); i++) {
        struct cron c = hashed("H H * * *", places[i].name);
        if (__builtin_ctzll(c.minutes) != places[i].minute || __builtin_ctz(c.hours) != places[i].hour)
            fail_msg("{\"%s\", %d, %d}", places[i].name, __builtin_ctzll(c.minutes), __builtin_ctz(c.hours));
    }
}

/* ---- what is refused ---- */

static const struct refusal {
    const char *text, *says;
} refusals[] = {
    /* out of range */
    {"60 * * * *", "minute, column 1: '60' is out of range (0 to 59)"},
    {"5 25 * * *", "hour, column 3: '25' is out of range (0 to 23)"},
    {"0 0 0 * *", "day of month, column 5: '0' is out of range (1 to 31)"},
    {"0 0 32 * *", "day of month, column 5: '32'"},
    {"0 0 1 0 *", "month, column 7: '0'"},
    {"0 0 1 13 *", "month, column 7: '13'"},
    {"* * * * 8", "weekday, column 9: '8'"},
    {"61 0 0 * * *", "second, column 1: '61'"},
    {"0 0 0 * * * *", "has 7"},
    {"0-4294967296 * * * *", "minute, column 3: '4294967296'"},
    {"99999999999999999999999 * * * *", "minute, column 1: '99999999999999999999999'"},
    {"0 0 0W * *", "column 5: '0'"},
    {"0 0 32W * *", "column 5: '32'"},
    {"0 0 L-31 * *", "day of month, column 7: '31' is out of range (L-1 to L-30)"},
    {"0 0 * * 1#0", "weekday, column 11: '0' is out of range (#1 to #5)"},
    {"0 0 * * 1#6", "weekday, column 11: '6'"},
    {"  0  0  *  *  8", "weekday, column 15: '8'"},
    /* steps */
    {"*/0 * * * *", "minute, column 3: '0' is no step"},
    {"1-5/0 * * * *", "minute, column 5: '0'"},
    {"*/61 * * * *", "minute, column 3: '61' is a longer step"},
    {"* 5-8/5 * * *", "hour, column 7: '5' is a longer step than the 4 values"},
    {"*/ * * * *", "minute, column 3: a value is missing"},
    {"*/-1 * * * *", "minute, column 3: '-1'"},
    {"*/*/2 * * * *", "minute, column 3: '*/2'"},
    /* names */
    {"0 0 * FOO *", "month, column 7: 'FOO' is not understood here (write 1 to 12, or JAN to DEC)"},
    {"0 0 * JANUARY *", "month, column 10: 'UARY'"},
    {"0 0 * * MONDAY", "weekday, column 12: 'DAY'"},
    {"0 0 MON * *", "day of month, column 5: 'MON'"},
    {"0 0 * MON *", "month, column 7: 'MON'"},
    {"JAN 0 * * *", "minute, column 1: 'JAN'"},
    /* what stands where it cannot */
    {"? 0 * * *", "minute, column 1: '?'"},
    {"0 L * * *", "hour, column 3: 'L'"},
    {"0 0 * * L", "weekday, column 9: 'L' needs a weekday before it"},
    {"0 0 5L * *", "day of month, column 6: 'L'"},
    {"0 0 * * 5W", "weekday, column 10: 'W'"},
    {"0 0 1-5W * *", "day of month, column 8: 'W'"},
    {"0 0 * * MON-FRI#2", "weekday, column 16: '#2'"},
    {"0 0 LW-1 * *", "day of month, column 7: '-1'"},
    {"0 0 L-1W * *", "day of month, column 8: 'W'"},
    {"0 0 * * 1#", "weekday, column 11: a value is missing"},
    {"5-1-3 * * * *", "minute, column 4: '-3'"},
    {"1,,2 * * * *", "minute, column 3: a value is missing"},
    {", * * * *", "minute, column 1: a value is missing"},
    {"1, * * * *", "minute, column 3: a value is missing"},
    {"1- * * * *", "minute, column 3: a value is missing"},
    {"-1 * * * *", "minute, column 1: '-1'"},
    {"+1 * * * *", "minute, column 1: '+1'"},
    {"1.5 * * * *", "minute, column 2: '.5'"},
    {"*5 * * * *", "minute, column 2: '5'"},
    {"0x1 * * * *", "minute, column 2: 'x1'"},
    {"0 0 * *\n*", "has 4"}, /* blanks and tabs only */
    {"\xc2\xb2 0 * * *", "minute, column 1"},
    /* H */
    {"H * * * *", "minute, column 1: 'H'"},
    /* how many fields */
    {"0 0 * *", "has 4"},
    {"0 0 1 1 * 2026 x", "has 7"},
    {"", "has 0"},
    {"   ", "has 0"},
    {"nonsense", "has 1"},
    /* short forms */
    {"@evry", "column 1: there is no '@evry'"},
    {"@daily x", "there is no '@daily x'"},
    {"@every", "@every, column 7"},
    {"@every5m", "there is no"},
    {"@every 0s", "@every, column 8: '0s'"},
    {"  @every  5x", "@every, column 11: '5x'"},
    {"@every 1m 2s", "'1m 2s'"},
    {"@", "there is no '@'"},
    /* what can never fire */
    {"0 0 30 2 *", "day of month, column 5: '30' never comes in month '2'"},
    {"0 0 31 4,6,9,11 *", "'31' never comes in month '4,6,9,11'"},
    {"0 0 30W FEB *", "'30W' never comes in month 'FEB'"},
    {"0 0 L-29 2 *", "'L-29' never comes"},
    {"0 0 0 30,31 2 *", "day of month, column 7"},
    {"0 0 */31 2 *", NULL}, /* the first */
    {"0 0 30 2 1", NULL},   /* Mondays */
};

static void what_cannot_be_is_refused_with_field_and_column(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        struct mq_err err = {0};
        struct cron cron = {.months = 42};
        enum mq_code code = cron_parse(&cron, slice_of(refusals[i].text), SLICE_EMPTY, NULL, &err);
        if (!refusals[i].says) {
            if (code != MQ_OK)
                fail_msg("'%s': %s", refusals[i].text, err.text);
            continue;
        }
        if (code != MQ_BADARG)
            fail_msg("'%s' was taken", refusals[i].text);
        assert_int_equal(cron.months, 42);
        if (!strstr(err.text, refusals[i].says))
            fail_msg("'%s': %s\n   not: %s", refusals[i].text, err.text, refusals[i].says);
    }
}

static const struct {
    const char *text, *says;
} ranges_of_h[] = {
    {"H(5-1) * * * *", "minute, column 3: '5-1' is no range for H"},
    {"0 H(0-24) * * *", "hour, column 7: '24'"},
    {"H(0-60) * * * *", "minute, column 5: '60'"},
    {"H(5) * * * *", "minute, column 4: ')'"},
    {"H(0-5 * * * *", "minute, column 6"},
    {"H( * * * *", "minute, column 3: a value is missing"},
    {"H/0 * * * *", "minute, column 3: '0' is no step"},
    {"H/61 * * * *", "minute, column 3: '61' is a longer step"},
    {"0 0 H/29 * *", "day of month, column 7: '29' is a longer step than the 28 values"},
    {"H5 * * * *", "minute, column 2: '5'"},
    {"H-5 * * * *", "minute, column 2: '-5'"},
};

static void a_range_of_h_that_cannot_be_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(ranges_of_h); i++) {
        struct mq_err err = {0};
        struct cron cron;
        if (cron_parse(&cron, slice_of(ranges_of_h[i].text), SLICE("x"), NULL, &err) != MQ_BADARG)
            fail_msg("'%s' was taken", ranges_of_h[i].text);
        if (!strstr(err.text, ranges_of_h[i].says))
            fail_msg("'%s': %s\n   not: %s", ranges_of_h[i].text, err.text, ranges_of_h[i].says);
    }
}

static void an_expression_has_an_end(void **state)
{
    char text[CRON_TEXT_MAX + 2];
    struct cron cron;
    struct mq_err err = {0};
    (void)state;
    memset(text, ' ', sizeof text);
    memcpy(text, "* * * * *", 9);
    assert_int_equal(cron_parse(&cron, (struct slice){text, CRON_TEXT_MAX}, SLICE_EMPTY, NULL, &err), MQ_OK);
    assert_int_equal(cron_parse(&cron, (struct slice){text, CRON_TEXT_MAX + 1}, SLICE_EMPTY, NULL, &err),
                     MQ_BADARG);
    assert_non_null(strstr(err.text, "too long"));
    /* NUL is a character like others, and no end */
    assert_int_equal(cron_parse(&cron, (struct slice){"* * * * *\0", 10}, SLICE_EMPTY, NULL, &err),
                     MQ_BADARG);
    assert_int_equal(cron_parse(&cron, (struct slice){"* * * *\0*", 9}, SLICE_EMPTY, NULL, &err), MQ_BADARG);
    /* a slice need not end in NUL */
    assert_int_equal(cron_parse(&cron, (struct slice){"5 * * * *9", 9}, SLICE_EMPTY, NULL, &err), MQ_OK);
}

/* ---- for people ---- */

static const struct sentence {
    const char *text, *says;
} sentences[] = {
    {"* * * * *", "every minute"},
    {"*/15 * * * *", "every 15 minutes"},
    {"5/15 * * * *", "every 15 minutes from minute 5"},
    {"*/15 9-17 * * MON-FRI", "every 15 minutes, in hours 9 to 17, on Monday to Friday"},
    {"0 9 * * *", "at 09:00 every day"},
    {"0 9,17 * * 1-5", "at 09:00 and 17:00, on Monday to Friday"},
    {"0 9 * * 0,6", "at 09:00, on Saturday and Sunday"},
    {"5 * * * *", "at minute 5 of every hour"},
    {"5,35 * * * *", "every 30 minutes from minute 5"},
    {"5,30 * * * *", "at minutes 5 and 30 of every hour"},
    {"0 */2 * * *", "at minute 0 of every 2nd hour of the day"},
    {"0 1/6 * * *", "at minute 0 of every 6th hour of the day from hour 1"},
    {"*/7 * * * *", "every 7 minutes, anew in each hour"},
    {"*/7 */5 * * *", "every 7 minutes, anew in each hour, in every 5th hour of the day"},
    {"*/25 * * * * *", "every 25 seconds, anew in each minute"},
    {"0 8-18 * * *", "at minute 0, in hours 8 to 18"},
    {"* * * * * *", "every second"},
    {"*/10 * * * * *", "every 10 seconds"},
    {"30 * * * * *", "at second 30 of every minute"},
    {"30 0 9 * * *", "at 09:00:30 every day"},
    {"*/10 0 9 * * *", "every 10 seconds, at minute 0, in hour 9"},
    {"0 0 1 * *", "at 00:00, on day 1 of the month"},
    {"0 0 1,15 * *", "at 00:00, on days 1 and 15 of the month"},
    {"0 0 1-7,L * *", "at 00:00, on days 1 to 7 of the month or on the last day of the month"},
    {"0 0 L-3 * *", "at 00:00, on the day 3 days before the last day of the month"},
    {"0 0 LW * *", "at 00:00, on the last day from Monday to Friday of the month"},
    {"0 0 15W * *", "at 00:00, on the day from Monday to Friday nearest to day 15 of the month"},
    {"0 0 * * FRI#2", "at 00:00, on the 2nd Friday of the month"},
    {"0 0 * * 5L", "at 00:00, on the last Friday of the month"},
    {"0 0 13 * 5", "at 00:00, on day 13 of the month or on Friday"},
    {"0 0 */2 * 1", "at 00:00, on every 2nd day of the month from day 1, but only if also on Monday"},
    {"0 0 1 1 *", "at 00:00, on day 1 of the month in January"},
    {"0 0 * 6-8 *", "at 00:00 every day in June to August"},
    {"0 0 1-31 * 1", "at 00:00 every day"}, /* either, and one names all */
    {"@every 90s", "every 90s"},
    {"@every 1.5h", "every 90m"},
    {"@reboot", "at each start of the server"},
};

static void an_expression_can_be_told_in_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(sentences); i++) {
        struct cron cron = expression(sentences[i].text, NULL);
        struct buf said = BUF_INIT;
        cron_explain(&cron, &said);
        buf_u8(&said, 0);
        if (strcmp(buf_bytes(&said).at, sentences[i].says) != 0)
            fail_msg("'%s': %s\n     not: %s", sentences[i].text, buf_bytes(&said).at, sentences[i].says);
        buf_release(&said);
    }
}

static void what_happens_when_clocks_change_is_told_too(void **state)
{
    struct buf said = BUF_INIT;
    struct cron fixed = expression("0 2 * * *", NULL), interval = expression("0 * * * *", NULL),
                every = expression("@every 5m", NULL);
    (void)state;
    cron_explain_changes(&every, &said);
    assert_int_equal(buf_len(&said), 0);
    cron_explain_changes(&fixed, &said);
    buf_u8(&said, 0);
    assert_non_null(strstr(buf_bytes(&said).at, "skipped fires at the first moment after the gap"));
    assert_non_null(strstr(buf_bytes(&said).at, "first pass only"));
    buf_clear(&said);
    cron_explain_changes(&interval, &said);
    buf_u8(&said, 0);
    assert_non_null(strstr(buf_bytes(&said).at, "skipped does not fire"));
    assert_non_null(strstr(buf_bytes(&said).at, "both passes"));
    buf_release(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_moment_is_strictly_later),
        cmocka_unit_test(days_are_those_of_the_calendar),
        cmocka_unit_test(a_clock_change_loses_nothing_and_repeats_nothing),
        cmocka_unit_test(one_set_may_be_written_in_many_ways),
        cmocka_unit_test(h_chooses_by_name_within_its_range),
        cmocka_unit_test(h_is_the_same_in_every_version),
        cmocka_unit_test(what_cannot_be_is_refused_with_field_and_column),
        cmocka_unit_test(a_range_of_h_that_cannot_be_is_refused),
        cmocka_unit_test(an_expression_has_an_end),
        cmocka_unit_test(an_expression_can_be_told_in_a_sentence),
        cmocka_unit_test(what_happens_when_clocks_change_is_told_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
