/* sim - runs histories, each in a process of its own; shrinks one that fails, and tells it. */
#include "sim.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define PATIENCE_S 20 /* a history takes a few hundredths of a second */

const char *const queue_names[QUEUES] = {"red", "blue", "mail", "default"};
const char *const type_names[JOB_TYPES] = {"paint", "mail.send", "rare"};

struct sim sim;

/* What a history's process leaves behind. */
static struct result {
    char wrong[600];
    unsigned step;
    uint64_t commits, checks, turns, jobs;
} * result;

/* ---- in the history's process ------------------------------------------------------------------------------------- */

/* Names of all jobs that ever were, for the story. */
static struct known {
    job_id id;
    char name[MODEL_TEXT];
} known[HISTORY_MAX];
static unsigned known_count;

const char *name_of(job_id id)
{
    static char text[4][MODEL_TEXT + 8];
    static unsigned turn;
    char *out = text[turn++ % 4];
    snprintf(out, sizeof text[0], "no job");
    for (unsigned i = 0; i < known_count; i++)
        if (known[i].id == id)
            snprintf(out, sizeof text[0], "job %s", known[i].name);
    return out;
}

static void learn_names(void)
{
    job_id last = known_count ? known[known_count - 1].id : 0;
    for (unsigned i = 0; i < sim.model.job_count && known_count < HISTORY_MAX; i++)
        if (sim.model.jobs[i].id > last) {
            known[known_count].id = sim.model.jobs[i].id;
            strcpy(known[known_count++].name, sim.model.jobs[i].name);
        }
}

void say(const char *format, ...)
{
    va_list args;
    if (!sim.trace)
        return;
    printf("%5u  ", sim.step ? sim.step->no : 0);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static void keep_figures(void)
{
    result->commits = sim.commits;
    result->checks = sim.checks;
    result->turns = sim.turns;
    result->jobs = known_count;
}

void sim_wrong(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(result->wrong, sizeof result->wrong, format, args);
    va_end(args);
    result->step = sim.step ? sim.step->no : 0;
    say("WRONG: %s", result->wrong);
    keep_figures();
    _exit(1);
}

/* What dispatch did by itself, with --trace and after shrinking. */
static void tell_own(const struct store_op *op)
{
    const struct op_lease *lease = (const struct op_lease *)op;
    const struct op_sweep *sweep = (const struct op_sweep *)op;
    const struct op_release *release = (const struct op_release *)op;
    const struct op_tick *tick = (const struct op_tick *)op;
    static const char *const kinds[] = {"given back", "charged with a crash", "charged with a timeout",
                                        "given back unstarted"};
    static const char *const sweeps[] = {"due", "leases", "old", "pauses", "dead"};
    if (!sim.trace || op->code != MQ_OK)
        return;
    if (op->verb == STORE_LEASE)
        for (unsigned i = 0; i < lease->count; i++)
            say("    at +%lld ms: %s is leased to %.*s until +%lld", (long long)(sim.now - 1000),
                name_of(lease->jobs[i].id), SLICE_ARG(lease->holder),
                (long long)(lease->jobs[i].deadline - op->now + sim.now - 1000));
    else if (op->verb == STORE_SWEEP)
        for (unsigned i = 0; i < sweep->count; i++)
            say("    at +%lld ms: the sweep of what is %s moves %s to %s", (long long)(sim.now - 1000),
                sweeps[sweep->what], name_of(sweep->swept[i].id), state_name(sweep->swept[i].state));
    else if (op->verb == STORE_RELEASE)
        say("    at +%lld ms: %s is %s", (long long)(sim.now - 1000), name_of(release->id),
            kinds[release->kind]);
    else if (op->verb == STORE_EXTEND)
        say("    at +%lld ms: the lease of %s is extended", (long long)(sim.now - 1000),
            name_of(((const struct op_extend *)op)->id));
    else if (op->verb == STORE_TICK)
        say("    at +%lld ms: schedule %.*s: the moment %+lld is %s%s", (long long)(sim.now - 1000),
            SLICE_ARG(tick->name), (long long)(tick->row.planned - MODEL_BEGIN),
            tick_outcome_name(tick->outcome), tick->row.count > 1 ? ", and others behind it" : "");
    else if (op->verb == STORE_PARK)
        say("    at +%lld ms: %s is parked", (long long)(sim.now - 1000),
            name_of(((const struct op_step *)op)->id));
}

static void on_batch(struct store_op **ops, unsigned count, bool no_space, bool refused)
{
    sim.commits++;
    if (refused) {
        for (unsigned i = 0; i < count; i++)
            if (ops[i]->code != MQ_NOSPACE)
                sim_wrong("a batch has no space, and verb %d was answered %s", (int)ops[i]->verb,
                          mq_code_name(ops[i]->code));
        sim.disturbed = true;
        return;
    }
    for (unsigned i = 0; i < count; i++)
        if (ops[i]->verb == STORE_SWEEP && ops[i]->code == MQ_OK) {
            check_lost((const struct op_sweep *)ops[i]);
            check_archived((const struct op_sweep *)ops[i]);
        }
    sim.model.no_space = no_space;
    for (int leases = 0; leases < 2; leases++)
        for (unsigned i = 0; i < count; i++)
            if ((ops[i]->verb == STORE_LEASE) == leases) {
                if (ops[i]->verb == STORE_SCHEDULE)
                    entries_check_change((const struct op_schedule *)ops[i]);
                model_apply(&sim.model, ops[i]);
                learn_names();
                tell_own(ops[i]);
                if (sim.model.wrong[0])
                    sim_wrong("%s", sim.model.wrong);
            }
    sim.model.no_space = false;
}

static void on_submitted(const struct ticket *ticket)
{
    entries_begin(ticket->op);
    if (!ticket->ours)
        workers_submitted(ticket);
}

/* The lease whose end this is; 0: it is none. */
static uint64_t ended_lease(const struct store_op *op)
{
    switch (op->verb) {
    case STORE_COMPLETE:
        return ((const struct op_complete *)op)->token;
    case STORE_FAIL:
        return ((const struct op_fail *)op)->token;
    case STORE_RELEASE:
        return ((const struct op_release *)op)->token;
    case STORE_PARK:
        return ((const struct op_step *)op)->token;
    default:
        return 0;
    }
}

/* An outcome that has no space is an orphan until it is decided. */
static void follow_orphan(uint64_t token, bool refused)
{
    unsigned at = 0;
    while (at < 64 && sim.orphans[at] != token)
        at++;
    for (unsigned i = 0; refused && at == 64 && i < 64; i++)
        if (!sim.orphans[i])
            at = i;
    if (at < 64)
        sim.orphans[at] = refused ? token : 0;
    if (refused)
        sim.orphans_until = sim.now + 1000;
}

/* Refused for want of space, this says that all else would be, too. */
static bool may_rest_after(const struct store_op *op)
{
    bool pushes = op->verb == STORE_COMPLETE && ((const struct op_complete *)op)->child_count;
    return (ended_lease(op) && !pushes) || op->verb == STORE_LEASE || op->verb == STORE_SWEEP ||
           op->verb == STORE_EXTEND;
}

/* What dispatch did by itself was refused. */
static void on_answered(const struct ticket *ticket)
{
    const struct store_op *op = ticket->op;
    if (op->code == MQ_OK)
        workers_released(op);
    entries_answered(ticket);
    if (ticket->ours)
        return;
    if (ended_lease(op))
        follow_orphan(ended_lease(op), op->code == MQ_NOSPACE);
    if (op->code != MQ_NOSPACE)
        return;
    if (may_rest_after(op))
        sim.rests_until = sim.now + 1000;
}

static void set_up(uint64_t seed, const char *dir)
{
    uint64_t rng = mix(seed + 1);
    sim.wall = MODEL_BEGIN;
    sim.now = 1000;
    sim.wide = rng & 1;
    sim.workers = 1 + (unsigned)(rng >> 8) % SEATS;
    sim.handled[0] = sim.handled[1] = true;
    sim.store_settings = (struct store_settings){
        .dir = dir,
        .map_bytes = 256 << 10, /* small, so that it grows now and then */
        .reserve_bytes = 64 << 10,
        .dead_keep_ms = 60000,
        .crash_limit = 3,
        .snapshot_max_ms = INT32_MAX, /* by the real clock, which is not ours */
        .journal_bytes =
            rng >> 32 & 1 ? 0 : 8192 << (rng >> 33) % 6, /* checkpoints often, or only for who reads */
    };
    sim.settings = (struct dispatch_settings){
        .payload_max = 1 << 20,
        .result_max = 1 << 20,
        .log_line_max = 4096,
        .start_within_ms = 100,
        .cancel_grace_ms = 500,
        .timeout_grace_ms = 300,
        .silence_max_ms = 3000,
        .idle_alarm_ms = 10000,
        .sweep_limit = 1 + (unsigned)(rng >> 16) % 4, /* small, so that chunks meet */
    };
    order_init(&sim.settings.defaults);
    sim.model.dead_keep_ms = sim.store_settings.dead_keep_ms;
    sim.model.crash_limit = sim.store_settings.crash_limit;
    if (rng >> 24 & 1) { /* few, so that they are too many often */
        sim.model.keep_max = sim.store_settings.keep_max = 2 + (rng >> 26) % 8;
        sim.model.dead_max = sim.store_settings.dead_max = 1 + (rng >> 29) % 4;
    }
}

void sim_run(const struct step *steps, unsigned count, uint64_t seed, const char *dir, bool trace)
{
    log_setup((enum log_level)(LOG_ERROR + 1), true);
    seam_hooks = (struct seam_hooks){
        .submitted = on_submitted, .batch = on_batch, .answered = on_answered, .wrong = sim_wrong};
    model_init(&sim.model);
    set_up(seed, dir);
    sim.trace = trace;
    sim.rng = seed;
    server_start(true);
    for (unsigned i = 0; i < count; i++)
        plan_run(&steps[i]);
    struct step last = {.no = count ? steps[count - 1].no + 1 : 1};
    sim.step = &last;
    sim.rng = mix(seed);
    say("calm at the end: every job must come to its end");
    server_calm();
    check_contents(true);
    keep_figures();
}

/* ---- in the process that starts them -------------------------------------------------------------------------------- */

static void clear_dir(const char *dir)
{
    static const char *const names[] = {"moonq.mdb", "moonq.mdb-lock", "moonq.lock", "moonq.journal"};
    char path[600];
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    struct dirent *entry;
    snprintf(path, sizeof path, "%s/archive", dir);
    DIR *archive = opendir(path);
    while (archive && (entry = readdir(archive))) {
        snprintf(path, sizeof path, "%s/archive/%.100s", dir, entry->d_name);
        unlink(path);
    }
    if (archive)
        closedir(archive);
    snprintf(path, sizeof path, "%s/archive", dir);
    rmdir(path);
}

/* True: nothing is wrong. */
static bool try(const struct step *steps, unsigned count, uint64_t seed, const char *dir, bool trace)
{
    int status;
    memset(result, 0, sizeof *result);
    clear_dir(dir);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (child == 0) {
        alarm(trace ? 10 * PATIENCE_S : PATIENCE_S);
        sim_run(steps, count, seed, dir, trace);
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status) && !result->wrong[0])
        snprintf(result->wrong, sizeof result->wrong, "%s",
                 WTERMSIG(status) == SIGALRM ? "it does not come to an end"
                                             : "the server's process dies of a signal");
    if (WIFEXITED(status) && WEXITSTATUS(status) && !result->wrong[0])
        snprintf(result->wrong, sizeof result->wrong, "its process ends with status %d", WEXITSTATUS(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/*
 * Leaves out ever smaller pieces, as long as what is left still fails. [Zeller and Hildebrandt, Simplifying and
 * Isolating Failure-Inducing Input, 2002]
 */
static unsigned shrink(struct step *steps, unsigned count, uint64_t seed, const char *dir)
{
    struct step *without = malloc(count * sizeof *without);
    for (unsigned piece = count / 2; piece > 0;) {
        bool shorter = false;
        for (unsigned at = 0; at + piece <= count;) {
            memcpy(without, steps, at * sizeof *steps);
            memcpy(without + at, steps + at + piece, (count - at - piece) * sizeof *steps);
            if (try(without, count - piece, seed, dir, false)) {
                at += piece;
                continue;
            }
            count -= piece;
            memcpy(steps, without, count * sizeof *steps);
            shorter = true;
        }
        if (piece > 1)
            piece = piece / 2;
        else if (!shorter)
            break;
    }
    free(without);
    return count;
}

/* What comes after the step that failed has nothing to do with it. */
static unsigned cut_after(const struct step *steps, unsigned count, unsigned no)
{
    unsigned kept = 0;
    while (kept < count && steps[kept].no <= no)
        kept++;
    return kept;
}

static void tell(struct step *steps, unsigned count, uint64_t seed, const char *dir, bool short_)
{
    unsigned whole = count;
    printf("seed %llu: step %u: %s\n", (unsigned long long)seed, result->step, result->wrong);
    if (short_) {
        count = cut_after(steps, count, result->step);
        count = shrink(steps, count, seed, dir);
        printf("shrunk from %u steps to %u:\n\n", whole, count);
        try(steps, count, seed, dir, true);
    }
    printf("\nreplay: --seed %llu --steps %u --trace\n", (unsigned long long)seed, whole);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Of the histories' processes: on a machine that is busy with other things, the only figure that means something. */
static double processor_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

struct options {
    uint64_t seed;
    unsigned count, steps, budget_s;
    bool one, trace, short_;
};

static int usage(void)
{
    fputs("usage: sim [--seed N] [--count HISTORIES] [--steps STEPS] [--seconds S] [--trace] [--no-shrink]\n"
          "  --seed N    with --count or --seconds: the first; alone: only this one\n"
          "  --trace     tells the whole history\n",
          stderr);
    return 2;
}

static bool parse(struct options *o, int argc, char **argv)
{
    bool many = false, seeded = false;
    *o = (struct options){.seed = 1, .count = 2000, .steps = 500, .short_ = true};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            o->trace = true;
            continue;
        }
        if (strcmp(argv[i], "--no-shrink") == 0) {
            o->short_ = false;
            continue;
        }
        if (!value)
            return false;
        unsigned long long number = strtoull(value, NULL, 10);
        i++;
        if (strcmp(argv[i - 1], "--seed") == 0) {
            o->seed = number;
            seeded = true;
        } else if (strcmp(argv[i - 1], "--count") == 0) {
            o->count = (unsigned)number;
            many = true;
        } else if (strcmp(argv[i - 1], "--steps") == 0 && number <= HISTORY_MAX) {
            o->steps = (unsigned)number;
        } else if (strcmp(argv[i - 1], "--seconds") == 0) {
            o->budget_s = (unsigned)number;
            o->count = UINT32_MAX;
            many = true;
        } else {
            return false;
        }
    }
    o->one = seeded && !many;
    if (o->one)
        o->count = 1;
    return true;
}

static int run_all(const struct options *o, const char *dir)
{
    struct step *steps = malloc((o->steps + 1) * sizeof *steps);
    uint64_t commits = 0, checks = 0, jobs = 0;
    double began = seconds();
    unsigned done = 0;
    int failed = 0;
    for (; done < o->count && (!o->budget_s || seconds() - began < o->budget_s) && !failed; done++) {
        uint64_t seed = o->seed + done;
        plan_make(steps, o->steps, seed);
        failed = !try(steps, o->steps, seed, dir, o->trace);
        commits += result->commits;
        checks += result->checks;
        jobs += result->jobs;
        if (failed)
            tell(steps, o->steps, seed, dir, o->short_ && !o->trace);
    }
    double took = seconds() - began;
    if (!failed)
        printf("sim: %u histories of %u steps from seed %llu, nothing wrong: %llu jobs, %llu commits, %llu "
               "comparisons; %.0f histories a minute, %.0f a minute of processor time\n",
               done, o->steps, (unsigned long long)o->seed, (unsigned long long)jobs,
               (unsigned long long)commits, (unsigned long long)checks, done / took * 60,
               done / processor_seconds() * 60);
    free(steps);
    return failed;
}

/* Memory, where there is such a folder: no disk is worth waiting for here. */
static bool make_dir(char *dir, size_t size)
{
    const char *tmp = getenv("TMPDIR");
    const char *bases[] = {"/dev/shm", tmp ? tmp : "/tmp"};
    for (unsigned i = 0; i < 2; i++) {
        snprintf(dir, size, "%s/moonq-sim-XXXXXX", bases[i]);
        if (mkdtemp(dir))
            return true;
    }
    perror(dir);
    return false;
}

int main(int argc, char **argv)
{
    struct options options;
    char dir[512];
    if (!parse(&options, argc, argv))
        return usage();
    if (!make_dir(dir, sizeof dir))
        return 2;
    result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int failed = run_all(&options, dir);
    clear_dir(dir);
    rmdir(dir);
    return failed;
}
