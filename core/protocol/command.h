/*
 * command.h - the one table of commands, and what is made of it: lookup, arity, help, COMMAND, docs/protocol.md.
 *
 * To add a command: a row in command.c, and its function in the cmd_ file of its group.
 */
#ifndef MOONQ_PROTOCOL_COMMAND_H
#define MOONQ_PROTOCOL_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct call;
struct reply;

/* Whom a command is for; docs and COMMAND DOCS group by it. */
enum command_group {
    GROUP_PRODUCER,
    GROUP_CONSUMER,
    GROUP_INSPECT,
    GROUP_CONTROL,
    GROUP_HABIT, /* what Redis clients send by habit */
    GROUPS,
};
extern const char *const group_names[GROUPS];

enum command_flags {
    CMD_CHANGE = 1 << 0, /* changes jobs or queues */
    CMD_WAITS = 1 << 1,  /* starts when everything before it, on its connection, is answered */
    CMD_HOLDS = 1 << 2,  /* what follows on its connection starts when it is answered */
    CMD_READ = CMD_WAITS | CMD_HOLDS,
    CMD_MULTI = 1 << 3,   /* may stand between MULTI and EXEC */
    CMD_AT_ONCE = 1 << 4, /* is carried out between MULTI and EXEC too, not queued: EXEC, DISCARD, QUIT ... */
    CMD_STREAM = 1 << 5,  /* is allowed after EVENTS */
    CMD_CONTAINER = 1 << 6, /* its first argument names the row: CLIENT ID */
    CMD_BLOCKS = 1 << 7,    /* may wait for something to happen */
    CMD_STEER = 1 << 8,     /* changes the server itself, or stops what it does */
};

struct command {
    const char *name; /* in capitals; two words for a row of a container. At most COMMAND_NAME_MAX bytes */
    const char *args; /* syntax, for people; empty for none */
    int min, max;     /* arguments behind the name; max -1: any number */
    unsigned flags;
    enum command_group group;
    unsigned op_bytes; /* the command's own struct, at the start of call->memory; cleared */
    /*
     * Checks the arguments, and then either writes the reply (call_reply), or sets call->op, which is then submitted
     * or joins the MULTI, or starts something that calls call_finish later. A code other than MQ_OK is the reply.
     * NULL: a container that is nothing alone.
     */
    enum mq_code (*run)(struct call *call, struct mq_err *err);
    void (*answer)(struct call *call, struct reply *reply); /* writes the reply of what has finished well */
    /* The client hung up: stop waiting. True: nothing of ours is held by anybody any more. NULL: it finishes by itself. */
    bool (*abandon)(struct call *call);
    const char *summary; /* one sentence */
    const char *reply;   /* what it answers */
    const char *options; /* lines "NAME value|meaning"; NULL for none */
    const char *errors;  /* codes with blanks; empty: none but BADARG for a wrong count of arguments */
    const char *example; /* as redis-cli shows it; NULL for none */
    const char *since;
};

#define COMMAND_NAME_MAX 16

extern const struct command commands[];
extern const unsigned command_count;

/*
 * The row for these words, of which the first or the first two are its name; *words says which. NULL: none, and
 * `err` has the nearest name.
 */
const struct command *command_find(const struct slice *args, unsigned count, unsigned *words,
                                   struct mq_err *err);
/* The row of exactly this name, whatever its case; NULL. */
const struct command *command_named(struct slice name);
/* BADARG shows the syntax. `count`: arguments behind the name. */
enum mq_code command_check_arity(const struct command *command, unsigned count, struct mq_err *err);
/* Builds the lookup; may be called again. */
void command_setup(void);
/* The next line of `options`: its name and its meaning; false at the end. */
bool command_option(const char **at, struct slice *name, struct slice *meaning);
#endif
