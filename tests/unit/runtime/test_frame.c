/* Frames: what is written is read again; what is cut short or garbage is refused, and nothing is read beyond it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runtime/frame.h"

static void add_all(struct buf *out)
{
    static const char zero[] = "a\0b";
    struct push_order child;
    struct buf children = BUF_INIT;
    order_init(&child);
    child.type = SLICE("email.send");
    child.payload = SLICE("{}");
    child.delay_ms = 5000;
    frame_add_child(&children, &child);
    frame_add_json(out, FRAME_SETUP, SLICE("{\"role\":\"worker\"}"));
    frame_add_job(
        out,
        &(struct frame_job){
            .slot = 7, .id = 1ULL << 60, .token = ~0ULL, .attempt = 3, .crashes = 1, .record = {zero, 3}});
    frame_add_signal(out, FRAME_CANCEL, 3999, 42, true);
    frame_add_signal(out, FRAME_TIMEOUT, 0, 43, false);
    frame_add_drain(out);
    frame_add_json(out, FRAME_READY, SLICE("{}"));
    frame_add_done(
        out,
        &(struct frame_done){
            .slot = 7, .id = 5, .result = SLICE("[1]"), .child_count = 1, .children = buf_bytes(&children)});
    frame_add_failed(out, &(struct frame_failed){.slot = 8,
                                                 .id = 6,
                                                 .verdict = 3,
                                                 .delay_ms = -1,
                                                 .code = SLICE("SCRIPT"),
                                                 .message = SLICE("no"),
                                                 .traceback = SLICE("at a")});
    frame_add_signal(out, FRAME_DROPPED, 9, 44, false);
    frame_add_log(out,
                  &(struct frame_log){.id = 7, .level = 2, .text = SLICE("line"), .fields = SLICE("{}")});
    frame_add_progress(
        out, &(struct frame_progress){.slot = 1, .id = 8, .fraction = 0.25f, .note = SLICE("quarter")});
    buf_release(&children);
}

static struct frame next(struct slice *rest)
{
    struct frame frame = {0};
    struct mq_err err;
    size_t used;
    assert_int_equal(frame_read(&frame, *rest, &used, &err), MQ_OK);
    assert_true(used > 0);
    rest->at += used;
    rest->len -= used;
    return frame;
}

static void every_kind_is_read_as_it_was_written(void **state)
{
    struct buf out = BUF_INIT;
    struct push_order child;
    struct mq_err err;
    (void)state;
    add_all(&out);
    struct slice rest = buf_bytes(&out);
    struct frame f = next(&rest);
    assert_int_equal(f.kind, FRAME_SETUP);
    assert_true(slice_equal(f.json, SLICE("{\"role\":\"worker\"}")));
    f = next(&rest);
    assert_int_equal(f.kind, FRAME_JOB);
    assert_true(f.job.slot == 7 && f.job.id == 1ULL << 60 && f.job.token == ~0ULL && f.job.attempt == 3 &&
                f.job.crashes == 1);
    assert_int_equal(f.job.record.len, 3);
    f = next(&rest);
    assert_true(f.kind == FRAME_CANCEL && f.signal.slot == 3999 && f.signal.id == 42 && f.signal.hard);
    f = next(&rest);
    assert_true(f.kind == FRAME_TIMEOUT && !f.signal.hard);
    assert_int_equal(next(&rest).kind, FRAME_DRAIN);
    assert_int_equal(next(&rest).kind, FRAME_READY);
    f = next(&rest);
    assert_true(f.kind == FRAME_DONE && f.done.child_count == 1 && slice_equal(f.done.result, SLICE("[1]")));
    struct reader children = reader_of(f.done.children);
    assert_int_equal(frame_read_child(&child, &children, &err), MQ_OK);
    assert_true(reader_done(&children) && child.delay_ms == 5000 && child.priority == ORDER_UNSET);
    f = next(&rest);
    assert_true(f.kind == FRAME_FAILED && f.failed.delay_ms == -1 &&
                slice_equal(f.failed.traceback, SLICE("at a")));
    assert_int_equal(next(&rest).kind, FRAME_DROPPED);
    f = next(&rest);
    assert_true(f.kind == FRAME_LOG && f.log.level == 2);
    f = next(&rest);
    assert_true(f.kind == FRAME_PROGRESS && f.progress.fraction == 0.25f);
    assert_int_equal(rest.len, 0);
    buf_release(&out);
}

/* From memory of exactly this size, so that a sanitizer sees a read beyond it. */
static enum mq_code read_copy(struct slice bytes, size_t *used)
{
    struct frame frame;
    struct mq_err err;
    char *copy = malloc(bytes.len ? bytes.len : 1);
    memcpy(copy, bytes.at, bytes.len);
    enum mq_code code = frame_read(&frame, (struct slice){copy, bytes.len}, used, &err);
    free(copy);
    return code;
}

static void a_frame_that_is_not_all_there_is_waited_for(void **state)
{
    struct buf out = BUF_INIT;
    size_t used;
    (void)state;
    add_all(&out);
    struct slice rest = buf_bytes(&out);
    while (rest.len) {
        size_t whole = 4 + be32_get(rest.at);
        for (size_t len = 0; len < whole; len++) {
            assert_int_equal(read_copy((struct slice){rest.at, len}, &used), MQ_OK);
            assert_int_equal(used, 0);
        }
        rest.at += whole;
        rest.len -= whole;
    }
    buf_release(&out);
}

static void a_frame_whose_body_is_cut_is_refused(void **state)
{
    struct buf out = BUF_INIT;
    size_t used;
    (void)state;
    frame_add_job(&out, &(struct frame_job){.slot = 1, .id = 2, .record = SLICE("record")});
    be32_put(out.at, be32_get(out.at) - 1);
    assert_int_equal(read_copy((struct slice){out.at, buf_len(&out) - 1}, &used), MQ_INTERNAL);
    be32_put(out.at, be32_get(out.at) + 2); /* and one that is too long */
    buf_u8(&out, 0);
    assert_int_equal(read_copy(buf_bytes(&out), &used), MQ_INTERNAL);
    buf_release(&out);
}

static void garbage_is_refused(void **state)
{
    static const struct {
        char bytes[12];
        const char *why;
    } rows[] = {
        {"\0\0\0\0\1", "no kind"},
        {"\0\0\0\5\0aaaa", "kind 0"},
        {"\0\0\0\5\77aaaa", "unknown kind"},
        {"\377\377\377\377\1", "longer than any frame"},
        {"\0\0\0\5\2aaaa", "a job of four bytes"},
        {"\0\0\0\2\5a", "DRAIN has no body"},
    };
    size_t used;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (read_copy((struct slice){rows[i].bytes, 9}, &used) != MQ_INTERNAL)
            fail_msg("%s", rows[i].why);
}

static void any_changed_byte_is_survived(void **state)
{
    struct buf out = BUF_INIT;
    size_t used;
    (void)state;
    add_all(&out);
    for (size_t i = 0; i < buf_len(&out); i++)
        for (int bit = 0; bit < 8; bit++) {
            struct slice rest = buf_bytes(&out);
            out.at[out.start + i] ^= (char)(1 << bit);
            while (rest.len && read_copy(rest, &used) == MQ_OK && used) {
                rest.at += used;
                rest.len -= used;
            }
            out.at[out.start + i] ^= (char)(1 << bit);
        }
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read_as_it_was_written),
        cmocka_unit_test(a_frame_that_is_not_all_there_is_waited_for),
        cmocka_unit_test(a_frame_whose_body_is_cut_is_refused),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(any_changed_byte_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
