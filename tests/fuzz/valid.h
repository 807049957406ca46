/*
 * valid.h - what a job's specification must be wherever it came from: written a second time, after job.h and name.h, and
 * not with the server's own checks.
 */
#ifndef MOONQ_TESTS_FUZZ_VALID_H
#define MOONQ_TESTS_FUZZ_VALID_H

#include <ctype.h>

#include "fuzz.h"
#include "job/job.h"
#include "job/name.h"

static inline bool valid_name(struct slice name)
{
    if (name.len == 0 || name.len > NAME_MAX_BYTES || strchr(".-:/", name.at[0]))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!name.at[i] || (unsigned char)name.at[i] > 0x7E ||
            !(isalnum((unsigned char)name.at[i]) || strchr("_.-:/", name.at[i])))
            return false;
    return true;
}

static inline void valid_tags(struct slice tags)
{
    unsigned count = 0;
    FUZZ_MUST(tags.len == 0 || tags.at[tags.len - 1] == '\n', "the last tag has no end");
    while (tags.len) {
        struct slice tag = fuzz_part(&tags, '\n');
        FUZZ_MUST(valid_name(tag), "tag '%.*s'", SLICE_ARG(tag));
        count++;
    }
    FUZZ_MUST(count <= TAGS_MAX, "%u tags", count);
}

static inline void valid_spec(const struct job_spec *spec, size_t payload_max)
{
    FUZZ_MUST(valid_name(spec->type), "type '%.*s'", SLICE_ARG(spec->type));
    FUZZ_MUST(valid_name(spec->queue), "queue '%.*s'", SLICE_ARG(spec->queue));
    FUZZ_MUST(spec->payload.len <= payload_max, "payload of %zu bytes", spec->payload.len);
    FUZZ_MUST(spec->meta.len <= META_MAX_BYTES, "meta of %zu bytes", spec->meta.len);
    FUZZ_MUST(spec->priority <= PRIORITY_LAST, "priority %u", spec->priority);
    FUZZ_MUST(spec->max_attempts >= 1 && spec->max_attempts <= ATTEMPTS_MAX, "%u attempts",
              spec->max_attempts);
    FUZZ_MUST(spec->timeout_ms >= 1 && spec->timeout_ms <= TIMEOUT_MAX_MS, "timeout %u", spec->timeout_ms);
    FUZZ_MUST(spec->lease_ms >= 1 && spec->lease_ms <= LEASE_MAX_MS, "lease %u", spec->lease_ms);
    FUZZ_MUST(spec->keep_ms >= 0 && spec->keep_ms <= WALL_MAX, "keep %lld", (long long)spec->keep_ms);
    FUZZ_MUST(spec->expires_at == WALL_NEVER || (spec->expires_at > 0 && spec->expires_at <= WALL_MAX),
              "expires at %lld", (long long)spec->expires_at);
    valid_tags(spec->tags);
}
#endif
