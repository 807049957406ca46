/* Host calls that need no job: time, json, duration, randomness. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "job/backoff.h"
#include "runtime/host_api.h"
#include "runtime/inside.h"
#include "runtime/json.h"

static void random_bytes(void *out, size_t len)
{
    char *at = out;
    while (len) {
        ssize_t got = getrandom(at, len, 0);
        if (got <= 0)
            continue; /* EINTR */
        at += got;
        len -= (size_t)got;
    }
}

static uint32_t chance_bits(void)
{
    uint32_t bits;
    random_bytes(&bits, sizeof bits);
    return bits;
}

double host_chance(void)
{
    return chance_bits() / 4294967296.0;
}

/* ---- time ---- */

static int host_time_now(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
    return 1;
}

static int host_time_mono(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
    return 1;
}

struct nap {
    ev_timer timer;
    struct task *task;
};

static void nap_abandon(void *owner)
{
    struct nap *nap = owner;
    ev_timer_stop(rt.loop, &nap->timer);
    free(nap);
}

static void nap_over(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct nap *nap = (struct nap *)timer;
    struct task *task = nap->task;
    (void)loop;
    (void)events;
    nap_abandon(nap);
    host_wake(task, 0);
}

static int host_time_sleep(lua_State *L)
{
    int64_t ms;
    struct mq_err err;
    if (!value_duration(L, 1, &ms, &err))
        return host_misuse(L, "%s", err.text);
    if (!rt.current)
        return host_raise(L, "BADARG", false, "only a running handler may wait");
    struct nap *nap = mq_calloc(1, sizeof *nap);
    nap->task = rt.current;
    ev_now_update(rt.loop); /* a handler may have computed for a while since the loop looked at the clock */
    ev_timer_init(&nap->timer, nap_over, (double)ms / 1000, 0);
    ev_timer_start(rt.loop, &nap->timer);
    return host_park(L, nap, nap_abandon);
}

/* seconds since 1970 -> text; nil, reason */
static int host_time_format(lua_State *L)
{
    char text[TIME_TEXT_BYTES];
    double seconds = luaL_checknumber(L, 1);
    if (!(seconds >= -62135596800.0 && seconds * 1000 <= (double)WALL_MAX))
        return host_misuse(L, "time %g is not between the years 1 and 9999", seconds);
    lua_pushstring(L, time_format(text, (wall_ms)(seconds * 1000 + (seconds < 0 ? -0.5 : 0.5))));
    return 1;
}

static int refuse(lua_State *L, const struct mq_err *err)
{
    lua_pushnil(L);
    lua_pushstring(L, err->text);
    return 2;
}

/* text -> seconds since 1970; nil, reason */
static int host_time_parse(lua_State *L)
{
    wall_ms at;
    size_t len;
    struct mq_err err;
    const char *text = luaL_checklstring(L, 1, &len);
    if (time_parse(&at, (struct slice){text, len}, &err) != MQ_OK)
        return refuse(L, &err);
    lua_pushnumber(L, (double)at / 1000);
    return 1;
}

/* ---- durations ---- */

/* text or seconds -> seconds; nil, reason */
static int host_duration_parse(lua_State *L)
{
    int64_t ms;
    struct mq_err err;
    luaL_checkany(L, 1);
    if (!value_duration(L, 1, &ms, &err))
        return refuse(L, &err);
    lua_pushnumber(L, (double)ms / 1000);
    return 1;
}

static int host_duration_format(lua_State *L)
{
    int64_t ms;
    char text[DURATION_TEXT_BYTES];
    struct mq_err err;
    luaL_checkany(L, 1);
    if (!value_duration(L, 1, &ms, &err))
        return host_misuse(L, "%s", err.text);
    lua_pushstring(L, duration_format(text, ms));
    return 1;
}

/* ---- json ---- */

/* value -> text; nil, reason, code */
static int host_json_encode(lua_State *L)
{
    struct mq_err err;
    luaL_checkany(L, 1);
    buf_clear(&rt.scratch);
    enum mq_code code = json_write(&rt.scratch, L, 1, rt.meter.limit / 4, &err);
    if (code != MQ_OK) {
        refuse(L, &err);
        lua_pushstring(L, mq_code_name(code));
        return 3;
    }
    struct slice text = buf_bytes(&rt.scratch);
    lua_pushlstring(L, text.at, text.len);
    if (rt.scratch.cap > (1 << 20)) /* a large one does not stay */
        buf_release(&rt.scratch);
    return 1;
}

/* text -> value; nil, reason */
static int host_json_decode(lua_State *L)
{
    struct mq_err err;
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    if (json_read(L, (struct slice){text, len}, &err) != MQ_OK)
        return refuse(L, &err);
    return 1;
}

/* ---- randomness ---- */

static int host_random_bytes(lua_State *L)
{
    char bytes[256];
    int count = (int)luaL_checkinteger(L, 1);
    luaL_argcheck(L, count >= 1 && count <= (int)sizeof bytes, 1, "from 1 to 256");
    random_bytes(bytes, (size_t)count);
    lua_pushlstring(L, bytes, (size_t)count);
    return 1;
}

static int host_random_chance(lua_State *L)
{
    lua_pushnumber(L, host_chance());
    return 1;
}

/* attempt, chance (0 to 1) -> seconds */
static int host_backoff_default(lua_State *L)
{
    int attempt = (int)luaL_checkinteger(L, 1);
    double chance = luaL_optnumber(L, 2, 0);
    luaL_argcheck(L, attempt >= 0, 1, "attempts are counted from 1");
    luaL_argcheck(L, chance >= 0 && chance < 1, 2, "from 0 up to, not including, 1");
    lua_pushnumber(L,
                   (double)backoff_default_ms((unsigned)attempt, (uint32_t)(chance * 4294967296.0)) / 1000);
    return 1;
}

#define ALWAYS (HOST_LOAD | HOST_HANDLER)
const struct host_call host_basic_calls[] = {
    {"time.now", host_time_now, ALWAYS, false, "", "Seconds since 1970, with a fraction."},
    {"time.mono", host_time_mono, ALWAYS, false, "", "Seconds on a clock that never steps."},
    {"time.sleep", host_time_sleep, HOST_HANDLER, true, "BADARG TIMEOUT CANCELLED", "Waits; other jobs run."},
    {"time.format", host_time_format, ALWAYS, false, "", "Seconds since 1970 as ISO 8601."},
    {"time.parse", host_time_parse, ALWAYS, false, "", "ISO 8601 as seconds since 1970."},
    {"duration.parse", host_duration_parse, ALWAYS, false, "", "\"90s\" as seconds."},
    {"duration.format", host_duration_format, ALWAYS, false, "", "Seconds as \"90s\"."},
    {"json.encode", host_json_encode, ALWAYS, false, "", "A value as JSON."},
    {"json.decode", host_json_decode, ALWAYS, false, "", "JSON as a value."},
    {"random.bytes", host_random_bytes, ALWAYS, false, "", "Bytes from the kernel's generator."},
    {"random.chance", host_random_chance, ALWAYS, false, "", "A number from 0 up to 1."},
    {"backoff.default", host_backoff_default, ALWAYS, false, "", "The server's own backoff, in seconds."},
    {NULL, NULL, 0, false, NULL, NULL},
};
