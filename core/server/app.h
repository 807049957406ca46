/*
 * app.h - what a child tells of the application it has loaded: READY's JSON (docs/internals.md).
 */
#ifndef MOONQ_SERVER_APP_H
#define MOONQ_SERVER_APP_H

#include "server/config.h"

/* Every warning and error goes to the log, one a line; SCRIPT has the first error, with file and line. */
enum mq_code app_check(json_t *app, struct mq_err *err);
/* What check_pools finds, to the log. */
void app_warn_pools(json_t *app, const struct config *config);
/* What its handlers declare. */
void app_set_types(struct dispatch *dispatch, json_t *app);
/* The limits of queues that moonq.lua names. */
void app_set_limits(struct dispatch *dispatch, const struct config *config);
#endif
