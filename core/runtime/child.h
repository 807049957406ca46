/*
 * child.h - a child process of the server: the same binary, started as `moonq child ROLE`.
 *
 * Descriptor 3 is the socketpair to the server (frames, see frame.h), descriptor 4 the run page (workers only).
 * The first frame is SETUP, and the child answers with READY when the application is loaded.
 */
#ifndef MOONQ_RUNTIME_CHILD_H
#define MOONQ_RUNTIME_CHILD_H

#include <jansson.h>
#include <stddef.h>

#define CHILD_SOCKET_FD 3
#define CHILD_PAGE_FD   4

/* For who reads READY's JSON: args of schedules are any text, NUL in it, too. */
#define READY_FLAGS JSON_ALLOW_NUL

/* argv: "child", "worker", "loader" or "args" (one function of schedules.lua). The process' exit status. */
int child_main(int argc, char **argv);

/*
 * `moonq check DIR` without a server: loads the application in this process under the same sandbox and answers
 * READY's JSON (the caller's, free()). Loading is bounded in time and memory.
 */
char *child_describe(const char *app_dir);

/* Memory for a function of schedules.lua that makes args. */
#define CHILD_ARGS_BYTES (64 << 20)

/*
 * What the function of this entry makes for this moment (unix milliseconds), in a process of its own with the walls that
 * the server would give it: { args }, or { error }, and { errors } if schedules.lua does not load any more. The caller's:
 * json_decref.
 */
json_t *child_make_args(const char *app_dir, const char *schedule, double planned_at, size_t payload_max);
#endif
