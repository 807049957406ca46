local json = require "moonq.client.json"
local support = require "support"

-- Without a server: there is none at this socket.
local function cron(...)
  local words = { "cron", ... }
  words[#words + 1] = { env = { MOONQ_SOCKET = "/nonexistent/moonq.sock" } }
  return support.moonq(unpack(words))
end

local function lines(...)
  local status, out, err = cron(...)
  assert.equal(0, status, err)
  local all = {}
  for line in out:gmatch("[^\n]+") do
    all[#all + 1] = line
  end
  return all
end

describe("moonq cron next", function()
  it("prints one moment a line, with the offset of its zone", function()
    assert.same({ "2026-03-06T09:00:00+00:00", "2026-03-09T09:00:00+00:00" },
      lines("next", "0 9 * * 1-5", "--from", "2026-03-05T09:00:00Z", "-n", "2"))
    assert.same({ "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00" },
      lines("next", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-03-28T12:00:00Z", "-n", "2"))
    assert.same({ "2026-01-01T05:45:00+05:45" },
      lines("next", "45 5 * * *", "--tz", "Asia/Kathmandu", "--from", "2025-12-31T23:59:59Z", "-n", "1"))
  end)

  it("begins now, and prints ten", function()
    local moments = lines("next", "* * * * *")
    assert.equal(10, #moments)
  end)

  it("answers unix milliseconds to programs", function()
    local status, out = cron("next", "@daily", "--from", "2026-01-01T00:00:00Z", "-n", "2", "--json")
    assert.equal(0, status)
    assert.same({ 1767312000000, 1767398400000 }, json.decode(out))
    status, out = cron("next", "@reboot", "--json")
    assert.equal(0, status)
    assert.same("[]\n", out)
  end)

  it("follows the choices of an entry", function()
    local from = { "--tz", "Europe/Berlin", "--from", "2026-10-24T22:00:00Z", "-n", "2" }
    assert.same({ "2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00" },
      lines("next", "30 2 * * *", "--dst-overlap", "second", unpack(from)))
    assert.same({ "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00" },
      lines("next", "30 2 * * *", "--dst-overlap", "both", unpack(from)))
    assert.same({ "2026-03-30T02:30:00+02:00" }, lines("next", "30 2 * * *", "--dst-gap", "skip", "--tz",
      "Europe/Berlin", "--from", "2026-03-28T12:00:00Z", "-n", "1"))
    assert.same({ "2026-11-13T00:00:00+00:00" }, lines("next", "0 0 13 * FRI", "--days", "both", "--from",
      "2026-04-01T00:00:00Z", "-n", "1"))
    assert.same({ "2026-04-03T00:00:00+00:00" }, lines("next", "0 0 13 * FRI", "--from", "2026-04-01T00:00:00Z",
      "-n", "1"))
  end)

  it("hashes H on the name that is given", function()
    local function first(name)
      return lines("next", "H H * * *", "--name", name, "--from", "2026-04-01T00:00:00Z", "-n", "1")[1]
    end
    assert.equal(first("nightly"), first("nightly"))
    assert.not_equal(first("nightly"), first("weekly"))
    local status, _, err = cron("next", "H * * * *")
    assert.equal(2, status)
    assert.matches("minute, column 1: 'H'", err, 1, true)
  end)

  it("says what is wrong, with field and column", function()
    for expression, says in pairs({
      ["0 0 30 2 *"] = "day of month, column 5: '30'",
      ["*/0 * * * *"] = "minute, column 3: '0'",
      ["0 24 * * *"] = "hour, column 3: '24'",
      ["0 0 * FOO *"] = "month, column 7: 'FOO'",
      ["@evry 5m"] = "'@evry 5m'",
      ["@every 99ms"] = "@every, column 8: '99ms' is too often",
    }) do
      local status, _, err = cron("next", expression)
      assert.equal(2, status, expression)
      assert.matches("BADARG", err, 1, true)
      assert.matches(says, err, 1, true)
    end
  end)

  it("says which option is wrong", function()
    for _, row in ipairs({
      { "--tz", "Europe/Berlim", "'Europe/Berlim'" }, { "--tz", "../../etc/passwd", "not a time zone" },
      { "--from", "yesterday", "'yesterday'" }, { "-n", "0", "-n '0'" }, { "-n", "some", "-n 'some'" },
      { "--dst-gap", "run", "--dst-gap" },
    }) do
      local status, _, err = cron("next", "@daily", row[1], row[2])
      assert.equal(2, status, row[2])
      assert.matches(row[3], err, 1, true)
    end
    local status, _, err = cron("next", "@daily", "--tz", "Nowhere", "--json")
    assert.equal(2, status)
    assert.equal("BADARG", json.decode(err).error.code)
  end)

  it("asks the server for the name of an entry", function()
    local status, _, err = cron("next", "nightly")
    assert.equal(3, status)
    assert.matches("no server", err, 1, true)
    status, _, err = cron("next", "nightly", "--from", "2026-01-01")
    assert.equal(2, status)
    assert.matches("--from goes with an expression", err, 1, true)
  end)
end)

describe("moonq cron explain", function()
  it("says it in a sentence, and what it does when clocks change", function()
    local said = lines("explain", "0 9 * * 1-5")
    assert.equal("at 09:00, on Monday to Friday", said[1])
    assert.matches("a time that is skipped fires at the first moment after the gap", said[2], 1, true)
    said = lines("explain", "*/15 * * * *")
    assert.equal("every 15 minutes", said[1])
    assert.matches("both passes", said[2], 1, true)
    assert.same({ "every 90s" }, lines("explain", "@every 90s"))
    local status, out = cron("explain", "@weekly", "--json")
    assert.equal(0, status)
    assert.equal("at 00:00, on Sunday", json.decode(out).sentence)
  end)

  it("refuses what next refuses", function()
    local status, _, err = cron("explain", "0 0 31 4 *")
    assert.equal(2, status)
    assert.matches("never comes in month '4'", err, 1, true)
  end)
end)
