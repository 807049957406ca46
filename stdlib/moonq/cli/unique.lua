--- moonq unique, moonq unique --release: who holds a unique key.

local output = require "moonq.cli.output"

local function words_of(args, step)
  local words = { "UNIQUE", step, args.key }
  if args.type then
    words[4], words[5] = "TYPE", args.type
  end
  return unpack(words)
end

local function show(args)
  local rows = args.connect():call(words_of(args, "SHOW"))
  if args.json then
    return output.json(rows)
  end
  for _, row in ipairs(rows) do
    print(output.clean(("%s of %s is held by %s, which is %s%s%s"):format(row.key, row.type, row.holder, row.state,
      row["until"] and ", until " .. output.time(row["until"]) or "",
      row.waiter and "; " .. row.waiter .. " waits to follow it" or "")))
  end
end

local function release(args)
  local row = args.connect():call(words_of(args, "RELEASE"))
  if args.json then
    return output.json(row)
  end
  print(output.clean(("%s of %s was taken from %s%s"):format(row.key, row.type, row.released,
    row.holder and "; " .. row.holder .. " holds it now" or "")))
end

local rows = {
  {
    name = "unique", summary = "Who holds a unique key; or take it away.",
    description = "docs/uniqueness.md says what keys are. The job that loses its key goes on without it.",
    options = function(command)
      command:argument("key", "The key."):argname("KEY")
      command:option("--type", "Only of this job type."):argname("TYPE")
      command:flag("--release", "Take it from its holder; who waits for it has it then.")
    end,
    run = function(args)
      if args.release then
        return release(args)
      end
      return show(args)
    end,
  },
}

return { rows = rows }
