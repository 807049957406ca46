/*
 * fuzz.h - what the fuzz targets share: their one function, how they fail, and how they cut their bytes into parts.
 *
 * A target is a page. It takes any bytes, gives them to one parser, and stops (FUZZ_MUST) when something that must
 * hold does not: mostly, that what was read and is written again is the same. docs/fuzzing.md.
 */
#ifndef MOONQ_TESTS_FUZZ_H
#define MOONQ_TESTS_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv); /* where a target needs it */

#define FUZZ_MUST(condition, ...)                                                                            \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: must hold: %s\n    ", __FILE__, __LINE__, #condition);                   \
            fprintf(stderr, __VA_ARGS__);                                                                    \
            fputc('\n', stderr);                                                                             \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* A new folder below TMPDIR. */
static inline void fuzz_folder(char *out, size_t size)
{
    const char *base = getenv("TMPDIR");
    snprintf(out, size, "%s/moonq-fuzz-XXXXXX", base ? base : "/tmp");
    FUZZ_MUST(mkdtemp(out), "no folder %s", out);
}

/* A folder of plain files; no shell is started, which would take longer than the run. */
static inline void fuzz_remove(const char *folder)
{
    char path[512];
    struct dirent *entry;
    DIR *dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        snprintf(path, sizeof path, "%s/%.255s", folder, entry->d_name);
        unlink(path);
    }
    if (dir)
        closedir(dir);
    FUZZ_MUST(rmdir(folder) == 0, "%s stays", folder);
}

/* Numbers off the front; zero where there are no more bytes. */
static inline unsigned fuzz_byte(struct slice *rest)
{
    if (rest->len == 0)
        return 0;
    rest->len--;
    return (unsigned char)*rest->at++;
}
static inline unsigned fuzz_word(struct slice *rest)
{
    unsigned high = fuzz_byte(rest);
    return high << 8 | fuzz_byte(rest);
}

/* Up to the next `end`, which is passed over; else all. */
static inline struct slice fuzz_part(struct slice *rest, char end)
{
    const char *found = rest->len ? memchr(rest->at, end, rest->len) : NULL;
    struct slice part = {rest->at, found ? (size_t)(found - rest->at) : rest->len};
    size_t used = part.len + (found ? 1 : 0);
    rest->at += used;
    rest->len -= used;
    return part;
}

/* At most `len` bytes. */
static inline struct slice fuzz_take(struct slice *rest, size_t len)
{
    struct slice part = {rest->at, len < rest->len ? len : rest->len};
    rest->at += part.len;
    rest->len -= part.len;
    return part;
}

/* A copy with nothing around it: a read of one byte too many is seen. free(). */
static inline struct slice fuzz_copy(struct slice bytes)
{
    char *copy = malloc(bytes.len ? bytes.len : 1);
    if (bytes.len)
        memcpy(copy, bytes.at, bytes.len);
    return (struct slice){copy, bytes.len};
}
#endif
