/*
 * A journal's file, page by page. The first byte says what is forged with right sums: the first page's names (else they are
 * ours), the records' heads (else a part is a record with its head). Then parts, each after its length, each on pages of its
 * own. What is read is a beginning of what was written; read twice it is the same; the last word on each key is what is there.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <xxhash.h>

#include "store/lmdb/journal.h"
#include "store/lmdb/redo.h"

#define PARTS_MAX 16

static char dir[400], path[500];
static MDB_env *env;
static const struct journal_mark mark = {.epoch = 7, .sum = 5};

static void remove_dir(void)
{
    mdb_env_close(env);
    fuzz_remove(dir);
}

/* All databases, empty. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    char data[500];
    (void)argc, (void)argv;
    fuzz_folder(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/" JOURNAL_NAME, dir);
    snprintf(data, sizeof data, "%s/moonq.mdb", dir);
    FUZZ_MUST(mdb_env_create(&env) == 0, "no LMDB");
    mdb_env_set_maxdbs(env, 200);
    mdb_env_set_mapsize(env, 64 << 20);
    FUZZ_MUST(mdb_env_open(env, data, MDB_NOSUBDIR | MDB_NOSYNC, 0600) == 0, "no file in %s", dir);
    atexit(remove_dir);
    FUZZ_MUST(mdb_txn_begin(env, NULL, 0, &txn) == 0, "no transaction");
    for (int db = 0; db < DB_COUNT; db++)
        FUZZ_MUST(mdb_dbi_open(txn, db_names[db], MDB_CREATE, &dbi) == 0, "no database");
    FUZZ_MUST(mdb_txn_commit(txn) == 0, "no commit");
    return 0;
}

/* ---- the file ---- */

struct image {
    struct buf bytes;
    uint64_t names_sum;
    struct slice parts[PARTS_MAX];
    unsigned count;
    bool heads; /* forged */
};

static void pad(struct buf *out)
{
    static const char zeros[JOURNAL_PAGE];
    buf_add(out, zeros, (JOURNAL_PAGE - buf_len(out) % JOURNAL_PAGE) % JOURNAL_PAGE);
}

/* `names`: a count, then names after their lengths; cut to what fits. Empty: ours. */
static void add_first_page(struct image *image, struct slice names)
{
    struct buf *out = &image->bytes;
    struct slice rest = fuzz_take(&names, 3000);
    buf_add(out, "moonq journal\n", 14);
    buf_u32(out, JOURNAL_FORMAT);
    size_t before = buf_len(out);
    bool ours = rest.len == 0;
    unsigned count = !ours ? fuzz_byte(&rest) % (JOURNAL_DBS_MAX + 1) : DB_COUNT;
    buf_u8(out, (uint8_t)count);
    for (unsigned i = 0; i < count; i++) {
        struct slice name = ours ? slice_of(db_names[i]) : fuzz_take(&rest, fuzz_byte(&rest) % 40);
        buf_u8(out, (uint8_t)name.len);
        buf_add_slice(out, name);
    }
    struct slice all = buf_bytes(out);
    image->names_sum = XXH3_64bits(all.at + before, all.len - before);
    buf_u64(out, XXH3_64bits(all.at, all.len));
    pad(out);
}

static void make(struct image *image, struct slice rest)
{
    unsigned first = fuzz_byte(&rest);
    struct journal j = {.mark = mark};
    image->heads = first & 1;
    add_first_page(image, first & 2 ? fuzz_take(&rest, fuzz_word(&rest)) : SLICE_EMPTY);
    j.names_sum = image->names_sum;
    uint64_t sum = journal_seed(&j);
    while (rest.len && image->count < PARTS_MAX) {
        struct slice part = fuzz_take(&rest, fuzz_word(&rest));
        char head[JOURNAL_HEAD_BYTES];
        image->parts[image->count++] = part;
        if (image->heads) {
            sum = journal_write_head(head, mark.epoch, image->count, part, sum);
            buf_add(&image->bytes, head, sizeof head);
        }
        buf_add_slice(&image->bytes, part);
        pad(&image->bytes);
    }
}

static void write_file(struct slice bytes)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600); /* not O_TRUNC: some file systems then wait for the disk */
    FUZZ_MUST(fd >= 0 && pwrite(fd, bytes.at, bytes.len, 0) == (ssize_t)bytes.len &&
                  ftruncate(fd, (off_t)bytes.len) == 0,
              "cannot write %s", path);
    close(fd);
}

/* ---- what must hold ---- */

static void check_rewritten(struct slice part)
{
    struct redo redo = {.on = true};
    struct slice rest = part;
    struct change change;
    while (redo_next(&rest, &change)) {
        if (change.db >= DB_COUNT) { /* of another layout: ours never writes it */
            redo_release(&redo);
            return;
        }
        if (change.removed)
            redo_remove(&redo, (enum db)change.db, change.key, "");
        else
            redo_put(&redo, (enum db)change.db, change.key, change.value.at, change.value.len);
    }
    redo_settle(&redo);
    FUZZ_MUST(rest.len || slice_equal(buf_bytes(&redo.bytes), part), "changes are written otherwise");
    redo_release(&redo);
}

/* A later change of the same key counts. */
static bool is_last(const struct image *image, const struct journal *j, unsigned part, struct slice rest,
                    const struct change *change)
{
    struct change later;
    MDB_dbi dbi = j->dbi[change->db];
    for (; part < j->records; rest = ++part < j->records ? image->parts[part] : SLICE_EMPTY)
        while (redo_next(&rest, &later))
            if (later.db < j->dbi_count && j->dbi[later.db] == dbi && slice_equal(later.key, change->key))
                return false;
    return true;
}

static void check_contents(const struct image *image, const struct journal *j, MDB_txn *txn)
{
    unsigned budget = 300;
    for (unsigned i = 0; i < j->records; i++) {
        struct slice rest = image->parts[i];
        struct change change;
        while (redo_next(&rest, &change) && budget-- > 0) {
            if (change.db >= j->dbi_count || j->dbi[change.db] == REDO_NO_DB ||
                !is_last(image, j, i, rest, &change))
                continue;
            MDB_val k = {change.key.len, (void *)change.key.at}, v;
            int rc = mdb_get(txn, j->dbi[change.db], &k, &v);
            FUZZ_MUST(change.removed
                          ? rc == MDB_NOTFOUND
                          : rc == 0 && slice_equal((struct slice){v.mv_data, v.mv_size}, change.value),
                      "the last word on a key is not what is there");
        }
    }
}

/* In a transaction of its own. */
static void check_file(const struct image *image)
{
    struct journal j;
    struct mq_err err;
    MDB_txn *txn;
    unsigned whole = 0;
    while (image->heads && whole < image->count && redo_is_whole(image->parts[whole]))
        check_rewritten(image->parts[whole++]);
    FUZZ_MUST(journal_open(&j, dir, false, &err) == MQ_OK, "%s", err.text);
    FUZZ_MUST(mdb_txn_begin(env, NULL, 0, &txn) == 0, "no transaction");
    journal_attach(&j, &mark, txn);
    FUZZ_MUST(j.names_sum == image->names_sum, "other names than those that stand there");
    bool found;
    FUZZ_MUST(journal_peek(&j, &found) == 0, "%s", strerror(j.error));
    bool lost = j.lost;
    for (int twice = 0; twice < 2; twice++) {
        int rc = journal_replay(&j, txn);
        FUZZ_MUST(rc == 0, "%s", mdb_strerror(rc));
        FUZZ_MUST(found == (j.records > 0) && (found || lost == j.lost) && j.end <= j.size,
                  "peeked %d, lost %d: %llu records", found, lost, (unsigned long long)j.records);
    }
    if (image->heads) {
        FUZZ_MUST(j.records == whole, "%llu records of %u", (unsigned long long)j.records, whole);
        FUZZ_MUST(j.lost || whole + 1 >= image->count, "what stands further on is not missed");
        check_contents(image, &j, txn);
    }
    mdb_txn_abort(txn);
    journal_close(&j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image image = {0};
    make(&image, (struct slice){(const char *)data, size});
    write_file(buf_bytes(&image.bytes));
    check_file(&image);
    buf_release(&image.bytes);
    return 0;
}
