--- Fault tests: the world around the server fails, and nothing that was confirmed is lost.
---
---     luajit tests/crash/faults.lua BIN_FOLDER MOONQ SEED TIMES [NAME]
---
--- Each scenario runs under load, brings its fault about, sees the server bear it or end of it, and takes it back; then
--- all is held against the ledgers as after kills.

local testing = require "moonq.testing"
local posix = require "moonq_posix"
local world = require "world"

local seed, times, only = tonumber(arg[3]), tonumber(arg[4]), arg[5]

local EIO, ENOSPC = 5, 28
-- Whose calls fail: the page's `only`.
local ANY, STORE, JOURNAL = 0, 1, 2
local WHOSE = { [ANY] = "", [STORE] = " of LMDB's file", [JOURNAL] = " of the journal" }

-- ---- tools -------------------------------------------------------------------------------------------------------

--- Changes a limit of a running process; nil: no limit.
local function limit(pid, name, value)
  local status, out, err = testing.run({ "prlimit", "--pid", tostring(pid),
    ("--%s=%s"):format(name, value and ("%d:"):format(value) or "unlimited:") })
  assert(status == 0, out .. err)
end

--- A client of our own, that knows what it did.
local function push_until_refused(client, size, most)
  local payload = ('{"x":"%s"}'):format(("x"):rep(size))
  local ids = {}
  for _ = 1, most do
    local ok, answer = pcall(client.push, client, "ext", nil, { payload = payload, queue = "own" })
    if not ok then
      return ids, answer
    end
    ids[#ids + 1] = answer
  end
  return ids
end

--- Takes and acknowledges jobs of our own queue, up to `most`. Answers how many.
local function work_off(client, most)
  local count = 0
  while count < most do
    local jobs = client:fetch("own", { count = 20, lease = "10m" })
    if #jobs == 0 then
      break
    end
    for _, job in ipairs(jobs) do
      client:ack(job, { ok = true })
      count = count + 1
    end
  end
  return count
end

local function all_there(client, ids)
  for _, id in ipairs(ids) do
    assert(client:job(id), "job " .. id .. " is gone")
  end
end

--- Waits until `question` says yes; asks again after each event.
local function until_true(w, what, question)
  local events = w.server.client:events()
  local deadline = posix.monotonic() + testing.patience
  while not question() do
    assert(posix.monotonic() < deadline, "it never came: " .. what)
    events:next(0.2)
  end
  events:close()
end

-- ---- scenarios -----------------------------------------------------------------------------------------------------

local scenarios = {}

-- Every write, or every sync, fails: the server cannot go on, and says so by ending. What it had confirmed is there.
-- Of both files, or of one: LMDB's is written at checkpoints and by long batches only.
local function bad_disk(what, file, most)
  return { ("EIO of %s%s"):format(what, WHOSE[file]), function(w, chance)
    w:pass(0.2 + 0.3 * chance())
    w.page.only = file
    w.page.allowed = chance(most)
    w.page[what == "writes" and "write_errno" or "sync_errno"] = EIO
    assert(w.server.program:wait(testing.patience), "the server bears a disk that does not take its " .. what)
    w.page.write_errno, w.page.sync_errno = 0, 0
    w:revive()
    w:pass(0.2)
  end }
end

for file = ANY, JOURNAL do
  scenarios[#scenarios + 1] = bad_disk("writes", file, file == ANY and 200 or 10)
  scenarios[#scenarios + 1] = bad_disk("syncs", file, file == ANY and 50 or 5)
end

-- The disk is full to its last byte, as far as any call can tell; then it is not. The server lives on through it. If
-- only the journal finds no room, nobody even notices: batches are commits of LMDB's meanwhile.
local function full_disk(file)
  return { "ENOSPC" .. WHOSE[file], function(w, chance)
    w.charges = { NOSPACE = "its children were refused", LOST = "not even its end could be written" }
    w:pass(0.2)
    for _ = 1, 3 do
      local before = tonumber(w.page.failures)
      w.page.only = file
      w.page.allowed = chance(file == ANY and 100 or 5)
      w.page.write_errno = ENOSPC
      until_true(w, "a call that fails", function()
        return tonumber(w.page.failures) > before
      end)
      if file == JOURNAL then
        w.server.client:push("child", { i = 0 })
      end
      w:pass(0.1 * chance())
      w.page.write_errno = 0
      until_true(w, "a push after a full disk", function()
        return (pcall(w.server.client.push, w.server.client, "child", { i = 0 }))
      end)
    end
    assert(not w.server.program:wait(0), "the server ended of a full disk")
  end, lease = "4s" }
end

for file = ANY, JOURNAL do
  scenarios[#scenarios + 1] = full_disk(file)
end

-- A sync that takes half a minute: the watchdog tells which loop stands still, and that it goes on.
scenarios[#scenarios + 1] = { "a disk that stands still", function(w)
  local function of_writer(line)
    return line.loop == "writer"
  end
  w:pass(0.2)
  w.page.sync_us = 25 * 1000 * 1000
  w.server:await_log("loop.stands_still", of_writer, 90)
  w.page.sync_us = 0
  w.server:await_log("loop.goes_on", of_writer, 90)
end, lease = "2m" }

-- A real small disk. Pushes are refused first, acknowledgements never, and all recovers.
scenarios[#scenarios + 1] = { "a full disk", function(w)
  local client = w.server.client
  local ids, refusal = push_until_refused(client, 60000, 2000)
  assert(refusal and refusal.code == "NOSPACE", "the disk did not get full: " .. tostring(refusal))
  assert(#ids > 50)
  work_off(client, 20)
  w:restart()
  client = w.server.client
  all_there(client, ids)
  work_off(client, #ids)
  client:where("DELETE", { queue = "own", state = { "succeeded" } })
  until_true(w, "room for a push", function()
    return (pcall(client.push, client, "child", { i = 0 }))
  end)
end, disk = true }

-- The file may not grow: for those who may not mount a disk.
scenarios[#scenarios + 1] = { "a limit of the file's size", function(w)
  w.charges = { NOSPACE = "its children were refused" }
  w:pass(0.2)
  limit(w.server.pid, "fsize", select(2, posix.stat(w.server.data .. "/moonq.mdb")) + 4096)
  local ids, refusal = push_until_refused(w.server.client, 60000, 4000)
  assert(refusal and refusal.code == "NOSPACE", "the file grew: " .. tostring(refusal))
  work_off(w.server.client, 20)
  w:restart() -- without the limit
  all_there(w.server.client, ids)
end }

-- No descriptor is left for one more client: those who are there are served, and the others when there is room again.
scenarios[#scenarios + 1] = { "no descriptors", function(w)
  local client = w.server.client
  local id = client:push("child", { i = 0 })
  limit(w.server.pid, "nofile", #posix.list("/proc/" .. w.server.pid .. "/fd") + 2)
  local others = {}
  for i = 1, 20 do
    local ok, other = pcall(w.server.connect, w.server, { timeout = 1 })
    others[i] = ok and other or nil
  end
  client:wait(id, 10)
  client:wait(client:push("parent", { children = 3 }), 10)
  w:kill_worker(function() return 1 end) -- its successor needs descriptors, too
  for _, other in pairs(others) do
    other:close()
  end
  limit(w.server.pid, "nofile", 4096)
  client:wait(client:push("parent", { children = 3 }), 20)
  local fresh = w.server:connect()
  fresh:wait(fresh:push("child", { i = 0 }), 10)
  fresh:close()
end }

-- Memory runs out: refusing or ending are both honest.
scenarios[#scenarios + 1] = { "no memory", function(w)
  local status = testing.read_file("/proc/" .. w.server.pid .. "/status")
  limit(w.server.pid, "as", tonumber(status:match("VmSize:%s+(%d+)")) * 1024 + 2 * 1048576)
  local ids = push_until_refused(w.server.client, 900000, 300)
  if w.server.program:wait(0.5) then
    w:revive()
  else
    limit(w.server.pid, "as", nil)
    w:restart()
  end
  all_there(w.server.client, ids)
end }

-- The wall clock jumps. No lease of a worker is lost, no id is given out twice, what waits for a time comes.
scenarios[#scenarios + 1] = { "clock steps", function(w, chance)
  for _ = 1, 6 do
    w:pass(0.1 + 0.2 * chance())
    w.page.clock_step_ms = (chance() - 0.5) * 2 * 7200e3
    w:pass(0.05)
    w.server.client:wait(w.server.client:push("parent", { children = 2 }), 20)
  end
  w:pass(0.1)
  w:restart() -- a server that starts under another clock than its store was written under
  w.page.clock_step_ms = 0
end }

-- ---- all of them ---------------------------------------------------------------------------------------------------

--- A small disk of our own in a mount namespace of our own, in another process: nothing is left behind.
local function on_small_disk(name, at_seed)
  local place = testing.folder()
  local script = 'mount -t tmpfs -o size=32m none "$1" && shift && exec luajit "$@"'
  local status, out, err = testing.run({ "unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", place,
    arg[0], arg[1], arg[2], tostring(at_seed), "1", name, place }, { timeout = 300 })
  testing.remove(place)
  io.write(out)
  if status ~= 0 and out == "" then
    print(("%s: skipped, no disk may be mounted here (%s)"):format(name, (err:gsub("%s+$", ""))))
    return true
  end
  return status == 0
end

local failed, ran = 0, 0
for time = 1, times do
  for _, row in ipairs(scenarios) do
    local name, scenario = row[1], row[2]
    local own_seed = seed + time - 1
    if not only or only == name then
      ran = ran + 1
      local good
      if row.disk and not arg[6] then
        good = on_small_disk(name, own_seed)
      else
        local opts = {
          seed = own_seed, clients = row.disk and 0 or 2, lease = row.lease, data = arg[6] and arg[6] .. "/data",
        }
        good = world.try(name, opts, function(w)
          return scenario(w, world.chance(own_seed))
        end)
      end
      failed = failed + (good and 0 or 1)
    end
  end
end
if not arg[6] then
  print(("fault tests: %d scenarios, %d failed"):format(ran, failed))
end
os.exit(failed == 0 and 0 or 1)
