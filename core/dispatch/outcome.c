#include "dispatch/inside.h"

#include <stdlib.h>

/* An outcome on its way to the store: an operation, who it was, and copies of all its bytes behind it. */
struct outcome {
    union {
        struct store_op op;
        struct op_complete complete;
        struct op_fail fail;
        struct op_release release;
    };
    struct dispatch *d;
    char worker[NAME_MAX_HOLDER];
    uint16_t attempt;
    struct slice type, queue, meta;
    struct op_push *pushes;
    unsigned push_count; /* of these, so many are set up */
    struct op_push **children;
    struct buf bytes; /* what the slices point to: never written again once they do */
};

/* ---- copies ------------------------------------------------------------------------------------------------- */

/* Copies into bytes that were reserved, so that earlier copies stay where they are. */
static struct slice keep(struct outcome *outcome, struct slice text)
{
    mq_must(outcome->bytes.cap - outcome->bytes.end >= text.len);
    char *at = outcome->bytes.at + outcome->bytes.end;
    buf_add_slice(&outcome->bytes, text);
    return (struct slice){at, text.len};
}

static struct outcome *outcome_new(struct worker *worker, const struct place *place, enum store_verb verb,
                                   size_t bytes, void (*done)(struct store_op *))
{
    struct outcome *outcome = mq_calloc(1, sizeof *outcome);
    store_op_init(&outcome->op, verb, worker->d->wall);
    outcome->op.done = done;
    outcome->d = worker->d;
    outcome->attempt = place->attempt;
    snprintf(outcome->worker, sizeof outcome->worker, "%s", worker->name);
    buf_room(&outcome->bytes,
             bytes + place->spec.type.len + place->spec.queue.len + place->spec.meta.len + 1);
    outcome->type = keep(outcome, place->spec.type);
    outcome->queue = keep(outcome, place->spec.queue);
    outcome->meta = keep(outcome, place->spec.meta);
    return outcome;
}

static void outcome_free(struct outcome *outcome)
{
    store_op_release(&outcome->op);
    buf_release(&outcome->bytes);
    for (unsigned i = 0; i < outcome->push_count; i++)
        store_op_release(&outcome->pushes[i].op);
    free(outcome->pushes);
    free(outcome->children);
    free(outcome);
}

/* ---- what is said of it ------------------------------------------------------------------------------------- */

static void log_outcome(struct outcome *outcome, enum log_level level, const char *event, job_id id,
                        struct slice code, struct slice message, wall_ms run_at)
{
    char text[JOB_ID_TEXT_BYTES], when[TIME_TEXT_BYTES] = "";
    json_t *meta = outcome->meta.len ? json_loadb(outcome->meta.at, outcome->meta.len, 0, NULL) : NULL;
    const char *correlation_id = json_string_value(json_object_get(meta, "correlation_id"));
    if (run_at)
        time_format(when, run_at);
    log_event(level, event, LOG_STR("id", id_format(text, id)), LOG_SLICE("type", outcome->type),
              LOG_SLICE("queue", outcome->queue), LOG_INT("attempt", outcome->attempt),
              LOG_STR("correlation_id", correlation_id ? correlation_id : ""),
              LOG_STR("worker", outcome->worker), LOG_SLICE("code", code), LOG_SLICE("message", message),
              LOG_STR("run_at", when));
    json_decref(meta);
}

static void log_refused(struct outcome *outcome, job_id id)
{
    log_outcome(outcome, LOG_WARN, "job.outcome_refused", id, slice_of(mq_code_name(outcome->op.code)),
                slice_of(outcome->op.err.text), 0);
}

/* ---- failed ---------------------------------------------------------------------------------------------------- */

static void fail_done(struct store_op *op)
{
    struct outcome *outcome = (struct outcome *)op;
    const struct op_fail *fail = &outcome->fail;
    if (op->code == MQ_NOSPACE) {
        again_later(outcome->d, op);
        return;
    }
    if (op->code != MQ_OK)
        log_refused(outcome, fail->id);
    else if (fail->state == JOB_DEAD)
        log_outcome(outcome, LOG_ERROR, "job.dead", fail->id, fail->code, fail->message, 0);
    else if (fail->state == JOB_RETRYING)
        log_outcome(outcome, LOG_WARN, "job.failed", fail->id, fail->code, fail->message, fail->run_at);
    else
        log_outcome(outcome, LOG_INFO, fail->state == JOB_SCHEDULED ? "job.snoozed" : "job.cancelled",
                    fail->id, fail->code, fail->message, fail->state == JOB_SCHEDULED ? fail->run_at : 0);
    outcome_free(outcome);
}

/* As an honest worker cuts them. */
#define CODE_MAX_BYTES      64
#define MESSAGE_MAX_BYTES   4096
#define TRACEBACK_MAX_BYTES 8192

void outcome_failed(struct worker *worker, struct place *place, const struct frame_failed *said)
{
    struct dispatch *d = worker->d;
    struct frame_failed cut = *said, *failed = &cut;
    cut.code = slice_cut(cut.code, CODE_MAX_BYTES);
    cut.message = slice_cut(cut.message, MESSAGE_MAX_BYTES);
    cut.traceback = slice_cut(cut.traceback, TRACEBACK_MAX_BYTES);
    size_t bytes = cut.code.len + cut.message.len + cut.traceback.len;
    struct outcome *outcome = outcome_new(worker, place, STORE_FAIL, bytes, fail_done);
    int64_t delay_ms = failed->delay_ms < 0
                           ? backoff_default_ms(place->attempt, d->host.chance(d->host.owner))
                           : failed->delay_ms;
    wall_ms run_at;
    if (__builtin_add_overflow(d->wall, delay_ms, &run_at) || run_at > WALL_MAX)
        run_at = WALL_MAX;
    outcome->fail.id = place->id;
    outcome->fail.token = place->token;
    outcome->fail.scripts = worker->scripts;
    outcome->fail.verdict =
        failed->verdict <= FAIL_CANCELLED ? (enum fail_verdict)failed->verdict : FAIL_RETRY;
    outcome->fail.run_at = run_at;
    outcome->fail.code = keep(outcome, failed->code);
    outcome->fail.message = keep(outcome, failed->message);
    outcome->fail.traceback = keep(outcome, failed->traceback);
    dispatch_submit(d, &outcome->op);
}

/* ---- done ------------------------------------------------------------------------------------------------------ */

/* Its children were refused, so the whole was: the attempt has failed, for that reason. */
static void fail_instead(struct outcome *outcome)
{
    struct dispatch *d = outcome->d;
    job_id id = outcome->complete.id;
    uint64_t token = outcome->complete.token;
    uint32_t scripts = outcome->complete.scripts;
    char text[MQ_ERR_TEXT_BYTES];
    int len = snprintf(text, sizeof text, "a job that it pushed was refused: %.280s", outcome->op.err.text);
    const char *code = mq_code_name(outcome->op.code);
    store_op_release(&outcome->op);
    store_op_init(&outcome->op, STORE_FAIL, d->wall);
    outcome->op.done = fail_done;
    outcome->fail = (struct op_fail){
        .op = outcome->op,
        .id = id,
        .token = token,
        .verdict = FAIL_RETRY,
        .run_at = d->wall + backoff_default_ms(outcome->attempt, d->host.chance(d->host.owner)),
        .code = slice_of(code),
        .scripts = scripts,
    };
    buf_clear(&outcome->bytes); /* the result and the children are void; type and queue must be read again */
    struct buf fresh = BUF_INIT;
    buf_room(&fresh, (size_t)len + outcome->type.len + outcome->queue.len + outcome->meta.len + 1);
    struct buf old = outcome->bytes;
    outcome->bytes = fresh;
    outcome->type = keep(outcome, outcome->type);
    outcome->queue = keep(outcome, outcome->queue);
    outcome->meta = keep(outcome, outcome->meta);
    outcome->fail.message = keep(outcome, (struct slice){text, (size_t)len});
    buf_release(&old);
    dispatch_submit(d, &outcome->op);
}

static void complete_done(struct store_op *op)
{
    struct outcome *outcome = (struct outcome *)op;
    bool refused_child = outcome->complete.child_count &&
                         (op->code == MQ_FULL || op->code == MQ_BUSY || op->code == MQ_TOOBIG ||
                          op->code == MQ_BADARG || op->code == MQ_CONFLICT);
    if (op->code == MQ_NOSPACE) {
        again_later(outcome->d, op);
        return;
    }
    if (refused_child) {
        fail_instead(outcome);
        return;
    }
    if (op->code != MQ_OK)
        log_refused(outcome, outcome->complete.id);
    outcome_free(outcome);
}

/* Reads the children of a DONE. They were checked in the worker, but a worker is not trusted. */
static enum mq_code read_children(struct outcome *outcome, const struct frame_done *done, struct mq_err *err)
{
    struct dispatch *d = outcome->d;
    unsigned count = done->child_count;
    struct reader rest = reader_of(keep(outcome, done->children));
    outcome->pushes = mq_calloc(count, sizeof *outcome->pushes);
    outcome->children = mq_calloc(count, sizeof *outcome->children);
    for (unsigned i = 0; i < count; i++) {
        struct push_order order;
        enum mq_code code = frame_read_child(&order, &rest, err);
        store_op_init(&outcome->pushes[i].op, STORE_PUSH, d->wall);
        outcome->push_count++;
        if (code == MQ_OK)
            code = order_check(&order, d->settings.payload_max, err);
        if (code != MQ_OK)
            return code;
        /* not dispatch_resolve: what a running job pushes is accepted while the server stops, or it could not end */
        struct type_row *row = type_find(d, order.type);
        struct op_push *push = &outcome->pushes[i];
        const struct push_order *by_type = row ? &row->order : NULL;
        order_resolve(&push->spec, &push->run_at, &order, by_type, &d->settings.defaults, d->wall);
        code = order_resolve_key(&push->spec, &push->conflict, &order, by_type, &push->op.own, err);
        if (code != MQ_OK)
            return code;
        outcome->children[i] = &outcome->pushes[i];
    }
    outcome->complete.children = outcome->children;
    outcome->complete.child_count = count;
    return MQ_OK;
}

void outcome_done(struct worker *worker, struct place *place, const struct frame_done *done)
{
    struct mq_err err;
    size_t bytes = done->result.len + done->children.len;
    struct outcome *outcome = outcome_new(worker, place, STORE_COMPLETE, bytes, complete_done);
    outcome->complete.id = place->id;
    outcome->complete.token = place->token;
    outcome->complete.scripts = worker->scripts;
    outcome->complete.result = keep(outcome, done->result);
    /* a count that lies is not believed */
    if (done->result.len > worker->d->settings.result_max)
        mq_fail(&err, MQ_TOOBIG, "the result has %zu bytes, the limit is %zu (result_max)", done->result.len,
                worker->d->settings.result_max);
    else if (done->child_count > CHILDREN_MAX)
        mq_fail(&err, MQ_FULL, "one job may push at most %d others", CHILDREN_MAX);
    else if (done->child_count > done->children.len / FRAME_CHILD_LEAST_BYTES)
        mq_fail(&err, MQ_INTERNAL, "the worker counts %u pushed jobs in %zu bytes", done->child_count,
                done->children.len);
    else if (done->child_count == 0 || read_children(outcome, done, &err) == MQ_OK) {
        dispatch_submit(worker->d, &outcome->op);
        return;
    }
    outcome_free(outcome);
    outcome_failed(worker, place,
                   &(struct frame_failed){.verdict = FAIL_RETRY,
                                          .delay_ms = -1,
                                          .code = slice_of(mq_code_name(err.code)),
                                          .message = slice_of(err.text),
                                          .traceback = SLICE_EMPTY});
}

/* ---- released ---------------------------------------------------------------------------------------------------- */

static void release_done(struct store_op *op)
{
    struct outcome *outcome = (struct outcome *)op;
    const struct op_release *release = &outcome->release;
    if (op->code == MQ_NOSPACE) {
        again_later(outcome->d, op);
        return;
    }
    if (op->code != MQ_OK) {
        log_refused(outcome, release->id);
    } else if (release->kind == RELEASE_CRASHED || release->kind == RELEASE_TIMED_OUT) {
        bool dead = release->state == JOB_DEAD;
        if (dead && release->kind == RELEASE_CRASHED)
            outcome->d->stats.poisoned++;
        log_outcome(outcome, dead ? LOG_ERROR : LOG_WARN, dead ? "job.dead" : "job.failed", release->id,
                    release->kind == RELEASE_CRASHED ? SLICE("CRASH") : SLICE("TIMEOUT"), release->message,
                    dead ? 0 : release->run_at);
    } else if (release->kind == RELEASE_GIVE_BACK || outcome->d->stopping) {
        /* by a stop, or a worker's death: each is named. What a busy worker did not come to is only counted */
        log_outcome(outcome, LOG_INFO, release->state == JOB_CANCELLED ? "job.cancelled" : "job.given_back",
                    release->id, SLICE_EMPTY, release->message, 0);
    }
    outcome_free(outcome);
}

void outcome_release(struct worker *worker, const struct place *place, enum release_kind kind, wall_ms run_at,
                     struct slice message)
{
    struct outcome *outcome = outcome_new(worker, place, STORE_RELEASE, message.len, release_done);
    outcome->release.id = place->id;
    outcome->release.token = place->token;
    outcome->release.scripts = worker->scripts;
    outcome->release.kind = kind;
    outcome->release.run_at = run_at;
    outcome->release.message = keep(outcome, message);
    dispatch_submit(worker->d, &outcome->op);
}

void give_back(struct dispatch *d, job_id id, uint64_t token)
{
    struct op_release *release = mq_calloc(1, sizeof *release);
    store_op_init(&release->op, STORE_RELEASE, d->wall);
    release->id = id;
    release->token = token;
    release->kind = RELEASE_UNSTARTED;
    submit_own(d, &release->op);
}

void park(struct dispatch *d, job_id id, uint64_t token)
{
    struct op_step *step = mq_calloc(1, sizeof *step);
    store_op_init(&step->op, STORE_PARK, d->wall);
    step->id = id;
    step->token = token;
    submit_own(d, &step->op);
}

#define CRASH_BACKOFF_FIRST_MS 1000

/* 1 s, 4 s, 16 s and up to a tenth more: long enough that a poison job does not keep killing workers, short enough
   that a job that crashed by chance is not late. */
int64_t crash_backoff_ms(struct dispatch *d, unsigned crashes)
{
    unsigned shift = crashes > 6 ? 12 : crashes ? (crashes - 1) * 2 : 0;
    int64_t delay_ms = (int64_t)CRASH_BACKOFF_FIRST_MS << shift;
    return delay_ms + (int64_t)((uint64_t)(delay_ms / 10) * d->host.chance(d->host.owner) >> 32);
}
