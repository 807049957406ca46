local support = require "support"

local files = {
  ["moonq.lua"] = [[return { stop_grace = "400ms" }]],
  ["handlers/nap.lua"] = [[
    local time = require "moonq.time"
    return { run = function(job) job:progress(0) time.sleep(job.args.ms / 1000) return "slept" end }
  ]],
}

describe("a graceful stop", function()
  after_each(support.stop_all)

  it("lets running jobs finish", function()
    local server = support.start({ files = files })
    local id = server.client:push("nap", { ms = 150 })
    server:await("job.progress", id)
    local how, status = server:halt()
    assert.same({ "exit", 0 }, { how, status })
    server:restart()
    assert.equal("succeeded", server.client:job(id).state)
  end)

  it("gives back what does not finish in time, uncharged", function()
    local server = support.start({ files = files })
    local id = server.client:push("nap", { ms = 60000 })
    server:await("job.progress", id)
    server.client:pause("default")
    assert.same({ "exit", 0 }, { server:halt() })
    local line = server:await_log("job.given_back")
    assert.same({ id, "the server stopped" }, { line.id, line.message })
    server:restart()
    local job = server.client:job(id)
    assert.equal("ready", job.state)
    assert.equal(0, job.attempt)
    assert.equal(0, job.crashes)
  end)

  it("is also what SHUTDOWN asks for", function()
    local server = support.start({ files = files })
    server.client:shutdown()
    assert.same({ "exit", 0 }, { server.program:wait() })
  end)
end)

describe("a reload", function()
  after_each(support.stop_all)

  it("moves work to the new code while the old finishes what it has", function()
    local server = support.start({ files = {
      ["moonq.lua"] = [[return { pools = { default = { workers = 1 } } }]],
      ["handlers/version.lua"] = [[
        local time = require "moonq.time"
        return { keep = "1h", run = function(job)
          job:progress(0) time.sleep(job.args.ms / 1000) return "old" end }]],
    } })
    local old = server.client:push("version", { ms = 700 })
    server:await("job.progress", old)
    support.write_file(server.app .. "/handlers/version.lua",
      [[return { keep = "1h", run = function() return "new" end }]])
    server.client:reload()
    local new = server.client:push("version", { ms = 0 })
    local answers = server.client:wait({ new, old })
    assert.equal("new", answers[1].result)
    assert.equal("old", answers[2].result)
    assert.equal("succeeded", answers[1].state)
    assert.equal("succeeded", answers[2].state)
    assert.equal(1, server.client:job(old).attempt)
  end)

  it("says which settings it leaves as they were, and so do the figures", function()
    local server = support.start({ files = { ["moonq.lua"] = [[return { sync = "relaxed", keep = "1m" }]],
      ["handlers/a.lua"] = "return { run = function() end }" } })
    support.write_file(server.app .. "/moonq.lua", [[return { sync = "commit", readers = 3, keep = "2m" }]])
    assert.matches("a restart is needed for sync, readers", server.client:reload(), 1, true)
    assert.equal("relaxed", server.client:stats().sync)
    assert.equal("2m", server.client:config_get("keep").keep)
    server:await_log("config.needs_restart")
  end)

  it("hears all of an application that prints while it is loaded", function()
    local server = support.start({ files = files })
    support.write_file(server.app .. "/handlers/loud.lua", [[print("loading") return { run = function() end }]])
    assert.matches("handlers? loaded", server.client:reload())
    server:await("job.succeeded", server.client:push("loud"))
  end)

  it("whose workers cannot be started is refused at once, and the old ones go on", function()
    local server = support.start({ files = files })
    assert(os.rename(server.data .. "/run", server.data .. "/walked"))
    local err = support.refused(server.client.reload, server.client)
    assert.equal("SCRIPT", err.code)
    assert.matches("could not be started: cannot open run page", err.message, 1, true)
    server:await("job.succeeded", server.client:push("nap", { ms = 1 }))
    assert(os.rename(server.data .. "/walked", server.data .. "/run"))
    server.client:reload()
    server:await("job.succeeded", server.client:push("nap", { ms = 1 }))
  end)

  it("of a broken application changes nothing and names file and line", function()
    local server = support.start({ files = files })
    support.write_file(server.app .. "/handlers/broken.lua", "return {\n  run = function(\n}")
    local err = support.refused(server.client.reload, server.client)
    assert.equal("SCRIPT", err.code)
    assert.matches("handlers/broken.lua:3", err.message, 1, true)
    server:await("job.succeeded", server.client:push("nap", { ms = 1 }))
  end)
end)

describe("a server that cannot start", function()
  after_each(support.stop_all)

  local function serve(app, ...)
    return support.moonq("serve", app, ...)
  end

  it("names a setting that is not there, and the nearest that is", function()
    local app = support.folder({ ["moonq.lua"] = "return { stop_grase = '1s' }" })
    local status, _, err = serve(app)
    assert.equal(1, status)
    assert.matches("unknown setting 'stop_grase' %(did you mean 'stop_grace'", err)
  end)

  it("lists every broken file", function()
    local app = support.folder({
      ["moonq.lua"] = "return {}", ["handlers/a.lua"] = "return 1 +", ["handlers/b.lua"] = "return nil",
    })
    local status, _, err = serve(app)
    assert.equal(1, status)
    assert.matches("handlers/a.lua", err, 1, true)
    assert.matches("handlers/b.lua", err, 1, true)
  end)

  it("refuses the data of another server, and names its pid", function()
    local server = support.start({ files = files })
    local status, _, err = serve(server.app, "--data", server.data, "--socket", server.home .. "/other.sock")
    assert.equal(1, status)
    assert.matches("CONFLICT", err)
    assert.matches(tostring(server.pid), err, 1, true)
  end)

  it("refuses a data folder that is not its own", function()
    local app = support.folder({ ["moonq.lua"] = "return {}", ["data/data.mdb"] = "not a store" })
    local status, _, err = serve(app)
    assert.equal(1, status)
    assert.matches("BADARG", err)
  end)

  it("names a folder that does not exist", function()
    local status, _, err = serve("/no/such/folder")
    assert.equal(1, status)
    assert.matches("/no/such/folder", err, 1, true)
  end)

  it("explains wrong usage with status 2", function()
    assert.equal(2, (support.moonq("serve")))
    assert.equal(2, (support.moonq("serve", "--nonsense", "x")))
    assert.equal(0, (support.moonq("serve", "--help")))
  end)
end)
