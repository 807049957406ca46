/*
 * What store.h promises of schedules and their ticks, as sentences. Each test runs twice: everything inside flush, and
 * with threads.
 */
#include "lab.h"
#include "lmdb_factory.h"
#include "store/fsck.h"

static const struct factory *factory = &lmdb_factory;
static unsigned readers;

/* The bench: a store, and the operations that the tests look at afterwards. */
struct bench {
    struct lab *lab;
    struct op_schedule schedule;
    struct op_tick tick;
    struct op_push push;
    struct op_schedules schedules;
    struct op_ticks ticks;
};

#define MINUTE 60000LL

static struct bench *open_bench(void)
{
    struct bench *b = calloc(1, sizeof *b);
    struct store_settings wishes = {.nosync = true, .crash_limit = 3, .readers = readers};
    b->lab = lab_open_with(factory, &wishes);
    return b;
}

static void close_bench(struct bench *b)
{
    store_op_release(&b->schedule.op);
    store_op_release(&b->tick.op);
    store_op_release(&b->push.op);
    store_op_release(&b->schedules.op);
    store_op_release(&b->ticks.op);
    lab_close(b->lab);
    free(b);
}

static void begin_change(struct bench *b, const char *name, int change)
{
    store_op_release(&b->schedule.op);
    memset(&b->schedule, 0, sizeof b->schedule);
    store_op_init(&b->schedule.op, STORE_SCHEDULE, b->lab->now);
    b->schedule.name = slice_of(name);
    b->schedule.change = change;
    b->schedule.source = SCHEDULE_OF_COMMAND;
    b->schedule.definition = b->schedule.reason = b->schedule.by = SLICE_EMPTY;
}

static enum mq_code set_by(struct bench *b, enum schedule_source source, const char *name,
                           const char *definition, wall_ms planned)
{
    begin_change(b, name, SCHEDULE_SET);
    b->schedule.source = source;
    b->schedule.definition = slice_of(definition);
    b->schedule.planned = planned;
    return lab_run(b->lab, &b->schedule.op);
}

static enum mq_code set(struct bench *b, const char *name, wall_ms planned)
{
    return set_by(b, SCHEDULE_OF_COMMAND, name, "{\"cron\":\"* * * * *\"}", planned);
}

static enum mq_code change(struct bench *b, const char *name, int what)
{
    begin_change(b, name, what);
    return lab_run(b->lab, &b->schedule.op);
}

/* The tick of `planned`, to be changed before run_tick. */
static struct op_tick *make_tick(struct bench *b, const char *name, wall_ms planned,
                                 enum tick_outcome outcome)
{
    store_op_release(&b->tick.op);
    store_op_release(&b->push.op);
    memset(&b->tick, 0, sizeof b->tick);
    b->push = lab_order(b->lab, "q", "{}");
    b->push.spec.schedule = slice_of(name);
    b->push.spec.planned_at = planned;
    store_op_init(&b->tick.op, STORE_TICK, b->lab->now);
    b->tick.name = slice_of(name);
    b->tick.row = (struct tick_row){
        .outcome = outcome, .planned = planned, .until = planned, .count = 1, .note = SLICE_EMPTY};
    b->tick.next = planned + MINUTE;
    b->tick.keep = SCHEDULE_KEEP_DEFAULT;
    b->tick.push = tick_made_job(outcome) ? &b->push : NULL;
    return &b->tick;
}

static enum mq_code run_tick(struct bench *b)
{
    b->tick.op.now = b->lab->now;
    b->push.op.now = b->lab->now;
    return lab_run(b->lab, &b->tick.op);
}

static enum mq_code tick(struct bench *b, const char *name, wall_ms planned, enum tick_outcome outcome)
{
    make_tick(b, name, planned, outcome);
    return run_tick(b);
}

static enum mq_code tick_with(struct bench *b, wall_ms planned, enum overlap overlap)
{
    make_tick(b, "digest", planned, TICK_FIRED)->overlap = overlap;
    return run_tick(b);
}

static void begin_read(struct bench *b)
{
    store_op_release(&b->schedules.op);
    memset(&b->schedules, 0, sizeof b->schedules);
    store_op_init(&b->schedules.op, STORE_SCHEDULES, b->lab->now);
}

static const struct schedule_view *look(struct bench *b, const char *name)
{
    begin_read(b);
    b->schedules.name = slice_of(name);
    return lab_run(b->lab, &b->schedules.op) == MQ_OK ? b->schedules.schedules : NULL;
}

static const struct tick_row *ledger(struct bench *b, const char *name, uint64_t before, unsigned limit)
{
    store_op_release(&b->ticks.op);
    memset(&b->ticks, 0, sizeof b->ticks);
    store_op_init(&b->ticks.op, STORE_TICKS, b->lab->now);
    b->ticks.name = slice_of(name);
    b->ticks.before = before;
    b->ticks.limit = limit;
    assert_int_equal(lab_run(b->lab, &b->ticks.op), MQ_OK);
    return b->ticks.rows;
}

static unsigned jobs_of(struct bench *b)
{
    LAB_OP(b->lab, list, STORE_LIST);
    b->lab->list.limit = b->lab->list.budget = 10000;
    b->lab->list.cursor = SLICE_EMPTY;
    assert_int_equal(lab_run(b->lab, &b->lab->list.op), MQ_OK);
    return b->lab->list.count;
}

/* ---- a tick ---- */

static void a_tick_makes_a_job_a_row_and_the_next_moment_at_once(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    assert_int_equal(set(b, "digest", first), MQ_OK);
    assert_int_equal(b->schedule.view.since, T0);
    b->lab->now = first + 3;
    assert_int_equal(tick(b, "digest", first, TICK_FIRED), MQ_OK);
    assert_int_equal(b->tick.outcome, TICK_FIRED);
    assert_int_equal(b->tick.view.planned, first + MINUTE);
    assert_int_equal(lab_get(b->lab, b->push.id), MQ_OK);
    assert_slice(b->lab->get.view.spec.schedule, "digest");
    assert_int_equal(b->lab->get.view.spec.planned_at, first);
    lab_reopen(b->lab);
    const struct schedule_view *view = look(b, "digest");
    assert_int_equal(view->planned, first + MINUTE);
    assert_int_equal(view->last, first);
    assert_int_equal(view->job, b->push.id);
    assert_int_equal(view->fired, 1);
    assert_int_equal(view->counts[TICK_FIRED], 1);
    assert_slice(view->definition, "{\"cron\":\"* * * * *\"}");
    const struct tick_row *rows = ledger(b, "digest", 0, 10);
    assert_int_equal(b->ticks.count, 1);
    assert_false(b->ticks.more);
    assert_int_equal(rows[0].outcome, TICK_FIRED);
    assert_int_equal(rows[0].planned, first);
    assert_int_equal(rows[0].at, first + 3);
    assert_int_equal(rows[0].job, b->push.id);
    close_bench(b);
}

/* Whoever asks again, after a crash, a reload or a lost answer, gets no second job. */
static void a_moment_is_decided_once(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    assert_int_equal(tick(b, "digest", first, TICK_FIRED), MQ_OK);
    assert_int_equal(tick(b, "digest", first, TICK_FIRED), MQ_CONFLICT);
    lab_reopen(b->lab);
    assert_int_equal(tick(b, "digest", first, TICK_CAUGHT_UP), MQ_CONFLICT);
    assert_int_equal(tick(b, "digest", first + 2 * MINUTE, TICK_FIRED),
                     MQ_CONFLICT); /* one was passed over */
    assert_int_equal(tick(b, "digest", first - MINUTE, TICK_FIRED), MQ_CONFLICT);
    assert_int_equal(jobs_of(b), 1);
    ledger(b, "digest", 0, 10);
    assert_int_equal(b->ticks.count, 1);
    close_bench(b);
}

static void moments_only_grow(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    make_tick(b, "digest", first, TICK_FIRED)->next = first;
    assert_int_equal(run_tick(b), MQ_BADARG);
    assert_int_equal(tick(b, "digest", first, TICK_FIRED), MQ_OK);
    assert_int_equal(set(b, "digest", first), MQ_OK); /* a tick was faster: the plan stays */
    assert_int_equal(look(b, "digest")->planned, first + MINUTE);
    assert_int_equal(change(b, "digest", SCHEDULE_END), MQ_OK);
    assert_int_equal(set(b, "digest", first), MQ_CONFLICT); /* nor by ending it first */
    assert_int_equal(set(b, "digest", first + 1), MQ_OK);
    close_bench(b);
}

static void a_refused_push_refuses_the_tick(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    lab_change_queue(b->lab, "q", QUEUE_DRAIN, -1);
    assert_int_equal(tick(b, "digest", first, TICK_FIRED), MQ_BUSY);
    assert_int_equal(look(b, "digest")->planned, first);
    ledger(b, "digest", 0, 10);
    assert_int_equal(b->ticks.count, 0);
    lab_change_queue(b->lab, "q", QUEUE_RESUME, -1);
    assert_int_equal(tick(b, "digest", first, TICK_CAUGHT_UP), MQ_OK);
    assert_int_equal(jobs_of(b), 1);
    close_bench(b);
}

static void moments_that_made_no_job_stand_in_one_row(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    struct op_tick *op = make_tick(b, "digest", first, TICK_MISSED);
    op->row.until = first + 9 * MINUTE;
    op->row.count = 10;
    op->next = first + 10 * MINUTE;
    op->row.note = SLICE("the server was down");
    assert_int_equal(run_tick(b), MQ_OK);
    const struct tick_row *rows = ledger(b, "digest", 0, 10);
    assert_int_equal(rows[0].count, 10);
    assert_int_equal(rows[0].until, first + 9 * MINUTE);
    assert_int_equal(rows[0].job, JOB_ID_NONE);
    assert_slice(rows[0].note, "the server was down");
    assert_int_equal(look(b, "digest")->counts[TICK_MISSED], 10);
    assert_int_equal(look(b, "digest")->fired, 0);
    assert_int_equal(jobs_of(b), 0);
    close_bench(b);
}

static void a_person_s_run_leaves_the_plan_alone(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    assert_int_equal(tick(b, "digest", T0 + 5, TICK_RUN), MQ_OK);
    assert_int_equal(tick(b, "digest", T0 + 5, TICK_RUN), MQ_OK); /* twice is twice */
    assert_int_equal(look(b, "digest")->planned, first);
    assert_int_equal(look(b, "digest")->last, 0);
    assert_int_equal(look(b, "digest")->fired, 0);
    assert_int_equal(jobs_of(b), 2);
    assert_int_equal(ledger(b, "digest", 0, 1)[0].outcome, TICK_RUN);
    close_bench(b);
}

/* @reboot: a moment that is in no plan, and once is once there too. */
static void an_extra_moment_is_decided_once_too(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    set(b, "warm", WALL_NEVER);
    make_tick(b, "warm", T0 + 5, TICK_FIRED)->extra = true;
    assert_int_equal(run_tick(b), MQ_OK);
    make_tick(b, "warm", T0 + 5, TICK_FIRED)->extra = true;
    assert_int_equal(run_tick(b), MQ_CONFLICT);
    assert_int_equal(look(b, "warm")->planned, WALL_NEVER);
    assert_int_equal(look(b, "warm")->last, T0 + 5);
    assert_int_equal(jobs_of(b), 1);
    close_bench(b);
}

static void an_answer_from_before_a_change_decides_nothing(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    uint64_t revision = b->schedule.view.revision;
    set_by(b, SCHEDULE_OF_COMMAND, "digest", "{\"cron\":\"*/2 * * * *\"}", first);
    make_tick(b, "digest", first, TICK_FIRED)->revision = revision;
    assert_int_equal(run_tick(b), MQ_CONFLICT);
    b->tick.revision = b->schedule.view.revision;
    assert_int_equal(run_tick(b), MQ_OK);
    close_bench(b);
}

/* ---- overlap ---- */

/* How far the job before has come when the next moment is there. */
enum before {
    READY,
    RUNNING,
    RETRYING,
    DEAD,
    SUCCEEDED,
    DELETED,
};

static const struct overlap_row {
    enum overlap overlap;
    enum before before;
    enum mq_code code;
    enum tick_outcome outcome;
    enum job_state after; /* of the job before */
} overlap_rows[] = {
    {OVERLAP_ALLOW, RUNNING, MQ_OK, TICK_FIRED, JOB_RUNNING},
    {OVERLAP_SKIP, READY, MQ_OK, TICK_SKIPPED, JOB_READY},
    {OVERLAP_SKIP, RUNNING, MQ_OK, TICK_SKIPPED, JOB_RUNNING},
    {OVERLAP_SKIP, RETRYING, MQ_OK, TICK_SKIPPED,
     JOB_RETRYING}, /* it has not ended: it will be tried again */
    {OVERLAP_SKIP, DEAD, MQ_OK, TICK_FIRED, JOB_DEAD},
    {OVERLAP_SKIP, SUCCEEDED, MQ_OK, TICK_FIRED, JOB_SUCCEEDED},
    {OVERLAP_SKIP, DELETED, MQ_OK, TICK_FIRED, JOB_NONE},
    {OVERLAP_QUEUE, RUNNING, MQ_BUSY, TICK_FIRED, JOB_RUNNING},
    {OVERLAP_QUEUE, SUCCEEDED, MQ_OK, TICK_FIRED, JOB_SUCCEEDED},
    {OVERLAP_REPLACE, READY, MQ_OK, TICK_REPLACED, JOB_CANCELLED},
    {OVERLAP_REPLACE, RUNNING, MQ_OK, TICK_REPLACED, JOB_RUNNING}, /* it is told to stop */
    {OVERLAP_REPLACE, RETRYING, MQ_OK, TICK_REPLACED, JOB_CANCELLED},
    {OVERLAP_REPLACE, SUCCEEDED, MQ_OK, TICK_FIRED, JOB_SUCCEEDED},
};

static uint64_t bring_to(struct lab *lab, job_id id, enum before before)
{
    if (before == READY)
        return 0;
    if (before == DELETED) {
        assert_int_equal(lab_step(lab, STORE_DELETE, id), MQ_OK);
        return 0;
    }
    uint64_t token = lab_lease(lab, "q", 1)->token;
    if (before == RETRYING || before == DEAD)
        lab_fail(lab, id, token, before == DEAD ? FAIL_DEAD : FAIL_RETRY, lab->now + 100 * MINUTE);
    if (before == SUCCEEDED)
        lab_ack(lab, id, token, "");
    return token;
}

static void overlap_is_decided_by_the_state_of_the_job_before(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof overlap_rows / sizeof *overlap_rows; i++) {
        const struct overlap_row *row = &overlap_rows[i];
        struct bench *b = open_bench();
        wall_ms first = T0 + MINUTE, second = first + MINUTE;
        set(b, "digest", first);
        assert_int_equal(tick_with(b, first, row->overlap), MQ_OK);
        job_id before = b->push.id;
        uint64_t token = bring_to(b->lab, before, row->before);
        b->lab->now = second;
        assert_int_equal(tick_with(b, second, row->overlap), row->code);
        assert_int_equal(lab_state(b->lab, before), row->after);
        if (row->code == MQ_OK) {
            assert_int_equal(b->tick.outcome, row->outcome);
            const struct tick_row *rows = ledger(b, "digest", 0, 1);
            assert_int_equal(rows[0].outcome, row->outcome);
            assert_int_equal(rows[0].planned, second);
            assert_int_equal(rows[0].job, row->outcome == TICK_SKIPPED ? before : b->push.id);
            assert_int_equal(look(b, "digest")->planned, second + MINUTE);
        } else {
            assert_int_equal(b->tick.before, before);
            assert_int_equal(look(b, "digest")->planned, second); /* it waits */
        }
        if (row->outcome == TICK_REPLACED)
            assert_int_equal(b->tick.holds, row->before == RUNNING ? token : 0);
        close_bench(b);
    }
}

static void a_replacement_that_is_refused_cancels_nothing(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    tick_with(b, first, OVERLAP_REPLACE);
    job_id before = b->push.id;
    lab_change_queue(b->lab, "q", QUEUE_DRAIN, -1);
    assert_int_equal(tick_with(b, first + MINUTE, OVERLAP_REPLACE), MQ_BUSY);
    assert_int_equal(lab_state(b->lab, before), JOB_READY);
    close_bench(b);
}

static void a_job_that_holds_the_unique_key_is_in_the_way_too(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    struct op_push other = lab_order(b->lab, "q", "{}");
    other.spec.unique_key = SLICE("digest");
    other.spec.unique_until = WALL_NEVER;
    other.spec.unique_states = 1u << JOB_READY;
    assert_int_equal(lab_push_op(b->lab, &other), MQ_OK);
    set(b, "digest", first);
    make_tick(b, "digest", first, TICK_FIRED);
    b->push.spec.unique_key = SLICE("digest");
    b->push.spec.unique_until = WALL_NEVER;
    b->push.spec.unique_states = 1u << JOB_READY;
    b->push.conflict = UNIQUE_SKIP;
    assert_int_equal(run_tick(b), MQ_OK);
    assert_int_equal(b->tick.outcome, TICK_SKIPPED);
    assert_int_equal(jobs_of(b), 1);
    assert_int_equal(ledger(b, "digest", 0, 1)[0].job, other.id);
    assert_int_equal(look(b, "digest")->fired, 0);
    assert_int_equal(look(b, "digest")->planned, first + MINUTE);
    make_tick(b, "digest", first + MINUTE, TICK_FIRED);
    b->push.spec.unique_key = SLICE("digest");
    b->push.spec.unique_until = WALL_NEVER;
    b->push.spec.unique_states = 1u << JOB_READY;
    b->push.conflict = UNIQUE_ERROR;
    assert_int_equal(run_tick(b), MQ_OK);
    assert_int_equal(b->tick.outcome, TICK_SKIPPED);
    assert_int_equal(look(b, "digest")->planned, first + 2 * MINUTE);
    assert_int_equal(jobs_of(b), 1);
    close_bench(b);
}

/* ---- a unique key, and overlap `replace`: the job before is cancelled, so what the push meets is another thing then ---- */

static void give_key(struct op_push *push, enum unique_conflict conflict, unsigned states)
{
    push->spec.unique_key = SLICE("digest");
    push->spec.unique_until = WALL_NEVER;
    push->spec.unique_states = (uint16_t)states;
    push->conflict = conflict;
}

static enum mq_code replace_and_keep(struct bench *b, wall_ms planned, enum unique_conflict conflict,
                                     unsigned states, int64_t keep_ms)
{
    make_tick(b, "digest", planned, TICK_FIRED)->overlap = OVERLAP_REPLACE;
    give_key(&b->push, conflict, states);
    b->push.spec.keep_ms = keep_ms;
    return run_tick(b);
}

static enum mq_code replace_with_key(struct bench *b, wall_ms planned, enum unique_conflict conflict,
                                     unsigned states)
{
    return replace_and_keep(b, planned, conflict, states, 0);
}

static void lease_by(struct lab *lab, const char *holder)
{
    struct slice queue = SLICE("q");
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = &queue;
    lab->lease.queue_count = 1;
    lab->lease.max = 1;
    lab->lease.holder = slice_of(holder);
    assert_int_equal(lab_run(lab, &lab->lease.op), MQ_OK);
    assert_int_equal(lab->lease.count, 1);
}

static void a_job_that_is_replaced_while_it_runs_keeps_its_holder(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    struct op_push other = lab_order(b->lab, "q", "{}");
    give_key(&other, UNIQUE_SKIP, 1u << JOB_READY | 1u << JOB_RUNNING);
    assert_int_equal(lab_push_op(b->lab, &other), MQ_OK);
    lease_by(b->lab, "somebody.else");
    set(b, "digest", first);
    tick_with(b, first, OVERLAP_REPLACE);
    job_id before = b->push.id;
    lease_by(b->lab, "worker.1");
    assert_int_equal(replace_with_key(b, first + MINUTE, UNIQUE_REPLACE, 1u << JOB_READY), MQ_OK);
    assert_int_equal(b->tick.outcome, TICK_REPLACED);
    assert_int_equal(lab_get(b->lab, before), MQ_OK);
    assert_true(b->lab->get.view.status.cancelling);
    assert_true(slice_equal(b->lab->get.view.status.holder, SLICE("worker.1")));
    close_bench(b);
}

static void a_replacement_that_its_queue_refuses_cancels_nothing_whoever_has_its_key(void **state)
{
    (void)state;
    wall_ms first = T0 + MINUTE;
    /* in all states, also when cancelled: but a job that nobody keeps is gone then, and its key is free */
    for (unsigned states = 1u << JOB_READY;; states = JOB_STATES_ALL) {
        struct bench *b = open_bench();
        set(b, "digest", first);
        assert_int_equal(replace_with_key(b, first, UNIQUE_SKIP, states), MQ_OK);
        job_id before = b->push.id;
        lab_change_queue(b->lab, "q", QUEUE_DRAIN, -1);
        for (int conflict = UNIQUE_SKIP; conflict <= UNIQUE_RESCHEDULE; conflict++) {
            assert_int_equal(replace_with_key(b, first + MINUTE, (enum unique_conflict)conflict, states),
                             MQ_BUSY);
            assert_int_equal(lab_state(b->lab, before), JOB_READY);
        }
        close_bench(b);
        if (states == JOB_STATES_ALL)
            break;
    }
}

static void what_would_be_skipped_replaces_nothing(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    unsigned states = 1u << JOB_READY | 1u << JOB_RUNNING;
    struct op_push other = lab_order(b->lab, "q", "{}");
    give_key(&other, UNIQUE_SKIP, states);
    assert_int_equal(lab_push_op(b->lab, &other), MQ_OK);
    lease_by(b->lab, "somebody.else");
    set(b, "digest", first);
    assert_int_equal(replace_with_key(b, first, UNIQUE_REPLACE, states), MQ_OK); /* it waits for the key */
    job_id before = b->push.id;
    assert_int_equal(replace_with_key(b, first + MINUTE, UNIQUE_RESCHEDULE, states), MQ_OK);
    assert_int_equal(b->tick.outcome, TICK_SKIPPED);
    assert_int_not_equal(lab_state(b->lab, before), JOB_CANCELLED);
    assert_int_equal(replace_with_key(b, first + 2 * MINUTE, UNIQUE_REPLACE, states), MQ_OK);
    assert_int_equal(b->tick.outcome, TICK_REPLACED);
    assert_int_equal(lab_state(b->lab, before), JOB_NONE); /* cancelled, and nobody keeps it */
    assert_int_equal(lab_state(b->lab, b->push.id), JOB_BLOCKED);
    close_bench(b);
}

/*
 * The job before was pushed in a state that its key does not mind, so it does not hold it; cancelled it would, and keep it from
 * the one that is to take its place.
 */
static void what_would_take_the_key_by_being_cancelled_is_not_replaced(void **state)
{
    (void)state;
    wall_ms first = T0 + MINUTE;
    unsigned states = 1u << JOB_RUNNING | 1u << JOB_CANCELLED;
    for (int conflict = 0; conflict < UNIQUE_CONFLICTS; conflict++) {
        struct bench *b = open_bench();
        set(b, "digest", first);
        assert_int_equal(replace_and_keep(b, first, conflict, states, MINUTE), MQ_OK);
        job_id before = b->push.id;
        assert_int_equal(replace_and_keep(b, first + MINUTE, conflict, states, MINUTE), MQ_OK);
        assert_int_equal(b->tick.outcome, TICK_SKIPPED);
        assert_int_equal(lab_state(b->lab, before), JOB_READY);
        assert_int_equal(ledger(b, "digest", 0, 1)[0].job, before);
        assert_int_equal(jobs_of(b), 1);
        close_bench(b);
    }
}

/* The same, but for one thing: then it takes no key, and is replaced. */
static void what_would_not_take_the_key_by_being_cancelled_is_replaced(void **state)
{
    (void)state;
    wall_ms first = T0 + MINUTE;
    unsigned states = 1u << JOB_RUNNING | 1u << JOB_CANCELLED;
    enum {
        NOBODY_KEEPS_IT,
        ITS_TIME_IS_OVER,
        ANOTHER_KEY,
        ANOTHER_TYPE,
        CASES
    };
    for (int what = 0; what < CASES; what++) {
        struct bench *b = open_bench();
        set(b, "digest", first);
        make_tick(b, "digest", first, TICK_FIRED)->overlap = OVERLAP_REPLACE;
        give_key(&b->push, UNIQUE_ERROR, states);
        b->push.spec.keep_ms = what == NOBODY_KEEPS_IT ? 0 : MINUTE;
        if (what == ITS_TIME_IS_OVER)
            b->push.spec.unique_until = T0 + 1;
        if (what == ANOTHER_KEY)
            b->push.spec.unique_key = SLICE("other");
        if (what == ANOTHER_TYPE)
            b->push.spec.type = SLICE("other");
        assert_int_equal(run_tick(b), MQ_OK);
        job_id before = b->push.id;
        b->lab->now = T0 + 1;
        assert_int_equal(replace_and_keep(b, first + MINUTE, UNIQUE_ERROR, states, MINUTE), MQ_OK);
        assert_int_equal(b->tick.outcome, TICK_REPLACED);
        assert_int_equal(lab_state(b->lab, before), what == NOBODY_KEEPS_IT ? JOB_NONE : JOB_CANCELLED);
        assert_int_equal(lab_state(b->lab, b->push.id), JOB_READY);
        close_bench(b);
    }
}

/* Who waits for the key of the one before does not want it in the state that it comes to: one job more, and no room for it. */
static void a_replacement_that_finds_the_key_free_after_all_needs_room(void **state)
{
    (void)state;
    wall_ms first = T0 + MINUTE;
    struct bench *b = open_bench();
    set(b, "digest", first);
    assert_int_equal(replace_with_key(b, first, UNIQUE_REPLACE, 1u << JOB_RUNNING | 1u << JOB_RETRYING),
                     MQ_OK);
    job_id before = b->push.id;
    uint64_t token = lab_lease(b->lab, "q", 1)->token;
    struct op_push other = lab_order(b->lab, "q", "{}");
    give_key(&other, UNIQUE_REPLACE, 1u << JOB_RUNNING);
    assert_int_equal(lab_push_op(b->lab, &other), MQ_OK);
    assert_int_equal(lab_state(b->lab, other.id), JOB_BLOCKED);
    lab_fail(b->lab, before, token, FAIL_RETRY, b->lab->now + 100 * MINUTE);
    lab_change_queue(b->lab, "q", QUEUE_DRAIN, -1);
    assert_int_equal(replace_with_key(b, first + MINUTE, UNIQUE_REPLACE, 1u << JOB_RUNNING), MQ_BUSY);
    assert_int_equal(lab_state(b->lab, before), JOB_RETRYING);
    lab_change_queue(b->lab, "q", QUEUE_RESUME, -1);
    assert_int_equal(replace_with_key(b, first + MINUTE, UNIQUE_REPLACE, 1u << JOB_RUNNING), MQ_OK);
    assert_int_equal(b->tick.outcome, TICK_REPLACED);
    assert_int_equal(lab_state(b->lab, other.id), JOB_READY);
    assert_int_equal(lab_state(b->lab, b->push.id), JOB_READY);
    close_bench(b);
}

static void an_entry_is_over_after_its_last_job_not_after_its_last_moment(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    make_tick(b, "digest", first, TICK_MISSED)->fired_max = 1;
    assert_int_equal(run_tick(b), MQ_OK);
    assert_int_equal(b->tick.view.planned, first + MINUTE);
    make_tick(b, "digest", first + MINUTE, TICK_FIRED)->fired_max = 1;
    assert_int_equal(run_tick(b), MQ_OK);
    assert_int_equal(b->tick.view.planned, WALL_NEVER);
    close_bench(b);
}

/* ---- entries ---- */

static void the_ledger_keeps_its_newest_rows(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms at = T0;
    set(b, "digest", at);
    set(b, "digest-2", at); /* a neighbour whose name begins alike */
    tick(b, "digest-2", at, TICK_FIRED);
    for (int i = 0; i < 30; i++, at += MINUTE) {
        make_tick(b, "digest", at, i % 2 ? TICK_MISSED : TICK_FIRED)->keep = 7;
        assert_int_equal(run_tick(b), MQ_OK);
    }
    const struct tick_row *rows = ledger(b, "digest", 0, 5);
    assert_int_equal(b->ticks.count, 5);
    assert_true(b->ticks.more);
    assert_int_equal(rows[0].planned, at - MINUTE);
    assert_int_equal(rows[0].no, 29);
    uint64_t before = rows[4].no;
    rows = ledger(b, "digest", before, 5);
    assert_int_equal(b->ticks.count, 2);
    assert_false(b->ticks.more);
    assert_int_equal(rows[1].no, 23);
    ledger(b, "digest-2", 0, 5);
    assert_int_equal(b->ticks.count, 1);
    close_bench(b);
}

static void an_entry_that_ended_keeps_its_ledger_and_its_memory(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    tick(b, "digest", first, TICK_FIRED);
    assert_int_equal(change(b, "digest", SCHEDULE_END), MQ_OK);
    assert_true(look(b, "digest")->ended);
    assert_int_equal(tick(b, "digest", first + MINUTE, TICK_FIRED), MQ_NOTFOUND);
    assert_int_equal(change(b, "digest", SCHEDULE_PAUSE), MQ_NOTFOUND);
    ledger(b, "digest", 0, 5);
    assert_int_equal(b->ticks.count, 1);
    b->lab->now += 5;
    assert_int_equal(set(b, "digest", first + MINUTE), MQ_OK);
    assert_int_equal(look(b, "digest")->since, T0 + 5);
    assert_int_equal(look(b, "digest")->fired, 0);
    assert_int_equal(change(b, "digest", SCHEDULE_ERASE), MQ_OK);
    assert_null(look(b, "digest"));
    assert_int_equal(b->schedules.op.code, MQ_NOTFOUND);
    assert_int_equal(change(b, "digest", SCHEDULE_ERASE), MQ_NOTFOUND);
    close_bench(b);
}

static void the_file_owns_what_it_names(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    assert_int_equal(set_by(b, SCHEDULE_OF_FILE, "digest", "file", T0 + 1), MQ_OK);
    assert_int_equal(set(b, "digest", T0 + 1), MQ_CONFLICT);
    assert_non_null(strstr(b->schedule.op.err.text, "schedules.lua"));
    assert_int_equal(change(b, "digest", SCHEDULE_END), MQ_CONFLICT);
    assert_int_equal(change(b, "digest", SCHEDULE_ERASE), MQ_CONFLICT);
    assert_slice(look(b, "digest")->definition, "file");
    /* the file takes what a command has set; what it does not name it cannot end */
    set(b, "report", T0 + 1);
    begin_change(b, "report", SCHEDULE_END);
    b->schedule.source = SCHEDULE_OF_FILE;
    assert_int_equal(lab_run(b->lab, &b->schedule.op), MQ_CONFLICT);
    assert_int_equal(set_by(b, SCHEDULE_OF_FILE, "report", "file", T0 + 1), MQ_OK);
    assert_int_equal(look(b, "report")->source, SCHEDULE_OF_FILE);
    begin_change(b, "report", SCHEDULE_END);
    b->schedule.source = SCHEDULE_OF_FILE;
    assert_int_equal(lab_run(b->lab, &b->schedule.op), MQ_OK);
    assert_int_equal(set(b, "report", T0 + 1), MQ_OK); /* it has ended: the name is free */
    close_bench(b);
}

static void a_paused_entry_decides_nothing_and_tells_what_passed(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    wall_ms first = T0 + MINUTE;
    set(b, "digest", first);
    assert_int_equal(change(b, "digest", SCHEDULE_RESUME), MQ_NOTFOUND);
    begin_change(b, "digest", SCHEDULE_PAUSE);
    b->schedule.reason = SLICE("the relay is down");
    b->schedule.by = SLICE("ana");
    assert_int_equal(lab_run(b->lab, &b->schedule.op), MQ_OK);
    assert_int_equal(tick(b, "digest", first, TICK_FIRED), MQ_CONFLICT);
    assert_int_equal(tick(b, "digest", T0 + 5, TICK_RUN), MQ_OK); /* a person may */
    set(b, "digest", first);                                      /* another definition: it stays paused */
    lab_reopen(b->lab);
    const struct schedule_view *view = look(b, "digest");
    assert_true(view->pause.on);
    assert_slice(view->pause.reason, "the relay is down");
    assert_slice(view->pause.by, "ana");
    assert_int_equal(view->pause.until, WALL_NEVER);
    b->lab->now = first + 2 * MINUTE;
    begin_change(b, "digest", SCHEDULE_RESUME);
    b->schedule.planned = first + 3 * MINUTE;
    b->schedule.passed = (struct tick_row){.outcome = TICK_PAUSED,
                                           .planned = first,
                                           .until = first + 2 * MINUTE,
                                           .count = 3,
                                           .note = SLICE_EMPTY};
    assert_int_equal(lab_run(b->lab, &b->schedule.op), MQ_OK);
    assert_false(look(b, "digest")->pause.on);
    assert_int_equal(look(b, "digest")->planned, first + 3 * MINUTE);
    const struct tick_row *rows = ledger(b, "digest", 0, 1);
    assert_int_equal(rows[0].outcome, TICK_PAUSED);
    assert_int_equal(rows[0].count, 3);
    assert_int_equal(tick(b, "digest", first + 3 * MINUTE, TICK_FIRED), MQ_OK);
    close_bench(b);
}

static void entries_come_in_pages_by_name(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    static const char *const names[] = {"b", "a", "b-2", "c", "b:1"};
    static const char *const sorted[] = {"a", "b", "b-2", "b:1", "c"};
    char after[8] = "";
    for (int i = 0; i < 5; i++)
        assert_int_equal(set(b, names[i], T0 + 1), MQ_OK);
    for (int i = 0; i < 5; i++) {
        begin_read(b);
        b->schedules.name = SLICE_EMPTY;
        b->schedules.after = slice_of(after);
        b->schedules.limit = 1;
        assert_int_equal(lab_run(b->lab, &b->schedules.op), MQ_OK);
        assert_int_equal(b->schedules.count, 1);
        assert_int_equal(b->schedules.more, i < 4);
        assert_slice(b->schedules.schedules[0].name, sorted[i]);
        snprintf(after, sizeof after, "%s", sorted[i]);
    }
    close_bench(b);
}

static void what_cannot_be_stored_is_refused(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    char *large = malloc(SCHEDULE_BYTES_MAX + 2);
    memset(large, 'x', SCHEDULE_BYTES_MAX + 1);
    large[SCHEDULE_BYTES_MAX + 1] = '\0';
    assert_int_equal(set_by(b, SCHEDULE_OF_COMMAND, "digest", large, T0 + 1), MQ_TOOBIG);
    large[SCHEDULE_BYTES_MAX] = '\0';
    assert_int_equal(set_by(b, SCHEDULE_OF_COMMAND, "digest", large, T0 + 1), MQ_OK);
    assert_int_equal(look(b, "digest")->definition.len, SCHEDULE_BYTES_MAX);
    assert_int_equal(set(b, "a b", T0 + 1), MQ_BADARG);
    assert_int_equal(set(b, "", T0 + 1), MQ_BADARG);
    assert_int_equal(tick(b, "none", T0 + 1, TICK_FIRED), MQ_NOTFOUND);
    free(large);
    close_bench(b);
}

/* ---- both ways ---- */

static int without_threads(void **state)
{
    (void)state;
    readers = 0;
    return 0;
}
static int with_threads(void **state)
{
    (void)state;
    readers = 2;
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_tick_makes_a_job_a_row_and_the_next_moment_at_once),
    cmocka_unit_test(a_moment_is_decided_once),
    cmocka_unit_test(moments_only_grow),
    cmocka_unit_test(a_refused_push_refuses_the_tick),
    cmocka_unit_test(moments_that_made_no_job_stand_in_one_row),
    cmocka_unit_test(a_person_s_run_leaves_the_plan_alone),
    cmocka_unit_test(an_extra_moment_is_decided_once_too),
    cmocka_unit_test(an_answer_from_before_a_change_decides_nothing),
    cmocka_unit_test(overlap_is_decided_by_the_state_of_the_job_before),
    cmocka_unit_test(a_replacement_that_is_refused_cancels_nothing),
    cmocka_unit_test(a_job_that_holds_the_unique_key_is_in_the_way_too),
    cmocka_unit_test(a_job_that_is_replaced_while_it_runs_keeps_its_holder),
    cmocka_unit_test(a_replacement_that_its_queue_refuses_cancels_nothing_whoever_has_its_key),
    cmocka_unit_test(what_would_be_skipped_replaces_nothing),
    cmocka_unit_test(what_would_take_the_key_by_being_cancelled_is_not_replaced),
    cmocka_unit_test(what_would_not_take_the_key_by_being_cancelled_is_replaced),
    cmocka_unit_test(a_replacement_that_finds_the_key_free_after_all_needs_room),
    cmocka_unit_test(an_entry_is_over_after_its_last_job_not_after_its_last_moment),
    cmocka_unit_test(the_ledger_keeps_its_newest_rows),
    cmocka_unit_test(an_entry_that_ended_keeps_its_ledger_and_its_memory),
    cmocka_unit_test(the_file_owns_what_it_names),
    cmocka_unit_test(a_paused_entry_decides_nothing_and_tells_what_passed),
    cmocka_unit_test(entries_come_in_pages_by_name),
    cmocka_unit_test(what_cannot_be_stored_is_refused),
};

int main(void)
{
    int failed = cmocka_run_group_tests_name("schedules, inside flush", tests, without_threads, NULL);
    return failed + cmocka_run_group_tests_name("schedules, with threads", tests, with_threads, NULL);
}
