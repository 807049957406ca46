/*
 * `moonq check`: the application is loaded, and functions of its schedules are run, in forked processes under the same walls as a worker's, so that
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
#define GRACE_MS     5000 /* after its own limits */
#define WHY_BYTES    MQ_ERR_TEXT_BYTES

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

/* What a forked process does, and with which walls. */
struct errand {
    const char *app;
    struct home home;
    size_t memory_bytes, payload_max;
    int64_t give_up_ms;
    const char *schedule; /* its args for this moment; NULL: load the application */
    double planned_at;
};

/* In the forked process. */
static _Noreturn void run_errand(const struct errand *errand, char *current)
{
    struct mq_err err;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_DFL);
    load_current = current;
    rt.setup = (struct setup){.role = mq_strdup(errand->schedule ? "args" : "loader"),
                              .name = mq_strdup("check"),
                              .app = mq_strdup(errand->app),
                              .stdlib = mq_strdup(errand->home.stdlib),
                              .scripts = mq_strdup(errand->home.scripts),
                              .schedule = errand->schedule ? mq_strdup(errand->schedule) : NULL,
                              .planned_at = errand->planned_at,
                              .slots = 1,
                              .memory_bytes = errand->memory_bytes,
                              .payload_max = errand->payload_max,
                              .result_max = 1 << 20,
                              .log_line_max = 4096};
    if (!runtime_open(&err)) {
        fprintf(stderr, "moonq: %s\n", err.text);
        _exit(1);
    }
    net_prepare();
    confine(rt.setup.app, rt.setup.stdlib, rt.setup.scripts);
    bool told = errand->schedule ? runtime_make_args() : runtime_load();
    _exit(told ? 0 : 1);
}

/* Reads until READY is there; the caller's, or NULL: the process ended or was given up. */
static char *await_ready(int fd, int64_t give_up_ms, bool *gave_up)
{
    struct buf in = BUF_INIT;
    struct frame frame;
    struct mq_err err;
    size_t used;
    char *text = NULL;
    mono_ms until = clock_mono() + give_up_ms;
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

static void say_why(char *why, size_t size, const struct errand *errand, int status, bool gave_up)
{
    const char *what = errand->schedule ? "the function" : "loading it";
    if (gave_up)
        snprintf(why, size, "%s did not end within %d seconds", errand->schedule ? "it" : "loading",
                 (int)(errand->give_up_ms / 1000));
    else if (WIFSIGNALED(status))
        snprintf(why, size, "%s ended the process (%s)", what, strsignal(WTERMSIG(status)));
    else
        snprintf(why, size, "%s ended the process (exit status %d)", what, WEXITSTATUS(status));
}

/* The answer is the caller's. NULL: `why` says why there is none. */
static char *send_on(const struct errand *errand, char *current, char *why, size_t size)
{
    int pair[2], status = 0;
    bool gave_up = false;
    if (pipe(pair) != 0)
        mq_bug("cannot check '%s': %s", errand->app, strerror(errno));
    int pid = fork();
    if (pid == 0) {
        close(pair[0]);
        rt.socket = pair[1];
        run_errand(errand, current);
    }
    close(pair[1]);
    snprintf(why, size, "%s", strerror(errno));
    char *text = pid > 0 ? await_ready(pair[0], errand->give_up_ms, &gave_up) : NULL;
    close(pair[0]);
    if (pid < 0)
        return NULL;
    if (!text)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    if (!text)
        say_why(why, size, errand, status, gave_up);
    return text;
}

/* False: `why` says why not. */
static bool prepare(struct errand *errand, const char *app_dir, char app[HOME_PATH_BYTES], char *why,
                    size_t size)
{
    struct mq_err err;
    errand->app = app;
    if (!realpath(app_dir, app))
        snprintf(why, size, "cannot open the application's folder: %s", strerror(errno));
    else if (home_find(&errand->home, &err) != MQ_OK)
        snprintf(why, size, "%s", err.text);
    else
        return true;
    return false;
}

char *child_describe(const char *app_dir)
{
    char app[HOME_PATH_BYTES], why[WHY_BYTES], *text;
    struct errand errand = {
        .memory_bytes = MEMORY_BYTES, .payload_max = 1 << 20, .give_up_ms = LOAD_TOTAL_MS + GRACE_MS};
    if (!prepare(&errand, app_dir, app, why, sizeof why))
        return describe_failure(app_dir, why);
    char *current = mmap(NULL, LOAD_CURRENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (current == MAP_FAILED)
        mq_bug("cannot check '%s': %s", app_dir, strerror(errno));
    text = send_on(&errand, current, why, sizeof why);
    if (!text)
        text = describe_failure(*current ? current : "moonq.lua", why);
    munmap(current, LOAD_CURRENT_BYTES);
    return text;
}

json_t *child_make_args(const char *app_dir, const char *schedule, double planned_at, size_t payload_max)
{
    char app[HOME_PATH_BYTES], why[WHY_BYTES], current[LOAD_CURRENT_BYTES] = "", *text = NULL;
    struct errand errand = {.schedule = schedule,
                            .planned_at = planned_at,
                            .memory_bytes = CHILD_ARGS_BYTES,
                            .payload_max = payload_max,
                            .give_up_ms = LOAD_FILE_MS + SCHEDULE_ARGS_MS + GRACE_MS};
    if (prepare(&errand, app_dir, app, why, sizeof why))
        text = send_on(&errand, current, why, sizeof why);
    json_t *answer = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    return answer ? answer : json_pack("{s:s}", "error", why);
}
