/*
 * cut.h - a store whose file has lost its end: a copy that ran out of room, a broken disk.
 *
 * LMDB does not look, and touching a page that is not there ends the process with SIGBUS, at every start anew.
 */
#ifndef MOONQ_STORE_LMDB_CUT_H
#define MOONQ_STORE_LMDB_CUT_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

/* Bytes that the file has, and that its last commit fills. */
struct cut {
    uint64_t has, need;
    size_t page_bytes;
};

struct cut cut_measure(MDB_env *mdb, uint64_t has);
/*
 * Of an environment just opened, before its first transaction: whether all that a file with has < need lacks is free pages.
 * `fd`: the file, open for writing. It has its full length afterwards; the caller may give it back the one it had.
 */
bool cut_lacks_only_free(MDB_env *mdb, int fd, const struct cut *cut);
/* Likewise, for who serves the store. INTERNAL: a page in use is missing; nothing was changed. */
enum mq_code cut_check(MDB_env *mdb, const char *dir, struct mq_err *err);
#endif
