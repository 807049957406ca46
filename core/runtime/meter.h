/*
 * meter.h - the counting allocator of a Lua state: what is used, by whom, and not more than the limit.
 *
 * One state runs many jobs, so a limit for the state alone would let one greedy job make all its neighbours
 * fail. So what is allocated while a job is on the CPU is booked to that job, and a single job gets at most
 * three quarters of the limit: the bomb meets its limit first, and its neighbours still have room. The books are
 * rough, since garbage is collected on whoever's turn it is; they never go below zero.
 *
 * Beyond its limit an allocation answers NULL, and LuaJIT raises "not enough memory" in whoever asked. While no
 * job is on the CPU nothing is refused: what the runtime itself then keeps (an answer that came from the network,
 * an error to tell of) is bounded by other limits, and nobody could catch the error.
 *
 * Compiled code is never answered NULL: LuaJIT 2.1 of 2022 does not bring the stack in order when a helper of a trace
 * runs out of memory, and goes on with a frame made of whatever lies there, a script's own bytes among them. It gets
 * a loan instead, and `short_of_memory` is called, so that the interpreter raises the error as soon as it has the
 * CPU again. When the loan is used up too, `exhausted` ends the process.
 */
#ifndef MOONQ_RUNTIME_METER_H
#define MOONQ_RUNTIME_METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct meter {
    size_t used, limit;
    int64_t job, job_limit; /* bytes booked to the job on the CPU */
    bool in_job;
    unsigned refused;              /* allocations that met a limit since meter_enter */
    size_t wanted;                 /* the largest of them */
    size_t loan;                   /* what compiled code may use beyond the limit */
    void (*short_of_memory)(void); /* NULL: nobody could raise the error, so there is no loan and no care */
    void (*exhausted)(void);
};

void meter_init(struct meter *meter, size_t limit_bytes);

/* For lua_newstate; `meter` is the owner. */
void *meter_alloc(void *meter, void *old, size_t old_bytes, size_t new_bytes);

/* A job that has `booked` bytes so far comes onto the CPU; meter_leave answers what it has now. */
void meter_enter(struct meter *meter, int64_t booked);
int64_t meter_leave(struct meter *meter);
#endif
