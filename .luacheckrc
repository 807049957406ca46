-- `make lint`. Lua 5.1 as LuaJIT speaks it.
std = "luajit"
max_line_length = 120
self = false
exclude_files = { "build", "**/node_modules" }

-- What the sandbox gives to an application's scripts besides the safe part of the library.
files["stdlib"] = { read_globals = { "_host" } } -- the host calls, for our own modules only
files["scripts"] = { read_globals = { "moonq" } }
files["examples"] = { read_globals = { "moonq" } }
files["tests/spec"] = { std = "+busted" }
files["examples/*/spec"] = { std = "+busted" }
