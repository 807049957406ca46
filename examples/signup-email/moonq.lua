-- Sending mail is waiting: one process with many coroutines is enough.
return {
  pools = {
    default = { workers = 2, concurrency = 20, queues = { "*" } },
  },
  keep = "1h", -- finished jobs stay so long
}
