local json = require "moonq.client.json"
local support = require "support"

local files = {
  ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 4 } } }",
  ["handlers/mail.lua"] = "return { run = function() return 1 end }",
  ["handlers/report.lua"] = "return { run = function() return 2 end }",
}

local function start()
  return support.start({ files = files })
end

describe("a pause", function()
  after_each(support.stop_all)

  it("of a queue says why, by whom and until when, and survives a restart", function()
    local server = start()
    server.client:pause("mail", { reason = "the relay is down", by = "ana", ["for"] = "1h" })
    local id = server.client:push("mail", {}, { queue = "mail" })
    server:kill()
    server:restart()
    local queue = server.client:queue("mail")
    assert.same({ true, "ana", "the relay is down" }, { queue.paused, queue.paused_by, queue.reason })
    assert.is_true(queue.paused_until - queue.paused_at == 3600000)
    local answer = server.client:why(id).answer
    assert.matches("queue 'mail' is paused by ana since ", answer, 1, true)
    assert.matches(", until 2", answer, 1, true)
    assert.matches(": the relay is down (RESUME it)", answer, 1, true)
    assert.equal(1, server.client:stats().queues_paused)
    server.client:resume("mail")
    server:await("job.succeeded", id)
    assert.is_nil(server.client:queue("mail").paused_by)
  end)

  it("of a queue ends by itself when its time is over", function()
    local server = start()
    server.client:pause("default", { ["for"] = "300ms" })
    local id = server.client:push("mail")
    assert.equal("ready", server.client:job(id).state)
    server:await("queue.resumed")
    server:await("job.succeeded", id)
    assert.is_false(server.client:queue("default").paused)
  end)

  it("whose time is over while the server is down has ended when it is back", function()
    local server = start()
    server.client:pause("default", { ["for"] = "50ms" })
    local id = server.client:push("mail")
    server:kill()
    server:restart()
    assert.equal("succeeded", server.client:wait(id).state)
  end)

  it("of a type lets the other types of its queue run, and keeps its jobs through a crash", function()
    local server = start()
    server.client:pause_type("mail", { reason = "no relay", by = "ana" })
    local held = {}
    for i = 1, 20 do
      held[i] = server.client:push("mail")
    end
    server:await("job.succeeded", server.client:push("report"))
    assert.is_true(server.client:job(held[1]).held)
    assert.equal(20, server.client:queue("default").held)
    local answer = server.client:why(held[1]).answer
    assert.matches("job type 'mail' is paused by ana", answer, 1, true)
    server:kill()
    server:restart()
    server:await("job.succeeded", server.client:push("report"))
    assert.equal(20, server.client:queue("default").held)
    assert.same({ 1, 20 }, { server.client:stats().types_paused, server.client:stats().held })
    server.client:resume_type("mail")
    for i = 1, 20 do
      server:await("job.succeeded", held[i])
    end
    assert.equal(0, server.client:queue("default").held)
    assert.equal("NOTFOUND", support.refused(server.client.resume_type, server.client, "mail").code)
  end)

  it("of a type ends by itself, and a consumer outside gets nothing of it before", function()
    local server = start()
    server.client:pause("out") -- not yet: no worker of ours is to meet it
    server.client:pause_type("elsewhere", { ["for"] = "400ms" })
    local id = server.client:push("elsewhere", {}, { queue = "out" })
    server.client:resume("out")
    assert.equal(0, #server.client:fetch("out"))
    server:await("type.resumed")
    server:await("job.parked", id) -- a worker has looked at it
    assert.equal(id, server.client:fetch("out", { block = 5 })[1].id)
  end)

  it("is named after the user whose process asked for it", function()
    local server = start()
    server.client:pause("default")
    local status, out = support.run({ "id", "-un" })
    assert.equal(0, status)
    assert.equal(out:match("%S+"), server.client:queue("default").paused_by)
  end)

  it("is set, listed and ended from the command line", function()
    local server = start()
    local function moonq(command, ...)
      return support.moonq(command, "--socket", server.socket, ...)
    end
    local status, out = moonq("pause")
    assert.same({ 0, "Nothing is paused.\n" }, { status, out })
    status, out = moonq("pause", "mail", "--reason", "lunch", "--by", "ana", "--until", "2100-01-01T00:00:00Z")
    assert.same({ 0, "mail is paused; it resumes by itself at 2100-01-01T00:00:00Z, or by moonq resume\n" },
      { status, out })
    assert.equal(0, (moonq("pause", "--type", "report", "--for", "2h", "--by", "bob")))
    server.client:push("mail", {}, { queue = "mail" })
    status, out = moonq("pause")
    assert.matches("queue mail +ana .*2100.*lunch", out)
    assert.matches("type report +bob ", out)
    assert.equal(0, status)
    status, out = moonq("queues")
    assert.equal(0, status)
    assert.matches("mail[^\n]+paused by ana until 2100[^\n]+: lunch", out)
    assert.matches("type report is paused by bob until ", out, 1, true)
    status, out = moonq("pause", "--json")
    assert.equal(0, status)
    assert.same({ "queue", "mail", "ana" }, { json.decode(out)[1].what, json.decode(out)[1].name,
      json.decode(out)[1].by })
    assert.equal(2, (moonq("pause", "mail", "--type", "report")))
    assert.equal(2, (moonq("resume")))
    assert.equal(2, (moonq("pause", "mail", "--for", "sometime")))
    assert.equal(4, (moonq("resume", "--type", "mail")))
    assert.equal(0, (moonq("resume", "--type", "report")))
    assert.equal(0, (moonq("resume", "mail")))
    status, out = moonq("pause")
    assert.same({ 0, "Nothing is paused.\n" }, { status, out })
  end)
end)
