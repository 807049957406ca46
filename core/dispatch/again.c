/*
 * What the store refused because the disk is full, and what must not be forgotten: how an attempt ended, and leases that
 * go back. It waits here and is asked again, in the same order, ahead of any sweep; so a job whose work is done is not
 * run a second time because its ACK found no room.
 *
 * Mostly the store refuses all or nothing. But an ACK whose job pushed others is refused like a push, while leases run
 * out as ever: such a job's lease is renewed here, since its worker does not hold it any more. Where even that is refused,
 * no lease is swept until it has been asked once more: a sweep is at best behind it in the same batch.
 */
#include "dispatch/inside.h"

#define AGAIN_LEASE_MS (10 * REST_MS)
#define AGAIN_LOG_MS   60000

static void again_at(struct dispatch *d)
{
    if (d->again_at <= d->now)
        d->again_at = d->now + REST_MS;
}

static bool is_push_too(const struct store_op *op)
{
    return op->verb == STORE_COMPLETE && ((const struct op_complete *)op)->child_count > 0;
}

static void held_on(struct store_op *op)
{
    struct dispatch *d = op->owner;
    d->holds_asked--;
    d->hold_refused |= op->code == MQ_NOSPACE;
    store_op_release(op);
    free(op);
}

static void hold_lease(struct dispatch *d, const struct op_complete *complete)
{
    struct op_extend *extend = mq_calloc(1, sizeof *extend);
    store_op_init(&extend->op, STORE_EXTEND, d->wall);
    extend->op.done = held_on;
    extend->op.owner = d;
    extend->id = complete->id;
    extend->token = complete->token;
    extend->lease_ms = AGAIN_LEASE_MS;
    d->holds_asked++;
    dispatch_submit(d, &extend->op);
}

bool again_may_sweep_leases(const struct dispatch *d)
{
    bool waits = d->holds_asked && !d->holds_asked_now;
    return !waits && !(d->again && d->hold_refused);
}

void again_later(struct dispatch *d, struct store_op *op)
{
    if (d->now >= d->again_log_at) {
        d->again_log_at = d->now + AGAIN_LOG_MS;
        log_event(LOG_WARN, "job.outcome_waits", LOG_STR("code", mq_code_name(op->code)),
                  LOG_STR("message", op->err.text));
    }
    again_at(d);
    if (is_push_too(op))
        hold_lease(d, (const struct op_complete *)op);
    else
        d->rest_until = d->now + REST_MS;
    op->next = NULL;
    *(d->again ? d->again_end : &d->again) = op;
    d->again_end = &op->next;
    d->stats.outcomes_waiting++;
}

void again_renew(struct dispatch *d)
{
    again_at(d);
    d->rest_until = d->now + REST_MS;
    d->renewal_missed = true;
}

void again_tick(struct dispatch *d)
{
    struct store_op *op = d->again, *next;
    d->holds_asked_now = false;
    if (d->now < d->again_at)
        return;
    d->again = NULL;
    d->hold_refused = false;
    d->stats.outcomes_waiting = 0;
    for (; op; op = next) {
        next = op->next;
        store_op_release(op);
        op->now = d->wall;
        dispatch_submit(d, op);
        if (is_push_too(op)) {
            hold_lease(d, (const struct op_complete *)op); /* if it is refused once more */
            d->holds_asked_now = true;
        }
    }
    if (d->renewal_missed)
        watch_jump(d, d->now);
    d->renewal_missed = false;
}

mono_ms again_next(const struct dispatch *d)
{
    return d->again || d->renewal_missed ? d->again_at : MONO_NEVER;
}

void again_free(struct dispatch *d)
{
    struct store_op *op = d->again, *next;
    d->again = NULL;
    for (; op; op = next) {
        next = op->next;
        op->code = mq_fail(&op->err, MQ_INTERNAL,
                           "the server ended before the disk had room for it: the job runs again");
        op->done(op);
    }
}
