/*
 * ledger.h - what a client knows: a row for each change that was confirmed, and for each that was asked for and would
 * take something away. `at` is the shim's count of records when it knew it, so that a disk of any moment can be held
 * against it: what was confirmed by then must be there, and only what was asked for by then may be gone.
 *
 * A file of rows a thread, in the order of time.
 */
#ifndef MOONQ_TESTS_CRASH_LEDGER_H
#define MOONQ_TESTS_CRASH_LEDGER_H

#include <stdint.h>

enum ledger_what {
    /* confirmed */
    LEDGER_PUSHED = 1, /* `keeps`: its record stays after its end. token: the number of its group, or 0 */
    LEDGER_FETCHED,    /* token, attempt */
    LEDGER_ACKED,
    LEDGER_FAILED,    /* NACK with a delay */
    LEDGER_DEAD,      /* NACK DEAD */
    LEDGER_CANCELLED, /* was waiting, and is cancelled */
    LEDGER_RETRIED,
    LEDGER_DELETED,
    /* asked for */
    LEDGER_ENDS,    /* ACK, NACK or CANCEL: a job that keeps nothing may be gone */
    LEDGER_RETRIES, /* what was final may live again */
    LEDGER_DELETES, /* any trace of it may be gone */
};

struct ledger_row {
    uint64_t at, id, token;
    uint32_t attempt;
    uint8_t what, keeps, handled, pad; /* handled: by a Lua handler, so its state is not ours to know */
};

/* What payloads say of what belongs together, for those who read the store's records. */
#define LEDGER_GROUP    "\"group\":"    /* its number: pushed by one MULTI */
#define LEDGER_OF       "\"of\":"       /* how many belong to a group, or to a parent */
#define LEDGER_PARENT   "\"parent\":\"" /* the parent's id */
#define LEDGER_CHILDREN "\"children\":" /* a handler pushes so many with its acknowledgement */
#endif
