/* From the push to the end of an attempt. */
#include "model_inside.h"

#include "job/record.h"

/* ---- PUSH -------------------------------------------------------------------------------------------------- */

/* `ahead`: pushes of the same operation that go to the same queue before this one. */
static enum mq_code push_code(const struct model *m, const struct op_push *op, unsigned ahead)
{
    char name[MODEL_TEXT];
    const struct model_queue *queue = model_queue(m, text_of(name, op->spec.queue));
    uint64_t limit = queue && queue->own_limit ? queue->limit : m->queue_limit;
    if (m->no_space)
        return MQ_NOSPACE;
    if (queue && queue->draining)
        return MQ_BUSY;
    if (limit != QUEUE_UNLIMITED && model_waiting(m, name) + ahead + 1 > limit)
        return MQ_FULL;
    return MQ_OK;
}

static void push_job(struct model *m, const struct op_push *op, bool behind)
{
    const struct job_spec *spec = &op->spec;
    wall_ms now = op->op.now;
    job_id id = m->guessing ? m->last_id + 1 : op->id;
    ensure_queue(m, spec->queue)->pushed++;
    if (m->job_count == m->job_cap) {
        m->job_cap = m->job_cap ? m->job_cap * 2 : 64;
        m->jobs = realloc(m->jobs, m->job_cap * sizeof *m->jobs);
    }
    struct model_job *job = &m->jobs[m->job_count++];
    *job = (struct model_job){
        .id = id,
        .payload_len = spec->payload.len,
        .state = behind             ? JOB_BLOCKED
                 : op->run_at > now ? JOB_SCHEDULED
                                    : JOB_READY,
        .priority = spec->priority,
        .max_attempts = spec->max_attempts,
        .lease_ms = spec->lease_ms,
        .keep_ms = spec->keep_ms,
        .since = now,
        .pushed = op->spec.pushed_at,
        .expires_at = spec->expires_at,
        .due_at = op->run_at > now ? op->run_at : 0,
        .role = !spec->unique_key.len ? KEY_NONE
                : behind              ? KEY_WAITS
                                      : KEY_FREE,
        .key_states = spec->unique_key.len ? spec->unique_states : 0,
        .key_until = spec->unique_until,
        .progress = -1,
    };
    text_of(job->key, spec->unique_key);
    text_of(job->type, spec->type);
    text_of(job->queue, spec->queue);
    text_of(job->payload, spec->payload);
    sscanf(job->payload, "%*[\"]%31[0-9.]", job->name);
    if (spec->schedule.len) { /* all jobs of an entry have the same payload */
        text_of(job->schedule, spec->schedule);
        job->planned_at = spec->planned_at;
        snprintf(job->name, sizeof job->name, "%.10s%+lld", job->schedule,
                 (long long)(spec->planned_at - MODEL_BEGIN));
    }
    if (id <= m->last_id)
        model_wrong(m, "the push of job %s got id %llx, not greater than the last", job->name,
                    (unsigned long long)id);
    if (op->state != job->state)
        model_wrong(m, "the push of job %s answered state %s", job->name, state_name(op->state));
    m->last_id = id;
    follow_key(m, job, now);
}

/* The key is held: nothing happens, or to the job that waits, which may be the holder itself. */
static enum push_outcome meet(const struct op_push *op, struct model_job *holder, struct model_job *waiter,
                              struct model_job **target)
{
    bool waits =
        holder->state == JOB_SCHEDULED || holder->state == JOB_READY || holder->state == JOB_RETRYING;
    *target = waiter ? waiter : waits ? holder : NULL;
    if (op->conflict == UNIQUE_REPLACE && !*target && holder->state == JOB_RUNNING)
        return PUSH_BEHIND;
    if (!*target || op->conflict == UNIQUE_SKIP) {
        *target = holder;
        return PUSH_SKIPPED;
    }
    return op->conflict == UNIQUE_REPLACE ? PUSH_REPLACED : PUSH_RESCHEDULED;
}

/* Who holds the key of this push. If its time is over it is let go of, swept or not: also by a push that is refused then. */
struct model_job *model_settle_key(struct model *m, const struct op_push *op)
{
    char type[MODEL_TEXT], key[MODEL_TEXT];
    if (!op->spec.unique_key.len || m->no_space)
        return NULL;
    struct model_job *holder =
        model_key(m, text_of(type, op->spec.type), text_of(key, op->spec.unique_key), KEY_HOLDS);
    if (!holder || holder->key_until > op->op.now)
        return holder;
    spend_key(m, holder, op->op.now);
    return model_key(m, type, key, KEY_HOLDS);
}

/* What becomes of it, and whom it meets: holder and target, if there are any. */
static enum push_outcome find_out(struct model *m, const struct op_push *op, struct model_job **holder,
                                  struct model_job **target)
{
    *target = NULL;
    *holder = model_settle_key(m, op);
    return *holder ? meet(op, *holder, model_key(m, (*holder)->type, (*holder)->key, KEY_WAITS), target)
                   : PUSH_ADDED;
}

enum push_outcome model_push_without(const struct model *m, const struct op_push *op, job_id gone)
{
    struct model copy = model_copy(m);
    struct model_job *holder, *target;
    cancel(&copy, model_find(&copy, gone), op->op.now);
    enum push_outcome outcome = find_out(&copy, op, &holder, &target);
    if (holder && op->conflict == UNIQUE_ERROR)
        outcome = PUSH_SKIPPED;
    model_copy_free(&copy);
    return outcome;
}

static void change(struct model *m, const struct op_push *op, struct model_job *job,
                   enum push_outcome outcome)
{
    wall_ms now = op->op.now;
    if (outcome == PUSH_REPLACED) {
        text_of(job->payload, op->spec.payload);
        job->payload_len = op->spec.payload.len;
    }
    job->expires_at = op->spec.expires_at;
    job->key_until = op->spec.unique_until;
    if (job->state == JOB_BLOCKED)
        job->due_at = op->run_at > now ? op->run_at : 0;
    else if (job->state != JOB_RETRYING || op->run_at > job->due_at) /* the backoff stays */
        reschedule(m, job, op->run_at, now);
    else
        follow_key(m, job, job->since);
}

static void check_answer(struct model *m, const struct op_push *op, enum push_outcome outcome, job_id id,
                         job_id holder)
{
    const struct model_job *job = model_find(m, op->id);
    if (m->guessing)
        return;
    if (op->outcome != outcome || (id != JOB_ID_NONE && op->id != id) || op->holder != holder ||
        (job && op->state != job->state))
        model_wrong(m, "a push of key %.*s answered outcome %d, state %s; it had to be %d, %s",
                    SLICE_ARG(op->spec.unique_key), (int)op->outcome, state_name(op->state), (int)outcome,
                    job ? state_name(job->state) : "none");
}

enum mq_code do_push(struct model *m, const struct op_push *op)
{
    struct model_job *holder, *target;
    if (m->no_space)
        return MQ_NOSPACE;
    enum push_outcome outcome = find_out(m, op, &holder, &target);
    job_id held_by = holder ? holder->id : JOB_ID_NONE;
    if (holder && op->conflict == UNIQUE_ERROR)
        return MQ_CONFLICT;
    if (outcome == PUSH_ADDED || outcome == PUSH_BEHIND) {
        enum mq_code code = push_code(m, op, 0);
        if (code != MQ_OK)
            return code;
        push_job(m, op, outcome == PUSH_BEHIND);
        check_answer(m, op, outcome, JOB_ID_NONE, held_by);
        return MQ_OK;
    }
    job_id id = target->id;
    if (outcome != PUSH_SKIPPED)
        change(m, op, target, outcome);
    check_answer(m, op, outcome, id, held_by);
    return MQ_OK;
}

enum mq_code apply_push(struct model *m, const struct store_op *op)
{
    return do_push(m, (const struct op_push *)op);
}

/* ---- LEASE ------------------------------------------------------------------------------------------------- */

struct lease_want {
    const char *queue;
    bool by_worker;
};

static bool may_have(const struct model_job *job, const void *with)
{
    const struct lease_want *want = with;
    return job->state == JOB_READY && strcmp(job->queue, want->queue) == 0 &&
           !(job->parked && want->by_worker) && !job->held;
}

bool goes_first(const struct model_job *a, const struct model_job *b)
{
    return a->priority != b->priority ? a->priority < b->priority : a->id < b->id;
}

static void hand_out(struct model *m, const struct op_lease *op, struct model_job *job, unsigned no)
{
    const struct leased_job *got = no < op->count ? &op->jobs[no] : NULL;
    struct job_spec spec;
    job->state = JOB_RUNNING;
    job->attempt++;
    job->since = op->op.now;
    job->deadline = op->op.now + (op->lease_ms ? op->lease_ms : job->lease_ms);
    job->due_at = 0;
    job->parked = job->cancelling = false;
    job->by_worker = op->by_worker;
    job->progress = -1;
    text_of(job->holder, op->holder);
    follow_key(m, job, job->since);
    if (!got || got->id != job->id) {
        const struct model_job *other = got ? model_find(m, got->id) : NULL;
        model_wrong(m, "the lease had to hand out job %s next, and handed out %s", job->name,
                    other ? other->name
                    : got ? "an unknown one"
                          : "nothing");
        return;
    }
    if (got->token <= m->last_token)
        model_wrong(m, "the token of job %s did not grow", job->name);
    if (got->attempt != job->attempt || got->crashes != job->crashes || got->deadline != job->deadline)
        model_wrong(m,
                    "job %s was leased with attempt %u, crashes %u, deadline %+lld; expected %u, %u, %+lld",
                    job->name, got->attempt, got->crashes, (long long)(got->deadline - op->op.now),
                    job->attempt, job->crashes, (long long)(job->deadline - op->op.now));
    if (record_read_spec(&spec, got->record, NULL) != MQ_OK || spec.payload.len != job->payload_len ||
        strncmp(spec.payload.at, job->payload, strlen(job->payload)) != 0)
        model_wrong(m, "job %s was handed out with another payload", job->name);
    m->last_token = job->token = got->token;
}

/* A lease as far as it has come. */
struct leasing {
    struct model *m;
    const struct op_lease *op;
    unsigned count, expired, held;
    bool more;
};

static bool is_complete(const struct leasing *leasing)
{
    return leasing->count >= leasing->op->max || leasing->more;
}

/* The job is first: it is handed out (true), set aside, or found to be too late. */
static bool give(struct leasing *leasing, struct model_job *job)
{
    struct model *m = leasing->m;
    const struct op_lease *op = leasing->op;
    uint32_t pause = model_pause_of(m, job->type, op->op.now);
    if (is_expired(job, op->op.now)) {
        if (leasing->expired >= op->expired_count || op->expired[leasing->expired] != job->id)
            model_wrong(m, "the lease had to expire job %s and did not say so", job->name);
        leasing->expired++;
        leasing->more |= op->hold_max && leasing->expired >= op->hold_max;
        finish(m, job, JOB_EXPIRED, op->op.now);
        return false;
    }
    if (pause) {
        job->held = pause;
        job->parked = false;
        follow_key(m, job, job->since);
        leasing->more |= ++leasing->held == op->hold_max;
        return false;
    }
    hand_out(m, op, job, leasing->count++);
    return true;
}

static struct model_job *first_of_queue(struct leasing *leasing, unsigned i)
{
    char name[MODEL_TEXT];
    struct lease_want want = {text_of(name, leasing->op->queues[i]), leasing->op->by_worker};
    const struct model_queue *queue = model_queue(leasing->m, name);
    return queue && !queue->paused ? model_first(leasing->m, &want, may_have, goes_first) : NULL;
}

/* All queues that have not given their share, together: who goes first is next, whatever its queue. */
static void give_shares(struct leasing *leasing)
{
    const struct op_lease *op = leasing->op;
    unsigned given[MODEL_QUEUES] = {0};
    while (!is_complete(leasing)) {
        struct model_job *next = NULL;
        unsigned from = 0;
        for (unsigned i = 0; i < op->queue_count; i++) {
            struct model_job *job = given[i] < op->shares[i] ? first_of_queue(leasing, i) : NULL;
            if (job && (!next || goes_first(job, next))) {
                next = job;
                from = i;
            }
        }
        if (!next)
            return;
        given[from] += give(leasing, next);
    }
}

enum mq_code apply_lease(struct model *m, const struct store_op *head)
{
    const struct op_lease *op = (const struct op_lease *)head;
    struct leasing leasing = {.m = m, .op = op};
    struct model_job *job;
    if (op->shares)
        give_shares(&leasing);
    for (unsigned i = 0; i < op->queue_count; i++)
        while (!is_complete(&leasing) && (job = first_of_queue(&leasing, i)))
            give(&leasing, job);
    if (leasing.count != op->count || leasing.expired != op->expired_count)
        model_wrong(m, "the lease handed out %u and expired %u; it had to be %u and %u", op->count,
                    op->expired_count, leasing.count, leasing.expired);
    if (leasing.held != op->held || leasing.more != op->more)
        model_wrong(m, "the lease set %u jobs aside, more %d; it had to be %u, %d", op->held, op->more,
                    leasing.held, leasing.more);
    return MQ_OK;
}

/* ---- what a holder says ------------------------------------------------------------------------------------ */

enum mq_code held_code(struct model *m, job_id id, uint64_t token, struct model_job **job)
{
    *job = model_find(m, id);
    if (!*job)
        return MQ_NOTFOUND;
    return (*job)->state == JOB_RUNNING && (*job)->token == token ? MQ_OK : MQ_LOST;
}

static enum mq_code complete(struct model *m, const struct op_complete *op)
{
    struct model_job *job = model_find(m, op->id);
    enum mq_code code = MQ_OK;
    keep_attempt(job, STEP_ACK);
    finish(m, job, JOB_SUCCEEDED, op->op.now);
    for (unsigned i = 0; i < op->child_count && code == MQ_OK; i++)
        code = do_push(m, op->children[i]);
    return code;
}

enum mq_code apply_complete(struct model *m, const struct store_op *head)
{
    const struct op_complete *op = (const struct op_complete *)head;
    struct model_job *job;
    enum mq_code code = held_code(m, op->id, op->token, &job);
    if (code != MQ_OK || op->child_count == 0)
        return code == MQ_OK ? complete(m, op) : code;
    struct model copy = model_copy(m);
    code = complete(&copy, op);
    model_copy_free(&copy);
    return code == MQ_OK && head->code == MQ_OK ? complete(m, op) : code;
}

static void check_outcome(struct model *m, const char *name, enum job_state got, enum job_state expected,
                          uint16_t got_attempt, uint16_t attempt)
{
    if (got != expected || got_attempt != attempt)
        model_wrong(m, "job %s: the answer says %s after attempt %u; it had to be %s after %u", name,
                    state_name(got), got_attempt, state_name(expected), attempt);
}

static bool is_spent(const struct model_job *job)
{
    return job->attempt >= job->max_attempts;
}

static void fail_or_bury(struct model *m, struct model_job *job, bool bury, wall_ms run_at, wall_ms now)
{
    keep_attempt(job, bury ? STEP_BURY : STEP_FAIL);
    if (bury)
        make_dead(m, job, now);
    else
        make_wait(m, job, JOB_RETRYING, run_at, now);
}

static void cancel_running(struct model *m, struct model_job *job, enum job_step step, wall_ms now)
{
    keep_attempt(job, step);
    finish(m, job, JOB_CANCELLED, now);
}

enum mq_code apply_fail(struct model *m, const struct store_op *head)
{
    const struct op_fail *op = (const struct op_fail *)head;
    struct model_job *job;
    enum mq_code code = held_code(m, op->id, op->token, &job);
    if (code != MQ_OK)
        return code;
    struct model_job before = *job;
    wall_ms now = head->now;
    enum job_state end = JOB_CANCELLED;
    bool stops = job->cancelling && (op->verdict == FAIL_RETRY || op->verdict == FAIL_SNOOZE);
    if (op->verdict == FAIL_DISCARD) {
        cancel_running(m, job, STEP_DISCARD, now);
    } else if (op->verdict == FAIL_CANCELLED || stops) {
        cancel_running(m, job, STEP_CANCEL, now);
    } else if (op->verdict == FAIL_SNOOZE) {
        end = JOB_SCHEDULED;
        job->attempt--;
        keep_attempt(job, STEP_SNOOZE);
        make_wait(m, job, JOB_SCHEDULED, op->run_at, now);
    } else {
        queue_of(m, job)->failed++;
        fail_or_bury(m, job, op->verdict == FAIL_DEAD || is_spent(job), op->run_at, now);
        end = job->state;
    }
    check_outcome(m, before.name, op->state, end, op->attempt, before.attempt);
    return MQ_OK;
}

/* Lost by its holder without a word; answers the state. */
enum job_state release(struct model *m, struct model_job *job, enum release_kind kind, wall_ms run_at,
                       wall_ms now)
{
    struct model_queue *queue = queue_of(m, job);
    queue->crashed += kind == RELEASE_CRASHED;
    queue->failed += kind == RELEASE_TIMED_OUT;
    job->crashes += kind == RELEASE_CRASHED;
    if (job->cancelling) {
        cancel_running(m, job, STEP_CANCEL, now);
        return JOB_CANCELLED;
    }
    if (kind == RELEASE_GIVE_BACK || kind == RELEASE_UNSTARTED) {
        bool started = job->started || kind == RELEASE_GIVE_BACK;
        job->attempt--;
        keep_attempt(job, STEP_GIVE_BACK);
        make_ready(m, job, now, false);
        job->started = started;
    } else {
        bool poison = kind == RELEASE_CRASHED && m->crash_limit && job->crashes >= m->crash_limit;
        fail_or_bury(m, job, poison || is_spent(job), run_at, now);
    }
    return job->state;
}

enum mq_code apply_release(struct model *m, const struct store_op *head)
{
    const struct op_release *op = (const struct op_release *)head;
    struct model_job *job;
    enum mq_code code = held_code(m, op->id, op->token, &job);
    if (code != MQ_OK)
        return code;
    struct model_job before = *job;
    enum job_state end = release(m, job, op->kind, op->run_at, head->now);
    check_outcome(m, before.name, op->state, end, op->attempt, before.attempt);
    return MQ_OK;
}

enum mq_code apply_extend(struct model *m, const struct store_op *head)
{
    const struct op_extend *op = (const struct op_extend *)head;
    struct model_job *job;
    enum mq_code code = held_code(m, op->id, op->token, &job);
    if (code != MQ_OK)
        return code;
    job->deadline = head->now + (op->lease_ms ? op->lease_ms : job->lease_ms);
    if (op->deadline != job->deadline || op->cancelling != job->cancelling)
        model_wrong(m, "job %s: EXTEND answered deadline %+lld, cancelling %d", job->name,
                    (long long)(op->deadline - head->now), op->cancelling);
    return MQ_OK;
}

enum mq_code apply_note(struct model *m, const struct store_op *head)
{
    const struct op_note *op = (const struct op_note *)head;
    struct model_job *job = model_find(m, op->id);
    enum mq_code code = !job                        ? MQ_NOTFOUND
                        : op->token                 ? held_code(m, op->id, op->token, &job)
                        : job->state != JOB_RUNNING ? MQ_WRONGSTATE
                                                    : MQ_OK;
    if (code == MQ_OK && op->log_line.len && m->no_space)
        code = MQ_NOSPACE;
    if (code != MQ_OK)
        return code;
    if (op->progress >= 0)
        job->progress = op->progress;
    if (op->cancelling != job->cancelling)
        model_wrong(m, "job %s: a note answered cancelling %d", job->name, op->cancelling);
    return MQ_OK;
}

enum mq_code apply_park(struct model *m, const struct store_op *head)
{
    const struct op_step *op = (const struct op_step *)head;
    struct model_job *job;
    enum mq_code code = held_code(m, op->id, op->token, &job);
    if (code != MQ_OK)
        return code;
    if (job->cancelling) {
        finish(m, job, JOB_CANCELLED, head->now);
        return MQ_OK;
    }
    bool started = job->started;
    job->attempt--;
    make_ready(m, job, head->now, true);
    job->started = started; /* by an attempt before this one */
    return MQ_OK;
}
