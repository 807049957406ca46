#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"OK",
#define X(code, meaning) #code,
                                    MQ_CODES(X)
#undef X
};

enum {
    CODE_COUNT = sizeof names / sizeof *names
};

enum mq_code mq_fail(struct mq_err *err, enum mq_code code, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return code;
}

const char *mq_code_name(enum mq_code code)
{
    return (unsigned)code < CODE_COUNT ? names[code] : "INTERNAL";
}

enum mq_code mq_code_of(const char *name)
{
    for (unsigned i = 0; i < CODE_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return (enum mq_code)i;
    return MQ_INTERNAL;
}

_Noreturn void mq_bug_at(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "moonq: bug at %s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}
