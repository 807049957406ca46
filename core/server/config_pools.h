/* config_pools.h - the two tables inside moonq.lua: `pools` and `queues`. Used by config.c alone. */
#ifndef MOONQ_SERVER_CONFIG_POOLS_H
#define MOONQ_SERVER_CONFIG_POOLS_H

#include "server/config.h"

void config_default_pool(struct config *config);
void config_free_pools(struct config *config);
/* All that is wrong with a table, and the first of it. */
struct config_faults {
    json_t *texts; /* or NULL */
    enum mq_code code;
    struct mq_err *first;
};
/* Keeps `fault` unless `code` is MQ_OK. */
void config_fault(struct config_faults *faults, enum mq_code code, const struct mq_err *fault);

void config_read_pools(struct config *config, json_t *pools, struct config_faults *faults);
void config_read_queues(struct config *config, json_t *queues, struct config_faults *faults);
/* A whole number, also one that is written 4.0 or 1e6. */
bool config_whole(int64_t *out, json_t *value);
enum mq_code config_parse_size(int64_t *out, struct slice text, struct mq_err *err);
void config_print_pool_docs(void);
#endif
