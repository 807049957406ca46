-- Handlers that say too much, or strange things: results, errors, logs, progress, children, numbers, times.

local attack = require "sandbox.attack"

local function last(job)
  return job.attempts[#job.attempts]
end

attack.suite("a result", {
  { "that is too large is refused", dead = { "TOOBIG", "limit" }, run = [[return ("x"):rep(70000)]] },
  { "of many small parts that is too large is refused", dead = { "TOOBIG", "limit" }, run = [[
    local t = {}
    for i = 1, 20000 do t[i] = { i } end
    return t]] },
  { "of shared branches without an end is refused", dead = { "TOOBIG", "limit" }, run = [[
    local t = { "x" }
    for _ = 1, 90 do t = { t, t } end
    return t]] },
  { "that is nested too deeply is refused", dead = { "BADARG", "nested more than" }, run = [[
    local t = {}
    for _ = 1, 1e4 do t = { t } end
    return t]] },
  { "that contains itself is refused", dead = { "BADARG", "contains itself" }, run = [[
    local t = {}
    t.t = t
    return t]] },
  { "that is a function is refused", dead = { "BADARG", "function" }, run = [[return print]] },
  { "that is a coroutine is refused", dead = { "BADARG", "thread" }, run = [[return coroutine.create(print)]] },
  { "that is the job is refused", dead = { "BADARG", "userdata" }, run = [[return { job }]] },
  { "that is a library is refused", dead = { "BADARG", "userdata" }, run = [[return string]] },
  { "with a function as a key is refused", dead = { "BADARG", "as a key" }, run = [[return { [print] = 1, a = 2 }]] },
  { "with a table as a key is refused", dead = { "BADARG", "as a key" }, run = [[return { [{}] = 1 }]] },
  { "that is not a number is refused", dead = { "BADARG", "NaN" }, run = [[return { 0 / 0 }]] },
  { "that is infinite is refused", dead = { "BADARG", "infinity" }, run = [[return { x = -math.huge }]] },
  { "that is a list with great holes is refused", dead = { "BADARG", "too many holes" }, run = [[
    return { [1] = 1, [1e9] = 2 }]] },
  { "with a list's key beyond all numbers is refused", dead = { "BADARG", "" }, run = [[
    return { [1] = 1, [1e300] = 2 }]] },
  { "with metamethods is taken without calling them", result = { x = 1 }, run = [[
    local function bang() error("called") end
    return setmetatable({ x = 1 }, { __index = bang, __pairs = bang, __len = bang, __tostring = bang, __call = bang,
      __serialize = bang, __tojson = bang })]] },
  { "that is not text in any encoding is kept as something that can be read", run = [[
    return #("\255\254\0\27[31m\237\160\128") > 0 and "\255\254\0\27[31m\237\160\128" and 1]], result = 1 },
  { "of bytes that are no UTF-8 leaves the job readable", run = [[return "\255\254\0\27[31m\237\160\128"]],
    any = true },
  { "with strange keys leaves the job readable", any = true,
    run = [[return { ["\255\0\n\"\\"] = { ["\r\n+OK"] = "\r\n$-1\r\n" } }]] },
})

attack.suite("an error", {
  { "of many bytes is cut", dead = { "SCRIPT", "xxxx" }, run = [[error(("x"):rep(5e6), 0)]],
    verify = function(_, job)
      assert.is_true(#last(job).message <= 4096)
    end },
  { "table with a message of many bytes is cut", dead = { "SCRIPT", "xxxx" }, run = [[
    error({ message = ("x"):rep(5e6), code = ("C"):rep(5e6) })]], any_code = true,
    verify = function(_, job)
      assert.is_true(#last(job).message <= 4096 and #last(job).code <= 64)
    end },
  { "with bytes of a protocol does not leave its place", dead = { "SCRIPT", "" }, run = [[
    error("\r\n+OK\r\n$3\r\nabc\r\n\255\0\27[2J", 0)]] },
  { "with a code of a protocol's bytes does not leave its place", any_code = true, dead = { "", "" }, run = [[
    error({ code = "OK\r\n+X\0\255", message = "m" })]] },
  { "whose __tostring loops is not asked", dead = { "SCRIPT", "" }, run = [[
    error(setmetatable({}, { __tostring = function() while true do end end }))]] },
  { "whose __tostring raises is not asked", dead = { "SCRIPT", "" }, run = [[
    error(setmetatable({}, { __tostring = function() error("again") end }))]] },
  { "whose __index raises is not asked", dead = { "SCRIPT", "" }, run = [[
    error(setmetatable({}, { __index = function() error("again") end, __metatable = "mine" }))]] },
  { "that contains itself is told of", dead = { "SCRIPT", "" }, run = [[
    local t = {}
    t.t = t
    error(t)]] },
  { "that is nil is told of", dead = { "SCRIPT", "nil" }, run = [[error(nil)]] },
  { "that is a function is told of", dead = { "SCRIPT", "function" }, run = [[error(print)]] },
  { "that is the job is told of", dead = { "SCRIPT", "userdata" }, run = [[error(job)]] },
  { "that is not a number is told of", dead = { "SCRIPT", "" }, run = [[error(0 / 0)]] },
  { "that says CANCELLED does not make it so", dead = { "CANCELLED", "no" }, run = [[
    error({ code = "CANCELLED", message = "no" })]] },
  { "that says CRASH does not make it so", dead = { "CRASH", "no" }, run = [[
    error({ code = "CRASH", message = "no" })]],
    verify = function(_, job)
      assert.equal(0, job.crashes)
    end },
  { "with a delay of nonsense is a plain error", dead = { "SCRIPT", "no" }, run = [[
    error({ message = "no", delay = ({ -1, 0 / 0, 1 / 0, "soon", {}, print })[math.random(6)] })]] },
  { "in an error handler in an error handler is one error", dead = { "SCRIPT", "" }, run = [[
    local function handler() error("again") end
    local ok, why = xpcall(function() xpcall(error, handler) error("x") end, handler)
    error(why, 0)]] },
})

attack.suite("talk without an end", {
  { "in log lines stops at a limit", result = "done", run = [[
    for i = 1, 1e6 do job:log("line " .. i) end
    return "done"]],
    verify = function(_, job)
      assert.is_true(#(job.logs or {}) <= 10001)
    end },
  { "in one log line is cut", result = "done", run = [[
    job:log(("x"):rep(5e6))
    job:log("info", "fields", { x = ("y"):rep(5e6) })
    return "done"]] },
  { "in a log's fields that contain themselves is told of", result = "done", run = [[
    local t = {}
    t.t = t
    job:log("info", "fields", t)
    return "done"]] },
  { "in bytes of a terminal and of a protocol stays a log line", result = "done", run = [[
    job:log("\27]0;owned\7\27[2J\r\n{\"level\":\"error\"}\n\255\0")
    print("\27[2J\n\n{}")
    return "done"]],
    verify = function(server)
      for _, line in ipairs(server:log()) do
        assert.is_nil(line.text, "a line of the log is not JSON: " .. tostring(line.text))
      end
    end },
  { "in progress is thinned out", result = "done", run = [[
    for i = 1, 3e5 do job:progress(i / 3e5, "at " .. i) end
    return "done"]] },
  { "in a note is cut", result = "done", run = [[
    job:progress(0.5, ("x"):rep(5e6) .. "\255")
    return "done"]] },
  { "in a progress that is no fraction is refused", result = "none", run = [[
    for _, fraction in ipairs({ -1, 2, 0 / 0, 1 / 0, -1 / 0 }) do
      if pcall(job.progress, job, fraction) then return tostring(fraction) end
    end
    return "none"]] },
  { "in children stops at a limit, and a handler that swallows it gets no more", result = 10000, run = [[
    local pushed = 0
    for i = 1, 20000 do
      if pcall(job.push, job, "nobody", { i }, { queue = "nobodys" }) then pushed = pushed + 1 end
    end
    return pushed]],
    verify = function(server)
      assert.equal(10000, #server.client:jobs({ queue = "nobodys", limit = 1000 }).jobs * 10)
      server.client:purge("nobodys")
    end },
  { "in one child is refused", dead = { "TOOBIG", "" }, run = [[job:push("nobody", ("x"):rep(2e6))]] },
  { "in children's bytes stops at a limit", dead = { "FULL", "bytes" }, run = [[
    local big = ("x"):rep(1e6)
    for _ = 1, 100 do job:push("nobody", big) end]] },
  { "in children with options of nonsense is refused", result = "none", run = [[
    local bad = { { queue = "a b" }, { queue = "\r\n" }, { priority = 1e9 }, { delay = -1 }, { delay = "soon" },
      { attempts = 0 }, { tags = { "\n" } }, { tags = "x" }, { meta = 1 }, { keep = 0 / 0 }, { at = 1 / 0 }, { x = 1 },
      { 1 }, { timeout = {} }, { token = 1 }, { id = "X" }, { state = "dead" } }
    for i, options in ipairs(bad) do
      if pcall(job.push, job, "neighbour", {}, options) then return i end
    end
    for i, name in ipairs({ "", "a b", "../x", "a\0b", ("x"):rep(1000) }) do
      if pcall(job.push, job, name) then return "name " .. i end
    end
    return "none"]] },
})

attack.suite("a strange value", {
  { "in os.date's format is an error or text", result = "done", run = [[
    for _, format in ipairs({ "%", "%%%", "%Q", "%E", "%Ec", "%O", "%5", ("%c"):rep(5000), "%999999999d", "%\0", "!%",
      "*t\0", ("x"):rep(1e6), "%+", "%e%E%f%F" }) do
      pcall(os.date, format)
      pcall(os.date, format, 1e18)
      pcall(os.date, format, -1e18)
      pcall(os.date, format, 0 / 0)
    end
    return "done"]] },
  { "in os.time's table is an error or a number", result = "done", run = [[
    for _, value in ipairs({ 0, -1, 1e9, -1e9, 1e18, 2 ^ 31, 0 / 0, 1 / 0, "x", {} }) do
      for _, field in ipairs({ "year", "month", "day", "hour", "min", "sec", "isdst" }) do
        local t = { year = 2020, month = 1, day = 1 }
        t[field] = value
        pcall(os.time, t)
      end
    end
    return "done"]] },
  { "in string functions' numbers is an error or text", result = "done", run = [[
    for _, n in ipairs({ 0, -1, 2 ^ 31, 2 ^ 32, 2 ^ 53, -2 ^ 53, 1e300, -1e300, 0 / 0, 1 / 0 }) do
      pcall(string.sub, "abc", n, n)
      pcall(string.byte, "abc", n, n)
      pcall(string.find, "abc", "b", n)
      pcall(string.format, "%d %x %c %5.5s", n, n, n, n)
      pcall(string.char, n)
      pcall(select, n, 1, 2)
      pcall(unpack, {}, n, n)
      pcall(table.remove, { 1 }, n)
      pcall(table.concat, { "a" }, "", n, n)
      pcall(bit.lshift, n, n)
      pcall(bit.tohex, n, n)
      pcall(tostring, n)
      pcall(tonumber, "z", n)
      pcall(math.random, n)
      pcall(math.ldexp, n, n)
    end
    return "done"]] },
  { "in a table.sort that has no order is an error or a list", result = "done", run = [[
    for _ = 1, 50 do
      local t = {}
      for i = 1, 200 do t[i] = math.random(10) end
      pcall(table.sort, t, function() return math.random(2) == 1 end)
      pcall(table.sort, t, function() return true end)
      pcall(table.sort, t, function(a) t[a] = nil return true end)
    end
    return "done"]] },
  { "in JSON's numbers is a number or refused", result = "done", top = [[local json = require "moonq.json"]], run = [=[
    for _, text in ipairs({ "1e999", "-1e999", "1e-999", ("9"):rep(1e5), "0x1", "NaN", "Infinity", "-", "1.",
      ".5", "1e", "0." .. ("0"):rep(1e5) .. "1", "18446744073709551616", "-9223372036854775809", "00", "+1",
      "[1e999,[]]" }) do
      local ok, value = pcall(json.decode, text)
      if ok and value ~= nil then pcall(json.encode, value) end
    end
    return "done"]=] },
  { "in JSON's text is refused or read", result = "done", top = [[local json = require "moonq.json"]], run = [=[
    for _, text in ipairs({ "", "\0", "[", "]", "{", '"', '"\\u"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', "[1,]",
      "{\"a\":1,\"a\":2}", "nul", "[[],", "\255[[]]", "[[]]\0", ('[{"a":[]},'):rep(1e4), "{\"\\u0000\":[]}",
      "[[]]" .. (" "):rep(1e5) }) do
      pcall(json.decode, text)
    end
    return "done"]=] },
  { "in durations and times is refused or read", result = "done", run = [[
    local time, duration = require "moonq.time", require "moonq.duration"
    for _, value in ipairs({ -1, 0 / 0, 1 / 0, 1e300, "1e300s", "999999999999999999999d", "-5s", "5", "", "\0", "1h1h",
      ("9"):rep(1e5) .. "s", "2020-13-40T99:99:99Z", "9999999999999999999", {}, print, true }) do
      pcall(time.sleep, value == 0 / 0 and -1 or (type(value) == "number" and value > 1 and -1) or value)
      pcall(time.iso8601, value)
      pcall(time.parse, value)
      pcall(duration.parse, value)
      pcall(duration.format, value)
      pcall(require("moonq.uuid").v7, value)
      pcall(require("moonq.retry").default, value, value)
    end
    return "done"]] },
})
