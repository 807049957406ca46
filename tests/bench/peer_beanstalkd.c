/*
 * peer_beanstalkd.c - put; a batch of reserves that do not wait, then the deletes of all that came, pipelined with the
 * next reserves. If nothing came at all, one reserve waits.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char reserve[] = "reserve-with-timeout 0\r\n", reserve_waiting[] = "reserve-with-timeout 5\r\n";

static void add_push(struct link *link, uint64_t number, const char *payload)
{
    (void)number;
    out_addf(link, "put 10 0 120 %d\r\n", PAYLOAD_BYTES);
    out_add(link, payload, PAYLOAD_BYTES);
    out_add(link, "\r\n", 2);
}

static void ask_for_jobs(struct link *link)
{
    unsigned asks = link->jobs_taken || !link->own ? options.batch : 1;
    for (unsigned i = 0; i < asks; i++)
        out_add(link, asks == 1 ? reserve_waiting : reserve, sizeof reserve - 1);
    link->asks_awaited = asks;
    link->own = 1; /* it has asked before */
}

static void round_over(struct link *link)
{
    for (uint64_t i = 0; i < link->jobs_here; i++)
        out_addf(link, "delete %.*s\r\n", (int)link->taken[i].id_len, link->taken[i].id);
    link->acks_awaited = link->jobs_taken = link->jobs_here;
    link->jobs_here = 0;
    if (!all_handled())
        ask_for_jobs(link);
}

/* A reserved job needs its body too: false when that is not here yet. */
static bool on_reserved(struct link *link, const char *line, size_t line_len, size_t here, size_t *used)
{
    char *end;
    const char *id = line + 9;
    size_t id_len = strcspn(id, " ");
    size_t len = strtoul(id + id_len, &end, 10);
    struct taken *taken = &link->taken[link->jobs_here];
    if (here < line_len + 2 + len + 2)
        return false;
    if (id_len >= sizeof taken->id || link->jobs_here >= options.batch)
        die("reserve: strange");
    memcpy(taken->id, id, id_len);
    taken->id_len = id_len;
    link->jobs_here++;
    handled(line + line_len + 2, len);
    *used = line_len + 2 + len + 2;
    return true;
}

static bool on_line(struct link *link, const char *line, size_t len, size_t here, size_t *used)
{
    *used = len + 2;
    if (link->role == PRODUCER) {
        if (strncmp(line, "INSERTED ", 9) != 0)
            die("put: %.*s", (int)len, line);
        confirmed(link);
        return true;
    }
    if (link->acks_awaited) {
        if (len != 7 || memcmp(line, "DELETED", 7) != 0)
            die("delete: %.*s", (int)len, line);
        link->acks_awaited--;
        acknowledged(1);
        return true;
    }
    if (strncmp(line, "RESERVED ", 9) == 0) {
        if (!on_reserved(link, line, len, here, used))
            return false;
    } else if (len != 9 || memcmp(line, "TIMED_OUT", 9) != 0) {
        die("reserve: %.*s", (int)len, line);
    }
    if (--link->asks_awaited == 0)
        round_over(link);
    return true;
}

static void on_bytes(struct link *link)
{
    struct bytes *in = &link->in;
    while (in->start < in->end) {
        char *line = in->at + in->start;
        size_t here = in->end - in->start, used;
        char *end = memmem(line, here, "\r\n", 2);
        if (!end || !on_line(link, line, (size_t)(end - line), here, &used))
            break;
        in->start += used;
    }
}

const struct peer peer_beanstalkd = {
    .name = "beanstalkd",
    .add_push = add_push,
    .start = ask_for_jobs,
    .on_bytes = on_bytes,
};
