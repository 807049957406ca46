/*
 * posix.h - the few POSIX calls that the command line and the testing helper need: the Lua module `moonq_posix`.
 *
 *   posix.spawn{ program, argument..., env = { NAME = "value" or false }, cwd =, stdin =, stdout =, stderr = }
 *        -> pid | nil, message. Files are paths: stdin is read (default /dev/null), the others are appended to
 *        (default: ours). The child gets SIGKILL when its parent dies: nothing outlives a test that was killed.
 *   posix.kill(pid, signal)             -> true | nil, message. A name ("TERM") or a number.
 *   posix.wait(pid, timeout_s)          -> "exit", status | "signal", number | nil (still running)
 *   posix.ended(pid, timeout_s)         -> boolean: any process, also one that is not our child
 *   posix.watch(path)                   -> watch | nil, message. watch:wait(timeout_s, pid): "changed", "ended" (the
 *                                          process is gone) or nil; begin to watch first, then read the file.
 *   posix.mkdir(path)                      with its parents -> true | nil, message
 *   posix.mkdtemp(prefix)               -> path
 *   posix.remove_tree(path)             -> true | nil, message
 *   posix.list(path)                    -> names, sorted | nil, message
 *   posix.stat(path)                    -> "file" | "folder" | "socket" | "other" | nil, size
 *   posix.realpath(path)                -> path | nil, message
 *   posix.cwd(), posix.pid(), posix.now() (unix seconds), posix.monotonic() (seconds)
 *   posix.is_terminal(fd), posix.columns()
 *   posix.catch_interrupt()                from now on SIGINT only sets a flag and ends waiting
 *   posix.interrupted()                 -> boolean; clears the flag
 *
 * Built into the binary and, alone, as a shared module; it includes nothing of core.
 */
#ifndef MOONQ_RUNTIME_POSIX_H
#define MOONQ_RUNTIME_POSIX_H

#include <lua.h>

int luaopen_moonq_posix(lua_State *L);
#endif
