/*
 * civil.h - dates of the calendar as days since 1970-01-01 (proleptic Gregorian), and back. No zones here.
 */
#ifndef MOONQ_BASE_CIVIL_H
#define MOONQ_BASE_CIVIL_H

#include <stdint.h>

struct civil {
    int year, month, day; /* month 1 to 12, day 1 to 31 */
};

int64_t civil_days(int year, int month, int day);
struct civil civil_of_days(int64_t days);
int civil_month_days(int year, int month);

/* 0 is Sunday. */
static inline int civil_weekday(int64_t days)
{
    return (int)(((days + 4) % 7 + 7) % 7);
}

/* Rounds towards the past, also before 1970. */
static inline int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}
#endif
