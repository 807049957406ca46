/*
 * HTTP and mail against real servers on loopback, with a small host in place of the runtime: tasks are
 * coroutines of one Lua state, and host.h is what is below. The tests themselves are in net_http.lua, net_mail.lua and
 * net_smtp.lua beside this file. This program answers the name lookups itself, so that none leaves the machine.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <ftw.h>
#include <lauxlib.h>
#include <lualib.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "runtime/host.h"
#include "runtime/net.h"

extern char **environ;
int luaopen_cjson(lua_State *L);

/* ---- names ---- */

static _Atomic int lookups, slow_lookups_over;

/*
 * In place of the C library's, also for libcurl. *.test is 127.0.0.1 or what its first label says; slow.test takes
 * a second; everything else does not exist.
 */
static int find_address(const char *name, const char *service, char *out)
{
    struct in_addr v4;
    (void)service;
    lookups++;
    if (strcmp(name, "slow.test") == 0) {
        usleep(1000000);
        slow_lookups_over++;
        strcpy(out, "127.0.0.1");
    } else if (inet_pton(AF_INET, name, &v4) == 1) {
        strcpy(out, name);
    } else if (strcmp(name, "metadata.test") == 0) {
        strcpy(out, "169.254.169.254");
    } else if (strstr(name, ".test") || strcmp(name, "localhost") == 0 || strncmp(name, "xn--", 4) == 0) {
        strcpy(out, "127.0.0.1");
    } else {
        return EAI_NONAME;
    }
    return 0;
}

struct answer {
    struct addrinfo info;
    struct sockaddr_in address;
};

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
    char text[64];
    int code = find_address(name, service, text);
    if (code)
        return code;
    struct answer *answer = calloc(1, sizeof *answer);
    answer->address.sin_family = AF_INET;
    answer->address.sin_port = htons((uint16_t)(service ? atoi(service) : 0));
    inet_pton(AF_INET, text, &answer->address.sin_addr);
    answer->info.ai_family = AF_INET;
    answer->info.ai_socktype = hints && hints->ai_socktype ? hints->ai_socktype : SOCK_STREAM;
    answer->info.ai_addrlen = sizeof answer->address;
    answer->info.ai_addr = (struct sockaddr *)&answer->address;
    *out = &answer->info;
    return 0;
}

void freeaddrinfo(struct addrinfo *info)
{
    free(info);
}

/* ---- the host ---- */

struct task {
    lua_State *L;
    int ref;
    void *owner;
    void (*abandon)(void *owner);
    bool parked, over;
    struct task *next;
    ev_timer timer;
    struct task **waits_for;
};

static struct ev_loop *loop;
static lua_State *main_state;
static struct task *current, *queue_head, **queue_tail = &queue_head;
static char allow_text[2048]; /* " http api.test:80  smtp *  " */
static char wait_mark;

struct ev_loop *host_loop(void)
{
    return loop;
}

struct task *host_current(lua_State *L)
{
    (void)L;
    return current;
}

int host_park(lua_State *L, void *owner, void (*abandon)(void *owner))
{
    if (!current)
        return luaL_error(L, "only a running handler may wait");
    current->owner = owner;
    current->abandon = abandon;
    current->parked = true;
    lua_pushlightuserdata(L, &wait_mark);
    return lua_yield(L, 1);
}

lua_State *host_state(struct task *task)
{
    return task->L;
}

static void ready(struct task *task)
{
    task->next = NULL;
    *queue_tail = task;
    queue_tail = &task->next;
}

void host_wake(struct task *task, int count)
{
    assert_true(task->parked);
    assert_int_equal(count, 0);
    assert_ptr_not_equal(task, current);
    task->parked = false;
    ready(task);
}

/* Each turn of the test's loop does so. */
void host_run_woken(void)
{
}

void host_forget(struct task *task, const void *owner)
{
    if (task->owner == owner)
        task->parked = false;
}

int host_raise(lua_State *L, const char *code, bool retryable, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, code);
    lua_setfield(L, -2, "code");
    lua_pushstring(L, text);
    lua_setfield(L, -2, "message");
    lua_pushboolean(L, retryable);
    lua_setfield(L, -2, "retryable");
    luaL_newmetatable(L, "moonq.error");
    lua_setmetatable(L, -2);
    return lua_error(L);
}

bool host_allows(struct task *task, const char *kind, struct slice host, int port)
{
    char any[300], exact[300], with_port[300];
    assert_non_null(task);
    snprintf(any, sizeof any, " %s * ", kind);
    snprintf(exact, sizeof exact, " %s %.*s ", kind, SLICE_ARG(host));
    snprintf(with_port, sizeof with_port, " %s %.*s:%d ", kind, SLICE_ARG(host), port);
    return strstr(allow_text, any) || strstr(allow_text, exact) || strstr(allow_text, with_port);
}

/* ---- tasks ---- */

static void task_over(struct task *task)
{
    task->over = true;
    luaL_unref(main_state, LUA_REGISTRYINDEX, task->ref);
}

/* Its results stay on its stack; a failure of the test itself is printed by the Lua side's xpcall. */
static void task_resume(struct task *task)
{
    current = task;
    int code = lua_resume(task->L,
                          lua_gettop(task->L) > 1 && lua_status(task->L) == 0 ? lua_gettop(task->L) - 1 : 0);
    current = NULL;
    if (code == LUA_YIELD) {
        lua_settop(task->L, 0);
        return;
    }
    if (code != 0)
        fail_msg("a task failed: %s", lua_tostring(task->L, -1));
    task_over(task);
}

static struct task *tasks[20000];
static int task_count;

/* t.go(fn): another task. */
static int t_go(lua_State *L)
{
    struct task *task = mq_calloc(1, sizeof *task);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    assert_true(task_count < (int)(sizeof tasks / sizeof *tasks));
    tasks[task_count++] = task;
    task->L = lua_newthread(L);
    task->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, 1);
    lua_xmove(L, task->L, 1);
    ready(task);
    lua_pushlightuserdata(L, task);
    return 1;
}

static int t_is_over(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    lua_pushboolean(L, task->over);
    return 1;
}

/* t.cancel(task): as the runtime ends a task that waits. */
static int t_cancel(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    if (task->parked) {
        task->parked = false;
        task->abandon(task->owner);
        task_over(task);
    }
    return 0;
}

static void on_sleep_over(struct ev_loop *l, ev_timer *timer, int events)
{
    (void)l, (void)events;
    host_wake(timer->data, 0);
}

static void sleep_abandon(void *owner)
{
    ev_timer_stop(loop, owner);
}

static int t_sleep(lua_State *L)
{
    double after = luaL_checknumber(L, 1);
    struct task *task = current;
    int parked = host_park(L, &task->timer, sleep_abandon);
    ev_now_update(loop);
    ev_timer_init(&task->timer, on_sleep_over, after, 0);
    task->timer.data = task;
    ev_timer_start(loop, &task->timer);
    return parked;
}

static int t_allow(lua_State *L)
{
    snprintf(allow_text, sizeof allow_text, " %s ", luaL_checkstring(L, 1));
    return 0;
}

static int t_lookups(lua_State *L)
{
    lua_pushinteger(L, lookups);
    lua_pushinteger(L, slow_lookups_over);
    return 2;
}

static int t_clock(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
    return 1;
}

static int t_cpu(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
    return 1;
}

/* ---- servers ---- */

struct server {
    pid_t pid;
    int in; /* closing it ends the server */
} servers[64];
static int server_count;

static int spawn(lua_State *L, int in, int out)
{
    char *argv[32];
    int argc = 0;
    posix_spawn_file_actions_t actions;
    pid_t pid;
    for (int n = (int)lua_objlen(L, 1); argc < n && argc < 31; argc++) {
        lua_rawgeti(L, 1, argc + 1);
        argv[argc] = (char *)luaL_checkstring(L, -1);
    }
    argv[argc] = NULL;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    if (out >= 0)
        posix_spawn_file_actions_adddup2(&actions, out, 1);
    int code = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (code)
        fail_msg("cannot start %s: %s", argv[0], strerror(code));
    return pid;
}

/* t.spawn{ "python3", ... }: the port that it prints. It ends with the test. */
static int t_spawn(lua_State *L)
{
    int in[2], out[2];
    char line[64] = "";
    size_t have = 0;
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct server *server = &servers[server_count++];
    server->pid = spawn(L, in[0], out[1]);
    server->in = in[1];
    close(in[0]);
    close(out[1]);
    struct pollfd ready = {out[0], POLLIN, 0};
    while (!strchr(line, '\n') && poll(&ready, 1, 20000) == 1) {
        ssize_t got = read(out[0], line + have, sizeof line - 1 - have);
        if (got <= 0)
            break;
        have += (size_t)got;
        line[have] = 0;
    }
    close(out[0]);
    int port = 0;
    if (sscanf(line, "PORT %d", &port) != 1)
        return luaL_error(L, "a server did not say its port");
    lua_pushinteger(L, port);
    return 1;
}

/* t.start{ "nginx", ... }: in the foreground; ends with the test. */
static int t_start(lua_State *L)
{
    struct server *server = &servers[server_count++];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    server->in = -1;
    server->pid = spawn(L, null, -1);
    close(null);
    return 0;
}

static int t_try_connect(lua_State *L)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)luaL_checkint(L, 1))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    lua_pushboolean(L, connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    close(fd);
    return 1;
}

/* A port that nobody listens on. */
static int t_free_port(lua_State *L)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    close(fd);
    lua_pushinteger(L, ntohs(address.sin_port));
    return 1;
}

static char folders[64][32];
static int folder_count;

/* t.folder(): a folder that is gone after the test. */
static int t_folder(lua_State *L)
{
    char *path = folders[folder_count++];
    strcpy(path, "/tmp/moonq-net-XXXXXX");
    assert_non_null(mkdtemp(path));
    lua_pushstring(L, path);
    return 1;
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about, (void)kind, (void)where;
    return remove(path);
}

static void remove_folders(void)
{
    while (folder_count)
        nftw(folders[--folder_count], remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void stop_servers(void)
{
    for (int i = 0; i < server_count; i++) {
        if (servers[i].in >= 0)
            close(servers[i].in);
        kill(servers[i].pid, servers[i].in >= 0 ? SIGKILL : SIGTERM);
        waitpid(servers[i].pid, NULL, 0);
    }
    server_count = 0;
}

/* ---- the state ---- */

static const luaL_Reg tools[] = {
    {"go", t_go},
    {"is_over", t_is_over},
    {"cancel", t_cancel},
    {"sleep", t_sleep},
    {"allow", t_allow},
    {"lookups", t_lookups},
    {"clock", t_clock},
    {"cpu", t_cpu},
    {"spawn", t_spawn},
    {"start", t_start},
    {"try_connect", t_try_connect},
    {"free_port", t_free_port},
    {"folder", t_folder},
    {NULL, NULL},
};

static void open_state(void)
{
    lua_State *L = main_state = luaL_newstate();
    luaL_openlibs(L);
    lua_newtable(L);
    for (const struct host_call *call = net_calls; call->name; call++) {
        char name[64];
        snprintf(name, sizeof name, "%s", call->name);
        *strchr(name, '.') = '_';
        lua_pushcfunction(L, call->run);
        lua_setfield(L, -2, name);
    }
    luaL_newmetatable(L, "moonq.error");
    lua_setfield(L, -2, "error_meta");
    lua_setglobal(L, "_host");
    lua_newtable(L);
    luaL_register(L, NULL, tools);
    lua_setglobal(L, "t");
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_cjson);
    lua_setfield(L, -2, "moonq.json");
    lua_pushliteral(L, "stdlib/?.lua;tests/unit/runtime/?.lua");
    lua_setfield(L, -3, "path");
    lua_settop(L, 0);
}

/* The file is the first task. All tasks must come to an end. */
static void run_file(const char *path)
{
    loop = ev_default_loop(0);
    open_state();
    if (luaL_loadfile(main_state, path) != 0)
        fail_msg("%s", lua_tostring(main_state, -1));
    t_go(main_state);
    lua_settop(main_state, 0);
    for (;;) {
        while (queue_head) {
            struct task *task = queue_head;
            queue_head = task->next;
            if (!queue_head)
                queue_tail = &queue_head;
            task_resume(task);
        }
        bool all_over = true;
        for (int i = 0; i < task_count; i++)
            all_over = all_over && tasks[i]->over;
        if (all_over)
            break;
        ev_run(loop, EVRUN_ONCE);
    }
    lua_getglobal(main_state, "failures");
    int failures = (int)lua_tointeger(main_state, -1);
    lua_close(main_state);
    net_stop();
    stop_servers();
    remove_folders();
    for (int i = 0; i < task_count; i++)
        free(tasks[i]);
    task_count = 0;
    assert_int_equal(ev_pending_count(loop), 0);
    assert_int_equal(failures, 0);
}

static void http(void **state)
{
    (void)state;
    run_file("tests/unit/runtime/net_http.lua");
}

static void mail(void **state)
{
    (void)state;
    run_file("tests/unit/runtime/net_mail.lua");
}

static void smtp(void **state)
{
    (void)state;
    run_file("tests/unit/runtime/net_smtp.lua");
}

int main(void)
{
    const struct CMUnitTest units[] = {cmocka_unit_test(http), cmocka_unit_test(mail),
                                       cmocka_unit_test(smtp)};
    net_prepare();
    return cmocka_run_group_tests(units, NULL, NULL);
}
