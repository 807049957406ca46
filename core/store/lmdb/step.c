/* What a person does to one job: cancel, retry, delete, promote, edit; and what a server does: park. */
#include "store/lmdb/machine.h"

#include <stdio.h>

static enum mq_code cancel(struct machine *m, struct job *job, const struct job_spec *spec,
                           struct op_step *op)
{
    if (op->reason.len)
        job->status.note = op->reason; /* kept with the finished record */
    if (job->status.state == JOB_RUNNING) {
        op->signalled = true;
        op->holds = job->status.token;
        if (!job->status.cancelling) {
            job->status.cancelling = true;
            job_write(m, job);
        }
        return MQ_OK;
    }
    job_finish(m, job, STEP_CANCEL, spec->keep_ms, op->op.now);
    return MQ_OK;
}

/* A life of its own begins: no attempt counted, no crash, and no expiry, for a person wants it run. */
static void begin_anew(struct job_status *status)
{
    status->attempt = status->crashes = 0;
    status->expires_at = WALL_NEVER;
    status->progress = -1;
    status->note = SLICE_EMPTY;
    status->late_ms = 0;
    if (status->key_role == KEY_SPENT)
        status->key_role = KEY_FREE;
}

static enum mq_code retry(struct machine *m, struct job *job, const struct job_spec *spec, struct op_step *op)
{
    bool waits = job->status.state == JOB_RETRYING, later = op->run_at > op->op.now;
    if (later && !waits)
        return mq_fail(&op->op.err, MQ_BADARG,
                       "only a retrying job can be given a later time; this one is %s",
                       state_name(job->status.state));
    enum mq_code code = waits ? MQ_OK : unique_refuses(m, job, spec, op->op.now, &op->op.err);
    if (code != MQ_OK)
        return code;
    if (op->edit)
        job_set_payload(m, job, spec, op->payload);
    job_leave(m, job);
    if (later) {
        job->status.due_at = op->run_at;
    } else {
        if (!waits)
            begin_anew(&job->status);
        job_make_ready(job, STEP_RETRY, op->op.now, false);
    }
    job_enter(m, job);
    return MQ_OK;
}

static enum mq_code promote(struct machine *m, struct job *job, const struct job_spec *spec,
                            struct op_step *op)
{
    (void)spec;
    job_leave(m, job);
    if (op->run_at > op->op.now)
        job->status.due_at = op->run_at; /* another time, the same state */
    else
        job_make_ready(job, STEP_PROMOTE, op->op.now, false);
    job_enter(m, job);
    return MQ_OK;
}

static enum mq_code delete (struct machine *m, struct job *job, const struct job_spec *spec,
                            struct op_step *op) {
    (void)spec; job_leave(m, job); unique_drop(m, job, op->op.now); job_erase(m, job->id);
        job->status.state = JOB_NONE; return MQ_OK;
}

static enum mq_code edit(struct machine *m, struct job *job, const struct job_spec *spec, struct op_step *op)
{
    job_set_payload(m, job, spec, op->payload);
    return MQ_OK;
}

/* Handed to a worker that has no handler for its type: back, uncharged, and not to workers again. */
static enum mq_code park(struct machine *m, struct job *job, const struct job_spec *spec, struct op_step *op)
{
    if (job->status.cancelling) {
        job_finish(m, job, STEP_CANCEL, spec->keep_ms, op->op.now);
        return MQ_OK;
    }
    job_leave_unstarted(m, job); /* nobody has begun it: it may still expire */
    if (job->status.attempt)
        job->status.attempt--;
    job_make_ready(job, STEP_GIVE_BACK, op->op.now, true);
    job_enter(m, job);
    return MQ_OK;
}

/* A person's word against the holder's: as if it had given the job back. */
static enum mq_code take_back(struct machine *m, struct job *job, const struct job_spec *spec,
                              struct op_step *op)
{
    op->holds = job->status.token;
    op->attempt = job->status.attempt;
    release_job(m, job, spec, RELEASE_GIVE_BACK, 0, (struct attempt_words){.message = op->reason},
                op->op.now);
    return MQ_OK;
}

static enum mq_code reschedule(struct machine *m, struct job *job, const struct job_spec *spec,
                               struct op_step *op)
{
    (void)spec;
    job_leave(m, job);
    job_reschedule(job, op->run_at, op->op.now);
    job_enter(m, job);
    return MQ_OK;
}

#define IN(state) (1u << (state))

/* A row a verb: the states that allow it (0: those of the transition table), and what it does. */
static const struct step_row {
    enum store_verb verb;
    const char *name;
    enum job_step step;
    uint32_t states;
    enum mq_code (*run)(struct machine *m, struct job *job, const struct job_spec *spec, struct op_step *op);
} rows[] = {
    {STORE_CANCEL, "CANCEL", STEP_CANCEL, 0, cancel},
    {STORE_RETRY, "RETRY", STEP_RETRY, 0, retry},
    {STORE_DELETE, "DELETE", STEP_DELETE, 0, delete},
    {STORE_PROMOTE, "PROMOTE", STEP_PROMOTE, 0, promote},
    {STORE_RESCHEDULE, "RESCHEDULE", STEP_RESCHEDULE, IN(JOB_SCHEDULED) | IN(JOB_READY) | IN(JOB_RETRYING),
     reschedule},
    {STORE_EDIT, "EDIT", STEP_PUSH,
     IN(JOB_BLOCKED) | IN(JOB_SCHEDULED) | IN(JOB_READY) | IN(JOB_RETRYING) | IN(JOB_DEAD) |
         IN(JOB_CANCELLED) | IN(JOB_EXPIRED),
     edit},
    {STORE_TAKE_BACK, "RELEASE", STEP_GIVE_BACK, 0, take_back},
    {STORE_PARK, "PARK", STEP_GIVE_BACK, 0, park},
};

static const struct step_row *row_of(enum store_verb verb)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].verb == verb)
            return &rows[i];
    mq_bug("store verb %d is not a step", (int)verb);
}

static bool allowed(const struct step_row *row, enum job_state state)
{
    return row->states ? row->states & IN(state) : state_allows(state, row->step);
}

/* WRONGSTATE, with what may be done instead. */
static enum mq_code refuse(struct store_op *op, const struct job *job, const struct step_row *row)
{
    char id[JOB_ID_TEXT_BYTES], possible[120] = "";
    size_t len = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].verb != STORE_PARK && allowed(&rows[i], job->status.state))
            len += (size_t)snprintf(possible + len, sizeof possible - len, "%s%s", len ? ", " : "",
                                    rows[i].name);
    return mq_fail(&op->err, MQ_WRONGSTATE, "job %s is %s: %s is not possible (%s would be)",
                   id_format(id, job->id), state_name(job->status.state), row->name,
                   len ? possible : "nothing");
}

static void keep_holder(const struct job *job, struct op_step *op)
{
    if (op->want_holder && job->status.state == JOB_RUNNING) {
        buf_add_slice(&op->op.memory, job->status.holder);
        op->holder = (struct slice){NULL, job->status.holder.len};
    }
}

enum mq_code step_job(struct machine *m, struct job *job, struct op_step *op)
{
    const struct step_row *row = row_of(op->op.verb);
    struct job_spec spec;
    op->was = op->state = job->status.state;
    op->signalled = false;
    op->holds = op->attempt = 0;
    op->holder = SLICE_EMPTY;
    if (!allowed(row, job->status.state))
        return refuse(&op->op, job, row);
    bool adds = row->verb == STORE_EDIT || (row->verb == STORE_RETRY && op->edit);
    if (adds && m->no_space)
        return mq_fail(&op->op.err, MQ_NOSPACE, "the disk is full: payloads cannot be changed");
    enum mq_code code = job_spec(m, job, &spec, &op->op);
    if (code != MQ_OK)
        return code;
    keep_holder(job, op);
    job_names(&op->op, &spec);
    if (op->holder.len) /* names may have moved it */
        op->holder.at = buf_bytes(&op->op.memory).at;
    code = row->run(m, job, &spec, op);
    op->state = job->status.state;
    return code;
}

void step_run(struct machine *m, struct store_op *head)
{
    struct op_step *op = (struct op_step *)head;
    struct job job;
    char text[JOB_ID_TEXT_BYTES];
    head->code = job_find(m, &job, op->id, head);
    if (head->code != MQ_OK)
        return;
    if (head->verb == STORE_PARK && (job.status.state != JOB_RUNNING || job.status.token != op->token)) {
        head->code = mq_fail(&head->err, MQ_LOST, "the lease %llu of job %s is over",
                             (unsigned long long)op->token, id_format(text, op->id));
        return;
    }
    head->code = step_job(m, &job, op);
}
