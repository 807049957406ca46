/*
 * plan.h - the moments that a cron entry names: an expression in a zone, between a start and an end; @every, which counts
 * from the entry's beginning; @reboot, which names none.
 *
 * Threads: the loop's. Memory: plan_open / plan_close.
 */
#ifndef MOONQ_DISPATCH_PLAN_H
#define MOONQ_DISPATCH_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/slice.h"

struct plan {
    bool reboot;        /* once at each start of the server */
    int64_t every_ms;   /* @every; 0: it is an expression */
    wall_ms start, end; /* no moment before and none after; 0 and WALL_NEVER for no limit */
};

#define EVERY_LEAST_MS 100 /* more often is a loop, not a schedule */

/* `name`: for H. BADARG with field and column. */
enum mq_code plan_open(struct plan *out, struct slice name, struct slice expression, struct slice zone,
                       struct mq_err *err);
void plan_close(struct plan *plan);
/* The first moment strictly later than `after`; WALL_NEVER: none. `since`: what @every counts from. */
wall_ms plan_next(const struct plan *plan, wall_ms since, wall_ms after);
#endif
