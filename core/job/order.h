/*
 * order.h - what a producer asks for with a push, before defaults are filled in.
 *
 * The same order comes from PUSH on the wire and from job:push in a handler. What was not said is unset; the
 * type's own defaults (its handler's table) and then the server's fill it in: order_resolve.
 *
 * Threads: any. Slices are borrowed from whoever made the order.
 */
#ifndef MOONQ_JOB_ORDER_H
#define MOONQ_JOB_ORDER_H

#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "job/job.h"

#define ORDER_UNSET (-1)

struct push_order {
    struct slice type, payload;
    struct slice queue, meta, tags; /* empty: unset. Tags as in struct job_spec */
    int64_t delay_ms, at_ms;        /* one of the two */
    int64_t timeout_ms, lease_ms, keep_ms;
    int64_t expires_ms; /* from now */
    int32_t attempts, priority;
    struct slice unique,
        unique_by;               /* a key, or of which arguments it is made: see job/unique.h; empty: unset */
    int64_t unique_for_ms;       /* from now */
    int32_t unique_in, conflict; /* a mask of states; an enum unique_conflict */
};

/* All unset. */
void order_init(struct push_order *order);

/*
 * Sets the option named by a word of the wire: QUEUE PRIORITY DELAY AT ATTEMPTS TIMEOUT LEASE EXPIRES TAGS META
 * KEEP UNIQUE UNIQUE_BY UNIQUE_FOR UNIQUE_IN CONFLICT. TAGS is a list with commas; `tags` keeps what order.tags points to. BADARG names option and value, and
 * for an unknown option lists those there are.
 */
enum mq_code order_set(struct push_order *order, struct slice option, struct slice value, struct buf *tags,
                       struct mq_err *err);

/* Adds one tag. BADARG: not a name, or more than TAGS_MAX. */
enum mq_code order_add_tag(struct push_order *order, struct slice tag, struct buf *tags, struct mq_err *err);

/* Names, ranges and sizes. `payload_max`: bytes. BADARG or TOOBIG with the culprit. */
enum mq_code order_check(const struct push_order *order, size_t payload_max, struct mq_err *err);

/*
 * Fills in what is unset from `by_type` (may be NULL), then from `by_server`, then from job.h. *run_at is the
 * moment at which it becomes ready. Slices are taken over as they are.
 */
void order_resolve(struct job_spec *spec, wall_ms *run_at, const struct push_order *order,
                   const struct push_order *by_type, const struct push_order *by_server, wall_ms now);

/*
 * What is left: a unique key, and what to do if it is held. One that is made of arguments, or is the type's, is in `own`: the
 * table of types may be made anew while a push is under way. A key of the order's own comes before those of its type.
 * BADARG, TOOBIG.
 */
enum mq_code order_resolve_key(struct job_spec *spec, enum unique_conflict *conflict,
                               const struct push_order *order, const struct push_order *by_type,
                               struct buf *own, struct mq_err *err);

#define UNIQUE_STATES_ENDED (JOB_STATES_UNFINISHED | 1 << JOB_SUCCEEDED) /* by default, with UNIQUE_FOR */
/* "skip", "replace", "reschedule", "error". */
const char *order_conflict_name(enum unique_conflict conflict);
#endif
