/*
 * landlock.h - a list of paths that may be read; everything else on disk is out of reach, and nothing is written.
 *
 * By system calls, since the C library has none for it, and with our own numbers, so that it builds on a machine
 * whose headers are older than its kernel. What the kernel's version does not know is left out.
 * [https://docs.kernel.org/userspace-api/landlock.html]
 */
#ifndef MOONQ_RUNTIME_LANDLOCK_H
#define MOONQ_RUNTIME_LANDLOCK_H

/* A list of paths, as a descriptor; -1 and errno: this kernel has no Landlock. */
int landlock_begin(void);
/* May be read, and what is in it. A path that is not there is left out. */
void landlock_allow(int ruleset, const char *path);
/* From now on, for this process and for ever. 0, or -1 and errno. */
int landlock_end(int ruleset);
#endif
