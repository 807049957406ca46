/* What the store holds, what dispatch believes and what it told, against the model. */
#include "sim.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/lmdb/read.h"

/* ---- contents --------------------------------------------------------------------------------------------------- */

static enum mq_code answer(struct snapshot *s, struct store_op *op)
{
    switch (op->verb) {
    case STORE_GET:
        return read_get(s, (struct op_get *)op);
    case STORE_LIST:
        return read_list(s, (struct op_list *)op);
    case STORE_QUEUES:
        return read_queues(s, (struct op_queues *)op);
    case STORE_SCHEDULES:
        return read_schedules(s, (struct op_schedules *)op);
    case STORE_TICKS:
        return read_ticks(s, (struct op_ticks *)op);
    default:
        sim_wrong("the simulation has no read of verb %d", (int)op->verb);
        return MQ_INTERNAL;
    }
}

/* In the transaction that is open, if one is: what a checkpoint would show, without making one. */
static void *view;
static void read_through(struct store_op *op)
{
    struct snapshot through;
    snapshot_init(&through, seam.env, INT32_MAX);
    through.txn = view;
    through.until = MONO_NEVER;
    buf_clear(&op->memory);
    op->code = answer(&through, op);
    buf_release(&through.rows);
}

/* A read of what is on disk now, by the store's own reader, past what is on its way. */
static void read_now(struct store_op *op)
{
    static struct snapshot snapshot;
    static unsigned of; /* which opening of the store it belongs to */
    static struct figures figures;
    if (of != seam.opened) {
        snapshot_init(&snapshot, seam.env, INT32_MAX);
        of = seam.opened;
    }
    if (view)
        read_through(op);
    else
        read_run(&snapshot, op, &figures, NULL, 0);
    if (op->code != MQ_OK)
        sim_wrong("a read fails: %s", op->err.text);
}

#define SAME(field, format, is, must)                                                                        \
    if ((is) != (must))                                                                                      \
    sim_wrong("job %s (%s): " field " is " format ", it must be " format, job->name, state_name(job->state), \
              is, must)

static void compare_status(const struct model_job *job, const struct job_status *status)
{
    if (status->state != job->state)
        sim_wrong("job %s is %s, it must be %s", job->name, state_name(status->state),
                  state_name(job->state));
    SAME("parked", "%d", status->parked, job->parked);
    SAME("held", "%u", status->held_no, job->held);
    SAME("cancelling", "%d", status->cancelling, job->cancelling);
    SAME("held by worker", "%d", status->held_by_worker, job->by_worker);
    SAME("started", "%d", status->started, job->started);
    SAME("attempt", "%u", status->attempt, job->attempt);
    SAME("crashes", "%u", status->crashes, job->crashes);
    SAME("priority", "%u", status->priority, job->priority);
    SAME("token", "%llu", (unsigned long long)status->token, (unsigned long long)job->token);
    SAME("since", "%lld", (long long)status->since, (long long)job->since);
    SAME("expires_at", "%lld", (long long)status->expires_at, (long long)job->expires_at);
    if (job->state != JOB_DEAD)
        SAME("due_at", "%lld", (long long)status->due_at, (long long)job->due_at);
    SAME("deadline", "%lld", (long long)status->deadline, (long long)job->deadline);
    if (!model_is_final(job))
        SAME("progress", "%g", (double)status->progress, (double)job->progress);
    SAME("key role", "%d", (int)status->key_role, (int)job->role);
    if (status->key_role == KEY_HOLDS)
        SAME("key until", "%lld", (long long)status->key_until, (long long)job->key_until);
    if (!slice_equal(status->holder, slice_of(job->holder)))
        sim_wrong("job %s: its holder is '%.*s', it must be '%s'", job->name, SLICE_ARG(status->holder),
                  job->holder);
}

static void compare_spec(const struct model_job *job, const struct job_spec *spec)
{
    if (!slice_equal(spec->type, slice_of(job->type)) || !slice_equal(spec->queue, slice_of(job->queue)) ||
        spec->payload.len != job->payload_len ||
        strncmp(spec->payload.at, job->payload, strlen(job->payload)) != 0)
        sim_wrong("job %s has another type, queue or payload", job->name);
    if (!slice_equal(spec->schedule, slice_of(job->schedule)) || spec->planned_at != job->planned_at)
        sim_wrong("job %s says that it stands for another moment", job->name);
}

static void compare_history(const struct model_job *job)
{
    struct op_get get = {.id = job->id, .with_history = true};
    store_op_init(&get.op, STORE_GET, sim.wall);
    read_now(&get.op);
    compare_status(job, &get.view.status);
    compare_spec(job, &get.view.spec);
    SAME("attempts kept", "%u", get.attempt_count, job->ended);
    if (job->ended)
        SAME("the last attempt's end", "%d", (int)get.attempts[job->ended - 1].outcome, (int)job->last_ended);
    store_op_release(&get.op);
}

void check_seen(const struct op_get *get)
{
    const struct model_job *job = model_find(&sim.model, get->id);
    if ((get->op.code == MQ_OK) != (job != NULL))
        sim_wrong("a client reads %s: %s", name_of(get->id),
                  get->op.code == MQ_OK ? "there" : get->op.err.text);
    if (job)
        compare_status(job, &get->view.status);
}

static void list_page(struct op_list *list, uint32_t states, unsigned limit, struct slice cursor)
{
    *list = (struct op_list){.limit = limit};
    store_op_init(&list->op, STORE_LIST, sim.wall);
    list->filter =
        (struct job_filter){.states = states, .queue = SLICE_EMPTY, .type = SLICE_EMPTY, .tag = SLICE_EMPTY};
    list->cursor = cursor;
    read_now(&list->op);
    if (list->count > limit)
        sim_wrong("a page of %u jobs has %u", limit, list->count);
}

static void compare_all(void)
{
    struct op_list list;
    const struct model *m = &sim.model;
    list_page(&list, 0, UINT32_MAX, SLICE_EMPTY);
    if (list.next_cursor.len)
        sim_wrong("a listing of all jobs has a second page");
    for (unsigned i = 0; i < m->job_count || i < list.count; i++) {
        if (i == list.count || (i < m->job_count && list.jobs[i].id > m->jobs[i].id))
            sim_wrong("job %s (%s) is not there", m->jobs[i].name, state_name(m->jobs[i].state));
        if (i == m->job_count || list.jobs[i].id < m->jobs[i].id)
            sim_wrong("there is a job (%s, %.*s) that must not exist", state_name(list.jobs[i].status.state),
                      SLICE_ARG(list.jobs[i].spec.type));
        compare_status(&m->jobs[i], &list.jobs[i].status);
        compare_spec(&m->jobs[i], &list.jobs[i].spec);
    }
    store_op_release(&list.op);
}

/* ---- indexes ------------------------------------------------------------------------------------------------------ */

/* The order in which each index lists its jobs. */
static unsigned rank_of_queue(const struct model_job *job)
{
    return (unsigned)(model_queue(&sim.model, job->queue) - sim.model.queues);
}

static bool ready_before(const struct model_job *a, const struct model_job *b)
{
    if (a->held != b->held)
        return a->held < b->held;
    if (a->held)
        return a->id < b->id;
    if (a->parked != b->parked)
        return b->parked;
    unsigned x = rank_of_queue(a), y = rank_of_queue(b);
    if (x != y)
        return x < y;
    return a->priority != b->priority ? a->priority < b->priority : a->id < b->id;
}

static bool due_before(const struct model_job *a, const struct model_job *b)
{
    wall_ms x = a->due_at < 0 ? 0 : a->due_at, y = b->due_at < 0 ? 0 : b->due_at;
    return x != y ? x < y : a->id < b->id;
}

static bool lease_before(const struct model_job *a, const struct model_job *b)
{
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->id < b->id;
}

static bool death_before(const struct model_job *a, const struct model_job *b)
{
    return a->since != b->since ? a->since < b->since : a->id < b->id;
}

static const struct index_row {
    const char *name;
    uint32_t states;
    bool (*before)(const struct model_job *, const struct model_job *);
} indexes[] = {
    {"ready", 1u << JOB_READY, ready_before},
    {"due", 1u << JOB_SCHEDULED | 1u << JOB_RETRYING, due_before},
    {"leases", 1u << JOB_RUNNING, lease_before},
    {"dead", 1u << JOB_DEAD, death_before},
    {"finished", 1u << JOB_SUCCEEDED | 1u << JOB_CANCELLED | 1u << JOB_EXPIRED, due_before},
};

/*
 * The listing of these states walks an index of the store: it must hold just these jobs, in this order, on however
 * many pages.
 */
static void compare_index(const struct index_row *row, unsigned limit)
{
    const struct model *m = &sim.model;
    struct op_list page;
    struct buf cursor = BUF_INIT;
    const struct model_job *last = NULL;
    unsigned count = 0, found = 0;
    bool more;
    for (unsigned i = 0; i < m->job_count; i++)
        count += row->states >> m->jobs[i].state & 1;
    do {
        list_page(&page, row->states, limit, buf_bytes(&cursor));
        for (unsigned i = 0; i < page.count; i++) {
            const struct model_job *job = model_find(m, page.jobs[i].id);
            if (!job || !(row->states >> job->state & 1))
                sim_wrong("the index '%s' has %s, which it must not have", row->name,
                          name_of(page.jobs[i].id));
            if (last && !row->before(last, job))
                sim_wrong("the index '%s' has job %s before job %s", row->name, last->name, job->name);
            last = job;
        }
        found += page.count;
        more = page.next_cursor.len > 0;
        buf_clear(&cursor);
        buf_add_slice(&cursor, page.next_cursor);
        store_op_release(&page.op);
    } while (more && found <= count);
    buf_release(&cursor);
    if (found != count)
        sim_wrong("the index '%s' has %u jobs, there are %u", row->name, found, count);
}

/* ---- counters -------------------------------------------------------------------------------------------------------- */

static void compare_count(const struct model_queue *queue, const char *what, uint64_t is, uint64_t must)
{
    if (is != must)
        sim_wrong("queue %s counts %llu %s, it must be %llu", queue->name, (unsigned long long)is, what,
                  (unsigned long long)must);
}

static void compare_queue(const struct model_queue *queue, const struct queue_view *view)
{
    const struct queue_counts *counts = &view->counts;
    if (view->pause.on != queue->paused || view->draining != queue->draining)
        sim_wrong("queue %s: paused %d, draining %d; it must be %d, %d", queue->name, view->pause.on,
                  view->draining, queue->paused, queue->draining);
    if (queue->paused && view->pause.until != queue->paused_until)
        sim_wrong("queue %s is paused until %lld, it must be %lld", queue->name, (long long)view->pause.until,
                  (long long)queue->paused_until);
    uint64_t held = 0;
    for (unsigned i = 0; i < sim.model.job_count; i++)
        held += sim.model.jobs[i].held && strcmp(sim.model.jobs[i].queue, queue->name) == 0;
    compare_count(queue, "held", counts->held, held);
    for (int state = JOB_BLOCKED; state < JOB_STATES; state++)
        compare_count(queue, state_name((enum job_state)state), counts->in_state[state],
                      model_count(&sim.model, queue->name, (enum job_state)state));
    compare_count(queue, "pushed", counts->pushed, queue->pushed);
    compare_count(queue, "succeeded", counts->succeeded, queue->succeeded);
    compare_count(queue, "failed", counts->failed, queue->failed);
    compare_count(queue, "dead", counts->dead, queue->dead);
    compare_count(queue, "cancelled", counts->cancelled, queue->cancelled);
    compare_count(queue, "expired", counts->expired, queue->expired);
    compare_count(queue, "lost", counts->lost, queue->lost);
    compare_count(queue, "crashed", counts->crashed, queue->crashed);
}

static void compare_types(const struct op_queues *op)
{
    unsigned found = 0;
    for (unsigned i = 0; i < sim.model.pause_count; i++) {
        const struct model_pause *pause = &sim.model.pauses[i];
        if (pause->ended)
            continue;
        const struct type_pause *is = found < op->type_count ? &op->types[found] : NULL;
        found++;
        if (!is || !slice_equal(is->type, slice_of(pause->type)) || is->pause.until != pause->until)
            sim_wrong("type %s must be paused until %lld, and is not", pause->type, (long long)pause->until);
    }
    if (found != op->type_count)
        sim_wrong("%u types are paused, it must be %u", op->type_count, found);
}

static void compare_queues(void)
{
    struct op_queues queues = {0};
    unsigned found = 0;
    store_op_init(&queues.op, STORE_QUEUES, sim.wall);
    read_now(&queues.op);
    for (unsigned i = 0; i < queues.count; i++) {
        char name[MODEL_TEXT];
        snprintf(name, sizeof name, "%.*s", SLICE_ARG(queues.queues[i].name));
        const struct model_queue *queue = model_queue(&sim.model, name);
        if (!queue)
            sim_wrong("there is a queue '%s' that must not exist", name);
        compare_queue(queue, &queues.queues[i]);
        found++;
    }
    if (found != sim.model.queue_count)
        sim_wrong("there are %u queues, it must be %u", found, sim.model.queue_count);
    compare_types(&queues);
    store_op_release(&queues.op);
}

/* ---- schedules ------------------------------------------------------------------------------------------------------ */

static void compare_ledger(const struct model_entry *entry, unsigned limit)
{
    struct op_ticks ticks = {.name = slice_of(entry->name), .limit = limit};
    store_op_init(&ticks.op, STORE_TICKS, sim.wall);
    read_now(&ticks.op);
    model_compare_ledger(&sim.model, entry, ticks.rows, ticks.count);
    if (ticks.more != (ticks.count < entry->kept) || (!ticks.more && ticks.count != entry->kept))
        sim_wrong("schedule %s has %u rows%s, it must be %u", entry->name, ticks.count,
                  ticks.more ? ", and more" : "", entry->kept);
    store_op_release(&ticks.op);
}

/* `deep`: each ledger, all of it; or the newest rows of one. */
static void compare_entries(bool deep)
{
    unsigned chosen = dice(ENTRIES);
    struct op_schedules all = {.limit = UINT32_MAX, .name = SLICE_EMPTY, .after = SLICE_EMPTY};
    store_op_init(&all.op, STORE_SCHEDULES, sim.wall);
    read_now(&all.op);
    if (all.count != sim.model.entry_count)
        sim_wrong("there are %u schedules, it must be %u", all.count, sim.model.entry_count);
    for (unsigned i = 0; i < all.count; i++) {
        const struct model_entry *entry = model_entry(&sim.model, all.schedules[i].name);
        if (!entry)
            sim_wrong("there is a schedule '%.*s' that must not exist", SLICE_ARG(all.schedules[i].name));
        model_compare_entry(&sim.model, entry, &all.schedules[i]);
        if (deep || i == chosen)
            compare_ledger(entry, deep ? UINT32_MAX : 3);
    }
    store_op_release(&all.op);
    if (sim.model.wrong[0])
        sim_wrong("%s", sim.model.wrong);
}

/* Another index each time, in pages at times, and a job's history. */
static void compare_some(void)
{
    static unsigned turn;
    const unsigned rows = sizeof indexes / sizeof *indexes;
    compare_index(&indexes[turn++ % rows], chance(20) ? 1 + dice(4) : UINT32_MAX);
    if (sim.model.job_count)
        compare_history(&sim.model.jobs[dice(sim.model.job_count)]);
}

void check_contents(bool deep)
{
    const unsigned rows = sizeof indexes / sizeof *indexes;
    if (!seam_view(&view))
        return; /* next time */
    sim.checks++;
    compare_all();
    compare_queues();
    compare_entries(deep);
    if (deep)
        for (unsigned i = 0; i < rows; i++)
            compare_index(&indexes[i], UINT32_MAX);
    if (deep)
        for (unsigned i = 0; i < sim.model.job_count; i++)
            compare_history(&sim.model.jobs[i]);
    if (!deep)
        compare_some();
    seam_view_end();
}

/* ---- events: what was told must be what is --------------------------------------------------------------- */

#define TOLD_MAX 8192
static struct told {
    job_id id;
    enum job_state state;
    bool sure;
} told[TOLD_MAX];
static unsigned told_count;

static const struct event_row {
    const char *name;
    enum job_state state;
    bool sure; /* false: the job may also wait for a later time */
} event_rows[] = {
    {"job.pushed", JOB_READY, false},       {"job.started", JOB_RUNNING, true},
    {"job.succeeded", JOB_SUCCEEDED, true}, {"job.failed", JOB_RETRYING, true},
    {"job.dead", JOB_DEAD, true},           {"job.cancelled", JOB_CANCELLED, true},
    {"job.cancelling", JOB_RUNNING, true},  {"job.expired", JOB_EXPIRED, true},
    {"job.lost", JOB_READY, true},          {"job.released", JOB_READY, true},
    {"job.ready", JOB_READY, false},        {"job.retried", JOB_READY, false},
    {"job.deleted", JOB_NONE, true},        {"job.snoozed", JOB_SCHEDULED, true},
    {"job.parked", JOB_READY, true},        {"job.rescheduled", JOB_SCHEDULED, false},
    {"job.replaced", JOB_READY, false},
};

void check_event(struct event_listener *listener, const struct event *event)
{
    (void)listener;
    for (unsigned i = 0; i < sizeof event_rows / sizeof *event_rows; i++) {
        unsigned at = 0;
        if (strcmp(event->name, event_rows[i].name) != 0)
            continue;
        while (at < told_count && told[at].id != event->id)
            at++;
        if (at == TOLD_MAX)
            return;
        told_count += at == told_count;
        told[at] = (struct told){event->id, event_rows[i].state, event_rows[i].sure};
    }
}

void check_forget_events(void)
{
    told_count = 0;
}

static void check_told(void)
{
    for (unsigned i = 0; i < told_count; i++) {
        const struct model_job *job = model_find(&sim.model, told[i].id);
        bool finished = told[i].state >= JOB_SUCCEEDED;
        if (!job && (told[i].state == JOB_NONE || finished)) {
            told[i--] = told[--told_count]; /* and it may be: ended, and its record is gone */
            continue;
        }
        if (!job || (told[i].sure && job->state != told[i].state))
            sim_wrong("the last event of %s says %s, and it is %s", name_of(told[i].id),
                      state_name(told[i].state), job ? state_name(job->state) : "gone");
    }
}

static bool is_in_file(const char *path, const char *text)
{
    static char bytes[4 << 20];
    FILE *file = fopen(path, "r");
    size_t len = file ? fread(bytes, 1, sizeof bytes - 1, file) : 0;
    if (file)
        fclose(file);
    bytes[len] = '\0';
    return strstr(bytes, text) != NULL;
}

static bool is_archived(job_id id)
{
    char path[600], text[JOB_ID_TEXT_BYTES];
    glob_t found = {0};
    bool is = false;
    snprintf(path, sizeof path, "%s/archive/dead-*.jsonl", sim.store_settings.dir);
    if (glob(path, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc && !is; i++)
            is = is_in_file(found.gl_pathv[i], id_format(text, id));
    globfree(&found);
    return is;
}

void check_archived(const struct op_sweep *sweep)
{
    for (unsigned i = 0; sweep->what == SWEEP_DEAD && sweep->letter_count && i < sweep->count; i++)
        if (!is_archived(sweep->swept[i].id))
            sim_wrong("dead letter %s is deleted, and it is not in the archive", name_of(sweep->swept[i].id));
}

/* ---- leases of workers -------------------------------------------------------------------------------------------- */

static struct fake_job *worker_has(const struct model_job *job, struct seat **seat)
{
    for (unsigned i = 0; i < SEATS; i++)
        for (unsigned k = 0; k < sim.seats[i].job_count; k++)
            if (sim.seats[i].jobs[k].id == job->id && sim.seats[i].jobs[k].token == job->token) {
                *seat = &sim.seats[i];
                return &sim.seats[i].jobs[k];
            }
    return NULL;
}

static bool is_among(const uint64_t tokens[64], uint64_t token)
{
    for (unsigned i = 0; i < 64; i++)
        if (tokens[i] == token)
            return true;
    return false;
}

void check_lost(const struct op_sweep *sweep)
{
    for (unsigned i = 0; i < sweep->count && sweep->what == SWEEP_LEASES; i++) {
        const struct model_job *job = model_find(&sim.model, sweep->swept[i].id);
        struct seat *seat = NULL;
        if (!job || !job->by_worker || job->token <= sim.disturbed_at || sim.disturbed)
            continue;
        bool dying = worker_has(job, &seat) && seat->doomed;
        if (!dying && !is_among(sim.shortened, job->token))
            sim_wrong("the lease of job %s ran out, and worker %s was well", job->name, job->holder);
    }
}

/* ---- at rest ----------------------------------------------------------------------------------------------------------- */

static bool pool_serves_queue(const struct seat *seat, const char *queue)
{
    bool blue = strcmp(queue, "blue") == 0;
    if (strcmp(seat->pool, "mail") == 0)
        return blue || strcmp(queue, "mail") == 0;
    return blue || strcmp(queue, "red") == 0 || (sim.wide && strcmp(queue, "default") == 0);
}

/* A worker has nothing to do, and there is something that it could do. */
static void check_idle(const struct seat *seat)
{
    if (!seat->worker || !seat->ready || seat->retired || seat->doomed || seat->job_count ||
        buf_len(&seat->rest))
        return;
    for (unsigned i = 0; i < sim.model.job_count; i++) {
        const struct model_job *job = &sim.model.jobs[i];
        if (job->state == JOB_READY && !job->parked && !job->held && pool_serves_queue(seat, job->queue) &&
            !model_queue(&sim.model, job->queue)->paused)
            sim_wrong("job %s is ready, worker %s is idle, and nothing happens", job->name, seat->name);
    }
}

static void check_moment(const char *what, wall_ms moment)
{
    if (moment <= sim.wall)
        sim_wrong("%s should have happened %lld ms ago", what, (long long)(sim.wall - moment));
    if (sim.wake.wall > moment)
        sim_wrong("nobody will wake for %s, in %lld ms", what, (long long)(moment - sim.wall));
}

static void check_running(const struct model_job *job)
{
    struct seat *seat = NULL;
    if (job->state != JOB_RUNNING || !job->by_worker)
        return;
    struct fake_job *fake = worker_has(job, &seat);
    if (!fake && !is_among(sim.orphans, job->token))
        sim_wrong("job %s is running in '%s', and that worker does not have it", job->name, job->holder);
    if (fake && job->cancelling && !fake->told && !is_among(sim.orphans, job->token))
        sim_wrong("job %s was cancelled, and worker %s, which runs it, was not told", job->name, seat->name);
}

static void check_hint(const struct model_queue *queue)
{
    struct queue_news news;
    if (!dispatch_queue(sim.d, slice_of(queue->name), &news))
        sim_wrong("dispatch does not know queue %s", queue->name);
    uint64_t parked = 0, held = 0;
    for (unsigned i = 0; i < sim.model.job_count; i++)
        held += sim.model.jobs[i].held && strcmp(sim.model.jobs[i].queue, queue->name) == 0;
    for (unsigned i = 0; i < sim.model.job_count; i++)
        parked += sim.model.jobs[i].parked && strcmp(sim.model.jobs[i].queue, queue->name) == 0;
    if (news.paused != queue->paused || news.draining != queue->draining ||
        news.waiting != model_waiting(&sim.model, queue->name) || news.parked != parked ||
        news.ready != model_count(&sim.model, queue->name, JOB_READY) - parked - held)
        sim_wrong(
            "dispatch believes that queue %s has %llu ready and %llu parked of %llu waiting%s%s; there are "
            "%llu, %llu, %llu%s%s",
            queue->name, (unsigned long long)news.ready, (unsigned long long)news.parked,
            (unsigned long long)news.waiting, news.paused ? ", paused" : "",
            news.draining ? ", draining" : "",
            (unsigned long long)model_count(&sim.model, queue->name, JOB_READY) - parked - held,
            (unsigned long long)parked, (unsigned long long)model_waiting(&sim.model, queue->name),
            queue->paused ? ", paused" : "", queue->draining ? ", draining" : "");
}

void check_rest(void)
{
    const struct model *m = &sim.model;
    if (sim.disturbed)
        sim.disturbed_at = m->last_token;
    sim.disturbed = false;
    if (sim.now >= sim.rests_until) {
        for (unsigned i = 0; i < SEATS; i++)
            check_idle(&sim.seats[i]);
        check_moment("a job that is due", model_next_due(m));
        check_moment("the end of a lease", model_next_lease(m));
        check_moment("the removal of an old record", model_next_old(m));
        check_moment("the removal of a dead letter", model_next_dead(m));
        check_moment("the end of a pause", model_next_pause(m));
        for (unsigned i = 0; i < 64 && sim.now > sim.orphans_until; i++)
            if (sim.orphans[i])
                sim_wrong("an outcome was refused a second ago, and nobody has asked again");
    } else if (sim.wake.mono > sim.rests_until && sim.wake.mono > sim.now + 1000) {
        sim_wrong("the disk was full, and nobody will wake to try again");
    }
    for (unsigned i = 0; i < m->job_count; i++)
        check_running(&m->jobs[i]);
    for (unsigned i = 0; i < m->queue_count; i++)
        check_hint(&m->queues[i]);
    workers_check_rest();
    clients_check_rest();
    if (sim.now >= sim.rests_until)
        entries_check_rest();
    check_told();
}
