/*
 * trace.h - what Lua says of an error, without what differs from run to run.
 *
 * LuaJIT's tracebacks and tostring name functions and tables by their addresses. The same failure of two jobs must
 * read the same, so that whoever groups errors finds them together; and an address is nobody's business.
 */
#ifndef MOONQ_RUNTIME_TRACE_H
#define MOONQ_RUNTIME_TRACE_H

#include "base/buf.h"
#include "base/slice.h"

/*
 * Appends `text` without addresses: "[C]: at 0x5581d0" and "[builtin#21]: at 0x7f8cd4" become "[C]: in a C function",
 * "table: 0x55b5b7" becomes "table".
 */
void trace_add(struct buf *out, struct slice text);

/* Takes off what is ours at the end of a traceback: the xpcall around every job. */
struct slice trace_trim(struct slice text);
#endif
