/*
 * model_inside.h - what the files of the model share: model.c (looking, all operations), model_attempt.c (from the
 * push to the end of an attempt), model_step.c (what people do), model_time.c (what time does, and a restart),
 * model_entry.c (cron entries).
 */
#ifndef MOONQ_TESTS_SIM_MODEL_INSIDE_H
#define MOONQ_TESTS_SIM_MODEL_INSIDE_H

#include "model.h"

#include <stdio.h>
#include <stdlib.h>

const char *text_of(char out[MODEL_TEXT], struct slice text);
struct model_queue *ensure_queue(struct model *m, struct slice name);
struct model_queue *queue_of(struct model *m, const struct model_job *job);
bool goes_first(const struct model_job *a, const struct model_job *b); /* priority, then id */
bool is_expired(const struct model_job *job, wall_ms now);

/* A job's way from state to state. */
void erase(struct model *m, struct model_job *job);
void keep_attempt(struct model_job *job, enum job_step outcome);
void make_ready(struct model *m, struct model_job *job, wall_ms now, bool parked);
void make_wait(struct model *m, struct model_job *job, enum job_state state, wall_ms run_at, wall_ms now);
void make_dead(struct model *m, struct model_job *job, wall_ms now);
void finish(struct model *m, struct model_job *job, enum job_state state, wall_ms now);
/* model_key.c: unique keys. */
/* It has come into its state: takes its key, or lets go of it, and then who waits behind it is next. */
void follow_key(struct model *m, struct model_job *job, wall_ms now);
/* It is about to be erased. */
void drop_key(struct model *m, struct model_job *job, wall_ms now);
/* Its time with the key is over. */
void spend_key(struct model *m, struct model_job *job, wall_ms now);
/* Another time than it had; not later than now: ready. */
void reschedule(struct model *m, struct model_job *job, wall_ms run_at, wall_ms now);
bool is_key_taken(const struct model *m, const struct model_job *job, wall_ms now);
/* To find out what would be: answers are not looked at. */
struct model model_copy(const struct model *m);
void model_copy_free(struct model *copy);

struct model_job *model_settle_key(struct model *m, const struct op_push *op);
/* What a push would be once `gone` is cancelled: it is, in a copy. SKIPPED also if the push wants an error then. */
enum push_outcome model_push_without(const struct model *m, const struct op_push *op, job_id gone);
/* What a push must be answered; then it has been done. */
enum mq_code do_push(struct model *m, const struct op_push *op);
/* CANCEL: answers the state; running: its holder is to be told. */
enum job_state cancel(struct model *m, struct model_job *job, wall_ms now);

/* Lost by its holder without a word; answers the state. */
enum job_state release(struct model *m, struct model_job *job, enum release_kind kind, wall_ms run_at,
                       wall_ms now);
/* NOTFOUND, LOST, or OK and the job. */
enum mq_code held_code(struct model *m, job_id id, uint64_t token, struct model_job **job);

/* One a verb: answers the code that the operation must have, and does it. */
typedef enum mq_code apply_verb(struct model *m, const struct store_op *op);
apply_verb apply_push, apply_lease, apply_complete, apply_fail, apply_release, apply_extend, apply_note,
    apply_park;
apply_verb apply_step, apply_many, apply_queue, apply_type;
apply_verb apply_sweep, apply_unpark, apply_recover, apply_free_key;
apply_verb apply_schedule, apply_tick;
#endif
