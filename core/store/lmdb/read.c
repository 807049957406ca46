#include "store/lmdb/read.h"

#include <stdlib.h>

#include "store/lmdb/archive.h"
#include "job/record.h"

void snapshot_init(struct snapshot *s, struct env *env, int64_t max_ms)
{
    memset(s, 0, sizeof *s);
    s->env = env;
    s->max_ms = max_ms > 0 ? max_ms : 5000;
}

void snapshot_release(struct snapshot *s)
{
    if (s->txn)
        mdb_txn_abort(s->txn);
    buf_release(&s->rows);
}

static int open_snapshot(struct snapshot *s)
{
    env_read_begin(s->env);
    int rc = s->txn ? mdb_txn_renew(s->txn) : mdb_txn_begin(s->env->mdb, NULL, MDB_RDONLY, &s->txn);
    if (rc) {
        env_read_end(s->env);
        return rc;
    }
    mono_ms now = clock_mono();
    s->until = now + s->max_ms;
    s->opened = now;
    return 0;
}

static void close_snapshot(struct snapshot *s)
{
    mdb_txn_reset(s->txn);
    s->opened = 0;
    env_read_end(s->env);
}

bool snapshot_is_over(const struct snapshot *s)
{
    return atomic_load_explicit(&s->env->wants_map, memory_order_relaxed) || clock_mono() >= s->until;
}

bool snapshot_find(struct snapshot *s, enum db db, const struct key *key, struct slice *out)
{
    MDB_val k = {key->len, (void *)key->at}, v;
    if (mdb_get(s->txn, s->env->dbi[db], &k, &v))
        return false;
    *out = (struct slice){v.mv_data, v.mv_size};
    return true;
}

static void add_figures(struct op_stats *op, const struct figures *figures, struct snapshot *const *others,
                        unsigned count)
{
    mono_ms now = clock_mono();
    op->commits = figures->commits;
    op->operations = figures->operations;
    op->checkpoints = figures->checkpoints;
    op->commit_us_total = figures->commit_us_total;
    op->sync_us_last = figures->sync_us_last;
    op->batch_max = figures->batch_max;
    op->oldest_reader_ms = 0;
    for (unsigned i = 0; i < count; i++) {
        mono_ms opened = others[i]->opened;
        if (opened && now - opened > op->oldest_reader_ms)
            op->oldest_reader_ms = now - opened;
    }
}

void read_run(struct snapshot *s, struct store_op *op, const struct figures *figures,
              struct snapshot *const *others, unsigned other_count)
{
    buf_clear(&op->memory);
    int rc = open_snapshot(s);
    if (rc) {
        op->code = mq_fail(&op->err, MQ_INTERNAL, "cannot open a snapshot: %s", mdb_strerror(rc));
        return;
    }
    switch (op->verb) {
    case STORE_GET:
        op->code = read_get(s, (struct op_get *)op);
        break;
    case STORE_LIST:
        op->code = read_list(s, (struct op_list *)op);
        break;
    case STORE_QUEUES:
        op->code = read_queues(s, (struct op_queues *)op);
        break;
    case STORE_UNIQUE:
        op->code = read_unique(s, (struct op_unique *)op);
        break;
    case STORE_STATS:
        op->code = read_stats(s, (struct op_stats *)op);
        add_figures((struct op_stats *)op, figures, others, other_count);
        break;
    case STORE_DOCTOR:
        op->code = read_doctor(s, (struct op_doctor *)op);
        break;
    case STORE_ARCHIVE:
        op->code = archive_collect(s, (struct op_archive *)op);
        break;
    case STORE_SCHEDULES:
        op->code = read_schedules(s, (struct op_schedules *)op);
        break;
    case STORE_TICKS:
        op->code = read_ticks(s, (struct op_ticks *)op);
        break;
    default:
        mq_bug("store verb %d is not a read", (int)op->verb);
    }
    close_snapshot(s);
    if (op->verb == STORE_ARCHIVE && op->code == MQ_OK) /* a slow disk must not keep the snapshot open */
        op->code = archive_write(s, (struct op_archive *)op);
}

/* ---- answers ---- */

struct slice answer_keep(struct buf *memory, struct slice bytes)
{
    size_t at = buf_len(memory);
    buf_add_slice(memory, bytes);
    return (struct slice){(const char *)at, bytes.len};
}

void answer_fix(const struct buf *memory, struct slice *slice)
{
    slice->at = slice->len ? buf_bytes(memory).at + (size_t)slice->at : "";
}

void *answer_array(struct buf *memory, const void *rows, size_t len)
{
    size_t pad = (16 - buf_len(memory) % 16) % 16;
    char *at = buf_room(memory, pad + len) + pad;
    if (len)
        memcpy(at, rows, len);
    buf_grew(memory, pad + len);
    return at;
}

void answer_keep_view(struct buf *memory, struct job_view *view)
{
    view->spec.type = answer_keep(memory, view->spec.type);
    view->spec.queue = answer_keep(memory, view->spec.queue);
    view->spec.payload = answer_keep(memory, view->spec.payload);
    view->spec.meta = answer_keep(memory, view->spec.meta);
    view->spec.tags = answer_keep(memory, view->spec.tags);
    view->spec.schedule = answer_keep(memory, view->spec.schedule);
    view->spec.unique_key = answer_keep(memory, view->spec.unique_key);
    view->status.holder = answer_keep(memory, view->status.holder);
    view->status.note = answer_keep(memory, view->status.note);
}

void answer_fix_view(const struct buf *memory, struct job_view *view)
{
    answer_fix(memory, &view->spec.type);
    answer_fix(memory, &view->spec.queue);
    answer_fix(memory, &view->spec.payload);
    answer_fix(memory, &view->spec.meta);
    answer_fix(memory, &view->spec.tags);
    answer_fix(memory, &view->spec.schedule);
    answer_fix(memory, &view->spec.unique_key);
    answer_fix(memory, &view->status.holder);
    answer_fix(memory, &view->status.note);
}

void answer_keep_schedule(struct buf *memory, struct schedule_view *view)
{
    view->name = answer_keep(memory, view->name);
    view->definition = answer_keep(memory, view->definition);
    view->pause.reason = answer_keep(memory, view->pause.reason);
    view->pause.by = answer_keep(memory, view->pause.by);
}

void answer_fix_schedule(const struct buf *memory, struct schedule_view *view)
{
    answer_fix(memory, &view->name);
    answer_fix(memory, &view->definition);
    answer_fix(memory, &view->pause.reason);
    answer_fix(memory, &view->pause.by);
}
