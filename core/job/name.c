#include "job/name.h"

#include <ctype.h>
#include <stdbool.h>

static bool allowed(unsigned char c, bool first)
{
    return (c < 0x80 && isalnum(c)) || c == '_' || (!first && c && strchr(".-:/", c));
}

enum mq_code name_check(const char *what, struct slice name, struct mq_err *err)
{
    if (name.len == 0)
        return mq_fail(err, MQ_BADARG, "%s name is empty", what);
    if (name.len > NAME_MAX_BYTES)
        return mq_fail(err, MQ_BADARG, "%s name '%.32s...' has %zu bytes, at most %d are allowed", what,
                       name.at, name.len, NAME_MAX_BYTES);
    for (size_t i = 0; i < name.len; i++)
        if (!allowed((unsigned char)name.at[i], i == 0))
            return mq_fail(
                err, MQ_BADARG,
                "%s name '%.*s' has an illegal character at column %zu (letters, digits and _ . - : / "
                "are allowed, the first a letter, a digit or _)",
                what, SLICE_ARG(name), i + 1);
    return MQ_OK;
}
