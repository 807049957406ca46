--- Waits as a list says; past its end, as long as its last entry, until the attempts are spent.
---
---     retry = { "10s", "1m", "10m", "1h" }
---     retry = { policy = "list", delays = { "10s", "1m" }, jitter = 0 }

local retry = require "moonq.retry"

return {
  options = {
    delays = { 10, 60, 600, 3600 }, -- seconds, or text like "10s"
    jitter = 0.1, -- up to a tenth is added
  },

  ---@type moonq.RetryPolicy
  delay = function(job, _, options)
    local delays = options.delays
    local delay = delays[math.min(job.attempt, #delays)]
    return retry.jitter(delay, options.jitter, job.chance)
  end,
}
