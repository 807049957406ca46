#include "store/lmdb/cut.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether all pages from `first` to `last` are on the list of free pages. */
static bool all_free(MDB_env *mdb, size_t first, size_t last)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, val;
    size_t found = 0;
    if (mdb_txn_begin(mdb, NULL, MDB_RDONLY, &txn))
        return false;
    if (mdb_cursor_open(txn, 0, &cursor) ==
        0) { /* LMDB's own: transactions, and the pages that each has freed */
        while (mdb_cursor_get(cursor, &key, &val, MDB_NEXT) == 0) {
            const size_t *list = val.mv_data; /* their number, then each */
            size_t count = val.mv_size / sizeof *list;
            for (size_t i = 1; i < count && i <= list[0]; i++)
                found += list[i] >= first && list[i] <= last;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return found == last - first + 1;
}

/*
 * A page that one commit took and freed again is never written, so where the file system cannot allocate ahead a sound
 * file may end before its last page. To see whether that is all, the file gets its length back first: a list of free pages
 * that is itself missing reads as nothing then.
 */
enum mq_code cut_check(MDB_env *mdb, const char *dir, struct mq_err *err)
{
    MDB_envinfo info;
    MDB_stat stat;
    struct stat file;
    int fd;
    mdb_env_info(mdb, &info);
    mdb_env_stat(mdb, &stat);
    mdb_env_get_fd(mdb, &fd);
    off_t need = (off_t)((info.me_last_pgno + 1) * stat.ms_psize);
    if (fstat(fd, &file) != 0 || file.st_size >= need)
        return MQ_OK;
    if (ftruncate(fd, need) == 0 && all_free(mdb, (size_t)file.st_size / stat.ms_psize, info.me_last_pgno))
        return MQ_OK;
    if (ftruncate(fd, file.st_size) != 0)
        return mq_fail(err, MQ_INTERNAL, "cannot give the store in '%s' its length back", dir);
    return mq_fail(
        err, MQ_INTERNAL,
        "the store in '%s' has %lld bytes, its last commit fills %lld: its end is missing (restore a copy)",
        dir, (long long)file.st_size, (long long)need);
}
