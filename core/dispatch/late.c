/* Lateness: of each job that had a time, how long after it it was handed out. */
#include "dispatch/inside.h"

/* In milliseconds: fine where one looks closely, coarse where only the order of magnitude matters. */
static const int64_t bounds[LATE_BOUNDS] = {1,   2,    5,    10,    20,    50,     100,     200,
                                            500, 1000, 5000, 10000, 60000, 600000, 3600000, 86400000};

void late_count(struct late_stats *late, const struct op_lease *lease)
{
    for (unsigned i = 0; i < lease->count; i++) {
        const struct leased_job *job = &lease->jobs[i];
        unsigned at = 0;
        if (!job->was_due)
            continue;
        while (at < LATE_BOUNDS && job->late_ms > bounds[at])
            at++;
        late->in[at]++;
        late->count++;
        late->last_ms = job->late_ms;
        if (job->late_ms > late->max_ms)
            late->max_ms = job->late_ms;
    }
}

int64_t late_quantile(const struct late_stats *late, double part)
{
    double wanted = part * (double)late->count;
    uint64_t met = 0;
    for (unsigned i = 0; i < LATE_BOUNDS; i++) {
        met += late->in[i];
        if ((double)met >= wanted)
            return bounds[i] < late->max_ms ? bounds[i] : late->max_ms;
    }
    return late->max_ms;
}
