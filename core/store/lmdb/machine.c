#include "store/lmdb/machine.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"

/* ---- verbs ---- */

typedef void run_verb(struct machine *m, struct store_op *op);

static run_verb *const verbs[STORE_VERBS] = {
    [STORE_PUSH] = push_run,         [STORE_LEASE] = lease_run,     [STORE_COMPLETE] = complete_run,
    [STORE_FAIL] = fail_run,         [STORE_RELEASE] = release_run, [STORE_EXTEND] = extend_run,
    [STORE_NOTE] = note_run,         [STORE_PARK] = step_run,       [STORE_CANCEL] = step_run,
    [STORE_RETRY] = step_run,        [STORE_DELETE] = step_run,     [STORE_PROMOTE] = step_run,
    [STORE_EDIT] = step_run,         [STORE_TYPE] = type_run,       [STORE_TAKE_BACK] = step_run,
    [STORE_MANY] = many_run,         [STORE_QUEUE] = queue_run,     [STORE_SWEEP] = sweep_run,
    [STORE_SCHEDULE] = schedule_run, [STORE_TICK] = tick_run,       [STORE_UNPARK] = unpark_run,
    [STORE_RECOVER] = recover_run,   [STORE_GROUP] = group_run,     [STORE_FREE_KEY] = free_key_run,
    [STORE_RESCHEDULE] = step_run,
};

/* An operation may be applied again after a failed try: nothing of that may show. */
static void clear_answer(struct store_op *op)
{
    op->code = MQ_OK;
    op->type = op->queue = SLICE_EMPTY;
    buf_clear(&op->memory);
}

void machine_run(struct machine *m, struct store_op *op)
{
    clear_answer(op);
    if (op->verb == STORE_COMPLETE) {
        struct op_complete *complete = (struct op_complete *)op;
        for (unsigned i = 0; i < complete->child_count; i++)
            clear_answer(&complete->children[i]->op);
    }
    if (op->verb == STORE_TICK && ((struct op_tick *)op)->push)
        clear_answer(&((struct op_tick *)op)->push->op);
    if (!verbs[op->verb])
        mq_bug("store verb %d is not a change", (int)op->verb);
    verbs[op->verb](m, op);
}

/* ---- STORE_GROUP ---- */

struct savepoint {
    struct meta meta;
    unsigned undo_count;
    size_t alarms, unblocked, unblocked_names;
    uint64_t redo;
};

static struct savepoint save(struct machine *m)
{
    redo_settle(&m->redo);
    return (struct savepoint){m->meta,          m->undo_count,          m->alarms.end,
                              m->unblocked.end, m->unblocked_names.end, m->redo.size};
}

static void take_back(struct machine *m, const struct savepoint *point)
{
    fresh_drop(m);
    queue_undo_to(m, point->undo_count);
    m->meta = point->meta;
    m->alarms.end = point->alarms;
    m->unblocked.end = point->unblocked;
    m->unblocked_names.end = point->unblocked_names;
    redo_cut(&m->redo, point->redo);
    pause_forget(m);
}

/* The copies that the inner level kept become the outer one's, or the next group would keep none. */
static void merge_undo(struct machine *m, const struct savepoint *point)
{
    for (unsigned i = point->undo_count; i < m->undo_count; i++)
        if (m->undo[i].queue->undo_level > m->undo_level)
            m->undo[i].queue->undo_level = m->undo_level;
}

static bool only_pushes(const struct op_group *op)
{
    for (unsigned i = 0; i < op->count; i++)
        if (op->members[i]->verb != STORE_PUSH ||
            ((const struct op_push *)op->members[i])->spec.unique_key.len)
            return false;
    return true;
}

static void refuse_group(struct op_group *op, unsigned index, enum mq_code code, const struct mq_err *why)
{
    op->failed = index;
    op->op.code = code;
    op->op.err = *why;
}

/* How many members before this one go to its queue; only asked where a limit makes it matter. */
static uint64_t ahead_of(struct machine *m, const struct op_group *op, unsigned index)
{
    static const struct queue_body new_queue;
    struct slice name = ((struct op_push *)op->members[index])->spec.queue;
    const struct queue *queue = queue_find(m, name);
    uint64_t ahead = 0;
    if (queue_limit_of(m, queue ? &queue->body : &new_queue) == QUEUE_UNLIMITED)
        return 0;
    for (unsigned i = 0; i < index; i++)
        ahead += slice_equal(((struct op_push *)op->members[i])->spec.queue, name);
    return ahead;
}

/* The commonest group, a MULTI of pushes: all that can refuse it is known beforehand. */
static void run_pushes(struct machine *m, struct op_group *op)
{
    for (unsigned i = 0; i < op->count; i++) {
        struct op_push *push = (struct op_push *)op->members[i];
        struct mq_err err = {0};
        enum mq_code code = push_check(m, push, ahead_of(m, op, i), &err);
        if (code != MQ_OK) {
            refuse_group(op, i, code, &err);
            return;
        }
    }
    for (unsigned i = 0; i < op->count; i++) {
        struct op_push *push = (struct op_push *)op->members[i];
        clear_answer(&push->op);
        push_apply(m, push);
    }
}

enum mq_code machine_try(struct machine *m, enum mq_code (*what)(struct machine *m, void *with), void *with)
{
    if (m->at == &m->child)
        return what(m, with);
    fresh_settle(m);
    struct savepoint point = save(m);
    txn_begin(m, &m->child, m->root.mdb);
    m->at = &m->child;
    m->undo_level++;
    enum mq_code code = what(m, with);
    if (code == MQ_OK)
        fresh_settle(m);
    m->undo_level--;
    m->at = &m->root;
    if (code != MQ_OK) {
        txn_abort(&m->child);
        take_back(m, &point);
        return code;
    }
    redo_settle(&m->redo);
    int rc = mdb_txn_commit(m->child.mdb);
    memset(&m->child, 0, sizeof m->child);
    if (rc)
        txn_fail(m, rc);
    merge_undo(m, &point);
    return MQ_OK;
}

static enum mq_code run_members(struct machine *m, void *with)
{
    struct op_group *op = with;
    for (unsigned i = 0; i < op->count; i++) {
        struct store_op *member = op->members[i];
        machine_run(m, member);
        if (member->code != MQ_OK) {
            refuse_group(op, i, member->code, &member->err);
            return member->code;
        }
    }
    return MQ_OK;
}

static bool may_be_member(enum store_verb verb)
{
    return verb < STORE_GROUP && verb != STORE_LEASE;
}

void group_run(struct machine *m, struct store_op *head)
{
    struct op_group *op = (struct op_group *)head;
    op->failed = 0;
    for (unsigned i = 0; i < op->count; i++)
        if (!may_be_member(op->members[i]->verb)) {
            struct mq_err err;
            mq_fail(&err, MQ_BADARG, "leases, reads and groups cannot be part of a group");
            refuse_group(op, i, MQ_BADARG, &err);
            return;
        }
    if (only_pushes(op))
        run_pushes(m, op);
    else
        machine_try(m, run_members, op); /* anything else may be refused in its middle */
}

/* ---- a batch ---- */

static void rollback(struct machine *m)
{
    m->redo.muted = false;
    txn_abort(&m->child);
    txn_abort(&m->root);
    fresh_drop(m);
    queue_undo_to(m, 0);
    queue_forget_undo(m);
    m->meta = m->before;
    m->meta_changed = false;
    redo_cut(&m->redo, 0);
    pause_forget(m);
    buf_clear(&m->alarms);
    buf_clear(&m->unblocked);
    buf_clear(&m->unblocked_names);
}

static bool is_no_space(int rc)
{
    return rc == ENOSPC || rc == EDQUOT || rc == EFBIG;
}

static enum applied applied_of(struct machine *m, int rc)
{
    m->rc = rc;
    if (rc == MDB_MAP_FULL)
        return APPLIED_MAP_FULL;
    /* LMDB answers EIO, but the kernel did not: a write was cut short by the end of the disk */
    if (is_no_space(rc) || (rc == EIO && errno != EIO))
        return APPLIED_NO_SPACE;
    return APPLIED_FAILED;
}

static void run_all(struct machine *m, struct store_op *first)
{
    struct store_op *op;
    bool leases = false;
    for (op = first; op; op = op->next) {
        if (op->verb == STORE_LEASE)
            leases = true;
        else
            machine_run(m, op);
    }
    for (op = leases ? first : NULL; op; op = op->next)
        if (op->verb == STORE_LEASE)
            machine_run(m, op);
}

static void save_all(struct machine *m)
{
    struct key key;
    char at[META_BYTES];
    fresh_note(m);
    fresh_tell_ahead(m, m->tell_ahead);
    queue_save_touched(m);
    kept_save(m);
    key_of_meta(&key);
    if (m->meta_changed)
        txn_put(m, DB_META, &key, layout_meta(at, &m->meta));
}

/* What a commit tells of the queues that it touched; names are those of the queues, which live as long as we. */
static void tell_news(struct machine *m)
{
    m->news.queue_count = 0;
    buf_clear(&m->queue_news);
    for (unsigned i = 0; i < m->touched_count; i++) {
        const struct queue *queue = m->touched[i];
        machine_add_news(m, queue);
    }
    m->news.queues = (const struct queue_news *)buf_bytes(&m->queue_news).at;
    m->news.unblocked = (const struct unblocked *)(const void *)buf_bytes(&m->unblocked).at;
    m->news.unblocked_count = (unsigned)(buf_len(&m->unblocked) / sizeof(struct unblocked));
    m->news.unblocked_names = buf_bytes(&m->unblocked_names);
    machine_next_times(m, &m->news);
}

void machine_add_news(struct machine *m, const struct queue *queue)
{
    const struct queue_counts *counts = &queue->body.counts;
    uint64_t ready = counts->in_state[JOB_READY], aside = counts->parked + counts->held;
    struct queue_news news = {
        .name = queue_name(queue),
        .ready = ready > aside ? ready - aside : 0, /* less only after damage */
        .parked = queue->body.counts.parked,
        .waiting = queue_waiting(&queue->body.counts),
        .paused = queue->body.paused,
        .draining = queue->body.draining,
    };
    buf_add(&m->queue_news, &news, sizeof news);
    m->news.queue_count++;
}

/* The transaction, with all in it that was kept. */
static void open_root(struct machine *m)
{
    struct journal *journal = &m->env->journal;
    uint64_t kept = journal->records;
    if (m->root.mdb)
        return;
    txn_begin(m, &m->root, NULL);
    if (kept == 0)
        return;
    int rc = journal_replay(journal, m->root.mdb);
    if (!rc && journal->records != kept)
        rc = JOURNAL_UNREADABLE; /* what was written there a moment ago */
    journal->records = kept;
    if (rc)
        txn_fail(m, rc);
}

/* What LMDB refuses on the way comes back here, and leaves no trace. */
static enum applied guard(struct machine *m, enum applied (*what)(struct machine *m, struct store_op *first),
                          struct store_op *first)
{
    m->at = &m->root;
    errno = 0;
    if (setjmp(m->failed)) {
        enum applied applied = applied_of(m, m->rc);
        rollback(m);
        return applied;
    }
    return what(m, first);
}

static enum applied apply(struct machine *m, struct store_op *first)
{
    open_root(m);
    run_all(m, first);
    save_all(m);
    tell_news(m);
    return APPLIED;
}

enum applied machine_apply(struct machine *m, struct store_op *first)
{
    m->before = m->meta;
    buf_clear(&m->alarms);
    buf_clear(&m->unblocked);
    buf_clear(&m->unblocked_names);
    m->undo_level = 1;
    m->meta_changed = false;
    return guard(m, apply, first);
}

struct slice machine_redo(struct machine *m)
{
    redo_settle(&m->redo);
    return buf_bytes(&m->redo.bytes);
}

void machine_keep(struct machine *m)
{
    redo_cut(&m->redo, 0);
    if (journal_is_empty(&m->env->journal))
        txn_abort(&m->root); /* it changed nothing: others may want LMDB's lock */
    queue_forget_undo(m);
    m->before = m->meta;
    m->meta_changed = false;
    m->committed = m->news;
}

static enum applied recover(struct machine *m, struct store_op *none)
{
    (void)none;
    open_root(m);
    return APPLIED;
}

enum applied machine_recover(struct machine *m)
{
    m->before = m->meta;
    return guard(m, recover, NULL);
}

static enum applied commit(struct machine *m, struct store_op *none)
{
    (void)none;
    fresh_settle(m);
    struct journal *journal = &m->env->journal;
    char counters[META_BYTES];
    struct slice tail = m->redo.on ? machine_redo(m) : layout_meta(counters, &m->meta);
    struct journal_mark mark = journal_next_mark(journal, tail);
    MDB_txn *txn = m->root.mdb;
    memset(&m->root, 0, sizeof m->root); /* whatever commit answers, the transaction is gone */
    errno = 0;
    int rc = layout_save_mark(txn, m->env->dbi[DB_META], &mark);
    if (rc)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    if (rc)
        txn_fail(m, rc);
    journal_restart(journal, &mark);
    machine_keep(m);
    return APPLIED;
}

enum applied machine_commit(struct machine *m)
{
    return guard(m, commit, NULL);
}

void machine_refuse_all(struct machine *m, struct store_op *first, enum mq_code code, const char *text)
{
    (void)m;
    for (struct store_op *op = first; op; op = op->next) {
        clear_answer(op);
        op->code = mq_fail(&op->err, code, "%s", text);
    }
    m->news = m->committed; /* the tries that failed have left theirs */
    m->news.queue_count = m->news.unblocked_count = 0;
}

/* ---- open ---- */

enum mq_code machine_open(struct machine *m, struct env *env, const struct rules *rules, struct mq_err *err)
{
    memset(m, 0, sizeof *m);
    m->env = env;
    m->rules = *rules;
    m->meta = m->before = env->meta;
    m->undo_level = 1;
    m->at = &m->root;
    m->redo.on = true;
    pause_forget(m);
    if (setjmp(m->failed)) {
        txn_abort(&m->root);
        return layout_fail(err, MQ_INTERNAL, "cannot read the store", m->rc);
    }
    txn_begin(m, &m->root, NULL);
    enum mq_code code = queue_load_all(m, err);
    if (code != MQ_OK) {
        txn_abort(&m->root);
        return code;
    }
    /* the first news: of the whole */
    for (uint32_t no = 0; no < m->by_no_size; no++)
        if (m->by_no[no])
            machine_add_news(m, m->by_no[no]);
    m->news.queues = (const struct queue_news *)buf_bytes(&m->queue_news).at;
    machine_next_times(m, &m->news);
    save_all(m);
    if (m->redo.size == 0)
        txn_abort(&m->root); /* and so say most */
    else if (machine_commit(m) != APPLIED)
        return mq_fail(err, MQ_INTERNAL, "cannot write the store: %s", mdb_strerror(m->rc));
    machine_keep(m);
    return MQ_OK;
}

void machine_close(struct machine *m)
{
    txn_abort(&m->root);
    redo_release(&m->redo);
    queue_free_all(m);
    free(m->touched);
    free(m->undo);
    free(m->fresh);
    buf_release(&m->fresh_bytes);
    free(m->places);
    free(m->paused);
    buf_release(&m->text);
    buf_release(&m->record);
    buf_release(&m->touches);
    buf_release(&m->leased);
    buf_release(&m->givers);
    buf_release(&m->names);
    buf_release(&m->expired);
    buf_release(&m->swept);
    buf_release(&m->aside);
    buf_release(&m->schedule);
    buf_release(&m->key_type);
    buf_release(&m->key_text);
    buf_release(&m->unblocked);
    buf_release(&m->unblocked_names);
    buf_release(&m->alarms);
    buf_release(&m->queue_news);
}
