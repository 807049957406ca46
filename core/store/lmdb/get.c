/* Everything about one job. */
#include "store/lmdb/read.h"

#include "job/record.h"

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
    answer_keep_view(&op->op.memory, &op->view);
    return MQ_OK;
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
    op->op.type = op->view.spec.type;
    op->op.queue = op->view.spec.queue;
    return MQ_OK;
}
