/*
 * Mail over libcurl, without blocking.
 *
 * curl's own upload waits for the server's answer to the mail's end, and for the answer to QUIT, in a blocking
 * read (smtp_done and smtp_disconnect of 7.88), which would stop all coroutines of the worker while the server
 * looks for viruses. So curl opens the connection (names, TLS, greeting, EHLO, STARTTLS, login: all of
 * CURLOPT_CONNECT_ONLY), and the mail itself, which is five short commands, is said here:
 *
 *     MAIL -> RCPT, once a recipient -> DATA -> the message -> done
 *                                  `--refused--> RSET -> the connection is free again
 *
 * It also lets us ask about every recipient before anything is sent: unless the caller takes a partial delivery,
 * one refusal means that nobody gets the mail, and the error names all that were refused.
 */
#include "runtime/net_smtp_link.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/err.h"
#include "runtime/net_multi.h"

#define LINKS_MAX       16 /* to one server at once; Postfix takes 50 of one client, and there are other workers */
#define LINK_IDLE_S     15.0
#define LINK_RESET_S    10.0 /* for the answer to RSET, which nobody waits for */
#define REPLY_MAX_BYTES (64 << 10)

/* One server and login, and all that would make a connection unfit for others. */
struct smtp_server {
    char *key;
    unsigned open;           /* links, busy ones too */
    struct smtp_link *idle;  /* utlist DL, the last used first */
    struct smtp_op *waiting; /* utlist DL, for a link */
    UT_hash_handle hh;
};

enum step {
    STEP_OPEN, /* curl's */
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_BODY,
    STEP_RESET,
    STEP_IDLE,
};
static const char *const step_names[] = {"the greeting",   "MAIL FROM", "RCPT TO", "DATA",
                                         "the mail's end", "RSET",      ""};

struct smtp_link {
    struct net_transfer transfer;
    CURLU *url;
    struct smtp_server *server;
    struct smtp_op *op;                    /* NULL: none */
    struct smtp_link *prev, *next;         /* among the idle ones */
    struct smtp_link *all_prev, *all_next; /* among all */
    enum step step;
    ev_io io;
    ev_timer timer; /* ends an idle link, or one that does not answer RSET */
    bool used;      /* has carried a mail */
    bool offers_utf8, offers_size;
    int64_t size_max; /* 0: not told */
    struct buf in, out;
    int status; /* of the reply that is being read, or was read last */
    bool reply_goes_on;
    struct buf text;
};

static struct smtp_server *servers;
static struct smtp_link *links;

static void link_mail(struct smtp_link *link);
static void server_next(struct smtp_server *server);

/* ---- how an operation ends ---------------------------------------------------------------------------------- */

static void op_finish(struct smtp_op *op)
{
    if (op->link)
        op->link->op = NULL;
    op->link = NULL;
    net_op_finish(&op->op);
}

static void op_fail(struct smtp_op *op, const char *code, bool retryable, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void op_fail(struct smtp_op *op, const char *code, bool retryable, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    op->code = code;
    op->retryable = retryable;
    buf_clear(&op->text);
    buf_add_slice(&op->text, slice_of(text));
    op_finish(op);
}

/* The server said no: its own words, complete. What begins with 4 may go well later. */
static void op_refuse(struct smtp_op *op, int status, struct slice text)
{
    op->code = "SMTP";
    op->status = status;
    op->retryable = status < 500;
    buf_clear(&op->text);
    buf_add_slice(&op->text, text);
    op_finish(op);
}

/* Recipients were refused. One lasting refusal makes trying again pointless. */
static void op_refuse_recipients(struct smtp_op *op)
{
    const struct refusal *first = &op->refusals[0];
    buf_clear(&op->text);
    for (int i = 0; i < op->refusal_count; i++) {
        const struct refusal *refusal = &op->refusals[i];
        if (refusal->status >= 500 && first->status < 500)
            first = refusal;
        if (op->refusal_count == 1)
            buf_printf(&op->text, "%s", refusal->text);
        else
            buf_printf(&op->text, "%s<%s> %s", i ? "; " : "", refusal->address, refusal->text);
    }
    op->code = "SMTP";
    op->status = first->status;
    op->retryable = first->status < 500;
    op_finish(op);
}

/* ---- links --------------------------------------------------------------------------------------------------- */

static void link_close(struct smtp_link *link)
{
    struct smtp_server *server = link->server;
    if (link->step == STEP_IDLE)
        DL_DELETE(server->idle, link);
    DL_DELETE2(links, link, all_prev, all_next);
    ev_io_stop(host_loop(), &link->io);
    ev_timer_stop(host_loop(), &link->timer);
    net_transfer_release(&link->transfer);
    curl_url_cleanup(link->url);
    buf_release(&link->in);
    buf_release(&link->out);
    buf_release(&link->text);
    free(link);
    server->open--;
    server_next(server);
}

/* Says goodbye if there is room for it in the socket, and waits for no answer. */
static void link_quit(struct smtp_link *link)
{
    size_t sent;
    curl_easy_send(link->transfer.easy, "QUIT\r\n", 6, &sent);
    link_close(link);
}

/* The connection is of no use any more; what it carried fails, or goes on over another one. */
static void link_broken(struct smtp_link *link, const char *why)
{
    struct smtp_op *op = link->op;
    /* A server closes idle connections as it likes. Nothing was said yet, so another connection may say it. */
    bool again = op && link->used && link->step == STEP_MAIL;
    const char *step = step_names[link->step];
    bool unsure = link->step == STEP_BODY && buf_len(&link->out) == 0;
    link->op = NULL;
    link_close(link);
    if (!op)
        return;
    op->link = NULL;
    if (again) {
        op->fresh = true;
        smtp_op_start(op);
    } else {
        op_fail(op, "BROKEN", true, "%s: the connection ended instead of an answer to %s%s%s%s", op->label,
                step, why[0] ? ": " : "", why, unsure ? " (the server may have taken the mail)" : "");
    }
}

void smtp_op_expire(struct smtp_op *op)
{
    struct smtp_link *link = op->link;
    char within[DURATION_TEXT_BYTES];
    duration_format(within, op->op.timeout_ms);
    if (!link) {
        smtp_op_leave(op); /* a link that is free from now on is not for it */
        op_fail(op, "TIMEOUT", true, "%s: no connection became free within %s", op->label, within);
        return;
    }
    const char *step = step_names[link->step];
    op->link = NULL;
    link->op = NULL;
    link_close(link); /* in the middle of a mail it is of no use to others */
    op_fail(op, "TIMEOUT", true, "%s: no answer to %s within %s", op->label, step, within);
}

static void on_link_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    link_quit(timer->data);
}

static void link_wish(struct smtp_link *link, int events)
{
    if (ev_is_active(&link->io) && (link->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(host_loop(), &link->io);
    ev_io_set(&link->io, link->io.fd, events);
    ev_io_start(host_loop(), &link->io);
}

/* False: the link is gone. */
static bool link_flush(struct smtp_link *link)
{
    while (buf_len(&link->out)) {
        struct slice rest = buf_bytes(&link->out);
        size_t sent = 0;
        CURLcode result = curl_easy_send(link->transfer.easy, rest.at, rest.len, &sent);
        if (result == CURLE_AGAIN)
            break;
        if (result != CURLE_OK) {
            link_broken(link, curl_easy_strerror(result));
            return false;
        }
        buf_eat(&link->out, sent);
    }
    link_wish(link, buf_len(&link->out) ? EV_READ | EV_WRITE : EV_READ);
    return true;
}

static void link_timer(struct smtp_link *link, double after_s)
{
    ev_now_update(host_loop());
    ev_timer_stop(host_loop(), &link->timer);
    ev_timer_set(&link->timer, after_s, 0);
    ev_timer_start(host_loop(), &link->timer);
}

/* Sends a command. Bytes that are left over belong to no question: then answers could be taken for others. */
static void link_say(struct smtp_link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void link_say(struct smtp_link *link, const char *format, ...)
{
    char line[1200];
    va_list args;
    if (buf_len(&link->in)) {
        link_broken(link, "it said more than it was asked");
        return;
    }
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    mq_must(len > 0 && (size_t)len < sizeof line);
    buf_add(&link->out, line, (size_t)len);
    link_flush(link);
}

static void link_idle(struct smtp_link *link)
{
    if (buf_len(&link->in)) {
        link_quit(link);
        return;
    }
    link->step = STEP_IDLE;
    link->used = true;
    DL_PREPEND(link->server->idle, link);
    link_timer(link, LINK_IDLE_S);
    server_next(link->server);
}

/* What this mail had said so far is taken back. */
static void link_reset(struct smtp_link *link)
{
    link->step = STEP_RESET;
    link_timer(link, LINK_RESET_S);
    link_say(link, "RSET\r\n");
}

/* ---- the dialogue -------------------------------------------------------------------------------------------- */

static void link_carry(struct smtp_link *link, struct smtp_op *op)
{
    if (link->step == STEP_IDLE)
        DL_DELETE(link->server->idle, link);
    ev_timer_stop(host_loop(), &link->timer);
    link->op = op;
    op->link = link;
    op->at = 0;
    link_mail(link);
}

static void link_mail(struct smtp_link *link)
{
    struct smtp_op *op = link->op;
    size_t size = buf_len(&op->message);
    link->step = STEP_MAIL;
    if (op->utf8 && !link->offers_utf8) {
        op_fail(op, "SMTP", false, "%s does not offer SMTPUTF8, which an address outside of ASCII needs",
                op->label);
        link_idle(link);
        return;
    }
    if (link->size_max && (int64_t)size > link->size_max) {
        op_fail(op, "TOOBIG", false, "%s takes mails of at most %lld bytes, not %zu", op->label,
                (long long)link->size_max, size);
        link_idle(link);
        return;
    }
    char size_said[40] = "";
    if (link->offers_size)
        snprintf(size_said, sizeof size_said, " SIZE=%zu", size);
    link_say(link, "MAIL FROM:<%s>%s%s\r\n", op->from, size_said, op->utf8 ? " SMTPUTF8" : "");
}

static void after_mail(struct smtp_link *link, int status, struct slice text)
{
    struct smtp_op *op = link->op;
    if (status / 100 != 2) {
        op_refuse(op, status, text);
        link_reset(link);
        return;
    }
    link->step = STEP_RCPT;
    link_say(link, "RCPT TO:<%s>\r\n", op->to[op->at]);
}

static void refusal_add(struct smtp_op *op, int status, struct slice text)
{
    op->refusals = mq_realloc(op->refusals, (size_t)(op->refusal_count + 1) * sizeof *op->refusals);
    op->refusals[op->refusal_count++] =
        (struct refusal){.address = op->to[op->at], .status = status, .text = mq_strdup_slice(text)};
}

static void after_rcpt(struct smtp_link *link, int status, struct slice text)
{
    struct smtp_op *op = link->op;
    if (status / 100 != 2)
        refusal_add(op, status, text);
    op->at++;
    if (op->at < op->to_count) {
        link_say(link, "RCPT TO:<%s>\r\n", op->to[op->at]);
    } else if (op->refusal_count == op->to_count || (op->refusal_count && !op->partial)) {
        op_refuse_recipients(op);
        link_reset(link);
    } else {
        link->step = STEP_DATA;
        link_say(link, "DATA\r\n");
    }
}

/*
 * Lines end with CR LF, whatever the message has (a bare one could end the mail early for a lax server), and a
 * line that begins with a dot gets another.
 */
static void add_message(struct buf *out, struct slice message)
{
    bool line_start = true;
    for (size_t i = 0; i < message.len; i++) {
        char c = message.at[i];
        if (c == '\r' && i + 1 < message.len && message.at[i + 1] == '\n')
            continue;
        if (c == '\r' || c == '\n') {
            buf_add(out, "\r\n", 2);
            line_start = true;
            continue;
        }
        if (line_start && c == '.')
            buf_u8(out, '.');
        line_start = false;
        buf_u8(out, (uint8_t)c);
    }
    if (!line_start)
        buf_add(out, "\r\n", 2);
    buf_add(out, ".\r\n", 3);
}

static void after_data(struct smtp_link *link, int status, struct slice text)
{
    struct smtp_op *op = link->op;
    if (status / 100 != 3) {
        op_refuse(op, status, text);
        link_reset(link);
        return;
    }
    link->step = STEP_BODY;
    add_message(&link->out, buf_bytes(&op->message));
    link_flush(link);
}

static void after_body(struct smtp_link *link, int status, struct slice text)
{
    struct smtp_op *op = link->op;
    if (buf_len(&link->out)) { /* an answer before the end: it takes no more */
        op_refuse(op, status, text);
        link_close(link);
        return;
    }
    if (status / 100 != 2) {
        op_refuse(op, status, text);
    } else {
        op->status = status;
        buf_add_slice(&op->text, text);
        op_finish(op);
    }
    link_idle(link);
}

static void after_reset(struct smtp_link *link, int status, struct slice text)
{
    (void)text;
    if (status / 100 == 2)
        link_idle(link);
    else
        link_quit(link);
}

static void (*const after_step[])(struct smtp_link *link, int status, struct slice text) = {
    [STEP_MAIL] = after_mail, [STEP_RCPT] = after_rcpt,   [STEP_DATA] = after_data,
    [STEP_BODY] = after_body, [STEP_RESET] = after_reset,
};

/* 421 at any point: the server closes. What was being said has this for an answer. */
static void link_closing(struct smtp_link *link, int status, struct slice text)
{
    struct smtp_op *op = link->op;
    if (op && link->used && link->step == STEP_MAIL) {
        link_broken(link, "");
        return;
    }
    if (op)
        op_refuse(op, status, text);
    link_close(link);
}

/* ---- replies ------------------------------------------------------------------------------------------------- */

/*
 * Takes in one line. True: the reply is complete. A reply of several lines, "550-a" "550 b", is one text: "550 a b".
 */
static bool reply_add_line(struct smtp_link *link, struct slice line)
{
    while (line.len && (line.at[line.len - 1] == '\r' || line.at[line.len - 1] == '\n'))
        line.len--;
    int status = 0;
    for (int i = 0; i < 3; i++) {
        if (line.len < 3 || line.at[i] < '0' || line.at[i] > '9') {
            status = 0;
            break;
        }
        status = status * 10 + (line.at[i] - '0');
    }
    if (!link->reply_goes_on) {
        buf_clear(&link->text);
        buf_printf(&link->text, "%03d", status);
    }
    link->status = status;
    link->reply_goes_on = line.len > 3 && line.at[3] == '-';
    if (line.len > 4) {
        buf_u8(&link->text, ' ');
        buf_add(&link->text, line.at + 4, line.len - 4);
    }
    return !link->reply_goes_on;
}

/* One complete reply from what was read. False: there is none yet. */
static bool reply_read(struct smtp_link *link)
{
    for (;;) {
        struct slice rest = buf_bytes(&link->in);
        const char *end = memchr(rest.at, '\n', rest.len);
        if (!end)
            return false;
        size_t len = (size_t)(end - rest.at) + 1;
        bool complete = reply_add_line(link, (struct slice){rest.at, len});
        buf_eat(&link->in, len);
        if (complete)
            return true;
    }
}

enum received {
    RECEIVED_END,
    RECEIVED_PART,
    RECEIVED_REPLY
};

/* RECEIVED_END: the link is gone. */
static enum received link_receive(struct smtp_link *link)
{
    for (;;) {
        size_t got = 0;
        CURLcode result = curl_easy_recv(link->transfer.easy, buf_room(&link->in, 4096), 4096, &got);
        if (result == CURLE_AGAIN)
            return RECEIVED_PART;
        if (result != CURLE_OK || got == 0 || buf_len(&link->in) + buf_len(&link->text) > REPLY_MAX_BYTES) {
            link_broken(link, result != CURLE_OK ? curl_easy_strerror(result) : "");
            return RECEIVED_END;
        }
        buf_grew(&link->in, got);
        if (!reply_read(link))
            continue;
        if (link->status >= 200 && link->status < 600)
            return RECEIVED_REPLY;
        link_broken(link, "what it said is no reply");
        return RECEIVED_END;
    }
}

static void on_link_event(struct ev_loop *loop, ev_io *io, int events)
{
    struct smtp_link *link = io->data;
    (void)loop;
    if (link->step == STEP_IDLE) { /* "421 you were idle for too long", or the end */
        link_close(link);
        return;
    }
    if ((events & EV_WRITE) && !link_flush(link))
        return;
    if (link_receive(link) != RECEIVED_REPLY)
        return;
    /* A copy: the next command's reply overwrites it. */
    struct buf text = BUF_INIT;
    int status = link->status;
    buf_add_slice(&text, buf_bytes(&link->text));
    if (status == 421)
        link_closing(link, status, buf_bytes(&text));
    else
        after_step[link->step](link, status, buf_bytes(&text));
    buf_release(&text);
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static void learn_offer(struct smtp_link *link, struct slice line)
{
    if (line.len < 4 || strncmp(line.at, "250", 3) != 0)
        return;
    struct slice word = {line.at + 4, line.len - 4};
    while (word.len && (word.at[word.len - 1] == '\r' || word.at[word.len - 1] == '\n'))
        word.len--;
    if (slice_is_word(word, "SMTPUTF8"))
        link->offers_utf8 = true;
    if (word.len >= 4 && strncasecmp(word.at, "SIZE", 4) == 0 && (word.len == 4 || word.at[4] == ' ')) {
        link->offers_size = true;
        link->size_max = 0;
        for (size_t i = 5; i < word.len && i < 20 && word.at[i] >= '0' && word.at[i] <= '9'; i++)
            link->size_max = link->size_max * 10 + (word.at[i] - '0');
    }
}

/* While curl opens the connection it shows us each line of the server's. */
static size_t on_opening_line(char *bytes, size_t one, size_t count, void *owner)
{
    struct smtp_link *link = owner;
    struct slice line = {bytes, one * count};
    if (line.len >= 3 &&
        strncmp(line.at, "220", 3) == 0) /* the greeting, or STARTTLS: what was offered is void */
        link->offers_utf8 = link->offers_size = false, link->size_max = 0;
    if (buf_len(&link->text) < REPLY_MAX_BYTES)
        reply_add_line(link, line);
    learn_offer(link, line);
    return line.len;
}

static bool is_servers_no(const struct smtp_link *link, CURLcode result)
{
    switch (result) {
    case CURLE_LOGIN_DENIED:
    case CURLE_REMOTE_ACCESS_DENIED:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_USE_SSL_FAILED:
    case CURLE_RECV_ERROR:
        return link->status >= 400;
    default:
        return false;
    }
}

static void link_open_failed(struct smtp_link *link, CURLcode result)
{
    struct smtp_op *op = link->op;
    char reason[CURL_ERROR_SIZE];
    struct buf text = BUF_INIT;
    int status = link->status;
    bool no = is_servers_no(link, result);
    snprintf(reason, sizeof reason, "%s",
             link->transfer.reason[0] ? link->transfer.reason : curl_easy_strerror(result));
    buf_add_slice(&text, buf_bytes(&link->text));
    link->op = NULL;
    op->link = NULL;
    link_close(link);
    if (no)
        op_refuse(op, status, buf_bytes(&text));
    else if (result == CURLE_LOGIN_DENIED)
        op_fail(op, "SMTP", false, "%s: cannot log in: %s", op->label, reason);
    else if (result == CURLE_USE_SSL_FAILED)
        op_fail(op, "TLS", true, "%s: no TLS, which starttls = \"require\" demands: %s", op->label, reason);
    else
        op_fail(op, net_code_of(result), true, "%s: %s", op->label, reason);
    buf_release(&text);
}

static void on_link_open(struct net_transfer *transfer, CURLcode result)
{
    struct smtp_link *link = (struct smtp_link *)((char *)transfer - offsetof(struct smtp_link, transfer));
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (result == CURLE_OK)
        curl_easy_getinfo(transfer->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (fd == CURL_SOCKET_BAD) {
        link_open_failed(link, result == CURLE_OK ? CURLE_COULDNT_CONNECT : result);
        return;
    }
    ev_io_init(&link->io, on_link_event, fd, EV_READ);
    link->io.data = link;
    link_mail(link);
}

static void set_login(CURL *easy, const struct smtp_op *op)
{
    net_set(easy, CURLOPT_USE_SSL, op->use_ssl);
    if (op->username)
        net_set(easy, CURLOPT_USERNAME, op->username);
    if (op->password)
        net_set(easy, CURLOPT_PASSWORD, op->password);
    if (!op->verify) {
        net_set(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        net_set(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (op->ca && strstr(op->ca, "-----BEGIN")) {
        struct curl_blob blob = {op->ca, strlen(op->ca), CURL_BLOB_COPY};
        net_set(easy, CURLOPT_CAINFO_BLOB, &blob);
    } else if (op->ca) {
        net_set(easy, CURLOPT_CAINFO, op->ca);
    }
}

static void link_open(struct smtp_server *server, struct smtp_op *op)
{
    struct smtp_link *link = mq_calloc(1, sizeof *link);
    net_transfer_init(&link->transfer, on_link_open);
    CURL *easy = link->transfer.easy;
    link->url = curl_url_dup(op->url);
    link->server = server;
    link->op = op;
    op->link = link;
    server->open++;
    DL_APPEND2(links, link, all_prev, all_next);
    ev_init(&link->io, on_link_event);
    ev_init(&link->timer, on_link_timer);
    link->timer.data = link;
    net_set(easy, CURLOPT_CURLU, link->url);
    net_set(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    net_set(easy, CURLOPT_CONNECT_ONLY, 1L);
    net_set(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)op->connect_ms);
    net_set(easy, CURLOPT_HEADERFUNCTION, on_opening_line);
    net_set(easy, CURLOPT_HEADERDATA, (void *)link);
    set_login(easy, op);
    net_transfer_start(&link->transfer, slice_of(op->host), op->port);
}

/* ---- servers ------------------------------------------------------------------------------------------------- */

static struct smtp_server *server_ensure(const char *key)
{
    struct smtp_server *server;
    HASH_FIND_STR(servers, key, server);
    if (server)
        return server;
    server = mq_calloc(1, sizeof *server);
    server->key = mq_strdup(key);
    HASH_ADD_KEYPTR(hh, servers, server->key, strlen(server->key), server);
    return server;
}

static void servers_forget(void)
{
    struct smtp_server *server, *next;
    HASH_ITER (hh, servers, server, next) {
        if (!server->open && !server->waiting) {
            /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): uthash frees its table with the last entry, not before */
            HASH_DEL(servers, server);
            free(server->key);
            free(server);
        }
    }
}

static void server_serve(struct smtp_server *server, struct smtp_op *op)
{
    if (server->idle && (!op->fresh || server->open >= LINKS_MAX))
        link_carry(server->idle, op);
    else
        link_open(server, op);
}

/* A link became free, or there is room for another one. */
static void server_next(struct smtp_server *server)
{
    struct smtp_op *op = server->waiting;
    if (!op || (server->open >= LINKS_MAX && !server->idle))
        return;
    DL_DELETE(server->waiting, op);
    op->server = NULL;
    server_serve(server, op);
}

void smtp_op_start(struct smtp_op *op)
{
    servers_forget();
    struct smtp_server *server = server_ensure(op->key);
    if (server->waiting || (server->open >= LINKS_MAX && !server->idle)) {
        op->server = server;
        DL_APPEND(server->waiting, op);
    } else {
        server_serve(server, op);
    }
}

void smtp_op_leave(struct smtp_op *op)
{
    if (op->server)
        DL_DELETE(op->server->waiting, op);
    op->server = NULL;
    if (op->link) {
        op->link->op = NULL;
        link_close(op->link);
        op->link = NULL;
    }
}

void smtp_links_stop(void)
{
    while (links)
        link_quit(links);
    servers_forget();
}
