#include "runtime/trace.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define ADDRESS_LEAST 6 /* hex digits; a short number is somebody's data */

static const char c_function[] = "[C]: in a C function";

/* The length of "0x55b5b7780ac0" at the start of `text`; 0: there is none. */
static size_t address_len(struct slice text)
{
    size_t len = 2;
    if (text.len < len || memcmp(text.at, "0x", len) != 0)
        return 0;
    while (len < text.len && isxdigit((unsigned char)text.at[len]))
        len++;
    return len >= 2 + ADDRESS_LEAST ? len : 0;
}

static bool ends_with(struct slice text, const char *end)
{
    size_t len = strlen(end);
    return text.len >= len && memcmp(text.at + text.len - len, end, len) == 0;
}

/* Behind "table: " and the like, as tostring writes them. */
static bool is_value(struct slice before)
{
    static const char *const kinds[] = {"function: ", "table: ", "userdata: ", "thread: ", "cdata: "};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ends_with(before, kinds[i]))
            return true;
    return false;
}

/* A line of a traceback without a name and without a file: "\t[C]: at " or "\t[builtin#21]: at ". */
static bool is_frame(struct slice line)
{
    return line.len > 1 && line.at[0] == '\t' && line.at[1] == '[' && ends_with(line, "]: at ");
}

static size_t line_start(struct slice text)
{
    const char *newline = text.len ? memrchr(text.at, '\n', text.len) : NULL;
    return newline ? (size_t)(newline + 1 - text.at) : 0;
}

void trace_add(struct buf *out, struct slice text)
{
    while (text.len) {
        const char *found = memmem(text.at, text.len, "0x", 2);
        struct slice before = {text.at, found ? (size_t)(found - text.at) : text.len};
        struct slice rest = {text.at + before.len, text.len - before.len};
        size_t start = line_start(before), skip = address_len(rest);
        struct slice line = {before.at + start, before.len - start};
        if (skip && is_value(before)) {
            buf_add(out, before.at, before.len - 2); /* nor the ": " */
        } else if (skip && is_frame(line)) {
            buf_add(out, before.at, start + 1);
            buf_add(out, c_function, sizeof c_function - 1);
        } else {
            skip = rest.len < 2 ? rest.len : 2; /* an "0x" of somebody's, or the end */
            buf_add(out, before.at, before.len + skip);
        }
        text = (struct slice){rest.at + skip, rest.len - skip};
    }
}

struct slice trace_trim(struct slice text)
{
    size_t start = line_start(text);
    struct slice last = {text.at + start, text.len - start};
    if (start && (ends_with(last, "\t[C]: in function 'xpcall'") || ends_with(last, c_function)))
        text.len = start - 1;
    return text;
}
