local json = require "moonq.client.json"
local support = require "support"

local files = {
  ["moonq.lua"] = "return {}",
  ["handlers/echo.lua"] = "return { run = function(job) return job.args end }",
  ["handlers/latin.lua"] = [[
    return { attempts = 1, run = function() error("caf\233 \0 \237\160\128 \240\159\152\128", 0) end }
  ]],
}

local function is_utf8(text)
  local status = support.run({ "iconv", "-f", "UTF-8", "-t", "UTF-16" }, { stdin = text })
  return status == 0
end

-- Programs read it: whatever bytes a job holds, and however the command line is wrong.
describe("--json", function()
  local server

  setup(function()
    server = support.start({ files = files })
  end)
  teardown(support.stop_all)

  local function moonq(...)
    return support.moonq("--socket", server.socket, "--json", ...)
  end

  it("is UTF-8, whatever bytes a handler's error, a payload or a result has", function()
    local id = server.client:push("latin")
    server:await("job.dead", id)
    local raw = server.client:call("PUSH", "elsewhere", '{"name":"caf\233"}', "DELAY", "1h")
    for _, words in ipairs({ { "dead" }, { "dead", "show", id }, { "job", id }, { "job", raw }, { "jobs" },
      { "call", "JOB", raw }, { "events", "--job", raw, "--count", "0" } }) do
      local _, out, err = moonq(unpack(words))
      assert.is_true(is_utf8(out), table.concat(words, " ") .. ": " .. out .. err)
      assert.is_truthy(out == "" or json.decode(out), out)
    end
    local _, out = moonq("job", id)
    local shown = ("caf? \0 ??? "):gsub("?", "\239\191\189") .. "\240\159\152\128"
    assert.equal(shown, json.decode(out).attempts[1].message)
    _, out = support.moonq("--socket", server.socket, "job", id) -- nor do they reach a terminal
    assert.is_true(is_utf8(out), out)
  end)

  it("is what a wrong command line is answered with, too", function()
    for _, words in ipairs({ { "job" }, { "nosuch" }, {}, { "cron" }, { "jobs", "--nosuch" } }) do
      local status, out, err = moonq(unpack(words))
      assert.same({ 2, "" }, { status, out })
      assert.equal("USAGE", json.decode(err).error.code)
    end
    local _, _, err = support.moonq("job")
    assert.equal("moonq: missing argument 'id'\nSee: moonq job --help\n", err)
    _, _, err = support.moonq("call", "--nosuch", "X", "--json") -- what follows the command's name is its own
    assert.matches("^moonq: ", err)
  end)

  it("names each id that was refused, and why, in the order asked", function()
    local waits = server.client:push("echo", {}, { delay = "1h" })
    local status, out, err = moonq("cancel", "0000000000001", waits)
    assert.equal(4, status)
    local answers = json.decode(out)
    assert.equal("0000000000001", answers[1].id)
    assert.matches("^NOTFOUND there is no job", answers[1].error)
    assert.same({ waits, "cancelled" }, { answers[2].id, answers[2].state })
    assert.equal("1 of 2 jobs were refused", json.decode(err).error.message)
    status, out, err = moonq("cancel", "0000000000001")
    assert.same({ 4, "" }, { status, out })
    assert.equal("NOTFOUND", json.decode(err).error.code)
  end)
end)
