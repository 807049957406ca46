#include "store/lmdb/cut.h"

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

struct cut cut_measure(MDB_env *mdb, uint64_t has)
{
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_info(mdb, &info);
    mdb_env_stat(mdb, &stat);
    return (struct cut){has, (info.me_last_pgno + 1) * stat.ms_psize, stat.ms_psize};
}

/*
 * A page that one commit took and freed again is never written, so where the file system cannot allocate ahead a sound
 * file may end before its last page. To see whether that is all, the file gets its length back first: a list of free pages
 * that is itself missing reads as nothing then.
 */
bool cut_lacks_only_free(MDB_env *mdb, int fd, const struct cut *cut)
{
    return ftruncate(fd, (off_t)cut->need) == 0 &&
           all_free(mdb, cut->has / cut->page_bytes, cut->need / cut->page_bytes - 1);
}

enum mq_code cut_check(MDB_env *mdb, const char *dir, struct mq_err *err)
{
    struct stat file;
    int fd;
    mdb_env_get_fd(mdb, &fd);
    if (fstat(fd, &file) != 0)
        return MQ_OK;
    struct cut cut = cut_measure(mdb, (uint64_t)file.st_size);
    if (cut.has >= cut.need || cut_lacks_only_free(mdb, fd, &cut))
        return MQ_OK;
    if (ftruncate(fd, file.st_size) != 0)
        return mq_fail(err, MQ_INTERNAL, "cannot give the store in '%s' its length back", dir);
    return mq_fail(
        err, MQ_INTERNAL,
        "the store in '%s' has %llu bytes, its last commit fills %llu: its end is missing (restore a copy)",
        dir, (unsigned long long)cut.has, (unsigned long long)cut.need);
}
