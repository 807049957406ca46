/*
 * cmd_wait.c - WAIT: until jobs have ended.
 *
 * For each id a waiter first, then the job is read: what ends in between is not missed. A waiter that is told reads
 * the job again, for its result. All of it lives in one call, which is freed when no read is under way any more.
 */
#include <ev.h>

#include <stdio.h>

#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"

#define WAIT_DEFAULT_MS (30 * 1000)
#define WAIT_MAX_MS     (3600 * 1000)

struct item {
    struct waiter waiter;
    struct op_get get;
    struct wait *wait;
    bool waiting; /* the waiter is with dispatch */
    bool reading; /* the get is under way */
    bool ended;   /* the get has its end */
};

struct wait {
    struct call *call;
    struct item *items;
    unsigned count, open, reading;
    ev_timer patience;
    int64_t timeout_ms;
    bool over; /* answered, or the client hung up: only reads under way are left */
};

static struct dispatch *dispatch_of(const struct wait *wait)
{
    return wait->call->protocol->dispatch;
}

/* No timer and no waiter from now on. */
static void end_waiting(struct wait *wait)
{
    wait->over = true;
    ev_timer_stop(wait->call->protocol->loop, &wait->patience);
    for (unsigned i = 0; i < wait->count; i++)
        if (wait->items[i].waiting) {
            wait->items[i].waiting = false;
            dispatch_wait_stop(dispatch_of(wait), &wait->items[i].waiter);
        }
}

static void release_wait(struct call *call)
{
    struct wait **wait = CALL_OP(call, struct wait *);
    for (unsigned i = 0; *wait && i < (*wait)->count; i++)
        store_op_release(&(*wait)->items[i].get.op);
}

/* The reply is written now, but the call stays while the store still fills in its reads. */
static void finish_when_read(struct wait *wait)
{
    if (wait->reading == 0)
        call_finish(wait->call);
}

static void fail(struct wait *wait, enum mq_code code, const char *text)
{
    struct buf *said = &wait->call->said;
    if (wait->over)
        return;
    end_waiting(wait);
    reply_error(&(struct reply){said, false}, mq_code_name(code), text);
    finish_when_read(wait);
}

static void read_job(struct item *item);

static void on_told(struct waiter *waiter, enum job_state state)
{
    struct item *item = waiter->owner;
    (void)state; /* the job itself says more */
    item->waiting = false;
    if (!item->reading && !item->ended)
        read_job(item);
}

/* What becomes of it from now on (a person brings it back, or deletes it) is not this WAIT's any more. */
static void has_ended(struct item *item)
{
    item->ended = true;
    if (!item->waiting)
        return;
    item->waiting = false;
    dispatch_wait_stop(dispatch_of(item->wait), &item->waiter);
}

static void on_read(struct store_op *op)
{
    struct item *item = op->owner;
    struct wait *wait = item->wait;
    item->reading = false;
    wait->reading--;
    if (wait->over) {
        finish_when_read(wait);
    } else if (op->code != MQ_OK) {
        fail(wait, op->code, op->err.text);
    } else if (state_is_final(item->get.view.status.state)) {
        has_ended(item);
        if (--wait->open == 0) {
            end_waiting(wait);
            finish_when_read(wait);
        }
    } else if (!item->waiting) { /* told while it was being read, or brought back since: look again */
        read_job(item);
    }
}

static void read_job(struct item *item)
{
    struct wait *wait = item->wait;
    if (!item->waiting) {
        item->waiting = true;
        dispatch_wait(dispatch_of(wait), &item->waiter);
    }
    store_op_release(&item->get.op);
    store_op_init(&item->get.op, STORE_GET, wait->call->protocol->now);
    item->get.id = item->waiter.id;
    item->get.with_history = true;
    item->get.op.owner = item;
    item->get.op.done = on_read;
    item->reading = true;
    wait->reading++;
    dispatch_submit(dispatch_of(wait), &item->get.op);
}

static void on_patience(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct wait *wait = timer->data;
    char text[MQ_ERR_TEXT_BYTES], id[JOB_ID_TEXT_BYTES], after[DURATION_TEXT_BYTES];
    unsigned named = 0;
    (void)loop, (void)events;
    int len = snprintf(text, sizeof text,
                       "after %s %u of %u jobs have not ended:", duration_format(after, wait->timeout_ms),
                       wait->open, wait->count);
    for (unsigned i = 0; i < wait->count && named < 10; i++)
        if (!wait->items[i].ended) {
            len += snprintf(text + len, sizeof text - (size_t)len, " '%s'",
                            id_format(id, wait->items[i].waiter.id));
            named++;
        }
    if (wait->open > named)
        snprintf(text + len, sizeof text - (size_t)len, " and %u more", wait->open - named);
    fail(wait, MQ_TIMEOUT, text);
}

/* "id... [TIMEOUT d]": how many ids there are. */
static enum mq_code wait_timeout(struct call *call, unsigned *ids, int64_t *timeout_ms, struct mq_err *err)
{
    *ids = call->count;
    *timeout_ms = WAIT_DEFAULT_MS;
    if (call->count >= 2 && slice_is_word(call->args[call->count - 2], "TIMEOUT"))
        *ids = call->count - 2;
    else if (slice_is_word(call->args[call->count - 1], "TIMEOUT"))
        return mq_fail(err, MQ_BADARG, "WAIT: 'TIMEOUT' has no value behind it");
    if (*ids == 0)
        return mq_fail(err, MQ_BADARG, "WAIT needs at least one id");
    if (*ids == call->count)
        return MQ_OK;
    return arg_duration(timeout_ms, "TIMEOUT", call->args[call->count - 1], 1, WAIT_MAX_MS, true, err);
}

static enum mq_code make_items(struct call *call, struct wait *wait, struct mq_err *err)
{
    wait->items = call_memory(call, wait->count * sizeof *wait->items);
    memset(wait->items, 0, wait->count * sizeof *wait->items);
    for (unsigned i = 0; i < wait->count; i++) {
        struct item *item = &wait->items[i];
        enum mq_code code = id_parse(&item->waiter.id, call->args[i], err);
        if (code != MQ_OK) {
            wait->count = 0;
            return code;
        }
        item->wait = wait;
        item->waiter.done = on_told;
        item->waiter.owner = item;
    }
    return MQ_OK;
}

enum mq_code cmd_wait(struct call *call, struct mq_err *err)
{
    struct ev_loop *loop = call->protocol->loop;
    unsigned ids;
    int64_t timeout_ms;
    enum mq_code code = wait_timeout(call, &ids, &timeout_ms, err);
    if (code != MQ_OK)
        return code;
    struct wait *wait = call_memory(call, sizeof *wait);
    *wait = (struct wait){.call = call, .count = ids, .open = ids, .timeout_ms = timeout_ms};
    code = make_items(call, wait, err);
    if (code != MQ_OK)
        return code;
    *CALL_OP(call, struct wait *) = wait;
    call->release = release_wait;
    ev_now_update(loop); /* the timeout counts from now, not from when this turn began */
    ev_timer_init(&wait->patience, on_patience, (double)timeout_ms / 1000, 0.);
    wait->patience.data = wait;
    ev_timer_start(loop, &wait->patience);
    for (unsigned i = 0; i < wait->count; i++)
        read_job(&wait->items[i]);
    return MQ_OK;
}

bool abandon_wait(struct call *call)
{
    struct wait *wait = *CALL_OP(call, struct wait *);
    end_waiting(wait);
    return wait->reading == 0;
}

/* Why it did not succeed: what its last attempt said, or who cancelled it why. */
static struct slice reason_of(const struct op_get *get)
{
    if (get->view.status.state == JOB_SUCCEEDED)
        return SLICE_EMPTY;
    if (get->view.status.state == JOB_CANCELLED && get->view.status.note.len)
        return get->view.status.note;
    return get->attempt_count ? get->attempts[get->attempt_count - 1].message : SLICE_EMPTY;
}

void answer_wait(struct call *call, struct reply *reply)
{
    const struct wait *wait = *CALL_OP(call, struct wait *);
    reply_array(reply, wait->count);
    for (unsigned i = 0; i < wait->count; i++) {
        const struct op_get *get = &wait->items[i].get;
        reply_map(reply, 4);
        reply_bulk(reply, SLICE("id"));
        reply_id(reply, get->id);
        reply_bulk(reply, SLICE("state"));
        reply_text(reply, state_name(get->view.status.state));
        reply_bulk(reply, SLICE("result"));
        reply_maybe(reply, get->result);
        reply_bulk(reply, SLICE("error"));
        reply_maybe(reply, reason_of(get));
    }
}
