/*
 * limit.c - what this disk and LMDB can do at most, in one JSON line.
 *
 *     limit DIR commit|insert|cycle|sync [seconds]
 *
 *     commit   one job of 200 bytes a synchronous commit, back to back, and 500 times a second as the latency
 *              workload pushes (a disk that rests between two syncs answers later)
 *     sync     fdatasync of 4 KiB that were appended, alone
 *     insert   inserts in batches of 1,000
 *     cycle    insert, lease, delete in batches of 1,000; three synchronous commits a batch
 *
 * A job is a record under an 8-byte number, a key in its queue, and while it runs a key under its deadline: the least
 * that a job server has to write. No checks, no counters, no states, one thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD_BYTES 200
#define BATCH         1000
#define MAP_BYTES     (8ULL << 30)
#define JOBS_MOST     4000000 /* an insert ends here, whatever its time */
#define SAMPLES_MOST  200000
#define RATE          500

static char folder[4000];
static MDB_env *env;
static MDB_dbi jobs, ready, leases;
static char pool[1 << 20];
static double samples[SAMPLES_MOST];

static void check(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "limit: %s: %s\n", what, mdb_strerror(rc));
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(unsigned count, double part)
{
    qsort(samples, count, sizeof *samples, by_size);
    return count ? samples[(unsigned)(part * (count - 1))] * 1e3 : 0;
}

static MDB_txn *begin(unsigned flags)
{
    MDB_txn *txn;
    check(mdb_txn_begin(env, NULL, flags, &txn), "begin");
    return txn;
}

static void store_open(void)
{
    mkdir(folder, 0700);
    check(mdb_env_create(&env), "create");
    mdb_env_set_maxdbs(env, 4);
    mdb_env_set_mapsize(env, MAP_BYTES);
    check(mdb_env_open(env, folder, 0, 0600), folder);
    MDB_txn *txn = begin(0);
    check(mdb_dbi_open(txn, "jobs", MDB_CREATE, &jobs), "jobs");
    check(mdb_dbi_open(txn, "ready", MDB_CREATE, &ready), "ready");
    check(mdb_dbi_open(txn, "leases", MDB_CREATE, &leases), "leases");
    check(mdb_txn_commit(txn), "commit");
}

static void file_remove(const char *name)
{
    char path[4100];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static void store_remove(void)
{
    mdb_env_close(env);
    file_remove("data.mdb");
    file_remove("lock.mdb");
    rmdir(folder);
}

static void big_endian(unsigned char *out, uint64_t number)
{
    for (int i = 7; i >= 0; i--, number >>= 8)
        out[i] = (unsigned char)number;
}

/* ready: queue, priority, number; leases: deadline, number */
static const unsigned char queue_and_priority[5] = {0, 0, 0, 1, 5},
                           deadline[8] = {0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0};

static void insert(MDB_txn *txn, uint64_t number)
{
    unsigned char id[8], key[13];
    big_endian(id, number);
    memcpy(key, queue_and_priority, 5);
    memcpy(key + 5, id, 8);
    check(mdb_put(txn, jobs, &(MDB_val){8, id},
                  &(MDB_val){PAYLOAD_BYTES, pool + number * 7919 % (sizeof pool - PAYLOAD_BYTES)},
                  MDB_APPEND),
          "put a job");
    check(mdb_put(txn, ready, &(MDB_val){13, key}, &(MDB_val){0, ""}, 0), "put ready");
}

static void lease(MDB_txn *txn, MDB_cursor *cursor)
{
    MDB_val key, nothing;
    unsigned char held[16];
    check(mdb_cursor_get(cursor, &key, &nothing, MDB_FIRST), "first ready");
    memcpy(held, deadline, 8);
    memcpy(held + 8, (char *)key.mv_data + 5, 8);
    check(mdb_cursor_del(cursor, 0), "take ready");
    check(mdb_get(txn, jobs, &(MDB_val){8, held + 8}, &nothing), "read a job");
    check(mdb_put(txn, leases, &(MDB_val){16, held}, &(MDB_val){0, ""}, 0), "put a lease");
}

static void delete (MDB_txn *txn, uint64_t number)
{
    unsigned char held[16];
    memcpy(held, deadline, 8);
    big_endian(held + 8, number);
    check(mdb_del(txn, jobs, &(MDB_val){8, held + 8}, NULL), "delete a job");
    check(mdb_del(txn, leases, &(MDB_val){16, held}, NULL), "delete a lease");
}

static void commit(MDB_txn *txn)
{
    check(mdb_txn_commit(txn), "commit");
}

/* ---- figures ---- */

static unsigned commits(double duration, double rate)
{
    static uint64_t number;
    unsigned count = 0;
    double began = seconds();
    while (count < SAMPLES_MOST) {
        double now = seconds(), due = began + count / rate;
        if (now - began >= duration)
            break;
        if (rate > 0 && due > now)
            usleep((useconds_t)((due - now) * 1e6));
        double before = seconds();
        MDB_txn *txn = begin(0);
        insert(txn, ++number);
        commit(txn);
        samples[count++] = seconds() - before;
    }
    return count;
}

static unsigned syncs(double duration)
{
    char path[4100];
    static char page[4096];
    unsigned count = 0;
    snprintf(path, sizeof path, "%s/sync", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    double end = seconds() + duration;
    while (fd >= 0 && count < SAMPLES_MOST && seconds() < end) {
        double before = seconds();
        if (write(fd, page, sizeof page) != sizeof page || fdatasync(fd) != 0)
            check(errno, "sync");
        samples[count++] = seconds() - before;
    }
    close(fd);
    unlink(path);
    return count;
}

static void figure_commit(double duration)
{
    unsigned count = commits(duration, 0);
    double per_s = count / duration, p50 = percentile(count, .5), p99 = percentile(count, .99);
    count = commits(duration, RATE);
    double paced_p50 = percentile(count, .5), paced_p99 = percentile(count, .99);
    printf("{\"per_s\":%.1f,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"paced_p50_ms\":%.4f,\"paced_p99_ms\":%.4f}\n",
           per_s, p50, p99, paced_p50, paced_p99);
}

static void figure_sync(double duration)
{
    unsigned count = syncs(duration);
    printf("{\"per_s\":%.1f,\"p50_ms\":%.4f,\"p99_ms\":%.4f}\n", count / duration, percentile(count, .5),
           percentile(count, .99));
}

static void figure_insert(double duration)
{
    uint64_t number = 0;
    double began = seconds(), cpu = cpu_s();
    while (seconds() - began < duration && number < JOBS_MOST) {
        MDB_txn *txn = begin(0);
        for (unsigned i = 0; i < BATCH; i++)
            insert(txn, ++number);
        commit(txn);
    }
    printf("{\"per_s\":%.1f,\"cpu_ms_per_1000\":%.4f}\n", (double)number / (seconds() - began),
           (cpu_s() - cpu) * 1e6 / (double)number);
}

static void figure_cycle(double duration)
{
    uint64_t number = 0;
    double began = seconds(), cpu = cpu_s();
    while (seconds() - began < duration) {
        MDB_cursor *cursor;
        MDB_txn *txn = begin(0);
        for (unsigned i = 0; i < BATCH; i++)
            insert(txn, number + i + 1);
        commit(txn);
        txn = begin(0);
        check(mdb_cursor_open(txn, ready, &cursor), "cursor");
        for (unsigned i = 0; i < BATCH; i++)
            lease(txn, cursor);
        mdb_cursor_close(cursor);
        commit(txn);
        txn = begin(0);
        for (unsigned i = 0; i < BATCH; i++)
            delete (txn, ++number);
        commit(txn);
    }
    double took = seconds() - began;
    cpu = cpu_s() - cpu;
    MDB_stat left;
    MDB_txn *txn = begin(MDB_RDONLY);
    check(mdb_stat(txn, jobs, &left), "stat");
    mdb_txn_abort(txn);
    if (left.ms_entries) {
        fprintf(stderr, "limit: %zu jobs are left\n", left.ms_entries);
        exit(1);
    }
    printf("{\"per_s\":%.1f,\"cpu_ms_per_1000\":%.4f}\n", (double)number / took, cpu * 1e6 / (double)number);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(double duration);
    } figures[] = {
        {"commit", figure_commit}, {"insert", figure_insert}, {"cycle", figure_cycle}, {"sync", figure_sync}};
    uint64_t x = 88172645463325252ULL;
    for (size_t i = 0; i < sizeof pool; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        pool[i] = (char)('a' + (x >> 32) % 26);
    }
    for (size_t i = 0; argc > 2 && i < sizeof figures / sizeof *figures; i++)
        if (strcmp(argv[2], figures[i].name) == 0) {
            snprintf(folder, sizeof folder, "%s/limit.%ld", argv[1], (long)getpid());
            store_open();
            figures[i].run(argc > 3 ? atof(argv[3]) : 2);
            store_remove();
            return 0;
        }
    fprintf(stderr, "usage: limit DIR commit|insert|cycle|sync [seconds]\n");
    return 2;
}
