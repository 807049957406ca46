local json = require "moonq.client.json"
local support = require "support"

local function start(settings)
  return support.start({ files = {
    ["moonq.lua"] = "return { " .. settings .. ", pools = { default = { workers = 1, concurrency = 4 } } }",
    ["handlers/fine.lua"] = "return { run = function(job) return job.args end }",
    ["handlers/bad.lua"] = [[
      return { run = function(job)
        job:log("about to fail")
        moonq.permanent("no such address: " .. job.args.to)
      end }
    ]],
  } })
end

local function bury(server, to)
  local id = server.client:push("bad", { to = to })
  server:await("job.dead", id)
  return id
end

--- The archive's lines, each decoded.
local function archived(server)
  local lines = {}
  local month = os.date("!%Y-%m")
  local text = support.read_file(server.data .. "/archive/dead-" .. month .. ".jsonl")
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = json.decode(line)
  end
  return lines
end

describe("retention", function()
  after_each(support.stop_all)

  it("keeps no more finished jobs than keep_max, and lets the oldest go first", function()
    local server = start("keep_max = 3")
    local ids = {}
    for i = 1, 5 do
      ids[i] = server.client:push("fine", { i = i })
      server.client:wait(ids[i])
    end
    server:await("job.deleted", ids[2])
    assert.is_nil(server.client:job(ids[1]))
    assert.equal("succeeded", server.client:job(ids[3]).state)
    local stats = server.client:stats()
    assert.equal(3, stats.succeeded)
    assert.equal(2, stats.evicted)
    assert.is_true(stats.finished_bytes > 0)
  end)

  it("keeps no more bytes of finished jobs than keep_bytes", function()
    local server = start('keep_bytes = "64KiB"')
    local ids = {}
    for i = 1, 4 do
      ids[i] = server.client:push("fine", { text = ("x"):rep(10000) }) -- as payload and as result
      server.client:wait(ids[i])
    end
    server:await("keep.evicted")
    server:await("job.deleted", ids[1])
    assert.equal("succeeded", server.client:job(ids[4]).state)
    assert.is_true(server.client:stats().finished_bytes <= 65536)
  end)

  it("follows a limit that is lowered while the server runs", function()
    local server = start("keep_max = 0")
    local ids = {}
    for i = 1, 4 do
      ids[i] = server.client:push("fine", {})
      server.client:wait(ids[i])
    end
    server.client:call("CONFIG", "SET", "keep_max", "1")
    server:await("job.deleted", ids[3])
    assert.equal(1, server.client:stats().succeeded)
  end)

  it("tells once when the dead letters come near their limit", function()
    local server = start("dead_max = 5")
    for i = 1, 4 do
      bury(server, "a" .. i)
    end
    server:await("dead.filling")
    assert.equal(80, server.client:stats().dead_percent)
    bury(server, "a5")
    bury(server, "a6")
    server:await("dead.archived")
    local told = 0
    for _, line in ipairs(server:log()) do
      told = told + (line.event == "dead.filling" and 1 or 0)
    end
    assert.equal(1, told)
  end)

  it("archives a dead letter before it deletes it", function()
    local server = start("dead_max = 2")
    local ids = {}
    for i = 1, 4 do
      ids[i] = bury(server, "user" .. i .. "@example.com")
    end
    server:await("job.deleted", ids[2])
    local lines = archived(server)
    assert.equal(2, #lines)
    assert.equal(ids[1], lines[1].id)
    assert.same({ to = "user1@example.com" }, json.decode(lines[1].payload))
    assert.matches("no such address: user1@example.com", lines[1].attempts[1].message, 1, true)
    assert.equal("about to fail", lines[1].log[1].text)
    assert.equal("dead", server.client:job(ids[3]).state)
    assert.equal(2, server.client:stats().archived)
  end)

  it("loses no dead letter when the server is killed while it archives them", function()
    local server = start("dead_max = 3")
    local ids = {}
    for round = 1, 4 do
      for i = 1, 30 do
        ids[#ids + 1] = server.client:push("bad", { to = round .. "." .. i })
      end
      for _ = 1, 6 * round do
        server:await("job.dead")
      end
      server:kill()
      server:restart()
    end
    local queue = server.client:queue("default")
    while queue.ready + queue.running + queue.retrying > 0 do
      server:await("job.dead")
      queue = server.client:queue("default")
    end
    local gone = {}
    for _, id in ipairs(ids) do
      if not server.client:job(id) then
        gone[#gone + 1] = id
      end
    end
    local there = {} -- read after the jobs: letters go on moving meanwhile
    for _, line in ipairs(archived(server)) do
      there[line.id] = true
    end
    for _, id in ipairs(gone) do
      assert.is_true(there[id], id .. " is neither dead nor in the archive")
    end
    assert.is_true(#gone > 0)
  end)

  it("archives what is older than dead_keep too", function()
    local server = start('dead_keep = "50ms"')
    local id = bury(server, "old@example.com")
    server:await("job.deleted", id)
    assert.equal(id, archived(server)[1].id)
  end)

  it("keeps the dead letters while the archive cannot be written", function()
    local server = start("dead_max = 1")
    support.write_file(server.data .. "/archive", "in the way")
    local first = bury(server, "a")
    bury(server, "b")
    local event = server:await("dead.archive_failed")
    assert.matches("archive", event.message, 1, true)
    assert.equal("dead", server.client:job(first).state)
  end)
end)
