/*
 * Workers that are only memory: a run page, the frames they were sent, and what they choose to say.
 *
 * They are also the witnesses. What dispatch does to a job on its own must follow from what a worker did: nobody is
 * acknowledged who did not say DONE, nobody is charged who was not on a CPU, nobody is taken back who has begun.
 */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

/* ---- what dispatch asks of the server ---------------------------------------------------------------------- */

static void host_write(void *owner, struct worker *worker)
{
    (void)owner;
    (void)worker; /* workers_read, at the turn's end */
}

static void read_frames(struct seat *seat);
static bool is_revoked(const struct seat *seat, const struct fake_job *job);

static bool owes_an_end(struct seat *seat)
{
    read_frames(seat);
    for (unsigned i = 0; i < seat->job_count; i++)
        if (seat->jobs[i].hard || is_revoked(seat, &seat->jobs[i]))
            return true;
    return false;
}

static void host_kill(void *owner, struct worker *worker, int signal)
{
    struct seat *seat = worker_process(worker);
    (void)owner;
    if (signal == SIGKILL && !seat->doomed)
        say("  worker %s is killed", seat->name);
    if (signal == SIGKILL && !seat->doomed)
        seat->dies_at = sim.now + (chance(50) ? 0 : dice(4000));
    if (signal != SIGKILL)
        return;
    if (!seat->killed) {
        seat->killed_for = atomic_load(&seat->page->on_cpu);
        seat->killed_for_others = owes_an_end(seat);
    }
    seat->doomed = seat->killed = true;
}

static void host_ready(void *owner, struct worker *worker, struct slice json)
{
    struct seat *seat = worker_process(worker);
    (void)owner;
    (void)json;
    if (dispatch_stopping(sim.d) || seat->retired)
        return;
    seat->ready = true;
    dispatch_worker_ready(sim.d, worker, sim.now);
}

static uint32_t host_chance(void *owner)
{
    (void)owner;
    return (uint32_t)dice(UINT32_MAX);
}

struct dispatch_host workers_host(void)
{
    return (struct dispatch_host){
        .write = host_write, .kill = host_kill, .ready = host_ready, .chance = host_chance};
}

/* ---- what a worker holds ------------------------------------------------------------------------------------- */

static struct fake_job *job_in(struct seat *seat, job_id id, uint64_t token)
{
    for (unsigned i = 0; i < seat->job_count; i++)
        if (seat->jobs[i].id == id && (token == 0 || seat->jobs[i].token == token))
            return &seat->jobs[i];
    return NULL;
}

static struct seat *seat_of(job_id id, uint64_t token, struct fake_job **job)
{
    for (unsigned i = 0; i < SEATS; i++)
        if (sim.seats[i].worker && (*job = job_in(&sim.seats[i], id, token)))
            return &sim.seats[i];
    return NULL;
}

static bool is_revoked(const struct seat *seat, const struct fake_job *job)
{
    return atomic_load(&seat->page->slots[job->slot]) == SLOT_REVOKED;
}

/* Its last word was said; the server knows when all of it has arrived: see feed. */
static void let_go(struct seat *seat, struct fake_job *job)
{
    if (atomic_load(&seat->page->on_cpu) == job->id)
        atomic_store(&seat->page->on_cpu, 0);
    job->said = true;
}

static void forget_said(struct seat *seat)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < seat->job_count; i++)
        if (!seat->jobs[i].said)
            seat->jobs[kept++] = seat->jobs[i];
    seat->job_count = kept;
}

/* ---- what people took from it -------------------------------------------------------------------------------- */

static void take(uint64_t token)
{
    sim.taken[sim.taken_count++ % 256] = token;
}

static bool is_taken(uint64_t token)
{
    for (unsigned i = 0; i < 256; i++)
        if (sim.taken[i] == token)
            return true;
    return false;
}

void workers_released(const struct store_op *op)
{
    const struct op_many *many = (const struct op_many *)op;
    const struct op_group *group = (const struct op_group *)op;
    if (op->verb == STORE_TAKE_BACK)
        take(((const struct op_step *)op)->holds);
    for (unsigned i = 0; op->verb == STORE_MANY && many->step == STORE_TAKE_BACK && i < many->touched_count;
         i++)
        take(many->holds[i]);
    for (unsigned i = 0; op->verb == STORE_GROUP && i < group->count; i++)
        workers_released(group->members[i]);
}

/* It also has an earlier attempt of this job, which was taken: then nobody knows which of the two had the CPU. */
static bool has_taken(const struct seat *seat, job_id id)
{
    for (unsigned i = 0; i < seat->job_count; i++)
        if (seat->jobs[i].id == id && is_taken(seat->jobs[i].token) && !is_revoked(seat, &seat->jobs[i]))
            return true;
    return false;
}

void workers_check_rest(void)
{
    for (unsigned i = 0; i < SEATS; i++)
        for (unsigned k = 0; k < sim.seats[i].job_count; k++) {
            struct fake_job *job = &sim.seats[i].jobs[k];
            if (is_taken(job->token) && !job->told && !is_revoked(&sim.seats[i], job) && !sim.seats[i].doomed)
                sim_wrong("%s was released, and worker %s, which has it, was not told", name_of(job->id),
                          sim.seats[i].name);
        }
}

/* ---- what it is told ------------------------------------------------------------------------------------------- */

static void take_job(struct seat *seat, const struct frame_job *told)
{
    const struct model_job *job = model_find(&sim.model, told->id);
    for (unsigned i = 0; i < seat->job_count; i++)
        if (seat->jobs[i].slot == told->slot)
            sim_wrong("worker %s got %s for a slot that is taken", seat->name, name_of(told->id));
    if (seat->job_count == SLOTS || told->slot >= SLOTS)
        sim_wrong("worker %s got %s, and has no slot for it", seat->name, name_of(told->id));
    if (told->token > sim.model.last_token)
        sim_wrong("%s was given to a worker before its lease is on disk", name_of(told->id));
    if (job && job->state == JOB_RUNNING && job->token == told->token && job->attempt != told->attempt)
        sim_wrong("%s was given to a worker as attempt %u, it is %u", name_of(told->id), told->attempt,
                  job->attempt);
    seat->jobs[seat->job_count++] =
        (struct fake_job){.slot = told->slot, .id = told->id, .token = told->token};
}

static void take_signal(struct seat *seat, const struct frame_signal *signal)
{
    for (unsigned i = 0; i < seat->job_count; i++)
        if (seat->jobs[i].slot == signal->slot && seat->jobs[i].id == signal->id) {
            seat->jobs[i].told = true;
            seat->jobs[i].hard |= signal->hard;
        }
}

static void read_frames(struct seat *seat)
{
    struct buf *out = worker_out(seat->worker);
    struct mq_err err;
    for (;;) {
        struct frame frame;
        size_t used;
        if (frame_read(&frame, buf_bytes(out), &used, &err) != MQ_OK)
            sim_wrong("the server sends no frame: %s", err.text);
        if (!used)
            return;
        if (frame.kind == FRAME_JOB)
            take_job(seat, &frame.job);
        else if (frame.kind == FRAME_CANCEL || frame.kind == FRAME_TIMEOUT)
            take_signal(seat, &frame.signal);
        buf_eat(out, used);
    }
}

void workers_read(void)
{
    for (unsigned i = 0; i < SEATS; i++)
        if (sim.seats[i].worker)
            read_frames(&sim.seats[i]);
}

/* ---- what it says ------------------------------------------------------------------------------------------------ */

static void arrive(struct seat *seat, size_t len)
{
    struct mq_err err;
    size_t used;
    struct slice bytes = {buf_bytes(&seat->rest).at, len};
    sim.feeding = seat;
    enum mq_code code = dispatch_worker_frames(sim.d, seat->worker, bytes, &used, sim.wall, sim.now, &err);
    sim.feeding = NULL;
    if (code != MQ_OK) {
        say("  worker %s is not understood: %s", seat->name, err.text);
        buf_clear(&seat->rest);
        seat->doomed = seat->silent = seat->garbled = true;
        return;
    }
    buf_eat(&seat->rest, used);
    if (buf_len(&seat->rest) == 0)
        forget_said(seat);
}

/* The rest of a frame comes, before anything else. */
static void complete_frame(struct seat *seat)
{
    if (buf_len(&seat->rest))
        arrive(seat, buf_len(&seat->rest));
}

/* It says this; now and then the end of it comes later. */
static void speak(struct seat *seat, struct buf *frames)
{
    complete_frame(seat);
    size_t len = buf_len(frames);
    buf_add_slice(&seat->rest, buf_bytes(frames));
    buf_release(frames);
    bool in_part = !sim.calm && len && chance(10);
    arrive(seat, in_part ? len - 1 - dice((uint32_t)len) : len);
}

/* What it has not answered yet; the first of it. */
static struct fake_job *next_job(struct seat *seat)
{
    complete_frame(seat);
    return seat->job_count && !seat->silent ? &seat->jobs[0] : NULL;
}

static void remember_said(job_id id)
{
    sim.fed[sim.fed_count++ % 64] = id;
}

static bool was_said(job_id id)
{
    for (unsigned i = 0; i < 64; i++)
        if (sim.fed[i] == id)
            return true;
    return false;
}

static void add_children(struct buf *children, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct push_order order;
        char payload[TEXT_MAX];
        order_init(&order);
        snprintf(payload, sizeof payload, "\"%u.%u\"", sim.step->no, ++sim.spawned);
        order.type = slice_of(type_names[dice(JOB_TYPES)]);
        order.payload = slice_of(payload);
        order.queue = slice_of(queue_names[dice(QUEUES)]);
        order.attempts = 1 + (int32_t)dice(3);
        if (chance(20))
            order.delay_ms = dice(3000);
        if (chance(15)) {
            order.unique = chance(50) ? SLICE("k") : SLICE("l");
            order.conflict = (int32_t)dice(UNIQUE_CONFLICTS);
        }
        if (chance(3))
            order.priority = 77; /* a worker that lies: refused */
        frame_add_child(children, &order);
    }
}

static void say_done(struct seat *seat, struct fake_job *job, bool with_children)
{
    struct buf frames = BUF_INIT, children = BUF_INIT;
    uint32_t count = with_children && chance(40) ? 1 + dice(3) : 0;
    add_children(&children, count);
    say("  worker %s says DONE of %s%s", seat->name, name_of(job->id),
        count ? ", which pushes children" : "");
    frame_add_done(&frames, &(struct frame_done){.slot = job->slot,
                                                 .id = job->id,
                                                 .result = chance(50) ? SLICE("42") : SLICE_EMPTY,
                                                 .child_count = count,
                                                 .children = buf_bytes(&children)});
    buf_release(&children);
    remember_said(job->id);
    let_go(seat, job);
    speak(seat, &frames);
}

static void say_failed(struct seat *seat, struct fake_job *job, uint8_t verdict)
{
    struct buf frames = BUF_INIT;
    static const char *const names[] = {"RETRY", "DEAD", "DISCARD", "SNOOZE", "CANCELLED"};
    say("  worker %s says FAILED (%s) of %s", seat->name, verdict < 5 ? names[verdict] : "?",
        name_of(job->id));
    frame_add_failed(&frames, &(struct frame_failed){.slot = job->slot,
                                                     .id = job->id,
                                                     .verdict = verdict,
                                                     .delay_ms = chance(30) ? -1 : (int64_t)dice(3000),
                                                     .code = SLICE("SCRIPT"),
                                                     .message = SLICE("it failed"),
                                                     .traceback = SLICE_EMPTY});
    remember_said(job->id);
    let_go(seat, job);
    speak(seat, &frames);
}

/* Takes the slot; if it was taken back meanwhile, says DROPPED. */
static bool begin(struct seat *seat, struct fake_job *job)
{
    struct buf frames = BUF_INIT;
    if (job->begun)
        return true;
    if (slot_move(seat->page, job->slot, SLOT_GIVEN, SLOT_TAKEN)) {
        job->begun = true;
        atomic_fetch_add(&seat->page->turns, 1);
        return true;
    }
    say("  worker %s drops %s", seat->name, name_of(job->id));
    frame_add_signal(&frames, FRAME_DROPPED, job->slot, job->id, false);
    let_go(seat, job);
    speak(seat, &frames);
    return false;
}

/* ---- its life ------------------------------------------------------------------------------------------------------ */

void workers_start(struct seat *seat)
{
    static unsigned number;
    struct buf frames = BUF_INIT;
    *seat = (struct seat){.pool = seat == &sim.seats[SEATS - 1] ? "mail" : "main"};
    seat->page = calloc(1, sizeof *seat->page);
    snprintf(seat->name, sizeof seat->name, "%s.%u", seat->pool, ++number);
    seat->worker =
        dispatch_worker_new(sim.d, seat->pool, seat->name, 1000, SLOTS, seat->page, seat, sim.wall, sim.now);
    frame_add_json(&frames, FRAME_READY, SLICE("{}"));
    say("  worker %s starts", seat->name);
    speak(seat, &frames);
    complete_frame(seat);
}

/* Whom its death is charged to. */
static job_id suspect_of(const struct seat *seat)
{
    return seat->killed ? seat->killed_for : atomic_load(&seat->page->on_cpu);
}

/* It is about to lose all that it has: who must be released, each once. Those taken back before were already. */
static void begin_losing(struct seat *seat, bool innocent)
{
    read_frames(seat);
    sim.losing = seat;
    sim.losing_innocent = innocent;
    sim.losing_doubtful = has_taken(seat, suspect_of(seat));
    sim.to_release_count = 0;
    for (unsigned i = 0; i < seat->job_count; i++)
        if (!is_revoked(seat, &seat->jobs[i]) && !is_taken(seat->jobs[i].token))
            sim.to_release[sim.to_release_count++] = seat->jobs[i].id;
}

static void end_losing(void)
{
    if (sim.to_release_count)
        sim_wrong("worker %s lost %s, and it was not released", sim.losing->name, name_of(sim.to_release[0]));
    sim.losing = NULL;
}

static bool take_from_list(job_id id)
{
    for (unsigned i = 0; i < sim.to_release_count; i++)
        if (sim.to_release[i] == id) {
            sim.to_release[i] = sim.to_release[--sim.to_release_count];
            return true;
        }
    return false;
}

void workers_die(struct seat *seat, const char *how, bool innocent)
{
    job_id on_cpu = atomic_load(&seat->page->on_cpu);
    say("  worker %s ends: %s%s%s", seat->name, how, on_cpu ? ", on its CPU " : "",
        on_cpu ? name_of(on_cpu) : "");
    begin_losing(seat, innocent);
    dispatch_worker_lost(sim.d, seat->worker, how, innocent, sim.wall);
    end_losing();
    dispatch_worker_free(sim.d, seat->worker);
    seat->worker = NULL;
    workers_vanish(seat);
}

void workers_vanish(struct seat *seat)
{
    free(seat->page);
    buf_release(&seat->rest);
    *seat = (struct seat){0};
}

/* What it had written before the signal came is read before its end is known. */
static void say_last_words(struct seat *seat)
{
    if (seat->garbled || seat->silent) /* what it said before it fell silent was read long ago */
        return;
    for (unsigned i = 0; i < seat->job_count; i++)
        if (seat->jobs[i].begun && !seat->jobs[i].said && chance(60)) {
            say_done(seat, &seat->jobs[i], true);
            complete_frame(seat);
            return;
        }
}

/* Until the signal comes it runs on: another job may get the CPU. */
static void change_cpu(struct seat *seat)
{
    for (unsigned i = 0; i < seat->job_count; i++)
        if (seat->jobs[i].begun && !seat->jobs[i].said && chance(30))
            atomic_store(&seat->page->on_cpu, seat->jobs[i].id);
}

void workers_end_doomed(bool all)
{
    for (unsigned i = 0; i < SEATS; i++) {
        struct seat *seat = &sim.seats[i];
        if (!seat->worker || !seat->doomed || (!all && sim.now < seat->dies_at))
            continue;
        say_last_words(seat);
        if (seat->killed)
            change_cpu(seat);
        workers_die(seat, "signal 9 (SIGKILL)", false);
    }
}

void workers_beat(void)
{
    for (unsigned i = 0; i < SEATS; i++)
        if (sim.seats[i].worker && !sim.seats[i].silent)
            atomic_fetch_add(&sim.seats[i].page->beats, 1);
}

unsigned workers_suspects(job_id *ids)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SEATS; i++) {
        job_id id = sim.seats[i].page ? atomic_load(&sim.seats[i].page->on_cpu) : 0;
        if (id)
            ids[count++] = id;
    }
    return count;
}

void workers_finish_all(void)
{
    for (unsigned i = 0; i < SEATS; i++) {
        struct seat *seat = &sim.seats[i];
        if (!seat->worker || seat->doomed)
            continue;
        seat->silent = false;
        for (struct fake_job *job; (job = next_job(seat));)
            if (begin(seat, job))
                say_done(seat, job, false);
    }
    workers_end_doomed(true);
    for (unsigned i = 0; i < SEATS; i++)
        if (!sim.seats[i].worker)
            workers_start(&sim.seats[i]);
}

void workers_stop_all(void)
{
    workers_end_doomed(true);
    for (unsigned i = 0; i < SEATS; i++) {
        struct seat *seat = &sim.seats[i];
        if (!seat->worker)
            continue;
        dispatch_worker_retire(sim.d, seat->worker);
        seat->retired = true;
        for (struct fake_job *job; (job = next_job(seat)) && chance(60);)
            if (begin(seat, job))
                say_done(seat, job, true);
        complete_frame(seat);
        begin_losing(seat, true);
        dispatch_worker_give_back(sim.d, seat->worker, sim.wall);
        end_losing();
        seat->job_count = 0;
        workers_die(seat, "it stops", true);
    }
}

/* ---- what dispatch may do ------------------------------------------------------------------------------------------ */

static void check_release(const struct op_release *op)
{
    struct seat *seat = sim.losing;
    struct fake_job *job = NULL;
    if (!seat) {
        workers_read(); /* what is on its way to a worker is that worker's */
        seat = seat_of(op->id, op->token, &job);
        if (op->kind == RELEASE_GIVE_BACK && (!seat || is_revoked(seat, job)))
            return; /* nobody has it any more, since what it was released with was refused: it was found */
        if (op->kind != RELEASE_UNSTARTED)
            sim_wrong("%s was %s, and no worker died", name_of(op->id),
                      op->kind == RELEASE_GIVE_BACK ? "given back as if it had begun" : "charged");
        if (seat && job->begun)
            sim_wrong("%s was taken back, and it has begun", name_of(op->id));
        return;
    }
    bool guilty = !sim.losing_innocent && suspect_of(seat) == op->id && !sim.losing_doubtful;
    if (!job_in(seat, op->id, op->token) || !take_from_list(op->id))
        sim_wrong("worker %s ended, and %s was released, which it does not hold", seat->name,
                  name_of(op->id));
    bool charged = op->kind == RELEASE_CRASHED || op->kind == RELEASE_TIMED_OUT;
    job = job_in(seat, op->id, op->token);
    if (job && !guilty && !charged && job->begun != (op->kind == RELEASE_GIVE_BACK))
        sim_wrong("worker %s ended; %s was given back as if it had %sbegun", seat->name, name_of(op->id),
                  op->kind == RELEASE_GIVE_BACK ? "" : "not ");
    if (seat->killed && seat->killed_for_others) {
        if (charged && op->id != seat->killed_for && !(job && job->hard))
            sim_wrong("worker %s was killed; %s was charged, and it was never told to end it", seat->name,
                      name_of(op->id));
        return;
    }
    if (guilty != charged)
        sim_wrong("worker %s ended; %s was %s, and was %scharged", seat->name, name_of(op->id),
                  guilty ? "guilty" : "not guilty", guilty ? "not " : "");
}

/* An outcome that was refused for want of space is asked again, and its lease renewed meanwhile. */
static bool is_orphan(const struct store_op *op)
{
    uint64_t token = op->verb == STORE_COMPLETE  ? ((const struct op_complete *)op)->token
                     : op->verb == STORE_FAIL    ? ((const struct op_fail *)op)->token
                     : op->verb == STORE_RELEASE ? ((const struct op_release *)op)->token
                     : op->verb == STORE_EXTEND  ? ((const struct op_extend *)op)->token
                                                 : 0;
    for (unsigned i = 0; token && i < 64; i++)
        if (sim.orphans[i] == token)
            return true;
    return false;
}

void workers_submitted(const struct ticket *ticket)
{
    const struct store_op *op = ticket->op;
    struct fake_job *job;
    if (is_orphan(op))
        return;
    switch (op->verb) {
    case STORE_LEASE:
    case STORE_LIST:
    case STORE_SWEEP:
    case STORE_MANY:
    case STORE_ARCHIVE: /* check_archived asks for what it must do */
        break;
    case STORE_COMPLETE:
        if (is_taken(((const struct op_complete *)op)->token))
            sim_wrong("%s was released, and its old worker is heard",
                      name_of(((const struct op_complete *)op)->id));
        if (!sim.feeding || !was_said(((const struct op_complete *)op)->id))
            sim_wrong("%s was acknowledged, and nobody said DONE",
                      name_of(((const struct op_complete *)op)->id));
        break;
    case STORE_FAIL:
        if (seam.in_done != op && (!sim.feeding || !was_said(((const struct op_fail *)op)->id)))
            sim_wrong("%s was failed, and nobody said FAILED", name_of(((const struct op_fail *)op)->id));
        break;
    case STORE_RELEASE:
        check_release((const struct op_release *)op);
        break;
    case STORE_EXTEND:
        workers_read(); /* what is on its way to a worker is that worker's */
        if (is_taken(((const struct op_extend *)op)->token))
            sim_wrong("%s was released, and its old lease is renewed",
                      name_of(((const struct op_extend *)op)->id));
        if (!seat_of(((const struct op_extend *)op)->id, ((const struct op_extend *)op)->token, &job))
            sim_wrong("the lease of %s was renewed, and no worker has it",
                      name_of(((const struct op_extend *)op)->id));
        break;
    case STORE_SCHEDULE:
    case STORE_TICK:
        entries_submitted(op);
        break;
    case STORE_SCHEDULES:
    case STORE_PARK:
    case STORE_NOTE:
        break;
    default:
        sim_wrong("dispatch did something (verb %d) that nobody asked for", (int)op->verb);
    }
}

/* ---- steps ----------------------------------------------------------------------------------------------------------- */

static struct seat *any_seat(bool alive)
{
    struct seat *seat = &sim.seats[dice(SEATS)];
    return (seat->worker != NULL) == alive ? seat : NULL;
}

/* A worker that can speak, and one of its jobs if it has any. */
static struct seat *speaker(struct fake_job **job)
{
    struct seat *seat = any_seat(true);
    if (!seat || seat->silent)
        return NULL;
    complete_frame(seat);
    if (!seat->worker || seat->silent)
        return NULL;
    *job = seat->job_count ? &seat->jobs[dice(seat->job_count)] : NULL;
    return seat;
}

void step_worker_works(void);
void step_worker_works(void)
{
    struct fake_job *job;
    struct seat *seat = speaker(&job);
    if (!seat)
        return;
    say("worker %s works on all that it has", seat->name);
    atomic_store(&seat->page->on_cpu, 0);
    for (unsigned left = seat->job_count; left-- && (job = next_job(seat));) {
        if (!begin(seat, job))
            continue;
        if (chance(60))
            say_done(seat, job, true);
        else
            say_failed(seat, job, (uint8_t)(chance(60) ? FAIL_RETRY : dice(6)));
    }
}

void step_worker_begins(void);
void step_worker_begins(void)
{
    struct fake_job *job;
    struct seat *seat = speaker(&job);
    if (!seat || !job)
        return;
    say("worker %s begins %s", seat->name, name_of(job->id));
    if (begin(seat, job))
        atomic_store(&seat->page->on_cpu, chance(70) ? job->id : 0);
}

void step_worker_says(void);
void step_worker_says(void)
{
    struct fake_job *job;
    struct seat *seat = speaker(&job);
    if (!seat || !job || !job->begun)
        return;
    say("worker %s answers", seat->name);
    if (job->told && chance(70))
        say_failed(seat, job, FAIL_CANCELLED);
    else if (chance(50))
        say_done(seat, job, true);
    else
        say_failed(seat, job, (uint8_t)dice(6));
}

void step_worker_notes(void);
void step_worker_notes(void)
{
    struct fake_job *job;
    struct seat *seat = speaker(&job);
    struct buf frames = BUF_INIT;
    if (!seat || !job || !job->begun)
        return;
    say("worker %s tells of %s", seat->name, name_of(job->id));
    if (chance(50))
        frame_add_progress(&frames, &(struct frame_progress){.slot = job->slot,
                                                             .id = job->id,
                                                             .fraction = (float)dice(5) / 4,
                                                             .note = SLICE("half way")});
    else
        frame_add_log(&frames,
                      &(struct frame_log){
                          .id = job->id, .level = LOG_DEBUG, .text = SLICE("a line"), .fields = SLICE_EMPTY});
    speak(seat, &frames);
}

/* It answers for a job that it does not have (any more). */
void step_worker_lies(void);
void step_worker_lies(void)
{
    struct fake_job *job;
    struct seat *seat = speaker(&job);
    struct buf frames = BUF_INIT;
    if (!seat)
        return;
    job_id id = sim.fed[dice(64)];
    if (!id || job_in(seat, id, 0))
        return;
    say("worker %s answers again for %s", seat->name, name_of(id));
    uint32_t slot = dice(SLOTS + 1);
    if (chance(50))
        frame_add_done(&frames, &(struct frame_done){
                                    .slot = slot, .id = id, .result = SLICE_EMPTY, .children = SLICE_EMPTY});
    else if (chance(50))
        frame_add_signal(&frames, FRAME_DROPPED, slot, id, false);
    else
        frame_add_failed(&frames, &(struct frame_failed){.slot = slot,
                                                         .id = id,
                                                         .verdict = FAIL_DEAD,
                                                         .code = SLICE("LIE"),
                                                         .message = SLICE_EMPTY,
                                                         .traceback = SLICE_EMPTY});
    speak(seat, &frames);
}

void step_worker_garbage(void);
void step_worker_garbage(void)
{
    struct fake_job *job;
    struct seat *seat = speaker(&job);
    struct buf frames = BUF_INIT;
    if (!seat)
        return;
    say("worker %s sends garbage", seat->name);
    buf_u32(&frames, 1 + dice(20));
    for (unsigned i = 0; i < 20; i++)
        buf_u8(&frames, (uint8_t)dice(256));
    speak(seat, &frames);
    complete_frame(seat);
    /* what reads as the start of a long frame only becomes garbage with what follows: it says no more */
    if (seat->worker && !seat->silent) {
        buf_clear(&seat->rest);
        seat->silent = seat->doomed = seat->garbled = true;
    }
}

void step_worker_hangs(void);
void step_worker_hangs(void)
{
    struct fake_job *job;
    struct seat *seat = speaker(&job);
    if (!seat)
        return;
    if (job && begin(seat, job))
        atomic_store(&seat->page->on_cpu, job->id);
    say("worker %s falls silent%s%s", seat->name, job ? ", in " : "", job ? name_of(job->id) : "");
    seat->silent = true;
}

void step_worker_wakes(void);
void step_worker_wakes(void)
{
    struct seat *seat = any_seat(true);
    if (!seat || !seat->silent || seat->doomed)
        return;
    say("worker %s goes on", seat->name);
    seat->silent = false;
}

void step_worker_dies(void);
void step_worker_dies(void)
{
    struct seat *seat = any_seat(true);
    if (!seat)
        return;
    say("worker %s dies", seat->name);
    workers_die(seat, chance(50) ? "signal 11 (SIGSEGV)" : "exit status 3", false);
}

void step_worker_starts(void);
void step_worker_starts(void)
{
    struct seat *seat = any_seat(false);
    if (!seat)
        return;
    say("a worker is started");
    workers_start(seat);
}

void step_worker_retires(void);
void step_worker_retires(void)
{
    struct seat *seat = any_seat(true);
    if (!seat)
        return;
    say("worker %s is retired", seat->name);
    if (!seat->retired)
        dispatch_worker_retire(sim.d, seat->worker);
    seat->retired = true;
    seat->ready = false;
    if (worker_busy(seat->worker) == 0)
        workers_die(seat, "it has nothing left to do", true);
}
