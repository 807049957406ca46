/*
 * child.h - a child process: started by exec of our own binary, spoken to over a socketpair, watched until its end.
 *
 * Memory: child_start makes it, child_free frees it, after `exited`. Threads: the loop's.
 */
#ifndef MOONQ_SERVER_CHILD_H
#define MOONQ_SERVER_CHILD_H

#include <ev.h>
#include <stdbool.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/err.h"

struct child;

struct child_events {
    void *owner;
    /* Bytes came; returns how many were used. INTERNAL: it talks garbage, and is killed. */
    enum mq_code (*input)(void *owner, struct child *child, struct slice bytes, size_t *used,
                          struct mq_err *err);
    /* The process has ended and all that it wrote was given to `input`. `how`: "exit status 3", "signal 9 (SIGKILL)" */
    void (*exited)(void *owner, struct child *child, const char *how, bool clean);
};

struct child_plan {
    const char *binary;
    const char *role; /* "worker", "loader" */
    int page_fd;      /* becomes CHILD_PAGE_FD; -1: none */
};

enum mq_code child_start(struct child **out, struct ev_loop *loop, const struct child_plan *plan,
                         const struct child_events *events, struct mq_err *err);
pid_t child_pid(const struct child *child);
/* Writes what is in `out` as far as it goes; the rest follows when the socket takes it. */
void child_write(struct child *child, struct buf *out);
void child_signal(struct child *child, int signal);
void child_free(struct child *child);
#endif
