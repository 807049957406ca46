/* main.c - subcommands, and nothing else. */
#include <stdio.h>
#include <string.h>

#include "runtime/child.h"
#include "runtime/cli.h"
#include "server/check.h"
#include "server/docs.h"
#include "server/fsck.h"
#include "server/serve.h"

int main(int argc, char **argv)
{
    argc = cli_command_first(argc, argv);
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "serve") == 0)
        return serve_main(argc - 1, argv + 1);
    if (strcmp(command, "child") == 0)
        return child_main(argc - 1, argv + 1);
    if (strcmp(command, "docs") == 0)
        return docs_main(argc - 1, argv + 1);
    if (strcmp(command, "fsck") == 0)
        return fsck_main(argc - 1, argv + 1);
    return cli_main(argc, argv, check_application); /* everything else is Lua on top of the client */
}
