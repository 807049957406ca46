/* net_smtp.h - the host calls of mail; net_calls.c lists them, net_op.h says how they work together. */
#ifndef MOONQ_RUNTIME_NET_SMTP_H
#define MOONQ_RUNTIME_NET_SMTP_H

#include <lua.h>

/*
 * "smtp.request": makes an operation of the table at index 1:
 *   url, from, to = { address, ... }, message, timeout, connect_timeout, username, password,
 *   starttls ("require", "try", "off"), verify, ca, utf8 (an address needs SMTPUTF8), partial (send to those that
 *   the server takes, even if it refuses others)
 */
int smtp_request(lua_State *L);

/*
 * "smtp.result": of the operation at index 1, when it is over. Answers the server's last reply and a list of
 * refusals { { address =, status =, message = }, ... }; or nil, code, message, retryable, status, refusals.
 */
int smtp_result(lua_State *L);

/* Closes the connections that nobody uses. */
void smtp_stop(void);
#endif
