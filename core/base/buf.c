#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

#define BUF_FIRST_BYTES 256

void buf_init(struct buf *buf)
{
    *buf = BUF_INIT;
}

void buf_release(struct buf *buf)
{
    free(buf->at);
    *buf = BUF_INIT;
}

char *buf_room_slow(struct buf *buf, size_t len)
{
    size_t held = buf_len(buf);
    /* Moving what is left to the front is worth it while it is the smaller half. */
    if (buf->start && buf->start >= held && buf->cap - held >= len) {
        memmove(buf->at, buf->at + buf->start, held);
        buf->start = 0;
        buf->end = held;
        return buf->at + buf->end;
    }
    size_t cap = buf->cap ? buf->cap : BUF_FIRST_BYTES;
    while (cap - buf->end < len)
        cap *= 2;
    buf->at = mq_realloc(buf->at, cap);
    buf->cap = cap;
    return buf->at + buf->end;
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    mq_must(len >= 0);
    char *room = buf_room(buf, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(room, (size_t)len + 1, format, args);
    va_end(args);
    buf_grew(buf, (size_t)len);
}
