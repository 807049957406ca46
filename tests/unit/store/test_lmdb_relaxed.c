/* A relaxed store: what is not on disk yet gets there by itself, and numbers that may be lost are not used again. */
#include "lab.h"
#include "lmdb_factory.h"
#include "lmdb_check.h"

#include <sys/syscall.h>

/* LMDB's, as the dynamic linker finds it here first. */
static atomic_uint syncs;
int fdatasync(int fd)
{
    atomic_fetch_add(&syncs, 1);
    return (int)syscall(SYS_fdatasync, fd);
}

static struct lab *open_lab(int64_t relaxed_ms)
{
    struct store_settings wishes = {.readers = 1, .crash_limit = 3, .relaxed_ms = relaxed_ms};
    return lab_open_with(&lmdb_factory, &wishes);
}

static void an_idle_store_syncs_what_it_has_answered(void **state)
{
    (void)state;
    struct lab *lab = open_lab(20);
    lab_push(lab, "q", "x");
    unsigned before = atomic_load(&syncs);
    while (atomic_load(&syncs) == before) /* nothing else happens, so it can only be that */
        usleep(1000);
    lab_close(lab);
}

static void a_clean_stop_leaves_nothing_unsynced(void **state)
{
    (void)state;
    struct lab *lab = open_lab(60000);
    job_id id = lab_push(lab, "q", "x");
    unsigned before = atomic_load(&syncs);
    store_close(lab->store);
    lab->store = NULL;
    assert_true(atomic_load(&syncs) > before);
    assert_int_equal(lmdb_check(lab->settings.dir), 1);
    lab_reopen(lab);
    assert_int_equal(lab_state(lab, id), JOB_READY);
    lab_close(lab);
}

static void after_a_relaxed_life_ids_and_tokens_begin_far_beyond(void **state)
{
    (void)state;
    struct lab *lab = open_lab(1000);
    job_id first = lab_push(lab, "q", "x");
    uint64_t token = lab_lease(lab, "q", 1)->token;
    lab->settings.relaxed_ms = 0; /* also if the next one is not relaxed */
    lab_reopen(lab);
    lab->now -= 10000; /* and the clock was set back */
    job_id second = lab_push(lab, "q", "y");
    uint64_t later = lab_lease(lab, "q", 1)->token;
    assert_true(second - first > (job_id)60000 << JOB_ID_CLOCK_BITS);
    assert_true(later - token > 1000000);
    lab_reopen(lab); /* but this life was not */
    job_id third = lab_push(lab, "q", "z");
    assert_int_equal(third, second + 1);
    assert_int_equal(lab_lease(lab, "q", 1)->token, later + 1);
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_store_syncs_what_it_has_answered),
        cmocka_unit_test(a_clean_stop_leaves_nothing_unsynced),
        cmocka_unit_test(after_a_relaxed_life_ids_and_tokens_begin_far_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
