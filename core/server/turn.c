#include "server/server.h"

#include "server/watchdog.h"

/* One turn of the loop: libev runs what is ready, then this. */

static void arm(struct server *server, struct dispatch_wake wake, mono_ms now)
{
    ev_timer_stop(server->loop, &server->mono_timer);
    if (wake.mono != MONO_NEVER) {
        double after = wake.mono > now ? (double)(wake.mono - now) / 1000.0 : 0.0;
        ev_now_update(server->loop);
        ev_timer_set(&server->mono_timer, after, 0.);
        ev_timer_start(server->loop, &server->mono_timer);
    }
    ev_periodic_stop(server->loop, &server->wall_timer);
    if (wake.wall != WALL_NEVER) {
        ev_periodic_set(&server->wall_timer, (double)wake.wall / 1000.0, 0., NULL);
        ev_periodic_start(server->loop, &server->wall_timer);
    }
}

static void on_turn_end(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct server *server = watcher->data;
    (void)loop;
    (void)events;
    if (!server->recovered) {
        watchdog_turned(server->watchdog, clock_mono());
        store_flush(server->store);
        return;
    }
    mono_ms now = clock_mono();
    watchdog_turned(server->watchdog, now);
    struct dispatch_wake wake = dispatch_tick(server->dispatch, clock_wall(), now);
    fleet_flush(server->fleet);
    store_flush(server->store);
    arm(server, wake, now);
    stop_check(server);
}

static void on_store_wakes(struct ev_loop *loop, ev_async *watcher, int events)
{
    struct server *server = watcher->data;
    (void)loop;
    (void)events;
    store_collect(server->store);
}

/* A timer only has to end the wait: dispatch_tick does the work. */
static void on_mono(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void on_wall(struct ev_loop *loop, ev_periodic *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

void turn_start(struct server *server)
{
    ev_async_init(&server->store_wakes, on_store_wakes);
    ev_prepare_init(&server->turn_ends, on_turn_end);
    ev_timer_init(&server->mono_timer, on_mono, 0., 0.);
    ev_periodic_init(&server->wall_timer, on_wall, 0., 0., NULL);
    server->store_wakes.data = server->turn_ends.data = server;
    /* protocol's prepares stand around it: held commands before (EV_MAXPRI), replies after (EV_MINPRI) */
    ev_set_priority(&server->turn_ends, 0);
    ev_async_start(server->loop, &server->store_wakes);
    ev_prepare_start(server->loop, &server->turn_ends);
}

void turn_stop(struct server *server)
{
    ev_async_stop(server->loop, &server->store_wakes);
    ev_prepare_stop(server->loop, &server->turn_ends);
    ev_timer_stop(server->loop, &server->mono_timer);
    ev_periodic_stop(server->loop, &server->wall_timer);
}
