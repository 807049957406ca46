--- moonq push, moonq call.

local json = require "moonq.client.json"
local output = require "moonq.cli.output"

local BATCH = 1000 -- commands under way at once: the server reads no more of one client anyway

local function usage(...)
  error({ code = "USAGE", message = (...):format(select(2, ...)) }, 0)
end

-- ---- one job ----------------------------------------------------------------------------------------------------

local option_names = { "queue", "priority", "delay", "at", "attempts", "timeout", "lease", "expires", "meta", "keep",
  "unique", "unique_by", "unique_for", "unique_in", "conflict" }

local function options_of(args)
  local opts = {}
  for _, name in ipairs(option_names) do
    opts[name] = args[name]
  end
  if args.tag and #args.tag > 0 then
    opts.tags = args.tag
  end
  return opts
end

local function check_json(text, where)
  local value, why = json.decode(text)
  if value == nil then
    usage("%s is not JSON: %s (quote it: '{\"to\": \"ana@example.org\"}'; --raw pushes any bytes)", where, why)
  end
  return value
end

local function read_payload(args)
  local text = args.payload or "{}"
  if text == "-" then
    text = io.read("*a")
  end
  if not args.raw then
    check_json(text, "the payload")
  end
  return text
end

-- ---- many jobs: a line each -----------------------------------------------------------------------------------------

-- With a type on the command line a line is a payload; without, it is an object that names the type too.
local function job_of_line(args, line, number)
  local opts = options_of(args)
  if args.type then
    if not args.raw then
      check_json(line, "line " .. number)
    end
    opts.payload = line
    return { args.type, nil, opts }
  end
  local object = check_json(line, "line " .. number)
  if type(object) ~= "table" or type(object.type) ~= "string" then
    usage('line %d names no type (write {"type": "email.send", "args": {...}}, or moonq push TYPE --lines)', number)
  end
  for name, value in pairs(object) do
    if name ~= "type" and name ~= "args" and value ~= json.null then
      opts[name] = value
    end
  end
  opts.payload = opts.payload or json.member(line, "args") -- as it stands there
  return { object.type, nil, opts }
end

local function push_batch(queue, jobs, numbers, totals, args)
  local ok, ids = pcall(queue.push_many, queue, jobs)
  local errors = {}
  if not ok then
    if not ids.ids then
      error(ids, 0)
    end
    ids, errors = ids.ids, ids.errors
  end
  for i, number in ipairs(numbers) do
    if ids[i] then
      totals.pushed = totals.pushed + 1
      if args.ids then
        print(ids[i])
      end
    else
      totals.refused = totals.refused + 1
      io.stderr:write(("moonq: line %d: %s %s\n"):format(number, errors[i].code, errors[i].message))
    end
  end
end

local function push_lines(args, queue)
  local file = args.lines == "-" and io.stdin or io.open(args.lines, "r")
  if not file then
    usage("cannot read '%s'", args.lines)
  end
  local totals, progress = { pushed = 0, refused = 0 }, output.progress()
  local jobs, numbers, number = {}, {}, 0
  for line in file:lines() do
    number = number + 1
    local ok, job = pcall(job_of_line, args, line, number)
    if ok and line:find("%S") then
      jobs[#jobs + 1] = job
      numbers[#numbers + 1] = number
    elseif line:find("%S") then
      totals.refused = totals.refused + 1
      io.stderr:write(("moonq: %s\n"):format(type(job) == "table" and job.message or tostring(job)))
    end
    if #jobs == BATCH then
      push_batch(queue, jobs, numbers, totals, args)
      progress.say("%s pushed", output.count(totals.pushed))
      jobs, numbers = {}, {}
    end
  end
  push_batch(queue, jobs, numbers, totals, args)
  progress.finish()
  if args.json then
    output.json(totals)
  elseif not args.ids then
    print(("pushed %s%s"):format(output.count(totals.pushed),
      totals.refused > 0 and (", refused %s"):format(output.count(totals.refused)) or ""))
  end
  return totals.refused > 0 and 1 or 0
end

-- ---- waiting for the end --------------------------------------------------------------------------------

local DID_NOT_SUCCEED = 6

local function show_end(args, answer)
  if args.json then
    output.json(output.job_for_json(answer))
  elseif answer.state == "succeeded" then
    print(type(answer.result) == "table" and json.encode(answer.result) or tostring(answer.result or "succeeded"))
  else
    print(answer.state .. (answer.error and ": " .. output.clean(answer.error) or ""))
  end
  return answer.state == "succeeded" and 0 or DID_NOT_SUCCEED
end

local NOBODY = "0000000000001" -- no clock ever makes this id

-- The server judges the time to wait while there is no job yet: who reads that it is wrong must not have pushed one.
local function check_wait(args, queue)
  local _, err = pcall(queue.wait, queue, NOBODY, args.wait)
  if err.code ~= "NOTFOUND" then
    error(err, 0)
  end
end

local function push(args)
  if not args.type and not args.lines then
    usage("which type? moonq push email.send '{\"to\": \"ana@example.org\"}'")
  end
  local payload = not args.lines and read_payload(args)
  local queue = args.connect()
  if args.lines then
    return push_lines(args, queue)
  end
  if args.wait then
    check_wait(args, queue)
  end
  local opts = options_of(args)
  opts.payload = payload
  opts.reply = "map"
  local answer = queue:push(args.type, nil, opts)
  local id = answer.id
  if args.wait then
    return show_end(args, queue:wait(id, args.wait))
  end
  if args.json then
    output.json({ id = id, outcome = answer.outcome, state = answer.state, holder = answer.holder })
  else
    if answer.outcome ~= "added" then
      io.stderr:write(("moonq: %s: its unique key is held by %s\n"):format(answer.outcome, answer.holder))
    end
    print(id)
  end
end

local function push_options(command)
  command:argument("type", "The job's type: the name of its handler."):args("?")
  command:argument("payload", "JSON; '-' reads it from stdin. {} by default."):args("?")
  command:option("-q --queue", "Another queue than its handler names."):argname("QUEUE")
  command:option("--priority", "0 (first) to 9 (last)."):argname("N")
  command:option("--delay", "Not before so long from now: 250ms, 5s, 10m, 2h, 3d."):argname("DURATION")
  command:option("--at", "Not before: unix milliseconds or ISO 8601."):argname("TIME")
  command:option("--attempts", "How often it may be tried."):argname("N")
  command:option("--timeout", "One attempt may take so long."):argname("DURATION")
  command:option("--lease", "A sign of life is due so often."):argname("DURATION")
  command:option("--expires", "It must have started within so long."):argname("DURATION")
  command:option("--tag", "May be given several times."):count("*"):argname("TAG")
  command:option("--meta", "A JSON object; correlation_id in it shows up in the log."):argname("JSON")
  command:option("--keep", "How long the finished record stays."):argname("DURATION")
  command:option("--unique", "At most one job of its type holds this key; see docs/uniqueness.md."):argname("KEY")
  command:option("--unique-by", "Or: the key is made of these arguments."):argname("NAMES")
  command:option("--unique-for", "The key is free after so long at the latest."):argname("DURATION")
  command:option("--unique-in", "The states in which it holds the key, or all."):argname("STATES")
  command:option("--conflict", "If the key is held: skip, replace, reschedule or error."):argname("CHOICE")
  command:flag("--raw", "The payload is any bytes, not checked to be JSON.")
  command:option("--lines", "One job a line, from a file or '-': payloads of TYPE; without TYPE, objects with type, "
    .. "args and options."):argname("FILE")
  command:flag("--ids", "With --lines: print the ids.")
  command:option("--wait", "Wait so long for its end and print the result."):argname("DURATION")
end

-- ---- any command ----------------------------------------------------------------------------------------------------

local function call(args)
  local value = args.connect():call(args.word, unpack(args.words))
  if args.json or type(value) == "table" then
    output.json(value == nil and json.null or value)
  else
    print(value == nil and "(null)" or tostring(value))
  end
end

local rows = {
  { name = "push", summary = "Push a job, or many from a file.", options = push_options, run = push },
  {
    name = "call", summary = "Send any command of the protocol.",
    description = "docs/protocol.md lists them. Options go before the command: moonq call --json JOBS STATE dead.",
    options = function(command)
      command:argument("word", "The command."):argname("COMMAND")
      command:argument("words", "Its arguments."):args("*"):argname("ARGUMENT")
    end,
    run = call,
  },
}

return { rows = rows }
