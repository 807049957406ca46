/* cmd_help.c - COMMAND: the table, for clients and for redis-cli's help. */
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"

/* As Redis counts: with the name, and negative for "at least". */
static int redis_arity(const struct command *command)
{
    int words = strchr(command->name, ' ') ? 2 : 1;
    return command->min == command->max ? command->min + words : -(command->min + words);
}

static void add_info(struct reply *reply, const struct command *command)
{
    static const struct {
        unsigned flag;
        const char *name;
    } flags[] = {
        {CMD_CHANGE, "write"}, {CMD_READ, "readonly"}, {CMD_BLOCKS, "blocking"}, {CMD_STREAM, "fast"}};
    unsigned count = 0;
    for (unsigned i = 0; i < 4; i++)
        count += (command->flags & flags[i].flag) == flags[i].flag;
    reply_array(reply, 10);
    reply_text(reply, command->name);
    reply_int(reply, redis_arity(command));
    reply_array(reply, count);
    for (unsigned i = 0; i < 4; i++)
        if ((command->flags & flags[i].flag) == flags[i].flag)
            reply_simple(reply, flags[i].name);
    for (unsigned i = 0; i < 3; i++) /* first key, last key, step: there are no keys */
        reply_int(reply, 0);
    for (unsigned i = 0; i < 4; i++) /* ACL categories, tips, key specifications, subcommands */
        reply_array(reply, 0);
}

enum mq_code cmd_command_all(struct call *call, struct mq_err *err)
{
    struct reply reply = call_reply(call);
    (void)err;
    reply_array(&reply, command_count);
    for (unsigned i = 0; i < command_count; i++)
        add_info(&reply, &commands[i]);
    call_finish(call);
    return MQ_OK;
}

enum mq_code cmd_command_info(struct call *call, struct mq_err *err)
{
    struct reply reply = call_reply(call);
    if (call->count == 0)
        return cmd_command_all(call, err);
    reply_array(&reply, call->count);
    for (unsigned i = 0; i < call->count; i++) {
        const struct command *command = command_named(call->args[i]);
        if (command)
            add_info(&reply, command);
        else
            reply_null(&reply);
    }
    call_finish(call);
    return MQ_OK;
}

enum mq_code cmd_command_count(struct call *call, struct mq_err *err)
{
    struct reply reply = call_reply(call);
    (void)err;
    reply_int(&reply, command_count);
    call_finish(call);
    return MQ_OK;
}

enum mq_code cmd_command_list(struct call *call, struct mq_err *err)
{
    struct reply reply = call_reply(call);
    (void)err;
    reply_array(&reply, command_count);
    for (unsigned i = 0; i < command_count; i++)
        reply_text(&reply, commands[i].name);
    call_finish(call);
    return MQ_OK;
}

/* redis-cli shows summary, since and group, and the arguments' names behind the command. */
static void add_docs(struct reply *reply, const struct command *command)
{
    reply_text(reply, command->name);
    reply_map(reply, 4);
    reply_text(reply, "summary");
    reply_text(reply, command->summary);
    reply_text(reply, "since");
    reply_text(reply, command->since);
    reply_text(reply, "group");
    reply_text(reply, group_names[command->group]);
    reply_text(reply, "arguments");
    reply_array(reply, *command->args ? 1 : 0);
    if (*command->args) {
        reply_map(reply, 2);
        reply_text(reply, "name");
        reply_text(reply, command->args);
        reply_text(reply, "type");
        reply_text(reply, "string");
    }
}

enum mq_code cmd_command_docs(struct call *call, struct mq_err *err)
{
    struct reply reply = call_reply(call);
    unsigned known = 0;
    (void)err;
    for (unsigned i = 0; i < call->count; i++)
        known += command_named(call->args[i]) != NULL;
    reply_map(&reply, call->count ? known : command_count);
    for (unsigned i = 0; i < call->count; i++)
        if (command_named(call->args[i]))
            add_docs(&reply, command_named(call->args[i]));
    for (unsigned i = 0; call->count == 0 && i < command_count; i++)
        add_docs(&reply, &commands[i]);
    call_finish(call);
    return MQ_OK;
}
