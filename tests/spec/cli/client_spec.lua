local client = require "moonq.client"
local json = require "moonq.client.json"
local posix = require "moonq_posix"
local support = require "support"

local files = {
  ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 8, queues = { '*' } } } }",
  ["handlers/echo.lua"] = "return { run = function(job) return job.args end }",
}

describe("the Lua client", function()
  local server, queue

  setup(function()
    server = support.start({ files = files })
    queue = server.client
    queue:pause("held")
  end)
  teardown(support.stop_all)

  it("pushes a job and waits for its result", function()
    local answer = queue:wait(queue:push("echo", { list = { 1, 2 }, text = "Ελένη" }))
    assert.equal("succeeded", answer.state)
    assert.same({ list = { 1, 2 }, text = "Ελένη" }, answer.result)
  end)

  it("keeps all digits of whole numbers, and fractions as they are", function()
    local args = { id = 9007199254740991, ms = 1772787600123, third = 1 / 3, tenth = 0.1 }
    assert.same(args, queue:wait(queue:push("echo", args)).result)
  end)

  it("raises what the server refuses, with its code", function()
    local err = support.refused(queue.push, queue, "echo", {}, { queue = "no such name!" })
    assert.equal("BADARG", err.code)
    assert.matches("no such name!", err.message, 1, true)
    assert.matches("^BADARG ", tostring(err))
    assert.equal("PONG", queue:call("PING"))
  end)

  it("refuses an option that nobody knows without asking the server", function()
    local err = support.refused(queue.push, queue, "echo", {}, { prioritty = 1 })
    assert.equal("BADARG", err.code)
    assert.matches("prioritty", err.message, 1, true)
  end)

  it("pushes many in one pipeline, and says which were refused", function()
    local err = support.refused(queue.push_many, queue, {
      { "echo", {}, { queue = "held" } }, { "echo", {}, { priority = 99 } }, { "echo", {}, { queue = "held" } },
    })
    assert.equal("BADARG", err.code)
    assert.matches("job 2", err.message, 1, true)
    assert.equal(13, #err.ids[1])
    assert.is_false(err.ids[2])
    assert.equal("held", queue:job(err.ids[3]).queue)
  end)

  it("sends nothing of a transaction that it cannot write, and goes on", function()
    for _, fn in ipairs({
      function(tx) tx:call("PUSH", "echo", "{}") tx:call("PUSH", "echo", { to = "x" }) end,
      function(tx) tx:push("echo", {}) tx:push("echo", {}, { priority = true }) end,
    }) do
      local err = support.refused(queue.multi, queue, fn)
      assert.equal("BADARG", err.code)
      assert.equal("PONG", queue:call("PING"))
      assert.equal(13, #queue:push("echo", {}, { queue = "held" }))
    end
    local err = support.refused(queue.push_many, queue, {
      { "echo", {}, { queue = "held" } }, { "echo", {}, { queue = true } },
    })
    assert.matches("job 2: QUEUE is a text or a number, not a boolean", err.message, 1, true)
    assert.equal("held", queue:job(err.ids[1]).queue)
  end)

  it("drives a pipeline that is deeper than any buffer", function()
    local commands = {}
    for i = 1, 100000 do
      commands[i] = { "ECHO", ("x"):rep(200) .. i }
    end
    local replies = queue:pipeline(commands)
    assert.equal(100000, #replies)
    assert.equal(("x"):rep(200) .. 100000, replies[100000])
  end)

  it("makes several changes one: all, or none with the reason", function()
    local first
    local replies = queue:multi(function(tx)
      tx:push("echo", { n = 1 }, { queue = "held" })
      tx:push("echo", { n = 2 }, { queue = "held" })
    end)
    assert.equal(2, #replies)
    first = replies[1]
    local before = queue:queue("held").ready
    local err = support.refused(queue.multi, queue, function(tx)
      tx:cancel(first)
      tx:cancel("0000000000001")
    end)
    assert.equal("NOTFOUND", err.code)
    assert.equal("ready", queue:job(first).state)
    assert.equal(before, queue:queue("held").ready)
  end)

  it("takes jobs under a lease, and acknowledges them", function()
    local id = queue:push("outside", { n = 1 }, { queue = "fetched" })
    local job = queue:fetch("fetched", { block = 10 })[1]
    assert.equal(id, job.id)
    assert.same({ n = 1 }, job.args)
    assert.is_true(queue:extend(job, "1m").deadline > job.deadline)
    assert.is_false(queue:progress(job, 0.5, "half").cancelling)
    assert.equal(0.5, queue:job(id).progress)
    queue:ack(job, { done = true })
    assert.same({ done = true }, queue:wait(id).result)
    assert.equal("LOST", support.refused(queue.nack, queue, { id = id, token = job.token }, "late").code)
  end)

  it("gives a failed attempt back with its reason", function()
    local id = queue:push("outside", {}, { queue = "failing" })
    local job = queue:fetch("failing", { block = 10 })[1]
    assert.equal("dead", queue:nack(job, "cannot be done", { dead = true }).state)
    local attempts = queue:job(id).attempts
    assert.equal("cannot be done", attempts[#attempts].message)
  end)

  it("answers nil for what is not there", function()
    assert.is_nil(queue:job("0000000000001"))
    assert.is_nil(queue:why("0000000000001"))
    assert.is_nil(queue:queue("never"))
  end)

  it("walks over all pages", function()
    queue:pause("paged")
    local jobs = {}
    for i = 1, 230 do
      jobs[i] = { "echo", { n = i }, { queue = "paged" } }
    end
    queue:push_many(jobs)
    local seen = {}
    for job in queue:each_job({ queue = "paged", limit = 50 }) do
      seen[job.id] = (seen[job.id] or 0) + 1
    end
    local count = 0
    for _, times in pairs(seen) do
      count = count + times
    end
    assert.equal(230, count)
  end)

  it("waits for an event only so long, and goes on with the same stream", function()
    local stream = queue:events({ name = "job.pushed", queue = "heard" })
    assert.is_nil(stream:next(0))
    queue:pause("heard")
    local id = queue:push("echo", {}, { queue = "heard" })
    assert.equal(id, stream:next(support.patience).id)
    stream:close()
  end)

  it("gives up a connection whose reply does not come, and connects anew", function()
    local impatient = server:connect({ timeout = 0.05 })
    local err = support.refused(impatient.call, impatient, "FETCH", "nothing", "BLOCK", "5s")
    assert.equal("TIMEOUT", err.code)
    assert.equal("PONG", impatient:call("PING"))
    impatient:close()
  end)

  it("names the socket that nobody listens on", function()
    local err = support.refused(client.connect, "/tmp/nowhere/moonq.sock")
    assert.equal("NOSERVER", err.code)
    assert.matches("/tmp/nowhere/moonq.sock", err.message, 1, true)
  end)

  it("finds the socket in an application's folder", function()
    local folder = support.folder({ ["moonq.lua"] = "return {}" })
    support.start({ app = folder, socket = folder .. "/moonq.sock" })
    assert.equal("PONG", client.connect(folder):call("PING"))
  end)
end)

describe("a client", function()
  after_each(support.stop_all)

  it("says that it does not know how a command ended when the server was killed, and connects anew after it", function()
    local server = support.start({ files = files })
    server.client:pause("held")
    local other = server:connect()
    server.program:signal("STOP") -- it reads nothing more
    other:send({ "PUSH", "echo", "{}", "QUEUE", "held" })
    other.connection:flush()
    server:kill()
    local err = support.refused(other.receive, other, nil, "PUSH")
    assert.equal("CLOSED", err.code)
    assert.matches("'PUSH' was done is unknown", err.message, 1, true)
    server:restart()
    assert.equal("PONG", other:call("PING"))
  end)
end)

describe("the testing helper", function()
  after_each(support.stop_all)

  it("shows the log of a server that does not start", function()
    local err = support.refused(support.start, { files = { ["moonq.lua"] = "return { poools = 1 }" } })
    assert.equal("CLOSED", err.code)
    assert.matches("poools", err.message, 1, true)
  end)

  it("finds the data of a server that was killed", function()
    local server = support.start({ files = files })
    server.client:pause("held")
    local id = server.client:push("echo", {}, { queue = "held" })
    server:kill()
    server:restart()
    assert.equal("ready", server.client:job(id).state)
  end)

  it("tells what it waited for in vain, and what came instead", function()
    local server = support.start({ files = files })
    local id = server.client:push("echo")
    server.client:wait(id)
    local err = support.refused(server.await, server, "job.dead", id, 0.05)
    assert.equal("TIMEOUT", err.code)
    assert.matches("job.dead", err.message, 1, true)
    assert.matches("job.succeeded", err.message, 1, true)
  end)

  it("starts programs that do not outlive whoever started them", function()
    local folder = support.folder()
    support.write_file(folder .. "/parent.lua", ([[
      package.cpath = %q
      local posix = require "moonq_posix"
      print(posix.spawn({ "sleep", "1000" }))
      io.stdout:flush()
      posix.wait(posix.spawn({ "sleep", "1000" }))
    ]]):format(package.cpath))
    local parent = support.program({ "luajit", folder .. "/parent.lua" })
    local child = tonumber(parent:expect(function(text)
      return text:match("^(%d+)\n")
    end))
    parent:signal("KILL")
    parent:wait()
    assert.is_true(posix.ended(child, support.patience))
  end)

  it("says which program it could not start", function()
    local err = support.refused(support.program, { "/nonexistent/program" })
    assert.equal("NOTFOUND", err.code)
    assert.matches("/nonexistent/program", err.message, 1, true)
  end)
end)

describe("JSON", function()
  it("writes lists, maps, and empty ones as what they are", function()
    assert.equal("{}", json.encode({}))
    assert.equal('[1,"a",true]', json.encode({ 1, "a", true }))
    assert.equal('{"a":{"b":[]}}', json.encode({ a = { b = setmetatable({}, require("moonq.client.shapes").Array) } }))
    assert.equal('"\\u0001\\n\\"é"', json.encode("\1\n\"é"))
    assert.equal("null", json.encode(json.null))
  end)

  it("refuses what JSON cannot hold", function()
    for _, value in ipairs({ 0 / 0, math.huge, print, { 1, nil, 3, [5] = 1 }, { [true] = 1 } }) do
      assert.is_false((pcall(json.encode, value)))
    end
    local circle = {}
    circle[1] = circle
    assert.is_false((pcall(json.encode, circle)))
  end)
end)
