/*
 * schedule.h - what a cron entry says: when, which job, and what to do when a moment was missed.
 *
 * A definition is a JSON object of texts as people write them, the same from schedules.lua and from CRON SET, and kept as
 * it is in the store:
 *
 *     {"cron":"0 9 * * 1-5","tz":"Europe/Berlin","type":"report.daily","args":{"to":"ana"},"queue":"reports",
 *      "catch_up":"all","within":"2d","most":3,"overlap":"skip","jitter":"30s","start":...,"end":...,"max":100}
 *
 * Reads no clock: the same definition and moments give the same answers.
 *
 * Memory: schedule_read / schedule_release.
 */
#ifndef MOONQ_DISPATCH_SCHEDULE_H
#define MOONQ_DISPATCH_SCHEDULE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "dispatch/plan.h"
#include "job/order.h"
#include "store/store.h"

enum catch_up {
    CATCH_UP_SKIP, /* what was missed is missed */
    CATCH_UP_ONCE, /* the newest of what was missed */
    CATCH_UP_ALL,
};

#define SCHEDULE_GRACE_MS   5000            /* so late a moment still fires in time: a server may be busy */
#define SCHEDULE_ONCE_MS    (5 * 60 * 1000) /* `within` of `once`, the default: over a restart or a deployment */
#define SCHEDULE_ALL_MS     (24 * 3600 * 1000LL)
#define SCHEDULE_ALL_MOST   100
#define SCHEDULE_MOST_MAX   500   /* jobs of one entry at once */
#define SCHEDULE_QUEUE_MOST 100   /* moments that wait for the job before them */
#define SCHEDULE_SCAN_MAX   1000  /* moments looked at in one step */
#define SCHEDULE_WALK_MAX   20000 /* about so many that are missed are counted one by one */

struct schedule {
    struct plan plan;
    struct push_order order; /* type, payload and options of each job; slices into `json` and `texts` */
    bool args_function;      /* the payload is made at each tick, by the application */
    bool paused;             /* as long as it says so, nothing is planned */
    enum catch_up catch_up;
    int64_t within_ms, jitter_ms;
    unsigned most;
    enum overlap overlap;
    uint64_t fired_max; /* 0: no limit */
    uint32_t ledger;    /* rows */
    json_t *json;
    struct buf texts, tags;
};

/* BADARG names the key, and for an expression the field and column. On any other code than MQ_OK nothing is owned. */
enum mq_code schedule_read(struct schedule *out, struct slice name, struct slice definition,
                           size_t payload_max, struct mq_err *err);
void schedule_release(struct schedule *schedule);
/* The keys there are, for messages; NULL ends. */
extern const char *const schedule_keys[];
/* The definition as the store keeps it: keys in order, nothing that is null. The caller's. */
char *schedule_text(json_t *definition);
/* Two definitions name the same moments: what is planned stays. */
bool schedule_same_times(const struct schedule *a, const struct schedule *b);

/* Neither its max nor its end has come; it may have no moment left all the same. */
bool schedule_goes_on(const struct schedule *schedule, uint64_t fired, wall_ms now);

/* Added to the time of each job, 0 to jitter_ms: the same for the same moment, whoever computes it. */
int64_t schedule_jitter(const struct schedule *schedule, struct slice name, wall_ms planned);

/* Where an entry stands. */
struct standing {
    wall_ms since, planned;
    uint64_t fired;
    wall_ms waiting_since;         /* the first moment that had to wait for the job before; 0: none does */
    wall_ms step_from, step_until; /* the wall clock was stepped over this span; 0: it was not */
};

/* What becomes of the planned moment, and of those after it that share its fate. */
struct decision {
    enum tick_outcome outcome;
    wall_ms planned, until, next;
    uint32_t count;
    bool more;
};
/* `standing->planned` has come. Bounded: looks at SCHEDULE_SCAN_MAX moments. */
struct decision schedule_decide(const struct schedule *schedule, const struct standing *standing,
                                wall_ms now);
/*
 * What a change of the clock has left to the moment `at`, which is decided now: times that the clock of its zone jumps over
 * or shows twice; else moments that came once more when the wall clock was set back, up to `again->until`. count 0:
 * nothing. `note` (TICK_NOTE_MAX) says it for people, also of a moment that is only later than its time: then it is empty, or
 * belongs to the moment's own row.
 */
struct again {
    wall_ms after, until; /* (after, until] has been decided, and came again; 0: nothing did */
};
struct tick_row schedule_merged(const struct schedule *schedule, wall_ms since, wall_ms at,
                                const struct again *again, char *note);
/* The moments from the planned one up to `until` as one row, PAUSED; count 0: there are none. */
struct decision schedule_pass_over(const struct schedule *schedule, const struct standing *standing,
                                   wall_ms until);
#endif
