/* What a person does: to one job, to all that a filter finds, to a queue. */
#include "model_inside.h"

/* ---- what a person does ------------------------------------------------------------------------------------ */

static bool step_allowed(enum store_verb verb, enum job_state state)
{
    bool waits =
        state == JOB_BLOCKED || state == JOB_SCHEDULED || state == JOB_READY || state == JOB_RETRYING;
    bool ended =
        state == JOB_SUCCEEDED || state == JOB_DEAD || state == JOB_CANCELLED || state == JOB_EXPIRED;
    switch (verb) {
    case STORE_CANCEL:
        return waits || state == JOB_RUNNING;
    case STORE_RETRY:
        return ended || state == JOB_RETRYING;
    case STORE_DELETE:
        return waits || ended;
    case STORE_PROMOTE:
        return state == JOB_SCHEDULED || state == JOB_RETRYING;
    case STORE_TAKE_BACK:
        return state == JOB_RUNNING;
    case STORE_RESCHEDULE:
        return state == JOB_SCHEDULED || state == JOB_READY || state == JOB_RETRYING;
    default: /* EDIT */
        return waits || (ended && state != JOB_SUCCEEDED);
    }
}

static void set_payload(struct model_job *job, struct slice payload)
{
    text_of(job->payload, payload);
    job->payload_len = payload.len;
}

enum job_state cancel(struct model *m, struct model_job *job, wall_ms now)
{
    job->cancelling = job->state == JOB_RUNNING;
    if (job->cancelling)
        return JOB_RUNNING;
    finish(m, job, JOB_CANCELLED, now);
    return JOB_CANCELLED;
}

/* Does one step that is allowed; answers the state it leaves the job in. */
static enum job_state do_step(struct model *m, struct model_job *job, const struct op_step *op, wall_ms now)
{
    bool later = op->run_at > now;
    switch (op->op.verb) {
    case STORE_CANCEL:
        return cancel(m, job, now);
    case STORE_RESCHEDULE:
        reschedule(m, job, op->run_at, now);
        return job->state;
    case STORE_DELETE:
        drop_key(m, job, now);
        erase(m, job);
        return JOB_NONE;
    case STORE_EDIT:
        set_payload(job, op->payload);
        return job->state;
    case STORE_TAKE_BACK:
        return release(m, job, RELEASE_GIVE_BACK, 0, now);
    case STORE_RETRY:
        if (op->edit)
            set_payload(job, op->payload);
        if (job->state != JOB_RETRYING) { /* a life of its own begins */
            job->attempt = job->crashes = 0;
            job->expires_at = WALL_NEVER;
            if (job->role == KEY_SPENT)
                job->role = KEY_FREE;
        }
        break;
    default:
        break;
    }
    if (later) {
        job->due_at = op->run_at;
        follow_key(m, job, job->since);
    } else
        make_ready(m, job, now, false);
    return job->state;
}

enum mq_code apply_step(struct model *m, const struct store_op *head)
{
    const struct op_step *op = (const struct op_step *)head;
    struct model_job *job = model_find(m, op->id);
    if (!job)
        return MQ_NOTFOUND;
    if (!step_allowed(head->verb, job->state))
        return MQ_WRONGSTATE;
    if (m->no_space && (head->verb == STORE_EDIT || (head->verb == STORE_RETRY && op->edit)))
        return MQ_NOSPACE;
    if (head->verb == STORE_RETRY && op->run_at > head->now && job->state != JOB_RETRYING)
        return MQ_BADARG;
    if (head->verb == STORE_RETRY && job->state != JOB_RETRYING && is_key_taken(m, job, head->now))
        return MQ_CONFLICT;
    struct model_job before = *job;
    enum job_state after = do_step(m, job, op, head->now);
    bool signalled = head->verb == STORE_CANCEL && before.state == JOB_RUNNING;
    if (op->was != before.state || op->state != after)
        model_wrong(m, "job %s: the step answered %s -> %s; it had to be %s -> %s", before.name,
                    state_name(op->was), state_name(op->state), state_name(before.state), state_name(after));
    bool taken = head->verb == STORE_TAKE_BACK;
    if (op->signalled != signalled || ((signalled || taken) && op->holds != before.token) ||
        (taken && op->attempt != before.attempt))
        model_wrong(m, "job %s: the step answered signalled %d, token %llu, attempt %u", before.name,
                    op->signalled, (unsigned long long)op->holds, op->attempt);
    return MQ_OK;
}

static bool has_tag(struct slice tag)
{
    return tag.len != 0; /* jobs of a history carry no tags */
}

bool model_fits(const struct model_job *job, const struct job_filter *filter)
{
    return (!filter->states || filter->states >> job->state & 1) &&
           (!filter->queue.len || slice_equal(filter->queue, slice_of(job->queue))) &&
           (!filter->type.len || slice_equal(filter->type, slice_of(job->type))) && !has_tag(filter->tag) &&
           (!filter->holder.len ||
            (job->state == JOB_RUNNING && slice_equal(filter->holder, slice_of(job->holder)))) &&
           (!filter->before || job->since < filter->before) &&
           (!filter->after || job->since >= filter->after);
}

static bool many_wants(const struct model_job *job, const struct op_many *op)
{
    bool ends = op->step == STORE_CANCEL || op->step == STORE_DELETE;
    return (ends ? job->pushed : job->since) < op->since && model_fits(job, &op->filter) &&
           step_allowed(op->step, job->state);
}

enum mq_code apply_many(struct model *m, const struct store_op *head)
{
    const struct op_many *op = (const struct op_many *)head;
    unsigned wanted = 0;
    bool moves = false; /* one job's step may be another's: those that have keys */
    for (unsigned i = 0; i < m->job_count; i++) {
        wanted += many_wants(&m->jobs[i], op);
        moves |= m->jobs[i].state == JOB_BLOCKED || (op->step == STORE_RETRY && m->jobs[i].role != KEY_NONE);
    }
    if (!op->cursor.len && op->finished && !moves && wanted != op->touched_count)
        model_wrong(m, "the bulk step touched %u jobs; it had to be %u", op->touched_count, wanted);
    if (op->looked_at > op->limit)
        model_wrong(m, "the bulk step looked at %u jobs, its limit is %u", op->looked_at, op->limit);
    for (unsigned i = 0; i < op->touched_count; i++) {
        struct model_job *job = model_find(m, op->touched[i]);
        struct op_step step = {.op = {.verb = op->step}};
        bool refused =
            job && op->step == STORE_RETRY && job->state != JOB_RETRYING && is_key_taken(m, job, head->now);
        if (!job || refused || !many_wants(job, op)) {
            model_wrong(m, "the bulk step touched job %s, which it must not", job ? job->name : "(none)");
            return MQ_OK;
        }
        bool held = job->state == JOB_RUNNING && (op->step == STORE_CANCEL || op->step == STORE_TAKE_BACK);
        uint64_t holds = held ? job->token : 0;
        char name[MODEL_TEXT];
        strcpy(name, job->name);
        if (op->holds[i] != holds)
            model_wrong(m, "job %s: the bulk step answered token %llu", job->name,
                        (unsigned long long)op->holds[i]);
        enum job_state after = do_step(m, job, &step, head->now);
        if (op->states[i] != after)
            model_wrong(m, "job %s: the bulk step answered %s, it had to be %s", name,
                        state_name((enum job_state)op->states[i]), state_name(after));
    }
    return MQ_OK;
}

enum mq_code apply_queue(struct model *m, const struct store_op *head)
{
    const struct op_queue *op = (const struct op_queue *)head;
    char name[MODEL_TEXT];
    if (op->change == QUEUE_RESUME && !model_queue(m, text_of(name, op->name)))
        return MQ_NOTFOUND;
    struct model_queue *queue = ensure_queue(m, op->name);
    if (op->change == QUEUE_PAUSE) {
        queue->paused = true;
        queue->paused_until = op->until ? op->until : WALL_NEVER;
    }
    if (op->change == QUEUE_DRAIN)
        queue->draining = true;
    if (op->change == QUEUE_RESUME)
        queue->paused = queue->draining = false;
    if (op->set_limit) {
        queue->own_limit = true;
        queue->limit = op->limit;
    }
    return MQ_OK;
}

enum mq_code apply_type(struct model *m, const struct store_op *head)
{
    const struct op_type *op = (const struct op_type *)head;
    unsigned at = 0;
    while (at < m->pause_count && !slice_equal(op->type, slice_of(m->pauses[at].type)))
        at++;
    struct model_pause *pause = &m->pauses[at];
    if (op->resume) {
        if (at == m->pause_count || pause->ended)
            return MQ_NOTFOUND;
        pause->ended = true;
        return MQ_OK;
    }
    if (at == m->pause_count) {
        pause->no = at ? m->pauses[at - 1].no + 1 : 1;
        text_of(pause->type, op->type);
        m->pause_count++;
    }
    pause->ended = false;
    pause->until = op->until ? op->until : WALL_NEVER;
    return MQ_OK;
}
