#include "runtime/app.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "job/name.h"
#include "runtime/files.h"
#include "runtime/inside.h"
#include "runtime/json.h"
#include "runtime/load.h"
#include "runtime/sandbox.h"
#include "runtime/source.h"

/* ---- what is found out ---- */

/* Takes "file:12: " off the front of the message, if it is about this file. */
static const char *split_place(const char *file, const char *message, int *line)
{
    size_t len = strlen(file);
    char *end;
    if (strncmp(message, file, len) != 0 || message[len] != ':')
        return message;
    long number = strtol(message + len + 1, &end, 10);
    if (end == message + len + 1 || end[0] != ':' || end[1] != ' ')
        return message;
    *line = (int)number;
    return end + 2;
}

/* What the message is about: the name that it begins with, or quotes as unknown. */
static struct slice subject_of(const char *message)
{
    const char *quote = strncmp(message, "unknown ", 8) == 0 ? strchr(message, '\'') : NULL;
    const char *at = quote ? quote + 1 : message;
    return (struct slice){at, strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")};
}

static void add_finding(struct app *app, const char *list, const char *file, int line, const char *message)
{
    message = split_place(file, message, &line);
    if (!line)
        line = source_line_of(rt.setup.app, file, subject_of(message));
    json_t *text = json_string(message);
    if (!text) /* not UTF-8 */
        text = json_string("the message is not UTF-8");
    json_array_append_new(json_object_get(app->ready, list),
                          json_pack("{s:s, s:i, s:o}", "file", file, "line", line, "message", text));
}

void app_add_error(struct app *app, const char *file, int line, const char *message)
{
    add_finding(app, "errors", file, line, message);
}

void app_add_warning(struct app *app, const char *file, int line, const char *message)
{
    add_finding(app, "warnings", file, line, message);
}

/* ---- moonq.lua ---- */

static void take_config(struct app *app, lua_State *L)
{
    struct mq_err err;
    struct buf text = BUF_INIT;
    if (json_write(&text, L, -1, 1 << 20, &err) != MQ_OK) {
        char message[MQ_ERR_TEXT_BYTES + 64];
        snprintf(message, sizeof message, "the configuration must be plain data: %s", err.text);
        app_add_error(app, "moonq.lua", 0, message);
    } else {
        json_t *config = json_loadb(text.at, buf_len(&text), 0, NULL);
        if (json_is_array(config) && json_array_size(config) == 0) {
            json_decref(config);
            config = json_object();
        }
        json_object_set_new(app->ready, "config", config ? config : json_object());
    }
    buf_release(&text);
}

static void load_config(struct app *app, lua_State *L)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/moonq.lua", rt.setup.app);
    if (access(path, F_OK) != 0) {
        app_add_error(app, "moonq.lua", 0,
                      "there is none, so this is not an application's folder (moonq init makes one)");
        return;
    }
    if (load_table(app, L, rt.setup.app, "moonq.lua", "moonq.lua")) {
        take_config(app, L);
        lua_pop(L, 1);
    }
}

/* ---- handlers/ ---- */

/* "email/send.lua" is email.send */
static void type_of_file(char *out, size_t size, const char *file)
{
    snprintf(out, size, "%.*s", (int)(strlen(file) - strlen(".lua")), file);
    for (char *at = out; *at; at++)
        if (*at == '/')
            *at = '.';
}

static void load_handler(struct app *app, lua_State *L, const char *file)
{
    char shown[FILES_PATH_BYTES + 16], type[FILES_PATH_BYTES];
    struct mq_err err;
    snprintf(shown, sizeof shown, "handlers/%s", file);
    type_of_file(type, sizeof type, file);
    if (name_check("job type", slice_of(type), &err) != MQ_OK) {
        app_add_error(app, shown, 0, err.text);
        return;
    }
    const struct handler *other = app_find_handler(app, slice_of(type));
    if (other) {
        char message[300 + FILES_PATH_BYTES];
        snprintf(message, sizeof message, "job type '%s' has a handler already, %s", type, other->file);
        app_add_error(app, shown, 0, message);
        return;
    }
    if (load_table(app, L, rt.setup.app, shown, shown)) {
        app_read_handler(app, L, shown, type);
        lua_pop(L, 1);
    }
}

void app_check_seen(struct app *app, const struct files *files, const char *folder)
{
    char shown[FILES_PATH_BYTES + 64], message[200];
    if (!files->unseen)
        return;
    snprintf(shown, sizeof shown, "%s%s%s", folder, *files->unseen ? "/" : "", files->unseen);
    snprintf(message, sizeof message,
             "it cannot be looked at: %s (a link out of the application is not followed)",
             strerror(files->why));
    app_add_error(app, shown, 0, message);
}

static void load_handlers(struct app *app, lua_State *L)
{
    char folder[4400];
    struct files files = {0};
    snprintf(folder, sizeof folder, "%s/handlers", rt.setup.app);
    files_list(&files, folder, ".lua");
    app_check_seen(app, &files, "handlers");
    for (size_t i = 0; i < files.count; i++)
        load_handler(app, L, files.names[i]);
    if (files.count == 0)
        app_add_warning(app, "handlers", 0,
                        "there is no handler: jobs will wait until there is one for their type");
    files_release(&files);
}

/* ---- the whole ---- */

void app_load(struct app *app, lua_State *L)
{
    *app = (struct app){0};
    app->ready = json_pack("{s:b, s:{}, s:{}, s:[], s:[], s:[], s:[]}", "ok", 0, "config", "handlers",
                           "retries", "schedules", "errors", "warnings");
    load_begin(app);
    load_config(app, L);
    app_load_policies(app, L);
    load_handlers(app, L);
    app_load_schedules(app, L);
    load_end();
    json_object_set_new(app->ready, "scripts", json_integer(source_loaded()));
    json_object_set_new(app->ready, "ok",
                        json_boolean(json_array_size(json_object_get(app->ready, "errors")) == 0));
}

static void handler_free(struct handler *handler)
{
    for (unsigned i = 0; i < handler->host_count; i++) {
        free(handler->hosts[i].kind);
        free(handler->hosts[i].host);
    }
    free(handler->hosts);
    free(handler->type);
    free(handler->file);
    free(handler);
}

void app_release(struct app *app)
{
    struct handler *handler, *next;
    struct policy *policy, *next_policy;
    HASH_ITER (hh, app->handlers, handler, next) {
        HASH_DEL(app->handlers, handler);
        handler_free(handler);
    }
    HASH_ITER (hh, app->policies, policy, next_policy) {
        HASH_DEL(app->policies, policy);
        free(policy->name);
        free(policy);
    }
    json_decref(app->ready);
    *app = (struct app){0};
}

struct handler *app_find_handler(const struct app *app, struct slice type)
{
    struct handler *found;
    HASH_FIND(hh, app->handlers, type.at, type.len, found);
    return found;
}
