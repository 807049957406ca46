#include "server/server.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "server/memory.h"
#include "server/watchdog.h"

static void on_reload(void *owner, struct control_answer *answer)
{
    struct server *server = owner;
    if (server->stopping)
        answer->done(answer, MQ_BUSY, "the server is stopping");
    else
        reload_start(server, answer);
}

static void on_shutdown(void *owner, bool now)
{
    stop_begin(owner, now);
}

static bool on_config_row(void *owner, unsigned index, struct config_row *out)
{
    const struct server *server = owner;
    return config_row_at(&server->config, index, out);
}

void server_log_setup(struct server *server)
{
    bool json = server->log_json >= 0 ? server->log_json : !isatty(STDERR_FILENO);
    int level = server->log_level >= 0 ? server->log_level : (int)server->config.log_level;
    log_setup((enum log_level)level, json);
}

void server_configure(struct server *server)
{
    struct dispatch_settings dispatch = config_dispatch(&server->config);
    struct store_settings store = config_store(&server->config, server->data_dir);
    struct protocol_settings protocol = config_protocol(&server->config);
    server_log_setup(server);
    dispatch_configure(server->dispatch, &dispatch);
    store_configure(server->store, &store);
    protocol_configure(server->protocol, &protocol);
    fleet_configure(server->fleet, &server->config);
}

static enum mq_code on_config_set(void *owner, struct slice name, struct slice value, struct mq_err *err)
{
    struct server *server = owner;
    enum mq_code code = config_set(&server->config, name, value, err);
    if (code != MQ_OK)
        return code;
    if (slice_is_word(name, "log_level"))
        server->log_level = -1; /* the newest word counts */
    server_configure(server);
    log_event(LOG_INFO, "config.set", LOG_SLICE("name", name), LOG_SLICE("value", value));
    return MQ_OK;
}

static void on_figures(void *owner, struct server_figures *out)
{
    const struct server *server = owner;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    *out = (struct server_figures){
        .version = MOONQ_VERSION,
        .app_dir = server->app_dir,
        .data_dir = server->data_dir,
        .socket_path = server->socket_path,
        .pid = getpid(),
        .uptime_ms = clock_mono() - server->started_at,
        .rss_bytes = memory_resident_bytes(),
        .relaxed_ms = server->config.sync ? server->config.relaxed_for : 0,
        .memory_bytes = memory_own_bytes(),
        .max_memory = (uint64_t)server->config.max_memory,
        .cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
                  (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
        .connections_max = (unsigned)server->config.connections_max,
    };
}

static unsigned on_pulses(void *owner, struct pulse *list)
{
    return watchdog_pulses(owner, list);
}

void control_init(struct server *server)
{
    server->control = (struct control){
        .owner = server,
        .reload = on_reload,
        .shutdown = on_shutdown,
        .config_row = on_config_row,
        .config_set = on_config_set,
        .figures = on_figures,
        .pulses = on_pulses,
    };
}
