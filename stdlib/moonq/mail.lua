-- Writes a mail as RFC 5322 and MIME want it. Sends nothing: moonq.smtp does. docs/smtp.md is the guide.
-- luacheck: globals _host

local host = _host
local concat = table.concat

---@class moonq.mail
local mail = {}

local CRLF = "\r\n"
local LINE = 76     -- columns after which lines are folded
local WORD_BYTES = 42 -- of text in an encoded word: 42 bytes are 56 characters, with the frame 68 of at most 75

local function misuse(format, ...)
  error(setmetatable({ code = "BADARG", message = format:format(...), retryable = false }, host.error_meta), 0)
end

-- ---- text ----------------------------------------------------------------------------------------------------

-- Lengths by first byte; overlong forms, surrogates and what is beyond U+10FFFF are not UTF-8.
local function is_utf8(text)
  local at, len = 1, #text
  while true do
    at = text:find("[\128-\255]", at)
    if not at then
      return true
    end
    local first, second = text:byte(at, at + 1)
    local more = (first >= 0xC2 and first <= 0xDF) and 1 or (first >= 0xE0 and first <= 0xEF) and 2
      or (first >= 0xF0 and first <= 0xF4) and 3
    if not more or at + more > len or text:sub(at + 1, at + more):find("[^\128-\191]") then
      return false
    elseif (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F) or (first == 0xF0 and second < 0x90)
      or (first == 0xF4 and second > 0x8F) then
      return false
    end
    at = at + more + 1
  end
end

local function checked_text(value, what)
  if type(value) == "number" then
    value = tostring(value)
  end
  if type(value) ~= "string" then
    misuse("%s must be a string, not a %s", what, type(value))
  end
  if not is_utf8(value) then
    misuse("%s is not UTF-8", what)
  end
  return value
end

-- A line break in a header would begin another header.
local function checked_line(value, what)
  value = checked_text(value, what)
  if value:find("[%z\1-\8\10-\31\127]") then
    misuse("%s must not contain a line break or another control character", what)
  end
  return value
end

-- The longest piece of at most `most` bytes that does not cut a character; and the rest.
local function cut(text, most)
  if #text <= most then
    return text, ""
  end
  local at = most
  while at > 1 and text:byte(at + 1) >= 128 and text:byte(at + 1) < 192 do
    at = at - 1
  end
  return text:sub(1, at), text:sub(at + 1)
end

-- "=?UTF-8?B?...?=", as many as it takes (RFC 2047).
local function encoded_words(text)
  local words = {}
  while text ~= "" do
    local piece
    piece, text = cut(text, WORD_BYTES)
    words[#words + 1] = "=?UTF-8?B?" .. host.mail_base64(piece, 0) .. "?="
  end
  return concat(words, " ")
end

-- ASCII that nobody could take for an encoded word, and that folding does not change.
local function is_plain(text)
  if text:find("[\128-\255]") or text:find("=?", 1, true) then
    return false
  end
  for word in text:gmatch("%S+") do
    if #word > 200 then
      return false
    end
  end
  return not text:find("^%s") and not text:find("%s$") and not text:find("%s%s") and not text:find("\t")
end

-- Breaks at spaces, so that lines stay short. Quoted text may be broken at its spaces too: unfolding restores them.
local function fold(name, value)
  local lines, line = {}, name .. ":"
  for word in value:gmatch("%S+") do
    if #line + 1 + #word > LINE and line ~= name .. ":" then
      lines[#lines + 1] = line
      line = ""
    end
    line = line .. " " .. word
  end
  lines[#lines + 1] = line
  return concat(lines, CRLF)
end

local function text_header(name, value)
  value = checked_line(value, name)
  return fold(name, is_plain(value) and value or encoded_words(value))
end

-- ---- addresses -----------------------------------------------------------------------------------------------

-- What may stand in front of <address> without quotes.
local function phrase(name)
  if not is_plain(name) then
    return encoded_words(name)
  elseif name:find("^[%w !#$%%&'*+/=?^_`{|}~-]+$") then
    return name
  end
  return '"' .. name:gsub('[\\"]', "\\%0") .. '"'
end

-- The domain as the name system writes it; the local part as it is. A second value: it needs SMTPUTF8.
local function ascii_address(address)
  local name, domain = address:match("^(.*)@([^@]*)$")
  if not name then
    return address, address:find("[\128-\255]") ~= nil
  end
  if domain:find("[\128-\255]") then
    domain = host.mail_domain(domain) or domain
  end
  address = name .. "@" .. domain
  return address, address:find("[\128-\255]") ~= nil
end

-- "x@y", "Name <x@y>", { address = "x@y", name = "Name" }
local function mailbox(value, what)
  local name, address
  if type(value) == "table" then
    address, name = value.address or value[1], value.name
  elseif type(value) == "string" then
    value = checked_line(value, what)
    name, address = value:match("^%s*(.-)%s*<([^<>]*)>%s*$")
    address = address or value:match("^%s*(.-)%s*$")
    name = name and (name:match('^"(.*)"$') or name):gsub("\\(.)", "%1")
  else
    misuse("%s must be an address, not a %s", what, type(value))
  end
  address = checked_line(address, what)
  if address == "" then
    misuse("%s is empty", what)
  elseif address:find("[<>]") then
    misuse("%s: '%s' is no address", what, address)
  end
  name = name and checked_line(name, what)
  local ascii, utf8 = ascii_address(address)
  return { name = name ~= "" and name or nil, address = ascii, utf8 = utf8 }
end

-- One mailbox, or a list of them.
local function mailboxes(value, what)
  if value == nil then
    return {}
  elseif type(value) ~= "table" or value.address or (value.name and value[1]) then
    return { mailbox(value, what) }
  end
  local list = {}
  for i, one in ipairs(value) do
    list[i] = mailbox(one, what)
  end
  return list
end

local function address_header(name, list)
  local shown = {}
  for i, box in ipairs(list) do
    shown[i] = fold(i == 1 and name or "", (box.name and phrase(box.name) .. " " or "") .. "<" .. box.address .. ">")
  end
  -- fold() wrote a colon after the empty name of each but the first
  return (concat(shown, "," .. CRLF):gsub("," .. CRLF .. ":", "," .. CRLF))
end

-- ---- bodies --------------------------------------------------------------------------------------------------

local function crlf(text)
  return (text:gsub("\r\n", "\n"):gsub("\r", "\n"):gsub("\n", CRLF))
end

-- Short lines of ASCII. "=_" begins our boundaries, so a text that has it is encoded.
local function is_seven_bit(text)
  if text:find("[%z\128-\255]") or text:find("=_", 1, true) then
    return false
  end
  for line in text:gmatch("[^\n]+") do
    if #line > 990 then
      return false
    end
  end
  return true
end

local function quoted_line(line)
  line = line:gsub("[^\9\32-\60\62-\126]", function(c)
    return ("=%02X"):format(c:byte())
  end)
  line = line:gsub("[ \t]$", function(c)
    return ("=%02X"):format(c:byte())
  end)
  local pieces = {}
  while #line > LINE do
    local at = LINE - 1
    if line:sub(at, at) == "=" then -- no break inside of =XX
      at = at - 1
    elseif line:sub(at - 1, at - 1) == "=" then
      at = at - 2
    end
    pieces[#pieces + 1] = line:sub(1, at) .. "="
    line = line:sub(at + 1)
  end
  pieces[#pieces + 1] = line
  return concat(pieces, CRLF)
end

local function quoted_printable(text)
  local lines = {}
  for line in (crlf(text) .. CRLF):gmatch("(.-)\r\n") do
    lines[#lines + 1] = quoted_line(line)
  end
  return concat(lines, CRLF)
end

-- Quoted-printable keeps what is mostly ASCII readable; where most is not, base64 is shorter.
local function encode_text(text)
  if is_seven_bit(text) then
    return "7bit", crlf(text)
  end
  local _, others = text:gsub("[\128-\255]", "")
  if others * 6 < #text then
    return "quoted-printable", quoted_printable(text)
  end
  return "base64", host.mail_base64(crlf(text), LINE)
end

-- A part is a list of header lines and a body.
local function text_part(text, kind)
  local encoding, body = encode_text(checked_text(text, kind == "html" and "html" or "text"))
  return {
    headers = {
      "Content-Type: text/" .. kind .. "; charset=utf-8",
      "Content-Transfer-Encoding: " .. encoding,
    },
    body = body,
  }
end

-- RFC 2231; with a plain name beside it for old readers.
local function file_parameter(name, filename)
  if not filename:find('[\128-\255"\\]') and #filename <= 60 then
    return (";%s %s=\"%s\""):format(CRLF, name, filename)
  end
  local escaped = filename:gsub("[^%w.-]", function(c)
    return ("%%%02X"):format(c:byte())
  end)
  local pieces, at = {}, 0
  while escaped ~= "" do
    local most = 50
    while escaped:sub(most, most) == "%" or escaped:sub(most - 1, most - 1) == "%" do
      most = most - 1
    end
    pieces[#pieces + 1] = (";%s %s*%d*=%s%s"):format(CRLF, name, at, at == 0 and "utf-8''" or "", escaped:sub(1, most))
    escaped = escaped:sub(most + 1)
    at = at + 1
  end
  return concat(pieces)
end

local function attachment_part(file, index)
  local what = "attachment " .. index
  if type(file) ~= "table" or type(file.content) ~= "string" then
    misuse("%s must be { filename =, content = }, with the content as a string", what)
  end
  local filename = checked_line(file.filename or "attachment-" .. index, what .. "'s filename")
  local kind = checked_line(file.type or "application/octet-stream", what .. "'s type")
  if not kind:find("^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+$") then
    misuse("%s's type '%s' is not a media type (write \"image/png\")", what, kind)
  end
  local headers = {
    "Content-Type: " .. kind .. file_parameter("name", filename),
    "Content-Transfer-Encoding: base64",
    "Content-Disposition: " .. (file.id and "inline" or "attachment") .. file_parameter("filename", filename),
  }
  if file.id then
    local id = checked_line(file.id, what .. "'s id")
    if id:find("[<>%s\128-\255]") then
      misuse("%s's id '%s' must be a word without < and >", what, id)
    end
    headers[#headers + 1] = "Content-ID: <" .. id .. ">"
  end
  return { headers = headers, body = host.mail_base64(file.content, LINE) }
end

-- The boundary cannot be in a part: base64 has no "_", quoted-printable has no "=_", 7bit was looked at.
local function multipart(kind, parts, level)
  if #parts == 1 then
    return parts[1]
  end
  local boundary = "=_moonq_" .. level
  local out = {}
  for _, part in ipairs(parts) do
    out[#out + 1] = "--" .. boundary
    out[#out + 1] = concat(part.headers, CRLF)
    out[#out + 1] = ""
    out[#out + 1] = part.body
  end
  out[#out + 1] = "--" .. boundary .. "--"
  out[#out + 1] = ""
  return {
    headers = { ("Content-Type: multipart/%s;%s boundary=\"%s\""):format(kind, CRLF, boundary) },
    body = concat(out, CRLF),
  }
end

-- mixed( alternative( text, related( html, inline files ) ), attachments )
local function content(message)
  local inline, attached = {}, {}
  for i, file in ipairs(message.attachments or {}) do
    local list = type(file) == "table" and file.id and message.html and inline or attached
    list[#list + 1] = attachment_part(file, i)
  end
  local views = {}
  if message.text ~= nil or message.html == nil then
    views[1] = text_part(message.text == nil and "" or message.text, "plain")
  end
  if message.html ~= nil then
    views[#views + 1] = multipart("related", { text_part(message.html, "html"), unpack(inline) }, "related")
  end
  return multipart("mixed", { multipart("alternative", views, "alternative"), unpack(attached) }, "mixed")
end

-- ---- the message ---------------------------------------------------------------------------------------------

local own_headers = {}
for name in ("from to cc bcc reply-to subject date message-id mime-version sender"):gmatch("%S+") do
  own_headers[name] = true
end

local function extra_headers(out, headers)
  local names = {}
  for name in pairs(headers) do
    if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
      misuse("header name '%s' is not allowed", tostring(name))
    elseif own_headers[name:lower()] or name:lower():find("^content%-") then
      misuse("header '%s' cannot be given under headers: it follows from the mail's other fields", name)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    out[#out + 1] = text_header(name, headers[name])
  end
end

-- "id@domain of the sender"; an id with an @ is taken as it is.
local function message_id(given, from, random)
  if given == nil then
    given = random
  end
  given = checked_line(given, "message_id"):gsub("^<(.*)>$", "%1")
  if given == "" or given:find("[%s<>\128-\255]") then
    misuse("message_id '%s' must be a word of ASCII characters", given)
  end
  if not given:find("@", 1, true) then
    local domain = from and from.address:match("@([^@]+)$") or "localhost"
    given = given .. "@" .. domain
  end
  return "<" .. given .. ">"
end

local function any_utf8(...)
  for i = 1, select("#", ...) do
    for _, box in ipairs((select(i, ...))) do
      if box.utf8 then
        return true
      end
    end
  end
  return false
end

---@class moonq.MailMessage
---@field from string|table          "x@y", "Name <x@y>" or { address = "x@y", name = "Name" }
---@field to? string|table           one such mailbox, or a list
---@field cc? string|table
---@field bcc? string|table          get the mail, and stand in no header
---@field reply_to? string|table
---@field subject? string
---@field text? string               UTF-8, any line ends
---@field html? string
---@field attachments? { filename: string, content: string, type: string?, id: string? }[]   id: shown in html by cid:id
---@field headers? table<string, string>
---@field message_id? string         stable over attempts if you give job.id

---@class moonq.MailRendered
---@field message string             headers and body
---@field from string                the envelope's sender
---@field to string[]                the envelope's recipients: to, cc and bcc, each once
---@field message_id string
---@field utf8 boolean               an address is not ASCII: the server must offer SMTPUTF8

local function recipients(...)
  local list, seen = {}, {}
  for i = 1, select("#", ...) do
    for _, box in ipairs((select(i, ...))) do
      if not seen[box.address] then
        seen[box.address] = true
        list[#list + 1] = box.address
      end
    end
  end
  return list
end

--- Writes the message.
---
--- Roles: handler. Yields: no. Raises: BADARG.
---@param message moonq.MailMessage
---@return moonq.MailRendered
function mail.render(message)
  if message.from == nil then
    misuse("from is missing")
  end
  local from = mailbox(message.from, "from")
  local to, cc, bcc = mailboxes(message.to, "to"), mailboxes(message.cc, "cc"), mailboxes(message.bcc, "bcc")
  local reply_to = mailboxes(message.reply_to, "reply_to")
  local envelope = recipients(to, cc, bcc)
  if #envelope == 0 then
    misuse("a mail needs a recipient: to, cc or bcc")
  end
  local date, random = host.mail_stamp()
  local id = message_id(message.message_id, from, random)
  local out = { "Date: " .. date, address_header("From", { from }) }
  for _, row in ipairs({ { "To", to }, { "Cc", cc }, { "Reply-To", reply_to } }) do
    if #row[2] > 0 then
      out[#out + 1] = address_header(row[1], row[2])
    end
  end
  out[#out + 1] = text_header("Subject", message.subject or "")
  out[#out + 1] = "Message-ID: " .. id
  extra_headers(out, message.headers or {})
  out[#out + 1] = "MIME-Version: 1.0"
  local body = content(message)
  out[#out + 1] = concat(body.headers, CRLF)
  return {
    message = concat(out, CRLF) .. CRLF .. CRLF .. body.body,
    from = from.address,
    to = envelope,
    message_id = id,
    utf8 = any_utf8({ from }, to, cc, bcc, reply_to),
  }
end

return mail
