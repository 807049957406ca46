local support = require "support"

local config = [[return {
  cancel_grace = "200ms", timeout_grace = "200ms", silence_max = "10s",
  pools = { default = { workers = 2, concurrency = 2 } } }]]

local handlers = {
  -- The first attempt waits for ever, or never lets go of the CPU; the next one is quick.
  ["handlers/stuck.lua"] = [[
    local time = require "moonq.time"
    return { timeout = "1h", attempts = 1, run = function(job)
      if job.args.first and tonumber(job.token) == 1 then
        job:progress(0.5, "here")
        if job.args.first == "wait" then time.sleep(3600) end
        while true do end
      end
      return "by " .. job.token
    end }]],
  ["handlers/quick.lua"] = [[return { run = function() return "quick" end }]],
}

local function start()
  local files = { ["moonq.lua"] = config }
  for name, text in pairs(handlers) do files[name] = text end
  return support.start({ files = files })
end

describe("a running job that a person releases", function()
  after_each(support.stop_all)

  it("runs again at once, uncharged, while its handler is stopped", function()
    local server = start()
    local id = server.client:push("stuck", { first = "wait" })
    server:await("job.progress", id)
    local holder = server.client:job(id).holder
    local answer = server.client:release(id, { reason = "it hangs", by = "ana" })
    assert.same({ true, "ready", holder, 1 }, { answer.released, answer.state, answer.holder, answer.attempt })
    server:await("job.released", id)
    server:await("job.succeeded", id)
    local job = server.client:job(id)
    assert.equal(1, job.attempt) -- of one: the first was refunded
    assert.equal('"by 2"', job.result)
    assert.equal("released by ana: it hangs", job.attempts[1].message)
  end)

  it("is taken from a compiled loop too, whose worker dies of it, and nobody is charged", function()
    local server = start()
    local id = server.client:push("stuck", { first = "spin" })
    server:await("job.started", id)
    local on_cpu
    repeat
      for _, worker in ipairs(server.client:workers()) do on_cpu = on_cpu or worker.on_cpu end
    until on_cpu == id
    server.client:release(id)
    server:await("job.succeeded", id)
    server:await("worker.exited")
    local job = server.client:job(id)
    assert.same({ "succeeded", 1, 0 }, { job.state, job.attempt, job.crashes })
    server:await("job.succeeded", server.client:push("quick"))
  end)

  it("is lost by the consumer that had it, and another gets it", function()
    local server = start()
    local one, two = server:connect(), server:connect()
    one:call("CLIENT", "SETNAME", "host-7")
    local id = server.client:push("elsewhere", {}, { queue = "out", attempts = 1 })
    server:await("job.parked", id) -- no handler here: it waits for a consumer
    local first = one:fetch("out")[1]
    assert.equal(id, first.id)
    local answer = server.client:release_worker("host-7", { reason = "power cut" })
    assert.equal(1, answer.touched)
    assert.same({ id }, { unpack(answer.jobs) })
    for _, late in ipairs({ "ack", "nack", "extend", "progress" }) do
      local word = late == "extend" and "10s" or late == "progress" and 0.5 or "x"
      local err = support.refused(one[late], one, first, word)
      assert.equal("LOST", err.code)
    end
    local again = two:fetch("out", { block = 10 })[1]
    assert.same({ id, 1 }, { again.id, again.attempt })
    two:ack(again)
    assert.equal("succeeded", server.client:job(id).state)
  end)

  it("keeps its release through a restart", function()
    local server = start()
    local id = server.client:push("elsewhere", {}, { queue = "out" })
    server:await("job.parked", id)
    local held = server.client:fetch("out")[1]
    assert.is_true(server.client:release(id).released)
    server:await("job.parked", id) -- a worker may have had it for a moment, to see that it has no handler
    server:kill()
    server:restart()
    assert.same({ "ready", 0 }, { server.client:job(id).state, server.client:job(id).attempt })
    assert.equal("LOST", support.refused(server.client.ack, server.client, held).code)
  end)

  it("is named one by one with what became of it", function()
    local server = start()
    local waits = server.client:push("quick", {}, { delay = "1h" })
    local answers = server.client:release({ waits, "0000000000001" })
    assert.is_false(answers[1].released)
    assert.matches("^WRONGSTATE .*is scheduled: RELEASE is not possible", answers[1].error)
    assert.equal("scheduled", answers[1].state)
    assert.matches("^NOTFOUND", answers[2].error)
  end)

  it("goes back from the command line, by id, by worker and by filter", function()
    local server = start()
    local function moonq(...)
      return support.moonq("release", "--socket", server.socket, ...)
    end
    local ids = {}
    for i = 1, 3 do
      ids[i] = server.client:push("elsewhere", {}, { queue = "out" })
      server:await("job.parked", ids[i])
    end
    server.client:fetch("out", { count = 3 })
    local status, out = moonq(ids[1], "--reason", "no")
    assert.equal(0, status)
    assert.matches(ids[1] .. "  running -> ready (attempt 1 of ", out, 1, true)
    local message = server.client:job(ids[1]).attempts[1].message
    assert.matches("^released by %S+: no$", message) -- the user whose process asked
    status = moonq(ids[1])
    assert.equal(1, status)
    assert.equal(2, (moonq()))
    assert.equal(2, (moonq(ids[2], "--worker", "x")))
    status, out = moonq("--worker", "moonq-cli")
    assert.same({ 0, "released 0\n" }, { status, out })
    status, out = moonq("--type", "elsewhere")
    assert.same({ 0, "released 2\n" }, { status, out })
    server:await("job.released", ids[3])
    server:await("job.parked", ids[3])
    assert.equal("ready", server.client:job(ids[3]).state)
  end)
end)
