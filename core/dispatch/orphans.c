/*
 * Jobs that run, by the store's word, in a worker of this server, and that no worker has. There should be none; but the lease of
 * such a job would run out and charge it with an attempt for a fault of ours, so they are looked for and given back. What an earlier server left so is given back at start (server/recover.c).
 *
 * The store may be ahead of what we have heard, and we of what it has done: only what is without a holder in two rounds, under
 * the same lease, is an orphan; and none while outcomes wait for a full disk (again.c). The store decides by the token.
 */
#include "dispatch/inside.h"

#define PAGE          200 /* jobs looked at in one read */
#define NEXT_PAGE_MS  500
#define NEXT_ROUND_MS 5000

struct suspect {
    job_id id;
    uint64_t token;
};

struct look {
    struct op_list list;
    struct dispatch *d;
    char cursor[CURSOR_MAX_BYTES];
};

/* ---- giving back ---------------------------------------------------------------------------------------------------- */

struct repair {
    struct op_release release;
    struct dispatch *d;
};

static void repaired(struct store_op *op)
{
    struct repair *repair = (struct repair *)op;
    char text[JOB_ID_TEXT_BYTES];
    if (op->code == MQ_OK) {
        repair->d->stats.orphans_repaired++;
        log_event(LOG_WARN, "job.orphan_repaired", LOG_STR("id", id_format(text, repair->release.id)),
                  LOG_INT("attempt", repair->release.attempt));
    }
    store_op_release(op);
    free(repair);
}

static void give_orphan_back(struct dispatch *d, const struct suspect *orphan)
{
    struct repair *repair = mq_calloc(1, sizeof *repair);
    store_op_init(&repair->release.op, STORE_RELEASE, d->wall);
    repair->release.op.done = repaired;
    repair->d = d;
    repair->release.id = orphan->id;
    repair->release.token = orphan->token;
    repair->release.kind = RELEASE_GIVE_BACK; /* it may have begun */
    repair->release.message = SLICE("no worker had it any more");
    dispatch_submit(d, &repair->release.op);
}

/* ---- looking ---------------------------------------------------------------------------------------------------------- */

/* No outcome waits, nor did lately: one that was asked again may be under way. */
static bool is_quiet(const struct dispatch *d)
{
    return !d->again && !d->stopping && (d->again_at == 0 || d->now - d->again_at >= NEXT_ROUND_MS);
}

static bool was_seen(const struct buf *seen, const struct suspect *one)
{
    struct slice bytes = buf_bytes(seen);
    for (size_t at = 0; at < bytes.len; at += sizeof *one)
        if (memcmp(bytes.at + at, one, sizeof *one) == 0)
            return true;
    return false;
}

static void look_at(struct dispatch *d, const struct job_view *job)
{
    struct suspect one = {job->id, job->status.token};
    struct worker *worker;
    if (!job->status.held_by_worker || worker_place_of(d, one.id, one.token, &worker))
        return;
    if (was_seen(&d->orphans_before, &one))
        give_orphan_back(d, &one);
    else
        buf_add(&d->orphans_now, &one, sizeof one);
}

static void round_over(struct dispatch *d)
{
    struct buf before = d->orphans_before;
    d->orphans_before = d->orphans_now;
    buf_clear(&before);
    d->orphans_now = before;
    d->orphans_at = d->now + NEXT_ROUND_MS;
}

static void looked(struct store_op *op)
{
    struct look *look = (struct look *)op;
    struct dispatch *d = look->d;
    d->orphans_look = NULL;
    if (!is_quiet(d)) {
        buf_clear(&d->orphans_now);
        buf_clear(&d->orphans_before);
    }
    for (unsigned i = 0; op->code == MQ_OK && is_quiet(d) && i < look->list.count; i++)
        look_at(d, &look->list.jobs[i]);
    struct slice next = op->code == MQ_OK ? look->list.next_cursor : SLICE_EMPTY;
    buf_clear(&d->orphans_cursor);
    buf_add_slice(&d->orphans_cursor, next);
    if (next.len)
        d->orphans_at = d->now + NEXT_PAGE_MS;
    else
        round_over(d);
    d->orphans_looked_at = d->now;
    store_op_release(op);
    free(look);
}

void orphans_tick(struct dispatch *d)
{
    struct slice cursor = buf_bytes(&d->orphans_cursor);
    if (d->orphans_look || d->now < d->orphans_at || d->stopping || !d->pools)
        return;
    struct look *look = mq_calloc(1, sizeof *look);
    store_op_init(&look->list.op, STORE_LIST, d->wall);
    look->list.op.done = looked;
    look->d = d;
    look->list.filter.states = 1u << JOB_RUNNING;
    look->list.limit = look->list.budget = PAGE;
    memcpy(look->cursor, cursor.at, cursor.len);
    look->list.cursor = (struct slice){look->cursor, cursor.len};
    d->orphans_look = look;
    d->orphans_asked_at = d->now;
    dispatch_submit(d, &look->list.op);
}

void orphans_free(struct dispatch *d)
{
    buf_release(&d->orphans_before);
    buf_release(&d->orphans_now);
    buf_release(&d->orphans_cursor);
}

void dispatch_orphans_repaired(struct dispatch *d, unsigned count)
{
    d->stats.orphans_repaired += count;
}
