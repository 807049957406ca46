#include <luajit.h>
#include <signal.h>

#include "runtime/inside.h"
#include "runtime/task.h"

/*
 * SIGUSR1 says: there is mail about the job on the CPU. The signal's handler may only set a hook (as luajit's own
 * interpreter does for Ctrl-C); the hook runs as ordinary code at the next instruction, reads what has come on
 * the socket, and raises the stop that it finds there. A signal that comes late, when another job has the CPU,
 * finds no mail for that one and does nothing.
 *
 * Once a stop is raised the hook stays, at every instruction, until the coroutine is off the CPU: a pcall that
 * swallows the error gets the next one before its result is looked at. Compiled code and C functions notice
 * nothing; for these the server has SIGKILL.
 *
 * The same hook raises the error of compiled code that has run out of memory (meter.h).
 */

#define LOOK_EVERY 10000 /* instructions, while there is nothing to raise yet */

static volatile sig_atomic_t hooked;
static bool short_of_memory;
static bool bounded;
static mono_ms bounded_until;

/* A cancelled job on the CPU may look at job:cancelled() for most of its grace before it is told by an error. */
static bool stop_is_due(const struct task *task)
{
    if (task->stop == STOP_CANCEL)
        return clock_mono() - task->stop_at >= rt.setup.cancel_grace_ms / 4 * 3;
    return task->stop != STOP_NOT;
}

static void on_hook(lua_State *L, lua_Debug *at)
{
    struct task *task = rt.current;
    (void)at;
    if (bounded && clock_mono() >= bounded_until) {
        lua_sethook(L, on_hook, LUA_MASKCOUNT, 1); /* who swallows it gets the next one at once */
        luaL_where(L, 0); /* in a hook, level 0 is the function that was interrupted */
        lua_pushliteral(L, "it took too long");
        lua_concat(L, 2);
        lua_error(L);
    }
    if (!task || !hooked)
        return;
    if (short_of_memory) {
        short_of_memory = false;
        lua_pushliteral(L, "not enough memory");
        lua_error(L);
    }
    if (!stop_is_due(task))
        task_look_for_stop(task);
    if (!stop_is_due(task)) {
        lua_sethook(L, on_hook, LUA_MASKCOUNT, LOOK_EVERY);
        return;
    }
    lua_sethook(L, on_hook, LUA_MASKCOUNT, 1);
    task->stop_raised = true;
    host_push_stop(L, task);
    lua_error(L);
}

static void on_signal(int number)
{
    (void)number;
    hooked = 1;
    if (rt.L)
        lua_sethook(rt.L, on_hook, LUA_MASKCOUNT, 1);
}

static void on_short_of_memory(void)
{
    short_of_memory = true;
    hooked = 1;
    lua_sethook(rt.L, on_hook, LUA_MASKCOUNT, 1);
}

void interrupt_install(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    rt.meter.short_of_memory = on_short_of_memory;
    rt.meter.exhausted = worker_exhausted;
}

void interrupt_clear(void)
{
    if (!hooked)
        return;
    hooked = 0;
    short_of_memory = false;
    lua_sethook(rt.L, NULL, 0, 0);
}

int interrupt_bounded_call(lua_State *L, int args, int results, int64_t budget_ms)
{
    bounded = true;
    bounded_until = clock_mono() + budget_ms;
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_sethook(L, on_hook, LUA_MASKCOUNT, LOOK_EVERY);
    int status = lua_pcall(L, args, results, 0);
    bounded = false;
    hooked = 0;
    lua_sethook(L, NULL, 0, 0);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
    return status;
}
