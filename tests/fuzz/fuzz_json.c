/*
 * JSON in a worker: text to Lua values and back. What is read can be written, and what is written is read as the same:
 * written once more it has the same length (a table's keys have no order). The first text is written twice before that:
 * bytes that are no UTF-8 become \ufffd, and that becomes a character.
 */
#include "fuzz.h"

#include <lauxlib.h>
#include <lualib.h>

#include "runtime/json.h"

#define LIMIT (1 << 20)

/* Adds the value on top to `out`, and pushes what that text is. False: JSON cannot hold it, 1e999 was read as infinity. */
static bool pass(lua_State *L, struct buf *out)
{
    struct mq_err err;
    enum mq_code code = json_write(out, L, -1, LIMIT, &err);
    FUZZ_MUST(code == MQ_OK || code == MQ_BADARG, "not written: %s", err.text);
    if (code != MQ_OK)
        return false;
    FUZZ_MUST(json_read(L, buf_bytes(out), &err) == MQ_OK, "'%.*s' is not read: %s",
              SLICE_ARG(buf_bytes(out)), err.text);
    return true;
}

static void check_again(lua_State *L)
{
    struct buf texts[3] = {BUF_INIT, BUF_INIT, BUF_INIT};
    bool good = pass(L, &texts[0]);
    for (int i = 1; good && i < 3; i++)
        FUZZ_MUST(pass(L, &texts[i]), "'%.*s' cannot be written again", SLICE_ARG(buf_bytes(&texts[i - 1])));
    FUZZ_MUST(buf_len(&texts[1]) == buf_len(&texts[2]), "'%.*s' has become '%.*s'",
              SLICE_ARG(buf_bytes(&texts[1])), SLICE_ARG(buf_bytes(&texts[2])));
    for (int i = 0; i < 3; i++)
        buf_release(&texts[i]);
}

/* What Lua's memory points to, cjson's buffers, is not seen as held. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    struct mq_err err = {0};
    struct slice text = fuzz_copy((struct slice){(const char *)data, size});
    if (!L) {
        L = luaL_newstate();
        luaL_openlibs(L);
        json_open(L);
    }
    int top = lua_gettop(L);
    if (json_read(L, text, &err) != MQ_OK) {
        FUZZ_MUST(lua_gettop(L) == top && err.text[0], "refused, but something is pushed");
    } else {
        FUZZ_MUST(lua_gettop(L) == top + 1, "%d values", lua_gettop(L) - top);
        check_again(L);
    }
    lua_settop(L, top);
    free((void *)text.at);
    return 0;
}
