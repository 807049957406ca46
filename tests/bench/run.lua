--- The runner of `make bench`: measures the workloads, prints a table, writes bench.json.
---
---     luajit tests/bench/run.lua PROGRAMS_FOLDER BINARY
---
--- From the environment: WHAT (workloads, by comma; all), QUICK=1, ROUNDS (3), BACKLOG (jobs), CALM (ms: before each
--- run, wait up to two minutes for the disk to sync in less), BENCH_DIR (where data goes; build/bench), BENCH_JSON
--- (bench.json). Exit status 1 if a row is an error: a job was missing, a server died. A figure below its floor is no
--- error; the table says BELOW.

local json = require "cjson"
local posix = require "moonq_posix"
local subjects = require "subjects"
local system = require "system"
local workloads = require "workloads"

local bench = { rows = {} }

local function env(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

bench.quick = env("QUICK") ~= nil and env("QUICK") ~= "0"
bench.rounds = tonumber(env("ROUNDS")) or (bench.quick and 1 or 3)
bench.calm_ms = tonumber(env("CALM"))
bench.backlog = tonumber(env("BACKLOG")) or (bench.quick and 200000 or 10000000)
if bench.backlog < 100000 then
  error("BACKLOG is at least 100000: a tenth of it must be more than what is under way", 0)
end

local function say(...)
  io.stderr:write(string.format(...), "\n")
end

-- ---- measuring ----

local function first_line(text)
  return (tostring(text):match("^[^\n]*"))
end

--- On a shared machine the disk's own sync rate moves by a factor of ten from one minute to the next.
local function await_calm()
  local deadline = system.monotonic() + 120
  while bench.calm_ms and system.monotonic() < deadline do
    if subjects.limit("sync", 0.2).p50_ms < bench.calm_ms then
      return
    end
    system.sleep(1)
  end
end

local function run_once(subject)
  local key = subject.key
  if subject.needs and not system.has(subject.needs) then
    return { missing = "no " .. subject.needs .. " on this machine" }
  end
  await_calm()
  local ok, figures = pcall(subject.run)
  if not ok then
    say("    %-8s ERROR %s", key, tostring(figures))
    return { error = first_line(figures) }
  end
  say("    %-8s %s", key, figures.start_p50_ms
    and ("start p50 %.3f ms, p99 %.3f ms"):format(figures.start_p50_ms, figures.start_p99_ms)
    or figures.p50_ms and ("p50 %.3f ms, p99 %.3f ms"):format(figures.p50_ms, figures.p99_ms)
    or ("%.0f jobs/s, %.2f ms of processor time a 1,000"):format(figures.per_s, figures.cpu))
  return figures
end

--- Of an even number the lower one.
local function median(list)
  table.sort(list)
  return list[math.floor((#list + 1) / 2)]
end

--- The median of each figure over the rounds; tables (parts) by their members.
local function medians(list)
  local out, values = {}, {}
  for _, figures in ipairs(list) do
    if figures.error or figures.missing then
      return figures
    end
    for name, value in pairs(figures) do
      values[name] = values[name] or {}
      table.insert(values[name], value)
    end
  end
  for name, all in pairs(values) do
    if type(all[1]) == "table" then
      out[name] = medians(all)
    elseif type(all[1]) == "number" then
      out[name] = median(all)
    end
  end
  return out
end

--- Runs all subjects round by round, so that each sees the same moods of the machine, and neighbours in the list right
--- after one another: medians by key, and under `rounds` the single runs.
---@param list table[]
---@param rounds? integer   the run's by default
function bench:compare(list, rounds)
  local found = {}
  rounds = rounds or self.rounds
  for round = 1, rounds do
    say("  round %d of %d", round, rounds)
    for i = 1, #list do
      local subject = list[(i + round - 2) % #list + 1] -- nobody is always first
      found[subject.key] = found[subject.key] or {}
      table.insert(found[subject.key], run_once(subject))
    end
  end
  local results = {}
  for key, figures in pairs(found) do
    results[key] = medians(figures)
    results[key].rounds = figures
  end
  return results
end

--- For what takes too long to be repeated.
function bench:once(fn)
  local ok, figures = pcall(fn)
  if not ok then
    say("    ERROR %s", tostring(figures))
    return { error = first_line(figures) }
  end
  return figures
end

-- ---- rows ----

--- The figure `field` of each round over the other's of the same round: the median, and all of them. The disk's mood
--- is nearly the same for both, so this is steadier than the ratio of the two medians.
local function paired(row)
  local ratios = {}
  for i, figures in ipairs(row.figures.rounds) do
    local other = row.against_figures.rounds[i]
    ratios[i] = figures[row.field] / other[row.against_field or row.field]
  end
  local all = {}
  for i, ratio in ipairs(ratios) do
    all[i] = ratio
  end
  return median(ratios), all
end

--- A row: `workload`, `unit`, `better`, `must`, `aim`, and where its value comes from: `figures` and `field` (or
--- `value`), compared with the `against_field` (the same by default) of `against_figures`, or with `against_value`.
function bench:row(row)
  local figures, other = row.figures or {}, row.against_figures
  local out = {
    workload = row.workload, unit = row.unit, better = row.better, must = row.must or json.null,
    aim = row.aim or json.null, value = json.null, against = row.against or json.null, against_value = json.null,
    ratio = json.null, parts = row.parts, error = figures.error, missing = figures.missing,
  }
  table.insert(self.rows, out)
  if out.error or out.missing then
    return
  end
  out.value = row.value or figures[row.field] or json.null
  if other and not (other.error or other.missing) then
    out.against_value = other[row.against_field or row.field]
    out.ratio, out.ratios = paired(row)
  elseif row.against_value and out.value ~= json.null then
    out.against_value = row.against_value
    out.ratio = out.value / row.against_value
  end
end

function bench.thousands(number)
  local text = ("%.0f"):format(number):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (text:gsub("^,", ""))
end

local function short(value)
  if value == nil or value == json.null then
    return "-"
  end
  return value >= 1000 and bench.thousands(value) or value >= 100 and ("%.0f"):format(value)
    or value >= 10 and ("%.1f"):format(value) or ("%.3g"):format(value)
end

local function verdict(row)
  if row.error then
    return "ERROR " .. row.error
  elseif row.missing then
    return "missing: " .. row.missing
  elseif row.ratio == json.null then
    return ""
  end
  local function reaches(bound)
    if row.better == "more" then
      return row.ratio >= bound
    end
    return row.ratio <= bound
  end
  if row.must ~= json.null and not reaches(row.must) then
    return "BELOW"
  elseif row.aim ~= json.null then
    return reaches(row.aim) and "aim reached" or (row.must ~= json.null and "floor reached" or "below the aim")
  end
  return row.must ~= json.null and "reached" or ""
end

local function print_table(rows)
  local lines = { { "workload", "value", "unit", "against", "", "ratio", "must", "aim", "" } }
  for _, row in ipairs(rows) do
    lines[#lines + 1] = { row.workload, short(row.value), row.unit, row.against == json.null and "" or row.against,
      row.against == json.null and "" or short(row.against_value), row.ratio == json.null and "" or short(row.ratio),
      row.must == json.null and "" or short(row.must), row.aim == json.null and "" or short(row.aim), verdict(row) }
  end
  local width, right = {}, { [2] = true, [5] = true, [6] = true, [7] = true, [8] = true }
  for _, line in ipairs(lines) do
    for i, cell in ipairs(line) do
      width[i] = math.max(width[i] or 0, #cell)
    end
  end
  for _, line in ipairs(lines) do
    for i, cell in ipairs(line) do
      line[i] = right[i] and (" "):rep(width[i] - #cell) .. cell or cell .. (" "):rep(width[i] - #cell)
    end
    print((table.concat(line, "  "):gsub("%s+$", "")))
  end
end

--- One row a line, so that two runs can be compared with diff.
local function write_json(path, rows)
  local lines = {}
  for _, row in ipairs(rows) do
    lines[#lines + 1] = json.encode(row)
  end
  system.write(path, "[\n" .. table.concat(lines, ",\n") .. "\n]\n")
end

-- ---- main ----

--- What runs that were killed have left.
local function sweep(base)
  for _, name in ipairs(posix.list(base) or {}) do
    local pid = tonumber(name:match("^run%-(%d+)$"))
    if pid and not posix.stat("/proc/" .. pid) then
      posix.remove_tree(base .. "/" .. name)
    end
  end
end

local function chosen(what)
  local list = {}
  for name in (what or "all"):gmatch("[^,]+") do
    local found = false
    for _, workload in ipairs(workloads) do
      if name == "all" or workload.name == name then
        list[#list + 1], found = workload, true
      end
    end
    if not found then
      local names = {}
      for _, workload in ipairs(workloads) do
        names[#names + 1] = workload.name
      end
      io.stderr:write(("bench: no workload '%s': %s\n"):format(name, table.concat(names, ", ")))
      os.exit(2)
    end
  end
  return list
end

local function prepare(programs, binary)
  local base = env("BENCH_DIR") or "build/bench"
  assert(posix.mkdir(base))
  base = assert(posix.realpath(base))
  sweep(base)
  local folder = ("%s/run-%d"):format(base, posix.pid())
  assert(posix.mkdir(folder .. "/bin"))
  -- a copy: whoever builds meanwhile does not change what is measured
  os.execute(("cp '%s' '%s/bin/moonq'"):format(binary, folder))
  programs = assert(posix.realpath(programs))
  subjects.settings = {
    folder = folder, binary = folder .. "/bin/moonq", home = posix.cwd(),
    programs = { load = programs .. "/load", limit = programs .. "/limit", http_delay = programs .. "/http_delay" },
  }
  return folder
end

local function main(programs, binary)
  if not binary then
    io.stderr:write("usage: luajit tests/bench/run.lua PROGRAMS_FOLDER BINARY\n")
    return 2
  end
  local list = chosen(env("WHAT"))
  local folder = prepare(programs, binary)
  local machine, began = system.machine(), system.monotonic()
  local place = system.file_system(folder)
  print(("%d x %s, Linux %s, %d GB; data on %s; load before %s"):format(machine.cores, machine.processor,
    machine.kernel, machine.memory_gb, place, machine.load))
  print(("moonq %s; redis %s; beanstalkd %s; medians of %d"):format(
    system.output_of(binary .. " --version"):match("[%d.]+%S*") or "?",
    system.output_of("redis-server --version"):match("v=(%S+)") or "missing",
    system.output_of("beanstalkd -v"):match("%d%S*") or "missing", bench.rounds))
  if place == "tmpfs" then
    print("WARNING: a tmpfs syncs nothing; set BENCH_DIR to a folder on a disk")
  end
  local ok, why = xpcall(function()
    for _, workload in ipairs(list) do
      say("%s", workload.name)
      workload.run(bench)
    end
  end, debug.traceback)
  system.stop_all()
  posix.remove_tree(folder)
  if not ok then
    io.stderr:write(tostring(why), "\n")
    return 1
  end
  print("")
  print_table(bench.rows)
  local path = env("BENCH_JSON") or "bench.json"
  write_json(path, bench.rows)
  print(("\n%s written, %.0f s"):format(path, system.monotonic() - began))
  for _, row in ipairs(bench.rows) do
    if row.error then
      return 1
    end
  end
  return 0
end

io.stdout:setvbuf("line")
os.exit(main(arg[1], arg[2]), true)
