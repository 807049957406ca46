/*
 * check.h - what `moonq check DIR` finds: all that would keep the server from serving the application.
 *
 * The scripts are loaded as a worker would (child_describe), and what moonq.lua returned is read as the server would.
 */
#ifndef MOONQ_SERVER_CHECK_H
#define MOONQ_SERVER_CHECK_H

/* READY's JSON (docs/internals.md), with the configuration's error among its errors. The caller's, free(). */
char *check_application(const char *app_dir);
#endif
