/* cmd_consumer.c - for consumers in other languages: FETCH, ACK, NACK, EXTEND, PROGRESS. */
#include <stdio.h>
#include <stdlib.h>

#include "job/backoff.h"
#include "job/name.h"
#include "job/record.h"
#include "base/log.h"
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"

#define FETCH_COUNT_MAX 1000
#define FETCH_BLOCK_MAX (5 * 60 * 1000) /* longer, and nobody can tell it from a dead connection */

/* ---- FETCH ------------------------------------------------------------------------------------------------ */

static void add_job(struct reply *reply, const struct leased_job *job, const struct job_spec *spec)
{
    reply_map(reply, 11);
    reply_bulk(reply, SLICE("id"));
    reply_id(reply, job->id);
    reply_bulk(reply, SLICE("token"));
    reply_int(reply, (int64_t)job->token);
    reply_bulk(reply, SLICE("type"));
    reply_bulk(reply, spec->type);
    reply_bulk(reply, SLICE("queue"));
    reply_bulk(reply, spec->queue);
    reply_bulk(reply, SLICE("payload"));
    reply_bulk(reply, spec->payload);
    reply_bulk(reply, SLICE("attempt"));
    reply_int(reply, job->attempt);
    reply_bulk(reply, SLICE("max_attempts"));
    reply_int(reply, spec->max_attempts);
    reply_bulk(reply, SLICE("crashes"));
    reply_int(reply, job->crashes);
    reply_bulk(reply, SLICE("deadline"));
    reply_moment(reply, job->deadline);
    reply_bulk(reply, SLICE("meta"));
    reply_maybe(reply, spec->meta);
    reply_bulk(reply, SLICE("tags"));
    reply_tags(reply, spec->tags);
}

/* A record that cannot be read: the store would have moved it aside, so this is a bug that hurts one job only. */
static bool readable(const struct leased_job *job, struct job_spec *spec)
{
    struct mq_err err;
    char id[JOB_ID_TEXT_BYTES];
    if (record_read_spec(spec, job->record, &err) == MQ_OK)
        return true;
    log_event(LOG_ERROR, "fetch.unreadable", LOG_STR("id", id_format(id, job->id)),
              LOG_STR("error", err.text));
    return false;
}

static void on_fetched(struct fetch *fetch, const struct op_lease *lease)
{
    struct call *call = fetch->owner;
    struct job_spec spec;
    unsigned good = 0;
    if (lease->op.code != MQ_OK) {
        call_fail(call, lease->op.code, lease->op.err.text);
        return;
    }
    for (unsigned i = 0; i < lease->count; i++)
        good += readable(&lease->jobs[i], &spec);
    struct reply reply = call_reply(call);
    reply_array(&reply, good);
    for (unsigned i = 0; i < lease->count; i++)
        if (record_read_spec(&spec, lease->jobs[i].record, NULL) == MQ_OK)
            add_job(&reply, &lease->jobs[i], &spec);
    call_finish(call);
}

/* The names up to the first option. */
static unsigned queue_names(struct call *call)
{
    unsigned count = 1;
    while (count < call->count && !slice_is_word(call->args[count], "COUNT") &&
           !slice_is_word(call->args[count], "BLOCK") && !slice_is_word(call->args[count], "LEASE"))
        count++;
    return count;
}

static enum mq_code fetch_option(struct fetch *fetch, struct options *options, struct mq_err *err)
{
    int64_t value = 0;
    enum mq_code code = options_value(options, err);
    if (code != MQ_OK)
        return code;
    if (options_is(options, "COUNT")) {
        code = arg_int(&value, "COUNT", options->value, 1, FETCH_COUNT_MAX, err);
        fetch->count = (unsigned)value;
    } else if (options_is(options, "BLOCK")) {
        code = arg_duration(&value, "BLOCK", options->value, 0, FETCH_BLOCK_MAX, true, err);
        fetch->give_up = value ? clock_mono() + value : 0;
    } else if (options_is(options, "LEASE")) {
        code = arg_duration(&value, "LEASE", options->value, 1, LEASE_MAX_MS, false, err);
        fetch->lease_ms = (uint32_t)value;
    } else {
        return options_unknown(options, err);
    }
    return code;
}

enum mq_code cmd_fetch(struct call *call, struct mq_err *err)
{
    struct fetch_call *f = CALL_OP(call, struct fetch_call);
    struct fetch *fetch = &f->fetch;
    char name[CONN_NAME_BYTES];
    enum mq_code code = MQ_OK;
    unsigned names = queue_names(call);
    struct options options =
        options_of("FETCH", "COUNT BLOCK LEASE", call->args + names, call->count - names);
    fetch->count = 1;
    for (unsigned i = 0; i < names && code == MQ_OK; i++)
        code = name_check("queue", call->args[i], err);
    while (code == MQ_OK && options_next(&options))
        code = fetch_option(fetch, &options, err);
    if (code != MQ_OK)
        return code;
    struct slice *queues = call_memory(call, names * sizeof *queues);
    memcpy(queues, call->args, names * sizeof *queues);
    snprintf(f->holder, sizeof f->holder, "%.*s", SLICE_ARG(conn_name(call->conn, name)));
    fetch->queues = queues;
    fetch->queue_count = names;
    fetch->holder = slice_of(f->holder);
    fetch->done = on_fetched;
    fetch->owner = call;
    dispatch_fetch(call->protocol->dispatch, fetch);
    return MQ_OK;
}

bool abandon_fetch(struct call *call)
{
    dispatch_fetch_abandon(call->protocol->dispatch, &CALL_OP(call, struct fetch_call)->fetch);
    return true;
}

/* ---- ACK -------------------------------------------------------------------------------------------------- */

enum mq_code cmd_ack(struct call *call, struct mq_err *err)
{
    struct op_complete *op = CALL_OP(call, struct op_complete);
    enum mq_code code = id_parse(&op->id, call->args[0], err);
    if (code == MQ_OK)
        code = arg_token(&op->token, call->args[1], err);
    if (code != MQ_OK)
        return code;
    op->result = call->count > 2 ? call->args[2] : SLICE_EMPTY;
    store_op_init(&op->op, STORE_COMPLETE, call->now);
    call->op = &op->op;
    return MQ_OK;
}

void answer_ok(struct call *call, struct reply *reply)
{
    (void)call;
    reply_ok(reply);
}

/* ---- NACK ------------------------------------------------------------------------------------------------- */

static void on_nack_looked(struct store_op *op)
{
    struct call *call = op->owner;
    struct nack_call *nack = CALL_OP(call, struct nack_call);
    enum mq_code code = op->code;
    struct mq_err err = op->err;
    nack->fail.run_at = call->now + backoff_default_ms(nack->get.view.status.attempt, (uint32_t)random());
    store_op_release(op);
    call->op = &nack->fail.op;
    nack->fail.op.owner = call;
    nack->fail.op.done = call_op_done;
    if (code != MQ_OK)
        call_fail(call, code, err.text);
    else /* also without a client: it was asked for */
        dispatch_submit(call->protocol->dispatch, call->op);
}

/* Nobody said when to try again: the default policy does, and it counts attempts, so the job is read first. */
static void look_first(struct call *call)
{
    struct nack_call *nack = CALL_OP(call, struct nack_call);
    store_op_init(&nack->get.op, STORE_GET, call->now);
    nack->get.id = nack->fail.id;
    nack->get.op.done = on_nack_looked;
    call->op = &nack->get.op;
    call_hold(call);
}

static enum mq_code nack_option(struct call *call, struct op_fail *fail, struct mq_err *err)
{
    struct options options = options_of("NACK", "DELAY DEAD", call->args + 3, call->count - 3);
    int64_t delay = 0;
    options_next(&options);
    if (options_is(&options, "DEAD") && options.left == 0) {
        fail->verdict = FAIL_DEAD;
        return MQ_OK;
    }
    if (!options_is(&options, "DELAY"))
        return options_unknown(&options, err);
    enum mq_code code = options_value(&options, err);
    if (code == MQ_OK)
        code = arg_duration(&delay, "DELAY", options.value, 0, CENTURY_MS, false, err);
    fail->run_at = call->now + delay;
    return code;
}

#define MESSAGE_MAX_BYTES 4096 /* as of a handler's error; kept with each attempt */

enum mq_code cmd_nack(struct call *call, struct mq_err *err)
{
    struct op_fail *fail = &CALL_OP(call, struct nack_call)->fail;
    enum mq_code code = id_parse(&fail->id, call->args[0], err);
    if (code == MQ_OK)
        code = arg_token(&fail->token, call->args[1], err);
    fail->verdict = FAIL_RETRY;
    if (code == MQ_OK && call->count > 3)
        code = nack_option(call, fail, err);
    if (code != MQ_OK)
        return code;
    fail->code = SLICE("NACK");
    fail->message = slice_cut(call->args[2], MESSAGE_MAX_BYTES);
    fail->traceback = SLICE_EMPTY;
    store_op_init(&fail->op, STORE_FAIL, call->now);
    call->op = &fail->op;
    if (call->count > 3)
        return MQ_OK;
    if (call->queued)
        return mq_fail(
            err, MQ_BADARG,
            "NACK between MULTI and EXEC needs DELAY or DEAD (the default delay has to read the job)");
    look_first(call);
    return MQ_OK;
}

void answer_nack(struct call *call, struct reply *reply)
{
    const struct op_fail *fail = &CALL_OP(call, struct nack_call)->fail;
    reply_map(reply, 3);
    reply_bulk(reply, SLICE("state"));
    reply_text(reply, state_name(fail->state));
    reply_bulk(reply, SLICE("attempt"));
    reply_int(reply, fail->attempt);
    reply_bulk(reply, SLICE("run_at"));
    if (fail->state == JOB_RETRYING)
        reply_moment(reply, fail->run_at);
    else
        reply_null(reply);
}

/* ---- EXTEND, PROGRESS ------------------------------------------------------------------------------------- */

enum mq_code cmd_extend(struct call *call, struct mq_err *err)
{
    struct op_extend *op = CALL_OP(call, struct op_extend);
    int64_t lease_ms = 0;
    enum mq_code code = id_parse(&op->id, call->args[0], err);
    if (code == MQ_OK)
        code = arg_token(&op->token, call->args[1], err);
    if (code == MQ_OK)
        code = arg_duration(&lease_ms, "duration", call->args[2], 1, LEASE_MAX_MS, false, err);
    if (code != MQ_OK)
        return code;
    op->lease_ms = (uint32_t)lease_ms;
    store_op_init(&op->op, STORE_EXTEND, call->now);
    call->op = &op->op;
    return MQ_OK;
}

void answer_extend(struct call *call, struct reply *reply)
{
    const struct op_extend *op = CALL_OP(call, struct op_extend);
    reply_map(reply, 3);
    reply_bulk(reply, SLICE("deadline"));
    reply_moment(reply, op->deadline);
    reply_bulk(reply, SLICE("cancelling"));
    reply_bool(reply, op->cancelling);
    reply_bulk(reply, SLICE("overdue"));
    reply_bool(reply, op->overdue);
}

static enum mq_code arg_fraction(float *out, struct slice text, struct mq_err *err)
{
    char copy[32], *end;
    snprintf(copy, sizeof copy, "%.*s", (int)(text.len > 31 ? 31 : text.len), text.at);
    double value = strtod(copy, &end);
    if (text.len == 0 || text.len > 31 || end != copy + text.len || !(value >= 0 && value <= 1))
        return mq_fail(err, MQ_BADARG, "fraction '%.*s' is not a number from 0 to 1", QUOTE_ARG(text));
    *out = (float)value;
    return MQ_OK;
}

#define NOTE_MAX_BYTES 1024 /* it is kept in the record that changes at every step */

enum mq_code cmd_progress(struct call *call, struct mq_err *err)
{
    struct op_note *op = CALL_OP(call, struct op_note);
    enum mq_code code = id_parse(&op->id, call->args[0], err);
    if (code == MQ_OK)
        code = arg_token(&op->token, call->args[1], err);
    if (code == MQ_OK)
        code = arg_fraction(&op->progress, call->args[2], err);
    if (code != MQ_OK)
        return code;
    op->text = call->count > 3 ? call->args[3] : SLICE_EMPTY;
    op->log_line = SLICE_EMPTY;
    if (op->text.len > NOTE_MAX_BYTES)
        return mq_fail(err, MQ_TOOBIG, "the note has %zu bytes, the limit is %d", op->text.len,
                       NOTE_MAX_BYTES);
    store_op_init(&op->op, STORE_NOTE, call->now);
    call->op = &op->op;
    return MQ_OK;
}

void answer_progress(struct call *call, struct reply *reply)
{
    reply_map(reply, 1);
    reply_bulk(reply, SLICE("cancelling"));
    reply_bool(reply, CALL_OP(call, struct op_note)->cancelling);
}
