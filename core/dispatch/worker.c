#include "dispatch/inside.h"

#include <signal.h>
#include <stdlib.h>

#include "job/record.h"

#define OUT_MAX_BYTES (8 << 20) /* of jobs that it has not read yet: who does not read gets no more */

/* ---- places ------------------------------------------------------------------------------------------------ */

static struct place *place_take(struct worker *worker)
{
    mq_must(worker->free_head < worker->slots);
    struct place *place = &worker->places[worker->free_head];
    worker->free_head = place->next_free;
    worker->held++;
    return place;
}

void place_free(struct worker *worker, struct place *place)
{
    unsigned slot = (unsigned)(place - worker->places);
    if (place->state == PLACE_REVOKED)
        worker->revoked--;
    else
        worker->held--;
    place->state = PLACE_FREE;
    place->next_free = worker->free_head;
    worker->free_head = slot;
    atomic_store(&worker->page->slots[slot], SLOT_FREE);
}

unsigned worker_room(const struct worker *worker)
{
    unsigned taken = worker->held + worker->revoked + worker->asking;
    if (worker->state != WORKER_READY || worker->killed || taken >= worker->window ||
        buf_len(&worker->out) > OUT_MAX_BYTES)
        return 0;
    return worker->window - taken;
}

struct place *worker_place_of(struct dispatch *d, job_id id, uint64_t token, struct worker **owner)
{
    struct pool *pool;
    struct worker *worker;
    DL_FOREACH (d->pools, pool)
        DL_FOREACH (pool->workers, worker)
            for (unsigned i = 0; i < worker->slots; i++)
                if (worker->places[i].state == PLACE_HELD && worker->places[i].id == id &&
                    worker->places[i].token == token) {
                    *owner = worker;
                    return &worker->places[i];
                }
    return NULL;
}

void worker_saw_start(struct worker *worker, struct place *place)
{
    if (place->seen_start)
        return;
    place->seen_start = true;
    worker->started++;
    worker->moved_at = worker->pool->took_at = worker->d->now;
    worker->taken_back = 0;
    worker->idle_told = false;
}

bool worker_has_on_cpu(const struct worker *worker, job_id id)
{
    return atomic_load(&worker->page->on_cpu) == id;
}

/* ---- giving jobs ------------------------------------------------------------------------------------------- */

/* The lease began when it was asked for; a disk that stood still since has used up some of it, or all. */
static void renew_in_time(struct worker *worker, struct place *place, int64_t left_ms)
{
    int64_t half = (left_ms < place->lease_ms ? left_ms : place->lease_ms) / 2;
    place->renew_at = worker->d->now + half;
    if (half <= WATCH_EVERY_MS)
        worker_renew(worker, place, worker->d->now); /* ahead of the sweep that would end it */
}

static void give(struct worker *worker, const struct leased_job *job, const struct job_spec *spec)
{
    struct dispatch *d = worker->d;
    struct place *place = place_take(worker);
    uint32_t slot = (uint32_t)(place - worker->places);
    struct buf record = place->record, note = place->note;
    buf_clear(&record);
    buf_clear(&note);
    buf_add_slice(&record, job->record);
    ptrdiff_t moved = record.at - job->record.at;
    *place = (struct place){
        .state = PLACE_HELD,
        .id = job->id,
        .token = job->token,
        .attempt = job->attempt,
        .crashes = job->crashes,
        .lease_ms = spec->lease_ms,
        .given_at = d->now,
        .timeout_at = d->now + spec->timeout_ms,
        .hard_at = MONO_NEVER,
        .kill_at = MONO_NEVER,
        .last_at = MONO_NEVER,
        .progress_at = d->now - WATCH_EVERY_MS,
        .record = record,
        .note = note,
        .spec = *spec,
    };
    place->spec.type.at += moved; /* the slices pointed into the store's answer; now into our copy of it */
    place->spec.queue.at += moved;
    place->spec.meta.at += moved;
    place->spec.tags.at += moved;
    place->spec.payload.at += moved;
    if (worker->held == 1)
        worker->beat_at = worker->looked_at = worker->loop_at =
            d->now; /* until now nothing was asked of it */
    if (d->watch_at == MONO_NEVER)
        d->watch_at = d->now;
    atomic_store(&worker->page->slots[slot], SLOT_GIVEN);
    frame_add_job(&worker->out,
                  &(struct frame_job){slot, job->id, job->token, job->attempt, job->crashes, job->record});
    renew_in_time(worker, place, job->deadline - d->wall);
}

struct slice correlation_of(struct slice meta, json_t **keep)
{
    *keep = meta.len ? json_loadb(meta.at, meta.len, 0, NULL) : NULL;
    const char *text = json_string_value(json_object_get(*keep, "correlation_id"));
    return text ? slice_of(text) : SLICE_EMPTY;
}

/* A producer that runs ahead of a deployment may push thousands: one line a second tells as much. */
static void warn_no_handler(struct dispatch *d, const struct leased_job *job, const struct job_spec *spec)
{
    char text[JOB_ID_TEXT_BYTES];
    d->strangers++;
    if (d->now < d->stranger_at)
        return;
    json_t *keep;
    struct slice correlation_id = correlation_of(spec->meta, &keep);
    log_event(LOG_WARN, "job.no_handler", LOG_STR("id", id_format(text, job->id)),
              LOG_SLICE("type", spec->type), LOG_SLICE("queue", spec->queue),
              LOG_INT("attempt", job->attempt), LOG_SLICE("correlation_id", correlation_id),
              LOG_INT("jobs", d->strangers),
              LOG_STR("next", "they wait; add handlers/<type>.lua and RELOAD"));
    json_decref(keep);
    d->strangers = 0;
    d->stranger_at = d->now + 1000;
}

void worker_got(struct worker *worker, struct ask *ask)
{
    struct dispatch *d = worker->d;
    worker->asking -= ask->lease.max;
    unsigned given = 0;
    for (unsigned i = 0; i < ask->lease.count; i++) {
        const struct leased_job *job = &ask->lease.jobs[i];
        struct job_spec spec;
        if (worker->state != WORKER_READY || record_read_spec(&spec, job->record, NULL) != MQ_OK) {
            give_back(d, job->id, job->token);
        } else if (!type_find(d, spec.type)) {
            warn_no_handler(d, job, &spec);
            park(d, job->id, job->token);
        } else {
            give(worker, job, &spec);
            given++;
        }
    }
    if (given) {
        d->host.write(d->host.owner, worker);
    }
}

/* ---- its life ------------------------------------------------------------------------------------------------ */

struct worker *dispatch_worker_new(struct dispatch *d, const char *pool, const char *name, int pid,
                                   unsigned slots, struct run_page *page, void *process, wall_ms wall,
                                   mono_ms now)
{
    struct worker *worker = mq_calloc(1, sizeof *worker);
    mq_must(slots > 0 && slots <= WORKER_SLOTS_MAX);
    worker->d = d;
    worker->pool = pool_find(d, pool);
    mq_must(worker->pool);
    worker->name = mq_strdup(name);
    worker->pid = pid;
    worker->process = process;
    worker->page = page;
    worker->slots = worker->window = slots;
    worker->places = mq_calloc(slots, sizeof *worker->places);
    for (unsigned i = 0; i < slots; i++)
        worker->places[i].next_free = i + 1;
    worker->started_at = wall;
    worker->beat_at = worker->moved_at = worker->own_lines_at = now;
    worker->unfinished_since = MONO_NEVER;
    worker->own_lines_left = OWN_LINES_BURST;
    DL_APPEND(worker->pool->workers, worker);
    return worker;
}

void *worker_process(struct worker *worker)
{
    return worker->process;
}

struct buf *worker_out(struct worker *worker)
{
    return &worker->out;
}

const char *worker_name(const struct worker *worker)
{
    return worker->name;
}

const char *worker_pool(const struct worker *worker)
{
    return worker->pool->settings.name;
}

unsigned worker_busy(const struct worker *worker)
{
    return worker->held + worker->revoked + worker->asking;
}

static void emit_worker(struct dispatch *d, const char *name, const struct worker *worker,
                        const char *message)
{
    dispatch_emit(d, &(struct event){.name = name,
                                     .at = d->wall,
                                     .worker = slice_of(worker->name),
                                     .message = slice_of(message),
                                     .fraction = -1});
}

void dispatch_worker_loaded(struct worker *worker, uint32_t scripts)
{
    worker->scripts = scripts;
}

void dispatch_worker_ready(struct dispatch *d, struct worker *worker, mono_ms now)
{
    worker->state = WORKER_READY;
    worker->beat_at = now;
    emit_worker(d, "worker.ready", worker, "");
}

void dispatch_worker_retire(struct dispatch *d, struct worker *worker)
{
    if (worker->state == WORKER_READY || worker->state == WORKER_STARTING) {
        worker->state = WORKER_RETIRED;
        emit_worker(d, "worker.stopping", worker, "");
    }
}

/* Back, uncharged. What its worker has not begun by this moment, it never will. */
static void release_uncharged(struct worker *worker, struct place *place, const char *why, wall_ms wall)
{
    bool begun = !slot_move(worker->page, (unsigned)(place - worker->places), SLOT_GIVEN, SLOT_REVOKED);
    outcome_release(worker, place, begun ? RELEASE_GIVE_BACK : RELEASE_UNSTARTED, wall, slice_of(why));
}

/* What becomes of one job of a worker that died, of the job `guilty` or of none. */
static void release_lost(struct worker *worker, struct place *place, job_id guilty, const char *how,
                         wall_ms wall)
{
    struct dispatch *d = worker->d;
    char text[200];
    if (place->id != guilty) {
        snprintf(text, sizeof text, "its worker %s %s: %s", worker->name,
                 guilty ? "died of another job" : "ended, of no job", how);
        release_uncharged(worker, place, text, wall);
        return;
    }
    bool timed_out = worker->killed_for == place->id && strcmp(worker->killed_why, "timeout") == 0;
    if (worker->killed)
        snprintf(text, sizeof text, "worker %s was killed (%s): %s", worker->name, worker->killed_why, how);
    else
        snprintf(text, sizeof text, "worker %s died while it ran this job: %s", worker->name, how);
    int64_t delay_ms = timed_out ? backoff_default_ms(place->attempt, d->host.chance(d->host.owner))
                                 : crash_backoff_ms(d, place->crashes + 1u);
    outcome_release(worker, place, timed_out ? RELEASE_TIMED_OUT : RELEASE_CRASHED, wall + delay_ms,
                    slice_of(text));
}

/* It also holds an earlier attempt of this job, which a person released: the page does not tell which had the CPU. */
static bool has_released(const struct worker *worker, job_id id)
{
    for (unsigned i = 0; i < worker->slots; i++)
        if (worker->places[i].state == PLACE_HELD && worker->places[i].released && worker->places[i].id == id)
            return true;
    return false;
}

/*
 * Whom a death is charged to; 0: nobody. Between a kill and the end the worker runs on: who has the CPU then is not whom
 * it was killed for, and whoever that was may have ended meanwhile.
 */
static job_id guilty_job(const struct worker *worker)
{
    job_id id = worker->killed ? worker->killed_for : atomic_load(&worker->page->on_cpu);
    return has_released(worker, id) ? 0 : id;
}

void dispatch_worker_lost(struct dispatch *d, struct worker *worker, const char *how, bool innocent,
                          wall_ms wall)
{
    struct ask *ask;
    d->wall = wall;
    job_id guilty = innocent ? 0 : guilty_job(worker);
    worker->state = WORKER_LOST;
    if (!innocent)
        d->stats.workers_lost++;
    for (unsigned i = 0; i < worker->slots; i++) {
        struct place *place = &worker->places[i];
        if (place->state == PLACE_HELD && !place->released) {
            progress_flush(worker, place);
            release_lost(worker, place, guilty, how, wall);
        }
        if (place->state != PLACE_FREE)
            place_free(worker, place);
    }
    DL_FOREACH (d->asks, ask)
        if (ask->worker == worker)
            ask_disown(ask);
    emit_worker(d, "worker.exited", worker, how);
}

void dispatch_worker_give_back(struct dispatch *d, struct worker *worker, wall_ms wall)
{
    d->wall = wall;
    for (unsigned i = 0; i < worker->slots; i++)
        if (worker->places[i].state == PLACE_HELD) {
            if (!worker->places[i].released)
                release_uncharged(worker, &worker->places[i], "the server stopped", wall);
            place_free(worker, &worker->places[i]);
        }
}

void dispatch_worker_free(struct dispatch *d, struct worker *worker)
{
    (void)d;
    mq_must(worker->state == WORKER_LOST);
    DL_DELETE(worker->pool->workers, worker);
    for (unsigned i = 0; i < worker->slots; i++) {
        buf_release(&worker->places[i].record);
        buf_release(&worker->places[i].note);
    }
    buf_release(&worker->out);
    free(worker->places);
    free(worker->name);
    free(worker);
}

bool dispatch_worker_view(struct dispatch *d, unsigned index, struct worker_view *out)
{
    static const char *const states[] = {"starting", "ready", "stopping", "lost"};
    struct pool *pool;
    struct worker *worker;
    DL_FOREACH (d->pools, pool)
        DL_FOREACH (pool->workers, worker)
            if (index-- == 0) {
                unsigned running = 0;
                for (unsigned i = 0; i < worker->slots; i++)
                    running += atomic_load(&worker->page->slots[i]) == SLOT_TAKEN;
                *out = (struct worker_view){
                    .name = slice_of(worker->name),
                    .pool = slice_of(pool->settings.name),
                    .pid = worker->pid,
                    .state = states[worker->state],
                    .slots = worker->slots,
                    .running = running,
                    .given = worker->held,
                    .on_cpu = atomic_load(&worker->page->on_cpu),
                    .started = worker->started,
                    .done = worker->done,
                    .failed = worker->failed,
                    .started_at = worker->started_at,
                    .silent_ms = d->now - worker->beat_at,
                    .memory = atomic_load(&worker->page->memory),
                    .scripts = worker->scripts,
                };
                return true;
            }
    return false;
}
