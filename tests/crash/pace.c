/*
 * pace.c - pushes jobs at a steady rate and tells what it saw, a JSON line a second.
 *
 *     pace SOCKET RATE SECONDS KEEP
 *
 * RATE 0: as fast as they are confirmed, so that a backlog grows. Otherwise so many a second, whatever the answers take,
 * on one connection; another one follows single jobs from push to end.
 * Of 100 jobs 90 end at once, 5 wait for half a second, 3 fail first, 2 push two more.
 */
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH      1000  /* at full speed */
#define TICK_US    5000  /* at a rate */
#define BURST_MAX  20000 /* more in one tick: we were stopped, and do not make up for it */
#define PROBE_US   50000
#define SAMPLES    200000
#define PATIENCE_S 60

static const char *keep;

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static redisContext *open_connection(const char *path)
{
    struct timeval limit = {PATIENCE_S, 0};
    redisContext *redis = redisConnectUnixWithTimeout(path, limit);
    if (!redis || redis->err) {
        fprintf(stderr, "pace: %s: %s\n", path, redis ? redis->errstr : "no memory");
        exit(1);
    }
    redisSetTimeout(redis, limit);
    return redis;
}

/* The caller's. An error of the server ends us: at this load there is none to bear. */
static redisReply *answer(redisContext *redis)
{
    void *reply;
    if (redisGetReply(redis, &reply) != REDIS_OK) {
        fprintf(stderr, "pace: %s\n", redis->errstr);
        exit(1);
    }
    redisReply *r = reply;
    if (r->type == REDIS_REPLY_ERROR) {
        fprintf(stderr, "pace: %s\n", r->str);
        exit(1);
    }
    return r;
}

static void ask_push(redisContext *redis, uint64_t number)
{
    unsigned kind = number % 100;
    const char *type = kind < 95 ? "noop" : kind < 98 ? "shaky" : "parent";
    if (kind >= 90 && kind < 95)
        redisAppendCommand(redis, "PUSH noop {\"n\":%llu} KEEP %s DELAY 500ms", (unsigned long long)number,
                           keep);
    else
        redisAppendCommand(redis, "PUSH %s {\"n\":%llu,\"x\":\"%0150d\"} KEEP %s", type,
                           (unsigned long long)number, 0, keep);
}

/* ---- a second's figures ---- */

struct second {
    uint32_t confirm_us[SAMPLES];
    uint32_t confirms;
    int64_t probe_us_max, probe_us_sum;
    unsigned probes;
    uint64_t pushed;
};

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t share(struct second *s, unsigned per_mille)
{
    return s->confirms ? s->confirm_us[(uint64_t)(s->confirms - 1) * per_mille / 1000] : 0;
}

static void tell(struct second *s, int64_t took_us)
{
    qsort(s->confirm_us, s->confirms, sizeof *s->confirm_us, by_size);
    printf(
        "{\"rate\":%.0f,\"confirm_p50_us\":%u,\"confirm_p99_us\":%u,\"end_us\":%.0f,\"end_max_us\":%lld}\n",
        (double)s->pushed * 1e6 / (double)took_us, share(s, 500), share(s, 990),
        s->probes ? (double)s->probe_us_sum / s->probes : 0.0, (long long)s->probe_us_max);
    fflush(stdout);
    s->confirms = s->probes = 0;
    s->probe_us_max = s->probe_us_sum = 0;
    s->pushed = 0;
}

/* ---- as fast as it goes ---- */

static void run_flat_out(redisContext *redis, int64_t until_us)
{
    static struct second second;
    int64_t began = now_us();
    uint64_t number = 0;
    while (now_us() < until_us) {
        for (unsigned i = 0; i < BATCH; i++)
            ask_push(redis, number++);
        for (unsigned i = 0; i < BATCH; i++)
            freeReplyObject(answer(redis));
        second.pushed += BATCH;
    }
    tell(&second, now_us() - began);
}

/* ---- at a rate ---- */

/* A job of its own, from push to end; asked without waiting, for the pushes must go on. */
struct probe {
    redisContext *redis;
    int64_t began;
    bool waits; /* pushed, and WAIT was sent */
    bool busy;
};

static void probe_step(struct probe *p, struct second *second, int64_t now)
{
    void *reply = NULL;
    struct pollfd fd = {.fd = p->redis->fd, .events = POLLIN};
    if (!p->busy) {
        if (now - p->began < PROBE_US)
            return;
        p->began = now;
        p->busy = true;
        p->waits = false;
        int done = 0;
        redisAppendCommand(p->redis, "PUSH noop {} KEEP %s", keep);
        while (!done)
            redisBufferWrite(p->redis, &done);
        return;
    }
    if (poll(&fd, 1, 0) <= 0)
        return;
    if (redisBufferRead(p->redis) != REDIS_OK || redisGetReplyFromReader(p->redis, &reply) != REDIS_OK) {
        fprintf(stderr, "pace: %s\n", p->redis->errstr);
        exit(1);
    }
    redisReply *r = reply;
    if (!r)
        return;
    if (!p->waits && r->type == REDIS_REPLY_STRING) {
        int done = 0;
        redisAppendCommand(p->redis, "WAIT %s TIMEOUT 60s", r->str);
        while (!done)
            redisBufferWrite(p->redis, &done);
        p->waits = true;
    } else {
        int64_t took = now - p->began;
        second->probes++;
        second->probe_us_sum += took;
        if (took > second->probe_us_max)
            second->probe_us_max = took;
        p->busy = false;
    }
    freeReplyObject(r);
}

static void push_burst(redisContext *redis, struct second *second, uint64_t *number, uint64_t count)
{
    int64_t asked = now_us();
    for (uint64_t i = 0; i < count; i++)
        ask_push(redis, (*number)++);
    for (uint64_t i = 0; i < count; i++) {
        freeReplyObject(answer(redis));
        if (second->confirms < SAMPLES)
            second->confirm_us[second->confirms++] = (uint32_t)(now_us() - asked);
    }
    second->pushed += count;
}

static void run_at(redisContext *redis, const char *path, double rate, int64_t until_us)
{
    static struct second second;
    struct probe probe = {.redis = open_connection(path)};
    int64_t began = now_us(), told = began;
    uint64_t number = 0, skipped = 0;
    for (int64_t now = began; now < until_us; now = now_us()) {
        uint64_t due = (uint64_t)((double)(now - began) * rate / 1e6) - number - skipped;
        if (due > BURST_MAX) {
            skipped += due - BURST_MAX;
            due = BURST_MAX;
        }
        if (due)
            push_burst(redis, &second, &number, due);
        probe_step(&probe, &second, now_us());
        if (now - told >= 1000000) {
            tell(&second, now - told);
            told = now;
        }
        int64_t rest = TICK_US - (now_us() - now);
        struct pollfd fd = {.fd = probe.redis->fd, .events = POLLIN};
        if (rest > 0)
            poll(&fd, probe.busy ? 1 : 0, (int)(rest / 1000));
    }
    redisFree(probe.redis);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: pace SOCKET RATE SECONDS KEEP\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    double rate = strtod(argv[2], NULL);
    int64_t until = now_us() + (int64_t)(strtod(argv[3], NULL) * 1e6);
    keep = argv[4];
    redisContext *redis = open_connection(argv[1]);
    if (rate > 0)
        run_at(redis, argv[1], rate, until);
    else
        run_flat_out(redis, until);
    redisFree(redis);
    return 0;
}
