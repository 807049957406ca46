/*
 * schedules.lua: the entries' tables as JSON. What they mean the server reads, as it does for CRON SET (dispatch/schedule.h);
 * here is only found out what Lua alone knows: names, lines, and which args are functions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "job/name.h"
#include "runtime/inside.h"
#include "runtime/json.h"
#include "runtime/load.h"
#include "runtime/source.h"

#define FILE_NAME   "schedules.lua"
#define VALUE_BYTES (64 << 10)

/* Behind `name =`, before the value that begins at `at`? */
static bool names(const char *line, const char *at)
{
    while (at > line && (at[-1] == ' ' || at[-1] == '\t'))
        at--;
    if (at == line || *--at != '=')
        return false;
    while (at > line && strchr(" \t]\"'", at[-1]))
        at--;
    return at - line >= 4 && memcmp(at - 4, "name", 4) == 0;
}

/* How sure it is that the entry stands in this line: 2, `name = "..."`; 1, its name in quotes; 0, not. */
static int tells_of(const char *line, const char *name)
{
    size_t len = strlen(name);
    int sure = 0;
    for (const char *at = line; sure < 2 && (at = strstr(at, name)); at++)
        if (at > line && strchr("\"'", at[-1]) && at[len] == at[-1])
            sure = names(line, at - 1) ? 2 : 1;
    return sure;
}

/* The entry's line; a good guess, from the text alone. 0: a name that is computed stands nowhere. */
static int line_of(const char *name)
{
    char path[4400], *line = NULL;
    size_t room = 0;
    int number = 0, found = 0, surest = 0;
    snprintf(path, sizeof path, "%s/" FILE_NAME, rt.setup.app);
    FILE *file = fopen(path, "r");
    while (file && surest < 2 && getline(&line, &room, file) >= 0) {
        number++;
        int sure = tells_of(line, name);
        if (sure < 2 && source_gives_value(slice_of(line), slice_of(name)))
            sure = 2; /* nightly = { ... } */
        if (sure > surest) {
            surest = sure;
            found = number;
        }
    }
    free(line);
    if (file)
        fclose(file);
    return found;
}

static json_t *row_named(json_t *rows, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        const char *other = json_string_value(json_object_get(row, "name"));
        if (other && strcmp(other, name) == 0)
            return row;
    }
    return NULL;
}

/* The entry does not fire; the others do. */
static void complain(json_t *row, const char *text)
{
    if (json_object_get(row, "error"))
        return; /* the first is enough */
    json_t *message = json_string(text);
    json_object_set_new(row, "error", message ? message : json_string("the message is not UTF-8"));
}

/* The value at the top of the stack. */
static void add_value(json_t *row, json_t *definition, lua_State *L, const char *key)
{
    struct buf text = BUF_INIT;
    struct mq_err err;
    char message[MQ_ERR_TEXT_BYTES + 64];
    json_error_t why;
    json_t *value = NULL;
    if (json_write(&text, L, -1, VALUE_BYTES, &err) != MQ_OK)
        snprintf(message, sizeof message, "%.40s %s", key, err.text);
    else if (!(value = json_loadb(text.at, buf_len(&text), JSON_DECODE_ANY | JSON_ALLOW_NUL, &why)))
        snprintf(message, sizeof message, "%.40s holds what cannot be kept: %.120s", key, why.text);
    if (value)
        json_object_set_new(definition, key, value);
    else
        complain(row, message);
    buf_release(&text);
}

static void add_key(json_t *row, json_t *definition, lua_State *L)
{
    if (lua_type(L, -2) != LUA_TSTRING) {
        complain(row, "an entry has keys by name (cron = \"0 9 * * *\"), not a list");
        return;
    }
    const char *key = lua_tostring(L, -2);
    if (strcmp(key, "name") == 0)
        return;
    if (strcmp(key, "args_function") == 0)
        complain(row, "unknown option 'args_function' (args may be a function)");
    else if (strcmp(key, "args") == 0 && lua_isfunction(L, -1))
        json_object_set_new(definition, "args_function", json_true());
    else
        add_value(row, definition, L, key);
}

/* The name of the entry at the top of the stack, whose key is below it; NULL: it has none that is a name. */
static const char *name_of(lua_State *L)
{
    const char *name = NULL;
    if (lua_type(L, -2) == LUA_TSTRING)
        return lua_tostring(L, -2);
    lua_pushliteral(L, "name");
    lua_rawget(L, -2);
    if (lua_type(L, -1) == LUA_TSTRING)
        name = lua_tostring(L, -1); /* the entry keeps it */
    lua_pop(L, 1);
    return name;
}

/* An entry that cannot even be named: which one, and why. Its key is below it on the stack. */
static void add_nameless(json_t *rows, lua_State *L, const char *name, const char *why)
{
    char text[MQ_ERR_TEXT_BYTES + 64];
    if (lua_type(L, -2) == LUA_TNUMBER)
        snprintf(text, sizeof text, "entry %.14g: %s", lua_tonumber(L, -2), why);
    else
        snprintf(text, sizeof text, "%s", why);
    json_t *row = json_pack("{s:i}", "line", name ? line_of(name) : 0);
    json_array_append_new(rows, row);
    complain(row, text);
}

static void read_entry(json_t *rows, lua_State *L)
{
    struct mq_err err;
    if (!lua_istable(L, -1)) {
        add_nameless(rows, L, NULL,
                     "is not a table (write { name = \"...\", cron = \"...\", type = \"...\" })");
        return;
    }
    const char *name = name_of(L);
    if (!name || name_check("schedule", slice_of(name), &err) != MQ_OK) {
        add_nameless(rows, L, name, name ? err.text : "has no name (write name = \"nightly\")");
        return;
    }
    json_t *other = row_named(rows, name);
    if (other) {
        complain(other, "two entries have this name");
        return;
    }
    json_t *row = json_pack("{s:s, s:i}", "name", name, "line", line_of(name));
    json_t *definition = json_object();
    json_object_set_new(row, "definition", definition);
    json_array_append_new(rows, row);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        add_key(row, definition, L);
        lua_pop(L, 1);
    }
}

void app_load_schedules(struct app *app, lua_State *L)
{
    char path[4400];
    json_t *rows = json_object_get(app->ready, "schedules");
    snprintf(path, sizeof path, "%s/" FILE_NAME, rt.setup.app);
    if (access(path, F_OK) != 0 || !load_table(app, L, rt.setup.app, FILE_NAME, FILE_NAME))
        return;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        read_entry(rows, L);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* ---- args that are functions ---- */

/* Pushes the entry's function; false: there is none, any more. */
static bool find_args(lua_State *L, const char *name)
{
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        const char *here = lua_istable(L, -1) ? name_of(L) : NULL;
        if (here && strcmp(here, name) == 0) {
            lua_pushliteral(L, "args");
            lua_rawget(L, -2);
            return lua_isfunction(L, -1);
        }
        lua_pop(L, 1);
    }
    return false;
}

/* { name, planned_at }, as the job will have it. */
static void push_schedule(lua_State *L, const char *name, double planned_at)
{
    lua_createtable(L, 0, 2);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pushnumber(L, planned_at / 1000);
    lua_setfield(L, -2, "planned_at");
}

static json_t *failed(const char *text)
{
    json_t *message = json_string(text ? text : "it raised an error that is not text");
    return json_pack("{s:o}", "error",
                     message ? message : json_string("it raised an error that is not UTF-8"));
}

static json_t *call_args(lua_State *L, const char *name, double planned_at)
{
    struct buf text = BUF_INIT;
    struct mq_err err;
    push_schedule(L, name, planned_at);
    meter_enter(&rt.meter, 0);
    int status = interrupt_bounded_call(L, 1, 1, SCHEDULE_ARGS_MS);
    meter_leave(&rt.meter);
    if (status != 0)
        return failed(load_error_text(L));
    if (!lua_istable(L, -1)) {
        char why[64];
        snprintf(why, sizeof why, "it returned %s%s, not a table", lua_isnil(L, -1) ? "nothing" : "a ",
                 lua_isnil(L, -1) ? "" : luaL_typename(L, -1));
        return failed(why);
    }
    json_t *answer = NULL;
    if (json_write(&text, L, -1, rt.setup.payload_max, &err) == MQ_OK)
        answer = json_pack("{s:s#}", "args", buf_bytes(&text).at, (int)buf_len(&text));
    else
        answer = failed(err.text);
    buf_release(&text);
    return answer ? answer : failed("its answer is not UTF-8");
}

json_t *app_schedule_args(struct app *app, lua_State *L, const char *name, double planned_at)
{
    json_t *answer;
    if (!load_table(app, L, rt.setup.app, FILE_NAME, FILE_NAME)) {
        json_t *first = json_array_get(json_object_get(app->ready, "errors"), 0);
        return failed(json_string_value(json_object_get(first, "message")));
    }
    answer = find_args(L, name) ? call_args(L, name, planned_at)
                                : failed("schedules.lua has no such function any more (RELOAD)");
    return answer;
}
