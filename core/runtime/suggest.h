/*
 * suggest.h - "did you mean": the known word that is nearest to the one written.
 */
#ifndef MOONQ_RUNTIME_SUGGEST_H
#define MOONQ_RUNTIME_SUGGEST_H

#include <stdbool.h>
#include <stddef.h>

/* `words` ends with NULL. */
bool suggest_known(const char *const *words, const char *written);
/* " (did you mean 'timeout'?)", or the list of all words where none is near. Returns `out`. */
char *suggest(char *out, size_t size, const char *const *words, const char *written);
#endif
