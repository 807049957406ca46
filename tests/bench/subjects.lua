--- Who is measured: moonq, Redis Streams, beanstalkd, and what LMDB can do at most. Each run starts its own server in
--- a fresh folder, gives it a load (load.c), checks that nothing is missing, and stops it by its pid.
---
--- A run returns figures: per_s, took_s, push_per_s, cpu (ms of processor time per 1,000 jobs, of all processes),
--- parts (the same by thread and process), and latencies where there is a rate.

local client = require "moonq.client"
local json = require "cjson"
local posix = require "moonq_posix"
local system = require "system"

local M = {}

--- Set by the runner: folder (where data goes), programs (load, limit, http_delay), binary, home.
M.settings = {}

local serial = 0
local function fresh_folder(name)
  serial = serial + 1
  local folder = ("%s/%s-%d"):format(M.settings.folder, name, serial)
  assert(posix.mkdir(folder))
  return folder
end

local function words_of(options)
  local words = {}
  for name, value in pairs(options) do
    if value == true then
      value = 1
    end
    words[#words + 1] = name .. "=" .. (type(value) == "number" and ("%.14g"):format(value) or tostring(value))
  end
  table.sort(words)
  return words
end

local function load(peer, socket, options, log)
  local argv = { M.settings.programs.load, peer, socket }
  for _, word in ipairs(words_of(options)) do
    argv[#argv + 1] = word
  end
  local text = system.run(argv, log, (options.patience or 120) + 30)
  return json.decode(text)
end

--- Processor time per 1,000 jobs: of the server's processes between two readings, and of the load generator.
local function add_cpu(figures, before, after)
  local parts, sum = {}, 0
  for name, spent in pairs(after) do
    parts[name] = (spent - (before[name] or 0)) * 1e6 / figures.jobs
  end
  parts.load = figures.cpu_s * 1e6 / figures.jobs
  for _, spent in pairs(parts) do
    sum = sum + spent
  end
  figures.parts, figures.cpu = parts, sum
  return figures
end

-- ---- moonq ----

local Moonq = {}
Moonq.__index = Moonq

M.handlers = {
  noop = "return { run = function() end }\n",
  -- the moment it began, before anything else; its result is read when all is over
  stamp = [[
local time = require "moonq.time"
return {
  run = function(job)
    local began = time.mono()
    return { job.args.id, math.floor(began * 1e6) }
  end,
}
]],
}

--- An application: handlers by name, and moonq.lua. The queue "c" is nobody's but the consumers' in C.
local function write_application(folder, app)
  local pool = app.pool or {}
  system.write(folder .. "/moonq.lua", ([[
return {
  log_level = "warn",
  keep = "%s",
  pools = {
    default = { workers = %d, concurrency = %d, queues = { %s } },
  },
}
]]):format(app.keep or "0s", pool.workers or 2, pool.concurrency or 100, app.queues or '"default"'))
  for name, text in pairs(app.handlers or { noop = M.handlers.noop, stamp = M.handlers.stamp }) do
    system.write(("%s/handlers/%s.lua"):format(folder, name), text)
  end
end

--- Starts a server and returns when it takes commands.
function M.moonq_new(app)
  local self = setmetatable({ folder = fresh_folder("moonq") }, Moonq)
  self.socket = self.folder .. "/moonq.sock"
  write_application(self.folder, app or {})
  self:start()
  return self
end

function Moonq:start()
  self.pid = system.start({ M.settings.binary, "serve", self.folder, "--log-format", "text" },
    self.folder .. "/log", { MOONQ_HOME = M.settings.home })
  self.client = system.await(function()
    local connection = client.connect(self.socket)
    return connection:call("PING") == "PONG" and connection
  end, self.pid, "moonq")
end

function Moonq:log()
  return (system.read(self.folder .. "/log.err") or "") .. (system.read(self.folder .. "/log") or "")
end

function Moonq:load(options)
  local before = system.cpu(self.pid, true)
  local figures = load("moonq", self.socket, options, self.folder .. "/load")
  return add_cpu(figures, before, system.cpu(self.pid, true))
end

function Moonq:stop(how)
  if how then
    system.kill(self.pid, how)
    system.wait(self.pid, 60)
  else
    system.stop(self.pid)
  end
end

function Moonq:remove()
  self:stop()
  system.remove(self.folder)
end

--- All queues' counters, added.
function Moonq:counts()
  local sums = {}
  for _, queue in ipairs(self.client:queues()) do
    for name, value in pairs(queue) do
      if type(value) == "number" then
        sums[name] = (sums[name] or 0) + value
      end
    end
  end
  return sums
end

local function expect(counts, wanted)
  for name, value in pairs(wanted) do
    if (counts[name] or 0) ~= value then
      error(("moonq counts %d %s, not %d"):format(counts[name] or 0, name, value), 0)
    end
  end
end

--- The books must balance: all were pushed, all succeeded at their first attempt, none is anywhere else.
function Moonq:check_done(jobs, kept)
  expect(self:counts(), {
    pushed_total = jobs, succeeded_total = jobs, failed_total = 0, lost_total = 0, crashed_total = 0, dead_total = 0,
    ready = 0, scheduled = 0, retrying = 0, running = 0, dead = 0, succeeded = kept and jobs or 0,
  })
end

--- Where finished jobs are kept, each is looked at: every number once, succeeded, at the first attempt.
function Moonq:tick_off(jobs)
  local seen, count = {}, 0
  for job in self.client:each_job({ state = "succeeded", limit = 1000 }) do
    local number = type(job.payload) == "table" and job.payload.id
      or tonumber(tostring(job.payload):match('^{"id":%s*(%d+)'))
    if not number or seen[number] or number < 0 or number >= jobs or job.attempt ~= 1 then
      error("job " .. tostring(job.id) .. " is not as it was pushed, or there twice", 0)
    end
    seen[number] = true
    count = count + 1
  end
  if count ~= jobs then
    error(("%d of %d jobs are kept"):format(count, jobs), 0)
  end
end

--- One run: `app` as above, `options` of the load, `kept`: finished jobs stay and are ticked off.
function M.moonq(app, options)
  local server = M.moonq_new(app)
  local ok, figures = pcall(function()
    local kept = app.keep and app.keep ~= "0s"
    local result = server:load(options)
    if options.handled == 0 then
      expect(server:counts(), { pushed_total = options.jobs, ready = options.jobs })
    else
      server:check_done(options.jobs, kept)
      if kept then
        server:tick_off(options.jobs)
      end
    end
    return result
  end)
  if not ok then
    figures = tostring(figures) .. "\n" .. server:log():sub(-1500)
  end
  server:remove()
  if not ok then
    error(figures, 0)
  end
  return figures
end

-- ---- Redis ----

local function redis_words(socket, ...)
  local connection = assert(require("moonq_redis").connect(socket, 5))
  connection:append({ ... })
  connection:flush(30)
  local _, reply = assert(connection:get(30))
  connection:close()
  return reply
end

--- appendonly yes, appendfsync always: what a turn of its loop wrote is synced before the turn's replies.
function M.redis(options)
  local folder = fresh_folder("redis")
  local socket = folder .. "/redis.sock"
  local pid = system.start({ "redis-server", "--port", 0, "--unixsocket", socket, "--dir", folder, "--appendonly",
    "yes", "--appendfsync", "always", "--save", "", "--maxclients", 4000, "--daemonize", "no" }, folder .. "/log")
  local ok, figures = pcall(function()
    system.await(function()
      return redis_words(socket, "PING")
    end, pid, "redis-server")
    redis_words(socket, "XGROUP", "CREATE", "jobs", "g", "0", "MKSTREAM")
    local before = system.cpu(pid)
    local result = add_cpu(load("redis", socket, options, folder .. "/load"), before, system.cpu(pid))
    local left = redis_words(socket, "XLEN", "jobs")
    local wanted = options.handled == 0 and options.jobs or 0
    if left ~= wanted then
      error(("redis has %s jobs left, not %d"):format(tostring(left), wanted), 0)
    end
    return result
  end)
  system.stop(pid)
  system.remove(folder)
  if not ok then
    error(figures, 0)
  end
  return figures
end

-- ---- beanstalkd ----

--- -f0 syncs its log before each reply, -f50 at most every 50 ms: up to so much of what it confirmed can be lost.
function M.beanstalkd(sync_ms, options)
  local folder = fresh_folder("beanstalkd")
  local socket = folder .. "/beanstalkd.sock"
  local pid = system.start({ "beanstalkd", "-b", folder, "-f" .. sync_ms, "-l", "unix:" .. socket }, folder .. "/log")
  local ok, figures = pcall(function()
    system.await(function()
      return system.exists(socket) == "socket"
    end, pid, "beanstalkd")
    local before = system.cpu(pid)
    return add_cpu(load("beanstalkd", socket, options, folder .. "/load"), before, system.cpu(pid))
  end)
  system.stop(pid)
  system.remove(folder)
  if not ok then
    error(figures, 0)
  end
  return figures
end

-- ---- LMDB alone ----

function M.limit(figure, seconds)
  local folder = fresh_folder("limit")
  local ok, text = pcall(system.run, { M.settings.programs.limit, folder, figure, seconds }, folder .. "/out", 60)
  system.remove(folder)
  if not ok then
    error(text, 0)
  end
  local figures = json.decode(text)
  figures.cpu = figures.cpu_ms_per_1000
  return figures
end

-- ---- a web service that answers after 50 ms ----

function M.http_start(delay_ms)
  local folder = fresh_folder("http")
  local pid = system.start({ M.settings.programs.http_delay, folder .. "/port", delay_ms }, folder .. "/log")
  local port = system.await(function()
    return tonumber(system.read(folder .. "/port"))
  end, pid, "http_delay")
  return {
    pid = pid,
    port = port,
    stop = function()
      system.stop(pid)
      system.remove(folder)
    end,
  }
end

return M
