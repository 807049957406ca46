/*
 * peer.h - who is at the other end of a connection: what a command says who names nobody.
 */
#ifndef MOONQ_PROTOCOL_PEER_H
#define MOONQ_PROTOCOL_PEER_H

#include "base/err.h"
#include "base/slice.h"

struct conn;

#define ACTOR_BYTES 64 /* a name longer than this is refused */

/*
 * The user whose process connected (SO_PEERCRED), by its name in /etc/passwd, or "uid 1000" where that file does not
 * have it: other directories are asked over a network, and the loop does not wait. "unknown" if the client is gone.
 */
struct slice peer_name(const struct conn *conn, char out[ACTOR_BYTES]);
/* BY's value: a name to be shown to people, so of printable characters. */
enum mq_code peer_check(struct slice name, struct mq_err *err);
#endif
