#include "runtime/posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <lauxlib.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WATCH    "moonq.posix.watch"
#define ARGS_MAX 256

static int fail_with(lua_State *L, const char *what, int reason)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", what, strerror(reason));
    return 2;
}

static double clock_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int poll_ms(double deadline)
{
    double left = ceil((deadline - clock_s(CLOCK_MONOTONIC)) * 1000);
    return left <= 0 ? 0 : left > 3600e3 ? 3600000 : (int)left;
}

static double deadline_of(lua_State *L, int arg)
{
    return clock_s(CLOCK_MONOTONIC) + luaL_optnumber(L, arg, 1e9);
}

/* ---- interrupts ---- */

static volatile sig_atomic_t was_interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    was_interrupted = 1;
}

static int posix_catch_interrupt(lua_State *L)
{
    struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: waiting ends */
    (void)L;
    sigaction(SIGINT, &action, NULL);
    return 0;
}

static int posix_interrupted(lua_State *L)
{
    lua_pushboolean(L, was_interrupted);
    was_interrupted = 0;
    return 1;
}

/* ---- processes ---- */

struct spawn {
    char *argv[ARGS_MAX + 1];
    char **env; /* in the Lua state's memory */
    const char *cwd, *files[3];
    pid_t parent;
    int failure; /* pipe: errno of what did not work */
};

/* An optional text field of the table at `index`; lives as long as the table. */
static const char *text_field(lua_State *L, int index, const char *name)
{
    lua_getfield(L, index, name);
    const char *text = lua_isnil(L, -1) ? NULL : luaL_checkstring(L, -1);
    lua_pop(L, 1);
    return text;
}

static bool is_named(const char *entry, const char *name)
{
    size_t len = strlen(name);
    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

/* Our environment with the changes of the table at `changes`; leaves what keeps it alive on the stack. */
static char **collect_env(lua_State *L, int changes)
{
    size_t count = 0;
    for (char **e = environ; *e; e++)
        count++;
    lua_pushnil(L);
    while (lua_next(L, changes)) {
        count++;
        lua_pop(L, 1);
    }
    char **env = lua_newuserdata(L, (count + 1) * sizeof *env);
    lua_newtable(L);
    int texts = lua_gettop(L);
    memset(env, 0, (count + 1) * sizeof *env);
    size_t used = 0;
    for (char **e = environ; *e; e++) {
        bool replaced = false;
        lua_pushnil(L);
        while (lua_next(L, changes)) {
            replaced |= lua_type(L, -2) == LUA_TSTRING && is_named(*e, lua_tostring(L, -2));
            lua_pop(L, 1);
        }
        if (!replaced)
            env[used++] = *e;
    }
    lua_pushnil(L);
    while (lua_next(L, changes)) {
        if (lua_type(L, -1) == LUA_TSTRING && lua_type(L, -2) == LUA_TSTRING) {
            env[used++] = (char *)lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
            lua_rawseti(L, texts, (int)lua_objlen(L, texts) + 1);
        }
        lua_pop(L, 1);
    }
    return env;
}

/* Between fork and exec: only calls that are safe there. */
_Noreturn static void become(const struct spawn *s)
{
    static const int flags[3] = {O_RDONLY, O_WRONLY | O_CREAT | O_APPEND, O_WRONLY | O_CREAT | O_APPEND};
    sigset_t none;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != s->parent)
        _exit(127);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    for (int fd = 0; fd < 3; fd++) {
        const char *path = s->files[fd];
        if (!path)
            continue;
        int file = open(path, flags[fd], 0666);
        if (file < 0 || dup2(file, fd) < 0)
            goto failed;
        if (file > 2)
            close(file);
    }
    if (s->cwd && chdir(s->cwd) != 0)
        goto failed;
    environ = s->env;
    execvp(s->argv[0], s->argv); /* NOLINT: posix_spawn_table has seen that there is a program */
failed:;
    int reason = errno;
    ssize_t told = write(s->failure, &reason, sizeof reason);
    (void)told;
    _exit(127);
}

static int posix_spawn_table(lua_State *L)
{
    struct spawn s = {.parent = getpid()};
    int ends[2], reason = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t argc = lua_objlen(L, 1);
    luaL_argcheck(L, argc > 0 && argc <= ARGS_MAX, 1, "a program and at most 255 arguments");
    lua_createtable(L, (int)argc, 0); /* keeps the texts of numbers alive */
    for (size_t i = 0; i < argc; i++) {
        lua_rawgeti(L, 1, (int)i + 1);
        s.argv[i] = (char *)luaL_checkstring(L, -1);
        lua_rawseti(L, 2, (int)i + 1);
    }
    s.cwd = text_field(L, 1, "cwd");
    s.files[0] = text_field(L, 1, "stdin");
    s.files[1] = text_field(L, 1, "stdout");
    s.files[2] = text_field(L, 1, "stderr");
    if (!s.files[0])
        s.files[0] = "/dev/null";
    lua_getfield(L, 1, "env");
    if (!lua_istable(L, -1))
        lua_newtable(L);
    s.env = collect_env(L, lua_gettop(L));
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail_with(L, s.argv[0], errno);
    s.failure = ends[1];
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become(&s);
    close(ends[1]);
    if (pid < 0)
        reason = errno;
    else if (read(ends[0], &reason, sizeof reason) == (ssize_t)sizeof reason)
        waitpid(pid, NULL, 0); /* it could not even begin */
    close(ends[0]);
    if (reason)
        return fail_with(L, s.argv[0], reason);
    lua_pushinteger(L, pid);
    return 1;
}

static int posix_kill(lua_State *L)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"TERM", SIGTERM}, {"KILL", SIGKILL}, {"INT", SIGINT},   {"HUP", SIGHUP},
                 {"STOP", SIGSTOP}, {"CONT", SIGCONT}, {"SEGV", SIGSEGV}, {"USR1", SIGUSR1},
                 {"USR2", SIGUSR2}, {"ABRT", SIGABRT}};
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    int number = 0;
    luaL_argcheck(L, pid > 0, 1, "a process, not a group");
    if (lua_type(L, 2) == LUA_TNUMBER)
        number = (int)lua_tointeger(L, 2);
    else
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (strcmp(luaL_checkstring(L, 2), names[i].name) == 0)
                number = names[i].number;
    luaL_argcheck(L, number > 0 || lua_type(L, 2) == LUA_TNUMBER, 2, "no such signal");
    if (kill(pid, number) != 0)
        return fail_with(L, "kill", errno);
    lua_pushboolean(L, 1);
    return 1;
}

/* A descriptor that becomes readable when the process ends; -1 where the kernel has none. */
static int process_fd(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    (void)pid;
    return -1;
#endif
}

static int push_status(lua_State *L, int status)
{
    lua_pushstring(L, WIFSIGNALED(status) ? "signal" : "exit");
    lua_pushinteger(L, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return 2;
}

static int posix_wait(lua_State *L)
{
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    double deadline = deadline_of(L, 2);
    int fd = process_fd(pid), status;
    for (;;) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        int reason = errno;
        int left = poll_ms(deadline);
        if (ended != 0 || left == 0) {
            if (fd >= 0)
                close(fd);
            if (ended == 0)
                lua_pushnil(L);
            return ended == 0 ? 1 : ended < 0 ? fail_with(L, "wait", reason) : push_status(L, status);
        }
        struct pollfd p = {.fd = fd, .events = POLLIN};
        /* Without a process descriptor (before Linux 5.3) it looks every 10 ms. */
        if (poll(&p, fd >= 0 ? 1 : 0, fd >= 0 || left < 10 ? left : 10) < 0 && was_interrupted)
            deadline = 0;
    }
}

static int posix_ended(lua_State *L)
{
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    double deadline = deadline_of(L, 2);
    int fd = process_fd(pid), left;
    bool ended = false;
    luaL_argcheck(L, pid > 0, 1, "a process, not a group");
    while (!(ended = kill(pid, 0) != 0 && errno == ESRCH) && !was_interrupted &&
           (left = poll_ms(deadline)) > 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, fd >= 0 ? 1 : 0, fd >= 0 || left < 10 ? left : 10) > 0) {
            ended = true; /* maybe not yet waited for by its parent */
            break;
        }
    }
    if (fd >= 0)
        close(fd);
    lua_pushboolean(L, ended);
    return 1;
}

/* ---- watching a file grow ---- */

static int posix_watch(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    int *fd = lua_newuserdata(L, sizeof *fd);
    *fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    luaL_getmetatable(L, WATCH);
    lua_setmetatable(L, -2);
    if (*fd < 0 ||
        inotify_add_watch(*fd, path, IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_CLOSE_WRITE) < 0)
        return fail_with(L, path, errno);
    return 1;
}

static int watch_wait(lua_State *L)
{
    int *fd = luaL_checkudata(L, 1, WATCH);
    double deadline = deadline_of(L, 2);
    pid_t pid = (pid_t)luaL_optinteger(L, 3, 0);
    struct pollfd p[2] = {{.fd = *fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    char news[4096];
    if (*fd < 0)
        return luaL_error(L, "the watch is closed");
    if (pid > 0)
        p[1].fd = process_fd(pid);
    int ready = poll(p, 2, poll_ms(deadline));
    if (p[1].fd >= 0)
        close(p[1].fd);
    if (ready > 0 && (p[0].revents & POLLIN)) {
        while (read(*fd, news, sizeof news) > 0)
            ;
        lua_pushliteral(L, "changed");
    } else if (ready > 0 || (pid > 0 && kill(pid, 0) != 0)) {
        lua_pushliteral(L, "ended");
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int watch_close(lua_State *L)
{
    int *fd = luaL_checkudata(L, 1, WATCH);
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return 0;
}

/* ---- files and folders ---- */

static int posix_mkdir(lua_State *L)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s", luaL_checkstring(L, 1)) >= (int)sizeof path)
        return fail_with(L, lua_tostring(L, 1), ENAMETOOLONG);
    if (!*path)
        return fail_with(L, path, ENOENT);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return fail_with(L, path, errno);
        *slash = '/';
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return fail_with(L, path, errno);
    lua_pushboolean(L, 1);
    return 1;
}

static int posix_mkdtemp(lua_State *L)
{
    const char *folder = getenv("TMPDIR");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.XXXXXX", folder && *folder ? folder : "/tmp",
             luaL_optstring(L, 1, "moonq"));
    if (!mkdtemp(path))
        return fail_with(L, path, errno);
    lua_pushstring(L, path);
    return 1;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path) != 0 && errno != ENOENT;
}

static int posix_remove_tree(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return fail_with(L, path, errno);
    lua_pushboolean(L, 1);
    return 1;
}

static int posix_list(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        return fail_with(L, path, errno);
    lua_createtable(L, count, 0);
    for (int i = 0, n = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            lua_pushstring(L, name);
            lua_rawseti(L, -2, ++n);
        }
        free(entries[i]);
    }
    free(entries);
    return 1;
}

static int posix_stat(lua_State *L)
{
    struct stat info;
    if (stat(luaL_checkstring(L, 1), &info) != 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushstring(L, S_ISREG(info.st_mode)    ? "file"
                      : S_ISDIR(info.st_mode)  ? "folder"
                      : S_ISSOCK(info.st_mode) ? "socket"
                                               : "other");
    lua_pushnumber(L, (lua_Number)info.st_size);
    return 2;
}

static int posix_realpath(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char real[PATH_MAX];
    if (!realpath(path, real))
        return fail_with(L, path, errno);
    lua_pushstring(L, real);
    return 1;
}

static int posix_cwd(lua_State *L)
{
    char path[PATH_MAX];
    if (!getcwd(path, sizeof path))
        return fail_with(L, "current folder", errno);
    lua_pushstring(L, path);
    return 1;
}

/* ---- this process and its terminal ---- */

static int posix_pid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

static int posix_now(lua_State *L)
{
    lua_pushnumber(L, clock_s(CLOCK_REALTIME));
    return 1;
}

static int posix_monotonic(lua_State *L)
{
    lua_pushnumber(L, clock_s(CLOCK_MONOTONIC));
    return 1;
}

static int posix_is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

static int posix_columns(lua_State *L)
{
    struct winsize size;
    lua_pushinteger(L, ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 100);
    return 1;
}

static void set_functions(lua_State *L, const luaL_Reg *functions)
{
    for (; functions->name; functions++) {
        lua_pushcfunction(L, functions->func);
        lua_setfield(L, -2, functions->name);
    }
}

int luaopen_moonq_posix(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"spawn", posix_spawn_table},
        {"kill", posix_kill},
        {"wait", posix_wait},
        {"ended", posix_ended},
        {"watch", posix_watch},
        {"mkdir", posix_mkdir},
        {"mkdtemp", posix_mkdtemp},
        {"remove_tree", posix_remove_tree},
        {"list", posix_list},
        {"stat", posix_stat},
        {"realpath", posix_realpath},
        {"cwd", posix_cwd},
        {"pid", posix_pid},
        {"now", posix_now},
        {"monotonic", posix_monotonic},
        {"is_terminal", posix_is_terminal},
        {"columns", posix_columns},
        {"catch_interrupt", posix_catch_interrupt},
        {"interrupted", posix_interrupted},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"wait", watch_wait}, {"close", watch_close}, {"__gc", watch_close}, {NULL, NULL}};
    luaL_newmetatable(L, WATCH);
    set_functions(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    set_functions(L, functions);
    return 1;
}
