#include "seam.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include "store/lmdb/machine.h"

struct seam seam;
struct seam_hooks seam_hooks;

/* ---- operations ---------------------------------------------------------------------------------------------- */

void __real_store_submit(struct store *store, struct store_op *op);
void __wrap_store_submit(struct store *store, struct store_op *op);

static void on_done(struct store_op *op)
{
    unsigned at = 0;
    while (at < seam.count && seam.tickets[at].op != op)
        at++;
    if (at == seam.count) {
        seam_hooks.wrong("an operation (verb %d) was answered that nobody waits for", (int)op->verb);
        return;
    }
    struct ticket ticket = seam.tickets[at];
    if (!ticket.committed && !ticket.is_read)
        seam_hooks.wrong("an operation (verb %d) was answered before its commit was on disk", (int)op->verb);
    if (seam.fate == FATE_KILL_ANSWERED && !ticket.is_read && seam.answers_left-- == 0) {
        seam.fate = FATE_NONE;
        longjmp(*seam.killed, 1);
    }
    memmove(&seam.tickets[at], &seam.tickets[at + 1], (--seam.count - at) * sizeof ticket);
    op->done = ticket.done;
    seam_hooks.answered(&ticket);
    seam.in_done = op;
    if (op->done)
        op->done(op);
    seam.in_done = NULL;
}

void __wrap_store_submit(struct store *store, struct store_op *op)
{
    if (seam.count == TICKETS_MAX)
        seam_hooks.wrong("%u operations are on their way at once", TICKETS_MAX);
    struct ticket *ticket = &seam.tickets[seam.count++];
    *ticket = (struct ticket){
        .op = op,
        .done = op->done,
        .ours = op == seam.client_op,
        .is_read = op->verb >= STORE_GET,
    };
    seam_hooks.submitted(ticket);
    op->done = on_done;
    __real_store_submit(store, op);
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

_Noreturn static void die(void)
{
    seam.fate = FATE_NONE;
    longjmp(*seam.killed, 1);
}

/* Changes that are surely more than nothing: nobody syncs for a batch that wrote nothing. */
static bool must_sync(void)
{
    for (unsigned i = 0; i < seam.count; i++) {
        const struct ticket *ticket = &seam.tickets[i];
        enum store_verb verb = ticket->op->verb;
        if (!ticket->committed && !ticket->is_read && ticket->op->code == MQ_OK &&
            ((verb == STORE_PUSH && ((const struct op_push *)ticket->op)->outcome != PUSH_SKIPPED) ||
             verb == STORE_COMPLETE || verb == STORE_FAIL || verb == STORE_RELEASE || verb == STORE_TICK))
            return true;
    }
    return false;
}

static void on_disk(const char *what, uint64_t syncs_before)
{
    if (must_sync() && seam.syncs == syncs_before)
        seam_hooks.wrong("%s with changes in it did not sync", what);
    seam.committed = true;
    if (seam.fate == FATE_KILL_AFTER)
        die();
}

enum applied __real_machine_apply(struct machine *m, struct store_op *first);
enum applied __wrap_machine_apply(struct machine *m, struct store_op *first);
enum applied __wrap_machine_apply(struct machine *m, struct store_op *first)
{
    enum applied applied = __real_machine_apply(m, first);
    seam.machine = m;
    seam.applied = applied == APPLIED;
    return applied;
}

void __real_machine_keep(struct machine *m);
void __wrap_machine_keep(struct machine *m);
void __wrap_machine_keep(struct machine *m)
{
    if (seam.flushing && !seam.committed)
        on_disk("a batch that is said to change nothing", seam.syncs);
    __real_machine_keep(m);
}

int __real_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data, unsigned flags);
int __wrap_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data, unsigned flags);
int __wrap_mdb_cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *data, unsigned flags)
{
    if (seam.fate == FATE_MAP_FULL && seam.flushing && seam.puts_left-- == 0) {
        seam.fate = FATE_NONE;
        return MDB_MAP_FULL;
    }
    return __real_mdb_cursor_put(cursor, key, data, flags);
}

/* ---- the journal ------------------------------------------------------------------------------------------------- */

static struct {
    bool open; /* journal_append is under way */
    int fd;
    off_t at; /* the record, if it is written */
    size_t len;
} record;

ssize_t __real_pwritev64(int fd, const struct iovec *parts, int count, off_t to);
ssize_t __wrap_pwritev64(int fd, const struct iovec *parts, int count, off_t to);
ssize_t __wrap_pwritev64(int fd, const struct iovec *parts, int count, off_t to)
{
    ssize_t done = __real_pwritev64(fd, parts, count, to);
    if (record.open && count == 3) { /* head, changes, zeros up to the page's end */
        record.fd = fd;
        record.at = to;
        record.len = parts[0].iov_len + parts[1].iov_len;
    }
    return done;
}

/* On disk is its front, and then what stood there before. */
static void tear(void)
{
    static const char zeros[4096];
    char byte;
    off_t at = record.at + (off_t)(seam.tear_at % record.len), end = record.at + (off_t)record.len;
    if (pread(record.fd, &byte, 1, at) == 1) {
        byte = (char)~byte;
        while (pwrite(record.fd, &byte, 1, at++) == 1 && at < end)
            byte = 0;
        for (; at % (off_t)sizeof zeros; at++)
            if (pwrite(record.fd, zeros, 1, at) != 1)
                return;
    }
}

/* Between a record's write and its sync. */
static void before_sync(void)
{
    if (!record.open || !record.len)
        return;
    if (seam.fate == FATE_KILL_TORN) {
        tear();
        die();
    }
    if (seam.fate == FATE_KILL_WRITTEN) {
        seam.committed = true; /* of a process that ends, the kernel forgets nothing */
        die();
    }
}

/* The C library's, as the dynamic linker finds it here first. The disk of a history is memory: only the count matters. */
int fdatasync(int fd)
{
    (void)fd;
    before_sync();
    seam.syncs++;
    return 0;
}

int __real_journal_append(struct journal *j, struct slice redo);
int __wrap_journal_append(struct journal *j, struct slice redo);
int __wrap_journal_append(struct journal *j, struct slice redo)
{
    if (seam.fate == FATE_KILL_BEFORE)
        die();
    if (seam.fate == FATE_DISK_FULL || seam.fate == FATE_DISK_DEAD)
        return ENOSPC; /* and then the commit that is tried instead meets it too */
    uint64_t syncs = seam.syncs;
    memset(&record, 0, sizeof record);
    record.open = true;
    int error = __real_journal_append(j, redo);
    record.open = false;
    if (!error)
        on_disk("a record of the journal", syncs);
    return error;
}

/* ---- commits ----------------------------------------------------------------------------------------------------- */

int __real_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn);
int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn);
int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn)
{
    int rc = __real_mdb_txn_begin(env, parent, flags, txn);
    if (rc == 0 && !parent && !(flags & MDB_RDONLY))
        seam.root = *txn;
    return rc;
}

void __real_mdb_txn_abort(MDB_txn *txn);
void __wrap_mdb_txn_abort(MDB_txn *txn);
void __wrap_mdb_txn_abort(MDB_txn *txn)
{
    if (txn == seam.root)
        seam.root = NULL;
    __real_mdb_txn_abort(txn);
}

static int refuse(MDB_txn *txn, int rc)
{
    seam.applied = false;
    mdb_txn_abort(txn);
    return rc;
}

int __real_mdb_txn_commit(MDB_txn *txn);

/* Of what the journal has, and nothing else. */
static int commit_checkpoint(MDB_txn *txn)
{
    uint64_t syncs = seam.syncs;
    bool dies = seam.fate == FATE_KILL_CHECKPOINT;
    if (dies && seam.tear_at % 2 == 0) {
        mdb_txn_abort(txn);
        die();
    }
    seam.root = NULL;
    int rc = __real_mdb_txn_commit(txn);
    if (rc == 0 && seam.syncs == syncs)
        seam_hooks.wrong("a checkpoint did not sync");
    if (dies)
        die();
    return rc;
}

/* The batch that is under way. */
static int commit_batch(MDB_txn *txn)
{
    enum fate fate = seam.fate;
    bool is_over = fate == FATE_DISK_FULL;
    if (fate == FATE_DISK_DEAD)
        is_over = seam.refusals > 0 && --seam.dead_for == 0;
    if (is_over)
        seam.fate = FATE_NONE;
    switch (fate) {
    case FATE_KILL_BEFORE:
        mdb_txn_abort(txn);
        die();
    case FATE_MAP_FULL:
        seam.fate = FATE_NONE;
        return refuse(txn, MDB_MAP_FULL);
    case FATE_DISK_FULL:
    case FATE_DISK_DEAD:
        seam.refusals++;
        return refuse(txn, ENOSPC);
    default:
        break;
    }
    uint64_t syncs = seam.syncs;
    seam.root = NULL;
    int rc = __real_mdb_txn_commit(txn);
    if (rc == 0)
        on_disk("a commit", syncs);
    return rc;
}

int __wrap_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    if (txn != seam.root)
        return __real_mdb_txn_commit(txn); /* a child */
    if (!seam.flushing) {
        seam.root = NULL;
        return __real_mdb_txn_commit(txn);
    }
    return seam.applied && !seam.committed ? commit_batch(txn) : commit_checkpoint(txn);
}

/* ---- the server's file ------------------------------------------------------------------------------------- */

enum mq_code __real_env_open(struct env **out, const struct store_settings *settings, struct mq_err *err);
enum mq_code __wrap_env_open(struct env **out, const struct store_settings *settings, struct mq_err *err);
enum mq_code __wrap_env_open(struct env **out, const struct store_settings *settings, struct mq_err *err)
{
    enum mq_code code = __real_env_open(out, settings, err);
    seam.env = code == MQ_OK ? *out : NULL;
    seam.opened++;
    return code;
}

bool seam_view(void **view)
{
    struct machine *m = seam.machine;
    if (!seam.root && !journal_is_empty(&seam.env->journal) && machine_recover(m) != APPLIED)
        seam_hooks.wrong("what the journal holds cannot be made again");
    *view = seam.root;
    if (!seam.root || !m->fresh_count)
        return true;
    if (setjmp(m->failed)) {
        if (m->rc != MDB_MAP_FULL) /* a checkpoint would make it greater, but we make none */
            seam_hooks.wrong("what LMDB has not been told of cannot be written: %s", mdb_strerror(m->rc));
        m->redo.muted = false;
        m->at = &m->root;
        seam_view_end();
        return false;
    }
    txn_begin(m, &m->child, m->root.mdb);
    m->at = &m->child;
    fresh_write(m);
    m->at = &m->root;
    *view = m->child.mdb;
    return true;
}

void seam_view_end(void)
{
    if (seam.root)
        txn_abort(&seam.machine->child);
}

void seam_bury(void)
{
    if (seam.root)
        mdb_txn_abort(seam.root);
    mdb_env_close(seam.env->mdb);
    close(seam.env->journal.fd);
    close(seam.env->lock_fd);
    seam.env = NULL;
    record.open = false;
    seam.count = 0;
    seam.fate = FATE_NONE;
    seam.woken = false;
    seam.in_done = NULL;
}

_Noreturn void __wrap_mq_bug_at(const char *file, int line, const char *format, ...);
_Noreturn void __wrap_mq_bug_at(const char *file, int line, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    seam_hooks.wrong("the server stops itself: %s:%d: %s", file, line, text);
    _exit(1);
}

/* ---- turning the store ------------------------------------------------------------------------------------- */

static unsigned gather(struct store_op **ops);

void seam_wake(void *owner)
{
    static struct store_op *ops[TICKETS_MAX];
    (void)owner;
    bool refused = seam.refusals >= 2;
    if (seam.flushing && !seam.committed && !refused && gather(ops) > 0)
        seam_hooks.wrong("the loop is told of a batch before its commit is on disk");
    seam.woken = true;
}

bool seam_busy(void)
{
    return seam.count > 0 || seam.woken;
}

/* What this flush takes: all changes that are not committed yet. */
static unsigned gather(struct store_op **ops)
{
    unsigned count = 0;
    for (unsigned i = 0; i < seam.count; i++)
        if (!seam.tickets[i].committed && !seam.tickets[i].is_read)
            ops[count++] = seam.tickets[i].op;
    return count;
}

static void settle_batch(struct store_op **ops, unsigned count, bool refused)
{
    for (unsigned i = 0; i < seam.count; i++)
        seam.tickets[i].committed = true;
    seam_hooks.batch(ops, count, seam.refusals > 0, refused);
}

bool seam_flush(struct store *store)
{
    static struct store_op *ops[TICKETS_MAX];
    jmp_buf killed;
    volatile unsigned count = gather(ops);
    seam.flushing = true;
    seam.applied = seam.committed = false;
    seam.refusals = 0;
    seam.killed = &killed;
    bool alive = setjmp(killed) == 0;
    if (alive)
        store_flush(store);
    seam.flushing = false;
    if (count && seam.committed)
        settle_batch(ops, count, false);
    else if (count && alive && seam.refusals >= 2)
        settle_batch(ops, count, true);
    return alive;
}

bool seam_collect(struct store *store)
{
    jmp_buf killed;
    seam.killed = &killed;
    if (setjmp(killed))
        return false;
    seam.woken = false;
    store_collect(store);
    return true;
}
