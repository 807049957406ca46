#include "job/unique.h"

#include <stdbool.h>
#include <stdlib.h>

#include <jansson.h>

#include "job/job.h"

#define QUOTED(text) (int)((text).len > 64 ? 64 : (text).len), (text).at

/* The next of "a,b,c"; false behind the last. */
static bool next_field(struct slice *fields, struct slice *field)
{
    if (!fields->at)
        return false;
    const char *comma = fields->len ? memchr(fields->at, ',', fields->len) : NULL;
    *field = (struct slice){fields->at, comma ? (size_t)(comma - fields->at) : fields->len};
    *fields = comma ? (struct slice){comma + 1, fields->len - field->len - 1} : (struct slice){NULL, 0};
    return true;
}

/* "~0" is '~', "~1" is '/', and no other '~' may stand in a pointer. */
static bool good_escapes(struct slice pointer)
{
    for (size_t i = 0; i < pointer.len; i++)
        if (pointer.at[i] == '~' &&
            (i + 1 == pointer.len || (pointer.at[i + 1] != '0' && pointer.at[i + 1] != '1')))
            return false;
    return true;
}

enum mq_code unique_fields_check(struct slice fields, struct mq_err *err)
{
    struct slice rest = fields, field;
    unsigned count = 0;
    if (!fields.len)
        return mq_fail(err, MQ_BADARG, "UNIQUE_BY names no argument");
    while (next_field(&rest, &field)) {
        if (!field.len || (field.at[0] == '/' && !good_escapes(field)))
            return mq_fail(err, MQ_BADARG,
                           "UNIQUE_BY '%.*s': '%.*s' is no argument (write to,list or /user/id or .)",
                           QUOTED(fields), QUOTED(field));
        if (++count > UNIQUE_FIELDS_MAX)
            return mq_fail(err, MQ_BADARG, "UNIQUE_BY '%.*s' names more than %d arguments", QUOTED(fields),
                           UNIQUE_FIELDS_MAX);
    }
    return MQ_OK;
}

/* A pointer's token with its escapes undone, in `out`, which has room for it; its length. */
static size_t unescape(char *out, struct slice token)
{
    size_t len = 0;
    for (size_t i = 0; i < token.len; i++)
        out[len++] = token.at[i] != '~' ? token.at[i] : token.at[++i] == '0' ? '~' : '/';
    return len;
}

/* An array's place: no sign, no zero before it. */
static bool read_place(size_t *out, struct slice token)
{
    size_t place = 0;
    if (!token.len || token.len > 9 || (token.len > 1 && token.at[0] == '0'))
        return false;
    for (size_t i = 0; i < token.len; i++) {
        if (token.at[i] < '0' || token.at[i] > '9')
            return false;
        place = place * 10 + (size_t)(token.at[i] - '0');
    }
    *out = place;
    return true;
}

static json_t *member(json_t *in, struct slice token)
{
    size_t place;
    if (json_is_array(in))
        return read_place(&place, token) ? json_array_get(in, place) : NULL;
    return json_object_getn(in, token.at, token.len);
}

/* Borrowed; NULL if it is not there. */
static json_t *follow(json_t *in, struct slice pointer)
{
    char *text = malloc(pointer.len + 1);
    while (in && text && pointer.len) {
        struct slice token = {pointer.at + 1, pointer.len - 1};
        const char *slash = token.len ? memchr(token.at, '/', token.len) : NULL;
        if (slash)
            token.len = (size_t)(slash - token.at);
        pointer = (struct slice){token.at + token.len, pointer.len - 1 - token.len};
        in = member(in, (struct slice){text, unescape(text, token)});
    }
    free(text);
    return text ? in : NULL;
}

static json_t *find(json_t *payload, struct slice field)
{
    if (field.len == 1 && field.at[0] == '.')
        return payload;
    return field.at[0] == '/' ? follow(payload, field) : json_object_getn(payload, field.at, field.len);
}

/* The chosen arguments under the names by which they were chosen; the caller's. */
static json_t *choose(json_t *payload, struct slice fields, struct mq_err *err)
{
    struct slice rest = fields, field;
    json_t *chosen = json_object();
    while (next_field(&rest, &field)) {
        json_t *value = find(payload, field);
        if (value && json_object_setn(chosen, field.at, field.len, value) == 0)
            continue;
        mq_fail(err, MQ_BADARG,
                value ? "UNIQUE_BY: '%.*s' is not a name in UTF-8"
                      : "UNIQUE_BY: the payload has no '%.*s' (null would be a value)",
                QUOTED(field));
        json_decref(chosen);
        return NULL;
    }
    return chosen;
}

struct sink {
    struct buf text;
    bool
        full; /* jansson does not ask everywhere whether a piece was taken: a key with a hole would be another's */
};

/* jansson calls this with each piece of the text. */
static int add_piece(const char *piece, size_t len, void *out)
{
    struct sink *sink = out;
    sink->full |= buf_len(&sink->text) + len > UNIQUE_MAX_BYTES;
    if (sink->full)
        return -1;
    buf_add(&sink->text, piece, len);
    return 0;
}

enum mq_code unique_key_of(struct buf *out, struct slice fields, struct slice payload, struct mq_err *err)
{
    json_error_t why;
    struct sink key = {.text = BUF_INIT};
    if (payload.len > UNIQUE_PAYLOAD_MAX_BYTES)
        return mq_fail(
            err, MQ_TOOBIG,
            "a payload of %zu bytes is too big for UNIQUE_BY, the limit is %d (give the key itself "
            "with UNIQUE)",
            payload.len, UNIQUE_PAYLOAD_MAX_BYTES);
    json_t *all = json_loadb(payload.at ? payload.at : "", payload.len,
                             JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!all)
        return mq_fail(err, MQ_BADARG,
                       "UNIQUE_BY: the payload is not JSON of which a key could be made: %.150s", why.text);
    json_t *chosen = choose(all, fields, err);
    enum mq_code code = chosen ? MQ_OK : MQ_BADARG;
    if (chosen &&
        (json_dump_callback(chosen, add_piece, &key, JSON_COMPACT | JSON_SORT_KEYS) != 0 || key.full))
        code =
            mq_fail(err, MQ_TOOBIG,
                    "UNIQUE_BY: the chosen arguments make a key of more than %d bytes (choose fewer, or give "
                    "the key itself with UNIQUE)",
                    UNIQUE_MAX_BYTES);
    if (code == MQ_OK)
        buf_add_slice(out, buf_bytes(&key.text));
    buf_release(&key.text);
    json_decref(chosen);
    json_decref(all);
    return code;
}
