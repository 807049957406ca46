/*
 * A store that is killed: what was confirmed is there when it is opened again, from LMDB's file and from the journal in front
 * of it, wherever it died. And folders in which the two do not belong together.
 */
#include "lab.h"
#include "lmdb_crash.h"
#include "lmdb_check.h"
#include "store/fsck.h"
#include "base/log.h"
#include "store/lmdb/journal.h"

#include <sys/stat.h>

static bool has_file(const char *dir, const char *name)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static uint64_t checkpoints(struct lab *lab)
{
    LAB_OP(lab, stats, STORE_STATS);
    assert_int_equal(lab_run(lab, &lab->stats.op), MQ_OK);
    return lab->stats.checkpoints;
}

/* Jobs in all that is LMDB's own: the journal is put away. */
static size_t jobs_in_file(const char *dir)
{
    char *copy = copy_store(dir);
    char path[700];
    struct file file;
    snprintf(path, sizeof path, "%s/" JOURNAL_NAME, copy);
    unlink(path);
    file_open(&file, copy);
    size_t jobs = file_count(&file, DB_JOBS);
    file_close(&file);
    remove_tree(copy);
    free(copy);
    return jobs;
}

static struct fsck_report fsck(const char *dir, bool repair)
{
    struct fsck_settings settings = {.dir = dir, .repair = repair};
    struct fsck_report report;
    struct mq_err err = {0};
    if (store_fsck(&report, &settings, &err) != MQ_OK)
        fail_msg("%s", err.text);
    return report;
}

static void what_was_confirmed_is_there_after_a_kill(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    job_id ids[20];
    for (int i = 0; i < 20; i++)
        ids[i] = lab_push(lab, i % 2 ? "a" : "b", "payload");
    struct leased_job *job = lab_lease(lab, "a", 1);
    job_id done = job->id;
    uint64_t token = job->token;
    assert_int_equal(lab_ack(lab, done, token, "{}"), MQ_OK);
    job = lab_lease(lab, "a", 1);
    job_id runs = job->id;
    token = job->token;
    assert_int_equal(jobs_in_file(lab->settings.dir), 0); /* all of it is in the journal only */
    lab_crash(lab);
    assert_int_equal(lab_state(lab, done), JOB_SUCCEEDED);
    assert_int_equal(lab_state(lab, runs), JOB_RUNNING);
    assert_int_equal(lab_state(lab, ids[19]), JOB_READY);
    assert_int_equal(lab_queue(lab, "b")->counts.in_state[JOB_READY], 10);
    assert_true(lab_push(lab, "a", "x") > ids[19]);
    assert_true(lab_lease(lab, "b", 1)->token > token);
    assert_int_equal(lab_ack(lab, runs, token, "{}"), MQ_OK); /* the holder did not notice */
    lab_crash(lab);
    assert_int_equal(lab_state(lab, runs), JOB_SUCCEEDED);
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(lmdb_check(lab->settings.dir), 21);
    lab_close(lab);
}

/* After each step another life, which finds all of them. */
static void it_may_die_after_every_step(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    job_id ids[30];
    for (int i = 0; i < 30; i++) {
        ids[i] = lab_push(lab, "q", "payload");
        lab_crash(lab);
        if (i % 7 == 6)
            lab_reopen(lab); /* and some of them end well */
    }
    for (int i = 0; i < 30; i++)
        assert_int_equal(lab_state(lab, ids[i]), JOB_READY);
    lab_close(lab);
}

/* The new life died after its first commit, before it could empty the journal: nothing is done twice. */
static void a_journal_that_was_taken_over_already_is_not_again(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    lab_push(lab, "q", "x");
    job_id id = lab_push(lab, "q", "y");
    char *dead = copy_store(lab->settings.dir);
    lab_crash(lab); /* which takes it over */
    assert_int_equal(lab_step(lab, STORE_DELETE, id), MQ_OK);
    store_close(lab->store);
    lab->store = NULL;
    copy_file(dead, lab->settings.dir, JOURNAL_NAME);
    lab_reopen(lab);
    assert_int_equal(lab_state(lab, id), JOB_NONE);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 1);
    remove_tree(dead);
    free(dead);
    lab_close(lab);
}

static void a_read_sees_all_that_was_answered_and_makes_a_checkpoint_for_it(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    uint64_t before = checkpoints(lab);
    job_id id = lab_push(lab, "q", "x");
    lab_push(lab, "q", "y");
    assert_int_equal(jobs_in_file(lab->settings.dir), 0);
    assert_int_equal(lab_state(lab, id), JOB_READY);
    assert_int_equal(jobs_in_file(lab->settings.dir), 2);
    assert_int_equal(checkpoints(lab), before + 1);
    assert_int_equal(lab_state(lab, id), JOB_READY); /* there is nothing new to see */
    assert_int_equal(checkpoints(lab), before + 1);
    lab_close(lab);
}

static void a_long_journal_becomes_a_checkpoint(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .crash_limit = 3, .journal_bytes = 64 << 10};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    char path[700];
    struct stat st;
    for (int i = 0; i < 100; i++)
        lab_push(lab, "q", "x");
    size_t there = jobs_in_file(lab->settings.dir);
    assert_true(there > 50 && there < 100);
    snprintf(path, sizeof path, "%s/" JOURNAL_NAME, lab->settings.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < 256 << 10);
    lab_crash(lab);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 100);
    lab_close(lab);
}

/* Pushes in one batch, so many that a commit is cheaper than the journal. */
static void push_together(struct lab *lab, unsigned count)
{
    static char payload[3000];
    struct op_push *pushes = calloc(count, sizeof *pushes);
    int done = 0;
    for (unsigned i = 0; i < count; i++) {
        pushes[i] = lab_order(lab, "q", "");
        pushes[i].spec.payload = (struct slice){payload, sizeof payload};
        pushes[i].op.done = lab_done;
        pushes[i].op.owner = &done;
        store_submit(lab->store, &pushes[i].op);
    }
    store_flush(lab->store);
    while (done < (int)count)
        store_collect(lab->store);
    for (unsigned i = 0; i < count; i++)
        store_op_release(&pushes[i].op);
    free(pushes);
}

static void long_batches_go_past_the_journal_and_take_it_along(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    size_t jobs = 0;
    for (int round = 0; round < 5; round++) { /* from the second on their changes are not even noted */
        for (int i = 0; i < 3; i++, jobs++)
            lab_push(lab, "q", "x");
        assert_int_equal(jobs_in_file(lab->settings.dir), jobs - 3);
        push_together(lab, 500);
        jobs += 500;
        assert_int_equal(jobs_in_file(lab->settings.dir), jobs);
        lab_crash(lab);
        assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], jobs);
    }
    lab_close(lab);
}

/* What a store without a mark finds beside it belongs to somebody else. */
static void an_older_layout_takes_no_journal_for_its_own(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    struct file file;
    job_id id = lab_push(lab, "q", "x");
    store_close(lab->store);
    lab->store = NULL;
    file_open(&file, lab->settings.dir);
    MDB_val key = {7, "journal"}, layout = {6, "layout"}, val = {4, "\0\0\0\5"};
    assert_int_equal(mdb_del(file.txn, file.dbi[DB_META], &key, NULL), 0);
    assert_int_equal(mdb_put(file.txn, file.dbi[DB_META], &layout, &val, 0), 0);
    file_close(&file);
    struct lab *other = lab_open_with(&lmdb_factory, NULL);
    lab_push(other, "elsewhere", "y");
    copy_file(other->settings.dir, lab->settings.dir, JOURNAL_NAME);
    lab_close(other);
    lab_reopen(lab);
    assert_null(lab_queue(lab, "elsewhere"));
    assert_int_equal(lab_state(lab, id), JOB_READY);
    LAB_OP(lab, stats, STORE_STATS);
    lab_run(lab, &lab->stats.op);
    assert_int_equal(lab->stats.layout, LAYOUT);
    lab_push(lab, "q", "x");
    lab_crash(lab); /* it has a journal now */
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 2);
    lab_close(lab);
}

/* Somebody restored a backup of the file, and left the journal of what came later. */
static void a_restored_file_is_not_mixed_with_a_later_journal(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    lab_push(lab, "q", "x");
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 1); /* a checkpoint */
    char *backup = copy_store(lab->settings.dir);
    for (int i = 0; i < 5; i++) {
        lab_push(lab, "q", "later");
        lab_queue(lab, "q");
    }
    lab_push(lab, "q", "in the journal only");
    char *mixed = copy_store(lab->settings.dir);
    copy_file(backup, mixed, "moonq.mdb");
    remove_tree(backup);
    free(backup);
    lab_move(lab, mixed);
    lab_reopen(lab);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 1);
    for (int i = 0; i < 3; i++)
        lab_push(lab, "q", "its own future");
    lab_crash(lab);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 4);
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(fsck(lab->settings.dir, false).problems, 0);
    lab_close(lab);
}

static void without_its_journal_a_store_is_as_of_its_last_checkpoint(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    char path[700];
    lab_push(lab, "q", "x");
    lab_queue(lab, "q");
    lab_push(lab, "q", "in the journal only");
    lab_move(lab, copy_store(lab->settings.dir));
    snprintf(path, sizeof path, "%s/" JOURNAL_NAME, lab->settings.dir);
    assert_int_equal(unlink(path), 0);
    lab_reopen(lab);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 1);
    lab_close(lab);
}

static void a_clean_stop_leaves_an_empty_journal(void **state)
{
    (void)state;
    for (unsigned readers = 0; readers < 2; readers++) {
        struct store_settings wishes = {.nosync = true, .readers = readers};
        struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
        for (int i = 0; i < 5; i++)
            lab_push(lab, "q", "x");
        store_close(lab->store);
        lab->store = NULL;
        assert_int_equal(jobs_in_file(lab->settings.dir), 5);
        lab_close(lab);
    }
}

/* A map that is too small for what the journal holds grows while it is taken over. */
static void a_journal_longer_than_the_map_is_taken_over(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .map_bytes = 64 << 20, .crash_limit = 3};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    static char payload[100001];
    memset(payload, 'p', sizeof payload - 1);
    for (int i = 0; i < 60; i++)
        lab_push(lab, "q", payload);
    assert_int_equal(jobs_in_file(lab->settings.dir), 0);
    lab_move(lab, copy_store(lab->settings.dir));
    lab->settings.map_bytes = 1;
    lab_reopen(lab);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 60);
    lab_close(lab);
}

/* Each batch is in the journal when the map is full: all of them are made again in the greater one. */
static void a_map_that_grows_in_the_middle_loses_nothing(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .map_bytes = 1, .crash_limit = 3};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    static char payload[5001];
    memset(payload, 'p', sizeof payload - 1);
    for (int i = 0; i < 300; i++)
        lab_push(lab, "q", payload);
    assert_int_equal(jobs_in_file(lab->settings.dir), 0);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 300);
    LAB_OP(lab, stats, STORE_STATS);
    lab_run(lab, &lab->stats.op);
    assert_true(lab->stats.map_bytes >= 2 << 20);
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(lmdb_check(lab->settings.dir), 300);
    lab_close(lab);
}

/* ---- fsck ---- */

static void fsck_sees_what_the_journal_holds_and_changes_nothing(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    for (int i = 0; i < 10; i++)
        lab_push(lab, "q", "x");
    lab_move(lab, copy_store(lab->settings.dir));
    for (int twice = 0; twice < 2; twice++) {
        struct fsck_report report = fsck(lab->settings.dir, false);
        assert_int_equal(report.problems, 0);
        assert_int_equal(report.jobs, 10);
        assert_int_equal(jobs_in_file(lab->settings.dir), 0);
    }
    lab_reopen(lab);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 10);
    lab_close(lab);
}

/* An index entry of a confirmed job is gone, and the server was killed: the repair must not lose the journal. */
static void a_repair_takes_the_journal_over(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    struct file file;
    job_id id = lab_push(lab, "q", "x");
    lab_queue(lab, "q");
    for (int i = 0; i < 5; i++)
        lab_push(lab, "q", "y");
    lab_move(lab, copy_store(lab->settings.dir));
    file_open(&file, lab->settings.dir);
    struct key key;
    key_of_ready(&key, 1, PRIORITY_DEFAULT, id);
    MDB_val k = {key.len, key.at};
    assert_int_equal(mdb_del(file.txn, file.dbi[DB_READY], &k, NULL), 0);
    file_close(&file);
    assert_int_equal(fsck(lab->settings.dir, false).problems, 1);
    struct fsck_report report = fsck(lab->settings.dir, true);
    assert_true(report.mended);
    assert_int_equal(report.left, 0);
    assert_int_equal(fsck(lab->settings.dir, false).problems, 0);
    assert_int_equal(jobs_in_file(lab->settings.dir), 6);
    lab_reopen(lab);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 6);
    lab_close(lab);
}

struct told {
    enum fsck_kind kind;
    unsigned count;
};
static void on_problem(void *owner, const struct fsck_problem *problem)
{
    struct told *told = owner;
    told->kind = problem->kind;
    told->count++;
}

static void damage(const char *dir)
{
    char path[700], byte = 'X';
    snprintf(path, sizeof path, "%s/" JOURNAL_NAME, dir);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, &byte, 1, 2 * JOURNAL_PAGE + JOURNAL_HEAD_BYTES + 30),
                     1); /* the second record */
    close(fd);
}

static void a_damaged_journal_is_told_and_kept_aside(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    for (int i = 0; i < 4; i++)
        lab_push(lab, "q", "x");
    lab_move(lab, copy_store(lab->settings.dir));
    damage(lab->settings.dir);
    struct told told = {0};
    struct fsck_settings settings = {.dir = lab->settings.dir, .found = on_problem, .owner = &told};
    struct fsck_report report;
    assert_int_equal(store_fsck(&report, &settings, NULL), MQ_OK);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.kind, FSCK_JOURNAL);
    lab_reopen(lab); /* serves what there is */
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 1);
    assert_true(has_file(lab->settings.dir, JOURNAL_NAME JOURNAL_DAMAGED));
    for (int i = 0; i < 3; i++)
        lab_push(lab, "q", "x");
    lab_crash(lab);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 4);
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(fsck(lab->settings.dir, false).problems, 0);
    lab_close(lab);
}

/* A power cut in a relaxed life leaves such holes: that was its price. */
static void a_hole_that_a_relaxed_life_left_is_no_damage(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .crash_limit = 3, .relaxed_ms = 60000};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    for (int i = 0; i < 4; i++)
        lab_push(lab, "q", "x");
    lab_move(lab, copy_store(lab->settings.dir));
    damage(lab->settings.dir);
    assert_int_equal(fsck(lab->settings.dir, false).problems, 0);
    lab_reopen(lab);
    assert_int_equal(lab_queue(lab, "q")->counts.in_state[JOB_READY], 1);
    assert_false(has_file(lab->settings.dir, JOURNAL_NAME JOURNAL_DAMAGED));
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_confirmed_is_there_after_a_kill),
        cmocka_unit_test(it_may_die_after_every_step),
        cmocka_unit_test(a_journal_that_was_taken_over_already_is_not_again),
        cmocka_unit_test(a_read_sees_all_that_was_answered_and_makes_a_checkpoint_for_it),
        cmocka_unit_test(a_long_journal_becomes_a_checkpoint),
        cmocka_unit_test(long_batches_go_past_the_journal_and_take_it_along),
        cmocka_unit_test(an_older_layout_takes_no_journal_for_its_own),
        cmocka_unit_test(a_restored_file_is_not_mixed_with_a_later_journal),
        cmocka_unit_test(without_its_journal_a_store_is_as_of_its_last_checkpoint),
        cmocka_unit_test(a_clean_stop_leaves_an_empty_journal),
        cmocka_unit_test(a_journal_longer_than_the_map_is_taken_over),
        cmocka_unit_test(a_map_that_grows_in_the_middle_loses_nothing),
        cmocka_unit_test(fsck_sees_what_the_journal_holds_and_changes_nothing),
        cmocka_unit_test(a_repair_takes_the_journal_over),
        cmocka_unit_test(a_damaged_journal_is_told_and_kept_aside),
        cmocka_unit_test(a_hole_that_a_relaxed_life_left_is_no_damage),
    };
    log_setup((enum log_level)(LOG_ERROR + 1), true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
