/*
 * sandbox.h - a Lua state in which scripts see what globals.h lists, and nothing can be changed for others.
 *
 * How it holds:
 *   - Libraries and moonq's modules are userdata whose __index is the real table: there is no table to write to,
 *     so rawset, table.insert and setmetatable have nothing to get hold of.
 *   - Each script file has an environment of its own that stays empty: reads fall through to its globals, writes
 *     raise "assign to undeclared global". No function answers an environment (no getfenv, no debug).
 *   - The metatable of strings is hidden, and its library is the same read-only one.
 *   - `require` knows moonq.* and the application's lib/. Modules of moonq are loaded once and are read-only.
 *     Modules of lib/ are loaded once for each handler, policy or configuration file that requires them: they are
 *     ordinary tables, and what one job type does to them the others never see.
 *   - Everything is compiled from text; bytecode is refused.
 *
 * What it does not hide: addresses (tostring(print), tostring({})), so their layout is no secret that a wall rests on;
 * and math.random is one generator for all jobs of a worker: secrets come from moonq.uuid.
 */
#ifndef MOONQ_RUNTIME_SANDBOX_H
#define MOONQ_RUNTIME_SANDBOX_H

#include <lua.h>
#include "base/err.h"
#include "runtime/meter.h"

/* A state with libraries, allow-list and host calls. `stdlib`, `app`: folders for require; `app` may be NULL. */
enum mq_code sandbox_open(lua_State **out, struct meter *meter, const char *stdlib, const char *app,
                          struct mq_err *err);
void sandbox_close(lua_State *L);

/*
 * Reads folder/file, compiles it under the name `shown`, and pushes the chunk with a fresh environment of its
 * own. SCRIPT, NOTFOUND: err says why, with file and line; nothing is pushed.
 */
enum mq_code sandbox_load_file(lua_State *L, const char *folder, const char *file, const char *shown,
                               struct mq_err *err);

/* Pushes the function with which a job's coroutine begins: start(run, on_error, make_job), which ends as xpcall does. */
void sandbox_push_start(lua_State *L);

/* The table at the top of the stack becomes a read-only view of what it holds now, tables in it too. */
void sandbox_freeze(lua_State *L);

/* Pushes { code =, message =, retryable = } with moonq's error metatable. */
void sandbox_push_error(lua_State *L, const char *code, bool retryable, const char *message);

/* What host_park yields, and what a resume passes first to raise an error. Known to the prelude only. */
extern char sandbox_wait_mark, sandbox_raise_mark;
#endif
