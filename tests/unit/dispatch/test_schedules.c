/*
 * Cron entries over weeks and restarts, with a clock that tests turn by hand. Each test is a sentence about what a user
 * sees: jobs, and the ledger.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/schedule.h"

#define SECOND 1000LL
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static json_t *no_file;

static struct world *begin(void)
{
    struct world *w = world_new(0, 1);
    dispatch_set_schedules(w->d, no_file);
    dispatch_start_schedules(w->d, w->wall);
    world_turn(w);
    w->event_count = 0;
    return w;
}

static void restart(struct world *w, int64_t down_ms, json_t *file)
{
    world_restart(w, down_ms);
    dispatch_set_schedules(w->d, file);
    dispatch_start_schedules(w->d, w->wall);
    w->event_count = 0;
    world_turn(w);
}

static void mark(struct store_op *op)
{
    *(bool *)op->owner = true;
}

/* On its way when this returns MQ_OK. */
static enum mq_code ask(struct world *w, struct op_schedule *op, int what, const char *name,
                        const char *definition, bool *done)
{
    struct mq_err err;
    *done = false;
    *op = (struct op_schedule){.name = slice_of(name),
                               .source = SCHEDULE_OF_COMMAND,
                               .definition = slice_of(definition),
                               .reason = SLICE_EMPTY,
                               .by = SLICE_EMPTY};
    op->change = (unsigned)what;
    store_op_init(&op->op, STORE_SCHEDULE, w->wall);
    enum mq_code code = dispatch_schedule_fill(w->d, op, &err);
    if (code != MQ_OK)
        return code;
    op->op.done = mark;
    op->op.owner = done;
    dispatch_submit(w->d, &op->op);
    return MQ_OK;
}

static enum mq_code change(struct world *w, struct op_schedule *op, int what, const char *name,
                           const char *definition)
{
    bool done;
    enum mq_code code = ask(w, op, what, name, definition, &done);
    if (code != MQ_OK)
        return code;
    world_turn(w);
    assert_true(done);
    code = op->op.code;
    store_op_release(&op->op);
    return code;
}

static void set(struct world *w, const char *name, const char *definition)
{
    struct op_schedule op;
    assert_int_equal(change(w, &op, SCHEDULE_SET, name, definition), MQ_OK);
}

static void read_ledger(struct world *w, struct op_ticks *op, const char *name)
{
    bool done = false;
    *op = (struct op_ticks){.name = slice_of(name), .limit = 200};
    store_op_init(&op->op, STORE_TICKS, w->wall);
    op->op.done = mark;
    op->op.owner = &done;
    dispatch_submit(w->d, &op->op);
    world_turn(w);
    assert_true(done);
}

/* What its rows say beside their outcomes. */
static const char *notes(struct world *w, const char *name)
{
    static char text[1000];
    struct op_ticks op;
    size_t len = 0;
    read_ledger(w, &op, name);
    text[0] = '\0';
    for (unsigned i = op.count; i-- > 0;)
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s", SLICE_ARG(op.rows[i].note));
    store_op_release(&op.op);
    return text;
}

/* The ledger as text, oldest first: "fired missed*9 caught_up". */
static const char *ledger(struct world *w, const char *name)
{
    static char text[4000];
    struct op_ticks op;
    size_t len = 0;
    read_ledger(w, &op, name);
    text[0] = '\0';
    for (unsigned i = op.count; op.op.code == MQ_OK && i-- > 0;) {
        const struct tick_row *row = &op.rows[i];
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", len ? " " : "",
                                tick_outcome_name(row->outcome));
        if (row->count > 1)
            len += (size_t)snprintf(text + len, sizeof text - len, "*%u%s", row->count, row->more ? "+" : "");
    }
    store_op_release(&op.op);
    return text;
}

static unsigned jobs(struct world *w)
{
    struct op_queues op = {.count = 0};
    bool done = false;
    uint64_t pushed = 0;
    store_op_init(&op.op, STORE_QUEUES, w->wall);
    op.op.done = mark;
    op.op.owner = &done;
    dispatch_submit(w->d, &op.op);
    world_turn(w);
    for (unsigned i = 0; i < op.count; i++)
        pushed += op.queues[i].counts.pushed;
    store_op_release(&op.op);
    return (unsigned)pushed;
}

static job_id newest(struct world *w, const char *name)
{
    struct op_schedules op = {.name = slice_of(name)};
    bool done = false;
    store_op_init(&op.op, STORE_SCHEDULES, w->wall);
    op.op.done = mark;
    op.op.owner = &done;
    dispatch_submit(w->d, &op.op);
    world_turn(w);
    job_id id = op.op.code == MQ_OK ? op.schedules[0].job : JOB_ID_NONE;
    store_op_release(&op.op);
    return id;
}

/* ---- firing ---- */

static void an_entry_fires_once_a_moment_for_a_week(void **state)
{
    struct world *w = begin();
    (void)state;
    set(w, "hourly", "{\"cron\":\"@every 1h\",\"type\":\"a\",\"args\":{\"n\":1}}");
    w->event_count = 0;
    for (int day = 0; day < 7; day++) {
        world_leap(w, DAY);
        w->event_count = 0;
    }
    assert_int_equal(jobs(w), 7 * 24);
    struct op_get got;
    world_get(w, &got, newest(w, "hourly"));
    assert_true(slice_equal(got.view.spec.schedule, SLICE("hourly")));
    assert_int_equal(got.view.spec.planned_at, w->wall);
    assert_true(slice_equal(got.view.spec.payload, SLICE("{\"n\":1}")));
    store_op_release(&got.op);
    world_free(w);
}

static void moments_are_those_of_the_entry_s_zone(void **state)
{
    static const char *const moments[] = {"2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z",
                                          "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"};
    struct schedule s;
    struct mq_err err = {0};
    (void)state;
    assert_int_equal(schedule_read(&s, SLICE("x"),
                                   SLICE("{\"cron\":\"30 2 * * *\",\"tz\":\"Europe/Berlin\",\"type\":\"a\","
                                         "\"dst_overlap\":\"both\",\"start\":\"2026-10-24T00:00:00Z\"}"),
                                   1000, &err),
                     MQ_OK);
    wall_ms at = 0, expected = 0;
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        time_parse(&expected, slice_of(moments[i]), &err);
        at = plan_next(&s.plan, 0, at);
        assert_int_equal(at, expected);
    }
    schedule_release(&s);
}

/* Through a gap and an overlap of each zone, at a quarter to two, half past two and midnight; and restarts. */
static void a_daily_entry_fires_once_a_day_through_clock_changes(void **state)
{
    static const char *const starts[] = {"2027-03-25T12:00:00Z", "2027-09-02T12:00:00Z",
                                         "2027-10-28T12:00:00Z"};
    enum {
        DAYS = 33
    };
    (void)state;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct world *w = begin();
        struct mq_err err;
        time_parse(&w->wall, slice_of(starts[i]), &err);
        world_turn(w);
        set(w, "berlin", "{\"cron\":\"30 2 * * *\",\"tz\":\"Europe/Berlin\",\"type\":\"a\"}");
        set(w, "santiago", "{\"cron\":\"0 0 * * *\",\"tz\":\"America/Santiago\",\"type\":\"a\"}");
        set(w, "lord-howe", "{\"cron\":\"45 1 * * *\",\"tz\":\"Australia/Lord_Howe\",\"type\":\"a\"}");
        for (int day = 0; day < DAYS; day++) {
            w->event_count = 0;
            world_leap(w, DAY);
            if (day % 5 == 4)
                restart(w, 0, no_file);
        }
        assert_int_equal(jobs(w), 3 * DAYS);
        world_free(w);
    }
}

static void a_thousand_entries_of_one_moment_fire_all(void **state)
{
    struct world *w = begin();
    (void)state;
    dispatch_unlisten(w->d, &w->listener);
    for (int i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "entry-%d", i);
        set(w, name, "{\"cron\":\"@every 1m\",\"type\":\"a\"}");
    }
    world_leap(w, MINUTE);
    for (int i = 0; i < 3; i++)
        world_turn(w);
    assert_int_equal(jobs(w), 1000);
    dispatch_listen(w->d, &w->listener);
    world_free(w);
}

static void a_restart_moves_no_moment_and_repeats_none(void **state)
{
    struct world *w = begin();
    (void)state;
    set(w, "weekly", "{\"cron\":\"@every 7d\",\"type\":\"a\"}");
    for (int day = 0; day < 21; day++) { /* restarts more often than it fires */
        world_leap(w, DAY);
        restart(w, 0, no_file);
    }
    assert_int_equal(jobs(w), 3);
    assert_string_equal(ledger(w, "weekly"), "fired fired fired");
    world_free(w);
}

static void a_clock_stepped_back_repeats_nothing(void **state)
{
    struct world *w = begin();
    (void)state;
    set(w, "hourly", "{\"cron\":\"@every 1h\",\"type\":\"a\"}");
    world_leap(w, 5 * HOUR);
    w->event_count = 0;
    w->wall -= 3 * HOUR;
    world_leap(w, 3 * HOUR);
    assert_int_equal(jobs(w), 5);
    world_leap(w, HOUR);
    assert_int_equal(jobs(w), 6);
    assert_string_equal(ledger(w, "hourly"), "fired fired fired fired fired merged*3 fired");
    w->wall -= 2 * HOUR; /* and across a restart */
    restart(w, 0, no_file);
    world_leap(w, 2 * HOUR);
    assert_int_equal(jobs(w), 6);
    world_free(w);
}

static void a_clock_stepped_forward_merges_what_it_skipped(void **state)
{
    struct world *w = begin();
    (void)state;
    set(w, "hourly", "{\"cron\":\"@every 1h\",\"type\":\"a\"}");
    world_leap(w, HOUR);
    w->wall += 5 * HOUR + MINUTE;
    world_turn(w);
    assert_string_equal(ledger(w, "hourly"), "fired merged*4 caught_up");
    assert_int_equal(jobs(w), 2);
    world_free(w);
}

/* A zone's clock: Europe/Berlin, 2026. */
static const struct merge_row {
    const char *cron, *options, *from;
    int64_t leap_ms;
    const char *ledger, *notes;
} merge_rows[] = {
    /* 29 March, 02:00 becomes 03:00 */
    {"30 2 * * *", "", "2026-03-29T00:30:00Z", HOUR, "fired", "02:30: the clock went from 02:00 to 03:00"},
    {"0,30 2 * * *", "", "2026-03-29T00:30:00Z", HOUR, "merged fired",
     "02:00 to 02:30: the clock went from 02:00 to 03:00"},
    {"0 1-4 * * *", "", "2026-03-28T23:30:00Z", 3 * HOUR, "fired merged fired fired",
     "02:00: the clock went from 02:00 to 03:00"},
    {"*/10 0 2 * * *", "", "2026-03-29T00:30:00Z", HOUR, "merged*5 fired",
     "02:00 to 02:00:50: the clock went from 02:00 to 03:00"},
    {"0 3 * * *", "", "2026-03-29T00:30:00Z", HOUR, "fired", ""},
    {"30 2 * * *", ",\"dst_gap\":\"skip\"", "2026-03-29T00:30:00Z", HOUR, "", ""},
    {"0 * * * *", "", "2026-03-29T00:30:00Z", HOUR, "fired", ""},
    /* 25 October, 03:00 becomes 02:00 */
    {"30 2 * * *", "", "2026-10-25T00:00:00Z", 2 * HOUR, "merged fired",
     "it comes twice: 2026-10-25T02:30:00+02:00 stands for it"},
    {"30 2 * * *", ",\"dst_overlap\":\"second\"", "2026-10-25T00:00:00Z", 2 * HOUR, "merged fired",
     "it comes twice: 2026-10-25T02:30:00+01:00 stands for it"},
    {"30 2 * * *", ",\"dst_overlap\":\"both\"", "2026-10-25T00:00:00Z", 2 * HOUR, "fired fired", ""},
    {"30 1,3 * * *", "", "2026-10-24T23:00:00Z", 4 * HOUR, "fired fired", ""},
};

static void times_that_a_zone_jumps_over_or_shows_twice_are_in_the_ledger(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof merge_rows / sizeof *merge_rows; i++) {
        const struct merge_row *row = &merge_rows[i];
        struct world *w = begin();
        char definition[300];
        wall_ms from;
        assert_int_equal(time_parse(&from, slice_of(row->from), NULL), MQ_OK);
        w->wall = from;
        world_turn(w);
        snprintf(definition, sizeof definition, "{\"cron\":\"%s\",\"type\":\"a\",\"tz\":\"Europe/Berlin\"%s}",
                 row->cron, row->options);
        set(w, "x", definition);
        world_leap(w, row->leap_ms);
        assert_string_equal(ledger(w, "x"), row->ledger);
        assert_string_equal(notes(w, "x"), row->notes);
        world_free(w);
    }
}

/* ---- catching up ---- */

static const struct catch_up_row {
    const char *options;
    int64_t down_ms; /* after one minute of minutely firing */
    const char *ledger;
} catch_up_rows[] = {
    {"", 30 * SECOND, "fired"},                      /* nothing was missed */
    {"", 3 * MINUTE + 2000, "fired missed*2 fired"}, /* the newest is hardly late */
    {"", 3 * MINUTE + 30000, "fired missed*2 caught_up"},
    {",\"within\":\"20s\"", 3 * MINUTE + 30000, "fired missed*3"},
    {",\"catch_up\":\"skip\"", 3 * MINUTE + 30000, "fired missed*3"},
    {",\"catch_up\":\"skip\"", 3 * MINUTE + 2000, "fired missed*2 fired"},
    {",\"catch_up\":\"all\"", 3 * MINUTE + 30000, "fired caught_up caught_up caught_up"},
    {",\"catch_up\":\"all\",\"most\":2", 4 * MINUTE + 30000, "fired missed*2 caught_up caught_up"},
    {",\"catch_up\":\"all\",\"within\":\"2m\"", 4 * MINUTE + 30000, "fired missed*2 caught_up caught_up"},
    {",\"catch_up\":\"all\",\"most\":2", 3 * DAY, "fired missed*1000+ missed*999 missed*440 caught_up fired"},
    {",\"catch_up\":\"once\"", 400 * DAY + 30000, "fired missed*1000+ missed*4 caught_up"},
    {",\"catch_up\":\"all\",\"most\":2,\"within\":\"36500d\"", 400 * DAY + 30000,
     "fired missed*999+ missed*98 caught_up caught_up"},
};

static void what_was_missed_while_the_server_was_down_follows_the_rule(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof catch_up_rows / sizeof *catch_up_rows; i++) {
        const struct catch_up_row *row = &catch_up_rows[i];
        struct world *w = begin();
        char definition[300];
        snprintf(definition, sizeof definition, "{\"cron\":\"@every 1m\",\"type\":\"a\"%s}", row->options);
        set(w, "minutely", definition);
        world_leap(w, MINUTE);
        restart(w, row->down_ms, no_file);
        world_turn(w);
        const char *got = ledger(w, "minutely");
        if (strcmp(got, row->ledger) != 0)
            fail_msg("row %zu: %s, not %s", i, got, row->ledger);
        world_free(w);
    }
}

/* ---- overlap ---- */

static void a_job_that_goes_on_holds_the_next_back(void **state)
{
    struct world *w = begin();
    struct op_step step;
    (void)state;
    set(w, "skips", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"overlap\":\"skip\"}");
    set(w, "waits", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"overlap\":\"queue\"}");
    set(w, "replaces", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"overlap\":\"replace\"}");
    world_leap(w, 3 * MINUTE + SECOND);
    assert_string_equal(ledger(w, "skips"), "fired skipped skipped");
    assert_string_equal(ledger(w, "waits"), "fired");
    assert_string_equal(ledger(w, "replaces"), "fired replaced replaced");
    job_id first = newest(w, "waits");
    world_step(w, STORE_CANCEL, first, &step);
    store_op_release(&step.op);
    world_turn(w);
    assert_string_equal(ledger(w, "waits"), "fired waited");
    job_id second = newest(w, "waits");
    assert_true(second != first);
    world_step(w, STORE_DELETE, second, &step); /* an end, too */
    store_op_release(&step.op);
    world_turn(w);
    assert_string_equal(ledger(w, "waits"), "fired waited waited");
    world_step(w, STORE_CANCEL, newest(w, "waits"), &step);
    store_op_release(&step.op);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "waits"), "fired waited waited fired");
    world_free(w);
}

static enum mq_code run(struct world *w, const char *name);

static void a_person_s_run_does_not_hide_the_job_that_goes_on(void **state)
{
    struct world *w = begin();
    struct op_step step;
    (void)state;
    set(w, "skips", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"overlap\":\"skip\"}");
    world_leap(w, MINUTE + SECOND);
    job_id first = newest(w, "skips");
    assert_int_equal(run(w, "skips"), MQ_OK);
    assert_int_equal(newest(w, "skips"), first);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "skips"), "fired run skipped");
    world_step(w, STORE_CANCEL, first, &step);
    store_op_release(&step.op);
    assert_int_equal(run(w, "skips"), MQ_OK); /* now it is the one before */
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "skips"), "fired run skipped run skipped");
    world_free(w);
}

static void waiting_for_a_job_survives_a_restart(void **state)
{
    struct world *w = begin();
    struct op_step step;
    (void)state;
    set(w, "waits", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"overlap\":\"queue\"}");
    world_leap(w, 2 * MINUTE + SECOND);
    job_id first = newest(w, "waits");
    restart(w, SECOND, no_file);
    assert_string_equal(ledger(w, "waits"), "fired");
    world_step(w, STORE_CANCEL, first, &step);
    store_op_release(&step.op);
    world_turn(w);
    assert_int_equal(jobs(w), 2);
    world_free(w);
}

/* ---- limits of time and number ---- */

static void an_entry_ends_after_its_max_and_its_end(void **state)
{
    struct world *w = begin();
    char definition[200];
    (void)state;
    set(w, "three", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"max\":3}");
    snprintf(definition, sizeof definition,
             "{\"cron\":\"@every 1m\",\"type\":\"mail.send\",\"start\":%.3f,\"end\":%.3f}",
             (double)(w->wall + 10 * MINUTE) / 1000, (double)(w->wall + 12 * MINUTE) / 1000);
    set(w, "window", definition);
    world_leap(w, HOUR);
    assert_string_equal(ledger(w, "three"), "fired fired fired");
    assert_string_equal(ledger(w, "window"), "fired fired fired"); /* 10, 11 and 12 */
    world_free(w);
}

static void jitter_is_never_earlier_and_the_same_for_the_same_moment(void **state)
{
    struct schedule s;
    int64_t least = INT64_MAX, most = 0;
    (void)state;
    assert_int_equal(schedule_read(&s, SLICE("x"),
                                   SLICE("{\"cron\":\"@every 1m\",\"type\":\"a\",\"jitter\":\"30s\"}"), 1000,
                                   NULL),
                     MQ_OK);
    for (int i = 0; i < 1000; i++) {
        int64_t jitter = schedule_jitter(&s, SLICE("x"), i * MINUTE);
        assert_int_equal(jitter, schedule_jitter(&s, SLICE("x"), i * MINUTE));
        least = jitter < least ? jitter : least;
        most = jitter > most ? jitter : most;
    }
    assert_true(least >= 0 && least < 3000 && most > 27000 && most <= 30000);
    schedule_release(&s);
    struct world *w = begin();
    set(w, "x", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"jitter\":\"30s\"}");
    world_leap(w, MINUTE);
    assert_int_equal(world_state(w, newest(w, "x")), JOB_SCHEDULED);
    world_leap(w, 30 * SECOND);
    assert_int_equal(world_state(w, newest(w, "x")), JOB_READY);
    world_free(w);
}

static void drain(struct world *w, int what)
{
    struct op_queue op = {.name = SLICE("default"), .reason = SLICE_EMPTY, .by = SLICE_EMPTY};
    bool done = false;
    store_op_init(&op.op, STORE_QUEUE, w->wall);
    op.change = (unsigned)what;
    op.op.done = mark;
    op.op.owner = &done;
    dispatch_submit(w->d, &op.op);
    world_turn(w);
    store_op_release(&op.op);
}

static void reboot_fires_once_at_each_start(void **state)
{
    struct world *w = begin();
    (void)state;
    set(w, "warm", "{\"cron\":\"@reboot\",\"type\":\"a\"}");
    world_leap(w, HOUR);
    assert_int_equal(jobs(w), 0); /* it was set while the server ran */
    restart(w, MINUTE, no_file);
    world_leap(w, HOUR);
    assert_int_equal(jobs(w), 1);
    restart(w, 0, no_file);
    world_turn(w);
    assert_string_equal(ledger(w, "warm"), "fired fired");
    world_free(w);
}

static void reboot_does_not_wait_for_a_clock_that_is_set_back_at_the_start(void **state)
{
    struct world *w = begin();
    (void)state;
    set(w, "warm", "{\"cron\":\"@reboot\",\"type\":\"a\"}");
    world_restart(w, MINUTE);
    dispatch_set_schedules(w->d, no_file);
    dispatch_start_schedules(w->d, w->wall);
    store_flush(w->store);
    store_collect(w->store);
    w->wall -= HOUR; /* between its entries' being read and the first turn */
    world_turn(w);
    assert_int_equal(jobs(w), 1);
    world_free(w);
}

static void a_max_that_is_reached_already_ends_the_entry_at_once(void **state)
{
    struct world *w = begin();
    struct op_schedule op;
    (void)state;
    set(w, "x", "{\"cron\":\"@every 1m\",\"type\":\"a\"}");
    world_leap(w, 3 * MINUTE + SECOND);
    assert_int_equal(change(w, &op, SCHEDULE_SET, "x", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"max\":2}"),
                     MQ_BADARG);
    set(w, "x", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"max\":4}");
    world_leap(w, HOUR);
    assert_string_equal(ledger(w, "x"), "fired fired fired fired");
    world_free(w);
}

/* ---- changes that meet ---- */

/* Its moment comes, and its tick is on the way to the store. */
static void come(struct world *w, int64_t ms)
{
    w->wall += ms;
    w->now += ms;
    dispatch_tick(w->d, w->wall, w->now);
}

static void a_change_that_meets_a_tick_loses_and_repeats_nothing(void **state)
{
    struct world *w = begin();
    struct op_schedule op;
    bool done;
    (void)state;
    set(w, "x", "{\"cron\":\"@every 1m\",\"type\":\"a\"}");
    come(w, MINUTE);
    assert_int_equal(
        ask(w, &op, SCHEDULE_SET, "x", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"jitter\":0}", &done), MQ_OK);
    world_turn(w);
    assert_int_equal(op.op.code, MQ_OK);
    store_op_release(&op.op);
    world_leap(w, MINUTE + SECOND);
    assert_string_equal(ledger(w, "x"), "fired fired");
    world_free(w);
}

static void a_reload_that_meets_a_tick_breaks_no_entry(void **state)
{
    struct world *w = begin();
    json_t *file = json_loads(
        "[{\"name\":\"x\",\"line\":1,\"definition\":{\"cron\":\"@every 1m\",\"type\":\"a\"}}]", 0, NULL);
    json_t *other =
        json_loads("[{\"name\":\"x\",\"line\":1,\"definition\":{\"cron\":\"@every 1m\",\"type\":\"a\","
                   "\"priority\":3}}]",
                   0, NULL);
    (void)state;
    dispatch_set_schedules(w->d, file);
    world_turn(w);
    come(w, MINUTE);
    dispatch_set_schedules(w->d, other);
    world_turn(w);
    assert_null(dispatch_schedule_trouble(w->d, SLICE("x")));
    world_leap(w, MINUTE + SECOND);
    assert_string_equal(ledger(w, "x"), "fired fired");
    json_decref(file);
    json_decref(other);
    world_free(w);
}

static void a_pause_and_its_end_in_one_breath_change_nothing(void **state)
{
    struct world *w = begin();
    struct op_schedule pause, resume;
    bool paused, resumed;
    (void)state;
    set(w, "x", "{\"cron\":\"@every 1m\",\"type\":\"a\"}");
    assert_int_equal(ask(w, &pause, SCHEDULE_PAUSE, "x", "", &paused), MQ_OK);
    assert_int_equal(ask(w, &resume, SCHEDULE_RESUME, "x", "", &resumed), MQ_OK);
    world_turn(w);
    assert_int_equal(pause.op.code, MQ_OK);
    assert_int_equal(resume.op.code, MQ_OK);
    store_op_release(&pause.op);
    store_op_release(&resume.op);
    world_leap(w, 2 * MINUTE + SECOND);
    assert_string_equal(ledger(w, "x"), "fired fired");
    world_free(w);
}

/* ---- pauses, refusals ---- */

static void reboot_keeps_the_rules_of_other_moments(void **state)
{
    struct world *w = begin();
    char early[100], late[100];
    struct op_step step;
    (void)state;
    snprintf(early, sizeof early, "{\"cron\":\"@reboot\",\"type\":\"a\",\"start\":%.3f}",
             (double)(w->wall + DAY) / 1000);
    snprintf(late, sizeof late, "{\"cron\":\"@reboot\",\"type\":\"a\",\"end\":%.3f}",
             (double)(w->wall + DAY) / 1000);
    set(w, "early", early);
    set(w, "late", late);
    set(w, "once", "{\"cron\":\"@reboot\",\"type\":\"a\",\"max\":1}");
    set(w, "waits", "{\"cron\":\"@reboot\",\"type\":\"a\",\"overlap\":\"queue\"}");
    restart(w, MINUTE, no_file);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "early"), "");
    assert_string_equal(ledger(w, "late"), "fired");
    restart(w, DAY, no_file);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "early"), "fired");
    assert_string_equal(ledger(w, "late"), "fired");
    assert_string_equal(ledger(w, "once"), "fired");
    assert_string_equal(ledger(w, "waits"), "fired");
    world_step(w, STORE_CANCEL, newest(w, "waits"), &step);
    store_op_release(&step.op);
    world_turn(w);
    assert_string_equal(ledger(w, "waits"), "fired waited");
    world_leap(w, HOUR);
    assert_string_equal(ledger(w, "waits"), "fired waited");
    world_free(w);
}

static void reboot_whose_push_is_refused_is_tried_again(void **state)
{
    struct world *w = begin();
    struct op_schedule op;
    (void)state;
    set(w, "warm", "{\"cron\":\"@reboot\",\"type\":\"a\"}");
    drain(w, QUEUE_DRAIN);
    restart(w, MINUTE, no_file);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "warm"), "");
    drain(w, QUEUE_RESUME);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "warm"), "caught_up");
    drain(w, QUEUE_DRAIN);
    restart(w, 0, no_file);
    world_leap(w, 10 * MINUTE);
    assert_string_equal(ledger(w, "warm"), "caught_up failed");
    restart(w, 0, no_file);
    assert_int_equal(change(w, &op, SCHEDULE_PAUSE, "warm", ""), MQ_OK);
    drain(w, QUEUE_RESUME);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "warm"), "caught_up failed");
    assert_int_equal(change(w, &op, SCHEDULE_RESUME, "warm", ""), MQ_OK);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "warm"), "caught_up failed paused");
    assert_int_equal(jobs(w), 1);
    restart(w, 0, no_file);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "warm"), "caught_up failed paused fired");
    world_free(w);
}

static void on_run(struct schedule_run *run)
{
    *(bool *)run->owner = true;
}

static enum mq_code run(struct world *w, const char *name)
{
    bool done = false;
    struct schedule_run run = {.name = slice_of(name), .done = on_run, .owner = &done};
    struct mq_err err;
    enum mq_code code = dispatch_schedule_run(w->d, &run, &err);
    if (code != MQ_OK)
        return code;
    world_turn(w);
    assert_true(done);
    return run.code;
}

static void what_passes_in_a_pause_is_not_caught_up(void **state)
{
    struct world *w = begin();
    struct op_schedule op;
    (void)state;
    set(w, "minutely", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"catch_up\":\"all\"}");
    assert_int_equal(change(w, &op, SCHEDULE_PAUSE, "minutely", ""), MQ_OK);
    world_leap(w, 5 * MINUTE + SECOND);
    assert_int_equal(jobs(w), 0);
    restart(w, MINUTE, no_file);
    assert_int_equal(change(w, &op, SCHEDULE_RESUME, "minutely", ""), MQ_OK);
    assert_string_equal(ledger(w, "minutely"), "paused*6");
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "minutely"), "paused*6 fired");
    world_free(w);
}

static void a_pause_with_an_end_ends_by_itself(void **state)
{
    struct world *w = begin();
    struct op_schedule op;
    bool done = false;
    (void)state;
    set(w, "minutely", "{\"cron\":\"@every 1m\",\"type\":\"a\"}");
    op = (struct op_schedule){.name = SLICE("minutely"),
                              .change = SCHEDULE_PAUSE,
                              .reason = SLICE_EMPTY,
                              .by = SLICE_EMPTY,
                              .until = w->wall + 3 * MINUTE + SECOND};
    store_op_init(&op.op, STORE_SCHEDULE, w->wall);
    op.op.done = mark;
    op.op.owner = &done;
    dispatch_submit(w->d, &op.op);
    world_turn(w);
    store_op_release(&op.op);
    world_leap(w, 5 * MINUTE);
    assert_string_equal(ledger(w, "minutely"), "paused*3 fired fired");
    assert_int_equal(world_told(w, "schedule.resumed", 0), 1);
    world_free(w);
}

static void a_refused_push_is_tried_again_while_the_rule_allows_it(void **state)
{
    struct world *w = begin();
    (void)state;
    set(w, "hourly", "{\"cron\":\"@every 1h\",\"type\":\"a\"}");
    set(w, "other", "{\"cron\":\"@every 1h\",\"type\":\"mail.send\"}");
    drain(w, QUEUE_DRAIN);
    world_leap(w, HOUR + MINUTE);
    assert_string_equal(ledger(w, "hourly"), "");
    assert_string_equal(ledger(w, "other"), "fired"); /* one entry's trouble is its own */
    drain(w, QUEUE_RESUME);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "hourly"), "caught_up");
    drain(w, QUEUE_DRAIN);
    world_leap(w, HOUR + 10 * MINUTE);
    assert_string_equal(ledger(w, "hourly"), "caught_up failed");
    assert_int_equal(world_told(w, "schedule.failed", 0), 1);
    world_free(w);
}

static void a_moment_whose_turn_comes_while_the_server_stops_is_the_next_server_s(void **state)
{
    struct world *w = begin();
    struct op_step step;
    (void)state;
    set(w, "waits", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"overlap\":\"queue\"}");
    world_leap(w, MINUTE + SECOND);
    come(w, MINUTE); /* the store will say that the job before has not ended */
    dispatch_stop(w->d);
    world_turn(w);
    assert_string_equal(ledger(w, "waits"), "fired");
    world_step(w, STORE_CANCEL, newest(w, "waits"), &step);
    store_op_release(&step.op);
    restart(w, SECOND, no_file);
    assert_string_equal(ledger(w, "waits"), "fired fired");
    world_free(w);
}

static void a_server_whose_memory_is_full_fails_no_moment(void **state)
{
    struct world *w = begin();
    (void)state;
    set(w, "hourly", "{\"cron\":\"@every 1h\",\"type\":\"a\"}");
    dispatch_set_memory_full(w->d, 1 << 20);
    world_leap(w, HOUR + MINUTE);
    assert_string_equal(ledger(w, "hourly"), "");
    dispatch_set_memory_full(w->d, 0);
    world_leap(w, MINUTE);
    assert_string_equal(ledger(w, "hourly"), "caught_up");
    world_free(w);
}

static void a_queue_that_drains_is_not_the_job_before(void **state)
{
    struct world *w = begin();
    (void)state;
    set(w, "replaces", "{\"cron\":\"@every 1m\",\"type\":\"a\",\"overlap\":\"replace\"}");
    world_leap(w, MINUTE + SECOND);
    drain(w, QUEUE_DRAIN);
    world_leap(w, MINUTE);
    drain(w, QUEUE_RESUME);
    world_leap(w, MINUTE / 2);
    assert_string_equal(ledger(w, "replaces"), "fired replaced");
    world_free(w);
}

/* ---- the file ---- */

static json_t *file_of(const char *text)
{
    json_t *file = json_loads(text, 0, NULL);
    assert_non_null(file);
    return file;
}

static void the_file_s_entries_begin_go_on_and_end_with_it(void **state)
{
    struct world *w = begin();
    (void)state;
    json_t *one = file_of("[{\"name\":\"hourly\",\"definition\":{\"cron\":\"@every 1h\",\"type\":\"a\"}}]");
    json_t *same = file_of(
        "[{\"name\":\"hourly\",\"definition\":{\"type\":\"a\",\"cron\":\"@every 1h\",\"queue\":\"q\"}}]");
    set(w, "mine", "{\"cron\":\"@every 1h\",\"type\":\"a\"}");
    dispatch_set_schedules(w->d, one);
    world_leap(w, 30 * MINUTE);
    dispatch_set_schedules(w->d, same); /* another queue: the moment stays */
    world_leap(w, 30 * MINUTE);
    assert_string_equal(ledger(w, "hourly"), "fired");
    restart(w, 0, same);
    world_leap(w, HOUR);
    assert_string_equal(ledger(w, "hourly"), "fired fired");
    dispatch_set_schedules(w->d, no_file);
    world_leap(w, HOUR);
    assert_string_equal(ledger(w, "hourly"), "fired fired"); /* it has ended; its ledger stays */
    assert_string_equal(ledger(w, "mine"), "fired fired fired");
    json_decref(one);
    json_decref(same);
    world_free(w);
}

static void a_broken_entry_stops_no_other(void **state)
{
    struct world *w = begin();
    (void)state;
    json_t *file = file_of("[{\"name\":\"bad\",\"line\":3,\"error\":\"no\"},"
                           "{\"name\":\"worse\",\"definition\":{\"cron\":\"nonsense\",\"type\":\"a\"}},"
                           "{\"name\":\"good\",\"definition\":{\"cron\":\"@every 1h\",\"type\":\"a\"}}]");
    json_t *good = file_of("[{\"name\":\"good\",\"error\":\"schedules.lua:5: broken now\"}]");
    dispatch_set_schedules(w->d, file);
    world_leap(w, HOUR);
    assert_string_equal(ledger(w, "good"), "fired");
    assert_int_equal(world_told(w, "schedule.broken", 0), 2);
    assert_string_equal(dispatch_schedule_trouble(w->d, SLICE("bad")), "schedules.lua:3: no");
    dispatch_set_schedules(w->d, good);
    world_leap(w, HOUR + MINUTE);
    assert_string_equal(ledger(w, "good"), "fired"); /* disabled, and its place in time is kept */
    assert_null(dispatch_schedule_trouble(w->d, SLICE("bad")));
    dispatch_set_schedules(w->d, file);
    world_leap(w, HOUR);
    assert_string_equal(ledger(w, "good"), "fired caught_up fired");
    json_decref(file);
    json_decref(good);
    world_free(w);
}

static void an_entry_may_be_set_paused(void **state)
{
    struct world *w = begin();
    struct op_schedule op;
    (void)state;
    json_t *paused = file_of(
        "[{\"name\":\"filed\",\"definition\":{\"cron\":\"@every 1h\",\"type\":\"a\",\"paused\":true}},"
        "{\"name\":\"boot\",\"definition\":{\"cron\":\"@reboot\",\"type\":\"a\",\"paused\":true}}]");
    json_t *going = file_of("[{\"name\":\"filed\",\"definition\":{\"cron\":\"@every 1h\",\"type\":\"a\"}},"
                            "{\"name\":\"boot\",\"definition\":{\"cron\":\"@reboot\",\"type\":\"a\"}}]");
    dispatch_set_schedules(w->d, paused);
    set(w, "mine", "{\"cron\":\"@every 1h\",\"type\":\"a\",\"paused\":\"yes\",\"catch_up\":\"all\"}");
    world_leap(w, 3 * HOUR);
    restart(w, HOUR, paused);
    world_leap(w, HOUR);
    assert_int_equal(jobs(w), 0);
    assert_true(dispatch_schedule_is_set_paused(w->d, SLICE("filed")));
    assert_int_equal(change(w, &op, SCHEDULE_RESUME, "filed", ""),
                     MQ_CONFLICT); /* its definition would say otherwise */
    dispatch_set_schedules(w->d, going);
    set(w, "mine", "{\"cron\":\"@every 1h\",\"type\":\"a\",\"paused\":\"no\",\"catch_up\":\"all\"}");
    world_leap(w, HOUR);
    assert_string_equal(ledger(w, "filed"), "fired"); /* nothing is caught up */
    assert_string_equal(ledger(w, "mine"), "fired");
    assert_string_equal(ledger(w, "boot"), ""); /* the next start is its moment */
    dispatch_set_schedules(w->d, paused);
    world_leap(w, 3 * HOUR);
    assert_string_equal(ledger(w, "filed"), "fired");
    restart(w, HOUR, going);
    assert_string_equal(ledger(w, "boot"), "fired");
    json_decref(paused);
    json_decref(going);
    world_free(w);
}

/* ---- definitions ---- */

static const struct bad_row {
    const char *definition, *says;
} bad_rows[] = {
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"paused\":\"perhaps\"}", "paused is none of"},
    {"[]", "not a JSON object"},
    {"{\"type\":\"a\"}", "cron is missing"},
    {"{\"cron\":\"@every 1m\"}", "type is missing"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a b\"}", "illegal character"},
    {"{\"cron\":\"@every 1x\",\"type\":\"a\"}", "1x"},
    {"{\"cron\":\"@every 1ms\",\"type\":\"a\"}", "too often"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"qeue\":\"x\"}", "unknown option 'qeue'"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"queue\":17}", "queue is not a text"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"priority\":11}", "PRIORITY 11"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"overlap\":\"drop\"}", "allow, skip, queue, replace"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"catch_up\":\"skip\",\"within\":\"1m\"}", "within"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"most\":3}", "most"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"most\":0,\"catch_up\":\"all\"}", "most"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"max\":-1}", "max"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"jitter\":\"-1s\"}", "jitter"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"start\":\"yesterday\"}", "start"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"start\":5000,\"end\":4000}", "end is before start"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"tags\":\"red\"}", "tags"},
    {"{\"cron\":\"@every 1m\",\"type\":\"a\",\"meta\":3}", "meta"},
    {"{\"cron\":5,\"type\":\"a\"}", "cron is not a text"},
    {"{\"cron\":\"0 0 30 2 *\",\"type\":\"a\"}", "cron: day of month, column 5: '30' never comes"},
    {"{\"cron\":\"*/0 * * * *\",\"type\":\"a\"}", "cron: minute, column 3"},
    {"{\"cron\":\"0 24 * * *\",\"type\":\"a\"}", "cron: hour, column 3: '24'"},
    {"{\"cron\":\"0 0 * * *\",\"tz\":\"Europe/Berlim\",\"type\":\"a\"}", "tz: 'Europe/Berlim'"},
    {"{\"cron\":\"0 0 * * *\",\"days\":\"any\",\"type\":\"a\"}", "either, both"},
    {"{\"cron\":\"0 0 * * *\",\"dst_gap\":\"run\",\"type\":\"a\"}", "default, fire, skip"},
    {"{\"cron\":\"0 0 13 1 5#2\",\"days\":\"both\",\"type\":\"a\",\"dst_overlap\":3}", "first, second, both"},
};

static void a_definition_that_says_nonsense_is_refused_by_its_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_rows / sizeof *bad_rows; i++) {
        struct schedule s;
        struct mq_err err = {0};
        enum mq_code code = schedule_read(&s, SLICE("x"), slice_of(bad_rows[i].definition), 1000, &err);
        if (code != MQ_BADARG || !strstr(err.text, bad_rows[i].says))
            fail_msg("%s: %s", bad_rows[i].definition, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_fires_once_a_moment_for_a_week),
        cmocka_unit_test(moments_are_those_of_the_entry_s_zone),
        cmocka_unit_test(a_daily_entry_fires_once_a_day_through_clock_changes),
        cmocka_unit_test(a_thousand_entries_of_one_moment_fire_all),
        cmocka_unit_test(a_restart_moves_no_moment_and_repeats_none),
        cmocka_unit_test(a_clock_stepped_back_repeats_nothing),
        cmocka_unit_test(times_that_a_zone_jumps_over_or_shows_twice_are_in_the_ledger),
        cmocka_unit_test(a_clock_stepped_forward_merges_what_it_skipped),
        cmocka_unit_test(what_was_missed_while_the_server_was_down_follows_the_rule),
        cmocka_unit_test(a_job_that_goes_on_holds_the_next_back),
        cmocka_unit_test(a_person_s_run_does_not_hide_the_job_that_goes_on),
        cmocka_unit_test(waiting_for_a_job_survives_a_restart),
        cmocka_unit_test(an_entry_ends_after_its_max_and_its_end),
        cmocka_unit_test(a_max_that_is_reached_already_ends_the_entry_at_once),
        cmocka_unit_test(jitter_is_never_earlier_and_the_same_for_the_same_moment),
        cmocka_unit_test(reboot_fires_once_at_each_start),
        cmocka_unit_test(reboot_does_not_wait_for_a_clock_that_is_set_back_at_the_start),
        cmocka_unit_test(reboot_keeps_the_rules_of_other_moments),
        cmocka_unit_test(reboot_whose_push_is_refused_is_tried_again),
        cmocka_unit_test(a_change_that_meets_a_tick_loses_and_repeats_nothing),
        cmocka_unit_test(a_reload_that_meets_a_tick_breaks_no_entry),
        cmocka_unit_test(a_pause_and_its_end_in_one_breath_change_nothing),
        cmocka_unit_test(what_passes_in_a_pause_is_not_caught_up),
        cmocka_unit_test(a_pause_with_an_end_ends_by_itself),
        cmocka_unit_test(a_refused_push_is_tried_again_while_the_rule_allows_it),
        cmocka_unit_test(a_moment_whose_turn_comes_while_the_server_stops_is_the_next_server_s),
        cmocka_unit_test(a_server_whose_memory_is_full_fails_no_moment),
        cmocka_unit_test(a_queue_that_drains_is_not_the_job_before),
        cmocka_unit_test(the_file_s_entries_begin_go_on_and_end_with_it),
        cmocka_unit_test(a_broken_entry_stops_no_other),
        cmocka_unit_test(an_entry_may_be_set_paused),
        cmocka_unit_test(a_definition_that_says_nonsense_is_refused_by_its_key),
    };
    no_file = json_array();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(no_file);
    return failed;
}
