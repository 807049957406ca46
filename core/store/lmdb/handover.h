/*
 * handover.h - one queue between threads: anybody puts, without a lock; one side takes all at once.
 *
 * Put is an exchange on the head of an intrusive list, newest first; take is an exchange with nothing, and turns
 * the list around. Who takes may sleep on the bell (a futex), which is rung when the list was empty.
 */
#ifndef MOONQ_STORE_LMDB_HANDOVER_H
#define MOONQ_STORE_LMDB_HANDOVER_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What is handed over begins with this. */
struct parcel {
    struct parcel *next;
};

struct bell {
    _Atomic uint32_t rings;
};

static inline void bell_ring(struct bell *bell)
{
    atomic_fetch_add(&bell->rings, 1);
    syscall(SYS_futex, &bell->rings, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}
/* Listen before looking whether there is work; then no ring between the look and the sleep is missed. */
static inline uint32_t bell_listen(struct bell *bell)
{
    return atomic_load(&bell->rings);
}
static inline void bell_sleep(struct bell *bell, uint32_t heard, int64_t timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    syscall(SYS_futex, &bell->rings, FUTEX_WAIT_PRIVATE, heard, &timeout, NULL, 0);
}

struct handover {
    _Atomic(struct parcel *) newest;
    struct bell bell;
};

/* A chain from its newest to its oldest member. */
static inline void handover_put(struct handover *h, struct parcel *newest, struct parcel *oldest)
{
    struct parcel *before = atomic_load_explicit(&h->newest, memory_order_relaxed);
    do
        oldest->next = before;
    while (!atomic_compare_exchange_weak_explicit(&h->newest, &before, newest, memory_order_release,
                                                  memory_order_relaxed));
    if (!before)
        bell_ring(&h->bell);
}

/* All that was put, oldest first; NULL if nothing. */
static inline struct parcel *handover_take(struct handover *h)
{
    struct parcel *at = atomic_exchange_explicit(&h->newest, NULL, memory_order_acquire), *oldest = NULL;
    while (at) {
        struct parcel *next = at->next;
        at->next = oldest;
        oldest = at;
        at = next;
    }
    return oldest;
}
#endif
