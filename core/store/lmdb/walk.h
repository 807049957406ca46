/*
 * walk.h - which index answers a filter, and where a listing goes on.
 *
 *     ready, with a queue     ready and parked of that queue, and held
 *     ready                   ready, parked, held
 *     scheduled, retrying     due
 *     running                 leases
 *     dead                    dead
 *     succeeded, cancelled, expired    finished
 *     any other mix           states, by id
 *
 * A cursor as its user sees it is text: the version, the index and the last key in hex, and a sum that also
 * covers the filter, so that neither a made-up cursor nor one of another listing is taken.
 */
#ifndef MOONQ_STORE_LMDB_WALK_H
#define MOONQ_STORE_LMDB_WALK_H

#include "store/store.h"
#include "store/lmdb/layout.h"

#define WALK_LEGS 3
struct walk {
    enum db legs[WALK_LEGS]; /* one after the other */
    unsigned leg_count;
    struct key prefix; /* of the keys looked at; empty: all. Not of those in held */
    bool none;         /* the queue does not exist: nothing can be found */
    bool newest_first;
    uint32_t stamp;  /* of filter and direction */
    unsigned leg;    /* where we are */
    struct key last; /* the key looked at last; empty: at the start of the leg */
};

/* `queue_no`: of the filter's queue; 0 if it does not exist. Only looked at if the filter names one. */
void walk_init(struct walk *walk, const struct job_filter *filter, uint32_t queue_no, bool newest_first);
/* Goes on where the cursor says; empty: from the start. BADARG. */
enum mq_code walk_resume(struct walk *walk, struct slice cursor, struct mq_err *err);
/* Adds the cursor's text; answers its length. */
size_t walk_save(const struct walk *walk, struct buf *out);
/*
 * Steps to the next key. `cursors`: one a leg, of one transaction. 0, MDB_NOTFOUND at the end, or LMDB's error.
 * The id is 0 for a key that is not one of a job (or of the due index' expiries): step on.
 */
int walk_next(struct walk *walk, MDB_cursor *const cursors[WALK_LEGS], job_id *id);

/* Whether status (and spec, if filter_needs_spec) fit the filter. */
bool filter_needs_spec(const struct job_filter *filter);
bool filter_fits_status(const struct job_filter *filter, uint32_t queue_no, const struct job_status *status);
bool filter_fits_spec(const struct job_filter *filter, const struct job_spec *spec);
#endif
