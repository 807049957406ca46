--- The Lua client: producers, consumers in Lua, the command line and the specs speak to the server through it.
---
---     local client = require "moonq.client"
---     local queue = client.connect("shop/moonq.sock")
---     local id = queue:push("email.send", { to = "ana@example.org" }, { delay = "10m" })
---     print(queue:wait(id).state)
---
--- What acts raises if it did not do what its name says; what looks (`job`, `queue`) returns nil for nothing. An error
--- is { code =, message = } with __tostring. Codes are the server's (docs/protocol.md) and three of our own:
--- NOSERVER (nobody listens there), CLOSED (the connection broke: whether the command was done is unknown) and
--- TIMEOUT (no reply in time). After CLOSED and TIMEOUT the next call connects anew; nothing is sent twice by itself.
---
--- Durations are numbers of seconds or texts like "250ms", "10m"; times are unix milliseconds or ISO 8601.

local redis = require "moonq_redis"
local json = require "moonq.client.json"
local shapes = require "moonq.client.shapes"

---@class moonq.client.Error
---@field code string       BADARG, NOTFOUND, ..., NOSERVER, CLOSED, TIMEOUT
---@field message string
---@field ids? table        push_many: ids of what was pushed all the same, by position
---@field errors? table     push_many: errors by position
local Error = {}
Error.__index = Error
Error.__tostring = function(err)
  return err.code .. " " .. err.message
end

local function new_error(code, message)
  return setmetatable({ code = code, message = message }, Error)
end

--- "BADARG no such option" as an error; other servers' words become the code too.
local function error_of_reply(text)
  local code, message = text:match("^(%u+) (.*)$")
  return new_error(code or "INTERNAL", message or text)
end

---@class moonq.PushOptions
---@field queue? string
---@field priority? integer          0 first to 9 last
---@field delay? number|string       from now
---@field at? integer|string         not before this moment
---@field attempts? integer
---@field timeout? number|string     of one attempt
---@field lease? number|string
---@field expires? number|string     it must have started by then
---@field tags? string[]|string
---@field meta? table|string         free JSON object; carries the correlation id
---@field keep? number|string        how long the finished record stays
---@field unique? string             at most one job of its type holds this key (docs/uniqueness.md)
---@field unique_by? string[]|string the key is made of these arguments
---@field unique_for? number|string  the key is free after this time at the latest
---@field unique_in? string[]|string the states in which it holds the key, or "all"
---@field conflict? string           "skip", "replace", "reschedule" or "error"
---@field reply? string              "map": push answers { id =, outcome =, state =, holder = }
---@field payload? string            these bytes as they are, instead of args as JSON

---@class moonq.Filter
---@field state? string|string[]
---@field queue? string
---@field type? string
---@field tag? string
---@field older? number|string
---@field holder? string              of running jobs: a worker's name, or a client's
---@field newer? number|string

---@class moonq.Client
---@field path string
local Client = {}
Client.__index = Client

---@class moonq.Events
local Events = {}
Events.__index = Events

-- ---- words of a command ------------------------------------------------------------------------------------

local function duration(value)
  if type(value) == "number" then
    return ("%.0fms"):format(value * 1000)
  end
  return value
end

local function joined(value)
  return type(value) == "table" and table.concat(value, ",") or value
end

local function json_object(value)
  return type(value) == "table" and json.encode(value) or value
end

local function as_is(value)
  return value
end

-- In the order in which they are sent.
local push_options = {
  { "queue", as_is }, { "priority", as_is }, { "delay", duration }, { "at", as_is }, { "attempts", as_is },
  { "timeout", duration }, { "lease", duration }, { "expires", duration }, { "tags", joined }, { "meta", json_object },
  { "keep", duration }, { "unique", as_is }, { "unique_by", joined }, { "unique_for", duration },
  { "unique_in", joined }, { "conflict", as_is }, { "reply", as_is },
}
local filter_options = {
  { "state", joined }, { "queue", as_is }, { "type", as_is }, { "tag", as_is }, { "holder", as_is },
  { "older", duration }, { "newer", duration },
}
local pause_options = { { "reason", as_is }, { "by", as_is }, { "for", duration }, { "until", as_is } }
local cron_options = {
  { "tz", as_is }, { "start", as_is }, { "end", as_is }, { "max", as_is }, { "jitter", duration },
  { "catch_up", as_is }, { "within", duration }, { "most", as_is }, { "overlap", as_is }, { "ledger", as_is },
  { "days", as_is }, { "dst_gap", as_is }, { "dst_overlap", as_is }, { "paused", tostring },
  { "queue", as_is }, { "priority", as_is }, { "attempts", as_is }, { "timeout", duration }, { "lease", duration },
  { "expires", duration }, { "keep", duration }, { "unique", as_is }, { "unique_by", joined },
  { "unique_for", duration }, { "unique_in", joined }, { "conflict", as_is }, { "tags", joined },
  { "meta", json_object },
}
local release_options = { { "reason", as_is }, { "by", as_is } }
local page_options = { { "limit", as_is }, { "order", as_is }, { "cursor", as_is } }

--- Adds "NAME value" for each option given; an option that nobody knows is the caller's mistake.
local function add_options(words, opts, ...)
  local known = {}
  for _, rows in ipairs({ ... }) do
    for _, row in ipairs(rows) do
      local name, convert = row[1], row[2]
      known[name] = true
      if opts[name] ~= nil then
        words[#words + 1] = name:upper()
        words[#words + 1] = convert(opts[name])
      end
    end
  end
  for name in pairs(opts) do
    if not known[name] and name ~= "payload" then
      error(new_error("BADARG", ("unknown option '%s'"):format(tostring(name))), 0)
    end
  end
  return words
end

--- The words of a step for all that a filter finds: RETRY WHERE STATE dead.
local function filter_words(step, filter)
  return add_options({ step, "WHERE" }, filter, filter_options)
end

local function payload_of(args, opts)
  if opts and opts.payload then
    return opts.payload
  end
  if args == nil then
    return "{}"
  end
  local ok, text = pcall(json.encode, args)
  if not ok then
    error(new_error("BADARG", "args cannot be written as JSON: " .. tostring(text)), 0)
  end
  return text
end

local function push_words(job_type, args, opts)
  local words = add_options({ "PUSH", job_type, payload_of(args, opts) }, opts or {}, push_options)
  for i = 2, #words do
    local kind = type(words[i])
    if kind ~= "string" and kind ~= "number" then
      local what = i == 2 and "a job's type" or i == 3 and "a payload" or tostring(words[i - 1])
      error(new_error("BADARG", ("%s is a text or a number, not a %s"):format(what, kind)), 0)
    end
  end
  return words
end

local function one_or_more(value)
  return type(value) == "table" and value or { value }
end

-- A payload or result that is not JSON has no value of its own.
local function decoded(text)
  if text ~= nil then
    return (json.decode(text))
  end
end

-- ---- the connection ------------------------------------------------------------------------------------------

--- Connects to a server.
---
--- Raises: NOSERVER.
---@param where? string            the socket, or an application's folder; MOONQ_SOCKET or ./moonq.sock by default
---@param opts? { timeout?: number, connect_timeout?: number, name?: string }
---   timeout: seconds to wait for a reply, 30; name: what JOB and WORKERS show as the holder
---@return moonq.Client
local function connect(where, opts)
  local path = where or os.getenv("MOONQ_SOCKET") or "moonq.sock"
  opts = opts or {}
  local self = setmetatable({
    path = path, timeout = opts.timeout or 30, connect_timeout = opts.connect_timeout or 5, name = opts.name,
  }, Client)
  self:open()
  return self
end

--- Connects if there is no connection. Called by everything else.
function Client:open()
  if self.connection then
    return self.connection
  end
  local connection, code, message = redis.connect(self.path, self.connect_timeout)
  if not connection and (message:find("Not a directory") or message:find("refused") or message:find("No such"))
    and not self.path:find("%.sock$") then
    local inside = redis.connect(self.path .. "/moonq.sock", self.connect_timeout) -- an application's folder
    if inside then
      self.path = self.path .. "/moonq.sock"
      connection = inside
    end
  end
  if not connection then
    error(new_error(code, message), 0)
  end
  self.connection = connection
  if self.name then
    self:call("CLIENT", "SETNAME", self.name)
  end
  return connection
end

function Client:close()
  if self.connection then
    self.connection:close()
    self.connection = nil
  end
end

--- Sends one command without waiting.
function Client:send(words)
  local connection = self:open()
  local ok, why = pcall(connection.append, connection, words)
  if not ok then
    self:close() -- what was appended before belongs to a whole that will not be sent
    error(new_error("BADARG", ("%s: %s"):format(tostring(words[1]), tostring(why))), 0)
  end
end

--- The next reply, in the order of the commands: true, value or false, error.
---
--- Raises: CLOSED, TIMEOUT, INTERRUPTED. After each the connection is given up: its replies would be out of step.
function Client:receive(timeout, doing)
  local connection = self:open()
  local ok, value, why = connection:get(timeout or self.timeout)
  if ok == nil then
    self:close()
    if value == "CLOSED" then
      why = ("%s; whether '%s' was done is unknown"):format(why, doing or "the command")
    end
    error(new_error(value, why), 0)
  end
  if ok then
    return true, value
  end
  return false, error_of_reply(value)
end

local function request(self, words, timeout)
  self:send(words)
  local ok, value = self:receive(timeout, words[1])
  if not ok then
    error(value, 0)
  end
  return value
end

local function shaped(words, value)
  local shape = shapes.of(words)
  return shape and shape(value) or value
end

--- Any command. The reply is shaped as the methods below would: maps as tables, nulls left out.
---
--- Raises: whatever the server says.
---@param ... string|number
---@return any
function Client:call(...)
  local words = { ... }
  return shaped(words, request(self, words))
end

--- Any command, the reply as it came: flat lists, redis.null.
function Client:call_raw(...)
  return request(self, { ... })
end

--- Many commands at once, one reply each: values, and errors as { err = error }. Raises only what breaks the
--- connection.
---@param commands table[]   lists of words
---@return table replies
function Client:pipeline(commands)
  for _, words in ipairs(commands) do
    self:send(words)
  end
  local replies = {}
  for i, words in ipairs(commands) do
    local ok, value = self:receive(nil, words[1])
    if ok then
      replies[i] = shaped(words, value)
    else
      replies[i] = { err = value }
    end
  end
  return replies
end

-- ---- producers -------------------------------------------------------------------------------------------------

--- Pushes a job. When it returns, the job is on disk.
---
--- Raises: BADARG, TOOBIG, FULL, BUSY, NOSPACE, CONFLICT.
---@param job_type string            name of a handler, "email.send"
---@param args? any                  anything JSON can hold; {} by default
---@param opts? moonq.PushOptions
---@return string|table id           13 characters, ordered by time; with the option reply = "map", what happened
function Client:push(job_type, args, opts)
  local words = push_words(job_type, args, opts)
  return shaped(words, request(self, words))
end

--- Pushes many jobs in one pipeline. Each stands alone; for all or none see `multi`.
---
--- Raises: the first refusal, after all were tried; the error's `ids` and `errors` tell which, by position.
---@param jobs table[]               { type, args, options }
---@return string[] ids
function Client:push_many(jobs)
  local commands, positions, ids, errors = {}, {}, {}, {}
  for i, job in ipairs(jobs) do
    local ok, words = pcall(push_words, job[1], job[2], job[3])
    if ok then
      commands[#commands + 1], positions[#commands + 1] = words, i
    else
      ids[i], errors[i] = false, words
    end
  end
  for n, reply in ipairs(self:pipeline(commands)) do
    local i = positions[n]
    if type(reply) == "table" and reply.err then
      ids[i], errors[i] = false, reply.err
    else
      ids[i] = reply
    end
  end
  local first
  for i = #jobs, 1, -1 do
    first = errors[i] and i or first
  end
  if first then
    local err = new_error(errors[first].code, ("job %d: %s"):format(first, errors[first].message))
    err.ids, err.errors = ids, errors
    error(err, 0)
  end
  return ids
end

---@class moonq.Transaction
local Transaction = {}
Transaction.__index = Transaction

function Transaction:call(...)
  self.commands[#self.commands + 1] = { ... }
end

function Transaction:push(job_type, args, opts)
  self.commands[#self.commands + 1] = push_words(job_type, args, opts)
end

function Transaction:ack(job, result)
  self:call("ACK", job.id, job.token, result ~= nil and json.encode(result) or nil)
end

for _, name in ipairs({ "cancel", "retry", "delete", "promote", "pause", "resume" }) do
  Transaction[name] = function(self, target)
    self:call(name:upper(), target)
  end
end

--- Several changes as one: all are on disk together, or none happened.
---
--- Raises: the refusal of the first change that could not be made; BADARG for one that may not stand here.
---@param fn fun(tx: moonq.Transaction)   records: tx:push, tx:ack, tx:cancel, tx:retry, tx:delete, tx:call ...
---@return table replies
function Client:multi(fn)
  local tx = setmetatable({ commands = {} }, Transaction)
  fn(tx)
  if #tx.commands == 0 then
    return {}
  end
  self:send({ "MULTI" })
  for _, words in ipairs(tx.commands) do
    self:send(words)
  end
  self:send({ "EXEC" })
  local refused
  for i = 0, #tx.commands do
    local ok, value = self:receive(nil, "MULTI")
    if not ok and not refused then
      refused = i == 0 and value
        or new_error(value.code, ("command %d (%s): %s"):format(i, tostring(tx.commands[i][1]), value.message))
    end
  end
  local ok, replies = self:receive(nil, "EXEC")
  if refused or not ok then
    error(refused or replies, 0)
  end
  for i, words in ipairs(tx.commands) do
    replies[i] = shaped(words, replies[i])
  end
  return replies
end

--- Waits until jobs are finished.
---
--- Raises: TIMEOUT naming those still open, NOTFOUND.
---@param ids string|string[]
---@param timeout? number|string     30s by default
---@return table answer              { id, state, result (decoded), error }; for a list of ids, a list
function Client:wait(ids, timeout)
  local words = { "WAIT", unpack(one_or_more(ids)) }
  local patience = timeout or 30
  words[#words + 1] = "TIMEOUT"
  words[#words + 1] = duration(patience)
  -- The server answers in time by itself; this only notices one that does not answer at all.
  local answers = shaped(words, request(self, words, (tonumber(patience) or 24 * 3600) + self.timeout))
  for _, answer in ipairs(answers) do
    answer.result = decoded(answer.result)
  end
  return type(ids) == "table" and answers or answers[1]
end

-- ---- consumers -------------------------------------------------------------------------------------------------

--- Takes jobs under a lease. Each has id, token, type, queue, payload, args (the payload decoded), attempt,
--- max_attempts, crashes, deadline, meta, tags.
---
--- Raises: BADARG.
---@param queues string|string[]     the first before the second
---@param opts? { count?: integer, block?: number|string, lease?: number|string }
---@return table[] jobs              maybe none
function Client:fetch(queues, opts)
  opts = opts or {}
  local words = { "FETCH", unpack(one_or_more(queues)) }
  add_options(words, opts, { { "count", as_is }, { "block", duration }, { "lease", duration } })
  local block = tonumber(opts.block) or (opts.block and 300) or 0
  local jobs = shaped(words, request(self, words, block + self.timeout))
  for _, job in ipairs(jobs) do
    job.args = decoded(job.payload)
  end
  return jobs
end

--- The job is done. Raises: LOST (drop the work, do not call again), WRONGSTATE, NOTFOUND.
---@param job { id: string, token: integer|string }
---@param result? any                kept as JSON, as long as the record
function Client:ack(job, result)
  local words = { "ACK", job.id, job.token }
  if result ~= nil then
    words[4] = json.encode(result)
  end
  request(self, words)
end

--- The attempt failed. Raises: LOST, WRONGSTATE, NOTFOUND.
---@param job { id: string, token: integer|string }
---@param message string
---@param opts? { delay?: number|string, dead?: boolean }
---@return table answer              { state, attempt, run_at }
function Client:nack(job, message, opts)
  local words = { "NACK", job.id, job.token, message }
  if opts and opts.dead then
    words[#words + 1] = "DEAD"
  elseif opts and opts.delay then
    words[#words + 1] = "DELAY"
    words[#words + 1] = duration(opts.delay)
  end
  return shaped(words, request(self, words))
end

--- Keeps the lease for `lease` from now. Raises: LOST.
---@return table answer              { deadline, cancelling, overdue }
function Client:extend(job, lease)
  local words = { "EXTEND", job.id, job.token, duration(lease) }
  return shaped(words, request(self, words))
end

--- Tells how far it is, 0 to 1. Raises: LOST.
---@return table answer              { cancelling }
function Client:progress(job, fraction, note)
  local words = { "PROGRESS", job.id, job.token, fraction, note }
  return shaped(words, request(self, words))
end

-- ---- looking ---------------------------------------------------------------------------------------------------

local function or_nil(self, words)
  self:send(words)
  local ok, value = self:receive(nil, words[1])
  if not ok then
    if value.code == "NOTFOUND" then
      return nil
    end
    error(value, 0)
  end
  return shaped(words, value)
end

--- Everything about a job, its attempts and log too; nil if there is none.
---@param id string
---@return table|nil
function Client:job(id)
  return or_nil(self, { "JOB", id })
end

--- What stands before a job: { id, state, gates, answer }; nil if there is no such job.
function Client:why(id)
  return or_nil(self, { "WHY", id })
end

--- A page of jobs: { jobs, cursor, partial }.
---
--- Raises: BADARG.
---@param filter? moonq.Filter       and limit, order ("newest" or "oldest"), cursor
function Client:jobs(filter)
  local words = add_options({ "JOBS" }, filter or {}, filter_options, page_options)
  return shaped(words, request(self, words))
end

--- Iterates over all pages: `for job in queue:each_job{ state = "dead" } do`.
---@param filter? moonq.Filter
function Client:each_job(filter)
  local opts, page, at = {}, nil, 0
  for name, value in pairs(filter or {}) do
    opts[name] = value
  end
  return function()
    at = at + 1
    while not page or (not page.jobs[at] and page.cursor) do
      opts.cursor = page and page.cursor
      page, at = self:jobs(opts), 1
    end
    return page.jobs[at]
  end
end

--- All queues, by name.
function Client:queues()
  return self:call("QUEUES")
end

--- One queue; nil if there is none of that name.
function Client:queue(name)
  local found = or_nil(self, { "QUEUES", name })
  return found and found[1]
end

function Client:workers()
  return self:call("WORKERS")
end

function Client:stats()
  return self:call("STATS")
end

--- Whether the store's counters and indexes agree: an index a row.
---@return { index: string, counted: integer, there: integer, agrees: boolean }[]
function Client:doctor()
  return self:call("DOCTOR")
end

--- What happens from now on, on a connection of its own.
---
---     for event in queue:events{ name = "job.*" } do print(event.event, event.id) end
---@param filter? { job?: string, queue?: string, type?: string, name?: string|string[] }
---@return moonq.Events
function Client:events(filter)
  local own = connect(self.path, { timeout = self.timeout })
  local rows = { { "job", as_is }, { "queue", as_is }, { "type", as_is }, { "name", joined } }
  local words = add_options({ "EVENTS" }, filter or {}, rows)
  request(own, words)
  return setmetatable({ client = own }, Events)
end

--- The next event; nil after `timeout` seconds without one (nil: no limit).
---
--- Raises: CLOSED, INTERRUPTED.
---@param timeout? number
---@return table|nil event           { event, at, id, type, queue, worker, attempt, run_at, message, fraction, count }
function Events:next(timeout)
  if not self.client.connection then
    error(new_error("CLOSED", "the event stream is closed"), 0)
  end
  local ok, value, why = self.client.connection:get(timeout)
  if ok then
    return json.decode(value)
  end
  if ok == nil and value == "TIMEOUT" then
    return nil
  end
  if ok == nil then
    if value == "CLOSED" then
      self:close()
    end
    error(new_error(value, why), 0)
  end
  error(error_of_reply(value), 0)
end

Events.__call = function(self)
  return self:next()
end

function Events:close()
  self.client:close()
end

-- ---- control ---------------------------------------------------------------------------------------------------

--- Cancels a job; one that is running is told to stop (`signalled`). Raises: NOTFOUND, WRONGSTATE.
---@return table answer              { id, was, state, signalled }; an event says when it has really ended
function Client:cancel(id, reason)
  if reason then
    return self:call("CANCEL", id, "REASON", reason)
  end
  return self:call("CANCEL", id)
end

--- Brings a dead (or otherwise finished) job back. Raises: NOTFOUND, WRONGSTATE, TOOBIG.
---@param payload? string            its new payload, as it is
function Client:retry(id, payload)
  if payload then
    return self:call("RETRY", id, "PAYLOAD", payload)
  end
  return self:call("RETRY", id)
end

--- A new payload for a job that is not running. Raises: NOTFOUND, WRONGSTATE, TOOBIG.
function Client:edit(id, payload)
  return self:call("EDIT", id, payload)
end

function Client:delete(id)
  return self:call("DELETE", id)
end

--- Now instead of later: scheduled and retrying jobs.
function Client:promote(id)
  return self:call("PROMOTE", id)
end

--- Another time for a scheduled, retrying or ready job; one in the past means now.
---
--- Raises: BADARG, NOTFOUND, WRONGSTATE.
---@param at integer|string          unix milliseconds or ISO 8601
function Client:reschedule(id, at)
  return self:call("RESCHEDULE", id, at)
end

--- Takes running jobs from whoever holds them: ready again at once, uncharged; what their holder says gets LOST.
---
--- Raises: BADARG.
---@param ids string|string[]
---@param opts? { reason?: string, by?: string }
---@return table answer              { id, released, state, holder, attempt, error }; for a list of ids, a list
function Client:release(ids, opts)
  local words = add_options({ "RELEASE", unpack(one_or_more(ids)) }, opts or {}, release_options)
  local answers = shaped(words, request(self, words))
  return type(ids) == "table" and answers or answers[1]
end

--- The same for all that a worker of the server, or a client of this name, holds.
---@return table answer              { touched, looked_at, stopped, bulk, jobs }
function Client:release_worker(name, opts)
  local words = add_options({ "RELEASE", "WORKER", name }, opts or {}, release_options)
  return shaped(words, request(self, words, 24 * 3600))
end

--- A step for all that a filter finds, in chunks; returns when it is done. Closing the client stops it.
---
--- Raises: BADARG.
---@param step "CANCEL"|"RETRY"|"DELETE"|"PROMOTE"|"RELEASE"
---@param filter moonq.Filter
---@return table answer              { touched, looked_at, stopped, bulk }
function Client:where(step, filter)
  local words = filter_words(step, filter)
  return shaped(words, request(self, words, 24 * 3600))
end

---@class moonq.PauseOptions
---@field reason? string             at most 200 bytes
---@field by? string                 your user name by default
---@field for? number|string         it ends by itself after this time
---@field until? string|integer      ... at this moment: ISO 8601 or unix milliseconds

--- Hands out no more jobs of a queue, until it is resumed or the pause's time is over.
---
--- Raises: BADARG, TOOBIG.
---@param queue string
---@param opts? moonq.PauseOptions|string   a text is the reason
function Client:pause(queue, opts)
  opts = type(opts) == "string" and { reason = opts } or opts or {}
  return request(self, add_options({ "PAUSE", queue }, opts, pause_options))
end

--- Raises: NOTFOUND if there is no such queue.
---@param queue string
function Client:resume(queue)
  return self:call("RESUME", queue)
end

--- The same for a job type, in whatever queue.
---@param job_type string
---@param opts? moonq.PauseOptions
function Client:pause_type(job_type, opts)
  return request(self, add_options({ "PAUSE", "TYPE", job_type }, opts or {}, pause_options))
end

--- Raises: NOTFOUND if it is not paused.
function Client:resume_type(job_type)
  return self:call("RESUME", "TYPE", job_type)
end

--- What is paused: { what ("queue" or "type"), name, reason, by, since, until }.
function Client:pauses()
  return self:call("PAUSES")
end

--- Sets a cron entry: a job of this type at each moment that the expression names. docs/cron.md.
---
--- Raises: BADARG with field and column, CONFLICT if schedules.lua has it, FULL, TOOBIG.
---@param name string
---@param expression string          "0 9 * * 1-5", "@every 90s"
---@param job_type string
---@param args? table                {} by default
---@param opts? table                tz, start, end, max, jitter, catch_up, within, most, overlap, ledger, days,
---                                   dst_gap, dst_overlap, paused; those of push
---@return table entry               as `schedule` returns it
function Client:set_schedule(name, expression, job_type, args, opts)
  local words = { "CRON", "SET", name, expression, job_type, args == nil and "{}" or json_object(args) }
  return self:call(unpack(add_options(words, opts or {}, cron_options)))
end

--- A cron entry: name, definition (a text, JSON), source, state, trouble, next, last, job, since, fired, counts,
--- reason, by, until.
---
--- Raises: NOTFOUND.
function Client:schedule(name)
  return self:call("CRON", "GET", name)
end

--- A page of cron entries, by name: { schedules = { ... }, after = name of the last, or nil }.
---@param opts? { after?: string, limit?: integer, ended?: boolean }
function Client:schedules(opts)
  opts = opts or {}
  local words = add_options({ "SCHEDULES" }, { after = opts.after, limit = opts.limit },
    { { "after", as_is }, { "limit", as_is } })
  if opts.ended then
    words[#words + 1] = "ENDED"
  end
  return self:call(unpack(words))
end

--- Ends an entry that was set by `set_schedule`; its ledger stays, or goes too.
---@param with_ledger? boolean
function Client:delete_schedule(name, with_ledger)
  if with_ledger then
    return self:call("CRON", "DELETE", name, "LEDGER")
  end
  return self:call("CRON", "DELETE", name)
end

---@param opts? moonq.PauseOptions
function Client:pause_schedule(name, opts)
  return self:call(unpack(add_options({ "CRON", "PAUSE", name }, opts or {}, pause_options)))
end

function Client:resume_schedule(name)
  return self:call("CRON", "RESUME", name)
end

--- Pushes a job of the entry now.
---@return string id
function Client:run_schedule(name)
  return self:call("CRON", "RUN", name)
end

--- Its next moments, in unix milliseconds.
---@param count? integer   10 by default
function Client:next_moments(name, count)
  return self:call("CRON", "NEXT", name, "COUNT", count or 10)
end

--- A page of the ledger, newest first: { ticks = { { row, outcome, planned, at, job, ... } }, before = row, or nil }.
---@param opts? { before?: integer, limit?: integer }
function Client:history(name, opts)
  return self:call(unpack(add_options({ "CRON", "HISTORY", name }, opts or {},
    { { "before", as_is }, { "limit", as_is } })))
end

--- Refuses pushes to a queue, runs what is there.
function Client:drain(queue)
  return self:call("DRAIN", queue)
end

--- Deletes all that waits in a queue.
function Client:purge(queue)
  return shaped({ "PURGE" }, request(self, { "PURGE", queue }, 24 * 3600))
end

--- At most `n` waiting jobs in a queue.
function Client:limit(queue, n)
  return self:call("LIMIT", queue, n)
end

--- Loads the application anew. Raises: SCRIPT (the old one stays).
function Client:reload()
  return request(self, { "RELOAD" }, 10 * 60)
end

function Client:config_get(pattern)
  return self:call("CONFIG", "GET", pattern or "*")
end

function Client:config_set(name, value)
  return self:call("CONFIG", "SET", name, value)
end

--- Graceful stop; `now` gives running jobs back at once.
function Client:shutdown(now)
  if now then
    return self:call("SHUTDOWN", "NOW")
  end
  return self:call("SHUTDOWN")
end

return {
  connect = connect, new_error = new_error, error_of_reply = error_of_reply, filter_words = filter_words,
  null = redis.null, Error = Error,
}
