#include "server/unpark.h"

#include <stdlib.h>

#include "base/log.h"

#define UNPARK_CHUNK 5000

struct unpark {
    struct op_unpark op;
    struct server *server;
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

static void finish(struct unpark *unpark)
{
    struct server *server = unpark->server;
    void (*done)(struct server *) = unpark->done;
    free(unpark->types);
    buf_release(&unpark->names);
    free(unpark);
    if (done)
        done(server);
}

static void ask(struct unpark *unpark, job_id from);

static void unparked(struct store_op *op)
{
    struct unpark *unpark = op->owner;
    job_id next = op->code == MQ_OK ? unpark->op.next : JOB_ID_NONE;
    if (op->code != MQ_OK)
        log_event(LOG_ERROR, "server.unpark_failed", LOG_STR("message", op->err.text));
    store_op_release(op);
    if (next != JOB_ID_NONE && !unpark->server->stopping)
        ask(unpark, next);
    else
        finish(unpark);
}

static void ask(struct unpark *unpark, job_id from)
{
    store_op_init(&unpark->op.op, STORE_UNPARK, clock_wall());
    unpark->op.op.done = unparked;
    unpark->op.op.owner = unpark;
    unpark->op.limit = UNPARK_CHUNK;
    unpark->op.from = from;
    dispatch_submit(unpark->server->dispatch, &unpark->op.op);
}

void unpark_start(struct unpark *unpark, void (*done)(struct server *server))
{
    unpark->done = done;
    if (unpark->op.type_count) /* none would mean all */
        ask(unpark, JOB_ID_NONE);
    else
        finish(unpark);
}
