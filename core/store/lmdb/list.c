/* A page of jobs. */
#include "store/lmdb/read.h"

#include "store/lmdb/machine.h"
#include "store/lmdb/walk.h"
#include "job/record.h"

#define PAGE_BYTES_MAX (4u << 20) /* a page of large payloads ends early: replies stay bounded */
#define LOOK_EVERY     64         /* rows between two looks at the clock */

static uint32_t queue_no_of(struct snapshot *s, struct slice name);

struct page {
    struct snapshot *s;
    struct op_list *op;
    MDB_cursor *cursors[WALK_LEGS];
    MDB_cursor *states, *jobs;
    uint32_t queue_no;
};

static bool find_with(MDB_cursor *cursor, job_id id, struct slice *out)
{
    struct key key;
    MDB_val k, v;
    key_of_id(&key, id);
    k = (MDB_val){key.len, key.at};
    if (mdb_cursor_get(cursor, &k, &v, MDB_SET))
        return false;
    *out = (struct slice){v.mv_data, v.mv_size};
    return true;
}

/* A damaged record is passed over here: JOB tells of it, and the next change that meets it moves it aside. */
static bool read_row(struct page *page, job_id id, struct job_view *view)
{
    const struct job_filter *filter = &page->op->filter;
    struct slice status, spec;
    view->id = id;
    return find_with(page->states, id, &status) && record_read_status(&view->status, status, NULL) == MQ_OK &&
           filter_fits_status(filter, page->queue_no, &view->status) && find_with(page->jobs, id, &spec) &&
           record_read_spec(&view->spec, spec, NULL) == MQ_OK && filter_fits_spec(filter, &view->spec);
}

static bool is_full(const struct page *page, unsigned looked_at)
{
    const struct op_list *op = page->op;
    return op->count >= op->limit || (op->budget && looked_at >= op->budget) ||
           buf_len(&op->op.memory) >= PAGE_BYTES_MAX ||
           (looked_at % LOOK_EVERY == LOOK_EVERY - 1 && snapshot_is_over(page->s));
}

/* 0: there may be more; MDB_NOTFOUND: that was all. */
static int fill(struct page *page, struct walk *walk)
{
    struct op_list *op = page->op;
    for (unsigned looked_at = 0; !is_full(page, looked_at); looked_at++) {
        struct job_view view;
        job_id id;
        int rc = walk_next(walk, page->cursors, &id);
        if (rc)
            return rc;
        if (id == JOB_ID_NONE || !read_row(page, id, &view))
            continue;
        answer_keep_view(&op->op.memory, &view);
        buf_add(&page->s->rows, &view, sizeof view);
        op->count++;
    }
    return 0;
}

static void close_cursors(struct page *page)
{
    MDB_cursor *all[] = {page->cursors[0], page->cursors[1], page->cursors[2], page->states, page->jobs};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            mdb_cursor_close(all[i]);
}

static int open_cursors(struct page *page, const struct walk *walk)
{
    struct env *env = page->s->env;
    int rc = 0;
    for (unsigned i = 0; i < walk->leg_count && rc == 0; i++)
        rc = mdb_cursor_open(page->s->txn, env->dbi[walk->legs[i]], &page->cursors[i]);
    if (rc == 0)
        rc = mdb_cursor_open(page->s->txn, env->dbi[DB_STATES], &page->states);
    if (rc == 0)
        rc = mdb_cursor_open(page->s->txn, env->dbi[DB_JOBS], &page->jobs);
    return rc;
}

/* What was asked for is there, but is there one more? Only then is a next page worth its cursor. */
static bool has_more(struct page *page, const struct walk *walk)
{
    struct walk ahead = *walk;
    job_id id;
    return walk_next(&ahead, page->cursors, &id) == 0;
}

static void finish(struct page *page, const struct walk *walk, bool more)
{
    struct op_list *op = page->op;
    struct buf *memory = &op->op.memory;
    struct slice rows = buf_bytes(&page->s->rows), cursor = SLICE_EMPTY;
    if (more) {
        size_t at = buf_len(memory);
        cursor = (struct slice){(const char *)at, walk_save(walk, memory)};
    }
    op->jobs = answer_array(memory, rows.at, rows.len);
    for (unsigned i = 0; i < op->count; i++)
        answer_fix_view(memory, &op->jobs[i]);
    answer_fix(memory, &cursor);
    op->next_cursor = cursor;
}

enum mq_code read_list(struct snapshot *s, struct op_list *op)
{
    struct page page = {.s = s, .op = op};
    struct walk walk;
    op->count = 0;
    op->next_cursor = SLICE_EMPTY;
    buf_clear(&s->rows);
    page.queue_no = op->filter.queue.len ? queue_no_of(s, op->filter.queue) : 0;
    walk_init(&walk, &op->filter, page.queue_no, op->newest_first);
    enum mq_code code = walk_resume(&walk, op->cursor, &op->op.err);
    if (code != MQ_OK)
        return code;
    int rc = open_cursors(&page, &walk);
    if (rc == 0)
        rc = fill(&page, &walk);
    if (rc == 0 || rc == MDB_NOTFOUND)
        finish(&page, &walk, rc == 0 && has_more(&page, &walk));
    else
        code = mq_fail(&op->op.err, MQ_INTERNAL, "cannot read the store: %s", mdb_strerror(rc));
    close_cursors(&page);
    return code;
}

/* Of this snapshot: the writer's table belongs to another thread. Queues are few; JOBS is not the hot path. */
static uint32_t queue_no_of(struct snapshot *s, struct slice name)
{
    MDB_cursor *cursor;
    MDB_val key, val;
    uint32_t no = 0;
    if (mdb_cursor_open(s->txn, s->env->dbi[DB_QUEUES], &cursor))
        return 0;
    while (!no && mdb_cursor_get(cursor, &key, &val, MDB_NEXT) == 0) {
        struct queue_body body;
        struct slice own;
        if (key.mv_size == 4 &&
            queue_decode(&body, &own, (struct slice){val.mv_data, val.mv_size}, NULL) == MQ_OK &&
            slice_equal(own, name))
            no = be32_get(key.mv_data);
    }
    mdb_cursor_close(cursor);
    return no;
}
