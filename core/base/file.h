/*
 * file.h - what a file needs that must outlive a power cut.
 *
 * Threads: any.
 */
#ifndef MOONQ_BASE_FILE_H
#define MOONQ_BASE_FILE_H

/*
 * The names in a folder are on disk: of files that were made in it, renamed or removed. errno's code. A file system that
 * knows no such sync (EINVAL) has no more to offer: 0.
 */
int file_sync_folder(const char *dir);
#endif
