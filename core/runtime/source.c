#include "runtime/source.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/buf.h"

static uint64_t loaded; /* a process loads one application */

static enum mq_code read_file(struct buf *out, const char *folder, const char *file, struct mq_err *err)
{
    char path[4400];
    struct stat about;
    enum mq_code code = MQ_OK;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return mq_fail(err, errno == ENOENT ? MQ_NOTFOUND : MQ_SCRIPT, "cannot open '%.200s': %s", file,
                       strerror(errno));
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
        code = mq_fail(err, MQ_SCRIPT, "'%.200s' is not a file", file);
    else if (about.st_size > SOURCE_MAX_BYTES)
        code = mq_fail(err, MQ_SCRIPT, "'%.200s' is larger than %d bytes", file, SOURCE_MAX_BYTES);
    while (code == MQ_OK) {
        ssize_t got = read(fd, buf_room(out, 65536), 65536);
        if (got < 0)
            code = mq_fail(err, MQ_SCRIPT, "cannot read '%.200s': %s", file, strerror(errno));
        if (got <= 0 || buf_len(out) > SOURCE_MAX_BYTES)
            break;
        buf_grew(out, (size_t)got);
    }
    close(fd);
    return code;
}

/* ---- where something stands ---- */

static bool is_word(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* key = ..., ["key"] = ... */
static bool gives_value(struct slice line, struct slice key)
{
    for (size_t i = 0; i + key.len + 1 < line.len && memcmp(line.at + i, "--", 2) != 0; i++) {
        const char *after = line.at + i + key.len, *end = line.at + line.len;
        if (memcmp(line.at + i, key.at, key.len) != 0 || (i && is_word(line.at[i - 1])))
            continue;
        while (after < end &&
               (*after == ' ' || *after == '\t' || *after == '"' || *after == '\'' || *after == ']'))
            after++;
        if (after < end && *after == '=' && (after + 1 == end || after[1] != '='))
            return true;
    }
    return false;
}

int source_line_of(const char *folder, const char *file, struct slice key)
{
    struct buf text = BUF_INIT;
    int number = 0, returns = 0, found = 0;
    bool there = read_file(&text, folder, file, NULL) == MQ_OK;
    struct slice rest = buf_bytes(&text);
    for (; there && rest.len && !found; number++) {
        const char *eol = memchr(rest.at, '\n', rest.len);
        struct slice line = {rest.at, eol ? (size_t)(eol - rest.at) : rest.len};
        if (key.len && gives_value(line, key))
            found = number + 1;
        if (line.len >= 6 && memcmp(line.at, "return", 6) == 0)
            returns = number + 1;
        size_t used = line.len + (eol != NULL);
        rest = (struct slice){rest.at + used, rest.len - used};
    }
    buf_release(&text);
    return found ? found : returns ? returns : there;
}

/* ---- loading ---- */

struct piece {
    struct slice text;
};

static const char *give_piece(lua_State *L, void *owner, size_t *len)
{
    struct piece *piece = owner;
    (void)L;
    *len = piece->text.len;
    piece->text.len = 0;
    return *len ? piece->text.at : NULL;
}

static void note_loaded(const char *shown, struct slice text)
{
    loaded = XXH3_64bits_withSeed(shown, strlen(shown), loaded);
    loaded = XXH3_64bits_withSeed(text.at, text.len, loaded);
}

uint32_t source_loaded(void)
{
    return (uint32_t)loaded ? (uint32_t)loaded : 1;
}

/* Pushes the function, or the reason why there is none. "t": bytecode is refused by the loader itself. */
static int compile(lua_State *L, struct slice text, const char *chunk_name)
{
    struct piece piece = {text};
    if (text.len && text.at[0] == '#') { /* as in Lua's own files: a first line for the shell */
        const char *eol = memchr(text.at, '\n', text.len);
        size_t skip = eol ? (size_t)(eol - text.at) : text.len;
        piece.text = (struct slice){text.at + skip, text.len - skip};
    }
    return lua_loadx(L, give_piece, &piece, chunk_name, "t");
}

enum mq_code source_load(lua_State *L, const char *folder, const char *file, const char *shown,
                         struct mq_err *err)
{
    struct buf text = BUF_INIT;
    char name[512];
    enum mq_code code = read_file(&text, folder, file, err);
    if (code == MQ_OK) {
        note_loaded(shown, buf_bytes(&text));
        snprintf(name, sizeof name, "@%s", shown);
        if (buf_len(&text) && text.at[0] == LUA_SIGNATURE[0]) {
            code = mq_fail(err, MQ_SCRIPT, "%s:1: bytecode is refused: only text can be loaded", shown);
        } else if (compile(L, buf_bytes(&text), name) != 0) {
            code = mq_fail(err, MQ_SCRIPT, "%s", lua_tostring(L, -1));
            lua_pop(L, 1);
        }
    }
    buf_release(&text);
    return code;
}

/* The text of load's first argument: a string, or what a function answers piece by piece. */
static struct slice source_text(lua_State *L)
{
    size_t len;
    if (lua_isfunction(L, 1)) {
        luaL_Buffer pieces;
        lua_settop(L, 4);
        luaL_buffinit(L, &pieces);
        for (;;) {
            lua_pushvalue(L, 1);
            lua_call(L, 0, 1);
            if (lua_isnil(L, -1) || (lua_isstring(L, -1) && lua_objlen(L, -1) == 0))
                break;
            if (!lua_isstring(L, -1))
                luaL_error(L, "reader function must return a string");
            luaL_addvalue(&pieces);
        }
        lua_pop(L, 1);
        luaL_pushresult(&pieces);
        lua_replace(L, 1);
    }
    const char *at = luaL_checklstring(L, 1, &len);
    return (struct slice){at, len};
}

/* load(text or function, name, mode, env): as Lua's, for text only. Without `env`, the caller's environment. */
int source_lua_load(lua_State *L)
{
    struct slice text = source_text(L);
    const char *name = luaL_optstring(L, 2, "=(load)");
    const char *mode = luaL_optstring(L, 3, "t");
    if (!strchr(mode, 't') || (text.len && text.at[0] == LUA_SIGNATURE[0])) {
        lua_pushnil(L);
        lua_pushliteral(L, "bytecode is refused: only text can be loaded");
        return 2;
    }
    if (compile(L, text, name) != 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushvalue(L, lua_istable(L, 4) ? 4 : lua_upvalueindex(1));
    lua_setfenv(L, -2);
    return 1;
}
