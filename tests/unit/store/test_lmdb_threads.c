/* Group commit: what gathers while one commit syncs becomes the next, and answers come back once and in order. */
#include "lab.h"
#include "lmdb_factory.h"
#include "lmdb_check.h"

enum {
    JOBS = 3000
};

struct tally {
    unsigned done;
    uint64_t last_seen; /* index of the push answered last */
    bool disorder;
    struct op_push *pushes;
};

static void on_pushed(struct store_op *op)
{
    struct tally *tally = op->owner;
    uint64_t index = (uint64_t)((struct op_push *)op - tally->pushes);
    tally->disorder |= tally->done && index != tally->last_seen + 1;
    tally->last_seen = index;
    tally->done++;
}

static void submit_all(struct lab *lab, struct tally *tally, bool flush_each)
{
    tally->pushes = calloc(JOBS, sizeof *tally->pushes);
    for (unsigned i = 0; i < JOBS; i++) {
        tally->pushes[i] = lab_order(lab, i % 2 ? "a" : "b", "x");
        tally->pushes[i].op.done = on_pushed;
        tally->pushes[i].op.owner = tally;
        store_submit(lab->store, &tally->pushes[i].op);
        if (flush_each)
            store_flush(lab->store);
    }
    store_flush(lab->store);
}

static void a_flood_of_single_flushes_shares_commits_and_keeps_its_order(void **state)
{
    (void)state;
    struct store_settings wishes = {.readers = 1}; /* synchronous: that is when others gather */
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    struct tally tally = {0};
    int woken_before = woken;
    submit_all(lab, &tally, true);
    while (tally.done < JOBS)
        store_collect(lab->store);
    assert_false(tally.disorder);
    for (unsigned i = 0; i < JOBS; i++)
        assert_int_equal(tally.pushes[i].op.code, MQ_OK);
    LAB_OP(lab, stats, STORE_STATS);
    lab_run(lab, &lab->stats.op);
    assert_int_equal(lab->stats.operations, JOBS);
    assert_true(lab->stats.commits < JOBS / 4);
    assert_true(lab->stats.batch_max > 1);
    assert_true(lab->stats.sync_us_last > 0);
    assert_true((unsigned)(woken - woken_before) <=
                lab->stats.commits + 1); /* once a commit, once for STATS */
    assert_int_equal(lab->committed, JOBS);
    assert_int_equal(lab->news_count, lab->stats.commits + 1);
    free(tally.pushes);
    lab_close(lab);
}

static void closing_waits_for_all_that_was_submitted(void **state)
{
    (void)state;
    struct store_settings wishes = {.readers = 2};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    struct tally tally = {0};
    submit_all(lab, &tally, false);
    store_close(lab->store);
    lab->store = NULL;
    assert_int_equal(tally.done, JOBS);
    assert_int_equal(lmdb_check(lab->settings.dir), JOBS);
    free(tally.pushes);
    lab_close(lab);
}

/* A push whose answer starts a read that must see it. */
struct sight {
    struct lab *lab;
    struct op_push push;
    struct op_get get;
    bool got;
};

static void on_got(struct store_op *op)
{
    struct sight *sight = op->owner;
    assert_int_equal(op->code, MQ_OK);
    sight->got = true;
}
static void on_push_seen(struct store_op *op)
{
    struct sight *sight = op->owner;
    store_op_init(&sight->get.op, STORE_GET, sight->lab->now);
    sight->get.id = sight->push.id;
    sight->get.op.done = on_got;
    sight->get.op.owner = sight;
    store_submit(sight->lab->store, &sight->get.op);
}

static void a_read_sees_every_commit_that_was_answered(void **state)
{
    (void)state;
    enum {
        SIGHTS = 200
    };
    struct store_settings wishes = {.nosync = true, .readers = 3};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    struct sight *sights = calloc(SIGHTS, sizeof *sights);
    for (unsigned i = 0; i < SIGHTS; i++) {
        sights[i].lab = lab;
        sights[i].push = lab_order(lab, "q", "x");
        sights[i].push.op.done = on_push_seen;
        sights[i].push.op.owner = &sights[i];
        store_submit(lab->store, &sights[i].push.op);
        store_flush(lab->store);
        store_collect(lab->store);
    }
    for (unsigned i = 0; i < SIGHTS; i++) {
        while (!sights[i].got) {
            store_flush(lab->store);
            store_collect(lab->store);
        }
        store_op_release(&sights[i].get.op);
    }
    free(sights);
    lab_close(lab);
}

static void a_listing_past_its_time_is_partial_and_goes_on_from_its_cursor(void **state)
{
    (void)state;
    struct store_settings wishes = {.nosync = true, .readers = 1, .snapshot_max_ms = 1};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    struct tally tally = {0};
    for (int i = 0; i < 10; i++) {
        submit_all(lab, &tally, false);
        while (tally.done < JOBS)
            store_collect(lab->store);
        free(tally.pushes);
        tally = (struct tally){0};
    }
    unsigned count = 0, pages = 0;
    char cursor[256];
    size_t len = 0;
    do {
        LAB_OP(lab, list, STORE_LIST);
        lab->list.filter = (struct job_filter){.queue = SLICE_EMPTY, .type = SLICE_EMPTY, .tag = SLICE_EMPTY};
        lab->list.limit = 10 * JOBS;
        lab->list.cursor = (struct slice){cursor, len};
        assert_int_equal(lab_run(lab, &lab->list.op), MQ_OK);
        count += lab->list.count;
        pages++;
        len = lab->list.next_cursor.len;
        memcpy(cursor, lab->list.next_cursor.at, len);
    } while (len);
    assert_int_equal(count, 10 * JOBS);
    assert_true(pages > 1);
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_of_single_flushes_shares_commits_and_keeps_its_order),
        cmocka_unit_test(closing_waits_for_all_that_was_submitted),
        cmocka_unit_test(a_read_sees_every_commit_that_was_answered),
        cmocka_unit_test(a_listing_past_its_time_is_partial_and_goes_on_from_its_cursor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
