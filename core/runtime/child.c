#include "runtime/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "runtime/confine.h"
#include "runtime/inside.h"
#include "runtime/load.h"
#include "runtime/net.h"
#include "runtime/open.h"
#include "runtime/sandbox.h"

/* ---- SETUP ---- */

/* Before there is a loop: reads until the first frame is whole. False: the server is gone, or speaks nonsense. */
static bool read_first_frame(struct frame *frame, size_t *used, struct mq_err *err)
{
    for (;;) {
        if (frame_read(frame, buf_bytes(&rt.in), used, err) != MQ_OK)
            return false;
        if (*used)
            return true;
        ssize_t got = read(rt.socket, buf_room(&rt.in, 4096), 4096);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return mq_fail(err, MQ_INTERNAL, "the server is gone") == MQ_OK;
        buf_grew(&rt.in, (size_t)got);
    }
}

static char *text_of(json_t *setup, const char *key)
{
    const char *text = json_string_value(json_object_get(setup, key));
    return mq_strdup(text ? text : "");
}

static int64_t number_of(json_t *setup, const char *key, int64_t otherwise)
{
    json_t *value = json_object_get(setup, key);
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : otherwise;
}

static bool read_setup(struct slice text, struct mq_err *err)
{
    json_t *json = json_loadb(text.at, text.len, 0, NULL);
    if (!json_is_object(json)) {
        json_decref(json);
        return mq_fail(err, MQ_INTERNAL, "SETUP is not a JSON object") == MQ_OK;
    }
    rt.setup = (struct setup){
        .role = text_of(json, "role"),
        .name = text_of(json, "name"),
        .app = text_of(json, "app"),
        .stdlib = text_of(json, "stdlib"),
        .scripts = text_of(json, "scripts"),
        .schedule = text_of(json, "schedule"),
        .planned_at = (double)number_of(json, "planned_at", 0),
        .slots = (unsigned)number_of(json, "slots", 1),
        .jobs_max = (uint64_t)number_of(json, "jobs_max", 0),
        .memory_bytes = (size_t)number_of(json, "memory_bytes", 256 << 20),
        .payload_max = (size_t)number_of(json, "payload_max", 1 << 20),
        .result_max = (size_t)number_of(json, "result_max", 1 << 20),
        .log_line_max = (size_t)number_of(json, "log_line_max", 4096),
        .cancel_grace_ms = number_of(json, "cancel_grace_ms", 10000),
    };
    json_decref(json);
    if (rt.setup.slots < 1 || rt.setup.slots > WORKER_SLOTS_MAX)
        return mq_fail(err, MQ_INTERNAL, "SETUP: %u slots (1 to %d)", rt.setup.slots, WORKER_SLOTS_MAX) ==
               MQ_OK;
    return true;
}

static void setup_release(void)
{
    free(rt.setup.role);
    free(rt.setup.schedule);
    free(rt.setup.name);
    free(rt.setup.app);
    free(rt.setup.stdlib);
    free(rt.setup.scripts);
}

/* ---- the runtime ---- */

/* An error that no pcall caught: nothing after it can be trusted. The server gives the jobs back. */
static int on_panic(lua_State *L)
{
    const char *why = lua_tostring(L, -1);
    mq_bug("Lua error outside of any job: %s", why ? why : "?");
}

bool runtime_open(struct mq_err *err)
{
    static struct run_page private_page;
    if (!rt.page)
        rt.page = &private_page;
    rt.loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!rt.loop)
        return mq_fail(err, MQ_INTERNAL, "no event loop: %s", strerror(errno)) == MQ_OK;
    meter_init(&rt.meter, rt.setup.memory_bytes);
    if (sandbox_open(&rt.L, &rt.meter, rt.setup.stdlib, rt.setup.app, err) != MQ_OK)
        return false;
    lua_atpanic(rt.L, on_panic);
    return true;
}

void runtime_close(void)
{
    tasks_close();
    net_stop();
    sandbox_close(rt.L);
    rt.L = NULL;
    app_release(&rt.app);
    if (rt.loop)
        ev_loop_destroy(rt.loop);
    buf_release(&rt.in);
    buf_release(&rt.out);
    buf_release(&rt.scratch);
    setup_release();
}

bool runtime_load(void)
{
    app_load(&rt.app, rt.L);
    char *text = json_dumps(rt.app.ready, JSON_COMPACT);
    frame_add_json(&rt.out, FRAME_READY, slice_of(text));
    free(text);
    return worker_write(true);
}

bool runtime_make_args(void)
{
    rt.app.ready = json_pack("{s:[], s:[]}", "errors", "warnings");
    load_begin(&rt.app);
    json_t *answer = app_schedule_args(&rt.app, rt.L, rt.setup.schedule, rt.setup.planned_at);
    load_end();
    char *text = json_dumps(answer, JSON_COMPACT);
    frame_add_json(&rt.out, FRAME_READY, slice_of(text));
    free(text);
    json_decref(answer);
    return worker_write(true);
}

static int run_role(bool worker)
{
    if (strcmp(rt.setup.role, "args") == 0)
        return runtime_make_args() ? 0 : 1;
    bool told = runtime_load();
    if (!worker)
        return 0;
    if (!told || !json_is_true(json_object_get(rt.app.ready, "ok")))
        return 1;
    fcntl(rt.socket, F_SETFL, fcntl(rt.socket, F_GETFL) | O_NONBLOCK);
    tasks_open(rt.setup.slots);
    return worker_run();
}

static int fail_start(const struct mq_err *err)
{
    fprintf(stderr, "moonq child: %s\n", err->text);
    return 1;
}

/*
 * Ctrl-C in a terminal and a service manager's SIGTERM reach every process of the group. When to stop is the
 * server's to say, by DRAIN: it lets the jobs finish.
 */
static void ignore_signals(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

/*
 * LMDB opens the store's file without close-on-exec, and who starts the server may leave it others. None is a
 * handler's business, and Landlock does not look at what is open already.
 */
static void close_inherited(int first)
{
    if (close_range((unsigned)first, ~0U, 0) == 0)
        return;
    long most = sysconf(_SC_OPEN_MAX); /* a kernel before 5.9 */
    for (int fd = first; fd < (most > 0 && most < 65536 ? (int)most : 65536); fd++)
        close(fd);
}

int child_main(int argc, char **argv)
{
    struct frame frame;
    struct mq_err err;
    size_t used;
    bool worker = argc > 1 && strcmp(argv[1], "worker") == 0;
    if (argc < 2 || (!worker && strcmp(argv[1], "loader") != 0 && strcmp(argv[1], "args") != 0)) {
        fprintf(stderr, "moonq child is started by the server (moonq child worker|loader|args)\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_inherited(worker ? CHILD_PAGE_FD + 1 : CHILD_SOCKET_FD + 1);
    ignore_signals();
    rt.socket = CHILD_SOCKET_FD;
    if (!read_first_frame(&frame, &used, &err))
        return fail_start(&err);
    if (frame.kind != FRAME_SETUP || !read_setup(frame.json, &err))
        return fail_start(&err);
    buf_eat(&rt.in, used);
    if (worker && page_adopt(&rt.page, CHILD_PAGE_FD, &err) != MQ_OK)
        return fail_start(&err);
    if (worker)
        close(CHILD_PAGE_FD); /* the mapping stays */
    if (!runtime_open(&err))
        return fail_start(&err);
    net_prepare();
    confine(rt.setup.app, rt.setup.stdlib, rt.setup.scripts);
    int status = run_role(worker);
    runtime_close();
    return status;
}
