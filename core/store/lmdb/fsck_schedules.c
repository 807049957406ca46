/*
 * Cron entries and their ledgers. Each row belongs to an entry and to the rows that it says are there, and its moments
 * come after those of the row before: else a moment was decided twice. (What is merged, another moment stands for: it may be
 * before, or after.)
 */
#include "store/lmdb/fsck.h"

#define MOMENT_NEVER INT64_MIN

static void remove_entry(struct fsck *f, enum db db, struct slice key)
{
    fsck_fix(f, &(struct fix){.what = FIX_REMOVE, .db = db}, key);
}

static void check_schedules(struct fsck *f)
{
    static const struct key first = {.len = 1};
    struct slice key, record;
    f->walking = DB_SCHEDULES;
    f->report->schedules = 0;
    for (bool more = txn_seek(&f->m, DB_SCHEDULES, &first, &key, &record); more;
         more = txn_next(&f->m, DB_SCHEDULES, &key, &record)) {
        struct schedule_view view;
        struct mq_err why;
        f->report->schedules++;
        if (schedule_decode(&view, record, &why) == MQ_OK)
            continue;
        fsck_problem(f, FSCK_SCHEDULE_UNREADABLE, JOB_ID_NONE, "schedule '%.*s': %s", SLICE_ARG(key),
                     why.text);
        remove_entry(f, DB_SCHEDULES, key);
    }
}

/* The entry whose rows are being met. */
struct ledger {
    bool exists, told;
    size_t name_len;
    char name[KEY_MAX_BYTES];
    uint64_t from, to; /* the rows that it has */
    wall_ms last;      /* the last moment met */
};

static struct slice name_of(const struct ledger *ledger)
{
    return (struct slice){ledger->name, ledger->name_len};
}

static void turn_to(struct fsck *f, struct ledger *ledger, struct slice name)
{
    struct key key;
    struct slice record;
    struct schedule_view view;
    *ledger = (struct ledger){.name_len = name.len, .last = MOMENT_NEVER};
    memcpy(ledger->name, name.at, name.len);
    if (name.len > NAME_MAX_BYTES)
        return;
    key_of_name(&key, name);
    ledger->exists =
        txn_find(&f->m, DB_SCHEDULES, &key, &record) && schedule_decode(&view, record, NULL) == MQ_OK;
    if (ledger->exists) {
        ledger->from = view.rows - view.kept;
        ledger->to = view.rows;
    }
}

static void check_order(struct fsck *f, struct ledger *ledger, const struct tick_row *row)
{
    char when[TIME_TEXT_BYTES];
    if (row->outcome == TICK_RUN || row->outcome == TICK_MERGED) /* of another's moment */
        return;
    if (row->planned <= ledger->last)
        fsck_problem(f, FSCK_TICK_TWICE, row->job, "schedule '%.*s' has decided %s, or one before it, twice",
                     SLICE_ARG(name_of(ledger)), time_format(when, row->planned));
    ledger->last = row->until;
}

static void check_row(struct fsck *f, struct ledger *ledger, struct slice key, struct slice record)
{
    struct tick_row row;
    struct mq_err why;
    uint64_t no = be64_get(key.at + key.len - 8);
    if (!ledger->exists || no < ledger->from || no >= ledger->to) {
        if (!ledger->told)
            fsck_problem(f, FSCK_ORPHAN, JOB_ID_NONE, "the ledger of schedule '%.*s' has row %llu, which %s",
                         SLICE_ARG(name_of(ledger)), (unsigned long long)no,
                         ledger->exists ? "it never wrote, or has dropped" : "no schedule has");
        ledger->told = true;
        remove_entry(f, DB_TICKS, key);
    } else if (tick_decode(&row, record, &why) != MQ_OK) {
        fsck_problem(f, FSCK_PART_UNREADABLE, JOB_ID_NONE, "schedule '%.*s', row %llu: %s",
                     SLICE_ARG(name_of(ledger)), (unsigned long long)no, why.text);
        remove_entry(f, DB_TICKS, key);
    } else {
        check_order(f, ledger, &row);
    }
}

static void check_ticks(struct fsck *f)
{
    static const struct key first = {.len = 1};
    struct ledger ledger = {.name_len = 0};
    struct slice found, record;
    struct key key;
    f->walking = DB_TICKS;
    for (bool more = txn_seek(&f->m, DB_TICKS, &first, &found, &record); more;
         more = txn_next(&f->m, DB_TICKS, &found, &record)) {
        struct slice name = key_tick_name(found);
        if (!name.len || found.len > KEY_MAX_BYTES) {
            fsck_problem(f, FSCK_MALFORMED, JOB_ID_NONE, "database 'ticks' has a key of %zu bytes",
                         found.len);
            remove_entry(f, DB_TICKS, found);
            continue;
        }
        key.len = found.len;
        memcpy(key.at, found.at, found.len);
        if (!slice_equal(name, name_of(&ledger)))
            turn_to(f, &ledger, name);
        check_row(f, &ledger, key_bytes(&key), record);
    }
}

void fsck_schedules(struct fsck *f)
{
    check_schedules(f);
    check_ticks(f);
}
