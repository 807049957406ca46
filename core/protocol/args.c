#include "protocol/args.h"

#include <ctype.h>
#include <inttypes.h>

#include "job/name.h"

bool options_next(struct options *options)
{
    if (options->left == 0)
        return false;
    options->name = *options->at++;
    options->left--;
    return true;
}

bool options_is(const struct options *options, const char *name)
{
    return slice_is_word(options->name, name);
}

enum mq_code options_value(struct options *options, struct mq_err *err)
{
    if (options->left == 0)
        return mq_fail(err, MQ_BADARG, "%s: '%.*s' has no value behind it", options->command,
                       QUOTE_ARG(options->name));
    options->value = *options->at++;
    options->left--;
    return MQ_OK;
}

enum mq_code options_unknown(const struct options *options, struct mq_err *err)
{
    return mq_fail(err, MQ_BADARG, "%s: unknown option '%.*s' (there are %s)", options->command,
                   QUOTE_ARG(options->name), options->known);
}

/* Digits, with a sign or without, that fit 64 bits. */
static bool read_int(int64_t *out, struct slice text)
{
    size_t i = text.len && text.at[0] == '-';
    int64_t value = 0;
    if (i == text.len)
        return false;
    for (; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9' || __builtin_mul_overflow(value, 10, &value))
            return false;
        int digit = text.at[i] - '0';
        if (__builtin_add_overflow(value, text.at[0] == '-' ? -digit : digit, &value))
            return false;
    }
    *out = value;
    return true;
}

enum mq_code arg_int(int64_t *out, const char *what, struct slice text, int64_t least, int64_t most,
                     struct mq_err *err)
{
    int64_t value;
    if (!read_int(&value, text))
        return mq_fail(err, MQ_BADARG, "%s '%.*s' is not a whole number", what, QUOTE_ARG(text));
    if (value < least || value > most)
        return mq_fail(err, MQ_BADARG, "%s %" PRId64 " is out of range (%" PRId64 " to %" PRId64 ")", what,
                       value, least, most);
    *out = value;
    return MQ_OK;
}

enum mq_code arg_token(uint64_t *out, struct slice text, struct mq_err *err)
{
    int64_t value;
    if (!read_int(&value, text) || value <= 0)
        return mq_fail(err, MQ_BADARG, "token '%.*s' is not one (FETCH's reply has it: a whole number)",
                       QUOTE_ARG(text));
    *out = (uint64_t)value;
    return MQ_OK;
}

enum mq_code arg_duration(int64_t *out, const char *what, struct slice text, int64_t least, int64_t most,
                          bool bare_ms, struct mq_err *err)
{
    char low[DURATION_TEXT_BYTES], high[DURATION_TEXT_BYTES];
    int64_t ms;
    struct mq_err why;
    if (!(bare_ms && read_int(&ms, text)) && duration_parse(&ms, text, &why) != MQ_OK)
        return mq_fail(err, MQ_BADARG, "%s: %.280s", what, why.text);
    if (ms < least || ms > most)
        return mq_fail(err, MQ_BADARG, "%s '%.*s' is out of range (%s to %s)", what, QUOTE_ARG(text),
                       duration_format(low, least), duration_format(high, most));
    *out = ms;
    return MQ_OK;
}

enum mq_code arg_reason(struct slice *out, struct slice text, size_t most, struct mq_err *err)
{
    if (text.len > most)
        return mq_fail(err, MQ_TOOBIG, "REASON has %zu bytes, the limit is %zu", text.len, most);
    *out = text;
    return MQ_OK;
}

#define AGE_MAX_MS (36525LL * 86400000) /* a century */

static enum mq_code age(wall_ms *out, const char *what, struct slice text, wall_ms now, struct mq_err *err)
{
    int64_t ms = 0;
    enum mq_code code = arg_duration(&ms, what, text, 0, AGE_MAX_MS, false, err);
    if (code == MQ_OK)
        *out = now - ms;
    return code;
}

static enum mq_code named(struct slice *out, const char *what, struct slice text, struct mq_err *err)
{
    enum mq_code code = name_check(what, text, err);
    if (code == MQ_OK)
        *out = text;
    return code;
}

enum mq_code arg_holder(struct slice *out, struct slice text, struct mq_err *err)
{
    if (text.len == 0)
        return mq_fail(
            err, MQ_BADARG,
            "the holder's name is empty (WORKERS has those of moonq's own; JOB shows a job's holder)");
    *out = text;
    return MQ_OK;
}

enum mq_code arg_filter(struct job_filter *filter, struct options *options, wall_ms now, bool *known,
                        struct mq_err *err)
{
    static const char *const names[] = {"STATE", "QUEUE", "TYPE", "TAG", "HOLDER", "OLDER", "NEWER"};
    const unsigned count = sizeof names / sizeof *names;
    unsigned which = 0;
    while (which < count && !options_is(options, names[which]))
        which++;
    *known = which < count;
    if (!*known)
        return MQ_OK;
    enum mq_code code = options_value(options, err);
    if (code != MQ_OK)
        return code;
    switch (which) {
    case 0:
        return states_parse(&filter->states, options->value, err);
    case 1:
        return named(&filter->queue, "queue", options->value, err);
    case 2:
        return named(&filter->type, "job type", options->value, err);
    case 3:
        return named(&filter->tag, "tag", options->value, err);
    case 4:
        return arg_holder(&filter->holder, options->value, err);
    case 5:
        return age(&filter->before, "OLDER", options->value, now, err);
    default:
        return age(&filter->after, "NEWER", options->value, now, err);
    }
}

/* The last star is the only place to come back to, so this takes at most pattern times text steps. */
bool glob_matches(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, resume = 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.at[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.len && (pattern.at[p] == '?' || tolower((unsigned char)pattern.at[p]) ==
                                                                   tolower((unsigned char)text.at[t]))) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.at[p] == '*')
        p++;
    return p == pattern.len;
}
