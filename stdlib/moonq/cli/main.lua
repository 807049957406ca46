--- The command line: one parser, one table of commands. Returns fun(argv) -> exit status.
---
--- Each file listed in `files` returns `rows`, its commands: { name, summary, options = fun(command), run =
--- fun(args) }, and for a command of commands `subcommands`, rows of the same kind.

local argparse = require "argparse"
local binary = require "moonq_binary"
local client = require "moonq.client"
local output = require "moonq.cli.output"
local posix = require "moonq_posix"

-- docs/cli.md explains them.
local exit_codes = { NOSERVER = 3, CLOSED = 3, NOTFOUND = 4, TIMEOUT = 5, BADARG = 2, USAGE = 2, INTERRUPTED = 130 }
local REFUSED = 1

local files = { "application", "push", "look", "events", "step", "unique", "dead", "queue", "cron", "server" }

-- ---- which server -------------------------------------------------------------------------------------------------

local function socket_in(folder)
  return (folder:gsub("/+$", "")) .. "/moonq.sock"
end

-- From the current folder upwards: the first that has a socket, or is an application.
local function socket_around()
  local folder = posix.cwd()
  while folder and folder ~= "" do
    if posix.stat(socket_in(folder)) == "socket" or posix.stat(folder .. "/moonq.lua") == "file" then
      return socket_in(folder)
    end
    folder = folder:match("^(.*)/[^/]*$")
  end
  return "moonq.sock"
end

local function find_socket(args)
  if args.socket then
    return args.socket
  end
  if args.app or args.folder then
    return socket_in(args.app or args.folder)
  end
  return os.getenv("MOONQ_SOCKET") or socket_around()
end

local function no_server(path)
  return { code = "NOSERVER", message = ([[no server at '%s'
Start one:      moonq serve DIR          (an application's folder; moonq init DIR makes one)
Or name one:    -C DIR, --socket PATH, or the environment's MOONQ_SOCKET]]):format(path) }
end

local function connect(args)
  local path = find_socket(args)
  local ok, connected = pcall(client.connect, path, { name = "moonq-cli" })
  if ok then
    return connected
  end
  if type(connected) == "table" and connected.code == "NOSERVER" then
    local reason = connected.message:match(": ([^:]+)$")
    error(reason == "No such file or directory" and no_server(path)
      or { code = "NOSERVER", message = no_server(path).message .. "\nReason:         " .. tostring(reason) }, 0)
  end
  error(connected, 0)
end

-- ---- the parser ---------------------------------------------------------------------------------------------------

-- argparse gives each name of an option a line of its own in the help: "-C DIR,", then "--app DIR".
local function names_on_one_line(option)
  local value = option._argname and " " .. option._argname or ""
  return { table.concat(option._public_aliases, ", ") .. value }
end

local function common_options(command)
  command:option("-C --app", "The application's folder; its server's socket is DIR/moonq.sock."):argname("DIR")
  command:option("-s --socket", "The server's socket."):argname("PATH")
  command:flag("--json", "Answer in JSON, for programs.")
end

local function polish(command)
  command:help_max_width(100):usage_max_width(100):help_description_margin(29)
  for _, option in ipairs(command._options) do
    option._get_label_lines = names_on_one_line
  end
end

local add_commands

local function add_subcommands(command, rows)
  command:command_target("subcommand"):require_command(true)
  add_commands(command, rows)
end

-- `common`: a command of commands has the common options for those below it. If these had them again, argparse would
-- forget what was said before the subcommand.
function add_commands(parser, commands, common)
  for _, row in ipairs(commands) do
    local command = parser:command(row.name, row.summary .. (row.description and "\n\n" .. row.description or ""))
    command:summary(row.summary)
    if common then
      common_options(command)
    end
    if row.options then
      row.options(command)
    end
    if row.subcommands then
      add_subcommands(command, row.subcommands)
    end
    polish(command)
  end
end

local function build_parser(commands)
  local parser = argparse("moonq", "A durable job server: jobs on disk, handlers in Lua.",
    "moonq COMMAND --help explains a command; docs/cli.md has all of it.")
  common_options(parser)
  parser:command_target("command"):require_command(true)
  parser:flag("-v --version", "Print the version."):action(function()
    print("moonq " .. binary.version)
    os.exit(0)
  end)
  polish(parser)
  add_commands(parser, commands, true)
  return parser
end

-- ---- running --------------------------------------------------------------------------------------------------------

local function report(args, err)
  if type(err) ~= "table" or not err.code then
    io.stderr:write("moonq: ", tostring(err), "\n")
    return 70 -- our own bug: sysexits.h
  end
  if args.json then
    io.stderr:write(output.encode({ error = { code = err.code, message = err.message } }), "\n")
  elseif err.code == "USAGE" or err.code == "NOSERVER" then
    io.stderr:write("moonq: ", err.message, "\n")
  else
    io.stderr:write("moonq: ", err.code, " ", err.message, "\n")
  end
  return exit_codes[err.code] or REFUSED
end

local valued = { ["-C"] = true, ["--app"] = true, ["-s"] = true, ["--socket"] = true }

-- What follows `moonq call COMMAND` is the command's, dashes or not.
local function protect_call(argv)
  if argv[1] ~= "call" then
    return
  end
  local i = 2
  while argv[i] and argv[i]:sub(1, 1) == "-" do
    if argv[i] == "--" then
      return
    end
    i = i + (valued[argv[i]] and 2 or 1)
  end
  if argv[i] then
    table.insert(argv, i, "--")
  end
end

-- Of a command line that did not parse: what stands behind "--" is not an option.
local function asks_for_json(argv)
  for _, word in ipairs(argv) do
    if word == "--json" or word == "--" then
      return word == "--json"
    end
  end
  return false
end

-- argparse ends the process after --help; the Lua state is to be closed then too, as at every other end.
local exit = os.exit
os.exit = function(status) -- luacheck: ignore 122
  exit(status, true)
end

local function main(argv)
  local commands, by_name = {}, {}
  for _, file in ipairs(files) do
    for _, row in ipairs(require("moonq.cli." .. file).rows) do
      commands[#commands + 1] = row
      by_name[row.name] = row
    end
  end
  local parser = build_parser(commands)
  if #argv == 0 then
    print(parser:get_help())
    return exit_codes.USAGE
  end
  protect_call(argv)
  local ok, args = parser:pparse(argv)
  if not ok then
    return report({ json = asks_for_json(argv) }, { code = "USAGE", message = ("%s\nSee: moonq %s--help"):format(
      tostring(args), by_name[argv[1]] and argv[1] .. " " or "") })
  end
  args.connect = function()
    return connect(args)
  end
  local done, status = xpcall(by_name[args.command].run, function(err)
    return type(err) == "table" and err or debug.traceback(err, 2)
  end, args)
  if not done then
    return report(args, status)
  end
  return status or 0
end

return main
