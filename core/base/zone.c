#include "base/zone.h"

#include <ctype.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/civil.h"

#define NAME_MAX_BYTES 64
#define DAY_S          86400LL
#define WEEK_S         (7 * DAY_S)

/*
 * What is kept. Files name changes one by one as far as they are known (to 2037; Africa/Casablanca to 2087), and behind
 * that stands a rule. A rule depends on a year only by its leap day and its weekdays, so the 28 years of the cycle, which
 * have all fourteen kinds, stand for all later years.
 */
#define FIRST_S     (-5364662400LL) /* the year 1800: before the first clock that followed a law */
#define CYCLE_YEAR  2101
#define CYCLE_S     4133980800LL /* its first second */
#define CYCLE_END_S 5017593600LL /* 28 years later */

struct change {
    int64_t at_s;
    int32_t offset_s; /* from at_s on */
};

/* What tells one version of a zone's file from another. */
struct version {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec written;
};

struct zone {
    char name[NAME_MAX_BYTES + 1];
    struct version version;
    unsigned references;
    struct zone *newer; /* of the same name, since the file changed; only the newest is in `zones` */
    UT_hash_handle hh;
    int32_t first_offset_s;
    unsigned count, capacity;
    struct change *changes;
};

static struct zone *zones; /* those that are open, by name */

/* ---- names and files ---- */

/* GTimeZone takes paths, offsets and POSIX rules for names, too; of what it does not know it makes UTC in some calls. */
static bool is_name(struct slice name)
{
    if (name.len == 0 || name.len > NAME_MAX_BYTES || !isalpha((unsigned char)name.at[0]))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (!isalnum((unsigned char)c) && (!c || !strchr("_+-/", c)))
            return false;
    }
    return name.at[name.len - 1] != '/' && !(name.len > 6 && memcmp(name.at, "right/", 6) == 0);
}

static enum mq_code unknown(struct slice name, struct mq_err *err)
{
    return mq_fail(err, MQ_BADARG,
                   "'%.*s' is not a time zone (write a name of the IANA database: Europe/Berlin, UTC)",
                   (int)(name.len > NAME_MAX_BYTES ? NAME_MAX_BYTES : name.len), name.at);
}

#define RULE_BYTES 128

/* Opens the zone's file and takes from it what GTimeZone does not tell: its version, and the rule behind its last line
 * break. False: there is none, or it is no zone. */
static bool look_at_file(const char *name, struct version *version, char rule[RULE_BYTES])
{
    char path[512], tail[RULE_BYTES];
    struct stat st;
    const char *folder = getenv("TZDIR");
    snprintf(path, sizeof path, "%s/%s", folder && *folder ? folder : "/usr/share/zoneinfo", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool is_zone = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && pread(fd, tail, 4, 0) == 4 &&
                   memcmp(tail, "TZif", 4) == 0;
    rule[0] = '\0';
    if (is_zone && st.st_size > RULE_BYTES) {
        ssize_t got = pread(fd, tail, sizeof tail, st.st_size - RULE_BYTES);
        const char *line = got == RULE_BYTES ? memrchr(tail, '\n', RULE_BYTES - 1) : NULL;
        if (line && tail[RULE_BYTES - 1] == '\n')
            snprintf(rule, RULE_BYTES, "%.*s", (int)(tail + RULE_BYTES - 2 - line), line + 1);
    }
    close(fd);
    if (is_zone)
        *version = (struct version){st.st_dev, st.st_ino, st.st_size, st.st_mtim};
    return is_zone;
}

/* ---- from GTimeZone ---- */

static void add_change(struct zone *zone, int64_t at_s, int32_t offset_s)
{
    if (zone->count == zone->capacity) {
        zone->capacity = zone->capacity ? 2 * zone->capacity : 64;
        zone->changes = mq_realloc(zone->changes, zone->capacity * sizeof *zone->changes);
    }
    zone->changes[zone->count++] = (struct change){at_s, offset_s};
}

static gint interval_at(GTimeZone *from, int64_t at_s)
{
    return g_time_zone_find_interval(from, G_TIME_TYPE_UNIVERSAL, at_s);
}

/* Reads all changes of offset. GTimeZone tells the interval of a moment, but not where it ends: that is searched. */
static void collect(struct zone *zone, GTimeZone *from)
{
    gint interval = interval_at(from, FIRST_S);
    int32_t offset_s = zone->first_offset_s = g_time_zone_get_offset(from, interval);
    for (int64_t at_s = FIRST_S; at_s < CYCLE_END_S;) {
        int64_t before_s = at_s, after_s = at_s + WEEK_S;
        at_s = after_s;
        if (interval_at(from, after_s) == interval)
            continue;
        while (after_s - before_s > 1) {
            int64_t middle_s = before_s + (after_s - before_s) / 2;
            if (interval_at(from, middle_s) == interval)
                before_s = middle_s;
            else
                after_s = middle_s;
        }
        at_s = after_s;
        interval = interval_at(from, at_s);
        if (offset_s != g_time_zone_get_offset(from, interval))
            add_change(zone, at_s, offset_s = g_time_zone_get_offset(from, interval));
    }
}

/* ---- rules with a winter that is the exception (Europe/Dublin) ---- */

/* A POSIX rule, "IST-1GMT0,M10.5.0,M3.5.0/1". */
struct rule {
    struct slice name[2], offset[2],
        boundary[2]; /* standard and other time; when the other begins and ends */
};

/* What belongs to one piece of a rule, off the front of `rest`. */
static struct slice take(const char **rest, const char *allowed)
{
    struct slice piece = {*rest, 0};
    if (**rest == '<' && strchr(allowed, 'A'))
        piece.len = strcspn(*rest, ">") + 1;
    else
        piece.len = strspn(*rest, allowed);
    *rest += piece.len < strlen(*rest) ? piece.len : strlen(*rest);
    return piece;
}

static bool read_rule(struct rule *rule, const char *text)
{
    for (int i = 0; i < 2; i++) {
        rule->name[i] = take(&text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
        rule->offset[i] = take(&text, "+-:0123456789");
    }
    for (int i = 0; i < 2; i++) {
        if (*text++ != ',')
            return false;
        rule->boundary[i] = take(&text, "JM.:/+-0123456789");
    }
    return !*text && rule->offset[0].len && rule->offset[1].len;
}

/* Seconds west of Greenwich, as POSIX counts. */
static long west_s(struct slice text)
{
    int h = 0, m = 0, s = 0;
    bool minus = text.at[0] == '-';
    sscanf(text.at + (minus || text.at[0] == '+'), "%d:%d:%d", &h, &m, &s);
    return (minus ? -1 : 1) * (h * 3600L + m * 60L + s);
}

/*
 * GTimeZone (2.74) takes an other time of offset 0 for one whose offset is not said, and adds an hour to the standard:
 * Dublin's winters after 2037 became UTC+2. The same rule, told with the two times in each other's places, is understood.
 * True: `rule` is of that kind, and `out` holds it the other way round.
 */
static bool turn_rule(char out[RULE_BYTES], const char *text)
{
    struct rule r;
    if (!read_rule(&r, text) || west_s(r.offset[1]) <= west_s(r.offset[0]))
        return false;
    snprintf(out, RULE_BYTES, "%.*s%.*s%.*s%.*s,%.*s,%.*s", SLICE_ARG(r.name[1]), SLICE_ARG(r.offset[1]),
             SLICE_ARG(r.name[0]), SLICE_ARG(r.offset[0]), SLICE_ARG(r.boundary[1]),
             SLICE_ARG(r.boundary[0]));
    return true;
}

static bool is_same(struct change a, struct change b)
{
    return a.at_s == b.at_s && a.offset_s == b.offset_s;
}

/* Replaces what follows the last change on which list and rule agree by what the rule says. */
static void follow_rule(struct zone *zone, const char *rule)
{
    GTimeZone *by_rule = g_time_zone_new_identifier(rule);
    if (!by_rule)
        return;
    struct zone told = {.name = ""};
    collect(&told, by_rule);
    g_time_zone_unref(by_rule);
    unsigned mine = zone->count, its = told.count;
    while (mine && its && !is_same(zone->changes[mine - 1], told.changes[its - 1]))
        if (zone->changes[mine - 1].at_s >= told.changes[its - 1].at_s)
            mine--;
        else
            its--;
    if (mine && its) {
        zone->count = mine;
        for (; its < told.count; its++)
            add_change(zone, told.changes[its].at_s, told.changes[its].offset_s);
    }
    free(told.changes);
}

/* ---- opening ---- */

static struct zone *load(const char *name, const struct version *version, const char *rule)
{
    char identifier[NAME_MAX_BYTES + 2], turned[RULE_BYTES];
    /* the colon: a file's name, never a rule (EST5EDT is both) */
    snprintf(identifier, sizeof identifier, ":%s", name);
    GTimeZone *from = g_time_zone_new_identifier(version ? identifier : "UTC");
    if (!from)
        return NULL;
    struct zone *zone = mq_calloc(1, sizeof *zone);
    snprintf(zone->name, sizeof zone->name, "%s", name);
    if (version)
        zone->version = *version;
    collect(zone, from);
    g_time_zone_unref(from); /* GLib forgets it, and reads the file anew next time */
    if (turn_rule(turned, rule))
        follow_rule(zone, turned);
    return zone;
}

enum mq_code zone_open(struct zone **out, struct slice name, struct mq_err *err)
{
    char text[NAME_MAX_BYTES + 1], rule[RULE_BYTES] = "";
    struct version version = {0};
    struct zone *zone, *old;
    if (!is_name(name))
        return unknown(name, err);
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(name));
    bool is_file = look_at_file(text, &version, rule);
    if (!is_file && strcmp(text, "UTC") != 0) /* the one that needs no database */
        return unknown(name, err);
    HASH_FIND_STR(zones, text, old);
    if (old && memcmp(&old->version, &version, sizeof version) == 0) {
        old->references++;
        *out = old;
        return MQ_OK;
    }
    zone = load(text, is_file ? &version : NULL, rule);
    if (!zone)
        return unknown(name, err);
    if (old) {
        HASH_DEL(zones, old);
        old->newer = zone;
    }
    HASH_ADD_STR(zones, name, zone);
    zone->references = 1;
    *out = zone;
    return MQ_OK;
}

void zone_close(struct zone *zone)
{
    if (!zone || --zone->references > 0)
        return;
    if (!zone->newer)
        HASH_DEL(zones, zone);
    free(zone->changes);
    free(zone);
}

const char *zone_name(const struct zone *zone)
{
    return zone ? zone->name : "UTC";
}

/* ---- looking ---- */

/* The span of a moment that the list covers. */
static struct zone_span find_span(const struct zone *zone, int64_t at_s)
{
    unsigned low = 0, high = zone->count; /* changes[low - 1] <= at_s < changes[high] */
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (zone->changes[middle].at_s <= at_s)
            low = middle + 1;
        else
            high = middle;
    }
    return (struct zone_span){
        .start = low ? zone->changes[low - 1].at_s * 1000 : INT64_MIN,
        .end = low < zone->count ? zone->changes[low].at_s * 1000 : WALL_NEVER,
        .offset_s = low ? zone->changes[low - 1].offset_s : zone->first_offset_s,
    };
}

/* In a year after the list: the year of the cycle that begins on the same weekday and is as long. */
static int year_alike(int year)
{
    int weekday = civil_weekday(civil_days(year, 1, 1)), alike = CYCLE_YEAR;
    while (civil_weekday(civil_days(alike, 1, 1)) != weekday ||
           civil_month_days(alike, 2) != civil_month_days(year, 2))
        alike++;
    return alike;
}

static wall_ms later(wall_ms a, wall_ms b)
{
    return a > b ? a : b;
}

struct zone_span zone_span(const struct zone *zone, wall_ms at)
{
    if (!zone)
        return (struct zone_span){INT64_MIN, WALL_NEVER, 0};
    int64_t at_s = floor_div(at, 1000), shift_s = 0, year_s = INT64_MIN / 1000, year_end_s = CYCLE_END_S;
    if (!zone->count || zone->changes[zone->count - 1].at_s < CYCLE_S)
        return find_span(zone, at_s); /* no rule at its end */
    if (at_s >= CYCLE_END_S) {
        int year = civil_of_days(floor_div(at_s, DAY_S)).year;
        year_s = civil_days(year, 1, 1) * DAY_S;
        year_end_s = civil_days(year + 1, 1, 1) * DAY_S;
        shift_s = year_s - civil_days(year_alike(year), 1, 1) * DAY_S;
    }
    struct zone_span span = find_span(zone, at_s - shift_s);
    if (span.start != INT64_MIN)
        span.start = later(span.start + shift_s * 1000, year_s * 1000);
    if (span.end == WALL_NEVER || span.end + shift_s * 1000 > year_end_s * 1000)
        span.end = year_end_s * 1000;
    else
        span.end += shift_s * 1000;
    return span;
}

char *zone_format(char *out, const struct zone *zone, wall_ms at)
{
    int32_t offset_s = zone_span(zone, at).offset_s, west = offset_s < 0 ? -offset_s : offset_s;
    time_format(out, at + offset_s * 1000LL);
    char *end = out + strlen(out) - 1; /* Z */
    if (memcmp(end - 4, ".000", 4) == 0)
        end -= 4;
    end += sprintf(end, "%c%02d:%02d", offset_s < 0 ? '-' : '+', west / 3600, west / 60 % 60);
    if (west % 60)
        sprintf(end, ":%02d", west % 60);
    return out;
}
