/* Figures: of the queues, and of the store itself. */
#include "store/lmdb/read.h"

#include <stdlib.h>

#include "store/lmdb/machine.h"
#include "job/record.h"

/* The push of the job at the head of a queue. */
static wall_ms oldest_ready(struct snapshot *s, MDB_cursor *ready, uint32_t queue_no)
{
    struct key from, key;
    struct slice bytes;
    struct job_spec spec;
    MDB_val k, v;
    key_of_ready(&from, queue_no, 0, 0);
    k = (MDB_val){from.len, from.at};
    if (mdb_cursor_get(ready, &k, &v, MDB_SET_RANGE) || k.mv_size != READY_KEY_BYTES ||
        be32_get(k.mv_data) != queue_no)
        return WALL_NEVER;
    key_of_id(&key, key_id(DB_READY, (struct slice){k.mv_data, k.mv_size}));
    if (!snapshot_find(s, DB_JOBS, &key, &bytes) || record_read_spec(&spec, bytes, NULL) != MQ_OK)
        return WALL_NEVER;
    return spec.pushed_at;
}

static void add_queue(struct snapshot *s, struct op_queues *op, MDB_cursor *ready, uint32_t no,
                      struct slice record)
{
    struct queue_body body;
    struct slice name;
    if (queue_decode(&body, &name, record, NULL) != MQ_OK)
        return;
    struct queue_view view = {
        .name = answer_keep(&op->op.memory, name),
        .no = no,
        .pause = {.on = body.paused, .since = body.pause.since, .until = body.pause.until},
        .draining = body.draining,
        .limit = body.own_limit ? body.limit : atomic_load(&s->env->queue_limit),
        .counts = body.counts,
        .oldest_ready = oldest_ready(s, ready, no),
    };
    view.pause.reason = answer_keep(&op->op.memory, (struct slice){body.pause.reason, body.pause.reason_len});
    view.pause.by = answer_keep(&op->op.memory, (struct slice){body.pause.by, body.pause.by_len});
    buf_add(&s->rows, &view, sizeof view);
    op->count++;
}

/* One row of the database of pauses, behind the rows of queues. */
static void add_type(struct snapshot *s, struct op_queues *op, struct slice bytes)
{
    struct pause_record record;
    if (pause_decode(&record, bytes, NULL) != MQ_OK || record.ended)
        return;
    struct type_pause type = {
        .type = answer_keep(&op->op.memory, record.type),
        .pause = {.on = true,
                  .since = record.since,
                  .until = record.until,
                  .reason = answer_keep(&op->op.memory, record.reason),
                  .by = answer_keep(&op->op.memory, record.by)},
    };
    buf_add(&s->rows, &type, sizeof type);
    op->type_count++;
}

static int add_types(struct snapshot *s, struct op_queues *op)
{
    MDB_cursor *pauses;
    MDB_val key, val;
    int rc = mdb_cursor_open(s->txn, s->env->dbi[DB_PAUSES], &pauses);
    if (rc)
        return rc;
    while ((rc = mdb_cursor_get(pauses, &key, &val, MDB_NEXT)) == 0)
        add_type(s, op, (struct slice){val.mv_data, val.mv_size});
    mdb_cursor_close(pauses);
    return rc;
}

static void fix_pause(struct op_queues *op, struct pause_view *pause)
{
    answer_fix(&op->op.memory, &pause->reason);
    answer_fix(&op->op.memory, &pause->by);
}

static int by_name(const void *a, const void *b)
{
    const struct queue_view *x = a, *y = b;
    size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = memcmp(x->name.at, y->name.at, len);
    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

enum mq_code read_queues(struct snapshot *s, struct op_queues *op)
{
    MDB_cursor *queues = NULL, *ready = NULL;
    MDB_val key, val;
    op->count = op->type_count = 0;
    buf_clear(&s->rows);
    int rc = mdb_cursor_open(s->txn, s->env->dbi[DB_QUEUES], &queues);
    if (rc == 0)
        rc = mdb_cursor_open(s->txn, s->env->dbi[DB_READY], &ready);
    while (rc == 0 && (rc = mdb_cursor_get(queues, &key, &val, MDB_NEXT)) == 0)
        if (key.mv_size == 4)
            add_queue(s, op, ready, be32_get(key.mv_data), (struct slice){val.mv_data, val.mv_size});
    if (queues)
        mdb_cursor_close(queues);
    if (ready)
        mdb_cursor_close(ready);
    if (rc == MDB_NOTFOUND)
        rc = add_types(s, op);
    if (rc != MDB_NOTFOUND)
        return mq_fail(&op->op.err, MQ_INTERNAL, "cannot read the queues: %s", mdb_strerror(rc));
    struct slice rows = buf_bytes(&s->rows);
    op->queues = answer_array(&op->op.memory, rows.at, rows.len);
    op->types = (struct type_pause *)(void *)(op->queues + op->count);
    for (unsigned i = 0; i < op->count; i++) {
        answer_fix(&op->op.memory, &op->queues[i].name);
        fix_pause(op, &op->queues[i].pause);
    }
    for (unsigned i = 0; i < op->type_count; i++) {
        answer_fix(&op->op.memory, &op->types[i].type);
        fix_pause(op, &op->types[i].pause);
    }
    if (op->count)
        qsort(op->queues, op->count, sizeof *op->queues, by_name);
    return MQ_OK;
}

static void read_kept(struct snapshot *s, struct op_stats *op)
{
    struct key key;
    struct slice bytes;
    struct meta sums = {0};
    key_of_kept(&key);
    if (snapshot_find(s, DB_META, &key, &bytes))
        kept_read(&sums, bytes);
    op->finished_bytes = sums.finished_bytes;
    op->dead_bytes = sums.dead_bytes;
}

enum mq_code read_stats(struct snapshot *s, struct op_stats *op)
{
    MDB_envinfo info;
    MDB_stat quarantine, keys;
    mdb_env_info(s->env->mdb, &info);
    op->map_bytes = s->env->map_bytes;
    op->page_bytes = s->env->page_bytes;
    op->used_bytes = env_used_bytes(s->env);
    op->file_bytes = s->env->allocated_bytes > op->used_bytes ? s->env->allocated_bytes : op->used_bytes;
    op->disk_free_bytes = env_disk_free(s->env);
    op->free_pages = env_free_pages(s->env, s->txn);
    op->readers = info.me_numreaders;
    op->readers_max = info.me_maxreaders;
    op->layout = LAYOUT;
    read_kept(s, op);
    op->unique_keys = mdb_stat(s->txn, s->env->dbi[DB_UNIQUE], &keys) ? 0 : keys.ms_entries;
    op->quarantined = mdb_stat(s->txn, s->env->dbi[DB_QUARANTINE], &quarantine) ? 0 : quarantine.ms_entries;
    return MQ_OK;
}
