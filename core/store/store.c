#include "store/store.h"

void store_op_init(struct store_op *op, enum store_verb verb, wall_ms now)
{
    /* field by field: the error's text is most of the struct, and clearing it would cost more than all the rest */
    op->next = NULL;
    op->verb = verb;
    op->code = MQ_OK;
    op->now = now;
    op->done = NULL;
    op->owner = NULL;
    op->memory = op->own = BUF_INIT;
    op->want_names = false;
    op->type = op->queue = SLICE_EMPTY;
    op->err.code = MQ_OK;
    op->err.text[0] = '\0';
}

/* A name has at most NAME_MAX_BYTES: its length is one byte in front of it. */
static struct slice name_next(struct slice *names)
{
    size_t len = names->len ? (unsigned char)names->at[0] : 0;
    if (!len || len >= names->len)
        return SLICE_EMPTY;
    struct slice name = {names->at + 1, len};
    *names = (struct slice){names->at + 1 + len, names->len - 1 - len};
    return name;
}

void store_names_next(struct slice *names, struct slice *type, struct slice *queue)
{
    *type = name_next(names);
    *queue = name_next(names);
}

void store_op_release(struct store_op *op)
{
    buf_release(&op->memory);
    buf_release(&op->own);
    op->type = op->queue = SLICE_EMPTY;
}
