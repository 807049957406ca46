#include "runtime/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <lauxlib.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "runtime/inside.h"
#include "runtime/registry.h"

int luaopen_cjson(lua_State *L);

/* Addresses serve as keys of the registry. */
static char key_decode, key_array_mark, key_tree;

/* ---- writing ---- */

struct writer {
    struct buf *out;
    size_t start, limit;
    struct mq_err *err;
};

static enum mq_code write_value(struct writer *w, lua_State *L, int index, int depth);

static enum mq_code check_size(const struct writer *w)
{
    if (buf_len(w->out) - w->start <= w->limit)
        return MQ_OK;
    return mq_fail(w->err, MQ_TOOBIG, "its JSON is larger than the limit of %zu bytes", w->limit);
}

/* The shortest of 15 or 17 digits that reads back as the same number. */
static enum mq_code write_number(struct writer *w, double number)
{
    char text[32];
    if (!isfinite(number))
        return mq_fail(w->err, MQ_BADARG, "JSON cannot hold %s", isnan(number) ? "NaN" : "infinity");
    if (number == floor(number) && fabs(number) < 9007199254740992.0) {
        int64_t whole = (int64_t)number;
        if (whole >= 0 && whole < 10)
            buf_u8(w->out, (uint8_t)('0' + whole));
        else
            buf_add(w->out, text, (size_t)snprintf(text, sizeof text, "%" PRId64, whole));
        return MQ_OK;
    }
    int len = snprintf(text, sizeof text, "%.15g", number);
    if (strtod(text, NULL) != number)
        len = snprintf(text, sizeof text, "%.17g", number);
    buf_add(w->out, text, (size_t)len);
    return MQ_OK;
}

/* A string may be sixfold as JSON; its length alone tells most that are too long before they are copied. */
static enum mq_code write_string(struct writer *w, lua_State *L, int index)
{
    size_t len;
    const char *at = lua_tolstring(L, index, &len);
    if (len > w->limit)
        return mq_fail(w->err, MQ_TOOBIG, "its JSON is larger than the limit of %zu bytes", w->limit);
    json_add_string(w->out, (struct slice){at, len});
    return check_size(w);
}

/*
 * How many entries a list has; 0: the table is an object. A list has the keys 1 to n; a few holes are written
 * as null. cjson's rule: more than ten, and more holes than entries, is taken for a mistake.
 */
static enum mq_code list_length(struct writer *w, lua_State *L, int table, size_t *out)
{
    size_t count = 0;
    double most = 0;
    *out = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        double key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        lua_pop(L, 1);
        if (key < 1 || key != floor(key)) {
            lua_pop(L, 1);
            return MQ_OK;
        }
        count++;
        most = key > most ? key : most;
    }
    if (most > 10 && most > 2.0 * (double)count)
        return mq_fail(w->err, MQ_BADARG, "a list with %zu entries has the key %.0f: too many holes", count,
                       most);
    *out = (size_t)most;
    return MQ_OK;
}

static enum mq_code write_list(struct writer *w, lua_State *L, int table, size_t length, int depth)
{
    enum mq_code code = MQ_OK;
    buf_u8(w->out, '[');
    for (size_t i = 1; code == MQ_OK && i <= length; i++) {
        if (i > 1)
            buf_u8(w->out, ',');
        lua_rawgeti(L, table, (int)i);
        code = write_value(w, L, lua_gettop(L), depth);
        lua_pop(L, 1);
    }
    buf_u8(w->out, ']');
    return code;
}

static enum mq_code write_key(struct writer *w, lua_State *L, int index)
{
    if (lua_type(L, index) == LUA_TSTRING)
        return write_string(w, L, index);
    if (lua_type(L, index) != LUA_TNUMBER)
        return mq_fail(w->err, MQ_BADARG, "JSON cannot hold a %s as a key", luaL_typename(L, index));
    buf_u8(w->out, '"');
    enum mq_code code = write_number(w, lua_tonumber(L, index));
    buf_u8(w->out, '"');
    return code;
}

static enum mq_code write_object(struct writer *w, lua_State *L, int table, int depth)
{
    enum mq_code code = MQ_OK;
    bool first = true;
    buf_u8(w->out, '{');
    lua_pushnil(L);
    while (code == MQ_OK && lua_next(L, table)) {
        if (!first)
            buf_u8(w->out, ',');
        first = false;
        code = write_key(w, L, lua_gettop(L) - 1);
        buf_u8(w->out, ':');
        if (code == MQ_OK)
            code = write_value(w, L, lua_gettop(L), depth);
        lua_pop(L, 1);
    }
    if (code != MQ_OK)
        lua_pop(L, 1); /* the key */
    buf_u8(w->out, '}');
    return code;
}

static bool is_marked_list(lua_State *L, int table)
{
    bool marked = false;
    if (lua_getmetatable(L, table)) {
        json_push_array_mark(L);
        marked = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    return marked;
}

static enum mq_code write_table(struct writer *w, lua_State *L, int table, int depth)
{
    size_t length = 0;
    bool number_first = false, empty;
    if (depth > JSON_DEPTH_MAX || !lua_checkstack(L, 8))
        return mq_fail(w->err, MQ_BADARG, "a table is nested more than %d deep (or contains itself)",
                       JSON_DEPTH_MAX);
    lua_pushnil(L);
    empty = !lua_next(L, table);
    if (!empty) {
        number_first = lua_type(L, -2) == LUA_TNUMBER;
        lua_pop(L, 2);
    } else if (is_marked_list(L, table)) {
        buf_add(w->out, "[]", 2);
        return MQ_OK;
    }
    enum mq_code code = number_first ? list_length(w, L, table, &length) : MQ_OK;
    if (code != MQ_OK)
        return code;
    return length ? write_list(w, L, table, length, depth) : write_object(w, L, table, depth);
}

static enum mq_code write_value(struct writer *w, lua_State *L, int index, int depth)
{
    enum mq_code code = check_size(w);
    if (code != MQ_OK)
        return code;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        buf_add(w->out, "null", 4);
        return MQ_OK;
    case LUA_TBOOLEAN:
        buf_add_slice(w->out, lua_toboolean(L, index) ? SLICE("true") : SLICE("false"));
        return MQ_OK;
    case LUA_TNUMBER:
        return write_number(w, lua_tonumber(L, index));
    case LUA_TSTRING:
        return write_string(w, L, index);
    case LUA_TTABLE:
        return write_table(w, L, index, depth + 1);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index) == NULL) {
            buf_add(w->out, "null", 4);
            return MQ_OK;
        }
        break;
    default:
        break;
    }
    return mq_fail(w->err, MQ_BADARG, "JSON cannot hold a %s", luaL_typename(L, index));
}

enum mq_code json_write(struct buf *out, lua_State *L, int index, size_t limit, struct mq_err *err)
{
    struct writer w = {out, buf_len(out), limit, err};
    if (index < 0)
        index += lua_gettop(L) + 1;
    enum mq_code code = write_value(&w, L, index, 0);
    return code == MQ_OK ? check_size(&w) : code;
}

/* ---- reading ---- */

void json_push_array_mark(lua_State *L)
{
    registry_get(L, &key_array_mark);
}

/* A list without entries is somewhere in the text (or in a string of it, which does no harm). */
static bool has_empty_list(struct slice text)
{
    const char *at = text.at, *end = text.at + text.len;
    while ((at = memchr(at, '[', (size_t)(end - at)))) {
        do
            at++;
        while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'));
        if (at < end && *at == ']')
            return true;
    }
    return false;
}

static void push_tree(lua_State *L, const json_t *node);

static void push_list(lua_State *L, const json_t *list)
{
    size_t i;
    json_t *value;
    lua_createtable(L, (int)json_array_size(list), 0);
    json_array_foreach(list, i, value)
    {
        push_tree(L, value);
        lua_rawseti(L, -2, (int)i + 1);
    }
    if (json_array_size(list) == 0) {
        json_push_array_mark(L);
        lua_setmetatable(L, -2);
    }
}

static void push_object(lua_State *L, json_t *object)
{
    lua_createtable(L, 0, (int)json_object_size(object));
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        lua_pushlstring(L, json_object_iter_key(at), json_object_iter_key_len(at));
        push_tree(L, json_object_iter_value(at));
        lua_rawset(L, -3);
    }
}

static void push_tree(lua_State *L, const json_t *node)
{
    luaL_checkstack(L, 4, "JSON is nested too deeply");
    switch (json_typeof(node)) {
    case JSON_OBJECT:
        push_object(L, (json_t *)node);
        return;
    case JSON_ARRAY:
        push_list(L, node);
        return;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(node), json_string_length(node));
        return;
    case JSON_INTEGER:
    case JSON_REAL:
        lua_pushnumber(L, json_number_value(node));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(node));
        return;
    case JSON_NULL:
        lua_pushlightuserdata(L, NULL);
        return;
    }
}

static int tree_gc(lua_State *L)
{
    json_t **held = lua_touserdata(L, 1);
    json_decref(*held);
    *held = NULL;
    return 0;
}

/*
 * A tree takes up to fifty times the bytes of its text, outside of Lua's limit. So it may be as large as half of that
 * limit, and not larger.
 */
static size_t tree_bytes, tree_limit; /* 0: no limit; trees that are not a script's */

static void *tree_alloc(size_t bytes)
{
    if (tree_limit && tree_bytes + bytes > tree_limit)
        return NULL;
    void *at = malloc(bytes);
    tree_bytes += at && tree_limit ? malloc_usable_size(at) : 0;
    return at;
}

/* Jansson's tree hangs in a userdata while it is copied: running out of memory half-way must not leak it. */
static bool read_with_jansson(lua_State *L, struct slice text, bool *too_large)
{
    json_error_t why;
    json_t **held = lua_newuserdata(L, sizeof *held);
    *held = NULL;
    registry_get(L, &key_tree);
    lua_setmetatable(L, -2);
    tree_bytes = 0;
    tree_limit = rt.meter.limit / 2;
    *held = json_loadb(text.at, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &why);
    tree_limit = 0;
    if (!*held) {
        *too_large = tree_bytes > 0 && json_error_code(&why) == json_error_out_of_memory;
        lua_pop(L, 1);
        return false;
    }
    push_tree(L, *held);
    json_decref(*held);
    *held = NULL;
    lua_remove(L, -2);
    return true;
}

enum mq_code json_read(lua_State *L, struct slice text, struct mq_err *err)
{
    bool too_large = false;
    if (has_empty_list(text) && read_with_jansson(L, text, &too_large))
        return MQ_OK;
    if (too_large)
        return mq_fail(err, MQ_TOOBIG, "its values do not fit into memory");
    registry_get(L, &key_decode);
    lua_pushlstring(L, text.at, text.len);
    int status = lua_pcall(L, 1, 1, 0);
    if (status == 0)
        return MQ_OK;
    if (status == LUA_ERRMEM)
        lua_error(L);
    const char *why = lua_tostring(L, -1);
    mq_fail(err, MQ_BADARG, "%.250s", why ? why : "not JSON");
    lua_pop(L, 1);
    return MQ_BADARG;
}

/* cjson[name](argument) */
static void configure(lua_State *L, const char *name, int is_flag, int value)
{
    lua_getfield(L, -1, name);
    if (is_flag)
        lua_pushboolean(L, value);
    else
        lua_pushinteger(L, value);
    lua_call(L, 1, 0);
}

void json_open(lua_State *L)
{
    json_set_alloc_funcs(tree_alloc, free);
    lua_pushcfunction(L, luaopen_cjson);
    lua_call(L, 0, 1);
    configure(L, "decode_max_depth", 0, JSON_DEPTH_MAX);
    configure(L, "decode_invalid_numbers", 1, 0);
    lua_getfield(L, -1, "decode");
    registry_set(L, &key_decode);
    lua_pop(L, 1);

    lua_newtable(L);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    registry_set(L, &key_array_mark);

    lua_newtable(L);
    lua_pushcfunction(L, tree_gc);
    lua_setfield(L, -2, "__gc");
    registry_set(L, &key_tree);
}
