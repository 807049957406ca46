-- For a demo: half a second, one, two, then four, and up to a quarter more so that not all come at once. A shop would
-- take minutes and hours: retry = "exponential".
return function(job)
  local delay = math.min(0.5 * 2 ^ (job.attempt - 1), 4)
  return delay + math.random() * delay / 4
end
