/*
 * fake_server.h - the server's end of the socketpair, for tests: starts this test's own binary as a child, over
 * an application folder that the test writes file by file, gives it jobs and waits for its frames.
 *
 * Every wait ends with a frame; the deadline is only for giving up.
 */
#ifndef MOONQ_TESTS_FAKE_SERVER_H
#define MOONQ_TESTS_FAKE_SERVER_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "job/record.h"
#include "runtime/child.h"
#include "runtime/frame.h"
#include "runtime/home.h"
#include "runtime/page.h"
#include "store/store.h"

#define GIVE_UP_MS 60000 /* a sanitizer on a busy machine is slow */

struct fake_server {
    char app[PATH_MAX];
    char page_path[PATH_MAX + 16];
    int socket, pid;
    struct buf in, out;
    size_t eaten; /* of `in`: the frame answered last */
    struct run_page *page;
    size_t memory_bytes, result_max;
    int64_t cancel_grace_ms;
    unsigned slots;
    bool stops_at_once; /* DRAIN follows SETUP */
    job_id last_id;
};

/* Writes app/path, and the folders that lead there. */
static inline void server_file(struct fake_server *s, const char *path, const char *text)
{
    char whole[PATH_MAX * 2];
    snprintf(whole, sizeof whole, "%s/%s", s->app, path);
    for (char *at = whole + strlen(s->app) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(whole, 0700);
        *at = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fwrite(text, 1, strlen(text), file);
    fclose(file);
}

/* A test's binary lies deeper than moonq's: looks upwards for stdlib/. */
static inline void server_home(void)
{
    char path[PATH_MAX + 32];
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
    while (len > 0 && !getenv("MOONQ_HOME")) {
        strcpy(path + len, "/stdlib/moonq");
        bool here = access(path, R_OK) == 0;
        path[len] = '\0';
        if (here)
            setenv("MOONQ_HOME", path, 1);
        char *slash = strrchr(path, '/');
        len = slash ? slash - path : 0;
    }
}

/* An application folder with nothing but an empty configuration. */
static inline void server_init(struct fake_server *s)
{
    server_home();
    *s = (struct fake_server){
        .slots = 16, .memory_bytes = 64 << 20, .result_max = 1 << 20, .cancel_grace_ms = 10000};
    snprintf(s->app, sizeof s->app, "%s/moonq-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(s->app));
    server_file(s, "moonq.lua", "return {}");
}

static inline void server_send(struct fake_server *s)
{
    while (buf_len(&s->out)) {
        struct slice bytes = buf_bytes(&s->out);
        ssize_t wrote = write(s->socket, bytes.at, bytes.len);
        assert_true(wrote > 0);
        buf_eat(&s->out, (size_t)wrote);
    }
}

static inline void server_exec(struct fake_server *s, const char *role, int socket, int page)
{
    /* out of the way of 3 and 4 first */
    socket = fcntl(socket, F_DUPFD, 10);
    page = page >= 0 ? fcntl(page, F_DUPFD, 10) : -1;
    dup2(socket, CHILD_SOCKET_FD);
    if (page >= 0)
        dup2(page, CHILD_PAGE_FD);
    (void)s;
    for (int fd = 5; fd < 64; fd++)
        close(fd);
    execl("/proc/self/exe", "test", "child", role, (char *)NULL);
    _exit(127);
}

static inline void server_setup(struct fake_server *s, const char *role)
{
    struct home home;
    struct mq_err err;
    if (home_find(&home, &err) != MQ_OK)
        fail_msg("%s", err.text);
    json_t *setup = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:i, s:I, s:i, s:I}", "role", role, "name",
                              "test.1", "app", s->app, "stdlib", home.stdlib, "scripts", home.scripts,
                              "slots", s->slots, "memory_bytes", (json_int_t)s->memory_bytes, "payload_max",
                              1 << 20, "result_max", (json_int_t)s->result_max, "log_line_max", 4096,
                              "cancel_grace_ms", (json_int_t)s->cancel_grace_ms);
    char *text = json_dumps(setup, 0);
    frame_add_json(&s->out, FRAME_SETUP, slice_of(text));
    free(text);
    json_decref(setup);
    if (s->stops_at_once)
        frame_add_drain(&s->out); /* in the same write: the child reads both, or one */
    server_send(s);
}

static inline void server_start(struct fake_server *s, const char *role)
{
    int pair[2], page_fd;
    struct mq_err err;
    snprintf(s->page_path, sizeof s->page_path, "%s/.page", s->app);
    assert_int_equal(page_open(&s->page, &page_fd, s->page_path, true, &err), MQ_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    s->pid = fork();
    if (s->pid == 0) {
        close(pair[0]);
        server_exec(s, role, pair[1], page_fd);
    }
    close(pair[1]);
    close(page_fd);
    s->socket = pair[0];
    server_setup(s, role);
}

/* The next frame; false: end of file. Good until the next call. */
static inline bool server_next(struct fake_server *s, struct frame *frame)
{
    struct mq_err err;
    size_t used;
    buf_eat(&s->in, s->eaten);
    s->eaten = 0;
    for (;;) {
        if (frame_read(frame, buf_bytes(&s->in), &used, &err) != MQ_OK)
            fail_msg("a frame that is none: %s", err.text);
        if (used) {
            s->eaten = used;
            return true;
        }
        struct pollfd ready = {.fd = s->socket, .events = POLLIN};
        if (poll(&ready, 1, GIVE_UP_MS) == 0)
            fail_msg("no frame within %d ms", GIVE_UP_MS);
        ssize_t got = read(s->socket, buf_room(&s->in, 65536), 65536);
        if (got <= 0)
            return false;
        buf_grew(&s->in, (size_t)got);
    }
}

/* Skips the frames of other kinds. */
static inline void server_await(struct fake_server *s, enum frame_kind kind, struct frame *frame)
{
    while (server_next(s, frame))
        if (frame->kind == kind)
            return;
    int status = 0;
    waitpid(s->pid, &status, 0);
    s->pid = 0;
    fail_msg("the child ended before a frame of kind %d (status 0x%x)", kind, status);
}

/* READY, read: the caller's. */
static inline json_t *server_ready(struct fake_server *s)
{
    struct frame frame;
    server_await(s, FRAME_READY, &frame);
    json_t *ready = json_loadb(frame.json.at, frame.json.len, 0, NULL);
    assert_non_null(ready);
    return ready;
}

/* A worker over the files written so far, ready. */
static inline void server_worker(struct fake_server *s)
{
    server_start(s, "worker");
    json_t *ready = server_ready(s);
    if (!json_is_true(json_object_get(ready, "ok")))
        fail_msg("not ready: %s", json_dumps(ready, 0));
    json_decref(ready);
}

struct given {
    uint32_t slot;
    const char *type, *payload;
    unsigned attempt, max_attempts;
};

/* Queues the JOB frame; server_send sends it. Answers the id. */
static inline job_id server_queue(struct fake_server *s, const struct given *given)
{
    struct job_spec spec = {.type = slice_of(given->type),
                            .queue = SLICE("default"),
                            .payload = slice_of(given->payload ? given->payload : "{}"),
                            .meta = SLICE("{\"trace\":\"t1\"}"),
                            .tags = SLICE("red\ngreen\n"),
                            .pushed_at = 1767225600000,
                            .expires_at = WALL_NEVER,
                            .timeout_ms = 1000,
                            .lease_ms = 1000,
                            .max_attempts = (uint16_t)(given->max_attempts ? given->max_attempts : 25),
                            .priority = 5};
    size_t len = record_spec_bytes(&spec);
    char *record = malloc(len);
    record_write_spec(record, &spec);
    struct frame_job job = {.slot = given->slot,
                            .id = ++s->last_id,
                            .token = 9007199254740993,
                            .attempt = (uint16_t)(given->attempt ? given->attempt : 1),
                            .record = {record, len}};
    frame_add_job(&s->out, &job);
    free(record);
    return job.id;
}

static inline job_id server_give(struct fake_server *s, uint32_t slot, const char *type, const char *payload)
{
    assert_true(slot_move(s->page, slot, SLOT_FREE, SLOT_GIVEN));
    job_id id = server_queue(s, &(struct given){.slot = slot, .type = type, .payload = payload});
    server_send(s);
    return id;
}

/* The slot is free again once its outcome is here. */
static inline void server_slot_back(struct fake_server *s, uint32_t slot)
{
    atomic_store(&s->page->slots[slot], SLOT_FREE);
}

/* Waits until a coroutine of the child stands on the CPU with this job. */
static inline void server_await_cpu(struct fake_server *s, job_id id)
{
    mono_ms until = clock_mono() + GIVE_UP_MS;
    while (atomic_load(&s->page->on_cpu) != id) {
        if (clock_mono() > until)
            fail_msg("the job did not come onto the CPU");
        usleep(200);
    }
}

/* The child's exit status, after it ended by itself or because the socket closed. */
static inline int server_end(struct fake_server *s)
{
    char command[PATH_MAX + 20];
    int status = 0;
    if (s->socket >= 0)
        close(s->socket);
    if (s->pid > 0)
        waitpid(s->pid, &status, 0);
    page_close(s->page);
    buf_release(&s->in);
    buf_release(&s->out);
    snprintf(command, sizeof command, "rm -rf '%s'", s->app);
    if (system(command) != 0)
        fail_msg("cannot remove %s", s->app);
    return status;
}
#endif
