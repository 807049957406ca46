/* Producers, consumers and people: what they ask, and what they must be told. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- one operation ------------------------------------------------------------------------------------------ */

#define MEMBERS_MAX 4

/* An operation of a client, with all that it points to. */
struct request {
    union {
        struct store_op op;
        struct op_push push;
        struct op_complete complete;
        struct op_fail fail;
        struct op_extend extend;
        struct op_note note;
        struct op_step step;
        struct op_unique unique;
        struct op_many many;
        struct op_queue queue;
        struct op_type type;
        struct op_unpark unpark;
        struct op_group group;
    };
    char payload[TEXT_MAX], *padding;
    struct buf cursor;
    struct store_op *members[MEMBERS_MAX];
};

static void request_free(struct request *request)
{
    if (request->op.verb == STORE_GROUP)
        for (unsigned i = 0; i < request->group.count; i++)
            request_free((struct request *)request->members[i]);
    store_op_release(&request->op);
    buf_release(&request->cursor);
    free(request->padding);
    free(request);
}

static void submit(struct request *request);

static void on_answered(struct store_op *op)
{
    struct request *request = (struct request *)op;
    if (op->code != MQ_OK)
        say("  refused: %s: %s", mq_code_name(op->code), op->err.text);
    if (op->verb == STORE_MANY && op->code == MQ_OK && !request->many.finished) {
        /* the next chunk, from a copy of the cursor */
        buf_clear(&request->cursor);
        buf_add_slice(&request->cursor, request->many.next_cursor);
        request->many.cursor = buf_bytes(&request->cursor);
        store_op_release(op);
        op->now = sim.wall;
        submit(request);
        return;
    }
    request_free(request);
}

static void submit(struct request *request)
{
    request->op.done = on_answered;
    seam.client_op = &request->op;
    dispatch_submit(sim.d, &request->op);
    seam.client_op = NULL;
}

static struct request *request_new(enum store_verb verb)
{
    struct request *request = calloc(1, sizeof *request);
    store_op_init(&request->op, verb, sim.wall);
    return request;
}

/* ---- PUSH -------------------------------------------------------------------------------------------------------- */

static struct slice payload_text(struct request *request)
{
    unsigned spawned = sim.spawned++;
    if (spawned)
        snprintf(request->payload, sizeof request->payload, "\"%u.%u\"", sim.step->no, spawned);
    else
        snprintf(request->payload, sizeof request->payload, "\"%u\"", sim.step->no);
    if (!chance(3))
        return slice_of(request->payload);
    size_t len = 3000 + dice(9000); /* more than a page of the store */
    request->padding = malloc(len);
    memset(request->padding, ' ', len);
    memcpy(request->padding, request->payload, strlen(request->payload));
    return (struct slice){request->padding, len};
}

static int64_t some_delay(void)
{
    switch (dice(4)) {
    case 0:
        return dice(50);
    case 1:
        return dice(2000);
    case 2:
        return dice(60000);
    default:
        return 1000; /* many are due at one moment */
    }
}

static void some_order(struct push_order *order)
{
    order_init(order);
    order->type = slice_of(type_names[dice(JOB_TYPES)]);
    if (chance(90))
        order->queue = slice_of(queue_names[dice(QUEUES)]);
    if (chance(60))
        order->priority = (int32_t)(chance(60) ? 4 + dice(3) : dice(10));
    if (chance(30))
        order->delay_ms = some_delay();
    else if (chance(10))
        order->at_ms = sim.wall + dice_between(-1000, 3000);
    if (chance(90))
        order->attempts = 1 + (int32_t)dice(4);
    if (chance(30))
        order->timeout_ms = 20 + dice(3000);
    order->lease_ms = chance(50) ? 100 + (int64_t)dice(3000) : ORDER_UNSET;
    if (chance(15))
        order->expires_ms = 1 + some_delay();
    if (chance(80))
        order->keep_ms = chance(40) ? 0 : some_delay();
}

/* Few keys, so that they meet; every way to meet. */
static void some_key(struct push_order *order)
{
    static const char *const keys[] = {"k", "l"};
    static const int32_t states[] = {JOB_STATES_UNFINISHED & ~(1 << JOB_RUNNING), JOB_STATES_ALL,
                                     1 << JOB_RUNNING | 1 << JOB_READY,
                                     1 << JOB_RUNNING | 1 << JOB_CANCELLED};
    order->unique = slice_of(keys[dice(2)]);
    order->conflict = (int32_t)dice(UNIQUE_CONFLICTS);
    if (chance(40))
        order->unique_for_ms = 1 + some_delay();
    if (chance(30))
        order->unique_in = states[dice(4)];
}

static struct request *push_of(struct push_order *order)
{
    struct request *request = request_new(STORE_PUSH);
    struct mq_err err;
    order->payload = payload_text(request);
    if (dispatch_resolve(sim.d, &request->push, order, sim.wall, &err) != MQ_OK)
        sim_wrong("a good push is refused: %s", err.text);
    say("push of job \"%.20s type %.*s, queue %.*s, priority %u, attempts %u%s", request->payload + 1,
        SLICE_ARG(order->type), SLICE_ARG(request->push.spec.queue), request->push.spec.priority,
        request->push.spec.max_attempts, request->push.run_at > sim.wall ? ", later" : "");
    return request;
}

static struct request *push_new(void)
{
    struct push_order order;
    some_order(&order);
    if (chance(20))
        some_key(&order);
    return push_of(&order);
}

void step_push(void);
void step_push(void)
{
    submit(push_new());
}

/* Many at once, all due or expired at one moment: more than one chunk of a sweep. */
void step_burst(void);
void step_burst(void)
{
    unsigned count = 2 + dice(9);
    int64_t delay_ms = chance(50) ? 1 + (int64_t)dice(1500) : ORDER_UNSET;
    int64_t expires_ms = delay_ms == ORDER_UNSET || chance(50) ? 1 + (int64_t)dice(1500) : ORDER_UNSET;
    struct slice queue = slice_of(queue_names[dice(QUEUES)]);
    while (count--) {
        struct push_order order;
        some_order(&order);
        order.queue = queue;
        order.delay_ms = delay_ms;
        order.at_ms = ORDER_UNSET;
        order.expires_ms = expires_ms;
        submit(push_of(&order));
    }
}

/* ---- steps by people ------------------------------------------------------------------------------------------ */

static bool anyone(const struct model_job *job)
{
    (void)job;
    return true;
}

static bool is_running(const struct model_job *job)
{
    return job->state == JOB_RUNNING;
}

static bool may_wait(const struct model_job *job)
{
    return !model_is_final(job);
}

static bool has_ended(const struct model_job *job)
{
    return model_is_final(job);
}

static bool is_delayed(const struct model_job *job)
{
    return job->state == JOB_SCHEDULED || job->state == JOB_RETRYING;
}

static struct request *step_new(enum store_verb verb, const char *what,
                                bool (*wanted)(const struct model_job *))
{
    struct model_job *job = pick_job(chance(80) ? wanted : anyone);
    if (!job)
        return NULL;
    struct request *request = request_new(verb);
    say("%s of job %s, which is %s", what, job->name, state_name(job->state));
    request->step.id = job->id;
    request->step.payload = request->step.reason = SLICE_EMPTY;
    if (verb == STORE_EDIT || (verb == STORE_RETRY && chance(30))) {
        request->step.edit = true;
        request->step.payload = payload_text(request);
    }
    if (verb == STORE_RESCHEDULE || ((verb == STORE_RETRY || verb == STORE_PROMOTE) && chance(20)))
        request->step.run_at = sim.wall + dice_between(-10, 3000);
    if (verb == STORE_CANCEL && chance(50))
        request->step.reason = SLICE("not wanted any more");
    return request;
}

static struct request *free_key_new(void)
{
    struct request *request = request_new(STORE_FREE_KEY);
    request->unique.key = chance(50) ? SLICE("k") : SLICE("l");
    request->unique.job_type = chance(70) ? slice_of(type_names[dice(JOB_TYPES)]) : SLICE_EMPTY;
    say("UNIQUE RELEASE %s", request->unique.key.at);
    return request;
}

static struct request *some_step(void)
{
    switch (dice(8)) {
    case 7:
        return free_key_new();
    case 6:
        return step_new(STORE_RESCHEDULE, "RESCHEDULE", is_delayed);
    case 5:
        return step_new(STORE_TAKE_BACK, "RELEASE", is_running);
    case 0:
        return step_new(STORE_CANCEL, "CANCEL", may_wait);
    case 1:
        return step_new(STORE_RETRY, "RETRY", has_ended);
    case 2:
        return step_new(STORE_DELETE, "DELETE", anyone);
    case 3:
        return step_new(STORE_PROMOTE, "PROMOTE", is_delayed);
    default:
        return step_new(STORE_EDIT, "EDIT", may_wait);
    }
}

void step_person(void);
void step_person(void)
{
    struct request *request = some_step();
    if (request)
        submit(request);
}

void step_cancel_running(void);
void step_cancel_running(void)
{
    struct request *request = step_new(STORE_CANCEL, "CANCEL", is_running);
    if (request)
        submit(request);
}

void step_release(void);
void step_release(void)
{
    struct request *request = step_new(STORE_TAKE_BACK, "RELEASE", is_running);
    if (request)
        submit(request);
}

void step_group(void);
void step_group(void)
{
    struct request *group = request_new(STORE_GROUP);
    bool mixed = chance(40);
    say("MULTI");
    group->group.members = group->members;
    for (unsigned count = 1 + dice(MEMBERS_MAX); count; count--) {
        struct request *member = mixed && chance(50) ? some_step() : push_new();
        if (member)
            group->members[group->group.count++] = &member->op;
    }
    say("EXEC");
    if (group->group.count)
        submit(group);
    else
        request_free(group);
}

static void some_filter(struct job_filter *filter)
{
    *filter = (struct job_filter){.queue = SLICE_EMPTY, .type = SLICE_EMPTY, .tag = SLICE_EMPTY};
    static const uint32_t states[] = {
        1u << JOB_DEAD,
        1u << JOB_READY,
        1u << JOB_SCHEDULED | 1u << JOB_RETRYING,
        1u << JOB_CANCELLED | 1u << JOB_SUCCEEDED,
        1u << JOB_RUNNING,
        1u << JOB_READY | 1u << JOB_RUNNING | 1u << JOB_DEAD,
        0,
    };
    static const char *const holders[] = {"main.1", "main.2", "mail.3", "main.4", "client.0", "client.1"};
    filter->states = states[dice(sizeof states / sizeof *states)];
    if (chance(50))
        filter->queue = slice_of(queue_names[dice(QUEUES)]);
    if (chance(20))
        filter->type = slice_of(type_names[dice(JOB_TYPES)]);
    if (chance(10))
        filter->holder = slice_of(holders[dice(sizeof holders / sizeof *holders)]);
    if (chance(20))
        filter->before = sim.wall - dice(3000);
    if (chance(20))
        filter->after = sim.wall - dice(3000);
}

static enum store_verb bulk_verb(void)
{
    static const enum store_verb verbs[] = {STORE_CANCEL, STORE_RETRY, STORE_DELETE, STORE_PROMOTE,
                                            STORE_TAKE_BACK};
    return verbs[dice(5)];
}

/* In chunks of a few, straight to the store. */
void step_many(void);
void step_many(void)
{
    struct request *request = request_new(STORE_MANY);
    struct op_many *many = &request->many;
    many->step = bulk_verb();
    some_filter(&many->filter);
    many->since = sim.wall + (chance(80) ? 1 : 0);
    many->limit = 1 + dice(6);
    many->cursor = SLICE_EMPTY;
    say("a bulk step (verb %d) by a filter, %u at once", (int)many->step, many->limit);
    submit(request);
}

static void bulk_done(struct bulk *bulk)
{
    if (bulk->code != MQ_OK && bulk->code != MQ_NOSPACE)
        sim_wrong("a bulk step ends with %s", mq_code_name(bulk->code));
    sim.bulks--;
    buf_release(&bulk->ids);
    free(bulk);
}

void step_bulk(void);
void step_bulk(void)
{
    struct bulk *bulk = calloc(1, sizeof *bulk);
    bulk->step = bulk_verb();
    some_filter(&bulk->filter);
    bulk->ids_max = dice(3);
    bulk->since = sim.wall + 1;
    bulk->done = bulk_done;
    say("a bulk step (verb %d) by a filter", (int)bulk->step);
    sim.bulks++;
    dispatch_bulk(sim.d, bulk);
    if (chance(10))
        dispatch_bulk_stop(sim.d, bulk->no);
}

/* ---- queues and the application ---------------------------------------------------------------------------------- */

void step_queue(void);
void step_queue(void)
{
    static const char *const names[] = {"a look at", "pause of", "drain of", "resumption of"};
    struct request *request = request_new(STORE_QUEUE);
    struct op_queue *queue = &request->queue;
    unsigned change = chance(50) ? QUEUE_RESUME : dice(4);
    queue->name = slice_of(queue_names[dice(QUEUES)]);
    queue->change = change;
    queue->reason = SLICE("maintenance");
    queue->by = SLICE("ana");
    queue->until = chance(50) ? 0 : sim.wall + 1 + some_delay();
    if (chance(30)) {
        queue->set_limit = true;
        queue->limit = chance(50) ? QUEUE_UNLIMITED : 1 + dice(8);
    }
    say("%s queue %.*s", names[change], SLICE_ARG(queue->name));
    if (queue->set_limit)
        say("  its limit is %llu now", (unsigned long long)queue->limit);
    submit(request);
}

void step_type(void);
void step_type(void)
{
    struct request *request = request_new(STORE_TYPE);
    struct op_type *type = &request->type;
    type->type = slice_of(type_names[dice(JOB_TYPES)]);
    type->resume = chance(50);
    type->reason = SLICE("its service is down");
    type->by = SLICE("ana");
    type->until = chance(50) ? 0 : sim.wall + 1 + some_delay();
    say("%s of type %.*s%s", type->resume ? "resumption" : "pause", SLICE_ARG(type->type),
        !type->resume && type->until ? ", for a while" : "");
    submit(request);
}

void step_reload(void);
void step_reload(void)
{
    unsigned type = dice(JOB_TYPES);
    sim.handled[type] = !sim.handled[type];
    say("reload: type %s has %s handler now", type_names[type], sim.handled[type] ? "a" : "no");
    server_set_types();
    server_unpark();
}

void step_configure(void);
void step_configure(void)
{
    sim.model.crash_limit = sim.store_settings.crash_limit = dice(4);
    sim.model.queue_limit = sim.store_settings.queue_limit = chance(70) ? QUEUE_UNLIMITED : 3 + dice(10);
    say("configuration: %u crashes make poison, %llu jobs fill a queue", sim.model.crash_limit,
        (unsigned long long)sim.model.queue_limit);
    store_configure(sim.store, &sim.store_settings);
}

/* ---- consumers ------------------------------------------------------------------------------------------------------- */

static void remember(const struct leased_job *job)
{
    if (sim.held_count == HELD_MAX) {
        memmove(sim.held, sim.held + 1, (HELD_MAX - 1) * sizeof *sim.held);
        sim.held_count--;
    }
    sim.held[sim.held_count++] = (struct held){job->id, job->token};
}

static void on_fetched(struct fetch *fetch, const struct op_lease *lease)
{
    struct client_fetch *client = fetch->owner;
    client->used = false;
    if (lease->op.code != MQ_OK && lease->op.code != MQ_NOSPACE)
        sim_wrong("a FETCH ends with %s", mq_code_name(lease->op.code));
    if (lease->count > fetch->count)
        sim_wrong("a FETCH of %u got %u jobs", fetch->count, lease->count);
    for (unsigned i = 0; i < lease->count && lease->op.code == MQ_OK; i++) {
        const struct model_job *job = model_find(&sim.model, lease->jobs[i].id);
        if (lease->jobs[i].token > sim.model.last_token || (job && job->token < lease->jobs[i].token))
            sim_wrong("a FETCH got %s before its lease is on disk", name_of(lease->jobs[i].id));
        say("  FETCH got %s", name_of(lease->jobs[i].id));
        remember(&lease->jobs[i]);
    }
}

static void fetch_from(struct client_fetch *client, unsigned queues, unsigned count, mono_ms give_up)
{
    *client = (struct client_fetch){.used = true};
    unsigned first = dice(QUEUES);
    for (unsigned i = 0; i < queues; i++)
        client->queues[i] = slice_of(queue_names[(first + i) % QUEUES]);
    snprintf(client->holder, sizeof client->holder, "client.%u", (unsigned)(client - sim.fetches));
    client->fetch = (struct fetch){
        .queues = client->queues,
        .queue_count = queues,
        .count = count,
        .holder = slice_of(client->holder),
        .give_up = give_up,
        .lease_ms = sim.calm || chance(50) ? 0 : 50 + dice(2000),
        .done = on_fetched,
        .owner = client,
    };
    dispatch_fetch(sim.d, &client->fetch);
}

void step_fetch(void);
void step_fetch(void)
{
    struct client_fetch *client = &sim.fetches[dice(FETCHES)];
    if (client->used)
        return;
    unsigned queues = 1 + dice(QUEUES), count = 1 + dice(4);
    mono_ms wait = chance(50) ? 1 + dice(5000) : 0;
    say("FETCH of %u from %u queues, waiting %lld ms", count, queues, (long long)wait);
    fetch_from(client, queues, count, wait ? sim.now + wait : 0);
}

void step_hang_up(void);
void step_hang_up(void)
{
    struct client_fetch *client = &sim.fetches[dice(FETCHES)];
    if (!client->used)
        return;
    say("a client hangs up while it waits for a FETCH");
    dispatch_fetch_abandon(sim.d, &client->fetch);
    client->used = false;
}

static bool is_with_worker(const struct model_job *job)
{
    return job->state == JOB_RUNNING && job->by_worker;
}

/*
 * One that a client holds or held; a worker's, whose handler has passed its token on; or any job, with a token that was
 * never its.
 */
static bool some_lease(job_id *id, uint64_t *token, const char *what)
{
    uint64_t best = 0;
    const struct held *held = NULL;
    struct model_job *job;
    if (chance(25) && (job = pick_job(is_with_worker))) {
        *id = job->id;
        *token = job->token;
        say("%s of job %s, which worker %s runs, with its token", what, job->name, job->holder);
        return true;
    }
    if (chance(15) && (job = pick_job(anyone))) {
        *id = job->id;
        *token = chance(50) ? 1 : job->token + 1;
        say("%s of job %s with a token that is not its own", what, job->name);
        return true;
    }
    uint64_t salt = dice(UINT32_MAX);
    for (unsigned i = 0; i < sim.held_count; i++) {
        uint64_t rank = mix_text(name_of(sim.held[i].id), salt) + sim.held[i].token % 7;
        if (!held || rank > best) {
            best = rank;
            held = &sim.held[i];
        }
    }
    if (!held)
        return false;
    *id = held->id;
    *token = held->token;
    say("%s of %s by its client", what, name_of(held->id));
    return true;
}

static void ack(job_id id, uint64_t token)
{
    struct request *request = request_new(STORE_COMPLETE);
    request->complete.id = id;
    request->complete.token = token;
    request->complete.result = chance(50) ? SLICE("\"ok\"") : SLICE_EMPTY;
    submit(request);
}

void step_ack(void);
void step_ack(void)
{
    job_id id;
    uint64_t token;
    if (some_lease(&id, &token, "ACK"))
        ack(id, token);
}

void step_nack(void);
void step_nack(void)
{
    job_id id;
    uint64_t token;
    if (!some_lease(&id, &token, "NACK"))
        return;
    struct request *request = request_new(STORE_FAIL);
    request->fail.id = id;
    request->fail.token = token;
    request->fail.verdict = chance(80) ? FAIL_RETRY : (enum fail_verdict)dice(5);
    request->fail.run_at = sim.wall + some_delay();
    request->fail.code = SLICE("SCRIPT");
    request->fail.message = SLICE("no");
    request->fail.traceback = SLICE_EMPTY;
    submit(request);
}

void step_extend(void);
void step_extend(void)
{
    job_id id;
    uint64_t token;
    if (!some_lease(&id, &token, "EXTEND"))
        return;
    struct request *request = request_new(STORE_EXTEND);
    request->extend.id = id;
    request->extend.token = token;
    request->extend.lease_ms = 1 + dice(3000);
    sim.shortened[sim.shortened_count++ % 64] = token;
    submit(request);
}

void step_note(void);
void step_note(void)
{
    job_id id;
    uint64_t token;
    if (!some_lease(&id, &token, "PROGRESS"))
        return;
    struct request *request = request_new(STORE_NOTE);
    request->note.id = id;
    request->note.token = chance(80) ? token : 0;
    request->note.progress = (float)dice(5) / 4;
    request->note.text = SLICE("on its way");
    request->note.log_line = chance(30) ? SLICE("a line") : SLICE_EMPTY;
    submit(request);
}

/* ---- WAIT ------------------------------------------------------------------------------------------------------------ */

static void on_ended(struct waiter *waiter, enum job_state state)
{
    struct client_wait *client = waiter->owner;
    client->told = true;
    client->state = state;
}

void step_wait(void);
void step_wait(void)
{
    struct client_wait *client = &sim.waits[dice(WAITERS)];
    struct model_job *job = pick_job(may_wait);
    if (client->used || !job)
        return;
    say("WAIT for job %s", job->name);
    *client = (struct client_wait){.used = true};
    client->waiter = (struct waiter){.id = job->id, .done = on_ended, .owner = client};
    dispatch_wait(sim.d, &client->waiter);
}

void step_wait_stop(void);
void step_wait_stop(void)
{
    struct client_wait *client = &sim.waits[dice(WAITERS)];
    if (!client->used || client->told)
        return;
    say("a client does not WAIT any more");
    dispatch_wait_stop(sim.d, &client->waiter);
    client->used = false;
}

/* ---- for the server ------------------------------------------------------------------------------------------------- */

void clients_forget(void)
{
    memset(sim.fetches, 0, sizeof sim.fetches);
    memset(sim.waits, 0, sizeof sim.waits);
    sim.bulks = 0;
}

void clients_finish(void)
{
    for (unsigned i = 0; i < FETCHES; i++)
        if (sim.fetches[i].used) {
            dispatch_fetch_abandon(sim.d, &sim.fetches[i].fetch);
            sim.fetches[i].used = false;
        }
    while (sim.held_count) {
        struct held held = sim.held[--sim.held_count];
        ack(held.id, held.token);
    }
    fetch_from(&sim.fetches[0], QUEUES, 2, 0); /* what no pool serves, or one client finds first */
}

static void check_fetch(const struct client_fetch *client)
{
    const struct fetch *fetch = &client->fetch;
    if (fetch->give_up <= sim.now)
        sim_wrong("a FETCH still waits, and its time is over");
    for (unsigned i = 0; i < fetch->queue_count; i++) {
        const struct model_queue *queue = model_queue(&sim.model, fetch->queues[i].at);
        for (unsigned k = 0; queue && !queue->paused && k < sim.model.job_count; k++)
            if (sim.model.jobs[k].state == JOB_READY && !sim.model.jobs[k].held &&
                strcmp(sim.model.jobs[k].queue, queue->name) == 0)
                sim_wrong("a FETCH waits for queue %s, which has a ready job", queue->name);
    }
}

void clients_check_rest(void)
{
    if (sim.bulks)
        sim_wrong("a bulk step never ends");
    for (unsigned i = 0; i < FETCHES; i++)
        if (sim.fetches[i].used)
            check_fetch(&sim.fetches[i]);
    for (unsigned i = 0; i < WAITERS; i++) {
        struct client_wait *client = &sim.waits[i];
        const struct model_job *job = model_find(&sim.model, client->waiter.id);
        if (!client->used)
            continue;
        if (!client->told && (!job || model_is_final(job)))
            sim_wrong("somebody WAITs for %s, which is %s, and was not told", name_of(client->waiter.id),
                      job ? state_name(job->state) : "gone");
        if (client->told && client->state < JOB_SUCCEEDED && client->state != JOB_NONE)
            sim_wrong("a WAIT for %s was answered %s", name_of(client->waiter.id), state_name(client->state));
        if (client->told)
            client->used = false;
    }
}
