/*
 * record.h - jobs as bytes: on disk, and in the frames between the server and its workers.
 *
 * Each record begins with its format's number and ends with 32 bits of XXH3 over all that stands before, so a
 * torn or foreign record is seen. To change a format: add a number, keep reading the old one.
 *
 * Threads: any. What is decoded points into the bytes given.
 */
#ifndef MOONQ_JOB_RECORD_H
#define MOONQ_JOB_RECORD_H

#include "base/buf.h"
#include "base/err.h"
#include "job/job.h"

/* How many bytes record_write_spec will write. */
size_t record_spec_bytes(const struct job_spec *spec);
/* Writes at `at`, which has that many bytes. */
void record_write_spec(char *at, const struct job_spec *spec);
/* INTERNAL says what is wrong with the bytes. */
enum mq_code record_read_spec(struct job_spec *out, struct slice bytes, struct mq_err *err);

/* A status without holder and note has at most this many bytes. */
size_t record_status_bytes(const struct job_status *status);
void record_write_status(char *at, const struct job_status *status);
enum mq_code record_read_status(struct job_status *out, struct slice bytes, struct mq_err *err);

void record_add_attempt(struct buf *out, const struct job_attempt *attempt);
enum mq_code record_read_attempt(struct job_attempt *out, struct slice bytes, struct mq_err *err);
#endif
