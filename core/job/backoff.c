#include "job/backoff.h"

int64_t backoff_default_ms(unsigned attempt, uint32_t chance)
{
    int64_t n = attempt > 100 ? 100 : attempt; /* 100^4 s is three years: far enough */
    int64_t delay_ms = (n * n * n * n + 15) * 1000;
    /* jobs that one outage failed must not all come back in one second */
    return delay_ms + (int64_t)((uint64_t)(delay_ms / 10) * chance >> 32);
}
