#include <stdio.h>
#include <stdlib.h>

#include "job/record.h"
#include "runtime/host.h"
#include "runtime/inside.h"
#include "runtime/json.h"
#include "runtime/registry.h"
#include "runtime/sandbox.h"
#include "runtime/task.h"
#include "store/store.h"

static char key_start, key_on_error, key_make_job, key_cache;
#define PROGRESS_EVERY_MS 50
#define KEEP_BYTES        65536

/* ---- the run queue ---- */

static void queue_add(struct task *task)
{
    task->next = NULL;
    if (rt.queue_tail)
        rt.queue_tail->next = task;
    else
        rt.queue_head = task;
    rt.queue_tail = task;
}

static struct task *queue_take(void)
{
    struct task *task = rt.queue_head;
    if (task) {
        rt.queue_head = task->next;
        if (!rt.queue_head)
            rt.queue_tail = NULL;
    }
    return task;
}

void task_wake(struct task *task, int args)
{
    mq_must(task->state == TASK_WAITING);
    task->state = TASK_WOKEN;
    task->resume_args = args;
    queue_add(task);
    rt.woken++;
}

/* ---- the coroutine of a slot ---- */

static void thread_renew(struct task *task)
{
    luaL_unref(rt.L, LUA_REGISTRYINDEX, task->L_ref);
    task->L = lua_newthread(rt.L);
    task->L_ref = luaL_ref(rt.L, LUA_REGISTRYINDEX);
}

void tasks_open(unsigned count)
{
    rt.task_count = count;
    rt.tasks = mq_calloc(count, sizeof *rt.tasks);
    for (unsigned i = 0; i < count; i++) {
        rt.tasks[i].slot = i;
        rt.tasks[i].L_ref = LUA_NOREF;
    }
    sandbox_push_start(rt.L);
    registry_set(rt.L, &key_start);
    lua_pushcfunction(rt.L, fail_on_error);
    registry_set(rt.L, &key_on_error);
    job_push_maker(rt.L);
    registry_set(rt.L, &key_make_job);
    lua_newtable(rt.L);
    registry_set(rt.L, &key_cache);
}

void tasks_close(void)
{
    for (unsigned i = 0; i < rt.task_count; i++) {
        host_abandon(&rt.tasks[i]);
        buf_release(&rt.tasks[i].record);
        buf_release(&rt.tasks[i].children);
        buf_release(&rt.tasks[i].note);
    }
    free(rt.tasks);
    rt.tasks = NULL;
    rt.task_count = 0;
}

bool task_push_cached(lua_State *L, struct task *task, int which)
{
    if (!task->cached)
        return false;
    registry_get(L, &key_cache);
    lua_rawgeti(L, -1, (int)(task->slot * TASK_CACHE_KINDS + (unsigned)which + 1));
    lua_remove(L, -2);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

void task_cache(lua_State *L, struct task *task, int which)
{
    task->cached = true;
    registry_get(L, &key_cache);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (int)(task->slot * TASK_CACHE_KINDS + (unsigned)which + 1));
    lua_pop(L, 1);
}

static void cache_clear(struct task *task)
{
    registry_get(rt.L, &key_cache);
    for (unsigned i = 0; i < TASK_CACHE_KINDS; i++) {
        lua_pushnil(rt.L);
        lua_rawseti(rt.L, -2, (int)(task->slot * TASK_CACHE_KINDS + i + 1));
    }
    lua_pop(rt.L, 1);
    task->cached = false;
}

/* ---- a job comes ---- */

/* A slot that is not free, or that we do not have: the server has lost count, which it must not. */
void task_give(const struct frame_job *job)
{
    if (job->slot >= rt.task_count || rt.tasks[job->slot].state != TASK_FREE)
        mq_bug("the server gave a job to slot %u, which is not free", job->slot);
    struct task *task = &rt.tasks[job->slot];
    task->id = job->id;
    task->token = job->token;
    task->attempt = job->attempt;
    task->crashes = job->crashes;
    buf_clear(&task->record);
    buf_add_slice(&task->record, job->record);
    task->serial++;
    task->stop = STOP_NOT;
    task->state = TASK_QUEUED;
    queue_add(task);
    rt.busy++;
}

/* A place is used again and again: one large job must not keep its memory there. */
static void keep_if_small(struct buf *buf)
{
    if (buf->cap > KEEP_BYTES)
        buf_release(buf);
    else
        buf_clear(buf);
}

/* The slot is the server's again with this; nothing is said about the job after it. */
static void task_free(struct task *task)
{
    host_abandon(task);
    if (task->cached)
        cache_clear(task);
    rt.children_bytes -= buf_len(&task->children);
    keep_if_small(&task->children);
    keep_if_small(&task->record);
    task->child_count = 0;
    task->has_progress = false;
    task->progress_sent_at = 0;
    task->stop_raised = task->ended = false;
    task->log_lines = 0;
    task->booked = 0;
    task->state = TASK_FREE;
    rt.busy--;
    if (task->handler)
        worker_job_ended(task->handler);
    task->handler = NULL;
}

/* ---- how it ended ---- */

/* What was not told yet because more came soon after. */
static void tell_last_progress(struct task *task)
{
    if (!task->has_progress)
        return;
    frame_add_progress(&rt.out, &(struct frame_progress){.slot = task->slot,
                                                         .id = task->id,
                                                         .fraction = task->fraction,
                                                         .note = buf_bytes(&task->note)});
    task->has_progress = false;
}

void task_tell_progress(struct task *task, mono_ms now)
{
    if (!task->has_progress || now - task->progress_sent_at < PROGRESS_EVERY_MS)
        return;
    tell_last_progress(task);
    task->progress_sent_at = now;
    worker_write(false); /* now: if the job goes on to kill us, this is the last that is heard of it */
}

static void tell_failed(struct task *task, struct frame_failed *failed)
{
    tell_last_progress(task);
    failed->slot = task->slot;
    failed->id = task->id;
    frame_add_failed(&rt.out, failed);
}

/* A failure that is not an error of the handler's Lua. */
static void fail_with(struct task *task, enum fail_verdict verdict, const char *code, const char *message)
{
    tell_failed(task, &(struct frame_failed){.verdict = (uint8_t)verdict,
                                             .delay_ms = -1,
                                             .code = slice_of(code),
                                             .message = slice_of(message),
                                             .traceback = SLICE_EMPTY});
}

/* What `run` answered first is the result. On the stack: true, and that. */
static void tell_done(struct task *task)
{
    struct mq_err err;
    struct frame_done done = {.slot = task->slot, .id = task->id, .result = SLICE_EMPTY};
    tell_last_progress(task);
    if (lua_gettop(task->L) > 1 && !lua_isnil(task->L, 2)) {
        buf_clear(&rt.scratch);
        enum mq_code code = json_write(&rt.scratch, task->L, 2, rt.setup.result_max, &err);
        if (code != MQ_OK) {
            char message[MQ_ERR_TEXT_BYTES + 64];
            snprintf(message, sizeof message, "the result of run cannot be kept: %s", err.text);
            fail_with(task, FAIL_DEAD, mq_code_name(code), message);
            return;
        }
        done.result = buf_bytes(&rt.scratch);
    }
    done.child_count = task->child_count;
    done.children = buf_bytes(&task->children);
    frame_add_done(&rt.out, &done);
}

static void tell_error(struct task *task)
{
    struct frame_failed failed;
    fail_describe(task, task->L, true, &failed);
    tell_failed(task, &failed);
}

/* The coroutine has ended as xpcall does: true and results, or false and the error. */
static void tell_end(struct task *task)
{
    if (lua_toboolean(task->L, 1)) {
        tell_done(task);
        return;
    }
    lua_settop(task->L, 2);
    tell_error(task);
}

/* It swallowed its stop, or was ended from outside. */
static void tell_stopped(struct task *task)
{
    if (task->stop == STOP_TIMEOUT || task->stop == STOP_TIMEOUT_NOW) {
        struct frame_failed failed;
        lua_settop(task->L, 0);
        host_push_stop(task->L, task);
        fail_describe(task, task->L, false, &failed);
        tell_failed(task, &failed);
    } else {
        fail_with(task, FAIL_CANCELLED, "CANCELLED", "the job was cancelled");
    }
}

/* Ends a task that does not run now: its coroutine is dropped where it stands. */
static void task_end(struct task *task)
{
    host_abandon(task);
    thread_renew(task);
    rt.current = task;
    tell_stopped(task);
    rt.current = NULL;
    lua_settop(task->L, 0);
    task_free(task);
}

/* ---- on the CPU ---- */

static void enter(struct task *task)
{
    rt.current = task;
    task->state = TASK_RUNNING;
    atomic_store_explicit(&rt.page->on_cpu, task->id, memory_order_release);
    atomic_store_explicit(&rt.page->turns, atomic_load_explicit(&rt.page->turns, memory_order_relaxed) + 1,
                          memory_order_release);
    meter_enter(&rt.meter, task->booked);
}

/* `on_cpu` stays until the outcome is worked out: a retry policy may crash too. */
static void leave(struct task *task)
{
    task->booked = meter_leave(&rt.meter);
    task->refused = rt.meter.refused > 0;
    task->wanted = rt.meter.wanted;
    interrupt_clear();
}

static void off_cpu(void)
{
    rt.current = NULL;
    atomic_store_explicit(&rt.page->on_cpu, 0, memory_order_release);
}

/* Who met the limit when it last ran, swallowed that, and waits with more than any other that did. */
static struct task *find_hoarder(void)
{
    struct task *most = NULL;
    for (unsigned i = 0; i < rt.task_count; i++) {
        struct task *task = &rt.tasks[i];
        if ((task->state == TASK_WAITING || task->state == TASK_WOKEN) && task->refused &&
            task->booked >= (int64_t)(rt.meter.limit / 8) && (!most || task->booked > most->booked))
            most = task;
    }
    return most;
}

static void queue_remove(struct task *task);

/* Some task has met the limit. Hoarders are ended: as long as one waits, nobody else could begin in this worker. */
static void out_of_memory(void)
{
    struct task *hoarder;
    while (worker_is_full() && (hoarder = find_hoarder())) {
        if (hoarder->state == TASK_WOKEN)
            queue_remove(hoarder);
        host_abandon(hoarder);
        thread_renew(hoarder);
        rt.current = hoarder;
        fail_forget();
        lua_pushliteral(hoarder->L, "not enough memory");
        tell_error(hoarder);
        lua_settop(hoarder->L, 0);
        task_free(hoarder);
    }
    worker_out_of_memory();
}

static void task_resume(struct task *task, int args)
{
    fail_forget();
    worker_make_room();
    enter(task);
    int status = lua_resume(task->L, args);
    leave(task);
    if (status == LUA_YIELD && task->parked && !task->ended) {
        lua_settop(task->L, 0);
        task->state = TASK_WAITING;
        tell_last_progress(task); /* it may wait for long */
        if (task->refused)
            out_of_memory();
        off_cpu();
        return;
    }
    if (status == 0)
        tell_end(task);
    else if (status == LUA_YIELD && task->stop)
        tell_stopped(task);
    else if (status == LUA_YIELD)
        fail_with(task, FAIL_RETRY, "SCRIPT", "it yielded without anything to wait for");
    else
        tell_error(task);
    if (status == 0)
        lua_settop(task->L, 0);
    else
        thread_renew(task);
    bool refused = task->refused;
    task_free(task);
    if (refused)
        out_of_memory();
    off_cpu();
}

static bool start_prepare(struct task *task)
{
    struct mq_err err;
    char message[MQ_ERR_TEXT_BYTES];
    if (record_read_spec(&task->spec, buf_bytes(&task->record), &err) != MQ_OK) {
        fail_with(task, FAIL_DEAD, "INTERNAL", err.text);
        return false;
    }
    task->handler = app_find_handler(&rt.app, task->spec.type);
    if (!task->handler) {
        snprintf(message, sizeof message, "no handler for job type '%.*s' in this worker",
                 SLICE_ARG(task->spec.type));
        fail_with(task, FAIL_RETRY, "NOTFOUND", message);
        return false;
    }
    return true;
}

/* A worker without memory for more begins nothing: the server takes back what it gave. */
static bool task_hold(struct task *task)
{
    if (!rt.recycling || atomic_load(&rt.page->slots[task->slot]) != SLOT_GIVEN)
        return false;
    queue_add(task);
    return true;
}

bool tasks_all_held(void)
{
    for (unsigned i = 0; i < rt.task_count; i++)
        if (rt.tasks[i].state != TASK_FREE && rt.tasks[i].state != TASK_QUEUED)
            return false;
    return true;
}

static void task_start(struct task *task)
{
    if (task_hold(task))
        return;
    if (!slot_move(rt.page, task->slot, SLOT_GIVEN, SLOT_TAKEN)) {
        frame_add_signal(&rt.out, FRAME_DROPPED, task->slot, task->id, false);
        task_free(task);
        return;
    }
    if (!start_prepare(task)) {
        task_free(task);
        return;
    }
    if (task->stop) { /* stopped before it began */
        if (!task->L)
            thread_renew(task);
        rt.current = task;
        tell_stopped(task);
        rt.current = NULL;
        lua_settop(task->L, 0);
        task_free(task);
        return;
    }
    if (!task->L)
        thread_renew(task);
    registry_get(task->L, &key_start);
    lua_rawgeti(task->L, LUA_REGISTRYINDEX, task->handler->run_ref);
    registry_get(task->L, &key_on_error);
    registry_get(task->L, &key_make_job);
    task_resume(task, 3);
}

bool task_run_next(void)
{
    struct task *task = queue_take();
    if (!task)
        return false;
    if (task->state == TASK_QUEUED)
        task_start(task);
    else if (task->state == TASK_WOKEN)
        task_resume(task, task->resume_args);
    else
        mq_bug("a task in state %d stands in the run queue", task->state);
    return true;
}

/* ---- stopping ---- */

static struct task *find_running(uint32_t slot, job_id id)
{
    struct task *task = slot < rt.task_count ? &rt.tasks[slot] : NULL;
    return task && task->state != TASK_FREE && task->id == id ? task : NULL;
}

/* Raises the stop in the call that waits. */
static void interrupt_waiting(struct task *task)
{
    host_abandon(task);
    task->stop_raised = true;
    lua_pushlightuserdata(task->L, &sandbox_raise_mark);
    host_push_stop(task->L, task);
    task_wake(task, 2);
}

/* Out of the run queue, wherever it stands. */
static void queue_remove(struct task *task)
{
    struct task *before = NULL;
    for (struct task *at = rt.queue_head; at; before = at, at = at->next) {
        if (at != task)
            continue;
        if (before)
            before->next = at->next;
        else
            rt.queue_head = at->next;
        if (rt.queue_tail == at)
            rt.queue_tail = before;
        return;
    }
}

void task_look_for_stop(struct task *task)
{
    enum stop how = worker_peek_stop(task);
    if (how <= task->stop)
        return;
    task->stop = how;
    task->stop_raised = false;
    task->stop_at = clock_mono();
}

/* The job may have ended meanwhile: then there is nothing to do. */
void task_stop(uint32_t slot, job_id id, enum stop how)
{
    struct task *task = find_running(slot, id);
    if (!task || how <= task->stop)
        return;
    task->stop = how;
    task->stop_raised = false;
    task->stop_at = clock_mono();
    if (task->state == TASK_RUNNING || task->state == TASK_QUEUED)
        return; /* the interrupt, the next park or the start sees it */
    if (how >= STOP_TIMEOUT_NOW) {
        if (task->state == TASK_WOKEN)
            queue_remove(task);
        task_end(task);
    } else if (task->state == TASK_WAITING) {
        interrupt_waiting(task);
    }
}
