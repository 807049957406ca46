#include "store/lmdb/fsck.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/lmdb/lock.h"

#define DATA_NAME  "moonq.mdb"
#define PATH_BYTES 4096
#define ROUNDS_MAX 8 /* a job moved aside, its entries, the counters: three; more are for the unforeseen */
#define MEND_ROOM  (16ULL << 30) /* of addresses, for what a repair adds to the file */

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

static enum mq_code open_file(struct fsck *f, const char *path, uint64_t file_bytes, bool write,
                              struct mq_err *err)
{
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | (write ? 0 : MDB_RDONLY | MDB_NOLOCK);
    uint64_t map = (file_bytes + (1 << 20)) >> 16 << 16;
    int rc = mdb_env_create(&f->env.mdb);
    if (!rc)
        rc = mdb_env_set_maxdbs(f->env.mdb, DB_COUNT + 16);
    if (!rc)
        rc = mdb_env_set_mapsize(f->env.mdb, write ? map + MEND_ROOM : map);
    if (!rc)
        rc = mdb_env_open(f->env.mdb, path, flags, 0600);
    if (!rc) {
        mdb_env_set_userctx(f->env.mdb, f);
        rc = mdb_env_set_assert(f->env.mdb, on_assert);
    }
    return rc ? cannot(err, path, rc) : MQ_OK;
}

/* A commit names its last page: if the file ends before it, reading would end us. */
static bool is_cut(struct fsck *f, uint64_t file_bytes)
{
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_info(f->env.mdb, &info);
    mdb_env_stat(f->env.mdb, &stat);
    f->env.page_bytes = stat.ms_psize;
    f->report->pages = info.me_last_pgno + 1;
    uint64_t need = f->report->pages * stat.ms_psize;
    if (file_bytes >= need)
        return false;
    fsck_problem(f, FSCK_CUT, JOB_ID_NONE, "the file has %llu bytes, its last commit fills %llu",
                 (unsigned long long)file_bytes, (unsigned long long)need);
    return true;
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

/* Looks once. `stop`: there is nothing to mend, or nothing that could be. */
static enum mq_code look(struct fsck *f, bool *stop, struct mq_err *err)
{
    if (setjmp(f->m.failed)) {
        damaged(f);
        *stop = true;
        return MQ_OK;
    }
    begin(f, false);
    *stop = true;
    if (!open_database(f, DB_META))
        return MQ_OK;
    enum mq_code code = check_layout(f, err); /* first: another layout has other databases */
    if (code != MQ_OK)
        return code;
    open_databases(f);
    f->round = 1;
    fsck_walk(f);
    *stop = f->problems == 0;
    fsck_pages(f);
    return MQ_OK;
}

static enum mq_code failed_to_mend(struct fsck *f, struct mq_err *err)
{
    int rc = f->m.rc;
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
    memset(&f->m.root, 0, sizeof f->m.root);
    int rc = mdb_txn_commit(txn);
    if (rc)
        txn_fail(&f->m, rc);
    f->report->mended = true;
    return MQ_OK;
}

static enum mq_code check_file(struct fsck *f, const char *path, struct mq_err *err)
{
    struct stat file;
    bool stop;
    if (stat(path, &file) != 0)
        return cannot(err, path, errno);
    if (file.st_size == 0)
        return MQ_OK; /* created, and never written */
    enum mq_code code = open_file(f, path, (uint64_t)file.st_size, false, err);
    if (code != MQ_OK || is_cut(f, (uint64_t)file.st_size))
        return code;
    code = look(f, &stop, err);
    if (code != MQ_OK || stop || !f->settings->repair)
        return code;
    close_file(f);
    code = open_file(f, path, (uint64_t)file.st_size, true, err);
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
