/*
 * cut.h - a store whose file has lost its end: a copy that ran out of room, a broken disk.
 *
 * LMDB does not look, and touching a page that is not there ends the process with SIGBUS, at every start anew.
 */
#ifndef MOONQ_STORE_LMDB_CUT_H
#define MOONQ_STORE_LMDB_CUT_H

#include <lmdb.h>
#include "base/err.h"

/* Of an environment just opened, before its first transaction. INTERNAL: a page in use is missing; nothing was changed. */
enum mq_code cut_check(MDB_env *mdb, const char *dir, struct mq_err *err);
#endif
