#include "model.h"

#include "model_inside.h"

/* ---- looking ------------------------------------------------------------------------------------------------ */

void model_init(struct model *m)
{
    memset(m, 0, sizeof *m);
}

void model_wrong(struct model *m, const char *format, ...)
{
    va_list args;
    if (m->wrong[0] || m->guessing)
        return;
    va_start(args, format);
    vsnprintf(m->wrong, sizeof m->wrong, format, args);
    va_end(args);
}

struct model_job *model_find(const struct model *m, job_id id)
{
    for (unsigned i = 0; i < m->job_count; i++)
        if (m->jobs[i].id == id)
            return &m->jobs[i];
    return NULL;
}

struct model_queue *model_queue(const struct model *m, const char *name)
{
    for (unsigned i = 0; i < m->queue_count; i++)
        if (strcmp(m->queues[i].name, name) == 0)
            return &m->queues[i];
    return NULL;
}

unsigned model_count(const struct model *m, const char *queue, enum job_state state)
{
    unsigned count = 0;
    for (unsigned i = 0; i < m->job_count; i++)
        count += m->jobs[i].state == state && strcmp(m->jobs[i].queue, queue) == 0;
    return count;
}

uint64_t model_waiting(const struct model *m, const char *queue)
{
    return (uint64_t)model_count(m, queue, JOB_BLOCKED) + model_count(m, queue, JOB_SCHEDULED) +
           model_count(m, queue, JOB_READY) + model_count(m, queue, JOB_RETRYING);
}

bool model_is_final(const struct model_job *job)
{
    return job->state == JOB_SUCCEEDED || job->state == JOB_DEAD || job->state == JOB_CANCELLED ||
           job->state == JOB_EXPIRED;
}

struct model_job *model_first(const struct model *m, const void *with,
                              bool (*wanted)(const struct model_job *, const void *with),
                              bool (*before)(const struct model_job *, const struct model_job *))
{
    struct model_job *best = NULL;
    for (unsigned i = 0; i < m->job_count; i++)
        if (wanted(&m->jobs[i], with) && (!best || before(&m->jobs[i], best)))
            best = &m->jobs[i];
    return best;
}

const char *text_of(char out[MODEL_TEXT], struct slice text)
{
    snprintf(out, MODEL_TEXT, "%.*s", SLICE_ARG(text));
    return out;
}

/* ---- changes that several operations share ---------------------------------------------------------------- */

struct model_queue *ensure_queue(struct model *m, struct slice name)
{
    char text[MODEL_TEXT];
    struct model_queue *queue = model_queue(m, text_of(text, name));
    if (queue)
        return queue;
    if (m->queue_count == m->queue_cap) {
        m->queue_cap = m->queue_cap ? m->queue_cap * 2 : 8;
        m->queues = realloc(m->queues, m->queue_cap * sizeof *m->queues);
    }
    queue = &m->queues[m->queue_count++];
    *queue = (struct model_queue){0};
    strcpy(queue->name, text);
    return queue;
}

struct model_queue *queue_of(struct model *m, const struct model_job *job)
{
    return model_queue(m, job->queue);
}

void erase(struct model *m, struct model_job *job)
{
    unsigned at = (unsigned)(job - m->jobs);
    memmove(job, job + 1, (--m->job_count - at) * sizeof *job);
}

/* Each attempt that ends stays in the job's history; of uncharged ones in a row, alike, only the last. */
void keep_attempt(struct model_job *job, enum job_step outcome)
{
    bool uncharged = outcome == STEP_GIVE_BACK || outcome == STEP_SNOOZE;
    job->ended += !(uncharged && job->ended && job->last_ended == outcome);
    job->last_ended = outcome;
}

/* Whoever held it may have begun it; where it is known that nobody did, the caller takes that back. */
static void end_lease(struct model_job *job)
{
    job->started |= job->state == JOB_RUNNING;
    job->cancelling = job->by_worker = false;
    job->deadline = 0;
    job->holder[0] = '\0';
}

void make_ready(struct model *m, struct model_job *job, wall_ms now, bool parked)
{
    end_lease(job);
    job->state = JOB_READY;
    job->since = now;
    job->due_at = 0;
    job->parked = parked;
    job->held = 0;
    job->progress = -1;
    follow_key(m, job, now);
}

void make_wait(struct model *m, struct model_job *job, enum job_state state, wall_ms run_at, wall_ms now)
{
    end_lease(job);
    job->state = state;
    job->since = now;
    job->due_at = run_at;
    job->progress = -1;
    follow_key(m, job, now);
}

void make_dead(struct model *m, struct model_job *job, wall_ms now)
{
    end_lease(job);
    job->state = JOB_DEAD;
    job->since = now;
    queue_of(m, job)->dead++;
    follow_key(m, job, now);
}

/* Its record stays for `keep`, as long as it holds a key that has an end, or not at all. */
void finish(struct model *m, struct model_job *job, enum job_state state, wall_ms now)
{
    struct model_queue *queue = queue_of(m, job);
    queue->succeeded += state == JOB_SUCCEEDED;
    queue->cancelled += state == JOB_CANCELLED;
    queue->expired += state == JOB_EXPIRED;
    end_lease(job);
    job->state = state;
    job->parked = false;
    job->held = 0;
    job->since = now;
    job->due_at = now + job->keep_ms;
    bool holds = job->role == KEY_HOLDS && job->key_states >> state & 1 && job->key_until != WALL_NEVER;
    if (holds && job->key_until > job->due_at)
        job->due_at = job->key_until;
    if (job->due_at > now) {
        follow_key(m, job, now);
    } else {
        drop_key(m, job, now);
        erase(m, job);
    }
}

uint32_t model_pause_of(const struct model *m, const char *type, wall_ms now)
{
    for (unsigned i = 0; i < m->pause_count; i++)
        if (strcmp(m->pauses[i].type, type) == 0 && !m->pauses[i].ended && m->pauses[i].until > now)
            return m->pauses[i].no;
    return 0;
}

bool is_expired(const struct model_job *job, wall_ms now)
{
    return !job->started && job->expires_at <= now;
}

/* ---- all of them ------------------------------------------------------------------------------------------- */

static enum mq_code apply(struct model *m, const struct store_op *op);

struct model model_copy(const struct model *m)
{
    struct model copy = *m;
    copy.guessing = true;
    copy.jobs = malloc((m->job_cap + 1) * sizeof *m->jobs);
    copy.queues = malloc((m->queue_cap + 1) * sizeof *m->queues);
    for (unsigned k = 0; k < m->job_count; k++)
        copy.jobs[k] = m->jobs[k];
    for (unsigned k = 0; k < m->queue_count; k++)
        copy.queues[k] = m->queues[k];
    return copy;
}

void model_copy_free(struct model *copy)
{
    free(copy->jobs);
    free(copy->queues);
}

/* A refused group changes nothing: what its members before the refused one do is done to a copy. */
static enum mq_code apply_group(struct model *m, const struct store_op *head)
{
    const struct op_group *op = (const struct op_group *)head;
    struct model copy = model_copy(m);
    enum mq_code code = MQ_OK;
    unsigned i = 0;
    while (i < op->count && (code = apply(&copy, op->members[i])) == MQ_OK)
        i++;
    model_copy_free(&copy);
    if (code != MQ_OK && op->failed != i)
        model_wrong(m, "the group says that member %u was refused; it had to be %u", op->failed, i);
    for (i = 0; i < op->count && code == MQ_OK && head->code == MQ_OK; i++)
        model_apply(m, op->members[i]);
    return code;
}

static enum mq_code apply(struct model *m, const struct store_op *op)
{
    static apply_verb *const verbs[STORE_VERBS] = {
        [STORE_PUSH] = apply_push,         [STORE_LEASE] = apply_lease,     [STORE_COMPLETE] = apply_complete,
        [STORE_FAIL] = apply_fail,         [STORE_RELEASE] = apply_release, [STORE_EXTEND] = apply_extend,
        [STORE_NOTE] = apply_note,         [STORE_PARK] = apply_park,       [STORE_CANCEL] = apply_step,
        [STORE_RETRY] = apply_step,        [STORE_DELETE] = apply_step,     [STORE_PROMOTE] = apply_step,
        [STORE_EDIT] = apply_step,         [STORE_MANY] = apply_many,       [STORE_QUEUE] = apply_queue,
        [STORE_SWEEP] = apply_sweep,       [STORE_UNPARK] = apply_unpark,   [STORE_RECOVER] = apply_recover,
        [STORE_GROUP] = apply_group,       [STORE_TYPE] = apply_type,       [STORE_TAKE_BACK] = apply_step,
        [STORE_FREE_KEY] = apply_free_key, [STORE_RESCHEDULE] = apply_step, [STORE_SCHEDULE] = apply_schedule,
        [STORE_TICK] = apply_tick,
    };
    return verbs[op->verb](m, op);
}

void model_apply(struct model *m, const struct store_op *op)
{
    enum mq_code code = apply(m, op);
    if (code != op->code)
        model_wrong(m, "an operation (verb %d) was answered %s%s%s; it had to be %s", (int)op->verb,
                    mq_code_name(op->code), op->code ? ": " : "", op->code ? op->err.text : "",
                    mq_code_name(code));
}
