/*
 * LMDB's own books: each page of the file is a meta page, a page of some tree, or on the list of free pages, and only
 * one of these. A page in two places would be overwritten; a page in none is lost to reuse.
 */
#include "store/lmdb/fsck.h"

#include <stdio.h>
#include <stdlib.h>

#define DBI_FREE   0 /* LMDB's own two: free pages, and the names of databases */
#define DBI_NAMES  1
#define META_PAGES 2

static uint64_t pages_of(struct fsck *f, MDB_dbi dbi, size_t *entries)
{
    MDB_stat stat;
    int rc = mdb_stat(f->m.root.mdb, dbi, &stat);
    if (rc)
        txn_fail(&f->m, rc);
    if (entries)
        *entries = stat.ms_entries;
    return stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
}

/* The free pages, each seen once and inside the file; false if not. */
static bool count_free(struct fsck *f, uint64_t last, uint64_t *count)
{
    MDB_cursor *cursor;
    MDB_val key, val;
    bool sound = true;
    int rc = mdb_cursor_open(f->m.root.mdb, DBI_FREE, &cursor);
    if (rc)
        txn_fail(&f->m, rc);
    uint8_t *seen = mq_calloc(last / 8 + 1, 1);
    *count = 0;
    while (sound && mdb_cursor_get(cursor, &key, &val, MDB_NEXT) == 0) {
        const size_t *list = val.mv_data; /* their number, then each */
        sound = val.mv_size >= sizeof *list && val.mv_size >= (list[0] + 1) * sizeof *list;
        for (size_t i = 1; sound && i <= list[0]; i++) {
            sound = list[i] >= META_PAGES && list[i] <= last && !(seen[list[i] / 8] & 1u << list[i] % 8);
            if (sound)
                seen[list[i] / 8] |= (uint8_t)(1u << list[i] % 8);
        }
        *count += sound ? list[0] : 0;
    }
    free(seen);
    mdb_cursor_close(cursor);
    return sound;
}

static bool all_names_known(struct fsck *f)
{
    size_t entries;
    pages_of(f, DBI_NAMES, &entries);
    return entries == DB_COUNT;
}

static void tell(struct fsck *f, const char *format, unsigned long long a, unsigned long long b)
{
    char text[200];
    snprintf(text, sizeof text, format, a, b);
    fsck_problem(f, FSCK_PAGES, JOB_ID_NONE, "%s", text);
    f->lasting++;
}

void fsck_pages(struct fsck *f)
{
    uint64_t all = f->report->pages, free_pages, used = META_PAGES;
    if (!all_names_known(f))
        return; /* of a later binary: its pages are not ours to count */
    if (!count_free(f, all - 1, &free_pages)) {
        tell(f, "the list of free pages names one twice, or one that is not in the file of %llu", all, 0);
        return;
    }
    used += pages_of(f, DBI_FREE, NULL) + pages_of(f, DBI_NAMES, NULL);
    for (enum db db = 0; db < DB_COUNT; db++)
        used += pages_of(f, f->env.dbi[db], NULL);
    f->report->pages_free = free_pages;
    if (used + free_pages > all)
        tell(f, "%llu pages are both in use and free, of %llu", used + free_pages - all, all);
    else if (used + free_pages < all)
        tell(f, "%llu pages are neither in use nor free, of %llu", all - used - free_pages, all);
}
