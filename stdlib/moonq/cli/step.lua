--- moonq retry, cancel, delete, promote, reschedule, release: by id, or for all that a filter finds.

local bulk = require "moonq.cli.bulk"
local client = require "moonq.client"
local filters = require "moonq.cli.filter"
local json = require "moonq.client.json"
local output = require "moonq.cli.output"
local shapes = require "moonq.client.shapes"

local M = {}

-- Each id gets its answer; the exit status is that of the first that was refused.
local function by_id(args, step)
  local server, first, refused = args.connect(), nil, 0
  local answers = setmetatable({}, shapes.Array)
  for _, id in ipairs(args.ids) do
    local words = { step, id, args.time }
    if args.payload then
      words[3], words[4] = "PAYLOAD", args.payload
    elseif args.reason then
      words[3], words[4] = "REASON", args.reason
    end
    local ok, answer = pcall(server.call, server, unpack(words))
    if ok then
      answers[#answers + 1] = answer
      if not args.json then
        print(("%s  %s -> %s%s"):format(answer.id or id, answer.was or "?", answer.state or "gone",
          answer.signalled and " (who holds it is told to stop; an event tells when it has)" or ""))
      end
    else
      first, refused = first or answer, refused + 1
      answers[#answers + 1] = { id = id, error = tostring(answer) }
      if #args.ids > 1 and not args.json then
        io.stderr:write("moonq: ", id, ": ", tostring(answer), "\n")
      end
    end
  end
  if #args.ids == 1 and first then
    error(first, 0)
  elseif args.json then
    output.json(#args.ids == 1 and answers[1] or answers)
  end
  if first then
    error({ code = first.code, message = ("%d of %d jobs were refused"):format(refused, #args.ids) }, 0)
  end
end

local function usage(message)
  error({ code = "USAGE", message = message }, 0)
end

--- Runs a step for `args.ids` or for the filter in args; `state`: the only state this command is about.
function M.run(args, step, state)
  local filter, filtered = filters.of(args)
  if #(args.ids or {}) > 0 then
    if filtered then
      usage("ids or a filter, not both")
    end
    if args.payload and not json.decode(args.payload) then
      usage("the payload is not JSON: " .. args.payload)
    end
    return by_id(args, step)
  end
  if args.payload then
    usage("--payload is for one job: moonq retry ID --payload JSON")
  end
  if not filtered and not args.all then
    usage(("which jobs? moonq %s ID..., a filter such as --type email.send, or --all"):format(step:lower()))
  end
  if state then
    filter.state = state
  end
  local words = client.filter_words(step, filter)
  -- The server, too, wants to hear that all are meant.
  if (step == "DELETE" and not filter.state) or (step == "CANCEL" and next(filter) == nil) then
    words[#words + 1] = "ALL"
  end
  return bulk.run(args, words)
end

local function step_row(name, summary, all, extra)
  return {
    name = name, summary = summary,
    options = function(command)
      command:argument("ids", "Jobs, by id."):args("*"):argname("ID")
      filters.options(command)
      command:flag("--all", all)
      if extra then
        extra(command)
      end
    end,
    run = function(args)
      return M.run(args, name:upper())
    end,
  }
end

-- ---- release ------------------------------------------------------------------------------------------------------

local function why_words(args, words)
  for _, name in ipairs({ "reason", "by" }) do
    if args[name] then
      words[#words + 1] = name:upper()
      words[#words + 1] = args[name]
    end
  end
  return words
end

-- Each id has its answer; the exit status is that of the first that was refused.
local function release_ids(args)
  local first
  local answers = args.connect():call(unpack(why_words(args, { "RELEASE", unpack(args.ids) })))
  for _, answer in ipairs(answers) do
    if answer.released and not args.json then
      print(("%s  running -> %s (attempt %s of %s broken off)"):format(answer.id, answer.state, answer.attempt,
        output.clean(answer.holder)))
    elseif not answer.released then
      first = first or answer.error
      if #args.ids > 1 and not args.json then
        io.stderr:write("moonq: ", output.clean(answer.error), "\n")
      end
    end
  end
  if args.json then
    output.json(#args.ids == 1 and answers[1] or answers)
  end
  if first then
    local code, message = first:match("^(%S+) (.*)$")
    error({ code = code, message = message }, 0)
  end
end

local function release(args)
  local filter, filtered = filters.of(args)
  local ids = #(args.ids or {}) > 0
  if (ids and 1 or 0) + (args.worker and 1 or 0) + ((filtered or args.all) and 1 or 0) ~= 1 then
    usage("which jobs? moonq release ID..., --worker NAME, a filter such as --type email.send, or --all")
  end
  if ids then
    return release_ids(args)
  end
  local words = args.worker and { "RELEASE", "WORKER", args.worker } or client.filter_words("RELEASE", filter)
  if args.all then
    words[#words + 1] = "ALL"
  end
  return bulk.run(args, why_words(args, words))
end

function M.payload_option(command)
  command:option("--payload", "A corrected payload, for one job."):argname("JSON")
end

M.rows = {
  step_row("retry", "Bring jobs back: dead letters first of all.", "All dead letters.", M.payload_option),
  step_row("cancel", "Cancel jobs; a running one is told to stop.", "All that are not finished.", function(command)
    command:option("--reason", "For the record; with ids."):argname("TEXT")
  end),
  {
    name = "release", summary = "Take running jobs from who holds them: back to their queues, uncharged.",
    description = "Their handlers are stopped as moonq cancel stops them; what they still say counts for nothing.",
    options = function(command)
      command:argument("ids", "Jobs, by id."):args("*"):argname("ID")
      command:option("--worker", "All that this worker, or the client of this name, holds."):argname("NAME")
      filters.options(command)
      command:flag("--all", "All running jobs.")
      command:option("--reason", "Kept with the attempt."):argname("TEXT")
      command:option("--by", "Who does it; your user name if not given."):argname("NAME")
    end,
    run = release,
  },
  step_row("delete", "Delete jobs and their history.", "All jobs that are not running."),
  {
    name = "reschedule", summary = "Give jobs another time.",
    description = "Scheduled, retrying and ready ones. A time in the past means now: moonq promote says the same.",
    options = function(command)
      command:argument("time", "Unix milliseconds or ISO 8601."):argname("TIME")
      command:argument("ids", "Jobs, by id."):args("+"):argname("ID")
    end,
    run = function(args)
      return by_id(args, "RESCHEDULE")
    end,
  },
  step_row("promote", "Run scheduled and retrying jobs now.", "All of them."),
}

return M
