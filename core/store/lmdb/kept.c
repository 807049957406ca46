/*
 * What finished records and dead letters take, so that there can be a limit to it. Their number is that of the index's
 * entries; their bytes are counted in meta as jobs come and go: what a job has (record, result, attempts, log) does not
 * change while it is in a final state, but for the payload of a dead letter that somebody edits.
 */
#include "store/lmdb/machine.h"

#define OVERHEAD_BYTES 256 /* of each, roughly: status, keys, index entries, and what pages lose */

static uint64_t parts_bytes(struct machine *m, enum db db, job_id id)
{
    struct key key;
    struct slice found, value;
    uint64_t bytes = 0;
    if (txn_count(m, db) == 0)
        return 0;
    key_of_part(&key, id, 0);
    for (bool more = txn_seek(m, db, &key, &found, &value); more && key_id(db, found) == id;
         more = txn_next(m, db, &found, &value))
        bytes += value.len;
    return bytes;
}

static uint64_t record_bytes(struct machine *m, enum db db, job_id id)
{
    struct key key;
    struct slice value;
    key_of_id(&key, id);
    return txn_count(m, db) && txn_find(m, db, &key, &value) ? value.len : 0;
}

uint64_t kept_bytes_of(struct machine *m, job_id id)
{
    return record_bytes(m, DB_JOBS, id) + record_bytes(m, DB_RESULTS, id) + parts_bytes(m, DB_ATTEMPTS, id) +
           parts_bytes(m, DB_LOGS, id);
}

void kept_grow(struct machine *m, enum job_state state, int64_t bytes)
{
    if (!state_is_final(state))
        return;
    uint64_t *sum = state == JOB_DEAD ? &m->meta.dead_bytes : &m->meta.finished_bytes;
    if (bytes < 0 && *sum < (uint64_t)-bytes)
        *sum = 0; /* only after damage */
    else
        *sum += (uint64_t)bytes;
}

void kept_count(struct machine *m, job_id id, enum job_state state, int by)
{
    if (state_is_final(state))
        kept_grow(m, state, by * (int64_t)kept_bytes_of(m, id));
}

void kept_save(struct machine *m)
{
    struct key key;
    char at[KEPT_BYTES];
    if (m->meta.finished_bytes == m->before.finished_bytes && m->meta.dead_bytes == m->before.dead_bytes)
        return;
    key_of_kept(&key);
    kept_write(at, &m->meta);
    txn_put(m, DB_META, &key, (struct slice){at, sizeof at});
}

static bool is_over(uint64_t count, uint64_t bytes, uint64_t max, uint64_t max_bytes)
{
    return (max && count > max) || (max_bytes && bytes + count * OVERHEAD_BYTES > max_bytes);
}

bool kept_finished_over(struct machine *m)
{
    return is_over(txn_count(m, DB_FINISHED), m->meta.finished_bytes, m->rules.keep_max, m->rules.keep_bytes);
}

bool kept_dead_over_without(struct machine *m, uint64_t count, uint64_t bytes)
{
    uint64_t there = txn_count(m, DB_DEAD), sum = m->meta.dead_bytes;
    return is_over(there > count ? there - count : 0, sum > bytes ? sum - bytes : 0, m->rules.dead_max,
                   m->rules.dead_bytes);
}

bool kept_dead_over(struct machine *m)
{
    return kept_dead_over_without(m, 0, 0);
}

static unsigned percent(uint64_t is, uint64_t most)
{
    double part = most ? (double)is * 100 / (double)most : 0;
    return part > 1000 ? 1000 : (unsigned)part;
}

unsigned kept_dead_percent(struct machine *m)
{
    uint64_t count = txn_count(m, DB_DEAD);
    unsigned by_count = percent(count, m->rules.dead_max);
    unsigned by_bytes = percent(m->meta.dead_bytes + count * OVERHEAD_BYTES, m->rules.dead_bytes);
    return by_count > by_bytes ? by_count : by_bytes;
}
