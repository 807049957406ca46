#include "runtime/sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "runtime/globals.h"
#include "runtime/host.h"
#include "runtime/host_api.h"
#include "runtime/json.h"
#include "runtime/modules.h"
#include "runtime/registry.h"
#include "runtime/source.h"

char sandbox_wait_mark, sandbox_raise_mark;

/* Keys of the registry: the allowed globals; what the prelude returned; the metatable of errors. */
static char key_globals, key_prelude, key_error;

/* ---- read-only views ---- */

static int refuse_write(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TSTRING)
        return luaL_error(L, "cannot set '%s': this table is read-only", lua_tostring(L, 2));
    return luaL_error(L, "this table is read-only");
}

/* Pushes a userdata that reads from the table at `index`. */
static void push_view(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    lua_newuserdata(L, 0);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_write);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

void sandbox_freeze(lua_State *L)
{
    int table = lua_gettop(L);
    luaL_checkstack(L, 10, "a module's tables are nested too deeply");
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        if (lua_istable(L, -1) && !lua_getmetatable(L, -1))
            sandbox_freeze(L);
        else if (lua_istable(L, -1))
            lua_pop(L, 1); /* its metatable: an object of the module's own, left as it is */
        lua_rawset(L, table + 1);
    }
    push_view(L, table + 1);
    lua_replace(L, table);
    lua_settop(L, table);
}

/* ---- environments ---- */

static int refuse_global(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TSTRING)
        return luaL_error(L, "assign to undeclared global '%s' (write: local %s)", lua_tostring(L, 2),
                          lua_tostring(L, 2));
    return luaL_error(L, "assign to an undeclared global");
}

static void copy_table(lua_State *L, int from, int to)
{
    lua_pushnil(L);
    while (lua_next(L, from)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, to);
    }
}

/*
 * Pushes a script's environment: empty, with the globals behind it. The globals are its own copy, since
 * `require` and `load` in it know whose they are.
 */
static void push_environment(lua_State *L)
{
    int env = lua_gettop(L) + 1, meta = env + 1, globals = env + 2;
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_createtable(L, 0, 48);
    registry_get(L, &key_globals);
    copy_table(L, globals + 1, globals);
    lua_pop(L, 1);
    lua_newtable(L); /* modules of lib/ that this file has */
    lua_pushvalue(L, env);
    lua_pushcclosure(L, modules_require, 2);
    lua_setfield(L, globals, "require");
    lua_pushvalue(L, env);
    lua_pushcclosure(L, source_lua_load, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, globals, "load");
    lua_setfield(L, globals, "loadstring");
    push_view(L, globals);
    lua_setfield(L, globals, "_G");
    lua_setfield(L, meta, "__index");
    lua_pushcfunction(L, refuse_global);
    lua_setfield(L, meta, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, meta, "__metatable");
    lua_setmetatable(L, env);
}

enum mq_code sandbox_load_file(lua_State *L, const char *folder, const char *file, const char *shown,
                               struct mq_err *err)
{
    enum mq_code code = source_load(L, folder, file, shown, err);
    if (code == MQ_OK) {
        push_environment(L);
        lua_setfenv(L, -2);
    }
    return code;
}

/* ---- errors ---- */

/* tostring(err): "TIMEOUT: the server did not answer" */
static int error_tostring(lua_State *L)
{
    if (!lua_istable(L, 1))
        return luaL_error(L, "not an error");
    lua_getfield(L, 1, "code");
    lua_getfield(L, 1, "message");
    const char *code = lua_tostring(L, -2), *message = lua_tostring(L, -1);
    if (!code || strcmp(code, "SCRIPT") == 0)
        lua_pushstring(L, message ? message : "error");
    else
        lua_pushfstring(L, "%s: %s", code, message ? message : "");
    return 1;
}

void sandbox_push_error(lua_State *L, const char *code, bool retryable, const char *message)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, code);
    lua_setfield(L, -2, "code");
    lua_pushstring(L, message);
    lua_setfield(L, -2, "message");
    lua_pushboolean(L, retryable);
    lua_setfield(L, -2, "retryable");
    registry_get(L, &key_error);
    lua_setmetatable(L, -2);
}

/* ---- building ---- */

/* Opens what the allow-list needs. jit is opened because that turns the compiler on, and is shown to nobody. */
static void open_libraries(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {"", luaopen_base},
        {LUA_TABLIBNAME, luaopen_table},
        {LUA_STRLIBNAME, luaopen_string},
        {LUA_MATHLIBNAME, luaopen_math},
        {LUA_OSLIBNAME, luaopen_os},
        {LUA_BITLIBNAME, luaopen_bit},
        {LUA_JITLIBNAME, luaopen_jit},
    };
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        lua_pushcfunction(L, libraries[i].func);
        lua_pushstring(L, libraries[i].name);
        lua_call(L, 1, 0);
    }
}

/* to[name] = from[name] for each of `names`. */
static void copy_names(lua_State *L, int from, int to, const char *names)
{
    while (*names) {
        size_t len = strcspn(names, " ");
        lua_pushlstring(L, names, len);
        lua_pushvalue(L, -1);
        lua_rawget(L, from);
        lua_rawset(L, to);
        names += len + (names[len] == ' ');
    }
}

/* The string library that ("x"):upper() finds is the filtered one too. */
static void protect_strings(lua_State *L, int library)
{
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushvalue(L, library);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

static void build_globals(lua_State *L)
{
    lua_newtable(L);
    int globals = lua_gettop(L);
    for (size_t i = 0; i < sizeof globals_allowed / sizeof *globals_allowed; i++) {
        const struct allowed *row = &globals_allowed[i];
        if (!row->library) {
            copy_names(L, LUA_GLOBALSINDEX, globals, row->names);
            continue;
        }
        lua_getglobal(L, row->library);
        lua_newtable(L);
        copy_names(L, globals + 1, globals + 2, row->names);
        if (strcmp(row->library, "string") == 0)
            protect_strings(L, globals + 2);
        push_view(L, globals + 2);
        lua_setfield(L, globals, row->library);
        lua_settop(L, globals);
    }
    registry_set(L, &key_globals);
}

static void add_host_calls(lua_State *L, const struct host_call *calls)
{
    for (; calls->name; calls++) {
        char name[64];
        snprintf(name, sizeof name, "%s", calls->name);
        for (char *dot = name; (dot = strchr(dot, '.'));)
            *dot = '_';
        lua_pushcfunction(L, calls->run);
        if (calls->yields) { /* what waits may be answered with an error: the prelude's wrapper raises it */
            registry_get(L, &key_prelude);
            lua_getfield(L, -1, "waiting");
            lua_remove(L, -2);
            lua_insert(L, -2);
            lua_call(L, 1, 1);
        }
        lua_setfield(L, -2, name);
    }
}

/* What moonq's own modules see: the same globals, `_host`, and a require that does not freeze. */
static void build_stdlib_environment(lua_State *L)
{
    lua_newtable(L);
    int env = lua_gettop(L);
    registry_get(L, &key_globals);
    copy_table(L, env + 1, env);
    lua_settop(L, env);
    lua_newtable(L);
    for (const struct host_call *const *table = host_tables; *table; table++)
        add_host_calls(L, *table);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    json_push_array_mark(L);
    lua_setfield(L, -2, "array_mark");
    registry_get(L, &key_error);
    lua_setfield(L, -2, "error_meta");
    lua_pushliteral(L, MOONQ_VERSION);
    lua_setfield(L, -2, "version");
    lua_setfield(L, env, "_host");
    lua_pushcfunction(L, modules_require_stdlib);
    lua_setfield(L, env, "require");
    modules_set_environment(L);
}

struct folders {
    const char *stdlib, *app;
};

/* _prelude.lua is the only script that sees LuaJIT's real globals. */
static void run_prelude(lua_State *L, const struct folders *folders)
{
    struct mq_err err;
    if (source_load(L, folders->stdlib, "moonq/_prelude.lua", "moonq/_prelude.lua", &err) != MQ_OK)
        luaL_error(L, "%s", err.text);
    lua_pushlightuserdata(L, &sandbox_wait_mark);
    lua_pushlightuserdata(L, &sandbox_raise_mark);
    lua_call(L, 2, 1);
    registry_get(L, &key_globals);
    lua_getfield(L, -2, "globals");
    copy_table(L, lua_gettop(L), lua_gettop(L) - 1);
    lua_getfield(L, -1, "coroutine");
    push_view(L, lua_gettop(L));
    lua_setfield(L, -4, "coroutine");
    lua_pop(L, 3);
    registry_set(L, &key_prelude);
}

void sandbox_push_start(lua_State *L)
{
    registry_get(L, &key_prelude);
    lua_getfield(L, -1, "start");
    lua_remove(L, -2);
}

static void seed_random(lua_State *L)
{
    uint32_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (uint32_t)getpid();
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushnumber(L, seed);
    lua_call(L, 1, 0);
    lua_pop(L, 1);
}

/* `print` and `moonq`, which come from moonq's modules. */
static void add_moonq(lua_State *L)
{
    registry_get(L, &key_globals);
    modules_push(L, "moonq.log");
    lua_getfield(L, -1, "print");
    lua_setfield(L, -3, "print");
    lua_pop(L, 1);
    modules_push_frozen(L, "moonq");
    lua_setfield(L, -2, "moonq");
    lua_pop(L, 1);
}

static int build(lua_State *L)
{
    const struct folders *folders = lua_touserdata(L, 1);
    open_libraries(L);
    json_open(L);
    seed_random(L);
    modules_open(L, folders->stdlib, folders->app);
    lua_newtable(L);
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    registry_set(L, &key_error);
    build_globals(L);
    run_prelude(L, folders);
    build_stdlib_environment(L);
    add_moonq(L);
    return 0;
}

enum mq_code sandbox_open(lua_State **out, struct meter *meter, const char *stdlib, const char *app,
                          struct mq_err *err)
{
    lua_State *L = lua_newstate(meter_alloc, meter);
    if (!L)
        return mq_fail(err, MQ_INTERNAL, "cannot open a Lua state in %zu bytes (memory)", meter->limit);
    if (lua_cpcall(L, build, &(struct folders){stdlib, app}) != 0) {
        const char *why = lua_tostring(L, -1);
        mq_fail(err, MQ_INTERNAL, "moonq's own Lua does not load: %.250s", why ? why : "?");
        lua_close(L);
        return MQ_INTERNAL;
    }
    *out = L;
    return MQ_OK;
}

void sandbox_close(lua_State *L)
{
    if (L)
        lua_close(L);
}
