/* cron_parse.c - reads a cron expression. Every field is a set of bits: no input makes it allocate or loop for long. */
#include "job/cron.h"

#include <ctype.h>
#include <stdio.h>
#include <xxhash.h>

#include "job/cron_inside.h"

const char *const cron_days_words[] = {"either", "both", NULL};
const char *const cron_gap_words[] = {"default", "fire", "skip", NULL};
const char *const cron_overlap_words[] = {"default", "first", "second", "both", NULL};

/* ---- what there is ---- */

enum {
    SECOND,
    MINUTE,
    HOUR,
    DAY,
    MONTH,
    WEEKDAY,
    FIELD_COUNT
};

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
                                          "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const weekday_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};

static const struct field {
    const char *name;
    int least, most, last; /* most: also that can be written (weekday 7 is 0); last: in * and steps */
    int hash_last;         /* H is at most this: the 28th is in every month */
    const char *const *names;
} fields[FIELD_COUNT] = {
    [SECOND] = {"second", 0, 59, 59, 59, NULL},      [MINUTE] = {"minute", 0, 59, 59, 59, NULL},
    [HOUR] = {"hour", 0, 23, 23, 23, NULL},          [DAY] = {"day of month", 1, 31, 31, 28, NULL},
    [MONTH] = {"month", 1, 12, 12, 12, month_names}, [WEEKDAY] = {"weekday", 0, 7, 6, 6, weekday_names},
};

static const struct {
    const char *name, *fields;
} macros[] = {
    {"@hourly", "0 * * * *"},  {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"},
};

/* ---- reading ---- */

struct parse {
    struct cron *out;
    struct slice text, name;
    size_t at, indent; /* indent: what was cut from the front of what a person wrote */
    int field;
    bool has_step; /* in the field that is read */
    uint64_t set;
    struct slice part[FIELD_COUNT]; /* each field as it was written */
    struct mq_err *err;
};

#define QUOTE_MAX      32
#define EVERY_LEAST_MS 100 /* more often is a loop, not a schedule */

/* "hour, column 3: '25' is ...": the culprit begins at `start`. */
static enum mq_code refuse(struct parse *p, size_t start, size_t end, const char *what)
{
    size_t len = end > start ? end - start : 0;
    if (len == 0)
        return mq_fail(p->err, MQ_BADARG, "%s, column %zu: %s", fields[p->field].name, start + p->indent + 1,
                       what);
    return mq_fail(p->err, MQ_BADARG, "%s, column %zu: '%.*s' %s", fields[p->field].name,
                   start + p->indent + 1, (int)(len > QUOTE_MAX ? QUOTE_MAX : len), p->text.at + start, what);
}

static char peek(const struct parse *p)
{
    return p->at < p->text.len ? p->text.at[p->at] : '\0';
}

static bool accept(struct parse *p, char c)
{
    if (p->at >= p->text.len || toupper((unsigned char)peek(p)) != c)
        return false;
    p->at++;
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* Where the item ends that begins at `start`. */
static size_t item_end(const struct parse *p, size_t start)
{
    while (start < p->text.len && p->text.at[start] != ',' && !is_space(p->text.at[start]))
        start++;
    return start;
}

static enum mq_code unexpected(struct parse *p)
{
    const struct field *f = &fields[p->field];
    size_t end = item_end(p, p->at);
    char what[96];
    if (end == p->at)
        snprintf(what, sizeof what, "a value is missing");
    else if (f->names)
        snprintf(what, sizeof what, "is not understood here (write %d to %d, or %s to %s)", f->least, f->last,
                 f->names[0], f->names[f->last - f->least]);
    else
        snprintf(what, sizeof what, "is not understood here (write %d to %d)", f->least, f->last);
    return refuse(p, p->at, end, what);
}

static enum mq_code read_number(struct parse *p, int *out)
{
    size_t start = p->at;
    int value = 0;
    for (; isdigit((unsigned char)peek(p)); p->at++)
        value = value < 100000 ? value * 10 + (peek(p) - '0') : value;
    if (p->at == start)
        return unexpected(p);
    *out = value;
    return MQ_OK;
}

/* A number, or three letters of a month or a weekday, within the field. */
static enum mq_code read_value(struct parse *p, int *out)
{
    const struct field *f = &fields[p->field];
    size_t start = p->at;
    char what[64];
    for (int i = 0; f->names && f->names[i] && p->text.len - p->at >= 3; i++)
        if (strncasecmp(p->text.at + p->at, f->names[i], 3) == 0) {
            p->at += 3;
            *out = f->least + i;
            return MQ_OK;
        }
    enum mq_code code = read_number(p, out);
    if (code != MQ_OK || (*out >= f->least && *out <= f->most))
        return code;
    snprintf(what, sizeof what, "is out of range (%d to %d)", f->least, f->most);
    return refuse(p, start, p->at, what);
}

/* "/n", if it is there: *step stays 1 if not. `size`: so many values there are to step over. */
static enum mq_code read_step(struct parse *p, int size, int *step)
{
    char what[96];
    if (!accept(p, '/'))
        return MQ_OK;
    size_t start = p->at;
    enum mq_code code = read_number(p, step);
    if (code != MQ_OK)
        return code;
    p->has_step = true;
    if (*step == 0)
        return refuse(p, start, p->at, "is no step: 1 at least");
    if (*step <= size)
        return MQ_OK;
    snprintf(what, sizeof what, "is a longer step than the %d values there (@every counts on)", size);
    return refuse(p, start, p->at, what);
}

/* From `from` to `to` by `step`; a `to` before `from` is reached around the end of the field. */
static void add_range(struct parse *p, int from, int to, int step)
{
    const struct field *f = &fields[p->field];
    int size = f->last - f->least + 1;
    if (to < from)
        to += size;
    for (int value = from; value <= to; value += step)
        p->set |= 1ULL << (f->least + (value - f->least) % size);
}

static int range_size(const struct field *f, int from, int to)
{
    return to < from ? to - from + 1 + f->last - f->least + 1 : to - from + 1;
}

/* ---- H ---- */

/* The same name has the same place in a field for ever: it is what people have in their monitoring. */
static unsigned place_of(const struct parse *p, int size)
{
    return (unsigned)(XXH3_64bits_withSeed(p->name.at, p->name.len, (XXH64_hash_t)p->field + 1) %
                      (unsigned)size);
}

static enum mq_code read_hashed(struct parse *p)
{
    const struct field *f = &fields[p->field];
    size_t start = p->at - 1;
    int from = f->least, to = f->hash_last, step = 1;
    enum mq_code code;
    if (p->name.len == 0)
        return refuse(p, start, item_end(p, start),
                      "chooses by the entry's name, and there is none (moonq cron next --name NAME)");
    if (accept(p, '(')) {
        size_t range = p->at;
        if ((code = read_value(p, &from)) != MQ_OK)
            return code;
        if (!accept(p, '-'))
            return refuse(p, p->at, item_end(p, p->at), "where H(a-b) has a '-'");
        if ((code = read_value(p, &to)) != MQ_OK)
            return code;
        if (!accept(p, ')'))
            return refuse(p, p->at, item_end(p, p->at), "where H(a-b) has a ')'");
        if (to < from || to > f->last)
            return refuse(p, range, p->at - 1, "is no range for H (it does not wrap around)");
    }
    bool stepped = peek(p) == '/';
    if ((code = read_step(p, to - from + 1, &step)) != MQ_OK)
        return code;
    if (stepped)
        add_range(p, from + (int)place_of(p, step), to, step);
    else
        p->set |= 1ULL << (from + (int)place_of(p, to - from + 1));
    return MQ_OK;
}

/* ---- what only days have ---- */

/* Behind L in the day field. */
static enum mq_code read_last_day(struct parse *p)
{
    int before = 0;
    if (accept(p, 'W')) {
        p->out->last_workday = true;
        return MQ_OK;
    }
    if (accept(p, '-')) {
        size_t start = p->at;
        enum mq_code code = read_number(p, &before);
        if (code != MQ_OK)
            return code;
        if (before > 30)
            return refuse(p, start, p->at, "is out of range (L-1 to L-30)");
    }
    p->out->days_before_last |= 1U << before;
    return MQ_OK;
}

/* Behind a value of the weekday field: L or #n. False: neither is there. */
static bool read_nth(struct parse *p, int weekday, enum mq_code *code)
{
    int nth = 0;
    size_t start;
    *code = MQ_OK;
    if (accept(p, 'L')) {
        p->out->nth_weekdays[weekday % 7] |= 1;
        return true;
    }
    if (!accept(p, '#'))
        return false;
    start = p->at;
    *code = read_number(p, &nth);
    if (*code == MQ_OK && nth >= 1 && nth <= 5)
        p->out->nth_weekdays[weekday % 7] |= (uint8_t)(1U << nth);
    else if (*code == MQ_OK)
        *code = refuse(p, start, p->at, "is out of range (#1 to #5)");
    return true;
}

/* ---- items and fields ---- */

static enum mq_code read_range(struct parse *p)
{
    const struct field *f = &fields[p->field];
    int from = 0, to, step = 1;
    enum mq_code code = read_value(p, &from);
    if (code != MQ_OK)
        return code;
    if (p->field == WEEKDAY && read_nth(p, from, &code))
        return code;
    if (p->field == DAY && accept(p, 'W')) {
        p->out->nearest |= 1U << from;
        return MQ_OK;
    }
    to = from;
    if (accept(p, '-')) {
        if ((code = read_value(p, &to)) != MQ_OK)
            return code;
    } else if (peek(p) == '/') {
        to = f->last; /* before a weekday 7: around, from Sunday to Saturday */
    }
    if ((code = read_step(p, range_size(f, from, to), &step)) == MQ_OK)
        add_range(p, from, to, step);
    return code;
}

static enum mq_code read_item(struct parse *p)
{
    const struct field *f = &fields[p->field];
    int step = 1;
    enum mq_code code;
    if ((p->field == DAY || p->field == WEEKDAY) && accept(p, '?')) {
        add_range(p, f->least, f->last, 1);
        return MQ_OK;
    }
    if (accept(p, '*')) {
        if ((code = read_step(p, f->last - f->least + 1, &step)) == MQ_OK)
            add_range(p, f->least, f->last, step);
        return code;
    }
    if (accept(p, 'H'))
        return read_hashed(p);
    if (p->field == DAY && accept(p, 'L'))
        return read_last_day(p);
    if (p->field == WEEKDAY && toupper((unsigned char)peek(p)) == 'L')
        return refuse(p, p->at, item_end(p, p->at), "needs a weekday before it (5L: the last Friday)");
    return read_range(p);
}

/* A field's wildcard or step makes an interval of it; a set of all values is a wildcard however it is written. */
static bool is_fixed(const struct parse *p)
{
    const struct field *f = &fields[p->field];
    return !p->has_step && __builtin_popcountll(p->set) <= f->last - f->least;
}

static void keep_field(struct parse *p, bool open)
{
    struct cron *c = p->out;
    switch (p->field) {
    case SECOND:
        c->seconds = p->set;
        break;
    case MINUTE:
        c->minutes = p->set;
        c->is_fixed = is_fixed(p);
        break;
    case HOUR:
        c->hours = (uint32_t)p->set;
        c->is_fixed &= is_fixed(p);
        break;
    case DAY:
        c->days = (uint32_t)p->set;
        c->days_open = open;
        break;
    case MONTH:
        c->months = (uint16_t)p->set;
        break;
    default:
        c->weekdays = (uint8_t)p->set;
        c->weekdays_open = open;
    }
}

static enum mq_code read_field(struct parse *p)
{
    size_t start = p->at;
    bool open = peek(p) == '*' || peek(p) == '?';
    p->set = 0;
    p->has_step = false;
    do {
        enum mq_code code = read_item(p);
        if (code != MQ_OK)
            return code;
    } while (accept(p, ','));
    if (p->at < p->text.len && !is_space(peek(p)))
        return unexpected(p);
    p->part[p->field] = (struct slice){p->text.at + start, p->at - start};
    keep_field(p, open);
    return MQ_OK;
}

static void skip_spaces(struct parse *p)
{
    while (is_space(peek(p)))
        p->at++;
}

static int count_fields(struct slice text)
{
    int count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += !is_space(text.at[i]) && (i == 0 || is_space(text.at[i - 1]));
    return count;
}

/* ---- can it fire? ---- */

static bool can_fire(const struct cron *c)
{
    static const uint8_t longest[] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (int month = 1; month <= 12; month++)
        for (int first = 0; c->months >> month & 1 && first < 7; first++)
            if (cron_days_of(c, longest[month], first) || (month == 2 && cron_days_of(c, 28, first)))
                return true;
    return false;
}

static enum mq_code refuse_never(const struct parse *p)
{
    size_t column = (size_t)(p->part[DAY].at - p->text.at) + p->indent + 1;
    bool weekdays = !p->out->weekdays_open;
    return mq_fail(
        p->err, MQ_BADARG,
        "day of month, column %zu: '%.*s'%s%.*s%s never comes in month '%.*s': it would never fire", column,
        (int)(p->part[DAY].len > QUOTE_MAX ? QUOTE_MAX : p->part[DAY].len), p->part[DAY].at,
        weekdays ? " with weekday '" : "",
        weekdays ? (int)(p->part[WEEKDAY].len > QUOTE_MAX ? QUOTE_MAX : p->part[WEEKDAY].len) : 0,
        p->part[WEEKDAY].at, weekdays ? "'" : "",
        (int)(p->part[MONTH].len > QUOTE_MAX ? QUOTE_MAX : p->part[MONTH].len), p->part[MONTH].at);
}

/* ---- the whole ---- */

static enum mq_code read_fields(struct parse *p)
{
    struct cron *c = p->out;
    int count = count_fields(p->text);
    if (count != 5 && count != 6)
        return mq_fail(p->err, MQ_BADARG,
                       "an expression has five fields (minute hour day-of-month month weekday), or six with "
                       "seconds first; '%.*s' has %d",
                       (int)(p->text.len > QUOTE_MAX ? QUOTE_MAX : p->text.len), p->text.at, count);
    c->kind = CRON_FIELDS;
    c->has_seconds = count == 6;
    c->seconds = 1;
    for (p->field = c->has_seconds ? SECOND : MINUTE; p->field < FIELD_COUNT; p->field++) {
        skip_spaces(p);
        enum mq_code code = read_field(p);
        if (code != MQ_OK)
            return code;
    }
    return can_fire(c) ? MQ_OK : refuse_never(p);
}

static enum mq_code read_every(struct parse *p)
{
    char text[MQ_ERR_TEXT_BYTES];
    p->at = strlen("@every");
    skip_spaces(p);
    size_t column = p->indent + p->at + 1;
    struct slice duration = {p->text.at + p->at, p->text.len - p->at};
    struct mq_err why = {0};
    p->out->kind = CRON_EVERY;
    if (duration_parse(&p->out->every_ms, duration, &why) != MQ_OK) {
        memcpy(text, why.text, sizeof text);
        return mq_fail(p->err, MQ_BADARG, "@every, column %zu: %.250s", column, text);
    }
    if (p->out->every_ms < EVERY_LEAST_MS)
        return mq_fail(p->err, MQ_BADARG, "@every, column %zu: '%.*s' is too often (%dms at least)", column,
                       (int)(duration.len > QUOTE_MAX ? QUOTE_MAX : duration.len), duration.at,
                       EVERY_LEAST_MS);
    return MQ_OK;
}

static bool begins_with_word(struct slice text, const char *word)
{
    size_t len = strlen(word);
    return text.len >= len && strncasecmp(text.at, word, len) == 0 &&
           (text.len == len || is_space(text.at[len]));
}

static enum mq_code read_macro(struct parse *p)
{
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
        if (slice_is_word(p->text, macros[i].name)) {
            p->text = slice_of(macros[i].fields);
            return read_fields(p);
        }
    if (begins_with_word(p->text, "@every"))
        return read_every(p);
    if (!slice_is_word(p->text, "@reboot"))
        return mq_fail(
            p->err, MQ_BADARG,
            "column 1: there is no '%.*s' (@hourly, @daily, @midnight, @weekly, @monthly, @yearly, "
            "@annually, @reboot, @every 90s)",
            (int)(p->text.len > QUOTE_MAX ? QUOTE_MAX : p->text.len), p->text.at);
    p->out->kind = CRON_REBOOT;
    return MQ_OK;
}

static void choose(struct cron *c, const struct cron_options *options)
{
    static const struct cron_options usual = {0};
    if (!options)
        options = &usual;
    c->day_rule = options->days;
    c->gap = options->gap;
    c->overlap = options->overlap;
}

enum mq_code cron_parse(struct cron *out, struct slice text, struct slice name,
                        const struct cron_options *options, struct mq_err *err)
{
    struct cron cron = {.kind = CRON_FIELDS};
    struct parse p = {.out = &cron, .text = text, .name = name, .err = err};
    if (text.len > CRON_TEXT_MAX)
        return mq_fail(err, MQ_BADARG, "an expression of %zu bytes is too long (%d at most)", text.len,
                       CRON_TEXT_MAX);
    while (p.text.len && is_space(p.text.at[0]))
        p.text.at++, p.text.len--, p.indent++;
    while (p.text.len && is_space(p.text.at[p.text.len - 1]))
        p.text.len--;
    choose(&cron, options);
    enum mq_code code = peek(&p) == '@' ? read_macro(&p) : read_fields(&p);
    if (code != MQ_OK)
        return code;
    if (cron.gap == CRON_GAP_BY_FIELDS)
        cron.gap = cron.is_fixed ? CRON_GAP_FIRE : CRON_GAP_SKIP;
    if (cron.overlap == CRON_OVERLAP_BY_FIELDS)
        cron.overlap = cron.is_fixed ? CRON_OVERLAP_FIRST : CRON_OVERLAP_BOTH;
    *out = cron;
    return MQ_OK;
}
