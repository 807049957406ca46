#include "runtime/page.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum mq_code page_adopt(struct run_page **out, int fd, struct mq_err *err)
{
    void *at = mmap(NULL, sizeof(struct run_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return mq_fail(err, MQ_INTERNAL, "cannot map the run page: %s", strerror(errno));
    *out = at;
    return MQ_OK;
}

enum mq_code page_open(struct run_page **out, int *out_fd, const char *path, bool fresh, struct mq_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return mq_fail(err, MQ_INTERNAL, "cannot open run page '%s': %s", path, strerror(errno));
    enum mq_code code = MQ_OK;
    /* room on the disk, not only a length: a store into a hole of a full disk ends the process */
    int error = posix_fallocate(fd, 0, sizeof(struct run_page));
    if (error)
        code = mq_fail(err, error == ENOSPC || error == EDQUOT ? MQ_NOSPACE : MQ_INTERNAL,
                       "cannot size run page '%s': %s", path, strerror(error));
    if (code == MQ_OK)
        code = page_adopt(out, fd, err);
    if (code != MQ_OK) {
        close(fd);
        if (fresh)
            unlink(path);
        return code;
    }
    if (fresh)
        memset(*out, 0, sizeof **out);
    *out_fd = fd;
    return MQ_OK;
}

void page_close(struct run_page *page)
{
    if (page)
        munmap(page, sizeof *page);
}
