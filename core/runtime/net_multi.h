/*
 * net_multi.h - libcurl's transfers in a child process, on libev.
 *
 * A transfer is one easy handle on its way: net_transfer_start gives it to curl, `done` is called once from the
 * loop with curl's result, and net_transfer_stop takes it back at any time before or after. Neither start nor
 * stop calls `done`.
 *
 * Names are looked up by libcurl in one thread a transfer. A thousand handlers that ask for the same host at
 * once would start a thousand threads, so the first transfer to a host goes ahead alone, and the others wait
 * until its name is known; then they find it in curl's cache.
 *
 * Threads: the child's only one.
 */
#ifndef MOONQ_RUNTIME_NET_MULTI_H
#define MOONQ_RUNTIME_NET_MULTI_H

#include <curl/curl.h>
#include <ev.h>
#include <stdbool.h>
#include "base/slice.h"

struct net_host;
struct net_pool;

struct net_transfer {
    CURL *easy; /* NULL: none taken */
    /* The handle is still in the multi: a connection that was only opened (CURLOPT_CONNECT_ONLY) lives there. */
    void (*done)(struct net_transfer *transfer, CURLcode result);
    bool keep; /* set before its release: the handle has only its lasting options, and is kept as it is */
    bool public_only; /* refuse to connect to an address that is not public */
    bool refused;     /* ... and so it was refused */
    /* Kept by net_multi.c. */
    struct net_host *host;
    struct net_pool *pool;            /* while it runs */
    struct net_transfer *prev, *next; /* among those that wait for the name, or for `done` */
    enum {
        TRANSFER_IDLE,
        TRANSFER_WAITING,
        TRANSFER_RUNNING,
        TRANSFER_ENDED, /* `done` is to be called */
    } state;
    CURLcode result;
    int fd;                       /* the socket opened last ... */
    unsigned fds;                 /* ... of so many since its last connection */
    char reason[CURL_ERROR_SIZE]; /* curl's own words, or "" */
};

/* Takes an easy handle from the store, with the options that hold for every transfer. */
void net_transfer_init(struct net_transfer *transfer, void (*done)(struct net_transfer *, CURLcode));
/*
 * Likewise, but rather a handle that was kept. False: there was none, and the caller sets the options that shall last. All
 * who keep handles must mean the same options by that.
 */
bool net_transfer_init_kept(struct net_transfer *transfer, void (*done)(struct net_transfer *, CURLcode));
/* `host` names the server, as in the URL; it and `port` say whose name is being looked up. */
void net_transfer_start(struct net_transfer *transfer, struct slice host, int port);
/* Out of the multi. A connection that was only opened, or is in the middle of a request, is closed. */
void net_transfer_stop(struct net_transfer *transfer);
/* Stops, and gives the handle back. Accepts one that is released already. */
void net_transfer_release(struct net_transfer *transfer);

/* For options whose failure would be our mistake. */
#define net_set(easy, option, value)                                                                         \
    do {                                                                                                     \
        CURLcode set_result = curl_easy_setopt((easy), (option), (value));                                   \
        if (set_result != CURLE_OK)                                                                          \
            mq_bug("curl refused %s: %s", #option, curl_easy_strerror(set_result));                          \
    } while (0)

/* "DNS", "CONNECT", "TLS", "TIMEOUT", ...: the code of the Lua error for a transport failure. */
const char *net_code_of(CURLcode result);

/* Once a process; safe to call again. */
void net_multi_prepare(void);
/* Closes what is idle and frees what is shared. No transfer may be under way. */
void net_multi_stop(void);
#endif
