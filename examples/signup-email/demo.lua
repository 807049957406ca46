-- The whole story, asserted: 200 sign-ups, a mail server that is down at first, broken addresses, one corrected.
--
--   make demo          (or: luajit demo.lua, with MOONQ_BINARY and the Lua client on LUA_PATH and LUA_CPATH)
--
-- Nothing here sleeps: each step waits for the server's events. Exit status 0 if every count is as expected.

local json = require "moonq.client.json"
local posix = require "moonq_posix"
local testing = require "moonq.testing"

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local python = os.getenv("PYTHON") or "/usr/bin/python3" -- Debian's, which has aiosmtpd and redis
local patience = 60

-- What is wrong in the CSV, and how a mail server says so.
local broken = {
  ["eleni06@exmaple.org"] = "550 5.7.1", -- a typing error in the domain: will be corrected
  ["nino01"] = "550 5.1.3",
  ["jiri.stastna@@example.net"] = "553 5.1.3",
  ["nobody.lukasz.dabrowska@example.com"] = "550 5.1.1",
  ["lukasz.wisniewski@example"] = "550 5.1.2",
  ["sule.sahin.@example.org"] = "550 5.1.3",
  ["full.francois.noel@example.org"] = "552 5.2.2",
  ["closed.katerina.cerny@example.com"] = "550 5.2.1",
}
local mistaken, corrected = "eleni06@exmaple.org", "eleni06@example.org"

-- ---- what is said ------------------------------------------------------------------------------------------------

local began = posix.monotonic()
local terminal = posix.is_terminal(1)

local function say(format, ...)
  if terminal then
    io.write("\r\27[K")
  end
  print(("%5.1fs  "):format(posix.monotonic() - began) .. format:format(...))
  io.flush()
end

-- The line that changes; without a terminal a line for every fiftieth change.
local changes = 0
local function progress(counts)
  changes = changes + 1
  local text = ("%5.1fs  waiting %3d   will be tried again %3d   sent %3d   dead letters %d"):format(
    posix.monotonic() - began, counts.waiting, counts.retrying, counts.sent, counts.dead)
  if terminal then
    io.write("\r\27[K", text)
    io.flush()
  elseif changes % 50 == 0 then
    print(text)
    io.flush()
  end
end

local checks = {}
local function check(what, expected, found, detail)
  checks[#checks + 1] = { what = what, expected = expected, found = found, ok = expected == found, detail = detail }
end

-- ---- programs ------------------------------------------------------------------------------------------------------

local function must_run(argv)
  local status, out, err = testing.run(argv, { timeout = patience })
  if status ~= 0 then
    error(("%s ended with %s:\n%s%s"):format(table.concat(argv, " "), tostring(status), out, err), 0)
  end
  return out, err
end

-- A copy of the application, so that neither the port nor the jobs of a demo stay in the checkout.
local function prepare(folder)
  local app = folder .. "/app"
  assert(posix.mkdir(app))
  for _, name in ipairs({ "moonq.lua", "handlers", "lib", "retries" }) do
    must_run({ "cp", "-r", here .. "/" .. name, app })
  end
  local port = must_run({ python, here .. "/server.py", "--free-port" }):match("%d+")
  testing.write_file(app .. "/lib/settings.lua", ([[
return { host = "127.0.0.1", port = %s, from = "Moon Shop <welcome@shop.example>" }
]]):format(port))
  return app, port
end

-- ---- following the jobs --------------------------------------------------------------------------------------------

-- What each event means for the job it is about.
local state_after = {
  ["job.pushed"] = "waiting", ["job.failed"] = "retrying", ["job.succeeded"] = "sent", ["job.dead"] = "dead",
  ["job.retried"] = "waiting",
}

local function new_watch(server)
  return {
    stream = server.stream, state = {}, failures = {},
    counts = { waiting = 0, retrying = 0, sent = 0, dead = 0 },
    failed_once = 0, failed_twice = 0,
  }
end

local function note(watch, event)
  local state = state_after[event.event]
  if not state or not event.id then
    return
  end
  local before = watch.state[event.id]
  if before then
    watch.counts[before] = watch.counts[before] - 1
  end
  watch.state[event.id] = state
  watch.counts[state] = watch.counts[state] + 1
  if event.event == "job.failed" then
    local failures = (watch.failures[event.id] or 0) + 1
    watch.failures[event.id] = failures
    watch.failed_once = watch.failed_once + (failures == 1 and 1 or 0)
    watch.failed_twice = watch.failed_twice + (failures == 2 and 1 or 0)
  end
  progress(watch.counts)
end

local function follow(watch, what, is_reached)
  local deadline = posix.monotonic() + patience
  while not is_reached(watch) do
    local event = watch.stream:next(math.max(0, deadline - posix.monotonic()))
    if not event then
      error(("gave up waiting until %s: waiting %d, retrying %d, sent %d, dead %d"):format(what, watch.counts.waiting,
        watch.counts.retrying, watch.counts.sent, watch.counts.dead), 0)
    end
    note(watch, event)
  end
end

-- ---- the checks ----------------------------------------------------------------------------------------------------

-- The policy's least delay before each next attempt; what is added at random only makes it longer.
local function too_early(job)
  local early = 0
  for i = 2, #job.attempts do
    local least = math.min(500 * 2 ^ (i - 2), 4000)
    if job.attempts[i].began - job.attempts[i - 1].ended < least then
      early = early + 1
    end
  end
  return early
end

local function check_history(queue, ids)
  local refused, retries, early = 0, 0, 0
  for _, id in ipairs(ids) do
    local job = queue:job(id)
    local first = job.attempts[1]
    if first and first.outcome ~= "ack" and (first.message or ""):lower():find("connect") then
      refused = refused + 1
    end
    retries = retries + #job.attempts - 1
    early = early + too_early(job)
  end
  check("first attempts that found the mail server down", #ids, refused)
  check("retries that came before their backoff was over", 0, early, ("of %d retries"):format(retries))
end

local function read_maildir(maildir)
  return json.decode((must_run({ python, here .. "/maildir.py", maildir, here .. "/signups.csv" })))
end

local function check_mails(found)
  local without = 0
  for _, address in ipairs(found.without) do
    without = without + (broken[address] and 1 or 0)
  end
  check("addresses of the CSV with exactly one mail", 192, #found.once - #found.strangers)
  check("... with more than one", 0, #found.more_than_once, table.concat(found.more_than_once, " "))
  check("... with none: the broken ones, and no other", 8, #found.without == without and without or -1,
    table.concat(found.without, " "))
  check("mails whose recipient, name or text is wrong", 0, #found.problems, table.concat(found.problems, "; "))
end

local function check_dead(queue)
  local with_reason, mistaken_id, count = 0, nil, 0
  for row in queue:each_job({ state = "dead" }) do
    local job = queue:job(row.id)
    local address = json.decode(job.payload).email
    local last = job.attempts[#job.attempts]
    count = count + 1
    if broken[address] and (last.message or ""):find(broken[address]:match("^%d+"), 1, true)
      and last.message:find(broken[address]:match("%S+$"), 1, true) then
      with_reason = with_reason + 1
    end
    if address == mistaken then
      mistaken_id = row.id
    end
  end
  check("dead letters", 8, count)
  check("dead letters with the mail server's own reason", 8, with_reason)
  return mistaken_id
end

local function summary()
  local failed = 0
  print(("\n%-52s %9s %7s"):format("asserted", "expected", "found"))
  for _, row in ipairs(checks) do
    failed = failed + (row.ok and 0 or 1)
    print(("%-52s %9s %7s   %s"):format(row.what, row.expected, row.found,
      row.ok and "ok" or "WRONG" .. (row.detail and row.detail ~= "" and ": " .. row.detail or "")))
  end
  print(("\n%d of %d counts are as expected, after %.1f seconds"):format(#checks - failed, #checks,
    posix.monotonic() - began))
  return failed
end

-- ---- the story -----------------------------------------------------------------------------------------------------

local started = {}

local function story()
  local folder = testing.folder()
  started[#started + 1] = function()
    testing.remove(folder)
  end
  local app, port = prepare(folder)
  local maildir = folder .. "/maildir"
  local server = testing.start({ app = app })
  started[#started + 1] = function()
    server:stop()
  end
  local queue, watch = server.client, new_watch(server)
  local function moonq(...)
    return (must_run({ server.binary, ... }))
  end
  say("moonq runs (pid %d); the mail server does not", server.pid)

  local ids = {}
  for id in must_run({ python, here .. "/import.py", server.socket, here .. "/signups.csv" }):gmatch("%S+") do
    ids[#ids + 1] = id
  end
  say("import.py pushed %d jobs from signups.csv", #ids)
  check("jobs pushed from 200 sign-ups", 200, #ids)

  follow(watch, "every first attempt has failed", function(w)
    return w.failed_once == #ids and w.failed_twice >= 50
  end)
  local example = queue:job(ids[1])
  say("every job has failed at least once: %s", example.attempts[1].message)
  print("\n" .. moonq("queues", "--socket", server.socket))

  local mail = testing.program({ python, here .. "/server.py", "--port", port, "--maildir", maildir })
  started[#started + 1] = function()
    mail:stop()
  end
  mail:expect("listening")
  say("the mail server is up (pid %d, port %s)", mail.pid, port)
  follow(watch, "every job is sent or dead", function(w)
    return w.counts.sent + w.counts.dead == #ids
  end)
  say("all jobs are done: %d sent, %d dead letters\n", watch.counts.sent, watch.counts.dead)
  check_mails(read_maildir(maildir))
  check_history(queue, ids)
  local mistaken_id = check_dead(queue)
  print("$ moonq dead\n" .. moonq("dead", "--socket", server.socket))

  local args = json.decode(queue:job(mistaken_id).payload)
  args.email = corrected
  local payload = json.encode(args)
  print(("$ moonq dead retry %s --payload '%s'"):format(mistaken_id, payload))
  print(moonq("dead", "retry", mistaken_id, "--payload", payload, "--socket", server.socket))
  follow(watch, "the corrected one is sent", function(w)
    return w.state[mistaken_id] == "sent"
  end)
  say("the corrected one is sent")
  local after = read_maildir(maildir)
  local arrived = 0
  for _, address in ipairs(after.once) do
    arrived = arrived + (address == corrected and 1 or 0)
  end
  check("mails to the corrected address", 1, arrived)
  check("mails in all, each with its own Message-ID", 193, after.mails == after.message_ids and after.mails or -1)
  check("dead letters that are left", 7, #queue:jobs({ state = "dead" }).jobs)
  return summary()
end

local ok, failed = xpcall(story, function(err)
  return type(err) == "string" and err or tostring(err)
end)
for i = #started, 1, -1 do
  pcall(started[i])
end
if not ok then
  io.stderr:write("\ndemo: ", failed, "\n")
end
os.exit(ok and failed == 0 and 0 or 1)
