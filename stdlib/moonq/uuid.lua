--- UUIDs (RFC 9562), from the kernel's random generator.
---@class moonq.uuid
local uuid = {}

local host = _host
local band, bor = bit.band, bit.bor

local function text_of(bytes)
  local hex = bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end)
  return ("%s-%s-%s-%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21))
end

-- Bytes 7 and 9 (from 1) say which kind of UUID it is.
local function stamped(version, bytes)
  local kind = string.char(bor(band(bytes:byte(7), 0x0f), version * 16))
  local variant = string.char(bor(band(bytes:byte(9), 0x3f), 0x80))
  return text_of(bytes:sub(1, 6) .. kind .. bytes:sub(8, 8) .. variant .. bytes:sub(10))
end

--- Random.
---
--- Roles: handler, load. Yields: no. Raises: nothing.
---@return string uuid   36 characters
function uuid.v4()
  return stamped(4, host.random_bytes(16))
end

--- Ordered by time: good as a key of a database.
---
--- Roles: handler, load. Yields: no. Raises: misuse.
---@param now? number   seconds since 1970
---@return string uuid   36 characters
function uuid.v7(now)
  local ms = math.floor((now or host.time_now()) * 1000)
  local time = {}
  for i = 6, 1, -1 do
    time[i] = string.char(ms % 256)
    ms = math.floor(ms / 256)
  end
  return stamped(7, table.concat(time) .. host.random_bytes(10))
end

return uuid
