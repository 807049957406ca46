#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Somebody answers at the socket: then it is not ours to replace. */
static bool is_served(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool served = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    if (fd >= 0)
        close(fd);
    return served;
}

static enum mq_code clear_place(const char *path, const struct sockaddr_un *address, struct mq_err *err)
{
    struct stat stat;
    if (lstat(path, &stat) != 0)
        return MQ_OK;
    if (!S_ISSOCK(stat.st_mode))
        return mq_fail(err, MQ_CONFLICT, "'%.200s' exists and is no socket: choose another with --socket",
                       path);
    if (is_served(address))
        return mq_fail(err, MQ_CONFLICT, "another server answers at '%.200s': choose another with --socket",
                       path);
    unlink(path); /* left by a server that was killed */
    return MQ_OK;
}

static enum mq_code cannot_listen(const char *path, int reason, struct mq_err *err)
{
    int folder_len = (int)(strrchr(path, '/') - path); /* it is absolute */
    if (reason == ENOENT || reason == ENOTDIR)
        return mq_fail(
            err, MQ_NOTFOUND,
            "the socket's folder '%.*s' is not there (make it first, or choose another place with --socket)",
            folder_len > 200 ? 200 : folder_len, path);
    return mq_fail(err, reason == EACCES || reason == EROFS ? MQ_NOPERM : MQ_INTERNAL,
                   "cannot listen at '%.200s': %s (choose another place with --socket)", path,
                   strerror(reason));
}

static enum mq_code open_at(int *out, const char *path, int64_t mode, struct mq_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return mq_fail(
            err, MQ_BADARG,
            "socket path '%.150s' has %zu bytes, the system allows %zu: choose another with --socket", path,
            strlen(path), sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    enum mq_code code = clear_place(path, &address, err);
    if (code != MQ_OK)
        return code;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0777 & ~(mode_t)mode);
    int failed =
        fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0;
    int reason = errno;
    umask(mask);
    if (!failed) {
        *out = fd;
        return MQ_OK;
    }
    if (fd >= 0)
        close(fd);
    return cannot_listen(path, reason, err);
}

enum mq_code listener_open(struct server *server, struct mq_err *err)
{
    const struct config *config = &server->config;
    enum mq_code code = open_at(&server->listening_fd, server->socket_path, config->socket_mode, err);
    if (code == MQ_OK && *server->read_socket_path)
        code = open_at(&server->reading_fd, server->read_socket_path, config->read_socket_mode, err);
    if (code != MQ_OK)
        listener_close(server);
    return code;
}

static void close_at(int *fd, const char *path)
{
    if (*fd >= 0)
        unlink(path);
    *fd = -1;
}

void listener_close(struct server *server)
{
    close_at(&server->listening_fd, server->socket_path);
    close_at(&server->reading_fd, server->read_socket_path);
}
