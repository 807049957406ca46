/*
 * Random histories. After each: every index and counter fits every status (lmdb_check.h); and the same history
 * gives the same answers whether the map never grows, or has to grow in the middle of batches (which are then
 * applied again), or the store is closed and opened between batches, or killed, with more or less of it in the journal.
 */
#include "lab.h"
#include "lmdb_crash.h"
#include "lmdb_check.h"
#include "store/fsck.h"
#include "base/log.h"

#include <xxhash.h>

enum {
    QUEUES = 4,
    TYPES = 3,
    SCHEDULES = 3,
    KNOWN_MAX = 400,
    BATCH_MAX = 12,
    STEPS = 400
};

static const char *const type_names[TYPES] = {"email.send", "report", "paint"};
static const char *const schedule_names[SCHEDULES] = {"hourly", "hourly-2", "nightly"};
static const char *const queue_names[QUEUES] = {"a", "b", "c", "mail"};

/* A job that was seen, and the newest token that was seen of it. */
struct known {
    job_id id;
    uint64_t token;
};

union any_op {
    struct store_op op;
    struct op_push push;
    struct op_lease lease;
    struct op_complete complete;
    struct op_fail fail;
    struct op_release release;
    struct op_extend extend;
    struct op_note note;
    struct op_step step;
    struct op_many many;
    struct op_queue queue;
    struct op_type type;
    struct op_unique unique;
    struct op_sweep sweep;
    struct op_unpark unpark;
    struct op_recover recover;
    struct op_group group;
    struct op_schedule schedule;
    struct op_tick tick;
};

struct history {
    struct lab *lab;
    uint64_t random; /* xorshift */
    XXH64_hash_t digest;
    struct known known[KNOWN_MAX];
    unsigned known_count, known_next;
    union any_op ops[BATCH_MAX];
    union any_op members[BATCH_MAX][3];
    struct store_op *member_at[BATCH_MAX][3];
    struct op_push children[BATCH_MAX][2];
    struct op_push *child_at[BATCH_MAX][2];
    struct op_push ticks[BATCH_MAX];
    struct known_schedule {
        wall_ms planned;
        uint64_t revision;
    } schedules[SCHEDULES];
    struct slice lease_queues[BATCH_MAX][QUEUES];
    unsigned lease_shares[BATCH_MAX][QUEUES];
    char payloads[BATCH_MAX][3000];
    bool grouping;
};

static uint32_t pick(struct history *h, uint32_t below)
{
    h->random ^= h->random << 13;
    h->random ^= h->random >> 7;
    h->random ^= h->random << 17;
    return (uint32_t)(h->random >> 11) % below;
}

static struct slice some_queue(struct history *h)
{
    return slice_of(queue_names[pick(h, QUEUES)]);
}

static struct known some_job(struct history *h)
{
    if (!h->known_count || pick(h, 50) == 0)
        return (struct known){pick(h, 1000), pick(h, 1000)};
    struct known known = h->known[pick(h, h->known_count)];
    if (pick(h, 10) == 0)
        known.token--; /* stale */
    return known;
}

static void learn(struct history *h, job_id id, uint64_t token)
{
    for (unsigned i = 0; i < h->known_count; i++)
        if (h->known[i].id == id) {
            h->known[i].token = token ? token : h->known[i].token;
            return;
        }
    h->known[h->known_next] = (struct known){id, token};
    h->known_next = (h->known_next + 1) % KNOWN_MAX;
    if (h->known_count < KNOWN_MAX)
        h->known_count++;
}

static void make_push(struct history *h, struct op_push *push, const char *payload)
{
    *push = lab_order(h->lab, queue_names[pick(h, QUEUES)], "");
    push->spec.payload = (struct slice){payload, pick(h, 20) ? pick(h, 100) : pick(h, 3000)};
    push->spec.type = slice_of(type_names[pick(h, TYPES)]);
    push->spec.priority = (uint8_t)pick(h, 10);
    push->spec.keep_ms = pick(h, 2) ? 0 : (int64_t)pick(h, 500);
    push->spec.max_attempts = (uint16_t)(1 + pick(h, 4));
    push->spec.lease_ms = 1 + pick(h, 200);
    push->spec.expires_at = pick(h, 3) ? WALL_NEVER : h->lab->now + (int64_t)pick(h, 100) - 5;
    push->run_at = pick(h, 3) ? 0 : h->lab->now + (int64_t)pick(h, 100);
}

static void make_keyed_push(struct history *h, struct op_push *push, const char *payload)
{
    static const char *const keys[] = {"a", "b", "c"};
    static const uint16_t states[] = {JOB_STATES_UNFINISHED, JOB_STATES_ALL,
                                      1 << JOB_SCHEDULED | 1 << JOB_READY, 1 << JOB_RUNNING,
                                      JOB_STATES_UNFINISHED & ~(1 << JOB_RUNNING)};
    make_push(h, push, payload);
    if (pick(h, 3))
        return;
    push->spec.unique_key = slice_of(keys[pick(h, 3)]);
    push->spec.unique_states = states[pick(h, 5)];
    push->spec.unique_until = pick(h, 2) ? WALL_NEVER : h->lab->now + 1 + (int64_t)pick(h, 80);
    push->conflict = (enum unique_conflict)pick(h, UNIQUE_CONFLICTS);
}

static void make_lease(struct history *h, struct op_lease *op, unsigned slot)
{
    store_op_init(&op->op, STORE_LEASE, h->lab->now);
    op->queue_count = 1 + pick(h, QUEUES);
    for (unsigned i = 0; i < op->queue_count; i++)
        h->lease_queues[slot][i] = some_queue(h);
    op->queues = h->lease_queues[slot];
    op->max = pick(h, 8);
    op->holder = pick(h, 2) ? SLICE("w1") : SLICE("a client with a longer name");
    op->lease_ms = pick(h, 3) ? 0 : pick(h, 100);
    op->by_worker = pick(h, 2);
    op->hold_max = pick(h, 5);
    op->shares = NULL;
    if (pick(h, 2))
        return;
    /* queues that take turns are all different ones */
    for (unsigned i = 0; i < op->queue_count; i++) {
        h->lease_queues[slot][i] = slice_of(queue_names[i]);
        h->lease_shares[slot][i] = pick(h, 4);
    }
    op->shares = h->lease_shares[slot];
}

static void make_step(struct history *h, struct op_step *op)
{
    static const enum store_verb verbs[] = {STORE_CANCEL, STORE_CANCEL,  STORE_RETRY,
                                            STORE_RETRY,  STORE_PROMOTE, STORE_EDIT,
                                            STORE_PARK,   STORE_DELETE,  STORE_TAKE_BACK};
    struct known job = some_job(h);
    store_op_init(&op->op, verbs[pick(h, 9)], h->lab->now);
    op->op.want_names = pick(h, 2);
    op->id = job.id;
    op->token = job.token;
    op->payload = pick(h, 2) ? SLICE("edited") : SLICE("edited to something that is quite a bit longer");
    op->edit = pick(h, 2);
    op->reason = pick(h, 2) ? SLICE_EMPTY : SLICE("no longer needed");
    op->run_at = pick(h, 4) ? 0 : h->lab->now + (int64_t)pick(h, 50);
}

static void make_complete(struct history *h, struct op_complete *op, unsigned slot)
{
    struct known job = some_job(h);
    store_op_init(&op->op, STORE_COMPLETE, h->lab->now);
    op->id = job.id;
    op->token = job.token;
    op->result = pick(h, 2) ? SLICE_EMPTY : SLICE("{\"done\":true}");
    op->child_count = pick(h, 4) ? 0 : pick(h, 3);
    op->children = h->child_at[slot];
    for (unsigned i = 0; i < op->child_count; i++) {
        make_keyed_push(h, &h->children[slot][i], h->payloads[slot]);
        h->child_at[slot][i] = &h->children[slot][i];
    }
}

static void make_holders(struct history *h, union any_op *any)
{
    struct known job = some_job(h);
    switch (pick(h, 4)) {
    case 0:
        store_op_init(&any->op, STORE_FAIL, h->lab->now);
        any->fail.id = job.id;
        any->fail.token = job.token;
        any->fail.verdict = (enum fail_verdict)pick(h, 5);
        any->fail.run_at = h->lab->now + (int64_t)pick(h, 50);
        any->fail.code = SLICE("SCRIPT");
        any->fail.message = SLICE("boom");
        any->fail.traceback = SLICE_EMPTY;
        break;
    case 1:
        store_op_init(&any->op, STORE_RELEASE, h->lab->now);
        any->release.id = job.id;
        any->release.token = job.token;
        any->release.kind = (enum release_kind)pick(h, 4);
        any->release.run_at = h->lab->now + (int64_t)pick(h, 50);
        any->release.message = SLICE("died");
        break;
    case 2:
        store_op_init(&any->op, STORE_EXTEND, h->lab->now);
        any->extend.id = job.id;
        any->extend.token = job.token;
        any->extend.lease_ms = pick(h, 100);
        break;
    default:
        store_op_init(&any->op, STORE_NOTE, h->lab->now);
        any->note.id = job.id;
        any->note.token = job.token;
        any->note.progress = pick(h, 2) ? -1 : 0.25f;
        any->note.text = SLICE("a quarter");
        any->note.log_line = pick(h, 2) ? SLICE_EMPTY : SLICE("a line");
    }
    any->op.want_names = pick(h, 2);
}

static void make_schedule(struct history *h, struct op_schedule *op)
{
    unsigned which = pick(h, SCHEDULES);
    store_op_init(&op->op, STORE_SCHEDULE, h->lab->now);
    op->name = slice_of(schedule_names[which]);
    op->change = pick(h, 2) ? SCHEDULE_SET : (int)pick(h, 6);
    op->source = pick(h, 5) ? SCHEDULE_OF_COMMAND : SCHEDULE_OF_FILE;
    op->revision = pick(h, 3) ? 0 : h->schedules[which].revision;
    op->definition = pick(h, 2) ? SLICE("{}") : SLICE("{\"cron\":\"0 9 * * 1-5\",\"tz\":\"Europe/Berlin\"}");
    op->planned = pick(h, 4) ? h->lab->now + 1 + (int64_t)pick(h, 50) : WALL_NEVER;
    op->reason = SLICE("because");
    op->by = SLICE("ana");
    if (op->change == SCHEDULE_RESUME && pick(h, 2))
        op->passed = (struct tick_row){.outcome = TICK_PAUSED,
                                       .planned = h->schedules[which].planned,
                                       .until = h->schedules[which].planned,
                                       .count = 1,
                                       .note = SLICE_EMPTY};
    if (h->schedules[which].planned >= op->planned)
        op->passed.count = 0;
}

static void make_tick(struct history *h, struct op_tick *op, struct op_push *push, const char *payload)
{
    unsigned which = pick(h, SCHEDULES);
    store_op_init(&op->op, STORE_TICK, h->lab->now);
    op->name = slice_of(schedule_names[which]);
    op->revision = pick(h, 3) ? 0 : h->schedules[which].revision;
    op->row = (struct tick_row){.outcome = (enum tick_outcome)(1 + pick(h, TICK_OUTCOMES - 1)),
                                .planned = h->schedules[which].planned,
                                .count = 1,
                                .note = pick(h, 2) ? SLICE_EMPTY : SLICE("a note")};
    if (op->row.outcome == TICK_RUN || pick(h, 10) == 0)
        op->row.planned = h->lab->now;
    op->extra = pick(h, 10) == 0;
    op->row.until = op->row.planned;
    op->next = op->row.planned > WALL_MAX ? WALL_NEVER : op->row.planned + 1 + (int64_t)pick(h, 30);
    op->overlap = (enum overlap)pick(h, OVERLAPS);
    op->keep = 1 + pick(h, 6);
    make_push(h, push, payload);
    push->spec.schedule = op->name;
    push->spec.planned_at = op->row.planned;
    op->push = tick_made_job(op->row.outcome) ? push : NULL;
}

static void make_other(struct history *h, union any_op *any)
{
    switch (pick(h, 11)) {
    case 10:
        store_op_init(&any->op, STORE_FREE_KEY, h->lab->now);
        any->unique.key = pick(h, 2) ? SLICE("a") : SLICE("b");
        any->unique.job_type = pick(h, 3) ? slice_of(type_names[pick(h, TYPES)]) : SLICE_EMPTY;
        any->op.want_names = pick(h, 2);
        break;
    case 8:
    case 9:
        store_op_init(&any->op, STORE_TYPE, h->lab->now);
        any->type.type = slice_of(type_names[pick(h, TYPES)]);
        any->type.resume = pick(h, 2);
        any->type.reason = pick(h, 2) ? SLICE_EMPTY : SLICE("because");
        any->type.by = SLICE("ana");
        any->type.until = pick(h, 2) ? 0 : h->lab->now + (int64_t)pick(h, 60);
        break;
    case 0:
        store_op_init(&any->op, STORE_QUEUE, h->lab->now);
        any->queue.name = some_queue(h);
        any->queue.change = pick(h, 3) ? QUEUE_RESUME : pick(h, 2) ? QUEUE_PAUSE : QUEUE_DRAIN;
        any->queue.reason = SLICE("because");
        any->queue.by = SLICE_EMPTY;
        any->queue.until = pick(h, 2) ? 0 : h->lab->now + (int64_t)pick(h, 60);
        any->queue.set_limit = pick(h, 4) == 0;
        any->queue.limit = pick(h, 3) ? 0 : pick(h, 60);
        break;
    case 1:
        store_op_init(&any->op, STORE_MANY, h->lab->now);
        any->many.step = (enum store_verb)(STORE_CANCEL + pick(h, 4));
        any->many.filter = (struct job_filter){
            .states = pick(h, 3) ? 1u << (1 + pick(h, 9)) : 0,
            .queue = pick(h, 2) ? SLICE_EMPTY : some_queue(h),
            .type = SLICE_EMPTY,
            .tag = SLICE_EMPTY,
        };
        any->many.since = h->lab->now - (int64_t)pick(h, 100);
        any->many.limit = pick(h, 20);
        any->many.cursor = SLICE_EMPTY;
        break;
    case 2:
        store_op_init(&any->op, STORE_UNPARK, h->lab->now);
        any->unpark.limit = pick(h, 10);
        break;
    case 3:
        store_op_init(&any->op, STORE_RECOVER, h->lab->now);
        any->recover.message = SLICE("killed");
        any->recover.limit = pick(h, 5);
        any->recover.run_at = h->lab->now;
        break;
    default:
        store_op_init(&any->op, STORE_SWEEP, h->lab->now);
        any->sweep.what = pick(h, SWEEPS);
        any->sweep.limit = pick(h, 20);
        any->op.want_names = pick(h, 2);
    }
}

static void make_simple(struct history *h, union any_op *any, unsigned slot)
{
    unsigned kind = pick(h, 20);
    if (kind < 6)
        make_keyed_push(h, &any->push, h->payloads[slot]);
    else if (kind < 10)
        make_complete(h, &any->complete, slot);
    else if (kind < 14)
        make_holders(h, any);
    else if (kind < 17)
        make_step(h, &any->step);
    else if (kind == 17 && pick(h, 3) == 0)
        make_schedule(h, &any->schedule);
    else if (kind == 17 && !h->grouping) /* its push has one place a slot */
        make_tick(h, &any->tick, &h->ticks[slot], h->payloads[slot]);
    else
        make_other(h, any);
}

static void make_group(struct history *h, struct op_group *op, unsigned slot)
{
    store_op_init(&op->op, STORE_GROUP, h->lab->now);
    op->count = 1 + pick(h, 3);
    op->members = h->member_at[slot];
    bool pushes = pick(h, 2), children = false;
    h->grouping = true;
    for (unsigned i = 0; i < op->count; i++) {
        union any_op *member = &h->members[slot][i];
        do {
            memset(member, 0, sizeof *member);
            if (pushes)
                make_keyed_push(h, &member->push, h->payloads[slot]);
            else
                make_simple(h, member, slot);
        } while (member->op.verb == STORE_COMPLETE && children); /* their children share one place */
        children |= member->op.verb == STORE_COMPLETE;
        h->member_at[slot][i] = &member->op;
    }
    h->grouping = false;
}

static void learn_schedule(struct history *h, const struct schedule_view *view)
{
    for (unsigned i = 0; i < SCHEDULES; i++)
        if (slice_equal(view->name, slice_of(schedule_names[i])))
            h->schedules[i] = (struct known_schedule){view->planned, view->revision};
}

static void fold(struct history *h, const void *bytes, size_t len)
{
    h->digest = XXH3_64bits_withSeed(bytes, len, h->digest + len);
}
static void fold_number(struct history *h, uint64_t number)
{
    fold(h, &number, sizeof number);
}

/* What was answered becomes part of the digest, and of what is known. */
static void read_answer(struct history *h, union any_op *any)
{
    struct store_op *op = &any->op;
    fold_number(h, (uint64_t)op->verb << 8 | op->code);
    if (op->code != MQ_OK)
        fold(h, op->err.text, strlen(op->err.text));
    fold(h, op->type.at, op->type.len);
    if (op->verb == STORE_LEASE)
        for (unsigned i = 0; i < any->lease.count; i++) {
            const struct leased_job *job = &any->lease.jobs[i];
            learn(h, job->id, job->token);
            fold_number(h, job->id);
            fold_number(h, job->token);
            fold_number(h, (uint64_t)job->deadline);
            fold(h, job->record.at, job->record.len);
        }
    if (op->code != MQ_OK)
        return;
    if (op->verb == STORE_PUSH) {
        learn(h, any->push.id, 0);
        fold_number(h, any->push.id);
        fold_number(h, any->push.outcome);
        fold_number(h, any->push.holder);
        fold_number(h, any->push.state);
    } else if (op->verb == STORE_COMPLETE) {
        for (unsigned i = 0; i < any->complete.child_count; i++)
            learn(h, any->complete.children[i]->id, 0);
    } else if (op->verb == STORE_SWEEP) {
        for (unsigned i = 0; i < any->sweep.ended_count; i++)
            fold(h, any->sweep.ended[i].name.at, any->sweep.ended[i].name.len);
        for (unsigned i = 0; i < any->sweep.count; i++) {
            fold_number(h, any->sweep.swept[i].id);
            fold_number(h, any->sweep.swept[i].state);
        }
    } else if (op->verb == STORE_MANY) {
        fold(h, any->many.touched, any->many.touched_count * sizeof(job_id));
        fold(h, any->many.holds, any->many.touched_count * sizeof(uint64_t));
    } else if (op->verb == STORE_SCHEDULE) {
        if (any->schedule.change == SCHEDULE_ERASE)
            return;
        learn_schedule(h, &any->schedule.view);
        fold_number(h, any->schedule.view.revision);
        fold_number(h, (uint64_t)any->schedule.view.planned);
    } else if (op->verb == STORE_TICK) {
        if (any->tick.push)
            learn(h, any->tick.push->id, 0);
        learn_schedule(h, &any->tick.view);
        fold_number(h, any->tick.outcome);
        fold_number(h, any->tick.before);
        fold_number(h, any->tick.view.rows);
        fold_number(h, any->tick.view.job);
    } else if (op->verb == STORE_FREE_KEY) {
        fold_number(h, any->unique.rows[0].holder);
        fold_number(h, any->unique.rows[0].waiter);
    } else if (op->verb == STORE_FAIL) {
        fold_number(h, any->fail.state);
    } else if (op->verb == STORE_RELEASE) {
        fold_number(h, any->release.state);
    }
}

static void run_batch(struct history *h)
{
    unsigned count = 1 + pick(h, BATCH_MAX);
    int done = 0;
    for (unsigned i = 0; i < count; i++) {
        union any_op *any = &h->ops[i];
        memset(any, 0, sizeof *any);
        unsigned kind = pick(h, 12);
        if (kind < 2)
            make_lease(h, &any->lease, i);
        else if (kind < 4)
            make_group(h, &any->group, i);
        else
            make_simple(h, any, i);
        any->op.done = lab_done;
        any->op.owner = &done;
    }
    for (unsigned i = 0; i < count; i++)
        store_submit(h->lab->store, &h->ops[i].op);
    store_flush(h->lab->store);
    while (done < (int)count)
        store_collect(h->lab->store);
    for (unsigned i = 0; i < count; i++) {
        union any_op *any = &h->ops[i];
        read_answer(h, any);
        if (any->op.verb == STORE_GROUP)
            for (unsigned j = 0; j < any->group.count; j++) {
                if (any->op.code == MQ_OK)
                    read_answer(h, &h->members[i][j]);
                store_op_release(&h->members[i][j].op);
            }
        for (int j = 0; j < 2; j++)
            store_op_release(&h->children[i][j].op);
        store_op_release(&h->ticks[i].op);
        store_op_release(&any->op);
    }
}

static uint64_t map_bytes_of(struct lab *lab)
{
    LAB_OP(lab, stats, STORE_STATS);
    assert_int_equal(lab_run(lab, &lab->stats.op), MQ_OK);
    return lab->stats.map_bytes;
}

static void tell_problem(void *owner, const struct fsck_problem *problem)
{
    fprintf(stderr, "seed %llu: %s\n", *(unsigned long long *)owner, problem->text);
}

static void check_with_fsck(struct history *h, uint64_t seed)
{
    unsigned long long shown = seed;
    struct fsck_settings settings = {.dir = h->lab->settings.dir, .found = tell_problem, .owner = &shown};
    struct fsck_report report;
    assert_int_equal(store_fsck(&report, &settings, NULL), MQ_OK);
    assert_int_equal(report.problems, 0);
}

/* How a history is lived. */
struct life {
    uint64_t map_bytes;
    unsigned reopen_every, kill_every; /* so many batches; 0: never */
    unsigned readers;
    uint64_t journal_bytes;
};

static XXH64_hash_t run_history(uint64_t seed, struct life life)
{
    struct store_settings wishes = {.nosync = true,
                                    .map_bytes = life.map_bytes,
                                    .journal_bytes = life.journal_bytes,
                                    .crash_limit = 2,
                                    .dead_keep_ms = 300,
                                    .queue_limit = 50,
                                    .readers = life.readers};
    struct history *h = calloc(1, sizeof *h);
    h->lab = lab_open_with(&lmdb_factory, &wishes);
    h->random = seed * 0x9E3779B97F4A7C15ULL + 1;
    memset(h->payloads, 'p', sizeof h->payloads);
    for (unsigned step = 0; step < STEPS; step++) {
        run_batch(h);
        h->lab->now += pick(h, 12);
        if (life.reopen_every && step % life.reopen_every == life.reopen_every - 1)
            lab_reopen(h->lab);
        if (life.kill_every && step % life.kill_every == life.kill_every - 1)
            lab_crash(h->lab);
    }
    if (h->lab->alarms.end)
        fail_msg("seed %llu: %.*s", (unsigned long long)seed, (int)h->lab->alarms.end, h->lab->alarms.at);
    if (life.map_bytes == 1)
        assert_true(map_bytes_of(h->lab) > 256 << 10); /* it did grow */
    store_close(h->lab->store);
    h->lab->store = NULL;
    fold_number(h, lmdb_check(h->lab->settings.dir));
    check_with_fsck(h, seed);
    XXH64_hash_t digest = h->digest;
    lab_close(h->lab);
    free(h);
    return digest;
}

static const struct life roomy = {.map_bytes = 1 << 30};

static unsigned seeds(void)
{
    const char *wanted = getenv("MOONQ_SEEDS");
    return wanted ? (unsigned)atoi(wanted) : 12;
}

static void a_history_gives_the_same_answers_however_the_map_grows(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= seeds(); seed++) {
        XXH64_hash_t plain = run_history(seed, roomy);
        assert_int_equal(plain, run_history(seed, roomy));
        assert_int_equal(plain,
                         run_history(seed, (struct life){.map_bytes = 1})); /* as small as LMDB lets it be */
    }
}

static void a_history_gives_the_same_answers_across_kills(void **state)
{
    (void)state;
    for (unsigned seed = 301; seed < 301 + seeds(); seed++) {
        XXH64_hash_t plain = run_history(seed, roomy);
        assert_int_equal(plain, run_history(seed, (struct life){.map_bytes = 1 << 30, .kill_every = 19}));
        /* a checkpoint every few batches, and a map that grows between them */
        assert_int_equal(
            plain,
            run_history(seed, (struct life){.map_bytes = 1, .kill_every = 41, .journal_bytes = 40000}));
    }
}

static void a_history_gives_the_same_answers_across_restarts(void **state)
{
    (void)state;
    for (unsigned seed = 101; seed < 101 + seeds(); seed++)
        assert_int_equal(run_history(seed, roomy),
                         run_history(seed, (struct life){.map_bytes = 1 << 30, .reopen_every = 7}));
}

static void a_history_gives_the_same_answers_with_threads(void **state)
{
    (void)state;
    for (unsigned seed = 201; seed < 201 + seeds() / 4; seed++)
        assert_int_equal(run_history(seed, roomy),
                         run_history(seed, (struct life){.map_bytes = 1, .readers = 2}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_history_gives_the_same_answers_however_the_map_grows),
        cmocka_unit_test(a_history_gives_the_same_answers_across_restarts),
        cmocka_unit_test(a_history_gives_the_same_answers_across_kills),
        cmocka_unit_test(a_history_gives_the_same_answers_with_threads),
    };
    log_setup((enum log_level)(LOG_ERROR + 1), true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
