--- What the specs of this folder share: attacks as rows, each run by a real worker that runs neighbours too.
---
---     attack.suite("a bomb of memory", {
---       { "in a string", run = [[return ("x"):rep(1e9)]], dead = { "SCRIPT", "not enough memory" } },
---     })
---
--- All rows of a suite share one server with one worker. Around each, a neighbour waits in that worker, and afterwards
--- a fresh job is pushed: both must succeed, and the neighbour must have been charged nothing.

local assert = require "luassert"
local busted = require "busted"
local support = require "support"

local M = {}

local config = [[return {
  cancel_grace = "200ms", timeout_grace = "50ms", silence_max = "%s", stop_grace = "3s", result_max = "64KiB",
  pools = { default = { workers = 1, concurrency = 12, memory = "32MiB" } } }]]

-- Waits until it is let go by another job of its type in its worker. If the worker is replaced meanwhile nobody can
-- tell it: hence the limit.
local neighbour = [[
  local time = require "moonq.time"
  local let_go = {}
  return { timeout = "1h", run = function(job)
    if job.args.let_go then
      let_go[job.args.let_go] = true
      return "fresh"
    end
    job:progress(0, "it waits")
    local latest = time.mono() + 2
    while not let_go[job.args.name] and time.mono() < latest do
      time.sleep(0.01)
    end
    return "waited"
  end }
]]

--- A server with handlers by type: { ["a.b"] = text }, and other files by path.
function M.start(handlers, opts)
  opts = opts or {}
  local files = {
    ["moonq.lua"] = config:format(opts.silence_max or "10s"),
    ["handlers/neighbour.lua"] = neighbour,
  }
  for name, text in pairs(handlers) do
    files["handlers/" .. name:gsub("%.", "/") .. ".lua"] = text
  end
  for path, text in pairs(opts.files or {}) do
    files[path] = text
  end
  return support.start({ files = files, env = opts.env })
end

--- Runs `fn` while a neighbour waits; afterwards the neighbour and a fresh job succeed, and nobody was charged.
function M.among_neighbours(server, name, fn)
  local waiting = server.client:push("neighbour", { name = name })
  server:await("job.progress", waiting)
  local answer = fn()
  local fresh = server.client:push("neighbour", { let_go = name })
  assert.equal("fresh", server.client:wait(fresh).result)
  assert.equal("waited", server.client:wait(waiting).result)
  for _, id in ipairs({ waiting, fresh }) do
    local job = server.client:job(id)
    assert.equal(1, job.attempt)
    assert.equal(0, job.crashes)
  end
  return answer
end

local function handler_text(row)
  return ("%s\nreturn { attempts = 1, %s, run = function(job)\n%s\nend }"):format(row.top or "",
    row.declare or 'timeout = "20s"', row.run)
end

-- `dead` of a row: { code, part of the message }, or a list of those.
local function is_expected(dead, last)
  if type(dead[1]) == "string" then
    return last.code == dead[1] and tostring(last.message):find(dead[2], 1, true) ~= nil
  end
  for _, other in ipairs(dead) do
    if is_expected(other, last) then
      return true
    end
  end
  return false
end

local function check(row, answer, job)
  local last = job.attempts[#job.attempts]
  local said = ("%s: %s"):format(tostring(last.code), tostring(last.message))
  if row.dead then
    assert.equal("dead", answer.state, "it succeeded: " .. tostring(job.result))
    assert.truthy(row.any_code or is_expected(row.dead, last), said)
  else
    assert.equal("succeeded", answer.state, said)
    assert.truthy(row.any or answer.result == row.result or pcall(assert.same, row.result, answer.result),
      "its result: " .. tostring(job.result))
  end
end

--- One `it` for each row: { sentence, run = text, [top =, declare =, files =, args =], result = value or dead = { code,
--- message }, [prepare = fun(server), verify = fun(server, job)] }.
function M.suite(subject, rows, opts)
  opts = opts or {}
  busted.describe(subject, function()
    local server
    busted.setup(function()
      local handlers, files = {}, {}
      for path, text in pairs(opts.files or {}) do
        files[path] = text
      end
      for i, row in ipairs(rows) do
        handlers["attack" .. i] = handler_text(row)
        for path, text in pairs(row.files or {}) do
          files[path] = text
        end
      end
      server = M.start(handlers, { files = files, silence_max = opts.silence_max, env = opts.env })
      for _, row in ipairs(rows) do
        if row.prepare then
          row.prepare(server)
        end
      end
    end)
    busted.teardown(support.stop_all)

    for i, row in ipairs(rows) do
      busted.it(row[1], function()
        local id
        local answer = M.among_neighbours(server, row[1], function()
          local args = type(row.args) == "function" and row.args() or row.args or {}
          id = server.client:push("attack" .. i, args)
          return server.client:wait(id)
        end)
        local job = server.client:job(id)
        check(row, answer, job)
        if row.verify then
          row.verify(server, job)
        end
      end)
    end
  end)
end

return M
