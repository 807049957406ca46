/*
 * load.c - the engine of the load generator (load.h).
 *
 *     load moonq|redis|beanstalkd SOCKET [name=value ...]
 *
 * Prints "ready" when all connections stand, waits for a line on stdin if told `wait=1`, runs, and prints a JSON line.
 * Any job that is missing, strange or handled twice ends it with status 1 and a reason.
 */
#include "load.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define OUT_FULL   262144 /* a connection with so much unsent gets no more for now */
#define READ_BYTES 262144
#define POOL_BYTES (1u << 20)

/*
 * A watcher asks again when half of what is left must be done, by the rate so far: few questions, a sharp end. Until the
 * workers have done all it asks for what moonq has in memory; to see what is on disk costs it a commit of LMDB's.
 */
#define WATCH_LEAST_NS 300000
#define WATCH_MOST_NS  50000000
#define WATCH_STILL_NS 1000000000

struct options options = {
    .type = "noop",
    .jobs = 100000,
    .producers = 4,
    .consumers = 0,
    .window = 1000,
    .batch = 1000,
    .queues = 1,
    .priorities = 1,
    .patience = 120,
};

static const struct peer *peer;
static struct link *links;
static unsigned link_count;
static int epoll_fd;

static uint64_t sent, confirmations, unique, twice, acks, told, progress_base;
static bool all_ended; /* all handlers; the last acknowledgements may be under way */
static unsigned char *seen;
static int64_t began_ns, pushed_ns, ended_ns, behind_max_ns, ask_at_ns, *sent_at;
static bool measures_latency;

_Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ---- latencies ---- */

struct samples {
    double *ms;
    size_t count;
};
static struct samples to_confirm, to_start;

static void sample(struct samples *samples, int64_t ns)
{
    if (!samples->ms)
        samples->ms = calloc(options.jobs, sizeof *samples->ms);
    if (samples->count < options.jobs)
        samples->ms[samples->count++] = (double)ns / 1e6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_samples(const char *name, struct samples *samples)
{
    if (!samples->count)
        return;
    qsort(samples->ms, samples->count, sizeof *samples->ms, by_size);
    printf(",\"%s_p50_ms\":%.4f,\"%s_p99_ms\":%.4f,\"%s_max_ms\":%.4f", name, samples->ms[samples->count / 2],
           name, samples->ms[samples->count * 99 / 100], name, samples->ms[samples->count - 1]);
}

static bool counts(uint64_t number)
{
    return (double)(number - options.first) >= options.warm_s * options.rate;
}

/* ---- payloads: 200 bytes of JSON, with a number and text that no server can compress away ---- */

static char *pool;

static void pool_init(void)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    uint64_t x = 88172645463325252ULL;
    pool = malloc(POOL_BYTES);
    for (size_t i = 0; i < POOL_BYTES; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        pool[i] = letters[x >> 58];
    }
}

static void payload_write(char *out, uint64_t number)
{
    static const char head[] = "{\"id\":          ,\"pad\":\"";
    const size_t head_len = sizeof head - 1;
    memcpy(out, head, head_len);
    uint64_t rest = number;
    char *digit = out + 15;
    do
        *digit-- = (char)('0' + rest % 10);
    while ((rest /= 10) && digit > out + 5);
    memcpy(out + head_len, pool + number * 7919 % (POOL_BYTES - PAYLOAD_BYTES), PAYLOAD_BYTES - head_len - 2);
    memcpy(out + PAYLOAD_BYTES - 2, "\"}", 2);
}

int64_t number_of(const char *payload, size_t len)
{
    uint64_t number = 0;
    if (len != PAYLOAD_BYTES || memcmp(payload, "{\"id\":", 6) != 0)
        return -1;
    for (int i = 6; i < 16; i++)
        if (payload[i] != ' ')
            number = number * 10 + (uint64_t)(payload[i] - '0');
    return (int64_t)number;
}

/* ---- output ---- */

static void bytes_room(struct bytes *bytes, size_t more)
{
    if (bytes->start == bytes->end)
        bytes->start = bytes->end = 0;
    if (bytes->end + more <= bytes->cap)
        return;
    if (bytes->start) {
        memmove(bytes->at, bytes->at + bytes->start, bytes->end - bytes->start);
        bytes->end -= bytes->start;
        bytes->start = 0;
    }
    if (bytes->end + more > bytes->cap) {
        bytes->cap = (bytes->end + more) * 2;
        bytes->at = realloc(bytes->at, bytes->cap);
        if (!bytes->at)
            die("no memory");
    }
}

void out_add(struct link *link, const char *text, size_t len)
{
    bytes_room(&link->out, len);
    memcpy(link->out.at + link->out.end, text, len);
    link->out.end += len;
}

void out_addf(struct link *link, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0 || len >= (int)sizeof text)
        die("a line is too long");
    out_add(link, text, (size_t)len);
}

static void watch_writable(struct link *link, bool on)
{
    if (link->writable_watched == on)
        return;
    struct epoll_event event = {.events = EPOLLIN | (on ? (uint32_t)EPOLLOUT : 0), .data.ptr = link};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, link->fd, &event) != 0)
        die("epoll_ctl: %s", strerror(errno));
    link->writable_watched = on;
}

static void flush(struct link *link)
{
    struct bytes *out = &link->out;
    while (out->start < out->end) {
        ssize_t len =
            send(link->fd, out->at + out->start, out->end - out->start, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (len < 0 && errno == EAGAIN)
            break;
        if (len <= 0)
            die("%s: send: %s", peer->name, strerror(errno));
        out->start += (size_t)len;
    }
    watch_writable(link, out->start < out->end);
}

/* ---- producing ---- */

void confirmed(struct link *link)
{
    if (link->ring_start == link->ring_end)
        die("%s confirmed a push that was not made", peer->name);
    uint64_t number = link->ring[link->ring_start++ % options.window];
    if (measures_latency && counts(number))
        sample(&to_confirm, now_ns() - sent_at[number - options.first]);
    if (++confirmations == options.jobs)
        pushed_ns = now_ns();
}

static void push(struct link *link)
{
    char payload[PAYLOAD_BYTES];
    uint64_t number = options.first + sent++;
    payload_write(payload, number);
    if (measures_latency)
        sent_at[number - options.first] = now_ns();
    link->ring[link->ring_end++ % options.window] = number;
    peer->add_push(link, number, payload);
}

static bool has_room(const struct link *link)
{
    return link->role == PRODUCER && sent < options.jobs &&
           link->ring_end - link->ring_start < options.window && link->out.end - link->out.start < OUT_FULL;
}

static void fill(struct link *link)
{
    while (has_room(link))
        push(link);
}

static int64_t due_ns(uint64_t index)
{
    return began_ns + (int64_t)((double)index * 1e9 / options.rate);
}

/* The open loop: what is due is sent, whatever came back so far. Connections take turns. */
static void push_due(void)
{
    while (sent < options.jobs) {
        int64_t late = now_ns() - due_ns(sent);
        if (late < 0)
            return;
        if (counts(options.first + sent) && late > behind_max_ns)
            behind_max_ns = late;
        struct link *link = &links[sent % options.producers];
        if (!has_room(link))
            die("%s: %u pushes are unconfirmed", peer->name, options.window);
        push(link);
        flush(link);
    }
}

/* ---- consuming ---- */

void handled(const char *payload, size_t len)
{
    int64_t number = number_of(payload, len), index = number - (int64_t)options.first;
    if (number < 0 || index < 0 || (uint64_t)index >= options.jobs)
        die("%s handed out a job that was not pushed: %.*s", peer->name, (int)len, payload);
    if (measures_latency && counts((uint64_t)number))
        sample(&to_start, now_ns() - sent_at[index]);
    if (seen[index >> 3] & (1 << (index & 7)))
        twice++;
    else
        unique++;
    seen[index >> 3] |= (unsigned char)(1 << (index & 7));
}

bool all_handled(void)
{
    return unique >= options.handled;
}

void acknowledged(uint64_t count)
{
    acks += count;
    if (acks >= options.handled)
        ended_ns = now_ns();
}

static void plan_question(int64_t now)
{
    double each_ns = (double)(now - began_ns) / (double)(told + 1);
    double half_ns = told < options.handled ? 0.5 * (double)(options.handled - told) * each_ns : 0;
    ask_at_ns = now + (int64_t)fmax(WATCH_LEAST_NS, fmin(WATCH_MOST_NS, half_ns));
}

/* A worker that is replaced takes its count with it: then only the store knows. */
void told_progress(uint64_t total)
{
    static uint64_t before;
    static int64_t rose_ns;
    int64_t now = now_ns();
    if (!began_ns) {
        progress_base = before = total;
        return;
    }
    if (total > before || !rose_ns)
        rose_ns = now;
    told = total < progress_base ? 0 : total - progress_base;
    all_ended = told >= options.handled || total < before || now - rose_ns > WATCH_STILL_NS;
    before = total;
    plan_question(now);
    if (all_ended)
        ask_at_ns = now;
}

void told_handled(uint64_t total)
{
    if (total < options.base)
        die("%s: the counter ran backwards", peer->name);
    told = total - options.base;
    int64_t now = now_ns();
    if (told >= options.handled)
        ended_ns = now;
    else
        plan_question(now);
}

void told_stamp(uint64_t number, int64_t at_ns)
{
    uint64_t index = number - options.first;
    if (index >= options.jobs)
        die("a stamp of job %llu", (unsigned long long)number);
    if (at_ns < sent_at[index])
        die("job %llu began before it was pushed", (unsigned long long)number);
    if (counts(number))
        sample(&to_start, at_ns - sent_at[index]);
    unique++;
}

/* ---- RESP, by hiredis' reader; no objects are built ---- */

static struct link *reading;

static int depth_of(const redisReadTask *task)
{
    int depth = 0;
    for (; task->parent; task = task->parent)
        depth++;
    return depth;
}

static void *tell(const redisReadTask *task, int type, const char *text, size_t len, long long number)
{
    struct value value = {.type = type,
                          .depth = depth_of(task),
                          .index = task->idx,
                          .text = text,
                          .len = len,
                          .number = number};
    if (type == REDIS_REPLY_ERROR)
        die("%s said: %.*s", peer->name, (int)len, text);
    peer->on_value(reading, &value);
    return reading; /* anything that is not NULL */
}

static void *told_string(const redisReadTask *task, char *text, size_t len)
{
    return tell(task, task->type, text, len, 0);
}
static void *told_array(const redisReadTask *task, int count)
{
    return tell(task, REDIS_REPLY_ARRAY, NULL, 0, count);
}
static void *told_integer(const redisReadTask *task, long long number)
{
    return tell(task, REDIS_REPLY_INTEGER, NULL, 0, number);
}
static void *told_nil(const redisReadTask *task)
{
    return tell(task, REDIS_REPLY_NIL, NULL, 0, 0);
}
static void told_free(void *reply)
{
    (void)reply;
}
static redisReplyObjectFunctions no_objects = {told_string, told_array, told_integer, told_nil, told_free};

static void receive(struct link *link)
{
    static char buffer[READ_BYTES];
    ssize_t len = recv(link->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len <= 0)
        die("%s went away: %s", peer->name, len ? strerror(errno) : "end of file");
    if (peer->on_bytes) {
        bytes_room(&link->in, (size_t)len);
        memcpy(link->in.at + link->in.end, buffer, (size_t)len);
        link->in.end += (size_t)len;
        peer->on_bytes(link);
        return;
    }
    redisReaderFeed(link->reader, buffer, (size_t)len);
    for (;;) {
        void *reply = NULL;
        reading = link;
        if (redisReaderGetReply(link->reader, &reply) != REDIS_OK)
            die("%s: %s", peer->name, link->reader->errstr);
        if (!reply)
            break;
        peer->on_reply(link);
    }
}

/* ---- the run ---- */

static void link_open(struct link *link, enum role role)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(link, 0, sizeof *link);
    if (strlen(options.socket) >= sizeof address.sun_path)
        die("the socket's path is too long");
    strcpy(address.sun_path, options.socket);
    link->role = role;
    link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd < 0 || connect(link->fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect %s: %s", options.socket, strerror(errno));
    link->reader = redisReaderCreateWithFunctions(&no_objects);
    link->reader->maxbuf = 0; /* keep the buffer */
    if (role == PRODUCER)
        link->ring = calloc(options.window, sizeof *link->ring);
    if (role == CONSUMER)
        link->taken = calloc(options.batch, sizeof *link->taken);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, link->fd, &event) != 0)
        die("epoll_ctl: %s", strerror(errno));
}

static void links_open(void)
{
    bool watches = options.handled && options.consumers == 0;
    unsigned count = options.producers + options.consumers + watches;
    links = calloc(count, sizeof *links);
    for (; link_count < count; link_count++)
        link_open(&links[link_count], link_count < options.producers                       ? PRODUCER
                                      : link_count < options.producers + options.consumers ? CONSUMER
                                                                                           : WATCHER);
}

static bool is_over(void)
{
    if (confirmations < options.jobs)
        return false;
    return options.handled == 0 || ended_ns != 0;
}

/* Waits for I/O, no longer than until the next push is due; epoll_wait's milliseconds are too coarse for that. */
static int wait_io(struct epoll_event *events, int most, const struct link *watcher)
{
    double timeout_s = 1;
    if (options.rate && sent < options.jobs)
        timeout_s = fmax(0, (double)(due_ns(sent) - now_ns()) / 1e9);
    if (watcher && confirmations == options.jobs && !watcher->asks_awaited)
        timeout_s = fmin(timeout_s, fmax(0, (double)(ask_at_ns - now_ns()) / 1e9));
    struct timespec timeout = {(time_t)timeout_s, (long)((timeout_s - floor(timeout_s)) * 1e9)};
    int count = epoll_pwait2(epoll_fd, events, most, &timeout, NULL);
    if (count < 0 && errno != EINTR)
        die("epoll_pwait2: %s", strerror(errno));
    return count;
}

static void ask(struct link *watcher)
{
    peer->ask(watcher, all_ended);
    flush(watcher);
}

static void run(void)
{
    struct epoll_event events[256];
    struct link *watcher = links[link_count - 1].role == WATCHER ? &links[link_count - 1] : NULL;
    if (watcher)
        for (ask(watcher); watcher->asks_awaited;)
            if (wait_io(events, 256, NULL) > 0)
                receive(watcher);
    for (unsigned i = 0; i < link_count; i++)
        if (links[i].role == CONSUMER && options.handled) {
            peer->start(&links[i]);
            flush(&links[i]);
        }
    began_ns = now_ns();
    int64_t give_up_ns = began_ns + (int64_t)(options.patience * 1e9);
    for (unsigned i = 0; i < options.producers && !options.rate; i++) {
        fill(&links[i]);
        flush(&links[i]);
    }
    while (!is_over()) {
        if (options.rate)
            push_due();
        int count = wait_io(events, 256, watcher);
        for (int i = 0; i < count; i++) {
            struct link *link = events[i].data.ptr;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                receive(link);
            if (!options.rate)
                fill(link);
            flush(link);
        }
        if (watcher && confirmations == options.jobs && watcher->asks_awaited == 0 && !ended_ns &&
            now_ns() >= ask_at_ns)
            ask(watcher);
        if (now_ns() > give_up_ns)
            die("gave up after %.0f s: %llu sent, %llu confirmed, %llu handled, %llu acknowledged",
                options.patience, (unsigned long long)sent, (unsigned long long)confirmations,
                (unsigned long long)(options.consumers ? unique : told), (unsigned long long)acks);
    }
}

/* The stamps are the handlers' results: asked for when all is over, so that asking disturbs nothing. */
static void read_stamps(void)
{
    struct link link;
    link_open(&link, CONSUMER);
    peer->start(&link);
    flush(&link);
    while (unique < options.jobs) {
        receive(&link);
        flush(&link);
        if (now_ns() > ended_ns + 30000000000LL)
            die("only %llu of %llu handlers left a stamp", (unsigned long long)unique,
                (unsigned long long)options.jobs);
    }
}

static void report(double cpu)
{
    int64_t last_ns = ended_ns > pushed_ns ? ended_ns : pushed_ns;
    double took = (double)(last_ns - began_ns) / 1e9, push_took = (double)(pushed_ns - began_ns) / 1e9;
    printf("{\"jobs\":%llu,\"handled\":%llu,\"twice\":%llu,\"took_s\":%.6f,\"push_s\":%.6f,\"per_s\":%.1f,"
           "\"push_per_s\":%.1f,\"cpu_s\":%.4f,\"behind_max_ms\":%.3f",
           (unsigned long long)options.jobs, (unsigned long long)(options.consumers ? unique : told),
           (unsigned long long)twice, took, push_took, (double)options.jobs / took,
           (double)options.jobs / push_took, cpu, (double)behind_max_ns / 1e6);
    print_samples("confirm", &to_confirm);
    print_samples("start", &to_start);
    printf("}\n");
    fflush(stdout);
}

/* ---- options ---- */

static const struct {
    const char *name;
    enum {
        TEXT,
        UNSIGNED,
        BIG,
        REAL,
        FLAG
    } kind;
    void *to;
} rows[] = {
    {"type", TEXT, &options.type},
    {"queue", TEXT, &options.queue},
    {"jobs", BIG, &options.jobs},
    {"first", BIG, &options.first},
    {"handled", BIG, &options.handled},
    {"base", BIG, &options.base},
    {"producers", UNSIGNED, &options.producers},
    {"consumers", UNSIGNED, &options.consumers},
    {"window", UNSIGNED, &options.window},
    {"batch", UNSIGNED, &options.batch},
    {"queues", UNSIGNED, &options.queues},
    {"priorities", UNSIGNED, &options.priorities},
    {"rate", REAL, &options.rate},
    {"warm", REAL, &options.warm_s},
    {"patience", REAL, &options.patience},
    {"stamps", FLAG, &options.stamps},
};

static void option_read(char *text)
{
    char *value = strchr(text, '=');
    if (!value)
        die("'%s' is not name=value", text);
    *value++ = '\0';
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, text) != 0)
            continue;
        switch (rows[i].kind) {
        case TEXT:
            *(const char **)rows[i].to = value;
            return;
        case UNSIGNED:
            *(unsigned *)rows[i].to = (unsigned)strtoul(value, NULL, 10);
            return;
        case BIG:
            *(uint64_t *)rows[i].to = strtoull(value, NULL, 10);
            return;
        case REAL:
            *(double *)rows[i].to = strtod(value, NULL);
            return;
        case FLAG:
            *(bool *)rows[i].to = strcmp(value, "0") != 0;
            return;
        }
    }
    die("no option '%s'", text);
}

static const struct peer *peer_named(const char *name)
{
    const struct peer *all[] = {&peer_moonq, &peer_redis, &peer_beanstalkd};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    die("no peer '%s'", name);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: load moonq|redis|beanstalkd SOCKET [name=value ...]");
    peer = peer_named(argv[1]);
    options.socket = argv[2];
    options.handled = UINT64_MAX;
    for (int i = 3; i < argc; i++)
        option_read(argv[i]);
    if (options.handled == UINT64_MAX)
        options.handled = options.jobs;
    if (!options.producers || !options.window || !options.batch || !options.queues || !options.priorities)
        die("at least one of each");
    prctl(PR_SET_TIMERSLACK, 1000UL); /* an open loop that is 50 us late would be measured as the server's */
    measures_latency = options.rate > 0;
    if (measures_latency)
        sent_at = calloc(options.jobs, sizeof *sent_at);
    seen = calloc(1, options.jobs / 8 + 1);
    pool_init();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    links_open();
    double cpu = cpu_s();
    run();
    cpu = cpu_s() - cpu;
    if (options.stamps)
        read_stamps();
    if (twice || (options.consumers && options.handled && unique != options.handled))
        die("%s: %llu of %llu jobs were handled, %llu twice", peer->name, (unsigned long long)unique,
            (unsigned long long)options.handled, (unsigned long long)twice);
    report(cpu);
    return 0;
}
