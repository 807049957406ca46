#include "runtime/load.h"

#include <luajit.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "runtime/inside.h"
#include "runtime/sandbox.h"

static char own_current[LOAD_CURRENT_BYTES];
char *load_current = own_current;
static mono_ms total_until;

static void send_overdue(void);
void (*load_overdue)(void) = send_overdue;

/* In a signal's handler: no allocation, no stdio. The name comes from the file system, so it is cleaned. */
static void send_overdue(void)
{
    static const char before[] =
        "{\"ok\":false,\"handlers\":{},\"retries\":[],\"warnings\":[],\"errors\":[{\"file\":\"";
    static const char after[] =
        "\",\"line\":0,\"message\":\"loading did not end (a C function of Lua runs for ever)\"}]}";
    char bytes[LOAD_CURRENT_BYTES + sizeof before + sizeof after + FRAME_HEAD_BYTES],
        *at = bytes + FRAME_HEAD_BYTES;
    memcpy(at, before, sizeof before - 1);
    at += sizeof before - 1;
    for (const char *c = load_current; *c; c++)
        *at++ = *c == '"' || *c == '\\' || (unsigned char)*c < 0x20 || (unsigned char)*c > 0x7E ? '?' : *c;
    memcpy(at, after, sizeof after - 1);
    at += sizeof after - 1;
    be32_put(bytes, (uint32_t)(at - bytes - 4));
    bytes[4] = FRAME_READY;
    if (write(rt.socket, bytes, (size_t)(at - bytes)) < 0)
        _exit(1);
}

static void on_alarm(int number)
{
    (void)number;
    load_overdue();
    _exit(1);
}

static void set_alarm(long ms)
{
    struct itimerval timer = {.it_value = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

void load_begin(struct app *app)
{
    struct sigaction action = {.sa_handler = on_alarm};
    (void)app;
    sigaction(SIGALRM, &action, NULL);
    set_alarm(LOAD_STUCK_MS);
    total_until = clock_mono() + LOAD_TOTAL_MS - LOAD_STUCK_MS;
}

void load_end(void)
{
    set_alarm(0);
    signal(SIGALRM, SIG_IGN);
    load_current[0] = '\0';
}

const char *load_error_text(lua_State *L)
{
    if (lua_type(L, -1) == LUA_TSTRING)
        return lua_tostring(L, -1);
    if (lua_istable(L, -1)) {
        lua_pushliteral(L, "message");
        lua_rawget(L, -2);
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        lua_pop(L, 1); /* the table keeps it */
        if (text)
            return text;
    }
    return "it raised an error that is not text";
}

bool load_value(struct app *app, lua_State *L, const char *folder, const char *file, const char *shown)
{
    struct mq_err err;
    snprintf(load_current, LOAD_CURRENT_BYTES, "%s", shown);
    set_alarm(LOAD_STUCK_MS);
    if (clock_mono() > total_until) {
        app_add_error(app, shown, 0, "not looked at: the time for loading is used up by the files before it");
        return false;
    }
    if (sandbox_load_file(L, folder, file, shown, &err) != MQ_OK) {
        app_add_error(app, shown, 0, err.text);
        return false;
    }
    meter_enter(&rt.meter, 0);
    int status = interrupt_bounded_call(L, 0, 1, LOAD_FILE_MS);
    meter_leave(&rt.meter);
    if (status == 0)
        return true;
    app_add_error(app, shown, 0, load_error_text(L));
    lua_pop(L, 1);
    if (status == LUA_ERRMEM)
        lua_gc(L, LUA_GCCOLLECT, 0);
    return false;
}

bool load_table(struct app *app, lua_State *L, const char *folder, const char *file, const char *shown)
{
    char message[100];
    if (!load_value(app, L, folder, file, shown))
        return false;
    if (lua_istable(L, -1))
        return true;
    if (lua_isnil(L, -1))
        snprintf(message, sizeof message, "it returns nothing (write: return { ... })");
    else
        snprintf(message, sizeof message, "it returns a %s, not a table", luaL_typename(L, -1));
    app_add_error(app, shown, 0, message);
    lua_pop(L, 1);
    return false;
}
