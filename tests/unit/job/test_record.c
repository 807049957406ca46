#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <xxhash.h>

#include "old_status.h"

static const struct job_spec spec = {
    .type = {"email.send", 10},
    .queue = {"mail", 4},
    .payload = {"{\"to\":\"a\0b\"}", 12},
    .meta = {"{}", 2},
    .tags = {"red\nblue\n", 9},
    .pushed_at = 1767225600000LL,
    .expires_at = WALL_NEVER,
    .keep_ms = 3600000,
    .timeout_ms = 600000,
    .lease_ms = 30000,
    .max_attempts = 25,
    .priority = 9,
};
static const struct job_status status = {
    .state = JOB_RUNNING,
    .priority = 3,
    .parked = true,
    .cancelling = true,
    .held_by_worker = true,
    .started = true,
    .queue_no = 77,
    .attempt = 4,
    .crashes = 2,
    .token = 0x0123456789ABCDEFULL,
    .since = 1,
    .due_at = 2,
    .deadline = 3,
    .expires_at = WALL_NEVER,
    .progress = 0.75f,
    .holder = {"w1", 2},
    .note = {"three quarters", 14},
};
static const struct job_attempt attempt = {
    .number = 3,
    .outcome = STEP_FAIL,
    .began = 10,
    .ended = 20,
    .worker = {"w2", 2},
    .code = {"SCRIPT", 6},
    .message = {"boom", 4},
    .traceback = {"line 1\nline 2", 13},
    .scripts = 0xC0FFEE,
};

/* The three records as bytes; the caller frees. */
static struct slice encoded(int which)
{
    if (which == 2) {
        struct buf buf = BUF_INIT;
        buf_add(&buf, "before", 6); /* is not part of the sum */
        record_add_attempt(&buf, &attempt);
        char *copy = malloc(buf_len(&buf) - 6);
        struct slice bytes = {copy, buf_len(&buf) - 6};
        memcpy(copy, buf.at + 6, bytes.len);
        buf_release(&buf);
        return bytes;
    }
    size_t len = which ? record_status_bytes(&status) : record_spec_bytes(&spec);
    char *at = malloc(len); /* exactly: ASan sees a byte too many */
    if (which)
        record_write_status(at, &status);
    else
        record_write_spec(at, &spec);
    return (struct slice){at, len};
}

static enum mq_code decode(int which, struct slice bytes, struct mq_err *err)
{
    struct job_spec a;
    struct job_status b;
    struct job_attempt c;
    return which == 0   ? record_read_spec(&a, bytes, err)
           : which == 1 ? record_read_status(&b, bytes, err)
                        : record_read_attempt(&c, bytes, err);
}

static void a_spec_comes_back_as_it_was(void **state)
{
    (void)state;
    struct job_spec out;
    struct slice bytes = encoded(0);
    assert_int_equal(record_read_spec(&out, bytes, NULL), MQ_OK);
    assert_true(slice_equal(out.type, spec.type));
    assert_true(slice_equal(out.queue, spec.queue));
    assert_true(slice_equal(out.payload, spec.payload)); /* NUL ends nothing */
    assert_true(slice_equal(out.meta, spec.meta));
    assert_true(slice_equal(out.tags, spec.tags));
    assert_int_equal(out.pushed_at, spec.pushed_at);
    assert_int_equal(out.expires_at, spec.expires_at);
    assert_int_equal(out.keep_ms, spec.keep_ms);
    assert_int_equal(out.timeout_ms, spec.timeout_ms);
    assert_int_equal(out.lease_ms, spec.lease_ms);
    assert_int_equal(out.max_attempts, spec.max_attempts);
    assert_int_equal(out.priority, spec.priority);
    free((void *)bytes.at);
}

static void a_spec_made_by_a_schedule_says_so_and_others_are_no_longer_for_it(void **state)
{
    (void)state;
    struct job_spec made = spec, out;
    char bytes[512];
    size_t plain = record_spec_bytes(&spec);
    made.schedule = SLICE("nightly");
    made.planned_at = 1767225600123LL;
    size_t len = record_spec_bytes(&made);
    assert_int_equal(len, plain + 4 + 7 + 8);
    record_write_spec(bytes, &made);
    assert_int_equal(record_read_spec(&out, (struct slice){bytes, len}, NULL), MQ_OK);
    assert_true(slice_equal(out.schedule, made.schedule));
    assert_int_equal(out.planned_at, made.planned_at);
    assert_true(slice_equal(out.tags, spec.tags));
    record_write_spec(bytes, &spec);
    assert_int_equal(bytes[0], 1);
    assert_int_equal(record_read_spec(&out, (struct slice){bytes, plain}, NULL), MQ_OK);
    assert_int_equal(out.schedule.len, 0);
}

static void a_held_status_has_its_pause_and_others_are_no_longer_for_it(void **state)
{
    (void)state;
    struct job_status out, held = status;
    char at[300];
    held.held_no = 0x01020304;
    size_t len = record_status_bytes(&held);
    assert_int_equal(len, record_status_bytes(&status) + 4);
    record_write_status(at, &held);
    assert_int_equal(at[0], 5);
    assert_int_equal(record_read_status(&out, (struct slice){at, len}, NULL), MQ_OK);
    assert_int_equal(out.held_no, held.held_no);
    assert_true(slice_equal(out.note, held.note));
    record_write_status(at, &status);
    assert_int_equal(at[0], 4);
    assert_int_equal(record_read_status(&out, (struct slice){at, record_status_bytes(&status)}, NULL), MQ_OK);
    assert_int_equal(out.held_no, 0);
}

static void a_held_status_without_a_pause_is_damage(void **state)
{
    (void)state;
    struct job_status out, held = status;
    struct mq_err err;
    char at[300];
    held.held_no = 1;
    size_t len = record_status_bytes(&held);
    record_write_status(at, &held);
    memset(at + len - 8, 0, 4);
    be32_put(at + len - 4, (uint32_t)XXH3_64bits(at, len - 4));
    assert_int_equal(record_read_status(&out, (struct slice){at, len}, &err), MQ_INTERNAL);
    assert_string_equal(err.text, "status record is held by pause 0, which is none");
}

static void a_status_comes_back_as_it_was(void **state)
{
    (void)state;
    struct job_status out;
    struct slice bytes = encoded(1);
    assert_int_equal(record_read_status(&out, bytes, NULL), MQ_OK);
    assert_int_equal(out.state, status.state);
    assert_int_equal(out.priority, status.priority);
    assert_true(out.parked && out.cancelling && out.held_by_worker && out.started);
    assert_int_equal(out.queue_no, status.queue_no);
    assert_int_equal(out.attempt, status.attempt);
    assert_int_equal(out.crashes, status.crashes);
    assert_true(out.token == status.token);
    assert_int_equal(out.since, status.since);
    assert_int_equal(out.due_at, status.due_at);
    assert_int_equal(out.deadline, status.deadline);
    assert_int_equal(out.expires_at, status.expires_at);
    assert_true(out.progress == status.progress);
    assert_true(slice_equal(out.holder, status.holder));
    assert_true(slice_equal(out.note, status.note));
    free((void *)bytes.at);
}

static void a_unique_key_comes_back_with_its_terms(void **state)
{
    (void)state;
    struct job_spec out, keyed = spec;
    keyed.unique_key = SLICE("user:7");
    keyed.unique_until = 1767225700000LL;
    keyed.unique_states = JOB_STATES_UNFINISHED;
    size_t len = record_spec_bytes(&keyed);
    char *at = malloc(len);
    record_write_spec(at, &keyed);
    assert_int_equal(at[0], 2);
    assert_int_equal(record_read_spec(&out, (struct slice){at, len}, NULL), MQ_OK);
    assert_true(slice_equal(out.unique_key, keyed.unique_key));
    assert_int_equal(out.unique_until, keyed.unique_until);
    assert_int_equal(out.unique_states, keyed.unique_states);
    free(at);
}

static void a_status_is_long_only_if_it_has_more_to_say(void **state)
{
    (void)state;
    static const struct row {
        enum key_role role;
        uint16_t states;
        wall_ms until, was_due;
        int64_t late_ms;
        uint32_t held_no;
        char format;
        bool good;
    } rows[] = {
        {KEY_NONE, 0, 0, 0, 0, 0, 4, true},
        {KEY_NONE, 0, 0, 0, 0, 5, 5, true},
        {KEY_HOLDS, 8, 1767225700000LL, 0, 0, 5, 6, true},
        {KEY_FREE, JOB_STATES_ALL, 0, 0, 0, 0, 6, true},
        {KEY_NONE, 0, 0, 1767225700000LL, 12, 0, 6, true},
        {KEY_HOLDS, 8, 0, 0, 0, 0, 6, false}, /* a holder without an end, not even a far one */
        {KEY_FREE, 8, 1, 0, 0, 0, 6, false},  /* an end without a holder */
        {KEY_NONE, 8, 0, 1, 0, 0, 6, false},  /* states of no key */
        {KEY_FREE, 1, 0, 0, 0, 0, 6, false},  /* a state that there is not */
        {(enum key_role)9, 8, 0, 0, 0, 0, 6, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct job_status out, in = status;
        in.key_role = rows[i].role;
        in.key_states = rows[i].states;
        in.key_until = rows[i].until;
        in.was_due = rows[i].was_due;
        in.late_ms = rows[i].late_ms;
        in.held_no = rows[i].held_no;
        size_t len = record_status_bytes(&in);
        char *at = malloc(len);
        record_write_status(at, &in);
        assert_int_equal(at[0], rows[i].format);
        assert_int_equal(record_read_status(&out, (struct slice){at, len}, NULL),
                         rows[i].good ? MQ_OK : MQ_INTERNAL);
        if (rows[i].good) {
            assert_int_equal(out.key_role, in.key_role);
            assert_int_equal(out.key_states, in.key_states);
            assert_int_equal(out.key_until, in.key_until);
            assert_int_equal(out.was_due, in.was_due);
            assert_int_equal(out.late_ms, in.late_ms);
            assert_int_equal(out.held_no, in.held_no);
            assert_true(slice_equal(out.note, in.note));
        }
        free(at);
    }
}

/* A layout before had no room behind holder and note, and other numbers. */
static void a_status_of_before_there_was_room_is_still_read(void **state)
{
    (void)state;
    static const struct {
        uint32_t held_no;
        wall_ms was_due;
        char format;
    } rows[] = {{0, 0, 1}, {5, 0, 2}, {0, 1767225700000LL, 3}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct job_status in = status, out;
        char at[300], before[300];
        in.holder = SLICE("w-1");
        in.note = SLICE_EMPTY;
        in.held_no = rows[i].held_no;
        in.was_due = rows[i].was_due;
        record_write_status(at, &in);
        size_t len = old_status(before, (struct slice){at, record_status_bytes(&in)});
        assert_int_equal(len, record_status_bytes(&in) - 13);
        assert_int_equal(before[0], rows[i].format);
        assert_int_equal(record_read_status(&out, (struct slice){before, len}, NULL), MQ_OK);
        assert_true(slice_equal(out.holder, in.holder));
        assert_int_equal(out.held_no, in.held_no);
        assert_int_equal(out.was_due, in.was_due);
        assert_int_equal(out.deadline, in.deadline);
    }
}

static void what_stands_in_the_room_is_noticed(void **state)
{
    (void)state;
    struct job_status in = status, out;
    struct mq_err err;
    in.holder = in.note = SLICE_EMPTY;
    size_t len = record_status_bytes(&in);
    char *at = malloc(len);
    record_write_status(at, &in);
    at[56 + 8 + 3] = 1;
    be32_put(at + len - 4, (uint32_t)XXH3_64bits(at, len - 4));
    assert_int_equal(record_read_status(&out, (struct slice){at, len}, &err), MQ_INTERNAL);
    assert_non_null(strstr(err.text, "room"));
    free(at);
}

static void a_lease_makes_a_status_no_longer(void **state)
{
    (void)state;
    struct job_status in = status;
    in.holder = in.note = SLICE_EMPTY;
    size_t waiting = record_status_bytes(&in);
    in.holder = SLICE("thumbnails-12");
    assert_int_equal(record_status_bytes(&in), waiting);
}

static void an_attempt_comes_back_as_it_was(void **state)
{
    (void)state;
    struct job_attempt out;
    struct slice bytes = encoded(2);
    assert_int_equal(record_read_attempt(&out, bytes, NULL), MQ_OK);
    assert_int_equal(out.number, attempt.number);
    assert_int_equal(out.outcome, attempt.outcome);
    assert_int_equal(out.began, attempt.began);
    assert_int_equal(out.ended, attempt.ended);
    assert_true(slice_equal(out.worker, attempt.worker));
    assert_true(slice_equal(out.code, attempt.code));
    assert_true(slice_equal(out.message, attempt.message));
    assert_true(slice_equal(out.traceback, attempt.traceback));
    assert_int_equal(out.scripts, attempt.scripts);
    free((void *)bytes.at);
}

static void an_attempt_whose_scripts_are_not_known_is_as_it_always_was(void **state)
{
    (void)state;
    struct job_attempt in = attempt, out;
    struct buf buf = BUF_INIT;
    in.scripts = 0;
    record_add_attempt(&buf, &in);
    assert_int_equal(buf.at[0], 1);
    assert_int_equal(record_read_attempt(&out, buf_bytes(&buf), NULL), MQ_OK);
    assert_int_equal(out.scripts, 0);
    assert_true(slice_equal(out.traceback, in.traceback));
    buf_release(&buf);
}

static void every_flipped_bit_and_every_cut_is_seen(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        struct slice bytes = encoded(which);
        for (size_t i = 0; i < bytes.len * 8; i++) {
            struct mq_err err = {0};
            char *at = (char *)bytes.at + i / 8;
            *at ^= (char)(1 << i % 8);
            assert_int_equal(decode(which, bytes, &err), MQ_INTERNAL);
            assert_true(err.text[0]);
            *at ^= (char)(1 << i % 8);
        }
        for (size_t len = 0; len < bytes.len; len++) {
            char *cut = malloc(len); /* exactly: nothing behind the cut is read */
            if (len)
                memcpy(cut, bytes.at, len);
            assert_int_equal(decode(which, (struct slice){cut, len}, NULL), MQ_INTERNAL);
            free(cut);
        }
        assert_int_equal(decode(which, bytes, NULL), MQ_OK);
        free((void *)bytes.at);
    }
}

static void a_record_of_another_format_says_so(void **state)
{
    (void)state;
    struct slice bytes = encoded(0);
    struct mq_err err;
    ((char *)bytes.at)[0] = 9;
    assert_int_equal(decode(0, bytes, &err), MQ_INTERNAL);
    assert_non_null(strstr(err.text, "format 9"));
    free((void *)bytes.at);
}

static void empty_slices_are_records_too(void **state)
{
    (void)state;
    struct job_spec empty = {.expires_at = WALL_NEVER}, out;
    size_t len = record_spec_bytes(&empty);
    char *at = malloc(len);
    record_write_spec(at, &empty);
    assert_int_equal(record_read_spec(&out, (struct slice){at, len}, NULL), MQ_OK);
    assert_int_equal(out.payload.len, 0);
    free(at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spec_comes_back_as_it_was),
        cmocka_unit_test(a_spec_made_by_a_schedule_says_so_and_others_are_no_longer_for_it),
        cmocka_unit_test(a_status_comes_back_as_it_was),
        cmocka_unit_test(a_held_status_has_its_pause_and_others_are_no_longer_for_it),
        cmocka_unit_test(a_held_status_without_a_pause_is_damage),
        cmocka_unit_test(a_unique_key_comes_back_with_its_terms),
        cmocka_unit_test(a_status_is_long_only_if_it_has_more_to_say),
        cmocka_unit_test(a_status_of_before_there_was_room_is_still_read),
        cmocka_unit_test(what_stands_in_the_room_is_noticed),
        cmocka_unit_test(a_lease_makes_a_status_no_longer),
        cmocka_unit_test(an_attempt_comes_back_as_it_was),
        cmocka_unit_test(an_attempt_whose_scripts_are_not_known_is_as_it_always_was),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_seen),
        cmocka_unit_test(a_record_of_another_format_says_so),
        cmocka_unit_test(empty_slices_are_records_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
