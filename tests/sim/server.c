/* The server's life: start, the turns of its loop, a clean stop, a crash; and the calm in which all jobs must end. */
#include "sim.h"

#include <stdlib.h>

#define ROUNDS_MAX                                                                                           \
    400 /* of a loop with no time passing; the longest honest chain is a sweep in small chunks */
#define HOPS_MAX                                                                                             \
    150 /* of a long pass; then the loop stands still for the rest of it, as on a stopped machine */

static struct store_listener inner; /* dispatch's */

static void on_committed(void *owner, const struct store_op *op)
{
    (void)owner;
    inner.committed(inner.owner, op);
}

static void on_unblocked(void *owner, const struct store_news *news)
{
    (void)owner;
    inner.unblocked(inner.owner, news);
}

static void on_news(void *owner, const struct store_news *news)
{
    (void)owner;
    inner.news(inner.owner, news);
}

static void on_alarm(void *owner, const char *event, const char *text)
{
    (void)owner;
    if (strcmp(event, "disk.full") != 0 && strcmp(event, "disk.recovered") != 0)
        sim_wrong("the store raises an alarm: %s: %s", event, text);
    inner.alarm(inner.owner, event, text);
}

/* ---- configuration ------------------------------------------------------------------------------------------- */

void server_set_types(void)
{
    struct push_order types[JOB_TYPES];
    unsigned count = 0;
    for (unsigned i = 0; i < JOB_TYPES; i++) {
        if (!sim.handled[i])
            continue;
        order_init(&types[count]);
        types[count].type = slice_of(type_names[i]);
        if (i == 1) {
            types[count].queue = slice_of(queue_names[2]);
            types[count].attempts = 2;
        }
        count++;
    }
    dispatch_set_types(sim.d, types, count);
}

static void set_pools(void)
{
    struct pool_queue wide[] = {{(char *)"red", 3}, {(char *)"blue", 1}, {(char *)"*", 1}};
    struct pool_queue narrow[] = {{(char *)"mail", 1}, {(char *)"blue", 1}};
    struct pool_settings pools[] = {
        {.name = (char *)"main",
         .workers = 2,
         .slots = SLOTS,
         .order = POOL_WEIGHTED,
         .queues = wide,
         .queue_count = sim.wide ? 3 : 2},
        {.name = (char *)"mail",
         .workers = 1,
         .slots = SLOTS,
         .order = POOL_STRICT,
         .queues = narrow,
         .queue_count = 2},
    };
    dispatch_set_pools(sim.d, pools, 2);
}

/* ---- recovery, as server/recover.c does it ----------------------------------------------------------------- */

static void on_answered(struct store_op *op)
{
    (void)op;
}

/* False: the server was killed before the answer. */
static bool ask(struct store_op *op)
{
    struct store *store = sim.store;
    op->done = on_answered;
    seam.client_op = op;
    dispatch_submit(sim.d, op);
    seam.client_op = NULL;
    server_flush();
    if (sim.store == store)
        server_collect();
    return sim.store == store;
}

/* A disk without any room refuses this too: it is asked again, and nobody is let in before. */
static bool recover(const job_id *suspects, unsigned count)
{
    struct op_recover op = {
        .suspects = suspects, .suspect_count = count, .message = SLICE("the server died")};
    do {
        store_op_init(&op.op, STORE_RECOVER, sim.wall);
        op.run_at = sim.wall + 1000;
        op.limit = 2;
        if (!ask(&op.op))
            return false;
        store_op_release(&op.op);
    } while (op.op.code == MQ_NOSPACE || op.more);
    return true;
}

void server_unpark(void)
{
    struct op_unpark op = {0};
    do {
        op.from = op.next;
        store_op_init(&op.op, STORE_UNPARK, sim.wall);
        op.limit = 2;
        if (!ask(&op.op))
            return;
        store_op_release(&op.op);
    } while (op.next);
}

void server_look(job_id id)
{
    struct op_get op = {.id = id};
    server_settle(); /* what is not answered yet need not be seen */
    store_op_init(&op.op, STORE_GET, sim.wall);
    if (ask(&op.op))
        check_seen(&op);
    store_op_release(&op.op);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void server_open(void)
{
    struct mq_err err;
    struct dispatch_host host = workers_host();
    if (store_open(&sim.store, &sim.store_settings, &err) != MQ_OK)
        sim_wrong("the store does not open: %s", err.text);
    sim.d = dispatch_new(sim.store, &host, &sim.settings);
    inner = dispatch_store_listener(sim.d);
    struct store_listener listener = {
        .committed = on_committed, .news = on_news, .alarm = on_alarm, .unblocked = on_unblocked};
    store_attach(sim.store, &listener, seam_wake, NULL);
    sim.events = (struct event_listener){.event = check_event};
    dispatch_listen(sim.d, &sim.events);
    check_forget_events();
    sim.rests_until = 0;
    memset(sim.orphans, 0, sizeof sim.orphans); /* the restart gives them back */
    set_pools();
    server_set_types();
    store_collect(sim.store);
    sim.wake = (struct dispatch_wake){sim.now, sim.wall};
}

void server_start(bool first)
{
    struct dispatch *d;
    job_id suspects[SEATS];
    unsigned count = workers_suspects(suspects);
    for (unsigned i = 0; i < SEATS; i++)
        workers_vanish(&sim.seats[i]);
    server_open();
    d = sim.d;
    if (!first) {
        check_contents(true);
        if (!recover(suspects, count))
            return; /* killed again: whoever came after us did the rest */
        server_unpark();
    }
    if (sim.d != d)
        return;
    entries_restarted();
    for (unsigned i = 0; i < sim.workers && !sim.seats[i].worker; i++)
        workers_start(&sim.seats[i]);
}

void server_crash(void)
{
    seam_bury();
    clients_forget();
    say("  the server is gone; it starts again");
    server_start(false);
}

void server_stop(void)
{
    struct dispatch *d = sim.d;
    dispatch_stop(d);
    server_settle();
    if (sim.d != d)
        return; /* it was killed while it stopped */
    workers_stop_all();
    server_settle();
    if (sim.d != d)
        return;
    clients_check_rest();
    store_close(sim.store);
    dispatch_unlisten(sim.d, &sim.events);
    dispatch_free(sim.d);
    seam.woken = false;
    clients_forget();
    say("  it has stopped cleanly; it starts again");
    server_start(false);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

void server_turn(void)
{
    sim.turns++;
    sim.wake = dispatch_tick(sim.d, sim.wall, sim.now);
    workers_read();
}

void server_flush(void)
{
    if (!seam_flush(sim.store))
        server_crash();
}

void server_collect(void)
{
    if (!seam_collect(sim.store))
        server_crash();
}

void server_settle(void)
{
    for (unsigned i = 0; i < ROUNDS_MAX; i++) {
        server_turn();
        if (seam_busy()) {
            server_flush();
            server_collect();
        } else if (sim.wake.wall > sim.wall && sim.wake.mono > sim.now) {
            return;
        }
    }
    sim_wrong("the loop never comes to rest: %u turns without an end, at one moment", ROUNDS_MAX);
}

static void advance(int64_t ms)
{
    sim.now += ms;
    sim.wall += ms;
}

static mono_ms next_wake(void)
{
    mono_ms by_wall = sim.wake.wall == WALL_NEVER ? MONO_NEVER
                      : sim.wake.wall <= sim.wall ? sim.now
                                                  : sim.now + (sim.wake.wall - sim.wall);
    mono_ms next = sim.wake.mono < by_wall ? sim.wake.mono : by_wall;
    return next < sim.now ? sim.now : next;
}

void server_pass(int64_t ms)
{
    mono_ms until = sim.now + ms;
    unsigned hops = 0;
    server_turn(); /* the loop never sleeps without having looked */
    if (seam_busy())
        sim.disturbed = true; /* a slow store: what it did is not known before the end */
    while (next_wake() <= until && hops++ < HOPS_MAX) {
        advance(next_wake() - sim.now);
        workers_beat();
        workers_end_doomed(false);
        server_settle();
    }
    advance(until - sim.now);
    if (hops >= HOPS_MAX) {
        sim.disturbed = true;
        server_settle();
    }
}

/* ---- the calm ------------------------------------------------------------------------------------------------------ */

static void resume_all(void)
{
    for (unsigned i = 0; i < JOB_TYPES; i++) {
        struct op_type op = {.type = slice_of(type_names[i]), .resume = true};
        store_op_init(&op.op, STORE_TYPE, sim.wall);
        ask(&op.op);
        store_op_release(&op.op);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        struct op_queue op = {
            .name = slice_of(queue_names[i]), .change = QUEUE_RESUME, .reason = SLICE_EMPTY};
        op.set_limit = true;
        store_op_init(&op.op, STORE_QUEUE, sim.wall);
        ask(&op.op);
        store_op_release(&op.op);
    }
}

static bool is_open(const struct model_job *job)
{
    return !model_is_final(job);
}

/* It waits for a key that a finished record holds for as long as it is kept. */
static bool waits_for_record(const struct model_job *job)
{
    const struct model_job *holder =
        job->role == KEY_WAITS ? model_key(&sim.model, job->type, job->key, KEY_HOLDS) : NULL;
    return holder && model_is_final(holder);
}

static unsigned open_jobs(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sim.model.job_count; i++)
        count += is_open(&sim.model.jobs[i]) && !waits_for_record(&sim.model.jobs[i]);
    return count;
}

/* The loop sleeps until just before the next moment that matters, and then must wake by itself. */
static void skip_to(wall_ms moment)
{
    if (moment - sim.wall > 2) {
        advance(moment - sim.wall - 1);
        sim.disturbed = true;
        server_settle();
    }
    server_pass(moment > sim.wall ? moment - sim.wall : 100); /* it may rest: the disk was full */
}

static bool is_at_work(const struct model_job *job)
{
    return job->state == JOB_RUNNING || job->state == JOB_READY;
}

static unsigned at_work(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sim.model.job_count; i++)
        count += is_at_work(&sim.model.jobs[i]);
    return count;
}

void server_calm(void)
{
    sim.calm = true;
    seam.fate = FATE_NONE;
    server_settle();
    workers_end_doomed(true);
    for (unsigned i = 0; i < JOB_TYPES; i++)
        sim.handled[i] = true;
    server_set_types();
    server_unpark();
    resume_all();
    entries_pause(true);
    for (unsigned i = 0; i < SEATS; i++)
        if (!sim.seats[i].worker)
            workers_start(&sim.seats[i]);
    server_settle();
    for (unsigned rounds = 0; open_jobs(); rounds++) {
        unsigned before = at_work();
        if (rounds == 2000)
            sim_wrong("%u jobs are left behind though all is well", open_jobs());
        workers_finish_all();
        clients_finish();
        server_settle();
        check_rest();
        if (at_work() && at_work() < before)
            continue; /* it goes on by itself */
        wall_ms due = model_next_due(&sim.model), lease = model_next_lease(&sim.model);
        if (at_work() == 0 && due != WALL_NEVER)
            skip_to(due);
        else if (lease != WALL_NEVER && before == at_work())
            skip_to(lease); /* somebody who is gone holds it */
        else if (model_next_pause(&sim.model) != WALL_NEVER)
            skip_to(model_next_pause(&sim.model)); /* over, but the sweep that lets go of jobs may rest */
        check_rest();
    }
    sim.calm = false;
    entries_pause(false);
}
