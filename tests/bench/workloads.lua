--- The workloads of `make bench`. Each is a row here: a name, and a function that measures and adds rows to the result.
---
--- `bench` is the runner's (run.lua): bench.quick, bench:compare(subjects), bench:row(...).

local cjson = require "cjson"

local subjects = require "subjects"
local system = require "system"

-- Settings are the best of those tried (docs/performance.md): all peers gain from many connections that push, for one
-- sync then covers more; the handlers of two workers at once are as many as a Redis batch.
local PRODUCERS, WINDOW = 32, 1000
local LUA_POOL = { workers = 2, concurrency = 2000 }

local REDIS = "Redis Streams, fsync always"
local BEANSTALKD_F50 = "beanstalkd -f50"
local BEANSTALKD_F0 = "beanstalkd -f0"
local LIMIT = "raw LMDB"

local function with(base, more)
  local all = {}
  for name, value in pairs(base) do
    all[name] = value
  end
  for name, value in pairs(more or {}) do
    all[name] = value
  end
  return all
end

--- One peer as a subject of bench:compare.
local function redis(key, options)
  return { key = key, needs = "redis-server", run = function()
    return subjects.redis(options)
  end }
end

local function beanstalkd(key, sync_ms, options)
  return { key = key, needs = "beanstalkd", run = function()
    return subjects.beanstalkd(sync_ms, options)
  end }
end

local function limit(key, figure, seconds)
  return { key = key, run = function()
    return subjects.limit(figure, seconds)
  end }
end

local function moonq(key, app, options)
  return { key = key, run = function()
    return subjects.moonq(app, options)
  end }
end

--- A row of throughput for each of `list` ({ key, label, against, against_label }), then one of processor time.
local function rate_rows(bench, workload, results, list)
  for _, entry in ipairs(list) do
    bench:row({
      workload = workload .. ": " .. entry.label, unit = "jobs/s", better = "more", figures = results[entry.key],
      field = "per_s", against = entry.against_label, against_figures = results[entry.against], must = entry.must,
      aim = entry.aim,
    })
  end
  for _, entry in ipairs(list) do
    bench:row({
      workload = workload .. ", processor: " .. entry.label, unit = "ms/1,000", better = "less",
      figures = results[entry.key], field = "cpu", against = entry.against_label,
      against_figures = results[entry.against], parts = results[entry.key].parts,
    })
  end
end

-- ---- drain: pushed and run at the same time ----

local function drain(bench)
  local jobs = bench.quick and 30000 or 100000
  local options = { jobs = jobs, producers = PRODUCERS, window = WINDOW }
  local consumers = with(options, { consumers = 4, batch = 1000 })
  local results = bench:compare({
    moonq("moonq", { pool = LUA_POOL }, options),
    moonq("kept", { pool = LUA_POOL, keep = "1h" }, options),
    moonq("plain", {}, options),
    redis("redis", consumers),
    beanstalkd("f50", 50, with(consumers, { jobs = jobs / 2, batch = 100 })),
    beanstalkd("f0", 0, with(consumers, { jobs = jobs / 50, batch = 100 })),
    limit("limit", "cycle", bench.quick and 0.5 or 1.5),
  })
  local against_redis = { against = "redis", against_label = REDIS }
  rate_rows(bench, "drain", results, {
    with(against_redis, { key = "moonq", label = "moonq, Lua handlers", must = 1, aim = 1.5 }),
    with(against_redis, { key = "kept", label = "moonq, finished jobs kept 1h" }),
    with(against_redis, { key = "plain", label = "moonq, default pool (2 x 100)" }),
    { key = "redis", label = REDIS },
    { key = "f50", label = BEANSTALKD_F50 },
    { key = "f0", label = BEANSTALKD_F0 },
    { key = "limit", label = LIMIT .. ", insert, lease, delete by 1,000" },
  })
end

local function drain_c(bench)
  local jobs = bench.quick and 30000 or 100000
  local options = { jobs = jobs, producers = PRODUCERS, window = WINDOW, batch = 1000 }
  local results = bench:compare({
    moonq("moonq", {}, with(options, { consumers = 8, type = "c", queue = "c" })),
    redis("redis", with(options, { consumers = 4 })),
    limit("limit", "cycle", bench.quick and 0.5 or 1.5),
  })
  rate_rows(bench, "drain-c", results, {
    { key = "moonq", label = "moonq, consumers in C", against = "redis", against_label = REDIS, must = 1, aim = 1.5 },
    { key = "redis", label = REDIS },
    { key = "limit", label = LIMIT .. ", insert, lease, delete by 1,000" },
  })
end

-- ---- push only ----

local function push(bench)
  local jobs = bench.quick and 60000 or 500000
  local options = { jobs = jobs, producers = 64, window = WINDOW, handled = 0, type = "c", queue = "c" }
  local results = bench:compare({
    moonq("moonq", {}, options),
    redis("redis", with(options, { producers = PRODUCERS })),
    beanstalkd("f50", 50, with(options, { jobs = jobs / 5, producers = 8 })),
    beanstalkd("f0", 0, with(options, { jobs = jobs / 200, producers = 8 })),
    limit("limit", "insert", bench.quick and 0.5 or 1.5),
  })
  rate_rows(bench, "push", results, {
    { key = "moonq", label = "moonq", against = "redis", against_label = REDIS, must = 1 },
    { key = "redis", label = REDIS },
    { key = "f50", label = BEANSTALKD_F50 },
    { key = "f0", label = BEANSTALKD_F0 },
    { key = "limit", label = LIMIT .. ", insert by 1,000" },
  })
  bench:row({
    workload = "push: moonq, of the raw insert rate", unit = "jobs/s", better = "more", figures = results.moonq,
    field = "per_s", against = LIMIT .. ", insert by 1,000", against_figures = results.limit, aim = 0.5,
  })
end

-- ---- latency: an open loop of 500 pushes a second, one at a time ----

local function latency(bench)
  local seconds = bench.quick and 2 or 4
  local options = { jobs = 500 * (seconds + 1), rate = 500, warm = 1, producers = 1, window = 5000, batch = 10 }
  local consumers = with(options, { consumers = 1 })
  -- short runs and many rounds: what a sync takes changes within seconds on a shared disk
  local results = bench:compare({
    moonq("moonq", { keep = "1h" }, with(options, { type = "stamp", stamps = true })),
    limit("limit", "commit", bench.quick and 0.5 or 1.5),
    moonq("moonq_c", {}, with(consumers, { type = "c", queue = "c" })),
    redis("redis", consumers),
    beanstalkd("f50", 50, with(consumers, { batch = 1 })),
    beanstalkd("f0", 0, with(consumers, { batch = 1 })),
  }, bench.quick and 1 or 2 * bench.rounds + 1)
  local one_commit = LIMIT .. ", one commit, p50"
  local function row(key, label, field, must)
    bench:row({
      workload = ("latency, %s: %s"):format((field:gsub("_ms$", ""):gsub("_", " ")), label), unit = "ms",
      better = "less", figures = results[key], field = field, against = one_commit, against_figures = results.limit,
      against_field = "p50_ms", must = must,
    })
  end
  row("moonq", "moonq, Lua handler", "start_p50_ms", 1.5)
  row("moonq", "moonq, Lua handler", "start_p99_ms", 5)
  row("moonq", "moonq, Lua handler", "confirm_p50_ms")
  row("moonq", "moonq, Lua handler", "confirm_p99_ms")
  for _, peer in ipairs({ { "moonq_c", "moonq, consumer in C" }, { "redis", REDIS }, { "f50", BEANSTALKD_F50 },
    { "f0", BEANSTALKD_F0 } }) do
    for _, field in ipairs({ "start_p50_ms", "start_p99_ms", "confirm_p50_ms", "confirm_p99_ms" }) do
      row(peer[1], peer[2], field)
    end
  end
  for _, entry in ipairs({
    { "p50_ms", "one commit, p50" },
    { "p99_ms", "one commit, p99" },
    { "paced_p50_ms", "one commit 500 times a second, p50" },
    { "paced_p99_ms", "one commit 500 times a second, p99" },
  }) do
    bench:row({ workload = ("latency: %s, %s"):format(LIMIT, entry[2]), unit = "ms", better = "less",
      figures = results.limit, field = entry[1] })
  end
end

-- ---- backlog ----

local function hundredth_of(jobs)
  return math.min(100000, math.max(10000, math.floor(jobs / 100)))
end

--- Pushes `jobs`, from the number `first` on; notes memory and disk. A hundredth of ten million is over before the
--- buffers of 64,000 pushes at once have the size that they will have, so what grows is looked for from a tenth on.
local function fill(server, figures, jobs, first)
  local some, tenth = hundredth_of(jobs), math.max(2 * hundredth_of(jobs), math.floor(jobs / 10))
  local load = { handled = 0, producers = 64, window = WINDOW, patience = 60 + jobs / 5000 }
  server:load(with(load, { jobs = some, first = first }))
  figures.anon_some = system.memory(server.pid).anon
  server:load(with(load, { jobs = tenth - some, first = first + some }))
  figures.anon_tenth = system.memory(server.pid).anon
  figures.fill_per_s = server:load(with(load, { jobs = jobs - tenth, first = first + tenth })).per_s
  local memory = system.memory(server.pid)
  figures.anon_full, figures.file_full = memory.anon, memory.file
  figures.disk_full = system.bytes_on_disk(server.folder .. "/data")
end

--- Pushes `jobs` while the workers drain as many: on an empty queue the same ones, over a backlog the oldest.
local function drain_some(server, first, jobs)
  local base = server:counts().succeeded_total or 0
  return server:load({ jobs = jobs, first = first, base = base, producers = PRODUCERS, window = WINDOW }).per_s
end

local function median(list)
  table.sort(list)
  return list[math.floor((#list + 1) / 2)]
end

local function drain_thrice(server, first, jobs, before)
  local rates = {}
  for i = 1, 3 do
    if before then
      before()
    end
    rates[i] = drain_some(server, first + (i - 1) * jobs, jobs)
  end
  return median(rates)
end

--- From exec until a job that is pushed then has been run by a handler.
local function time_to_serve(server)
  local began = system.monotonic()
  server:start()
  local id = server.client:push("noop", { id = 0 }, { queue = "default", keep = "1m" })
  local state = server.client:wait(id, 60).state
  if state ~= "succeeded" then
    error("the first job after the restart is " .. state, 0)
  end
  return system.monotonic() - began
end

local function backlog_figures(jobs)
  local some = hundredth_of(jobs)
  local figures = {}
  local server = subjects.moonq_new({ pool = LUA_POOL, queues = '"deep", "default"',
    handlers = { noop = 'return { queue = "deep", run = function() end }' } })
  local ok, why = pcall(function()
    figures.rate_empty = drain_thrice(server, 0, some)
    figures.disk_empty = system.bytes_on_disk(server.folder .. "/data")
    server.client:pause("deep")
    fill(server, figures, jobs, 3 * some)
    figures.rate_full = drain_thrice(server, 3 * some + jobs, some, function()
      server.client:resume("deep") -- the workers take from the old end while the new end is pushed
    end)
    server.client:pause("deep")
    server:stop("KILL")
    figures.serve_killed = time_to_serve(server)
    server:stop("TERM")
    figures.serve_clean = time_to_serve(server)
    figures.anon_restarted = system.memory(server.pid).anon
    local counts = server:counts()
    local pushed, done = 6 * some + jobs + 2, counts.succeeded_total
    -- kill -9 may have hit the job that was on a worker's CPU: it is charged, and retried later
    local waiting = counts.ready + counts.retrying + counts.running
    if counts.pushed_total ~= pushed or done + waiting ~= pushed or counts.failed_total + counts.dead ~= 0 then
      error(("%d were pushed; the server counts %d pushed, %d done, %d waiting"):format(pushed, counts.pushed_total,
        done, waiting), 0)
    end
  end)
  if not ok then
    why = tostring(why) .. "\n" .. server:log():sub(-1500)
  end
  server:remove()
  if not ok then
    error(why, 0)
  end
  return figures
end

local function backlog(bench)
  local jobs = bench.backlog
  local f = bench:once(function()
    return backlog_figures(jobs)
  end)
  local name = ("backlog of %s: "):format(bench.thousands(jobs))
  local function row(label, unit, better, value, against, against_value, must)
    bench:row({ workload = name .. label, unit = unit, better = better, figures = f, value = value, against = against,
      against_value = against_value, must = must })
  end
  local function mb(bytes)
    return bytes and bytes / 1e6
  end
  row("resident memory", "MB", "less", mb(f.anon_full), "after the first tenth", mb(f.anon_tenth), 1.25)
  row("resident memory after the first hundredth", "MB", "less", mb(f.anon_some))
  row("resident memory after a restart", "MB", "less", mb(f.anon_restarted))
  row("map pages resident", "MB", "less", mb(f.file_full))
  row("on disk", "bytes/job", "less", f.disk_full and (f.disk_full - f.disk_empty) / jobs, "its payload", 200)
  row("serving after kill -9", "s", "less", f.serve_killed, "one second", 1, 1)
  row("serving after a clean stop", "s", "less", f.serve_clean, "one second", 1, 1)
  row("drain rate", "jobs/s", "more", f.rate_full, "with an empty queue", f.rate_empty, 0.8)
  row("filling", "jobs/s", "more", f.fill_per_s)
end

-- ---- http: handlers that wait ----

local function http_figures(jobs)
  local service = subjects.http_start(50)
  local ok, figures = pcall(subjects.moonq, {
    pool = { workers = 2, concurrency = 500 },
    handlers = { page = ([[
local http = require "moonq.http"
return {
  allow = { http = { "127.0.0.1" } },
  run = function()
    http.get("http://127.0.0.1:%d/")
  end,
}
]]):format(service.port) },
  }, { jobs = jobs, type = "page", producers = 8, window = WINDOW })
  service.stop()
  if not ok then
    error(figures, 0)
  end
  return figures
end

local function http(bench)
  local jobs = bench.quick and 20000 or 60000
  local results = bench:compare({ { key = "moonq", run = function()
    return http_figures(jobs)
  end } })
  bench:row({
    workload = "http: 1,000 handlers at once, 50 ms each", unit = "jobs/s", better = "more", figures = results.moonq,
    field = "per_s", against = "1,000 / 50 ms", against_value = 20000, must = 0.9,
  })
  bench:row({ workload = "http, processor: moonq", unit = "ms/1,000", better = "less", figures = results.moonq,
    field = "cpu", parts = results.moonq.parts })
end

-- ---- many ----

local function many(bench)
  local jobs = bench.quick and 30000 or 100000
  local app = { pool = LUA_POOL, queues = '"*"' }
  local results = bench:compare({
    moonq("many", app, { jobs = jobs, queues = 100, priorities = 10, producers = 1000, window = 16 }),
    moonq("one", app, { jobs = jobs, producers = 1, window = 16000 }),
  })
  rate_rows(bench, "many", results, {
    { key = "many", label = "100 queues, 10 priorities, 1,000 connections", against = "one",
      against_label = "one queue, one connection", must = 0.8 },
    { key = "one", label = "one queue, one connection" },
  })
end

-- ---- time: scheduled jobs ----

--- A server whose handler tells when it began; always removed.
local function with_clock_server(app, fn)
  local server = subjects.moonq_new(app)
  local ok, figures = pcall(fn, server)
  if not ok then
    figures = tostring(figures) .. "\n" .. server:log():sub(-1500)
  end
  server:remove()
  if not ok then
    error(figures, 0)
  end
  return figures
end

local LATE_APP = { pool = LUA_POOL, keep = "1h", handlers = { late = [[
local time = require "moonq.time"
return { run = function() return { at = time.now() * 1000 } end }
]] } }

--- Pushes a job for each moment, in pipelines; answers their ids.
local function push_at(server, moments)
  local ids, words = {}, {}
  for i, moment in ipairs(moments) do
    words[#words + 1] = { "PUSH", "late", "{}", "AT", ("%.0f"):format(moment) }
    if #words == 1000 or i == #moments then
      for _, id in ipairs(server.client:pipeline(words)) do
        if type(id) ~= "string" then
          error("a push was refused: " .. tostring(id.err), 0)
        end
        ids[#ids + 1] = id
      end
      words = {}
    end
  end
  return ids
end

--- How long after its moment each handler began, in ms, sorted; an error if one did not run, or ran twice.
local function lateness(server, ids, moments)
  local all = {}
  for from = 1, #ids, 1000 do
    local words = {}
    for i = from, math.min(#ids, from + 999) do
      words[#words + 1] = { "JOB", ids[i] }
    end
    for i, job in ipairs(server.client:pipeline(words)) do
      if job.err or job.state ~= "succeeded" or job.attempt ~= 1 then
        local what = job.state or tostring(job.err)
        error(("job %s is %s at attempt %s"):format(ids[from + i - 1], what, job.attempt), 0)
      end
      all[#all + 1] = cjson.decode(job.result).at - moments[from + i - 1]
    end
  end
  table.sort(all)
  if all[1] < -1 then -- a millisecond: moments have no fractions
    error(("a job began %.1f ms before its time"):format(-all[1]), 0)
  end
  return { p50_ms = all[math.ceil(#all * 0.5)], p99_ms = all[math.ceil(#all * 0.99)], max_ms = all[#all] }
end

--- `jobs` due from `lead` ms after the first push on, `apart` ms from each other (0: all at one moment).
local function scheduled(jobs, apart, lead)
  return function()
    return with_clock_server(LATE_APP, function(server)
      local first = server.client:job(server.client:push("late")).pushed_at + lead
      local moments = {}
      for i = 1, jobs do
        moments[i] = math.floor(first + (i - 1) * apart)
      end
      local ids = push_at(server, moments)
      if server.client:job(ids[1]).state ~= "scheduled" then
        error("the first was due before all were pushed: the machine is too slow for this lead", 0)
      end
      server.client:wait(ids[#ids], 60 + jobs * apart / 1000)
      system.await(function()
        return server:counts().succeeded_total == jobs + 1
      end, server.pid, "the last of the scheduled jobs")
      return lateness(server, ids, moments)
    end)
  end
end

local function scheduled_figures(jobs)
  return with_clock_server({ queues = '"deep", "default"', handlers = {
    noop = 'return { queue = "deep", delay = "300d", run = function() end }',
    now = "return { run = function() end }" } },
    function(server)
      local figures = {}
      figures.disk_empty = system.bytes_on_disk(server.folder .. "/data")
      fill(server, figures, jobs, 0)
      server:stop("KILL")
      local began = system.monotonic()
      server:start()
      if server.client:wait(server.client:push("now", {}, { keep = "1m" }), 60).state ~= "succeeded" then
        error("the first job after the restart did not succeed", 0)
      end
      figures.serve_killed = system.monotonic() - began
      figures.anon_restarted = system.memory(server.pid).anon
      local counts = server:counts()
      if counts.scheduled ~= jobs then
        error(("%d were pushed; the server counts %d scheduled"):format(jobs, counts.scheduled), 0)
      end
      return figures
    end)
end

--- `jobs` that nobody serves fall due at one moment; how long a fresh push takes to its end, one after the other,
--- while they are made ready.
local function flood_figures(jobs)
  local handlers = with(LATE_APP.handlers, {
    noop = ('return { queue = "deep", delay = "%ds", run = function() end }'):format(3 + math.ceil(jobs / 150000)) })
  return with_clock_server({ queues = '"default"', handlers = handlers }, function(server)
    server:load({ jobs = jobs, handled = 0, producers = 64, window = WINDOW, patience = 60 + jobs / 5000 })
    if server:counts().scheduled ~= jobs then
      error("some were due before all were pushed: the machine is too slow", 0)
    end
    local took, began, left = {}, nil, jobs
    while left > 0 do
      local at = system.monotonic()
      server.client:wait(server.client:push("late", {}, { keep = "1m" }), 60)
      local ms = (system.monotonic() - at) * 1000
      left = server:counts().scheduled
      if left < jobs then
        began = began or at
        took[#took + 1] = ms
      end
    end
    table.sort(took)
    return { seconds = system.monotonic() - began, p50_ms = took[math.ceil(#took / 2)], max_ms = took[#took] }
  end)
end

local function flood(bench)
  local jobs = math.max(20000, bench.backlog / 10)
  local f = bench:once(function()
    return flood_figures(jobs)
  end)
  local name = ("time, %s due at one moment, "):format(bench.thousands(jobs))
  bench:row({ workload = name .. "made ready", unit = "s", better = "less", figures = f, value = f.seconds })
  for _, field in ipairs({ "p50", "max" }) do
    bench:row({ workload = name .. "a fresh job meanwhile, push to end, " .. field, unit = "ms", better = "less",
      figures = f, field = field .. "_ms" })
  end
end

local function time(bench)
  local seconds = bench.quick and 3 or 10
  local results = bench:compare({
    { key = "idle", run = scheduled(bench.quick and 50 or 250, 20, 500) },
    { key = "burst", run = scheduled(bench.quick and 2000 or 20000, 0, bench.quick and 2000 or 8000) },
    { key = "even", run = scheduled(1000 * seconds, 1, bench.quick and 2000 or 5000) },
  })
  for _, entry in ipairs({
    { "idle", "an idle server, one job every 20 ms" },
    { "burst", ("%s due at one moment"):format(bench.thousands(bench.quick and 2000 or 20000)) },
    { "even", "1,000 a second, spread evenly" },
  }) do
    for _, field in ipairs({ "p50", "p99", "max" }) do
      local bound = entry[1] == "idle" and field == "p50"
      bench:row({ workload = ("time, lateness %s: %s"):format(field, entry[2]), unit = "ms", better = "less",
        figures = results[entry[1]], field = field .. "_ms", against = bound and "5 ms" or nil,
        against_value = bound and 5 or nil, must = bound and 1 or nil })
    end
  end
  flood(bench)
  local jobs = bench.backlog
  local f = bench:once(function()
    return scheduled_figures(jobs)
  end)
  local function row(label, unit, better, value, against, against_value, must)
    local workload = ("time, %s scheduled: %s"):format(bench.thousands(jobs), label)
    bench:row({ workload = workload, unit = unit, better = better, figures = f, value = value, against = against,
      against_value = against_value, must = must })
  end
  local function mb(bytes)
    return bytes and bytes / 1e6
  end
  row("resident memory", "MB", "less", mb(f.anon_full), "after the first tenth", mb(f.anon_tenth), 1.25)
  row("resident memory after the first hundredth", "MB", "less", mb(f.anon_some))
  row("resident memory after a restart", "MB", "less", mb(f.anon_restarted))
  row("map pages resident", "MB", "less", mb(f.file_full))
  row("on disk", "bytes/job", "less", f.disk_full and (f.disk_full - f.disk_empty) / jobs)
  row("serving after kill -9", "s", "less", f.serve_killed, "one second", 1, 1)
  row("filling", "jobs/s", "more", f.fill_per_s)
end

return {
  { name = "drain", run = drain },
  { name = "drain-c", run = drain_c },
  { name = "push", run = push },
  { name = "latency", run = latency },
  { name = "backlog", run = backlog },
  { name = "http", run = http },
  { name = "many", run = many },
  { name = "time", run = time },
}
