#include "protocol/resp.h"

#include <inttypes.h>
#include <stdbool.h>

#define NUMBER_LINE_MAX 24 /* a mark, 64 bits in decimal with a sign, and a line end */

void resp_init(struct resp_request *request)
{
    request->count = 0;
    request->used = request->need = 0;
    request->unquoted = BUF_INIT;
}

void resp_release(struct resp_request *request)
{
    buf_release(&request->unquoted);
}

/* ---- arrays of bulk strings ------------------------------------------------------------------------------- */

enum line_got {
    LINE_NUMBER,
    LINE_MORE,
    LINE_BAD,
};

/* A mark, a number and CR LF at `at`, as in "$12\r\n". */
static enum line_got number_line(const char **at, const char *end, int64_t *number)
{
    const char *c = *at + 1;
    bool minus = c < end && *c == '-';
    int64_t value = 0;
    c += minus;
    const char *first = c;
    for (; c < end && *c >= '0' && *c <= '9'; c++) {
        if (c - first > 17)
            return LINE_BAD;
        value = value * 10 + (*c - '0');
    }
    if (c == end)
        return LINE_MORE;
    if (c == first || *c != '\r')
        return LINE_BAD;
    if (c + 1 == end)
        return LINE_MORE;
    if (c[1] != '\n')
        return LINE_BAD;
    *number = minus ? -value : value;
    *at = c + 2;
    return LINE_NUMBER;
}

/* Shows a person the bytes that were not understood; control characters as dots. */
static const char *shown(char out[NUMBER_LINE_MAX], const char *at, const char *end)
{
    size_t len = 0;
    for (; at < end && len < NUMBER_LINE_MAX - 1 && *at != '\r' && *at != '\n'; at++)
        out[len++] = *at >= 0x20 && *at < 0x7F ? *at : '.';
    out[len] = '\0';
    return out;
}

static enum resp_got broken(struct mq_err *err, const char *what, const char *at, const char *end)
{
    char text[NUMBER_LINE_MAX];
    mq_fail(err, MQ_BADARG, "protocol error: %s at '%s'; the connection is closed", what,
            shown(text, at, end));
    return RESP_BROKEN;
}

static enum resp_got more(struct resp_request *request, size_t need)
{
    request->need = need;
    return RESP_MORE;
}

/* The head of one bulk string, up to its bytes. RESP_COMMAND: there it is. */
static enum resp_got bulk_head(const char **at, const char *end, int64_t *len, struct mq_err *err)
{
    if (*at == end)
        return RESP_MORE;
    if (**at != '$')
        return broken(err, "expected '$' and the length of an argument (requests do not nest)", *at, end);
    switch (number_line(at, end, len)) {
    case LINE_MORE:
        return RESP_MORE;
    case LINE_BAD:
        return broken(err, "an argument's length is not a number", *at, end);
    case LINE_NUMBER:
        break;
    }
    if (*len < 0 || *len > RESP_BULK_MAX) {
        mq_fail(err, MQ_BADARG,
                "protocol error: an argument's length is %" PRId64 " (0 to %lld); the connection is closed",
                *len, RESP_BULK_MAX);
        return RESP_BROKEN;
    }
    return RESP_COMMAND;
}

static enum resp_got too_big(struct resp_request *request, const char *start, const char *at,
                             uint64_t bytes_left, uint64_t args_left)
{
    request->used = (size_t)(at - start);
    request->skip = (struct resp_skip){.bytes_left = bytes_left, .args_left = args_left};
    return RESP_TOOBIG;
}

static enum resp_got read_args(struct resp_request *request, struct slice bytes, const char *at,
                               unsigned count, uint64_t request_max)
{
    const char *end = bytes.at + bytes.len;
    uint64_t total = 0;
    for (unsigned i = 0; i < count; i++) {
        int64_t len;
        const char *head = at;
        enum resp_got got = bulk_head(&at, end, &len, &request->err);
        if (got == RESP_MORE)
            return more(request, bytes.len + 1);
        if (got != RESP_COMMAND)
            return got;
        total += (uint64_t)len;
        if (total > request_max) {
            mq_fail(&request->err, MQ_TOOBIG,
                    "the request has more than %" PRIu64 " bytes (payload_max and room for options)",
                    request_max);
            return too_big(request, bytes.at, at, (uint64_t)len + 2, count - i - 1);
        }
        if (end - at < len + 2)
            return more(request, (size_t)(at - bytes.at) + (size_t)len + 2);
        if (at[len] != '\r' || at[len + 1] != '\n')
            return broken(&request->err, "no line end behind an argument: its length is wrong", head, end);
        request->args[i] = (struct slice){at, (size_t)len};
        at += len + 2;
    }
    request->count = count;
    request->used = (size_t)(at - bytes.at);
    return RESP_COMMAND;
}

static enum resp_got read_array(struct resp_request *request, struct slice bytes, uint64_t request_max)
{
    const char *at = bytes.at, *end = bytes.at + bytes.len;
    int64_t count;
    switch (number_line(&at, end, &count)) {
    case LINE_MORE:
        return more(request, bytes.len + 1);
    case LINE_BAD:
        return broken(&request->err, "the count of arguments is not a number", at, end);
    case LINE_NUMBER:
        break;
    }
    if (count < 0 || count > RESP_COUNT_MAX) {
        mq_fail(&request->err, MQ_BADARG,
                "protocol error: %" PRId64 " arguments (1 to %d); the connection is closed", count,
                RESP_ARGS_MAX);
        return RESP_BROKEN;
    }
    if (count == 0) {
        request->used = (size_t)(at - bytes.at);
        return RESP_NOTHING;
    }
    if (count > RESP_ARGS_MAX) {
        mq_fail(&request->err, MQ_TOOBIG, "%" PRId64 " arguments are too many (at most %d)", count,
                RESP_ARGS_MAX);
        return too_big(request, bytes.at, at, 0, (uint64_t)count);
    }
    return read_args(request, bytes, at, (unsigned)count, request_max);
}

enum resp_got resp_skip(struct resp_skip *skip, struct slice bytes, size_t *used, struct mq_err *err)
{
    const char *at = bytes.at, *end = bytes.at + bytes.len;
    for (;;) {
        uint64_t here = (uint64_t)(end - at) < skip->bytes_left ? (uint64_t)(end - at) : skip->bytes_left;
        at += here;
        skip->bytes_left -= here;
        *used = (size_t)(at - bytes.at);
        if (skip->bytes_left)
            return RESP_MORE;
        if (skip->args_left == 0)
            return RESP_NOTHING;
        int64_t len;
        enum resp_got got = bulk_head(&at, end, &len, err);
        if (got != RESP_COMMAND)
            return got;
        skip->args_left--;
        skip->bytes_left = (uint64_t)len + 2;
    }
}

/* ---- lines typed by hand ---------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One character behind a backslash inside double quotes; *at stands on the backslash and is moved past it. */
static char unescape(const char **at, const char *end)
{
    const char *c = *at + 1;
    if (*c == 'x' && end - c >= 3 && hex_digit(c[1]) >= 0 && hex_digit(c[2]) >= 0) {
        *at = c + 3;
        return (char)(hex_digit(c[1]) * 16 + hex_digit(c[2]));
    }
    *at = c + 1;
    switch (*c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return *c;
    }
}

/* The rest of an argument behind its opening quote. False: there is no closing one, or something sticks to it. */
static bool quoted(struct buf *out, const char **at, const char *end, char quote)
{
    while (*at < end && **at != quote) {
        if (**at == '\\' && *at + 1 < end && (quote == '"' || (*at)[1] == '\''))
            buf_u8(out, (uint8_t)unescape(at, end));
        else
            buf_add(out, (*at)++, 1);
    }
    if (*at == end)
        return false;
    (*at)++;
    return *at == end || is_blank(**at);
}

/* Splits as redis-cli and Redis do: blanks, "..." with escapes, '...'. Lengths first: `unquoted` may move. */
static enum resp_got split_line(struct resp_request *request, const char *at, const char *end)
{
    request->count = 0;
    buf_clear(&request->unquoted);
    for (;;) {
        while (at < end && is_blank(*at))
            at++;
        if (at == end)
            break;
        if (request->count == RESP_ARGS_MAX) {
            mq_fail(&request->err, MQ_TOOBIG, "too many arguments (at most %d)", RESP_ARGS_MAX);
            return RESP_REFUSED;
        }
        size_t start = request->unquoted.end;
        while (at < end && !is_blank(*at)) {
            char c = *at++;
            if (c != '"' && c != '\'') {
                buf_u8(&request->unquoted, (uint8_t)c);
            } else if (!quoted(&request->unquoted, &at, end, c)) {
                mq_fail(
                    &request->err, MQ_BADARG,
                    "unbalanced quotes in the line (a closing one is missing, or something sticks to it)");
                return RESP_REFUSED;
            }
        }
        request->args[request->count++].len = request->unquoted.end - start;
    }
    const char *text = buf_bytes(&request->unquoted).at;
    for (unsigned i = 0; i < request->count; i++) {
        request->args[i].at = text;
        text += request->args[i].len;
    }
    return request->count ? RESP_COMMAND : RESP_NOTHING;
}

static enum resp_got read_line(struct resp_request *request, struct slice bytes)
{
    size_t look = bytes.len < RESP_INLINE_MAX ? bytes.len : RESP_INLINE_MAX;
    const char *newline = memchr(bytes.at, '\n', look);
    if (!newline) {
        if (look < RESP_INLINE_MAX)
            return more(request, bytes.len + 1);
        mq_fail(&request->err, MQ_BADARG,
                "protocol error: a line of more than %d bytes; the connection is closed", RESP_INLINE_MAX);
        return RESP_BROKEN;
    }
    request->used = (size_t)(newline - bytes.at) + 1;
    const char *end = newline > bytes.at && newline[-1] == '\r' ? newline - 1 : newline;
    return split_line(request, bytes.at, end);
}

enum resp_got resp_read(struct resp_request *request, struct slice bytes, uint64_t request_max)
{
    if (bytes.len == 0)
        return more(request, 1);
    return bytes.at[0] == '*' ? read_array(request, bytes, request_max) : read_line(request, bytes);
}
