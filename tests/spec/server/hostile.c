/*
 * hostile.c - a library that is preloaded into a server and makes one of its workers an enemy: what this worker writes to
 * the server is replaced, from the first word about a job on.
 *
 *     HOSTILE_ONCE  a file that does not exist: the first worker that makes it is the hostile one
 *     HOSTILE_WAY   garbage, unfinished, claims, flood or mute
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET_FD 3 /* CHILD_SOCKET_FD of core/runtime/child.h */
enum {
    DONE = 7,
    FAILED = 8,
    DROPPED = 9,
    LOG = 10,
    PROGRESS = 11
}; /* as in core/runtime/frame.h */

static ssize_t (*real_write)(int fd, const void *bytes, size_t len);
static const char *way;
static bool begun;

static bool is_worker(void)
{
    char words[256] = "";
    int fd = open("/proc/self/cmdline", O_RDONLY);
    ssize_t len = fd < 0 ? 0 : read(fd, words, sizeof words - 1);
    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i + 13 < len; i++)
        if (memcmp(words + i, "\0child\0worker", 13) == 0)
            return true;
    return false;
}

__attribute__((constructor)) static void become_hostile(void)
{
    const char *once = getenv("HOSTILE_ONCE");
    real_write = dlsym(RTLD_NEXT, "write");
    if (!once || !is_worker())
        return;
    int fd = open(once, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    close(fd);
    way = getenv("HOSTILE_WAY");
}

static void say(const void *bytes, size_t len)
{
    for (const char *at = bytes; len;) {
        ssize_t wrote = real_write(SOCKET_FD, at, len);
        if (wrote < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = SOCKET_FD, .events = POLLOUT}, 1, -1);
        else if (wrote < 0)
            return;
        else
            at += wrote, len -= (size_t)wrote;
    }
}

static void say_often(const void *frame, size_t len, int times)
{
    while (times--)
        say(frame, len);
}

/* True: what it wanted to say is not said. */
static bool misbehave(void)
{
    static const char claim[] = "\0\0\0\x0e\x09\0\0\0\0\0\0\0\0\0\0\x30\x39\0";
    static const char line[] = "\0\0\0\x13\x0a\0\0\0\0\0\0\0\0\x03\0\0\0\x01x\0\0\0\0";
    if (strcmp(way, "garbage") == 0)
        say("\xff\xff\xff\xff this is no frame", 21);
    else if (strcmp(way, "unfinished") == 0)
        say("\0\x10\0\0\x07 and no more", 17);
    else if (strcmp(way, "claims") == 0)
        say_often(claim, sizeof claim - 1, 3000);
    else if (strcmp(way, "flood") == 0)
        say_often(line, sizeof line - 1, 50000);
    return strcmp(way, "flood") != 0;
}

static bool about_a_job(const char *bytes, size_t len)
{
    return len > 4 && (bytes[4] == DONE || bytes[4] == FAILED || bytes[4] == PROGRESS);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    static bool mute;
    if (way && fd == SOCKET_FD && !begun && about_a_job(bytes, len)) {
        begun = true;
        mute = misbehave();
    }
    return mute && fd == SOCKET_FD ? (ssize_t)len : real_write(fd, bytes, len);
}
