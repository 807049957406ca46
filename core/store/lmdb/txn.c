/*
 * Every call settles the redo first: until then the value of the change before lies where LMDB has it, and LMDB may move
 * it from here on.
 */
#include "store/lmdb/machine.h"

_Noreturn void txn_fail(struct machine *m, int rc)
{
    m->rc = rc;
    longjmp(m->failed, 1);
}

void txn_begin(struct machine *m, struct level *level, MDB_txn *parent)
{
    redo_settle(&m->redo);
    memset(level, 0, sizeof *level);
    int rc = mdb_txn_begin(m->env->mdb, parent, 0, &level->mdb);
    if (rc)
        txn_fail(m, rc);
}

void txn_abort(struct level *level)
{
    if (level->mdb)
        mdb_txn_abort(level->mdb); /* closes its cursors too */
    memset(level, 0, sizeof *level);
}

MDB_cursor *txn_cursor(struct machine *m, enum db db)
{
    redo_settle(&m->redo);
    MDB_cursor **cursor = &m->at->cursor[db];
    if (!*cursor) {
        int rc = mdb_cursor_open(m->at->mdb, m->env->dbi[db], cursor);
        if (rc)
            txn_fail(m, rc);
    }
    return *cursor;
}

static MDB_val val_of(const struct key *key)
{
    return (MDB_val){key->len, (void *)key->at};
}

/* True if found; false if LMDB says that there is nothing. */
static bool found_or_fail(struct machine *m, int rc)
{
    if (rc && rc != MDB_NOTFOUND)
        txn_fail(m, rc);
    return rc == 0;
}

bool txn_find(struct machine *m, enum db db, const struct key *key, struct slice *out)
{
    MDB_val k = val_of(key), v;
    if (!found_or_fail(m, mdb_cursor_get(txn_cursor(m, db), &k, &v, MDB_SET)))
        return false;
    if (out)
        *out = (struct slice){v.mv_data, v.mv_size};
    return true;
}

void txn_put(struct machine *m, enum db db, const struct key *key, struct slice value)
{
    char *at = txn_reserve(m, db, key, value.len);
    if (value.len)
        memcpy(at, value.at, value.len);
}

char *txn_reserve(struct machine *m, enum db db, const struct key *key, size_t len)
{
    MDB_val k = val_of(key), v = {len, NULL};
    int rc = mdb_cursor_put(txn_cursor(m, db), &k, &v, MDB_RESERVE);
    if (rc)
        txn_fail(m, rc);
    redo_put(&m->redo, db, key_bytes(key), v.mv_data, len);
    return v.mv_data;
}

/* Whether it may be the last key, as far as is known: to ask LMDB is to walk to its last page. */
static bool may_be_last(struct machine *m, enum db db, const struct key *key)
{
    struct key *last = &m->at->least_last[db];
    size_t common = key->len < last->len ? key->len : last->len;
    int order = memcmp(key->at, last->at, common);
    if (order < 0 || (order == 0 && key->len < last->len))
        return false;
    last->len = key->len;
    memcpy(last->at, key->at, key->len);
    return true;
}

char *txn_append(struct machine *m, enum db db, const struct key *key, size_t len)
{
    if (!may_be_last(m, db, key))
        return txn_reserve(m, db, key, len);
    MDB_val k = val_of(key), v = {len, NULL};
    int rc = mdb_cursor_put(txn_cursor(m, db), &k, &v, MDB_RESERVE | MDB_APPEND);
    if (rc == MDB_KEYEXIST)
        return txn_reserve(m, db, key, len);
    if (rc)
        txn_fail(m, rc);
    redo_put(&m->redo, db, key_bytes(key), v.mv_data, len);
    return v.mv_data;
}

bool txn_remove(struct machine *m, enum db db, const struct key *key)
{
    struct slice value;
    if (!txn_find(m, db, key, &value))
        return false;
    redo_remove(&m->redo, db, key_bytes(key), value.at);
    int rc = mdb_cursor_del(txn_cursor(m, db), 0);
    if (rc)
        txn_fail(m, rc);
    return true;
}

void txn_remove_here(struct machine *m, enum db db)
{
    MDB_val k, v;
    int rc = mdb_cursor_get(txn_cursor(m, db), &k, &v, MDB_GET_CURRENT);
    if (!rc) {
        redo_remove(&m->redo, db, (struct slice){k.mv_data, k.mv_size}, v.mv_data);
        rc = mdb_cursor_del(txn_cursor(m, db), 0);
    }
    if (rc)
        txn_fail(m, rc);
}

static bool walk(struct machine *m, enum db db, MDB_val *k, struct slice *found, struct slice *value,
                 MDB_cursor_op how)
{
    MDB_val v;
    if (!found_or_fail(m, mdb_cursor_get(txn_cursor(m, db), k, &v, how)))
        return false;
    *found = (struct slice){k->mv_data, k->mv_size};
    if (value)
        *value = (struct slice){v.mv_data, v.mv_size};
    return true;
}

bool txn_seek(struct machine *m, enum db db, const struct key *key, struct slice *found, struct slice *value)
{
    MDB_val k = val_of(key);
    return walk(m, db, &k, found, value, MDB_SET_RANGE);
}

bool txn_next(struct machine *m, enum db db, struct slice *found, struct slice *value)
{
    MDB_val k;
    return walk(m, db, &k, found, value, MDB_NEXT);
}

bool txn_first(struct machine *m, enum db db, struct slice *found)
{
    MDB_val k;
    return walk(m, db, &k, found, NULL, MDB_FIRST);
}

size_t txn_count(struct machine *m, enum db db)
{
    MDB_stat stat;
    int rc = mdb_stat(m->at->mdb, m->env->dbi[db], &stat);
    if (rc)
        txn_fail(m, rc);
    return stat.ms_entries;
}
