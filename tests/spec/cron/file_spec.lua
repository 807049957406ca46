local json = require "moonq.client.json"
local support = require "support"

local base = {
  ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 4 } } }",
  ["handlers/tick.lua"] = "return { run = function(job) return job.args end }",
}

local function files_with(schedules)
  local all = { ["schedules.lua"] = schedules }
  for name, text in pairs(base) do
    all[name] = text
  end
  return all
end

local function start(schedules)
  return support.start({ files = files_with(schedules) })
end

local function result_of(server, id)
  assert.equal("succeeded", server.client:wait(id).state)
  return json.decode(server.client:job(id).result)
end

local function of(name)
  return function(event)
    return event.schedule == name
  end
end

local function moments_of(server, name)
  local seen = {}
  for _, row in ipairs(server.client:history(name, { limit = 1000 }).ticks) do
    assert.is_nil(seen[row.planned], "decided twice")
    seen[row.planned] = true
  end
end

describe("schedules.lua", function()
  after_each(support.stop_all)

  it("has entries that fire, change and end with it", function()
    local server = start([[return {
      { name = "fast", cron = "@every 150ms", type = "tick", args = { n = 1 }, catch_up = "all" },
      { name = "slow", cron = "@every 1h", type = "tick" },
    }]])
    local fired = server:await("schedule.fired", of("fast"))
    assert.same({ n = 1 }, result_of(server, fired.id))
    local slow = server.client:schedule("slow")
    assert.same({ "file", "active" }, { slow.source, slow.state })
    local err = support.refused(server.client.set_schedule, server.client, "fast", "@every 1s", "tick")
    assert.equal("CONFLICT", err.code)
    support.write_file(server.app .. "/schedules.lua", [[return {
      { name = "fast", cron = "@every 150ms", type = "tick", args = { n = 2 }, catch_up = "all" },
    }]])
    assert.equal("1 handler loaded; schedules: ~fast -slow", server.client:reload())
    local function is_new(event)
      return event.schedule == "fast" and server.client:job(event.id).payload == '{"n":2}'
    end
    server:await("schedule.fired", is_new)
    server.client:pause_schedule("fast")
    moments_of(server, "fast")
    assert.equal("ended", server.client:schedule("slow").state)
  end)

  it("goes on where it was after a kill", function()
    local server = start([[return { { name = "fast", cron = "@every 150ms", type = "tick", catch_up = "all" } }]])
    server:await("schedule.fired", of("fast"))
    local since = server.client:schedule("fast").since
    server:kill()
    server:restart()
    server:await("schedule.fired", of("fast"))
    server.client:pause_schedule("fast")
    assert.equal(since, server.client:schedule("fast").since)
    moments_of(server, "fast")
  end)

  it("makes args by a function, in a process of its own", function()
    local server = start([[return {
      { name = "made", cron = "@every 200ms", type = "tick", overlap = "allow",
        args = function(schedule) return { name = schedule.name, at = schedule.planned_at } end },
    }]])
    local fired = server:await("schedule.fired", of("made"))
    local args = result_of(server, fired.id)
    assert.equal("made", args.name)
    assert.equal(fired.planned_at, math.floor(args.at * 1000 + 0.5))
    local id = server.client:run_schedule("made")
    assert.equal("made", result_of(server, id).name)
  end)

  it("makes args by a function that says something", function()
    local server = start([[return {
      { name = "loud", cron = "@every 200ms", type = "tick", overlap = "allow",
        args = function(schedule) print("making args") return { name = schedule.name } end },
    }]])
    assert.equal("loud", result_of(server, server:await("schedule.fired", of("loud")).id).name)
  end)

  it("fails the moments of a function that raises, loops or answers what is no JSON; the others go on", function()
    local server = start([[return {
      { name = "raises", cron = "@every 300ms", type = "tick", args = function() error("no list today") end },
      { name = "loops", cron = "@every 300ms", type = "tick", args = function() while true do end end },
      { name = "strange", cron = "@every 300ms", type = "tick", args = function() return { f = print } end },
      { name = "good", cron = "@every 300ms", type = "tick" },
    }]])
    assert.matches("no list today", server:await("schedule.failed", of("raises")).message, 1, true)
    assert.matches("args:", server:await("schedule.failed", of("strange")).message, 1, true)
    assert.matches("args:", server:await("schedule.failed", of("loops")).message, 1, true)
    server:await("schedule.fired", of("good"))
    server:await("schedule.failed", of("raises")) -- and again at its next moment
    local err = support.refused(server.client.run_schedule, server.client, "raises")
    assert.equal("SCRIPT", err.code)
    assert.matches("no list today", err.message, 1, true)
  end)

  it("keeps every byte of its args", function()
    local server = start([[return {
      { name = "bytes", cron = "@every 1h", type = "tick", args = { text = "a\0b\n\"\195\169" } },
      { name = "huge", cron = "@every 1h", type = "tick", args = { n = 2 ^ 63 } },
    }]])
    assert.same({ text = "a\0b\n\"\195\169" }, result_of(server, server.client:run_schedule("bytes")))
    assert.same({ n = 2 ^ 63 }, result_of(server, server.client:run_schedule("huge")))
    server.client:set_schedule("set", "@every 1h", "tick", { text = "a\0b" })
    assert.same({ text = "a\0b" }, result_of(server, server.client:run_schedule("set")))
    local err = support.refused(server.client.set_schedule, server.client, "set", "* * * * *\0", "tick")
    assert.equal("BADARG", err.code)
    assert.matches("weekday, column 10", err.message, 1, true)
  end)

  it("disables a broken entry only, and moonq check says where it is", function()
    local text = [[return {
      { name = "good", cron = "@every 200ms", type = "tick" },
      { name = "twice", cron = "@every 200ms", type = "tick" },
      { name = "twice", cron = "@every 300ms", type = "tick" },
      { name = "typo", cron = "@every 200ms", type = "tick", overlapp = "skip" },
      { name = "nonsense", cron = "99 99 * * *", type = "tick" },
      { name = "odd", cron = "@every 200ms", type = "tick", args = { f = print } },
      { name = "not one", cron = "@every 200ms", type = "tick" },
      { cron = "@every 200ms", type = "tick" },
      "nightly",
    }]]
    local server = start(text)
    server:await("schedule.fired", of("good"))
    local states = {}
    for _, entry in ipairs(server.client:schedules().schedules) do
      states[entry.name] = entry.state
      if entry.name == "typo" then
        assert.matches("^schedules.lua:5: unknown option 'overlapp'", entry.trouble)
      end
    end
    assert.same({ good = "active", twice = "broken", typo = "broken", nonsense = "broken", odd = "broken" }, states)
    assert.equal(7, server.client:stats().schedules_broken)
    assert.equal("1 handler loaded; 7 of 8 schedules broken (moonq check says why)", server.client:reload())
    assert.equal(7, server.client:stats().schedules_broken)
    local status, checked = support.moonq("check", server.app, "--json")
    assert.not_equal(0, status)
    local found = {}
    for _, entry in ipairs(json.decode(checked).errors) do
      assert.equal("schedules.lua", entry.file)
      found[#found + 1] = entry.line .. " " .. entry.message
    end
    table.sort(found)
    assert.equal(7, #found)
    assert.matches("^0 entry 8: has no name", found[1])
    assert.matches("^0 entry 9: is not a table", found[2])
    table.remove(found, 1)
    table.remove(found, 1)
    assert.matches("^3 schedule 'twice': two entries have this name", found[1])
    assert.matches("^5 schedule 'typo': unknown option 'overlapp'", found[2])
    assert.matches("^6 schedule 'nonsense'", found[3])
    assert.matches("^7 schedule 'odd': args", found[4])
  end)

  it("is warned of if an entry would do nothing", function()
    local files = files_with([[return {
      { name = "typo", cron = "@hourly", type = "tikc" },
      { name = "over", cron = "@hourly", type = "tick", ["end"] = "2020-01-01" },
      { name = "unserved", cron = "@hourly", type = "tick", queue = "nobody" },
      { name = "fetched", cron = "@hourly", type = "of.a.consumer", queue = "nobody" },
      { name = "paused", cron = "@hourly", type = "tick", ["end"] = "2020-01-01", paused = true },
      { name = "boot", cron = "@reboot", type = "tick" },
    }]])
    files["moonq.lua"] = "return { pools = { default = { queues = { 'default' } } } }"
    local status, checked = support.moonq("check", support.folder(files), "--json")
    assert.equal(0, status)
    local found = {}
    for _, entry in ipairs(json.decode(checked).warnings) do
      found[#found + 1] = entry.line .. " " .. entry.message
    end
    table.sort(found)
    assert.equal(3, #found)
    assert.matches("^2 schedule 'typo': there is no handler of type 'tikc'", found[1])
    assert.matches("^3 schedule 'over': no moment is left", found[2])
    assert.matches("^4 schedule 'unserved': no pool serves queue 'nobody'", found[3])
  end)

  it("says the line of an entry, and none if its name is computed", function()
    local server = start([[return {
      -- "mail" comes last
      { name = "first", cron = "@every 1h", type = "mail", tags = { "other" } },
      { type = "tick", ["name"] = "other", cron = "x" },
      { type = "tick", name = 'mail', cron = "x" },
      by_key = { type = "tick", cron = "x" },
      { type = "tick", name = ("ab"):rep(2), cron = "x" },
      { type = "tick", cron = "@hourly" },
    }]])
    local troubles = {}
    for _, entry in ipairs(server.client:schedules().schedules) do
      troubles[entry.name] = entry.trouble and entry.trouble:match("^(.-) cron")
    end
    assert.same({ other = "schedules.lua:4:", mail = "schedules.lua:5:", by_key = "schedules.lua:6:",
      abab = "schedules.lua:" }, troubles)
    local _, said = support.moonq("check", server.app)
    assert.matches("\nschedules.lua:4: schedule 'other': cron", "\n" .. said, 1, true)
    assert.matches("\nschedules.lua: schedule 'abab': cron", "\n" .. said, 1, true)
    assert.matches("\nschedules.lua: entry 5: has no name", "\n" .. said, 1, true)
  end)

  it("has functions that moonq check runs, each in a process of its own", function()
    local app = support.folder() .. "/app"
    for name, text in pairs(files_with([[return {
      { name = "raises", cron = "@hourly", type = "tick",
        args = function() error("no list today") end },
      { name = "loops", cron = "@hourly", type = "tick", args = function() while true do end end },
      { name = "eats", cron = "@hourly", type = "tick", args = function() return { ("x"):rep(2 ^ 28) } end },
      { name = "strange", cron = "@hourly", type = "tick", args = function() return { f = print } end },
      { name = "forgets", cron = "@hourly", type = "tick", args = function() local day = 1 end },
      { name = "good", cron = "@hourly", type = "tick", args = function(s) return { s.name, s.planned_at } end },
      { name = "boot", cron = "@reboot", type = "tick", args = function(s) return { s.planned_at + 1 } end },
    }]])) do
      support.write_file(app .. "/" .. name, text)
    end
    local status, checked = support.moonq("check", app, "--json")
    assert.equal(1, status)
    local found = {}
    for _, entry in ipairs(json.decode(checked).errors) do
      found[#found + 1] = entry.line .. " " .. entry.message
    end
    table.sort(found)
    assert.equal("3 schedule 'raises': args: no list today", found[1])
    assert.equal("4 schedule 'loops': args: it took too long", found[2])
    assert.matches("^5 schedule 'eats': args: ", found[3])
    assert.matches("^6 schedule 'strange': args: ", found[4])
    assert.equal("7 schedule 'forgets': args: it returned nothing, not a table", found[5])
    assert.is_nil(found[6])
  end)

  it("takes numbers for seconds, as Lua does everywhere", function()
    local server = start([[return {
      { name = "later", cron = "@daily", type = "tick", start = 4102444800 },
      { name = "said", cron = "@daily", type = "tick", start = "2100-01-01" },
      { name = "ends", cron = "@daily", type = "tick", ["end"] = 4102444800.5, within = 0.5 },
      { name = "milliseconds", cron = "@daily", type = "tick", start = 4102444800000 },
    }]])
    assert.equal(4102444800000, server.client:schedule("later").next)
    assert.equal(4102444800000, server.client:schedule("said").next)
    assert.equal("active", server.client:schedule("ends").state)
    assert.matches("start is no time up to the year 9999", server.client:schedules().schedules[4].trouble, 1, true)
  end)

  it("is done when nothing can come of it any more, and a start is still to come for @reboot", function()
    local server = start([[return {
      { name = "boot", cron = "@reboot", type = "tick" },
      { name = "boot-once", cron = "@reboot", type = "foreign", queue = "boot", max = 1 },
      { name = "boot-ended", cron = "@reboot", type = "tick", ["end"] = "2020-01-01" },
      { name = "ended", cron = "@daily", type = "tick", ["end"] = "2020-01-01" },
      { name = "daily", cron = "@daily", type = "tick" },
    }]])
    assert.equal("foreign", server.client:fetch("boot", { block = "30s" })[1].type)
    local states = {}
    for _, entry in ipairs(server.client:schedules().schedules) do
      states[entry.name] = entry.state
    end
    assert.same({ boot = "active", ["boot-once"] = "done", ["boot-ended"] = "done", ended = "done", daily = "active" },
      states)
    assert.equal(0, server.client:schedule("boot-ended").fired)
  end)

  it("may have ten thousand entries, one more is too many", function()
    local function file_of(count)
      local lines = {}
      for n = 1, count do
        lines[n] = ('  { name = "n%d", cron = "@hourly", type = "tick" },'):format(n)
      end
      return "return {\n" .. table.concat(lines, "\n") .. "\n}\n"
    end
    local server = start(file_of(10000))
    assert.equal(10000, server.client:stats().schedules)
    assert.equal("active", server.client:schedule("n10000").state)
    support.write_file(server.app .. "/schedules.lua", file_of(10001))
    assert.matches("1 of 10001 schedules broken", server.client:reload(), 1, true)
  end)

  it("is in force when a start or a RELOAD is done", function()
    local server = start([[return { { name = "n0", cron = "@hourly", type = "tick" } }]])
    assert.equal("active", server.client:schedule("n0").state)
    for n = 1, 20 do
      support.write_file(server.app .. "/schedules.lua",
        ("return { { name = 'n%d', cron = '@hourly', type = 'tick' } }"):format(n))
      server.client:reload()
      assert.equal("active", server.client:schedule("n" .. n).state)
      assert.equal("ended", server.client:schedule("n" .. n - 1).state)
    end
  end)
end)
