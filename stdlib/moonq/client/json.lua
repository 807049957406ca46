--- JSON for the client: lua-cjson reads; this writes, since cjson rounds numbers to 14 digits and writes an empty
--- list as {}.

local cjson = require("cjson").new()
local shapes = require "moonq.client.shapes"

cjson.decode_invalid_numbers(false) -- NaN and Infinity are not JSON

---@class moonq.json.Raw   text that is JSON already and is written as it is
local Raw = {}

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t" }

local function write_string(text)
  return '"' .. text:gsub('[%z\1-\31"\\\127]', function(char)
    return escapes[char] or ("\\u%04x"):format(char:byte())
  end) .. '"'
end

--- The shortest text that reads back as the same number.
local function write_number(value)
  if value ~= value or value == math.huge or value == -math.huge then
    error("a number that JSON does not have: " .. tostring(value), 0)
  end
  if value == math.floor(value) and math.abs(value) < 2 ^ 63 then
    return ("%.0f"):format(value)
  end
  for digits = 14, 17 do
    local text = ("%." .. digits .. "g"):format(value)
    if tonumber(text) == value then
      return text
    end
  end
end

local write

-- Lists have the keys 1 to n; an empty table is a map unless it is marked as a list.
local function write_table(value, out, indent, depth)
  if depth > 100 then
    error("nested more than 100 deep (or in a circle)", 0)
  end
  local count, list = 0, getmetatable(value) == shapes.Array
  for _ in pairs(value) do
    count = count + 1
  end
  list = list or (count > 0 and count == #value)
  if count == 0 then
    out[#out + 1] = list and "[]" or "{}"
    return
  end
  local line = indent and "\n" .. indent:rep(depth + 1) or ""
  local separator = list and "[" or "{"
  if list then
    for _, item in ipairs(value) do
      out[#out + 1] = separator .. line
      write(item, out, indent, depth + 1)
      separator = ","
    end
  else
    local names = {}
    for name in pairs(value) do
      if type(name) ~= "string" then
        error(("a table with the key %s is neither a list nor a map of texts"):format(tostring(name)), 0)
      end
      names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
      out[#out + 1] = separator .. line .. write_string(name) .. (indent and ": " or ":")
      write(value[name], out, indent, depth + 1)
      separator = ","
    end
  end
  out[#out + 1] = (indent and "\n" .. indent:rep(depth) or "") .. (list and "]" or "}")
end

function write(value, out, indent, depth)
  local kind = type(value)
  if kind == "string" then
    out[#out + 1] = write_string(value)
  elseif kind == "number" then
    out[#out + 1] = write_number(value)
  elseif kind == "boolean" then
    out[#out + 1] = tostring(value)
  elseif value == cjson.null then
    out[#out + 1] = "null"
  elseif kind == "table" and getmetatable(value) == Raw then
    out[#out + 1] = value.text
  elseif kind == "table" then
    write_table(value, out, indent, depth)
  else
    error("JSON cannot hold a " .. kind, 0)
  end
end

local M = { null = cjson.null }

--- The value as JSON. Keys are sorted; whole numbers keep all their digits.
---
--- Raises: text, for what JSON cannot hold.
---@param value any
---@param indent? string   makes it readable: one line an entry
---@return string
function M.encode(value, indent)
  local out = {}
  write(value, out, indent, 0)
  return table.concat(out)
end

--- The value of a JSON text; nil and why if it is none.
---@param text string
function M.decode(text)
  local ok, value = pcall(cjson.decode, text)
  if ok then
    return value
  end
  return nil, value
end

--- A text that `encode` writes as it is, if it is JSON; otherwise the text itself.
function M.raw(text)
  if pcall(cjson.decode, text) and not text:find("[\r\n]") then
    return setmetatable({ text = text }, Raw)
  end
  return text
end

return M
