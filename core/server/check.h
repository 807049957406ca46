/*
 * check.h - what `moonq check DIR` finds: all that would keep the server from serving the application.
 *
 * The scripts are loaded as a worker would (child_describe), and what moonq.lua returned is read as the server would.
 */
#ifndef MOONQ_SERVER_CHECK_H
#define MOONQ_SERVER_CHECK_H

#include "server/config.h"

/* READY's JSON (docs/internals.md), with the configuration's error among its errors. The caller's, free(). */
char *check_application(const char *app_dir);

/*
 * Handlers whose queue no pool serves, and queues that a pool names though no handler's jobs go there: rows of file, line,
 * message, as in READY's warnings. The caller's: json_decref.
 */
json_t *check_pools(json_t *app, const struct config *config);
#endif
