/*
 * load.c - a client that uses everything, and writes a ledger.
 *
 *     load SOCKET SHIM_PAGE LEDGER_FOLDER SEED FIRST THREADS RECORDS
 *
 * Threads are numbered from FIRST. Each has a queue of its own, so that it knows what every one of its jobs must be. It
 * goes on until the shim has recorded so many records more (0: until somebody sets their number to its greatest), also
 * over a restart of the server: what had no answer then is only noted as asked for. Rows are written one by one, so
 * that the ledger of a load that was killed is true as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "ledger.h"
#include "shim.h"

#include "job/id.h"

#define THREADS_MAX 16
#define BURST_MAX   40
#define JOBS_MAX    20000
#define PAYLOAD_MAX 40000
#define PARENTS                                                                                              \
    30 /* of a hundred turns: Lua handlers keep up with these, so that no backlog is left at the end */
#define PATIENCE_S 30 /* without a server: the test that killed it has forgotten to start it again */

static const char *socket_path;
static struct shim_page *page;
static uint64_t records_wanted;
static _Atomic uint64_t next_group;
static _Atomic bool gave_up;

enum mine {
    GONE, /* or not known for sure: nobody touches it any more */
    WAITING,
    RUNNING,
    FINISHED,
    DEAD,
};

struct my_job {
    job_id id;
    uint64_t token;
    enum mine state;
    bool keeps, handled;
};

struct worker {
    pthread_t thread;
    unsigned number;
    uint64_t random;
    FILE *ledger;
    redisContext *redis;
    char queue[16];
    struct my_job jobs[JOBS_MAX];
    unsigned job_count;
    char payload[PAYLOAD_MAX + 64];
    uint64_t confirmed;
};

/* ---- chance ---- */

static uint64_t dice(struct worker *w, uint64_t sides)
{
    w->random ^= w->random << 13; /* xorshift64 */
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % sides;
}

static bool chance(struct worker *w, unsigned percent)
{
    return dice(w, 100) < percent;
}

/* ---- the ledger ---- */

static void note(struct worker *w, enum ledger_what what, const struct my_job *job, uint32_t attempt)
{
    struct ledger_row row = {.at = page->records,
                             .id = job->id,
                             .token = job->token,
                             .attempt = attempt,
                             .what = (uint8_t)what,
                             .keeps = job->keeps,
                             .handled = job->handled};
    if (fwrite(&row, sizeof row, 1, w->ledger) != 1)
        abort();
    w->confirmed += what < LEDGER_ENDS;
}

/* ---- the connection ---- */

static bool is_over(void)
{
    return gave_up || page->records >= records_wanted;
}

/* Until the server is back, or nobody wants anything more. */
static bool connected(struct worker *w)
{
    time_t end = time(NULL) + PATIENCE_S;
    while (!w->redis || w->redis->err) {
        struct timeval limit = {PATIENCE_S, 0};
        if (is_over())
            return false;
        if (time(NULL) > end) {
            fprintf(stderr, "load: no server for %d seconds\n", PATIENCE_S);
            gave_up = true;
            return false;
        }
        if (w->redis)
            redisFree(w->redis);
        w->redis = redisConnectUnixWithTimeout(socket_path, limit);
        if (w->redis && !w->redis->err)
            redisSetTimeout(w->redis, limit);
        else
            poll(NULL, 0, 5);
    }
    return true;
}

/* The next answer; NULL if there is none, or an error. */
static redisReply *answer(struct worker *w)
{
    void *reply = NULL;
    if (w->redis->err || redisGetReply(w->redis, &reply) != REDIS_OK)
        return NULL;
    redisReply *r = reply;
    if (r->type != REDIS_REPLY_ERROR)
        return r;
    freeReplyObject(r);
    return NULL;
}

static bool answered(struct worker *w)
{
    redisReply *reply = answer(w);
    if (reply)
        freeReplyObject(reply);
    return reply != NULL;
}

static const redisReply *field(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2)
        if (!strcmp(map->element[i]->str, name))
            return map->element[i + 1];
    return NULL;
}

static job_id id_of(const redisReply *reply)
{
    job_id id = JOB_ID_NONE;
    if (reply && reply->str)
        id_parse(&id, (struct slice){reply->str, reply->len}, NULL);
    return id;
}

/* ---- one's own jobs ---- */

static void add_job(struct worker *w, job_id id, bool keeps, uint64_t group)
{
    if (w->job_count == JOBS_MAX || id == JOB_ID_NONE)
        return;
    struct my_job *job = &w->jobs[w->job_count++];
    *job = (struct my_job){.id = id, .token = group, .state = WAITING, .keeps = keeps};
    note(w, LEDGER_PUSHED, job, 0);
}

static struct my_job *job_of(struct worker *w, job_id id)
{
    unsigned low = 0, high = w->job_count; /* ids only grow, within a connection too */
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (w->jobs[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->job_count && w->jobs[low].id == id ? &w->jobs[low] : NULL;
}

/* Up to `max` of one's jobs in this state, beginning somewhere. */
static unsigned choose(struct worker *w, enum mine state, struct my_job **out, unsigned max)
{
    unsigned count = 0, from = w->job_count ? (unsigned)dice(w, w->job_count) : 0;
    for (unsigned i = 0; i < w->job_count && count < max; i++) {
        struct my_job *job = &w->jobs[(from + i) % w->job_count];
        if (job->state == state)
            out[count++] = job;
    }
    return count;
}

/* ---- what it does ---- */

static const char *make_payload(struct worker *w, const char *head)
{
    static const unsigned sizes[] = {10, 200, 200, 200, 1500, 5000, PAYLOAD_MAX};
    unsigned len = (unsigned)dice(w, sizes[dice(w, chance(w, 5) ? 7 : 5)]);
    int at = snprintf(w->payload, sizeof w->payload, "%s,\"x\":\"", head);
    memset(w->payload + at, 'a' + (int)dice(w, 26), len);
    memcpy(w->payload + at + len, "\"}", 3);
    return w->payload;
}

static void ask_push(struct worker *w, const char *head, bool keeps)
{
    const char *payload = make_payload(w, head);
    int priority = (int)dice(w, 10);
    if (chance(w, 15))
        redisAppendCommand(w->redis, "PUSH ext %s QUEUE %s DELAY %dms KEEP %s", payload, w->queue,
                           (int)dice(w, 400), keeps ? "30d" : "0");
    else if (chance(w, 10))
        redisAppendCommand(w->redis, "PUSH ext %s QUEUE %s EXPIRES 30d TAGS a,b KEEP %s", payload, w->queue,
                           keeps ? "30d" : "0");
    else
        redisAppendCommand(w->redis, "PUSH ext %s QUEUE %s PRIORITY %d KEEP %s", payload, w->queue, priority,
                           keeps ? "30d" : "0");
}

static void push_some(struct worker *w)
{
    unsigned count = 1 + (unsigned)dice(w, BURST_MAX);
    uint64_t keeping = w->random;
    for (unsigned i = 0; i < count; i++)
        ask_push(w, "{\"one\":1", keeping >> i & 1);
    for (unsigned i = 0; i < count; i++) {
        redisReply *reply = answer(w);
        if (!reply)
            continue;
        add_job(w, id_of(reply), keeping >> i & 1, 0);
        freeReplyObject(reply);
    }
}

static void push_group(struct worker *w)
{
    unsigned count = 2 + (unsigned)dice(w, 8);
    uint64_t group = next_group++;
    char head[80];
    snprintf(head, sizeof head, "{" LEDGER_GROUP "%llu," LEDGER_OF "%u", (unsigned long long)group, count);
    redisAppendCommand(w->redis, "MULTI");
    for (unsigned i = 0; i < count; i++)
        ask_push(w, head, true);
    redisAppendCommand(w->redis, "EXEC");
    for (unsigned i = 0; i < count + 1; i++)
        answered(w);
    redisReply *reply = answer(w);
    for (size_t i = 0; reply && reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        add_job(w, id_of(reply->element[i]), true, group);
    if (reply)
        freeReplyObject(reply);
}

/* For a Lua handler, which pushes children. */
static void push_parents(struct worker *w)
{
    unsigned count = 1 + (unsigned)dice(w, 3);
    if (!chance(w, PARENTS))
        return;
    for (unsigned i = 0; i < count; i++)
        redisAppendCommand(w->redis, "PUSH parent {" LEDGER_CHILDREN "%u}", 1 + (unsigned)dice(w, 4));
    for (unsigned i = 0; i < count; i++) {
        redisReply *reply = answer(w);
        if (!reply)
            continue;
        struct my_job job = {.id = id_of(reply), .keeps = true, .handled = true};
        note(w, LEDGER_PUSHED, &job, 0);
        freeReplyObject(reply);
    }
}

static void fetched(struct worker *w, const redisReply *reply)
{
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *map = reply->element[i];
        struct my_job *job = job_of(w, id_of(field(map, "id")));
        if (!job)
            continue; /* pushed, but the answer never came */
        job->token = (uint64_t)field(map, "token")->integer;
        job->state = RUNNING;
        note(w, LEDGER_FETCHED, job, (uint32_t)field(map, "attempt")->integer);
    }
}

static void fetch_some(struct worker *w)
{
    redisReply *reply;
    redisAppendCommand(w->redis, "FETCH %s COUNT %d LEASE %s", w->queue, 1 + (int)dice(w, BURST_MAX),
                       chance(w, 10) ? "100ms" : "10m");
    reply = answer(w);
    if (!reply)
        return;
    fetched(w, reply);
    freeReplyObject(reply);
}

static void asking(struct worker *w, enum ledger_what what, struct my_job **jobs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        note(w, what, jobs[i], 0);
}

static void id_text(const struct my_job *job, char out[JOB_ID_TEXT_BYTES])
{
    id_format(out, job->id);
}

static void ack_some(struct worker *w)
{
    struct my_job *jobs[BURST_MAX];
    char id[JOB_ID_TEXT_BYTES];
    unsigned count = choose(w, RUNNING, jobs, 1 + (unsigned)dice(w, BURST_MAX));
    asking(w, LEDGER_ENDS, jobs, count);
    for (unsigned i = 0; i < count; i++) {
        id_text(jobs[i], id);
        redisAppendCommand(w->redis, "ACK %s %llu {\"done\":%d}", id, (unsigned long long)jobs[i]->token,
                           (int)i);
    }
    for (unsigned i = 0; i < count; i++) {
        bool sure = answered(w);
        jobs[i]->state = sure && jobs[i]->keeps ? FINISHED : GONE;
        if (sure)
            note(w, LEDGER_ACKED, jobs[i], 0);
    }
}

static void nack_some(struct worker *w)
{
    struct my_job *jobs[BURST_MAX];
    char id[JOB_ID_TEXT_BYTES];
    unsigned count = choose(w, RUNNING, jobs, 1 + (unsigned)dice(w, 6));
    bool dead = chance(w, 50);
    asking(w, LEDGER_ENDS, jobs, count);
    for (unsigned i = 0; i < count; i++) {
        id_text(jobs[i], id);
        if (dead)
            redisAppendCommand(w->redis, "NACK %s %llu boom DEAD", id, (unsigned long long)jobs[i]->token);
        else
            redisAppendCommand(w->redis, "NACK %s %llu boom DELAY 50ms", id,
                               (unsigned long long)jobs[i]->token);
    }
    for (unsigned i = 0; i < count; i++) {
        bool sure = answered(w);
        jobs[i]->state = sure ? (dead ? DEAD : WAITING) : GONE;
        if (sure)
            note(w, dead ? LEDGER_DEAD : LEDGER_FAILED, jobs[i], 0);
    }
}

/* A CANCEL may also only have told a holder, which we do not know of: the answer to its FETCH was lost. */
static bool stepped(struct worker *w, enum ledger_what done)
{
    redisReply *reply = answer(w);
    const redisReply *state = reply && reply->type == REDIS_REPLY_ARRAY ? field(reply, "state") : NULL;
    bool sure =
        reply && (done != LEDGER_CANCELLED || (state && state->str && !strcmp(state->str, "cancelled")));
    if (reply)
        freeReplyObject(reply);
    return sure;
}

/* One command a job that names only it. */
static void step_some(struct worker *w, const char *verb, enum mine from, enum ledger_what asked,
                      enum ledger_what done, enum mine to, unsigned max)
{
    struct my_job *jobs[BURST_MAX];
    char id[JOB_ID_TEXT_BYTES];
    unsigned count = choose(w, from, jobs, 1 + (unsigned)dice(w, max));
    asking(w, asked, jobs, count);
    for (unsigned i = 0; i < count; i++) {
        id_text(jobs[i], id);
        redisAppendCommand(w->redis, "%s %s", verb, id);
    }
    for (unsigned i = 0; i < count; i++) {
        bool sure = stepped(w, done);
        jobs[i]->state = sure && (jobs[i]->keeps || to == WAITING) ? to : GONE;
        if (sure)
            note(w, done, jobs[i], 0);
    }
}

/* Acknowledges one and pushes others, all or nothing. */
static void ack_and_push(struct worker *w)
{
    struct my_job *job;
    char id[JOB_ID_TEXT_BYTES];
    if (!choose(w, RUNNING, &job, 1))
        return;
    note(w, LEDGER_ENDS, job, 0);
    id_text(job, id);
    redisAppendCommand(w->redis, "MULTI");
    redisAppendCommand(w->redis, "ACK %s %llu", id, (unsigned long long)job->token);
    ask_push(w, "{\"one\":1", true);
    redisAppendCommand(w->redis, "EXEC");
    for (int i = 0; i < 3; i++)
        answered(w);
    redisReply *reply = answer(w);
    bool sure = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2;
    if (sure) {
        note(w, LEDGER_ACKED, job, 0);
        job->state = job->keeps ? FINISHED : GONE;
        add_job(w, id_of(reply->element[1]), true, 0);
    } else {
        job->state = GONE;
    }
    if (reply)
        freeReplyObject(reply);
}

static void act(struct worker *w)
{
    switch (dice(w, 20)) {
    case 0:
        step_some(w, "CANCEL", WAITING, LEDGER_ENDS, LEDGER_CANCELLED, FINISHED, 4);
        break;
    case 1:
        step_some(w, "RETRY", DEAD, LEDGER_RETRIES, LEDGER_RETRIED, WAITING, 4);
        break;
    case 2:
        step_some(w, "DELETE", FINISHED, LEDGER_DELETES, LEDGER_DELETED, GONE, 10);
        break;
    case 3:
        push_group(w);
        break;
    case 4:
        push_parents(w);
        break;
    case 5:
    case 6:
        nack_some(w);
        break;
    case 7:
        ack_and_push(w);
        break;
    case 8:
    case 9:
    case 10:
    case 11:
        push_some(w);
        break;
    case 12:
    case 13:
    case 14:
    case 15:
        fetch_some(w);
        break;
    default:
        ack_some(w);
    }
}

static void *run(void *arg)
{
    struct worker *w = arg;
    while (!is_over() && connected(w))
        act(w);
    if (w->redis)
        redisFree(w->redis);
    fclose(w->ledger);
    return NULL;
}

/* ---- start ---- */

static struct shim_page *map_page(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        perror(path);
        exit(2);
    }
    close(fd);
    return at;
}

static struct worker *start(const char *folder, unsigned number, uint64_t seed)
{
    struct worker *w = calloc(1, sizeof *w);
    char path[4096];
    snprintf(path, sizeof path, "%s/ledger-%u", folder, number);
    w->ledger = fopen(path, "w");
    if (!w->ledger) {
        perror(path);
        exit(2);
    }
    setvbuf(w->ledger, NULL, _IONBF, 0);
    w->number = number;
    w->random = (seed + 1) * 0x9E3779B97F4A7C15u + number * 0xD1B54A32D192ED03u;
    snprintf(w->queue, sizeof w->queue, "q%u", number);
    pthread_create(&w->thread, NULL, run, w);
    return w;
}

int main(int argc, char **argv)
{
    struct worker *workers[THREADS_MAX];
    uint64_t confirmed = 0;
    if (argc != 8) {
        fprintf(stderr, "usage: load SOCKET SHIM_PAGE LEDGER_FOLDER SEED FIRST THREADS RECORDS\n");
        return 2;
    }
    socket_path = argv[1];
    page = map_page(argv[2]);
    signal(SIGPIPE, SIG_IGN); /* a server that is gone is an error of the connection */
    unsigned first = (unsigned)atoi(argv[5]), threads = (unsigned)atoi(argv[6]);
    next_group = (uint64_t)first << 32 | 1; /* of this process alone */
    uint64_t more = strtoull(argv[7], NULL, 10);
    records_wanted = more ? page->records + more : UINT64_MAX;
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    for (unsigned i = 0; i < threads; i++)
        workers[i] = start(argv[3], first + i, strtoull(argv[4], NULL, 10));
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i]->thread, NULL);
        confirmed += workers[i]->confirmed;
        free(workers[i]);
    }
    printf("%llu\n", (unsigned long long)confirmed);
    return gave_up ? 1 : 0;
}
