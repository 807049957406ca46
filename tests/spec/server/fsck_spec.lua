local support = require "support"
local json = require "moonq.client.json"

local files = {
  ["moonq.lua"] = "return {}",
  ["handlers/echo.lua"] = "return { run = function(job) return job.args end }",
}

local function fsck(...)
  return support.run({ support.binary, "fsck", ... })
end

describe("moonq fsck", function()
  after_each(support.stop_all)

  it("finds what a killed server leaves behind clean", function()
    local server = support.start({ files = files })
    for i = 1, 20 do server.client:push("echo", { n = i }, i % 2 == 0 and { delay = "1h" } or nil) end
    server:kill()
    local status, out = fsck(server.data)
    assert.equal(0, status)
    assert.matches("clean%. 20 jobs in 1 queues", out)
    server:restart()
  end)

  it("leaves the folder of a running server alone, and says whose it is", function()
    local server = support.start({ files = files })
    local status, _, err = fsck(server.data)
    assert.equal(2, status)
    assert.matches("process " .. server.pid, err, 1, true)
    status, _, err = fsck(server.data, "--json")
    assert.equal(2, status)
    assert.equal("CONFLICT", json.decode(err).error.code)
  end)

  it("answers in JSON for programs", function()
    local server = support.start({ files = files })
    local id = server.client:push("echo", {}, { delay = "1h" })
    server:halt()
    local status, out = fsck("--json", server.data)
    local answer = json.decode(out)
    assert.equal(0, status)
    assert.is_true(answer.clean)
    assert.equal(1, answer.jobs)
    assert.same({}, answer.problems)
    assert.equal(13, #id)
  end)

  it("says that a file was cut, and does not die of it", function()
    local server = support.start({ files = files })
    for _ = 1, 50 do server.client:push("echo", { text = ("x"):rep(3000) }, { delay = "1h" }) end
    server:halt()
    local text = support.read_file(server.data .. "/moonq.mdb")
    support.write_file(server.data .. "/moonq.mdb", text:sub(1, 20 * 4096))
    for _, mode in ipairs({ "--repair", "--json" }) do
      local status, out = fsck(server.data, mode)
      assert.equal(1, status)
      assert.matches("shorter than its last commit", out)
    end
    local _, out = fsck(server.data)
    assert.matches("which no repair can mend: restore a backup", out, 1, true)
  end)

  it("says which pages are damaged, and does not die of it", function()
    local server = support.start({ files = files })
    for _ = 1, 200 do server.client:push("echo", { text = ("x"):rep(300) }, { delay = "1h" }) end
    server:halt()
    local path = server.data .. "/moonq.mdb"
    local text = support.read_file(path)
    support.write_file(path, text:sub(1, 2 * 4096) .. ("\255"):rep(30 * 4096) .. text:sub(32 * 4096 + 1))
    local status, out, err = fsck(server.data)
    assert.is_true(status == 1 or status == 2)
    assert.matches("%S", out .. err)
    support.write_file(path, text:sub(1, 2 * 4096) .. ("\255"):rep(#text - 2 * 4096))
    status, out, err = support.run({ support.binary, "serve", server.app, "--data", server.data })
    assert.equal(1, status)
    assert.matches("moonq fsck says how, a backup must be restored", out .. err, 1, true)
  end)

  it("refuses what it does not understand", function()
    assert.equal(2, (fsck()))
    assert.equal(2, (fsck("--frobnicate", "x")))
    local status, _, err = fsck("/nonexistent")
    assert.equal(2, status)
    assert.matches("no store", err)
    assert.equal(0, (fsck("--help")))
  end)
end)
