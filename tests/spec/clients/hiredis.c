/* What hiredis (0.14, which speaks RESP2), unchanged, does with moonq. Usage: hiredis SOCKET SCENARIO; exits with 0 if it holds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                          \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static redisContext *open_socket(const char *path)
{
    redisContext *c = redisConnectUnix(path);
    CHECK(c && !c->err);
    return c;
}

/* The value of a key in a map; maps are flat in RESP2. */
static redisReply *field(redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2)
        if (strcmp(map->element[i]->str, name) == 0)
            return map->element[i + 1];
    fprintf(stderr, "there is no '%s'\n", name);
    exit(1);
}

static redisReply *next(redisContext *c)
{
    redisReply *reply = NULL;
    CHECK(redisGetReply(c, (void **)&reply) == REDIS_OK);
    return reply;
}

static redisReply *call(redisContext *c, const char *command)
{
    redisReply *reply = redisCommand(c, command);
    CHECK(reply);
    return reply;
}

static void expect_error(redisReply *reply, const char *code)
{
    CHECK(reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, code, strlen(code)) == 0);
    freeReplyObject(reply);
}

static void push(redisContext *c)
{
    redisReply *id = redisCommand(c, "PUSH mail.send %b QUEUE c.push DELAY 1h", "\0\r\n\xff", (size_t)4);
    CHECK(id->type == REDIS_REPLY_STRING && id->len == 13);
    redisReply *job = redisCommand(c, "JOB %s", id->str);
    CHECK(field(job, "payload")->len == 4 && memcmp(field(job, "payload")->str, "\0\r\n\xff", 4) == 0);
    CHECK(strcmp(field(job, "state")->str, "scheduled") == 0);
    freeReplyObject(job);
    freeReplyObject(id);
}

static void pipeline(redisContext *c)
{
    char before[14] = "";
    for (int i = 0; i < 1000; i++)
        redisAppendCommand(c, "PUSH a %d QUEUE c.pipe", i);
    for (int i = 0; i < 1000; i++) {
        redisReply *id = next(c);
        CHECK(id->type == REDIS_REPLY_STRING && strcmp(before, id->str) < 0);
        memcpy(before, id->str, sizeof before);
        freeReplyObject(id);
    }
    redisReply *queues = call(c, "QUEUES c.pipe");
    CHECK(field(queues->element[0], "ready")->integer == 1000);
    freeReplyObject(queues);
}

static void multi(redisContext *c)
{
    freeReplyObject(call(c, "MULTI"));
    freeReplyObject(call(c, "PUSH a 1 QUEUE c.multi"));
    freeReplyObject(call(c, "PUSH a 2 QUEUE c.multi"));
    redisReply *ids = call(c, "EXEC");
    CHECK(ids->type == REDIS_REPLY_ARRAY && ids->elements == 2 && ids->element[1]->len == 13);
    freeReplyObject(ids);
    freeReplyObject(call(c, "MULTI"));
    freeReplyObject(call(c, "PUSH a 3 QUEUE c.multi"));
    expect_error(call(c, "PUSH a"), "BADARG");
    expect_error(call(c, "EXEC"), "EXECABORT");
    redisReply *queues = call(c, "QUEUES c.multi");
    CHECK(field(queues->element[0], "pushed_total")->integer == 2);
    freeReplyObject(queues);
}

/* Acknowledgements and the next FETCH travel together: one round trip, one commit. */
static void consume(redisContext *c)
{
    int left = 100;
    for (int i = 0; i < left; i++)
        redisAppendCommand(c, "PUSH a %d QUEUE c.consume", i);
    for (int i = 0; i < left; i++)
        freeReplyObject(next(c));
    redisReply *jobs = call(c, "FETCH c.consume COUNT 10 BLOCK 10s");
    while (jobs->elements) {
        size_t count = jobs->elements;
        for (size_t i = 0; i < count; i++)
            redisAppendCommand(c, "ACK %s %lld", field(jobs->element[i], "id")->str,
                               field(jobs->element[i], "token")->integer);
        redisAppendCommand(c, "FETCH c.consume COUNT 10");
        freeReplyObject(jobs);
        for (size_t i = 0; i < count; i++, left--) {
            redisReply *ok = next(c);
            CHECK(ok->type == REDIS_REPLY_STATUS);
            freeReplyObject(ok);
        }
        jobs = next(c);
    }
    CHECK(left == 0);
    freeReplyObject(jobs);
}

static void wait_for(redisContext *c)
{
    redisReply *id = redisCommand(c, "PUSH double %s", "{\"n\":4}");
    redisReply *ended = redisCommand(c, "WAIT %s TIMEOUT 10s", id->str);
    CHECK(ended->type == REDIS_REPLY_ARRAY && ended->elements == 1);
    CHECK(strcmp(field(ended->element[0], "result")->str, "{\"twice\":8}") == 0);
    freeReplyObject(ended);
    freeReplyObject(id);
}

static void events(redisContext *c, const char *path)
{
    redisContext *stream = open_socket(path);
    freeReplyObject(call(stream, "EVENTS QUEUE c.events"));
    freeReplyObject(call(c, "PUSH a 1 QUEUE c.events"));
    redisReply *event = next(stream);
    CHECK(event->type == REDIS_REPLY_STRING && strstr(event->str, "\"event\":\"job.pushed\""));
    CHECK(strstr(event->str, "\"queue\":\"c.events\""));
    freeReplyObject(event);
    redisFree(stream);
}

static void errors(redisContext *c)
{
    expect_error(call(c, "PUHS"), "BADARG unknown command 'PUHS' (did you mean 'PUSH'?");
    expect_error(call(c, "PUSH a 1 PRIORITY 10"), "BADARG PRIORITY 10");
    expect_error(call(c, "JOB 0000000000001"), "NOTFOUND");
    freeReplyObject(call(c, "PING"));
}

static void habits(redisContext *c)
{
    redisReply *hello = call(c, "HELLO 2");
    CHECK(strcmp(field(hello, "server")->str, "moonq") == 0 && field(hello, "proto")->integer == 2);
    freeReplyObject(hello);
    redisReply *name = call(c, "CLIENT GETNAME");
    CHECK(name->type == REDIS_REPLY_NIL);
    freeReplyObject(name);
    redisReply *time = call(c, "TIME");
    CHECK(time->elements == 2);
    freeReplyObject(time);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    const char *path = argv[1], *name = argv[2];
    redisContext *c = open_socket(path);
    if (strcmp(name, "push") == 0)
        push(c);
    else if (strcmp(name, "pipeline") == 0)
        pipeline(c);
    else if (strcmp(name, "multi") == 0)
        multi(c);
    else if (strcmp(name, "consume") == 0)
        consume(c);
    else if (strcmp(name, "wait") == 0)
        wait_for(c);
    else if (strcmp(name, "events") == 0)
        events(c, path);
    else if (strcmp(name, "errors") == 0)
        errors(c);
    else if (strcmp(name, "habits") == 0)
        habits(c);
    else
        CHECK(!"a scenario of this name");
    redisFree(c);
    return 0;
}
