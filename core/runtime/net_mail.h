/* net_mail.h - what moonq.mail needs of C to write messages: no network here. */
#ifndef MOONQ_RUNTIME_NET_MAIL_H
#define MOONQ_RUNTIME_NET_MAIL_H

#include <lua.h>

/* "mail.base64"(bytes, columns) */
int mail_base64(lua_State *L);
/* "mail.domain"(name): "xn--bcher-kva.example" for "bücher.example"; nil if it is no domain */
int mail_domain(lua_State *L);
/* "mail.stamp"(): "Fri, 06 Mar 2026 09:00:00 +0000", "1f0c..." */
int mail_stamp(lua_State *L);
#endif
