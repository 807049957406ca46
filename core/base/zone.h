/*
 * zone.h - IANA time zones: which offset holds when.
 *
 * The data are the machine's (/usr/share/zoneinfo, or the environment's TZDIR), read through GLib's GTimeZone when a zone
 * is opened and kept as a list of spans. A newer tzdata counts for what is opened after it came: no rebuild, no restart.
 *
 * Threads: zone_open and zone_close: one thread. Looking: any, a zone never changes.
 * Memory:  zone_open / zone_close. Zones of one name are shared; a zone takes some six kilobytes.
 */
#ifndef MOONQ_BASE_ZONE_H
#define MOONQ_BASE_ZONE_H

#include <stdint.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/slice.h"

struct zone;

/*
 * "Europe/Berlin", "UTC". Only names of the database: no offsets, no POSIX rules, no paths, no leap seconds (right/...).
 * BADARG quotes the name; *out stays as it was.
 */
enum mq_code zone_open(struct zone **out, struct slice name, struct mq_err *err);
void zone_close(struct zone *zone); /* NULL is fine */
const char *zone_name(const struct zone *zone);

/* A stretch of time with one offset: local time is UTC plus offset_s. From the year 2128 on a span ends with its year at
 * the latest, so neighbours may have the same offset. */
struct zone_span {
    wall_ms start, end; /* start <= at < end; INT64_MIN and WALL_NEVER where there is no limit */
    int32_t offset_s;
};
/* NULL is UTC. */
struct zone_span zone_span(const struct zone *zone, wall_ms at);

/* 2026-03-29T03:00:00+02:00, with milliseconds if there are any. `out` holds TIME_TEXT_BYTES. */
char *zone_format(char *out, const struct zone *zone, wall_ms at);
#endif
