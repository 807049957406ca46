local json = require "moonq.client.json"
local support = require "support"

local files = {
  ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 8, queues = { '*' } } } }",
  ["handlers/echo.lua"] = "return { run = function(job) return job.args end }",
  ["handlers/broken.lua"] = [[
    return { attempts = 1, run = function(job) error("cannot do " .. tostring(job.args.what)) end }]],
  ["handlers/fixable.lua"] = [[
    return { run = function(job)
      if not job.args.good then require("moonq").permanent("550 no such user") end
      return { sent = true }
    end }]],
}

describe("the command line", function()
  local server

  -- One server for all: each case has its own queue.
  setup(function()
    server = support.start({ files = files })
  end)
  teardown(support.stop_all)

  local function moonq(...)
    local words = { ... }
    local opts = type(words[#words]) == "table" and table.remove(words) or {}
    opts.env = opts.env or {}
    opts.env.MOONQ_SOCKET = server.socket
    words[#words + 1] = opts
    return support.moonq(unpack(words))
  end

  local function push(...)
    local status, out, err = moonq("push", ...)
    assert.equal(0, status, err)
    return (out:match("%S+"))
  end

  -- A job that nobody runs: its queue is paused.
  local function parked(queue, ...)
    server.client:pause(queue)
    return push("echo", "{}", "--queue", queue, ...)
  end

  describe("push", function()
    it("prints the id of a job that is on disk", function()
      local id = push("echo", '{"a":1}')
      assert.equal(13, #id)
      server:await("job.succeeded", id)
      assert.equal("echo", server.client:job(id).type)
    end)

    it("waits for the result when asked to", function()
      local status, out = moonq("push", "echo", '{"a":[1,2]}', "--wait", "10s")
      assert.equal(0, status)
      assert.same({ a = { 1, 2 } }, json.decode(out))
    end)

    it("pushes nothing if the time to wait is wrong", function()
      for _, wrong in ipairs({ "0s", "2h", "soon" }) do
        local status, _, err = moonq("push", "echo", "{}", "--queue", "hasty", "--wait", wrong)
        assert.equal(2, status)
        assert.matches("BADARG", err)
      end
      assert.equal(0, #server.client:jobs({ queue = "hasty" }).jobs)
    end)

    it("says by its exit status that the job failed", function()
      local status, out = moonq("push", "broken", '{"what":"this"}', "--wait", "10s")
      assert.equal(6, status)
      assert.matches("dead", out, 1, true)
    end)

    it("passes every option on", function()
      server.client:pause("options")
      local id = push("echo", '{"n":1}', "--queue", "options", "--priority", "2", "--delay", "1h", "--attempts", "7",
        "--timeout", "5s", "--lease", "10s", "--tag", "red", "--tag", "round", "--meta", '{"correlation_id":"c1"}',
        "--keep", "2h", "--expires", "3h")
      local job = server.client:job(id)
      assert.equal("scheduled", job.state)
      assert.equal("options", job.queue)
      assert.equal(2, job.priority)
      assert.equal(7, job.max_attempts)
      assert.equal(5000, job.timeout)
      assert.equal(10000, job.lease)
      assert.same({ "red", "round" }, { job.tags[1], job.tags[2] })
      assert.same({ correlation_id = "c1" }, json.decode(job.meta))
      assert.equal(7200000, job.keep)
      assert.equal(10800000, job.expires_at - job.pushed_at)
    end)

    it("takes a payload from stdin", function()
      local id = push("echo", "-", { stdin = '{"from":"stdin"}' })
      assert.equal('{"from":"stdin"}', server.client:job(id).payload)
    end)

    it("takes a payload a line, and says how many", function()
      server.client:pause("lines")
      local lines = {}
      for i = 1, 2500 do
        lines[i] = ('{"n":%d}'):format(i)
      end
      local status, out = moonq("push", "echo", "--queue", "lines", "--lines", "-",
        { stdin = table.concat(lines, "\n") .. "\n" })
      assert.equal(0, status)
      assert.equal("pushed 2,500\n", out)
      assert.equal(2500, server.client:queue("lines").ready)
    end)

    it("names the lines that were refused and pushes the others", function()
      server.client:pause("some")
      local status, out, err = moonq("push", "--lines", "-", "--json", { stdin = table.concat({
        '{"type":"echo","queue":"some"}', '{"type":"echo","queue":"bad name!"}', '{"type":"echo","queue":"some"}',
      }, "\n") })
      assert.equal(1, status)
      assert.same({ pushed = 2, refused = 1 }, json.decode(out))
      assert.matches("line 2: BADARG", err, 1, true)
    end)

    it("goes on behind lines that it cannot read, and takes arguments as they stand", function()
      server.client:pause("raw")
      local status, out, err = moonq("push", "--lines", "-", "--ids", { stdin = table.concat({
        '{"type":"echo","queue":"raw","args": {"items": [], "order": 9007199254740993}}',
        "{type}", '{"args":{}}', '{"type":"echo","prioritty":1}', '{"type":"echo","priority":true}',
        '{"type":"echo","queue":"raw"}',
      }, "\n") })
      assert.equal(1, status)
      local first, second, more = out:match("^(%w+)\n(%w+)\n(.*)")
      assert.equal("", more)
      for line = 2, 5 do
        assert.matches("line " .. line .. "[: ]", err)
      end
      assert.equal('{"items":[],"order":9007199254740993}', server.client:call("JOB", first).payload)
      assert.equal("{}", server.client:call("JOB", second).payload)
    end)

    it("refuses a payload that is not JSON before it is sent", function()
      local status, _, err = moonq("push", "echo", "{to: ana}")
      assert.equal(2, status)
      assert.matches("not JSON", err, 1, true)
    end)

    it("tells what the server said, and exits with 2 for a bad argument", function()
      local status, _, err = moonq("push", "echo", "{}", "--priority", "12")
      assert.equal(2, status)
      assert.matches("BADARG", err, 1, true)
      assert.matches("12", err, 1, true)
    end)
  end)

  describe("jobs", function()
    it("lists those that a filter finds, in aligned columns", function()
      local id = parked("listed", "--tag", "blue")
      local status, out = moonq("jobs", "--queue", "listed", "--tag", "blue")
      assert.equal(0, status)
      local head, row = out:match("([^\n]+)\n([^\n]+)")
      assert.matches("^ID +TYPE +QUEUE +STATE +SINCE", head)
      assert.equal(id, row:match("%S+"))
      assert.equal(head:find("QUEUE", 1, true), row:find("listed", 1, true))
    end)

    it("gives pages, each with the cursor of the next", function()
      server.client:pause("pages")
      for _ = 1, 5 do
        push("echo", "{}", "--queue", "pages")
      end
      local seen, cursor, pages = {}, nil, 0
      repeat
        local _, out = moonq("jobs", "--queue", "pages", "--limit", "2", "--json", cursor and "--cursor" or nil, cursor)
        local page = json.decode(out)
        for _, job in ipairs(page.jobs) do
          seen[job.id] = true
        end
        cursor, pages = page.cursor, pages + 1
      until not cursor or pages > 10
      local count = 0
      for _ in pairs(seen) do
        count = count + 1
      end
      assert.equal(5, count)
    end)

    it("writes an empty list as a list", function()
      local _, out = moonq("jobs", "--queue", "empty", "--json")
      assert.matches('"jobs":[]', out, 1, true)
    end)
  end)

  describe("job", function()
    it("shows every attempt with its error", function()
      local id = push("broken", '{"what":"sums"}')
      server:await("job.dead", id)
      local status, out = moonq("job", id)
      assert.equal(0, status)
      assert.matches("state +dead", out)
      assert.matches("cannot do sums", out, 1, true)
    end)

    it("embeds the payload as the JSON that it is", function()
      local id = parked("embedded")
      local _, out = moonq("job", id, "--json")
      assert.same({}, json.decode(out).payload)
      assert.matches('"payload":{}', out, 1, true)
    end)

    it("exits with 4 for an id that nobody has", function()
      local status, _, err = moonq("job", "0000000000001")
      assert.equal(4, status)
      assert.matches("0000000000001", err, 1, true)
    end)

    it("shows no control characters of anybody's payload", function()
      server.client:pause("hostile")
      local id = server.client:push("echo", nil, { queue = "hostile", payload = "\27[2J\7evil" })
      local _, out = moonq("job", id)
      assert.is_nil(out:find("[\27\7]"))
      assert.matches("evil", out, 1, true)
    end)
  end)

  describe("why", function()
    it("says that the queue is paused, and why", function()
      server.client:pause("held", "database upgrade")
      local id = push("echo", "{}", "--queue", "held")
      local status, out = moonq("why", id)
      assert.equal(0, status)
      assert.matches("paused", out, 1, true)
    end)
  end)

  describe("dead", function()
    it("lists dead letters with their error", function()
      local id = push("fixable", "{}", "--queue", "letters")
      server:await("job.dead", id)
      local status, out = moonq("dead", "--queue", "letters")
      assert.equal(0, status)
      assert.matches(id, out, 1, true)
      assert.matches("550 no such user", out, 1, true)
    end)

    it("retries one with a corrected payload", function()
      local id = push("fixable", "{}", "--queue", "corrected")
      server:await("job.dead", id)
      local status, out = moonq("dead", "retry", id, "--payload", '{"good":true}')
      assert.equal(0, status, out)
      assert.matches("dead -> ready", out, 1, true)
      server:await("job.succeeded", id)
    end)

    it("edits one in an editor, and changes nothing else in it", function()
      local payload = '{"items":[],"order":9007199254740993,"fix":0}'
      local id = push("fixable", payload, "--queue", "typed")
      server:await("job.dead", id)
      local status, out = moonq("dead", "edit", id, { env = { EDITOR = "true", VISUAL = "" } })
      assert.equal(0, status)
      assert.matches("is as it was", out, 1, true)
      assert.equal(payload, server.client:call("JOB", id).payload)
      assert.equal(0, (moonq("dead", "edit", id, { env = { VISUAL = "sed -i 's/\"fix\": 0/\"fix\": 1/'" } })))
      assert.equal((payload:gsub('"fix":0', '"fix":1')), server.client:call("JOB", id).payload)
    end)

    it("edits one, and retries it later", function()
      local id = push("fixable", "{}", "--queue", "edited")
      server:await("job.dead", id)
      assert.equal(0, (moonq("dead", "edit", id, "--payload", '{"good":true}')))
      assert.equal("dead", server.client:job(id).state)
      assert.equal(0, (moonq("dead", "retry", id)))
      server:await("job.succeeded", id)
    end)

    it("retries all that a filter finds, and says how many", function()
      local ids = {}
      for i = 1, 5 do
        ids[i] = push("fixable", "{}", "--queue", "many")
        server:await("job.dead", ids[i])
      end
      local status, out = moonq("retry", "--state", "dead", "--queue", "many")
      assert.equal(0, status)
      assert.equal("retried 5\n", out)
      for _, id in ipairs(ids) do
        server:await("job.dead", id) -- each fails again; none is met twice by the same step
      end
    end)

    it("deletes them", function()
      local id = push("fixable", "{}", "--queue", "gone")
      server:await("job.dead", id)
      assert.equal(0, (moonq("dead", "delete", id)))
      assert.equal(4, (moonq("job", id)))
    end)

    it("does not touch a job that is no dead letter", function()
      local id = parked("alive")
      local status, _, err = moonq("dead", "show", id)
      assert.equal(1, status)
      assert.matches("not a dead letter", err, 1, true)
    end)
  end)

  describe("a step on many jobs", function()
    it("needs to be told which", function()
      local status, _, err = moonq("cancel")
      assert.equal(2, status)
      assert.matches("which jobs?", err, 1, true)
    end)

    it("stops at Ctrl-C, and what was done stays done", function()
      server.client:pause("bulk")
      local jobs = {}
      for i = 1, 30000 do
        jobs[i] = { "echo", { n = i }, { queue = "bulk" } }
      end
      server.client:push_many(jobs)
      local stream = server.client:events({ name = "bulk.progress,bulk.done" })
      local program = support.program({ support.binary, "cancel", "--queue", "bulk", "--json",
        "--socket", server.socket })
      assert.equal("bulk.progress", stream:next(support.patience).event)
      program:signal("INT")
      local how, status = program:wait()
      assert.equal("exit", how)
      local answer = json.decode(program:read())
      local left = server.client:queue("bulk").ready
      assert.is_true(status == 130 and answer.stopped or status == 0 and left == 0, program:read())
      assert.equal(30000, left + server.client:queue("bulk").cancelled)
    end)
  end)

  it("cancels a job and tells what became of it", function()
    local id = parked("cancelled")
    local status, out = moonq("cancel", id, "--reason", "not wanted")
    assert.equal(0, status)
    assert.matches("ready -> cancelled", out, 1, true)
    assert.equal(1, (moonq("cancel", id)))
  end)

  it("promotes a job that waits for its time", function()
    local id = push("echo", "{}", "--delay", "1h", "--queue", "later")
    assert.equal(0, (moonq("promote", id)))
    server:await("job.succeeded", id)
  end)

  it("pauses, resumes, drains and limits a queue", function()
    assert.equal(0, (moonq("pause", "handled", "--reason", "lunch")))
    push("echo", "{}", "--queue", "handled")
    local _, out = moonq("queues")
    assert.matches("handled[^\n]+paused by %S+: lunch", out)
    assert.equal(0, (moonq("limit", "handled", "1")))
    local status, _, err = moonq("push", "echo", "{}", "--queue", "handled")
    assert.equal(1, status)
    assert.matches("FULL", err, 1, true)
    assert.equal(0, (moonq("limit", "handled", "0")))
    assert.equal(0, (moonq("drain", "handled")))
    status, _, err = moonq("push", "echo", "{}", "--queue", "handled")
    assert.equal(1, status)
    assert.matches("BUSY", err, 1, true)
    assert.equal(0, (moonq("resume", "handled")))
    assert.equal(13, #push("echo", "{}", "--queue", "handled"))
    status, _, err = moonq("resume", "handeld")
    assert.equal(4, status)
    assert.matches("there is no queue 'handeld'", err, 1, true)
  end)

  it("says of a pause with an end that it ends by itself", function()
    local _, out = moonq("pause", "napping", "--for", "1h")
    assert.matches("it resumes by itself in 1h", out, 1, true)
    _, out = moonq("pause", "napping")
    assert.not_matches("by itself", out)
    moonq("resume", "napping")
  end)

  it("purges only when told that it is meant", function()
    parked("purged")
    assert.equal(2, (moonq("purge", "purged")))
    local status, out = moonq("purge", "purged", "--yes")
    assert.equal(0, status)
    assert.equal("deleted 1\n", out)
  end)

  it("asks whether counters and indexes agree", function()
    local status, out = moonq("doctor")
    assert.equal(0, status)
    assert.matches("finished +%d+ +%d+ +yes", out)
    status, out = moonq("doctor", "--json")
    assert.equal(0, status)
    for _, check in ipairs(json.decode(out)) do
      assert.is_true(check.agrees, check.index)
    end
  end)

  it("shows workers and figures", function()
    local status, out = moonq("workers")
    assert.equal(0, status)
    assert.matches("default.1", out, 1, true)
    status, out = moonq("stats", "--json")
    assert.equal(0, status)
    assert.equal(server.pid, tonumber(json.decode(out).pid))
  end)

  it("follows the events of one queue also where a filter or a lease made them", function()
    local queue = server.client
    local stream = server:connect():events({ queue = "heard", name = "job.cancelled,job.retried,job.deleted" })
    queue:push("stays", {}, { queue = "other", delay = "1h" })
    local id = queue:push("heard.report", {}, { queue = "heard", delay = "1h" })
    for _, step in ipairs({ { "CANCEL", "scheduled" }, { "RETRY", "cancelled" }, { "DELETE", "ready" } }) do
      queue:call(step[1], "WHERE", "STATE", step[2], "TYPE", "heard.report")
    end
    for _, name in ipairs({ "job.cancelled", "job.retried", "job.deleted" }) do
      local event = stream:next(10)
      assert.same({ name, id, "heard.report", "heard" }, { event.event, event.id, event.type, event.queue })
    end
  end)

  it("follows events", function()
    local listeners = server.client:stats().listeners
    local program = support.program({ support.binary, "events", "--name", "job.pushed", "--queue", "followed",
      "--count", "1", "--json", "--socket", server.socket })
    -- Nothing tells when somebody begins to listen: it is asked until it is so, and what is pushed then must be seen.
    repeat
      local now = server.client:stats().listeners
    until now > listeners
    local id = push("echo", "{}", "--queue", "followed")
    assert.same({ "exit", 0 }, { program:wait() })
    assert.equal(id, json.decode(program:read()).id)
  end)

  it("sends any command, and shows its reply", function()
    local status, out = moonq("call", "PING")
    assert.equal(0, status)
    assert.equal("PONG\n", out)
    status, out = moonq("call", "--json", "CONFIG", "GET", "payload_max")
    assert.equal(0, status)
    assert.same({ payload_max = "1MiB" }, json.decode(out))
    local _, _, err = moonq("call", "NONSENSE")
    assert.matches("BADARG unknown command", err, 1, true)
  end)
end)

describe("moonq stop", function()
  after_each(support.stop_all)

  it("returns when the server is gone", function()
    local server = support.start({ files = files })
    local status, out = support.moonq("stop", "--socket", server.socket)
    assert.equal(0, status)
    assert.equal("stopped\n", out)
    assert.same({ "exit", 0 }, { server.program:wait() })
  end)
end)

describe("moonq reload", function()
  after_each(support.stop_all)

  it("runs the new handler, and keeps the old one when the new one is broken", function()
    local server = support.start({ files = { ["moonq.lua"] = "return {}",
      ["handlers/v.lua"] = "return { run = function() return 1 end }" } })
    local function version()
      return server.client:wait(server.client:push("v")).result
    end
    assert.equal(1, version())
    support.write_file(server.app .. "/handlers/v.lua", "return { run = function() return 2 end }")
    assert.equal(0, (support.moonq("reload", "--socket", server.socket)))
    assert.equal(2, version())
    support.write_file(server.app .. "/handlers/v.lua", "return { run = function( return 3 end }")
    local status, _, err = support.moonq("reload", "--socket", server.socket)
    assert.equal(1, status)
    assert.matches("handlers/v.lua:1", err, 1, true)
    assert.equal(2, version())
  end)
end)
