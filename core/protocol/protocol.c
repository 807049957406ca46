#include "protocol/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "protocol/command.h"
#include "protocol/room.h"

#define RELIEVE_MAX    64  /* clients closed at a look: each is found by looking at all */
#define ACCEPT_MAX     64  /* connections in one turn: the others want their turn too */
#define ACCEPT_PAUSE_S 0.5 /* after descriptors ran out: somebody has to hang up first */

/* ---- the turn of the loop --------------------------------------------------------------------------------- */

static void on_before(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct protocol *p = watcher->data;
    (void)loop, (void)events;
    if (!p->resume)
        return;
    p->now = clock_wall();
    struct conn *list = p->resume;
    p->resume = NULL;
    while (list) {
        struct conn *conn = list;
        list = conn->next_resume;
        conn->resume = false;
        conn_resume(conn);
    }
}

static void on_after(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct protocol *p = watcher->data;
    (void)loop, (void)events;
    while (p->dirty) {
        struct conn *conn = p->dirty;
        p->dirty = conn->next_dirty;
        conn->dirty = false;
        conn_flush(conn);
    }
    p->written = true;
    if (p->resume)
        protocol_again(p);
}

static void on_begun(struct ev_loop *loop, ev_check *watcher, int events)
{
    (void)loop, (void)events;
    ((struct protocol *)watcher->data)->written = false;
}

void protocol_again(struct protocol *p)
{
    if (ev_is_active(&p->again))
        return;
    ev_timer_set(&p->again, 0., 0.);
    ev_timer_start(p->loop, &p->again);
}

static void on_again(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)watcher, (void)events; /* that there is a turn is all that was wanted */
}

/* Often enough that a limit is kept to within a quarter, and at most ten times a second. */
static double look_interval_s(const struct protocol_settings *settings)
{
    int64_t ms = 4000;
    if (settings->half_sent_ms > 0 && settings->half_sent_ms < ms)
        ms = settings->half_sent_ms;
    if (settings->output_patience_ms < ms)
        ms = settings->output_patience_ms;
    return (double)(ms / 4 < 100 ? 100 : ms / 4) / 1000;
}

static void on_look(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct protocol *p = watcher->data;
    (void)events;
    bool again = false;
    mono_ms now = clock_mono();
    for (struct conn *conn = p->conns; conn; conn = conn->next)
        again |= conn_look(conn, now);
    if (!again)
        ev_timer_stop(loop, watcher);
}

void protocol_look(struct protocol *p)
{
    if (ev_is_active(&p->look))
        return;
    ev_now_update(p->loop);
    double interval = look_interval_s(&p->settings);
    ev_timer_set(&p->look, interval, interval);
    ev_timer_start(p->loop, &p->look);
}

/* ---- accepting -------------------------------------------------------------------------------------------- */

static void refuse_connection(struct protocol *p, int fd)
{
    static const char text[] =
        "-FULL too many connections (connections_max): close one, or raise the limit\r\n";
    if (send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_event(LOG_DEBUG, "client.refused", LOG_STR("reason", strerror(errno)));
    close(fd);
    if (p->refused++ == 0)
        log_event(LOG_WARN, "client.refused", LOG_STR("reason", "connections_max"),
                  LOG_INT("connections_max", p->settings.connections_max));
}

/* No descriptor is left, so the listener would stay readable for ever: leave it alone for a moment. */
static void pause_accepting(struct protocol *p)
{
    if (!p->accept_paused)
        log_event(LOG_ERROR, "client.accept_failed", LOG_STR("reason", strerror(errno)),
                  LOG_STR("next", "raise the limit of open files (ulimit -n), or lower connections_max"));
    p->accept_paused = true;
    for (struct listener *listener = p->listeners; listener; listener = listener->next)
        ev_io_stop(p->loop, &listener->acceptable);
    ev_timer_set(&p->accept_again, ACCEPT_PAUSE_S, 0.);
    ev_timer_start(p->loop, &p->accept_again);
}

static void on_accept_again(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct protocol *p = watcher->data;
    (void)events;
    for (struct listener *listener = p->listeners; listener; listener = listener->next)
        ev_io_start(loop, &listener->acceptable);
}

static void on_acceptable(struct ev_loop *loop, ev_io *watcher, int events)
{
    const struct listener *listener = watcher->data;
    struct protocol *p = listener->protocol;
    (void)loop, (void)events;
    for (int i = 0; i < ACCEPT_MAX; i++) {
        int fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0) {
            if (errno != EAGAIN)
                pause_accepting(p);
            return;
        }
        p->accept_paused = false; /* the next shortage is news again */
        if (p->conn_count >= p->settings.connections_max) {
            refuse_connection(p, fd);
            continue;
        }
        p->accepted++;
        conn_open(p, fd)->reads_only = listener->reads_only;
    }
}

static void listen_at(struct protocol *p, int listening_fd, bool reads_only)
{
    struct listener *listener = mq_calloc(1, sizeof *listener);
    *listener =
        (struct listener){.next = p->listeners, .protocol = p, .fd = listening_fd, .reads_only = reads_only};
    p->listeners = listener;
    ev_io_init(&listener->acceptable, on_acceptable, listening_fd, EV_READ);
    listener->acceptable.data = listener;
    ev_io_start(p->loop, &listener->acceptable);
}

void protocol_listen(struct protocol *p, int listening_fd)
{
    listen_at(p, listening_fd, false);
}

void protocol_listen_for_readers(struct protocol *p, int listening_fd)
{
    listen_at(p, listening_fd, true);
}

void protocol_stop_listening(struct protocol *p)
{
    ev_timer_stop(p->loop, &p->accept_again);
    while (p->listeners) {
        struct listener *listener = p->listeners;
        p->listeners = listener->next;
        ev_io_stop(p->loop, &listener->acceptable);
        close(listener->fd);
        free(listener);
    }
}

/* ---- beginning and end ------------------------------------------------------------------------------------ */

struct protocol *protocol_new(struct ev_loop *loop, struct dispatch *dispatch, struct store *store,
                              const struct control *control, const struct protocol_settings *settings)
{
    struct protocol *p = mq_calloc(1, sizeof *p);
    p->loop = loop;
    p->dispatch = dispatch;
    p->store = store;
    p->control = *control;
    p->settings = *settings;
    p->scratch = mq_alloc(READ_BYTES);
    p->now = clock_wall();
    resp_init(&p->request);
    command_setup();
    ev_prepare_init(&p->before, on_before);
    ev_prepare_init(&p->after, on_after);
    ev_set_priority(&p->before, EV_MAXPRI);
    ev_set_priority(&p->after, EV_MINPRI);
    ev_check_init(&p->begun, on_begun);
    ev_set_priority(&p->begun, EV_MAXPRI);
    p->begun.data = p;
    ev_check_start(loop, &p->begun);
    ev_timer_init(&p->again, on_again, 0., 0.);
    ev_timer_init(&p->look, on_look, 0., 0.);
    ev_timer_init(&p->accept_again, on_accept_again, 0., 0.);
    p->before.data = p->after.data = p->again.data = p->look.data = p->accept_again.data = p;
    ev_prepare_start(loop, &p->before);
    ev_prepare_start(loop, &p->after);
    return p;
}

void protocol_configure(struct protocol *p, const struct protocol_settings *settings)
{
    p->settings = *settings;
    ev_timer_stop(p->loop, &p->look);
    protocol_look(p);
}

void protocol_set_tight(struct protocol *p, bool tight)
{
    p->tight = tight;
}

static size_t burden(const struct conn *conn)
{
    return conn->doomed ? 0 : buf_len(&conn->out) + buf_len(&conn->in);
}

static struct conn *heaviest(const struct protocol *p)
{
    struct conn *found = p->conns;
    for (struct conn *conn = p->conns; conn; conn = conn->next)
        if (burden(conn) > burden(found))
            found = conn;
    return found;
}

void protocol_relieve(struct protocol *p, uint64_t bytes)
{
    uint64_t freed = 0;
    for (unsigned i = 0; freed < bytes && i < RELIEVE_MAX; i++) {
        struct conn *conn = heaviest(p);
        if (!conn || burden(conn) < READ_BYTES)
            return; /* what they have is not worth it */
        freed += burden(conn);
        conn_doom(
            conn,
            "max_memory: memory is short, and it does not read its replies, or has sent half a command");
    }
}

unsigned protocol_connections(const struct protocol *p)
{
    return p->conn_count;
}

void protocol_gone(struct protocol *p)
{
    call_pool_release(&p->pool);
    free(p);
}

void protocol_free(struct protocol *p)
{
    if (!p)
        return;
    protocol_stop_listening(p);
    ev_prepare_stop(p->loop, &p->before);
    ev_prepare_stop(p->loop, &p->after);
    ev_check_stop(p->loop, &p->begun);
    ev_timer_stop(p->loop, &p->again);
    ev_timer_stop(p->loop, &p->look);
    while (p->dirty) {
        struct conn *conn = p->dirty;
        p->dirty = conn->next_dirty;
        conn->dirty = false;
        conn_flush(conn);
    }
    while (p->conns)
        conn_close(p->conns);
    resp_release(&p->request);
    free(p->scratch);
    p->closed = true;
    if (p->calls == 0)
        protocol_gone(p);
}
