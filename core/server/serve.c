#include "server/serve.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "runtime/child.h"
#include "server/server.h"
#include "server/memory.h"
#include "server/watchdog.h"

static const char usage[] =
    "usage: moonq serve DIR [options]\n"
    "\n"
    "Serves the application in DIR: keeps its jobs, runs its handlers.\n"
    "\n"
    "  -C, --app DIR       the application's folder, if DIR is not given\n"
    "  --data PATH         where the jobs are kept (default DIR/data)\n"
    "  -s, --socket PATH   where clients connect (default DIR/moonq.sock)\n"
    "  --read-socket PATH  where clients connect that only look: what changes anything is refused there\n"
    "  --log-level LEVEL   debug, info, warn or error (default: moonq.lua's log_level, or info)\n"
    "  --log-format KIND   json or text (default: text on a terminal, json otherwise)\n"
    "  --help              this text\n"
    "\n"
    "SIGTERM and SIGINT stop it gracefully, a second one at once; SIGHUP reloads the application.\n"
    "Exit status: 0 after a stop, 1 if it could not start, 2 for wrong usage.\n";

static int misuse(const char *what, const char *culprit)
{
    fprintf(stderr, "moonq serve: %s%s%s%s\nSee moonq serve --help.\n", what, culprit ? " '" : "",
            culprit ? culprit : "", culprit ? "'" : "");
    return 2;
}

static int cannot_start(const struct mq_err *err)
{
    log_event(LOG_ERROR, "server.cannot_start", LOG_STR("code", mq_code_name(err->code)),
              LOG_STR("message", err->text));
    return 1;
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

/* Its absolute form, though it need not exist yet. */
static bool absolute(char *out, const char *base, const char *path)
{
    char here[HOME_PATH_BYTES];
    if (path[0] == '/')
        return snprintf(out, HOME_PATH_BYTES, "%s", path) < HOME_PATH_BYTES;
    if (!base && !getcwd(here, sizeof here))
        return false;
    return snprintf(out, HOME_PATH_BYTES, "%s/%s", base ? base : here, path) < HOME_PATH_BYTES;
}

static enum mq_code find_application(struct server *server, const char *path, struct mq_err *err)
{
    char file[HOME_PATH_BYTES];
    struct stat found;
    if (!realpath(path, server->app_dir) || stat(server->app_dir, &found) != 0)
        return mq_fail(err, MQ_NOTFOUND,
                       "cannot find the application's folder '%.200s': %s (moonq init makes one)", path,
                       strerror(errno));
    if (!S_ISDIR(found.st_mode))
        return mq_fail(err, MQ_BADARG,
                       "'%.200s' is a file, not an application's folder (moonq init makes one)", path);
    if (snprintf(file, sizeof file, "%s/moonq.lua", server->app_dir) >= (int)sizeof file ||
        access(file, F_OK) != 0)
        return mq_fail(err, MQ_BADARG,
                       "'%.200s' is not an application's folder: it has no moonq.lua "
                       "(moonq init makes one)",
                       path);
    return MQ_OK;
}

/* 0: go on. Otherwise the exit status, plus one. */
static int read_arguments(struct server *server, int argc, char **argv)
{
    static const struct option options[] = {
        {"app", required_argument, NULL, 'C'},
        {"data", required_argument, NULL, 'd'},
        {"socket", required_argument, NULL, 's'},
        {"read-socket", required_argument, NULL, 'r'},
        {"log-level", required_argument, NULL, 'l'},
        {"log-format", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *data = NULL, *socket = NULL, *reading = NULL, *app = NULL;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, ":C:s:", options, NULL)) != -1;) {
        switch (option) {
        case 'C':
            app = optarg;
            break;
        case 'd':
            data = optarg;
            break;
        case 's':
            socket = optarg;
            break;
        case 'r':
            reading = optarg;
            break;
        case 'l':
            server->log_level = log_level_of(slice_of(optarg));
            if (server->log_level < 0)
                return 1 + misuse("--log-level is not debug, info, warn or error:", optarg);
            break;
        case 'f':
            if (strcmp(optarg, "json") != 0 && strcmp(optarg, "text") != 0)
                return 1 + misuse("--log-format is not json or text:", optarg);
            server->log_json = strcmp(optarg, "json") == 0;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1 + 0;
        case ':':
            return 1 + misuse("a value is missing for", argv[optind - 1]);
        default:
            return 1 + misuse("unknown option", argv[optind - 1]);
        }
    }
    if (!app && optind < argc)
        app = argv[optind++];
    if (!app)
        return 1 + misuse("which application? Name its folder (moonq init makes one)", NULL);
    if (optind < argc)
        return 1 + misuse("one folder is enough; what is", argv[optind]);
    struct mq_err err;
    if (find_application(server, app, &err) != MQ_OK)
        return 1 + cannot_start(&err);
    if (!absolute(server->data_dir, data ? NULL : server->app_dir, data ? data : "data") ||
        !absolute(server->socket_path, socket ? NULL : server->app_dir, socket ? socket : "moonq.sock") ||
        (reading && !absolute(server->read_socket_path, NULL, reading)))
        return 1 + misuse("a path is too long", NULL);
    return 0;
}

/* ---- signals -------------------------------------------------------------------------------------------------------- */

static void on_stop_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    stop_begin(watcher->data, false);
}

static void on_reload_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct server *server = watcher->data;
    (void)loop;
    (void)events;
    if (!server->stopping)
        reload_start(server, NULL);
}

static void signals_start(struct server *server)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of the write, not our death */
    ev_signal_init(&server->on_term, on_stop_signal, SIGTERM);
    ev_signal_init(&server->on_int, on_stop_signal, SIGINT);
    ev_signal_init(&server->on_hup, on_reload_signal, SIGHUP);
    server->on_term.data = server->on_int.data = server->on_hup.data = server;
    ev_signal_start(server->loop, &server->on_term);
    ev_signal_start(server->loop, &server->on_int);
    ev_signal_start(server->loop, &server->on_hup);
}

/* ---- start ------------------------------------------------------------------------------------------------------------ */

/* Clients, workers and files each take a descriptor: as many as we may have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static enum mq_code read_application(struct server *server, json_t **app, struct mq_err *err)
{
    char *text = child_describe(server->app_dir);
    *app = json_loads(text, READY_FLAGS, NULL);
    free(text);
    if (!*app)
        return mq_fail(err, MQ_INTERNAL, "the application's description cannot be read");
    enum mq_code code = app_check(*app, err);
    if (code == MQ_OK)
        code = config_read(&server->config, json_object_get(*app, "config"), NULL, err);
    if (code == MQ_OK)
        app_warn_pools(*app, &server->config);
    return code;
}

/* What runs, and the jobs themselves: whoever may write there may do as he likes with both. */
static void warn_of_others(const char *dir)
{
    struct stat found;
    if (stat(dir, &found) == 0 && (found.st_mode & (S_IWGRP | S_IWOTH)))
        log_event(
            LOG_WARN, "data.writable_by_others", LOG_STR("data", dir),
            LOG_STR("next",
                    "let nobody else write there: chmod 0700 the folder, or choose another with --data"));
}

/* Private, and no link that leads elsewhere: the server maps and removes files in it. */
static enum mq_code open_run_folder(struct server *server, struct mq_err *err)
{
    const char *dir = server->run_dir;
    struct stat found;
    snprintf(server->run_dir, sizeof server->run_dir, "%.4000s/run", server->data_dir);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return mq_fail(err, MQ_NOPERM, "cannot make '%.200s': %s", dir, strerror(errno));
    if (lstat(dir, &found) != 0 || !S_ISDIR(found.st_mode))
        return mq_fail(err, MQ_NOPERM,
                       "'%.200s' is a link or a file, not a folder: remove it (the server makes it "
                       "anew), or choose another data folder with --data",
                       dir);
    if ((found.st_mode & 07777) != 0700 && chmod(dir, 0700) != 0)
        return mq_fail(err, MQ_NOPERM, "cannot make '%.200s' private: %s (is it another user's? remove it)",
                       dir, strerror(errno));
    return MQ_OK;
}

/* Loudly: what is promised elsewhere is not promised here. */
static void warn_of_relaxed(const struct server *server)
{
    char text[DURATION_TEXT_BYTES], message[300];
    if (!server->config.sync)
        return;
    snprintf(message, sizeof message,
             "sync = relaxed: at a power cut, or a crash of the system, changes that were confirmed in the "
             "last %s may be "
             "lost (pushes, acknowledgements, cancels); the store itself stays sound",
             duration_format(text, server->config.relaxed_for));
    log_event(LOG_WARN, "store.relaxed", LOG_STR("message", message));
}

static enum mq_code open_store(struct server *server, struct mq_err *err)
{
    struct store_settings settings = config_store(&server->config, server->data_dir);
    enum mq_code code = store_open(&server->store, &settings, err);
    if (code != MQ_OK)
        return code;
    warn_of_others(server->data_dir);
    warn_of_relaxed(server);
    return open_run_folder(server, err);
}

static void wake_loop(void *owner)
{
    struct server *server = owner;
    ev_async_send(server->loop, &server->store_wakes);
}

static void on_took_over(void *owner);

static void on_workers_failed(void *owner, const char *text)
{
    struct server *server = owner;
    if (server->loader) {
        reload_failed(server, text);
        return;
    }
    log_event(LOG_ERROR, "server.cannot_start", LOG_STR("code", "SCRIPT"), LOG_STR("message", text));
    server->exit_status = 1;
    stop_begin(server, true);
}

static void assemble(struct server *server, json_t *app)
{
    struct fleet_events events = {.owner = server, .took_over = on_took_over, .failed = on_workers_failed};
    struct dispatch_settings dispatch = config_dispatch(&server->config);
    struct protocol_settings protocol = config_protocol(&server->config);
    server->fleet = fleet_new(server->loop, &server->home, server->app_dir, server->run_dir, &events);
    struct dispatch_host host = fleet_host(server->fleet);
    server->dispatch = dispatch_new(server->store, &host, &dispatch);
    fleet_attach(server->fleet, server->dispatch);
    control_init(server);
    server->protocol =
        protocol_new(server->loop, server->dispatch, server->store, &server->control, &protocol);
    struct store_listener listener = dispatch_store_listener(server->dispatch);
    turn_start(server);
    server->watchdog = watchdog_start(server);
    memory_start(server);
    store_attach(server->store, &listener, wake_loop, server);
    dispatch_set_pools(server->dispatch, server->config.pools, server->config.pool_count);
    app_set_types(server->dispatch, app);
    dispatch_set_args_maker(server->dispatch, args_make, server);
    dispatch_set_schedules(server->dispatch, json_object_get(app, "schedules"));
}

void server_recovered(struct server *server)
{
    server->recovered = true;
    app_set_limits(server->dispatch, &server->config);
    if (server->stopping)
        return;
    dispatch_start_schedules(server->dispatch, clock_wall());
    fleet_start(server->fleet, &server->config);
}

/*
 * Clients are let in when there is somebody to do the work, and the schedules are what the file says: until then they wait
 * in the socket's backlog.
 */
static void open_doors(void *owner)
{
    struct server *server = owner;
    if (server->stopping)
        return;
    protocol_listen(server->protocol, server->listening_fd);
    if (server->reading_fd >= 0)
        protocol_listen_for_readers(server->protocol, server->reading_fd);
    server->listening = true;
    log_event(LOG_INFO, "server.ready", LOG_STR("version", MOONQ_VERSION), LOG_INT("pid", getpid()),
              LOG_STR("socket", server->socket_path), LOG_STR("data", server->data_dir),
              LOG_STR("application", server->app_dir));
    reload_begin_waiting(server);
}

static void on_took_over(void *owner)
{
    struct server *server = owner;
    if (server->loader)
        reload_took_over(server);
    else
        dispatch_await_schedules(server->dispatch, open_doors, server);
}

static void take_down(struct server *server)
{
    listener_close(server);
    memory_stop(server);
    watchdog_stop(server->watchdog);
    server->watchdog = NULL;
    store_close(server->store); /* first: what is on its way is answered when it is on disk */
    protocol_free(server->protocol);
    turn_stop(server);
    fleet_free(server->fleet);
    dispatch_free(server->dispatch);
    config_release(&server->config);
    log_event(LOG_INFO, "server.stopped", LOG_INT("pid", getpid()));
}

static enum mq_code start(struct server *server, struct mq_err *err)
{
    json_t *app = NULL;
    enum mq_code code = home_find(&server->home, err);
    if (code == MQ_OK)
        code = read_application(server, &app, err);
    if (code == MQ_OK) {
        server_log_setup(server);
        code = open_store(server, err);
    }
    if (code == MQ_OK)
        code = listener_open(server, err);
    if (code == MQ_OK) {
        assemble(server, app);
        signals_start(server);
        recover_start(server, app);
    }
    json_decref(app);
    return code;
}

int serve_main(int argc, char **argv)
{
    static struct server server; /* static: it is large, and there is one */
    struct mq_err err;
    server.log_level = server.log_json = server.listening_fd = server.reading_fd = -1;
    server.started_at = clock_mono();
    config_init(&server.config);
    server_log_setup(&server);
    int stop = read_arguments(&server, argc, argv);
    if (stop)
        return stop - 1;
    server_log_setup(&server);
    raise_descriptor_limit();
    server.loop = ev_default_loop(EVFLAG_AUTO);
    if (start(&server, &err) != MQ_OK)
        return cannot_start(&err);
    ev_run(server.loop, 0);
    take_down(&server);
    return server.exit_status;
}
