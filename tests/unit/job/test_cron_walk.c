/*
 * Cron against a slow and obvious reference: it walks every minute (every second for six fields), asks GLib for the offset
 * of each, and reads the expression's text anew for every value. It shares no code with what it checks.
 *
 * Random expressions in ten zones, 2011 to 2040. The short round walks around every clock change of these years and
 * through some weeks in between; the long one, `make cron-long`, every minute of the thirty years:
 *     CRON_ROUNDS  so many sets of expressions a zone, each walked through all years; 0 is the short round
 *     CRON_SEED    another seed, another set
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <glib.h>

#include "job/cron.h"

#define DAY_S    86400LL
#define BEGIN_S  1293840000LL /* 2011-01-01 */
#define END_S    2240611200LL /* 2041-01-01 */
#define SET_MAX  40           /* expressions walked at once */
#define TEXT_MAX 200

static const char *const zones[] = {"Europe/Berlin",     "America/New_York",    "America/Sao_Paulo",
                                    "Asia/Kathmandu",    "Australia/Lord_Howe", "Pacific/Apia",
                                    "Africa/Casablanca", "Asia/Tehran",         "UTC",
                                    "America/St_Johns"};
enum {
    ZONE_COUNT = sizeof zones / sizeof *zones
};

/* ---- chance ---- */

static uint64_t chance_state;

static uint32_t chance(uint32_t below)
{
    chance_state = chance_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)((chance_state >> 33) % below);
}

/* ---- the reference: what an expression says ---- */

enum {
    SECOND,
    MINUTE,
    HOUR,
    DAY,
    MONTH,
    WEEKDAY,
    FIELDS
};
static const int least[FIELDS] = {0, 0, 0, 1, 1, 0}, most[FIELDS] = {59, 59, 23, 31, 12, 6};
static const char *const months[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                     "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
static const char *const weekdays[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

/* A moment on a clock on the wall. */
struct look {
    int value[FIELDS];
    int last; /* day of this month */
};

static struct look look_at(int64_t local_s)
{
    struct look look;
    GDateTime *t = g_date_time_new_from_unix_utc(local_s);
    look.value[SECOND] = g_date_time_get_second(t);
    look.value[MINUTE] = g_date_time_get_minute(t);
    look.value[HOUR] = g_date_time_get_hour(t);
    look.value[DAY] = g_date_time_get_day_of_month(t);
    look.value[MONTH] = g_date_time_get_month(t);
    look.value[WEEKDAY] = g_date_time_get_day_of_week(t) % 7;
    look.last = g_date_get_days_in_month((GDateMonth)look.value[MONTH], (GDateYear)g_date_time_get_year(t));
    g_date_time_unref(t);
    return look;
}

static int weekday_of(const struct look *look, int day)
{
    return ((look->value[WEEKDAY] + day - look->value[DAY]) % 7 + 7) % 7;
}

static bool is_workday(const struct look *look, int day)
{
    int weekday = weekday_of(look, day);
    return day >= 1 && day <= look->last && weekday >= 1 && weekday <= 5;
}

/* A number or a name, off the front. */
static int word(const char **text, int field)
{
    const char *const *names = field == MONTH ? months : weekdays;
    int count = field == MONTH ? 12 : field == WEEKDAY ? 7 : 0;
    for (int i = 0; i < count; i++)
        if (g_ascii_strncasecmp(*text, names[i], 3) == 0) {
            *text += 3;
            return least[field] + i;
        }
    return (int)strtol(*text, (char **)text, 10);
}

/* Does the item, text up to a comma or the end, name the value that the look has in that field? */
static bool item_names(const char *item, int field, const struct look *look)
{
    int value = look->value[field], from, to, step = 1, day;
    if (*item == '?')
        return true;
    if (field == DAY && strcmp(item, "LW") == 0) {
        for (day = look->last; !is_workday(look, day); day--)
            ;
        return value == day;
    }
    if (field == DAY && *item == 'L')
        return value == look->last - (item[1] == '-' ? atoi(item + 2) : 0);
    if (*item == '*') {
        from = least[field];
        to = most[field];
        item++;
    } else {
        from = to = word(&item, field);
        if (field == DAY && *item == 'W') {
            static const int tries[] = {0, -1, 1, -2, 2};
            for (int i = 0; from <= look->last && i < 5; i++)
                if (is_workday(look, from + tries[i]))
                    return value == from + tries[i];
            return false;
        }
        if (field == WEEKDAY && *item == 'L')
            return value == from % 7 && look->value[DAY] + 7 > look->last;
        if (field == WEEKDAY && *item == '#')
            return value == from % 7 && (look->value[DAY] - 1) / 7 + 1 == atoi(item + 1);
        if (*item == '/') {
            to = most[field];
            from = field == WEEKDAY ? from % 7 : from;
        }
    }
    if (*item == '-') {
        item++;
        to = word(&item, field);
        if (to < from && field == WEEKDAY && from == 7)
            from = 0;
    }
    if (*item == '/')
        step = atoi(item + 1);
    int size = most[field] - least[field] + 1;
    for (int at = from; at <= (to < from ? to + size : to); at += step)
        if ((at - least[field]) % size + least[field] == value)
            return true;
    return false;
}

static bool field_names(const char *text, int field, const struct look *look)
{
    char copy[TEXT_MAX], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *item = strtok_r(copy, ",", &rest); item; item = strtok_r(NULL, ",", &rest))
        if (item_names(item, field, look))
            return true;
    return false;
}

struct subject {
    char text[TEXT_MAX], field[FIELDS][TEXT_MAX / FIELDS];
    struct cron_options options;
    bool has_seconds;
    struct cron cron; /* what is checked */
    /* What field_names says of each value, asked once; the day is asked anew when it changes. */
    bool names[FIELDS][60];
    bool gap_fires, first_pass, second_pass;
    int64_t day_asked;
    bool day_named;
    wall_ms expected; /* by cron_next */
};

static bool day_is_named(const struct subject *s, const struct look *look)
{
    bool day = field_names(s->field[DAY], DAY, look), weekday = field_names(s->field[WEEKDAY], WEEKDAY, look);
    bool both_given = !strchr("*?", s->field[DAY][0]) && !strchr("*?", s->field[WEEKDAY][0]);
    if (!field_names(s->field[MONTH], MONTH, look))
        return false;
    return both_given && s->options.days == CRON_DAYS_EITHER ? day || weekday : day && weekday;
}

static bool is_named(struct subject *s, int64_t local_s)
{
    int64_t day = (local_s >= 0 ? local_s : local_s - DAY_S + 1) / DAY_S, in_day = local_s - day * DAY_S;
    if (!s->names[HOUR][in_day / 3600] || !s->names[MINUTE][in_day / 60 % 60] ||
        !s->names[SECOND][in_day % 60])
        return false;
    if (day != s->day_asked) {
        struct look look = look_at(local_s);
        s->day_asked = day;
        s->day_named = day_is_named(s, &look);
    }
    return s->day_named;
}

static bool names_all(const struct subject *s, int field)
{
    for (int value = least[field]; value <= most[field]; value++)
        if (!s->names[field][value])
            return false;
    return true;
}

/* What the rule for clock changes says of this entry. */
static void ask(struct subject *s)
{
    struct look look = {{0}, 31};
    for (int field = SECOND; field <= HOUR; field++)
        for (int value = 0; value <= most[field]; value++) {
            look.value[field] = value;
            s->names[field][value] =
                field == SECOND && !s->has_seconds ? value == 0 : field_names(s->field[field], field, &look);
        }
    bool fixed = !strpbrk(s->field[MINUTE], "*/") && !strpbrk(s->field[HOUR], "*/") &&
                 !names_all(s, MINUTE) && !names_all(s, HOUR);
    s->gap_fires = s->options.gap == CRON_GAP_BY_FIELDS ? fixed : s->options.gap == CRON_GAP_FIRE;
    s->first_pass = s->options.overlap != CRON_OVERLAP_SECOND;
    s->second_pass =
        s->options.overlap == CRON_OVERLAP_BY_FIELDS ? !fixed : s->options.overlap != CRON_OVERLAP_FIRST;
    s->day_asked = INT64_MIN;
}

/* Is there any day, in 28 years, among which are years of all kinds? */
static bool can_fire(struct subject *s)
{
    static struct look days[28 * 366];
    enum {
        COUNT = sizeof days / sizeof *days
    };
    for (int64_t i = 0; !days[0].last && i < COUNT; i++)
        days[COUNT - 1 - i] = look_at(12784 * DAY_S + i * DAY_S); /* from 2005 */
    for (int i = 0; i < COUNT; i++)
        if (day_is_named(s, &days[i]))
            return true;
    return false;
}

/* ---- the reference: when ---- */

struct clock {
    GTimeZone *zone;
};

static int64_t local_of(const struct clock *clock, int64_t at_s)
{
    gint interval = g_time_zone_find_interval(clock->zone, G_TIME_TYPE_UNIVERSAL, at_s);
    return at_s + g_time_zone_get_offset(clock->zone, interval);
}

/* ---- random expressions ---- */

static int value_in(int field)
{
    if (field == WEEKDAY && chance(6) == 0)
        return 7;
    return least[field] + (int)chance((uint32_t)(most[field] - least[field] + 1));
}

static void add_value(char *out, int field, int value)
{
    char *end = out + strlen(out);
    if (field == MONTH && chance(2))
        sprintf(end, "%s", months[value - 1]);
    else if (field == WEEKDAY && value < 7 && chance(2))
        sprintf(end, "%s", weekdays[value]);
    else
        sprintf(end, "%d", value);
    for (; *end; end++)
        if (chance(3) == 0 && !strchr("LW", *end))
            *end = g_ascii_tolower(*end);
}

static void add_item(char *out, int field)
{
    int size = most[field] - least[field] + 1, from = value_in(field), to = value_in(field);
    uint32_t kind = chance(field == DAY || field == WEEKDAY ? 9 : 6);
    char *end;
    if (kind == 0 || (kind == 5 && chance(2))) {
        sprintf(out + strlen(out), "*/%d", 1 + (int)chance((uint32_t)size));
    } else if (kind <= 2) {
        add_value(out, field, from);
        strcat(out, "-");
        add_value(out, field, to);
        if (kind == 2)
            sprintf(out + strlen(out), "/%d", 1 + (int)chance(3));
    } else if (kind <= 5) {
        add_value(out, field, from);
        if (kind == 5 && from < most[field] / 2)
            sprintf(out + strlen(out), "/%d", 1 + (int)chance((uint32_t)(most[field] / 2)));
    } else if (field == DAY) {
        end = out + strlen(out);
        if (kind == 6)
            strcpy(end, "L");
        else if (kind == 7)
            sprintf(end, chance(2) ? "LW" : "%dW", from);
        else
            sprintf(end, "L-%d", (int)chance(31));
    } else {
        add_value(out, field, from);
        if (kind == 6)
            strcat(out, "L");
        else
            sprintf(out + strlen(out), "#%d", 1 + (int)chance(5));
    }
}

/* How often a field is *: rare fields make expressions that never come in the years that are walked. */
static void add_field(char *out, int field)
{
    static const uint32_t open[FIELDS] = {8, 3, 3, 2, 2, 2}; /* one in so many */
    uint32_t count = chance(4) ? 1 : 2 + chance(2);
    if (chance(open[field]) == 0) {
        strcpy(out, (field == DAY || field == WEEKDAY) && chance(3) == 0 ? "?" : "*");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            strcat(out, ",");
        add_item(out, field);
    }
}

static void write_text(struct subject *s)
{
    s->text[0] = '\0';
    for (int field = s->has_seconds ? SECOND : MINUTE; field < FIELDS; field++)
        sprintf(s->text + strlen(s->text), "%s%s", s->text[0] ? " " : "", s->field[field]);
}

/* A random expression that both understand. What can never fire must be refused, and nothing else. */
static void invent(struct subject *s, bool has_seconds)
{
    struct mq_err err = {0};
    for (;;) {
        memset(s, 0, sizeof *s);
        s->has_seconds = has_seconds;
        for (int field = has_seconds ? SECOND : MINUTE; field < FIELDS; field++)
            add_field(s->field[field], field);
        write_text(s);
        if (chance(3) == 0)
            s->options = (struct cron_options){chance(2), chance(3), chance(4)};
        ask(s);
        enum mq_code code = cron_parse(&s->cron, slice_of(s->text), SLICE_EMPTY, &s->options, &err);
        bool wide_step = code == MQ_BADARG && strstr(err.text, "longer step");
        if (wide_step)
            continue;
        if ((code == MQ_OK) != can_fire(s))
            fail_msg("'%s' %s: %s", s->text, code == MQ_OK ? "was taken" : "was refused", err.text);
        if (code == MQ_OK)
            return;
    }
}

/* ---- walking ---- */

static void differ(const struct subject *s, const struct zone *zone, wall_ms seen, wall_ms from)
{
    char a[TIME_TEXT_BYTES], b[TIME_TEXT_BYTES] = "never", c[TIME_TEXT_BYTES];
    zone_format(a, zone, seen);
    zone_format(c, zone, from);
    if (s->expected != WALL_NEVER)
        zone_format(b, zone, s->expected);
    fail_msg("'%s' in %s (days %d, gap %d, overlap %d), after %s:\n    %s by the reference, %s by cron_next",
             s->text, zone_name(zone), s->options.days, s->options.gap, s->options.overlap, c, a, b);
}

/* From anywhere between two moments the next one is the same. */
static void check_from_between(const struct subject *s, const struct zone *zone, wall_ms at)
{
    wall_ms next = cron_next(&s->cron, zone, at);
    if (next != s->expected)
        differ(s, zone, next, at);
}

/* What the clock on the wall shows in each unit of a stretch, and whether it will show that again. */
struct stretch {
    int64_t count, *local_s;
    bool *comes_again;
};

static struct stretch look_through(const char *zone, int64_t from_s, int64_t until_s, int64_t unit_s)
{
    struct clock clock = {g_time_zone_new_identifier(zone)};
    struct stretch s = {.count = (until_s - from_s) / unit_s};
    int64_t lowest_s = INT64_MAX;
    s.local_s = g_new(int64_t, (gsize)s.count);
    s.comes_again = g_new(bool, (gsize)s.count);
    for (int64_t i = s.count - 1; i >= 0; i--) {
        s.local_s[i] = local_of(&clock, from_s + i * unit_s);
        s.comes_again[i] = s.local_s[i] >= lowest_s;
        lowest_s = s.local_s[i] < lowest_s ? s.local_s[i] : lowest_s;
    }
    g_time_zone_unref(clock.zone);
    return s;
}

static void walk(struct subject *set, int count, const char *zone_text, int64_t from_s, int64_t until_s,
                 int64_t unit_s)
{
    int64_t early_s = from_s - 2 * DAY_S, reached_s = INT64_MIN;
    struct stretch wall = look_through(zone_text, early_s, until_s + 2 * DAY_S, unit_s);
    struct zone *zone = NULL;
    struct mq_err err = {0};
    assert_int_equal(zone_open(&zone, slice_of(zone_text), &err), MQ_OK);
    for (int i = 0; i < count; i++)
        set[i].expected = cron_next(&set[i].cron, zone, from_s * 1000 - 1);
    for (int64_t at_s = early_s; at_s < until_s; at_s += unit_s) {
        int64_t unit = (at_s - early_s) / unit_s, local_s = wall.local_s[unit];
        bool again = local_s <= reached_s;
        for (int i = 0; at_s >= from_s && i < count; i++) {
            struct subject *s = &set[i];
            bool fires = false;
            if (is_named(s, local_s))
                fires = again ? s->second_pass : s->first_pass || !wall.comes_again[unit];
            int64_t skipped_s = wall.local_s[unit - 1] + unit_s;
            for (; !fires && s->gap_fires && skipped_s < local_s; skipped_s += unit_s)
                fires = is_named(s, skipped_s);
            if (fires != (s->expected == at_s * 1000))
                differ(s, zone, at_s * 1000, at_s * 1000);
            if (fires)
                s->expected = cron_next(&s->cron, zone, at_s * 1000);
            else if (chance(4096) == 0)
                check_from_between(s, zone, at_s * 1000 + chance((uint32_t)unit_s * 1000));
        }
        reached_s = local_s > reached_s ? local_s : reached_s;
    }
    zone_close(zone);
    g_free(wall.local_s);
    g_free(wall.comes_again);
}

static void fresh_set(struct subject *set, int count, bool has_seconds)
{
    for (int i = 0; i < count; i++)
        invent(&set[i], has_seconds);
}

static int rounds(void)
{
    const char *text = getenv("CRON_ROUNDS");
    return text ? atoi(text) : 0;
}

/* ---- the tests ---- */

static struct subject set[SET_MAX];

/* Two of them are made to name times of that very hour, or of one beside it. */
static void aim(struct subject *subjects, int64_t local_s)
{
    for (int i = 0; i < 2; i++) {
        struct subject *s = &subjects[i];
        struct mq_err err = {0};
        sprintf(s->field[HOUR], "%d", (int)((local_s / 3600 + chance(3)) % 24));
        sprintf(s->field[MINUTE], chance(2) ? "0" : "%d", (int)chance(60));
        for (int field = DAY; field <= WEEKDAY; field++)
            strcpy(s->field[field], "*");
        write_text(s);
        ask(s);
        assert_int_equal(cron_parse(&s->cron, slice_of(s->text), SLICE_EMPTY, &s->options, &err), MQ_OK);
    }
}

/* Around each day of the years on which the offset is not that of the day before. */
static void around_changes(const char *zone, bool has_seconds)
{
    struct clock clock = {g_time_zone_new_identifier(zone)};
    int64_t around_s = has_seconds ? 5400 : DAY_S;
    for (int64_t day_s = BEGIN_S; day_s < END_S; day_s += DAY_S) {
        if (local_of(&clock, day_s + DAY_S) == local_of(&clock, day_s) + DAY_S)
            continue;
        if (has_seconds && chance(20))
            continue;
        int64_t at_s = day_s;
        while (local_of(&clock, at_s + 60) == local_of(&clock, at_s) + 60)
            at_s += 60;
        fresh_set(set, has_seconds ? 4 : 8, has_seconds);
        aim(set, local_of(&clock, at_s));
        walk(set, has_seconds ? 4 : 8, zone, at_s - around_s, at_s + around_s, has_seconds ? 1 : 60);
    }
    g_time_zone_unref(clock.zone);
}

static void around_every_clock_change_the_moments_are_those_of_the_reference(void **state)
{
    (void)state;
    for (int z = 0; z < ZONE_COUNT; z++)
        around_changes(zones[z], false);
}

static void around_clock_changes_seconds_are_those_of_the_reference(void **state)
{
    (void)state;
    for (int z = 0; z < ZONE_COUNT; z++)
        around_changes(zones[z], true);
}

static void in_any_weeks_the_moments_are_those_of_the_reference(void **state)
{
    (void)state;
    for (int z = 0; z < ZONE_COUNT; z++)
        for (int i = 0; i < 3; i++) {
            int64_t from_s = BEGIN_S + (int64_t)chance((END_S - BEGIN_S) / DAY_S - 30) * DAY_S;
            fresh_set(set, SET_MAX / 2, false);
            walk(set, SET_MAX / 2, zones[z], from_s, from_s + 20 * DAY_S, 60);
        }
}

/* The day fields alone, over all years: once a day is enough to look. */
static void in_thirty_years_the_days_are_those_of_the_reference(void **state)
{
    (void)state;
    for (int i = 0; i < 250; i++) {
        struct subject *s = &set[0];
        struct mq_err err = {0};
        invent(s, false);
        strcpy(s->field[MINUTE], "30");
        strcpy(s->field[HOUR], "12");
        write_text(s);
        ask(s);
        assert_int_equal(cron_parse(&s->cron, slice_of(s->text), SLICE_EMPTY, &s->options, &err), MQ_OK);
        s->expected = cron_next(&s->cron, NULL, BEGIN_S * 1000);
        for (int64_t at_s = BEGIN_S + DAY_S / 2 + 1800; at_s < END_S; at_s += DAY_S) {
            bool fires = is_named(s, at_s);
            if (fires != (s->expected == at_s * 1000))
                differ(s, NULL, at_s * 1000, at_s * 1000);
            if (fires)
                s->expected = cron_next(&s->cron, NULL, at_s * 1000);
        }
    }
}

static void in_thirty_years_the_moments_are_those_of_the_reference(void **state)
{
    (void)state;
    for (int round = 0; round < rounds(); round++)
        for (int z = 0; z < ZONE_COUNT; z++) {
            fresh_set(set, SET_MAX, false);
            walk(set, SET_MAX, zones[z], BEGIN_S, END_S, 60);
            around_changes(zones[z], true);
            printf("  %s: 30 years of minutes, %d expressions\n", zones[z], SET_MAX);
            fflush(stdout);
        }
}

int main(void)
{
    const char *seed = getenv("CRON_SEED");
    const struct CMUnitTest short_round[] = {
        cmocka_unit_test(around_every_clock_change_the_moments_are_those_of_the_reference),
        cmocka_unit_test(around_clock_changes_seconds_are_those_of_the_reference),
        cmocka_unit_test(in_any_weeks_the_moments_are_those_of_the_reference),
        cmocka_unit_test(in_thirty_years_the_days_are_those_of_the_reference),
    };
    const struct CMUnitTest long_round[] = {
        cmocka_unit_test(in_thirty_years_the_moments_are_those_of_the_reference),
    };
    chance_state = seed ? strtoull(seed, NULL, 10) : 1;
    return rounds() ? cmocka_run_group_tests(long_round, NULL, NULL)
                    : cmocka_run_group_tests(short_round, NULL, NULL);
}
