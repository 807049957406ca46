/* cmd_habit.c - what Redis clients send by habit when they connect: answered, so that they work unchanged. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#include "protocol/args.h"
#include "protocol/commands.h"
#include "protocol/multi.h"
#include "protocol/room.h"
#include "protocol/stream.h"

static enum mq_code say_ok(struct call *call)
{
    struct reply reply = call_reply(call);
    reply_ok(&reply);
    call_finish(call);
    return MQ_OK;
}

static enum mq_code say_bulk(struct call *call, struct slice bytes)
{
    struct reply reply = call_reply(call);
    reply_bulk(&reply, bytes);
    call_finish(call);
    return MQ_OK;
}

/* ---- names ------------------------------------------------------------------------------------------------ */

#define CLIENT_NAME_MAX 128

/* It appears in logs, leases and CLIENT LIST's lines: no blanks, no control characters. Empty takes it away. */
static enum mq_code set_name(char **out, const char *what, struct slice name, struct mq_err *err)
{
    if (name.len > CLIENT_NAME_MAX)
        return mq_fail(err, MQ_BADARG, "%s has %zu bytes, at most %d are allowed", what, name.len,
                       CLIENT_NAME_MAX);
    for (size_t i = 0; i < name.len; i++)
        if (name.at[i] <= ' ' || name.at[i] >= 0x7F)
            return mq_fail(err, MQ_BADARG, "%s has a blank or an illegal character at column %zu", what,
                           i + 1);
    free(*out);
    *out = name.len ? mq_strdup_slice(name) : NULL;
    return MQ_OK;
}

enum mq_code cmd_client_setname(struct call *call, struct mq_err *err)
{
    enum mq_code code = set_name(&call->conn->name, "the client's name", call->args[0], err);
    return code == MQ_OK ? say_ok(call) : code;
}

enum mq_code cmd_client_getname(struct call *call, struct mq_err *err)
{
    struct reply reply = call_reply(call);
    (void)err;
    reply_maybe(&reply, call->conn->name ? slice_of(call->conn->name) : SLICE_EMPTY);
    call_finish(call);
    return MQ_OK;
}

/* Newer clients tell name and version of their library; only the name is kept. */
enum mq_code cmd_client_setinfo(struct call *call, struct mq_err *err)
{
    enum mq_code code = MQ_OK;
    if (slice_is_word(call->args[0], "LIB-NAME"))
        code = set_name(&call->conn->library, "LIB-NAME", call->args[1], err);
    else if (!slice_is_word(call->args[0], "LIB-VER"))
        code =
            mq_fail(err, MQ_BADARG, "CLIENT SETINFO: unknown attribute '%.*s' (there are LIB-NAME LIB-VER)",
                    QUOTE_ARG(call->args[0]));
    return code == MQ_OK ? say_ok(call) : code;
}

enum mq_code cmd_client_id(struct call *call, struct mq_err *err)
{
    struct reply reply = call_reply(call);
    (void)err;
    reply_int(&reply, (int64_t)call->conn->no);
    call_finish(call);
    return MQ_OK;
}

/* A line as Redis writes it; clients parse it, so no value has a blank: "client|list". */
static void client_line(struct buf *out, const struct conn *conn, mono_ms now)
{
    char command[COMMAND_NAME_MAX + 1] = "";
    if (conn->newest)
        snprintf(command, sizeof command, "%s", conn->newest->name);
    for (char *at = command; *at; at++)
        *at = *at == ' ' ? '|' : (char)tolower((unsigned char)*at);
    buf_printf(
        out,
        "id=%llu fd=%d name=%s age=%lld cmd=%s resp=%d under_way=%u unread=%zu commands=%llu lib-name=%s\n",
        (unsigned long long)conn->no, conn->fd, conn->name ? conn->name : "",
        (long long)(now - conn->since) / 1000, command, conn->resp3 ? 3 : 2, conn->under_way,
        buf_len(&conn->out), (unsigned long long)conn->commands, conn->library ? conn->library : "");
}

static enum mq_code say_lines(struct call *call, bool all)
{
    struct buf text = BUF_INIT;
    mono_ms now = clock_mono();
    if (!all)
        client_line(&text, call->conn, now);
    for (struct conn *conn = all ? call->protocol->conns : NULL; conn; conn = conn->next)
        client_line(&text, conn, now);
    enum mq_code code = say_bulk(call, buf_bytes(&text));
    buf_release(&text);
    return code;
}

enum mq_code cmd_client_list(struct call *call, struct mq_err *err)
{
    (void)err;
    return say_lines(call, true);
}

enum mq_code cmd_client_info(struct call *call, struct mq_err *err)
{
    (void)err;
    return say_lines(call, false);
}

/* NO-EVICT and NO-TOUCH: nothing is ever evicted or touched here. */
enum mq_code cmd_client_no_op(struct call *call, struct mq_err *err)
{
    if (!slice_is_word(call->args[0], "ON") && !slice_is_word(call->args[0], "OFF"))
        return mq_fail(err, MQ_BADARG, "'%.*s' is neither ON nor OFF", QUOTE_ARG(call->args[0]));
    return say_ok(call);
}

/* ---- HELLO, AUTH ------------------------------------------------------------------------------------------ */

static enum mq_code no_password(struct mq_err *err)
{
    return mq_fail(
        err, MQ_NOPERM,
        "AUTH was sent, but no password is set (the socket's file permissions decide who may connect)");
}

enum mq_code cmd_auth(struct call *call, struct mq_err *err)
{
    (void)call;
    return no_password(err);
}

static enum mq_code hello_options(struct call *call, struct mq_err *err)
{
    for (unsigned i = 1; i < call->count;) {
        struct slice name = call->args[i];
        if (slice_is_word(name, "AUTH") && call->count - i >= 3)
            return no_password(err);
        if (!slice_is_word(name, "SETNAME") || call->count - i < 2)
            return mq_fail(err, MQ_BADARG,
                           "HELLO: unknown or incomplete option '%.*s' (there are AUTH SETNAME)",
                           QUOTE_ARG(name));
        enum mq_code code = set_name(&call->conn->name, "the client's name", call->args[i + 1], err);
        if (code != MQ_OK)
            return code;
        i += 2;
    }
    return MQ_OK;
}

enum mq_code cmd_hello(struct call *call, struct mq_err *err)
{
    struct conn *conn = call->conn;
    bool resp3 = conn->resp3;
    if (call->count) {
        struct slice version = call->args[0];
        resp3 = slice_equal(version, SLICE("3"));
        if (!resp3 && !slice_equal(version, SLICE("2"))) {
            struct reply reply = call_reply(call);
            reply_error(&reply, "NOPROTO", "unsupported protocol version (there are 2 and 3)");
            call_finish(call);
            return MQ_OK;
        }
    }
    enum mq_code code = hello_options(call, err);
    if (code != MQ_OK)
        return code;
    conn->resp3 = resp3;
    struct reply reply = call_reply(call);
    reply_map(&reply, 7);
    reply_text(&reply, "server");
    reply_text(&reply, "moonq");
    reply_text(&reply, "version");
    reply_text(&reply, MOONQ_VERSION);
    reply_text(&reply, "proto");
    reply_int(&reply, resp3 ? 3 : 2);
    reply_text(&reply, "id");
    reply_int(&reply, (int64_t)conn->no);
    reply_text(&reply, "mode");
    reply_text(&reply, "standalone");
    reply_text(&reply, "role");
    reply_text(&reply, "master");
    reply_text(&reply, "modules");
    reply_array(&reply, 0);
    call_finish(call);
    return MQ_OK;
}

/* ---- the others ------------------------------------------------------------------------------------------- */

enum mq_code cmd_ping(struct call *call, struct mq_err *err)
{
    (void)err;
    if (call->count)
        return say_bulk(call, call->args[0]);
    struct reply reply = call_reply(call);
    reply_simple(&reply, "PONG");
    call_finish(call);
    return MQ_OK;
}

enum mq_code cmd_echo(struct call *call, struct mq_err *err)
{
    (void)err;
    return say_bulk(call, call->args[0]);
}

enum mq_code cmd_select(struct call *call, struct mq_err *err)
{
    if (!slice_equal(call->args[0], SLICE("0")))
        return mq_fail(err, MQ_BADARG, "there is only database 0, not '%.*s' (queues keep jobs apart)",
                       QUOTE_ARG(call->args[0]));
    return say_ok(call);
}

enum mq_code cmd_quit(struct call *call, struct mq_err *err)
{
    struct conn *conn = call->conn;
    (void)err;
    multi_drop(conn);
    enum mq_code code = say_ok(call);
    conn_finish(conn);
    return code;
}

enum mq_code cmd_reset(struct call *call, struct mq_err *err)
{
    struct conn *conn = call->conn;
    (void)err;
    multi_drop(conn);
    stream_end(conn);
    free(conn->name);
    conn->name = NULL;
    conn->resp3 = false;
    struct reply reply = call_reply(call);
    reply_simple(&reply, "RESET");
    call_finish(call);
    return MQ_OK;
}

enum mq_code cmd_time(struct call *call, struct mq_err *err)
{
    struct timeval now;
    char text[32];
    struct reply reply = call_reply(call);
    (void)err;
    gettimeofday(&now, NULL);
    reply_array(&reply, 2);
    snprintf(text, sizeof text, "%lld", (long long)now.tv_sec);
    reply_text(&reply, text);
    snprintf(text, sizeof text, "%06ld", (long)now.tv_usec);
    reply_text(&reply, text);
    call_finish(call);
    return MQ_OK;
}
