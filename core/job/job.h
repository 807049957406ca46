/*
 * job.h - what a job is: the part that never changes after the push, and the part that changes at every step.
 *
 * The two are separate records in the store, so that a lease does not rewrite a payload. Slices point into
 * memory that somebody else owns; each struct that holds them says who.
 */
#ifndef MOONQ_JOB_JOB_H
#define MOONQ_JOB_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/slice.h"
#include "job/id.h"
#include "job/state.h"

#define PRIORITY_FIRST   0
#define PRIORITY_DEFAULT 5
#define PRIORITY_LAST    9

#define ATTEMPTS_DEFAULT   25 /* with the default backoff: about three weeks */
#define ATTEMPTS_MAX       1000
#define TIMEOUT_DEFAULT_MS (10 * 60 * 1000) /* longer than any web request, shorter than a coffee break */
#define LEASE_DEFAULT_MS   (30 * 1000)      /* a dead worker's job is back within half a minute */
#define LEASE_LEAST_MS     100              /* renewed at its half: no shorter one outlives a slow sync */
#define LEASE_MAX_MS       (24 * 3600 * 1000)
#define TIMEOUT_MAX_MS     (7 * 24 * 3600 * 1000)
#define KEEP_DEFAULT_MS    (3600 * 1000LL) /* finished records explain themselves for an hour */
#define TAGS_MAX           16
#define META_MAX_BYTES     4096
#define UNIQUE_MAX_BYTES   1000 /* of a unique key: some chosen arguments, not a payload */

/* What never changes after the push. */
struct job_spec {
    struct slice type;    /* name of its handler: "email.send" */
    struct slice queue;   /* "default" */
    struct slice payload; /* bytes; handlers expect JSON */
    struct slice meta;    /* a JSON object, or empty; carries traceparent and correlation id */
    struct slice tags;    /* names, each followed by '\n'; empty for none */
    wall_ms pushed_at;
    wall_ms expires_at;  /* it must have started by then; WALL_NEVER for no limit */
    int64_t keep_ms;     /* how long the finished record stays */
    uint32_t timeout_ms; /* one attempt may take so long */
    uint32_t lease_ms;   /* a sign of life is due so often */
    uint16_t max_attempts;
    uint8_t priority;      /* 0 first, 9 last */
    struct slice schedule; /* the cron entry that made it; empty for none */
    wall_ms planned_at;    /* ... and the moment that it stands for */
    /* docs/uniqueness.md */
    struct slice unique_key; /* at most one job of this type holds it; empty for none */
    wall_ms unique_until;    /* it may hold the key until then; WALL_NEVER for no limit */
    uint16_t unique_states;  /* bit (1 << state): those in which it holds the key */
};

/* What a push does when another job of its type holds its unique key. Numbers go over the wire to workers. */
enum unique_conflict {
    UNIQUE_SKIP,    /* nothing */
    UNIQUE_REPLACE, /* the holder gets its payload and times; behind one that runs, it waits to follow it */
    UNIQUE_RESCHEDULE, /* the holder gets its times */
    UNIQUE_ERROR,      /* CONFLICT */
    UNIQUE_CONFLICTS,
};

/* How a job stands to the unique key in its spec. On disk. */
enum key_role {
    KEY_NONE = 0,  /* it has none */
    KEY_FREE = 1,  /* it is in none of its blocking states, or somebody else holds the key */
    KEY_HOLDS = 2, /* it holds the key */
    KEY_WAITS = 3, /* blocked: it takes the key when the holder lets go */
    KEY_SPENT = 4, /* its time with the key is over, or a person took it away */
    KEY_ROLES = 5,
};

/* What changes at every step. */
struct job_status {
    enum job_state state;
    uint8_t priority;    /* as in the spec: the key of the ready index needs it */
    bool parked;         /* ready, but no handler has its type: not handed to workers */
    uint32_t held_no;    /* ready, but its type is paused: the store's number of that pause; 0: not held */
    bool cancelling;     /* running, and asked to stop */
    bool held_by_worker; /* running in a worker of this server, whose lease a restart may give back at once */
    bool started;        /* it had its chance to begin: expires no longer applies */
    uint32_t queue_no;   /* the store's number of its queue */
    uint16_t attempt;    /* attempts counted so far, the running one included */
    uint16_t crashes;    /* of these, how many took their worker or the server down */
    uint64_t token;      /* of the newest lease; only grows */
    wall_ms since;       /* when it came into this state */
    wall_ms due_at;      /* scheduled, retrying: when it becomes ready. Finished: when it is deleted */
    wall_ms deadline;    /* running: when the lease ends */
    wall_ms expires_at;  /* as in the spec */
    enum key_role key_role;
    uint16_t key_states; /* as in the spec */
    wall_ms key_until;   /* KEY_HOLDS: as in the spec; else 0 */
    wall_ms was_due; /* since it is ready: the time that it had waited for; 0 if it did not wait for one */
    int64_t late_ms; /* of the newest attempt: so long after was_due it began */
    float progress;  /* 0 to 1; below 0: none was told */
    struct slice holder; /* running: who. "w1" or a client's name */
    struct slice note;   /* the text told with the progress */
};

/* One attempt that ended. */
struct job_attempt {
    uint16_t number;
    enum job_step outcome; /* STEP_ACK, STEP_FAIL, STEP_BURY, STEP_LOST, STEP_GIVE_BACK, STEP_SNOOZE, ... */
    wall_ms began, ended;
    struct slice worker;
    struct slice code;      /* "SCRIPT", "TIMEOUT", "CRASH", ...; empty for success */
    struct slice message;   /* the error, for a person */
    struct slice traceback; /* empty where there is none */
    uint32_t scripts; /* a hash of the scripts that its worker had loaded; 0: not known, or a client's */
};

/* A job as a listing shows it. */
struct job_view {
    job_id id;
    struct job_spec spec;
    struct job_status status;
};
#endif
