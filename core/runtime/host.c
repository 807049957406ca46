#include "runtime/host.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "runtime/inside.h"
#include "runtime/sandbox.h"

struct ev_loop *host_loop(void)
{
    return rt.loop;
}

struct task *host_current(lua_State *L)
{
    (void)L;
    return rt.current;
}

int host_raise(lua_State *L, const char *code, bool retryable, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    sandbox_push_error(L, code, retryable, message);
    return lua_error(L);
}

void host_push_place(lua_State *L)
{
    lua_Debug at;
    for (int level = 1; lua_getstack(L, level, &at); level++) {
        lua_getinfo(L, "Sl", &at);
        if (at.currentline > 0 && strncmp(at.source, "@moonq/", 7) != 0) {
            lua_pushfstring(L, "%s:%d: ", at.short_src, at.currentline);
            return;
        }
    }
    lua_pushliteral(L, "");
}

int host_misuse(lua_State *L, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    host_push_place(L);
    lua_pushstring(L, message);
    lua_concat(L, 2);
    return lua_error(L);
}

static void drop_park(struct task *task)
{
    if (!task->parked)
        return;
    task->parked = false;
    if (task->park_abandon)
        task->park_abandon(task->park_owner);
    task->park_abandon = NULL;
}

/* What a stopped task is told by an error, in the call that would wait. */
void host_push_stop(lua_State *L, const struct task *task)
{
    if (task->stop == STOP_TIMEOUT || task->stop == STOP_TIMEOUT_NOW)
        sandbox_push_error(L, "TIMEOUT", true, "the job's time is up (timeout)");
    else
        sandbox_push_error(L, "CANCELLED", false, "the job was cancelled");
}

int host_park(lua_State *L, void *owner, void (*abandon)(void *owner))
{
    struct task *task = rt.current;
    const char *why = !task ? "only a running handler may wait"
                      : !lua_isyieldable(L)
                          ? "cannot wait here: Lua's own C functions (table.sort, string.gsub, "
                            "a metamethod of theirs) call this function"
                          : NULL;
    bool told = task && task->stop && (task->stop != STOP_CANCEL || !task->stop_raised);
    if (why || (told && !task->stop_raised)) {
        if (abandon)
            abandon(owner);
        if (why)
            return host_raise(L, "BADARG", false, "%s", why);
        task->stop_raised = true;
        host_push_stop(L, task);
        return lua_error(L);
    }
    drop_park(task); /* of a coroutine that could not hand its waiting on */
    task->parked = true;
    task->park_owner = owner;
    task->park_abandon = abandon;
    task->ended = told;
    lua_pushlightuserdata(L, &sandbox_wait_mark);
    return lua_yield(L, 1);
}

void host_abandon(struct task *task)
{
    drop_park(task);
}

void host_forget(struct task *task, const void *owner)
{
    if (!task->parked || task->park_owner != owner)
        return;
    task->parked = false;
    task->park_abandon = NULL;
}

lua_State *host_state(struct task *task)
{
    return task->L;
}

void host_wake(struct task *task, int count)
{
    task->parked = false;
    task->park_abandon = NULL;
    task_wake(task, count);
}

void host_wake_error(struct task *task, const char *code, const char *message, bool retryable)
{
    lua_pushlightuserdata(task->L, &sandbox_raise_mark);
    sandbox_push_error(task->L, code, retryable, message);
    host_wake(task, 2);
}

void host_run_woken(void)
{
    if (rt.woken)
        worker_pump(rt.woken);
}

/* "*": any; "*.example.org": any host below it; otherwise the host itself. */
static bool host_matches(const char *pattern, struct slice host)
{
    size_t len = strlen(pattern);
    if (strcmp(pattern, "*") == 0)
        return true;
    if (pattern[0] == '*')
        return host.len > len - 1 && strncasecmp(host.at + host.len - (len - 1), pattern + 1, len - 1) == 0;
    return host.len == len && strncasecmp(host.at, pattern, len) == 0;
}

bool host_allows(struct task *task, const char *kind, struct slice host, int port)
{
    const struct handler *handler = task ? task->handler : NULL;
    if (host.len > 2 && host.at[0] == '[' && host.at[host.len - 1] == ']')
        host = (struct slice){host.at + 1, host.len - 2};
    for (unsigned i = 0; handler && i < handler->host_count; i++) {
        const struct allowed_host *row = &handler->hosts[i];
        if (strcmp(row->kind, kind) == 0 && (row->port == 0 || row->port == port) &&
            host_matches(row->host, host))
            return true;
    }
    return false;
}
