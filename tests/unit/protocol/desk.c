#include "desk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define GIVE_UP_MS 10000

/* ---- what stands around the protocol ------------------------------------------------------------------------ */

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
    ((struct desk *)owner)->reload = answer;
}

static void on_shutdown(void *owner, bool now)
{
    ((struct desk *)owner)->shutdowns = now ? 2 : 1;
}

static bool on_config_row(void *owner, unsigned index, struct config_row *out)
{
    static const char *const names[] = {"payload_max", "pipeline_max"};
    (void)owner;
    if (index >= 2)
        return false;
    *out = (struct config_row){.name = names[index], .summary = "", .changeable = index == 1};
    snprintf(out->value, sizeof out->value, "%u", 100 + index);
    return true;
}

static enum mq_code on_config_set(void *owner, struct slice name, struct slice value, struct mq_err *err)
{
    (void)owner, (void)value;
    if (slice_is_word(name, "pipeline_max"))
        return MQ_OK;
    return mq_fail(err, MQ_NOTFOUND, "there is no setting '%.*s'", SLICE_ARG(name));
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
    out->version = MOONQ_VERSION;
    out->pid = getpid();
}

static void wake(void *owner)
{
    struct desk *desk = owner;
    ev_async_send(desk->loop, &desk->store_wakes);
}

static void on_store_wakes(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop, (void)events;
    store_collect(((struct desk *)watcher->data)->store);
}

static void on_turn_ends(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct desk *desk = watcher->data;
    mono_ms now = clock_mono();
    (void)events;
    struct dispatch_wake next = dispatch_tick(desk->dispatch, clock_wall(), now);
    store_flush(desk->store);
    ev_timer_stop(loop, &desk->wait_ends);
    bool at_once = next.mono <= now;
    ev_timer_set(&desk->wait_ends, at_once ? 0. : 0.001, 0.); /* a turn ends soon: the test looks again */
    ev_timer_start(loop, &desk->wait_ends);
}

static void on_wait_ends(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)watcher, (void)events;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(0, bind(fd, (struct sockaddr *)&address, sizeof address));
    assert_int_equal(0, listen(fd, 1024));
    return fd;
}

static void start_watchers(struct desk *desk)
{
    ev_async_init(&desk->store_wakes, on_store_wakes);
    ev_prepare_init(&desk->turn_ends, on_turn_ends);
    ev_timer_init(&desk->wait_ends, on_wait_ends, 0., 0.);
    desk->store_wakes.data = desk->turn_ends.data = desk;
    ev_async_start(desk->loop, &desk->store_wakes);
    ev_prepare_start(desk->loop, &desk->turn_ends);
}

struct desk *desk_new(void (*change)(struct protocol_settings *settings))
{
    struct desk *desk = calloc(1, sizeof *desk);
    struct dispatch_host host = {
        .owner = desk, .write = host_write, .kill = host_kill, .chance = host_chance};
    struct dispatch_settings settings = {.payload_max = 100000,
                                         .sweep_limit = 100,
                                         .idle_alarm_ms = 10000,
                                         .start_within_ms = 100,
                                         .silence_max_ms = 10000};
    struct control control = {desk,          on_reload,  on_shutdown, on_config_row,
                              on_config_set, on_figures, on_pulses};
    struct mq_err err;
    log_setup((enum log_level)(LOG_ERROR + 1), true);
    strcpy(desk->dir, "/tmp/moonq-desk-XXXXXX");
    assert_non_null(mkdtemp(desk->dir));
    snprintf(desk->socket_path, sizeof desk->socket_path, "%s/socket", desk->dir);
    order_init(&settings.defaults);
    desk->settings = (struct protocol_settings){.connections_max = 2000,
                                                .request_max = 200000,
                                                .output_pause = 256 * 1024,
                                                .output_max = 64 << 20,
                                                .output_patience_ms = 10000,
                                                .half_sent_ms = 10000,
                                                .pipeline_max = 1000};
    if (change)
        change(&desk->settings);
    struct store_settings store = {.dir = desk->dir,
                                   .map_bytes = 16 << 20,
                                   .dead_keep_ms = 86400000,
                                   .crash_limit = 3,
                                   .readers = 1,
                                   .nosync = true};
    assert_int_equal(MQ_OK, store_open(&desk->store, &store, &err));
    desk->loop = ev_loop_new(EVFLAG_AUTO);
    desk->dispatch = dispatch_new(desk->store, &host, &settings);
    start_watchers(desk);
    struct store_listener listener = dispatch_store_listener(desk->dispatch);
    store_attach(desk->store, &listener, wake, desk);
    desk->protocol = protocol_new(desk->loop, desk->dispatch, desk->store, &control, &desk->settings);
    protocol_listen(desk->protocol, listen_at(desk->socket_path));
    return desk;
}

void desk_free(struct desk *desk)
{
    char command[100];
    store_close(desk->store);
    protocol_free(desk->protocol);
    dispatch_free(desk->dispatch);
    ev_async_stop(desk->loop, &desk->store_wakes);
    ev_prepare_stop(desk->loop, &desk->turn_ends);
    ev_timer_stop(desk->loop, &desk->wait_ends);
    ev_loop_destroy(desk->loop);
    snprintf(command, sizeof command, "rm -rf %s", desk->dir);
    assert_int_equal(0, system(command));
    free(desk);
}

void desk_turn(struct desk *desk)
{
    ev_run(desk->loop, EVRUN_ONCE);
}

bool desk_until(struct desk *desk, bool (*so)(struct desk *desk, void *arg), void *arg)
{
    mono_ms give_up = clock_mono() + GIVE_UP_MS;
    while (!so(desk, arg)) {
        if (clock_mono() > give_up)
            return false;
        desk_turn(desk);
    }
    return true;
}

/* ---- clients ------------------------------------------------------------------------------------------------ */

struct client *client_new(struct desk *desk)
{
    struct client *client = calloc(1, sizeof *client);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", desk->socket_path);
    client->desk = desk;
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    assert_int_equal(0, connect(client->fd, (struct sockaddr *)&address, sizeof address));
    return client;
}

void client_free(struct client *client)
{
    close(client->fd);
    buf_release(&client->got);
    free(client);
}

/* Reads what is there. */
static void take(struct client *client)
{
    char *room = buf_room(&client->got, 65536);
    ssize_t len = client->ended ? 0 : recv(client->fd, room, 65536, MSG_DONTWAIT);
    if (len > 0)
        buf_grew(&client->got, (size_t)len);
    else if (len == 0 || errno == ECONNRESET)
        client->ended = true;
}

void client_send_bytes(struct client *client, const char *bytes, size_t len)
{
    mono_ms give_up = clock_mono() + GIVE_UP_MS;
    while (len) {
        ssize_t sent = send(client->fd, bytes, len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return; /* closed: what follows sees it */
        if (sent < 0) {
            take(client);
            desk_turn(client->desk);
            assert_true(clock_mono() < give_up);
            continue;
        }
        bytes += sent;
        len -= (size_t)sent;
    }
}

void client_send(struct client *client, const char *format, ...)
{
    char text[8192];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert_true((size_t)len < sizeof text);
    client_send_bytes(client, text, (size_t)len);
}

struct slice client_await(struct client *client, size_t len)
{
    mono_ms give_up = clock_mono() + GIVE_UP_MS;
    while (buf_len(&client->got) < len) {
        take(client);
        if (buf_len(&client->got) >= len)
            break;
        if (client->ended || clock_mono() > give_up)
            fail_msg("%zu bytes expected, but there is only '%.*s'", len, (int)buf_len(&client->got),
                     buf_bytes(&client->got).at);
        desk_turn(client->desk);
    }
    return (struct slice){buf_bytes(&client->got).at, len};
}

void client_expect(struct client *client, const char *bytes)
{
    size_t len = strlen(bytes);
    for (size_t i = 0; i < len; i++) {
        struct slice got = client_await(client, i + 1);
        if (bytes[i] != '~' && got.at[i] != bytes[i])
            fail_msg("expected '%s', but got '%.*s'", bytes, (int)buf_len(&client->got), got.at);
    }
    buf_eat(&client->got, len);
}

struct slice client_read_to(struct client *client, const char *text)
{
    size_t len = strlen(text);
    for (;;) {
        struct slice got = buf_bytes(&client->got);
        const char *found = got.len >= len ? memmem(got.at, got.len, text, len) : NULL;
        if (found) {
            size_t all = (size_t)(found - got.at) + len;
            client->got.start += all; /* not buf_eat: the bytes stay until the next call */
            return (struct slice){got.at, all};
        }
        client_await(client, got.len + 1);
    }
}

void client_expect_line(struct client *client, const char *begins)
{
    struct slice line = client_read_to(client, "\r\n");
    if (line.len < strlen(begins) || memcmp(line.at, begins, strlen(begins)) != 0)
        fail_msg("expected '%s...', but got '%.*s'", begins, SLICE_ARG(line));
}

void client_expect_end(struct client *client)
{
    mono_ms give_up = clock_mono() + GIVE_UP_MS;
    while (!client->ended && clock_mono() < give_up) {
        take(client);
        if (!client->ended)
            desk_turn(client->desk);
    }
    assert_true(client->ended);
    if (buf_len(&client->got))
        fail_msg("expected no more, but got '%.*s'", SLICE_ARG(buf_bytes(&client->got)));
}

static char *next_id(void)
{
    static char ids[8][JOB_ID_TEXT_BYTES];
    static unsigned next;
    return ids[next++ % 8];
}

const char *client_push(struct client *client, const char *args)
{
    char *id = next_id();
    client_send(client, "PUSH %s\r\n", args);
    client_expect(client, "$13\r\n");
    snprintf(id, JOB_ID_TEXT_BYTES, "%.13s", client_await(client, 15).at);
    client_expect(client, "~~~~~~~~~~~~~\r\n");
    return id;
}

const char *client_fetch(struct client *client, const char *queue, long long *token)
{
    char *id = next_id();
    client_send(client, "FETCH %s BLOCK 5000\r\n", queue);
    client_expect(client, "*1\r\n*22\r\n$2\r\nid\r\n$13\r\n");
    snprintf(id, JOB_ID_TEXT_BYTES, "%.13s", client_await(client, 15).at);
    client_expect(client, "~~~~~~~~~~~~~\r\n$5\r\ntoken\r\n:");
    *token = atoll(client_read_to(client, "\r\n").at);
    client_read_to(client, "$4\r\ntags\r\n");
    struct slice tags = client_read_to(client, "\r\n");
    for (int i = atoi(tags.at + 1); i > 0; i--) {
        client_read_to(client, "\r\n");
        client_read_to(client, "\r\n");
    }
    return id;
}
