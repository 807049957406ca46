--- What the benchmark asks of the machine: processes, their processor time and memory, folders, file systems.

local posix = require "moonq_posix"
local testing = require "moonq.testing"

local M = { monotonic = posix.monotonic, read = testing.read_file, write = testing.write_file }

local children = {} -- pid -> true, all that we started and that has not ended

function M.output_of(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local text = pipe:read("*a")
  pipe:close()
  return (text:gsub("%s+$", ""))
end

--- Is there a program of this name on the path?
function M.has(program)
  return M.output_of("command -v " .. program) ~= ""
end

M.mkdir = posix.mkdir
M.remove = posix.remove_tree
M.exists = posix.stat

-- ---- programs ----

--- Starts a program; its output is in `log`. It dies with us.
function M.start(argv, log, env)
  local request = { stdout = log, stderr = log .. ".err", env = env }
  for i, word in ipairs(argv) do
    request[i] = tostring(word)
  end
  local pid = assert(posix.spawn(request))
  children[pid] = true
  return pid
end

--- Waits for its end: an exit status, or nil and why.
function M.wait(pid, patience_s)
  local how, what = posix.wait(pid, patience_s)
  if not how then
    return nil, "it did not end within " .. patience_s .. " s"
  end
  children[pid] = nil
  if how == "signal" then
    return nil, "signal " .. what
  end
  return what
end

function M.kill(pid, signal)
  posix.kill(pid, signal)
end

--- Ends a program: TERM, and KILL if that does not help.
function M.stop(pid, patience_s)
  if not children[pid] then
    return
  end
  posix.kill(pid, "TERM")
  if not M.wait(pid, patience_s or 60) and children[pid] then
    posix.kill(pid, "KILL")
    M.wait(pid, 10)
  end
end

function M.stop_all()
  for pid in pairs(children) do
    M.stop(pid, 5)
  end
end

function M.is_running(pid)
  return children[pid] ~= nil and posix.wait(pid, 0) == nil
end

function M.sleep(s)
  posix.ended(posix.pid(), s) -- we do not end: it only waits
end

--- Calls `ready` until it returns something true, which is returned; an error if the program ends or time is up.
function M.await(ready, pid, what, patience_s)
  local deadline = posix.monotonic() + (patience_s or 60)
  while true do
    local ok, answer = pcall(ready)
    if ok and answer then
      return answer
    end
    if pid then
      local how, status = posix.wait(pid, 0.002)
      if how then
        children[pid] = nil
        error(("%s ended (%s %s)"):format(what, how, tostring(status)), 0)
      end
    end
    if posix.monotonic() > deadline then
      error(("%s: not ready after %d s"):format(what, patience_s or 60), 0)
    end
  end
end

--- Runs a program to its end and returns what it printed. What it said on stderr is the error if it failed.
function M.run(argv, log, patience_s)
  os.remove(log)
  os.remove(log .. ".err")
  local pid = M.start(argv, log)
  local status, why = M.wait(pid, patience_s or 300)
  if status ~= 0 then
    M.stop(pid, 1)
    local said = (M.read(log .. ".err") or ""):gsub("%s+$", "")
    error(said ~= "" and said or ("%s: %s"):format(argv[1], why or ("exit status " .. status)), 0)
  end
  return M.read(log)
end

-- ---- /proc ----

local function tasks(pid)
  return posix.list(("/proc/%d/task"):format(pid)) or {}
end

--- Processor time in seconds of a process's threads, as the scheduler counts it (nanoseconds, not ticks).
local function add_threads(pid, parts, name_of)
  for _, task in ipairs(tasks(pid)) do
    local base = ("/proc/%d/task/%s/"):format(pid, task)
    local spent = (M.read(base .. "schedstat") or ""):match("^(%d+)")
    local comm = (M.read(base .. "comm") or ""):gsub("%s+$", "")
    if spent then
      local name = name_of(comm, tonumber(task) == pid)
      parts[name] = (parts[name] or 0) + tonumber(spent) / 1e9
    end
  end
end

local function children_of(pid)
  local found = {}
  for _, task in ipairs(tasks(pid)) do
    for child in (M.read(("/proc/%d/task/%s/children"):format(pid, task)) or ""):gmatch("%d+") do
      found[#found + 1] = tonumber(child)
    end
  end
  return found
end

--- Processor time so far, in seconds, by part: loop, store, readers, workers; of other servers all is "server".
function M.cpu(pid, is_moonq)
  local parts = {}
  add_threads(pid, parts, function(comm, main)
    if not is_moonq then
      return "server"
    end
    return main and "loop" or comm:find("reader", 1, true) and "readers" or "store"
  end)
  for _, child in ipairs(children_of(pid)) do
    add_threads(child, parts, function()
      return "workers"
    end)
  end
  return parts
end

--- Memory of one process in bytes: RssAnon (its own), RssFile (pages of files, the store's map among them).
function M.memory(pid)
  local text = M.read(("/proc/%d/status"):format(pid)) or ""
  return {
    anon = 1024 * (tonumber(text:match("RssAnon:%s*(%d+)")) or 0),
    file = 1024 * (tonumber(text:match("RssFile:%s*(%d+)")) or 0),
  }
end

function M.bytes_on_disk(folder)
  return tonumber(M.output_of(("du -s -B1 '%s'"):format(folder)):match("^(%d+)"))
end

--- "ext4 on /dev/vda" of a folder.
function M.file_system(folder)
  return (M.output_of(("stat -f -c %%T '%s'"):format(folder)):gsub("^ext2/ext3$", "ext4"))
end

function M.machine()
  return {
    cores = tonumber(M.output_of("nproc")),
    processor = (M.read("/proc/cpuinfo") or ""):match("model name%s*:%s*([^\n]+)") or "?",
    kernel = M.output_of("uname -r"),
    memory_gb = math.floor((tonumber((M.read("/proc/meminfo") or ""):match("MemTotal:%s*(%d+)")) or 0) / 1048576 + .5),
    load = (M.read("/proc/loadavg") or ""):match("^(%S+)"),
  }
end

return M
