/*
 * load.h - runs one script file of an application after the other, each within bounds.
 *
 * A file may loop for ever, take all memory or crash the process. Loops of Lua end after LOAD_FILE_MS by a hook
 * (nothing is compiled while loading, so the hook sees every loop); what sits in a C function ends after
 * LOAD_STUCK_MS by SIGALRM, whose handler writes READY itself with an error that names the file, and exits. All
 * together have LOAD_TOTAL_MS.
 */
#ifndef MOONQ_RUNTIME_LOAD_H
#define MOONQ_RUNTIME_LOAD_H

#include <lua.h>
#include <stdbool.h>
#include "runtime/app.h"

#define LOAD_FILE_MS  2000
#define LOAD_STUCK_MS 4000
#define LOAD_TOTAL_MS 15000

void load_begin(struct app *app);
void load_end(void);

/*
 * Runs folder/file and pushes what it returned. False: an error was added to READY under the name `shown`, and
 * nothing is pushed. load_table also refuses what is not a table.
 */
bool load_value(struct app *app, lua_State *L, const char *folder, const char *file, const char *shown);
bool load_table(struct app *app, lua_State *L, const char *folder, const char *file, const char *shown);

/* What a call that failed has left on the stack, as text. */
const char *load_error_text(lua_State *L);

/* Which file is being loaded: memory that a parent may share, so that it knows after a crash. */
#define LOAD_CURRENT_BYTES 512
extern char *load_current;

/* What SIGALRM's handler does after LOAD_STUCK_MS; the default sends READY to rt.socket. */
extern void (*load_overdue)(void);
#endif
