/*
 * http_delay.c - a web service that answers every request after a fixed time.
 *
 *     http_delay PORTFILE [delay_ms]
 *
 * Listens on a free port of 127.0.0.1, which it writes to PORTFILE. One thread; HTTP/1.1 with kept connections, one
 * request at a time on each, no bodies: just enough for libcurl.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 8192

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/* All wait equally long, so who asked first is answered first: a ring is the timer. */
static struct due {
    int fd;
    int64_t at_ns;
} ring[FDS_MAX];
static uint64_t ring_start, ring_end;
static struct {
    char text[4096];
    size_t len;
} requests[FDS_MAX];

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "http_delay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int listen_anywhere(const char *port_file)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        fail("listen");
    FILE *file = fopen(port_file, "w");
    if (!file || fprintf(file, "%d\n", ntohs(address.sin_port)) < 0 || fclose(file) != 0)
        fail(port_file);
    return fd;
}

static void accept_all(int epoll_fd, int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= FDS_MAX) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        requests[fd].len = 0;
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
    }
}

static void read_request(int fd, int64_t delay_ns)
{
    ssize_t len =
        recv(fd, requests[fd].text + requests[fd].len, sizeof requests[fd].text - requests[fd].len, 0);
    if (len < 0 && errno == EAGAIN)
        return;
    if (len <= 0) {
        close(fd);
        return;
    }
    requests[fd].len += (size_t)len;
    if (!memmem(requests[fd].text, requests[fd].len, "\r\n\r\n", 4))
        return;
    requests[fd].len = 0;
    ring[ring_end++ % FDS_MAX] = (struct due){fd, now_ns() + delay_ns};
}

static void answer_due(void)
{
    while (ring_start < ring_end && ring[ring_start % FDS_MAX].at_ns <= now_ns()) {
        int fd = ring[ring_start++ % FDS_MAX].fd;
        send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL); /* who hung up meanwhile wants none */
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: http_delay PORTFILE [delay_ms]\n");
        return 2;
    }
    int64_t delay_ns = (argc > 2 ? atoll(argv[2]) : 50) * 1000000;
    int listener = listen_anywhere(argv[1]), epoll_fd = epoll_create1(0);
    struct epoll_event events[256];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener,
              &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    for (;;) {
        int64_t left = ring_start < ring_end ? ring[ring_start % FDS_MAX].at_ns - now_ns() : 1000000000;
        struct timespec timeout = {.tv_nsec = left < 0 ? 0 : left > 999999999 ? 999999999 : left};
        int count = epoll_pwait2(epoll_fd, events, 256, &timeout, NULL);
        for (int i = 0; i < count; i++)
            if (events[i].data.fd == listener)
                accept_all(epoll_fd, listener);
            else
                read_request(events[i].data.fd, delay_ns);
        answer_due();
    }
}
