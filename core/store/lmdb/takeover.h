/*
 * takeover.h - what an earlier life of the store left is made ours, in LMDB's first transaction.
 *
 * The databases are opened; what the journal holds is made again; an older layout becomes today's; and after a relaxed
 * life the numbers that it may have handed out and forgotten are skipped. All of that or none of it.
 *
 * Threads: the one that opens the store.
 */
#ifndef MOONQ_STORE_LMDB_TAKEOVER_H
#define MOONQ_STORE_LMDB_TAKEOVER_H

#include "store/lmdb/env.h"

enum mq_code takeover(struct env *env, struct mq_err *err);
/* And then the journal begins anew. Without room for one every batch is a commit of LMDB's, as before there was one. */
void takeover_prepare(struct env *env);
#endif
