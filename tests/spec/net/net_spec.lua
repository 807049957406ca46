-- moonq.http and moonq.smtp in real worker processes. Every turn of them is tried in tests/unit/runtime/net_*.lua, with
-- the same servers; here is what only the real runtime shows: the sandbox, allow, cancel, timeouts, a mail through.

local support = require "support"
local cjson = require "cjson"

local config = "return { pools = { default = { workers = %d, concurrency = %d, memory = '32MiB' } } }"

local function python(script, ...)
  local program = support.program({ "/usr/bin/python3", "-B", "tests/spec/net/" .. script, ... })
  return program:expect(function(text)
    return tonumber(text:match("PORT (%d+)"))
  end)
end

local handlers = {
  ["handlers/get.lua"] = [[
    local http = require "moonq.http"
    return { attempts = 1, timeout = "20s", allow = { http = { "127.0.0.1" } }, run = function(job)
      local response = http.get(job.args.url, { json = job.args.json, timeout = job.args.timeout })
      return { status = response.status, type = response.headers["Content-Type"], json = response.json }
    end }
  ]],
  ["handlers/wait.lua"] = [[
    local http = require "moonq.http"
    return { attempts = 1, timeout = "20s", allow = { http = { "*" } }, run = function(job)
      return http.get(job.args.url).status
    end }
  ]],
  ["handlers/short.lua"] = [[
    local http = require "moonq.http"
    return { attempts = 1, timeout = "300ms", allow = { http = { "127.0.0.1" } }, run = function(job)
      return http.get(job.args.url).status
    end }
  ]],
  ["handlers/big.lua"] = [[
    local http = require "moonq.http"
    return { attempts = 1, allow = { http = { "127.0.0.1" } }, run = function(job)
      return #http.get(job.args.url, { max_bytes = 200000000, timeout = "60s" }).body
    end }
  ]],
  ["handlers/mail.lua"] = [[
    local smtp = require "moonq.smtp"
    return { attempts = 1, allow = { smtp = { "127.0.0.1" } }, run = function(job)
      return smtp.send({ url = job.args.url, from = "Shop <shop@example.org>", to = job.args.to,
        subject = "Willkommen, " .. job.args.name, text = "Hi " .. job.args.name, message_id = job.id })
    end }
  ]],
  ["handlers/load.lua"] = [[
    local http = require "moonq.http"
    local ok, err = pcall(http.get, "http://127.0.0.1:1/")
    return { attempts = 1, run = function() return { ok = ok, message = tostring(err) } end }
  ]],
}

local function start(workers, slots)
  local files = { ["moonq.lua"] = config:format(workers or 1, slots or 50) }
  for name, text in pairs(handlers) do
    files[name] = text
  end
  return support.start({ files = files })
end

local function result(server, type_, args)
  local id = server.client:push(type_, args or {})
  server:await("job.succeeded", id)
  return cjson.decode(server.client:job(id).result)
end

local function failure(server, type_, args)
  local id = server.client:push(type_, args or {})
  server:await("job.dead", id)
  local attempts = server.client:job(id).attempts
  return attempts[#attempts]
end

describe("a handler", function()
  after_each(support.stop_all)

  it("gets an answer over HTTP", function()
    local base = "http://127.0.0.1:" .. python("http_server.py")
    local server = start()
    local got = result(server, "get", { url = base .. "/echo", json = { name = "Zoë" } })
    assert.equal(200, got.status)
    assert.equal("application/json", got.type)
    assert.equal("Zoë", cjson.decode(got.json.body).name)
  end)

  it("goes only where its allow says", function()
    local base = "http://127.0.0.1:" .. python("http_server.py")
    local server = start()
    local err = failure(server, "get", { url = base:gsub("127.0.0.1", "localhost") .. "/echo" })
    assert.matches("NOPERM", err.code)
    assert.matches('allow = { http = { "localhost" } }', err.message, 1, true)
    err = failure(server, "get", { url = base .. "/redirect?to=" .. base:gsub("127.0.0.1", "localhost") .. "/echo" })
    assert.matches("NOPERM", err.code)
    assert.matches("NOPERM", failure(server, "mail", { url = "smtp://localhost:25", to = "a@b", name = "x" }).code)
  end)

  it("cannot use the network while it is loaded", function()
    local server = start()
    local got = result(server, "load")
    assert.is_false(got.ok)
    assert.matches("only a running handler", got.message)
  end)

  it("is told why a request failed", function()
    local base = "http://127.0.0.1:" .. python("http_server.py")
    local server = start()
    local err = failure(server, "get", { url = base .. "/status?code=422" })
    assert.equal("HTTP", err.code)
    assert.matches("answered 422: because", err.message)
    err = failure(server, "get", { url = base .. "/never", timeout = "100ms" })
    assert.equal("TIMEOUT", err.code)
    -- a label of 64 characters never leaves the machine
    err = failure(server, "wait", { url = "http://" .. ("x"):rep(64) .. ".invalid/" })
    assert.equal("DNS", err.code)
  end)

  it("that waits for a silent server can be cancelled, and times out", function()
    local port = python("http_server.py")
    local base = "http://127.0.0.1:" .. port
    local server = start()
    local err = failure(server, "short", { url = base .. "/never" })
    assert.equal("TIMEOUT", err.code)
    local id = server.client:push("wait", { url = base .. "/never" })
    server:await("job.started", id)
    server.client:call("CANCEL", id)
    server:await("job.cancelled", id)
    assert.equal(200, result(server, "wait", { url = base .. "/echo" })) -- the worker is well
  end)

  it("that reads more than its memory troubles nobody else", function()
    local base = "http://127.0.0.1:" .. python("http_server.py")
    local server = start()
    local id = server.client:push("big", { url = base .. "/bytes?n=50000000" })
    server:await("job.started", id)
    assert.equal(200, result(server, "get", { url = base .. "/echo" }).status)
    assert.equal(1000, result(server, "big", { url = base .. "/bytes?n=1000" }))
    assert.is_not.equal("succeeded", server.client:job(id).state)
    assert.equal(0, server.client:job(id).crashes)
  end)

  it("waits beside five hundred others", function()
    local base = "http://127.0.0.1:" .. python("http_server.py")
    local server = start(1, 500)
    local ids = {}
    for i = 1, 500 do
      ids[i] = server.client:push("wait", { url = base .. "/slow?ms=300" })
    end
    server.client:wait(ids)
    local most = result(server, "get", { url = base .. "/stats" }).json.most_at_once
    assert.is_true(most >= 100, most .. " at once")
  end)

  it("sends mail, and its dead letter has the server's own reason", function()
    local folder = support.folder({})
    local url = "smtp://127.0.0.1:" .. python("smtp_server.py", folder)
    local server = start()
    local sent = result(server, "mail", { url = url, to = "zoe@example.org", name = "Ζωή 田中" })
    assert.matches("250 2.0.0 taken as 1", sent.reply)
    local mail = cjson.decode(support.read_file(folder .. "/1.json"))
    assert.equal("Willkommen, Ζωή 田中", mail.subject)
    assert.equal(sent.message_id, mail.message_id)
    local err = failure(server, "mail", { url = url, to = "nosuch@example.org", name = "x" })
    assert.equal("SMTP", err.code)
    assert.equal("550 5.1.1 <nosuch@example.org>: no such user", err.message)
  end)
end)
