/*
 * frame.h - what the server and a child process say to each other over their socketpair.
 *
 * A frame is a length (4 bytes, of what follows), a kind (1 byte) and a body. Frames are gathered in a buf and
 * written many per system call. Each kind has one struct, one frame_add_* and one row in frame_read, so the two
 * ends cannot disagree. What is read points into the buffer read from.
 *
 * The server treats what comes from a child as it treats a client: any byte may be wrong. A frame that does not
 * decode ends that child, and its jobs go back.
 */
#ifndef MOONQ_RUNTIME_FRAME_H
#define MOONQ_RUNTIME_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "job/job.h"
#include "job/order.h"

#define FRAME_HEAD_BYTES 5
/* The largest payload that can be configured, and its record; or the most pushes of a handler, and the largest result. */
#define FRAME_MAX_BYTES (65 << 20)
/* Smaller ones of kinds whose parts have limits of their own; a frame beyond them is garbage from its head on. */
#define FRAME_JSON_MAX     (16 << 20)
#define FRAME_FAILED_MAX   (64 << 10)
#define FRAME_LOG_MAX      (256 << 10)
#define FRAME_PROGRESS_MAX (4 << 10)
#define CHILDREN_MAX       10000 /* jobs that one handler may push: they share its commit */

enum frame_kind {
    /* server to child */
    FRAME_SETUP = 1, /* first: who you are. JSON, struct child_setup */
    FRAME_JOB,       /* run this */
    FRAME_CANCEL,    /* tell this job to stop; `hard`: end it now */
    FRAME_TIMEOUT,   /* its time is up: raise the error in it */
    FRAME_DRAIN,     /* finish what runs, then exit */
    /* child to server */
    FRAME_READY, /* the application is loaded; JSON, see docs/internals: handlers, policies, warnings, errors */
    FRAME_DONE,    /* succeeded */
    FRAME_FAILED,  /* failed, snoozed, discarded, cancelled */
    FRAME_DROPPED, /* the slot was revoked before the job began */
    FRAME_LOG,     /* a line of job:log */
    FRAME_PROGRESS,
    FRAME_KINDS,
};

struct frame_job {
    uint32_t slot;
    job_id id;
    uint64_t token;
    uint16_t attempt, crashes;
    struct slice record; /* the spec, see job/record.h */
};

struct frame_signal { /* CANCEL, TIMEOUT, DROPPED */
    uint32_t slot;
    job_id id;
    bool hard;
};

struct frame_done {
    uint32_t slot;
    job_id id;
    struct slice result; /* JSON, or empty for none */
    uint32_t child_count;
    struct slice children; /* read them with frame_read_child, child_count times */
};

struct frame_failed {
    uint32_t slot;
    job_id id;
    uint8_t verdict;  /* enum fail_verdict of store.h */
    int64_t delay_ms; /* RETRY, SNOOZE. Below 0: the server's own backoff */
    struct slice code, message, traceback;
};

struct frame_log {
    job_id id;
    uint8_t level; /* enum log_level */
    struct slice text;
    struct slice fields; /* a JSON object, or empty */
};

struct frame_progress {
    uint32_t slot;
    job_id id;
    float fraction;
    struct slice note;
};

struct frame {
    enum frame_kind kind;
    union {
        struct slice json; /* SETUP, READY */
        struct frame_job job;
        struct frame_signal signal;
        struct frame_done done;
        struct frame_failed failed;
        struct frame_log log;
        struct frame_progress progress;
    };
};

void frame_add_json(struct buf *out, enum frame_kind kind, struct slice json);
void frame_add_job(struct buf *out, const struct frame_job *job);
void frame_add_signal(struct buf *out, enum frame_kind kind, uint32_t slot, job_id id, bool hard);
void frame_add_drain(struct buf *out);
void frame_add_done(struct buf *out, const struct frame_done *done);
void frame_add_failed(struct buf *out, const struct frame_failed *failed);
void frame_add_log(struct buf *out, const struct frame_log *log);
void frame_add_progress(struct buf *out, const struct frame_progress *progress);

/* For a DONE's children, the jobs its handler pushed: encoded one behind the other. */
#define FRAME_CHILD_LEAST_BYTES 100 /* of one in a frame */
void frame_add_child(struct buf *children, const struct push_order *child);
enum mq_code frame_read_child(struct push_order *out, struct reader *children, struct mq_err *err);

/*
 * Reads the frame at the front of `bytes`. *used is its whole length, or 0 if it is not all there yet.
 * INTERNAL: these bytes are no frame.
 */
enum mq_code frame_read(struct frame *out, struct slice bytes, size_t *used, struct mq_err *err);
#endif
