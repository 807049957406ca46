/*
 * peer_redis.c - Redis Streams: XADD, XREADGROUP, and for what was handled XACK and XDEL of the whole batch, pipelined
 * with the next XREADGROUP. The runner has made the group `g` of the stream `jobs`.
 */
#include "load.h"

#include <stdio.h>
#include <string.h>

static void add_push(struct link *link, uint64_t number, const char *payload)
{
    static const char head[] = "*5\r\n$4\r\nXADD\r\n$4\r\njobs\r\n$1\r\n*\r\n$1\r\nd\r\n$200\r\n";
    (void)number;
    out_add(link, head, sizeof head - 1);
    out_add(link, payload, PAYLOAD_BYTES);
    out_add(link, "\r\n", 2);
}

static void read_group(struct link *link)
{
    char count[16];
    snprintf(count, sizeof count, "%u", options.batch);
    out_addf(link,
             "*11\r\n$10\r\nXREADGROUP\r\n$5\r\nGROUP\r\n$1\r\ng\r\n$1\r\nc\r\n$5\r\nCOUNT\r\n$%zu\r\n%s\r\n$"
             "5\r\nBLOCK"
             "\r\n$4\r\n5000\r\n$7\r\nSTREAMS\r\n$4\r\njobs\r\n$1\r\n>\r\n",
             strlen(count), count);
    link->asks_awaited++;
}

static void add_ids(struct link *link)
{
    for (uint64_t i = 0; i < link->jobs_here; i++)
        out_addf(link, "$%zu\r\n%.*s\r\n", link->taken[i].id_len, (int)link->taken[i].id_len,
                 link->taken[i].id);
}

static void ack_batch(struct link *link)
{
    out_addf(link, "*%llu\r\n$4\r\nXACK\r\n$4\r\njobs\r\n$1\r\ng\r\n",
             (unsigned long long)link->jobs_here + 3);
    add_ids(link);
    out_addf(link, "*%llu\r\n$4\r\nXDEL\r\n$4\r\njobs\r\n", (unsigned long long)link->jobs_here + 2);
    add_ids(link);
    link->jobs_taken = link->jobs_here;
    link->acks_awaited = 2;
}

static void on_value(struct link *link, const struct value *value)
{
    if (link->role == PRODUCER) {
        if (value->depth != 0 || value->type != REDIS_REPLY_STRING)
            die("XADD: not an id");
    } else if (link->acks_awaited) {
        if (value->type != REDIS_REPLY_INTEGER || (uint64_t)value->number != link->jobs_taken)
            die("XACK or XDEL: %lld of %llu", value->number, (unsigned long long)link->jobs_taken);
    } else if (value->depth == 0) {
        link->jobs_here = 0;
    } else if (value->depth == 4 &&
               value->type == REDIS_REPLY_STRING) { /* [[stream, [[id, [name, payload]]]]] */
        struct taken *taken = &link->taken[link->jobs_here];
        if (link->jobs_here >= options.batch || value->len > sizeof taken->id)
            die("XREADGROUP: strange");
        memcpy(taken->id, value->text, value->len);
        taken->id_len = value->len;
    } else if (value->depth == 5 && value->index == 1) {
        handled(value->text, value->len);
        link->jobs_here++;
    }
}

static void on_reply(struct link *link)
{
    if (link->role == PRODUCER) {
        confirmed(link);
        return;
    }
    if (link->acks_awaited) {
        if (--link->acks_awaited == 0)
            acknowledged(link->jobs_taken);
        return;
    }
    link->asks_awaited--;
    if (link->jobs_here)
        ack_batch(link);
    link->jobs_here = 0;
    if (!all_handled())
        read_group(link);
}

const struct peer peer_redis = {
    .name = "redis",
    .add_push = add_push,
    .start = read_group,
    .on_value = on_value,
    .on_reply = on_reply,
};
