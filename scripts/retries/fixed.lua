--- Always waits as long.
---
---     retry = { policy = "fixed", delay = "30s" }

local retry = require "moonq.retry"

return {
  options = {
    delay = 60, -- seconds, or "1m"
    jitter = 0.1, -- up to a tenth is added
  },

  ---@type moonq.RetryPolicy
  delay = function(job, _, options)
    return retry.jitter(options.delay, options.jitter, job.chance)
  end,
}
