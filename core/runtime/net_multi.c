#include "runtime/net_multi.h"

#include <arpa/inet.h>
#include <locale.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "runtime/host.h"

/* curl keeps an address for 60 s; we trust that a little less, so that nobody waits for us and then for curl. */
#define NAME_KNOWN_MS     50000
#define HOSTS_MAX         1024 /* names remembered; more are forgotten when nobody waits for them */
#define SPARE_EASY_MAX    256  /* a handle is 6 KiB; more than this at once is rare */
#define CONNECTIONS_LEAST 16

struct net_host {
    char *key; /* "host:port" */
    mono_ms known_until;
    struct net_transfer *first;   /* the one that looks the name up */
    struct net_transfer *waiting; /* utlist DL */
    bool answered;                /* `first` got past the lookup: let the others go */
    unsigned pins;                /* somebody holds it */
    UT_hash_handle hh;
};

struct net_socket {
    ev_io io;
};

static struct {
    CURLM *curl; /* NULL until the first transfer */
    ev_timer timer;
    struct net_host *hosts;
    unsigned answered; /* hosts whose waiters may go */
    CURL *spare[SPARE_EASY_MAX];
    unsigned spares;
    bool global;
} net;

/* ---- names -------------------------------------------------------------------------------------------------- */

static void run_transfer(struct net_transfer *transfer)
{
    transfer->state = TRANSFER_RUNNING;
    CURLMcode code = curl_multi_add_handle(net.curl, transfer->easy);
    if (code != CURLM_OK)
        mq_bug("curl refused a transfer: %s", curl_multi_strerror(code));
}

static void forget_hosts(void)
{
    struct net_host *host, *next;
    HASH_ITER (hh, net.hosts, host, next) {
        if (!host->first && !host->waiting && !host->pins) {
            /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): uthash frees its table with the last entry, not before */
            HASH_DEL(net.hosts, host);
            free(host->key);
            free(host);
        }
    }
}

static struct net_host *host_ensure(struct slice name, int port)
{
    struct net_host *host;
    char *key = mq_alloc(name.len + 16);
    size_t len = (size_t)sprintf(key, "%.*s:%d", SLICE_ARG(name), port);
    HASH_FIND(hh, net.hosts, key, len, host);
    if (host) {
        free(key);
        return host;
    }
    if (HASH_COUNT(net.hosts) >= HOSTS_MAX)
        forget_hosts();
    host = mq_calloc(1, sizeof *host);
    host->key = key;
    HASH_ADD_KEYPTR(hh, net.hosts, host->key, len, host);
    return host;
}

static bool is_address(struct slice name)
{
    char text[INET6_ADDRSTRLEN + 1];
    struct in6_addr address;
    if (name.len > 2 && name.at[0] == '[')
        return true;
    if (name.len >= sizeof text)
        return false;
    memcpy(text, name.at, name.len);
    text[name.len] = 0;
    return inet_pton(AF_INET, text, &address) == 1;
}

static void first_goes(struct net_host *host, struct net_transfer *transfer)
{
    host->first = transfer;
    run_transfer(transfer);
}

/* The first is gone without an answer to the question: the next one asks. */
static void next_goes(struct net_host *host)
{
    struct net_transfer *next = host->waiting;
    if (next) {
        DL_DELETE(host->waiting, next);
        first_goes(host, next);
    }
}

static void all_go(struct net_host *host)
{
    struct net_transfer *transfer, *next;
    DL_FOREACH_SAFE (host->waiting, transfer, next) {
        DL_DELETE(host->waiting, transfer);
        run_transfer(transfer);
    }
}

/* Called inside curl, which must not be called back from there: the waiters go after this turn. */
static void name_known(struct net_transfer *transfer)
{
    struct net_host *host = transfer->host;
    if (!host || host->first != transfer)
        return;
    host->first = NULL;
    host->known_until = clock_mono() + NAME_KNOWN_MS;
    if (host->waiting && !host->answered) {
        host->answered = true;
        net.answered++;
    }
}

static void release_waiters(void)
{
    struct net_host *host, *next;
    if (!net.answered)
        return;
    net.answered = 0;
    HASH_ITER (hh, net.hosts, host, next) {
        if (host->answered) {
            host->answered = false;
            all_go(host);
        }
    }
}

/* ---- which addresses ---------------------------------------------------------------------------------------- */

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

static bool address_is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return v4_is_public(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    if (address->sa_family == AF_INET6)
        return v6_is_public(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return false;
}

static curl_socket_t on_open_socket(void *owner, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct net_transfer *transfer = owner;
    (void)purpose;
    name_known(transfer);
    if (transfer->public_only && !address_is_public(&address->addr)) {
        transfer->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* The connection is there, new or reused: also a reused one must lead to a public address. */
static int on_before_request(void *owner, char *remote, char *local, int remote_port, int local_port)
{
    struct net_transfer *transfer = owner;
    struct in_addr v4;
    struct in6_addr v6;
    (void)local, (void)remote_port, (void)local_port;
    name_known(transfer);
    if (transfer->public_only) {
        bool is_public = (inet_pton(AF_INET, remote, &v4) == 1 && v4_is_public(ntohl(v4.s_addr))) ||
                         (inet_pton(AF_INET6, remote, &v6) == 1 && v6_is_public(&v6));
        if (!is_public) {
            transfer->refused = true;
            return CURL_PREREQFUNC_ABORT;
        }
    }
    return CURL_PREREQFUNC_OK;
}

/* ---- the loop ----------------------------------------------------------------------------------------------- */

/*
 * The first transfer found no such name. The others asked the same question, and each lookup can take long: they
 * get the same answer. `done` continues a handler, which may ask anew or end others, hence the care.
 */
static void all_fail(struct net_host *host, struct net_transfer *transfer, CURLcode result)
{
    struct net_transfer *other;
    unsigned count;
    char reason[sizeof transfer->reason];
    memcpy(reason, transfer->reason, sizeof reason);
    DL_COUNT(host->waiting, other, count);
    host->pins++;
    transfer->done(transfer, result);
    while (count-- && (other = host->waiting)) {
        DL_DELETE(host->waiting, other);
        other->state = TRANSFER_IDLE;
        other->host = NULL;
        memcpy(other->reason, reason, sizeof reason);
        other->done(other, result);
    }
    host->pins--;
}

static void transfer_finished(struct net_transfer *transfer, CURLcode result)
{
    struct net_host *host = transfer->host;
    transfer->host = NULL;
    if (host && host->first == transfer) {
        host->first = NULL;
        if (result == CURLE_COULDNT_RESOLVE_HOST) {
            all_fail(host, transfer, result);
            return;
        }
        next_goes(host);
    }
    transfer->done(transfer, result);
}

/* `done` may start and stop transfers, so each message is read anew. */
static void after_turn(void)
{
    CURLMsg *message;
    int left;
    release_waiters();
    while (net.curl && (message = curl_multi_info_read(net.curl, &left))) {
        struct net_transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        transfer_finished(transfer, result);
    }
}

static void on_socket_event(struct ev_loop *loop, ev_io *io, int events)
{
    int running;
    int mask = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0);
    (void)loop;
    curl_multi_socket_action(net.curl, io->fd, mask, &running);
    after_turn();
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    int running;
    (void)loop, (void)timer, (void)events;
    curl_multi_socket_action(net.curl, CURL_SOCKET_TIMEOUT, 0, &running);
    after_turn();
}

/* curl wants to know of other events on this socket, or of none. */
static int on_socket_wish(CURL *easy, curl_socket_t fd, int what, void *pool, void *known)
{
    struct net_socket *socket = known;
    struct ev_loop *loop = host_loop();
    (void)easy, (void)pool;
    if (what == CURL_POLL_REMOVE) {
        if (socket) {
            ev_io_stop(loop, &socket->io);
            free(socket);
        }
        return 0;
    }
    if (!socket) {
        socket = mq_calloc(1, sizeof *socket);
        ev_init(&socket->io, on_socket_event);
        curl_multi_assign(net.curl, fd, socket);
    }
    ev_io_stop(loop, &socket->io);
    ev_io_set(&socket->io, fd, (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
    ev_io_start(loop, &socket->io);
    return 0;
}

static int on_timer_wish(CURLM *curl, long timeout_ms, void *pool)
{
    struct ev_loop *loop = host_loop();
    (void)curl, (void)pool;
    ev_timer_stop(loop, &net.timer);
    if (timeout_ms >= 0) {
        ev_now_update(loop); /* a handler may have computed for long since the loop last looked */
        ev_timer_set(&net.timer, (double)timeout_ms / 1000, 0);
        ev_timer_start(loop, &net.timer);
    }
    return 0;
}

/* ---- start and end ------------------------------------------------------------------------------------------ */

/* Half of the descriptors: the other half is for the lookups' own pairs, and for whatever else a handler opens. */
static long connections_max(void)
{
    struct rlimit limit;
    long most = 1024;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        most = (long)limit.rlim_cur / 2;
    return most < CONNECTIONS_LEAST ? CONNECTIONS_LEAST : most > 8192 ? 8192 : most;
}

static void multi_open(void)
{
    if (net.curl)
        return;
    net_multi_prepare();
    net.curl = curl_multi_init();
    if (!net.curl)
        mq_bug("curl_multi_init failed");
    long most = connections_max();
    curl_multi_setopt(net.curl, CURLMOPT_SOCKETFUNCTION, on_socket_wish);
    curl_multi_setopt(net.curl, CURLMOPT_TIMERFUNCTION, on_timer_wish);
    curl_multi_setopt(net.curl, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(net.curl, CURLMOPT_MAX_TOTAL_CONNECTIONS, most);
    curl_multi_setopt(net.curl, CURLMOPT_MAXCONNECTS, most); /* counts those in use too */
    ev_init(&net.timer, on_timer);
}

void net_multi_prepare(void)
{
    if (net.global)
        return;
    net.global = true;
    /* libidn2 takes names to be in the locale's encoding. Numbers and sorting stay as they are. */
    setlocale(LC_CTYPE, "C.UTF-8");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        mq_bug("curl_global_init failed");
}

void net_multi_stop(void)
{
    while (net.spares)
        curl_easy_cleanup(net.spare[--net.spares]);
    if (net.curl) {
        curl_multi_cleanup(net.curl);
        ev_timer_stop(host_loop(), &net.timer);
        net.curl = NULL;
    }
    forget_hosts();
}

/* ---- transfers ---------------------------------------------------------------------------------------------- */

void net_transfer_init(struct net_transfer *transfer, void (*done)(struct net_transfer *, CURLcode))
{
    multi_open();
    *transfer = (struct net_transfer){.done = done};
    CURL *easy = net.spares ? net.spare[--net.spares] : curl_easy_init();
    if (!easy)
        mq_bug("curl_easy_init failed");
    transfer->easy = easy;
    net_set(easy, CURLOPT_PRIVATE, (void *)transfer);
    net_set(easy, CURLOPT_ERRORBUFFER, transfer->reason);
    net_set(easy, CURLOPT_NOSIGNAL, 1L);
    /* Without it, giving up while a name is looked up would wait for the lookup's thread, and block the loop. */
    net_set(easy, CURLOPT_QUICK_EXIT, 1L);
    net_set(easy, CURLOPT_PROXY,
            ""); /* http_proxy and the like in the environment lead past the allow list */
    net_set(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    net_set(easy, CURLOPT_OPENSOCKETDATA, (void *)transfer);
    net_set(easy, CURLOPT_PREREQFUNCTION, on_before_request);
    net_set(easy, CURLOPT_PREREQDATA, (void *)transfer);
}

void net_transfer_start(struct net_transfer *transfer, struct slice name, int port)
{
    mq_must(transfer->state == TRANSFER_IDLE);
    transfer->reason[0] = 0;
    transfer->host = NULL;
    if (is_address(name)) {
        run_transfer(transfer);
        return;
    }
    struct net_host *host = host_ensure(name, port);
    transfer->host = host;
    if (host->first) {
        transfer->state = TRANSFER_WAITING;
        DL_APPEND(host->waiting, transfer);
    } else if (host->known_until > clock_mono()) {
        run_transfer(transfer);
    } else {
        first_goes(host, transfer);
    }
}

void net_transfer_stop(struct net_transfer *transfer)
{
    struct net_host *host = transfer->host;
    if (transfer->state == TRANSFER_WAITING)
        DL_DELETE(host->waiting, transfer);
    else if (transfer->state == TRANSFER_RUNNING)
        curl_multi_remove_handle(net.curl, transfer->easy);
    transfer->state = TRANSFER_IDLE;
    transfer->host = NULL;
    if (host && host->first == transfer) {
        host->first = NULL;
        next_goes(host);
    }
}

void net_transfer_release(struct net_transfer *transfer)
{
    if (!transfer->easy)
        return;
    net_transfer_stop(transfer);
    if (net.curl && net.spares < SPARE_EASY_MAX) {
        curl_easy_reset(transfer->easy);
        net.spare[net.spares++] = transfer->easy;
    } else {
        curl_easy_cleanup(transfer->easy);
    }
    transfer->easy = NULL;
}

/* ---- curl's results ----------------------------------------------------------------------------------------- */

static const struct {
    CURLcode result;
    const char *code;
} codes[] = {
    {CURLE_COULDNT_RESOLVE_HOST, "DNS"},
    {CURLE_COULDNT_RESOLVE_PROXY, "DNS"},
    {CURLE_COULDNT_CONNECT, "CONNECT"},
    {CURLE_PROXY, "CONNECT"},
    {CURLE_OPERATION_TIMEDOUT, "TIMEOUT"},
    {CURLE_SSL_CONNECT_ERROR, "TLS"},
    {CURLE_PEER_FAILED_VERIFICATION, "TLS"},
    {CURLE_SSL_CACERT_BADFILE, "TLS"},
    {CURLE_SSL_CERTPROBLEM, "TLS"},
    {CURLE_SSL_CIPHER, "TLS"},
    {CURLE_SSL_ISSUER_ERROR, "TLS"},
    {CURLE_SSL_INVALIDCERTSTATUS, "TLS"},
    {CURLE_USE_SSL_FAILED, "TLS"},
    {CURLE_GOT_NOTHING, "BROKEN"}, /* the connection ended before the answer did */
    {CURLE_RECV_ERROR, "BROKEN"},
    {CURLE_SEND_ERROR, "BROKEN"},
    {CURLE_PARTIAL_FILE, "BROKEN"},
    {CURLE_HTTP2, "PROTOCOL"},
    {CURLE_HTTP2_STREAM, "PROTOCOL"},
    {CURLE_WEIRD_SERVER_REPLY, "PROTOCOL"},
    {CURLE_UNSUPPORTED_PROTOCOL, "PROTOCOL"},
    {CURLE_BAD_CONTENT_ENCODING, "PROTOCOL"},
};

const char *net_code_of(CURLcode result)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].result == result)
            return codes[i].code;
    return "INTERNAL";
}
