/*
 * Functions of schedules.lua that make a job's args. Each runs in a process of its own: the same binary, the same sandbox,
 * the same walls as a worker's; it loads schedules.lua, runs the one function, answers and ends. Nothing that such a
 * function does (an endless loop, a crash, all memory) outlives it or meets a job, and it cannot remember anything from
 * one moment to the next. It costs a few ten milliseconds, which a schedule has.
 */
#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "runtime/child.h"
#include "runtime/frame.h"
#include "server/child.h"

#define RUNNING_MAX 2    /* at once: a thousand entries of one moment must not be a thousand processes */
#define PATIENCE_S  10.0 /* then it is killed; its own limits are shorter */

struct args_child {
    struct args_child *next;
    struct server *server;
    struct args_request *request;
    struct child *child;
    struct buf out;
    ev_timer patience;
    json_t *answer;
};

static void run_next(struct server *server);

static void forget(struct args_child *a)
{
    struct args_child **at = &a->server->args_children;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    a->server->args_running--;
    ev_timer_stop(a->server->loop, &a->patience);
    buf_release(&a->out);
    json_decref(a->answer);
    free(a);
}

/* What it answered, or how it ended without a word. */
static void tell(const struct args_child *a, const char *how)
{
    struct args_request *request = a->request;
    char text[200];
    json_t *args = json_object_get(a->answer, "args"), *error = json_object_get(a->answer, "error");
    json_t *first = json_array_get(json_object_get(a->answer, "errors"), 0);
    if (!error)
        error = json_object_get(first, "message");
    snprintf(text, sizeof text, "the process that ran it ended with %s", how);
    if (a->server->stopping)
        request->done(request, MQ_BUSY, SLICE("the server is stopping"));
    else if (json_is_string(args))
        request->done(request, MQ_OK, (struct slice){json_string_value(args), json_string_length(args)});
    else
        request->done(request, MQ_SCRIPT, slice_of(json_is_string(error) ? json_string_value(error) : text));
}

static enum mq_code on_input(void *owner, struct child *child, struct slice bytes, size_t *used,
                             struct mq_err *err)
{
    struct args_child *a = owner;
    struct frame frame;
    (void)child;
    enum mq_code code = frame_read(&frame, bytes, used, err);
    if (code == MQ_OK && *used && frame.kind == FRAME_READY && !a->answer)
        a->answer = json_loadb(frame.json.at, frame.json.len, 0, NULL);
    else if (code == MQ_OK && *used && frame.kind == FRAME_LOG)
        log_event(LOG_INFO, "schedule.log", LOG_SLICE("schedule", a->request->name),
                  LOG_SLICE("message", frame.log.text));
    return code;
}

static void on_exited(void *owner, struct child *child, const char *how, bool clean)
{
    struct args_child *a = owner;
    struct server *server = a->server;
    (void)clean;
    child_free(child);
    tell(a, how);
    forget(a);
    run_next(server);
}

static void on_patience_over(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct args_child *a = timer->data;
    (void)loop;
    (void)events;
    child_signal(a->child, SIGKILL);
}

static void add_setup(struct args_child *a)
{
    struct server *server = a->server;
    const struct args_request *request = a->request;
    json_t *setup = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s%,s:I,s:I,s:I}", "role", "args", "name", "args", "app",
                              server->app_dir, "stdlib", server->home.stdlib, "scripts", server->home.scripts,
                              "schedule", request->name.at, request->name.len, "planned_at",
                              (json_int_t)request->planned_at, "memory_bytes", (json_int_t)CHILD_ARGS_BYTES,
                              "payload_max", (json_int_t)server->config.payload_max);
    char *text = json_dumps(setup, JSON_COMPACT);
    frame_add_json(&a->out, FRAME_SETUP, slice_of(text));
    free(text);
    json_decref(setup);
}

static void run(struct server *server, struct args_request *request)
{
    struct mq_err err;
    struct args_child *a = mq_calloc(1, sizeof *a);
    struct child_plan plan = {.binary = server->home.binary, .role = "args", .page_fd = -1};
    struct child_events events = {.owner = a, .input = on_input, .exited = on_exited};
    a->server = server;
    a->request = request;
    a->next = server->args_children;
    server->args_children = a;
    server->args_running++;
    ev_timer_init(&a->patience, on_patience_over, PATIENCE_S, 0.);
    a->patience.data = a;
    if (child_start(&a->child, server->loop, &plan, &events, &err) != MQ_OK) {
        forget(a);
        request->done(request, MQ_SCRIPT, slice_of(err.text));
        return;
    }
    add_setup(a);
    child_write(a->child, &a->out);
    ev_timer_start(server->loop, &a->patience);
}

static struct args_request *take_first(struct server *server)
{
    struct args_request *request = server->args_first;
    if (request)
        server->args_first = request->next;
    if (!server->args_first)
        server->args_last = NULL;
    return request;
}

static void run_next(struct server *server)
{
    struct args_request *request;
    while (!server->stopping && server->args_running < RUNNING_MAX && (request = take_first(server)))
        run(server, request);
}

void args_make(void *owner, struct args_request *request)
{
    struct server *server = owner;
    request->next = NULL;
    if (server->args_last)
        server->args_last->next = request;
    else
        server->args_first = request;
    server->args_last = request;
    run_next(server);
}

void args_stop(struct server *server)
{
    struct args_request *request;
    while ((request = take_first(server)))
        request->done(request, MQ_BUSY, SLICE("the server is stopping"));
    for (struct args_child *a = server->args_children; a; a = a->next)
        child_signal(a->child, SIGKILL); /* on_exited answers */
}
