/* cmd_jobs.c - pages of jobs: JOBS. */
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/jobview.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     1000
#define LOOK_MAX      20000 /* jobs looked at for one page: some tens of milliseconds of a reader thread */

/* Cursors are the store's bytes; in hexadecimal they survive a shell. */
static void reply_cursor(struct reply *reply, struct slice cursor)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * 512]; /* LMDB's keys have at most 511 bytes */
    if (cursor.len == 0 || cursor.len > sizeof text / 2) {
        reply_null(reply);
        return;
    }
    for (size_t i = 0; i < cursor.len; i++) {
        text[2 * i] = digits[(unsigned char)cursor.at[i] >> 4];
        text[2 * i + 1] = digits[(unsigned char)cursor.at[i] & 15];
    }
    reply_bulk(reply, (struct slice){text, cursor.len * 2});
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum mq_code arg_cursor(struct call *call, struct slice *out, struct slice text, struct mq_err *err)
{
    char *bytes = call_memory(call, text.len / 2 + 1);
    if (text.len % 2 || text.len == 0)
        return mq_fail(err, MQ_BADARG, "cursor '%.*s' is not one that JOBS gave", QUOTE_ARG(text));
    for (size_t i = 0; i < text.len; i += 2) {
        int high = nibble(text.at[i]), low = nibble(text.at[i + 1]);
        if (high < 0 || low < 0)
            return mq_fail(err, MQ_BADARG, "cursor '%.*s' is not one that JOBS gave", QUOTE_ARG(text));
        bytes[i / 2] = (char)(high * 16 + low);
    }
    *out = (struct slice){bytes, text.len / 2};
    return MQ_OK;
}

static enum mq_code arg_order(bool *newest_first, struct slice text, struct mq_err *err)
{
    if (!slice_is_word(text, "newest") && !slice_is_word(text, "oldest"))
        return mq_fail(err, MQ_BADARG, "ORDER '%.*s' is neither newest nor oldest", QUOTE_ARG(text));
    *newest_first = slice_is_word(text, "newest");
    return MQ_OK;
}

static enum mq_code jobs_option(struct call *call, struct op_list *op, struct options *options,
                                struct mq_err *err)
{
    bool known;
    int64_t limit = 0;
    enum mq_code code = arg_filter(&op->filter, options, call->now, &known, err);
    if (known || code != MQ_OK)
        return code;
    code = options_value(options, err);
    if (code != MQ_OK)
        return code;
    if (options_is(options, "LIMIT")) {
        code = arg_int(&limit, "LIMIT", options->value, 1, LIMIT_MAX, err);
        op->limit = (unsigned)limit;
        return code;
    }
    if (options_is(options, "ORDER"))
        return arg_order(&op->newest_first, options->value, err);
    if (options_is(options, "CURSOR"))
        return arg_cursor(call, &op->cursor, options->value, err);
    return options_unknown(options, err);
}

enum mq_code cmd_jobs(struct call *call, struct mq_err *err)
{
    struct op_list *op = CALL_OP(call, struct op_list);
    struct options options =
        options_of("JOBS", FILTER_OPTIONS " LIMIT ORDER CURSOR", call->args, call->count);
    op->limit = LIMIT_DEFAULT;
    op->budget = LOOK_MAX;
    op->newest_first = true;
    while (options_next(&options)) {
        enum mq_code code = jobs_option(call, op, &options, err);
        if (code != MQ_OK)
            return code;
    }
    store_op_init(&op->op, STORE_LIST, call->now);
    call->op = &op->op;
    return MQ_OK;
}

void answer_jobs(struct call *call, struct reply *reply)
{
    const struct op_list *op = CALL_OP(call, struct op_list);
    reply_map(reply, 3);
    reply_bulk(reply, SLICE("jobs"));
    reply_array(reply, op->count);
    for (unsigned i = 0; i < op->count; i++) {
        reply_map(reply, JOBVIEW_PAIRS);
        jobview_add(reply, &op->jobs[i]);
    }
    reply_bulk(reply, SLICE("cursor"));
    reply_cursor(reply, op->next_cursor);
    reply_bulk(reply, SLICE("partial"));
    reply_bool(reply, op->next_cursor.len && op->count < op->limit);
}
