/* STORE_UNIQUE: who holds a unique key. */
#include "store/lmdb/read.h"

#include "store/lmdb/machine.h"
#include "job/record.h"

/* A record whose holder says otherwise is of a key whose time is over, or damaged. */
static void add_row(struct snapshot *s, struct op_unique *op, const struct unique_record *record)
{
    struct key key;
    struct slice bytes;
    struct job_status status;
    key_of_id(&key, record->holder);
    if (!snapshot_find(s, DB_STATES, &key, &bytes) || record_read_status(&status, bytes, NULL) != MQ_OK ||
        status.key_role != KEY_HOLDS || status.key_until <= op->op.now)
        return;
    struct unique_row row = {.type = answer_keep(&op->op.memory, record->type),
                             .holder = record->holder,
                             .waiter = record->waiter,
                             .state = status.state,
                             .until = status.key_until};
    buf_add(&s->rows, &row, sizeof row);
    op->count++;
}

enum mq_code read_unique(struct snapshot *s, struct op_unique *op)
{
    MDB_cursor *cursor;
    struct key first;
    op->count = 0;
    buf_clear(&s->rows);
    int rc = mdb_cursor_open(s->txn, s->env->dbi[DB_UNIQUE], &cursor);
    if (rc)
        return mq_fail(&op->op.err, MQ_INTERNAL, "cannot read unique keys: %s", mdb_strerror(rc));
    unique_place(&first, op->key);
    MDB_val key = {first.len, first.at}, val;
    for (rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE);
         rc == 0 && unique_same_hash(&first, (struct slice){key.mv_data, key.mv_size});
         rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) {
        struct unique_record record;
        if (unique_decode(&record, (struct slice){val.mv_data, val.mv_size}, NULL) == MQ_OK &&
            slice_equal(record.key, op->key) && (!op->job_type.len || slice_equal(record.type, op->job_type)))
            add_row(s, op, &record);
    }
    mdb_cursor_close(cursor);
    struct slice rows = buf_bytes(&s->rows);
    op->rows = answer_array(&op->op.memory, rows.at, rows.len);
    for (unsigned i = 0; i < op->count; i++)
        answer_fix(&op->op.memory, &op->rows[i].type);
    if (op->count == 0)
        return mq_fail(&op->op.err, MQ_NOTFOUND, "nobody holds unique key '%.*s'",
                       op->key.len > 100 ? 100 : (int)op->key.len, op->key.at);
    return MQ_OK;
}
