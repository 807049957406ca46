/*
 * watchdog.h - notices an internal loop that stands still: it has work, and has not run for seconds.
 *
 * The loops of all rooms are looked at by a timer of the loop thread; that thread itself by a thread of the watchdog's
 * own, which reads one number. It tells (log, event, STATS), it mends nothing: what stands still is a bug or a dead disk.
 */
#ifndef MOONQ_SERVER_WATCHDOG_H
#define MOONQ_SERVER_WATCHDOG_H

#include "base/pulse.h"

struct server;
struct watchdog;

struct watchdog *watchdog_start(struct server *server);
void watchdog_stop(struct watchdog *watchdog); /* NULL is fine */
/* A turn of the loop has ended. */
void watchdog_turned(struct watchdog *watchdog, mono_ms now);
/* All loops; room for PULSES_MAX. */
unsigned watchdog_pulses(const struct server *server, struct pulse *list);
#endif
