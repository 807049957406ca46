/*
 * id.h - a job's identity: 64 bits, ordered by time, never repeated.
 *
 * The upper 44 bits are milliseconds since 1970 (enough until the year 2527), the lower 20 a counter. The store
 * makes them: the next id is the greater of "one more than the last" and "this millisecond", so a clock that
 * steps back never repeats one. Printed as 13 characters of Crockford base32, whose order as text is the order
 * of the numbers. [https://www.crockford.com/base32.html]
 */
#ifndef MOONQ_JOB_ID_H
#define MOONQ_JOB_ID_H

#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/slice.h"

typedef uint64_t job_id;

#define JOB_ID_NONE       0
#define JOB_ID_CHARS      13
#define JOB_ID_TEXT_BYTES 14 /* and a NUL */
#define JOB_ID_CLOCK_BITS 20

/* The id after `last`, not before `now`. */
job_id id_next(job_id last, wall_ms now);

/* Writes 13 characters and a NUL; returns `out`. */
char *id_format(char out[JOB_ID_TEXT_BYTES], job_id id);

/* Reads 13 characters; lower case, and I L O for 1 1 0, are accepted. BADARG quotes the text. */
enum mq_code id_parse(job_id *out, struct slice text, struct mq_err *err);
#endif
