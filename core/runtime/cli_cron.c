#include "runtime/cli_cron.h"

#include <lauxlib.h>

#include "job/cron.h"

#define OPTIONS 2 /* index of the table */

/* Raises what stands in `err`. */
static int raise(lua_State *L, const struct mq_err *err)
{
    lua_createtable(L, 0, 2);
    lua_pushstring(L, mq_code_name(err->code));
    lua_setfield(L, -2, "code");
    lua_pushstring(L, err->text);
    lua_setfield(L, -2, "message");
    return lua_error(L);
}

static struct slice text_at(lua_State *L, int index)
{
    size_t len;
    const char *at = luaL_checklstring(L, index, &len);
    return (struct slice){at, len};
}

/* The option's text, which lives as long as the table; `otherwise` if it is not there. */
static struct slice option(lua_State *L, const char *name, const char *otherwise)
{
    lua_getfield(L, OPTIONS, name);
    struct slice text = lua_isnil(L, -1) ? slice_of(otherwise) : text_at(L, -1);
    lua_pop(L, 1);
    return text;
}

static int choice(lua_State *L, const char *name, const char *const *words)
{
    struct slice text = option(L, name, words[0]);
    for (int i = 0; words[i]; i++)
        if (slice_is_word(text, words[i]))
            return i;
    return luaL_error(L, "%s is one of the parser's choices", name);
}

static void read_expression(lua_State *L, struct cron *cron)
{
    struct mq_err err;
    struct slice text = text_at(L, 1);
    luaL_checktype(L, OPTIONS, LUA_TTABLE);
    struct cron_options options = {
        .days = (enum cron_days)choice(L, "days", cron_days_words),
        .gap = (enum cron_gap)choice(L, "dst_gap", cron_gap_words),
        .overlap = (enum cron_overlap)choice(L, "dst_overlap", cron_overlap_words),
    };
    if (cron_parse(cron, text, option(L, "name", ""), &options, &err) != MQ_OK)
        raise(L, &err);
}

static int cron_next_moments(lua_State *L)
{
    struct cron cron;
    struct mq_err err;
    struct zone *zone;
    wall_ms at = clock_wall();
    lua_Integer count = luaL_checkinteger(L, 3);
    read_expression(L, &cron);
    struct slice from = option(L, "from", "");
    if (from.len && time_parse(&at, from, &err) != MQ_OK)
        return raise(L, &err);
    if (zone_open(&zone, option(L, "tz", "UTC"), &err) != MQ_OK)
        return raise(L, &err);
    lua_newtable(L);
    for (int i = 1; i <= count && (at = cron_next(&cron, zone, at)) != WALL_NEVER; i++) {
        lua_pushnumber(L, (lua_Number)at);
        lua_rawseti(L, -2, i);
    }
    zone_close(zone);
    return 1;
}

static int cron_sentence(lua_State *L)
{
    void (*const sentences[])(const struct cron *, struct buf *) = {cron_explain, cron_explain_changes};
    struct cron cron;
    read_expression(L, &cron);
    for (int i = 0; i < 2; i++) {
        struct buf text = BUF_INIT;
        sentences[i](&cron, &text);
        lua_pushlstring(L, buf_bytes(&text).at, buf_len(&text));
        buf_release(&text);
    }
    return 2;
}

static int cron_format(lua_State *L)
{
    char text[TIME_TEXT_BYTES];
    struct mq_err err;
    struct zone *zone;
    wall_ms at = (wall_ms)luaL_checknumber(L, 1);
    if (zone_open(&zone, text_at(L, 2), &err) != MQ_OK)
        return raise(L, &err);
    lua_pushstring(L, zone_format(text, zone, at));
    zone_close(zone);
    return 1;
}

int luaopen_moonq_cron(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"next", cron_next_moments}, {"explain", cron_sentence}, {"format", cron_format}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
