/* The archive of dead letters: a line each, on disk before anything is deleted; never a torn one, never through a link. */
#include "lab.h"
#include "lmdb_factory.h"

#include <errno.h>
#include <jansson.h>
#include <sys/syscall.h>

/* The dynamic linker finds it here first. So many syncs of this folder fail. */
static _Atomic ino_t bad_folder;
static atomic_uint bad_syncs;
int fsync(int fd)
{
    struct stat st;
    if (bad_folder && fstat(fd, &st) == 0 && st.st_ino == bad_folder && bad_syncs) {
        bad_syncs--;
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

static job_id bury(struct lab *lab, const char *payload, struct letter *letter)
{
    job_id id = lab_push(lab, "q", payload);
    struct leased_job *job = lab_lease(lab, "q", 1);
    *letter = (struct letter){id, job->token};
    LAB_OP(lab, note, STORE_NOTE);
    lab->note.id = id;
    lab->note.token = job->token;
    lab->note.progress = -1;
    lab->note.text = SLICE_EMPTY;
    lab->note.log_line = SLICE("looked up the address");
    assert_int_equal(lab_run(lab, &lab->note.op), MQ_OK);
    assert_int_equal(lab_fail(lab, id, letter->token, FAIL_DEAD, 0), MQ_OK);
    return id;
}

static enum mq_code archive(struct lab *lab, const struct letter *letters, unsigned count, unsigned *written,
                            struct mq_err *err)
{
    struct op_archive op = {.letters = letters, .letter_count = count};
    store_op_init(&op.op, STORE_ARCHIVE, lab->now);
    enum mq_code code = lab_run(lab, &op.op);
    *written = op.count;
    *err = op.op.err;
    store_op_release(&op.op);
    return code;
}

static char *path_of(struct lab *lab, const char *name)
{
    static char path[700];
    snprintf(path, sizeof path, "%s/archive%s", lab->settings.dir, name);
    return path;
}

/* Line number `no` of the file; NULL if there is none. */
static json_t *line_of(struct lab *lab, unsigned no)
{
    static char line[1 << 16];
    FILE *file = fopen(path_of(lab, "/dead-2026-01.jsonl"), "r");
    json_t *found = NULL;
    for (unsigned i = 0; file && fgets(line, sizeof line, file); i++)
        if (i == no) {
            assert_int_equal(line[strlen(line) - 1], '\n');
            found = json_loads(line, 0, NULL);
            assert_non_null(found);
        }
    if (file)
        fclose(file);
    return found;
}

static const char *text_at(const json_t *line, const char *name)
{
    const char *text = json_string_value(json_object_get(line, name));
    return text ? text : "";
}

static struct lab *open_lab(void)
{
    struct store_settings wishes = {.nosync = true, .readers = 1};
    return lab_open_with(&lmdb_factory, &wishes);
}

static void a_letter_keeps_all_that_is_known_of_it(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct letter letters[2];
    struct mq_err err;
    unsigned written;
    char id[JOB_ID_TEXT_BYTES];
    id_format(id, bury(lab, "{\"to\":\"ana@example.com\"}", &letters[0]));
    bury(lab, "\xff\x00 no text", &letters[1]);
    assert_int_equal(archive(lab, letters, 2, &written, &err), MQ_OK);
    assert_int_equal(written, 2);
    json_t *line = line_of(lab, 0);
    assert_string_equal(text_at(line, "id"), id);
    assert_string_equal(text_at(line, "type"), "email.send");
    assert_string_equal(text_at(line, "queue"), "q");
    assert_string_equal(text_at(line, "payload"), "{\"to\":\"ana@example.com\"}");
    assert_string_equal(text_at(line, "died_at"), "2026-01-01T00:00:00.000Z");
    const json_t *attempt = json_array_get(json_object_get(line, "attempts"), 0);
    assert_string_equal(text_at(attempt, "message"), "boom");
    assert_string_equal(text_at(attempt, "traceback"), "handlers/email/send.lua:7");
    assert_string_equal(text_at(json_array_get(json_object_get(line, "log"), 0), "text"),
                        "looked up the address");
    json_decref(line);
    line = line_of(lab, 1);
    assert_string_equal(text_at(line, "payload_hex"), "ff");
    json_decref(line);
    assert_null(line_of(lab, 2));
    lab_close(lab);
}

static void who_is_not_dead_by_that_token_is_left_out(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct letter letters[3];
    struct mq_err err;
    unsigned written;
    bury(lab, "1", &letters[0]);
    bury(lab, "2", &letters[1]);
    lab_step(lab, STORE_RETRY, letters[0].id);
    letters[1].token++;
    letters[2] = (struct letter){12345, 1};
    assert_int_equal(archive(lab, letters, 3, &written, &err), MQ_OK);
    assert_int_equal(written, 0);
    assert_null(line_of(lab, 0));
    lab_close(lab);
}

static void a_torn_line_is_cut_off_before_the_next(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct letter letter;
    struct mq_err err;
    unsigned written;
    bury(lab, "1", &letter);
    assert_int_equal(archive(lab, &letter, 1, &written, &err), MQ_OK);
    FILE *file = fopen(path_of(lab, "/dead-2026-01.jsonl"), "a");
    for (int i = 0; i < 9000; i++)
        fputs("{\"id\":", file);
    fclose(file);
    assert_int_equal(archive(lab, &letter, 1, &written, &err), MQ_OK);
    json_t *second = line_of(lab, 1);
    assert_string_equal(text_at(second, "payload"), "1");
    json_decref(second);
    assert_null(line_of(lab, 2));
    lab_close(lab);
}

/* Nothing may be deleted before the lines, and the folder's own name, are on disk. */
static void a_folder_whose_name_cannot_be_synced_takes_nothing(void **state)
{
    (void)state;
    struct store_settings wishes = {.readers = 1};
    struct lab *lab = lab_open_with(&lmdb_factory, &wishes);
    struct letter letter;
    struct stat st;
    struct mq_err err;
    unsigned written;
    bury(lab, "1", &letter);
    assert_int_equal(stat(lab->settings.dir, &st), 0);
    bad_syncs = 2;
    bad_folder = st.st_ino;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(archive(lab, &letter, 1, &written, &err), MQ_INTERNAL);
        assert_non_null(strstr(err.text, strerror(EIO)));
    }
    assert_int_equal(archive(lab, &letter, 1, &written, &err), MQ_OK);
    assert_int_equal(bad_syncs, 0);
    bad_folder = 0;
    lab_close(lab);
}

static void a_link_in_its_place_is_not_followed(void **state)
{
    (void)state;
    struct lab *lab = open_lab();
    struct letter letter;
    struct mq_err err;
    unsigned written;
    char target[700];
    bury(lab, "1", &letter);
    snprintf(target, sizeof target, "%s/target", lab->settings.dir);
    assert_int_equal(symlink(lab->settings.dir, path_of(lab, "")), 0);
    assert_int_equal(archive(lab, &letter, 1, &written, &err), MQ_NOPERM);
    unlink(path_of(lab, ""));
    assert_int_equal(mkdir(path_of(lab, ""), 0700), 0);
    assert_int_equal(symlink(target, path_of(lab, "/dead-2026-01.jsonl")), 0);
    assert_int_equal(archive(lab, &letter, 1, &written, &err), MQ_NOPERM);
    assert_int_not_equal(access(target, F_OK), 0);
    assert_int_equal(lab_state(lab, letter.id), JOB_DEAD);
    lab_close(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_letter_keeps_all_that_is_known_of_it),
        cmocka_unit_test(who_is_not_dead_by_that_token_is_left_out),
        cmocka_unit_test(a_torn_line_is_cut_off_before_the_next),
        cmocka_unit_test(a_folder_whose_name_cannot_be_synced_takes_nothing),
        cmocka_unit_test(a_link_in_its_place_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
