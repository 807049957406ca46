#include "server/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "runtime/child.h"

#define READ_BYTES    (64 << 10)
#define READ_TURN_MAX (1 << 20) /* of one child, before the others get their turn */

struct child {
    struct child_events events;
    struct ev_loop *loop;
    ev_io readable, writable;
    ev_child ended;
    int fd;
    pid_t pid;
    struct buf in;
    struct buf *out; /* the owner's; NULL while nothing waits */
    bool garbled;    /* talked garbage: it is being killed, and nothing it says is heard any more */
    bool gone;       /* exited and reaped */
};

/* ---- input ------------------------------------------------------------------------------------------------------ */

/* All that is whole: an owner may take one frame at a time, and the last may be in the last bytes that come. */
static void hand_over(struct child *child)
{
    struct mq_err err;
    enum mq_code code;
    size_t used;
    do {
        used = 0;
        code = child->events.input(child->events.owner, child, buf_bytes(&child->in), &used, &err);
        buf_eat(&child->in, used);
    } while (code == MQ_OK && used && buf_len(&child->in));
    if (code == MQ_OK)
        return;
    log_event(LOG_ERROR, "child.garbage", LOG_INT("pid", child->pid), LOG_STR("message", err.text));
    child->garbled = true;
    buf_clear(&child->in);
    ev_io_stop(child->loop, &child->readable);
    child_signal(child, SIGKILL);
}

/* Reads what is there, up to `most` bytes. False: the other end is closed. */
static bool read_some(struct child *child, size_t most)
{
    for (size_t got = 0; got < most;) {
        ssize_t len = read(child->fd, buf_room(&child->in, READ_BYTES), READ_BYTES);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        if (len == 0)
            return false;
        buf_grew(&child->in, (size_t)len);
        got += (size_t)len;
        hand_over(child);
        if (len < READ_BYTES || child->garbled)
            return true; /* that was all: another read would only say so */
    }
    return true;
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct child *child = watcher->data;
    (void)events;
    if (!read_some(child, READ_TURN_MAX)) {
        ev_io_stop(loop, watcher);
        child_signal(child, SIGKILL); /* it closed its end: whatever it still does is of no use to anybody */
    }
}

/* ---- output ----------------------------------------------------------------------------------------------------- */

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct child *child = watcher->data;
    struct buf *out = child->out;
    (void)events;
    ev_io_stop(loop, watcher);
    child->out = NULL;
    child_write(child, out);
}

void child_write(struct child *child, struct buf *out)
{
    while (buf_len(out) && !child->gone && !child->out) {
        struct slice bytes = buf_bytes(out);
        ssize_t len = send(child->fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (len > 0) {
            buf_eat(out, (size_t)len);
        } else if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            child->out = out;
            ev_io_start(child->loop, &child->writable);
        } else if (errno != EINTR) {
            return; /* it is dying; on_ended comes */
        }
    }
}

/* ---- end ---------------------------------------------------------------------------------------------------------- */

static void describe_end(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(out, size, "signal %d (SIG%s)", WTERMSIG(status), sigabbrev_np(WTERMSIG(status)));
    else
        snprintf(out, size, "exit status %d", WEXITSTATUS(status));
}

static void on_ended(struct ev_loop *loop, ev_child *watcher, int events)
{
    struct child *child = watcher->data;
    char how[64];
    (void)events;
    int status = watcher->rstatus;
    ev_child_stop(loop, watcher);
    if (ev_is_active(&child->readable))
        read_some(child, SIZE_MAX); /* what it had finished before it ended counts */
    ev_io_stop(loop, &child->readable);
    ev_io_stop(loop, &child->writable);
    child->gone = true;
    describe_end(status, how, sizeof how);
    child->events.exited(child->events.owner, child, how, WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

/* dup2 in the child clears close-on-exec, but not if both numbers are the same: keep ours away from the child's. */
static int move_away(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, CHILD_PAGE_FD + 1);
    close(fd);
    return moved;
}

static int spawn(pid_t *pid, const struct child_plan *plan, int fd, int page_fd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    char *argv[] = {(char *)plan->binary, (char *)"child", (char *)plan->role, NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setpgroup(&attributes,
                              0); /* a Ctrl-C at a terminal is the server's, who then ends them in order */
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_adddup2(&actions, fd, CHILD_SOCKET_FD);
    if (page_fd >= 0)
        posix_spawn_file_actions_adddup2(&actions, page_fd, CHILD_PAGE_FD);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    int failed = posix_spawn(pid, plan->binary, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
}

enum mq_code child_start(struct child **out, struct ev_loop *loop, const struct child_plan *plan,
                         const struct child_events *events, struct mq_err *err)
{
    int pair[2];
    pid_t pid;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return mq_fail(err, MQ_INTERNAL, "cannot make a socketpair: %s", strerror(errno));
    int theirs = move_away(pair[1]);
    int page_fd = plan->page_fd >= 0 ? fcntl(plan->page_fd, F_DUPFD_CLOEXEC, CHILD_PAGE_FD + 1) : -1;
    int failed = theirs < 0 ? errno : spawn(&pid, plan, theirs, page_fd);
    if (theirs >= 0)
        close(theirs);
    if (page_fd >= 0)
        close(page_fd);
    if (failed) {
        close(pair[0]);
        return mq_fail(err, MQ_INTERNAL, "cannot start '%.200s': %s", plan->binary, strerror(failed));
    }
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    struct child *child = mq_calloc(1, sizeof *child);
    child->events = *events;
    child->loop = loop;
    child->fd = pair[0];
    child->pid = pid;
    ev_io_init(&child->readable, on_readable, pair[0], EV_READ);
    ev_io_init(&child->writable, on_writable, pair[0], EV_WRITE);
    ev_child_init(&child->ended, on_ended, pid, 0);
    child->readable.data = child->writable.data = child->ended.data = child;
    ev_io_start(loop, &child->readable);
    ev_child_start(loop, &child->ended);
    *out = child;
    return MQ_OK;
}

pid_t child_pid(const struct child *child)
{
    return child->pid;
}

void child_signal(struct child *child, int signal)
{
    if (!child->gone)
        kill(child->pid, signal);
}

void child_free(struct child *child)
{
    if (!child)
        return;
    mq_must(child->gone);
    close(child->fd);
    buf_release(&child->in);
    free(child);
}
