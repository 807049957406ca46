--- moonq init, moonq check: an application's folder, without a server.

local binary = require "moonq_binary"
local json = require "moonq.client.json"
local output = require "moonq.cli.output"
local posix = require "moonq_posix"

-- ---- init ---------------------------------------------------------------------------------------------------------

local function write_file(path, text)
  local folder = path:match("^(.*)/[^/]*$")
  local file, why = posix.mkdir(folder)
  if file then
    file, why = io.open(path, "wb")
  end
  if not file or not file:write(text) or not file:close() then
    error({ code = "NOPERM", message = ("cannot write '%s': %s"):format(path, tostring(why)) }, 0)
  end
end

local function init(args)
  local folder = args.folder:gsub("/+$", "")
  if folder == "" then
    error({ code = "USAGE", message = ("'%s' is no folder for an application: name a new one"):format(args.folder) }, 0)
  end
  if posix.stat(folder) and #(posix.list(folder) or { "?" }) > 0 then
    error({ code = "CONFLICT", message = ("'%s' exists and is not empty; nothing was written"):format(folder) }, 0)
  end
  local files = require "moonq.cli.skeleton"
  local names = {}
  for name, text in pairs(files) do
    write_file(folder .. "/" .. name, text)
    names[#names + 1] = name
  end
  table.sort(names)
  if args.json then
    output.json({ folder = folder, files = names })
    return
  end
  for _, name in ipairs(names) do
    print(folder .. "/" .. name)
  end
  print(([[

Next:  moonq check %s
       moonq serve %s
       moonq push -C %s hello '{"name": "Ana"}' --wait 5s]]):format(folder, folder, folder))
end

-- ---- check --------------------------------------------------------------------------------------------------------

local function place(row)
  return (row.file or "?") .. ((row.line or 0) > 0 and ":" .. row.line or "")
end

local function count(number, what)
  return ("%d %s%s"):format(number, what, number == 1 and "" or "s")
end

-- By file and line, whichever reader found them.
local function in_order(rows)
  local sorted = {}
  for i, row in ipairs(rows or {}) do
    sorted[i] = { row = row, at = i }
  end
  table.sort(sorted, function(a, b)
    local one, two = a.row, b.row
    if one.file ~= two.file then
      return (one.file or "") < (two.file or "")
    elseif one.line ~= two.line then
      return (one.line or 0) < (two.line or 0)
    end
    return a.at < b.at
  end)
  return sorted
end

local function check(args)
  local folder = args.folder or args.app or "."
  if posix.stat(folder) ~= "folder" then
    error({ code = "NOTFOUND", message = ("no folder '%s' (moonq init makes one)"):format(folder) }, 0)
  end
  local text = binary.check(assert(posix.realpath(folder)))
  local found = assert(json.decode(text))
  if args.json then
    print(text)
    return found.ok and 0 or 1
  end
  for _, entry in ipairs(in_order(found.errors)) do
    print(("%s: %s"):format(place(entry.row), output.clean(entry.row.message)))
  end
  for _, entry in ipairs(in_order(found.warnings)) do
    print(("%s: warning: %s"):format(place(entry.row), output.clean(entry.row.message)))
  end
  if not found.ok then
    print(("%s in '%s'"):format(count(#(found.errors or {}), "error"), folder))
    return 1
  end
  local names = {}
  for name in pairs(found.handlers or {}) do
    names[#names + 1] = name
  end
  table.sort(names)
  local schedules = #(found.schedules or {})
  print(("'%s' is fine: %s%s%s"):format(folder, count(#names, "handler"),
    #names > 0 and " (" .. table.concat(names, ", ") .. ")" or "",
    schedules > 0 and ", " .. count(schedules, "schedule") or ""))
end

return { rows = {
  {
    name = "init", summary = "Make a new application: a folder with a first handler.",
    options = function(command)
      command:argument("folder", "The folder; it must not exist, or be empty."):argname("DIR")
    end,
    run = init,
  },
  {
    name = "check", summary = "Load an application in the sandbox and report every error with file and line.",
    options = function(command)
      command:argument("folder", "The application's folder; the current one by default."):args("?"):argname("DIR")
    end,
    run = check,
  },
} }
