/* peer_moonq.c - how the load generator (load.h) speaks to moonq: PUSH, FETCH, ACK, WORKERS, QUEUES, WAIT. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_BYTES    13
#define WAIT_IDS    500
#define BLOCK_MS    "5000"
#define QUEUES_MOST 128

/* What the value after a key is for. */
enum field {
    FIELD_OTHER,
    FIELD_ID,
    FIELD_TOKEN,
    FIELD_PAYLOAD,
    FIELD_COUNT,
    FIELD_RESULT,
    FIELD_STATE,
};

static const struct {
    const char *key;
    enum field field;
} fields[] = {
    {"id", FIELD_ID},           {"token", FIELD_TOKEN},
    {"payload", FIELD_PAYLOAD}, {"succeeded_total", FIELD_COUNT},
    {"done", FIELD_COUNT},      {"result", FIELD_RESULT},
    {"state", FIELD_STATE},
};

static int field_of(const char *key, size_t len)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strlen(fields[i].key) == len && memcmp(fields[i].key, key, len) == 0)
            return fields[i].field;
    return FIELD_OTHER;
}

static uint64_t total;     /* of a WORKERS or QUEUES under way */
static bool asked_queues;  /* which of them */
static char *ids;          /* of all pushes, if stamps are read at the end */
static uint64_t ids_asked; /* WAITs are sent up to here */

/* ---- PUSH ---- */

/* What stands before and behind the payload; made once for each queue and priority. */
static char *heads[QUEUES_MOST * 10], *tails[QUEUES_MOST * 10];

static void make_words(unsigned queue, unsigned priority, char **head, char **tail)
{
    char behind[128] = "", text[256];
    unsigned words = 3;
    if (options.queue || options.queues > 1) {
        char name[64];
        snprintf(name, sizeof name, options.queues > 1 ? "%s%u" : "%s", options.queue ? options.queue : "q",
                 queue);
        words += 2;
        snprintf(behind, sizeof behind, "$5\r\nQUEUE\r\n$%zu\r\n%s\r\n", strlen(name), name);
    }
    if (options.priorities > 1) {
        words += 2;
        size_t len = strlen(behind);
        snprintf(behind + len, sizeof behind - len, "$8\r\nPRIORITY\r\n$1\r\n%u\r\n", priority);
    }
    snprintf(text, sizeof text, "*%u\r\n$4\r\nPUSH\r\n$%zu\r\n%s\r\n$%d\r\n", words, strlen(options.type),
             options.type, PAYLOAD_BYTES);
    *head = strdup(text);
    snprintf(text, sizeof text, "\r\n%s", behind);
    *tail = strdup(text);
}

static void add_push(struct link *link, uint64_t number, const char *payload)
{
    unsigned queue = (unsigned)(number % options.queues),
             priority = (unsigned)(number / options.queues % options.priorities), at = queue * 10 + priority;
    if (!heads[at])
        make_words(queue, priority, &heads[at], &tails[at]);
    out_add(link, heads[at], strlen(heads[at]));
    out_add(link, payload, PAYLOAD_BYTES);
    out_add(link, tails[at], strlen(tails[at]));
}

static void on_pushed(struct link *link, const struct value *value)
{
    if (value->depth != 0 || value->type != REDIS_REPLY_STRING || value->len != ID_BYTES)
        die("PUSH: not an id");
    if (options.stamps) {
        if (!ids)
            ids = malloc(options.jobs * ID_BYTES);
        uint64_t number = link->ring[link->ring_start % options.window];
        memcpy(ids + (number - options.first) * ID_BYTES, value->text, ID_BYTES);
    }
}

/* ---- FETCH and ACK ---- */

static void ask_for_jobs(struct link *link)
{
    out_addf(link, "*%u\r\n$5\r\nFETCH\r\n", 5 + options.queues);
    for (unsigned i = 0; i < options.queues; i++) {
        char name[64];
        snprintf(name, sizeof name, options.queues > 1 ? "%s%u" : "%s", options.queue ? options.queue : "q",
                 i);
        out_addf(link, "$%zu\r\n%s\r\n", strlen(name), name);
    }
    char count[16];
    snprintf(count, sizeof count, "%u", options.batch);
    out_addf(link, "$5\r\nCOUNT\r\n$%zu\r\n%s\r\n$5\r\nBLOCK\r\n$4\r\n" BLOCK_MS "\r\n", strlen(count),
             count);
    link->asks_awaited++;
}

static void ack(struct link *link, const struct taken *taken)
{
    char token[24];
    int len = snprintf(token, sizeof token, "%lld", (long long)taken->token);
    out_addf(link, "*3\r\n$3\r\nACK\r\n$%zu\r\n%.*s\r\n$%d\r\n%s\r\n", taken->id_len, (int)taken->id_len,
             taken->id, len, token);
    link->acks_awaited++;
}

static void on_fetched(struct link *link, const struct value *value)
{
    if (link->acks_awaited) {
        if (value->type != REDIS_REPLY_STATUS || value->len != 2)
            die("ACK: not OK");
        return;
    }
    if (value->depth == 0) {
        if (value->number > options.batch)
            die("FETCH: more than were asked for");
        link->jobs_here = 0;
    }
    if (value->depth == 1)
        link->jobs_here++;
    if (value->depth != 2)
        return;
    struct taken *taken = &link->taken[link->jobs_here - 1];
    if (value->index % 2 == 0) {
        link->own = field_of(value->text, value->len);
    } else if (link->own == FIELD_ID && value->len < sizeof taken->id) {
        memcpy(taken->id, value->text, value->len);
        taken->id_len = value->len;
    } else if (link->own == FIELD_TOKEN) {
        taken->token = value->number;
    } else if (link->own == FIELD_PAYLOAD) {
        handled(value->text, value->len);
    }
}

static void on_fetch_reply(struct link *link)
{
    if (link->acks_awaited) {
        link->acks_awaited--;
        acknowledged(1);
        return;
    }
    link->asks_awaited--;
    for (uint64_t i = 0; i < link->jobs_here; i++)
        ack(link, &link->taken[i]);
    link->jobs_here = 0;
    if (!all_handled())
        ask_for_jobs(link);
}

/* ---- WORKERS, QUEUES: what the workers have done, and what of it is on disk ---- */

static void ask(struct link *link, bool acknowledged)
{
    total = 0;
    asked_queues = acknowledged;
    if (acknowledged)
        out_addf(link, "*1\r\n$6\r\nQUEUES\r\n");
    else
        out_addf(link, "*1\r\n$7\r\nWORKERS\r\n");
    link->asks_awaited++;
}

static void on_count(struct link *link, const struct value *value)
{
    if (value->depth == 2 && value->index % 2 == 0)
        link->own = field_of(value->text, value->len);
    else if (value->depth == 2 && link->own == FIELD_COUNT)
        total += (uint64_t)value->number;
}

/* ---- WAIT: the results of all, when they have ended ---- */

static void ask_for_stamps(struct link *link)
{
    uint64_t left = options.jobs - ids_asked, count = left < WAIT_IDS ? left : WAIT_IDS;
    if (!count)
        return;
    out_addf(link, "*%llu\r\n$4\r\nWAIT\r\n", (unsigned long long)count + 1);
    for (uint64_t i = 0; i < count; i++, ids_asked++)
        out_addf(link, "$%d\r\n%.*s\r\n", ID_BYTES, ID_BYTES, ids + ids_asked * ID_BYTES);
}

/* [number, microseconds] */
static void on_stamp(struct link *link, const struct value *value)
{
    if (value->depth != 2)
        return;
    if (value->index % 2 == 0) {
        link->own = field_of(value->text, value->len);
    } else if (link->own == FIELD_RESULT) {
        unsigned long long number;
        double us;
        char text[96];
        snprintf(text, sizeof text, "%.*s", (int)value->len, value->text ? value->text : "");
        if (sscanf(text, "[%llu,%lf]", &number, &us) != 2)
            die("a handler's result is no stamp: '%s'", text);
        told_stamp(number, (int64_t)(us * 1000));
    }
}

/* ---- */

static void start(struct link *link)
{
    if (options.stamps)
        ask_for_stamps(link);
    else
        ask_for_jobs(link);
}

static void on_value(struct link *link, const struct value *value)
{
    if (link->role == PRODUCER)
        on_pushed(link, value);
    else if (link->role == WATCHER)
        on_count(link, value);
    else if (options.stamps)
        on_stamp(link, value);
    else
        on_fetched(link, value);
}

static void on_reply(struct link *link)
{
    if (link->role == PRODUCER) {
        confirmed(link);
    } else if (link->role == WATCHER) {
        link->asks_awaited--;
        (asked_queues ? told_handled : told_progress)(total);
    } else if (options.stamps) {
        ask_for_stamps(link);
    } else {
        on_fetch_reply(link);
    }
}

const struct peer peer_moonq = {
    .name = "moonq",
    .add_push = add_push,
    .start = start,
    .on_value = on_value,
    .on_reply = on_reply,
    .ask = ask,
};
