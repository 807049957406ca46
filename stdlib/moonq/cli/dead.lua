--- moonq dead: the dead letters. List, show, edit, retry, delete.

local filters = require "moonq.cli.filter"
local json = require "moonq.client.json"
local output = require "moonq.cli.output"
local posix = require "moonq_posix"
local step = require "moonq.cli.step"

local function last_error(job)
  local attempts = job.attempts or {}
  local last = attempts[#attempts]
  if not last then
    return nil
  end
  return ((last.code or "") .. " " .. (last.message or "")):match("^%s*(.-)%s*$"), last
end

local columns = {
  { "ID", "id" }, { "TYPE", "type" }, { "QUEUE", "queue" },
  { "TRIES", function(job)
    return ("%d/%d"):format(job.attempt, job.max_attempts)
  end },
  { "DIED", function(job)
    return output.age(job.since)
  end },
  { "ERROR", last_error },
}

-- A page of jobs has no attempts, and the error is what one looks for: each is asked for, in one pipeline.
local function with_errors(server, page)
  local commands = {}
  for i, job in ipairs(page.jobs) do
    commands[i] = { "JOB", job.id }
  end
  local found = setmetatable({}, getmetatable(page.jobs))
  for _, job in ipairs(server:pipeline(commands)) do
    if not job.err and job.state == "dead" then -- it may have left since
      found[#found + 1] = job
    end
  end
  return found
end

local function list(args)
  local filter = filters.of(args)
  filter.state, filter.limit, filter.cursor = "dead", args.limit, args.cursor
  local server = args.connect()
  local page = server:jobs(filter)
  page.jobs = with_errors(server, page)
  if args.json then
    page.jobs = output.jobs_for_json(page.jobs)
    output.json(page)
    return
  end
  output.table(columns, page.jobs, page.cursor and "None so far." or "No dead letters.")
  if page.cursor then
    print("\nMore: --cursor " .. page.cursor)
  end
end

local function get_dead(server, id)
  local job = server:job(id)
  if not job then
    error({ code = "NOTFOUND", message = ("no job '%s'"):format(id) }, 0)
  end
  if job.state ~= "dead" then
    error({ code = "WRONGSTATE", message = ("job '%s' is %s, not a dead letter (moonq job %s)"):format(id, job.state,
      id) }, 0)
  end
  return job
end

local function show(args)
  get_dead(args.connect(), args.id)
  return require("moonq.cli.look").job(args)
end

-- The payload in the editor of the user's choice; nil if it was left as it was.
local function edited(payload)
  local folder = assert(posix.mkdtemp("moonq-edit"))
  local path = folder .. "/payload.json"
  local file = assert(io.open(path, "wb"))
  local shown = json.decode(payload) ~= nil and json.layout(payload, "  ") or payload
  file:write(shown, "\n")
  file:close()
  local editor = "vi"
  for _, name in ipairs({ "EDITOR", "VISUAL" }) do
    local named = os.getenv(name)
    editor = named and named ~= "" and named or editor
  end
  local status = os.execute(editor .. " '" .. path .. "'")
  file = assert(io.open(path, "rb"))
  local text = file:read("*a"):gsub("%s+$", "")
  file:close()
  posix.remove_tree(folder)
  if status ~= 0 and status ~= true then
    error({ code = "USAGE", message = ("'%s' did not end well; nothing was changed"):format(editor) }, 0)
  end
  return text ~= shown:gsub("%s+$", "") and text or nil
end

local function edit(args)
  local server = args.connect()
  local job = get_dead(server, args.id)
  local payload = args.payload or edited(job.payload)
  if not payload then
    if args.json then
      output.json({ id = args.id, changed = false })
    else
      print(args.id .. "  is as it was")
    end
    return
  end
  local value, why = json.decode(payload)
  if value == nil then
    error({ code = "USAGE", message = ("the payload is not JSON: %s"):format(why) }, 0)
  end
  local answer = server:edit(args.id, args.payload or json.layout(payload))
  if args.json then
    output.json(answer)
  else
    print(("%s  has its new payload; moonq dead retry %s"):format(args.id, args.id))
  end
end

local actions = {
  list = list,
  show = show,
  edit = edit,
  retry = function(args)
    return step.run(args, "RETRY", "dead")
  end,
  delete = function(args)
    return step.run(args, "DELETE", "dead")
  end,
}

local function ids_or_filter(command, all)
  command:argument("ids", "Dead letters, by id."):args("*"):argname("ID")
  filters.options(command, true)
  command:flag("--all", all)
end

local function list_options(command)
  filters.options(command, true)
  command:option("-n --limit", "At most so many."):argname("N"):default("50")
  command:option("--cursor", "The next page, as the page before names it."):argname("CURSOR")
end

local function options(command)
  command:command_target("action"):require_command(false)
  list_options(command)
  list_options(command:command("list", "List them with their last error."))
  command:command("show", "Show one with all its attempts."):argument("id"):argname("ID")
  local editing = command:command("edit", "Give one a new payload, in your editor or with --payload.")
  editing:argument("id"):argname("ID")
  step.payload_option(editing)
  local retrying = command:command("retry", "Bring them back.")
  ids_or_filter(retrying, "All of them.")
  step.payload_option(retrying)
  ids_or_filter(command:command("delete", "Delete them and their history."), "All of them.")
end

return { rows = {
  {
    name = "dead", summary = "Dead letters: list, show, edit, retry, delete.", options = options,
    run = function(args)
      return actions[args.action or "list"](args)
    end,
  },
} }
