/*
 * Hostile children: processes that say what no worker of ours would. This program is started as the child too; the role,
 * or for a fleet's workers the environment, says what it does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "runtime/child.h"
#include "runtime/frame.h"
#include "server/child.h"
#include "server/fleet.h"

#define GIVE_UP_MS 30000
#define BEHIND     (70 * 1024) /* what the server reads at once, and more */

static char own_binary[PATH_MAX];

/* ---- what the children do --------------------------------------------------------------------------------------- */

static void say(const void *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t wrote = write(CHILD_SOCKET_FD, (const char *)bytes + at, len - at);
        if (wrote <= 0)
            _exit(3);
        at += (size_t)wrote;
    }
}

static void say_frame(struct buf *frame)
{
    say(frame->at, buf_len(frame));
    buf_release(frame);
}

static void say_ready(void)
{
    struct buf frame = BUF_INIT;
    frame_add_json(&frame, FRAME_READY, SLICE("{\"ok\":true}"));
    say_frame(&frame);
}

/* Waits for the server's next frame and takes it. */
static struct frame hear(void)
{
    static struct buf in;
    static size_t eaten;
    struct frame frame;
    size_t used;
    buf_eat(&in, eaten);
    while (frame_read(&frame, buf_bytes(&in), &used, NULL) == MQ_OK && used == 0) {
        ssize_t len = read(CHILD_SOCKET_FD, buf_room(&in, 4096), 4096);
        if (len <= 0)
            _exit(0);
        buf_grew(&in, (size_t)len);
    }
    eaten = used;
    return frame;
}

/* Garbage and then, in the next bytes that the server reads, what looks well. READY says that all of it is sent. */
static void garbage_then_frames(void)
{
    char *bytes = calloc(2, BEHIND);
    memset(bytes, 0xFF, 64 * 1024);
    struct buf frame = BUF_INIT;
    frame_add_json(&frame, FRAME_READY, SLICE("{\"ok\":true}"));
    memcpy(bytes + 64 * 1024, frame.at, buf_len(&frame));
    say(bytes, 64 * 1024 + buf_len(&frame));
    if (write(atoi(getenv("SENT_FD")), "x", 1) != 1)
        _exit(4);
    pause();
}

static void garbage_at_once(void)
{
    say("HTTP/1.1 200 OK\r\n\r\n", 19);
    pause();
}

/* Says that it is ready, and of the first job it gets, garbage. */
static void garbage_for_a_job(void)
{
    say_ready();
    while (hear().kind != FRAME_JOB)
        ;
    say("\0\0\0\7\7garbage", 12);
    pause();
}

/* Acknowledges jobs that it was never given, and for each one that it was, takes none. */
static void lies(void)
{
    say_ready();
    for (uint64_t i = 0;; i++) {
        struct frame frame = hear();
        struct buf out = BUF_INIT;
        if (frame.kind == FRAME_DRAIN)
            _exit(0);
        if (frame.kind == FRAME_JOB) {
            struct frame_done done = {.slot = frame.job.slot + 1,
                                      .id = frame.job.id,
                                      .result = SLICE("lie"),
                                      .children = SLICE_EMPTY};
            frame_add_done(&out, &done);
            done.slot = UINT32_MAX;
            frame_add_done(&out, &done);
            done.slot = frame.job.slot;
            done.id = frame.job.id + 1;
            frame_add_done(&out, &done);
            done.id = frame.job.id;
            done.child_count = UINT32_MAX;
            frame_add_done(&out, &done);
            say_frame(&out);
        }
    }
}

/* Ready, and ready, and ready. */
static void ready_for_ever(void)
{
    for (;;) {
        say_ready();
        usleep(2000);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} roles[] = {
    {"garbage_then_frames", garbage_then_frames}, {"garbage_at_once", garbage_at_once},
    {"garbage_for_a_job", garbage_for_a_job},     {"lies", lies},
    {"ready_for_ever", ready_for_ever},
};

static int play(const char *role)
{
    alarm(GIVE_UP_MS / 1000); /* if the server forgets us */
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(roles[i].name, role) == 0)
            roles[i].run();
    return 2;
}

/* ---- one child ------------------------------------------------------------------------------------------------- */

struct heard {
    unsigned calls;
    bool exited;
    char how[64];
};

static enum mq_code on_input(void *owner, struct child *child, struct slice bytes, size_t *used,
                             struct mq_err *err)
{
    struct heard *heard = owner;
    struct frame frame;
    (void)child;
    heard->calls++;
    return frame_read(&frame, bytes, used, err);
}

static void on_exited(void *owner, struct child *child, const char *how, bool clean)
{
    struct heard *heard = owner;
    (void)clean;
    heard->exited = true;
    snprintf(heard->how, sizeof heard->how, "%s", how);
    child_free(child);
}

static void what_comes_behind_garbage_is_not_heard(void **unused)
{
    struct ev_loop *loop = ev_default_loop(0);
    struct heard heard = {0};
    struct child_events events = {.owner = &heard, .input = on_input, .exited = on_exited};
    struct child_plan plan = {.binary = own_binary, .role = "garbage_then_frames", .page_fd = -1};
    struct child *child;
    struct mq_err err;
    int sent[2];
    char text[16];
    (void)unused;
    assert_int_equal(0, pipe(sent));
    snprintf(text, sizeof text, "%d", sent[1]);
    setenv("SENT_FD", text, 1);
    assert_int_equal(MQ_OK, child_start(&child, loop, &plan, &events, &err));
    assert_int_equal(1, read(sent[0], text, 1)); /* now all of it is in the socket */
    while (!heard.exited)
        ev_run(loop, EVRUN_ONCE);
    assert_int_equal(1, heard.calls);
    assert_string_equal("signal 9 (SIGKILL)", heard.how);
    close(sent[0]);
    close(sent[1]);
}

/* ---- a fleet ---------------------------------------------------------------------------------------------------- */

struct yard {
    char dir[64];
    struct ev_loop *loop;
    ev_timer beat;
    struct store *store;
    struct dispatch *d;
    struct fleet *fleet;
    struct home home;
    struct config config;
    unsigned took_over, failed;
    char why[512];
};

static void on_took_over(void *owner)
{
    struct yard *yard = owner;
    struct push_order type;
    order_init(&type);
    type.type = SLICE("a");
    dispatch_set_types(yard->d, &type, 1);
    yard->took_over++;
}

static void on_failed(void *owner, const char *text)
{
    struct yard *yard = owner;
    yard->failed++;
    snprintf(yard->why, sizeof yard->why, "%s", text);
}

static void on_beat(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)timer, (void)events;
}

static void wake(void *owner)
{
    (void)owner;
}

static void yard_open(struct yard *yard, const char *behaviour)
{
    struct fleet_events events = {.owner = yard, .took_over = on_took_over, .failed = on_failed};
    struct mq_err err;
    memset(yard, 0, sizeof *yard);
    setenv("HOSTILE", behaviour, 1);
    strcpy(yard->dir, "/tmp/moonq-yard-XXXXXX");
    assert_non_null(mkdtemp(yard->dir));
    snprintf(yard->home.binary, sizeof yard->home.binary, "%s", own_binary);
    config_init(&yard->config);
    yard->config.pools[0].workers = 1;
    yard->config.pools[0].slots = 4;
    yard->loop = ev_default_loop(0);
    ev_timer_init(&yard->beat, on_beat, 0.01, 0.01);
    ev_timer_start(yard->loop, &yard->beat);
    struct store_settings store = config_store(&yard->config, yard->dir);
    store.readers = 0;
    store.nosync = true;
    assert_int_equal(MQ_OK, store_open(&yard->store, &store, &err));
    yard->fleet = fleet_new(yard->loop, &yard->home, yard->dir, yard->dir, &events);
    struct dispatch_host host = fleet_host(yard->fleet);
    struct dispatch_settings settings = config_dispatch(&yard->config);
    yard->d = dispatch_new(yard->store, &host, &settings);
    struct store_listener listener = dispatch_store_listener(yard->d);
    store_attach(yard->store, &listener, wake, NULL);
    fleet_attach(yard->fleet, yard->d);
    dispatch_set_pools(yard->d, yard->config.pools, yard->config.pool_count);
    fleet_start(yard->fleet, &yard->config);
}

static void turn(struct yard *yard)
{
    ev_run(yard->loop, EVRUN_ONCE);
    dispatch_tick(yard->d, clock_wall(), clock_mono());
    store_flush(yard->store);
    store_collect(yard->store);
    fleet_flush(yard->fleet);
}

static void turn_until(struct yard *yard, bool (*so)(struct yard *yard))
{
    mono_ms give_up = clock_mono() + GIVE_UP_MS;
    while (!so(yard)) {
        assert_true(clock_mono() < give_up);
        turn(yard);
    }
}

static bool is_empty(struct yard *yard)
{
    return fleet_count(yard->fleet) == 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void yard_close(struct yard *yard)
{
    fleet_stop(yard->fleet);
    fleet_abandon(yard->fleet);
    turn_until(yard, is_empty);
    store_close(yard->store);
    fleet_free(yard->fleet);
    dispatch_free(yard->d);
    config_release(&yard->config);
    ev_timer_stop(yard->loop, &yard->beat);
    nftw(yard->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void mark_done(struct store_op *op)
{
    *(bool *)op->owner = true;
}

static void submit(struct yard *yard, struct store_op *op)
{
    bool done = false;
    op->done = mark_done;
    op->owner = &done;
    dispatch_submit(yard->d, op);
    store_flush(yard->store);
    store_collect(yard->store);
    assert_true(done);
    assert_int_equal(MQ_OK, op->code);
}

static job_id push(struct yard *yard)
{
    struct op_push push = {0};
    struct push_order order;
    struct mq_err err;
    order_init(&order);
    order.type = SLICE("a");
    store_op_init(&push.op, STORE_PUSH, clock_wall());
    assert_int_equal(MQ_OK, dispatch_resolve(yard->d, &push, &order, clock_wall(), &err));
    submit(yard, &push.op);
    store_op_release(&push.op);
    return push.id;
}

/* Its status; slices in it are gone. */
static struct job_status status_of(struct yard *yard, job_id id)
{
    struct op_get *get = calloc(1, sizeof *get);
    store_op_init(&get->op, STORE_GET, clock_wall());
    get->id = id;
    submit(yard, &get->op);
    struct job_status status = get->view.status;
    store_op_release(&get->op);
    free(get);
    return status;
}

static bool has_failed(struct yard *yard)
{
    return yard->failed > 0;
}

static bool has_taken_over(struct yard *yard)
{
    return yard->took_over > 0;
}

static bool two_have_taken_over(struct yard *yard)
{
    return yard->took_over > 1;
}

static bool two_workers_were_lost(struct yard *yard)
{
    struct dispatch_stats stats;
    dispatch_stats(yard->d, &stats);
    return stats.workers_lost >= 2;
}

static void a_worker_that_greets_with_garbage_does_not_come_up(void **unused)
{
    struct yard yard;
    (void)unused;
    yard_open(&yard, "garbage_at_once");
    turn_until(&yard, has_failed);
    assert_non_null(strstr(yard.why, "signal 9 (SIGKILL)"));
    assert_int_equal(0, yard.took_over);
    yard_close(&yard);
}

static void a_job_answered_with_garbage_goes_back_uncharged(void **unused)
{
    struct yard yard;
    (void)unused;
    yard_open(&yard, "garbage_for_a_job");
    turn_until(&yard, has_taken_over);
    job_id id = push(&yard);
    turn_until(&yard, two_workers_were_lost); /* the next one is no better */
    struct job_status status = status_of(&yard, id);
    assert_true(status.state == JOB_READY || status.state == JOB_RUNNING);
    assert_int_equal(0, status.crashes);
    assert_true(status.attempt <= 1);
    yard_close(&yard);
}

/* Its DONE for a job that it holds counts, though it never began it; that is the harm it can do, and it is refused here
   for the children that it miscounts: the job fails, and is tried again. */
static bool all_have_failed_once(struct yard *yard)
{
    struct op_queues queues = {0};
    store_op_init(&queues.op, STORE_QUEUES, clock_wall());
    submit(yard, &queues.op);
    bool so = queues.count == 1 && queues.queues[0].counts.in_state[JOB_RETRYING] == 3;
    store_op_release(&queues.op);
    return so;
}

static void what_a_worker_says_of_foreign_jobs_is_not_believed(void **unused)
{
    struct yard yard;
    job_id ids[3];
    (void)unused;
    yard_open(&yard, "lies");
    turn_until(&yard, has_taken_over);
    for (int i = 0; i < 3; i++)
        ids[i] = push(&yard);
    turn_until(&yard, all_have_failed_once);
    for (int i = 0; i < 3; i++)
        assert_int_equal(1, status_of(&yard, ids[i]).attempt);
    yard_close(&yard);
}

static unsigned old_workers_that_are_ready(struct yard *yard)
{
    struct worker_view view;
    unsigned count = 0;
    for (unsigned i = 0; dispatch_worker_view(yard->d, i, &view); i++)
        count += slice_equal(view.name, SLICE("default.1")) && strcmp(view.state, "ready") == 0;
    return count;
}

static void a_retired_worker_does_not_come_back_by_saying_ready(void **unused)
{
    struct yard yard;
    (void)unused;
    yard_open(&yard, "ready_for_ever");
    turn_until(&yard, has_taken_over);
    assert_int_equal(1, old_workers_that_are_ready(&yard));
    fleet_start(yard.fleet, &yard.config);
    turn_until(&yard, two_have_taken_over);
    for (int i = 0; i < 20; i++) {
        turn(&yard);
        assert_int_equal(0, old_workers_that_are_ready(&yard));
    }
    yard_close(&yard);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_behind_garbage_is_not_heard),
        cmocka_unit_test(a_worker_that_greets_with_garbage_does_not_come_up),
        cmocka_unit_test(a_job_answered_with_garbage_goes_back_uncharged),
        cmocka_unit_test(what_a_worker_says_of_foreign_jobs_is_not_believed),
        cmocka_unit_test(a_retired_worker_does_not_come_back_by_saying_ready),
    };
    if (argc == 3 && strcmp(argv[1], "child") == 0)
        return play(strcmp(argv[2], "worker") == 0 ? getenv("HOSTILE") : argv[2]);
    signal(SIGPIPE, SIG_IGN);
    log_setup((enum log_level)(LOG_ERROR + 1), true);
    assert_non_null(realpath("/proc/self/exe", own_binary));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
