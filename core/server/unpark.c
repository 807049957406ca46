#include "server/unpark.h"

#include <stdlib.h>

#include "base/log.h"

#define UNPARK_CHUNK 5000
#define REST_S       1.0 /* the disk is full to the last byte: asked again after so long */

struct unpark {
    struct op_unpark op;
    struct server *server;
    ev_timer rest;
    job_id from; /* those before it have had their look */
    void (*done)(struct server *server);
    struct slice *types;
    struct buf names; /* what types point to */
};

struct unpark *unpark_new(struct server *server, json_t *app)
{
    json_t *handlers = json_object_get(app, "handlers"), *handler;
    struct unpark *unpark = mq_calloc(1, sizeof *unpark);
    size_t bytes = 0, count = json_object_size(handlers);
    const char *name;
    json_object_foreach(handlers, name, handler) bytes += strlen(name);
    unpark->server = server;
    unpark->types = mq_calloc(count + 1, sizeof *unpark->types);
    buf_room(&unpark->names, bytes + 1); /* once: the slices point into it */
    json_object_foreach(handlers, name, handler)
    {
        struct slice type = slice_of(name);
        char *at = unpark->names.at + unpark->names.end;
        buf_add_slice(&unpark->names, type);
        unpark->types[unpark->op.type_count++] = (struct slice){at, type.len};
    }
    unpark->op.types = unpark->types;
    return unpark;
}

/* Told once. */
static void tell(struct unpark *unpark)
{
    void (*done)(struct server *) = unpark->done;
    unpark->done = NULL;
    if (done)
        done(unpark->server);
}

static void finish(struct unpark *unpark)
{
    tell(unpark);
    free(unpark->types);
    buf_release(&unpark->names);
    free(unpark);
}

static void ask(struct unpark *unpark);

static void on_rested(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct unpark *unpark = timer->data;
    (void)loop;
    (void)events;
    if (unpark->server->stopping)
        finish(unpark); /* the next server looks at all of them */
    else
        ask(unpark);
}

/* Nobody else waits meanwhile: a job that stays parked is late, and nothing worse. */
static void rest(struct unpark *unpark)
{
    tell(unpark);
    ev_timer_init(&unpark->rest, on_rested, REST_S, 0.);
    unpark->rest.data = unpark;
    ev_timer_start(unpark->server->loop, &unpark->rest);
}

static void unparked(struct store_op *op)
{
    struct unpark *unpark = op->owner;
    enum mq_code code = op->code;
    if (code == MQ_OK)
        unpark->from = unpark->op.next;
    else if (code != MQ_NOSPACE)
        log_event(LOG_ERROR, "server.unpark_failed", LOG_STR("message", op->err.text));
    store_op_release(op);
    if (code == MQ_NOSPACE)
        rest(unpark);
    else if (code == MQ_OK && unpark->from != JOB_ID_NONE && !unpark->server->stopping)
        ask(unpark);
    else
        finish(unpark);
}

static void ask(struct unpark *unpark)
{
    store_op_init(&unpark->op.op, STORE_UNPARK, clock_wall());
    unpark->op.op.done = unparked;
    unpark->op.op.owner = unpark;
    unpark->op.limit = UNPARK_CHUNK;
    unpark->op.from = unpark->from;
    dispatch_submit(unpark->server->dispatch, &unpark->op.op);
}

void unpark_start(struct unpark *unpark, void (*done)(struct server *server))
{
    unpark->done = done;
    if (unpark->op.type_count) /* none would mean all */
        ask(unpark);
    else
        finish(unpark);
}
