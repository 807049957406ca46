/*
 * journal.h - the file in front of LMDB's: what was confirmed since LMDB's last commit.
 *
 * LMDB syncs twice a commit and writes every page on the way to a change, roots included. A batch that goes into the
 * journal is one write of its changes (redo.h) behind the last one's, and one sync, in space that was written before, so
 * that the file system has nothing else to write (but for a long record at the file's end). LMDB's own commit, which holds many batches then, is a checkpoint: it
 * also stores a mark, and from there on the journal begins anew at its start.
 *
 *     page 0      "moonq journal", u32 format, the names of the databases in the order of enum db, XXH3-64 of all that
 *     page 1 ...  records, each from a page of its own: a torn write never touches what was confirmed before
 *
 *     a record    u32 "MQJR", u32 length of the changes, u64 epoch, u64 number in the epoch, u64 sum, changes
 *
 * The sum is the XXH3-64 of the record, seeded with the one before it; the first is seeded with the mark, which is
 * itself the sum of all before. So a record checks only behind the very history it was written to: what an earlier
 * epoch, or another life of the folder (a backup that was restored) left there does not, and a torn one neither.
 *
 * What is read ends at the first record that does not check. If one of the same epoch stands further on, it was not torn
 * but damaged, and something confirmed is lost: journal.lost. What the disk does not give back is no end: it may hold what
 * was confirmed, so whoever reads must stop there (JOURNAL_UNREADABLE) and leave both files as they are.
 *
 * Threads: one, the store's.
 */
#ifndef MOONQ_STORE_LMDB_JOURNAL_H
#define MOONQ_STORE_LMDB_JOURNAL_H

#include <stdbool.h>
#include "store/lmdb/layout.h"
#include "base/buf.h"

#define JOURNAL_NAME    "moonq.journal"
#define JOURNAL_DAMAGED ".damaged" /* added to the name of one that is put aside */
#define JOURNAL_FORMAT  1
/* Beside LMDB's codes: the disk does not give back what stands in the file, or not what this life wrote. */
#define JOURNAL_UNREADABLE (MDB_LAST_ERRCODE + 1000)
#define JOURNAL_PAGE       4096u
#define JOURNAL_HEAD_BYTES (4 + 4 + 8 + 8 + 8) /* of a record */
#define JOURNAL_STEP_LEAST (64u << 10)         /* the file grows by as much as it has, */
#define JOURNAL_STEP_MOST  (1u << 20)          /* but no less and no more than these */
#define JOURNAL_DBS_MAX    64

struct journal {
    int fd;                   /* -1: none, and nothing in it */
    char *dir;                /* the folder */
    bool nosync;              /* tests: never wait for the disk */
    bool named;               /* this life has seen to it that the file's name is on disk */
    bool relaxed;             /* an append is not synced: journal_sync */
    struct journal_mark mark; /* of LMDB's last commit */
    uint64_t names_sum;
    MDB_dbi dbi[JOURNAL_DBS_MAX]; /* by the numbers in this file */
    unsigned dbi_count;
    bool is_ready; /* begun by this life, with the numbers of enum db: may be written */
    /* of this epoch */
    uint64_t records;
    uint64_t sum;  /* of the last; the next one's seed */
    uint64_t end;  /* where the next goes */
    uint64_t size; /* of the file: written once, so that writing again needs no sync of anything else */
    bool unsynced; /* relaxed: an append is not on disk yet */
    bool lost;     /* reading met damage */
    int error;     /* errno's code: reading met what the disk does not give back */
    struct buf scratch;
};

#define JOURNAL_NONE ((struct journal){.fd = -1})

/*
 * Opens the journal of a folder, if there is one. BADARG: a newer format. NOPERM: not ours to open, or a link. INTERNAL: it
 * cannot be read.
 */
enum mq_code journal_open(struct journal *j, const char *dir, bool for_writing, struct mq_err *err);
void journal_close(struct journal *j);
/* Where LMDB's last commit stands; opens its databases by the names in the journal. Before anything is read. */
void journal_attach(struct journal *j, const struct journal_mark *mark, MDB_txn *txn);
/* Whether there is a record of this epoch. 0 or JOURNAL_UNREADABLE; `lost` as after a replay. */
int journal_peek(struct journal *j, bool *found);
/* Makes again in `txn` what the epoch's records say; the journal goes on behind them. LMDB's code, or JOURNAL_UNREADABLE. */
int journal_replay(struct journal *j, MDB_txn *txn);
/* What JOURNAL_UNREADABLE means to who started us: INTERNAL. */
enum mq_code journal_fail(const struct journal *j, struct mq_err *err);

/*
 * Before the first append of a life: a file of the first page alone, with this layout's names. What an earlier life wrote
 * is taken over by then, so nothing of it is left that could be met again; what is damaged is put aside. errno's code; then
 * nothing can be appended.
 */
int journal_prepare(struct journal *j, const MDB_dbi dbi[DB_COUNT]);
/*
 * The changes of a batch, on disk when it answers 0 (relaxed: on their way). ENOSPC and its like: there is no room, and
 * nothing of it is there (this is made sure). Anything else: it is not known what is on disk.
 */
int journal_append(struct journal *j, struct slice redo);
/* Relaxed: all that was appended is on disk. errno's code. */
int journal_sync(struct journal *j);
static inline bool journal_is_empty(const struct journal *j)
{
    return j->records == 0;
}
/* Bytes of the epoch. */
static inline uint64_t journal_bytes(const struct journal *j)
{
    return j->end - JOURNAL_PAGE;
}

/* The mark for a commit that holds all records, and what `tail` is a trace of (or nothing), which is not in the journal ... */
struct journal_mark journal_next_mark(const struct journal *j, struct slice tail);
/* ... and when that commit is on disk: the journal begins anew. */
void journal_restart(struct journal *j, const struct journal_mark *mark);

/* ---- records, for journal.c and its tests ---- */
struct journal_record {
    uint64_t epoch, number, sum;
    struct slice redo;
};
/* The record at the front of `bytes`, which may be longer; false if there is none that checks. */
bool journal_read(struct journal_record *record, struct slice bytes, uint64_t seed);
/* Writes the head; answers the sum. */
uint64_t journal_write_head(char head[JOURNAL_HEAD_BYTES], uint64_t epoch, uint64_t number, struct slice redo,
                            uint64_t seed);
/* The first record's seed. */
uint64_t journal_seed(const struct journal *j);
#endif
