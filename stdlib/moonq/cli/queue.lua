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
      local words = { name:upper(), args.queue }
      if args.reason then
        words[3], words[4] = "REASON", args.reason
      elseif args.count then
        words[3] = args.count
      end
      local answer = args.connect():call(unpack(words))
      if args.json then
        output.json({ answer = answer, queue = args.queue })
      else
        print(said:format(args.queue))
      end
    end,
  }
end

local function purge(args)
  if not args.yes then
    error({ code = "USAGE", message = ("this deletes all that waits in '%s': moonq purge %s --yes"):format(args.queue,
      args.queue) }, 0)
  end
  return bulk.run(args, { "PURGE", args.queue })
end

return { rows = {
  row("pause", "Hand out nothing of a queue.", "%s is paused; moonq resume brings it back", function(command)
    command:option("--reason", "Shown by moonq queues and moonq why."):argname("TEXT")
  end),
  row("resume", "End a pause or a drain.", "%s is open"),
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
