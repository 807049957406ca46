#include "job/state.h"

#include "base/err.h"

/* clang-format off */
const struct state_row state_rows[] = {
    { JOB_NONE,      STEP_PUSH,      JOB_READY,     "pushed, may run at once" },
    { JOB_NONE,      STEP_SCHEDULE,  JOB_SCHEDULED, "pushed with a delay or a time" },
    { JOB_NONE,      STEP_BLOCK,    JOB_BLOCKED,   "pushed behind the running job that holds its unique key" },
    { JOB_BLOCKED,   STEP_UNBLOCK,   JOB_READY,     "the last job it waited for is done" },
    { JOB_BLOCKED,   STEP_RESCHEDULE, JOB_SCHEDULED, "what it waited for is done, its own time is still to come" },
    { JOB_BLOCKED,   STEP_CANCEL,    JOB_CANCELLED, "cancelled before it could run" },
    { JOB_BLOCKED,   STEP_EXPIRE,    JOB_EXPIRED,   "it could not start in time" },
    { JOB_BLOCKED,   STEP_DELETE,    JOB_NONE,      "deleted by a person" },
    { JOB_SCHEDULED, STEP_DUE,       JOB_READY,     "its time has come" },
    { JOB_SCHEDULED, STEP_PROMOTE,   JOB_READY,     "a person did not want to wait" },
    { JOB_SCHEDULED, STEP_RESCHEDULE, JOB_SCHEDULED, "another time" },
    { JOB_SCHEDULED, STEP_CANCEL,    JOB_CANCELLED, "cancelled before its time" },
    { JOB_SCHEDULED, STEP_EXPIRE,    JOB_EXPIRED,   "it could not start in time" },
    { JOB_SCHEDULED, STEP_DELETE,    JOB_NONE,      "deleted by a person" },
    { JOB_READY,     STEP_LEASE,     JOB_RUNNING,   "counts the attempt before it starts: a crash cannot forget it" },
    { JOB_READY,     STEP_RESCHEDULE, JOB_SCHEDULED, "not now, but later" },
    { JOB_READY,     STEP_CANCEL,    JOB_CANCELLED, "cancelled before it ran" },
    { JOB_READY,     STEP_EXPIRE,    JOB_EXPIRED,   "it could not start in time" },
    { JOB_READY,     STEP_DELETE,    JOB_NONE,      "deleted by a person, or its queue was purged" },
    { JOB_RUNNING,   STEP_ACK,       JOB_SUCCEEDED, "done, with all that the handler did through moonq" },
    { JOB_RUNNING,   STEP_FAIL,      JOB_RETRYING,  "failed; the retry policy named the next attempt's time" },
    { JOB_RUNNING,   STEP_BURY,      JOB_DEAD,      "failed with no attempt left, for good, or as poison" },
    { JOB_RUNNING,   STEP_GIVE_BACK, JOB_READY,     "not started, or interrupted by no fault of its own: uncharged" },
    { JOB_RUNNING,   STEP_LOST,      JOB_READY,     "the lease ran out; its holder's late ACK is refused with LOST" },
    { JOB_RUNNING,   STEP_SNOOZE,    JOB_SCHEDULED, "the handler asked for a later time: uncharged" },
    { JOB_RUNNING,   STEP_CANCEL,    JOB_CANCELLED, "cancelled while it ran; its handler was told, or stopped" },
    { JOB_RUNNING,   STEP_DISCARD,   JOB_CANCELLED, "its handler or its policy dropped it" },
    { JOB_RETRYING,  STEP_DUE,       JOB_READY,     "the backoff is over" },
    { JOB_RETRYING,  STEP_PROMOTE,   JOB_READY,     "a person did not want to wait for the backoff" },
    { JOB_RETRYING,  STEP_RETRY,     JOB_READY,     "a person wants the next attempt now" },
    { JOB_RETRYING,  STEP_RESCHEDULE, JOB_RETRYING, "another time for its next attempt" },
    { JOB_RETRYING,  STEP_CANCEL,    JOB_CANCELLED, "cancelled between attempts" },
    { JOB_RETRYING,  STEP_DELETE,    JOB_NONE,      "deleted by a person" },
    { JOB_SUCCEEDED, STEP_DELETE,    JOB_NONE,      "`keep` ran out, or deleted by a person" },
    { JOB_SUCCEEDED, STEP_RETRY,     JOB_READY,     "a person wants it run once more" },
    { JOB_DEAD,      STEP_RETRY,     JOB_READY,     "a person brings it back, with fresh attempts" },
    { JOB_DEAD,      STEP_DELETE,    JOB_NONE,      "older than `dead_keep`, or deleted by a person" },
    { JOB_CANCELLED, STEP_RETRY,     JOB_READY,     "a person brings it back" },
    { JOB_CANCELLED, STEP_DELETE,    JOB_NONE,      "`keep` ran out, or deleted by a person" },
    { JOB_EXPIRED,   STEP_RETRY,     JOB_READY,     "a person brings it back" },
    { JOB_EXPIRED,   STEP_DELETE,    JOB_NONE,      "`keep` ran out, or deleted by a person" },
};
/* clang-format on */
const unsigned state_row_count = sizeof state_rows / sizeof *state_rows;

static const char *const state_names[JOB_STATES] = {
    "none",     "blocked",   "scheduled", "ready",     "running",
    "retrying", "succeeded", "dead",      "cancelled", "expired",
};

static const char *const step_names[JOB_STEPS] = {
    "push",  "schedule",  "due",     "promote",    "lease",  "ack",     "fail",
    "bury",  "give_back", "lost",    "snooze",     "cancel", "discard", "expire",
    "retry", "delete",    "unblock", "reschedule", "block",
};

/* The table as an array, filled at first use: a lookup a step, on every path of the store. */
static signed char after[JOB_STATES][JOB_STEPS];

__attribute__((constructor)) static void fill_after(void)
{
    memset(after, -1, sizeof after);
    for (unsigned i = 0; i < state_row_count; i++)
        after[state_rows[i].from][state_rows[i].step] = (signed char)state_rows[i].to;
}

bool state_allows(enum job_state from, enum job_step step)
{
    return after[from][step] >= 0;
}

enum job_state state_after(enum job_state from, enum job_step step)
{
    if (!state_allows(from, step))
        mq_bug("no step '%s' from state '%s'", step_name(step), state_name(from));
    return (enum job_state)after[from][step];
}

bool state_is_final(enum job_state state)
{
    return state >= JOB_SUCCEEDED;
}

const char *state_name(enum job_state state)
{
    return (unsigned)state < JOB_STATES ? state_names[state] : "unknown";
}

const char *step_name(enum job_step step)
{
    return (unsigned)step < JOB_STEPS ? step_names[step] : "unknown";
}

enum job_state state_of_name(struct slice name)
{
    for (int i = 1; i < JOB_STATES; i++)
        if (slice_is_word(name, state_names[i]))
            return (enum job_state)i;
    return JOB_NONE;
}

enum mq_code states_parse(uint32_t *mask, struct slice text, struct mq_err *err)
{
    uint32_t found = 0;
    for (;;) {
        const char *comma = text.len ? memchr(text.at, ',', text.len) : NULL;
        struct slice word = {text.at, comma ? (size_t)(comma - text.at) : text.len};
        enum job_state state = state_of_name(word);
        if (state == JOB_NONE)
            return mq_fail(
                err, MQ_BADARG,
                "'%.*s' is not a state (blocked scheduled ready running retrying succeeded dead cancelled "
                "expired)",
                (int)(word.len > 64 ? 64 : word.len), word.at);
        found |= 1u << state;
        if (!comma)
            break;
        text = (struct slice){comma + 1, text.len - word.len - 1};
    }
    *mask = found;
    return MQ_OK;
}
