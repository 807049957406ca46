/*
 * unique.h - a unique key made of chosen arguments, so that equal arguments make equal keys and others do not.
 *
 * The key is the chosen arguments as JSON, with sorted names and no spaces: {"list":3,"to":"ana"}. It is exact, not a
 * hash, and a person can read it. Two spellings of one value are one (a space more, "\u0061" for "a", 1e2 for 100.0);
 * 1 and 1.0 are two. An argument that is not there is a mistake, for a name spelled wrong would make all jobs the same.
 *
 * Threads: any.
 */
#ifndef MOONQ_JOB_UNIQUE_H
#define MOONQ_JOB_UNIQUE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#define UNIQUE_FIELDS_MAX        8
#define UNIQUE_PAYLOAD_MAX_BYTES (64 * 1024) /* it is read on the loop: a fraction of a millisecond */

/*
 * "to,list": names of the payload's object; "/user/id": a JSON pointer (RFC 6901); ".": all of the payload. BADARG quotes
 * what is wrong.
 */
enum mq_code unique_fields_check(struct slice fields, struct mq_err *err);

/* Appends the key. BADARG: no JSON, or an argument is missing; TOOBIG: the payload or the key. */
enum mq_code unique_key_of(struct buf *out, struct slice fields, struct slice payload, struct mq_err *err);
#endif
