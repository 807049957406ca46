/*
 * Ids, names and patterns. The first byte says which. An id that is read and written is the same in capitals; a name
 * has only the characters that name.h promises; a pattern matches as the simplest matcher that there is says.
 */
#include "fuzz.h"

#include <ctype.h>

#include "job/id.h"
#include "job/name.h"
#include "protocol/args.h"

static void check_id(struct slice text)
{
    char again[JOB_ID_TEXT_BYTES];
    struct mq_err err;
    job_id id = 42, back;
    if (id_parse(&id, text, &err) != MQ_OK) {
        FUZZ_MUST(id == 42 && err.text[0], "refused, but the answer is touched");
        return;
    }
    id_format(again, id);
    FUZZ_MUST(text.len == JOB_ID_CHARS, "%zu characters", text.len);
    for (size_t i = 0; i < JOB_ID_CHARS; i++) {
        char c = (char)toupper((unsigned char)text.at[i]);
        c = c == 'I' || c == 'L' ? '1' : c == 'O' ? '0' : c;
        FUZZ_MUST(c == again[i], "'%.*s' has become '%s'", SLICE_ARG(text), again);
    }
    FUZZ_MUST(id_parse(&back, slice_of(again), NULL) == MQ_OK && back == id, "'%s' is another id", again);
}

static void check_name(struct slice name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    struct mq_err err;
    bool good = name.len > 0 && name.len <= NAME_MAX_BYTES;
    for (size_t i = 0; good && i < name.len; i++)
        good = name.at[i] && (strchr(letters, name.at[i]) || (i && strchr(".-:/", name.at[i])));
    enum mq_code code = name_check("queue", name, &err);
    FUZZ_MUST((code == MQ_OK) == good, "'%.*s': %s", SLICE_ARG(name), mq_code_name(code));
}

static bool matches(struct slice p, struct slice t)
{
    struct slice p1 = {p.at + 1, p.len - 1}, t1 = {t.at + 1, t.len - 1};
    if (p.len == 0)
        return t.len == 0;
    if (*p.at == '*')
        return matches(p1, t) || (t.len && matches(p, t1));
    return t.len && (*p.at == '?' || tolower((unsigned char)*p.at) == tolower((unsigned char)*t.at)) &&
           matches(p1, t1);
}

static void check_glob(struct slice rest)
{
    struct slice pattern = fuzz_part(&rest, '\n'), text = rest;
    unsigned stars = 0;
    for (size_t i = 0; i < pattern.len; i++)
        stars += pattern.at[i] == '*';
    if (stars > 4 || pattern.len > 40 || text.len > 40)
        return; /* the simplest matcher is not a fast one */
    FUZZ_MUST(glob_matches(pattern, text) == matches(pattern, text), "'%.*s' and '%.*s'", SLICE_ARG(pattern),
              SLICE_ARG(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(struct slice) = {check_id, check_name, check_glob};
    struct slice rest = {(const char *)data, size};
    unsigned which = fuzz_byte(&rest) % 3;
    struct slice text = fuzz_copy(rest);
    checks[which](text);
    free((void *)text.at);
    return 0;
}
