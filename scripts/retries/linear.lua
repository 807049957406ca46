--- Waits longer by the same step each time: base, base + step, base + 2 * step, ... at most `cap`.
---
--- With the defaults: 30 s, 1 min, 1.5 min, 2 min, ... 1 h.
---
---     retry = { policy = "linear", base = "10s", step = "10s" }

local retry = require "moonq.retry"

return {
  options = {
    base = 30, -- seconds, or "30s"
    step = 30,
    cap = 3600,
    jitter = 0.1, -- up to a tenth is added
  },

  ---@type moonq.RetryPolicy
  delay = function(job, _, options)
    local delay = options.base + options.step * (job.attempt - 1)
    return retry.jitter(math.min(delay, options.cap), options.jitter, job.chance)
  end,
}
