/*
 * open.h - a runtime from beginning to end: what child_main and `moonq check` share.
 */
#ifndef MOONQ_RUNTIME_OPEN_H
#define MOONQ_RUNTIME_OPEN_H

#include <stdbool.h>
#include "base/err.h"

/* The Lua state and the loop, as rt.setup says. */
bool runtime_open(struct mq_err *err);
void runtime_close(void);

/* Loads the application and sends READY. False: nobody hears it. */
bool runtime_load(void);

/* Runs the one function of schedules.lua that rt.setup names and sends what it made, or its error. It is the process' last
 * work: whatever it does, it does to this process alone. */
bool runtime_make_args(void);
#endif
