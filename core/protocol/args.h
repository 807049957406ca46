/*
 * args.h - reading the arguments of a command. Each failure names the argument and what it should be.
 */
#ifndef MOONQ_PROTOCOL_ARGS_H
#define MOONQ_PROTOCOL_ARGS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/slice.h"
#include "job/id.h"
#include "store/store.h"

/* At most so much of a culprit is quoted. */
#define QUOTE_MAX    64
#define QUOTE_ARG(s) (int)((s).len > QUOTE_MAX ? QUOTE_MAX : (s).len), (s).at

/* Walks over "NAME value" pairs behind the fixed arguments. */
struct options {
    const char *command;
    const char *known; /* their names, with blanks, for the error */
    struct slice *at;
    unsigned left;
    struct slice name, value; /* the one that was taken */
};
static inline struct options options_of(const char *command, const char *known, struct slice *args,
                                        unsigned count)
{
    return (struct options){.command = command, .known = known, .at = args, .left = count};
}
/* Takes the next name; false at the end. */
bool options_next(struct options *options);
bool options_is(const struct options *options, const char *name);
/* Takes its value: the argument behind the name. */
enum mq_code options_value(struct options *options, struct mq_err *err);
enum mq_code options_unknown(const struct options *options, struct mq_err *err);

enum mq_code arg_int(int64_t *out, const char *what, struct slice text, int64_t least, int64_t most,
                     struct mq_err *err);
enum mq_code arg_token(uint64_t *out, struct slice text, struct mq_err *err);
/* Durations as everywhere; `bare_ms`: a bare number is milliseconds. */
enum mq_code arg_duration(int64_t *out, const char *what, struct slice text, int64_t least, int64_t most,
                          bool bare_ms, struct mq_err *err);

/* A person's words about a step, kept with what it did. */
#define REASON_MAX_BYTES 1024
enum mq_code arg_reason(struct slice *out, struct slice text, size_t most, struct mq_err *err);

/* A worker's or a client's own name for itself: any text. An empty one would mean all holders: BADARG. */
enum mq_code arg_holder(struct slice *out, struct slice text, struct mq_err *err);

/*
 * One of FILTER_OPTIONS, whose name has just been taken. *known is false, and nothing is done, for any other.
 */
#define FILTER_OPTIONS "STATE QUEUE TYPE TAG HOLDER OLDER NEWER"
enum mq_code arg_filter(struct job_filter *filter, struct options *options, wall_ms now, bool *known,
                        struct mq_err *err);

/* Whether `text` fits a pattern of * (any run) and ? (one byte); ASCII case is ignored. */
bool glob_matches(struct slice pattern, struct slice text);
#endif
