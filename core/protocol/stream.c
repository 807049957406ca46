#include "protocol/stream.h"

#include <stdlib.h>

#include "base/log.h"
#include "job/name.h"
#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/room.h"

#define PATTERNS_MAX_BYTES 1024

struct stream {
    struct event_listener listener;
    struct conn *conn;
    struct buf line;               /* the event being written */
    job_id id;                     /* 0: any */
    char *queue, *type, *patterns; /* NULL: any. Patterns with commas between them */
};

static bool fits_patterns(const char *patterns, struct slice name)
{
    while (*patterns) {
        size_t len = strcspn(patterns, ",");
        if (glob_matches((struct slice){patterns, len}, name))
            return true;
        patterns += len + (patterns[len] == ',');
    }
    return false;
}

static bool fits(const struct stream *stream, const struct event *event)
{
    return (!stream->id || stream->id == event->id) &&
           (!stream->queue || slice_equal(event->queue, slice_of(stream->queue))) &&
           (!stream->type || slice_equal(event->type, slice_of(stream->type))) &&
           (!stream->patterns || fits_patterns(stream->patterns, slice_of(event->name)));
}

static void add_text(struct buf *line, const char *key, struct slice text)
{
    if (!text.len)
        return;
    buf_add_slice(line, slice_of(key));
    json_add_string(line, text);
}

static void add_number(struct buf *line, const char *key, int64_t number)
{
    char digits[REPLY_NUMBER_BYTES];
    buf_add_slice(line, slice_of(key));
    buf_add(line, digits, reply_digits(digits, number));
}

/* One JSON object; what is not known of an event is left out. */
static void write_event(struct buf *line, const struct event *event)
{
    char id[JOB_ID_TEXT_BYTES];
    buf_clear(line);
    add_text(line, "{\"event\":", slice_of(event->name));
    add_number(line, ",\"at\":", event->at);
    if (event->id)
        add_text(line, ",\"id\":", slice_of(id_format(id, event->id)));
    add_text(line, ",\"type\":", event->type);
    add_text(line, ",\"queue\":", event->queue);
    add_text(line, ",\"worker\":", event->worker);
    if (event->attempt)
        add_number(line, ",\"attempt\":", event->attempt);
    if (event->run_at && event->run_at != WALL_NEVER)
        add_number(line, ",\"run_at\":", event->run_at);
    add_text(line, ",\"schedule\":", event->schedule);
    if (event->planned_at)
        add_number(line, ",\"planned_at\":", event->planned_at);
    if (event->outcome)
        add_text(line, ",\"outcome\":", slice_of(event->outcome));
    add_text(line, ",\"message\":", event->message);
    add_text(line, ",\"by\":", event->by);
    if (event->fraction >= 0 && (strstr(event->name, "progress")))
        buf_printf(line, ",\"fraction\":%.7g", event->fraction);
    if (event->count)
        add_number(line, ",\"count\":", (int64_t)event->count);
    buf_u8(line, '}');
}

static void on_event(struct event_listener *listener, const struct event *event)
{
    struct stream *stream = listener->owner;
    struct conn *conn = stream->conn;
    if (conn->doomed || !fits(stream, event))
        return;
    struct reply reply = {&conn->out, conn->resp3};
    write_event(&stream->line, event);
    if (conn->resp3) {
        reply_push(&reply, 2);
        reply_bulk(&reply, SLICE("event"));
    }
    reply_bulk(&reply, buf_bytes(&stream->line));
    if (buf_len(&conn->out) > conn->protocol->settings.output_max)
        conn_doom(conn, "it does not read its events: output_max");
    conn_mark_dirty(conn);
}

void stream_end(struct conn *conn)
{
    struct stream *stream = conn->stream;
    if (!stream)
        return;
    if (stream->listener.event)
        dispatch_unlisten(conn->protocol->dispatch, &stream->listener);
    buf_release(&stream->line);
    free(stream->queue);
    free(stream->type);
    free(stream->patterns);
    free(stream);
    conn->stream = NULL;
}

static enum mq_code take_text(char **out, struct slice text)
{
    free(*out);
    *out = mq_strdup_slice(text);
    return MQ_OK;
}

static enum mq_code stream_option(struct stream *stream, struct options *options, struct mq_err *err)
{
    enum mq_code code = options_value(options, err);
    if (code != MQ_OK)
        return code;
    if (options_is(options, "JOB"))
        return id_parse(&stream->id, options->value, err);
    if (options_is(options, "QUEUE")) {
        code = name_check("queue", options->value, err);
        return code == MQ_OK ? take_text(&stream->queue, options->value) : code;
    }
    if (options_is(options, "TYPE")) {
        code = name_check("job type", options->value, err);
        return code == MQ_OK ? take_text(&stream->type, options->value) : code;
    }
    if (!options_is(options, "NAME"))
        return options_unknown(options, err);
    if (options->value.len == 0 || options->value.len > PATTERNS_MAX_BYTES)
        return mq_fail(err, MQ_BADARG, "NAME is a list of patterns (job.*,worker.exited) of 1 to %d bytes",
                       PATTERNS_MAX_BYTES);
    return take_text(&stream->patterns, options->value);
}

enum mq_code cmd_events(struct call *call, struct mq_err *err)
{
    struct conn *conn = call->conn;
    struct stream *stream = mq_calloc(1, sizeof *stream);
    struct options options = options_of("EVENTS", "JOB QUEUE TYPE NAME", call->args, call->count);
    stream->conn = conn;
    conn->stream = stream;
    while (options_next(&options)) {
        enum mq_code code = stream_option(stream, &options, err);
        if (code != MQ_OK) {
            stream_end(conn);
            return code;
        }
    }
    struct reply reply = call_reply(call);
    reply_ok(&reply);
    stream->listener.event = on_event;
    stream->listener.owner = stream;
    dispatch_listen(call->protocol->dispatch, &stream->listener);
    call_finish(call);
    return MQ_OK;
}
