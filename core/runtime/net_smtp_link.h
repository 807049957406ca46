/*
 * net_smtp_link.h - connections to mail servers, and the mails that they carry.
 *
 * A link is one connection, logged in. It serves one mail at a time, and then the next one for the same server and
 * login; a mail that finds all links busy waits. net_smtp.c makes a struct smtp_op, smtp_op_start sends it on its
 * way, and its end is net_op_finish with `code`, `status`, `text` and `refusals` filled in.
 *
 * Threads: the child's only one.
 */
#ifndef MOONQ_RUNTIME_NET_SMTP_LINK_H
#define MOONQ_RUNTIME_NET_SMTP_LINK_H

#include <curl/curl.h>
#include "base/buf.h"
#include "runtime/net_op.h"

struct smtp_link;
struct smtp_server;

struct refusal {
    const char *address; /* the operation's */
    int status;
    char *text;
};

struct smtp_op {
    struct net_op op;
    struct smtp_link *link;     /* carries this mail; NULL: none */
    struct smtp_server *server; /* in whose queue it waits; NULL: in none */
    struct smtp_op *prev, *next;
    bool fresh; /* a kept connection had died: take a new one */

    CURLU *url;
    char *host, *key, *username, *password, *ca, *from;
    int port;
    long use_ssl;
    bool verify, utf8, partial;
    int64_t connect_ms;
    char **to;
    int to_count, at; /* `at`: the recipient that is asked about */
    struct buf message;

    const char *code; /* NULL: it was sent */
    int status;       /* the server's last, or of its first lasting refusal */
    bool retryable;
    struct buf text;
    struct refusal *refusals;
    int refusal_count;
    char label[160]; /* "smtp://mail.example:25" */
};

/* Gives the mail to a link: a kept one, a new one, or the first that becomes free. */
void smtp_op_start(struct smtp_op *op);
/* The time is up: ends the operation with TIMEOUT, and says what it waited for. */
void smtp_op_expire(struct smtp_op *op);
/* Takes it off its link or out of the queue. In the middle of a mail only the end of the connection takes it back. */
void smtp_op_leave(struct smtp_op *op);

/* Closes all links. No operation may be under way. */
void smtp_links_stop(void);
#endif
