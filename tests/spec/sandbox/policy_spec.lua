-- What runs beside handlers: retry policies, and files while they are loaded.

local attack = require "sandbox.attack"
local support = require "support"

local fails = [[return { attempts = 2, timeout = "%s", retry = %s, run = function(job)
  if job.attempt == 1 then error("the first") end
  return "the second"
end }]]

-- Policies that give no answer: the default backoff stands in, and the job waits for its second attempt.
local no_answer = {
  { "loops", [[function() while true do end end]] },
  { "loops and swallows errors", [[function() while true do pcall(function() while true do end end) end end]] },
  { "loops in one call of C", [[function() return (("a"):rep(3000)):find((".-"):rep(20) .. "b") end]],
    ends_worker = true },
  { "wants all memory", [[function() local t = {} while true do t[#t + 1] = ("x"):rep(1e6) .. #t end end]] },
  { "wants all memory at once", [[function() return ("x"):rep(2e9) end]] },
  { "recurses", [[function(job) local function f() return 1 + f() end return f() end]] },
  { "recurses through string.gsub",
    [[function() local function f(s) return (s:gsub(".", f)) end return f("x") end]] },
  { "raises an error", [[function() error("no") end]] },
  { "raises what is no text", [[function() error(setmetatable({}, { __tostring = error })) end]] },
  { "answers nothing", [[function() end]] },
  { "answers a table", [[function() return {} end]] },
  { "answers text", [[function() return "soon" end]] },
  { "answers less than nothing", [[function() return -1 end]] },
  { "answers no number", [[function() return 0 / 0 end]] },
  { "answers infinity", [[function() return 1 / 0 end]] },
  { "answers itself", [[function() return print end]] },
  { "waits", [[function() require("moonq.time").sleep(600) return 0 end]] },
  { "waits in a coroutine", [[function()
      coroutine.wrap(function() require("moonq.time").sleep(600) end)()
      return 0
    end]] },
  { "uses the network", [[function() require("moonq.http").get("http://127.0.0.1:1/") return 0 end]] },
  { "yields", [[function() coroutine.yield(0) return 0 end]] },
  { "writes to what is shared", [[function() string.upper = nil return 0 end]] },
}

describe("a retry policy that", function()
  local server
  setup(function()
    local handlers = {}
    for i, row in ipairs(no_answer) do
      handlers["policy" .. i] = fails:format(row.ends_worker and "500ms" or "1m", row[2])
    end
    handlers.changes = fails:format("1m", [[function(job, err)
      job.id, job.type, job.attempt, job.max_attempts, err.message = "x", "x", 99, 99, "forged"
      return 0
    end]])
    handlers.keeps = [[
      local kept
      return { attempts = 2, retry = function()
        pcall(function() kept:push("neighbour", { let_go = "pushed by a policy" }) end)
        pcall(function() kept:progress(1) end)
        return 0
      end, run = function(job)
        kept = job
        if job.attempt == 1 then error("the first") end
        return "the second"
      end }]]
    server = attack.start(handlers, { silence_max = "1m" })
  end)
  teardown(support.stop_all)

  for i, row in ipairs(no_answer) do
    it(row[1] .. " costs the job no attempt beyond its own", function()
      attack.among_neighbours(server, row[1], function()
        local id = server.client:push("policy" .. i)
        server:await("job.failed", id)
        local job = server.client:job(id)
        assert.equal("retrying", job.state)
        assert.equal(1, job.attempt)
        if not row.ends_worker then
          assert.equal(0, job.crashes)
          assert.equal("SCRIPT", job.attempts[#job.attempts].code)
        end
        server.client:promote(id)
        assert.equal("the second", server.client:wait(id).result)
      end)
    end)
  end

  it("changes what it is given changes nothing", function()
    attack.among_neighbours(server, "changes", function()
      local id = server.client:push("changes")
      assert.equal("the second", server.client:wait(id).result)
      local job = server.client:job(id)
      assert.equal("changes", job.type)
      assert.equal(2, job.attempt)
      assert.matches("the first", job.attempts[1].message)
    end)
  end)

  it("has got hold of the job pushes nothing", function()
    attack.among_neighbours(server, "keeps", function()
      local id = server.client:push("keeps")
      assert.equal("the second", server.client:wait(id).result)
      for _, job in ipairs(server.client:jobs({ type = "neighbour", limit = 1000 }).jobs) do
        assert.is_nil(job.payload:find("pushed by a policy", 1, true))
      end
    end)
  end)
end)

local broken = {
  { "loops", "while true do end" },
  { "loops and swallows errors", "while true do pcall(function() while true do end end) end" },
  { "loops in one call of C", "return ((\"a\"):rep(3000)):find((\".-\"):rep(20) .. \"b\")" },
  { "wants all memory", "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end" },
  { "recurses", "local function f() return 1 + f() end f()" },
  { "recurses through string.gsub", "local function f(s) return (s:gsub('.', f)) end f('x')" },
  { "waits", "require('moonq.time').sleep(600)" },
  { "uses the network", "require('moonq.http').get('http://127.0.0.1:1/')" },
  { "yields", "coroutine.yield()" },
  { "is bytecode", "\27LJ\2\0\0" },
  { "reaches for files", "return io.open('/etc/passwd')" },
  { "raises what is no text", "error(setmetatable({}, { __tostring = error }))" },
  { "answers a table that answers for itself",
    "return setmetatable({}, { __index = function() while true do end end })" },
  { "answers a table with run that only looks like a function",
    "return { run = setmetatable({}, { __call = function() end }) }" },
}

describe("an application with a file that", function()
  local server
  setup(function()
    server = attack.start({ good = [[return { run = function() return "good" end }]] })
  end)
  teardown(support.stop_all)

  for _, row in ipairs(broken) do
    it(row[1] .. " while it is loaded is refused, and the one before it goes on", function()
      local path = server.app .. "/handlers/bad.lua"
      attack.among_neighbours(server, row[1], function()
        support.write_file(path, row[2])
        local ok, err = pcall(server.client.reload, server.client)
        os.remove(path)
        assert.is_false(ok)
        assert.equal("SCRIPT", err.code)
        assert.matches("handlers/bad.lua", tostring(err.message), 1, true)
        assert.equal("good", server.client:wait(server.client:push("good")).result)
      end)
    end)
  end
end)
