#include "store/lmdb/walk.h"

#include <xxhash.h>

#define IN(state)      (1u << (state))
#define CURSOR_VERSION 1

static bool only(uint32_t states, uint32_t of)
{
    return states && !(states & ~of);
}

static uint32_t stamp_of(const struct job_filter *filter, bool newest_first)
{
    XXH64_hash_t stamp = newest_first;
    stamp = XXH3_64bits_withSeed(filter->queue.at, filter->queue.len, stamp);
    stamp = XXH3_64bits_withSeed(filter->type.at, filter->type.len, stamp + 1);
    stamp = XXH3_64bits_withSeed(filter->tag.at, filter->tag.len, stamp + 2);
    stamp = XXH3_64bits_withSeed(filter->holder.at, filter->holder.len, stamp + 3);
    stamp = XXH3_64bits_withSeed(&filter->before, sizeof filter->before, stamp);
    stamp = XXH3_64bits_withSeed(&filter->after, sizeof filter->after, stamp);
    stamp = XXH3_64bits_withSeed(&filter->states, sizeof filter->states, stamp);
    return (uint32_t)stamp;
}

void walk_init(struct walk *walk, const struct job_filter *filter, uint32_t queue_no, bool newest_first)
{
    uint32_t states = filter->states;
    *walk =
        (struct walk){.leg_count = 1, .newest_first = newest_first, .stamp = stamp_of(filter, newest_first)};
    walk->none = filter->queue.len && !queue_no;
    if (only(states, IN(JOB_READY))) {
        walk->legs[0] = DB_READY;
        walk->legs[1] = DB_PARKED;
        walk->legs[2] = DB_HELD;
        walk->leg_count = 3;
        if (queue_no && filter->queue.len)
            key_of_no(&walk->prefix, queue_no);
    } else if (only(states, IN(JOB_SCHEDULED) | IN(JOB_RETRYING))) {
        walk->legs[0] = DB_DUE;
    } else if (only(states, IN(JOB_RUNNING))) {
        walk->legs[0] = DB_LEASES;
    } else if (only(states, IN(JOB_DEAD))) {
        walk->legs[0] = DB_DEAD;
    } else if (only(states, IN(JOB_SUCCEEDED) | IN(JOB_CANCELLED) | IN(JOB_EXPIRED))) {
        walk->legs[0] = DB_FINISHED;
    } else {
        walk->legs[0] = DB_STATES;
    }
}

/* ---- the cursor's text ---- */

static const char hex[] = "0123456789abcdef";

static uint32_t sum_of(const struct walk *walk, const char *at, size_t len)
{
    return (uint32_t)XXH3_64bits_withSeed(at, len, walk->stamp);
}

size_t walk_save(const struct walk *walk, struct buf *out)
{
    char bytes[2 + KEY_MAX_BYTES + 4];
    size_t len = 2 + walk->last.len;
    bytes[0] = CURSOR_VERSION;
    bytes[1] = (char)walk->leg;
    memcpy(bytes + 2, walk->last.at, walk->last.len);
    be32_put(bytes + len, sum_of(walk, bytes, len));
    len += 4;
    char *at = buf_room(out, 2 * len);
    for (size_t i = 0; i < len; i++) {
        at[2 * i] = hex[(uint8_t)bytes[i] >> 4];
        at[2 * i + 1] = hex[bytes[i] & 15];
    }
    buf_grew(out, 2 * len);
    return 2 * len;
}

static int digit(char c)
{
    const char *at = c ? strchr(hex, c) : NULL;
    return at ? (int)(at - hex) : -1;
}

static bool unhex(char *out, struct slice text)
{
    for (size_t i = 0; i < text.len / 2; i++) {
        int high = digit(text.at[2 * i]), low = digit(text.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (char)(high << 4 | low);
    }
    return true;
}

enum mq_code walk_resume(struct walk *walk, struct slice cursor, struct mq_err *err)
{
    char bytes[CURSOR_MAX_BYTES / 2]; /* keys of ticks are longer, but nobody walks over these */
    if (!cursor.len)
        return MQ_OK;
    size_t len = cursor.len / 2;
    bool good = cursor.len <= CURSOR_MAX_BYTES && cursor.len % 2 == 0 && len >= 2 + 4 &&
                unhex(bytes, cursor) && bytes[0] == CURSOR_VERSION && (unsigned)bytes[1] < walk->leg_count &&
                be32_get(bytes + len - 4) == sum_of(walk, bytes, len - 4);
    if (!good)
        return mq_fail(err, MQ_BADARG,
                       "cursor '%.*s' does not belong to this listing (same filters, same order)",
                       (int)(cursor.len > 64 ? 64 : cursor.len), cursor.at);
    walk->leg = (unsigned)bytes[1];
    walk->last.len = len - 6;
    memcpy(walk->last.at, bytes + 2, walk->last.len);
    return MQ_OK;
}

/* ---- walking ---- */

/* Held is ordered by the pause: of a queue's filter, each of its jobs is asked. */
static const struct key *prefix_of(const struct walk *walk)
{
    static const struct key none;
    return walk->legs[walk->leg] == DB_HELD ? &none : &walk->prefix;
}

static int forward(struct walk *walk, MDB_cursor *cursor, MDB_val *key, MDB_val *val)
{
    bool resumed = walk->last.len > 0;
    const struct key *prefix = prefix_of(walk), *from = resumed ? &walk->last : prefix;
    if (!resumed && !prefix->len)
        return mdb_cursor_get(cursor, key, val, MDB_FIRST);
    *key = (MDB_val){from->len, (void *)from->at};
    int rc = mdb_cursor_get(cursor, key, val, MDB_SET_RANGE);
    bool same =
        rc == 0 && resumed && key->mv_size == from->len && memcmp(key->mv_data, from->at, from->len) == 0;
    return same ? mdb_cursor_get(cursor, key, val, MDB_NEXT) : rc;
}

/* The greatest key below `from`; with nothing to compare to, the last of all. */
static int below(MDB_cursor *cursor, const struct key *from, MDB_val *key, MDB_val *val)
{
    *key = (MDB_val){from->len, (void *)from->at};
    int rc = mdb_cursor_get(cursor, key, val, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND)
        return mdb_cursor_get(cursor, key, val, MDB_LAST);
    return rc ? rc : mdb_cursor_get(cursor, key, val, MDB_PREV);
}

static int backward(struct walk *walk, MDB_cursor *cursor, MDB_val *key, MDB_val *val)
{
    if (walk->last.len)
        return below(cursor, &walk->last, key, val);
    if (!prefix_of(walk)->len)
        return mdb_cursor_get(cursor, key, val, MDB_LAST);
    struct key end = walk->prefix; /* a queue's number, and the next one's */
    be32_put(end.at, be32_get(end.at) + 1);
    return below(cursor, &end, key, val);
}

static bool in_prefix(const struct walk *walk, const MDB_val *key)
{
    const struct key *prefix = prefix_of(walk);
    return key->mv_size >= prefix->len && memcmp(key->mv_data, prefix->at, prefix->len) == 0;
}

static job_id id_at(enum db db, const MDB_val *key)
{
    struct slice bytes = {key->mv_data, key->mv_size};
    if (db == DB_DUE && (bytes.len != DUE_KEY_BYTES || bytes.at[DUE_KEY_BYTES - 1] != DUE_RUN))
        return JOB_ID_NONE; /* its expiry: the job has another entry, or is ready */
    return key_id(db, bytes);
}

int walk_next(struct walk *walk, MDB_cursor *const cursors[WALK_LEGS], job_id *id)
{
    while (!walk->none && walk->leg < walk->leg_count) {
        MDB_val key, val;
        int rc = walk->newest_first ? backward(walk, cursors[walk->leg], &key, &val)
                                    : forward(walk, cursors[walk->leg], &key, &val);
        if (rc && rc != MDB_NOTFOUND)
            return rc;
        if (rc == 0 && in_prefix(walk, &key) && key.mv_size <= KEY_MAX_BYTES) {
            walk->last.len = key.mv_size;
            memcpy(walk->last.at, key.mv_data, key.mv_size);
            *id = id_at(walk->legs[walk->leg], &key);
            return 0;
        }
        walk->leg++;
        walk->last.len = 0;
    }
    return MDB_NOTFOUND;
}

bool filter_needs_spec(const struct job_filter *filter)
{
    return filter->type.len || filter->tag.len;
}

bool filter_fits_status(const struct job_filter *filter, uint32_t queue_no, const struct job_status *status)
{
    return (!filter->states || filter->states & IN(status->state)) &&
           (!filter->queue.len || status->queue_no == queue_no) &&
           (!filter->holder.len ||
            (status->state == JOB_RUNNING && slice_equal(filter->holder, status->holder))) &&
           (!filter->before || status->since < filter->before) &&
           (!filter->after || status->since >= filter->after);
}

static bool has_tag(struct slice tags, struct slice tag)
{
    while (tags.len) {
        const char *end = memchr(tags.at, '\n', tags.len);
        size_t len = end ? (size_t)(end - tags.at) : tags.len;
        if (slice_equal((struct slice){tags.at, len}, tag))
            return true;
        len += end ? 1 : 0;
        tags.at += len;
        tags.len -= len;
    }
    return false;
}

bool filter_fits_spec(const struct job_filter *filter, const struct job_spec *spec)
{
    return (!filter->type.len || slice_equal(filter->type, spec->type)) &&
           (!filter->tag.len || has_tag(spec->tags, filter->tag));
}
