/*
 * cli.h - the command line: stdlib/moonq/cli in an unconfined Lua state of this process, with the Redis client
 * (client.c) as host functions. It is a client of the server like any other.
 */
#ifndef MOONQ_RUNTIME_CLI_H
#define MOONQ_RUNTIME_CLI_H

/*
 * Brings argv into the order that every command's own parser knows: the command first, behind it the options of all
 * commands (-C DIR, --socket PATH, --json) that stood before it. `help X` becomes `X --help`. The new argc.
 */
int cli_command_first(int argc, char **argv);

/*
 * argv as main has it. `check` is what `moonq check` asks about an application's folder: READY's JSON (see
 * docs/internals.md), which is freed here. The process' exit status.
 */
int cli_main(int argc, char **argv, char *(*check)(const char *app_dir));
#endif
