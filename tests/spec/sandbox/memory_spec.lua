-- Handlers that want all memory, or all of a stack. The worker's Lua has 32 MiB.

local attack = require "sandbox.attack"

-- Compiled code that goes on allocating is not told, but ended with its worker.
local none_left = { { "SCRIPT", "not enough memory" }, { "CRASH", "exit status 12" } }
local overflow = { "SCRIPT", "stack overflow" }

attack.suite("a bomb of memory", {
  { "in one string.rep", dead = none_left, run = [[return ("x"):rep(1e9)]] },
  { "in one string.rep of the largest size", dead = none_left, run = [[return ("x"):rep(2 ^ 31 - 1)]] },
  { "in the separator of string.rep", dead = none_left, run = [[return ("x"):rep(1e7, ("y"):rep(1000))]] },
  { "in a string that is doubled", dead = none_left, run = [[
    local s = "x"
    while true do s = s .. s end]] },
  { "in a string that grows by one, many times", dead = none_left, run = [[
    local t, s = {}, ("x"):rep(1e4)
    while true do
      s = s .. "x"
      t[#t + 1] = s
    end]] },
  { "in a table", dead = none_left, run = [[
    local t = {}
    for i = 1, 1e9 do t[i] = i end]] },
  { "in tables of tables", dead = none_left, run = [[
    local t = {}
    while true do t = { t, t, t } end]] },
  { "in a table's hash part", dead = none_left, run = [[
    local t = {}
    for i = 1, 1e9 do t["k" .. i] = true end]] },
  { "in a table with 2^26 places", dead = none_left, run = [[
    return #{ unpack(setmetatable({}, { __index = function() return 1 end }), 1, 7000) }, (function()
      local t = {}
      for i = 2 ^ 26, 1, -1 do t[i] = true end
    end)()]] },
  { "in table.concat", dead = none_left, run = [[
    local t = {}
    for i = 1, 1000 do t[i] = ("x"):rep(1000) end
    return table.concat(t, ("y"):rep(1e6))]] },
  { "in string.gsub", dead = none_left, run = [[return (("x"):rep(1e6)):gsub("x", ("y"):rep(1e4))]] },
  { "in string.gsub with captures", dead = none_left, run = [[
    return (("x"):rep(1e5)):gsub("(.*)", ("%1"):rep(1e5))]] },
  { "in the width of string.format", dead = { "SCRIPT", "" }, run = [[return ("%99999999d"):format(1)]] },
  { "in the arguments of string.format", dead = none_left, run = [[
    local s = ("x"):rep(1e6)
    local t = {}
    for i = 1, 100 do t[i] = s end
    return (("%s"):rep(100)):format(unpack(t))]] },
  { "in string.byte's results", dead = { { "SCRIPT", "string slice too long" }, none_left }, run = [[
    return { (("x"):rep(1e7)):byte(1, -1) }]] },
  { "in string.char and unpack", dead = { "SCRIPT", "too many results to unpack" }, run = [[
    return string.char(unpack({}, 1, 1e7))]] },
  { "in upvalues of closures", dead = none_left, run = [[
    local all = {}
    while true do
      local s = tostring(#all) .. ("x"):rep(100)
      all[#all + 1] = function() return s end
    end]] },
  { "in a million coroutines", dead = none_left, run = [[
    local all = {}
    for i = 1, 1e6 do
      all[i] = coroutine.create(function() coroutine.yield() end)
      coroutine.resume(all[i])
    end]] },
  { "in coroutines within coroutines", dead = { "SCRIPT", "" }, run = [[
    local function deeper() return coroutine.wrap(deeper)() end
    return deeper()]] },
  { "in the stacks of coroutines", dead = none_left, run = [[
    local function deep(n) if n == 0 then coroutine.yield() end return (deep(n - 1)) end
    local all = {}
    for i = 1, 1e6 do
      all[i] = coroutine.wrap(deep)
      all[i](1000)
    end]] },
  { "in the text that load gets", dead = none_left, run = [[
    return load(function() return ("local x = 1 "):rep(1e4) end)]] },
  { "in the constants of a chunk", dead = { "SCRIPT", "" }, run = [[
    local parts = {}
    for i = 1, 1e6 do parts[i] = ("'%d'"):format(i) end
    return assert(load("return {" .. table.concat(parts, ",") .. "}"))]] },
  { "in the nesting of a chunk", dead = { "SCRIPT", "too many syntax levels" }, run = [[
    return assert(load(("("):rep(1e5) .. "1" .. (")"):rep(1e5)))]] },
  { "in code that load compiles again and again", dead = none_left, run = [[
    local all = {}
    for i = 1, 1e7 do all[i] = assert(load("return function(a) return a + " .. i .. " end"))() end]] },
  { "in JSON that is encoded", dead = { "TOOBIG", "limit" }, top = [[local json = require "moonq.json"]], run = [[
    local t = { ("x"):rep(1e5) }
    for _ = 1, 12 do t = { t, t, t } end
    return #json.encode(t)]] },
  { "in JSON that is a tree of shared branches", dead = { "TOOBIG", "limit" },
    top = [[local json = require "moonq.json"]], run = [[
    local t = {}
    for _ = 1, 90 do t = { t, t } end
    return #json.encode(t)]] },
  { "in JSON that is decoded", dead = none_left, top = [[local json = require "moonq.json"]], run = [[
    local all = {}
    while true do all[#all + 1] = json.decode("[" .. ("[1],"):rep(1e5) .. "1]") end]] },
  { "while it holds what errors say", dead = none_left, run = [[
    local all = {}
    while true do all[#all + 1] = select(2, pcall(error, ("x"):rep(1e5) .. #all)) end]] },
  { "that swallows its errors", declare = 'timeout = "200ms"', dead = { { "TIMEOUT", "" }, none_left }, run = [[
    local all = {}
    while true do pcall(function() while true do all[#all + 1] = ("x"):rep(1000) .. #all end end) end]] },
})

attack.suite("a bomb of the stack", {
  { "in a function", dead = overflow, run = [[
    local function f() return 1 + f() end
    return f()]] },
  { "through pcall", result = "caught", run = [[
    local function f() return pcall(f) end
    f()
    return "caught"]] },
  { "through pcall, with something to do after it", result = "caught", run = [[
    local function f() local ok, why = pcall(f) return ok, why end
    f()
    return "caught"]] },
  { "through xpcall, with a handler that overflows too", result = "caught", run = [[
    local function f() return 1 + f() end
    xpcall(f, f)
    return "caught"]] },
  { "through metamethods", dead = overflow, run = [[
    local t = setmetatable({}, {})
    getmetatable(t).__index = function(_, k) return t[k] .. "x" end
    return t.x]] },
  { "through __tostring", dead = { "SCRIPT", "" }, run = [[
    local mt = {}
    mt.__tostring = function(t) return "x" .. tostring(t) end
    return tostring(setmetatable({}, mt))]] },
  { "through __tostring and string.format", dead = { "SCRIPT", "" }, run = [[
    local mt = {}
    mt.__tostring = function(t) return ("%s"):format(t) end
    return tostring(setmetatable({}, mt))]] },
  { "through string.gsub", dead = { "SCRIPT", "" }, run = [[
    local function f(s) return (s:gsub(".", f)) end
    return f("x")]] },
  { "through string.gsub and pcall", run = [[
    local function f(s) pcall(string.gsub, s, ".", f) return "x" end
    return f("x")]], result = "x" },
  { "through table.sort", dead = { "SCRIPT", "" }, run = [[
    local function f() table.sort({ 2, 1 }, f) return false end
    return f()]] },
  { "through load's reader", dead = { "SCRIPT", "" }, run = [[
    local function f() load(f) end
    return f()]] },
  { "through table.foreach", dead = { "SCRIPT", "" }, run = [[
    local function f() table.foreach({ 1 }, f) end
    return f()]] },
  { "through require", dead = { "SCRIPT", "requires itself" }, run = [[return require "round"]],
    files = { ["lib/round.lua"] = [[return require "round"]] } },
  { "of a pattern", dead = { "SCRIPT", "pattern too complex" }, run = [[
    return (("x"):rep(1e6)):find((".?"):rep(1e6) .. "y")]] },
  { "of a pattern's captures", dead = { "SCRIPT", "too many captures" }, run = [[
    return ("x"):find(("("):rep(1000) .. "x" .. (")"):rep(1000))]] },
  { "of arrays in JSON", result = "refused", top = [[local json = require "moonq.json"]], run = [[
    local value = json.decode(("["):rep(1e6) .. ("]"):rep(1e6))
    return value == nil and "refused" or "taken"]] },
  { "of objects in JSON", result = "refused", top = [[local json = require "moonq.json"]], run = [[
    local value = json.decode(('{"a":'):rep(1e5) .. "1" .. ("}"):rep(1e5))
    return value == nil and "refused" or "taken"]] },
  { "of tables that become JSON", dead = { "BADARG", "nested more than" },
    top = [[local json = require "moonq.json"]], run = [[
    local t = {}
    for _ = 1, 1e5 do t = { t } end
    return json.encode(t)]] },
  { "of arguments", dead = { "SCRIPT", "" }, run = [[
    local t = {}
    for i = 1, 1e6 do t[i] = i end
    return math.max(unpack(t))]] },
  { "of varargs that grow", dead = { "SCRIPT", "" }, run = [[
    local function f(...) return f(1, ...) end
    return f()]] },
})
