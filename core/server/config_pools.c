#include "server/config_pools.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "job/name.h"

#define POOL_WORKERS_DEFAULT 2
#define POOL_SLOTS_DEFAULT   100
#define POOL_MEMORY_DEFAULT  (256LL << 20)
#define POOL_WORKERS_MAX     256
#define POOL_JOBS_MAX        1000000000
#define WEIGHT_MAX           1000
#define WHOLE_MAX            9007199254740992.0 /* 2^53: up to there Lua counts in ones */

static void pool_init(struct pool_settings *pool, const char *name)
{
    *pool = (struct pool_settings){
        .name = mq_strdup(name),
        .workers = POOL_WORKERS_DEFAULT,
        .slots = POOL_SLOTS_DEFAULT,
        .memory_bytes = POOL_MEMORY_DEFAULT,
        .order = POOL_WEIGHTED,
    };
}

static void pool_add_queue(struct pool_settings *pool, const char *name, unsigned weight)
{
    pool->queues = mq_realloc(pool->queues, (pool->queue_count + 1) * sizeof *pool->queues);
    pool->queues[pool->queue_count++] = (struct pool_queue){mq_strdup(name), weight};
}

static void pool_release(struct pool_settings *pool)
{
    for (unsigned i = 0; i < pool->queue_count; i++)
        free(pool->queues[i].name);
    free(pool->queues);
    free(pool->name);
}

void config_free_pools(struct config *config)
{
    for (unsigned i = 0; i < config->pool_count; i++)
        pool_release(&config->pools[i]);
    free(config->pools);
    for (unsigned i = 0; i < config->limit_count; i++)
        free(config->limits[i].queue);
    free(config->limits);
    config->pools = NULL;
    config->limits = NULL;
    config->pool_count = config->limit_count = 0;
}

void config_default_pool(struct config *config)
{
    config->pools = mq_calloc(1, sizeof *config->pools);
    config->pool_count = 1;
    pool_init(&config->pools[0], "default");
    pool_add_queue(&config->pools[0], "*", 1);
}

/* ---- one pool ----------------------------------------------------------------------------------------------------- */

bool config_whole(int64_t *out, json_t *value)
{
    double real = json_number_value(value);
    if (!json_is_number(value))
        return false;
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    if (!(real >= -WHOLE_MAX && real <= WHOLE_MAX) || real != (double)(int64_t)real)
        return false;
    *out = (int64_t)real;
    return true;
}

static enum mq_code read_whole(unsigned *out, const char *pool, const char *key, json_t *value,
                               unsigned least, unsigned most, struct mq_err *err)
{
    int64_t number;
    if (!config_whole(&number, value) || number < (int64_t)least || number > (int64_t)most)
        return mq_fail(err, MQ_BADARG, "moonq.lua: pools.%s.%s is not a whole number from %u to %u", pool,
                       key, least, most);
    *out = (unsigned)number;
    return MQ_OK;
}

static enum mq_code read_queue(struct pool_settings *pool, const char *name, json_t *weight,
                               struct mq_err *err)
{
    struct mq_err why;
    unsigned number = 1;
    if (strcmp(name, "*") != 0 && name_check("queue", slice_of(name), &why) != MQ_OK)
        return mq_fail(err, MQ_BADARG, "moonq.lua: pools.%s.queues: %.200s", pool->name, why.text);
    for (unsigned i = 0; i < pool->queue_count; i++)
        if (strcmp(pool->queues[i].name, name) == 0)
            return mq_fail(err, MQ_BADARG, "moonq.lua: pools.%s.queues names '%s' twice", pool->name, name);
    if (weight) {
        enum mq_code code = read_whole(&number, pool->name, name, weight, 1, WEIGHT_MAX, err);
        if (code != MQ_OK)
            return code;
    }
    pool_add_queue(pool, name, number);
    return MQ_OK;
}

static enum mq_code read_pool_queues(struct pool_settings *pool, json_t *queues, struct mq_err *err)
{
    enum mq_code code = MQ_OK;
    const char *name;
    size_t i;
    json_t *value;
    if (json_is_array(queues)) {
        json_array_foreach(queues, i, value)
        {
            if (!json_is_string(value))
                return mq_fail(err, MQ_BADARG, "moonq.lua: pools.%s.queues[%zu] is not a queue's name",
                               pool->name, i + 1);
            code = read_queue(pool, json_string_value(value), NULL, err);
            if (code != MQ_OK)
                return code;
        }
    } else if (json_is_object(queues)) {
        json_object_foreach(queues, name, value)
        {
            code = read_queue(pool, name, value, err);
            if (code != MQ_OK)
                return code;
        }
    }
    if (pool->queue_count == 0)
        return mq_fail(err, MQ_BADARG,
                       "moonq.lua: pools.%s.queues names no queue (write {\"mail\", \"default\"} or {mail = "
                       "3, [\"*\"] = 1})",
                       pool->name);
    return MQ_OK;
}

static enum mq_code read_pool_key(struct pool_settings *pool, const char *key, json_t *value,
                                  struct mq_err *err)
{
    struct mq_err why;
    int64_t bytes = 0;
    if (strcmp(key, "workers") == 0)
        return read_whole(&pool->workers, pool->name, key, value, 0, POOL_WORKERS_MAX, err);
    if (strcmp(key, "concurrency") == 0)
        return read_whole(&pool->slots, pool->name, key, value, 1, WORKER_SLOTS_MAX, err);
    if (strcmp(key, "jobs") == 0)
        return read_whole(&pool->jobs_max, pool->name, key, value, 0, POOL_JOBS_MAX, err);
    if (strcmp(key, "queues") == 0)
        return read_pool_queues(pool, value, err);
    if (strcmp(key, "order") == 0) {
        const char *order = json_is_string(value) ? json_string_value(value) : "";
        if (strcmp(order, "strict") != 0 && strcmp(order, "weighted") != 0)
            return mq_fail(err, MQ_BADARG, "moonq.lua: pools.%s.order is neither \"weighted\" nor \"strict\"",
                           pool->name);
        pool->order = strcmp(order, "strict") == 0 ? POOL_STRICT : POOL_WEIGHTED;
        return MQ_OK;
    }
    if (strcmp(key, "memory") == 0) {
        if (json_is_integer(value))
            bytes = json_integer_value(value);
        else if (!json_is_string(value) ||
                 config_parse_size(&bytes, slice_of(json_string_value(value)), &why) != MQ_OK)
            bytes = -1;
        if (bytes < 8 << 20)
            return mq_fail(err, MQ_BADARG, "moonq.lua: pools.%s.memory is not a size of at least 8MiB",
                           pool->name);
        pool->memory_bytes = (uint64_t)bytes;
        return MQ_OK;
    }
    return mq_fail(err, MQ_BADARG,
                   "moonq.lua: unknown setting 'pools.%s.%.64s' (there are workers, concurrency, queues, "
                   "order, memory, jobs)",
                   pool->name, key);
}

static void read_pool(struct pool_settings *pool, json_t *table, struct config_faults *faults)
{
    const char *key;
    json_t *value;
    struct mq_err fault;
    bool empty_list = json_is_array(table) && json_array_size(table) == 0; /* Lua's {} */
    if (!json_is_object(table) && !empty_list)
        config_fault(faults, mq_fail(&fault, MQ_BADARG, "moonq.lua: pools.%s is not a table", pool->name),
                     &fault);
    json_object_foreach(table, key, value)
        config_fault(faults, read_pool_key(pool, key, value, &fault), &fault);
    if (pool->order == POOL_STRICT && json_is_object(json_object_get(table, "queues")))
        config_fault(faults,
                     mq_fail(&fault, MQ_BADARG,
                             "moonq.lua: pools.%s is strict, so its queues need an order: write {\"first\", "
                             "\"second\"}",
                             pool->name),
                     &fault);
    if (pool->queue_count == 0)
        pool_add_queue(pool, "*", 1);
}

void config_read_pools(struct config *config, json_t *pools, struct config_faults *faults)
{
    const char *name;
    json_t *table;
    struct mq_err why, fault;
    if (!json_is_object(pools)) {
        config_fault(
            faults,
            mq_fail(&fault, MQ_BADARG,
                    "moonq.lua: pools is not a table of pools by name (write { default = { workers = 2 } })"),
            &fault);
        return;
    }
    for (unsigned i = 0; i < config->pool_count; i++)
        pool_release(&config->pools[i]);
    free(config->pools);
    config->pool_count = 0;
    config->pools = mq_calloc(json_object_size(pools), sizeof *config->pools);
    json_object_foreach(pools, name, table)
    {
        if (name_check("pool", slice_of(name), &why) != MQ_OK)
            config_fault(faults, mq_fail(&fault, MQ_BADARG, "moonq.lua: pools: %.200s", why.text), &fault);
        pool_init(&config->pools[config->pool_count++], name);
        read_pool(&config->pools[config->pool_count - 1], table, faults);
    }
}

/* ---- queues --------------------------------------------------------------------------------------------------------- */

static enum mq_code read_limit(struct config *config, const char *name, const char *key, json_t *value,
                               struct mq_err *err)
{
    int64_t limit;
    if (strcmp(key, "limit") != 0)
        return mq_fail(err, MQ_BADARG, "moonq.lua: unknown setting 'queues.%s.%.64s' (there is limit)", name,
                       key);
    if (!config_whole(&limit, value) || limit < 0)
        return mq_fail(err, MQ_BADARG, "moonq.lua: queues.%s.limit is not a whole number, 0 or more", name);
    config->limits[config->limit_count++] = (struct queue_limit){mq_strdup(name), limit};
    return MQ_OK;
}

static enum mq_code check_queue(const char *name, json_t *table, struct mq_err *err)
{
    struct mq_err why;
    if (name_check("queue", slice_of(name), &why) != MQ_OK)
        return mq_fail(err, MQ_BADARG, "moonq.lua: queues: %.200s", why.text);
    if (!json_is_object(table) && !(json_is_array(table) && json_array_size(table) == 0))
        return mq_fail(err, MQ_BADARG, "moonq.lua: queues.%s is not a table (write {limit = 1000})", name);
    return MQ_OK;
}

void config_read_queues(struct config *config, json_t *queues, struct config_faults *faults)
{
    const char *name, *key;
    json_t *table, *value;
    struct mq_err fault;
    if (!json_is_object(queues)) {
        config_fault(
            faults,
            mq_fail(&fault, MQ_BADARG,
                    "moonq.lua: queues is not a table of queues by name (write { mail = { limit = 1000 } })"),
            &fault);
        return;
    }
    config->limits = mq_calloc(json_object_size(queues), sizeof *config->limits);
    json_object_foreach(queues, name, table)
    {
        config_fault(faults, check_queue(name, table, &fault), &fault);
        json_object_foreach(table, key, value)
            config_fault(faults, read_limit(config, name, key, value, &fault), &fault);
    }
}

void config_print_pool_docs(void)
{
    puts(
        "\n## pools\n\n    pools = {\n      default = { workers = 2, concurrency = 100, memory = "
        "\"256MiB\",\n"
        "                  queues = { mail = 3, [\"*\"] = 1 }, order = \"weighted\" },\n"
        "      reports = { workers = 1, concurrency = 4, queues = { \"urgent\", \"reports\" }, order = "
        "\"strict\" },\n    }\n\n"
        "A pool is a number of worker processes, each of which runs up to `concurrency` jobs at once. "
        "`queues` names "
        "what it serves: a list, or names with weights; `\"*\"` is every queue that no pool names. "
        "`weighted` "
        "gives each queue its share of the free places, by weight, and takes turns where there are fewer "
        "places than "
        "queues; of what it takes at once the most urgent and oldest jobs go first, whatever their queues. "
        "`strict` "
        "empties the first before it looks at the second. `memory` limits "
        "one worker's "
        "Lua. A worker whose Lua holds seven eighths of it after a full collection, or that has run about "
        "`jobs` jobs (0, the default: any number), finishes what it has and is replaced by a fresh one: what "
        "leaks, leaks no further. Without `pools` there is one, `default`, that serves every queue.\n\n## "
        "queues\n\n"
        "    queues = { mail = { limit = 100000 } }\n\n`limit`: waiting jobs that the queue may hold; a "
        "push to a full "
        "queue gets FULL.");
}
