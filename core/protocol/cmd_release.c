/* cmd_release.c - RELEASE: a person takes running jobs from whoever holds them. */
#include <stdio.h>

#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/peer.h"
#include "protocol/room.h"
#include "protocol/where.h"

#define IDS_MAX                                                                                              \
    1000 /* by id in one command; and so many of those that a filter found are named in the reply */
#define SAID_BYTES (ACTOR_BYTES + REASON_MAX_BYTES + 32)

/* What is kept with the broken attempt: "released by ana: it hangs". */
static struct slice release_said(struct call *call)
{
    const struct release_call *release = CALL_OP(call, struct release_call);
    char name[ACTOR_BYTES], *said = call_memory(call, SAID_BYTES);
    struct slice by = release->by.len ? release->by : peer_name(call->conn, name);
    int len = snprintf(said, SAID_BYTES, "released by %.*s%s%.*s", SLICE_ARG(by),
                       release->reason.len ? ": " : "", SLICE_ARG(release->reason));
    return (struct slice){said, (size_t)len};
}

static enum mq_code read_option(struct call *call, struct options *options, struct mq_err *err)
{
    struct release_call *release = CALL_OP(call, struct release_call);
    bool by = options_is(options, "BY");
    if (!by && !options_is(options, "REASON"))
        return options_unknown(options, err);
    enum mq_code code = options_value(options, err);
    if (code != MQ_OK)
        return code;
    if (!by)
        return arg_reason(&release->reason, options->value, REASON_MAX_BYTES, err);
    release->by = options->value;
    return peer_check(options->value, err);
}

static enum mq_code read_options(struct call *call, unsigned from, struct mq_err *err)
{
    struct options options = options_of("RELEASE", "REASON BY", call->args + from, call->count - from);
    enum mq_code code = MQ_OK;
    while (code == MQ_OK && options_next(&options))
        code = read_option(call, &options, err);
    return code;
}

/* ---- by id: each stands alone ----------------------------------------------------------------------------- */

static void on_one_done(struct store_op *op)
{
    struct call *call = op->owner;
    if (--CALL_OP(call, struct release_call)->open == 0)
        call_finish(call);
}

static void free_ones(struct call *call)
{
    struct release_call *release = CALL_OP(call, struct release_call);
    for (unsigned i = 0; i < release->count; i++)
        store_op_release(&release->ones[i].op);
}

static void answer_one(struct reply *reply, const struct op_step *one)
{
    char text[MQ_ERR_TEXT_BYTES + 32];
    bool done = one->op.code == MQ_OK;
    reply_map(reply, 6);
    reply_bulk(reply, SLICE("id"));
    reply_id(reply, one->id);
    reply_bulk(reply, SLICE("released"));
    reply_bool(reply, done);
    reply_bulk(reply, SLICE("state"));
    if (done || one->op.code == MQ_WRONGSTATE)
        reply_text(reply, state_name(one->state));
    else
        reply_null(reply);
    reply_bulk(reply, SLICE("holder"));
    reply_maybe(reply, done ? one->holder : SLICE_EMPTY);
    reply_bulk(reply, SLICE("attempt"));
    if (done)
        reply_int(reply, one->attempt);
    else
        reply_null(reply);
    reply_bulk(reply, SLICE("error"));
    snprintf(text, sizeof text, "%s %s", mq_code_name(one->op.code), one->op.err.text);
    reply_maybe(reply, done ? SLICE_EMPTY : slice_of(text));
}

static void answer_ones(struct call *call, struct reply *reply)
{
    const struct release_call *release = CALL_OP(call, struct release_call);
    reply_array(reply, release->count);
    for (unsigned i = 0; i < release->count; i++)
        answer_one(reply, &release->ones[i]);
}

/* The ids up to the first option. */
static unsigned count_ids(const struct call *call)
{
    unsigned count = 0;
    while (count < call->count && !slice_is_word(call->args[count], "REASON") &&
           !slice_is_word(call->args[count], "BY"))
        count++;
    return count;
}

static enum mq_code run_ids(struct call *call, struct mq_err *err)
{
    struct release_call *release = CALL_OP(call, struct release_call);
    unsigned count = count_ids(call);
    enum mq_code code = read_options(call, count, err);
    if (code == MQ_OK && (count == 0 || count > IDS_MAX))
        code = mq_fail(err, MQ_BADARG,
                       "RELEASE takes 1 to %d ids, or WORKER and a name, or WHERE and a filter", IDS_MAX);
    if (code != MQ_OK)
        return code;
    struct op_step *ones = call_memory(call, count * sizeof *ones);
    for (unsigned i = 0; i < count; i++) {
        ones[i] = (struct op_step){.want_holder = true};
        store_op_init(&ones[i].op, STORE_TAKE_BACK, call->now);
        code = id_parse(&ones[i].id, call->args[i], err);
        if (code != MQ_OK)
            return code;
    }
    release->ones = ones;
    release->count = release->open = count;
    call->release = free_ones;
    call->answer = answer_ones;
    struct slice said = release_said(call);
    for (unsigned i = 0; i < count; i++) {
        ones[i].reason = said;
        ones[i].op.owner = call;
        ones[i].op.done = on_one_done;
        dispatch_submit(call->protocol->dispatch, &ones[i].op);
    }
    return MQ_OK;
}

/* ---- by holder, by filter --------------------------------------------------------------------------------- */

static void start_bulk(struct call *call)
{
    struct bulk *bulk = &CALL_OP(call, struct release_call)->bulk;
    bulk->ids_max = IDS_MAX;
    bulk->reason = release_said(call);
    where_start(call, STORE_TAKE_BACK);
}

static enum mq_code read_worker(struct call *call, struct mq_err *err)
{
    struct job_filter *filter = &CALL_OP(call, struct release_call)->bulk.filter;
    if (call->count < 2)
        return mq_fail(err, MQ_BADARG,
                       "RELEASE WORKER needs a name (WORKERS has those of moonq's own; JOB shows a "
                       "job's holder)");
    filter->states = 1u << JOB_RUNNING;
    enum mq_code code = arg_holder(&filter->holder, call->args[1], err);
    return code == MQ_OK ? read_options(call, 2, err) : code;
}

enum mq_code cmd_release(struct call *call, struct mq_err *err)
{
    enum mq_code code;
    if (slice_is_word(call->args[0], "WORKER"))
        code = read_worker(call, err);
    else if (where_is(call))
        code = where_read(call, STORE_TAKE_BACK, FILTER_OPTIONS " ALL REASON BY", read_option, err);
    else
        return run_ids(call, err);
    if (code == MQ_OK)
        start_bulk(call);
    return code;
}
