#include "runtime/cli.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli_cron.h"
#include "runtime/client.h"
#include "runtime/home.h"
#include "runtime/posix.h"

int luaopen_cjson(lua_State *L);

#define EXIT_BROKEN 70 /* sysexits.h: our own bug */

/* ---- the order of the words -------------------------------------------------------------------------------------- */

/* How many words an option of all commands takes at `at`; 0: it is none. */
static int option_words(const char *at)
{
    static const char *const valued[] = {"-C", "--app", "-s", "--socket"};
    for (size_t i = 0; i < sizeof valued / sizeof *valued; i++) {
        size_t len = strlen(valued[i]);
        if (strcmp(at, valued[i]) == 0)
            return 2;
        if (strncmp(at, valued[i], len) == 0 && (len == 2 || at[len] == '='))
            return 1; /* -CDIR, --app=DIR */
    }
    return strcmp(at, "--json") == 0;
}

static int help_asked(int argc, char **argv)
{
    static char option[] = "--help";
    bool of_one = argc > 2 && argv[2][0] != '-';
    argv[1] = of_one ? argv[2] : option;
    if (of_one)
        argv[2] = option;
    argv[2 + of_one] = NULL;
    return 2 + of_one;
}

int cli_command_first(int argc, char **argv)
{
    int at = 1;
    for (int words; at < argc && (words = option_words(argv[at])) > 0;)
        at += words;
    if (at < argc && argv[at][0] != '-') {
        char *command = argv[at];
        memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv);
        argv[1] = command;
    }
    return argc > 1 && strcmp(argv[1], "help") == 0 ? help_asked(argc, argv) : argc;
}

/* ---- the Lua state ----------------------------------------------------------------------------------------------- */

/* binary.check(dir): READY's JSON. */
static int binary_check(lua_State *L)
{
    char *(*check)(const char *) = *(char *(**)(const char *))lua_touserdata(L, lua_upvalueindex(1));
    char *json = check(luaL_checkstring(L, 1));
    lua_pushstring(L, json);
    free(json);
    return 1;
}

/* What only this binary can tell its Lua: package.loaded.moonq_binary. */
static void load_binary(lua_State *L, char *(*check)(const char *app_dir))
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_createtable(L, 0, 2);
    *(char *(**)(const char *))lua_newuserdata(L, sizeof check) = check;
    lua_pushcclosure(L, binary_check, 1);
    lua_setfield(L, -2, "check");
    lua_pushliteral(L, MOONQ_VERSION);
    lua_setfield(L, -2, "version");
    lua_setfield(L, -2, "moonq_binary");
    lua_pop(L, 2);
}

static void preload(lua_State *L, const char *name, lua_CFunction open)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, open);
    lua_setfield(L, -2, name);
    lua_pop(L, 2);
}

/* Our own modules, then Debian's (argparse); never the current folder, which may be anybody's. */
static void set_path(lua_State *L, const struct home *home)
{
    lua_getglobal(L, "package");
    lua_pushfstring(L, "%s/?.lua;/usr/local/share/lua/5.1/?.lua;/usr/share/lua/5.1/?.lua", home->stdlib);
    lua_setfield(L, -2, "path");
    lua_pushliteral(L, "/usr/local/lib/lua/5.1/?.so");
    lua_setfield(L, -2, "cpath");
    lua_pop(L, 1);
}

static int with_traceback(lua_State *L)
{
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

int cli_main(int argc, char **argv, char *(*check)(const char *app_dir))
{
    struct home home;
    struct mq_err err;
    if (home_find(&home, &err) != MQ_OK) {
        fprintf(stderr, "moonq: %s\n", err.text);
        return EXIT_BROKEN;
    }
    lua_State *L = luaL_newstate();
    if (!L) {
        fprintf(stderr, "moonq: no memory for Lua\n");
        return EXIT_BROKEN;
    }
    luaL_openlibs(L);
    preload(L, "cjson", luaopen_cjson);
    preload(L, "moonq_redis", luaopen_moonq_redis);
    preload(L, "moonq_posix", luaopen_moonq_posix);
    preload(L, "moonq_cron", luaopen_moonq_cron);
    load_binary(L, check);
    set_path(L, &home);
    lua_pushcfunction(L, with_traceback);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "moonq.cli.main");
    int status = EXIT_BROKEN, failed = lua_pcall(L, 1, 1, 1);
    if (!failed) {
        lua_createtable(L, argc, 0);
        for (int i = 1; i < argc; i++) {
            lua_pushstring(L, argv[i]);
            lua_rawseti(L, -2, i);
        }
        failed = lua_pcall(L, 1, 1, 1);
    }
    if (failed)
        fprintf(stderr, "moonq: %s\n", lua_tostring(L, -1));
    else
        status = (int)lua_tointeger(L, -1);
    lua_close(L);
    return fflush(stdout) == 0 ? status : EXIT_BROKEN;
}
