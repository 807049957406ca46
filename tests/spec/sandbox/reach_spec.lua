-- Handlers that reach for what is not theirs: libraries, shared tables, bytecode, environments, files.

local attack = require "sandbox.attack"
local support = require "support"

local function read_only(name)
  return { "SCRIPT", ("cannot set '%s': this table is read-only"):format(name) }
end

local no_table = { "SCRIPT", "table expected, got userdata" }

attack.suite("what does not exist in the sandbox", {
  { "is io, debug, ffi, jit, package, and what else opens it", result = "none", run = [[
    for _, name in ipairs({ "io", "debug", "ffi", "jit", "package", "module", "dofile", "loadfile", "newproxy",
      "getfenv", "setfenv", "gcinfo", "arg", "_host", "_ENV", "bit32", "utf8", "socket", "posix" }) do
      local value = load("return " .. name)()
      if value ~= nil or _G[name] ~= nil then return name end
    end
    return "none"]] },
  { "are the parts of libraries that reach out", result = "none", run = [[
    for library, names in pairs({
      os = "execute exit getenv remove rename tmpname setlocale", string = "dump buffer", math = "randomseed",
      table = "clear new", coroutine = "isyieldable close", bit = "ffi" }) do
      for name in names:gmatch("%S+") do
        if _G[library][name] ~= nil then return library .. "." .. name end
      end
    end
    return "none"]] },
  { "is package.loaded, by any way", result = "none", run = [[
    return package == nil and _G.package == nil and not pcall(require, "package.loaded") and "none"]] },
  { "is the environment of the process", result = "none", run = [[
    local ok = pcall(function() return os.getenv("PATH") end)
    return ok and "os.getenv" or "none"]] },
  { "is the debug library's way to upvalues through error messages and tostring", result = "none", run = [[
    for _, value in ipairs({ tostring(print), tostring(string), tostring(job), tostring(require), tostring(_G) }) do
      if value:find("/") or value:find("%.lua") then return value end
    end
    return "none"]] },
  { "is a collector that a handler may stop", dead = { "SCRIPT", "count" }, run = [[collectgarbage("stop")]] },
  { "is __gc for tables", result = "never", run = [[
    local says = "never"
    for _ = 1, 1e5 do setmetatable({}, { __gc = function() says = "called" error("in __gc") end }) end
    return says]] },
  { "is __mode, __metatable or __index for what is shared", result = "none", run = [[
    for _, shared in ipairs({ string, table, math, os, bit, coroutine, moonq, _G, job, require("moonq.json") }) do
      if getmetatable(shared) ~= false then return tostring(shared) end
      if pcall(setmetatable, shared, { __index = {} }) then return tostring(shared) end
    end
    return getmetatable("") == false and "none" or "string"]] },
})

attack.suite("a table that all share", {
  { "takes no assignment: string", dead = read_only("upper"), run = [[string.upper = string.lower]] },
  { "takes no assignment: _G", dead = read_only("print"), run = [[_G.print = nil]] },
  { "takes no assignment: moonq", dead = read_only("permanent"), run = [[moonq.permanent = function() end]] },
  { "takes no assignment: coroutine", dead = read_only("resume"), run = [[coroutine.resume = nil]] },
  { "takes no assignment: a module", dead = read_only("get"), run = [[require("moonq.http").get = print]] },
  { "takes no new global", dead = { "SCRIPT", "assign to undeclared global 'mine'" }, run = [[mine = 1]] },
  { "takes no new global from a chunk that it loads", dead = { "SCRIPT", "assign to undeclared global 'mine'" },
    run = [[load("mine = 1")()]] },
  { "takes no rawset", dead = no_table, run = [[rawset(string, "rep", print)]] },
  { "takes no rawset: _G", dead = no_table, run = [[rawset(_G, "print", print)]] },
  { "gives no rawget", dead = no_table, run = [[return rawget(_G, "print")]] },
  { "takes no table.insert", dead = no_table, run = [[table.insert(string, print)]] },
  { "takes no table.sort", dead = no_table, run = [[table.sort(table, function() return true end)]] },
  { "takes no table.remove", dead = no_table, run = [[table.remove(math)]] },
  { "is not walked by next", dead = no_table, run = [[next(string)]] },
  { "is not walked by pairs and changed on the way", dead = no_table, run = [[
    for name in pairs(os) do os[name] = nil end]] },
  { "is not unpacked, joined or measured", result = "none", run = [[
    for _, fn in ipairs({ unpack, table.concat, table.maxn, table.getn, ipairs, function(t) return #t end }) do
      if pcall(fn, string) then return "one" end
    end
    return "none"]] },
  { "is the same for strings' methods", dead = { "SCRIPT", "" }, run = [[("").upper = print]] },
  { "is not reached by a string's index of any kind", result = "none", run = [[
    for _, key in ipairs({ "__index", "__metatable", 1, "dump" }) do
      if ("x")[key] ~= nil then return tostring(key) end
    end
    return "none"]] },
  { "stays as it is for the next handler", result = "AX", run = [[
    for _, try in ipairs({ "string.upper = nil", "rawset(string, 'rep', nil)", "_G.string = {}", "string = {}",
      "getmetatable('').__index.upper = nil", "setmetatable(string, {})", "table.insert(_G, 1)" }) do
      pcall(load(try))
    end
    return ("a"):upper() .. ("X"):rep(1)]] },
  { "has the metatable of errors locked", dead = { "SCRIPT", "cannot change a protected metatable" }, run = [[
    local _, err = pcall(moonq.permanent, "x")
    setmetatable(err, { __index = function() end })]] },
  { "has the mark of JSON lists locked", dead = { "SCRIPT", "cannot change a protected metatable" }, run = [[
    setmetatable(require("moonq.json").array({}), nil)]] },
  { "has no key that a copy of a module's table shares", result = "apart", run = [[
    local one, other = require("moonq.json").array(), require("moonq.json").array()
    one.x = 1
    return other.x == nil and "apart" or "shared"]] },
})

attack.suite("code that a handler loads", {
  { "is no bytecode", result = { "bytecode is refused: only text can be loaded" }, run = [[
    return { (select(2, load("\27LJ\2\0\0\0"))) }]] },
  { "is no bytecode of plain Lua", result = { "bytecode is refused: only text can be loaded" }, run = [[
    return { (select(2, loadstring("\27LuaQ\0\1\4\8\4\8\0"))) }]] },
  { "is no bytecode in pieces", result = { "bytecode is refused: only text can be loaded" }, run = [[
    local pieces = { "\27", "LJ\2", "\0" }
    local n = 0
    return { (select(2, load(function() n = n + 1 return pieces[n] end))) }]] },
  { "is no bytecode behind a shell's line", result = "refused", run = [[
    return load("#!/usr/bin/luajit\n\27LJ\2\0") == nil and "refused"]] },
  { "is no bytecode by its mode", result = { "bytecode is refused: only text can be loaded" }, run = [[
    return { (select(2, load("return 1", "x", "b"))) }]] },
  { "has no more globals than the handler", result = "none", run = [[
    return load("return io or debug or getfenv or _host or package")() == nil and "none"]] },
  { "has no more globals in an environment of its own", result = "none", run = [[
    local env = setmetatable({}, { __index = function(_, name) return nil end })
    return load("return print or string or io", "x", "t", env)() == nil and ("x").dump == nil and "none"]] },
  { "does not get the environment of a module by its name", result = "none", run = [[
    return load("return _host", "@moonq/http.lua")() == nil and load("return _host", "=[C]")() == nil and "none"]] },
  { "lies about its file in errors, and nobody minds", dead = { "SCRIPT", "moonq/http.lua:1" }, run = [[
    load("error('x')", "@moonq/http.lua")()]] },
  { "may have a name of any size", dead = { "SCRIPT", "" }, run = [[
    load("error('x')", ("n"):rep(1e6) .. "\0\27[31m\n")()]] },
})

local function refused_names()
  local names = {
    "../x", "..", ".", "/etc/passwd", "/etc/hostname", "lib/../../x", "a/b", "a\\b", "a..b", ".a", "a.", "", "a.b\0c",
    "a b", "a\nb", "~root", "%2e%2e", "moonq._prelude", "moonq.-x", "moonq/http", "moonq..http", ("x"):rep(300),
  }
  local list = {}
  for i, name in ipairs(names) do
    list[i] = ("%q"):format(name):gsub("\n", "n"):gsub("%z", "\\0")
  end
  return table.concat(list, ", ")
end

attack.suite("require", {
  { "takes no path for a name", result = "none", run = ([[
    for _, name in ipairs({ %s }) do
      local ok, why = pcall(require, name)
      if ok or not tostring(why):find("is not allowed", 1, true) then return name .. tostring(why) end
    end
    return "none"]]):format(refused_names()) },
  { "knows none of LuaJIT's modules", result = "none", run = [[
    for _, name in ipairs({ "ffi", "jit", "jit.util", "jit.opt", "string.buffer", "table.new", "table.clear", "debug",
      "package", "io", "os", "cjson", "bit", "_G", "socket", "lfs", "posix", "handlers.neighbour", "init" }) do
      if pcall(require, name) then return name end
    end
    return "none"]] },
  { "gives none of the modules that are for programs outside", result = "none", run = [[
    for _, name in ipairs({ "moonq.cli", "moonq.cli.main", "moonq.cli.server", "moonq.cli.application",
      "moonq.cli.output", "moonq.cli.push", "moonq.cli.dead", "moonq.cli.bulk", "moonq.client", "moonq.testing",
      "moonq_redis", "moonq_posix", "moonq_binary" }) do
      local ok, why = pcall(require, name)
      if ok then return name end
      local _, again = pcall(require, name)
      if why ~= again then return tostring(again) end
    end
    return "none"]] },
  { "gives no module a table that leads to the host calls", result = "none", run = [[
    local function look(value, depth)
      if type(value) ~= "table" or depth > 4 then return end
      for name, inner in pairs(value) do
        if name == "_host" or name == "http_request" or name == "error_meta" then return name end
        local found = look(inner, depth + 1)
        if found then return found end
      end
    end
    for _, name in ipairs({ "moonq", "moonq.http", "moonq.smtp", "moonq.mail", "moonq.job", "moonq.json", "moonq.log",
      "moonq.retry", "moonq.time", "moonq.uuid", "moonq.duration", "moonq.cli.filter", "moonq.cli.skeleton" }) do
      local ok, module = pcall(require, name)
      if ok then
        for _, key in ipairs({ "_host", "host", "error_meta", "raise", "null" }) do
          if type(module) ~= "boolean" and module[key] ~= nil and not (name == "moonq.json" and key == "null") then
            return name .. "." .. key
          end
        end
        if look(module, 0) then return name end
      end
    end
    return "none"]] },
  { "follows no link out of the application", dead = { "SCRIPT", "lib/passwd.lua" }, run = [[return require "passwd"]],
    prepare = function(server)
      support.run({ "/bin/ln", "-s", "/etc/passwd", server.app .. "/lib/passwd.lua" })
    end },
  { "reads no device", dead = { "SCRIPT", "lib/zero.lua" }, run = [[return require "zero"]],
    prepare = function(server)
      support.run({ "/bin/ln", "-s", "/dev/zero", server.app .. "/lib/zero.lua" })
    end },
  { "waits for no pipe", dead = { "SCRIPT", "lib/pipe.lua" }, run = [[return require "pipe"]],
    prepare = function(server)
      support.run({ "/usr/bin/mkfifo", server.app .. "/lib/pipe.lua" })
    end },
  { "loads no bytecode from lib", dead = { "SCRIPT", "bytecode is refused" }, run = [[return require "code"]],
    files = { ["lib/code.lua"] = "\27LJ\2\0\0" } },
  { "loads no directory", dead = { "SCRIPT", "" }, run = [[return require "folder"]],
    files = { ["lib/folder.lua/x"] = "" } },
  { "tells of a broken module as often as it is asked", result = "same", run = [[
    local _, first = pcall(require, "broken")
    local _, second = pcall(require, "broken")
    return first == second and first:find("not today", 1, true) and "same" or second]],
    files = { ["lib/broken.lua"] = [[error("not today")]] } },
})
