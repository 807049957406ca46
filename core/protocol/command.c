#include "protocol/command.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "protocol/args.h"

/* ---- lookup ----------------------------------------------------------------------------------------------- */

/* A name in capitals, in two words of the machine: comparing and hashing it is a few instructions. */
struct key {
    uint64_t a, b;
};

#define SLOTS 256 /* a power of two, several times the number of rows */

static struct slot {
    struct key key;
    const struct command *command;
} slots[SLOTS];

static unsigned hash(struct key key)
{
    return (unsigned)(((key.a ^ (key.b * 31)) * 0x9E3779B97F4A7C15ull) >> 56);
}

/* False: it is too long to be the name of a command. */
static bool make_key(struct key *key, struct slice name)
{
    char bytes[COMMAND_NAME_MAX] = {0};
    if (name.len == 0 || name.len > COMMAND_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (c == '\0')
            return false; /* the rest of the key is NULs: "PING" and a NUL are not PING */
        bytes[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    memcpy(&key->a, bytes, 8);
    memcpy(&key->b, bytes + 8, 8);
    return true;
}

void command_setup(void)
{
    memset(slots, 0, sizeof slots);
    for (unsigned i = 0; i < command_count; i++) {
        struct key key;
        mq_must(make_key(&key, slice_of(commands[i].name)));
        unsigned at = hash(key);
        while (slots[at].command)
            at = (at + 1) % SLOTS;
        slots[at] = (struct slot){key, &commands[i]};
    }
}

const struct command *command_named(struct slice name)
{
    struct key key;
    if (!make_key(&key, name))
        return NULL;
    for (unsigned at = hash(key); slots[at].command; at = (at + 1) % SLOTS)
        if (slots[at].key.a == key.a && slots[at].key.b == key.b)
            return slots[at].command;
    return NULL;
}

/* ---- names that are not there ----------------------------------------------------------------------------- */

#define NEAR_MAX 2 /* typing errors that still make a guess worth while */

/* How many letters must be changed, added or dropped (Levenshtein); both are short. */
static unsigned distance(struct slice a, const char *b)
{
    unsigned row[2 * COMMAND_NAME_MAX + 1];
    size_t b_len = strlen(b);
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 0; i < a.len; i++) {
        unsigned corner = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < b_len; j++) {
            unsigned change = corner + (toupper((unsigned char)a.at[i]) != b[j]);
            unsigned shift = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            corner = row[j + 1];
            row[j + 1] = change < shift ? change : shift;
        }
    }
    return row[b_len];
}

static void unknown(struct slice name, struct mq_err *err)
{
    const char *nearest = NULL;
    unsigned best = NEAR_MAX + 1;
    for (unsigned i = 0; name.len <= COMMAND_NAME_MAX && i < command_count; i++) {
        unsigned far = distance(name, commands[i].name);
        if (far < best && far < name.len) {
            best = far;
            nearest = commands[i].name;
        }
    }
    if (nearest)
        mq_fail(err, MQ_BADARG, "unknown command '%.*s' (did you mean '%s'? COMMAND DOCS lists all)",
                QUOTE_ARG(name), nearest);
    else
        mq_fail(err, MQ_BADARG, "unknown command '%.*s' (COMMAND DOCS lists all)", QUOTE_ARG(name));
}

/* "CLIENT GETNAME": what may stand behind the name of a container. */
static void unknown_sub(const struct command *container, struct slice sub, struct mq_err *err)
{
    char list[200] = "";
    size_t len = 0, name_len = strlen(container->name);
    for (unsigned i = 0; i < command_count; i++)
        if (strncmp(commands[i].name, container->name, name_len) == 0 && commands[i].name[name_len] == ' ')
            len += (size_t)snprintf(list + len, sizeof list - len, " %s", commands[i].name + name_len + 1);
    if (sub.len == 0)
        mq_fail(err, MQ_BADARG, "%s needs a subcommand (there are%s)", container->name, list);
    else
        mq_fail(err, MQ_BADARG, "%s: unknown subcommand '%.*s' (there are%s)", container->name,
                QUOTE_ARG(sub), list);
}

const struct command *command_find(const struct slice *args, unsigned count, unsigned *words,
                                   struct mq_err *err)
{
    const struct command *command = command_named(args[0]);
    char both[COMMAND_NAME_MAX];
    *words = 1;
    if (!command) {
        unknown(args[0], err);
        return NULL;
    }
    if (!(command->flags & CMD_CONTAINER) || (count < 2 && command->run))
        return command;
    if (count >= 2 && args[0].len + 1 + args[1].len <= COMMAND_NAME_MAX) {
        size_t len = args[0].len + 1 + args[1].len;
        memcpy(both, args[0].at, args[0].len);
        both[args[0].len] = ' ';
        if (args[1].len)
            memcpy(both + args[0].len + 1, args[1].at, args[1].len);
        const struct command *row = command_named((struct slice){both, len});
        *words = 2;
        if (row)
            return row;
    }
    unknown_sub(command, count >= 2 ? args[1] : SLICE_EMPTY, err);
    return NULL;
}

enum mq_code command_check_arity(const struct command *command, unsigned count, struct mq_err *err)
{
    if (count >= (unsigned)command->min && (command->max < 0 || count <= (unsigned)command->max))
        return MQ_OK;
    return mq_fail(err, MQ_BADARG, "wrong number of arguments for %s (write %s%s%s)", command->name,
                   command->name, *command->args ? " " : "", command->args);
}

bool command_option(const char **at, struct slice *name, struct slice *meaning)
{
    if (!*at || !**at)
        return false;
    const char *bar = strchr(*at, '|'), *end = strchrnul(*at, '\n');
    *name = (struct slice){*at, (size_t)(bar - *at)};
    *meaning = (struct slice){bar + 1, (size_t)(end - bar - 1)};
    *at = *end ? end + 1 : end;
    return true;
}
