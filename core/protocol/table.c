/* table.c - the commands: one row each. */
#include "protocol/commands.h"

const char *const group_names[GROUPS] = {"producer", "consumer", "inspection", "control", "habit"};

/* Lines that several rows share. */
#define OPTIONS_FILTER                                                                                       \
    "STATE name[,name]|only jobs in one of these states\n"                                                   \
    "QUEUE name|only jobs of this queue\n"                                                                   \
    "TYPE name|only jobs of this type\n"                                                                     \
    "TAG name|only jobs with this tag\n"                                                                     \
    "HOLDER name|only running jobs of this worker, or of the client that calls itself so\n"                  \
    "OLDER duration|only jobs that came into their state longer ago than this\n"                             \
    "NEWER duration|only jobs that came into their state since then\n"
#define REPLY_BULK                                                                                           \
    "a map when all is done: `touched` (jobs changed), `looked_at`, `stopped` (it ended before its end: "    \
    "by BULK STOP, or because the server stops), "                                                           \
    "`bulk` (its number in events and for BULK STOP)"
#define REPLY_STEP                                                                                           \
    "with an id: a map of `id`, `was` (the state before), `state` (the state now). With WHERE: "

const struct command commands[] = {
    /* ---- producers ---- */
    {
        .name = "PUSH",
        .args = "type payload [option value ...]",
        .min = 2,
        .max = -1,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_PRODUCER,
        .op_bytes = sizeof(struct push_call),
        .run = cmd_push,
        .answer = answer_push,
        .summary = "Add a job. The reply is sent when the job is on disk.",
        .reply = "the job's id, 13 characters",
        .options =
            "QUEUE name|to this queue; else to the one that the type's handler names, else to `default`\n"
            "PRIORITY n|0 first to 9 last; 5\n"
            "DELAY duration|ready after this time\n"
            "AT time|ready at this moment: unix milliseconds or ISO 8601. Excludes DELAY\n"
            "ATTEMPTS n|attempts at most, 1 to 1000; 25\n"
            "TIMEOUT duration|one attempt may take so long; 10m\n"
            "LEASE duration|the holder gives a sign of life so often; 30s\n"
            "EXPIRES duration|it becomes `expired` if it has not started by then (handed out and given back "
            "unstarted is not started); never\n"
            "TAGS a,b|up to 16 names to find it by\n"
            "META json|an object of at most 4 KiB, kept with the job and shown in its log lines\n"
            "KEEP duration|its record stays so long after its end; 1h\n"
            "UNIQUE key|at most one job of its type holds this key (docs/uniqueness.md)\n"
            "UNIQUE_BY name[,name]|the key is made of these arguments: names, JSON pointers (/user/id), or . "
            "for all\n"
            "UNIQUE_FOR duration|the key is free after this time at the latest; never\n"
            "UNIQUE_IN state[,state]|the states in which it holds the key, or all; until its end, with "
            "UNIQUE_FOR also "
            "succeeded\n"
            "CONFLICT choice|if the key is held: skip, replace (arguments and times), reschedule (times) or "
            "error; skip\n"
            "REPLY id or map|id: the id of the new job, or of the one that stands for it. map: `id`, "
            "`outcome` (added, "
            "behind, skipped, replaced, rescheduled), `state`, `holder` (who held the key, or null)\n",
        .errors = "BADARG TOOBIG FULL NOSPACE BUSY CONFLICT",
        .example =
            "> PUSH email.send '{\"to\":\"ada@example.org\"}' QUEUE mail DELAY 10m\n\"01KCW9T3E4H2M\"\n",
        .since = "0.1",
    },
    {
        .name = "MULTI",
        .args = "",
        .flags = CMD_AT_ONCE,
        .group = GROUP_PRODUCER,
        .run = cmd_multi,
        .summary = "Begin a group of changes that EXEC makes as one.",
        .reply = "`OK`; each command that follows is checked and answered with `QUEUED`",
        .errors = "BADARG FULL",
        .example = "> MULTI\nOK\n> PUSH a 1\nQUEUED\n> PUSH b 2\nQUEUED\n> EXEC\n1) \"01KCW9T3E4H2M\"\n2) "
                   "\"01KCW9T3E4H2N\"\n",
        .since = "0.1",
    },
    {
        .name = "EXEC",
        .args = "",
        .flags = CMD_CHANGE | CMD_AT_ONCE,
        .group = GROUP_PRODUCER,
        .op_bytes = sizeof(struct exec),
        .run = cmd_exec,
        .answer = answer_exec,
        .summary = "Make the changes queued since MULTI in one commit: all of them or none.",
        .reply = "an array with the reply of each command. If one is refused, one error that names it, and "
                 "nothing was "
                 "done. `EXECABORT` if a command was refused when it was queued",
        .errors = "BADARG NOTFOUND WRONGSTATE LOST TOOBIG FULL NOSPACE BUSY CONFLICT",
        .since = "0.1",
    },
    {
        .name = "DISCARD",
        .args = "",
        .flags = CMD_AT_ONCE,
        .group = GROUP_PRODUCER,
        .run = cmd_discard,
        .summary = "Forget what was queued since MULTI.",
        .reply = "`OK`",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "WAIT",
        .args = "id [id ...] [TIMEOUT duration]",
        .min = 1,
        .max = -1,
        .flags = CMD_READ | CMD_BLOCKS,
        .group = GROUP_PRODUCER,
        .op_bytes = sizeof(void *),
        .run = cmd_wait,
        .answer = answer_wait,
        .abandon = abandon_wait,
        .summary = "Wait until these jobs have ended, for their results.",
        .reply = "an array with a map a job, in the order asked: `id`, `state`, `result` (what ACK or the "
                 "handler gave, or "
                 "null), `error` (what the last attempt said, or null)",
        .options = "TIMEOUT duration|how long at most, up to 1h; 30s. A bare number is milliseconds\n",
        .errors = "BADARG NOTFOUND TIMEOUT",
        .example =
            "> WAIT 01KCW9T3E4H2M TIMEOUT 5s\n1) 1) \"id\"\n   2) \"01KCW9T3E4H2M\"\n   3) \"state\"\n   4) "
            "\"succeeded\"\n   5) \"result\"\n   6) \"{\\\"provider_id\\\":7}\"\n   7) \"error\"\n   8) "
            "(nil)\n",
        .since = "0.1",
    },

    /* ---- consumers ---- */
    {
        .name = "FETCH",
        .args = "queue [queue ...] [COUNT n] [BLOCK duration] [LEASE duration]",
        .min = 1,
        .max = -1,
        .flags = CMD_CHANGE | CMD_HOLDS | CMD_BLOCKS,
        .group = GROUP_CONSUMER,
        .op_bytes = sizeof(struct fetch_call),
        .run = cmd_fetch,
        .abandon = abandon_fetch,
        .summary = "Take ready jobs under a lease: all of the first queue before the second, by priority, "
                   "then by age.",
        .reply = "an array, empty if there was nothing, with a map a job: `id`, `token` (names this lease; "
                 "ACK, NACK, "
                 "EXTEND and PROGRESS need it), `type`, `queue`, `payload`, `attempt` (this one, from 1), "
                 "`max_attempts`, "
                 "`crashes`, `deadline` (when the lease ends), `meta`, `tags`",
        .options = "COUNT n|jobs at most, 1 to 1000; 1\n"
                   "BLOCK duration|wait so long for the first job, up to 5m; else the answer comes at once. "
                   "A bare number "
                   "is milliseconds\n"
                   "LEASE duration|the lease's length; else each job's own\n",
        .errors = "BADARG NOSPACE",
        .example = "> FETCH mail COUNT 1 BLOCK 5s\n1)  1) \"id\"\n    2) \"01KCW9T3E4H2M\"\n    3) "
                   "\"token\"\n    4) (integer) "
                   "17\n    ...\n",
        .since = "0.1",
    },
    {
        .name = "ACK",
        .args = "id token [result]",
        .min = 2,
        .max = 3,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONSUMER,
        .op_bytes = sizeof(struct op_complete),
        .run = cmd_ack,
        .answer = answer_ok,
        .summary = "The job succeeded. Many are acknowledged by sending many ACKs at once: they share a "
                   "commit. LOST "
                   "(the lease ran out, or was taken back; the message says who has the job now) and "
                   "NOTFOUND are final, "
                   "here as for NACK, EXTEND and PROGRESS: drop the work, do not retry the call.",
        .reply = "`OK`",
        .errors = "BADARG LOST NOTFOUND TOOBIG",
        .example = "> ACK 01KCW9T3E4H2M 17 '{\"provider_id\":7}'\nOK\n",
        .since = "0.1",
    },
    {
        .name = "NACK",
        .args = "id token error [DELAY duration | DEAD]",
        .min = 3,
        .max = 5,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONSUMER,
        .op_bytes = sizeof(struct nack_call),
        .run = cmd_nack,
        .answer = answer_nack,
        .summary = "The attempt failed: the job is retried later, or becomes a dead letter when its attempts "
                   "are spent. Of the error, the first 4 KiB are kept.",
        .reply = "a map: `state` (retrying, dead, or cancelled if that was asked for meanwhile), `attempt`, "
                 "`run_at` (when it "
                 "is tried again, or null)",
        .options = "DELAY duration|try again after this time; else the default backoff decides: from half a "
                   "minute to days. Between "
                   "MULTI and EXEC, DELAY or DEAD is needed\n"
                   "DEAD|no further attempt: a dead letter now\n",
        .errors = "BADARG LOST NOTFOUND",
        .example = "> NACK 01KCW9T3E4H2M 17 'connection refused' DELAY 30s\n1) \"state\"\n2) "
                   "\"retrying\"\n3) \"attempt\"\n4) "
                   "(integer) 1\n5) \"run_at\"\n6) (integer) 1767225630000\n",
        .since = "0.1",
    },
    {
        .name = "EXTEND",
        .args = "id token duration",
        .min = 3,
        .max = 3,
        .flags = CMD_CHANGE,
        .group = GROUP_CONSUMER,
        .op_bytes = sizeof(struct op_extend),
        .run = cmd_extend,
        .answer = answer_extend,
        .summary = "Keep a leased job for `duration` from now.",
        .reply = "a map: `deadline` (when the lease now ends), `cancelling` (true: somebody cancelled the "
                 "job; stop, and NACK), `overdue` (true: this attempt takes longer than the job's timeout; "
                 "nobody stops a consumer, but `job.overdue` tells of it)",
        .errors = "BADARG LOST NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "PROGRESS",
        .args = "id token fraction [note]",
        .min = 3,
        .max = 4,
        .flags = CMD_CHANGE,
        .group = GROUP_CONSUMER,
        .op_bytes = sizeof(struct op_note),
        .run = cmd_progress,
        .answer = answer_progress,
        .summary = "Tell how far a leased job is: 0 to 1, and a note of at most 1 KiB.",
        .reply = "a map: `cancelling` (true: somebody cancelled the job; stop, and NACK)",
        .errors = "BADARG LOST NOTFOUND TOOBIG",
        .since = "0.1",
    },

    /* ---- inspection ---- */
    {
        .name = "JOB",
        .args = "id",
        .min = 1,
        .max = 1,
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct op_get),
        .run = cmd_job,
        .answer = answer_job,
        .summary = "Everything about one job, with its attempts and its log.",
        .reply = "a map: `id`, `type`, `queue`, `state`, `priority`, `attempt`, `max_attempts`, `crashes`, "
                 "`payload`, `meta`, "
                 "`tags`, `pushed_at`, `since` (when it came into its state), `run_at` (when it is due, if "
                 "it waits for that), "
                 "`expires_at`, `keep`, `timeout`, `lease`, `deadline`, `holder`, `token` (these three while "
                 "it runs), "
                 "`progress`, `note`, `cancelling`, `parked` (ready, but no handler has its type), "
                 "`held` (ready, but set aside because its type is paused), `unique_key`, `unique` (how it "
                 "stands to that key: "
                 "holds, waits, free, spent, or null), `unique_until`, `due_at` (since it is ready: the time "
                 "it had waited "
                 "for, or null), `late` (so many ms after it the newest attempt began), `result`, "
                 "`attempts` (maps of "
                 "`number`, `outcome`, `began`, `ended`, `worker`, `scripts` (a hash of the scripts that the "
                 "worker "
                 "had loaded, as in WORKERS), `code`, `message`, `traceback`; oldest "
                 "first), `log` (maps of "
                 "`at`, `text`)",
        .errors = "BADARG NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "JOBS",
        .args = "[STATE s[,s]] [QUEUE q] [TYPE t] [TAG t] [HOLDER h] [OLDER d] [NEWER d] [LIMIT n] [ORDER o] "
                "[CURSOR c]",
        .max = -1,
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct op_list),
        .run = cmd_jobs,
        .answer = answer_jobs,
        .summary = "A page of jobs, read from one snapshot.",
        .reply = "a map: `jobs` (maps as of JOB, without `result`, `attempts` and `log`), `cursor` (for the "
                 "next page, or null: "
                 "that was all), `partial` (the page ended early, by time or bytes: there may be more, even "
                 "if it is empty)",
        .options = OPTIONS_FILTER
        "LIMIT n|jobs of a page, 1 to 1000; 50\n"
        "ORDER newest or oldest|which come first; newest\n"
        "CURSOR text|go on where the page with this cursor ended; the same filters and order\n",
        .errors = "BADARG",
        .example = "> JOBS STATE dead QUEUE mail LIMIT 20\n",
        .since = "0.1",
    },
    {
        .name = "WHY",
        .args = "id",
        .min = 1,
        .max = 1,
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct op_get),
        .run = cmd_why,
        .answer = answer_why,
        .summary = "Why does this job not run? Looking changes nothing.",
        .reply = "a map: `id`, `state`, `gates` (what stands before it, in the order in which it is tried: "
                 "maps of `gate`, "
                 "`open`, `text`), `answer` (the text of the first closed gate, or what the job does)",
        .errors = "BADARG NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "QUEUES",
        .args = "[name]",
        .max = 1,
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct queues_call),
        .run = cmd_queues,
        .answer = answer_queues,
        .summary = "The queues and their counters, or those of one. Nothing is counted for it: counters are "
                   "kept in each "
                   "commit.",
        .reply = "an array of maps: `name`, `paused`, `draining`, `reason`, `paused_by`, `paused_at`, "
                 "`paused_until` (when it ends by itself, or null), `limit`; jobs there now by state "
                 "(`blocked` "
                 "`scheduled` `ready` `running` `retrying` `succeeded` `dead` `cancelled` `expired`); ever: "
                 "`pushed_total` "
                 "`succeeded_total` `failed_total` `dead_total` `cancelled_total` `expired_total` "
                 "`lost_total` `crashed_total`; "
                 "`held` (of those ready, how many were set aside because their type is paused); "
                 "`oldest_ready_age` (how long ago the next job was pushed, or null)",
        .errors = "BADARG NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "PAUSES",
        .args = "",
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct queues_call),
        .run = cmd_pauses,
        .answer = answer_pauses,
        .summary = "What is paused: queues, then job types.",
        .reply =
            "an array of maps: `what` (`queue` or `type`), `name`, `reason`, `by`, `since`, `until` (when it "
            "ends by itself, or null)",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "SCHEDULES",
        .args = "[AFTER name] [LIMIT n] [ENDED]",
        .max = -1,
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct cron_call),
        .run = cmd_schedules,
        .answer = answer_schedules,
        .summary = "The cron entries, by name.",
        .reply = "a map: `schedules`, an array of maps as CRON GET answers them; `after`, the name to go on "
                 "with, or "
                 "null. Entries of schedules.lua that were never good come last, with their `trouble` only",
        .options = "AFTER name|go on behind this one\n"
                   "LIMIT n|at most so many (100; 1000)\n"
                   "ENDED|those, too, of which only the ledger is left\n",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "WORKERS",
        .args = "",
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .run = cmd_workers,
        .summary = "The worker processes and what they do.",
        .reply =
            "an array of maps: `name`, `pool`, `pid`, `state`, `slots`, `running`, `given` (handed "
            "over, not begun), "
            "`on_cpu` (the job that runs at this moment, or null), `started` (jobs it has begun), `done`, "
            "`failed`, `started_at`, "
            "`silent` (since its last "
            "sign of life), `memory` (bytes that its Lua has), `scripts` (a hash of the scripts that it "
            "loaded: the "
            "same for the same application and moonq)",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "STATS",
        .args = "",
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct stats_call),
        .run = cmd_stats,
        .summary = "Figures of the server, its clients, workers, jobs and store.",
        .reply = "a flat map of names to numbers and texts",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "DOCTOR",
        .args = "",
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct op_doctor),
        .run = cmd_doctor,
        .answer = answer_doctor,
        .summary = "Do the store's counters and indexes agree? At no cost; `moonq fsck` reads everything.",
        .reply = "an array of maps, one an index: `index`, `counted` (entries that it must have by the "
                 "counters), `there` (that it has; of `due` there may be more), `agrees`",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "EVENTS",
        .args = "[JOB id] [QUEUE q] [TYPE t] [NAME pattern[,pattern]]",
        .max = -1,
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .run = cmd_events,
        .summary = "Be told what happens, from now on, when it is on disk.",
        .reply =
            "`OK`, and from then on an event a reply: a JSON object with `event`, `at`, and what is "
            "known of `id`, `type`, "
            "`queue`, `worker`, `attempt`, `run_at`, `message`, `by`, `fraction`, `count`; their names are "
            "listed at the end of this page. RESP2: "
            "a bulk string; RESP3: a push of `event` and the object. Only PING, RESET (ends the stream) "
            "and QUIT may "
            "follow. Nothing is left out: who does not read is closed",
        .options = "JOB id|only of this job\n"
                   "QUEUE name|only of this queue\n"
                   "TYPE name|only of jobs of this type\n"
                   "NAME pattern[,pattern]|only these events; * is any run of characters, ? any one: "
                   "job.*,worker.exited\n",
        .errors = "BADARG",
        .example =
            "> EVENTS NAME "
            "job.dead,worker.*\nOK\n\"{\\\"event\\\":\\\"job.dead\\\",\\\"at\\\":1767225600000,...}\"\n",
        .since = "0.1",
    },

    /* ---- control ---- */
    {
        .name = "CANCEL",
        .args = "id [REASON text] | WHERE filter ...",
        .min = 1,
        .max = -1,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(union step_call),
        .run = cmd_cancel,
        .answer = answer_step,
        .summary = "Stop a job that has not ended. A running one is told to stop, and killed after a grace.",
        .reply = REPLY_STEP REPLY_BULK
        ". There is also `signalled`: by id, whether it runs and its holder was told; with WHERE, how many "
        "of "
        "those touched. Such a job ends soon, and an event says when and how: `job.cancelled`, or "
        "`job.succeeded` if it was quicker. A job that has ended already is refused with WRONGSTATE, and "
        "the message says how it ended",
        .options = "REASON text|kept in the record; at most 1 KiB\n" OPTIONS_FILTER
                   "ALL|with WHERE: every job that has not ended\n",
        .errors = "BADARG NOTFOUND WRONGSTATE",
        .since = "0.1",
    },
    {
        .name = "RELEASE",
        .args = "id [id ...] [REASON text] [BY name] | WORKER name [...] | WHERE filter ...",
        .min = 1,
        .max = -1,
        .flags = CMD_CHANGE,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct release_call),
        .run = cmd_release,
        .summary =
            "Take running jobs from whoever holds them: back to their queues at once, and the attempt is "
            "not charged.",
        .reply =
            "with ids: an array with a map each, in their order: `id`, `released`, `state` (now; cancelled "
            "if "
            "that was asked for before), `holder` (who had it), `attempt` (the one broken off), `error` (why "
            "not, or null). With WORKER and WHERE: " REPLY_BULK
            ", and `jobs` (the ids of the first 1000 of them). The holder's token is stale from then on: its "
            "ACK, NACK and EXTEND get LOST. A handler in a worker of this server is stopped as CANCEL stops "
            "it; whatever it still does or says counts for nothing, and the job may run elsewhere meanwhile",
        .options = "REASON text|kept with the attempt; at most 1 KiB\n"
                   "BY name|who does it; else the user whose process is connected\n" OPTIONS_FILTER
                   "ALL|with WHERE: every running job\n",
        .errors = "BADARG TOOBIG",
        .example = "> RELEASE 01KCW9T3E4H2M REASON 'the host is gone'\n1)  1) \"id\"\n    2) "
                   "\"01KCW9T3E4H2M\"\n    3) \"released\"\n    4) (integer) 1\n    ...\n",
        .since = "0.1",
    },
    {
        .name = "RETRY",
        .args = "id [PAYLOAD payload] | WHERE [filter ...]",
        .min = 1,
        .max = -1,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(union step_call),
        .run = cmd_retry,
        .answer = answer_step,
        .summary = "Make a job ready again that has ended or waits to be retried. WHERE means dead letters "
                   "if it names no "
                   "STATE.",
        .reply = REPLY_STEP REPLY_BULK,
        .options = "PAYLOAD payload|with another payload\n" OPTIONS_FILTER,
        .errors = "BADARG NOTFOUND WRONGSTATE NOSPACE TOOBIG",
        .example = "> RETRY WHERE QUEUE mail OLDER 1h\n1) \"touched\"\n2) (integer) 214\n3) "
                   "\"looked_at\"\n4) (integer) 214\n5) "
                   "\"stopped\"\n6) (integer) 0\n7) \"bulk\"\n8) (integer) 3\n",
        .since = "0.1",
    },
    {
        .name = "DELETE",
        .args = "id | WHERE filter ...",
        .min = 1,
        .max = -1,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(union step_call),
        .run = cmd_delete,
        .answer = answer_step,
        .summary = "Remove a job that does not run, with all that is known of it.",
        .reply = REPLY_STEP REPLY_BULK ". The state is null then",
        .options = OPTIONS_FILTER "ALL|with WHERE: in every state but running; WHERE needs this or STATE\n",
        .errors = "BADARG NOTFOUND WRONGSTATE",
        .since = "0.1",
    },
    {
        .name = "PROMOTE",
        .args = "id | WHERE [filter ...]",
        .min = 1,
        .max = -1,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(union step_call),
        .run = cmd_promote,
        .answer = answer_step,
        .summary = "Make a job ready now that waits for its time or its next attempt.",
        .reply = REPLY_STEP REPLY_BULK,
        .options = OPTIONS_FILTER,
        .errors = "BADARG NOTFOUND WRONGSTATE",
        .since = "0.1",
    },
    {
        .name = "RESCHEDULE",
        .args = "id time",
        .min = 2,
        .max = 2,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(union step_call),
        .run = cmd_reschedule,
        .answer = answer_step,
        .summary = "Give a scheduled, retrying or ready job another time: unix milliseconds or ISO 8601. A "
                   "time in the "
                   "past means now.",
        .reply = "a map: `id`, `was` (the state before), `state` (the state now)",
        .errors = "BADARG NOTFOUND WRONGSTATE",
        .example = "> RESCHEDULE 01KCW9T3E4H2M 2026-01-02T09:00:00Z\n1) \"id\"\n2) \"01KCW9T3E4H2M\"\n3) "
                   "\"was\"\n4) "
                   "\"scheduled\"\n5) \"state\"\n6) \"scheduled\"\n",
        .since = "0.1",
    },
    {
        .name = "EDIT",
        .args = "id payload",
        .min = 2,
        .max = 2,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(union step_call),
        .run = cmd_edit,
        .answer = answer_step,
        .summary = "Give a job that does not run another payload.",
        .reply = "a map of `id`, `was`, `state`",
        .errors = "BADARG NOTFOUND WRONGSTATE NOSPACE TOOBIG",
        .since = "0.1",
    },
    {
        .name = "PAUSE",
        .args = "queue | TYPE type [REASON text] [BY name] [FOR duration | UNTIL time]",
        .min = 1,
        .max = -1,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct pause_call),
        .run = cmd_pause,
        .answer = answer_ok,
        .summary =
            "Hand out no more jobs of this queue, or of this type in any queue; pushes are still taken, "
            "running jobs go on. A pause survives restarts; pausing again changes it.",
        .reply = "`OK`",
        .options =
            "REASON text|shown by PAUSES, QUEUES and WHY; at most 200 bytes\n"
            "BY name|who pauses; else the user whose process is connected\n"
            "FOR duration|it ends by itself after this time\n"
            "UNTIL time|it ends by itself at this moment: unix milliseconds or ISO 8601. Excludes FOR\n",
        .errors = "BADARG FULL NOSPACE TOOBIG",
        .example = "> PAUSE mail REASON 'the relay is down' FOR 30m\nOK\n> PAUSE TYPE report.monthly\nOK\n",
        .since = "0.1",
    },
    {
        .name = "RESUME",
        .args = "queue | TYPE type",
        .min = 1,
        .max = 2,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct pause_call),
        .run = cmd_resume,
        .answer = answer_ok,
        .summary =
            "End PAUSE; of a queue DRAIN, too. NOTFOUND: there is no such queue (it begins with its first "
            "push, pause or limit), or the type is not paused.",
        .reply = "`OK`",
        .errors = "BADARG NOTFOUND NOSPACE",
        .since = "0.1",
    },
    {
        .name = "DRAIN",
        .args = "queue",
        .min = 1,
        .max = 1,
        .flags = CMD_CHANGE,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct op_queue),
        .run = cmd_drain,
        .answer = answer_ok,
        .summary = "Refuse pushes to this queue, and run what it holds.",
        .reply = "`OK`",
        .errors = "BADARG NOSPACE",
        .since = "0.1",
    },
    {
        .name = "LIMIT",
        .args = "queue n",
        .min = 2,
        .max = 2,
        .flags = CMD_CHANGE,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct op_queue),
        .run = cmd_limit,
        .answer = answer_ok,
        .summary = "Refuse pushes with FULL while n jobs wait in this queue; 0 for no limit.",
        .reply = "`OK`",
        .errors = "BADARG NOSPACE",
        .since = "0.1",
    },
    {
        .name = "PURGE",
        .args = "queue",
        .min = 1,
        .max = 1,
        .flags = CMD_CHANGE,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(union step_call),
        .run = cmd_purge,
        .summary = "Delete all jobs that wait in this queue: ready, scheduled, retrying, blocked.",
        .reply = REPLY_BULK,
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "UNIQUE",
        .args = "SHOW key | RELEASE key",
        .min = 1,
        .max = -1,
        .flags = CMD_CONTAINER,
        .group = GROUP_CONTROL,
        .summary = "Unique keys: who holds one, and taking it away.",
        .reply = "see its subcommands",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "UNIQUE SHOW",
        .args = "key [TYPE type]",
        .min = 1,
        .max = 3,
        .flags = CMD_READ,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct op_unique),
        .run = cmd_unique_show,
        .answer = answer_unique_show,
        .summary = "Who holds a unique key, of each job type that uses it.",
        .reply = "an array of maps: `key`, `type`, `holder`, `state` (of the holder), `until` (when the key "
                 "is free at the "
                 "latest, or null), `waiter` (the job that waits to follow it, or null)",
        .options = "TYPE type|only of this job type\n",
        .errors = "BADARG NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "UNIQUE RELEASE",
        .args = "key [TYPE type]",
        .min = 1,
        .max = 3,
        .flags = CMD_CHANGE | CMD_MULTI,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct op_unique),
        .run = cmd_unique_release,
        .answer = answer_unique_release,
        .summary =
            "Take a unique key from its holder, which goes on without it. Who waits for it has it then.",
        .reply = "a map: `key`, `type`, `released` (who had it), `holder` (who has it now, or null)",
        .options = "TYPE type|of this job type; needed if jobs of several types hold the key\n",
        .errors = "BADARG NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "CRON",
        .args = "SET | GET | DELETE | PAUSE | RESUME | RUN | NEXT | HISTORY name ...",
        .min = 1,
        .max = -1,
        .flags = CMD_CONTAINER,
        .group = GROUP_CONTROL,
        .summary = "Cron entries; SCHEDULES lists them, docs/cron.md explains them.",
        .reply = "see its subcommands",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "CRON SET",
        .args = "name expression type args [OPTION value ...]",
        .min = 4,
        .max = -1,
        .flags = CMD_CHANGE,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct cron_call),
        .run = cmd_cron_set,
        .answer = answer_cron_entry,
        .summary = "Push a job of this type at each moment that the expression names. Setting it again "
                   "changes it; a "
                   "pause, the ledger and, if the times are the same, the next moment stay.",
        .reply = "the entry, as CRON GET",
        .options =
            "TZ zone|of the expression, an IANA name (UTC)\n"
            "START time|no moment before\n"
            "END time|no moment after\n"
            "MAX n|after so many jobs it is over\n"
            "JITTER duration|each job starts up to so much later, always the same for the same moment\n"
            "CATCH_UP skip or once or all|of moments that were missed (once)\n"
            "WITHIN duration|how long after its moment a job is still pushed (5m; with all 1d)\n"
            "MOST n|with CATCH_UP all: at most so many jobs at once (100; 500)\n"
            "OVERLAP allow or skip or queue or replace|when the job before has not ended (allow)\n"
            "DAYS either or both|day of month and weekday are both given: one of them is enough, or not "
            "(either)\n"
            "DST_GAP fire or skip|a time that a clock change skips (fixed times fire once, after the gap)\n"
            "DST_OVERLAP first or second or both|a time that comes twice (fixed times fire at its first "
            "pass)\n"
            "LEDGER n|rows of the ledger to keep (1000; 10000)\n"
            "PAUSED true or false|as long as it is true no moment is planned, and none is caught up later "
            "(false)\n"
            "QUEUE PRIORITY ATTEMPTS TIMEOUT LEASE EXPIRES KEEP TAGS META|of each job, as with PUSH\n"
            "UNIQUE UNIQUE_BY UNIQUE_FOR UNIQUE_IN CONFLICT|of each job, as with PUSH. Where another "
            "holds the key, the moment is skipped, or a job that waits for its turn is renewed\n",
        .errors = "BADARG CONFLICT FULL TOOBIG NOSPACE BUSY",
        .example = "> CRON SET nightly '@every 24h' report.daily '{\"to\":\"ana\"}' OVERLAP skip\n",
        .since = "0.1",
    },
    {
        .name = "CRON GET",
        .args = "name",
        .min = 1,
        .max = 1,
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct cron_call),
        .run = cmd_cron_get,
        .answer = answer_cron_get,
        .summary = "One cron entry.",
        .reply = "a map: `name`, `definition` (JSON), `source` (`file` or `command`), `state` (`active`, "
                 "`paused`, "
                 "`broken`, `done` or `ended`), `trouble`, `next`, `last`, `job` (the newest), `since`, "
                 "`fired`, `reason`, "
                 "`by`, `until` (of a pause), `counts` (a map: moments by what became of them)",
        .errors = "BADARG NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "CRON DELETE",
        .args = "name [LEDGER]",
        .min = 1,
        .max = 2,
        .flags = CMD_CHANGE,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct cron_call),
        .run = cmd_cron_delete,
        .answer = answer_ok,
        .summary = "End an entry that CRON SET has made. Its ledger stays, or goes too.",
        .reply = "`OK`",
        .options = "LEDGER|the ledger, too, and all memory of which moments are decided\n",
        .errors = "BADARG NOTFOUND CONFLICT",
        .since = "0.1",
    },
    {
        .name = "CRON PAUSE",
        .args = "name [REASON text] [BY name] [FOR duration | UNTIL time]",
        .min = 1,
        .max = -1,
        .flags = CMD_CHANGE,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct cron_call),
        .run = cmd_cron_pause,
        .answer = answer_cron_entry,
        .summary = "An entry makes no jobs; its moments pass, and are not caught up.",
        .reply = "the entry, as CRON GET",
        .options = "REASON text|shown by CRON GET; at most 200 bytes\n"
                   "BY name|who pauses; else the user whose process is connected\n"
                   "FOR duration|it ends by itself after this time\n"
                   "UNTIL time|it ends by itself at this moment. Excludes FOR\n",
        .errors = "BADARG NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "CRON RESUME",
        .args = "name",
        .min = 1,
        .max = 1,
        .flags = CMD_CHANGE,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct cron_call),
        .run = cmd_cron_resume,
        .answer = answer_cron_entry,
        .summary = "End CRON PAUSE.",
        .reply = "the entry, as CRON GET",
        .errors = "BADARG NOTFOUND CONFLICT BUSY",
        .since = "0.1",
    },
    {
        .name = "CRON RUN",
        .args = "name",
        .min = 1,
        .max = 1,
        .flags = CMD_CHANGE,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct cron_call),
        .run = cmd_cron_run,
        .answer = answer_cron_run,
        .summary = "A job of this entry now, whatever its overlap or a pause say; the ledger says `run`.",
        .reply = "the job's id",
        .errors = "BADARG NOTFOUND SCRIPT FULL BUSY NOSPACE",
        .since = "0.1",
    },
    {
        .name = "CRON NEXT",
        .args = "name [COUNT n]",
        .min = 1,
        .max = 3,
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .run = cmd_cron_next,
        .summary = "The next moments of an entry.",
        .reply = "an array of unix milliseconds",
        .options = "COUNT n|so many (10; 1000)\n",
        .errors = "BADARG NOTFOUND SCRIPT",
        .since = "0.1",
    },
    {
        .name = "CRON HISTORY",
        .args = "name [BEFORE row] [LIMIT n]",
        .min = 1,
        .max = -1,
        .flags = CMD_READ,
        .group = GROUP_INSPECT,
        .op_bytes = sizeof(struct cron_call),
        .run = cmd_cron_history,
        .answer = answer_cron_history,
        .summary = "The ledger of an entry, newest first: what became of its moments.",
        .reply = "a map: `ticks`, an array of maps: `row`, `outcome` (`fired`, `caught_up`, `waited`, "
                 "`replaced`, `run`, "
                 "`skipped`, `missed`, `merged`, `paused`, `failed`), `planned`, `until` and `count` (of a "
                 "row that stands "
                 "for several moments), `more` (at least so many), `at`, `job` (of `skipped`: the one in "
                 "whose way it would "
                 "have been), `note`; and `before`, the row to go on with, or null",
        .options = "BEFORE row|go on before this row\n"
                   "LIMIT n|at most so many (100; 1000)\n",
        .errors = "BADARG NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "BULK",
        .args = "LIST | STOP n",
        .min = 1,
        .max = -1,
        .flags = CMD_CONTAINER,
        .group = GROUP_CONTROL,
        .summary = "Steps by filter that are under way.",
        .reply = "see its subcommands",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "BULK LIST",
        .args = "",
        .flags = CMD_READ,
        .group = GROUP_CONTROL,
        .run = cmd_bulk_list,
        .summary = "Steps by filter that are under way, of all clients.",
        .reply = "an array of maps: `bulk` (its number), `step`, `touched`, `looked_at`, `stopped` (it ends "
                 "after this chunk)",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "BULK STOP",
        .args = "n",
        .min = 1,
        .max = 1,
        .flags = CMD_WAITS | CMD_STEER,
        .group = GROUP_CONTROL,
        .run = cmd_bulk_stop,
        .summary = "End a step by filter after the chunk under way. What it has done stays done.",
        .reply = "`OK`",
        .errors = "BADARG NOTFOUND",
        .since = "0.1",
    },
    {
        .name = "RELOAD",
        .args = "",
        .flags = CMD_READ | CMD_BLOCKS | CMD_STEER,
        .group = GROUP_CONTROL,
        .op_bytes = sizeof(struct reload_call),
        .run = cmd_reload,
        .summary = "Load the application again, in new worker processes; a broken one never replaces one "
                   "that works.",
        .reply = "a text, when the new one runs",
        .errors = "SCRIPT BUSY",
        .since = "0.1",
    },
    {
        .name = "CONFIG",
        .args = "GET pattern | SET name value",
        .min = 1,
        .max = -1,
        .flags = CMD_CONTAINER,
        .group = GROUP_CONTROL,
        .summary = "The configuration; docs/configuration.md lists it.",
        .reply = "see its subcommands",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "CONFIG GET",
        .args = "pattern",
        .min = 1,
        .max = 1,
        .flags = CMD_WAITS,
        .group = GROUP_CONTROL,
        .run = cmd_config_get,
        .summary = "What is configured under names that fit a pattern (* and ?).",
        .reply = "a map of names to values, as they would stand in moonq.lua",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "CONFIG SET",
        .args = "name value",
        .min = 2,
        .max = 2,
        .flags = CMD_WAITS | CMD_STEER,
        .group = GROUP_CONTROL,
        .run = cmd_config_set,
        .summary = "Change what may be changed while the server runs, until its restart.",
        .reply = "`OK`",
        .errors = "BADARG NOTFOUND WRONGSTATE",
        .since = "0.1",
    },
    {
        .name = "SHUTDOWN",
        .args = "[NOW]",
        .max = 1,
        .flags = CMD_WAITS | CMD_STEER,
        .group = GROUP_CONTROL,
        .run = cmd_shutdown,
        .summary = "Stop: running jobs may finish for the configured time, then go back uncharged.",
        .reply = "`OK`, and the connection closes when it has stopped",
        .options = "NOW|running jobs go back at once\n",
        .errors = "BADARG",
        .since = "0.1",
    },

    /* ---- habits ---- */
    {
        .name = "HELLO",
        .args = "[version [AUTH user password] [SETNAME name]]",
        .max = -1,
        .flags = CMD_WAITS | CMD_AT_ONCE,
        .group = GROUP_HABIT,
        .run = cmd_hello,
        .summary = "Choose RESP2 or RESP3 for this connection.",
        .reply = "a map: `server`, `version`, `proto`, `id`, `mode`, `role`, `modules`; `NOPROTO` for any "
                 "other version",
        .options = "SETNAME name|as CLIENT SETNAME\nAUTH user password|refused: there are no passwords\n",
        .errors = "BADARG NOPERM",
        .since = "0.1",
    },
    {
        .name = "AUTH",
        .args = "[user] password",
        .min = 1,
        .max = 2,
        .flags = CMD_AT_ONCE,
        .group = GROUP_HABIT,
        .run = cmd_auth,
        .summary = "Refused: there are no passwords. The permissions of the socket decide who may connect.",
        .reply = "an error",
        .errors = "NOPERM",
        .since = "0.1",
    },
    {
        .name = "PING",
        .args = "[message]",
        .max = 1,
        .flags = CMD_STREAM,
        .group = GROUP_HABIT,
        .run = cmd_ping,
        .summary = "Is it there?",
        .reply = "`PONG`, or the message",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "ECHO",
        .args = "message",
        .min = 1,
        .max = 1,
        .group = GROUP_HABIT,
        .run = cmd_echo,
        .summary = "Get the message back.",
        .reply = "the message",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "SELECT",
        .args = "0",
        .min = 1,
        .max = 1,
        .group = GROUP_HABIT,
        .run = cmd_select,
        .summary = "There is only database 0.",
        .reply = "`OK`",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "QUIT",
        .args = "",
        .flags = CMD_WAITS | CMD_AT_ONCE | CMD_STREAM,
        .group = GROUP_HABIT,
        .run = cmd_quit,
        .summary = "Close the connection after all replies.",
        .reply = "`OK`",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "RESET",
        .args = "",
        .flags = CMD_WAITS | CMD_AT_ONCE | CMD_STREAM,
        .group = GROUP_HABIT,
        .run = cmd_reset,
        .summary = "Forget MULTI, EVENTS, the client's name and RESP3.",
        .reply = "`RESET`",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "TIME",
        .args = "",
        .group = GROUP_HABIT,
        .run = cmd_time,
        .summary = "The server's clock.",
        .reply = "an array: unix seconds, microseconds",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "INFO",
        .args = "[section]",
        .max = 1,
        .flags = CMD_READ,
        .group = GROUP_HABIT,
        .op_bytes = sizeof(struct stats_call),
        .run = cmd_info,
        .summary = "The figures of STATS as lines of text.",
        .reply = "a text: `# Section`, then `name:value`",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "CLIENT",
        .args = "subcommand ...",
        .min = 1,
        .max = -1,
        .flags = CMD_CONTAINER,
        .group = GROUP_HABIT,
        .summary = "This connection, and all of them.",
        .reply = "see its subcommands",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "CLIENT ID",
        .args = "",
        .group = GROUP_HABIT,
        .run = cmd_client_id,
        .summary = "The number of this connection.",
        .reply = "a number that only grows",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "CLIENT SETNAME",
        .args = "name",
        .min = 1,
        .max = 1,
        .flags = CMD_WAITS,
        .group = GROUP_HABIT,
        .run = cmd_client_setname,
        .summary = "Name this connection: the holder of what it fetches, and in logs.",
        .reply = "`OK`",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "CLIENT GETNAME",
        .args = "",
        .group = GROUP_HABIT,
        .run = cmd_client_getname,
        .summary = "The name of this connection.",
        .reply = "the name, or null",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "CLIENT SETINFO",
        .args = "LIB-NAME | LIB-VER value",
        .min = 2,
        .max = 2,
        .group = GROUP_HABIT,
        .run = cmd_client_setinfo,
        .summary = "The client's library, for CLIENT LIST.",
        .reply = "`OK`",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "CLIENT LIST",
        .args = "",
        .flags = CMD_WAITS,
        .group = GROUP_HABIT,
        .run = cmd_client_list,
        .summary = "All connections.",
        .reply = "a text, one line a connection",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "CLIENT INFO",
        .args = "",
        .flags = CMD_WAITS,
        .group = GROUP_HABIT,
        .run = cmd_client_info,
        .summary = "This connection.",
        .reply = "a text of one line",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "CLIENT NO-EVICT",
        .args = "ON | OFF",
        .min = 1,
        .max = 1,
        .group = GROUP_HABIT,
        .run = cmd_client_no_op,
        .summary = "Accepted: no client is ever evicted.",
        .reply = "`OK`",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "CLIENT NO-TOUCH",
        .args = "ON | OFF",
        .min = 1,
        .max = 1,
        .group = GROUP_HABIT,
        .run = cmd_client_no_op,
        .summary = "Accepted: looking never changes anything.",
        .reply = "`OK`",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "COMMAND",
        .args = "[COUNT | LIST | INFO [name ...] | DOCS [name ...]]",
        .max = -1,
        .flags = CMD_CONTAINER,
        .group = GROUP_HABIT,
        .run = cmd_command_all,
        .summary = "The commands, as Redis describes its own.",
        .reply = "an array of arrays, as COMMAND INFO",
        .errors = "BADARG",
        .since = "0.1",
    },
    {
        .name = "COMMAND COUNT",
        .args = "",
        .group = GROUP_HABIT,
        .run = cmd_command_count,
        .summary = "How many there are.",
        .reply = "a number",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "COMMAND LIST",
        .args = "",
        .group = GROUP_HABIT,
        .run = cmd_command_list,
        .summary = "Their names.",
        .reply = "an array",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "COMMAND INFO",
        .args = "[name ...]",
        .max = -1,
        .group = GROUP_HABIT,
        .run = cmd_command_info,
        .summary = "Arity and flags, as Redis describes its own; there are no keys.",
        .reply = "an array: ten fields a command, null for a name that is none",
        .errors = "",
        .since = "0.1",
    },
    {
        .name = "COMMAND DOCS",
        .args = "[name ...]",
        .max = -1,
        .group = GROUP_HABIT,
        .run = cmd_command_docs,
        .summary = "Summary, group, syntax and version of each.",
        .reply = "a map of names to maps: `summary`, `since`, `group`, `arguments`",
        .errors = "",
        .since = "0.1",
    },
};
const unsigned command_count = sizeof commands / sizeof *commands;
