local support = require "support"

-- hostile.c makes one of two workers an enemy of the server, from its first answer on.

local here = debug.getinfo(1, "S").source:match("^@(.*/)")
local files = {
  ["moonq.lua"] = [[return { silence_max = "1s", timeout_grace = "200ms", timeout = "2s", log_level = "info",
    pools = { default = { workers = 2, concurrency = 4 } } }]],
  ["handlers/nap.lua"] = [[
    local time = require "moonq.time"
    return { run = function() time.sleep(0.02) return "slept" end }
  ]],
}

describe("a worker that is not ours any more", function()
  local library

  before_each(function()
    library = support.folder() .. "/hostile.so"
    local status, _, err = support.run({ "cc", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
      library, here .. "hostile.c", "-ldl" }, { timeout = 60 })
    assert.equal(0, status, err)
  end)

  after_each(support.stop_all)

  local function start(way)
    return support.start({ files = files, env = {
      LD_PRELOAD = library, HOSTILE_ONCE = support.folder() .. "/once", HOSTILE_WAY = way,
      ASAN_OPTIONS = "verify_asan_link_order=0",
    } })
  end

  --- All jobs end well but those charged with what their worker did, and the server goes on.
  local function work(server, most_charged)
    local ids, charged = {}, 0
    for i = 1, 40 do
      ids[i] = server.client:push("nap", {}, { attempts = 1 })
    end
    for _, id in ipairs(ids) do
      local state = server.client:wait(id, "20s").state
      assert.is_true(state == "succeeded" or state == "dead", state)
      charged = charged + (state == "dead" and 1 or 0)
    end
    assert.is_true(charged <= most_charged, charged .. " jobs were charged")
    assert.equal("succeeded", server.client:wait(server.client:push("nap")).state)
  end

  it("sends garbage, and is ended", function()
    local server = start("garbage")
    work(server, 1)
    assert.matches("frame of unknown kind", server:await_log("child.garbage").message, 1, true)
  end)

  it("claims jobs that it does not hold, and is ended", function()
    local server = start("claims")
    work(server, 1)
    assert.matches("jobs that it does not hold", server:await_log("child.garbage").message, 1, true)
  end)

  it("leaves a frame unfinished, and is ended", function()
    local server = start("unfinished")
    work(server, 1)
    assert.is_truthy(server:await_log("worker.killed"))
  end)

  it("says nothing any more, and is ended", function()
    local server = start("mute")
    work(server, 1)
    assert.equal("timeout", server:await_log("worker.killed").why)
  end)

  it("floods the log, and is cut short", function()
    local server = start("flood")
    work(server, 0)
    local lines = 0
    for _, line in ipairs(server:log()) do
      lines = lines + (line.event == "worker.log" and 1 or 0)
    end
    assert.is_true(lines > 0 and lines < 1000, lines .. " lines")
  end)
end)
