#include "store/lmdb/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/log.h"

/* More only makes its first operation wait for its last, and clients have nothing to do meanwhile. A commit is worth more
   than a record of the journal. */
#define BATCH_OPS_COMMIT  16384
#define BATCH_OPS_JOURNAL 8192
#define BATCH_BYTES_MAX   (64u << 20) /* far below the 512 MiB of dirty pages at which LMDB gives up */
/* The more, the more jobs end before LMDB hears of them, and the longer is a replay. */
#define JOURNAL_LIMIT (64u << 20)
#define DIRECT_BYTES  (256u << 10) /* changes so long cost a commit less than writing them twice, */
#define SCATTERED     12           /* unless the pages on which they lie are so much more */
#define PAGE_BYTES    4096
#define OPEN_MAX_MS   1000 /* so long at most is a batch only in the journal, */
#define AHEAD_MS                                                                                             \
    400 /* from then on LMDB is told, with each batch, of some of what the checkpoint would tell */
#define AHEAD    128
#define RETRY_MS 1000 /* unless the disk has no space for a checkpoint: so long until the next try */

static uint64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void writer_configure(struct writer *writer, const struct store_settings *settings)
{
    writer->queue_limit = settings->queue_limit;
    writer->dead_keep_ms = settings->dead_keep_ms;
    writer->crash_limit = settings->crash_limit;
    writer->keep_max = settings->keep_max;
    writer->keep_bytes = settings->keep_bytes;
    writer->dead_max = settings->dead_max;
    writer->dead_bytes = settings->dead_bytes;
    writer->env->queue_limit = settings->queue_limit;
}

static struct rules rules_now(const struct writer *writer)
{
    return (struct rules){
        .queue_limit = writer->queue_limit,
        .dead_keep_ms = writer->dead_keep_ms,
        .crash_limit = writer->crash_limit,
        .keep_max = writer->keep_max,
        .keep_bytes = writer->keep_bytes,
        .dead_max = writer->dead_max,
        .dead_bytes = writer->dead_bytes,
    };
}

enum mq_code writer_open(struct writer *writer, struct env *env, const struct store_settings *settings,
                         struct mq_err *err)
{
    memset(writer, 0, sizeof *writer);
    writer->env = env;
    writer->waiting_end = &writer->waiting;
    writer->journal_limit = settings->journal_bytes ? settings->journal_bytes : JOURNAL_LIMIT;
    writer_configure(writer, settings);
    struct rules rules = rules_now(writer);
    return machine_open(&writer->machine, env, &rules, err);
}

void writer_close(struct writer *writer)
{
    machine_close(&writer->machine);
}

void writer_add(struct writer *writer, struct store_op *first)
{
    *writer->waiting_end = first;
    while (*writer->waiting_end)
        writer->waiting_end = &(*writer->waiting_end)->next;
}

/* ---- a batch ---- */

static uint64_t bytes_of_push(const struct op_push *push)
{
    return push->spec.payload.len + push->spec.meta.len + 3 * push->spec.unique_key.len +
           512; /* and its records and keys */
}

/* What an operation may add to the file, roughly. */
static uint64_t bytes_of(const struct store_op *op)
{
    uint64_t bytes = 512;
    switch (op->verb) {
    case STORE_PUSH:
        return bytes_of_push((const struct op_push *)op);
    case STORE_COMPLETE: {
        const struct op_complete *complete = (const struct op_complete *)op;
        bytes += complete->result.len;
        for (unsigned i = 0; i < complete->child_count; i++)
            bytes += bytes_of_push(complete->children[i]);
        return bytes;
    }
    case STORE_FAIL: {
        const struct op_fail *fail = (const struct op_fail *)op;
        return bytes + fail->message.len + fail->traceback.len;
    }
    case STORE_EDIT:
    case STORE_RETRY:
        return bytes + ((const struct op_step *)op)->payload.len;
    case STORE_NOTE:
        return bytes + ((const struct op_note *)op)->log_line.len;
    case STORE_SCHEDULE:
        return bytes + ((const struct op_schedule *)op)->definition.len;
    case STORE_TICK: {
        const struct op_tick *tick = (const struct op_tick *)op;
        return bytes + TICK_NOTE_MAX + SCHEDULE_BYTES_MAX + (tick->push ? bytes_of_push(tick->push) : 0);
    }
    case STORE_GROUP: {
        const struct op_group *group = (const struct op_group *)op;
        for (unsigned i = 0; i < group->count; i++)
            bytes += bytes_of(group->members[i]);
        return bytes;
    }
    default:
        return bytes;
    }
}

struct batch {
    struct store_op *first;
    unsigned count;
    uint64_t bytes;
};

/* In the order in which they are applied, so that they are answered, and told of, in that order too. */
static void leases_last(struct batch *batch)
{
    struct store_op *op = batch->first, *leases = NULL;
    struct store_op **end = &batch->first, **leases_end = &leases;
    for (; op; op = op->next) {
        struct store_op ***to = op->verb == STORE_LEASE ? &leases_end : &end;
        **to = op;
        *to = &op->next;
    }
    *leases_end = NULL;
    *end = leases;
}

static struct batch cut(struct writer *writer)
{
    struct batch batch = {.first = writer->waiting};
    unsigned most =
        writer->are_close ? BATCH_OPS_COMMIT : BATCH_OPS_JOURNAL; /* if it is like the last long one */
    struct store_op **end = &writer->waiting;
    while (*end && batch.count < most && batch.bytes < BATCH_BYTES_MAX) {
        batch.bytes += bytes_of(*end);
        batch.count++;
        end = &(*end)->next;
    }
    if (!*end) {
        writer->waiting = NULL;
        writer->waiting_end = &writer->waiting;
    } else {
        writer->waiting = *end;
        *end = NULL;
    }
    leases_last(&batch);
    return batch;
}

#define NOTHING_LOST "nothing that was confirmed is lost: mend the cause and start again"

/* The world failed in a way that nothing here mends: whoever supervises us restarts from what is on disk. */
_Noreturn static void give_up(const char *what, const char *why, const char *next)
{
    log_event(LOG_ERROR, "store.failed", LOG_STR("what", what), LOG_STR("error", why), LOG_STR("next", next));
    abort();
}

_Noreturn static void give_up_lmdb(const char *what, int rc)
{
    if (rc == JOURNAL_UNREADABLE)
        give_up(what, "the journal cannot be read back",
                "check the disk, leave " DATA_NAME " and " JOURNAL_NAME " as they are, and start again");
    give_up(what, mdb_strerror(rc), layout_is_damage(rc) ? LAYOUT_DAMAGED : NOTHING_LOST);
}

static void grow(struct writer *writer, uint64_t bytes)
{
    struct mq_err err;
    if (env_grow(writer->env, bytes, &err) != MQ_OK)
        give_up("growing the map", err.text, NOTHING_LOST);
}

static void grow_early(struct writer *writer)
{
    struct mq_err err;
    if (env_grow_early(writer->env, &err) != MQ_OK)
        give_up("growing the map", err.text, NOTHING_LOST);
}

/* ---- checkpoints ---- */

static bool is_open(const struct writer *writer)
{
    return !journal_is_empty(&writer->env->journal);
}

/* All batches so far, and the one at hand, are in LMDB's file. */
static void note_checkpoint(struct writer *writer, uint64_t batches)
{
    writer->open_bytes = 0;
    writer->retry_at = 0;
    atomic_store(&writer->committed, batches);
    bell_ring(&writer->checkpointed);
}

static void note_refusal(struct writer *writer)
{
    writer->retry_at = clock_mono() + RETRY_MS;
    atomic_fetch_add(&writer->refused, 1);
    bell_ring(&writer->checkpointed);
}

bool writer_checkpoint(struct writer *writer)
{
    struct machine *m = &writer->machine;
    while (is_open(writer)) {
        enum applied applied = machine_recover(m);
        if (applied == APPLIED)
            applied = machine_commit(m);
        switch (applied) {
        case APPLIED:
            writer->figures.checkpoints++;
            break;
        case APPLIED_MAP_FULL:
            grow(writer, writer->open_bytes);
            break;
        case APPLIED_NO_SPACE:
            note_refusal(writer);
            return false;
        case APPLIED_FAILED:
            give_up_lmdb("a checkpoint", m->rc);
        }
    }
    note_checkpoint(writer, writer->batches);
    return true;
}

static bool is_wanted(const struct writer *writer)
{
    return atomic_load(&writer->wanted) > atomic_load(&writer->committed);
}

void writer_wants(struct writer *writer, uint64_t batch)
{
    uint64_t wanted = atomic_load(&writer->wanted);
    while (wanted < batch && !atomic_compare_exchange_weak(&writer->wanted, &wanted, batch))
        ;
}

static int64_t until(mono_ms due, mono_ms now)
{
    return due > now ? due - now : 0;
}

static int64_t until_checkpoint(const struct writer *writer, mono_ms now)
{
    bool is_long = journal_bytes(&writer->env->journal) >= writer->journal_limit;
    if (writer->retry_at)
        return until(writer->retry_at, now);
    return is_wanted(writer) || is_long ? 0 : until(writer->open_since + OPEN_MAX_MS, now);
}

static int64_t until_sync(const struct writer *writer, mono_ms now)
{
    return writer->env->journal.unsynced ? until(writer->unsynced_since + writer->env->relaxed_ms, now)
                                         : INT64_MAX;
}

int64_t writer_rests_for(const struct writer *writer, mono_ms now)
{
    if (!is_open(writer))
        return -1;
    int64_t checkpoint = until_checkpoint(writer, now), sync = until_sync(writer, now);
    return checkpoint < sync ? checkpoint : sync;
}

void writer_rest(struct writer *writer, mono_ms now)
{
    if (!is_open(writer))
        return;
    if (until_checkpoint(writer, now) == 0 && writer_checkpoint(writer))
        return; /* which is a sync as well */
    if (until_sync(writer, now) == 0) {
        int error = journal_sync(&writer->env->journal);
        if (error)
            give_up("the journal's sync", strerror(error),
                    "sync is relaxed: what was confirmed since the last sync may be lost. Check the disk, "
                    "start again");
    }
}

/* ---- to the disk ---- */

/* Where there was no room for one at the start there may be now. */
static bool has_journal(struct writer *writer)
{
    return writer->env->journal.is_ready || journal_prepare(&writer->env->journal, writer->env->dbi) == 0;
}

/*
 * A long batch whose changes lie close together is cheapest as a commit of its own: the journal would take as many bytes as
 * LMDB's pages, and those are still to be written then. One whose changes are scattered (over many queues, say) touches a
 * page with each; the journal lets many batches share them. And of one whose jobs will end before the journal is full LMDB
 * need not hear.
 */
static bool is_close(const struct writer *writer)
{
    const struct redo *redo = &writer->machine.redo;
    return redo->places * PAGE_BYTES < redo->size * SCATTERED &&
           !fresh_end_soon(&writer->machine, writer->journal_limit / 2);
}

/* The batch that was applied is in the journal; false: it cannot be, or should not. */
static bool to_journal(struct writer *writer, const struct batch *batch, bool direct)
{
    struct journal *journal = &writer->env->journal;
    struct redo *redo = &writer->machine.redo;
    bool first = journal_is_empty(journal), is_long = redo->size > DIRECT_BYTES;
    if (redo->size == 0) {
        machine_keep(&writer->machine);
        return true;
    }
    if (is_long)
        writer->are_close = is_close(writer);
    if (direct || !redo->on || (is_long && writer->are_close) || !has_journal(writer))
        return false;
    bool synced = !journal->unsynced;
    int error = journal_append(journal, machine_redo(&writer->machine));
    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        return false;
    if (error)
        give_up("the journal", strerror(error), NOTHING_LOST);
    if (first)
        writer->open_since = clock_mono();
    if (synced && journal->unsynced)
        writer->unsynced_since = clock_mono();
    writer->open_bytes += batch->bytes;
    machine_keep(&writer->machine);
    return true;
}

/* Somebody waits to read it, and LMDB's file had space when we last looked. */
static bool is_due(const struct writer *writer)
{
    return is_wanted(writer) && !writer->retry_at;
}

static enum applied try(struct writer *writer, const struct batch *batch, bool direct)
{
    struct machine *m = &writer->machine;
    m->redo.on = !direct;
    m->redo.most = writer->are_close ? DIRECT_BYTES : 0; /* a long batch will be like the last */
    enum applied applied = machine_apply(m, batch->first);
    if (applied != APPLIED)
        return applied;
    uint64_t began = clock_us();
    if (!to_journal(writer, batch, direct || is_due(writer))) {
        applied = machine_commit(m);
        if (applied == APPLIED) {
            writer->figures.checkpoints++;
            note_checkpoint(writer, writer->batches + 1);
        }
    }
    writer->figures.sync_us_last = clock_us() - began;
    return applied;
}

static void set_disk_full(struct writer *writer, bool full)
{
    if (writer->disk_full == full)
        return;
    writer->disk_full = full;
    if (full)
        machine_alarm(&writer->machine, "disk.full",
                      "less than %llu MiB are left for acknowledgements: pushes are refused with NOSPACE",
                      (unsigned long long)(writer->env->reserve_bytes >> 20));
    else
        machine_alarm(&writer->machine, "disk.recovered", "pushes are accepted again");
}

/*
 * Whether what adds data is taken. Where space is short every batch is a commit, so that the reserve is known exactly: what
 * the journal still holds goes first.
 */
static bool has_space(struct writer *writer, uint64_t bytes)
{
    if (env_has_space(writer->env, writer->open_bytes + bytes))
        return true;
    return is_open(writer) && writer_checkpoint(writer) && env_has_space(writer->env, bytes);
}

/* Applies until it is on disk, or refused as a whole because even what must not be refused has no space. */
static void commit(struct writer *writer, const struct batch *batch)
{
    struct machine *m = &writer->machine;
    m->rules = rules_now(writer);
    m->tell_ahead = is_open(writer) && clock_mono() - writer->open_since >= AHEAD_MS ? AHEAD : 0;
    if (!m->root.mdb)
        grow_early(writer);
    bool full = m->no_space = !has_space(writer, batch->bytes);
    for (;;) {
        switch (try(writer, batch, full)) {
        case APPLIED:
            set_disk_full(writer, full);
            return;
        case APPLIED_MAP_FULL:
            grow(writer, writer->open_bytes + batch->bytes);
            break;
        case APPLIED_NO_SPACE:
            if (!full && is_due(writer)) { /* the journal may have some */
                note_refusal(writer);
                break;
            }
            if (full) {
                machine_refuse_all(m, batch->first, MQ_NOSPACE,
                                   "the disk is full, and its reserve is used up");
                set_disk_full(writer, true);
                return;
            }
            full = m->no_space = true;
            break;
        case APPLIED_FAILED:
            give_up_lmdb("a commit", m->rc);
        }
    }
}

/* ---- deliveries ---- */

/* Copies behind what is there already; answers where. */
static char *put(char **at, const void *bytes, size_t len)
{
    char *to = *at;
    if (len)
        memcpy(to, bytes, len);
    *at = to + len;
    return to;
}

/* Arrays first, text behind them: so all of it is aligned. */
static struct delivery *pack(const struct machine *m, struct store_op *ops)
{
    const struct store_news *news = &m->news;
    size_t queues = news->queue_count * sizeof(struct queue_news),
           unblocked = news->unblocked_count * sizeof(struct unblocked),
           names = news->unblocked_count ? news->unblocked_names.len : 0;
    struct slice alarms = buf_bytes(&m->alarms);
    struct delivery *delivery = mq_alloc(sizeof *delivery + queues + unblocked + names + alarms.len);
    char *at = (char *)(delivery + 1);
    *delivery = (struct delivery){.ops = ops, .has_news = true, .news = *news};
    delivery->news.queues = (const struct queue_news *)(void *)put(&at, news->queues, queues);
    delivery->news.unblocked = (const struct unblocked *)(void *)put(&at, news->unblocked, unblocked);
    delivery->news.unblocked_names = (struct slice){put(&at, news->unblocked_names.at, names), names};
    delivery->alarms = (struct slice){put(&at, alarms.at, alarms.len), alarms.len};
    return delivery;
}

struct delivery *delivery_of(struct store_op *op)
{
    struct delivery *delivery = mq_calloc(1, sizeof *delivery);
    op->next = NULL;
    delivery->ops = op;
    return delivery;
}

struct delivery *writer_first_news(struct writer *writer)
{
    struct delivery *delivery = pack(&writer->machine, NULL);
    buf_clear(&writer->machine.alarms);
    return delivery;
}

struct delivery *writer_run(struct writer *writer)
{
    if (!writer->waiting)
        return NULL;
    uint64_t began = clock_us();
    struct batch batch = cut(writer);
    commit(writer, &batch);
    writer->batches++;
    struct figures *figures = &writer->figures;
    figures->commits++;
    figures->operations += batch.count;
    figures->commit_us_total += clock_us() - began;
    if (batch.count > figures->batch_max)
        figures->batch_max = batch.count;
    struct delivery *delivery = pack(&writer->machine, batch.first);
    delivery->batch = writer->batches;
    if (!is_open(writer))
        note_checkpoint(writer, writer->batches); /* it changed nothing, or was a commit */
    return delivery;
}
