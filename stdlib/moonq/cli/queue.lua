--- moonq pause, resume, drain, purge, limit.

local bulk = require "moonq.cli.bulk"
local output = require "moonq.cli.output"

-- A command about queues that answers OK; `said`: what to tell a person.
local function row(name, summary, said, extra)
  return {
    name = name, summary = summary,
    options = function(command)
      command:argument("queue", "The queue."):argname("QUEUE")
      if extra then
        extra(command)
      end
    end,
    run = function(args)
      local words = { name:upper(), args.queue, args.count }
      local answer = args.connect():call(unpack(words))
      if args.json then
        output.json({ answer = answer, queue = args.queue })
      else
        print(said:format(args.queue))
      end
    end,
  }
end

-- ---- pause, resume ------------------------------------------------------------------------------------------------

local function target_options(command)
  command:argument("queue", "The queue."):args("?"):argname("QUEUE")
  command:option("-t --type", "A job type instead, whatever its queue."):argname("TYPE")
end

local function target(args)
  if (args.queue ~= nil) == (args.type ~= nil) then
    error({ code = "USAGE", message = ("which one? moonq %s QUEUE, or moonq %s --type TYPE"):format(args.command,
      args.command) }, 0)
  end
  return args.queue and { args.queue } or { "TYPE", args.type }
end

local function change(args, words, said)
  local answer = args.connect():call(unpack(words))
  if args.json then
    output.json({ answer = answer, queue = args.queue, type = args.type })
  else
    print(said:format(args.queue or "type " .. args.type))
  end
end

local pause_columns = {
  { "PAUSED", function(pause)
    return pause.what .. " " .. pause.name
  end },
  { "BY", "by" },
  { "SINCE", function(pause)
    return output.age(pause.since)
  end },
  { "UNTIL", function(pause)
    return pause["until"] and output.time(pause["until"]) or "resumed"
  end },
  { "REASON", "reason", optional = true },
}

local function list(args)
  local pauses = args.connect():pauses()
  if args.json then
    output.json(pauses)
  else
    output.table(pause_columns, pauses, "Nothing is paused.")
  end
end

local function pause(args)
  local options = {}
  for _, name in ipairs({ "reason", "by", "for", "until" }) do
    if args[name] then
      options[#options + 1] = name:upper()
      options[#options + 1] = args[name]
    end
  end
  if not args.queue and not args.type and #options == 0 then
    return list(args)
  end
  local words = { "PAUSE", unpack(target(args)) }
  for _, word in ipairs(options) do
    words[#words + 1] = word
  end
  local ends = args["for"] and "in " .. args["for"] or args["until"] and "at " .. args["until"]
  change(args, words, "%s is paused; " .. (ends and ("it resumes by itself %s, or by moonq resume"):format(
    ends:gsub("%%", "%%%%")) or "moonq resume brings it back"))
end

-- ---- purge ----------------------------------------------------------------------------------------------------------

local function purge(args)
  if not args.yes then
    error({ code = "USAGE", message = ("this deletes all that waits in '%s': moonq purge %s --yes"):format(args.queue,
      args.queue) }, 0)
  end
  return bulk.run(args, { "PURGE", args.queue })
end

return { rows = {
  {
    name = "pause", summary = "Hand out nothing of a queue or of a job type; alone: what is paused.",
    description = "Running jobs go on, pushes are taken. A pause survives restarts of the server.",
    options = function(command)
      target_options(command)
      command:option("--reason", "Shown by moonq queues and moonq why."):argname("TEXT")
      command:option("--by", "Who pauses; your user name if not given."):argname("NAME")
      command:option("--for", "It ends by itself after this time."):argname("DURATION")
      command:option("--until", "It ends by itself at this moment, ISO 8601."):argname("TIME")
    end,
    run = pause,
  },
  {
    name = "resume", summary = "End a pause of a queue or of a job type, or a drain.",
    options = target_options,
    run = function(args)
      return change(args, { "RESUME", unpack(target(args)) }, "%s is open")
    end,
  },
  row("drain", "Refuse pushes to a queue, run what is there.", "%s takes no more jobs; moonq resume opens it"),
  row("limit", "Let only so many jobs wait in a queue; 0 for no limit.", "%s has its limit", function(command)
    command:argument("count", "Jobs."):argname("N")
  end),
  {
    name = "purge", summary = "Delete all that waits in a queue.",
    options = function(command)
      command:argument("queue", "The queue."):argname("QUEUE")
      command:flag("--yes", "Yes, delete them.")
    end,
    run = purge,
  },
} }
