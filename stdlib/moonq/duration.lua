--- Durations as people write them: 250ms, 5s, 10m, 2h, 3d, also 1.5h.
---@class moonq.duration
local duration = {}

local host = _host

--- Roles: handler, load. Yields: no. Raises: nothing.
---@param text string|number   a number is seconds already
---@return number? seconds
---@return string? why
function duration.parse(text)
  return host.duration_parse(text)
end

--- The shortest exact form: 90 is "90s", 7200 is "2h".
---
--- Roles: handler, load. Yields: no. Raises: misuse.
---@param seconds number
---@return string text
function duration.format(seconds)
  return host.duration_format(seconds)
end

return duration
