#include "server/fsck.h"

#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/fsck.h"

#define LISTED_MAX 10000 /* problems in one JSON answer; the count goes on */
#define PATH_BYTES 4096

enum {
    EXIT_CLEAN = 0,
    EXIT_PROBLEMS = 1,
    EXIT_CANNOT = 2,
};

static const char usage[] =
    "usage: moonq fsck DATA [--repair] [--json]\n"
    "\n"
    "Compares every record with every index in the data folder DATA (or DATA/data, if DATA is an "
    "application's).\n"
    "No server may be running on it.\n"
    "\n"
    "  -C DIR     the application's folder, if DATA is not given\n"
    "  --repair   mends what can be derived, moves what cannot be read to quarantine; in one transaction\n"
    "  --json     one JSON value on stdout\n"
    "  --help     this text\n"
    "\n"
    "Exit status: 0 clean; 1 problems were found, and with --repair mended as the output says; 2 wrong "
    "usage, or the\n"
    "folder could not be opened.\n";

struct fsck_command {
    char dir[PATH_BYTES];
    bool repair, json;
    unsigned long long lasting; /* problems that no repair can mend */
    bool damaged;               /* one of them is of the pages */
    json_t *problems;
};

static int misuse(const char *what, const char *culprit)
{
    fprintf(stderr, "moonq fsck: %s%s%s%s\nSee moonq fsck --help.\n", what, culprit ? " '" : "",
            culprit ? culprit : "", culprit ? "'" : "");
    return EXIT_CANNOT;
}

/* ---- what is told ---- */

static void print_problem(void *owner, const struct fsck_problem *problem)
{
    struct fsck_command *command = owner;
    const struct fsck_kind_row *kind = &fsck_kinds[problem->kind];
    char id[JOB_ID_TEXT_BYTES];
    command->lasting += !kind->mended;
    command->damaged |= problem->kind == FSCK_PAGES || problem->kind == FSCK_CUT;
    if (!command->json) {
        printf("%s. %s\n", problem->text, kind->means);
        return;
    }
    if (json_array_size(command->problems) >= LISTED_MAX)
        return;
    json_t *row = json_pack("{s:s, s:s, s:s, s:s?}", "kind", kind->name, "text", problem->text, "means",
                            kind->means, "repair", kind->mended);
    if (problem->id != JOB_ID_NONE)
        json_object_set_new(row, "id", json_string(id_format(id, problem->id)));
    json_array_append_new(command->problems, row);
}

static void print_report(const struct fsck_command *command, const struct fsck_report *report)
{
    unsigned long long problems = report->problems, left = report->left;
    bool are_notes = !command->damaged && command->lasting >= (report->mended ? left : problems);
    const char *next = are_notes ? "; the jobs are whole" : ": restore a backup";
    printf("%s: ", command->dir);
    if (problems)
        printf("%llu %s found", problems, problems == 1 ? "problem" : "problems");
    if (!problems)
        printf("clean.");
    else if (report->mended && !left)
        printf(", all mended.");
    else if (report->mended)
        printf(", %llu left that no repair can mend%s.", left, next);
    else if (command->repair || command->lasting == problems)
        printf(", which no repair can mend%s.", next);
    else
        printf(" (--repair mends what it can).");
    printf(" %llu jobs in %llu queues, %llu schedules, %llu index entries, %llu in quarantine; %llu pages, "
           "%llu of them free.\n",
           (unsigned long long)report->jobs, (unsigned long long)report->queues,
           (unsigned long long)report->schedules, (unsigned long long)report->entries,
           (unsigned long long)report->quarantined, (unsigned long long)report->pages,
           (unsigned long long)report->pages_free);
}

static void print_json(struct fsck_command *command, const struct fsck_report *report)
{
    json_t *answer =
        json_pack("{s:s, s:b, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "folder", command->dir,
                  "clean", report->problems == 0, "problem_count", (json_int_t)report->problems, "left",
                  (json_int_t)report->left, "mended", (int)report->mended, "jobs", (json_int_t)report->jobs,
                  "queues", (json_int_t)report->queues, "schedules", (json_int_t)report->schedules, "entries",
                  (json_int_t)report->entries, "quarantined", (json_int_t)report->quarantined, "pages",
                  (json_int_t)report->pages, "pages_free", (json_int_t)report->pages_free, "problems",
                  command->problems);
    json_dumpf(answer, stdout, 0);
    putchar('\n');
    json_decref(answer);
}

static int cannot(const struct fsck_command *command, const char *code, const char *text)
{
    json_t *error = json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", text);
    if (command->json) {
        json_dumpf(error, stderr, 0);
        fputc('\n', stderr);
    } else {
        fprintf(stderr, "moonq fsck: %s\n", text);
    }
    json_decref(error);
    return EXIT_CANNOT;
}

/* ---- the check, in a process of its own: pages that are damaged may end it ---- */

static int check(struct fsck_command *command)
{
    struct fsck_settings settings = {
        .dir = command->dir, .repair = command->repair, .found = print_problem, .owner = command};
    struct fsck_report report;
    struct mq_err err;
    command->problems = json_array();
    if (store_fsck(&report, &settings, &err) != MQ_OK) {
        json_decref(command->problems);
        return cannot(command, mq_code_name(err.code), err.text);
    }
    if (command->json)
        print_json(command, &report);
    else
        print_report(command, &report);
    return report.problems ? EXIT_PROBLEMS : EXIT_CLEAN;
}

static int tell_death(const struct fsck_command *command, int number)
{
    char text[200];
    snprintf(text, sizeof text, "reading the file ended in %s: its pages are damaged, restore a backup",
             strsignal(number));
    cannot(command, "INTERNAL", text);
    return EXIT_PROBLEMS;
}

static int check_in_child(struct fsck_command *command)
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        return check(command);
    if (pid == 0) {
        int result = check(command);
        fflush(stdout);
        _exit(result);
    }
    while (waitpid(pid, &status, 0) != pid)
        ;
    return WIFSIGNALED(status) ? tell_death(command, WTERMSIG(status)) : WEXITSTATUS(status);
}

/* ---- arguments ---- */

/* An application's folder means the data in it. */
static bool find_folder(struct fsck_command *command, const char *path)
{
    static const char *const tries[] = {"%s", "%s/data"};
    char file[PATH_BYTES + 16];
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        if (snprintf(command->dir, sizeof command->dir, tries[i], path) >= (int)sizeof command->dir)
            return false;
        snprintf(file, sizeof file, "%s/moonq.mdb", command->dir);
        if (access(file, F_OK) == 0)
            return true;
    }
    snprintf(command->dir, sizeof command->dir, "%s", path);
    return true;
}

int fsck_main(int argc, char **argv)
{
    static const struct option options[] = {
        {"app", required_argument, NULL, 'C'},
        {"repair", no_argument, NULL, 'r'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    static struct fsck_command command;
    const char *path = NULL;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, ":C:", options, NULL)) != -1;) {
        switch (option) {
        case 'C':
            path = optarg;
            break;
        case 'r':
            command.repair = true;
            break;
        case 'j':
            command.json = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_CLEAN;
        case ':':
            return misuse("a value is missing for", argv[optind - 1]);
        default:
            return misuse("unknown option", argv[optind - 1]);
        }
    }
    if (!path && optind < argc)
        path = argv[optind++];
    if (!path || optind != argc)
        return misuse("name one data folder", NULL);
    if (!find_folder(&command, path))
        return misuse("the path is too long:", path);
    return check_in_child(&command);
}
