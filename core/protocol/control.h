/*
 * control.h - what commands ask of the server above them: RELOAD, CONFIG, SHUTDOWN, figures of the process.
 *
 * The server fills in the functions; protocol includes nothing of server/.
 */
#ifndef MOONQ_PROTOCOL_CONTROL_H
#define MOONQ_PROTOCOL_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/pulse.h"
#include "base/slice.h"

/* Answers a call that takes its time; called once, on the loop, also when the client has hung up meanwhile. */
struct control_answer {
    void (*done)(struct control_answer *answer, enum mq_code code,
                 const char *text); /* text: message or summary */
    void *owner;
    bool abandoned; /* nobody sets it: the caller lives until `done` */
};

/* One row of the configuration, for CONFIG GET. Text as it would stand in moonq.lua. */
struct config_row {
    const char *name, *summary;
    char value[256];
    bool changeable; /* by CONFIG SET, while it runs */
};

struct server_figures {
    const char *version, *app_dir, *data_dir, *socket_path;
    int pid;
    int64_t uptime_ms;
    uint64_t rss_bytes, cpu_us;
    int64_t relaxed_ms;                /* 0: what is answered is on disk */
    uint64_t memory_bytes, max_memory; /* of its own; 0: no limit */
    unsigned connections_max;
};

struct control {
    void *owner;
    /* Loads the application in new processes; answers when the new one works, or why the old one stays (SCRIPT). */
    void (*reload)(void *owner, struct control_answer *answer);
    /* Graceful stop. `now`: running jobs are given back at once. */
    void (*shutdown)(void *owner, bool now);
    bool (*config_row)(void *owner, unsigned index, struct config_row *out); /* false past the last */
    enum mq_code (*config_set)(void *owner, struct slice name, struct slice value, struct mq_err *err);
    void (*figures)(void *owner, struct server_figures *out);
    unsigned (*pulses)(void *owner, struct pulse *list); /* of all loops; room for PULSES_MAX */
};

/* Limits of the protocol room itself; changed by the server with CONFIG SET. */
struct protocol_settings {
    unsigned connections_max;
    uint64_t request_max;       /* bytes of one command: the payload's limit and room for its options */
    uint64_t output_pause;      /* unread replies of one client at which it is no longer read from */
    uint64_t output_max;        /* ... at which it is closed */
    int64_t output_patience_ms; /* ... or when it read nothing for so long while over output_pause */
    int64_t half_sent_ms;       /* a command begun and not finished by then closes the connection; 0: never */
    unsigned pipeline_max;      /* commands of one connection under way at once; more are left unread */
};
#endif
