/*
 * app.h - an application's folder: moonq.lua, handlers/, retries/, schedules.lua, lib/.
 *
 * app_load reads every file, in the sandbox, and gathers all errors instead of stopping at the first. What it
 * found out is READY's JSON; what a worker needs to run jobs stays in struct app.
 */
#ifndef MOONQ_RUNTIME_APP_H
#define MOONQ_RUNTIME_APP_H

#include <jansson.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "base/slice.h"

/* A host that a handler may speak to: `allow = { http = { "api.example.com", "*.example.org:8443" } }`. */
struct allowed_host {
    char *kind, *host; /* host without port, lower case; "*.x" allows what ends in ".x", "*" all */
    int port;          /* 0: any */
};

struct policy {
    char *name;
    int function_ref; /* function(job, err, options) */
    int options_ref;  /* its default options; LUA_NOREF: it takes none */
    UT_hash_handle hh;
};

struct handler {
    char *type;
    char *file; /* "handlers/email/send.lua" */
    int run_ref;
    int policy_ref;  /* its retry policy; LUA_NOREF: the server's backoff */
    int options_ref; /* third argument of the policy; LUA_NOREF: none */
    struct allowed_host *hosts;
    unsigned host_count;
    uint64_t ran; /* jobs of it in this worker */
    UT_hash_handle hh;
};

struct app {
    struct handler *handlers;
    struct policy *policies;
    json_t *ready; /* READY, being written */
};

/* Fills `app`. Its `ready` says whether all is well. */
void app_load(struct app *app, lua_State *L);
void app_release(struct app *app);

struct handler *app_find_handler(const struct app *app, struct slice type);

/* Adds to READY's errors (or warnings). `line` 0: not known; a "file:line: " before the message is taken off. */
struct files;
/* An error for what could not be looked at below `folder`. */
void app_check_seen(struct app *app, const struct files *files, const char *folder);
void app_add_error(struct app *app, const char *file, int line, const char *message);
void app_add_warning(struct app *app, const char *file, int line, const char *message);

/* app_schedules.c: schedules.lua, into READY's `schedules`: { name, line, definition, error? }. */
void app_load_schedules(struct app *app, lua_State *L);
/* Runs the function that makes the args of an entry: { args = JSON text } or { error }. The caller's. */
#define SCHEDULE_ARGS_MS 2000
json_t *app_schedule_args(struct app *app, lua_State *L, const char *name, double planned_at);

/* app_handler.c: reads the table at the top of the stack, which stays. Errors go to READY. */
void app_read_handler(struct app *app, lua_State *L, const char *file, const char *type);
/* app_retry.c: what a handler's `retry` says, at the top of the stack. False: an error was added. */
bool app_read_retry(struct app *app, lua_State *L, struct handler *handler, json_t *row);
/* Loads retries/ of the application and of moonq. */
void app_load_policies(struct app *app, lua_State *L);
#endif
