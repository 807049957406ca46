/*
 * Frames between server and child, both ways. A frame that is read and written again is the same frame; one that is
 * not all there is waited for, and not one byte is read behind it.
 */
#include "fuzz.h"

#include "runtime/frame.h"

static void write_children(struct buf *out, const struct frame_done *done)
{
    struct reader rest = reader_of(done->children);
    struct push_order child;
    for (uint32_t i = 0; i < done->child_count; i++) {
        size_t before = buf_len(out), had = rest.rest.len;
        if (frame_read_child(&child, &rest, NULL) != MQ_OK)
            return; /* the caller copies what could not be read */
        frame_add_child(out, &child);
        FUZZ_MUST(buf_len(out) - before == had - rest.rest.len, "child %u has another length", i);
    }
}

static void write_done(struct buf *out, const struct frame_done *done)
{
    struct buf children = BUF_INIT;
    struct frame_done copy = *done;
    write_children(&children, done);
    buf_add(&children, done->children.at + buf_len(&children), done->children.len - buf_len(&children));
    copy.children = buf_bytes(&children);
    frame_add_done(out, &copy);
    buf_release(&children);
}

static void write_frame(struct buf *out, const struct frame *frame)
{
    switch (frame->kind) {
    case FRAME_SETUP:
    case FRAME_READY:
        frame_add_json(out, frame->kind, frame->json);
        return;
    case FRAME_JOB:
        frame_add_job(out, &frame->job);
        return;
    case FRAME_CANCEL:
    case FRAME_TIMEOUT:
    case FRAME_DROPPED:
        frame_add_signal(out, frame->kind, frame->signal.slot, frame->signal.id, frame->signal.hard);
        return;
    case FRAME_DRAIN:
        frame_add_drain(out);
        return;
    case FRAME_DONE:
        write_done(out, &frame->done);
        return;
    case FRAME_FAILED:
        frame_add_failed(out, &frame->failed);
        return;
    case FRAME_LOG:
        frame_add_log(out, &frame->log);
        return;
    case FRAME_PROGRESS:
        frame_add_progress(out, &frame->progress);
        return;
    case FRAME_KINDS:
        break;
    }
    FUZZ_MUST(false, "a frame of kind %d was read", (int)frame->kind);
}

static bool is_signal(enum frame_kind kind)
{
    return kind == FRAME_CANCEL || kind == FRAME_TIMEOUT || kind == FRAME_DROPPED;
}

static void check_frame(const struct frame *frame, struct slice bytes)
{
    struct buf out = BUF_INIT;
    struct frame part;
    size_t used;
    write_frame(&out, frame);
    FUZZ_MUST(buf_len(&out) == bytes.len, "%zu bytes became %zu", bytes.len, buf_len(&out));
    if (is_signal(frame->kind)) /* any byte but 0 says `hard`; 1 is written */
        out.at[out.end - 1] = bytes.at[bytes.len - 1];
    FUZZ_MUST(slice_equal(bytes, buf_bytes(&out)), "frame of kind %d is written otherwise", (int)frame->kind);
    for (size_t len = 0; len < bytes.len; len += 1 + bytes.len / 64) {
        struct slice cut = fuzz_copy((struct slice){bytes.at, len});
        FUZZ_MUST(frame_read(&part, cut, &used, NULL) == MQ_OK && used == 0, "%zu bytes of %zu", len,
                  bytes.len);
        free((void *)cut.at);
    }
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    struct mq_err err;
    struct frame frame;
    size_t used;
    while (frame_read(&frame, rest, &used, &err) == MQ_OK && used) {
        FUZZ_MUST(used <= rest.len && used >= FRAME_HEAD_BYTES, "%zu of %zu", used, rest.len);
        check_frame(&frame, (struct slice){rest.at, used});
        rest.at += used;
        rest.len -= used;
    }
    return 0;
}
