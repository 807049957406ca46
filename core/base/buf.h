/*
 * buf.h - a growing run of bytes, written at the end and eaten from the front.
 *
 * Memory: buf_init/buf_release. What buf_bytes answers is good until the next write.
 */
#ifndef MOONQ_BASE_BUF_H
#define MOONQ_BASE_BUF_H

#include <stdint.h>
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/slice.h"

struct buf {
    char *at;
    size_t start; /* eaten so far */
    size_t end;   /* written so far; start <= end <= cap */
    size_t cap;
};

#define BUF_INIT ((struct buf){0})

void buf_init(struct buf *buf);
void buf_release(struct buf *buf);

/* Room for `len` more bytes behind the end; the answer points to it. Follow with buf_grew. */
char *buf_room_slow(struct buf *buf, size_t len);
static inline char *buf_room(struct buf *buf, size_t len)
{
    return buf->cap - buf->end >= len ? buf->at + buf->end : buf_room_slow(buf, len);
}
static inline void buf_grew(struct buf *buf, size_t len)
{
    buf->end += len;
}
static inline void buf_add(struct buf *buf, const void *bytes, size_t len)
{
    if (len) {
        memcpy(buf_room(buf, len), bytes, len);
        buf->end += len;
    }
}
static inline void buf_add_slice(struct buf *buf, struct slice bytes)
{
    buf_add(buf, bytes.at, bytes.len);
}
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void buf_u8(struct buf *buf, uint8_t v)
{
    *buf_room(buf, 1) = (char)v;
    buf->end++;
}
static inline void buf_u16(struct buf *buf, uint16_t v)
{
    be16_put(buf_room(buf, 2), v);
    buf->end += 2;
}
static inline void buf_u32(struct buf *buf, uint32_t v)
{
    be32_put(buf_room(buf, 4), v);
    buf->end += 4;
}
static inline void buf_u64(struct buf *buf, uint64_t v)
{
    be64_put(buf_room(buf, 8), v);
    buf->end += 8;
}
/* The counterpart of reader_string. */
static inline void buf_string(struct buf *buf, struct slice s)
{
    buf_u32(buf, (uint32_t)s.len);
    buf_add_slice(buf, s);
}

static inline size_t buf_len(const struct buf *buf)
{
    return buf->end - buf->start;
}
static inline struct slice buf_bytes(const struct buf *buf)
{
    return (struct slice){buf->at ? buf->at + buf->start : "", buf->end - buf->start};
}
/* Eats `len` bytes from the front. */
static inline void buf_eat(struct buf *buf, size_t len)
{
    buf->start += len;
    if (buf->start == buf->end)
        buf->start = buf->end = 0;
}
/* Keeps the first `len` bytes. */
static inline void buf_cut(struct buf *buf, size_t len)
{
    buf->end = buf->start + len;
}

static inline void buf_clear(struct buf *buf)
{
    buf->start = buf->end = 0;
}
#endif
