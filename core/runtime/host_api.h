/*
 * host_api.h - the one list of all host calls: what moonq's Lua modules can ask of C.
 *
 * A row { "http.perform", ... } is seen by those modules as _host.http_perform. docs are printed from the rows.
 */
#ifndef MOONQ_RUNTIME_HOST_API_H
#define MOONQ_RUNTIME_HOST_API_H

#include "runtime/host.h"

/* Each table ends with a row without a name; the list ends with NULL. */
extern const struct host_call *const host_tables[];

extern const struct host_call host_job_calls[];   /* host_job.c: the running job */
extern const struct host_call host_basic_calls[]; /* host_basic.c: time, json, uuid, random, log */
#endif
