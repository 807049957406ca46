/*
 * load.h - one load generator for moonq and its peers: a thread, an epoll set, several connections.
 *
 * The engine (load.c) keeps producers' windows full or follows an open-loop timetable, ticks every job off by the
 * number in its payload, and prints one JSON line. A peer (peer_*.c) knows how to say things on its wire. What costs
 * the same for every peer (payloads, polling, reading replies) is the same code, so ratios compare servers.
 *
 * Replies in RESP are read by hiredis' reader, with reply functions that build no objects: a peer is told each value
 * with its depth, and whether it was the last of its reply.
 */
#ifndef MOONQ_BENCH_LOAD_H
#define MOONQ_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <hiredis/hiredis.h>

#define PAYLOAD_BYTES 200

enum role {
    PRODUCER,
    CONSUMER,
    WATCHER, /* asks how far the server's own workers are */
};

struct bytes {
    char *at;
    size_t start, end, cap;
};

struct link {
    enum role role;
    int fd;
    bool writable_watched;
    struct bytes out, in; /* `in` only where the wire is not RESP */
    redisReader *reader;
    uint64_t *ring; /* producers: numbers of the jobs whose confirmations are awaited, oldest first */
    uint64_t ring_start, ring_end;
    /* consumers: where the conversation is */
    uint64_t acks_awaited, jobs_here, jobs_taken;
    unsigned asks_awaited;
    struct taken *taken; /* the batch being handled */
    int own;             /* a peer's: a reply may come in pieces, so what it remembers is a connection's */
};

/* What a consumer holds until it is acknowledged. */
struct taken {
    char id[32];
    size_t id_len;
    int64_t token;
};

struct options {
    const char *socket;
    const char *type;   /* moonq: the handler */
    const char *queue;  /* moonq: NULL: the one that the handler names */
    uint64_t jobs;      /* ends when so many are confirmed, and handled */
    uint64_t first;     /* number of the first job */
    uint64_t handled;   /* jobs to be handled: `jobs`, or 0 for pushes only */
    unsigned producers; /* connections */
    unsigned consumers; /* connections; 0: the server runs the jobs, a watcher asks */
    unsigned window;    /* unconfirmed pushes of one connection */
    unsigned batch;     /* jobs of one fetch */
    unsigned queues, priorities;
    double rate;     /* pushes a second; 0: as fast as the windows allow */
    double warm_s;   /* an open loop's first seconds count for nothing */
    double patience; /* s; then it gives up */
    uint64_t base;   /* what the server's counter of acknowledged jobs was before */
    bool stamps;     /* the handlers' results are the moments at which they began: read them at the end */
};

/* One value of a RESP reply. */
struct value {
    int type; /* REDIS_REPLY_* */
    int depth;
    int index; /* among its siblings */
    const char *text;
    size_t len;
    long long number; /* of integers; the length of arrays */
};

struct peer {
    const char *name;
    void (*add_push)(struct link *link, uint64_t number, const char *payload);
    void (*start)(struct link *link); /* a consumer's or watcher's first words */
    void (*on_value)(struct link *link, const struct value *value);
    void (*on_reply)(struct link *link); /* all values of a reply were told; NULL with on_bytes */
    void (*on_bytes)(struct link *link); /* not RESP: eats what it can of link->in */
    /* a watcher: how many were handled? `acknowledged`: what is on disk, which may disturb the server */
    void (*ask)(struct link *link, bool acknowledged);
};

extern struct options options;
extern const struct peer peer_moonq, peer_redis, peer_beanstalkd;

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
int64_t now_ns(void);

void out_add(struct link *link, const char *text, size_t len);
void out_addf(struct link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A producer's oldest push was confirmed. */
void confirmed(struct link *link);
/* A job was handed to a consumer: its handler begins, does nothing, and ends. */
void handled(const char *payload, size_t len);
/* So many acknowledgements were confirmed. */
void acknowledged(uint64_t count);
/* A consumer asks for no more once all have come. */
bool all_handled(void);
/* A watcher heard how many handlers have ended, or how many jobs are acknowledged, so far and in all. */
void told_progress(uint64_t total);
void told_handled(uint64_t total);
/* A handler's own stamp, CLOCK_MONOTONIC in nanoseconds. */
void told_stamp(uint64_t number, int64_t began_ns);
int64_t number_of(const char *payload, size_t len);
#endif
