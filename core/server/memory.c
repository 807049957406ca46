#include "server/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "server/server.h"

#define LOOK_EVERY_S 0.2

/* What belongs to us and what is shared, which is mapped files, in pages. */
static void read_pages(unsigned long *resident, unsigned long *shared)
{
    FILE *file = fopen("/proc/self/statm", "r");
    *resident = *shared = 0;
    if (file && fscanf(file, "%*u %lu %lu", resident, shared) != 2)
        *resident = *shared = 0;
    if (file)
        fclose(file);
}

uint64_t memory_resident_bytes(void)
{
    unsigned long resident, shared;
    read_pages(&resident, &shared);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t memory_own_bytes(void)
{
    unsigned long resident, shared;
    read_pages(&resident, &shared);
    return (uint64_t)(resident > shared ? resident - shared : 0) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The heap keeps what was freed; only what is left after it has let go of that is too much. */
static uint64_t bytes_in_use(uint64_t limit)
{
    uint64_t bytes = memory_own_bytes();
    if (bytes <= limit)
        return bytes;
    malloc_trim(0);
    return memory_own_bytes();
}

static void set_full(struct server *server, bool full, uint64_t bytes, uint64_t limit)
{
    char text[200];
    if (server->memory_full == full)
        return;
    server->memory_full = full;
    protocol_set_tight(server->protocol, full);
    dispatch_set_memory_full(server->dispatch, full ? limit : 0);
    snprintf(text, sizeof text, "the server has %llu MiB, max_memory is %llu MiB: %s",
             (unsigned long long)(bytes >> 20), (unsigned long long)(limit >> 20),
             full ? "pushes get FULL, clients that do not read are closed" : "pushes are accepted again");
    log_event(full ? LOG_ERROR : LOG_WARN, full ? "memory.full" : "memory.recovered",
              LOG_STR("message", text));
    dispatch_emit(server->dispatch, &(struct event){.name = full ? "memory.full" : "memory.recovered",
                                                    .at = clock_wall(),
                                                    .type = SLICE_EMPTY,
                                                    .queue = SLICE_EMPTY,
                                                    .worker = SLICE_EMPTY,
                                                    .by = SLICE_EMPTY,
                                                    .message = slice_of(text),
                                                    .fraction = -1});
}

static void on_look(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct server *server = timer->data;
    uint64_t limit = (uint64_t)server->config.max_memory;
    (void)loop, (void)events;
    uint64_t bytes = limit ? bytes_in_use(limit) : 0;
    /* a tenth less, so that it does not flutter; and clients give way until then, or they could hold it there for ever */
    uint64_t enough = server->memory_full ? limit / 10 * 9 : limit;
    if (bytes > enough)
        protocol_relieve(server->protocol, bytes - enough);
    set_full(server, limit && bytes > enough, bytes, limit);
}

void memory_start(struct server *server)
{
    ev_timer_init(&server->memory_timer, on_look, LOOK_EVERY_S, LOOK_EVERY_S);
    server->memory_timer.data = server;
    ev_timer_start(server->loop, &server->memory_timer);
}

void memory_stop(struct server *server)
{
    ev_timer_stop(server->loop, &server->memory_timer);
}
