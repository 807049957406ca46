/*
 * redo.h - what a batch changed in LMDB, as keys and values in the order in which they were written: enough to make
 * the same changes again in the state before it.
 *
 * Of keys and values and not of operations, so that no verb has to be told of it: all writes of the machine pass
 * through txn.c, which notes them here.
 *
 *     a change: u8 database, u8 length of the key, u32 length of the value (REDO_REMOVED: none), key, value
 *
 * The database is its place in a list of names that is kept beside the changes (journal.h), since enum db may be
 * numbered anew by a later layout. A key that is removed need not be there, and one that is written may be.
 */
#ifndef MOONQ_STORE_LMDB_REDO_H
#define MOONQ_STORE_LMDB_REDO_H

#include <lmdb.h>
#include "store/lmdb/layout.h"
#include "base/buf.h"

#define REDO_REMOVED   UINT32_MAX
#define REDO_HEAD      (1 + 1 + 4)
#define REDO_KEEP_MOST (16u << 20) /* memory that is kept for the next batch */

struct redo {
    bool on;         /* or changes are only counted: a repair, or a batch that does not go into the journal */
    bool muted;      /* LMDB is told what was noted before: neither noted nor counted */
    uint64_t most;   /* who takes more bytes than this is not noted any further: `on` ends. 0: no bound */
    uint64_t size;   /* so many bytes they take, noted or not */
    uint64_t places; /* so many pages of LMDB's they touch, roughly: each lay far from the one before it */
    const char *last[DB_COUNT];
    struct buf bytes;
    /* the value of the last change, where LMDB has it: the caller fills it after the call that noted it */
    const char *lent;
    size_t lent_len;
};

/* What LMDB is not told yet: room for the value, to be filled before the next call. NULL if nothing is noted. */
char *redo_reserve(struct redo *redo, enum db db, struct slice key, size_t len);
void redo_forget(struct redo *redo, enum db db, struct slice key);

/* `value`, `where`: in LMDB's page. */
void redo_put(struct redo *redo, enum db db, struct slice key, const char *value, size_t len);
void redo_remove(struct redo *redo, enum db db, struct slice key, const char *where);
/* Before anything else happens in LMDB: takes over what was lent. */
void redo_settle(struct redo *redo);
/* Back to the first `size` bytes, as they were settled: what came later did not happen. */
void redo_cut(struct redo *redo, uint64_t size);
void redo_release(struct redo *redo);

/* One change read back; the slices point into what was read. */
struct change {
    uint8_t db;
    bool removed;
    struct slice key, value;
};
/* The next one off the front of `rest`; false at its end, or where it is malformed (then `rest` is not empty). */
bool redo_next(struct slice *rest, struct change *change);
/* Whether all of it can be read. */
bool redo_is_whole(struct slice bytes);

/* Makes the changes: `dbi` by their numbers, of which there are `dbi_count`; REDO_NO_DB for one that this layout has no
   use for. Answers LMDB's code. */
#define REDO_NO_DB UINT32_MAX
int redo_apply(MDB_txn *txn, const MDB_dbi *dbi, unsigned dbi_count, struct slice bytes);
#endif
