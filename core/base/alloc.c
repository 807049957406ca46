#include "base/alloc.h"

#include <stdlib.h>

#include "base/err.h"

static void *checked(void *at, size_t size_bytes)
{
    if (!at && size_bytes)
        mq_bug("out of memory: %zu bytes", size_bytes);
    return at;
}

void *mq_alloc(size_t size_bytes)
{
    return checked(malloc(size_bytes), size_bytes);
}

void *mq_calloc(size_t count, size_t size_bytes)
{
    return checked(calloc(count, size_bytes), count * size_bytes);
}

void *mq_realloc(void *old, size_t size_bytes)
{
    return checked(realloc(old, size_bytes), size_bytes);
}

char *mq_strdup(const char *text)
{
    return mq_strdup_slice(slice_of(text));
}

char *mq_strdup_slice(struct slice text)
{
    char *copy = mq_alloc(text.len + 1);
    if (text.len)
        memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    return copy;
}
