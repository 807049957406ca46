/*
 * resp.h - requests as Redis clients write them: RESP arrays of bulk strings, and lines typed by hand.
 *
 * Pure: bytes in, arguments out; no I/O and no state between calls. A request that is not complete is read from
 * its start again when `need` bytes are there, so the work is bounded by the number of its arguments, and the
 * caller keeps nothing but the bytes.
 *
 * Memory: arguments point into the bytes given (or, where a line had quotes, into the request itself) and are good
 * until either changes. resp_init/resp_release.
 */
#ifndef MOONQ_PROTOCOL_RESP_H
#define MOONQ_PROTOCOL_RESP_H

#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#define RESP_ARGS_MAX   1024                  /* WAIT's ids are the longest list; 16 KiB of slices */
#define RESP_COUNT_MAX  (1024 * 1024)         /* as in Redis; more is not a request but garbage */
#define RESP_BULK_MAX   (512LL * 1024 * 1024) /* as in Redis */
#define RESP_INLINE_MAX (64 * 1024)           /* as in Redis: a line without an end is garbage */

enum resp_got {
    RESP_COMMAND, /* `count` arguments, at least one */
    RESP_NOTHING, /* an empty line or array: to be ignored */
    RESP_MORE,    /* not all there yet */
    RESP_REFUSED, /* a bad line; `err` says why, and after `used` bytes comes the next request */
    RESP_TOOBIG,  /* larger than the limit; `err`. What it still sends can be passed over: resp_skip */
    RESP_BROKEN,  /* no way to know where the next request begins; `err`. Close the connection */
};

/* The way through a request that is too large to be kept. */
struct resp_skip {
    uint64_t bytes_left; /* of the bulk string under way, its line end included */
    uint64_t args_left;  /* bulk strings behind it */
};

struct resp_request {
    struct slice args[RESP_ARGS_MAX];
    unsigned count;
    size_t used; /* bytes read; TOOBIG: those before what `skip` passes over */
    size_t need; /* MORE: it is of no use to call again with fewer bytes than these */
    struct resp_skip skip;
    struct mq_err err;
    struct buf unquoted; /* arguments of lines with quotes */
};

void resp_init(struct resp_request *request);
void resp_release(struct resp_request *request);

/* Reads the request at the start of `bytes`. `request_max`: bytes of all its arguments. */
enum resp_got resp_read(struct resp_request *request, struct slice bytes, uint64_t request_max);

/*
 * Passes over what belongs to the request that was too large. *used: how far. RESP_NOTHING: it has ended;
 * RESP_MORE; RESP_BROKEN fills `err`.
 */
enum resp_got resp_skip(struct resp_skip *skip, struct slice bytes, size_t *used, struct mq_err *err);
#endif
