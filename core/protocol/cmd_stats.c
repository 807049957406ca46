/*
 * cmd_stats.c - figures: STATS as a map, and INFO, which is the same as text, because clients ask for it.
 *
 * The figures are gathered as rows first, so that both say the same. Nothing is counted here: the counters of
 * queues are kept in the commits.
 */
#include <stdio.h>

#include "protocol/commands.h"
#include "protocol/room.h"

#define FIGURES_MAX 160

struct figure {
    const char *section; /* of INFO; NULL: as the one before */
    const char *name;
    const char *text; /* NULL: it is a number */
    int64_t number;
};
struct figures {
    struct figure rows[FIGURES_MAX];
    unsigned count;
    char loop_names[PULSES_MAX][40];
};

static void add(struct figures *figures, const char *name, int64_t number)
{
    mq_must(figures->count < FIGURES_MAX);
    figures->rows[figures->count++] = (struct figure){.name = name, .number = number};
}

static void add_text(struct figures *figures, const char *name, const char *text)
{
    mq_must(figures->count < FIGURES_MAX);
    figures->rows[figures->count++] = (struct figure){.name = name, .text = text ? text : ""};
}

/* The next rows belong to this section. Returns where it begins, for section_end. */
static unsigned section(struct figures *figures)
{
    return figures->count;
}

static void section_end(struct figures *figures, unsigned begin, const char *name)
{
    if (begin < figures->count)
        figures->rows[begin].section = name;
}

static void add_server(struct figures *figures, struct protocol *p)
{
    struct server_figures server = {0};
    unsigned begin = section(figures);
    p->control.figures(p->control.owner, &server);
    add_text(figures, "version", server.version);
    add(figures, "pid", server.pid);
    add(figures, "uptime", server.uptime_ms);
    add(figures, "loading", 0); /* ioredis asks INFO until this is so */
    add_text(figures, "app", server.app_dir);
    add_text(figures, "data", server.data_dir);
    add_text(figures, "socket", server.socket_path);
    add(figures, "rss_bytes", (int64_t)server.rss_bytes);
    add_text(figures, "sync", server.relaxed_ms ? "relaxed" : "commit");
    add(figures, "relaxed_for", server.relaxed_ms);
    add(figures, "memory_bytes", (int64_t)server.memory_bytes);
    add(figures, "max_memory", (int64_t)server.max_memory);
    add(figures, "cpu_us", (int64_t)server.cpu_us);
    section_end(figures, begin, "Server");
}

static void add_clients(struct figures *figures, const struct protocol *p)
{
    unsigned begin = section(figures);
    add(figures, "connections", p->conn_count);
    add(figures, "connections_max", p->settings.connections_max);
    add(figures, "connections_total", (int64_t)p->accepted);
    add(figures, "connections_refused", (int64_t)p->refused);
    add(figures, "connections_closed_slow", (int64_t)p->closed_slow);
    add(figures, "commands_total", (int64_t)p->commands);
    add(figures, "commands_under_way", p->calls);
    section_end(figures, begin, "Clients");
}

/* Moments since the start of this server, by what became of them. */
static void add_schedules(struct figures *figures, const struct dispatch_stats *stats)
{
    static const char *const names[TICK_OUTCOMES] = {
        [TICK_FIRED] = "ticks_fired",   [TICK_CAUGHT_UP] = "ticks_caught_up",
        [TICK_WAITED] = "ticks_waited", [TICK_REPLACED] = "ticks_replaced",
        [TICK_RUN] = "ticks_run",       [TICK_SKIPPED] = "ticks_skipped",
        [TICK_MISSED] = "ticks_missed", [TICK_MERGED] = "ticks_merged",
        [TICK_PAUSED] = "ticks_paused", [TICK_FAILED] = "ticks_failed",
    };
    unsigned begin = section(figures);
    add(figures, "schedules", stats->schedules);
    add(figures, "schedules_broken", stats->schedules_broken);
    for (int i = TICK_FIRED; i < TICK_OUTCOMES; i++)
        add(figures, names[i], (int64_t)stats->ticks[i]);
    section_end(figures, begin, "Schedules");
}

static void add_dispatch(struct figures *figures, struct dispatch *d)
{
    struct dispatch_stats stats;
    unsigned begin = section(figures);
    dispatch_stats(d, &stats);
    add(figures, "workers", stats.workers);
    add(figures, "slots", stats.slots);
    add(figures, "busy", stats.busy);
    add(figures, "fetchers", stats.fetchers);
    add(figures, "waiters", stats.waiters);
    add(figures, "listeners", stats.listeners);
    add(figures, "idle_with_backlog", (int64_t)stats.idle_with_backlog);
    add(figures, "workers_idle", (int64_t)stats.workers_idle);
    add(figures, "queues_unserved", stats.queues_unserved);
    add(figures, "taken_back", (int64_t)stats.taken_back);
    add(figures, "workers_lost", (int64_t)stats.workers_lost);
    add(figures, "workers_killed", (int64_t)stats.workers_killed);
    add(figures, "poisoned", (int64_t)stats.poisoned);
    add(figures, "outcomes_waiting", stats.outcomes_waiting);
    add(figures, "orphans_repaired_total", (int64_t)stats.orphans_repaired);
    add(figures, "evicted", (int64_t)stats.evicted);
    add(figures, "archived", (int64_t)stats.archived);
    add(figures, "dead_percent", stats.dead_percent);
    add(figures, "late_total", (int64_t)stats.late.count);
    add(figures, "late_last", stats.late.last_ms);
    add(figures, "late_p50", late_quantile(&stats.late, 0.5));
    add(figures, "late_p99", late_quantile(&stats.late, 0.99));
    add(figures, "late_max", stats.late.max_ms);
    section_end(figures, begin, "Workers");
    add_schedules(figures, &stats);
}

static void add_jobs(struct figures *figures, const struct op_queues *op)
{
    struct queue_counts sum = {.pushed = 0};
    unsigned begin = section(figures), paused = 0;
    for (unsigned i = 0; i < op->count; i++) {
        const struct queue_counts *counts = &op->queues[i].counts;
        paused += op->queues[i].pause.on;
        sum.held += counts->held;
        for (enum job_state state = JOB_BLOCKED; state < JOB_STATES; state++)
            sum.in_state[state] += counts->in_state[state];
        sum.pushed += counts->pushed;
        sum.succeeded += counts->succeeded;
        sum.failed += counts->failed;
        sum.dead += counts->dead;
        sum.cancelled += counts->cancelled;
        sum.expired += counts->expired;
        sum.lost += counts->lost;
        sum.crashed += counts->crashed;
    }
    add(figures, "queues", op->count);
    add(figures, "queues_paused", paused);
    add(figures, "types_paused", op->type_count);
    add(figures, "held", (int64_t)sum.held);
    for (enum job_state state = JOB_BLOCKED; state < JOB_STATES; state++)
        add(figures, state_name(state), (int64_t)sum.in_state[state]);
    add(figures, "pushed_total", (int64_t)sum.pushed);
    add(figures, "succeeded_total", (int64_t)sum.succeeded);
    add(figures, "failed_total", (int64_t)sum.failed);
    add(figures, "dead_total", (int64_t)sum.dead);
    add(figures, "cancelled_total", (int64_t)sum.cancelled);
    add(figures, "expired_total", (int64_t)sum.expired);
    add(figures, "lost_total", (int64_t)sum.lost);
    add(figures, "crashed_total", (int64_t)sum.crashed);
    section_end(figures, begin, "Jobs");
}

static void add_store(struct figures *figures, const struct op_stats *op)
{
    unsigned begin = section(figures);
    add(figures, "commits", (int64_t)op->commits);
    add(figures, "checkpoints", (int64_t)op->checkpoints);
    add(figures, "operations", (int64_t)op->operations);
    add(figures, "commit_us_total", (int64_t)op->commit_us_total);
    add(figures, "sync_us_last", (int64_t)op->sync_us_last);
    add(figures, "batch_max", (int64_t)op->batch_max);
    add(figures, "map_bytes", (int64_t)op->map_bytes);
    add(figures, "used_bytes", (int64_t)op->used_bytes);
    add(figures, "file_bytes", (int64_t)op->file_bytes);
    add(figures, "disk_free_bytes", (int64_t)op->disk_free_bytes);
    add(figures, "page_bytes", (int64_t)op->page_bytes);
    add(figures, "free_pages", (int64_t)op->free_pages);
    add(figures, "readers", op->readers);
    add(figures, "readers_max", op->readers_max);
    add(figures, "oldest_reader", op->oldest_reader_ms);
    add(figures, "quarantined", (int64_t)op->quarantined);
    add(figures, "finished_bytes", (int64_t)op->finished_bytes);
    add(figures, "dead_bytes", (int64_t)op->dead_bytes);
    add(figures, "unique_keys", (int64_t)op->unique_keys);
    add(figures, "layout", op->layout);
    section_end(figures, begin, "Store");
}

/* "loop_writer_age": milliseconds since it ran last, -1 if it had nothing to do yet. One that is late is said so. */
static void add_loops(struct figures *figures, struct protocol *p)
{
    struct pulse list[PULSES_MAX];
    unsigned begin = section(figures), count = p->control.pulses(p->control.owner, list), late = 0;
    for (unsigned i = 0; i < count; i++) {
        char *name = figures->loop_names[i];
        snprintf(name, sizeof figures->loop_names[i], "loop_%s_age", list[i].name);
        add(figures, name, list[i].age_ms);
        late += list[i].late_ms >= PULSE_LATE_MS;
    }
    add(figures, "loops_standing_still", late);
    section_end(figures, begin, "Loops");
}

static void write_map(struct reply *reply, const struct figures *figures)
{
    reply_map(reply, figures->count);
    for (unsigned i = 0; i < figures->count; i++) {
        const struct figure *row = &figures->rows[i];
        reply_text(reply, row->name);
        if (row->text)
            reply_text(reply, row->text);
        else
            reply_int(reply, row->number);
    }
}

/* "# Section", then "name:value" lines; of one section only if one was named. */
static void write_lines(struct buf *out, const struct figures *figures, struct slice only)
{
    bool all = only.len == 0 || slice_is_word(only, "all") || slice_is_word(only, "default") ||
               slice_is_word(only, "everything");
    bool shown = all;
    for (unsigned i = 0; i < figures->count; i++) {
        const struct figure *row = &figures->rows[i];
        if (row->section) {
            shown = all || slice_is_word(only, row->section);
            if (shown)
                buf_printf(out, "%s# %s\r\n", buf_len(out) ? "\r\n" : "", row->section);
        }
        if (shown && row->text)
            buf_printf(out, "%s:%s\r\n", row->name, row->text);
        else if (shown)
            buf_printf(out, "%s:%lld\r\n", row->name, (long long)row->number);
    }
}

static void answer_stats(struct call *call, struct reply *reply)
{
    const struct stats_call *stats = CALL_OP(call, struct stats_call);
    struct figures figures = {.count = 0};
    add_server(&figures, call->protocol);
    add_clients(&figures, call->protocol);
    add_dispatch(&figures, call->protocol->dispatch);
    add_jobs(&figures, &stats->queues);
    add_store(&figures, &stats->stats);
    add_loops(&figures, call->protocol);
    if (!stats->as_text) {
        write_map(reply, &figures);
        return;
    }
    struct buf text = BUF_INIT;
    write_lines(&text, &figures, stats->section);
    reply_bulk(reply, buf_bytes(&text));
    buf_release(&text);
}

/* Both reads have to come back, also if the first failed or the client is gone. */
static void on_read(struct store_op *op)
{
    struct call *call = op->owner;
    struct stats_call *stats = CALL_OP(call, struct stats_call);
    if (--stats->open)
        return;
    const struct store_op *bad = stats->stats.op.code != MQ_OK    ? &stats->stats.op
                                 : stats->queues.op.code != MQ_OK ? &stats->queues.op
                                                                  : NULL;
    if (bad)
        call_fail(call, bad->code, bad->err.text);
    else
        call_finish(call);
}

static void release(struct call *call)
{
    struct stats_call *stats = CALL_OP(call, struct stats_call);
    store_op_release(&stats->stats.op);
    store_op_release(&stats->queues.op);
}

static enum mq_code run(struct call *call)
{
    struct stats_call *stats = CALL_OP(call, struct stats_call);
    store_op_init(&stats->stats.op, STORE_STATS, call->now);
    store_op_init(&stats->queues.op, STORE_QUEUES, call->now);
    stats->stats.op.owner = stats->queues.op.owner = call;
    stats->stats.op.done = stats->queues.op.done = on_read;
    stats->open = 2;
    call->release = release;
    call->answer = answer_stats;
    dispatch_submit(call->protocol->dispatch, &stats->stats.op);
    dispatch_submit(call->protocol->dispatch, &stats->queues.op);
    return MQ_OK;
}

enum mq_code cmd_stats(struct call *call, struct mq_err *err)
{
    (void)err;
    return run(call);
}

enum mq_code cmd_info(struct call *call, struct mq_err *err)
{
    struct stats_call *stats = CALL_OP(call, struct stats_call);
    (void)err;
    stats->as_text = true;
    stats->section = call->count ? call->args[0] : SLICE_EMPTY;
    return run(call);
}
