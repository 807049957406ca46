/*
 * where.h - a step on all jobs that a filter finds: what `WHERE filter ...` behind a step means.
 *
 * The command's own struct begins with a struct bulk. The reply comes when the last chunk is done.
 */
#ifndef MOONQ_PROTOCOL_WHERE_H
#define MOONQ_PROTOCOL_WHERE_H

#include "protocol/args.h"
#include "protocol/commands.h"

/* The first argument is WHERE. */
bool where_is(const struct call *call);
/* Reads the filter behind WHERE, and starts. */
enum mq_code where_run(struct call *call, enum store_verb step, struct mq_err *err);
/*
 * Only reads it. `known`: the names of all options, for the error; those of the command's own, between those of the
 * filter, are left to `other` (NULL: there are none).
 */
typedef enum mq_code where_option(struct call *call, struct options *options, struct mq_err *err);
enum mq_code where_read(struct call *call, enum store_verb step, const char *known, where_option *other,
                        struct mq_err *err);
/* Starts with the filter that the struct bulk holds. */
void where_start(struct call *call, enum store_verb step);
#endif
