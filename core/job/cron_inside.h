/* cron_inside.h - what the files of cron share. For them only. */
#ifndef MOONQ_JOB_CRON_INSIDE_H
#define MOONQ_JOB_CRON_INSIDE_H

#include "job/cron.h"

/* The days that fire in a month of `last` days whose first is of that weekday, as a set: bits 1 to 31. */
uint32_t cron_days_of(const struct cron *cron, int last, int first_weekday);
#endif
