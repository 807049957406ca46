#include "store/lmdb/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "job/record.h"
#include "base/alloc.h"
#include "base/file.h"

#define PATH_BYTES 4200

char *archive_dir_of(const char *data_dir)
{
    size_t size = strlen(data_dir) + sizeof "/archive";
    char *dir = mq_alloc(size);
    snprintf(dir, size, "%s/archive", data_dir);
    return dir;
}

/* ---- a line ---- */

static json_t *hex_of(struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *text = mq_alloc(bytes.len * 2 + 1);
    for (size_t i = 0; i < bytes.len; i++) {
        text[2 * i] = digits[(uint8_t)bytes.at[i] >> 4];
        text[2 * i + 1] = digits[(uint8_t)bytes.at[i] & 15];
    }
    json_t *out = json_stringn(text, bytes.len * 2);
    free(text);
    return out;
}

/* Bytes that are no UTF-8 stand under another name, as hex digits: what is kept is kept exactly. */
static void set_text(json_t *to, const char *name, struct slice text)
{
    char other[64];
    json_t *value = json_stringn(text.len ? text.at : "", text.len);
    if (value) {
        json_object_set_new(to, name, value);
        return;
    }
    snprintf(other, sizeof other, "%s_hex", name);
    json_object_set_new(to, other, hex_of(text));
}

static void set_text_if_any(json_t *to, const char *name, struct slice text)
{
    if (text.len)
        set_text(to, name, text);
}

static void set_time(json_t *to, const char *name, wall_ms at)
{
    char text[TIME_TEXT_BYTES];
    json_object_set_new(to, name, json_string(time_format(text, at)));
}

static json_t *tags_of(struct slice tags)
{
    json_t *list = json_array();
    for (const char *at = tags.at, *end = tags.at + tags.len; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        json_array_append_new(list, json_stringn(at, len));
        at += len + 1;
    }
    return list;
}

static json_t *attempt_of(struct slice value)
{
    struct job_attempt attempt;
    json_t *out = json_object();
    if (record_read_attempt(&attempt, value, NULL) != MQ_OK) {
        set_text(out, "damaged", value); /* history only: the rest still tells its part */
        return out;
    }
    json_object_set_new(out, "number", json_integer(attempt.number));
    json_object_set_new(out, "outcome", json_string(step_name(attempt.outcome)));
    set_time(out, "began", attempt.began);
    set_time(out, "ended", attempt.ended);
    set_text_if_any(out, "worker", attempt.worker);
    set_text_if_any(out, "code", attempt.code);
    set_text_if_any(out, "message", attempt.message);
    set_text_if_any(out, "traceback", attempt.traceback);
    return out;
}

static json_t *log_line_of(struct slice value)
{
    json_t *out = json_object();
    if (value.len < 8)
        return out;
    set_time(out, "at", (wall_ms)be64_get(value.at));
    set_text(out, "text", (struct slice){value.at + 8, value.len - 8});
    return out;
}

static json_t *parts_of(struct snapshot *s, enum db db, job_id id, json_t *(*one)(struct slice value))
{
    MDB_cursor *cursor;
    struct key from;
    MDB_val key, val;
    json_t *list = json_array();
    if (mdb_cursor_open(s->txn, s->env->dbi[db], &cursor))
        return list;
    key_of_part(&from, id, 0);
    key = (MDB_val){from.len, from.at};
    for (int rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) {
        if (key_id(db, (struct slice){key.mv_data, key.mv_size}) != id)
            break;
        json_array_append_new(list, one((struct slice){val.mv_data, val.mv_size}));
    }
    mdb_cursor_close(cursor);
    return list;
}

static json_t *letter_of(struct snapshot *s, job_id id, const struct job_spec *spec,
                         const struct job_status *status, wall_ms now)
{
    char text[JOB_ID_TEXT_BYTES];
    json_t *out = json_object();
    json_object_set_new(out, "id", json_string(id_format(text, id)));
    set_text(out, "type", spec->type);
    set_text(out, "queue", spec->queue);
    set_text(out, "payload", spec->payload);
    set_text_if_any(out, "meta", spec->meta);
    json_object_set_new(out, "tags", tags_of(spec->tags));
    json_object_set_new(out, "priority", json_integer(spec->priority));
    json_object_set_new(out, "attempt", json_integer(status->attempt));
    json_object_set_new(out, "max_attempts", json_integer(spec->max_attempts));
    json_object_set_new(out, "crashes", json_integer(status->crashes));
    set_time(out, "pushed_at", spec->pushed_at);
    set_time(out, "died_at", status->since);
    set_time(out, "archived_at", now);
    set_text_if_any(out, "note", status->note);
    json_object_set_new(out, "attempts", parts_of(s, DB_ATTEMPTS, id, attempt_of));
    json_object_set_new(out, "log", parts_of(s, DB_LOGS, id, log_line_of));
    return out;
}

static bool find_letter(struct snapshot *s, const struct letter *letter, struct job_spec *spec,
                        struct job_status *status)
{
    struct key key;
    struct slice spec_bytes, status_bytes;
    key_of_id(&key, letter->id);
    return snapshot_find(s, DB_STATES, &key, &status_bytes) && snapshot_find(s, DB_JOBS, &key, &spec_bytes) &&
           record_read_status(status, status_bytes, NULL) == MQ_OK &&
           record_read_spec(spec, spec_bytes, NULL) == MQ_OK && status->state == JOB_DEAD &&
           status->token == letter->token;
}

/* What is damaged is left out, as if it were gone: the deletion, which looks again, moves it to quarantine instead. */
enum mq_code archive_collect(struct snapshot *s, struct op_archive *op)
{
    op->count = 0;
    buf_clear(&s->rows);
    for (unsigned i = 0; i < op->letter_count; i++) {
        struct job_spec spec;
        struct job_status status;
        if (!find_letter(s, &op->letters[i], &spec, &status))
            continue;
        json_t *letter = letter_of(s, op->letters[i].id, &spec, &status, op->op.now);
        char *line = json_dumps(letter, JSON_COMPACT);
        json_decref(letter);
        if (!line)
            return mq_fail(&op->op.err, MQ_INTERNAL, "a dead letter cannot be written as JSON");
        buf_add(&s->rows, line, strlen(line));
        buf_add(&s->rows, "\n", 1);
        free(line);
        op->count++;
    }
    return MQ_OK;
}

/* ---- the file ---- */

static enum mq_code cannot(struct op_archive *op, const char *what, const char *path, int error)
{
    enum mq_code code = error == ENOSPC || error == EDQUOT || error == EFBIG                    ? MQ_NOSPACE
                        : error == EACCES || error == EPERM || error == EROFS || error == ELOOP ? MQ_NOPERM
                                                                                                : MQ_INTERNAL;
    return mq_fail(&op->op.err, code, "cannot %s '%.150s': %s (no dead letter is deleted before it is there)",
                   what, path, strerror(error));
}

static enum mq_code open_folder(struct snapshot *s, struct op_archive *op)
{
    const char *dir = s->env->archive_dir;
    struct stat found;
    char above[PATH_BYTES];
    if (mkdir(dir, 0700) == 0)
        s->env->archive_named = false;
    else if (errno != EEXIST)
        return cannot(op, "make the archive's folder", dir, errno);
    else if (lstat(dir, &found) != 0 || !S_ISDIR(found.st_mode))
        return cannot(op, "use as the archive's folder", dir, ELOOP);
    if (s->env->archive_named || s->env->nosync)
        return MQ_OK;
    snprintf(above, sizeof above, "%.4000s/..", dir);
    int error = file_sync_folder(above);
    s->env->archive_named = !error;
    return error ? cannot(op, "sync the folder of", dir, error) : MQ_OK;
}

/* Back to the last newline. */
static int cut_torn_line(int fd, off_t *size)
{
    char bytes[4096];
    off_t at = *size;
    while (at > 0) {
        size_t len = at < (off_t)sizeof bytes ? (size_t)at : sizeof bytes;
        ssize_t got = pread(fd, bytes, len, at - (off_t)len);
        if (got != (ssize_t)len)
            return got < 0 ? errno : EIO;
        while (len > 0 && bytes[len - 1] != '\n') {
            len--;
            at--;
        }
        if (len > 0)
            break;
    }
    if (at != *size && ftruncate(fd, at) != 0)
        return errno;
    *size = at;
    return 0;
}

static int append(int fd, struct slice lines, off_t at)
{
    while (lines.len) {
        ssize_t wrote = pwrite(fd, lines.at, lines.len, at);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? errno : ENOSPC;
        lines.at += wrote;
        lines.len -= (size_t)wrote;
        at += wrote;
    }
    return 0;
}

static int add_lines(int fd, struct slice lines, bool sync)
{
    struct stat file;
    if (fstat(fd, &file) != 0)
        return errno;
    off_t end = file.st_size;
    int error = cut_torn_line(fd, &end);
    if (!error)
        error = append(fd, lines, end);
    if (!error && sync && fdatasync(fd) != 0)
        error = errno;
    if (error && ftruncate(fd, end) != 0)
        return error; /* its torn line is cut the next time */
    return error;
}

enum mq_code archive_write(struct snapshot *s, struct op_archive *op)
{
    char path[PATH_BYTES], month[16];
    time_t seconds = (time_t)(op->op.now / 1000);
    struct tm utc;
    if (!op->count)
        return MQ_OK;
    enum mq_code code = open_folder(s, op);
    if (code != MQ_OK)
        return code;
    gmtime_r(&seconds, &utc);
    strftime(month, sizeof month, "%Y-%m", &utc);
    snprintf(path, sizeof path, "%.4000s/dead-%s.jsonl", s->env->archive_dir, month);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return cannot(op, "open", path, errno);
    int error = add_lines(fd, buf_bytes(&s->rows), !s->env->nosync);
    close(fd);
    if (!error && !s->env->nosync)
        error = file_sync_folder(s->env->archive_dir); /* the file may be new */
    return error ? cannot(op, "write to", path, error) : MQ_OK;
}
