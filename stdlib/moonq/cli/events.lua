--- moonq events.

local output = require "moonq.cli.output"
local posix = require "moonq_posix"

local function line_of(event)
  local words = { os.date("%H:%M:%S", math.floor((event.at or 0) / 1000)), ("%-16s"):format(event.event) }
  for _, name in ipairs({ "id", "type", "queue", "worker" }) do
    if event[name] then
      words[#words + 1] = (name == "queue" or name == "worker") and name .. "=" .. event[name] or event[name]
    end
  end
  if event.attempt then
    words[#words + 1] = "attempt=" .. event.attempt
  end
  if event.run_at then
    words[#words + 1] = "again " .. output.age(event.run_at)
  end
  if event.fraction then
    words[#words + 1] = ("%d%%"):format(event.fraction * 100)
  end
  if event.count then
    words[#words + 1] = ("count=%d"):format(event.count)
  end
  words[#words + 1] = event.message
  return output.clean(table.concat(words, "  "))
end

local function events(args)
  local stream = args.connect():events({ job = args.job, queue = args.queue, type = args.type, name = args.name })
  posix.catch_interrupt()
  local left = tonumber(args.count) or math.huge
  local deadline = args.seconds and posix.monotonic() + tonumber(args.seconds)
  io.stdout:setvbuf("line")
  while left > 0 do
    local ok, event = pcall(stream.next, stream, deadline and math.max(0, deadline - posix.monotonic()))
    if not ok then
      if event.code == "INTERRUPTED" then
        return 130
      end
      error(event, 0)
    end
    if not event then
      return 0
    end
    if not io.write(args.json and output.encode(event) or line_of(event), "\n") then
      return 0 -- whoever read us has seen enough
    end
    left = left - 1
  end
end

local rows = {
  {
    name = "events", summary = "Follow what happens, until Ctrl-C.",
    description = "Names: job.pushed, job.started, job.succeeded, job.failed, job.dead, worker.exited, ...; "
      .. "a * stands for any letters. docs/protocol.md lists them.",
    options = function(command)
      command:option("--job", "Only this job."):argname("ID")
      command:option("-q --queue", "Only this queue."):argname("QUEUE")
      command:option("-t --type", "Only jobs of this type."):argname("TYPE")
      command:option("--name", "Only events of these names: job.*,worker.exited"):argname("PATTERNS")
      command:option("--count", "End after so many."):argname("N"):convert(tonumber)
      command:option("--seconds", "End after so long."):argname("N"):convert(tonumber)
    end,
    run = events,
  },
}

return { rows = rows }
