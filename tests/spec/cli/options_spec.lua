local json = require "moonq.client.json"
local support = require "support"

local files = {
  ["moonq.lua"] = "return {}",
  ["handlers/echo.lua"] = "return { run = function(job) return job.args end }",
}

-- Options that every command has may stand before the command or behind it.
describe("an option of all commands", function()
  local server

  setup(function()
    server = support.start({ files = files })
  end)
  teardown(support.stop_all)

  it("may stand before the command", function()
    local status, out, err = support.moonq("--socket", server.socket, "--json", "queues")
    assert.equal(0, status, err)
    assert.is_table(json.decode(out))
    assert.equal(0, support.moonq("--socket=" .. server.socket, "queues"))
    assert.equal(0, support.moonq("-s" .. server.socket, "queues"))
    assert.equal(0, support.moonq("-s", server.socket, "push", "echo", "{}"))
  end)

  it("may stand on both sides of it", function()
    local status, out, err = support.moonq("--json", "queues", "-s", server.socket)
    assert.equal(0, status, err)
    assert.is_table(json.decode(out))
  end)

  it("may stand on both sides of a command of commands", function()
    server.client:set_schedule("poll", "@every 1h", "echo")
    for _, words in ipairs({ { "--socket", server.socket, "--json", "cron", "list" },
      { "cron", "-s", server.socket, "--json", "list" }, { "cron", "list", "-s", server.socket, "--json" } }) do
      local status, out, err = support.moonq(unpack(words))
      assert.equal(0, status, err)
      assert.equal("poll", json.decode(out)[1].name)
    end
  end)

  it("may stand before a command that is passed on as it is", function()
    local status, out, err = support.moonq("-s", server.socket, "call", "ECHO", "--json")
    assert.equal(0, status, err)
    assert.equal("--json\n", out)
  end)

  it("names the application's folder before any command, serve and fsck too", function()
    local shop = support.folder() .. "/shop"
    assert.equal(0, support.moonq("init", shop))
    for _, option in ipairs({ "-C", "--app" }) do
      local status, out = support.moonq(option, shop, "check")
      assert.equal(0, status, out)
    end
    local program = support.program({ support.binary, "-C", shop, "serve", "--log-format", "json" })
    program:expect("server.ready")
    local status, out, err = support.moonq("-C", shop, "push", "hello", '{"name":"Ana"}', "--wait", "10s")
    assert.equal(0, status, err)
    assert.same({ text = "Hello, Ana!" }, json.decode(out))
    assert.equal(0, support.moonq("-C", shop, "stop"))
    status, out = support.moonq("-C", shop, "fsck")
    assert.equal(0, status, out)
  end)

  it("without a command is told that one is missing", function()
    local status, _, err = support.moonq("-C", "somewhere")
    assert.equal(2, status)
    assert.matches("a command is required", err, 1, true)
    status, _, err = support.moonq("-C")
    assert.equal(2, status)
    assert.matches("-C", err, 1, true)
  end)

  it("is shown by --help before the commands", function()
    local status, out = support.moonq("--help")
    assert.equal(0, status)
    for _, option in ipairs({ "--app", "--socket", "--json" }) do
      assert.matches(option, out, 1, true)
    end
  end)
end)

describe("moonq help", function()
  it("says what --help says, of all commands or of one", function()
    local status, out = support.moonq("help")
    assert.equal(0, status)
    assert.matches("dead", out, 1, true)
    status, out = support.moonq("help", "dead")
    assert.equal(0, status)
    assert.matches("moonq dead", out, 1, true)
    for _, command in ipairs({ "serve", "fsck" }) do
      status, out = support.moonq("help", command)
      assert.equal(0, status)
      assert.matches("usage: moonq " .. command .. " ", out, 1, true)
    end
    local wrong, _, err = support.moonq("help", "dread")
    assert.equal(2, wrong)
    assert.matches("dread", err, 1, true)
  end)
end)
