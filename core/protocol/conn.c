#include "protocol/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "protocol/flow.h"
#include "protocol/multi.h"
#include "protocol/room.h"
#include "protocol/stream.h"

#define LINGER_MS  2000        /* for a client that is still sending what nobody will read */
#define KEEP_BYTES (64 * 1024) /* an empty buffer larger than this is given back */

struct slice conn_name(const struct conn *conn, char out[CONN_NAME_BYTES])
{
    if (conn->name)
        return slice_of(conn->name);
    int len = snprintf(out, CONN_NAME_BYTES, "client-%llu", (unsigned long long)conn->no);
    return (struct slice){out, (size_t)len};
}

void conn_mark_dirty(struct conn *conn)
{
    if (conn->dirty)
        return;
    conn->dirty = true;
    conn->next_dirty = conn->protocol->dirty;
    conn->protocol->dirty = conn;
    if (conn->protocol->written)
        protocol_again(conn->protocol);
}

void conn_mark_resume(struct conn *conn)
{
    if (conn->resume)
        return;
    conn->resume = true;
    conn->next_resume = conn->protocol->resume;
    conn->protocol->resume = conn;
    if (conn->protocol->written)
        protocol_again(conn->protocol);
}

void conn_doom(struct conn *conn, const char *reason)
{
    if (!conn->doomed && reason)
        conn->reason = reason;
    conn->doomed = true;
    conn_mark_dirty(conn);
}

void conn_finish(struct conn *conn)
{
    conn->closing = true;
    conn_mark_dirty(conn);
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

/*
 * A held connection is still read from, up to a point, so that its end is noticed while a FETCH waits. Not so one
 * that does not read its replies: what it sends stays in its own socket.
 */
static bool wants_input(const struct conn *conn)
{
    if (conn->linger_since)
        return true;
    if (conn->ended || conn->closing || conn->doomed || conn->hold == HOLD_OUTPUT)
        return false;
    return conn->hold == HOLD_NONE || buf_len(&conn->in) < READ_BYTES;
}

static void set_reading(struct conn *conn)
{
    bool wanted = wants_input(conn);
    if (wanted == conn->reading)
        return;
    conn->reading = wanted;
    if (wanted)
        ev_io_start(conn->protocol->loop, &conn->readable);
    else
        ev_io_stop(conn->protocol->loop, &conn->readable);
}

/* A command has begun and its end is not there: from now on it has half_sent_ms. */
static void note_half_sent(struct conn *conn, bool progress)
{
    bool half = conn->hold == HOLD_NONE && !conn->closing && (buf_len(&conn->in) || conn->skipping);
    if (!half)
        conn->half_since = 0;
    else if (progress || conn->half_since == 0) {
        conn->half_since = clock_mono();
        protocol_look(conn->protocol);
    }
}

/* All that it sent is taken, and it will send no more. */
static void finish_ended(struct conn *conn)
{
    struct mq_err err;
    if (buf_len(&conn->in) && !conn->closing) {
        mq_fail(&err, MQ_BADARG,
                "protocol error: the connection ended in the middle of a command (a line needs its end, an "
                "array all its bytes)");
        flow_give_up(conn, &err);
    }
    conn_finish(conn);
}

/* It sent its last. What it asked before is answered, if it still listens. */
static void on_end(struct conn *conn)
{
    struct pollfd peer = {.fd = conn->fd, .events = 0};
    if (poll(&peer, 1, 0) == 1 && (peer.revents & (POLLHUP | POLLERR))) {
        conn_doom(conn, NULL);
        return;
    }
    conn->ended = true;
    if (conn->hold == HOLD_NONE)
        finish_ended(conn);        /* half a command at most is left */
    protocol_look(conn->protocol); /* it may hang up while something waits */
}

static void took(struct conn *conn, size_t used)
{
    note_half_sent(conn, used > 0);
    if (conn->ended && conn->hold == HOLD_NONE)
        finish_ended(conn);
    set_reading(conn);
}

/* Nothing is waiting in `in`: what comes is mostly complete, and is parsed where it arrived. */
static ssize_t read_fresh(struct conn *conn)
{
    struct protocol *p = conn->protocol;
    ssize_t got = read(conn->fd, p->scratch, READ_BYTES);
    if (got > 0) {
        struct slice bytes = {p->scratch, (size_t)got};
        size_t used = flow_take(conn, bytes);
        if (!conn->closing && !conn->doomed)
            buf_add(&conn->in, bytes.at + used, bytes.len - used);
        took(conn, used);
    }
    return got;
}

static void take_held(struct conn *conn)
{
    size_t used = 0;
    if (buf_len(&conn->in) >= conn->need) {
        used = flow_take(conn, buf_bytes(&conn->in));
        buf_eat(&conn->in, used);
    }
    if (buf_len(&conn->in) == 0 && conn->in.cap > KEEP_BYTES)
        buf_release(&conn->in);
    took(conn, used);
}

static ssize_t read_more(struct conn *conn)
{
    size_t have = buf_len(&conn->in), room = READ_BYTES;
    if (conn->need > have + room)
        room = conn->need - have; /* at most request_max: the parser saw to that */
    ssize_t got = read(conn->fd, buf_room(&conn->in, room), room);
    if (got > 0) {
        buf_grew(&conn->in, (size_t)got);
        if (conn->hold == HOLD_NONE)
            take_held(conn);
        else
            set_reading(conn);
    }
    return got;
}

/*
 * A client that writes everything before it reads would find the connection gone, with the reason unread: so it is
 * told that no more will come, and what it sends is read and dropped until it hangs up.
 */
static void linger(struct conn *conn)
{
    shutdown(conn->fd, SHUT_WR);
    buf_release(&conn->in);
    conn->linger_since = clock_mono();
    protocol_look(conn->protocol);
    set_reading(conn);
}

static void drop_input(struct conn *conn)
{
    ssize_t got = read(conn->fd, conn->protocol->scratch, READ_BYTES);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        conn_doom(conn, NULL);
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct conn *conn = watcher->data;
    (void)loop, (void)events;
    if (conn->linger_since) {
        drop_input(conn);
        return;
    }
    conn->protocol->now = clock_wall();
    ssize_t got = buf_len(&conn->in) == 0 && conn->hold == HOLD_NONE ? read_fresh(conn) : read_more(conn);
    if (got == 0)
        on_end(conn);
    else if (got < 0 && errno != EAGAIN && errno != EINTR)
        conn_doom(conn, NULL);
    set_reading(conn);
}

void conn_resume(struct conn *conn)
{
    if (conn->hold == HOLD_NONE || !flow_may_go(conn) || conn->doomed)
        return;
    conn->hold = HOLD_NONE;
    conn->need = 0;
    take_held(conn);
}

/* ---- writing ---------------------------------------------------------------------------------------------- */

static void set_writing(struct conn *conn, bool wanted)
{
    if (wanted == conn->writing)
        return;
    conn->writing = wanted;
    if (wanted)
        ev_io_start(conn->protocol->loop, &conn->writable);
    else
        ev_io_stop(conn->protocol->loop, &conn->writable);
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop, (void)events;
    conn_mark_dirty(watcher->data);
}

/* Remembers since when a client has not read what it was sent. */
static void note_stuck(struct conn *conn, bool progress)
{
    const struct protocol_settings *settings = &conn->protocol->settings;
    if (buf_len(&conn->out) < settings->output_pause)
        conn->stuck_since = 0;
    else if (progress || conn->stuck_since == 0) {
        conn->stuck_since = clock_mono();
        protocol_look(conn->protocol);
    }
    if (buf_len(&conn->out) > settings->output_max)
        conn_doom(conn, "it does not read its replies: output_max");
}

static void write_out(struct conn *conn)
{
    struct slice bytes = buf_bytes(&conn->out);
    ssize_t wrote = bytes.len ? send(conn->fd, bytes.at, bytes.len, MSG_NOSIGNAL) : 0;
    if (wrote < 0 && errno != EAGAIN && errno != EINTR) {
        conn_doom(conn, NULL);
        return;
    }
    if (wrote > 0)
        buf_eat(&conn->out, (size_t)wrote);
    if (buf_len(&conn->out) == 0 && conn->out.cap > KEEP_BYTES)
        buf_release(&conn->out);
    note_stuck(conn, wrote > 0);
    set_writing(conn, buf_len(&conn->out) > 0);
    /* also a hold that began for another reason ends here, if unread replies were all that kept it */
    if (conn->hold != HOLD_NONE && flow_may_go(conn))
        conn_mark_resume(conn);
}

void conn_flush(struct conn *conn)
{
    if (!conn->doomed)
        write_out(conn);
    bool finished = conn->closing && !conn->first && buf_len(&conn->out) == 0;
    bool lingers = conn->broken && !conn->ended;
    if (conn->doomed || (finished && !lingers))
        conn_close(conn);
    else if (finished && !conn->linger_since)
        linger(conn);
    else
        set_reading(conn);
}

/* ---- from time to time ------------------------------------------------------------------------------------ */

/* Its half command is held against it; if it listens, it is told so. */
static void refuse_half(struct conn *conn)
{
    char patience[DURATION_TEXT_BYTES];
    struct mq_err err;
    mq_fail(&err, MQ_TIMEOUT,
            "half a command, and no more of it for %s (half_sent); the connection is closed",
            duration_format(patience, conn->protocol->settings.half_sent_ms));
    conn->half_since = 0;
    conn->reason = "it sent half a command and no more: half_sent";
    flow_give_up(conn, &err);
}

bool conn_look(struct conn *conn, mono_ms now)
{
    const struct protocol_settings *settings = &conn->protocol->settings;
    if (conn->stuck_since && now - conn->stuck_since >= settings->output_patience_ms)
        conn_doom(conn, "it does not read its replies: output_patience");
    if (conn->half_since && settings->half_sent_ms && now - conn->half_since >= settings->half_sent_ms)
        refuse_half(conn);
    if (conn->linger_since && now - conn->linger_since >= LINGER_MS)
        conn_doom(conn, NULL);
    if (conn->ended) {
        struct pollfd peer = {.fd = conn->fd, .events = 0};
        if (poll(&peer, 1, 0) == 1 && (peer.revents & (POLLHUP | POLLERR)))
            conn_doom(conn, NULL);
    }
    return conn->stuck_since || conn->half_since || conn->linger_since || conn->ended;
}

/* ---- beginning and end ------------------------------------------------------------------------------------ */

struct conn *conn_open(struct protocol *p, int fd)
{
    struct conn *conn = mq_calloc(1, sizeof *conn);
    conn->protocol = p;
    conn->fd = fd;
    conn->no = ++p->last_no;
    conn->since = clock_mono();
    ev_io_init(&conn->readable, on_readable, fd, EV_READ);
    ev_io_init(&conn->writable, on_writable, fd, EV_WRITE);
    conn->readable.data = conn->writable.data = conn;
    conn->next = p->conns;
    if (p->conns)
        p->conns->prev = conn;
    p->conns = conn;
    p->conn_count++;
    set_reading(conn);
    return conn;
}

static void unlink_conn(struct conn *conn)
{
    struct protocol *p = conn->protocol;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        p->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    p->conn_count--;
    if (conn->dirty) {
        struct conn **at = &p->dirty;
        while (*at != conn)
            at = &(*at)->next_dirty;
        *at = conn->next_dirty;
    }
    if (conn->resume) {
        struct conn **at = &p->resume;
        while (*at != conn)
            at = &(*at)->next_resume;
        *at = conn->next_resume;
    }
}

static void log_reason(const struct conn *conn)
{
    char name[CONN_NAME_BYTES];
    if (!conn->reason)
        return;
    conn->protocol->closed_slow++;
    log_event(LOG_WARN, "client.closed", LOG_SLICE("client", conn_name(conn, name)),
              LOG_STR("reason", conn->reason), LOG_INT("unread_bytes", buf_len(&conn->out)),
              LOG_INT("commands", conn->commands));
}

void conn_close(struct conn *conn)
{
    log_reason(conn);
    unlink_conn(conn);
    ev_io_stop(conn->protocol->loop, &conn->readable);
    ev_io_stop(conn->protocol->loop, &conn->writable);
    close(conn->fd);
    multi_drop(conn);
    stream_end(conn);
    while (conn->first) {
        struct call *call = conn->first;
        conn->first = call->next;
        call_orphan(call);
    }
    buf_release(&conn->in);
    buf_release(&conn->out);
    free(conn->name);
    free(conn->library);
    free(conn);
}
