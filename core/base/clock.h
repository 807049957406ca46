/*
 * clock.h - the two clocks, and times and durations as people write them.
 *
 * Deadlines are stored in wall-clock milliseconds; waiting is done on the monotonic clock. Code that decides
 * takes `now` as an argument; only the loop and the child processes read a clock.
 */
#ifndef MOONQ_BASE_CLOCK_H
#define MOONQ_BASE_CLOCK_H

#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"

typedef int64_t wall_ms; /* milliseconds since 1970, UTC */
typedef int64_t mono_ms; /* milliseconds since some moment; never steps */

#define WALL_NEVER   INT64_MAX
#define MONO_NEVER   INT64_MAX
#define WALL_MAX     253402300799999LL /* the last millisecond of the year 9999 */
#define DURATION_MAX (WALL_MAX)
#define CENTURY_MS   (36525LL * 86400000) /* what a job may be asked to wait or to be kept, at most */

wall_ms clock_wall(void);
mono_ms clock_mono(void);

/*
 * Reads 250ms, 5s, 10m, 2h, 3d, or a whole number followed by one of these units; 0 needs no unit. Also
 * 1.5h: a fraction of up to three digits. BADARG quotes the text; *out stays as it was.
 */
enum mq_code duration_parse(int64_t *out_ms, struct slice text, struct mq_err *err);

/* The shortest exact form: 90000 is "90s", 7200000 is "2h". `out` holds DURATION_TEXT_BYTES. */
#define DURATION_TEXT_BYTES 32
char *duration_format(char *out, int64_t ms);
/* No finer than a person wants to hear: 9650 is 10000, 3599983 is an hour. For texts, never for deadlines. */
int64_t duration_round(int64_t ms);

/*
 * Reads unix milliseconds (1767225600000) or ISO 8601 with a zone (2026-01-01T00:00:00Z, ...00.250+05:30;
 * also a date alone, which is midnight UTC). BADARG quotes the text; *out stays as it was.
 */
enum mq_code time_parse(wall_ms *out, struct slice text, struct mq_err *err);

/* 2026-01-01T00:00:00.000Z. `out` holds TIME_TEXT_BYTES. */
#define TIME_TEXT_BYTES 40
char *time_format(char *out, wall_ms at);
#endif
