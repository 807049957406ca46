/* What time does, and what a restart does. */
#include "model_inside.h"

/* ---- what time does ---------------------------------------------------------------------------------------- */

/* A moment at which something is to happen to a job. */
struct moment {
    wall_ms at;
    job_id id;
    enum {
        RUNS,
        EXPIRES,
        FREES_KEY
    } kind;
};
struct moments {
    struct moment *at;
    unsigned count;
};

static void add_moment(struct moments *list, wall_ms at, job_id id, int kind)
{
    list->at = realloc(list->at, (list->count + 1) * sizeof *list->at);
    list->at[list->count++] = (struct moment){at < 0 ? 0 : at, id, kind};
}

static int by_moment(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return (int)x->kind - (int)y->kind;
}

static struct moments sorted(struct moments list)
{
    if (list.count)
        qsort(list.at, list.count, sizeof *list.at, by_moment);
    return list;
}

static struct moments moments_due(const struct model *m)
{
    struct moments list = {0};
    for (unsigned i = 0; i < m->job_count; i++) {
        const struct model_job *job = &m->jobs[i];
        if (job->state == JOB_SCHEDULED || job->state == JOB_RETRYING)
            add_moment(&list, job->due_at, job->id, RUNS);
        if (job->role == KEY_HOLDS && job->key_until != WALL_NEVER)
            add_moment(&list, job->key_until, job->id, FREES_KEY);
        bool may_expire = job->state == JOB_SCHEDULED || job->state == JOB_READY || job->state == JOB_BLOCKED;
        if (may_expire && !job->started && job->expires_at != WALL_NEVER)
            add_moment(&list, job->expires_at, job->id, EXPIRES);
    }
    return sorted(list);
}

static struct moments moments_lease(const struct model *m)
{
    struct moments list = {0};
    for (unsigned i = 0; i < m->job_count; i++)
        if (m->jobs[i].state == JOB_RUNNING)
            add_moment(&list, m->jobs[i].deadline, m->jobs[i].id, RUNS);
    return sorted(list);
}

static bool is_finished(const struct model_job *job)
{
    return model_is_final(job) && job->state != JOB_DEAD;
}

static uint64_t how_many(const struct model *m, bool dead)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < m->job_count; i++)
        count += dead ? m->jobs[i].state == JOB_DEAD : is_finished(&m->jobs[i]);
    return count;
}

static bool too_many(uint64_t count, uint64_t max)
{
    return max && count > max;
}

static struct moments moments_old(const struct model *m)
{
    struct moments list = {0};
    for (unsigned i = 0; i < m->job_count; i++)
        if (is_finished(&m->jobs[i]))
            add_moment(&list, m->jobs[i].due_at, m->jobs[i].id, RUNS);
    return sorted(list);
}

/* By the moment of their death. */
static struct moments moments_dead(const struct model *m)
{
    struct moments list = {0};
    for (unsigned i = 0; i < m->job_count; i++)
        if (m->jobs[i].state == JOB_DEAD)
            add_moment(&list, m->jobs[i].since, m->jobs[i].id, RUNS);
    return sorted(list);
}

static wall_ms first_moment(struct moments list)
{
    wall_ms first = WALL_NEVER;
    for (unsigned i = 0; i < list.count; i++)
        if (list.at[i].at < first)
            first = list.at[i].at;
    free(list.at);
    return first;
}

wall_ms model_next_due(const struct model *m)
{
    return first_moment(moments_due(m));
}

wall_ms model_next_lease(const struct model *m)
{
    return first_moment(moments_lease(m));
}

wall_ms model_next_old(const struct model *m)
{
    return too_many(how_many(m, false), m->keep_max) ? 0 : first_moment(moments_old(m));
}

wall_ms model_next_dead(const struct model *m)
{
    if (too_many(how_many(m, true), m->dead_max))
        return 0;
    wall_ms first = m->dead_keep_ms > 0 ? first_moment(moments_dead(m)) : WALL_NEVER;
    return first == WALL_NEVER ? WALL_NEVER : first + m->dead_keep_ms;
}

/* What a sweep does to one job; answers the state it ends in. False: an earlier moment of this sweep settled it. */
static bool sweep_job(struct model *m, const struct op_sweep *op, const struct moment *moment,
                      struct model_job *job, enum job_state *end)
{
    wall_ms now = op->op.now;
    if (op->what == SWEEP_LEASES) {
        queue_of(m, job)->lost++;
        keep_attempt(job, STEP_LOST);
        *end = job->cancelling ? JOB_CANCELLED : job->attempt >= job->max_attempts ? JOB_DEAD : JOB_READY;
        if (*end == JOB_CANCELLED)
            finish(m, job, JOB_CANCELLED, now);
        else if (*end == JOB_DEAD)
            make_dead(m, job, now);
        else
            make_ready(m, job, now, false);
    } else {
        bool waits = job->state == JOB_SCHEDULED || job->state == JOB_RETRYING,
             expires = moment->kind == EXPIRES;
        if (moment->kind == FREES_KEY) {
            if (job->role == KEY_HOLDS && job->key_until == moment->at)
                spend_key(m, job, now);
            return false;
        }
        if (expires ? job->state != JOB_SCHEDULED && job->state != JOB_READY && job->state != JOB_BLOCKED
                    : !waits)
            return false;
        *end = expires || is_expired(job, now) ? JOB_EXPIRED : JOB_READY;
        if (*end == JOB_EXPIRED)
            finish(m, job, JOB_EXPIRED, now);
        else
            make_ready(m, job, now, false);
    }
    return true;
}

wall_ms model_next_pause(const struct model *m)
{
    wall_ms next = WALL_NEVER;
    for (unsigned i = 0; i < m->queue_count; i++)
        if (m->queues[i].paused && m->queues[i].paused_until < next)
            next = m->queues[i].paused_until;
    for (unsigned i = 0; i < m->pause_count; i++) {
        wall_ms until = m->pauses[i].ended ? 0 : m->pauses[i].until;
        next = until < next ? until : next;
    }
    return next;
}

static void expect_ended(struct model *m, const struct op_sweep *op, unsigned *told, bool is_type,
                         const char *name)
{
    const struct ended_pause *ended = *told < op->ended_count ? &op->ended[*told] : NULL;
    ++*told;
    if (!ended || ended->is_type != is_type || !slice_equal(ended->name, slice_of(name)))
        model_wrong(m, "the sweep had to say that the pause of '%s' is over", name);
}

/* Lets go of what a pause holds, by id; false if some had to stay. */
static bool let_go(struct model *m, uint32_t no, unsigned *left)
{
    for (unsigned i = 0; i < m->job_count; i++) {
        if (m->jobs[i].held != no)
            continue;
        if (*left == 0)
            return false;
        m->jobs[i].held = 0;
        follow_key(m, &m->jobs[i], m->jobs[i].since);
        --*left;
    }
    return true;
}

static enum mq_code sweep_pauses(struct model *m, const struct op_sweep *op)
{
    unsigned left = op->limit, told = 0, kept = 0;
    bool more = false;
    for (unsigned i = 0; i < m->queue_count && !more; i++) {
        struct model_queue *queue = &m->queues[i];
        if (!queue->paused || queue->paused_until > op->op.now)
            continue;
        more = left == 0;
        if (more)
            break;
        left--;
        queue->paused = false;
        expect_ended(m, op, &told, false, queue->name);
    }
    for (unsigned i = 0; i < m->pause_count; i++) {
        struct model_pause pause = m->pauses[i];
        bool over = !more && (pause.ended || pause.until <= op->op.now);
        if (over && !pause.ended)
            expect_ended(m, op, &told, true, pause.type);
        pause.ended |= over;
        more |= over && !let_go(m, pause.no, &left);
        if (!over || more)
            m->pauses[kept++] = pause;
    }
    m->pause_count = kept;
    if (told != op->ended_count || more != op->more || op->count)
        model_wrong(m, "the sweep ended %u pauses, more %d; it had to be %u, more %d", op->ended_count,
                    op->more, told, more);
    return MQ_OK;
}

/* The sweep's answer number `told` must be about this job. */
static void expect_swept(struct model *m, const struct op_sweep *op, unsigned told,
                         const struct model_job *before, enum job_state end)
{
    const struct swept *swept = told < op->count ? &op->swept[told] : NULL;
    if (!swept || swept->id != before->id || swept->was != before->state || swept->state != end ||
        swept->attempt != before->attempt)
        model_wrong(m, "the sweep had to move job %s from %s to %s, and says otherwise", before->name,
                    state_name(before->state), state_name(end));
}

static void expect_end(struct model *m, const struct op_sweep *op, unsigned told, bool more)
{
    if (told != op->count || more != op->more)
        model_wrong(m, "the sweep moved %u jobs, more %d; it had to be %u, more %d", op->count, op->more,
                    told, more);
}

static enum mq_code sweep_old(struct model *m, const struct op_sweep *op)
{
    struct moments list = moments_old(m);
    unsigned told = 0, early = 0;
    for (; told < list.count && told < op->limit; told++) {
        bool is_early = list.at[told].at > op->op.now;
        if (is_early && !too_many(how_many(m, false), m->keep_max))
            break;
        struct model_job *job = model_find(m, list.at[told].id);
        expect_swept(m, op, told, job, JOB_NONE);
        drop_key(m, job, op->op.now);
        erase(m, job);
        early += is_early;
    }
    expect_end(m, op, told, model_next_old(m) <= op->op.now);
    if (early != op->evicted)
        model_wrong(m, "the sweep says that %u were too many, it had to be %u", op->evicted, early);
    free(list.at);
    return MQ_OK;
}

static bool must_go(const struct model *m, const struct model_job *job, uint64_t without, wall_ms now)
{
    return (m->dead_keep_ms > 0 && job->since + m->dead_keep_ms <= now) ||
           too_many(how_many(m, true) - without, m->dead_max);
}

static enum mq_code name_dead(struct model *m, const struct op_sweep *op)
{
    struct moments list = moments_dead(m);
    unsigned told = 0;
    for (; told < list.count && told < op->limit; told++) {
        const struct model_job *job = model_find(m, list.at[told].id);
        if (!must_go(m, job, told, op->op.now))
            break;
        expect_swept(m, op, told, job, JOB_DEAD);
        if (told < op->count && op->swept[told].token != job->token)
            model_wrong(m, "the sweep names job %s by another token", job->name);
    }
    expect_end(m, op, told, false);
    free(list.at);
    return MQ_OK;
}

static enum mq_code sweep_dead(struct model *m, const struct op_sweep *op)
{
    unsigned told = 0;
    if (!op->letter_count)
        return name_dead(m, op);
    for (unsigned i = 0; i < op->letter_count; i++) {
        struct model_job *job = model_find(m, op->letters[i].id);
        if (!job || job->state != JOB_DEAD || job->token != op->letters[i].token ||
            !must_go(m, job, 0, op->op.now))
            continue;
        expect_swept(m, op, told++, job, JOB_NONE);
        drop_key(m, job, op->op.now);
        erase(m, job);
    }
    expect_end(m, op, told, model_next_dead(m) <= op->op.now);
    return MQ_OK;
}

enum mq_code apply_sweep(struct model *m, const struct store_op *head)
{
    const struct op_sweep *op = (const struct op_sweep *)head;
    if (op->what == SWEEP_PAUSES)
        return sweep_pauses(m, op);
    if (op->what == SWEEP_OLD)
        return sweep_old(m, op);
    if (op->what == SWEEP_DEAD)
        return sweep_dead(m, op);
    struct moments list = op->what == SWEEP_DUE ? moments_due(m) : moments_lease(m);
    unsigned looked = 0, told = 0;
    bool more = false;
    for (unsigned i = 0; i < list.count && !more; i++) {
        if (list.at[i].at > head->now)
            break;
        if (looked++ == op->limit) {
            more = true;
            break;
        }
        struct model_job *job = model_find(m, list.at[i].id);
        enum job_state end;
        if (!job)
            continue;
        struct model_job before = *job;
        if (!sweep_job(m, op, &list.at[i], job, &end))
            continue;
        expect_swept(m, op, told++, &before, end);
    }
    expect_end(m, op, told, more);
    free(list.at);
    return MQ_OK;
}

/* ---- parked jobs, and those of workers that are gone ------------------------------------------------------ */

static bool is_parked(const struct model_job *job, const void *with)
{
    (void)with;
    return job->parked;
}

static unsigned queue_no(const struct model *m, const struct model_job *job)
{
    return (unsigned)(model_queue(m, job->queue) - m->queues);
}

/* By queue, priority, id. */
static bool parks_before(const struct model *m, const struct model_job *a, const struct model_job *b)
{
    unsigned x = queue_no(m, a), y = queue_no(m, b);
    return x != y ? x < y : goes_first(a, b);
}

static bool has_type(const struct op_unpark *op, const struct model_job *job)
{
    for (unsigned i = 0; i < op->type_count; i++)
        if (slice_equal(op->types[i], slice_of(job->type)))
            return true;
    return op->type_count == 0;
}

enum mq_code apply_unpark(struct model *m, const struct store_op *head)
{
    const struct op_unpark *op = (const struct op_unpark *)head;
    const struct model_job *last = model_find(m, op->from);
    bool including = true; /* `from` itself is still to be done */
    unsigned count = 0;
    job_id next = 0;
    for (unsigned looked = 0;; looked++) {
        struct model_job *best = NULL;
        for (unsigned i = 0; i < m->job_count; i++) {
            struct model_job *job = &m->jobs[i];
            bool done = last && (including ? parks_before(m, job, last) : !parks_before(m, last, job));
            if (is_parked(job, NULL) && !done && (!best || parks_before(m, job, best)))
                best = job;
        }
        if (!best)
            break;
        if (looked == op->limit) {
            next = best->id;
            break;
        }
        last = best;
        including = false;
        if (has_type(op, best)) {
            best->parked = false;
            follow_key(m, best, best->since);
            count++;
        }
    }
    if (count != op->count || next != op->next)
        model_wrong(m, "UNPARK unparked %u jobs; it had to be %u", op->count, count);
    return MQ_OK;
}

enum mq_code apply_recover(struct model *m, const struct store_op *head)
{
    const struct op_recover *op = (const struct op_recover *)head;
    struct moments list = moments_lease(m);
    unsigned done = 0, given_back = 0, charged = 0, dead = 0;
    bool more = false;
    for (unsigned i = 0; i < list.count; i++) {
        struct model_job *job = model_find(m, list.at[i].id);
        bool suspect = false;
        if (!job->by_worker)
            continue;
        if (done++ == op->limit) {
            more = true;
            break;
        }
        for (unsigned s = 0; s < op->suspect_count; s++)
            suspect |= op->suspects[s] == job->id;
        given_back += !suspect;
        charged += suspect;
        dead +=
            release(m, job, suspect ? RELEASE_CRASHED : RELEASE_GIVE_BACK, op->run_at, head->now) == JOB_DEAD;
    }
    free(list.at);
    if (given_back != op->given_back || charged != op->charged || dead != op->dead || more != op->more)
        model_wrong(m, "recovery gave back %u, charged %u, buried %u; it had to be %u, %u, %u",
                    op->given_back, op->charged, op->dead, given_back, charged, dead);
    return MQ_OK;
}
