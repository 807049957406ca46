/* LMDB's file has no space for a checkpoint, and the journal has: what is confirmed goes on, readers are told, nobody spins. */
#include "writer_bench.h"

#include <errno.h>
#include <sys/uio.h>

/* ---- the disk; the dynamic linker finds these first ---- */

static atomic_bool file_is_full;
static atomic_uint refusals;

static bool refuses(int fd)
{
    char link[64], path[700];
    if (!file_is_full)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len < 0 ? 0 : len] = '\0';
    if (!strstr(path, "/" DATA_NAME))
        return false;
    atomic_fetch_add(&refusals, 1);
    errno = ENOSPC;
    return true;
}

ssize_t pwrite(int fd, const void *at, size_t len, off_t to)
{
    return refuses(fd) ? -1 : syscall(SYS_pwrite64, fd, at, len, to);
}
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return refuses(fd) ? -1 : syscall(SYS_writev, fd, parts, count);
}

/* ---- the bench ---- */

static struct bench *bench_of(const struct store_settings *wishes)
{
    file_is_full = false;
    struct bench *b = bench_new(wishes);
    refusals = 0;
    return b;
}

static void bench_end(struct bench *b)
{
    uint64_t pushed = b->writer.batches;
    file_is_full = false;
    assert_int_equal(bench_free(b), pushed);
}

static void push(struct bench *b)
{
    bench_push(b, "q", KEEP_DEFAULT_MS);
}

/* ---- tests ---- */

static void a_refused_checkpoint_is_not_tried_again_at_once(void **state)
{
    (void)state;
    struct bench *b = bench_of(&(struct store_settings){.journal_bytes = 1}); /* always too long */
    push(b);
    file_is_full = true;
    writer_wants(&b->writer, 1); /* somebody waits, too */
    writer_rest(&b->writer, b->now);
    assert_int_equal(b->writer.refused, 1);
    unsigned before = refusals;
    assert_true(before > 0);
    for (int i = 0; i < 3; i++) {
        assert_true(writer_rests_for(&b->writer, b->now) > 0);
        writer_rest(&b->writer, b->now);
        push(b); /* its place is the journal */
        writer_wants(&b->writer, b->writer.batches);
    }
    assert_int_equal(refusals, before);
    writer_rest(&b->writer, b->now + 60000);
    assert_true(refusals > before);
    assert_int_equal(b->writer.refused, 2);
    file_is_full = false;
    writer_rest(&b->writer, b->now + 120000);
    assert_true(writer_has(&b->writer, 4));
    push(b);
    writer_rest(&b->writer, b->now); /* and all is as before: the journal is too long */
    assert_true(writer_has(&b->writer, 5));
    bench_end(b);
}

static void a_batch_that_somebody_waits_to_read_goes_to_the_journal_then(void **state)
{
    (void)state;
    struct bench *b = bench_of(&(struct store_settings){0});
    push(b);
    file_is_full = true;
    writer_wants(&b->writer, 1);
    push(b);
    assert_true(refusals > 0);
    assert_int_equal(b->writer.refused, 1); /* who waits is told */
    assert_false(writer_has(&b->writer, 1));
    bench_end(b);
}

static void a_refused_checkpoint_does_not_keep_the_journal_from_its_sync(void **state)
{
    (void)state;
    struct bench *b = bench_of(&(struct store_settings){.relaxed_ms = 20});
    push(b);
    assert_true(b->env->journal.unsynced);
    file_is_full = true;
    writer_rest(&b->writer, b->now + 60000);
    assert_true(refusals > 0);
    assert_false(b->env->journal.unsynced);
    bench_end(b);
}

static void readers_are_told_and_pushes_go_on(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .readers = 1};
    file_is_full = false;
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    job_id id = lab_push(lab, "q", "x");
    file_is_full = true;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lab_get(lab, id), MQ_NOSPACE);
        id = lab_push(lab, "q", "y");
    }
    file_is_full = false;
    assert_int_equal(lab_state(lab, id), JOB_READY);
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_checkpoint_is_not_tried_again_at_once),
        cmocka_unit_test(a_batch_that_somebody_waits_to_read_goes_to_the_journal_then),
        cmocka_unit_test(a_refused_checkpoint_does_not_keep_the_journal_from_its_sync),
        cmocka_unit_test(readers_are_told_and_pushes_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
