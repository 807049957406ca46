--- What retry policies are made of. Policies are pure: the same job and error give the same answer, since what is
--- random is given to them as `job.chance`. So a spec plays three weeks in a millisecond.
---@class moonq.retry
local retry = {}

local host = _host

--- What a policy knows of the job.
---@class moonq.RetryJob
---@field id string
---@field type string
---@field queue string
---@field attempt integer       the attempt that failed, 1 at first
---@field max_attempts integer
---@field crashes integer
---@field pushed_at number      seconds since 1970
---@field chance number         from 0 up to 1, another one each time

--- Answers seconds (or text like "10m") until the next attempt, "dead" for the dead letters, or "discard".
--- Options are those of the policy's file with what the handler says instead.
---@alias moonq.RetryPolicy fun(job: moonq.RetryJob, err: moonq.Error, options: table): number|string

--- Adds up to `fraction` of the delay, never less than the delay itself: jobs that one outage failed must not all
--- come back in one second, and none may come early.
---
--- Roles: handler, load. Yields: no. Raises: misuse.
---@param delay number      seconds
---@param fraction number   0.1 adds up to a tenth
---@param chance number     job.chance: from 0 up to 1
---@return number seconds
function retry.jitter(delay, fraction, chance)
  return delay + delay * fraction * chance
end

--- moonq's own backoff: attempt^4 + 15 seconds, and up to a tenth more.
---
--- Roles: handler, load. Yields: no. Raises: misuse.
---@param attempt integer   the attempt that failed
---@param chance? number    from 0 (the default: nothing is added) up to 1
---@return number seconds
function retry.default(attempt, chance)
  return host.backoff_default(attempt, chance)
end

return retry
