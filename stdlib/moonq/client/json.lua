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

-- ---- texts that stay as they are: no number is rounded, no empty list becomes a map -----------------------------

-- The place of the quotation mark that ends the string which begins at `at`.
local function string_end(text, at)
  while true do
    at = text:find('["\\]', at + 1)
    if text:sub(at, at) == '"' then
      return at
    end
    at = at + 1
  end
end

-- The next token from `at` on: what it is, where it begins and ends. nil at the end.
local function next_token(text, at)
  local from = text:find("[^ \t\r\n]", at)
  if not from then
    return nil
  end
  local char = text:sub(from, from)
  if char == '"' then
    return "string", from, string_end(text, from)
  elseif char:find("[%[%]{}:,]") then
    return char, from, from
  end
  local after = text:find("[%[%]{}:, \t\r\n]", from + 1)
  return "word", from, after and after - 1 or #text
end

--- The same JSON without white space between its tokens, or with a line an entry.
---@param text string      JSON
---@param indent? string
---@return string
function M.layout(text, indent)
  local out, depth, before = {}, 0, nil
  local function line()
    if indent then
      out[#out + 1] = "\n" .. indent:rep(depth)
    end
  end
  local kind, from, to = next_token(text, 1)
  while kind do
    local closes, empty = kind == "}" or kind == "]", before == "{" or before == "["
    depth = closes and depth - 1 or depth
    if closes and not empty or not closes and (empty or before == ",") then
      line()
    end
    out[#out + 1] = kind == "string" and text:sub(from, to):gsub("%c", function(char)
      return ("\\u%04x"):format(char:byte())
    end) or text:sub(from, to)
    if kind == ":" and indent then
      out[#out + 1] = " "
    end
    depth = (kind == "{" or kind == "[") and depth + 1 or depth
    before = kind
    kind, from, to = next_token(text, to + 1)
  end
  return table.concat(out)
end

--- The text of one member of an object; nil if it has none of this name. Of two, the last, as decode would.
---@param text string   JSON, an object
---@param name string
function M.member(text, name)
  local depth, found, key, starts, before = 0, nil, nil, nil, nil
  local kind, from, to = next_token(text, 1)
  while kind do
    if depth == 1 and kind == "string" and (before == "{" or before == ",") then
      key = cjson.decode("[" .. text:sub(from, to) .. "]")[1]
    elseif depth == 1 and kind == ":" then
      starts = to + 1
    elseif depth == 1 and (kind == "," or kind == "}") then
      found = key == name and text:sub(starts, from - 1) or found
    end
    depth = (kind == "{" or kind == "[") and depth + 1 or (kind == "}" or kind == "]") and depth - 1 or depth
    before = kind
    kind, from, to = next_token(text, to + 1)
  end
  return found and M.layout(found)
end

--- A text that `encode` writes as it is, if it is JSON; otherwise the text itself.
function M.raw(text)
  if pcall(cjson.decode, text) then
    return setmetatable({ text = M.layout(text) }, Raw)
  end
  return text
end

return M
