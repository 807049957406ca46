-- Redis clients, unchanged, from four languages. Each does the same things; its program is beside this file.
local json = require "moonq.client.json"
local support = require "support"

local here = "tests/spec/clients/"

local files = {
  -- Queues that no worker serves are the consumers'.
  ["moonq.lua"] = "return { pools = { default = { workers = 1, concurrency = 8, queues = { 'default' } } } }",
  ["handlers/double.lua"] = "return { run = function(job) return { twice = job.args.n * 2 } end }",
}

local scenarios = {
  { "push", "pushes a job and reads it back" },
  { "pipeline", "pipelines a thousand pushes" },
  { "multi", "makes several changes as one" },
  { "consume", "fetches jobs and ends them under their leases" },
  { "wait", "waits for a handler's result" },
  { "events", "reads the stream of events" },
  { "errors", "sees errors by their codes, and goes on" },
  { "habits", "is answered what it sends by habit" },
}

describe("an unchanged client", function()
  local server

  setup(function()
    server = support.start({ files = files })
  end)
  teardown(support.stop_all)

  -- Runs a client's program for each scenario.
  local function does_it_all(argv)
    for _, scenario in ipairs(scenarios) do
      it(scenario[2], function()
        local words = type(argv) == "function" and argv() or { unpack(argv) }
        words[#words + 1] = server.socket
        words[#words + 1] = scenario[1]
        local status, out, err = support.run(words)
        assert.equal(0, status, out .. err)
      end)
    end
  end

  describe("redis-py", function()
    does_it_all({ "/usr/bin/python3", here .. "redis_py.py" }) -- Debian's, which has python3-redis
  end)

  describe("ioredis", function()
    does_it_all({ "node", here .. "ioredis.js" })
  end)

  describe("hiredis", function()
    local program

    setup(function()
      program = support.folder() .. "/hiredis"
      local status, _, err = support.run({ "cc", "-Wall", "-Wextra", "-Werror", "-o", program, here .. "hiredis.c",
        "-lhiredis" }, { timeout = 60 })
      assert.equal(0, status, err)
    end)

    does_it_all(function()
      return { program }
    end)
  end)

  describe("redis-cli", function()
    local function cli(...)
      local words = { "redis-cli", "-s", server.socket, ... }
      local opts = type(words[#words]) == "table" and table.remove(words) or nil
      local status, out, err = support.run(words, opts)
      assert.equal(0, status, err)
      return (out:gsub("\n$", ""))
    end

    it("pushes a job and reads it back", function()
      local id = cli("PUSH", "mail.send", '{"to":"åda"}', "QUEUE", "cli.push", "DELAY", "1h")
      assert.equal(13, #id)
      local job = json.decode(cli("--json", "JOB", id)) -- asks for RESP3
      assert.equal("scheduled", job.state)
      assert.equal('{"to":"åda"}', job.payload)
      assert.equal(false, job.cancelling)
    end)

    it("pushes a thousand jobs from a file of commands", function()
      local lines = {}
      for n = 1, 1000 do
        lines[n] = ("PUSH a %d QUEUE cli.lines"):format(n)
      end
      local out = cli({ stdin = table.concat(lines, "\n") .. "\n" })
      assert.equal(1000, select(2, out:gsub("%w+\n?", "")))
      assert.equal(1000, server.client:call("QUEUES", "cli.lines")[1].ready)
    end)

    it("inserts a file of RESP with --pipe", function()
      local requests = {}
      for n = 1, 1000 do
        local payload = tostring(n)
        requests[n] = "*5\r\n$4\r\nPUSH\r\n$1\r\na\r\n"
          .. ("$%d\r\n%s\r\n"):format(#payload, payload)
          .. "$5\r\nQUEUE\r\n$8\r\ncli.pipe\r\n"
      end
      local out = cli("--pipe", { stdin = table.concat(requests) })
      assert.truthy(out:find("errors: 0, replies: 1000", 1, true), out)
    end)

    it("makes several changes as one", function()
      local out = cli({ stdin = "MULTI\nPUSH a 1 QUEUE cli.multi\nPUSH a 2 QUEUE cli.multi\nEXEC\n" })
      assert.truthy(out:find("^OK\nQUEUED\nQUEUED\n%w+\n%w+$"), out)
    end)

    it("fetches a job and acknowledges it", function()
      local id = cli("PUSH", "a", "1", "QUEUE", "cli.consume")
      local job = json.decode(cli("--json", "FETCH", "cli.consume", "BLOCK", "10s"))[1]
      assert.equal(id, job.id)
      assert.equal("OK", cli("ACK", id, ("%d"):format(job.token), "done"))
    end)

    it("shows errors by their codes", function()
      assert.truthy(cli("PUHS"):find("BADARG unknown command 'PUHS' (did you mean 'PUSH'?", 1, true))
      assert.truthy(cli("PUSH", "a"):find("write PUSH type payload", 1, true))
    end)

    it("helps with the commands of the server", function()
      local out = cli("HELP", "FETCH")
      assert.truthy(out:find("queue [queue ...]", 1, true), out)
      assert.truthy(out:find("Take ready jobs under a lease", 1, true), out)
    end)
  end)
end)

describe("a thousand clients", function()
  teardown(support.stop_all)

  it("are served at once", function()
    local server = support.start({ files = files })
    local clients, ids = {}, {}
    for n = 1, 1000 do
      clients[n] = server:connect()
    end
    for n = 1, 1000 do
      ids[n] = clients[n]:call("PUSH", "double", '{"n":1}')
    end
    local ended = clients[1]:call("WAIT", unpack(ids))
    assert.equal(1000, #ended)
    for n = 1, 1000 do
      assert.equal("succeeded", ended[n].state)
      clients[n]:close()
    end
  end)
end)
