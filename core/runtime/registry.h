/* registry.h - values of ours in Lua's registry, where no script gets: each under the address of a variable. */
#ifndef MOONQ_RUNTIME_REGISTRY_H
#define MOONQ_RUNTIME_REGISTRY_H

#include <lua.h>

/* Pushes registry[key]. */
static inline void registry_get(lua_State *L, const char *key)
{
    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

/* registry[key] = the top of the stack, which is taken off. */
static inline void registry_set(lua_State *L, const char *key)
{
    lua_pushlightuserdata(L, (void *)key);
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}
#endif
