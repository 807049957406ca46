#include "runtime/client.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <lauxlib.h>
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNECTION "moonq.redis.connection"
#define READ_BYTES 65536
#define EXACT_MAX  9007199254740992LL /* 2^53: beyond it a Lua number is not exact */

struct connection {
    int fd; /* -1: closed */
    redisReader *reader;
    char *out;
    size_t out_start, out_end, out_cap; /* what is still to be sent */
    char closed[160];                   /* why, once it is */
};

/* ---- time: a timeout in seconds becomes a deadline; nil is never ---- */

static double monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double deadline_of(lua_State *L, int arg)
{
    return lua_isnoneornil(L, arg) ? HUGE_VAL : monotonic() + luaL_checknumber(L, arg);
}

static int poll_timeout(double deadline)
{
    if (deadline == HUGE_VAL)
        return -1;
    double left_ms = ceil((deadline - monotonic()) * 1000);
    return left_ms <= 0 ? 0 : left_ms > 3600e3 ? 3600000 : (int)left_ms;
}

/* ---- the socket ---- */

enum outcome {
    GOT,
    TIMED_OUT,
    INTERRUPTED,
    CLOSED,
};

static void connection_shut(struct connection *c, const char *why)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    snprintf(c->closed, sizeof c->closed, "%s", why);
}

static bool write_some(struct connection *c)
{
    ssize_t sent = send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    c->out_start += (size_t)sent;
    if (c->out_start == c->out_end)
        c->out_start = c->out_end = 0;
    return true;
}

static bool read_some(struct connection *c)
{
    char bytes[READ_BYTES];
    ssize_t got = recv(c->fd, bytes, sizeof bytes, 0);
    if (got > 0)
        return redisReaderFeed(c->reader, bytes, (size_t)got) == REDIS_OK;
    if (got == 0)
        errno = 0;
    return got < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Waits until something moved, in either direction. */
static enum outcome exchange(struct connection *c, double deadline)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (c->fd < 0)
        return CLOSED;
    if (c->out_end > c->out_start)
        p.events |= POLLOUT;
    int ready = poll(&p, 1, poll_timeout(deadline));
    if (ready < 0)
        return errno == EINTR ? INTERRUPTED : CLOSED;
    if (ready == 0)
        return deadline > monotonic() ? GOT : TIMED_OUT;
    /* Read first: a server that refuses us says why and hangs up, and that reply must not be lost to EPIPE. */
    if ((p.revents & (POLLIN | POLLHUP | POLLERR)) && !read_some(c)) {
        connection_shut(c, errno ? strerror(errno) : "the server closed the connection");
        return CLOSED;
    }
    if ((p.revents & POLLOUT) && !write_some(c) && !(p.revents & POLLIN)) {
        connection_shut(c, strerror(errno));
        return CLOSED;
    }
    return GOT;
}

static int push_failure(lua_State *L, const struct connection *c, enum outcome outcome)
{
    lua_pushnil(L);
    if (outcome == TIMED_OUT) {
        lua_pushliteral(L, "TIMEOUT");
        lua_pushliteral(L, "no reply in the time allowed");
    } else if (outcome == INTERRUPTED) {
        lua_pushliteral(L, "INTERRUPTED");
        lua_pushliteral(L, "a signal came");
    } else {
        lua_pushliteral(L, "CLOSED");
        lua_pushstring(L, c->closed[0] ? c->closed : "the connection is closed");
    }
    return 3;
}

/* ---- replies ---- */

static void push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL); /* cjson.null is this too */
}

static void push_integer(lua_State *L, long long value)
{
    if (value <= EXACT_MAX && value >= -EXACT_MAX) {
        lua_pushnumber(L, (lua_Number)value);
    } else {
        char text[24];
        snprintf(text, sizeof text, "%lld", value);
        lua_pushstring(L, text);
    }
}

/* A reply inside an array; depth is bounded by hiredis' reader. */
static void push_reply(lua_State *L, const redisReply *reply)
{
    luaL_checkstack(L, 4, "reply");
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        push_integer(L, reply->integer);
        break;
    case REDIS_REPLY_NIL:
        push_null(L);
        break;
    case REDIS_REPLY_ERROR:
        lua_createtable(L, 0, 1);
        lua_pushlstring(L, reply->str, reply->len);
        lua_setfield(L, -2, "err");
        break;
    case REDIS_REPLY_ARRAY:
        lua_createtable(L, (int)reply->elements, 0);
        for (size_t i = 0; i < reply->elements; i++) {
            push_reply(L, reply->element[i]);
            lua_rawseti(L, -2, (int)i + 1);
        }
        break;
    default: /* string, status */
        lua_pushlstring(L, reply->str, reply->len);
    }
}

/* Runs under lua_pcall, so that a reply is freed also when Lua has no memory left for it. */
static int push_protected(lua_State *L)
{
    push_reply(L, lua_touserdata(L, 1));
    return 1;
}

/* Leaves true, value or false, error text. */
static int deliver(lua_State *L, redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        lua_pushboolean(L, 0);
        lua_pushlstring(L, reply->str, reply->len);
        freeReplyObject(reply);
        return 2;
    }
    lua_pushboolean(L, 1);
    if (reply->type == REDIS_REPLY_NIL) {
        freeReplyObject(reply);
        lua_pushnil(L);
        return 2;
    }
    lua_pushcfunction(L, push_protected);
    lua_pushlightuserdata(L, reply);
    int failed = lua_pcall(L, 1, 1, 0);
    freeReplyObject(reply);
    return failed ? lua_error(L) : 2;
}

/* ---- what Lua sees ---- */

static struct connection *check_connection(lua_State *L)
{
    return luaL_checkudata(L, 1, CONNECTION);
}

static int connect_unix(const char *path, double timeout)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = (time_t)timeout,
                               .tv_usec = (suseconds_t)((timeout - floor(timeout)) * 1e6)};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    /* A listener whose queue is full makes connect wait; this bounds the wait. */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
        int reason = errno;
        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

static int redis_connect(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    double timeout = luaL_optnumber(L, 2, 5);
    struct connection *c = lua_newuserdata(L, sizeof *c);
    memset(c, 0, sizeof *c);
    c->fd = -1;
    luaL_getmetatable(L, CONNECTION);
    lua_setmetatable(L, -2);
    c->fd = connect_unix(path, timeout);
    if (c->fd < 0) {
        int reason = errno;
        lua_pushnil(L);
        lua_pushliteral(L, "NOSERVER");
        lua_pushfstring(L, "cannot connect to '%s': %s", path, strerror(reason));
        return 3;
    }
    c->reader = redisReaderCreate();
    return c->reader ? 1 : luaL_error(L, "out of memory");
}

/* The arguments as hiredis wants them; anchored in a userdata, so that an error frees them. */
static int collect_arguments(lua_State *L, int list, const char ***argv, size_t **lens)
{
    int count = (int)lua_objlen(L, list);
    luaL_argcheck(L, count > 0, list, "a command is not empty");
    *argv = lua_newuserdata(L, (size_t)count * (sizeof **argv + sizeof **lens));
    *lens = (size_t *)(*argv + count);
    lua_createtable(L, count, 0); /* keeps the text of numbers alive */
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, list, i + 1);
        if (lua_type(L, -1) == LUA_TNUMBER) {
            lua_Number value = lua_tonumber(L, -1);
            char text[40];
            bool whole = value == floor(value) && fabs(value) < (lua_Number)EXACT_MAX;
            snprintf(text, sizeof text, whole ? "%.0f" : "%.17g", value);
            lua_pop(L, 1);
            lua_pushstring(L, text);
        } else if (lua_type(L, -1) != LUA_TSTRING) {
            return luaL_error(L, "argument %d of a command is a %s; it must be a string or a number", i + 1,
                              luaL_typename(L, -1));
        }
        (*argv)[i] = lua_tolstring(L, -1, &(*lens)[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return count;
}

static bool out_add(struct connection *c, const char *bytes, size_t len)
{
    if (c->out_cap - c->out_end < len) {
        size_t waiting = c->out_end - c->out_start;
        size_t cap = (waiting + len) * 2;
        char *grown = malloc(cap);
        if (!grown)
            return false;
        if (waiting)
            memcpy(grown, c->out + c->out_start, waiting);
        free(c->out);
        c->out = grown;
        c->out_cap = cap;
        c->out_start = 0;
        c->out_end = waiting;
    }
    memcpy(c->out + c->out_end, bytes, len);
    c->out_end += len;
    return true;
}

static int connection_append(lua_State *L)
{
    struct connection *c = check_connection(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    const char **argv;
    size_t *lens;
    char *command = NULL;
    int argc = collect_arguments(L, 2, &argv, &lens);
    int len = redisFormatCommandArgv(&command, argc, argv, lens);
    bool added = len >= 0 && out_add(c, command, (size_t)len);
    if (len >= 0)
        redisFreeCommand(command);
    return added ? 0 : luaL_error(L, "out of memory for a command");
}

static int connection_flush(lua_State *L)
{
    struct connection *c = check_connection(L);
    double deadline = deadline_of(L, 2);
    while (c->out_end > c->out_start) {
        enum outcome outcome = exchange(c, deadline);
        if (outcome != GOT)
            return push_failure(L, c, outcome);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int connection_get(lua_State *L)
{
    struct connection *c = check_connection(L);
    double deadline = deadline_of(L, 2);
    if (!c->reader)
        return push_failure(L, c, CLOSED);
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(c->reader, &reply) != REDIS_OK) {
            connection_shut(c, c->reader->errstr);
            return push_failure(L, c, CLOSED);
        }
        if (reply)
            return deliver(L, reply);
        enum outcome outcome = exchange(c, deadline);
        if (outcome != GOT)
            return push_failure(L, c, outcome);
    }
}

static int connection_close(lua_State *L)
{
    struct connection *c = check_connection(L);
    connection_shut(c, "the connection was closed on this side");
    if (c->reader)
        redisReaderFree(c->reader);
    free(c->out);
    c->reader = NULL;
    c->out = NULL;
    c->out_start = c->out_end = c->out_cap = 0;
    return 0;
}

int luaopen_moonq_redis(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"append", connection_append}, {"flush", connection_flush}, {"get", connection_get},
        {"close", connection_close},   {"__gc", connection_close},  {NULL, NULL},
    };
    luaL_newmetatable(L, CONNECTION);
    for (const luaL_Reg *method = methods; method->name; method++) {
        lua_pushcfunction(L, method->func);
        lua_setfield(L, -2, method->name);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, redis_connect);
    lua_setfield(L, -2, "connect");
    push_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}
