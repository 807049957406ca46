/*
 * Retry policies: the files of retries/ and scripts/retries/, and what a handler's `retry` says.
 *
 * A policy's file returns function(job, err, options), or { options = { defaults }, delay = that function }.
 */
#include <luajit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/files.h"
#include "runtime/inside.h"
#include "runtime/load.h"
#include "runtime/suggest.h"

/* ---- files ---- */

static struct policy *find_policy(struct app *app, const char *name)
{
    struct policy *found;
    HASH_FIND_STR(app->policies, name, found);
    return found;
}

/* Never compiled: the hook that bounds a policy's time must see every loop in it. */
static int keep_function(lua_State *L)
{
    luaJIT_setmode(L, -1, LUAJIT_MODE_ALLFUNC | LUAJIT_MODE_OFF);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* The value at the top, which is taken off. False: it is no policy. */
static bool take_policy(struct policy *policy, lua_State *L)
{
    policy->options_ref = LUA_NOREF;
    if (lua_isfunction(L, -1)) {
        policy->function_ref = keep_function(L);
        return true;
    }
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "options");
        lua_getfield(L, -2, "delay");
        if (lua_istable(L, -2) && lua_isfunction(L, -1)) {
            policy->function_ref = keep_function(L);
            policy->options_ref = luaL_ref(L, LUA_REGISTRYINDEX);
            lua_pop(L, 1);
            return true;
        }
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    return false;
}

static void load_policy(struct app *app, lua_State *L, const char *folder, const char *shown_folder,
                        const char *file)
{
    char path[FILES_PATH_BYTES + 16], shown[FILES_PATH_BYTES + 32];
    snprintf(path, sizeof path, "retries/%s", file);
    snprintf(shown, sizeof shown, "%sretries/%s", shown_folder, file);
    if (!load_value(app, L, folder, path, shown))
        return;
    struct policy *policy = mq_calloc(1, sizeof *policy);
    if (!take_policy(policy, L)) {
        app_add_error(
            app, shown, 0,
            "a retry policy returns function(job, err), or { options = { ... }, delay = function }");
        free(policy);
        return;
    }
    policy->name = mq_strdup_slice((struct slice){file, strlen(file) - strlen(".lua")});
    struct policy *other = find_policy(app, policy->name);
    if (other) { /* the application's own, which is loaded last, goes before moonq's */
        HASH_DEL(app->policies, other);
        free(other->name);
        free(other);
    }
    HASH_ADD_KEYPTR(hh, app->policies, policy->name, strlen(policy->name), policy);
}

static void load_folder(struct app *app, lua_State *L, const char *folder, const char *shown_folder)
{
    char path[4400];
    struct files files = {0};
    snprintf(path, sizeof path, "%s/retries", folder);
    files_list(&files, path, ".lua");
    app_check_seen(app, &files, "retries");
    for (size_t i = 0; i < files.count; i++)
        load_policy(app, L, folder, shown_folder, files.names[i]);
    files_release(&files);
}

static int by_name(struct policy *a, struct policy *b)
{
    return strcmp(a->name, b->name);
}

void app_load_policies(struct app *app, lua_State *L)
{
    struct policy *policy, *next;
    load_folder(app, L, rt.setup.scripts, "scripts/");
    load_folder(app, L, rt.setup.app, "");
    HASH_SORT(app->policies, by_name);
    HASH_ITER (hh, app->policies, policy, next) {
        json_array_append_new(json_object_get(app->ready, "retries"), json_string(policy->name));
    }
}

/* ---- a handler's `retry` ---- */

static bool refuse(struct app *app, struct handler *handler, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool refuse(struct app *app, struct handler *handler, const char *format, ...)
{
    char message[600];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    app_add_error(app, handler->file, 0, message);
    return false;
}

static bool unknown_policy(struct app *app, struct handler *handler, const char *name)
{
    const char *names[200];
    char hint[300];
    size_t count = 0;
    struct policy *policy, *next;
    HASH_ITER (hh, app->policies, policy, next) {
        if (count + 1 < sizeof names / sizeof *names)
            names[count++] = policy->name;
    }
    names[count] = NULL;
    return refuse(app, handler, "retry: there is no policy '%.60s'%s", name,
                  suggest(hint, sizeof hint, names, name));
}

static void keep_options(struct handler *handler, lua_State *L)
{
    handler->options_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Copies the table at `from` over the one at the top: durations become seconds. */
static bool copy_delays(struct app *app, struct handler *handler, lua_State *L, int from)
{
    struct mq_err err;
    int64_t ms;
    size_t count = lua_objlen(L, from);
    if (count == 0)
        return refuse(app, handler, "retry: the list of delays is empty");
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, from, (int)i);
        bool good = value_duration(L, -1, &ms, &err);
        lua_pop(L, 1);
        if (!good)
            return refuse(app, handler, "retry: delay %zu: %s", i, err.text);
        lua_pushnumber(L, (double)ms / 1000);
        lua_rawseti(L, -2, (int)i);
    }
    return true;
}

/* One option: as its default is, so must it be. Numbers may be written as durations. */
static bool copy_option(struct app *app, struct handler *handler, lua_State *L, int options, int defaults)
{
    int value = lua_gettop(L), key = value - 1;
    struct mq_err err;
    int64_t ms;
    lua_pushvalue(L, key);
    lua_rawget(L, defaults);
    int wanted = lua_type(L, -1);
    lua_pop(L, 1);
    const char *name = lua_tostring(L, key);
    if (wanted == LUA_TNIL)
        return refuse(app, handler, "retry: its policy has no option '%.60s'", name);
    lua_pushvalue(L, key);
    if (wanted == LUA_TTABLE && lua_istable(L, value)) {
        lua_newtable(L);
        if (!copy_delays(app, handler, L, value))
            return false;
    } else if (wanted == LUA_TNUMBER && lua_type(L, value) == LUA_TNUMBER) {
        if (!isfinite(lua_tonumber(L, value)) || lua_tonumber(L, value) < 0)
            return refuse(app, handler, "retry: %s %g is out of range", name, lua_tonumber(L, value));
        lua_pushvalue(L, value);
    } else if (wanted == LUA_TNUMBER && lua_type(L, value) == LUA_TSTRING) {
        if (!value_duration(L, value, &ms, &err))
            return refuse(app, handler, "retry: %s %s", name, err.text);
        lua_pushnumber(L, (double)ms / 1000);
    } else if (wanted == lua_type(L, value) && wanted != LUA_TNUMBER) {
        lua_pushvalue(L, value);
    } else {
        return refuse(app, handler, "retry: %s is a %s, not a %s", name, luaL_typename(L, value),
                      lua_typename(L, wanted));
    }
    lua_rawset(L, options);
    return true;
}

/* Pushes the policy's defaults with what the table at `given` (0: nothing) says instead. */
static bool push_options(struct app *app, struct handler *handler, lua_State *L, const struct policy *policy,
                         int given)
{
    int options = lua_gettop(L) + 1, defaults = options + 1;
    lua_newtable(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, policy->options_ref);
    for (lua_pushnil(L); lua_next(L, defaults);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, options);
    }
    for (lua_pushnil(L); given && lua_next(L, given);) {
        bool is_policy = lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "policy") == 0;
        if (lua_type(L, -2) != LUA_TSTRING)
            return refuse(app, handler, "retry: options have names (base = \"10s\")");
        int top = lua_gettop(L);
        if (!is_policy && !copy_option(app, handler, L, options, defaults))
            return false;
        lua_settop(L, top - 1);
    }
    lua_settop(L, options);
    return true;
}

static bool use_policy(struct app *app, struct handler *handler, lua_State *L, const char *name, int given)
{
    struct policy *policy = find_policy(app, name);
    if (!policy)
        return unknown_policy(app, handler, name);
    handler->policy_ref = policy->function_ref;
    if (policy->options_ref == LUA_NOREF) {
        if (given) { /* a plain function is free to read what it is given */
            lua_pushvalue(L, given);
            keep_options(handler, L);
        }
        return true;
    }
    if (!push_options(app, handler, L, policy, given))
        return false;
    keep_options(handler, L);
    return true;
}

/* { "10s", "1m", "1h" } is { policy = "list", delays = that }. */
static bool use_list(struct app *app, struct handler *handler, lua_State *L, int list)
{
    lua_newtable(L);
    lua_pushvalue(L, list);
    lua_setfield(L, -2, "delays");
    return use_policy(app, handler, L, "list", lua_gettop(L));
}

static bool read_retry(struct app *app, struct handler *handler, lua_State *L, json_t *row)
{
    int given = lua_gettop(L);
    if (lua_isfunction(L, given)) {
        lua_pushvalue(L, given);
        handler->policy_ref = keep_function(L);
        json_object_set_new(row, "retry", json_string("function"));
        return true;
    }
    if (lua_type(L, given) == LUA_TSTRING) {
        json_object_set_new(row, "retry", json_string(lua_tostring(L, given)));
        return use_policy(app, handler, L, lua_tostring(L, given), 0);
    }
    if (!lua_istable(L, given))
        return refuse(app, handler, "retry is a %s (write a name, a table or a function)",
                      luaL_typename(L, given));
    lua_getfield(L, given, "policy");
    if (lua_type(L, -1) == LUA_TSTRING) {
        json_object_set_new(row, "retry", json_string(lua_tostring(L, -1)));
        return use_policy(app, handler, L, lua_tostring(L, -1), given);
    }
    if (lua_objlen(L, given) == 0)
        return refuse(app, handler, "retry: a table has policy = \"name\", or is a list of delays");
    json_object_set_new(row, "retry", json_string("list"));
    return use_list(app, handler, L, given);
}

bool app_read_retry(struct app *app, lua_State *L, struct handler *handler, json_t *row)
{
    int top = lua_gettop(L);
    bool good = read_retry(app, handler, L, row);
    lua_settop(L, top);
    return good;
}
