/* One look at everything: jobs beside their statuses, indexes, parts, queues, the counters of meta. */
#include "store/lmdb/fsck.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "job/record.h"

#define TEXT_BYTES 600

void fsck_problem(struct fsck *f, enum fsck_kind kind, job_id id, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    f->problems++;
    if (f->round > 1)
        return;
    f->report->problems++;
    if (!f->settings->found)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    f->settings->found(f->settings->owner, &(struct fsck_problem){kind, id, text});
}

/* ---- walking ---- */

/* A place in a database; `more` is false behind its end. */
struct at {
    enum db db;
    bool more;
    struct slice key, value;
};

static struct at start(struct fsck *f, enum db db)
{
    static const struct key first = {.len = 1};
    struct at at = {.db = db};
    f->walking = db;
    at.more = txn_seek(&f->m, db, &first, &at.key, &at.value);
    return at;
}

static void next(struct fsck *f, struct at *at)
{
    f->walking = at->db;
    at->more = txn_next(&f->m, at->db, &at->key, &at->value);
}

static void fix_entry(struct fsck *f, int what, const struct at *at)
{
    fsck_fix(f, &(struct fix){.what = what, .db = at->db}, at->key);
}

static void malformed(struct fsck *f, const struct at *at)
{
    fsck_problem(f, FSCK_MALFORMED, JOB_ID_NONE, "database '%s' has a key of %zu bytes", db_names[at->db],
                 at->key.len);
    fix_entry(f, at->db == DB_JOBS || at->db == DB_STATES ? FIX_SET_ASIDE : FIX_REMOVE, at);
}

/* The next whose key has this length. */
static void skip_malformed(struct fsck *f, struct at *at, size_t key_bytes)
{
    for (; at->more && at->key.len != key_bytes; next(f, at))
        malformed(f, at);
}

static void met_id(struct fsck *f, job_id id)
{
    if (id > f->most.last_id)
        f->most.last_id = id;
}

static void met_token(struct fsck *f, uint64_t token)
{
    if (token > f->most.last_token)
        f->most.last_token = token;
}

/* ---- queues ---- */

struct tally *fsck_queue_named(struct fsck *f, struct slice name)
{
    struct tally *tally;
    HASH_FIND(by_name, f->by_name, name.at, name.len, tally);
    return tally;
}

struct tally *fsck_queue_add(struct fsck *f, uint32_t no)
{
    struct tally *tally = mq_calloc(1, sizeof *tally);
    tally->no = no;
    HASH_ADD(by_no, f->by_no, no, sizeof no, tally);
    if (no >= f->most.next_queue_no)
        f->most.next_queue_no = no + 1;
    return tally;
}

void fsck_queue_name(struct fsck *f, struct tally *tally, struct slice name)
{
    tally->name_len = (uint8_t)name.len;
    memcpy(tally->name, name.at, name.len);
    HASH_ADD(by_name, f->by_name, name, tally->name_len, tally);
}

static struct tally *queue_of(struct fsck *f, uint32_t no)
{
    struct tally *tally;
    HASH_FIND(by_no, f->by_no, &no, sizeof no, tally);
    return tally ? tally : fsck_queue_add(f, no);
}

void fsck_forget(struct fsck *f)
{
    struct tally *tally, *after;
    HASH_CLEAR(by_name, f->by_name);
    HASH_ITER (by_no, f->by_no, tally, after) {
        HASH_DELETE(by_no, f->by_no, tally);
        free(tally);
    }
    f->problems = 0;
    f->fix_count = 0;
    buf_clear(&f->texts);
}

static void read_queue(struct fsck *f, const struct at *at)
{
    struct slice name;
    uint32_t no = be32_get(at->key.at);
    struct tally *tally = fsck_queue_add(f, no), *other;
    tally->has_record = true;
    f->report->queues++;
    if (queue_decode(&tally->body, &name, at->value, NULL) != MQ_OK)
        return; /* told when its jobs have been met, which know its name */
    tally->readable = true;
    other = fsck_queue_named(f, name);
    if (!other) {
        fsck_queue_name(f, tally, name);
        return;
    }
    fsck_problem(f, FSCK_QUEUE_TWICE, JOB_ID_NONE, "queue '%.*s' has two records, number %u and number %u",
                 SLICE_ARG(name), other->no, no);
    fix_entry(f, FIX_REMOVE, at);
}

static void read_queues(struct fsck *f)
{
    f->report->queues = 0;
    for (struct at at = start(f, DB_QUEUES); at.more; next(f, &at)) {
        if (at.key.len == 4)
            read_queue(f, &at);
        else
            malformed(f, &at);
    }
}

/* ---- pauses of types ---- */

static void read_pauses(struct fsck *f)
{
    f->pause_count = 0;
    for (struct at at = start(f, DB_PAUSES); at.more; next(f, &at)) {
        struct pause_record record;
        struct mq_err why;
        if (at.key.len != 4) {
            malformed(f, &at);
            continue;
        }
        if (pause_decode(&record, at.value, &why) != MQ_OK) {
            fsck_problem(f, FSCK_PAUSE_UNREADABLE, JOB_ID_NONE, "pause number %u: %s", be32_get(at.key.at),
                         why.text);
            fix_entry(f, FIX_REMOVE, &at);
            continue;
        }
        if (f->pause_count == f->pause_cap) {
            f->pause_cap = f->pause_cap ? f->pause_cap * 2 : 16;
            f->pauses = mq_realloc(f->pauses, f->pause_cap * sizeof *f->pauses);
        }
        f->pauses[f->pause_count++] = be32_get(at.key.at);
    }
}

bool fsck_has_pause(const struct fsck *f, uint32_t no)
{
    for (unsigned i = 0; i < f->pause_count; i++)
        if (f->pauses[i] == no)
            return true;
    return false;
}

/* ---- jobs and statuses ---- */

static bool may_expire(const struct job_status *s)
{
    bool waits = s->state == JOB_BLOCKED || s->state == JOB_SCHEDULED || s->state == JOB_READY;
    return waits && !s->started && s->expires_at != WALL_NEVER;
}

/* The one entry that says where the job stands; false if its state has none. */
static bool main_entry(enum db *db, struct key *key, job_id id, const struct job_status *s)
{
    switch (s->state) {
    case JOB_READY:
        *db = s->held_no ? DB_HELD : s->parked ? DB_PARKED : DB_READY;
        if (s->held_no)
            key_of_held(key, s->held_no, id);
        else
            key_of_ready(key, s->queue_no, s->priority, id);
        return true;
    case JOB_SCHEDULED:
    case JOB_RETRYING:
        *db = DB_DUE;
        key_of_due(key, s->due_at, id, DUE_RUN);
        return true;
    case JOB_RUNNING:
        *db = DB_LEASES;
        key_of_moment(key, s->deadline, id);
        return true;
    case JOB_DEAD:
        *db = DB_DEAD;
        key_of_moment(key, s->since, id);
        return true;
    case JOB_SUCCEEDED:
    case JOB_CANCELLED:
    case JOB_EXPIRED:
        *db = DB_FINISHED;
        key_of_moment(key, s->due_at, id);
        return true;
    default:
        return false;
    }
}

static bool expiry_entry(struct key *key, job_id id, const struct job_status *s)
{
    if (!may_expire(s))
        return false;
    key_of_due(key, s->expires_at, id, DUE_EXPIRE);
    return true;
}

/* It lets go of its unique key at a moment that is known. */
static bool key_entry(struct key *key, job_id id, const struct job_status *s)
{
    if (s->key_role != KEY_HOLDS || s->key_until == WALL_NEVER)
        return false;
    key_of_due(key, s->key_until, id, DUE_KEY);
    return true;
}

/* `told`: the job has a worse problem, which is known; only count what is there. */
static void expect(struct fsck *f, enum db db, const struct key *key, job_id id, const struct job_status *s,
                   bool told)
{
    char text[JOB_ID_TEXT_BYTES];
    f->walking = db;
    if (txn_find(&f->m, db, key, NULL)) {
        f->expected[db]++;
        return;
    }
    if (told)
        return;
    fsck_problem(f, FSCK_NOT_INDEXED, id, "job %s is %s, but '%s' has no entry for it", id_format(text, id),
                 state_name(s->state), db_names[db]);
    fsck_fix(f, &(struct fix){.what = FIX_ADD, .db = db}, key_bytes(key));
}

static void expect_entries(struct fsck *f, job_id id, const struct job_status *s, bool told)
{
    enum db db;
    struct key key;
    if (main_entry(&db, &key, id, s))
        expect(f, db, &key, id, s, told);
    if (expiry_entry(&key, id, s))
        expect(f, DB_DUE, &key, id, s, told);
    if (key_entry(&key, id, s))
        expect(f, DB_DUE, &key, id, s, told);
}

static void quarantine(struct fsck *f, enum fsck_kind kind, job_id id, const char *why)
{
    char text[JOB_ID_TEXT_BYTES];
    fsck_problem(f, kind, id, "job %s: %s", id_format(text, id), why);
    fsck_fix(f, &(struct fix){.what = FIX_QUARANTINE, .id = id}, slice_of(why));
}

/* What no path of the machine leads to; NULL if all is well. */
static const char *contradiction(const struct job_status *s)
{
    bool runs = s->state == JOB_RUNNING;
    if (s->priority > PRIORITY_LAST)
        return "its status has a priority that does not exist";
    if (s->parked && s->state != JOB_READY)
        return "its status is parked, but not ready";
    if (s->held_no && (s->state != JOB_READY || s->parked))
        return "its status is held, but not ready, or parked as well";
    if (runs && (!s->token || !s->attempt))
        return "its status is running, but was never leased";
    if (!runs && (s->cancelling || s->held_by_worker || s->deadline))
        return "its status has a holder, but is not running";
    return NULL;
}

/* The number in the status must be that of the queue which the job was pushed to. */
static void check_queue_of(struct fsck *f, job_id id, const struct job_spec *spec, const struct job_status *s)
{
    char text[JOB_ID_TEXT_BYTES];
    struct tally *tally = queue_of(f, s->queue_no);
    if (!tally->name_len && spec->queue.len && spec->queue.len <= NAME_STORED_BYTES &&
        !fsck_queue_named(f, spec->queue))
        fsck_queue_name(f, tally, spec->queue);
    tally->in_state[s->state]++;
    tally->parked += s->parked;
    tally->held += s->held_no != 0;
    if (slice_equal(spec->queue, (struct slice){tally->name, tally->name_len}) &&
        s->priority == spec->priority)
        return;
    if (s->priority != spec->priority)
        fsck_problem(f, FSCK_QUEUE_OTHER, id, "job %s was pushed with priority %u, its status says %u",
                     id_format(text, id), spec->priority, s->priority);
    else
        fsck_problem(f, FSCK_QUEUE_OTHER, id,
                     "job %s was pushed to queue '%.*s', its status says number %u ('%.*s')",
                     id_format(text, id), SLICE_ARG(spec->queue), s->queue_no, tally->name_len, tally->name);
    fsck_fix(f, &(struct fix){.what = FIX_STATUS, .id = id}, SLICE_EMPTY);
}

static void check_pause_of(struct fsck *f, job_id id, const struct job_status *s)
{
    char text[JOB_ID_TEXT_BYTES];
    if (!s->held_no || fsck_has_pause(f, s->held_no))
        return;
    fsck_problem(f, FSCK_HELD_BY_NONE, id, "job %s is held by pause number %u, and there is no such pause",
                 id_format(text, id), s->held_no);
    fsck_fix(f, &(struct fix){.what = FIX_STATUS, .id = id}, SLICE_EMPTY);
}

static uint64_t parts_bytes(struct fsck *f, enum db db, job_id id)
{
    struct key key;
    struct slice found, value;
    uint64_t bytes = 0;
    f->walking = db;
    key_of_part(&key, id, 0);
    if (db == DB_RESULTS)
        key.len = 8;
    for (bool more = txn_seek(&f->m, db, &key, &found, &value);
         more && found.len == key.len && be64_get(found.at) == id;
         more = db != DB_RESULTS && txn_next(&f->m, db, &found, &value))
        bytes += value.len;
    return bytes;
}

/* What is kept of finished jobs is counted in bytes. */
static void count_kept(struct fsck *f, job_id id, const struct job_status *s, size_t job_bytes)
{
    uint64_t *sum = s->state == JOB_DEAD ? &f->most.dead_bytes : &f->most.finished_bytes;
    if (s->state == JOB_DEAD || s->state == JOB_SUCCEEDED || s->state == JOB_CANCELLED ||
        s->state == JOB_EXPIRED)
        *sum += job_bytes + parts_bytes(f, DB_RESULTS, id) + parts_bytes(f, DB_ATTEMPTS, id) +
                parts_bytes(f, DB_LOGS, id);
}

static void check_job(struct fsck *f, job_id id, struct slice job_bytes, struct slice status_bytes)
{
    struct job_spec spec;
    struct job_status status;
    struct mq_err why;
    bool has_status = record_read_status(&status, status_bytes, &why) == MQ_OK;
    if (has_status) {
        met_token(f, status.token);
        if (record_read_spec(&spec, job_bytes, &why) != MQ_OK)
            expect_entries(f, id, &status, true);
        else
            why.text[0] = '\0';
    }
    if (!has_status || why.text[0]) {
        quarantine(f, FSCK_UNREADABLE, id, why.text);
        return;
    }
    const char *wrong = contradiction(&status);
    if (!wrong)
        wrong = fsck_key_contradiction(&spec, &status);
    if (wrong)
        quarantine(f, FSCK_CONTRADICTION, id, wrong);
    else
        check_queue_of(f, id, &spec, &status);
    if (!wrong) {
        check_pause_of(f, id, &status);
        fsck_key_of(f, id, &spec, &status);
    }
    count_kept(f, id, &status, job_bytes.len);
    expect_entries(f, id, &status, wrong != NULL);
}

static void check_lonely_status(struct fsck *f, job_id id, struct slice bytes)
{
    struct job_status status;
    quarantine(f, FSCK_NO_RECORD, id, "it has a status, but no job record");
    if (record_read_status(&status, bytes, NULL) != MQ_OK)
        return;
    met_token(f, status.token);
    expect_entries(f, id, &status, true);
}

/* Both databases in the order of their ids, side by side. */
static void check_jobs(struct fsck *f)
{
    struct at job = start(f, DB_JOBS), status = start(f, DB_STATES);
    f->report->jobs = 0;
    for (;;) {
        skip_malformed(f, &job, 8);
        skip_malformed(f, &status, 8);
        if (!job.more && !status.more)
            return;
        job_id a = job.more ? be64_get(job.key.at) : UINT64_MAX,
               b = status.more ? be64_get(status.key.at) : UINT64_MAX;
        met_id(f, a < b ? a : b);
        f->report->jobs++;
        if (a < b)
            quarantine(f, FSCK_NO_STATUS, a, "it has a job record, but no status");
        else if (b < a)
            check_lonely_status(f, b, status.value);
        else
            check_job(f, a, job.value, status.value);
        if (a <= b)
            next(f, &job);
        if (b <= a)
            next(f, &status);
    }
}

/* ---- indexes ---- */

static bool key_is(struct slice found, const struct key *key)
{
    return slice_equal(found, key_bytes(key));
}

static const char *stray_reason(struct fsck *f, const struct at *at, job_id id, char *scratch, size_t room)
{
    struct key key;
    struct slice bytes;
    struct job_status status;
    enum db db = DB_COUNT;
    key_of_id(&key, id);
    if (!txn_find(&f->m, DB_STATES, &key, &bytes))
        return "there is no such job";
    if (record_read_status(&status, bytes, NULL) != MQ_OK)
        return NULL; /* told already */
    if ((main_entry(&db, &key, id, &status) && db == at->db && key_is(at->key, &key)) ||
        (at->db == DB_DUE && ((expiry_entry(&key, id, &status) && key_is(at->key, &key)) ||
                              (key_entry(&key, id, &status) && key_is(at->key, &key)))))
        return NULL;
    snprintf(scratch, room, "the job is %s%s", state_name(status.state),
             db == at->db ? ", at another place" : "");
    return scratch;
}

static void check_entry(struct fsck *f, const struct at *at)
{
    char text[JOB_ID_TEXT_BYTES], scratch[64];
    job_id id = key_id(at->db, at->key);
    if (id == JOB_ID_NONE) {
        malformed(f, at);
        return;
    }
    const char *why = stray_reason(f, at, id, scratch, sizeof scratch);
    if (!why)
        return;
    fsck_problem(f, FSCK_STRAY, id, "an entry of '%s' names job %s, but %s", db_names[at->db],
                 id_format(text, id), why);
    fix_entry(f, FIX_REMOVE, at);
}

/*
 * Each entry that a status asks for was looked up, and no two ask for the same: if the index has no more than these,
 * there is no stray among them, and only then it need not be asked entry by entry.
 */
static void check_index(struct fsck *f, enum db db)
{
    uint64_t count = 0;
    for (struct at at = start(f, db); at.more; next(f, &at))
        count++;
    f->report->entries += count;
    if (count == f->expected[db])
        return;
    for (struct at at = start(f, db); at.more; next(f, &at)) {
        check_entry(f, &at);
        f->walking = db;
    }
}

static void check_indexes(struct fsck *f)
{
    static const enum db indexes[] = {DB_READY, DB_PARKED, DB_HELD, DB_DUE, DB_LEASES, DB_DEAD, DB_FINISHED};
    f->report->entries = 0;
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++)
        check_index(f, indexes[i]);
}

/* ---- attempts, logs, results ---- */

static bool has_status(struct fsck *f, job_id id)
{
    struct key key;
    key_of_id(&key, id);
    return txn_find(&f->m, DB_STATES, &key, NULL);
}

static bool part_is_readable(struct fsck *f, const struct at *at, struct mq_err *why)
{
    struct job_attempt attempt;
    if (at->db == DB_RESULTS)
        return true;
    if (at->db == DB_LOGS && at->value.len < 8)
        return mq_fail(why, MQ_INTERNAL, "a log line has %zu bytes", at->value.len) == MQ_OK;
    if (at->db == DB_LOGS)
        return true;
    met_token(f, be64_get(at->key.at + 8));
    return record_read_attempt(&attempt, at->value, why) == MQ_OK;
}

static void check_parts(struct fsck *f, enum db db, size_t key_len)
{
    char text[JOB_ID_TEXT_BYTES];
    struct mq_err why;
    job_id last = JOB_ID_NONE;
    bool exists = false;
    for (struct at at = start(f, db); at.more; next(f, &at)) {
        skip_malformed(f, &at, key_len);
        if (!at.more)
            return;
        job_id id = be64_get(at.key.at);
        bool first = id != last;
        met_id(f, id);
        if (first)
            exists = has_status(f, id);
        last = id;
        if (!exists) {
            if (first)
                fsck_problem(f, FSCK_ORPHAN, id, "'%s' has something of job %s, but there is no such job",
                             db_names[db], id_format(text, id));
            fix_entry(f, FIX_REMOVE, &at);
        } else if (!part_is_readable(f, &at, &why)) {
            fsck_problem(f, FSCK_PART_UNREADABLE, id, "job %s: %s", id_format(text, id), why.text);
            fix_entry(f, FIX_REMOVE, &at);
        }
    }
}

static void check_quarantine(struct fsck *f)
{
    f->report->quarantined = 0;
    for (struct at at = start(f, DB_QUARANTINE); at.more; next(f, &at)) {
        f->report->quarantined++;
        if (at.key.len == 8)
            met_id(f, be64_get(at.key.at));
    }
}

/* ---- what is counted ---- */

static void differ(struct buf *out, const char *what, uint64_t says, uint64_t there)
{
    if (says != there)
        buf_printf(out, "%s%llu %s (there are %llu)", buf_len(out) ? ", " : "", (unsigned long long)says,
                   what, (unsigned long long)there);
}

/* "3 ready (there are 2), 0 dead (there are 1)"; empty if all agree. */
static struct slice differences(struct fsck *f, const struct tally *tally)
{
    const struct queue_counts *says = &tally->body.counts;
    buf_clear(&f->record);
    for (int s = 0; s < JOB_STATES; s++)
        differ(&f->record, state_name(s), says->in_state[s], tally->in_state[s]);
    differ(&f->record, "parked", says->parked, tally->parked);
    differ(&f->record, "held", says->held, tally->held);
    return buf_bytes(&f->record);
}

static bool has_jobs(const struct tally *tally)
{
    for (int s = 0; s < JOB_STATES; s++)
        if (tally->in_state[s])
            return true;
    return false;
}

static void check_counters(struct fsck *f, struct tally *tally)
{
    struct fix anew = {.what = FIX_QUEUE, .queue_no = tally->no};
    if (tally->readable) {
        struct slice text = differences(f, tally);
        if (!text.len)
            return;
        fsck_problem(f, FSCK_MISCOUNTED, JOB_ID_NONE, "queue '%.*s' counts %.*s", tally->name_len,
                     tally->name, SLICE_ARG(text));
    } else if (tally->has_record) {
        fsck_problem(f, FSCK_QUEUE_UNREADABLE, JOB_ID_NONE,
                     "the record of queue number %u cannot be read%s%.*s%s", tally->no,
                     tally->name_len ? " (its jobs call it '" : "", tally->name_len, tally->name,
                     tally->name_len ? "')" : ", and no job names it");
    } else if (has_jobs(tally) && tally->name_len) {
        fsck_problem(f, FSCK_QUEUE_MISSING, JOB_ID_NONE,
                     "queue '%.*s' has jobs, but no record under its number %u", tally->name_len, tally->name,
                     tally->no);
    } else {
        return; /* made up by statuses that are told one by one */
    }
    fsck_fix(f, &anew, SLICE_EMPTY);
}

static void check_all_counters(struct fsck *f)
{
    struct tally *tally, *after;
    HASH_ITER (by_no, f->by_no, tally, after)
        check_counters(f, tally);
}

static void read_meta(struct fsck *f)
{
    struct key key = {.len = 8};
    struct slice value;
    memcpy(key.at, "counters", 8);
    f->walking = DB_META;
    f->meta = (struct meta){0};
    f->most = (struct meta){.next_queue_no = 1};
    f->meta_readable = txn_find(&f->m, DB_META, &key, &value) && value.len == 20;
    if (!f->meta_readable)
        return;
    f->meta.last_id = be64_get(value.at);
    f->meta.last_token = be64_get(value.at + 8);
    f->meta.next_queue_no = be32_get(value.at + 16);
    key_of_kept(&key);
    if (txn_find(&f->m, DB_META, &key, &value))
        kept_read(&f->meta, value);
}

static void check_behind(struct fsck *f, const char *name, uint64_t says, uint64_t met)
{
    if (says >= met)
        return;
    fsck_problem(f, FSCK_COUNTER_BEHIND, JOB_ID_NONE, "the counter '%s' says %llu, but %llu is in use", name,
                 (unsigned long long)says, (unsigned long long)met);
    fsck_fix(f, &(struct fix){.what = FIX_META}, SLICE_EMPTY);
}

static void check_sum(struct fsck *f, const char *what, uint64_t says, uint64_t there)
{
    if (says == there)
        return;
    fsck_problem(f, FSCK_MISCOUNTED, JOB_ID_NONE, "%s are counted as %llu bytes, and are %llu", what,
                 (unsigned long long)says, (unsigned long long)there);
    fsck_fix(f, &(struct fix){.what = FIX_META}, SLICE_EMPTY);
}

static void check_meta(struct fsck *f)
{
    bool is_empty = f->report->jobs == 0 && !f->by_no && f->report->quarantined == 0;
    if (!f->meta_readable && is_empty)
        return; /* nothing was ever pushed */
    check_behind(f, "last id", f->meta.last_id, f->most.last_id);
    check_behind(f, "last token", f->meta.last_token, f->most.last_token);
    check_sum(f, "finished records", f->meta.finished_bytes, f->most.finished_bytes);
    check_sum(f, "dead letters", f->meta.dead_bytes, f->most.dead_bytes);
    check_behind(f, "next queue number", f->meta.next_queue_no, f->most.next_queue_no);
}

void fsck_walk(struct fsck *f)
{
    memset(f->expected, 0, sizeof f->expected);
    read_meta(f);
    read_queues(f);
    read_pauses(f);
    check_jobs(f);
    check_indexes(f);
    fsck_keys(f);
    check_parts(f, DB_ATTEMPTS, 16);
    check_parts(f, DB_LOGS, 16);
    check_parts(f, DB_RESULTS, 8);
    fsck_schedules(f);
    check_quarantine(f);
    check_all_counters(f);
    check_meta(f);
}
