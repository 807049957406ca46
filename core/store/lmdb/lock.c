#include "store/lmdb/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_NAME "moonq.lock"

/* The pid that the holder wrote; 0 if it has not yet. */
static long pid_in(int fd)
{
    char text[32] = "";
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    return len > 0 ? strtol(text, NULL, 10) : 0;
}

static enum mq_code write_pid(int fd, const char *path, struct mq_err *err)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)len, 0) != len)
        return mq_fail(err, errno == ENOSPC ? MQ_NOSPACE : MQ_INTERNAL, "cannot write '%s': %s", path,
                       strerror(errno));
    return MQ_OK;
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
        long pid = pid_in(fd);
        close(fd);
        return mq_fail(err, MQ_CONFLICT,
                       "data folder '%s' is served by another moonq, process %ld (stop that one, or choose "
                       "another with --data)",
                       dir, pid);
    }
    enum mq_code code = write_pid(fd, path, err);
    if (code != MQ_OK) {
        close(fd);
        return code;
    }
    *out_fd = fd;
    return MQ_OK;
}

void lock_release(int fd)
{
    /* The file stays: removing it would let two servers hold locks on two files of one name. */
    if (fd >= 0)
        close(fd);
}
