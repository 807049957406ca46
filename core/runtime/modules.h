/*
 * modules.h - what `require` finds: moonq's own modules, and those of the application's lib/.
 *
 * moonq's are loaded once for the state, in an environment with `_host`, and scripts get a read-only view. Those of
 * lib/ are loaded once for each script file that asks (its cache and environment are require's upvalues), so no
 * handler sees what another did to them.
 */
#ifndef MOONQ_RUNTIME_MODULES_H
#define MOONQ_RUNTIME_MODULES_H

#include <lua.h>

/* Folders stay the caller's, for as long as the state lives. `app` may be NULL. */
void modules_open(lua_State *L, const char *stdlib, const char *app);
/* Takes the table at the top of the stack: what moonq's own modules see as globals. */
void modules_set_environment(lua_State *L);

/* Pushes one of moonq's modules, as it is or read-only. Raise where it does not load. */
void modules_push(lua_State *L, const char *name);
void modules_push_frozen(lua_State *L, const char *name);

/* `require` for scripts. Upvalues: a table for the modules of lib/, the script's environment. */
int modules_require(lua_State *L);
/* `require` for moonq's own modules, which get each other as they are. */
int modules_require_stdlib(lua_State *L);
#endif
