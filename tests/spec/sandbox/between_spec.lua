-- Handlers that reach for other jobs: of their own type, which share the handler's file, and of others.

local attack = require "sandbox.attack"
local support = require "support"

local function start(handlers, files)
  return attack.start(handlers, { files = files })
end

local function last(server, id)
  local attempts = server.client:job(id).attempts
  return attempts[#attempts]
end

describe("between the jobs of a worker", function()
  local server
  after_each(support.stop_all)

  -- Pushes a job that must succeed; its result.
  local function run(name, args)
    local id = server.client:push(name, args or {})
    local answer = server.client:wait(id)
    assert.equal("succeeded", answer.state, tostring(last(server, id).message))
    return answer.result
  end

  it("a job that a handler kept is of no use after its end", function()
    server = start({ keeps = [[
      local kept
      return { attempts = 1, run = function(job)
        if not kept then
          kept = job
          job:push("neighbour", { let_go = "x" })
          return "kept"
        end
        local says = {}
        for i, fn in ipairs({
          function() return kept.id end, function() return kept.args end, function() return kept.token end,
          function() kept:push("neighbour", { let_go = "y" }) end, function() kept:log("x") end,
          function() kept:progress(1) end, function() return kept:cancelled() end,
          function() return tostring(kept) end,
          function() kept.push(job, "neighbour", { let_go = "z" }) kept:push("neighbour") end,
        }) do
          local ok, why = pcall(fn)
          says[i] = not ok and tostring(why):find("has ended", 1, true) ~= nil
        end
        return says
      end }]] })
    attack.among_neighbours(server, "kept", function()
      assert.equal("kept", run("keeps"))
      assert.same({ true, true, true, true, true, true, true, true, true }, run("keeps"))
    end)
  end)

  it("a job of a neighbour that waits is of no use to another", function()
    server = start({ lends = [[
      local time = require "moonq.time"
      local lent
      return { attempts = 1, run = function(job)
        if job.args.lend then
          lent = job
          job:progress(0, "lent")
          while lent do time.sleep(0.01) end
          return { tag = job.args.lend, id = job.id }
        end
        local ok = pcall(function() lent:push("neighbour", { let_go = "stolen" }) end)
        local read = pcall(function() return lent.args end)
        local wrote = pcall(function() lent.args = {} end)
        lent = nil
        return { ok, read, wrote }
      end }]] })
    attack.among_neighbours(server, "lent", function()
      local lender = server.client:push("lends", { lend = "mine" })
      server:await("job.progress", lender)
      assert.same({ false, false, false }, run("lends"))
      assert.same({ tag = "mine", id = lender }, server.client:wait(lender).result)
    end)
  end)

  it("arguments that one job changes are not those of another, nor of its next attempt", function()
    server = start({ scribbles = [[
      return { attempts = 2, retry = { 0 }, run = function(job)
        local seen = job.args.list[1]
        job.args.list[1] = "scribbled"
        job.args.more, job.meta.more, job.tags[1] = 1, 1, "scribbled"
        if job.attempt == 1 then error("again") end
        return { seen, job.args.more, job.meta.more }
      end }]] })
    attack.among_neighbours(server, "args", function()
      assert.same({ "clean", 1, 1 }, run("scribbles", { list = { "clean" } }))
      assert.same({ "clean", 1, 1 }, run("scribbles", { list = { "clean" } }))
    end)
  end)

  it("a handler's own globals, modules of lib and their state are not those of another handler", function()
    server = start({
      writer = [[
        local shared = require "shared"
        return { attempts = 1, run = function()
          shared.value, shared.name.deep = "written", "written"
          pcall(load("leak = 1"))
          return "done"
        end }]],
      reader = [[
        local shared = require "shared"
        return { attempts = 1, run = function() return { shared.value, shared.name.deep, type(leak) } end }]],
    }, { ["lib/shared.lua"] = [[return { value = "clean", name = { deep = "clean" } }]] })
    attack.among_neighbours(server, "lib", function()
      run("writer")
      assert.same({ "clean", "clean", "nil" }, run("reader"))
    end)
  end)

  it("fields of a job cannot be changed, so it is acknowledged as what it is", function()
    server = start({ forges = [[
      return { attempts = 1, run = function(job)
        local changed = 0
        for _, name in ipairs({ "id", "token", "type", "attempt", "max_attempts", "queue", "args", "x" }) do
          changed = changed + (pcall(function() job[name] = "0" end) and 1 or 0)
          changed = changed + (pcall(rawset, job, name, "0") and 1 or 0)
        end
        local null = require("moonq.json").null
        for _, fake in ipairs({ {}, "", 1, print, string, moonq, coroutine.create(print), null }) do
          changed = changed + (pcall(job.push, fake, "neighbour") and 1 or 0)
          changed = changed + (pcall(job.log, setmetatable({}, { __index = job }), "x") and 1 or 0)
        end
        return { changed, job.id }
      end }]] })
    attack.among_neighbours(server, "forged", function()
      local id = server.client:push("forges")
      assert.same({ 0, id }, server.client:wait(id).result)
    end)
  end)

  it("the job itself is no coroutine that anybody could resume or yield from", function()
    server = start({ main = [[
      return { attempts = 1, run = function(job)
        return { coroutine.running() == nil, (pcall(coroutine.yield)), (pcall(coroutine.yield, 1, 2, print)),
          (pcall(coroutine.resume, nil)), (pcall(coroutine.status, job)) }
      end }]] })
    attack.among_neighbours(server, "main", function()
      assert.same({ true, false, false, false, false }, run("main"))
    end)
  end)

  it("a coroutine that waits for a host call is not resumed by another job", function()
    server = start({ shares = [[
      local time = require "moonq.time"
      local co
      return { attempts = 1, run = function(job)
        if job.args.first then
          co = coroutine.create(function()
            for _ = 1, 1000 do
              time.sleep(0.01)
              if not co then return "by itself" end
            end
          end)
          job:progress(0, "asleep")
          return { select(2, coroutine.resume(co)) }
        end
        local says = { coroutine.status(co), coroutine.resume(co, "wake") }
        local wrapped, why = pcall(coroutine.wrap(function() return coroutine.resume(co, "wake") end))
        co = nil
        collectgarbage("count")
        for _ = 1, 1e5 do local _ = { {} } end
        return says
      end }]] })
    attack.among_neighbours(server, "shared", function()
      local first = server.client:push("shares", { first = true })
      server:await("job.progress", first)
      assert.same({ "suspended", false, "cannot resume a coroutine that waits for a host call" }, run("shares"))
      assert.same({ "by itself" }, server.client:wait(first).result)
    end)
  end)

  it("a request whose wait cannot be handed on is collected, and forgotten", function()
    server = start({ sorts = [[
      local http, smtp, time = require "moonq.http", require "moonq.smtp", require "moonq.time"
      return { attempts = 1, allow = { http = { "127.0.0.1" }, smtp = { "127.0.0.1" } }, run = function()
        for _ = 1, 20 do
          pcall(table.sort, { 3, 2, 1 }, function()
            coroutine.wrap(function() http.get("http://127.0.0.1:1/") end)()
          end)
          pcall(string.gsub, "x", "x", function()
            coroutine.wrap(function()
              smtp.send({ url = "smtp://127.0.0.1:1", from = "a@example.org", to = "b@example.org", text = "x" })
            end)()
          end)
          local room = {}
          for i = 1, 3000 do room[i] = ("A"):rep(500 + i % 300) .. i end -- so that the collector has been here
          time.sleep(0.001)
        end
        return "done"
      end }]] })
    attack.among_neighbours(server, "sorted", function()
      assert.equal("done", run("sorts"))
    end)
  end)

  it("coroutines that are left in the middle of a wait do not outlive their job", function()
    server = start({ leaves = [[
      local time = require "moonq.time"
      local left = {}
      return { timeout = "100ms", attempts = 1, run = function(job)
        if job.args.count then
          local says = {}
          for i, co in ipairs(left) do says[i] = (coroutine.resume(co)) end
          return { #left, #says }
        end
        for i = 1, 100 do
          left[i] = coroutine.create(function() time.sleep(600) end)
          pcall(table.sort, { 2, 1 }, function() coroutine.resume(left[i]) end)
        end
        coroutine.wrap(function() time.sleep(600) end)()
      end }]] })
    attack.among_neighbours(server, "left", function()
      local id = server.client:push("leaves")
      assert.equal("dead", server.client:wait(id).state)
      assert.equal("TIMEOUT", last(server, id).code)
      assert.same({ 100, 100 }, run("leaves", { count = true }))
    end)
  end)

  it("a module that a job cannot load for lack of stack is there for the next", function()
    local uses = [[return { attempts = 1, run = function(job)
      return type(require("moonq." .. job.args.name).%s)
    end }]]
    server = start({
      deep = [[
        return { attempts = 1, run = function(job)
          local function deeper()
            pcall(deeper)
            pcall(require, "moonq." .. job.args.name)
          end
          pcall(deeper)
          return "up again"
        end }]],
      uses_http = uses:format("get"),
      uses_smtp = uses:format("send"),
    })
    attack.among_neighbours(server, "deep", function()
      for _, name in ipairs({ "http", "smtp" }) do
        assert.equal("up again", run("deep", { name = name }))
        assert.equal("function", run("uses_" .. name, { name = name }))
      end
    end)
  end)

  it("a request that a job cannot make for lack of stack is possible for the next", function()
    local top = [[
      local http = require "moonq.http"
      local function get() return http.get("http://127.0.0.1:1/", { timeout = "5s" }) end
    ]]
    server = start({
      deep = top .. [[
        return { attempts = 1, allow = { http = { "127.0.0.1" } }, run = function()
          local function deeper()
            local ok = pcall(deeper)
            if not ok then pcall(get) end
            error("up")
          end
          pcall(deeper)
          return "up again"
        end }]],
      gets = top .. [[
        return { attempts = 1, allow = { http = { "127.0.0.1" } }, run = function()
          return select(2, pcall(get)).code
        end }]],
    })
    attack.among_neighbours(server, "gets", function()
      local id = server.client:push("deep")
      server:await("job.started", id)
      server.client:cancel(id) -- thousands of requests, one after another: it need not end by itself
      server.client:wait(id)
      assert.equal("CONNECT", run("gets"))
    end)
  end)

  it("a job that swallows the lack of memory and waits with what it has keeps nobody out", function()
    server = start({
      hoards = [[
        local time = require "moonq.time"
        return { timeout = "1h", attempts = 1, run = function(job)
          local hoard = {}
          pcall(function() for i = 1, 1e6 do hoard[i] = ("x"):rep(10000) .. i end end)
          while true do
            pcall(time.sleep, 0.01)
            pcall(function() for i = 1, 1e6 do hoard[#hoard + 1] = ("x"):rep(1000) end end)
          end
        end }]],
      small = [[return { attempts = 1, run = function()
        local t = {}
        for i = 1, 1000 do t[i] = { i } end
        return #t
      end }]],
    })
    attack.among_neighbours(server, "hoard", function()
      local hoards = { server.client:push("hoards"), server.client:push("hoards"), server.client:push("hoards") }
      for _ = 1, 5 do
        assert.equal(1000, run("small"))
      end
      for _, id in ipairs(hoards) do -- one of them may have found room
        pcall(server.client.cancel, server.client, id)
        server.client:wait(id)
      end
    end)
  end)

  -- What a neighbour takes of the CPU is charged to the timeouts of those that wait for it.
  it("a job that keeps the CPU for longer than its neighbours' timeouts lets none of them time out", function()
    server = start({
      burns = [[return { timeout = "1h", run = function()
        local latest = os.clock() + 1
        while os.clock() < latest do end
        return "burnt"
      end }]],
      naps = [[
        local time = require "moonq.time"
        return { timeout = "600ms", attempts = 1, run = function(job)
          job:progress(0, "asleep")
          time.sleep(0.1)
          return "slept"
        end }]],
    })
    local id = server.client:push("naps")
    server:await("job.progress", id)
    server.client:push("burns")
    assert.equal("slept", server.client:wait(id).result)
  end)

  it("a job cannot be found in tables that the collector looks after", function()
    server = start({ weak = [[
      local weak = setmetatable({}, { __mode = "kv" })
      return { attempts = 1, run = function(job)
        weak[job], weak[1] = job, coroutine.create(print)
        for _ = 1, 1e5 do local _ = { {} } end
        local found = 0
        for key in pairs(weak) do
          if key ~= job and type(key) == "userdata" and pcall(function() return key.id end) then found = found + 1 end
        end
        return found
      end }]] })
    attack.among_neighbours(server, "weak", function()
      assert.equal(0, run("weak"))
      assert.equal(0, run("weak"))
    end)
  end)
end)
