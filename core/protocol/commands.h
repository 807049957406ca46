/*
 * commands.h - the functions behind the rows of the command table, and the structs of their calls.
 *
 * cmd_x checks and starts, answer_x writes the reply, abandon_x stops waiting; see struct command.
 */
#ifndef MOONQ_PROTOCOL_COMMANDS_H
#define MOONQ_PROTOCOL_COMMANDS_H

#include "dispatch/dispatch.h"
#include "protocol/call.h"
#include "protocol/conn.h"
#include "protocol/control.h"
#include "store/store.h"

/* Types of functions, so that a line declares several. */
typedef enum mq_code command_run(struct call *call, struct mq_err *err);
typedef void command_answer(struct call *call, struct reply *reply);
typedef bool command_abandon(struct call *call);

/* multi.c */
struct exec {
    struct op_group group;
    struct call *first; /* its members, in order */
};
command_run cmd_multi, cmd_exec, cmd_discard;
command_answer answer_exec;

/* cmd_push.c */
struct push_call {
    struct op_push op;
    struct push_order order;
    struct buf tags; /* what order.tags points to */
};
command_run cmd_push;
command_answer answer_push;

/* cmd_wait.c */
command_run cmd_wait;
command_answer answer_wait;
command_abandon abandon_wait;

/* cmd_consumer.c */
struct fetch_call {
    struct fetch fetch;
    char holder[CONN_NAME_BYTES];
};
/* `get` comes first if nobody says when to try again: the default delay depends on the attempt. */
struct nack_call {
    struct op_fail fail;
    struct op_get get;
};
command_run cmd_fetch, cmd_ack, cmd_nack, cmd_extend, cmd_progress;
command_answer answer_ok, answer_nack, answer_extend, answer_progress;
command_abandon abandon_fetch;

/* cmd_job.c, cmd_jobs.c */
command_run cmd_job, cmd_why, cmd_jobs;
command_answer answer_job, answer_why, answer_jobs;

/* cmd_queues.c */
struct queues_call {
    struct op_queues op;
    struct slice name; /* empty: all */
};
command_run cmd_queues, cmd_workers, cmd_drain, cmd_limit;
command_answer answer_queues;
/* Fills in the operation for the queue that the first argument names. */
enum mq_code queue_change(struct call *call, struct op_queue *op, int change, struct mq_err *err);

/* cmd_pause.c */
struct pause_words {
    int64_t for_ms; /* 0: no FOR */
    wall_ms until;  /* 0: no UNTIL */
    struct slice reason, by;
};
struct pause_call {
    union {
        struct op_queue queue;
        struct op_type type;
    };
    struct pause_words words;
};
command_run cmd_pause, cmd_resume, cmd_pauses;
/* For CRON PAUSE too: the options behind `from`; the end, and who pauses. */
enum mq_code pause_read_words(struct call *call, struct pause_words *words, unsigned from,
                              struct mq_err *err);
enum mq_code pause_end(const struct pause_words *words, wall_ms now, wall_ms *until, struct mq_err *err);
struct slice pause_actor(struct call *call, const struct pause_words *words);

/* cmd_cron.c */
struct cron_call {
    union {
        struct op_schedule op;
        struct op_schedules look;
        struct op_ticks ticks;
        struct schedule_run run;
    };
    struct pause_words words;
    char *definition; /* CRON SET */
};
command_run cmd_cron_set, cmd_cron_get, cmd_cron_delete, cmd_cron_pause, cmd_cron_resume, cmd_cron_run,
    cmd_cron_history, cmd_cron_next, cmd_schedules;
command_answer answer_cron_entry, answer_cron_get, answer_cron_run, answer_cron_history, answer_schedules;
command_answer answer_pauses;

/* cmd_stats.c */
struct stats_call {
    struct op_stats stats;
    struct op_queues queues;
    unsigned open; /* of the two */
    bool as_text;  /* INFO */
    struct slice section;
};
command_run cmd_stats, cmd_info;

/* cmd_doctor.c */
command_run cmd_doctor;
command_answer answer_doctor;

/* cmd_step.c */
union step_call {
    struct op_step one;
    struct bulk bulk;
};
command_run cmd_cancel, cmd_retry, cmd_delete, cmd_promote, cmd_edit, cmd_purge, cmd_reschedule,
    cmd_bulk_list, cmd_bulk_stop;
command_run cmd_unique_show, cmd_unique_release;
command_answer answer_unique_show, answer_unique_release;
command_answer answer_step;

/* cmd_release.c */
struct release_call {
    struct bulk bulk; /* first: see where.h */
    struct op_step *ones;
    unsigned count, open; /* by id: how many, and of them under way */
    struct slice reason, by;
};
command_run cmd_release;

/* stream.c */
command_run cmd_events;

/* cmd_server.c */
struct reload_call {
    struct control_answer answer;
};
command_run cmd_reload, cmd_config_get, cmd_config_set, cmd_shutdown;

/* cmd_habit.c */
command_run cmd_hello, cmd_auth, cmd_ping, cmd_echo, cmd_select, cmd_quit, cmd_reset, cmd_time;
command_run cmd_client_id, cmd_client_setname, cmd_client_getname, cmd_client_setinfo, cmd_client_list;
command_run cmd_client_info, cmd_client_no_op;

/* cmd_help.c */
command_run cmd_command_all, cmd_command_count, cmd_command_list, cmd_command_info, cmd_command_docs;
#endif
