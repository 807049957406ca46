/* The LMDB store in a folder of its own under TMPDIR. Included by each test's main file. */
#ifndef MOONQ_TESTS_STORE_LMDB_FACTORY_H
#define MOONQ_TESTS_STORE_LMDB_FACTORY_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "factory.h"

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static inline void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline char *temp_folder(void)
{
    const char *base = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/moonq-store-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(path)) {
        perror(path);
        abort();
    }
    return strdup(path);
}

static inline void lmdb_fresh(struct store_settings *settings, void **place)
{
    *place = temp_folder();
    settings->dir = *place;
}

static inline void lmdb_remove(void *place)
{
    remove_tree(place);
    free(place);
}

const struct factory lmdb_factory = {"lmdb", lmdb_fresh, lmdb_remove};
#endif
