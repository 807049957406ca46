/*
 * slice.h - bytes that somebody else owns.
 *
 * Bytes travel as a slice; NUL ends nothing on the wire. A slice in a signature is borrowed until the call
 * returns, unless its comment says otherwise.
 */
#ifndef MOONQ_BASE_SLICE_H
#define MOONQ_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct slice {
    const char *at;
    size_t len;
};

#define SLICE_EMPTY ((struct slice){"", 0})
/* A string literal as a slice. */
#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
/* For printf: "%.*s". */
#define SLICE_ARG(s) (int)(s).len, (s).at

static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* The beginning of a text, at most `most` bytes, not ending within a character of UTF-8. */
static inline struct slice slice_cut(struct slice text, size_t most)
{
    if (text.len <= most)
        return text;
    while (most && ((unsigned char)text.at[most] & 0xC0) == 0x80)
        most--;
    return (struct slice){text.at, most};
}

/* ASCII case is ignored: command and option names. */
static inline bool slice_is_word(struct slice a, const char *word)
{
    return a.len == strlen(word) && strncasecmp(a.at, word, a.len) == 0;
}
#endif
