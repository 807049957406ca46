--- What moonq does where no policy is named, as a policy: attempt^4 + 15 seconds, and up to a tenth more.
---
--- The first ten, without what is added: 16 s, 31 s, 96 s, 4.5 min, 11 min, 22 min, 40 min, 68 min, 110 min, 2.8 h.
--- 25 attempts take about three weeks.

local retry = require "moonq.retry"

---@type moonq.RetryPolicy
return function(job)
  return retry.default(job.attempt, job.chance)
end
