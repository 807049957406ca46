/*
 * state.h - the states of a job, and the one table of legal steps between them.
 *
 *            .-> scheduled --due-----.   .------ lost, give back -----.
 *            |                       v   v                            |
 *    push ---+--------------------> ready --lease--> running ---------'
 *            |                       ^   ^             |  '--ack--> succeeded
 *            '-> blocked --unblock---'   '--due-- retrying <--fail--'   or dead: attempts are spent
 *
 * Any step that has no row is a bug of ours (mq_bug); what a user may not do is found out before, with
 * state_allows, and refused with WRONGSTATE. docs/states.md is printed from the rows.
 *
 * A number here is on disk: never used again, never renumbered.
 */
#ifndef MOONQ_JOB_STATE_H
#define MOONQ_JOB_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"

enum job_state {
    JOB_NONE = 0,      /* no such job: before its push, after its deletion */
    JOB_BLOCKED = 1,   /* waits for other jobs */
    JOB_SCHEDULED = 2, /* waits for its time */
    JOB_READY = 3,     /* may run now */
    JOB_RUNNING = 4,   /* leased */
    JOB_RETRYING = 5,  /* failed, waits for its next attempt */
    JOB_SUCCEEDED = 6,
    JOB_DEAD = 7, /* dead letter */
    JOB_CANCELLED = 8,
    JOB_EXPIRED = 9,
    JOB_STATES = 10,
};

/* As masks of bits (1 << state). */
#define JOB_STATES_ALL ((1 << JOB_STATES) - 2) /* none is no state to be in */
#define JOB_STATES_UNFINISHED                                                                                \
    (1 << JOB_BLOCKED | 1 << JOB_SCHEDULED | 1 << JOB_READY | 1 << JOB_RUNNING | 1 << JOB_RETRYING)

enum job_step {
    STEP_PUSH,      /* none -> ready */
    STEP_SCHEDULE,  /* none -> scheduled: pushed with a delay */
    STEP_DUE,       /* its time has come */
    STEP_PROMOTE,   /* a person says: now */
    STEP_LEASE,     /* handed out; counts the attempt */
    STEP_ACK,       /* done */
    STEP_FAIL,      /* failed, another attempt follows */
    STEP_BURY,      /* failed for good, or poison: dead letter */
    STEP_GIVE_BACK, /* returned without a charge: shutdown, never started, a neighbour's crash */
    STEP_LOST,      /* the lease ran out, or its worker died of it: the attempt stays counted */
    STEP_SNOOZE,    /* the handler asks to run later, without a charge */
    STEP_CANCEL,
    STEP_DISCARD, /* the handler drops the job */
    STEP_EXPIRE,  /* it could not start in time */
    STEP_RETRY,   /* a person brings it back */
    STEP_DELETE,  /* by a person, or `keep` ran out */
    STEP_UNBLOCK,
    STEP_RESCHEDULE, /* another time than the one it had */
    STEP_BLOCK,      /* none -> blocked: pushed behind the job that it waits for */
    JOB_STEPS,
};

/* One row of the table. */
struct state_row {
    enum job_state from;
    enum job_step step;
    enum job_state to;
    const char *why;
};
extern const struct state_row state_rows[];
extern const unsigned state_row_count;

/* A row for (from, step) exists. */
bool state_allows(enum job_state from, enum job_step step);

/* The state after the step. A step without a row is a bug and aborts. */
enum job_state state_after(enum job_state from, enum job_step step);

/* succeeded, dead, cancelled and expired: nothing more happens by itself. */
bool state_is_final(enum job_state state);

const char *state_name(enum job_state state);    /* "ready" */
const char *step_name(enum job_step step);       /* "give_back" */
enum job_state state_of_name(struct slice name); /* JOB_NONE for any other word */
/* "ready,running" as a mask. BADARG quotes the word that is none, and lists those there are. */
enum mq_code states_parse(uint32_t *mask, struct slice text, struct mq_err *err);
#endif
