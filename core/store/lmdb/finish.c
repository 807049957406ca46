/* How an attempt ends by its holder's word: ACK, NACK, and the ways to lose a job without a word. */
#include "store/lmdb/machine.h"

#include "job/record.h"

/*
 * The holder's compare-and-set: the job runs, and under this token. A job that is gone or runs no more, or under
 * another token, was lost by this holder.
 */
static enum mq_code find_held(struct machine *m, struct job *job, job_id id, uint64_t token,
                              struct store_op *op)
{
    const struct job_status *status = &job->status;
    char text[JOB_ID_TEXT_BYTES];
    enum mq_code code = job_find(m, job, id, op);
    if (code != MQ_OK || (status->state == JOB_RUNNING && status->token == token))
        return code;
    id_format(text, id);
    if (status->state == JOB_RUNNING)
        return mq_fail(
            &op->err, MQ_LOST,
            "the lease %llu of job %s is lost: '%.*s' holds it now, under lease %llu (drop the work, "
            "do not retry)",
            (unsigned long long)token, text, SLICE_ARG(status->holder), (unsigned long long)status->token);
    return mq_fail(&op->err, MQ_LOST,
                   "the lease %llu of job %s is over: the job is %s (drop the work, do not retry)",
                   (unsigned long long)token, text, state_name(status->state));
}

/* ---- ACK ---- */

/* The pushes before this one that go to the same queue. */
static uint64_t same_queue_before(const struct op_complete *op, unsigned index)
{
    uint64_t same = 0;
    for (unsigned i = 0; i < index; i++)
        same += slice_equal(op->children[i]->spec.queue, op->children[index]->spec.queue);
    return same;
}

static bool has_keyed_child(const struct op_complete *op)
{
    for (unsigned i = 0; i < op->child_count; i++)
        if (op->children[i]->spec.unique_key.len)
            return true;
    return false;
}

static enum mq_code check_children(struct machine *m, struct op_complete *op)
{
    for (unsigned i = 0; i < op->child_count; i++) {
        struct store_op *child = &op->children[i]->op;
        child->code = push_check(m, op->children[i], same_queue_before(op, i), &op->op.err);
        if (child->code != MQ_OK)
            return child->code;
    }
    return MQ_OK;
}

static void keep_result(struct machine *m, job_id id, struct slice result)
{
    struct key key;
    key_of_id(&key, id);
    if (result.len)
        txn_put(m, DB_RESULTS, &key, result);
    else if (txn_count(m, DB_RESULTS))
        txn_remove(m, DB_RESULTS, &key); /* of an earlier life */
}

static void succeed(struct machine *m, struct op_complete *op, struct job *job, int64_t keep_ms)
{
    wall_ms now = op->op.now;
    if (job_stays_until(job, JOB_SUCCEEDED, keep_ms, now) > now) {
        job_record_attempt(m, job, STEP_ACK, &(struct attempt_words){.scripts = op->scripts}, now);
        keep_result(m, job->id, op->result);
    }
    job_finish(m, job, STEP_ACK, keep_ms, now);
}

/* Whether a unique key is free is known only when all before it is done: the key may be that of the job that ends. */
struct ending {
    struct op_complete *op;
    struct job *job;
    int64_t keep_ms;
};
static enum mq_code end_with_keys(struct machine *m, void *with)
{
    struct ending *ending = with;
    struct op_complete *op = ending->op;
    enum mq_code code = MQ_OK;
    succeed(m, op, ending->job, ending->keep_ms);
    for (unsigned i = 0; i < op->child_count && code == MQ_OK; i++)
        code = push_one(m, op->children[i], &op->op.err);
    return code;
}

static void push_children(struct machine *m, struct op_complete *op)
{
    for (unsigned i = 0; i < op->child_count; i++)
        push_apply(m, op->children[i]);
}

/*
 * The commonest end: of a job of which LMDB has not been told, under the right lease, and nothing of it is kept.
 * False: it is another.
 */
static bool complete_fresh(struct machine *m, struct op_complete *op)
{
    struct store_op *head = &op->op;
    struct job_spec spec;
    struct fresh *fresh = fresh_find(m, op->id);
    if (!fresh || fresh->kept || fresh->status.state != JOB_RUNNING || fresh->status.token != op->token ||
        record_read_spec(&spec, fresh_record(m, fresh), NULL) != MQ_OK)
        return false;
    head->code = check_children(m, op);
    if (head->code != MQ_OK)
        return true;
    job_names(head, &spec);
    job_count_end(m, fresh->queue, state_after(JOB_RUNNING, STEP_ACK));
    fresh_end(m, fresh);
    push_children(m, op);
    return true;
}

void complete_run(struct machine *m, struct store_op *head)
{
    struct op_complete *op = (struct op_complete *)head;
    struct job job;
    struct job_spec spec;
    bool keys = has_keyed_child(op);
    if (!keys && complete_fresh(m, op))
        return;
    head->code = find_held(m, &job, op->id, op->token, head);
    if (head->code == MQ_OK)
        head->code = job_spec(m, &job, &spec, head);
    if (head->code == MQ_OK && !keys)
        head->code = check_children(m, op);
    if (head->code != MQ_OK)
        return;
    job_names(head, &spec);
    if (keys) {
        head->code = machine_try(m, end_with_keys, &(struct ending){op, &job, spec.keep_ms});
        return;
    }
    succeed(m, op, &job, spec.keep_ms);
    push_children(m, op);
}

/* ---- NACK ---- */

static void uncharge(struct job_status *status)
{
    if (status->attempt)
        status->attempt--;
}

static void wait_until(struct machine *m, struct job *job, enum job_step step, wall_ms run_at, wall_ms now)
{
    struct job_status *status = &job->status;
    enum job_state state = state_after(status->state, step);
    job_leave(m, job);
    status->holder = status->note = SLICE_EMPTY;
    status->cancelling = status->held_by_worker = false;
    status->deadline = 0;
    status->progress = -1;
    status->state = state;
    status->since = now;
    status->due_at = run_at < 0 ? 0 : run_at;
    status->was_due = 0;
    job_enter(m, job);
}

/* Failed: another attempt, or the dead letters if none is left. */
static void fail_charged(struct machine *m, struct job *job, const struct job_spec *spec, wall_ms run_at,
                         wall_ms now)
{
    if (job->status.attempt >= spec->max_attempts)
        job_bury(m, job, now);
    else
        wait_until(m, job, STEP_FAIL, run_at, now);
}

/* The step that the attempt's record names. */
static enum job_step outcome_of(const struct op_fail *op, const struct job *job, const struct job_spec *spec)
{
    switch (op->verdict) {
    case FAIL_RETRY:
        if (job->status.cancelling)
            return STEP_CANCEL;
        return job->status.attempt >= spec->max_attempts ? STEP_BURY : STEP_FAIL;
    case FAIL_DEAD:
        return STEP_BURY;
    case FAIL_DISCARD:
        return STEP_DISCARD;
    case FAIL_SNOOZE:
        return job->status.cancelling ? STEP_CANCEL : STEP_SNOOZE;
    case FAIL_CANCELLED:
        return STEP_CANCEL;
    }
    return STEP_FAIL;
}

void fail_run(struct machine *m, struct store_op *head)
{
    struct op_fail *op = (struct op_fail *)head;
    struct job job;
    struct job_spec spec;
    head->code = find_held(m, &job, op->id, op->token, head);
    if (head->code == MQ_OK)
        head->code = job_spec(m, &job, &spec, head);
    if (head->code != MQ_OK)
        return;
    job_names(head, &spec);
    struct job_spec own = spec; /* numbers only, from here on: the slices go with the next write */
    enum job_step outcome = outcome_of(op, &job, &own);
    wall_ms now = head->now;
    op->attempt = job.status.attempt;
    job_record_attempt(m, &job, outcome,
                       &(struct attempt_words){op->code, op->message, op->traceback, op->scripts}, now);
    if (outcome == STEP_FAIL || outcome == STEP_BURY) {
        queue_touch(m, job.queue);
        job.queue->body.counts.failed++;
    }
    switch (outcome) {
    case STEP_FAIL:
        fail_charged(m, &job, &own, op->run_at, now);
        break;
    case STEP_BURY:
        job_bury(m, &job, now);
        break;
    case STEP_SNOOZE:
        uncharge(&job.status);
        wait_until(m, &job, STEP_SNOOZE, op->run_at, now);
        break;
    default: /* discarded, or cancelled */
        job_finish(m, &job, outcome, own.keep_ms, now);
    }
    op->state = job.status.state;
}

/* ---- lost without a word ---- */

static enum job_state give_back(struct machine *m, struct job *job, const struct job_spec *spec, bool begun,
                                const struct attempt_words *words, wall_ms now)
{
    if (job->status.cancelling) {
        job_record_attempt(m, job, STEP_CANCEL, words, now);
        job_finish(m, job, STEP_CANCEL, spec->keep_ms, now);
        return job->status.state;
    }
    job_record_attempt(m, job, STEP_GIVE_BACK, words, now);
    if (begun)
        job_leave(m, job);
    else
        job_leave_unstarted(m, job);
    uncharge(&job->status);
    job_make_ready(job, STEP_GIVE_BACK, now, false);
    job_enter(m, job);
    return job->status.state;
}

enum job_state release_job(struct machine *m, struct job *job, const struct job_spec *spec,
                           enum release_kind kind, wall_ms run_at, struct attempt_words words, wall_ms now)
{
    if (kind == RELEASE_GIVE_BACK || kind == RELEASE_UNSTARTED)
        return give_back(m, job, spec, kind == RELEASE_GIVE_BACK, &words, now);
    bool crashed = kind == RELEASE_CRASHED;
    words.code = crashed ? SLICE("CRASH") : SLICE("TIMEOUT");
    queue_touch(m, job->queue);
    job->queue->body.counts.failed += !crashed;
    job->queue->body.counts.crashed += crashed;
    job->status.crashes += crashed;
    if (job->status.cancelling) {
        job_record_attempt(m, job, STEP_CANCEL, &words, now);
        job_finish(m, job, STEP_CANCEL, spec->keep_ms, now);
        return job->status.state;
    }
    bool poison = crashed && m->rules.crash_limit && job->status.crashes >= m->rules.crash_limit;
    bool spent = job->status.attempt >= spec->max_attempts;
    job_record_attempt(m, job, poison || spent ? STEP_BURY : STEP_FAIL, &words, now);
    if (poison)
        job_bury(m, job, now);
    else
        fail_charged(m, job, spec, run_at, now);
    return job->status.state;
}

void release_run(struct machine *m, struct store_op *head)
{
    struct op_release *op = (struct op_release *)head;
    struct job job;
    struct job_spec spec;
    head->code = find_held(m, &job, op->id, op->token, head);
    if (head->code == MQ_OK)
        head->code = job_spec(m, &job, &spec, head);
    if (head->code != MQ_OK)
        return;
    job_names(head, &spec);
    op->attempt = job.status.attempt;
    struct attempt_words words = {.message = op->message, .scripts = op->scripts};
    op->state = release_job(m, &job, &spec, op->kind, op->run_at, words, head->now);
}

/* ---- signs of life ---- */

void extend_run(struct machine *m, struct store_op *head)
{
    struct op_extend *op = (struct op_extend *)head;
    struct job job;
    struct job_spec spec;
    head->code = find_held(m, &job, op->id, op->token, head);
    bool by_client =
        head->code == MQ_OK && !job.status.held_by_worker; /* dispatch minds a worker's timeout */
    if (head->code == MQ_OK && (!op->lease_ms || head->want_names || by_client))
        head->code = job_spec(m, &job, &spec, head);
    if (head->code != MQ_OK)
        return;
    op->overdue = by_client && head->now - job.status.since > spec.timeout_ms;
    uint32_t lease_ms = op->lease_ms ? op->lease_ms : spec.lease_ms;
    if (head->want_names)
        job_names(head, &spec);
    op->cancelling = job.status.cancelling;
    op->deadline = head->now + lease_ms;
    if (op->deadline == job.status.deadline)
        return;
    job_unindex(m, job.id, &job.status);
    job.status.deadline = op->deadline;
    job_index(m, job.id, &job.status);
    job_write(m, &job);
}

static void add_log_line(struct machine *m, job_id id, struct slice line, wall_ms now)
{
    struct key key;
    struct slice found;
    uint64_t seq = 0;
    MDB_val k, v;
    key_of_part(&key, id, UINT64_MAX);
    MDB_cursor_op how = txn_seek(m, DB_LOGS, &key, &found, NULL) ? MDB_PREV : MDB_LAST;
    int rc = mdb_cursor_get(txn_cursor(m, DB_LOGS), &k, &v, how);
    if (rc && rc != MDB_NOTFOUND)
        txn_fail(m, rc);
    if (rc == 0 && k.mv_size == 16 && be64_get(k.mv_data) == id)
        seq = be64_get((char *)k.mv_data + 8) + 1;
    key_of_part(&key, id, seq);
    char *at = txn_reserve(m, DB_LOGS, &key, 8 + line.len);
    be64_put(at, (uint64_t)now);
    memcpy(at + 8, line.at, line.len);
    if (seq >= LOG_LINES_MAX) {
        key_of_part(&key, id, seq - LOG_LINES_MAX);
        txn_remove(m, DB_LOGS, &key);
    }
}

static enum mq_code find_noted(struct machine *m, struct job *job, struct op_note *op)
{
    if (op->token)
        return find_held(m, job, op->id, op->token, &op->op);
    enum mq_code code = job_find(m, job, op->id, &op->op);
    if (code == MQ_OK && job->status.state != JOB_RUNNING)
        code = job_wrong(&op->op, job, "a note");
    return code;
}

void note_run(struct machine *m, struct store_op *head)
{
    struct op_note *op = (struct op_note *)head;
    struct job job;
    struct job_spec spec;
    head->code = find_noted(m, &job, op);
    if (head->code == MQ_OK && op->log_line.len && m->no_space)
        head->code = mq_fail(&head->err, MQ_NOSPACE, "the disk is full: log lines are not kept");
    if (head->code == MQ_OK && head->want_names)
        head->code = job_spec(m, &job, &spec, head);
    if (head->code != MQ_OK)
        return;
    if (head->want_names)
        job_names(head, &spec);
    op->cancelling = job.status.cancelling;
    if (op->progress >= 0) {
        job.status.progress = op->progress;
        job.status.note = op->text;
        job_write(m, &job);
    }
    if (op->log_line.len)
        add_log_line(m, job.id, op->log_line, head->now);
}
