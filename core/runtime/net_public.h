/*
 * net_public.h - which addresses belong to the public internet: for requests to URLs that users supply.
 *
 * Threads: any.
 */
#ifndef MOONQ_RUNTIME_NET_PUBLIC_H
#define MOONQ_RUNTIME_NET_PUBLIC_H

#include <stdbool.h>
#include <sys/socket.h>

bool net_address_is_public(const struct sockaddr *address);
/* As text; what is no address is not public. */
bool net_text_is_public(const char *address);
#endif
