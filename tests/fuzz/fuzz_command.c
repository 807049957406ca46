/*
 * Clients against the whole command layer: two connections, a real store and dispatch, a clock that the bytes turn. The
 * bytes are what the clients send; 0x1E passes the word to the other client, 0x1D lets a second pass, 0x1C is a pause in
 * which the server answers. Every request gets one reply, in RESP that a client can read, or its connection ends; what
 * came into the store obeys the limits for every job; nothing is left behind.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "protocol/args.h"
#include "protocol/room.h"
#include "valid.h"

#define REQUEST_MAX 20000
#define CLIENTS     2
#define TURNS       12 /* until nothing moves any more */

static wall_ms now_wall;
static mono_ms now_mono;

wall_ms __wrap_clock_wall(void);
mono_ms __wrap_clock_mono(void);
wall_ms __wrap_clock_wall(void)
{
    return now_wall;
}
mono_ms __wrap_clock_mono(void)
{
    return now_mono;
}

struct client {
    int fd;
    struct buf sent, got;
    bool closed;  /* by the server */
    bool hung_up; /* by us: what it still waited for has no reply */
};

static struct room {
    char dir[512];
    struct ev_loop *loop;
    struct store *store;
    struct dispatch *dispatch;
    struct protocol *protocol;
    struct client clients[CLIENTS];
} room;

/* ---- what stands around the protocol -------------------------------------------------------------------------- */

static void host_write(void *owner, struct worker *worker)
{
    (void)owner, (void)worker;
}
static void host_kill(void *owner, struct worker *worker, int signal)
{
    (void)owner, (void)worker, (void)signal;
}
static uint32_t host_chance(void *owner)
{
    (void)owner;
    return 0;
}
static void on_reload(void *owner, struct control_answer *answer)
{
    (void)owner;
    answer->done(answer, MQ_SCRIPT, "handlers/a.lua:1: line\r\nends");
}
static void on_shutdown(void *owner, bool now)
{
    (void)owner, (void)now;
}
static bool on_config_row(void *owner, unsigned index, struct config_row *out)
{
    (void)owner;
    *out = (struct config_row){.name = index ? "keep" : "timeout", .summary = "", .value = "1s"};
    return index < 2;
}
static enum mq_code on_config_set(void *owner, struct slice name, struct slice value, struct mq_err *err)
{
    (void)owner;
    return mq_fail(err, MQ_NOTFOUND, "%.*s is not %.*s", QUOTE_ARG(name), QUOTE_ARG(value));
}
static unsigned on_pulses(void *owner, struct pulse *list)
{
    (void)owner;
    list[0] = (struct pulse){"turn", 3, 0};
    return 1;
}

static void on_figures(void *owner, struct server_figures *out)
{
    (void)owner;
    *out = (struct server_figures){.version = "1", .app_dir = "", .data_dir = "", .socket_path = ""};
}
static void wake(void *owner)
{
    (void)owner;
}

static void room_open(void)
{
    struct dispatch_host host = {.write = host_write, .kill = host_kill, .chance = host_chance};
    struct dispatch_settings settings = {.payload_max = 1000, .sweep_limit = 10, .idle_alarm_ms = 10000};
    struct control control = {NULL,          on_reload,  on_shutdown, on_config_row,
                              on_config_set, on_figures, on_pulses};
    struct protocol_settings limits = {.connections_max = 4,
                                       .request_max = REQUEST_MAX,
                                       .output_pause = 4096,
                                       .output_max = 1 << 20,
                                       .output_patience_ms = 1000000,
                                       .half_sent_ms = 0,
                                       .pipeline_max = 16};
    struct store_settings store = {
        .dir = room.dir, .map_bytes = 1 << 20, .dead_keep_ms = 86400000, .crash_limit = 3, .nosync = true};
    struct push_order type;
    now_wall = 1800000000000;
    now_mono = 1000;
    fuzz_folder(room.dir, sizeof room.dir);
    order_init(&settings.defaults);
    FUZZ_MUST(store_open(&room.store, &store, NULL) == MQ_OK, "no store");
    room.dispatch = dispatch_new(room.store, &host, &settings);
    struct store_listener listener = dispatch_store_listener(room.dispatch);
    store_attach(room.store, &listener, wake, NULL);
    order_init(&type);
    type.type = SLICE("a");
    dispatch_set_types(room.dispatch, &type, 1);
    room.loop = ev_loop_new(EVBACKEND_POLL);
    room.protocol = protocol_new(room.loop, room.dispatch, room.store, &control, &limits);
    for (int i = 0; i < CLIENTS; i++) {
        int pair[2];
        FUZZ_MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0, "no socketpair");
        room.clients[i] = (struct client){.fd = pair[0]};
        conn_open(room.protocol, pair[1]);
    }
}

static void room_close(void)
{
    store_close(room.store);
    protocol_free(room.protocol);
    dispatch_free(room.dispatch);
    ev_loop_destroy(room.loop);
    for (int i = 0; i < CLIENTS; i++) {
        close(room.clients[i].fd);
        buf_release(&room.clients[i].sent);
        buf_release(&room.clients[i].got);
    }
    fuzz_remove(room.dir);
}

static size_t take(struct client *client)
{
    size_t before = buf_len(&client->got);
    for (;;) {
        ssize_t len = client->closed ? 0 : read(client->fd, buf_room(&client->got, 65536), 65536);
        client->closed = len == 0;
        if (len <= 0)
            return buf_len(&client->got) - before;
        buf_grew(&client->got, (size_t)len);
    }
}

/* The server works until it has nothing to do. */
static void turn(void)
{
    for (int i = 0; i < TURNS; i++) {
        ev_run(room.loop, EVRUN_NOWAIT);
        dispatch_tick(room.dispatch, now_wall, now_mono);
        store_flush(room.store);
        store_collect(room.store);
        size_t got = 0;
        for (int c = 0; c < CLIENTS; c++)
            got += take(&room.clients[c]);
        if (i >= 2 && got == 0 && room.protocol->calls == 0)
            return;
    }
}

static void pass(int64_t ms)
{
    now_wall += ms;
    now_mono += ms;
    turn();
}

/* ---- what the clients see ---------------------------------------------------------------------------------------- */

static bool number(struct slice *rest, long long *out)
{
    const char *end = memmem(rest->at, rest->len, "\r\n", 2);
    char text[32];
    if (!end || end - rest->at > 24)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)(end - rest->at), rest->at);
    char *stop;
    *out = strtoll(text, &stop, 10);
    rest->len -= (size_t)(end + 2 - rest->at);
    rest->at = end + 2;
    return *text && !*stop;
}

/* Steps over one reply; false: it is not whole. */
static bool skip_reply(struct slice *rest, char *kind)
{
    static const char kinds[] = "+-:$*_#,%~>";
    long long count;
    if (rest->len < 3)
        return false;
    *kind = *rest->at;
    FUZZ_MUST(*kind && strchr(kinds, *kind), "a reply that begins with '%.20s'", rest->at);
    rest->at++;
    rest->len--;
    if (strchr("+-_#,", *kind)) {
        const char *end = memmem(rest->at, rest->len, "\r\n", 2);
        size_t len = end ? (size_t)(end - rest->at) : 0;
        FUZZ_MUST(end && !memchr(rest->at, '\n', len) && !memchr(rest->at, '\r', len),
                  "a line with a line end");
        rest->at += len + 2;
        rest->len -= len + 2;
        return true;
    }
    FUZZ_MUST(number(rest, &count), "no number behind '%c'", *kind);
    if (*kind == ':' || count < 0)
        return true;
    if (*kind == '$') {
        FUZZ_MUST((size_t)count + 2 <= rest->len && memcmp(rest->at + count, "\r\n", 2) == 0,
                  "a bulk of %lld", count);
        rest->at += count + 2;
        rest->len -= (size_t)count + 2;
        return true;
    }
    char inner;
    for (long long i = 0; i < count * (*kind == '%' ? 2 : 1); i++)
        FUZZ_MUST(skip_reply(rest, &inner), "element %lld of %lld is missing", i, count);
    return true;
}

static unsigned count_replies(const struct client *client)
{
    struct slice rest = buf_bytes(&client->got);
    unsigned count = 0;
    char kind;
    while (rest.len) {
        FUZZ_MUST(skip_reply(&rest, &kind), "half a reply: '%.*s'", SLICE_ARG(rest));
        count += kind != '>';
    }
    return count;
}

/*
 * Replies that its requests ask for. *streams: it listens to events, so there may be more. *half: the last one lacks its
 * end, for which there may be one more.
 */
static unsigned count_requests(const struct client *client, bool *streams, bool *half)
{
    struct resp_request *request = malloc(sizeof *request);
    struct slice rest = buf_bytes(&client->sent);
    struct mq_err err;
    unsigned count = 0;
    bool over = false;
    *streams = *half = false;
    resp_init(request);
    while (!over && rest.len) {
        enum resp_got got = resp_read(request, rest, REQUEST_MAX);
        size_t used = request->used;
        over = got == RESP_MORE || got == RESP_BROKEN;
        *half = got == RESP_MORE;
        count += got != RESP_MORE && got != RESP_NOTHING;
        if (over)
            break;
        rest.at += used;
        rest.len -= used;
        if (got == RESP_COMMAND) {
            *streams |= slice_is_word(request->args[0], "EVENTS");
            over = slice_is_word(request->args[0], "QUIT") && request->count == 1;
        }
        if (got == RESP_TOOBIG) {
            got = resp_skip(&request->skip, rest, &used, &err);
            count += got == RESP_BROKEN; /* the error that closes it is said too */
            over = got != RESP_NOTHING;
            *half = got == RESP_MORE;
            rest.at += used;
            rest.len -= used;
        }
    }
    resp_release(request);
    free(request);
    return count;
}

static void check_client(const struct client *client)
{
    bool streams, half;
    unsigned asked = count_requests(client, &streams, &half), answered = count_replies(client);
    if (streams)
        return;
    FUZZ_MUST(answered <= asked + half, "%u replies to %u requests", answered, asked);
    FUZZ_MUST(answered >= asked || client->hung_up, "%u replies to %u requests: '%.*s'", answered, asked,
              SLICE_ARG(buf_bytes(&client->got)));
}

/* ---- the store ------------------------------------------------------------------------------------------------------- */

static void answered(struct store_op *op)
{
    (void)op;
}

static void check_store(void)
{
    struct op_list list = {.limit = 1000};
    store_op_init(&list.op, STORE_LIST, now_wall);
    list.op.done = answered;
    store_submit(room.store, &list.op);
    store_flush(room.store);
    store_collect(room.store);
    FUZZ_MUST(list.op.code == MQ_OK, "%s", list.op.err.text);
    for (unsigned i = 0; i < list.count; i++) {
        valid_spec(&list.jobs[i].spec, 1000);
        FUZZ_MUST(list.jobs[i].status.due_at <= WALL_MAX + 36525LL * 86400000, "due at %lld",
                  (long long)list.jobs[i].status.due_at);
    }
    store_op_release(&list.op);
}

/* ---- a run ------------------------------------------------------------------------------------------------------------- */

static void say(struct client *client, struct slice bytes)
{
    buf_add_slice(&client->sent, bytes);
    while (bytes.len && !client->closed) {
        ssize_t len = send(client->fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (len > 0) {
            bytes.at += len;
            bytes.len -= (size_t)len;
        } else {
            turn();
        }
    }
}

/* It sends no more. What waits for a time gets it; what waits for ever (WAIT, by the loop's own clock) is hung up on. */
static void finish(struct client *client)
{
    shutdown(client->fd, SHUT_WR);
    turn();
    for (int i = 0; i < 6 && !client->closed; i++)
        pass(1000LL << 4 * i);
    if (client->closed)
        return;
    client->hung_up = true;
    shutdown(client->fd, SHUT_RDWR);
    for (struct conn *conn = room.protocol->conns; conn; conn = conn->next)
        conn_look(conn, now_mono);
    turn();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_setup((enum log_level)(LOG_ERROR + 1), true);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    unsigned turn_of = 0, clients = 0, marks = 0;
    room_open();
    while (rest.len && marks++ < 100) {
        size_t len = 0;
        while (len < rest.len && (rest.at[len] < 0x1C || rest.at[len] > 0x1E))
            len++;
        say(&room.clients[turn_of], fuzz_take(&rest, len));
        unsigned mark = fuzz_byte(&rest);
        if (mark == 0x1E)
            turn_of = (turn_of + 1) % CLIENTS;
        else if (mark == 0x1D)
            pass(1000);
        else
            turn();
    }
    turn();
    for (int i = 0; i < CLIENTS; i++)
        finish(&room.clients[i]);
    clients = protocol_connections(room.protocol);
    FUZZ_MUST(clients == 0, "%u connections are left", clients);
    for (int i = 0; i < CLIENTS; i++)
        check_client(&room.clients[i]);
    check_store();
    room_close();
    return 0;
}
