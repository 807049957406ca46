/*
 * store_cycle.c - how many jobs a second the store alone carries through a whole life: push, hand-over, ACK.
 *
 *     store_cycle DIR [SECONDS]
 *
 * Jobs of 200 bytes. In each round k jobs are pushed, k are leased and the k of the round before are
 * acknowledged, all in one commit: what the server does under load. One JSON line a figure:
 *
 *     flush       no threads: the cost of the store's own work
 *     threads     a loop thread and the store's thread, two rounds in flight
 *     push        pushes only
 *     backlog     the cycle over a million jobs that wait
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/store.h"

#define PAYLOAD_BYTES 200

static char payload[PAYLOAD_BYTES];
static wall_ms now_ms = 1767225600000LL;

static double seconds(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct round {
    struct op_push *pushes;
    struct op_complete *acks;
    unsigned ack_count;
    struct op_lease lease;
    unsigned left; /* operations not done yet */
};

static void on_done(struct store_op *op)
{
    struct round *round = op->owner;
    if (op->code != MQ_OK) {
        fprintf(stderr, "verb %d: %s\n", (int)op->verb, op->err.text);
        exit(1);
    }
    round->left--;
}

static void submit(struct store *store, struct round *round, struct store_op *op)
{
    op->done = on_done;
    op->owner = round;
    round->left++;
    store_submit(store, op);
}

static const struct slice queue = {"default", 7};

static void submit_pushes(struct store *store, struct round *round, unsigned k, int64_t keep_ms)
{
    for (unsigned i = 0; i < k; i++) {
        struct op_push *push = &round->pushes[i];
        store_op_init(&push->op, STORE_PUSH, now_ms);
        push->run_at = 0;
        push->spec = (struct job_spec){
            .type = SLICE("email.send"),
            .queue = queue,
            .payload = {payload, PAYLOAD_BYTES},
            .meta = SLICE_EMPTY,
            .tags = SLICE_EMPTY,
            .expires_at = WALL_NEVER,
            .keep_ms = keep_ms,
            .timeout_ms = TIMEOUT_DEFAULT_MS,
            .lease_ms = LEASE_DEFAULT_MS,
            .max_attempts = ATTEMPTS_DEFAULT,
            .priority = PRIORITY_DEFAULT,
        };
        submit(store, round, &push->op);
    }
}

static void submit_lease(struct store *store, struct round *round, unsigned k)
{
    store_op_release(&round->lease.op);
    store_op_init(&round->lease.op, STORE_LEASE, now_ms);
    round->lease.queues = &queue;
    round->lease.queue_count = 1;
    round->lease.max = k;
    round->lease.holder = SLICE("w1");
    round->lease.lease_ms = 0;
    round->lease.by_worker = true;
    submit(store, round, &round->lease.op);
}

/* What an earlier round was handed is acknowledged in this one. */
static void submit_acks(struct store *store, struct round *round, const struct round *of)
{
    round->ack_count = of->lease.count;
    for (unsigned i = 0; i < of->lease.count; i++) {
        struct op_complete *ack = &round->acks[i];
        store_op_init(&ack->op, STORE_COMPLETE, now_ms);
        ack->id = of->lease.jobs[i].id;
        ack->token = of->lease.jobs[i].token;
        ack->result = SLICE_EMPTY;
        ack->children = NULL;
        ack->child_count = 0;
        submit(store, round, &ack->op);
    }
}

static void round_init(struct round *round, unsigned k)
{
    memset(round, 0, sizeof *round);
    round->pushes = calloc(k, sizeof *round->pushes);
    round->acks = calloc(k, sizeof *round->acks);
}
static void round_release(struct round *round)
{
    store_op_release(&round->lease.op);
    free(round->pushes);
    free(round->acks);
}

static void wait_for(struct store *store, struct round *round)
{
    store_collect(store);
    while (round->left) {
        usleep(20);
        store_collect(store);
    }
}

static void make_backlog(struct store *store, unsigned jobs)
{
    struct round round;
    round_init(&round, 10000);
    for (unsigned i = 0; i < jobs; i += 10000) {
        submit_pushes(store, &round, 10000, 0);
        store_flush(store);
        wait_for(store, &round);
    }
    round_release(&round);
}

struct figure {
    const char *name;
    unsigned k, readers, backlog;
    int64_t keep_ms;
    bool nosync, push_only;
};

static void measure(const char *base, const struct figure *figure, double duration_s)
{
    char dir[512], command[600];
    struct store *store;
    struct mq_err err;
    snprintf(dir, sizeof dir, "%s/store_cycle.%ld", base, (long)getpid());
    struct store_settings settings = {.dir = dir,
                                      .map_bytes = 4ULL << 30,
                                      .readers = figure->readers,
                                      .nosync = figure->nosync,
                                      .crash_limit = 3};
    if (store_open(&store, &settings, &err) != MQ_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    make_backlog(store, figure->backlog);
    struct round rounds[3];
    for (int i = 0; i < 3; i++)
        round_init(&rounds[i], figure->k);
    double began = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID),
           end = began + duration_s;
    uint64_t jobs = 0, n = 0;
    for (; seconds(CLOCK_MONOTONIC) < end; n++, now_ms++) {
        struct round *round = &rounds[n % 3], *of = &rounds[(n + 1) % 3]; /* two rounds ago */
        wait_for(store, of);
        if (figure->push_only) {
            jobs += n > 1 ? figure->k : 0;
        } else {
            submit_acks(store, round, of);
            jobs += round->ack_count;
            submit_lease(store, round, figure->k);
        }
        submit_pushes(store, round, figure->k, figure->keep_ms);
        store_flush(store);
        if (!figure->readers)
            store_collect(store);
    }
    for (int i = 0; i < 3; i++)
        wait_for(store, &rounds[i]);
    double took = seconds(CLOCK_MONOTONIC) - began;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"figure\":\"%s\",\"k\":%u,\"sync\":%s,\"keep\":%s,\"backlog\":%u,\"jobs_per_s\":%.0f,"
           "\"cpu_ms_per_1000\":%.3f,\"rounds_per_s\":%.0f}\n",
           figure->name, figure->k, figure->nosync ? "false" : "true", figure->keep_ms ? "true" : "false",
           figure->backlog, (double)jobs / took, cpu * 1e6 / (double)(jobs ? jobs : 1), (double)n / took);
    fflush(stdout);
    store_close(store);
    for (int i = 0; i < 3; i++)
        round_release(&rounds[i]);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command))
        exit(1);
}

static const struct figure figures[] = {
    {"flush", 1, 0, 0, 0, false, false},
    {"flush", 100, 0, 0, 0, false, false},
    {"flush", 1000, 0, 0, 0, false, false},
    {"flush", 10000, 0, 0, 0, false, false},
    {"flush", 1000, 0, 0, 0, true, false},
    {"flush", 1000, 0, 0, 3600000, false, false},
    {"threads", 1000, 1, 0, 0, false, false},
    {"threads", 1000, 1, 0, 3600000, false, false},
    {"push", 1000, 0, 0, 3600000, false, true},
    {"push", 1000, 1, 0, 3600000, false, true},
    {"backlog", 1000, 0, 1000000, 0, false, false},
    {"backlog", 1000, 0, 1000000, 0, true, false},
};

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: store_cycle DIR [SECONDS] [FIGURE]\n");
        return 2;
    }
    srandom(1);
    for (int i = 0; i < PAYLOAD_BYTES; i++)
        payload[i] = (char)('a' + random() % 26);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        if (argc < 4 || strcmp(argv[3], figures[i].name) == 0)
            measure(argv[1], &figures[i], argc > 2 ? atof(argv[2]) : 2);
    return 0;
}
