/* What can happen, how often, and which of it happens in a history. */
#include "sim.h"

#include <stdlib.h>

/* ---- dice ----------------------------------------------------------------------------------------------------------- */

/* splitmix64's finisher [https://prng.di.unimi.it/splitmix64.c] */
uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t mix_text(const char *text, uint64_t seed)
{
    while (*text)
        seed = mix(seed ^ (uint8_t)*text++);
    return seed;
}

uint32_t dice(uint32_t sides)
{
    sim.rng = mix(sim.rng);
    return (uint32_t)((sim.rng >> 32) * sides >> 32);
}

bool chance(uint32_t percent)
{
    return dice(100) < percent;
}

int64_t dice_between(int64_t a, int64_t b)
{
    return a + dice((uint32_t)(b - a + 1));
}

struct model_job *pick_job(bool (*wanted)(const struct model_job *))
{
    uint64_t salt = dice(UINT32_MAX), best = 0;
    struct model_job *found = NULL;
    for (unsigned i = 0; i < sim.model.job_count; i++) {
        struct model_job *job = &sim.model.jobs[i];
        if (!wanted(job))
            continue;
        uint64_t rank = mix_text(job->name, salt);
        if (!found || rank > best) {
            best = rank;
            found = job;
        }
    }
    return found;
}

/* ---- time, and the server's own fate ------------------------------------------------------------------------------ */

static void step_moment(void)
{
    int64_t ms = 1 + dice(40);
    say("%lld ms pass", (long long)ms);
    server_pass(ms);
}

static void step_while(void)
{
    int64_t ms = chance(70) ? 50 + dice(1500) : 1000 + dice(20000);
    say("%lld ms pass", (long long)ms);
    server_pass(ms);
}

/* The loop gets no processor for a while: what comes next finds it with all that became due meanwhile still to do. */
static void step_stall(void)
{
    int64_t ms = 1 + dice(2000);
    say("%lld ms pass, and the loop stands still", (long long)ms);
    sim.now += ms;
    sim.wall += ms;
    sim.disturbed = true;
}

static void step_hours(void)
{
    int64_t ms = 60000 + dice(7200000);
    say("%lld minutes pass", (long long)(ms / 60000));
    server_pass(ms);
}

static void step_clock(void)
{
    int64_t ms = chance(50) ? dice_between(-3000, 3000) : dice_between(-7200000, 7200000);
    say("the wall clock steps by %+lld ms", (long long)ms);
    sim.wall += ms;
    sim.disturbed = true;
    server_turn();
}

static void step_restart(void)
{
    say("the server is stopped");
    server_stop();
}

static void step_kill(void)
{
    say("the server is killed");
    server_crash();
}

static void step_fate(void)
{
    static const char *const names[] = {"",
                                        "the server will be killed before its next batch is on disk",
                                        "the server will be killed before the journal's next sync",
                                        "the power will go before the journal's next sync",
                                        "the server will be killed when its next batch is on disk",
                                        "the server will be killed while it answers",
                                        "the server will be killed in its next checkpoint",
                                        "the map will be full in the next batch",
                                        "the disk will be full at the next batch",
                                        "the disk will be full at the next batch, and its reserve used up"};
    unsigned fate = 1 + dice(FATE_DISK_DEAD);
    seam.fate = (enum fate)fate;
    seam.answers_left = dice(3);
    seam.puts_left = dice(40);
    seam.tear_at = dice(1 << 20);
    seam.dead_for = 1 + dice(3);
    say("%s", names[fate]);
}

static bool any_job(const struct model_job *job)
{
    (void)job;
    return true;
}

/* Somebody reads: what was answered before must be seen, wherever it lies. */
static void step_look(void)
{
    struct model_job *job = pick_job(any_job);
    if (job)
        server_look(job->id);
}

static void step_calm(void)
{
    say("calm: workers are well, queues are open");
    server_calm();
}

/* ---- all kinds --------------------------------------------------------------------------------------------------------- */

void step_push(void), step_burst(void), step_person(void), step_cancel_running(void), step_group(void),
    step_many(void), step_bulk(void), step_release(void), step_queue(void), step_type(void),
    step_reload(void), step_configure(void), step_fetch(void), step_hang_up(void), step_ack(void),
    step_nack(void), step_extend(void), step_note(void), step_wait(void), step_wait_stop(void);
void step_cron_set(void), step_cron_change(void), step_cron_file(void), step_cron_rival(void);
void step_worker_works(void), step_worker_begins(void), step_worker_says(void), step_worker_notes(void),
    step_worker_lies(void), step_worker_garbage(void), step_worker_hangs(void), step_worker_wakes(void),
    step_worker_dies(void), step_worker_starts(void), step_worker_retires(void);

static const struct {
    unsigned weight;
    void (*run)(void);
} kinds[] = {
    {120, step_push},        {40, step_group},        {60, step_person},        {15, step_cancel_running},
    {10, step_many},         {8, step_bulk},          {20, step_queue},         {8, step_reload},
    {4, step_configure},     {35, step_fetch},        {5, step_hang_up},        {30, step_ack},
    {15, step_nack},         {10, step_extend},       {8, step_note},           {12, step_wait},
    {3, step_wait_stop},     {60, step_worker_works}, {40, step_worker_begins}, {40, step_worker_says},
    {10, step_worker_notes}, {8, step_worker_lies},   {3, step_worker_garbage}, {12, step_worker_hangs},
    {12, step_worker_wakes}, {10, step_worker_dies},  {25, step_worker_starts}, {5, step_worker_retires},
    {60, step_moment},       {60, step_while},        {4, step_hours},          {6, step_clock},
    {15, step_release},      {20, step_type},         {6, step_burst},          {10, step_stall},
    {2, step_restart},       {3, step_kill},          {12, step_fate},          {2, step_calm},
    {10, step_cron_set},     {10, step_cron_change},  {3, step_cron_file},      {5, step_cron_rival},
    {10, step_look},
};
enum {
    KINDS = sizeof kinds / sizeof *kinds
};

/*
 * Each history leaves out some kinds and has more of others: bugs hide where everything happens a little.
 * [Groce et al., Swarm Testing, 2012]
 */
void plan_make(struct step *steps, unsigned count, uint64_t seed)
{
    unsigned weights[KINDS], sum = 0;
    uint64_t rng = mix(seed);
    for (unsigned k = 0; k < KINDS; k++) {
        rng = mix(rng);
        unsigned mood = rng % 8;
        weights[k] = kinds[k].weight * (mood == 0 ? 0 : mood == 1 ? 4 : 1) + (k == 0);
        sum += weights[k];
    }
    for (unsigned i = 0; i < count; i++) {
        rng = mix(rng);
        unsigned at = (unsigned)(rng % sum), kind = 0;
        while (at >= weights[kind])
            at -= weights[kind++];
        rng = mix(rng);
        steps[i] = (struct step){kind, i + 1, rng};
    }
}

/* The loop does not always come to rest before the next thing happens, and the store is not always quick. */
static void pace(void)
{
    switch (dice(10)) {
    case 0:
        return;
    case 1:
        server_turn();
        return;
    case 2:
        server_turn();
        server_flush();
        return;
    case 3:
        server_turn();
        server_flush();
        server_collect();
        return;
    default:
        server_settle();
        check_rest();
    }
}

void plan_run(const struct step *step)
{
    sim.step = step;
    sim.rng = mix(step->dice);
    sim.spawned = 0;
    kinds[step->kind].run();
    pace();
    check_contents(false);
}
