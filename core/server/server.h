/*
 * server.h - the wiring: one struct that holds the loop, the rooms below and what starts and stops them.
 * Shared by the files of this room only.
 */
#ifndef MOONQ_SERVER_SERVER_H
#define MOONQ_SERVER_SERVER_H

#include <ev.h>
#include "protocol/protocol.h"
#include "runtime/home.h"
#include "server/app.h"
#include "server/config.h"
#include "server/fleet.h"

struct loader; /* reload.c */
struct watchdog;

struct server {
    struct ev_loop *loop;
    struct home home;
    char app_dir[HOME_PATH_BYTES], data_dir[HOME_PATH_BYTES], run_dir[HOME_PATH_BYTES],
        socket_path[HOME_PATH_BYTES], read_socket_path[HOME_PATH_BYTES]; /* the last: empty for none */
    struct config config;
    struct store *store;
    struct dispatch *dispatch;
    struct protocol *protocol;
    struct fleet *fleet;
    struct control control;
    int log_level, log_json; /* from the command line; -1: not given */
    mono_ms started_at;
    int listening_fd, reading_fd; /* of the two sockets; -1 */

    ev_async store_wakes;
    ev_prepare turn_ends; /* after the events of a turn: dispatch, then the store gets its batch */
    ev_timer mono_timer;
    ev_periodic wall_timer; /* follows steps of the clock */
    ev_timer stop_timer;
    ev_timer memory_timer;
    bool memory_full;
    ev_signal on_term, on_int, on_hup;

    struct watchdog *watchdog;
    struct args_child *args_children;            /* functions of schedules.lua that run */
    struct args_request *args_first, *args_last; /* and those that wait for one of these to end */
    unsigned args_running;

    bool recovered, listening, stopping;
    int exit_status;

    struct loader *loader;                /* a RELOAD under way */
    struct control_answer **next_answers; /* those who asked while it was: the files may have changed since */
    unsigned next_count;
    bool reload_again;
};

/* turn.c: the loop's own watchers */
void turn_start(struct server *server);
void turn_stop(struct server *server);

/* listener.c */
enum mq_code listener_open(struct server *server, struct mq_err *err);
void listener_close(struct server *server);

/* recover.c: gives back what an earlier server's workers held, then calls server_recovered */
void recover_start(struct server *server, json_t *app);
void server_recovered(struct server *server);

/* reload.c */
void reload_start(struct server *server, struct control_answer *answer);
void reload_begin_waiting(struct server *server); /* what was asked for meanwhile */
void reload_took_over(struct server *server);
void reload_failed(struct server *server, const char *why);
void reload_stop(struct server *server);

/* args.c: functions of schedules.lua */
void args_make(void *server, struct args_request *request);
void args_stop(struct server *server);

/* stop.c */
void stop_begin(struct server *server, bool now);
void stop_check(struct server *server);

/* control.c */
void control_init(struct server *server);
void server_log_setup(struct server *server);
void server_configure(struct server *server);
#endif
