#include "seam.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "store/lmdb/env.h"

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

/* ---- commits --------------------------------------------------------------------------------------------------- */

static MDB_txn *root;

int __real_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn);
int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn);
int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn)
{
    int rc = __real_mdb_txn_begin(env, parent, flags, txn);
    if (rc == 0 && !parent && !(flags & MDB_RDONLY))
        root = *txn;
    return rc;
}

static int refuse(MDB_txn *txn, int rc)
{
    mdb_txn_abort(txn);
    return rc;
}

/* Changes that are surely more than nothing: LMDB does not sync for a batch that wrote nothing. */
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

int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    if (txn != root || !seam.flushing)
        return __real_mdb_txn_commit(txn);
    enum fate fate = seam.fate;
    bool stays = fate == FATE_KILL_ANSWERED;
    if (fate == FATE_DISK_DEAD)
        stays = seam.refusals == 0 || --seam.dead_for > 0;
    if (!stays)
        seam.fate = FATE_NONE;
    switch (fate) {
    case FATE_KILL_BEFORE:
        mdb_txn_abort(txn);
        longjmp(*seam.killed, 1);
    case FATE_MAP_FULL:
        return refuse(txn, MDB_MAP_FULL);
    case FATE_DISK_FULL:
    case FATE_DISK_DEAD:
        seam.refusals++;
        return refuse(txn, ENOSPC);
    default:
        break;
    }
    uint64_t syncs = seam.syncs;
    int rc = __real_mdb_txn_commit(txn);
    if (rc == 0) {
        seam.committed = true;
        if (must_sync() && seam.syncs == syncs)
            seam_hooks.wrong("a commit with changes in it did not sync");
    }
    if (rc == 0 && fate == FATE_KILL_AFTER)
        longjmp(*seam.killed, 1);
    return rc;
}

/* LMDB's, as the dynamic linker finds it here first. The disk of a history is memory: only the count matters. */
int fdatasync(int fd)
{
    (void)fd;
    seam.syncs++;
    return 0;
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

void seam_bury(void)
{
    mdb_env_close(seam.env->mdb);
    close(seam.env->lock_fd);
    seam.env = NULL;
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
    seam.committed = false;
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
