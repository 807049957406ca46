#include "server/server.h"

#include "base/log.h"

/* A stop: nothing new is handed out; what runs may finish for a while; then it is given back. */

static void on_patience_over(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct server *server = timer->data;
    (void)loop;
    (void)events;
    if (fleet_count(server->fleet))
        log_event(LOG_WARN, "server.gives_back", LOG_INT("workers", fleet_count(server->fleet)));
    fleet_abandon(server->fleet);
}

void stop_begin(struct server *server, bool now)
{
    bool again = server->stopping;
    if (!again) {
        log_event(LOG_INFO, "server.stopping", LOG_INT("workers", fleet_count(server->fleet)));
        server->stopping = true;
        dispatch_stop(server->dispatch);
        reload_stop(server);
        args_stop(server);
        fleet_stop(server->fleet);
    }
    double patience = now || again ? 0. : (double)server->config.stop_grace / 1000.;
    ev_timer_stop(server->loop, &server->stop_timer);
    ev_timer_init(&server->stop_timer, on_patience_over, patience, 0.);
    server->stop_timer.data = server;
    ev_timer_start(server->loop, &server->stop_timer);
}

void stop_check(struct server *server)
{
    if (server->stopping && fleet_count(server->fleet) == 0 && !server->loader && !server->args_children)
        ev_break(server->loop, EVBREAK_ALL); /* store_close waits for what is still on its way to the disk */
}
