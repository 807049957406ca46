/* cmd_cron.c - CRON SET, GET, DELETE, PAUSE, RESUME, RUN, NEXT, HISTORY; SCHEDULES. */
#include <stdlib.h>

#include "job/name.h"
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"

#define ROWS_DEFAULT 100
#define ROWS_MAX     1000
#define NEXT_DEFAULT 10

static void free_definition(struct call *call)
{
    free(CALL_OP(call, struct cron_call)->definition);
}

/* ---- changes ---------------------------------------------------------------------------------------------- */

static enum mq_code fill(struct call *call, struct mq_err *err)
{
    struct op_schedule *op = &CALL_OP(call, struct cron_call)->op;
    op->op.now = call->now;
    return dispatch_schedule_fill(call->protocol->dispatch, op, err);
}

static enum mq_code begin_change(struct call *call, int change, struct mq_err *err)
{
    struct op_schedule *op = &CALL_OP(call, struct cron_call)->op;
    enum mq_code code = name_check("schedule", call->args[0], err);
    if (code != MQ_OK)
        return code;
    store_op_init(&op->op, STORE_SCHEDULE, call->now);
    op->name = call->args[0];
    op->change = (unsigned)change;
    op->source = SCHEDULE_OF_COMMAND;
    op->definition = op->reason = op->by = SLICE_EMPTY;
    call->op = &op->op;
    call->fill = fill;
    return MQ_OK;
}

static enum mq_code set_text(json_t *definition, const char *key, struct slice text, struct mq_err *err)
{
    json_t *value = json_stringn(text.at, text.len);
    if (!value)
        return mq_fail(err, MQ_BADARG, "%s is not UTF-8", key);
    json_object_set_new(definition, key, value);
    return MQ_OK;
}

static enum mq_code set_json(json_t *definition, const char *key, struct slice text, struct mq_err *err)
{
    json_error_t why;
    json_t *value = json_loadb(text.at, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!value)
        return mq_fail(err, MQ_BADARG, "%s is not JSON (%.120s): '%.*s'", key, why.text, QUOTE_ARG(text));
    json_object_set_new(definition, key, value);
    return MQ_OK;
}

static enum mq_code set_tags(json_t *definition, struct slice text, struct mq_err *err)
{
    json_t *tags = json_array();
    json_object_set_new(definition, "tags", tags);
    while (text.len) {
        const char *comma = memchr(text.at, ',', text.len);
        size_t len = comma ? (size_t)(comma - text.at) : text.len;
        if (json_array_append_new(tags, json_stringn(text.at, len)) != 0)
            return mq_fail(err, MQ_BADARG, "tags are not UTF-8");
        len += comma ? 1 : 0;
        text.at += len;
        text.len -= len;
    }
    return MQ_OK;
}

/* An option's name is the key of schedules.lua in capitals; which there are, dispatch knows. */
static enum mq_code set_option(json_t *definition, const struct options *options, struct mq_err *err)
{
    char key[32];
    if (options->name.len >= sizeof key)
        return options_unknown(options, err);
    for (size_t i = 0; i < options->name.len; i++) {
        char c = options->name.at[i];
        key[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    key[options->name.len] = '\0';
    if (strcmp(key, "tags") == 0)
        return set_tags(definition, options->value, err);
    if (strcmp(key, "meta") == 0)
        return set_json(definition, key, options->value, err);
    if (strcmp(key, "cron") == 0 || strcmp(key, "type") == 0 || strcmp(key, "args") == 0 ||
        strcmp(key, "args_function") == 0)
        return options_unknown(options, err);
    return set_text(definition, key, options->value, err);
}

static enum mq_code read_definition(struct call *call, json_t *definition, struct mq_err *err)
{
    struct options options =
        options_of("CRON SET",
                   "TZ START END MAX JITTER CATCH_UP WITHIN MOST OVERLAP DAYS DST_GAP "
                   "DST_OVERLAP LEDGER PAUSED QUEUE PRIORITY ATTEMPTS TIMEOUT LEASE "
                   "EXPIRES KEEP UNIQUE UNIQUE_BY UNIQUE_FOR UNIQUE_IN CONFLICT TAGS META",
                   call->args + 4, call->count - 4);
    enum mq_code code = set_text(definition, "cron", call->args[1], err);
    if (code == MQ_OK)
        code = set_text(definition, "type", call->args[2], err);
    if (code == MQ_OK)
        code = set_json(definition, "args", call->args[3], err);
    while (code == MQ_OK && options_next(&options)) {
        code = options_value(&options, err);
        if (code == MQ_OK)
            code = set_option(definition, &options, err);
    }
    return code;
}

enum mq_code cmd_cron_set(struct call *call, struct mq_err *err)
{
    struct cron_call *cron = CALL_OP(call, struct cron_call);
    enum mq_code code = begin_change(call, SCHEDULE_SET, err);
    if (code != MQ_OK)
        return code;
    json_t *definition = json_object();
    call->release = free_definition;
    code = read_definition(call, definition, err);
    if (code == MQ_OK) {
        cron->definition = json_dumps(definition, JSON_COMPACT | JSON_SORT_KEYS);
        cron->op.definition = slice_of(cron->definition);
    }
    json_decref(definition);
    return code;
}

enum mq_code cmd_cron_delete(struct call *call, struct mq_err *err)
{
    bool ledger = call->count == 2;
    if (ledger && !slice_is_word(call->args[1], "LEDGER"))
        return mq_fail(err, MQ_BADARG, "CRON DELETE: '%.*s' is not LEDGER", QUOTE_ARG(call->args[1]));
    return begin_change(call, ledger ? SCHEDULE_ERASE : SCHEDULE_END, err);
}

static enum mq_code fill_pause(struct call *call, struct mq_err *err)
{
    struct cron_call *cron = CALL_OP(call, struct cron_call);
    enum mq_code code = pause_end(&cron->words, call->now, &cron->op.until, err);
    return code == MQ_OK ? fill(call, err) : code;
}

enum mq_code cmd_cron_pause(struct call *call, struct mq_err *err)
{
    struct cron_call *cron = CALL_OP(call, struct cron_call);
    enum mq_code code = pause_read_words(call, &cron->words, 1, err);
    if (code == MQ_OK)
        code = begin_change(call, SCHEDULE_PAUSE, err);
    if (code != MQ_OK)
        return code;
    cron->op.reason = cron->words.reason.at ? cron->words.reason : SLICE_EMPTY;
    cron->op.by = pause_actor(call, &cron->words);
    call->fill = fill_pause;
    return MQ_OK;
}

enum mq_code cmd_cron_resume(struct call *call, struct mq_err *err)
{
    return begin_change(call, SCHEDULE_RESUME, err);
}

/* ---- one entry -------------------------------------------------------------------------------------------- */

static const char *state_of(struct dispatch *d, const struct schedule_view *view, const char *trouble)
{
    if (view->ended)
        return "ended";
    if (trouble)
        return "broken";
    if (view->pause.on || dispatch_schedule_is_set_paused(d, view->name))
        return "paused";
    return dispatch_schedule_is_over(d, view) ? "done" : "active";
}

static void add_counts(struct reply *reply, const struct schedule_view *view)
{
    reply_bulk(reply, SLICE("counts"));
    reply_map(reply, TICK_OUTCOMES - 1);
    for (int i = 1; i < TICK_OUTCOMES; i++) {
        reply_text(reply, tick_outcome_name((enum tick_outcome)i));
        reply_int(reply, (int64_t)view->counts[i]);
    }
}

static void add_entry(struct call *call, struct reply *reply, const struct schedule_view *view)
{
    struct dispatch *d = call->protocol->dispatch;
    const char *trouble = dispatch_schedule_trouble(d, view->name);
    reply_map(reply, 14);
    reply_bulk(reply, SLICE("name"));
    reply_bulk(reply, view->name);
    reply_bulk(reply, SLICE("definition"));
    reply_bulk(reply, view->definition);
    reply_bulk(reply, SLICE("source"));
    reply_text(reply, view->source == SCHEDULE_OF_FILE ? "file" : "command");
    reply_bulk(reply, SLICE("state"));
    reply_text(reply, state_of(d, view, trouble));
    reply_bulk(reply, SLICE("trouble"));
    reply_maybe(reply, trouble ? slice_of(trouble) : SLICE_EMPTY);
    reply_bulk(reply, SLICE("next"));
    reply_moment(reply, view->planned);
    reply_bulk(reply, SLICE("last"));
    reply_moment(reply, view->last);
    reply_bulk(reply, SLICE("job"));
    if (view->job)
        reply_id(reply, view->job);
    else
        reply_null(reply);
    reply_bulk(reply, SLICE("since"));
    reply_moment(reply, view->since);
    reply_bulk(reply, SLICE("fired"));
    reply_int(reply, (int64_t)view->fired);
    reply_bulk(reply, SLICE("reason"));
    reply_maybe(reply, view->pause.reason);
    reply_bulk(reply, SLICE("by"));
    reply_maybe(reply, view->pause.by);
    reply_bulk(reply, SLICE("until"));
    reply_moment(reply, view->pause.on ? view->pause.until : WALL_NEVER);
    add_counts(reply, view);
}

void answer_cron_entry(struct call *call, struct reply *reply)
{
    add_entry(call, reply, &CALL_OP(call, struct cron_call)->op.view);
}

enum mq_code cmd_cron_get(struct call *call, struct mq_err *err)
{
    struct op_schedules *op = &CALL_OP(call, struct cron_call)->look;
    enum mq_code code = name_check("schedule", call->args[0], err);
    if (code != MQ_OK)
        return code;
    store_op_init(&op->op, STORE_SCHEDULES, call->now);
    op->name = call->args[0];
    call->op = &op->op;
    return MQ_OK;
}

void answer_cron_get(struct call *call, struct reply *reply)
{
    add_entry(call, reply, &CALL_OP(call, struct cron_call)->look.schedules[0]);
}

/* ---- SCHEDULES -------------------------------------------------------------------------------------------- */

static enum mq_code read_limit(struct options *options, unsigned *limit, struct mq_err *err)
{
    int64_t number = 0;
    enum mq_code code = arg_int(&number, "LIMIT", options->value, 1, ROWS_MAX, err);
    *limit = (unsigned)number;
    return code;
}

enum mq_code cmd_schedules(struct call *call, struct mq_err *err)
{
    struct cron_call *cron = CALL_OP(call, struct cron_call);
    struct op_schedules *op = &cron->look;
    struct options options = options_of("SCHEDULES", "AFTER LIMIT ENDED", call->args, call->count);
    enum mq_code code = MQ_OK;
    op->limit = ROWS_DEFAULT;
    op->name = op->after = SLICE_EMPTY;
    while (code == MQ_OK && options_next(&options)) {
        if (options_is(&options, "ENDED")) {
            cron->words.until = 1;
            continue;
        }
        bool after = options_is(&options, "AFTER");
        if (!after && !options_is(&options, "LIMIT"))
            return options_unknown(&options, err);
        code = options_value(&options, err);
        if (code == MQ_OK && !after)
            code = read_limit(&options, &op->limit, err);
        else if (code == MQ_OK)
            op->after = options.value;
    }
    store_op_init(&op->op, STORE_SCHEDULES, call->now);
    call->op = &op->op;
    return code;
}

static void add_broken(struct reply *reply, struct slice name, const char *why)
{
    reply_map(reply, 4);
    reply_bulk(reply, SLICE("name"));
    reply_bulk(reply, name);
    reply_bulk(reply, SLICE("source"));
    reply_text(reply, "file");
    reply_bulk(reply, SLICE("state"));
    reply_text(reply, "broken");
    reply_bulk(reply, SLICE("trouble"));
    reply_text(reply, why);
}

void answer_schedules(struct call *call, struct reply *reply)
{
    const struct cron_call *cron = CALL_OP(call, struct cron_call);
    const struct op_schedules *op = &cron->look;
    struct dispatch *d = call->protocol->dispatch;
    bool with_ended = cron->words.until != 0;
    unsigned shown = 0, broken = 0;
    struct slice name;
    const char *why;
    for (unsigned i = 0; i < op->count; i++)
        shown += with_ended || !op->schedules[i].ended;
    while (!op->more && dispatch_schedule_broken(d, broken, &name, &why))
        broken++;
    reply_map(reply, 2);
    reply_bulk(reply, SLICE("schedules"));
    reply_array(reply, shown + broken);
    for (unsigned i = 0; i < op->count; i++)
        if (with_ended || !op->schedules[i].ended)
            add_entry(call, reply, &op->schedules[i]);
    for (unsigned i = 0; i < broken && dispatch_schedule_broken(d, i, &name, &why); i++)
        add_broken(reply, name, why);
    reply_bulk(reply, SLICE("after"));
    reply_maybe(reply, op->more && op->count ? op->schedules[op->count - 1].name : SLICE_EMPTY);
}

/* ---- RUN -------------------------------------------------------------------------------------------------- */

static void run_done(struct schedule_run *run)
{
    struct call *call = run->owner;
    if (run->code == MQ_OK)
        call_finish(call);
    else
        call_fail(call, run->code, run->err.text);
}

enum mq_code cmd_cron_run(struct call *call, struct mq_err *err)
{
    struct schedule_run *run = &CALL_OP(call, struct cron_call)->run;
    enum mq_code code = name_check("schedule", call->args[0], err);
    if (code != MQ_OK)
        return code;
    *run = (struct schedule_run){.name = call->args[0], .done = run_done, .owner = call};
    return dispatch_schedule_run(call->protocol->dispatch, run, err);
}

void answer_cron_run(struct call *call, struct reply *reply)
{
    reply_id(reply, CALL_OP(call, struct cron_call)->run.id);
}

/* ---- NEXT ------------------------------------------------------------------------------------------------- */

enum mq_code cmd_cron_next(struct call *call, struct mq_err *err)
{
    int64_t wanted = NEXT_DEFAULT;
    struct options options = options_of("CRON NEXT", "COUNT", call->args + 1, call->count - 1);
    enum mq_code code = name_check("schedule", call->args[0], err);
    while (code == MQ_OK && options_next(&options)) {
        if (!options_is(&options, "COUNT"))
            return options_unknown(&options, err);
        code = options_value(&options, err);
        if (code == MQ_OK)
            code = arg_int(&wanted, "COUNT", options.value, 1, SCHEDULE_NEXT_MAX, err);
    }
    if (code != MQ_OK)
        return code;
    unsigned count = (unsigned)wanted;
    wall_ms *moments = call_memory(call, count * sizeof *moments);
    code = dispatch_schedule_next(call->protocol->dispatch, call->args[0], moments, &count, err);
    if (code != MQ_OK)
        return code;
    struct reply reply = call_reply(call);
    reply_array(&reply, count);
    for (unsigned i = 0; i < count; i++)
        reply_int(&reply, moments[i]);
    call_finish(call);
    return MQ_OK;
}

/* ---- HISTORY ---------------------------------------------------------------------------------------------- */

enum mq_code cmd_cron_history(struct call *call, struct mq_err *err)
{
    struct op_ticks *op = &CALL_OP(call, struct cron_call)->ticks;
    struct options options = options_of("CRON HISTORY", "BEFORE LIMIT", call->args + 1, call->count - 1);
    enum mq_code code = name_check("schedule", call->args[0], err);
    int64_t before = 0;
    op->limit = ROWS_DEFAULT;
    op->name = call->args[0];
    while (code == MQ_OK && options_next(&options)) {
        bool is_before = options_is(&options, "BEFORE");
        if (!is_before && !options_is(&options, "LIMIT"))
            return options_unknown(&options, err);
        code = options_value(&options, err);
        if (code == MQ_OK)
            code = is_before ? arg_int(&before, "BEFORE", options.value, 1, INT64_MAX, err)
                             : read_limit(&options, &op->limit, err);
    }
    op->before = (uint64_t)before;
    store_op_init(&op->op, STORE_TICKS, call->now);
    call->op = &op->op;
    return code;
}

static void add_tick(struct reply *reply, const struct tick_row *row)
{
    reply_map(reply, 9);
    reply_bulk(reply, SLICE("row"));
    reply_int(reply, (int64_t)row->no);
    reply_bulk(reply, SLICE("outcome"));
    reply_text(reply, tick_outcome_name(row->outcome));
    reply_bulk(reply, SLICE("planned"));
    reply_moment(reply, row->planned);
    reply_bulk(reply, SLICE("until"));
    reply_moment(reply, row->until);
    reply_bulk(reply, SLICE("count"));
    reply_int(reply, row->count);
    reply_bulk(reply, SLICE("more"));
    reply_bool(reply, row->more);
    reply_bulk(reply, SLICE("at"));
    reply_moment(reply, row->at);
    reply_bulk(reply, SLICE("job"));
    if (row->job)
        reply_id(reply, row->job);
    else
        reply_null(reply);
    reply_bulk(reply, SLICE("note"));
    reply_maybe(reply, row->note);
}

void answer_cron_history(struct call *call, struct reply *reply)
{
    const struct op_ticks *op = &CALL_OP(call, struct cron_call)->ticks;
    reply_map(reply, 2);
    reply_bulk(reply, SLICE("ticks"));
    reply_array(reply, op->count);
    for (unsigned i = 0; i < op->count; i++)
        add_tick(reply, &op->rows[i]);
    reply_bulk(reply, SLICE("before"));
    if (op->more && op->count)
        reply_int(reply, (int64_t)op->rows[op->count - 1].no);
    else
        reply_null(reply);
}
