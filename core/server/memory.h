/*
 * memory.h - what the server's own memory may take (`max_memory`), and what happens when it takes more.
 *
 * Jobs are in the store's mapped file and not in the heap, so what grows is what clients have on its way: commands half
 * sent, replies not read, listings asked for by the hundred. Beyond the limit pushes get FULL, every client has one
 * command under way at a time, and those with the most that they do not read are closed. What was accepted goes on: leases,
 * acknowledgements, cancels, and the pushes that a handler's acknowledgement holds.
 *
 * It is looked at five times a second, so a burst may pass the limit for a moment.
 */
#ifndef MOONQ_SERVER_MEMORY_H
#define MOONQ_SERVER_MEMORY_H

#include <stdint.h>

struct server;

void memory_start(struct server *server);
void memory_stop(struct server *server);
/* Resident bytes of our own: without files that are mapped, which the kernel takes back when it likes. */
uint64_t memory_own_bytes(void);
uint64_t memory_resident_bytes(void);
#endif
