-- Mail for handlers. docs/smtp.md is the guide. What waits lets the other jobs of the worker run.
-- luacheck: globals _host

local mail = require "moonq.mail"

local host = _host

---@class moonq.smtp
local smtp = {}

---@class moonq.SmtpMail: moonq.MailMessage
---@field url string                 "smtp://mail.example:25", or smtps:// for TLS from the start
---@field username? string
---@field password? string
---@field starttls? "require"|"try"|false   "require" with a username, otherwise "try"; false: never
---@field verify? boolean            false: accepts any certificate
---@field ca? string                 a file with the certificates to trust, or such certificates as PEM text
---@field timeout? number|string     for everything: seconds, or "60s" (the default)
---@field connect_timeout? number|string   "20s" by default
---@field partial? boolean           true: those that the server takes get the mail even if it refuses others

---@class moonq.SmtpResult
---@field message_id string          "<...>"
---@field reply string               the server's last words: "250 2.0.0 Ok: queued as 12345"
---@field refused { address: string, status: integer, message: string }[]   with partial = true

local function raise(err)
  error(setmetatable(err, host.error_meta), 0)
end

local function misuse(message)
  raise({ code = "BADARG", message = message, retryable = false })
end

local known = {}
for name in ([[url username password starttls verify ca timeout connect_timeout partial from to cc bcc reply_to subject
  text html attachments headers message_id]]):gmatch("%S+") do
  known[name] = true
end

-- A password goes over TLS, unless the caller says in so many words that it need not.
local function starttls_of(options)
  local how = options.starttls
  if how == nil then
    return options.username and "require" or "try"
  elseif how == false then
    return "off"
  elseif how == "try" and options.username then
    misuse('a password is sent over TLS only: starttls = "require", or false to send it readable for anyone')
  elseif how ~= "require" and how ~= "try" then
    misuse('starttls must be "require", "try" or false')
  end
  return how
end

--- Writes a mail, gives it to the server, and waits for its answer.
---
--- If the server refuses one of the recipients nobody gets the mail (see `partial`), and err.refused lists them.
---
--- Roles: handler. Yields: yes. Raises: BADARG NOPERM SMTP TIMEOUT DNS CONNECT TLS BROKEN PROTOCOL TOOBIG INTERNAL.
--- SMTP is for a server that says no: err.status, err.message (its own words), err.refused.
---@param options moonq.SmtpMail
---@return moonq.SmtpResult
function smtp.send(options)
  if type(options) ~= "table" then
    misuse("smtp.send takes a table of options, not a " .. type(options))
  end
  for name in pairs(options) do
    if not known[name] then
      misuse(("there is no option '%s' (docs/smtp.md lists them)"):format(tostring(name)))
    end
  end
  local rendered = mail.render(options)
  local op = host.smtp_request({
    url = options.url,
    from = rendered.from,
    to = rendered.to,
    message = rendered.message,
    utf8 = rendered.utf8,
    username = options.username,
    password = options.password,
    starttls = starttls_of(options),
    verify = options.verify,
    ca = options.ca,
    timeout = options.timeout,
    connect_timeout = options.connect_timeout,
    partial = options.partial,
  })
  host.net_wait(op)
  local reply, second, message, retryable, status, refused = host.smtp_result(op)
  if not reply then
    raise({
      code = second,
      message = message,
      retryable = retryable,
      status = status ~= 0 and status or nil,
      refused = refused,
    })
  end
  return { reply = reply, refused = second, message_id = rendered.message_id }
end

return smtp
