#include "store/lmdb/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"

#define LOCK_NAME "moonq.lock"

/* One length, whatever the pid: the line is written over the one before, in the block that the file has. */
#define LINE_FORMAT "%-20ld\n"
#define LINE_BYTES  21

/* The pid that the holder wrote; 0: it has not yet, or could not, and what is there is of one that is gone. */
static long pid_in(int fd)
{
    char text[LINE_BYTES + 1] = "";
    ssize_t len = pread(fd, text, LINE_BYTES, 0);
    long pid = len > 0 ? strtol(text, NULL, 10) : 0; /* "123\n" is of an older server */
    bool is_gone = pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
    return pid > 0 && !is_gone ? pid : 0;
}

/*
 * Only for the message, so a disk that is full keeps nobody from a sound store. Nothing is truncated: that would give the
 * file's one block to whoever fills the disk.
 */
static void write_pid(int fd, const char *path)
{
    char line[LINE_BYTES + 1];
    snprintf(line, sizeof line, LINE_FORMAT, (long)getpid());
    errno = 0;
    if (pwrite(fd, line, LINE_BYTES, 0) != LINE_BYTES)
        log_event(LOG_WARN, "lock.no_pid", LOG_STR("path", path),
                  LOG_STR("error", strerror(errno ? errno : ENOSPC)));
}

static enum mq_code taken(int fd, const char *dir, struct mq_err *err)
{
    char who[40] = "";
    long pid = pid_in(fd);
    if (pid)
        snprintf(who, sizeof who, ", process %ld", pid);
    return mq_fail(
        err, MQ_CONFLICT,
        "data folder '%s' is served by another moonq%s (stop that one, or choose another with --data)", dir,
        who);
}

enum mq_code lock_take(int *out_fd, const char *dir, struct mq_err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/" LOCK_NAME, dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == ELOOP)
        return mq_fail(err, MQ_NOPERM, "'%s' is a symbolic link, which is not followed: remove it", path);
    if (fd < 0)
        return mq_fail(err, errno == EACCES || errno == EROFS || errno == EPERM ? MQ_NOPERM : MQ_BADARG,
                       "cannot open '%s': %s", path, strerror(errno));
    /* flock and not fcntl: it is of the open file, so a second open in this same process is refused too */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum mq_code code = taken(fd, dir, err);
        close(fd);
        return code;
    }
    write_pid(fd, path);
    *out_fd = fd;
    return MQ_OK;
}

void lock_release(int fd)
{
    /* The file stays: removing it would let two servers hold locks on two files of one name. */
    if (fd >= 0)
        close(fd);
}
