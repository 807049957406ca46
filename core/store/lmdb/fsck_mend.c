/* What a repair does. Each fix stands alone: it looks again at what it changes. */
#include "store/lmdb/fsck.h"

#include <stdio.h>

#include "job/record.h"

#define FIXES_MAX (1u << 20) /* a round; the next finds the rest */

void fsck_fix(struct fsck *f, const struct fix *fix, struct slice text)
{
    if (!f->settings->repair || f->fix_count == FIXES_MAX)
        return;
    if (f->fix_count == f->fix_cap) {
        f->fix_cap = f->fix_cap ? f->fix_cap * 2 : 64;
        f->fixes = mq_realloc(f->fixes, f->fix_cap * sizeof *f->fixes);
    }
    struct fix *added = &f->fixes[f->fix_count++];
    *added = *fix;
    added->text_at = buf_len(&f->texts);
    added->text_len = text.len;
    buf_add_slice(&f->texts, text);
}

/* Its key, or why. */
static struct slice text_of(const struct fsck *f, const struct fix *fix)
{
    return (struct slice){buf_bytes(&f->texts).at + fix->text_at, fix->text_len};
}

static void put(struct fsck *f, enum db db, struct slice name, struct slice value)
{
    MDB_val k = {name.len, (void *)name.at}, v = {value.len, (void *)value.at};
    int rc = mdb_put(f->m.root.mdb, f->env.dbi[db], &k, &v, 0);
    if (rc)
        txn_fail(&f->m, rc);
}

static void take_out(struct fsck *f, enum db db, struct slice name)
{
    MDB_val k = {name.len, (void *)name.at};
    int rc = mdb_del(f->m.root.mdb, f->env.dbi[db], &k, NULL);
    if (rc && rc != MDB_NOTFOUND)
        txn_fail(&f->m, rc);
}

/* Its key cannot be an id: it becomes the key in quarantine as it is. */
static void set_aside(struct fsck *f, enum db db, struct slice name)
{
    MDB_val k = {name.len, (void *)name.at}, v;
    if (mdb_get(f->m.root.mdb, f->env.dbi[db], &k, &v))
        return;
    buf_clear(&f->record);
    buf_add(&f->record, v.mv_data, v.mv_size);
    put(f, DB_QUARANTINE, name, buf_bytes(&f->record));
    take_out(f, db, name);
}

static void quarantine(struct fsck *f, job_id id, struct slice why)
{
    struct key key;
    struct slice job_bytes = SLICE_EMPTY, status_bytes = SLICE_EMPTY;
    char text[MQ_ERR_TEXT_BYTES];
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(why));
    key_of_id(&key, id);
    txn_find(&f->m, DB_JOBS, &key, &job_bytes);
    txn_find(&f->m, DB_STATES, &key, &status_bytes);
    quarantine_keep(&f->m, id, text, job_bytes, status_bytes);
    txn_remove(&f->m, DB_JOBS, &key);
    txn_remove(&f->m, DB_STATES, &key);
}

static void write_queue(struct fsck *f, struct tally *tally)
{
    struct key key;
    key_of_no(&key, tally->no);
    if (!tally->name_len) { /* nobody knows its name, and no job is in it */
        txn_remove(&f->m, DB_QUEUES, &key);
        return;
    }
    memcpy(tally->body.counts.in_state, tally->in_state, sizeof tally->in_state);
    tally->body.counts.parked = tally->parked;
    tally->body.counts.held = tally->held;
    buf_clear(&f->record);
    queue_encode(&f->record, &tally->body, (struct slice){tally->name, tally->name_len});
    txn_put(&f->m, DB_QUEUES, &key, buf_bytes(&f->record));
}

static void write_meta(struct fsck *f)
{
    struct meta meta = f->meta;
    if (meta.last_id < f->most.last_id)
        meta.last_id = f->most.last_id;
    if (meta.last_token < f->most.last_token)
        meta.last_token = f->most.last_token;
    if (meta.next_queue_no < f->most.next_queue_no)
        meta.next_queue_no = f->most.next_queue_no;
    meta.finished_bytes = f->most.finished_bytes;
    meta.dead_bytes = f->most.dead_bytes;
    struct key key;
    char sums[KEPT_BYTES], at[META_BYTES];
    key_of_kept(&key);
    kept_write(sums, &meta);
    put(f, DB_META, key_bytes(&key), (struct slice){sums, sizeof sums});
    key_of_meta(&key);
    put(f, DB_META, key_bytes(&key), layout_meta(at, &meta));
    f->meta = meta;
}

static struct tally *ensure_queue(struct fsck *f, struct slice name)
{
    struct tally *tally = fsck_queue_named(f, name);
    if (tally)
        return tally;
    tally = fsck_queue_add(f, f->most.next_queue_no > f->meta.next_queue_no ? f->most.next_queue_no
                                                                            : f->meta.next_queue_no);
    fsck_queue_name(f, tally, name);
    write_queue(f, tally); /* the next round counts its jobs */
    write_meta(f);
    return tally;
}

static void write_status(struct fsck *f, job_id id)
{
    struct key key;
    struct slice job_bytes, status_bytes;
    struct job_spec spec;
    struct job_status status;
    key_of_id(&key, id);
    if (!txn_find(&f->m, DB_JOBS, &key, &job_bytes) || record_read_spec(&spec, job_bytes, NULL) != MQ_OK)
        return;
    char name[NAME_STORED_BYTES];
    size_t name_len = spec.queue.len > sizeof name ? sizeof name : spec.queue.len;
    memcpy(name, spec.queue.at, name_len); /* the page moves with the first write */
    struct tally *tally = ensure_queue(f, (struct slice){name, name_len});
    if (!txn_find(&f->m, DB_STATES, &key, &status_bytes) ||
        record_read_status(&status, status_bytes, NULL) != MQ_OK)
        return;
    status.queue_no = tally->no;
    status.priority = spec.priority;
    if (status.held_no && !fsck_has_pause(f, status.held_no))
        status.held_no = 0;
    buf_clear(&f->record);
    size_t len = record_status_bytes(&status);
    record_write_status(buf_room(&f->record, len), &status);
    buf_grew(&f->record, len);
    txn_put(&f->m, DB_STATES, &key, buf_bytes(&f->record));
}

static void do_fix(struct fsck *f, const struct fix *fix)
{
    struct slice text = text_of(f, fix);
    struct tally *tally;
    switch (fix->what) {
    case FIX_ADD:
        put(f, fix->db, text, SLICE_EMPTY);
        break;
    case FIX_REMOVE:
        take_out(f, fix->db, text);
        break;
    case FIX_SET_ASIDE:
        set_aside(f, fix->db, text);
        break;
    case FIX_QUARANTINE:
        quarantine(f, fix->id, text);
        break;
    case FIX_STATUS:
        write_status(f, fix->id);
        break;
    case FIX_KEY:
        fsck_mend_key(f, fix->id);
        break;
    case FIX_QUEUE:
        HASH_FIND(by_no, f->by_no, &fix->queue_no, sizeof fix->queue_no, tally);
        if (tally)
            write_queue(f, tally);
        break;
    case FIX_META:
        write_meta(f);
        break;
    }
}

void fsck_mend(struct fsck *f)
{
    for (unsigned i = 0; i < f->fix_count; i++)
        do_fix(f, &f->fixes[i]);
}
