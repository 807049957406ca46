-- moonq.http against servers that behave and others. Run by test_net.c.
-- luacheck: globals t

local tests = require "net_tests"
local http = require "moonq.http"
local test, equal, contains, is_true, raises, together =
  tests.test, tests.equal, tests.contains, tests.is_true, tests.raises, tests.together

local port = tests.python("http_server.py")
local base = "http://127.0.0.1:" .. port
local open_list = "http 127.0.0.1  http api.test  http localhost "
t.allow(open_list)

local function stats()
  return http.get(base .. "/stats").json
end

for _, verb in ipairs({ "get", "post", "put", "patch", "delete", "options" }) do
  test("sends " .. verb, function()
    local response = http[verb](base .. "/echo?x=1")
    equal(200, response.status)
    equal(verb:upper(), response.json.method)
    equal(verb == "post" and "0" or response.json.headers["content-length"], response.json.headers["content-length"])
  end)
end

test("sends head, which has no body", function()
  local response = http.head(base .. "/echo")
  equal("", response.body)
  equal("HEAD", response.headers["x-method"])
end)

test("asks for the length of what is larger than any body may be", function()
  equal("20971520", http.head(base .. "/huge?n=20971520").headers["content-length"])
  equal(200, http.head(base .. "/huge?n=100", { max_bytes = 10 }).status)
  raises("TOOBIG", http.get, base .. "/bytes?n=100", { max_bytes = 10 }) -- a handle that is used again has its limit
end)

test("sends any method by its name", function()
  equal("PROPFIND", http.request("propfind", base .. "/echo").json.method)
  raises("BADARG", http.request, "CONNECT", base)
  raises("BADARG", http.request, "GET / HTTP/1.1\r\nX: y", base)
end)

test("sends json, a form and a body with their types", function()
  local echo = http.post(base .. "/echo", { json = { name = "Jürgen", n = 1 } }).json
  equal("application/json", echo.headers["content-type"])
  contains('"n":1', echo.body)
  echo = http.post(base .. "/echo", { form = { a = "1 2", b = { "x", "y&z" }, c = true } }).json
  equal("application/x-www-form-urlencoded", echo.headers["content-type"])
  equal("a=1%202&b=x&b=y%26z&c=true", echo.body)
  echo = http.put(base .. "/echo", { body = "a\0b", headers = { ["Content-Type"] = "image/x" } }).json
  equal("image/x", echo.headers["content-type"])
  equal("3", echo.headers["content-length"])
  echo = http.put(base .. "/echo", { body = "raw" }).json
  equal(nil, echo.headers["content-type"])
  echo = http.delete(base .. "/echo", { json = { 1 } }).json
  equal("[1]", echo.body)
  echo = http.get(base .. "/echo", { body = "with get" }).json
  equal("GET", echo.method)
  equal("with get", echo.body)
  raises("BADARG", http.post, base .. "/echo", { json = 1, body = "x" })
  raises("BADARG", http.post, base .. "/echo", { bodi = "x" })
end)

test("sends large bodies", function()
  local body = ("0123456789"):rep(300000)
  equal(#body, #http.post(base .. "/echo", { body = body }).json.body)
end)

test("leaves nothing of a request to the next one", function()
  local first = http.get(base .. "/echo").json.headers
  contains("gzip", first["accept-encoding"])
  contains("moonq/", first["user-agent"])
  local others = {
    { "POST", { json = { 1 }, headers = { ["X-Mine"] = "1" } } },
    { "PUT", { body = "raw" } },
    { "HEAD" },
    { "DELETE" },
    { "GET", { body = "x", auth = { basic = { "name", "password" } } } },
    { "GET", { headers = { ["Accept-Encoding"] = "identity", ["User-Agent"] = "me" }, max_bytes = 5000 } },
    { "GET", { headers = { ["User-Agent"] = "me" }, http2 = false, verify = false } },
    { "POST", { form = { a = 1 }, auth = { bearer = "token" } } },
  }
  for _, other in ipairs(others) do
    http.request(other[1], base .. "/echo", other[2])
    raises("BADARG", http.request, other[1], base .. "/echo", { headers = { ["X-Mine"] = "a\nb" }, body = "x" })
    local echo = http.get(base .. "/echo").json
    equal("GET", echo.method)
    equal("", echo.body)
    for name, value in pairs(echo.headers) do
      equal(first[name], value)
    end
    for name, value in pairs(first) do
      equal(value, echo.headers[name])
    end
  end
end)

test("a header of the handler's takes the place of ours", function()
  local sent = http.get(base .. "/echo", { headers = { ["User-Agent"] = "me" } }).json.headers
  equal("me", sent["user-agent"])
  contains("gzip", sent["accept-encoding"])
  sent = http.get(base .. "/echo", { headers = { ["Accept-Encoding"] = "identity" } }).json.headers
  equal("identity", sent["accept-encoding"])
  contains("moonq/", sent["user-agent"])
  sent = http.get(base .. "/echo", { headers = { ["accept-encoding"] = "x", ["user-agent"] = "me" } }).json.headers
  equal("x me", sent["accept-encoding"] .. " " .. sent["user-agent"])
end)

test("connections that the other side closed between requests are not missed", function()
  for _ = 1, 5 do
    local list = {}
    for i = 1, 20 do
      list[i] = function()
        equal("bye", http.get(base .. "/leave").body)
        t.sleep(0.01 * (i % 3))
        equal(200, http.get(base .. "/echo").status)
      end
    end
    equal(0, #together(list))
  end
end)

test("adds the query in a fixed order", function()
  local query = http.get(base .. "/echo?z=0#part", { query = { b = { 1, 2 }, a = "ä&", c = true } }).json.query
  local flat = {}
  for _, pair in ipairs(query) do
    flat[#flat + 1] = pair[1] .. "=" .. pair[2]
  end
  equal("z=0 a=ä& b=1 b=2 c=true", table.concat(flat, " "))
end)

test("sends headers, and reads them in any case", function()
  local echo = http.get(base .. "/echo", { headers = { ["X-One"] = "a", ["X-Two"] = { "b", "c" }, ["X-None"] = "" } })
  equal("a", echo.json.headers["x-one"])
  equal("c", echo.json.headers["x-two"])
  equal("", echo.json.headers["x-none"])
  contains("moonq/", echo.json.headers["user-agent"])
  local response = http.get(base .. "/headers")
  equal("yes", response.headers["X-MIXED-Case"])
  equal("a=1, b=2", response.headers["Set-Cookie"])
  equal(nil, response.headers.absent)
end)

test("refuses headers that would be more than one", function()
  raises("BADARG", http.get, base .. "/echo", { headers = { ["X-A"] = "b\r\nX-C: d" } })
  raises("BADARG", http.get, base .. "/echo", { headers = { ["X-A\r\nX-C"] = "b" } })
  raises("BADARG", http.get, base .. "/echo", { headers = { ["X-A"] = "b\0c" } })
  raises("BADARG", http.get, base .. "/echo", { headers = { ["Content-Length"] = "5" } })
  raises("BADARG", http.get, base .. "/echo", { headers = { ["Transfer-Encoding"] = "chunked" } })
  raises("BADARG", http.get, base .. "/echo\r\nX: y")
  raises("BADARG", http.get, base .. "/echo\0")
  raises("BADARG", http.get, base .. "/echo", { auth = { bearer = "a\r\nb" } })
end)

test("logs in", function()
  local echo = http.get(base .. "/echo", { auth = { basic = { "user", "pass:word" } } }).json
  equal("Basic dXNlcjpwYXNzOndvcmQ=", echo.headers.authorization)
  equal("Bearer abc", http.get(base .. "/echo", { auth = { bearer = "abc" } }).json.headers.authorization)
end)

test("raises for a status of 400 and above, unless told not to", function()
  local err = raises("HTTP", http.get, base .. "/status?code=422&secret=1")
  equal(422, err.status)
  equal(false, err.retryable)
  contains("/status answered 422: because", err.message)
  is_true(not err.message:find("secret"), "the query is not for logs")
  equal("because", err.response.body)
  local again = { [404] = false, [408] = true, [425] = true, [429] = true, [500] = true, [503] = true }
  for status, retryable in pairs(again) do
    equal(retryable, raises("HTTP", http.get, base .. "/status?code=" .. status).retryable)
  end
  equal(500, http.get(base .. "/status?code=500", { raise = false }).status)
end)

test("tells how long a busy server wants to be left alone", function()
  equal(7, raises("HTTP", http.get, base .. "/status?code=429&retry_after=7").retry_after)
  local date = os.date("!%a,%%20%d%%20%b%%20%Y%%20%H:%M:%S%%20GMT", os.time() + 100)
  local wait = raises("HTTP", http.get, base .. "/status?code=503&retry_after=" .. date).retry_after
  is_true(wait > 90 and wait <= 100, "from a date: " .. tostring(wait))
end)

test("answers what is not JSON with an error when json is asked for", function()
  local response = http.get(base .. "/bytes?n=3")
  equal("xxx", response.body)
  local err = raises("JSON", function()
    return response.json
  end)
  contains("is not JSON", err.message)
end)

test("gives up on a server that never answers", function()
  local began = t.clock()
  local err = raises("TIMEOUT", http.get, base .. "/never", { timeout = "200ms" })
  local took = t.clock() - began
  is_true(took >= 0.19 and took < 1.5, "after " .. took)
  equal(true, err.retryable)
  contains("no answer within 200ms", err.message)
  contains("did not end within 300ms", raises("TIMEOUT", http.get, base .. "/trickle", { timeout = 0.3 }).message)
  raises("BADARG", http.get, base, { timeout = "soon" })
  raises("BADARG", http.get, base, { timeout = 0 })
  raises("BADARG", http.get, base, { timeout = "3d" })
end)

test("follows redirects as their status says", function()
  local function via(code, verb, opts)
    return http[verb](("%s/redirect?code=%d&to=/echo"):format(base, code), opts)
  end
  local rows = { -- status, verb, what the target sees
    { 301, "post", "GET" }, { 302, "post", "GET" }, { 303, "post", "GET" }, { 303, "put", "GET" },
    { 307, "post", "POST" }, { 308, "post", "POST" }, { 301, "put", "PUT" }, { 302, "delete", "DELETE" },
    { 302, "get", "GET" },
  }
  for _, row in ipairs(rows) do
    local response = via(row[1], row[2], row[2] ~= "get" and { json = { 1 } } or nil)
    local what = row[1] .. " " .. row[2]
    equal(row[3], response.json.method, what)
    equal(row[3] == "GET" and "" or "[1]", response.json.body, what)
    equal(base .. "/echo", response.url)
    equal(1, response.redirects)
    if row[3] == "GET" then
      equal(nil, response.json.headers["content-type"], what)
    end
  end
  equal(302, http.get(base .. "/redirect?to=/echo", { redirects = 0 }).status)
  contains("more than 5", raises("REDIRECTS", http.get, base .. "/loop").message)
end)

test("checks each hop of a redirect", function()
  local other = tests.python("http_server.py")
  t.allow("http 127.0.0.1:" .. port .. " ")
  local before = http.get(base .. "/stats").json.requests
  local err = raises("NOPERM", http.get, base .. "/redirect?to=http://127.0.0.1:" .. other .. "/echo")
  contains("127.0.0.1:" .. other, err.message)
  equal(false, err.retryable)
  equal(before + 2, http.get(base .. "/stats").json.requests)
  raises("BADARG", http.get, base .. "/redirect?to=file:///etc/passwd")
  raises("BADARG", http.get, base .. "/redirect?to=http://user:pw@127.0.0.1:" .. port .. "/echo")
  t.allow(open_list)
  equal(1, http.get("http://127.0.0.1:" .. other .. "/stats").json.requests)
end)

test("keeps credentials from other origins", function()
  local other = tests.python("http_server.py")
  local opts = { auth = { bearer = "abc" }, headers = { Cookie = "c=1", ["X-Plain"] = "p" } }
  local echo = http.get(base .. "/redirect?to=http://127.0.0.1:" .. other .. "/echo", opts).json
  equal(nil, echo.headers.authorization)
  equal(nil, echo.headers.cookie)
  equal("p", echo.headers["x-plain"])
  echo = http.get(base .. "/redirect?to=http://127.0.0.1:" .. other .. "/echo", {
    auth = { basic = { "a", "b" } },
  }).json
  equal(nil, echo.headers.authorization)
  echo = http.get(base .. "/redirect?to=/echo", opts).json
  equal("Bearer abc", echo.headers.authorization)
  equal("c=1", echo.headers.cookie)
end)

test("goes only where the handler may", function()
  t.allow("http api.test:" .. port .. " ")
  equal(200, http.get("http://API.test:" .. port .. "/echo").status)
  for _, url in ipairs({ base .. "/echo", "http://localhost:" .. port .. "/", "http://api.test:1/",
    "http://api.test.evil.test:" .. port .. "/", "http://0x7f.1:" .. port .. "/", "http://2130706433:" .. port .. "/",
    "http://[::1]:" .. port .. "/", "http://api.test.:" .. port .. "/", "https://api.test/" }) do
    local err = raises("NOPERM", http.get, url)
    contains("allow = { http = { ", err.message)
  end
  for _, url in ipairs({ "file:///etc/passwd", "ftp://api.test/", "gopher://api.test:70/", "api.test/x", "",
    "http://", "http://user@api.test/", "http://api.test:99999/", "http://a b/", "smtp://api.test" }) do
    raises("BADARG", http.get, url)
  end
  raises("NOPERM", http.get, "http://api.test:" .. port .. "/echo", { headers = { Host = "localhost" } })
  raises("NOPERM", http.get, "http://api.test:" .. port .. "/echo", { proxy = "http://127.0.0.1:" .. port })
  t.allow("http bücher.example ")
  equal(200, http.get("http://bücher.example:" .. port .. "/echo").status)
  t.allow("http xn--bcher-kva.example ")
  equal(200, http.get("http://bücher.example:" .. port .. "/echo").status)
  t.allow(open_list)
end)

test("takes no proxy from the environment, and one from the caller", function()
  local echo = http.get("http://api.test:" .. port .. "/echo", { proxy = base }).json -- the echo sees what a proxy sees
  equal("/echo", echo.path)
  contains("api.test", echo.headers.host)
end)

test("refuses addresses that are not public when asked to", function()
  t.allow("http * ")
  raises("NOPERM", http.get, base .. "/echo", { public_only = true })
  contains("not public", raises("NOPERM", http.get, "http://api.test:" .. port .. "/", { public_only = true }).message)
  raises("NOPERM", http.get, "http://metadata.test/latest", { public_only = true })
  http.get("http://api.test:" .. port .. "/echo") -- leaves a connection behind
  raises("NOPERM", http.get, "http://api.test:" .. port .. "/echo", { public_only = true })
  t.allow(open_list)
end)

test("uses a connection again", function()
  local before = stats().connections
  for _ = 1, 20 do
    http.get(base .. "/echo")
  end
  equal(before, stats().connections)
end)

test("unpacks gzip, and counts what is unpacked", function()
  local response = http.get(base .. "/gzip?n=50000")
  equal(("y"):rep(50000), response.body)
  contains("gzip", response.headers["x-accept"])
  local err = raises("TOOBIG", http.get, base .. "/gzip?n=50000", { max_bytes = 49999 })
  contains("49999 bytes", err.message)
end)

test("limits the size of an answer", function()
  equal(1000, #http.get(base .. "/bytes?n=1000", { max_bytes = 1000 }).body)
  raises("TOOBIG", http.get, base .. "/bytes?n=1001", { max_bytes = 1000 })
  equal(1000, #http.get(base .. "/chunked?n=1000", { max_bytes = 1000 }).body)
  equal(false, raises("TOOBIG", http.get, base .. "/chunked?n=100000", { max_bytes = 1000 }).retryable)
  raises("TOOBIG", http.get, base .. "/bytes?n=10485761")
  equal(10485760, #http.get(base .. "/bytes?n=10485760").body)
end)

test("tells how a transport fails", function()
  local err = raises("CONNECT", http.get, "http://127.0.0.1:" .. t.free_port() .. "/x?secret")
  equal(true, err.retryable)
  is_true(not err.message:find("secret"))
  t.allow("http nowhere.invalid  http 127.0.0.1 ")
  raises("DNS", http.get, "http://nowhere.invalid/")
  t.allow(open_list)
  raises("BROKEN", http.get, base .. "/half", { headers = { ["X-Hang-Up"] = "now" } })
end)

test("two hundred at once take as long as one", function()
  local list = {}
  for i = 1, 200 do
    list[i] = function()
      equal(200, http.get(base .. "/slow?ms=200").status)
    end
  end
  local began = t.clock()
  equal(0, #together(list))
  local took = t.clock() - began
  is_true(took < 3, "took " .. took)
  is_true(stats().most_at_once >= 150, "at once: " .. stats().most_at_once)
end)

test("a request whose task ended is abandoned", function()
  local reached = false
  for _, path in ipairs({ "/never", "/trickle", "/bytes?n=5000000" }) do
    local task = t.go(function()
      http.get(base .. path)
      reached = reached or path ~= "/bytes?n=5000000"
    end)
    t.sleep(0.05)
    t.cancel(task)
  end
  for _ = 1, 200 do
    if stats().at_once <= 3 then
      break
    end
    t.sleep(0.01)
  end
  is_true(not reached)
  collectgarbage()
  equal(200, http.get(base .. "/echo").status)
end)

test("asks for a name once, however many want it", function()
  t.allow("http crowd.test  http 127.0.0.1 ")
  local before = t.lookups()
  local list = {}
  for i = 1, 100 do
    list[i] = function()
      http.get("http://crowd.test:" .. port .. "/echo")
    end
  end
  equal(0, #together(list))
  is_true(t.lookups() - before <= 2, "lookups: " .. t.lookups() - before)
  t.allow("http ghost.invalid ")
  before = t.lookups()
  for i = 1, 100 do
    list[i] = function()
      raises("DNS", http.get, "http://ghost.invalid/")
    end
  end
  equal(0, #together(list))
  is_true(t.lookups() - before <= 2, "lookups of nothing: " .. t.lookups() - before)
  t.allow(open_list)
end)

test("a slow lookup holds up nobody else, not even when it is abandoned", function()
  t.allow("http slow.test  http 127.0.0.1 ")
  local began = t.clock()
  local patient = t.go(function()
    equal(200, http.get("http://slow.test:" .. port .. "/echo").status)
  end)
  t.sleep(0.01)
  local waiting = t.go(function()
    http.get("http://slow.test:" .. port .. "/echo")
  end)
  t.sleep(0.05)
  t.cancel(waiting)
  raises("TIMEOUT", http.get, "http://slow.test:" .. port .. "/echo", { timeout = 0.05 })
  equal(200, http.get(base .. "/echo").status)
  is_true(t.clock() - began < 0.7, "nobody was held up")
  while not t.is_over(patient) do
    t.sleep(0.01)
  end
  local first = t.go(function()
    http.get("http://slow.test:" .. port .. "/never")
  end)
  t.sleep(0.05)
  t.cancel(first)
  t.allow(open_list)
end)

-- ---- TLS and HTTP/2 ----

local folder = tests.certificate()
local ca = folder .. "/cert.pem"
local tls_port = t.free_port()
local h2 = "https://localhost:" .. tls_port
do
  local conf = assert(io.open(folder .. "/nginx.conf", "w"))
  conf:write(([[
daemon off; master_process off; pid %s/nginx.pid; error_log stderr crit;
events { worker_connections 2000; }
http {
  access_log off; client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f; uwsgi_temp_path %s/u;
  scgi_temp_path %s/s;
  server { listen 127.0.0.1:%d ssl http2; ssl_certificate %s/cert.pem; ssl_certificate_key %s/key.pem;
    location / { proxy_pass http://127.0.0.1:%d; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Protocol $server_protocol; proxy_set_header X-Via $connection; } }
}]]):format(folder, folder, folder, folder, folder, folder, tls_port, folder, folder, port))
  conf:close()
  t.start({ "/usr/sbin/nginx", "-e", "stderr", "-p", folder, "-c", folder .. "/nginx.conf" })
  tests.await_port(tls_port)
end

test("speaks HTTP/2 over TLS, many requests over one connection", function()
  local response = http.get(h2 .. "/echo", { ca = ca })
  equal("2", response.http_version)
  equal("HTTP/2.0", response.json.headers["x-protocol"])
  local vias, list = {}, {}
  for i = 1, 50 do
    list[i] = function()
      local echo = http.post(h2 .. "/echo", { ca = ca, json = { i } }).json
      equal("[" .. i .. "]", echo.body)
      vias[echo.headers["x-via"]] = true
    end
  end
  equal(0, #together(list))
  local count = 0
  for _ in pairs(vias) do
    count = count + 1
  end
  equal(1, count, "connections")
end)

test("speaks HTTP/1.1 over TLS when told to", function()
  local response = http.get(h2 .. "/echo", { ca = ca, http2 = false })
  equal("1.1", response.http_version)
  is_true(response.timings.tls > 0 and response.timings.total >= response.timings.first_byte)
end)

test("trusts only who can prove the name", function()
  local err = raises("TLS", http.get, h2 .. "/echo")
  equal(true, err.retryable)
  t.allow("http * ")
  raises("TLS", http.get, "https://other.test:" .. tls_port .. "/echo", { ca = ca })
  equal(200, http.get("https://secure.test:" .. tls_port .. "/echo", { ca = ca }).status)
  equal(200, http.get("https://other.test:" .. tls_port .. "/echo", { verify = false }).status)
  raises("TLS", http.get, "https://other.test:" .. tls_port .. "/echo", { ca = ca }) -- nor over the connection left
  local pem = io.open(ca):read("*a")
  equal(200, http.get(h2 .. "/echo", { ca = pem }).status)
  raises("TLS", http.get, h2, { ca = folder .. "/absent.pem" })
  t.allow(open_list)
end)

-- ---- how much it costs ----

if os.getenv("MOONQ_BENCH") then
  local n, rounds = 500, 10
  local list = {}
  for i = 1, n do
    list[i] = function()
      for _ = 1, rounds do
        http.get(base .. "/slow?ms=50")
      end
    end
  end
  together(list)
  local began, cpu = t.clock(), t.cpu()
  together(list)
  io.stderr:write(("%d requests in %.3f s, %.1f us of CPU each\n"):format(n * rounds, t.clock() - began,
    (t.cpu() - cpu) * 1e6 / (n * rounds)))
end
