#include "runtime/net_op.h"

#include <curl/curl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"

#define TIMEOUT_MAX_MS (24 * 3600 * 1000LL) /* longer is a mistake in the unit */

/* ---- the operation ------------------------------------------------------------------------------------------ */

static void op_end(struct net_op *op)
{
    op->task = NULL;
    op->over = true;
    ev_timer_stop(host_loop(), &op->deadline);
    op->kind->release(op);
}

static int op_collect(lua_State *L)
{
    struct net_op *op = lua_touserdata(L, 1);
    if (op && op->kind) {
        if (op->task)
            host_forget(op->task, op);
        op_end(op);
    }
    return 0;
}

/* Whole, or not at all: memory may end between any two of these lines, and the next handler finds what is left. */
static void push_kind(lua_State *L, const struct net_kind *kind)
{
    luaL_getmetatable(L, kind->name);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, op_collect);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, kind->name);
}

void *net_op_new(lua_State *L, const struct net_kind *kind, size_t size)
{
    struct net_op *op = lua_newuserdata(L, size);
    memset(op, 0, size);
    push_kind(L, kind);
    op->kind = kind; /* from here on the collector releases it */
    lua_setmetatable(L, -2);
    return op;
}

void *net_op_at(lua_State *L, int index, const struct net_kind *kind)
{
    return luaL_checkudata(L, index, kind->name);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void op_timer(struct net_op *op, double after_s)
{
    ev_timer_stop(host_loop(), &op->deadline);
    ev_now_update(host_loop()); /* the handler may have computed for long since the loop last looked */
    ev_timer_set(&op->deadline, after_s, 0);
    ev_timer_start(host_loop(), &op->deadline);
}

void net_op_finish(struct net_op *op)
{
    struct task *task = op->task;
    op->over = true;
    if (op->starting) {
        op_timer(op, 0);
        return;
    }
    ev_timer_stop(host_loop(), &op->deadline);
    op->took_s = now_s() - op->began_s;
    op->task = NULL;
    if (task)
        host_wake(task, 0);
}

static void on_abandon(void *owner)
{
    op_end(owner);
}

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct net_op *op = timer->data;
    (void)loop, (void)events;
    if (op->over)
        net_op_finish(op); /* it ended while it was started */
    else
        op->kind->expired(op);
}

/* The userdata is ours if its metatable ends in the collector of this file. */
static struct net_op *check_op(lua_State *L)
{
    struct net_op *op = lua_touserdata(L, 1);
    bool ours = false;
    if (op && lua_getmetatable(L, 1)) {
        lua_getfield(L, -1, "__gc");
        ours = lua_tocfunction(L, -1) == op_collect;
        lua_pop(L, 2);
    }
    if (!ours)
        luaL_error(L, "net.wait: not an operation");
    return op;
}

int net_wait(lua_State *L)
{
    struct net_op *op = check_op(L);
    if (op->started)
        return luaL_error(L, "net.wait: started before");
    struct task *task = net_task(L);
    int parked = host_park(L, op, on_abandon);
    /* Parked: nothing raises any more. */
    op->task = task;
    op->started = true;
    op->began_s = now_s();
    ev_init(&op->deadline, on_deadline);
    op->deadline.data = op;
    op_timer(op, (double)op->timeout_ms / 1000);
    op->starting = true;
    op->kind->start(op);
    op->starting = false;
    return parked;
}

int net_push_failure(lua_State *L, const char *code, const char *message, bool retryable)
{
    lua_pushnil(L);
    lua_pushstring(L, code);
    lua_pushstring(L, message);
    lua_pushboolean(L, retryable);
    return 4;
}

struct task *net_task(lua_State *L)
{
    struct task *task = host_current(L);
    if (!task)
        luaL_error(L, "only a running handler may use the network");
    return task;
}

/* ---- options ------------------------------------------------------------------------------------------------ */

/* Leaves the value on the stack: the table holds it, so the caller may pop it and keep the pointer. */
bool net_option_bytes(lua_State *L, const char *field, struct slice *out)
{
    *out = (struct slice){NULL, 0};
    lua_getfield(L, 1, field);
    int type = lua_type(L, -1);
    if (type == LUA_TSTRING)
        out->at = lua_tolstring(L, -1, &out->len);
    lua_pop(L, 1);
    if (type != LUA_TSTRING && type != LUA_TNIL)
        host_raise(L, "BADARG", false, "%s must be a string, not a %s", field, lua_typename(L, type));
    return type == LUA_TSTRING;
}

bool net_option_text(lua_State *L, const char *field, struct slice *out)
{
    if (!net_option_bytes(L, field, out))
        return false;
    if (out->len > NET_OPTION_MAX_BYTES)
        host_raise(L, "BADARG", false, "%s has %zu bytes, more than %d", field, out->len,
                   NET_OPTION_MAX_BYTES);
    for (size_t i = 0; i < out->len; i++)
        if (out->at[i] == 0 || out->at[i] == '\r' || out->at[i] == '\n')
            host_raise(L, "BADARG", false, "%s must not contain a line break or a zero byte", field);
    return true;
}

/*
 * Certificates are read while the connection is made, when no job is on the CPU that a loop could be charged to: so
 * nothing endless (a device), and nothing large.
 */
bool net_option_ca(lua_State *L, struct slice *out)
{
    struct stat about;
    if (net_option_bytes(L, "ca", out) && strstr(out->at, "-----BEGIN")) {
        if (out->len > NET_CA_MAX_BYTES)
            host_raise(L, "BADARG", false, "ca has %zu bytes, more than %d", out->len, NET_CA_MAX_BYTES);
        return true;
    }
    if (net_option_text(L, "ca", out) && stat(out->at, &about) == 0 &&
        (!S_ISREG(about.st_mode) || about.st_size > NET_CA_MAX_BYTES))
        host_raise(L, "BADARG", false, "ca: '%.200s' is not a file of at most %d bytes", out->at,
                   NET_CA_MAX_BYTES);
    return false;
}

bool net_option_flag(lua_State *L, const char *field, bool otherwise)
{
    lua_getfield(L, 1, field);
    bool value = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

int64_t net_option_count(lua_State *L, const char *field, int64_t otherwise)
{
    lua_getfield(L, 1, field);
    bool given = !lua_isnil(L, -1), number = lua_type(L, -1) == LUA_TNUMBER;
    double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (!given)
        return otherwise;
    if (!number || !(value >= 1 && value <= 9007199254740992.0) || value != (double)(int64_t)value)
        host_raise(L, "BADARG", false, "%s must be a whole number from 1", field);
    return (int64_t)value;
}

/* Reads the value at the top. False: it is no duration. */
static bool read_ms(lua_State *L, int64_t *out)
{
    struct slice text;
    if (lua_type(L, -1) == LUA_TNUMBER) {
        double seconds = lua_tonumber(L, -1);
        if (!(seconds > 0 && seconds * 1000 <= (double)TIMEOUT_MAX_MS))
            return false;
        *out = (int64_t)(seconds * 1000 + 0.5);
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        text.at = lua_tolstring(L, -1, &text.len);
        if (duration_parse(out, text, NULL) != MQ_OK)
            return false;
    } else {
        return false;
    }
    return *out >= 1 && *out <= TIMEOUT_MAX_MS;
}

int64_t net_option_ms(lua_State *L, const char *field, int64_t otherwise)
{
    int64_t ms = otherwise;
    lua_getfield(L, 1, field);
    if (!lua_isnil(L, -1) && !read_ms(L, &ms)) {
        const char *shown = lua_isstring(L, -1) ? lua_tostring(L, -1) : lua_typename(L, lua_type(L, -1));
        host_raise(L, "BADARG", false,
                   "%s '%.100s' is not a time to wait (write \"30s\", or seconds; at most a day)", field,
                   shown);
    }
    lua_pop(L, 1);
    return ms;
}

/* ---- where a handler may go --------------------------------------------------------------------------------- */

void net_must_allow(lua_State *L, const char *kind, struct slice host, int port)
{
    if (host_allows(net_task(L), kind, host, port))
        return;
    host_raise(L, "NOPERM", false,
               "this handler may not speak to %.*s port %d: write allow = { %s = { \"%.*s\" } } in it (or "
               "\"%.*s:%d\" "
               "for this port alone)",
               SLICE_ARG(host), port, kind, SLICE_ARG(host), SLICE_ARG(host), port);
}

static int url_refused(lua_State *L, struct slice url, const char *scheme, CURLUcode why)
{
    const char *reason = curl_url_strerror(why);
    if (why == CURLUE_USER_NOT_ALLOWED)
        reason = "a name or password in a URL ends up in logs; give them as options";
    else if (why == CURLUE_BAD_SCHEME || why == CURLUE_UNSUPPORTED_SCHEME)
        return host_raise(L, "BADARG", false,
                          "'%.200s' is not a URL that can be used here: it must begin with %s://", url.at,
                          scheme);
    return host_raise(L, "BADARG", false, "'%.200s' is not a URL: %s", url.at, reason);
}

/* The host as it is looked up: a name in another script is allowed by either of its two spellings. */
static void must_allow_url(lua_State *L, const char *kind, CURLU *parsed, const char *host, int port)
{
    char *ascii = NULL;
    bool allowed = host_allows(net_task(L), kind, slice_of(host), port);
    if (!allowed && curl_url_get(parsed, CURLUPART_HOST, &ascii, CURLU_PUNYCODE) == CURLUE_OK)
        allowed = host_allows(net_task(L), kind, slice_of(ascii), port);
    curl_free(ascii);
    if (!allowed)
        net_must_allow(L, kind, slice_of(host), port);
}

void net_url_open(lua_State *L, const char *kind, const char *const schemes[2], struct slice url, void **out,
                  char **host, int *port)
{
    char *scheme = NULL, *number = NULL;
    CURLU *parsed = curl_url();
    if (!parsed)
        mq_bug("curl_url failed");
    *out = parsed;
    CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url.at, CURLU_DISALLOW_USER | CURLU_URLENCODE);
    if (code == CURLUE_OK)
        code = curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0);
    bool known = scheme && (strcmp(scheme, schemes[0]) == 0 || strcmp(scheme, schemes[1]) == 0);
    curl_free(scheme);
    if (code == CURLUE_OK && !known)
        code = CURLUE_UNSUPPORTED_SCHEME;
    if (code == CURLUE_OK)
        code = curl_url_get(parsed, CURLUPART_HOST, host, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(parsed, CURLUPART_PORT, &number, CURLU_DEFAULT_PORT);
    *port = number ? (int)strtol(number, NULL, 10) : 0; /* curl let nothing but a port through */
    curl_free(number);
    if (code != CURLUE_OK)
        url_refused(L, url, schemes[1], code);
    for (char *c = *host; *c; c++) /* names are the same in capitals; the list has small letters */
        if (*c >= 'A' && *c <= 'Z')
            *c += 'a' - 'A';
    must_allow_url(L, kind, parsed, *host, *port);
}
