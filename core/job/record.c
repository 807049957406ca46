#include "job/record.h"

#include <xxhash.h>

/* Formats on disk. Never reuse a number. */
enum {
    SPEC_FORMAT = 1,
    SPEC_FORMAT_UNIQUE = 2,   /* as 1, and a unique key with its terms */
    SPEC_FORMAT_SCHEDULE = 3, /* as 1, and the schedule that made it */
    SPEC_FORMAT_BOTH = 4,     /* as 3, and then the unique key as in 2 */
    STATUS_ROOMLESS = 3,      /* 1, 2 and 3 are as 4, 5 and 6, without the room. They are read, not written */
    STATUS_FORMAT = 4,
    STATUS_FORMAT_HELD = 5, /* as 4, and the number of the pause that holds it: few jobs need these bytes */
    STATUS_FORMAT_LONG =
        6, /* as 5 (the number may be 0), and how it stands to its unique key and to its time */
    ATTEMPT_FORMAT = 1,
    ATTEMPT_FORMAT_SCRIPTS = 2, /* as 1, and which scripts its worker had */
};

enum {
    SUM_BYTES = 4,
    SPEC_FIXED_BYTES = 1 + 1 + 2 + 4 + 4 + 8 + 8 + 8, /* format .. keep_ms */
    SPEC_UNIQUE_BYTES = 4 + 8 + 2,
    STATUS_LONG_BYTES = 1 + 2 + 8 + 8 + 8,
    /* Holder and note take at least this much, so that a lease writes a status where it stands: a longer one moves
       its neighbours, and a page of jobs that are leased one after the other has no room for them and is split */
    STATUS_ROOM_BYTES = 16,
    STATUS_FIXED_BYTES = 1 + 1 + 1 + 1 + 4 + 2 + 2 + 8 + 8 + 8 + 8 + 8 + 4,
};

static uint32_t sum_of(const char *at, size_t len)
{
    return (uint32_t)XXH3_64bits(at, len);
}

/* Checks and strips format and sum; the rest is in *body. */
static enum mq_code open_record(struct reader *body, struct slice bytes, uint8_t format, const char *what,
                                struct mq_err *err)
{
    if (bytes.len < 1 + SUM_BYTES)
        return mq_fail(err, MQ_INTERNAL, "%s record has only %zu bytes", what, bytes.len);
    if ((uint8_t)bytes.at[0] != format)
        return mq_fail(err, MQ_INTERNAL, "%s record has format %u, this binary knows %u", what,
                       (uint8_t)bytes.at[0], format);
    size_t len = bytes.len - SUM_BYTES;
    if (sum_of(bytes.at, len) != be32_get(bytes.at + len))
        return mq_fail(err, MQ_INTERNAL, "%s record of %zu bytes fails its checksum", what, bytes.len);
    *body = reader_of((struct slice){bytes.at + 1, len - 1});
    return MQ_OK;
}

static enum mq_code close_record(const struct reader *body, const char *what, struct mq_err *err)
{
    if (reader_done(body))
        return MQ_OK;
    return mq_fail(err, MQ_INTERNAL, "%s record is %s", what, body->short_ ? "cut short" : "too long");
}

static char *put_string(char *at, struct slice s)
{
    be32_put(at, (uint32_t)s.len);
    if (s.len)
        memcpy(at + 4, s.at, s.len);
    return at + 4 + s.len;
}

static size_t schedule_bytes(const struct job_spec *spec)
{
    return spec->schedule.len ? 4 + spec->schedule.len + 8 : 0;
}

static size_t unique_bytes(const struct job_spec *spec)
{
    return spec->unique_key.len ? SPEC_UNIQUE_BYTES + spec->unique_key.len : 0;
}

static char spec_format(const struct job_spec *spec)
{
    if (spec->schedule.len)
        return spec->unique_key.len ? SPEC_FORMAT_BOTH : SPEC_FORMAT_SCHEDULE;
    return spec->unique_key.len ? SPEC_FORMAT_UNIQUE : SPEC_FORMAT;
}

size_t record_spec_bytes(const struct job_spec *spec)
{
    return SPEC_FIXED_BYTES + 5 * 4 + spec->type.len + spec->queue.len + spec->payload.len + spec->meta.len +
           spec->tags.len + schedule_bytes(spec) + unique_bytes(spec) + SUM_BYTES;
}

void record_write_spec(char *start, const struct job_spec *spec)
{
    char *at = start;
    *at++ = spec_format(spec);
    *at++ = (char)spec->priority;
    be16_put(at, spec->max_attempts);
    be32_put(at + 2, spec->timeout_ms);
    be32_put(at + 6, spec->lease_ms);
    be64_put(at + 10, (uint64_t)spec->pushed_at);
    be64_put(at + 18, (uint64_t)spec->expires_at);
    be64_put(at + 26, (uint64_t)spec->keep_ms);
    at = put_string(at + 34, spec->type);
    at = put_string(at, spec->queue);
    at = put_string(at, spec->payload);
    at = put_string(at, spec->meta);
    at = put_string(at, spec->tags);
    if (spec->schedule.len) {
        at = put_string(at, spec->schedule);
        be64_put(at, (uint64_t)spec->planned_at);
        at += 8;
    }
    if (spec->unique_key.len) {
        at = put_string(at, spec->unique_key);
        be64_put(at, (uint64_t)spec->unique_until);
        be16_put(at + 8, spec->unique_states);
        at += 10;
    }
    be32_put(at, sum_of(start, (size_t)(at - start)));
}

enum mq_code record_read_spec(struct job_spec *out, struct slice bytes, struct mq_err *err)
{
    struct reader body;
    uint8_t format = bytes.len ? (uint8_t)bytes.at[0] : SPEC_FORMAT;
    bool known = format >= SPEC_FORMAT && format <= SPEC_FORMAT_BOTH;
    bool scheduled = format == SPEC_FORMAT_SCHEDULE || format == SPEC_FORMAT_BOTH;
    bool unique = format == SPEC_FORMAT_UNIQUE || format == SPEC_FORMAT_BOTH;
    enum mq_code code = open_record(&body, bytes, known ? format : SPEC_FORMAT, "job", err);
    if (code != MQ_OK)
        return code;
    struct job_spec spec = {.schedule = SLICE_EMPTY, .unique_key = SLICE_EMPTY, .unique_until = WALL_NEVER};
    spec.priority = reader_u8(&body);
    spec.max_attempts = reader_u16(&body);
    spec.timeout_ms = reader_u32(&body);
    spec.lease_ms = reader_u32(&body);
    spec.pushed_at = (wall_ms)reader_u64(&body);
    spec.expires_at = (wall_ms)reader_u64(&body);
    spec.keep_ms = (int64_t)reader_u64(&body);
    spec.type = reader_string(&body);
    spec.queue = reader_string(&body);
    spec.payload = reader_string(&body);
    spec.meta = reader_string(&body);
    spec.tags = reader_string(&body);
    if (scheduled) {
        spec.schedule = reader_string(&body);
        spec.planned_at = (wall_ms)reader_u64(&body);
        if (!body.short_ && !spec.schedule.len)
            return mq_fail(err, MQ_INTERNAL, "job record names a schedule without a name");
    }
    if (unique) {
        spec.unique_key = reader_string(&body);
        spec.unique_until = (wall_ms)reader_u64(&body);
        spec.unique_states = reader_u16(&body);
        if (!body.short_ && (!spec.unique_key.len || spec.unique_states & ~JOB_STATES_ALL))
            return mq_fail(err, MQ_INTERNAL,
                           "job record has a unique key without a text or for states unknown");
    }
    code = close_record(&body, "job", err);
    if (code == MQ_OK)
        *out = spec;
    return code;
}

/* Bits of a status' flags; on disk. */
enum {
    FLAG_PARKED = 1,
    FLAG_CANCELLING = 2,
    FLAG_HELD_BY_WORKER = 4,
    FLAG_STARTED = 8,
};

/* The shortest format that has room for all that is true of it. */
static char format_of(const struct job_status *status)
{
    if (status->key_role || status->was_due || status->late_ms)
        return STATUS_FORMAT_LONG;
    return status->held_no ? STATUS_FORMAT_HELD : STATUS_FORMAT;
}

static size_t bytes_behind(char format)
{
    return format == STATUS_FORMAT ? 0 : format == STATUS_FORMAT_HELD ? 4 : 4 + STATUS_LONG_BYTES;
}

static size_t room_left(const struct job_status *status)
{
    size_t taken = status->holder.len + status->note.len;
    return taken < STATUS_ROOM_BYTES ? STATUS_ROOM_BYTES - taken : 0;
}

size_t record_status_bytes(const struct job_status *status)
{
    return STATUS_FIXED_BYTES + 2 * 4 + status->holder.len + status->note.len + room_left(status) +
           bytes_behind(format_of(status)) + SUM_BYTES;
}

static char *put_long(char *at, const struct job_status *status)
{
    *at++ = (char)status->key_role;
    be16_put(at, status->key_states);
    be64_put(at + 2, (uint64_t)status->key_until);
    be64_put(at + 10, (uint64_t)status->was_due);
    be64_put(at + 18, (uint64_t)status->late_ms);
    return at + STATUS_LONG_BYTES - 1;
}

/* NULL if all is well. */
static const char *skip_room(const struct job_status *status, struct reader *body)
{
    static const char nothing[STATUS_ROOM_BYTES];
    size_t len = room_left(status);
    const char *at = reader_take(body, len); /* too short: said later */
    return at && memcmp(at, nothing, len) != 0 ? "has something where it should have room" : NULL;
}

static const char *read_long(struct job_status *status, struct reader *body)
{
    uint8_t role = reader_u8(body);
    status->key_role = (enum key_role)role;
    status->key_states = reader_u16(body);
    status->key_until = (wall_ms)reader_u64(body);
    status->was_due = (wall_ms)reader_u64(body);
    status->late_ms = (int64_t)reader_u64(body);
    if (body->short_)
        return NULL; /* said later */
    if (role >= KEY_ROLES || status->key_states & ~JOB_STATES_ALL)
        return "stands to its unique key in a way unknown";
    if ((role == KEY_HOLDS) != (status->key_until != 0) || (role == KEY_NONE && status->key_states))
        return "contradicts itself about its unique key";
    if (!role && !status->was_due && !status->late_ms)
        return "is longer than what it says";
    return NULL;
}

void record_write_status(char *start, const struct job_status *status)
{
    char *at = start;
    uint32_t progress;
    memcpy(&progress, &status->progress, sizeof progress);
    char format = format_of(status);
    *at++ = format;
    *at++ = (char)status->state;
    *at++ = (char)status->priority;
    *at++ = (char)((status->parked ? FLAG_PARKED : 0) | (status->cancelling ? FLAG_CANCELLING : 0) |
                   (status->held_by_worker ? FLAG_HELD_BY_WORKER : 0) | (status->started ? FLAG_STARTED : 0));
    be32_put(at, status->queue_no);
    be16_put(at + 4, status->attempt);
    be16_put(at + 6, status->crashes);
    be64_put(at + 8, status->token);
    be64_put(at + 16, (uint64_t)status->since);
    be64_put(at + 24, (uint64_t)status->due_at);
    be64_put(at + 32, (uint64_t)status->deadline);
    be64_put(at + 40, (uint64_t)status->expires_at);
    be32_put(at + 48, progress);
    at = put_string(at + 52, status->holder);
    at = put_string(at, status->note);
    memset(at, 0, room_left(status));
    at += room_left(status);
    if (format != STATUS_FORMAT) {
        be32_put(at, status->held_no);
        at += sizeof status->held_no;
    }
    if (format == STATUS_FORMAT_LONG)
        at = put_long(at, status);
    be32_put(at, sum_of(start, (size_t)(at - start)));
}

enum mq_code record_read_status(struct job_status *out, struct slice bytes, struct mq_err *err)
{
    struct reader body;
    uint8_t format = bytes.len ? (uint8_t)bytes.at[0] : STATUS_FORMAT;
    bool has_room = format > STATUS_ROOMLESS, known = format && format <= STATUS_FORMAT_LONG;
    enum mq_code code = open_record(&body, bytes, known ? format : STATUS_FORMAT, "status", err);
    if (code != MQ_OK)
        return code;
    if (!has_room)
        format += STATUS_ROOMLESS;
    struct job_status status = {.key_role = KEY_NONE};
    uint8_t state = reader_u8(&body);
    status.state = (enum job_state)state;
    status.priority = reader_u8(&body);
    uint8_t flags = reader_u8(&body);
    status.parked = flags & FLAG_PARKED;
    status.cancelling = flags & FLAG_CANCELLING;
    status.held_by_worker = flags & FLAG_HELD_BY_WORKER;
    status.started = flags & FLAG_STARTED;
    status.queue_no = reader_u32(&body);
    status.attempt = reader_u16(&body);
    status.crashes = reader_u16(&body);
    status.token = reader_u64(&body);
    status.since = (wall_ms)reader_u64(&body);
    status.due_at = (wall_ms)reader_u64(&body);
    status.deadline = (wall_ms)reader_u64(&body);
    status.expires_at = (wall_ms)reader_u64(&body);
    uint32_t progress = reader_u32(&body);
    memcpy(&status.progress, &progress, sizeof progress);
    status.holder = reader_string(&body);
    status.note = reader_string(&body);
    const char *wrong = has_room ? skip_room(&status, &body) : NULL;
    status.held_no = format != STATUS_FORMAT ? reader_u32(&body) : 0;
    if (!wrong && format == STATUS_FORMAT_LONG)
        wrong = read_long(&status, &body);
    if (wrong)
        return mq_fail(err, MQ_INTERNAL, "status record %s", wrong);
    if (state == JOB_NONE || state >= JOB_STATES)
        return mq_fail(err, MQ_INTERNAL, "status record has state %u", state);
    if (format == STATUS_FORMAT_HELD && !body.short_ && !status.held_no)
        return mq_fail(err, MQ_INTERNAL, "status record is held by pause 0, which is none");
    code = close_record(&body, "status", err);
    if (code == MQ_OK)
        *out = status;
    return code;
}

void record_add_attempt(struct buf *out, const struct job_attempt *attempt)
{
    size_t held = buf_len(out);
    buf_u8(out, attempt->scripts ? ATTEMPT_FORMAT_SCRIPTS : ATTEMPT_FORMAT);
    buf_u16(out, attempt->number);
    buf_u8(out, (uint8_t)attempt->outcome);
    buf_u64(out, (uint64_t)attempt->began);
    buf_u64(out, (uint64_t)attempt->ended);
    buf_string(out, attempt->worker);
    buf_string(out, attempt->code);
    buf_string(out, attempt->message);
    buf_string(out, attempt->traceback);
    if (attempt->scripts)
        buf_u32(out, attempt->scripts);
    size_t len = buf_len(out) - held;
    buf_room(out, SUM_BYTES);
    buf_u32(out, sum_of(out->at + out->end - len, len));
}

enum mq_code record_read_attempt(struct job_attempt *out, struct slice bytes, struct mq_err *err)
{
    struct reader body;
    bool scripts = bytes.len && (uint8_t)bytes.at[0] == ATTEMPT_FORMAT_SCRIPTS;
    enum mq_code code =
        open_record(&body, bytes, scripts ? ATTEMPT_FORMAT_SCRIPTS : ATTEMPT_FORMAT, "attempt", err);
    if (code != MQ_OK)
        return code;
    struct job_attempt attempt;
    attempt.number = reader_u16(&body);
    uint8_t outcome = reader_u8(&body);
    attempt.outcome = (enum job_step)outcome;
    attempt.began = (wall_ms)reader_u64(&body);
    attempt.ended = (wall_ms)reader_u64(&body);
    attempt.worker = reader_string(&body);
    attempt.code = reader_string(&body);
    attempt.message = reader_string(&body);
    attempt.traceback = reader_string(&body);
    attempt.scripts = scripts ? reader_u32(&body) : 0;
    if (scripts && !body.short_ && !attempt.scripts)
        return mq_fail(err, MQ_INTERNAL, "attempt record names scripts without a hash");
    if (outcome >= JOB_STEPS)
        return mq_fail(err, MQ_INTERNAL, "attempt record has outcome %u", outcome);
    code = close_record(&body, "attempt", err);
    if (code == MQ_OK)
        *out = attempt;
    return code;
}
