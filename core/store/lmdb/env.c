#include "store/lmdb/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/lmdb/archive.h"
#include "store/lmdb/cut.h"
#include "store/lmdb/lock.h"
#include "store/lmdb/takeover.h"
#include "base/alloc.h"
#include "base/file.h"

#define NEW_NAME          "moonq.mdb.new" /* while it is made */
#define MAP_DEFAULT_BYTES (64ULL << 20)
#define MAP_LEAST_BYTES   (256ULL << 10) /* an empty store and a commit or two */
#define RESERVE_DEFAULT   (8ULL << 20)
#define READERS_MAX       126           /* LMDB's own default; ours are far fewer, tools may look in too */
#define AHEAD_LEAST       (1ULL << 20)  /* the file is allocated in steps of a quarter of what is used, */
#define AHEAD_MOST        (64ULL << 20) /* but no less and no more than these */
#define PATH_BYTES        4096

static uint64_t round_up(uint64_t bytes, uint64_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

enum mq_code env_code_of(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
        return MQ_NOPERM;
    case ENOSPC:
    case EDQUOT:
        return MQ_NOSPACE;
    case ENOENT:
    case ENOTDIR:
        return MQ_NOTFOUND;
    case EIO:
        return MQ_INTERNAL;
    default:
        return MQ_BADARG;
    }
}

/* What a data folder may hold before there is a store in it: what the server made a moment ago. */
static bool is_expected(const char *name)
{
    static const char *const names[] = {"moonq.lock", "run", "lost+found", NEW_NAME};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return name[0] == '.';
}

/* A folder full of something else is not turned into a store. */
static enum mq_code check_folder(const char *dir, struct mq_err *err)
{
    char path[PATH_BYTES];
    enum mq_code code = MQ_OK;
    struct stat found;
    snprintf(path, sizeof path, "%s/" DATA_NAME, dir);
    if (lstat(path, &found) == 0)
        return MQ_OK;
    DIR *folder = opendir(dir);
    if (!folder)
        return mq_fail(err, env_code_of(errno), "cannot read data folder '%s': %s", dir, strerror(errno));
    for (struct dirent *entry; code == MQ_OK && (entry = readdir(folder));)
        if (!is_expected(entry->d_name))
            code = mq_fail(err, MQ_BADARG,
                           "'%s' is not a moonq data folder: it has '%s' but no " DATA_NAME
                           " (choose another with --data)",
                           dir, entry->d_name);
    closedir(folder);
    return code;
}

/* Why mkdir failed: a folder above is a file, or is missing. */
static enum mq_code cannot_make(const char *dir, int reason, struct mq_err *err)
{
    char above[PATH_BYTES];
    struct stat found;
    snprintf(above, sizeof above, "%s", dir);
    for (char *slash; (slash = strrchr(above, '/')) && slash != above;) {
        *slash = '\0';
        if (stat(above, &found) == 0)
            break;
    }
    if (reason == ENOENT)
        return mq_fail(err, MQ_NOTFOUND,
                       "cannot create data folder '%.200s': the folder above it is not there (make it first, "
                       "or choose another with --data)",
                       dir);
    if (reason == ENOTDIR)
        return mq_fail(
            err, MQ_BADARG,
            "cannot create the data folder: '%.200s' is a file, not a folder (choose another with --data)",
            above);
    return mq_fail(err, env_code_of(reason),
                   "cannot create data folder '%.200s': %s (choose another with --data)", dir,
                   strerror(reason));
}

static enum mq_code cannot_sync(const char *dir, int reason, struct mq_err *err)
{
    return mq_fail(
        err, env_code_of(reason),
        "the names in folder '%.200s' cannot be brought to the disk: %s (check the disk, start again)", dir,
        strerror(reason));
}

/* If the folder's own name did not get to the disk, it goes again: the next start makes it anew, and tries again. */
static enum mq_code sync_new_folder(const char *dir, struct mq_err *err)
{
    char above[PATH_BYTES];
    snprintf(above, sizeof above, "%.4000s/..", dir);
    int error = file_sync_folder(above);
    if (!error)
        return MQ_OK;
    rmdir(dir);
    return cannot_sync(above, error, err);
}

static enum mq_code make_folder(const char *dir, bool sync, struct mq_err *err)
{
    struct stat found;
    enum mq_code code = MQ_OK;
    if (mkdir(dir, 0700) == 0)
        code = sync ? sync_new_folder(dir, err) : MQ_OK;
    else if (errno != EEXIST)
        code = cannot_make(dir, errno, err);
    if (code != MQ_OK)
        return code;
    if (stat(dir, &found) == 0 && !S_ISDIR(found.st_mode))
        return mq_fail(err, MQ_BADARG,
                       "data folder '%s' is a file, not a folder (choose another with --data)", dir);
    if (access(dir, R_OK | W_OK | X_OK) != 0)
        return mq_fail(err, env_code_of(errno),
                       "data folder '%s' is not writable: %s (change its owner or permissions, or choose "
                       "another with --data)",
                       dir, strerror(errno));
    return check_folder(dir, err);
}

/* LMDB would follow a link, to a file that somebody else chose. */
static enum mq_code check_no_link(const char *path, struct mq_err *err)
{
    struct stat found;
    if (lstat(path, &found) == 0 && S_ISLNK(found.st_mode))
        return mq_fail(
            err, MQ_NOPERM,
            "'%s' is a symbolic link, which is not followed: name the folder that it leads to with --data",
            path);
    return MQ_OK;
}

/* Large enough for what is there already and a good deal more. */
static uint64_t first_map_bytes(const char *path, uint64_t wanted)
{
    struct stat file = {0};
    uint64_t bytes = wanted ? wanted : MAP_DEFAULT_BYTES;
    if (stat(path, &file) != 0)
        file.st_size = 0;
    if (bytes < MAP_LEAST_BYTES)
        bytes = MAP_LEAST_BYTES;
    while (bytes < (uint64_t)file.st_size / 4 * 5)
        bytes *= 2;
    return round_up(bytes, 1 << 16);
}

static bool has_store(const char *path)
{
    struct stat file;
    return stat(path, &file) == 0 && file.st_size > 0;
}

/* LMDB's first two pages, on disk. */
static int write_first_pages(const char *path, bool sync)
{
    MDB_env *mdb;
    int rc = mdb_env_create(&mdb);
    if (rc)
        return rc;
    rc = mdb_env_open(mdb, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (!rc && sync)
        rc = mdb_env_sync(mdb, 1);
    mdb_env_close(mdb);
    return rc;
}

/*
 * A new store gets its name when its first pages are on disk: a power cut while it is made would otherwise leave a
 * file that is no store, and that no server would open or replace.
 */
static enum mq_code make_store(const struct store_settings *settings, const char *path, struct mq_err *err)
{
    char new_path[PATH_BYTES];
    snprintf(new_path, sizeof new_path, "%s/" NEW_NAME, settings->dir);
    unlink(new_path);
    int rc = write_first_pages(new_path, !settings->nosync);
    if (!rc && rename(new_path, path) != 0)
        rc = errno;
    if (rc)
        return mq_fail(err, rc > 0 ? env_code_of(rc) : MQ_INTERNAL, "cannot create '%s': %s", path,
                       mdb_strerror(rc));
    return MQ_OK;
}

/* Its name must be on disk before the first confirmed push is; the life that made it may have failed to bring it there. */
static enum mq_code sync_name(const struct store_settings *settings, struct mq_err *err)
{
    int error = settings->nosync ? 0 : file_sync_folder(settings->dir);
    return error ? cannot_sync(settings->dir, error, err) : MQ_OK;
}

static enum mq_code open_mdb(struct env *env, const struct store_settings *settings, struct mq_err *err)
{
    char path[PATH_BYTES];
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | (settings->nosync ? MDB_NOSYNC : 0);
    snprintf(path, sizeof path, "%s/" DATA_NAME, settings->dir);
    enum mq_code code = check_no_link(path, err);
    if (code == MQ_OK && !has_store(path))
        code = make_store(settings, path, err);
    if (code == MQ_OK)
        code = sync_name(settings, err);
    if (code != MQ_OK)
        return code;
    int rc = mdb_env_create(&env->mdb);
    if (!rc)
        rc = mdb_env_set_maxdbs(env->mdb, DB_COUNT + 16); /* room for the layouts to come */
    if (!rc)
        rc = mdb_env_set_maxreaders(env->mdb, READERS_MAX);
    if (!rc)
        rc = mdb_env_set_mapsize(env->mdb, first_map_bytes(path, settings->map_bytes));
    if (!rc)
        rc = mdb_env_open(env->mdb, path, flags, 0600);
    if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH)
        return mq_fail(err, MQ_BADARG, "'%s' is not a moonq store: %s (choose another folder with --data)",
                       path, mdb_strerror(rc));
    if (rc)
        return mq_fail(err, rc > 0 ? env_code_of(rc) : MQ_INTERNAL, "cannot open '%s': %s", path,
                       mdb_strerror(rc));
    return MQ_OK;
}

static void note_sizes(struct env *env, const struct store_settings *settings)
{
    MDB_envinfo info;
    MDB_stat stat;
    struct stat file = {0};
    mdb_env_info(env->mdb, &info);
    mdb_env_stat(env->mdb, &stat);
    mdb_env_get_fd(env->mdb, &env->fd);
    fstat(env->fd, &file);
    env->map_bytes = info.me_mapsize;
    env->page_bytes = stat.ms_psize;
    env->reserve_bytes = settings->reserve_bytes ? settings->reserve_bytes : RESERVE_DEFAULT;
    env->allocated_bytes = env_used_bytes(env);
    /* What an earlier life allocated and did not use is ours: blocks are counted, for a file may have holes. */
    if ((uint64_t)file.st_blocks * 512 >= (uint64_t)file.st_size &&
        (uint64_t)file.st_size > env->allocated_bytes)
        env->allocated_bytes = (uint64_t)file.st_size;
}

static void init_map_lock(struct env *env)
{
    pthread_rwlockattr_t kind;
    pthread_rwlockattr_init(&kind);
    /* A stream of short reads must not keep the map from growing. */
    pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&env->map_lock, &kind);
    pthread_rwlockattr_destroy(&kind);
}

enum mq_code env_open(struct env **out, const struct store_settings *settings, struct mq_err *err)
{
    struct env *env = mq_calloc(1, sizeof *env);
    env->lock_fd = -1;
    env->archive_dir = archive_dir_of(settings->dir);
    env->nosync = settings->nosync;
    env->relaxed_ms = settings->relaxed_ms;
    env->journal = JOURNAL_NONE;
    init_map_lock(env);
    enum mq_code code = make_folder(settings->dir, !settings->nosync, err);
    if (code == MQ_OK)
        code = lock_take(&env->lock_fd, settings->dir, err);
    if (code == MQ_OK)
        code = journal_open(&env->journal, settings->dir, true, err);
    env->journal.nosync = settings->nosync;
    env->journal.relaxed = settings->relaxed_ms > 0;
    if (code == MQ_OK)
        code = open_mdb(env, settings, err);
    if (code == MQ_OK)
        code = cut_check(env->mdb, settings->dir, err);
    if (code == MQ_OK)
        code = takeover(env, err);
    if (code == MQ_OK) {
        note_sizes(env, settings);
        env_has_space(env, 0); /* the reserve, while nobody else has taken the disk */
        takeover_prepare(env);
        *out = env;
        env = NULL;
    }
    env_close(env);
    return code;
}

void env_close(struct env *env)
{
    if (!env)
        return;
    if (env->mdb)
        mdb_env_close(env->mdb);
    journal_close(&env->journal);
    lock_release(env->lock_fd);
    pthread_rwlock_destroy(&env->map_lock);
    free(env->archive_dir);
    free(env);
}

void env_read_begin(struct env *env)
{
    pthread_rwlock_rdlock(&env->map_lock);
}

void env_read_end(struct env *env)
{
    pthread_rwlock_unlock(&env->map_lock);
}

enum mq_code env_grow(struct env *env, uint64_t need_bytes, struct mq_err *err)
{
    uint64_t bytes = env->map_bytes * 2;
    while (bytes < env->map_bytes + need_bytes)
        bytes *= 2;
    atomic_store(&env->wants_map, true);
    pthread_rwlock_wrlock(&env->map_lock);
    atomic_store(&env->wants_map, false);
    int rc = mdb_env_set_mapsize(env->mdb, bytes);
    if (rc == 0) {
        env->map_bytes = bytes;
        env->grown_times++;
    }
    pthread_rwlock_unlock(&env->map_lock);
    /* A failed mmap has already dropped the old map: there is no way back but a restart. */
    if (rc)
        return mq_fail(err, MQ_INTERNAL, "cannot map %llu bytes: %s", (unsigned long long)bytes,
                       mdb_strerror(rc));
    return MQ_OK;
}

enum mq_code env_grow_early(struct env *env, struct mq_err *err)
{
    return env_used_bytes(env) <= env->map_bytes / 4 * 3 ? MQ_OK : env_grow(env, 0, err);
}

uint64_t env_used_bytes(const struct env *env)
{
    MDB_envinfo info;
    mdb_env_info(env->mdb, &info);
    return (uint64_t)(info.me_last_pgno + 1) * (env->page_bytes ? env->page_bytes : 4096);
}

uint64_t env_disk_free(const struct env *env)
{
    struct statvfs fs;
    if (fstatvfs(env->fd, &fs) != 0)
        return 0;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

uint64_t env_free_pages(const struct env *env, MDB_txn *txn)
{
    MDB_cursor *cursor;
    MDB_val key, val;
    uint64_t pages = 0;
    (void)env;
    if (mdb_cursor_open(txn, 0, &cursor)) /* database 0 is LMDB's own list of free pages */
        return 0;
    while (mdb_cursor_get(cursor, &key, &val, MDB_NEXT) == 0) {
        size_t count = 0;
        if (val.mv_size >= sizeof count)
            memcpy(&count, val.mv_data, sizeof count);
        pages += count;
    }
    mdb_cursor_close(cursor);
    return pages;
}

static uint64_t free_bytes_inside(struct env *env)
{
    MDB_txn *txn;
    if (mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn))
        return 0;
    uint64_t bytes = env_free_pages(env, txn) * env->page_bytes;
    mdb_txn_abort(txn);
    return bytes;
}

static bool allocate_to(struct env *env, uint64_t bytes)
{
    if (fallocate(env->fd, 0, 0, (off_t)bytes) == 0) {
        env->allocated_bytes = bytes;
        return true;
    }
    env->no_fallocate = errno == EOPNOTSUPP || errno == ENOSYS;
    return false;
}

bool env_has_space(struct env *env, uint64_t coming_bytes)
{
    uint64_t used = env_used_bytes(env), need = used + coming_bytes + env->reserve_bytes;
    if (env->no_fallocate)
        return env_disk_free(env) >= coming_bytes + env->reserve_bytes;
    if (need <= env->allocated_bytes)
        return true;
    uint64_t ahead = used / 4 < AHEAD_LEAST ? AHEAD_LEAST : used / 4 > AHEAD_MOST ? AHEAD_MOST : used / 4;
    /* the last bytes of a disk are worth a smaller step */
    if (allocate_to(env, round_up(need + ahead, env->page_bytes)) ||
        allocate_to(env, round_up(need, env->page_bytes))) {
        env->short_of_space = false;
        return true;
    }
    if (env->no_fallocate)
        return env_disk_free(env) >= coming_bytes + env->reserve_bytes;
    /* Pages that finished jobs left behind are space as well. Twice the reserve, so that it does not flutter. */
    uint64_t rest = env->allocated_bytes > used ? env->allocated_bytes - used : 0;
    uint64_t want = coming_bytes + env->reserve_bytes * (env->short_of_space ? 2 : 1);
    env->short_of_space = rest + free_bytes_inside(env) < want;
    return !env->short_of_space;
}
