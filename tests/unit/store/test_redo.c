/* Changes as they are noted, read back, and made again. */
#include "lab.h"
#include "lmdb_factory.h"
#include "lmdb_check.h"
#include "store/lmdb/redo.h"

static void put(struct redo *redo, enum db db, const char *key, const char *value)
{
    redo_put(redo, db, slice_of(key), value, strlen(value));
}

static struct slice all_of(struct redo *redo)
{
    redo_settle(redo);
    return buf_bytes(&redo->bytes);
}

static void changes_are_read_back_as_they_were_noted(void **state)
{
    (void)state;
    struct redo redo = {.on = true};
    struct change change;
    put(&redo, DB_JOBS, "one", "payload");
    put(&redo, DB_READY, "an index entry", "");
    redo_remove(&redo, DB_STATES, SLICE("two"), "");
    struct slice rest = all_of(&redo);
    assert_int_equal(rest.len, redo.size);
    assert_true(redo_is_whole(rest));
    assert_true(redo_next(&rest, &change));
    assert_int_equal(change.db, DB_JOBS);
    assert_slice(change.key, "one");
    assert_slice(change.value, "payload");
    assert_true(redo_next(&rest, &change));
    assert_int_equal(change.value.len, 0);
    assert_false(change.removed);
    assert_true(redo_next(&rest, &change));
    assert_true(change.removed);
    assert_int_equal(change.db, DB_STATES);
    assert_slice(change.key, "two");
    assert_false(redo_next(&rest, &change));
    assert_int_equal(rest.len, 0);
    redo_release(&redo);
}

/* What LMDB hears of later, or never, stands between what it has heard of. */
static void changes_may_be_noted_before_lmdb_is_told(void **state)
{
    (void)state;
    struct redo redo = {.on = true};
    struct change change;
    put(&redo, DB_JOBS, "one", "1");
    memcpy(redo_reserve(&redo, DB_JOBS, SLICE("two"), 3), "222", 3);
    redo_forget(&redo, DB_JOBS, SLICE("two"));
    redo.muted = true;
    put(&redo, DB_JOBS, "two", "told now, and noted before");
    redo.muted = false;
    put(&redo, DB_JOBS, "three", "3");
    struct slice rest = all_of(&redo);
    assert_int_equal(rest.len, redo.size);
    static const char *const keys[] = {"one", "two", "two", "three"}, *const values[] = {"1", "222", "", "3"};
    for (int i = 0; i < 4; i++) {
        assert_true(redo_next(&rest, &change));
        assert_slice(change.key, keys[i]);
        assert_slice(change.value, values[i]);
        assert_int_equal(change.removed, i == 2);
    }
    assert_int_equal(rest.len, 0);
    redo.on = false;
    uint64_t before = redo.size;
    assert_null(redo_reserve(&redo, DB_JOBS, SLICE("k"), 3));
    assert_int_equal(redo.size, before + REDO_HEAD + 1 + 3); /* counted all the same */
    redo_release(&redo);
}

/* Callers fill what they reserved after the call that notes it. */
static void a_value_may_be_filled_until_the_next_call(void **state)
{
    (void)state;
    struct redo redo = {.on = true};
    struct change change;
    char page[] = "......";
    put(&redo, DB_JOBS, "k", page);
    memcpy(page, "filled", 6);
    redo_remove(&redo, DB_JOBS, SLICE("x"), page);
    memcpy(page, "reused", 6);
    struct slice rest = all_of(&redo);
    assert_true(redo_next(&rest, &change));
    assert_slice(change.value, "filled");
    redo_release(&redo);
}

static void what_is_taken_back_was_not(void **state)
{
    (void)state;
    struct redo redo = {.on = true};
    put(&redo, DB_JOBS, "stays", "1");
    redo_settle(&redo);
    uint64_t point = redo.size;
    put(&redo, DB_JOBS, "goes", "2");
    redo_cut(&redo, point); /* what is lent goes too */
    struct slice rest = all_of(&redo);
    struct change change;
    assert_int_equal(rest.len, point);
    assert_true(redo_next(&rest, &change));
    assert_slice(change.key, "stays");
    assert_int_equal(rest.len, 0);
    redo_release(&redo);
}

static void what_is_not_noted_is_counted_all_the_same(void **state)
{
    (void)state;
    static char pages[3][4096];
    struct redo noted = {.on = true}, counted = {.on = false};
    struct redo *both[] = {&noted, &counted};
    for (int i = 0; i < 2; i++) {
        redo_put(both[i], DB_JOBS, SLICE("a"), &pages[1][0], 10);
        redo_put(both[i], DB_JOBS, SLICE("b"), &pages[1][10], 10); /* beside it */
        redo_put(both[i], DB_JOBS, SLICE("c"), &pages[2][100], 10);
        redo_remove(both[i], DB_STATES, SLICE("d"), &pages[2][100]); /* another database: another page */
        redo_settle(both[i]);
    }
    assert_int_equal(noted.size, counted.size);
    assert_int_equal(noted.size, buf_len(&noted.bytes));
    assert_int_equal(buf_len(&counted.bytes), 0);
    assert_int_equal(noted.places, 3);
    assert_int_equal(counted.places, 3);
    redo_cut(&counted, 7);
    assert_int_equal(counted.size, 7);
    redo_cut(&counted, 0);
    assert_int_equal(counted.places, 0);
    redo_release(&noted);
}

static void what_gets_too_long_is_only_counted_from_there_on(void **state)
{
    (void)state;
    struct redo redo = {.on = true, .most = 60};
    put(&redo, DB_JOBS, "one", "twenty bytes or more.");
    assert_true(redo.on);
    put(&redo, DB_JOBS, "two", "twenty bytes or more.");
    put(&redo, DB_JOBS, "three", "");
    redo_settle(&redo);
    assert_false(redo.on);
    assert_int_equal(redo.size, 3 * REDO_HEAD + 3 + 3 + 5 + 2 * 21);
    assert_true(buf_len(&redo.bytes) < redo.size);
    redo_cut(&redo, 0);
    assert_int_equal(buf_len(&redo.bytes), 0);
    redo_release(&redo);
}

/* In memory that ends where they end, so that a sanitizer sees a step too far. */
static void whatever_is_cut_off_is_not_whole(void **state)
{
    (void)state;
    struct redo redo = {.on = true};
    size_t whole[4] = {0};
    put(&redo, DB_JOBS, "one", "payload");
    whole[1] = redo.size;
    put(&redo, DB_READY, "index", "");
    whole[2] = redo.size;
    redo_remove(&redo, DB_STATES, SLICE("two"), "");
    whole[3] = redo.size;
    struct slice bytes = all_of(&redo);
    for (size_t len = 0; len <= bytes.len; len++) {
        char *copy = malloc(len ? len : 1);
        memcpy(copy, bytes.at, len);
        bool at_end = len == whole[0] || len == whole[1] || len == whole[2] || len == whole[3];
        assert_int_equal(redo_is_whole((struct slice){copy, len}), at_end);
        free(copy);
    }
    redo_release(&redo);
}

static void impossible_lengths_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        uint8_t key_len;
        uint32_t value_len;
    } rows[] = {
        {"a key of nothing is none of LMDB's", 0, 1},
        {"a key longer than all", 200, 0},
        {"a value longer than all", 1, 1000},
        {"one that would wrap a sum of 32 bits", 1, 0xFFFFFFFE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char bytes[32] = {DB_JOBS, (char)rows[i].key_len};
        struct slice rest = {bytes, sizeof bytes};
        struct change change;
        be32_put(bytes + 2, rows[i].value_len);
        if (redo_next(&rest, &change))
            fail_msg("%s", rows[i].why);
    }
}

static bool has(struct file *file, enum db db, const char *name, const char *value)
{
    MDB_val k = {strlen(name), (void *)name}, v;
    return mdb_get(file->txn, file->dbi[db], &k, &v) == 0 && v.mv_size == strlen(value) &&
           memcmp(v.mv_data, value, v.mv_size) == 0;
}

static void changes_are_made_again_whatever_is_there(void **state)
{
    (void)state;
    struct lab *lab = lab_open_with(&lmdb_factory, NULL);
    struct redo redo = {.on = true};
    struct file file;
    store_close(lab->store);
    lab->store = NULL;
    put(&redo, DB_RESULTS, "new", "1");
    put(&redo, DB_RESULTS, "there", "longer than before");
    redo_remove(&redo, DB_RESULTS, SLICE("there too"), "");
    redo_remove(&redo, DB_RESULTS, SLICE("not there"), "");
    put(&redo, DB_LOGS, "of a database that this layout has not", "2");
    put(&redo, DB_TICKS, "nobody's", "3");
    redo_settle(&redo);
    redo.bytes.at[redo.bytes.end - REDO_HEAD - 8 - 1] = DB_COUNT + 1; /* beyond the list */
    file_open(&file, lab->settings.dir);
    MDB_val k = {5, "there"}, v = {3, "old"};
    assert_int_equal(mdb_put(file.txn, file.dbi[DB_RESULTS], &k, &v, 0), 0);
    k = (MDB_val){9, "there too"};
    assert_int_equal(mdb_put(file.txn, file.dbi[DB_RESULTS], &k, &v, 0), 0);
    file.dbi[DB_LOGS] = REDO_NO_DB;
    for (int twice = 0; twice < 2; twice++)
        assert_int_equal(redo_apply(file.txn, file.dbi, DB_COUNT, all_of(&redo)), 0);
    assert_true(has(&file, DB_RESULTS, "new", "1"));
    assert_true(has(&file, DB_RESULTS, "there", "longer than before"));
    assert_int_equal(file_count(&file, DB_RESULTS), 2);
    mdb_txn_abort(file.txn);
    mdb_env_close(file.env);
    redo_release(&redo);
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_read_back_as_they_were_noted),
        cmocka_unit_test(changes_may_be_noted_before_lmdb_is_told),
        cmocka_unit_test(a_value_may_be_filled_until_the_next_call),
        cmocka_unit_test(what_is_taken_back_was_not),
        cmocka_unit_test(what_is_not_noted_is_counted_all_the_same),
        cmocka_unit_test(what_gets_too_long_is_only_counted_from_there_on),
        cmocka_unit_test(whatever_is_cut_off_is_not_whole),
        cmocka_unit_test(impossible_lengths_are_refused),
        cmocka_unit_test(changes_are_made_again_whatever_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
