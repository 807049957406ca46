--- The options by which commands choose jobs: --state, --queue, --type, --tag, --holder, --older, --newer.

local M = {}

local names = { "state", "queue", "type", "tag", "holder", "older", "newer" }

--- Adds them to a command. `without_state`: the command is about one state.
function M.options(command, without_state)
  if not without_state then
    command:option("--state", "Only jobs in this state; several with commas."):argname("STATE")
  end
  command:option("-q --queue", "Only jobs of this queue."):argname("QUEUE")
  command:option("-t --type", "Only jobs of this type."):argname("TYPE")
  command:option("--tag", "Only jobs with this tag."):argname("TAG")
  command:option("--holder", "Only running jobs of this worker, or client."):argname("NAME")
  command:option("--older", "Only jobs longer in their state than this."):argname("DURATION")
  command:option("--newer", "Only jobs in their state for less than this."):argname("DURATION")
end

--- The filter that was given; the second value is false if none was.
function M.of(args)
  local filter = {}
  for _, name in ipairs(names) do
    filter[name] = args[name]
  end
  return filter, next(filter) ~= nil
end

return M
