#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"

/* Each test is a sentence about what a user sees. */

static void a_push_to_an_idle_server_is_handed_out_in_the_same_commit(void **unused)
{
    struct world *w = world_new(1, 4);
    struct frame_job job;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 4));
    assert_true(job.id == id);
    assert_int_equal(1, job.attempt);
    assert_int_equal(JOB_RUNNING, world_state(w, id));
    world_free(w);
}

static void an_acknowledged_job_has_succeeded(void **unused)
{
    struct world *w = world_new(1, 4);
    struct frame_job job;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    world_done(w, 0, &job, "{\"ok\":true}");
    assert_int_equal(JOB_SUCCEEDED, world_state(w, id));
    assert_int_equal(1, world_told(w, "job.pushed", id));
    assert_int_equal(1, world_told(w, "job.started", id));
    assert_int_equal(1, world_told(w, "job.succeeded", id));
    world_free(w);
}

static void work_is_spread_over_the_workers(void **unused)
{
    struct world *w = world_new(2, 10);
    struct frame_job jobs[10];
    (void)unused;
    for (int i = 0; i < 8; i++)
        world_push(w, "a", NULL);
    assert_int_equal(4, world_jobs(w, 0, jobs, 10));
    assert_int_equal(4, world_jobs(w, 1, jobs, 10));
    world_free(w);
}

static void a_worker_holds_only_what_it_has_room_for(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job jobs[10];
    (void)unused;
    for (int i = 0; i < 5; i++)
        world_push(w, "a", NULL);
    assert_int_equal(2, world_jobs(w, 0, jobs, 10));
    world_begin(w, 0, &jobs[0]);
    world_done(w, 0, &jobs[0], "");
    assert_int_equal(1, world_jobs(w, 0, jobs, 10)); /* a free place is filled at once */
    world_free(w);
}

static void a_failed_job_comes_back_after_its_backoff(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    world_failed(w, 0, &job, "boom");
    assert_int_equal(JOB_RETRYING, world_state(w, id));
    world_pass(w, 15000);
    assert_int_equal(JOB_RETRYING, world_state(w, id)); /* 1^4 + 15 s */
    world_pass(w, 1500);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    assert_int_equal(2, job.attempt);
    world_free(w);
}

static void a_job_that_is_not_begun_in_time_goes_to_another_worker(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job jobs[2], again;
    struct buf frames = BUF_INIT;
    (void)unused;
    job_id hog = world_push(w, "a", NULL);
    job_id waits = world_push(w, "a", NULL);
    assert_int_equal(2, world_jobs(w, 0, jobs, 2));
    assert_true(jobs[0].id == hog && jobs[1].id == waits);
    world_begin(w, 0, &jobs[0]);
    world_pass(w, 200);
    assert_int_equal(1, world_told(w, "job.released", waits));
    assert_false(slot_move(w->workers[0].page, jobs[1].slot, SLOT_GIVEN,
                           SLOT_TAKEN)); /* the worker cannot begin it now */
    /* uncharged: the next to run it has attempt 1 again */
    world_done(w, 0, &jobs[0], "");
    frame_add_signal(&frames, FRAME_DROPPED, jobs[1].slot, jobs[1].id, false);
    world_say(w, 0, &frames);
    assert_int_equal(1, world_jobs(w, 0, &again, 1));
    assert_true(again.id == waits);
    assert_int_equal(1, again.attempt);
    world_free(w);
}

/* Leased in time, and given back unstarted each time, it could not start in time all the same. */
static void a_job_that_nobody_began_in_time_expires(void **unused)
{
    struct world *w = world_new(1, 3);
    struct push_order order;
    struct frame_job jobs[3];
    (void)unused;
    world_push(w, "a", NULL);
    order_init(&order);
    order.expires_ms = 1000;
    job_id taken_back = world_push(w, "a", &order);
    assert_int_equal(2, world_jobs(w, 0, jobs, 3));
    world_begin(w, 0, &jobs[0]); /* and keeps the CPU */
    world_pass(w, 200);
    assert_int_equal(1, world_told(w, "job.released", taken_back));
    world_pass(w, 1000);
    assert_int_equal(JOB_EXPIRED, world_state(w, taken_back));
    world_free(w);
}

static void what_a_dead_worker_had_not_begun_may_still_expire(void **unused)
{
    struct world *w = world_new(1, 3);
    struct push_order order;
    struct frame_job jobs[3];
    job_id ids[3];
    (void)unused;
    order_init(&order);
    order.expires_ms = 500;
    for (int i = 0; i < 3; i++)
        ids[i] = world_push(w, "a", &order);
    assert_int_equal(3, world_jobs(w, 0, jobs, 3));
    world_begin(w, 0, &jobs[0]);
    world_begin(w, 0, &jobs[1]); /* on the CPU; the third waits for its turn */
    world_die(w, 0, "signal 9 (SIGKILL)");
    world_pass(w, 600);
    assert_int_equal(JOB_READY, world_state(w, ids[0])); /* it was interrupted, and runs again however late */
    assert_int_equal(JOB_RETRYING, world_state(w, ids[1]));
    assert_int_equal(JOB_EXPIRED, world_state(w, ids[2]));
    world_free(w);
}

static void a_dead_worker_charges_only_the_job_on_its_cpu(void **unused)
{
    struct world *w = world_new(1, 3);
    struct frame_job jobs[3];
    struct op_get got;
    (void)unused;
    job_id ids[3];
    for (int i = 0; i < 3; i++)
        ids[i] = world_push(w, "a", NULL);
    assert_int_equal(3, world_jobs(w, 0, jobs, 3));
    for (int i = 0; i < 3; i++)
        world_begin(w, 0, &jobs[i]); /* the last one is on the CPU */
    world_die(w, 0, "signal 11 (SIGSEGV)");
    assert_int_equal(JOB_READY, world_state(w, ids[0]));
    assert_int_equal(JOB_READY, world_state(w, ids[1]));
    world_get(w, &got, ids[2]);
    assert_int_equal(JOB_RETRYING, got.view.status.state);
    assert_int_equal(1, got.view.status.attempt);
    assert_int_equal(1, got.view.status.crashes);
    assert_int_equal(1, got.attempt_count);
    store_op_release(&got.op);
    world_get(w, &got, ids[0]);
    assert_int_equal(0, got.view.status.attempt);
    assert_int_equal(0, got.view.status.crashes);
    store_op_release(&got.op);
    world_free(w);
}

/* Somebody killed it, or the kernel did for lack of memory: no job is at fault, and the history must not say so. */
static void a_job_of_a_worker_that_died_of_none_says_how_it_died(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    struct op_get got;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    atomic_store(&w->workers[0].page->on_cpu, 0);
    world_die(w, 0, "signal 9 (SIGKILL)");
    world_get(w, &got, id);
    const char *message = "its worker default.0 ended, of no job: signal 9 (SIGKILL)";
    assert_int_equal(strlen(message), got.attempts[0].message.len);
    assert_memory_equal(message, got.attempts[0].message.at, strlen(message));
    store_op_release(&got.op);
    world_free(w);
}

static void a_timed_out_job_is_told_then_ended_then_its_worker_killed(void **unused)
{
    struct world *w = world_new(1, 1);
    struct push_order options;
    struct frame_job job;
    struct frame frame;
    (void)unused;
    order_init(&options);
    options.timeout_ms = 1000;
    world_push(w, "a", &options);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    world_pass(w, 900);
    assert_false(world_signal(w, 0, &frame));
    world_pass(w, 200);
    assert_true(world_signal(w, 0, &frame));
    assert_int_equal(FRAME_TIMEOUT, frame.kind);
    assert_false(frame.signal.hard);
    assert_int_equal(SIGUSR1, w->workers[0].last_signal); /* it is on the CPU */
    world_pass(w, 2000);
    assert_true(world_signal(w, 0, &frame));
    assert_true(frame.signal.hard);
    world_pass(w, 2000);
    assert_int_equal(SIGKILL, w->workers[0].last_signal);
    world_die(w, 0, "signal 9 (SIGKILL)");
    assert_int_equal(JOB_RETRYING, world_state(w, job.id));
    world_free(w);
}

/* What a neighbour takes of the CPU is not charged to a job that waits for it. */
static void a_job_does_not_time_out_while_a_neighbour_keeps_the_cpu(void **unused)
{
    struct world *w = world_new(1, 2);
    struct push_order options;
    struct frame_job jobs[2];
    struct frame frame;
    (void)unused;
    order_init(&options);
    options.timeout_ms = 1000;
    job_id naps = world_push(w, "a", &options);
    world_push(w, "a", NULL);
    assert_int_equal(2, world_jobs(w, 0, jobs, 2));
    world_begin(w, 0, &jobs[0]);
    world_pass(w, 100);
    world_beat(w);
    world_begin(w, 0, &jobs[1]); /* and keeps the CPU: the loop does not turn */
    world_pass(w, 5000);
    assert_false(world_signal(w, 0, &frame));
    atomic_store(&w->workers[0].page->on_cpu, 0);
    for (int i = 0; i < 8; i++) { /* its own time goes on from where it stood */
        world_beat(w);
        world_pass(w, 100);
        assert_false(world_signal(w, 0, &frame));
    }
    for (int i = 0; i < 3; i++) {
        world_beat(w);
        world_pass(w, 100);
    }
    assert_true(world_signal(w, 0, &frame));
    assert_int_equal(FRAME_TIMEOUT, frame.kind);
    assert_true(frame.signal.id == naps);
    world_free(w);
}

/* SIGKILL is on its way, the guilty job gives up the CPU and a neighbour gets it: the kill was not for that one. */
static void a_deliberate_kill_charges_the_job_it_was_for(void **unused)
{
    struct world *w = world_new(1, 2);
    struct push_order options;
    struct frame_job jobs[2];
    struct op_get got;
    (void)unused;
    order_init(&options);
    options.timeout_ms = 1000;
    job_id guilty = world_push(w, "a", &options);
    job_id neighbour = world_push(w, "a", NULL);
    assert_int_equal(2, world_jobs(w, 0, jobs, 2));
    world_begin(w, 0, &jobs[1]);
    world_begin(w, 0, &jobs[0]);
    world_pass(w, 6000);
    assert_int_equal(SIGKILL, w->workers[0].last_signal);
    atomic_store(&w->workers[0].page->on_cpu, neighbour);
    world_die(w, 0, "signal 9 (SIGKILL)");
    assert_int_equal(JOB_RETRYING, world_state(w, guilty));
    world_get(w, &got, neighbour);
    assert_int_equal(JOB_READY, got.view.status.state);
    assert_int_equal(0, got.view.status.attempt);
    store_op_release(&got.op);
    world_free(w);
}

static void forget(struct store_op *op)
{
    store_op_release(op);
}

/* As another server's clock would see it: all leases have run out. */
static void lose_leases(struct world *w)
{
    static struct op_sweep sweep;
    store_op_init(&sweep.op, STORE_SWEEP, w->wall + 3600000);
    sweep.op.done = forget;
    sweep.what = SWEEP_LEASES;
    sweep.limit = 100;
    dispatch_submit(w->d, &sweep.op);
    world_turn(w);
}

/* The lease ran out, though its worker is well. It runs on; so does the next attempt. */
static void a_cancel_is_told_to_who_holds_the_job_now(void **unused)
{
    struct world *w = world_new(2, 1);
    struct frame_job stale, held;
    struct frame frame;
    struct op_step step;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &stale, 1));
    world_begin(w, 0, &stale);
    lose_leases(w);
    assert_int_equal(1, world_jobs(w, 1, &held, 1));
    assert_true(held.id == id);
    world_begin(w, 1, &held);
    world_step(w, STORE_CANCEL, id, &step);
    assert_true(step.signalled);
    store_op_release(&step.op);
    assert_true(world_signal(w, 1, &frame));
    assert_int_equal(FRAME_CANCEL, frame.kind);
    world_free(w);
}

static void a_cancelled_job_is_told_at_once_and_ended_after_a_grace(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    struct frame frame;
    struct op_step step;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    world_step(w, STORE_CANCEL, id, &step);
    assert_int_equal(MQ_OK, step.op.code);
    assert_true(step.signalled);
    store_op_release(&step.op);
    assert_true(world_signal(w, 0, &frame));
    assert_int_equal(FRAME_CANCEL, frame.kind);
    assert_false(frame.signal.hard);
    world_pass(w, 5100);
    assert_true(world_signal(w, 0, &frame));
    assert_true(frame.signal.hard);
    struct buf frames = BUF_INIT;
    frame_add_failed(&frames, &(struct frame_failed){.slot = job.slot,
                                                     .id = id,
                                                     .verdict = FAIL_CANCELLED,
                                                     .code = SLICE("CANCELLED"),
                                                     .message = SLICE("stopped"),
                                                     .traceback = SLICE_EMPTY});
    world_say(w, 0, &frames);
    assert_int_equal(JOB_CANCELLED, world_state(w, id));
    assert_int_equal(1, world_told(w, "job.cancelling", id));
    assert_int_equal(1, world_told(w, "job.cancelled", id));
    world_free(w);
}

static void release(struct world *w, job_id id)
{
    struct op_step step;
    world_step(w, STORE_TAKE_BACK, id, &step);
    assert_int_equal(MQ_OK, step.op.code);
    store_op_release(&step.op);
}

static void a_released_job_runs_elsewhere_while_its_old_handler_is_stopped(void **unused)
{
    struct world *w = world_new(2, 1);
    struct frame_job old, again;
    struct frame frame;
    struct op_get got;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    unsigned first = world_jobs(w, 0, &old, 1) ? 0 : 1;
    if (first)
        assert_int_equal(1, world_jobs(w, 1, &old, 1));
    world_begin(w, first, &old);
    release(w, id);
    assert_int_equal(1, world_told(w, "job.released", id));
    assert_int_equal(1, world_jobs(w, 1 - first, &again, 1));
    assert_int_equal(1, again.attempt); /* not charged */
    assert_true(again.token > old.token);
    assert_true(world_signal(w, first, &frame));
    assert_int_equal(FRAME_CANCEL, frame.kind);
    assert_false(frame.signal.hard);
    world_begin(w, 1 - first, &again);
    world_done(w, first, &old, "\"late\""); /* it says so, and nobody hears */
    assert_int_equal(JOB_RUNNING, world_state(w, id));
    world_done(w, 1 - first, &again, "\"good\"");
    world_get(w, &got, id);
    assert_int_equal(JOB_SUCCEEDED, got.view.status.state);
    assert_true(slice_equal(got.result, SLICE("\"good\"")));
    assert_int_equal(2, got.attempt_count);
    store_op_release(&got.op);
    world_free(w);
}

static void a_released_job_that_was_not_begun_never_begins_there(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    struct buf frames = BUF_INIT;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    release(w, id);
    assert_false(slot_move(w->workers[0].page, job.slot, SLOT_GIVEN, SLOT_TAKEN));
    frame_add_signal(&frames, FRAME_DROPPED, job.slot, job.id, false);
    world_say(w, 0, &frames);
    assert_int_equal(1, world_jobs(w, 0, &job, 1)); /* its place is free again */
    assert_true(job.id == id);
    world_free(w);
}

/* The page names the job on the CPU, not the attempt: the old one would not end, and that is not the new one's fault. */
static void a_worker_killed_for_a_released_attempt_charges_nobody(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job old, again;
    struct op_get got;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &old, 1));
    world_begin(w, 0, &old);
    release(w, id);
    struct frame frame;
    while (world_signal(w, 0, &frame) && frame.kind != FRAME_JOB)
        ;
    again = frame.job;
    assert_true(again.id == id && again.slot != old.slot);
    assert_true(slot_move(w->workers[0].page, again.slot, SLOT_GIVEN, SLOT_TAKEN));
    for (int i = 0; i < 8 && !w->workers[0].signals; i++)
        world_beat(w), world_pass(w, 1000);
    while (w->workers[0].last_signal != SIGKILL) {
        world_beat(w);
        world_pass(w, 500);
    }
    world_die(w, 0, "signal 9 (SIGKILL)");
    world_get(w, &got, id);
    assert_int_equal(JOB_READY, got.view.status.state);
    assert_int_equal(0, got.view.status.attempt);
    assert_int_equal(0, got.view.status.crashes);
    store_op_release(&got.op);
    world_free(w);
}

static void on_bulk_done(struct bulk *bulk)
{
    *(bool *)bulk->owner = true;
}

static void a_bulk_release_stops_handlers_too(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job jobs[2];
    struct frame frame;
    bool over = false;
    (void)unused;
    job_id a = world_push(w, "a", NULL), b = world_push(w, "a", NULL);
    assert_int_equal(2, world_jobs(w, 0, jobs, 2));
    world_begin(w, 0, &jobs[0]);
    world_begin(w, 0, &jobs[1]);
    struct bulk bulk = {.step = STORE_TAKE_BACK,
                        .filter = {.states = 1u << JOB_RUNNING, .holder = SLICE("default.0")},
                        .since = w->wall + 1,
                        .ids_max = 1,
                        .reason = SLICE("released by ana"),
                        .done = on_bulk_done,
                        .owner = &over};
    dispatch_bulk(w->d, &bulk);
    world_turn(w);
    assert_true(over);
    assert_int_equal(2, bulk.touched);
    assert_int_equal(sizeof(job_id), buf_len(&bulk.ids)); /* no more are named than were asked for */
    buf_release(&bulk.ids);
    assert_int_equal(1, world_told(w, "job.released", a));
    assert_int_equal(1, world_told(w, "job.released", b));
    for (int i = 0; i < 2; i++) {
        assert_true(world_signal(w, 0, &frame));
        assert_int_equal(FRAME_CANCEL, frame.kind);
    }
    world_free(w);
}

static void a_worker_that_falls_silent_is_killed(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    world_push(w, "a", NULL);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    world_pass(w, 20000);
    world_beat(w);
    world_pass(w, 20000);
    assert_int_equal(0, w->workers[0].signals);
    world_pass(w, 12000);
    assert_int_equal(SIGKILL, w->workers[0].last_signal);
    world_free(w);
}

static void a_clock_that_jumps_costs_no_job_its_lease(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    struct op_get got;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    w->wall += 7200000; /* set forward; a machine that slept looks the same, with `now` */
    world_turn(w);
    w->wall += 7200000;
    w->now += 7200000;
    world_beat(w);
    world_turn(w);
    w->wall -= 3 * 3600000; /* and back */
    world_turn(w);
    assert_int_equal(0, world_told(w, "job.lost", id));
    world_done(w, 0, &job, "{}");
    world_turn(w);
    world_get(w, &got, id);
    assert_int_equal(JOB_SUCCEEDED, got.view.status.state);
    assert_int_equal(1, got.view.status.attempt);
    store_op_release(&got.op);
    world_free(w);
}

/* A job that was put off by 100 ms becomes ready, and is asked for: its lease is on disk, and we have not heard of it. */
static job_id lease_unheard_of(struct world *w, struct push_order *later)
{
    later->delay_ms = 100;
    job_id id = world_push(w, "a", later);
    w->wall += 100;
    w->now += 100;
    for (int i = 0; i < 2; i++) {
        if (i)
            store_collect(w->store);
        dispatch_tick(w->d, w->wall, w->now);
        store_flush(w->store);
    }
    return id;
}

static void a_lease_that_is_under_way_when_the_clock_jumps_is_not_lost(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job job;
    struct push_order later;
    (void)unused;
    world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    order_init(&later);
    job_id id = lease_unheard_of(w, &later);
    w->wall += 7200000;
    assert_int_equal(0, world_told(w, "job.started", id));
    dispatch_tick(w->d, w->wall, w->now);
    world_turn(w);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    assert_true(job.id == id);
    assert_int_equal(0, world_told(w, "job.lost", id));
    assert_int_equal(JOB_RUNNING, world_state(w, id));
    world_free(w);
}

static void a_disk_that_stands_still_between_a_lease_and_its_answer_costs_no_job_its_lease(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job job;
    struct push_order later;
    (void)unused;
    order_init(&later);
    later.lease_ms = 10000;
    job_id id = lease_unheard_of(w, &later);
    for (int i = 0; i < 400; i++) { /* eight seconds: we turn, the store does not */
        w->wall += 20;
        w->now += 20;
        dispatch_tick(w->d, w->wall, w->now);
    }
    store_collect(w->store);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    for (int i = 0; i < 20; i++) {
        world_beat(w);
        world_pass(w, 500);
    }
    assert_int_equal(0, world_told(w, "job.lost", id));
    assert_int_equal(JOB_RUNNING, world_state(w, id));
    world_free(w);
}

/* There is one chunk a commit, and with a slow disk few commits: growing chunks keep up with what is pushed. */
static void old_records_are_deleted_faster_while_many_are_left(void **unused)
{
    struct world *w = world_new(1, 1);
    struct push_order options;
    struct op_step step;
    job_id id = 0;
    int commits = 0;
    (void)unused;
    dispatch_unlisten(w->d, &w->listener); /* it has no room for so many events */
    order_init(&options);
    options.keep_ms = 1000;
    options.delay_ms = 3600000;
    for (int i = 0; i < 6000; i++) {
        id = world_push(w, "a", &options);
        world_step(w, STORE_CANCEL, id, &step);
        store_op_release(&step.op);
    }
    for (w->wall += 10000; world_state(w, id) != JOB_NONE && commits < 100; commits++) {
        dispatch_tick(w->d, w->wall, w->now);
        store_flush(w->store);
        store_collect(w->store);
    }
    dispatch_listen(w->d, &w->listener);
    assert_in_range(commits, 1, 5); /* 500, 1000, 2000, 4000 */
    world_free(w);
}

static void leases_are_renewed_while_the_worker_beats(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    for (int i = 0; i < 100; i++) { /* 100 s, more than three leases */
        world_pass(w, 1000);
        world_beat(w);
    }
    assert_int_equal(JOB_RUNNING, world_state(w, id));
    assert_int_equal(0, world_told(w, "job.lost", id));
    world_free(w);
}

/* ---- FETCH and WAIT ------------------------------------------------------------------------------------------------ */

struct fetched {
    struct fetch fetch;
    unsigned answers, count;
    job_id id;
    uint64_t token;
};

static void on_fetched(struct fetch *fetch, const struct op_lease *lease)
{
    struct fetched *fetched = fetch->owner;
    fetched->answers++;
    fetched->count = lease->count;
    if (lease->count) {
        fetched->id = lease->jobs[0].id;
        fetched->token = lease->jobs[0].token;
    }
}

static const struct slice other_queue[] = {{"other", 5}};

static void fetch_start(struct world *w, struct fetched *fetched, int64_t block_ms)
{
    memset(fetched, 0, sizeof *fetched);
    fetched->fetch = (struct fetch){.queues = other_queue,
                                    .queue_count = 1,
                                    .count = 1,
                                    .holder = SLICE("python"),
                                    .give_up = block_ms ? w->now + block_ms : 0,
                                    .done = on_fetched,
                                    .owner = fetched};
    dispatch_fetch(w->d, &fetched->fetch);
    world_turn(w);
}

static void a_blocked_fetch_gets_the_job_as_it_comes(void **unused)
{
    struct world *w = world_new(0, 1);
    struct push_order options;
    struct fetched fetched;
    (void)unused;
    fetch_start(w, &fetched, 60000);
    assert_int_equal(0, fetched.answers);
    order_init(&options);
    options.queue = other_queue[0];
    job_id id = world_push(w, "python.job", &options);
    assert_int_equal(1, fetched.answers);
    assert_true(fetched.id == id);
    world_free(w);
}

static void a_blocked_fetch_ends_with_nothing_in_time(void **unused)
{
    struct world *w = world_new(0, 1);
    struct fetched fetched;
    (void)unused;
    fetch_start(w, &fetched, 1000);
    world_pass(w, 900);
    assert_int_equal(0, fetched.answers);
    world_pass(w, 200);
    assert_int_equal(1, fetched.answers);
    assert_int_equal(0, fetched.count);
    world_free(w);
}

static void a_hang_up_during_a_lease_gives_the_jobs_back(void **unused)
{
    struct world *w = world_new(0, 1);
    struct push_order options;
    struct fetched fetched;
    (void)unused;
    order_init(&options);
    options.queue = other_queue[0];
    job_id id = world_push(w, "python.job", &options);
    memset(&fetched, 0, sizeof fetched);
    fetched.fetch = (struct fetch){.queues = other_queue,
                                   .queue_count = 1,
                                   .count = 1,
                                   .holder = SLICE("p"),
                                   .done = on_fetched,
                                   .owner = &fetched};
    dispatch_fetch(w->d, &fetched.fetch);
    dispatch_fetch_abandon(w->d, &fetched.fetch);
    world_turn(w);
    assert_int_equal(0, fetched.answers);
    assert_int_equal(JOB_READY, world_state(w, id));
    world_free(w);
}

static enum job_state waited_for;

static void on_waited(struct waiter *waiter, enum job_state state)
{
    (void)waiter;
    waited_for = state;
}

static void a_waiter_hears_of_the_end(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    struct waiter waiter = {.done = on_waited};
    waiter.id = world_push(w, "a", NULL);
    waited_for = JOB_NONE;
    dispatch_wait(w->d, &waiter);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    assert_int_equal(JOB_NONE, waited_for);
    world_done(w, 0, &job, "1");
    assert_int_equal(JOB_SUCCEEDED, waited_for);
    world_free(w);
}

/* ---- handlers, queues ------------------------------------------------------------------------------------------------ */

static void a_job_without_a_handler_waits_and_blocks_nobody(void **unused)
{
    struct world *w = world_new(1, 4);
    struct frame_job job;
    struct op_get got;
    struct gate gates[GATES_MAX];
    (void)unused;
    job_id strange = world_push(w, "no.such.handler", NULL);
    job_id known = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 4));
    assert_true(job.id == known);
    world_get(w, &got, strange);
    assert_int_equal(JOB_READY, got.view.status.state);
    assert_true(got.view.status.parked);
    assert_int_equal(0, got.view.status.attempt);
    unsigned count = dispatch_why(w->d, &got, w->wall, gates);
    bool named = false;
    for (unsigned i = 0; i < count; i++)
        named = named || (strcmp(gates[i].name, "parked") == 0 && !gates[i].open);
    assert_true(named);
    store_op_release(&got.op);
    world_free(w);
}

static void a_type_brings_its_own_queue_and_attempts(void **unused)
{
    struct world *w = world_new(0, 1);
    struct op_get got;
    (void)unused;
    world_get(w, &got, world_push(w, "mail.send", NULL));
    assert_int_equal(3, got.view.spec.max_attempts);
    assert_true(slice_equal(got.view.spec.queue, SLICE("mail")));
    store_op_release(&got.op);
    world_free(w);
}

static void free_op(struct store_op *op)
{
    store_op_release(op);
    free(op);
}

static struct op_queue *queue_op(struct world *w, const char *name)
{
    struct op_queue *queue = calloc(1, sizeof *queue);
    store_op_init(&queue->op, STORE_QUEUE, w->wall);
    queue->op.done = free_op;
    queue->name = slice_of(name);
    return queue;
}

static void submit(struct world *w, struct op_queue *queue)
{
    dispatch_submit(w->d, &queue->op);
    world_turn(w);
}

static void a_paused_queue_hands_out_nothing_until_it_resumes(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    struct op_queue *queue = queue_op(w, "default");
    queue->change = QUEUE_PAUSE;
    submit(w, queue);
    world_push(w, "a", NULL);
    assert_int_equal(0, world_jobs(w, 0, &job, 1));
    queue = queue_op(w, "default");
    queue->change = QUEUE_RESUME;
    submit(w, queue);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_free(w);
}

static void pause_type(struct world *w, const char *type, bool resume, wall_ms until)
{
    struct op_type *op = calloc(1, sizeof *op);
    store_op_init(&op->op, STORE_TYPE, w->wall);
    op->op.done = free_op;
    op->type = slice_of(type);
    op->resume = resume;
    op->reason = SLICE("the relay is down");
    op->by = SLICE("ana");
    op->until = until;
    dispatch_submit(w->d, &op->op);
    world_turn(w);
}

static const struct gate *closed_gate(const struct gate *gates, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!gates[i].open)
            return &gates[i];
    return NULL;
}

static void a_paused_type_waits_and_others_of_its_queue_do_not(void **unused)
{
    struct world *w = world_new(1, 4);
    struct frame_job jobs[4];
    struct push_order in_default;
    struct gate gates[GATES_MAX];
    struct op_get got;
    (void)unused;
    order_init(&in_default);
    in_default.queue = SLICE("default");
    pause_type(w, "mail.send", false, 0);
    assert_int_equal(1, world_told(w, "type.paused", 0));
    job_id mail = world_push(w, "mail.send", &in_default), other = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, jobs, 4));
    assert_true(jobs[0].id == other);
    world_get(w, &got, mail);
    assert_true(got.view.status.held_no != 0);
    const struct gate *gate = closed_gate(gates, dispatch_why(w->d, &got, w->wall, gates));
    assert_string_equal("type_paused", gate->name);
    assert_non_null(strstr(gate->text, "job type 'mail.send' is paused by ana since 20"));
    assert_non_null(strstr(gate->text, ": the relay is down (RESUME TYPE)"));
    store_op_release(&got.op);
    pause_type(w, "mail.send", true, 0);
    assert_int_equal(1, world_told(w, "type.resumed", 0));
    assert_int_equal(1, world_jobs(w, 0, jobs, 4));
    assert_true(jobs[0].id == mail);
    world_free(w);
}

/* By the wall clock, as what is due: also when that steps. */
static void a_pause_ends_by_itself_when_its_time_is_over(void **unused)
{
    struct world *w = world_new(1, 4);
    struct frame_job jobs[4];
    (void)unused;
    struct op_queue *queue = queue_op(w, "default");
    queue->change = QUEUE_PAUSE;
    queue->until = w->wall + 5000;
    submit(w, queue);
    pause_type(w, "mail.send", false, w->wall + 3600000);
    job_id a = world_push(w, "a", NULL), mail = world_push(w, "mail.send", NULL);
    struct dispatch_wake wake = dispatch_tick(w->d, w->wall, w->now);
    assert_int_equal(w->wall + 5000, wake.wall); /* no polling: this is when it wakes */
    world_pass(w, 4900);
    assert_int_equal(0, world_jobs(w, 0, jobs, 4));
    world_pass(w, 200);
    assert_int_equal(1, world_told(w, "queue.resumed", 0));
    assert_int_equal(1, world_jobs(w, 0, jobs, 4));
    assert_true(jobs[0].id == a);
    w->wall += 3600000; /* the clock is set forward */
    world_turn(w);
    assert_int_equal(1, world_told(w, "type.resumed", 0));
    assert_int_equal(1, world_jobs(w, 0, jobs, 4));
    assert_true(jobs[0].id == mail);
    world_free(w);
}

/* A client that does not wait is not told that there is nothing because the first jobs are of a paused type. */
static void a_fetch_looks_behind_many_jobs_of_a_paused_type(void **unused)
{
    struct world *w = world_new(1, 1);
    struct push_order order;
    struct fetched fetched;
    (void)unused;
    dispatch_unlisten(w->d, &w->listener); /* it has no room for so many events */
    order_init(&order);
    order.queue = other_queue[0];
    struct op_queue *queue = queue_op(w, "other"); /* or the worker would look behind them first */
    queue->change = QUEUE_PAUSE;
    submit(w, queue);
    for (int i = 0; i < 250; i++) /* more than a lease may set aside */
        world_push(w, "mail.send", &order);
    job_id last = world_push(w, "python.job", &order);
    pause_type(w, "mail.send", false, 0);
    queue = queue_op(w, "other");
    queue->change = QUEUE_RESUME;
    dispatch_submit(w->d, &queue->op);
    fetch_start(w, &fetched, 0);
    world_turn(w);
    assert_int_equal(1, fetched.count);
    assert_true(fetched.id == last);
    dispatch_listen(w->d, &w->listener);
    world_free(w);
}

static void a_handler_whose_push_is_refused_has_failed(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    struct buf frames = BUF_INIT, children = BUF_INIT;
    struct push_order child;
    struct op_get got;
    (void)unused;
    struct op_queue *queue = queue_op(w, "full");
    queue->set_limit = true;
    queue->limit = 1;
    submit(w, queue);
    order_init(&child);
    child.type = SLICE("x");
    child.queue = SLICE("full");
    job_id id = world_push(w, "a", NULL);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    frame_add_child(&children, &child);
    frame_add_child(&children, &child); /* the second does not fit */
    frame_add_done(&frames, &(struct frame_done){.slot = job.slot,
                                                 .id = id,
                                                 .result = SLICE("1"),
                                                 .child_count = 2,
                                                 .children = buf_bytes(&children)});
    world_say(w, 0, &frames);
    buf_release(&children);
    world_get(w, &got, id);
    assert_int_equal(JOB_RETRYING, got.view.status.state);
    assert_int_equal(1, got.attempt_count);
    assert_true(slice_equal(got.attempts[0].code, SLICE("FULL")));
    store_op_release(&got.op);
    struct queue_news news;
    assert_true(dispatch_queue(w->d, SLICE("full"), &news));
    assert_int_equal(0, news.waiting); /* neither of the two */
    world_free(w);
}

static uint64_t operations(struct world *w)
{
    struct op_stats *stats = calloc(1, sizeof *stats);
    store_op_init(&stats->op, STORE_STATS, w->wall);
    dispatch_submit(w->d, &stats->op);
    store_flush(w->store);
    store_collect(w->store);
    uint64_t count = stats->operations;
    free_op(&stats->op);
    return count;
}

static void a_refused_push_is_not_waited_for(void **unused)
{
    struct world *w = world_new(1, 4);
    struct op_queue *queue = queue_op(w, "default");
    job_id id;
    (void)unused;
    queue->change = QUEUE_DRAIN;
    submit(w, queue);
    assert_int_equal(MQ_BUSY, world_push_code(w, "a", NULL, &id));
    uint64_t before = operations(w);
    world_turn(w);
    assert_true(operations(w) == before); /* no lease asks for a job that never came */
    world_free(w);
}

/* ---- bulk ------------------------------------------------------------------------------------------------------------- */

static void retrying_all_dead_letters_touches_each_once(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    for (int i = 0; i < 5; i++) {
        struct buf frames = BUF_INIT;
        job_id id = world_push(w, "a", NULL);
        world_jobs(w, 0, &job, 1);
        world_begin(w, 0, &job);
        frame_add_failed(&frames, &(struct frame_failed){.slot = job.slot,
                                                         .id = id,
                                                         .verdict = FAIL_DEAD,
                                                         .code = SLICE("SCRIPT"),
                                                         .message = SLICE("no"),
                                                         .traceback = SLICE_EMPTY});
        world_say(w, 0, &frames);
        assert_int_equal(JOB_DEAD, world_state(w, id));
    }
    bool done = false;
    struct bulk bulk = {
        .step = STORE_RETRY,
        .filter = {.states = 1u << JOB_DEAD, .queue = SLICE_EMPTY, .type = SLICE_EMPTY, .tag = SLICE_EMPTY},
        .since = w->wall + 1,
        .done = on_bulk_done,
        .owner = &done};
    dispatch_bulk(w->d, &bulk);
    world_turn(w);
    assert_true(done);
    assert_int_equal(MQ_OK, bulk.code);
    assert_int_equal(5, bulk.touched);
    assert_int_equal(5, world_told(w, "job.retried", 0));
    world_free(w);
}

static void mark_done(struct store_op *op)
{
    *(bool *)op->owner = true;
}

static uint64_t commits(struct world *w)
{
    struct op_stats stats = {0};
    bool done = false;
    store_op_init(&stats.op, STORE_STATS, w->wall);
    stats.op.done = mark_done;
    stats.op.owner = &done;
    store_submit(w->store, &stats.op);
    store_flush(w->store);
    store_collect(w->store);
    assert_true(done);
    store_op_release(&stats.op);
    return stats.commits;
}

/* It counted as ready, so an idle worker asked for it again with every turn of the loop, and never got it. */
static void a_parked_job_does_not_keep_the_loop_busy(void **unused)
{
    struct world *w = world_new(1, 1);
    (void)unused;
    world_push(w, "unknown", NULL);
    assert_int_equal(1, world_told(w, "job.parked", 0));
    uint64_t before = commits(w);
    world_turn(w);
    assert_int_equal(before, commits(w));
    world_free(w);
}

/* The worker is first, and parks it: the client that waits must hear of that. */
static void a_blocked_fetch_gets_a_job_that_is_parked(void **unused)
{
    struct world *w = world_new(1, 1);
    struct push_order options;
    struct queue_news news;
    struct fetched fetched;
    (void)unused;
    order_init(&options);
    options.queue = other_queue[0];
    world_push(w, "unknown", &options);
    assert_true(dispatch_queue(w->d, other_queue[0], &news));
    assert_int_equal(0, news.ready);
    assert_int_equal(1, news.parked);
    fetch_start(w, &fetched, 60000);
    assert_int_equal(1, fetched.count);
    fetch_start(w, &fetched, 60000);
    assert_int_equal(0, fetched.answers);
    options.delay_ms = 1000;
    world_push(w, "unknown", &options);
    world_pass(w, 1100);
    assert_int_equal(1, fetched.count);
    world_free(w);
}

static void backlog_beside_idle_workers_is_noticed(void **unused)
{
    struct world *w = world_new(1, 2);
    struct dispatch_stats stats;
    (void)unused;
    dispatch_stats(w->d, &stats);
    assert_int_equal(0, stats.idle_with_backlog);
    /* a lease that never comes back: the store takes it and does not answer */
    struct op_push push = {0};
    struct push_order order;
    order_init(&order);
    order.type = SLICE("a");
    store_op_init(&push.op, STORE_PUSH, w->wall);
    assert_int_equal(MQ_OK, dispatch_resolve(w->d, &push, &order, w->wall, NULL));
    dispatch_submit(w->d, &push.op); /* expected from now on, and not flushed */
    for (int i = 0; i < 30; i++) {
        w->wall += 1000;
        w->now += 1000;
        dispatch_tick(w->d, w->wall, w->now);
    }
    dispatch_stats(w->d, &stats);
    assert_int_equal(1, stats.idle_with_backlog > 0);
    assert_true(world_told(w, "queue.idle_with_backlog", 0) > 0);
    world_turn(w);
    store_op_release(&push.op);
    world_free(w);
}

/* Cancelled between its lease and its parking: it is not parked then, it has ended, and who waits must hear of it. */
static void ignore_done(struct store_op *op)
{
    (void)op;
}

/* Leased for a worker, and no worker has it: as if the answer to its end had been lost. */
static void a_job_that_runs_nowhere_is_given_back_uncharged(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job job;
    struct push_order order;
    struct op_get got;
    struct dispatch_stats stats;
    struct fetched fetched;
    (void)unused;
    job_id held = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    atomic_store(&w->workers[0].page->on_cpu, 0);
    order_init(&order);
    order.queue = other_queue[0];
    job_id fetched_id = world_push(w, "python.job", &order);
    fetch_start(w, &fetched, 0);
    world_turn(w);
    assert_true(fetched.id == fetched_id); /* a consumer's is its own affair */
    order.queue = SLICE("mail");
    order.delay_ms = 3600000;
    order.lease_ms = 3600000;
    job_id lost = world_push(w, "a", &order);
    struct op_step step = {.id = lost};
    struct op_lease lease = {.queues = &order.queue, .queue_count = 1, .max = 1, .by_worker = true};
    store_op_init(&step.op, STORE_PROMOTE, w->wall);
    store_op_init(&lease.op, STORE_LEASE, w->wall);
    lease.holder = SLICE("default.9");
    step.op.done = lease.op.done = ignore_done;
    dispatch_submit(w->d, &step.op); /* in one commit, so that no worker gets it */
    dispatch_submit(w->d, &lease.op);
    store_flush(w->store);
    store_collect(w->store);
    assert_int_equal(1, lease.count);
    store_op_release(&step.op);
    store_op_release(&lease.op);
    for (int i = 0; i < 20; i++) {
        world_beat(w);
        world_pass(w, 1000);
    }
    world_get(w, &got, lost);
    assert_int_not_equal(0, got.attempt_count);
    assert_int_equal(STEP_GIVE_BACK, got.attempts[0].outcome);
    store_op_release(&got.op);
    assert_int_equal(JOB_RUNNING, world_state(w, held));
    assert_int_equal(JOB_RUNNING, world_state(w, fetched_id));
    dispatch_stats(w->d, &stats);
    assert_int_equal(1, stats.orphans_repaired);
    world_free(w);
}

static const struct pulse *pulse_of(const struct pulse *list, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    fail_msg("no loop is called %s", name);
    return NULL;
}

static void every_loop_tells_when_it_ran_and_for_how_long_it_is_late(void **unused)
{
    static const char *const ran[] = {"sweep_due", "watch", "detector", "renewals"};
    struct world *w = world_new(1, 2);
    struct push_order later;
    struct frame_job job;
    struct pulse list[PULSES_MAX];
    unsigned count = 0;
    (void)unused;
    order_init(&later);
    later.delay_ms = 30000;
    world_push(w, "a", NULL);
    world_push(w, "a", &later);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    atomic_store(&w->workers[0].page->on_cpu, 0);
    for (int i = 0; i < 60; i++) {
        world_beat(w);
        world_pass(w, 1000);
    }
    dispatch_pulses(w->d, w->now, list, &count);
    for (unsigned i = 0; i < count; i++)
        assert_true(list[i].late_ms < 100);
    for (size_t i = 0; i < sizeof ran / sizeof *ran; i++)
        assert_true(pulse_of(list, count, ran[i])->age_ms >= 0);
    assert_int_equal(-1, pulse_of(list, count, "sweep_leases")->age_ms);
    /* nobody turns the loop any more */
    count = 0;
    dispatch_pulses(w->d, w->now + 60000, list, &count);
    assert_true(pulse_of(list, count, "watch")->late_ms > 50000);
    assert_true(pulse_of(list, count, "detector")->late_ms > 50000);
    assert_true(pulse_of(list, count, "renewals")->late_ms > 40000);
    assert_int_equal(0, pulse_of(list, count, "sweep_old")->late_ms);
    world_free(w);
}

/* The store does not answer: what was asked of it waits. */
static void a_sweep_without_an_answer_is_late(void **unused)
{
    struct world *w = world_new(0, 1);
    struct push_order later;
    struct pulse list[PULSES_MAX];
    unsigned count = 0;
    (void)unused;
    order_init(&later);
    later.delay_ms = 1000;
    world_push(w, "a", &later);
    w->now += 1000;
    w->wall += 1000;
    dispatch_tick(w->d, w->wall, w->now);
    dispatch_pulses(w->d, w->now + 20000, list, &count);
    assert_int_equal(20000, pulse_of(list, count, "sweep_due")->late_ms);
    world_turn(w);
    count = 0;
    dispatch_pulses(w->d, w->now + 20000, list, &count);
    assert_int_equal(0, pulse_of(list, count, "sweep_due")->late_ms);
    world_free(w);
}

static void a_queue_that_nobody_serves_is_told_of_once(void **unused)
{
    struct world *w = world_new(1, 2);
    struct pool_queue mail = {(char *)"mail", 1};
    struct pool_settings pool = {
        .name = (char *)"default", .workers = 1, .slots = 2, .queues = &mail, .queue_count = 1};
    struct dispatch_stats stats;
    struct frame_job job;
    (void)unused;
    dispatch_set_pools(w->d, &pool, 1);
    world_push(w, "mail.send", NULL);
    world_push(w, "a", NULL); /* to the queue "default" */
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    for (int i = 0; i < 60; i++) {
        world_beat(w);
        world_pass(w, 1000);
    }
    assert_int_equal(1, world_told(w, "queue.unserved", 0));
    dispatch_stats(w->d, &stats);
    assert_int_equal(1, stats.queues_unserved);
    assert_int_equal(0, stats.idle_with_backlog); /* its pool is not at fault */
    world_free(w);
}

static void push_to(struct world *w, const char *queue, unsigned count)
{
    struct push_order options;
    order_init(&options);
    options.queue = slice_of(queue);
    for (unsigned i = 0; i < count; i++)
        world_push(w, "a", &options);
}

static bool is_of_queue(struct world *w, job_id id, const char *queue)
{
    struct op_get got;
    world_get(w, &got, id);
    bool is = slice_equal(got.view.spec.queue, slice_of(queue));
    store_op_release(&got.op);
    return is;
}

/* What a free worker is handed of two queues that its pool comes to serve. */
static void a_lease_gives_each_queue_of_a_weighted_pool_its_share(void **unused)
{
    static const struct {
        enum pool_order order;
        unsigned red_weight, red, blue, red_wanted, blue_wanted;
    } rows[] = {
        {POOL_WEIGHTED, 1, 20, 20, 4, 4},    {POOL_WEIGHTED, 3, 20, 20, 6, 2},
        {POOL_WEIGHTED, 1, 20, 1, 7, 1}, /* what one cannot give comes from the other, */
        {POOL_WEIGHTED, 3, 1, 20, 1, 7}, /* whatever their weights */
        {POOL_WEIGHTED, 1000, 20, 20, 8, 0}, {POOL_STRICT, 1, 20, 20, 8, 0},
        {POOL_STRICT, 1, 3, 20, 3, 5},
    };
    (void)unused;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world *w = world_new(1, 8);
        struct pool_queue other = {(char *)"other", 1};
        struct pool_queue queues[] = {{(char *)"red", rows[i].red_weight}, {(char *)"blue", 1}};
        struct pool_settings pool = {
            .name = (char *)"default", .workers = 1, .slots = 8, .queues = &other, .queue_count = 1};
        struct frame_job jobs[8];
        unsigned red = 0;
        dispatch_set_pools(w->d, &pool, 1);
        push_to(w, "red", rows[i].red);
        push_to(w, "blue", rows[i].blue);
        pool.order = rows[i].order;
        pool.queues = queues;
        pool.queue_count = 2;
        dispatch_set_pools(w->d, &pool, 1);
        world_turn(w);
        assert_int_equal(8, world_jobs(w, 0, jobs, 8));
        for (unsigned j = 0; j < 8; j++)
            red += is_of_queue(w, jobs[j].id, "red");
        assert_int_equal(rows[i].red_wanted, red);
        assert_int_equal(rows[i].blue_wanted, 8 - red);
        world_free(w);
    }
}

static void a_consumer_serves_a_queue_too(void **unused)
{
    struct world *w = world_new(1, 2);
    struct pool_queue mail = {(char *)"mail", 1};
    struct pool_settings pool = {
        .name = (char *)"default", .workers = 1, .slots = 2, .queues = &mail, .queue_count = 1};
    struct push_order options;
    (void)unused;
    dispatch_set_pools(w->d, &pool, 1);
    order_init(&options);
    options.queue = other_queue[0];
    for (int i = 0; i < 10; i++)
        world_push(w, "a", &options);
    for (int i = 0; i < 5; i++) { /* one job after the other, while the others wait */
        struct fetched fetched;
        fetch_start(w, &fetched, 0);
        world_turn(w);
        assert_int_equal(1, fetched.count);
        world_pass(w, 15000);
    }
    assert_int_equal(0, world_told(w, "queue.unserved", 0));
    world_free(w);
}

static void a_job_cancelled_on_its_way_to_be_parked_has_ended(void **unused)
{
    struct world *w = world_new(1, 1);
    bool pushed = false, cancelled = false;
    struct op_push push = {0};
    struct push_order order;
    (void)unused;
    order_init(&order);
    order.type = SLICE("unknown");
    store_op_init(&push.op, STORE_PUSH, w->wall);
    assert_int_equal(MQ_OK, dispatch_resolve(w->d, &push, &order, w->wall, NULL));
    push.op.done = mark_done;
    push.op.owner = &pushed;
    dispatch_submit(w->d, &push.op);
    dispatch_tick(w->d, w->wall, w->now);
    store_flush(w->store); /* pushed and leased in one commit; nobody knows of it yet */
    struct waiter waiter = {.id = push.id, .done = on_waited};
    waited_for = JOB_NONE;
    dispatch_wait(w->d, &waiter);
    struct op_step step = {.id = push.id, .reason = SLICE_EMPTY, .payload = SLICE_EMPTY};
    store_op_init(&step.op, STORE_CANCEL, w->wall);
    step.op.done = mark_done;
    step.op.owner = &cancelled;
    dispatch_submit(w->d, &step.op); /* before the PARK, in its commit */
    store_collect(w->store);
    world_turn(w);
    assert_true(pushed && cancelled && step.signalled);
    assert_int_equal(JOB_CANCELLED, world_state(w, push.id));
    assert_int_equal(1, world_told(w, "job.cancelled", push.id));
    assert_int_equal(0, world_told(w, "job.parked", push.id));
    assert_int_equal(JOB_CANCELLED, waited_for);
    store_op_release(&step.op);
    store_op_release(&push.op);
    world_free(w);
}

/*
 * Nothing can be written any more, or everything again. What was confirmed is in LMDB's file by then: a disk that fills up does
 * so while there is still room for that, and without it nobody could look.
 */
static void set_disk_full(struct world *w, bool full)
{
    static struct rlimit before;
    if (!full) {
        setrlimit(RLIMIT_FSIZE, &before);
        return;
    }
    store_collect(w->store);
    world_state(w, 1); /* a read sees all that was answered */
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    struct rlimit page = {4096, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &page);
}

static void change_queue(struct world *w, int change)
{
    struct op_queue *queue = queue_op(w, "default");
    queue->change = change;
    queue->reason = SLICE_EMPTY;
    dispatch_submit(w->d, &queue->op);
    store_flush(w->store);
}

/* The answer of a lease that was refused still held what its failed try had found: a worker ran it without a lease. */
static void a_refused_lease_gives_no_job_to_a_worker(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job job;
    (void)unused;
    change_queue(w, QUEUE_PAUSE);
    job_id id = world_push(w, "a", NULL);
    change_queue(w, QUEUE_RESUME);
    set_disk_full(w, true);
    world_turn(w);
    set_disk_full(w, false);
    assert_int_equal(0, world_jobs(w, 0, &job, 1));
    assert_int_equal(JOB_READY, world_state(w, id));
    world_pass(w, 1100);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    assert_true(job.id == id);
    world_free(w);
}

/* The answer of a sweep that was refused still holds what its failed try had deleted. */
static void what_a_refused_sweep_did_not_evict_is_not_told(void **unused)
{
    struct world *w = world_new(1, 2);
    struct push_order order;
    struct dispatch_stats stats;
    struct op_step step;
    (void)unused;
    order_init(&order);
    order.delay_ms = 1000;
    for (int i = 0; i < 3; i++) { /* the first goes in time; of the others one is too many */
        order.keep_ms = i ? 86400000 : KEEP_DEFAULT_MS;
        world_step(w, STORE_CANCEL, world_push(w, "a", &order), &step);
        assert_int_equal(MQ_OK, step.op.code);
        store_op_release(&step.op);
    }
    w->store_settings.keep_max = 1;
    store_configure(w->store, &w->store_settings);
    set_disk_full(w, true);
    world_leap(w, KEEP_DEFAULT_MS + 5000);
    set_disk_full(w, false);
    dispatch_stats(w->d, &stats);
    assert_int_equal(0, stats.evicted);
    assert_int_equal(0, world_told(w, "keep.evicted", 0));
    world_leap(w, 1100);
    dispatch_stats(w->d, &stats);
    assert_int_equal(1, stats.evicted);
    assert_int_equal(1, world_told(w, "keep.evicted", 0));
    world_free(w);
}

static void an_outcome_that_has_no_space_is_kept_until_there_is(void **unused)
{
    struct world *w = world_new(1, 2);
    struct frame_job jobs[2];
    struct dispatch_stats stats;
    (void)unused;
    job_id done = world_push(w, "a", NULL), failed = world_push(w, "a", NULL);
    assert_int_equal(2, world_jobs(w, 0, jobs, 2));
    world_begin(w, 0, &jobs[0]);
    world_begin(w, 0, &jobs[1]);
    set_disk_full(w, true);
    world_done(w, 0, &jobs[0], "{}");
    world_failed(w, 0, &jobs[1], "boom");
    world_turn(w);
    for (int i = 0; i < 60; i++) { /* longer than any lease */
        world_beat(w);
        world_pass(w, 1000);
    }
    dispatch_stats(w->d, &stats);
    assert_int_equal(2, stats.outcomes_waiting);
    assert_int_equal(JOB_RUNNING, world_state(w, done));
    set_disk_full(w, false);
    world_pass(w, 1100);
    assert_int_equal(JOB_SUCCEEDED, world_state(w, done));
    assert_int_equal(1, world_told(w, "job.failed", failed));
    assert_int_equal(0, world_told(w, "job.lost", 0));
    assert_int_equal(1, world_told(w, "job.started", done));
    dispatch_stats(w->d, &stats);
    assert_int_equal(0, stats.outcomes_waiting);
    world_free(w);
}

/* It pushed another: its ACK is refused like a push. */
static void done_with_a_child(struct world *w, const struct frame_job *job)
{
    struct buf frames = BUF_INIT, children = BUF_INIT;
    struct push_order child;
    order_init(&child);
    child.type = SLICE("x");
    child.payload = SLICE("{}");
    child.delay_ms = 60000; /* so that no worker asks for it: what is refused makes all rest */
    frame_add_child(&children, &child);
    frame_add_done(&frames, &(struct frame_done){.slot = job->slot,
                                                 .id = job->id,
                                                 .result = SLICE_EMPTY,
                                                 .child_count = 1,
                                                 .children = buf_bytes(&children)});
    world_say(w, 0, &frames);
    buf_release(&children);
}

/* Whenever there is room again: also just before the sweep that would take the job's lease for lost. */
static void a_job_that_pushed_others_keeps_its_lease_while_the_disk_is_full(void **unused)
{
    (void)unused;
    for (int64_t room_after = 0; room_after < 1000; room_after += 100) {
        struct world *w = world_new(1, 1);
        struct frame_job job;
        job_id id = world_push(w, "a", NULL);
        assert_int_equal(1, world_jobs(w, 0, &job, 1));
        world_begin(w, 0, &job);
        world_pass(w, 550); /* outcomes are asked again at another moment of each second than sweeps */
        set_disk_full(w, true);
        done_with_a_child(w, &job);
        for (int64_t ms = 0; ms < 40000 + room_after; ms += 100) { /* longer than its lease */
            world_beat(w);
            world_pass(w, 100);
        }
        set_disk_full(w, false);
        world_beat(w);
        world_pass(w, 2100);
        assert_int_equal(0, world_told(w, "job.lost", 0));
        assert_int_equal(1, world_told(w, "job.started", id));
        assert_int_equal(JOB_SUCCEEDED, world_state(w, id));
        world_free(w);
    }
}

static void a_job_whose_lease_could_not_be_renewed_for_want_of_space_stays_with_its_worker(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    set_disk_full(w, true);
    for (int i = 0; i < 600; i++) {
        world_beat(w);
        world_pass(w, 100);
    }
    set_disk_full(w, false);
    world_beat(w);
    world_pass(w, 1100);
    assert_int_equal(JOB_RUNNING, world_state(w, id));
    assert_int_equal(0, world_told(w, "job.lost", 0));
    world_done(w, 0, &job, "{}");
    world_turn(w);
    assert_int_equal(JOB_SUCCEEDED, world_state(w, id));
    world_free(w);
}

static void what_still_waits_for_space_at_the_end_runs_again_after_it(void **unused)
{
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    world_push(w, "a", NULL);
    assert_int_equal(1, world_jobs(w, 0, &job, 1));
    world_begin(w, 0, &job);
    set_disk_full(w, true);
    world_done(w, 0, &job, "{}");
    world_turn(w);
    set_disk_full(w, false);
    world_free(w); /* and nothing leaks */
}

/* Found by fuzzing: a fraction that is none was stored, and told to listeners as "inf", which is no JSON. */
static void a_progress_that_is_no_fraction_is_not_believed(void **unused)
{
    static const float fractions[] = {-1.0f, 1.5f, __builtin_inff(), -__builtin_inff(), __builtin_nanf("")};
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    for (size_t i = 0; i < sizeof fractions / sizeof *fractions; i++) {
        struct buf frames = BUF_INIT;
        struct op_get got;
        frame_add_progress(&frames, &(struct frame_progress){
                                        .slot = job.slot, .id = id, .fraction = 0.5f, .note = SLICE("half")});
        frame_add_progress(&frames,
                           &(struct frame_progress){
                               .slot = job.slot, .id = id, .fraction = fractions[i], .note = SLICE("?")});
        world_say(w, 0, &frames);
        world_get(w, &got, id);
        assert_true(got.view.status.progress == 0.5f);
        assert_true(slice_equal(got.view.status.note, SLICE("half")));
        store_op_release(&got.op);
    }
    world_done(w, 0, &job, "");
    world_free(w);
}

/* What is logged goes to stderr: here into a file. */
static size_t lines_logged(struct world *w, const struct frame_log *line, char *out, size_t size)
{
    struct buf frames = BUF_INIT;
    FILE *file = tmpfile();
    int keep = dup(STDERR_FILENO);
    size_t lines = 0;
    frame_add_log(&frames, line);
    dup2(fileno(file), STDERR_FILENO);
    world_say(w, 0, &frames);
    dup2(keep, STDERR_FILENO);
    close(keep);
    rewind(file);
    size_t len = fread(out, 1, size - 1, file);
    out[len] = '\0';
    fclose(file);
    for (size_t i = 0; i < len; i++)
        lines += out[i] == '\n';
    return lines;
}

/* Found by fuzzing: a line end in the JSON of its fields let a worker write a line that looks like the server's. */
static void a_line_of_the_log_stays_one_line(void **unused)
{
    static const struct {
        const char *fields, *logged;
    } rows[] = {
        {"{\"a\": 0.1}", "\"fields\":{\"a\": 0.1}}"},
        {"{\"a\":\n1}", "\"fields\":{\"a\":1}}"},
        {"{\"a\":\n{\"event\":\"forged\"}\n}", "\"fields\":{\"a\":{\"event\":\"forged\"}}}"},
        {"\r\t{}", "\"fields\":{}}"},
        {"[1]", "\"fields\":{}}"},
        {"{\"a\"", "\"fields\":{}}"},
    };
    struct world *w = world_new(1, 1);
    struct frame_job job;
    (void)unused;
    job_id id = world_push(w, "a", NULL);
    world_jobs(w, 0, &job, 1);
    world_begin(w, 0, &job);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[4096];
        struct frame_log line = {
            .id = id, .level = LOG_INFO, .text = SLICE("two\nlines"), .fields = slice_of(rows[i].fields)};
        assert_int_equal(1, lines_logged(w, &line, text, sizeof text));
        if (!strstr(text, rows[i].logged))
            fail_msg("'%s' does not have '%s'", text, rows[i].logged);
    }
    world_done(w, 0, &job, "");
    world_free(w);
}

static void garbage_from_a_worker_is_refused(void **unused)
{
    struct world *w = world_new(1, 1);
    struct mq_err err;
    size_t used;
    (void)unused;
    assert_int_equal(MQ_INTERNAL,
                     dispatch_worker_frames(w->d, w->workers[0].worker, SLICE("\xff\xff\xff\xff garbage"),
                                            &used, w->wall, w->now, &err));
    assert_int_equal(MQ_INTERNAL,
                     dispatch_worker_frames(w->d, w->workers[0].worker, SLICE("\0\0\0\1\4"), &used, w->wall,
                                            w->now, &err)); /* TIMEOUT is ours to send */
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_push_to_an_idle_server_is_handed_out_in_the_same_commit),
        cmocka_unit_test(an_acknowledged_job_has_succeeded),
        cmocka_unit_test(work_is_spread_over_the_workers),
        cmocka_unit_test(a_worker_holds_only_what_it_has_room_for),
        cmocka_unit_test(a_failed_job_comes_back_after_its_backoff),
        cmocka_unit_test(a_job_that_is_not_begun_in_time_goes_to_another_worker),
        cmocka_unit_test(a_job_that_nobody_began_in_time_expires),
        cmocka_unit_test(what_a_dead_worker_had_not_begun_may_still_expire),
        cmocka_unit_test(a_dead_worker_charges_only_the_job_on_its_cpu),
        cmocka_unit_test(a_job_of_a_worker_that_died_of_none_says_how_it_died),
        cmocka_unit_test(a_timed_out_job_is_told_then_ended_then_its_worker_killed),
        cmocka_unit_test(a_job_does_not_time_out_while_a_neighbour_keeps_the_cpu),
        cmocka_unit_test(a_deliberate_kill_charges_the_job_it_was_for),
        cmocka_unit_test(a_cancelled_job_is_told_at_once_and_ended_after_a_grace),
        cmocka_unit_test(a_cancel_is_told_to_who_holds_the_job_now),
        cmocka_unit_test(a_released_job_runs_elsewhere_while_its_old_handler_is_stopped),
        cmocka_unit_test(a_released_job_that_was_not_begun_never_begins_there),
        cmocka_unit_test(a_worker_killed_for_a_released_attempt_charges_nobody),
        cmocka_unit_test(a_bulk_release_stops_handlers_too),
        cmocka_unit_test(a_worker_that_falls_silent_is_killed),
        cmocka_unit_test(leases_are_renewed_while_the_worker_beats),
        cmocka_unit_test(a_clock_that_jumps_costs_no_job_its_lease),
        cmocka_unit_test(old_records_are_deleted_faster_while_many_are_left),
        cmocka_unit_test(a_lease_that_is_under_way_when_the_clock_jumps_is_not_lost),
        cmocka_unit_test(a_disk_that_stands_still_between_a_lease_and_its_answer_costs_no_job_its_lease),
        cmocka_unit_test(a_blocked_fetch_gets_the_job_as_it_comes),
        cmocka_unit_test(a_blocked_fetch_ends_with_nothing_in_time),
        cmocka_unit_test(a_hang_up_during_a_lease_gives_the_jobs_back),
        cmocka_unit_test(a_waiter_hears_of_the_end),
        cmocka_unit_test(a_job_without_a_handler_waits_and_blocks_nobody),
        cmocka_unit_test(a_type_brings_its_own_queue_and_attempts),
        cmocka_unit_test(a_paused_queue_hands_out_nothing_until_it_resumes),
        cmocka_unit_test(a_paused_type_waits_and_others_of_its_queue_do_not),
        cmocka_unit_test(a_pause_ends_by_itself_when_its_time_is_over),
        cmocka_unit_test(a_fetch_looks_behind_many_jobs_of_a_paused_type),
        cmocka_unit_test(a_refused_push_is_not_waited_for),
        cmocka_unit_test(a_handler_whose_push_is_refused_has_failed),
        cmocka_unit_test(retrying_all_dead_letters_touches_each_once),
        cmocka_unit_test(a_parked_job_does_not_keep_the_loop_busy),
        cmocka_unit_test(a_blocked_fetch_gets_a_job_that_is_parked),
        cmocka_unit_test(backlog_beside_idle_workers_is_noticed),
        cmocka_unit_test(a_job_that_runs_nowhere_is_given_back_uncharged),
        cmocka_unit_test(every_loop_tells_when_it_ran_and_for_how_long_it_is_late),
        cmocka_unit_test(a_sweep_without_an_answer_is_late),
        cmocka_unit_test(a_queue_that_nobody_serves_is_told_of_once),
        cmocka_unit_test(a_lease_gives_each_queue_of_a_weighted_pool_its_share),
        cmocka_unit_test(a_consumer_serves_a_queue_too),
        cmocka_unit_test(a_job_cancelled_on_its_way_to_be_parked_has_ended),
        cmocka_unit_test(a_refused_lease_gives_no_job_to_a_worker),
        cmocka_unit_test(what_a_refused_sweep_did_not_evict_is_not_told),
        cmocka_unit_test(an_outcome_that_has_no_space_is_kept_until_there_is),
        cmocka_unit_test(a_job_that_pushed_others_keeps_its_lease_while_the_disk_is_full),
        cmocka_unit_test(a_job_whose_lease_could_not_be_renewed_for_want_of_space_stays_with_its_worker),
        cmocka_unit_test(what_still_waits_for_space_at_the_end_runs_again_after_it),
        cmocka_unit_test(a_progress_that_is_no_fraction_is_not_believed),
        cmocka_unit_test(a_line_of_the_log_stays_one_line),
        cmocka_unit_test(garbage_from_a_worker_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
