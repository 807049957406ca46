/* The table tests of cron expressions. What they are compared with minute by minute: test_cron_walk.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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
    {"0 0 29 2 *",
     "UTC",
     "2026-01-01T00:00:00Z",
     "2028-02-29T00:00:00+00:00",
     {0}}, /* waits for the leap year */
    {"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00+00:00", {0}}, /* 2100 has none */
    {"59 23 31 12 *", "UTC", "9999-12-31T23:59:00Z", NEVER, {0}},
    {"@reboot", "UTC", "2026-01-01T00:00:00Z", NEVER, {0}},
    {"@every 90s", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30+00:00 2026-01-01T00:03:00+00:00", {0}},
    {"*/20 58-59 23 31 12 *",
     "UTC",
     "2026-12-31T23:59:20Z",
     "2026-12-31T23:59:40+00:00 2027-12-31T23:58:00+00:00",
     {0}},
};

static void the_next_moment_is_strictly_later(void **state)
{
    (void)state;
    check_next(plain, COUNT(plain));
}

static const struct next changes[] = {
    /* a fixed time in the gap: once, at the first moment after it */
    {"30 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     "2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00",
     {0}},
    /* and in the overlap: at its first pass */
    {"30 2 * * *",
     "Europe/Berlin",
     "2026-10-24T12:00:00Z",
     "2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00",
     {0}},
    /* wildcards and steps follow real time */
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
    /* the choices of an entry */
    {"30 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     "2026-03-30T02:30:00+02:00",
     {.gap = CRON_GAP_SKIP}},
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
    /* the gap at midnight does not lose the day */
    {"0 0 * * *",
     "America/Sao_Paulo",
     "2018-11-03T12:00:00Z",
     "2018-11-04T01:00:00-02:00 2018-11-05T00:00:00-02:00",
     {0}},
    /* a day that was not there */
    {"0 9 * * *",
     "Pacific/Apia",
     "2011-12-29T12:00:00Z",
     "2011-12-29T09:00:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T09:00:00+14:00",
     {0}},
    /* half an hour */
    {"15 2 * * *",
     "Australia/Lord_Howe",
     "2026-10-03T00:00:00Z",
     "2026-10-04T02:30:00+11:00 2026-10-05T02:15:00+11:00",
     {0}},
};

static void a_clock_change_loses_nothing_and_repeats_nothing(void **state)
{
    (void)state;
    check_next(changes, COUNT(changes));
}

/* ---- what is refused ---- */

static const struct refusal {
    const char *text, *says;
} refusals[] = {
    {"0 0 30 2 *", "day of month, column 5: '30'"},
    {"0 0 31 4,6,9,11 *", "never"},
    {"*/0 * * * *", "minute, column 3: '0'"},
    {"5 25 * * *", "hour, column 3: '25'"},
    {"* * * * 8", "weekday, column 9: '8'"},
    {"0 0 * FOO *", "month, column 7: 'FOO'"},
    {"0 0 * *", "five fields"},
    {"0 0 0 1 1 * 2026", "five fields"},
    {"", "five fields"},
    {"@evry", "@every"},
    {"@every", "@every, column 7"},
    {"@every 0s", "@every, column 8: '0s'"},
};

static void what_cannot_be_is_refused_with_field_and_column(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        struct mq_err err = {0};
        struct cron cron = {.months = 42};
        if (cron_parse(&cron, slice_of(refusals[i].text), SLICE_EMPTY, NULL, &err) != MQ_BADARG)
            fail_msg("'%s' was taken", refusals[i].text);
        assert_int_equal(cron.months, 42);
        if (!strstr(err.text, refusals[i].says))
            fail_msg("'%s': %s", refusals[i].text, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_moment_is_strictly_later),
        cmocka_unit_test(a_clock_change_loses_nothing_and_repeats_nothing),
        cmocka_unit_test(what_cannot_be_is_refused_with_field_and_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
