#include "runtime/confine.h"

#include "runtime/inside.h" /* before seccomp.h, whose elf.h has an EV_NONE of its own */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/landlock.h"

/* A sanitizer's runtime reads /proc, opens its report and traces its own threads: its builds get less of a wall. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define FILES_MAX 4096 /* connections of handlers, and some */
/*
 * Where Lua calls C that calls Lua (string.gsub with a function), LuaJIT counts slots of Lua's stack, not of C's: 6000
 * such calls, 10 KiB each, raise "stack overflow". With less room they would be a crash. It is not more than the room
 * that Linux keeps free below a stack.
 */
#define STACK_MAX_BYTES (96 << 20)

static void lacks(const char *what, int error)
{
    worker_log(LOG_WARN, "sandbox: the kernel has no %s (%s); the other walls stand", what, strerror(error));
}

/* ---- rlimits ---- */

/*
 * RLIMIT_AS is not among them: threads' stacks and LuaJIT's code areas reserve address space that they never use;
 * Lua's memory has its own counter (meter.h). Nor is RLIMIT_NPROC, which counts the user's processes elsewhere;
 * seccomp refuses to make any.
 */
static void limit(int which, rlim_t most, const char *name)
{
    struct rlimit now;
    if (getrlimit(which, &now) != 0 || (now.rlim_max != RLIM_INFINITY && now.rlim_max < most))
        most = now.rlim_max;
    if (setrlimit(which, &(struct rlimit){most, most}) != 0)
        lacks(name, errno);
}

static void limit_resources(void)
{
    struct stat log;
    limit(RLIMIT_CORE, 0, "core limit");
    limit(RLIMIT_NOFILE, FILES_MAX, "file limit");
    limit(RLIMIT_STACK, STACK_MAX_BYTES, "stack limit");
    /* no file may grow; but what we say last, on a stderr that is a file, must get there */
    if (!SANITIZED && (fstat(STDERR_FILENO, &log) != 0 || !S_ISREG(log.st_mode))) {
        signal(SIGXFSZ, SIG_IGN);
        limit(RLIMIT_FSIZE, 0, "file size limit");
    }
}

/* ---- Landlock: which files ---- */

/* What may be read beside the application and moonq's own Lua. Folders cover what is in them. */
static const char *const readable[] = {
    "/etc", /* resolver, ssl, localtime; a whole folder, since resolv.conf is replaced while we live */
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib", /* name service modules, OpenSSL's */
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/dev/null",
    "/dev/urandom",
    NULL,
};

/* Of the application: not its folder as a whole, in which the store's data and the socket may lie. */
static const char *const of_app[] = {"moonq.lua", "handlers", "retries", "schedules.lua", "lib", NULL};

static void allow_resolver(int ruleset)
{
    char real[PATH_MAX]; /* /run/systemd/resolve/stub-resolv.conf */
    if (realpath("/etc/resolv.conf", real))
        landlock_allow(ruleset, dirname(real));
}

static void confine_files(const char *app, const char *stdlib, const char *scripts)
{
    char path[PATH_MAX + 32];
    int ruleset = landlock_begin();
    if (ruleset < 0) {
        lacks("Landlock", errno);
        return;
    }
    for (size_t i = 0; readable[i]; i++)
        landlock_allow(ruleset, readable[i]);
    for (size_t i = 0; of_app[i]; i++) {
        snprintf(path, sizeof path, "%s/%s", app, of_app[i]);
        landlock_allow(ruleset, path);
    }
    if (SANITIZED)
        landlock_allow(ruleset, "/proc");
    allow_resolver(ruleset);
    landlock_allow(ruleset, stdlib);
    landlock_allow(ruleset, scripts);
    if (landlock_end(ruleset) != 0)
        lacks("Landlock", errno);
}

/* ---- seccomp: which system calls ---- */

/*
 * What Lua, libev, glibc, libcurl and OpenSSL use. What is not listed is answered with ENOSYS, as an older kernel
 * would, so that libraries fall back to what they did before (clone3 to clone, say).
 */
static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendto),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(statx),
    SCMP_SYS(lseek),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64),
    SCMP_SYS(getcwd),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(get_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(membarrier),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(getcpu),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigpending),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(times),
    SCMP_SYS(getrusage),
    SCMP_SYS(setitimer),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime),
    SCMP_SYS(eventfd2),
    SCMP_SYS(epoll_create),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(fcntl),
    SCMP_SYS(socketpair),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(getrandom),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrlimit),
};

/* Asked for only by an attacker: EPERM, which says so. */
static const int refused[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(bpf),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(kexec_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(reboot),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(memfd_create),
    SCMP_SYS(listen),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(link),
    SCMP_SYS(linkat),
    SCMP_SYS(symlink),
    SCMP_SYS(symlinkat),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(chown),
    SCMP_SYS(fchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(lchown),
    SCMP_SYS(truncate),
    SCMP_SYS(creat),
};

/* What depends on arguments. A later version of the same call with other arguments is ENOSYS or its row below. */
static int add_conditions(scmp_filter_ctx filter)
{
    const uint64_t thread = 0x00010000 | 0x00000100; /* CLONE_THREAD | CLONE_VM: a thread, not a process */
    const int families[] = {AF_INET, AF_INET6, AF_NETLINK};
    const unsigned long controls[] = {FIONBIO, FIONREAD, TCGETS};
    const int names[] = {PR_SET_NAME, PR_GET_NAME, 0x53564d41 /* PR_SET_VMA: glibc names its areas */};
    int pid = getpid(), bad = 0;
    const uint64_t writes = O_ACCMODE | O_CREAT | O_TRUNC;
    bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                            SCMP_A2(SCMP_CMP_MASKED_EQ, writes, O_RDONLY));
    bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
                            SCMP_A1(SCMP_CMP_MASKED_EQ, writes, O_RDONLY));
    bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                            SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));
    bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                            SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)pid));
    bad |=
        seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(kill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)pid));
    bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, 0));
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++)
        bad |=
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, controls[i]));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                                SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)names[i]));
    return bad;
}

static int fill_filter(scmp_filter_ctx filter)
{
    int bad = 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        bad |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
    if (SANITIZED) /* everything else is allowed */
        return bad;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        bad |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a chain of 130 comparisons */
    return bad | add_conditions(filter);
}

static void confine_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SANITIZED ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS));
    if (!filter) {
        lacks("seccomp", ENOSYS);
        return;
    }
    int bad = fill_filter(filter);
    if (!bad)
        bad = seccomp_load(filter);
    if (bad)
        lacks("seccomp", bad < 0 ? -bad : EINVAL);
    seccomp_release(filter);
}

void confine(const char *app, const char *stdlib, const char *scripts)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        lacks("no_new_privs", errno);
    limit_resources();
    confine_files(app, stdlib, scripts);
    confine_calls();
}
