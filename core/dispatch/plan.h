/*
 * plan.h - the moments that a cron entry names: an expression in a zone, between a start and an end; @every, which counts
 * from the entry's beginning; @reboot, which names none.
 *
 * Threads: the loop's. Memory: plan_open / plan_close.
 */
#ifndef MOONQ_DISPATCH_PLAN_H
#define MOONQ_DISPATCH_PLAN_H

#include <stdint.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/slice.h"
#include "base/zone.h"
#include "job/cron.h"

struct plan {
    struct cron cron;
    struct zone *zone;
    wall_ms start, end; /* no moment before and none after; 0 and WALL_NEVER for no limit */
};

/* `name`: for H. BADARG with field and column, or naming the zone. */
enum mq_code plan_open(struct plan *out, struct slice name, struct slice expression, struct slice zone,
                       const struct cron_options *options, struct mq_err *err);
void plan_close(struct plan *plan);

/* The first moment strictly later than `after`; WALL_NEVER: none. `since`: what @every counts from. */
wall_ms plan_next(const struct plan *plan, wall_ms since, wall_ms after);
#endif
