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

struct handover {
    _Atomic(struct parcel *) newest;
    _Atomic uint32_t bell;
};

static inline void handover_ring(struct handover *h)
{
    atomic_fetch_add(&h->bell, 1);
    syscall(SYS_futex, &h->bell, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* A chain from its newest to its oldest member. */
static inline void handover_put(struct handover *h, struct parcel *newest, struct parcel *oldest)
{
    struct parcel *before = atomic_load_explicit(&h->newest, memory_order_relaxed);
    do
        oldest->next = before;
    while (!atomic_compare_exchange_weak_explicit(&h->newest, &before, newest, memory_order_release,
                                                  memory_order_relaxed));
    if (!before)
        handover_ring(h);
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

/* Read the bell before looking whether there is work; then no ring between the look and the sleep is missed. */
static inline uint32_t handover_bell(struct handover *h)
{
    return atomic_load(&h->bell);
}
static inline void handover_sleep(struct handover *h, uint32_t bell, int64_t timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    syscall(SYS_futex, &h->bell, FUTEX_WAIT_PRIVATE, bell, &timeout, NULL, 0);
}
#endif
