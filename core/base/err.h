/*
 * err.h - errors as values: a code from one list, and a message for a person.
 *
 * Three kinds, never mixed. Refused (bad input, wrong state, full) and the world failed (disk, peer) return a
 * code and fill a struct mq_err. A broken invariant of our own is mq_bug(), which logs and aborts.
 *
 * A message says what is wrong, where, and what to do next, and quotes the culprit:
 *     handlers/mail/send.lua:12: timeout '5 s' is not a duration (write 5s)
 */
#ifndef MOONQ_BASE_ERR_H
#define MOONQ_BASE_ERR_H

/* The one list. The wire, Lua's errors and docs/errors.md are made from it: X(code, meaning). */
#define MQ_CODES(X)                                                                                          \
    X(BADARG, "An argument, option or file does not say what it must; the message names it.")                \
    X(NOTFOUND, "There is no such job, queue, command or file.")                                             \
    X(WRONGSTATE, "The job's state forbids this step; the message names the state.")                         \
    X(LOST, "The lease is no longer yours: its token is stale, and the message says who holds the job now, " \
            "or what became of it. Drop the work, do not retry the call.")                                   \
    X(CONFLICT, "Something else holds the place: a second server, a name that is taken.")                    \
    X(FULL, "A configured limit is reached; try again later or raise the limit.")                            \
    X(NOSPACE, "The disk is full. Pushes are refused; acknowledgements still work.")                         \
    X(TOOBIG, "The payload, result or request is larger than its limit.")                                    \
    X(NOPERM, "This caller may not do that.")                                                                \
    X(BUSY, "Not now: the server drains or stops, or the queue is draining.")                                \
    X(TIMEOUT, "The time allowed ran out before there was an answer.")                                       \
    X(SCRIPT, "A Lua script failed or does not load; the message has file and line.")                        \
    X(INTERNAL, "moonq or the machine below it failed; the message has the reason, the log has more.")

enum mq_code {
    MQ_OK = 0,
#define X(code, meaning) MQ_##code,
    MQ_CODES(X)
#undef X
};

#define MQ_ERR_TEXT_BYTES 320 /* a path of 200 and a sentence */

struct mq_err {
    enum mq_code code;
    char text[MQ_ERR_TEXT_BYTES];
};

/* Fills `err` (which may be NULL) and returns `code`, so that a failure is one statement. */
enum mq_code mq_fail(struct mq_err *err, enum mq_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "BADARG"; "OK" for MQ_OK. */
const char *mq_code_name(enum mq_code code);

/* The code of that name, or MQ_INTERNAL for a name that is not in the list. */
enum mq_code mq_code_of(const char *name);

/* A broken invariant: says so on stderr and aborts. Whoever supervises us restarts from disk. */
#define mq_bug(...) mq_bug_at(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void mq_bug_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define mq_must(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            mq_bug("broken: %s", #condition);                                                                \
    } while (0)
#endif
