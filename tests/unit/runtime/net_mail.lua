-- moonq.mail: the text of messages. Run by test_net.c; what real parsers read in them is in net_smtp.lua.
-- luacheck: globals t

local tests = require "net_tests"
local mail = require "moonq.mail"
local test, equal, contains, is_true, raises = tests.test, tests.equal, tests.contains, tests.is_true, tests.raises

local function render(fields)
  fields.from = fields.from or "shop@example.org"
  fields.to = fields.to or "one@example.org"
  return mail.render(fields)
end

test("writes the fields that every mail has", function()
  local out = render({ subject = "Hello", text = "Hi\n", message_id = "01hq3z" })
  for _, line in ipairs({ "From: <shop@example.org>\r\n", "To: <one@example.org>\r\n", "Subject: Hello\r\n",
    "Message-ID: <01hq3z@example.org>\r\n", "MIME-Version: 1.0\r\n", "Content-Type: text/plain; charset=utf-8\r\n" }) do
    contains(line, out.message)
  end
  is_true(out.message:find("^Date: %a%a%a, %d%d %a%a%a 20%d%d %d%d:%d%d:%d%d %+0000\r\n"))
  is_true(out.message:find("\r\n\r\nHi\r\n$"))
  equal("<01hq3z@example.org>", out.message_id)
  equal("<a@b>", render({ message_id = "<a@b>" }).message_id)
  is_true(render({}).message_id ~= render({}).message_id, "ids differ")
end)

test("takes addresses in each of their forms", function()
  local out = render({
    to = {
      "a@x.org", "Ann Lee <b@x.org>", '"Lee, Ann" <c@x.org>', { address = "d@x.org", name = 'The "D"' }, "a@x.org",
    },
    cc = { name = "Zoë", "e@x.org" }, bcc = "hidden@x.org",
  })
  contains("To: <a@x.org>,\r\n Ann Lee <b@x.org>,\r\n \"Lee, Ann\" <c@x.org>,\r\n", out.message)
  contains('\r\n "The \\"D\\"" <d@x.org>', out.message)
  contains("Cc: =?UTF-8?B?Wm/Dqw==?= <e@x.org>", out.message)
  is_true(not out.message:find("hidden"))
  equal("a@x.org b@x.org c@x.org d@x.org e@x.org hidden@x.org", table.concat(out.to, " "))
  raises("BADARG", mail.render, { from = "a@x.org" })
  raises("BADARG", mail.render, { to = "a@x.org" })
  raises("BADARG", render, { to = "" })
  raises("BADARG", render, { to = { "" } })
  raises("BADARG", render, { to = 5 })
end)

test("leaves broken addresses to the server", function()
  equal("no-at-sign", render({ to = "no-at-sign" }).to[1])
  equal("a b@x.org", render({ to = "a b@x.org" }).to[1])
end)

test("writes domains as the name system does, and says when an address needs SMTPUTF8", function()
  local out = render({ to = "info@bücher.example" })
  equal("info@xn--bcher-kva.example", out.to[1])
  equal(false, out.utf8)
  out = render({ to = "jörg@bücher.example" })
  equal("jörg@xn--bcher-kva.example", out.to[1])
  equal(true, out.utf8)
end)

test("refuses what would begin another header", function()
  for _, fields in ipairs({
    { subject = "a\r\nBcc: x@y" }, { subject = "a\nb" }, { subject = "a\0b" }, { to = "a@b\r\nRCPT TO:<c@d>" },
    { to = { address = "a@b", name = "x\r\nBcc: y" } }, { to = "a\r\n <a@b>" }, { from = "a@b\n" .. "c" },
    { headers = { ["X-A"] = "b\r\nBcc: c" } }, { headers = { ["X-A\r\nBcc"] = "c" } }, { headers = { ["X A"] = "c" } },
    { headers = { Bcc = "c@d" } }, { headers = { ["Content-Type"] = "x" } }, { message_id = "a\r\nb" },
    { message_id = "a b" }, { reply_to = "a@b\r\nX: y" }, { to = "a@b>,<c@d" },
    { attachments = { { filename = "a\r\nb", content = "" } } },
    { attachments = { { filename = "a", content = "", type = "text/plain\r\nX: y" } } },
    { attachments = { { filename = "a", content = "", id = "a>\r\nX: y" } } },
  }) do
    raises("BADARG", render, fields)
  end
end)

test("refuses what is not UTF-8", function()
  for _, text in ipairs({ "\255", "\192\128", "\237\160\128", "a\226\130", "\244\144\128\128", "\128" }) do
    raises("BADARG", render, { subject = text })
    raises("BADARG", render, { text = text })
  end
  render({ subject = "\244\143\191\191 ퟿ é", text = "\239\191\189" })
end)

test("keeps all lines short", function()
  local long = ("word "):rep(100) .. ("x"):rep(3000)
  local people = {}
  for i = 1, 100 do
    people[i] = { address = "person" .. i .. "@example.org", name = ("Ω名"):rep(20) }
  end
  local out = render({
    subject = long, text = long .. ("é"):rep(500), html = ("日本語"):rep(1000), to = people,
    attachments = { { filename = ("ñ"):rep(100) .. ".txt", content = ("z"):rep(1000) } },
  })
  for line in out.message:gmatch("(.-)\r\n") do
    is_true(#line <= 78, #line .. " columns: " .. line)
  end
  is_true(not out.message:gsub("\r\n", ""):find("[\r\n\128-\255]"), "ASCII, and lines end with CR LF")
end)

test("encodes bodies in the way that keeps them readable", function()
  local function encoding(text)
    return render({ text = text }).message:match("Content%-Transfer%-Encoding: (%S+)")
  end
  equal("7bit", encoding("plain\ntext"))
  equal("quoted-printable", encoding("mostly plain, with one é in it"))
  equal("base64", encoding("Ελληνικά"))
  equal("quoted-printable", encoding(("x"):rep(2000)))
  equal("quoted-printable", encoding("--=_moonq_mixed--"))
  contains("a =3D b=20\r\n=C3=A9", render({ text = "a = b \né" .. (" plain"):rep(9) }).message)
end)
