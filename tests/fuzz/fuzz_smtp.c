/*
 * What a mail server says: up to a NUL the lines of its greeting and of EHLO, then its answers. A mail for two recipients
 * is carried by a link to it. However the socket cuts the bytes, and whatever they are, a mail ends at most once, and it
 * counts as sent only if the server agreed to each of its five questions.
 */
#include "fuzz.h"

#include <sys/eventfd.h>

#include "runtime/net_smtp_link.c"

static struct slice said;       /* by the server, and not read yet */
static struct buf heard;        /* for this mail */
static unsigned asked, answers; /* commands sent, and what was given for them */
static bool one_by_one;         /* an answer a command, as servers do; else all is there at once */
static size_t step;
static unsigned ends; /* of the mail */
static CURL *easy;
static int quiet_fd; /* an io watcher needs one */

CURLcode __wrap_curl_easy_recv(CURL *curl, void *out, size_t size, size_t *got);
CURLcode __wrap_curl_easy_send(CURL *curl, const void *bytes, size_t size, size_t *sent);
void __wrap_net_op_finish(struct net_op *op);
void __wrap_net_transfer_init(struct net_transfer *transfer, void (*done)(struct net_transfer *, CURLcode));
void __wrap_net_transfer_start(struct net_transfer *transfer, struct slice host, int port);
void __wrap_net_transfer_release(struct net_transfer *transfer);
struct ev_loop *__wrap_host_loop(void);

CURLcode __wrap_curl_easy_recv(CURL *curl, void *out, size_t size, size_t *got)
{
    (void)curl;
    *got = 0;
    if (one_by_one && answers >= asked)
        return CURLE_AGAIN;
    const char *end = one_by_one && said.len ? memchr(said.at, '\n', said.len) : NULL;
    size_t most = one_by_one ? (end ? (size_t)(end - said.at) + 1 : said.len) : step;
    struct slice part = fuzz_take(&said, most < size ? most : size);
    answers += end && !(part.len > 3 && part.at[3] == '-');
    memcpy(out, part.at, part.len);
    buf_add_slice(&heard, part);
    *got = part.len; /* 0: it hung up */
    return CURLE_OK;
}

CURLcode __wrap_curl_easy_send(CURL *curl, const void *bytes, size_t size, size_t *sent)
{
    (void)curl, (void)bytes;
    asked++;
    *sent = size;
    return CURLE_OK;
}

void __wrap_net_op_finish(struct net_op *op)
{
    (void)op;
    ends++;
}

void __wrap_net_transfer_init(struct net_transfer *transfer, void (*done)(struct net_transfer *, CURLcode))
{
    *transfer = (struct net_transfer){.done = done, .easy = easy};
}

/* Opens nothing: the link that waits for it waits for ever. */
void __wrap_net_transfer_start(struct net_transfer *transfer, struct slice host, int port)
{
    (void)transfer, (void)host, (void)port;
}

void __wrap_net_transfer_release(struct net_transfer *transfer)
{
    curl_easy_reset(transfer->easy);
}

struct ev_loop *__wrap_host_loop(void)
{
    return ev_default_loop(EVBACKEND_POLL);
}

/* Each answer's first digit, in order. */
static void answers_heard(char *out, size_t size)
{
    struct slice rest = buf_bytes(&heard);
    size_t len = 0;
    while (rest.len && len + 1 < size) {
        struct slice line = fuzz_part(&rest, '\n');
        if (!(line.len > 3 && line.at[3] == '-'))
            out[len++] = line.len ? line.at[0] : '?';
    }
    out[len] = '\0';
}

/* Its connection is there; from here on the dialogue is ours. */
static void opened(struct smtp_link *link, struct slice greeting)
{
    while (greeting.len) {
        struct slice line = fuzz_copy(fuzz_part(&greeting, '\n'));
        on_opening_line((char *)line.at, 1, line.len, link);
        free((void *)line.at);
    }
    FUZZ_MUST(link->size_max >= 0, "a size of %lld", (long long)link->size_max);
    ev_io_init(&link->io, on_link_event, quiet_fd, EV_READ);
    link->io.data = link;
    link_mail(link);
}

static void listen_to_server(void)
{
    for (int i = 0; i < 300 && links && links->step != STEP_IDLE && links->step != STEP_OPEN; i++) {
        size_t left = said.len;
        on_link_event(NULL, &links->io, EV_READ);
        if (left == said.len && (one_by_one && answers >= asked))
            return;
    }
}

static void carry(struct slice *greeting)
{
    char a[] = "a@example", b[] = "b@example", *to[] = {a, b}, expected[16];
    struct smtp_op op = {
        .url = curl_url(), .key = a, .host = a, .from = a, .to = to, .to_count = 2, .label = "smtp://x"};
    buf_add(&op.message, ".hi\n.\r\n", 7);
    buf_clear(&heard);
    ends = asked = answers = 0;
    smtp_op_start(&op);
    if (links && links->step == STEP_OPEN)
        opened(links, *greeting);
    listen_to_server();
    answers_heard(expected, 6);
    FUZZ_MUST(ends <= 1, "the mail ended %u times", ends);
    FUZZ_MUST(!ends || op.code || strcmp(expected, "22232") == 0, "sent, but the server said %s", expected);
    FUZZ_MUST(!ends || !op.code || buf_len(&op.text), "refused with %s and no text", op.code);
    smtp_op_leave(&op);
    for (int i = 0; i < op.refusal_count; i++)
        free(op.refusals[i].text);
    free(op.refusals);
    buf_release(&op.text);
    buf_release(&op.message);
    curl_url_cleanup(op.url);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    easy = curl_easy_init();
    quiet_fd = eventfd(0, 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = fuzz_copy((struct slice){(const char *)data, size}), greeting;
    said = all;
    step = fuzz_byte(&said);
    one_by_one = step % 4 != 3;
    step = 1 + step / 4;
    greeting = fuzz_part(&said, '\0');
    for (int i = 0; i < 3; i++) /* the second over the first one's connection, if it is still good */
        carry(&greeting);
    smtp_links_stop();
    FUZZ_MUST(!links && !servers, "links are left");
    buf_release(&heard);
    free((void *)all.at);
    return 0;
}
