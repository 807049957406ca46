/* The running job as its handler sees it: fields read from the record, and what job.lua's methods call. */
#include <math.h>
#include <stdio.h>

#include "runtime/host_api.h"
#include "runtime/inside.h"
#include "runtime/json.h"
#include "runtime/modules.h"
#include "runtime/registry.h"
#include "runtime/sandbox.h"
#include "runtime/task.h"

#define CHILDREN_MAX_BYTES (32 << 20) /* half of the largest frame */
#define NOTE_MAX_BYTES     500
#define LOOK_EVERY_MS      10
#define LOG_LINES_MAX      10000 /* of one attempt */

/* What Lua holds as `job`. It speaks for one run of one task, and only from inside of it. */
struct job_handle {
    struct task *task;
    uint64_t serial;
};

static char key_meta;

static struct task *check_job(lua_State *L)
{
    struct job_handle *handle = lua_touserdata(L, 1);
    bool ours = false;
    if (handle && lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1)) {
        registry_get(L, &key_meta);
        ours = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    if (!ours)
        host_misuse(L, "a method of job needs the job before it (write job:push(...), with a colon)");
    mq_must(handle); /* host_misuse does not come back; the analyzer cannot see through lua_error */
    if (handle->task != rt.current || handle->serial != rt.current->serial)
        host_misuse(L, "this job has ended: a job can be used only while its own run(job) runs");
    return handle->task;
}

/* ---- fields ---- */

static void push_slice(lua_State *L, struct slice text)
{
    lua_pushlstring(L, text.at, text.len);
}

static void field_id(lua_State *L, struct task *task)
{
    char text[JOB_ID_TEXT_BYTES];
    lua_pushstring(L, id_format(text, task->id));
}

static void field_type(lua_State *L, struct task *task)
{
    push_slice(L, task->spec.type);
}

static void field_queue(lua_State *L, struct task *task)
{
    push_slice(L, task->spec.queue);
}

/* A payload that is not JSON will not be JSON at the next attempt either. */
static void field_args(lua_State *L, struct task *task)
{
    struct mq_err err;
    if (task_push_cached(L, task, TASK_CACHE_ARGS))
        return;
    if (task->spec.payload.len == 0)
        lua_newtable(L);
    else if (json_read(L, task->spec.payload, &err) != MQ_OK)
        host_raise(L, "BADARG", false, "the payload is not JSON: %s", err.text);
    task_cache(L, task, TASK_CACHE_ARGS);
}

static void field_meta(lua_State *L, struct task *task)
{
    struct mq_err err;
    if (task_push_cached(L, task, TASK_CACHE_META))
        return;
    if (task->spec.meta.len == 0 || json_read(L, task->spec.meta, &err) != MQ_OK)
        lua_newtable(L);
    task_cache(L, task, TASK_CACHE_META);
}

static void field_tags(lua_State *L, struct task *task)
{
    struct slice rest = task->spec.tags;
    if (task_push_cached(L, task, TASK_CACHE_TAGS))
        return;
    lua_newtable(L);
    for (int i = 1; rest.len; i++) {
        const char *end = memchr(rest.at, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.at) : rest.len;
        lua_pushlstring(L, rest.at, len);
        lua_rawseti(L, -2, i);
        len += end ? 1 : 0;
        rest.at += len;
        rest.len -= len;
    }
    task_cache(L, task, TASK_CACHE_TAGS);
}

static void field_token(lua_State *L, struct task *task)
{
    char text[32]; /* a string: a Lua number holds only 53 of its 64 bits */
    snprintf(text, sizeof text, "%llu", (unsigned long long)task->token);
    lua_pushstring(L, text);
}

static void field_attempt(lua_State *L, struct task *task)
{
    lua_pushinteger(L, task->attempt);
}

static void field_max_attempts(lua_State *L, struct task *task)
{
    lua_pushinteger(L, task->spec.max_attempts);
}

static void field_crashes(lua_State *L, struct task *task)
{
    lua_pushinteger(L, task->crashes);
}

static void field_priority(lua_State *L, struct task *task)
{
    lua_pushinteger(L, task->spec.priority);
}

static void field_pushed_at(lua_State *L, struct task *task)
{
    lua_pushnumber(L, (double)task->spec.pushed_at / 1000);
}

/* { name, planned_at } of the cron entry that made it; nil for any other job. */
static void field_schedule(lua_State *L, struct task *task)
{
    const struct job_spec *spec = &task->spec;
    if (!spec->schedule.len) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, spec->schedule.at, spec->schedule.len);
    lua_setfield(L, -2, "name");
    lua_pushnumber(L, (double)spec->planned_at / 1000);
    lua_setfield(L, -2, "planned_at");
}

static void field_inputs(lua_State *L, struct task *task)
{
    (void)task;
    lua_newtable(L);
}

static struct job_field {
    const char *name;
    void (*push)(lua_State *L, struct task *task);
} fields[] = {
    {"id", field_id},           {"type", field_type},           {"args", field_args},
    {"queue", field_queue},     {"attempt", field_attempt},     {"max_attempts", field_max_attempts},
    {"crashes", field_crashes}, {"meta", field_meta},           {"token", field_token},
    {"tags", field_tags},       {"pushed_at", field_pushed_at}, {"priority", field_priority},
    {"inputs", field_inputs},   {"schedule", field_schedule},
};

/* job[key]: a method of job.lua, or a field. Upvalue 1: by name, the method, or the address of the field's row. */
static int job_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_type(L, -1) != LUA_TLIGHTUSERDATA)
        return 1;
    const struct job_field *field = lua_touserdata(L, -1);
    field->push(L, check_job(L));
    return 1;
}

static int job_newindex(lua_State *L)
{
    return host_misuse(L, "a job is read-only (job.%s cannot be set)",
                       lua_isstring(L, 2) ? lua_tostring(L, 2) : "?");
}

static int job_tostring(lua_State *L)
{
    struct task *task = check_job(L);
    char id[JOB_ID_TEXT_BYTES];
    lua_pushfstring(L, "job %s (", id_format(id, task->id));
    push_slice(L, task->spec.type);
    lua_pushliteral(L, ")");
    lua_concat(L, 3);
    return 1;
}

/* Upvalue 1: the metatable. */
static int make_job(lua_State *L)
{
    struct job_handle *handle = lua_newuserdata(L, sizeof *handle);
    handle->task = rt.current;
    handle->serial = rt.current->serial;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setmetatable(L, -2);
    return 1;
}

void job_push_maker(lua_State *L)
{
    lua_createtable(L, 0, 5);
    modules_push(L, "moonq.job");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushlightuserdata(L, &fields[i]);
        lua_setfield(L, -2, fields[i].name);
    }
    lua_pushcclosure(L, job_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, job_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, job_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    registry_set(L, &key_meta);
    lua_pushcclosure(L, make_job, 1);
}

/* ---- progress, log, cancelled ---- */

static int host_job_progress(lua_State *L)
{
    struct task *task = check_job(L);
    if (!lua_isnumber(L, 2))
        return host_misuse(L, "job:progress takes a number from 0 to 1 first, not a %s", luaL_typename(L, 2));
    double fraction = lua_tonumber(L, 2);
    struct slice note = value_text(L, 3);
    if (!(fraction >= 0 && fraction <= 1))
        return host_misuse(L, "progress %g is not between 0 and 1", fraction);
    task->fraction = (float)fraction;
    buf_clear(&task->note);
    buf_add(&task->note, note.at, note.len > NOTE_MAX_BYTES ? NOTE_MAX_BYTES : note.len);
    task->has_progress = true;
    task_tell_progress(task, clock_mono());
    worker_ease();
    return 0;
}

/* level, message, fields. Also without a job: while the application is loaded. */
static int host_log(lua_State *L)
{
    struct task *task = rt.current;
    struct mq_err err;
    size_t len;
    int level = log_level_of(value_text(L, 1));
    const char *message = luaL_checklstring(L, 2, &len);
    if (level < 0)
        return host_misuse(L, "there is no log level '%s' (debug, info, warn, error)",
                           luaL_checkstring(L, 1));
    buf_clear(&rt.scratch);
    if (lua_istable(L, 3) && json_write(&rt.scratch, L, 3, rt.setup.log_line_max, &err) != MQ_OK) {
        buf_clear(&rt.scratch);
        buf_printf(&rt.scratch, "{\"fields_lost\":");
        json_add_string(&rt.scratch, slice_of(err.text));
        buf_u8(&rt.scratch, '}');
    }
    bool last = task && task->log_lines == LOG_LINES_MAX;
    if (task && task->log_lines++ > LOG_LINES_MAX)
        return 0;
    struct frame_log line = {.id = task ? task->id : JOB_ID_NONE,
                             .level = (uint8_t)(last ? LOG_WARN : level),
                             .text = {message, len > rt.setup.log_line_max ? rt.setup.log_line_max : len},
                             .fields = buf_bytes(&rt.scratch)};
    if (last)
        line.text = SLICE("this attempt has written too many lines; the rest is dropped");
    frame_add_log(&rt.out, &line);
    worker_ease();
    return 0;
}

/* A loop that computes keeps the worker from its mail: so this looks there, though not at each turn of the loop. */
static int host_job_cancelled(lua_State *L)
{
    static mono_ms looked_at;
    struct task *task = check_job(L);
    mono_ms now = clock_mono();
    if (!task->stop && now - looked_at >= LOOK_EVERY_MS) {
        looked_at = now;
        task_look_for_stop(task);
    }
    lua_pushboolean(L, task->stop != STOP_NOT);
    return 1;
}

static int host_job_check(lua_State *L)
{
    check_job(L);
    return 0;
}

/* ---- push ---- */

/* Lists of tags are Lua lists; everything else that is text goes the way of the wire's options. */
static enum mq_code read_tags(lua_State *L, int index, struct push_order *order, struct buf *tags,
                              struct mq_err *err)
{
    enum mq_code code = MQ_OK;
    if (!lua_istable(L, index))
        return mq_fail(err, MQ_BADARG, "tags is not a list of names");
    for (int i = 1; code == MQ_OK && i <= (int)lua_objlen(L, index); i++) {
        lua_rawgeti(L, index, i);
        code = order_add_tag(order, value_text(L, -1), tags, err);
        lua_pop(L, 1);
    }
    return code;
}

/* { "to", "list" } is "to,list". The text lives on the stack, under the options. */
static enum mq_code read_list(lua_State *L, const char *name, int index, struct push_order *order,
                              struct buf *tags, struct mq_err *err)
{
    luaL_Buffer list;
    luaL_buffinit(L, &list);
    for (int i = 1; i <= (int)lua_objlen(L, index); i++) {
        if (i > 1)
            luaL_addchar(&list, ',');
        lua_rawgeti(L, index, i);
        if (!lua_isstring(L, -1))
            return mq_fail(err, MQ_BADARG, "%.40s is a list of names; place %d has a %s", name, i,
                           luaL_typename(L, -1));
        luaL_addvalue(&list);
    }
    luaL_pushresult(&list);
    struct slice text = value_text(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "moonq.push.list"); /* kept there while the order points to it */
    return order_set(order, slice_of(name), text, tags, err);
}

/* Durations in Lua are seconds, or text. */
static enum mq_code read_option(lua_State *L, const char *name, int value, struct push_order *order,
                                struct buf *tags, struct buf *meta, struct mq_err *err)
{
    static const struct {
        const char *name;
        size_t offset;
    } durations[] = {
        {"delay", offsetof(struct push_order, delay_ms)},
        {"timeout", offsetof(struct push_order, timeout_ms)},
        {"lease", offsetof(struct push_order, lease_ms)},
        {"keep", offsetof(struct push_order, keep_ms)},
        {"expires", offsetof(struct push_order, expires_ms)},
        {"unique_for", offsetof(struct push_order, unique_for_ms)},
    };
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++)
        if (strcmp(name, durations[i].name) == 0)
            return value_duration(L, value, (int64_t *)((char *)order + durations[i].offset), err)
                       ? MQ_OK
                       : MQ_BADARG;
    if (strcmp(name, "tags") == 0)
        return read_tags(L, value, order, tags, err);
    if (strcmp(name, "meta") == 0 && lua_istable(L, value)) {
        enum mq_code code = json_write(meta, L, value, META_MAX_BYTES, err);
        order->meta = buf_bytes(meta);
        return code;
    }
    if (lua_istable(L, value))
        return strcmp(name, "unique_by") == 0 || strcmp(name, "unique_in") == 0
                   ? read_list(L, name, value, order, tags, err)
                   : mq_fail(err, MQ_BADARG, "%.40s is a table, not a text or a number", name);
    char number[32];
    struct slice text = value_text(L, value);
    if (lua_type(L, value) == LUA_TNUMBER) {
        double given = lua_tonumber(L, value);
        text = (struct slice){number, (size_t)snprintf(number, sizeof number, "%.0f",
                                                       strcmp(name, "at") == 0 ? given * 1000 : given)};
        if (strcmp(name, "at") != 0 && given != floor(given))
            return mq_fail(err, MQ_BADARG, "%s %g is not a whole number", name, given);
    }
    return order_set(order, slice_of(name), text, tags, err);
}

static enum mq_code read_options(lua_State *L, int index, struct push_order *order, struct buf *tags,
                                 struct buf *meta, struct mq_err *err)
{
    enum mq_code code = MQ_OK;
    lua_pushnil(L);
    while (code == MQ_OK && lua_next(L, index)) {
        if (lua_type(L, -2) == LUA_TSTRING)
            code = read_option(L, lua_tostring(L, -2), lua_gettop(L), order, tags, meta, err);
        else
            code =
                mq_fail(err, MQ_BADARG, "options of push have names (delay = \"10m\"), not places in a list");
        lua_pop(L, 1);
    }
    return code;
}

static enum mq_code add_child(struct task *task, const struct push_order *order, struct mq_err *err)
{
    enum mq_code code = order_check(order, rt.setup.payload_max, err);
    if (code != MQ_OK)
        return code;
    if (task->child_count >= CHILDREN_MAX)
        return mq_fail(err, MQ_FULL, "one job may push at most %d others", CHILDREN_MAX);
    if (buf_len(&task->children) + order->payload.len > CHILDREN_MAX_BYTES)
        return mq_fail(err, MQ_FULL, "one job may push others with at most %d bytes together",
                       CHILDREN_MAX_BYTES);
    if (rt.children_bytes + order->payload.len > rt.meter.limit)
        return mq_fail(err, MQ_FULL,
                       "the jobs of this worker push too much at once (%zu bytes wait for their jobs' end)",
                       rt.children_bytes);
    size_t before = buf_len(&task->children);
    frame_add_child(&task->children, order);
    rt.children_bytes += buf_len(&task->children) - before;
    task->child_count++;
    return MQ_OK;
}

/* job, type, args, options */
static int host_job_push(lua_State *L)
{
    static struct buf tags, meta; /* static: an error thrown past them leaks nothing */
    struct push_order order;
    struct mq_err err;
    enum mq_code code = MQ_OK;
    struct task *task = check_job(L);
    lua_settop(L, 4);
    order_init(&order);
    buf_clear(&tags);
    buf_clear(&meta);
    buf_clear(&rt.scratch);
    order.type = value_text(L, 2);
    if (lua_isnil(L, 3))
        buf_add(&rt.scratch, "{}", 2);
    else
        code = json_write(&rt.scratch, L, 3, rt.setup.payload_max, &err);
    order.payload = buf_bytes(&rt.scratch);
    if (code == MQ_OK && lua_type(L, 2) != LUA_TSTRING)
        code = mq_fail(&err, MQ_BADARG, "the first argument of push is the name of a job type, not a %s",
                       luaL_typename(L, 2));
    if (code == MQ_OK && !lua_isnil(L, 4) && !lua_istable(L, 4))
        code = mq_fail(&err, MQ_BADARG, "the third argument of push is a table of options");
    if (code == MQ_OK && lua_istable(L, 4))
        code = read_options(L, 4, &order, &tags, &meta, &err);
    if (code == MQ_OK)
        code = add_child(task, &order, &err);
    if (code != MQ_OK) {
        host_push_place(L);
        return host_raise(L, mq_code_name(code), true, "%s%s", lua_tostring(L, -1), err.text);
    }
    return 0;
}

const struct host_call host_job_calls[] = {
    {"job.progress", host_job_progress, HOST_HANDLER, false, "", "Tells how far the job is: fraction, note."},
    {"job.push", host_job_push, HOST_HANDLER, false, "BADARG TOOBIG FULL",
     "Pushes a job together with this one's acknowledgement: type, args, options."},
    {"job.cancelled", host_job_cancelled, HOST_HANDLER, false, "", "True when the job was told to stop."},
    {"job.check", host_job_check, HOST_HANDLER, false, "", "Raises if this is not the running job."},
    {"log", host_log, HOST_HANDLER | HOST_LOAD, false, "",
     "Writes a line to the log: level, message, fields."},
    {NULL, NULL, 0, false, NULL, NULL},
};
