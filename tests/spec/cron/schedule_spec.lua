local json = require "moonq.client.json"
local support = require "support"

local files = {
  ["moonq.lua"] = "return { stop_grace = '100ms', pools = { default = { workers = 1, concurrency = 4 } } }",
  ["handlers/tick.lua"] = [[
    return { run = function(job)
      local schedule = job.schedule or {}
      return { name = schedule.name, at = schedule.planned_at, n = job.args.n }
    end }
  ]],
}

local function start(more)
  local all = {}
  for name, text in pairs(files) do
    all[name] = text
  end
  for name, text in pairs(more or {}) do
    all[name] = text
  end
  return support.start({ files = all })
end

local function outcomes(server, name)
  local list = {}
  for _, row in ipairs(server.client:history(name, { limit = 1000 }).ticks) do
    table.insert(list, 1, row)
  end
  return list
end

-- No moment stands twice in the ledger, and none but the newest few are missing between its first and its last.
local function assert_each_moment_once(server, name, every)
  local moments, first, last = {}, nil, nil
  for _, row in ipairs(outcomes(server, name)) do
    for moment = row.planned, row["until"], every do
      assert.is_nil(moments[moment], "decided twice")
      moments[moment] = row.outcome
      first, last = first or moment, moment
    end
  end
  for moment = first, last, every do
    assert.is_truthy(moments[moment], "a moment was forgotten")
  end
end

describe("a schedule", function()
  after_each(support.stop_all)

  it("pushes a job at each of its moments, and the job says which", function()
    local server = start()
    local entry = server.client:set_schedule("fast", "@every 200ms", "tick", { n = 7 })
    assert.equal("active", entry.state)
    local fired = server:await("schedule.fired")
    assert.equal("fast", fired.schedule)
    assert.equal(entry.next, fired.planned_at)
    assert.equal("fired", fired.outcome)
    local job = server.client:wait(fired.id)
    assert.equal("succeeded", job.state)
    local view = server.client:job(fired.id)
    assert.same({ name = "fast", planned_at = entry.next }, view.schedule)
    local result = json.decode(view.result)
    assert.equal("fast", result.name)
    assert.equal(entry.next, math.floor(result.at * 1000 + 0.5))
    assert.equal(7, result.n)
    assert.equal("schedule 'fast' made it, for ", server.client:why(fired.id).gates[2].text:sub(1, 29))
    local jobs = server.client:jobs({ type = "tick" }).jobs
    assert.is_true(#jobs >= 1)
    assert.is_nil(server.client:job(server.client:push("tick", {})).schedule)
  end)

  it("makes one job of each moment over kills and restarts", function()
    local server = start()
    server.client:set_schedule("fast", "@every 100ms", "tick", {}, { catch_up = "all" })
    for _ = 1, 3 do
      server:await("schedule.fired")
      server:await("schedule.fired")
      server:kill()
      server:restart()
    end
    server:await("schedule.fired")
    server.client:pause_schedule("fast")
    assert_each_moment_once(server, "fast", 100)
    local seen, made = {}, 0
    for _, row in ipairs(outcomes(server, "fast")) do
      assert.is_truthy(row.outcome == "fired" or row.outcome == "caught_up", row.outcome)
      assert.is_nil(seen[row.job])
      seen[row.job] = true
      made = made + 1
    end
    assert.equal(made, #server.client:jobs({ type = "tick", limit = 1000 }).jobs)
  end)

  it("that was missed while the server was down is caught up once, by default", function()
    local server = start()
    server.client:set_schedule("fast", "@every 100ms", "tick")
    server:await("schedule.fired")
    server:kill()
    support.run({ "sleep", "0.4" }) -- moments must pass while it is down, and they pass by the wall clock
    server:restart()
    server:await("schedule.fired")
    server.client:pause_schedule("fast")
    assert_each_moment_once(server, "fast", 100)
    assert.is_true(server.client:schedule("fast").counts.missed >= 1)
  end)

  it("whose job has not ended yet is skipped, waits or replaces it", function()
    local server = start({ ["handlers/long.lua"] = [[
      local time = require "moonq.time"
      return { run = function(job) time.sleep(60) end }
    ]] })
    server.client:set_schedule("skips", "@every 100ms", "long", {}, { overlap = "skip" })
    server.client:set_schedule("waits", "@every 100ms", "long", {}, { overlap = "queue" })
    server.client:set_schedule("replaces", "@every 100ms", "long", {}, { overlap = "replace" })
    local function of(name, outcome)
      return function(event)
        return event.schedule == name and event.outcome == outcome
      end
    end
    server:await("schedule.skipped", of("skips", "skipped"))
    server:await("schedule.fired", of("replaces", "replaced"))
    local first = server:await("schedule.fired", of("waits", "fired"))
    server.client:pause_schedule("replaces")
    server.client:pause_schedule("skips")
    assert.equal(1, #outcomes(server, "waits"))
    server.client:cancel(first.id)
    local second = server:await("schedule.fired", of("waits", "waited"))
    assert.not_equal(first.id, second.id)
  end)

  it("is paused, run by hand, resumed and deleted", function()
    local server = start()
    server.client:set_schedule("fast", "@every 100ms", "tick")
    local entry = server.client:pause_schedule("fast", { reason = "a test", by = "ana" })
    assert.same({ "paused", "a test", "ana" }, { entry.state, entry.reason, entry.by })
    local id = server.client:run_schedule("fast")
    assert.equal("succeeded", server.client:wait(id).state)
    local rows = outcomes(server, "fast")
    assert.same({ "run", id }, { rows[#rows].outcome, rows[#rows].job })
    entry = server.client:resume_schedule("fast")
    assert.equal("active", entry.state)
    server:await("schedule.fired", function(event)
      return event.outcome == "fired"
    end)
    assert.equal(5, #server.client:next_moments("fast", 5))
    server.client:delete_schedule("fast")
    assert.equal("ended", server.client:schedule("fast").state)
    assert.equal(0, #server.client:schedules().schedules)
    assert.equal(1, #server.client:schedules({ ended = true }).schedules)
    server.client:delete_schedule("fast", true)
    assert.equal("NOTFOUND", support.refused(server.client.schedule, server.client, "fast").code)
    assert.equal(0, server.client:stats().schedules)
  end)

  it("may be set paused, until it is set otherwise", function()
    local server = start()
    local entry = server.client:set_schedule("fast", "@every 100ms", "tick", {}, { paused = true })
    assert.same({ "paused", 0 }, { entry.state, #server.client:next_moments("fast", 5) })
    local err = support.refused(server.client.resume_schedule, server.client, "fast")
    assert.equal("CONFLICT", err.code)
    assert.equal("active", server.client:set_schedule("fast", "@every 100ms", "tick").state)
    server:await("schedule.fired")
  end)

  it("that says nonsense is refused by its key", function()
    local server = start()
    local function refused(...)
      return tostring(support.refused(server.client.set_schedule, server.client, ...))
    end
    assert.matches("overlap is none of allow", refused("x", "@every 1m", "tick", {}, { overlap = "drop" }))
    assert.matches("too often", refused("x", "@every 1ms", "tick"))
    assert.matches("illegal character", refused("a b", "@every 1m", "tick"))
    assert.matches("no moment is left", refused("x", "@every 1m", "tick", {}, { ["end"] = "2001-01-01" }))
    assert.equal(0, #server.client:schedules().schedules)
  end)

  it("whose job has a unique key keeps away from another job with that key", function()
    local server = start({ ["schedules.lua"] = [[ return {
      { name = "listed", cron = "@every 100ms", type = "tick", args = { list = 3, day = 1 },
        unique_by = { "list" }, unique_in = { "scheduled", "ready" }, conflict = "skip" } } ]] })
    server.client:pause("default")
    local function of(name)
      return function(event)
        return event.schedule == name
      end
    end
    local listed = server:await("schedule.fired", of("listed"))
    assert.equal(listed.id, server.client:call("UNIQUE", "SHOW", '{"list":3}')[1].holder)
    assert.equal(listed.id, server:await("schedule.skipped", of("listed")).id)
    local mine = server.client:push("tick", { n = 1 }, { unique = "k", delay = "1h" })
    local options = { unique = "k", conflict = "replace" }
    server.client:set_schedule("keyed", "@every 100ms", "tick", { n = 2 }, options)
    assert.equal(mine, server:await("schedule.fired", of("keyed")).id)
    server.client:pause_schedule("keyed")
    assert.equal(2, json.decode(server.client:job(mine).payload).n)
    local function refused(opts)
      local client = server.client
      return tostring(support.refused(client.set_schedule, client, "x", "@daily", "tick", { n = 1 }, opts))
    end
    assert.matches("unique_by: .*list", refused({ unique_by = { "list" } }))
    assert.matches("CONFLICT: 'drop' is none of skip", refused({ unique = "k", conflict = "drop" }))
    assert.matches("exclude each other", refused({ unique = "k", unique_by = "n" }))
  end)

  it("ends after its max", function()
    local server = start()
    server.client:set_schedule("three", "@every 100ms", "tick", {}, { max = 3 })
    for _ = 1, 3 do
      server:await("schedule.fired")
    end
    local entry = server.client:schedule("three")
    assert.same({ "done", 3 }, { entry.state, entry.fired })
    assert.is_nil(entry.next)
  end)

  it("goes on over a RELOAD as if nothing had happened", function()
    local server = start()
    server.client:set_schedule("fast", "@every 100ms", "tick", {}, { catch_up = "all" })
    server:await("schedule.fired")
    server.client:reload()
    server:await("schedule.fired")
    server.client:pause_schedule("fast")
    assert_each_moment_once(server, "fast", 100)
    assert.equal(0, server.client:schedule("fast").counts.missed)
  end)
end)
