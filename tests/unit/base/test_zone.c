#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/civil.h"
#include "base/zone.h"

#define COUNT(table) (sizeof(table) / sizeof *(table))

static struct zone *zone_of(const char *name)
{
    struct zone *zone = NULL;
    struct mq_err err = {0};
    if (zone_open(&zone, slice_of(name), &err) != MQ_OK)
        fail_msg("%s", err.text);
    return zone;
}

static wall_ms moment(const char *text)
{
    wall_ms at = 0;
    struct mq_err err = {0};
    if (time_parse(&at, slice_of(text), &err) != MQ_OK)
        fail_msg("%s", err.text);
    return at;
}

/* ---- names ---- */

static const char *const no_zones[] = {
    "",
    "Europe/Berlim",
    "europe/berlin", /* the file system's case counts: one name, one zone */
    "Europe",        /* a folder */
    "Europe/",
    "zone.tab", /* a file that is no zone */
    "tzdata.zi",
    "+02:00", /* GTimeZone knows these, IANA does not */
    "Z",
    "UTC+3",
    "CET-1CEST",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    ":Europe/Berlin",
    "/usr/share/zoneinfo/Europe/Berlin",
    "../zoneinfo/Europe/Berlin",
    "Europe/../Europe/Berlin",
    "right/Europe/Berlin", /* counts leap seconds */
    "Europe/Berlin ",
    "Europe/Berlin\n",
    "Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

static void what_is_no_zone_is_refused_by_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(no_zones); i++) {
        struct mq_err err = {0};
        struct zone *zone = (struct zone *)&err;
        if (zone_open(&zone, slice_of(no_zones[i]), &err) != MQ_BADARG)
            fail_msg("'%s' was taken", no_zones[i]);
        assert_ptr_equal(zone, &err);
        assert_non_null(strstr(err.text, "is not a time zone"));
        if (strlen(no_zones[i]) < 40)
            assert_non_null(strstr(err.text, no_zones[i]));
    }
    struct mq_err err = {0};
    struct zone *zone = NULL;
    assert_int_equal(zone_open(&zone, (struct slice){"UTC\0", 4}, &err), MQ_BADARG);
}

static void zones_of_one_name_are_shared(void **state)
{
    (void)state;
    struct zone *one = zone_of("Europe/Berlin"), *two = zone_of("Europe/Berlin"),
                *other = zone_of("Europe/Rome");
    assert_ptr_equal(one, two);
    assert_ptr_not_equal(one, other);
    assert_string_equal(zone_name(one), "Europe/Berlin");
    assert_string_equal(zone_name(NULL), "UTC");
    zone_close(one);
    assert_int_equal(zone_span(two, moment("2026-07-01T00:00:00Z")).offset_s, 7200);
    zone_close(two);
    zone_close(other);
    zone_close(NULL);
}

/* ---- offsets ---- */

static const struct row {
    const char *zone, *at, *shown;
} rows[] = {
    {"UTC", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00+00:00"},
    {"Etc/UTC", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00+00:00"},
    {"Europe/Berlin", "2026-03-29T00:59:59.999Z", "2026-03-29T01:59:59.999+01:00"},
    {"Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00"},
    {"Europe/Berlin", "2026-10-25T00:59:59Z", "2026-10-25T02:59:59+02:00"},
    {"Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00+01:00"},
    {"Europe/Berlin", "1969-12-31T23:59:59.250Z", "1970-01-01T00:59:59.250+01:00"},
    {"Europe/Berlin", "1800-01-01T00:00:00Z", "1800-01-01T00:53:28+00:53:28"}, /* by the sun */
    {"Asia/Kathmandu", "2026-01-01T00:00:00Z", "2026-01-01T05:45:00+05:45"},
    {"America/St_Johns", "2026-01-01T00:00:00Z", "2025-12-31T20:30:00-03:30"},
    {"Australia/Lord_Howe", "2026-01-01T00:00:00Z", "2026-01-01T11:00:00+11:00"},
    {"Australia/Lord_Howe", "2026-07-01T00:00:00Z", "2026-07-01T10:30:00+10:30"},
    {"Etc/GMT+5", "2026-07-01T00:00:00Z", "2026-06-30T19:00:00-05:00"}, /* POSIX' sign, as ever */
    {"EST5EDT", "1970-03-15T12:00:00Z",
     "1970-03-15T07:00:00-05:00"}, /* the file; by its rule of today it were summer */
    /* years that no file lists */
    {"Europe/Berlin", "2127-07-01T00:00:00Z", "2127-07-01T02:00:00+02:00"},
    {"Europe/Berlin", "2128-12-31T00:00:00Z", "2128-12-31T01:00:00+01:00"},
    {"Europe/Berlin", "2129-07-01T00:00:00Z", "2129-07-01T02:00:00+02:00"},
    {"Europe/Berlin", "2200-03-30T00:59:59Z", "2200-03-30T01:59:59+01:00"}, /* its last Sunday of March */
    {"Europe/Berlin", "2200-03-30T01:00:00Z", "2200-03-30T03:00:00+02:00"},
    {"Europe/Berlin", "9999-12-31T22:59:59Z", "9999-12-31T23:59:59+01:00"},
    {"America/New_York", "2400-07-01T00:00:00Z", "2400-06-30T20:00:00-04:00"},
    {"Europe/Dublin", "2037-12-01T00:00:00Z", "2037-12-01T00:00:00+00:00"},
    {"Europe/Dublin", "2038-12-01T00:00:00Z",
     "2038-12-01T00:00:00+00:00"}, /* where GTimeZone alone says +02:00 */
    {"Europe/Dublin", "2100-07-01T00:00:00Z", "2100-07-01T01:00:00+01:00"},
    {"Africa/Casablanca", "2087-05-01T00:00:00Z",
     "2087-05-01T00:00:00+00:00"}, /* the last Ramadan that is listed */
    {"Africa/Casablanca", "2100-01-01T00:00:00Z", "2100-01-01T01:00:00+01:00"},
    {"America/Nuuk", "2100-07-01T00:00:00Z",
     "2100-06-30T23:00:00-01:00"}, /* a rule with a time before midnight */
};

static void offsets_are_those_of_the_database_and_its_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[TIME_TEXT_BYTES];
        struct zone *zone = zone_of(rows[i].zone);
        zone_format(text, zone, moment(rows[i].at));
        if (strcmp(text, rows[i].shown) != 0)
            fail_msg("%s in %s: %s, not %s", rows[i].at, rows[i].zone, text, rows[i].shown);
        zone_close(zone);
    }
}

static void spans_lie_side_by_side(void **state)
{
    static const char *const names[] = {"UTC",
                                        "Europe/Berlin",
                                        "Europe/Dublin",
                                        "Pacific/Apia",
                                        "Asia/Kathmandu",
                                        "Africa/Casablanca",
                                        "Australia/Lord_Howe"};
    const wall_ms end = moment("2300-01-01T00:00:00Z");
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        struct zone *zone = zone_of(names[i]);
        struct zone_span span = zone_span(zone, INT64_MIN);
        assert_true(span.start == INT64_MIN);
        while (span.end != WALL_NEVER && span.end < end) {
            struct zone_span next = zone_span(zone, span.end), same = zone_span(zone, next.end - 1);
            struct zone_span last = zone_span(zone, span.end - 1);
            assert_true(next.start == span.end && next.end > next.start);
            assert_true(same.start == next.start && same.end == next.end && same.offset_s == next.offset_s);
            assert_true(last.end == span.end && last.offset_s == span.offset_s);
            span = next;
        }
        zone_close(zone);
    }
}

/* ---- a new database ---- */

static void copy(const char *from, const char *to)
{
    char bytes[8192], whole[512], part[512];
    snprintf(whole, sizeof whole, "/usr/share/zoneinfo/%s", from);
    snprintf(part, sizeof part, "%s.new", to);
    FILE *in = fopen(whole, "rb"), *out = fopen(part, "wb");
    if (!in || !out)
        fail_msg("%s, %s", whole, part);
    fwrite(bytes, 1, fread(bytes, 1, sizeof bytes, in), out);
    fclose(in);
    fclose(out);
    assert_int_equal(rename(part, to), 0); /* as packages are installed */
}

static void a_new_database_counts_for_what_is_opened_next(void **state)
{
    char folder[] = "/tmp/moonq-zone-XXXXXX", path[64];
    const wall_ms at = moment("2026-01-01T00:00:00Z");
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/Here", folder);
    setenv("TZDIR", folder, 1);
    copy("Europe/Berlin", path);
    struct zone *old = zone_of("Here");
    copy("America/New_York", path);
    struct zone *new = zone_of("Here"), *again = zone_of("Here");
    assert_ptr_equal(new, again);
    assert_int_equal(zone_span(old, at).offset_s, 3600);
    assert_int_equal(zone_span(new, at).offset_s, -18000);
    zone_close(old);
    zone_close(new);
    assert_int_equal(zone_span(again, at).offset_s, -18000);
    unlink(path);
    struct mq_err err;
    assert_int_equal(zone_open(&new, SLICE("Here"), &err), MQ_BADARG);
    assert_int_equal(zone_open(&new, SLICE("UTC"), &err), MQ_OK); /* needs no database */
    zone_close(new);
    zone_close(again);
    rmdir(folder);
    unsetenv("TZDIR");
}

/* ---- the calendar ---- */

static void days_and_dates_are_each_other_s_inverse(void **state)
{
    struct civil before = civil_of_days(civil_days(-1, 12, 31));
    (void)state;
    for (int64_t day = civil_days(0, 1, 1); day < civil_days(2500, 1, 1); day++) {
        struct civil date = civil_of_days(day);
        assert_true(civil_days(date.year, date.month, date.day) == day);
        if (date.day == 1)
            assert_true(before.day == civil_month_days(before.year, before.month));
        else
            assert_true(date.day == before.day + 1 && date.month == before.month && date.year == before.year);
        before = date;
    }
    assert_int_equal(civil_weekday(civil_days(2026, 11, 27)), 5);
    assert_int_equal(civil_weekday(civil_days(1969, 12, 31)), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_zone_is_refused_by_its_name),
        cmocka_unit_test(zones_of_one_name_are_shared),
        cmocka_unit_test(offsets_are_those_of_the_database_and_its_rules),
        cmocka_unit_test(spans_lie_side_by_side),
        cmocka_unit_test(a_new_database_counts_for_what_is_opened_next),
        cmocka_unit_test(days_and_dates_are_each_other_s_inverse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
