--- Lines in the server's log; from a handler they also go to the job's own record.
---@class moonq.log
local log = {}

local host = _host

--- Roles: handler, load. Yields: no. Raises: nothing.
---@param message any       turned into text
---@param fields? table     what JSON can hold
function log.debug(message, fields)
  host.log("debug", tostring(message), fields)
end

--- Roles: handler, load. Yields: no. Raises: nothing.
---@param message any
---@param fields? table
function log.info(message, fields)
  host.log("info", tostring(message), fields)
end

--- Roles: handler, load. Yields: no. Raises: nothing.
---@param message any
---@param fields? table
function log.warn(message, fields)
  host.log("warn", tostring(message), fields)
end

--- Roles: handler, load. Yields: no. Raises: nothing.
---@param message any
---@param fields? table
function log.error(message, fields)
  host.log("error", tostring(message), fields)
end

--- What `print` is in a script: its arguments, with tabs between them, as one line of level info.
---
--- Roles: handler, load. Yields: no. Raises: nothing.
function log.print(...)
  local parts = {}
  for i = 1, select("#", ...) do
    parts[i] = tostring((select(i, ...)))
  end
  host.log("info", table.concat(parts, "\t"))
end

return log
