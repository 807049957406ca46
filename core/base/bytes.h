/*
 * bytes.h - big-endian numbers in memory, and a reader that never leaves its bytes.
 *
 * Big-endian, so that the order of LMDB's keys is the order of the numbers.
 */
#ifndef MOONQ_BASE_BYTES_H
#define MOONQ_BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "base/slice.h"

static inline void be16_put(void *at, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(at, &v, sizeof v);
}
static inline void be32_put(void *at, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(at, &v, sizeof v);
}
static inline void be64_put(void *at, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(at, &v, sizeof v);
}
static inline uint16_t be16_get(const void *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof v);
    return __builtin_bswap16(v);
}
static inline uint32_t be32_get(const void *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return __builtin_bswap32(v);
}
static inline uint64_t be64_get(const void *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return __builtin_bswap64(v);
}

/* Reads numbers and counted strings off the front. Past the end it answers zeroes and says so in `short_`. */
struct reader {
    struct slice rest;
    bool short_;
};

static inline struct reader reader_of(struct slice bytes)
{
    return (struct reader){bytes, false};
}
static inline const char *reader_take(struct reader *r, size_t len)
{
    const char *at = r->rest.at;
    if (r->rest.len < len) {
        r->short_ = true;
        return NULL;
    }
    r->rest.at += len;
    r->rest.len -= len;
    return at;
}
static inline uint8_t reader_u8(struct reader *r)
{
    const char *at = reader_take(r, 1);
    return at ? (uint8_t)*at : 0;
}
static inline uint16_t reader_u16(struct reader *r)
{
    const char *at = reader_take(r, 2);
    return at ? be16_get(at) : 0;
}
static inline uint32_t reader_u32(struct reader *r)
{
    const char *at = reader_take(r, 4);
    return at ? be32_get(at) : 0;
}
static inline uint64_t reader_u64(struct reader *r)
{
    const char *at = reader_take(r, 8);
    return at ? be64_get(at) : 0;
}
/* A string behind its length in four bytes; points into what is read. */
static inline struct slice reader_string(struct reader *r)
{
    size_t len = reader_u32(r);
    const char *at = reader_take(r, len);
    return at ? (struct slice){at, len} : SLICE_EMPTY;
}
/* Everything was there, and nothing is left over. */
static inline bool reader_done(const struct reader *r)
{
    return !r->short_ && r->rest.len == 0;
}
#endif
