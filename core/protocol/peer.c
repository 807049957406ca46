#include "protocol/peer.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "protocol/args.h"
#include "protocol/conn.h"

#define PASSWD_LINE_BYTES 1024

/* getpwuid would ask whatever nsswitch.conf names. */
static bool name_of_uid(char out[ACTOR_BYTES], uid_t uid)
{
    char line[PASSWD_LINE_BYTES];
    struct passwd entry, *found;
    FILE *file = fopen("/etc/passwd", "re");
    bool known = false;
    while (file && !known && fgetpwent_r(file, &entry, line, sizeof line, &found) == 0)
        if (found->pw_uid == uid)
            known = snprintf(out, ACTOR_BYTES, "%s", found->pw_name) > 0;
    if (file)
        fclose(file);
    return known;
}

struct slice peer_name(const struct conn *conn, char out[ACTOR_BYTES])
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (!conn || getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return SLICE("unknown");
    if (!name_of_uid(out, peer.uid))
        snprintf(out, ACTOR_BYTES, "uid %u", (unsigned)peer.uid);
    return slice_of(out);
}

enum mq_code peer_check(struct slice name, struct mq_err *err)
{
    if (name.len == 0 || name.len >= ACTOR_BYTES)
        return mq_fail(err, MQ_BADARG, "BY has %zu bytes; a name has 1 to %d", name.len, ACTOR_BYTES - 1);
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.at[i] < ' ' || name.at[i] == 0x7f)
            return mq_fail(err, MQ_BADARG, "BY '%.*s' has a control character in it", QUOTE_ARG(name));
    return MQ_OK;
}
