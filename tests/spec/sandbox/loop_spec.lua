-- Handlers that do not end. All have 100 ms; what does not hear of it ends with its worker.

local attack = require "sandbox.attack"

local short = 'timeout = "100ms"'
local over = { "TIMEOUT", "" }

attack.suite("a loop without an end", {
  { "that is compiled", declare = short, dead = over, run = [[while true do end]] },
  { "that is compiled and computes", declare = short, dead = over, run = [[
    local n = 0
    while true do n = n + math.sin(n) end]] },
  { "that cannot be compiled", declare = short, dead = over, run = [[
    local function vararg(...) return select("#", ...) end
    while true do pcall(vararg, string.format("%s", {})) end]] },
  { "inside of pcall", declare = short, dead = over, run = [[
    while true do pcall(function() while true do end end) end]] },
  { "that starts pcalls again and again", declare = short, dead = over, run = [[
    local function swallow() pcall(error) end
    while true do pcall(function() for _ = 1, 1000 do tostring({}) end end) swallow() end]] },
  { "inside of pcalls in pcalls", declare = short, dead = over, run = [[
    local function again(n)
      while true do
        if n > 0 then pcall(again, n - 1) else pcall(string.rep) end
      end
    end
    pcall(again, 20)]] },
  { "in the error handler of xpcall", declare = short, dead = over, run = [[
    xpcall(error, function() while true do end end)]] },
  { "in an error handler that is called when its time is up", declare = short, dead = over, run = [[
    while true do
      xpcall(function() while true do tostring({}) end end, function() while true do end end)
    end]] },
  { "in a coroutine", declare = short, dead = over, run = [[
    coroutine.resume(coroutine.create(function() while true do end end))]] },
  { "in coroutines that pass it on", declare = short, dead = over, run = [[
    while true do
      pcall(coroutine.wrap(function()
        local inner = coroutine.wrap(function() while true do coroutine.yield(tostring({})) end end)
        while true do pcall(inner) end
      end))
    end]] },
  { "of naps that swallows every error", declare = short, dead = over, top = [[local time = require "moonq.time"]],
    run = [[while true do pcall(time.sleep, 0) end]] },
  { "of naps in coroutines that swallow every error", declare = short, dead = over,
    top = [[local time = require "moonq.time"]], run = [[
    while true do
      coroutine.resume(coroutine.create(function() while true do pcall(time.sleep, 0.001) end end))
    end]] },
  { "in __index", declare = short, dead = over, run = [[
    return setmetatable({}, { __index = function() while true do end end }).x]] },
  { "in __index, __newindex and __call that lead to each other", declare = short, dead = over, run = [[
    local t = setmetatable({}, {})
    local mt = getmetatable(t)
    mt.__index = function(_, k) t[k] = k end
    mt.__newindex = function(_, k) t(k) end
    mt.__call = function(_, k) return pcall(function() while true do tostring(k) end end) end
    while true do pcall(function() return t.x end) end]] },
  { "in __concat", declare = short, dead = over, run = [[
    return "x" .. setmetatable({}, { __concat = function() while true do end end })]] },
  { "in __eq", declare = short, dead = over, run = [[
    local mt = { __eq = function() while true do end end }
    return setmetatable({}, mt) == setmetatable({}, mt)]] },
  { "in __lt and __le", declare = short, dead = over, run = [[
    local mt = { __lt = function() while true do end end }
    return setmetatable({}, mt) <= setmetatable({}, mt)]] },
  { "in __tostring, called by string.format", declare = short, dead = over, run = [[
    return ("%s"):format(setmetatable({}, { __tostring = function() while true do end end }))]] },
  { "in __tostring, called by print", declare = short, dead = over, run = [[
    print(setmetatable({}, { __tostring = function() while true do end end }))]] },
  { "of __index tables that lead to each other", declare = short, dead = { "SCRIPT", "loop in gettable" }, run = [[
    local a, b = {}, {}
    setmetatable(a, { __index = b })
    setmetatable(b, { __index = a })
    return a.x]] },
  { "in the order that table.sort asks for", declare = short, dead = over, run = [[
    table.sort({ 3, 1, 2 }, function() while true do end end)]] },
  { "in what string.gsub calls", declare = short, dead = over, run = [[
    return ("aaa"):gsub("a", function() while true do end end)]] },
  { "in what string.gsub calls, which swallows errors", declare = short, dead = over, run = [[
    while true do
      pcall(string.gsub, "aaa", "a", function()
        while true do pcall(function() while true do tostring({}) end end) end
      end)
    end]] },
  { "in the reader that load calls", declare = short, dead = over, run = [[
    load(function() while true do end end)]] },
  { "in an iterator", declare = short, dead = over, run = [[
    for _ in function() return 1 end do end]] },
  { "of tail calls", declare = short, dead = over, run = [[
    local function again(n) return again(n + 1) end
    return again(1)]] },
  { "of goto", declare = short, dead = over, run = [[
    ::again:: goto again]] },
  { "of a pattern that tries all ways", declare = short, dead = over, run = [[
    return (("a"):rep(3000)):find((".-"):rep(20) .. "b")]] },
  { "of string.rep, which is one call of C", declare = short, dead = over, run = [[
    while true do (("x"):rep(1e6)) :find("y") end]] },
  { "of table.insert, which moves two billion places", declare = short, dead = over, run = [[
    table.insert({}, -2 ^ 31, 1)]] },
  { "in a module that it requires", declare = short, dead = over, run = [[require "endless"]],
    files = { ["lib/endless.lua"] = [[while true do pcall(function() while true do tostring({}) end end) end]] } },
})

describe("a loop that swallows every error", function()
  local support = require "support"
  local server
  setup(function()
    server = attack.start({
      naps = [[
        local time = require "moonq.time"
        return { timeout = "1h", run = function(job)
          job:progress(0, "begun")
          while true do pcall(time.sleep, 0) end
        end }]],
      spins = [[
        return { timeout = "1h", run = function(job)
          job:progress(0, "begun")
          while true do pcall(function() while true do tostring({}) end end) end
        end }]],
    })
  end)
  teardown(support.stop_all)

  for _, name in ipairs({ "naps", "spins" }) do
    it("is ended by a cancel: " .. name, function()
      attack.among_neighbours(server, name, function()
        local id = server.client:push(name)
        server:await("job.progress", id)
        server.client:cancel(id, "enough")
        assert.equal("cancelled", server.client:wait(id).state)
      end)
    end)
  end
end)
