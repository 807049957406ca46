/*
 * alloc.h - memory of sizes that we chose: it cannot fail, because without it we cannot go on (it aborts).
 * A size that a client chose is checked against its limit first.
 */
#ifndef MOONQ_BASE_ALLOC_H
#define MOONQ_BASE_ALLOC_H

#include <stddef.h>
#include "base/slice.h"

void *mq_alloc(size_t size_bytes);                /* not cleared */
void *mq_calloc(size_t count, size_t size_bytes); /* cleared */
void *mq_realloc(void *old, size_t size_bytes);
char *mq_strdup(const char *text);
char *mq_strdup_slice(struct slice text); /* with a NUL behind it */
#endif
