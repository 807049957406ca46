/*
 * protocol.h - RESP on a Unix socket: connections and commands. What the server starts and stops.
 *
 * Threads: the loop's only.
 */
#ifndef MOONQ_PROTOCOL_PROTOCOL_H
#define MOONQ_PROTOCOL_PROTOCOL_H

#include <ev.h>
#include "dispatch/dispatch.h"
#include "protocol/control.h"

struct protocol;

struct protocol *protocol_new(struct ev_loop *loop, struct dispatch *dispatch, struct store *store,
                              const struct control *control, const struct protocol_settings *settings);
void protocol_configure(struct protocol *p, const struct protocol_settings *settings);
/* Accepts connections on a listening, non-blocking socket; takes it. */
void protocol_listen(struct protocol *p, int listening_fd);
/* The same, but what comes through it changes nothing: NOPERM. */
void protocol_listen_for_readers(struct protocol *p, int listening_fd);
/* Accepts no more; what is under way is answered. */
void protocol_stop_listening(struct protocol *p);
/* Writes what can be written and closes all. */
void protocol_free(struct protocol *p);
/* Memory is short: every client has one command under way at a time; or as many as its settings say again. */
void protocol_set_tight(struct protocol *p, bool tight);
/* Closes clients until `bytes` that they do not read, or have sent half of, are freed; those with the most first. */
void protocol_relieve(struct protocol *p, uint64_t bytes);
unsigned protocol_connections(const struct protocol *p);

/* docs/protocol.md, made from the command table, on stdout: `moonq child docs`. */
void protocol_print_docs(void);
#endif
