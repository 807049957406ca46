/*
 * reply.h - replies in RESP2 or RESP3, written at the end of a buffer.
 *
 * What RESP2 lacks has one stand-in: a map is a flat array of keys and values, a boolean 1 or 0, a double a bulk
 * string, null a null bulk string, a push an ordinary reply.
 */
#ifndef MOONQ_PROTOCOL_REPLY_H
#define MOONQ_PROTOCOL_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/slice.h"
#include "job/id.h"

struct reply {
    struct buf *out;
    bool resp3;
};

#define REPLY_NUMBER_BYTES 21 /* -9223372036854775808 and a NUL */
/* Decimal digits at `at`, no NUL; returns how many. */
size_t reply_digits(char at[REPLY_NUMBER_BYTES], int64_t number);

void reply_ok(struct reply *r);
void reply_simple(struct reply *r, const char *text); /* +text; no line ends in it */
/* -CODE text. Line ends and control characters in the text become blanks. */
void reply_error(struct reply *r, const char *code, const char *text);
void reply_null(struct reply *r);
void reply_bool(struct reply *r, bool value);
void reply_int(struct reply *r, int64_t number);
void reply_double(struct reply *r, double number);
void reply_bulk(struct reply *r, struct slice bytes);
void reply_text(struct reply *r, const char *text);
void reply_id(struct reply *r, job_id id);
void reply_hash(struct reply *r, uint32_t hash); /* eight hexadecimal digits; 0: null */
void reply_array(struct reply *r, size_t count); /* `count` replies follow */
void reply_map(struct reply *r, size_t pairs);   /* twice as many follow */
void reply_push(struct reply *r, size_t count);

/* A bulk string, or null where it is empty. */
static inline void reply_maybe(struct reply *r, struct slice bytes)
{
    if (bytes.len)
        reply_bulk(r, bytes);
    else
        reply_null(r);
}
/* A moment, or null for WALL_NEVER and for none. */
static inline void reply_moment(struct reply *r, wall_ms at)
{
    if (at == WALL_NEVER || at == 0)
        reply_null(r);
    else
        reply_int(r, at);
}
/* "a\nb\n", as a job keeps its tags, as an array. */
void reply_tags(struct reply *r, struct slice tags);
#endif
