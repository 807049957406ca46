#include "store/lmdb/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/lmdb/cut.h"
#include "store/lmdb/lock.h"

#define PATH_BYTES 4096
#define ROUNDS_MAX 8 /* a job moved aside, its entries, the counters: three; more are for the unforeseen */
#define MEND_ROOM  (16ULL << 30) /* of addresses, for what journal and repair add to the file */

const struct fsck_kind_row fsck_kinds[FSCK_KIND_COUNT] = {
#define X(kind, name, means, mended) {name, means, mended},
    FSCK_KINDS(X)
#undef X
};

/* ---- the file ---- */

/* LMDB met what it holds to be impossible. */
static void on_assert(MDB_env *mdb, const char *text)
{
    struct fsck *f = mdb_env_get_userctx(mdb);
    (void)text;
    txn_fail(&f->m, MDB_CORRUPTED);
}

static enum mq_code cannot(struct mq_err *err, const char *path, int rc)
{
    if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH)
        return mq_fail(
            err, MQ_BADARG,
            "'%.200s' is not a moonq store, or its first pages are destroyed (restore a backup): %s", path,
            mdb_strerror(rc));
    enum mq_code code = rc == EACCES || rc == EPERM || rc == EROFS ? MQ_NOPERM
                        : rc == ENOSPC                             ? MQ_NOSPACE
                                                                   : MQ_INTERNAL;
    return mq_fail(err, code, "cannot open '%.200s': %s", path, mdb_strerror(rc));
}

static void close_file(struct fsck *f)
{
    for (int db = 0; db < DB_COUNT; db++) /* of a read transaction they are ours to close */
        if (f->m.root.cursor[db])
            mdb_cursor_close(f->m.root.cursor[db]);
    txn_abort(&f->m.root);
    if (f->env.mdb)
        mdb_env_close(f->env.mdb);
    f->env.mdb = NULL;
}

/* How the file is opened. */
enum mode {
    LOOK,         /* read only */
    LOOK_THROUGH, /* what the journal holds is made in a transaction that is dropped */
    MEND,
};

static enum mq_code open_file(struct fsck *f, const char *path, uint64_t file_bytes, enum mode mode,
                              struct mq_err *err)
{
    static const unsigned flags_of[] = {[LOOK] = MDB_RDONLY | MDB_NOLOCK, [LOOK_THROUGH] = MDB_NOLOCK};
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | (mode == MEND ? 0 : flags_of[mode]);
    uint64_t map = (file_bytes + (1 << 20)) >> 16 << 16;
    int rc = mdb_env_create(&f->env.mdb);
    if (!rc)
        rc = mdb_env_set_maxdbs(f->env.mdb, DB_COUNT + 16);
    if (!rc)
        rc = mdb_env_set_mapsize(f->env.mdb, mode == LOOK ? map : map + MEND_ROOM);
    if (!rc)
        rc = mdb_env_open(f->env.mdb, path, flags, 0600);
    if (!rc) {
        mdb_env_set_userctx(f->env.mdb, f);
        rc = mdb_env_set_assert(f->env.mdb, on_assert);
    }
    return rc ? cannot(err, path, rc) : MQ_OK;
}

static bool lacks_only_free(struct fsck *f, int fd, const struct cut *cut)
{
    if (setjmp(f->m.failed)) /* the list of free pages is damaged, or among what is missing */
        return false;
    return cut_lacks_only_free(f->env.mdb, fd, cut);
}

/* A commit names its last page: if the file ends before it, reading would end us, unless only free ones are missing. */
static enum mq_code check_length(struct fsck *f, const char *path, uint64_t file_bytes, bool *is_cut,
                                 struct mq_err *err)
{
    struct cut cut = cut_measure(f->env.mdb, file_bytes);
    f->env.page_bytes = cut.page_bytes;
    f->report->pages = cut.need / cut.page_bytes;
    *is_cut = false;
    if (cut.has >= cut.need)
        return MQ_OK;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return cannot(err, path, errno);
    *is_cut = !lacks_only_free(f, fd, &cut);
    int error = ftruncate(fd, (off_t)cut.has) == 0 ? 0 : errno;
    close(fd);
    if (error)
        return mq_fail(err, MQ_INTERNAL, "cannot give '%.200s' the length back that it had: %s", path,
                       strerror(error));
    if (*is_cut)
        fsck_problem(f, FSCK_CUT, JOB_ID_NONE, "the file has %llu bytes, its last commit fills %llu",
                     (unsigned long long)cut.has, (unsigned long long)cut.need);
    return MQ_OK;
}

/* False: there is none yet; a server that starts will make them. */
static bool open_database(struct fsck *f, enum db db)
{
    int rc = mdb_dbi_open(f->m.root.mdb, db_names[db], 0, &f->env.dbi[db]);
    if (rc && rc != MDB_NOTFOUND)
        txn_fail(&f->m, rc);
    return rc == 0;
}

static void open_databases(struct fsck *f)
{
    for (enum db db = 0; db < DB_COUNT; db++)
        if (!open_database(f, db))
            txn_fail(&f->m, MDB_NOTFOUND);
}

static enum mq_code check_layout(struct fsck *f, struct mq_err *err)
{
    struct key key = {.len = 6};
    struct slice value;
    memcpy(key.at, "layout", 6);
    if (!txn_find(&f->m, DB_META, &key, &value) || value.len != 4)
        return mq_fail(err, MQ_BADARG,
                       "the file does not say which layout it has: it is no moonq store, or damaged");
    unsigned layout = be32_get(value.at);
    if (layout != LAYOUT)
        return mq_fail(err, MQ_BADARG, "the store has layout %u, this moonq checks layout %u (%s)", layout,
                       LAYOUT,
                       layout > LAYOUT ? "use the newer moonq" : "start its server once, which migrates it");
    return MQ_OK;
}

static void begin(struct fsck *f, bool write)
{
    memset(&f->m.root, 0, sizeof f->m.root);
    f->m.at = &f->m.root;
    int rc = mdb_txn_begin(f->env.mdb, NULL, write ? 0 : MDB_RDONLY, &f->m.root.mdb);
    if (rc)
        txn_fail(&f->m, rc);
}

/* ---- rounds ---- */

static void damaged(struct fsck *f)
{
    fsck_problem(f, FSCK_PAGES, JOB_ID_NONE, "database '%s' cannot be read to its end: %s",
                 db_names[f->walking], mdb_strerror(f->m.rc));
}

static void find_journal(struct fsck *f)
{
    struct journal_mark mark = {0};
    f->has_mark = layout_load_mark(f->m.root.mdb, f->env.dbi[DB_META], &mark);
    if (!f->has_mark)
        journal_close(&f->env.journal); /* it is of another store */
    journal_attach(&f->env.journal, &mark, f->m.root.mdb);
}

static void tell_journal(struct fsck *f)
{
    bool was_relaxed =
        layout_is_relaxed(f->m.root.mdb, f->env.dbi[DB_META]); /* then a power cut leaves holes */
    if (f->env.journal.lost && !was_relaxed)
        fsck_problem(f, FSCK_JOURNAL, JOB_ID_NONE,
                     "the journal is damaged behind its record %llu of this epoch",
                     (unsigned long long)f->env.journal.records);
}

static void replay(struct fsck *f)
{
    find_journal(f);
    int rc = journal_replay(&f->env.journal, f->m.root.mdb);
    if (rc)
        txn_fail(&f->m, rc);
}

/* Looks once at LMDB's last commit. `through`: the journal holds more, so look again through it. */
static enum mq_code look(struct fsck *f, bool *through, struct mq_err *err)
{
    *through = false;
    if (setjmp(f->m.failed)) {
        damaged(f);
        f->stop = true;
        return MQ_OK;
    }
    begin(f, false);
    f->stop = true;
    if (!open_database(f, DB_META))
        return MQ_OK;
    enum mq_code code = check_layout(f, err); /* first: another layout has other databases */
    if (code != MQ_OK)
        return code;
    open_databases(f);
    f->round = 1;
    find_journal(f);
    if (journal_peek(&f->env.journal, through))
        return journal_fail(&f->env.journal, err);
    if (!*through) {
        tell_journal(f);
        fsck_walk(f);
    }
    f->stop = f->problems == 0;
    fsck_pages(f); /* of the commit: a transaction under way keeps other books */
    return MQ_OK;
}

static enum mq_code look_through(struct fsck *f, struct mq_err *err)
{
    if (setjmp(f->m.failed)) {
        if (f->m.rc == JOURNAL_UNREADABLE)
            return journal_fail(&f->env.journal, err);
        if (f->m.rc == ENOSPC || f->m.rc == ENOMEM || f->m.rc == MDB_MAP_FULL)
            return mq_fail(err, MQ_INTERNAL, "cannot make what the journal holds: %s", mdb_strerror(f->m.rc));
        damaged(f);
        f->stop = true;
        return MQ_OK;
    }
    begin(f, true);
    open_databases(f);
    replay(f);
    tell_journal(f);
    fsck_walk(f);
    f->stop = f->problems == 0;
    return MQ_OK;
}

static enum mq_code failed_to_mend(struct fsck *f, struct mq_err *err)
{
    int rc = f->m.rc;
    if (rc == JOURNAL_UNREADABLE)
        return journal_fail(&f->env.journal, err);
    return mq_fail(err, rc == ENOSPC || rc == EDQUOT || rc == EFBIG ? MQ_NOSPACE : MQ_INTERNAL,
                   "the repair could not be written, nothing was changed: %s", mdb_strerror(rc));
}

static enum mq_code mend(struct fsck *f, struct mq_err *err)
{
    uint64_t found = 0;
    if (setjmp(f->m.failed))
        return failed_to_mend(f, err);
    begin(f, true);
    open_databases(f);
    replay(f);
    struct journal_mark mark = journal_next_mark(&f->env.journal, SLICE_EMPTY);
    for (f->round = 2; f->round < 2 + ROUNDS_MAX; f->round++) {
        fsck_forget(f);
        fsck_walk(f);
        found = f->problems;
        if (!f->fix_count)
            break;
        fsck_mend(f);
    }
    f->report->left = found + f->lasting;
    MDB_txn *txn = f->m.root.mdb;
    int rc = f->has_mark ? layout_save_mark(txn, f->env.dbi[DB_META], &mark) : 0;
    if (rc)
        txn_fail(&f->m, rc);
    memset(&f->m.root, 0, sizeof f->m.root);
    rc = mdb_txn_commit(txn);
    if (rc)
        txn_fail(&f->m, rc);
    f->report->mended = true;
    return MQ_OK;
}

static enum mq_code open_again(struct fsck *f, const char *path, uint64_t file_bytes, enum mode mode,
                               struct mq_err *err)
{
    close_file(f);
    return open_file(f, path, file_bytes, mode, err);
}

static enum mq_code check_file(struct fsck *f, const char *path, struct mq_err *err)
{
    struct stat file;
    bool through, is_cut = false;
    if (stat(path, &file) != 0)
        return cannot(err, path, errno);
    if (file.st_size == 0)
        return MQ_OK; /* created, and never written */
    uint64_t bytes = (uint64_t)file.st_size;
    enum mq_code code = journal_open(&f->env.journal, f->settings->dir, false, err);
    if (code == MQ_OK)
        code = open_file(f, path, bytes, LOOK, err);
    if (code == MQ_OK)
        code = check_length(f, path, bytes, &is_cut, err);
    if (code != MQ_OK || is_cut)
        return code;
    code = look(f, &through, err);
    if (code == MQ_OK && through) {
        code = open_again(f, path, bytes, LOOK_THROUGH, err);
        if (code == MQ_OK)
            code = look_through(f, err);
    }
    if (code != MQ_OK || f->stop || !f->settings->repair)
        return code;
    code = open_again(f, path, bytes, MEND, err);
    return code == MQ_OK ? mend(f, err) : code;
}

enum mq_code store_fsck(struct fsck_report *report, const struct fsck_settings *settings, struct mq_err *err)
{
    struct fsck *f = mq_calloc(1, sizeof *f);
    char path[PATH_BYTES];
    int lock = -1;
    memset(report, 0, sizeof *report);
    f->settings = settings;
    f->report = report;
    f->m.env = &f->env;
    f->env.journal = JOURNAL_NONE;
    snprintf(path, sizeof path, "%s/" DATA_NAME, settings->dir);
    enum mq_code code = MQ_OK;
    if (access(path, F_OK) != 0)
        code =
            mq_fail(err, MQ_NOTFOUND, "there is no store in '%.200s': it has no " DATA_NAME, settings->dir);
    if (code == MQ_OK)
        code = lock_take(&lock, settings->dir, err);
    if (code == MQ_OK)
        code = check_file(f, path, err);
    if (!report->mended)
        report->left = report->problems;
    close_file(f);
    journal_close(&f->env.journal);
    lock_release(lock);
    fsck_forget(f);
    free(f->fixes);
    free(f->pauses);
    buf_release(&f->texts);
    buf_release(&f->record);
    buf_release(&f->m.aside);
    free(f);
    return code;
}
