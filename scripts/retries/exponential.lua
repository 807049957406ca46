--- Waits longer and longer: base, base * factor, base * factor^2, ... at most `cap`.
---
--- With the defaults: 15 s, 30 s, 1 min, 2 min, 4 min, 8 min, 16 min, 32 min, 64 min, 2.1 h, ... 24 h.
---
---     retry = { policy = "exponential", base = "5s", factor = 3, cap = "1h", jitter = 0.2 }

local retry = require "moonq.retry"

return {
  options = {
    base = 15, -- seconds, or "15s"
    factor = 2,
    cap = 86400, -- no wait is longer than a day
    jitter = 0.1, -- up to a tenth is added
  },

  ---@type moonq.RetryPolicy
  delay = function(job, _, options)
    local delay = options.base * options.factor ^ (job.attempt - 1)
    return retry.jitter(math.min(delay, options.cap), options.jitter, job.chance)
  end,
}
