/* The wall behind the sandbox: what a confined process may ask of the kernel. */
#include "fake_server.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <netinet/in.h>
#include <pthread.h>

#include "runtime/confine.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static char folder[PATH_MAX], outside[PATH_MAX + 16], data[PATH_MAX + 16], script[PATH_MAX + 32];

static int can_read(const char *path)
{
    int fd = open(path, O_RDONLY);
    return fd >= 0;
}

static int cannot_write(void)
{
    return open(script, O_WRONLY) < 0 && open("/tmp/moonq-confined", O_WRONLY | O_CREAT, 0600) < 0;
}

static int reads_its_scripts(void)
{
    return can_read(script);
}

static int cannot_read_the_data_beside_them(void)
{
    return !can_read(data);
}

static int cannot_read_elsewhere(void)
{
    return !can_read(outside) && !can_read("/root") && !can_read("/home");
}

static int reads_what_resolvers_and_tls_need(void)
{
    return can_read("/etc") && can_read("/dev/urandom");
}

static int cannot_delete(void)
{
    return unlink(script) < 0 && rename(script, data) < 0 && mkdir("/tmp/moonq-confined", 0700) < 0;
}

static int cannot_execute(void)
{
    execl("/bin/true", "true", (char *)NULL);
    return errno == EPERM;
}

#if !SANITIZED
static int cannot_fork(void)
{
    int pid = fork();
    if (pid == 0)
        _exit(0);
    return pid < 0;
}

static int cannot_trace(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) < 0;
}

static int cannot_kill_others(void)
{
    return kill(getppid(), 0) < 0;
}

static int cannot_speak_to_unix_sockets(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) < 0;
}

#endif

static int may_connect(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 && socket(AF_INET6, SOCK_DGRAM, 0) >= 0;
}

static int cannot_listen(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return bind(fd, (struct sockaddr *)&any, sizeof any) < 0 || listen(fd, 1) < 0;
}

static int cannot_get_more_privileges(void)
{
    struct rlimit core;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0 && getrlimit(RLIMIT_CORE, &core) == 0 &&
           core.rlim_max == 0;
}

static void *nothing(void *owner)
{
    return owner;
}

static int may_start_threads(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0;
}

/* Runs one of them in a process of its own, confined. */
static void confined(int (*check)(void))
{
    int status;
    int pid = fork();
    if (pid == 0) {
        confine(folder, "/usr/share/zoneinfo", "/usr/share/zoneinfo");
        _exit(check() ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/moonq-confine-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(outside, sizeof outside, "%s.out", folder);
    snprintf(data, sizeof data, "%s/data", folder);
    snprintf(script, sizeof script, "%s/handlers", folder);
    mkdir(script, 0700);
    snprintf(script, sizeof script, "%s/handlers/a.lua", folder);
    close(open(outside, O_WRONLY | O_CREAT, 0600));
    close(open(data, O_WRONLY | O_CREAT, 0600));
    close(open(script, O_WRONLY | O_CREAT, 0600));
    return 0;
}

static int teardown(void **state)
{
    char command[PATH_MAX * 2 + 64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s' '%s'", folder, outside);
    return system(command);
}

#define CASE(name)                                                                                           \
    static void case_##name(void **state)                                                                    \
    {                                                                                                        \
        (void)state;                                                                                         \
        confined(name);                                                                                      \
    }
CASE(cannot_write)
CASE(reads_its_scripts)
CASE(cannot_read_the_data_beside_them)
CASE(cannot_read_elsewhere)
CASE(reads_what_resolvers_and_tls_need)
CASE(cannot_delete)
CASE(cannot_execute)
CASE(cannot_get_more_privileges)
CASE(may_connect)
CASE(may_start_threads)
CASE(cannot_listen)
#if !SANITIZED
CASE(cannot_fork)
CASE(cannot_trace)
CASE(cannot_kill_others)
CASE(cannot_speak_to_unix_sockets)
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_cannot_write),
        cmocka_unit_test(case_reads_its_scripts),
        cmocka_unit_test(case_cannot_read_the_data_beside_them),
        cmocka_unit_test(case_cannot_read_elsewhere),
        cmocka_unit_test(case_reads_what_resolvers_and_tls_need),
        cmocka_unit_test(case_cannot_delete),
        cmocka_unit_test(case_cannot_execute),
        cmocka_unit_test(case_cannot_get_more_privileges),
        cmocka_unit_test(case_may_connect),
        cmocka_unit_test(case_may_start_threads),
        cmocka_unit_test(case_cannot_listen),
#if !SANITIZED
        cmocka_unit_test(case_cannot_fork),
        cmocka_unit_test(case_cannot_trace),
        cmocka_unit_test(case_cannot_kill_others),
        cmocka_unit_test(case_cannot_speak_to_unix_sockets),
#endif
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
