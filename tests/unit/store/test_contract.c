/*
 * What store.h promises, as sentences. One suite for every store: to add one, write its factory and a row in
 * main. Each test runs twice: everything inside flush, and with threads.
 */
#include "lab.h"
#include "lmdb_factory.h"

#include "job/record.h"

static const struct factory *factory = &lmdb_factory;
static unsigned readers;

static struct lab *open_lab(void)
{
    struct store_settings wishes = {.nosync = true, .crash_limit = 3, .readers = readers};
    return lab_open_with(factory, &wishes);
}
static struct lab *open_limited(uint64_t limit)
{
    struct store_settings wishes = {
        .nosync = true, .crash_limit = 3, .readers = readers, .queue_limit = limit};
    return lab_open_with(factory, &wishes);
}

/* ---- push ---- */

static void a_push_is_ready_and_can_be_read_back(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "mail", "{\"to\":\"a\"}");
    push.spec.meta = SLICE("{\"trace\":1}");
    push.spec.tags = SLICE("red\nblue\n");
    push.spec.priority = 2;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(push.state, JOB_READY);
    assert_int_equal(lab_get(lab, push.id), MQ_OK);
    const struct job_view *view = &lab->get.view;
    assert_int_equal(view->id, push.id);
    assert_int_equal(view->status.state, JOB_READY);
    assert_int_equal(view->status.attempt, 0);
    assert_int_equal(view->spec.pushed_at, T0);
    assert_int_equal(view->spec.priority, 2);
    assert_slice(view->spec.type, "email.send");
    assert_slice(view->spec.queue, "mail");
    assert_slice(view->spec.payload, "{\"to\":\"a\"}");
    assert_slice(view->spec.meta, "{\"trace\":1}");
    assert_slice(view->spec.tags, "red\nblue\n");
    assert_int_equal(lab->last_ready, 1);
    assert_int_equal(lab->last_waiting, 1);
    lab_close(lab);
}

static void names_are_answered_only_where_wanted(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "mail", "x");
    assert_int_equal(lab_run(lab, &push.op), MQ_OK);
    assert_int_equal(push.op.type.len, 0);
    store_op_release(&push.op);
    struct op_step step = {.id = push.id};
    store_op_init(&step.op, STORE_CANCEL, lab->now);
    step.op.want_names = true;
    assert_int_equal(lab_run(lab, &step.op), MQ_OK);
    assert_slice(step.op.type, "email.send");
    assert_slice(step.op.queue, "mail");
    store_op_release(&step.op);
    lab_close(lab);
}

static void ids_grow_even_if_the_clock_steps_back(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id a = lab_push(lab, "q", "1");
    lab->now -= 3600000;
    job_id b = lab_push(lab, "q", "2");
    lab_reopen(lab);
    job_id c = lab_push(lab, "q", "3");
    assert_true(a < b && b < c);
    lab_close(lab);
}

static void a_delayed_push_waits_for_its_time(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "q", "x");
    push.run_at = lab->now + 1000;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    assert_int_equal(push.state, JOB_SCHEDULED);
    assert_int_equal(lab->next_due, T0 + 1000);
    assert_null(lab_lease(lab, "q", 10));
    lab->now += 999;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab->sweep.count, 0);
    lab->now += 1;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab->sweep.count, 1);
    assert_int_equal(lab->sweep.swept[0].id, push.id);
    assert_int_equal(lab->sweep.swept[0].was, JOB_SCHEDULED);
    assert_int_equal(lab->sweep.swept[0].state, JOB_READY);
    assert_int_equal(lab->next_due, WALL_NEVER);
    assert_non_null(lab_lease(lab, "q", 10));
    lab_close(lab);
}

static void a_full_queue_refuses_and_names_the_limit(void **state)
{
    (void)state;
    struct lab *lab = open_limited(2);
    lab_push(lab, "q", "1");
    struct op_push late = lab_order(lab, "q", "2");
    late.run_at = lab->now + 5000; /* scheduled jobs wait too */
    assert_int_equal(lab_push_op(lab, &late), MQ_OK);
    struct op_push third = lab_order(lab, "q", "3");
    assert_int_equal(lab_push_op(lab, &third), MQ_FULL);
    assert_non_null(strstr(third.op.err.text, "'q'"));
    assert_non_null(strstr(third.op.err.text, "limit is 2"));
    lab_push(lab, "other", "4"); /* a queue of its own */
    assert_non_null(lab_lease(lab, "q", 1));
    lab_push(lab, "q", "5"); /* what runs does not wait */
    assert_int_equal(lab_change_queue(lab, "q", QUEUE_KEEP, 100), MQ_OK);
    lab_push(lab, "q", "6"); /* its own limit comes first */
    assert_int_equal(lab_queue(lab, "q")->limit, 100);
    assert_int_equal(lab_queue(lab, "other")->limit, 2);
    lab_close(lab);
}

static void a_draining_queue_refuses_pushes_and_runs_what_is_there(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    lab_push(lab, "q", "1");
    assert_int_equal(lab_change_queue(lab, "typo", QUEUE_RESUME, -1), MQ_NOTFOUND);
    assert_null(lab_queue(lab, "typo")); /* and it is not begun by that */
    lab_change_queue(lab, "q", QUEUE_DRAIN, -1);
    struct op_push push = lab_order(lab, "q", "2");
    assert_int_equal(lab_push_op(lab, &push), MQ_BUSY);
    assert_non_null(lab_lease(lab, "q", 1));
    lab_change_queue(lab, "q", QUEUE_RESUME, -1);
    lab_push(lab, "q", "3");
    lab_close(lab);
}

/* ---- lease ---- */

/* Submits all, flushes once. */
static void run_together(struct lab *lab, struct store_op **ops, unsigned count)
{
    int done = 0;
    for (unsigned i = 0; i < count; i++) {
        ops[i]->done = lab_done;
        ops[i]->owner = &done;
        store_submit(lab->store, ops[i]);
    }
    store_flush(lab->store);
    while (done < (int)count)
        store_collect(lab->store);
}

static void leases_follow_priority_then_the_order_of_pushes(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    static const uint8_t priorities[] = {5, 9, 0, 5, 0};
    static const int expected[] = {2, 4, 0, 3, 1};
    job_id ids[5];
    for (int i = 0; i < 5; i++) {
        struct op_push push = lab_order(lab, "q", "x");
        push.spec.priority = priorities[i];
        assert_int_equal(lab_push_op(lab, &push), MQ_OK);
        ids[i] = push.id;
    }
    struct leased_job *jobs = lab_lease(lab, "q", 10);
    assert_int_equal(lab->lease.count, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(jobs[i].id, ids[expected[i]]);
    lab_close(lab);
}

static void the_first_queue_comes_before_the_second(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id low = lab_push(lab, "low", "1"), high = lab_push(lab, "high", "2");
    struct slice queues[] = {SLICE("none"), SLICE("high"), SLICE("low")};
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = queues;
    lab->lease.queue_count = 3;
    lab->lease.max = 2;
    lab->lease.holder = SLICE("w1");
    assert_int_equal(lab_run(lab, &lab->lease.op), MQ_OK);
    assert_int_equal(lab->lease.count, 2);
    assert_int_equal(lab->lease.jobs[0].id, high);
    assert_int_equal(lab->lease.jobs[1].id, low);
    lab_close(lab);
}

/* Of queues that take turns; answers the number of jobs. */
static unsigned lease_shares(struct lab *lab, const unsigned shares[3], unsigned max)
{
    static const struct slice queues[] = {{"a", 1}, {"b", 1}, {"c", 1}};
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = queues;
    lab->lease.queue_count = 3;
    lab->lease.shares = shares;
    lab->lease.max = max;
    lab->lease.holder = SLICE("w1");
    lab->lease.by_worker = true;
    assert_int_equal(lab_run(lab, &lab->lease.op), MQ_OK);
    return lab->lease.count;
}

static job_id push_urgent(struct lab *lab, const char *queue, uint8_t priority, wall_ms expires_at)
{
    struct op_push push = lab_order(lab, queue, "x");
    push.spec.priority = priority;
    push.spec.expires_at = expires_at;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    return push.id;
}

static void queues_give_their_shares_by_priority_then_the_order_of_pushes(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    static const struct {
        const char *queue;
        uint8_t priority;
    } pushes[] = {{"a", 5}, {"b", 5}, {"a", 5}, {"c", 0}, {"b", 3}, {"a", 5}, {"b", 9}, {"a", 0}};
    static const unsigned shares[] = {2, 2, 1};
    static const int expected[] = {3, 7, 4, 0,
                                   1}; /* a gives two, the most urgent first; c has no more than one */
    job_id ids[8];
    for (int i = 0; i < 8; i++)
        ids[i] = push_urgent(lab, pushes[i].queue, pushes[i].priority, WALL_NEVER);
    assert_int_equal(lease_shares(lab, shares, 5), 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(lab->lease.jobs[i].id, ids[expected[i]]);
    lab_close(lab);
}

static void what_the_shares_leave_over_comes_from_the_first_queue(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    static const unsigned shares[] = {1, 1, 4};
    job_id ids[6];
    for (int i = 0; i < 6; i++)
        ids[i] = push_urgent(lab, i % 2 ? "b" : "a", 5, WALL_NEVER);
    static const int expected[] = {0, 1, 2, 4, 3}; /* c has nothing to give */
    assert_int_equal(lease_shares(lab, shares, 5), 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(lab->lease.jobs[i].id, ids[expected[i]]);
    lab_close(lab);
}

static void a_share_is_of_jobs_that_are_handed_out(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    static const unsigned shares[] = {2, 1, 0};
    job_id late[40], good[3];
    for (int i = 0; i < 40; i++)
        late[i] = push_urgent(lab, "a", 0, lab->now + 10);
    for (int i = 0; i < 3; i++)
        good[i] = push_urgent(lab, i == 1 ? "b" : "a", 5, WALL_NEVER);
    lab->now += 10;
    assert_int_equal(lease_shares(lab, shares, 3), 3);
    assert_int_equal(lab->lease.expired_count, 40);
    for (int i = 0; i < 40; i++)
        assert_int_equal(lab->lease.expired[i], late[i]);
    for (int i = 0; i < 3; i++)
        assert_int_equal(lab->lease.jobs[i].id, good[i]);
    lab_close(lab);
}

static void shares_merge_what_was_there_with_what_the_same_commit_pushes(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    static const struct slice queues[] = {{"a", 1}, {"b", 1}};
    static const unsigned shares[] = {2, 2};
    job_id old_a = push_urgent(lab, "a", 5, WALL_NEVER), old_b = push_urgent(lab, "b", 7, WALL_NEVER);
    struct op_push late = lab_order(lab, "a", "1"), urgent = lab_order(lab, "b", "2"),
                   new_b = lab_order(lab, "b", "3");
    late.spec.expires_at = lab->now; /* it expires in the batch of its push: the others are looked for anew */
    late.spec.priority = 1;
    urgent.spec.priority = 0;
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = queues;
    lab->lease.queue_count = 2;
    lab->lease.shares = shares;
    lab->lease.max = 3;
    lab->lease.holder = SLICE("w1");
    struct store_op *ops[] = {&lab->lease.op, &late.op, &urgent.op, &new_b.op};
    run_together(lab, ops, 4);
    assert_int_equal(lab->lease.count, 3);
    assert_int_equal(lab->lease.expired_count, 1);
    assert_int_equal(lab->lease.jobs[0].id, urgent.id);
    assert_int_equal(lab->lease.jobs[1].id, old_a);
    assert_int_equal(lab->lease.jobs[2].id, new_b.id);
    assert_int_equal(lab_state(lab, old_b), JOB_READY);
    lab_close(lab);
}

static void a_lease_carries_the_record_and_counts_the_attempt(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct job_spec spec;
    struct mq_err err;
    job_id id = lab_push(lab, "q", "payload");
    struct leased_job *job = lab_lease(lab, "q", 1);
    assert_non_null(job);
    assert_int_equal(job->id, id);
    assert_int_equal(job->attempt, 1);
    assert_int_equal(job->deadline, T0 + LEASE_DEFAULT_MS);
    assert_int_equal(lab->next_lease, job->deadline);
    assert_int_equal(record_read_spec(&spec, job->record, &err), MQ_OK);
    assert_slice(spec.payload, "payload");
    lab_reopen(lab); /* the count is on disk before the job starts */
    lab_get(lab, id);
    assert_int_equal(lab->get.view.status.state, JOB_RUNNING);
    assert_int_equal(lab->get.view.status.attempt, 1);
    assert_slice(lab->get.view.status.holder, "w1");
    assert_true(lab->get.view.status.held_by_worker);
    lab_close(lab);
}

static void a_lease_submitted_first_takes_what_the_same_commit_pushes(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id old = lab_push(lab, "q", "old");
    struct slice name = SLICE("q");
    struct op_push first = lab_order(lab, "q", "1"), urgent = lab_order(lab, "q", "2"),
                   third = lab_order(lab, "q", "3");
    urgent.spec.priority = 0;
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = &name;
    lab->lease.queue_count = 1;
    lab->lease.max = 3;
    lab->lease.holder = SLICE("w1");
    struct store_op *ops[] = {&lab->lease.op, &first.op, &urgent.op, &third.op};
    run_together(lab, ops, 4);
    assert_int_equal(lab->lease.count, 3);
    assert_int_equal(lab->lease.jobs[0].id, urgent.id); /* by priority, */
    assert_int_equal(lab->lease.jobs[1].id, old);       /* then what was there before, */
    assert_int_equal(lab->lease.jobs[2].id, first.id);  /* then in the order of pushes */
    assert_int_equal(lab_state(lab, third.id), JOB_READY);
    assert_int_equal(lab_state(lab, first.id), JOB_RUNNING);
    assert_int_equal(lab->last_ready, 1);
    struct leased_job *rest = lab_lease(lab, "q", 5);
    assert_int_equal(lab->lease.count, 1);
    assert_int_equal(rest->id, third.id);
    lab_close(lab);
}

static void a_paused_queue_hands_out_nothing(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    lab_push(lab, "q", "1");
    lab_change_queue(lab, "q", QUEUE_PAUSE, -1);
    assert_null(lab_lease(lab, "q", 1));
    assert_null(lab_lease_as(lab, "q", 1, false));
    assert_true(lab_queue(lab, "q")->pause.on);
    assert_slice(lab_queue(lab, "q")->pause.reason, "maintenance");
    lab_reopen(lab);
    assert_null(lab_lease(lab, "q", 1));
    lab_change_queue(lab, "q", QUEUE_RESUME, -1);
    assert_non_null(lab_lease(lab, "q", 1));
    lab_close(lab);
}

static void a_pause_says_why_by_whom_and_until_when_and_survives_a_restart(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    assert_int_equal(lab_pause_queue(lab, "q", "ana", T0 + 5000), MQ_OK);
    lab->now += 1000;
    assert_int_equal(lab_pause_queue(lab, "q", "bob", T0 + 9000),
                     MQ_OK); /* changed; it began when it began */
    lab_reopen(lab);
    assert_int_equal(lab->next_pause, T0 + 9000);
    const struct pause_view *pause = &lab_queue(lab, "q")->pause;
    assert_true(pause->on);
    assert_int_equal(pause->since, T0);
    assert_int_equal(pause->until, T0 + 9000);
    assert_slice(pause->by, "bob");
    assert_slice(pause->reason, "maintenance");
    assert_int_equal(lab_get(lab, id), MQ_OK);
    assert_true(lab->get.queue_pause.on);
    assert_slice(lab->get.queue_pause.by, "bob");
    assert_false(lab->get.type_pause.on);
    char text[PAUSE_REASON_MAX + 2] = {0};
    memset(text, 'r', sizeof text - 1);
    struct op_queue op = {.name = SLICE("q"), .reason = slice_of(text), .by = SLICE_EMPTY};
    store_op_init(&op.op, STORE_QUEUE, lab->now);
    op.change = QUEUE_PAUSE;
    assert_int_equal(lab_run(lab, &op.op), MQ_BADARG); /* not cut */
    lab_close(lab);
}

static void a_pause_ends_by_itself_in_a_sweep(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    assert_int_equal(lab->next_pause, WALL_NEVER);
    lab_push(lab, "q", "x");
    lab_pause_queue(lab, "q", "ana", T0 + 5000);
    lab_pause_queue(lab, "r", "ana", 0);
    assert_int_equal(lab->next_pause, T0 + 5000);
    lab->now = T0 + 4999;
    lab_sweep(lab, SWEEP_PAUSES, 10);
    assert_int_equal(lab->sweep.ended_count, 0);
    assert_null(lab_lease(lab, "q", 1));
    lab->now = T0 + 5000;
    lab_sweep(lab, SWEEP_PAUSES, 10);
    assert_int_equal(lab->sweep.ended_count, 1);
    assert_false(lab->sweep.ended[0].is_type);
    assert_slice(lab->sweep.ended[0].name, "q");
    assert_false(lab->sweep.more);
    assert_int_equal(lab->next_pause, WALL_NEVER);
    assert_true(lab_queue(lab, "r")->pause.on);
    assert_non_null(lab_lease(lab, "q", 1));
    lab_close(lab);
}

static job_id push_type(struct lab *lab, const char *type, uint8_t priority)
{
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.type = slice_of(type);
    push.spec.priority = priority;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    return push.id;
}

static void no_job_of_a_paused_type_is_handed_out_and_others_do_not_wait_behind_it(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id held = push_type(lab, "mail", 0), other = push_type(lab, "report", 9);
    assert_int_equal(lab_pause_type(lab, "mail", T0 + 60000), MQ_OK);
    struct leased_job *got = lab_lease_as(lab, "q", 10, false);
    assert_int_equal(lab->lease.count, 1);
    assert_int_equal(lab->lease.held, 1);
    assert_int_equal(got->id, other);
    assert_int_equal(lab->last_ready, 0); /* nobody needs to ask for it */
    assert_int_equal(lab_get(lab, held), MQ_OK);
    assert_int_equal(lab->get.view.status.state, JOB_READY);
    assert_true(lab->get.view.status.held_no != 0);
    assert_true(lab->get.type_pause.on);
    assert_int_equal(lab->get.type_pause.until, T0 + 60000);
    assert_slice(lab->get.type_pause.by, "ana");
    assert_int_equal(lab_queue(lab, "q")->counts.held, 1);
    assert_int_equal(lab->queues.type_count, 1);
    assert_slice(lab->queues.types[0].type, "mail");
    assert_slice(lab->queues.types[0].pause.reason, "the relay is down");
    /* it can still be cancelled, deleted, retried and found like any ready job */
    job_id more = push_type(lab, "mail", 5);
    assert_null(lab_lease(lab, "q", 10));
    LAB_OP(lab, list, STORE_LIST);
    lab->list.filter.states = 1u << JOB_READY;
    lab->list.filter.queue = SLICE("q");
    lab->list.limit = 10;
    assert_int_equal(lab_run(lab, &lab->list.op), MQ_OK);
    assert_int_equal(lab->list.count, 2);
    assert_int_equal(lab_step(lab, STORE_CANCEL, more), MQ_OK);
    assert_int_equal(lab_queue(lab, "q")->counts.held, 1);
    assert_int_equal(lab_step(lab, STORE_RETRY, more), MQ_OK);
    assert_null(lab_lease(lab, "q", 10));
    assert_int_equal(lab_queue(lab, "q")->counts.held, 2);
    lab_close(lab);
}

static void a_resumed_type_gets_its_jobs_back_in_chunks_also_across_a_restart(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (int i = 0; i < 5; i++)
        push_type(lab, "mail", (uint8_t)(9 - i));
    lab_pause_type(lab, "mail", 0);
    assert_int_equal(lab->next_pause, WALL_NEVER);
    lab_lease(lab, "q", 10);
    assert_int_equal(lab_pause_type(lab, "never", -1), MQ_NOTFOUND);
    assert_int_equal(lab_pause_type(lab, "mail", -1), MQ_OK);
    assert_int_equal(lab_pause_type(lab, "mail", -1), MQ_NOTFOUND);
    assert_int_equal(lab->next_pause, 0); /* now */
    lab_sweep(lab, SWEEP_PAUSES, 2);
    assert_true(lab->sweep.more);
    assert_int_equal(lab->sweep.ended_count, 0); /* a person ended it */
    assert_int_equal(lab->last_ready, 2);
    lab_reopen(lab);
    assert_int_equal(lab->next_pause, 0);
    lab_queue(lab, "q");
    assert_int_equal(lab->queues.type_count, 0);
    lab_sweep(lab, SWEEP_PAUSES, 3);
    assert_false(lab->sweep.more);
    assert_int_equal(lab->next_pause, WALL_NEVER);
    lab_lease(lab, "q", 10);
    assert_int_equal(lab->lease.count, 5);
    for (int i = 1; i < 5; i++) /* in their order again */
        assert_true(lab->lease.jobs[i].id < lab->lease.jobs[i - 1].id);
    lab_close(lab);
}

static void a_type_paused_again_before_all_came_back_keeps_the_rest(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (int i = 0; i < 4; i++)
        push_type(lab, "mail", 5);
    lab_pause_type(lab, "mail", T0 + 1000);
    lab_lease(lab, "q", 10);
    lab->now = T0 + 1000;
    lab_sweep(lab, SWEEP_PAUSES, 1);
    assert_true(lab->sweep.more);
    assert_int_equal(lab->sweep.ended_count, 1);
    assert_true(lab->sweep.ended[0].is_type);
    assert_slice(lab->sweep.ended[0].name, "mail");
    lab_pause_type(lab, "mail", T0 + 9000);
    assert_int_equal(lab->next_pause, T0 + 9000);
    assert_null(lab_lease(lab, "q", 10));
    assert_int_equal(lab_queue(lab, "q")->counts.held, 4);
    lab->now = T0 + 9000;
    lab_sweep(lab, SWEEP_PAUSES, 10);
    lab_lease(lab, "q", 10);
    assert_int_equal(lab->lease.count, 4);
    lab_close(lab);
}

static void a_lease_sets_no_more_aside_than_it_may(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct slice queue = SLICE("q");
    for (int i = 0; i < 5; i++)
        push_type(lab, "mail", 0);
    job_id other = push_type(lab, "report", 9);
    lab_pause_type(lab, "mail", 0);
    for (int round = 0; round < 3; round++) {
        LAB_OP(lab, lease, STORE_LEASE);
        lab->lease.queues = &queue;
        lab->lease.queue_count = 1;
        lab->lease.max = 10;
        lab->lease.hold_max = 2;
        lab->lease.holder = SLICE("w1");
        assert_int_equal(lab_run(lab, &lab->lease.op), MQ_OK);
        assert_int_equal(lab->lease.held, round < 2 ? 2 : 1);
        assert_int_equal(lab->lease.more, round < 2);
    }
    assert_int_equal(lab->lease.count, 1);
    assert_int_equal(lab->lease.jobs[0].id, other);
    lab_close(lab);
}

static void a_job_pushed_while_its_type_is_paused_is_held_in_the_same_commit(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    lab_pause_type(lab, "mail", 0);
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.type = SLICE("mail");
    struct slice queue = SLICE("q");
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = &queue;
    lab->lease.queue_count = 1;
    lab->lease.max = 1;
    lab->lease.holder = SLICE("w1");
    int done = 0;
    push.op.done = lab->lease.op.done = lab_done;
    push.op.owner = lab->lease.op.owner = &done;
    store_submit(lab->store, &lab->lease.op);
    store_submit(lab->store, &push.op);
    store_flush(lab->store);
    while (done < 2)
        store_collect(lab->store);
    assert_int_equal(lab->lease.count, 0);
    assert_int_equal(lab->lease.held, 1);
    assert_int_equal(lab_queue(lab, "q")->counts.held, 1);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 1);
    store_op_release(&push.op);
    lab_close(lab);
}

static void a_held_job_still_expires(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.expires_at = T0 + 500;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    lab_pause_type(lab, "email.send", 0);
    lab_lease(lab, "q", 1);
    assert_int_equal(lab->lease.held, 1);
    lab->now = T0 + 500;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab_state(lab, push.id), JOB_EXPIRED);
    assert_int_equal(lab_queue(lab, "q")->counts.held, 0);
    lab_close(lab);
}

static void only_so_many_types_are_paused(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    char type[16];
    for (int i = 0; i < TYPES_PAUSED_MAX; i++) {
        snprintf(type, sizeof type, "t%d", i);
        assert_int_equal(lab_pause_type(lab, type, 0), MQ_OK);
    }
    assert_int_equal(lab_pause_type(lab, "one.more", 0), MQ_FULL);
    assert_int_equal(lab_pause_type(lab, "t7", T0 + 1), MQ_OK); /* a change is none more */
    assert_int_equal(lab_pause_type(lab, "t8", -1), MQ_OK);
    lab_sweep(lab, SWEEP_PAUSES, 1);
    assert_int_equal(lab_pause_type(lab, "one.more", 0), MQ_OK);
    lab_close(lab);
}

static void a_group_that_pauses_and_is_refused_has_paused_nothing(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    struct op_type pause = {.type = SLICE("email.send"), .reason = SLICE_EMPTY, .by = SLICE_EMPTY};
    struct op_step bad = {.id = 4711};
    struct store_op *members[] = {&pause.op, &bad.op};
    struct op_group group = {.members = members, .count = 2};
    store_op_init(&pause.op, STORE_TYPE, lab->now);
    store_op_init(&bad.op, STORE_CANCEL, lab->now);
    store_op_init(&group.op, STORE_GROUP, lab->now);
    assert_int_equal(lab_run(lab, &group.op), MQ_NOTFOUND);
    assert_int_equal(lab_lease(lab, "q", 1)->id, id);
    lab_close(lab);
}

static void a_job_that_could_not_start_in_time_expires_instead_of_running(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.expires_at = lab->now + 100;
    lab_push_op(lab, &push);
    job_id good = lab_push(lab, "q", "y");
    assert_int_equal(lab->next_due, T0 + 100);
    lab->now += 100;
    struct leased_job *job = lab_lease(lab, "q", 1);
    assert_non_null(job);
    assert_int_equal(job->id, good);
    assert_int_equal(lab->lease.expired_count, 1);
    assert_int_equal(lab->lease.expired[0], push.id);
    assert_int_equal(lab_state(lab, push.id), JOB_EXPIRED);
    assert_int_equal(lab->next_due, WALL_NEVER);
    lab_close(lab);
}

static void a_push_that_is_expired_already_is_not_handed_out(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct slice name = SLICE("q");
    struct op_push dead = lab_order(lab, "q", "1"), alive = lab_order(lab, "q", "2");
    dead.spec.expires_at = lab->now;
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = &name;
    lab->lease.queue_count = 1;
    lab->lease.max = 5;
    lab->lease.holder = SLICE("w1");
    struct store_op *ops[] = {&dead.op, &alive.op, &lab->lease.op};
    run_together(lab, ops, 3);
    assert_int_equal(lab->lease.count, 1);
    assert_int_equal(lab->lease.jobs[0].id, alive.id);
    assert_int_equal(lab->lease.expired_count, 1);
    assert_int_equal(lab_state(lab, dead.id), JOB_EXPIRED);
    lab_close(lab);
}

static void a_sweep_expires_what_never_started_and_spares_what_did(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push ready = lab_order(lab, "q", "1"), later = lab_order(lab, "q", "2"),
                   ran = lab_order(lab, "r", "3");
    ready.spec.expires_at = later.spec.expires_at = ran.spec.expires_at = lab->now + 100;
    later.run_at = lab->now + 500;
    lab_push_op(lab, &ready);
    lab_push_op(lab, &later);
    lab_push_op(lab, &ran);
    struct leased_job *job = lab_lease(lab, "r", 1);
    lab_release(lab, job->id, job->token, RELEASE_GIVE_BACK, 0);
    lab->now += 1000;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab->sweep.count, 2);
    assert_int_equal(lab_state(lab, ready.id), JOB_EXPIRED);
    assert_int_equal(lab_state(lab, later.id), JOB_EXPIRED);
    assert_int_equal(lab_state(lab, ran.id), JOB_READY);
    assert_int_equal(lab_queue(lab, "q")->counts.expired, 2);
    assert_int_equal(lab->next_due, WALL_NEVER);
    lab_close(lab);
}

static void a_job_that_nobody_began_may_still_expire(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "q", "1"), began = lab_order(lab, "r", "2");
    push.spec.expires_at = began.spec.expires_at = lab->now + 100;
    lab_push_op(lab, &push);
    lab_push_op(lab, &began);
    struct leased_job *job = lab_lease(lab, "q", 1);
    lab_release(lab, job->id, job->token, RELEASE_UNSTARTED, 0);
    job = lab_lease(lab, "r", 1);
    lab_release(lab, job->id, job->token, RELEASE_GIVE_BACK, 0); /* interrupted once ... */
    job = lab_lease(lab, "r", 1);
    lab_release(lab, job->id, job->token, RELEASE_UNSTARTED, 0); /* ... so it did start in time */
    assert_int_equal(lab_state(lab, push.id), JOB_READY);
    assert_int_equal(lab->next_due, push.spec.expires_at);
    lab_get(lab, push.id);
    assert_int_equal(lab->get.view.status.attempt, 0);
    lab->now += 1000;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab_state(lab, push.id), JOB_EXPIRED);
    assert_int_equal(lab_state(lab, began.id), JOB_READY);
    lab_close(lab);
}

/* A shutdown interrupted it, it failed, it was snoozed, its lease ran out: whatever ended an attempt, it had begun. */
static void a_job_that_ended_an_attempt_expires_no_more(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    static const enum fail_verdict verdicts[] = {FAIL_RETRY, FAIL_SNOOZE};
    job_id ids[3];
    for (int i = 0; i < 3; i++) {
        struct op_push push = lab_order(lab, "q", "1");
        push.spec.expires_at = lab->now + 100;
        lab_push_op(lab, &push);
        ids[i] = push.id;
        struct leased_job *job = lab_lease(lab, "q", 1);
        if (i < 2)
            lab_fail(lab, job->id, job->token, verdicts[i], lab->now + 50);
    }
    lab->now += LEASE_DEFAULT_MS + 1000;
    lab_sweep(lab, SWEEP_LEASES, 10);
    lab_sweep(lab, SWEEP_DUE, 10);
    for (int i = 0; i < 3; i++)
        assert_int_equal(lab_state(lab, ids[i]), JOB_READY);
    assert_int_equal(lab->next_due, WALL_NEVER);
    lab_close(lab);
}

/* ---- ack ---- */

static void an_ack_keeps_record_and_result_for_as_long_as_keep_says(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    struct leased_job *job = lab_lease(lab, "q", 1);
    lab->now += 20;
    assert_int_equal(lab_ack(lab, id, job->token, "{\"ok\":true}"), MQ_OK);
    lab_get(lab, id);
    assert_int_equal(lab->get.view.status.state, JOB_SUCCEEDED);
    assert_slice(lab->get.result, "{\"ok\":true}");
    assert_int_equal(lab->get.attempt_count, 1);
    assert_int_equal(lab->get.attempts[0].outcome, STEP_ACK);
    assert_int_equal(lab->get.attempts[0].began, T0);
    assert_int_equal(lab->get.attempts[0].ended, T0 + 20);
    assert_slice(lab->get.attempts[0].worker, "w1");
    assert_int_equal(lab->next_old, T0 + 20 + KEEP_DEFAULT_MS);
    assert_int_equal(lab->next_lease, WALL_NEVER);
    lab->now = lab->next_old;
    lab_sweep(lab, SWEEP_OLD, 10);
    assert_int_equal(lab->sweep.count, 1);
    assert_int_equal(lab->sweep.swept[0].state, JOB_NONE);
    assert_int_equal(lab_get(lab, id), MQ_NOTFOUND);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_SUCCEEDED], 0);
    assert_int_equal(lab_queue(lab, "q")->counts.succeeded, 1);
    lab_close(lab);
}

static void an_ack_without_keep_leaves_nothing_but_the_count(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.keep_ms = 0;
    lab_push_op(lab, &push);
    struct leased_job *job = lab_lease(lab, "q", 1);
    assert_int_equal(lab_ack(lab, push.id, job->token, "result"), MQ_OK);
    assert_int_equal(lab_get(lab, push.id), MQ_NOTFOUND);
    assert_int_equal(lab_queue(lab, "q")->counts.succeeded, 1);
    assert_int_equal(lab->next_old, WALL_NEVER);
    assert_int_equal(lab_ack(lab, push.id, job->token, ""), MQ_NOTFOUND);
    lab_close(lab);
}

static void expect_said(const struct store_op *op, const char *words)
{
    if (!strstr(op->err.text, words))
        fail_msg("'%s' does not say '%s'", op->err.text, words);
}

static void a_stale_token_is_lost(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    uint64_t old = lab_lease(lab, "q", 1)->token;
    lab->now += LEASE_DEFAULT_MS;
    lab_sweep(lab, SWEEP_LEASES, 10);
    assert_int_equal(lab_ack(lab, id, old, ""), MQ_LOST); /* ready again: nobody's */
    expect_said(&lab->complete.op, "the job is ready");
    expect_said(&lab->complete.op, "drop the work, do not retry");
    uint64_t new = lab_lease(lab, "q", 1)->token;
    assert_true(new > old);
    assert_int_equal(lab_ack(lab, id, old, ""), MQ_LOST); /* another's */
    expect_said(&lab->complete.op, "'w1' holds it now");
    expect_said(&lab->complete.op, "drop the work, do not retry");
    assert_int_equal(lab_fail(lab, id, old, FAIL_RETRY, 0), MQ_LOST);
    assert_int_equal(lab_release(lab, id, old, RELEASE_GIVE_BACK, 0), MQ_LOST);
    LAB_OP(lab, extend, STORE_EXTEND);
    lab->extend.id = id;
    lab->extend.token = old;
    assert_int_equal(lab_run(lab, &lab->extend.op), MQ_LOST);
    LAB_OP(lab, note, STORE_NOTE);
    lab->note.id = id;
    lab->note.token = old;
    lab->note.progress = 1;
    assert_int_equal(lab_run(lab, &lab->note.op), MQ_LOST);
    assert_int_equal(lab_state(lab, id), JOB_RUNNING);
    assert_int_equal(lab_ack(lab, id, new, ""), MQ_OK);
    assert_int_equal(lab_ack(lab, id, new, ""), MQ_LOST); /* twice */
    expect_said(&lab->complete.op, "the job is succeeded");
    lab_close(lab);
}

static void children_come_with_the_ack_or_not_at_all(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    lab_change_queue(lab, "small", QUEUE_KEEP, 1);
    job_id id = lab_push(lab, "q", "x");
    uint64_t token = lab_lease(lab, "q", 1)->token;
    struct op_push a = lab_order(lab, "small", "a"), b = lab_order(lab, "small", "b");
    struct op_push *children[] = {&a, &b};
    LAB_OP(lab, complete, STORE_COMPLETE);
    lab->complete.id = id;
    lab->complete.token = token;
    lab->complete.children = children;
    lab->complete.child_count = 2;
    lab->complete.result = SLICE_EMPTY;
    assert_int_equal(lab_run(lab, &lab->complete.op), MQ_FULL); /* one fits, two do not */
    assert_int_equal(lab_state(lab, id), JOB_RUNNING);
    assert_int_equal(lab_queue(lab, "small")->counts.in_state[JOB_READY], 0);
    lab->complete.child_count = 1;
    lab->complete.op.code = MQ_OK;
    assert_int_equal(lab_run(lab, &lab->complete.op), MQ_OK);
    assert_int_equal(lab_state(lab, id), JOB_SUCCEEDED);
    assert_int_equal(lab_state(lab, a.id), JOB_READY);
    store_op_release(&a.op);
    store_op_release(&b.op);
    lab_close(lab);
}

/* ---- nack ---- */

static void a_failed_job_retries_until_its_attempts_are_spent(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x"); /* three attempts */
    for (int attempt = 1; attempt <= 3; attempt++) {
        struct leased_job *job = lab_lease(lab, "q", 1);
        assert_non_null(job);
        assert_int_equal(job->attempt, attempt);
        assert_int_equal(lab_fail(lab, id, job->token, FAIL_RETRY, lab->now + 50), MQ_OK);
        assert_int_equal(lab->fail.state, attempt < 3 ? JOB_RETRYING : JOB_DEAD);
        assert_int_equal(lab->fail.attempt, attempt);
        assert_null(lab_lease(lab, "q", 1));
        lab->now += 50;
        lab_sweep(lab, SWEEP_DUE, 10);
        assert_int_equal(lab->sweep.count, attempt < 3);
    }
    lab_get(lab, id);
    assert_int_equal(lab->get.view.status.state, JOB_DEAD);
    assert_int_equal(lab->get.attempt_count, 3);
    assert_int_equal(lab->get.attempts[0].outcome, STEP_FAIL);
    assert_int_equal(lab->get.attempts[2].outcome, STEP_BURY);
    assert_slice(lab->get.attempts[2].message, "boom");
    assert_slice(lab->get.attempts[2].traceback, "handlers/email/send.lua:7");
    const struct queue_view *queue = lab_queue(lab, "q");
    assert_int_equal(queue->counts.failed, 3);
    assert_int_equal(queue->counts.dead, 1);
    assert_int_equal(queue->counts.in_state[JOB_DEAD], 1);
    lab_close(lab);
}

static const struct verdict_row {
    enum fail_verdict verdict;
    bool cancelling;
    enum job_state state;
    int attempt_after;
} verdict_rows[] = {
    {FAIL_RETRY, false, JOB_RETRYING, 1},
    {FAIL_RETRY, true, JOB_CANCELLED, 1}, /* it failed while it was asked to stop: no further attempt */
    {FAIL_DEAD, false, JOB_DEAD, 1},
    {FAIL_DEAD, true, JOB_DEAD, 1},
    {FAIL_DISCARD, false, JOB_CANCELLED, 1},
    {FAIL_SNOOZE, false, JOB_SCHEDULED, 0}, /* not charged */
    {FAIL_SNOOZE, true, JOB_CANCELLED, 0},
    {FAIL_CANCELLED, true, JOB_CANCELLED, 1},
    {FAIL_CANCELLED, false, JOB_CANCELLED, 1},
};

static void each_verdict_leads_to_its_state(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (size_t i = 0; i < sizeof verdict_rows / sizeof *verdict_rows; i++) {
        const struct verdict_row *row = &verdict_rows[i];
        job_id id = lab_push(lab, "q", "x");
        uint64_t token = lab_lease(lab, "q", 1)->token;
        if (row->cancelling) {
            assert_int_equal(lab_step(lab, STORE_CANCEL, id), MQ_OK);
            assert_true(lab->step.signalled);
            assert_int_equal(lab->step.holds, token);
            assert_int_equal(lab->step.state, JOB_RUNNING);
        }
        assert_int_equal(lab_fail(lab, id, token, row->verdict, lab->now + 1000), MQ_OK);
        assert_int_equal(lab->fail.state, row->state);
        assert_int_equal(lab_state(lab, id), row->state);
        if (row->state == JOB_SCHEDULED)
            assert_int_equal(lab->get.view.status.attempt, row->attempt_after);
    }
    lab_close(lab);
}

/* ---- release ---- */

static void what_is_given_back_is_not_charged(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    for (int i = 0; i < 10; i++) { /* more often than it has attempts */
        struct leased_job *job = lab_lease(lab, "q", 1);
        assert_non_null(job);
        assert_int_equal(job->attempt, 1);
        assert_int_equal(lab_release(lab, id, job->token, RELEASE_GIVE_BACK, 0), MQ_OK);
        assert_int_equal(lab->release.state, JOB_READY);
    }
    lab_get(lab, id);
    assert_int_equal(lab->get.view.status.attempt, 0);
    assert_int_equal(lab->get.attempt_count, 1); /* the last of its kind: history is bounded */
    assert_int_equal(lab->get.attempts[0].outcome, STEP_GIVE_BACK);
    lab_close(lab);
}

static void three_crashes_make_poison(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.max_attempts = 25;
    lab_push_op(lab, &push);
    for (int crash = 1; crash <= 3; crash++) {
        struct leased_job *job = lab_lease(lab, "q", 1);
        assert_int_equal(job->crashes, crash - 1);
        assert_int_equal(lab_release(lab, push.id, job->token, RELEASE_CRASHED, lab->now), MQ_OK);
        assert_int_equal(lab->release.state, crash < 3 ? JOB_RETRYING : JOB_DEAD);
        lab_sweep(lab, SWEEP_DUE, 10);
    }
    lab_get(lab, push.id);
    assert_int_equal(lab->get.view.status.crashes, 3);
    assert_slice(lab->get.attempts[2].code, "CRASH");
    assert_slice(lab->get.attempts[2].message, "worker w1 died of signal 11 (SIGSEGV)");
    assert_int_equal(lab_queue(lab, "q")->counts.crashed, 3);
    lab_close(lab);
}

static void a_timed_out_attempt_is_charged_as_a_failure(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.max_attempts = 1;
    lab_push_op(lab, &push);
    struct leased_job *job = lab_lease(lab, "q", 1);
    lab_release(lab, push.id, job->token, RELEASE_TIMED_OUT, lab->now + 10);
    assert_int_equal(lab->release.state, JOB_DEAD);
    lab_get(lab, push.id);
    assert_slice(lab->get.attempts[0].code, "TIMEOUT");
    assert_int_equal(lab->get.view.status.crashes, 0);
    lab_close(lab);
}

static void a_released_job_that_was_cancelled_is_cancelled(void **state)
{
    (void)state;
    static const enum release_kind kinds[] = {RELEASE_GIVE_BACK, RELEASE_CRASHED, RELEASE_TIMED_OUT,
                                              RELEASE_UNSTARTED};
    struct lab *lab = open_lab();
    for (int i = 0; i < 4; i++) {
        job_id id = lab_push(lab, "q", "x");
        struct leased_job *job = lab_lease(lab, "q", 1);
        uint64_t token = job->token;
        lab_step(lab, STORE_CANCEL, id);
        lab_release(lab, id, token, kinds[i], lab->now);
        assert_int_equal(lab->release.state, JOB_CANCELLED);
    }
    lab_close(lab);
}

/* ---- extend, note ---- */

static void an_extended_lease_ends_later_and_tells_of_a_cancel(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    uint64_t token = lab_lease(lab, "q", 1)->token;
    lab->now += 10000;
    LAB_OP(lab, extend, STORE_EXTEND);
    lab->extend.id = id;
    lab->extend.token = token;
    assert_int_equal(lab_run(lab, &lab->extend.op), MQ_OK);
    assert_int_equal(lab->extend.deadline, T0 + 10000 + LEASE_DEFAULT_MS);
    assert_false(lab->extend.cancelling);
    assert_int_equal(lab->next_lease, lab->extend.deadline);
    lab_step(lab, STORE_CANCEL, id);
    LAB_OP(lab, extend, STORE_EXTEND);
    lab->extend.id = id;
    lab->extend.token = token;
    lab->extend.lease_ms = 60000;
    assert_int_equal(lab_run(lab, &lab->extend.op), MQ_OK);
    assert_true(lab->extend.cancelling);
    assert_int_equal(lab->next_lease, T0 + 70000);
    /* the work was done all the same */
    assert_int_equal(lab_ack(lab, id, token, ""), MQ_OK);
    assert_int_equal(lab_state(lab, id), JOB_SUCCEEDED);
    lab_close(lab);
}

/* Nobody can end a client's attempt, so it is said; a worker's timeout is dispatch's. */
static void an_extended_lease_tells_a_client_that_its_timeout_is_over(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (int by_worker = 0; by_worker < 2; by_worker++) {
        struct op_push push = lab_order(lab, by_worker ? "w" : "q", "x");
        push.spec.timeout_ms = 60000;
        lab_push_op(lab, &push);
        uint64_t token = lab_lease_as(lab, by_worker ? "w" : "q", 1, by_worker)->token;
        for (int i = 1; i <= 3; i++) {
            lab->now += 25000;
            LAB_OP(lab, extend, STORE_EXTEND);
            lab->extend.id = push.id;
            lab->extend.token = token;
            lab->extend.lease_ms = 30000;
            assert_int_equal(lab_run(lab, &lab->extend.op), MQ_OK);
            assert_int_equal(lab->extend.overdue, i == 3 && !by_worker);
        }
    }
    lab_close(lab);
}

static void progress_and_the_last_log_lines_are_kept(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x"), other = lab_push(lab, "q", "y");
    struct leased_job *jobs = lab_lease(lab, "q", 2);
    uint64_t token = jobs[0].token, other_token = jobs[1].token;
    for (int i = 0; i < LOG_LINES_MAX + 7; i++) {
        char line[32];
        snprintf(line, sizeof line, "line %d", i);
        LAB_OP(lab, note, STORE_NOTE);
        lab->note.id = i % 50 == 3 ? other : id;
        lab->note.token = i % 50 == 3 ? other_token : token;
        lab->note.progress = i == 9 ? 0.5f : -1;
        lab->note.text = SLICE("half way");
        lab->note.log_line = slice_of(line);
        assert_int_equal(lab_run(lab, &lab->note.op), MQ_OK);
    }
    for (int i = 0; i < 10; i++) {
        LAB_OP(lab, note, STORE_NOTE);
        lab->note.id = id;
        lab->note.progress = -1;
        lab->note.log_line = SLICE("more");
        assert_int_equal(lab_run(lab, &lab->note.op), MQ_OK);
    }
    lab_get(lab, id);
    assert_true(lab->get.view.status.progress == 0.5f);
    assert_slice(lab->get.view.status.note, "half way");
    assert_slice(lab->get.view.status.holder, "w1");
    assert_int_equal(lab->get.log_count, LOG_LINES_MAX);
    assert_slice(lab->get.log[LOG_LINES_MAX - 1].text, "more");
    lab_get(lab, other);
    assert_int_equal(lab->get.log_count, 5);
    assert_slice(lab->get.log[0].text, "line 3");
    lab_close(lab);
}

/* ---- steps of a person ---- */

static void a_dead_letter_is_corrected_and_brought_back_with_fresh_attempts(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "{\"to\":\"broken\"}");
    struct leased_job *job = lab_lease(lab, "q", 1);
    lab_fail(lab, id, job->token, FAIL_DEAD, 0);
    LAB_OP(lab, step, STORE_RETRY);
    lab->step.id = id;
    lab->step.edit = true;
    lab->step.payload = SLICE("{\"to\":\"somebody much longer than before\"}");
    assert_int_equal(lab_run(lab, &lab->step.op), MQ_OK);
    assert_int_equal(lab->step.was, JOB_DEAD);
    assert_int_equal(lab->step.state, JOB_READY);
    lab_get(lab, id);
    assert_slice(lab->get.view.spec.payload, "{\"to\":\"somebody much longer than before\"}");
    assert_slice(lab->get.view.spec.type, "email.send");
    assert_int_equal(lab->get.view.status.attempt, 0);
    assert_int_equal(lab->get.attempt_count, 1); /* history stays */
    job = lab_lease(lab, "q", 1);
    assert_int_equal(job->attempt, 1);
    assert_int_equal(lab_ack(lab, id, job->token, ""), MQ_OK);
    lab_get(lab, id);
    assert_int_equal(lab->get.attempt_count, 2);
    assert_int_equal(lab->next_old, lab->now + KEEP_DEFAULT_MS);
    lab_close(lab);
}

static void an_expired_job_brought_back_does_not_expire_again(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.expires_at = lab->now + 10;
    lab_push_op(lab, &push);
    lab->now += 10;
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab_step(lab, STORE_RETRY, push.id), MQ_OK);
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab_lease(lab, "q", 1)->id, push.id);
    lab_close(lab);
}

/* The state a job is brought into before the step; the code the step then answers. */
static const struct step_case {
    enum job_state from;
    enum store_verb verb;
    enum mq_code code;
    enum job_state to;
} step_cases[] = {
    {JOB_SCHEDULED, STORE_CANCEL, MQ_OK, JOB_CANCELLED},
    {JOB_SCHEDULED, STORE_PROMOTE, MQ_OK, JOB_READY},
    {JOB_SCHEDULED, STORE_RETRY, MQ_WRONGSTATE, JOB_SCHEDULED},
    {JOB_SCHEDULED, STORE_DELETE, MQ_OK, JOB_NONE},
    {JOB_SCHEDULED, STORE_EDIT, MQ_OK, JOB_SCHEDULED},
    {JOB_READY, STORE_CANCEL, MQ_OK, JOB_CANCELLED},
    {JOB_READY, STORE_PROMOTE, MQ_WRONGSTATE, JOB_READY},
    {JOB_READY, STORE_RETRY, MQ_WRONGSTATE, JOB_READY},
    {JOB_READY, STORE_DELETE, MQ_OK, JOB_NONE},
    {JOB_READY, STORE_EDIT, MQ_OK, JOB_READY},
    {JOB_RUNNING, STORE_CANCEL, MQ_OK, JOB_RUNNING}, /* its holder is told */
    {JOB_RUNNING, STORE_PROMOTE, MQ_WRONGSTATE, JOB_RUNNING},
    {JOB_RUNNING, STORE_RETRY, MQ_WRONGSTATE, JOB_RUNNING},
    {JOB_RUNNING, STORE_DELETE, MQ_WRONGSTATE, JOB_RUNNING},
    {JOB_RUNNING, STORE_EDIT, MQ_WRONGSTATE, JOB_RUNNING},
    {JOB_RETRYING, STORE_CANCEL, MQ_OK, JOB_CANCELLED},
    {JOB_RETRYING, STORE_PROMOTE, MQ_OK, JOB_READY},
    {JOB_RETRYING, STORE_RETRY, MQ_OK, JOB_READY},
    {JOB_RETRYING, STORE_DELETE, MQ_OK, JOB_NONE},
    {JOB_RETRYING, STORE_EDIT, MQ_OK, JOB_RETRYING},
    {JOB_SUCCEEDED, STORE_CANCEL, MQ_WRONGSTATE, JOB_SUCCEEDED},
    {JOB_SUCCEEDED, STORE_RETRY, MQ_OK, JOB_READY},
    {JOB_SUCCEEDED, STORE_DELETE, MQ_OK, JOB_NONE},
    {JOB_SUCCEEDED, STORE_EDIT, MQ_WRONGSTATE, JOB_SUCCEEDED},
    {JOB_DEAD, STORE_CANCEL, MQ_WRONGSTATE, JOB_DEAD},
    {JOB_DEAD, STORE_PROMOTE, MQ_WRONGSTATE, JOB_DEAD},
    {JOB_DEAD, STORE_RETRY, MQ_OK, JOB_READY},
    {JOB_DEAD, STORE_DELETE, MQ_OK, JOB_NONE},
    {JOB_DEAD, STORE_EDIT, MQ_OK, JOB_DEAD},
    {JOB_CANCELLED, STORE_CANCEL, MQ_WRONGSTATE, JOB_CANCELLED},
    {JOB_CANCELLED, STORE_RETRY, MQ_OK, JOB_READY},
    {JOB_CANCELLED, STORE_DELETE, MQ_OK, JOB_NONE},
};

static job_id bring_into(struct lab *lab, enum job_state state)
{
    struct op_push push = lab_order(lab, "q", "x");
    push.run_at = state == JOB_SCHEDULED ? lab->now + 1000 : 0;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    if (state == JOB_SCHEDULED || state == JOB_READY)
        return push.id;
    if (state == JOB_CANCELLED) {
        lab_step(lab, STORE_CANCEL, push.id);
        return push.id;
    }
    struct leased_job *job = lab_lease(lab, "q", 1);
    assert_int_equal(job->id, push.id);
    if (state == JOB_RETRYING)
        lab_fail(lab, push.id, job->token, FAIL_RETRY, lab->now + 1000);
    else if (state == JOB_DEAD)
        lab_fail(lab, push.id, job->token, FAIL_DEAD, 0);
    else if (state == JOB_SUCCEEDED)
        lab_ack(lab, push.id, job->token, "");
    return push.id;
}

static void what_is_taken_back_is_ready_again_uncharged_and_its_holder_has_lost_it(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    uint64_t token = lab_lease_as(lab, "q", 1, false)->token;
    LAB_OP(lab, step, STORE_TAKE_BACK);
    lab->step.id = id;
    lab->step.op.want_names = lab->step.want_holder = true;
    lab->step.reason = SLICE("released by ana: it hangs");
    assert_int_equal(lab_run(lab, &lab->step.op), MQ_OK);
    assert_int_equal(lab->step.was, JOB_RUNNING);
    assert_int_equal(lab->step.state, JOB_READY);
    assert_int_equal(lab->step.holds, token);
    assert_int_equal(lab->step.attempt, 1);
    assert_slice(lab->step.holder, "w1");
    assert_slice(lab->step.op.type, "email.send");
    assert_int_equal(lab_ack(lab, id, token, ""), MQ_LOST);
    assert_int_equal(lab_get(lab, id), MQ_OK);
    assert_int_equal(lab->get.view.status.attempt, 0);
    assert_int_equal(lab->get.attempt_count, 1);
    assert_int_equal(lab->get.attempts[0].outcome, STEP_GIVE_BACK);
    assert_slice(lab->get.attempts[0].message, "released by ana: it hangs");
    struct leased_job *again = lab_lease(lab, "q", 1);
    assert_int_equal(again->attempt, 1);
    assert_true(again->token > token);
    /* asked to stop before: then that is its end */
    assert_int_equal(lab_step(lab, STORE_CANCEL, id), MQ_OK);
    assert_int_equal(lab_step(lab, STORE_TAKE_BACK, id), MQ_OK);
    assert_int_equal(lab->step.state, JOB_CANCELLED);
    assert_int_equal(lab_step(lab, STORE_TAKE_BACK, id), MQ_WRONGSTATE);
    lab_close(lab);
}

static void all_that_a_holder_has_is_taken_back_and_nothing_of_others(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id ids[6];
    for (int i = 0; i < 6; i++)
        ids[i] = lab_push(lab, i < 3 ? "a" : "b", "x");
    lab_lease(lab, "a", 3);
    struct slice queue = SLICE("b");
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = &queue;
    lab->lease.queue_count = 1;
    lab->lease.max = 3;
    lab->lease.holder = SLICE("w2");
    assert_int_equal(lab_run(lab, &lab->lease.op), MQ_OK);
    uint64_t first = lab->lease.jobs[0].token;
    lab_step(lab, STORE_CANCEL, ids[4]);
    LAB_OP(lab, many, STORE_MANY);
    lab->many.step = STORE_TAKE_BACK;
    lab->many.filter.states = 1u << JOB_RUNNING;
    lab->many.filter.holder = SLICE("w2");
    lab->many.reason = SLICE("released by ana");
    lab->many.since = lab->now + 1;
    lab->many.limit = 100;
    assert_int_equal(lab_run(lab, &lab->many.op), MQ_OK);
    assert_true(lab->many.finished);
    assert_int_equal(lab->many.touched_count, 3);
    assert_int_equal(lab->many.touched[0], ids[3]);
    assert_int_equal(lab->many.holds[0], first);
    assert_int_equal(lab->many.states[0], JOB_READY);
    assert_int_equal(lab->many.touched[1], ids[4]);
    assert_int_equal(lab->many.states[1], JOB_CANCELLED);
    for (int i = 0; i < 6; i++)
        assert_int_equal(lab_state(lab, ids[i]), i < 3 ? JOB_RUNNING : i == 4 ? JOB_CANCELLED : JOB_READY);
    lab_close(lab);
}

static void each_step_is_allowed_or_refused_by_the_state(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (size_t i = 0; i < sizeof step_cases / sizeof *step_cases; i++) {
        const struct step_case *row = &step_cases[i];
        job_id id = bring_into(lab, row->from);
        assert_int_equal(lab_state(lab, id), row->from);
        LAB_OP(lab, step, row->verb);
        lab->step.id = id;
        lab->step.payload = SLICE("new");
        assert_int_equal(lab_run(lab, &lab->step.op), row->code);
        assert_int_equal(lab_state(lab, id), row->to);
        if (row->code == MQ_WRONGSTATE)
            assert_non_null(strstr(lab->step.op.err.text, state_name(row->from)));
        if (row->verb == STORE_EDIT && row->code == MQ_OK)
            assert_slice(lab->get.view.spec.payload, "new");
        lab_step(lab, STORE_DELETE, id); /* out of the next row's way */
        if (row->to == JOB_RUNNING) {
            lab->now += LEASE_DEFAULT_MS;
            lab_sweep(lab, SWEEP_LEASES, 10);
            lab_step(lab, STORE_DELETE, id);
        }
    }
    const struct queue_view *queue = lab_queue(lab, "q");
    for (int s = JOB_BLOCKED; s <= JOB_RETRYING; s++)
        assert_int_equal(queue->counts.in_state[s], 0);
    lab_close(lab);
}

static void a_step_on_an_unknown_job_names_it(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    char text[JOB_ID_TEXT_BYTES];
    assert_int_equal(lab_step(lab, STORE_CANCEL, 12345), MQ_NOTFOUND);
    assert_non_null(strstr(lab->step.op.err.text, id_format(text, 12345)));
    assert_int_equal(lab_get(lab, 12345), MQ_NOTFOUND);
    lab_close(lab);
}

static void a_scheduled_job_can_be_given_another_time(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = bring_into(lab, JOB_SCHEDULED);
    LAB_OP(lab, step, STORE_PROMOTE);
    lab->step.id = id;
    lab->step.run_at = lab->now + 77;
    assert_int_equal(lab_run(lab, &lab->step.op), MQ_OK);
    assert_int_equal(lab->step.state, JOB_SCHEDULED);
    assert_int_equal(lab->next_due, lab->now + 77);
    lab_close(lab);
}

/* ---- sweeps ---- */

static void a_lease_that_ran_out_spends_the_attempt(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    for (int attempt = 1; attempt <= 3; attempt++) {
        assert_int_equal(lab_lease(lab, "q", 1)->attempt, attempt);
        lab->now += LEASE_DEFAULT_MS;
        LAB_OP(lab, sweep, STORE_SWEEP);
        lab->sweep.what = SWEEP_LEASES;
        lab->sweep.limit = 10;
        lab->sweep.op.want_names = true;
        assert_int_equal(lab_run(lab, &lab->sweep.op), MQ_OK);
        assert_int_equal(lab->sweep.count, 1);
        assert_int_equal(lab->sweep.swept[0].state, attempt < 3 ? JOB_READY : JOB_DEAD);
        assert_int_equal(lab->sweep.swept[0].attempt, attempt);
        assert_slice(lab->sweep.swept[0].type, "email.send");
        assert_slice(lab->sweep.swept[0].queue, "q");
    }
    lab_get(lab, id);
    assert_int_equal(lab->get.attempt_count, 3);
    assert_int_equal(lab->get.attempts[0].outcome, STEP_LOST);
    assert_int_equal(lab_queue(lab, "q")->counts.lost, 3);
    lab_close(lab);
}

static void a_lost_job_that_was_cancelled_is_cancelled(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = bring_into(lab, JOB_RUNNING);
    lab_step(lab, STORE_CANCEL, id);
    lab->now += LEASE_DEFAULT_MS;
    lab_sweep(lab, SWEEP_LEASES, 10);
    assert_int_equal(lab->sweep.swept[0].state, JOB_CANCELLED);
    lab_close(lab);
}

static struct letter letters[10];

/* How many dead letters must go; in `letters`. */
static unsigned must_go(struct lab *lab, unsigned limit)
{
    lab_sweep(lab, SWEEP_DEAD, limit);
    for (unsigned i = 0; i < lab->sweep.count; i++) {
        assert_int_equal(lab->sweep.swept[i].state, JOB_DEAD);
        letters[i] = (struct letter){lab->sweep.swept[i].id, lab->sweep.swept[i].token};
    }
    return lab->sweep.count;
}

/* How many of `letters` went. */
static unsigned erase_letters(struct lab *lab, unsigned count)
{
    LAB_OP(lab, sweep, STORE_SWEEP);
    lab->sweep.what = SWEEP_DEAD;
    lab->sweep.letters = letters;
    lab->sweep.letter_count = count;
    assert_int_equal(lab_run(lab, &lab->sweep.op), MQ_OK);
    return lab->sweep.count;
}

static void dead_letters_go_after_dead_keep(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .readers = readers, .dead_keep_ms = 5000};
    struct lab *lab = lab_open_with(factory, &wishes);
    job_id id = bring_into(lab, JOB_DEAD);
    assert_int_equal(lab->next_dead, lab->now + 5000);
    lab->now += 4999;
    assert_int_equal(must_go(lab, 10), 0);
    lab->now += 1;
    assert_int_equal(must_go(lab, 10), 1);
    assert_int_equal(letters[0].id, id);
    assert_int_equal(lab_state(lab, id), JOB_DEAD);
    assert_int_equal(erase_letters(lab, 1), 1);
    assert_int_equal(lab_state(lab, id), JOB_NONE);
    assert_int_equal(lab->next_dead, WALL_NEVER);
    lab_close(lab);
}

static void beyond_their_number_the_oldest_dead_letters_go_first(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .readers = readers, .dead_max = 2};
    struct lab *lab = lab_open_with(factory, &wishes);
    job_id ids[4];
    for (int i = 0; i < 2; i++, lab->now++)
        ids[i] = bring_into(lab, JOB_DEAD);
    assert_int_equal(lab->dead_percent, 100);
    assert_int_equal(lab->next_dead, WALL_NEVER);
    for (int i = 2; i < 4; i++, lab->now++)
        ids[i] = bring_into(lab, JOB_DEAD);
    assert_int_equal(lab->dead_percent, 200);
    assert_int_equal(lab->next_dead, 0);
    assert_int_equal(must_go(lab, 1), 1);
    assert_int_equal(letters[0].id, ids[0]);
    assert_int_equal(must_go(lab, 10), 2);
    assert_int_equal(letters[0].id, ids[0]);
    assert_int_equal(letters[1].id, ids[1]);
    assert_int_equal(erase_letters(lab, 2), 2);
    assert_int_equal(lab_state(lab, ids[1]), JOB_NONE);
    assert_int_equal(lab_state(lab, ids[2]), JOB_DEAD);
    assert_int_equal(lab->next_dead, WALL_NEVER);
    lab_close(lab);
}

static void a_dead_letter_that_was_named_stays_if_it_need_not_go_any_more(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .readers = readers, .dead_max = 1};
    struct lab *lab = lab_open_with(factory, &wishes);
    job_id ids[3];
    for (int i = 0; i < 3; i++, lab->now++)
        ids[i] = bring_into(lab, JOB_DEAD);
    assert_int_equal(must_go(lab, 10), 2);
    lab_step(lab, STORE_RETRY, ids[0]); /* not dead any more */
    lab_step(lab, STORE_DELETE, ids[2]);
    assert_int_equal(erase_letters(lab, 2), 0); /* and the other is the only one */
    assert_int_equal(lab_state(lab, ids[0]), JOB_READY);
    assert_int_equal(lab_state(lab, ids[1]), JOB_DEAD);
    lab_close(lab);
}

static void a_dead_letter_that_died_again_is_not_the_one_that_was_named(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .readers = readers, .dead_max = 1};
    struct lab *lab = lab_open_with(factory, &wishes);
    job_id ids[2];
    for (int i = 0; i < 2; i++, lab->now++)
        ids[i] = bring_into(lab, JOB_DEAD);
    assert_int_equal(must_go(lab, 10), 1);
    lab_step(lab, STORE_RETRY, ids[0]);
    struct leased_job *job = lab_lease(lab, "q", 1);
    assert_int_equal(job->id, ids[0]);
    assert_int_equal(lab_fail(lab, ids[0], job->token, FAIL_DEAD, 0), MQ_OK);
    assert_int_equal(erase_letters(lab, 1), 0);
    assert_int_equal(lab_state(lab, ids[0]), JOB_DEAD);
    lab_close(lab);
}

/* One that succeeded and may stay for `keep_ms`. */
static job_id finish_one(struct lab *lab, int64_t keep_ms, const char *result)
{
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.keep_ms = keep_ms;
    lab_push_op(lab, &push);
    struct leased_job *job = lab_lease(lab, "q", 1);
    assert_int_equal(lab_ack(lab, push.id, job->token, result), MQ_OK);
    return push.id;
}

static void beyond_keep_max_the_finished_records_whose_keep_ends_first_go(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .readers = readers, .keep_max = 2};
    struct lab *lab = lab_open_with(factory, &wishes);
    job_id late = finish_one(lab, 9000, ""), early = finish_one(lab, 1000, "");
    assert_int_equal(lab->next_old, lab->now + 1000);
    lab_sweep(lab, SWEEP_OLD, 10);
    assert_int_equal(lab->sweep.count, 0);
    job_id between = finish_one(lab, 5000, "");
    assert_int_equal(lab->next_old, 0);
    lab_sweep(lab, SWEEP_OLD, 10);
    assert_int_equal(lab->sweep.count, 1);
    assert_int_equal(lab->sweep.evicted, 1);
    assert_int_equal(lab->sweep.swept[0].id, early);
    assert_false(lab->sweep.more);
    assert_int_equal(lab->next_old, lab->now + 5000);
    assert_int_equal(lab_state(lab, late), JOB_SUCCEEDED);
    assert_int_equal(lab_state(lab, between), JOB_SUCCEEDED);
    lab_close(lab);
}

static void chunks_of_what_is_too_much_go_on_until_it_is_not(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .readers = readers};
    struct lab *lab = lab_open_with(factory, &wishes);
    for (int i = 0; i < 10; i++)
        finish_one(lab, 9000 + i, "");
    lab->settings.keep_max = 3;
    store_configure(lab->store, &lab->settings);
    for (int left = 10; left > 3; left -= left > 5 ? 2 : left - 3) {
        lab_sweep(lab, SWEEP_OLD, 2);
        assert_int_equal(lab->sweep.count, left > 4 ? 2 : 1);
        assert_int_equal(lab->sweep.more, left > 5);
    }
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_SUCCEEDED], 3);
    lab_close(lab);
}

static uint64_t finished_bytes(struct lab *lab)
{
    LAB_OP(lab, stats, STORE_STATS);
    assert_int_equal(lab_run(lab, &lab->stats.op), MQ_OK);
    return lab->stats.finished_bytes;
}

static void beyond_keep_bytes_finished_records_go_by_what_they_take(void **state)
{
    (void)state;
    static char result[20001];
    struct store_settings wishes = {.nosync = true, .readers = readers, .keep_bytes = 50000};
    struct lab *lab = lab_open_with(factory, &wishes);
    memset(result, 'r', sizeof result - 1);
    job_id first = finish_one(lab, 1000, result), second = finish_one(lab, 2000, result);
    uint64_t bytes = finished_bytes(lab);
    assert_true(bytes > 40000 && bytes < 42000);
    assert_int_equal(lab->next_old, lab->now + 1000);
    finish_one(lab, 3000, result);
    assert_int_equal(lab->next_old, 0);
    lab_sweep(lab, SWEEP_OLD, 10);
    assert_int_equal(lab->sweep.evicted, 1);
    assert_int_equal(lab_state(lab, first), JOB_NONE);
    assert_int_equal(lab_state(lab, second), JOB_SUCCEEDED);
    assert_int_equal(finished_bytes(lab), bytes);
    lab_reopen(lab);
    assert_int_equal(finished_bytes(lab), bytes);
    lab->now += 9000;
    lab_sweep(lab, SWEEP_OLD, 10);
    assert_int_equal(finished_bytes(lab), 0);
    lab_close(lab);
}

static void an_edited_dead_letter_is_counted_as_long_as_it_is_now(void **state)
{
    (void)state;
    static char payload[30001];
    struct store_settings wishes = {.nosync = true, .readers = readers, .dead_bytes = 50000};
    struct lab *lab = lab_open_with(factory, &wishes);
    memset(payload, 'p', sizeof payload - 1);
    job_id id = bring_into(lab, JOB_DEAD);
    unsigned before = lab->dead_percent;
    assert_true(before < 10);
    LAB_OP(lab, step, STORE_EDIT);
    lab->step.id = id;
    lab->step.payload = slice_of(payload);
    assert_int_equal(lab_run(lab, &lab->step.op), MQ_OK);
    assert_true(lab->dead_percent >= 60);
    lab_step(lab, STORE_RETRY, id);
    assert_int_equal(lab->dead_percent, 0);
    lab_close(lab);
}

static void a_hundred_thousand_jobs_due_at_the_same_moment_all_become_ready(void **state)
{
    (void)state;
    enum {
        JOBS = 100000
    };
    struct lab *lab = open_lab();
    struct op_push *pushes = calloc(JOBS, sizeof *pushes);
    struct store_op **ops = calloc(JOBS, sizeof *ops);
    for (int i = 0; i < JOBS; i++) {
        pushes[i] = lab_order(lab, "q", "x");
        pushes[i].run_at = T0 + 1000;
        ops[i] = &pushes[i].op;
    }
    run_together(lab, ops, JOBS);
    lab->now = T0 + 1000;
    int swept = 0, chunks = 0;
    do {
        lab_sweep(lab, SWEEP_DUE, 1000);
        swept += (int)lab->sweep.count;
        chunks++;
    } while (lab->sweep.more);
    assert_int_equal(swept, JOBS);
    assert_int_equal(chunks, 100);
    struct leased_job *jobs = lab_lease(lab, "q", JOBS + 1);
    assert_int_equal(lab->lease.count, JOBS);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(jobs[i].id, pushes[i].id); /* and in the order of their push */
    free(pushes);
    free(ops);
    lab_close(lab);
}

/* ---- parking ---- */

static void a_parked_job_is_passed_over_by_workers_until_unparked(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id id = lab_push(lab, "q", "x");
    struct leased_job *job = lab_lease(lab, "q", 1);
    uint64_t token = job->token;
    LAB_OP(lab, step, STORE_PARK);
    lab->step.id = id;
    lab->step.token = token + 1;
    assert_int_equal(lab_run(lab, &lab->step.op), MQ_LOST);
    lab->step.token = token;
    assert_int_equal(lab_run(lab, &lab->step.op), MQ_OK);
    assert_int_equal(lab_state(lab, id), JOB_READY);
    assert_int_equal(lab->get.view.status.attempt, 0); /* not charged */
    assert_null(lab_lease(lab, "q", 1));
    assert_int_equal(lab_lease_as(lab, "q", 1, false)->id, id); /* a client may know the type */
    lab_release(lab, id, lab->lease.jobs[0].token, RELEASE_GIVE_BACK, 0);
    job = lab_lease(lab, "q", 1);
    LAB_OP(lab, step, STORE_PARK);
    lab->step.id = id;
    lab->step.token = job->token;
    lab_run(lab, &lab->step.op);

    struct slice types[] = {SLICE("other"), SLICE("email.send")};
    struct op_unpark unpark = {.types = types, .type_count = 1, .limit = 10};
    store_op_init(&unpark.op, STORE_UNPARK, lab->now);
    assert_int_equal(lab_run(lab, &unpark.op), MQ_OK);
    assert_int_equal(unpark.count, 0);
    assert_int_equal(unpark.next, 0);
    unpark.type_count = 2;
    assert_int_equal(lab_run(lab, &unpark.op), MQ_OK);
    assert_int_equal(unpark.count, 1);
    assert_int_equal(lab_lease(lab, "q", 1)->id, id);
    lab_close(lab);
}

static void a_parked_job_that_nobody_began_expires(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push push = lab_order(lab, "q", "x"), tried = lab_order(lab, "r", "y");
    push.spec.expires_at = tried.spec.expires_at = lab->now + 100;
    lab_push_op(lab, &push);
    lab_push_op(lab, &tried);
    struct leased_job *job = lab_lease(lab, "r", 1);
    lab_release(lab, job->id, job->token, RELEASE_CRASHED, lab->now);
    lab->now += 50;
    lab_sweep(lab, SWEEP_DUE, 10);
    for (int i = 0; i < 2; i++) {
        job = lab_lease(lab, i ? "r" : "q", 1);
        LAB_OP(lab, step, STORE_PARK);
        lab->step.id = job->id;
        lab->step.token = job->token;
        assert_int_equal(lab_run(lab, &lab->step.op), MQ_OK);
    }
    assert_int_equal(lab->next_due, push.spec.expires_at);
    lab->now += 1000;
    assert_int_equal(lab_lease_as(lab, "r", 1, false)->id, tried.id);
    lab_sweep(lab, SWEEP_DUE, 10);
    assert_int_equal(lab->sweep.count, 1);
    assert_int_equal(lab_state(lab, push.id), JOB_EXPIRED);
    assert_null(lab_lease_as(lab, "q", 1, false));
    assert_int_equal(lab_queue(lab, "q")->counts.expired, 1);
    lab_close(lab);
}

static void a_step_that_is_refused_names_those_that_are_not(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct mq_err *err = &lab->step.op.err;
    job_id id = lab_push(lab, "q", "x");
    LAB_OP(lab, step, STORE_RETRY);
    lab->step.id = id;
    assert_int_equal(lab_run(lab, &lab->step.op), MQ_WRONGSTATE);
    assert_non_null(
        strstr(err->text, "is ready: RETRY is not possible (CANCEL, DELETE, RESCHEDULE, EDIT would be)"));
    lab_lease(lab, "q", 1);
    LAB_OP(lab, step, STORE_DELETE);
    lab->step.id = id;
    assert_int_equal(lab_run(lab, &lab->step.op), MQ_WRONGSTATE);
    assert_non_null(strstr(err->text, "is running: DELETE is not possible (CANCEL, RELEASE would be)"));
    lab_close(lab);
}

static void unparking_goes_on_where_it_stopped(void **state)
{
    (void)state;
    enum {
        JOBS = 25
    };
    struct lab *lab = open_lab();
    struct slice type = SLICE("email.send");
    uint64_t tokens[JOBS];
    job_id ids[JOBS];
    for (int i = 0; i < JOBS; i++) {
        struct op_push push = lab_order(lab, i % 2 ? "a" : "b", "x");
        push.spec.priority = (uint8_t)(i % 3);
        push.spec.type = i % 5 ? SLICE("email.send") : SLICE("unknown");
        lab_push_op(lab, &push);
        ids[i] = push.id;
        tokens[i] = lab_lease(lab, i % 2 ? "a" : "b", 1)->token;
    }
    for (int i = 0; i < JOBS; i++) {
        LAB_OP(lab, step, STORE_PARK);
        lab->step.id = ids[i];
        lab->step.token = tokens[i];
        assert_int_equal(lab_run(lab, &lab->step.op), MQ_OK);
    }
    struct op_unpark unpark = {.types = &type, .type_count = 1, .limit = 4};
    unsigned count = 0, chunks = 0;
    store_op_init(&unpark.op, STORE_UNPARK, lab->now);
    do {
        unpark.from = unpark.next;
        lab_run(lab, &unpark.op);
        count += unpark.count;
        assert_true(++chunks < 20);
    } while (unpark.next);
    assert_int_equal(count, 20);
    lab_lease(lab, "a", 100);
    unsigned leased = lab->lease.count;
    lab_lease(lab, "b", 100);
    assert_int_equal(leased + lab->lease.count, 20);
    lab_close(lab);
}

/* ---- recovery ---- */

static void after_a_restart_workers_jobs_go_back_and_only_suspects_are_charged(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id ids[5];
    for (int i = 0; i < 5; i++)
        ids[i] = lab_push(lab, "q", "x");
    lab_lease(lab, "q", 4);
    lab_lease_as(lab, "q", 1, false); /* a client's lease outlives the server */
    lab_reopen(lab);
    struct op_recover recover = {
        .suspects = &ids[1], .suspect_count = 1, .message = SLICE("the server was killed"), .limit = 3};
    recover.run_at = lab->now + 10;
    store_op_init(&recover.op, STORE_RECOVER, lab->now);
    unsigned back = 0, charged = 0, chunks = 0;
    do {
        assert_int_equal(lab_run(lab, &recover.op), MQ_OK);
        back += recover.given_back;
        charged += recover.charged;
        chunks++;
    } while (recover.more);
    assert_int_equal(back, 3);
    assert_int_equal(charged, 1);
    assert_int_equal(chunks, 2);
    assert_int_equal(lab_state(lab, ids[0]), JOB_READY);
    assert_int_equal(lab->get.view.status.attempt, 0);
    assert_int_equal(lab_state(lab, ids[1]), JOB_RETRYING);
    assert_int_equal(lab->get.view.status.crashes, 1);
    assert_int_equal(lab_state(lab, ids[4]), JOB_RUNNING);
    lab_close(lab);
}

/* ---- groups ---- */

static void a_group_is_all_or_none(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id dead = bring_into(lab, JOB_DEAD);
    lab_change_queue(lab, "small", QUEUE_KEEP, 2);
    struct op_push a = lab_order(lab, "small", "a"), b = lab_order(lab, "brand-new", "b"),
                   c = lab_order(lab, "small", "c"), d = lab_order(lab, "small", "d");
    struct op_step retry = {.id = dead};
    store_op_init(&retry.op, STORE_RETRY, lab->now);
    struct store_op *members[] = {&a.op, &retry.op, &b.op, &c.op, &d.op};
    struct op_group group = {.members = members, .count = 5};
    store_op_init(&group.op, STORE_GROUP, lab->now);
    assert_int_equal(lab_run(lab, &group.op), MQ_FULL);
    assert_int_equal(group.failed, 4);
    assert_non_null(strstr(group.op.err.text, "small"));
    assert_int_equal(lab_state(lab, dead), JOB_DEAD);
    assert_int_equal(lab_queue(lab, "small")->counts.in_state[JOB_READY], 0);
    assert_null(lab_queue(lab, "brand-new"));
    group.count = 4;
    assert_int_equal(lab_run(lab, &group.op), MQ_OK);
    assert_int_equal(lab_state(lab, dead), JOB_READY);
    assert_int_equal(lab_state(lab, a.id), JOB_READY);
    assert_int_equal(lab_state(lab, c.id), JOB_READY);
    assert_int_equal(lab_queue(lab, "brand-new")->counts.in_state[JOB_READY], 1);
    for (unsigned i = 0; i < 5; i++)
        store_op_release(members[i]);
    lab_close(lab);
}

static void a_refused_group_leaves_its_batch_mates_alone(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id dead = bring_into(lab, JOB_DEAD);
    struct op_push before = lab_order(lab, "m", "1"), inside = lab_order(lab, "m", "2"),
                   after = lab_order(lab, "m", "3");
    struct op_step good = {.id = dead}, bad = {.id = 99};
    store_op_init(&good.op, STORE_RETRY, lab->now);
    store_op_init(&bad.op, STORE_DELETE, lab->now);
    struct store_op *members[] = {&good.op, &inside.op, &bad.op};
    struct op_group first = {.members = members, .count = 2}, second = {.members = members, .count = 3};
    store_op_init(&first.op, STORE_GROUP, lab->now);
    store_op_init(&second.op, STORE_GROUP, lab->now);
    struct slice name = SLICE("m");
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = &name;
    lab->lease.queue_count = 1;
    lab->lease.max = 10;
    lab->lease.holder = SLICE("w1");
    /* the second group is refused; the counters that it touched are those of the batch before it */
    struct store_op *ops[] = {&before.op, &second.op, &after.op, &lab->lease.op};
    run_together(lab, ops, 4);
    assert_int_equal(second.op.code, MQ_NOTFOUND);
    assert_int_equal(second.failed, 2);
    assert_int_equal(lab->lease.count, 2);
    assert_int_equal(lab->lease.jobs[0].id, before.id);
    assert_int_equal(lab->lease.jobs[1].id, after.id);
    assert_int_equal(lab_state(lab, dead), JOB_DEAD);
    const struct queue_view *queue = lab_queue(lab, "m");
    assert_int_equal(queue->counts.in_state[JOB_READY], 0);
    assert_int_equal(queue->counts.in_state[JOB_RUNNING], 2);
    assert_int_equal(queue->counts.pushed, 2);
    assert_int_equal(lab_run(lab, &first.op), MQ_OK);
    assert_int_equal(lab_queue(lab, "m")->counts.pushed, 3);
    for (unsigned i = 0; i < 3; i++)
        store_op_release(members[i]);
    lab_close(lab);
}

static void the_pushes_of_a_group_are_handed_out_in_the_same_commit(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push a = lab_order(lab, "q", "1"), b = lab_order(lab, "q", "2");
    struct store_op *members[] = {&a.op, &b.op};
    struct op_group group = {.members = members, .count = 2};
    struct slice name = SLICE("q");
    store_op_init(&group.op, STORE_GROUP, lab->now);
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = &name;
    lab->lease.queue_count = 1;
    lab->lease.max = 10;
    lab->lease.holder = SLICE("w1");
    struct store_op *ops[] = {&lab->lease.op, &group.op};
    run_together(lab, ops, 2);
    assert_int_equal(lab->lease.count, 2);
    assert_int_equal(lab->lease.jobs[1].id, b.id);
    lab_close(lab);
}

/* ---- lists and bulk steps ---- */

static unsigned list_page(struct lab *lab, struct job_filter filter, unsigned limit, unsigned budget,
                          bool newest)
{
    static char cursor[256];
    size_t len = lab->list.next_cursor.len;
    if (len)
        memcpy(cursor, lab->list.next_cursor.at, len);
    LAB_OP(lab, list, STORE_LIST);
    lab->list.filter = filter;
    lab->list.limit = limit;
    lab->list.budget = budget;
    lab->list.newest_first = newest;
    lab->list.cursor = (struct slice){cursor, len};
    if (lab_run(lab, &lab->list.op) != MQ_OK)
        fail_msg("list: %s", lab->list.op.err.text);
    return lab->list.count;
}

/* All pages of a listing; the ids go to `ids`. */
static unsigned list_all(struct lab *lab, struct job_filter filter, unsigned limit, unsigned budget,
                         bool newest, job_id *ids, unsigned room)
{
    unsigned count = 0, pages = 0;
    lab->list.next_cursor = SLICE_EMPTY;
    do {
        list_page(lab, filter, limit, budget, newest);
        for (unsigned i = 0; i < lab->list.count && count < room; i++)
            ids[count++] = lab->list.jobs[i].id;
        assert_true(++pages < 10000);
    } while (lab->list.next_cursor.len);
    return count;
}

#define ANY ((struct job_filter){.queue = SLICE_EMPTY, .type = SLICE_EMPTY, .tag = SLICE_EMPTY})

static void listings_filter_and_page_in_both_directions(void **state)
{
    (void)state;
    enum {
        JOBS = 60
    };
    struct lab *lab = open_lab();
    job_id ids[JOBS], got[JOBS + 1];
    for (int i = 0; i < JOBS; i++) {
        struct op_push push = lab_order(lab, i % 3 ? "a" : "b", "x");
        push.spec.type = i % 4 ? SLICE("t.one") : SLICE("t.two");
        push.spec.tags = i % 5 ? SLICE("x\nred\n") : SLICE("redder\n");
        push.run_at = i % 2 ? lab->now + 1000 + i : 0;
        lab_push_op(lab, &push);
        ids[i] = push.id;
        lab->now++;
    }
    struct job_filter filter = ANY;
    static const unsigned limits[] = {1, 7, 100}, budgets[] = {1, 5, 1000};
    for (int l = 0; l < 3; l++)
        for (int b = 0; b < 3; b++)
            for (int newest = 0; newest < 2; newest++) {
                assert_int_equal(list_all(lab, ANY, limits[l], budgets[b], newest, got, JOBS + 1), JOBS);
                for (int i = 0; i < JOBS; i++)
                    assert_int_equal(got[i], ids[newest ? JOBS - 1 - i : i]);
                filter = ANY;
                filter.states = 1 << JOB_READY;
                assert_int_equal(list_all(lab, filter, limits[l], budgets[b], newest, got, JOBS + 1), 30);
                filter.queue = SLICE("b");
                assert_int_equal(list_all(lab, filter, limits[l], budgets[b], newest, got, JOBS + 1), 10);
                for (int i = 0; i < 9; i++)
                    assert_true(newest ? got[i] > got[i + 1] : got[i] < got[i + 1]);
                filter = ANY;
                filter.states = 1 << JOB_SCHEDULED;
                filter.type = SLICE("t.one");
                assert_int_equal(list_all(lab, filter, limits[l], budgets[b], newest, got, JOBS + 1), 30);
                filter = ANY;
                filter.tag = SLICE("red");
                assert_int_equal(list_all(lab, filter, limits[l], budgets[b], newest, got, JOBS + 1), 48);
                filter = ANY;
                filter.after = T0 + 10;
                filter.before = T0 + 20;
                assert_int_equal(list_all(lab, filter, limits[l], budgets[b], newest, got, JOBS + 1), 10);
                filter = ANY;
                filter.queue = SLICE("nobody");
                assert_int_equal(list_all(lab, filter, limits[l], budgets[b], newest, got, JOBS + 1), 0);
            }
    lab_close(lab);
}

static void each_state_has_its_listing(void **state)
{
    (void)state;
    static const enum job_state states[] = {JOB_READY,     JOB_SCHEDULED, JOB_RETRYING,
                                            JOB_SUCCEEDED, JOB_DEAD,      JOB_CANCELLED};
    struct lab *lab = open_lab();
    job_id ids[JOB_STATES], got[2];
    for (int i = 5; i >= 0; i--) /* ready last: the others are leased on their way */
        ids[states[i]] = bring_into(lab, states[i]);
    for (int i = 0; i < 6; i++) {
        struct job_filter filter = ANY;
        filter.states = 1u << states[i];
        assert_int_equal(list_all(lab, filter, 10, 100, false, got, 2), 1);
        assert_int_equal(got[0], ids[states[i]]);
        assert_int_equal(lab->list.jobs[0].status.state, states[i]);
    }
    struct leased_job *job = lab_lease(lab, "q", 1);
    struct job_filter filter = ANY;
    filter.states = 1 << JOB_RUNNING;
    assert_int_equal(list_all(lab, filter, 10, 100, true, got, 2), 1);
    assert_int_equal(got[0], job->id);
    lab_close(lab);
}

static void a_cursor_of_another_listing_is_refused(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (int i = 0; i < 3; i++)
        lab_push(lab, "q", "x");
    char cursor[256];
    lab->list.next_cursor = SLICE_EMPTY;
    list_page(lab, ANY, 1, 0, false);
    size_t len = lab->list.next_cursor.len;
    memcpy(cursor, lab->list.next_cursor.at, len);
    static const struct {
        const char *text;
        bool newest;
    } bad[] = {{"xyz", false}, {"00", false}, {"01030000000000", false}, {NULL, true}};
    for (int i = 0; i < 4; i++) {
        LAB_OP(lab, list, STORE_LIST);
        lab->list.filter = ANY;
        lab->list.limit = 1;
        lab->list.newest_first = bad[i].newest;
        lab->list.cursor = bad[i].text ? slice_of(bad[i].text) : (struct slice){cursor, len};
        assert_int_equal(lab_run(lab, &lab->list.op), MQ_BADARG);
    }
    lab_close(lab);
}

static unsigned run_many(struct lab *lab, enum store_verb step, struct job_filter filter, wall_ms since,
                         unsigned limit)
{
    char cursor[256];
    size_t len = 0;
    unsigned touched = 0, chunks = 0;
    do {
        LAB_OP(lab, many, STORE_MANY);
        lab->many.step = step;
        lab->many.filter = filter;
        lab->many.since = since;
        lab->many.limit = limit;
        lab->many.cursor = (struct slice){cursor, len};
        if (lab_run(lab, &lab->many.op) != MQ_OK)
            fail_msg("many: %s", lab->many.op.err.text);
        assert_true(lab->many.looked_at <= limit);
        touched += lab->many.touched_count;
        len = lab->many.next_cursor.len;
        if (len)
            memcpy(cursor, lab->many.next_cursor.at, len);
        assert_true(++chunks < 10000);
    } while (!lab->many.finished);
    return touched;
}

static void retrying_all_dead_touches_only_what_was_dead_at_that_moment(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (int i = 0; i < 20; i++)
        bring_into(lab, JOB_DEAD);
    lab->now += 10;
    wall_ms since = lab->now;
    job_id late = bring_into(lab, JOB_DEAD); /* dead at `since`, not before it */
    struct job_filter filter = ANY;
    filter.states = 1 << JOB_DEAD;
    assert_int_equal(run_many(lab, STORE_RETRY, filter, since, 7), 20);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 20);
    assert_int_equal(lab_state(lab, late), JOB_DEAD);
    assert_int_equal(run_many(lab, STORE_RETRY, filter, since, 7), 0);
    lab_close(lab);
}

/* What was there when it began ends, though its time came, or somebody took it, before it was met. */
static void cancelling_all_touches_what_was_pushed_before_that_moment(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push later = lab_order(lab, "q", "later");
    later.run_at = lab->now + 5;
    assert_int_equal(lab_push_op(lab, &later), MQ_OK);
    lab_push(lab, "q", "now");
    lab->now += 10;
    wall_ms since = lab->now;
    assert_int_equal(lab_sweep(lab, SWEEP_DUE, 10), MQ_OK);
    lab_lease(lab, "q", 1);
    job_id after = lab_push(lab, "q", "after");
    assert_int_equal(run_many(lab, STORE_CANCEL, ANY, since, 7), 2);
    assert_int_equal(lab_state(lab, after), JOB_READY);
    lab_close(lab);
}

static void a_lease_that_meets_many_that_have_expired_ends_early(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (int i = 0; i < 5; i++) {
        struct op_push push = lab_order(lab, "q", "x");
        push.spec.expires_at = lab->now + 10;
        assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    }
    job_id last = lab_push(lab, "q", "y");
    lab->now += 20;
    struct slice name = SLICE("q");
    unsigned expired = 0, rounds = 0;
    do {
        LAB_OP(lab, lease, STORE_LEASE);
        lab->lease.queues = &name;
        lab->lease.queue_count = 1;
        lab->lease.max = 10;
        lab->lease.hold_max = 2;
        lab->lease.holder = SLICE("w1");
        assert_int_equal(lab_run(lab, &lab->lease.op), MQ_OK);
        assert_true(lab->lease.expired_count <= 2);
        expired += lab->lease.expired_count;
        rounds++;
    } while (lab->lease.more && !lab->lease.count);
    assert_int_equal(expired, 5);
    assert_int_equal(rounds, 3);
    assert_int_equal(lab->lease.count, 1);
    assert_true(lab->lease.jobs[0].id == last);
    lab_close(lab);
}

static void an_operation_on_many_jobs_answers_their_names_if_asked(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct op_push late = lab_order(lab, "slow", "x");
    late.spec.type = SLICE("late");
    late.spec.expires_at = lab->now + 10;
    lab_push_op(lab, &late);
    lab_push(lab, "slow", "y");
    lab->now += 10;
    struct slice queue = SLICE("slow"), type, of;
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.op.want_names = true;
    lab->lease.queues = &queue;
    lab->lease.queue_count = 1;
    lab->lease.max = 5;
    lab->lease.holder = SLICE("w1");
    assert_int_equal(lab_run(lab, &lab->lease.op), MQ_OK);
    assert_int_equal(lab->lease.count, 1);
    assert_int_equal(lab->lease.expired_count, 1);
    struct slice names = lab->lease.expired_names;
    store_names_next(&names, &type, &of);
    assert_true(slice_equal(type, SLICE("late")) && slice_equal(of, queue) && names.len == 0);

    for (int i = 0; i < 3; i++) {
        struct op_push push = lab_order(lab, i ? "q" : "other", "x");
        push.spec.type = i ? SLICE("report.monthly") : SLICE("a");
        lab_push_op(lab, &push);
    }
    lab->now++;
    for (int wanted = 1; wanted >= 0; wanted--) {
        LAB_OP(lab, many, STORE_MANY);
        lab->many.op.want_names = wanted;
        lab->many.step = wanted ? STORE_CANCEL : STORE_DELETE;
        lab->many.filter = ANY;
        lab->many.filter.states = wanted ? 1 << JOB_READY : 1 << JOB_CANCELLED;
        lab->many.since = lab->now;
        lab->many.limit = 10;
        assert_int_equal(lab_run(lab, &lab->many.op), MQ_OK);
        assert_int_equal(lab->many.touched_count, 3);
        names = lab->many.names;
        for (int i = 0; i < 3; i++) {
            store_names_next(&names, &type, &of);
            assert_int_equal(type.len, !wanted ? 0 : slice_equal(of, SLICE("q")) ? 14 : 1);
        }
        assert_int_equal(names.len, 0);
        lab->now++;
    }
    lab_close(lab);
}

static void a_bulk_cancel_signals_what_runs(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    job_id running = bring_into(lab, JOB_RUNNING);
    uint64_t token = lab->lease.jobs[0].token;
    bring_into(lab, JOB_SCHEDULED);
    bring_into(lab, JOB_READY);
    lab->now++;
    struct job_filter filter = ANY;
    filter.queue = SLICE("q");
    assert_int_equal(run_many(lab, STORE_CANCEL, filter, lab->now, 100), 3);
    unsigned signalled = 0;
    for (unsigned i = 0; i < lab->many.touched_count; i++)
        if (lab->many.holds[i]) {
            signalled++;
            assert_int_equal(lab->many.touched[i], running);
            assert_int_equal(lab->many.holds[i], token);
        }
    assert_int_equal(signalled, 1);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_CANCELLED], 2);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_RUNNING], 1);
    lab_close(lab);
}

static void a_purge_deletes_all_that_waits_in_chunks(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    for (int i = 0; i < 50; i++)
        bring_into(lab, i % 2 ? JOB_READY : JOB_SCHEDULED);
    lab_push(lab, "other", "x");
    lab->now++;
    struct job_filter filter = ANY;
    filter.queue = SLICE("q");
    filter.states = 1 << JOB_READY | 1 << JOB_SCHEDULED | 1 << JOB_RETRYING;
    assert_int_equal(run_many(lab, STORE_DELETE, filter, lab->now, 9), 50);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 0);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_SCHEDULED], 0);
    assert_int_equal(lab_queue(lab, "other")->counts.in_state[JOB_READY], 1);
    lab_close(lab);
}

/* ---- the whole ---- */

static void news_of_every_queue_come_after_opening(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    lab_push(lab, "q", "x");
    lab_push(lab, "q", "x");
    lab->last_ready = 0;
    lab_reopen(lab);
    assert_int_equal(lab->last_ready, 2);
    lab_close(lab);
}

static void what_was_confirmed_is_there_after_a_restart(void **state)
{
    (void)state;
    static const enum job_state states[] = {JOB_READY, JOB_SCHEDULED, JOB_RUNNING,  JOB_RETRYING,
                                            JOB_DEAD,  JOB_CANCELLED, JOB_SUCCEEDED};
    struct lab *lab = open_lab();
    job_id ids[7];
    for (int i = 6; i >= 0; i--)
        ids[i] = bring_into(lab, states[i]);
    struct queue_counts before = lab_queue(lab, "q")->counts;
    lab_reopen(lab);
    for (int i = 0; i < 7; i++)
        assert_int_equal(lab_state(lab, ids[i]), states[i]);
    struct queue_counts after = lab_queue(lab, "q")->counts;
    assert_memory_equal(&before, &after, sizeof before);
    lab_close(lab);
}

static unsigned disagreements(struct lab *lab, unsigned *checks)
{
    struct op_doctor doctor = {.count = 0};
    store_op_init(&doctor.op, STORE_DOCTOR, lab->now);
    assert_int_equal(lab_run(lab, &doctor.op), MQ_OK);
    store_op_release(&doctor.op);
    *checks = doctor.count;
    return doctor.wrong;
}

static void counters_and_indexes_agree_in_every_state(void **state)
{
    (void)state;
    static const enum job_state states[] = {JOB_SCHEDULED, JOB_READY, JOB_RUNNING,  JOB_RETRYING,
                                            JOB_SUCCEEDED, JOB_DEAD,  JOB_CANCELLED};
    struct lab *lab = open_lab();
    unsigned checks;
    for (int i = 6; i >= 0; i--)
        bring_into(lab, states[i]);
    struct op_push push = lab_order(lab, "q", "x");
    push.spec.expires_at = lab->now + 5000;
    lab_push_op(lab, &push);
    assert_int_equal(disagreements(lab, &checks), 0);
    assert_int_equal(checks, DOCTOR_CHECKS);
    lab_close(lab);
}

static void the_figures_of_the_store_add_up(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    lab_push(lab, "q", "x");
    lab_push(lab, "q", "x");
    LAB_OP(lab, stats, STORE_STATS);
    assert_int_equal(lab_run(lab, &lab->stats.op), MQ_OK);
    assert_int_equal(lab->stats.commits, 2);
    assert_int_equal(lab->stats.operations, 2);
    assert_int_equal(lab->stats.batch_max, 1);
    assert_int_equal(lab->stats.quarantined, 0);
    assert_int_equal(lab->stats.layout, 7);
    assert_int_equal(lab->stats.unique_keys, 0);
    assert_true(lab->stats.used_bytes > 0 && lab->stats.map_bytes >= lab->stats.used_bytes);
    assert_true(lab->stats.file_bytes >= lab->stats.used_bytes);
    lab_close(lab);
}

static void the_oldest_ready_job_of_a_queue_is_known(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    assert_null(lab_queue(lab, "q"));
    lab_push(lab, "q", "x");
    lab->now += 5000;
    lab_push(lab, "q", "y");
    assert_int_equal(lab_queue(lab, "q")->oldest_ready, T0);
    lab_lease(lab, "q", 2);
    assert_int_equal(lab_queue(lab, "q")->oldest_ready, WALL_NEVER);
    lab_close(lab);
}

static void settings_change_while_it_runs(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct store_settings settings = lab->settings;
    lab_push(lab, "q", "x");
    settings.queue_limit = 1;
    store_configure(lab->store, &settings);
    struct op_push push = lab_order(lab, "q", "y");
    assert_int_equal(lab_push_op(lab, &push), MQ_FULL);
    lab_close(lab);
}

#define T(name) cmocka_unit_test(name)
static const struct CMUnitTest tests[] = {
    T(a_push_is_ready_and_can_be_read_back),
    T(names_are_answered_only_where_wanted),
    T(ids_grow_even_if_the_clock_steps_back),
    T(a_delayed_push_waits_for_its_time),
    T(a_full_queue_refuses_and_names_the_limit),
    T(a_draining_queue_refuses_pushes_and_runs_what_is_there),
    T(leases_follow_priority_then_the_order_of_pushes),
    T(the_first_queue_comes_before_the_second),
    T(queues_give_their_shares_by_priority_then_the_order_of_pushes),
    T(what_the_shares_leave_over_comes_from_the_first_queue),
    T(a_share_is_of_jobs_that_are_handed_out),
    T(shares_merge_what_was_there_with_what_the_same_commit_pushes),
    T(a_lease_carries_the_record_and_counts_the_attempt),
    T(a_lease_submitted_first_takes_what_the_same_commit_pushes),
    T(a_paused_queue_hands_out_nothing),
    T(a_pause_says_why_by_whom_and_until_when_and_survives_a_restart),
    T(a_pause_ends_by_itself_in_a_sweep),
    T(no_job_of_a_paused_type_is_handed_out_and_others_do_not_wait_behind_it),
    T(a_resumed_type_gets_its_jobs_back_in_chunks_also_across_a_restart),
    T(a_type_paused_again_before_all_came_back_keeps_the_rest),
    T(a_lease_sets_no_more_aside_than_it_may),
    T(a_job_pushed_while_its_type_is_paused_is_held_in_the_same_commit),
    T(a_held_job_still_expires),
    T(only_so_many_types_are_paused),
    T(a_group_that_pauses_and_is_refused_has_paused_nothing),
    T(a_job_that_could_not_start_in_time_expires_instead_of_running),
    T(a_push_that_is_expired_already_is_not_handed_out),
    T(a_sweep_expires_what_never_started_and_spares_what_did),
    T(a_job_that_nobody_began_may_still_expire),
    T(a_job_that_ended_an_attempt_expires_no_more),
    T(an_ack_keeps_record_and_result_for_as_long_as_keep_says),
    T(an_ack_without_keep_leaves_nothing_but_the_count),
    T(a_stale_token_is_lost),
    T(children_come_with_the_ack_or_not_at_all),
    T(a_failed_job_retries_until_its_attempts_are_spent),
    T(each_verdict_leads_to_its_state),
    T(what_is_given_back_is_not_charged),
    T(three_crashes_make_poison),
    T(a_timed_out_attempt_is_charged_as_a_failure),
    T(a_released_job_that_was_cancelled_is_cancelled),
    T(an_extended_lease_ends_later_and_tells_of_a_cancel),
    T(an_extended_lease_tells_a_client_that_its_timeout_is_over),
    T(progress_and_the_last_log_lines_are_kept),
    T(a_dead_letter_is_corrected_and_brought_back_with_fresh_attempts),
    T(an_expired_job_brought_back_does_not_expire_again),
    T(what_is_taken_back_is_ready_again_uncharged_and_its_holder_has_lost_it),
    T(all_that_a_holder_has_is_taken_back_and_nothing_of_others),
    T(each_step_is_allowed_or_refused_by_the_state),
    T(a_step_on_an_unknown_job_names_it),
    T(a_scheduled_job_can_be_given_another_time),
    T(a_lease_that_ran_out_spends_the_attempt),
    T(a_lost_job_that_was_cancelled_is_cancelled),
    T(dead_letters_go_after_dead_keep),
    T(beyond_their_number_the_oldest_dead_letters_go_first),
    T(a_dead_letter_that_was_named_stays_if_it_need_not_go_any_more),
    T(a_dead_letter_that_died_again_is_not_the_one_that_was_named),
    T(beyond_keep_max_the_finished_records_whose_keep_ends_first_go),
    T(chunks_of_what_is_too_much_go_on_until_it_is_not),
    T(beyond_keep_bytes_finished_records_go_by_what_they_take),
    T(an_edited_dead_letter_is_counted_as_long_as_it_is_now),
    T(a_hundred_thousand_jobs_due_at_the_same_moment_all_become_ready),
    T(a_parked_job_is_passed_over_by_workers_until_unparked),
    T(a_parked_job_that_nobody_began_expires),
    T(a_step_that_is_refused_names_those_that_are_not),
    T(unparking_goes_on_where_it_stopped),
    T(after_a_restart_workers_jobs_go_back_and_only_suspects_are_charged),
    T(a_group_is_all_or_none),
    T(a_refused_group_leaves_its_batch_mates_alone),
    T(the_pushes_of_a_group_are_handed_out_in_the_same_commit),
    T(listings_filter_and_page_in_both_directions),
    T(each_state_has_its_listing),
    T(a_cursor_of_another_listing_is_refused),
    T(retrying_all_dead_touches_only_what_was_dead_at_that_moment),
    T(cancelling_all_touches_what_was_pushed_before_that_moment),
    T(a_lease_that_meets_many_that_have_expired_ends_early),
    T(an_operation_on_many_jobs_answers_their_names_if_asked),
    T(a_bulk_cancel_signals_what_runs),
    T(a_purge_deletes_all_that_waits_in_chunks),
    T(news_of_every_queue_come_after_opening),
    T(what_was_confirmed_is_there_after_a_restart),
    T(counters_and_indexes_agree_in_every_state),
    T(the_figures_of_the_store_add_up),
    T(the_oldest_ready_job_of_a_queue_is_known),
    T(settings_change_while_it_runs),
};

int main(void)
{
    static const struct factory *const factories[] = {&lmdb_factory};
    int failures = 0;
    for (size_t i = 0; i < sizeof factories / sizeof *factories; i++) {
        factory = factories[i];
        readers = 0;
        failures += cmocka_run_group_tests_name("store contract, everything in flush", tests, NULL, NULL);
        readers = 2;
        failures += cmocka_run_group_tests_name("store contract, with threads", tests, NULL, NULL);
    }
    return failures;
}
