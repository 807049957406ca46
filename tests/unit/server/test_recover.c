/* What an earlier server's workers held goes back at the start: also when the disk has no room for that yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/page.h"
#include "server/server.h"
#include "server/unpark.h"

#define JOBS 3 /* the last of them was on its worker's CPU */

/* ---- a server, as far as it has come when it recovers ---------------------------------------------------------------- */

static bool recovered;
void server_recovered(struct server *server)
{
    (void)server;
    recovered = true;
}

static void host_write(void *owner, struct worker *worker)
{
    (void)owner, (void)worker;
}
static void host_kill(void *owner, struct worker *worker, int number)
{
    (void)owner, (void)worker, (void)number;
}
static void host_ready(void *owner, struct worker *worker, struct slice json)
{
    (void)owner, (void)worker, (void)json;
}
static uint32_t host_chance(void *owner)
{
    (void)owner;
    return 0;
}
static void wake(void *owner)
{
    (void)owner;
}

struct bench {
    struct server server;
    char page[sizeof((struct server *)0)->run_dir + 16];
    job_id jobs[JOBS];
    uint64_t tokens[JOBS];
};

static void on_done(struct store_op *op)
{
    *(bool *)op->owner = true;
}

static void run(struct bench *b, struct store_op *op)
{
    bool done = false;
    op->done = on_done;
    op->owner = &done;
    dispatch_submit(b->server.dispatch, op);
    store_flush(b->server.store);
    store_collect(b->server.store);
    assert_true(done);
}

static job_id push(struct bench *b)
{
    struct op_push op = {0};
    struct push_order order;
    struct mq_err err;
    order_init(&order);
    order.type = SLICE("a");
    store_op_init(&op.op, STORE_PUSH, clock_wall());
    assert_int_equal(dispatch_resolve(b->server.dispatch, &op, &order, op.op.now, &err), MQ_OK);
    run(b, &op.op);
    assert_int_equal(op.op.code, MQ_OK);
    job_id id = op.id;
    store_op_release(&op.op);
    return id;
}

/* As by an earlier server, for one of its workers. */
static void lease_all(struct bench *b)
{
    struct slice queue = SLICE("default");
    struct op_lease op = {0};
    store_op_init(&op.op, STORE_LEASE, clock_wall());
    op.queues = &queue;
    op.queue_count = 1;
    op.max = JOBS;
    op.holder = SLICE("default.0");
    op.by_worker = true;
    run(b, &op.op);
    assert_int_equal(op.count, JOBS);
    for (int i = 0; i < JOBS; i++)
        b->tokens[i] = op.jobs[i].token;
    store_op_release(&op.op);
}

static void leave_page(struct bench *b)
{
    struct run_page *page;
    int fd;
    snprintf(b->page, sizeof b->page, "%s/worker-1", b->server.run_dir);
    assert_int_equal(page_open(&page, &fd, b->page, true, NULL), MQ_OK);
    atomic_store(&page->on_cpu, b->jobs[JOBS - 1]);
    page_close(page);
    close(fd);
}

static struct bench *open_bench(void)
{
    struct bench *b = calloc(1, sizeof *b);
    struct mq_err err;
    struct dispatch_host host = {
        .write = host_write, .kill = host_kill, .ready = host_ready, .chance = host_chance};
    struct dispatch_settings settings = {.payload_max = 1000, .sweep_limit = 100};
    recovered = false;
    strcpy(b->server.data_dir, "/tmp/moonq-recover-XXXXXX");
    assert_non_null(mkdtemp(b->server.data_dir));
    strcpy(b->server.run_dir, b->server.data_dir);
    b->server.loop = ev_default_loop(EVFLAG_AUTO);
    struct store_settings wishes = {.dir = b->server.data_dir, .map_bytes = 16 << 20, .nosync = true};
    assert_int_equal(store_open(&b->server.store, &wishes, &err), MQ_OK);
    order_init(&settings.defaults);
    b->server.dispatch = dispatch_new(b->server.store, &host, &settings);
    struct store_listener listener = dispatch_store_listener(b->server.dispatch);
    store_attach(b->server.store, &listener, wake, NULL);
    for (int i = 0; i < JOBS; i++)
        b->jobs[i] = push(b);
    lease_all(b);
    leave_page(b);
    return b;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void close_bench(struct bench *b)
{
    store_close(b->server.store);
    dispatch_free(b->server.dispatch);
    nftw(b->server.data_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(b);
}

static void get(struct bench *b, job_id id, struct job_status *status)
{
    struct op_get op = {0};
    store_op_init(&op.op, STORE_GET, clock_wall());
    op.id = id;
    run(b, &op.op);
    assert_int_equal(op.op.code, MQ_OK);
    *status = op.view.status;
    store_op_release(&op.op);
}

/* Waits for the moment to ask again, if there is one, and asks. */
static void turn(struct bench *b)
{
    ev_run(b->server.loop, EVRUN_ONCE);
    store_flush(b->server.store);
    store_collect(b->server.store);
}

static void start(struct bench *b)
{
    json_t *app = json_object();
    recover_start(&b->server, app);
    json_decref(app);
    store_flush(b->server.store);
    store_collect(b->server.store);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Nothing can be written any more, or everything again. */
static void set_disk_full(struct bench *b, bool full)
{
    static struct rlimit before;
    struct job_status status;
    if (!full) {
        setrlimit(RLIMIT_FSIZE, &before);
        return;
    }
    get(b, b->jobs[0], &status); /* a read sees all that was answered: it is in LMDB's file now */
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    struct rlimit page = {4096, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &page);
}

static void check_given_back(struct bench *b)
{
    struct dispatch_stats stats;
    struct job_status status;
    for (int i = 0; i < JOBS; i++) {
        bool guilty = i == JOBS - 1;
        get(b, b->jobs[i], &status);
        assert_int_equal(status.state, guilty ? JOB_RETRYING : JOB_READY);
        assert_int_equal(status.crashes, guilty);
    }
    dispatch_stats(b->server.dispatch, &stats);
    assert_int_equal(stats.orphans_repaired, JOBS);
    assert_false(is_there(b->page));
}

/* ---- the sentences ----------------------------------------------------------------------------------------------------- */

static void what_was_held_goes_back_and_what_was_on_a_cpu_is_charged(void **unused)
{
    (void)unused;
    struct bench *b = open_bench();
    start(b);
    assert_true(recovered);
    check_given_back(b);
    close_bench(b);
}

static void on_a_full_disk_it_waits_and_forgets_no_suspect(void **unused)
{
    (void)unused;
    struct bench *b = open_bench();
    struct job_status status;
    set_disk_full(b, true);
    start(b);
    for (int i = 0; i < 14; i++) /* with ever fewer at once, and then with a rest before each try */
        turn(b);
    set_disk_full(b, false);
    get(b, b->jobs[JOBS - 1], &status);
    assert_int_equal(status.state, JOB_RUNNING);
    assert_false(recovered);
    assert_true(is_there(b->page));
    while (!recovered)
        turn(b);
    check_given_back(b);
    close_bench(b);
}

static void where_nothing_was_held_a_full_disk_keeps_nobody_out(void **unused)
{
    (void)unused;
    struct bench *b = open_bench();
    start(b);
    recovered = false;
    set_disk_full(b, true);
    start(b); /* the next server */
    assert_true(recovered);
    set_disk_full(b, false);
    check_given_back(b);
    close_bench(b);
}

/* Whoever stops it gets it stopped; the next one charges the suspect. */
static void a_stop_ends_the_wait(void **unused)
{
    (void)unused;
    struct bench *b = open_bench();
    struct job_status status;
    set_disk_full(b, true);
    start(b);
    b->server.stopping = true;
    while (!recovered)
        turn(b);
    set_disk_full(b, false);
    assert_true(is_there(b->page));
    get(b, b->jobs[JOBS - 1], &status);
    assert_int_equal(status.state, JOB_RUNNING);
    b->server.stopping = recovered = false;
    start(b);
    assert_true(recovered);
    check_given_back(b);
    close_bench(b);
}

static void park_all(struct bench *b)
{
    lease_all(b);
    for (int i = 0; i < JOBS; i++) {
        struct op_step op = {
            .id = b->jobs[i], .token = b->tokens[i], .payload = SLICE_EMPTY, .reason = SLICE_EMPTY};
        store_op_init(&op.op, STORE_PARK, clock_wall());
        run(b, &op.op);
        assert_int_equal(op.op.code, MQ_OK);
        store_op_release(&op.op);
    }
}

static unsigned parked(struct bench *b)
{
    struct job_status status;
    unsigned count = 0;
    for (int i = 0; i < JOBS; i++) {
        get(b, b->jobs[i], &status);
        count += status.parked;
    }
    return count;
}

static void jobs_that_waited_for_their_handler_wait_for_room_too(void **unused)
{
    (void)unused;
    struct bench *b = open_bench();
    unlink(b->page); /* nobody is guilty */
    start(b);
    park_all(b);
    recovered = false;
    set_disk_full(b, true);
    json_t *app = json_pack("{s{s{}}}", "handlers", "a");
    unpark_start(unpark_new(&b->server, app), server_recovered);
    json_decref(app);
    store_flush(b->server.store);
    store_collect(b->server.store);
    assert_true(recovered); /* it goes on without them */
    turn(b);
    set_disk_full(b, false);
    assert_int_equal(parked(b), JOBS);
    while (parked(b))
        turn(b);
    close_bench(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_held_goes_back_and_what_was_on_a_cpu_is_charged),
        cmocka_unit_test(on_a_full_disk_it_waits_and_forgets_no_suspect),
        cmocka_unit_test(where_nothing_was_held_a_full_disk_keeps_nobody_out),
        cmocka_unit_test(a_stop_ends_the_wait),
        cmocka_unit_test(jobs_that_waited_for_their_handler_wait_for_room_too),
    };
    return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
