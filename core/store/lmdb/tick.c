/*
 * Ticks: a planned moment of a cron entry is decided here, once. The compare-and-set is on the moment that the entry's
 * record has as its next one; job, ledger row and the moment after it go into the same commit.
 *
 * Refusals come before the first write, as everywhere: the push is checked before a job of before is cancelled.
 */
#include "store/lmdb/machine.h"

#include <xxhash.h>

enum {
    TICK_FORMAT = 1,
    FLAG_MORE = 1,
    SUM_BYTES = 4,
    TRIM_MAX =
        16, /* rows removed with one that is added: a ledger that has become shorter gets there step by step */
};

/* ---- records ---- */

void tick_encode(struct buf *out, const struct tick_row *row)
{
    size_t start = buf_len(out);
    buf_u8(out, TICK_FORMAT);
    buf_u8(out, row->more ? FLAG_MORE : 0);
    buf_u8(out, (uint8_t)row->outcome);
    buf_u64(out, (uint64_t)row->planned);
    buf_u64(out, (uint64_t)row->until);
    buf_u32(out, row->count);
    buf_u64(out, (uint64_t)row->at);
    buf_u64(out, row->job);
    buf_string(out, row->note);
    struct slice all = buf_bytes(out);
    buf_u32(out, (uint32_t)XXH3_64bits(all.at + start, all.len - start));
}

enum mq_code tick_decode(struct tick_row *out, struct slice record, struct mq_err *err)
{
    if (record.len < 1 + SUM_BYTES || record.at[0] != TICK_FORMAT ||
        (uint32_t)XXH3_64bits(record.at, record.len - SUM_BYTES) !=
            be32_get(record.at + record.len - SUM_BYTES))
        return mq_fail(err, MQ_INTERNAL,
                       "a row of a ledger, of %zu bytes, is damaged or of an unknown format", record.len);
    struct reader in = reader_of((struct slice){record.at + 1, record.len - 1 - SUM_BYTES});
    struct tick_row row = {.no = 0};
    row.more = reader_u8(&in) & FLAG_MORE;
    uint8_t outcome = reader_u8(&in);
    row.outcome = (enum tick_outcome)outcome;
    row.planned = (wall_ms)reader_u64(&in);
    row.until = (wall_ms)reader_u64(&in);
    row.count = reader_u32(&in);
    row.at = (wall_ms)reader_u64(&in);
    row.job = reader_u64(&in);
    row.note = reader_string(&in);
    if (!reader_done(&in) || !outcome || outcome >= TICK_OUTCOMES || row.until < row.planned || !row.count ||
        row.note.len > TICK_NOTE_MAX)
        return mq_fail(err, MQ_INTERNAL, "a row of a ledger says what cannot be");
    *out = row;
    return MQ_OK;
}

const char *tick_outcome_name(enum tick_outcome outcome)
{
    static const char *const names[TICK_OUTCOMES] = {
        "",        "fired",  "caught_up", "waited", "replaced", "run",
        "skipped", "missed", "merged",    "paused", "failed",
    };
    return outcome < TICK_OUTCOMES ? names[outcome] : "";
}

/* ---- the ledger ---- */

static void remove_oldest(struct machine *m, struct schedule_view *view)
{
    struct key key;
    key_of_tick(&key, view->name, view->rows - view->kept);
    txn_remove(m, DB_TICKS, &key);
    view->kept--;
}

void tick_note(struct machine *m, struct schedule_view *view, const struct tick_row *row, uint32_t keep)
{
    struct key key;
    buf_clear(&m->record);
    tick_encode(&m->record, row);
    key_of_tick(&key, view->name, view->rows);
    txn_put(m, DB_TICKS, &key, buf_bytes(&m->record));
    view->rows++;
    view->kept++;
    view->counts[row->outcome] += row->count;
    for (int i = 0; i < TRIM_MAX && view->kept > keep; i++)
        remove_oldest(m, view);
}

void tick_erase_all(struct machine *m, struct schedule_view *view)
{
    struct key key;
    while (view->kept)
        remove_oldest(m, view);
    key_of_name(&key, view->name);
    txn_remove(m, DB_SCHEDULES, &key);
}

/* ---- STORE_TICK ---- */

static bool is_planned(const struct op_tick *op)
{
    return !op->extra && op->row.outcome != TICK_RUN;
}

static enum mq_code moved_on(const struct op_tick *op, struct mq_err *err)
{
    return mq_fail(err, MQ_CONFLICT, "schedule '%.*s' has decided this moment already, or plans another",
                   SLICE_ARG(op->name));
}

/* The compare of the compare-and-set. */
static enum mq_code check_moment(const struct op_tick *op, const struct schedule_view *view,
                                 struct mq_err *err)
{
    enum mq_code code = schedule_at_revision(view, op->revision, err);
    if (code != MQ_OK)
        return code;
    if (view->ended)
        return mq_fail(err, MQ_NOTFOUND, "schedule '%.*s' has ended", SLICE_ARG(op->name));
    if (is_planned(op) && (view->pause.on || op->row.planned != view->planned))
        return moved_on(op, err);
    if (is_planned(op) && (op->row.until < op->row.planned || op->next <= op->row.until))
        return mq_fail(err, MQ_BADARG, "schedule '%.*s': the next moment is not later than this one",
                       SLICE_ARG(op->name));
    if (op->extra && (op->row.planned <= view->last || op->row.planned >= view->planned))
        return moved_on(op, err);
    if (op->merged.count && (op->merged.outcome != TICK_MERGED || op->merged.until < op->merged.planned))
        return mq_fail(err, MQ_BADARG, "schedule '%.*s': what is merged says what cannot be",
                       SLICE_ARG(op->name));
    return MQ_OK;
}

/* The job that the entry made last, if it has not ended yet. */
static bool find_unfinished(struct machine *m, const struct schedule_view *view, struct job *job)
{
    return view->job != JOB_ID_NONE && job_find(m, job, view->job, NULL) == MQ_OK &&
           !state_is_final(job->status.state);
}

static enum mq_code cancel_before(struct machine *m, struct op_tick *op, struct job *job)
{
    struct op_step step = {.id = job->id, .reason = SLICE("replaced by the next tick of its schedule")};
    store_op_init(&step.op, STORE_CANCEL, op->op.now);
    enum mq_code code = step_job(m, job, &step);
    if (code == MQ_OK) {
        op->before_state = step.state;
        op->holds = step.signalled ? step.holds : 0;
        op->outcome = TICK_REPLACED;
    } else {
        op->op.err = step.op.err;
    }
    store_op_release(&step.op);
    return code;
}

/* A job that may not stand beside another of its unique key is not pushed: that is no trouble of the entry. */
static enum mq_code check_push(struct machine *m, struct op_tick *op, struct mq_err *err)
{
    enum mq_code code = push_check(m, op->push, 0, err);
    if (code != MQ_CONFLICT || op->outcome == TICK_RUN)
        return code;
    op->outcome = TICK_SKIPPED;
    return MQ_OK;
}

/*
 * The key of the new job, when the one before is cancelled. If the new one would be skipped even then, nothing would take the
 * place of the one before: it stays. If it is one job more, its queue must want it.
 */
static enum mq_code check_key(struct machine *m, struct op_tick *op, const struct job *before,
                              struct mq_err *err)
{
    struct unique_met met;
    struct op_push bare = *op->push;
    if (!bare.spec.unique_key.len || op->outcome == TICK_SKIPPED)
        return MQ_OK;
    enum mq_code code = unique_meet_without(m, op->push, before, &met, err);
    if (code == MQ_OK && met.outcome == PUSH_SKIPPED)
        op->outcome = TICK_SKIPPED;
    bare.spec.unique_key = SLICE_EMPTY;
    bool adds = met.outcome == PUSH_ADDED || met.outcome == PUSH_BEHIND;
    return code == MQ_OK && adds ? push_check(m, &bare, 0, err) : code;
}

/* What the overlap makes of it; refuses, or has cancelled the job before. */
static enum mq_code settle_overlap(struct machine *m, struct op_tick *op, const struct schedule_view *view,
                                   struct mq_err *err)
{
    char text[JOB_ID_TEXT_BYTES];
    struct job before;
    if (op->overlap == OVERLAP_ALLOW || op->outcome == TICK_RUN || !find_unfinished(m, view, &before))
        return check_push(m, op, err);
    op->before = before.id;
    op->before_state = before.status.state;
    if (op->overlap == OVERLAP_SKIP) {
        op->outcome = TICK_SKIPPED;
        return MQ_OK;
    }
    if (op->overlap == OVERLAP_QUEUE)
        return mq_fail(err, MQ_BUSY, "schedule '%.*s': its job %s has not ended", SLICE_ARG(op->name),
                       id_format(text, before.id));
    enum mq_code code = check_push(m, op, err);
    if (code == MQ_OK)
        code = check_key(m, op, &before, err);
    if (code != MQ_OK || op->outcome == TICK_SKIPPED)
        return code;
    find_unfinished(m, view, &before); /* anew: its names were lent until others were looked at */
    return cancel_before(m, op, &before);
}

/* A person's RUN does not hide the job of a moment that goes on: overlap is asked about that one. */
static void push_job(struct machine *m, struct op_tick *op, struct schedule_view *view)
{
    struct job before;
    bool hides = op->outcome == TICK_RUN && find_unfinished(m, view, &before);
    push_apply(m, op->push);
    if (op->push->outcome == PUSH_SKIPPED) { /* another job holds its unique key */
        op->outcome = TICK_SKIPPED;
        op->before = op->push->holder;
        return;
    }
    if (!hides)
        view->job = op->push->id;
    view->fired += op->outcome != TICK_RUN;
}

static struct tick_row fresh_row(const struct op_tick *op, const struct tick_row *asked)
{
    struct tick_row row = *asked;
    row.at = op->op.now;
    row.job = JOB_ID_NONE;
    if (row.note.len > TICK_NOTE_MAX)
        row.note.len = TICK_NOTE_MAX;
    return row;
}

void tick_run(struct machine *m, struct store_op *head)
{
    struct op_tick *op = (struct op_tick *)head;
    struct schedule_view view;
    op->outcome = op->row.outcome;
    op->before = JOB_ID_NONE;
    op->before_state = JOB_NONE;
    op->holds = 0;
    head->code = schedule_find(m, &view, op->name, &head->err);
    if (head->code == MQ_OK)
        head->code = check_moment(op, &view, &head->err);
    if (head->code == MQ_OK && tick_made_job(op->outcome))
        head->code = settle_overlap(m, op, &view, &head->err);
    if (head->code != MQ_OK)
        return;
    struct tick_row row = fresh_row(op, &op->row), merged = fresh_row(op, &op->merged);
    if (tick_made_job(op->outcome))
        push_job(m, op, &view);
    row.outcome = op->outcome;
    row.job = tick_made_job(op->outcome) ? op->push->id : op->before; /* in whose way it would have been */
    if (op->row.outcome != TICK_RUN)
        view.last = row.until;
    if (is_planned(op))
        view.planned = op->fired_max && view.fired >= op->fired_max ? WALL_NEVER : op->next;
    if (op->merged.count)
        tick_note(m, &view, &merged, op->keep);
    tick_note(m, &view, &row, op->keep);
    schedule_answer(head, &op->view, &view);
    schedule_write(m, &view);
}
