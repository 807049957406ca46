/* The run page: it outlives who writes it, and of two who want a slot one gets it. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/page.h"

static char path[] = "/tmp/moonq-page-XXXXXX";

static void what_a_killed_process_wrote_is_there(void **state)
{
    struct run_page *page, *again;
    struct mq_err err;
    int fd, other_fd, status;
    (void)state;
    assert_int_equal(page_open(&page, &fd, path, true, &err), MQ_OK);
    int pid = fork();
    if (pid == 0) {
        atomic_store(&page->on_cpu, 77);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(atomic_load(&page->on_cpu), 77);
    page_close(page);
    close(fd);
    /* nor is it lost with the server */
    assert_int_equal(page_open(&again, &other_fd, path, false, &err), MQ_OK);
    assert_int_equal(atomic_load(&again->on_cpu), 77);
    page_close(again);
    close(other_fd);
    assert_int_equal(page_open(&again, &other_fd, path, true, &err), MQ_OK);
    assert_int_equal(atomic_load(&again->on_cpu), 0);
    page_close(again);
    close(other_fd);
}

enum {
    ROUNDS = 200
};

static void one_of_two_takes_a_slot(void **state)
{
    struct run_page *page;
    struct mq_err err;
    int fd, status;
    unsigned ours = 0;
    (void)state;
    assert_int_equal(page_open(&page, &fd, path, true, &err), MQ_OK);
    for (unsigned i = 0; i < ROUNDS; i++)
        assert_true(slot_move(page, i, SLOT_FREE, SLOT_GIVEN));
    int pid = fork();
    if (pid == 0) {
        unsigned taken = 0;
        for (unsigned i = 0; i < ROUNDS; i++)
            taken += slot_move(page, i, SLOT_GIVEN, SLOT_TAKEN);
        _exit((int)taken);
    }
    for (unsigned i = 0; i < ROUNDS; i++)
        ours += slot_move(page, i, SLOT_GIVEN, SLOT_REVOKED);
    waitpid(pid, &status, 0);
    assert_int_equal(WEXITSTATUS(status) + ours, ROUNDS);
    page_close(page);
    close(fd);
}

/* A file system of its own, with one page in all. False: that is not allowed here. */
static bool live_on_a_tiny_disk(void)
{
    return (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", "/mnt", "tmpfs", 0, "size=4k") == 0;
}

static void a_full_disk_is_told_and_ends_nobody(void **state)
{
    enum {
        NOT_ALLOWED = 77
    };
    int status;
    (void)state;
    int pid = fork();
    if (pid == 0) {
        struct run_page *page;
        struct mq_err err;
        int fd;
        if (!live_on_a_tiny_disk())
            _exit(NOT_ALLOWED);
        bool told = page_open(&page, &fd, "/mnt/page", true, &err) == MQ_NOSPACE;
        _exit(told && access("/mnt/page", F_OK) != 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status)); /* a store into a hole of a full disk is SIGBUS */
    if (WEXITSTATUS(status) == NOT_ALLOWED)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_bad_path_is_told(void **state)
{
    struct run_page *page;
    struct mq_err err;
    int fd;
    (void)state;
    assert_int_equal(page_open(&page, &fd, "/nonexistent/page", true, &err), MQ_INTERNAL);
    assert_non_null(strstr(err.text, "/nonexistent/page"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_killed_process_wrote_is_there),
        cmocka_unit_test(one_of_two_takes_a_slot),
        cmocka_unit_test(a_full_disk_is_told_and_ends_nobody),
        cmocka_unit_test(a_bad_path_is_told),
    };
    int fd = mkstemp(path);
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
