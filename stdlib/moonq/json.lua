--- JSON. Lists are tables with the keys 1 to n; all other tables are objects.
---@class moonq.json
---@field null lightuserdata   JSON's null; what it decodes to, since a table cannot hold nil
local json = { null = _host.null }

local host = _host

--- Marks an empty table as a list, so that it is written [] and not {}. Decoded empty lists are marked already.
---
--- Roles: handler, load. Yields: no. Raises: misuse.
---@param list? table
---@return table list
function json.array(list)
  list = list or {}
  if type(list) ~= "table" then
    error("json.array: a " .. type(list) .. " is not a table", 2)
  end
  return setmetatable(list, host.array_mark)
end

--- Raises: BADARG for what JSON cannot hold (functions, NaN, a table in itself), TOOBIG.
---
--- Roles: handler, load. Yields: no.
---@param value any
---@return string text
function json.encode(value)
  local text, why, code = host.json_encode(value)
  if not text then
    error(setmetatable({ code = code, message = "json.encode: " .. why, retryable = true }, host.error_meta), 0)
  end
  return text
end

--- Reads a text that came from somewhere: nil and the reason if it is not JSON.
---
--- Roles: handler, load. Yields: no. Raises: misuse.
---@param text string
---@return any value
---@return string? why
function json.decode(text)
  return host.json_decode(text)
end

return json
