/* docs.c - docs/protocol.md, from the command table. */
#include <stdio.h>
#include <string.h>

#include "protocol/command.h"
#include "protocol/multi.h"
#include "protocol/protocol.h"
#include "protocol/resp.h"

static const char wire[] =
    "# The protocol\n\n"
    "<!-- Made by `make docs` from core/protocol/table.c. -->\n\n"
    "moonq speaks RESP, Redis' protocol, over a Unix socket, so every Redis client is a moonq client: open "
    "the "
    "socket by its path and send commands. What clients send by habit when they connect (HELLO, CLIENT, "
    "INFO, COMMAND, "
    "SELECT 0 ...) is answered.\n\n"
    "    redis-cli -s shop/moonq.sock PUSH email.send '{\"to\":\"ada@example.org\"}'\n\n"
    "## On the wire\n\n"
    "* A request is an array of bulk strings (`*2\\r\\n$4\\r\\nPING\\r\\n$2\\r\\nhi\\r\\n`), or a line typed "
    "by hand, with "
    "Redis' quoting. Names of commands and options may be in any case.\n"
    "* Replies are RESP2; after `HELLO 3` RESP3. Where this page says *map*, RESP2 has a flat array of keys "
    "and "
    "values; *true* and *false* are 1 and 0, *null* is a null bulk string, a number with a fraction is a "
    "bulk string.\n"
    "* Durations are written `250ms`, `5s`, `10m`, `2h`, `3d`; times as unix milliseconds or ISO 8601 "
    "(`2026-01-01T09:00:00Z`). In replies, times are unix milliseconds and durations milliseconds.\n"
    "* An id has 13 characters, and sorts as text in the order of the pushes. A token is a whole number of "
    "64 bits.\n"
    "* Payloads, results and errors are bytes; moonq does not look into them. Handlers expect payloads in "
    "JSON.\n\n"
    "## Order\n\n"
    "* Replies come in the order of the commands, and commands of one connection take effect in that order.\n"
    "* Pipelines may be of any depth. Changes are gathered into common commits, of all connections; the "
    "reply to a change is sent when it is on disk.\n"
    "* A command that reads starts when everything before it, on its connection, is answered: it sees those "
    "changes. What follows waits for it.\n"
    "* FETCH joins the commit of the changes before it, and what follows waits for it. A FETCH with BLOCK, "
    "and "
    "WAIT, hold up what follows on their connection as Redis' BLPOP does: use another connection for the "
    "rest.\n"
    "* Between connections there is no order, but that of the replies: what is confirmed is seen by every "
    "command that "
    "is sent afterwards.\n\n"
    "## Errors\n\n"
    "`-CODE message`: the code is one of a fixed list (docs/errors.md), the message names the culprit and "
    "the next step. "
    "After an error of a command everything is as before, the connection too. Bytes that are not RESP (a "
    "length that is "
    "not a number, a nested array, an end in the middle of a command) are answered with `-BADARG protocol "
    "error` and the connection is closed, "
    "for "
    "nobody can tell where the next command begins. A request larger than the limit is answered with "
    "`TOOBIG` and "
    "passed over.\n\n"
    "Two words are Redis' own, since clients look for them: `EXECABORT` (EXEC after an error since MULTI), "
    "`NOPROTO` "
    "(HELLO with another version).\n\n"
    "## Limits\n\n"
    "Each is a row of docs/configuration.md unless it says otherwise.\n\n"
    "| limit | what happens |\n| --- | --- |\n"
    "| connections_max | a further connection is told `-FULL` and closed |\n"
    "| payload_max | `-TOOBIG`; a request may have 64 KiB more, for its options |\n"
    "| pipeline_max | further commands of this connection stay unread until some are answered |\n"
    "| output_pause | a client with so many unread bytes of replies is not read from |\n"
    "| output_max, output_patience | ... and with so many, or for so long, it is closed, with a line in the "
    "log |\n"
    "| half_sent | a client that sends a part of a command and no more is told `-TIMEOUT` and closed |\n";

static const char *const group_titles[GROUPS] = {
    "Producers", "Consumers in other languages", "Inspection", "Control", "What clients send by habit",
};

static void print_text(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '|')
            putchar('\\');
        putchar(text.at[i]);
    }
}

static void print_options(const struct command *command)
{
    const char *at = command->options;
    struct slice name, meaning;
    if (!at)
        return;
    puts("| option | meaning |\n| --- | --- |");
    while (command_option(&at, &name, &meaning)) {
        fputs("| `", stdout);
        print_text(name);
        fputs("` | ", stdout);
        print_text(meaning);
        puts(" |");
    }
    putchar('\n');
}

static void print_example(const char *example)
{
    if (!example)
        return;
    while (*example) {
        size_t len = strcspn(example, "\n");
        printf("    %.*s\n", (int)len, example);
        example += len + (example[len] == '\n');
    }
    putchar('\n');
}

static void print_command(const struct command *command)
{
    printf("### %s%s%s\n\n%s\n\n", command->name, *command->args ? " " : "", command->args, command->summary);
    if (command->run)
        printf("Answers %s.\n\n", command->reply);
    print_options(command);
    if (*command->errors)
        printf("Errors: %s.\n\n", command->errors);
    if (command->flags & CMD_MULTI)
        printf("May stand between MULTI and EXEC%s.\n\n",
               strstr(command->args, "WHERE") ? ", but not with WHERE" : "");
    print_example(command->example);
}

static void print_events(void)
{
    static const struct {
        const char *name, *when;
    } events[] = {
        {"job.pushed", "it is on disk"},
        {"job.started", "handed to a worker or a consumer"},
        {"job.progress", "its holder told how far it is: `fraction`, `message`"},
        {"job.overdue", "a consumer keeps it for longer than its timeout, and extends its lease"},
        {"job.succeeded", "acknowledged"},
        {"job.failed", "the attempt failed, another follows at `run_at`; `message` is the error"},
        {"job.snoozed", "its handler asked to run later, at `run_at`, without a charge"},
        {"job.dead", "a dead letter; `message` is the last error"},
        {"job.cancelling", "it runs, and was asked to stop"},
        {"job.cancelled", "it is stopped for good"},
        {"job.expired", "it could not start in time"},
        {"job.lost", "its lease ran out: it goes back"},
        {"job.released", "it was given back uncharged"},
        {"job.ready", "its time has come, or it was promoted"},
        {"job.parked", "no handler has its type"},
        {"job.retried", "a person brought it back"},
        {"job.edited", "it has another payload"},
        {"job.deleted", "by a person, or because its time to be kept is over"},
        {"queue.paused, type.paused",
         "somebody (`by`) said so, for the reason in `message`; `run_at`: when it ends by itself"},
        {"queue.resumed, type.resumed", "somebody said so, or (`message`) the pause's time was over"},
        {"queue.draining, queue.limited", "somebody said so"},
        {"queue.idle_with_backlog",
         "jobs are ready, workers are free, and nothing was taken for some seconds"},
        {"queue.unserved", "it has `count` ready jobs, no pool names it and no consumer fetches from it"},
        {"worker.begins_nothing", "it beats, and for some seconds began none of the jobs it was given; "
                                  "`count` of them were taken back"},
        {"worker.started, worker.ready, worker.stopping, worker.exited", "a worker process"},
        {"reload.done, reload.failed", "RELOAD; `message` says why it failed"},
        {"bulk.progress, bulk.done",
         "a step by filter: `message` is its number, `count` the jobs changed so far"},
        {"disk.full, disk.recovered", "pushes are refused with NOSPACE; they are taken again"},
        {"record.quarantined", "a record could not be read and was moved aside: `message` says why"},
        {"index.mended, queue.mended", "an index entry or a counter was wrong and was put right"},
        {"loop.stands_still, loop.goes_on",
         "an internal loop (`message`) has work and did not run for ten seconds; it runs again"},
        {"server.stopping", "SHUTDOWN, or a signal"},
    };
    puts("## The events\n\n| event | when |\n| --- | --- |");
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        printf("| %s | %s |\n", events[i].name, events[i].when);
}

void protocol_print_docs(void)
{
    fputs(wire, stdout);
    printf("| arguments | at most %d in one request (fixed): `-TOOBIG` |\n"
           "| MULTI | at most %d commands and %d MiB (fixed): `-FULL` |\n\n",
           RESP_ARGS_MAX, MULTI_COMMANDS_MAX, MULTI_BYTES_MAX / 1024 / 1024);
    for (int group = 0; group < GROUPS; group++) {
        printf("## %s\n\n", group_titles[group]);
        for (unsigned i = 0; i < command_count; i++)
            if (commands[i].group == (enum command_group)group)
                print_command(&commands[i]);
    }
    print_events();
}
