/*
 * What a worker says, none of it believed: a frame counts only for a job that this worker holds, texts are cut to what an
 * honest worker would have cut them to, what comes too often is gathered or dropped, and who goes on saying what cannot be
 * is ended. The last deadlines of what it does not say are in watch.c.
 */
#include "dispatch/inside.h"

#include <stdlib.h>

#define LOG_LINES_PER_ATTEMPT 1000 /* a loop that logs must not become the server's loop */
#define OWN_LINES_A_SECOND    20
#define PROGRESS_EVERY_MS     20   /* of one job; an honest worker tells half as often */
#define NOTE_MAX_BYTES        1024 /* it is kept in the record that changes at every step */
#define STRAYS_MAX            1000 /* frames about jobs that it does not hold; an honest worker sends next to none */

/* ---- log -------------------------------------------------------------------------------------------------------- */

/*
 * The fields of a log line as they may stand in ours: a JSON object on one line, or none. A line end between its parts
 * would let a worker write lines of the log that look like the server's. The caller's: free(*keep).
 */
static struct slice fields_of(struct slice text, size_t most, char **keep)
{
    json_t *object = text.len && text.len <= most ? json_loadb(text.at, text.len, 0, NULL) : NULL;
    bool good = json_is_object(object), one_line = true;
    for (size_t i = 0; good && one_line && i < text.len; i++)
        one_line = (unsigned char)text.at[i] >= ' ';
    *keep = good && !one_line ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return *keep ? slice_of(*keep) : good && one_line ? text : SLICE("{}");
}

static void log_of_job(struct worker *worker, const struct place *place, const struct frame_log *line)
{
    char id[JOB_ID_TEXT_BYTES];
    json_t *keep;
    char *keep_fields;
    struct slice fields = fields_of(line->fields, worker->d->settings.log_line_max, &keep_fields);
    struct slice correlation_id = correlation_of(place->spec.meta, &keep);
    log_event((enum log_level)line->level, "job.log", LOG_STR("id", id_format(id, place->id)),
              LOG_SLICE("type", place->spec.type), LOG_SLICE("queue", place->spec.queue),
              LOG_INT("attempt", place->attempt), LOG_SLICE("correlation_id", correlation_id),
              LOG_STR("worker", worker->name), LOG_SLICE("message", line->text), LOG_RAW("fields", fields));
    json_decref(keep);
    free(keep_fields);
}

/* A note to the store; its text stands behind the struct. */
static struct op_note *note_new(struct dispatch *d, const struct place *place, struct slice text, bool is_log)
{
    struct op_note *note = mq_calloc(1, sizeof *note + text.len);
    char *copy = (char *)(note + 1);
    store_op_init(&note->op, STORE_NOTE, d->wall);
    memcpy(copy, text.at, text.len);
    note->id = place->id;
    note->token = place->token;
    note->progress = -1;
    note->text = is_log ? SLICE_EMPTY : (struct slice){copy, text.len};
    note->log_line = is_log ? (struct slice){copy, text.len} : SLICE_EMPTY;
    return note;
}

/* The bucket fills with time; a worker that talks more than that is cut short, once with a word. */
static bool may_say_more(struct worker *worker)
{
    mono_ms now = worker->d->now;
    double more = (double)(now - worker->own_lines_at) * OWN_LINES_A_SECOND / 1000.0;
    worker->own_lines_at = now;
    worker->own_lines_left += more;
    if (worker->own_lines_left > OWN_LINES_BURST)
        worker->own_lines_left = OWN_LINES_BURST;
    if (worker->own_lines_left < 1) {
        worker->own_lines_dropped++;
        return false;
    }
    worker->own_lines_left--;
    return true;
}

static void log_of_worker(struct worker *worker, const struct frame_log *line)
{
    if (!may_say_more(worker))
        return;
    log_event((enum log_level)line->level, "worker.log", LOG_STR("worker", worker->name),
              LOG_SLICE("message", line->text), LOG_INT("lines_dropped", worker->own_lines_dropped));
    worker->own_lines_dropped = 0;
}

static struct place *place_of_job(struct worker *worker, job_id id)
{
    for (unsigned i = 0; i < worker->slots; i++)
        if (worker->places[i].state == PLACE_HELD && worker->places[i].id == id)
            return &worker->places[i];
    return NULL;
}

static void on_log(struct worker *worker, const struct frame *frame)
{
    struct frame_log line = frame->log;
    line.text = slice_cut(line.text, worker->d->settings.log_line_max);
    if (line.level > LOG_ERROR)
        line.level = LOG_ERROR;
    if (line.id == 0) {
        log_of_worker(worker, &line);
        return;
    }
    struct place *place = place_of_job(worker, line.id);
    if (!place) {
        worker->strays++;
        return;
    }
    if (place->released || place->log_lines > LOG_LINES_PER_ATTEMPT)
        return;
    if (++place->log_lines > LOG_LINES_PER_ATTEMPT)
        line.text = SLICE("(too many log lines: the rest of this attempt's are dropped)");
    log_of_job(worker, place, &line);
    submit_own(worker->d, &note_new(worker->d, place, line.text, true)->op);
}

/* ---- progress ------------------------------------------------------------------------------------------------------ */

/* The place that a frame is about; NULL: the worker does not hold that job there. */
static struct place *place_named(struct worker *worker, uint32_t slot, job_id id)
{
    struct place *place = slot < worker->slots ? &worker->places[slot] : NULL;
    if (place && place->state != PLACE_FREE && place->id == id)
        return place;
    worker->strays++;
    return NULL;
}

void progress_flush(struct worker *worker, struct place *place)
{
    if (!place->progress_waits)
        return;
    struct op_note *note = note_new(worker->d, place, buf_bytes(&place->note), false);
    note->progress = place->progress;
    place->progress_waits = false;
    place->progress_at = worker->d->now;
    submit_own(worker->d, &note->op);
}

/* However often it is told: the newest goes to the store, at its pace. */
static void on_progress(struct worker *worker, const struct frame *frame)
{
    const struct frame_progress *progress = &frame->progress;
    struct place *place = place_named(worker, progress->slot, progress->id);
    if (!place || place->state != PLACE_HELD || place->released)
        return;
    if (!(progress->fraction >= 0 && progress->fraction <= 1)) /* NaN is not, too */
        return;
    place->progress = progress->fraction;
    place->progress_waits = true;
    buf_clear(&place->note);
    buf_add_slice(&place->note, slice_cut(progress->note, NOTE_MAX_BYTES));
    if (worker->d->now - place->progress_at >= PROGRESS_EVERY_MS)
        progress_flush(worker, place);
}

/* ---- outcomes --------------------------------------------------------------------------------------------------------- */

/* A job that a person released has ended in its old worker: somebody else has it, and nothing comes of this. */
static void log_unheard(const struct worker *worker, const struct place *place, const char *how)
{
    char text[JOB_ID_TEXT_BYTES];
    log_event(LOG_INFO, "job.released_ended", LOG_STR("id", id_format(text, place->id)),
              LOG_SLICE("type", place->spec.type), LOG_SLICE("queue", place->spec.queue),
              LOG_INT("attempt", place->attempt), LOG_STR("worker", worker->name), LOG_STR("how", how));
}

static void on_done(struct worker *worker, const struct frame *frame)
{
    struct place *place = place_named(worker, frame->done.slot, frame->done.id);
    if (!place || place->state != PLACE_HELD)
        return; /* taken back, and the worker lies; or a slot we never gave */
    worker_saw_start(worker, place);
    worker->done++;
    if (place->released) {
        log_unheard(worker, place, "done");
    } else {
        progress_flush(worker, place);
        outcome_done(worker, place, &frame->done);
    }
    place_free(worker, place);
}

static void on_failed(struct worker *worker, const struct frame *frame)
{
    struct place *place = place_named(worker, frame->failed.slot, frame->failed.id);
    if (!place || place->state != PLACE_HELD)
        return;
    worker_saw_start(worker, place);
    worker->failed++;
    if (place->released) {
        log_unheard(worker, place, "failed");
    } else {
        progress_flush(worker, place);
        outcome_failed(worker, place, &frame->failed);
    }
    place_free(worker, place);
}

static void on_dropped(struct worker *worker, const struct frame *frame)
{
    struct place *place = place_named(worker, frame->signal.slot, frame->signal.id);
    if (place && place->state == PLACE_REVOKED)
        place_free(worker, place);
}

static void on_ready(struct worker *worker, const struct frame *frame)
{
    worker->d->host.ready(worker->d->host.owner, worker, frame->json);
}

/* ---- frames ----------------------------------------------------------------------------------------------------------- */

static void (*const on_frame[FRAME_KINDS])(struct worker *, const struct frame *) = {
    [FRAME_READY] = on_ready,     [FRAME_DONE] = on_done, [FRAME_FAILED] = on_failed,
    [FRAME_DROPPED] = on_dropped, [FRAME_LOG] = on_log,   [FRAME_PROGRESS] = on_progress,
};

/* Known by its head: what only the server sends is not waited for to its end. */
static enum mq_code check_kind(const struct worker *worker, struct slice bytes, struct mq_err *err)
{
    unsigned kind = bytes.len < FRAME_HEAD_BYTES ? FRAME_LOG : (unsigned char)bytes.at[FRAME_HEAD_BYTES - 1];
    if (on_frame[kind]) /* below FRAME_KINDS, or frame_read would have refused it */
        return MQ_OK;
    return mq_fail(err, MQ_INTERNAL, "worker %s sent a frame that only the server sends (kind %u)",
                   worker->name, kind);
}

static enum mq_code check_strays(const struct worker *worker, struct mq_err *err)
{
    if (worker->strays <= STRAYS_MAX)
        return MQ_OK;
    return mq_fail(err, MQ_INTERNAL, "worker %s sent %u frames about jobs that it does not hold",
                   worker->name, worker->strays);
}

/* A frame has begun and is not all there: watch.c looks how long that lasts. */
static void note_rest(struct worker *worker, bool any, bool moved, mono_ms now)
{
    struct dispatch *d = worker->d;
    if (!any)
        worker->unfinished_since = MONO_NEVER;
    else if (moved || worker->unfinished_since == MONO_NEVER)
        worker->unfinished_since = now;
    if (any && d->watch_at == MONO_NEVER)
        d->watch_at = now;
}

enum mq_code dispatch_worker_frames(struct dispatch *d, struct worker *worker, struct slice bytes,
                                    size_t *used, wall_ms wall, mono_ms now, struct mq_err *err)
{
    d->wall = wall;
    d->now = now;
    *used = 0;
    for (;;) {
        struct frame frame;
        size_t len;
        struct slice rest = {bytes.at + *used, bytes.len - *used};
        enum mq_code code = frame_read(&frame, rest, &len, err);
        if (code == MQ_OK)
            code = check_kind(worker, rest, err);
        if (code == MQ_OK)
            code = check_strays(worker, err);
        if (code != MQ_OK)
            return code;
        if (len == 0) {
            note_rest(worker, rest.len > 0, *used > 0, now);
            worker_ask_relief(worker);
            return MQ_OK;
        }
        on_frame[frame.kind](worker, &frame);
        *used += len;
    }
}
