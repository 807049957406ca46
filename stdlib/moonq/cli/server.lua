--- moonq reload, stop, serve (its help; C runs it), version.

local binary = require "moonq_binary"
local output = require "moonq.cli.output"
local posix = require "moonq_posix"

local function folder_argument(command)
  command:argument("folder", "The application's folder."):args("?"):argname("DIR")
end

local function reload(args)
  local answer = args.connect():reload()
  if args.json then
    output.json({ answer = answer })
  else
    print(answer)
  end
end

-- Done when the process is gone, so that `moonq stop && moonq serve` works.
local function stop(args)
  local server = args.connect()
  local pid = tonumber(server:stats().pid)
  server:shutdown(args.now)
  server:close()
  posix.catch_interrupt()
  local ended = not pid or posix.ended(pid, tonumber(args.patience))
  if not ended then
    error({ code = "TIMEOUT", message = ("the server (pid %d) was asked to stop and still finishes its running jobs; "
      .. "moonq stop --now gives them back"):format(pid) }, 0)
  end
  if args.json then
    output.json({ stopped = true, pid = pid })
  else
    print("stopped")
  end
end

local function version(args)
  if args.json then
    output.json({ version = binary.version })
  else
    print("moonq " .. binary.version)
  end
end

return { rows = {
  {
    name = "serve", summary = "Run an application: moonq serve DIR [--data PATH] [--socket PATH].",
    options = function(command)
      command:argument("words"):args("*"):argname("ARGUMENT")
    end,
    run = function()
      error({ code = "USAGE", message = "write `serve` first: moonq serve DIR [--data PATH] [--socket PATH]" }, 0)
    end,
  },
  {
    name = "fsck", summary = "Compare the records of a data folder with its indexes, and mend them.",
    options = function(command)
      command:argument("words"):args("*"):argname("ARGUMENT")
    end,
    run = function()
      error({ code = "USAGE", message = "write `fsck` first: moonq fsck DATA [--repair]" }, 0)
    end,
  },
  { name = "reload", summary = "Load the application anew; a broken one changes nothing.", options = folder_argument,
    run = reload },
  {
    name = "stop", summary = "Stop the server gracefully.",
    options = function(command)
      folder_argument(command)
      command:flag("--now", "Give running jobs back at once, uncharged.")
      command:option("--patience", "Wait so many seconds for its end."):argname("N"):default("600")
        :convert(tonumber)
    end,
    run = stop,
  },
  { name = "version", summary = "Print the version.", run = version },
} }
