/*
 * A hostile worker beside an honest one. The bytes are a script of what the hostile one does: true frames of its jobs,
 * frames of jobs that are not its own, garbage, scribbles in its run page, its end; and, between them, pushes, cancels and
 * the time that passes. Whatever it does,
 *
 *   - no job is lost: all that were pushed are there, in a state that can follow, and once the hostile worker is gone the
 *     honest one brings all of them to an end;
 *   - what the honest worker says of its jobs counts, and nobody else's word does;
 *   - what came into the store obeys the limits for every job.
 */
#include "fuzz.h"

#include <signal.h>
#include <stdatomic.h>

#include "base/log.h"
#include "job/record.h"
#include "valid.h"
#include "world.h"

#define SLOTS    3
#define HOSTILE  0
#define HONEST   1
#define JOBS_MAX 24 /* pushed by the script */
#define LIST_MAX 4000
#define STEPS    60

struct play {
    struct world *w;
    job_id jobs[JOBS_MAX];
    unsigned job_count;
    struct frame_job held[64]; /* what the hostile worker was given, some of it taken back since */
    unsigned held_count;
    struct buf stream; /* what it sent and was not read yet */
    job_id ended_by_honest[LIST_MAX];
    unsigned ended_count;
    unsigned births;
};

/* ---- the honest worker ---------------------------------------------------------------------------------------- */

/* It does what it is told at once, unless the job was taken back before it came to it. */
static void honest_does(struct play *play, const struct frame_job *job)
{
    struct world *w = play->w;
    if (!slot_move(w->workers[HONEST].page, job->slot, SLOT_GIVEN, SLOT_TAKEN)) {
        struct buf dropped = BUF_INIT;
        frame_add_signal(&dropped, FRAME_DROPPED, job->slot, job->id, false);
        world_say(w, HONEST, &dropped);
        return;
    }
    world_done(w, HONEST, job, "{\"honest\":true}");
    FUZZ_MUST(world_state(w, job->id) == JOB_SUCCEEDED, "the honest worker's word does not count");
    if (play->ended_count < LIST_MAX)
        play->ended_by_honest[play->ended_count++] = job->id;
}

static void honest_works(struct play *play)
{
    struct frame frame;
    while (world_signal(play->w, HONEST, &frame)) { /* any frame; what it points to is eaten */
        struct frame_job job = frame.job;
        if (frame.kind == FRAME_JOB)
            honest_does(play, &job);
        play->w->event_count = 0;
    }
}

/* ---- the hostile one ------------------------------------------------------------------------------------------- */

static void is_born(struct play *play)
{
    struct fake_worker *fake = &play->w->workers[HOSTILE];
    char name[32];
    snprintf(name, sizeof name, "hostile.%u", ++play->births);
    memset(fake->page, 0, sizeof *fake->page);
    fake->signals = 0;
    fake->worker = dispatch_worker_new(play->w->d, "default", name, 1, SLOTS, fake->page, fake, play->w->wall,
                                       play->w->now);
    dispatch_worker_ready(play->w->d, fake->worker, play->w->now);
}

static void dies(struct play *play)
{
    world_die(play->w, HOSTILE, "signal 9 (SIGKILL)");
    buf_clear(&play->stream);
    play->held_count = 0;
}

/* What the server does with what came, and with a worker that talks garbage or that dispatch had killed. */
static void is_heard(struct play *play)
{
    struct world *w = play->w;
    struct fake_worker *fake = &w->workers[HOSTILE];
    struct slice bytes = fuzz_copy(buf_bytes(&play->stream));
    struct mq_err err;
    size_t used = 0;
    enum mq_code code = dispatch_worker_frames(w->d, fake->worker, bytes, &used, w->wall, w->now, &err);
    FUZZ_MUST(used <= bytes.len, "%zu of %zu bytes", used, bytes.len);
    free((void *)bytes.at);
    buf_eat(&play->stream, used);
    world_turn(w);
    w->event_count = 0;
    if (code != MQ_OK || (fake->signals && fake->last_signal == SIGKILL)) {
        dies(play);
        is_born(play);
    }
    world_turn(w);
}

static const struct frame_job *one_held(struct play *play, struct slice *script)
{
    static const struct frame_job none = {.slot = 7, .id = 7};
    while (play->held_count < 64) {
        unsigned got = world_jobs(play->w, HOSTILE, &play->held[play->held_count], 1);
        if (!got)
            break;
        play->held_count++;
    }
    unsigned choice = fuzz_byte(script);
    return play->held_count ? &play->held[choice % play->held_count] : &none;
}

static void say_done(struct play *play, struct slice *script)
{
    const struct frame_job *job = one_held(play, script);
    struct frame_done done = {.slot = job->slot, .id = job->id, .children = SLICE_EMPTY};
    struct buf children = BUF_INIT;
    unsigned shape = fuzz_byte(script);
    done.result = fuzz_take(script, shape & 15);
    if (shape & 16) { /* a child whose every field may be wrong */
        struct push_order child;
        order_init(&child);
        child.type = shape & 32 ? SLICE("a") : fuzz_take(script, 3);
        child.payload = SLICE("{}");
        child.queue = shape & 64 ? SLICE_EMPTY : fuzz_take(script, 3);
        child.tags = fuzz_take(script, fuzz_byte(script) % 8);
        child.meta = fuzz_take(script, fuzz_byte(script) % 8);
        child.priority = (int8_t)fuzz_byte(script);
        child.attempts = (int16_t)fuzz_word(script);
        child.delay_ms = (int16_t)fuzz_word(script);
        child.at_ms =
            child.delay_ms == ORDER_UNSET ? (int64_t)((uint64_t)fuzz_word(script) << 48) : ORDER_UNSET;
        child.keep_ms = 1000 * 3600;
        child.lease_ms = (int64_t)((uint64_t)fuzz_word(script) << 24);
        frame_add_child(&children, &child);
    }
    if (shape & 128)
        buf_add_slice(&children, fuzz_take(script, fuzz_byte(script)));
    done.child_count = buf_len(&children) ? 1 + (shape == 0xFF) * fuzz_word(script) : 0;
    done.children = buf_bytes(&children);
    frame_add_done(&play->stream, &done);
    buf_release(&children);
}

static void say_failed(struct play *play, struct slice *script)
{
    const struct frame_job *job = one_held(play, script);
    frame_add_failed(&play->stream,
                     &(struct frame_failed){.slot = job->slot,
                                            .id = job->id,
                                            .verdict = (uint8_t)fuzz_byte(script),
                                            .delay_ms = (int64_t)((uint64_t)fuzz_word(script) << 48),
                                            .code = fuzz_take(script, fuzz_byte(script) % 8),
                                            .message = fuzz_take(script, fuzz_byte(script)),
                                            .traceback = SLICE_EMPTY});
}

static void say_progress(struct play *play, struct slice *script)
{
    const struct frame_job *job = one_held(play, script);
    struct frame_progress progress = {.slot = job->slot, .id = job->id};
    uint32_t bits = fuzz_word(script) << 16;
    memcpy(&progress.fraction, &bits, sizeof bits);
    progress.note = fuzz_take(script, fuzz_byte(script) % 32);
    frame_add_progress(&play->stream, &progress);
}

static void say_log(struct play *play, struct slice *script)
{
    const struct frame_job *job = one_held(play, script);
    frame_add_log(&play->stream, &(struct frame_log){.id = job->id,
                                                     .level = (uint8_t)fuzz_byte(script),
                                                     .text = fuzz_take(script, fuzz_byte(script) % 32),
                                                     .fields = fuzz_take(script, fuzz_byte(script) % 32)});
}

static void say_dropped(struct play *play, struct slice *script)
{
    const struct frame_job *job = one_held(play, script);
    frame_add_signal(&play->stream, FRAME_DROPPED, job->slot, job->id, false);
}

/* Of a job that the honest worker may hold. */
static void say_foreign(struct play *play, struct slice *script)
{
    if (!play->job_count)
        return;
    struct frame_done done = {
        .slot = fuzz_byte(script) % SLOTS, .result = SLICE("stolen"), .children = SLICE_EMPTY};
    done.id = play->jobs[fuzz_byte(script) % play->job_count];
    frame_add_done(&play->stream, &done);
}

static void say_garbage(struct play *play, struct slice *script)
{
    buf_add_slice(&play->stream, fuzz_take(script, fuzz_byte(script)));
}

/* The head of a frame whose rest never comes, or not at once. */
static void say_head(struct play *play, struct slice *script)
{
    buf_u32(&play->stream, fuzz_word(script) << (fuzz_byte(script) % 16));
    buf_u8(&play->stream, (uint8_t)(fuzz_byte(script) % (FRAME_KINDS + 2)));
}

/* The same again and again. */
static void say_flood(struct play *play, struct slice *script)
{
    size_t begun = buf_len(&play->stream);
    say_progress(play, script);
    struct buf one = BUF_INIT;
    buf_add_slice(&one, (struct slice){buf_bytes(&play->stream).at + begun, buf_len(&play->stream) - begun});
    for (unsigned i = fuzz_byte(script) * 5; i; i--)
        buf_add_slice(&play->stream, buf_bytes(&one));
    buf_release(&one);
}

static void scribble(struct play *play, struct slice *script)
{
    struct run_page *page = play->w->workers[HOSTILE].page;
    unsigned slot = fuzz_byte(script) % SLOTS;
    atomic_store(&page->slots[slot], fuzz_byte(script) % 6);
    atomic_store(&page->on_cpu, one_held(play, script)->id);
    atomic_fetch_add(&page->beats, fuzz_byte(script) & 1);
}

/* ---- the others ------------------------------------------------------------------------------------------------- */

static void push(struct play *play, struct slice *script)
{
    struct push_order options;
    unsigned choice = fuzz_byte(script);
    if (play->job_count == JOBS_MAX)
        return;
    order_init(&options);
    options.keep_ms = 30 * 86400000LL;
    options.attempts = 1 + choice % 4;
    options.meta = choice & 64 ? SLICE("{\"correlation_id\":\"c\"}") : SLICE_EMPTY;
    play->jobs[play->job_count++] = world_push(play->w, choice & 128 ? "mail.send" : "a", &options);
}

static void cancel(struct play *play, struct slice *script)
{
    struct op_step step;
    if (!play->job_count)
        return;
    world_step(play->w, STORE_CANCEL, play->jobs[fuzz_byte(script) % play->job_count], &step);
    store_op_release(&step.op);
}

static void pass(struct play *play, int64_t ms)
{
    atomic_fetch_add(&play->w->workers[HONEST].page->beats, 1);
    play->w->wall += ms;
    play->w->now += ms;
    world_turn(play->w);
    play->w->event_count = 0;
}

static void time_passes(struct play *play, struct slice *script)
{
    static const int64_t steps[] = {1, 26, 101, 2001, 5001, 31000, 600000, 3600000};
    pass(play, steps[fuzz_byte(script) % 8]);
}

static void end_of_hostile(struct play *play, struct slice *script)
{
    (void)script;
    dies(play);
    is_born(play);
}

static void honest_turn(struct play *play, struct slice *script)
{
    (void)script;
    honest_works(play);
}

/* ---- the end ------------------------------------------------------------------------------------------------------ */

static void answered(struct store_op *op)
{
    (void)op;
}

static void check_job(const struct play *play, const struct job_view *job)
{
    const struct job_status *status = &job->status;
    char id[JOB_ID_TEXT_BYTES];
    valid_spec(&job->spec, play->w->settings.payload_max);
    FUZZ_MUST(status->progress < 0 || (status->progress >= 0 && status->progress <= 1), "progress %g",
              status->progress);
    FUZZ_MUST(status->note.len <= 1024, "a note of %zu bytes", status->note.len);
    FUZZ_MUST(status->due_at <= WALL_MAX, "due at %lld", (long long)status->due_at);
    FUZZ_MUST(status->attempt <= job->spec.max_attempts, "attempt %u of %u", status->attempt,
              job->spec.max_attempts);
    bool far = status->state == JOB_SCHEDULED || status->state == JOB_RETRYING; /* as it was told to be */
    bool stranger = status->state == JOB_READY && status->parked; /* a child of an unknown type */
    FUZZ_MUST(far || stranger || state_is_final(status->state), "%s is still %s", id_format(id, job->id),
              state_name(status->state));
}

static void check_store(struct play *play)
{
    struct op_list list = {.limit = LIST_MAX};
    unsigned found = 0;
    store_op_init(&list.op, STORE_LIST, play->w->wall);
    list.op.done = answered;
    store_submit(play->w->store, &list.op);
    store_flush(play->w->store);
    store_collect(play->w->store);
    FUZZ_MUST(list.op.code == MQ_OK, "%s", list.op.err.text);
    for (unsigned i = 0; i < list.count; i++) {
        check_job(play, &list.jobs[i]);
        for (unsigned j = 0; j < play->job_count; j++)
            found += list.jobs[i].id == play->jobs[j];
        for (unsigned j = 0; j < play->ended_count; j++)
            FUZZ_MUST(list.jobs[i].id != play->ended_by_honest[j] ||
                          list.jobs[i].status.state == JOB_SUCCEEDED,
                      "what the honest worker ended is %s", state_name(list.jobs[i].status.state));
    }
    FUZZ_MUST(found == play->job_count, "%u of %u jobs are there", found, play->job_count);
    store_op_release(&list.op);
}

/* In place of base/log.c's: nothing is written, but a line of the log must stay one line. */
void __wrap_log_fields(enum log_level level, const char *event, const struct log_field *fields);
void __wrap_log_fields(enum log_level level, const char *event, const struct log_field *fields)
{
    (void)level;
    for (; fields->name; fields++)
        for (size_t i = 0; fields->kind == LOG_FIELD_RAW && i < fields->text.len; i++)
            FUZZ_MUST((unsigned char)fields->text.at[i] >= 0x20, "%s: %s has a control character in it",
                      event, fields->name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct play *, struct slice *) = {
        push,     say_done,  say_failed, say_progress, say_log,        say_dropped, say_foreign, say_garbage,
        say_head, say_flood, scribble,   cancel,       end_of_hostile, time_passes, honest_turn,
    };
    struct slice script = {(const char *)data, size};
    struct play play = {.w = world_new(2, SLOTS)};
    for (int i = 0; i < STEPS && script.len; i++) {
        steps[fuzz_byte(&script) % (sizeof steps / sizeof *steps)](&play, &script);
        is_heard(&play);
    }
    dies(&play);
    for (int i = 0; i < 40; i++) { /* retries wait longer and longer; snoozes for as long as they were told */
        honest_works(&play);
        pass(&play, i < 20 ? 30 : 3600000);
    }
    honest_works(&play);
    check_store(&play);
    buf_release(&play.stream);
    world_free(play.w);
    return 0;
}
