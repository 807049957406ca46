/*
 * cron.h - a cron expression, and the moments that it names.
 *
 * Five fields, or six with seconds first; @daily and its like, @every 90s, @reboot. docs/cron.md has the grammar, and what
 * happens when a clock change skips an hour or repeats one. Reads no clock: the same expression, zone and `after` give the
 * same answer.
 *
 * It stands in job/, beside backoff, because the command line needs it without a server, and runtime does not see dispatch.
 *
 * Threads: any. A parsed struct cron is never written again.
 * Memory:  plain data. Copy it, drop it; there is nothing to free.
 */
#ifndef MOONQ_JOB_CRON_H
#define MOONQ_JOB_CRON_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/slice.h"
#include "base/zone.h"

#define CRON_TEXT_MAX 256 /* the longest that a person has reason to write is half of that */

/* What an expression is. */
enum cron_kind {
    CRON_FIELDS,
    CRON_EVERY,  /* @every: only a distance */
    CRON_REBOOT, /* @reboot: names no moment */
};

/* Day of month and weekday were both given (neither begins with *): what then? */
enum cron_days {
    CRON_DAYS_EITHER, /* either of them fires, as in Vixie's cron */
    CRON_DAYS_BOTH,   /* a day must be both */
};

/* A time that does not exist, because the clock jumps over it. */
enum cron_gap {
    CRON_GAP_BY_FIELDS, /* an option only: FIRE for fixed times, SKIP where minute or hour is a wildcard or a step */
    CRON_GAP_FIRE, /* fires at the first moment after the gap; all times of one gap together fire once */
    CRON_GAP_SKIP,
};

/* A time that exists twice, because the clock is set back. */
enum cron_overlap {
    CRON_OVERLAP_BY_FIELDS, /* an option only: FIRST for fixed times, BOTH where minute or hour is a wildcard or a step */
    CRON_OVERLAP_FIRST,
    CRON_OVERLAP_SECOND,
    CRON_OVERLAP_BOTH,
};

/* The choices that an entry has beside its expression. All zero is what is usual. */
struct cron_options {
    enum cron_days days;
    enum cron_gap gap;
    enum cron_overlap overlap;
};

/* The words of an option: "either", "both"; "default", "fire", "skip"; "default", "first", "second", "both". NULL ends, the
 * index is the enum's. */
extern const char *const cron_days_words[], *const cron_gap_words[], *const cron_overlap_words[];

struct cron {
    enum cron_kind kind;
    int64_t every_ms;          /* of CRON_EVERY */
    uint64_t seconds, minutes; /* bit n is set when n fires */
    uint32_t hours, days;      /* days: bits 1 to 31 */
    uint16_t months;           /* bits 1 to 12 */
    uint8_t weekdays;          /* bit 0 is Sunday */
    uint8_t nth_weekdays[7];   /* of each weekday: bit n is its n-th in the month (#n), bit 0 its last (5L) */
    uint32_t days_before_last; /* bit 0 is the last day of the month (L), bit n the n-th before it (L-n) */
    uint32_t nearest;          /* bit n: the day of Monday to Friday nearest to the n-th (nW) */
    bool last_workday;         /* LW */
    bool days_open, weekdays_open; /* the field begins with * or ? */
    bool has_seconds;              /* six fields */
    bool is_fixed;                 /* neither minute nor hour is a wildcard or a step */
    enum cron_days day_rule;
    enum cron_gap gap;         /* FIRE or SKIP */
    enum cron_overlap overlap; /* FIRST, SECOND or BOTH */
};

/*
 * Reads `text`. `name` is the entry's, for H; an expression with H and no name is refused. `options` may be NULL.
 * BADARG names the field, its column and the culprit, also of an expression that can never fire (30 February); *out stays
 * as it was.
 */
enum mq_code cron_parse(struct cron *out, struct slice text, struct slice name,
                        const struct cron_options *options, struct mq_err *err);

/*
 * The first moment strictly later than `after`; WALL_NEVER if there is none before the year 10000. A zone of NULL is UTC.
 * @every is `after` and the distance: who wants it counted from somewhere counts (every_ms). @reboot names no moment.
 */
wall_ms cron_next(const struct cron *cron, const struct zone *zone, wall_ms after);

/*
 * Times that are not on the clock of that day as others are, and for which a moment stands that the expression names:
 * those that the clock jumped over, or the other pass of one that comes twice.
 */
struct cron_merge {
    unsigned times;       /* so many are left out for it; at most CRON_MERGE_MAX are counted */
    wall_ms at;           /* the other pass; of a gap: the moment itself */
    bool is_gap;          /* ... and it is the first one after a gap: */
    int64_t from_s, to_s; /* the clock went from here to there, in seconds of local time since 1970 */
    int64_t first_s,
        last_s; /* times that fell into it, the moment's own among them; none: first_s > last_s */
};
#define CRON_MERGE_MAX 1000
/* `at` is one of its moments. */
struct cron_merge cron_merged(const struct cron *cron, const struct zone *zone, wall_ms at);

/* Adds a sentence for people, in English, without a full stop: "at 09:00, Monday to Friday". */
void cron_explain(const struct cron *cron, struct buf *out);

/* What it does when the clock is changed, such a sentence too; adds nothing for @every and @reboot. */
void cron_explain_changes(const struct cron *cron, struct buf *out);
#endif
