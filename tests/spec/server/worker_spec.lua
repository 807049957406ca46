local support = require "support"

local config = [[return {
  cancel_grace = "200ms", timeout_grace = "200ms", silence_max = "10s", stop_grace = "3s",
  pools = { default = { workers = %d, concurrency = %d } } }]]

local handlers = {
  ["handlers/spin.lua"] = [[return { timeout = "300ms", attempts = 1, run = function() while true do end end }]],
  ["handlers/quick.lua"] = [[return { run = function() return "quick" end }]],
  ["handlers/nap.lua"] = [[
    local time = require "moonq.time"
    return { run = function(job)
      job:progress(0.5, "asleep")
      time.sleep(job.args.ms / 1000)
      return "slept"
    end }
  ]],
  ["handlers/burn.lua"] = [[
    return { timeout = "1h", run = function(job)
      local until_when = os.clock() + job.args.s
      while os.clock() < until_when do end
      return "burnt"
    end }
  ]],
}

local function start(workers, slots, more)
  local files = { ["moonq.lua"] = config:format(workers, slots) }
  for name, text in pairs(handlers) do files[name] = text end
  for name, text in pairs(more or {}) do files[name] = text end
  return support.start({ files = files })
end

local function worker_of(server, id)
  local job = server.client:job(id)
  for _, worker in ipairs(server.client:workers()) do
    if worker.name == job.holder then return worker end
  end
end

local posix = require "moonq_posix"

describe("a worker", function()
  after_each(support.stop_all)

  it("that is killed costs its sleeping jobs nothing", function()
    local server = start(1, 10)
    local id = server.client:push("nap", { ms = 300 })
    server:await("job.progress", id)
    local worker = worker_of(server, id)
    posix.kill(worker.pid, "KILL")
    server:await("worker.exited")
    server:await("job.released", id)
    server:await("job.succeeded", id)
    local job = server.client:job(id)
    assert.equal(1, job.attempt)
    assert.equal(0, job.crashes)
  end)

  it("that is killed charges the job on its CPU, and the third time that job is poison", function()
    local server = start(1, 10, { ["handlers/burn.lua"] = [[
      return { timeout = "1h", run = function(job) job:progress(0.25, "burning") while true do end end }
    ]] })
    local id = server.client:push("burn", {})
    for crash = 1, 3 do
      server:await("job.started", id)
      local worker
      repeat -- until the page says that it is on the CPU
        worker = server.client:workers()[1]
      until worker and worker.on_cpu == id
      posix.kill(worker.pid, "KILL")
      if crash < 3 then
        server:await("job.failed", id)
        server.client:promote(id)
      end
    end
    server:await("job.dead", id)
    local job = server.client:job(id)
    assert.equal(3, job.crashes)
    assert.matches("SIGKILL", job.attempts[3].message)
  end)

  it("is killed when a compiled loop passes its timeout, and the neighbours run again uncharged", function()
    local server = start(1, 10)
    local neighbour = server.client:push("nap", { ms = 1500 })
    server:await("job.started", neighbour)
    local id = server.client:push("spin")
    server:await("job.dead", id)
    server:await("job.succeeded", neighbour)
    assert.equal(1, server.client:job(neighbour).attempt)
    assert.equal("TIMEOUT", server.client:job(id).attempts[1].code)
  end)

  it("gives up jobs that it does not begin, to one that is free", function()
    local server = start(2, 10)
    local hog = server.client:push("burn", { s = 0.8 })
    server:await("job.started", hog)
    local ids = {}
    for i = 1, 10 do ids[i] = server.client:push("quick") end
    for i = 1, 10 do server:await("job.succeeded", ids[i]) end
    assert.equal("running", server.client:job(hog).state)
    server:await("job.succeeded", hog)
  end)

  it("is told when a job is cancelled: at its next wait", function()
    local server = start(1, 10)
    local id = server.client:push("nap", { ms = 60000 })
    server:await("job.progress", id)
    assert.is_true(server.client:cancel(id, "no longer needed").signalled)
    server:await("job.cancelled", id)
    assert.equal("cancelled", server.client:job(id).state)
  end)

  it("loses a cancelled job that never waits, after the grace", function()
    local server = start(1, 10)
    local id = server.client:push("burn", { s = 600 })
    server:await("job.started", id)
    server.client:cancel(id)
    server:await("job.cancelled", id)
    server:await("job.succeeded", server.client:push("quick"))
  end)

  it("runs many waiting jobs at once", function()
    local server = start(1, 100)
    local ids = {}
    for i = 1, 100 do ids[i] = server.client:push("nap", { ms = 200 }) end
    for i = 1, 100 do server:await("job.started", ids[i]) end
    for i = 1, 100 do server:await("job.succeeded", ids[i]) end
  end)

  it("is one of several that pools name, each with its queues", function()
    local server = support.start({ files = {
      ["moonq.lua"] = [[return { pools = {
        fast = { workers = 1, concurrency = 2, queues = { "fast" } },
        rest = { workers = 1, concurrency = 2, queues = { "*" } } } }]],
      ["handlers/quick.lua"] = handlers["handlers/quick.lua"],
    } })
    local fast = server:await("job.started", server.client:push("quick", {}, { queue = "fast" }))
    assert.matches("^fast%.", fast.worker)
    local other = server:await("job.started", server.client:push("quick", {}, { queue = "other" }))
    assert.matches("^rest%.", other.worker)
  end)

  it("ends when its server is killed, and every job is where its last commit left it", function()
    local server = start(1, 10)
    local id = server.client:push("nap", { ms = 400 })
    local waiting = server.client:push("quick", {}, { delay = "1h" })
    server:await("job.progress", id)
    local worker = worker_of(server, id)
    server:kill()
    server:restart() -- if the worker still ran, its page or the store's lock would be in the way
    local stat = support.read_file("/proc/" .. worker.pid .. "/stat")
    assert.is_true(stat == nil or stat:match("%) Z") ~= nil, "the worker still lives: " .. tostring(stat))
    server:await("job.succeeded", id)
    local job = server.client:job(id)
    assert.equal(1, job.attempt)
    assert.equal("scheduled", server.client:job(waiting).state)
  end)
end)

describe("a worker that is being replaced", function()
  after_each(support.stop_all)

  it("holds nobody up while a long job of its own goes on", function()
    local server = support.start({ files = {
      ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 4, jobs = 3 } } }",
      ["handlers/a.lua"] = "return { run = function() end }",
      ["handlers/long.lua"] = [[local time = require "moonq.time"
        return { timeout = "10m", run = function(job) job:progress(0) time.sleep(600) end }]],
    } })
    local long = server.client:push("long")
    server:await("job.progress", long)
    for _ = 1, 20 do
      server:await("job.succeeded", server.client:push("a"))
    end
    assert.equal("running", server.client:job(long).state)
    assert.equal(1, server.client:job(long).attempt)
    server.client:cancel(long)
    server:await("job.cancelled", long)
  end)
end)

describe("a worker whose successor does not come up", function()
  after_each(support.stop_all)

  it("goes on until the application is mended", function()
    local server = support.start({ files = {
      ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 2, jobs = 3 } } }",
      ["handlers/a.lua"] = "return { run = function() end }",
    } })
    support.write_file(server.app .. "/handlers/broken.lua", "return {")
    for _ = 1, 10 do
      server:await("job.succeeded", server.client:push("a"))
    end
    server:await_log("worker.exited") -- the one that was refused
    server:await("job.succeeded", server.client:push("a"))
  end)
end)

describe("a listing of workers", function()
  after_each(support.stop_all)

  it("says since when each has run, also of those that came with the server", function()
    local server = start(1, 2)
    assert.is_number(server.client:workers()[1].started_at)
  end)

  it("that has run its number of jobs is replaced, and no job notices", function()
    local server = support.start({ files = {
      ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 3, jobs = 10 } } }",
      ["handlers/a.lua"] = "return { run = function(job) return job.args.i end }",
    } })
    local ids = {}
    for i = 1, 50 do
      ids[i] = server.client:push("a", { i = i })
    end
    for i = 1, 50 do
      local job = server.client:wait(ids[i])
      assert.same({ "succeeded", i }, { job.state, job.result })
      assert.equal(1, server.client:job(ids[i]).attempt)
    end
    local line = server:await_log("worker.log", function(line)
      return line.message:find("is replaced", 1, true)
    end)
    assert.matches("has run %d+ jobs %(a %d+%) and is replaced: it holds %d+ bytes", line.message)
    server:await("worker.exited")
    server.client:wait(server.client:push("a", { i = 51 })) -- whoever ran it has told its memory
    local most = 0
    for _, worker in ipairs(server.client:workers()) do
      most = math.max(most, worker.memory)
    end
    assert.is_true(most > 0)
    assert.equal(0, server.client:stats().crashed_total)
  end)
end)
