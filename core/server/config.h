/*
 * config.h - the configuration: one table of settings, and pools and queues beside it.
 *
 * It comes from moonq.lua (as JSON, from a child: no Lua runs in the server) and from CONFIG SET. A row of the
 * table is a name, a kind, a default, a range and a sentence; docs/configuration.md is printed from it.
 */
#ifndef MOONQ_SERVER_CONFIG_H
#define MOONQ_SERVER_CONFIG_H

#include <jansson.h>
#include "dispatch/dispatch.h"
#include "protocol/control.h"

/* Durations in milliseconds, sizes in bytes. */
struct config {
    int64_t payload_max, result_max;
    int64_t queue_limit;
    int64_t attempts, timeout, lease, keep, dead_keep, crash_limit;
    int64_t keep_max, keep_bytes, dead_max, dead_bytes;
    int64_t start_within, cancel_grace, timeout_grace, silence_max, stop_grace, idle_alarm;
    int64_t connections_max, output_pause, output_max, output_patience, half_sent, pipeline_max, max_memory;
    int64_t sync, relaxed_for;
    int64_t map_size, disk_reserve, snapshot_max, readers;
    int64_t log_level, log_line_max, socket_mode, read_socket_mode;
    struct pool_settings *pools;
    unsigned pool_count;
    struct queue_limit {
        char *queue;
        int64_t limit;
    } * limits;
    unsigned limit_count;
};

/* The defaults: one pool, "default", that serves every queue. */
void config_init(struct config *config);
void config_release(struct config *config);

/*
 * Reads what moonq.lua returned. BADARG: "moonq.lua: unknown setting 'poools' (did you mean 'pools'?)". `faults` is NULL,
 * or an array to which the text of every fault is added, where `err` has the first.
 */
enum mq_code config_read(struct config *config, json_t *table, json_t *faults, struct mq_err *err);

/* One setting from text, as CONFIG SET has it. NOTFOUND, BADARG; WRONGSTATE if it needs a restart. */
enum mq_code config_set(struct config *config, struct slice name, struct slice value, struct mq_err *err);
/*
 * What only a start can change stays in `next` as it is in `now`; the names of those that would differ, separated by
 * commas, and how many.
 */
unsigned config_keep_fixed(struct config *next, const struct config *now, char *names, size_t size);
bool config_row_at(const struct config *config, unsigned index, struct config_row *out);

/* What the rooms below take from it. */
struct dispatch_settings config_dispatch(const struct config *config);
struct store_settings config_store(const struct config *config, const char *dir);
struct protocol_settings config_protocol(const struct config *config);

/* docs/configuration.md on stdout. */
void config_print_docs(void);
#endif
