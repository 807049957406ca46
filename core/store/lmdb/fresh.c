/*
 * The jobs that this batch pushed. Most are handed out, or at least left alone, before the batch ends, so their
 * status is written once, at its end, in the order of the ids (which LMDB can append), and a job that is handed
 * out in the batch of its push never enters the ready index.
 *
 * Within a queue and priority the fresh come after all that the index holds, since ids only grow; so the lease
 * phase merges the two by (priority, id).
 *
 * Whoever needs to see these jobs in the store (a step by id, a walk over an index) settles them first.
 */
#include "store/lmdb/machine.h"

#include <stdlib.h>

#include "job/record.h"
#include "base/alloc.h"

struct fresh *fresh_add(struct machine *m)
{
    if (m->fresh_count == m->fresh_cap) {
        m->fresh_cap = m->fresh_cap ? m->fresh_cap * 2 : 256;
        m->fresh = mq_realloc(m->fresh, m->fresh_cap * sizeof *m->fresh);
    }
    struct fresh *fresh = &m->fresh[m->fresh_count++];
    memset(fresh, 0, sizeof *fresh);
    fresh->next = FRESH_NONE;
    return fresh;
}

void fresh_offer(struct machine *m, struct fresh *fresh)
{
    struct queue *queue = fresh->queue;
    uint32_t index = (uint32_t)(fresh - m->fresh);
    uint8_t priority = fresh->status.priority;
    if (queue->fresh_first[priority] == FRESH_NONE)
        queue->fresh_first[priority] = index;
    else
        m->fresh[queue->fresh_last[priority]].next = index;
    queue->fresh_last[priority] = index;
    queue->fresh_count++;
    fresh->offered = true;
}

static int first_priority(const struct queue *queue)
{
    int priority = 0;
    while (queue->fresh_first[priority] == FRESH_NONE)
        priority++;
    return priority;
}

struct fresh *fresh_peek(struct machine *m, struct queue *queue)
{
    return queue->fresh_count ? &m->fresh[queue->fresh_first[first_priority(queue)]] : NULL;
}

void fresh_take(struct machine *m, struct queue *queue)
{
    int priority = first_priority(queue);
    m->fresh[queue->fresh_first[priority]].offered = false;
    queue->fresh_first[priority] = m->fresh[queue->fresh_first[priority]].next;
    queue->fresh_count--;
}

static void withdraw(struct queue *queue)
{
    if (!queue->fresh_count)
        return;
    queue->fresh_count = 0;
    for (int i = 0; i < PRIORITIES; i++)
        queue->fresh_first[i] = queue->fresh_last[i] = FRESH_NONE;
}

void fresh_drop(struct machine *m)
{
    for (unsigned i = 0; i < m->fresh_count; i++)
        withdraw(m->fresh[i].queue);
    m->fresh_count = 0;
}

/* In the order of their keys: so most keys go where the one before went. */
static void index_offered(struct machine *m, struct queue *queue)
{
    for (int priority = 0; priority < PRIORITIES; priority++)
        for (uint32_t i = queue->fresh_first[priority]; i != FRESH_NONE; i = m->fresh[i].next) {
            m->fresh[i].offered = false;
            job_index(m, m->fresh[i].id, &m->fresh[i].status);
        }
    withdraw(queue);
}

void fresh_settle(struct machine *m)
{
    for (unsigned i = 0; i < m->fresh_count; i++) {
        struct fresh *fresh = &m->fresh[i];
        struct key key;
        if (fresh->id == JOB_ID_NONE)
            continue; /* expired with nothing to keep */
        key_of_id(&key, fresh->id);
        char *at = txn_append(m, DB_STATES, &key, record_status_bytes(&fresh->status));
        record_write_status(at, &fresh->status);
        if (!fresh->offered)
            job_index(m, fresh->id, &fresh->status);
    }
    for (unsigned i = 0; i < m->fresh_count; i++)
        if (m->fresh[i].offered)
            index_offered(m, m->fresh[i].queue);
    fresh_drop(m);
}
