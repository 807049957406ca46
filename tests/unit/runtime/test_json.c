/* JSON from Lua values and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "runtime/json.h"

static const struct {
    const char *lua, *json, *why;
} written[] = {
    {"nil", "null", ""},
    {"true", "true", ""},
    {"0", "0", ""},
    {"-5", "-5", ""},
    {"9007199254740991", "9007199254740991", "the largest whole number that is exact"},
    {"2^53", "9.00719925474099e+15", NULL},
    {"1e300", "1e+300", ""},
    {"0.1", "0.1", "not 0.10000000000000001"},
    {"1/3", "0.33333333333333331", "17 digits where 15 do not read back the same"},
    {"'a\\\"\\\\\\n\\0'", "\"a\\\"\\\\\\u000a\\u0000\"", ""},
    {"'\\255'", "\"\\ufffd\"", "not UTF-8"},
    {"{}", "{}", "nothing says that it is a list"},
    {"array", "[]", "the mark says it"},
    {"{1,2,3}", "[1,2,3]", ""},
    {"{1,nil,3}", "[1,null,3]", "a hole"},
    {"{a=1}", "{\"a\":1}", ""},
    {"{[1]=1,a=2}", NULL, "mixed: an object whose keys are text; order is Lua's"},
    {"{[-1]=1}", "{\"-1\":1}", "not a list's key"},
    {"{[1.5]=1}", "{\"1.5\":1}", ""},
    {"{{},{{}}}", "[{},[{}]]", ""},
    {"null", "null", "the light userdata"},
};

static const struct {
    const char *lua, *error;
} refused[] = {
    {"print", "JSON cannot hold a function"},
    {"{ print }", "JSON cannot hold a function"},
    {"{ [{}] = 1 }", "JSON cannot hold a table as a key"},
    {"0/0", "JSON cannot hold NaN"},
    {"1/0", "JSON cannot hold infinity"},
    {"{ [1e6] = 1 }", "a list with 1 entries has the key 1000000: too many holes"},
    {"loop", "nested more than 100 deep"},
    {"('x'):rep(1001)", "larger than the limit of 1000 bytes"},
    {"tree", "larger than the limit of 1000 bytes"},
};

static const char *const round_trips[] = {
    "{}",          "[]",     "[[],{}]",      "{\"a\":[]}", "[null,true,false]",
    "[1.5,\"x\"]", "\"[]\"", "[\"[ ]\",[]]", "5",          "\"\xc3\xa9\"",
};

static const char *const not_json[] = {
    "", "{", "[1,", "{\"a\":}", "nul", "[1]x", "NaN", "Infinity", "0x10", "'a'", "[],", "[[]", "\"\\x\"",
};

static lua_State *L;

static int setup(void **state)
{
    (void)state;
    L = luaL_newstate();
    luaL_openlibs(L);
    json_open(L);
    lua_pushlightuserdata(L, NULL);
    lua_setglobal(L, "null");
    lua_newtable(L);
    json_push_array_mark(L);
    lua_setmetatable(L, -2);
    lua_setglobal(L, "array");
    return luaL_dostring(L,
                         "loop = {} loop.loop = loop tree = {} for i = 1, 40 do tree = { tree, tree } end");
}

static int teardown(void **state)
{
    (void)state;
    lua_close(L);
    return 0;
}

static enum mq_code write_lua(struct buf *out, const char *expression, struct mq_err *err)
{
    char chunk[200];
    buf_clear(out);
    snprintf(chunk, sizeof chunk, "return %s", expression);
    assert_int_equal(luaL_dostring(L, chunk), 0);
    int top = lua_gettop(L);
    enum mq_code code = json_write(out, L, -1, 1000, err);
    assert_int_equal(lua_gettop(L), top);
    lua_settop(L, 0);
    return code;
}

static void values_are_written(void **state)
{
    struct buf out = BUF_INIT;
    struct mq_err err;
    (void)state;
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        assert_int_equal(write_lua(&out, written[i].lua, &err), MQ_OK);
        if (written[i].json && written[i].why && !slice_equal(buf_bytes(&out), slice_of(written[i].json)))
            fail_msg("%s is written %.*s (%s)", written[i].lua, SLICE_ARG(buf_bytes(&out)), written[i].why);
    }
    buf_release(&out);
}

static void what_json_cannot_hold_is_refused(void **state)
{
    struct buf out = BUF_INIT;
    struct mq_err err;
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_not_equal(write_lua(&out, refused[i].lua, &err), MQ_OK);
        if (!strstr(err.text, refused[i].error))
            fail_msg("%s: %s", refused[i].lua, err.text);
        assert_true(buf_len(&out) < 8000); /* it stops soon after the limit */
    }
    buf_release(&out);
}

static void what_was_read_is_written_the_same(void **state)
{
    struct buf out = BUF_INIT;
    struct mq_err err;
    (void)state;
    for (size_t i = 0; i < sizeof round_trips / sizeof *round_trips; i++) {
        buf_clear(&out);
        if (json_read(L, slice_of(round_trips[i]), &err) != MQ_OK)
            fail_msg("%s: %s", round_trips[i], err.text);
        assert_int_equal(lua_gettop(L), 1);
        assert_int_equal(json_write(&out, L, 1, 1000, &err), MQ_OK);
        if (!slice_equal(buf_bytes(&out), slice_of(round_trips[i])))
            fail_msg("%s became %.*s", round_trips[i], SLICE_ARG(buf_bytes(&out)));
        lua_settop(L, 0);
    }
    buf_release(&out);
}

static void what_is_not_json_is_refused(void **state)
{
    struct mq_err err;
    (void)state;
    for (size_t i = 0; i < sizeof not_json / sizeof *not_json; i++) {
        if (json_read(L, slice_of(not_json[i]), &err) != MQ_BADARG)
            fail_msg("'%s' was read", not_json[i]);
        assert_int_equal(lua_gettop(L), 0);
    }
}

static void deep_texts_are_refused(void **state)
{
    char text[5001];
    struct mq_err err;
    (void)state;
    memset(text, '[', 2500);
    memset(text + 2500, ']', 2500);
    text[5000] = '\0';
    assert_int_equal(json_read(L, slice_of(text), &err), MQ_BADARG);
    assert_int_equal(lua_gettop(L), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_written),
        cmocka_unit_test(what_json_cannot_hold_is_refused),
        cmocka_unit_test(what_was_read_is_written_the_same),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(deep_texts_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
