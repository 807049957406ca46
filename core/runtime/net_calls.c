#include "runtime/net.h"

#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "runtime/net_http.h"
#include "runtime/net_mail.h"
#include "runtime/net_multi.h"
#include "runtime/net_op.h"
#include "runtime/net_smtp.h"

#define ASKS HOST_HANDLER

const struct host_call net_calls[] = {
    {"http.request", http_request, ASKS, false, "BADARG NOPERM FULL",
     "Prepares a request; the host of its URL must be in the handler's allow.http."},
    {"http.response", http_response, ASKS, false, "",
     "The response of a request that is over, or nil, code, message and whether to try again."},
    {"smtp.request", smtp_request, ASKS, false, "BADARG NOPERM",
     "Prepares the delivery of a message; the mail server must be in the handler's allow.smtp."},
    {"smtp.result", smtp_result, ASKS, false, "",
     "The server's reply and the recipients that it refused, or nil, code, message, retryable, status, "
     "refusals."},
    {"net.wait", net_wait, ASKS, true, "CANCELLED TIMEOUT",
     "Sends what was prepared, and parks the handler until it is over."},
    {"mail.base64", mail_base64, HOST_LOAD | HOST_HANDLER, false, "",
     "Bytes as base64, in lines of the given length (0: one line)."},
    {"mail.domain", mail_domain, HOST_LOAD | HOST_HANDLER, false, "",
     "A domain in the form that the name system uses (xn--...), or nil."},
    {"mail.stamp", mail_stamp, HOST_LOAD | HOST_HANDLER, false, "",
     "The present time as mail writes it, and 24 random characters."},
    {NULL, NULL, 0, false, NULL, NULL},
};

/* Asks for names that are answered from /etc/hosts, so that the resolver's parts are loaded, and nothing is sent. */
static void prepare_resolver(void)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo("localhost", "80", &hints, &found) == 0)
        freeaddrinfo(found);
}

void net_prepare(void)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    net_multi_prepare();
    prepare_resolver();
}

void net_stop(void)
{
    smtp_stop();
    net_multi_stop();
}
