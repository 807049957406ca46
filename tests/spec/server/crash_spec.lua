local support = require "support"

local files = {
  ["moonq.lua"] = [[return { silence_max = "60s", pools = { default = { workers = 1, concurrency = 10 } } }]],
  ["handlers/burn.lua"] = [[
    return { timeout = "1h", run = function(job) job:progress(0.25, "burning") while true do end end }
  ]],
  ["handlers/nap.lua"] = [[
    local time = require "moonq.time"
    return { run = function(job) job:progress(0.5) time.sleep(job.args.s) return "slept" end }
  ]],
  ["handlers/family.lua"] = [[
    return { run = function(job) job:push("nap", { s = 0 }, { tags = { "child" } }) return "parent" end }
  ]],
}

-- Until the run page says that this job is on its worker's CPU.
local function wait_on_cpu(server, id)
  repeat
    local worker = server.client:workers()[1]
  until worker and worker.on_cpu == id
end

describe("a killed server", function()
  after_each(support.stop_all)

  it("charges the job that was on a CPU with the crash, and no other", function()
    local server = support.start({ files = files })
    local neighbour = server.client:push("nap", { s = 60 })
    server:await("job.progress", neighbour)
    local id = server.client:push("burn")
    server:await("job.started", id)
    wait_on_cpu(server, id)
    server.client:pause("default")
    server:kill()
    server:restart()
    local guilty = server.client:job(id)
    assert.equal("retrying", guilty.state)
    assert.equal(1, guilty.attempt)
    assert.equal(1, guilty.crashes)
    local other = server.client:job(neighbour)
    assert.equal("ready", other.state)
    assert.equal(0, other.attempt)
    assert.equal(0, other.crashes)
  end)

  it("three times by the same job, and that job is a dead letter with its last progress", function()
    local server = support.start({ files = files })
    local id = server.client:push("burn")
    for crash = 1, 3 do
      if crash > 1 then
        pcall(server.client.promote, server.client, id) -- its backoff may be over already
      end
      server:await("job.progress", id)
      wait_on_cpu(server, id)
      server:kill()
      server:restart()
    end
    local job = server.client:job(id)
    assert.equal("dead", job.state)
    assert.equal(3, job.crashes)
    assert.equal(0.25, job.progress)
    assert.equal("burning", job.note)
    assert.equal(3, #job.attempts)
  end)

  it("has lost nothing that it confirmed", function()
    local server = support.start({ files = files })
    local ids = {}
    for i = 1, 200 do
      ids[i] = server.client:push("family")
    end
    server:kill()
    server:restart()
    for _, id in ipairs(ids) do
      assert.equal("succeeded", server.client:wait(id).state)
    end
    local queue
    repeat
      queue = server.client:queue("default")
    until queue.ready + queue.running == 0
    local children = 0
    for job in server.client:each_job({ tag = "child" }) do
      children = children + (job.type == "nap" and 1 or 0)
    end
    assert.equal(200, children)
  end)
end)
