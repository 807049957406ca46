/* The journal's file: what is read back of it, however it was torn, damaged, exchanged, or written by another version. */
#include "lab.h"
#include "lmdb_crash.h"
#include "lmdb_check.h"
#include "store/fsck.h"
#include "store/lmdb/journal.h"
#include "store/lmdb/redo.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <xxhash.h>

/* The dynamic linker finds it here first. */
static unsigned syncs;
int fdatasync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}

/* So many syncs of folders fail. */
static unsigned bad_folder_syncs, folder_syncs;
int fsync(int fd)
{
    folder_syncs++;
    if (bad_folder_syncs) {
        bad_folder_syncs--;
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

/* The disk does not give back this byte of the journal. */
static int64_t bad_byte = -1;
static bool is_journal(int fd)
{
    char link[64], path[700];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len < 0 ? 0 : len] = '\0';
    return strstr(path, "/" JOURNAL_NAME) != NULL;
}
ssize_t pread(int fd, void *at, size_t len, off_t from)
{
    if (bad_byte >= from && bad_byte < from + (off_t)len && is_journal(fd)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, at, len, from);
}

/* ---- a journal on a bench: a folder, an LMDB file to replay into, records that can be told apart ---- */

enum {
    RECORDS_MAX = 8
};

struct bench {
    char *dir;
    struct file file; /* its transaction is never committed */
    struct journal journal;
    struct journal_mark mark;
    size_t lens[RECORDS_MAX + 1]; /* of the records' changes, from 1 on */
    uint64_t ends[RECORDS_MAX + 1];
};

static char *path_of(const struct bench *b, const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", b->dir, name);
    return path;
}

static struct bench *bench_new(void)
{
    struct bench *b = calloc(1, sizeof *b);
    struct store_settings settings = {.nosync = true};
    struct store *store;
    b->dir = temp_folder();
    settings.dir = b->dir;
    assert_int_equal(store_open(&store, &settings, NULL), MQ_OK); /* makes the databases */
    store_collect(store);
    store_close(store);
    unlink(path_of(b, JOURNAL_NAME));
    file_open(&b->file, b->dir);
    b->mark = (struct journal_mark){.epoch = 7, .sum = 0x1234};
    return b;
}

static void bench_free(struct bench *b)
{
    journal_close(&b->journal);
    mdb_txn_abort(b->file.txn);
    mdb_env_close(b->file.env);
    remove_tree(b->dir);
    free(b->dir);
    free(b);
}

static void start_life(struct bench *b)
{
    assert_int_equal(journal_open(&b->journal, b->dir, true, NULL), MQ_OK);
    journal_attach(&b->journal, &b->mark, b->file.txn);
    assert_int_equal(journal_prepare(&b->journal, b->file.dbi), 0);
    b->ends[0] = JOURNAL_PAGE;
}

/* Record n: the key "n" of results becomes `len` bytes of its own. */
static void make_redo(struct redo *redo, enum db db, unsigned n, size_t len)
{
    static char value[100000];
    char key = (char)('0' + n);
    memset(value, 'a' + (int)n, len);
    *redo = (struct redo){.on = true};
    redo_put(redo, db, (struct slice){&key, 1}, value, len);
    redo_settle(redo);
}

static int append(struct bench *b, unsigned n, size_t len)
{
    struct redo redo;
    make_redo(&redo, DB_RESULTS, n, len);
    int error = journal_append(&b->journal, buf_bytes(&redo.bytes));
    if (!error) {
        b->lens[n] = len;
        b->ends[n] = b->journal.end;
    }
    redo_release(&redo);
    return error;
}

struct found {
    unsigned records;
    bool lost, peeked;
};

/* What a new life would read, each value looked at. */
static struct found read_all(struct bench *b)
{
    struct journal j;
    MDB_txn *txn;
    struct found found = {0};
    assert_int_equal(journal_open(&j, b->dir, false, NULL), MQ_OK);
    assert_int_equal(mdb_txn_begin(b->file.env, b->file.txn, 0, &txn), 0);
    journal_attach(&j, &b->mark, txn);
    assert_int_equal(journal_peek(&j, &found.peeked), 0);
    assert_int_equal(journal_replay(&j, txn), 0);
    found.records = (unsigned)j.records;
    found.lost = j.lost;
    for (unsigned n = 1; n <= RECORDS_MAX; n++) {
        char key = (char)('0' + n);
        MDB_val k = {1, &key}, v;
        int rc = mdb_get(txn, b->file.dbi[DB_RESULTS], &k, &v);
        if (n > found.records) {
            assert_int_equal(rc, MDB_NOTFOUND);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(v.mv_size, b->lens[n]);
        for (size_t i = 0; i < v.mv_size; i++)
            assert_int_equal(((char *)v.mv_data)[i], 'a' + (int)n);
    }
    assert_int_equal(found.peeked, found.records > 0);
    mdb_txn_abort(txn);
    journal_close(&j);
    return found;
}

static char *slurp(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    *len = (size_t)lseek(fd, 0, SEEK_END);
    char *bytes = malloc(*len);
    assert_int_equal(pread(fd, bytes, *len, 0), *len);
    close(fd);
    return bytes;
}

static void spill(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

/* A byte of the file becomes another. */
static void poke(int fd, uint64_t at, char byte)
{
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
}

/* Heads, changes and the bytes around their ends; not all of the zeros behind them. */
static bool is_telling(const struct bench *b, uint64_t at, unsigned records)
{
    for (unsigned n = 1; n <= records; n++) {
        uint64_t begin = b->ends[n - 1], end = begin + JOURNAL_HEAD_BYTES + REDO_HEAD + 1 + b->lens[n];
        if (at >= begin && at < end + 2)
            return true;
    }
    return at % 509 == 0;
}

static unsigned record_of(const struct bench *b, uint64_t at, unsigned records)
{
    unsigned n = 1;
    while (n <= records && at >= b->ends[n])
        n++;
    return n;
}

/* ---- tests ---- */

static void what_is_appended_is_read_back_in_order(void **state)
{
    (void)state;
    const size_t edge = JOURNAL_PAGE - JOURNAL_HEAD_BYTES - REDO_HEAD - 1;
    const size_t lens[] = {0, 0, 1, edge, edge + 1, 3 * JOURNAL_PAGE, 70000, 5};
    struct bench *b = bench_new();
    start_life(b);
    assert_true(journal_is_empty(&b->journal));
    assert_int_equal(read_all(b).records, 0);
    for (unsigned n = 1; n < 8; n++) {
        unsigned before = syncs;
        assert_int_equal(append(b, n, lens[n]), 0);
        assert_true(syncs > before);
        struct found found = read_all(b);
        assert_int_equal(found.records, n);
        assert_false(found.lost);
    }
    assert_int_equal(b->ends[3] - b->ends[2], JOURNAL_PAGE);
    assert_int_equal(b->ends[4] - b->ends[3], 2 * JOURNAL_PAGE); /* a byte more is a page more */
    bench_free(b);
}

static struct bench *bench_with_records(unsigned records)
{
    static const size_t lens[] = {0, 30, 5000, 0, 100, 4096};
    struct bench *b = bench_new();
    start_life(b);
    for (unsigned n = 1; n <= records; n++)
        assert_int_equal(append(b, n, lens[n]), 0);
    return b;
}

static void a_file_that_is_cut_anywhere_gives_the_records_before(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(4);
    char *path = path_of(b, JOURNAL_NAME);
    for (uint64_t len = b->ends[4] + JOURNAL_PAGE + 1; len-- > 0;) {
        if (len < b->ends[4] && !is_telling(b, len, 4) && len % JOURNAL_PAGE)
            continue;
        assert_int_equal(truncate(path, (off_t)len), 0);
        unsigned whole = 0; /* a file is looked at in whole pages, as it is written */
        while (whole < 4 && b->ends[whole + 1] <= len)
            whole++;
        struct found found = read_all(b);
        assert_int_equal(found.records, len < JOURNAL_PAGE ? 0 : whole);
        assert_false(found.lost);
    }
    bench_free(b);
}

/* The last write reached the disk up to some byte; behind it stands what stood there: zeros, or an earlier epoch's record. */
static void a_record_that_is_torn_at_any_byte_is_not_there(void **state)
{
    (void)state;
    for (int over_old = 0; over_old < 2; over_old++) {
        struct bench *b = bench_with_records(5);
        size_t len, old_len;
        if (over_old) { /* a checkpoint, and all anew */
            struct journal_mark next = journal_next_mark(&b->journal, SLICE_EMPTY);
            journal_restart(&b->journal, &next);
            b->mark = next;
            for (unsigned n = 1; n <= 2; n++)
                assert_int_equal(append(b, n, 6000), 0);
        }
        unsigned last = (unsigned)b->journal.records + 1;
        char path[600];
        strcpy(path, path_of(b, JOURNAL_NAME));
        char *before = slurp(path, &old_len);
        assert_int_equal(append(b, last, 6000), 0);
        char *after = slurp(path, &len);
        assert_int_equal(len, old_len);
        uint64_t begin = b->ends[last - 1], written = b->ends[last] - begin;
        uint64_t real = JOURNAL_HEAD_BYTES + REDO_HEAD + 1 + 6000;
        int fd = open(path, O_RDWR);
        assert_int_equal(pwrite(fd, before + begin, written, (off_t)begin), written);
        for (uint64_t torn = 0; torn <= written; torn++) {
            struct found found = read_all(b);
            bool is_there =
                torn >= real || memcmp(after + begin + torn, before + begin + torn, real - torn) == 0;
            assert_int_equal(found.records, is_there ? last : last - 1);
            assert_false(found.lost);
            if (torn < written)
                poke(fd, begin + torn, after[begin + torn]);
        }
        close(fd);
        free(before);
        free(after);
        bench_free(b);
    }
}

/* Its later half may be on disk, and its first not. */
static void a_record_whose_first_pages_are_missing_is_not_there(void **state)
{
    (void)state;
    static const char zeros[JOURNAL_PAGE];
    struct bench *b = bench_with_records(1);
    assert_int_equal(append(b, 2, 20000), 0);
    int fd = open(path_of(b, JOURNAL_NAME), O_RDWR);
    for (uint64_t page = b->ends[1]; page < b->ends[2]; page += JOURNAL_PAGE) {
        char keep[JOURNAL_PAGE];
        assert_int_equal(pread(fd, keep, sizeof keep, (off_t)page), sizeof keep);
        assert_int_equal(pwrite(fd, zeros, sizeof zeros, (off_t)page), sizeof zeros);
        struct found found = read_all(b);
        assert_int_equal(found.records, 1);
        assert_false(found.lost);
        assert_int_equal(pwrite(fd, keep, sizeof keep, (off_t)page), sizeof keep);
    }
    assert_int_equal(read_all(b).records, 2);
    close(fd);
    bench_free(b);
}

static void a_flipped_bit_ends_the_reading_there_and_is_told(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(4);
    char path[600];
    size_t len;
    strcpy(path, path_of(b, JOURNAL_NAME));
    char *bytes = slurp(path, &len);
    int fd = open(path, O_RDWR);
    for (uint64_t at = JOURNAL_PAGE; at < b->ends[4]; at++) {
        if (!is_telling(b, at, 4))
            continue;
        unsigned n = record_of(b, at, 4);
        bool in_record = at < b->ends[n - 1] + JOURNAL_HEAD_BYTES + REDO_HEAD + 1 + b->lens[n];
        for (int bit = 0; bit < 8; bit++) {
            poke(fd, at, (char)(bytes[at] ^ 1 << bit));
            struct found found = read_all(b);
            assert_int_equal(found.records, in_record ? n - 1 : 4);
            assert_int_equal(found.lost,
                             in_record && n < 4); /* of the last nobody can say whether it was torn */
        }
        poke(fd, at, bytes[at]);
    }
    close(fd);
    free(bytes);
    bench_free(b);
}

static void a_first_page_that_is_damaged_makes_no_record_mean_something_else(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(2);
    char path[600];
    size_t len;
    strcpy(path, path_of(b, JOURNAL_NAME));
    char *bytes = slurp(path, &len);
    int fd = open(path, O_RDWR);
    for (uint64_t at = 0; at < 400; at++)
        for (int bit = 0; bit < 8; bit++) {
            poke(fd, at, (char)(bytes[at] ^ 1 << bit));
            assert_int_equal(read_all(b).records,
                             2); /* they were of this layout's numbers, and are known by them */
            poke(fd, at, bytes[at]);
        }
    close(fd);
    free(bytes);
    bench_free(b);
}

static void records_of_another_epoch_or_history_are_not_read(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(3);
    struct journal_mark ours = b->mark;
    b->mark.epoch++;
    assert_int_equal(read_all(b).records, 0);
    b->mark.epoch -= 2;
    assert_int_equal(read_all(b).records, 0);
    b->mark = ours;
    b->mark.sum ^= 1; /* the same number of checkpoints, but another life led there */
    assert_int_equal(read_all(b).records, 0);
    b->mark = ours;
    assert_int_equal(read_all(b).records, 3);
    bench_free(b);
}

static void marks_tell_histories_apart(void **state)
{
    (void)state;
    struct bench *a = bench_with_records(1), *b = bench_with_records(1);
    struct journal_mark alike = journal_next_mark(&a->journal, SLICE_EMPTY);
    assert_int_equal(alike.epoch, a->mark.epoch + 1);
    assert_int_equal(alike.sum, journal_next_mark(&b->journal, SLICE_EMPTY).sum);
    assert_int_not_equal(alike.sum, journal_next_mark(&b->journal, SLICE("a batch beside it")).sum);
    assert_int_equal(append(a, 2, 10), 0);
    assert_int_equal(append(b, 2, 11), 0);
    assert_int_not_equal(journal_next_mark(&a->journal, SLICE_EMPTY).sum,
                         journal_next_mark(&b->journal, SLICE_EMPTY).sum);
    bench_free(a);
    bench_free(b);
}

static void a_checkpoint_begins_anew_over_longer_records(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(5);
    size_t before, after;
    free(slurp(path_of(b, JOURNAL_NAME), &before));
    for (int epoch = 0; epoch < 3; epoch++) {
        struct journal_mark next = journal_next_mark(&b->journal, SLICE_EMPTY);
        journal_restart(&b->journal, &next);
        b->mark = next;
        assert_int_equal(read_all(b).records, 0);
        for (unsigned n = 1; n <= 3; n++) {
            assert_int_equal(append(b, n, 10 + n), 0);
            struct found found = read_all(b);
            assert_int_equal(found.records, n);
            assert_false(found.lost);
        }
    }
    free(slurp(path_of(b, JOURNAL_NAME), &after));
    assert_int_equal(after, before); /* written again in the same place */
    bench_free(b);
}

/* A first page by hand: this layout's names in another order, one that nobody knows, one that is missing. */
static size_t other_page(char page[JOURNAL_PAGE], uint32_t format, const char *const *names, unsigned count)
{
    struct buf out = BUF_INIT;
    memset(page, 0, JOURNAL_PAGE);
    buf_add(&out, "moonq journal\n", 14);
    buf_u32(&out, format);
    size_t before = buf_len(&out);
    buf_u8(&out, (uint8_t)count);
    for (unsigned i = 0; i < count; i++) {
        buf_u8(&out, (uint8_t)strlen(names[i]));
        buf_add(&out, names[i], strlen(names[i]));
    }
    size_t names_len = buf_len(&out) - before;
    memcpy(page, out.at, buf_len(&out));
    be64_put(page + buf_len(&out), XXH3_64bits(out.at, buf_len(&out)));
    buf_release(&out);
    return names_len;
}

static void databases_are_known_by_their_names_in_the_file(void **state)
{
    (void)state;
    static const char *const names[] = {"gone", "results", "logs"};
    struct bench *b = bench_new();
    char page[2 * JOURNAL_PAGE] = {0};
    size_t names_len = other_page(page, JOURNAL_FORMAT, names, 3);
    struct redo redo = {.on = true};
    redo_put(&redo, (enum db)1, SLICE("1"), "bb", 2); /* results */
    redo_put(&redo, (enum db)0, SLICE("?"), "x", 1);  /* of a database that is no more */
    redo_put(&redo, (enum db)2, SLICE("12345678"), "log line", 8);
    redo_settle(&redo);
    struct slice changes = buf_bytes(&redo.bytes);
    struct journal j = {.mark = b->mark, .names_sum = XXH3_64bits(page + 18, names_len)};
    char *record = page + JOURNAL_PAGE;
    journal_write_head(record, b->mark.epoch, 1, changes, journal_seed(&j));
    memcpy(record + JOURNAL_HEAD_BYTES, changes.at, changes.len);
    spill(path_of(b, JOURNAL_NAME), page, sizeof page);
    b->lens[1] = 2;
    assert_int_equal(read_all(b).records, 1);
    start_life(b); /* and our own numbers stand there from now on */
    assert_int_equal(append(b, 1, 9), 0);
    assert_int_equal(read_all(b).records, 1);
    redo_release(&redo);
    bench_free(b);
}

static void a_newer_format_is_refused_with_both_numbers(void **state)
{
    (void)state;
    static const char *const names[] = {"results"};
    struct bench *b = bench_new();
    struct journal j;
    struct mq_err err;
    char page[JOURNAL_PAGE];
    other_page(page, JOURNAL_FORMAT + 1, names, 1);
    spill(path_of(b, JOURNAL_NAME), page, sizeof page);
    assert_int_equal(journal_open(&j, b->dir, true, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "format 2"));
    assert_non_null(strstr(err.text, "up to 1"));
    journal_close(&j);
    bench_free(b);
}

static void a_link_is_not_followed(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    struct journal j;
    struct mq_err err;
    assert_int_equal(symlink("/etc/passwd", path_of(b, JOURNAL_NAME)), 0);
    assert_int_equal(journal_open(&j, b->dir, true, &err), MQ_NOPERM);
    assert_non_null(strstr(err.text, "symbolic link"));
    journal_close(&j);
    bench_free(b);
}

static void no_file_and_a_foreign_file_are_empty_journals(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    assert_int_equal(read_all(b).records, 0);
    char junk[3 * JOURNAL_PAGE];
    memset(junk, 'J', sizeof junk);
    spill(path_of(b, JOURNAL_NAME), junk, sizeof junk);
    assert_int_equal(read_all(b).records, 0);
    start_life(b);
    assert_int_equal(append(b, 1, 10), 0);
    assert_int_equal(read_all(b).records, 1);
    bench_free(b);
}

static void limit_file_to(uint64_t bytes)
{
    static struct rlimit before;
    if (!before.rlim_max)
        getrlimit(RLIMIT_FSIZE, &before);
    struct rlimit now = {bytes ? bytes : before.rlim_cur, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
}

/* A limit on the file's size stands for a full disk: what fails, and where, is the same. */
static void without_room_nothing_of_a_record_is_there(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(2);
    const uint64_t from = b->ends[2];
    static const struct {
        const char *where;
        int64_t limit; /* behind the end, or the file's size if beyond it */
        size_t len;
    } rows[] = {
        {"before its first byte", 0, 100},
        {"in its first page", 50, 100},
        {"in its second page", JOURNAL_PAGE + 50, 9000},
        {"while the file grows", 20 * JOURNAL_PAGE, 90000},
    };
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        limit_file_to(from + (uint64_t)rows[i].limit);
        int error = append(b, 3, rows[i].len);
        bool could_scrub = rows[i].limit == 0 || rows[i].limit >= JOURNAL_PAGE;
        if (error != (could_scrub ? EFBIG : EIO))
            fail_msg("%s: %s", rows[i].where, strerror(error));
        limit_file_to(0);
        if (could_scrub) {
            struct found found = read_all(b);
            assert_int_equal(found.records, 2);
            assert_false(found.lost);
        }
    }
    assert_int_equal(append(b, 3, 90000), 0);
    assert_int_equal(read_all(b).records, 3);
    bench_free(b);
}

static void a_journal_that_cannot_be_made_takes_nothing(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    assert_int_equal(journal_open(&b->journal, b->dir, true, NULL), MQ_OK);
    journal_attach(&b->journal, &b->mark, b->file.txn);
    signal(SIGXFSZ, SIG_IGN);
    limit_file_to(100);
    assert_int_equal(journal_prepare(&b->journal, b->file.dbi), EFBIG);
    assert_int_equal(append(b, 1, 10), ENOSPC);
    limit_file_to(0);
    assert_int_equal(append(b, 1, 10), ENOSPC); /* until somebody prepares it */
    assert_int_equal(journal_prepare(&b->journal, b->file.dbi), 0);
    assert_int_equal(append(b, 1, 10), 0);
    assert_int_equal(read_all(b).records, 1);
    bench_free(b);
}

/* The file may be there since a life that could not sync its name. */
static void a_journal_whose_name_is_not_on_disk_takes_nothing(void **state)
{
    (void)state;
    for (int is_there = 0; is_there < 2; is_there++) {
        struct bench *b = is_there ? bench_with_records(1) : bench_new();
        journal_close(&b->journal);
        assert_int_equal(journal_open(&b->journal, b->dir, true, NULL), MQ_OK);
        journal_attach(&b->journal, &b->mark, b->file.txn);
        bad_folder_syncs = 2;
        for (int i = 0; i < 2; i++) {
            assert_int_equal(journal_prepare(&b->journal, b->file.dbi), EIO);
            assert_int_equal(append(b, 1, 10), ENOSPC);
        }
        assert_int_equal(bad_folder_syncs, 0);
        assert_int_equal(journal_prepare(&b->journal, b->file.dbi), 0);
        unsigned before = folder_syncs;
        assert_int_equal(append(b, 1, 10), 0);
        assert_int_equal(journal_prepare(&b->journal, b->file.dbi), 0);
        assert_int_equal(folder_syncs, before); /* once a life */
        bench_free(b);
    }
}

/* Records that an earlier life left further on, of an epoch that comes again: a backup was restored. */
static void a_new_life_leaves_nothing_of_the_one_before(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(5);
    size_t len;
    journal_close(&b->journal);
    start_life(b);
    assert_int_equal(append(b, 1, 10), 0);
    struct found found = read_all(b);
    assert_int_equal(found.records, 1);
    assert_false(found.lost);
    free(slurp(path_of(b, JOURNAL_NAME), &len));
    assert_true(len <= JOURNAL_PAGE + JOURNAL_STEP_LEAST + JOURNAL_PAGE);
    bench_free(b);
}

static void a_damaged_journal_is_put_aside(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(3);
    MDB_txn *txn;
    struct stat st;
    int fd = open(path_of(b, JOURNAL_NAME), O_RDWR);
    poke(fd, b->ends[1] + JOURNAL_HEAD_BYTES + 20, 'X');
    close(fd);
    journal_close(&b->journal);
    assert_int_equal(journal_open(&b->journal, b->dir, true, NULL), MQ_OK);
    assert_int_equal(mdb_txn_begin(b->file.env, b->file.txn, 0, &txn), 0);
    journal_attach(&b->journal, &b->mark, txn);
    assert_int_equal(journal_replay(&b->journal, txn), 0);
    mdb_txn_abort(txn);
    assert_int_equal(b->journal.records, 1);
    assert_true(b->journal.lost);
    assert_int_equal(journal_prepare(&b->journal, b->file.dbi), 0);
    assert_int_equal(stat(path_of(b, JOURNAL_NAME JOURNAL_DAMAGED), &st), 0);
    assert_true((uint64_t)st.st_size >= b->ends[3]);
    assert_int_equal(append(b, 1, 10), 0);
    assert_int_equal(read_all(b).records, 1);
    bench_free(b);
}

/* A page that cannot be read may hold what was confirmed, whichever it is. */
static void a_page_that_cannot_be_read_is_no_end(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(4);
    struct journal j;
    struct mq_err err;
    MDB_txn *txn;
    bad_byte = 0;
    assert_int_equal(journal_open(&j, b->dir, true, &err), MQ_INTERNAL);
    assert_non_null(strstr(err.text, path_of(b, JOURNAL_NAME)));
    journal_close(&j);
    for (uint64_t page = JOURNAL_PAGE; page < b->journal.size; page += JOURNAL_PAGE) {
        bool found;
        bad_byte = (int64_t)page;
        assert_int_equal(journal_open(&j, b->dir, true, &err), MQ_OK);
        assert_int_equal(mdb_txn_begin(b->file.env, b->file.txn, 0, &txn), 0);
        journal_attach(&j, &b->mark, txn);
        assert_int_equal(journal_peek(&j, &found), page < b->ends[1] ? JOURNAL_UNREADABLE : 0);
        assert_int_equal(journal_replay(&j, txn), JOURNAL_UNREADABLE);
        assert_int_equal(j.error, EIO);
        mdb_txn_abort(txn);
        journal_close(&j);
    }
    bad_byte = -1;
    struct found found = read_all(b);
    assert_int_equal(found.records, 4);
    assert_false(found.lost);
    bench_free(b);
}

static void names_that_cannot_be_read_are_not_guessed(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(1);
    struct journal j;
    bool found;
    assert_int_equal(journal_open(&j, b->dir, true, NULL), MQ_OK);
    bad_byte = 0;
    journal_attach(&j, &b->mark, b->file.txn);
    assert_int_equal(journal_peek(&j, &found), JOURNAL_UNREADABLE);
    assert_int_equal(journal_replay(&j, b->file.txn), JOURNAL_UNREADABLE);
    bad_byte = -1;
    journal_close(&j);
    bench_free(b);
}

struct both {
    char *bytes[2];
    size_t len[2];
};

static struct both slurp_both(const char *dir)
{
    static const char *const names[] = {DATA_NAME, JOURNAL_NAME};
    struct both both;
    char path[700];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        both.bytes[i] = slurp(path, &both.len[i]);
    }
    return both;
}

static void assert_untouched(const char *dir, const struct both *before)
{
    bad_byte = -1;
    struct both now = slurp_both(dir);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(now.len[i], before->len[i]);
        assert_memory_equal(now.bytes[i], before->bytes[i], now.len[i]);
        free(now.bytes[i]);
    }
}

static void open_and_check(const char *dir, int64_t bad, const struct both *before)
{
    struct store_settings settings = {.dir = dir, .nosync = true};
    struct store *store;
    struct mq_err err;
    bad_byte = bad;
    assert_int_equal(store_open(&store, &settings, &err), MQ_INTERNAL);
    assert_non_null(strstr(err.text, JOURNAL_NAME));
    assert_non_null(strstr(err.text, strerror(EIO)));
    assert_non_null(strstr(err.text, "check the disk, start again"));
    assert_untouched(dir, before);
    for (int repair = 0; repair < 2; repair++) {
        struct fsck_settings look = {.dir = dir, .repair = repair};
        struct fsck_report report;
        bad_byte = bad;
        assert_int_equal(store_fsck(&report, &look, &err), MQ_INTERNAL);
        assert_non_null(strstr(err.text, "check the disk, start again"));
        assert_untouched(dir, before);
    }
}

/* A start on a disk that does not give the journal back loses nothing: it is refused, until the disk does. */
static void a_store_whose_journal_cannot_be_read_is_not_opened(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    job_id ids[5];
    for (int i = 0; i < 5; i++)
        ids[i] = lab_push(lab, "q", "x");
    char *dir = copy_store(lab->settings.dir); /* killed here */
    struct both before = slurp_both(dir);
    for (int64_t page = 0; page < 7; page++)
        open_and_check(dir, page * JOURNAL_PAGE, &before);
    lab_move(lab, dir);
    lab_reopen(lab);
    for (int i = 0; i < 5; i++)
        assert_int_equal(lab_state(lab, ids[i]), JOB_READY);
    free(before.bytes[0]);
    free(before.bytes[1]);
    lab_close(lab);
}

static void a_relaxed_journal_is_synced_when_it_is_asked(void **state)
{
    (void)state;
    struct bench *b = bench_with_records(1);
    b->journal.relaxed = true;
    unsigned before = syncs;
    assert_int_equal(append(b, 2, 10), 0);
    assert_int_equal(append(b, 3, 10), 0);
    assert_int_equal(syncs, before);
    assert_true(b->journal.unsynced);
    assert_int_equal(read_all(b).records, 3); /* a crash of ours loses nothing */
    assert_int_equal(journal_sync(&b->journal), 0);
    assert_int_equal(syncs, before + 1);
    assert_int_equal(journal_sync(&b->journal), 0);
    assert_int_equal(syncs, before + 1); /* there was nothing more */
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_read_back_in_order),
        cmocka_unit_test(a_file_that_is_cut_anywhere_gives_the_records_before),
        cmocka_unit_test(a_record_that_is_torn_at_any_byte_is_not_there),
        cmocka_unit_test(a_record_whose_first_pages_are_missing_is_not_there),
        cmocka_unit_test(a_flipped_bit_ends_the_reading_there_and_is_told),
        cmocka_unit_test(a_first_page_that_is_damaged_makes_no_record_mean_something_else),
        cmocka_unit_test(records_of_another_epoch_or_history_are_not_read),
        cmocka_unit_test(marks_tell_histories_apart),
        cmocka_unit_test(a_checkpoint_begins_anew_over_longer_records),
        cmocka_unit_test(databases_are_known_by_their_names_in_the_file),
        cmocka_unit_test(a_newer_format_is_refused_with_both_numbers),
        cmocka_unit_test(a_link_is_not_followed),
        cmocka_unit_test(no_file_and_a_foreign_file_are_empty_journals),
        cmocka_unit_test(without_room_nothing_of_a_record_is_there),
        cmocka_unit_test(a_journal_that_cannot_be_made_takes_nothing),
        cmocka_unit_test(a_journal_whose_name_is_not_on_disk_takes_nothing),
        cmocka_unit_test(a_new_life_leaves_nothing_of_the_one_before),
        cmocka_unit_test(a_damaged_journal_is_put_aside),
        cmocka_unit_test(a_page_that_cannot_be_read_is_no_end),
        cmocka_unit_test(names_that_cannot_be_read_are_not_guessed),
        cmocka_unit_test(a_store_whose_journal_cannot_be_read_is_not_opened),
        cmocka_unit_test(a_relaxed_journal_is_synced_when_it_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
