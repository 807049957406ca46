#include "runtime/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add(struct files *out, const char *name)
{
    if (out->count == out->room) {
        out->room = out->room ? out->room * 2 : 16;
        out->names = mq_realloc(out->names, out->room * sizeof *out->names);
    }
    out->names[out->count++] = mq_strdup(name);
}

static void cannot_see(struct files *out, const char *below, int why)
{
    if (out->unseen)
        return;
    out->unseen = mq_strdup(below);
    out->why = why;
}

static int ends_so(const char *name, const char *ending)
{
    size_t len = strlen(name), end = strlen(ending);
    return len > end && strcmp(name + len - end, ending) == 0;
}

static void walk(struct files *out, const char *folder, const char *below, const char *ending, int depth)
{
    char path[4400], name[FILES_PATH_BYTES];
    struct stat about;
    struct dirent *entry;
    snprintf(path, sizeof path, "%s/%s", folder, below);
    DIR *dir = depth <= FILES_DEPTH_MAX ? opendir(path) : NULL;
    if (!dir) {
        int why = depth <= FILES_DEPTH_MAX ? errno : ELOOP;
        if (depth || why != ENOENT)
            cannot_see(out, below, why);
        return;
    }
    while ((entry = readdir(dir))) {
        int len = snprintf(name, sizeof name, "%s%s%s", below, *below ? "/" : "", entry->d_name);
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (entry->d_name[0] == '.' || len >= (int)sizeof name)
            continue;
        if (stat(path, &about) != 0)
            cannot_see(out, name, errno);
        else if (S_ISDIR(about.st_mode))
            walk(out, folder, name, ending, depth + 1);
        else if (ends_so(entry->d_name, ending))
            add(out, name);
    }
    closedir(dir);
}

void files_list(struct files *out, const char *folder, const char *ending)
{
    walk(out, folder, "", ending, 0);
    if (out->count)
        qsort(out->names, out->count, sizeof *out->names, by_name);
}

void files_release(struct files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->names[i]);
    free(files->names);
    free(files->unseen);
    *files = (struct files){0};
}
