#include "dispatch/plan.h"

enum mq_code plan_open(struct plan *out, struct slice name, struct slice expression, struct slice zone,
                       const struct cron_options *options, struct mq_err *err)
{
    struct plan plan = {.end = WALL_NEVER};
    struct mq_err why = {0};
    enum mq_code code = cron_parse(&plan.cron, expression, name, options, &why);
    if (code != MQ_OK)
        return mq_fail(err, code, "cron: %.300s", why.text);
    code = zone_open(&plan.zone, zone, &why);
    if (code != MQ_OK)
        return mq_fail(err, code, "tz: %.300s", why.text);
    *out = plan;
    return MQ_OK;
}

void plan_close(struct plan *plan)
{
    zone_close(plan->zone);
    plan->zone = NULL;
}

static wall_ms next_of_every(int64_t every_ms, wall_ms since, wall_ms after)
{
    if (after < since)
        return since + every_ms;
    return since + ((after - since) / every_ms + 1) * every_ms;
}

wall_ms plan_next(const struct plan *plan, wall_ms since, wall_ms after)
{
    const struct cron *cron = &plan->cron;
    if (after >= plan->end)
        return WALL_NEVER;
    if (plan->start && after < plan->start - 1)
        after = plan->start - 1;
    wall_ms next = cron->kind == CRON_EVERY ? next_of_every(cron->every_ms, since, after)
                                            : cron_next(cron, plan->zone, after);
    return next <= plan->end && next <= WALL_MAX ? next : WALL_NEVER;
}
