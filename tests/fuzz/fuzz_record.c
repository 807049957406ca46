/*
 * Records on disk. The first byte says which kind; if its upper bit is set, the sum behind the bytes is made right, so
 * that the fields are reached. What can be read is written again as the same bytes, and one flipped bit is noticed.
 */
#include "fuzz.h"

#include <xxhash.h>

#include "job/record.h"

#define KNOWN_FLAGS     0x0F /* of a status: the other bits are not kept */
#define STATUS_ROOMLESS 3    /* formats that are read, not written: what they say is, in a later one */

static void write_spec(struct buf *out, const struct job_spec *spec)
{
    size_t len = record_spec_bytes(spec);
    record_write_spec(buf_room(out, len), spec);
    buf_grew(out, len);
}

static void write_status(struct buf *out, const struct job_status *status)
{
    size_t len = record_status_bytes(status);
    record_write_status(buf_room(out, len), status);
    buf_grew(out, len);
}

/* Reads it as `kind`, and if it can be read writes it to `out`. */
static enum mq_code pass(unsigned kind, struct slice bytes, struct buf *out)
{
    struct mq_err err;
    struct job_spec spec;
    struct job_status status;
    struct job_attempt attempt;
    enum mq_code code;
    if (kind == 0) {
        code = record_read_spec(&spec, bytes, &err);
        if (code == MQ_OK)
            write_spec(out, &spec);
    } else if (kind == 1) {
        code = record_read_status(&status, bytes, &err);
        if (code == MQ_OK)
            write_status(out, &status);
    } else {
        code = record_read_attempt(&attempt, bytes, &err);
        if (code == MQ_OK)
            record_add_attempt(out, &attempt);
    }
    FUZZ_MUST(code == MQ_OK || (code == MQ_INTERNAL && err.text[0]), "refused with %s", mq_code_name(code));
    return code;
}

static void check_flip(unsigned kind, struct slice good, unsigned where)
{
    struct slice bad = fuzz_copy(good);
    struct buf out = BUF_INIT;
    ((char *)bad.at)[where / 8 % bad.len] ^= (char)(1 << where % 8);
    FUZZ_MUST(pass(kind, bad, &out) == MQ_INTERNAL, "bit %u of byte %zu is not missed", where % 8,
              where / 8 % bad.len);
    buf_release(&out);
    free((void *)bad.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    struct buf bytes = BUF_INIT, again = BUF_INIT;
    unsigned choice = fuzz_byte(&rest), where = fuzz_word(&rest), kind = choice % 3;
    buf_add_slice(&bytes, rest);
    if (choice & 0x80)
        buf_u32(&bytes, (uint32_t)XXH3_64bits(rest.at, rest.len));
    struct slice exact = fuzz_copy(buf_bytes(&bytes));
    if (pass(kind, exact, &again) == MQ_OK) {
        if (kind == 1 &&
            (exact.at[3] & ~KNOWN_FLAGS || exact.at[0] <= STATUS_ROOMLESS)) { /* written as is usual now */
            struct buf third = BUF_INIT;
            FUZZ_MUST(pass(kind, buf_bytes(&again), &third) == MQ_OK &&
                          slice_equal(buf_bytes(&again), buf_bytes(&third)),
                      "written twice, a status differs");
            buf_release(&third);
        } else {
            FUZZ_MUST(slice_equal(exact, buf_bytes(&again)), "a record of %zu bytes is written otherwise",
                      exact.len);
        }
        check_flip(kind, exact, where);
    }
    free((void *)exact.at);
    buf_release(&bytes);
    buf_release(&again);
    return 0;
}
