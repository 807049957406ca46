/*
 * fleet.h - the worker processes that should exist: started, restarted, replaced at a RELOAD, stopped.
 *
 * Each RELOAD begins a generation. Its workers start beside the old ones; when all of them are ready, they take over
 * and the old ones finish what they have and end. If one of them does not come up, all of the new ones go and
 * nothing has changed.
 *
 * Threads: the loop's.
 */
#ifndef MOONQ_SERVER_FLEET_H
#define MOONQ_SERVER_FLEET_H

#include <ev.h>
#include "runtime/home.h"
#include "server/config.h"

struct fleet;

struct fleet_events {
    void *owner;
    /* All workers of the newest generation are ready: from now on they get the jobs. */
    void (*took_over)(void *owner);
    /* They did not come up. `text` says why. The first generation failing is the server's end. */
    void (*failed)(void *owner, const char *text);
};

struct fleet *fleet_new(struct ev_loop *loop, const struct home *home, const char *app_dir,
                        const char *run_dir, const struct fleet_events *events);
void fleet_attach(struct fleet *fleet, struct dispatch *dispatch);
/* dispatch's host functions, for dispatch_new. */
struct dispatch_host fleet_host(struct fleet *fleet);

/* What workers that start from now on are told. `config` is read, not kept; so below. */
void fleet_configure(struct fleet *fleet, const struct config *config);
/* Starts a generation with these pools. */
void fleet_start(struct fleet *fleet, const struct config *config);
/* Writes the frames that have gathered in this turn of the loop. */
void fleet_flush(struct fleet *fleet);

/* No worker is started again; those there finish and end. */
void fleet_stop(struct fleet *fleet);
/* Patience is over: jobs are given back, workers killed. */
void fleet_abandon(struct fleet *fleet);
/* Its own loop, behind what is in the list: starts, ends and restarts of workers. */
void fleet_pulses(const struct fleet *fleet, mono_ms now, struct pulse *list, unsigned *count);
unsigned fleet_count(const struct fleet *fleet); /* processes alive */
void fleet_free(struct fleet *fleet);

/*
 * The jobs that were on a CPU when an earlier server ended without a stop: from the run pages that it left.
 * *ids is the caller's. The pages stay until fleet_forget_suspects: until what they say is on disk.
 */
unsigned fleet_suspects(const char *run_dir, job_id **ids);
void fleet_forget_suspects(const char *run_dir);
#endif
