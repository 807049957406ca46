/*
 * open.h - a runtime from beginning to end: what child_main and child_describe share.
 */
#ifndef MOONQ_RUNTIME_OPEN_H
#define MOONQ_RUNTIME_OPEN_H

#include <stdbool.h>
#include "base/err.h"

/* The Lua state and the loop, as rt.setup says. */
bool runtime_open(struct mq_err *err);
void runtime_close(void);
#endif
