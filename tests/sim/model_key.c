/*
 * Unique keys: of all jobs of a type, at most one holds a key, and at most one waits behind it. There is no record of a
 * key here: who holds it is found by looking at all jobs.
 */
#include "model_inside.h"

struct model_job *model_key(const struct model *m, const char *type, const char *key, enum key_role role)
{
    for (unsigned i = 0; i < m->job_count; i++)
        if (m->jobs[i].role == role && strcmp(m->jobs[i].type, type) == 0 && strcmp(m->jobs[i].key, key) == 0)
            return &m->jobs[i];
    return NULL;
}

void reschedule(struct model *m, struct model_job *job, wall_ms run_at, wall_ms now)
{
    if (run_at <= now) {
        if (job->state == JOB_READY)
            follow_key(m, job, job->since);
        else
            make_ready(m, job, now, false);
        return;
    }
    enum job_state state = job->state == JOB_RETRYING ? JOB_RETRYING : JOB_SCHEDULED;
    if (job->state != state)
        job->since = now;
    job->state = state;
    job->due_at = run_at;
    job->parked = false;
    job->held = 0;
    follow_key(m, job, job->since);
}

static void pass_on(struct model *m, const struct model_job *job, wall_ms now)
{
    struct model_job *next = model_key(m, job->type, job->key, KEY_WAITS);
    if (!next)
        return;
    next->role = KEY_FREE;
    reschedule(m, next, next->due_at, now);
}

void follow_key(struct model *m, struct model_job *job, wall_ms now)
{
    bool blocks = job->key_states >> job->state & 1;
    if (job->role == KEY_HOLDS && !blocks) {
        job->role = KEY_FREE;
        pass_on(m, job, now);
    } else if (job->role == KEY_WAITS && job->state != JOB_BLOCKED) {
        job->role = KEY_FREE;
    } else if (job->role == KEY_FREE && blocks) {
        if (job->key_until <= now)
            job->role = KEY_SPENT;
        else if (!model_key(m, job->type, job->key, KEY_HOLDS))
            job->role = KEY_HOLDS;
    }
}

void spend_key(struct model *m, struct model_job *job, wall_ms now)
{
    job->role = KEY_SPENT;
    pass_on(m, job, now);
}

void drop_key(struct model *m, struct model_job *job, wall_ms now)
{
    bool held = job->role == KEY_HOLDS;
    job->role = KEY_FREE;
    if (held)
        pass_on(m, job, now);
}

bool is_key_taken(const struct model *m, const struct model_job *job, wall_ms now)
{
    bool wants = (job->role == KEY_FREE || job->role == KEY_SPENT) && job->key_states >> JOB_READY & 1 &&
                 job->key_until > now;
    return wants && model_key(m, job->type, job->key, KEY_HOLDS);
}

enum mq_code apply_free_key(struct model *m, const struct store_op *head)
{
    const struct op_unique *op = (const struct op_unique *)head;
    struct model_job *holder = NULL;
    unsigned holders = 0;
    for (unsigned i = 0; i < m->job_count; i++) {
        struct model_job *job = &m->jobs[i];
        if (job->role != KEY_HOLDS || !slice_equal(op->key, slice_of(job->key)) ||
            (op->job_type.len && !slice_equal(op->job_type, slice_of(job->type))))
            continue;
        holder = job;
        holders++;
    }
    if (holders > 1)
        return MQ_BADARG;
    if (!holder || holder->key_until <= head->now)
        return MQ_NOTFOUND;
    char type[MODEL_TEXT], key[MODEL_TEXT];
    strcpy(type, holder->type);
    strcpy(key, holder->key);
    job_id had = holder->id;
    spend_key(m, holder, head->now);
    const struct model_job *next = model_key(m, type, key, KEY_HOLDS);
    if (!m->guessing && (op->count != 1 || op->rows[0].holder != had ||
                         op->rows[0].waiter != (next ? next->id : JOB_ID_NONE)))
        model_wrong(m, "the release of key %s says that others had or have it", key);
    return MQ_OK;
}
