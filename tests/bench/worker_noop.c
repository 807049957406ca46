/*
 * worker_noop.c - what one job costs in a worker process: no server, no store, only frames over a socketpair.
 *
 *     worker_noop [jobs] [slots]
 *
 * Keeps all slots filled, and prints the worker's processor time a job, for handlers that do nothing, that read
 * their arguments, that fail, and that wait once. Payloads have 200 bytes.
 */
#include "../unit/runtime/fake_server.h"

#include <sys/resource.h>

static const struct {
    const char *name, *handler;
} handlers[] = {
    {"noop", "return { run = function() end }"},
    {"reads args", "return { run = function(job) return { to = job.args.to } end }"},
    {"fails", "return { retry = 'exponential', run = function() error('no') end }"},
    {"waits once", "local sleep = require('moonq.time').sleep return { run = function() sleep(0) end }"},
};

static const char payload[] = "{\"to\":\"somebody@example.com\",\"name\":\"Somebody "
                              "Longname\",\"template\":\"welcome\",\"locale\":\"en\","
                              "\"vars\":{\"plan\":\"basic\",\"seats\":5,\"trial\":true},\"note\":"
                              "\"0123456789012345678901234567890123456\"}";

static void give(struct fake_server *s, uint32_t slot)
{
    atomic_store(&s->page->slots[slot], SLOT_GIVEN);
    server_queue(s, &(struct given){.slot = slot, .type = "job", .payload = payload});
}

/* Each outcome's slot is filled again, until `jobs` were given. */
static unsigned feed(struct fake_server *s, unsigned jobs)
{
    struct frame frame;
    unsigned given = 0, ended = 0, failed = 0;
    for (; given < s->slots && given < jobs; given++)
        give(s, given);
    server_send(s);
    while (ended < jobs) {
        if (!server_next(s, &frame)) {
            fprintf(stderr, "the worker died after %u jobs\n", ended);
            exit(1);
        }
        if (frame.kind != FRAME_DONE && frame.kind != FRAME_FAILED)
            continue;
        ended++;
        failed += frame.kind == FRAME_FAILED;
        if (given < jobs) {
            given++;
            give(s, frame.done.slot);
        }
        size_t used = 0;
        struct mq_err err;
        struct slice rest = {buf_bytes(&s->in).at + s->eaten, buf_len(&s->in) - s->eaten};
        if (frame_read(&frame, rest, &used, &err) == MQ_OK && used == 0)
            server_send(s); /* all that came is answered */
    }
    return failed;
}

static double cpu_of_children(void)
{
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void measure(const char *name, const char *handler, unsigned jobs, unsigned slots)
{
    struct fake_server s;
    server_init(&s);
    s.slots = slots;
    server_file(&s, "handlers/job.lua", handler);
    server_worker(&s);
    double cpu = cpu_of_children();
    mono_ms began = clock_mono();
    unsigned failed = feed(&s, jobs);
    mono_ms took = clock_mono() - began;
    server_end(&s);
    cpu = cpu_of_children() - cpu;
    printf("%-12s %8u jobs  %6.2f us processor time a job in the worker  %8.0f jobs/s, %u failed\n", name,
           jobs, cpu / jobs * 1e6, jobs * 1000.0 / (double)(took ? took : 1), failed);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child_main(argc - 1, argv + 1);
    unsigned jobs = argc > 1 ? (unsigned)atoi(argv[1]) : 200000,
             slots = argc > 2 ? (unsigned)atoi(argv[2]) : 256;
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
        measure(handlers[i].name, handlers[i].handler, jobs, slots);
    return 0;
}
