/*
 * Dead letters that must go, because they are too old or too many. None is dropped: a round names them, has them written
 * to the archive, and only then deletes those that still must go.
 *
 *     sweep DEAD: which?  -->  archive: on disk  -->  sweep DEAD: these  -->  again, while there are more
 *
 * One round at a time; d->sweeping[SWEEP_DEAD] is set for all of it.
 */
#include "dispatch/inside.h"

#define REST_FAILED_MS                                                                                       \
    10000 /* the archive's disk is full, or not ours: no hurry, for nothing is lost meanwhile */
#define ALARM_PERCENT 80
#define CALM_PERCENT  75 /* below it, the next crossing is told again */

struct round {
    struct op_archive archive;
    struct dispatch *d;
    struct letter letters[LETTERS_LIMIT];
    unsigned count;
};

static void tell(struct dispatch *d, const char *name, struct slice message, uint64_t count)
{
    dispatch_emit(d, &(struct event){.name = name,
                                     .at = d->wall,
                                     .type = SLICE_EMPTY,
                                     .queue = SLICE_EMPTY,
                                     .worker = SLICE_EMPTY,
                                     .by = SLICE_EMPTY,
                                     .message = message,
                                     .fraction = -1,
                                     .count = count});
}

/* ---- the third step ---------------------------------------------------------------------------------------- */

/* A sweep that deletes; its letters are in the round, which is its op's owner. */
static void erase(struct round *round)
{
    struct dispatch *d = round->d;
    struct sweep *sweep = mq_calloc(1, sizeof *sweep);
    store_op_init(&sweep->sweep.op, STORE_SWEEP, d->wall);
    sweep->d = d;
    sweep->sweep.op.owner = round;
    sweep->sweep.what = SWEEP_DEAD;
    sweep->sweep.limit = LETTERS_LIMIT;
    sweep->sweep.letters = round->letters;
    sweep->sweep.letter_count = round->count;
    sweep->sweep.op.done = timers_swept;
    dispatch_submit(d, &sweep->sweep.op);
}

static void erased(struct sweep *sweep)
{
    struct round *round = sweep->sweep.op.owner;
    struct dispatch *d = sweep->d;
    uint64_t count = sweep->sweep.op.code == MQ_OK ? sweep->sweep.count : 0;
    if (count) {
        d->stats.archived += count;
        log_event(LOG_WARN, "dead.archived", LOG_INT("count", (int64_t)count),
                  LOG_STR("message", "dead letters were too old or too many, and moved to the archive"));
        tell(d, "dead.archived", SLICE("they were too old or too many"), count);
    }
    store_op_release(&round->archive.op);
    free(round);
    sweep->sweep.op.owner = NULL;
}

/* ---- the second --------------------------------------------------------------------------------------------- */

static void archived(struct store_op *op)
{
    struct round *round = (struct round *)op;
    struct dispatch *d = round->d;
    if (op->code == MQ_OK) {
        erase(round);
        return;
    }
    log_event(LOG_ERROR, "dead.archive_failed", LOG_STR("code", mq_code_name(op->code)),
              LOG_STR("message", op->err.text));
    tell(d, "dead.archive_failed", slice_of(op->err.text), 0);
    d->sweeping[SWEEP_DEAD] = false;
    d->letters_rest_until = d->now + REST_FAILED_MS;
    store_op_release(op);
    free(round);
}

static void archive(struct dispatch *d, const struct op_sweep *named)
{
    struct round *round = mq_calloc(1, sizeof *round);
    round->d = d;
    for (unsigned i = 0; i < named->count && round->count < LETTERS_LIMIT; i++)
        round->letters[round->count++] = (struct letter){named->swept[i].id, named->swept[i].token};
    store_op_init(&round->archive.op, STORE_ARCHIVE, d->wall);
    round->archive.op.done = archived;
    round->archive.letters = round->letters;
    round->archive.letter_count = round->count;
    dispatch_submit(d, &round->archive.op);
}

/* ---- the first ---------------------------------------------------------------------------------------------- */

bool letters_swept(struct sweep *sweep)
{
    const struct op_sweep *op = &sweep->sweep;
    if (op->letter_count) {
        erased(sweep);
        return false;
    }
    if (op->op.code != MQ_OK || op->count == 0)
        return false;
    archive(sweep->d, op);
    store_op_release(&sweep->sweep.op);
    free(sweep);
    return true;
}

void letters_level(struct dispatch *d, unsigned percent)
{
    char text[200];
    d->stats.dead_percent = percent;
    if (percent < CALM_PERCENT)
        d->dead_filling = false;
    if (percent < ALARM_PERCENT || d->dead_filling)
        return;
    d->dead_filling = true;
    snprintf(
        text, sizeof text,
        "the dead letters are at %u %% of dead_max or dead_bytes; at 100 %% the oldest move to the archive",
        percent);
    log_event(LOG_WARN, "dead.filling", LOG_STR("message", text));
    tell(d, "dead.filling", slice_of(text), 0);
}
