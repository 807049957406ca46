#include "dispatch/inside.h"

struct hint *hint_find(struct dispatch *d, struct slice name)
{
    struct hint *hint;
    HASH_FIND(hh, d->hints, name.at, name.len, hint);
    return hint;
}

struct hint *hint_ensure(struct dispatch *d, struct slice name)
{
    struct hint *hint = hint_find(d, name);
    if (hint)
        return hint;
    hint = mq_calloc(1, sizeof *hint);
    hint->news.name = (struct slice){mq_strdup_slice(name), name.len};
    hint->unserved_since = MONO_NEVER;
    HASH_ADD_KEYPTR(hh, d->hints, hint->news.name.at, hint->news.name.len, hint);
    return hint;
}

void hint_touch(struct dispatch *d, struct hint *hint)
{
    if (hint->live || hint->news.ready + hint->pushing == 0)
        return;
    hint->live = true;
    DL_APPEND(d->live, hint);
}

unsigned hints_trim(struct dispatch *d)
{
    unsigned left = 0;
    struct hint *hint, *next;
    DL_FOREACH_SAFE (d->live, hint, next) {
        if (hint->news.ready + hint->pushing) {
            left++;
            continue;
        }
        hint->live = hint->unserved_told = false;
        hint->unserved_since = MONO_NEVER;
        DL_DELETE(d->live, hint);
    }
    return left;
}

uint64_t hint_expected(const struct hint *hint)
{
    uint64_t there = hint->news.ready + hint->pushing;
    return hint->news.paused || there <= hint->asked ? 0 : there - hint->asked;
}

uint64_t hint_expected_by_client(const struct hint *hint)
{
    return hint_expected(hint) + (hint->news.paused ? 0 : hint->news.parked);
}

void hints_free(struct dispatch *d)
{
    struct hint *hint, *next;
    HASH_ITER (hh, d->hints, hint, next) {
        HASH_DEL(d->hints, hint);
        free((char *)hint->news.name.at);
        free(hint);
    }
}

bool dispatch_queue(struct dispatch *d, struct slice name, struct queue_news *out)
{
    struct hint *hint = hint_find(d, name);
    if (hint)
        *out = hint->news;
    return hint != NULL;
}
