--- What the server's replies look like: flat lists become tables with names, nulls are left out.
---
--- One row a command; a command without a row answers with a text, a number or a plain list. docs/protocol.md says
--- the same for readers.

local redis = require "moonq_redis"

-- Marks a list, so that an empty one is written as [] and not as {}.
local Array = {}

local function is_list(value)
  return type(value) == "table" and value.err == nil
end

--- A flat list of names and values. `fields`: shapes of those that are not plain.
local function map(fields)
  return function(reply)
    if not is_list(reply) then
      return reply
    end
    local out = {}
    for i = 1, #reply, 2 do
      local name, value = reply[i], reply[i + 1]
      if value ~= redis.null then
        local shape = fields and fields[name]
        if shape then
          value = shape(value)
        end
        out[name] = value
      end
    end
    return out
  end
end

local function list(shape)
  return function(reply)
    if not is_list(reply) then
      return reply
    end
    local out = setmetatable({}, Array)
    for i, value in ipairs(reply) do
      out[i] = shape and shape(value) or value
    end
    return out
  end
end

local function truth(value)
  return value == 1 or value == "1" or value == true or value == "true"
end

-- A fraction is a text in RESP2.
local job = map({
  tags = list(), attempts = list(map()), log = list(map()), cancelling = truth, parked = truth, held = truth,
  progress = tonumber, schedule = map(),
})
local step = map({ signalled = truth })
local bulk = map({ stopped = truth, jobs = list() })
local released = list(map({ released = truth }))

-- A step by id answers with what became of the job, by filter with how many it touched.
local function by_id_or_filter(words)
  return tostring(words[2]):upper() == "WHERE" and bulk or step
end

local schedule = map({ counts = map() })
local cron = {
  SET = schedule, GET = schedule, PAUSE = schedule, RESUME = schedule,
  NEXT = list(), HISTORY = map({ ticks = list(map({ more = truth })) }),
}

local function always(shape)
  return function()
    return shape
  end
end

-- A map only if an option says so: REPLY map.
local function push_reply(words)
  for i = 4, #words, 2 do
    if tostring(words[i]):upper() == "REPLY" and tostring(words[i + 1]):lower() == "map" then
      return map()
    end
  end
  return nil
end

local rows = {
  PUSH = push_reply,
  UNIQUE = function(words)
    return tostring(words[2]):upper() == "SHOW" and list(map()) or map()
  end,
  WAIT = always(list(map())),
  FETCH = always(list(job)),
  NACK = always(map()),
  EXTEND = always(map({ cancelling = truth })),
  PROGRESS = always(map({ cancelling = truth })),
  JOB = always(job),
  JOBS = always(map({ jobs = list(job), partial = truth })),
  QUEUES = always(list(map({ paused = truth, draining = truth }))),
  PAUSES = always(list(map())),
  DOCTOR = always(list(map({ agrees = truth }))),
  WORKERS = always(list(map())),
  WHY = always(map({ gates = list(map({ open = truth })) })),
  STATS = always(map()),
  CANCEL = by_id_or_filter,
  RELEASE = function(words)
    local how = tostring(words[2]):upper()
    return (how == "WHERE" or how == "WORKER") and bulk or released
  end,
  RETRY = by_id_or_filter,
  DELETE = by_id_or_filter,
  PROMOTE = by_id_or_filter,
  EDIT = always(step),
  RESCHEDULE = always(step),
  PURGE = always(bulk),
  BULK = function(words)
    return tostring(words[2]):upper() == "LIST" and list(bulk) or nil
  end,
  SCHEDULES = always(map({ schedules = list(schedule) })),
  CRON = function(words)
    return cron[tostring(words[2]):upper()]
  end,
  CONFIG = function(words)
    return tostring(words[2]):upper() == "GET" and map() or nil
  end,
}

--- The shape of a command's reply; nil for a plain one.
---@param words table
---@return fun(reply: any): any | nil
local function of(words)
  local row = rows[tostring(words[1]):upper()]
  return row and row(words)
end

return { of = of, Array = Array, truth = truth }
