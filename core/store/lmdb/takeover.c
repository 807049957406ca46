#include "store/lmdb/takeover.h"

#include <errno.h>
#include <sys/random.h>

#include "base/log.h"

#define LOST_TOKENS                                                                                          \
    (1ULL << 28)           /* more than a server can hand out in the time that a relaxed one may lose, */
#define LOST_IDS_MS 120000 /* and that time, with room to spare */

struct life {
    bool was_relaxed; /* the one before */
    struct journal_mark mark;
    int rc; /* LMDB's, if it was that which failed */
};

/*
 * A relaxed store may have handed out numbers that a power cut made it forget. They must not be used again: clients know
 * them. So what is relaxed says so in meta, and whoever opens it next begins far beyond.
 */
static int skip_lost_numbers(struct env *env, MDB_txn *txn, bool was_relaxed)
{
    char at[META_BYTES];
    struct key key;
    if (was_relaxed) {
        env->meta.last_token += LOST_TOKENS;
        env->meta.last_id += (job_id)LOST_IDS_MS << JOB_ID_CLOCK_BITS;
        key_of_meta(&key);
        struct slice bytes = layout_meta(at, &env->meta);
        MDB_val name = {key.len, key.at}, val = {bytes.len, (void *)bytes.at};
        int rc = mdb_put(txn, env->dbi[DB_META], &name, &val, 0);
        if (rc)
            return rc;
    }
    return layout_set_relaxed(txn, env->dbi[DB_META], env->relaxed_ms > 0);
}

/* A store that has no journal yet must not take a foreign one for its own, so no two stores begin alike. */
static struct journal_mark new_history(void)
{
    struct journal_mark mark = {.epoch = 1};
    if (getrandom(&mark.sum, sizeof mark.sum, 0) != (ssize_t)sizeof mark.sum)
        mq_bug("getrandom: %s", strerror(errno));
    return mark;
}

static int replay(struct env *env, MDB_txn *txn, struct life *life, bool *changed)
{
    struct journal *journal = &env->journal;
    bool has_mark = layout_load_mark(txn, env->dbi[DB_META], &life->mark);
    if (!has_mark)
        life->mark = new_history();
    journal_attach(journal, &life->mark, txn);
    int rc = journal_replay(journal, txn);
    if (!journal_is_empty(journal) || journal->lost)
        life->mark = journal_next_mark(journal, SLICE_EMPTY);
    else if (has_mark)
        *changed = false;
    return rc;
}

static enum mq_code cannot(const char *what, int rc, struct mq_err *err)
{
    return layout_fail(err, rc > 0 ? env_code_of(rc) : MQ_INTERNAL, what, rc);
}

static enum mq_code take_over_in(struct env *env, MDB_txn *txn, struct life *life, struct mq_err *err)
{
    bool new_mark = true;
    enum mq_code code = layout_open(txn, env->dbi, err);
    if (code != MQ_OK)
        return code;
    life->was_relaxed = layout_is_relaxed(txn, env->dbi[DB_META]);
    life->rc = replay(env, txn, life, &new_mark);
    if (life->rc == JOURNAL_UNREADABLE)
        return journal_fail(&env->journal, err);
    if (life->rc)
        return cannot("cannot replay the journal", life->rc, err);
    code = layout_ready(txn, env->dbi, &env->meta, err);
    if (code != MQ_OK)
        return code;
    life->rc = skip_lost_numbers(env, txn, life->was_relaxed);
    if (life->rc == 0 && new_mark)
        life->rc = layout_save_mark(txn, env->dbi[DB_META], &life->mark);
    return life->rc ? cannot("cannot write the store", life->rc, err) : MQ_OK;
}

static enum mq_code try_takeover(struct env *env, struct life *life, struct mq_err *err)
{
    MDB_txn *txn;
    *life = (struct life){0};
    life->rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
    if (life->rc)
        return mq_fail(err, MQ_INTERNAL, "cannot begin a transaction: %s", mdb_strerror(life->rc));
    enum mq_code code = take_over_in(env, txn, life, err);
    if (code != MQ_OK) {
        mdb_txn_abort(txn);
        return code;
    }
    life->rc = mdb_txn_commit(txn);
    return life->rc ? cannot("cannot write the store", life->rc, err) : MQ_OK;
}

/* A power cut in a relaxed life leaves holes: that was its price, and told at its start. */
static void tell_of_journal(const struct journal *journal, const struct life *life)
{
    if (!journal_is_empty(journal))
        log_event(LOG_INFO, "journal.replayed", LOG_INT("batches", (int64_t)journal->records));
    if (journal->lost && !life->was_relaxed)
        log_event(
            LOG_ERROR, "journal.damaged",
            LOG_STR("message",
                    "a part of the journal does not check: what was confirmed behind it is lost. It is kept "
                    "beside the store as " JOURNAL_NAME JOURNAL_DAMAGED),
            LOG_INT("read", (int64_t)journal->records));
}

enum mq_code takeover(struct env *env, struct mq_err *err)
{
    struct life life;
    enum mq_code code;
    /* the journal may hold more than the map has room for */
    while ((code = try_takeover(env, &life, err)) != MQ_OK && life.rc == MDB_MAP_FULL) {
        MDB_envinfo info;
        mdb_env_info(env->mdb, &info);
        if (mdb_env_set_mapsize(env->mdb, info.me_mapsize * 2))
            break;
    }
    if (code != MQ_OK)
        return code;
    tell_of_journal(&env->journal, &life);
    if (life.was_relaxed)
        env->journal.lost = false;
    journal_restart(&env->journal, &life.mark);
    return MQ_OK;
}

void takeover_prepare(struct env *env)
{
    int error = journal_prepare(&env->journal, env->dbi);
    if (error)
        log_event(LOG_WARN, "journal.none", LOG_STR("error", strerror(error)));
}
