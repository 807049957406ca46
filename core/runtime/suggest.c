#include "runtime/suggest.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX 32

/* Levenshtein's distance: how many letters must be put in, taken out or changed. */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1], width = strlen(b);
    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= width; j++) {
            size_t least = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            least = row[j] + 1 < least ? row[j] + 1 : least;
            row[j] = row[j - 1] + 1 < least ? row[j - 1] + 1 : least;
        }
    }
    return row[width];
}

bool suggest_known(const char *const *words, const char *written)
{
    for (; *words; words++)
        if (strcmp(*words, written) == 0)
            return true;
    return false;
}

char *suggest(char *out, size_t size, const char *const *words, const char *written)
{
    const char *nearest = NULL;
    size_t best = 3, at; /* three letters off is another word */
    for (const char *const *word = words; strlen(written) <= WORD_MAX && *word; word++)
        if (strlen(*word) <= WORD_MAX && distance(written, *word) < best) {
            best = distance(written, *word);
            nearest = *word;
        }
    if (nearest) {
        snprintf(out, size, " (did you mean '%s'?)", nearest);
        return out;
    }
    at = (size_t)snprintf(out, size, " (there are");
    for (; *words && at < size; words++)
        at += (size_t)snprintf(out + at, size - at, " %s", *words);
    if (at < size)
        snprintf(out + at, size - at, ")");
    return out;
}
