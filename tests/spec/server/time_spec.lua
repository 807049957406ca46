local support = require "support"

local files = {
  ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 4 } } }",
  ["handlers/mail.lua"] = "return { run = function(job) return 1 end }",
  ["handlers/poll.lua"] = [[
    local moonq = require "moonq"
    return { attempts = 1, run = function(job)
      if job.args.how == "snooze" then moonq.snooze(job.args.delay) end
      if job.args.how == "retry_in" then moonq.retry_in(job.args.delay, "later") end
      job:push("mail", {}, job.args.opts)
    end }]],
}

local function start()
  return support.start({ files = files })
end


describe("a scheduled job", function()
  after_each(support.stop_all)

  it("runs at its time, and says how late it began", function()
    local server = start()
    local id = server.client:push("mail", {}, { delay = "50ms" })
    local job = server.client:job(id)
    assert.equal("succeeded", server.client:wait(id).state)
    local ended = server.client:job(id)
    assert.equal(job.run_at, ended.due_at)
    assert.is_true(ended.late >= 0)
    local _, out = support.moonq("job", id, "--socket", server.socket)
    assert.matches("due +%S+ %S+; begun %d+m?s later", out)
    local stats = server.client:stats()
    assert.equal(1, stats.late_total)
    assert.equal(ended.late, stats.late_last)
    assert.equal(ended.late, stats.late_max)
  end)

  it("that was due while the server was down runs at its start, and its lateness is told", function()
    local server = start()
    server.client:pause("default", { ["for"] = "10m" })
    local id = server.client:push("mail", {}, { at = 1000 * 1000 }) -- in 1970: now
    assert.equal("ready", server.client:job(id).state)
    local late = server.client:push("mail", {}, { delay = "1ms" })
    server:await("job.ready", late)
    server:kill()
    server:restart()
    server.client:resume("default")
    assert.equal("succeeded", server.client:wait(id).state)
    assert.equal("succeeded", server.client:wait(late).state)
    local job = server.client:job(late)
    assert.is_true(job.late > 0)
    assert.is_true(server.client:stats().late_max >= job.late)
  end)

  it("is given another time by id, also inside a MULTI", function()
    local server = start()
    local client = server.client
    local id = client:push("mail", {}, { delay = "1d" })
    local answer = client:reschedule(id, "2999-01-01T00:00:00Z")
    assert.same({ "scheduled", "scheduled" }, { answer.was, answer.state })
    server:await("job.rescheduled", id)
    client:multi(function(multi)
      multi:call("RESCHEDULE", id, 253402300799999)
      multi:push("mail", {}, { delay = "1d" })
    end)
    assert.equal(253402300799999, client:job(id).run_at)
    assert.equal(0, (support.moonq("reschedule", "--socket", server.socket, "1970-01-02", id)))
    server:await("job.succeeded", id)
    assert.equal("WRONGSTATE", support.refused(client.reschedule, client, id, "2999-01-01").code)
  end)

  it("that could not start in time ends expired, visible and counted", function()
    local server = start()
    server.client:pause("default")
    local id = server.client:push("mail", {}, { delay = "10ms", expires = "60ms" })
    server:await("job.expired", id)
    assert.equal("expired", server.client:job(id).state)
    assert.equal(1, server.client:queue("default").expired_total)
    assert.equal(1, server.client:stats().expired)
  end)

  it("is refused a time beyond the year 9999 or a negative delay at every entrance", function()
    local server = start()
    local client = server.client
    local function refused(...)
      assert.equal("BADARG", support.refused(...).code)
    end
    refused(client.push, client, "mail", {}, { at = "10000-01-01T00:00:00Z" })
    refused(client.push, client, "mail", {}, { at = "253402300800000" })
    refused(client.push, client, "mail", {}, { delay = -1 })
    refused(client.push, client, "mail", {}, { delay = "-1s" })
    refused(client.push, client, "mail", {}, { expires = -1 })
    local id = client:push("mail", {}, { delay = "1d" })
    refused(client.reschedule, client, id, "253402300800000")
    refused(client.reschedule, client, id, "-5")
    refused(client.reschedule, client, id, "tomorrow")
    client:push("foreign", {}, { queue = "f" })
    local job = client:fetch("f")[1]
    refused(client.nack, client, job, "no", { delay = -1 })
    refused(client.nack, client, job, "no", { delay = "-1s" })
    local _, _, said = support.moonq("push", "--socket", server.socket, "mail", "{}", "--delay=-5s")
    assert.matches("-5s", said, 1, true)
    for _, args in ipairs({ { how = "snooze", delay = -1 }, { how = "retry_in", delay = -1 },
      { how = "snooze", delay = "36526d" }, { how = "retry_in", delay = 1e11 },
      { how = "retry_in", delay = "2932896d" },
      { opts = { delay = -1 } }, { opts = { at = 1e15 } }, { opts = { delay = "-1s" } } }) do
      local poll = client:push("poll", args)
      assert.equal("dead", client:wait(poll).state)
      local attempt = client:job(poll).attempts[1]
      assert.is_true(attempt.code == "BADARG" or attempt.code == "SCRIPT")
      assert.matches(args.opts and args.opts.at and "AT" or "duration", attempt.message, 1, true)
    end
  end)
end)
