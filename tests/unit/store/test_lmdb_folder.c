/* Which folders are taken, and which are refused and why. */
#include "lab.h"
#include "lmdb_factory.h"
#include "lmdb_check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <xxhash.h>

#include "store/fsck.h"
#include "store/lmdb/lock.h"
#include "../job/old_status.h"

/* The dynamic linker finds it here first: folders are synced by it, and nothing else. */
static struct {
    ino_t folder;     /* counted, if it is not 0 */
    unsigned count;   /* syncs of it that were asked for, */
    unsigned refused; /* and so many of the next fail, */
    int error;        /* with this */
} syncs;

int fsync(int fd)
{
    struct stat st;
    if (syncs.folder && fstat(fd, &st) == 0 && st.st_ino == syncs.folder) {
        syncs.count++;
        if (syncs.refused) {
            syncs.refused--;
            errno = syncs.error;
            return -1;
        }
    }
    return (int)syscall(SYS_fsync, fd);
}

static void watch(const char *dir, unsigned refused, int error)
{
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    syncs.folder = st.st_ino;
    syncs.count = 0;
    syncs.refused = refused;
    syncs.error = error;
}

static enum mq_code open_with(const struct store_settings *settings, struct mq_err *err)
{
    struct store *store = NULL;
    enum mq_code code = store_open(&store, settings, err);
    if (code == MQ_OK)
        store_close(store);
    return code;
}

static enum mq_code open_dir(const char *dir, struct mq_err *err)
{
    return open_with(&(struct store_settings){.dir = dir, .nosync = true}, err);
}

static enum mq_code open_synced(const char *dir, struct mq_err *err)
{
    return open_with(&(struct store_settings){.dir = dir}, err);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void copy_file(const char *from_dir, const char *to)
{
    char path[700], bytes[65536];
    ssize_t len;
    snprintf(path, sizeof path, "%s/moonq.mdb", from_dir);
    int from = open(path, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    while ((len = read(from, bytes, sizeof bytes)) > 0)
        assert_int_equal(write(out, bytes, (size_t)len), len);
    close(from);
    close(out);
}

static void a_new_folder_is_created_if_its_parent_exists(void **state)
{
    (void)state;
    struct mq_err err;
    char path[600], *dir = temp_folder();
    snprintf(path, sizeof path, "%s/data", dir);
    assert_int_equal(open_dir(path, &err), MQ_OK);
    assert_int_equal(open_dir(path, &err), MQ_OK);
    snprintf(path, sizeof path, "%s/no/data", dir);
    assert_int_equal(open_dir(path, &err), MQ_NOTFOUND);
    assert_non_null(strstr(err.text, path));
    remove_tree(dir);
    free(dir);
}

/* Whose name is not on disk is gone after a power cut, with all that was confirmed in it. */
static void a_new_folder_whose_name_cannot_be_synced_is_refused_each_time(void **state)
{
    (void)state;
    struct mq_err err;
    char path[600], *dir = temp_folder();
    snprintf(path, sizeof path, "%s/data", dir);
    watch(dir, 2, EIO);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_synced(path, &err), MQ_INTERNAL);
        assert_non_null(strstr(err.text, path));
    }
    assert_int_equal(syncs.count, 2);
    assert_int_equal(open_synced(path, &err), MQ_OK);
    assert_int_equal(syncs.count, 3);
    assert_int_equal(open_synced(path, &err), MQ_OK); /* it was there */
    assert_int_equal(syncs.count, 3);
    syncs.folder = 0;
    remove_tree(dir);
    free(dir);
}

static void a_store_whose_name_cannot_be_synced_is_refused_each_time(void **state)
{
    (void)state;
    struct mq_err err;
    char *dir = temp_folder();
    watch(dir, 2, EIO);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_synced(dir, &err), MQ_INTERNAL);
        assert_non_null(strstr(err.text, dir));
        assert_non_null(strstr(err.text, strerror(EIO)));
    }
    assert_int_equal(syncs.count, 2);
    assert_int_equal(open_synced(dir, &err), MQ_OK);
    syncs.folder = 0;
    remove_tree(dir);
    free(dir);
}

static void a_file_system_that_knows_no_sync_of_folders_is_taken(void **state)
{
    (void)state;
    struct mq_err err;
    char *dir = temp_folder();
    watch(dir, 1000, EINVAL);
    assert_int_equal(open_synced(dir, &err), MQ_OK);
    assert_true(syncs.count > 0);
    syncs.folder = 0;
    remove_tree(dir);
    free(dir);
}

/* Whoever may write to the folder must not make the server write to a file elsewhere. */
static void a_link_in_the_folder_is_not_followed(void **state)
{
    static const char *const names[] = {"moonq.lock", "moonq.mdb"};
    struct mq_err err;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[600], victim[600], *dir = temp_folder();
        struct stat found;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        snprintf(victim, sizeof victim, "%s/.victim", dir);
        assert_int_equal(0, symlink(victim, path));
        assert_int_equal(open_dir(dir, &err), MQ_NOPERM);
        assert_non_null(strstr(err.text, path));
        assert_int_equal(-1, stat(victim, &found));
        remove_tree(dir);
        free(dir);
    }
}

static void a_second_server_is_refused_with_the_pid_of_the_first(void **state)
{
    (void)state;
    struct mq_err err;
    struct store_settings wishes = {.nosync = true};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    char pid[32];
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_int_equal(open_dir(lab->settings.dir, &err), MQ_CONFLICT);
    assert_non_null(strstr(err.text, pid));
    pid_t child = fork();
    if (child == 0)
        _exit(open_dir(lab->settings.dir, &err) == MQ_CONFLICT && strstr(err.text, pid) ? 0 : 1);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    lab_push(lab, "q", "x"); /* the first one has not noticed */
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(open_dir(lab->settings.dir, &err), MQ_OK);
    lab_close(lab);
}

static void the_lock_ends_with_its_holder(void **state)
{
    (void)state;
    struct mq_err err;
    int pipe_fds[2], status;
    char byte, *dir = temp_folder();
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store_settings settings = {.dir = dir, .nosync = true};
        struct store *store;
        if (store_open(&store, &settings, &err) != MQ_OK || write(pipe_fds[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(open_dir(dir, &err), MQ_CONFLICT);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    assert_int_equal(open_dir(dir, &err), MQ_OK);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    remove_tree(dir);
    free(dir);
}

/* What the lock's file has; its length. */
static size_t read_lock(const char *dir, char *out, size_t size)
{
    char path[600];
    snprintf(path, sizeof path, "%s/moonq.lock", dir);
    int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, out, size - 1);
    assert_true(len >= 0);
    out[len] = '\0';
    close(fd);
    return (size_t)len;
}

static int lock_without_room(const char *dir)
{
    struct mq_err err;
    struct rlimit before, nothing;
    int fd = -1;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    nothing = (struct rlimit){0, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &nothing);
    enum mq_code code = lock_take(&fd, dir, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(code, MQ_OK);
    return fd;
}

/* The file's one block is all that it may have: it is not given back to a disk that is full. */
static void the_lock_is_taken_without_room_for_the_pid(void **state)
{
    (void)state;
    struct mq_err err;
    char before[64], after[64], *dir = temp_folder();
    int fd, second;
    assert_int_equal(lock_take(&fd, dir, &err), MQ_OK);
    lock_release(fd);
    size_t len = read_lock(dir, before, sizeof before);
    fd = lock_without_room(dir);
    assert_int_equal(read_lock(dir, after, sizeof after), len);
    assert_string_equal(after, before);
    assert_int_equal(lock_take(&second, dir, &err), MQ_CONFLICT);
    lock_release(fd);
    write_file(dir, "moonq.lock", "");
    fd = lock_without_room(dir);
    assert_int_equal(lock_take(&second, dir, &err), MQ_CONFLICT);
    assert_null(strstr(err.text, "process")); /* nobody knows */
    lock_release(fd);
    remove_tree(dir);
    free(dir);
}

/* A process that has ended must not be told to whoever is asked to stop it. */
static void whoever_is_gone_is_not_named_as_the_holder(void **state)
{
    (void)state;
    struct mq_err err;
    char text[64], *dir = temp_folder();
    int fd, second;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    snprintf(text, sizeof text, "%ld\n", (long)child);
    write_file(dir, "moonq.lock", text);
    fd = lock_without_room(dir);
    assert_int_equal(lock_take(&second, dir, &err), MQ_CONFLICT);
    assert_null(strstr(err.text, "process"));
    lock_release(fd);
    remove_tree(dir);
    free(dir);
}

/* "123\n", as servers before wrote it; ours is a line of one length, whatever was there. */
static void a_pid_of_either_form_is_read(void **state)
{
    (void)state;
    struct mq_err err;
    char path[600], text[64], own[64], *dir = temp_folder();
    int fd, second;
    snprintf(text, sizeof text, "%ld\n", (long)getpid());
    snprintf(own, sizeof own, "process %ld (", (long)getpid());
    write_file(dir, "moonq.lock", text);
    snprintf(path, sizeof path, "%s/moonq.lock", dir);
    fd = open(path, O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(lock_take(&second, dir, &err), MQ_CONFLICT);
    assert_non_null(strstr(err.text, own));
    close(fd);
    static const char *const left[] = {"", "1\n", "1234567\n", "99999               \n"};
    size_t len = 0;
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        write_file(dir, "moonq.lock", left[i]);
        assert_int_equal(lock_take(&fd, dir, &err), MQ_OK);
        assert_int_equal(lock_take(&second, dir, &err), MQ_CONFLICT);
        assert_non_null(strstr(err.text, own));
        len = i ? len : read_lock(dir, text, sizeof text);
        assert_int_equal(read_lock(dir, text, sizeof text), len);
        assert_ptr_equal(strchr(text, '\n'), text + len - 1);
        lock_release(fd);
    }
    remove_tree(dir);
    free(dir);
}

static void a_folder_of_something_else_is_refused_untouched(void **state)
{
    (void)state;
    struct mq_err err;
    char *dir = temp_folder(), path[600];
    write_file(dir, "holiday.jpg", "smile");
    assert_int_equal(open_dir(dir, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "holiday.jpg"));
    snprintf(path, sizeof path, "%s/moonq.mdb", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    remove_tree(dir);
    free(dir);
}

/* A store gets its name when its first pages are on disk; what an earlier try left is made anew. */
static void a_store_that_was_being_made_when_the_power_went_is_made_anew(void **state)
{
    (void)state;
    struct mq_err err;
    char *dir = temp_folder(), path[600];
    write_file(dir, "moonq.mdb.new", "half a page");
    assert_int_equal(open_dir(dir, &err), MQ_OK);
    snprintf(path, sizeof path, "%s/moonq.mdb.new", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    remove_tree(dir);
    free(dir);
    dir = temp_folder();
    write_file(dir, "moonq.mdb", ""); /* named, and nothing of it was written */
    assert_int_equal(open_dir(dir, &err), MQ_OK);
    remove_tree(dir);
    free(dir);
}

static void a_file_that_is_no_store_is_refused(void **state)
{
    (void)state;
    struct mq_err err;
    char *dir = temp_folder(), garbage[20000];
    memset(garbage, 'g', sizeof garbage - 1);
    garbage[sizeof garbage - 1] = '\0';
    write_file(dir, "moonq.mdb", garbage);
    assert_int_equal(open_dir(dir, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "not a moonq store"));
    remove_tree(dir);
    free(dir);
}

/* What a copy without room, or a broken disk, leaves: reading it would end the process with SIGBUS. */
static void a_file_without_its_end_is_refused(void **state)
{
    (void)state;
    struct mq_err err;
    struct store_settings wishes = {.nosync = true};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    struct stat found;
    char path[700], *dir = temp_folder();
    for (int i = 0; i < 300; i++)
        lab_push(lab, "q", "x");
    lab_queue(lab, "q"); /* somebody looks: all of it is in LMDB's file */
    snprintf(path, sizeof path, "%s/moonq.mdb", dir);
    copy_file(lab->settings.dir, path);
    assert_int_equal(open_dir(dir, &err), MQ_OK);
    assert_int_equal(truncate(path, 10 * 4096), 0);
    assert_int_equal(open_dir(dir, &err), MQ_INTERNAL);
    assert_non_null(strstr(err.text, "has 40960 bytes, its last commit fills "));
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_size, 10 * 4096); /* left as it was found */
    lab_close(lab);
    remove_tree(dir);
    free(dir);
}

/* Pages that a commit took and freed again are never written: without fallocate a sound file may end before them. */
static void a_file_that_lacks_only_free_pages_is_taken(void **state)
{
    (void)state;
    struct mq_err err;
    char *dir = temp_folder();
    assert_int_equal(open_dir(dir, &err), MQ_OK);
    file_shorten(dir);
    assert_int_equal(open_dir(dir, &err), MQ_OK);
    remove_tree(dir);
    free(dir);
}

/* Puts another layout's number into a store's file. */
static void set_layout(const char *dir, uint32_t layout, size_t len)
{
    struct file file;
    char at[4];
    MDB_val key = {6, "layout"}, val = {len, at};
    be32_put(at, layout);
    file_open(&file, dir);
    assert_int_equal(mdb_put(file.txn, file.dbi[DB_META], &key, &val, 0), 0);
    file_close(&file);
}

/* The same where not all databases are there. */
static void set_layout_only(const char *dir, uint32_t layout)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    char path[4096], at[4];
    MDB_val key = {6, "layout"}, val = {4, at};
    be32_put(at, layout);
    snprintf(path, sizeof path, "%s/moonq.mdb", dir);
    assert_int_equal(mdb_env_create(&env), 0);
    mdb_env_set_maxdbs(env, DB_COUNT);
    assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &key, &val, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void a_newer_layout_is_refused_with_both_numbers(void **state)
{
    (void)state;
    struct mq_err err;
    char *dir = temp_folder();
    assert_int_equal(open_dir(dir, &err), MQ_OK);
    set_layout(dir, LAYOUT + 4, 4);
    assert_int_equal(open_dir(dir, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "layout 11"));
    assert_non_null(strstr(err.text, "up to 7"));
    set_layout(dir, 0, 4); /* older than the first: nothing migrates it */
    assert_int_equal(open_dir(dir, &err), MQ_BADARG);
    set_layout(dir, 2, 3);
    assert_int_equal(open_dir(dir, &err), MQ_BADARG);
    remove_tree(dir);
    free(dir);
}

/* The record of queue number 1 as layout 1 wrote it: format 1, which ends with the reason. */
static void age_queue(struct file *file)
{
    char no[4], old[4096];
    MDB_val key = {4, no}, val;
    be32_put(no, 1);
    assert_int_equal(mdb_get(file->txn, file->dbi[DB_QUEUES], &key, &val), 0);
    size_t len = val.mv_size - 4 /* sum */ - (4 + 8 + 8) /* by, which is empty; since; until */;
    memcpy(old, val.mv_data, len);
    old[0] = 1;
    be32_put(old + len, (uint32_t)XXH3_64bits(old, len));
    val = (MDB_val){len + 4, old};
    assert_int_equal(mdb_put(file->txn, file->dbi[DB_QUEUES], &key, &val, 0), 0);
}

static void a_store_of_layout_1_is_migrated_and_its_pauses_stand(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    struct file file;
    job_id id = lab_push(lab, "q", "x");
    assert_int_equal(lab_pause_queue(lab, "q", "", 0), MQ_OK);
    store_close(lab->store);
    lab->store = NULL;
    file_open(&file, lab->settings.dir);
    age_queue(&file);
    assert_int_equal(mdb_drop(file.txn, file.dbi[DB_HELD], 1), 0);
    assert_int_equal(mdb_drop(file.txn, file.dbi[DB_PAUSES], 1), 0);
    file_close(&file);
    set_layout_only(lab->settings.dir, 1);

    struct fsck_settings settings = {.dir = lab->settings.dir};
    struct fsck_report report;
    struct mq_err err;
    assert_int_equal(store_fsck(&report, &settings, &err), MQ_BADARG);
    assert_non_null(strstr(err.text, "start its server once"));

    lab_reopen(lab);
    const struct queue_view *queue = lab_queue(lab, "q");
    assert_true(queue->pause.on);
    assert_slice(queue->pause.reason, "maintenance");
    assert_int_equal(queue->pause.until, WALL_NEVER);
    assert_int_equal(lab_change_queue(lab, "q", QUEUE_RESUME, -1), MQ_OK);
    assert_int_equal(lab_pause_type(lab, "email.send", 0), MQ_OK);
    assert_null(lab_lease(lab, "q", 1));
    assert_int_equal(lab_pause_type(lab, "email.send", -1), MQ_OK);
    lab_sweep(lab, SWEEP_PAUSES, 10);
    assert_int_equal(lab_lease(lab, "q", 1)->id, id);
    LAB_OP(lab, stats, STORE_STATS);
    lab_run(lab, &lab->stats.op);
    assert_int_equal(lab->stats.layout, LAYOUT);
    lab_close(lab);
}

static void a_store_of_layout_2_is_migrated_and_what_it_keeps_is_counted(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    struct file file;
    MDB_val key = {4, "kept"};
    for (int i = 0; i < 4; i++) {
        job_id id = lab_push(lab, "q", "some payload");
        struct leased_job *job = lab_lease(lab, "q", 1);
        if (i % 2)
            assert_int_equal(lab_ack(lab, id, job->token, "some result"), MQ_OK);
        else
            assert_int_equal(lab_fail(lab, id, job->token, FAIL_DEAD, 0), MQ_OK);
    }
    lab_push(lab, "q", "and one that waits");
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(lmdb_check(lab->settings.dir), 5);
    file_open(&file, lab->settings.dir);
    assert_int_equal(mdb_del(file.txn, file.dbi[DB_META], &key, NULL), 0);
    file_close(&file);
    set_layout(lab->settings.dir, 2, 4);
    lab_reopen(lab);
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(lmdb_check(lab->settings.dir), 5);
    lab_close(lab);
}

/* All statuses, as layout 6 wrote them. */
static unsigned age_statuses(struct file *file)
{
    MDB_cursor *cursor;
    MDB_val key, val;
    unsigned count = 0;
    assert_int_equal(mdb_cursor_open(file->txn, file->dbi[DB_STATES], &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &val, MDB_NEXT) == 0) {
        char old[300];
        size_t len = old_status(old, (struct slice){val.mv_data, val.mv_size});
        assert_true(len && len < val.mv_size);
        struct key name = {.len = key.mv_size}; /* the page is moved */
        memcpy(name.at, key.mv_data, key.mv_size);
        key = (MDB_val){name.len, name.at};
        val = (MDB_val){len, old};
        assert_int_equal(mdb_cursor_put(cursor, &key, &val, MDB_CURRENT), 0);
        count++;
    }
    mdb_cursor_close(cursor);
    return count;
}

static void a_store_of_layout_6_is_migrated_and_its_jobs_go_on(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    struct op_push later = lab_order(lab, "q", "later");
    uint64_t tokens[4];
    job_id ids[6];
    for (int i = 0; i < 6; i++)
        ids[i] = lab_push(lab, "q", "x");
    later.run_at = lab->now + 5000;
    assert_int_equal(lab_push_op(lab, &later), MQ_OK);
    assert_non_null(lab_lease(lab, "q", 4));
    for (int i = 0; i < 4; i++)
        tokens[i] = lab->lease.jobs[i].token;
    assert_int_equal(lab_ack(lab, ids[0], tokens[0], "done"), MQ_OK);
    assert_int_equal(lab_fail(lab, ids[1], tokens[1], FAIL_DEAD, 0), MQ_OK);
    assert_int_equal(lab_fail(lab, ids[2], tokens[2], FAIL_RETRY, lab->now + 1000), MQ_OK);
    store_close(lab->store);
    lab->store = NULL;
    struct file file;
    file_open(&file, lab->settings.dir);
    assert_int_equal(age_statuses(&file), 7);
    file_close(&file);
    set_layout(lab->settings.dir, 6, 4);

    lab_reopen(lab);
    assert_int_equal(lab_ack(lab, ids[3], tokens[3], "done"), MQ_OK);
    assert_int_equal(lab_step(lab, STORE_RETRY, ids[1]), MQ_OK);
    lab->now += 6000;
    assert_int_equal(lab_sweep(lab, SWEEP_DUE, 10), MQ_OK);
    assert_non_null(lab_lease(lab, "q", 10));
    assert_int_equal(lab->lease.count,
                     5); /* two that waited, one again, one retried, one whose time had come */
    assert_int_equal(lab_step(lab, STORE_DELETE, ids[0]), MQ_OK);
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(lmdb_check(lab->settings.dir), 6);
    struct fsck_settings settings = {.dir = lab->settings.dir};
    struct fsck_report report;
    struct mq_err err;
    assert_int_equal(store_fsck(&report, &settings, &err), MQ_OK);
    assert_int_equal(report.problems, 0);
    lab_close(lab);
}

static void a_folder_that_is_not_writable_is_refused(void **state)
{
    (void)state;
    struct mq_err err;
    char *dir = temp_folder();
    assert_int_equal(chmod(dir, 0500), 0);
    pid_t child = fork();
    if (child == 0) {
        /* root may write anywhere */
        if (getuid() == 0 && (setgid(65534) || chown(dir, 65534, 65534) || setuid(65534)))
            _exit(2);
        _exit(open_dir(dir, &err) == MQ_NOPERM && strstr(err.text, dir) ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    chmod(dir, 0700);
    remove_tree(dir);
    free(dir);
}

static void the_worst_counters_never_repeat_an_id(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    job_id last = lab_push(lab, "q", "x");
    store_close(lab->store);
    lab->store = NULL;
    struct file file;
    MDB_val key = {8, "counters"}, val = {3, "bad"};
    file_open(&file, lab->settings.dir);
    assert_int_equal(mdb_put(file.txn, file.dbi[DB_META], &key, &val, 0), 0);
    file_close(&file);
    lab->now -= 100000;
    lab_reopen(lab);
    assert_true(lab_push(lab, "q", "y") > last);
    assert_true(lab_push(lab, "r", "z") > last);
    assert_int_not_equal(lab_queue(lab, "q")->no, lab_queue(lab, "r")->no);
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_folder_is_created_if_its_parent_exists),
        cmocka_unit_test(a_new_folder_whose_name_cannot_be_synced_is_refused_each_time),
        cmocka_unit_test(a_store_whose_name_cannot_be_synced_is_refused_each_time),
        cmocka_unit_test(a_file_system_that_knows_no_sync_of_folders_is_taken),
        cmocka_unit_test(a_link_in_the_folder_is_not_followed),
        cmocka_unit_test(a_second_server_is_refused_with_the_pid_of_the_first),
        cmocka_unit_test(the_lock_ends_with_its_holder),
        cmocka_unit_test(the_lock_is_taken_without_room_for_the_pid),
        cmocka_unit_test(whoever_is_gone_is_not_named_as_the_holder),
        cmocka_unit_test(a_pid_of_either_form_is_read),
        cmocka_unit_test(a_folder_of_something_else_is_refused_untouched),
        cmocka_unit_test(a_store_that_was_being_made_when_the_power_went_is_made_anew),
        cmocka_unit_test(a_file_that_is_no_store_is_refused),
        cmocka_unit_test(a_file_without_its_end_is_refused),
        cmocka_unit_test(a_file_that_lacks_only_free_pages_is_taken),
        cmocka_unit_test(a_newer_layout_is_refused_with_both_numbers),
        cmocka_unit_test(a_store_of_layout_1_is_migrated_and_its_pauses_stand),
        cmocka_unit_test(a_store_of_layout_2_is_migrated_and_what_it_keeps_is_counted),
        cmocka_unit_test(a_store_of_layout_6_is_migrated_and_its_jobs_go_on),
        cmocka_unit_test(a_folder_that_is_not_writable_is_refused),
        cmocka_unit_test(the_worst_counters_never_repeat_an_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
