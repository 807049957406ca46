#include "protocol/jobview.h"

static void add_times(struct reply *reply, const struct job_view *view)
{
    const struct job_status *status = &view->status;
    bool waits = status->state == JOB_SCHEDULED || status->state == JOB_RETRYING;
    reply_bulk(reply, SLICE("pushed_at"));
    reply_moment(reply, view->spec.pushed_at);
    reply_bulk(reply, SLICE("since"));
    reply_moment(reply, status->since);
    reply_bulk(reply, SLICE("run_at"));
    reply_moment(reply, waits ? status->due_at : WALL_NEVER);
    reply_bulk(reply, SLICE("expires_at"));
    reply_moment(reply, view->spec.expires_at);
    reply_bulk(reply, SLICE("keep"));
    reply_int(reply, view->spec.keep_ms);
    reply_bulk(reply, SLICE("timeout"));
    reply_int(reply, view->spec.timeout_ms);
    reply_bulk(reply, SLICE("lease"));
    reply_int(reply, view->spec.lease_ms);
}

/* What is only true while somebody holds it. */
static void add_holding(struct reply *reply, const struct job_status *status)
{
    bool held = status->state == JOB_RUNNING;
    reply_bulk(reply, SLICE("deadline"));
    reply_moment(reply, held ? status->deadline : WALL_NEVER);
    reply_bulk(reply, SLICE("holder"));
    reply_maybe(reply, held ? status->holder : SLICE_EMPTY);
    reply_bulk(reply, SLICE("token"));
    if (held)
        reply_int(reply, (int64_t)status->token);
    else
        reply_null(reply);
    reply_bulk(reply, SLICE("progress"));
    if (status->progress >= 0)
        reply_double(reply, (double)status->progress);
    else
        reply_null(reply);
    reply_bulk(reply, SLICE("note"));
    reply_maybe(reply, status->note);
    reply_bulk(reply, SLICE("cancelling"));
    reply_bool(reply, status->cancelling);
    reply_bulk(reply, SLICE("parked"));
    reply_bool(reply, status->parked);
    reply_bulk(reply, SLICE("held"));
    reply_bool(reply, status->held_no != 0);
}

/* Uniqueness and lateness. */
static void add_terms(struct reply *reply, const struct job_view *view)
{
    static const char *const roles[KEY_ROLES] = {
        [KEY_FREE] = "free", [KEY_HOLDS] = "holds", [KEY_WAITS] = "waits", [KEY_SPENT] = "spent"};
    const struct job_status *status = &view->status;
    reply_bulk(reply, SLICE("unique_key"));
    reply_maybe(reply, view->spec.unique_key);
    reply_bulk(reply, SLICE("unique"));
    if (roles[status->key_role])
        reply_text(reply, roles[status->key_role]);
    else
        reply_null(reply);
    reply_bulk(reply, SLICE("unique_until"));
    reply_moment(reply, status->key_role == KEY_HOLDS ? status->key_until : WALL_NEVER);
    reply_bulk(reply, SLICE("due_at"));
    reply_moment(reply, status->was_due ? status->was_due : WALL_NEVER);
    reply_bulk(reply, SLICE("late"));
    reply_int(reply, status->late_ms);
}

/* The cron entry that made it, and the moment that it stands for. */
static void add_schedule(struct reply *reply, const struct job_spec *spec)
{
    reply_bulk(reply, SLICE("schedule"));
    if (!spec->schedule.len) {
        reply_null(reply);
        return;
    }
    reply_map(reply, 2);
    reply_bulk(reply, SLICE("name"));
    reply_bulk(reply, spec->schedule);
    reply_bulk(reply, SLICE("planned_at"));
    reply_moment(reply, spec->planned_at);
}

void jobview_add(struct reply *reply, const struct job_view *view)
{
    reply_bulk(reply, SLICE("id"));
    reply_id(reply, view->id);
    reply_bulk(reply, SLICE("type"));
    reply_bulk(reply, view->spec.type);
    reply_bulk(reply, SLICE("queue"));
    reply_bulk(reply, view->spec.queue);
    reply_bulk(reply, SLICE("state"));
    reply_text(reply, state_name(view->status.state));
    reply_bulk(reply, SLICE("priority"));
    reply_int(reply, view->spec.priority);
    reply_bulk(reply, SLICE("attempt"));
    reply_int(reply, view->status.attempt);
    reply_bulk(reply, SLICE("max_attempts"));
    reply_int(reply, view->spec.max_attempts);
    reply_bulk(reply, SLICE("crashes"));
    reply_int(reply, view->status.crashes);
    reply_bulk(reply, SLICE("payload"));
    reply_bulk(reply, view->spec.payload);
    reply_bulk(reply, SLICE("meta"));
    reply_maybe(reply, view->spec.meta);
    reply_bulk(reply, SLICE("tags"));
    reply_tags(reply, view->spec.tags);
    add_schedule(reply, &view->spec);
    add_times(reply, view);
    add_holding(reply, &view->status);
    add_terms(reply, view);
}
