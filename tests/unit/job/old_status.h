/* old_status.h - a job's status as it was written before there was room in it (core/job/record.c, formats 1 to 3). */
#ifndef MOONQ_TESTS_OLD_STATUS_H
#define MOONQ_TESTS_OLD_STATUS_H

#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "job/record.h"

/* `out` has room for as much as `bytes`. Answers the length, 0 if they are not a status of today. */
static inline size_t old_status(char *out, struct slice bytes)
{
    enum {
        STRINGS_AT = 56,
        ROOM = 16,
        SUM = 4
    };
    struct job_status status;
    if (record_read_status(&status, bytes, NULL) != MQ_OK || bytes.at[0] <= 3)
        return 0;
    size_t taken = status.holder.len + status.note.len, head = STRINGS_AT + 4 + 4 + taken;
    size_t room = taken < ROOM ? ROOM - taken : 0, len = bytes.len - room;
    memcpy(out, bytes.at, head);
    memcpy(out + head, bytes.at + head + room, len - head - SUM);
    out[0] = (char)(bytes.at[0] - 3);
    be32_put(out + len - SUM, (uint32_t)XXH3_64bits(out, len - SUM));
    return len;
}
#endif
