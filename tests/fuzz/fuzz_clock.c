/*
 * Durations and times as people write them. The first byte says which; what is understood has no other characters than
 * the grammar has, lies within its limits, and what is written of it is understood as the same.
 */
#include "fuzz.h"

#include "base/clock.h"

static bool only(struct slice text, const char *allowed)
{
    for (size_t i = 0; i < text.len; i++)
        if (!text.at[i] || !strchr(allowed, text.at[i]))
            return false;
    return true;
}

static void check_duration(struct slice text)
{
    char again[DURATION_TEXT_BYTES];
    struct mq_err err = {0};
    int64_t ms = -42, back = -42;
    if (duration_parse(&ms, text, &err) != MQ_OK) {
        FUZZ_MUST(ms == -42 && err.text[0], "refused, but the answer is touched");
        return;
    }
    FUZZ_MUST(ms >= 0 && ms <= DURATION_MAX, "%lld", (long long)ms);
    FUZZ_MUST(only(text, "0123456789.smhd"), "'%.*s' was taken", SLICE_ARG(text));
    FUZZ_MUST(duration_parse(&back, slice_of(duration_format(again, ms)), &err) == MQ_OK && back == ms,
              "'%.*s' is %lld ms, but its text '%s' is %lld", SLICE_ARG(text), (long long)ms, again,
              (long long)back);
    FUZZ_MUST(strlen(again) <= text.len + 1 || memchr(text.at, '.', text.len), "'%.*s' has become '%s'",
              SLICE_ARG(text), again);
}

static void check_time(struct slice text)
{
    char again[TIME_TEXT_BYTES];
    struct mq_err err = {0};
    wall_ms at = -42, back = -42;
    if (time_parse(&at, text, &err) != MQ_OK) {
        FUZZ_MUST(at == -42 && err.text[0], "refused, but the answer is touched");
        return;
    }
    FUZZ_MUST(at <= WALL_MAX, "%lld", (long long)at);
    FUZZ_MUST(only(text, "0123456789-+:.,TtZz "), "'%.*s' was taken", SLICE_ARG(text));
    time_format(again, at);
    if (at < -62167219200000LL) /* a zone east of Greenwich, in the first hours of the year 0 */
        return;
    FUZZ_MUST(time_parse(&back, slice_of(again), &err) == MQ_OK && back == at,
              "'%.*s' is %lld, but its text '%s' is %lld", SLICE_ARG(text), (long long)at, again,
              (long long)back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    bool time = fuzz_byte(&rest) & 1;
    struct slice text = fuzz_copy(rest);
    if (time)
        check_time(text);
    else
        check_duration(text);
    free((void *)text.at);
    return 0;
}
