/*
 * factory.h - what the contract suite needs of a store, so that one suite serves all who implement store.h.
 *
 * A lab is a store in a place of its own, opened without threads or with them, and everything that came back.
 */
#ifndef MOONQ_TESTS_STORE_FACTORY_H
#define MOONQ_TESTS_STORE_FACTORY_H

#include "store/store.h"

struct factory {
    const char *name;
    /* Fills `settings` for a fresh, empty place; *place is the factory's. */
    void (*fresh)(struct store_settings *settings, void **place);
    void (*remove)(void *place);
};
extern const struct factory lmdb_factory;
#endif
