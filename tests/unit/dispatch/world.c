#include "world.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the host --------------------------------------------------------------------------------------------------- */

static void host_write(void *owner, struct worker *worker)
{
    (void)owner;
    (void)worker; /* frames wait in worker_out until a test reads them */
}

static void host_kill(void *owner, struct worker *worker, int signal)
{
    struct fake_worker *fake = worker_process(worker);
    (void)owner;
    fake->last_signal = signal;
    fake->signals++;
}

static void host_ready(void *owner, struct worker *worker, struct slice json)
{
    (void)owner;
    (void)worker;
    (void)json;
}

static uint32_t host_chance(void *owner)
{
    (void)owner;
    return 0; /* no jitter: tests compute delays */
}

static void on_event(struct event_listener *listener, const struct event *event)
{
    struct world *w = listener->owner;
    char id[JOB_ID_TEXT_BYTES];
    assert_true(w->event_count < WORLD_EVENTS);
    snprintf(w->events[w->event_count++], sizeof w->events[0], "%.40s %s", event->name,
             id_format(id, event->id));
}

unsigned world_told(const struct world *w, const char *name, job_id id)
{
    char text[JOB_ID_TEXT_BYTES], whole[64];
    unsigned count = 0;
    snprintf(whole, sizeof whole, "%.40s %s", name, id_format(text, id));
    for (unsigned i = 0; i < w->event_count; i++)
        count += id ? strcmp(w->events[i], whole) == 0
                    : strncmp(w->events[i], name, strlen(name)) == 0 && w->events[i][strlen(name)] == ' ';
    return count;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static void wake(void *owner)
{
    (void)owner;
}

static void set_types(struct world *w)
{
    struct push_order types[2];
    order_init(&types[0]);
    types[0].type = SLICE("a");
    order_init(&types[1]);
    types[1].type = SLICE("mail.send");
    types[1].queue = SLICE("mail");
    types[1].attempts = 3;
    dispatch_set_types(w->d, types, 2);
}

/* The server's start, as far as dispatch sees it. */
static void start(struct world *w)
{
    struct mq_err err;
    struct dispatch_host host = {
        .owner = w, .write = host_write, .kill = host_kill, .ready = host_ready, .chance = host_chance};
    struct pool_queue any = {(char *)"*", 1};
    struct pool_settings pool = {.name = (char *)"default",
                                 .workers = w->worker_count,
                                 .slots = w->slots,
                                 .queues = &any,
                                 .queue_count = 1};
    assert_int_equal(MQ_OK, store_open(&w->store, &w->store_settings, &err));
    w->d = dispatch_new(w->store, &host, &w->settings);
    struct store_listener listener = dispatch_store_listener(w->d);
    store_attach(w->store, &listener, wake, w);
    dispatch_set_pools(w->d, &pool, 1);
    set_types(w);
    w->listener = (struct event_listener){.event = on_event, .owner = w};
    dispatch_listen(w->d, &w->listener);
    world_turn(w);
    for (unsigned i = 0; i < w->worker_count; i++) {
        char name[32];
        struct fake_worker *fake = &w->workers[i];
        snprintf(name, sizeof name, "default.%u", i);
        fake->page = calloc(1, sizeof *fake->page);
        fake->worker = dispatch_worker_new(w->d, "default", name, 1000 + (int)i, w->slots, fake->page, fake,
                                           w->wall, w->now);
        dispatch_worker_ready(w->d, fake->worker, w->now);
    }
}

static void stop(struct world *w)
{
    world_turn(w);
    for (unsigned i = 0; i < w->worker_count; i++) {
        if (w->workers[i].worker) {
            dispatch_worker_lost(w->d, w->workers[i].worker, "test", true, w->wall);
            dispatch_worker_free(w->d, w->workers[i].worker);
        }
        free(w->workers[i].page);
    }
    dispatch_unlisten(w->d, &w->listener);
    store_close(w->store);
    dispatch_free(w->d);
}

struct world *world_new(unsigned workers, unsigned slots)
{
    struct world *w = calloc(1, sizeof *w);
    strcpy(w->dir, "/tmp/moonq-dispatch-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->wall = 1800000000000;
    w->now = 1000;
    w->worker_count = workers;
    w->slots = slots;
    w->store_settings = (struct store_settings){.dir = w->dir,
                                                .map_bytes = 16 << 20,
                                                .dead_keep_ms = 30 * 86400000LL,
                                                .crash_limit = 3,
                                                .nosync = true};
    w->settings = (struct dispatch_settings){
        .payload_max = 1000,
        .result_max = 1000,
        .log_line_max = 200,
        .start_within_ms = 100,
        .cancel_grace_ms = 5000,
        .timeout_grace_ms = 2000,
        .silence_max_ms = 30000,
        .idle_alarm_ms = 10000,
        .sweep_limit = 100,
    };
    order_init(&w->settings.defaults);
    start(w);
    return w;
}

void world_restart(struct world *w, int64_t down_ms)
{
    stop(w);
    w->wall += down_ms;
    w->now = 1000;
    start(w);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

void world_free(struct world *w)
{
    stop(w);
    nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(w);
}

void world_turn(struct world *w)
{
    for (int i = 0; i < 8;
         i++) { /* a lease, its outcome, a sweep and its next chunk: few turns settle everything */
        dispatch_tick(w->d, w->wall, w->now);
        store_flush(w->store);
        store_collect(w->store);
    }
}

void world_beat(struct world *w)
{
    for (unsigned i = 0; i < w->worker_count; i++)
        atomic_fetch_add(&w->workers[i].page->beats, 1);
}

void world_pass(struct world *w, int64_t ms)
{
    for (int64_t step; ms > 0; ms -= step) {
        step = ms < 20 ? ms : 20;
        w->wall += step;
        w->now += step;
        world_turn(w);
    }
}

/* Turns, and says when dispatch wants the next; it may be now. */
static struct dispatch_wake turn(struct world *w)
{
    struct dispatch_wake wake = {0};
    for (int i = 0; i < 8; i++) {
        wake = dispatch_tick(w->d, w->wall, w->now);
        store_flush(w->store);
        store_collect(w->store);
    }
    return wake;
}

void world_leap(struct world *w, int64_t ms)
{
    wall_ms end = w->wall + ms;
    for (;;) {
        struct dispatch_wake wake = turn(w);
        int64_t step = end - w->wall;
        if (step == 0)
            return;
        if (wake.wall != WALL_NEVER && wake.wall - w->wall < step)
            step = wake.wall > w->wall ? wake.wall - w->wall : 0;
        if (wake.mono != MONO_NEVER && wake.mono - w->now < step)
            step = wake.mono > w->now ? wake.mono - w->now : 0;
        w->wall += step;
        w->now += step;
    }
}

/* ---- what clients do ------------------------------------------------------------------------------------------------ */

static void mark_done(struct store_op *op)
{
    *(bool *)op->owner = true;
}

static void submit_and_wait(struct world *w, struct store_op *op)
{
    bool done = false;
    op->done = mark_done;
    op->owner = &done;
    dispatch_submit(w->d, op);
    store_flush(w->store);
    store_collect(w->store);
    assert_true(done);
}

enum mq_code world_push_code(struct world *w, const char *type, const struct push_order *options, job_id *id)
{
    struct op_push push = {0};
    struct push_order order;
    struct mq_err err;
    bool done = false;
    order_init(&order);
    if (options)
        order = *options;
    order.type = slice_of(type);
    store_op_init(&push.op, STORE_PUSH, w->wall);
    enum mq_code code = dispatch_resolve(w->d, &push, &order, w->wall, &err);
    if (code != MQ_OK)
        return code;
    push.op.done = mark_done;
    push.op.owner = &done;
    dispatch_submit(w->d, &push.op);
    world_turn(w);
    assert_true(done);
    code = push.op.code;
    *id = push.id;
    store_op_release(&push.op);
    return code;
}

job_id world_push(struct world *w, const char *type, const struct push_order *options)
{
    job_id id;
    assert_int_equal(MQ_OK, world_push_code(w, type, options, &id));
    return id;
}

void world_get(struct world *w, struct op_get *got, job_id id)
{
    memset(got, 0, sizeof *got);
    store_op_init(&got->op, STORE_GET, w->wall);
    got->id = id;
    got->with_history = true;
    submit_and_wait(w, &got->op);
}

enum job_state world_state(struct world *w, job_id id)
{
    struct op_get got;
    world_get(w, &got, id);
    enum job_state state = got.op.code == MQ_OK ? got.view.status.state : JOB_NONE;
    store_op_release(&got.op);
    return state;
}

void world_step(struct world *w, enum store_verb verb, job_id id, struct op_step *step)
{
    memset(step, 0, sizeof *step);
    store_op_init(&step->op, verb, w->wall);
    step->id = id;
    submit_and_wait(w, &step->op);
    world_turn(w);
}

/* ---- what workers do ------------------------------------------------------------------------------------------------ */

unsigned world_jobs(struct world *w, unsigned worker, struct frame_job *jobs, unsigned most)
{
    struct buf *out = worker_out(w->workers[worker].worker);
    unsigned count = 0;
    while (count < most) {
        struct frame frame;
        size_t used;
        assert_int_equal(MQ_OK, frame_read(&frame, buf_bytes(out), &used, NULL));
        if (!used || frame.kind != FRAME_JOB)
            break;
        jobs[count] = frame.job;
        jobs[count++].record = SLICE_EMPTY; /* it lies in what we eat */
        buf_eat(out, used);
    }
    return count;
}

bool world_signal(struct world *w, unsigned worker, struct frame *frame)
{
    struct buf *out = worker_out(w->workers[worker].worker);
    size_t used;
    assert_int_equal(MQ_OK, frame_read(frame, buf_bytes(out), &used, NULL));
    buf_eat(out, used);
    return used > 0;
}

void world_begin(struct world *w, unsigned worker, const struct frame_job *job)
{
    struct run_page *page = w->workers[worker].page;
    assert_true(slot_move(page, job->slot, SLOT_GIVEN, SLOT_TAKEN));
    atomic_store(&page->on_cpu, job->id);
    atomic_fetch_add(&page->turns, 1);
}

void world_say(struct world *w, unsigned worker, struct buf *frames)
{
    struct mq_err err;
    size_t used;
    struct slice bytes = buf_bytes(frames);
    assert_int_equal(
        MQ_OK, dispatch_worker_frames(w->d, w->workers[worker].worker, bytes, &used, w->wall, w->now, &err));
    assert_int_equal(bytes.len, used);
    buf_release(frames);
    world_turn(w);
}

void world_done(struct world *w, unsigned worker, const struct frame_job *job, const char *result)
{
    struct buf frames = BUF_INIT;
    atomic_store(&w->workers[worker].page->on_cpu, 0);
    frame_add_done(
        &frames, &(struct frame_done){
                     .slot = job->slot, .id = job->id, .result = slice_of(result), .children = SLICE_EMPTY});
    world_say(w, worker, &frames);
}

void world_failed(struct world *w, unsigned worker, const struct frame_job *job, const char *message)
{
    struct buf frames = BUF_INIT;
    atomic_store(&w->workers[worker].page->on_cpu, 0);
    frame_add_failed(&frames, &(struct frame_failed){.slot = job->slot,
                                                     .id = job->id,
                                                     .verdict = FAIL_RETRY,
                                                     .delay_ms = -1,
                                                     .code = SLICE("SCRIPT"),
                                                     .message = slice_of(message),
                                                     .traceback = SLICE_EMPTY});
    world_say(w, worker, &frames);
}

void world_die(struct world *w, unsigned worker, const char *how)
{
    struct fake_worker *fake = &w->workers[worker];
    dispatch_worker_lost(w->d, fake->worker, how, false, w->wall);
    dispatch_worker_free(w->d, fake->worker);
    fake->worker = NULL;
    world_turn(w);
}
