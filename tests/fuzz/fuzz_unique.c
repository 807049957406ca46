/*
 * A unique key of chosen arguments: a line with their names, then the payload. What makes a key makes the same key from
 * the payload in another spelling, and the key is itself JSON with those names.
 */
#include "fuzz.h"

#include <jansson.h>

#include "job/job.h"
#include "job/unique.h"

#define FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

static void check_respelled(struct slice fields, struct slice payload, struct slice key)
{
    struct buf again = BUF_INIT;
    struct mq_err err = {0};
    json_t *value = json_loadb(payload.at, payload.len, FLAGS, NULL);
    FUZZ_MUST(value, "a key was made of what is no JSON");
    char *text = json_dumps(value, JSON_INDENT(3) | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    enum mq_code code = strlen(text) > UNIQUE_PAYLOAD_MAX_BYTES
                            ? MQ_TOOBIG
                            : unique_key_of(&again, fields, slice_of(text), &err);
    FUZZ_MUST(code == MQ_TOOBIG || (code == MQ_OK && slice_equal(buf_bytes(&again), key)),
              "'%.*s' and '%.*s' %s", SLICE_ARG(key), SLICE_ARG(buf_bytes(&again)), err.text);
    free(text);
    json_decref(value);
    buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = fuzz_copy((struct slice){(const char *)data, size}), rest = all;
    struct slice fields = fuzz_part(&rest, '\n');
    struct buf key = BUF_INIT;
    struct mq_err err = {0};
    if (unique_fields_check(fields, &err) == MQ_OK) {
        if (unique_key_of(&key, fields, rest, &err) == MQ_OK) {
            json_t *back = json_loadb(buf_bytes(&key).at, buf_len(&key), FLAGS, NULL);
            FUZZ_MUST(json_is_object(back) && buf_len(&key) <= UNIQUE_MAX_BYTES, "no object, or too long");
            json_decref(back);
            check_respelled(fields, rest, buf_bytes(&key));
        } else {
            FUZZ_MUST(err.text[0] && buf_len(&key) == 0, "refused without a reason, or with a key");
        }
    }
    buf_release(&key);
    free((void *)all.at);
    return 0;
}
