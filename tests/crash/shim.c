#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 4096

enum {
    NOT_OURS,
    OURS,
    OURS_SYNCED, /* opened with O_DSYNC */
    OURS_NEW,    /* a store that has not got its name yet */
    OURS_JOURNAL,
    OURS_FOLDER, /* in which the journal is */
};

static struct shim_page *page;
static int log_fd = -1;
static _Atomic uint8_t kind_of_fd[FDS_MAX];
static _Atomic bool new_is_synced;
static struct stat journal_folder;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

/* The next definition of a function: libc's. Static initialisers of other libraries may call us before our own. */
#define NEXT(name)                                                                                           \
    static __typeof__(name) *next;                                                                           \
    if (!next)                                                                                               \
    next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void start(void)
{
    const char *page_path = getenv("SHIM_PAGE"), *log_path = getenv("SHIM_LOG");
    if (!page_path)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, page_path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (at == MAP_FAILED)
        return;
    page = at;
    if (log_path)
        log_fd =
            (int)syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* ---- the record ---- */

static int kind_of(int fd)
{
    return page && fd >= 0 && fd < FDS_MAX ? kind_of_fd[fd] : NOT_OURS;
}

static bool is_named(const char *path, const char *name)
{
    size_t len = strlen(path), name_len = strlen(name);
    return len > name_len && path[len - name_len - 1] == '/' && strcmp(path + len - name_len, name) == 0;
}

static void put(const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len) {
        ssize_t done = syscall(SYS_write, log_fd, at, len);
        if (done <= 0)
            abort(); /* a record with a hole would prove nothing */
        at += done;
        len -= (size_t)done;
    }
}

static enum shim_file file_of(int fd)
{
    return kind_of(fd) == OURS_JOURNAL ? SHIM_JOURNAL : SHIM_STORE;
}

static void note_parts(enum shim_file file, enum shim_kind kind, uint64_t at, const struct iovec *parts,
                       int count, size_t len)
{
    struct shim_record record = {at, (uint32_t)len, (uint16_t)kind, (uint16_t)file};
    if (log_fd < 0)
        return;
    pthread_mutex_lock(&log_lock);
    /* Counted first: a kill in between leaves a count that promises less. One too small would promise too much. */
    atomic_fetch_add(&page->records, 1);
    put(&record, sizeof record);
    for (int i = 0; i < count && len; i++) {
        size_t here = parts[i].iov_len < len ? parts[i].iov_len : len;
        put(parts[i].iov_base, here);
        len -= here;
    }
    pthread_mutex_unlock(&log_lock);
}

static void note(int fd, enum shim_kind kind, uint64_t at)
{
    note_parts(file_of(fd), kind, at, NULL, 0, 0);
}

static void note_write(int fd, uint64_t at, const struct iovec *parts, int count, ssize_t done)
{
    int saved = errno;
    if (kind_of(fd) == OURS_NEW)
        new_is_synced = false;
    else if (done > 0)
        note_parts(file_of(fd), kind_of(fd) == OURS_SYNCED ? SHIM_SYNCED : SHIM_WRITE, at, parts, count,
                   (size_t)done);
    errno = saved;
}

/* A tmpfs syncs in no time; a window between a reply and its sync would never be seen. */
static void take_time(void)
{
    if (page->sync_us)
        usleep((useconds_t)page->sync_us);
}

/* ---- failures ---- */

static bool fails(int fd, _Atomic int64_t *which)
{
    int64_t error = *which, only = page->only;
    if (!error || (only && only != 1 + (int64_t)file_of(fd)) || atomic_fetch_sub(&page->allowed, 1) > 0)
        return false;
    atomic_fetch_add(&page->failures, 1);
    errno = (int)error;
    return true;
}

static bool write_fails(int fd)
{
    if (!kind_of(fd))
        return false;
    if (kind_of(fd) == OURS_SYNCED)
        take_time();
    if (kind_of(fd) != OURS_SYNCED)
        return fails(fd, &page->write_errno);
    /* what is synced as it is written is LMDB's meta page, in its place: a full disk does not refuse that one */
    return fails(fd, &page->sync_errno) || (page->write_errno != ENOSPC && fails(fd, &page->write_errno));
}

/* ---- opening ---- */

/* Relative to `dir`. */
static bool is_missing(int dir, const char *path)
{
    struct stat st;
    int saved = errno;
    bool is = page && is_named(path, SHIM_JOURNAL_NAME) && fstatat(dir, path, &st, 0) != 0;
    errno = saved;
    return is;
}

static void met_journal(int fd, const char *path, bool created)
{
    char copy[4096];
    strncpy(copy, path, sizeof copy - 1);
    copy[sizeof copy - 1] = '\0';
    stat(dirname(copy), &journal_folder);
    kind_of_fd[fd] = OURS_JOURNAL;
    if (created)
        note(fd, SHIM_CREATED, 0);
}

static bool is_journal_folder(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_ino == journal_folder.st_ino && st.st_dev == journal_folder.st_dev;
}

static void met(int fd, const char *path, int flags, bool missing)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    if (!page || fd < 0 || fd >= FDS_MAX)
        return;
    kind_of_fd[fd] = NOT_OURS;
    if (flags & O_DIRECTORY && is_journal_folder(fd))
        kind_of_fd[fd] = OURS_FOLDER;
    if (!writes)
        return;
    if (is_named(path, SHIM_JOURNAL_NAME))
        met_journal(fd, path, missing);
    if (is_named(path, SHIM_STORE_NAME ".new"))
        kind_of_fd[fd] = OURS_NEW;
    else if (is_named(path, SHIM_STORE_NAME))
        kind_of_fd[fd] = flags & O_DSYNC ? OURS_SYNCED : OURS;
    if (kind_of_fd[fd] == OURS)
        note(fd, SHIM_OPEN, 0);
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define OPEN(name)                                                                                           \
    int name(const char *path, int flags, ...)                                                               \
    {                                                                                                        \
        va_list args;                                                                                        \
        va_start(args, flags);                                                                               \
        mode_t mode = mode_of(flags, args);                                                                  \
        va_end(args);                                                                                        \
        NEXT(name);                                                                                          \
        bool missing = is_missing(AT_FDCWD, path);                                                           \
        int fd = next(path, flags, mode);                                                                    \
        met(fd, path, flags, missing);                                                                       \
        return fd;                                                                                           \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                         \
    int name(int dir, const char *path, int flags, ...)                                                      \
    {                                                                                                        \
        va_list args;                                                                                        \
        va_start(args, flags);                                                                               \
        mode_t mode = mode_of(flags, args);                                                                  \
        va_end(args);                                                                                        \
        NEXT(name);                                                                                          \
        bool missing = is_missing(dir, path);                                                                \
        int fd = next(dir, path, flags, mode);                                                               \
        met(fd, path, flags, missing);                                                                       \
        return fd;                                                                                           \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd)
{
    NEXT(close);
    if (fd >= 0 && fd < FDS_MAX)
        kind_of_fd[fd] = NOT_OURS;
    return next(fd);
}

/* ---- writing ---- */

ssize_t write(int fd, const void *bytes, size_t len)
{
    NEXT(write);
    if (!kind_of(fd))
        return next(fd, bytes, len);
    if (write_fails(fd))
        return -1;
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = next(fd, bytes, len);
    note_write(fd, (uint64_t)at, &(struct iovec){(void *)bytes, len}, 1, done);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    NEXT(writev);
    if (!kind_of(fd))
        return next(fd, parts, count);
    if (write_fails(fd))
        return -1;
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = next(fd, parts, count);
    note_write(fd, (uint64_t)at, parts, count, done);
    return done;
}

#define PWRITE(name, offset)                                                                                 \
    ssize_t name(int fd, const void *bytes, size_t len, offset at)                                           \
    {                                                                                                        \
        NEXT(name);                                                                                          \
        if (write_fails(fd))                                                                                 \
            return -1;                                                                                       \
        ssize_t done = next(fd, bytes, len, at);                                                             \
        if (kind_of(fd))                                                                                     \
            note_write(fd, (uint64_t)at, &(struct iovec){(void *)bytes, len}, 1, done);                      \
        return done;                                                                                         \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PWRITEV(name, offset)                                                                                \
    ssize_t name(int fd, const struct iovec *parts, int count, offset at)                                    \
    {                                                                                                        \
        NEXT(name);                                                                                          \
        if (write_fails(fd))                                                                                 \
            return -1;                                                                                       \
        ssize_t done = next(fd, parts, count, at);                                                           \
        if (kind_of(fd))                                                                                     \
            note_write(fd, (uint64_t)at, parts, count, done);                                                \
        return done;                                                                                         \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

/* ---- sizes ---- */

#define TRUNCATE(name, offset)                                                                               \
    int name(int fd, offset len)                                                                             \
    {                                                                                                        \
        NEXT(name);                                                                                          \
        if (write_fails(fd))                                                                                 \
            return -1;                                                                                       \
        int rc = next(fd, len);                                                                              \
        if (rc == 0 && kind_of(fd) != OURS_NEW && kind_of(fd))                                               \
            note(fd, SHIM_SIZE, (uint64_t)len);                                                              \
        return rc;                                                                                           \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define ALLOCATE(name, offset)                                                                               \
    int name(int fd, int mode, offset at, offset len)                                                        \
    {                                                                                                        \
        NEXT(name);                                                                                          \
        if (write_fails(fd))                                                                                 \
            return -1;                                                                                       \
        int rc = next(fd, mode, at, len);                                                                    \
        if (rc == 0 && kind_of(fd) != OURS_NEW && kind_of(fd) && mode == 0)                                  \
            note(fd, SHIM_ALLOCATE, (uint64_t)at + (uint64_t)len);                                           \
        return rc;                                                                                           \
    }
ALLOCATE(fallocate, off_t)
ALLOCATE(fallocate64, off64_t)

/* ---- syncing ---- */

static int synced(int fd, int (*sync)(int fd))
{
    if (!kind_of(fd))
        return sync(fd);
    if (fails(fd, &page->sync_errno))
        return -1;
    if (kind_of(fd) == OURS_NEW) {
        new_is_synced = true;
        return sync(fd);
    }
    if (kind_of(fd) == OURS_FOLDER) {
        int rc = sync(fd);
        if (rc == 0)
            note_parts(SHIM_JOURNAL, SHIM_FOLDER, 0, NULL, 0, 0);
        return rc;
    }
    note(fd, SHIM_SYNC_BEGIN, 0);
    take_time();
    int rc = sync(fd);
    if (rc == 0)
        note(fd, SHIM_SYNC_END, 0);
    return rc;
}

int fdatasync(int fd)
{
    NEXT(fdatasync);
    return synced(fd, next);
}

int fsync(int fd)
{
    NEXT(fsync);
    return synced(fd, next);
}

/* A store gets its name: all of it is there at once, and safe if it was synced before. */
int rename(const char *from, const char *to)
{
    static char bytes[1 << 20];
    NEXT(rename);
    int rc = next(from, to);
    if (rc || !page || !is_named(to, SHIM_STORE_NAME))
        return rc;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, to, O_RDONLY | O_CLOEXEC, 0);
    ssize_t len = fd < 0 ? 0 : syscall(SYS_read, fd, bytes, sizeof bytes);
    syscall(SYS_close, fd);
    if (len > 0)
        note_parts(SHIM_STORE, new_is_synced ? SHIM_NAMED : SHIM_WRITE, 0,
                   &(struct iovec){bytes, (size_t)len}, 1, (size_t)len);
    return 0;
}

/* The store maps its file to read only; a build that wrote through the map could not be recorded. */
int msync(void *at, size_t len, int flags)
{
    NEXT(msync);
    if (log_fd >= 0)
        abort();
    return next(at, len, flags);
}

/* ---- the wall clock ---- */

int clock_gettime(clockid_t clock, struct timespec *out)
{
    NEXT(clock_gettime);
    int rc = next(clock, out);
    if (rc || !page || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return rc;
    int64_t ms = page->clock_step_ms, ns = out->tv_nsec + ms % 1000 * 1000000;
    out->tv_sec += ms / 1000 + (ns >= 1000000000) - (ns < 0);
    out->tv_nsec = (ns + 1000000000) % 1000000000;
    return rc;
}

int gettimeofday(struct timeval *out, void *zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}
