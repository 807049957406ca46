--- How the command line shows things: tables and ages for people, JSON for programs.

local json = require "moonq.client.json"
local posix = require "moonq_posix"

local M = {}

-- ---- text in a terminal ---------------------------------------------------------------------------------------

-- Code points that take two columns, and those that take none. Enough for names in the scripts of the world.
local wide = {
  { 0x1100, 0x115f }, { 0x2e80, 0x303e }, { 0x3041, 0xa4cf }, { 0xac00, 0xd7a3 }, { 0xf900, 0xfaff },
  { 0xfe30, 0xfe6f }, { 0xff00, 0xff60 }, { 0xffe0, 0xffe6 }, { 0x1f300, 0x1f64f }, { 0x1f900, 0x1f9ff },
  { 0x20000, 0x3fffd },
}
local zero = {
  { 0x300, 0x36f }, { 0x483, 0x489 }, { 0x591, 0x5bd }, { 0x610, 0x61a }, { 0x64b, 0x65f }, { 0x900, 0x902 },
  { 0x93a, 0x93a }, { 0x93c, 0x93c }, { 0x941, 0x948 }, { 0x94d, 0x94d }, { 0xe31, 0xe31 }, { 0xe34, 0xe3a },
  { 0xe47, 0xe4e }, { 0x200b, 0x200f }, { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f },
}

local function within(code, ranges)
  for _, range in ipairs(ranges) do
    if code >= range[1] and code <= range[2] then
      return true
    end
  end
  return false
end

-- One character at `at`: its bytes and its columns. A byte that is no UTF-8 counts as a character.
local function character(text, at)
  local byte = text:byte(at)
  local len = byte < 0x80 and 1 or byte >= 0xf0 and 4 or byte >= 0xe0 and 3 or byte >= 0xc0 and 2 or 1
  local code = len == 1 and byte or byte % 2 ^ (7 - len)
  for i = at + 1, at + len - 1 do
    code = code * 64 + (text:byte(i) or 0) % 64
  end
  if len == 1 or code < 0x300 then
    return len, 1
  end
  return len, within(code, zero) and 0 or within(code, wide) and 2 or 1
end

-- What UTF-8 is: no bytes too many for a character, no surrogates, nothing beyond U+10FFFF.
local sequences = {
  "^[\194-\223][\128-\191]",
  "^\224[\160-\191][\128-\191]",
  "^[\225-\236\238\239][\128-\191][\128-\191]",
  "^\237[\128-\159][\128-\191]",
  "^\240[\144-\191][\128-\191][\128-\191]",
  "^[\241-\243][\128-\191][\128-\191][\128-\191]",
  "^\244[\128-\143][\128-\191][\128-\191]",
}

local function sequence_end(text, at)
  for _, pattern in ipairs(sequences) do
    local _, last = text:find(pattern, at)
    if last then
      return last
    end
  end
end

--- The text with a U+FFFD for each byte that is not UTF-8: payloads and errors are bytes, JSON and terminals want text.
function M.utf8(text)
  return (text:gsub("[\128-\255]+", function(bytes)
    local out, at = {}, 1
    while at <= #bytes do
      local last = sequence_end(bytes, at)
      out[#out + 1] = last and bytes:sub(at, last) or "\239\191\189"
      at = (last or at) + 1
    end
    return table.concat(out)
  end))
end

--- What a job holds may be anybody's text: control characters do not reach the terminal.
function M.clean(text)
  text = M.utf8(tostring(text)):gsub("\r?\n", " "):gsub("%c", "?")
  return (text:gsub("\194[\128-\159]", "?"))
end

local function width(text)
  local columns, at = 0, 1
  while at <= #text do
    local len, own = character(text, at)
    columns, at = columns + own, at + len
  end
  return columns
end

-- At most `limit` columns, with an ellipsis if something is missing.
local function cut(text, limit)
  if width(text) <= limit then
    return text
  end
  local columns, at = 0, 1
  while at <= #text do
    local len, own = character(text, at)
    if columns + own > limit - 1 then
      break
    end
    columns, at = columns + own, at + len
  end
  return text:sub(1, at - 1) .. "…"
end

local function pad(text, columns, right)
  local gap = (" "):rep(columns - width(text))
  return right and gap .. text or text .. gap
end

-- ---- numbers and times ------------------------------------------------------------------------------------------

local units = { { 86400, "d" }, { 3600, "h" }, { 60, "m" }, { 1, "s" } }

--- A duration in milliseconds: 90000 is "1m30s", 250 is "250ms".
function M.duration(ms)
  if not ms then
    return "-"
  end
  if ms < 1000 then
    return ("%dms"):format(ms)
  end
  local seconds = math.floor(ms / 1000 + 0.5)
  for i, unit in ipairs(units) do
    if seconds >= unit[1] then
      local whole, rest = math.floor(seconds / unit[1]), seconds % unit[1]
      local finer = units[i + 1]
      local part = finer and math.floor(rest / finer[1]) or 0
      return whole .. unit[2] .. (part > 0 and part .. finer[2] or "")
    end
  end
end

--- A moment in unix milliseconds as people think of it: "5m ago", "in 2h", "now".
function M.age(at)
  if not at then
    return "-"
  end
  local ms = posix.now() * 1000 - at
  if math.abs(ms) < 1000 then
    return "now"
  end
  return ms > 0 and M.duration(ms) .. " ago" or "in " .. M.duration(-ms)
end

function M.time(at)
  return at and os.date("%Y-%m-%d %H:%M:%S", math.floor(at / 1000)) or "-"
end

function M.count(number)
  local text = ("%.0f"):format(number or 0)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

function M.bytes(number)
  local size, unit = number or 0, 1
  local names = { "B", "KiB", "MiB", "GiB", "TiB" }
  while size >= 1024 and unit < #names do
    size, unit = size / 1024, unit + 1
  end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(size, names[unit])
end

-- ---- tables -------------------------------------------------------------------------------------------------------

---@class moonq.cli.Column
---@field [1] string                      its heading
---@field [2] string|fun(row: table): any the field, or what makes its text
---@field right? boolean                  numbers
---@field optional? boolean               left out if no row has anything in it

local function cells_of(column, rows)
  local cells, filled = {}, false
  for i, row in ipairs(rows) do
    local value = column[2]
    if type(value) == "function" then
      value = value(row)
    else
      value = row[value]
    end
    filled = filled or (value ~= nil and value ~= "" and value ~= "-" and value ~= 0 and value ~= "0")
    cells[i] = M.clean(value == nil and "-" or value)
  end
  return cells, filled
end

--- Prints rows under headings, no wider than needed. In a terminal the last column is cut to what fits.
---@param columns moonq.cli.Column[]
---@param rows table[]
---@param none string                     what is said if there are no rows
function M.table(columns, rows, none)
  if #rows == 0 then
    print(none)
    return
  end
  local shown = {}
  for _, column in ipairs(columns) do
    local cells, filled = cells_of(column, rows)
    if filled or not column.optional then
      local columns_needed = width(column[1])
      for _, cell in ipairs(cells) do
        columns_needed = math.max(columns_needed, width(cell))
      end
      shown[#shown + 1] = { heading = column[1], cells = cells, width = columns_needed, right = column.right }
    end
  end
  local last, used = shown[#shown], 0
  for i = 1, #shown - 1 do
    used = used + shown[i].width + 2
  end
  local limit = posix.is_terminal(1) and math.max(posix.columns() - used, 20) or math.huge
  for i = 0, #rows do
    local line = {}
    for k, column in ipairs(shown) do
      local text = i == 0 and column.heading or column.cells[i]
      if column == last then
        text = limit < math.huge and cut(text, limit) or text
        line[k] = column.right and pad(text, math.min(column.width, limit), true) or text
      else
        line[k] = pad(text, column.width, column.right)
      end
    end
    print((table.concat(line, "  "):gsub("%s+$", "")))
  end
end

--- Prints "name  value" lines; nil values are left out.
---@param pairs_list table[]              { name, value }
function M.facts(pairs_list)
  local longest = 0
  for _, fact in ipairs(pairs_list) do
    if fact[2] ~= nil then
      longest = math.max(longest, #fact[1])
    end
  end
  for _, fact in ipairs(pairs_list) do
    if fact[2] ~= nil then
      print(pad(fact[1], longest) .. "  " .. M.clean(fact[2]))
    end
  end
end

--- A value as JSON that every program can read: of its texts, what is not UTF-8 is replaced.
function M.encode(value, indent)
  return M.utf8(json.encode(value, indent))
end

--- Prints a value as JSON: readable in a terminal, one line for programs.
function M.json(value)
  print(M.encode(value, posix.is_terminal(1) and "  " or nil))
end

--- A job whose payload and result are written as the JSON that they are.
function M.job_for_json(job)
  local copy = {}
  for name, value in pairs(job) do
    copy[name] = value
  end
  for _, name in ipairs({ "payload", "result", "meta" }) do
    if type(copy[name]) == "string" then
      copy[name] = json.raw(copy[name])
    end
  end
  return copy
end

function M.jobs_for_json(jobs)
  local out = setmetatable({}, getmetatable(jobs))
  for i, job in ipairs(jobs) do
    out[i] = M.job_for_json(job)
  end
  return out
end

--- A line that is written over by the next one; only in a terminal, or if it is asked for.
function M.progress(always)
  local terminal = posix.is_terminal(2)
  local shown = false
  return {
    say = function(format, ...)
      if terminal then
        io.stderr:write("\r\27[K", format:format(...))
        shown = true
      elseif always then
        io.stderr:write(format:format(...), "\n")
      end
    end,
    finish = function()
      if shown then
        io.stderr:write("\r\27[K")
      end
    end,
  }
end

--- "paused by ana until 2026-03-01 12:00:00: the relay is down"; `until_when` and the rest may be nil.
function M.pause_words(by, until_when, reason)
  return ("paused%s%s%s"):format(by and " by " .. by or "", until_when and " until " .. M.time(until_when) or "",
    reason and ": " .. reason or "")
end

return M
