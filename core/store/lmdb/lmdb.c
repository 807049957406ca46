/*
 * The store as the loop sees it: submit, flush, collect. One thread writes, some read; each way there is one
 * queue without a lock (handover.h). Without threads (readers == 0) flush does all the work itself.
 *
 *     loop --changes--> writer thread --.
 *       '-----reads---> readers --------+--done--> loop: store_collect
 */
#include "store/store.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "store/lmdb/writer.h"
#include "base/alloc.h"
#include "base/log.h"

#define READERS_LIMIT   16
#define HOUSEKEEPING_MS 10000 /* how often dead readers of other processes are cleared from LMDB's table */

struct read_thread {
    struct store *store;
    pthread_t thread;
    struct snapshot snapshot;
    _Atomic mono_ms ran_at;
};

struct store {
    struct env *env;
    struct writer writer;
    pthread_t writer_thread;
    _Atomic mono_ms wrote_at, kept_house_at; /* the writer's thread turned, and looked after readers */
    struct read_thread readers[READERS_LIMIT];
    struct snapshot *snapshots[READERS_LIMIT];
    unsigned reader_count; /* at least 1: without threads, the loop's own */
    bool threaded;
    atomic_bool stopping;
    struct handover changes, reads, done;
    uint64_t collected;         /* the loop's: the last batch that was handed back */
    pthread_mutex_t reads_lock; /* between readers only */
    struct parcel *reads_taken;
    /* the loop's */
    struct store_op *newest_change, *oldest_change, *newest_read, *oldest_read;
    uint64_t in_flight;
    struct store_listener listener;
    void (*wake)(void *owner);
    void *wake_owner;
};

/* An operation begins with its `next`, so a chain of them can be handed over as it is. */
_Static_assert(offsetof(struct store_op, next) == offsetof(struct parcel, next), "store_op begins with next");

static void deliver(struct store *store, struct delivery *delivery)
{
    handover_put(&store->done, &delivery->parcel, &delivery->parcel);
    if (store->wake)
        store->wake(store->wake_owner);
}

/* ---- the writer's thread ---- */

static void keep_house(struct store *store, mono_ms *next)
{
    mono_ms now = clock_mono();
    int dead = 0;
    if (now < *next)
        return;
    *next = now + HOUSEKEEPING_MS;
    store->kept_house_at = now;
    mdb_reader_check(store->env->mdb, &dead);
    if (dead)
        log_event(LOG_WARN, "store.readers_cleared", LOG_INT("count", dead));
}

static void *write_loop(void *arg)
{
    struct store *store = arg;
    struct writer *writer = &store->writer;
    mono_ms next_house = clock_mono() + HOUSEKEEPING_MS;
    for (;;) {
        uint32_t heard = bell_listen(&store->changes.bell);
        store->wrote_at = clock_mono();
        bool stopping = store->stopping;
        writer_add(writer, (struct store_op *)handover_take(&store->changes));
        struct delivery *delivery = writer_run(writer);
        if (delivery)
            deliver(store, delivery);
        mono_ms now = clock_mono();
        writer_rest(writer, now);
        if (!delivery && stopping)
            break;
        if (!delivery) {
            int64_t rest = writer_rests_for(writer, now);
            bell_sleep(&store->changes.bell, heard,
                       rest < 0 || rest > HOUSEKEEPING_MS ? HOUSEKEEPING_MS : rest);
        }
        keep_house(store, &next_house);
    }
    writer_checkpoint(writer); /* here: LMDB's transactions belong to their thread */
    return NULL;
}

/* ---- readers ---- */

static struct store_op *take_read(struct store *store)
{
    pthread_mutex_lock(&store->reads_lock);
    if (!store->reads_taken)
        store->reads_taken = handover_take(&store->reads);
    struct parcel *op = store->reads_taken;
    if (op)
        store->reads_taken = op->next;
    pthread_mutex_unlock(&store->reads_lock);
    return (struct store_op *)op;
}

/* Until LMDB's file has what the read must see. */
static enum mq_code wait_for_batch(struct store *store, uint64_t batch, struct mq_err *err)
{
    struct writer *writer = &store->writer;
    uint64_t refused = atomic_load(&writer->refused);
    while (!writer_has(writer, batch)) {
        uint32_t heard = bell_listen(&writer->checkpointed);
        if (atomic_load(&writer->refused) != refused)
            return mq_fail(
                err, MQ_NOSPACE,
                "the disk is full, and its reserve is used up: what was confirmed last is safe, but "
                "cannot be read yet");
        writer_wants(writer, batch);
        if (store->threaded) {
            bell_ring(&store->changes.bell);
            if (!writer_has(writer, batch))
                bell_sleep(&writer->checkpointed, heard, HOUSEKEEPING_MS);
        } else {
            writer_checkpoint(writer);
        }
    }
    return MQ_OK;
}

static void run_read(struct read_thread *reader, struct store_op *op)
{
    struct store *store = reader->store;
    buf_clear(&op->memory);
    op->code = wait_for_batch(store, op->sees, &op->err);
    if (op->code != MQ_OK) {
        deliver(store, delivery_of(op));
        return;
    }
    read_run(&reader->snapshot, op, &store->writer.figures, store->snapshots, store->reader_count);
    deliver(store, delivery_of(op));
}

static void *read_loop(void *arg)
{
    struct read_thread *reader = arg;
    struct store *store = reader->store;
    for (;;) {
        uint32_t heard = bell_listen(&store->reads.bell);
        reader->ran_at = clock_mono();
        bool stopping = store->stopping;
        struct store_op *op = take_read(store);
        if (op)
            run_read(reader, op);
        else if (stopping)
            return NULL;
        else
            bell_sleep(&store->reads.bell, heard, HOUSEKEEPING_MS);
    }
}

/* ---- pulses ---- */

/* Each thread turns once in HOUSEKEEPING_MS, also if nobody wants anything. */
void store_pulses(const struct store *store, mono_ms now, struct pulse *list, unsigned *count)
{
    if (!store->threaded)
        return;
    mono_ms wrote = store->wrote_at, house = store->kept_house_at, oldest = MONO_NEVER;
    for (unsigned i = 0; i < store->reader_count; i++) {
        mono_ms ran = store->readers[i].ran_at;
        oldest = ran < oldest ? ran : oldest;
    }
    pulse_add(list, count, "writer", now, wrote, wrote + HOUSEKEEPING_MS);
    pulse_add(list, count, "readers", now, oldest, oldest + HOUSEKEEPING_MS);
    pulse_add(list, count, "reader_check", now, house, house + 2 * HOUSEKEEPING_MS);
}

/* ---- open and close ---- */

static void init_readers(struct store *store, const struct store_settings *settings)
{
    unsigned count = settings->readers > READERS_LIMIT ? READERS_LIMIT : settings->readers;
    store->reader_count = count ? count : 1;
    for (unsigned i = 0; i < store->reader_count; i++) {
        store->readers[i].store = store;
        snapshot_init(&store->readers[i].snapshot, store->env, settings->snapshot_max_ms);
        store->snapshots[i] = &store->readers[i].snapshot;
    }
}

static void start_thread(pthread_t *thread, void *(*run)(void *), void *arg, const char *name)
{
    /* signals are the loop's */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc)
        mq_bug("cannot start thread '%s': %s", name, strerror(rc));
    pthread_setname_np(*thread, name);
}

static void start_threads(struct store *store)
{
    store->wrote_at = store->kept_house_at = clock_mono();
    for (unsigned i = 0; i < store->reader_count; i++)
        store->readers[i].ran_at = store->wrote_at;
    start_thread(&store->writer_thread, write_loop, store, "store");
    for (unsigned i = 0; i < store->reader_count; i++)
        start_thread(&store->readers[i].thread, read_loop, &store->readers[i], "store-reader");
}

enum mq_code store_open(struct store **out, const struct store_settings *settings, struct mq_err *err)
{
    struct store *store = mq_calloc(1, sizeof *store);
    pthread_mutex_init(&store->reads_lock, NULL);
    enum mq_code code = env_open(&store->env, settings, err);
    if (code == MQ_OK)
        code = writer_open(&store->writer, store->env, settings, err);
    if (code != MQ_OK) {
        writer_close(&store->writer);
        env_close(store->env);
        pthread_mutex_destroy(&store->reads_lock);
        free(store);
        return code;
    }
    init_readers(store, settings);
    deliver(store, writer_first_news(&store->writer));
    store->threaded = settings->readers > 0;
    if (store->threaded)
        start_threads(store);
    *out = store;
    return MQ_OK;
}

void store_attach(struct store *store, const struct store_listener *listener, void (*wake)(void *owner),
                  void *wake_owner)
{
    store->listener = *listener;
    store->wake_owner = wake_owner;
    store->wake = wake;
}

void store_configure(struct store *store, const struct store_settings *settings)
{
    writer_configure(&store->writer, settings);
}

static void stop_threads(struct store *store)
{
    store->stopping = true;
    bell_ring(&store->changes.bell);
    bell_ring(&store->reads.bell);
    pthread_join(store->writer_thread, NULL);
    for (unsigned i = 0; i < store->reader_count; i++)
        pthread_join(store->readers[i].thread, NULL);
}

void store_close(struct store *store)
{
    if (!store)
        return;
    for (;;) {
        uint32_t heard = bell_listen(&store->done.bell);
        store_flush(store);
        store_collect(store);
        if (!store->in_flight)
            break;
        if (store->threaded && !store->newest_change && !store->newest_read)
            bell_sleep(&store->done.bell, heard, HOUSEKEEPING_MS);
    }
    if (store->threaded)
        stop_threads(store);
    else
        writer_checkpoint(&store->writer);
    for (unsigned i = 0; i < store->reader_count; i++)
        snapshot_release(&store->readers[i].snapshot);
    writer_close(&store->writer);
    env_close(store->env);
    pthread_mutex_destroy(&store->reads_lock);
    free(store);
}

/* ---- the loop's side ---- */

static void push_newest(struct store_op **newest, struct store_op **oldest, struct store_op *op)
{
    op->next = *newest;
    *newest = op;
    if (!*oldest)
        *oldest = op;
}

void store_submit(struct store *store, struct store_op *op)
{
    store->in_flight++;
    op->sees = store->collected;
    if (op->verb >= STORE_GET)
        push_newest(&store->newest_read, &store->oldest_read, op);
    else
        push_newest(&store->newest_change, &store->oldest_change, op);
}

static void send(struct handover *to, struct store_op **newest, struct store_op **oldest)
{
    if (*newest)
        handover_put(to, (struct parcel *)*newest, (struct parcel *)*oldest);
    *newest = *oldest = NULL;
}

/* Without threads: the same queues, but we are the other side too. */
static void work_here(struct store *store)
{
    struct delivery *delivery;
    struct store_op *op;
    writer_add(&store->writer, (struct store_op *)handover_take(&store->changes));
    while ((delivery = writer_run(&store->writer))) {
        deliver(store, delivery);
        writer_rest(&store->writer, 0); /* no time passes here: only the journal's length counts, until a
                                           checkpoint is refused; then only who looks */
    }
    while ((op = take_read(store)))
        run_read(&store->readers[0], op);
}

void store_flush(struct store *store)
{
    send(&store->changes, &store->newest_change, &store->oldest_change);
    send(&store->reads, &store->newest_read, &store->oldest_read);
    if (!store->threaded)
        work_here(store);
}

static void raise_alarms(const struct store_listener *listener, struct slice alarms)
{
    const char *at = alarms.at, *end = alarms.at + alarms.len;
    while (listener->alarm && at < end) {
        const char *event = at, *text = event + strlen(event) + 1;
        listener->alarm(listener->owner, event, text);
        at = text + strlen(text) + 1;
    }
}

static void hand_back(struct store *store, struct delivery *delivery)
{
    const struct store_listener *listener = &store->listener;
    struct store_op *next;
    if (delivery->has_news && delivery->news.unblocked_count && listener->unblocked)
        listener->unblocked(listener->owner, &delivery->news);
    if (delivery->batch > store->collected)
        store->collected = delivery->batch;
    for (struct store_op *op = delivery->ops; op; op = next) {
        next = op->next; /* done may free it */
        store->in_flight--;
        if (listener->committed && delivery->has_news)
            listener->committed(listener->owner, op);
        if (op->done)
            op->done(op);
    }
    if (delivery->has_news && listener->news)
        listener->news(listener->owner, &delivery->news);
    raise_alarms(listener, delivery->alarms);
    free(delivery);
}

void store_collect(struct store *store)
{
    struct parcel *next;
    for (struct parcel *at = handover_take(&store->done); at; at = next) {
        next = at->next;
        hand_back(store, (struct delivery *)at);
    }
}
