#include "runtime/net_http.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "runtime/net_multi.h"
#include "runtime/net_op.h"

#define TIMEOUT_MS         30000
#define CONNECT_TIMEOUT_MS 10000
#define BODY_MAX_BYTES     (10LL << 20)
#define LABEL_BYTES        240
/*
 * Bodies on their way are outside of Lua's memory limit. All of a worker together hold no more than this; who
 * comes too late fails with FULL and is tried again.
 */
#define BODIES_MAX_BYTES (256LL << 20)

/* Lines to send. After our own come those that all requests share. */
struct headers {
    struct curl_slist *first, *last;
};

struct http_op {
    struct net_op op;
    struct net_transfer transfer;
    CURLU *url, *proxy;
    char *host, *proxy_host;
    int port, proxy_port;
    struct headers headers;
    struct buf body;
    int64_t body_max;
    CURLcode result;
    bool expired, too_big, full;
    bool has_method; /* another than GET, or a body: undone before the handle is kept */
    bool special;    /* options that nobody undoes: the handle is not kept */
    char label
        [LABEL_BYTES]; /* "GET https://host/path", for messages: without a query, which may hold secrets */
};

static int64_t bodies_bytes; /* of all operations */

static void http_start(struct net_op *base);
static void http_expired(struct net_op *base);
static void http_release(struct net_op *base);
static const struct net_kind http_kind = {"moonq.net.http", http_start, http_expired, http_release};

/* ---- header lines ------------------------------------------------------------------------------------------- */

/*
 * Sent with every request that does not name them itself. curl would build the same lines from its options, letter by letter,
 * for each request.
 */
static char agent_text[] = "User-Agent: moonq/" MOONQ_VERSION;
static char accept_text[80];
static struct curl_slist accept_line = {accept_text, NULL};
static struct curl_slist agent_line = {agent_text, NULL};
static struct curl_slist both_lines = {agent_text, &accept_line};

static void headers_add(struct headers *headers, const char *line)
{
    struct curl_slist *node = mq_calloc(1, sizeof *node);
    node->data = mq_strdup(line);
    if (headers->last)
        headers->last->next = node;
    else
        headers->first = node;
    headers->last = node;
}

static void headers_end(struct headers *headers, struct curl_slist *shared)
{
    if (headers->last)
        headers->last->next = shared;
    else
        headers->first = shared;
}

static void headers_release(struct headers *headers)
{
    if (headers->last) {
        headers->last->next = NULL;
        curl_slist_free_all(headers->first);
    }
    *headers = (struct headers){NULL, NULL};
}

/* What curl can undo, as its option CURLOPT_ACCEPT_ENCODING would say it. */
static void name_encodings(void)
{
    static const struct {
        int feature;
        const char *names;
    } rows[] = {
        {CURL_VERSION_LIBZ, "deflate, gzip"}, {CURL_VERSION_BROTLI, "br"}, {CURL_VERSION_ZSTD, "zstd"}};
    const curl_version_info_data *about = curl_version_info(CURLVERSION_NOW);
    size_t len = (size_t)snprintf(accept_text, sizeof accept_text, "Accept-Encoding:");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (about->features & rows[i].feature)
            len += (size_t)snprintf(accept_text + len, sizeof accept_text - len, "%s %s",
                                    strchr(accept_text, ' ') ? "," : "", rows[i].names);
}

/* ---- the operation ------------------------------------------------------------------------------------------ */

/* Back to what set_lasting left. */
static void undo_request(struct http_op *op)
{
    CURL *easy = op->transfer.easy;
    if (op->has_method) {
        net_set(easy, CURLOPT_COPYPOSTFIELDS, NULL);
        net_set(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)-1);
        net_set(easy, CURLOPT_CUSTOMREQUEST, NULL);
        net_set(easy, CURLOPT_NOBODY, 0L);
        net_set(easy, CURLOPT_HTTPGET, 1L);
    }
    net_set(easy, CURLOPT_CURLU, NULL);
    net_set(easy, CURLOPT_HTTPHEADER, NULL);
}

static void handle_release(struct http_op *op)
{
    if (!op->transfer.easy)
        return;
    net_transfer_stop(&op->transfer);
    op->transfer.keep = !op->special;
    if (!op->special)
        undo_request(op);
    net_transfer_release(&op->transfer);
}

static void http_release(struct net_op *base)
{
    struct http_op *op = (struct http_op *)base;
    handle_release(op);
    curl_url_cleanup(op->url);
    curl_url_cleanup(op->proxy);
    curl_free(op->host);
    curl_free(op->proxy_host);
    headers_release(&op->headers);
    op->url = op->proxy = NULL;
    op->host = op->proxy_host = NULL;
    bodies_bytes -= (int64_t)buf_len(&op->body);
    buf_release(&op->body);
}

static void http_start(struct net_op *base)
{
    struct http_op *op = (struct http_op *)base;
    if (op->proxy)
        net_transfer_start(&op->transfer, slice_of(op->proxy_host), op->proxy_port);
    else
        net_transfer_start(&op->transfer, slice_of(op->host), op->port);
}

static void http_done(struct net_transfer *transfer, CURLcode result)
{
    struct http_op *op = (struct http_op *)((char *)transfer - offsetof(struct http_op, transfer));
    net_transfer_stop(transfer);
    op->result = result;
    net_op_finish(&op->op);
}

static void http_expired(struct net_op *base)
{
    struct http_op *op = (struct http_op *)base;
    op->expired = true;
    http_done(&op->transfer, CURLE_OPERATION_TIMEDOUT);
}

static size_t on_body(char *bytes, size_t one, size_t count, void *owner)
{
    struct http_op *op = owner;
    size_t len = one * count;
    op->too_big = (int64_t)(buf_len(&op->body) + len) > op->body_max;
    op->full = bodies_bytes + (int64_t)len > BODIES_MAX_BYTES;
    if (op->too_big || op->full)
        return len + 1; /* anything but len ends the transfer */
    buf_add(&op->body, bytes, len);
    bodies_bytes += (int64_t)len;
    return len;
}

/* ---- headers of the handler --------------------------------------------------------------------------------- */

static bool is_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c <= ' ' || c >= 127 || strchr("()<>@,;:\\\"/[]?={}", c))
            return false;
    }
    return text.len > 0 && text.len <= NET_OPTION_MAX_BYTES;
}

static bool is_header_value(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if ((c < ' ' && c != '\t') || c == 127)
            return false;
    }
    return text.len <= NET_OPTION_MAX_BYTES;
}

/* A Host header leads to another site on the same server: it needs the same permission. */
static void check_host_header(lua_State *L, struct http_op *op, struct slice value)
{
    const char *end = value.at + value.len, *from = value.at;
    if (value.len && value.at[0] == '[')
        from = memchr(value.at, ']', value.len);
    const char *colon = from ? memchr(from, ':', (size_t)(end - from)) : NULL;
    value.len = (size_t)((colon ? colon : end) - value.at);
    net_must_allow(L, "http", value, op->port);
}

enum {
    HAS_TYPE = 1,
    HAS_ENCODING = 2,
    HAS_EXPECT = 4,
    HAS_AGENT = 8
};

/* Adds one header; answers which of those that curl would add itself it is. */
static unsigned add_header(lua_State *L, struct http_op *op, struct slice name, struct slice value)
{
    if (!is_token(name))
        host_raise(L, "BADARG", false, "header name '%.100s' has characters that no header name may have",
                   name.at);
    if (!is_header_value(value))
        host_raise(L, "BADARG", false,
                   "header '%.100s' has a line break or another control character in its value, "
                   "or is longer than %d bytes",
                   name.at, NET_OPTION_MAX_BYTES);
    if (slice_is_word(name, "Content-Length") || slice_is_word(name, "Transfer-Encoding"))
        host_raise(L, "BADARG", false, "header '%s' follows from the body and cannot be given", name.at);
    if (slice_is_word(name, "Host"))
        check_host_header(L, op, value);
    struct buf line = BUF_INIT;
    buf_printf(&line, value.len ? "%s: %s" : "%s;", name.at,
               value.at); /* "Name;" is curl's way to send none */
    buf_u8(&line, 0);
    headers_add(&op->headers, line.at);
    buf_release(&line);
    return slice_is_word(name, "Content-Type")      ? HAS_TYPE
           : slice_is_word(name, "Accept-Encoding") ? HAS_ENCODING
           : slice_is_word(name, "Expect")          ? HAS_EXPECT
           : slice_is_word(name, "User-Agent")      ? HAS_AGENT
                                                    : 0;
}

static struct slice string_at(lua_State *L, int index)
{
    struct slice text = {NULL, 0};
    if (lua_type(L, index) != LUA_TSTRING)
        luaL_error(L, "http.request: headers must be strings");
    text.at = lua_tolstring(L, index, &text.len);
    return text;
}

static unsigned read_headers(lua_State *L, struct http_op *op)
{
    unsigned seen = 0;
    lua_getfield(L, 1, "headers");
    int list = lua_gettop(L);
    int count = lua_istable(L, list) ? (int)lua_objlen(L, list) : 0;
    for (int i = 1; i < count; i += 2) {
        lua_rawgeti(L, list, i);
        lua_rawgeti(L, list, i + 1);
        struct slice name = string_at(L, -2), value = string_at(L, -1);
        seen |= add_header(L, op, name, value);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    return seen;
}

/* ---- the request -------------------------------------------------------------------------------------------- */

static void set_method(lua_State *L, struct http_op *op, unsigned seen)
{
    struct slice method, body;
    CURL *easy = op->transfer.easy;
    net_option_text(L, "method", &method);
    bool has_body = net_option_bytes(L, "body", &body);
    bool wants_body =
        slice_is_word(method, "POST") || slice_is_word(method, "PUT") || slice_is_word(method, "PATCH");
    op->has_method = has_body || !slice_is_word(method, "GET");
    if (slice_is_word(method, "HEAD")) {
        net_set(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (has_body || wants_body) {
        net_set(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(has_body ? body.len : 0));
        if (curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, has_body ? body.at : "") != CURLE_OK)
            host_raise(L, "FULL", true, "no memory for a body of %zu bytes", body.len);
        if (!(seen & HAS_TYPE))
            headers_add(&op->headers, "Content-Type:"); /* not curl's guess that it is a form */
        if (!(seen & HAS_EXPECT))
            headers_add(&op->headers, "Expect:"); /* a round trip for what is rarely refused */
    }
    if (!slice_is_word(method, has_body || wants_body ? "POST" : "GET"))
        net_set(easy, CURLOPT_CUSTOMREQUEST, method.at);
}

static void set_tls(lua_State *L, struct http_op *op)
{
    CURL *easy = op->transfer.easy;
    struct slice ca;
    if (!net_option_flag(L, "verify", true)) {
        op->special = true;
        net_set(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        net_set(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    bool is_text = net_option_ca(L, &ca);
    op->special |= ca.at != NULL;
    if (is_text) {
        struct curl_blob blob = {(void *)ca.at, ca.len, CURL_BLOB_COPY};
        net_set(easy, CURLOPT_CAINFO_BLOB, &blob);
    } else if (ca.at) {
        net_set(easy, CURLOPT_CAINFO, ca.at);
    }
}

static void set_version(lua_State *L, struct http_op *op, struct slice url)
{
    lua_getfield(L, 1, "http2");
    const char *how = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    bool off = lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    bool shares = !off && (*how || strncasecmp(url.at, "https:", 6) == 0);
    long version = off                         ? CURL_HTTP_VERSION_1_1
                   : strcmp(how, "prior") == 0 ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
                                               : CURL_HTTP_VERSION_2TLS;
    lua_pop(L, 1);
    net_set(op->transfer.easy, CURLOPT_HTTP_VERSION, version);
    /* Rather wait whether a connection that is being opened can be shared than open another one beside it. */
    net_set(op->transfer.easy, CURLOPT_PIPEWAIT, shares ? 1L : 0L);
}

static void set_auth(lua_State *L, struct http_op *op)
{
    struct slice name, password;
    if (net_option_text(L, "username", &name)) {
        op->special = true;
        net_set(op->transfer.easy, CURLOPT_USERNAME, name.at);
        net_set(op->transfer.easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    }
    op->special |= net_option_text(L, "password", &password);
    if (password.at)
        net_set(op->transfer.easy, CURLOPT_PASSWORD, password.at);
}

static void set_proxy(lua_State *L, struct http_op *op)
{
    static const char *const schemes[2] = {"http", "https"};
    struct slice proxy;
    if (!net_option_text(L, "proxy", &proxy))
        return;
    if (op->transfer.public_only)
        host_raise(L, "BADARG", false,
                   "public_only cannot be kept through a proxy, which looks the name up itself");
    op->special = true;
    net_set(op->transfer.easy, CURLOPT_USERAGENT,
            agent_text + sizeof "User-Agent:"); /* to the proxy itself */
    net_url_open(L, "http", schemes, proxy, (void **)&op->proxy, &op->proxy_host, &op->proxy_port);
    net_set(op->transfer.easy, CURLOPT_PROXY, proxy.at);
    net_set(op->transfer.easy, CURLOPT_NOPROXY, "");
}

static void set_limits(lua_State *L, struct http_op *op)
{
    CURL *easy = op->transfer.easy;
    op->op.timeout_ms = net_option_ms(L, "timeout", TIMEOUT_MS);
    int64_t connect_ms = net_option_ms(L, "connect_timeout", CONNECT_TIMEOUT_MS);
    if (connect_ms > op->op.timeout_ms)
        connect_ms = op->op.timeout_ms + 1; /* ours comes first, and says more */
    op->body_max = net_option_count(L, "max_bytes", BODY_MAX_BYTES);
    net_set(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    /* of a HEAD the length is told, and no body comes */
    struct slice method;
    bool head = net_option_text(L, "method", &method) && slice_is_word(method, "HEAD");
    net_set(easy, CURLOPT_MAXFILESIZE_LARGE, head ? (curl_off_t)0 : (curl_off_t)op->body_max);
}

static struct slice set_url(lua_State *L, struct http_op *op)
{
    static const char *const schemes[2] = {"http", "https"};
    struct slice url, method;
    if (!net_option_text(L, "url", &url) || url.len == 0)
        host_raise(L, "BADARG", false, "url is missing");
    if (!net_option_text(L, "method", &method) || !is_token(method) || slice_is_word(method, "CONNECT"))
        host_raise(L, "BADARG", false, "'%.50s' is not an HTTP method", method.at ? method.at : "");
    snprintf(op->label, sizeof op->label, "%.20s %.*s", method.at, (int)strcspn(url.at, "?#"), url.at);
    net_url_open(L, "http", schemes, url, (void **)&op->url, &op->host, &op->port);
    return url;
}

/* For a handle that is kept from request to request: what undo_request leaves. */
static void set_lasting(CURL *easy)
{
    net_set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    net_set(easy, CURLOPT_WRITEFUNCTION, on_body);
    net_set(easy, CURLOPT_ACCEPT_ENCODING, ""); /* all that curl can undo */
    if (!*accept_text)
        name_encodings();
}

static void set_headers(lua_State *L, struct http_op *op)
{
    unsigned seen = read_headers(L, op);
    if (seen & HAS_ENCODING) {
        op->special = true;
        net_set(op->transfer.easy, CURLOPT_ACCEPT_ENCODING, NULL);
    }
    set_method(L, op, seen);
    headers_end(&op->headers, (seen & HAS_AGENT) == 0 && (seen & HAS_ENCODING) == 0 ? &both_lines
                              : (seen & HAS_AGENT) == 0                             ? &agent_line
                              : (seen & HAS_ENCODING) == 0                          ? &accept_line
                                                                                    : NULL);
    net_set(op->transfer.easy, CURLOPT_HTTPHEADER, op->headers.first);
}

int http_request(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    net_task(L);
    struct http_op *op = net_op_new(L, &http_kind, sizeof *op);
    struct slice url = set_url(L, op);
    bool kept = net_transfer_init_kept(&op->transfer, http_done);
    CURL *easy = op->transfer.easy;
    if (!kept)
        set_lasting(easy);
    op->transfer.public_only = net_option_flag(L, "public_only", false);
    net_set(easy, CURLOPT_URL, url.at); /* or curl would put the text together from its parts again */
    net_set(easy, CURLOPT_CURLU, op->url);
    net_set(easy, CURLOPT_WRITEDATA, (void *)op);
    set_version(L, op, url);
    set_auth(L, op);
    set_proxy(L, op);
    set_limits(L, op);
    /* Last what copies: a handler that gives wrong options again and again must not leave copies behind. */
    set_tls(L, op);
    set_headers(L, op);
    lua_pushnumber(L, (double)op->op.timeout_ms / 1000);
    return 2;
}

/* ---- the response ------------------------------------------------------------------------------------------- */

static const char *how_far(CURL *easy)
{
    curl_off_t began = 0, connected = 0;
    curl_easy_getinfo(easy, CURLINFO_STARTTRANSFER_TIME_T, &began);
    curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
    return began ? "the answer began, but did not end" : connected ? "no answer" : "no connection";
}

static int push_timeout(lua_State *L, struct http_op *op)
{
    char message[LABEL_BYTES + 120], within[DURATION_TEXT_BYTES];
    const char *far = how_far(op->transfer.easy);
    if (op->expired)
        snprintf(message, sizeof message, "%s: %s within %s", op->label, far,
                 duration_format(within, op->op.timeout_ms));
    else
        snprintf(message, sizeof message, "%s: %s within connect_timeout", op->label, far);
    return net_push_failure(L, "TIMEOUT", message, true);
}

static int push_transport_failure(lua_State *L, struct http_op *op)
{
    char message[LABEL_BYTES + CURL_ERROR_SIZE + 120];
    CURLcode result = op->result;
    if (op->transfer.refused) {
        snprintf(message, sizeof message, "%s: leads to an address that is not public", op->label);
        return net_push_failure(L, "NOPERM", message, false);
    }
    if (op->too_big || result == CURLE_FILESIZE_EXCEEDED) {
        snprintf(message, sizeof message, "%s: the answer is larger than %lld bytes (max_bytes)", op->label,
                 (long long)op->body_max);
        return net_push_failure(L, "TOOBIG", message, false);
    }
    if (op->full) {
        snprintf(message, sizeof message,
                 "%s: the answers that this worker is reading take %lld bytes, no more fits", op->label,
                 (long long)bodies_bytes);
        return net_push_failure(L, "FULL", message, true);
    }
    if (result == CURLE_OPERATION_TIMEDOUT)
        return push_timeout(L, op);
    snprintf(message, sizeof message, "%s: %s", op->label,
             op->transfer.reason[0] ? op->transfer.reason : curl_easy_strerror(result));
    return net_push_failure(L, net_code_of(result), message, true);
}

/* Name and value in turn, as they came; those of the last answer, not of a "100 Continue" before it. */
static void push_headers(lua_State *L, CURL *easy)
{
    struct curl_header *header = NULL;
    int i = 0;
    lua_createtable(L, 16, 0);
    while ((header = curl_easy_nextheader(easy, CURLH_HEADER, -1, header))) {
        lua_pushstring(L, header->name);
        lua_rawseti(L, -2, ++i);
        lua_pushstring(L, header->value);
        lua_rawseti(L, -2, ++i);
    }
}

static void push_timings(lua_State *L, struct http_op *op)
{
    CURL *easy = op->transfer.easy;
    static const struct {
        const char *name;
        CURLINFO info;
    } timings[] = {
        {"dns", CURLINFO_NAMELOOKUP_TIME_T},
        {"connect", CURLINFO_CONNECT_TIME_T},
        {"tls", CURLINFO_APPCONNECT_TIME_T},
        {"first_byte", CURLINFO_STARTTRANSFER_TIME_T},
    };
    lua_createtable(L, 0, 5);
    for (size_t i = 0; i < sizeof timings / sizeof *timings; i++) {
        curl_off_t us = 0;
        curl_easy_getinfo(easy, timings[i].info, &us);
        lua_pushnumber(L, (double)us / 1e6);
        lua_setfield(L, -2, timings[i].name);
    }
    lua_pushnumber(L, op->op.took_s);
    lua_setfield(L, -2, "total");
}

static const char *version_name(long version)
{
    return version == CURL_HTTP_VERSION_2_0 ? "2" : version == CURL_HTTP_VERSION_1_0 ? "1.0" : "1.1";
}

static void push_response(lua_State *L, struct http_op *op)
{
    CURL *easy = op->transfer.easy;
    long status = 0, version = 0;
    char *redirect = NULL;
    curl_off_t retry_after = 0;
    struct slice body = buf_bytes(&op->body);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
    curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &redirect);
    curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
    lua_createtable(L, 0, 10);
    lua_pushinteger(L, status);
    lua_setfield(L, -2, "status");
    lua_pushstring(L, version_name(version));
    lua_setfield(L, -2, "http_version");
    lua_pushlstring(L, body.at, body.len);
    lua_setfield(L, -2, "body");
    if (redirect) {
        lua_pushstring(L, redirect);
        lua_setfield(L, -2, "redirect");
    }
    if (retry_after > 0) {
        lua_pushnumber(L, (double)retry_after);
        lua_setfield(L, -2, "retry_after");
    }
    push_headers(L, easy);
    lua_setfield(L, -2, "headers");
    push_timings(L, op);
    lua_setfield(L, -2, "timings");
}

int http_response(lua_State *L)
{
    struct http_op *op = net_op_at(L, 1, &http_kind);
    if (!op->op.over || !op->transfer.easy)
        return luaL_error(L, "http.response: the request is not over, or its response was taken");
    int count = 1;
    if (op->result == CURLE_OK)
        push_response(L, op);
    else
        count = push_transport_failure(L, op);
    http_release(&op->op);
    return count;
}
