/*
 * client.h - a Redis client for Lua, on hiredis: the module `moonq_redis`.
 *
 * It moves commands and replies and knows no command by name; stdlib/moonq/client.lua, on top of it, does. The
 * same file is linked into the binary (for the CLI) and built as a shared module (for the rock and the specs), so
 * it includes nothing of core.
 *
 *   redis.connect(path, timeout_s)   -> connection | nil, "NOSERVER", message
 *   connection:append(args)             queues a command: a list of strings and numbers
 *   connection:flush(timeout_s)      -> true | nil, code, message. Reads meanwhile, so no pipeline is too deep.
 *   connection:get(timeout_s)        -> true, reply | false, error text | nil, code, message
 *                                       code: TIMEOUT (the connection is as good as before), CLOSED, INTERRUPTED
 *   connection:close()
 *   redis.null                          the null inside an array: the same value as cjson.null
 *
 * A reply: strings (statuses too), numbers (as decimal text beyond 2^53), lists, nil for null; an error inside
 * a list is { err = text }. A timeout of nil waits without limit.
 */
#ifndef MOONQ_RUNTIME_CLIENT_H
#define MOONQ_RUNTIME_CLIENT_H

#include <lua.h>

int luaopen_moonq_redis(lua_State *L);
#endif
