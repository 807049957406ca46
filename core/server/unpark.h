/*
 * unpark.h - jobs that waited for a handler, once there is one.
 */
#ifndef MOONQ_SERVER_UNPARK_H
#define MOONQ_SERVER_UNPARK_H

#include <jansson.h>
#include "server/server.h"

struct unpark;

/* Of the types that this application has; `app` as READY gave it. */
struct unpark *unpark_new(struct server *server, json_t *app);
/*
 * Parked jobs of these types may be handed to workers again: a chunk a commit, so that the changes of others get
 * their turn. `done` (or NULL) follows, perhaps at once: when all had their look, or when the disk has no room for it, which
 * is waited for then. Frees it.
 */
void unpark_start(struct unpark *unpark, void (*done)(struct server *server));
#endif
