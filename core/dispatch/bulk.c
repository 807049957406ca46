#include "dispatch/inside.h"

#define BULK_CHUNK 1000 /* a few milliseconds of one commit: other clients do not notice */

static void bulk_ask(struct dispatch *d, struct bulk *bulk);

/* A chunk under way, with its own copy of the cursor. */
struct chunk {
    struct op_many many;
    struct dispatch *d;
    struct bulk *bulk;
    struct buf cursor;
};

static void tell_progress(struct dispatch *d, const struct bulk *bulk, const char *name)
{
    char no[32];
    snprintf(no, sizeof no, "%llu", (unsigned long long)bulk->no);
    dispatch_emit(
        d, &(struct event){
               .name = name, .at = d->wall, .message = slice_of(no), .count = bulk->touched, .fraction = -1});
}

static void bulk_end(struct dispatch *d, struct bulk *bulk)
{
    DL_DELETE(d->bulks, bulk);
    tell_progress(d, bulk, "bulk.done");
    bulk->done(bulk);
}

static void count_touched(struct bulk *bulk, const struct op_many *many)
{
    for (unsigned i = 0; i < many->touched_count; i++) {
        bulk->signalled += many->step == STORE_CANCEL && many->holds[i];
        if (buf_len(&bulk->ids) < bulk->ids_max * sizeof(job_id))
            buf_add(&bulk->ids, &many->touched[i], sizeof(job_id));
    }
}

static void chunk_done(struct store_op *op)
{
    struct chunk *chunk = (struct chunk *)op;
    struct dispatch *d = chunk->d;
    struct bulk *bulk = chunk->bulk;
    bool over = op->code != MQ_OK || chunk->many.finished || bulk->stopped || d->stopping;
    bulk->code = op->code;
    if (op->code != MQ_OK) {
        bulk->err = op->err;
    } else {
        bulk->looked_at += chunk->many.looked_at;
        bulk->touched += chunk->many.touched_count;
        count_touched(bulk, &chunk->many);
        buf_clear(&bulk->cursor);
        buf_add_slice(&bulk->cursor, chunk->many.next_cursor);
        tell_progress(d, bulk, "bulk.progress");
    }
    if (over) /* by BULK STOP, or because the server stops */
        bulk->stopped = op->code == MQ_OK && !chunk->many.finished;
    store_op_release(op);
    buf_release(&chunk->cursor);
    free(chunk);
    if (!over) {
        bulk_ask(d, bulk);
        return;
    }
    buf_release(&bulk->cursor);
    bulk_end(d, bulk);
}

static void bulk_ask(struct dispatch *d, struct bulk *bulk)
{
    struct chunk *chunk = mq_calloc(1, sizeof *chunk);
    store_op_init(&chunk->many.op, STORE_MANY, d->wall);
    chunk->many.op.done = chunk_done;
    chunk->d = d;
    chunk->bulk = bulk;
    chunk->many.step = bulk->step;
    chunk->many.filter = bulk->filter;
    chunk->many.reason = bulk->reason;
    chunk->many.since = bulk->since;
    chunk->many.limit = BULK_CHUNK;
    buf_add_slice(&chunk->cursor, buf_bytes(&bulk->cursor));
    chunk->many.cursor = buf_bytes(&chunk->cursor);
    dispatch_submit(d, &chunk->many.op);
}

void dispatch_bulk(struct dispatch *d, struct bulk *bulk)
{
    bulk->no = ++d->bulk_last;
    bulk->touched = bulk->looked_at = bulk->signalled = 0;
    bulk->ids = BUF_INIT;
    bulk->stopped = false;
    bulk->code = MQ_OK;
    bulk->cursor = BUF_INIT;
    DL_APPEND(d->bulks, bulk);
    bulk_ask(d, bulk);
}

bool dispatch_bulk_stop(struct dispatch *d, uint64_t no)
{
    struct bulk *bulk;
    DL_FOREACH (d->bulks, bulk)
        if (bulk->no == no) {
            bulk->stopped = true;
            return true;
        }
    return false;
}

const struct bulk *dispatch_bulk_next(struct dispatch *d, const struct bulk *after)
{
    return after ? after->next : d->bulks;
}
