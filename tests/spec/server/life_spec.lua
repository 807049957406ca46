local support = require "support"

-- Handlers that specs of this folder share.
local files = {
  ["moonq.lua"] = [[return { stop_grace = "5s", pools = { default = { workers = 2, concurrency = 10 } } }]],
  ["handlers/echo.lua"] = [[return { run = function(job) return { args = job.args, attempt = job.attempt } end }]],
  ["handlers/fail.lua"] =
    [[return { attempts = 2, retry = { 0.05 }, run = function(job) error("boom " .. job.attempt) end }]],
  ["handlers/nap.lua"] = [[
    local time = require "moonq.time"
    return { run = function(job) time.sleep(job.args.ms / 1000) return "slept" end }
  ]],
  ["handlers/parent.lua"] = [[
    return { attempts = 1, run = function(job)
      job:push("echo", { n = 1 })
      job:push("echo", { n = 2 })
      if job.args.fail then error("after the pushes") end
      return "two"
    end }
  ]],
}

describe("a job", function()
  after_each(support.stop_all)

  it("is pushed, run, and remembered with its result", function()
    local server = support.start({ files = files })
    local id = server.client:push("echo", { name = "Ana" }, { tags = { "vip" }, meta = { correlation_id = "c-1" } })
    assert.equal(13, #id)
    server:await("job.succeeded", id)
    local job = server.client:job(id)
    assert.equal("succeeded", job.state)
    assert.equal(1, job.attempt)
    assert.same({ "vip" }, job.tags)
    assert.equal(1, #job.attempts)
    assert.equal("ack", job.attempts[1].outcome)
  end)

  it("that fails is retried, and then is a dead letter with every attempt's error", function()
    local server = support.start({ files = files })
    local id = server.client:push("fail")
    server:await("job.failed", id)
    server:await("job.dead", id)
    local job = server.client:job(id)
    assert.equal("dead", job.state)
    assert.equal(2, #job.attempts)
    assert.matches("fail.lua:1: boom 1", job.attempts[1].message, 1, true)
    assert.matches("boom 2", job.attempts[2].message, 1, true)
    assert.matches("traceback", job.attempts[1].traceback)
  end)

  it("waits for its time, and is promoted by hand", function()
    local server = support.start({ files = files })
    local id = server.client:push("echo", {}, { delay = "1h" })
    assert.equal("scheduled", server.client:job(id).state)
    server.client:promote(id)
    server:await("job.succeeded", id)
  end)

  it("starts by itself when its delay is over", function()
    local server = support.start({ files = files })
    local id = server.client:push("echo", {}, { delay = "80ms" })
    server:await("job.succeeded", id)
  end)

  it("pushes others only if it succeeds", function()
    local server = support.start({ files = files })
    local bad = server.client:push("parent", { fail = true })
    server:await("job.dead", bad)
    assert.equal(0, #server.client:jobs({ type = "echo" }).jobs)
    server.client:push("parent", {})
    server:await("job.succeeded", function(event) return event.type == "echo" end)
    server:await("job.succeeded", function(event) return event.type == "echo" end)
  end)

  it("in a queue that no pool serves waits, and the log, an event and WHY say so", function()
    local server = support.start({ files = {
      ["moonq.lua"] = [[return { idle_alarm = "1s", pools = { mail = { workers = 1, queues = { "mail" } } } }]],
      ["handlers/report.lua"] = [[return { queue = "reports", run = function() return 1 end }]],
    } })
    local id = server.client:push("report")
    assert.matches("no pool serves queue 'reports'", server.client:why(id).answer, 1, true)
    assert.equal("reports", server:await("queue.unserved").queue)
    assert.equal(1, server.client:stats().queues_unserved)
    assert.equal("reports", server:await_log("queue.unserved").queue)
    assert.matches("no pool serves queue 'reports', so", server:await_log("application.warning").message, 1, true)
    support.write_file(server.app .. "/moonq.lua", [[return { pools = { mail = { workers = 1, queues = { "*" } } } }]])
    server.client:reload()
    server:await("job.succeeded", id)
  end)

  it("without a handler waits, says why, and runs after a reload that brings one", function()
    local server = support.start({ files = files })
    local id = server.client:push("late.comer", { x = 1 }, { meta = { correlation_id = "c-7" } })
    server:await("job.parked", id)
    local why = server.client:why(id)
    local line = server:await_log("job.no_handler")
    assert.same({ id, "late.comer", "default", 1, "c-7" },
      { line.id, line.type, line.queue, line.attempt, line.correlation_id })
    assert.equal("ready", why.state)
    assert.matches("no handler", why.answer)
    support.write_file(server.app .. "/handlers/late/comer.lua", "return { run = function() return 1 end }")
    server.client:reload()
    server:await("job.succeeded", id)
    assert.equal(1, server.client:job(id).attempt)
  end)

  it("without a handler is left alone by reloads and restarts that bring none for it", function()
    local server = support.start({ files = files })
    local still = server.client:push("never.comes", {})
    local id = server.client:push("late.comer", {})
    server:await("job.parked", still)
    server:await("job.parked", id)
    local since = server.client:job(still).since
    support.write_file(server.app .. "/handlers/late/comer.lua", "return { run = function() return 1 end }")
    server.client:reload()
    server:await("job.succeeded", id)
    assert.equal(since, server.client:job(still).since)
    server:halt()
    server:restart()
    server:await("job.succeeded", server.client:push("echo", {}))
    local job = server.client:job(still)
    assert.same({ since, true, 0 }, { job.since, job.parked, job.attempt })
  end)

  it("says of each attempt which scripts its worker had loaded", function()
    local server = support.start({ files = {
      ["moonq.lua"] = [[return { pools = { default = { workers = 1, queues = { "*" } } } }]],
      ["handlers/a.lua"] = [[return { retry = { policy = "fixed", delay = "1h" }, run = function() error("old") end }]],
    } })
    local id = server.client:push("a")
    server:await("job.failed", id)
    local old = server.client:job(id).attempts[1].scripts
    assert.matches("^%x%x%x%x%x%x%x%x$", old)
    assert.equal(old, server.client:workers()[1].scripts)
    server.client:reload() -- nothing has changed
    server.client:promote(id)
    server:await("job.failed", id)
    support.write_file(server.app .. "/handlers/a.lua", [[return { keep = "1h", run = function() return 1 end }]])
    server.client:reload()
    server.client:promote(id)
    server:await("job.succeeded", id)
    local attempts = server.client:job(id).attempts
    assert.equal(old, attempts[2].scripts)
    assert.are_not.equal(old, attempts[3].scripts)
    local of_workers = {} -- the old one may not have ended yet
    for _, worker in ipairs(server.client:workers()) do
      of_workers[worker.scripts] = true
    end
    assert.is_true(of_workers[attempts[3].scripts])
  end)

  it("that nobody kept is gone when it has succeeded", function()
    local server = support.start({ files = files })
    local id = server.client:push("echo", {}, { keep = "0s" })
    server:await("job.succeeded", id)
    assert.is_nil(server.client:job(id))
  end)

  it("whose expiry passed while its queue was paused never starts", function()
    local server = support.start({ files = files })
    server.client:pause("default", "a test")
    local id = server.client:push("echo", {}, { expires = "50ms" })
    server:await("job.expired", id)
    assert.equal("expired", server.client:job(id).state)
  end)

  it("is answered to whoever waits for it", function()
    local server = support.start({ files = files })
    local id = server.client:push("nap", { ms = 50 })
    local answers = server.client:wait(id)
    local answer = answers[1] or answers
    assert.equal("succeeded", answer.state)
  end)
end)

describe("a dead letter", function()
  after_each(support.stop_all)

  it("is corrected, retried and succeeds", function()
    local server = support.start({ files = {
      ["moonq.lua"] = "return {}",
      ["handlers/need.lua"] = [[return { attempts = 1, run = function(job)
        if not job.args.address then error(moonq.permanent("no address")) end
        return job.args.address
      end }]],
    } })
    local id = server.client:push("need", {})
    server:await("job.dead", id)
    assert.matches("no address", server.client:job(id).attempts[1].message)
    server.client:retry(id, '{"address":"a@example.org"}')
    server:await("job.succeeded", id)
    local job = server.client:job(id)
    assert.equal(2, #job.attempts)
  end)

  it("is retried with all of its kind, each once", function()
    local server = support.start({ files = files })
    for _ = 1, 20 do server.client:push("fail") end
    for _ = 1, 20 do server:await("job.dead") end
    local answer = server.client:where("RETRY", { state = "dead", type = "fail" })
    assert.equal(20, answer.touched)
    for _ = 1, 20 do server:await("job.dead") end
  end)
end)

describe("the store of a server", function()
  after_each(support.stop_all)

  it("says loudly when it is relaxed, and nothing is lost if only it dies", function()
    local server = support.start({ files = {
      ["moonq.lua"] = 'return { sync = "relaxed", relaxed_for = "50ms" }',
      ["handlers/a.lua"] = "return { run = function() end }",
    } })
    local line = server:await_log("store.relaxed")
    assert.equal("warn", line.level)
    assert.matches("confirmed in the last 50ms may be lost", line.message, 1, true)
    local stats = server.client:stats()
    assert.same({ "relaxed", 50 }, { stats.sync, stats.relaxed_for })
    assert.matches("\r\nsync:relaxed\r\n", server.client:call("INFO"), 1, true)
    server.client:pause("default")
    local id = server.client:push("a")
    server:kill()
    server:restart()
    assert.equal("ready", server.client:job(id).state)
  end)

  it("is not relaxed by itself", function()
    local server = support.start({ files = { ["moonq.lua"] = "return {}" } })
    assert.equal("commit", server.client:stats().sync)
  end)
end)
