/* The map grows when it is full; the batch that met its end is applied again, once, as if nothing had been. */
#include "lab.h"
#include "lmdb_factory.h"
#include "lmdb_check.h"

static uint64_t map_bytes_of(struct lab *lab)
{
    LAB_OP(lab, stats, STORE_STATS);
    assert_int_equal(lab_run(lab, &lab->stats.op), MQ_OK);
    return lab->stats.map_bytes;
}

/* All in one flush; payloads of 3000 bytes. */
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
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(pushes[i].op.code, MQ_OK);
        assert_true(i == 0 || pushes[i].id == pushes[i - 1].id + 1);
    }
    free(pushes);
}

static void close_and_check(struct lab *lab, size_t jobs)
{
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(lmdb_check(lab->settings.dir), jobs);
    lab_close(lab);
}

static void a_batch_larger_than_the_map_is_applied_once(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .map_bytes = 1};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    uint64_t before = map_bytes_of(lab);
    push_together(lab, 1000);
    assert_true(map_bytes_of(lab) >= 8 * before);
    assert_int_equal(lab_queue(lab, "q")->counts.pushed, 1000);
    close_and_check(lab, 1000);
}

static void a_listing_that_runs_does_not_stop_growth_nor_break(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .map_bytes = 1, .readers = 2};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    struct op_list lists[4];
    int listed = 0;
    unsigned pushed = 0;
    memset(lists, 0, sizeof lists);
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 4; i++) {
            store_op_release(&lists[i].op);
            store_op_init(&lists[i].op, STORE_LIST, lab->now);
            lists[i].filter =
                (struct job_filter){.queue = SLICE_EMPTY, .type = SLICE_EMPTY, .tag = SLICE_EMPTY};
            lists[i].limit = 100000;
            lists[i].cursor = SLICE_EMPTY;
            lists[i].op.done = lab_done;
            lists[i].op.owner = &listed;
            store_submit(lab->store, &lists[i].op);
        }
        push_together(lab, 60);
        pushed += 60;
        while (listed < (round + 1) * 4)
            store_collect(lab->store);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(lists[i].op.code, MQ_OK);
            assert_true(lists[i].count <= pushed);
        }
    }
    for (int i = 0; i < 4; i++)
        store_op_release(&lists[i].op);
    assert_true(map_bytes_of(lab) >= 8 << 20);
    close_and_check(lab, pushed);
}

static void a_store_larger_than_its_configured_map_opens(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .map_bytes = 1};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    push_together(lab, 1000);
    lab_reopen(lab);
    push_together(lab, 1000);
    close_and_check(lab, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_larger_than_the_map_is_applied_once),
        cmocka_unit_test(a_listing_that_runs_does_not_stop_growth_nor_break),
        cmocka_unit_test(a_store_larger_than_its_configured_map_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
