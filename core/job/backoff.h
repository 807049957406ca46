/*
 * backoff.h - how long to wait after a failed attempt, where no policy says otherwise.
 *
 *     delay(n) = n^4 + 15 s, and up to a tenth of that added at random
 *
 * n is the attempt that failed. The first ten, without what is added: 16 s, 31 s, 96 s, 4.5 min, 11 min, 22 min,
 * 40 min, 68 min, 110 min, 2.8 h; the 24th is 3.8 days. 25 attempts take 20.4 days, as this field's users expect
 * (Sidekiq, Faktory and River wait as long). What is added is never taken away: no attempt comes early.
 */
#ifndef MOONQ_JOB_BACKOFF_H
#define MOONQ_JOB_BACKOFF_H

#include <stdint.h>

/* `chance`: any random 32 bits; the same bits give the same delay. Milliseconds. */
int64_t backoff_default_ms(unsigned attempt, uint32_t chance);
#endif
