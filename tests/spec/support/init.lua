--- What specs share: a server for each, gone after each.
---
---     local support = require "support"
---     describe("a push", function()
---       after_each(support.stop_all)
---       it("is run", function()
---         local server = support.start({ files = { ["handlers/a.lua"] = "return { run = function() end }" } })
---         server:await("job.succeeded", server.client:push("a"))
---       end)
---     end)
---
--- `support` has all of moonq.testing too: folder, write_file, read_file, program, run, patience.

local posix = require "moonq_posix"
local testing = require "moonq.testing"

local M = setmetatable({}, { __index = testing })

--- The binary under test; `make spec` names it.
M.binary = assert(posix.realpath(os.getenv("MOONQ_BINARY") or "build/moonq"))

local started = {}

--- moonq.testing.start; the server is stopped by `stop_all`, which fails if it does not end by itself.
---@param opts? moonq.testing.ServerOptions
---@return moonq.testing.Server
function M.start(opts)
  local copy = {}
  for name, value in pairs(opts or {}) do
    copy[name] = value
  end
  copy.binary = copy.binary or M.binary
  local server = testing.start(copy)
  started[#started + 1] = { stop = function()
    server:stop()
    assert(not server.program.forced, "the server did not stop when it was asked to, and was killed")
  end }
  return server
end

--- moonq.testing.program; stopped by `stop_all`.
function M.program(argv, opts)
  local program = testing.program(argv, opts)
  started[#started + 1] = { stop = function()
    program:stop()
  end }
  return program
end

--- moonq.testing.folder; removed by `stop_all`.
function M.folder(files)
  local path = testing.folder(files)
  started[#started + 1] = { stop = function()
    testing.remove(path)
  end }
  return path
end

---@class support.Clock
---@field env table<string, string>   for a server: what it and its workers are started with
local Clock = {}
Clock.__index = Clock

--- A wall clock that a spec sets, for the real binary: a library before libc's clock (tests/crash/shim.h).
---@return support.Clock
function M.clock()
  local folder = M.folder()
  local page = dofile("tests/crash/page.lua").create(folder .. "/page")
  return setmetatable({ page = page, env = {
    LD_PRELOAD = assert(posix.realpath(M.binary:match("^(.*)/") .. "/crash/shim.so")), SHIM_PAGE = folder .. "/page",
    ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "") .. ":verify_asan_link_order=0",
  } }, Clock)
end

--- Sets it forwards by so many milliseconds; backwards, if they are negative.
function Clock:step(ms)
  self.page.clock_step_ms = self.page.clock_step_ms + ms
end

--- What it shows, in milliseconds; the fraction of a second is not known here.
function Clock:now()
  return (os.time()) * 1000 + tonumber(self.page.clock_step_ms)
end

--- For after_each: stops and removes, last first. A server that has been stopped already does not mind.
function M.stop_all()
  local failure
  while #started > 0 do
    local ok, err = pcall(table.remove(started).stop)
    failure = failure or (not ok and err)
  end
  if failure then
    error(failure, 0)
  end
end

--- Runs the command line: its exit status, stdout and stderr.
---@param ... string                arguments; a table at the end has the options of `run`
function M.moonq(...)
  local argv, opts = { M.binary, ... }, nil
  if type(argv[#argv]) == "table" then
    opts = table.remove(argv)
  end
  return testing.run(argv, opts)
end

--- The error that `fn` raises; fails if it raises none.
function M.refused(fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "it was not refused")
  return err
end

return M
