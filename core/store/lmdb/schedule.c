/*
 * Cron entries. The record of one is written anew at every tick: it is small, and so it says at once what the entry is
 * and where it stands. An entry that has ended keeps its record for as long as its ledger stays, so if it comes back it
 * still knows which moments are decided.
 */
#include "store/lmdb/machine.h"

#include <xxhash.h>

#include "store/lmdb/read.h"
#include "job/name.h"

enum {
    SCHEDULE_FORMAT = 1,
    FLAG_ENDED = 1,
    FLAG_PAUSED = 2,
    SUM_BYTES = 4,
};

/* ---- records ---- */

void schedule_encode(struct buf *out, const struct schedule_view *view)
{
    size_t start = buf_len(out);
    buf_u8(out, SCHEDULE_FORMAT);
    buf_u8(out, (uint8_t)((view->ended ? FLAG_ENDED : 0) | (view->pause.on ? FLAG_PAUSED : 0)));
    buf_u8(out, (uint8_t)view->source);
    buf_u64(out, view->revision);
    buf_u64(out, (uint64_t)view->since);
    buf_u64(out, (uint64_t)view->planned);
    buf_u64(out, (uint64_t)view->last);
    buf_u64(out, view->job);
    buf_u64(out, view->fired);
    buf_u8(out, TICK_OUTCOMES - 1);
    for (int i = 1; i < TICK_OUTCOMES; i++)
        buf_u64(out, view->counts[i]);
    buf_u64(out, view->rows);
    buf_u64(out, view->kept);
    buf_u64(out, (uint64_t)view->pause.since);
    buf_u64(out, (uint64_t)view->pause.until);
    buf_string(out, view->pause.reason);
    buf_string(out, view->pause.by);
    buf_string(out, view->definition);
    struct slice all = buf_bytes(out);
    buf_u32(out, (uint32_t)XXH3_64bits(all.at + start, all.len - start));
}

/* What a store that works never writes; NULL if all is well. */
static const char *contradiction(const struct schedule_view *view, uint8_t source)
{
    if (source != SCHEDULE_OF_FILE && source != SCHEDULE_OF_COMMAND)
        return "has an unknown source";
    if (view->kept > view->rows)
        return "keeps more rows than there ever were";
    if (view->planned <= view->last)
        return "plans a moment that is decided already";
    if (view->ended && (view->planned != WALL_NEVER || view->pause.on))
        return "has ended and has not";
    return NULL;
}

enum mq_code schedule_decode(struct schedule_view *out, struct slice record, struct mq_err *err)
{
    struct schedule_view view = {.name = SLICE_EMPTY};
    if (record.len < 1 + SUM_BYTES || record.at[0] != SCHEDULE_FORMAT ||
        (uint32_t)XXH3_64bits(record.at, record.len - SUM_BYTES) !=
            be32_get(record.at + record.len - SUM_BYTES))
        return mq_fail(err, MQ_INTERNAL,
                       "the record of a schedule, of %zu bytes, is damaged or of an unknown format",
                       record.len);
    struct reader in = reader_of((struct slice){record.at + 1, record.len - 1 - SUM_BYTES});
    uint8_t flags = reader_u8(&in), source = reader_u8(&in);
    view.ended = flags & FLAG_ENDED;
    view.pause.on = flags & FLAG_PAUSED;
    view.source = (enum schedule_source)source;
    view.revision = reader_u64(&in);
    view.since = (wall_ms)reader_u64(&in);
    view.planned = (wall_ms)reader_u64(&in);
    view.last = (wall_ms)reader_u64(&in);
    view.job = reader_u64(&in);
    view.fired = reader_u64(&in);
    unsigned outcomes = reader_u8(&in);
    for (unsigned i = 1; i <= outcomes && i < TICK_OUTCOMES; i++)
        view.counts[i] = reader_u64(&in);
    view.rows = reader_u64(&in);
    view.kept = reader_u64(&in);
    view.pause.since = (wall_ms)reader_u64(&in);
    view.pause.until = (wall_ms)reader_u64(&in);
    view.pause.reason = reader_string(&in);
    view.pause.by = reader_string(&in);
    view.definition = reader_string(&in);
    if (!reader_done(&in) || outcomes >= TICK_OUTCOMES)
        return mq_fail(err, MQ_INTERNAL, "the record of a schedule is cut short or too long");
    const char *wrong = contradiction(&view, source);
    if (wrong)
        return mq_fail(err, MQ_INTERNAL, "the record of a schedule %s", wrong);
    *out = view;
    return pause_check(view.pause.reason, view.pause.by, err);
}

enum mq_code schedule_find(struct machine *m, struct schedule_view *out, struct slice name,
                           struct mq_err *err)
{
    struct key key;
    struct slice record;
    struct mq_err why;
    enum mq_code code = name_check("schedule", name, err);
    if (code != MQ_OK)
        return code;
    key_of_name(&key, name);
    if (!txn_find(m, DB_SCHEDULES, &key, &record))
        return mq_fail(err, MQ_NOTFOUND, "there is no schedule '%.*s'", SLICE_ARG(name));
    buf_clear(&m->schedule); /* its page moves when it, or anything near it, is written */
    buf_add_slice(&m->schedule, record);
    if (schedule_decode(out, buf_bytes(&m->schedule), &why) != MQ_OK)
        return mq_fail(err, MQ_INTERNAL, "schedule '%.*s': %.200s (moonq fsck --repair removes it)",
                       SLICE_ARG(name), why.text);
    out->name = name;
    return MQ_OK;
}

enum mq_code schedule_at_revision(const struct schedule_view *view, uint64_t revision, struct mq_err *err)
{
    if (!revision || revision == view->revision)
        return MQ_OK;
    return mq_fail(err, MQ_CONFLICT, "schedule '%.*s' was changed meanwhile: look again",
                   SLICE_ARG(view->name));
}

void schedule_write(struct machine *m, const struct schedule_view *view)
{
    struct key key;
    key_of_name(&key, view->name);
    buf_clear(&m->record);
    schedule_encode(&m->record, view);
    txn_put(m, DB_SCHEDULES, &key, buf_bytes(&m->record));
}

void schedule_answer(struct store_op *op, struct schedule_view *out, const struct schedule_view *view)
{
    *out = *view;
    answer_keep_schedule(&op->memory, out);
    answer_fix_schedule(&op->memory, out);
}

/* ---- STORE_SCHEDULE ---- */

static enum mq_code not_yours(const struct op_schedule *op, const struct schedule_view *view,
                              struct mq_err *err)
{
    if (view->ended || op->source == view->source)
        return MQ_OK;
    if (op->source == SCHEDULE_OF_FILE)
        return mq_fail(err, MQ_CONFLICT, "schedule '%.*s' was set by a command, not by the file",
                       SLICE_ARG(op->name));
    return mq_fail(err, MQ_CONFLICT,
                   "schedule '%.*s' stands in the application's schedules.lua: change it there, and RELOAD "
                   "(or PAUSE it)",
                   SLICE_ARG(op->name));
}

static enum mq_code not_later(const struct op_schedule *op, const struct schedule_view *view,
                              struct mq_err *err)
{
    if (op->planned > view->last)
        return MQ_OK;
    return mq_fail(err, MQ_CONFLICT,
                   "schedule '%.*s' has decided a later moment meanwhile: look again, and set it again",
                   SLICE_ARG(op->name));
}

static void no_pause(struct schedule_view *view)
{
    view->pause = (struct pause_view){.until = WALL_NEVER, .reason = SLICE_EMPTY, .by = SLICE_EMPTY};
}

/* Comes to life, for the first time or again. */
static void begin(struct schedule_view *view, wall_ms now)
{
    view->ended = false;
    view->since = now;
    view->fired = 0;
    no_pause(view);
}

static enum mq_code set(struct machine *m, const struct op_schedule *op, struct schedule_view *view,
                        bool exists, struct mq_err *err)
{
    enum mq_code code = MQ_OK;
    if (op->definition.len > SCHEDULE_BYTES_MAX)
        return mq_fail(err, MQ_TOOBIG, "schedule '%.*s': its definition has %zu bytes, the limit is %d",
                       SLICE_ARG(op->name), op->definition.len, SCHEDULE_BYTES_MAX);
    if (m->no_space)
        return mq_fail(err, MQ_NOSPACE, "the disk is full: schedules cannot be set");
    if (!exists && txn_count(m, DB_SCHEDULES) >= SCHEDULES_MAX)
        return mq_fail(err, MQ_FULL, "there are %d schedules, which is the most (delete some)",
                       SCHEDULES_MAX);
    if (!exists)
        *view = (struct schedule_view){.name = op->name, .ended = true};
    if (op->source != SCHEDULE_OF_FILE)
        code = not_yours(op, view, err);
    bool overtaken = !view->ended && op->planned <= view->last && view->planned != WALL_NEVER;
    if (code == MQ_OK && !overtaken)
        code = not_later(op, view, err);
    if (code != MQ_OK)
        return code;
    if (view->ended)
        begin(view, op->op.now);
    view->source = op->source;
    view->definition = op->definition;
    if (!overtaken) /* by a tick that was under way: then its next moment stays */
        view->planned = op->planned;
    return MQ_OK;
}

static enum mq_code end(struct machine *m, const struct op_schedule *op, struct schedule_view *view,
                        struct mq_err *err)
{
    enum mq_code code = not_yours(op, view, err);
    if (code != MQ_OK)
        return code;
    view->ended = true;
    view->planned = WALL_NEVER;
    no_pause(view);
    if (op->change == SCHEDULE_ERASE)
        tick_erase_all(m, view);
    return MQ_OK;
}

static enum mq_code pause(const struct op_schedule *op, struct schedule_view *view, struct mq_err *err)
{
    enum mq_code code = pause_check(op->reason, op->by, err);
    if (code != MQ_OK)
        return code;
    view->pause = (struct pause_view){.on = true,
                                      .since = view->pause.on ? view->pause.since : op->op.now,
                                      .until = op->until ? op->until : WALL_NEVER,
                                      .reason = op->reason,
                                      .by = op->by};
    return MQ_OK;
}

static enum mq_code resume(struct machine *m, const struct op_schedule *op, struct schedule_view *view,
                           struct mq_err *err)
{
    if (!view->pause.on)
        return mq_fail(err, MQ_NOTFOUND, "schedule '%.*s' is not paused", SLICE_ARG(op->name));
    if (op->passed.count && op->passed.until > view->last)
        view->last = op->passed.until;
    enum mq_code code = op->planned ? not_later(op, view, err) : MQ_OK;
    if (code != MQ_OK)
        return code;
    no_pause(view);
    if (op->planned)
        view->planned = op->planned;
    if (op->passed.count) {
        struct tick_row row = op->passed;
        row.at = op->op.now;
        tick_note(m, view, &row, SCHEDULE_KEEP_MAX);
    }
    return MQ_OK;
}

static enum mq_code replan(const struct op_schedule *op, struct schedule_view *view, struct mq_err *err)
{
    enum mq_code code = not_later(op, view, err);
    if (code == MQ_OK)
        view->planned = op->planned;
    return code;
}

static enum mq_code change(struct machine *m, const struct op_schedule *op, struct schedule_view *view,
                           struct mq_err *err)
{
    if (view->ended && op->change != SCHEDULE_ERASE)
        return mq_fail(err, MQ_NOTFOUND, "schedule '%.*s' has ended", SLICE_ARG(op->name));
    switch (op->change) {
    case SCHEDULE_PAUSE:
        return pause(op, view, err);
    case SCHEDULE_RESUME:
        return resume(m, op, view, err);
    case SCHEDULE_REPLAN:
        return replan(op, view, err);
    default:
        return end(m, op, view, err);
    }
}

void schedule_run(struct machine *m, struct store_op *head)
{
    struct op_schedule *op = (struct op_schedule *)head;
    struct schedule_view view = {.name = SLICE_EMPTY};
    enum mq_code code = schedule_find(m, &view, op->name, &head->err);
    bool exists = code == MQ_OK;
    if (exists)
        code = schedule_at_revision(&view, op->revision, &head->err);
    if (op->change == SCHEDULE_SET && (code == MQ_OK || code == MQ_NOTFOUND))
        code = set(m, op, &view, exists, &head->err);
    else if (code == MQ_OK)
        code = change(m, op, &view, &head->err);
    head->code = code;
    if (code != MQ_OK || (op->change == SCHEDULE_ERASE))
        return;
    view.revision++;
    schedule_answer(head, &op->view, &view);
    schedule_write(m, &view);
}
