/*
 * json.h - Lua values as JSON, and back.
 *
 * Writing is our own, because cjson's cannot be bounded (a table that holds itself twice, thirty times over, is
 * a gigabyte of text) and cannot write an empty list. Reading is cjson's; only a text with an empty list in it
 * is read by jansson, because cjson forgets which of {} and [] it was.
 *
 * An empty list is a table with the metatable json_push_array_mark pushes (moonq.json.array). null is the light
 * userdata NULL (moonq.json.null).
 */
#ifndef MOONQ_RUNTIME_JSON_H
#define MOONQ_RUNTIME_JSON_H

#include <lua.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#define JSON_DEPTH_MAX 100

/* Once a state, before anything else here. Leaves the stack as it was. */
void json_open(lua_State *L);

/*
 * Adds the value at `index` to `out`, at most `limit` bytes. TOOBIG; BADARG for what JSON cannot hold, with the
 * reason: a function, NaN, a list with holes, a table that contains itself. Uses no metamethods, raises nothing
 * but "not enough memory".
 */
enum mq_code json_write(struct buf *out, lua_State *L, int index, size_t limit, struct mq_err *err);

/* Pushes the value. BADARG: says where the text is wrong, and pushes nothing. May raise "not enough memory". */
enum mq_code json_read(lua_State *L, struct slice text, struct mq_err *err);

void json_push_array_mark(lua_State *L);
#endif
