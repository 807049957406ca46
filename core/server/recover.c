#include "server/server.h"

#include <stdlib.h>

#include "base/log.h"
#include "server/unpark.h"

#define RECOVER_CHUNK 5000
#define SUSPECT_DELAY_MS                                                                                     \
    1000 /* a job that may have taken the server down does not start in its first second */

/* The disk is full to the last byte: asked again after so long, and told so often. */
#define REST_S     1.0
#define REST_LOG_S 60.0

/*
 * What an earlier server's workers held goes back, before anything new is handed out: the store cannot tell their leases from
 * those of workers to come. So where the disk has no room even for that, nobody is let in until it has: there would be no room
 * for any change of theirs either, and a job that may have taken the server down would go back as if it were innocent.
 */
struct recovery {
    struct op_recover recover;
    struct server *server;
    struct unpark *unpark;
    job_id *suspects;
    ev_timer rest;
    ev_tstamp log_at; /* that it waits is told again then */
    unsigned chunk;   /* so many at once */
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
    free(recovery->suspects);
    free(recovery);
    unpark_start(unpark, server_recovered);
}

static void on_rested(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct recovery *recovery = timer->data;
    (void)loop;
    (void)events;
    if (recovery->server->stopping)
        finish(recovery); /* and the next server begins where this one did */
    else
        ask_recover(recovery);
}

static void rest(struct recovery *recovery, const char *why)
{
    ev_tstamp now = ev_now(recovery->server->loop);
    if (now >= recovery->log_at) {
        log_event(LOG_ERROR, "server.recovery_waits", LOG_STR("message", why));
        recovery->log_at = now + REST_LOG_S;
    }
    ev_timer_init(&recovery->rest, on_rested, REST_S, 0.);
    recovery->rest.data = recovery;
    ev_timer_start(recovery->server->loop, &recovery->rest);
}

/* Less at once may find room. */
static void ask_less(struct recovery *recovery, const char *why)
{
    if (recovery->chunk == 1) {
        rest(recovery, why);
        return;
    }
    recovery->chunk /= 2;
    ask_recover(recovery);
}

static void count(struct recovery *recovery)
{
    const struct op_recover *chunk = &recovery->recover;
    recovery->given_back += chunk->given_back;
    recovery->charged += chunk->charged;
    recovery->dead += chunk->dead;
    recovery->chunk = recovery->chunk < RECOVER_CHUNK / 2 ? 2 * recovery->chunk : RECOVER_CHUNK;
}

static void recovered(struct store_op *op)
{
    struct recovery *recovery = op->owner;
    struct mq_err err = op->err;
    enum mq_code code = op->code;
    store_op_release(op);
    if (code == MQ_NOSPACE) {
        ask_less(recovery, err.text);
        return;
    }
    if (code == MQ_OK)
        count(recovery);
    else
        log_event(LOG_ERROR, "server.recovery_failed", LOG_STR("message", err.text));
    if (code == MQ_OK && recovery->recover.more) {
        ask_recover(recovery);
        return;
    }
    if (code == MQ_OK)
        fleet_forget_suspects(recovery->server->run_dir); /* what they said is on disk */
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
    recover->limit = recovery->chunk;
    dispatch_submit(recovery->server->dispatch, &recover->op);
}

void recover_start(struct server *server, json_t *app)
{
    struct recovery *recovery = mq_calloc(1, sizeof *recovery);
    recovery->server = server;
    recovery->chunk = RECOVER_CHUNK;
    recovery->unpark = unpark_new(server, app);
    recovery->recover.suspect_count = fleet_suspects(server->run_dir, &recovery->suspects);
    recovery->recover.suspects = recovery->suspects;
    ask_recover(recovery);
}
