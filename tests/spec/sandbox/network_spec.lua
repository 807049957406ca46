-- Handlers that want to speak to hosts that they may not, or to files and sockets through URLs.

local attack = require "sandbox.attack"
local support = require "support"

local top = [[
  local http, smtp = require "moonq.http", require "moonq.smtp"
  local function codes(urls, opts)
    for _, url in ipairs(urls) do
      local ok, err = pcall(http.get, url, opts)
      if ok or (err.code ~= "NOPERM" and err.code ~= "BADARG") then
        return url .. ": " .. (ok and "it was asked" or tostring(err))
      end
    end
    return "refused"
  end
]]

-- Nothing listens on port 1: CONNECT tells that the handler would have got through.
local only = 'timeout = "20s", allow = { http = { "allowed.test", "*.sub.test", "127.0.0.1:1" }, ' ..
  'smtp = { "mail.test:25" } }'

attack.suite("a handler that may speak to a few hosts", {
  { "speaks to no other", declare = only, top = top, result = "refused", run = [[
    return codes({ "http://127.0.0.1/", "http://127.0.0.1:2/", "http://127.0.0.2:1/", "http://localhost:1/",
      "https://127.0.0.1/", "http://allowed.test.evil.test/", "http://evil-allowed.test/", "http://sub.test/",
      "http://xsub.test/", "http://allowed.test./", "http://evil.test/?allowed.test", "http://evil.test/#allowed.test",
      "http://evil.test/http://allowed.test/" })]] },
  { "does not get further by the user in a URL", declare = only, top = top, result = "refused", run = [[
    return codes({ "http://allowed.test@evil.test/", "http://allowed.test:80@evil.test/",
      "http://allowed.test:x@127.0.0.1:2/", "http://@evil.test/", "http://allowed.test%40evil.test/",
      "http://evil.test\\@allowed.test/", "http://allowed.test\\@evil.test/",
      "http://evil.test#@allowed.test/", "http://evil.test?@allowed.test/", "http://127.0.0.1:1@127.0.0.1:2/" })]] },
  { "does not get further by other ways to write an address", declare = only, top = top, result = "refused", run = [[
    return codes({ "http://0/", "http://0.0.0.0:1/", "http://127.1:2/", "http://2130706433/", "http://0x7f000001:2/",
      "http://0177.0.0.1:2/", "http://[::1]:1/", "http://[::]:1/", "http://[::ffff:127.0.0.1]:1/",
      "http://[::ffff:7f00:1]:1/", "http://[0:0:0:0:0:ffff:127.0.0.1]:1/", "http://[::1%25lo]:1/", "http://[]/",
      "http://[127.0.0.1]:1/", "http://[allowed.test]/", "http://[vf.x]/" })]] },
  { "does not get further by ports of nonsense", declare = only, top = top, result = "refused", run = [[
    return codes({ "http://127.0.0.1:65537/", "http://127.0.0.1:-1/", "http://127.0.0.1:0/", "http://127.0.0.1:1:2/",
      "http://127.0.0.1:4294967297/", "http://127.0.0.1:0x1/", "http://127.0.0.1:1e0/", "http://127.0.0.1: 1/" })]] },
  { "does not get further by bytes that parsers disagree about", declare = only, top = top, result = "refused",
    run = [[
    return codes({ "http://allowed.test\0.evil.test/", "http://evil.test\0allowed.test/",
      "http://evil.test\r\nHost: x/", "http://evil.test\t/", "http:\\\\evil.test/", "http:evil.test", "http:/evil.test",
      "http:///evil.test/", "//allowed.test/", "allowed.test", "http://", "", "http://evil%2etest/",
      "http://evil.test%2f.sub.test/",
      "http://evil.test%00.sub.test/", "http://evil.test%23.sub.test/", "http://evil.test;.sub.test/",
      "http://evil.test .sub.test/" })]] },
  { "uses no other scheme", declare = only, top = top, result = "refused", run = [[
    return codes({ "file:///etc/passwd", "FILE:///etc/passwd", "file://allowed.test/etc/passwd", "file:/etc/passwd",
      "gopher://allowed.test/", "dict://allowed.test/", "ftp://allowed.test/", "ldap://allowed.test/",
      "smtp://allowed.test/", "telnet://allowed.test/", "scp://allowed.test/", "unix:///tmp/x.sock",
      "http+unix://%2ftmp%2fx.sock/", "data:text/plain,x", "jar:http://allowed.test!/", "ws://allowed.test/" })]] },
  { "knows no option for unix sockets, files or other resolvers", declare = only, top = top, result = "refused",
    run = [[
    for _, name in ipairs({ "unix_socket", "unix_socket_path", "unix", "abstract_socket", "resolve", "connect_to",
      "interface", "output", "upload", "cert", "key", "cookie_jar", "netrc", "dns", "username", "url", "method" }) do
      local ok, err = pcall(http.get, "http://127.0.0.1:1/", { [name] = "/etc/passwd" })
      if ok or err.code ~= "BADARG" then return name end
    end
    return "refused"]] },
  { "uses no proxy that it may not speak to", declare = only, top = top, result = "refused", run = [[
    for _, proxy in ipairs({ "http://evil.test:3128", "http://127.0.0.1:2", "http://127.0.0.1:1@evil.test:3128",
      "socks5://127.0.0.1:1", "socks5h://evil.test", "evil.test:3128", "127.0.0.1:2", "unix:///tmp/x",
      "http://", "/" }) do
      local ok, err = pcall(http.get, "http://127.0.0.1:1/", { proxy = proxy })
      if ok or (err.code ~= "NOPERM" and err.code ~= "BADARG") then return proxy .. tostring(err) end
    end
    return "refused"]] },
  { "forges no Host, no length and no second request", declare = only, top = top, result = "refused", run = [[
    for _, headers in ipairs({ { Host = "evil.test" }, { host = { "127.0.0.1", "evil.test" } }, { Host = "" },
      { ["Host "] = "evil.test" }, { ["Content-Length"] = "0" }, { ["transfer-encoding"] = "chunked" },
      { X = "a\r\nHost: evil.test" }, { X = "a\nb" }, { X = "a\0b" }, { ["X\r\nY"] = "b" }, { ["X:"] = "b" },
      { [""] = "x" } }) do
      local ok, err = pcall(http.get, "http://127.0.0.1:1/", { headers = headers })
      if ok or (err.code ~= "NOPERM" and err.code ~= "BADARG") then return next(headers) .. tostring(err) end
    end
    for _, method in ipairs({ "GET / HTTP/1.1\r\n", "CONNECT", "G ET", "", "GET\0" }) do
      local ok, err = pcall(http.request, method, "http://127.0.0.1:1/")
      if ok or err.code ~= "BADARG" then return method end
    end
    return "refused"]] },
  { "reads no file through mail", declare = only, top = top, result = "refused", run = [[
    for _, part in ipairs({ { attachments = { { path = "/etc/passwd" } } }, { attachments = { "/etc/passwd" } },
      { attachments = { { name = "x", file = "/etc/passwd" } } }, { file = "/etc/passwd" }, { text = { path = "/x" } },
      { headers = { ["X\r\nBcc"] = "a@example.org" } }, { headers = { Subject2 = "a\r\nBcc: b@example.org" } },
      { subject = "a\r\nBcc: b@example.org" }, { to = "a@example.org>\r\nRCPT TO:<b@example.org" },
      { from = "a@example.org>\r\nDATA" }, { message_id = "<a>\r\nBcc: b@example.org" } }) do
      local mail = { url = "smtp://mail.test:25", from = "a@example.org", to = "b@example.org", subject = "x",
        text = "x" }
      for name, value in pairs(part) do mail[name] = value end
      local ok, err = pcall(smtp.send, mail)
      if ok or err.code ~= "BADARG" then return next(part) .. tostring(err) end
    end
    return "refused"]] },
  { "gives mail to no other server", declare = only, top = top, result = "refused", run = [[
    for _, url in ipairs({ "smtp://evil.test:25", "smtp://mail.test:26", "smtp://mail.test@evil.test:25",
      "smtp://allowed.test:25", "http://mail.test:25", "smtps://mail.test", "file:///etc/passwd", "imap://mail.test:25",
      "smtp://mail.test:25\r\nQUIT", "smtp://[::1]:25" }) do
      local ok, err = pcall(smtp.send, { url = url, from = "a@example.org", to = "b@example.org", text = "x" })
      if ok or (err.code ~= "NOPERM" and err.code ~= "BADARG") then return url .. tostring(err) end
    end
    return "refused"]] },
  { "reads no device as certificates", declare = only, top = top, result = "refused", run = [[
    local long = ("-----BEGIN CERTIFICATE-----\n"):rep(2e5)
    for _, ca in ipairs({ "/dev/urandom", "/dev/zero", "/dev/null", "/etc", "/proc", long }) do
      local ok, err = pcall(http.get, "https://127.0.0.1:1/", { ca = ca })
      if ok or err.code ~= "BADARG" then return ca:sub(1, 20) .. tostring(err) end
      ok, err = pcall(smtp.send, { url = "smtp://mail.test:25", from = "a@example.org", to = "b@example.org",
        text = "x", ca = ca })
      if ok or err.code ~= "BADARG" then return ca:sub(1, 20) .. tostring(err) end
    end
    return "refused"]] },
  { "leaves no copies of bodies behind for options that are refused", declare = only, top = top, result = "refused",
    run = [[
    local body = ("x"):rep(5e6)
    for _ = 1, 300 do
      local ok, err = pcall(http.post, "http://127.0.0.1:1/", { body = body, timeout = "garbage" })
      if ok or err.code ~= "BADARG" then return tostring(err) end
    end
    return "refused"]],
    verify = function(server)
      local text = support.read_file("/proc/" .. server.client:workers()[1].pid .. "/status") or ""
      assert.is_true(tonumber(text:match("VmHWM:%s*(%d+) kB")) < 400 * 1024, text)
    end },
  { "cannot widen what it may after it was loaded", declare = 'timeout = "20s", allow = allowed',
    top = top .. [[ local allowed = { http = { "allowed.test" } } ]], result = "refused", run = [[
    allowed.http[2], allowed.http[1] = "*", "127.0.0.1"
    return codes({ "http://127.0.0.1:1/" })]] },
  { "gets through where it may", declare = only, top = top, result = "CONNECT", run = [[
    return select(2, pcall(http.get, "http://127.0.0.1:1/")).code]] },
}, { env = { http_proxy = "http://127.0.0.1:9", ALL_PROXY = "socks5://127.0.0.1:9" } })

describe("a redirect", function()
  local server, web
  setup(function()
    web = support.program({ "/usr/bin/python3", "-B", "tests/spec/sandbox/redirects.py" })
    local port = web:expect(function(text)
      return tonumber(text:match("PORT (%d+)"))
    end)
    server = attack.start({ follows = ([[
      local http = require "moonq.http"
      return { attempts = 1, timeout = "20s", allow = { http = { "127.0.0.1:%d" } }, run = function(job)
        local ok, err = pcall(http.get, "http://127.0.0.1:%d/?to=" .. job.args.to)
        return ok and "followed" or err.code
      end }]]):format(port, port) })
  end)
  teardown(support.stop_all)

  for _, to in ipairs({ "http://127.0.0.1:1/", "http://localhost:1/", "file:///etc/passwd", "//evil.test/",
    "http://127.0.0.1@evil.test/", "gopher://127.0.0.1/", "http://[::1]:1/", "unix:///x", "javascript:0",
    "\\\\evil.test" }) do
    it("to " .. to .. " is not followed", function()
      attack.among_neighbours(server, to, function()
        local id = server.client:push("follows", { to = to:gsub("[^%w]", function(c)
          return ("%%%02X"):format(c:byte())
        end) })
        local answer = server.client:wait(id)
        assert.equal("succeeded", answer.state)
        assert.truthy(answer.result == "NOPERM" or answer.result == "BADARG" or
          -- curl reads what has no scheme as a path: the same server, which answers the same again
          (answer.result == "REDIRECTS" and not to:find("^%a+:") and not to:find("^//")), tostring(answer.result))
      end)
    end)
  end
end)
