#include "server/fleet.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "base/log.h"
#include "job/name.h"
#include "runtime/child.h"
#include "runtime/frame.h"
#include "runtime/page.h"
#include "server/app.h"
#include "server/child.h"

#define START_PATIENCE_S 30.0 /* to load an application; a loop at load time is found before by the loader */
#define DRAIN_PATIENCE_S 10.0 /* it has no job any more: only its libraries have something to close */
#define RESTART_FIRST_S  0.1  /* after a crash; doubles while workers of the pool keep dying young */
#define RESTART_MOST_S   30.0
#define GREW_UP_MS       10000

/* One worker process that should exist. */
struct seat {
    struct fleet *fleet;
    struct seat *next, *prev;
    unsigned generation;
    char pool[NAME_MAX_BYTES + 1];
    char name[NAME_MAX_BYTES + 24];
    unsigned slots;
    uint64_t memory_bytes;
    unsigned jobs_max;
    struct child *child; /* NULL while it waits for its restart */
    struct worker *worker;
    struct run_page *page;
    int page_fd;
    char page_path[HOME_PATH_BYTES];
    bool ready, retired, killing;
    bool put_down; /* dispatch had it killed for a job's sake: no reason to wait before the next one */
    bool wants_write;
    struct seat *replaces;           /* whom it relieves when it is ready; NULL: nobody */
    char refused[MQ_ERR_TEXT_BYTES]; /* why it does not like the application; empty: it does */
    mono_ms started_at;
    double restart_s;
    ev_timer timer; /* of the start's patience, of the end's, or of the restart */
};

struct fleet {
    struct ev_loop *loop;
    const struct home *home;
    const char *app_dir, *run_dir;
    struct fleet_events events;
    struct dispatch *dispatch;
    struct seat *seats;
    unsigned generation, taken_over; /* in charge or coming up; the newest that took over */
    unsigned last_generation;        /* no number is used twice: some of the last may still be dying */
    uint64_t last_no;
    mono_ms acted_at; /* the last start or end of a worker */
    bool stopping, abandoned;
    int64_t payload_max, result_max, log_line_max, cancel_grace;
};

#define WHY_BYTES (MQ_ERR_TEXT_BYTES + NAME_MAX_BYTES + 64)

static void seat_launch(struct seat *seat);

/* Of a generation that has not taken over: a RELOAD, or the first start, waits for it. */
static bool is_newcomer(const struct seat *seat)
{
    return seat->generation > seat->fleet->taken_over;
}

/* ---- frames out ---------------------------------------------------------------------------------------------------- */

static void host_write(void *owner, struct worker *worker)
{
    (void)owner;
    struct seat *seat = worker_process(worker);
    seat->wants_write = true; /* fleet_flush writes once a turn, whatever gathered */
}

static void seat_flush(struct seat *seat)
{
    if (seat->wants_write && seat->child) {
        seat->wants_write = false;
        child_write(seat->child, worker_out(seat->worker));
    }
}

static void on_drain_over(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct seat *seat = timer->data;
    (void)events;
    ev_timer_stop(loop, timer);
    log_event(LOG_WARN, "worker.does_not_end", LOG_STR("worker", seat->name),
              LOG_REAL("seconds", DRAIN_PATIENCE_S));
    if (seat->child)
        child_signal(seat->child, SIGKILL);
}

/* It has nothing left to do: then it may end, and must. */
static void end_if_idle(struct seat *seat)
{
    if (!seat->retired || seat->killing || !seat->child || worker_busy(seat->worker))
        return;
    seat->killing = true;
    frame_add_drain(worker_out(seat->worker));
    seat->wants_write = true;
    ev_timer_stop(seat->fleet->loop, &seat->timer);
    ev_timer_init(&seat->timer, on_drain_over, DRAIN_PATIENCE_S, 0);
    ev_timer_start(seat->fleet->loop, &seat->timer);
}

void fleet_flush(struct fleet *fleet)
{
    struct seat *seat;
    DL_FOREACH (fleet->seats, seat) {
        end_if_idle(seat);
        seat_flush(seat);
    }
}

static void host_kill(void *owner, struct worker *worker, int signal)
{
    (void)owner;
    struct seat *seat = worker_process(worker);
    seat_flush(seat); /* a signal that says "look at your socket" must find something there */
    seat->put_down = seat->put_down || signal == SIGKILL;
    if (seat->child)
        child_signal(seat->child, signal);
}

static uint32_t host_chance(void *owner)
{
    (void)owner;
    return arc4random();
}

/* ---- generations ----------------------------------------------------------------------------------------------------- */

static bool all_ready(const struct fleet *fleet)
{
    const struct seat *seat;
    DL_FOREACH (fleet->seats, seat)
        if (seat->generation == fleet->generation && !seat->retired && !seat->ready)
            return false;
    return true;
}

static void seat_retire(struct seat *seat)
{
    seat->retired = true;
    if (seat->worker)
        dispatch_worker_retire(seat->fleet->dispatch, seat->worker);
}

static struct seat *seat_new(struct fleet *fleet, const char *pool)
{
    struct seat *seat = mq_calloc(1, sizeof *seat);
    seat->fleet = fleet;
    seat->generation = fleet->generation;
    snprintf(seat->pool, sizeof seat->pool, "%s", pool);
    seat->timer.data = seat;
    DL_APPEND(fleet->seats, seat);
    return seat;
}

/* Who is to relieve this one; NULL: nobody. */
static struct seat *successor_of(const struct seat *seat)
{
    struct seat *other;
    DL_FOREACH (seat->fleet->seats, other)
        if (other->replaces == seat)
            return other;
    return NULL;
}

/*
 * Its successor starts at once, and relieves it when it is ready: what lies on the disk may be broken by now. No more
 * workers of a pool leave at a time than stay.
 */
static void host_replace(void *owner, struct worker *worker)
{
    struct fleet *fleet = owner;
    struct seat *seat = worker_process(worker), *other;
    int staying = 0;
    DL_FOREACH (fleet->seats, other)
        if (strcmp(other->pool, seat->pool) == 0 && other->generation == seat->generation)
            staying += other->retired ? -1 : other->ready;
    if (seat->retired || fleet->stopping || staying <= 0 || successor_of(seat))
        return; /* asked again with the next look */
    other = seat_new(fleet, seat->pool);
    other->generation = seat->generation;
    other->slots = seat->slots;
    other->memory_bytes = seat->memory_bytes;
    other->jobs_max = seat->jobs_max;
    other->replaces = seat;
    seat_launch(other);
}

static void take_over(struct fleet *fleet)
{
    struct seat *seat;
    mono_ms now = clock_mono();
    if (fleet->taken_over == fleet->generation || !all_ready(fleet))
        return;
    fleet->taken_over = fleet->generation;
    fleet->events.took_over(fleet->events.owner); /* types and pools first: the new workers know them */
    DL_FOREACH (fleet->seats, seat)
        if (seat->generation < fleet->generation)
            seat_retire(seat);
        else
            dispatch_worker_ready(fleet->dispatch, seat->worker, now);
}

/* A worker of a generation that has not taken over did not come up: none of them stays. */
static void give_up(struct fleet *fleet, const char *why)
{
    struct seat *seat;
    unsigned failed = fleet->generation;
    fleet->generation = fleet->taken_over;
    DL_FOREACH (fleet->seats, seat)
        if (seat->generation == failed) {
            seat->retired = seat->killing = true;
            if (seat->child)
                child_signal(seat->child, SIGKILL);
        }
    fleet->events.failed(fleet->events.owner, why);
}

/* ---- what a worker tells ------------------------------------------------------------------------------------------- */

static void host_ready(void *owner, struct worker *worker, struct slice json)
{
    struct fleet *fleet = owner;
    struct seat *seat = worker_process(worker);
    struct mq_err err;
    if (seat->ready || seat->retired)
        return; /* said once already, or too late: who is retired does not come back, and must end in its time */
    ev_timer_stop(fleet->loop, &seat->timer);
    json_t *app = json_loadb(json.at, json.len, READY_FLAGS, NULL);
    enum mq_code code = app_check(app, &err);
    dispatch_worker_loaded(worker, (uint32_t)json_integer_value(json_object_get(app, "scripts")));
    json_decref(app);
    if (code != MQ_OK) {
        snprintf(seat->refused, sizeof seat->refused, "%s", err.text);
        child_signal(seat->child, SIGKILL); /* on_exited decides what follows */
        return;
    }
    seat->refused[0] = '\0';
    seat->ready = true;
    if (fleet->stopping)
        return;
    if (is_newcomer(seat)) {
        take_over(fleet);
        return;
    }
    dispatch_worker_ready(fleet->dispatch, worker, clock_mono()); /* a restart, or a successor */
    if (seat->replaces)
        seat_retire(seat->replaces);
    seat->replaces = NULL;
}

static enum mq_code on_input(void *owner, struct child *child, struct slice bytes, size_t *used,
                             struct mq_err *err)
{
    struct seat *seat = owner;
    (void)child;
    return dispatch_worker_frames(seat->fleet->dispatch, seat->worker, bytes, used, clock_wall(),
                                  clock_mono(), err);
}

/* ---- its process ------------------------------------------------------------------------------------------------------ */

static void seat_free(struct seat *seat)
{
    struct fleet *fleet = seat->fleet;
    struct seat *successor = successor_of(seat);
    if (successor)
        successor->replaces = NULL;
    ev_timer_stop(fleet->loop, &seat->timer);
    DL_DELETE(fleet->seats, seat);
    free(seat);
}

static void page_drop(struct seat *seat)
{
    page_close(seat->page);
    seat->page = NULL;
    close(seat->page_fd);
    unlink(seat->page_path);
}

static void on_restart(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct seat *seat = timer->data;
    (void)events;
    ev_timer_stop(loop, timer);
    if (seat->retired)
        seat_free(seat); /* a RELOAD or a stop came before its time */
    else
        seat_launch(seat);
}

/* A process for a new generation that could not even be started: no second try, somebody waits for the answer. */
static void on_cannot_start(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct seat *seat = timer->data;
    struct fleet *fleet = seat->fleet;
    bool leaves = seat->retired || fleet->stopping;
    char why[WHY_BYTES];
    (void)events;
    ev_timer_stop(loop, timer);
    snprintf(why, sizeof why, "a worker of pool %s could not be started: %s", seat->pool, seat->refused);
    seat_free(seat);
    if (!leaves)
        give_up(fleet, why);
}

static void on_exited(void *owner, struct child *child, const char *how, bool clean)
{
    struct seat *seat = owner;
    struct fleet *fleet = seat->fleet;
    bool expected = seat->killing || (clean && seat->retired) || fleet->abandoned;
    log_event(expected || clean ? LOG_INFO : LOG_WARN, "worker.exited", LOG_STR("worker", seat->name),
              LOG_STR("how", how));
    dispatch_worker_lost(fleet->dispatch, seat->worker, how, expected, clock_wall());
    dispatch_worker_free(fleet->dispatch, seat->worker);
    child_free(child);
    page_drop(seat);
    seat->child = NULL;
    seat->worker = NULL;
    fleet->acted_at = clock_mono();
    bool young = clock_mono() - seat->started_at < GREW_UP_MS;
    bool leaves = seat->retired || fleet->stopping || successor_of(seat),
         failed = is_newcomer(seat) && !leaves;
    seat->ready = seat->wants_write = false;
    ev_timer_stop(fleet->loop, &seat->timer);
    if (leaves || failed) {
        char why[WHY_BYTES];
        snprintf(why, sizeof why, "worker %s did not come up: %s", seat->name,
                 *seat->refused ? seat->refused : how);
        seat_free(seat); /* first: who gives up may end the whole fleet */
        if (failed)
            give_up(fleet, why);
        return;
    }
    seat->restart_s = clean || seat->put_down        ? 0
                      : young && seat->restart_s > 0 ? seat->restart_s * 2
                                                     : RESTART_FIRST_S;
    if (seat->restart_s > RESTART_MOST_S)
        seat->restart_s = RESTART_MOST_S;
    ev_timer_init(&seat->timer, on_restart, seat->restart_s, 0);
    ev_timer_start(fleet->loop, &seat->timer);
}

static void on_patience_over(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct seat *seat = timer->data;
    (void)events;
    ev_timer_stop(loop, timer);
    log_event(LOG_ERROR, "worker.not_ready", LOG_STR("worker", seat->name),
              LOG_REAL("seconds", START_PATIENCE_S));
    if (seat->child)
        child_signal(seat->child, SIGKILL);
}

static void add_setup(struct seat *seat)
{
    struct fleet *fleet = seat->fleet;
    json_t *setup =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "role", "worker", "name", seat->name,
                  "app", fleet->app_dir, "stdlib", fleet->home->stdlib, "scripts", fleet->home->scripts,
                  "slots", (json_int_t)seat->slots, "memory_bytes", (json_int_t)seat->memory_bytes,
                  "payload_max", (json_int_t)fleet->payload_max, "result_max", (json_int_t)fleet->result_max,
                  "log_line_max", (json_int_t)fleet->log_line_max, "cancel_grace_ms",
                  (json_int_t)fleet->cancel_grace, "jobs_max", (json_int_t)seat->jobs_max);
    char *text = json_dumps(setup, JSON_COMPACT);
    frame_add_json(worker_out(seat->worker), FRAME_SETUP, slice_of(text));
    free(text);
    json_decref(setup);
}

static enum mq_code seat_try(struct seat *seat, struct mq_err *err)
{
    struct fleet *fleet = seat->fleet;
    struct child_events events = {.owner = seat, .input = on_input, .exited = on_exited};
    snprintf(seat->name, sizeof seat->name, "%s.%" PRIu64, seat->pool, ++fleet->last_no);
    snprintf(seat->page_path, sizeof seat->page_path, "%s/worker-%" PRIu64, fleet->run_dir, fleet->last_no);
    enum mq_code code = page_open(&seat->page, &seat->page_fd, seat->page_path, true, err);
    if (code != MQ_OK)
        return code;
    struct child_plan plan = {.binary = fleet->home->binary, .role = "worker", .page_fd = seat->page_fd};
    code = child_start(&seat->child, fleet->loop, &plan, &events, err);
    if (code != MQ_OK) {
        page_drop(seat);
        return code;
    }
    seat->started_at = clock_mono();
    seat->worker = dispatch_worker_new(fleet->dispatch, seat->pool, seat->name, child_pid(seat->child),
                                       seat->slots, seat->page, seat, clock_wall(), seat->started_at);
    add_setup(seat);
    seat->wants_write = true;
    return MQ_OK;
}

static void seat_launch(struct seat *seat)
{
    struct fleet *fleet = seat->fleet;
    struct mq_err err;
    seat->put_down = false;
    fleet->acted_at = clock_mono();
    bool started = seat_try(seat, &err) == MQ_OK;
    if (started) {
        log_event(LOG_INFO, "worker.started", LOG_STR("worker", seat->name),
                  LOG_INT("pid", child_pid(seat->child)));
        dispatch_emit(fleet->dispatch, &(struct event){.name = "worker.started",
                                                       .at = clock_wall(),
                                                       .worker = slice_of(seat->name),
                                                       .fraction = -1});
    } else {
        log_event(LOG_ERROR, "worker.cannot_start", LOG_STR("pool", seat->pool),
                  LOG_STR("message", err.text));
        snprintf(seat->refused, sizeof seat->refused, "%s", err.text);
    }
    if (started)
        ev_timer_init(&seat->timer, on_patience_over, START_PATIENCE_S, 0);
    else if (is_newcomer(seat))
        ev_timer_init(&seat->timer, on_cannot_start, 0, 0);
    else
        ev_timer_init(&seat->timer, on_restart, RESTART_MOST_S, 0);
    ev_timer_start(fleet->loop, &seat->timer);
}

/* ---- life -------------------------------------------------------------------------------------------------------------- */

struct fleet *fleet_new(struct ev_loop *loop, const struct home *home, const char *app_dir,
                        const char *run_dir, const struct fleet_events *events)
{
    struct fleet *fleet = mq_calloc(1, sizeof *fleet);
    fleet->loop = loop;
    fleet->home = home;
    fleet->app_dir = app_dir;
    fleet->run_dir = run_dir;
    fleet->events = *events;
    return fleet;
}

void fleet_attach(struct fleet *fleet, struct dispatch *dispatch)
{
    fleet->dispatch = dispatch;
}

struct dispatch_host fleet_host(struct fleet *fleet)
{
    return (struct dispatch_host){.owner = fleet,
                                  .write = host_write,
                                  .kill = host_kill,
                                  .ready = host_ready,
                                  .replace = host_replace,
                                  .chance = host_chance};
}

/* Up to a fifth more, by its place in the pool: workers that began together are not replaced together. */
static unsigned spread(unsigned jobs, unsigned n)
{
    return jobs + jobs / 20 * (n % 5);
}

void fleet_configure(struct fleet *fleet, const struct config *config)
{
    fleet->payload_max = config->payload_max;
    fleet->result_max = config->result_max;
    fleet->log_line_max = config->log_line_max;
    fleet->cancel_grace = config->cancel_grace;
}

void fleet_start(struct fleet *fleet, const struct config *config)
{
    fleet->generation = ++fleet->last_generation;
    fleet_configure(fleet, config);
    for (unsigned i = 0; i < config->pool_count; i++)
        for (unsigned n = 0; n < config->pools[i].workers; n++) {
            struct seat *seat = seat_new(fleet, config->pools[i].name);
            seat->slots = config->pools[i].slots;
            seat->memory_bytes = config->pools[i].memory_bytes;
            seat->jobs_max = spread(config->pools[i].jobs_max, n);
            seat_launch(seat);
        }
    take_over(fleet); /* at once where there are no workers at all */
}

void fleet_stop(struct fleet *fleet)
{
    struct seat *seat, *next;
    fleet->stopping = true;
    DL_FOREACH_SAFE (fleet->seats, seat, next) {
        seat_retire(seat);
        if (!seat->child)
            seat_free(seat);
    }
}

void fleet_abandon(struct fleet *fleet)
{
    struct seat *seat;
    fleet->abandoned = true;
    DL_FOREACH (fleet->seats, seat)
        if (seat->child) {
            dispatch_worker_give_back(fleet->dispatch, seat->worker, clock_wall());
            child_signal(seat->child, SIGKILL);
        }
}

/* A seat without a process has its restart ahead; one whose process does not come up, or does not end, its end. */
static mono_ms seat_due_at(const struct seat *seat)
{
    bool expects = !seat->child || !seat->ready;
    return expects && !ev_is_active(&seat->timer) ? seat->started_at : MONO_NEVER;
}

void fleet_pulses(const struct fleet *fleet, mono_ms now, struct pulse *list, unsigned *count)
{
    const struct seat *seat;
    mono_ms due = MONO_NEVER;
    DL_FOREACH (fleet->seats, seat)
        due = seat_due_at(seat) < due ? seat_due_at(seat) : due;
    pulse_add(list, count, "supervision", now, fleet->acted_at, due);
}

unsigned fleet_count(const struct fleet *fleet)
{
    unsigned count = 0;
    const struct seat *seat;
    DL_FOREACH (fleet->seats, seat)
        count += seat->child != NULL;
    return count;
}

void fleet_free(struct fleet *fleet)
{
    mq_must(!fleet->seats);
    free(fleet);
}

/* The path of the next run page in an open folder; false: that was the last. */
static bool next_page(DIR *dir, const char *run_dir, char path[HOME_PATH_BYTES])
{
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (strncmp(entry->d_name, "worker-", 7) == 0) {
            snprintf(path, HOME_PATH_BYTES, "%s/%s", run_dir, entry->d_name);
            return true;
        }
    return false;
}

unsigned fleet_suspects(const char *run_dir, job_id **ids)
{
    unsigned count = 0;
    char path[HOME_PATH_BYTES];
    DIR *dir = opendir(run_dir);
    *ids = NULL;
    while (next_page(dir, run_dir, path)) {
        struct run_page *page;
        int fd;
        if (page_open(&page, &fd, path, false, NULL) != MQ_OK)
            continue;
        job_id id = atomic_load(&page->on_cpu);
        if (id) {
            *ids = mq_realloc(*ids, (count + 1) * sizeof **ids);
            (*ids)[count++] = id;
        }
        page_close(page);
        close(fd);
    }
    if (dir)
        closedir(dir);
    return count;
}

void fleet_forget_suspects(const char *run_dir)
{
    char path[HOME_PATH_BYTES];
    DIR *dir = opendir(run_dir);
    while (next_page(dir, run_dir, path))
        unlink(path);
    if (dir)
        closedir(dir);
}
