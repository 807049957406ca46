/* cmd_server.c - the server itself: RELOAD, CONFIG, SHUTDOWN. */
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"

static void on_reloaded(struct control_answer *answer, enum mq_code code, const char *text)
{
    struct call *call = answer->owner;
    if (code != MQ_OK) {
        call_fail(call, code, text);
        return;
    }
    struct reply reply = call_reply(call);
    reply_simple(&reply, text && *text ? text : "OK");
    call_finish(call);
}

/* The answer comes also when the client has hung up meanwhile: the call lives until then. */
enum mq_code cmd_reload(struct call *call, struct mq_err *err)
{
    struct control *control = &call->protocol->control;
    struct control_answer *answer = &CALL_OP(call, struct reload_call)->answer;
    (void)err;
    answer->done = on_reloaded;
    answer->owner = call;
    control->reload(control->owner, answer);
    return MQ_OK;
}

enum mq_code cmd_config_get(struct call *call, struct mq_err *err)
{
    struct control *control = &call->protocol->control;
    struct reply reply = call_reply(call);
    struct config_row row;
    unsigned count = 0;
    (void)err;
    for (unsigned i = 0; control->config_row(control->owner, i, &row); i++)
        count += glob_matches(call->args[0], slice_of(row.name));
    reply_map(&reply, count);
    for (unsigned i = 0; control->config_row(control->owner, i, &row); i++)
        if (glob_matches(call->args[0], slice_of(row.name))) {
            reply_text(&reply, row.name);
            reply_text(&reply, row.value);
        }
    call_finish(call);
    return MQ_OK;
}

enum mq_code cmd_config_set(struct call *call, struct mq_err *err)
{
    struct control *control = &call->protocol->control;
    enum mq_code code = control->config_set(control->owner, call->args[0], call->args[1], err);
    if (code != MQ_OK)
        return code;
    struct reply reply = call_reply(call);
    reply_ok(&reply);
    call_finish(call);
    return MQ_OK;
}

enum mq_code cmd_shutdown(struct call *call, struct mq_err *err)
{
    struct control *control = &call->protocol->control;
    bool now = call->count && slice_is_word(call->args[0], "NOW");
    if (call->count && !now)
        return mq_fail(err, MQ_BADARG, "SHUTDOWN: unknown option '%.*s' (there is NOW)",
                       QUOTE_ARG(call->args[0]));
    struct reply reply = call_reply(call);
    reply_ok(&reply); /* that it stops; connections stay until it has */
    call_finish(call);
    control->shutdown(control->owner, now);
    return MQ_OK;
}
