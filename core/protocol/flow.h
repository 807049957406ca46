/*
 * flow.h - the order of one connection's commands: which may start now, and whose reply is next.
 */
#ifndef MOONQ_PROTOCOL_FLOW_H
#define MOONQ_PROTOCOL_FLOW_H

#include "base/slice.h"
#include "protocol/call.h"
#include "protocol/conn.h"

/* Runs the commands in `bytes` as far as they are complete and may start. Returns how many bytes were taken. */
size_t flow_take(struct conn *conn, struct slice bytes);

/* The head of the queue may have finished: writes the replies whose turn it is. */
void flow_answer(struct conn *conn);

/* What stopped flow_take is over. */
bool flow_may_go(const struct conn *conn);

/* Nothing more can be understood of what this client sends: says why, and closes after that. */
void flow_give_up(struct conn *conn, const struct mq_err *err);

/* A reply that belongs to no command that runs: an error of the parser. */
void flow_say_error(struct conn *conn, const char *code, const char *text);
#endif
