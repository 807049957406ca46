/* net_http.h - the host calls of HTTP; net_calls.c lists them, net_op.h says how they work together. */
#ifndef MOONQ_RUNTIME_NET_HTTP_H
#define MOONQ_RUNTIME_NET_HTTP_H

#include <lua.h>

/*
 * "http.request": makes an operation of the table at index 1:
 *   method, url, headers = { name, value, name, value, ... }, body, timeout, connect_timeout, max_bytes, username,
 *   password, verify, ca (a file, or PEM text), http2 (true, false, "prior"), proxy, public_only
 * Answers the operation, and the time allowed in seconds.
 */
int http_request(lua_State *L);

/*
 * "http.response": of the operation at index 1, when it is over. Answers a table with status, version, body,
 * headers = { name, value, ... } as they came, redirect (where Location leads, absolute), retry_after (seconds),
 * timings; or nil, code, message, retryable. Never follows a redirect: each hop is a request, checked as such.
 */
int http_response(lua_State *L);
#endif
