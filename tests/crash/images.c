/*
 * images.c - builds the disks that a power cut may leave behind, and holds each against the ledger.
 *
 *     images [--count N] [--seed S] [--only I] [--binary MOONQ [--serve APP]] [--lie] LOG LEDGER_FOLDER SCRATCH KEEP
 *
 *     images --store FOLDER LEDGER_FOLDER
 *
 * The second form holds a store as it is against all of the ledger.
 *
 * A disk of moment p (p records of the shim's log) has everything that a sync covered by then, and of the rest, and of
 * the write under way, whatever chance brought there: all of it, none, or any subset, each write torn at 512 bytes. Of
 * both files, LMDB's and the journal's: a sync covers its own. On each disk fsck must find nothing wrong, and every promise
 * of the ledger must hold: what was confirmed by p is there, in one or the other, nothing that was not even asked for has
 * happened, groups and a handler's children are there whole or not at all. In one of TAKE_SHARE the store itself takes the
 * journal over, and the promises must hold in LMDB's file alone.
 *
 * The same log, seed and number give the same image. One that fails is kept in KEEP and described.
 *
 * --binary: each is also opened by the real `moonq fsck`; with --serve, one in SERVE_SHARE is served until a job that is
 * pushed then has run, the server is killed, and the promises must hold still.
 *
 * --lie: a disk that forgets a share of the writes although it was synced. Every store must fail on it; a check that
 * does not see that sees nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <hiredis/hiredis.h>
#include <lmdb.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uthash.h>

#include "ledger.h"
#include "shim.h"

#include "store/fsck.h"
#include "store/store.h"
#include "store/lmdb/journal.h"
#include "store/lmdb/layout.h"
#include "job/record.h"
#include "base/log.h"

#define SECTOR      512
#define LEDGERS_MAX 4096
#define TOLD_MAX    5  /* failures of one image that are printed */
#define FAILED_MAX  10 /* images that fail before we give up */
#define EARLY_SHARE 10 /* one image in so many is of the first records: a file that is just being made */
#define EARLY       60
#define TAKE_SHARE  5
#define SERVE_SHARE 50
#define PATIENCE_S  20

/* ---- the log ---- */

struct record {
    enum shim_kind kind;
    enum shim_file file;
    uint64_t at;
    uint32_t len;
    const char *bytes;
};

static struct record *records;
static size_t record_count;
static uint64_t size_max[SHIM_FILES];

static void read_log(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || st.st_size == 0) {
        fprintf(stderr, "images: no log in %s\n", path);
        exit(2);
    }
    const char *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0), *end = at + st.st_size;
    close(fd);
    size_t room = 0;
    for (struct shim_record head; at + sizeof head <= end; at += head.len) {
        memcpy(&head, at, sizeof head);
        at += sizeof head;
        if (at + head.len > end)
            break; /* the server was killed while it wrote the record: it was not counted either */
        if (record_count == room) {
            room = room ? room * 2 : 4096;
            records = realloc(records, room * sizeof *records);
        }
        records[record_count++] = (struct record){head.kind, head.file, head.at, head.len, at};
        uint64_t reaches = head.at + head.len;
        if (head.kind != SHIM_OPEN && reaches > size_max[head.file])
            size_max[head.file] = reaches;
    }
}

/* ---- the ledger ---- */

struct promise {
    job_id id;
    const struct ledger_row **rows; /* of this job, in their order */
    unsigned count, room;
    uint64_t group;
    bool met;   /* in the image at hand */
    bool twice; /* its id was given out to two pushes */
    UT_hash_handle hh;
};

static struct promise *promises;
static uint64_t promise_rows;

static struct promise *promise_of(job_id id)
{
    struct promise *p;
    HASH_FIND(hh, promises, &id, sizeof id, p);
    return p;
}

static void add_row(const struct ledger_row *row)
{
    struct promise *p = promise_of(row->id);
    if (!p) {
        p = calloc(1, sizeof *p);
        p->id = row->id;
        HASH_ADD(hh, promises, id, sizeof p->id, p);
    }
    if (p->count == p->room) {
        p->room = p->room ? p->room * 2 : 4;
        p->rows = realloc(p->rows, p->room * sizeof *p->rows);
    }
    if (row->what == LEDGER_PUSHED) {
        p->twice |= p->count > 0;
        p->group = row->token;
    }
    p->rows[p->count++] = row;
    promise_rows++;
}

static void read_ledgers(const char *folder)
{
    for (unsigned i = 0; i < LEDGERS_MAX; i++) {
        char path[4096];
        struct stat st;
        snprintf(path, sizeof path, "%s/ledger-%u", folder, i);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fstat(fd, &st) == 0 && st.st_size > 0) {
            const struct ledger_row *rows = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
            for (size_t r = 0; r < (size_t)st.st_size / sizeof *rows; r++)
                add_row(&rows[r]);
        }
        close(fd);
    }
}

/* ---- one image ---- */

static uint64_t seed = 1, random_state;

static uint64_t dice(uint64_t sides)
{
    random_state ^= random_state << 13; /* xorshift64 */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % sides;
}

enum fate {
    FATE_ALL,  /* the power went, the cache did not */
    FATE_NONE, /* only what was synced */
    FATE_SOME, /* any subset */
    FATE_TORN, /* any subset, and sectors of it */
    FATES,
};
static const char *const fate_names[] = {"all", "none", "some", "torn"};

struct image {
    uint64_t number;
    size_t at; /* records that were made */
    enum fate fate;
    size_t pending, dropped, torn;
};

struct contents {
    char *bytes;
    uint64_t size;
    bool exists;
};
static struct contents disk[SHIM_FILES];
/* The disk of everything that is synced for sure: grows with the images, which come in the order of their moments. */
static struct contents base[SHIM_FILES];
static size_t base_at[SHIM_FILES];
static bool lies;

static void write_sectors(struct contents *file, const struct record *r, bool torn)
{
    char *to = file->bytes;
    uint64_t *size = &file->size;
    if (r->kind == SHIM_SIZE || r->kind == SHIM_ALLOCATE) {
        if (r->kind == SHIM_SIZE && r->at < *size)
            memset(to + r->at, 0, *size - r->at);
        if (r->kind == SHIM_SIZE || r->at > *size)
            *size = r->at;
        return;
    }
    for (uint64_t done = 0; done < r->len;) {
        uint64_t here = SECTOR - (r->at + done) % SECTOR;
        if (here > r->len - done)
            here = r->len - done;
        if (!torn || dice(2))
            memcpy(to + r->at + done, r->bytes + done, here);
        done += here;
    }
    if (r->at + r->len > *size)
        *size = r->at + r->len;
}

static bool is_change(const struct record *r)
{
    return r->kind == SHIM_WRITE || r->kind == SHIM_SYNCED || r->kind == SHIM_SIZE ||
           r->kind == SHIM_ALLOCATE || r->kind == SHIM_NAMED;
}

static bool is_of(size_t i, enum shim_file file, enum shim_kind kind)
{
    return records[i].file == file && records[i].kind == kind;
}

/* Where the last sync of the file that had ended by `at` began: all of it before is on disk. */
static size_t synced_until(size_t at, enum shim_file file)
{
    while (at > 0 && !is_of(at - 1, file, SHIM_SYNC_END))
        at--;
    while (at > 0 && !is_of(at - 1, file, SHIM_SYNC_BEGIN))
        at--;
    return at;
}

static void grow_base(size_t until, enum shim_file file)
{
    for (size_t *at = &base_at[file]; *at < until; ++*at)
        if (records[*at].file == file && is_change(&records[*at]) && !(lies && dice(20) == 0))
            write_sectors(&base[file], &records[*at], false);
}

static bool survives(const struct image *image)
{
    return image->fate == FATE_ALL || (image->fate != FATE_NONE && dice(2));
}

/* A journal whose name is not in its folder yet; LMDB's file gets its own by a rename. */
static bool has_name(const struct image *image)
{
    size_t at = image->at;
    while (at > 0 && !is_of(at - 1, SHIM_JOURNAL, SHIM_CREATED) && !is_of(at - 1, SHIM_JOURNAL, SHIM_FOLDER))
        at--;
    return at > 0 && (records[at - 1].kind == SHIM_FOLDER || survives(image));
}

static void build_file(struct image *image, enum shim_file file)
{
    struct contents *to = &disk[file];
    size_t from = synced_until(image->at, file);
    grow_base(from, file);
    memcpy(to->bytes, base[file].bytes, base[file].size);
    if (to->size > base[file].size)
        memset(to->bytes + base[file].size, 0, to->size - base[file].size);
    to->size = base[file].size;
    for (size_t i = from; i < image->at + (image->fate != FATE_ALL) && i < record_count; i++) {
        const struct record *r = &records[i];
        if (r->file != file || !is_change(r))
            continue;
        bool safe = (r->kind == SHIM_SYNCED || r->kind == SHIM_NAMED) && i < image->at;
        image->pending += !safe;
        if (safe || survives(image)) {
            bool torn = !safe && r->kind != SHIM_NAMED && image->fate == FATE_TORN && dice(3) == 0;
            image->torn += torn;
            write_sectors(to, r, torn);
        } else {
            image->dropped++;
        }
    }
}

static void build(struct image *image)
{
    random_state = (seed * 1000003 + image->number + 1) * 0x9E3779B97F4A7C15u;
    for (enum shim_file file = 0; file < SHIM_FILES; file++)
        build_file(image, file);
    disk[SHIM_STORE].exists = true;
    disk[SHIM_JOURNAL].exists = has_name(image);
}

static char scratch[4096], paths[SHIM_FILES][4200];

static void set_scratch(const char *folder)
{
    snprintf(scratch, sizeof scratch, "%s", folder);
    snprintf(paths[SHIM_STORE], sizeof paths[0], "%s/" SHIM_STORE_NAME, scratch);
    snprintf(paths[SHIM_JOURNAL], sizeof paths[0], "%s/" SHIM_JOURNAL_NAME, scratch);
}

_Noreturn static void cannot(const char *path)
{
    perror(path);
    exit(2);
}

static void write_file(const char *path, const struct contents *file)
{
    const char *bytes = file->bytes;
    unlink(path);
    if (!file->exists)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint64_t used = file->size;
    while (used >= 4096 && bytes[used - 1] == 0 && !memcmp(bytes + used - 4096, bytes + used - 4095, 4095))
        used -= 4096; /* a tail of zeros is a hole */
    for (uint64_t done = 0; done < used;) {
        ssize_t n = write(fd, bytes + done, used - done);
        if (n <= 0)
            cannot(path);
        done += (uint64_t)n;
    }
    if (ftruncate(fd, (off_t)file->size))
        cannot(path);
    close(fd);
}

static void write_disk(void)
{
    for (enum shim_file file = 0; file < SHIM_FILES; file++)
        write_file(paths[file], &disk[file]);
}

/* ---- the judgement ---- */

static unsigned faults;

__attribute__((format(printf, 1, 2))) static void fault(const char *format, ...)
{
    va_list args;
    if (faults++ >= TOLD_MAX)
        return;
    va_start(args, format);
    printf("    ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

static void on_problem(void *owner, const struct fsck_problem *problem)
{
    (void)owner;
    fault("fsck: %s. %s", problem->text, fsck_kinds[problem->kind].means);
}

static void judge_fsck(void)
{
    struct fsck_settings settings = {.dir = scratch, .found = on_problem};
    struct fsck_report report;
    struct mq_err err;
    if (store_fsck(&report, &settings, &err) != MQ_OK)
        fault("fsck cannot open it: %s", err.text);
}

/* What the ledger promises of a job at a moment. */
struct claim {
    bool pushed, may_be_gone, must_be_gone, open; /* open: something was asked for, so its state may be any */
    enum job_state state;                         /* JOB_NONE: alive, whichever */
    uint64_t token;
    uint32_t attempt;
};

static struct claim claim_at(const struct promise *p, size_t at)
{
    struct claim c = {0};
    for (unsigned i = 0; i < p->count && p->rows[i]->at <= at; i++) {
        const struct ledger_row *row = p->rows[i];
        switch ((enum ledger_what)row->what) {
        case LEDGER_PUSHED:
            c.pushed = true;
            break;
        case LEDGER_FETCHED:
            c.token = row->token;
            c.attempt = row->attempt;
            break;
        case LEDGER_ACKED:
            c.state = JOB_SUCCEEDED;
            break;
        case LEDGER_FAILED:
        case LEDGER_RETRIED:
            c.state = JOB_NONE;
            break;
        case LEDGER_DEAD:
            c.state = JOB_DEAD;
            c.may_be_gone = false; /* dead letters stay, whatever they keep */
            break;
        case LEDGER_CANCELLED:
            c.state = JOB_CANCELLED;
            break;
        case LEDGER_DELETED:
            c.must_be_gone = true;
            break;
        case LEDGER_ENDS:
            c.may_be_gone |= !row->keeps;
            break;
        case LEDGER_RETRIES:
            c.attempt = 0; /* a new life */
            break;
        case LEDGER_DELETES:
            c.may_be_gone = true;
            break;
        }
        c.open = row->what >= LEDGER_ENDS || row->handled;
        if (row->what == LEDGER_FAILED)
            c.may_be_gone = false;
    }
    return c;
}

static bool state_fits(const struct claim *c, enum job_state state)
{
    if (c->open)
        return true;
    if (c->state != JOB_NONE)
        return c->state == state;
    return state != JOB_SUCCEEDED && state != JOB_CANCELLED; /* dead: its attempts may be spent */
}

static void judge_job(const struct promise *p, const struct job_status *status, size_t at)
{
    char id[JOB_ID_TEXT_BYTES];
    struct claim c = claim_at(p, at);
    if (!c.pushed)
        return; /* it came before its push was confirmed, which it may */
    id_format(id, p->id);
    if (c.must_be_gone && !c.open)
        fault("job %s was deleted, which was confirmed, and is %s", id, state_name(status->state));
    else if (!state_fits(&c, status->state))
        fault("job %s is %s; what was confirmed last says %s", id, state_name(status->state),
              c.state ? state_name(c.state) : "alive");
    if (status->token < c.token || status->attempt < c.attempt)
        fault("job %s has token %llu and attempt %u; %llu and %u were handed out", id,
              (unsigned long long)status->token, status->attempt, (unsigned long long)c.token, c.attempt);
}

static void judge_missing(const struct promise *p, size_t at)
{
    char id[JOB_ID_TEXT_BYTES];
    struct claim c = claim_at(p, at);
    if (c.pushed && !c.may_be_gone && !c.must_be_gone)
        fault("job %s is gone; its push was confirmed", id_format(id, p->id));
}

/* ---- what belongs together ---- */

struct together {
    uint64_t key; /* of a group its number, of a parent its id */
    unsigned of, there;
    bool is_parent, done; /* of a parent: its job is in the image, and succeeded */
    UT_hash_handle hh;
};

static struct together *families;

static struct together *family_of(uint64_t key, bool is_parent)
{
    struct together *t;
    HASH_FIND(hh, families, &key, sizeof key, t);
    if (t)
        return t;
    t = calloc(1, sizeof *t);
    t->key = key;
    t->is_parent = is_parent;
    HASH_ADD(hh, families, key, sizeof t->key, t);
    return t;
}

/* What stands behind this word in the payload; NULL if it is not there. */
static const char *behind(struct slice payload, const char *word)
{
    size_t len = payload.len < 100 ? payload.len : 100; /* the rest is filling */
    const char *found = memmem(payload.at, len, word, strlen(word));
    return found ? found + strlen(word) : NULL;
}

static void meet_family(job_id id, const struct job_spec *spec, const struct job_status *status)
{
    const char *group = behind(spec->payload, LEDGER_GROUP), *of = behind(spec->payload, LEDGER_OF);
    const char *parent = behind(spec->payload, LEDGER_PARENT),
               *children = behind(spec->payload, LEDGER_CHILDREN);
    struct together *t = NULL;
    job_id parent_id;
    if (children) {
        t = family_of(id, true);
        t->of = (unsigned)strtoul(children, NULL, 10);
        t->done = status->state == JOB_SUCCEEDED;
    } else if (parent && id_parse(&parent_id, (struct slice){parent, JOB_ID_CHARS}, NULL) == MQ_OK) {
        family_of(parent_id, true)->there++;
    } else if (group && of) {
        t = family_of(strtoull(group, NULL, 10), false);
        t->of = (unsigned)strtoul(of, NULL, 10);
        t->there++;
    }
}

/* Those of a group that a DELETE may have taken. */
static unsigned deleted_of(uint64_t group, size_t at)
{
    unsigned count = 0;
    for (struct promise *p = promises; p; p = p->hh.next)
        count += p->group == group && !p->met && claim_at(p, at).may_be_gone;
    return count;
}

static void judge_families(size_t at)
{
    char id[JOB_ID_TEXT_BYTES];
    for (struct together *t = families; t; t = t->hh.next) {
        if (t->is_parent && t->there != (t->done ? t->of : 0))
            fault("job %s %s and has %u children of %u", id_format(id, t->key),
                  t->done ? "is acknowledged" : "is not acknowledged", t->there, t->of);
        else if (!t->is_parent && t->there != t->of && t->there + deleted_of(t->key, at) != t->of)
            fault("of MULTI %llu %u jobs of %u are there", (unsigned long long)t->key, t->there, t->of);
    }
}

/* ---- reading it ---- */

static void judge_records(MDB_txn *txn, MDB_dbi jobs, MDB_dbi states, size_t at)
{
    MDB_cursor *cursor;
    MDB_val key, value, job;
    mdb_cursor_open(txn, states, &cursor);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        struct job_status status;
        struct job_spec spec;
        job_id id = be64_get(key.mv_data);
        if (record_read_status(&status, (struct slice){value.mv_data, value.mv_size}, NULL) != MQ_OK ||
            mdb_get(txn, jobs, &key, &job) ||
            record_read_spec(&spec, (struct slice){job.mv_data, job.mv_size}, NULL) != MQ_OK)
            continue; /* fsck has said so */
        struct promise *p = promise_of(id);
        if (p) {
            p->met = true;
            judge_job(p, &status, at);
        }
        meet_family(id, &spec, &status);
    }
    mdb_cursor_close(cursor);
}

/* What the journal says is made in a transaction that is never committed. */
static void replay(MDB_txn *txn)
{
    struct journal journal;
    struct journal_mark mark;
    struct mq_err err;
    MDB_dbi meta;
    if (journal_open(&journal, scratch, false, &err) != MQ_OK)
        fault("the journal does not open: %s", err.text);
    else if (mdb_dbi_open(txn, db_names[DB_META], 0, &meta) == 0 && layout_load_mark(txn, meta, &mark)) {
        journal_attach(&journal, &mark, txn);
        int rc = journal_replay(&journal, txn);
        if (rc)
            fault("the journal cannot be replayed: %s", mdb_strerror(rc));
        if (journal.lost)
            fault("the journal is damaged behind record %llu", (unsigned long long)journal.records);
    }
    journal_close(&journal);
}

static void judge_ledger(size_t at, bool with_journal)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi jobs, states;
    struct stat st;
    bool readable = stat(paths[SHIM_STORE], &st) == 0 && st.st_size > 0 && mdb_env_create(&env) == 0;
    if (readable) {
        mdb_env_set_maxdbs(env, DB_COUNT);
        mdb_env_set_mapsize(env, (size_t)st.st_size + (256 << 20));
        int rc = mdb_env_open(env, paths[SHIM_STORE], MDB_NOSUBDIR | MDB_NOLOCK, 0600);
        if (!rc)
            rc = mdb_txn_begin(env, NULL, 0, &txn);
        if (!rc && with_journal)
            replay(txn);
        if (!rc && mdb_dbi_open(txn, db_names[DB_JOBS], 0, &jobs) == 0 &&
            mdb_dbi_open(txn, db_names[DB_STATES], 0, &states) == 0)
            judge_records(txn, jobs, states, at);
        if (!rc)
            mdb_txn_abort(txn);
        mdb_env_close(env);
    }
    for (struct promise *p = promises; p; p = p->hh.next) {
        if (p->twice)
            fault("two pushes were answered with the id of one job (%llx)", (unsigned long long)p->id);
        if (!p->met)
            judge_missing(p, at);
    }
    judge_families(at);
}

/* As a server that starts: afterwards all of it is in LMDB's file. */
static void take_over(void)
{
    struct store_settings settings = {.dir = scratch, .nosync = true};
    struct store *store;
    struct mq_err err;
    if (store_open(&store, &settings, &err) != MQ_OK) {
        fault("the store does not open: %s", err.text);
        return;
    }
    store_collect(store);
    store_close(store);
}

/* In a process of its own: a damaged file may end it, and what it gathered is gone with it. */
static bool judge(const struct image *image, bool after_takeover)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (after_takeover)
            take_over();
        judge_fsck();
        judge_ledger(image->at, !after_takeover);
        if (faults > TOLD_MAX)
            printf("    and %u more\n", faults - TOLD_MAX);
        fflush(stdout);
        _exit(faults ? 1 : 0);
    }
    while (waitpid(pid, &status, 0) != pid)
        ;
    if (WIFSIGNALED(status))
        printf("    reading it ended in %s\n", strsignal(WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The real binary, from the outside. */
static const char *binary;

static bool binary_agrees(void)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, 1);
        execl(binary, binary, "fsck", scratch, (char *)NULL);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) != pid)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    printf("    '%s fsck' ended with %d\n", binary,
           WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    return false;
}

/* ---- served ---- */

static const char *application;

static redisContext *connect_to(const char *path, pid_t server)
{
    struct timeval limit = {PATIENCE_S, 0};
    for (int tries = 0; tries < PATIENCE_S * 100; tries++) {
        redisContext *redis = redisConnectUnixWithTimeout(path, limit);
        if (redis && !redis->err) {
            redisSetTimeout(redis, limit);
            return redis;
        }
        if (redis)
            redisFree(redis);
        if (waitpid(server, NULL, WNOHANG) == server)
            return NULL;
        poll(NULL, 0, 10); /* it does not listen yet */
    }
    return NULL;
}

/* A job runs from push to end. */
static bool works(redisContext *redis)
{
    redisReply *pushed = redisCommand(redis, "PUSH child {\"i\":0} PRIORITY 0"), *ended = NULL;
    if (pushed && pushed->type == REDIS_REPLY_STRING)
        ended = redisCommand(redis, "WAIT %s TIMEOUT %ds", pushed->str, PATIENCE_S);
    bool good = ended && ended->type == REDIS_REPLY_ARRAY;
    if (!good)
        printf("    served: a job does not run: %s\n", ended    ? ended->str
                                                       : pushed ? pushed->str
                                                                : "no answer");
    if (pushed)
        freeReplyObject(pushed);
    if (ended)
        freeReplyObject(ended);
    return good;
}

static bool serves(void)
{
    char socket[4300];
    snprintf(socket, sizeof socket, "%s.sock", scratch);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execl(binary, binary, "serve", application, "--data", scratch, "--socket", socket, (char *)NULL);
        _exit(127);
    }
    redisContext *redis = connect_to(socket, pid);
    bool good = redis && works(redis);
    if (!redis)
        printf("    served: the server does not start\n");
    else
        redisFree(redis);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return good;
}

/* ---- all of them ---- */

static void keep(const struct image *image, const char *folder)
{
    static const char *const names[] = {SHIM_STORE_NAME, SHIM_JOURNAL_NAME};
    char path[4300], file_path[4400];
    snprintf(path, sizeof path, "%s/image-%llu-%llu", folder, (unsigned long long)seed,
             (unsigned long long)image->number);
    mkdir(folder, 0700);
    mkdir(path, 0700);
    for (enum shim_file file = 0; file < SHIM_FILES; file++) {
        snprintf(file_path, sizeof file_path, "%s/%s", path, names[file]);
        write_file(file_path, &disk[file]);
    }
    printf("  image %llu: after record %zu of %zu, of %zu unsynced writes %zu dropped and %zu torn (%s); "
           "kept as %s\n",
           (unsigned long long)image->number, image->at, record_count, image->pending, image->dropped,
           image->torn, fate_names[image->fate], path);
}

static int by_moment(const void *a, const void *b)
{
    const struct image *x = a, *y = b;
    return x->at != y->at ? (x->at < y->at ? -1 : 1) : x->number < y->number ? -1 : x->number > y->number;
}

static struct image *choose(uint64_t count)
{
    struct image *images = calloc(count, sizeof *images);
    for (uint64_t i = 0; i < count; i++) {
        random_state = (seed * 7919 + i + 1) * 0xD1B54A32D192ED03u;
        size_t span = i % EARLY_SHARE == 0 && record_count > EARLY ? EARLY : record_count;
        images[i] = (struct image){.number = i, .at = dice(span + 1), .fate = (enum fate)dice(FATES)};
    }
    qsort(images, count, sizeof *images, by_moment);
    return images;
}

static uint64_t served, taken_over;

static bool try_image(struct image *image, const char *keep_folder)
{
    build(image);
    write_disk();
    bool good = judge(image, false);
    if (binary && !binary_agrees())
        good = false;
    if (good && application && image->number % SERVE_SHARE == 1) {
        good = serves() && judge(image, false);
        served++;
    } else if (good && image->number % TAKE_SHARE == 2) {
        good = judge(image, true);
        taken_over++;
    }
    if (!good)
        keep(image, keep_folder);
    return good;
}

/* A store as it is, after everything that was asked for. */
static int judge_store(const char *folder, const char *ledgers)
{
    struct image now = {.at = SIZE_MAX};
    set_scratch(folder);
    read_ledgers(ledgers);
    bool good = judge(&now, false);
    printf("%u jobs and %llu rows in the ledger: %s\n", HASH_COUNT(promises),
           (unsigned long long)promise_rows, good ? "all is there" : "not all is as it was promised");
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *store = NULL;
    static const struct option options[] = {
        {"count", required_argument, NULL, 'c'}, {"seed", required_argument, NULL, 's'},
        {"only", required_argument, NULL, 'o'},  {"binary", required_argument, NULL, 'b'},
        {"store", required_argument, NULL, 'S'}, {"lie", no_argument, NULL, 'l'},
        {"serve", required_argument, NULL, 'a'}, {NULL, 0, NULL, 0},
    };
    uint64_t count = 300, tried = 0, failed = 0;
    long long only = -1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            count = strtoull(optarg, NULL, 10);
            break;
        case 's':
            seed = strtoull(optarg, NULL, 10);
            break;
        case 'o':
            only = atoll(optarg);
            break;
        case 'b':
            binary = optarg;
            break;
        case 'S':
            store = optarg;
            break;
        case 'a':
            application = optarg;
            break;
        case 'l':
            lies = true;
            break;
        default:
            return 2;
        }
    }
    if (store && argc - optind == 1)
        return judge_store(store, argv[optind]);
    if (argc - optind != 4) {
        fprintf(stderr, "usage: images [options] LOG LEDGER_FOLDER SCRATCH KEEP\n");
        return 2;
    }
    log_setup((enum log_level)(LOG_ERROR + 1), true);
    signal(SIGPIPE, SIG_IGN); /* a server that is gone is an error of the connection */
    read_log(argv[optind]);
    read_ledgers(argv[optind + 1]);
    set_scratch(argv[optind + 2]);
    mkdir(scratch, 0700);
    for (enum shim_file file = 0; file < SHIM_FILES; file++) {
        base[file].bytes = calloc(1, size_max[file] + SECTOR);
        disk[file].bytes = calloc(1, size_max[file] + SECTOR);
    }
    struct image *images = choose(count);
    for (uint64_t i = 0; i < count && failed < FAILED_MAX; i++) {
        if (only >= 0 && images[i].number != (uint64_t)only)
            continue;
        failed += !try_image(&images[i], argv[optind + 3]);
        tried++;
    }
    printf("%llu of %llu images are sound, %llu of them served, %llu taken over (%zu records, %u jobs and "
           "%llu rows in "
           "the ledger, seed %llu)\n",
           (unsigned long long)(tried - failed), (unsigned long long)tried, (unsigned long long)served,
           (unsigned long long)taken_over, record_count, HASH_COUNT(promises),
           (unsigned long long)promise_rows, (unsigned long long)seed);
    return failed ? 1 : 0;
}
