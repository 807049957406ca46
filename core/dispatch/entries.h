/*
 * entries.h - the cron entries as dispatch knows them; for the files of dispatch that work on them.
 *
 * An entry mirrors what the store has: it learns from every commit that changes one (entry_learn), whoever asked for
 * it. What is added here lives in memory only: the definition, read; whether a change is under way; that its next moment
 * waits for a job to end, or for a refused push to be tried again.
 *
 * The agenda is a heap of the entries that wait for a moment, the first on top: one timer serves them all.
 */
#ifndef MOONQ_DISPATCH_ENTRIES_H
#define MOONQ_DISPATCH_ENTRIES_H

#include "dispatch/inside.h"
#include "dispatch/schedule.h"
#include "job/name.h"

/* Shared by the entry and its ticks under way. */
struct definition {
    unsigned refs;
    struct schedule schedule;
    struct slice bytes; /* ours */
};
struct definition *definition_keep(struct definition *definition);
void definition_drop(struct definition *definition);

struct entry {
    struct dispatch *d;
    struct slice name;             /* ours */
    struct definition *definition; /* NULL: it could not be read, see trouble */
    char *trouble;                 /* why it does not fire; NULL: it may */
    bool stored;                   /* the store has it; otherwise it is only trouble of the file */
    /* as the store has it */
    enum schedule_source source;
    bool ended, paused;
    uint64_t revision, fired;
    wall_ms since, planned, last, pause_until;
    /* only here */
    bool busy;      /* a change of it is under way */
    bool named;     /* by the file that is being applied */
    wall_ms boot;   /* of @reboot: this start of the server, as a moment that is not decided yet; 0 */
    unsigned place; /* in the agenda, from 1; 0: it is not there */
    wall_ms due;
    job_id asked_again;    /* the job before, once it is waited for: it may have ended in between */
    wall_ms waiting_since; /* the first moment that had to wait for the job before; 0: none does */
    struct waiter waiter;  /* of that job */
    struct again again;    /* decided before the clock was set back, and not told yet */
    bool rests;            /* a push was refused: tried again at rest_until */
    mono_ms rest_until;
    int64_t rest_ms;
    char refusal[MQ_ERR_TEXT_BYTES];
    struct entry *next_resting, *prev_resting;
    UT_hash_handle hh;
};

struct entry *entry_find(struct dispatch *d, struct slice name);
struct entry *entry_ensure(struct dispatch *d, struct slice name);
void entry_free(struct entry *entry);
/* The store has it so now. */
void entry_learn(struct dispatch *d, const struct schedule_view *view);
/* What does not let it fire, for people; told loudly if it is new. NULL: nothing any more. */
void entry_set_trouble(struct entry *entry, const char *text);
/* Puts it where it belongs: into the agenda, or out of it. After any change. */
void entry_arrange(struct entry *entry);
void entry_rest(struct entry *entry, const char *why);
struct standing entry_standing(const struct entry *entry);
/* The moment that is to be decided next: what the store has planned, or this start of the server. */
wall_ms entry_moment(const struct entry *entry);
/* The first moment that it would have after now, if it were set now with this definition. */
wall_ms entry_plan(const struct entry *entry, const struct schedule *schedule, wall_ms now);
/* The same, but what is planned stays if the times are the same: no change makes an entry begin anew, or lose a moment that
 * has come. */
wall_ms entry_plan_anew(const struct entry *entry, const struct schedule *schedule, wall_ms now);
/* Reads it anew: somebody else has changed it. */
void entry_refresh(struct entry *entry);

/* ticker.c */
void ticker_step(struct entry *entry);
/* schedules.c: a pause ends, and the moments up to `until` are passed over. */
void schedules_fill_resume(const struct entry *entry, struct op_schedule *op, wall_ms until);
#endif
