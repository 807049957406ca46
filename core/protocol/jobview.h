/*
 * jobview.h - a job as JOB and JOBS show it.
 */
#ifndef MOONQ_PROTOCOL_JOBVIEW_H
#define MOONQ_PROTOCOL_JOBVIEW_H

#include "job/job.h"
#include "protocol/reply.h"

#define JOBVIEW_PAIRS 32 /* what jobview_add writes */
/* Keys and values, without the map's head: JOB adds its history to the same map. */
void jobview_add(struct reply *reply, const struct job_view *view);
#endif
