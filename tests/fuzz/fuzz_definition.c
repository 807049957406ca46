/*
 * Definitions of cron entries, as clients and applications send them. What can be read names moments that only grow, and
 * a decision about any of them says what it must; reading what was written again gives the same text.
 */
#include "fuzz.h"

#include "dispatch/schedule.h"

#define NOW 1767225600000LL

static void check_decision(const struct schedule *s, wall_ms planned, wall_ms now)
{
    struct standing standing = {.since = NOW, .planned = planned};
    struct decision d = schedule_decide(s, &standing, now);
    FUZZ_MUST(d.planned == planned && d.until >= d.planned && d.until <= now && d.next > d.until && d.count,
              "a decision about %lld at %lld contradicts itself", (long long)planned, (long long)now);
    int64_t jitter = schedule_jitter(s, SLICE("x"), planned);
    FUZZ_MUST(jitter >= 0 && jitter <= s->jitter_ms, "jitter %lld", (long long)jitter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct schedule s;
    struct mq_err err = {0};
    struct slice exact = fuzz_copy((struct slice){(const char *)data, size});
    enum mq_code code = schedule_read(&s, SLICE("x"), exact, 1 << 20, &err);
    FUZZ_MUST(code == MQ_OK || err.text[0], "refused without a word");
    if (code == MQ_OK) {
        wall_ms at = NOW;
        for (int i = 0; i < 5 && at != WALL_NEVER; i++) {
            wall_ms next = plan_next(&s.plan, NOW, at);
            FUZZ_MUST(next > at, "moments do not grow");
            at = next;
            if (at != WALL_NEVER)
                check_decision(&s, at, at + i * 100000);
        }
        schedule_release(&s);
    }
    free((void *)exact.at);
    return 0;
}
