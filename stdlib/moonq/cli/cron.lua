--- moonq cron: list, history, next, explain, run, pause, resume, set, delete.

local cron = require "moonq_cron"
local json = require "moonq.client.json"
local output = require "moonq.cli.output"
local shapes = require "moonq.client.shapes"

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
    output.json(setmetatable(all, shapes.Array))
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

-- ---- next, explain: without a server ---------------------------------------------------------------------------

-- No name has a blank or begins with an @; every expression does.
local function is_expression(text)
  return text:find("[%s@]") ~= nil
end

local function whole(text, name, most)
  local n = tonumber(text)
  if not n or n % 1 ~= 0 or n < 1 or n > most then
    error({ code = "USAGE", message = ("%s '%s' is not a whole number from 1 to %d"):format(name, text, most) }, 0)
  end
  return n
end

local function choices_of(args)
  return { tz = args.tz, from = args.from, days = args.days, dst_gap = args.dst_gap, dst_overlap = args.dst_overlap,
    name = args.hash_name }
end

-- Of an entry the server knows the moments; only --tz, to show them in another zone, can be said.
local function moments_of_entry(args, count)
  for _, option in ipairs({ "from", "days", "dst_gap", "dst_overlap", "hash_name" }) do
    if args[option] then
      error({ code = "USAGE", message = ("--%s goes with an expression, not with the name of an entry"):format(
        (option == "hash_name" and "name" or option):gsub("_", "-")) }, 0)
    end
  end
  local connected = args.connect()
  local moments = connected:next_moments(args.what, count)
  return moments, args.tz or definition_of(connected:schedule(args.what)).tz
end

local function next_moments(args)
  local moments, zone
  if is_expression(args.what) then
    zone = args.tz
    moments = cron.next(args.what, choices_of(args), whole(args.count or "10", "-n", 100000))
  else
    moments, zone = moments_of_entry(args, whole(args.count or "10", "-n", 1000))
  end
  if args.json then
    return output.json(setmetatable(moments, shapes.Array))
  end
  for _, moment in ipairs(moments) do
    print(cron.format(moment, zone or "UTC"))
  end
end

local function explain(args)
  local sentence, changes = cron.explain(args.what, choices_of(args))
  if args.json then
    return output.json({ expression = args.what, sentence = sentence,
      clock_changes = changes ~= "" and changes or nil })
  end
  print(sentence)
  if changes ~= "" then
    print(changes)
  end
end

local function expression_options(command)
  command:option("--name", "Of the entry: what H is hashed on."):argname("NAME"):target("hash_name")
  command:option("--days", "Day of month and weekday are both given: is one of them enough?")
    :choices({ "either", "both" }):argname("either|both")
  command:option("--dst-gap", "A time that a clock change skips."):target("dst_gap")
    :choices({ "fire", "skip" }):argname("fire|skip")
  command:option("--dst-overlap", "A time that comes twice."):target("dst_overlap")
    :choices({ "first", "second", "both" }):argname("first|second|both")
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
  { name = "next", summary = "The next moments of a schedule, or of any expression, without a server.",
    run = next_moments, options = function(command)
      command:argument("what", "'0 9 * * 1-5', or the name of a schedule."):argname("EXPRESSION|NAME")
      command:option("--tz", "The expression's time zone, an IANA name (UTC); for a schedule: to show its moments in.")
        :argname("ZONE")
      command:option("--from", "Moments after this one, ISO 8601 or unix milliseconds (now)."):argname("TIME")
      command:option("-n --count", "So many (10)."):argname("N")
      expression_options(command)
    end },
  { name = "explain", summary = "An expression as a sentence.", run = explain, options = function(command)
    command:argument("what", "'0 9 * * 1-5', '@every 90s'."):argname("EXPRESSION")
    expression_options(command)
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
