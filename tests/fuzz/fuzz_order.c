/*
 * What a producer asks for: lines "OPTION value", then an empty line and the payload. An order that is taken makes a
 * specification within all limits; it is the same after the way through a frame, and after the way through the store's
 * record.
 */
#include "fuzz.h"

#include "job/order.h"
#include "job/record.h"
#include "runtime/frame.h"
#include "valid.h"

#define NOW         1800000000000
#define PAYLOAD_MAX 256

static void check_frame(const struct push_order *order)
{
    struct buf bytes = BUF_INIT, again = BUF_INIT;
    struct push_order back;
    frame_add_child(&bytes, order);
    struct reader rest = reader_of(buf_bytes(&bytes));
    FUZZ_MUST(frame_read_child(&back, &rest, NULL) == MQ_OK && reader_done(&rest), "not read back");
    frame_add_child(&again, &back);
    FUZZ_MUST(slice_equal(buf_bytes(&bytes), buf_bytes(&again)), "an order changes on its way");
    buf_release(&bytes);
    buf_release(&again);
}

static void check_record(const struct job_spec *spec)
{
    struct job_spec back;
    size_t len = record_spec_bytes(spec);
    char *bytes = malloc(len), *again = malloc(len);
    record_write_spec(bytes, spec);
    FUZZ_MUST(record_read_spec(&back, (struct slice){bytes, len}, NULL) == MQ_OK, "not read back");
    record_write_spec(again, &back);
    FUZZ_MUST(record_spec_bytes(&back) == len && memcmp(bytes, again, len) == 0, "a spec changes");
    free(bytes);
    free(again);
}

static enum mq_code read_options(struct push_order *order, struct slice *rest, struct buf *tags,
                                 struct mq_err *err)
{
    for (;;) {
        struct slice line = fuzz_part(rest, '\n'), option = fuzz_part(&line, ' ');
        if (option.len == 0)
            return MQ_OK;
        enum mq_code code = order_set(order, option, line, tags, err);
        if (code != MQ_OK)
            return code;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = fuzz_copy((struct slice){(const char *)data, size}), rest = all;
    struct push_order order;
    struct buf tags = BUF_INIT;
    struct mq_err err = {0};
    struct job_spec spec;
    wall_ms run_at;
    order_init(&order);
    order.type = fuzz_part(&rest, '\n');
    enum mq_code code = read_options(&order, &rest, &tags, &err);
    order.payload = rest;
    if (code == MQ_OK)
        code = order_check(&order, PAYLOAD_MAX, &err);
    FUZZ_MUST(code == MQ_OK || err.text[0], "refused without a reason");
    if (code == MQ_OK) {
        struct buf own = BUF_INIT;
        enum unique_conflict conflict;
        order_resolve(&spec, &run_at, &order, NULL, NULL, NOW);
        if (order_resolve_key(&spec, &conflict, &order, NULL, &own, &err) != MQ_OK)
            spec.unique_key = SLICE_EMPTY;
        valid_spec(&spec, PAYLOAD_MAX);
        FUZZ_MUST(run_at <= WALL_MAX, "runs at %lld", (long long)run_at);
        check_frame(&order);
        check_record(&spec);
        buf_release(&own);
    }
    buf_release(&tags);
    free((void *)all.at);
    return 0;
}
