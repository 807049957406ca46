#include "runtime/net_smtp.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "runtime/net_smtp_link.h"

#define TIMEOUT_MS         60000 /* mail servers take their time */
#define CONNECT_TIMEOUT_MS 20000
#define RECIPIENTS_MAX     1000

static void smtp_start(struct net_op *base)
{
    smtp_op_start((struct smtp_op *)base);
}

static void smtp_expired(struct net_op *base)
{
    smtp_op_expire((struct smtp_op *)base);
}

static void smtp_release(struct net_op *base)
{
    struct smtp_op *op = (struct smtp_op *)base;
    smtp_op_leave(op);
    curl_url_cleanup(op->url);
    curl_free(op->host);
    char **texts[] = {&op->key, &op->username, &op->password, &op->ca, &op->from};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    for (int i = 0; i < op->to_count; i++)
        free(op->to[i]);
    for (int i = 0; i < op->refusal_count; i++)
        free(op->refusals[i].text);
    free(op->to);
    free(op->refusals);
    buf_release(&op->message);
    buf_release(&op->text);
    op->url = NULL;
    op->host = NULL;
    op->to = NULL;
    op->refusals = NULL;
    op->to_count = op->refusal_count = 0;
}

static const struct net_kind smtp_kind = {"moonq.net.smtp", smtp_start, smtp_expired, smtp_release};

void smtp_stop(void)
{
    smtp_links_stop();
}

/* ---- the host calls ------------------------------------------------------------------------------------------ */

/* Spaces are for the server to refuse; these would end the address, or the command. */
static char *check_address(lua_State *L, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c < ' ' || c == 127 || c == '<' || c == '>')
            host_raise(L, "BADARG", false,
                       "address '%.100s' contains a line break, a control character, < or >", text.at);
    }
    if (text.len > 1000)
        host_raise(L, "BADARG", false, "address '%.100s...' is too long", text.at);
    return mq_strdup_slice(text);
}

static void read_recipients(lua_State *L, struct smtp_op *op)
{
    lua_getfield(L, 1, "to");
    size_t count = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    if (count == 0 || count > RECIPIENTS_MAX)
        host_raise(L, "BADARG", false, "a mail needs from 1 to %d recipients, not %zu", RECIPIENTS_MAX,
                   count);
    op->to = mq_calloc(count, sizeof *op->to);
    for (size_t i = 1; i <= count; i++) {
        struct slice address = {"", 0};
        lua_rawgeti(L, -1, (int)i);
        if (lua_type(L, -1) == LUA_TSTRING)
            address.at = lua_tolstring(L, -1, &address.len);
        if (address.len == 0)
            host_raise(L, "BADARG", false, "recipient %zu is empty", i);
        op->to[op->to_count] = check_address(L, address);
        op->to_count++;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static char *option_copy(lua_State *L, const char *field)
{
    struct slice text;
    return net_option_text(L, field, &text) ? mq_strdup_slice(text) : NULL;
}

static void read_login(lua_State *L, struct smtp_op *op)
{
    struct slice how, ca;
    op->username = option_copy(L, "username");
    op->password = option_copy(L, "password");
    op->verify = net_option_flag(L, "verify", true);
    net_option_ca(L, &ca);
    if (ca.at)
        op->ca = mq_strdup_slice(ca);
    if (!net_option_text(L, "starttls", &how))
        how = SLICE("try");
    op->use_ssl = slice_is_word(how, "require") ? CURLUSESSL_ALL
                  : slice_is_word(how, "off")   ? CURLUSESSL_NONE
                                                : CURLUSESSL_TRY;
}

/* All that a connection was opened with: only a mail with the same may use it. */
static char *make_key(const struct smtp_op *op)
{
    struct buf key = BUF_INIT;
    buf_printf(&key, "%s\n%s\n%s\n%ld %d\n%s", op->label, op->username ? op->username : "",
               op->password ? op->password : "", op->use_ssl, op->verify, op->ca ? op->ca : "");
    buf_u8(&key, 0);
    return key.at; /* nothing was eaten, so it begins where it was allocated */
}

static void read_url(lua_State *L, struct smtp_op *op)
{
    static const char *const schemes[2] = {"smtps", "smtp"};
    struct slice url;
    if (!net_option_text(L, "url", &url) || url.len == 0)
        host_raise(L, "BADARG", false, "url is missing (write url = \"smtp://mail.example:25\")");
    net_url_open(L, "smtp", schemes, url, (void **)&op->url, &op->host, &op->port);
    snprintf(op->label, sizeof op->label, "%.5s://%.120s:%d",
             strncasecmp(url.at, "smtps", 5) == 0 ? "smtps" : "smtp", op->host, op->port);
}

int smtp_request(lua_State *L)
{
    struct slice text;
    luaL_checktype(L, 1, LUA_TTABLE);
    net_task(L);
    struct smtp_op *op = net_op_new(L, &smtp_kind, sizeof *op);
    read_url(L, op);
    read_login(L, op);
    if (!net_option_text(L, "from", &text))
        host_raise(L, "BADARG", false, "from is missing");
    op->from = check_address(L, text);
    read_recipients(L, op);
    op->utf8 = net_option_flag(L, "utf8", false);
    op->partial = net_option_flag(L, "partial", false);
    op->op.timeout_ms = net_option_ms(L, "timeout", TIMEOUT_MS);
    op->connect_ms = net_option_ms(L, "connect_timeout", CONNECT_TIMEOUT_MS);
    if (!net_option_bytes(L, "message", &text))
        host_raise(L, "BADARG", false, "message is missing");
    buf_add_slice(&op->message, text); /* last: what is refused has not been copied */
    op->key = make_key(op);
    return 1;
}

static void push_refusals(lua_State *L, const struct smtp_op *op)
{
    lua_createtable(L, op->refusal_count, 0);
    for (int i = 0; i < op->refusal_count; i++) {
        const struct refusal *refusal = &op->refusals[i];
        lua_createtable(L, 0, 3);
        lua_pushstring(L, refusal->address);
        lua_setfield(L, -2, "address");
        lua_pushinteger(L, refusal->status);
        lua_setfield(L, -2, "status");
        lua_pushstring(L, refusal->text);
        lua_setfield(L, -2, "message");
        lua_rawseti(L, -2, i + 1);
    }
}

int smtp_result(lua_State *L)
{
    struct smtp_op *op = net_op_at(L, 1, &smtp_kind);
    if (!op->op.over || !op->key)
        return luaL_error(L, "smtp.result: the mail is not over, or its result was taken");
    struct slice text = buf_bytes(&op->text);
    int count = 1;
    if (op->code) {
        lua_pushnil(L);
        lua_pushstring(L, op->code);
        count = 6;
    }
    lua_pushlstring(L, text.at, text.len);
    if (op->code) {
        lua_pushboolean(L, op->retryable);
        lua_pushinteger(L, op->status);
    } else {
        count = 2;
    }
    push_refusals(L, op);
    smtp_release(&op->op);
    return count;
}
