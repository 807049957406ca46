/*
 * Whether counters and indexes agree, in one snapshot and without walking: LMDB knows how many entries a database has, and
 * the queues' counters say how many there must be. That a given entry is the right one only fsck can tell.
 */
#include "store/lmdb/read.h"

#include "store/lmdb/machine.h"

struct sums {
    uint64_t in_state[JOB_STATES], parked, held, all;
};

static enum mq_code add_up(struct snapshot *s, struct sums *sums, struct mq_err *err)
{
    MDB_cursor *queues;
    MDB_val key, val;
    int rc = mdb_cursor_open(s->txn, s->env->dbi[DB_QUEUES], &queues);
    if (rc)
        return mq_fail(err, MQ_INTERNAL, "cannot read the queues: %s", mdb_strerror(rc));
    while ((rc = mdb_cursor_get(queues, &key, &val, MDB_NEXT)) == 0) {
        struct queue_body body;
        struct slice name;
        if (queue_decode(&body, &name, (struct slice){val.mv_data, val.mv_size}, NULL) != MQ_OK)
            continue;
        for (int state = JOB_BLOCKED; state < JOB_STATES; state++) {
            sums->in_state[state] += body.counts.in_state[state];
            sums->all += body.counts.in_state[state];
        }
        sums->parked += body.counts.parked;
        sums->held += body.counts.held;
    }
    mdb_cursor_close(queues);
    return rc == MDB_NOTFOUND ? MQ_OK
                              : mq_fail(err, MQ_INTERNAL, "cannot read the queues: %s", mdb_strerror(rc));
}

static uint64_t entries(struct snapshot *s, enum db db)
{
    MDB_stat stat;
    return mdb_stat(s->txn, s->env->dbi[db], &stat) ? 0 : stat.ms_entries;
}

/* `spare`: there may be so many entries more. */
static void check(struct snapshot *s, struct op_doctor *op, enum db db, uint64_t counted, uint64_t spare)
{
    uint64_t there = entries(s, db);
    bool agrees = there >= counted && there - counted <= spare;
    op->checks[op->count++] = (struct doctor_check){db_names[db], counted, there, agrees};
    op->wrong += !agrees;
}

enum mq_code read_doctor(struct snapshot *s, struct op_doctor *op)
{
    struct sums sums = {.all = 0};
    const uint64_t *in = sums.in_state;
    op->count = op->wrong = 0;
    enum mq_code code = add_up(s, &sums, &op->op.err);
    if (code != MQ_OK)
        return code;
    uint64_t aside = sums.parked + sums.held;
    check(s, op, DB_JOBS, sums.all, 0);
    check(s, op, DB_STATES, sums.all, 0);
    check(s, op, DB_READY, in[JOB_READY] > aside ? in[JOB_READY] - aside : 0, 0);
    check(s, op, DB_PARKED, sums.parked, 0);
    check(s, op, DB_HELD, sums.held, 0);
    /* and those that wait may have an entry for the moment at which they expire */
    check(s, op, DB_DUE, in[JOB_SCHEDULED] + in[JOB_RETRYING],
          in[JOB_BLOCKED] + in[JOB_SCHEDULED] + in[JOB_READY]);
    check(s, op, DB_LEASES, in[JOB_RUNNING], 0);
    check(s, op, DB_DEAD, in[JOB_DEAD], 0);
    check(s, op, DB_FINISHED, in[JOB_SUCCEEDED] + in[JOB_CANCELLED] + in[JOB_EXPIRED], 0);
    return MQ_OK;
}
