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

/* The file, as it is read. Ten thousand entries are a file like others: nothing here looks at all of them for each. */
struct reading {
    json_t *rows;
    json_t *named; /* name -> its row */
    json_t *
        lines; /* what stands in quotes, or is given a value -> its line * 4, and how sure it is that an entry is meant */
};

/* ---- where entries stand: a good guess, from the text alone ---- */

enum {
    SURE_TEXT = 1,
    SURE_NAME = 2
}; /* "nightly"; name = "nightly", or nightly = { ... } */

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

/* The first line counts, and the first that is surer. */
static void note_line(json_t *lines, const char *at, size_t len, int line, int sure)
{
    char word[NAME_MAX_BYTES + 1];
    if (!len || len >= sizeof word)
        return;
    memcpy(word, at, len);
    word[len] = '\0';
    if (sure > json_integer_value(json_object_get(lines, word)) % 4)
        json_object_set_new(lines, word, json_integer((json_int_t)line * 4 + sure));
}

static void note_texts(json_t *lines, const char *line, int number)
{
    for (const char *at = line; (at = strpbrk(at, "\"'")); at++) {
        const char *end = strchr(at + 1, *at);
        if (end)
            note_line(lines, at + 1, (size_t)(end - at - 1), number, names(line, at) ? SURE_NAME : SURE_TEXT);
    }
}

/* nightly = { ... }, ["nightly"] = { ... } */
static void note_keys(json_t *lines, const char *line, int number)
{
    const char *comment = strstr(line, "--");
    for (const char *at = line; (at = strchr(at, '=')) && (!comment || at < comment); at++) {
        const char *end = at, *start;
        while (end > line && strchr(" \t]\"'", end[-1]))
            end--;
        for (start = end; start > line && end - start <= NAME_MAX_BYTES && !strchr(" \t[\"'{,;", start[-1]);)
            start--;
        note_line(lines, start, (size_t)(end - start), number, SURE_NAME);
    }
}

static json_t *read_lines(void)
{
    char path[4400], *line = NULL;
    size_t room = 0;
    json_t *lines = json_object();
    snprintf(path, sizeof path, "%s/" FILE_NAME, rt.setup.app);
    FILE *file = fopen(path, "r");
    for (int number = 1; file && getline(&line, &room, file) >= 0; number++) {
        note_texts(lines, line, number);
        note_keys(lines, line, number);
    }
    free(line);
    if (file)
        fclose(file);
    return lines;
}

/* 0: a name that is computed stands nowhere. */
static int line_of(const struct reading *r, const char *name)
{
    return (int)(json_integer_value(json_object_get(r->lines, name)) / 4);
}

/* ---- entries ---- */

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
        snprintf(message, sizeof message, "%.40s: %s", key, err.text);
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
static void add_nameless(struct reading *r, lua_State *L, const char *name, const char *why)
{
    char text[MQ_ERR_TEXT_BYTES + 64];
    if (lua_type(L, -2) == LUA_TNUMBER)
        snprintf(text, sizeof text, "entry %.14g: %s", lua_tonumber(L, -2), why);
    else
        snprintf(text, sizeof text, "%s", why);
    json_t *row = json_pack("{s:i}", "line", name ? line_of(r, name) : 0);
    json_array_append_new(r->rows, row);
    complain(row, text);
}

static void read_entry(struct reading *r, lua_State *L)
{
    struct mq_err err;
    if (!lua_istable(L, -1)) {
        add_nameless(r, L, NULL, "is not a table (write { name = \"...\", cron = \"...\", type = \"...\" })");
        return;
    }
    const char *name = name_of(L);
    if (!name || name_check("schedule", slice_of(name), &err) != MQ_OK) {
        add_nameless(r, L, name, name ? err.text : "has no name (write name = \"nightly\")");
        return;
    }
    json_t *other = json_object_get(r->named, name);
    if (other) {
        complain(other, "two entries have this name");
        return;
    }
    json_t *row = json_pack("{s:s, s:i}", "name", name, "line", line_of(r, name));
    json_t *definition = json_object();
    json_object_set_new(row, "definition", definition);
    json_object_set(r->named, name, row);
    json_array_append_new(r->rows, row);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        add_key(row, definition, L);
        lua_pop(L, 1);
    }
}

void app_load_schedules(struct app *app, lua_State *L)
{
    char path[4400];
    struct reading r = {.rows = json_object_get(app->ready, "schedules")};
    snprintf(path, sizeof path, "%s/" FILE_NAME, rt.setup.app);
    if (access(path, F_OK) != 0 || !load_table(app, L, rt.setup.app, FILE_NAME, FILE_NAME))
        return;
    r.named = json_object();
    r.lines = read_lines();
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        read_entry(&r, L);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    json_decref(r.named);
    json_decref(r.lines);
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
