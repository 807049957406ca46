-- moonq.smtp against aiosmtpd, and against servers with bad habits. Run by test_net.c.
-- luacheck: globals t _host

local tests = require "net_tests"
local smtp = require "moonq.smtp"
local json = require "moonq.json"
local test, equal, contains, is_true, raises, together =
  tests.test, tests.equal, tests.contains, tests.is_true, tests.raises, tests.together

local allowed = "smtp 127.0.0.1  smtp localhost "
t.allow(allowed)

local function decode64(text)
  local map = {}
  for i, c in ipairs({ "A-Z", "a-z", "0-9" }) do
    local from, to = c:byte(1), c:byte(3)
    for b = from, to do
      map[string.char(b)] = (i - 1) * 26 + b - from
    end
  end
  map["+"], map["/"] = 62, 63
  local bits, count, out = 0, 0, {}
  for c in text:gmatch("[%w+/]") do
    bits, count = bits * 64 + map[c], count + 6
    if count >= 8 then
      count = count - 8
      out[#out + 1] = string.char(math.floor(bits / 2 ^ count))
      bits = bits % 2 ^ count
    end
  end
  return table.concat(out)
end

-- A server with its own folder; `mails()` reads what arrived, in order.
local function server(...)
  local folder = t.folder()
  local port = tests.python("smtp_server.py", folder, ...)
  local function mails()
    local list = {}
    while true do
      local file = io.open(("%s/%d.json"):format(folder, #list + 1))
      if not file then
        return list
      end
      list[#list + 1] = json.decode(file:read("*a"))
      file:close()
    end
  end
  return "smtp://127.0.0.1:" .. port, mails
end

local url, mails = server()

local function send(fields)
  local options = { url = url, from = "shop@example.org", to = "one@example.org", subject = "Hello", text = "Hi\n" }
  for name, value in pairs(fields or {}) do
    options[name] = value
  end
  return smtp.send(options)
end

local function last()
  local list = mails()
  return list[#list]
end

test("delivers a mail", function()
  local result = send({ message_id = "job1" })
  equal("<job1@example.org>", result.message_id)
  contains("250 2.0.0 taken as", result.reply)
  local mail = last()
  equal("shop@example.org", mail.from)
  equal("one@example.org", mail.to[1])
  equal("Hello", mail.subject)
  equal("<job1@example.org>", mail.message_id)
  equal("Hi\r\n", decode64(mail.parts[1].content))
  equal(0, #mail.defects)
end)

test("keeps names and text of many scripts", function()
  local names = {
    "Jürgen Müller", "Ελένη Παπαδοπούλου", "Иван Петров", "محمد علي", "דוד כהן", "田中 太郎", "김민준", "अनिल कुमार",
    "สมชาย ใจดี", "Nguyễn Văn Á", "Łukasz Żółć", "O'Neil, \"Q\" (x)", "👩‍🚀 Ace",
  }
  for _, name in ipairs(names) do
    local text = ("Hello " .. name .. " – "):rep(30) .. "\n"
    local subject = "Für " .. name .. " " .. name
    send({ to = { address = "someone@example.org", name = name }, subject = subject, text = text })
    local mail = last()
    equal(name, mail.header_to[1][1])
    equal("someone@example.org", mail.header_to[1][2])
    equal(subject, mail.subject)
    equal((text:gsub("\n", "\r\n")), decode64(mail.parts[1].content))
    is_true(mail.longest_line <= 78 and mail.bare == 0)
  end
end)

test("sends text, html, inline pictures and attachments as one", function()
  local binary = {}
  for i = 0, 255 do
    binary[#binary + 1] = string.char(i)
  end
  binary = table.concat(binary):rep(40)
  send({
    text = "plain", html = "<img src='cid:logo'> ü",
    headers = { ["X-Job"] = "7", ["List-Unsubscribe"] = "<mailto:u@x.org>" },
    attachments = {
      { filename = "logo.png", content = "PNG", type = "image/png", id = "logo" },
      { filename = "Rechnung für Ömer.pdf", content = binary, type = "application/pdf" },
      { filename = ("ж"):rep(80) .. ".txt", content = "" },
    },
  })
  local parts = last().parts
  local kinds = {}
  for i, part in ipairs(parts) do
    kinds[i] = part.type
    equal(0, #(part.defects or {}), part.type)
  end
  equal("multipart/mixed multipart/alternative text/plain multipart/related text/html image/png application/pdf "
    .. "application/octet-stream", table.concat(kinds, " "))
  equal("<img src='cid:logo'> ü", decode64(parts[5].content))
  equal("<logo>", parts[6].id)
  equal("inline", parts[6].disposition)
  equal("Rechnung für Ömer.pdf", parts[7].filename)
  equal(binary, decode64(parts[7].content))
  equal("attachment", parts[7].disposition)
  equal(("ж"):rep(80) .. ".txt", parts[8].filename)
end)

test("lines that are a dot do not end the mail", function()
  local text = ".\n..\n.hidden\nplain.\n.\r\n.\r"
  send({ text = text .. "QUIT\n" })
  equal(".\r\n..\r\n.hidden\r\nplain.\r\n.\r\n.\r\nQUIT\r\n", decode64(last().parts[1].content))
  equal(0, last().bare)
end)

test("sends one copy to all of to, cc and bcc", function()
  local before = #mails()
  send({ to = { "a@x.org", "b@x.org" }, cc = "c@x.org", bcc = { "d@x.org" } })
  equal(before + 1, #mails())
  equal("a@x.org b@x.org c@x.org d@x.org", table.concat(last().to, " "))
  is_true(not decode64(last().raw):find("d@x.org", 1, true))
end)

test("tells the server's own reason for a refused recipient", function()
  local before = #mails()
  local err = raises("SMTP", send, { to = "nosuch@example.org" })
  equal(550, err.status)
  equal(false, err.retryable)
  equal("550 5.1.1 <nosuch@example.org>: no such user", err.message)
  err = raises("SMTP", send, { to = "later@example.org" })
  equal(450, err.status)
  equal(true, err.retryable)
  err = raises("SMTP", send, { to = { "good@x.org", "later@x.org", "nosuch@x.org", "nosuch2@x.org" } })
  equal(3, #err.refused)
  equal("later@x.org", err.refused[1].address)
  equal(450, err.refused[1].status)
  equal("550 5.1.1 <nosuch@x.org>: no such user", err.refused[2].message)
  equal(550, err.status)
  equal(false, err.retryable)
  contains("<nosuch2@x.org> 550 5.1.1", err.message)
  equal(before, #mails(), "nobody got a mail")
end)

test("sends to those that are taken, if that is wanted", function()
  local result = send({ to = { "good@x.org", "nosuch@x.org" }, partial = true })
  equal(1, #result.refused)
  equal("good@x.org", table.concat(last().to, " "))
  raises("SMTP", send, { to = { "nosuch@x.org" }, partial = true })
end)

test("tells why a mail was refused", function()
  local err = raises("SMTP", send, { subject = "spam" })
  equal(554, err.status)
  equal("554 5.7.1 this looks like spam", err.message)
  send() -- the connection is still good
end)

test("a broken address gets the server's own words", function()
  local err = raises("SMTP", send, { to = "broken@@example..org" })
  equal(false, err.retryable)
  is_true(err.status >= 500 and err.message:find("^5%d%d "), err.message)
end)

test("uses a connection again", function()
  send()
  local number = last().connection
  for _ = 1, 5 do
    send()
  end
  equal(number, last().connection)
  for _ = 1, 5 do -- also after a refusal; while that is taken back, another one may be used
    pcall(send, { to = "nosuch@example.org" })
    send()
    is_true(last().connection <= number + 1)
  end
end)

test("many mails share a few connections", function()
  local list = {}
  for i = 1, 100 do
    list[i] = function()
      send({ to = "person" .. i .. "@example.org" })
    end
  end
  local before = #mails()
  local errors = together(list)
  equal(nil, errors[1] and errors[1].message)
  equal(before + 100, #mails())
  local seen, count = {}, 0
  for _, mail in ipairs(mails()) do
    count = count + (seen[mail.connection] and 0 or 1)
    seen[mail.connection] = true
  end
  is_true(count <= 17, count .. " connections")
end)

test("addresses outside of ASCII need a server that takes them", function()
  send({ to = "jörg@bücher.example" })
  equal("jörg@xn--bcher-kva.example", last().to[1])
  equal(true, last().utf8)
  equal("jörg", last().header_to[1][2]:match("^(.*)@"))
  local plain = server("--no-utf8")
  local err = raises("SMTP", send, { url = plain, to = "jörg@example.org" })
  contains("does not offer SMTPUTF8", err.message)
  equal(false, err.retryable)
  send({ url = plain, to = "info@bücher.example" })
end)

test("a mail that is too large is not sent at all", function()
  local small = server("--size", "2000")
  local err = raises("TOOBIG", send, { url = small, text = ("x\n"):rep(3000) })
  contains("at most 2000 bytes", err.message)
  send({ url = small })
end)

test("goes only where the handler may", function()
  t.allow("smtp mail.example:25 ")
  contains('allow = { smtp = { "127.0.0.1" } }', raises("NOPERM", send).message)
  t.allow("http * ")
  raises("NOPERM", send)
  t.allow(allowed)
  for _, wrong in ipairs({ "http://127.0.0.1", "127.0.0.1", "smtp://user:pw@127.0.0.1", "" }) do
    raises("BADARG", send, { url = wrong })
  end
  raises("BADARG", smtp.send, { from = "a@b", to = "c@d" })
  raises("BADARG", send, { subjekt = "x" })
end)

test("tells how a transport fails", function()
  local err = raises("CONNECT", send, { url = "smtp://127.0.0.1:" .. t.free_port() })
  equal(true, err.retryable)
  t.allow("smtp nowhere.invalid ")
  raises("DNS", send, { url = "smtp://nowhere.invalid" })
  t.allow(allowed)
end)

-- ---- TLS and login ----

local folder = tests.certificate()
local cert, key = folder .. "/cert.pem", folder .. "/key.pem"

test("a password goes over TLS only", function()
  local secure, secure_mails = server("--tls", cert, key, "--require-tls", "--auth")
  local login = { url = secure, username = "user", password = "secret", ca = cert }
  send(login)
  send(login)
  local list = secure_mails()
  equal(true, list[2].tls)
  equal("user", list[2].login)
  equal(list[1].connection, list[2].connection)
  login.password = "wrong"
  local err = raises("SMTP", send, login)
  equal(535, err.status)
  equal("535 5.7.8 wrong name or password", err.message)
  equal(false, err.retryable)
  login.ca = nil
  equal(true, raises("TLS", send, login).retryable)
  raises("BADARG", send, { username = "u", password = "p", starttls = "try" })
  equal(true, raises("TLS", send, { username = "user", password = "secret" }).retryable) -- that server has no TLS
  local clear, clear_mails = server("--auth")
  send({ url = clear, username = "user", password = "secret", starttls = false })
  equal("user", clear_mails()[1].login)
  err = raises("SMTP", send, { url = clear })
  equal(530, err.status)
end)

test("uses TLS when the server has it", function()
  local secure, secure_mails = server("--tls", cert, key)
  send({ url = secure, ca = cert })
  equal(true, secure_mails()[1].tls)
  send({ url = secure, starttls = false })
  equal(false, secure_mails()[2].tls)
  raises("TLS", send, { url = secure })
  send({ url = secure, verify = false })
end)

-- ---- bad habits ----

local function rude(habit)
  return "smtp://127.0.0.1:" .. tests.python("smtp_rude.py", habit)
end

test("gives up on a server that does not answer", function()
  for habit, step in pairs({ silent = "the greeting", ["hang-data"] = "the mail's end" }) do
    local began = t.clock()
    local err = raises("TIMEOUT", send, { url = rude(habit), timeout = "300ms" })
    is_true(t.clock() - began < 2)
    contains("no answer to " .. step .. " within 300ms", err.message)
    equal(true, err.retryable)
  end
end)

test("others go on while a server thinks about a mail", function()
  local slow = rude("slow-data")
  local over = false
  local task = t.go(function()
    send({ url = slow })
    over = true
  end)
  local turns, longest, before = 0, 0, t.clock()
  while not t.is_over(task) do
    t.sleep(0.005)
    longest = math.max(longest, t.clock() - before)
    before = t.clock()
    turns = turns + 1
  end
  is_true(over and turns > 20, turns .. " turns")
  is_true(longest < 0.15, "the loop stood still for " .. longest)
end)

test("a connection that the server dropped meanwhile is no failure", function()
  local drop = rude("drop")
  for i = 1, 5 do
    contains("over connection " .. i, send({ url = drop }).reply)
  end
end)

test("tells what a busy server says", function()
  local err = raises("SMTP", send, { url = rude("busy") })
  equal(421, err.status)
  equal("421 4.3.2 mail.test too many connections, come back later", err.message)
  equal(true, err.retryable)
end)

test("reads replies of several lines whole", function()
  local err = raises("SMTP", send, { url = rude("lines") })
  equal("550 5.1.1 The account that you tried to reach 5.1.1 does not exist. 5.1.1 Goodbye", err.message)
end)

test("is not confused by nonsense, a cut or an early no", function()
  raises("BROKEN", send, { url = rude("garbage") })
  equal(true, raises("BROKEN", send, { url = rude("cut"), text = ("x\n"):rep(100000) }).retryable)
  local err = raises("SMTP", send, { url = rude("early"), text = ("x\n"):rep(400000) })
  equal(552, err.status)
end)

test("a mail whose task ended is abandoned", function()
  for _, habit in ipairs({ "silent", "hang-data", "slow-data" }) do
    local where = rude(habit)
    local list = {}
    for i = 1, 20 do -- more than there are connections: some wait
      list[i] = t.go(function()
        send({ url = where })
        error("it went on")
      end)
    end
    t.sleep(0.05)
    for _, task in ipairs(list) do
      t.cancel(task)
    end
  end
  collectgarbage()
  send()
end)

test("ends without waiting for a server that never says goodbye", function()
  send({ url = rude("mute-quit") }) -- the connection stays until the end of this program, which must not hang
end)
