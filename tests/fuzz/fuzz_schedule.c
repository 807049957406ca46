/*
 * Records of cron entries and rows of their ledgers. The first byte says which kind; if its upper bit is set, the sum
 * behind the bytes is made right, so that the fields are reached. What can be read and is written again, reads the same.
 */
#include "fuzz.h"

#include <xxhash.h>

#include "store/lmdb/machine.h"

static enum mq_code pass(unsigned kind, struct slice bytes, struct buf *out)
{
    struct mq_err err = {0};
    struct schedule_view view;
    struct tick_row row;
    enum mq_code code;
    if (kind == 0) {
        code = schedule_decode(&view, bytes, &err);
        if (code == MQ_OK)
            schedule_encode(out, &view);
    } else {
        code = tick_decode(&row, bytes, &err);
        if (code == MQ_OK)
            tick_encode(out, &row);
    }
    FUZZ_MUST(code == MQ_OK || err.text[0], "refused with %s, and no word", mq_code_name(code));
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    struct buf bytes = BUF_INIT, again = BUF_INIT;
    unsigned choice = fuzz_byte(&rest), kind = choice % 2;
    buf_add_slice(&bytes, rest);
    if (choice & 0x80)
        buf_u32(&bytes, (uint32_t)XXH3_64bits(rest.at, rest.len));
    struct slice exact = fuzz_copy(buf_bytes(&bytes));
    if (pass(kind, exact, &again) ==
        MQ_OK) { /* older records know fewer outcomes, and flags may come that we do not */
        struct buf third = BUF_INIT;
        FUZZ_MUST(pass(kind, buf_bytes(&again), &third) == MQ_OK &&
                      slice_equal(buf_bytes(&again), buf_bytes(&third)),
                  "written twice, a record of %zu bytes differs", exact.len);
        buf_release(&third);
    }
    free((void *)exact.at);
    buf_release(&bytes);
    buf_release(&again);
    return 0;
}
