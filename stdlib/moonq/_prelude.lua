-- What the sandbox puts in place of some of Lua's own functions. The only script that sees the real globals;
-- no script can require it.
--
-- A host call that waits yields WAIT; whoever resumes passes either its results, or RAISE and an error. The marks
-- are light userdata that no script ever gets hold of.

local WAIT, RAISE = ...

local resume, yield, create, status, running = coroutine.resume, coroutine.yield, coroutine.create,
  coroutine.status, coroutine.running
local error, type, xpcall, collect = error, type, xpcall, collectgarbage
local known = setmetatable({}, { __mode = "k" }) -- coroutines that scripts made; a job's own is not among them
local waits = setmetatable({}, { __mode = "k" }) -- those that are in a host call: only its answer may resume them

local function answer(first, ...)
  if first == RAISE then
    error((...), 0)
  end
  return first, ...
end

--- A host call that waits, as its callers see it: it returns its results or raises.
local function waiting(call)
  return function(...)
    return answer(call(...))
  end
end

-- A host call inside a script's own coroutine makes the whole job wait: what yields WAIT is handed on to the
-- scheduler, and what the scheduler answers is handed back in.
local function answered(co, ...)
  waits[co] = nil
  return resume(co, ...)
end

local function hand_on(co, ok, first, ...)
  if ok and first == WAIT then
    waits[co] = true
    return hand_on(co, answered(co, yield(WAIT)))
  end
  return ok, first, ...
end

-- Another job of the handler may have got hold of it, or a wait that could not be handed on (out of table.sort) has
-- left it so.
local function resumed(co, ...)
  if waits[co] then
    return false, "cannot resume a coroutine that waits for a host call"
  end
  return resume(co, ...)
end

local function checked(co, name)
  if type(co) ~= "thread" then
    error("bad argument #1 to '" .. name .. "' (coroutine expected)", 3)
  end
  return co
end

local function raise_or_return(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

local shown = {}

function shown.create(fn)
  local co = create(fn)
  known[co] = true
  return co
end

function shown.resume(co, ...)
  return hand_on(checked(co, "resume"), resumed(co, ...))
end

function shown.wrap(fn)
  local co = shown.create(fn)
  return function(...)
    return raise_or_return(hand_on(co, resumed(co, ...)))
  end
end

function shown.status(co)
  return status(checked(co, "status"))
end

--- The script's own coroutine, or nil: the job itself is none that a script could resume.
function shown.running()
  local co = running()
  return known[co] and co or nil
end

function shown.yield(...)
  if not known[running()] then
    error("coroutine.yield outside of a coroutine that the script made (to wait, use moonq.time.sleep)", 2)
  end
  return yield(...)
end

local function collectgarbage(what)
  if what ~= "count" then
    error('collectgarbage answers "count" only: memory is the worker\'s business', 2)
  end
  return collect("count")
end

--- The first thing that a job's coroutine runs. Making the job object inside of it means that running out of
--- memory there fails the job, not the worker.
local function start(run, on_error, make_job)
  return xpcall(run, on_error, make_job())
end

return {
  waiting = waiting,
  start = start,
  globals = { coroutine = shown, collectgarbage = collectgarbage },
}
