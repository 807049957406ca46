/*
 * desk.h - a protocol with a real socket, store and dispatch, in this process; and clients that speak to it.
 *
 * Nothing sleeps: desk_until turns the loop until something is so, and gives up after ten seconds.
 */
#ifndef MOONQ_TESTS_DESK_H
#define MOONQ_TESTS_DESK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ev.h>

#include "protocol/protocol.h"

struct desk {
    char dir[64], socket_path[96];
    struct ev_loop *loop;
    ev_async store_wakes;
    ev_prepare turn_ends;
    ev_timer wait_ends;
    struct store *store;
    struct dispatch *dispatch;
    struct protocol *protocol;
    struct protocol_settings settings;
    struct control_answer *reload; /* asked for, not answered */
    int shutdowns;                 /* 1: graceful, 2: now */
};

/* `change` may be NULL: it sees the settings before they are used. */
struct desk *desk_new(void (*change)(struct protocol_settings *settings));
void desk_free(struct desk *desk);
void desk_turn(struct desk *desk);
bool desk_until(struct desk *desk, bool (*so)(struct desk *desk, void *arg), void *arg);

struct client {
    struct desk *desk;
    int fd;
    bool ended; /* the server closed it */
    struct buf got;
};
struct client *client_new(struct desk *desk);
void client_free(struct client *client); /* hangs up */
/* Sends all of it, turning the loop where the socket is full. */
void client_send(struct client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));
void client_send_bytes(struct client *client, const char *bytes, size_t len);
/* The next bytes are these; '~' stands for any one byte. They are eaten. */
void client_expect(struct client *client, const char *bytes);
/* The next reply begins with this; it is eaten up to the end of its first line. */
void client_expect_line(struct client *client, const char *begins);
/* Waits for so many bytes, and answers them: good until the next call. Not eaten. */
struct slice client_await(struct client *client, size_t len);
/* Reads until `text` has come, and eats up to its end. Answers what was eaten. */
struct slice client_read_to(struct client *client, const char *text);
/* The server closes this connection, and says nothing more. */
void client_expect_end(struct client *client);
/* Pushes a job; its id, in a static buffer of 8 ids. */
const char *client_push(struct client *client, const char *args);
/* Takes one job from `queue`: its id as client_push answers it, and the token. */
const char *client_fetch(struct client *client, const char *queue, long long *token);
#endif
