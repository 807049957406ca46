local support = require "support"

local files = {
  ["handlers/parent.lua"] = "return { run = function(job) job:push('quick', { text = ('x'):rep(8000) }) end }",
  ["moonq.lua"] = [[return { payload_max = "10KiB", disk_reserve = "1MiB", map_size = "1MiB",
    queues = { small = { limit = 3 } } }]],
  ["handlers/quick.lua"] = "return { run = function() return 1 end }",
}

describe("overload", function()
  after_each(support.stop_all)

  it("of a queue is refused with FULL, and room lets pushes in again", function()
    local server = support.start({ files = files })
    server.client:pause("small")
    for _ = 1, 3 do
      server.client:push("quick", {}, { queue = "small" })
    end
    local err = support.refused(server.client.push, server.client, "quick", {}, { queue = "small" })
    assert.equal("FULL", err.code)
    assert.matches("small", err.message)
    server.client:resume("small")
    for _ = 1, 3 do
      server:await("job.succeeded")
    end
    server.client:push("quick", {}, { queue = "small" })
  end)

  it("by a payload is refused with TOOBIG, and the connection goes on", function()
    local server = support.start({ files = files })
    local err = support.refused(server.client.push, server.client, "quick", { text = ("x"):rep(20000) })
    assert.equal("TOOBIG", err.code)
    server:await("job.succeeded", server.client:push("quick"))
  end)

  it("of a draining queue is refused with BUSY until it resumes", function()
    local server = support.start({ files = files })
    server.client:drain("default")
    assert.equal("BUSY", support.refused(server.client.push, server.client, "quick").code)
    server.client:resume("default")
    server:await("job.succeeded", server.client:push("quick"))
  end)

  it("of the disk refuses pushes, while acknowledgements, cancels and reads go on, and ends with space", function()
    local disk = support.folder()
    local mounted = support.run({ "mount", "-t", "tmpfs", "-o", "size=12m", "moonq-test", disk })
    if mounted ~= 0 then
      pending("needs the right to mount a small disk")
      return
    end
    local server
    local ok, err = pcall(function()
      server = support.start({ files = files, args = { "--data", disk .. "/data" } })
      server.client:pause("default")
      local parent = server.client:push("parent", {}, { priority = 0 })
      local text, ids, refused = ("x"):rep(8000), {}, nil
      for _ = 1, 4000 do
        local pushed, answer = pcall(server.client.push, server.client, "quick", { text = text })
        if not pushed then
          refused = answer
          break
        end
        ids[#ids + 1] = answer
      end
      assert.is_table(refused, "the disk never was full")
      assert.equal("NOSPACE", refused.code)
      assert.equal("ready", server.client:job(ids[1]).state)
      assert.equal("cancelled", server.client:cancel(ids[1]).state)
      local taken = server.client:fetch("default", { count = 1 })
      assert.equal(0, #taken) -- paused; nothing is handed out
      server.client:resume("default")
      server:await("job.succeeded", ids[2]) -- leases and acknowledgements find room
      assert.equal(1, server.client:stats().outcomes_waiting) -- but not the push that is part of one
      assert.equal("running", server.client:job(parent).state)
      for i = 2, #ids do
        assert.equal("succeeded", server.client:wait(ids[i]).state)
      end
      for i = 1, #ids do
        server.client:delete(ids[i])
      end
      server:await("job.succeeded", server.client:push("quick", { text = "there is room again" }))
      server:await("job.succeeded", parent)
      assert.equal(1, server.client:job(parent).attempt)
      assert.equal(0, server.client:stats().outcomes_waiting)
      server:halt()
    end)
    if server then
      pcall(server.stop, server)
    end
    support.run({ "umount", disk })
    assert(ok, tostring(err))
  end)

  it("of max_memory refuses pushes and names the limit, while all that was accepted goes on", function()
    local server = support.start({ files = files })
    server.client:pause("default")
    local waits, held = server.client:push("quick"), server.client:push("of.others", {}, { queue = "outside" })
    local job = server.client:fetch("outside", { count = 1, block = "10s" })[1] -- no handler: no worker has it
    assert.equal(held, job.id)
    server.client:call("CONFIG", "SET", "max_memory", "1MiB")
    server:await("memory.full")
    local err = support.refused(server.client.push, server.client, "quick")
    assert.equal("FULL", err.code)
    assert.matches("max_memory, 1 MiB", err.message, 1, true)
    server.client:ack(job, {})
    server.client:resume("default")
    server:await("job.succeeded", waits)
    server.client:call("CONFIG", "SET", "max_memory", "0")
    server:await("memory.recovered")
    server:await("job.succeeded", server.client:push("quick"))
  end)

  it("of max_memory closes clients that do not read, and then takes pushes again", function()
    local server = support.start({ files = files })
    server.client:call("CONFIG", "SET", "payload_max", "1MiB")
    server.client:pause("default")
    local id = server.client:push("quick", { text = ("x"):rep(500000) })
    local stats = server.client:stats()
    server.client:call("CONFIG", "SET", "max_memory", ("%d"):format(stats.memory_bytes + 16 * 1048576))
    for _ = 1, 40 do -- each is stopped at output_pause, and has that much all the same
      local deaf = server:connect()
      for _ = 1, 5 do
        deaf:send({ "JOB", id })
      end
      deaf.connection:flush()
    end
    local line = server:await_log("client.closed")
    assert.matches("max_memory", line.reason, 1, true)
    if (os.getenv("MOONQ_BINARY") or ""):find("/san/", 1, true) then
      return -- AddressSanitizer keeps what was freed, which is what it is for: the process does not shrink
    end
    server:await("memory.recovered")
    server.client:push("quick")
  end)

  it("by a thousand clients at once is none", function()
    local server = support.start({ files = files })
    local ids = {}
    for i = 1, 1000 do
      ids[i] = server:connect()
      ids[i]:call("PING")
    end
    assert.is_true(server.client:stats().connections >= 1000)
    server:await("job.succeeded", server.client:push("quick"))
    for i = 1, 1000 do
      ids[i]:close()
    end
  end)
end)
