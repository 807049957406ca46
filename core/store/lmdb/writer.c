#include "store/lmdb/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/log.h"

#define BATCH_OPS_MAX   16384       /* more only makes its first operation wait for its last */
#define BATCH_BYTES_MAX (64u << 20) /* far below the 512 MiB of dirty pages at which LMDB gives up */

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
    struct store_op **end = &writer->waiting;
    while (*end && batch.count < BATCH_OPS_MAX && batch.bytes < BATCH_BYTES_MAX) {
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

/* The world failed in a way that nothing here mends: whoever supervises us restarts from what is on disk. */
_Noreturn static void give_up(const char *what, const char *why)
{
    log_event(LOG_ERROR, "store.failed", LOG_STR("what", what), LOG_STR("error", why));
    mq_bug("store: %s: %s", what, why);
}

static void grow(struct writer *writer, uint64_t bytes)
{
    struct mq_err err;
    if (env_grow(writer->env, bytes, &err) != MQ_OK)
        give_up("growing the map", err.text);
}

static enum applied try(struct writer *writer, const struct batch *batch)
{
    struct machine *m = &writer->machine;
    enum applied applied = machine_apply(m, batch->first);
    if (applied != APPLIED)
        return applied;
    uint64_t began = clock_us();
    applied = machine_commit(m);
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

/* Applies until it is on disk, or refused as a whole because even what must not be refused has no space. */
static void commit(struct writer *writer, const struct batch *batch)
{
    struct machine *m = &writer->machine;
    m->rules = rules_now(writer);
    env_grow_early(writer->env);
    bool full = m->no_space = !env_has_space(writer->env, batch->bytes);
    for (;;) {
        switch (try(writer, batch)) {
        case APPLIED:
            set_disk_full(writer, full);
            if (writer->env->relaxed_ms)
                writer->unsynced_since = clock_mono(); /* with it, the one before is on disk */
            return;
        case APPLIED_MAP_FULL:
            grow(writer, batch->bytes);
            break;
        case APPLIED_NO_SPACE:
            if (full) {
                machine_refuse_all(m, batch->first, MQ_NOSPACE,
                                   "the disk is full, and its reserve is used up");
                set_disk_full(writer, true);
                return;
            }
            full = m->no_space = true;
            break;
        case APPLIED_FAILED:
            give_up("a commit", mdb_strerror(m->rc));
        }
    }
}

int64_t writer_settle(struct writer *writer, mono_ms now)
{
    mono_ms due = writer->unsynced_since + writer->env->relaxed_ms;
    if (!writer->unsynced_since)
        return -1;
    if (now < due)
        return due - now;
    int rc = env_sync(writer->env);
    if (rc)
        give_up("a sync", mdb_strerror(rc));
    writer->unsynced_since = 0;
    return -1;
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
    struct figures *figures = &writer->figures;
    figures->commits++;
    figures->operations += batch.count;
    figures->commit_us_total += clock_us() - began;
    if (batch.count > figures->batch_max)
        figures->batch_max = batch.count;
    return pack(&writer->machine, batch.first);
}
