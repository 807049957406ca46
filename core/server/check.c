#include "server/check.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/child.h"
#include "runtime/source.h"
#include "server/config.h"

#define PREFIX "moonq.lua: " /* the configuration's messages name their file themselves */

/* "unknown setting 'poools'", "pools.mail.workers: 0 is out of range": the line that has the last name of that. */
static int line_of(const char *app_dir, const char *message)
{
    const char *quote = strncmp(message, "unknown ", 8) == 0 ? strchr(message, '\'') : NULL;
    const char *at = quote ? quote + 1 : message;
    size_t len = strcspn(at, quote ? "'" : ": "), start = len;
    while (start && at[start - 1] != '.')
        start--;
    return source_line_of(app_dir, "moonq.lua", (struct slice){at + start, len - start});
}

static void add_error(json_t *app, const char *app_dir, const char *message)
{
    if (strncmp(message, PREFIX, strlen(PREFIX)) == 0)
        message += strlen(PREFIX);
    int line = line_of(app_dir, message);
    json_object_set_new(app, "ok", json_false());
    json_array_append_new(json_object_get(app, "errors"), json_pack("{s:s, s:i, s:s}", "file", "moonq.lua",
                                                                    "line", line, "message", message));
}

char *check_application(const char *app_dir)
{
    char *text = child_describe(app_dir);
    json_t *app = json_loads(text, 0, NULL), *table = json_object_get(app, "config");
    struct config config;
    struct mq_err err;
    if (!table || json_is_null(table)) { /* moonq.lua itself does not load, which is said already */
        json_decref(app);
        return text;
    }
    json_t *faults = json_array(), *fault;
    size_t i;
    config_init(&config);
    if (config_read(&config, table, faults, &err) != MQ_OK) {
        json_array_foreach(faults, i, fault) add_error(app, app_dir, json_string_value(fault));
        free(text);
        text = json_dumps(app, 0);
    }
    json_decref(faults);
    config_release(&config);
    json_decref(app);
    return text;
}
