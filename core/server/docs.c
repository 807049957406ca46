#include "server/docs.h"

#include <stdio.h>
#include <string.h>

#include "protocol/protocol.h"
#include "runtime/host_api.h"
#include "server/config.h"

static void print_states(void)
{
    puts("# The states of a job\n\n<!-- Made by `make docs` from core/job/state.c. -->\n\n"
         "A job is in one state at a time, and every step below is one commit. A step that has no row is "
         "refused with "
         "WRONGSTATE.\n\n| from | step | to | what it means |\n| --- | --- | --- | --- |");
    for (unsigned i = 0; i < state_row_count; i++)
        printf("| %s | %s | %s | %s |\n", state_name(state_rows[i].from), step_name(state_rows[i].step),
               state_name(state_rows[i].to), state_rows[i].why);
    puts("\n`none` is a job that does not exist: before its push, after its deletion. What ends an attempt "
         "uncharged "
         "(give_back, snooze) takes the attempt back that the lease counted.");
}

static void print_errors(void)
{
    puts("# Error codes\n\n<!-- Made by `make docs` from core/base/err.h. -->\n\n"
         "Every error on the wire begins with one of these words; in Lua it is `err.code`.\n\n| code | "
         "meaning |\n| --- | --- |");
#define X(code, meaning) puts("| " #code " | " meaning " |");
    MQ_CODES(X)
#undef X
}

static void print_host_calls(void)
{
    puts("# Host calls\n\n<!-- Made by `make docs` from core/runtime/host_api.c. -->\n\n"
         "What the modules in stdlib/ ask of the C side. Handlers use the modules; this list is what those "
         "can do at most."
         "\n\n| call | while | yields | raises | what it does |\n| --- | --- | --- | --- | --- |");
    for (unsigned t = 0; host_tables[t]; t++)
        for (const struct host_call *call = host_tables[t]; call->name; call++)
            printf("| `%s` | %s%s%s | %s | %s | %s |\n", call->name, call->roles & HOST_LOAD ? "load" : "",
                   (call->roles & (HOST_LOAD | HOST_HANDLER)) == (HOST_LOAD | HOST_HANDLER) ? ", " : "",
                   call->roles & HOST_HANDLER ? "handler" : "", call->yields ? "yes" : "no", call->raises,
                   call->summary);
}

static const struct {
    const char *name;
    void (*print)(void);
} pages[] = {
    {"protocol", protocol_print_docs}, {"configuration", config_print_docs}, {"states", print_states},
    {"errors", print_errors},          {"hostcalls", print_host_calls},
};

int docs_main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < sizeof pages / sizeof *pages; i++)
        if (strcmp(argv[1], pages[i].name) == 0) {
            pages[i].print();
            return 0;
        }
    fputs("usage: moonq docs protocol|configuration|states|errors|hostcalls\n", stderr);
    return 2;
}
