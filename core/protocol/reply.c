#include "protocol/reply.h"

#include <stdio.h>

size_t reply_digits(char at[REPLY_NUMBER_BYTES], int64_t number)
{
    char reversed[REPLY_NUMBER_BYTES];
    size_t len = 0, out = 0;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        reversed[len++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0)
        at[out++] = '-';
    while (len)
        at[out++] = reversed[--len];
    return out;
}

/* A mark, a number and a line end: the head of nearly everything. */
static void head(struct reply *r, char mark, int64_t number)
{
    char *room = buf_room(r->out, REPLY_NUMBER_BYTES + 3);
    room[0] = mark;
    size_t len = 1 + reply_digits(room + 1, number);
    room[len] = '\r';
    room[len + 1] = '\n';
    buf_grew(r->out, len + 2);
}

void reply_ok(struct reply *r)
{
    buf_add(r->out, "+OK\r\n", 5);
}

void reply_simple(struct reply *r, const char *text)
{
    buf_u8(r->out, '+');
    buf_add_slice(r->out, slice_of(text));
    buf_add(r->out, "\r\n", 2);
}

void reply_error(struct reply *r, const char *code, const char *text)
{
    buf_u8(r->out, '-');
    buf_add_slice(r->out, slice_of(code));
    buf_u8(r->out, ' ');
    for (; *text; text++)
        buf_u8(r->out, (unsigned char)*text < 0x20 ? ' ' : (uint8_t)*text);
    buf_add(r->out, "\r\n", 2);
}

void reply_null(struct reply *r)
{
    if (r->resp3)
        buf_add(r->out, "_\r\n", 3);
    else
        buf_add(r->out, "$-1\r\n", 5);
}

void reply_bool(struct reply *r, bool value)
{
    if (r->resp3)
        buf_add(r->out, value ? "#t\r\n" : "#f\r\n", 4);
    else
        buf_add(r->out, value ? ":1\r\n" : ":0\r\n", 4);
}

void reply_int(struct reply *r, int64_t number)
{
    head(r, ':', number);
}

void reply_double(struct reply *r, double number)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%.7g", number); /* progress is kept as a float: seven digits */
    if (!r->resp3) {
        reply_bulk(r, (struct slice){text, (size_t)len});
        return;
    }
    buf_u8(r->out, ',');
    buf_add(r->out, text, (size_t)len);
    buf_add(r->out, "\r\n", 2);
}

void reply_bulk(struct reply *r, struct slice bytes)
{
    char *room = buf_room(r->out, bytes.len + REPLY_NUMBER_BYTES + 5);
    size_t len;
    room[0] = '$';
    if (bytes.len < 10) { /* keys and short values */
        room[1] = (char)('0' + bytes.len);
        len = 2;
    } else {
        len = 1 + reply_digits(room + 1, (int64_t)bytes.len);
    }
    room[len++] = '\r';
    room[len++] = '\n';
    if (bytes.len)
        memcpy(room + len, bytes.at, bytes.len);
    len += bytes.len;
    room[len++] = '\r';
    room[len++] = '\n';
    buf_grew(r->out, len);
}

void reply_text(struct reply *r, const char *text)
{
    reply_bulk(r, slice_of(text));
}

void reply_id(struct reply *r, job_id id)
{
    char text[JOB_ID_TEXT_BYTES];
    reply_bulk(r, (struct slice){id_format(text, id), JOB_ID_CHARS});
}

void reply_hash(struct reply *r, uint32_t hash)
{
    char text[9];
    snprintf(text, sizeof text, "%08x", hash);
    if (hash)
        reply_text(r, text);
    else
        reply_null(r);
}

void reply_array(struct reply *r, size_t count)
{
    head(r, '*', (int64_t)count);
}

void reply_map(struct reply *r, size_t pairs)
{
    if (r->resp3)
        head(r, '%', (int64_t)pairs);
    else
        head(r, '*', (int64_t)pairs * 2);
}

void reply_push(struct reply *r, size_t count)
{
    head(r, r->resp3 ? '>' : '*', (int64_t)count);
}

void reply_tags(struct reply *r, struct slice tags)
{
    size_t count = 0;
    for (size_t i = 0; i < tags.len; i++)
        count += tags.at[i] == '\n';
    reply_array(r, count);
    while (count--) {
        size_t len = (size_t)((const char *)memchr(tags.at, '\n', tags.len) - tags.at);
        reply_bulk(r, (struct slice){tags.at, len});
        tags.at += len + 1;
        tags.len -= len + 1;
    }
}
