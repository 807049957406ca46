/*
 * Requests. The first byte cuts the rest into chunks, as a socket may. However they are cut, the same commands come
 * out, and at the same places; and a command that is written as RESP and read again is the same command.
 */
#include "fuzz.h"

#include "protocol/resp.h"

#define REQUEST_MAX 4096 /* small, so that TOOBIG is reached */

/* What came out, as text in which two runs can be compared. */
static void note(struct buf *log, enum resp_got got, size_t at, const struct resp_request *request)
{
    buf_printf(log, "%d@%zu", (int)got, at);
    for (unsigned i = 0; got == RESP_COMMAND && i < request->count; i++) {
        buf_printf(log, " %zu:", request->args[i].len);
        buf_add_slice(log, request->args[i]);
    }
    buf_u8(log, '\n');
}

static void check_again(const struct resp_request *first)
{
    struct resp_request *again = malloc(sizeof *again);
    struct buf text = BUF_INIT;
    uint64_t total = 0;
    resp_init(again);
    buf_printf(&text, "*%u\r\n", first->count);
    for (unsigned i = 0; i < first->count; i++) {
        total += first->args[i].len;
        buf_printf(&text, "$%zu\r\n", first->args[i].len);
        buf_add_slice(&text, first->args[i]);
        buf_add(&text, "\r\n", 2);
    }
    FUZZ_MUST(resp_read(again, buf_bytes(&text), total) == RESP_COMMAND, "%.*s", SLICE_ARG(buf_bytes(&text)));
    FUZZ_MUST(again->used == buf_len(&text) && again->count == first->count, "%u of %u arguments",
              again->count, first->count);
    for (unsigned i = 0; i < first->count; i++)
        FUZZ_MUST(slice_equal(first->args[i], again->args[i]), "argument %u", i);
    resp_release(again);
    buf_release(&text);
    free(again);
}

/* Reads all of `bytes`, of which `step` more are there each time. */
static void read_all(struct buf *log, struct slice bytes, size_t step)
{
    struct resp_request *request = malloc(sizeof *request);
    struct resp_skip skip;
    struct mq_err err;
    bool skipping = false;
    size_t at = 0, there = 0, need = 0;
    resp_init(request);
    while (there < bytes.len) {
        there = bytes.len - there < step ? bytes.len : there + step;
        for (;;) {
            struct slice rest = fuzz_copy((struct slice){bytes.at + at, there - at});
            size_t used = 0;
            enum resp_got got =
                skipping ? resp_skip(&skip, rest, &used, &err) : resp_read(request, rest, REQUEST_MAX);
            FUZZ_MUST(got == RESP_MORE || skipping || rest.len >= need, "%zu were said to be needed, %zu did",
                      need, rest.len);
            FUZZ_MUST(got != RESP_MORE || skipping || request->need > rest.len, "needs the %zu that it has",
                      rest.len);
            need = got == RESP_MORE && !skipping ? request->need : 0;
            if (got == RESP_COMMAND) {
                FUZZ_MUST(request->count >= 1 && request->count <= RESP_ARGS_MAX, "%u", request->count);
                if (step == bytes.len)
                    check_again(request);
            }
            if (!skipping && got != RESP_MORE && got != RESP_BROKEN)
                used = request->used;
            FUZZ_MUST(used <= rest.len, "%zu of %zu bytes", used, rest.len);
            if (got == RESP_TOOBIG)
                skip = request->skip;
            if (got != RESP_MORE)
                note(log, got, skipping ? at + used : at, request); /* a skip is known by its end */
            at += used;
            skipping = got == RESP_TOOBIG || (skipping && got == RESP_MORE);
            free((void *)rest.at);
            if (got == RESP_BROKEN)
                goto done;
            if (got == RESP_MORE)
                break;
        }
    }
done:
    resp_release(request);
    free(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {(const char *)data, size};
    struct buf whole = BUF_INIT, parts = BUF_INIT;
    size_t step = 1 + fuzz_byte(&bytes);
    if (bytes.len == 0 || bytes.len / step > 400) /* or short steps over long bytes take for ever */
        return 0;
    read_all(&whole, bytes, bytes.len);
    read_all(&parts, bytes, step);
    FUZZ_MUST(slice_equal(buf_bytes(&whole), buf_bytes(&parts)), "in one:\n%.*s\nin steps of %zu:\n%.*s",
              SLICE_ARG(buf_bytes(&whole)), step, SLICE_ARG(buf_bytes(&parts)));
    buf_release(&whole);
    buf_release(&parts);
    return 0;
}
