local posix = require "moonq_posix"
local support = require "support"

-- A make inside make: its own flags, and the binary under test.
local function make(...)
  return support.run({ "make", "--no-print-directory", "BUILD=" .. support.binary:match("^(.*)/[^/]*$"), ... },
    { env = { MAKEFLAGS = false, MAKELEVEL = false, MFLAGS = false, SAN = false }, timeout = 300 })
end

local function files_below(folder)
  local status, out = support.run({ "find", folder, "-type", "f" })
  return status == 0 and out or ""
end

describe("make install", function()
  after_each(support.stop_all)

  it("puts a moonq below DESTDIR that needs nothing of the checkout, and uninstall removes all of it", function()
    local root = support.folder()
    local status, out, err = make("install", "PREFIX=/opt/moonq", "DESTDIR=" .. root)
    assert.equal(0, status, out .. err)
    local installed = root .. "/opt/moonq/bin/moonq"
    local shop = root .. "/shop"
    assert.equal(0, (support.run({ installed, "init", shop }, { cwd = "/" })))
    assert.equal(0, (support.run({ installed, "check", shop }, { cwd = "/" })))
    local server = support.start({ binary = installed, app = shop })
    assert.equal("Hello, Ana!", server.client:wait(server.client:push("hello", { name = "Ana" })).result.text)
    status, out, err = make("uninstall", "PREFIX=/opt/moonq", "DESTDIR=" .. root)
    assert.equal(0, status, out .. err)
    assert.equal("", files_below(root .. "/opt"))
  end)
end)

describe("the spec that moonq init writes", function()
  after_each(support.stop_all)

  it("passes", function()
    local shop = support.folder() .. "/shop"
    local here = posix.cwd()
    support.moonq("init", shop)
    local status, out, err = support.run({ "luajit", "/usr/bin/busted", "--output=TAP", "spec" }, { cwd = shop, env = {
      MOONQ_BINARY = support.binary, LUA_PATH = here .. "/stdlib/?.lua;;", LUA_CPATH = here .. "/build/lua/?.so;;",
    } })
    assert.equal(0, status, out .. err)
    assert.matches("ok 1 ", out, 1, true)
  end)
end)

describe("the rock", function()
  it("names every file that the client and the testing helper need", function()
    local spec = {}
    setfenv(assert(loadfile("moonq-scm-1.rockspec")), spec)()
    local rows = {}
    for name, source in pairs(spec.build.modules) do
      rows[name] = true
      for _, path in ipairs(type(source) == "table" and source.sources or { source }) do
        assert.equal("file", (posix.stat(path)), path)
      end
    end
    for _, name in ipairs({ "moonq.client", "moonq.client.json", "moonq.client.shapes", "moonq.testing" }) do
      assert.is_true(rows[name], name)
      for required in support.read_file(spec.build.modules[name]):gmatch('require "([^"]+)"') do
        assert.is_true(rows[required] or required == "cjson", name .. " requires " .. required)
      end
    end
  end)
end)
