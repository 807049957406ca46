#include "server/server.h"

#include <stdlib.h>

#include "base/log.h"
#include "server/unpark.h"

#define RECOVER_CHUNK 5000
#define SUSPECT_DELAY_MS                                                                                     \
    1000 /* a job that may have taken the server down does not start in its first second */

/* What an earlier server's workers held goes back, before anything new is handed out. */
struct recovery {
    struct op_recover recover;
    struct server *server;
    struct unpark *unpark;
    job_id *suspects;
    unsigned given_back, charged, dead;
};

static void ask_recover(struct recovery *recovery);

static void finish(struct recovery *recovery)
{
    struct unpark *unpark = recovery->unpark;
    if (recovery->given_back + recovery->charged + recovery->dead)
        log_event(LOG_WARN, "server.recovered", LOG_INT("given_back", recovery->given_back),
                  LOG_INT("charged", recovery->charged), LOG_INT("dead", recovery->dead));
    dispatch_orphans_repaired(recovery->server->dispatch, recovery->given_back + recovery->charged);
    fleet_forget_suspects(recovery->server->run_dir); /* what they said is on disk */
    free(recovery->suspects);
    free(recovery);
    unpark_start(unpark, server_recovered);
}

static void recovered(struct store_op *op)
{
    struct recovery *recovery = op->owner;
    const struct op_recover *chunk = &recovery->recover;
    recovery->given_back += chunk->given_back;
    recovery->charged += chunk->charged;
    recovery->dead += chunk->dead;
    bool more = op->code == MQ_OK && chunk->more;
    if (op->code != MQ_OK)
        log_event(LOG_ERROR, "server.recovery_failed", LOG_STR("message", op->err.text));
    store_op_release(op);
    if (more)
        ask_recover(recovery);
    else
        finish(recovery);
}

static void ask_recover(struct recovery *recovery)
{
    struct op_recover *recover = &recovery->recover;
    store_op_init(&recover->op, STORE_RECOVER, clock_wall());
    recover->op.done = recovered;
    recover->op.owner = recovery;
    recover->message = SLICE("it was on a worker's CPU when the server died");
    recover->run_at = recover->op.now + SUSPECT_DELAY_MS;
    recover->limit = RECOVER_CHUNK;
    dispatch_submit(recovery->server->dispatch, &recover->op);
}

void recover_start(struct server *server, json_t *app)
{
    struct recovery *recovery = mq_calloc(1, sizeof *recovery);
    recovery->server = server;
    recovery->unpark = unpark_new(server, app);
    recovery->recover.suspect_count = fleet_suspects(server->run_dir, &recovery->suspects);
    recovery->recover.suspects = recovery->suspects;
    ask_recover(recovery);
}
