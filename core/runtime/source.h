/*
 * source.h - Lua as text, from files and from scripts that load more of it. Bytecode is refused everywhere: it can
 * do what no text can.
 */
#ifndef MOONQ_RUNTIME_SOURCE_H
#define MOONQ_RUNTIME_SOURCE_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"

#define SOURCE_MAX_BYTES (4 << 20) /* of one script file */

/*
 * Compiles folder/file under the name `shown` and pushes the chunk, in the state's own environment: give it another
 * with lua_setfenv. NOTFOUND: there is no such file; SCRIPT: err has file and line. Then nothing is pushed.
 */
enum mq_code source_load(lua_State *L, const char *folder, const char *file, const char *shown,
                         struct mq_err *err);

/* A hash of all files that were loaded so far, with their names and in their order: which scripts these are. Not 0. */
uint32_t source_loaded(void);

/*
 * For a message about what a script returned: the line where it gives `key` a value, else that of its last return, else
 * the first. A good guess, from the text alone. 0: it cannot be read.
 */
int source_line_of(const char *folder, const char *file, struct slice key);

/* Lua's load and loadstring. Upvalue 1: the environment of what it compiles. */
int source_lua_load(lua_State *L);
#endif
