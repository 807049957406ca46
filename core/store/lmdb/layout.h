/*
 * layout.h - what lies in the LMDB file: the databases, and the shape of their keys.
 *
 *     meta        name                    -> counters and the layout's number
 *     queues      queue_no                -> name, flags, limit, counters (queue.c)
 *     jobs        id                      -> the spec, written once
 *     states      id                      -> the status, written at every step
 *     ready       queue_no, priority, id  -> nothing. May be handed to anybody
 *     parked      queue_no, priority, id  -> nothing. Ready, but not for workers
 *     held        pause_no, id            -> nothing. Ready, but for nobody: its type is paused
 *     due         time, id, kind          -> nothing. When a job becomes ready (run), expires (expire), or lets go of
 *                                            its unique key (key)
 *     leases      deadline, id            -> nothing
 *     dead        died_at, id             -> nothing
 *     finished    purge_at, id            -> nothing. Succeeded, cancelled, expired
 *     attempts    id, token               -> one attempt that ended; the token of its lease orders them
 *     logs        id, seq                 -> time and line
 *     results     id                      -> bytes
 *     pauses      pause_no                -> a type that is paused, why, by whom, until when (pause.c)
 *     schedules   name                    -> a cron entry: its definition, and where it stands (schedule.c)
 *     ticks       name, NUL, row          -> what became of its planned moments (tick.c)
 *     unique      hash of a key, n        -> a unique key, and who holds it and who waits for it (unique.c)
 *     quarantine  id                      -> what could not be decoded
 *
 * Which index entries a job has follows from its status alone (job.c), so each of them can be checked, and made
 * anew. Numbers in keys are big-endian: the order of the bytes is the order of the numbers.
 *
 * This layout is number 7. 1 had no pauses of types; 2 did not count the bytes of what is finished or dead; 3 had no
 * schedules; 4 had no unique keys; 5 no journal (journal.h) before it; 6 no room in a status (job/record.c). To change
 * it: raise LAYOUT, add a row to the migrations in layout.c.
 */
#ifndef MOONQ_STORE_LMDB_LAYOUT_H
#define MOONQ_STORE_LMDB_LAYOUT_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>
#include "job/job.h"
#include "job/name.h"
#include "base/bytes.h"
#include "base/err.h"

#define LAYOUT    7
#define DATA_NAME "moonq.mdb" /* in the store's folder */

enum db {
    DB_META,
    DB_QUEUES,
    DB_JOBS,
    DB_STATES,
    DB_READY,
    DB_PARKED,
    DB_HELD,
    DB_DUE,
    DB_LEASES,
    DB_DEAD,
    DB_FINISHED,
    DB_ATTEMPTS,
    DB_LOGS,
    DB_RESULTS,
    DB_PAUSES,
    DB_SCHEDULES,
    DB_TICKS,
    DB_UNIQUE,
    DB_QUARANTINE,
    DB_COUNT,
};
extern const char *const db_names[DB_COUNT];

#define KEY_MAX_BYTES (NAME_MAX_BYTES + 1 + 8) /* of ticks; others have 17 at most */
struct key {
    size_t len;
    char at[KEY_MAX_BYTES];
};

/* The last byte of a key in due. On disk. */
enum due_kind {
    DUE_RUN = 0,
    DUE_EXPIRE = 1,
    DUE_KEY = 2,
};

#define READY_KEY_BYTES  (4 + 1 + 8)
#define MOMENT_KEY_BYTES (8 + 8)
#define DUE_KEY_BYTES    (8 + 8 + 1)
#define HELD_KEY_BYTES   (4 + 8)
#define UNIQUE_KEY_BYTES (16 + 4)

static inline struct slice key_bytes(const struct key *key)
{
    return (struct slice){key->at, key->len};
}
static inline void key_of_no(struct key *key, uint32_t queue_no)
{
    key->len = 4;
    be32_put(key->at, queue_no);
}
static inline void key_of_id(struct key *key, job_id id)
{
    key->len = 8;
    be64_put(key->at, id);
}
static inline void key_of_ready(struct key *key, uint32_t queue_no, uint8_t priority, job_id id)
{
    key->len = READY_KEY_BYTES;
    be32_put(key->at, queue_no);
    key->at[4] = (char)priority;
    be64_put(key->at + 5, id);
}
static inline void key_of_held(struct key *key, uint32_t pause_no, job_id id)
{
    key->len = HELD_KEY_BYTES;
    be32_put(key->at, pause_no);
    be64_put(key->at + 4, id);
}
/* leases, dead and finished. */
static inline void key_of_moment(struct key *key, wall_ms at, job_id id)
{
    key->len = MOMENT_KEY_BYTES;
    be64_put(key->at, (uint64_t)(at < 0 ? 0 : at));
    be64_put(key->at + 8, id);
}
static inline void key_of_due(struct key *key, wall_ms at, job_id id, enum due_kind kind)
{
    key_of_moment(key, at, id);
    key->at[key->len++] = (char)kind;
}
/* attempts and logs. */
static inline void key_of_part(struct key *key, job_id id, uint64_t part)
{
    key->len = 16;
    be64_put(key->at, id);
    be64_put(key->at + 8, part);
}
static inline void key_of_name(struct key *key, struct slice name)
{
    key->len = name.len;
    memcpy(key->at, name.at, name.len);
}
/* No name has a NUL: the rows of one entry stand together. */
static inline void key_of_tick(struct key *key, struct slice name, uint64_t row)
{
    key_of_name(key, name);
    key->at[key->len] = '\0';
    be64_put(key->at + key->len + 1, row);
    key->len += 1 + 8;
}
/* The entry's name in a key of ticks; empty if the key is malformed. */
static inline struct slice key_tick_name(struct slice key)
{
    return key.len > 9 && key.at[key.len - 9] == '\0' ? (struct slice){key.at, key.len - 9} : SLICE_EMPTY;
}
static inline wall_ms key_moment(struct slice key)
{
    return (wall_ms)be64_get(key.at);
}
/* The id in a key of this database; 0 if the key is malformed. */
job_id key_id(enum db db, struct slice key);

/*
 * What is counted over all; two records in meta: counters, which only grow, and the bytes that finished records and dead
 * letters keep: of each its job record, result, attempts and log lines, as long as they are.
 */
struct meta {
    job_id last_id;
    uint64_t last_token;
    uint32_t next_queue_no;
    uint64_t finished_bytes, dead_bytes;
};
#define KEPT_BYTES (8 + 8)
void key_of_kept(struct key *key);
void kept_write(char at[KEPT_BYTES], const struct meta *meta);
bool kept_read(struct meta *meta, struct slice bytes);

#define META_BYTES (8 + 8 + 4)
/* Its record, and the key of it. */
struct slice layout_meta(char at[META_BYTES], const struct meta *meta);
void key_of_meta(struct key *key);

/* What stands in LMDB's file of the journal: the epoch whose records follow this commit, and the sum of all before. */
struct journal_mark {
    uint64_t epoch, sum;
};

/* What LMDB answers when a page is not what it should be, and what to do then. */
#define LAYOUT_DAMAGED                                                                                       \
    "the pages of the store's file are damaged: moonq fsck says how, a backup must be restored"
bool layout_is_damage(int rc);
/* `what` failed with LMDB's code: INTERNAL with that text if it is damage, else the code and text of the caller. */
enum mq_code layout_fail(struct mq_err *err, enum mq_code otherwise, const char *what, int rc);

/*
 * Opens every database in the write transaction `txn`, and creates what is missing. BADARG: a newer layout (both numbers
 * are in the message), or a file that is not ours. INTERNAL: it is damaged. The journal is to be replayed next: it is of
 * the layout found.
 */
enum mq_code layout_open(MDB_txn *txn, MDB_dbi dbi[DB_COUNT], struct mq_err *err);
/* Migrates an older layout, and reads the counters. */
enum mq_code layout_ready(MDB_txn *txn, const MDB_dbi dbi[DB_COUNT], struct meta *meta, struct mq_err *err);

/* False: a new file, or one of a layout that had no journal. */
bool layout_load_mark(MDB_txn *txn, MDB_dbi meta, struct journal_mark *mark);
/* Answers LMDB's code. */
int layout_save_mark(MDB_txn *txn, MDB_dbi meta, const struct journal_mark *mark);

/* Whether the store was, or is to be, one whose journal is synced late: see store.h. */
bool layout_is_relaxed(MDB_txn *txn, MDB_dbi meta);
int layout_set_relaxed(MDB_txn *txn, MDB_dbi meta, bool is);
#endif
