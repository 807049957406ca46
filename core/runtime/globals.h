/*
 * globals.h - what a script may see. This is the whole list; what is not here does not exist for a script.
 *
 * Left out, and why:
 *   io, os.execute, os.getenv, os.exit, os.remove, os.rename, os.tmpname   files and processes are not for handlers
 *   debug, ffi, jit, newproxy, getfenv, setfenv, module, package           each one opens the sandbox
 *   dofile, loadfile, string.dump                                          files and bytecode
 *   math.randomseed                                                        it would make the neighbours' random known
 * Ours instead of LuaJIT's own (sandbox.c, stdlib/moonq/_prelude.lua): load, loadstring (text only), require,
 * print (a log line), collectgarbage ("count" only), coroutine (a host call inside one may wait).
 */
#ifndef MOONQ_RUNTIME_GLOBALS_H
#define MOONQ_RUNTIME_GLOBALS_H

static const struct allowed {
    const char *library; /* NULL: globals themselves */
    const char *names;
} globals_allowed[] = {
    {NULL,
     "_VERSION assert error getmetatable ipairs next pairs pcall rawequal rawget rawset select setmetatable "
     "tonumber tostring type unpack xpcall"},
    {"string", "byte char find format gmatch gsub len lower match rep reverse sub upper"},
    {"table", "concat foreach foreachi getn insert maxn move remove sort"},
    {"math",
     "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi "
     "pow rad random sin sinh sqrt tan tanh"},
    {"os", "clock date difftime time"},
    {"bit", "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex"},
};
#endif
