--- The wall clock is set under the real server: nothing is lost, nothing comes twice, nobody oversleeps.

local support = require "support"

local HOUR = 3600 * 1000
local SPANS = { { "an hour", HOUR }, { "a day", 24 * HOUR }, { "a year", 365 * 24 * HOUR } }

local files = {
  ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 4 } } }",
  ["handlers/mail.lua"] = "return { keep = '9000d', run = function() return 1 end }",
  ["handlers/tick.lua"] = "return { keep = '9000d', run = function() return 1 end }",
  ["handlers/long.lua"] = [[
    local time = require "moonq.time"
    return { attempts = 3, keep = "9000d", lease = "1s", timeout = "30m", run = function() time.sleep(1.5) end }
  ]],
}

--- `ahead`: the clock is so far ahead at the start; `more`: files.
local function start(ahead, more)
  local clock, all = support.clock(), {}
  for _, some in ipairs({ files, more or {} }) do
    for name, text in pairs(some) do
      all[name] = text
    end
  end
  clock:step(ahead or 0)
  return support.start({ files = all, env = clock.env }), clock
end

--- The kernel tells a sleeper that the clock was set; the shim does not. Any word wakes it.
local function step(server, clock, ms)
  clock:step(ms)
  server.client:call("PING")
end

local function restart(server)
  server:kill()
  server:restart()
end

describe("a scheduled job, when the wall clock is set", function()
  after_each(support.stop_all)

  for _, row in ipairs(SPANS) do
    local name, span = row[1], row[2]
    it("forwards and back by " .. name .. ", comes once: when the clock has come to its time", function()
      local server, clock = start()
      local sent = 0
      local function push(opts)
        sent = sent + 1
        return server.client:push("mail", {}, opts)
      end
      local function is(id, state)
        assert.equal(state, server.client:job(id).state)
      end
      local soon = push({ at = clock:now() + span / 2 })
      local later = push({ at = clock:now() + 3 * span })
      local due = server.client:job(soon).run_at

      step(server, clock, -span)
      server.client:wait(push()) -- what has no time to wait for does not mind
      is(soon, "scheduled")
      assert.equal(due, server.client:job(soon).run_at)
      restart(server)
      is(soon, "scheduled")

      step(server, clock, 2 * span)
      assert.equal("succeeded", server.client:wait(soon).state)
      is(later, "scheduled")
      step(server, clock, -2 * span) -- and its time comes again
      restart(server)
      server.client:wait(push())
      step(server, clock, 2 * span)
      server.client:wait(push())
      is(later, "scheduled")

      clock:step(3 * span)
      server:kill() -- right after it, whatever was under way
      server:restart()
      assert.equal("succeeded", server.client:wait(later).state)
      for _, id in ipairs({ soon, later }) do
        assert.equal(1, server.client:job(id).attempt)
      end
      local queue = server.client:queue("default")
      assert.same({ sent, 0, 0 }, { queue.succeeded_total, queue.lost_total, queue.scheduled })
    end)
  end

  it("is noticed by a server that nobody talks to", function()
    local server, clock = start()
    local id = server.client:push("mail", {}, { delay = "1h" })
    clock:step(2 * HOUR)
    server:await("job.succeeded", id)
  end)

  it("and one that runs keeps its lease and its timeout", function()
    local server, clock = start()
    local id = server.client:push("long", {})
    server:await("job.started", id)
    for _, row in ipairs(SPANS) do
      step(server, clock, row[2])
      step(server, clock, -2 * row[2])
      step(server, clock, row[2])
    end
    assert.equal("succeeded", server.client:wait(id).state)
    local job = server.client:job(id)
    assert.equal(1, job.attempt)
    assert.equal(0, server.client:queue("default").lost_total)
  end)
end)

-- ---- cron entries ------------------------------------------------------------------------------------------------

local MADE = { fired = true, caught_up = true }

--- Waits until all moments up to now are decided.
local function settle(server, clock, name)
  local entry = server.client:schedule(name)
  while entry.next <= clock:now() do
    server.stream:next(1) -- the events of its moments
    entry = server.client:schedule(name)
  end
  return entry
end

local function ledger(server, name)
  local rows = {}
  for _, row in ipairs(server.client:history(name, { limit = 1000 }).ticks) do
    table.insert(rows, 1, row)
  end
  return rows
end

--- Each moment has its row, and its job. What came again is told beside.
local function assert_decided_once(server, clock, name, every)
  local entry = settle(server, clock, name)
  local expected, jobs, made = nil, {}, 0
  for _, row in ipairs(ledger(server, name)) do
    local again = row.outcome == "merged" and expected and row["until"] < expected
    if expected and not again then
      assert.equal(expected, row.planned)
    end
    assert.equal(MADE[row.outcome] or false, row.job ~= nil, row.outcome)
    if row.job then
      assert.is_nil(jobs[row.job])
      jobs[row.job] = true
      made = made + 1
      assert.equal(row.planned, server.client:job(row.job).schedule.planned_at)
    end
    if not again then
      expected = not row.more and row["until"] + every or nil
    end
  end
  assert.equal(expected, entry.next)
  assert.equal(made, #server.client:jobs({ type = "tick", limit = 1000 }).jobs)
  return made, entry
end

describe("a schedule, when the wall clock is set", function()
  after_each(support.stop_all)

  it("makes one job of each moment, whatever steps and kills there are", function()
    local server, clock = start()
    local all = { catch_up = "all", within = "30d" }
    local first = server.client:set_schedule("hourly", "0 * * * *", "tick", {}, all).next
    for _, hours in ipairs({ 3, -2, 1, -5, 24, -24, 26, -1, 5 }) do
      step(server, clock, hours * HOUR)
      assert_decided_once(server, clock, "hourly", HOUR)
      clock:step(HOUR)
      server:kill() -- with the step's moments decided, or not yet
      server:restart()
      assert_decided_once(server, clock, "hourly", HOUR)
    end
    local made, entry = assert_decided_once(server, clock, "hourly", HOUR)
    assert.equal((entry.next - first) / HOUR, made) -- all of them: none was too late
    server:halt()
    assert.equal(0, (support.moonq("fsck", server.data)))
  end)

  it("forwards by a year: the newest moments within its time come, and a row stands for the rest", function()
    local server, clock = start()
    server.client:set_schedule("hourly", "0 * * * *", "tick", {}, { catch_up = "all" })
    server.client:set_schedule("once", "0 * * * *", "tick")
    step(server, clock, 365 * 24 * HOUR)
    settle(server, clock, "hourly")
    local entry = settle(server, clock, "once")
    assert.is_true(entry.next - clock:now() <= HOUR + 1000)
    local counts = server.client:schedule("hourly").counts
    assert.is_true(counts.caught_up >= 23 and counts.caught_up <= 25)
    assert.equal("merged", ledger(server, "hourly")[1].outcome)
  end)

  it("back by a year: waits for the moment that it has planned, and says so", function()
    local server, clock = start()
    local first = server.client:set_schedule("hourly", "0 * * * *", "tick", {}, { catch_up = "all" }).next
    step(server, clock, HOUR)
    settle(server, clock, "hourly")
    step(server, clock, -365 * 24 * HOUR)
    restart(server)
    server.client:wait(server.client:push("mail"))
    local entry = server.client:schedule("hourly")
    assert.is_true(entry.next > first)
    assert.equal(1, #ledger(server, "hourly"))
    step(server, clock, 365 * 24 * HOUR + HOUR)
    assert_decided_once(server, clock, "hourly", HOUR)
  end)

  it("back, and forwards again: the ledger tells of the moments that came once more", function()
    local server, clock = start()
    local first = server.client:set_schedule("hourly", "0 * * * *", "tick", {}, { catch_up = "all" }).next
    step(server, clock, 2 * HOUR)
    local decided = settle(server, clock, "hourly").next
    step(server, clock, -3 * HOUR)
    assert.is_true(server:await_log("clock.stepped", function(line)
      return line.by_ms < 0
    end).schedules_waiting == 1)
    step(server, clock, 4 * HOUR)
    assert_decided_once(server, clock, "hourly", HOUR)
    local merged = {}
    for _, row in ipairs(ledger(server, "hourly")) do
      merged[#merged + 1] = row.outcome == "merged" and row or nil
    end
    assert.equal(1, #merged)
    assert.same({ first, decided - HOUR, (decided - first) / HOUR },
      { merged[1].planned, merged[1]["until"], merged[1].count })
  end)

  it("to a night on which its zone's clock changes, it tells what has become of each time", function()
    local before = 1774745990000 -- 2026-03-29T00:59:50Z; at 01:00Z Berlin goes from 02:00 to 03:00
    local server, clock = start(before - os.time() * 1000)
    server.client:set_schedule("night", "0,30 2 * * *", "tick", {}, { tz = "Europe/Berlin" })
    step(server, clock, 60 * 1000)
    settle(server, clock, "night")
    local _, out = support.moonq("cron", "history", "night", "--socket", server.socket)
    assert.matches("2026%-03%-29 %d%d:00:00 +caught_up", out)
    assert.matches("merged .* 02:00 to 02:30: the clock went from 02:00 to 03:00", out)
  end)

  it("years ahead and comes back, it begins anew when its ledger is deleted, whoever owns it", function()
    local list = "return { { name = 'nightly', cron = '0 * * * *', type = 'tick' } }"
    local server, clock = start(5 * 365 * 24 * HOUR, { ["schedules.lua"] = list })
    server.client:set_schedule("hourly", "0 * * * *", "tick")
    for _, name in ipairs({ "hourly", "nightly" }) do
      step(server, clock, HOUR)
      settle(server, clock, name)
    end
    step(server, clock, -5 * 365 * 24 * HOUR)
    for _, name in ipairs({ "hourly", "nightly" }) do
      assert.is_true(server.client:schedule(name).next - clock:now() > 4 * 365 * 24 * HOUR)
    end
    support.write_file(server.app .. "/schedules.lua", "return {}")
    server.client:reload()
    server.client:delete_schedule("hourly", true)
    server.client:delete_schedule("nightly", true)
    support.write_file(server.app .. "/schedules.lua", list)
    server.client:reload()
    server.client:set_schedule("hourly", "0 * * * *", "tick")
    for _, name in ipairs({ "hourly", "nightly" }) do
      assert.is_true(server.client:schedule(name).next - clock:now() <= HOUR + 1000)
    end
  end)
end)
