/* Cron entries and their ledgers, for those who look. */
#include "store/lmdb/read.h"

#include "store/lmdb/machine.h"

#define PAGE_BYTES (4u << 20) /* a page of definitions ends there */

static void fix_all(struct op_schedules *op)
{
    for (unsigned i = 0; i < op->count; i++)
        answer_fix_schedule(&op->op.memory, &op->schedules[i]);
}

/* A record that cannot be read is passed over: fsck tells of it. */
static void add_schedule(struct snapshot *s, struct op_schedules *op, struct slice name, struct slice record)
{
    struct schedule_view view;
    if (schedule_decode(&view, record, NULL) != MQ_OK)
        return;
    view.name = name;
    answer_keep_schedule(&op->op.memory, &view);
    buf_add(&s->rows, &view, sizeof view);
    op->count++;
}

static enum mq_code find_one(struct snapshot *s, struct op_schedules *op)
{
    struct key key;
    struct slice record;
    struct schedule_view view;
    if (op->name.len <= NAME_MAX_BYTES) {
        key_of_name(&key, op->name);
        if (snapshot_find(s, DB_SCHEDULES, &key, &record)) {
            enum mq_code code = schedule_decode(&view, record, &op->op.err);
            if (code == MQ_OK)
                add_schedule(s, op, op->name, record);
            return code;
        }
    }
    return mq_fail(&op->op.err, MQ_NOTFOUND, "there is no schedule '%.*s'", SLICE_ARG(op->name));
}

static void find_page(struct snapshot *s, struct op_schedules *op, MDB_cursor *cursor)
{
    struct key key = {.len = 1};
    if (op->after.len && op->after.len <= NAME_MAX_BYTES) {
        key_of_name(&key, op->after);
        key.at[key.len++] = '\0'; /* the first that is later */
    }
    MDB_val k = {key.len, key.at}, v;
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && op->count < op->limit && buf_len(&op->op.memory) < PAGE_BYTES && !snapshot_is_over(s)) {
        add_schedule(s, op, (struct slice){k.mv_data, k.mv_size}, (struct slice){v.mv_data, v.mv_size});
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    op->more = rc == 0;
}

enum mq_code read_schedules(struct snapshot *s, struct op_schedules *op)
{
    MDB_cursor *cursor;
    enum mq_code code = MQ_OK;
    op->count = 0;
    op->more = false;
    buf_clear(&s->rows);
    if (op->name.len) {
        code = find_one(s, op);
    } else {
        int rc = mdb_cursor_open(s->txn, s->env->dbi[DB_SCHEDULES], &cursor);
        if (rc)
            return mq_fail(&op->op.err, MQ_INTERNAL, "cannot read schedules: %s", mdb_strerror(rc));
        find_page(s, op, cursor);
        mdb_cursor_close(cursor);
    }
    struct slice rows = buf_bytes(&s->rows);
    op->schedules = answer_array(&op->op.memory, rows.at, rows.len);
    fix_all(op);
    return code;
}

/* ---- the ledger ---- */

static void add_row(struct snapshot *s, struct op_ticks *op, uint64_t no)
{
    struct key key;
    struct slice record;
    struct tick_row row;
    key_of_tick(&key, op->name, no);
    if (!snapshot_find(s, DB_TICKS, &key, &record) || tick_decode(&row, record, NULL) != MQ_OK)
        return;
    row.no = no;
    row.note = answer_keep(&op->op.memory, row.note);
    buf_add(&s->rows, &row, sizeof row);
    op->count++;
}

enum mq_code read_ticks(struct snapshot *s, struct op_ticks *op)
{
    struct op_schedules find = {.name = op->name, .limit = 1};
    op->count = 0;
    op->more = false;
    op->rows = NULL;
    find.op.memory = BUF_INIT;
    enum mq_code code = read_schedules(s, &find);
    op->op.err = find.op.err;
    if (code != MQ_OK) {
        store_op_release(&find.op);
        return code;
    }
    uint64_t rows = find.schedules[0].rows, first = rows - find.schedules[0].kept;
    store_op_release(&find.op);
    uint64_t no = op->before && op->before < rows ? op->before : rows;
    buf_clear(&s->rows);
    while (no > first && op->count < op->limit && !snapshot_is_over(s))
        add_row(s, op, --no);
    op->more = no > first;
    struct slice found = buf_bytes(&s->rows);
    op->rows = answer_array(&op->op.memory, found.at, found.len);
    for (unsigned i = 0; i < op->count; i++)
        answer_fix(&op->op.memory, &op->rows[i].note);
    return MQ_OK;
}
