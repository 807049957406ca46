/*
 * fsck: each kind of damage is made with bare LMDB, found, told, mended, and gone afterwards; and what was whole
 * before is whole after.
 */
#include "lab.h"
#include "lmdb_factory.h"
#include "lmdb_check.h"
#include "store/fsck.h"

/* A store with a job in each state, some of them with history. */
struct world {
    struct lab *lab;
    job_id key_holder, key_waiter; /* of unique key "k"; in a queue of their own */
    job_id ready, parked, held, scheduled, running, retrying, succeeded, dead, cancelled, expiring, other;
    uint32_t queue_no;
};

static void close_store(struct lab *lab)
{
    store_close(lab->store);
    lab->store = NULL;
}

static job_id push_at(struct lab *lab, wall_ms run_at, wall_ms expires_at)
{
    struct op_push push = lab_order(lab, "mail", "{\"to\":\"ana\"}");
    push.run_at = run_at;
    push.spec.expires_at = expires_at;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    return push.id;
}

static job_id lease_next(struct lab *lab, uint64_t *token)
{
    struct leased_job *job = lab_lease(lab, "mail", 1);
    assert_non_null(job);
    *token = job->token;
    return job->id;
}

static job_id push_key(struct lab *lab)
{
    struct op_push push = lab_order(lab, "keys", "{}");
    push.spec.unique_key = SLICE("k");
    push.spec.unique_until = lab->now + 60000;
    push.spec.unique_states = JOB_STATES_UNFINISHED;
    push.conflict = UNIQUE_REPLACE;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    return push.id;
}

static struct world build(void)
{
    struct store_settings wishes = {.nosync = true, .crash_limit = 3};
    struct world w = {.lab = lab_open_with(&lmdb_factory, &wishes)};
    struct lab *lab = w.lab;
    uint64_t token;
    for (int i = 0; i < 6; i++)
        lab_push(lab, "mail", "{}");
    w.parked = lease_next(lab, &token);
    LAB_OP(lab, step, STORE_PARK);
    lab->step.id = w.parked;
    lab->step.token = token;
    assert_int_equal(lab_run(lab, &lab->step.op), MQ_OK);
    w.retrying = lease_next(lab, &token);
    lab_fail(lab, w.retrying, token, FAIL_RETRY, lab->now + 1000);
    w.succeeded = lease_next(lab, &token);
    lab_ack(lab, w.succeeded, token, "{\"sent\":true}");
    w.dead = lease_next(lab, &token);
    lab_fail(lab, w.dead, token, FAIL_DEAD, 0);
    w.cancelled = lease_next(lab, &token);
    lab_step(lab, STORE_CANCEL, w.cancelled);
    lab_fail(lab, w.cancelled, token, FAIL_CANCELLED, 0);
    w.running = lease_next(lab, &token);
    LAB_OP(lab, note, STORE_NOTE);
    lab->note.id = w.running;
    lab->note.token = token;
    lab->note.progress = 0.5F;
    lab->note.text = SLICE("half");
    lab->note.log_line = SLICE("a line");
    assert_int_equal(lab_run(lab, &lab->note.op), MQ_OK);
    w.ready = lab_push(lab, "mail", "{}");
    w.scheduled = push_at(lab, lab->now + 5000, WALL_NEVER);
    w.expiring = push_at(lab, 0, lab->now + 9000);
    struct op_push push = lab_order(lab, "mail", "{}");
    push.spec.type = SLICE("report");
    push.spec.priority = 0;
    assert_int_equal(lab_push_op(lab, &push), MQ_OK);
    w.held = push.id;
    lab_pause_type(lab, "report", 0);
    struct slice queue = SLICE("mail");
    LAB_OP(lab, lease, STORE_LEASE);
    lab->lease.queues = &queue;
    lab->lease.queue_count = 1;
    lab->lease.max = lab->lease.hold_max = 1;
    lab->lease.holder = SLICE("w1");
    assert_int_equal(lab_run(lab, &lab->lease.op), MQ_OK);
    assert_int_equal(lab->lease.held, 1);
    w.other = lab_push(lab, "other", "{}");
    w.key_holder = push_key(lab);
    assert_int_equal(lab_lease(lab, "keys", 1)->id, w.key_holder);
    w.key_waiter = push_key(lab);
    w.queue_no = lab_queue(lab, "mail")->no;
    close_store(lab);
    return w;
}

/* ---- what fsck found ---- */

struct findings {
    unsigned of[FSCK_KIND_COUNT], all;
    struct buf texts;
};

static void note(void *owner, const struct fsck_problem *problem)
{
    struct findings *findings = owner;
    findings->of[problem->kind]++;
    findings->all++;
    buf_printf(&findings->texts, "%s\n", problem->text);
}

static struct fsck_report check(const struct world *w, bool repair, struct findings *findings)
{
    struct fsck_settings settings = {
        .dir = w->lab->settings.dir, .repair = repair, .found = note, .owner = findings};
    struct fsck_report report;
    struct mq_err err = {0};
    memset(findings, 0, sizeof *findings);
    if (store_fsck(&report, &settings, &err) != MQ_OK)
        fail_msg("%s", err.text);
    assert_int_equal(report.problems, findings->all);
    return report;
}

/* ---- damage ---- */

static void put(struct file *file, enum db db, const void *key, size_t key_len, const void *value, size_t len)
{
    MDB_val k = {key_len, (void *)key}, v = {len, (void *)value};
    assert_int_equal(mdb_put(file->txn, file->dbi[db], &k, &v, 0), 0);
}

static void put_entry(struct file *file, enum db db, const struct key *key)
{
    put(file, db, key->at, key->len, "", 0);
}

static void take(struct file *file, enum db db, const struct key *key)
{
    MDB_val k = {key->len, (void *)key->at};
    assert_int_equal(mdb_del(file->txn, file->dbi[db], &k, NULL), 0);
}

static void flip(struct file *file, enum db db, const struct key *key, size_t at)
{
    char copy[1024];
    MDB_val k = {key->len, (void *)key->at}, v;
    assert_int_equal(mdb_get(file->txn, file->dbi[db], &k, &v), 0);
    assert_true(v.mv_size <= sizeof copy && at < v.mv_size);
    memcpy(copy, v.mv_data, v.mv_size);
    copy[at] ^= 0x10;
    put(file, db, key->at, key->len, copy, v.mv_size);
}

static struct job_status status_of(struct file *file, job_id id)
{
    struct key key;
    struct job_status status;
    key_of_id(&key, id);
    MDB_val k = {key.len, key.at}, v;
    assert_int_equal(mdb_get(file->txn, file->dbi[DB_STATES], &k, &v), 0);
    assert_int_equal(record_read_status(&status, (struct slice){v.mv_data, v.mv_size}, NULL), MQ_OK);
    status.holder = SLICE("w1"); /* what was lent goes with the next write */
    status.note = SLICE_EMPTY;
    return status;
}

static void write_status(struct file *file, job_id id, const struct job_status *status)
{
    char at[512];
    struct key key;
    key_of_id(&key, id);
    record_write_status(at, status);
    put(file, DB_STATES, key.at, key.len, at, record_status_bytes(status));
}

static struct key id_key(job_id id)
{
    struct key key;
    key_of_id(&key, id);
    return key;
}

static void status_flipped(struct file *f, const struct world *w)
{
    struct key key = id_key(w->running);
    flip(f, DB_STATES, &key, 20);
}
static void spec_flipped(struct file *f, const struct world *w)
{
    struct key key = id_key(w->scheduled);
    flip(f, DB_JOBS, &key, 20);
}
static void status_gone(struct file *f, const struct world *w)
{
    struct key key = id_key(w->succeeded);
    take(f, DB_STATES, &key);
}
static void spec_gone(struct file *f, const struct world *w)
{
    struct key key = id_key(w->dead);
    take(f, DB_JOBS, &key);
}
static void runs_without_token(struct file *f, const struct world *w)
{
    struct job_status status = status_of(f, w->running);
    status.token = 0;
    write_status(f, w->running, &status);
}
static void parked_and_dead(struct file *f, const struct world *w)
{
    struct job_status status = status_of(f, w->dead);
    status.parked = true;
    write_status(f, w->dead, &status);
}
static void ready_unindexed(struct file *f, const struct world *w)
{
    struct key key;
    key_of_ready(&key, w->queue_no, PRIORITY_DEFAULT, w->ready);
    take(f, DB_READY, &key);
}
static void parked_unindexed(struct file *f, const struct world *w)
{
    struct key key;
    key_of_ready(&key, w->queue_no, PRIORITY_DEFAULT, w->parked);
    take(f, DB_PARKED, &key);
}
static void held_unindexed(struct file *f, const struct world *w)
{
    struct key key;
    key_of_held(&key, 1, w->held);
    take(f, DB_HELD, &key);
}
static void held_and_parked(struct file *f, const struct world *w)
{
    struct job_status status = status_of(f, w->held);
    status.parked = true;
    write_status(f, w->held, &status);
}
static void pause_gone(struct file *f, const struct world *w)
{
    struct key key;
    (void)w;
    key_of_no(&key, 1);
    take(f, DB_PAUSES, &key);
}
static void pause_unreadable(struct file *f, const struct world *w)
{
    char no[4];
    (void)w;
    be32_put(no, 1);
    put(f, DB_PAUSES, no, 4, "nonsense", 8);
}
static void due_unindexed(struct file *f, const struct world *w)
{
    struct key key;
    key_of_due(&key, T0 + 5000, w->scheduled, DUE_RUN);
    take(f, DB_DUE, &key);
}
static void expiry_unindexed(struct file *f, const struct world *w)
{
    struct key key;
    key_of_due(&key, T0 + 9000, w->expiring, DUE_EXPIRE);
    take(f, DB_DUE, &key);
}
static void lease_unindexed(struct file *f, const struct world *w)
{
    struct key key;
    key_of_moment(&key, T0 + LEASE_DEFAULT_MS, w->running);
    take(f, DB_LEASES, &key);
}
static void dead_unindexed(struct file *f, const struct world *w)
{
    struct key key;
    key_of_moment(&key, T0, w->dead);
    take(f, DB_DEAD, &key);
}
static void finished_unindexed(struct file *f, const struct world *w)
{
    struct key key;
    key_of_moment(&key, T0 + KEEP_DEFAULT_MS, w->cancelled);
    take(f, DB_FINISHED, &key);
}
static void entry_of_nobody(struct file *f, const struct world *w)
{
    struct key key;
    key_of_ready(&key, w->queue_no, 0, 4711);
    put_entry(f, DB_READY, &key);
}
static void entry_of_another_state(struct file *f, const struct world *w)
{
    struct key key;
    key_of_moment(&key, T0 + 1, w->ready);
    put_entry(f, DB_LEASES, &key);
}
static void entry_at_another_time(struct file *f, const struct world *w)
{
    struct key key;
    key_of_due(&key, T0 + 4999, w->scheduled, DUE_RUN);
    put_entry(f, DB_DUE, &key);
}
/* One is missing, one too many: their number is right. */
static void entry_swapped(struct file *f, const struct world *w)
{
    due_unindexed(f, w);
    entry_at_another_time(f, w);
}
static void entry_without_shape(struct file *f, const struct world *w)
{
    (void)w;
    put(f, DB_FINISHED, "abc", 3, "", 0);
}
static void record_without_shape(struct file *f, const struct world *w)
{
    (void)w;
    put(f, DB_JOBS, "abc", 3, "precious", 8);
}
static void queue_flipped(struct file *f, const struct world *w)
{
    struct key key;
    key_of_no(&key, w->queue_no);
    flip(f, DB_QUEUES, &key, 15);
}
static void queue_gone(struct file *f, const struct world *w)
{
    struct key key;
    key_of_no(&key, w->queue_no);
    take(f, DB_QUEUES, &key);
}
static void put_queue(struct file *f, uint32_t no, const char *name, uint64_t ready)
{
    struct queue_body body = {0};
    struct buf out = BUF_INIT;
    struct key key;
    body.counts.in_state[JOB_READY] = ready;
    queue_encode(&out, &body, slice_of(name));
    key_of_no(&key, no);
    put(f, DB_QUEUES, key.at, key.len, buf_bytes(&out).at, buf_len(&out));
    buf_release(&out);
}
static void queue_twice(struct file *f, const struct world *w)
{
    (void)w;
    put_queue(f, 77, "mail", 0);
}
static void queue_miscounted(struct file *f, const struct world *w)
{
    put_queue(f, w->queue_no, "mail", 4711);
}
static void sums_wrong(struct file *f, const struct world *w)
{
    char at[KEPT_BYTES];
    (void)w;
    kept_write(at, &(struct meta){.finished_bytes = 8, .dead_bytes = 9});
    put(f, DB_META, "kept", 4, at, sizeof at);
}
/* Nobody's number, though the job says which queue it is of. */
static void status_of_no_queue(struct file *f, const struct world *w)
{
    struct job_status status = status_of(f, w->ready);
    status.queue_no = 99;
    write_status(f, w->ready, &status);
}
static void status_of_other_queue(struct file *f, const struct world *w)
{
    struct job_status status = status_of(f, w->ready), other = status_of(f, w->other);
    status.queue_no = other.queue_no;
    write_status(f, w->ready, &status);
}
static void other_priority(struct file *f, const struct world *w)
{
    struct job_status status = status_of(f, w->ready);
    status.priority = 1;
    write_status(f, w->ready, &status);
}
static void put_counters(struct file *f, uint64_t id, uint64_t token, uint32_t queue_no)
{
    char at[20];
    be64_put(at, id);
    be64_put(at + 8, token);
    be32_put(at + 16, queue_no);
    put(f, DB_META, "counters", 8, at, sizeof at);
}
static void ids_would_repeat(struct file *f, const struct world *w)
{
    (void)w;
    put_counters(f, 5, 1000, 1000);
}
static void tokens_would_repeat(struct file *f, const struct world *w)
{
    put_counters(f, w->key_waiter, 1, 1000);
}
static void queue_numbers_would_repeat(struct file *f, const struct world *w)
{
    put_counters(f, w->key_waiter, 1000, 1);
}
static void counters_gone(struct file *f, const struct world *w)
{
    (void)w;
    put(f, DB_META, "counters", 8, "?", 1);
}
static void attempt_of_nobody(struct file *f, const struct world *w)
{
    struct key key;
    (void)w;
    key_of_part(&key, 4711, 1);
    put(f, DB_ATTEMPTS, key.at, key.len, "x", 1);
}
static void log_of_nobody(struct file *f, const struct world *w)
{
    struct key key;
    (void)w;
    key_of_part(&key, 4711, 1);
    put(f, DB_LOGS, key.at, key.len, "12345678line", 12);
}
static void result_of_nobody(struct file *f, const struct world *w)
{
    struct key key = id_key(4711);
    (void)w;
    put(f, DB_RESULTS, key.at, key.len, "{}", 2);
}
static void attempt_unreadable(struct file *f, const struct world *w)
{
    struct key key;
    key_of_part(&key, w->dead, 1);
    put(f, DB_ATTEMPTS, key.at, key.len, "x", 1);
}
static void log_unreadable(struct file *f, const struct world *w)
{
    struct key key;
    key_of_part(&key, w->running, 0);
    put(f, DB_LOGS, key.at, key.len, "short", 5);
}

/* ---- unique keys ---- */

static void write_key(struct file *f, const char *at_key, job_id holder, job_id waiter)
{
    struct key key;
    struct buf bytes = BUF_INIT;
    unique_place(&key, slice_of(at_key));
    unique_encode(&bytes,
                  &(struct unique_record){
                      .type = SLICE("email.send"), .key = SLICE("k"), .holder = holder, .waiter = waiter});
    put(f, DB_UNIQUE, key.at, key.len, buf_bytes(&bytes).at, buf_len(&bytes));
    buf_release(&bytes);
}
static void key_gone(struct file *f, const struct world *w)
{
    struct key key;
    (void)w;
    unique_place(&key, SLICE("k"));
    take(f, DB_UNIQUE, &key);
}
static void key_without_waiter(struct file *f, const struct world *w)
{
    write_key(f, "k", w->key_holder, JOB_ID_NONE);
}
static void key_of_nobody(struct file *f, const struct world *w)
{
    write_key(f, "k", 4711, w->key_waiter);
}
static void key_awaited_by_nobody(struct file *f, const struct world *w)
{
    write_key(f, "k", w->key_holder, w->ready);
}
static void key_at_another_place(struct file *f, const struct world *w)
{
    write_key(f, "other", w->key_holder, w->key_waiter);
}
static void key_flipped(struct file *f, const struct world *w)
{
    struct key key;
    (void)w;
    unique_place(&key, SLICE("k"));
    flip(f, DB_UNIQUE, &key, 9);
}
static void key_held_twice(struct file *f, const struct world *w)
{
    struct job_status status = status_of(f, w->key_waiter);
    struct key key;
    status.state = JOB_READY;
    status.key_role = KEY_HOLDS;
    status.key_until = T0 + 60000;
    status.holder = SLICE_EMPTY;
    write_status(f, w->key_waiter, &status);
    key_of_due(&key, status.key_until, w->key_waiter, DUE_KEY);
    put_entry(f, DB_DUE, &key);
}
static void key_spent_and_awaited(struct file *f, const struct world *w)
{
    struct job_status status = status_of(f, w->key_holder);
    struct key key;
    status.key_role = KEY_SPENT;
    status.key_until = 0;
    write_status(f, w->key_holder, &status);
    key_of_due(&key, T0 + 60000, w->key_holder, DUE_KEY);
    take(f, DB_DUE, &key);
    key_gone(f, w);
}
static void key_has_no_end(struct file *f, const struct world *w)
{
    struct key key;
    key_of_due(&key, T0 + 60000, w->key_holder, DUE_KEY);
    take(f, DB_DUE, &key);
}
static void key_in_no_record(struct file *f, const struct world *w)
{
    struct job_status status = status_of(f, w->ready);
    status.key_role = KEY_FREE;
    status.key_states = JOB_STATES_UNFINISHED;
    status.holder = SLICE_EMPTY;
    write_status(f, w->ready, &status);
}

static const struct row {
    const char *name;
    void (*damage)(struct file *file, const struct world *w);
    enum fsck_kind kind;
    const char *says;
    bool only; /* nothing else is told */
} rows[] = {
    {"a status fails its checksum", status_flipped, FSCK_UNREADABLE, "fails its checksum", false},
    {"a job record fails its checksum", spec_flipped, FSCK_UNREADABLE, "job record", false},
    {"a job has no status", status_gone, FSCK_NO_STATUS, "no status", false},
    {"a status has no job", spec_gone, FSCK_NO_RECORD, "no job record", false},
    {"a job runs under no token", runs_without_token, FSCK_CONTRADICTION, "never leased", false},
    {"a dead letter is parked", parked_and_dead, FSCK_CONTRADICTION, "not ready", false},
    {"a ready job is not in ready", ready_unindexed, FSCK_NOT_INDEXED, "'ready' has no entry", true},
    {"a parked job is not in parked", parked_unindexed, FSCK_NOT_INDEXED, "'parked' has no entry", true},
    {"a held job is not in held", held_unindexed, FSCK_NOT_INDEXED, "'held' has no entry", true},
    {"a held job is parked, too", held_and_parked, FSCK_CONTRADICTION, "held", false},
    {"a job is held by nothing", pause_gone, FSCK_HELD_BY_NONE, "no such pause", true},
    {"a pause cannot be read", pause_unreadable, FSCK_PAUSE_UNREADABLE, "pause number 1", false},
    {"a scheduled job is not in due", due_unindexed, FSCK_NOT_INDEXED, "is scheduled, but 'due'", true},
    {"an expiry is not in due", expiry_unindexed, FSCK_NOT_INDEXED, "is ready, but 'due'", true},
    {"a running job is not in leases", lease_unindexed, FSCK_NOT_INDEXED, "'leases' has no entry", true},
    {"a dead letter is not in dead", dead_unindexed, FSCK_NOT_INDEXED, "'dead' has no entry", true},
    {"a finished job is not in finished", finished_unindexed, FSCK_NOT_INDEXED, "is cancelled, but", true},
    {"an entry names nobody", entry_of_nobody, FSCK_STRAY, "there is no such job", true},
    {"an entry is of another state", entry_of_another_state, FSCK_STRAY, "the job is ready", true},
    {"an entry is of another time", entry_at_another_time, FSCK_STRAY, "at another place", true},
    {"an entry is missing and another too many", entry_swapped, FSCK_STRAY, "at another place", false},
    {"an entry has no shape", entry_without_shape, FSCK_MALFORMED, "3 bytes", true},
    {"a record has no shape", record_without_shape, FSCK_MALFORMED, "3 bytes", true},
    {"a queue record fails its checksum", queue_flipped, FSCK_QUEUE_UNREADABLE, "'mail'", true},
    {"a queue record is gone", queue_gone, FSCK_QUEUE_MISSING, "'mail'", true},
    {"a queue has two records", queue_twice, FSCK_QUEUE_TWICE, "number 77", false},
    {"a queue counts wrong", queue_miscounted, FSCK_MISCOUNTED, "4711 ready (there are 4)", true},
    {"the bytes that are kept are counted wrong", sums_wrong, FSCK_MISCOUNTED,
     "dead letters are counted as 9 bytes", false},
    {"a status names no queue", status_of_no_queue, FSCK_QUEUE_OTHER, "number 99", false},
    {"a status names another queue", status_of_other_queue, FSCK_QUEUE_OTHER, "'other'", false},
    {"a status has another priority", other_priority, FSCK_QUEUE_OTHER, "its status says 1", false},
    {"the last id is behind", ids_would_repeat, FSCK_COUNTER_BEHIND, "last id", true},
    {"the last token is behind", tokens_would_repeat, FSCK_COUNTER_BEHIND, "last token", true},
    {"the next queue number is behind", queue_numbers_would_repeat, FSCK_COUNTER_BEHIND, "queue number",
     true},
    {"the counters are gone", counters_gone, FSCK_COUNTER_BEHIND, "last id", false},
    {"a key's record is gone", key_gone, FSCK_KEY_MISSING, "holds unique key 'k'", false},
    {"a key's record forgot who waits", key_without_waiter, FSCK_KEY_MISSING, "waits for unique key 'k'",
     true},
    {"a key's record names nobody", key_of_nobody, FSCK_STRAY, "does not hold it", false},
    {"a key's record names a stranger", key_awaited_by_nobody, FSCK_STRAY, "does not wait for it", false},
    {"a key's record lies elsewhere", key_at_another_place, FSCK_STRAY, "another key's place", true},
    {"a key's record cannot be read", key_flipped, FSCK_KEY_UNREADABLE, "damaged", false},
    {"two jobs hold one key", key_held_twice, FSCK_KEY_TWICE, "and so does job", false},
    {"a job waits for a key that nobody has", key_spent_and_awaited, FSCK_WAITS_FOR_NONE, "waits for", true},
    {"a key's end is not in due", key_has_no_end, FSCK_NOT_INDEXED, "'due' has no entry", true},
    {"a status has a key and its record has none", key_in_no_record, FSCK_CONTRADICTION, "do not agree",
     false},
    {"an attempt is nobody's", attempt_of_nobody, FSCK_ORPHAN, "'attempts'", true},
    {"a log line is nobody's", log_of_nobody, FSCK_ORPHAN, "'logs'", true},
    {"a result is nobody's", result_of_nobody, FSCK_ORPHAN, "'results'", true},
    {"an attempt cannot be read", attempt_unreadable, FSCK_PART_UNREADABLE, "attempt record", false},
    {"a log line cannot be read", log_unreadable, FSCK_PART_UNREADABLE, "a log line", true},
};

static void release(struct world *w, struct findings *findings)
{
    buf_release(&findings->texts);
    lab_reopen(w->lab); /* the store opens what was mended */
    lab_close(w->lab);
}

static void a_store_that_works_is_clean(void **state)
{
    (void)state;
    struct world w = build();
    struct findings findings;
    struct fsck_report report = check(&w, false, &findings);
    if (findings.all)
        fail_msg("%s", findings.texts.at);
    assert_int_equal(report.jobs, 13);
    assert_int_equal(report.queues, 3);
    assert_int_equal(report.entries, 15); /* one each but the blocked, one expiry, a unique key and its end */
    release(&w, &findings);
}

static void each_kind_of_damage_is_found_and_mended(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct world w = build();
        struct file file;
        struct findings found, mended, after;
        file_open(&file, w.lab->settings.dir);
        row->damage(&file, &w);
        file_close(&file);

        struct fsck_report report = check(&w, false, &found);
        if (!found.of[row->kind] || !strstr(found.texts.at, row->says) || (row->only && found.all != 1))
            fail_msg("%s: found %s", row->name, found.all ? found.texts.at : "nothing");
        assert_false(report.mended);
        check(&w, false, &mended); /* looking has changed nothing */
        assert_int_equal(mended.all, found.all);
        buf_release(&mended.texts);

        report = check(&w, true, &mended);
        assert_int_equal(mended.all, found.all);
        if (!report.mended || report.left)
            fail_msg("%s: %d left", row->name, (int)report.left);
        check(&w, false, &after);
        if (after.all)
            fail_msg("%s: mended, and still %s", row->name, after.texts.at);
        buf_release(&found.texts);
        buf_release(&mended.texts);
        lmdb_check(w.lab->settings.dir); /* says the same, in its own words */
        release(&w, &after);
    }
}

/* A mended store goes on: what was whole is run, nothing is handed out twice. */
static void a_mended_store_runs_on(void **state)
{
    (void)state;
    struct world w = build();
    struct findings findings;
    struct file file;
    file_open(&file, w.lab->settings.dir);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].kind == FSCK_NOT_INDEXED || rows[i].damage == queue_gone ||
            rows[i].damage == ids_would_repeat)
            rows[i].damage(&file, &w);
    file_close(&file);
    assert_int_equal(check(&w, true, &findings).left, 0);
    lab_reopen(w.lab);
    assert_int_equal(lab_state(w.lab, w.ready), JOB_READY);
    assert_int_equal(lab_lease(w.lab, "mail", 10)->id, w.ready); /* not the parked one, a worker asks */
    assert_int_equal(w.lab->lease.count, 2);
    assert_true(lab_push(w.lab, "mail", "{}") > w.other);
    w.lab->now += 6000;
    assert_int_equal(lab_sweep(w.lab, SWEEP_DUE, 10), MQ_OK);
    assert_int_equal(lab_state(w.lab, w.scheduled), JOB_READY);
    close_store(w.lab);
    release(&w, &findings);
}

static void what_cannot_be_read_is_kept_in_quarantine(void **state)
{
    (void)state;
    struct world w = build();
    struct findings findings;
    struct file file;
    file_open(&file, w.lab->settings.dir);
    spec_gone(&file, &w);
    struct key key = id_key(w.ready);
    flip(&file, DB_STATES, &key, 3);
    file_close(&file);
    struct fsck_report report = check(&w, true, &findings);
    assert_int_equal(report.quarantined, 2);
    file_open(&file, w.lab->settings.dir);
    MDB_val k = {key.len, key.at}, v;
    assert_int_equal(mdb_get(file.txn, file.dbi[DB_QUARANTINE], &k, &v), 0);
    assert_non_null(memmem(v.mv_data, v.mv_size, "email.send", 10));
    file_close(&file);
    release(&w, &findings);
}

/* ---- schedules ---- */

static void tick_of(struct lab *lab, wall_ms planned, enum tick_outcome outcome)
{
    struct op_tick tick = {
        .name = SLICE("digest"),
        .row = {.outcome = outcome, .planned = planned, .until = planned, .count = 1, .note = SLICE_EMPTY},
        .next = planned + 1000,
        .keep = 4};
    store_op_init(&tick.op, STORE_TICK, lab->now);
    assert_int_equal(lab_run(lab, &tick.op), MQ_OK);
    store_op_release(&tick.op);
}

/* An entry of which four ticks of six are left: rows 2 to 5. */
static struct world build_schedule(void)
{
    struct store_settings wishes = {.nosync = true};
    struct world w = {.lab = lab_open_with(&lmdb_factory, &wishes)};
    struct op_schedule set = {.name = SLICE("digest"),
                              .change = SCHEDULE_SET,
                              .source = SCHEDULE_OF_COMMAND,
                              .definition = SLICE("{}"),
                              .planned = T0};
    store_op_init(&set.op, STORE_SCHEDULE, w.lab->now);
    assert_int_equal(lab_run(w.lab, &set.op), MQ_OK);
    store_op_release(&set.op);
    for (int i = 0; i < 6; i++)
        tick_of(w.lab, T0 + i * 1000, i % 2 ? TICK_MISSED : TICK_SKIPPED);
    close_store(w.lab);
    return w;
}

static struct key row_key(const char *name, uint64_t no)
{
    struct key key;
    key_of_tick(&key, slice_of(name), no);
    return key;
}

static void put_row(struct file *file, const char *name, uint64_t no, wall_ms planned)
{
    struct tick_row row = {
        .outcome = TICK_MISSED, .planned = planned, .until = planned, .count = 1, .note = SLICE_EMPTY};
    struct buf bytes = BUF_INIT;
    struct key key = row_key(name, no);
    tick_encode(&bytes, &row);
    put(file, DB_TICKS, key.at, key.len, bytes.at, buf_len(&bytes));
    buf_release(&bytes);
}

static void schedule_flipped(struct file *file)
{
    struct key key;
    key_of_name(&key, SLICE("digest"));
    flip(file, DB_SCHEDULES, &key, 9);
}
static void row_flipped(struct file *file)
{
    struct key key = row_key("digest", 3);
    flip(file, DB_TICKS, &key, 9);
}
static void row_of_nobody(struct file *file)
{
    put_row(file, "digest-2", 0, T0);
}
static void row_that_was_dropped(struct file *file)
{
    put_row(file, "digest", 1, T0 + 1000);
}
static void row_of_the_future(struct file *file)
{
    put_row(file, "digest", 6, T0 + 60000);
}
static void row_key_malformed(struct file *file)
{
    put(file, DB_TICKS, "digest", 6, "", 0);
}
static void moment_decided_twice(struct file *file)
{
    put_row(file, "digest", 4, T0 + 3000);
}

static const struct schedule_damage {
    void (*make)(struct file *file);
    enum fsck_kind kind;
    unsigned left; /* after a repair */
} schedule_damages[] = {
    {schedule_flipped, FSCK_SCHEDULE_UNREADABLE, 0},
    {row_flipped, FSCK_PART_UNREADABLE, 0},
    {row_of_nobody, FSCK_ORPHAN, 0},
    {row_that_was_dropped, FSCK_ORPHAN, 0},
    {row_of_the_future, FSCK_ORPHAN, 0},
    {row_key_malformed, FSCK_MALFORMED, 0},
    {moment_decided_twice, FSCK_TICK_TWICE, 1}, /* whoever ran twice has run twice */
};

static void damage_of_schedules_is_found_and_mended(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof schedule_damages / sizeof *schedule_damages; i++) {
        struct world w = build_schedule();
        struct findings findings;
        struct file file;
        assert_int_equal(check(&w, false, &findings).problems, 0);
        file_open(&file, w.lab->settings.dir);
        schedule_damages[i].make(&file);
        file_close(&file);
        buf_release(&findings.texts);
        struct fsck_report report = check(&w, true, &findings);
        assert_true(findings.of[schedule_damages[i].kind] > 0);
        assert_non_null(memmem(findings.texts.at, buf_len(&findings.texts),
                               schedule_damages[i].kind == FSCK_MALFORMED ? "ticks" : "digest", 5));
        assert_int_equal(report.left, schedule_damages[i].left);
        buf_release(&findings.texts);
        assert_int_equal(check(&w, true, &findings).problems, schedule_damages[i].left);
        release(&w, &findings);
    }
}

static void a_served_folder_is_refused(void **state)
{
    (void)state;
    struct world w = build();
    struct fsck_settings settings = {.dir = w.lab->settings.dir};
    struct fsck_report report;
    struct mq_err err;
    char pid[32];
    lab_reopen(w.lab);
    assert_int_equal(store_fsck(&report, &settings, &err), MQ_CONFLICT);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    assert_non_null(strstr(err.text, pid));
    settings.dir = "/nonexistent";
    assert_int_equal(store_fsck(&report, &settings, &err), MQ_NOTFOUND);
    lab_close(w.lab);
}

static void change_layout(struct world *w, uint32_t layout)
{
    struct file file;
    char at[4];
    be32_put(at, layout);
    file_open(&file, w->lab->settings.dir);
    put(&file, DB_META, "layout", 6, at, 4);
    file_close(&file);
}

static void another_layout_is_not_touched(void **state)
{
    (void)state;
    struct world w = build();
    struct fsck_settings settings = {.dir = w.lab->settings.dir, .repair = true};
    struct fsck_report report;
    struct mq_err err;
    change_layout(&w, 4711);
    assert_int_equal(store_fsck(&report, &settings, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "4711"));
    change_layout(&w, LAYOUT);
    lab_reopen(w.lab);
    lab_close(w.lab);
}

static off_t bytes_of(const struct world *w)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "%s/moonq.mdb", w->lab->settings.dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void a_file_that_was_cut_is_told_not_read(void **state)
{
    (void)state;
    struct world w = build();
    struct findings findings;
    char path[300], copy[700];
    snprintf(path, sizeof path, "%s/moonq.mdb", w.lab->settings.dir);
    snprintf(copy, sizeof copy, "cp %s %s.whole", path, path);
    assert_int_equal(system(copy), 0);
    assert_int_equal(truncate(path, 5 * 4096), 0);
    struct fsck_report report = check(&w, true, &findings);
    assert_int_equal(findings.of[FSCK_CUT], 1);
    assert_int_equal(bytes_of(&w), 5 * 4096); /* left as it was found */
    assert_int_equal(report.left, 1);
    snprintf(copy, sizeof copy, "mv %s.whole %s", path, path);
    assert_int_equal(system(copy), 0);
    release(&w, &findings);
}

static void a_file_that_lacks_only_free_pages_is_mended_as_any_other(void **state)
{
    (void)state;
    struct world w = build();
    struct findings findings;
    struct file file;
    file_open(&file, w.lab->settings.dir);
    ready_unindexed(&file, &w);
    file_close(&file);
    file_shorten(w.lab->settings.dir);
    struct fsck_report report = check(&w, true, &findings);
    assert_int_equal(findings.all, 1);
    assert_int_equal(findings.of[FSCK_NOT_INDEXED], 1);
    assert_true(report.mended);
    assert_int_equal(report.left, 0);
    buf_release(&findings.texts);
    assert_int_equal(check(&w, false, &findings).problems, 0);
    release(&w, &findings);
}

/* As a file system without fallocate leaves it. */
static void a_file_that_lacks_only_free_pages_is_clean(void **state)
{
    (void)state;
    struct world w = build();
    struct findings findings;
    off_t bytes = file_shorten(w.lab->settings.dir);
    struct fsck_report report = check(&w, false, &findings);
    if (findings.all)
        fail_msg("%s", findings.texts.at);
    assert_true(report.pages * 4096 > (uint64_t)bytes);
    assert_int_equal(bytes_of(&w), bytes); /* looking changes nothing */
    release(&w, &findings);
}

static void an_empty_store_is_clean(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true};
    struct world w = {.lab = lab_open_with(&lmdb_factory, &wishes)};
    struct findings findings;
    close_store(w.lab);
    assert_int_equal(check(&w, true, &findings).problems, 0);
    release(&w, &findings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_that_works_is_clean),
        cmocka_unit_test(an_empty_store_is_clean),
        cmocka_unit_test(each_kind_of_damage_is_found_and_mended),
        cmocka_unit_test(a_mended_store_runs_on),
        cmocka_unit_test(what_cannot_be_read_is_kept_in_quarantine),
        cmocka_unit_test(damage_of_schedules_is_found_and_mended),
        cmocka_unit_test(a_served_folder_is_refused),
        cmocka_unit_test(another_layout_is_not_touched),
        cmocka_unit_test(a_file_that_was_cut_is_told_not_read),
        cmocka_unit_test(a_file_that_lacks_only_free_pages_is_clean),
        cmocka_unit_test(a_file_that_lacks_only_free_pages_is_mended_as_any_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
