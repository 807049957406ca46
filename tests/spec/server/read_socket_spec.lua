local client = require "moonq.client"
local support = require "support"

local files = {
  ["moonq.lua"] = [[return { read_socket_mode = "0640" }]],
  ["handlers/quick.lua"] = [[return { run = function() return "quick" end }]],
}

--- A server with a second socket, and a client at that.
local function start()
  local path = support.folder({}) .. "/read.sock"
  local server = support.start({ files = files, args = { "--read-socket", path } })
  return server, client.connect(path), path
end

describe("the socket that only reads", function()
  after_each(support.stop_all)

  it("shows everything", function()
    local server, reader = start()
    local id = server.client:push("quick")
    server:await("job.succeeded", id)
    assert.equal("succeeded", reader:job(id).state)
    assert.equal("succeeded", reader:wait(id).state)
    assert.equal(1, #reader:jobs({ state = "succeeded" }).jobs)
    assert.equal("default", reader:queues()[1].name)
    assert.equal(1, reader:stats().succeeded)
    reader:close()
  end)

  it("refuses what changes anything, by every command that could, and leaves the connection usable", function()
    local server, reader = start()
    local id = server.client:push("quick", {}, { delay = "1h" })
    local refused = {
      { "PUSH", "quick", "{}" }, { "FETCH", "default" }, { "ACK", id, "1" }, { "NACK", id, "1", "no" },
      { "EXTEND", id, "1", "1s" }, { "PROGRESS", id, "1", "0.5" }, { "CANCEL", id }, { "RELEASE", id }, { "RETRY", id },
      { "DELETE", id }, { "PROMOTE", id }, { "EDIT", id, "{}" }, { "PAUSE", "default" }, { "RESUME", "default" },
      { "DRAIN", "default" }, { "LIMIT", "default", "1" }, { "PURGE", "default" }, { "RELOAD" }, { "SHUTDOWN" },
      { "CONFIG", "SET", "cancel_grace", "1s" }, { "BULK", "STOP", "1" }, { "CANCEL", "WHERE", "STATE", "scheduled" },
    }
    for _, words in ipairs(refused) do
      local err = support.refused(reader.call, reader, unpack(words))
      assert.equal("NOPERM", err.code, words[1])
      assert.matches("only reads", err.message, 1, true)
    end
    assert.equal("scheduled", reader:job(id).state)
    assert.equal("scheduled", server.client:job(id).state)
    reader:close()
  end)

  it("refuses every command that the table says changes something", function()
    local _, reader = start()
    local looked = 0
    for _, row in ipairs(reader:call("COMMAND")) do
      local name, arity, flags = row[1], row[2], row[3]
      if table.concat(flags, " "):find("write", 1, true) then
        local words = {}
        for word in name:gmatch("%S+") do -- "CRON PAUSE"
          words[#words + 1] = word
        end
        for _ = #words + 1, math.abs(arity) do
          words[#words + 1] = "x"
        end
        local ok, err = pcall(reader.call, reader, unpack(words))
        assert.is_false(ok, name)
        assert.equal("NOPERM", err.code, name)
        looked = looked + 1
      end
    end
    assert.is_true(looked >= 15)
    reader:close()
  end)

  it("has permissions of its own, and is gone with the server", function()
    local server, reader, path = start()
    local _, mode = support.run({ "stat", "-c", "%a", path })
    assert.equal("640", mode:match("%d+"))
    reader:close()
    server:halt()
    assert.is_false((pcall(client.connect, path)))
  end)
end)
