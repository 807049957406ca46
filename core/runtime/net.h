/*
 * net.h - the network as handlers see it: HTTP and mail, on libcurl's multi interface and the child's loop.
 *
 * Every call that waits parks its task, so the other coroutines of the worker run. All transfers of a child
 * share one CURLM: its connections (reused between jobs), its name cache, its TLS sessions. Nothing is set up
 * before the first request.
 *
 * Where a handler may go is decided here, in C, for every request and every hop of a redirect: host and port of
 * the parsed URL must be in the handler's `allow` (host_allows). The URL that was checked is the URL that curl
 * gets, as a parsed handle, so no second parser can read it otherwise.
 *
 * Threads: the child's only one. (libcurl resolves names in threads of its own; see net_multi.c.)
 */
#ifndef MOONQ_RUNTIME_NET_H
#define MOONQ_RUNTIME_NET_H

#include "runtime/host.h"

/* The host calls behind moonq.http, moonq.smtp and moonq.mail. A row without a name ends the table. */
extern const struct host_call net_calls[];

/*
 * What must happen before the sandbox closes: loads what libcurl, OpenSSL and the C library's resolver would
 * otherwise open later (shared objects, /etc/ssl, /etc/nsswitch.conf), and ignores SIGPIPE. Optional where there
 * is no sandbox.
 */
void net_prepare(void);

/* Ends all connections and frees what is shared. No task may be waiting in a call of this module. */
void net_stop(void);
#endif
