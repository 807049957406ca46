/* cron_explain.c - an expression as a sentence. It is made from the sets, so what is equal reads equal. */
#include "job/cron.h"

#include "job/cron_inside.h"

static const char *const month_names[] = {"January",   "February", "March",    "April",
                                          "May",       "June",     "July",     "August",
                                          "September", "October",  "November", "December"};
static const char *const weekday_names[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                            "Friday", "Saturday", "Sunday"};

#define ALL_60     ((1ULL << 60) - 1)
#define ALL_24     ((1U << 24) - 1)
#define ALL_DAYS   0xfffffffeU
#define ALL_MONTHS 0x1ffe
#define TIMES_MAX  6 /* more than six clock times are no sentence */

static void say(struct buf *out, const char *text)
{
    buf_add(out, text, strlen(text));
}

/* "", ", " or " and ": before the i-th of `count` things. */
static const char *joint(unsigned i, unsigned count, const char *last)
{
    return i == 0 ? "" : i + 1 == count ? last : ", ";
}

/* ---- sets ---- */

static void say_value(struct buf *out, int value, const char *const *names)
{
    if (names)
        say(out, names[value]);
    else
        buf_printf(out, "%d", value);
}

static int run_end(uint64_t set, int at)
{
    while (at < 63 && set >> (at + 1) & 1)
        at++;
    return at;
}

/* "1, 3 and 10 to 15": three neighbours and more become a range. */
static void say_set(struct buf *out, uint64_t set, const char *const *names)
{
    unsigned count = 0, i = 0;
    for (int pass = 0; pass < 2; pass++)
        for (uint64_t left = set; left;) {
            int first = __builtin_ctzll(left), last = run_end(left, first);
            if (last < first + 2)
                last = first;
            left &= ~(((2ULL << last) - 1) ^ ((1ULL << first) - 1));
            if (pass == 0) {
                count++;
                continue;
            }
            say(out, joint(i++, count, " and "));
            say_value(out, first, names);
            if (last > first) {
                say(out, " to ");
                say_value(out, last, names);
            }
        }
}

/* n if the set is every n-th value of a field of `size`, from a first one below n; 0: it is not. */
static int step_of(uint64_t set, int size)
{
    uint64_t rest = set & (set - 1);
    if (!rest)
        return 0;
    int first = __builtin_ctzll(set), step = __builtin_ctzll(rest) - first;
    if (first >= step)
        return 0;
    for (int at = first; at < size; at += step) {
        if (!(set >> at & 1))
            return 0;
        set &= ~(1ULL << at);
    }
    return set ? 0 : step;
}

/* Of 2nd to 20th. */
static const char *suffix(int step)
{
    return step == 2 ? "nd" : step == 3 ? "rd" : "th";
}

/* ---- the time of day ---- */

static void say_plural(struct buf *out, uint64_t set, const char *noun)
{
    buf_printf(out, "at %s%s ", noun, set & (set - 1) ? "s" : "");
    say_set(out, set, NULL);
}

/* "every 15 minutes", "at minute 5": a set of seconds or of minutes, within `whole`. A step that does not divide it begins anew. */
static void say_part(struct buf *out, uint64_t set, const char *noun, const char *whole)
{
    int step = step_of(set, 60);
    if (step > 1) {
        buf_printf(out, "every %d %ss", step, noun);
        if (!(set & 1))
            buf_printf(out, " from %s %d", noun, __builtin_ctzll(set));
        if (60 % step)
            buf_printf(out, ", anew in each %s", whole);
    } else if (step == 1) {
        buf_printf(out, "every %s", noun);
    } else {
        say_plural(out, set, noun);
    }
}

static void say_hours(struct buf *out, const struct cron *c, bool at_minutes)
{
    int step = step_of(c->hours, 24);
    if (step == 1) {
        say(out, at_minutes ? " of every hour" : "");
    } else if (step > 1) {
        buf_printf(out, "%s every %d%s hour of the day", at_minutes ? " of" : ", in", step, suffix(step));
        if (!(c->hours & 1))
            buf_printf(out, " from hour %d", __builtin_ctz(c->hours));
    } else {
        say(out, c->hours & (c->hours - 1) ? ", in hours " : ", in hour ");
        say_set(out, c->hours, NULL);
    }
}

static void say_pattern(struct buf *out, const struct cron *c)
{
    bool at_minutes = step_of(c->minutes, 60) == 0;
    if (c->has_seconds && c->seconds != 1) {
        say_part(out, c->seconds, "second", "minute");
        if (c->minutes == ALL_60 && step_of(c->seconds, 60)) {
            say_hours(out, c, false);
            return;
        }
        say(out, c->minutes == ALL_60 ? " of " : ", ");
    }
    say_part(out, c->minutes, "minute", "hour");
    say_hours(out, c, at_minutes);
}

static void say_times(struct buf *out, const struct cron *c, unsigned count)
{
    unsigned i = 0;
    say(out, "at ");
    for (uint32_t hours = c->hours; hours; hours &= hours - 1)
        for (uint64_t minutes = c->minutes; minutes; minutes &= minutes - 1) {
            buf_printf(out, "%s%02d:%02d", joint(i, count, " and "), __builtin_ctz(hours),
                       __builtin_ctzll(minutes));
            if (c->has_seconds && c->seconds != 1)
                buf_printf(out, ":%02d", __builtin_ctzll(c->seconds));
            i++;
        }
}

/* ---- days ---- */

/* A field's choices, the first behind "on", the others behind "or". */
static void or_on(struct buf *out, bool *begun, const char *text)
{
    say(out, *begun ? " or " : "");
    say(out, text);
    *begun = true;
}

static const char *ordinal(int n)
{
    static const char *const words[] = {"last", "1st", "2nd", "3rd", "4th", "5th"};
    return words[n];
}

static void say_days(struct buf *out, const struct cron *c)
{
    bool begun = false;
    int step = step_of(c->days >> 1, 31);
    if (step > 1 && step <= 15) {
        or_on(out, &begun, "on every ");
        buf_printf(out, "%d%s day of the month from day %d", step, suffix(step), __builtin_ctz(c->days));
    } else if (c->days) {
        or_on(out, &begun, c->days & (c->days - 1) ? "on days " : "on day ");
        say_set(out, c->days, NULL);
        say(out, " of the month");
    }
    for (uint32_t left = c->nearest; left; left &= left - 1) {
        or_on(out, &begun, "on the day from Monday to Friday nearest to day ");
        buf_printf(out, "%d of the month", __builtin_ctz(left));
    }
    for (uint32_t left = c->days_before_last; left; left &= left - 1) {
        int before = __builtin_ctz(left);
        or_on(out, &begun, "on ");
        if (before)
            buf_printf(out, "the day %d day%s before ", before, before > 1 ? "s" : "");
        say(out, "the last day of the month");
    }
    if (c->last_workday)
        or_on(out, &begun, "on the last day from Monday to Friday of the month");
}

static void say_weekdays(struct buf *out, const struct cron *c)
{
    bool begun = false;
    if (c->weekdays) {
        or_on(out, &begun, "on ");
        /* Sunday last */
        say_set(out, (uint64_t)c->weekdays >> 1 | (uint64_t)(c->weekdays & 1) << 6, weekday_names);
    }
    for (int i = 0; i < 7; i++)
        for (unsigned left = c->nth_weekdays[(i + 1) % 7]; left; left &= left - 1) {
            or_on(out, &begun, "on the ");
            buf_printf(out, "%s %s of the month", ordinal(__builtin_ctz(left)), weekday_names[i]);
        }
}

static void say_date(struct buf *out, const struct cron *c, bool at_times)
{
    bool by_day = c->days != ALL_DAYS, by_weekday = c->weekdays != 0x7f;
    /* of two fields that were given, one that names all days makes the other useless, or is useless */
    bool either = c->day_rule == CRON_DAYS_EITHER && !c->days_open && !c->weekdays_open;
    if (either && (!by_day || !by_weekday))
        by_day = by_weekday = false;
    if (by_day || by_weekday)
        say(out, ", ");
    if (by_day)
        say_days(out, c);
    if (by_day && by_weekday)
        say(out, either ? " or " : ", but only if also ");
    if (by_weekday)
        say_weekdays(out, c);
    if (!by_day && !by_weekday && at_times)
        say(out, " every day");
    if (c->months != ALL_MONTHS) {
        say(out, " in ");
        say_set(out, (uint64_t)c->months >> 1, month_names);
    }
}

/* ---- the whole ---- */

void cron_explain(const struct cron *cron, struct buf *out)
{
    char duration[DURATION_TEXT_BYTES];
    if (cron->kind == CRON_EVERY) {
        buf_printf(out, "every %s", duration_format(duration, cron->every_ms));
        return;
    }
    if (cron->kind == CRON_REBOOT) {
        say(out, "at each start of the server");
        return;
    }
    int times = __builtin_popcount(cron->hours) * __builtin_popcountll(cron->minutes);
    bool at_times = cron->is_fixed && times <= TIMES_MAX && !(cron->seconds & (cron->seconds - 1));
    if (at_times)
        say_times(out, cron, (unsigned)times);
    else
        say_pattern(out, cron);
    say_date(out, cron, at_times);
}

void cron_explain_changes(const struct cron *cron, struct buf *out)
{
    static const char *const passes[] = {
        [CRON_OVERLAP_FIRST] = "fires in its first pass only",
        [CRON_OVERLAP_SECOND] = "fires in its second pass only",
        [CRON_OVERLAP_BOTH] = "fires in both passes",
    };
    if (cron->kind != CRON_FIELDS)
        return;
    buf_printf(out, "when clocks change, a time that is skipped %s, and a time that comes twice %s",
               cron->gap == CRON_GAP_FIRE ? "fires at the first moment after the gap" : "does not fire",
               passes[cron->overlap]);
}
