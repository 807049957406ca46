#include "runtime/net_public.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

struct range {
    uint32_t net, mask;
};

/* What is not the public internet: RFC 6890's registry, and multicast. */
static const struct range private_v4[] = {
    {0x00000000, 0xff000000}, /* 0.0.0.0/8 this network */
    {0x0a000000, 0xff000000}, /* 10.0.0.0/8 private */
    {0x64400000, 0xffc00000}, /* 100.64.0.0/10 shared */
    {0x7f000000, 0xff000000}, /* 127.0.0.0/8 loopback */
    {0xa9fe0000, 0xffff0000}, /* 169.254.0.0/16 link-local, where clouds keep their credentials */
    {0xac100000, 0xfff00000}, /* 172.16.0.0/12 private */
    {0xc0000000, 0xffffff00}, /* 192.0.0.0/24 protocol assignments */
    {0xc0a80000, 0xffff0000}, /* 192.168.0.0/16 private */
    {0xc6120000, 0xfffe0000}, /* 198.18.0.0/15 benchmarks */
    {0xe0000000, 0xe0000000}, /* 224.0.0.0/3 multicast, reserved, broadcast */
};

static bool v4_is_public(uint32_t address)
{
    for (size_t i = 0; i < sizeof private_v4 / sizeof *private_v4; i++)
        if ((address & private_v4[i].mask) == private_v4[i].net)
            return false;
    return true;
}

static bool v6_is_public(const struct in6_addr *address)
{
    const uint8_t *b = address->s6_addr;
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (IN6_IS_ADDR_V4MAPPED(address) || memcmp(b, nat64, sizeof nat64) == 0)
        return v4_is_public(be32_get(b + 12));
    if (b[0] == 0x20 && b[1] == 0x02) /* 6to4 carries an IPv4 address */
        return v4_is_public(be32_get(b + 2));
    return (b[0] & 0xe0) == 0x20; /* 2000::/3 is all that is given out */
}

bool net_address_is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return v4_is_public(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    if (address->sa_family == AF_INET6)
        return v6_is_public(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return false;
}

bool net_text_is_public(const char *address)
{
    struct in_addr v4;
    struct in6_addr v6;
    return (inet_pton(AF_INET, address, &v4) == 1 && v4_is_public(ntohl(v4.s_addr))) ||
           (inet_pton(AF_INET6, address, &v6) == 1 && v6_is_public(&v6));
}
