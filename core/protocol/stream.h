/*
 * stream.h - EVENTS: a connection that is told what happens.
 */
#ifndef MOONQ_PROTOCOL_STREAM_H
#define MOONQ_PROTOCOL_STREAM_H

struct conn;

/* Ends the stream, if there is one. */
void stream_end(struct conn *conn);
#endif
