/*
 * cmd_pause.c - PAUSE, RESUME, PAUSES: of queues and of job types.
 *
 * `PAUSE TYPE name` has an even number of words, `PAUSE queue` an odd one, since options come in pairs: so a queue may
 * be called "type", too.
 */
#include "job/name.h"
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/peer.h"
#include "protocol/room.h"

static bool is_type(const struct call *call)
{
    return call->count % 2 == 0 && slice_is_word(call->args[0], "TYPE");
}

/* ---- options ---------------------------------------------------------------------------------------------- */

static enum mq_code read_option(struct pause_words *pause, struct options *options, struct mq_err *err)
{
    enum mq_code code = options_value(options, err);
    if (code != MQ_OK)
        return code;
    if (options_is(options, "REASON"))
        return arg_reason(&pause->reason, options->value, PAUSE_REASON_MAX, err);
    if (options_is(options, "FOR"))
        return arg_duration(&pause->for_ms, "FOR", options->value, 1, CENTURY_MS, false, err);
    if (options_is(options, "UNTIL"))
        return time_parse(&pause->until, options->value, err);
    pause->by = options->value;
    return peer_check(options->value, err);
}

static bool is_known(const struct options *options)
{
    return options_is(options, "REASON") || options_is(options, "BY") || options_is(options, "FOR") ||
           options_is(options, "UNTIL");
}

enum mq_code pause_read_words(struct call *call, struct pause_words *words, unsigned from, struct mq_err *err)
{
    struct options options =
        options_of("PAUSE", "REASON BY FOR UNTIL", call->args + from, call->count - from);
    enum mq_code code = MQ_OK;
    while (code == MQ_OK && options_next(&options))
        code = is_known(&options) ? read_option(words, &options, err) : options_unknown(&options, err);
    if (code == MQ_OK && words->for_ms && words->until)
        code = mq_fail(err, MQ_BADARG, "PAUSE: FOR and UNTIL exclude each other");
    return code;
}

/* ---- PAUSE, RESUME ---------------------------------------------------------------------------------------- */

enum mq_code pause_end(const struct pause_words *words, wall_ms now, wall_ms *until, struct mq_err *err)
{
    *until = words->for_ms ? now + words->for_ms : words->until ? words->until : WALL_NEVER;
    if (*until > now)
        return MQ_OK;
    return mq_fail(err, MQ_BADARG, "PAUSE: UNTIL has passed already");
}

/* The end of FOR counts from the moment of the change: in a MULTI, that of EXEC. */
static enum mq_code fill_end(struct call *call, struct mq_err *err)
{
    struct pause_call *pause = CALL_OP(call, struct pause_call);
    wall_ms *until = call->op->verb == STORE_TYPE ? &pause->type.until : &pause->queue.until;
    return pause_end(&pause->words, call->now, until, err);
}

struct slice pause_actor(struct call *call, const struct pause_words *words)
{
    return words->by.len ? words->by : peer_name(call->conn, call_memory(call, ACTOR_BYTES));
}

static enum mq_code change_type(struct call *call, bool resume, struct mq_err *err)
{
    struct op_type *op = &CALL_OP(call, struct pause_call)->type;
    enum mq_code code = name_check("job type", call->args[1], err);
    if (code != MQ_OK)
        return code;
    op->type = call->args[1];
    op->resume = resume;
    op->reason = op->by = SLICE_EMPTY;
    store_op_init(&op->op, STORE_TYPE, call->now);
    call->op = &op->op;
    return MQ_OK;
}

enum mq_code cmd_pause(struct call *call, struct mq_err *err)
{
    struct pause_call *pause = CALL_OP(call, struct pause_call);
    bool type = is_type(call);
    enum mq_code code = pause_read_words(call, &pause->words, type ? 2 : 1, err);
    if (code == MQ_OK)
        code = type ? change_type(call, false, err) : queue_change(call, &pause->queue, QUEUE_PAUSE, err);
    if (code != MQ_OK)
        return code;
    *(type ? &pause->type.reason : &pause->queue.reason) = pause->words.reason;
    *(type ? &pause->type.by : &pause->queue.by) = pause_actor(call, &pause->words);
    call->fill = fill_end;
    return MQ_OK;
}

enum mq_code cmd_resume(struct call *call, struct mq_err *err)
{
    if (is_type(call))
        return change_type(call, true, err);
    if (call->count > 1)
        return mq_fail(err, MQ_BADARG, "RESUME takes a queue, or TYPE and a job type");
    return queue_change(call, &CALL_OP(call, struct pause_call)->queue, QUEUE_RESUME, err);
}

/* ---- PAUSES ----------------------------------------------------------------------------------------------- */

enum mq_code cmd_pauses(struct call *call, struct mq_err *err)
{
    struct queues_call *queues = CALL_OP(call, struct queues_call);
    (void)err;
    store_op_init(&queues->op.op, STORE_QUEUES, call->now);
    call->op = &queues->op.op;
    return MQ_OK;
}

static void add_pause(struct reply *reply, const char *what, struct slice name,
                      const struct pause_view *pause)
{
    reply_map(reply, 6);
    reply_bulk(reply, SLICE("what"));
    reply_text(reply, what);
    reply_bulk(reply, SLICE("name"));
    reply_bulk(reply, name);
    reply_bulk(reply, SLICE("reason"));
    reply_maybe(reply, pause->reason);
    reply_bulk(reply, SLICE("by"));
    reply_maybe(reply, pause->by);
    reply_bulk(reply, SLICE("since"));
    reply_moment(reply, pause->since);
    reply_bulk(reply, SLICE("until"));
    reply_moment(reply, pause->until);
}

void answer_pauses(struct call *call, struct reply *reply)
{
    const struct op_queues *op = &CALL_OP(call, struct queues_call)->op;
    size_t count = op->type_count;
    for (unsigned i = 0; i < op->count; i++)
        count += op->queues[i].pause.on;
    reply_array(reply, count);
    for (unsigned i = 0; i < op->count; i++)
        if (op->queues[i].pause.on)
            add_pause(reply, "queue", op->queues[i].name, &op->queues[i].pause);
    for (unsigned i = 0; i < op->type_count; i++)
        add_pause(reply, "type", op->types[i].type, &op->types[i].pause);
}
