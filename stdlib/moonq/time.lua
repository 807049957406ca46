--- Clocks, waiting, and times as text.
---@class moonq.time
local time = {}

local host = _host

--- Roles: handler, load. Yields: no. Raises: nothing.
---@return number seconds   since 1970, with a fraction
function time.now()
  return host.time_now()
end

--- For measuring: a clock that never steps.
---
--- Roles: handler, load. Yields: no. Raises: nothing.
---@return number seconds   since some moment
function time.mono()
  return host.time_mono()
end

--- Waits. Other jobs of the worker run meanwhile.
---
--- Roles: handler. Yields: yes. Raises: TIMEOUT or CANCELLED when the job is told to stop; misuse.
---@param duration number|string   seconds, or a string like "250ms"
function time.sleep(duration)
  host.time_sleep(duration)
end

--- 2026-01-01T00:00:00.000Z
---
--- Roles: handler, load. Yields: no. Raises: misuse.
---@param seconds? number   since 1970; now by default
---@return string text
function time.iso8601(seconds)
  return host.time_format(seconds or host.time_now())
end

--- Reads ISO 8601 with a zone (or a date alone, which is midnight UTC), or unix milliseconds as digits.
---
--- Roles: handler, load. Yields: no. Raises: misuse.
---@param text string
---@return number? seconds   since 1970
---@return string? why
function time.parse(text)
  return host.time_parse(text)
end

return time
