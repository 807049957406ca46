#include "runtime/landlock.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

enum {
    FS_EXECUTE = 1 << 0,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_FIRST = (1 << 13) - 1,     /* all that the first version knows: execute .. make_sym */
    FS_REFER = 1 << 13,           /* version 2 */
    FS_TRUNCATE = 1 << 14,        /* version 3 */
    FS_IOCTL_DEV = 1 << 15,       /* version 5 */
    NET_BIND_TCP = 1 << 0,        /* version 4 */
    SCOPE_ABSTRACT_UNIX = 1 << 0, /* version 6 */
    SCOPE_SIGNAL = 1 << 1,
    ASK_VERSION = 1 << 0,
    RULE_PATH_BENEATH = 1,
};

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

struct path_attr {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

int landlock_begin(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);
    if (version < 1)
        return -1;
    struct ruleset_attr attr = {.fs = FS_FIRST};
    size_t size = sizeof attr.fs;
    if (version >= 2)
        attr.fs |= FS_REFER;
    if (version >= 3)
        attr.fs |= FS_TRUNCATE;
    if (version >= 4) {
        attr.net =
            NET_BIND_TCP; /* nobody may offer a service; where one may connect to is the handler's `allow` */
        size = sizeof attr.fs + sizeof attr.net;
    }
    if (version >= 5)
        attr.fs |= FS_IOCTL_DEV;
    if (version >= 6) {
        attr.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
        size = sizeof attr;
    }
    return (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
}

void landlock_allow(int ruleset, const char *path)
{
    struct stat about;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return;
    struct path_attr attr = {.allowed = FS_READ_FILE, .parent_fd = fd};
    if (fstat(fd, &about) == 0 && S_ISDIR(about.st_mode))
        attr.allowed |= FS_READ_DIR;
    syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &attr, 0);
    close(fd);
}

int landlock_end(int ruleset)
{
    int status = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
    close(ruleset);
    return status;
}
