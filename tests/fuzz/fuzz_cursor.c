/*
 * Listings that go on at a cursor. The first bytes choose the filter; the rest is the cursor: as it is, or (first byte's
 * upper bit) as bytes in the cursor's form with a sum that is right, which no client can make. Only a cursor that would
 * be written so is taken, and from wherever it points the listing comes to its end, in order, with no job twice.
 */
#include "fuzz.h"

#include <unistd.h>

#include "store/lmdb/walk.c"

#define NOW   1800000000000
#define JOBS  40
#define PAGES 100

static struct store *store;
static char dir[512];

static void no_done(struct store_op *op)
{
    (void)op;
}

static void run(struct store_op *op)
{
    op->done = no_done;
    store_submit(store, op);
    store_flush(store);
    store_collect(store);
}

static void remove_dir(void)
{
    store_close(store);
    fuzz_remove(dir);
}

/* Two queues, jobs of several states. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct store_settings settings = {.map_bytes = 1 << 20, .nosync = true};
    (void)argc, (void)argv;
    fuzz_folder(dir, sizeof dir);
    settings.dir = dir;
    FUZZ_MUST(store_open(&store, &settings, NULL) == MQ_OK, "no store in %s", dir);
    store_attach(store, &(struct store_listener){0}, NULL, NULL);
    atexit(remove_dir);
    for (int i = 0; i < JOBS; i++) {
        struct op_push push = {.spec = {.type = i % 3 ? SLICE("a") : SLICE("b"),
                                        .queue = i % 2 ? SLICE("one") : SLICE("two"),
                                        .payload = SLICE("{}"),
                                        .meta = SLICE_EMPTY,
                                        .tags = i % 5 ? SLICE_EMPTY : SLICE("x\n"),
                                        .expires_at = WALL_NEVER,
                                        .keep_ms = 1000000,
                                        .timeout_ms = 1000,
                                        .lease_ms = 1000,
                                        .max_attempts = 3,
                                        .priority = (uint8_t)(i % 10)},
                               .run_at = NOW + (i % 4 ? 0 : i * 1000)};
        store_op_init(&push.op, STORE_PUSH, NOW + i);
        run(&push.op);
        struct op_step step = {.id = push.id, .reason = SLICE_EMPTY};
        store_op_init(&step.op, STORE_CANCEL, NOW + i);
        if (i % 7 == 0)
            run(&step.op);
        store_op_release(&step.op);
        store_op_release(&push.op);
    }
    return 0;
}

static void add_hex(struct buf *out, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, "%02x", (unsigned char)bytes.at[i]);
}

/* The text of these bytes and a right sum. */
static void forge(struct buf *out, const struct job_filter *filter, bool newest_first, struct slice bytes)
{
    struct walk walk;
    struct buf whole = BUF_INIT;
    walk_init(&walk, filter, 0, newest_first);
    buf_add_slice(&whole, bytes);
    buf_u32(&whole, sum_of(&walk, bytes.at, bytes.len));
    add_hex(out, buf_bytes(&whole));
    buf_release(&whole);
}

static void check_text(const struct job_filter *filter, bool newest_first, struct slice cursor)
{
    struct walk walk;
    struct mq_err err;
    struct buf again = BUF_INIT;
    walk_init(&walk, filter, 1, newest_first);
    if (cursor.len && walk_resume(&walk, cursor, &err) == MQ_OK) {
        walk_save(&walk, &again);
        FUZZ_MUST(slice_equal(cursor, buf_bytes(&again)), "'%.*s' would be written as '%.*s'",
                  SLICE_ARG(cursor), SLICE_ARG(buf_bytes(&again)));
        FUZZ_MUST(cursor.len <= CURSOR_MAX_BYTES, "a cursor of %zu bytes", cursor.len);
    }
    buf_release(&again);
}

static void list(const struct job_filter *filter, bool newest_first, unsigned limit, struct buf *cursor)
{
    job_id seen[JOBS + 1];
    unsigned count = 0;
    for (int page = 0; page < PAGES; page++) {
        struct op_list op = {
            .filter = *filter, .limit = limit, .cursor = buf_bytes(cursor), .newest_first = newest_first};
        store_op_init(&op.op, STORE_LIST, NOW);
        run(&op.op);
        bool over = op.op.code != MQ_OK || op.next_cursor.len == 0;
        FUZZ_MUST(op.op.code == MQ_OK || (op.op.code == MQ_BADARG && page == 0), "page %d: %s", page,
                  op.op.err.text);
        for (unsigned i = 0; op.op.code == MQ_OK && i < op.count; i++) {
            for (unsigned j = 0; j < count; j++)
                FUZZ_MUST(seen[j] != op.jobs[i].id, "a job comes twice");
            FUZZ_MUST(count < JOBS, "more jobs than there are");
            seen[count++] = op.jobs[i].id;
        }
        buf_clear(cursor);
        if (!over)
            buf_add_slice(cursor, op.next_cursor);
        store_op_release(&op.op);
        if (over)
            return;
    }
    FUZZ_MUST(false, "no end after %d pages", PAGES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    unsigned first = fuzz_byte(&rest), limit = 1 + fuzz_byte(&rest) % 20;
    bool newest_first = first & 1;
    struct job_filter filter = {.states = fuzz_word(&rest) & ((1u << JOB_STATES) - 1),
                                .queue = first & 2 ? SLICE("one") : SLICE_EMPTY,
                                .type = first & 4 ? SLICE("a") : SLICE_EMPTY,
                                .tag = first & 8 ? SLICE("x") : SLICE_EMPTY};
    struct buf cursor = BUF_INIT;
    if (first & 0x80)
        forge(&cursor, &filter, newest_first, rest);
    else
        buf_add_slice(&cursor, rest);
    check_text(&filter, newest_first, buf_bytes(&cursor));
    list(&filter, newest_first, limit, &cursor);
    buf_release(&cursor);
    return 0;
}
