/*
 * confine.h - what the process may ask of the kernel, made less before it runs a line of the application.
 *
 * Behind the Lua sandbox stands this second wall, for the day when the first has a hole: no new privileges, no
 * core dumps, no writing anywhere, reading only of what is named here, no new processes, no signals to others.
 * What a kernel lacks is left out with a warning in the log, not a failure.
 */
#ifndef MOONQ_RUNTIME_CONFINE_H
#define MOONQ_RUNTIME_CONFINE_H

/* The folders that scripts are read from. */
void confine(const char *app, const char *stdlib, const char *scripts);
#endif
