#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* What a worker can do that is not ours any more, and what becomes of it. Its neighbours and the server go on. */

/* Says something, in as many pieces as come of it; answers what the server thinks of it. */
static enum mq_code hear(struct world *w, unsigned worker, struct slice bytes, size_t *used)
{
    struct mq_err err;
    enum mq_code code =
        dispatch_worker_frames(w->d, w->workers[worker].worker, bytes, used, w->wall, w->now, &err);
    world_turn(w);
    return code;
}

/* Time passes, and all its loops seem to turn. */
static void pass_beating(struct world *w, int64_t ms)
{
    for (; ms > 0; ms -= 500) {
        world_beat(w);
        world_pass(w, 500);
    }
}

static bool is_killed(const struct world *w, unsigned worker)
{
    return w->workers[worker].signals && w->workers[worker].last_signal == SIGKILL;
}

static void a_frame_beyond_its_kinds_size_is_refused_by_its_head(void **unused)
{
    static const struct {
        const char *head;
        enum mq_code code;
    } rows[] = {
        {"\x00\x00\x20\x00\x0b", MQ_INTERNAL}, /* PROGRESS of 8 KiB */
        {"\x00\x10\x00\x00\x0a", MQ_INTERNAL}, /* LOG of 1 MiB */
        {"\x00\x02\x00\x00\x08", MQ_INTERNAL}, /* FAILED of 128 KiB */
        {"\x00\x00\x00\x0f\x09", MQ_INTERNAL}, /* DROPPED of one byte more than it has */
        {"\x04\x20\x00\x00\x07", MQ_INTERNAL}, /* DONE of 66 MiB */
        {"\x00\x10\x00\x00\x07", MQ_OK},       /* DONE of 1 MiB: the rest may come */
        {"\x00\x10\x00\x00\x02", MQ_INTERNAL}, /* JOB: ours to send */
        {"\x00\x00\x00\x01\x05", MQ_INTERNAL}, /* DRAIN: ours to send */
        {"\x00\x00\x00\x01\xee", MQ_INTERNAL},
    };
    struct world *w = world_new(1, 4);
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t used;
        assert_int_equal(rows[i].code, hear(w, 0, (struct slice){rows[i].head, 5}, &used));
        assert_int_equal(0, used);
    }
    world_free(w);
}

static void a_frame_that_never_ends_ends_its_worker(void **unused)
{
    struct world *w = world_new(2, 1);
    struct frame_job jobs[2];
    size_t used;
    (void)unused;
    job_id ids[2] = {world_push(w, "a", NULL), world_push(w, "a", NULL)};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(1, world_jobs(w, i, &jobs[i], 1));
        world_begin(w, i, &jobs[i]);
        atomic_store(&w->workers[i].page->on_cpu, 0); /* both wait for something */
    }
    assert_int_equal(MQ_OK, hear(w, 0, SLICE("\x00\x10\x00\x00\x07 and no more"), &used));
    pass_beating(w, 59000);
    assert_false(is_killed(w, 0)); /* its loop may have stood still in between */
    pass_beating(w, 2000);
    assert_true(is_killed(w, 0));
    assert_false(is_killed(w, 1));
    world_die(w, 0, "signal 9 (SIGKILL)");
    assert_int_not_equal(JOB_RUNNING, world_state(w, jobs[0].id));
    world_done(w, 1, &jobs[1], "");
    assert_int_equal(JOB_SUCCEEDED, world_state(w, jobs[1].id));
    (void)ids;
    world_free(w);
}

static void an_idle_worker_that_leaves_a_frame_unfinished_is_ended_too(void **unused)
{
    struct world *w = world_new(1, 1);
    size_t used;
    (void)unused;
    assert_int_equal(MQ_OK, hear(w, 0, SLICE("\x00"), &used));
    pass_beating(w, 61000);
    assert_true(is_killed(w, 0));
    world_free(w);
}

static void progress_that_floods_is_gathered_and_the_newest_is_kept(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    struct buf frames = BUF_INIT;
    struct op_get got;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    for (int i = 0; i < 10000; i++) {
        char note[16];
        snprintf(note, sizeof note, "row %d", i);
        frame_add_progress(
            &frames, &(struct frame_progress){
                         .slot = job.slot, .id = id, .fraction = (float)i / 10000, .note = slice_of(note)});
    }
    world_say(w, 0, &frames);
    assert_int_equal(1, world_told(w, "job.progress", id)); /* the first at once */
    world_pass(w, 60);
    assert_int_equal(2, world_told(w, "job.progress", id)); /* and then the last */
    world_get(w, &got, id);
    assert_int_equal(8, got.view.status.note.len);
    assert_memory_equal("row 9999", got.view.status.note.at, 8);
    store_op_release(&got.op);
    world_free(w);
}

static void the_last_progress_is_kept_with_the_finished_record(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    struct buf frames = BUF_INIT;
    struct op_get got;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    for (int i = 1; i <= 2; i++)
        frame_add_progress(&frames,
                           &(struct frame_progress){
                               .slot = job.slot, .id = id, .fraction = .25f * i, .note = SLICE("half")});
    world_say(w, 0, &frames);
    world_done(w, 0, &job, "");
    world_get(w, &got, id);
    assert_int_equal(JOB_SUCCEEDED, got.view.status.state);
    assert_true(got.view.status.progress == .5f);
    store_op_release(&got.op);
    world_free(w);
}

static void a_worker_that_goes_on_claiming_what_it_does_not_hold_talks_garbage(void **unused)
{
    struct world *w = world_new(2, 1);
    struct frame_job job;
    struct buf frames = BUF_INIT;
    size_t used;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    unsigned holder = world_jobs(w, 0, &job, 1) ? 0 : 1, liar = 1 - holder;
    if (holder)
        assert_int_equal(1, world_jobs(w, 1, &job, 1));
    world_begin(w, holder, &job);
    for (int i = 0; i < 2000; i++) {
        frame_add_done(&frames, &(struct frame_done){
                                    .slot = 0, .id = id, .result = SLICE("stolen"), .children = SLICE_EMPTY});
        frame_add_log(&frames, &(struct frame_log){.id = id, .text = SLICE("x"), .fields = SLICE_EMPTY});
    }
    assert_int_equal(MQ_INTERNAL, hear(w, liar, buf_bytes(&frames), &used));
    assert_int_equal(JOB_RUNNING, world_state(w, id));
    world_done(w, holder, &job, "");
    assert_int_equal(JOB_SUCCEEDED, world_state(w, id));
    buf_release(&frames);
    world_free(w);
}

/* Its page says that the CPU is free, its loop turns, and it ignores every word. */
static void a_worker_that_never_answers_is_killed_after_the_last_deadline(void **unused)
{
    struct world *w = world_new(1, 1);
    struct push_order order;
    struct frame_job job;
    struct op_get got;
    (void)unused;
    order_init(&order);
    order.timeout_ms = 10000;
    job_id id = world_push(w, "a", &order);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    atomic_store(&w->workers[0].page->on_cpu, 0);
    pass_beating(w, 10000 + 2000 + 2000 + 29000);
    assert_false(is_killed(w, 0));
    pass_beating(w, 3000);
    assert_true(is_killed(w, 0));
    world_die(w, 0, "signal 9 (SIGKILL)");
    world_get(w, &got, id);
    assert_int_equal(JOB_RETRYING, got.view.status.state);
    assert_memory_equal("TIMEOUT", got.attempts[0].code.at, 7);
    store_op_release(&got.op);
    world_free(w);
}

static void a_slot_with_nonsense_in_it_does_not_keep_a_job_for_ever(void **unused)
{
    struct world *w = world_new(1, 1);
    struct push_order order;
    struct frame_job job;
    (void)unused;
    order_init(&order);
    order.timeout_ms = 10000;
    world_push(w, "a", &order);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    atomic_store(&w->workers[0].page->slots[job.slot], 77);
    pass_beating(w, 50000);
    assert_true(is_killed(w, 0));
    world_free(w);
}

static void a_worker_that_never_drops_what_was_taken_back_is_ended_and_charges_nobody(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    struct op_get got;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    pass_beating(w, 299000);
    assert_false(is_killed(w, 0));
    atomic_store(&w->workers[0].page->on_cpu, id);
    pass_beating(w, 3000);
    assert_true(is_killed(w, 0));
    world_die(w, 0, "signal 9 (SIGKILL)");
    world_get(w, &got, id);
    assert_int_equal(JOB_READY, got.view.status.state);
    assert_int_equal(0, got.view.status.crashes);
    store_op_release(&got.op);
    world_free(w);
}

static void a_worker_that_does_not_read_gets_no_more_jobs(void **unused)
{
    enum {
        SLOTS = 60
    };
    struct world *w = world_new(1, SLOTS);
    struct push_order order;
    char *payload = malloc(1 << 20);
    (void)unused;
    w->settings.payload_max = 2 << 20;
    dispatch_configure(w->d, &w->settings);
    memset(payload, '1', 1 << 20);
    order_init(&order);
    order.payload = (struct slice){payload, 1 << 20};
    for (int i = 0; i < 40; i++)
        world_push(w, "a", &order);
    assert_true(buf_len(worker_out(w->workers[0].worker)) < 14 << 20);
    free(payload);
    world_free(w);
}

static void texts_are_cut_and_results_refused_beyond_their_limits(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job jobs[2];
    struct buf frames = BUF_INIT;
    struct op_get got;
    char huge[40000];
    (void)unused;
    memset(huge, 'x', sizeof huge);
    struct slice text = {huge, sizeof huge};
    job_id ids[2] = {world_push(w, "a", NULL), world_push(w, "a", NULL)};
    assert_int_equal(2, world_jobs(w, 0, jobs, 2));
    world_begin(w, 0, &jobs[0]);
    world_begin(w, 0, &jobs[1]);
    frame_add_log(&frames, &(struct frame_log){.id = ids[0], .text = text, .fields = SLICE_EMPTY});
    frame_add_progress(&frames,
                       &(struct frame_progress){.slot = jobs[0].slot, .id = ids[0], .note = {huge, 3000}});
    world_say(w, 0, &frames);
    world_get(w, &got, ids[0]);
    assert_int_equal(w->settings.log_line_max, got.log[0].text.len);
    assert_int_equal(1024, got.view.status.note.len);
    store_op_release(&got.op);
    frame_add_failed(&frames, &(struct frame_failed){.slot = jobs[0].slot,
                                                     .id = ids[0],
                                                     .verdict = FAIL_RETRY,
                                                     .code = {huge, 1000},
                                                     .message = {huge, 20000},
                                                     .traceback = {huge, 30000}});
    frame_add_done(&frames, &(struct frame_done){
                                .slot = jobs[1].slot, .id = ids[1], .result = text, .children = SLICE_EMPTY});
    world_say(w, 0, &frames);
    world_get(w, &got, ids[0]);
    assert_int_equal(64, got.attempts[0].code.len);
    assert_int_equal(4096, got.attempts[0].message.len);
    assert_int_equal(8192, got.attempts[0].traceback.len);
    store_op_release(&got.op);
    world_get(w, &got, ids[1]);
    assert_int_equal(JOB_RETRYING, got.view.status.state);
    assert_memory_equal("TOOBIG", got.attempts[0].code.at, 6);
    assert_int_equal(0, got.result.len);
    store_op_release(&got.op);
    world_free(w);
}

/* Lines in what was logged to stderr meanwhile. */
static unsigned lines_logged(FILE *log)
{
    unsigned lines = 0;
    int c;
    rewind(log);
    while ((c = fgetc(log)) != EOF)
        lines += c == '\n';
    return lines;
}

static void a_worker_that_floods_the_log_is_cut_short(void **unused)
{
    struct world *w = world_new(1, 1);
    struct buf frames = BUF_INIT;
    FILE *log = tmpfile();
    int kept = dup(STDERR_FILENO);
    (void)unused;
    for (int i = 0; i < 20000; i++)
        frame_add_log(&frames, &(struct frame_log){
                                   .level = LOG_ERROR, .text = SLICE("I am here"), .fields = SLICE_EMPTY});
    fflush(stderr);
    dup2(fileno(log), STDERR_FILENO);
    world_say(w, 0, &frames);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    unsigned lines = lines_logged(log);
    assert_in_range(lines, 1, 300);
    fclose(log);
    world_free(w);
}

static void a_worker_that_beats_and_begins_nothing_is_noticed(void **unused)
{
    struct world *w = world_new(1, 4);
    struct frame_job job;
    struct buf frames = BUF_INIT;
    unsigned told = 0;
    (void)unused;
    world_push(w, "a", NULL);
    for (int i = 0; i < 120; i++) { /* it reads what it gets, and drops what was taken back */
        assert_int_equal(1, world_jobs(w, 0, &job, 1));
        world_beat(w);
        world_pass(w, 120);
        frame_add_signal(&frames, FRAME_DROPPED, job.slot, job.id, false);
        world_say(w, 0, &frames);
        told += world_told(w, "worker.begins_nothing", 0);
        w->event_count = 0;
    }
    assert_int_equal(1, told);
    struct dispatch_stats stats;
    struct worker_view view;
    dispatch_stats(w->d, &stats);
    assert_int_equal(1, stats.workers_idle);
    assert_true(dispatch_worker_view(w->d, 0, &view));
    assert_int_equal(0, view.started);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    world_done(w, 0, &job, "");
    assert_true(dispatch_worker_view(w->d, 0, &view));
    assert_int_equal(1, view.started);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_beyond_its_kinds_size_is_refused_by_its_head),
        cmocka_unit_test(a_frame_that_never_ends_ends_its_worker),
        cmocka_unit_test(an_idle_worker_that_leaves_a_frame_unfinished_is_ended_too),
        cmocka_unit_test(progress_that_floods_is_gathered_and_the_newest_is_kept),
        cmocka_unit_test(the_last_progress_is_kept_with_the_finished_record),
        cmocka_unit_test(a_worker_that_goes_on_claiming_what_it_does_not_hold_talks_garbage),
        cmocka_unit_test(a_worker_that_never_answers_is_killed_after_the_last_deadline),
        cmocka_unit_test(a_slot_with_nonsense_in_it_does_not_keep_a_job_for_ever),
        cmocka_unit_test(a_worker_that_never_drops_what_was_taken_back_is_ended_and_charges_nobody),
        cmocka_unit_test(a_worker_that_does_not_read_gets_no_more_jobs),
        cmocka_unit_test(texts_are_cut_and_results_refused_beyond_their_limits),
        cmocka_unit_test(a_worker_that_floods_the_log_is_cut_short),
        cmocka_unit_test(a_worker_that_beats_and_begins_nothing_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
