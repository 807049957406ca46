/*
 * name.h - what queues, job types and tags may be called.
 *
 * Letters, digits and . _ - : / (not first: a dot or a slash). No blanks, no control characters, ASCII only: a
 * name must survive a shell, a URL and a metric's label.
 */
#ifndef MOONQ_JOB_NAME_H
#define MOONQ_JOB_NAME_H

#include "base/err.h"
#include "base/slice.h"

#define NAME_MAX_BYTES 128 /* three and an id fit LMDB's 511-byte key */

/* BADARG: "queue name 'a b' has an illegal character at column 2 (allowed: ...)". `what`: "queue", "job type", "tag". */
enum mq_code name_check(const char *what, struct slice name, struct mq_err *err);
#endif
