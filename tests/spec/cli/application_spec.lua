local json = require "moonq.client.json"
local support = require "support"

describe("moonq init", function()
  after_each(support.stop_all)

  it("writes an application that moonq check finds no fault with", function()
    local folder = support.folder() .. "/shop"
    local status, out = support.moonq("init", folder)
    assert.equal(0, status)
    assert.matches("handlers/hello.lua", out, 1, true)
    status, out = support.moonq("check", folder)
    assert.equal(0, status, out)
    assert.matches("1 handler (hello)", out, 1, true)
  end)

  it("writes an application that runs its first job", function()
    local folder = support.folder() .. "/shop"
    support.moonq("init", folder)
    local server = support.start({ app = folder })
    local status, out = support.moonq("push", "hello", '{"name":"Ana"}', "--wait", "10s", "--socket", server.socket)
    assert.equal(0, status, out)
    assert.same({ text = "Hello, Ana!" }, json.decode(out))
  end)

  it("writes an example of a schedule that is right as it stands", function()
    local folder = support.folder() .. "/shop"
    support.moonq("init", folder)
    local path = folder .. "/schedules.lua"
    local text, lines = support.read_file(path):gsub("\n  %-%- ", "\n  ")
    assert.is_true(lines > 2)
    support.write_file(path, text)
    local status, out = support.moonq("check", folder)
    assert.equal(0, status, out)
    assert.matches("1 handler (hello), 1 schedule", out, 1, true)
  end)

  it("writes nothing into a folder that has something in it", function()
    local folder = support.folder({ ["precious.txt"] = "mine" })
    local status, _, err = support.moonq("init", folder)
    assert.equal(1, status)
    assert.matches("not empty", err, 1, true)
    assert.is_nil(support.read_file(folder .. "/moonq.lua"))
  end)
end)

describe("moonq init", function()
  it("writes nowhere without a name", function()
    for _, name in ipairs({ "", "/" }) do
      local status, _, err = support.moonq("init", name)
      assert.equal(2, status)
      assert.matches("name a new one", err, 1, true)
    end
  end)
end)

describe("moonq check", function()
  after_each(support.stop_all)

  it("finds handlers that it cannot look at", function()
    local folder = support.folder({
      ["moonq.lua"] = "return {}", ["handlers/a.lua"] = "return { run = function() end }",
    })
    local away = support.folder({ ["send.lua"] = "return { run = function() end }" })
    assert.equal(0, os.execute(("ln -s '%s' '%s/handlers/mail'"):format(away, folder)))
    local status, out = support.moonq("check", folder)
    assert.equal(1, status)
    assert.matches("handlers/mail: it cannot be looked at", out, 1, true)
  end)

  it("reports every broken script at once, each with its file and line", function()
    local folder = support.folder({
      ["moonq.lua"] = "return {}",
      ["handlers/syntax.lua"] = "local x = 1\nreturn { run = ",
      ["handlers/nothing.lua"] = "local x = 1",
      ["handlers/policy.lua"] = "return {\n  run = function() end,\n  retry = 'nosuch' }",
      ["handlers/key.lua"] = "-- colour = 1\nreturn { run = function() end, [\"colour\"] = 'red' }",
      ["handlers/raises.lua"] = "\n\nerror('no such thing')",
      ["handlers/fine.lua"] = "return { run = function() end }",
    })
    local status, out = support.moonq("check", folder)
    assert.equal(1, status)
    assert.matches("handlers/syntax.lua:2: ", out, 1, true)
    assert.matches("handlers/nothing.lua:1: ", out, 1, true)
    assert.matches("handlers/policy.lua:3: .-'nosuch'", out)
    assert.matches("handlers/key.lua:2: .-'colour'", out)
    assert.matches("handlers/raises.lua:3: ", out, 1, true)
    assert.is_nil(out:find("fine.lua", 1, true))
    assert.matches("5 errors", out, 1, true)
  end)

  it("warns of a queue that no pool serves, and of one that no handler uses", function()
    local folder = support.folder({
      ["moonq.lua"] = "return { pools = {\n  mail = { queues = { 'mail' } },\n  other = { queues = { 'nobody' } } } }",
      ["handlers/send.lua"] = "return { queue = 'mail', run = function() end }",
      ["handlers/report.lua"] = "return { queue = 'reports', run = function() end }",
      ["handlers/plain.lua"] = "return { run = function() end }",
    })
    local status, out = support.moonq("check", folder)
    assert.equal(0, status)
    assert.matches("handlers/report.lua: warning: no pool serves queue 'reports'", out, 1, true)
    assert.matches("handlers/plain.lua: warning: no pool serves queue 'default'", out, 1, true)
    assert.matches("moonq.lua:3: warning: pool 'other' names queue 'nobody'", out, 1, true)
    assert.is_nil(out:find("'mail'", 1, true))
  end)

  it("reports a setting that does not exist, and what was meant", function()
    local folder = support.folder({ ["moonq.lua"] = "local n = 1\nreturn {\n  poools = {} }" })
    local status, out = support.moonq("check", folder)
    assert.equal(1, status)
    assert.matches("moonq.lua:3: unknown setting 'poools'.-'pools'", out)
  end)

  it("reports every fault of the configuration at once, by line", function()
    local folder = support.folder({ ["handlers/a.lua"] = "return { run = function() end }", ["moonq.lua"] = [[
return {
  attempts = 5000,
  keepp = "1h",
  pools = { default = { concurrency = "many", queue = { "a" } } },
  queues = { mail = { limt = 5 }, ["b c"] = {} },
}]] })
    local status, out = support.moonq("check", folder)
    assert.equal(1, status)
    for _, fault in ipairs({ "moonq.lua:2: attempts: 5000 is out of range", "moonq.lua:3: unknown setting 'keepp'",
      "moonq.lua:4: pools.default.concurrency", "moonq.lua:4: unknown setting 'pools.default.queue'",
      "moonq.lua:5: unknown setting 'queues.mail.limt'", "queue name 'b c'", "6 errors in" }) do
      assert.matches(fault, out, 1, true)
    end
    local last = 0
    for line in out:gmatch("moonq.lua:(%d+):") do
      assert.is_true(tonumber(line) >= last, out)
      last = tonumber(line)
    end
  end)

  it("answers in JSON for programs", function()
    local folder = support.folder({ ["moonq.lua"] = "return {}", ["handlers/a/b.lua"] = "return { run = 1 }" })
    local status, out = support.moonq("check", folder, "--json")
    local found = json.decode(out)
    assert.equal(1, status)
    assert.is_false(found.ok)
    assert.equal("handlers/a/b.lua", found.errors[1].file)
  end)

  it("says so when there is no such folder", function()
    local status, _, err = support.moonq("check", "/nonexistent/shop")
    assert.equal(4, status)
    assert.matches("/nonexistent/shop", err, 1, true)
  end)

  it("ends in time when a script never ends while it is loaded", function()
    local folder = support.folder({ ["moonq.lua"] = "return {}", ["handlers/loop.lua"] = "while true do end" })
    local status, out = support.moonq("check", folder, { timeout = 60 })
    assert.equal(1, status)
    assert.matches("handlers/loop.lua", out, 1, true)
  end)
end)

describe("the command line", function()
  after_each(support.stop_all)

  it("prints its version", function()
    local status, out = support.moonq("version")
    assert.equal(0, status)
    assert.equal("moonq " .. support.read_file("VERSION"), out)
  end)

  it("has help for every command that it lists", function()
    local _, out = support.moonq("--help")
    local listed = out:match("Commands:\n(.-)\n\n")
    local count = 0
    for name in listed:gmatch("\n?   ([a-z]+) +%S") do
      local status, help = support.moonq(name, "--help")
      assert.equal(0, status, name)
      assert.matches("[Uu]sage: moonq " .. name, help)
      count = count + 1
    end
    assert.is_true(count >= 20, "only " .. count .. " commands")
  end)

  it("names a command that it does not know", function()
    local status, _, err = support.moonq("psuh")
    assert.equal(2, status)
    assert.matches("psuh", err, 1, true)
  end)

  it("says which socket has no server and how to start one", function()
    local status, _, err = support.moonq("queues", "--socket", "/tmp/nowhere/moonq.sock")
    assert.equal(3, status)
    assert.matches("'/tmp/nowhere/moonq.sock'", err, 1, true)
    assert.matches("moonq serve DIR", err, 1, true)
  end)

  it("says it in JSON too", function()
    local status, out, err = support.moonq("queues", "--json", "--socket", "/tmp/nowhere/moonq.sock")
    assert.equal(3, status)
    assert.equal("", out)
    assert.equal("NOSERVER", json.decode(err).error.code)
  end)

  it("finds its server by folder, by MOONQ_SOCKET, and from a folder inside the application", function()
    local folder = support.folder({
      ["moonq.lua"] = "return {}", ["handlers/a.lua"] = "return { run = function() end }",
    })
    local server = support.start({ app = folder, socket = folder .. "/moonq.sock" })
    assert.equal(0, (support.moonq("queues", folder)))
    assert.equal(0, (support.moonq("queues", "-C", folder)))
    assert.equal(0, (support.moonq("queues", { cwd = folder .. "/handlers" })))
    assert.equal(0, (support.moonq("queues", { env = { MOONQ_SOCKET = server.socket }, cwd = "/" })))
    assert.equal(3, (support.moonq("queues", { env = { MOONQ_SOCKET = false }, cwd = "/" })))
  end)
end)
