--- One step for all jobs that a filter finds: with progress, and Ctrl-C stops it after the chunk under way.

local client = require "moonq.client"
local output = require "moonq.cli.output"
local posix = require "moonq_posix"
local shapes = require "moonq.client.shapes"

local M = {}

local done = { CANCEL = "cancelled", RETRY = "retried", DELETE = "deleted", PROMOTE = "promoted", PURGE = "deleted",
  RELEASE = "released" }

-- Ours is the one that this connection asked for; with several of the same step under way we do not know which, and
-- hang up instead: the server stops a bulk step whose asker is gone.
local function stop(path, step)
  local other = client.connect(path)
  local same = {}
  for _, bulk in ipairs(other:call("BULK", "LIST")) do
    if tostring(bulk.step):upper() == step then
      same[#same + 1] = bulk
    end
  end
  if #same == 1 then
    other:call("BULK", "STOP", same[1].bulk)
  end
  other:close()
  return #same == 1
end

-- The reply of `asker`, while `stream` tells how far it is.
local function follow(asker, stream, words, progress)
  local stopping = false
  while true do
    local ok, value, why = asker.connection:get(0)
    if ok then
      return shapes.of(words)(value)
    elseif ok == false then
      error(client.error_of_reply(value), 0)
    elseif value == "CLOSED" then
      error({ code = value, message = why }, 0)
    end
    local heard, event = pcall(stream.next, stream, 0.1)
    if heard and event and event.event == "bulk.progress" then
      progress.say("%s %s%s", output.count(event.count), done[words[1]],
        event.fraction and (", %d%%"):format(event.fraction * 100) or "")
    elseif not heard and event.code ~= "INTERRUPTED" then
      error(event, 0)
    end
    if not stopping and posix.interrupted() then
      stopping = true
      if not stop(asker.path, words[1]) then
        asker:close()
        return { touched = 0, looked_at = 0, stopped = true, unknown = true }
      end
    end
  end
end

--- Sends `words` (a command that answers like a bulk step) and shows how far it is. Exit status.
---@param args table
---@param words string[]
function M.run(args, words)
  local asker = args.connect()
  local stream = asker:events({ name = "bulk.progress,bulk.done" })
  posix.catch_interrupt()
  local progress = output.progress()
  asker:send(words)
  asker.connection:flush()
  local ok, answer = pcall(follow, asker, stream, words, progress)
  progress.finish()
  stream:close()
  if not ok then
    error(answer, 0)
  end
  if args.json then
    output.json(answer)
  elseif answer.unknown then
    print("stopped")
  else
    print(("%s %s%s%s"):format(done[words[1]], output.count(answer.touched),
      (answer.signalled or 0) > 0 and (", %s of them still run and were told to stop"):format(
        output.count(answer.signalled)) or "",
      answer.stopped and (", then stopped (looked at %s)"):format(output.count(answer.looked_at)) or ""))
  end
  return answer.stopped and 130 or 0
end

return M
