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
#include "base/clock.h"
#include "base/err.h"
#include "runtime/host.h"
#include "runtime/net_public.h"

/* curl keeps an address for 60 s; we trust that a little less, so that nobody waits for us and then for curl. */
#define NAME_KNOWN_MS     50000
#define HOSTS_MAX         1024 /* names remembered; more are forgotten when nobody waits for them */
#define SPARE_EASY_MAX    1024 /* a handle is 6 KiB */
#define CONNECTIONS_LEAST 16
/*
 * For each request curl walks through all connections to its host, so with one multi 500 handlers made it look at 250 of them.
 */
#define POOL_TRANSFERS 64
#define POOLS_MAX      128

struct net_host {
    char *key; /* "host:port" */
    mono_ms known_until;
    struct net_transfer *first;   /* the one that looks the name up */
    struct net_transfer *waiting; /* utlist DL */
    bool answered;                /* `first` got past the lookup: let the others go */
    unsigned pins;                /* somebody holds it */
    UT_hash_handle hh;
};

/*
 * A socket that curl waits for. That of a connection stays registered between two requests: telling epoll is a system call,
 * and the next request on it mostly follows at once.
 */
struct net_socket {
    ev_io io;
    struct net_pool *pool;
    bool wanted; /* curl wants to hear of it */
    bool
        settled; /* its connection is made: from now on curl closes it by on_close_socket and not otherwise */
};

struct spares {
    CURL *easy[SPARE_EASY_MAX];
    unsigned count;
};

/* One CURLM. The first that is not full takes a transfer, so few transfers share one, and its idle connections. */
struct net_pool {
    CURLM *curl;
    ev_timer timer;
    mono_ms armed; /* when it comes, if it is active */
    mono_ms due;   /* when curl wants to be called; MONO_NEVER: not */
    unsigned transfers;
    struct net_transfer *ended; /* utlist DL: `done` is to be called */
    bool sending;               /* inside send_at_once */
};

static struct {
    struct net_pool *pools[POOLS_MAX];
    unsigned pool_count, pools_most;
    CURLSH *share; /* names that were looked up */
    struct net_host *hosts;
    unsigned answered;           /* hosts whose waiters may go */
    struct net_socket **sockets; /* by descriptor */
    int socket_count;
    struct spares blank, kept; /* `kept`: with the lasting options of whoever keeps them */
    bool global;
} net;

/* ---- names -------------------------------------------------------------------------------------------------- */

static struct net_pool *pool_choose(void);

static void add_transfer(struct net_transfer *transfer, struct net_pool *pool)
{
    transfer->state = TRANSFER_RUNNING;
    transfer->pool = pool;
    pool->transfers++;
    CURLMcode code = curl_multi_add_handle(pool->curl, transfer->easy);
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
    add_transfer(transfer, pool_choose());
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
        transfer->host = NULL;
        add_transfer(transfer, pool_choose());
    }
}

/* Called inside curl, which must not be called back from there: the waiters go after this turn. */
static void name_known(struct net_transfer *transfer)
{
    struct net_host *host = transfer->host;
    if (!host || host->first != transfer)
        return;
    host->first = NULL;
    transfer->host = NULL;
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

/* ---- sockets ------------------------------------------------------------------------------------------------ */

static void on_socket_event(struct ev_loop *loop, ev_io *io, int events);

static struct net_socket *socket_ensure(int fd)
{
    if (fd >= net.socket_count) {
        int count = fd < 64 ? 128 : fd * 2;
        net.sockets = mq_realloc(net.sockets, (size_t)count * sizeof *net.sockets);
        memset(net.sockets + net.socket_count, 0, (size_t)(count - net.socket_count) * sizeof *net.sockets);
        net.socket_count = count;
    }
    if (!net.sockets[fd]) {
        net.sockets[fd] = mq_calloc(1, sizeof **net.sockets);
        ev_io_init(&net.sockets[fd]->io, on_socket_event, fd, 0);
    }
    return net.sockets[fd];
}

/* Before its descriptor is closed: the next file of that number is another one. */
static void socket_forget(int fd)
{
    struct net_socket *socket = fd < net.socket_count ? net.sockets[fd] : NULL;
    if (!socket)
        return;
    ev_io_stop(host_loop(), &socket->io);
    free(socket);
    net.sockets[fd] = NULL;
}

/* ---- connections -------------------------------------------------------------------------------------------- */

static curl_socket_t on_open_socket(void *owner, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct net_transfer *transfer = owner;
    (void)purpose;
    name_known(transfer);
    if (transfer->public_only && !net_address_is_public(&address->addr)) {
        transfer->refused = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    transfer->fd = fd;
    transfer->fds++;
    return fd;
}

static int on_close_socket(void *owner, curl_socket_t fd)
{
    (void)owner;
    socket_forget(fd);
    return close(fd);
}

/* Of several that were tried at once we do not know which one became the connection. */
static void socket_settle(struct net_transfer *transfer)
{
    if (transfer->fds == 1)
        socket_ensure(transfer->fd)->settled = true;
    transfer->fds = 0;
}

/* The connection is there, new or reused: also a reused one must lead to a public address. */
static int on_before_request(void *owner, char *remote, char *local, int remote_port, int local_port)
{
    struct net_transfer *transfer = owner;
    (void)local, (void)remote_port, (void)local_port;
    name_known(transfer);
    socket_settle(transfer);
    if (transfer->public_only && !net_text_is_public(remote)) {
        transfer->refused = true;
        return CURL_PREREQFUNC_ABORT;
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

/* Takes from curl who has ended. */
static void collect_ended(struct net_pool *pool)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(pool->curl, &left))) {
        struct net_transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        transfer->state = TRANSFER_ENDED;
        transfer->result = message->data.result;
        DL_APPEND(pool->ended, transfer);
    }
}

/* `done` may start and stop transfers, so the list is looked at anew each time. */
static void after_turn(struct net_pool *pool)
{
    struct net_transfer *transfer;
    release_waiters();
    collect_ended(pool);
    while ((transfer = pool->ended)) {
        DL_DELETE(pool->ended, transfer);
        transfer->state = TRANSFER_RUNNING; /* in curl's hands until it is stopped */
        transfer_finished(transfer, transfer->result);
    }
}

static void on_socket_event(struct ev_loop *loop, ev_io *io, int events)
{
    int running;
    int mask = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0);
    struct net_socket *socket = net.sockets[io->fd];
    struct net_pool *pool = socket->pool;
    if (!socket->wanted) { /* the other side hung up: curl sees that when it takes the connection */
        ev_io_stop(loop, io);
        return;
    }
    curl_multi_socket_action(pool->curl, io->fd, mask, &running);
    after_turn(pool);
    host_run_woken();
}

/* The loop's idea of the time may be old, so the timer may come early: then it is set again. */
static void timer_arm(struct net_pool *pool)
{
    mono_ms now = clock_mono(), left = pool->due > now ? pool->due - now : 0;
    pool->armed = pool->due;
    ev_timer_stop(host_loop(), &pool->timer);
    ev_timer_set(&pool->timer, (double)left / 1000, 0);
    ev_timer_start(host_loop(), &pool->timer);
}

static void timer_arm_if_late(struct net_pool *pool)
{
    if (pool->due != MONO_NEVER && !(ev_is_active(&pool->timer) && pool->armed <= pool->due))
        timer_arm(pool);
}

/* Lets curl do what is due, among that what was added just now. */
static void call_due(struct net_pool *pool)
{
    int running;
    pool->due = MONO_NEVER; /* curl tells the next moment, but not that there is none */
    curl_multi_socket_action(pool->curl, CURL_SOCKET_TIMEOUT, 0, &running);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct net_pool *pool = timer->data;
    (void)loop, (void)events;
    if (pool->due != MONO_NEVER && pool->due > clock_mono()) {
        timer_arm(pool);
    } else if (pool->due != MONO_NEVER) {
        call_due(pool);
        after_turn(pool);
        host_run_woken();
    }
}

/* curl wants to know of other events on this socket, or of none. */
static int on_socket_wish(CURL *easy, curl_socket_t fd, int what, void *owner, void *known)
{
    struct net_socket *socket = socket_ensure(fd);
    struct ev_loop *loop = host_loop();
    int events = (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);
    (void)easy, (void)known;
    socket->pool = owner;
    socket->wanted = what != CURL_POLL_REMOVE;
    if (!socket->wanted) {
        if (!socket->settled)
            socket_forget(fd);
        return 0;
    }
    if (ev_is_active(&socket->io) && (socket->io.events & (EV_READ | EV_WRITE)) == events)
        return 0;
    ev_io_stop(loop, &socket->io);
    ev_io_set(&socket->io, fd, events);
    ev_io_start(loop, &socket->io);
    return 0;
}

/*
 * Each transfer has a deadline, so the first of them changes with nearly every transfer. A timer that comes too early is
 * cheaper than one that is moved each time.
 */
static int on_timer_wish(CURLM *curl, long timeout_ms, void *owner)
{
    struct net_pool *pool = owner;
    (void)curl;
    pool->due = timeout_ms < 0 ? MONO_NEVER : clock_mono() + timeout_ms;
    if (!pool->sending)
        timer_arm_if_late(pool);
    return 0;
}

/* ---- spare handles ------------------------------------------------------------------------------------------ */

static CURL *spares_take(struct spares *spares)
{
    return spares->count ? spares->easy[--spares->count] : NULL;
}

static bool spares_add(struct spares *spares, CURL *easy)
{
    if (!net.share || spares->count == SPARE_EASY_MAX)
        return false;
    spares->easy[spares->count++] = easy;
    return true;
}

static void spares_release(struct spares *spares)
{
    CURL *easy;
    while ((easy = spares_take(spares)))
        curl_easy_cleanup(easy);
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
    if (net.share)
        return;
    net_multi_prepare();
    net.share = curl_share_init();
    if (!net.share || curl_share_setopt(net.share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK)
        mq_bug("curl_share_init failed");
    long most = connections_max() / POOL_TRANSFERS;
    net.pools_most = most < 1 ? 1 : most > POOLS_MAX ? POOLS_MAX : (unsigned)most;
}

static struct net_pool *pool_open(void)
{
    struct net_pool *pool = mq_calloc(1, sizeof *pool);
    long most = connections_max();
    pool->curl = curl_multi_init();
    if (!pool->curl)
        mq_bug("curl_multi_init failed");
    if (most > POOL_TRANSFERS)
        most = POOL_TRANSFERS;
    curl_multi_setopt(pool->curl, CURLMOPT_SOCKETFUNCTION, on_socket_wish);
    curl_multi_setopt(pool->curl, CURLMOPT_SOCKETDATA, (void *)pool);
    curl_multi_setopt(pool->curl, CURLMOPT_TIMERFUNCTION, on_timer_wish);
    curl_multi_setopt(pool->curl, CURLMOPT_TIMERDATA, (void *)pool);
    curl_multi_setopt(pool->curl, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(pool->curl, CURLMOPT_MAX_TOTAL_CONNECTIONS, most);
    curl_multi_setopt(pool->curl, CURLMOPT_MAXCONNECTS, most); /* counts those in use too */
    ev_init(&pool->timer, on_timer);
    pool->timer.data = pool;
    pool->due = MONO_NEVER;
    net.pools[net.pool_count++] = pool;
    return pool;
}

/* All full, and there may be no more connections: then one takes more, and lets them wait. */
static struct net_pool *pool_choose(void)
{
    struct net_pool *least = NULL;
    for (unsigned i = 0; i < net.pool_count; i++) {
        if (net.pools[i]->transfers < POOL_TRANSFERS)
            return net.pools[i];
        if (!least || net.pools[i]->transfers < least->transfers)
            least = net.pools[i];
    }
    return net.pool_count < net.pools_most ? pool_open() : least;
}

static void pool_close(struct net_pool *pool)
{
    curl_multi_cleanup(pool->curl);
    ev_timer_stop(host_loop(), &pool->timer);
    free(pool);
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
    spares_release(&net.blank);
    spares_release(&net.kept);
    while (net.pool_count)
        pool_close(net.pools[--net.pool_count]);
    curl_share_cleanup(net.share);
    net.share = NULL;
    for (int fd = 0; fd < net.socket_count; fd++)
        socket_forget(fd);
    free(net.sockets);
    net.sockets = NULL;
    net.socket_count = 0;
    forget_hosts();
}

/* ---- transfers ---------------------------------------------------------------------------------------------- */

/* What holds for every transfer. */
static void set_lasting(CURL *easy)
{
    net_set(easy, CURLOPT_SHARE, net.share);
    net_set(easy, CURLOPT_NOSIGNAL, 1L);
    /* Without it, giving up while a name is looked up would wait for the lookup's thread, and block the loop. */
    net_set(easy, CURLOPT_QUICK_EXIT, 1L);
    net_set(easy, CURLOPT_PROXY,
            ""); /* http_proxy and the like in the environment lead past the allow list */
    net_set(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    net_set(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    net_set(easy, CURLOPT_PREREQFUNCTION, on_before_request);
}

static void transfer_init(struct net_transfer *transfer, void (*done)(struct net_transfer *, CURLcode),
                          CURL *easy)
{
    *transfer = (struct net_transfer){.done = done, .easy = easy};
    net_set(easy, CURLOPT_PRIVATE, (void *)transfer);
    net_set(easy, CURLOPT_ERRORBUFFER, transfer->reason);
    net_set(easy, CURLOPT_OPENSOCKETDATA, (void *)transfer);
    net_set(easy, CURLOPT_PREREQDATA, (void *)transfer);
}

void net_transfer_init(struct net_transfer *transfer, void (*done)(struct net_transfer *, CURLcode))
{
    multi_open();
    CURL *easy = spares_take(&net.blank);
    if (!easy)
        easy = curl_easy_init();
    if (!easy)
        mq_bug("curl_easy_init failed");
    set_lasting(easy);
    transfer_init(transfer, done, easy);
}

bool net_transfer_init_kept(struct net_transfer *transfer, void (*done)(struct net_transfer *, CURLcode))
{
    CURL *easy = spares_take(&net.kept);
    if (easy)
        transfer_init(transfer, done, easy);
    else
        net_transfer_init(transfer, done);
    return easy != NULL;
}

/*
 * Otherwise what was added waits for curl's timer, in the loop's next turn, together with all that was added by then. Who
 * ends meanwhile is told by the timer: our caller expects no `done`.
 */
static void send_at_once(struct net_transfer *transfer)
{
    struct net_pool *pool = pool_choose();
    pool->sending = true;
    add_transfer(transfer, pool);
    call_due(pool);
    release_waiters();
    collect_ended(pool);
    pool->sending = false;
    if (pool->ended)
        pool->due = clock_mono();
    timer_arm_if_late(pool);
}

void net_transfer_start(struct net_transfer *transfer, struct slice name, int port)
{
    mq_must(transfer->state == TRANSFER_IDLE);
    transfer->reason[0] = 0;
    transfer->host = is_address(name) ? NULL : host_ensure(name, port);
    struct net_host *host = transfer->host;
    if (host && host->first) {
        transfer->state = TRANSFER_WAITING;
        DL_APPEND(host->waiting, transfer);
        return;
    }
    if (host && host->known_until <= clock_mono())
        host->first = transfer;
    else
        transfer->host = NULL;
    send_at_once(transfer);
}

static void transfer_remove(struct net_transfer *transfer)
{
    if (transfer->state == TRANSFER_ENDED)
        DL_DELETE(transfer->pool->ended, transfer);
    curl_multi_remove_handle(transfer->pool->curl, transfer->easy);
    transfer->pool->transfers--;
    transfer->pool = NULL;
}

void net_transfer_stop(struct net_transfer *transfer)
{
    struct net_host *host = transfer->host;
    if (transfer->state == TRANSFER_WAITING)
        DL_DELETE(host->waiting, transfer);
    else if (transfer->state != TRANSFER_IDLE)
        transfer_remove(transfer);
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
    if (transfer->keep)
        net_set(transfer->easy, CURLOPT_ERRORBUFFER, NULL);
    else
        curl_easy_reset(transfer->easy);
    if (!spares_add(transfer->keep ? &net.kept : &net.blank, transfer->easy))
        curl_easy_cleanup(transfer->easy);
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
