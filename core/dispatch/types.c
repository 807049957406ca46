#include "dispatch/inside.h"

struct type_row *type_find(struct dispatch *d, struct slice type)
{
    struct type_row *row;
    HASH_FIND(hh, d->types, type.at, type.len, row);
    return row;
}

void types_free(struct dispatch *d)
{
    struct type_row *row, *next;
    HASH_ITER (hh, d->types, row, next) {
        HASH_DEL(d->types, row);
        free((char *)row->order.type.at);
        free(row->key_texts);
        free(row);
    }
}

/* A key of the type's own, or the names of arguments: one copy for both. */
static void keep_key(struct type_row *row, const struct push_order *type)
{
    struct slice key = type->unique, by = type->unique_by;
    char *at = row->key_texts = mq_alloc(key.len + by.len + 1);
    if (key.len)
        row->order.unique = (struct slice){memcpy(at, key.at, key.len), key.len};
    if (by.len)
        row->order.unique_by = (struct slice){memcpy(at + key.len, by.at, by.len), by.len};
}

void dispatch_set_types(struct dispatch *d, const struct push_order *types, unsigned count)
{
    types_free(d);
    for (unsigned i = 0; i < count; i++) {
        struct type_row *row = mq_calloc(1, sizeof *row);
        row->order = types[i];
        row->order.type = (struct slice){mq_strdup_slice(types[i].type), types[i].type.len};
        if (types[i].queue.len) /* a hint's name lives as long as we do: pushes under way may point to it */
            row->order.queue = hint_ensure(d, types[i].queue)->news.name;
        keep_key(row, &types[i]);
        HASH_ADD_KEYPTR(hh, d->types, row->order.type.at, row->order.type.len, row);
    }
}

void dispatch_set_memory_full(struct dispatch *d, uint64_t max_bytes)
{
    d->memory_max = max_bytes;
}

enum mq_code dispatch_resolve(struct dispatch *d, struct op_push *op, const struct push_order *order,
                              wall_ms now, struct mq_err *err)
{
    if (d->stopping)
        return mq_fail(err, MQ_BUSY, "the server is stopping; push again after its restart");
    if (d->memory_max)
        return mq_fail(
            err, MQ_FULL,
            "the server's memory is at its limit (max_memory, %llu MiB): push again later, or raise it",
            (unsigned long long)(d->memory_max >> 20));
    enum mq_code code = order_check(order, d->settings.payload_max, err);
    if (code != MQ_OK)
        return code;
    struct type_row *row = type_find(d, order->type);
    const struct push_order *by_type = row ? &row->order : NULL;
    order_resolve(&op->spec, &op->run_at, order, by_type, &d->settings.defaults, now);
    return order_resolve_key(&op->spec, &op->conflict, order, by_type, &op->op.own, err);
}

enum mq_code dispatch_check_payload(const struct dispatch *d, struct slice payload, struct mq_err *err)
{
    if (payload.len <= d->settings.payload_max)
        return MQ_OK;
    return mq_fail(err, MQ_TOOBIG, "the payload has %zu bytes, the limit is %zu (payload_max)", payload.len,
                   d->settings.payload_max);
}
