/*
 * pulse.h - that an internal loop still turns: what each room tells of its own, for STATS and for the watchdog.
 *
 * A loop that has nothing to do may be silent for as long as it likes, so age alone says little: `late_ms` is for how long it
 * has not done what it should have done.
 */
#ifndef MOONQ_BASE_PULSE_H
#define MOONQ_BASE_PULSE_H

#include <stdint.h>
#include "base/clock.h"

struct pulse {
    const char *name; /* "sweep_due": a constant */
    int64_t age_ms;   /* since it ran last; -1: not yet */
    int64_t late_ms;  /* its work has waited for so long; 0: it has none, or is in time */
};

#define PULSES_MAX 24
#define PULSE_LATE_MS                                                                                        \
    10000 /* a slow disk takes seconds over a commit; nothing takes this long that is well */

/* A row of a list with room for PULSES_MAX: ran at `ran_at` (0: not yet), should have run at `due_at`. */
static inline void pulse_add(struct pulse *list, unsigned *count, const char *name, mono_ms now,
                             mono_ms ran_at, mono_ms due_at)
{
    if (*count == PULSES_MAX)
        return;
    list[(*count)++] = (struct pulse){name, ran_at ? now - ran_at : -1, due_at < now ? now - due_at : 0};
}
#endif
