#include "server/watchdog.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "server/server.h"

#define LOOK_EVERY_MS 2000

struct watchdog {
    struct server *server;
    ev_timer timer;
    mono_ms looked_at;
    bool told[PULSES_MAX]; /* by its place in the list, which is the same each time */
    /* for its thread */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ends;
    bool ending; /* under `lock` */
    _Atomic mono_ms turned_at;
};

unsigned watchdog_pulses(const struct server *server, struct pulse *list)
{
    unsigned count = 0;
    mono_ms now = clock_mono();
    if (server->watchdog)
        pulse_add(list, &count, "turn", now, server->watchdog->turned_at, now);
    store_pulses(server->store, now, list, &count);
    dispatch_pulses(server->dispatch, now, list, &count);
    fleet_pulses(server->fleet, now, list, &count);
    return count;
}

/* ---- the loops of all rooms, on the loop ------------------------------------------------------------------------- */

static void tell(struct watchdog *watchdog, const struct pulse *pulse, bool late)
{
    const char *name = late ? "loop.stands_still" : "loop.goes_on";
    log_event(late ? LOG_ERROR : LOG_WARN, name, LOG_STR("loop", pulse->name),
              LOG_INT("late_ms", pulse->late_ms), LOG_INT("age_ms", pulse->age_ms));
    dispatch_emit(
        watchdog->server->dispatch,
        &(struct event){.name = name, .at = clock_wall(), .message = slice_of(pulse->name), .fraction = -1});
}

static void on_look(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct watchdog *watchdog = timer->data;
    struct pulse list[PULSES_MAX];
    mono_ms now = clock_mono();
    bool excused = now - watchdog->looked_at > 2 * LOOK_EVERY_MS; /* we were stopped, and so was all else */
    (void)loop;
    (void)events;
    watchdog->looked_at = now;
    unsigned count = excused || !watchdog->server->recovered ? 0 : watchdog_pulses(watchdog->server, list);
    for (unsigned i = 0; i < count; i++) {
        bool late = list[i].late_ms >= PULSE_LATE_MS;
        if (late != watchdog->told[i])
            tell(watchdog, &list[i], late);
        watchdog->told[i] = late;
    }
}

/* ---- the loop itself, on a thread --------------------------------------------------------------------------------- */

/* Sleeps until the next look; false: it ends. */
static bool sleep_until_look(struct watchdog *watchdog)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_EVERY_MS / 1000;
    pthread_mutex_lock(&watchdog->lock);
    while (!watchdog->ending &&
           pthread_cond_clockwait(&watchdog->ends, &watchdog->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    bool ending = watchdog->ending;
    pthread_mutex_unlock(&watchdog->lock);
    return !ending;
}

static void *watch_turns(void *arg)
{
    struct watchdog *watchdog = arg;
    bool told = false;
    mono_ms looked_at = clock_mono();
    while (sleep_until_look(watchdog)) {
        mono_ms now = clock_mono(), age = now - watchdog->turned_at;
        bool excused = now - looked_at > 2 * LOOK_EVERY_MS, late = age >= PULSE_LATE_MS;
        looked_at = now;
        if (excused || late == told)
            continue;
        told = late;
        log_event(late ? LOG_ERROR : LOG_WARN, late ? "loop.stands_still" : "loop.goes_on",
                  LOG_STR("loop", "turn"), LOG_INT("age_ms", age));
    }
    return NULL;
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

void watchdog_turned(struct watchdog *watchdog, mono_ms now)
{
    if (watchdog)
        atomic_store_explicit(&watchdog->turned_at, now, memory_order_relaxed);
}

struct watchdog *watchdog_start(struct server *server)
{
    struct watchdog *watchdog = mq_calloc(1, sizeof *watchdog);
    sigset_t all, before;
    watchdog->server = server;
    watchdog->turned_at = watchdog->looked_at = clock_mono();
    ev_timer_init(&watchdog->timer, on_look, LOOK_EVERY_MS / 1000.0, LOOK_EVERY_MS / 1000.0);
    watchdog->timer.data = watchdog;
    ev_timer_start(server->loop, &watchdog->timer);
    pthread_mutex_init(&watchdog->lock, NULL);
    pthread_cond_init(&watchdog->ends, NULL);
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&watchdog->thread, NULL, watch_turns, watchdog);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        mq_bug("cannot start the watchdog's thread: %d", failed);
    pthread_setname_np(watchdog->thread, "watchdog");
    return watchdog;
}

void watchdog_stop(struct watchdog *watchdog)
{
    if (!watchdog)
        return;
    pthread_mutex_lock(&watchdog->lock);
    watchdog->ending = true;
    pthread_cond_signal(&watchdog->ends);
    pthread_mutex_unlock(&watchdog->lock);
    pthread_join(watchdog->thread, NULL);
    ev_timer_stop(watchdog->server->loop, &watchdog->timer);
    pthread_mutex_destroy(&watchdog->lock);
    pthread_cond_destroy(&watchdog->ends);
    free(watchdog);
}
