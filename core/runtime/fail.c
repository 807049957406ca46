#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "runtime/inside.h"
#include "runtime/json.h"
#include "runtime/sandbox.h"
#include "runtime/task.h"
#include "runtime/trace.h"
#include "store/store.h"

#define MESSAGE_MAX_BYTES   4096
#define TRACEBACK_MAX_BYTES 8192
#define POLICY_BUDGET_MS    200 /* of interpreted Lua; a policy is arithmetic */
#define STARVED_AGAIN_MS    1000

/* What an error says, read without calling any of the script's own code. */
struct complaint {
    struct slice code, message, verdict;
    bool final; /* retryable = false */
    bool has_delay;
    int64_t delay_ms;
};

static struct slice raw_text(lua_State *L, int table, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, table);
    struct slice text = value_text(L, -1);
    lua_pop(L, 1); /* the table keeps it alive */
    return text;
}

/* A table without a message is shown as JSON. */
static void read_table(struct complaint *out, lua_State *L, int table, struct buf *text)
{
    struct mq_err err;
    out->code = slice_cut(raw_text(L, table, "code"), 64);
    out->message = raw_text(L, table, "message");
    out->verdict = raw_text(L, table, "verdict");
    lua_pushliteral(L, "retryable");
    lua_rawget(L, table);
    out->final = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
    lua_pop(L, 1);
    lua_pushliteral(L, "delay");
    lua_rawget(L, table);
    out->has_delay = !lua_isnil(L, -1) && value_duration(L, -1, &out->delay_ms, &err);
    lua_pop(L, 1);
    if (out->message.len == 0) {
        size_t begun = buf_len(text);
        if (json_write(text, L, table, MESSAGE_MAX_BYTES, &err) != MQ_OK) {
            buf_cut(text, begun);
            buf_printf(text, "(an error table without a message)");
        }
        out->message = (struct slice){buf_bytes(text).at + begun, buf_len(text) - begun};
    }
}

static void read_error(struct complaint *out, lua_State *L, struct buf *text)
{
    static struct buf plain; /* what the message points into, until the next call */
    int at = lua_gettop(L);
    *out = (struct complaint){.code = SLICE_EMPTY, .message = SLICE_EMPTY, .verdict = SLICE_EMPTY};
    if (lua_istable(L, at)) {
        read_table(out, L, at, text);
    } else if (lua_type(L, at) == LUA_TSTRING) {
        out->message = value_text(L, at);
    } else {
        buf_printf(text, "(the error is a %s value)", luaL_typename(L, at));
        out->message = buf_bytes(text);
    }
    if (out->code.len == 0)
        out->code = SLICE("SCRIPT");
    buf_clear(&plain);
    trace_add(&plain, slice_cut(out->message, MESSAGE_MAX_BYTES));
    out->message = slice_cut(buf_bytes(&plain), MESSAGE_MAX_BYTES);
}

/* ---- the retry policy ---- */

static void set_text(lua_State *L, const char *name, struct slice text)
{
    lua_pushlstring(L, text.at, text.len);
    lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double number)
{
    lua_pushnumber(L, number);
    lua_setfield(L, -2, name);
}

/* What a policy may know of the job: plain values, so that a spec can write them down. */
static void push_policy_job(lua_State *L, const struct task *task)
{
    char id[JOB_ID_TEXT_BYTES];
    lua_createtable(L, 0, 8);
    set_text(L, "id", slice_of(id_format(id, task->id)));
    set_text(L, "type", task->spec.type);
    set_text(L, "queue", task->spec.queue);
    set_number(L, "attempt", task->attempt);
    set_number(L, "max_attempts", task->spec.max_attempts);
    set_number(L, "crashes", task->crashes);
    set_number(L, "pushed_at", (double)task->spec.pushed_at / 1000);
    set_number(L, "chance", host_chance());
}

struct policy_call {
    struct task *task;
    struct complaint *complaint;
    lua_State *from; /* the error is at its top */
};

/* Leaves function, job, err, options on the stack. Runs protected. */
static int prepare_policy(lua_State *L)
{
    struct policy_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->task->handler->policy_ref);
    push_policy_job(L, call->task);
    if (lua_istable(call->from, -1)) {
        lua_pushvalue(call->from, -1);
        lua_xmove(call->from, L, 1);
    } else {
        char message[MESSAGE_MAX_BYTES + 1];
        snprintf(message, sizeof message, "%.*s", SLICE_ARG(call->complaint->message));
        sandbox_push_error(L, "SCRIPT", true, message);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->task->handler->options_ref);
    return 4;
}

/* seconds | "30s" | "dead" | "discard", at the top of the stack. */
static bool read_answer(lua_State *L, struct frame_failed *out, struct mq_err *err)
{
    struct slice word = value_text(L, -1);
    if (slice_equal(word, SLICE("dead")))
        out->verdict = FAIL_DEAD;
    else if (slice_equal(word, SLICE("discard")))
        out->verdict = FAIL_DISCARD;
    else
        return value_duration(L, -1, &out->delay_ms, err);
    return true;
}

/* A policy that fails must not lose the job: the server's own backoff stands in, with a warning. */
static void ask_policy(struct task *task, struct complaint *complaint, lua_State *from,
                       struct frame_failed *out)
{
    struct policy_call call = {task, complaint, from};
    struct mq_err err;
    lua_State *L = rt.L;
    int top = lua_gettop(L);
    const char *why = NULL;
    lua_pushcfunction(L, prepare_policy);
    lua_pushlightuserdata(L, &call);
    meter_enter(&rt.meter, 0);
    bool failed = lua_pcall(L, 1, 4, 0) != 0 || interrupt_bounded_call(L, 3, 1, POLICY_BUDGET_MS) != 0;
    meter_leave(&rt.meter);
    if (failed)
        why = lua_isstring(L, -1) ? lua_tostring(L, -1) : "it raised an error";
    else if (!read_answer(L, out, &err))
        why = err.text;
    if (why) {
        out->verdict = FAIL_RETRY;
        out->delay_ms = -1;
        worker_log(LOG_WARN, "the retry policy of '%s' failed (%.300s); the default backoff is used",
                   task->handler->type, why);
    }
    lua_settop(L, top);
}

/* ---- the verdict ---- */

/*
 * It met the worker's memory limit while holding and asking for little itself: a neighbour's fault, so it runs again
 * uncharged.
 */
static bool starved(const struct task *task, const struct complaint *c)
{
    return task->refused && slice_equal(c->message, SLICE("not enough memory")) &&
           task->booked < (int64_t)(rt.meter.limit / 4) &&
           task->wanted < rt.meter.limit / 4 - (size_t)task->booked;
}

static void decide(struct task *task, struct complaint *c, lua_State *L, struct frame_failed *out)
{
    out->verdict = FAIL_RETRY;
    out->delay_ms = c->has_delay ? c->delay_ms : -1;
    if (task->stop && task->stop != STOP_TIMEOUT && slice_equal(c->code, SLICE("CANCELLED"))) {
        out->verdict = FAIL_CANCELLED;
    } else if (slice_equal(c->verdict, SLICE("snooze"))) {
        out->verdict = FAIL_SNOOZE;
    } else if (slice_equal(c->verdict, SLICE("discard"))) {
        out->verdict = FAIL_DISCARD;
    } else if (starved(task, c)) {
        out->verdict = FAIL_SNOOZE;
        out->delay_ms = STARVED_AGAIN_MS;
    } else if (c->final || task->attempt >= task->spec.max_attempts) {
        out->verdict = FAIL_DEAD;
    } else if (!c->has_delay && task->handler && task->handler->policy_ref != LUA_NOREF) {
        ask_policy(task, c, L, out);
    }
}

/* ---- the traceback ---- */

static struct buf trace; /* of the error that was raised last and reached the top */

int fail_on_error(lua_State *L)
{
    bool in_job = rt.meter.in_job;
    rt.meter.in_job = false; /* an error for lack of memory must be told, too */
    luaL_traceback(L, L, NULL, 1);
    buf_clear(&trace);
    trace_add(&trace, slice_cut(value_text(L, -1), TRACEBACK_MAX_BYTES));
    buf_cut(&trace, trace_trim(buf_bytes(&trace)).len);
    rt.meter.in_job = in_job;
    lua_pop(L, 1);
    return 1;
}

void fail_describe(struct task *task, lua_State *L, bool with_traceback, struct frame_failed *out)
{
    static struct buf message; /* what the answer points into, until the next call */
    struct complaint complaint;
    buf_clear(&message);
    if (!with_traceback)
        buf_clear(&trace);
    read_error(&complaint, L, &message);
    decide(task, &complaint, L, out);
    out->code = complaint.code;
    out->message = complaint.message;
    out->traceback = buf_bytes(&trace);
}

void fail_forget(void)
{
    buf_clear(&trace);
}
