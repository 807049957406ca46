--- The files of a new application: what `moonq init` writes.

local files = {}

files["moonq.lua"] = [[
-- The configuration: a table. Everything has a default; docs/configuration.md lists all settings.
return {
  -- How many worker processes run handlers, and how many jobs each runs at once. A pool names the queues it serves;
  -- "*" is every queue that no other pool names.
  pools = {
    default = { workers = 2, concurrency = 100, queues = { "*" } },
  },

  -- attempts = 25,        -- of a job whose handler says nothing else
  -- timeout = "10m",      -- one attempt
  -- keep = "1h",          -- finished jobs stay so long, with their result
  -- dead_keep = "180d",   -- dead letters stay so long
}
]]

files["handlers/hello.lua"] = [[
-- The handler of job type "hello". handlers/email/send.lua would be the one of "email.send".
--
--   moonq push hello '{"name": "Ana"}' --wait 5s
local greeting = require "greeting"

return {
  timeout = "30s",
  attempts = 5,
  retry = "patient", -- retries/patient.lua

  -- A raised error fails the attempt, and the retry policy says when the next one is. What is returned is the job's
  -- result.
  run = function(job)
    local text = greeting.of(job.args.name or "world")
    job:log(text)
    return { text = text }
  end,
}
]]

files["schedules.lua"] = [[
-- Jobs that come by time: a list of entries. docs/cron.md has the grammar of expressions and all options.
--
--   moonq cron next '0 9 * * 1-5' --tz Europe/Berlin    which moments an expression names
--   moonq cron list                                     what is planned
--   moonq cron history good-morning                     what became of each moment
return {
  -- {
  --   name = "good-morning",
  --   cron = "0 9 * * MON-FRI", -- minute, hour, day of month, month, weekday; or "@every 90s", "@daily" ...
  --   tz = "Europe/Berlin",     -- "UTC", if it is not said
  --   type = "hello",           -- of the job: handlers/hello.lua
  --   args = { name = "Ana" },  -- or function(schedule) return { ... } end, called at each moment
  --   catch_up = "once",        -- the server was down at 9:00? One job when it is back, up to `within` later
  --   within = "2h",
  --   overlap = "skip",         -- no job beside the one before it, if that has not ended
  -- },
}
]]

files["lib/greeting.lua"] = [[
-- Modules of your own; handlers require them by name.
local greeting = {}

function greeting.of(name)
  return "Hello, " .. name .. "!"
end

return greeting
]]

files["retries/patient.lua"] = [[
-- A retry policy: how many seconds until the next attempt, or "dead", or "discard". It must not change anything.
-- Policies that come with moonq: default (what is used if none is named), exponential, fixed, linear, polynomial, list.
return function(job, err)
  return 10 * job.attempt -- 10s, 20s, 30s, ...
end
]]

files["spec/hello_spec.lua"] = [[
-- Run with busted, in this folder. moonq.testing is part of the rock `moonq`; it starts a real server and stops it.
local testing = require "moonq.testing"

describe("hello", function()
  local server

  setup(function()
    server = testing.start({ app = "." })
  end)

  teardown(function()
    server:stop()
  end)

  it("greets by name", function()
    local id = server.client:push("hello", { name = "Ana" })
    server:await("job.succeeded", id)
    assert.equal("Hello, Ana!", server.client:wait(id).result.text)
  end)
end)
]]

files[".gitignore"] = [[
/data/
/moonq.sock
]]

return files
