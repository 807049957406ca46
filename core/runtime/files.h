/*
 * files.h - the files below a folder, by name and in order.
 */
#ifndef MOONQ_RUNTIME_FILES_H
#define MOONQ_RUNTIME_FILES_H

#include <stddef.h>

#define FILES_PATH_BYTES 512
#define FILES_DEPTH_MAX  8 /* folders in folders; a link that leads round ends there */

struct files {
    char **names; /* relative to the folder: "email/send.lua" */
    size_t count, room;
    char *unseen; /* the first that could not be looked at, relative to the folder; NULL: all was seen */
    int why;      /* errno */
};

/*
 * Adds all files that end so. What begins with a dot is left out; a folder that is not there has no files. One that is
 * there and cannot be opened is told: what it holds would be missed in silence.
 */
void files_list(struct files *out, const char *folder, const char *ending);
void files_release(struct files *files);
#endif
