--- Soak: a server at 70 % of what it can do, for an hour, and nothing grows.
---
---     luajit tests/crash/soak.lua BIN_FOLDER MOONQ SECONDS PICTURE
---
--- Memory (anonymous pages: the map's belong to the file), descriptors, the file, latency and backlog are sampled;
--- after the warm-up, the median of the last quarter may not exceed that of the first by more than the bounds below.
--- PICTURE is an SVG of all of it. Jobs succeed, wait, fail, push others; clients come and go, listings are read.
--- SOAK_LOAD is another share than 0.7: where other programs want the machine at times, too.

local testing = require "moonq.testing"
local posix = require "moonq_posix"
local json = require "moonq.client.json"

local bin, binary, seconds, picture = arg[1], arg[2], tonumber(arg[3]), arg[4]

local LOAD = tonumber(os.getenv("SOAK_LOAD")) or 0.7
local KEEP = "2s"
local WARM_UP = math.max(6, math.min(60, seconds * 0.25))
local JUDGE_TIMING = 300 -- seconds
local MEASURE = seconds < JUDGE_TIMING and 3 or 10 -- seconds of full speed, to know what 70 % are
local EVERY = math.max(0.5, seconds / 720)

-- What may grow, from the first quarter to the last: by a share, and by so much on top (the unit is the row's).
-- Latency (`timing`) is judged in runs of minutes only: in seconds it tells of the machine's other programs.
local bounds = {
  { name = "server memory", unit = "MiB", key = "server_mib", share = 0.10, plus = 8 },
  { name = "workers' memory", unit = "MiB", key = "workers_mib", share = 0.25, plus = 16 },
  { name = "descriptors", unit = "", key = "descriptors", share = 0, plus = 2 },
  { name = "file in use", unit = "MiB", key = "used_mib", share = 0.20, plus = 8 },
  { name = "file", unit = "MiB", key = "file_mib", share = 0.25, plus = 16 },
  -- a machine that others share is slower at times: only what grows and grows is seen here
  { name = "push to confirmation, p50", unit = "ms", key = "confirm_p50_ms", share = 1, plus = 5, timing = true },
  { name = "push to confirmation, p99", unit = "ms", key = "confirm_p99_ms", share = 2, plus = 25, timing = true },
  { name = "push to end", unit = "ms", key = "end_ms", share = 2, plus = 25, timing = true },
  { name = "ready jobs", unit = "", key = "ready", share = 2, plus = 2000 },
  { name = "jobs pushed a second", unit = "", key = "rate" },
}

local files = {
  ["moonq.lua"] = [[return {
    log_level = "error", dead_keep = "2s", keep = "2s",
    pools = { default = { workers = 2, concurrency = 1000 } } }]], -- so many share a commit: a slow disk is no limit
  ["handlers/noop.lua"] = [[return { run = function() end }]],
  ["handlers/shaky.lua"] = [[return { attempts = 2, retry = { 0.2 }, run = function(job)
    if job.attempt == 1 or job.args.n % 2 == 0 then error("the first time always, the second sometimes") end
  end }]],
  ["handlers/parent.lua"] = [[return { run = function(job)
    job:push("noop", { of = job.id })
    job:push("noop", { of = job.id })
    return { n = job.args.n }
  end }]],
}

-- ---- looking -------------------------------------------------------------------------------------------------------

local function anonymous_mib(pid)
  local status = testing.read_file("/proc/" .. pid .. "/status") or ""
  return (tonumber(status:match("RssAnon:%s+(%d+)")) or 0) / 1024
end

local function descriptors(pid)
  return #(posix.list("/proc/" .. pid .. "/fd") or {})
end

local function children_of(pid)
  local list = {}
  for child in (testing.read_file(("/proc/%d/task/%d/children"):format(pid, pid)) or ""):gmatch("%d+") do
    list[#list + 1] = tonumber(child)
  end
  return list
end

--- A client that comes, looks around, and goes.
local function visit(server, sample)
  local client = server:connect()
  local stats, ready = client:stats(), 0
  for _, queue in ipairs(client:queues()) do
    ready = ready + queue.ready
  end
  client:jobs({ limit = 50 })
  client:jobs({ state = { "dead" }, limit = 50 })
  client:close()
  sample.ready = ready
  sample.used_mib = (tonumber(stats.store_used_bytes or stats.used_bytes) or 0) / 1048576
end

local function look(server, at)
  local sample = {
    at = at, server_mib = anonymous_mib(server.pid), descriptors = descriptors(server.pid), workers_mib = 0,
  }
  for _, pid in ipairs(children_of(server.pid)) do
    sample.workers_mib = sample.workers_mib + anonymous_mib(pid)
    sample.descriptors = sample.descriptors + descriptors(pid)
  end
  visit(server, sample)
  local _, size = posix.stat(server.data .. "/moonq.mdb")
  sample.file_mib = size / 1048576
  return sample
end

local function lines_of(program)
  local lines = {}
  for line in program:read():gmatch("[^\n]+") do
    lines[#lines + 1] = json.decode(line)
  end
  return lines
end

-- ---- judging -------------------------------------------------------------------------------------------------------

local function median(samples, key, from, to)
  local values = {}
  for _, sample in ipairs(samples) do
    if sample[key] and sample.at >= from and sample.at <= to then
      values[#values + 1] = sample[key]
    end
  end
  table.sort(values)
  return values[math.ceil(#values / 2)]
end

--- Prints a line a bound; answers how many were broken.
local function judge(samples)
  local span = (seconds - WARM_UP) / 4
  local broken = 0
  for _, row in ipairs(bounds) do
    local first = median(samples, row.key, WARM_UP, WARM_UP + span)
    local last = median(samples, row.key, seconds - span, seconds + 5)
    row.first, row.last = first, last
    row.bound = row.share and first and first * (1 + row.share) + row.plus
    row.judged = row.share ~= nil and (seconds >= JUDGE_TIMING or not row.timing)
    row.broken = row.judged and (first == nil or last == nil or last > row.bound)
    broken = broken + (row.broken and 1 or 0)
    print(("%-28s %10.2f -> %10.2f %-4s %s"):format(row.name, first or -1, last or -1, row.unit,
      row.broken and "GROWS" or row.judged and row.bound and ("(at most %.2f)"):format(row.bound) or ""))
  end
  return broken
end

-- ---- drawing -------------------------------------------------------------------------------------------------------

local WIDTH, HEIGHT, LEFT, TOP, GAP = 900, 90, 190, 50, 28

local function escape(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

--- One row's curve, from zero to its greatest, with the warm-up in grey and the bound as a line.
local function draw_row(out, row, samples, top)
  local most = row.bound or 0
  for _, sample in ipairs(samples) do
    most = math.max(most, sample[row.key] or 0)
  end
  most = most > 0 and most or 1
  local function x(at) return LEFT + at / seconds * WIDTH end
  local function y(value) return top + HEIGHT - value / most * HEIGHT end
  local points = {}
  for _, sample in ipairs(samples) do
    if sample[row.key] then
      points[#points + 1] = ("%.1f,%.1f"):format(x(math.min(sample.at, seconds)), y(sample[row.key]))
    end
  end
  out[#out + 1] = ('<rect x="%d" y="%d" width="%.1f" height="%d" fill="#eee"/>'):format(LEFT, top,
    WARM_UP / seconds * WIDTH, HEIGHT)
  out[#out + 1] = ('<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#bbb"/>'):format(LEFT, top, WIDTH,
    HEIGHT)
  if row.bound then
    out[#out + 1] = ('<line x1="%.1f" x2="%d" y1="%.1f" y2="%.1f" stroke="#c33" stroke-dasharray="4"/>'):format(
      x(WARM_UP), LEFT + WIDTH, y(row.bound), y(row.bound))
  end
  out[#out + 1] = ('<polyline fill="none" stroke="%s" points="%s"/>'):format(row.broken and "#c33" or "#247",
    table.concat(points, " "))
  out[#out + 1] = ('<text x="10" y="%d" font-weight="bold">%s</text>'):format(top + 20, escape(row.name))
  out[#out + 1] = ('<text x="10" y="%d">%.4g %s at first</text>'):format(top + 40, row.first or 0, row.unit)
  out[#out + 1] = ('<text x="10" y="%d">%.4g %s at last</text>'):format(top + 58, row.last or 0, row.unit)
  out[#out + 1] = ('<text x="%d" y="%d">%.4g</text>'):format(LEFT + WIDTH + 6, top + 12, most)
end

local function draw(samples, rate)
  local height = TOP + #bounds * (HEIGHT + GAP) + 20
  local title = ("%d s at %d jobs a second, %d %% of full speed; grey: warm-up; dashed: bounds"):format(seconds, rate,
    LOAD * 100)
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">'):format(
      LEFT + WIDTH + 80, height),
    '<rect width="100%" height="100%" fill="white"/>',
    ('<text x="10" y="24" font-size="16">%s</text>'):format(title),
  }
  for i, row in ipairs(bounds) do
    draw_row(out, row, samples, TOP + (i - 1) * (HEIGHT + GAP))
  end
  out[#out + 1] = "</svg>\n"
  testing.write_file(picture, table.concat(out, "\n"))
end

-- ---- running -------------------------------------------------------------------------------------------------------

--- Jobs a second from push to end, of the same mixture, through a backlog: pushed for a while as fast as they are
--- confirmed, then run until none waits, and none is kept. (A job that is handed out in the commit of its push costs
--- less; but a server that has fallen behind must be able to catch up.)
local function full_speed(server)
  local began, pushed = posix.monotonic(), 0
  local pace = testing.program({ bin .. "/pace", server.socket, "0", tostring(MEASURE), KEEP })
  local how, status = pace:wait(MEASURE + 60)
  local lines = lines_of(pace)
  local said = pace:read()
  pace:stop()
  assert(how == "exit" and status == 0 and lines[1], "pace: " .. said)
  local events = server.client:events({ name = "job.succeeded" })
  local function waiting()
    local queue = server.client:queue("default")
    pushed = queue.pushed_total
    return queue.ready + queue.running + queue.succeeded
  end
  while waiting() > 50 do -- finished jobs must be gone too, that is work as well; what is delayed is not waited for
    events:next(0.05)
  end
  events:close()
  return pushed / (posix.monotonic() - began)
end

local function run(server)
  local rate = math.floor(full_speed(server) * LOAD)
  local pace = testing.program({ bin .. "/pace", server.socket, tostring(rate), tostring(seconds), KEEP })
  local began, samples, told = posix.monotonic(), {}, 0
  while not pace:wait(EVERY) do
    local sample = look(server, posix.monotonic() - began)
    local lines = lines_of(pace)
    local last = #lines > told and lines[#lines]
    if last then
      told = #lines
      sample.rate, sample.end_ms = last.rate, last.end_us / 1000
      sample.confirm_p50_ms, sample.confirm_p99_ms = last.confirm_p50_us / 1000, last.confirm_p99_us / 1000
    end
    samples[#samples + 1] = sample
  end
  local how, status = pace:wait(0)
  local said = pace:read()
  pace:stop()
  assert(how == "exit" and status == 0, "pace: " .. said:sub(-500))
  return samples, rate
end

local server = testing.start({ binary = binary, files = files, events = false })
local ok, samples, rate = pcall(run, server)
if ok then
  server:halt(30)
  local clean, out = testing.run({ binary, "fsck", server.data }, { timeout = 120 })
  print(("soak: %d s at %d jobs/s, %d %% of full speed; %d samples"):format(seconds, rate, LOAD * 100, #samples))
  local broken = judge(samples)
  draw(samples, rate)
  print("drawn as " .. picture)
  if clean ~= 0 then
    broken = broken + 1
    print(out)
  end
  testing.remove(server.home)
  os.exit(broken == 0 and 0 or 1)
end
server:stop()
print("soak: " .. tostring(samples))
os.exit(1)
