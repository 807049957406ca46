--- moonq jobs, job, queues, workers, stats, why.

local filters = require "moonq.cli.filter"
local output = require "moonq.cli.output"

local function folder_argument(command)
  command:argument("folder", "The application's folder."):args("?"):argname("DIR")
end

local function attempts(job)
  return ("%d/%d"):format(job.attempt, job.max_attempts)
end

-- ---- jobs ---------------------------------------------------------------------------------------------------------

local job_columns = {
  { "ID", "id" },
  { "TYPE", "type" },
  { "QUEUE", "queue" },
  { "STATE", function(job)
    return job.state .. (job.cancelling and " (cancelling)" or job.parked and " (no handler)"
      or job.held and " (type paused)" or "")
  end },
  { "SINCE", function(job)
    return output.age(job.since)
  end },
  { "DUE", function(job)
    return (job.state == "scheduled" or job.state == "retrying") and output.age(job.run_at) or "-"
  end, optional = true },
  { "TRIES", attempts },
  { "PAYLOAD", "payload" },
}

local function jobs(args)
  local filter = filters.of(args)
  filter.limit, filter.order, filter.cursor = args.limit, args.oldest and "oldest" or nil, args.cursor
  local page = args.connect():jobs(filter)
  if args.json then
    page.jobs = output.jobs_for_json(page.jobs)
    output.json(page)
    return
  end
  output.table(job_columns, page.jobs, page.cursor and "None so far." or "No such jobs.")
  if page.cursor then
    print(("\n%s: --cursor %s"):format(page.partial and "Looked at many, more are left" or "More", page.cursor))
  end
end

-- ---- one job --------------------------------------------------------------------------------------------------------

local attempt_columns = {
  { "ATTEMPT", "number", right = true },
  { "OUTCOME", "outcome" },
  { "BEGAN", function(attempt)
    return output.time(attempt.began)
  end },
  { "TOOK", function(attempt)
    return attempt.ended and attempt.began and output.duration(attempt.ended - attempt.began)
  end },
  { "WORKER", "worker" },
  { "SCRIPTS", "scripts", optional = true },
  { "ERROR", function(attempt)
    return attempt.code and attempt.code .. (attempt.message and " " .. attempt.message or "") or attempt.message
  end, optional = true },
}

local function moment(at)
  return at and ("%s (%s)"):format(output.time(at), output.age(at))
end

-- How late what had a time began.
local function lateness(job)
  if not job.due_at or job.state == "ready" then
    return job.due_at and moment(job.due_at)
  end
  return ("%s; begun %s later"):format(output.time(job.due_at), output.duration(job.late))
end

local function uniqueness(job)
  local says = { holds = "held", waits = "waits for it", free = "not held", spent = "held no more" }
  return job.unique_key and ("%s (%s%s)"):format(job.unique_key, says[job.unique],
    job.unique_until and ", until " .. output.time(job.unique_until) or "")
end

local function show_job(job)
  local waiting = job.state == "scheduled" or job.state == "retrying"
  output.facts({
    { "id", job.id }, { "type", job.type }, { "queue", job.queue },
    { "state", job.state .. (job.cancelling and ", asked to stop" or "") .. (job.parked and ", has no handler" or "")
      .. (job.held and ", its type is paused" or "") },
    { "since", moment(job.since) }, { "pushed", moment(job.pushed_at) },
    { "due", waiting and moment(job.run_at) or lateness(job) }, { "unique", uniqueness(job) },
    { "attempts", attempts(job) .. ((job.crashes or 0) > 0 and (", %d crashes"):format(job.crashes) or "") },
    { "priority", job.priority }, { "timeout", output.duration(job.timeout) }, { "lease", output.duration(job.lease) },
    { "expires", moment(job.expires_at) }, { "keep", output.duration(job.keep) },
    { "holder", job.holder and ("%s, until %s"):format(job.holder, output.time(job.deadline)) },
    { "progress", job.progress and ("%d%%%s"):format(job.progress * 100, job.note and " " .. job.note or "") },
    { "tags", job.tags and #job.tags > 0 and table.concat(job.tags, ", ") or nil }, { "meta", job.meta },
    { "payload", job.payload }, { "result", job.result },
  })
  if #(job.attempts or {}) > 0 then
    print()
    output.table(attempt_columns, job.attempts)
    local traceback = job.attempts[#job.attempts].traceback
    if traceback and traceback ~= "" then
      print("\n" .. traceback:gsub("[%z\1-\8\11-\31\127]", "?"))
    end
  end
  if #(job.log or {}) > 0 then
    print()
    for _, line in ipairs(job.log) do
      print(output.time(line.at) .. "  " .. output.clean(line.text))
    end
  end
end

local function not_found(id)
  error({ code = "NOTFOUND", message = ("no job '%s'"):format(id) }, 0)
end

local function job(args)
  local found = args.connect():job(args.id) or not_found(args.id)
  if args.json then
    output.json(output.job_for_json(found))
  else
    show_job(found)
  end
end

local function why(args)
  local answer = args.connect():why(args.id) or not_found(args.id)
  if args.json then
    output.json(answer)
    return
  end
  print(output.clean(answer.answer or answer.state))
  if #(answer.gates or {}) > 0 then
    print()
    output.table({
      { "GATE", "gate" },
      { "IS", function(gate)
        return gate.open and "open" or "closed"
      end },
      { "", "text" },
    }, answer.gates)
  end
end

-- ---- queues, workers, figures --------------------------------------------------------------------------------------

local function number(name)
  return function(row)
    return output.count(row[name])
  end
end

local queue_columns = {
  { "QUEUE", "name" },
  { "READY", number("ready"), right = true },
  { "RUNNING", number("running"), right = true },
  { "SCHEDULED", number("scheduled"), right = true },
  { "RETRYING", number("retrying"), right = true },
  { "DEAD", number("dead"), right = true },
  { "SUCCEEDED", number("succeeded_total"), right = true },
  { "FAILED", number("failed_total"), right = true },
  { "HELD", function(queue)
    return (queue.held or 0) > 0 and output.count(queue.held) or nil
  end, right = true, optional = true },
  { "OLDEST", function(queue)
    return queue.oldest_ready_age and output.duration(queue.oldest_ready_age)
  end, optional = true },
  { "LIMIT", number("limit"), right = true, optional = true },
  { "", function(queue)
    local words = queue.paused and output.pause_words(queue.paused_by, queue.paused_until, queue.reason) or nil
    return queue.draining and (words and words .. ", draining" or "draining") or words or ""
  end, optional = true },
}

-- A type's pause holds jobs of every queue.
local function show_paused_types(server)
  local lines = {}
  for _, pause in ipairs(server:pauses()) do
    if pause.what == "type" then
      lines[#lines + 1] = output.clean(("type %s is %s"):format(pause.name,
        output.pause_words(pause.by, pause["until"], pause.reason)))
    end
  end
  if #lines > 0 then
    print("\n" .. table.concat(lines, "\n"))
  end
end

local function queues(args)
  local server = args.connect()
  local list = server:queues()
  if args.json then
    output.json(list)
  else
    output.table(queue_columns, list, "No queues yet: the first push makes one.")
    show_paused_types(server)
  end
end

local worker_columns = {
  { "WORKER", "name" }, { "POOL", "pool" }, { "PID", "pid", right = true }, { "STATE", "state" },
  { "BUSY", function(worker)
    return ("%d/%d"):format(worker.running + (worker.given or 0), worker.slots)
  end, right = true },
  { "DONE", number("done"), right = true }, { "FAILED", number("failed"), right = true },
  { "STARTED", function(worker)
    return output.age(worker.started_at)
  end },
  { "SILENT", function(worker)
    return output.duration(worker.silent)
  end },
  { "MEMORY", function(worker)
    return output.bytes(worker.memory)
  end, right = true },
  { "SCRIPTS", "scripts", optional = true },
  { "ON CPU", "on_cpu", optional = true },
}

local function workers(args)
  local list = args.connect():workers()
  if args.json then
    output.json(list)
  else
    output.table(worker_columns, list, "No workers.")
  end
end

local function figure(name, value)
  if type(value) ~= "number" then
    return value
  elseif name:find("bytes$") then
    return output.bytes(value)
  elseif name:find("_ms$") or name == "uptime" then
    return output.duration(value)
  end
  return ("%.14g"):format(value)
end

local function stats(args)
  local found = args.connect():stats()
  if args.json then
    output.json(found)
    return
  end
  local names, facts = {}, {}
  for name in pairs(found) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    facts[i] = { name, figure(name, found[name]) }
  end
  output.facts(facts)
end

local check_columns = {
  { "INDEX", "index" }, { "COUNTED", "counted", right = true }, { "THERE", "there", right = true },
  { "AGREES", function(check)
    return check.agrees and "yes" or "NO"
  end },
}

local function doctor(args)
  local checks, wrong = args.connect():doctor(), 0
  for _, check in ipairs(checks) do
    wrong = wrong + (check.agrees and 0 or 1)
  end
  if args.json then
    output.json(checks)
  else
    output.table(check_columns, checks, "No indexes.")
    if wrong > 0 then
      print("Counters and indexes disagree: stop the server and run moonq fsck.")
    end
  end
  return wrong > 0 and 1 or 0
end

local function id_argument(command)
  command:argument("id", "The job's id."):argname("ID")
end

local rows = {
  {
    name = "jobs", summary = "List jobs, newest first.",
    options = function(command)
      filters.options(command)
      command:option("-n --limit", "At most so many."):argname("N"):default("50")
      command:flag("--oldest", "Oldest first.")
      command:option("--cursor", "The next page, as the page before names it."):argname("CURSOR")
    end,
    run = jobs,
  },
  { name = "job", summary = "Show one job: its attempts, errors and log.", options = id_argument, run = job },
  { name = "why", summary = "Why does this job not run?", options = id_argument, run = why },
  { name = "queues", summary = "List queues and what is in them.", options = folder_argument, run = queues },
  { name = "workers", summary = "List worker processes.", options = folder_argument, run = workers },
  { name = "doctor", summary = "Do the store's counters and indexes agree?", options = folder_argument, run = doctor },
  { name = "stats", summary = "The server's figures.", options = folder_argument, run = stats },
}

return { rows = rows, job = job }
