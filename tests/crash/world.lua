--- A server under load, as kill tests and fault tests share it: clients in processes of their own, each with a ledger,
--- Lua handlers that push children, and what must be true of all of them at the end.

local testing = require "moonq.testing"
local posix = require "moonq_posix"
local shim_page = require "page"

local M = {}

M.bin = assert(arg[1], "which folder has the programs?")
M.binary = assert(arg[2], "which moonq?")

local THREADS = 2 -- a client
local SETTLES = 60 -- seconds after which what still waits counts as lost

M.app = {
  ["moonq.lua"] = [[return {
    log_level = "warn", crash_limit = 1000, lease = "LEASE", keep = "30d", -- clocks step by hours
    pools = { default = { workers = 2, concurrency = 50, queues = { "default" } } } }]],
  -- Some naps, some work: a kill meets jobs that wait and jobs on the CPU.
  ["handlers/parent.lua"] = [[
    local time = require "moonq.time"
    return { run = function(job)
      for i = 1, job.args.children do
        job:push("child", { parent = job.id, of = job.args.children, i = i })
        if i % 2 == 0 then time.sleep(0.01) end
      end
      return { children = job.args.children }
    end }
  ]],
  ["handlers/child.lua"] = [[
    local time = require "moonq.time"
    return { run = function(job)
      if job.args.i == 1 then time.sleep(0.04) end
      if job.args.i == 2 then
        local ends = os.clock() + 0.004
        while os.clock() < ends do end
      end
      return job.args.i
    end }
  ]],
}

---@class crash.World
---@field server moonq.testing.Server
---@field folder string   ledgers, and the shim's page
local World = {}
World.__index = World

--- Starts server and clients.
---@param opts { seed: integer, clients?: integer, lease?: string, data?: string }
function M.start(opts)
  local folder = testing.folder()
  local self = setmetatable({
    folder = folder, seed = opts.seed, page = shim_page.create(folder .. "/page"), clients = {}, numbers = 0,
    server_kills = 0, worker_kills = 0,
  }, World)
  local files = {}
  for name, text in pairs(M.app) do
    files[name] = text:gsub("LEASE", opts.lease or "30s")
  end
  self.server = testing.start({
    binary = M.binary, files = files, events = false, args = opts.data and { "--data", opts.data },
    env = { LD_PRELOAD = posix.realpath(M.bin .. "/shim.so"), SHIM_PAGE = folder .. "/page" },
  })
  self.server.data = opts.data or self.server.data
  for _ = 1, opts.clients or 0 do
    self:add_client()
  end
  return self
end

--- One more client, on its own queues.
function World:add_client()
  local client = testing.program({
    M.bin .. "/load", self.server.socket, self.folder .. "/page", self.folder, tostring(self.seed),
    tostring(self.numbers), tostring(THREADS), "0",
  })
  self.numbers = self.numbers + THREADS
  self.clients[#self.clients + 1] = client
  return client
end

--- Lets time pass: nothing else is waited for, the moment of the next blow is chance.
function World.pass(_, seconds)
  posix.ended(posix.pid(), seconds)
end

function World:fsck()
  local status, out, err = testing.run({ M.binary, "fsck", self.server.data })
  if status ~= 0 then
    error(("fsck after kill %d of the server:\n%s%s"):format(self.server_kills, out, err), 0)
  end
end

--- Kills the server, checks what it left, and starts it again.
function World:restart()
  self.server:kill()
  self.server_kills = self.server_kills + 1
  self:fsck()
  self.server:restart()
end

--- Waits for its end, which something else brought about; then as after a kill.
function World:revive()
  local how = self.server.program:wait()
  assert(how, "the server still runs")
  self:restart()
end

--- Kills a worker; false if there is none at the moment.
function World:kill_worker(choose)
  local workers = self.server.client:workers()
  if #workers == 0 then
    return false
  end
  self.worker_kills = self.worker_kills + 1
  return posix.kill(workers[choose(#workers)].pid, "KILL")
end

--- Ends the load: what is under way is answered first.
function World:end_load()
  self.page.records = 0xffffffffffffffffULL
  for _, client in ipairs(self.clients) do
    local how, status = client:wait(60)
    if how == "exit" and status ~= 0 then
      error("a client gave up: " .. client:read(), 0)
    end
    client:stop()
  end
  self.clients = {}
end

--- Until no handler has anything to do any more. Who was charged with a crash waits for half a minute: not here.
function World:settle()
  local client = self.server.client
  local events = client:events({ queue = "default" })
  local deadline = posix.monotonic() + SETTLES
  while true do
    -- by id: a bulk step passes over what came into its state after now, and the clock may have been put back
    for job in client:each_job({ state = { "retrying", "scheduled" }, queue = "default", limit = 1000 }) do
      pcall(client.promote, client, job.id)
    end
    local queue = client:queue("default")
    if not queue or queue.ready + queue.running + queue.retrying + queue.scheduled == 0 then
      events:close()
      return
    end
    if posix.monotonic() > deadline then
      error(("after %d s, of queue 'default' %d are ready, %d run, %d retry"):format(SETTLES, queue.ready,
        queue.running, queue.retrying), 0)
    end
    local seen = events:next(1)
    while seen and posix.monotonic() < deadline and seen.event ~= "job.succeeded" do
      seen = events:next(1)
    end
  end
end

--- A job was charged for what was not its crash: only with a code that the scenario allows.
local function check_charges(self, id)
  for _, attempt in ipairs(self.server.client:job(id).attempts) do
    local charged = attempt.outcome == "fail" or attempt.outcome == "bury" or attempt.outcome == "lost"
    if charged and attempt.code ~= "CRASH" and not (self.charges and self.charges[attempt.code]) then
      error(("job %s was charged, and not for what it did: %s %s %s"):format(id, attempt.outcome,
        tostring(attempt.code), tostring(attempt.message)), 0)
    end
  end
end

--- What handlers ran: each once to its end, and only jobs that were on a CPU were charged. A scenario in which others
--- may be charged, too, sets `charges` to the codes and why.
function World:check_handlers()
  local crashes, jobs = 0, 0
  for _, kind in ipairs({ "parent", "child" }) do
    for job in self.server.client:each_job({ type = kind, limit = 1000 }) do
      jobs = jobs + 1
      if job.state ~= "succeeded" then
        error(("%s %s is %s"):format(kind, job.id, job.state), 0)
      end
      if job.attempt ~= job.crashes + 1 then
        check_charges(self, job.id)
      end
      crashes = crashes + job.crashes
    end
  end
  -- a worker that is killed has one job on its CPU at most, a server that is killed one a worker
  local guilty = self.worker_kills + self.server_kills * 2
  if crashes > guilty then
    error(("%d jobs were charged for at most %d that could have been on a CPU"):format(crashes, guilty), 0)
  end
  local queue = self.server.client:queue("default")
  if queue and queue.succeeded_total ~= jobs then
    error(("%d jobs of handlers are there, but %d acknowledgements were counted"):format(jobs,
      queue.succeeded_total), 0)
  end
  return jobs, crashes
end

--- Ends everything and holds the store against all ledgers. Answers how many jobs handlers ran, and what it said.
function World:finish()
  self:end_load()
  self:settle()
  local jobs, crashes = self:check_handlers()
  self.server:kill()
  local status, out = testing.run({ M.bin .. "/images", "--store", self.server.data, self.folder }, { timeout = 120 })
  if status ~= 0 then
    error(out, 0)
  end
  testing.remove(self.server.home)
  testing.remove(self.folder)
  return ("%s; %d jobs of handlers ran to their end, %d were charged"):format(out:gsub("%s+$", ""), jobs, crashes)
end

--- Ends what is left of it without a look; its folders stay.
function World:abandon()
  self.page.records = 0xffffffffffffffffULL
  for _, client in ipairs(self.clients) do
    client:signal("CONT")
    client:signal("KILL")
    client:stop()
  end
  self.server:signal("CONT")
  pcall(self.server.kill, self.server)
  return ("ledgers are kept in %s, data and log in %s"):format(self.folder, self.server.home)
end

--- Runs `scenario(world)`; true if all that was promised holds. What fails is said and kept.
function M.try(name, opts, scenario)
  local began = posix.monotonic()
  local ok, world = pcall(M.start, opts)
  if not ok then
    print(("%s: %s"):format(name, tostring(world)))
    return false
  end
  local good, answer = xpcall(function()
    local note = scenario(world)
    local said = world:finish()
    return (note and note .. "; " or "") .. said
  end, function(err)
    return type(err) == "string" and debug.traceback(err, 2) or tostring(err)
  end)
  if good then
    print(("%s: %s (seed %d, %.1f s)"):format(name, answer, opts.seed, posix.monotonic() - began))
  else
    print(("%s FAILED with seed %d: %s\n  %s"):format(name, opts.seed, answer, world:abandon()))
  end
  return good
end

--- Numbers of its own for each scenario: chance(n) is 1..n, chance() from 0 to 1.
function M.chance(seed)
  local state = (seed * 2654435761 + 12345) % 2147483647
  return function(n)
    state = state * 48271 % 2147483647 -- Lehmer's, exact in a double
    return n and state % n + 1 or state / 2147483647
  end
end

return M
