--- Crash images: a server under load writes through the shim, and each disk that a power cut may have left is checked.
---
---     luajit tests/crash/images.lua BIN_FOLDER MOONQ COUNT ROUNDS SEED
---
--- A round is a load of its own with a seed of its own; COUNT images in all, the same share of each. The server is
--- killed and started again in the middle of each load, so that the record spans two lives.

local testing = require "moonq.testing"
local posix = require "moonq_posix"
local shim_page = require "page"

local bin, binary, count, rounds, seed = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5])
local RECORDS = tonumber(os.getenv("CRASH_RECORDS")) or 6000
local THREADS = 4
local keep = os.getenv("CRASH_KEEP") or "build/crash/failed"

local app = {
  ["moonq.lua"] = [[return { log_level = "error", pools = { default = { workers = 2, concurrency = 20 } } }]],
  ["handlers/parent.lua"] = [[
    return { run = function(job)
      for i = 1, job.args.children do
        job:push("child", { parent = job.id, of = job.args.children, i = i })
      end
      return { children = job.args.children }
    end }
  ]],
  ["handlers/child.lua"] = [[return { run = function(job) return job.args.i end }]],
}

local function run(argv, timeout)
  local status, out, err = testing.run(argv, { timeout = timeout })
  io.write(out, err)
  return status
end

--- Both lives of a server, and the load that lasts over them. Returns the folder with log and ledgers.
local function record(round_seed)
  local folder = testing.folder()
  local page = shim_page.create(folder .. "/page")
  page.sync_us = 200
  local server = testing.start({
    binary = binary, files = app, events = false,
    env = {
      LD_PRELOAD = posix.realpath(bin .. "/shim.so"), SHIM_PAGE = folder .. "/page", SHIM_LOG = folder .. "/log",
    },
  })
  local load = testing.program({
    bin .. "/load", server.socket, folder .. "/page", folder, tostring(round_seed), "0", tostring(THREADS),
    tostring(RECORDS),
  })
  -- the middle of the load, by the shim's count
  local half = RECORDS / 2
  while tonumber(page.records) < half and not load:wait(0.05) do
    server.client:queues() -- somebody looks: a checkpoint, beside those of long batches and of time
  end
  server:kill()
  server:restart()
  local how, status = load:wait(120)
  server:kill()
  local confirmed = load:read()
  load:stop()
  if how ~= "exit" or status ~= 0 then
    error(("the load ended with %s %s: %s"):format(tostring(how), tostring(status), confirmed))
  end
  return folder, tonumber(confirmed:match("%d+")), server
end

local failed, confirmed = 0, 0
for round = 1, rounds do
  local round_seed = seed + round - 1
  local folder, known, server = record(round_seed)
  confirmed = confirmed + known
  local argv = {
    bin .. "/images", "--count", tostring(math.ceil(count / rounds)), "--seed", tostring(round_seed),
    "--binary", binary, "--serve", server.app, folder .. "/log", folder, folder .. "/disk", keep,
  }
  if run(argv, 3600) ~= 0 then
    failed = failed + 1
    print(("the record of seed %d is kept in %s"):format(round_seed, folder))
  else
    -- a disk that lies must be noticed, or the check above sees nothing
    if round == 1 then
      local lie = { bin .. "/images", "--lie", "--count", "20", "--seed", tostring(round_seed), folder .. "/log",
        folder, folder .. "/disk", folder .. "/lies" }
      local status = testing.run(lie, { timeout = 600 })
      if status == 0 then
        failed = failed + 1
        print("a disk that forgets synced writes was not noticed")
      end
    end
    testing.remove(folder)
  end
  testing.remove(server.home)
end
print(("crash images: %d in %d rounds, %d confirmed changes, %d rounds failed"):format(count, rounds, confirmed,
  failed))
os.exit(failed == 0 and 0 or 1)
