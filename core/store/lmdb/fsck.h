/*
 * lmdb/fsck.h - between the parts of fsck: the walk that finds (fsck_walk.c), the mending (fsck_mend.c), and the
 * rounds around them (fsck.c).
 *
 * The walk notes a fix for each problem that has one. Fixes are small and local, and a round of them may uncover the
 * next (a job moved to quarantine leaves its index entries behind), so the rounds go on until a walk finds nothing.
 *
 * What index entries a status must have is said a second time here, on purpose: a check that asks the code which it
 * checks finds nothing.
 */
#ifndef MOONQ_STORE_LMDB_FSCK_H
#define MOONQ_STORE_LMDB_FSCK_H

#include "store/fsck.h"
#include "store/lmdb/machine.h"

/* What a queue's record says, and what its jobs say. */
struct tally {
    uint32_t no;
    bool has_record, readable;
    struct queue_body body;                      /* if readable */
    uint64_t in_state[JOB_STATES], parked, held; /* counted now */
    uint8_t name_len;                            /* 0: not known */
    char name[NAME_STORED_BYTES];                /* of the record, or else of its first job */
    UT_hash_handle by_no, by_name;
};

struct fix {
    enum {
        FIX_ADD,        /* an index entry */
        FIX_REMOVE,     /* any entry */
        FIX_SET_ASIDE,  /* an entry under a key that is none, to quarantine */
        FIX_QUARANTINE, /* job and status */
        FIX_STATUS, /* its queue and priority, from the job record; held by a pause that is not there: held no more */
        FIX_KEY,   /* the record of its unique key names it, or it has the key no more */
        FIX_QUEUE, /* written anew: name and counters of its tally */
        FIX_META,
    } what;
    enum db db;
    job_id id;
    uint32_t queue_no;
    size_t text_at, text_len; /* in fsck.texts: the key, or why */
};

struct fsck {
    struct machine m; /* its transaction, and nothing else of it */
    struct env env;
    const struct fsck_settings *settings;
    struct fsck_report *report;
    bool stop;         /* nothing to mend, or nothing that could be */
    bool has_mark;     /* of its journal */
    unsigned round;    /* problems are told in the first only: later ones follow from them */
    uint64_t problems; /* of this round */
    uint64_t lasting;  /* of the pages: no round can mend them, or looks at them again */
    struct tally *by_no, *by_name;
    uint64_t expected[DB_COUNT]; /* index entries that statuses ask for and that are there */
    uint32_t *pauses;            /* numbers of those that can be read, ascending */
    unsigned pause_count, pause_cap;
    struct meta meta, most; /* as it stands; the greatest that were met */
    bool meta_readable;
    enum db walking;
    struct fix *fixes;
    unsigned fix_count, fix_cap;
    struct buf texts, record;
};

/* fsck_walk.c: one round. Jumps to m.failed if LMDB cannot read the file. */
void fsck_walk(struct fsck *f);
void fsck_problem(struct fsck *f, enum fsck_kind kind, job_id id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool fsck_has_pause(const struct fsck *f, uint32_t no);
struct tally *fsck_queue_named(struct fsck *f, struct slice name);
struct tally *fsck_queue_add(struct fsck *f, uint32_t no);
void fsck_queue_name(struct fsck *f, struct tally *tally, struct slice name);
void fsck_forget(struct fsck *f);

/* fsck_schedules.c: cron entries and their ledgers. */
void fsck_schedules(struct fsck *f);
/* fsck_keys.c: unique keys; what their records say against what their jobs say. */
void fsck_key_of(struct fsck *f, job_id id, const struct job_spec *spec, const struct job_status *status);
void fsck_keys(struct fsck *f);
void fsck_mend_key(struct fsck *f, job_id id);
/* NULL if all is well. */
const char *fsck_key_contradiction(const struct job_spec *spec, const struct job_status *status);

/* fsck_mend.c: notes, and does what was noted, in the write transaction of m. */
void fsck_fix(struct fsck *f, const struct fix *fix, struct slice text);
void fsck_mend(struct fsck *f);

/* fsck_pages.c: whether LMDB's own pages add up; in a read transaction. */
void fsck_pages(struct fsck *f);
#endif
