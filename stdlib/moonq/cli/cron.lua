--- moonq cron: list, history, next, run, pause, resume, set, delete.

local json = require "moonq.client.json"
local output = require "moonq.cli.output"

-- ---- list ---------------------------------------------------------------------------------------------------------

local function definition_of(entry)
  return entry.definition and json.decode(entry.definition) or {}
end

local list_columns = {
  { "NAME", "name" },
  { "STATE", "state" },
  { "CRON", function(entry)
    return definition_of(entry).cron
  end },
  { "ZONE", function(entry)
    return definition_of(entry).tz
  end, optional = true },
  { "TYPE", function(entry)
    return definition_of(entry).type
  end },
  { "NEXT", function(entry)
    return output.age(entry.next)
  end },
  { "LAST", function(entry)
    return output.age(entry.last)
  end },
  { "FIRED", "fired", right = true },
  { "FROM", "source" },
  { "NOTE", function(entry)
    return entry.trouble or entry.reason
  end, optional = true },
}

local function list(args)
  local client, after, all = args.connect(), nil, {}
  repeat
    local page = client:schedules({ after = after, limit = 1000, ended = args.ended })
    for _, entry in ipairs(page.schedules) do
      all[#all + 1] = entry
    end
    after = page.after
  until not after
  if args.json then
    output.json(setmetatable(all, json.Array))
  else
    output.table(list_columns, all, "There are no schedules (schedules.lua, or moonq cron set).")
  end
end

-- ---- history --------------------------------------------------------------------------------------------------------

-- "2026-03-29 02:30:00", or from the first to the last of several.
local function planned(row)
  if row.count > 1 then
    return ("%s and %d more"):format(output.time(row.planned), row.count - 1) .. (row.more and " or so" or "")
  end
  return output.time(row.planned)
end

local history_columns = {
  { "PLANNED", planned },
  { "OUTCOME", "outcome" },
  { "LATE", function(row)
    return row.at and row.at > row["until"] and output.duration(row.at - row["until"]) or "-"
  end, right = true },
  { "JOB", "job" },
  { "NOTE", "note", optional = true },
}

local function history(args)
  local limit = tonumber(args.count) or 20
  local rows = args.connect():history(args.name, { limit = math.min(limit, 1000) }).ticks
  if args.json then
    output.json(rows)
  else
    output.table(history_columns, rows, "Nothing has come of it yet.")
  end
end

-- ---- next -----------------------------------------------------------------------------------------------------------

local function iso(ms)
  return os.date("!%Y-%m-%dT%H:%M:%S", math.floor(ms / 1000)) .. "+00:00"
end

local function next_moments(args)
  local moments = args.connect():next_moments(args.name, tonumber(args.count) or 10)
  if args.json then
    output.json(moments)
    return
  end
  for _, moment in ipairs(moments) do
    print(iso(moment))
  end
end

-- ---- changes -----------------------------------------------------------------------------------------------------

local function tell(args, answer, said)
  if args.json then
    output.json(type(answer) == "table" and answer or { answer = answer, name = args.name })
  else
    print(said)
  end
end

local function run(args)
  local id = args.connect():run_schedule(args.name)
  if args.json then
    output.json({ id = id, name = args.name })
  else
    print(id)
  end
end

local function pause(args)
  local entry = args.connect():pause_schedule(args.name,
    { reason = args.reason, by = args.by, ["for"] = args["for"], ["until"] = args["until"] })
  tell(args, entry, ("%s is paused; moonq cron resume %s brings it back"):format(args.name, args.name))
end

local function resume(args)
  local entry = args.connect():resume_schedule(args.name)
  tell(args, entry, ("%s goes on, next %s"):format(args.name, output.age(entry.next)))
end

local function delete(args)
  local answer = args.connect():delete_schedule(args.name, args.ledger)
  tell(args, answer, ("%s has ended%s"):format(args.name, args.ledger and "" or "; its ledger stays"))
end

local function set(args)
  local words = { "CRON", "SET", args.name, args.expression, args.type, args.args or "{}" }
  for _, option in ipairs(args.option or {}) do
    local name, value = option:match("^([%w_]+)=(.*)$")
    if not name then
      error({ code = "USAGE", message = ("'%s' is not NAME=VALUE"):format(option) }, 0)
    end
    words[#words + 1] = name:upper()
    words[#words + 1] = value
  end
  local entry = args.connect():call(unpack(words))
  tell(args, entry, ("%s is set, next %s"):format(args.name, entry.next and output.age(entry.next) or "at a start"))
end

-- ---- the table of subcommands ------------------------------------------------------------------------------------

local function name_argument(command)
  command:argument("name", "The schedule."):argname("NAME")
end

local subcommands = {
  { name = "list", summary = "The schedules, and when each is next.", run = list, options = function(command)
    command:flag("--ended", "Those, too, of which only the ledger is left.")
  end },
  { name = "history", summary = "What became of the moments of a schedule, newest first.", run = history,
    options = function(command)
      name_argument(command)
      command:option("-n --count", "So many rows (20)."):argname("N")
    end },
  { name = "next", summary = "The next moments of a schedule.", run = next_moments, options = function(command)
    name_argument(command)
    command:option("-n --count", "So many (10)."):argname("N")
  end },
  { name = "run", summary = "Push a job of it now.", run = run, options = name_argument },
  { name = "pause", summary = "It makes no jobs until it is resumed.", run = pause, options = function(command)
    name_argument(command)
    command:option("--reason", "Shown by moonq cron list."):argname("TEXT")
    command:option("--by", "Who pauses; your user name if not given."):argname("NAME")
    command:option("--for", "It ends by itself after this time."):argname("DURATION")
    command:option("--until", "It ends by itself at this moment, ISO 8601."):argname("TIME")
  end },
  { name = "resume", summary = "End a pause.", run = resume, options = name_argument },
  { name = "set", summary = "Make or change a schedule of this server.", run = set, options = function(command)
    name_argument(command)
    command:argument("expression", "When: '0 9 * * 1-5', '@every 90s'."):argname("EXPRESSION")
    command:argument("type", "The type of the job."):argname("TYPE")
    command:argument("args", "Its arguments, JSON."):args("?"):argname("ARGS")
    command:option("-o --option", "tz=Europe/Berlin, overlap=skip, queue=mail ...: CRON SET in docs/protocol.md.")
      :argname("NAME=VALUE"):count("*")
  end },
  { name = "delete", summary = "End a schedule that was set by command.", run = delete, options = function(command)
    name_argument(command)
    command:flag("--ledger", "Its ledger goes, too.")
  end },
}

return { rows = {
  {
    name = "cron", summary = "Schedules: what is next, and what became of what was planned.",
    subcommands = subcommands,
    run = function(args)
      for _, row in ipairs(subcommands) do
        if row.name == args.subcommand then
          return row.run(args)
        end
      end
    end,
  },
} }
