#include <inttypes.h>
#include <math.h>

#include "runtime/inside.h"

struct slice value_text(lua_State *L, int index)
{
    size_t len;
    if (lua_type(L, index) != LUA_TSTRING)
        return SLICE_EMPTY;
    const char *at = lua_tolstring(L, index, &len);
    return (struct slice){at, len};
}

static bool read_text(struct slice text, int64_t *out_ms, struct mq_err *err)
{
    int64_t ms;
    if (duration_parse(&ms, text, err) != MQ_OK)
        return false;
    if (ms > CENTURY_MS) {
        mq_fail(err, MQ_BADARG, "duration '%.*s' is too long (at most %lldd)", SLICE_ARG(text),
                CENTURY_MS / 86400000);
        return false;
    }
    *out_ms = ms;
    return true;
}

bool value_duration(lua_State *L, int index, int64_t *out_ms, struct mq_err *err)
{
    if (lua_type(L, index) == LUA_TSTRING)
        return read_text(value_text(L, index), out_ms, err);
    if (lua_type(L, index) != LUA_TNUMBER) {
        mq_fail(err, MQ_BADARG, "a %s is not a duration (write seconds, or text like \"30s\")",
                luaL_typename(L, index));
        return false;
    }
    double seconds = lua_tonumber(L, index);
    if (!(seconds >= 0 && seconds <= (double)CENTURY_MS / 1000)) {
        mq_fail(err, MQ_BADARG, "%g is not a duration in seconds", seconds);
        return false;
    }
    *out_ms = (int64_t)llround(seconds * 1000);
    return true;
}
