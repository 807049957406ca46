#include "server/server.h"

#include <signal.h>
#include <stdlib.h>

#include "base/log.h"
#include "runtime/child.h"
#include "runtime/frame.h"
#include "server/child.h"
#include "server/unpark.h"

#define LOAD_PATIENCE_S 30.0

/* A RELOAD under way: first a loader that reads the application, then the new workers. */
struct loader {
    struct server *server;
    struct child *child; /* NULL once it has answered and ended */
    struct control_answer **answers;
    unsigned answer_count;
    struct buf out;
    ev_timer patience;
    json_t *app;          /* what it answered; NULL before */
    struct config config; /* what will be in force; `next` */
    bool starting;        /* the new workers are on their way */
    char fixed[200];      /* names of settings that only a restart changes */
};

static void loader_free(struct loader *loader)
{
    ev_timer_stop(loader->server->loop, &loader->patience);
    buf_release(&loader->out);
    json_decref(loader->app);
    config_release(&loader->config);
    free(loader->answers);
    free(loader);
}

static void answer_all(struct server *server, enum mq_code code, const char *text)
{
    struct loader *loader = server->loader;
    server->loader = NULL;
    dispatch_emit(server->dispatch, &(struct event){.name = code == MQ_OK ? "reload.done" : "reload.failed",
                                                    .at = clock_wall(),
                                                    .message = slice_of(text),
                                                    .fraction = -1});
    log_event(code == MQ_OK ? LOG_INFO : LOG_ERROR, code == MQ_OK ? "reload.done" : "reload.failed",
              LOG_STR("message", text));
    for (unsigned i = 0; i < loader->answer_count; i++)
        loader->answers[i]->done(loader->answers[i], code, text);
    loader_free(loader);
    if (!server->stopping) {
        reload_begin_waiting(server);
        return;
    }
    for (unsigned i = 0; i < server->next_count; i++)
        server->next_answers[i]->done(server->next_answers[i], MQ_BUSY, "the server is stopping");
    free(server->next_answers);
    server->next_answers = NULL;
    server->next_count = 0;
}

/* ---- the new workers ----------------------------------------------------------------------------------------------- */

/* What is broken in schedules.lua keeps nothing from being loaded, so the answer is the place to say it. */
static void sum_up(struct server *server, struct buf *text)
{
    struct dispatch_stats stats;
    size_t handlers = json_object_size(json_object_get(server->loader->app, "handlers"));
    dispatch_stats(server->dispatch, &stats);
    buf_printf(text, "%zu handler%s loaded", handlers, handlers == 1 ? "" : "s");
    if (stats.schedule_changes[0])
        buf_printf(text, "; schedules: %s", stats.schedule_changes);
    if (stats.schedule_changes_untold)
        buf_printf(text, " and %u more", stats.schedule_changes_untold);
    if (*server->loader->fixed)
        buf_printf(text, "; a restart is needed for %s", server->loader->fixed);
    if (stats.schedules_broken)
        buf_printf(text, "; %u of %u schedules broken (moonq check says why)", stats.schedules_broken,
                   stats.schedules);
    buf_u8(text, 0);
}

static void schedules_settled(void *owner)
{
    struct server *server = owner;
    struct buf text = BUF_INIT;
    if (!server->loader) /* the server stops, and has answered */
        return;
    sum_up(server, &text);
    answer_all(server, MQ_OK, buf_bytes(&text).at);
    buf_release(&text);
}

void reload_took_over(struct server *server)
{
    struct loader *loader = server->loader;
    app_set_types(server->dispatch, loader->app);
    struct config old = server->config;
    if (config_keep_fixed(&loader->config, &old, loader->fixed, sizeof loader->fixed))
        log_event(LOG_WARN, "config.needs_restart", LOG_STR("settings", loader->fixed));
    server->config = loader->config;
    loader->config = old;
    server_configure(server);
    app_set_limits(server->dispatch, &server->config);
    dispatch_set_schedules(server->dispatch, json_object_get(loader->app, "schedules"));
    unpark_start(unpark_new(server, loader->app), NULL); /* jobs that waited for a handler get another look */
    dispatch_await_schedules(server->dispatch, schedules_settled, server);
}

void reload_failed(struct server *server, const char *why)
{
    dispatch_set_pools(server->dispatch, server->config.pools, server->config.pool_count);
    fleet_configure(server->fleet, &server->config);
    if (server->loader)
        answer_all(server, MQ_SCRIPT, why);
}

static void try_new_workers(struct server *server)
{
    struct loader *loader = server->loader;
    struct mq_err err;
    config_init(&loader->config);
    enum mq_code code = app_check(loader->app, &err);
    if (code == MQ_OK)
        code = config_read(&loader->config, json_object_get(loader->app, "config"), NULL, &err);
    if (code != MQ_OK) {
        answer_all(server, code, err.text);
        return;
    }
    app_warn_pools(loader->app, &loader->config);
    loader->starting = true;
    dispatch_set_pools(server->dispatch, loader->config.pools, loader->config.pool_count);
    fleet_start(server->fleet, &loader->config);
}

/* ---- the loader ------------------------------------------------------------------------------------------------------ */

static enum mq_code on_input(void *owner, struct child *child, struct slice bytes, size_t *used,
                             struct mq_err *err)
{
    struct loader *loader = owner;
    struct frame frame;
    (void)child;
    enum mq_code code = frame_read(&frame, bytes, used, err);
    if (code == MQ_OK && *used && frame.kind == FRAME_READY && !loader->app)
        loader->app = json_loadb(frame.json.at, frame.json.len, READY_FLAGS, NULL);
    else if (code == MQ_OK && *used && frame.kind == FRAME_LOG)
        log_event(LOG_WARN, "loader.log", LOG_SLICE("message", frame.log.text));
    return code;
}

static void on_exited(void *owner, struct child *child, const char *how, bool clean)
{
    struct loader *loader = owner;
    struct server *server = loader->server;
    char text[128];
    (void)clean;
    child_free(child);
    loader->child = NULL;
    ev_timer_stop(server->loop, &loader->patience);
    if (server->stopping) {
        answer_all(server, MQ_BUSY, "the server is stopping");
    } else if (loader->app) {
        try_new_workers(server);
    } else {
        snprintf(text, sizeof text, "the application could not be loaded: its loader ended with %s", how);
        answer_all(server, MQ_SCRIPT, text);
    }
}

static void on_patience_over(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct loader *loader = timer->data;
    (void)loop;
    (void)events;
    if (loader->child)
        child_signal(loader->child, SIGKILL);
}

static void add_setup(struct loader *loader)
{
    struct server *server = loader->server;
    json_t *setup = json_pack("{s:s,s:s,s:s,s:s,s:s,s:I}", "role", "loader", "name", "loader", "app",
                              server->app_dir, "stdlib", server->home.stdlib, "scripts", server->home.scripts,
                              "memory_bytes", (json_int_t)256 << 20);
    char *text = json_dumps(setup, JSON_COMPACT);
    frame_add_json(&loader->out, FRAME_SETUP, slice_of(text));
    free(text);
    json_decref(setup);
}

static void loader_start(struct server *server)
{
    struct mq_err err;
    struct loader *loader = server->loader;
    struct child_plan plan = {.binary = server->home.binary, .role = "loader", .page_fd = -1};
    struct child_events events = {.owner = loader, .input = on_input, .exited = on_exited};
    if (child_start(&loader->child, server->loop, &plan, &events, &err) != MQ_OK) {
        answer_all(server, err.code, err.text);
        return;
    }
    add_setup(loader);
    child_write(loader->child, &loader->out);
    ev_timer_start(server->loop, &loader->patience);
}

static void reload_next(struct server *server)
{
    server->loader = mq_calloc(1, sizeof *server->loader);
    server->loader->server = server;
    server->loader->answers = server->next_answers;
    server->loader->answer_count = server->next_count;
    server->next_answers = NULL;
    server->next_count = 0;
    server->reload_again = false;
    ev_timer_init(&server->loader->patience, on_patience_over, LOAD_PATIENCE_S, 0.);
    server->loader->patience.data = server->loader;
    loader_start(server);
}

void reload_start(struct server *server, struct control_answer *answer)
{
    if (answer) {
        server->next_answers = mq_realloc(server->next_answers, (server->next_count + 1) * sizeof(void *));
        server->next_answers[server->next_count++] = answer;
    }
    server->reload_again = true;
    if (!server->loader && server->listening)
        reload_next(server);
}

void reload_begin_waiting(struct server *server)
{
    if (server->reload_again && !server->loader && !server->stopping)
        reload_next(server);
}

void reload_stop(struct server *server)
{
    if (!server->loader)
        return;
    if (server->loader->child)
        child_signal(server->loader->child, SIGKILL); /* on_exited answers */
    else
        answer_all(server, MQ_BUSY, "the server is stopping");
}
