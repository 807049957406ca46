/*
 * page.h - what a worker tells without speaking: one page of memory that it shares with the server.
 *
 * A process that is killed can send no last message, and one that loops can send none either. So each worker
 * has a small file mapped (data/run/worker-N), in which it writes, with plain atomic stores, which job is on
 * the CPU, and that it is alive. The server reads it when the worker dies, and, since the file outlives both,
 * when the server itself was killed and starts again.
 *
 * Each coroutine's place is a slot. The server gives a job to a slot; the worker takes it when it starts the
 * job. If it does not start within a moment, the server takes it back: both use a compare-and-set on the
 * slot's state, so exactly one of them wins, without a message.
 *
 *     FREE --server--> GIVEN --worker--> TAKEN --server, on its outcome--> FREE
 *                        '-----server--> REVOKED --server, on the worker's DROPPED--> FREE
 *
 * The server trusts nothing in it: a hostile worker that scribbles here harms only its own jobs.
 */
#ifndef MOONQ_RUNTIME_PAGE_H
#define MOONQ_RUNTIME_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

#define WORKER_SLOTS_MAX 4000

enum slot_state {
    SLOT_FREE,
    SLOT_GIVEN,
    SLOT_TAKEN,
    SLOT_REVOKED,
};

struct run_page {
    _Atomic uint64_t on_cpu; /* the job whose coroutine runs now; 0: none */
    _Atomic uint64_t turns;  /* grows each time a coroutine is resumed */
    _Atomic uint64_t beats;  /* grows with each turn of the worker's loop, and at least twice a second */
    _Atomic uint64_t memory; /* bytes that its Lua has, at its last beat */
    _Atomic uint32_t
        leaving; /* 1: another should take its place. It ends when the server has no more for it */
    _Atomic uint32_t slots[WORKER_SLOTS_MAX];
};

/* Creates or opens the file and maps it. `fresh`: cleared. NOSPACE: the disk is full. The caller's: page_close. */
enum mq_code page_open(struct run_page **out, int *out_fd, const char *path, bool fresh, struct mq_err *err);
/* Maps a page that was inherited as a descriptor. */
enum mq_code page_adopt(struct run_page **out, int fd, struct mq_err *err);
void page_close(struct run_page *page);

static inline bool slot_move(struct run_page *page, unsigned slot, enum slot_state from, enum slot_state to)
{
    uint32_t expected = from;
    return atomic_compare_exchange_strong(&page->slots[slot], &expected, to);
}
#endif
