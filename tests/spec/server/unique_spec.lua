local support = require "support"

local files = {
  ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 4 } } }",
  ["handlers/mail.lua"] = "return { run = function(job) return job.args end }",
  ["handlers/sync.lua"] = [[
    return { run = function(job)
      if job.args.hold then
        while not job:cancelled() do require("moonq.time").sleep(0.01) end
      end
      return job.args
    end }]],
  ["handlers/report.lua"] = [[
    return { unique_by = { "customer" }, unique_for = "1h", unique_in = "all", conflict = "skip",
      run = function(job) return job.args end }]],
  ["handlers/parent.lua"] = [[
    return { attempts = 1, run = function(job)
      job:push("mail", { n = 1 }, { unique = "child", delay = "1h", conflict = job.args.conflict })
      job:push("mail", { n = 2 }, { unique_by = { "n" }, delay = "1h" })
    end }]],
}

local function start(more)
  local all = {}
  for name, text in pairs(files) do all[name] = text end
  for name, text in pairs(more or {}) do all[name] = text end
  return support.start({ files = all })
end

local function push(server, job_type, args, opts)
  opts.reply = "map"
  return server.client:push(job_type, args, opts)
end

describe("a unique key", function()
  after_each(support.stop_all)

  it("makes one job of ten producers that push it at once", function()
    local server = start()
    server.client:pause("default")
    local many = {}
    for i = 1, 10 do
      many[i] = server:connect()
    end
    local ids = {}
    for i = 1, 10 do
      many[i]:send({ "PUSH", "mail", "{}", "UNIQUE", "k" }) -- all are sent before one is answered
    end
    for i = 1, 10 do
      local ok, id = many[i]:receive()
      assert.is_true(ok)
      ids[id] = true
    end
    local count = 0
    for _ in pairs(ids) do count = count + 1 end
    assert.equal(1, count)
    assert.equal(1, server.client:queue("default").pushed_total)
  end)

  it("says what a push did, who holds the key, and WHY the job behind waits", function()
    local server = start()
    local first = push(server, "sync", { hold = true }, { unique = "s" })
    assert.same({ "added", nil }, { first.outcome, first.holder })
    server:await("job.started", first.id)
    local skipped = push(server, "sync", {}, { unique = "s" })
    assert.same({ "skipped", first.id, first.id, "running" },
      { skipped.outcome, skipped.id, skipped.holder, skipped.state })
    local err = support.refused(server.client.push, server.client, "sync", {}, { unique = "s", conflict = "error" })
    assert.equal("CONFLICT", err.code)
    assert.matches(first.id, err.message, 1, true)
    local behind = push(server, "sync", {}, { unique = "s", conflict = "replace" })
    assert.same({ "behind", "blocked" }, { behind.outcome, behind.state })
    assert.matches("it follows job " .. first.id, server.client:why(behind.id).answer, 1, true)
    local job = server.client:job(behind.id)
    assert.same({ "s", "waits" }, { job.unique_key, job.unique })
    assert.equal("holds", server.client:job(first.id).unique)
    local row = server.client:call("UNIQUE", "SHOW", "s")[1]
    assert.same({ first.id, behind.id, "running" }, { row.holder, row.waiter, row.state })
    server.client:cancel(first.id)
    server:await("job.succeeded", behind.id)
    assert.equal("NOTFOUND", support.refused(server.client.call, server.client, "UNIQUE", "SHOW", "s").code)
  end)

  it("throttles: the first one wins for the window", function()
    local server = start()
    local first = server.client:push("report", { customer = 7, n = 1 })
    server:await("job.succeeded", first)
    assert.equal(first, server.client:push("report", { customer = 7, n = 2 }))
    assert.not_equal(first, server.client:push("report", { customer = 8 }))
    server:kill()
    server:restart()
    assert.equal(first, server.client:push("report", { customer = 7, n = 3 }))
    local status, out = support.moonq("unique", '{"customer":7}', "--socket", server.socket)
    assert.equal(0, status)
    assert.matches("is held by " .. first .. ", which is succeeded, until", out, 1, true)
    assert.equal(0, (support.moonq("unique", '{"customer":7}', "--release", "--socket", server.socket)))
    assert.equal(4, (support.moonq("unique", '{"customer":7}', "--socket", server.socket)))
    assert.not_equal(first, server.client:push("report", { customer = 7, n = 4 }))
    local err = support.refused(server.client.push, server.client, "report", { custmer = 7 })
    assert.equal("BADARG", err.code)
    assert.matches("the payload has no 'customer'", err.message, 1, true)
  end)

  it("lets a throttled key go when its window is over", function()
    local server = start()
    local opts = { unique = "k", unique_for = "200ms", unique_in = "all", keep = 0 }
    local first = server.client:push("mail", {}, opts)
    server:await("job.succeeded", first)
    server:await("job.deleted", first) -- its record was kept for the window, and no longer
    assert.not_equal(first, server.client:push("mail", {}, opts))
  end)

  it("debounces: the last one wins, and the timer restarts", function()
    local server = start()
    local opts = { unique = "page:9", delay = "1h", conflict = "replace" }
    local first = push(server, "mail", { version = 1 }, opts)
    local due = server.client:job(first.id).run_at
    for version = 2, 5 do
      local answer = push(server, "mail", { version = version }, opts)
      assert.same({ "replaced", first.id }, { answer.outcome, answer.id })
    end
    assert.is_true(server.client:job(first.id).run_at >= due)
    opts.delay = "50ms"
    push(server, "mail", { version = 6 }, opts)
    assert.same({ version = 6 }, server.client:wait(first.id).result)
    assert.equal(1, server.client:queue("default").pushed_total)
  end)

  it("keeps the latest while one runs: one running, at most one waiting, with the newest arguments", function()
    local server = start()
    local opts = { unique = "sync", conflict = "replace" }
    local first = push(server, "sync", { hold = true }, opts)
    server:await("job.started", first.id)
    local second = push(server, "sync", { cursor = 1 }, opts)
    for cursor = 2, 5 do
      assert.equal(second.id, push(server, "sync", { cursor = cursor }, opts).id)
    end
    local queue = server.client:queue("default")
    assert.same({ 1, 1 }, { queue.running, queue.blocked })
    server.client:cancel(first.id)
    assert.same({ cursor = 5 }, server.client:wait(second.id).result)
    assert.equal(2, server.client:queue("default").pushed_total)
  end)

  it("is decided inside a MULTI, all or nothing", function()
    local server = start()
    server.client:pause("default")
    local ids = server.client:multi(function(multi)
      multi:push("mail", {}, { unique = "a" })
      multi:push("mail", {}, { unique = "a" })
    end)
    assert.equal(ids[1], ids[2])
    local err = support.refused(server.client.multi, server.client, function(multi)
      multi:push("mail", {}, { unique = "b", conflict = "error" })
      multi:push("mail", {}, { unique = "b", conflict = "error" })
    end)
    assert.equal("CONFLICT", err.code)
    assert.equal("NOTFOUND", support.refused(server.client.call, server.client, "UNIQUE", "SHOW", "b").code)
    assert.equal(1, server.client:queue("default").pushed_total)
  end)

  it("is decided with a handler's acknowledgement", function()
    local server = start()
    server:await("job.succeeded", server.client:push("parent", {}))
    server:await("job.succeeded", server.client:push("parent", {}))
    assert.equal(2, #server.client:jobs({ type = "mail" }).jobs) -- each pushed both
    local refused = server.client:push("parent", { conflict = "error" })
    assert.equal("dead", server.client:wait(refused).state)
    assert.matches("is held by job", server.client:job(refused).attempts[1].message, 1, true)
  end)

  it("is taken again by a job that is brought back, unless somebody has it", function()
    local server = start({ ["handlers/mail.lua"] = "return { attempts = 1, run = function() error('no') end }" })
    local first = server.client:push("mail", {}, { unique = "k" })
    server:await("job.dead", first)
    local second = server.client:push("mail", {}, { unique = "k", delay = "1h" })
    assert.not_equal(first, second)
    assert.equal("CONFLICT", support.refused(server.client.retry, server.client, first).code)
    server.client:cancel(second)
    server.client:retry(first)
    server:await("job.dead", first)
  end)

  it("of a handler's table is checked with the application", function()
    local folder = support.folder({
      ["moonq.lua"] = "return {}",
      ["handlers/a.lua"] = "return { unique = 'k', unique_by = 'x', run = function() end }",
      ["handlers/b.lua"] = "return { unique_in = { 'ready', 'done' }, unique = 'k', run = function() end }",
      ["handlers/c.lua"] = "return { conflict = 'skip', run = function() end }",
    })
    local _, out = support.moonq("check", folder)
    assert.matches("unique (the key) and unique_by (what it is made of) exclude each other", out, 1, true)
    assert.matches("'done' is not a state", out, 1, true)
    assert.matches("mean nothing without unique or unique_by", out, 1, true)
  end)
end)
