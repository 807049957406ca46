/*
 * The configuration: JSON as moonq.lua becomes it, then a NUL and a line "name value" for CONFIG SET. What is taken can
 * be run with, and what CONFIG GET shows of it is taken again, as the same.
 */
#include "fuzz.h"

#include "runtime/page.h"
#include "server/config.h"

static void check_pools(const struct config *config)
{
    for (unsigned i = 0; i < config->pool_count; i++) {
        const struct pool_settings *pool = &config->pools[i];
        FUZZ_MUST(pool->workers <= 256, "%u workers", pool->workers);
        FUZZ_MUST(pool->slots >= 1 && pool->slots <= WORKER_SLOTS_MAX, "%u slots", pool->slots);
        FUZZ_MUST(pool->memory_bytes >= 8 << 20, "memory %llu", (unsigned long long)pool->memory_bytes);
        FUZZ_MUST(pool->queue_count >= 1, "pool %s has no queue", pool->name);
        for (unsigned q = 0; q < pool->queue_count; q++)
            FUZZ_MUST(pool->queues[q].weight >= 1 && pool->queues[q].weight <= 1000, "weight %u",
                      pool->queues[q].weight);
    }
    for (unsigned i = 0; i < config->limit_count; i++)
        FUZZ_MUST(config->limits[i].limit >= 0, "limit %lld", (long long)config->limits[i].limit);
}

/* All rows as text, as a moonq.lua would say them. */
static json_t *rows_of(const struct config *config)
{
    json_t *rows = json_object();
    struct config_row row;
    for (unsigned i = 0; config_row_at(config, i, &row); i++)
        json_object_set_new(rows, row.name, json_string(row.value));
    return rows;
}

static void check_again(struct config *config)
{
    struct config second;
    struct config_row row;
    struct mq_err err;
    json_t *rows = rows_of(config), *again;
    config_init(&second);
    FUZZ_MUST(config_read(&second, rows, NULL, &err) == MQ_OK, "its own text is refused: %s", err.text);
    again = rows_of(&second);
    FUZZ_MUST(json_equal(rows, again), "its own text says something else");
    for (unsigned i = 0; config_row_at(config, i, &row); i++)
        if (row.changeable)
            FUZZ_MUST(config_set(&second, slice_of(row.name), slice_of(row.value), &err) == MQ_OK,
                      "CONFIG SET refuses what CONFIG GET shows: %s", err.text);
    json_decref(again);
    again = rows_of(&second);
    FUZZ_MUST(json_equal(rows, again), "CONFIG SET of what CONFIG GET shows changes it");
    json_decref(rows);
    json_decref(again);
    config_release(&second);
}

static void check_usable(struct config *config)
{
    struct dispatch_settings dispatch = config_dispatch(config);
    struct store_settings store = config_store(config, "");
    struct protocol_settings protocol = config_protocol(config);
    struct mq_err err;
    struct push_order order = dispatch.defaults;
    order.type = SLICE("a");
    FUZZ_MUST(order_check(&order, dispatch.payload_max, &err) == MQ_OK, "every push is refused: %s",
              err.text);
    FUZZ_MUST(store.readers >= 1 && store.dead_keep_ms >= 0 && store.crash_limit >= 1, "store");
    FUZZ_MUST(protocol.pipeline_max >= 1 && protocol.request_max > dispatch.payload_max, "protocol");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size}, text = fuzz_part(&rest, '\0');
    struct slice name = fuzz_part(&rest, ' '), value = fuzz_copy(rest);
    struct mq_err err = {0};
    struct config config;
    json_t *table = json_loadb(text.at, text.len, 0, NULL);
    config_init(&config);
    enum mq_code code = table ? config_read(&config, table, NULL, &err) : MQ_OK;
    FUZZ_MUST(code == MQ_OK || (code == MQ_BADARG && strncmp(err.text, "moonq.lua: ", 11) == 0),
              "refused with %s: %s", mq_code_name(code), err.text);
    if (code == MQ_OK && name.len)
        config_set(&config, name, value, &err);
    if (code == MQ_OK) {
        check_pools(&config);
        check_again(&config);
        check_usable(&config);
    }
    config_release(&config);
    json_decref(table);
    free((void *)value.at);
    return 0;
}
