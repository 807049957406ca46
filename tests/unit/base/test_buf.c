#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"

static void what_is_written_is_eaten_in_the_same_order(void **state)
{
    (void)state;
    /* against a plain copy: random writes and bites */
    enum {
        MAX = 1 << 20
    };
    struct buf buf = BUF_INIT;
    char *model = malloc(MAX);
    size_t start = 0, end = 0;
    unsigned random = 1;
    while (end < MAX - 5000) {
        random = random * 1103515245 + 12345;
        size_t len = (random >> 8) % 4000;
        if ((random >> 20) % 3 == 0) { /* eaten faster than written */
            char *at = buf_room(&buf, len);
            memset(at, (int)(random & 127), len);
            memset(model + end, (int)(random & 127), len);
            buf_grew(&buf, len);
            end += len;
        } else {
            len = len < buf_len(&buf) ? len : buf_len(&buf);
            buf_eat(&buf, len);
            start += len;
        }
        assert_int_equal(buf_len(&buf), end - start);
        assert_memory_equal(buf_bytes(&buf).at, model + start, end - start);
        assert_true(buf.cap < 65536); /* what was eaten is reused, not grown around */
    }
    free(model);
    buf_release(&buf);
}

static void numbers_and_strings_come_back(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT;
    buf_u8(&buf, 0xAB);
    buf_u16(&buf, 0xABCD);
    buf_u32(&buf, 0xDEADBEEF);
    buf_u64(&buf, 0x0123456789ABCDEFULL);
    buf_string(&buf, SLICE("hello"));
    buf_string(&buf, SLICE_EMPTY);
    buf_printf(&buf, "%d-%s", 42, "x");
    struct slice all = buf_bytes(&buf);
    assert_int_equal((uint8_t)all.at[1], 0xAB); /* big-endian */
    struct reader in = reader_of(all);
    assert_int_equal(reader_u8(&in), 0xAB);
    assert_int_equal(reader_u16(&in), 0xABCD);
    assert_int_equal(reader_u32(&in), 0xDEADBEEF);
    assert_true(reader_u64(&in) == 0x0123456789ABCDEFULL);
    assert_true(slice_equal(reader_string(&in), SLICE("hello")));
    assert_int_equal(reader_string(&in).len, 0);
    assert_false(reader_done(&in));
    assert_true(slice_equal(in.rest, SLICE("42-x")));
    buf_release(&buf);
}

static void a_reader_never_leaves_its_bytes(void **state)
{
    (void)state;
    struct reader in = reader_of((struct slice){"\0\0\0\5abc", 7});
    assert_int_equal(reader_string(&in).len, 0); /* five are promised, three are there */
    assert_true(in.short_);
    assert_false(reader_done(&in));
    in = reader_of((struct slice){"\xff\xff\xff\xff", 4});
    assert_int_equal(reader_string(&in).len, 0);
    assert_true(in.short_);
    in = reader_of((struct slice){"\1", 1});
    assert_int_equal(reader_u16(&in), 0);
    assert_true(in.short_);
    assert_int_equal(reader_u8(&in), 1); /* what failed took nothing; but the whole is short */
    assert_false(reader_done(&in));
}

static void an_empty_buffer_is_an_empty_slice(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT;
    assert_int_equal(buf_bytes(&buf).len, 0);
    assert_non_null(buf_bytes(&buf).at);
    buf_add(&buf, NULL, 0);
    buf_eat(&buf, 0);
    buf_printf(&buf, "%s", "");
    assert_int_equal(buf_len(&buf), 0);
    buf_release(&buf);
    buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_eaten_in_the_same_order),
        cmocka_unit_test(numbers_and_strings_come_back),
        cmocka_unit_test(a_reader_never_leaves_its_bytes),
        cmocka_unit_test(an_empty_buffer_is_an_empty_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
