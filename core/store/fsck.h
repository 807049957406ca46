/*
 * fsck.h - is what a store's folder holds whole?
 *
 * Every record is decoded and every index is compared with every record; what cannot be true at once is told as a
 * problem, in words for a person. A repair mends what can be derived (indexes and counters follow from the records),
 * moves what cannot be read to quarantine, and loses nothing else. It is one transaction.
 *
 * What the journal of a server that was killed holds is seen as if it were in the file already. Looking changes nothing
 * in either; a repair takes it over. The folder's lock is held meanwhile, so that no server changes them.
 *
 * Threads: one. A file whose pages are damaged may end the process (SIGBUS): call it in a child of your own.
 */
#ifndef MOONQ_STORE_FSCK_H
#define MOONQ_STORE_FSCK_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "job/id.h"

/* What can be wrong: X(kind, name in JSON, what it means, what a repair does). */
#define FSCK_KINDS(X)                                                                                        \
    X(UNREADABLE, "unreadable", "The job can be neither shown nor run.", "moved to quarantine")              \
    X(NO_STATUS, "no_status", "Nobody knows what became of the job.", "moved to quarantine")                 \
    X(NO_RECORD, "no_record", "The job has lost its payload and cannot run.", "moved to quarantine")         \
    X(CONTRADICTION, "contradiction", "A store that works never writes such a status.",                      \
      "moved to quarantine")                                                                                 \
    X(NOT_INDEXED, "not_indexed", "Time, workers or listings would never meet the job there.",               \
      "the entry was written")                                                                               \
    X(STRAY, "stray", "Somebody would look for a job that is not there.", "the entry was removed")           \
    X(QUEUE_UNREADABLE, "queue_unreadable", "Its pause, limit and totals are lost.",                         \
      "written anew from its jobs")                                                                          \
    X(QUEUE_MISSING, "queue_missing", "Its jobs cannot be handed out.", "written anew from its jobs")        \
    X(QUEUE_TWICE, "queue_twice", "Only one of the two would be seen.", "the second was dissolved")          \
    X(QUEUE_OTHER, "queue_other", "The job would run in a queue it was not pushed to.",                      \
      "the status was corrected")                                                                            \
    X(HELD_BY_NONE, "held_by_none", "The job would wait for ever.", "made ready")                            \
    X(PAUSE_UNREADABLE, "pause_unreadable", "The type is not paused any more.", "removed")                   \
    X(KEY_MISSING, "key_missing", "A second job could have its unique key.",                                 \
      "written into the key's record")                                                                       \
    X(KEY_TWICE, "key_twice", "Two jobs would run under one unique key.", "the second lost it")              \
    X(WAITS_FOR_NONE, "waits_for_none", "The job would wait for its unique key for ever.",                   \
      "made ready, without the key")                                                                         \
    X(KEY_UNREADABLE, "key_unreadable", "Nobody can say who has this unique key.",                           \
      "removed, and written anew")                                                                           \
    X(MISCOUNTED, "miscounted", "Limits and figures of the queue are wrong.", "counted anew")                \
    X(COUNTER_BEHIND, "counter_behind", "Ids or tokens would be given out twice.", "the counter was raised") \
    X(ORPHAN, "orphan", "It would stay for ever.", "removed")                                                \
    X(PART_UNREADABLE, "part_unreadable", "A line of the job's history is lost.", "removed")                 \
    X(MALFORMED, "malformed", "No job can be found under such a key.", "moved to quarantine or removed")     \
    X(SCHEDULE_UNREADABLE, "schedule_unreadable", "The cron entry does not fire.",                           \
      "removed; the application's file sets its own anew")                                                   \
    X(TICK_TWICE, "tick_twice", "A planned moment may have become two jobs.", NULL)                          \
    X(JOURNAL, "journal", "What was confirmed behind that place is lost.",                                   \
      "what stands before it was taken over")                                                                \
    X(PAGES, "pages", "The file's pages are damaged, below all records.", NULL)                              \
    X(CUT, "cut", "The file is shorter than its last commit says: a part is missing.", NULL)

enum fsck_kind {
#define X(kind, name, means, mended) FSCK_##kind,
    FSCK_KINDS(X)
#undef X
    FSCK_KIND_COUNT,
};

struct fsck_kind_row {
    const char *name, *means;
    const char *mended; /* NULL: no repair can help; a backup does */
};
extern const struct fsck_kind_row fsck_kinds[FSCK_KIND_COUNT];

struct fsck_problem {
    enum fsck_kind kind;
    job_id id;        /* JOB_ID_NONE: not about one job */
    const char *text; /* "job 01J...: is ready, but ..."; good until the callback returns */
};

struct fsck_settings {
    const char *dir;
    bool repair;
    void (*found)(void *owner, const struct fsck_problem *problem); /* may be NULL */
    void *owner;
};

struct fsck_report {
    uint64_t jobs, queues, schedules, entries, quarantined; /* there */
    uint64_t pages, pages_free; /* of the file, up to the last that was ever used */
    uint64_t problems;          /* found */
    uint64_t left;              /* of them, after a repair: what it could not mend */
    bool mended;                /* a repair was written */
};

/*
 * NOTFOUND: no store there. CONFLICT: a server holds it (its pid is in the message). BADARG: not ours, or a layout
 * that this binary does not read. NOPERM, NOSPACE: the folder or the disk refuses. INTERNAL: the disk fails; of a journal
 * that it does not give back nothing is known, so nothing is mended. With problems it is still MQ_OK.
 */
enum mq_code store_fsck(struct fsck_report *report, const struct fsck_settings *settings, struct mq_err *err);
#endif
