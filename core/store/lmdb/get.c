/* Everything about one job. */
#include "store/lmdb/read.h"

#include "store/lmdb/machine.h"
#include "job/record.h"

static struct pause_view keep_pause(struct op_get *op, wall_ms since, wall_ms until, struct slice reason,
                                    struct slice by)
{
    return (struct pause_view){.on = true,
                               .since = since,
                               .until = until,
                               .reason = answer_keep(&op->op.memory, reason),
                               .by = answer_keep(&op->op.memory, by)};
}

static void read_queue_pause(struct snapshot *s, struct op_get *op)
{
    struct key key;
    struct slice bytes, name;
    struct queue_body body;
    key_of_no(&key, op->view.status.queue_no);
    if (!snapshot_find(s, DB_QUEUES, &key, &bytes) || queue_decode(&body, &name, bytes, NULL) != MQ_OK ||
        !body.paused)
        return;
    op->queue_pause = keep_pause(op, body.pause.since, body.pause.until,
                                 (struct slice){body.pause.reason, body.pause.reason_len},
                                 (struct slice){body.pause.by, body.pause.by_len});
}

/* Paused types are few. */
static void read_type_pause(struct snapshot *s, struct op_get *op)
{
    MDB_cursor *cursor;
    MDB_val key, val;
    struct pause_record record;
    if (mdb_cursor_open(s->txn, s->env->dbi[DB_PAUSES], &cursor))
        return;
    while (!op->type_pause.on && mdb_cursor_get(cursor, &key, &val, MDB_NEXT) == 0)
        if (pause_decode(&record, (struct slice){val.mv_data, val.mv_size}, NULL) == MQ_OK && !record.ended &&
            slice_equal(record.type, op->view.spec.type))
            op->type_pause = keep_pause(op, record.since, record.until, record.reason, record.by);
    mdb_cursor_close(cursor);
}

static void read_pauses(struct snapshot *s, struct op_get *op)
{
    op->queue_pause = op->type_pause = (struct pause_view){.reason = SLICE_EMPTY, .by = SLICE_EMPTY};
    read_queue_pause(s, op);
    read_type_pause(s, op);
}

static enum mq_code read_view(struct snapshot *s, struct op_get *op)
{
    char text[JOB_ID_TEXT_BYTES];
    struct key key;
    struct slice status, spec = SLICE_EMPTY;
    struct mq_err why;
    key_of_id(&key, op->id);
    op->view.id = op->id;
    id_format(text, op->id);
    if (!snapshot_find(s, DB_STATES, &key, &status)) {
        if (snapshot_find(s, DB_QUARANTINE, &key, &status))
            return mq_fail(&op->op.err, MQ_INTERNAL, "job %s could not be read and is in quarantine", text);
        return mq_fail(&op->op.err, MQ_NOTFOUND, "there is no job %s (it may be finished and past its keep)",
                       text);
    }
    snapshot_find(s, DB_JOBS, &key, &spec);
    if (record_read_status(&op->view.status, status, &why) != MQ_OK ||
        record_read_spec(&op->view.spec, spec, &why) != MQ_OK)
        return mq_fail(&op->op.err, MQ_INTERNAL, "job %s is damaged: %.200s", text, why.text);
    read_pauses(s, op);
    answer_keep_view(&op->op.memory, &op->view);
    return MQ_OK;
}

static void fix_pause(struct op_get *op, struct pause_view *pause)
{
    answer_fix(&op->op.memory, &pause->reason);
    answer_fix(&op->op.memory, &pause->by);
}

/* Who holds the key that a blocked job waits for. */
static void read_key_holder(struct snapshot *s, struct op_get *op)
{
    const struct job_spec *spec = &op->view.spec;
    op->key_holder = JOB_ID_NONE;
    if (op->view.status.key_role != KEY_WAITS)
        return;
    struct op_unique unique = {.key = spec->unique_key, .job_type = spec->type};
    store_op_init(&unique.op, STORE_UNIQUE, 0);
    if (read_unique(s, &unique) == MQ_OK)
        op->key_holder = unique.rows[0].holder;
    store_op_release(&unique.op);
}

/* Calls `add` for each (id, part) of a database; what it does with a damaged one is its affair. */
static void each_part(struct snapshot *s, enum db db, job_id id,
                      void (*add)(struct snapshot *s, struct op_get *op, struct slice value),
                      struct op_get *op)
{
    MDB_cursor *cursor;
    struct key from;
    MDB_val key, val;
    if (mdb_cursor_open(s->txn, s->env->dbi[db], &cursor))
        return;
    key_of_part(&from, id, 0);
    key = (MDB_val){from.len, from.at};
    for (int rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) {
        if (key_id(db, (struct slice){key.mv_data, key.mv_size}) != id)
            break;
        add(s, op, (struct slice){val.mv_data, val.mv_size});
    }
    mdb_cursor_close(cursor);
}

static void add_attempt(struct snapshot *s, struct op_get *op, struct slice value)
{
    struct job_attempt attempt;
    struct buf *memory = &op->op.memory;
    if (record_read_attempt(&attempt, value, NULL) != MQ_OK)
        return; /* history only: the others still tell their part */
    attempt.worker = answer_keep(memory, attempt.worker);
    attempt.code = answer_keep(memory, attempt.code);
    attempt.message = answer_keep(memory, attempt.message);
    attempt.traceback = answer_keep(memory, attempt.traceback);
    buf_add(&s->rows, &attempt, sizeof attempt);
    op->attempt_count++;
}

static void add_log_line(struct snapshot *s, struct op_get *op, struct slice value)
{
    if (value.len < 8)
        return;
    struct log_line line = {
        .at = (wall_ms)be64_get(value.at),
        .text = answer_keep(&op->op.memory, (struct slice){value.at + 8, value.len - 8}),
    };
    buf_add(&s->rows, &line, sizeof line);
    op->log_count++;
}

/* Arrays last, since they must not move any more; both in one. */
static void finish_history(struct snapshot *s, struct op_get *op)
{
    struct slice rows = buf_bytes(&s->rows);
    size_t attempts_len = op->attempt_count * sizeof *op->attempts;
    char *at = answer_array(&op->op.memory, rows.at, rows.len);
    op->attempts = (struct job_attempt *)at;
    op->log = (struct log_line *)(at + attempts_len);
    for (unsigned i = 0; i < op->attempt_count; i++) {
        answer_fix(&op->op.memory, &op->attempts[i].worker);
        answer_fix(&op->op.memory, &op->attempts[i].code);
        answer_fix(&op->op.memory, &op->attempts[i].message);
        answer_fix(&op->op.memory, &op->attempts[i].traceback);
    }
    for (unsigned i = 0; i < op->log_count; i++)
        answer_fix(&op->op.memory, &op->log[i].text);
}

enum mq_code read_get(struct snapshot *s, struct op_get *op)
{
    struct key key;
    struct slice result = SLICE_EMPTY;
    op->attempt_count = op->log_count = 0;
    op->result = SLICE_EMPTY;
    buf_clear(&s->rows);
    enum mq_code code = read_view(s, op);
    if (code != MQ_OK)
        return code;
    key_of_id(&key, op->id);
    snapshot_find(s, DB_RESULTS, &key, &result);
    op->result = answer_keep(&op->op.memory, result);
    if (op->with_history) {
        each_part(s, DB_ATTEMPTS, op->id, add_attempt, op);
        each_part(s, DB_LOGS, op->id, add_log_line, op);
    }
    finish_history(s, op);
    answer_fix(&op->op.memory, &op->result);
    answer_fix_view(&op->op.memory, &op->view);
    fix_pause(op, &op->queue_pause);
    fix_pause(op, &op->type_pause);
    read_key_holder(s, op);
    op->op.type = op->view.spec.type;
    op->op.queue = op->view.spec.queue;
    return MQ_OK;
}
