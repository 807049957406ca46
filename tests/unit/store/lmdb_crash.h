/*
 * lmdb_crash.h - a store that dies: what its files hold at this moment, as kill -9 leaves it, is opened by a new life.
 *
 * Only for stores without threads, of which none is in the middle of a write.
 */
#ifndef MOONQ_TESTS_STORE_LMDB_CRASH_H
#define MOONQ_TESTS_STORE_LMDB_CRASH_H

#include "lab.h"
#include "lmdb_factory.h"

#include <fcntl.h>

static inline void copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    char path[700], bytes[1 << 16];
    ssize_t got;
    snprintf(path, sizeof path, "%s/%s", from_dir, name);
    int from = open(path, O_RDONLY);
    if (from < 0)
        return;
    snprintf(path, sizeof path, "%s/%s", to_dir, name);
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(to >= 0);
    while ((got = read(from, bytes, sizeof bytes)) > 0)
        assert_int_equal(write(to, bytes, (size_t)got), got);
    assert_int_equal(got, 0);
    close(from);
    close(to);
}

/* Both of its files, as they are now. The caller's: remove_tree, free. */
static inline char *copy_store(const char *dir)
{
    char *copy = temp_folder();
    copy_file(dir, copy, "moonq.mdb");
    copy_file(dir, copy, "moonq.journal");
    return copy;
}

/* The folder that the lab's next life opens; the one it had is removed. */
static inline void lab_move(struct lab *lab, char *dir)
{
    if (lab->store)
        store_close(lab->store);
    lab->store = NULL;
    lab->factory->remove(lab->place);
    lab->place = dir;
    lab->settings.dir = dir;
}

static inline void lab_crash(struct lab *lab)
{
    lab_move(lab, copy_store(lab->settings.dir));
    lab_reopen(lab);
}
#endif
