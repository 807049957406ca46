#include "store/lmdb/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "store/lmdb/redo.h"
#include "base/alloc.h"
#include "base/file.h"

#define MAGIC        "moonq journal\n"
#define MAGIC_BYTES  14
#define RECORD_MAGIC 0x4D514A52u /* MQJR */
#define PATH_BYTES   4096

_Static_assert(DB_COUNT <= JOURNAL_DBS_MAX, "the journal numbers every database");

static uint64_t page_up(uint64_t bytes)
{
    return (bytes + JOURNAL_PAGE - 1) / JOURNAL_PAGE * JOURNAL_PAGE;
}

/* errno's code; 0 only if all of it was read. */
static int read_at(int fd, char *at, size_t len, uint64_t from)
{
    while (len) {
        ssize_t done = pread(fd, at, len, (off_t)from);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done ? errno : EIO;
        at += done;
        len -= (size_t)done;
        from += (uint64_t)done;
    }
    return 0;
}

/* Likewise; `to` goes on as far as it was written. */
static int write_parts(int fd, struct iovec *parts, int count, uint64_t *to)
{
    while (count) {
        ssize_t done = pwritev(fd, parts, count, (off_t)*to);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done ? errno : EIO;
        *to += (uint64_t)done;
        for (; count && (size_t)done >= parts->iov_len; parts++, count--)
            done -= (ssize_t)parts->iov_len;
        if (count) {
            parts->iov_base = (char *)parts->iov_base + done;
            parts->iov_len -= (size_t)done;
        }
    }
    return 0;
}

static int write_at(int fd, const char *bytes, size_t len, uint64_t to)
{
    return write_parts(fd, &(struct iovec){(void *)bytes, len}, 1, &to);
}

static int sync_it(const struct journal *j)
{
    return j->nosync || fdatasync(j->fd) == 0 ? 0 : errno;
}

static bool is_no_space(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* ---- the first page ---- */

/* The names of this layout's databases, as they stand there. */
static void write_names(struct buf *out)
{
    buf_u8(out, DB_COUNT);
    for (int db = 0; db < DB_COUNT; db++) {
        size_t len = strlen(db_names[db]);
        buf_u8(out, (uint8_t)len);
        buf_add(out, db_names[db], len);
    }
}

static uint64_t sum_of_names(struct slice names)
{
    return XXH3_64bits(names.at, names.len);
}

static int write_first_page(struct journal *j)
{
    char page[JOURNAL_PAGE] = {0};
    buf_clear(&j->scratch);
    buf_add(&j->scratch, MAGIC, MAGIC_BYTES);
    buf_u32(&j->scratch, JOURNAL_FORMAT);
    size_t before = buf_len(&j->scratch);
    write_names(&j->scratch);
    struct slice bytes = buf_bytes(&j->scratch);
    j->names_sum = sum_of_names((struct slice){bytes.at + before, bytes.len - before});
    memcpy(page, bytes.at, bytes.len);
    be64_put(page + bytes.len, XXH3_64bits(bytes.at, bytes.len));
    int error = write_at(j->fd, page, sizeof page, 0);
    return error ? error : sync_it(j);
}

/* The names that stand there, and the format; false if the page is damaged or not there. */
static bool read_first_page(struct slice page, uint32_t *format, struct slice *names)
{
    struct reader in = reader_of(page);
    const char *magic = reader_take(&in, MAGIC_BYTES);
    if (!magic || memcmp(magic, MAGIC, MAGIC_BYTES) != 0)
        return false;
    *format = reader_u32(&in);
    names->at = in.rest.at;
    unsigned count = reader_u8(&in);
    for (unsigned i = 0; i < count; i++)
        reader_take(&in, reader_u8(&in));
    names->len = (size_t)(in.rest.at - names->at);
    size_t len = (size_t)(in.rest.at - page.at);
    uint64_t sum = reader_u64(&in);
    return !in.short_ && sum == XXH3_64bits(page.at, len);
}

static MDB_dbi dbi_of_name(MDB_txn *txn, struct slice name)
{
    char text[256];
    MDB_dbi dbi;
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(name));
    return mdb_dbi_open(txn, text, 0, &dbi) == 0 ? dbi : REDO_NO_DB;
}

/* Of a damaged page, or none: those of this layout. If they are not those it was written with, no record checks. */
static void attach_names(struct journal *j, MDB_txn *txn)
{
    char page[JOURNAL_PAGE];
    uint32_t format;
    struct buf ours = BUF_INIT;
    write_names(&ours);
    struct slice names = buf_bytes(&ours), there;
    bool has_page = j->fd >= 0 && j->size >= sizeof page;
    j->error = has_page ? read_at(j->fd, page, sizeof page, 0) : 0;
    bool is_read = has_page && !j->error &&
                   read_first_page((struct slice){page, sizeof page}, &format, &there) &&
                   (uint8_t)there.at[0] <= JOURNAL_DBS_MAX;
    if (is_read)
        names = there;
    j->names_sum = sum_of_names(names);
    struct reader in = reader_of(names);
    j->dbi_count = reader_u8(&in);
    for (unsigned i = 0; i < j->dbi_count; i++) {
        size_t len = reader_u8(&in);
        j->dbi[i] = dbi_of_name(txn, (struct slice){reader_take(&in, len), len});
    }
    buf_release(&ours);
}

/* ---- open ---- */

enum mq_code journal_fail(const struct journal *j, struct mq_err *err)
{
    return mq_fail(err, MQ_INTERNAL,
                   "cannot read '%.200s/" JOURNAL_NAME "': %s (leave it and " DATA_NAME
                   " as they are, check the disk, start again)",
                   j->dir, strerror(j->error));
}

static enum mq_code check_format(struct journal *j, const char *path, struct mq_err *err)
{
    char page[JOURNAL_PAGE];
    uint32_t format;
    struct slice names;
    if (j->size < sizeof page)
        return MQ_OK;
    j->error = read_at(j->fd, page, sizeof page, 0);
    if (j->error)
        return journal_fail(j, err);
    if (!read_first_page((struct slice){page, sizeof page}, &format, &names) || format <= JOURNAL_FORMAT)
        return MQ_OK;
    return mq_fail(err, MQ_BADARG,
                   "'%s' has format %u, this binary knows formats up to %d (use the newer moonq)", path,
                   format, JOURNAL_FORMAT);
}

enum mq_code journal_open(struct journal *j, const char *dir, bool for_writing, struct mq_err *err)
{
    char path[PATH_BYTES];
    struct stat file;
    *j = JOURNAL_NONE;
    j->end = JOURNAL_PAGE;
    j->dir = mq_strdup(dir);
    snprintf(path, sizeof path, "%s/" JOURNAL_NAME, dir);
    j->fd = open(path, (for_writing ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (j->fd < 0 && errno == ENOENT)
        return MQ_OK;
    if (j->fd < 0 && errno == ELOOP)
        return mq_fail(
            err, MQ_NOPERM,
            "'%s' is a symbolic link, which is not followed: name the folder that it leads to with --data",
            path);
    if (j->fd < 0 || fstat(j->fd, &file) != 0)
        return mq_fail(err, errno == EACCES || errno == EPERM || errno == EROFS ? MQ_NOPERM : MQ_INTERNAL,
                       "cannot open '%s': %s", path, strerror(errno));
    j->size = (uint64_t)file.st_size / JOURNAL_PAGE * JOURNAL_PAGE;
    return check_format(j, path, err);
}

void journal_close(struct journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    free(j->dir);
    buf_release(&j->scratch);
    *j = JOURNAL_NONE;
}

void journal_attach(struct journal *j, const struct journal_mark *mark, MDB_txn *txn)
{
    attach_names(j, txn);
    journal_restart(j, mark);
}

/* ---- marks ---- */

uint64_t journal_seed(const struct journal *j)
{
    return XXH3_64bits_withSeed(&j->names_sum, sizeof j->names_sum, j->mark.sum);
}

struct journal_mark journal_next_mark(const struct journal *j, struct slice tail)
{
    return (struct journal_mark){j->mark.epoch + 1, XXH3_64bits_withSeed(tail.at, tail.len, j->sum)};
}

static void rewind_to_start(struct journal *j)
{
    j->records = 0;
    j->sum = journal_seed(j);
    j->end = JOURNAL_PAGE;
}

void journal_restart(struct journal *j, const struct journal_mark *mark)
{
    j->mark = *mark;
    j->unsynced = false; /* what was, is in that commit */
    rewind_to_start(j);
}

/* ---- records ---- */

uint64_t journal_write_head(char head[JOURNAL_HEAD_BYTES], uint64_t epoch, uint64_t number, struct slice redo,
                            uint64_t seed)
{
    be32_put(head, RECORD_MAGIC);
    be32_put(head + 4, (uint32_t)redo.len);
    be64_put(head + 8, epoch);
    be64_put(head + 16, number);
    uint64_t sum = XXH3_64bits_withSeed(redo.at, redo.len, XXH3_64bits_withSeed(head, 24, seed));
    be64_put(head + 24, sum);
    return sum;
}

bool journal_read(struct journal_record *record, struct slice bytes, uint64_t seed)
{
    char head[JOURNAL_HEAD_BYTES];
    if (bytes.len < sizeof head || be32_get(bytes.at) != RECORD_MAGIC ||
        be32_get(bytes.at + 4) > bytes.len - sizeof head)
        return false;
    record->redo = (struct slice){bytes.at + sizeof head, be32_get(bytes.at + 4)};
    record->epoch = be64_get(bytes.at + 8);
    record->number = be64_get(bytes.at + 16);
    record->sum = be64_get(bytes.at + 24);
    return record->sum == journal_write_head(head, record->epoch, record->number, record->redo, seed) &&
           redo_is_whole(record->redo);
}

/* Of what is inside the file. After an error nothing more is read: nobody knows what stood there. */
static bool fetch(struct journal *j, char *at, size_t len, uint64_t from)
{
    if (!j->error)
        j->error = read_at(j->fd, at, len, from);
    return !j->error;
}

/* The next record of this epoch, into the scratch. */
static bool read_next(struct journal *j, struct journal_record *record)
{
    char head[JOURNAL_HEAD_BYTES];
    if (j->fd < 0 || j->end + sizeof head > j->size || !fetch(j, head, sizeof head, j->end))
        return false;
    uint64_t len = sizeof head + (uint64_t)be32_get(head + 4);
    if (be32_get(head) != RECORD_MAGIC || len > j->size - j->end)
        return false;
    buf_clear(&j->scratch);
    if (!fetch(j, buf_room(&j->scratch, len), len, j->end))
        return false;
    buf_grew(&j->scratch, len);
    return journal_read(record, buf_bytes(&j->scratch), j->sum) && record->epoch == j->mark.epoch &&
           record->number == j->records + 1;
}

/* Whether a later record of this epoch stands behind where reading ended: it was written after this one was synced. */
static bool has_later(struct journal *j)
{
    char head[JOURNAL_HEAD_BYTES];
    if (j->fd < 0)
        return false;
    for (uint64_t at = j->end + JOURNAL_PAGE; at < j->size && fetch(j, head, sizeof head, at);
         at += JOURNAL_PAGE)
        if (be32_get(head) == RECORD_MAGIC && be64_get(head + 8) == j->mark.epoch &&
            be64_get(head + 16) > j->records + 1)
            return true;
    return false;
}

int journal_peek(struct journal *j, bool *found)
{
    struct journal_record record;
    rewind_to_start(j);
    *found = read_next(j, &record);
    j->lost = !*found && has_later(j);
    return j->error ? JOURNAL_UNREADABLE : 0;
}

int journal_replay(struct journal *j, MDB_txn *txn)
{
    struct journal_record record;
    rewind_to_start(j);
    while (read_next(j, &record)) {
        int rc = redo_apply(txn, j->dbi, j->dbi_count, record.redo);
        if (rc)
            return rc;
        j->records++;
        j->sum = record.sum;
        j->end += page_up(JOURNAL_HEAD_BYTES + record.redo.len);
    }
    j->lost = has_later(j);
    return j->error ? JOURNAL_UNREADABLE : 0;
}

/* ---- writing ---- */

static int open_new(struct journal *j)
{
    char path[PATH_BYTES], aside[PATH_BYTES];
    snprintf(path, sizeof path, "%s/" JOURNAL_NAME, j->dir);
    snprintf(aside, sizeof aside, "%s/" JOURNAL_NAME JOURNAL_DAMAGED, j->dir);
    if (j->fd >= 0 && j->lost && rename(path, aside) == 0) {
        close(j->fd);
        j->fd = -1;
    }
    if (j->fd >= 0)
        return 0;
    j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return j->fd < 0 ? errno : 0;
}

/* Whoever made the file, and whatever became of the sync then: a file without its name is no record of anything. */
static int sync_name(struct journal *j)
{
    int error = j->named || j->nosync ? 0 : file_sync_folder(j->dir);
    j->named = !error;
    return error;
}

int journal_prepare(struct journal *j, const MDB_dbi dbi[DB_COUNT])
{
    j->is_ready = false;
    int error = open_new(j);
    if (!error && ftruncate(j->fd, 0) != 0)
        error = errno;
    if (!error)
        error = write_first_page(j);
    if (!error)
        error = sync_name(j);
    if (error)
        return error;
    j->size = JOURNAL_PAGE;
    memcpy(j->dbi, dbi, DB_COUNT * sizeof *dbi);
    j->dbi_count = DB_COUNT;
    j->is_ready = true;
    rewind_to_start(j);
    return 0;
}

/* Zeros, and the file's new size, on disk. */
static int extend(struct journal *j, uint64_t to)
{
    static const char zeros[JOURNAL_STEP_LEAST];
    uint64_t step = j->size < JOURNAL_STEP_LEAST  ? JOURNAL_STEP_LEAST
                    : j->size > JOURNAL_STEP_MOST ? JOURNAL_STEP_MOST
                                                  : j->size;
    if (to < j->size + step)
        to = page_up(j->size + step);
    for (uint64_t at = j->size; at < to;) {
        size_t len = to - at < sizeof zeros ? (size_t)(to - at) : sizeof zeros;
        int error = write_at(j->fd, zeros, len, at);
        if (error)
            return error;
        at += len;
    }
    int error = sync_it(j);
    if (!error)
        j->size = to;
    return error;
}

/* What was written of a record that is refused must not be read as one. */
static int scrub(struct journal *j)
{
    static const char zeros[JOURNAL_PAGE];
    int error = ftruncate(j->fd, (off_t)j->size) != 0 ? errno : 0; /* takes no room */
    if (!error && j->end < j->size)
        error = write_at(j->fd, zeros, sizeof zeros, j->end);
    return error ? error : sync_it(j);
}

/* `begun`: some of it may be there, though it failed. */
static int write_record(struct journal *j, struct slice redo, uint64_t *sum, bool *begun)
{
    static const char zeros[JOURNAL_PAGE];
    char head[JOURNAL_HEAD_BYTES];
    uint64_t len = sizeof head + redo.len;
    *sum = journal_write_head(head, j->mark.epoch, j->records + 1, redo, j->sum);
    struct iovec parts[] = {
        {head, sizeof head},
        {(void *)redo.at, redo.len},
        {(void *)zeros, page_up(len) - len}, /* whole pages: the kernel need not read what is there */
    };
    uint64_t to = j->end;
    int error = write_parts(j->fd, parts, 3, &to);
    *begun = to > j->end;
    if (!error && j->relaxed)
        j->unsynced = true;
    else if (!error)
        error = sync_it(j);
    return error;
}

int journal_append(struct journal *j, struct slice redo)
{
    uint64_t bytes = page_up(JOURNAL_HEAD_BYTES + redo.len), sum;
    if (!j->is_ready)
        return ENOSPC;
    /* a long record costs more to write twice than the file system's part of its sync */
    if (j->end + bytes > j->size && bytes < JOURNAL_STEP_MOST) {
        int error = extend(j, j->end + bytes);
        if (error)
            return error;
    }
    bool begun;
    int error = write_record(j, redo, &sum, &begun);
    if (is_no_space(error) && (!begun || scrub(j) == 0))
        return error;
    if (error)
        return is_no_space(error) ? EIO : error;
    j->records++;
    j->sum = sum;
    j->end += bytes;
    if (j->size < j->end)
        j->size = j->end;
    return 0;
}

int journal_sync(struct journal *j)
{
    int error = j->unsynced ? sync_it(j) : 0;
    if (!error)
        j->unsynced = false;
    return error;
}
