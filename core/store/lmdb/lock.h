/*
 * lock.h - one server a data folder.
 *
 * The lock is the kernel's (flock, of the open file), so it ends with its holder however that dies; the pid in
 * the file is only for the message. One that cannot be written is told in the log (lock.no_pid), and no more.
 */
#ifndef MOONQ_STORE_LMDB_LOCK_H
#define MOONQ_STORE_LMDB_LOCK_H

#include "base/err.h"

/*
 * *out_fd is the caller's: lock_release. CONFLICT names the pid of the holder, if it is known. NOPERM: the folder is not
 * writable.
 */
enum mq_code lock_take(int *out_fd, const char *dir, struct mq_err *err);
void lock_release(int fd);
#endif
