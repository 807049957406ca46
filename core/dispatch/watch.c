#include "dispatch/inside.h"

#include <signal.h>

/* The watch itself came so late that silence says nothing about the workers: we were stopped, not they. */
#define WATCH_LATE_MS 1000
/* An idle worker beats twice a second: one that has no job on its CPU and says nothing for so long stands still. */
#define BEAT_LATE_MS 1000
/* A job's clocks stand still for no longer than its own timeout and so many times silence_max_ms: that they do is the
   word of the run page, and a worker that lies there must not keep a job for ever. */
#define STOOD_SILENCES 10
/* So many times silence_max_ms a worker may take to send the rest of a frame: its loop may stand still in between. */
#define UNFINISHED_SILENCES 2

static mono_ms earlier(mono_ms a, mono_ms b)
{
    return a < b ? a : b;
}

static void signal_worker(struct worker *worker, int signal)
{
    worker->d->host.kill(worker->d->host.owner, worker, signal);
}

static void kill_worker(struct worker *worker, const char *why, job_id id)
{
    if (worker->killed)
        return;
    char text[JOB_ID_TEXT_BYTES];
    worker->killed = true;
    worker->killed_why = why;
    worker->killed_for = id;
    worker->d->stats.workers_killed++;
    log_event(LOG_WARN, "worker.killed", LOG_STR("worker", worker->name), LOG_STR("why", why),
              LOG_STR("id", id_format(text, id)));
    signal_worker(worker, SIGKILL);
}

/* ---- not started --------------------------------------------------------------------------------------------- */

/* Revokes the slot unless the worker began the job in this moment: its compare-and-set decides. */
static bool withdraw(struct worker *worker, struct place *place)
{
    unsigned slot = (unsigned)(place - worker->places);
    if (!slot_move(worker->page, slot, SLOT_GIVEN, SLOT_REVOKED))
        return false;
    place->state = PLACE_REVOKED;
    place->revoked_at = worker->d->now;
    worker->held--;
    worker->revoked++;
    return true;
}

static void take_back(struct worker *worker, struct place *place)
{
    struct dispatch *d = worker->d;
    if (!withdraw(worker, place))
        return;
    outcome_release(worker, place, RELEASE_UNSTARTED, d->wall, SLICE("not started: its worker is busy"));
    worker->taken_back++;
    d->stats.taken_back++;
}

/* ---- leases --------------------------------------------------------------------------------------------------- */

struct renewal {
    struct op_extend extend;
    struct dispatch *d;
};

static void renewed(struct store_op *op)
{
    struct renewal *renewal = (struct renewal *)op;
    struct worker *worker;
    struct place *place = worker_place_of(renewal->d, renewal->extend.id, renewal->extend.token, &worker);
    if (op->code == MQ_NOSPACE)
        again_renew(renewal->d);
    /* lost all the same: whoever has it now must not be disturbed by this attempt's end */
    if ((op->code == MQ_LOST || op->code == MQ_NOTFOUND) && place) {
        unsigned slot = (unsigned)(place - worker->places);
        frame_add_signal(&worker->out, FRAME_CANCEL, slot, place->id, true);
        renewal->d->host.write(renewal->d->host.owner, worker);
    }
    store_op_release(op);
    free(renewal);
}

void worker_renew(struct worker *worker, struct place *place, mono_ms now)
{
    struct renewal *renewal = mq_calloc(1, sizeof *renewal);
    store_op_init(&renewal->extend.op, STORE_EXTEND, worker->d->wall);
    renewal->extend.op.done = renewed;
    renewal->extend.id = place->id;
    renewal->extend.token = place->token;
    renewal->d = worker->d;
    place->renew_at = now + place->lease_ms / 2;
    worker->d->renewed_at = now;
    dispatch_submit(worker->d, &renewal->extend.op);
}

/*
 * Time has jumped: the clock was set forward, or we stood still (stopped, or the machine slept). Leases that ran out
 * in one moment say nothing about their workers; they are renewed ahead of the sweep that would charge their jobs.
 */
void watch_jump(struct dispatch *d, mono_ms now)
{
    struct pool *pool;
    struct worker *worker;
    DL_FOREACH (d->pools, pool)
        DL_FOREACH (pool->workers, worker)
            for (unsigned i = 0; i < worker->slots && worker->held && !worker->killed; i++)
                if (worker->places[i].state == PLACE_HELD && !worker->places[i].released &&
                    worker->state != WORKER_LOST)
                    worker_renew(worker, &worker->places[i], now);
}

/* ---- told to end ------------------------------------------------------------------------------------------------ */

static void tell(struct worker *worker, struct place *place, enum frame_kind kind, bool hard)
{
    unsigned slot = (unsigned)(place - worker->places);
    frame_add_signal(&worker->out, kind, slot, place->id, hard);
    worker->d->host.write(worker->d->host.owner, worker);
    if (worker_has_on_cpu(worker, place->id))
        signal_worker(worker, SIGUSR1);
}

void worker_cancel(struct dispatch *d, job_id id, uint64_t token, mono_ms now)
{
    struct worker *worker;
    struct place *place = worker_place_of(d, id, token, &worker);
    if (!place || place->told_cancel)
        return;
    place->told_cancel = true;
    place->hard_at = earlier(place->hard_at, now + d->settings.cancel_grace_ms);
    tell(worker, place, FRAME_CANCEL, false);
}

void worker_release(struct dispatch *d, job_id id, uint64_t token, mono_ms now)
{
    struct worker *worker;
    struct place *place = worker_place_of(d, id, token, &worker);
    if (!place)
        return; /* a consumer's outside; it learns of it when it speaks */
    place->released = true;
    if (!withdraw(worker, place))
        worker_cancel(d, id, token, now);
}

/* How long its loop has stood still since the last look: nobody there could wake, be told or end. */
static int64_t stood_still(struct worker *worker, mono_ms now)
{
    uint64_t beats = atomic_load(&worker->page->beats);
    int64_t passed = now - worker->looked_at;
    worker->looked_at = now;
    if (beats != worker->seen_beats) {
        worker->seen_beats = beats;
        worker->loop_at = now;
        return 0;
    }
    /* between two beats of an idle worker, which has nothing on its CPU, time passes as it does for all */
    return atomic_load(&worker->page->on_cpu) || now - worker->loop_at >= BEAT_LATE_MS ? passed : 0;
}

static mono_ms later(mono_ms moment, int64_t by)
{
    return moment == MONO_NEVER ? MONO_NEVER : moment + by;
}

/* What a neighbour takes of the CPU is not charged to those that wait for it. */
static void stop_clocks(struct worker *worker, struct place *place, int64_t stood_ms)
{
    int64_t most = worker->d->settings.silence_max_ms * STOOD_SILENCES + place->spec.timeout_ms;
    if (!place->running || stood_ms == 0 || worker_has_on_cpu(worker, place->id) || place->stood_ms >= most)
        return;
    place->stood_ms += stood_ms;
    place->timeout_at = later(place->timeout_at, stood_ms);
    place->hard_at = later(place->hard_at, stood_ms);
    place->kill_at = later(place->kill_at, stood_ms);
    place->last_at = later(place->last_at, stood_ms);
}

/*
 * Told, then ended hard, and if it does not let itself be ended because it has the CPU, its worker is killed. A worker
 * whose loop turns ends at once what it was told to end hard: if it says nothing for much longer it lies about its CPU.
 */
static void watch_end(struct worker *worker, struct place *place, mono_ms now)
{
    struct dispatch *d = worker->d;
    if (!place->told_timeout && now >= place->timeout_at) {
        place->told_timeout = true;
        place->hard_at = earlier(place->hard_at, now + d->settings.timeout_grace_ms);
        tell(worker, place, FRAME_TIMEOUT, false);
    }
    if (now >= place->hard_at) {
        place->hard_at = MONO_NEVER;
        place->kill_at = now + d->settings.timeout_grace_ms;
        place->last_at = place->kill_at + d->settings.silence_max_ms;
        tell(worker, place, place->told_timeout ? FRAME_TIMEOUT : FRAME_CANCEL, true);
    }
    if (now >= place->last_at || (now >= place->kill_at && worker_has_on_cpu(worker, place->id)))
        kill_worker(worker,
                    place->released       ? "release"
                    : place->told_timeout ? "timeout"
                                          : "cancel",
                    place->id);
}

void worker_ask_relief(struct worker *worker)
{
    const struct dispatch_host *host = &worker->d->host;
    if (worker->state == WORKER_READY && host->replace && atomic_load(&worker->page->leaving))
        host->replace(host->owner, worker);
}

/* ---- all of a worker ---------------------------------------------------------------------------------------------- */

static void watch_place(struct worker *worker, struct place *place, int64_t stood_ms, mono_ms now,
                        unsigned *waiting)
{
    struct dispatch *d = worker->d;
    unsigned slot = (unsigned)(place - worker->places);
    stop_clocks(worker, place, stood_ms);
    /* whatever else a worker writes there, it is not waiting for its turn */
    if (!place->running && atomic_load(&worker->page->slots[slot]) != SLOT_GIVEN) {
        place->running = true;
        worker_saw_start(worker, place);
        /* the time it waited for its turn is not its own */
        place->timeout_at +=
            now - place->given_at > WATCH_EVERY_MS ? now - place->given_at - WATCH_EVERY_MS : 0;
    }
    if (!place->running && now - place->given_at >= d->settings.start_within_ms) {
        take_back(worker, place);
        return;
    }
    *waiting += !place->running && now - place->given_at >= WATCH_EVERY_MS;
    if (!worker->killed && !place->released && now >= place->renew_at)
        worker_renew(worker, place, now);
    if (place->running) {
        progress_flush(worker, place);
        watch_end(worker, place, now);
    }
}

/* It beats with each turn of its loop; a coroutine that keeps the CPU stops the loop, and so the beat. */
static void watch_silence(struct worker *worker, bool excused, mono_ms now)
{
    struct dispatch *d = worker->d;
    uint64_t beats = atomic_load(&worker->page->beats), turns = atomic_load(&worker->page->turns);
    if (excused || beats != worker->last_beats || turns != worker->last_turns) {
        worker->last_beats = beats;
        worker->last_turns = turns;
        worker->beat_at = now;
    } else if (now - worker->beat_at >= d->settings.silence_max_ms) {
        kill_worker(worker, "silence", atomic_load(&worker->page->on_cpu));
    }
}

/*
 * How many jobs a worker may hold adapts to how fast it starts them, so that jobs are not moved to and fro between
 * busy workers: what it could not start in time shrinks its window to what it runs; while all start at once the
 * window doubles again.
 */
static void adapt_window(struct worker *worker, unsigned waiting, unsigned taken_back)
{
    if (taken_back) {
        worker->window = worker->held ? worker->held : 1;
    } else if (waiting == 0 && worker->revoked == 0 && worker->window < worker->slots) {
        worker->window *= 2;
        if (worker->window > worker->slots)
            worker->window = worker->slots;
    }
}

/* We came late ourselves: the last deadlines begin anew, for it could not be heard meanwhile. */
static void excuse(struct worker *worker, mono_ms now)
{
    if (worker->unfinished_since != MONO_NEVER)
        worker->unfinished_since = now;
    for (unsigned i = 0; i < worker->slots; i++) {
        struct place *place = &worker->places[i];
        if (place->state == PLACE_REVOKED)
            place->revoked_at = now;
        if (place->state == PLACE_HELD && place->last_at != MONO_NEVER)
            place->last_at = now + worker->d->settings.silence_max_ms;
    }
}

/* What it leaves unsaid: the rest of a frame, or that it dropped what was taken back. */
static void watch_unsaid(struct worker *worker, mono_ms now)
{
    int64_t silence_ms = worker->d->settings.silence_max_ms;
    bool undropped = false;
    for (unsigned i = 0; i < worker->slots && worker->revoked && !undropped; i++)
        undropped = worker->places[i].state == PLACE_REVOKED &&
                    now - worker->places[i].revoked_at >= silence_ms * STOOD_SILENCES;
    if (worker->unfinished_since != MONO_NEVER &&
        now - worker->unfinished_since >= silence_ms * UNFINISHED_SILENCES)
        kill_worker(worker, "unfinished frame", atomic_load(&worker->page->on_cpu));
    else if (undropped)
        kill_worker(worker, "undropped job", 0);
}

/*
 * A heart that beats without work: for as long as idle_alarm_ms it begins none of the jobs that it is given, and they
 * are taken back: a handler keeps its CPU (which ends in `silence`), or it is sick in a way that nothing else finds.
 */
static void watch_idle_worker(struct worker *worker, mono_ms now)
{
    struct dispatch *d = worker->d;
    if (worker->taken_back && !worker->idle_told && now - worker->moved_at >= d->settings.idle_alarm_ms) {
        worker->idle_told = true;
        d->stats.workers_idle++;
        log_event(LOG_WARN, "worker.begins_nothing", LOG_STR("worker", worker->name),
                  LOG_INT("taken_back", worker->taken_back), LOG_INT("held", worker->held),
                  LOG_INT("idle_ms", now - worker->moved_at));
        dispatch_emit(d, &(struct event){.name = "worker.begins_nothing",
                                         .at = d->wall,
                                         .worker = slice_of(worker->name),
                                         .count = worker->taken_back,
                                         .fraction = -1});
    }
}

static void watch_worker(struct worker *worker, bool excused, mono_ms now)
{
    unsigned waiting = 0, revoked = worker->revoked;
    worker_ask_relief(worker);
    if (excused)
        excuse(worker, now);
    watch_silence(worker, excused, now);
    watch_unsaid(worker, now);
    int64_t stood_ms = stood_still(worker, now);
    for (unsigned i = 0; i < worker->slots && worker->held; i++)
        if (worker->places[i].state == PLACE_HELD)
            watch_place(worker, &worker->places[i], stood_ms, now, &waiting);
    adapt_window(worker, waiting, worker->revoked - revoked);
    watch_idle_worker(worker, now);
}

static bool is_expected_to_speak(const struct worker *worker)
{
    return worker->held + worker->revoked > 0 || worker->unfinished_since != MONO_NEVER;
}

mono_ms watch_tick(struct dispatch *d, wall_ms wall, mono_ms now)
{
    struct pool *pool;
    struct worker *worker;
    bool any = false;
    (void)wall;
    if (now < d->watch_at)
        return d->watch_at;
    bool excused = now - d->watch_at > WATCH_LATE_MS;
    DL_FOREACH (d->pools, pool)
        DL_FOREACH (pool->workers, worker) {
            if (worker->state == WORKER_LOST || worker->state == WORKER_STARTING)
                continue;
            if (!is_expected_to_speak(worker)) {
                worker->beat_at = worker->looked_at = worker->loop_at = now; /* nothing is asked of it */
                worker->moved_at = now;
                worker->taken_back = 0;
                worker->idle_told = false;
                worker->window = worker->slots;
                continue;
            }
            any = true;
            watch_worker(worker, excused, now);
        }
    d->watched_at = now;
    d->watch_at = any ? now + WATCH_EVERY_MS : MONO_NEVER;
    return d->watch_at;
}
