--- Waits attempt^power, times `scale`, plus `base`: starts quickly, then grows, but not as wildly as an exponential.
---
--- With the defaults it is moonq's own backoff: 16 s, 31 s, 96 s, 4.5 min, 11 min, ... the 24th is 3.8 days; 25
--- attempts take about three weeks.
---
---     retry = { policy = "polynomial", power = 3 }

local retry = require "moonq.retry"

return {
  options = {
    base = 15, -- seconds, or "15s"
    scale = 1, -- seconds
    power = 4,
    cap = 7 * 86400,
    jitter = 0.1, -- up to a tenth is added
  },

  ---@type moonq.RetryPolicy
  delay = function(job, _, options)
    local delay = options.base + options.scale * job.attempt ^ options.power
    return retry.jitter(math.min(delay, options.cap), options.jitter, job.chance)
  end,
}
