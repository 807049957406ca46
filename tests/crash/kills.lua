--- Kill tests: server, workers and clients are killed or stopped at random moments under full load.
---
---     luajit tests/crash/kills.lua BIN_FOLDER MOONQ KILLS A_ROUND SEED
---
--- After each kill of the server fsck looks at what it left. At the end of a round of A_ROUND blows: nothing that any
--- client had confirmed is lost, children of a handler are there exactly once, nobody but those on a CPU was charged.

local posix = require "moonq_posix"
local world = require "world"

local kills, a_round, seed = tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5])
local CLIENTS = 3

local done = { server = 0, worker = 0, client = 0, stopped = 0 }

--- A process stands still for a while, and others do not.
local function stop_for_a_while(w, pid, chance)
  if posix.kill(pid, "STOP") then
    w:pass(0.02 + 0.2 * chance())
    posix.kill(pid, "CONT")
    done.stopped = done.stopped + 1
  end
end

local function strike(w, chance)
  local blow = chance(100)
  if blow <= 30 then
    w:restart()
    done.server = done.server + 1
  elseif blow <= 70 then
    if w:kill_worker(chance) then
      done.worker = done.worker + 1
    end
  elseif blow <= 82 then
    local client = table.remove(w.clients, chance(#w.clients))
    client:signal("KILL")
    client:wait()
    client:stop()
    w:add_client()
    done.client = done.client + 1
  elseif blow <= 88 then
    stop_for_a_while(w, w.server.pid, chance)
  elseif blow <= 95 then
    local workers = w.server.client:workers()
    if #workers > 0 then
      stop_for_a_while(w, workers[chance(#workers)].pid, chance)
    end
  else
    stop_for_a_while(w, w.clients[chance(#w.clients)].pid, chance)
  end
end

local function killed()
  return done.server + done.worker + done.client
end

local failed = 0
local round = 0
while killed() < kills do
  local round_seed = seed + round
  local chance = world.chance(round_seed)
  round = round + 1
  local good = world.try("kills", { seed = round_seed, clients = CLIENTS }, function(w)
    local before = killed()
    while killed() - before < a_round and killed() < kills do
      w:pass(0.01 + 0.15 * chance())
      strike(w, chance)
    end
    return ("%d kills of the server, %d of workers"):format(w.server_kills, w.worker_kills)
  end)
  failed = failed + (good and 0 or 1)
  if failed >= 3 then
    break
  end
end
print(("kill tests: %d kills (%d server, %d worker, %d client) and %d stops in %d rounds, %d rounds failed"):format(
  killed(), done.server, done.worker, done.client, done.stopped, round, failed))
os.exit(failed == 0 and 0 or 1)
