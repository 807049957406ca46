/*
 * archive.h - dead letters on their way out: a JSON object a line, in files that only grow.
 *
 * A line is on disk before its letter is deleted (store.h, SWEEP_DEAD), so after a crash between the two a letter may stand
 * in the archive twice, but never nowhere. What a crash left without its newline is cut off before the next line is added.
 *
 * Threads: those that read; one call at a time, since dispatch asks for one chunk after the other.
 */
#ifndef MOONQ_STORE_LMDB_ARCHIVE_H
#define MOONQ_STORE_LMDB_ARCHIVE_H

#include "store/lmdb/read.h"

/* The folder beside a store; the caller's: free. */
char *archive_dir_of(const char *data_dir);
/* Makes the lines, in the scratch of the snapshot, ... */
enum mq_code archive_collect(struct snapshot *s, struct op_archive *op);
/* ... and adds them to the file of this month. */
enum mq_code archive_write(struct snapshot *s, struct op_archive *op);
#endif
