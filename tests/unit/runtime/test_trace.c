/* Errors as people and programs that group them are to read them: the same failure, the same text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/trace.h"

static const struct row {
    const char *text, *plain;
} rows[] = {
    {"", ""},
    {"no address", "no address"},
    {"table: 0x55b5b7780ac0", "table"},
    {"function: 0x55b5b7780ac0 and thread: 0x7f0000001234.", "function and thread."},
    {"function: builtin#21", "function: builtin#21"}, /* the same in every run */
    {"at 0x7f8cd418f260", "at 0x7f8cd418f260"},       /* somebody's own words */
    {"colour 0xff00ff", "colour 0xff00ff"},
    {"table: 0xff", "table: 0xff"}, /* too short for an address */
    {"0x", "0x"},
    {"00x0x0x", "00x0x0x"},
    {"stack traceback:\n\t[C]: at 0x55b5b7780ac0\n\ta.lua:3: in function <a.lua:1>",
     "stack traceback:\n\t[C]: in a C function\n\ta.lua:3: in function <a.lua:1>"},
    {"x\n\t[builtin#21]: at 0x7f8cd418f260\n\t[builtin#2]: at 0x7f8cd418f999",
     "x\n\t[C]: in a C function\n\t[C]: in a C function"},
};

static void addresses_are_left_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = BUF_INIT;
        trace_add(&out, slice_of(rows[i].text));
        buf_u8(&out, 0);
        assert_string_equal(buf_bytes(&out).at, rows[i].plain);
        buf_release(&out);
    }
}

static const struct row trims[] = {
    {"", ""},
    {"t:\n\ta.lua:3: in x\n\t[C]: in function 'xpcall'", "t:\n\ta.lua:3: in x"},
    {"t:\n\ta.lua:3: in x\n\t[C]: in a C function", "t:\n\ta.lua:3: in x"},
    {"t:\n\t[C]: in function 'xpcall'\n\ta.lua:3: in x", "t:\n\t[C]: in function 'xpcall'\n\ta.lua:3: in x"},
    {"t:\n\ta.lua:3: in x", "t:\n\ta.lua:3: in x"},
};

static void our_own_frame_at_the_end_is_left_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof trims / sizeof *trims; i++) {
        struct slice trimmed = trace_trim(slice_of(trims[i].text));
        assert_int_equal(trimmed.len, strlen(trims[i].plain));
        assert_memory_equal(trimmed.at, trims[i].plain, trimmed.len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_left_out),
        cmocka_unit_test(our_own_frame_at_the_end_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
