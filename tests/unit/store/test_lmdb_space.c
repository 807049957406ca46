/*
 * A full disk: pushes are refused, everything else goes on, and all recovers. On a small tmpfs of our own (in a
 * mount namespace of our own) where we may mount one, otherwise skipped; and with a limit on the file's size,
 * which anybody may set, for what fails in the middle of a commit.
 */
#include "lab.h"
#include "lmdb_factory.h"
#include "lmdb_check.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#define DISK_BYTES (24 << 20)

static bool can_mount;

/* A mount namespace of our own: nothing is left behind, whatever happens. */
static void prepare(void)
{
    can_mount = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    signal(SIGXFSZ, SIG_IGN);
}

static void fresh_disk(struct store_settings *settings, void **place)
{
    static char dir[600];
    char options[64];
    *place = temp_folder();
    snprintf(options, sizeof options, "size=%d", DISK_BYTES);
    if (mount("tmpfs", *place, "tmpfs", 0, options) != 0)
        fail_msg("cannot mount a tmpfs");
    snprintf(dir, sizeof dir, "%s/data", (char *)*place);
    settings->dir = dir;
}
static void remove_disk(void *place)
{
    umount2(place, MNT_DETACH);
    rmdir(place);
    free(place);
}
static const struct factory disk = {"tmpfs", fresh_disk, remove_disk};

static enum mq_code try_push(struct lab *lab, size_t payload_bytes, job_id *id)
{
    static char payload[1 << 16];
    struct op_push push = lab_order(lab, "q", "");
    push.spec.payload = (struct slice){payload, payload_bytes};
    enum mq_code code = lab_push_op(lab, &push);
    *id = push.id;
    return code;
}

/* Pushes until it is refused; answers how many were taken. */
static unsigned fill(struct lab *lab, job_id *ids, unsigned room)
{
    unsigned count = 0;
    while (count < room && try_push(lab, 30000, &ids[count]) == MQ_OK)
        count++;
    assert_true(count < room);
    return count;
}

static void use_every_other_verb(struct lab *lab, const job_id *ids, unsigned count)
{
    assert_true(count >= 12);
    for (unsigned i = 0; i < 10; i++) {
        struct leased_job *job = lab_lease(lab, "q", 1);
        assert_non_null(job);
        uint64_t token = job->token;
        job_id id = job->id;
        if (i % 3 == 0)
            assert_int_equal(lab_ack(lab, id, token, "{}"), MQ_OK);
        else if (i % 3 == 1)
            assert_int_equal(lab_fail(lab, id, token, FAIL_RETRY, lab->now + 1), MQ_OK);
        else
            assert_int_equal(lab_release(lab, id, token, RELEASE_GIVE_BACK, 0), MQ_OK);
    }
    assert_int_equal(lab_step(lab, STORE_CANCEL, ids[count - 1]), MQ_OK);
    assert_int_equal(lab_state(lab, ids[count - 1]), JOB_CANCELLED);
    assert_int_equal(lab_change_queue(lab, "q", QUEUE_PAUSE, -1), MQ_OK);
    assert_int_equal(lab_change_queue(lab, "q", QUEUE_RESUME, -1), MQ_OK);
    lab->now += 10;
    assert_int_equal(lab_sweep(lab, SWEEP_DUE, 100), MQ_OK);
}

static struct lab *open_disk(unsigned readers)
{
    struct store_settings wishes = {.reserve_bytes = 4 << 20, .crash_limit = 3, .readers = readers};
    return lab_open_with(&disk, &wishes);
}

static void pushes_are_refused_and_all_else_goes_on(void **state)
{
    (void)state;
    if (!can_mount)
        skip();
    job_id ids[1000];
    for (unsigned readers = 0; readers < 2; readers++) {
        struct lab *lab = open_disk(readers);
        unsigned count = fill(lab, ids, 1000);
        assert_non_null(strstr(lab->alarms.at, "disk.full"));
        use_every_other_verb(lab, ids, count);
        for (int i = 0; i < 300; i++) { /* each a commit of its own, from the reserve */
            struct leased_job *job = lab_lease(lab, "q", 1);
            uint64_t token = job->token;
            job_id id = job->id;
            assert_int_equal(lab_release(lab, id, token, RELEASE_GIVE_BACK, 0), MQ_OK);
        }
        job_id id;
        assert_int_equal(try_push(lab, 30000, &id), MQ_NOSPACE);
        lab_reopen(lab); /* a restart on a full disk, which gives it what the journal had */
        assert_int_equal(lab_state(lab, ids[0]), JOB_SUCCEEDED);
        fill(lab, ids + count, 1000 - count);
        assert_int_equal(try_push(lab, 30000, &id), MQ_NOSPACE);
        store_close(lab->store);
        lab->store = NULL;
        lmdb_check(lab->settings.dir);
        lab_close(lab);
    }
}

static void pushes_are_taken_again_when_jobs_have_made_room(void **state)
{
    (void)state;
    if (!can_mount)
        skip();
    job_id ids[1000], id;
    struct lab *lab = open_disk(0);
    unsigned count = fill(lab, ids, 1000);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(lab_step(lab, STORE_DELETE, ids[i]), MQ_OK);
    assert_int_equal(try_push(lab, 30000, &id), MQ_OK);
    assert_non_null(strstr(lab->alarms.at, "disk.recovered"));
    lab_close(lab);
}

static void pushes_are_taken_again_when_the_disk_has_room(void **state)
{
    (void)state;
    if (!can_mount)
        skip();
    job_id ids[1000], id;
    char path[700];
    struct lab *lab = open_disk(0);
    snprintf(path, sizeof path, "%s/filler", (char *)lab->place);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    for (off_t size = DISK_BYTES; size > 0; size -= 4096) /* somebody else takes all that is left */
        if (fallocate(fd, 0, 0, size) == 0)
            break;
    unsigned count = fill(lab, ids, 1000);
    use_every_other_verb(lab, ids, count);
    close(fd);
    unlink(path);
    assert_int_equal(try_push(lab, 30000, &id), MQ_OK);
    lab_close(lab);
}

/* Submits an ACK between pushes, all in one commit. */
static void ack_among_pushes(struct lab *lab, job_id id, uint64_t token, enum mq_code *ack,
                             enum mq_code pushed[40])
{
    static char payload[1 << 16];
    struct op_push pushes[40];
    struct op_complete complete = {.id = id, .token = token, .result = SLICE_EMPTY};
    int done = 0;
    store_op_init(&complete.op, STORE_COMPLETE, lab->now);
    complete.op.done = lab_done;
    complete.op.owner = &done;
    for (int i = 0; i < 40; i++) {
        pushes[i] = lab_order(lab, "q", "");
        pushes[i].spec.payload = (struct slice){payload, sizeof payload};
        pushes[i].op.done = lab_done;
        pushes[i].op.owner = &done;
        store_submit(lab->store, &pushes[i].op);
        if (i == 20)
            store_submit(lab->store, &complete.op);
    }
    store_flush(lab->store);
    while (done < 41)
        store_collect(lab->store);
    *ack = complete.op.code;
    for (int i = 0; i < 40; i++)
        pushed[i] = pushes[i].op.code;
}

static void a_commit_that_meets_the_end_drops_its_pushes_and_keeps_its_acks(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .crash_limit = 3};
    struct rlimit before, small;
    enum mq_code ack, pushed[40];
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    job_id id = lab_push(lab, "q", "x");
    uint64_t token = lab_lease(lab, "q", 1)->token;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur =
        1 << 20; /* less than is allocated: the space ahead is a lie, as after a thin disk filled up */
    setrlimit(RLIMIT_FSIZE, &small);
    ack_among_pushes(lab, id, token, &ack, pushed);
    assert_int_equal(ack, MQ_OK);
    for (int i = 0; i < 40; i++)
        assert_int_equal(pushed[i], MQ_NOSPACE);
    assert_int_equal(lab_state(lab, id), JOB_SUCCEEDED);
    assert_int_equal(lab_queue(lab, "q")->counts.pushed, 1);
    assert_non_null(strstr(lab->alarms.at, "disk.full"));
    setrlimit(RLIMIT_FSIZE, &before);
    lab_push(lab, "q", "y");
    assert_non_null(strstr(lab->alarms.at, "disk.recovered"));
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(lmdb_check(lab->settings.dir), 2);
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushes_are_refused_and_all_else_goes_on),
        cmocka_unit_test(pushes_are_taken_again_when_jobs_have_made_room),
        cmocka_unit_test(pushes_are_taken_again_when_the_disk_has_room),
        cmocka_unit_test(a_commit_that_meets_the_end_drops_its_pushes_and_keeps_its_acks),
    };
    prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
