#include "runtime/frame.h"

#define SIGNAL_BYTES (4 + 8 + 1)

/* Leaves room for the head; frame_end fills it in. Offsets are from the buffer's start, which may move. */
static size_t frame_begin(struct buf *out, enum frame_kind kind)
{
    size_t held = buf_len(out);
    buf_u32(out, 0);
    buf_u8(out, (uint8_t)kind);
    return held;
}

static void frame_end(struct buf *out, size_t held)
{
    be32_put(out->at + out->start + held, (uint32_t)(buf_len(out) - held - 4));
}

void frame_add_json(struct buf *out, enum frame_kind kind, struct slice json)
{
    size_t begun = frame_begin(out, kind);
    buf_add_slice(out, json);
    frame_end(out, begun);
}

void frame_add_job(struct buf *out, const struct frame_job *job)
{
    size_t begun = frame_begin(out, FRAME_JOB);
    buf_u32(out, job->slot);
    buf_u64(out, job->id);
    buf_u64(out, job->token);
    buf_u16(out, job->attempt);
    buf_u16(out, job->crashes);
    buf_string(out, job->record);
    frame_end(out, begun);
}

void frame_add_signal(struct buf *out, enum frame_kind kind, uint32_t slot, job_id id, bool hard)
{
    size_t begun = frame_begin(out, kind);
    buf_u32(out, slot);
    buf_u64(out, id);
    buf_u8(out, hard);
    frame_end(out, begun);
}

void frame_add_drain(struct buf *out)
{
    frame_end(out, frame_begin(out, FRAME_DRAIN));
}

void frame_add_done(struct buf *out, const struct frame_done *done)
{
    size_t begun = frame_begin(out, FRAME_DONE);
    buf_u32(out, done->slot);
    buf_u64(out, done->id);
    buf_string(out, done->result);
    buf_u32(out, done->child_count);
    buf_string(out, done->children);
    frame_end(out, begun);
}

void frame_add_failed(struct buf *out, const struct frame_failed *failed)
{
    size_t begun = frame_begin(out, FRAME_FAILED);
    buf_u32(out, failed->slot);
    buf_u64(out, failed->id);
    buf_u8(out, failed->verdict);
    buf_u64(out, (uint64_t)failed->delay_ms);
    buf_string(out, failed->code);
    buf_string(out, failed->message);
    buf_string(out, failed->traceback);
    frame_end(out, begun);
}

void frame_add_log(struct buf *out, const struct frame_log *log)
{
    size_t begun = frame_begin(out, FRAME_LOG);
    buf_u64(out, log->id);
    buf_u8(out, log->level);
    buf_string(out, log->text);
    buf_string(out, log->fields);
    frame_end(out, begun);
}

void frame_add_progress(struct buf *out, const struct frame_progress *progress)
{
    uint32_t fraction;
    size_t begun = frame_begin(out, FRAME_PROGRESS);
    memcpy(&fraction, &progress->fraction, sizeof fraction);
    buf_u32(out, progress->slot);
    buf_u64(out, progress->id);
    buf_u32(out, fraction);
    buf_string(out, progress->note);
    frame_end(out, begun);
}

void frame_add_child(struct buf *children, const struct push_order *child)
{
    buf_string(children, child->type);
    buf_string(children, child->payload);
    buf_string(children, child->queue);
    buf_string(children, child->meta);
    buf_string(children, child->tags);
    buf_u64(children, (uint64_t)child->delay_ms);
    buf_u64(children, (uint64_t)child->at_ms);
    buf_u64(children, (uint64_t)child->timeout_ms);
    buf_u64(children, (uint64_t)child->lease_ms);
    buf_u64(children, (uint64_t)child->expires_ms);
    buf_u64(children, (uint64_t)child->keep_ms);
    buf_u32(children, (uint32_t)child->attempts);
    buf_u32(children, (uint32_t)child->priority);
    buf_string(children, child->unique);
    buf_string(children, child->unique_by);
    buf_u64(children, (uint64_t)child->unique_for_ms);
    buf_u32(children, (uint32_t)child->unique_in);
    buf_u32(children, (uint32_t)child->conflict);
}

enum mq_code frame_read_child(struct push_order *out, struct reader *children, struct mq_err *err)
{
    out->type = reader_string(children);
    out->payload = reader_string(children);
    out->queue = reader_string(children);
    out->meta = reader_string(children);
    out->tags = reader_string(children);
    out->delay_ms = (int64_t)reader_u64(children);
    out->at_ms = (int64_t)reader_u64(children);
    out->timeout_ms = (int64_t)reader_u64(children);
    out->lease_ms = (int64_t)reader_u64(children);
    out->expires_ms = (int64_t)reader_u64(children);
    out->keep_ms = (int64_t)reader_u64(children);
    out->attempts = (int32_t)reader_u32(children);
    out->priority = (int32_t)reader_u32(children);
    out->unique = reader_string(children);
    out->unique_by = reader_string(children);
    out->unique_for_ms = (int64_t)reader_u64(children);
    out->unique_in = (int32_t)reader_u32(children);
    out->conflict = (int32_t)reader_u32(children);
    return children->short_ ? mq_fail(err, MQ_INTERNAL, "a pushed job in a frame is cut short") : MQ_OK;
}

static void read_job(struct frame *out, struct reader *body)
{
    out->job.slot = reader_u32(body);
    out->job.id = reader_u64(body);
    out->job.token = reader_u64(body);
    out->job.attempt = reader_u16(body);
    out->job.crashes = reader_u16(body);
    out->job.record = reader_string(body);
}

static void read_signal(struct frame *out, struct reader *body)
{
    out->signal.slot = reader_u32(body);
    out->signal.id = reader_u64(body);
    out->signal.hard = reader_u8(body) != 0;
}

static void read_done(struct frame *out, struct reader *body)
{
    out->done.slot = reader_u32(body);
    out->done.id = reader_u64(body);
    out->done.result = reader_string(body);
    out->done.child_count = reader_u32(body);
    out->done.children = reader_string(body);
}

static void read_failed(struct frame *out, struct reader *body)
{
    out->failed.slot = reader_u32(body);
    out->failed.id = reader_u64(body);
    out->failed.verdict = reader_u8(body);
    out->failed.delay_ms = (int64_t)reader_u64(body);
    out->failed.code = reader_string(body);
    out->failed.message = reader_string(body);
    out->failed.traceback = reader_string(body);
}

static void read_log(struct frame *out, struct reader *body)
{
    out->log.id = reader_u64(body);
    out->log.level = reader_u8(body);
    out->log.text = reader_string(body);
    out->log.fields = reader_string(body);
}

static void read_progress(struct frame *out, struct reader *body)
{
    uint32_t fraction;
    out->progress.slot = reader_u32(body);
    out->progress.id = reader_u64(body);
    fraction = reader_u32(body);
    memcpy(&out->progress.fraction, &fraction, sizeof fraction);
    out->progress.note = reader_string(body);
}

static void read_json(struct frame *out, struct reader *body)
{
    out->json = body->rest;
    body->rest.len = 0;
}

static void read_nothing(struct frame *out, struct reader *body)
{
    (void)out;
    (void)body;
}

/* A row a kind: how its body is read, and how long that may be. */
static const struct kind_row {
    void (*read)(struct frame *out, struct reader *body);
    size_t most;
} kinds[FRAME_KINDS] = {
    [FRAME_SETUP] = {read_json, FRAME_JSON_MAX},
    [FRAME_JOB] = {read_job, FRAME_MAX_BYTES},
    [FRAME_CANCEL] = {read_signal, SIGNAL_BYTES},
    [FRAME_TIMEOUT] = {read_signal, SIGNAL_BYTES},
    [FRAME_DRAIN] = {read_nothing, 0},
    [FRAME_READY] = {read_json, FRAME_JSON_MAX},
    [FRAME_DONE] = {read_done, FRAME_MAX_BYTES},
    [FRAME_FAILED] = {read_failed, FRAME_FAILED_MAX},
    [FRAME_DROPPED] = {read_signal, SIGNAL_BYTES},
    [FRAME_LOG] = {read_log, FRAME_LOG_MAX},
    [FRAME_PROGRESS] = {read_progress, FRAME_PROGRESS_MAX},
};

enum mq_code frame_read(struct frame *out, struct slice bytes, size_t *used, struct mq_err *err)
{
    *used = 0;
    if (bytes.len < FRAME_HEAD_BYTES)
        return MQ_OK;
    size_t len = be32_get(bytes.at);
    unsigned kind = (unsigned char)bytes.at[4];
    if (kind >= FRAME_KINDS || !kinds[kind].read)
        return mq_fail(err, MQ_INTERNAL, "frame of unknown kind %u", kind);
    if (len < 1 || len - 1 > kinds[kind].most)
        return mq_fail(err, MQ_INTERNAL, "frame of kind %u has %zu bytes (1 to %zu are possible)", kind, len,
                       kinds[kind].most + 1);
    if (bytes.len - 4 < len)
        return MQ_OK;
    struct reader body = reader_of((struct slice){bytes.at + FRAME_HEAD_BYTES, len - 1});
    out->kind = (enum frame_kind)kind;
    kinds[kind].read(out, &body);
    if (!reader_done(&body))
        return mq_fail(err, MQ_INTERNAL, "frame of kind %u is %s", kind,
                       body.short_ ? "cut short" : "too long");
    *used = 4 + len;
    return MQ_OK;
}
