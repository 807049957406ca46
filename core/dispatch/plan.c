#include "dispatch/plan.h"

#include <string.h>

static bool starts_with(struct slice text, const char *word)
{
    size_t len = strlen(word);
    return text.len >= len && strncasecmp(text.at, word, len) == 0;
}

static enum mq_code read_every(struct plan *plan, struct slice expression, struct mq_err *err)
{
    size_t at = strlen("@every");
    while (at < expression.len && expression.at[at] == ' ')
        at++;
    struct slice text = {expression.at + at, expression.len - at};
    enum mq_code code = duration_parse(&plan->every_ms, text, err);
    if (code == MQ_OK && plan->every_ms < EVERY_LEAST_MS)
        code = mq_fail(err, MQ_BADARG, "cron: column %zu: '%.*s' is too often (%dms at least)", at + 1,
                       SLICE_ARG(text), EVERY_LEAST_MS);
    return code;
}

enum mq_code plan_open(struct plan *out, struct slice name, struct slice expression, struct slice zone,
                       struct mq_err *err)
{
    struct plan plan = {.end = WALL_NEVER};
    enum mq_code code = MQ_OK;
    (void)name, (void)zone;
    if (starts_with(expression, "@every"))
        code = read_every(&plan, expression, err);
    else if (slice_is_word(expression, "@reboot"))
        plan.reboot = true;
    else
        code = mq_fail(err, MQ_BADARG, "cron: only @every and @reboot are known");
    if (code == MQ_OK)
        *out = plan;
    return code;
}

void plan_close(struct plan *plan)
{
    (void)plan;
}

static wall_ms next_of_every(int64_t every_ms, wall_ms since, wall_ms after)
{
    if (after < since)
        return since + every_ms;
    return since + ((after - since) / every_ms + 1) * every_ms;
}

wall_ms plan_next(const struct plan *plan, wall_ms since, wall_ms after)
{
    if (plan->reboot || after >= plan->end)
        return WALL_NEVER;
    if (plan->start && after < plan->start - 1)
        after = plan->start - 1;
    wall_ms next = next_of_every(plan->every_ms, since, after);
    return next <= plan->end && next <= WALL_MAX ? next : WALL_NEVER;
}
