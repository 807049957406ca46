--- moonq as a handler sees it: `moonq`, a global, or require "moonq".
---
--- A handler that raises an error fails its attempt, and the retry policy says when the next one is. These raise
--- errors that say more than that. They are tables { code =, message =, retryable = } like all of moonq's errors,
--- so pcall can look at them, and error(err) passes them on.
---@class moonq
---@field version string
local moonq = { version = _host.version }

local host = _host
local Error = host.error_meta

---@class moonq.Error
---@field code string        one of docs/errors.md, or the script's own
---@field message string
---@field retryable boolean  false: no further attempt
---@field delay? number|string  the next attempt comes so much later
---@field verdict? "snooze"|"discard"

local function raise(fields)
  error(setmetatable(fields, Error), 0)
end

local function message_of(value, otherwise)
  if value == nil then
    return otherwise
  end
  if type(value) == "table" and value.message then
    return tostring(value.message) -- an error that was caught
  end
  return tostring(value)
end

local function duration_of(value, caller)
  local seconds, why = host.duration_parse(value)
  if not seconds then
    error(caller .. ": " .. why, 3)
  end
  return seconds
end

--- Fails the job for good: it becomes a dead letter, however many attempts are left.
---
--- Roles: handler. Yields: no. Raises: always.
---@param message? any
function moonq.permanent(message)
  raise { code = "SCRIPT", message = message_of(message, "failed for good"), retryable = false }
end

--- Fails this attempt; the next one comes after `delay`, whatever the retry policy says.
---
--- Roles: handler. Yields: no. Raises: always.
---@param delay number|string   seconds, or a string like "10m"
---@param message? any
function moonq.retry_in(delay, message)
  delay = duration_of(delay, "moonq.retry_in")
  raise { code = "SCRIPT", message = message_of(message, "retry later"), retryable = true, delay = delay }
end

--- Ends this run; the job runs again after `delay`, and this attempt is not counted.
---
--- Roles: handler. Yields: no. Raises: always.
---@param delay number|string   seconds, or a string like "10m"
function moonq.snooze(delay)
  delay = duration_of(delay, "moonq.snooze")
  raise { code = "SCRIPT", message = "snoozed", retryable = true, delay = delay, verdict = "snooze" }
end

--- Drops the job: cancelled, not a dead letter.
---
--- Roles: handler. Yields: no. Raises: always.
---@param message? any   why; kept with the attempt
function moonq.discard(message)
  raise { code = "SCRIPT", message = message_of(message, "discarded"), retryable = false, verdict = "discard" }
end

return moonq
