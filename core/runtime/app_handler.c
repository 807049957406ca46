/* A handler's table: which keys it may have, and what they mean. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "job/job.h"
#include "job/name.h"
#include "job/order.h"
#include "runtime/inside.h"
#include "runtime/suggest.h"

/* What is being read. */
struct reading {
    struct app *app;
    lua_State *L;
    const char *file;
    struct handler *handler;
    json_t *row; /* READY.handlers[type] */
    bool failed;
};

static void complain(struct reading *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(struct reading *r, const char *format, ...)
{
    char message[600];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    app_add_error(r->app, r->file, 0, message);
    r->failed = true;
}

/* Each reader finds its value at the top of the stack, and leaves it there. */

static void read_run(struct reading *r, const char *key)
{
    if (!lua_isfunction(r->L, -1)) {
        complain(r, "%s is a %s, not a function", key, luaL_typename(r->L, -1));
        return;
    }
    lua_pushvalue(r->L, -1);
    r->handler->run_ref = luaL_ref(r->L, LUA_REGISTRYINDEX);
}

static void read_queue(struct reading *r, const char *key)
{
    struct mq_err err;
    struct slice name = value_text(r->L, -1);
    if (lua_type(r->L, -1) != LUA_TSTRING)
        complain(r, "%s is a %s, not a name", key, luaL_typename(r->L, -1));
    else if (name_check("queue", name, &err) != MQ_OK)
        complain(r, "%s", err.text);
    else
        json_object_set_new(r->row, key, json_stringn(name.at, name.len));
}

static void read_whole(struct reading *r, const char *key, int least, int most)
{
    double number = lua_type(r->L, -1) == LUA_TNUMBER ? lua_tonumber(r->L, -1) : -1;
    if (number != floor(number) || number < least || number > most)
        complain(r, "%s is not a whole number from %d to %d", key, least, most);
    else
        json_object_set_new(r->row, key, json_integer((json_int_t)number));
}

static void read_priority(struct reading *r, const char *key)
{
    read_whole(r, key, PRIORITY_FIRST, PRIORITY_LAST);
}

static void read_attempts(struct reading *r, const char *key)
{
    read_whole(r, key, 1, ATTEMPTS_MAX);
}

static const struct {
    const char *key, *ready;
    int64_t least, most;
} durations[] = {
    {"timeout", "timeout_ms", 1, TIMEOUT_MAX_MS}, {"lease", "lease_ms", LEASE_LEAST_MS, LEASE_MAX_MS},
    {"keep", "keep_ms", 0, CENTURY_MS},           {"expires", "expires_ms", 1, CENTURY_MS},
    {"delay", "delay_ms", 0, CENTURY_MS},         {"unique_for", "unique_for_ms", 1, CENTURY_MS},
};

static void read_duration(struct reading *r, const char *key)
{
    int64_t ms;
    struct mq_err err;
    char least[DURATION_TEXT_BYTES], most[DURATION_TEXT_BYTES];
    if (!value_duration(r->L, -1, &ms, &err)) {
        complain(r, "%s %s", key, err.text);
        return;
    }
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        if (strcmp(durations[i].key, key) != 0)
            continue;
        if (ms < durations[i].least || ms > durations[i].most)
            complain(r, "%s is out of range (%s to %s)", key, duration_format(least, durations[i].least),
                     duration_format(most, durations[i].most));
        else
            json_object_set_new(r->row, durations[i].ready, json_integer(ms));
    }
}

static void read_retry(struct reading *r, const char *key)
{
    (void)key;
    if (!app_read_retry(r->app, r->L, r->handler, r->row))
        r->failed = true;
}

static void read_limit(struct reading *r, const char *key)
{
    complain(r, "%s: rate limiters are not in this version of moonq (%s); remove the key", key,
             MOONQ_VERSION);
}

/* ---- uniqueness: a text, or a list of names, in the words of PUSH ---- */

/* "a,b" of a list; what is pushed stays on the stack. False: it is neither. */
static bool push_text(lua_State *L)
{
    luaL_Buffer list;
    int index = lua_gettop(L);
    if (lua_type(L, index) == LUA_TSTRING) {
        lua_pushvalue(L, index);
        return true;
    }
    if (!lua_istable(L, index))
        return false;
    luaL_buffinit(L, &list);
    for (int i = 1; i <= (int)lua_objlen(L, index); i++) {
        if (i > 1)
            luaL_addchar(&list, ',');
        lua_rawgeti(L, index, i);
        if (lua_type(L, -1) != LUA_TSTRING)
            return false;
        luaL_addvalue(&list);
    }
    luaL_pushresult(&list);
    return true;
}

static void read_unique(struct reading *r, const char *key)
{
    struct push_order order;
    struct mq_err err;
    struct buf tags = BUF_INIT;
    int top = lua_gettop(r->L);
    order_init(&order);
    order.type = SLICE("any");
    if (!push_text(r->L)) {
        complain(r, "%s is a %s, neither a text nor a list of names", key, luaL_typename(r->L, top));
    } else {
        struct slice text = value_text(r->L, -1);
        enum mq_code code = order_set(&order, slice_of(key), text, &tags, &err);
        if (code == MQ_OK)
            code = order_check(&order, 0, &err);
        json_t *value = strcmp(key, "unique_in") == 0  ? json_integer(order.unique_in)
                        : strcmp(key, "conflict") == 0 ? json_integer(order.conflict)
                                                       : json_stringn(text.at, text.len);
        if (code != MQ_OK)
            complain(r, "%s", err.text);
        if (code == MQ_OK && value)
            json_object_set(r->row, key, value);
        else if (code == MQ_OK)
            complain(r, "%s is not UTF-8", key);
        json_decref(value);
    }
    buf_release(&tags);
    lua_settop(r->L, top);
}

/* ---- allow ---- */

/* "host", "host:port", "[::1]:25", "*.example.org", "*" */
static bool parse_host(struct allowed_host *out, struct slice entry)
{
    struct slice host = entry;
    const char *colon = NULL;
    if (entry.len && entry.at[0] == '[') {
        const char *end = memchr(entry.at, ']', entry.len);
        if (!end)
            return false;
        host = (struct slice){entry.at + 1, (size_t)(end - entry.at - 1)};
        colon = end + 1 < entry.at + entry.len ? end + 1 : NULL;
    } else if ((colon = memchr(entry.at, ':', entry.len))) {
        host.len = (size_t)(colon - entry.at);
    }
    out->port = 0;
    if (colon) {
        const char *at = colon + 1, *end = entry.at + entry.len;
        if (*colon != ':' || at == end || end - at > 5)
            return false;
        for (; at < end; at++) {
            if (*at < '0' || *at > '9')
                return false;
            out->port = out->port * 10 + (*at - '0');
        }
        if (out->port < 1 || out->port > 65535)
            return false;
    }
    for (size_t i = 0; i < host.len; i++)
        if ((unsigned char)host.at[i] <= ' ' || host.at[i] == '/' || host.at[i] == '@' ||
            (host.at[i] == '*' && (i > 0 || (host.len > 1 && host.at[1] != '.'))))
            return false;
    if (host.len == 0 || host.len > 253)
        return false;
    out->host = mq_strdup_slice(host);
    return true;
}

static void add_host(struct reading *r, const char *kind)
{
    struct allowed_host row;
    struct slice entry = value_text(r->L, -1);
    if (lua_type(r->L, -1) != LUA_TSTRING || !parse_host(&row, entry)) {
        complain(r,
                 "allow.%s: '%.*s' is not a host (write \"api.example.com\", \"*.example.com\" or "
                 "\"127.0.0.1:2525\")",
                 kind, SLICE_ARG(entry));
        return;
    }
    row.kind = mq_strdup(kind);
    struct handler *h = r->handler;
    h->hosts = mq_realloc(h->hosts, (h->host_count + 1) * sizeof *h->hosts);
    h->hosts[h->host_count++] = row;
}

static void read_hosts(struct reading *r, const char *kind)
{
    static const char *const kinds[] = {"http", "smtp", NULL};
    char hint[100];
    if (!suggest_known(kinds, kind)) {
        complain(r, "allow: unknown key '%.60s'%s", kind, suggest(hint, sizeof hint, kinds, kind));
    } else if (lua_type(r->L, -1) == LUA_TSTRING) {
        add_host(r, kind);
    } else if (lua_istable(r->L, -1)) {
        for (int i = 1; i <= (int)lua_objlen(r->L, -1); i++) {
            lua_rawgeti(r->L, -1, i);
            add_host(r, kind);
            lua_pop(r->L, 1);
        }
    } else {
        complain(r, "allow.%s is a %s, not a list of hosts", kind, luaL_typename(r->L, -1));
    }
}

static void read_allow(struct reading *r, const char *key)
{
    if (!lua_istable(r->L, -1)) {
        complain(r, "%s is a %s, not a table (write: allow = { http = { \"api.example.com\" } })", key,
                 luaL_typename(r->L, -1));
        return;
    }
    lua_pushnil(r->L);
    while (lua_next(r->L, -2)) {
        if (lua_type(r->L, -2) == LUA_TSTRING)
            read_hosts(r, lua_tostring(r->L, -2));
        else
            complain(r, "allow has kinds of hosts by name (http, smtp), not a list");
        lua_pop(r->L, 1);
    }
}

/* ---- the table ---- */

static const struct {
    const char *key;
    void (*read)(struct reading *r, const char *key);
} keys[] = {
    {"run", read_run},           {"queue", read_queue},      {"priority", read_priority},
    {"attempts", read_attempts}, {"timeout", read_duration}, {"lease", read_duration},
    {"keep", read_duration},     {"expires", read_duration}, {"delay", read_duration},
    {"retry", read_retry},       {"allow", read_allow},      {"limit", read_limit},
    {"unique", read_unique},     {"unique_by", read_unique}, {"unique_for", read_duration},
    {"unique_in", read_unique},  {"conflict", read_unique},
};

static const char *const key_names[] = {
    "run",   "queue", "priority", "attempts",  "timeout",    "lease",     "keep",     "expires", "delay",
    "retry", "allow", "unique",   "unique_by", "unique_for", "unique_in", "conflict", NULL};

static void read_key(struct reading *r)
{
    char hint[100];
    if (lua_type(r->L, -2) != LUA_TSTRING) {
        complain(r, "a handler has keys by name (run = function(job) ... end), not a list");
        return;
    }
    const char *key = lua_tostring(r->L, -2);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i].key, key) == 0) {
            keys[i].read(r, key);
            return;
        }
    complain(r, "unknown key '%.60s'%s", key, suggest(hint, sizeof hint, key_names, key));
}

void app_read_handler(struct app *app, lua_State *L, const char *file, const char *type)
{
    struct handler *handler = mq_calloc(1, sizeof *handler);
    struct reading r = {.app = app, .L = L, .file = file, .handler = handler};
    r.row = json_pack("{s:s}", "file", file);
    handler->type = mq_strdup(type);
    handler->file = mq_strdup(file);
    handler->run_ref = handler->policy_ref = handler->options_ref = LUA_NOREF;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        read_key(&r);
        lua_pop(L, 1);
    }
    bool keyed = json_object_get(r.row, "unique") || json_object_get(r.row, "unique_by");
    if (json_object_get(r.row, "unique") && json_object_get(r.row, "unique_by"))
        complain(&r, "unique (the key) and unique_by (what it is made of) exclude each other");
    if (!keyed && (json_object_get(r.row, "unique_for_ms") || json_object_get(r.row, "unique_in") ||
                   json_object_get(r.row, "conflict")))
        complain(&r, "unique_for, unique_in and conflict mean nothing without unique or unique_by");
    if (handler->run_ref == LUA_NOREF && !r.failed)
        complain(&r, "it has no run (write: run = function(job) ... end)");
    json_object_set_new(json_object_get(app->ready, "handlers"), type, r.row);
    HASH_ADD_KEYPTR(hh, app->handlers, handler->type, strlen(handler->type), handler);
}
