#include "runtime/home.h"

#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool try_folder(struct home *out, const char *folder)
{
    char probe[HOME_PATH_BYTES], real[HOME_PATH_BYTES];
    if (snprintf(probe, sizeof probe, "%s/stdlib/moonq", folder) >= (int)sizeof probe ||
        access(probe, R_OK) != 0 || !realpath(folder, real) ||
        strlen(real) + sizeof "/scripts" > sizeof out->scripts)
        return false;
    strcpy(stpcpy(out->stdlib, real), "/stdlib");
    strcpy(stpcpy(out->scripts, real), "/scripts");
    return true;
}

enum mq_code home_find(struct home *out, struct mq_err *err)
{
    static const char *const places[] = {"..", "../share/moonq", "../.."}; /* the last for build/san/moonq */
    const char *named = getenv("MOONQ_HOME");
    ssize_t len = readlink("/proc/self/exe", out->binary, sizeof out->binary - 1);
    if (len < 0)
        return mq_fail(err, MQ_INTERNAL, "cannot find my own binary: /proc is not mounted");
    out->binary[len] = '\0';
    if (named && *named) {
        if (try_folder(out, named))
            return MQ_OK;
        return mq_fail(err, MQ_NOTFOUND, "MOONQ_HOME '%.200s' has no stdlib/moonq", named);
    }
    char binary[HOME_PATH_BYTES], folder[HOME_PATH_BYTES + 32];
    strcpy(binary, out->binary);
    const char *base = dirname(binary);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(folder, sizeof folder, "%s/%s", base, places[i]);
        if (try_folder(out, folder))
            return MQ_OK;
    }
    return mq_fail(err, MQ_NOTFOUND, "no stdlib/moonq beside '%.200s' (set MOONQ_HOME)", out->binary);
}
