local json = require "moonq.client.json"
local support = require "support"

local files = {
  ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 4 } } }",
  ["handlers/tick.lua"] = "return { run = function(job) return job.args end }",
}

describe("moonq cron", function()
  after_each(support.stop_all)

  it("sets, lists, runs, pauses, resumes, shows and deletes", function()
    local server = support.start({ files = files })
    local function cron(...)
      local status, out, err = support.moonq("cron", ...)
      assert.equal(0, status, err)
      return out
    end
    local socket = server.socket
    assert.matches("There are no schedules", cron("list", "-s", socket))
    assert.equal("[]\n", cron("list", "--json", "-s", socket))
    assert.matches("nightly is set, next in", cron("set", "nightly", "@every 24h", "tick", '{"n":1}', "-o",
      "overlap=skip", "-o", "queue=q", "-s", socket))
    local listed = cron("list", "-s", socket)
    assert.matches("NAME", listed)
    assert.matches("nightly%s+active%s+@every 24h", listed)
    local entry = json.decode(cron("list", "--json", "-s", socket))[1]
    assert.equal("nightly", entry.name)
    assert.equal("skip", json.decode(entry.definition).overlap)
    local id = cron("run", "nightly", "-s", socket):match("%w+")
    assert.equal("ready", server.client:job(id).state:gsub("running", "ready"):gsub("succeeded", "ready"))
    local history = cron("history", "nightly", "-s", socket)
    assert.matches("run", history)
    assert.matches(id, history, 1, true)
    assert.matches("^%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d[.%d]*%+00:00\n", cron("next", "nightly", "-n", "3", "-s", socket))
    assert.matches("is paused", cron("pause", "nightly", "--reason", "holidays", "-s", socket))
    assert.matches("holidays", cron("list", "-s", socket))
    assert.matches("nightly goes on", cron("resume", "nightly", "-s", socket))
    assert.matches("has ended", cron("delete", "nightly", "-s", socket))
    assert.matches("There are no schedules", cron("list", "-s", socket))
    assert.matches("ended", cron("list", "--ended", "-s", socket))
  end)

  it("shows the next moments in the zone of the schedule, or in another", function()
    local server = support.start({ files = files })
    server.client:set_schedule("summer", "30 9 1 7 *", "tick", {}, { tz = "Europe/Berlin" })
    local function next_of(...)
      local status, out, err = support.moonq("cron", "next", "summer", "-n", "1", "-s", server.socket, ...)
      assert.equal(0, status, err)
      return out
    end
    assert.matches("^%d+%-07%-01T09:30:00%+02:00\n$", next_of())
    assert.matches("^%d+%-07%-01T03:30:00%-04:00\n$", next_of("--tz", "America/New_York"))
  end)

  it("says what is wrong", function()
    local server = support.start({ files = files })
    local status, _, err = support.moonq("cron", "history", "nobody", "-s", server.socket)
    assert.equal(4, status)
    assert.matches("there is no schedule 'nobody'", err)
    assert.equal(2, (support.moonq("cron", "set", "x", "@every 1h", "tick", "-o", "nonsense", "-s", server.socket)))
    assert.equal(2, (support.moonq("cron")))
  end)
end)
