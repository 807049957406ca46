#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/inside.h"
#include "runtime/task.h"

#define READ_BYTES     (256 << 10)
#define OUT_SOON_BYTES (64 << 10) /* so much is sent without waiting for the end of the turn */
#define OUT_MAX_BYTES  (8 << 20)  /* beyond this a job that talks waits until the server has read */
#define TURN_MS        5          /* then new frames are read, though jobs wait */
#define BEAT_EVERY_S   0.4
#define EXIT_MEMORY    12  /* as ENOMEM */
#define FAILURES_MAX   200 /* memory failures; each may leave crumbs in C libraries */

struct runtime rt;
static ev_io reading, writing;
static ev_timer beating;
static ev_prepare before_waiting;
static ev_idle jobs_wait;
static mono_ms exchanged_at; /* with the server, amid jobs */
static bool peeked;          /* what has been read while a job was on the CPU waits to be taken in */

/* ---- in ---- */

/* Takes what the socket has. False: the server is gone. */
static bool fill(void)
{
    for (;;) {
        ssize_t got = read(rt.socket, buf_room(&rt.in, READ_BYTES), READ_BYTES);
        if (got > 0) {
            buf_grew(&rt.in, (size_t)got);
            if (got == READ_BYTES)
                continue;
            return true;
        }
        if (got < 0 && errno == EINTR)
            continue;
        return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
}

static enum stop stop_of(const struct frame *frame)
{
    if (frame->kind == FRAME_TIMEOUT)
        return frame->signal.hard ? STOP_TIMEOUT_NOW : STOP_TIMEOUT;
    return frame->signal.hard ? STOP_KILL : STOP_CANCEL;
}

static void take_frame(const struct frame *frame)
{
    switch (frame->kind) {
    case FRAME_JOB:
        task_give(&frame->job);
        break;
    case FRAME_CANCEL:
    case FRAME_TIMEOUT:
        task_stop(frame->signal.slot, frame->signal.id, stop_of(frame));
        break;
    case FRAME_DRAIN:
        rt.draining = true;
        break;
    default:
        mq_bug("the server sent a frame of kind %d", frame->kind);
    }
}

static void take_frames(void)
{
    struct frame frame;
    struct mq_err err;
    size_t used;
    peeked = false;
    for (;;) {
        if (frame_read(&frame, buf_bytes(&rt.in), &used, &err) != MQ_OK)
            mq_bug("the server's bytes: %s", err.text);
        if (used == 0)
            return;
        take_frame(&frame);
        buf_eat(&rt.in, used);
    }
}

bool worker_read(void)
{
    bool alive = fill();
    take_frames();
    return alive;
}

enum stop worker_peek_stop(const struct task *task)
{
    enum stop how = STOP_NOT;
    struct frame frame;
    struct mq_err err;
    size_t used;
    if (!fill())
        _exit(0); /* the server is gone, and the job with it */
    peeked = true;
    struct slice rest = buf_bytes(&rt.in);
    while (frame_read(&frame, rest, &used, &err) == MQ_OK && used) {
        bool signal = frame.kind == FRAME_CANCEL || frame.kind == FRAME_TIMEOUT;
        if (signal && frame.signal.slot == task->slot && frame.signal.id == task->id) {
            enum stop this = stop_of(&frame);
            how = this > how ? this : how;
        }
        rest.at += used;
        rest.len -= used;
    }
    return how;
}

/* ---- out ---- */

static bool wait_for_room(void)
{
    struct pollfd socket = {.fd = rt.socket, .events = POLLOUT};
    return poll(&socket, 1, -1) > 0 || errno == EINTR;
}

bool worker_write(bool wait)
{
    while (buf_len(&rt.out)) {
        struct slice bytes = buf_bytes(&rt.out);
        ssize_t wrote = write(rt.socket, bytes.at, bytes.len);
        if (wrote > 0) {
            buf_eat(&rt.out, (size_t)wrote);
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return false;
        if (!wait)
            break;
        if (!wait_for_room())
            return false;
    }
    return true;
}

void worker_log(enum log_level level, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    frame_add_log(&rt.out, &(struct frame_log){.id = JOB_ID_NONE,
                                               .level = (uint8_t)level,
                                               .text = slice_of(text),
                                               .fields = SLICE_EMPTY});
}

void worker_ease(void)
{
    if (buf_len(&rt.out) > OUT_MAX_BYTES && !worker_write(true))
        _exit(0);
}

/* ---- memory ---- */

/*
 * LuaJIT starts a collection when memory has doubled since the last one. Where that would be beyond the limit it
 * must start earlier, or a job would fail for garbage.
 */
static void collect(void)
{
    lua_gc(rt.L, LUA_GCCOLLECT, 0);
    double room = (double)rt.meter.limit * 0.8 / (double)rt.meter.used * 100;
    lua_gc(rt.L, LUA_GCSETPAUSE, room >= 200 ? 200 : room <= 105 ? 105 : (int)room);
    lua_gc(rt.L, LUA_GCCOLLECT, 0); /* the pause counts from the end of a collection */
    rt.live = rt.meter.used;
}

void worker_make_room(void)
{
    size_t used = rt.meter.used;
    if (used > rt.meter.limit / 8 * 3 &&
        (used > rt.live + rt.live / 2 || used > rt.live + rt.meter.limit / 16))
        collect();
}

bool worker_is_full(void)
{
    collect();
    return rt.meter.used > rt.meter.limit / 8 * 7;
}

/* It has no memory for more: from now on it begins nothing. The server sees it in the page, and starts another. */
static void recycle(void)
{
    rt.recycling = true;
    if (rt.page)
        atomic_store(&rt.page->leaving, 1);
}

void worker_out_of_memory(void)
{
    bool full = worker_is_full();
    if (rt.recycling || (!full && ++rt.memory_failures < FAILURES_MAX))
        return;
    recycle();
    worker_log(
        LOG_WARN,
        "worker %s holds %zu of %zu bytes after %u memory failures: it finishes its jobs and is replaced",
        rt.setup.name, rt.meter.used, rt.meter.limit, rt.memory_failures);
}

/* "email.send 900, report 100": who may have leaked, if anybody did. */
static void list_types(char *out, size_t size)
{
    const struct handler *handler, *next;
    size_t len = 0;
    out[0] = '\0';
    HASH_ITER (hh, rt.app.handlers, handler, next)
        if (handler->ran && len < size)
            len += (size_t)snprintf(out + len, size - len, "%s%s %llu", len ? ", " : "", handler->type,
                                    (unsigned long long)handler->ran);
}

void worker_job_ended(struct handler *handler)
{
    char types[600];
    handler->ran++;
    if (!rt.jobs_ended++)
        rt.first_live = rt.meter.used;
    if (!rt.setup.jobs_max || rt.jobs_ended < rt.setup.jobs_max || atomic_load(&rt.page->leaving))
        return;
    atomic_store(&rt.page->leaving, 1); /* it goes on until somebody can relieve it */
    collect();
    list_types(types, sizeof types);
    worker_log(LOG_INFO,
               "worker %s has run %llu jobs (%s) and is replaced: it holds %zu bytes, %zu after its first",
               rt.setup.name, (unsigned long long)rt.jobs_ended, types, rt.live, rt.first_live);
}

void worker_exhausted(void)
{
    char id[JOB_ID_TEXT_BYTES];
    worker_log(LOG_ERROR, "worker %s ends: job %s took all memory (%zu of %zu bytes) in compiled code",
               rt.setup.name, id_format(id, rt.current ? rt.current->id : JOB_ID_NONE), rt.meter.used,
               rt.meter.limit);
    worker_write(true);
    _exit(EXIT_MEMORY);
}

/* ---- the loop ---- */

static void stop_now(void)
{
    _exit(0); /* the server is gone: nobody is left to be told, and what is connected closes by itself */
}

static void beat(void)
{
    atomic_store_explicit(&rt.page->beats, atomic_load_explicit(&rt.page->beats, memory_order_relaxed) + 1,
                          memory_order_release);
    atomic_store_explicit(&rt.page->memory, rt.meter.used, memory_order_relaxed);
}

/* Frames go out and come in once a millisecond while jobs run: neither side waits for the end of a burst. */
static void exchange(mono_ms now)
{
    bool due = now > exchanged_at;
    if (due)
        exchanged_at = now;
    if ((due || buf_len(&rt.out) > OUT_SOON_BYTES) && !worker_write(false))
        stop_now();
    if (due && !worker_read())
        stop_now();
}

bool worker_pump(unsigned most)
{
    mono_ms began = clock_mono();
    rt.woken = 0;
    if (rt.recycling && most > rt.busy)
        most = rt.busy; /* what is held goes back into the queue */
    for (unsigned ran = 0; ran < most && task_run_next(); ran++) {
        mono_ms now = clock_mono();
        exchange(now);
        if (now - began >= TURN_MS)
            return rt.queue_head != NULL;
    }
    return false;
}

static void on_before_waiting(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)watcher;
    (void)events;
    beat();
    bool more = worker_pump(UINT_MAX);
    if (peeked) { /* the socket will not say again that these are there */
        take_frames();
        more = rt.queue_head != NULL;
    }
    if (!worker_write(false))
        stop_now();
    if (more)
        ev_idle_start(loop, &jobs_wait);
    else
        ev_idle_stop(loop, &jobs_wait);
    if (buf_len(&rt.out))
        ev_io_start(loop, &writing);
    else
        ev_io_stop(loop, &writing);
    bool idle = rt.recycling ? tasks_all_held() : rt.busy == 0;
    if ((rt.draining || rt.recycling) && idle && !buf_len(&rt.out))
        ev_break(loop, EVBREAK_ALL);
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
    if (!worker_read())
        stop_now();
}

static void on_nothing(struct ev_loop *loop, ev_idle *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events; /* the loop's turn writes */
}

static void on_beat(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events; /* the loop's turn beats */
}

int worker_run(void)
{
    interrupt_install();
    peeked = buf_len(&rt.in) > 0; /* what came together with SETUP: a DRAIN, if the server stops just now */
    ev_io_init(&reading, on_readable, rt.socket, EV_READ);
    ev_io_init(&writing, on_writable, rt.socket, EV_WRITE);
    ev_timer_init(&beating, on_beat, BEAT_EVERY_S, BEAT_EVERY_S);
    ev_prepare_init(&before_waiting, on_before_waiting);
    ev_idle_init(&jobs_wait, on_nothing);
    ev_io_start(rt.loop, &reading);
    ev_timer_start(rt.loop, &beating);
    ev_prepare_start(rt.loop, &before_waiting);
    ev_run(rt.loop, 0);
    ev_io_stop(rt.loop, &reading);
    ev_io_stop(rt.loop, &writing);
    ev_timer_stop(rt.loop, &beating);
    ev_prepare_stop(rt.loop, &before_waiting);
    ev_idle_stop(rt.loop, &jobs_wait);
    worker_write(true);
    return 0;
}
