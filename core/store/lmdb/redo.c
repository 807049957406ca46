#include "store/lmdb/redo.h"

/* An address far from the last one is on another page; that one of two near ones may be, too, does not matter. */
#define NEAR 4096

static void count(struct redo *redo, size_t bytes)
{
    redo->size += bytes;
    if (redo->most && redo->size > redo->most)
        redo->on = false;
}

static void count_place(struct redo *redo, enum db db, const char *where)
{
    uintptr_t at = (uintptr_t)where, last = (uintptr_t)redo->last[db];
    redo->places += (at > last ? at - last : last - at) >= NEAR;
    redo->last[db] = where;
}

static void add_head(struct redo *redo, enum db db, struct slice key, uint32_t value_len)
{
    char *at = buf_room(&redo->bytes, REDO_HEAD + key.len);
    at[0] = (char)db;
    at[1] = (char)key.len;
    be32_put(at + 2, value_len);
    memcpy(at + REDO_HEAD, key.at, key.len);
    buf_grew(&redo->bytes, REDO_HEAD + key.len);
}

void redo_settle(struct redo *redo)
{
    if (redo->lent_len)
        buf_add(&redo->bytes, redo->lent, redo->lent_len);
    redo->lent_len = 0;
}

char *redo_reserve(struct redo *redo, enum db db, struct slice key, size_t len)
{
    count(redo, REDO_HEAD + key.len + len);
    if (!redo->on)
        return NULL;
    redo_settle(redo);
    add_head(redo, db, key, (uint32_t)len);
    char *at = buf_room(&redo->bytes, len);
    buf_grew(&redo->bytes, len);
    return at;
}

void redo_forget(struct redo *redo, enum db db, struct slice key)
{
    count(redo, REDO_HEAD + key.len);
    if (!redo->on)
        return;
    redo_settle(redo);
    add_head(redo, db, key, REDO_REMOVED);
}

void redo_put(struct redo *redo, enum db db, struct slice key, const char *value, size_t len)
{
    if (redo->muted)
        return;
    count(redo, REDO_HEAD + key.len + len);
    count_place(redo, db, value);
    if (!redo->on)
        return;
    redo_settle(redo);
    add_head(redo, db, key, (uint32_t)len);
    redo->lent = value;
    redo->lent_len = len;
}

void redo_remove(struct redo *redo, enum db db, struct slice key, const char *where)
{
    if (redo->muted)
        return;
    count_place(redo, db, where);
    redo_forget(redo, db, key);
}

void redo_cut(struct redo *redo, uint64_t size)
{
    redo->lent_len = 0;
    redo->size = size;
    if (size == 0)
        redo->places = 0;
    if (size == 0 && redo->bytes.cap > REDO_KEEP_MOST)
        buf_release(&redo->bytes);
    if (redo->on || size == 0)
        buf_cut(&redo->bytes, size);
}

void redo_release(struct redo *redo)
{
    buf_release(&redo->bytes);
}

bool redo_next(struct slice *rest, struct change *change)
{
    if (rest->len < REDO_HEAD)
        return false;
    size_t key_len = (uint8_t)rest->at[1], value_len = be32_get(rest->at + 2);
    bool removed = value_len == REDO_REMOVED;
    if (removed)
        value_len = 0;
    if (key_len == 0 || key_len > rest->len - REDO_HEAD || value_len > rest->len - REDO_HEAD - key_len)
        return false;
    *change = (struct change){
        .db = (uint8_t)rest->at[0],
        .removed = removed,
        .key = {rest->at + REDO_HEAD, key_len},
        .value = {rest->at + REDO_HEAD + key_len, value_len},
    };
    rest->at += REDO_HEAD + key_len + value_len;
    rest->len -= REDO_HEAD + key_len + value_len;
    return true;
}

bool redo_is_whole(struct slice bytes)
{
    struct change change;
    while (redo_next(&bytes, &change))
        ;
    return bytes.len == 0;
}

int redo_apply(MDB_txn *txn, const MDB_dbi *dbi, unsigned dbi_count, struct slice bytes)
{
    struct change change;
    while (redo_next(&bytes, &change)) {
        MDB_val key = {change.key.len, (void *)change.key.at},
                value = {change.value.len, (void *)change.value.at};
        if (change.db >= dbi_count || dbi[change.db] == REDO_NO_DB)
            continue;
        int rc = change.removed ? mdb_del(txn, dbi[change.db], &key, NULL)
                                : mdb_put(txn, dbi[change.db], &key, &value, 0);
        if (rc && !(change.removed && rc == MDB_NOTFOUND))
            return rc;
    }
    return 0;
}
