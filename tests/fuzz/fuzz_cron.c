/*
 * Cron expressions. The first three bytes choose zone, start and options; the rest is the text. What is understood can be
 * told in a sentence, its moments only grow, each is named by the fields on the clock of its zone or is the first after a
 * gap, and from anywhere between two moments the next one is the same.
 */
#include "fuzz.h"

#include "base/civil.h"
#include "job/cron.h"

#define DAY_S 86400LL

static const char *const zones[] = {
    "UTC",           "Europe/Berlin",     "Australia/Lord_Howe", "Pacific/Apia",
    "Asia/Tehran",   "America/Sao_Paulo", "Africa/Casablanca",   "America/St_Johns",
    "Asia/Kathmandu"};

/* Hours and the months around 2011, 2026 and the end of the years. */
static wall_ms start_of(unsigned byte)
{
    static const int years[] = {2011, 2018, 2026, 2037, 2099, 2400, 9999, 1969};
    return civil_days(years[byte & 7], (int)(byte >> 4) % 12 + 1, 1) * DAY_S * 1000 + 12345;
}

/* By the sets alone; of the days only the plain sets are looked at here, the walk of the unit tests knows them all. */
static bool names(const struct cron *c, int64_t local_s)
{
    int64_t day = floor_div(local_s, DAY_S), in_day = local_s - day * DAY_S;
    struct civil date = civil_of_days(day);
    bool special = c->days_before_last || c->nearest || c->last_workday;
    bool by_day = special || c->days >> date.day & 1;
    bool by_weekday = c->weekdays >> civil_weekday(day) & 1 || c->nth_weekdays[civil_weekday(day)];
    bool either = c->day_rule == CRON_DAYS_EITHER && !c->days_open && !c->weekdays_open;
    return c->seconds >> in_day % 60 & 1 && c->minutes >> in_day / 60 % 60 & 1 &&
           c->hours >> in_day / 3600 & 1 && c->months >> date.month & 1 &&
           (either ? by_day || by_weekday : by_day && by_weekday);
}

static bool is_behind_a_gap(const struct zone *zone, wall_ms at)
{
    struct zone_span span = zone_span(zone, at);
    return span.start == at && zone_span(zone, at - 1).offset_s < span.offset_s;
}

static void check_moments(const struct cron *c, const struct zone *zone, wall_ms at)
{
    for (int i = 0; i < 20; i++) {
        wall_ms next = cron_next(c, zone, at);
        FUZZ_MUST(next > at, "%lld after %lld", (long long)next, (long long)at);
        wall_ms middle = next == WALL_NEVER ? WALL_MAX : at + (next - at) / 2;
        FUZZ_MUST(cron_next(c, zone, middle == next ? at : middle) == next, "another one from between");
        if (next == WALL_NEVER)
            return;
        FUZZ_MUST(next <= WALL_MAX && next % 1000 == 0, "%lld", (long long)next);
        int64_t local_s = next / 1000 + zone_span(zone, next).offset_s;
        FUZZ_MUST(names(c, local_s) || (c->gap == CRON_GAP_FIRE && is_behind_a_gap(zone, next)),
                  "%lld is not in the fields", (long long)next);
        at = next;
    }
}

static void check_sentence(const struct cron *c)
{
    struct buf said = BUF_INIT;
    cron_explain(c, &said);
    FUZZ_MUST(buf_len(&said) > 0 && buf_len(&said) < 2000 && !memchr(buf_bytes(&said).at, 0, buf_len(&said)),
              "%zu bytes", buf_len(&said));
    cron_explain_changes(c, &said);
    buf_release(&said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    unsigned where = fuzz_byte(&rest), when = fuzz_byte(&rest), how = fuzz_byte(&rest);
    struct cron_options options = {how & 1, (how >> 1 & 3) % 3, how >> 3 & 3};
    struct cron cron = {.months = 42};
    struct mq_err err = {0};
    struct zone *zone = NULL;
    struct slice text = fuzz_copy(rest);
    if (cron_parse(&cron, text, how & 64 ? SLICE("entry") : SLICE_EMPTY, &options, &err) != MQ_OK) {
        FUZZ_MUST(cron.months == 42 && err.code == MQ_BADARG && err.text[0],
                  "refused, but the answer is touched");
        free((void *)text.at);
        return 0;
    }
    FUZZ_MUST(text.len <= CRON_TEXT_MAX, "%zu bytes were taken", text.len);
    FUZZ_MUST(zone_open(&zone, slice_of(zones[where % (sizeof zones / sizeof *zones)]), &err) == MQ_OK, "%s",
              err.text);
    check_sentence(&cron);
    if (cron.kind == CRON_FIELDS)
        check_moments(&cron, zone, start_of(when));
    zone_close(zone);
    free((void *)text.at);
    return 0;
}
