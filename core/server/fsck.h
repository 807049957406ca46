/*
 * fsck.h - `moonq fsck DATA [--repair] [--json]`: is what the folder holds whole?
 *
 * Exit status: 0 clean, 1 problems were found (mended or not: the output says), 2 wrong usage or nothing to check.
 */
#ifndef MOONQ_SERVER_FSCK_H
#define MOONQ_SERVER_FSCK_H

int fsck_main(int argc, char **argv);
#endif
