--- Tests against a real server: starts one for an application's folder, and waits for events instead of sleeping.
---
---     local testing = require "moonq.testing"
---     local server = testing.start({ files = {
---       ["handlers/hello.lua"] = "return { run = function(job) return { hello = job.args.name } end }",
---     } })
---     local id = server.client:push("hello", { name = "Ana" })
---     server:await("job.succeeded", id)
---     assert(server.client:job(id).attempt == 1)
---     server:stop()
---
--- A server started here never outlives the process that started it. Raises errors as moonq.client does.

local client = require "moonq.client"
local posix = require "moonq_posix"
local json = require "moonq.client.json"

local M = {}

--- Seconds after which waiting gives up. It is for tests that hang; no test is made slower by it.
M.patience = tonumber(os.getenv("MOONQ_TEST_PATIENCE")) or 15

-- ---- files -------------------------------------------------------------------------------------------------------

function M.read_file(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read("*a")
  file:close()
  return text
end

--- Writes a file and the folders above it.
function M.write_file(path, text)
  local folder = path:match("^(.*)/[^/]*$")
  if folder and folder ~= "" then
    assert(posix.mkdir(folder))
  end
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

--- A new folder of one's own with these files, { ["handlers/a.lua"] = "text" }.
function M.folder(files)
  local path = assert(posix.mkdtemp("moonq-test"))
  for name, text in pairs(files or {}) do
    M.write_file(path .. "/" .. name, text)
  end
  return path
end

function M.remove(path)
  return posix.remove_tree(path)
end

-- ---- programs ----------------------------------------------------------------------------------------------------

---@class moonq.testing.Program
---@field pid integer
---@field output string             path of the file that has its stdout and stderr
local Program = {}
Program.__index = Program

---@class moonq.testing.ProgramOptions
---@field env? table<string, string|false>
---@field cwd? string
---@field input? string             path of a file for its stdin
---@field output? string            path of the file for stdout and stderr; a temporary one by default
---@field errors? string            path of another file for stderr

--- Starts a program.
---@param argv string[]
---@param opts? moonq.testing.ProgramOptions
---@return moonq.testing.Program
function M.program(argv, opts)
  opts = opts or {}
  local folder
  local output = opts.output
  if not output then
    folder = assert(posix.mkdtemp("moonq-test"))
    output = folder .. "/output"
  end
  local request = {
    stdin = opts.input, stdout = output, stderr = opts.errors or output, env = opts.env, cwd = opts.cwd,
  }
  for i, word in ipairs(argv) do
    request[i] = word
  end
  local pid, why = posix.spawn(request)
  if not pid then
    if folder then
      posix.remove_tree(folder)
    end
    error(client.new_error("NOTFOUND", why), 0)
  end
  return setmetatable({ pid = pid, output = output, errors = opts.errors or output, folder = folder, name = argv[1] },
    Program)
end

--- All that it has written so far.
function Program:read()
  return M.read_file(self.output) or ""
end

function Program:signal(name)
  return posix.kill(self.pid, name)
end

--- Waits for its end: "exit", status or "signal", number; nil if it still runs after `timeout` seconds.
function Program:wait(timeout)
  if not self.ended then
    local how, what = posix.wait(self.pid, timeout or M.patience)
    if how == nil then
      return nil
    end
    self.ended = { how, what }
  end
  return self.ended[1], self.ended[2]
end

--- Waits until `ready(text)` is true of what it wrote; a string is looked for as it is. Returns what `ready` did.
---
--- Raises: TIMEOUT and CLOSED (it ended), with the end of what it wrote.
function Program:expect(ready, timeout, path)
  local wanted = ready
  if type(ready) == "string" then
    ready = function(text)
      return text:find(wanted, 1, true)
    end
  end
  path = path or self.output
  local deadline = posix.monotonic() + (timeout or M.patience)
  local watch = assert(posix.watch(path))
  while true do
    local running = posix.kill(self.pid, 0) and not self.ended and posix.wait(self.pid, 0) == nil
    local text = M.read_file(path) or ""
    local answer = ready(text)
    if answer then
      watch:close()
      return answer
    end
    local left = deadline - posix.monotonic()
    if left <= 0 or not running then
      watch:close()
      error(client.new_error(running and "TIMEOUT" or "CLOSED", ("'%s' %s; it wrote:\n%s"):format(self.name,
        running and "did not say what was expected of it" or "ended", text:sub(-2000))), 0)
    end
    watch:wait(left, self.pid)
  end
end

--- Asks it to end, and makes it end after `timeout` seconds. Returns how it ended, as `wait`.
function Program:stop(timeout)
  if not self.ended then
    posix.kill(self.pid, "TERM")
    if not self:wait(timeout) then
      posix.kill(self.pid, "KILL")
      self:wait()
      self.forced = true
    end
  end
  if self.folder then
    posix.remove_tree(self.folder)
  end
  return self.ended[1], self.ended[2]
end

--- Runs a program to its end: how it ended, as `wait`; what it wrote; what it wrote to stderr.
---@param argv string[]
---@param opts? moonq.testing.ProgramOptions|{ timeout?: number, stdin?: string }   stdin: the text itself
---@return integer|nil status       nil: a signal ended it
---@return string stdout
---@return string stderr
function M.run(argv, opts)
  opts = opts or {}
  local folder = assert(posix.mkdtemp("moonq-test"))
  local input
  if opts.stdin then
    input = folder .. "/in"
    M.write_file(input, opts.stdin)
  end
  local program = M.program(argv, {
    env = opts.env, cwd = opts.cwd, input = input, output = folder .. "/out", errors = folder .. "/err",
  })
  local how, status = program:wait(opts.timeout or M.patience)
  if not how then
    program:signal("KILL")
    program:wait()
  end
  local out, err = M.read_file(folder .. "/out") or "", M.read_file(folder .. "/err") or ""
  posix.remove_tree(folder)
  if not how then
    local command = table.concat(argv, " ")
    error(client.new_error("TIMEOUT", ("'%s' did not end; it wrote:\n%s%s"):format(command, out, err)), 0)
  end
  return how == "exit" and status or nil, out, err
end

-- ---- the server --------------------------------------------------------------------------------------------------

---@class moonq.testing.Server
---@field client moonq.Client
---@field app string                the application's folder
---@field socket string
---@field data string
---@field pid integer
local Server = {}
Server.__index = Server

---@class moonq.testing.ServerOptions
---@field app? string               an application's folder; a temporary one by default
---@field files? table<string, string>   written into the temporary folder: { ["handlers/a.lua"] = text }
---@field binary? string            MOONQ_BINARY or `moonq` by default
---@field socket? string            where it listens; in a temporary folder by default
---@field args? string[]            more arguments of `moonq serve`
---@field env? table<string, string|false>
---@field events? boolean           false: no event stream; await does not work then

local function parse_lines(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    local value = json.decode(line)
    lines[#lines + 1] = type(value) == "table" and value or { text = line }
  end
  return lines
end

--- The server's log: a list of tables, { time, level, event, ... }; { text } for a line that is not JSON.
function Server:log()
  return parse_lines(M.read_file(self.log_path) or "")
end

-- Each line that it logs is a reason to look whether it answers.
local function wait_ready(self)
  local watch = assert(posix.watch(self.log_path))
  local deadline = posix.monotonic() + M.patience
  while true do
    local running = not self.program:wait(0)
    local ok, connected = pcall(client.connect, self.socket)
    if ok and pcall(connected.call, connected, "PING") then
      watch:close()
      return connected
    end
    local left = deadline - posix.monotonic()
    if not running or left <= 0 then
      watch:close()
      self.program:stop()
      error(client.new_error(running and "TIMEOUT" or "CLOSED", ("the server %s; its log:\n%s"):format(
        running and "does not answer" or "did not start", (M.read_file(self.log_path) or ""):sub(-4000))), 0)
    end
    watch:wait(math.min(left, 1), self.pid)
  end
end

local function launch(self)
  local argv = { self.binary, "serve", self.app, "--data", self.data, "--socket", self.socket }
  for _, word in ipairs(self.args) do
    argv[#argv + 1] = word
  end
  self.program = M.program(argv, { env = self.env, output = self.log_path })
  self.pid = self.program.pid
  self.client = wait_ready(self)
  if self.with_events then
    self.stream = self.client:events()
  end
end

--- Starts a server and waits until it answers.
---
--- Raises: CLOSED and TIMEOUT with its log, if it does not start.
---@param opts? moonq.testing.ServerOptions
---@return moonq.testing.Server
function M.start(opts)
  opts = opts or {}
  local home = M.folder()
  local self = setmetatable({
    home = home, app = opts.app or home .. "/app", data = home .. "/data",
    socket = opts.socket or home .. "/moonq.sock",
    log_path = home .. "/log", binary = opts.binary or os.getenv("MOONQ_BINARY") or "moonq", args = opts.args or {},
    env = opts.env, with_events = opts.events ~= false, seen = {},
  }, Server)
  if not opts.app then
    assert(posix.mkdir(self.app .. "/handlers"))
    for name, text in pairs(opts.files or {}) do
      M.write_file(self.app .. "/" .. name, text)
    end
  end
  M.write_file(self.log_path, "")
  local ok, err = pcall(launch, self)
  if not ok then
    posix.remove_tree(home)
    error(err, 0)
  end
  return self
end

--- Another connection to it.
function Server:connect(opts)
  return client.connect(self.socket, opts)
end

local function matches(event, name, which)
  if event.event ~= name then
    return false
  end
  if type(which) == "function" then
    return which(event)
  end
  return which == nil or event.id == which
end

--- Waits for an event; those that came since the start count, each once.
---
--- Raises: TIMEOUT with the latest events, CLOSED if the server ended.
---@param name string               "job.succeeded"
---@param which? string|fun(event: table): boolean    a job's id, or a question about the event
---@param timeout? number
---@return table event
function Server:await(name, which, timeout)
  for i, event in ipairs(self.seen) do
    if matches(event, name, which) then
      return table.remove(self.seen, i)
    end
  end
  local deadline = posix.monotonic() + (timeout or M.patience)
  while true do
    local event = self.stream:next(math.max(0, deadline - posix.monotonic()))
    if not event then
      local latest = {}
      for i = math.max(1, #self.seen - 20), #self.seen do
        latest[#latest + 1] = json.encode(self.seen[i])
      end
      error(client.new_error("TIMEOUT", ("no event '%s'%s; the latest were:\n%s"):format(name,
        type(which) == "string" and " of " .. which or "", table.concat(latest, "\n"))), 0)
    end
    if matches(event, name, which) then
      return event
    end
    self.seen[#self.seen + 1] = event
  end
end

--- Waits for a line of its log.
---@param event string              the line's event: "worker.exited"
---@param which? fun(line: table): boolean
function Server:await_log(event, which, timeout)
  return self.program:expect(function(text)
    for _, line in ipairs(parse_lines(text)) do
      if line.event == event and (not which or which(line)) then
        return line
      end
    end
  end, timeout)
end

local function disconnect(self)
  if self.stream then
    self.stream:close()
  end
  if self.client then
    self.client:close()
  end
end

--- Sends a signal: "KILL", "STOP".
function Server:signal(name)
  return self.program:signal(name)
end

--- Kills it as a crash would, and waits for its end. Its data stay.
function Server:kill()
  self.program:signal("KILL")
  local how, what = self.program:wait()
  disconnect(self)
  return how, what
end

--- Starts it again on the same data, after `kill` or `halt`.
function Server:restart()
  self.seen = {}
  launch(self)
  return self
end

--- Stops it gracefully; its data stay. Returns how it ended: "exit", 0.
---@param timeout? number           then it is killed
function Server:halt(timeout)
  disconnect(self)
  return self.program:stop(timeout)
end

--- Stops it and removes what it left. Returns how it ended: "exit", 0.
function Server:stop(timeout)
  local how, what = self:halt(timeout)
  posix.remove_tree(self.home)
  return how, what
end

return M
