/*
 * `moonq check`: the application is loaded in a forked process under the same walls as a worker's, so that
 * whatever its files do (loop, crash, take all memory) is an error in the report and not the end of the check.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/child.h"
#include "runtime/confine.h"
#include "runtime/home.h"
#include "runtime/inside.h"
#include "runtime/load.h"
#include "runtime/net.h"
#include "runtime/open.h"

#define MEMORY_BYTES (256 << 20)
#define GIVE_UP_MS   (LOAD_TOTAL_MS + 5000)

/* READY's JSON with one error: for what ended the loading process. */
static char *describe_failure(const char *file, const char *message)
{
    json_t *ready =
        json_pack("{s:b, s:{}, s:{}, s:[], s:[], s:[{s:s, s:i, s:s}], s:[]}", "ok", 0, "config", "handlers",
                  "retries", "schedules", "errors", "file", file, "line", 0, "message", message, "warnings");
    char *text = json_dumps(ready, 0);
    json_decref(ready);
    return text ? text : mq_strdup("{\"ok\":false}");
}

/* In the forked process. */
static _Noreturn void load_and_tell(const char *app, const struct home *home, char *current)
{
    struct mq_err err;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_DFL);
    load_current = current;
    rt.setup = (struct setup){.role = mq_strdup("loader"),
                              .name = mq_strdup("check"),
                              .app = mq_strdup(app),
                              .stdlib = mq_strdup(home->stdlib),
                              .scripts = mq_strdup(home->scripts),
                              .slots = 1,
                              .memory_bytes = MEMORY_BYTES,
                              .payload_max = 1 << 20,
                              .result_max = 1 << 20,
                              .log_line_max = 4096};
    if (!runtime_open(&err)) {
        fprintf(stderr, "moonq: %s\n", err.text);
        _exit(1);
    }
    net_prepare();
    confine(rt.setup.app, rt.setup.stdlib, rt.setup.scripts);
    app_load(&rt.app, rt.L);
    char *text = json_dumps(rt.app.ready, 0);
    frame_add_json(&rt.out, FRAME_READY, slice_of(text));
    _exit(worker_write(true) ? 0 : 1);
}

/* Reads until READY is there; the caller's, or NULL: the process ended or was given up. */
static char *await_ready(int fd, bool *gave_up)
{
    struct buf in = BUF_INIT;
    struct frame frame;
    struct mq_err err;
    size_t used;
    char *text = NULL;
    mono_ms until = clock_mono() + GIVE_UP_MS;
    *gave_up = false;
    while (!text) {
        if (frame_read(&frame, buf_bytes(&in), &used, &err) != MQ_OK)
            break;
        if (used && frame.kind == FRAME_READY)
            text = mq_strdup_slice(frame.json);
        buf_eat(&in, used);
        if (used)
            continue;
        mono_ms left = until - clock_mono();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int polled = left > 0 ? poll(&ready, 1, (int)left) : 0;
        if (polled < 0 && errno == EINTR)
            continue;
        *gave_up = polled == 0;
        ssize_t got = polled > 0 ? read(fd, buf_room(&in, 65536), 65536) : -1;
        if (got <= 0)
            break;
        buf_grew(&in, (size_t)got);
    }
    buf_release(&in);
    return text;
}

static char *why_it_ended(int status, bool gave_up, const char *current)
{
    char message[200];
    if (gave_up)
        snprintf(message, sizeof message, "loading did not end within %d seconds", GIVE_UP_MS / 1000);
    else if (WIFSIGNALED(status))
        snprintf(message, sizeof message, "loading it ended the process (%s)", strsignal(WTERMSIG(status)));
    else
        snprintf(message, sizeof message, "loading it ended the process (exit status %d)",
                 WEXITSTATUS(status));
    return describe_failure(*current ? current : "moonq.lua", message);
}

char *child_describe(const char *app_dir)
{
    char app[HOME_PATH_BYTES];
    struct home home;
    struct mq_err err;
    int pair[2], status = 0;
    bool gave_up = false;
    if (!realpath(app_dir, app)) {
        char message[100];
        snprintf(message, sizeof message, "cannot open the application's folder: %s", strerror(errno));
        return describe_failure(app_dir, message);
    }
    if (home_find(&home, &err) != MQ_OK)
        return describe_failure(app_dir, err.text);
    char *current = mmap(NULL, LOAD_CURRENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (current == MAP_FAILED || pipe(pair) != 0)
        mq_bug("cannot check '%s': %s", app_dir, strerror(errno));
    int pid = fork();
    if (pid == 0) {
        close(pair[0]);
        rt.socket = pair[1];
        load_and_tell(app, &home, current);
    }
    close(pair[1]);
    char *text = pid > 0 ? await_ready(pair[0], &gave_up) : describe_failure(app_dir, strerror(errno));
    close(pair[0]);
    if (pid > 0) {
        if (!text)
            kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    if (!text)
        text = why_it_ended(status, gave_up, current);
    munmap(current, LOAD_CURRENT_BYTES);
    return text;
}
