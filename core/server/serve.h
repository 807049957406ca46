/*
 * serve.h - `moonq serve DIR`: the server from its start to its stop.
 */
#ifndef MOONQ_SERVER_SERVE_H
#define MOONQ_SERVER_SERVE_H

/* argv[0] is "serve". The process' exit status: 0 after a graceful stop, 1 if it could not start, 2 for misuse. */
int serve_main(int argc, char **argv);
#endif
