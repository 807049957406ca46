--- The job that a handler runs: run(job). It can be used only while that run lasts, by that run.
---
--- Fields are read from the job's record when they are first looked at.
---@class moonq.Job
---@field id string            13 characters, ordered by time; the same at each attempt
---@field type string          the handler's name, "email.send"
---@field args any             the payload, decoded; {} if it was empty. JSON's null is moonq.json.null
---@field queue string
---@field attempt integer      1 at the first
---@field max_attempts integer
---@field crashes integer      attempts that took their worker down
---@field meta table           what the producer gave along; {} if nothing
---@field token string         decimal digits of the lease's number, which only grows: give it to a database that
---                            is to refuse writers that came late
---@field tags string[]
---@field pushed_at number     seconds since 1970
---@field priority integer     0 first, 9 last
---@field schedule? { name: string, planned_at: number }   the cron entry that made it, and the moment that it stands
---                            for (seconds since 1970), which is not always the moment at which it runs
---@field inputs table         results of the jobs that it waited for
local Job = {}

local host = _host

--- Tells how far the job is. Seen by whoever looks at the job; kept with the attempt if it crashes.
---
--- Roles: handler. Yields: no. Raises: misuse.
---@param fraction number   0 to 1
---@param note? string      cut at 500 bytes
function Job:progress(fraction, note)
  host.job_progress(self, fraction, note)
end

local levels = { debug = true, info = true, warn = true, error = true }

--- Writes a line to the server's log and to the job's record.
---
--- job:log("sent"), job:log("warn", "slow answer", { seconds = 4 }). Long lines are cut; after 10,000 lines of one
--- attempt the rest is dropped.
---
--- Roles: handler. Yields: no. Raises: misuse.
---@param level? "debug"|"info"|"warn"|"error"   "info" by default
---@param message string
---@param fields? table   what JSON can hold
function Job:log(level, message, fields)
  host.job_check(self)
  if not levels[level] or message == nil or type(message) == "table" then
    level, message, fields = "info", level, message
  end
  host.log(level, tostring(message), fields)
end

---@class moonq.PushOptions
---@field queue? string
---@field priority? integer        0 first, 9 last
---@field delay? number|string     seconds, or a string like "10m"
---@field at? number|string        seconds since 1970, or ISO 8601
---@field attempts? integer
---@field timeout? number|string
---@field lease? number|string
---@field expires? number|string   it must have started by then
---@field keep? number|string      how long its finished record stays
---@field unique? string           at most one job of its type holds this key
---@field unique_by? string[]|string the key is made of these arguments
---@field unique_for? number|string the key is free after this time at the latest
---@field unique_in? string[]|string the states in which it holds the key, or "all"
---@field conflict? string         if the key is held: "skip" (default), "replace", "reschedule", "error"
---@field tags? string[]
---@field meta? table

--- Pushes a job that exists only if the running job is acknowledged.
---
--- Its id is given when both are committed, so there is none to return: a job that fails has pushed nothing.
---
--- Roles: handler. Yields: no. Raises: BADARG, TOOBIG, FULL.
---@param job_type string   name of a handler, "email.send"
---@param args? any         anything JSON can hold; {} by default
---@param opts? moonq.PushOptions
function Job:push(job_type, args, opts)
  host.job_push(self, job_type, args, opts)
end

--- True once the job was told to stop (cancelled, or its time is up). A loop that computes looks here now and then;
--- a call that waits raises CANCELLED by itself.
---
--- Roles: handler. Yields: no. Raises: nothing.
---@return boolean
function Job:cancelled()
  return host.job_cancelled(self)
end

return Job
