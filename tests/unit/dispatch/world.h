/*
 * world.h - dispatch with a real store that works inside store_flush, workers that are only memory, and a clock
 * that tests turn by hand. No process, no thread, no waiting.
 */
#ifndef MOONQ_TESTS_DISPATCH_WORLD_H
#define MOONQ_TESTS_DISPATCH_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dispatch/dispatch.h"
#include "runtime/frame.h"

#define WORLD_WORKERS 4
#define WORLD_EVENTS  256

struct fake_worker {
    struct worker *worker;
    struct run_page *page;
    int last_signal;
    unsigned signals;
};

struct world {
    char dir[64];
    struct store *store;
    struct dispatch *d;
    struct store_settings store_settings;
    struct dispatch_settings settings;
    wall_ms wall;
    mono_ms now;
    struct fake_worker workers[WORLD_WORKERS];
    unsigned worker_count, slots;
    struct event_listener listener;
    char events[WORLD_EVENTS][64]; /* "job.pushed 06..." */
    unsigned event_count;
};

struct world *world_new(unsigned workers, unsigned slots);
void world_free(struct world *w);

/* Turns the loop until nothing is under way. */
void world_turn(struct world *w);
/* Time passes; the loop turns at each moment that dispatch asked for. */
void world_pass(struct world *w, int64_t ms);
/* The same, but time leaps from one such moment to the next: weeks are cheap. */
void world_leap(struct world *w, int64_t ms);
/* The server ends and starts again: the store is opened anew; workers, and all that was in memory, are gone. */
void world_restart(struct world *w, int64_t down_ms);

/* Pushes and waits for the answer. `type` "a" has a handler; options as struct push_order. */
job_id world_push(struct world *w, const char *type, const struct push_order *options);
enum mq_code world_push_code(struct world *w, const char *type, const struct push_order *options, job_id *id);
enum job_state world_state(struct world *w, job_id id);
/* The whole record; free with store_op_release(&got->op). */
void world_get(struct world *w, struct op_get *got, job_id id);

/* The jobs that this worker was told to run and has not been asked about before; taken from its frames. */
unsigned world_jobs(struct world *w, unsigned worker, struct frame_job *jobs, unsigned most);
/* The next signal frame (CANCEL, TIMEOUT) in its out buffer; false: none. */
bool world_signal(struct world *w, unsigned worker, struct frame *frame);
/* It begins the job, and has it on its CPU. */
void world_begin(struct world *w, unsigned worker, const struct frame_job *job);
void world_done(struct world *w, unsigned worker, const struct frame_job *job, const char *result);
void world_failed(struct world *w, unsigned worker, const struct frame_job *job, const char *message);
void world_say(struct world *w, unsigned worker, struct buf *frames);
void world_die(struct world *w, unsigned worker, const char *how);
void world_beat(struct world *w);

/* How often this event was told; with an id if it is not 0. */
unsigned world_told(const struct world *w, const char *name, job_id id);

void world_step(struct world *w, enum store_verb verb, job_id id, struct op_step *step);
#endif
