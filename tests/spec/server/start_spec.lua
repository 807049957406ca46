local json = require "moonq.client.json"
local support = require "support"

-- A start that fails ends with status 1 and one line of why: the last of its log.
local function refused(shop, ...)
  local status, out, err = support.moonq("serve", shop, "--log-format", "json", ...)
  assert.equal(1, status, out .. err)
  local line = json.decode(err:match("([^\n]+)\n$"))
  assert.equal("server.cannot_start", line.event)
  return line.message, line.code
end

describe("a start that cannot be", function()
  local home, shop

  before_each(function()
    home = support.folder({ ["file"] = "mine", ["other/foo"] = "foo" })
    shop = home .. "/shop"
    assert.equal(0, support.moonq("init", shop))
  end)
  after_each(support.stop_all)

  it("on a file for a data folder says that it is a file, and what to do", function()
    local message, code = refused(shop, "--data", home .. "/file")
    assert.equal("BADARG", code)
    assert.matches(home .. "/file", message, 1, true)
    assert.matches("is a file, not a folder", message, 1, true)
    assert.matches("--data", message, 1, true)
    assert.equal("mine", support.read_file(home .. "/file"))
  end)

  it("because a worker has no room for the application says which, and why", function()
    support.write_file(shop .. "/moonq.lua", [[return { pools = { default = { workers = 2, memory = "8MiB" } } }]])
    support.write_file(shop .. "/handlers/fat.lua", [[
      local rows = {}
      for i = 1, 400000 do rows[i] = { i } end
      return { run = function() return #rows end }]])
    local status, out, err = support.moonq("serve", shop)
    assert.equal(1, status, out .. err)
    assert.matches("server.cannot_start[^\n]+worker default.%d+ did not come up", err)
    assert.matches("server.stopped", err, 1, true) -- and its end is an orderly one
  end)

  it("below a file, or a folder that is not there, names the one that is missing", function()
    local message = refused(shop, "--data", home .. "/file/data")
    assert.matches("'" .. home .. "/file' is a file, not a folder", message, 1, true)
    assert.matches("--data", message, 1, true)
    message = refused(shop, "--data", home .. "/no/such/data")
    assert.matches("'" .. home .. "/no/such/data': the folder above it is not there", message, 1, true)
    assert.matches("make it first", message, 1, true)
  end)

  it("in somebody else's folder names what it found there, and leaves it", function()
    local message = refused(shop, "--data", home .. "/other")
    assert.matches("'foo'", message, 1, true)
    assert.matches("--data", message, 1, true)
  end)

  it("on what is no application says so, and how to get one", function()
    for _, path in ipairs({ home .. "/file", home .. "/other", home .. "/nosuch" }) do
      local message = refused(path)
      assert.matches(path, message, 1, true)
      assert.matches("moonq init", message, 1, true)
      assert.is_nil(message:find(":0:", 1, true), message)
      assert.is_nil(message:find("0 more", 1, true), message)
    end
  end)

  it("at a socket whose folder is not there names the folder, and what to do", function()
    local message, code = refused(shop, "--socket", home .. "/nosuch/moonq.sock")
    assert.equal("NOTFOUND", code)
    assert.matches("'" .. home .. "/nosuch'", message, 1, true)
    assert.matches("--socket", message, 1, true)
  end)

  it("through a symbolic link inside the data folder does not follow it", function()
    for _, name in ipairs({ "moonq.lock", "moonq.mdb", "run" }) do
      local data = home .. "/data-" .. name
      assert.equal(0, support.run({ "mkdir", "-m", "700", data, home .. "/target-" .. name }))
      local target = name == "run" and home .. "/target-" .. name or home .. "/file"
      assert.equal(0, support.run({ "ln", "-s", target, data .. "/" .. name }))
      local message, code = refused(shop, "--data", data)
      assert.equal("NOPERM", code)
      assert.matches(data .. "/" .. name, message, 1, true)
      assert.matches("link", message, 1, true)
      assert.equal("mine", support.read_file(home .. "/file"))
    end
  end)
end)

describe("a data folder", function()
  after_each(support.stop_all)

  it("is made for its owner alone, and so is what is in it", function()
    local server = support.start({ files = { ["moonq.lua"] = "return {}" } })
    local _, out = support.run({ "stat", "-c", "%a %n", ".", "run", "moonq.mdb", "moonq.lock" }, { cwd = server.data })
    for mode, name in out:gmatch("(%d+) ([^\n]+)") do
      assert.equal((name == "." or name == "run") and "700" or "600", mode, name)
    end
  end)

  it("that others may write to is used with a warning", function()
    local data = support.folder() .. "/data"
    assert.equal(0, support.run({ "mkdir", "-m", "777", data }))
    local server = support.start({ files = { ["moonq.lua"] = "return {}" }, args = { "--data", data } })
    local line = server:await_log("data.writable_by_others")
    assert.equal(data, line.data)
    assert.matches("chmod", line.next, 1, true)
  end)
end)
