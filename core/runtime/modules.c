#include "runtime/modules.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "runtime/registry.h"
#include "runtime/sandbox.h"
#include "runtime/source.h"

/* Keys of the registry: moonq's modules by name, as loaded and frozen; the environment that they run in. */
static char key_modules, key_frozen, key_environment;
static const char *stdlib_folder, *app_folder; /* the state's; a process has one state */

void modules_open(lua_State *L, const char *stdlib, const char *app)
{
    stdlib_folder = stdlib;
    app_folder = app;
    lua_newtable(L);
    registry_set(L, &key_modules);
    lua_newtable(L);
    registry_set(L, &key_frozen);
}

void modules_set_environment(lua_State *L)
{
    registry_set(L, &key_environment);
}

/* Names between dots: a letter first, then letters, digits, _ and -. So no path can be written. */
static bool module_name_ok(const char *name, size_t len)
{
    bool first = true;
    if (len == 0 || len > 200 || strlen(name) != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool inside = !first && ((c >= '0' && c <= '9') || c == '_' || c == '-');
        if (c == '.' && !first && i + 1 < len) {
            first = true;
            continue;
        }
        if (!letter && !inside)
            return false;
        first = false;
    }
    return true;
}

/* "mail.render" in "lib" is lib/mail/render.lua. */
static void module_path(char *out, size_t size, const char *folder, const char *name, const char *end)
{
    size_t at = (size_t)snprintf(out, size, "%s%s", folder, *folder ? "/" : "");
    for (; *name && at + 1 < size; name++)
        out[at++] = *name == '.' ? '/' : *name;
    snprintf(out + at, size - at, "%s", end);
}

/*
 * Calls the chunk at the top; the module is what it answers, or true. One that raises, for whatever reason (a job at
 * the end of its stack, its memory or its time may be the first to require it), leaves no mark of being loaded: the
 * next require tries again.
 */
static void run_module(lua_State *L, int cache, const char *name)
{
    lua_pushstring(L, name);
    if (lua_pcall(L, 1, 1, 0) != 0) {
        lua_pushnil(L);
        lua_setfield(L, cache, name); /* the key is there: nothing is allocated, nothing can raise */
        lua_error(L);
    }
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
}

/* Pushes cache[name] if it is there. Otherwise marks it as being loaded. */
static bool find_module(lua_State *L, int cache, const char *name)
{
    lua_getfield(L, cache, name);
    if (lua_islightuserdata(L, -1))
        luaL_error(L, "module '%s' requires itself", name);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    lua_pushlightuserdata(L, &key_modules);
    lua_setfield(L, cache, name);
    return false;
}

static void keep_module(lua_State *L, int cache, const char *name)
{
    lua_pushvalue(L, -1);
    lua_setfield(L, cache, name);
}

/* A module that did not load is tried again by the next require. */
static int module_failed(lua_State *L, int cache, const char *name, const char *why)
{
    lua_pushnil(L);
    lua_setfield(L, cache, name);
    return luaL_error(L, "%s", why);
}

void modules_push(lua_State *L, const char *name)
{
    char path[512];
    struct mq_err err;
    registry_get(L, &key_modules);
    int cache = lua_gettop(L);
    if (!find_module(L, cache, name)) {
        module_path(path, sizeof path, "", name, ".lua");
        enum mq_code code = source_load(L, stdlib_folder, path, path, &err);
        if (code == MQ_NOTFOUND) {
            module_path(path, sizeof path, "", name, "/init.lua");
            code = source_load(L, stdlib_folder, path, path, &err);
        }
        if (code != MQ_OK) {
            char why[600];
            snprintf(why, sizeof why, "module '%s': %s", name, err.text);
            module_failed(L, cache, name, why);
        }
        registry_get(L, &key_environment);
        lua_setfenv(L, -2);
        run_module(L, cache, name);
        keep_module(L, cache, name);
    }
    lua_remove(L, cache);
}

void modules_push_frozen(lua_State *L, const char *name)
{
    registry_get(L, &key_frozen);
    int cache = lua_gettop(L);
    lua_getfield(L, cache, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        modules_push(L, name);
        if (lua_istable(L, -1))
            sandbox_freeze(L);
        keep_module(L, cache, name);
    }
    lua_remove(L, cache);
}

/* lib/name.lua, or lib/name/init.lua; in the environment of the file that requires it. */
static int require_own(lua_State *L, const char *name)
{
    char path[512], other[512], why[700];
    struct mq_err err;
    int cache = lua_upvalueindex(1);
    if (find_module(L, cache, name))
        return 1;
    module_path(path, sizeof path, "lib", name, ".lua");
    module_path(other, sizeof other, "lib", name, "/init.lua");
    enum mq_code code = app_folder ? source_load(L, app_folder, path, path, &err)
                                   : mq_fail(&err, MQ_NOTFOUND, "there is no application");
    if (code == MQ_NOTFOUND && app_folder)
        code = source_load(L, app_folder, other, other, &err);
    if (code == MQ_NOTFOUND)
        snprintf(why, sizeof why,
                 "module '%.150s' not found: there is no %.200s in the application, and moonq's own "
                 "begin with 'moonq.'",
                 name, path);
    else
        snprintf(why, sizeof why, "%s", err.text);
    if (code != MQ_OK)
        return module_failed(L, cache, name, why);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_setfenv(L, -2);
    run_module(L, cache, name);
    keep_module(L, cache, name);
    return 1;
}

/* Upvalues: this file's modules of lib/, its environment. */
int modules_require(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    lua_settop(L, 1);
    if (!module_name_ok(name, len))
        return luaL_error(
            L, "module name '%s' is not allowed (names with dots between them, as in \"mail.render\")", name);
    if (strcmp(name, "moonq") != 0 && strncmp(name, "moonq.", 6) != 0)
        return require_own(L, name);
    modules_push_frozen(L, name);
    return 1;
}

/* moonq's own modules require each other unfrozen. */
int modules_require_stdlib(lua_State *L)
{
    modules_push(L, luaL_checkstring(L, 1));
    return 1;
}
