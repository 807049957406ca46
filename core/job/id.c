#include "job/id.h"

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

job_id id_next(job_id last, wall_ms now)
{
    job_id of_now = (job_id)now << JOB_ID_CLOCK_BITS;
    return of_now > last ? of_now : last + 1;
}

char *id_format(char out[JOB_ID_TEXT_BYTES], job_id id)
{
    for (int i = JOB_ID_CHARS - 1; i >= 0; i--, id >>= 5)
        out[i] = alphabet[id & 31];
    out[JOB_ID_CHARS] = '\0';
    return out;
}

static int digit_of(char c)
{
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c == 'I' || c == 'L')
        return 1;
    if (c == 'O')
        return 0;
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

enum mq_code id_parse(job_id *out, struct slice text, struct mq_err *err)
{
    job_id id = 0;
    int bad = text.len != JOB_ID_CHARS;
    for (size_t i = 0; !bad && i < JOB_ID_CHARS; i++) {
        int digit = digit_of(text.at[i]);
        bad = digit < 0 || (i == 0 && digit > 15); /* 13 characters hold 65 bits; the first has only four */
        id = id << 5 | (job_id)(digit & 31);
    }
    if (bad)
        return mq_fail(err, MQ_BADARG, "'%.*s' is not a job id (13 characters, as PUSH answered it)",
                       (int)(text.len > 64 ? 64 : text.len), text.at);
    *out = id;
    return MQ_OK;
}
