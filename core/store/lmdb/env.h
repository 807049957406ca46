/*
 * env.h - the LMDB file: its folder, its lock, its journal, its map, and the disk space ahead of it.
 *
 * The map is an address range; it grows by doubling while no snapshot is open (env_grow waits for them, and
 * makes long ones stop early). The file is allocated ahead of what is used, so that a full disk is noticed
 * while there is still room: pushes are refused as soon as less than reserve_bytes of the allocated file is
 * free, and what remains belongs to acknowledgements.
 *
 * Threads: env_read_begin/end on any; the rest belongs to the one thread that writes.
 */
#ifndef MOONQ_STORE_LMDB_ENV_H
#define MOONQ_STORE_LMDB_ENV_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "store/store.h"
#include "store/lmdb/journal.h"
#include "store/lmdb/layout.h"

struct env {
    MDB_env *mdb;
    MDB_dbi dbi[DB_COUNT];
    struct meta meta; /* as read at open */
    struct journal journal;
    int lock_fd;        /* holds the server lock; -1: none */
    int fd;             /* LMDB's own descriptor of the data file */
    char *archive_dir;  /* made with its first letter, */
    bool archive_named; /* and this life has seen to it that its name is on disk */
    bool nosync;        /* tests */
    int64_t relaxed_ms; /* 0: not relaxed */
    size_t page_bytes;
    _Atomic uint64_t map_bytes;
    _Atomic uint64_t allocated_bytes; /* of the file, from its start */
    uint64_t reserve_bytes;
    bool no_fallocate;            /* this file system cannot: ask it for its free space instead */
    bool short_of_space;          /* pushes were refused when we last looked */
    pthread_rwlock_t map_lock;    /* read: a snapshot is open. write: the map moves */
    _Atomic uint64_t queue_limit; /* the default one, for whoever shows queues */
    atomic_bool wants_map;        /* long snapshots: stop now */
    _Atomic uint64_t grown_times; /* how often the map grew */
};

/*
 * Creates folder and file if need be, takes the lock, opens the databases, and takes over what the journal of an earlier
 * life holds: after it the journal is empty. Codes as store_open.
 */
enum mq_code env_open(struct env **out, const struct store_settings *settings, struct mq_err *err);
void env_close(struct env *env);

/* What an errno of ours or of LMDB means to who started us. */
enum mq_code env_code_of(int error);

/* Doubles the map until at least `need_bytes` more fit. No transaction of the calling thread is open. */
enum mq_code env_grow(struct env *env, uint64_t need_bytes, struct mq_err *err);
/* Grows ahead of need: less than a quarter of the map is left. */
enum mq_code env_grow_early(struct env *env, struct mq_err *err);

/* Around every snapshot. */
void env_read_begin(struct env *env);
void env_read_end(struct env *env);

/* Allocates ahead; answers whether pushes of `coming_bytes` may be accepted. */
bool env_has_space(struct env *env, uint64_t coming_bytes);
uint64_t env_used_bytes(const struct env *env);
uint64_t env_disk_free(const struct env *env);
/* Pages of the file that are free for reuse. Walks the list of free pages, so not for every commit. */
uint64_t env_free_pages(const struct env *env, MDB_txn *txn);
#endif
