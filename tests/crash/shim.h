/*
 * shim.h - what stands between the server and its disk and clock in crash tests, and in specs that set the clock: a
 * library that is preloaded.
 *
 * It writes down every write, sync, truncation and allocation of the store's files, in order, so that the disk of any
 * moment can be built again; and it can make these calls fail, make syncs slow, and shift the wall clock. A page of
 * shared memory (the file SHIM_PAGE names) is how tests steer it and learn how far the record is.
 *
 *     SHIM_PAGE   path of the page; made by the test, sizeof(struct shim_page) bytes. Without it the shim does nothing
 *     SHIM_LOG    path of the record; none if it is not set
 */
#ifndef MOONQ_TESTS_CRASH_SHIM_H
#define MOONQ_TESTS_CRASH_SHIM_H

#include <stdatomic.h>
#include <stdint.h>

/* The files it watches end with / and one of these. */
#define SHIM_STORE_NAME   "moonq.mdb"
#define SHIM_JOURNAL_NAME "moonq.journal"

enum shim_file {
    SHIM_STORE,
    SHIM_JOURNAL,
    SHIM_FILES,
};

struct shim_page {
    _Atomic uint64_t
        records; /* written so far; a client that reads it knows: what is confirmed now is in these */
    _Atomic int64_t sync_us;       /* a sync takes this longer: on a tmpfs it takes no time otherwise */
    _Atomic int64_t write_errno;   /* writes, allocations and truncations fail with it; 0: they do not */
    _Atomic int64_t sync_errno;    /* syncs, and writes that are synced, fail with it */
    _Atomic int64_t allowed;       /* ... after so many calls more; counted down */
    _Atomic int64_t failures;      /* calls that failed so */
    _Atomic int64_t clock_step_ms; /* added to the wall clock */
    _Atomic int64_t only;          /* failures are of one file alone: 1 + enum shim_file; 0: of any */
};

enum shim_kind {
    SHIM_WRITE = 1,  /* at, len, and the bytes behind the head */
    SHIM_SYNCED,     /* like a write, but on disk when it returned (O_DSYNC) */
    SHIM_SYNC_BEGIN, /* what is before it ... */
    SHIM_SYNC_END,   /* ... is on disk from here on */
    SHIM_SIZE,       /* truncated or extended to `at` */
    SHIM_ALLOCATE,   /* at least `at` bytes long */
    SHIM_NAMED,      /* a file that was synced got the store's name: all of it at once, or not yet */
    SHIM_OPEN,       /* a server opened the file: a boundary between lives, nothing on disk */
    SHIM_CREATED,    /* the file was not there before; its name ... */
    SHIM_FOLDER,     /* ... is on disk from here on */
};

/* A record's head in the log. */
struct shim_record {
    uint64_t at;
    uint32_t len;
    uint16_t kind, file;
};
#endif
